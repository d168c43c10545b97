"""Distortions and relaxations: against tables, brute force over all subgroups, and full matrices of force constants."""

from collections import Counter
from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.cluster import Icosahedron, Octahedron
from ase.io import read
from ase.optimize import BFGS, FIRE
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation
from torch_geometric.data import Data

from pyg_symbreak.detect import detect_symmetry, symmetrize
from pyg_symbreak.distort import distortions, relax, same_structure
from pyg_symbreak.distort.displacements import Displacements, nearest_neighbor_distance
from pyg_symbreak.distort.mulliken import mulliken_symbol
from pyg_symbreak.groups import FiniteGroup, PointGroup, irreps_matrices, isotropy_subgroups
from pyg_symbreak.structures import from_ase


def ring(symbol: str, count: int, radius: float) -> Atoms:
    angle = 2 * np.pi * np.arange(count) / count
    return Atoms([symbol] * count, np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], axis=1))


def octahedral() -> Atoms:
    return Atoms("SF6", np.concatenate([np.zeros((1, 3)), 1.56 * np.eye(3), -1.56 * np.eye(3)]))


def crown() -> Atoms:
    atoms = ring("S", 8, 2.3)
    atoms.positions[::2, 2] += 0.5
    atoms.positions[1::2, 2] -= 0.5
    return atoms


def chiral() -> Atoms:
    """Symmetry C3: its E is of complex type."""
    top, low = ring("Cu", 3, 1.5), ring("Cu", 3, 1.6)
    low.rotate(20, "z")
    low.positions[:, 2] -= 2.1
    return top + low + Atoms("Cu", [[0, 0, 1.8]])


def shuffled(atoms: Atoms, seed: int) -> Atoms:
    """Another orientation, place and order of the atoms."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    cell = atoms.cell.array @ turn.T if atoms.pbc.any() else None
    positions = atoms.positions @ turn.T + rng.standard_normal(3)
    return Atoms(atoms.numbers, positions, cell=cell, pbc=atoms.pbc)[rng.permutation(len(atoms))]


def symmetric(atoms: Atoms, symprec: float = 1e-2) -> Atoms:
    return symmetrize(atoms, detect_symmetry(atoms, symprec))


MOLECULES = {
    "CH4": (lambda: molecule("CH4"), "E 2T2"),
    "NH3": (lambda: molecule("NH3"), "2E"),
    "BF3": (lambda: molecule("BF3"), "A2'' 2E'"),
    "SF6": (octahedral, "Eg 2T1u T2g T2u"),
    "C2H4": (lambda: molecule("C2H4"), "Au 2B1u B2g 2B2u 2B3g B3u"),
    "C2H6": (lambda: molecule("C2H6"), "A1u 2A2u 3Eg 3Eu"),
    "allene": (lambda: molecule("C3H4_D2d"), "B1 3B2 4E"),
    "C6H6": (lambda: molecule("C6H6"), "A2g A2u 2B1u 2B2g 2B2u E1g 3E1u 4E2g 2E2u"),
    "S8": (crown, "B1 B2 2E1 3E2 2E3"),
    "cyclopropane": (lambda: molecule("C3H6_D3h"), "A1'' A2' 2A2'' 4E' 3E''"),
    "H2O": (lambda: molecule("H2O"), "B2"),
    "CO2": (lambda: molecule("CO2"), "Pi_u Sigma_u"),
    "C2H2": (lambda: molecule("C2H2"), "Pi_g Pi_u Sigma_u"),
    "C60": (lambda: molecule("C60"), "Au 3T1g 4T1u 4T2g 5T2u 6Gg 6Gu 8Hg 7Hu"),
}
"""Vibrations without the totally symmetric ones, as in textbooks of vibrational spectroscopy."""


@pytest.mark.parametrize("name", MOLECULES)
def test_irreps_of_molecules_are_those_of_the_textbooks(name):
    make, expected = MOLECULES[name]
    found = {d.irrep: d.multiplicity for d in distortions(shuffled(make(), 1), 1e-2, copies=1)}
    wanted = {word.lstrip("0123456789"): int(word[0]) if word[0].isdigit() else 1 for word in expected.split()}
    assert found == wanted


CRYSTALS = {
    "diamond": (lambda: bulk("Si"), "T2g"),
    "rock salt": (lambda: bulk("NaCl", "rocksalt", a=5.64), "T1u"),
    "fluorite": (lambda: bulk("CaF2", "fluorite", a=5.46), "T1u T2g"),
    "perovskite": (lambda: read("datasets/batio3/cubic.cif"), "3T1u T2u"),
    "rutile": (
        lambda: crystal(
            ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96] + 3 * [90]
        ),
        "A2g A2u B1g B2g 2B1u Eg 3Eu",
    ),
}
"""Optical modes at the zone centre, without the totally symmetric ones."""


@pytest.mark.parametrize("name", CRYSTALS)
def test_irreps_of_crystals_are_those_of_the_textbooks(name):
    make, expected = CRYSTALS[name]
    found = {d.irrep: d.multiplicity for d in distortions(shuffled(make(), 2), copies=1)}
    assert found == {word.lstrip("0123456789"): int(word[0]) if word[0].isdigit() else 1 for word in expected.split()}


@pytest.mark.parametrize(
    ("name", "vector", "axial"),
    [
        ("T", "T", "T"), ("Th", "Tu", "Tg"), ("Td", "T2", "T1"), ("O", "T1", "T1"), ("Oh", "T1u", "T1g"),
        ("I", "T1", "T1"), ("Ih", "T1u", "T1g"),
    ],
)  # fmt: skip
def test_symbols_of_vectors_in_cubic_groups(name, vector, axial):
    group = PointGroup(name).rotated(Rotation.random(random_state=3).as_matrix())
    for irreps, expected in (("1o", vector), ("1e", axial)):
        character = np.trace(irreps_matrices(irreps, group.matrices), axis1=1, axis2=2)
        assert mulliken_symbol(group, character, np.zeros(group.order)) == expected
    odd = {"Td": "A2", "Oh": "A1u", "Th": "Au", "Ih": "Au"}.get(name, "A" if name in ("T", "I") else "A1")
    assert mulliken_symbol(group, np.linalg.det(group.matrices), np.zeros(group.order)) == odd


def axial_symbols(n: int) -> dict[str, tuple[str, str, str]]:
    """Of z, of a rotation about z, and of (x, y), in the groups of a main axis of order n."""
    e = "E1" if n > 4 else "E"
    even = n % 2 == 0
    table = {
        f"C{n}": ("A", "A", e),
        f"C{n}v": ("A1", "A2", e),
        f"D{n}": ("A2", "A2", e),
        f"C{n}h": ("Au", "Ag", f"{e}u") if even else ("A''", "A'", f"{e}'"),
        f"D{n}h": ("A2u", "A2g", f"{e}u") if even else ("A2''", "A2'", f"{e}'"),
        f"D{n}d": ("B2", "A2", "E1" if n > 2 else "E") if even else ("A2u", "A2g", f"{e}u"),
        f"S{2 * n}": ("B", "A", "E1" if n > 2 else "E") if even else ("Au", "Ag", f"{e}u"),
    }
    if n == 2:
        del table["C2"], table["C2v"], table["D2"], table["C2h"], table["D2h"]
    return table


@pytest.mark.parametrize("n", range(2, 9))
def test_symbols_in_axial_groups(n):
    for name, expected in axial_symbols(n).items():
        group = PointGroup(name)
        r = group.matrices
        z = r[:, 2, 2]
        found = [
            mulliken_symbol(group, character, np.zeros(group.order))
            for character in (z, z * np.linalg.det(r), r[:, 0, 0] + r[:, 1, 1])
        ]
        assert tuple(found) == expected, name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("D2", "B3 B2 B1"),
        ("D2h", "B3u B2u B1u"),
        ("C2v", "B1 B2 A1"),
        ("C2h", "Bu Bu Au"),
        ("Cs", "A' A' A''"),
        ("Ci", "Au Au Au"),
    ],
)
def test_symbols_of_x_y_z_in_groups_without_degeneracy(name, expected):
    group = PointGroup(name)
    found = [mulliken_symbol(group, group.matrices[:, i, i], np.zeros(group.order)) for i in range(3)]
    assert found == expected.split()


# ---------------------------------------------------------------------- isotropy subgroups

ISOTROPY = {
    ("CH4", "E"): "D2d 1, D2 2",
    ("CH4", "T2"): "C3v 1, C2v 1, Cs 2, C1 3",
    ("SF6", "Eg"): "D4h 1, D2h 2",
    ("SF6", "T1u"): "C4v 1, C3v 1, C2v 1, Cs 2, Cs 2, C1 3",
    ("SF6", "T2g"): "D3d 1, D2h 1, C2h 2, Ci 3",
    ("SF6", "T2u"): "D2d 1, D3 1, C2v 1, C2 2, Cs 2, C1 3",
    ("C6H6", "E2g"): "D2h 1, C2h 2",
    ("C6H6", "E1g"): "C2h 1, C2h 1, Ci 2",
    ("C6H6", "B2u"): "D3h 1",
    ("NH3", "E"): "Cs 1, C1 2",
    ("BF3", "A2''"): "C3v 1",
    ("BF3", "E'"): "C2v 1, Cs 2",
    ("C60", "Hg"): "D5d 1, D3d 1, D2h 2, C2h 3, Ci 5",
    ("C60", "Gg"): "Th 1, D3d 1, S6 2, C2h 2, Ci 4",
    ("C60", "Au"): "I 1",
}
"""Stokes & Hatch for the crystallographic ones; A. Ceulemans, Jahn-Teller effect of icosahedral groups."""


@pytest.mark.parametrize(("name", "irrep"), ISOTROPY)
def test_isotropy_subgroups_are_those_of_the_tables(name, irrep):
    found = [d for d in distortions(shuffled(MOLECULES[name][0](), 3), 1e-2, copies=1) if d.irrep == irrep]
    kept = sorted((d.keep.schoenflies, d.parameters) for d in found)
    assert kept == sorted((k, int(p)) for k, p in (word.split() for word in ISOTROPY[name, irrep].split(", ")))


def every_isotropy_subgroup(matrices: np.ndarray, group: FiniteGroup) -> set[tuple[int, ...]]:
    """By definition, over all subgroups: those that no larger group shares its fixed space with."""
    characters = np.trace(matrices, axis1=1, axis2=2)
    every = [h for members in group.subgroup_classes for h in members]
    fixed = {h: round(characters[list(h)].mean(), 6) for h in every}
    return {h for h in every if fixed[h] > 0 and not any(set(h) < set(k) and fixed[k] == fixed[h] for k in every)}


@pytest.mark.parametrize("make", [*(MOLECULES[k][0] for k in ("CH4", "C6H6", "SF6", "S8", "C2H6")), chiral])
def test_isotropy_subgroups_by_brute_force(make):
    space = Displacements(make(), 1e-2)
    for irrep in space.irreps:
        found = isotropy_subgroups(irrep.matrices, space.abstract)
        conjugates = [c for k, *_ in found for c in space.abstract.conjugates(k)]
        assert len(conjugates) == len(set(conjugates))
        assert set(conjugates) == every_isotropy_subgroup(irrep.matrices, space.abstract)
        for k, parameters, vector, reversible in found:
            images = irrep.matrices @ vector
            assert tuple(np.flatnonzero(np.abs(images - vector).max(1) < 1e-6)) == k
            assert parameters == round(np.trace(irrep.matrices[list(k)], axis1=1, axis2=2).mean())
            assert reversible == (np.abs(images + vector).max(1).min() < 1e-6)


@pytest.mark.parametrize(
    "make", [MOLECULES[k][0] for k in ("CH4", "C6H6", "CO2", "C60")] + [chiral, CRYSTALS["rutile"][0]]
)
def test_irreps_are_orthogonal_representations_that_fill_the_displacements(make):
    space = Displacements(shuffled(make(), 4), 1e-2)
    total = 0
    for irrep in space.irreps:
        multiplicity, dimension, *_ = irrep.basis.shape
        flat = irrep.basis.reshape(multiplicity * dimension, -1)
        np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-10)
        products = irrep.matrices[:, None] @ irrep.matrices[None]
        np.testing.assert_allclose(products[::7], irrep.matrices[space.abstract.table[::7]], atol=1e-10)
        norm = np.square(np.trace(irrep.matrices, axis1=1, axis2=2)).mean()
        assert round(norm, 6) in (1, 2)  # of real or of complex type
        for copy in irrep.basis:  # all copies have the same matrices
            moved = np.einsum("kia,gjia->gkj", copy, space.images(copy))
            np.testing.assert_allclose(moved, irrep.matrices, atol=1e-9)
        total += len(flat)
    invariant = round(space.projector(range(space.order)).trace())
    rotations = 0 if space.atoms.pbc.any() else 3
    spins = np.linalg.det(space.rotations) * np.trace(space.rotations, axis1=1, axis2=2)
    invariant -= round(np.trace(space.rotations, axis1=1, axis2=2).mean())
    invariant -= round(spins.mean()) if rotations else 0
    if not space.linear:
        assert total + invariant == 3 * len(space.atoms) - 3 - rotations


# ---------------------------------------------------------------------- directions

DIRECTIONS = {name: MOLECULES[name][0] for name in ("CH4", "BF3", "C2H6", "CO2", "C2H4", "SF6", "H2O")}
DIRECTIONS |= {"chiral": chiral, "HCN": lambda: molecule("HCN"), "fluorite": CRYSTALS["fluorite"][0]}


@pytest.mark.parametrize("axes", permutations(range(3)), ids=str)
def test_names_do_not_depend_on_the_axis_across_a_plane(axes):
    """Ethene's B1u moves along the double bond, B3u out of the plane, whichever of the axes these are."""
    atoms = molecule("C2H4")
    atoms.positions = atoms.positions[:, axes]
    carbon = atoms.positions[atoms.numbers == 6]
    bond, normal = carbon[1] - carbon[0], np.eye(3)[np.ptp(atoms.positions, axis=0).argmin()]
    group = detect_symmetry(atoms).group
    fixed = np.array([(np.abs(atoms.positions @ g.T - atoms.positions).max(1) < 1e-3).sum() for g in group.matrices])
    for direction, name in ((bond, "B1u"), (np.cross(bond, normal), "B2u"), (normal, "B3u")):
        direction = direction / np.linalg.norm(direction)
        assert mulliken_symbol(group, np.einsum("i,gij,j->g", direction, group.matrices, direction), fixed) == name


@pytest.mark.parametrize("name", DIRECTIONS)
def test_what_a_start_keeps_is_what_it_says(name):
    atoms = symmetric(shuffled(DIRECTIONS[name](), 5))
    whole = detect_symmetry(atoms)
    for d in distortions(atoms):
        starts = list(d.starts(atoms, 0.07))
        assert len(starts) == (1 if d.reversible else 2)
        for sign, start in zip((1, -1), starts, strict=False):
            assert detect_symmetry(start, 1e-4).group == d.keep
            moved = start.positions - atoms.positions
            np.testing.assert_allclose(moved, 0.07 * nearest_neighbor_distance(atoms) * sign * d.direction, atol=1e-12)
            assert np.linalg.norm(moved, axis=1).max() == pytest.approx(0.07 * nearest_neighbor_distance(atoms))
        if whole.continuous is None:
            assert whole.group.contains_group(d.keep)
            images = np.zeros((whole.order, *d.direction.shape))
            for g in range(whole.order):
                images[g][whole.permutations[g]] = d.direction @ whole.rotations[g].numpy().T
            distinct = {tuple(np.round(image.ravel(), 5) + 0.0) for image in images}
            assert len(distinct) == d.equivalent == whole.order // len(d.operations)
            assert (np.abs(images + d.direction).max((1, 2)).min() < 1e-6) == d.reversible
        if not atoms.pbc.any():  # no rigid motion
            centred = atoms.positions - atoms.positions.mean(0)
            assert np.abs(d.direction.sum(0)).max() < 1e-9
            assert np.abs(np.cross(centred, d.direction).sum(0)).max() < 1e-8


def test_starts_are_inequivalent():
    atoms = symmetric(octahedral())
    starts = [start for d in distortions(atoms) for start in d.starts(atoms, 0.35)]
    for i, a in enumerate(starts):
        assert [j for j, b in enumerate(starts) if same_structure(a, b)] == [i]


@pytest.mark.parametrize(("name", "combine"), [("CH4", 1), ("BF3", 2)])
def test_signs_that_are_said_to_be_alike_are_and_the_others_are_not(name, combine):
    """Of BF3 some operation turns A2'' into its opposite and none E', so none turns their sum."""
    atoms = symmetric(molecule(name))
    found = distortions(atoms, combine=combine)
    assert {len(d.parts) for d in found} == {*range(1, combine + 1)}
    for d in found:
        reach = 0.3 * nearest_neighbor_distance(atoms) * d.direction
        signs = [Atoms(atoms.numbers, atoms.positions + s * reach) for s in (1, -1)]
        assert same_structure(*signs) == d.reversible


@pytest.mark.parametrize("name", ["CH4", "C6H6", "S8", "C2H2"])
def test_the_list_does_not_depend_on_orientation_and_order(name):
    make = MOLECULES[name][0]
    lists = [
        Counter(
            (d.irrep, d.copy, d.keep.schoenflies, d.parameters, d.equivalent, d.reversible)
            for d in distortions(x, 1e-2)
        )
        for x in (make(), shuffled(make(), 6), shuffled(make(), 7))
    ]
    assert lists[0] == lists[1] == lists[2]


def test_copies_of_an_irrep_are_the_same_in_every_orientation():
    """They are the eigenspaces of a model, not of something random: the softest bends the angles."""
    atoms = symmetric(molecule("CH4"))
    for seed in (1, 2):
        turned = symmetric(shuffled(atoms, seed))
        found = {(d.copy, d.keep.schoenflies): d for d in distortions(turned) if d.irrep == "T2"}
        for (copy, _), d in found.items():
            carbon = int(np.argmax(turned.numbers))
            bonds = np.delete(turned.positions - turned.positions[carbon], carbon, axis=0)
            change = np.delete(d.direction - d.direction[carbon], carbon, axis=0)
            stretch = np.abs((bonds * change).sum(1)).max() / nearest_neighbor_distance(turned)
            assert stretch < 0.3 if copy == 0 else stretch > 0.6


def test_a_linear_molecule_bends_in_a_plane():
    bend, stretch = distortions(shuffled(molecule("CO2"), 8), 1e-2)
    assert (bend.keep.schoenflies, bend.dimension, bend.equivalent) == ("C2v", 2, np.inf)
    assert (stretch.keep.schoenflies, stretch.dimension, stretch.equivalent) == ("Cinfv", 1, 2)


@pytest.mark.parametrize("name", ["Li", "N2", "HF", "H2O2"])
def test_nothing_to_break(name):
    assert [d for d in distortions(molecule(name), 1e-2) if d.keep.order > 1] == []


def test_data_is_taken_as_atoms_are():
    data = from_ase(molecule("CH4"), torch.float64)
    assert [repr(d) for d in distortions(data)] == [repr(d) for d in distortions(molecule("CH4"))]


def test_a_graph_has_no_displacements():
    with pytest.raises(ValueError, match="positions"):
        distortions(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2))


def test_translations_of_a_supercell_are_broken():
    """Simple cubic, doubled: the two atoms move against each other, along the doubled axis or across it."""
    atoms = Atoms("Cu", cell=[2.4] * 3, pbc=True).repeat((2, 1, 1))
    found = {(d.irrep, d.dimension, d.keep.label): d for d in distortions(atoms)}
    assert [key[:2] for key in found] == [("Z(1)", 1), ("Z(2)", 2), ("Z(2)", 2), ("Z(2)", 2)]
    for d in found.values():
        np.testing.assert_allclose(d.direction[0], -d.direction[1], atol=1e-12)
        for start in d.starts(atoms, 0.1):
            assert detect_symmetry(start, 1e-4).order == len(d.operations)
    assert {d.equivalent for d in found.values() if d.parameters == 1} == {2, 4}


# ---------------------------------------------------------------------- relaxations


def force_constants(atoms: Atoms, calculator, step: float = 0.01) -> np.ndarray:
    """By central differences in each coordinate, eV/Å²."""
    size = atoms.positions.size
    matrix = np.zeros((size, size))
    for k in range(size):
        forces = []
        for sign in (1, -1):
            moved = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, calculator=calculator)
            moved.positions.ravel()[k] += sign * step
            forces.append(moved.get_forces().ravel())
        matrix[k] = (forces[1] - forces[0]) / (2 * step)
    return (matrix + matrix.T) / 2


class CountedEMT(EMT):
    count = 0

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.count += 1


@cache
def cuboctahedron():
    return relax(Octahedron("Cu", 3, 1), EMT())


def test_the_cuboctahedron_becomes_the_icosahedron():
    result = cuboctahedron()
    assert [s.symmetry.schoenflies for s in result.found] == ["Oh", "Ih"]
    assert [s.is_minimum for s in result.found] == [False, True]
    assert result.found[0].unstable == ["A2g"]
    assert result.minima == result.found[1:]
    descent = result.descents[1]
    assert (descent.distortion.keep.schoenflies, descent.parent, descent.found) == ("Th", 0, 1)
    known = Icosahedron("Cu", 2)
    known.calc = EMT()
    BFGS(known, logfile=None).run(fmax=1e-4)
    assert result.found[1].energy == pytest.approx(known.get_potential_energy(), abs=1e-4)
    assert same_structure(result.found[1].atoms, known)
    assert not same_structure(result.found[0].atoms, known)


def test_without_breaking_the_cuboctahedron_stays():
    atoms = shuffled(Octahedron("Cu", 3, 1), 9)
    atoms.calc = EMT()
    assert BFGS(atoms, logfile=None).run(fmax=0.01, steps=500)
    assert detect_symmetry(atoms).group.schoenflies == "Oh"
    assert atoms.get_potential_energy() == pytest.approx(cuboctahedron().found[0].energy, abs=1e-3)


@pytest.mark.parametrize("seed", [10, 11])
def test_relaxation_does_not_depend_on_orientation_and_order(seed):
    calculator = CountedEMT()
    result = relax(shuffled(Octahedron("Cu", 3, 1), seed), calculator)
    assert [s.symmetry.schoenflies for s in result.found] == ["Oh", "Ih"]
    assert abs(result.calls - cuboctahedron().calls) <= 2
    assert result.calls == calculator.count


def test_lennard_jones_clusters():
    """The energy of the icosahedron of 13 atoms in the Cambridge Cluster Database, -44.326801 epsilon."""
    atoms = Octahedron("Ar", 3, 1, latticeconstant=3.4 * 1.55)
    result = relax(atoms, LennardJones(sigma=3.4, epsilon=1.0, rc=1e4), fmax=1e-4)
    assert result.minima[0].energy == pytest.approx(-44.326801, abs=1e-5)
    assert result.minima[0].symmetry.schoenflies == "Ih"


@pytest.mark.parametrize("make", [lambda: Octahedron("Cu", 3, 1), chiral, lambda: ring("Cu", 4, 1.6)])
def test_curvatures_are_those_of_the_full_matrix(make):
    calculator = EMT()
    result = relax(shuffled(make(), 12), calculator, generations=1, fmax=1e-4)
    first = result.found[0]
    space = Displacements(first.atoms, 1e-3)
    full = force_constants(space.atoms, calculator)
    for name, lowest in first.curvatures:
        (irrep,) = [i for i in space.irreps if i.name == name]
        flat = irrep.basis.reshape(-1, full.shape[0])
        assert lowest == pytest.approx(np.linalg.eigvalsh(flat @ full @ flat.T)[0], rel=3e-3, abs=5e-3)
    assert {name for name, _ in first.curvatures} == {irrep.name for irrep in space.irreps}


@pytest.mark.parametrize(
    ("atoms", "symmetry", "minima"),
    [
        (Atoms("Cu3", [[0, 0, -2.3], [0, 0, 0], [0, 0, 2.3]]), "Dinfh", {"D3h"}),
        (Atoms("Cu5", [[0, 0, 2.3 * i] for i in range(5)]), "Dinfh", {"D3h"}),
        (ring("Cu", 4, 1.7), "D4h", {"Td"}),
        (ring("Cu", 6, 2.4) + Atoms("Cu", [[0, 0, 0]]), "D6h", {"D5h", "C2", "C3v"}),
    ],
)
def test_lines_and_planes_are_left(atoms, symmetry, minima):
    result = relax(shuffled(atoms, 13), EMT())
    assert result.found[0].symmetry.schoenflies == symmetry
    assert {s.symmetry.schoenflies for s in result.minima} == minima
    for s in result.minima:
        assert s.is_minimum
        assert s.energy < result.found[0].energy - 0.1
        assert np.linalg.norm(s.atoms.get_forces(), axis=1).max() <= 0.01
        assert np.linalg.eigvalsh(force_constants(s.atoms, EMT()))[0] > -0.05  # only rigid motions are near zero
    for i, a in enumerate(result.found):
        assert not any(same_structure(a.atoms, b.atoms) for b in result.found[:i])


def test_crystal():
    """Doubled simple cubic copper at fixed cell; its energies are those of relaxations from a rattled cell."""
    atoms = Atoms("Cu", cell=[2.4] * 3, pbc=True).repeat((2, 1, 1))
    result = relax(shuffled(atoms, 14), EMT())
    lowest = result.minima[0]
    assert detect_symmetry(lowest.atoms, 0.02).space_group.symbol == "P4/nmm"
    for seed in range(3):
        rattled = atoms.copy()
        rattled.rattle(0.2, seed=seed)
        rattled.calc = EMT()
        BFGS(rattled, logfile=None).run(fmax=0.01, steps=500)
        assert rattled.get_potential_energy() > lowest.energy - 1e-3
    np.testing.assert_allclose(np.linalg.det(lowest.atoms.cell.array), np.linalg.det(atoms.cell.array))


def test_slab():
    """Oxygen on top of a surface atom goes to the hollow site, by way of the bridge."""
    slab = fcc100("Cu", (1, 1, 3), vacuum=6)
    add_adsorbate(slab, "O", 1.0, "ontop")
    result = relax(slab, EMT())
    assert [s.symmetry.schoenflies for s in result.found] == ["C4v", "C2v", "C4v"]
    assert [s.is_minimum for s in result.found] == [False, False, True]


class JahnTeller(Calculator):
    """Three atoms with a degenerate state: E ⊗ e, the lower sheet of a cone that is warped by cos 3φ."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        pos = torch.tensor(atoms.positions, requires_grad=True)
        change = (pos - pos.roll(1, 0)).norm(dim=1) - 2.0
        phase = torch.exp(2j * torch.pi / 3 * torch.arange(3, dtype=torch.float64))
        rho = (change * phase).sum()
        energy = 10 * change.square().sum() - 2 * (rho.abs().square() + 1e-16).sqrt() - 5 * (rho**3).real
        energy.backward()
        self.results = {"energy": energy.item(), "forces": -pos.grad.numpy()}


def test_conical_intersection():
    """Three minima and three saddles between them in the trough about the tip."""
    result = relax(shuffled(ring("H", 3, 1.2), 18), JahnTeller())
    assert result.found[0].symmetry.schoenflies == "D3h"
    assert result.found[0].unstable == ["E'"]
    upper, lower = sorted(result.found[1:], key=lambda s: -s.energy)
    assert (upper.symmetry.schoenflies, upper.is_minimum, upper.unstable) == ("C2v", False, ["B2"])
    assert (lower.symmetry.schoenflies, lower.is_minimum) == ("C2v", True)
    # changes 2/3 r cos(φ + 2πj/3) of the lengths make |ρ| = r: the energy is 20/3 r² - 2 r ∓ 5 r³ at φ = 0 and π
    for s, sign in ((upper, 1), (lower, -1)):
        r = np.linspace(0, 0.3, 300001)
        assert s.energy == pytest.approx((20 / 3 * r**2 - 2 * r + sign * 5 * r**3).min(), abs=1e-4)


def test_a_minimum_stays():
    result = relax(Icosahedron("Cu", 2), EMT())
    assert [s.symmetry.schoenflies for s in result.found] == ["Ih"]
    assert result.found[0].is_minimum
    assert len(result.descents) == 1


def test_symmetry_that_the_relaxation_gains_is_broken_too():
    """A rectangle relaxes to the square, which leaves the plane."""
    result = relax(Atoms("Cu4", [[1.3, 1.1, 0], [-1.3, 1.1, 0], [-1.3, -1.1, 0], [1.3, -1.1, 0]]), EMT(), fmax=1e-3)
    assert result.descents[0].distortion is None
    assert result.found[0].symmetry.schoenflies == "D4h"
    assert result.minima[0].symmetry.schoenflies == "Td"


def test_nothing_is_looked_at_without_generations():
    result = relax(ring("Cu", 4, 1.7), EMT(), generations=0)
    assert [(s.symmetry.schoenflies, s.is_minimum) for s in result.found] == [("D4h", None)]
    assert result.curvature_calls == 0


def test_given_distortions_are_followed():
    atoms = ring("Cu", 4, 1.7)
    ways = distortions(atoms, copies=1)
    result = relax(atoms, EMT(), along=ways, generations=1, optimizer=FIRE)
    assert result.curvature_calls == 0
    followed = [(d.distortion.irrep, d.distortion.keep.label, d.sign) for d in result.descents[1:]]
    assert followed == [(w.irrep, w.keep.label, s) for w in ways for s in ((1,) if w.reversible else (1, -1))]
    assert "Td" in {s.symmetry.schoenflies for s in result.found}


def test_symmetry_is_kept_by_a_calculator_without_it():
    """Forces are averaged over the symmetry to keep, also those of a model that is not equivariant."""

    class Skewed(EMT):
        def calculate(self, atoms=None, *arguments, **keywords):
            super().calculate(atoms, *arguments, **keywords)
            self.results["forces"] = self.results["forces"] + 0.05 * np.sin(np.arange(len(atoms)))[:, None]

    result = relax(ring("Cu", 4, 1.7), Skewed(), generations=0)
    assert result.found[0].symmetry.schoenflies == "D4h"


def test_a_relaxation_that_does_not_end():
    with pytest.raises(RuntimeError, match="after 1 steps"):
        relax(ring("Cu", 4, 2.0), EMT(), steps=1)


def test_reports():
    result = cuboctahedron()
    found = result.to_dict()
    assert (
        found["force_calls"] == result.calls == result.curvature_calls + sum(len(d.energies) for d in result.descents)
    )
    assert repr(result) == f"Relaxation(Oh to Ih: {result.calls} force calls)"
    assert repr(result.found[0]).startswith("Stationary(Oh, 10.1571 eV, saddle, unstable in A2g")
    assert result.descents[1].energies[-1] == pytest.approx(result.found[1].energy)


def test_same_structure():
    a = molecule("CH3CH2OH")
    mirrored = Atoms(a.numbers, a.positions * [1, 1, -1])
    assert same_structure(a, shuffled(a, 15))
    assert same_structure(a, shuffled(mirrored, 16))
    assert not same_structure(a, molecule("CH3OCH3"))
    assert not same_structure(molecule("trans-butane"), molecule("isobutane"))
    swapped = a.copy()
    swapped.numbers[[0, 2]] = swapped.numbers[[2, 0]]
    assert not same_structure(a, swapped)
    assert same_structure(Atoms("He"), Atoms("He", [[1, 2, 3]]))
    assert not same_structure(Atoms("He"), Atoms("Ne"))
    assert not same_structure(a, a[1:])
    for other in ("CN", "NO"):
        assert not same_structure(Atoms("CO", [(0, 0, 0), (0, 0, 1.1)]), Atoms(other, [(0, 0, 0), (0, 0, 1.1)]))
    salts = [bulk(name, "rocksalt", a=5.6) for name in ("NaCl", "NaBr")]
    assert same_structure(salts[0], salts[0])
    assert not same_structure(*salts)
    line = molecule("C2H2")
    assert same_structure(line, shuffled(line, 17))


@pytest.mark.parametrize("calculator", [None, EMT])
def test_what_is_no_calculator_is_refused(calculator):
    with pytest.raises(TypeError, match="calculator must be an ASE calculator"):
        relax(molecule("CH4"), calculator)
