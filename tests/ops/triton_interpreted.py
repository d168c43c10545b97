"""The Triton kernels under the interpreter, against plain torch.

Run by test_ops_triton.py in a process of its own with TRITON_INTERPRET=1, which Triton reads when a kernel is
decorated.
"""

import pytest
import torch
from e3nn import o3
from orbit_reference import permutations, point_group, random_rotation, symmetric_points

from pyg_symbreak.ops import REDUCTIONS, Orbits, _triton, orbit_broadcast, orbit_project, orbit_reduce

SIZES = torch.tensor([5, 0, 1, 40, 3])
DTYPES = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 3e-2}


def partition():
    generator = torch.Generator().manual_seed(0)
    node = torch.arange(len(SIZES)).repeat_interleave(SIZES)
    return Orbits.from_index(node[torch.randperm(len(node), generator=generator)], len(SIZES))


def features(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "broadcast"),
    [(torch.float64, True), (torch.float32, False), (torch.bfloat16, True)],
)
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_reductions(reduce, dtype, broadcast):
    orbits = partition()
    for channels, weighted in ((1, False), (5, True), (200, False)):
        x = features(orbits.num_nodes, channels, dtype=dtype)
        weight = None
        if weighted and reduce in ("sum", "mean", "logsumexp"):
            weight = features(orbits.num_nodes, seed=1).exp().to(torch.promote_types(dtype, torch.float32))
        got, expected = (
            orbit_reduce(x, orbits, reduce, weight=weight, broadcast=broadcast, method=m) for m in ("triton", "torch")
        )
        assert got.dtype == dtype
        torch.testing.assert_close(got, expected, rtol=DTYPES[dtype], atol=DTYPES[dtype])


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_long_orbits_in_segments(reduce, monkeypatch):
    monkeypatch.setattr(_triton, "LONG", 7)
    orbits = partition()
    x = features(orbits.num_nodes, 3, dtype=torch.float32)
    weight = None if reduce in ("min", "max") else features(orbits.num_nodes, seed=1).exp().float()
    for broadcast in (False, True):
        got, expected = (
            orbit_reduce(x, orbits, reduce, weight=weight, broadcast=broadcast, method=m) for m in ("triton", "torch")
        )
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    segments = _triton.long_orbits(orbits.offsets)
    assert segments.orbit.tolist() == [3]
    assert (segments.stops - segments.starts).tolist() == [7, 7, 7, 7, 7, 5]


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_infinite_and_missing_values(reduce):
    orbits = Orbits.from_index(torch.tensor([0, 0, 1, 1, 2, 2]))
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([[inf, 0.0], [1.0, nan], [-inf, nan], [-inf, nan], [1e4, 3.0], [1e4, -inf]])
    got, expected = (orbit_reduce(x, orbits, reduce, method=m) for m in ("triton", "torch"))
    torch.testing.assert_close(got, expected, equal_nan=True)


@pytest.mark.parametrize("broadcast", [False, True])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_derivatives_of_reductions(reduce, broadcast):
    orbits = Orbits.from_index(torch.tensor([2, 0, 2, 1, 0, 2]))
    got, expected = (
        two_derivatives(lambda x, m=m: orbit_reduce(x, orbits, reduce, broadcast=broadcast, method=m), features(6, 2))
        for m in ("triton", "torch")
    )
    torch.testing.assert_close(got, expected)


def two_derivatives(f, x):
    x.requires_grad_()
    (slope,) = torch.autograd.grad(f(x).pow(3).sum(), x, create_graph=True)
    return slope, *torch.autograd.grad(slope.sin().sum(), x)


def test_derivative_of_broadcast():
    orbits = partition()
    v = features(orbits.num_orbits, 3).requires_grad_()
    grad = features(orbits.num_nodes, 3, seed=1)
    (got,) = torch.autograd.grad(orbit_broadcast(v, orbits, method="triton"), v, grad)
    torch.testing.assert_close(got, orbit_reduce(grad, orbits, "sum", method="torch"))


def test_offsets_beyond_two_to_the_31(monkeypatch):
    # Pages that are never touched take no memory: only the last rows are read and written.
    rows, channels = 2**26 + 5, 33
    assert rows * channels > 2**31 + 2**20
    x = torch.empty(rows, channels, dtype=torch.float16)
    last = torch.tensor([rows - 1, rows - 3, rows - 4])
    x[last] = features(3, channels).half()
    out = torch.empty_like(x)
    starts, stops = torch.tensor([0]), torch.tensor([3])
    _triton._reduce_into(out, x, last, starts, stops, None, "mean", True)
    expected = x[last].float().mean(0).half().expand(3, -1)
    torch.testing.assert_close(out[last], expected, rtol=2e-3, atol=2e-3)
    # The mean over the orbit is what projects 11 vectors where all matrices are the identity.
    table = [last, torch.tensor([0, 3]), torch.zeros(rows, dtype=torch.long), torch.eye(3).view(1, 9)]
    monkeypatch.setattr(_triton, "LONG", rows)
    out = _triton.launch_project(x, table, [11], [3], [0])
    torch.testing.assert_close(out[last], expected, rtol=2e-3, atol=2e-3)


def test_features_that_are_not_side_by_side_or_not_aligned():
    orbits = symmetric_batch()
    x = features(orbits.num_nodes, 8 * 3, dtype=torch.float32)
    flat = torch.cat([torch.zeros(1), x.flatten()])[1:].view_as(x)  # 4 bytes after a multiple of 16
    strided = x.t().contiguous().t()
    for of in (
        lambda v: orbit_project(v, orbits, "8x1o", method="triton"),
        lambda v: orbit_reduce(v, orbits, "sum", broadcast=True, method="triton"),
    ):
        assert torch.equal(of(flat), of(x))
        assert torch.equal(of(strided), of(x))


def test_no_nodes_and_only_empty_orbits():
    none = Orbits.from_index(torch.zeros(0, dtype=torch.long), 3)
    for reduce, value in {"sum": 0.0, "mean": 0.0, "min": float("inf"), "max": -float("inf")}.items():
        assert (orbit_reduce(torch.zeros(0, 2), none, reduce, method="triton") == value).all()
        assert orbit_reduce(torch.zeros(0, 2), none, reduce, broadcast=True, method="triton").shape == (0, 2)


def test_autocast_and_weights_of_another_type_change_nothing():
    orbits = partition()
    x, weight = features(orbits.num_nodes, 3, dtype=torch.float32), features(orbits.num_nodes, seed=1).exp()
    for reduce in ("sum", "logsumexp"):
        expected = orbit_reduce(x, orbits, reduce, weight=weight, method="torch")
        with torch.autocast("cpu", torch.bfloat16):
            got = orbit_reduce(x, orbits, reduce, weight=weight, method="triton")
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def symmetric_batch():
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for name in ("C3v", "S4", "Th", "D2h"):
        elements = point_group(name, random_rotation(generator))
        points = symmetric_points(elements, generator)
        graphs.append(Orbits.from_group(permutations(elements, points), elements))
    return Orbits.cat(graphs)


@pytest.mark.parametrize(
    ("irreps", "dtype"),
    [
        *(("1o", dtype) for dtype in DTYPES),
        ("3x0e+33x1o+2x2e+2x1o+1x3o", torch.float64),
        ("3x0e+2x2e+1x4e", torch.bfloat16),
        ("0x1o+0o", torch.float32),
    ],
)
def test_projection(irreps, dtype):
    orbits = symmetric_batch()
    x = features(orbits.num_nodes, o3.Irreps(irreps).dim, dtype=dtype)
    got, expected = (orbit_project(x, orbits, irreps, method=m) for m in ("triton", "torch"))
    assert got.dtype == dtype
    torch.testing.assert_close(got, expected, rtol=DTYPES[dtype], atol=DTYPES[dtype])


@pytest.mark.parametrize("irreps", ["1x0e+2x1o", "8x1o+4x0e"])
def test_projection_of_long_orbits_in_segments(irreps, monkeypatch):
    monkeypatch.setattr(_triton, "LONG", 5)
    orbits = symmetric_batch()
    x = features(orbits.num_nodes, o3.Irreps(irreps).dim)
    got, expected = (orbit_project(x, orbits, irreps, method=m) for m in ("triton", "torch"))
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-13)
    assert len(_triton.long_orbits(orbits.offsets).which) > 3


def test_derivatives_of_projection():
    elements = point_group("C3v")
    points = symmetric_points(elements, torch.Generator().manual_seed(1))
    orbits = Orbits.from_group(permutations(elements, points), elements)
    got, expected = (
        two_derivatives(lambda x, m=m: orbit_project(x, orbits, "1o+0e", method=m), features(len(points), 4))
        for m in ("triton", "torch")
    )
    torch.testing.assert_close(got, expected)


def test_ops_are_registered_soundly():
    orbits = symmetric_batch()
    x = features(orbits.num_nodes, 3).requires_grad_()
    tensors = x, orbits.node, orbits.order, orbits.offsets
    torch.library.opcheck(torch.ops.pyg_symbreak.orbit_reduce, (*tensors, None, "mean", True, "triton"))
    table = list(orbits.table("1o", torch.float64, "triton"))
    torch.library.opcheck(torch.ops.pyg_symbreak.orbit_project, (x, table, [1], [3], [0], "triton"))
