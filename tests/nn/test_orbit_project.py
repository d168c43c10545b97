import itertools

import pytest
import torch
from e3nn import o3

from pyg_symbreak.nn.orbit_project import OrbitProject
from pyg_symbreak.ops import Orbits

SIGNED = torch.tensor(
    [
        [[s * (j == p) for j in range(3)] for s, p in zip(signs, perm, strict=True)]
        for perm in itertools.permutations(range(3))
        for signs in itertools.product([1.0, -1.0], repeat=3)
    ],
    dtype=torch.float64,
)  # the group of the cube
CORNERS = torch.tensor(list(itertools.product([1.0, -1.0], repeat=3)), dtype=torch.float64)


def orbits_of(points, elements):
    images = points @ elements.transpose(1, 2)
    return Orbits.from_group((images[:, :, None] - points).abs().sum(-1).argmin(-1), elements)


def test_output_is_symmetric_by_construction():
    keep = SIGNED[SIGNED[:, 2, 2] == 1]  # C4v, eight elements
    assert len(keep) == 8
    orbits = orbits_of(CORNERS, keep)
    assert orbits.num_orbits == 2
    layer = OrbitProject("1o+0e")
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = layer(x, orbits)
    for g in keep:
        moved = (CORNERS @ g.T)[:, None].sub(CORNERS).abs().sum(-1).argmin(-1)
        torch.testing.assert_close(y[moved, :3], y[:, :3] @ g.T, rtol=0, atol=1e-14)
        torch.testing.assert_close(y[moved, 3], y[:, 3], rtol=0, atol=1e-14)
    # C4v of the upper corners fixes two directions: along the axis and away from it.
    up = CORNERS[:, 2] > 0
    torch.testing.assert_close(y[up, 2], x[up, 2].mean().expand(4))
    radial = CORNERS[up, :2] / 2**0.5
    size = (x[up, :2] * radial).sum(1).mean()
    torch.testing.assert_close(y[up, :2], size * radial)
    lower = SIGNED[0] @ torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    assert (y[(CORNERS @ lower.T)[:, None].sub(CORNERS).abs().sum(-1).argmin(-1), :3] - y[:, :3] @ lower.T).norm() > 0.1


def test_is_equivariant_when_the_structure_turns():
    generator = torch.Generator().manual_seed(1)
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    x = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    irreps = o3.Irreps("1o+1e")
    d = torch.block_diag(q, q * q.det())
    layer = OrbitProject(irreps)
    keep = SIGNED[(SIGNED.sum(2) - SIGNED.sum(2)[:, :1]).abs().sum(1) == 0]  # what fixes ±[111]: D3d
    assert len(keep) == 12
    y = layer(x, orbits_of(CORNERS, keep))
    turned = layer(x @ d.T, orbits_of(CORNERS @ q.T, q @ keep @ q.T))
    torch.testing.assert_close(turned, y @ d.T, rtol=0, atol=1e-13)


def test_projects_before_and_after_the_table_is_built():
    orbits = orbits_of(CORNERS, SIGNED)
    layer = OrbitProject("1o")
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = layer(x, orbits)
    torch.testing.assert_close(layer(x, orbits, orbits.table("1o")), y)
    y.square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * y)


def test_representation_and_errors():
    assert str(OrbitProject("1o+2x0e")) == "OrbitProject(1x1o+2x0e, method='auto')"
    assert not list(OrbitProject("1o").parameters())
    OrbitProject("1o").reset_parameters()
    with pytest.raises(ValueError, match="method must be"):
        OrbitProject("1o", method="torch_scatter")
