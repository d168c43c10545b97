import importlib.util
import math

import pytest
import torch
from orbit_reference import naive_reduce

from pyg_symbreak.ops import REDUCTIONS, Orbits, orbit_broadcast, orbit_reduce, resolve_method

# Orbits 2 and 6 are empty, 0 has one node, 4 has many.
NODE = torch.tensor([5, 4, 0, 4, 1, 3, 4, 5, 4, 3, 1, 4, 4])
NUM_ORBITS = 7
WEIGHTED = ("sum", "mean", "logsumexp")


@pytest.fixture
def orbits():
    return Orbits.from_index(NODE, NUM_ORBITS)


def features(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_partition(orbits):
    assert (orbits.num_nodes, orbits.num_orbits, orbits.num_cosets) == (13, 7, 0)
    assert orbits.order.tolist() == [2, 4, 10, 5, 9, 1, 3, 6, 8, 11, 12, 0, 7]
    assert orbits.offsets.tolist() == [0, 1, 3, 3, 5, 11, 13, 13]
    joined = Orbits.cat([orbits, Orbits.from_index(torch.tensor([1, 0, 1])), orbits])
    expected = Orbits.from_index(torch.cat([NODE, torch.tensor([8, 7, 8]), NODE + 9]), 16)
    for name in ("node", "order", "offsets"):
        assert torch.equal(getattr(joined, name), getattr(expected, name))


@pytest.mark.parametrize(("reduce", "weighted"), [*((r, False) for r in REDUCTIONS), *((r, True) for r in WEIGHTED)])
@pytest.mark.parametrize("channels", [1, 5, 64])
def test_equals_the_definition(orbits, reduce, weighted, channels):
    x = features(13, channels)
    weight = features(13, seed=1).exp() if weighted else None
    expected = naive_reduce(x, NODE, NUM_ORBITS, reduce, weight)
    torch.testing.assert_close(orbit_reduce(x, orbits, reduce, weight=weight), expected, rtol=0, atol=1e-13)
    spread = orbit_reduce(x, orbits, reduce, weight=weight, broadcast=True)
    torch.testing.assert_close(spread, expected[NODE], rtol=0, atol=1e-13)
    torch.testing.assert_close(orbit_broadcast(expected, orbits), expected[NODE], rtol=0, atol=0)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_many_orbits_of_few_sizes(reduce):
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([0, 1, 2, 3, 4, 6, 8, 12, 24, 48])[torch.randint(10, (400,), generator=generator)]
    node = torch.arange(400).repeat_interleave(sizes)
    node = node[torch.randperm(len(node), generator=generator)]
    x = features(len(node), 40)
    y = orbit_reduce(x, Orbits.from_index(node, 400), reduce)
    torch.testing.assert_close(y, naive_reduce(x, node, 400, reduce), rtol=0, atol=1e-12)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_shapes(orbits, reduce):
    x = features(13, 2, 3)
    y = orbit_reduce(x, orbits, reduce)
    assert y.shape == (7, 2, 3)
    torch.testing.assert_close(y[:, 1, 2], orbit_reduce(x[:, 1, 2], orbits, reduce))
    assert orbit_reduce(x, orbits, reduce, broadcast=True).shape == (13, 2, 3)
    strided = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not strided.is_contiguous()
    torch.testing.assert_close(orbit_reduce(strided, orbits, reduce), y)
    assert orbit_reduce(x[:, :0], orbits, reduce).shape == (7, 0, 3)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_nothing_to_reduce(reduce):
    value = {"sum": 0.0, "mean": 0.0, "min": math.inf, "max": -math.inf, "logsumexp": -math.inf}[reduce]
    no_nodes = Orbits.from_index(torch.zeros(0, dtype=torch.long), 3)
    assert torch.equal(orbit_reduce(torch.zeros(0, 2), no_nodes, reduce), torch.full((3, 2), value))
    assert orbit_reduce(torch.zeros(0, 2), no_nodes, reduce, broadcast=True).shape == (0, 2)
    no_orbits = Orbits.from_index(torch.zeros(0, dtype=torch.long))
    assert no_orbits.num_orbits == 0
    assert orbit_reduce(torch.zeros(0, 2), no_orbits, reduce).shape == (0, 2)


def test_low_precision_accumulates_in_float32():
    node = torch.zeros(4099, dtype=torch.long)
    x = torch.ones(4099, 3, dtype=torch.bfloat16)
    y = orbit_reduce(x, Orbits.from_index(node), "sum")
    assert y.dtype == torch.bfloat16
    assert (y == 4096).all()  # the nearest number to 4099; adding ones in bfloat16 stops at 256
    assert (orbit_reduce(x, Orbits.from_index(node), "mean") == 1).all()
    large = torch.full((4099, 3), 1000.0, dtype=torch.float16)  # the sum is above the largest float16
    assert (orbit_reduce(large, Orbits.from_index(node), "mean") == 1000).all()
    weight = torch.full((4099,), 1 / 4099)
    assert (orbit_reduce(x, Orbits.from_index(node), "sum", weight=weight) == 1).all()
    y = orbit_reduce(x, Orbits.from_index(node), "logsumexp")
    torch.testing.assert_close(y.float(), torch.full((1, 3), 1 + math.log(4099)), rtol=1e-2, atol=0)


def test_extreme_and_missing_values(orbits):
    x = features(13, 2)
    x[NODE == 4] += 1e4
    assert orbit_reduce(x, orbits, "logsumexp")[4].isfinite().all()
    x[1, 0] = math.nan
    for reduce in REDUCTIONS:
        y = orbit_reduce(x, orbits, reduce)
        assert y.isnan().nonzero().tolist() == [[4, 0]]


@pytest.mark.parametrize("broadcast", [False, True])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_derivatives(orbits, reduce, broadcast):
    x = features(13, 2).requires_grad_()
    occupied = NODE.unique()

    def f(x, weight=None):
        y = orbit_reduce(x, orbits, reduce, weight=weight, broadcast=broadcast)
        return (y if broadcast else y[occupied]).pow(3)

    assert torch.autograd.gradcheck(f, x)
    assert torch.autograd.gradgradcheck(f, x)
    if reduce in WEIGHTED:
        weight = features(13, seed=1).exp().requires_grad_()
        assert torch.autograd.gradcheck(f, (x, weight))
        assert torch.autograd.gradgradcheck(f, (x, weight))


def test_derivatives_of_broadcast(orbits):
    v = features(NUM_ORBITS, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: orbit_broadcast(v, orbits).pow(3), v)
    assert torch.autograd.gradgradcheck(lambda v: orbit_broadcast(v, orbits).pow(3), v)


@pytest.mark.parametrize("reduce", ["min", "max"])
def test_tied_extrema_share_the_gradient(orbits, reduce):
    x = torch.ones(13, 1, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(orbit_reduce(x, orbits, reduce)[4].sum(), x)
    torch.testing.assert_close(grad[:, 0], (NODE == 4).double() / 6, rtol=0, atol=1e-15)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("broadcast", [False, True])
def test_op_is_registered_soundly(orbits, reduce, broadcast):
    x = features(13, 3, dtype=torch.float32).requires_grad_()
    weights = [None]
    if reduce in ("sum", "logsumexp"):
        weights.append(features(13, seed=1, dtype=torch.float32).exp().requires_grad_())
    for weight in weights:
        args = (x, orbits.node, orbits.order, orbits.offsets, weight, reduce, broadcast, "torch")
        torch.library.opcheck(torch.ops.pyg_symbreak.orbit_reduce, args)


def test_broadcast_is_registered_soundly(orbits):
    v = features(NUM_ORBITS, 3).requires_grad_()
    args = (v, orbits.node, orbits.order, orbits.offsets, "torch")
    torch.library.opcheck(torch.ops.pyg_symbreak.orbit_broadcast, args)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_vmap(orbits, reduce):
    x = features(13, 4, 2)
    y = torch.vmap(lambda x: orbit_reduce(x, orbits, reduce), in_dims=1, out_dims=1)(x)
    torch.testing.assert_close(y, orbit_reduce(x, orbits, reduce))
    if reduce in WEIGHTED:
        weight = features(13, 4, seed=1).exp()
        one = torch.vmap(lambda x, w: orbit_reduce(x, orbits, reduce, weight=w), in_dims=1)(x, weight)
        two = torch.vmap(lambda w: orbit_reduce(x[:, 0], orbits, reduce, weight=w), in_dims=1)(weight)
        for i in range(4):
            expected = orbit_reduce(x[:, i], orbits, reduce, weight=weight[:, i])
            torch.testing.assert_close(one[i], expected)
            expected = orbit_reduce(x[:, 0], orbits, reduce, weight=weight[:, i])
            torch.testing.assert_close(two[i], expected)


def test_vmap_of_broadcast_and_of_derivatives(orbits):
    v = features(NUM_ORBITS, 4, 2)
    torch.testing.assert_close(torch.vmap(lambda v: orbit_broadcast(v, orbits), 1, 1)(v), v[NODE])
    x = features(13, 3)

    def energy(x):
        return orbit_reduce(x, orbits, "mean", broadcast=True).pow(2).sum() / 2

    x.requires_grad_()
    (slope,) = torch.autograd.grad(energy(x), x, create_graph=True)
    basis = torch.eye(39, dtype=torch.float64).view(39, 13, 3)
    (hessian,) = torch.autograd.grad(slope, x, basis, is_grads_batched=True)
    same = (NODE[:, None] == NODE).double()
    expected = torch.kron(same / same.sum(1), torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(hessian.view(39, 39), expected)
    with pytest.raises(ValueError, match="same orbits"):
        torch.vmap(lambda n: torch.ops.pyg_symbreak.orbit_broadcast(v[:, 0], n, n, n, "torch"))(NODE[None])


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_compiles_without_a_break(reduce):
    def layer(x, node):
        return x - orbit_reduce(x, Orbits.from_index(node, NUM_ORBITS), reduce, broadcast=True)

    x = features(13, 4, dtype=torch.float32).requires_grad_()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, NODE), layer(x, NODE))
    (got,) = torch.autograd.grad(compiled(x, NODE).pow(2).sum(), x)
    (expected,) = torch.autograd.grad(layer(x, NODE).pow(2).sum(), x)
    torch.testing.assert_close(got, expected)


def test_exports_with_any_number_of_nodes():
    class Layer(torch.nn.Module):
        def forward(self, x, node):
            return orbit_reduce(x, Orbits.from_index(node, NUM_ORBITS), "mean")

    nodes = torch.export.Dim("nodes")
    shapes = {"x": {0: nodes}, "node": {0: nodes}}
    program = torch.export.export(Layer(), (features(13, 4), NODE), dynamic_shapes=shapes)
    x, node = features(20, 4, seed=1), torch.arange(20) % 5
    expected = orbit_reduce(x, Orbits.from_index(node, NUM_ORBITS), "mean")
    torch.testing.assert_close(program.module()(x, node), expected)


def test_autocast_keeps_the_type_of_the_features(orbits):
    x = features(13, 3, dtype=torch.float32)
    for reduce in REDUCTIONS:
        with torch.autocast("cpu", torch.bfloat16):
            y = orbit_reduce(x, orbits, reduce)
        assert torch.equal(y, orbit_reduce(x, orbits, reduce))


@pytest.mark.skipif(importlib.util.find_spec("torch_scatter") is None, reason="torch-scatter is not installed")
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("broadcast", [False, True])
def test_torch_scatter_gives_the_same(orbits, reduce, broadcast):
    x = features(13, 5).requires_grad_()
    weight = features(13, seed=1).exp() if reduce in WEIGHTED else None
    y = orbit_reduce(x, orbits, reduce, weight=weight, broadcast=broadcast, method="torch_scatter")
    expected = orbit_reduce(x, orbits, reduce, weight=weight, broadcast=broadcast, method="torch")
    torch.testing.assert_close(y, expected)
    got = torch.autograd.grad(y[NODE[:7]].pow(2).sum(), x)
    torch.testing.assert_close(got, torch.autograd.grad(expected[NODE[:7]].pow(2).sum(), x))


def test_methods():
    assert resolve_method("auto", "cpu") == "torch"
    assert resolve_method("torch", "cuda") == "torch"
    with pytest.raises(ValueError, match="method must be one of"):
        resolve_method("fast", "cpu")
    if importlib.util.find_spec("torch_scatter") is None:
        with pytest.raises(ModuleNotFoundError, match="torch_scatter"):
            resolve_method("torch_scatter", "cpu")


def test_bad_input_is_named(orbits):
    x = features(13, 2)
    with pytest.raises(ValueError, match="reduce must be one of"):
        orbit_reduce(x, orbits, "median")
    with pytest.raises(ValueError, match=r"x must be floats with a row for each node, \[13, ...\]"):
        orbit_reduce(x[:5], orbits)
    with pytest.raises(ValueError, match="x must be floats"):
        orbit_reduce(x.long(), orbits)
    with pytest.raises(ValueError, match="weight has no meaning"):
        orbit_reduce(x, orbits, "max", weight=x[:, 0])
    with pytest.raises(ValueError, match=r"weight must be floats of shape \[13\]"):
        orbit_reduce(x, orbits, "sum", weight=x)
    with pytest.raises(ValueError, match="v must be floats with a row for each orbit"):
        orbit_broadcast(x, orbits)
    with pytest.raises(ValueError, match="vector of integers"):
        Orbits.from_index(x)
    with pytest.raises(ValueError, match="entries from 0 to num_orbits - 1 = 4, got 0 to 5"):
        Orbits.from_index(NODE, 5)
    with pytest.raises(ValueError, match="orbits must be non-empty"):
        Orbits.cat([])
    matrices = torch.eye(3, dtype=torch.float64)[None]
    with pytest.raises(ValueError, match="a permutation of"):
        Orbits.from_group(torch.tensor([[0, 0]]), matrices)
    with pytest.raises(ValueError, match=r"permutations must be \[order, N\]"):
        Orbits.from_group(torch.tensor([[0, 1], [1, 0]]), matrices)
    with pytest.raises(ValueError, match="all of its items from"):
        Orbits.cat([orbits, Orbits.from_group(torch.tensor([[0]]), matrices)])
