"""Space groups of what distortions keep: against the tables of SrTiO3 in its doubled cell, and against spglib."""

from collections import defaultdict

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk, fcc100, fcc111, graphene, molecule
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation

from pyg_symbreak.detect import detect_symmetry, identify_space_group
from pyg_symbreak.distort import distortions


def perovskite(size: tuple[int, int, int] = (2, 2, 2)) -> Atoms:
    places = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    return Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True).repeat(size)


def stretched(atoms: Atoms) -> Atoms:
    atoms.set_cell(atoms.cell.array * [1, 1, 1.05], scale_atoms=True)
    return atoms


def turned(atoms: Atoms, seed: int) -> Atoms:
    """Another orientation, origin, basis of the lattice, and order of the atoms."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    basis = np.eye(3)
    if atoms.pbc.all():
        basis = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]])
    out = atoms.copy()
    out.set_cell(basis @ atoms.cell.array @ turn.T)
    out.positions = atoms.positions @ turn.T + rng.standard_normal(3)
    return out[rng.permutation(len(out))]


def by_spglib(atoms: Atoms) -> int:
    found = spglib.get_spacegroup((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-4)
    return int(found.split("(")[1][:-1])


DOUBLED = {
    ("R", 1, 1): ["225/2"],
    ("R", 2, 1): ["139/6 140/6 69/12"],
    ("R", 3, 1): ["140/6 167/8 74/12 12/24 15/24 2/48", "139/6 166/8 74/12 12/24 12/24 2/48"],
    ("R", 3, 2): ["139/6 166/8 74/12 12/24 12/24 2/48"],
    ("M", 3, 1): ["127/6 204/8 139/12 71/24", "229/4 123/6 139/12 71/24"] * 2
    + ["129/6 217/8 140/12 72/24 121/24 23/48"],
    ("M", 3, 2): ["129/6 217/8 140/12 72/24 121/24 23/48"],
    ("X", 3, 2): ["123/6 221/8 123/12 47/24 123/24 47/48"] * 2,
    ("X", 3, 1): ["131/6 223/8 123/12 47/24 131/24 47/48"],
    ("T", 3, 3): ["99/6 160/8 38/12 6/24 8/24 1/48"],
    ("T", 3, 1): ["115/6 155/8 38/12 5/24 6/24 1/48"],
}
"""Cubic SrTiO3 in its 2 x 2 x 2 cell: (k vector, dimension, multiplicity) of irreps, space groups, numbers of domains.

The tilts are R4+ (140 ... 2) and M3+ (127 ... 71), as in C. J. Howard & H. T. Stokes, *Acta Cryst.* B54, 782 (1998).
"""


def test_the_distortions_of_a_perovskite_in_a_doubled_cell():
    atoms = perovskite()
    listed = defaultdict(list)
    for d in distortions(atoms, copies=1):
        listed[d.irrep, d.dimension, d.multiplicity].append(f"{d.space_group.number}/{d.equivalent}")
        start = next(d.starts(atoms, 0.05))
        assert by_spglib(start) == d.space_group.number
        assert repr(d).endswith(f"keeps {d.space_group.symbol} ({d.space_group.number}), {d.equivalent} equivalent)")
    found = defaultdict(list)
    for (name, dimension, multiplicity), groups in listed.items():
        if dimension < 6:
            found[name[0], dimension, multiplicity].append(" ".join(groups))
    as_sets = {key: sorted(sorted(line.split()) for line in lines) for key, lines in found.items()}
    assert as_sets == {key: sorted(sorted(line.split()) for line in lines) for key, lines in DOUBLED.items()}
    sixes = sorted((name[0], multiplicity) for name, dimension, multiplicity in listed if dimension == 6)
    assert sixes == [("M", 1), ("M", 3), ("X", 2), ("X", 3)]
    assert sum(len(groups) for groups in listed.values()) == 172
    assert len(listed) == 20


LETTERS = {
    "diamond": (lambda: bulk("Si").repeat((2, 2, 2)), {("Γ", 3), ("L", 4), ("L", 8), ("X", 6)}),
    "copper": (lambda: bulk("Cu").repeat((2, 2, 2)), {("L", 4), ("L", 8), ("X", 3), ("X", 6)}),
    "copper, cubic cell": (lambda: bulk("Cu", cubic=True), {("X", 3), ("X", 6)}),
    "iron": (lambda: bulk("Fe").repeat((2, 2, 2)), {("H", 3), ("N", 6)}),
    "magnesium": (lambda: bulk("Mg").repeat((1, 1, 2)), {("Γ", 1), ("Γ", 2), ("A", 2), ("A", 4)}),
    "magnesium, thirds": (
        lambda: bulk("Mg").repeat((3, 3, 1)), {("Γ", 1), ("Γ", 2), ("K", 2), ("K", 4), ("k6", 6)},
    ),
    "tetragonal": (lambda: stretched(perovskite((1, 1, 2))), {("Γ", 1), ("Γ", 2), ("Z", 1), ("Z", 2)}),
}  # fmt: skip
"""Letters and dimensions of the phonons at the k vectors that the cell admits, as in tables of dispersion curves.

At X of copper one longitudinal and a pair of transverse branches for three arms; on a line between special vectors,
a third of the way, there is no letter.
"""


@pytest.mark.parametrize("name", LETTERS)
def test_letters_of_k_vectors(name):
    make, expected = LETTERS[name]
    for atoms in (make(), turned(make(), 3)):
        found = {(d.irrep.split("(")[0] if "(" in d.irrep else "Γ", d.dimension) for d in distortions(atoms, copies=1)}
        assert found == expected


def test_numbers_of_irreps_do_not_depend_on_orientation_and_order():
    lists = [
        [(d.irrep, d.dimension, d.multiplicity, d.space_group.number) for d in distortions(atoms, copies=1)]
        for atoms in (bulk("Si").repeat((2, 2, 1)), turned(bulk("Si").repeat((2, 2, 1)), 4))
    ]
    assert sorted(lists[0]) == sorted(lists[1])


CRYSTALS = {
    "tetragonal perovskite 2x2x1": lambda: stretched(perovskite((2, 2, 1))),
    "tetragonal perovskite 1x1x2": lambda: stretched(perovskite((1, 1, 2))),
    "diamond": lambda: bulk("Si").repeat((1, 1, 2)),
    "wurtzite": lambda: bulk("ZnO", "wurtzite", a=3.25, c=5.2),
    "rutile": lambda: crystal(
        ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, 90, 90, 90]
    ),
    "quartz": lambda: crystal(
        ["Si", "O"], [(0.47, 0, 0), (0.41, 0.27, 0.12)], spacegroup=152, cellpar=[4.91, 4.91, 5.40, 90, 90, 120]
    ),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_space_groups_are_those_of_displaced_structures(name):
    atoms = turned(CRYSTALS[name](), 1)
    for d in distortions(atoms, copies=1):
        for start in d.starts(atoms, 0.05):
            assert by_spglib(start) == d.space_group.number


@pytest.mark.parametrize(
    "make",
    [lambda: fcc100("Cu", (2, 2, 3), vacuum=6), lambda: fcc111("Cu", (2, 1, 3), vacuum=5), lambda: graphene(vacuum=5)],
)
def test_layer_groups_are_those_of_displaced_slabs(make):
    slab = turned(make(), 2)
    for d in distortions(slab, copies=1):
        for start in d.starts(slab, 0.05):
            assert detect_symmetry(start, 1e-4).layer_group == d.space_group


def test_a_supercell_that_is_less_symmetric_than_the_crystal_counts_what_keeps_it():
    """A cubic crystal doubled along one axis: the structure has all that is named, and somewhere more."""
    atoms, more = perovskite((2, 1, 1)), []
    for d in distortions(atoms, copies=1):
        start = next(d.starts(atoms, 0.05))
        found = detect_symmetry(start, 1e-4)
        assert found.order == len(d.operations)
        more.append(found.space_group.number != d.space_group.number)
        assert found.space_group.number == by_spglib(start)
    assert any(more)


def test_a_molecule_has_no_space_group():
    assert {d.space_group for d in distortions(molecule("CH4"))} == {None}
    assert {d.symbol for d in distortions(molecule("CH4")) if d.irrep == "E"} == {"D2d", "D2"}


def test_every_group_of_a_supercell_without_point_symmetry():
    """Pure translations alone: P1 in whatever primitive cell; with the inversion P-1."""
    cell = np.array([[4.0, 0, 0], [0.3, 5, 0], [0.2, 0.7, 6]])
    shifts = np.array([[0, 0, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0]]) @ cell
    ones = np.broadcast_to(np.eye(3), (4, 3, 3))
    every = np.ones(3, dtype=bool)
    assert identify_space_group(cell, every, ones, shifts).number == 1
    both = np.concatenate([ones, -ones]), np.concatenate([shifts, shifts])
    assert identify_space_group(cell, every, *both).number == 2


def test_operations_of_a_relaxed_structure():
    """Its atoms miss their places by some 1e-4 of the cell, and so do the shifts of its operations: P2_12_12_1."""
    cell, every = np.diag([5.4, 5.5, 7.7]), np.ones(3, dtype=bool)
    turns = np.array([np.diag(d) for d in ((1.0, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1))])
    shifts = np.array([[0, 0, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0]])
    noise = np.random.default_rng(0).uniform(-5e-4, 5e-4, shifts.shape)
    assert identify_space_group(cell, every, turns, (shifts + noise) @ cell).number == 19
    assert identify_space_group(cell, every, turns, (shifts * [0, 0, 1] + noise) @ cell).number == 17
