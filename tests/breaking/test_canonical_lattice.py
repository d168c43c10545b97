"""Canonical forms of fields on square lattices under p4m, with symmetries found by trying all elements."""

import pytest
import torch

from pyg_symbreak.breaking import canonicalize_lattice, lattice_action, lattice_points
from pyg_symbreak.testing import relaxed_equivariance_error, uniformity_p_value

L = 4
ELEMENTS = torch.cartesian_prod(torch.arange(8), torch.arange(L), torch.arange(L))
RANDOM = torch.randn(2, L, L, generator=torch.Generator().manual_seed(0))


def bond_points(field: torch.Tensor, k: int) -> torch.Tensor:
    """Channel 0 on the bond from site (i, j) to (i, j + 1), channel 1 on the one to (i + 1, j)."""
    right, down = field
    if k >= 4:
        right, down = right.flip(-1).roll(-1, -1), down.flip(-1)
    for _ in range(k % 4):
        right, down = torch.rot90(down), torch.rot90(right).roll(-1, -2)
    return torch.stack([right, down])


def constant(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None, None].expand(-1, L, L)


def stripes() -> torch.Tensor:
    return torch.tensor([1, -1] * (L // 2)).expand(1, L, L)


FIELDS = {
    "random": (RANDOM, lattice_points, 1),
    "constant": (constant(2.0), lattice_points, 8 * L * L),
    "zero": (constant(0.0), lattice_points, 8 * L * L),
    "stripes": (stripes(), lattice_points, 2 * L * L),
    "one site": (torch.eye(L * L)[5].view(1, L, L), lattice_points, 8),
    "random bonds": (RANDOM, bond_points, 1),
    "alike bonds": (constant(1.0, 1.0), bond_points, 8 * L * L),
    "bonds of two kinds": (constant(1.0, -1.0), bond_points, 4 * L * L),
}


@pytest.mark.parametrize("name", FIELDS)
def test_ties_are_the_symmetry(name):
    x, point, order = FIELDS[name]
    kernel = canonicalize_lattice(x, point)
    assert kernel.order == order
    assert sum(torch.equal(lattice_action(g, x, point), x) for g in ELEMENTS) == order
    assert all(torch.equal(lattice_action(h, kernel.canonical, point), x) for h in kernel.elements)
    for g in ELEMENTS[::7]:
        assert torch.equal(canonicalize_lattice(lattice_action(g, x, point), point).canonical, kernel.canonical)


@pytest.mark.parametrize("offset", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("name", ["random", "stripes", "one site", "two sites", "constant"])
def test_a_large_mean_hides_nothing(name, offset):
    two = torch.zeros(1, L, L, dtype=torch.float64)
    two[0, 1, 2], two[0, 3, 3] = 1e-3, 2e-3
    x, point, _ = {**FIELDS, "two sites": (two, lattice_points, 1)}[name]
    x = x.double() + offset
    order = sum(torch.equal(lattice_action(g, x, point), x) for g in ELEMENTS)
    kernel = canonicalize_lattice(x, point)
    assert kernel.order == order
    for g in ELEMENTS[::7]:
        assert torch.equal(canonicalize_lattice(lattice_action(g, x, point), point).canonical, kernel.canonical)


@pytest.mark.parametrize("offset", [(0.1, 0.1), (1e6, 1e6), (1e6, -1e6), (1e6, 2e6)])
def test_a_large_mean_on_bonds_hides_nothing(offset):
    x = 1e-3 * RANDOM.double() + constant(*offset).double()
    kernel = canonicalize_lattice(x, bond_points)
    assert kernel.order == 1
    for g in ELEMENTS[::7]:
        moved = lattice_action(g, x, bond_points)
        assert torch.equal(canonicalize_lattice(moved, bond_points).canonical, kernel.canonical)


@pytest.mark.parametrize("name", ["random", "stripes", "one site", "random bonds", "bonds of two kinds"])
def test_relaxed_equivariance(name):
    """A fixed field moved by the first element of the kernel; one moved by nothing is not relaxed equivariant."""
    x, point, order = FIELDS[name]
    spins = torch.randn(1, L, L, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def answer(field):
        return lattice_action(canonicalize_lattice(field, point).elements[0], spins)

    stabilizer = [g for g in ELEMENTS if torch.equal(lattice_action(g, x, point), x)]
    act_in = lambda g, field: lattice_action(g, field, point)  # noqa: E731
    error, broken = relaxed_equivariance_error(answer, x, ELEMENTS[::5], stabilizer, act_in, lattice_action)
    assert error == 0
    assert broken == 0 if order == 1 else broken > 0.1
    wrong = relaxed_equivariance_error(lambda _: spins, x, ELEMENTS[::5], stabilizer, act_in, lattice_action)
    assert wrong.error > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_uniform(seed):
    kernel = canonicalize_lattice(stripes())
    drawn = kernel.sample(10_000, torch.Generator().manual_seed(seed))
    assert uniformity_p_value(drawn, kernel.elements) > 0.01


def test_bad_fields_are_refused():
    for field in (torch.ones(4, 4), torch.ones(1, 4, 5), torch.ones(1, 4, 4) / 0):
        with pytest.raises(ValueError, match=r"\[C, L, L\]"):
            canonicalize_lattice(field)
