import math

import torch
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch

from pyg_symbreak.datasets import TriangularPrism


def test_shape_of_the_prism():
    (data,) = TriangularPrism()
    pairs = set(map(tuple, data.edge_index.T.tolist()))
    assert len(pairs) == data.num_edges == 18
    assert pairs == {(j, i) for i, j in pairs}
    lengths = sorted((data.pos[i] - data.pos[j]).norm().item() for i, j in pairs)
    torch.testing.assert_close(torch.tensor(lengths), torch.tensor([3**0.5] * 12 + [2.0] * 6))
    torch.testing.assert_close(data.pos[:, :2].norm(dim=1), torch.ones(6))
    torch.testing.assert_close(data.pos[1], torch.tensor([math.cos(2 * math.pi / 3), math.sin(2 * math.pi / 3), 1.0]))
    assert data.x.tolist() == [[1.0]] * 6


def test_answers_are_one_free_orbit_of_d3():
    (data,) = TriangularPrism()
    group = torch.from_numpy(Rotation.create_group("D3").as_matrix()).float()  # scipy: threefold axis z, twofold x
    images = data.y[0, 0] @ group.mT
    assert (torch.cdist(images, data.y[0]) < 1e-6).sum(0).tolist() == [1] * 6
    assert (torch.cdist(images, data.y[0]) < 1e-6).sum(1).tolist() == [1] * 6


def test_keys_survive_batching_and_subgraphs():
    dataset = TriangularPrism()
    batch = Batch.from_data_list([dataset[0], dataset[0]])
    assert batch.y.shape == (2, 6, 3)
    assert batch.edge_index.max() == 11
    assert not dataset[0].is_node_attr("y")  # six answers are no feature of the six nodes
    assert dataset[0].subgraph(torch.tensor([0, 1])).y.shape == (1, 6, 3)


def test_transform_and_dtype():
    def double(data):
        data.pos = 2 * data.pos
        return data

    assert torch.equal(TriangularPrism(transform=double)[0].pos, 2 * TriangularPrism()[0].pos)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        data = TriangularPrism()[0]
    finally:
        torch.set_default_dtype(before)
    assert data.pos.dtype == data.x.dtype == data.y.dtype == torch.float64
