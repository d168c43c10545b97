"""What a structure carries (charges, moments, masses, constraints, info) goes with every copy that is made of it."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from torch_geometric.data import Batch, Data

from pyg_symbreak.detect import approximate_symmetries, detect_symmetry, symmetrize
from pyg_symbreak.distort import distortions, relax
from pyg_symbreak.preprocess import preprocess
from pyg_symbreak.structures import apply_distortion, from_ase, to_ase
from pyg_symbreak.transforms import AddSymmetry, AddSymmetryBreaking, NeighborList, OrbitIndividualization

ARRAYS = ("initial_magmoms", "initial_charges", "tags", "masses", "label")
OBJECTS = "0o+1o+1e+2e+2o+3e+3o+4e+4o"


def loaded() -> Atoms:
    atoms = bulk("Cu").repeat((2, 1, 1))
    atoms.set_initial_magnetic_moments([[0, 0, 1.0], [0, 0, -1.0]])
    atoms.set_initial_charges([0.25, -0.25])
    atoms.set_tags([3, 4])
    atoms.set_masses([63, 65])
    atoms.set_array("label", np.array([7.5, 8.5]))
    atoms.set_constraint(FixAtoms([0]))
    atoms.info.update(charge=1, name="mine", temperature=300.0)
    return atoms


def require_all(atoms: Atoms) -> None:
    expected = loaded()
    order = np.argsort(atoms.get_tags())
    for name in ARRAYS:
        np.testing.assert_allclose(atoms.arrays[name][order], expected.arrays[name], err_msg=name)
    held = np.concatenate([c.get_indices() for c in atoms.constraints])
    assert atoms.get_tags()[held].tolist() == [3]
    assert {key: np.asarray(atoms.info[key]).item() for key in expected.info} == expected.info


def of_relax(atoms: Atoms) -> list[Atoms]:
    result = relax(atoms, EMT(), fmax=0.05)
    return [*(s.atoms for s in result.found), *(frame for descent in result.descents for frame in descent.frames)]


COPIES_OF_ATOMS = {
    "symmetrize": lambda x: [symmetrize(x, detect_symmetry(x)), symmetrize(x, approximate_symmetries(x)[-1])],
    "to Data and back": lambda x: [to_ase(from_ase(x, torch.float64))],
    "starts": lambda x: [start for d in distortions(x) for start in d.starts(x)],
    "relax": of_relax,
}


@pytest.mark.parametrize("name", COPIES_OF_ATOMS)
def test_copies_of_atoms(name):
    copies = COPIES_OF_ATOMS[name](loaded())
    assert copies
    for atoms in copies:
        require_all(atoms)


COPIES_OF_DATA = {
    "symmetrize": lambda x: symmetrize(x, detect_symmetry(x)),
    "apply_distortion": lambda x: apply_distortion(x, torch.zeros(2, 3).double(), torch.zeros(1, 3, 3).double()),
    "NeighborList": NeighborList(3.0),
    "AddSymmetry": AddSymmetry(),
    "group": AddSymmetryBreaking(),
    "group, all": AddSymmetryBreaking(choose="all", irreps=OBJECTS),
    "input": AddSymmetryBreaking("input"),
    "input, all": AddSymmetryBreaking("input", choose="all"),
    "sympe": AddSymmetryBreaking("sympe"),
    "noise": AddSymmetryBreaking("noise"),
    "OrbitIndividualization": OrbitIndividualization(),
}


@pytest.mark.parametrize("name", COPIES_OF_DATA)
def test_copies_of_data(name):
    found = COPIES_OF_DATA[name](from_ase(loaded(), torch.float64))
    for data in found.to_data_list() if isinstance(found, Batch) else [found]:
        carried = {key: data[key] for key in (*ARRAYS, "fixed", "charge", "name", "temperature")}
        require_all(to_ase(Data(pos=data.pos, z=data.z, cell=data.cell, pbc=data.pbc, **carried)))


def test_a_data_set_on_disk(tmp_path):
    (data,) = preprocess([loaded()], tmp_path / "set", AddSymmetryBreaking()).dataset()
    carried = {key: data[key] for key in (*ARRAYS, "fixed", "charge", "name", "temperature")}
    require_all(to_ase(Data(pos=data.pos, z=data.z, cell=data.cell, pbc=data.pbc, **carried)))
