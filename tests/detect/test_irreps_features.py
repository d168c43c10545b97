"""Features of the atoms that transform: an operation must carry them along."""

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from e3nn import o3
from scipy.spatial.transform import Rotation
from torch_geometric.data import Data

from pyg_symbreak.detect import detect_symmetries, detect_symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices


def with_feature(atoms: Atoms, value) -> Atoms:
    atoms = atoms.copy()
    atoms.set_array("v", np.asarray(value, dtype=float))
    return atoms


def moved(atoms: Atoms, irreps: str, seed: int) -> tuple[Atoms, np.ndarray, np.ndarray]:
    """Rotate (of odd seeds also reflect), shift and reorder atoms and the feature that they carry."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=seed).as_matrix() * (-1) ** seed
    order = rng.permutation(len(atoms))
    out = atoms[order]
    out.positions = out.positions @ rotation.T + rng.normal(size=3)
    out.cell = out.cell.array @ rotation.T
    out.arrays["v"] = out.arrays["v"] @ irreps_matrices(irreps, rotation[None])[0].T
    return out, rotation, order


def as_set(matrices) -> set:
    return {tuple(np.round(m, 5).ravel() + 0.0) for m in np.asarray(matrices)}


def kept_by_definition(atoms: Atoms, irreps: str, symprec: float) -> set:
    """The operations of the bare structure that carry the feature along."""
    bare = detect_symmetry(atoms, symprec)
    v = atoms.arrays["v"]
    d = irreps_matrices(irreps, bare.rotations.numpy())
    misses = np.abs(v[bare.permutations.numpy()] - np.einsum("gab,ib->gia", d, v)).max((1, 2))
    return {tuple(p) for p, miss in zip(bare.permutations.tolist(), misses, strict=True) if miss < 1e-6}


TETRAHEDRON = molecule("CH4")
BENZENE = molecule("C6H6")
QUADRUPOLE = o3.spherical_harmonics(2, torch.tensor([0.0, 0.0, 1.0]).double(), True).tolist()  # about the axis
RADIAL = BENZENE.positions - BENZENE.positions.mean(0)


@pytest.mark.parametrize(
    ("atoms", "irreps", "value", "name"),
    [
        (TETRAHEDRON, "1o", np.eye(3)[[2] * 5], "C2v"),
        (TETRAHEDRON, "1e", np.eye(3)[[2] * 5], "S4"),
        (TETRAHEDRON, "1o", np.ones((5, 3)), "C3v"),
        (TETRAHEDRON, "1e", np.ones((5, 3)), "C3"),
        (TETRAHEDRON, "0o", np.ones((5, 1)), "T"),
        (TETRAHEDRON, "0e", np.ones((5, 1)), "Td"),
        (TETRAHEDRON, "1o", np.zeros((5, 3)), "Td"),
        (TETRAHEDRON, "1o", TETRAHEDRON.positions, "Td"),
        (TETRAHEDRON, "1e", TETRAHEDRON.positions, "T"),
        (TETRAHEDRON, "2x1o+0e", np.eye(7)[[0, 1, 1, 1, 1]], "C1"),
        (BENZENE, "1o", RADIAL, "D6h"),
        (BENZENE, "1e", RADIAL, "D6"),
        (BENZENE, "1o", np.cross([0, 0, 1], RADIAL), "C6h"),
        (BENZENE, "1e", np.cross([0, 0, 1], RADIAL), "C6v"),
        (BENZENE, "1e", np.eye(3)[[2] * 12], "C6h"),
    ],
)
def test_groups_that_features_leave(atoms, irreps, value, name):
    atoms = with_feature(atoms, value)
    expected = detect_symmetry(atoms, features={"v": irreps})
    for seed in range(3):
        other, rotation, order = moved(atoms, irreps, seed)
        found = detect_symmetry(other, features={"v": irreps})
        assert found.group.schoenflies == name
        assert as_set(found.group.matrices) == as_set(rotation @ expected.group.matrices @ rotation.T)
        assert torch.equal(found.orbits == found.orbits[0], (expected.orbits[order] == expected.orbits[order[0]]))
        assert found.residual <= 1e-3
        if irreps != "0e" and len(found.permutations) > 1:
            assert {tuple(p) for p in found.permutations.tolist()} == kept_by_definition(other, irreps, 1e-3)


@pytest.mark.parametrize(
    ("atoms", "irreps", "value", "name", "listed"),
    [
        (molecule("O2"), "1e", [[0, 0, 1], [0, 0, 1]], "Cinfh", 2),
        (molecule("O2"), "1e", [[0, 0, 1], [0, 0, -1]], "Dinf", 2),
        (molecule("O2"), "1o", [[0, 0, 1], [0, 0, 1]], "Cinfv", 1),
        (molecule("O2"), "1o", [[0, 0, 1], [0, 0, -1]], "Dinfh", 2),
        (molecule("O2"), "0o", [[1], [1]], "Dinf", 2),
        (molecule("O2"), "1e", [[0, 0, 1], [0, 0, 2]], "Cinf", 1),
        (molecule("HCN"), "1o", [[0, 0, 1], [0, 0, 2], [0, 0, 3]], "Cinfv", 1),
        (molecule("HCN"), "1e", [[0, 0, 1], [0, 0, 2], [0, 0, 3]], "Cinf", 1),
        (molecule("CO2"), "1o", [[0, 0, 1], [0, 0, 0], [0, 0, 0]], "Cinfv", 1),
        (molecule("CO2"), "2e", [QUADRUPOLE] * 3, "Dinfh", 2),
        (Atoms("He"), "0o", [[1.0]], "SO3", 1),
        (Atoms("He"), "1e", [[0.0, 0, 0]], "O3", 1),
    ],
)
def test_features_of_atoms_on_a_line(atoms, irreps, value, name, listed):
    for seed in range(3):
        other, rotation, _ = moved(with_feature(atoms, value), irreps, seed)
        found = detect_symmetry(other, features={"v": irreps})
        assert found.group.schoenflies == name
        assert found.order == math.inf
        assert len(found.permutations) == listed
        v, d = other.arrays["v"], irreps_matrices(irreps, found.rotations.numpy())
        np.testing.assert_allclose(v[found.permutations.numpy()], np.einsum("gab,ib->gia", d, v), atol=1e-9)
        pos = torch.tensor(other.positions)
        moved_atoms = pos @ found.rotations.mT + found.translations[:, None]
        torch.testing.assert_close(pos[found.permutations], moved_atoms, atol=1e-9, rtol=0)
        if len(atoms) > 1:
            assert found.group == PointGroup(name).rotated(rotation * np.linalg.det(rotation))


def test_what_features_on_a_line_miss_by_is_told():
    """The inversion fits the atoms exactly and the vectors nearly."""
    found = detect_symmetry(with_feature(molecule("O2"), [[0, 0, 1], [0, 0, -1.0004]]), features={"v": "1o"})
    assert found.group.schoenflies == "Dinfh"
    assert 1e-4 < found.residuals[1] <= found.residual < 1e-3
    assert found.residuals[0] < 1e-12


def test_directions_across_a_line_are_refused():
    with pytest.raises(ValueError, match="across the axis"):
        detect_symmetry(with_feature(molecule("O2"), [[1, 0, 0], [1, 0, 0]]), features={"v": "1o"})
    with pytest.raises(ValueError, match="single atom"):
        detect_symmetry(with_feature(Atoms("He"), [[1, 0, 0]]), features={"v": "1o"})


@pytest.mark.parametrize(
    ("moments", "order", "name", "symbol"),
    [
        ([[0, 0, 1], [0, 0, 1]], 2 * 8, "C4h", "I4/m"),  # ferromagnetic along [001]
        ([[0, 0, 1], [0, 0, -1]], 2 * 8, None, "P4/mnc"),
        ([[1, 1, 1], [1, 1, 1]], 2 * 6, "S6", "R-3"),
        ([[0, 0, 1], [1, 0, 0]], None, None, None),
        ([[0, 0, 0], [0, 0, 1]], 8, "C4h", "P4/m"),
    ],
)
def test_moments_in_iron(moments, order, name, symbol):
    atoms = with_feature(bulk("Fe", "bcc", 2.87, cubic=True), moments)
    for seed in range(3):
        other, _, _ = moved(atoms, "1e", seed)
        found = detect_symmetry(other, features={"v": "1e"})
        assert {tuple(p) for p in found.permutations.tolist()} <= kept_by_definition(other, "1e", 1e-3)
        bare = detect_symmetry(other)
        misses = np.abs(
            other.arrays["v"][bare.permutations.numpy()]
            - np.einsum("gab,ib->gia", irreps_matrices("1e", bare.rotations.numpy()), other.arrays["v"])
        ).max((1, 2))
        assert found.order == (misses < 1e-6).sum()
        assert order is None or found.order == order
        assert name is None or found.group.schoenflies == name
        assert symbol is None or found.space_group.symbol == symbol


def test_tolerance_is_relative_to_the_largest_feature():
    tilted = np.eye(3)[[2] * 5] * 7.0
    tilted[1] += [0.07, 0, 0]  # by 1 %
    atoms = with_feature(TETRAHEDRON, tilted)
    assert detect_symmetry(atoms, 0.02, features={"v": "1o"}).group.schoenflies == "C2v"
    assert detect_symmetry(atoms, 1e-3, features={"v": "1o"}).order == 1
    assert 0.005 < detect_symmetry(atoms, 0.02, features={"v": "1o"}).residual < 0.02


def test_auto_weighs_features_like_positions():
    rng = np.random.default_rng(0)
    exact = np.eye(3)[[2] * 5]
    noisy = TETRAHEDRON.copy()
    noisy.positions += 3e-3 * rng.normal(size=(5, 3))
    found = detect_symmetry(with_feature(noisy, exact + 3e-3 * rng.normal(size=(5, 3))), "auto", features={"v": "1o"})
    assert found.group.schoenflies == "C2v"
    bent = exact.copy()
    bent[1] += [0.05, 0.05, 0]  # one alone, in a mirror plane, where all else is exact
    assert detect_symmetry(with_feature(TETRAHEDRON, bent), "auto", features={"v": "1o"}).group.schoenflies == "Cs"


def test_data_batches_and_mixed_names():
    data = Data(z=torch.tensor(TETRAHEDRON.numbers), pos=torch.tensor(TETRAHEDRON.positions))
    data.isotope = torch.tensor([12, 1, 1, 1, 2])
    assert detect_symmetry(data, features={"isotope": "0e"}).group.schoenflies == "C3v"
    along = data.pos[4] - data.pos[0]  # the axis of that C3v
    data.v = along.expand(5, 3)
    assert next(detect_symmetries([data], features={"isotope": "0e", "v": "1o"})).group.schoenflies == "C3v"
    assert next(detect_symmetries([data], features={"isotope": "0e", "v": "1e"})).group.schoenflies == "C3"


def test_bad_irreps_are_refused():
    atoms = with_feature(TETRAHEDRON, np.ones((5, 3)))
    with pytest.raises(ValueError, match="irreps such as"):
        detect_symmetry(atoms, features={"v": "vector"})
    with pytest.raises(ValueError, match=r"\[5, 5\]"):
        detect_symmetry(atoms, features={"v": "2e"})
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), v=torch.ones(2, 3), num_nodes=2)
    with pytest.raises(ValueError, match="no positions"):
        detect_symmetry(graph, features={"v": "1o"})
