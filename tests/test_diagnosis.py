"""Diagnosis of inputs and targets, against residuals and symmetries known by hand."""

import json
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from pyg_symbreak.datasets import BaTiO3
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.diagnosis import diagnose, kept_symmetry
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.structures import apply_distortion, from_ase, irreps_to_strain, strain_to_irreps, to_ase

SMALL_TURN = Rotation.from_rotvec([0.05, -0.1, 0.15]).as_matrix()


pytestmark = pytest.mark.usefixtures("double")


def rotation(seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]  # either determinant


def turned(atoms: Atoms, r: np.ndarray) -> Atoms:
    out = atoms.copy()
    out.positions = atoms.positions @ r.T
    out.cell = atoms.cell.array @ r.T
    return out


def distorted(graph) -> Atoms:
    return to_ase(apply_distortion(graph, graph.y, graph.strain))


# ---------------------------------------------------------------------- crystals


def test_paper_pair():
    (graph,) = BaTiO3(name="paper")
    found = diagnose(graph, distorted(graph))
    assert not found.representable
    assert found.keep.schoenflies == "C4v"
    s = detect_symmetry(graph)
    assert found.residual == pytest.approx(float(curie_residual(graph.y, s.rotations, s.permutations)), rel=1e-12)
    # every atom is on a centre of inversion, so the best answer is not to move; z in 4 Å, relative to the mean
    z = 4 * np.array([0.582541 - 0.5, 0.100043, 0.064221, 0.064221, 0.548972 - 0.5])
    assert found.residual == pytest.approx(np.square(z - z.mean()).sum(), abs=1e-7)
    assert 2 * 5 * found.residual == pytest.approx(0.247814, abs=1e-6)
    assert found.rms == pytest.approx(math.sqrt(found.residual / 5))
    assert found.strain_residual == pytest.approx(0, abs=1e-20)
    assert (found.breaking.size, str(found.breaking.irreps), found.breaking.ideal) == (6, "1x1o", True)


@pytest.mark.parametrize(("phase", "keep", "size"), [(1, "C4v", 6), (2, "C2v", 12), (3, "C3v", 8)])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_phases_in_any_orientation(phase, keep, size, seed):
    graph = BaTiO3()[phase]
    r = np.eye(3) if seed is None else rotation(seed)
    parent, target = turned(to_ase(graph), r), turned(distorted(graph), r)
    order = np.random.default_rng(3).permutation(5)
    found = diagnose(parent, target[order])
    assert found.keep.schoenflies == keep
    assert (found.breaking.size, str(found.breaking.irreps), found.breaking.ideal) == (size, "1x1o", True)
    # all displacements are lost; of the strain the trace survives
    assert found.residual == pytest.approx(float(graph.y.square().sum()), rel=1e-9)
    strain = graph.strain[0]
    traceless = strain - torch.eye(3) * strain.trace() / 3
    assert found.strain_residual == pytest.approx(float(traceless.square().sum()), rel=1e-9)
    polar = r @ np.array({"C4v": [0, 0, 1], "C2v": [0, 1, 1], "C3v": [1, 1, 1]}[keep])
    assert all(np.abs(m @ polar - polar).max() < 1e-6 for m in found.keep.matrices)
    assert abs(abs(found.keep.axis @ polar) / np.linalg.norm(polar) - 1) < 1e-6


def test_label_names_the_class():
    assert diagnose(*(f(BaTiO3()[2]) for f in (to_ase, distorted))).label == "C2v[011]"


def test_strain_alone_is_noticed():
    cubic = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    for strain, keep, size in (([0, 0, 1], "D4h", 3), ([1, 1, 1], "Oh", 1), ([1, 2, 3], "D2h", 6)):
        target = cubic.copy()
        target.set_cell(cubic.cell.array * (1 + 0.01 * np.array(strain)), scale_atoms=True)
        found = diagnose(cubic, target)
        assert found.keep.schoenflies == keep
        assert (found.lost_translations, found.breaking.size) == (0, size)
        assert found.residual == pytest.approx(0, abs=1e-20)
        e = 0.01 * np.array(strain, dtype=float)
        assert found.strain_residual == pytest.approx(np.square(e - e.mean()).sum(), abs=1e-12)


def test_strain_residual_is_that_of_its_irreps():
    graph = BaTiO3()[2]
    found = diagnose(graph, distorted(graph))
    s = found.symmetry
    basis = irreps_to_strain(torch.eye(6))
    matrices = strain_to_irreps(s.rotations[:, None] @ basis @ s.rotations.mT[:, None]).mT
    zeros = torch.zeros(s.order, 1, dtype=torch.long)
    wanted = curie_residual(strain_to_irreps(found.strain)[None], matrices, zeros)
    assert found.strain_residual == pytest.approx(float(wanted), rel=1e-9)


def test_target_that_breaks_a_translation():
    pair = bulk("Po", "sc", a=3.3).repeat((2, 1, 1))
    target = pair.copy()
    target.positions[:, 0] += [0.1, -0.1]  # the chain dimerizes; both atoms were one
    found = diagnose(pair, target)
    assert found.lost_translations == 1
    assert not found.representable
    assert (found.breaking.level, found.breaking.size, found.breaking.objects.shape[1]) == ("node", 2, 2)
    assert found.breaking.keep == found.keep
    assert "AddSymmetryBreaking(choose='target', on='nodes')" in found.explanation
    assert "2 objects on the nodes" in str(found)
    assert found.residual == pytest.approx(0.02)
    assert found.keep.schoenflies == "D4h"
    assert json.loads(json.dumps(found.to_dict()))["breaking_set"]["level"] == "node"


# ---------------------------------------------------------------------- molecules


def planar_ammonia() -> Atoms:
    angles = 2 * np.pi * np.arange(3) / 3
    ring = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    return Atoms("NH3", np.concatenate([[[0, 0, 0]], ring]))


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_ammonia_pyramid(seed):
    r = np.eye(3) if seed is None else rotation(seed)
    planar, pyramid = planar_ammonia(), planar_ammonia()
    pyramid.positions[0, 2] += 0.4
    pyramid.positions[1:] *= 0.95
    found = diagnose(turned(planar, r), turned(pyramid, r))
    assert (found.symmetry.group.schoenflies, found.keep.schoenflies) == ("D3h", "C3v")
    # the shrinking is symmetric; of the rest the mean is taken off: 0.3 up, and 0.1 down three times
    assert found.residual == pytest.approx(0.3**2 + 3 * 0.1**2, rel=1e-9)
    assert (found.breaking.size, str(found.breaking.irreps)) == (2, "1x1o")


@pytest.mark.parametrize("seed", range(4))
def test_benzene_to_d2h(seed):
    r = rotation(seed)
    benzene, target = molecule("C6H6"), molecule("C6H6")
    x = benzene.positions - benzene.positions.mean(0)
    axis = x[0] / np.linalg.norm(x[0])
    stretch = 0.02 * np.outer(x @ axis, axis)  # along an axis through two atoms
    target.positions += stretch
    found = diagnose(turned(benzene, r), turned(target, r))
    assert (found.symmetry.group.schoenflies, found.keep.schoenflies) == ("D6h", "D2h")
    assert (found.breaking.size, found.breaking.ideal) == (3, True)
    # half of the stretch is a breathing of the ring, which is symmetric
    radii = np.linalg.norm(x, axis=1)
    assert found.residual == pytest.approx((0.02**2 * radii**2).sum() / 4, rel=1e-6)


def test_rigid_motion_of_a_molecule_does_not_count():
    benzene = molecule("C6H6")
    moved = turned(benzene, SMALL_TURN)
    moved.positions += [1.0, 2.0, 3.0]
    found = diagnose(benzene, moved[::-1])
    assert found.representable
    assert found.residual == pytest.approx(0, abs=1e-18)
    target = benzene.copy()
    target.positions[0] += [0.05, 0.02, 0.1]
    apart = turned(target, SMALL_TURN)
    assert diagnose(benzene, apart).residual == pytest.approx(diagnose(benzene, target).residual, rel=1e-9)


@pytest.mark.parametrize("name", ["CH4", "C6H6", "H2O", "CO2", "N2", "HCN", "H"])
def test_target_equal_to_the_input(name):
    found = diagnose(molecule(name), molecule(name))
    assert found.representable
    assert found.residual == 0
    assert found.keep == found.symmetry.group
    assert found.breaking.size == 1
    assert found.strain_residual is None
    assert "can represent" in str(found)


def test_asymmetric_target():
    target = molecule("CH4")
    target.positions += 0.05 * np.random.default_rng(0).standard_normal((5, 3))
    found = diagnose(molecule("CH4"), target)
    assert found.keep.schoenflies == "C1"
    assert (found.breaking.size, found.breaking.irreps.lmax) == (24, 1)
    # what is left is the breathing mode: the displacements of H along the bonds, their mean
    s = found.symmetry
    bonds = molecule("CH4").positions[1:]
    bonds /= np.linalg.norm(bonds, axis=1)[:, None]
    breathing = (bonds * found.vectors[1:].numpy()).sum(1).mean()
    assert found.residual == pytest.approx(float(found.vectors.square().sum()) - 4 * breathing**2, rel=1e-9)
    assert s.order == 24


def test_no_finite_set():
    angles = 2 * np.pi * np.arange(4) / 4
    rings = [[np.cos(a + t), np.sin(a + t), z] for t, z in ((0, 0), (0.3, 1.0), (1.0, 2.3)) for a in angles]
    wheel = Atoms("C4N4O4", rings)
    target = wheel.copy()
    target.positions[0, 0] += 0.1
    found = diagnose(wheel, target)
    assert (found.symmetry.group.schoenflies, found.keep.schoenflies) == ("C4", "C1")
    assert found.breaking.size == math.inf
    assert "No finite equivariant set" in found.explanation
    assert found.to_dict()["breaking_set"]["size"] is None
    assert "continuous" in str(found)


# ---------------------------------------------------------------------- linear molecules and atoms


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "moves", "keep", "residual"),
    [
        ("CO2", {0: [0.3, 0, 0]}, "C2v", 0.3**2 * 2 / 3),  # bent
        ("CO2", {0: [0, 0, 0.3]}, "Cinfv", 0.3**2 * 2 / 3),  # carbon off the middle
        ("CO2", {0: [0.2, 0, 0.1]}, "Cs", None),
        ("HCN", {0: [0.1, 0, 0]}, "Cs", None),
        ("HCN", {0: [0, 0, 0.1]}, "Cinfv", 0.0),
        ("C2H2", {2: [0.1, 0, 0], 3: [0.1, 0, 0]}, "C2v", 0.1**2),  # cis
        ("C2H2", {2: [0.1, 0, 0], 3: [0, 0.1, 0]}, "C2", None),  # twisted
        ("N2", {0: [0, 0, 0.1]}, "Dinfh", 0.0),
    ],
)
def test_linear_molecules(name, moves, keep, residual, seed):
    straight, target = molecule(name), molecule(name)
    for node, move in moves.items():
        target.positions[node] += move
    r = rotation(seed)
    found = diagnose(turned(straight, r), turned(target, r))
    assert found.keep.schoenflies == keep
    assert found.symmetry.group.contains_group(found.keep)
    if residual is not None:
        assert found.residual == pytest.approx(residual, abs=1e-9)
    assert found.representable == (keep == found.symmetry.group.schoenflies)
    assert found.breaking is not None
    assert found.breaking.ideal


def test_trans_bent_acetylene_as_vectors():
    straight = molecule("C2H2")
    vectors = np.zeros((4, 3))
    vectors[2], vectors[3] = [0.1, 0, 0], [-0.1, 0, 0]
    found = diagnose(straight, vectors)
    assert found.keep.schoenflies == "C2h"
    assert found.residual == pytest.approx(0.02)  # nothing across the axis survives the average


def test_vector_on_an_atom():
    r = rotation(5)
    found = diagnose(Atoms("H"), (r @ [0, 0, 2.0])[None])
    assert found.keep.schoenflies == "Cinfv"
    assert abs(abs(found.keep.axis @ r[:, 2]) - 1) < 1e-9
    assert found.residual == pytest.approx(4)
    assert str(found.breaking.irreps) == "1x1o"
    assert diagnose(Atoms("H"), np.zeros((1, 3))).representable


# ---------------------------------------------------------------------- node vectors, tolerances, reports


def test_node_vectors_in_any_unit():
    methane = molecule("CH4")
    forces = np.zeros((5, 3))
    forces[1:] = 3 * methane.positions[1:]
    assert diagnose(methane, forces).representable
    forces[1] *= 1.5
    found = diagnose(methane, forces)
    assert found.keep.schoenflies == "C3v"
    assert found.breaking.size == 4
    length = 3 * np.linalg.norm(methane.positions[1])
    assert found.residual == pytest.approx(length**2 * 0.5**2 * 3 / 4)  # four numbers (1/2, 0, 0, 0) less their mean
    assert found.unit is None
    assert "Å" not in str(found).split("Target")[1]
    assert diagnose(methane, forces, tolerance=10.0).representable


def test_tolerance_is_lowered_to_a_group():
    s = detect_symmetry(molecule("CH4"))
    vectors = 0.01 * torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    orders = {kept_symmetry(s, vectors, tolerance=t).order for t in np.linspace(0, 0.1, 60)}
    assert {1, 24} <= orders  # and at none of the tolerances in between did it fail
    assert all(24 % order == 0 for order in orders)


def test_kept_symmetry_with_strain():
    s = detect_symmetry(from_ase(bulk("Po", "sc", a=3.3)))
    none = torch.zeros(1, 3)
    assert kept_symmetry(s, none).schoenflies == "Oh"
    assert kept_symmetry(s, none, torch.diag(torch.tensor([0.0, 0.0, 0.1]))).schoenflies == "D4h"
    shear = torch.tensor([[0.0, 0.1, 0.1], [0.1, 0.0, 0.1], [0.1, 0.1, 0.0]])
    assert kept_symmetry(s, none, shear).schoenflies == "D3d"


def test_report_and_json():
    graph = BaTiO3()[3]
    found = diagnose(graph, distorted(graph))
    text = str(found)
    for part in ("Oh (m-3m, order 48)", "Pm-3m (221)", "C3v (3m, order 6)", "cannot represent", "8 objects", "Å rms"):
        assert part in text
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["symmetry"]["space_group"] == {"symbol": "Pm-3m", "number": 221}
    assert data["residual"]["sum_of_squares"] == found.residual
    assert PointGroup.from_matrices(data["keep"]["matrices"]) == found.keep
    assert repr(found).startswith("Diagnosis(Oh -> C3v")


def test_errors():
    methane = molecule("CH4")
    with pytest.raises(ValueError, match=r"\[5, 3\]; got \[4, 3\]"):
        diagnose(methane, np.zeros((4, 3)))
    for y in (np.full((5, 3), np.nan), None, "word", [[0, 0], [1]], np.zeros((5, 3), dtype=complex)):
        with pytest.raises(ValueError, match="finite vector"):
            diagnose(methane, y)
    with pytest.raises(ValueError, match="same atoms"):
        diagnose(methane, molecule("H2O"))
    with pytest.raises(ValueError, match="no atoms"):
        diagnose(Atoms(), methane)
