"""The tolerance "auto": noise as files have it is not taken for distortions, and distortions not for noise."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.collections import g2
from ase.io import read
from scipy.spatial.transform import Rotation

from pyg_symbreak.detect import approximate_symmetries, detect_symmetry, symmetrize
from pyg_symbreak.groups import PointGroup

CASES = Path(__file__).parents[1] / "cases"


def auto(atoms: Atoms) -> str:
    return detect_symmetry(atoms, "auto").group.schoenflies


def ferrocene() -> Atoms:
    angles = 2 * np.pi * np.arange(5) / 5
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(5)], axis=1)
    places = [r * ring + [0, 0, z] for z in (1.66, -1.66) for r in (1.22, 2.30)]
    return Atoms("FeC5H5C5H5", np.concatenate([np.zeros((1, 3)), *places]))


def turned(atoms: Atoms, seed: int) -> Atoms:
    atoms = atoms.copy()
    atoms.positions = atoms.positions @ Rotation.random(random_state=seed).as_matrix().T
    return atoms


def caesium_chloride(cell) -> Atoms:
    return Atoms("CsCl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=cell, pbc=True)


@pytest.mark.parametrize("q", [1.002, 1.0025, 1.005, 1.01, 1.02, 1.04, 1.06])
@pytest.mark.parametrize("repeat", [1, 2])
def test_a_tetragonal_cell_is_not_cubic(q, repeat):
    found = detect_symmetry(caesium_chloride([4, 4, 4 * q]) * repeat, "auto")
    assert found.space_group == (123, "P4/mmm")
    assert found.order == 16 * repeat**3


def sheared_oxide(shear: float) -> Atoms:
    atoms = bulk("MnO", "rocksalt", 4.44)
    strain = np.eye(3)
    strain[0, 1] = shear
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    return atoms


def perovskite(ratio: float) -> Atoms:
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Atoms("SrTiO3", scaled_positions=places, cell=[3.905, 3.905, 3.905 * ratio], pbc=True)


@pytest.mark.parametrize(
    ("atoms", "group"),
    [
        (Atoms("Po", cell=[3.35, 3.35, 3.55], pbc=True), (123, "P4/mmm")),
        (
            Atoms("Fe2", scaled_positions=[[0] * 3, [0.5] * 3], cell=[2.87, 2.87, 2.87 * 1.06], pbc=True),
            (139, "I4/mmm"),
        ),
        (sheared_oxide(0.01), (71, "Immm")),
        (perovskite(1.024), (123, "P4/mmm")),
        (perovskite(1.0), (221, "Pm-3m")),
        (sheared_oxide(0.0), (225, "Fm-3m")),
    ],
    ids=["Po", "Fe", "MnO", "SrTiO3", "cubic SrTiO3", "cubic MnO"],
)
def test_strained_crystals(atoms, group):
    assert detect_symmetry(atoms, "auto").space_group == group
    assert detect_symmetry(turned_crystal(atoms), "auto").space_group == group


def turned_crystal(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    atoms.rotate(37, (1, 2, 3), rotate_cell=True)
    return atoms


@pytest.mark.parametrize(("stretch", "group"), [(1.0, "p6/mmm"), (1.01, "cmmm"), (1.05, "cmmm")])
def test_a_stretched_sheet(stretch, group):
    sheet = graphene(vacuum=5)
    sheet.pbc = (True, True, False)
    sheet.set_cell(sheet.cell.array @ np.diag([stretch, 1, 1]), scale_atoms=True)
    assert detect_symmetry(sheet, "auto").layer_group.symbol == group


@pytest.mark.parametrize(
    "cell",
    [[4.119, 4.121, 4.12], [4.1195, 4.1201, 4.1198], [4.12, 4.12, 4.12, 90.01, 89.99, 90.02], [4.12, 4.121, 4.12]],
)
def test_a_measured_cell_is_still_cubic(cell):
    assert detect_symmetry(caesium_chloride(cell), "auto").space_group == (221, "Pm-3m")


def test_a_hexagonal_cell_in_rounded_components():
    atoms = bulk("Mg", "hcp", a=3.2094, c=5.2108)
    atoms.set_cell(atoms.cell.array.round(3), scale_atoms=True)
    assert detect_symmetry(atoms, "auto").space_group == (194, "P6_3/mmc")


def test_atoms_off_their_sites_are_not_noise():
    crystal = perovskite(1.0)
    crystal.positions[1, 2] += 0.03
    assert detect_symmetry(crystal, "auto").space_group == (99, "P4mm")
    silicon = bulk("Si", cubic=True) * 2
    silicon.positions[5, 0] += 0.02  # one of 64
    assert detect_symmetry(silicon, "auto").order < 64
    assert detect_symmetry(silicon, 0.05).order == 192 * 8


def test_coronene_as_optimized():
    atoms = read(CASES / "coronene.xyz")
    assert auto(atoms) == "D6h"


@pytest.mark.parametrize("decimals", [2, 3, 4])
@pytest.mark.parametrize(
    ("atoms", "group"),
    [(molecule("C6H6"), "D6h"), (molecule("C60"), "Ih"), (ferrocene(), "D5h"), (molecule("CH4"), "Td")],
    ids=["benzene", "C60", "ferrocene", "CH4"],
)
def test_rounded_coordinates(atoms, group, decimals):
    for copied in (atoms.copy(), turned(atoms, 1), turned(atoms, 2)):
        copied.positions = copied.positions.round(decimals)
        assert auto(copied) == group


def test_buckminsterfullerene_as_ase_has_it():
    assert auto(molecule("C60")) == "Ih"


def exact_molecules() -> list[tuple[Atoms, str]]:
    """Molecules of g2 made exact, of finite groups with a proper subgroup."""
    out = []
    for name in g2.names:
        atoms = g2[name]
        found = detect_symmetry(atoms, 1e-2)
        if len(atoms) > 3 and 1 < found.order < 1e6:
            out.append((symmetrize(atoms, found), found.group.schoenflies))
    return out


EXACT = exact_molecules()


def noise_of_an_optimizer(atoms: Atoms, size: float, rng) -> np.ndarray:
    """Few soft directions take most of the error, and half of the molecules keep a subgroup that they started with."""
    modes = np.linalg.qr(rng.normal(size=(3 * len(atoms), min(6, 3 * len(atoms)))))[0]
    soft = (modes @ (rng.normal(size=modes.shape[1]) * np.geomspace(1, 0.1, modes.shape[1]))).reshape(-1, 3)
    error = soft / np.sqrt((soft**2).mean()) * size
    found = detect_symmetry(atoms, 1e-3)
    if rng.random() < 0.5:
        subgroup = rng.integers(found.order)  # the cyclic group of one operation
        images, power = np.zeros_like(error), np.arange(len(atoms))
        rotation, order = np.eye(3), 0
        while order == 0 or not (power == np.arange(len(atoms))).all() or np.abs(rotation - np.eye(3)).max() > 1e-6:
            images += error[power] @ rotation
            power, rotation = found.permutations[subgroup].numpy()[power], found.rotations[subgroup].numpy() @ rotation
            order += 1
        error = images / order
    return error


def test_symmetric_molecules_with_the_noise_of_optimizers():
    rng = np.random.default_rng(5)
    right = []
    for atoms, group in EXACT:
        for size in (3e-4, 1e-3, 3e-3):
            noisy = atoms.copy()
            noisy.positions += noise_of_an_optimizer(atoms, size, rng)
            right.append(auto(noisy) == group)
    assert len(right) > 250
    assert np.mean(right) >= 0.97


def averaged(v: np.ndarray, found, rows) -> np.ndarray:
    """Mean of vectors on atoms over some operations."""
    return np.mean([v[found.permutations[g].numpy()] @ found.rotations[g].numpy() for g in rows], axis=0)


def without_rigid_motions(v: np.ndarray, atoms: Atoms) -> np.ndarray:
    x = atoms.positions - atoms.positions.mean(0)
    turns = np.cross(np.eye(3)[:, None], x).reshape(3, -1)
    rigid = np.concatenate([np.tile(np.eye(3), len(x)), turns])
    return v - (np.linalg.pinv(rigid) @ (rigid @ v.ravel())).reshape(-1, 3)


def test_distorted_molecules_are_never_too_high():
    """By 0.02 or 0.05 Å per coordinate in directions that a subgroup keeps, and 1e-4 of noise.

    Not down to C1, where nothing tells of a distortion of 0.02 Å that it is none of noise.
    """
    rng = np.random.default_rng(6)
    too_high = too_low = count = 0
    for atoms, _ in EXACT:
        found = detect_symmetry(atoms, 1e-3)
        for subgroup in [s for s in found.group.subgroups() if 1 < s.order < found.order][-3:]:
            apart = np.abs(subgroup.matrices[:, None] - found.rotations.numpy()).max((2, 3)).min(0)
            direction = averaged(rng.normal(size=(len(atoms), 3)), found, np.flatnonzero(apart < 1e-6))
            direction -= averaged(direction, found, range(found.order))
            direction = without_rigid_motions(direction, atoms)
            if np.abs(direction).max() < 0.1:
                continue
            for size in (0.02, 0.05):
                distorted = atoms.copy()
                distorted.positions += direction / np.sqrt((direction**2).mean()) * size
                expected = detect_symmetry(distorted, 1e-4).order
                distorted.positions += 1e-4 * rng.normal(size=direction.shape)
                result = detect_symmetry(distorted, "auto").order
                count += 1
                too_high += result > expected
                too_low += result < expected
    assert count > 100
    assert too_high == 0
    assert too_low <= 0.02 * count


def test_levels_that_differ_by_round_off_are_one():
    cube = Atoms("H8", [[x, y, z] for x in (0, 1.5) for y in (0, 1.5) for z in (0, 1.5)])
    prism = Atoms("H6O", [[np.cos(a), np.sin(a), z] for z in (-0.6, 0.6) for a in (0, 2.0944, 4.18879)] + [[0, 0, 2.0]])
    for atoms in (cube, turned(cube, 3), prism, turned(prism, 4)):
        levels = approximate_symmetries(atoms)
        ends = [level.residual for level in levels]
        assert (np.diff(ends) > 1e-6).all()
    assert [s.group.schoenflies for s in approximate_symmetries(cube)] == ["Oh"]
    assert PointGroup("Oh").order == approximate_symmetries(turned(cube, 3))[0].order


def test_levels_of_a_cell_that_is_thin_for_the_limit():
    """Atoms of their own images allow 0.45 of 3.36 Å, the cell less than a quarter of it."""
    (level,) = approximate_symmetries(Atoms("Po", cell=[3.36] * 3, pbc=True), limit=1.0)
    assert level.space_group.number == 221
    assert level.plateau[1] == pytest.approx(0.24 * 3.36)


def test_a_result_tells_of_larger_groups_nearby():
    atoms = molecule("CH4")
    atoms.positions[0, 0] += 0.02
    found = detect_symmetry(atoms)
    assert found.group.schoenflies == "C2v"
    assert found.larger is not None
    assert found.larger.group.schoenflies == "Td"
    said = float(repr(found).split("symprec=")[-1].rstrip(")"))
    assert "; Td within 0.0" in repr(found)
    assert detect_symmetry(atoms, said).group.schoenflies == "Td"
    assert detect_symmetry(atoms, said).larger is None
    atoms.positions[0, 0] += 0.5
    assert detect_symmetry(atoms).larger is None


def test_a_crystal_tells_of_larger_groups_nearby():
    atoms = perovskite(1.01)
    found = detect_symmetry(atoms)
    assert "; Oh within 0.0" in repr(found)
    said = float(repr(found).split("symprec=")[-1].rstrip(")"))
    assert detect_symmetry(atoms, said).space_group.number == 221
    assert ";" not in repr(detect_symmetry(perovskite(1.0)))
