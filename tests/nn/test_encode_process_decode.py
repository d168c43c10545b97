"""The graph network is equivariant, may take more steps than it was trained with, and an object tells nodes apart."""

import torch
from torch_geometric.data import Batch, Data

from pyg_symbreak.nn import EncodeProcessDecode


def graph(n, seed):
    g = torch.Generator().manual_seed(seed)
    index = torch.combinations(torch.arange(n), 2).T
    index = torch.cat([index, index.flip(0)], 1)
    return Data(
        x=torch.randn(n, 2, generator=g).double(),
        edge_index=index,
        edge_attr=torch.randn(index.shape[1], 3, generator=g).double(),
    )


def network():
    torch.manual_seed(0)
    return EncodeProcessDecode(node_in=2, edge_in=3, node_out=2, edge_out=1, hidden=8).double()


def test_numbering_batching_and_steps():
    model, data = network(), graph(5, 1)
    nodes, edges = model(data.x, data.edge_index, data.edge_attr, steps=3)[-1]
    order = torch.tensor([3, 0, 4, 1, 2])
    numbered = model(data.x[order], order.argsort()[data.edge_index], data.edge_attr, steps=3)[-1]
    torch.testing.assert_close(numbered[0], nodes[order], rtol=0, atol=1e-12)
    torch.testing.assert_close(numbered[1], edges, rtol=0, atol=1e-12)
    batch = Batch.from_data_list([graph(4, 2), data])
    both = model(batch.x, batch.edge_index, batch.edge_attr, batch.batch, steps=5)
    assert len(both) == 5
    torch.testing.assert_close(both[2][0][4:], nodes, rtol=0, atol=1e-12)
    assert (both[4][0][4:] - nodes).abs().max() > 1e-3
    assert str(model) == "EncodeProcessDecode((2, 3), (2, 1))"


def test_what_an_automorphism_exchanges_is_alike_without_an_object():
    model = network()
    ring = torch.arange(6)
    index = torch.cat([torch.stack([ring, (ring + 1) % 6]), torch.stack([(ring + 1) % 6, ring])], 1)
    x, mirror = torch.zeros(6, 2).double(), torch.tensor([0, 5, 4, 3, 2, 1])
    x[0, 0] = 1
    nodes = model(x, index, torch.ones(12, 3).double())[-1][0]
    torch.testing.assert_close(nodes[mirror], nodes, rtol=0, atol=1e-12)
    x[1, 1] = 1
    nodes = model(x, index, torch.ones(12, 3).double())[-1][0]
    assert (nodes[mirror] - nodes).abs().max() > 1e-3
