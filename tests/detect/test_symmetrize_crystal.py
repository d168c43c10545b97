"""Symmetrizing crystals: an orthogonal projection onto symmetric positions, in oblique cells and with screws."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation

from pyg_symbreak.detect import detect_symmetry, symmetrize


def oblique(atoms: Atoms, seed: int) -> Atoms:
    """Another orientation, origin and, of a crystal, an oblique basis of its lattice."""
    turn = Rotation.random(random_state=seed).as_matrix()
    basis = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]]) if atoms.pbc.all() else np.eye(3)
    out = atoms.copy()
    out.set_cell(basis @ atoms.cell.array @ turn.T)
    out.positions = atoms.positions @ turn.T + np.random.default_rng(seed).standard_normal(3)
    return out


CRYSTALS = {
    "quartz": lambda: crystal(
        ["Si", "O"], [(0.47, 0, 0), (0.41, 0.27, 0.12)], spacegroup=152, cellpar=[4.91, 4.91, 5.40, 90, 90, 120]
    ),
    "rutile": lambda: crystal(
        ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, 90, 90, 90]
    ),
    "hcp": lambda: bulk("Mg").repeat((2, 1, 1)),
    "slab": lambda: fcc111("Cu", (2, 1, 3), vacuum=5),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_symmetrized_positions_are_the_nearest_symmetric_ones(name):
    exact = oblique(CRYSTALS[name](), 1)
    atoms = exact.copy()
    atoms.rattle(0.01, seed=2)
    symmetry = detect_symmetry(atoms, 0.15)
    assert symmetry.order == detect_symmetry(exact, 1e-4).order
    found = symmetrize(atoms, symmetry)
    np.testing.assert_allclose(found.cell.array, exact.cell.array, atol=1e-6)
    assert detect_symmetry(found, 1e-6).order == symmetry.order
    moved = found.positions - atoms.positions
    rotations, permutations = symmetry.rotations.numpy(), symmetry.permutations.numpy()
    rng = np.random.default_rng(3)
    for _ in range(5):  # orthogonal to all displacements that keep the symmetry
        u, kept = rng.standard_normal(moved.shape), np.zeros_like(moved)
        for r, p in zip(rotations, permutations, strict=True):
            kept[p] += u @ r.T / len(rotations)
        assert abs((kept * moved).sum()) < 1e-8
