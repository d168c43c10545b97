"""What a structure carries reaches the calculator and comes out again: charge, moments, tags, masses, info."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import read

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.distort import distortions, relax, same_structure


class Umbrella(Calculator):
    """Ammonia by its bonds and the height of nitrogen: planar as a cation, pyramidal as a neutral molecule."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        softness = 1.0 if atoms.info.get("charge", 0) == 1 else -1.0

        def energy(x: np.ndarray) -> float:
            bonds = np.linalg.norm(x[1:] - x[0], axis=1)
            sides = np.linalg.norm(x[1:] - np.roll(x[1:], 1, axis=0), axis=1)
            squares = np.square(x[1:].mean(0) - x[0]).sum()
            return 5 * np.square(bonds - 1).sum() + np.square(sides - 1.73).sum() + softness * squares + 6 * squares**2

        x, forces = atoms.positions, np.zeros((4, 3))
        for k in np.ndindex(4, 3):
            step = np.zeros((4, 3))
            step[k] = 1e-5
            forces[k] = -(energy(x + step) - energy(x - step)) / 2e-5
        self.results = {"energy": energy(x), "forces": forces}


def planar_ammonia() -> Atoms:
    angle = 2 * np.pi * np.arange(3) / 3
    return Atoms("NH3", [(0, 0, 0), *np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)])


def test_the_cation_of_ammonia_is_planar_and_the_molecule_is_not():
    cation = planar_ammonia()
    cation.info["charge"] = 1
    assert [s.symmetry.schoenflies for s in relax(cation, Umbrella()).minima] == ["D3h"]
    assert [s.symmetry.schoenflies for s in relax(planar_ammonia(), Umbrella()).minima] == ["C3v"]


def loaded() -> Atoms:
    atoms = Atoms("Cu4", 1.2 * np.array([(1, 1, 0), (-1, 1, 0), (-1, -1, 0), (1, -1, 0)]))
    atoms.info.update(charge=1, spin=2, distortion="mine")
    atoms.set_initial_magnetic_moments([1, 1, 1, 1])
    atoms.set_initial_charges([0.25] * 4)
    atoms.set_tags([3, 3, 3, 3])
    atoms.set_masses([65, 65, 65, 65])
    atoms.set_array("label", np.full(4, 7.5))
    return atoms


def assert_loaded(atoms: Atoms, own: tuple[str, ...] = ("label",)) -> None:
    expected = loaded()
    assert {key: atoms.info[key] for key in ("charge", "spin")} == {"charge": 1, "spin": 2}
    for name in ("initial_magmoms", "initial_charges", "tags", "masses", *own):
        np.testing.assert_array_equal(atoms.arrays[name], expected.arrays[name], err_msg=name)


class Witness(EMT):
    def calculate(self, atoms=None, *arguments, **keywords):
        assert_loaded(atoms)
        super().calculate(atoms, *arguments, **keywords)


def test_all_that_the_atoms_carry_reaches_the_calculator_and_the_results(tmp_path):
    result = relax(loaded(), Witness())
    assert len(result.found) > 1
    for s in result.found:
        assert_loaded(s.atoms)
        assert s.atoms.info["distortion"] == "mine"
    frames = [frame for descent in result.descents for frame in descent.frames]
    for frame in frames:
        assert_loaded(frame)
    result.write(tmp_path / "found.extxyz")
    result.write_trajectory(tmp_path / "relax.traj")
    for atoms in read(tmp_path / "found.extxyz", index=":"):
        assert (atoms.info["charge"], atoms.info["spin"]) == (1, 2)
        np.testing.assert_array_equal(atoms.get_initial_magnetic_moments(), 1)
        np.testing.assert_array_equal(atoms.arrays["label"], 7.5)
    written = read(tmp_path / "relax.traj", index=":")
    assert len(written) == len(frames)
    for number, descent in enumerate(result.descents):
        mine = [atoms for atoms in written if atoms.info["relaxation"] == number]
        assert [atoms.get_potential_energy() for atoms in mine] == pytest.approx(descent.energies)
        assert_loaded(mine[0], own=())  # a trajectory has no place for arrays that ASE does not know
    assert "relaxation" not in result.found[0].atoms.info


def test_starts_carry_what_the_atoms_carry():
    atoms = loaded()
    for d in distortions(atoms):
        for start in d.starts(atoms):
            assert_loaded(start)
            assert start.info["distortion"].startswith(d.irrep)
    assert atoms.info["distortion"] == "mine"


def test_features_are_kept_by_the_symmetry():
    """A square whose moments alternate is a rhombus to the symmetry, and the tetrahedron has two kinds of corners."""
    atoms = loaded()
    atoms.set_initial_magnetic_moments([1, -1, 1, -1])
    kept = distortions(atoms, features=["initial_magmoms"])
    assert max(d.keep.order * d.equivalent for d in kept) == 8  # D2h has 8 operations, D4h has 16
    assert max(d.keep.order * d.equivalent for d in distortions(atoms)) == 16
    result = relax(atoms, EMT(), features=["initial_magmoms"])
    assert result.found[0].symmetry.schoenflies == "D2h"
    assert result.minima[0].symmetry.schoenflies == "C2v"
    assert detect_symmetry(result.minima[0].atoms, 0.05).group.schoenflies == "Td"


def test_features_tell_structures_apart():
    a, b = molecule("H2O2"), molecule("H2O2")
    assert same_structure(a, b)
    a.set_initial_charges([1, 0, 0, 0])  # on the first oxygen, which an axis carries to the second
    b.set_initial_charges([0, 1, 0, 0])
    assert same_structure(a, b, features=["initial_charges"])
    b.set_initial_charges([0, 0, 1, 0])
    assert same_structure(a, b)
    assert not same_structure(a, b, features=["initial_charges"])


def test_vectors_tell_structures_apart():
    """Moments along a molecule and across it: no rotation of the molecule carries one to the other."""
    a, b, c = (molecule("CO2") for _ in range(3))
    axis = a.positions[1] - a.positions[2]
    axis /= np.linalg.norm(axis)
    across = np.cross(axis, [0.3, 0.5, 0.7])
    across /= np.linalg.norm(across)
    for atoms, moment in ((a, axis), (b, across), (c, -axis)):
        atoms.set_array("moment", np.array([moment, 0 * moment, 0 * moment]))
    assert same_structure(a, c, features={"moment": "1e"})
    assert not same_structure(a, b, features={"moment": "1e"})
    assert same_structure(a, b)
