import pytest
import torch
from e3nn import o3

from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.nn.orbit_exchange import OrbitExchange
from pyg_symbreak.ops import Orbits

NODE = torch.tensor([0, 1, 1, 0, 2, 1])


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return OrbitExchange("4x0e+2x1o", "3x0e+2x1o+1e", irreps_virtual="2x0e+1o").double()


def features(rows, irreps):
    return o3.Irreps(irreps).randn(rows, -1, requires_grad=False).double()


def test_equals_its_formula(layer):
    orbits = Orbits.from_index(NODE)
    x, v = features(6, layer.irreps_in), features(3, layer.irreps_virtual)
    same = (NODE[:, None] == torch.arange(3)).double()
    virtual = layer.virtual_to_virtual(v) + layer.node_to_virtual(same.T @ x / same.sum(0)[:, None])
    expected = layer.node_to_node(x) + same @ layer.virtual_to_node(virtual)
    y, new = layer(x, orbits, v)
    torch.testing.assert_close(new, virtual)
    torch.testing.assert_close(y, expected)
    assert y.shape == (6, o3.Irreps(layer.irreps_out).dim)
    zeros = layer(x, orbits, torch.zeros_like(v))
    torch.testing.assert_close(layer(x, orbits), zeros)
    assert not torch.allclose(zeros[0], y)


def test_is_equivariant(layer):
    q = -torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    x, v = features(6, layer.irreps_in), features(3, layer.irreps_virtual)
    irreps = layer.irreps_in, layer.irreps_out, layer.irreps_virtual
    d_in, d_out, d_virtual = (torch.from_numpy(irreps_matrices(i, q[None].numpy())[0]) for i in irreps)
    orbits = Orbits.from_index(NODE)
    y, new = layer(x, orbits, v)
    turned, turned_new = layer(x @ d_in.T, orbits, v @ d_virtual.T)
    torch.testing.assert_close(turned, y @ d_out.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(turned_new, new @ d_virtual.T, rtol=0, atol=1e-12)
    perm = torch.randperm(6)
    permuted, permuted_new = layer(x[perm], Orbits.from_index(NODE[perm]), v)
    torch.testing.assert_close(permuted, y[perm])
    torch.testing.assert_close(permuted_new, new)


def test_does_not_tell_apart_the_nodes_of_an_orbit(layer):
    x = features(3, layer.irreps_in)[NODE]
    y, _ = layer(x, Orbits.from_index(NODE))
    torch.testing.assert_close(y, y[torch.tensor([0, 1, 4])][NODE])


def test_reaches_the_whole_orbit_and_nothing_else(layer):
    x = features(6, layer.irreps_in)
    moved = x.clone()
    moved[1] += 1
    orbits = Orbits.from_index(NODE)
    change = (layer(moved, orbits)[0] - layer(x, orbits)[0]).norm(dim=1)
    assert (change > 1e-3).tolist() == (NODE == 1).tolist()


def test_trains_and_starts_again(layer):
    x = features(6, layer.irreps_in)
    y, new = layer(x, Orbits.from_index(NODE), features(3, layer.irreps_virtual))
    (y.square().sum() + new.square().sum()).backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())
    before = layer.node_to_node.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.node_to_node.weight, before)


def test_representation_and_errors(layer):
    assert str(layer) == "OrbitExchange(4x0e+2x1o, 3x0e+2x1o+1x1e, irreps_virtual=2x0e+1x1o)"
    assert str(OrbitExchange("0e", "2x0e")) == "OrbitExchange(1x0e, 2x0e, irreps_virtual=2x0e)"
    with pytest.raises(ValueError, match="method must be one of"):
        OrbitExchange("0e", "0e", method="fast")
