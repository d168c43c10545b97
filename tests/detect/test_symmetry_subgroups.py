"""Finite space groups: products, stabilizers with and without time reversal, settings and normalizers."""

import moyopy
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.detect.normalizer import smith_form

PEROVSKITE = Atoms(
    "SrTiO3",
    scaled_positions=[(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)],
    cell=[3.905] * 3,
    pbc=True,
)
RUTILE = crystal(["V", "O"], [(0, 0, 0), (0.3, 0.3, 0)], spacegroup=136, cellpar=[4.55, 4.55, 2.85, 90, 90, 90])
WURTZITE = bulk("ZnO", "wurtzite", a=3.25, c=5.2)
CHAIN = Atoms("C", cell=[4, 4, 2.5], pbc=True)


def turned(atoms, seed=0):
    """Another orientation, origin and order of the atoms."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix() * rng.choice([-1, 1])
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ turn.T)
    out.positions = atoms.positions @ turn.T + rng.standard_normal(3)
    order = rng.permutation(len(out))
    return out[order], turn, order


def general(number, cellpar, seed=1):
    """A crystal of a space group with atoms at one general position."""
    place = np.random.default_rng(seed).uniform(0.05, 0.45, 3)
    return crystal(["C"], [place], spacegroup=number, cellpar=cellpar, primitive_cell=True)


@pytest.mark.parametrize(
    "atoms", [PEROVSKITE * (2, 2, 1), RUTILE * (1, 1, 2), fcc111("Al", (2, 2, 3)), molecule("CH4")]
)
def test_products_are_those_of_rotations_and_permutations(atoms):
    s = detect_symmetry(turned(atoms)[0])
    moves, turns = s.permutations.numpy(), s.rotations.numpy()
    rng = np.random.default_rng(0)
    for a, b in rng.integers(len(moves), size=(40, 2)):
        c = s.abstract.table[a, b]
        assert (moves[a][moves[b]] == moves[c]).all()
        assert np.abs(turns[a] @ turns[b] - turns[c]).max() < 1e-9
    assert (np.abs(turns[s.pure_translations] - np.eye(3)).max((1, 2)) < 1e-9).all()
    assert len(s.pure_translations) == (np.abs(turns - np.eye(3)).max((1, 2)) < 1e-9).sum()


@pytest.mark.parametrize(("waves", "symbol", "order"), [("+", "P4/mbm", 64), ("-", "I4/mcm", 64), ("0", "P4/m", 64)])
def test_tilts_keep_space_groups(waves, symbol, order):
    atoms, turn, places = turned(PEROVSKITE * (2, 2, 2), 3)
    plain = PEROVSKITE * (2, 2, 2)
    index = np.rint(plain.positions / 3.905).astype(int)
    sign = {"+": (-1.0) ** index[:, :2].sum(1), "-": (-1.0) ** index.sum(1), "0": np.ones(40)}[waves]
    field = np.outer(sign * (plain.numbers == 22), [0, 0, 1])
    field = (field @ turn.T * np.linalg.det(turn))[places]
    s = detect_symmetry(atoms)
    k = s.stabilizer(field, "1e")
    assert (k.space_group.symbol, k.order, k.index) == (symbol, order, 384 // order)
    cell, origin = k.setting
    assert np.linalg.det(k.lattice) == pytest.approx(8 * 3.905**3 / sum(g in k.operations for g in s.pure_translations))
    rotations, shifts = (x.numpy()[list(k.operations)] for x in (s.rotations, s.translations))
    w = np.linalg.inv(cell).T @ rotations @ cell.T
    t = (shifts + rotations @ origin - origin) @ np.linalg.inv(cell)
    standard = moyopy.operations_from_number(k.space_group.number)
    known = list(zip(np.array(standard.rotations), np.array(standard.translations), strict=True))
    for a, b in zip(w, t, strict=True):  # each operation is one of the tables, modulo the cell
        misses = [np.abs(a - c).max() + np.abs((b - d + 0.5) % 1 - 0.5).max() for c, d in known]
        assert min(misses) < 1e-6


@pytest.mark.parametrize(
    ("wave", "axis", "uni", "domains"),
    [
        *[((0, 0, 0), (0, 0, 1), 1005, 6), ((0, 0, 1), (0, 0, 1), 1020, 6), ((1, 1, 0), (0, 0, 1), 1057, 6)],
        *[((1, 1, 1), (0, 0, 1), 1210, 6), ((0, 0, 0), (1, 1, 1), 1331, 8), ((1, 1, 1), (1, 1, 1), 1338, 8)],
        *[((0, 0, 1), (1, 1, 1), 97, 24), ((1, 1, 0), (1, 1, 1), 90, 24)],
    ],
)
def test_magnetic_orders(wave, axis, uni, domains):
    atoms = PEROVSKITE * (2, 2, 2)
    index = np.rint(atoms.positions / 3.905).astype(int)
    moments = np.outer((-1.0) ** (index @ wave) * (atoms.numbers == 22), axis)
    k = detect_symmetry(atoms).stabilizer(moments, "1e", time_reversal=True)
    assert (k.magnetic_group, k.index) == (uni, domains)
    known = moyopy.magnetic_operations_from_uni_number(uni, primitive=True)
    pure = sum(s > 0 for s in np.array(k.signs)[[k.operations.index(g) for g in k.operations if g < 8]])
    assert k.order == len(known.rotations) * pure


def test_slabs_have_layer_groups_and_molecules_point_groups():
    slab = detect_symmetry(fcc111("Al", (2, 1, 2), vacuum=8))
    stripes = np.array([[1.0], [-1.0]] * 2)
    k = slab.stabilizer(stripes, "0e")
    assert k.lattice.shape == (2, 3)
    assert k.index == 2
    methane = detect_symmetry(molecule("CH4"))
    bond = np.eye(5)[1][:, None]
    k = methane.stabilizer(bond, "0e")
    assert (k.space_group, k.point_group.schoenflies, k.lattice.shape) == (None, "C3v", (0, 3))


def test_what_makes_no_sense_is_said():
    s = detect_symmetry(CHAIN * (1, 1, 2))
    with pytest.raises(ValueError, match="not a subgroup"):
        s.subgroup([0, 2, 3])
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        s.stabilizer(np.zeros((2, 1)), "1o")
    with pytest.raises(ValueError, match="vanishes"):
        s.stabilizer(np.zeros((2, 3)), "1e", time_reversal=True)
    with pytest.raises(ValueError, match="no signs"):
        _ = s.subgroup([0]).magnetic_group
    with pytest.raises(ValueError, match="crystals"):
        detect_symmetry(molecule("CH4")).normalizer()


@pytest.mark.parametrize(
    ("atoms", "order", "polar"),
    [
        *[(PEROVSKITE * 2, 768, 0), (bulk("C") * 2, 768, 0), (RUTILE * 2, 512, 0), (RUTILE * (1, 2, 2), 256, 0)],
        *[(CHAIN * (1, 1, 2), 128, 0), (WURTZITE * 2, 96, 1), (general(2, [5, 6, 7, 80, 95, 103]) * 2, 128, 0)],
        (general(14, [7, 7, 7, 90, 90, 90]), 64, 0),  # 48 turns of the cell, of which 40 carry no operation to one
    ],
    ids=["perovskite", "diamond", "rutile", "rutile 1x2x2", "chain", "wurtzite", "P-1", "P2_1/c in a cube"],
)
def test_normalizers_of_supercells(atoms, order, polar):
    s = detect_symmetry(turned(atoms)[0])
    n = s.normalizer()
    assert (n.order, len(n.polar)) == (order, polar)
    assert (n.abstract.table[np.ix_(n.inside, n.inside)] == n.inside[s.abstract.table]).all()
    assert len(set(n.inside.tolist())) == s.order // (2 if polar else 1)
    turns, shifts, cell = s.rotations.numpy(), s.translations.numpy(), s.lattice
    assert np.abs(turns @ n.polar.T - n.polar.T).max(initial=0) < 1e-8
    rng = np.random.default_rng(0)
    for a in rng.integers(n.order, size=12):
        q, t = n.rotations[a], n.translations[a]
        for g in rng.integers(s.order, size=6):  # n·g·n⁻¹ is an operation
            w = q @ turns[g] @ q.T
            miss = (shifts - (q @ shifts[g] + t - w @ t)) @ np.linalg.inv(cell)
            near = (np.abs(turns - w).max((1, 2)) < 1e-6) & (np.abs(miss - np.rint(miss)).max(1) < 1e-6)
            assert near.sum() == 1
        b = rng.integers(n.order)
        c = n.abstract.table[a, b]
        miss = q @ n.translations[b] + t - n.translations[c]
        if not polar:
            miss = miss @ np.linalg.inv(cell)
            assert np.abs(q @ n.rotations[b] - n.rotations[c]).max() + np.abs(miss - np.rint(miss)).max() < 1e-6


@pytest.mark.parametrize(
    ("number", "index"),
    [
        (2, 8),
        (16, 16),
        (19, 16),
        (47, 8),
        (62, 8),
        (136, 4),
        (194, 2),
        (205, 2),
        (216, 8),
        (221, 2),
        (225, 2),
        (229, 1),
    ],
)
def test_normalizers_of_primitive_cells_are_those_of_the_tables(number, index):
    """Indices of International Tables A (2002), chapter 15, of the Euclidean normalizers of lattices without more."""
    angles = [80, 95, 103] if number < 3 else [90, 90, 120 if 143 <= number < 195 else 90]
    lengths = {0: [9, 10, 11], 1: [9, 9, 11], 2: [12, 12, 12]}[(number > 74) + (number > 194)]
    s = detect_symmetry(general(number, [*lengths, *angles]))
    assert s.space_group.number == number
    assert s.normalizer().order == index * s.order


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (6, 2)])
def test_smith_form_of_integer_matrices(shape):
    """Entries without a common divisor, which take several steps; the second matrix of each pair is of lower rank."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        a = rng.integers(-9, 10, shape)
        lower = a.copy()
        lower[:, 1] = -3 * a[:, 0]
        for matrix in (a, lower):
            u, diagonal, v = smith_form(matrix)
            expected = np.zeros(shape, dtype=int)
            np.fill_diagonal(expected, diagonal)
            assert (u @ matrix @ v == expected).all()
            assert {round(abs(np.linalg.det(u))), round(abs(np.linalg.det(v)))} == {1}
            assert (diagonal >= 0).all()
            assert ((diagonal > 0) == (np.arange(shape[1]) < np.linalg.matrix_rank(matrix))).all()
