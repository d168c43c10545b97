import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms, FixBondLength
from ase.io import read, write
from torch_geometric.data import Batch

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.structures import from_ase, occupancy_kinds, to_ase


def laden():
    atoms = fcc111("Cu", (2, 2, 2), vacuum=5)
    rng = np.random.default_rng(0)
    atoms.set_initial_magnetic_moments(rng.normal(size=(8, 3)))
    atoms.set_initial_charges(rng.normal(size=8))
    atoms.set_masses(rng.uniform(60, 70, 8))
    atoms.set_array("strange", rng.integers(5, size=(8, 2)))
    atoms.set_constraint(FixAtoms([0, 3]))
    atoms.info = {
        "charge": -1,
        "temperature": 300.0,
        "source": "a test",
        "field": np.array([0.0, 0.0, 0.1]),
        "ok": True,
    }
    return atoms


def test_all_that_atoms_carry_comes_back():
    atoms = laden()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = to_ase(from_ase(atoms, torch.float64))
    assert set(atoms.arrays) == set(back.arrays)
    for name, array in atoms.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
    np.testing.assert_array_equal(back.constraints[0].index, [0, 3])
    for name, value in atoms.info.items():
        np.testing.assert_array_equal(back.info[name], value)
    assert type(back.info["charge"]) is int


def test_it_survives_batching_and_files(tmp_path):
    a, b = laden(), laden()
    b.info["charge"] = 2
    one, two = Batch.from_data_list([from_ase(x, torch.float64) for x in (a, b)]).to_data_list()
    assert one.charge.tolist() == [-1]
    assert two.charge.tolist() == [2]
    write(tmp_path / "b.xyz", to_ase(two))
    back = read(tmp_path / "b.xyz")
    assert back.info["charge"] == 2
    np.testing.assert_allclose(back.get_initial_magnetic_moments(), b.get_initial_magnetic_moments(), atol=1e-7)


def test_moments_are_features():
    iron = bulk("Fe", cubic=True)
    iron.set_initial_magnetic_moments([2.0, -2.0])
    data = from_ase(iron, torch.float64)
    assert len(detect_symmetry(data).permutations) == 96
    assert len(detect_symmetry(data, features=["initial_magmoms"]).permutations) == 48
    assert len(detect_symmetry(iron, features=["initial_magmoms"]).permutations) == 48


def test_fixed_atoms_are_a_feature():
    data = from_ase(laden())
    assert data.fixed.tolist() == [True, False, False, True] + 4 * [False]


def test_what_cannot_be_carried_is_said():
    atoms = molecule("H2O")
    atoms.set_constraint(FixBondLength(0, 1))
    atoms.info = {"node_index": 3, "object": object(), "pos": 1.0, "not a name": 2}
    with pytest.warns(UserWarning, match="cannot carry .*node_index.*object.*pos.*not a name.*FixBondLength.* of H2O"):
        data = from_ase(atoms)
    assert sorted(data.keys()) == ["cell", "pbc", "pos", "z"]


def test_plain_atoms_make_a_plain_data():
    assert sorted(from_ase(molecule("H2O")).keys()) == ["cell", "pbc", "pos", "z"]
    assert sorted(from_ase(bulk("Si")).keys()) == ["cell", "pbc", "pos", "z"]


def copper_gold(shares):
    """Copper and gold on the sites of face-centred copper, with partial occupancies as ASE's reader leaves them."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_array("spacegroup_kinds", np.arange(4))
    atoms.info["occupancy"] = {str(i): {"Cu": share, "Au": 1 - share} for i, share in enumerate(shares)}
    return atoms


@pytest.mark.parametrize(
    ("shares", "number"), [([0.5] * 4, 225), ([0.5, 0.25, 0.25, 0.25], 221), ([0.5, 0.25, 0, 0], 123)]
)
def test_partial_occupancies_are_part_of_the_symmetry(shares, number):
    for structure in (copper_gold(shares), from_ase(copper_gold(shares), torch.float64)):
        assert detect_symmetry(structure).space_group.number == number


def test_full_occupancies_are_none():
    assert occupancy_kinds(bulk("Cu")) is None
    full = copper_gold([1, 1, 1, 1])
    full.info["occupancy"] = {str(i): {"Cu": 1.0} for i in range(4)}
    assert occupancy_kinds(full) is None


CIF = """data_mixed
_cell_length_a 3.8
_cell_length_b 3.8
_cell_length_c 3.8
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
M1 Cu 0 0 0 0.5
M2 Au 0 0 0 0.5
M3 Cu 0.5 0.5 0 0.25
M4 Au 0.5 0.5 0 0.75
M5 Au 0.5 0 0.5 1
M6 Au 0 0.5 0.5 1
"""


def test_partial_occupancies_of_a_file(tmp_path):
    (tmp_path / "mixed.cif").write_text(CIF)
    atoms = read(tmp_path / "mixed.cif")
    assert isinstance(atoms, Atoms)
    assert len(set(occupancy_kinds(atoms))) == 3
    atoms.numbers[:] = 79
    assert detect_symmetry(atoms).space_group.symbol.replace(" ", "") == "P4/mmm"
