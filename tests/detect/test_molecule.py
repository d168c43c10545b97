"""Molecules of every point group, clusters, noise, features and tolerances."""

import itertools
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.cluster import Decahedron, Icosahedron, Octahedron
from ase.collections import g2
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from torch_geometric.data import Data

from pyg_symbreak._native import point_group_name
from pyg_symbreak.detect import approximate_symmetries, detect_symmetries, detect_symmetry, symmetrize
from pyg_symbreak.groups import PointGroup

AXIAL = [
    name.format(n=n, m=2 * n)
    for n in range(2, 13)
    for name in ("C{n}", "C{n}v", "C{n}h", "D{n}", "D{n}h", "D{n}d", "S{m}")
]
CATALOGUE = ["C1", "Cs", "Ci", *AXIAL, "T", "Td", "Th", "O", "Oh", "I", "Ih"]


# The molecules of ase's g2 set, by point group: for each, libmsym or pymatgen (at 0.01 Å) says so too.
G2 = {
    "O3": "Si S F C Cl Be Al Na P H B O N Li",
    "Dinfh": "P2 H2 C2H2 CO2 CS2 NCCN S2 O2 Si2 Li2 F2 N2 Cl2 Na2",
    "Cinfv": "CS CO LiF CN NaCl ClF NO LiH CH OH HCl SiO N2O HCN OCS ClO HF SO NH CCH SH BeH",
    "C1": "H2COH C2H6CHOH CH3CONH2",
    "C2": "N2H4 H2O2",
    "C2h": "OCHCHO trans-butane butadiene",
    "C2v": "SH2 C4H4NH CH3SCH3 SiH2_s3B1d ClF3 isobutene bicyclobutane methylenecyclopropane PH2 cyclobutene NH2 "
    "CH2OCH2 H2CO SiH2_s1A1d C4H4S CH3OCH3 C5H5N H2O CH2_s1A1d C4H4O O3 COF2 F2O SO2 H2CCl2 C3H8 CH2_s3B1d H2CF2 "
    "CH2SCH2 CH3COCH3 H2CCO C3H4_C2v NO2",
    "C3v": "PH3 C3H9C HCCl3 CH3Cl CH3SiH3 PF3 CH3CN SiH3 HCF3 isobutane CF3CN NF3 NH3 C3H9N C3H4_C3v",
    "D2d": "cyclobutane C3H4_D2d C5H8",
    "D2h": "C2H4 C2F4 C2Cl4",
    "D3d": "C2H6 Si2H6",
    "D3h": "AlF3 C3H6_D3h BCl3 CH3 AlCl3 2-butyne BF3",
    "D6h": "C6H6",
    "Td": "SiH4 SiF4 CCl4 SiCl4 CF4 CH4",
}


def random_rotation(seed: int, reflect: bool = False) -> np.ndarray:
    return Rotation.random(random_state=seed).as_matrix() * (-1 if reflect else 1)


def as_set(matrices) -> set:
    return {tuple(np.round(np.asarray(m), 5).ravel() + 0.0) for m in matrices}


def partition(orbits) -> set:
    orbits = np.asarray(orbits)
    return {frozenset(np.flatnonzero(orbits == o).tolist()) for o in set(orbits.tolist())}


def generic_molecule(group: PointGroup, seed: int) -> tuple[Atoms, list[int]]:
    """Four orbits of generic points of different species, and the orbit of each atom."""
    rng = np.random.default_rng(seed)
    positions: list[np.ndarray] = []
    kinds: list[int] = []
    for orbit in range(4):
        while True:  # until no two atoms are close
            point = rng.normal(size=3)
            images = list(group.matrices @ (point / np.linalg.norm(point) * (2.5 + 1.3 * orbit)))
            if pdist(np.array(positions + images + [[99, 0, 0]])).min() > 0.05:
                break
        positions += images
        kinds += [orbit] * len(images)
    return Atoms([6 + k for k in kinds], positions), kinds


def misfit(atoms: Atoms, found) -> np.ndarray:
    """Largest distance by which each operation misses, from the definition."""
    pos = torch.tensor(atoms.positions)
    moved = pos @ found.rotations.mT + found.translations[:, None]
    return (pos[found.permutations] - moved).norm(dim=-1).amax(1).numpy()


@pytest.mark.parametrize("name", CATALOGUE)
def test_generic_molecules_of_each_point_group(name):
    group = PointGroup(name)
    for seed in range(3):
        atoms, orbits = generic_molecule(group, seed)
        rotation = random_rotation(seed, reflect=seed == 2)
        order = np.random.default_rng(seed).permutation(len(atoms))
        atoms.positions = atoms.positions @ rotation.T + [3.0, -11.0, 0.7]
        atoms = atoms[order]
        found = detect_symmetry(atoms, 1e-4)
        assert found.group.schoenflies == name
        assert found.order == group.order
        assert as_set(found.group.matrices) == as_set(rotation @ group.matrices @ rotation.T)
        assert partition(found.orbits) == partition(np.array(orbits)[order])
        assert misfit(atoms, found).max() < 1e-9
        assert (atoms.numbers[found.permutations.numpy()] == atoms.numbers).all()
        assert found.site_symmetry(0).schoenflies == "C1"


def test_names_follow_from_the_kinds_of_elements():
    axial = (f"{kind}{n}{suffix}" for n in range(2, 61) for kind in "CD" for suffix in ("", "v", "h", "d"))
    names = [name for name in axial if name[0] + name[-1] not in ("Cd", "Dv")] + [f"S{2 * n}" for n in range(2, 61)]
    for name in [*names, "C1", "Cs", "Ci", "T", "Td", "Th", "O", "Oh", "I", "Ih"]:
        assert point_group_name(PointGroup(name).matrices, 1e-4) == name


def test_all_of_g2():
    expected = {name: group for group, names in G2.items() for name in names.split()}
    for name in g2.names:
        atoms = g2[name]
        found = detect_symmetry(atoms)
        assert found.group.schoenflies == expected.get(name, "Cs"), name
        assert misfit(atoms, found).max() <= 1e-3
        assert (atoms.numbers[found.permutations.numpy()] == atoms.numbers).all()
        images = [frozenset(column.tolist()) for column in found.permutations.T]  # where the operations bring each atom
        assert partition(found.orbits) == set(images)


@pytest.mark.parametrize(
    ("atoms", "name", "orbits"),
    [
        (Icosahedron("Cu", 2), "Ih", 2),
        (Icosahedron("Cu", 3), "Ih", 4),
        (Icosahedron("Cu", 4), "Ih", 7),
        (Icosahedron("Cu", 5), "Ih", 11),
        (Octahedron("Au", 5, 1), "Oh", 6),
        (Decahedron("Ag", 3, 3, 0), "D5h", 9),
        (Decahedron("Ag", 3, 2, 0), "D5h", 6),
    ],
    ids=["Cu13", "Cu55", "Cu147", "Cu309", "Au79", "Ag55", "Ag39"],
)
def test_clusters(atoms, name, orbits):
    atoms.positions = atoms.positions @ random_rotation(5).T
    found = detect_symmetry(atoms)
    assert found.group.schoenflies == name
    assert int(found.orbits.max()) + 1 == orbits
    assert misfit(atoms, found).max() <= 1e-3


def test_buckminsterfullerene():
    atoms = molecule("C60")
    found = detect_symmetry(atoms, 0.02)
    assert found.group.schoenflies == "Ih"
    assert found.orbits.unique().tolist() == [0]
    assert found.site_symmetry(31).schoenflies == "Cs"
    assert found.residual == pytest.approx(misfit(atoms, found).max())


def test_result_is_an_exact_group_of_operations():
    atoms = molecule("C2H6")
    atoms.rattle(2e-3, seed=4)
    found = detect_symmetry(atoms, 0.02)
    assert found.group.schoenflies == "D3d"
    r = found.rotations
    torch.testing.assert_close(r @ r.mT, torch.eye(3).double().expand_as(r), atol=1e-14, rtol=0)
    index = {
        (tuple(p), round(float(torch.det(m)))): i
        for i, (p, m) in enumerate(zip(found.permutations.tolist(), r, strict=True))
    }
    assert len(index) == found.order == 12
    for g in range(12):
        for h in range(12):
            key = tuple(found.permutations[g][found.permutations[h]].tolist())
            gh = index[key, round(float(torch.det(r[g] @ r[h])))]
            torch.testing.assert_close(r[g] @ r[h], r[gh], atol=1e-13, rtol=0)
            moved = r[g] @ found.translations[h] + found.translations[g]
            torch.testing.assert_close(moved, found.translations[gh], atol=1e-12, rtol=0)
    np.testing.assert_allclose(found.residuals.numpy(), misfit(atoms, found), atol=1e-12)
    assert torch.equal(r[0], torch.eye(3).double())
    np.testing.assert_allclose(found.group.matrices, r.numpy(), atol=1e-12)
    assert torch.equal(found.elements, torch.arange(12))


@pytest.mark.parametrize("name", ["C150", "C130v", "C65h", "D64", "D32h", "D31h", "D31d", "D32d", "S122", "S124"])
@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_groups_of_many_operations_are_exact(name, noise):
    """Above the order of Ih all operations share an axis, and no table of products is made."""
    group = PointGroup(name)
    points = [group.matrices @ (np.array(p) * 10) for p in ([3.0, 0.11, 0.9], [3.3, 0.13, 1.5])]
    atoms = Atoms([6] * group.order + [7] * group.order, np.concatenate(points))
    atoms.positions = atoms.positions @ random_rotation(4).T
    atoms.positions += noise * np.random.default_rng(1).normal(size=atoms.positions.shape)
    found = detect_symmetry(atoms, 2e-3)
    assert found.group.schoenflies == name
    r = found.rotations.numpy()
    signs = np.linalg.det(r) > 0
    places = {p.numpy().tobytes() + bytes([int(signs[g])]): g for g, p in enumerate(found.permutations)}
    for g, h in np.random.default_rng(2).integers(len(r), size=(40, 2)):
        product = found.permutations[g][found.permutations[h]].numpy().tobytes()
        gh = places[product + bytes([int(np.linalg.det(r[g] @ r[h]) > 0)])]
        np.testing.assert_allclose(r[g] @ r[h], r[gh], atol=1e-13)
    np.testing.assert_allclose(found.residuals.numpy(), misfit(atoms, found), atol=1e-11)
    assert found.residual < 1e-10 + 12 * noise


def test_planar_molecule_keeps_the_reflection_that_moves_no_atom():
    found = detect_symmetry(molecule("C6H6"))
    assert found.group.schoenflies == "D6h"
    still = (found.permutations == torch.arange(12)).all(1)
    assert torch.linalg.det(found.rotations[still]).round().tolist() == [1.0, -1.0]
    assert found.site_symmetry(0).schoenflies == "C2v"


@pytest.mark.parametrize("name", ["CO2", "HCN", "H2", "C2H2", "LiH"])
def test_linear_molecules(name):
    atoms = molecule(name)
    turned = atoms.copy()
    turned.positions = turned.positions @ random_rotation(3).T + 4.0
    reversible = name in ("CO2", "H2", "C2H2")
    found = detect_symmetry(turned)
    assert found.group.schoenflies == ("Dinfh" if reversible else "Cinfv")
    assert found.order == math.inf
    assert len(found.permutations) == (2 if reversible else 1)
    assert misfit(turned, found).max() < 1e-5
    direction = turned.positions[1] - turned.positions[0]
    spin = Rotation.from_rotvec(direction / np.linalg.norm(direction)).as_matrix()
    assert found.group.contains(spin)
    assert not found.group.contains(random_rotation(8))
    sites = {found.site_symmetry(i).schoenflies for i in range(len(atoms))}
    assert sites == ({"Cinfv", "Dinfh"} if name == "CO2" else {"Cinfv"})
    with pytest.raises(ValueError, match="continuous"):
        _ = found.elements


def test_single_atom():
    found = detect_symmetry(Atoms("He", [[1.0, 2.0, 3.0]]))
    assert (found.group.schoenflies, found.order, found.site_symmetry(0).schoenflies) == ("O3", math.inf, "O3")
    assert found.permutations.tolist() == [[0]]


def test_bending_ends_linearity_at_the_stated_tolerance():
    for bend, name in [(0.0, "Dinfh"), (4e-4, "Dinfh"), (9e-4, "C2v")]:
        atoms = Atoms("OCO", [[-1.16, 0, 0], [0, bend, 0], [1.16, 0, 0]])
        found = detect_symmetry(atoms, 1e-3)
        assert found.group.schoenflies == name
        assert found.residual <= 1e-3


def sweep(noise: float, symprec, seeds: int) -> float:
    """Fraction of rattled g2 molecules (not linear, three atoms or more) that keep the order of their group."""
    rng = np.random.default_rng(0)
    kept = []
    for name in g2.names:
        atoms = g2[name]
        if len(atoms) < 3 or (order := detect_symmetry(atoms).order) == math.inf:
            continue
        for _ in range(seeds):
            rattled = atoms.copy()
            rattled.positions += noise * rng.normal(size=atoms.positions.shape)
            kept.append(detect_symmetry(rattled, symprec).order == order)
    return float(np.mean(kept))


@pytest.mark.parametrize("symprec", [0.02, "auto"])
def test_small_noise(symprec):
    assert sweep(1e-3, symprec, 10) >= 0.995


@pytest.mark.parametrize("symprec", [0.1, "auto"])
def test_large_noise(symprec):
    assert sweep(1e-2, symprec, 10) >= 0.97


def test_a_group_that_holds_is_found_where_a_larger_one_holds_but_for_its_exact_matrices():
    """A pentagon whose operations, fitted one by one, miss by up to 0.1 Å, those of an exact D5h by more."""
    ring = [
        [2.0412, 0.0495, 0.0211], [0.5957, 1.8785, -0.0021], [-1.6188, 1.1805, 0.0221],
        [-1.6399, -1.1736, 0.0116], [0.6116, -1.9463, -0.017],
    ]  # fmt: skip
    data = Data(pos=torch.tensor(ring, dtype=torch.float64), z=torch.ones(5, dtype=torch.long))
    names = {s: detect_symmetry(data, s).group.schoenflies for s in (0.05, 0.1, 0.12)}
    assert names == {0.05: "C2v", 0.1: "C2v", 0.12: "D5h"}


def test_auto_says_how_wide_its_plateau_is():
    atoms = molecule("CH4")
    exact = detect_symmetry(atoms, "auto")
    assert exact.group.schoenflies == "Td"
    assert exact.plateau[0] < 1e-6
    assert exact.plateau[1] > 0.2
    atoms.rattle(3e-3, seed=2)
    noisy = detect_symmetry(atoms, "auto")
    low, high = noisy.plateau
    assert noisy.group.schoenflies == "Td"
    assert 1e-3 < low < 2e-2 < high
    for symprec in np.geomspace(low * 1.001, high * 0.999, 5):
        assert detect_symmetry(atoms, float(symprec)).order == 24
    assert detect_symmetry(atoms, low * 0.9).order < 24


def test_auto_keeps_what_is_no_noise():
    atoms = molecule("CH4")
    atoms.positions[0, 0] += 0.02  # one atom alone, where all others are exact
    assert detect_symmetry(atoms, "auto").group.schoenflies == "C2v"
    assert detect_symmetry(atoms, 0.05).group.schoenflies == "Td"
    linear = detect_symmetry(molecule("CO2"), "auto")
    assert linear.group.schoenflies == "Dinfh"


def test_approximate_symmetries_are_nested_and_measured():
    atoms = molecule("CH3O")
    levels = approximate_symmetries(atoms)
    assert [s.group.schoenflies for s in levels] == ["Cs", "C3v"]
    for lower, upper in itertools.pairwise(levels):
        assert upper.group.contains_group(lower.group) or lower.order == 1
        assert lower.residual < upper.residual == lower.plateau[1]
    assert detect_symmetry(symmetrize(atoms, levels[-1]), 1e-8).group.schoenflies == "C3v"


@pytest.mark.parametrize("name", ["C2v", "C3v", "D2d", "D3", "D3h", "D4h", "D5h", "D6h", "S4", "Td", "Th", "Oh"])
def test_detection_agrees_with_the_levels_of_a_molecule_at_every_tolerance(name):
    rng = np.random.default_rng(2)
    matrices = np.asarray(PointGroup(name).matrices)
    orbits = [matrices @ (8 * rng.normal(size=3)), matrices @ (8 * rng.normal(size=3))]
    places = np.concatenate(orbits) @ random_rotation(3).T
    atoms = Atoms([6] * len(matrices) + [7] * len(matrices), places + 0.02 * rng.normal(size=places.shape))
    levels = approximate_symmetries(atoms)
    assert len(levels) > 1
    assert [s.plateau[1] for s in levels[:-1]] == [s.plateau[0] for s in levels[1:]]
    for level in levels:
        low, high = level.plateau
        assert level.residual <= low == level.symprec < high
        for symprec in (max(low, 1e-6) * 1.0001, np.sqrt(max(low, 1e-6) * high), high * 0.9999):
            if low < symprec < high:
                found = detect_symmetry(atoms, symprec)
                assert found.order == level.order
                assert found.residual <= symprec


@pytest.mark.parametrize("name", ["C6H6", "CH4", "CO2", "HCN", "CH3SH", "C60"])
def test_symmetrize_is_a_projection(name):
    atoms = molecule(name)
    atoms.positions = atoms.positions @ random_rotation(1).T + 2.0
    if len(atoms) > 3:
        atoms.rattle(3e-3, seed=3)
    found = detect_symmetry(atoms, 0.05)
    once = symmetrize(atoms, found)
    assert np.linalg.norm(once.positions - atoms.positions, axis=1).max() <= found.residual + 1e-12
    again = symmetrize(once, found)
    np.testing.assert_allclose(again.positions, once.positions, atol=1e-12)
    exact = detect_symmetry(once, 1e-9)
    assert exact.group.schoenflies == found.group.schoenflies
    assert exact.residual < 1e-11


def test_symmetrize_keeps_type_and_precision():
    atoms = molecule("CH4")
    data = Data(z=torch.tensor(atoms.numbers), pos=torch.tensor(atoms.positions, dtype=torch.float32), y=torch.ones(1))
    out = symmetrize(data, detect_symmetry(data))
    assert out.pos.dtype == torch.float32
    assert out is not data
    assert torch.equal(out.y, data.y)
    with pytest.raises(ValueError, match="5 nodes"):
        symmetrize(data, detect_symmetry(molecule("H2O")))


@pytest.mark.parametrize("seed", range(4))
def test_group_moves_with_the_molecule(seed):
    for name in ("NH3", "C2H4", "C3H4_D2d", "CH3CH2Cl"):
        atoms = molecule(name)
        before = detect_symmetry(atoms)
        rotation = random_rotation(seed, reflect=seed % 2 == 1)
        order = np.random.default_rng(seed).permutation(len(atoms))
        moved = atoms[order]
        moved.positions = moved.positions @ rotation.T - 7.0
        after = detect_symmetry(moved)
        assert as_set(after.group.matrices) == as_set(rotation @ before.group.matrices @ rotation.T)
        assert partition(after.orbits) == partition(before.orbits[torch.tensor(order)])


def test_features_distinguish_atoms():
    atoms = molecule("CH4")
    data = Data(z=torch.tensor(atoms.numbers), pos=torch.tensor(atoms.positions))
    data.isotope = torch.tensor([12, 1, 1, 1, 2])
    data.onehot = torch.eye(5)
    assert detect_symmetry(data).group.schoenflies == "Td"
    assert detect_symmetry(data, features=["isotope"]).group.schoenflies == "C3v"
    assert detect_symmetry(data, features=["onehot"]).group.schoenflies == "C1"
    del data.z
    assert detect_symmetry(data).order == 24  # the carbon is told from the others by where it is


def test_batches_and_processes_agree():
    structures = [g2[name] for name in g2.names[:40]]
    alone = list(detect_symmetries(structures))
    shared = list(detect_symmetries(structures, processes=2))
    for a, b in zip(alone, shared, strict=True):
        assert torch.equal(a.permutations, b.permutations)
        assert torch.equal(a.rotations, b.rotations)
    with pytest.raises(ValueError, match="structure 1: the structure has no atoms"):
        list(detect_symmetries([molecule("H2O"), Atoms()]))


@pytest.mark.parametrize("processes", [1, 2])
def test_structures_are_read_as_their_symmetries_are_asked_for(processes):
    """Of a long stream only some are in memory."""
    read = 0

    def stream():
        nonlocal read
        for _ in range(2000):
            read += 1
            yield molecule("CH4")

    found = detect_symmetries(stream(), processes=processes)
    assert [next(found).order for _ in range(40)] == [24] * 40
    assert read <= (40 if processes == 1 else 800)
    found.close()


@pytest.mark.parametrize(
    ("atoms", "symprec", "message"),
    [
        (Atoms(), 1e-3, "no atoms"),
        (Atoms("H", [[np.nan, 0, 0]]), 1e-3, "finite"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), 1e-3, "coincide"),
        (molecule("H2O"), 0.6, "too large"),
        (molecule("H2O"), 0.0, "positive"),
        (molecule("H2O"), math.nan, "positive"),
    ],
)
def test_bad_molecules_are_refused(atoms, symprec, message):
    with pytest.raises(ValueError, match=message):
        detect_symmetry(atoms, symprec)


def test_positions_too_coarse_for_the_tolerance_are_refused():
    atoms = molecule("CH4")
    far = Data(z=torch.tensor(atoms.numbers), pos=torch.tensor(atoms.positions + 1e6, dtype=torch.float32))
    with pytest.raises(ValueError, match="float64"):
        detect_symmetry(far)
    atoms.positions += 1e6
    assert detect_symmetry(atoms).order == 24


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match="got str"):
        detect_symmetry("H2O")
