import pytest
import torch
from torch_geometric.nn import MessagePassing, SimpleConv
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation, MinAggregation, SumAggregation

from pyg_symbreak.nn.orbit_aggregation import OrbitAggregation
from pyg_symbreak.ops import REDUCTIONS

PEERS = {"sum": SumAggregation, "mean": MeanAggregation, "min": MinAggregation, "max": MaxAggregation}
INDEX = torch.tensor([3, 0, 3, 1, 1, 3, 5])


def rows(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("reduce", PEERS)
def test_equals_the_aggregation_of_pyg(reduce):
    x, peer, ours = rows(2, 7, 3), PEERS[reduce](), OrbitAggregation(reduce)
    torch.testing.assert_close(ours(x, INDEX), peer(x, INDEX))
    torch.testing.assert_close(ours(x, INDEX, dim_size=8), peer(x, INDEX, dim_size=8))
    turned = x.transpose(0, 1)
    torch.testing.assert_close(ours(turned, INDEX, dim=0), peer(turned, INDEX, dim=0))
    ptr = torch.tensor([0, 2, 2, 6, 7])
    torch.testing.assert_close(ours(x[0], ptr=ptr), peer(x[0], ptr=ptr))


def test_logsumexp():
    x = rows(7, 3)
    y = OrbitAggregation("logsumexp")(x, INDEX)
    torch.testing.assert_close(y[3], x[INDEX == 3].logsumexp(0))
    assert (y[[2, 4]] == 0).all()


@pytest.mark.parametrize("reduce", PEERS)
def test_serves_message_passing(reduce):
    x = rows(6, 3)
    edge_index = torch.stack([torch.tensor([0, 1, 2, 3, 4, 5, 2]), INDEX])
    y = SimpleConv(aggr=OrbitAggregation(reduce))(x, edge_index)
    torch.testing.assert_close(y, SimpleConv(aggr=PEERS[reduce]())(x, edge_index))
    assert isinstance(MessagePassing(aggr=OrbitAggregation(reduce)).aggr_module, OrbitAggregation)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_does_not_depend_on_the_order_of_rows(reduce):
    x, perm = rows(7, 3), torch.tensor([4, 2, 6, 0, 1, 5, 3])
    layer = OrbitAggregation(reduce)
    torch.testing.assert_close(layer(x[perm], INDEX[perm]), layer(x, INDEX))
    assert not torch.allclose(layer(x[perm], INDEX), layer(x, INDEX))


def test_no_rows():
    x = torch.zeros(0, 3)
    index = torch.zeros(0, dtype=torch.long)
    assert OrbitAggregation("max")(x, index, dim_size=2).tolist() == [[0.0] * 3] * 2


def test_representation_and_errors():
    assert str(OrbitAggregation()) == "OrbitAggregation('mean', method='auto')"
    assert str(OrbitAggregation("max", method="torch")) == "OrbitAggregation('max', method='torch')"
    assert not list(OrbitAggregation().parameters())
    with pytest.raises(ValueError, match="reduce must be one of"):
        OrbitAggregation("median")
    with pytest.raises(ValueError, match="method must be one of"):
        OrbitAggregation(method="fast")
    with pytest.raises(ValueError, match="entries from 0 to num_orbits - 1 = 2, got 0 to 5"):
        OrbitAggregation()(rows(7, 3), INDEX, dim_size=3)
