"""Inputs in wrong units or of wrong types: each once ended the process, hung, or raised what names nothing."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from torch_geometric.data import Batch, Data, HeteroData

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.structures import check_structure, from_ase, neighbor_pairs
from pyg_symbreak.transforms import NeighborList

TRIANGLE = torch.eye(3)


def caesium_chloride(cell, second=(2.0, 2.0, 2.0), pbc=True):
    return Atoms("CsCl", [[0, 0, 0], second], cell=cell, pbc=pbc)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (caesium_chloride(1e7 * np.eye(3)), r"vector of 1e\+07 Å: is it in Å"),
        (caesium_chloride(1e7 * np.eye(3), pbc=False), r"vector of 1e\+07 Å"),
        (caesium_chloride(4 * np.eye(3), (1e12, 2, 2)), "position of atom 1 .* are the positions in Å"),
        (caesium_chloride(None, (9e5, 2, 2), pbc=False), "position of atom 1 .* are the positions in Å"),
        (Atoms("Cs", cell=5e-6 * np.eye(3), pbc=True), "vector of 5e-06 Å, so that every atom coincides"),
        (Atoms("Cs", cell=[[1, 0, 0], [0, 1, 0], [0.5, 0.5, 1e-4]], pbc=True), "would have about"),
    ],
)
def test_lengths_that_no_structure_has(atoms, message):
    for refuse in (check_structure, lambda a: NeighborList(3.0)(from_ase(a, torch.float64))):
        with pytest.raises(ValueError, match=message):
            refuse(atoms)
    if atoms.pbc.all():
        with pytest.raises(ValueError, match="Å"):
            detect_symmetry(atoms)


@pytest.mark.parametrize("size", [1e3, 9e4])
@pytest.mark.parametrize("periodic", [True, False])
def test_large_but_sound(size, periodic):
    atoms = (
        caesium_chloride(size * np.eye(3), pbc=True) if periodic else caesium_chloride(None, (size, 2, 2), pbc=False)
    )
    assert NeighborList(4.0)(from_ase(atoms, torch.float64)).edge_index.shape[1] == (2 if periodic else 0)


def test_atoms_far_outside_of_their_cell_have_the_same_neighbours():
    rng = np.random.default_rng(0)
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.1, rng=rng)
    cell = atoms.cell.array
    away = rng.integers(-9000, 9000, (2, 3))
    moved = atoms.copy()
    moved.positions += away @ cell
    i, j, shift = neighbor_pairs(atoms, 5.0)
    a, b, other = neighbor_pairs(moved, 5.0)
    expected = sorted(zip(i, j, map(tuple, shift + away[i] - away[j]), strict=True))
    assert sorted(zip(a, b, map(tuple, other), strict=True)) == expected


def test_slabs_are_wrapped_along_their_plane_only():
    slab = Atoms("H2", [[0.5, 0.5, 0], [9.5, -8.5, 1]], cell=[3, 3, 0], pbc=[True, True, False])
    i, j, shift = neighbor_pairs(slab, 1.5)
    vectors = slab.positions[j] - slab.positions[i] + shift @ slab.cell.array
    assert len(i) == 2
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    assert not shift[:, 2].any()


def test_cutoffs_that_ask_for_too_much():
    dense = Atoms("H20", np.random.default_rng(0).uniform(size=(20, 3)) * 3, cell=3 * np.eye(3), pbc=True)
    with pytest.raises(ValueError, match=r"within 50 Å .* about 3.9e\+05 neighbours"):
        neighbor_pairs(dense, 50.0)
    many = Atoms("H30000", np.random.default_rng(0).uniform(size=(30000, 3)) * 100)
    with pytest.raises(ValueError, match=r"about 3e\+04 neighbours"):
        neighbor_pairs(many, 1e9)
    assert len(neighbor_pairs(Atoms("H2", [[0, 0, 0], [1, 0, 0]]), 1e9)[0]) == 2


@pytest.mark.parametrize("cutoff", [None, "3", True, 0, -1.0, float("nan"), float("inf")])
def test_cutoffs_that_are_none(cutoff):
    with pytest.raises(ValueError, match="positive length"):
        NeighborList(cutoff)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"pbc": True, "cell": 4 * TRIANGLE}, "data.pbc is True; one structure needs a Tensor"),
        ({"pbc": [True, True, True], "cell": 4 * TRIANGLE}, "data.pbc is .* one structure needs a Tensor"),
        ({"z": torch.tensor([1, 200, 3])}, "data.z holds 1 to 200; atomic numbers are 1 to 118"),
        ({"z": torch.tensor([1, -2, 3])}, "data.z holds -2 to 3"),
        ({"z": [1, 2, 3]}, "data.z is .* 3 positions need"),
        ({"z": torch.ones(3)}, "data.z is of torch.float32; atomic numbers are whole"),
        ({"cell": [[4.0, 0, 0]]}, "data.cell is .* one structure needs"),
        ({"cell": TRIANGLE.cfloat()}, "data.cell"),
        ({"pos": [[0.0, 0, 0]]}, "data.pos is .* must be a Tensor"),
        ({"pos": TRIANGLE.cfloat()}, "data.pos is of torch.complex64; positions are real"),
    ],
)
@pytest.mark.parametrize("entry", [detect_symmetry, check_structure, NeighborList(3.0)])
def test_attributes_of_the_wrong_type(attributes, message, entry):
    with pytest.raises(ValueError, match=message):
        entry(Data(**{"pos": TRIANGLE, **attributes}))


@pytest.mark.parametrize("symprec", [None, "word", [1], True])
def test_tolerances_of_the_wrong_type(symprec):
    with pytest.raises(TypeError, match="symprec must be a distance in Å"):
        detect_symmetry(Data(pos=TRIANGLE), symprec)


def test_what_is_no_single_data():
    with pytest.raises(TypeError, match=r"HeteroData: make .* to_homogeneous"):
        NeighborList(3.0)(HeteroData())
    with pytest.raises(TypeError, match="Atoms"):
        NeighborList(3.0)(bulk("Si"))
    with pytest.raises(ValueError, match="not a batch"):
        NeighborList(3.0)(Batch.from_data_list([from_ase(bulk("Si"))]))
    with pytest.raises(TypeError, match="a structure is a Data or Atoms, got str"):
        check_structure("Si")
