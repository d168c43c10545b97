"""Compiled steps of the search for symmetries of crystals, beside plain ones."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, nanotube
from ase.geometry import minkowski_reduce
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from pyg_symbreak import _native
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.structures import shortest_distance

RNG = np.random.default_rng(5)


def turned(atoms: Atoms, seed: int) -> Atoms:
    """A copy in another orientation, away from the origin, not wrapped."""
    out = atoms.copy()
    r = Rotation.random(random_state=seed).as_matrix()
    out.set_cell(out.cell.array @ r.T)
    out.positions = out.positions @ r.T + RNG.integers(-2, 3, (len(out), 3)) @ (out.cell.array * out.pbc[:, None]) + 3.3
    return out


def strained(atoms: Atoms, size: float) -> Atoms:
    """A copy with its cell strained and its atoms displaced at random."""
    out = atoms.copy()
    out.set_cell(out.cell.array @ (np.eye(3) + size * RNG.standard_normal((3, 3))), scale_atoms=True)
    out.positions += size * RNG.standard_normal((len(out), 3))
    return out


def slab() -> Atoms:
    """Two by two cells of a surface of copper, periodic along the second and the third vector."""
    atoms = fcc111("Cu", (2, 2, 3), vacuum=5)
    atoms.pbc = [1, 1, 0]
    return Atoms(atoms.numbers, atoms.positions, cell=np.roll(atoms.cell.array, 1, axis=0), pbc=[0, 1, 1])


STRUCTURES = {
    "silicon": bulk("Si"),
    "supercell": bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 3),
    "hexagonal": bulk("Mg") * (2, 2, 1),
    "slab": slab(),
    "rod": nanotube(4, 0, length=2),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_shortest_distance(name):
    """As ASE's list of neighbours has it, also of atoms far outside the cell; not above the cutoff."""
    for seed in range(4):
        atoms = turned(strained(STRUCTURES[name], 0.05), seed)
        expected = neighbor_list("d", atoms, 4.0).min()
        assert shortest_distance(atoms.positions, atoms.cell.array, atoms.pbc, 4.0) == pytest.approx(expected)
        assert shortest_distance(atoms.positions, atoms.cell.array, atoms.pbc, 0.5) == 0.5


def test_shortest_distance_of_images_only():
    """Of one atom, of two that coincide with images across the border, and where too many images are in reach."""
    cell = np.diag([3.0, 4.0, 5.0])
    every = np.ones(3, dtype=bool)
    assert shortest_distance(np.zeros((1, 3)), cell, every, 10.0) == pytest.approx(3.0)
    assert shortest_distance(np.array([[0, 0, 0], [0, 0, 5 - 1e-12]]), cell, every, 1.0) == pytest.approx(0, abs=1e-9)
    assert _native.shortest_image(np.zeros((1, 3)), cell, 7, 100.0) == -1
    assert shortest_distance(np.zeros((1, 3)), cell, np.zeros(3, dtype=bool), 10.0) == 10.0


def plain_match(fractional, kinds, cell, rotations, shifts):
    """Permutations from all distances."""
    moved = fractional @ rotations.swapaxes(1, 2) + shifts[:, None]
    apart = moved[:, :, None] - fractional
    found = np.linalg.norm((apart - np.round(apart)) @ cell, axis=-1).argmin(2)
    is_permutation = (np.sort(found, axis=1) == np.arange(len(kinds))).all() and (kinds[found] == kinds).all()
    return found if is_permutation else None


def operations_of(atoms: Atoms):
    """Coordinates, kinds, cell, and operations in coordinates along a cell, of a crystal."""
    found = detect_symmetry(atoms, 0.05)
    cell = np.ascontiguousarray(atoms.cell.array)
    inverse = np.linalg.inv(cell)
    rotations = np.round(inverse.T @ found.cosets.rotations @ cell.T)
    kinds = atoms.numbers.astype(np.int64)
    return found, atoms.positions @ inverse, kinds, cell, rotations, found.cosets.translations @ inverse


@pytest.mark.parametrize("name", ["silicon", "supercell", "hexagonal"])
def test_match(name):
    """The permutations that all distances give; None for an operation that is none."""
    found, fractional, kinds, cell, rotations, shifts = operations_of(strained(STRUCTURES[name], 2e-4))
    match = _native.crystal_match(fractional, kinds, cell, rotations, shifts)
    permutations = np.frombuffer(match, dtype=np.int64).reshape(len(rotations), -1)
    assert np.array_equal(permutations, plain_match(fractional, kinds, cell, rotations, shifts))
    assert np.array_equal(permutations, found.cosets.permutations)
    other = kinds.copy()
    other[0] = 1 + other.max()
    for vector in found.supercell.vectors @ np.linalg.inv(cell):
        assert _native.crystal_match(fractional, kinds, cell, np.eye(3)[None], vector[None]) is not None
        assert _native.crystal_match(fractional, other, cell, np.eye(3)[None], vector[None]) is None
    away = shifts + np.array([0.0, 0.0, 0.3])  # no atom is near: nearest ones, if they are a permutation
    far, plain = (f(fractional, kinds, cell, rotations, away) for f in (_native.crystal_match, plain_match))
    assert (far is None) == (plain is None)


def plain_fit(fractional, cell, integer, shifts, permutations, supercell):
    """Cell, shifts, deviations and largest miss of a group of a crystal, by what they are."""
    metric = np.mean([w.T @ cell @ cell.T @ w for w in integer], axis=0)
    values, vectors = np.linalg.eigh(metric)
    root = (vectors * np.sqrt(values)) @ vectors.T
    left, _, right = np.linalg.svd(root @ cell)
    new = root @ left @ right
    symmetric = fractional.copy()
    moves, vectors = supercell.translations()
    apart = symmetric[moves] - symmetric - (vectors @ np.linalg.inv(cell))[:, None]
    symmetric = symmetric + (apart - np.round(apart)).mean(0)
    misses = symmetric[permutations] - symmetric @ integer.swapaxes(1, 2) - shifts[:, None]
    misses -= np.round(misses)
    correction = misses.mean(1)
    symmetric = symmetric + ((misses - correction[:, None]) @ np.linalg.inv(integer).swapaxes(1, 2)).mean(0)
    return new, shifts + correction, (fractional - symmetric) @ new


@pytest.mark.parametrize("name", ["silicon", "supercell", "hexagonal"])
def test_fit(name):
    """As numpy has it; the largest miss is that of the listed operations."""
    found, fractional, _, cell, integer, shifts = operations_of(strained(STRUCTURES[name], 5e-4))
    supercell = found.supercell
    fit = _native.crystal_fit(
        fractional, cell, 3, integer, shifts, found.cosets.permutations, supercell.permutations,
        supercell.vectors @ np.linalg.inv(cell), np.array(supercell.counts, dtype=np.int64),
    )  # fmt: skip
    new, fitted, deviations = plain_fit(fractional, cell, integer, shifts, found.cosets.permutations, supercell)
    np.testing.assert_allclose(np.frombuffer(fit[0]).reshape(3, 3), new, atol=1e-12)
    np.testing.assert_allclose(np.frombuffer(fit[2]).reshape(-1, 3), fitted, atol=1e-12)
    np.testing.assert_allclose(np.frombuffer(fit[3]).reshape(-1, 3), deviations, atol=1e-12)
    assert fit[6] == pytest.approx(found.residuals.max().item(), abs=1e-12)
    assert fit[6] > 1e-4
    rotations = np.frombuffer(fit[1]).reshape(-1, 3, 3)
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(1, 2), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-12
    )


def test_a_cell_without_volume_has_no_metric():
    """Its least eigenvalue is 0."""
    flat = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]])
    one, none = np.eye(3)[None], np.zeros((0, 3))
    with pytest.raises(ValueError, match="so skewed that round-off hides its symmetry: give shorter vectors"):
        _native.crystal_fit(
            np.zeros((1, 3)), flat, 3, one, np.zeros((1, 3)), np.zeros(1, dtype=np.int64), none, none, none
        )


def test_images_outside_the_structure_are_refused():
    """A permutation that names an atom that is not there."""
    one, none = np.eye(3)[None], np.zeros((0, 3))
    with pytest.raises(ValueError, match="permutations must be"):
        _native.crystal_fit(
            np.zeros((1, 3)), np.eye(3), 3, one, np.zeros((1, 3)), np.ones(1, dtype=np.int64), none, none, none
        )


@pytest.mark.parametrize("atoms", [bulk("Si"), bulk("Fe"), bulk("Mg"), bulk("Po", "sc", a=3.3)], ids=str)
def test_shortest_bases(atoms):
    """Bases by brute force: all triples of the shortest vectors that span the lattice, with the least products."""
    cell = np.asarray(minkowski_reduce(atoms.cell.array)[0])
    found = np.frombuffer(_native.shortest_bases(cell, 3, 1e-6)).reshape(-1, 3, 3)
    grid = np.stack(np.meshgrid(*[range(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    vectors = grid @ cell
    lengths = np.linalg.norm(vectors, axis=1)
    shells = [vectors[np.abs(lengths - length) < 1e-6] for length in np.sort(np.linalg.norm(cell, axis=1))]
    bases = np.array([(a, b, c) for a in shells[0] for b in shells[1] for c in shells[2]])
    bases = bases[np.abs(np.abs(np.linalg.det(bases)) - abs(np.linalg.det(cell))) < 1e-6]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        products = np.einsum("nk,nk->n", bases[:, i], bases[:, j])
        bases = bases[products < products.min() + 1e-6]
    np.testing.assert_allclose(found, bases, atol=1e-12)
