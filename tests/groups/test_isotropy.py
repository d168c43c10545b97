"""Isotropy subgroups: directions are generic, and `reversible` is said of all of Fix(K)."""

import numpy as np
import pytest
from ase.build import molecule

from pyg_symbreak.distort.displacements import Displacements
from pyg_symbreak.groups import (
    FiniteGroup,
    PointGroup,
    irreps_matrices,
    isotropy_subgroups,
    joint_isotropy_subgroups,
)


def fixed_space(matrices: np.ndarray, k: tuple[int, ...]) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrices[list(k)].mean(0))
    return vectors[:, values > 0.5]


def all_cases():
    for name, irreps in [
        ("Oh", "1o"),
        ("Oh", "3o"),
        ("Td", "3o"),
        ("D6h", "2e"),
        ("Ih", "2e"),
        ("D3", "1o"),
        ("C3", "1o"),
    ]:
        group = PointGroup(name)
        matrices = irreps_matrices(irreps, group.matrices)
        if np.abs(matrices.mean(0)).max() < 1e-9:
            yield f"{name} {irreps}", matrices, FiniteGroup(group.table)
    for name in ("CH4", "C6H6", "C2H6", "NH3"):
        space = Displacements(molecule(name), 1e-2)
        for irrep in space.irreps:
            yield f"{name} {irrep.name}", irrep.matrices, space.abstract


@pytest.mark.parametrize(("name", "matrices", "group"), [pytest.param(*case, id=case[0]) for case in all_cases()])
def test_directions_are_generic_in_their_fixed_space(name, matrices, group):
    """Their stabilizer and whether they can be reversed are those of random vectors of Fix(K)."""
    rng = np.random.default_rng(0)
    for k, parameters, vector, reversible in isotropy_subgroups(matrices, group):
        space = fixed_space(matrices, k)
        assert space.shape[1] == parameters
        np.testing.assert_allclose(space @ (space.T @ vector), vector, atol=1e-9)
        assert np.linalg.norm(vector) == pytest.approx(1)
        for trial in (vector, *(space @ rng.standard_normal((20, parameters, 1)))[..., 0]):
            images = matrices @ trial
            assert tuple(np.flatnonzero(np.linalg.norm(images - trial, axis=1) < 1e-5)) == k
            assert bool(np.linalg.norm(images + trial, axis=1).min() < 1e-5) == reversible


def test_a_plane_that_turns_by_thirds_is_not_reversible():
    """C3 on the plane has one stratum of two parameters in which no vector is the opposite of an image."""
    turn = PointGroup("C3").matrices[:, :2, :2]
    ((k, parameters, _, reversible),) = isotropy_subgroups(turn, FiniteGroup(PointGroup("C3").table))
    assert (k, parameters, reversible) == ((0,), 2, False)


@pytest.mark.parametrize("seed", range(5))
def test_subgroups_do_not_depend_on_the_order_of_the_elements_or_the_basis(seed):
    """Nor on round-off: stabilizers are those of the table, and of each vector exactly."""
    rng = np.random.default_rng(seed)
    space = Displacements(molecule("CH4"))
    (irrep,) = [irrep for irrep in space.irreps if irrep.name == "T2"]
    order, basis = rng.permutation(24), np.linalg.qr(rng.standard_normal((3, 3)))[0]
    matrices = (basis @ irrep.matrices @ basis.T)[order] + 1e-10 * rng.standard_normal((24, 3, 3))
    found = isotropy_subgroups(matrices, space.abstract.reordered(order))
    assert [(len(k), parameters) for k, parameters, *_ in found] == [(6, 1), (4, 1), (2, 2), (1, 3)]
    for k, _, vector, _ in found:
        assert tuple(np.flatnonzero(np.abs(matrices @ vector - vector).max(1) < 1e-6)) == k


def test_joint_subgroups_are_stabilizers_of_pairs():
    """Of random pairs of images of the vectors, and found once each."""
    group = PointGroup("Oh")
    abstract = FiniteGroup(group.table)
    a, b = (irreps_matrices(irreps, group.matrices) for irreps in ("1o", "1e"))
    first, second = ([(k, v) for k, _, v, _ in isotropy_subgroups(m, abstract)] for m in (a, b))
    found = joint_isotropy_subgroups([k for k, _ in first], [k for k, _ in second], abstract)
    classes = [set(abstract.conjugates(k)) for k, *_ in found]
    for k, i, j, g in found:
        v, w = first[i][1], b[g] @ second[j][1]
        kept = (np.abs(a @ v - v).max(1) < 1e-6) & (np.abs(b @ w - w).max(1) < 1e-6)
        assert tuple(np.flatnonzero(kept)) == k
        assert sum(k in members for members in classes) == 1
    rng = np.random.default_rng(0)
    for _ in range(60):
        v, w = a[rng.integers(48)] @ first[rng.integers(len(first))][1], b[rng.integers(48)] @ second[-1][1]
        kept = (np.abs(a @ v - v).max(1) < 1e-6) & (np.abs(b @ w - w).max(1) < 1e-6)
        assert any(tuple(np.flatnonzero(kept)) in members for members in classes)
