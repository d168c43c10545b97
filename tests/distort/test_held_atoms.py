"""Atoms that are held: they are of another kind, and stay where they are."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength, FixCartesian
from ase.io import read

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.distort import distortions, relax, same_structure
from pyg_symbreak.distort.displacements import Displacements


def held_below(layers: int = 1, make=fcc100) -> Atoms:
    slab = make("Cu", (1, 1, 3), vacuum=6)
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag > 3 - layers]))
    return slab


def test_a_slab_that_is_held_below_has_no_mirror_in_its_plane():
    free = held_below()
    free.set_constraint()
    assert detect_symmetry(free).group.schoenflies == "D4h"
    assert Displacements(held_below()).whole.schoenflies == "C4v"
    assert Displacements(held_below(make=fcc111)).whole.schoenflies == "C3v"


def test_held_atoms_stay_and_are_held_in_the_results(tmp_path):
    """Oxygen on top of a surface atom goes to the hollow site over a slab that is held below."""
    slab = held_below()
    add_adsorbate(slab, "O", 1.0, "ontop")
    slab.positions[0] += [2e-4, -1e-4, 3e-4]  # not quite symmetric: it stays there all the same
    result = relax(slab, EMT(), symprec=1e-2)
    assert [s.symmetry.schoenflies for s in result.found] == ["C4v", "C2v", "C4v"]
    for s in result.found:
        np.testing.assert_array_equal(s.atoms.positions[0], slab.positions[0])
        assert s.atoms.constraints[0].get_indices().tolist() == [0]
        assert np.linalg.norm(s.atoms.get_forces(), axis=1).max() < 0.02
    for descent in result.descents:
        for frame in descent.frames:
            np.testing.assert_array_equal(frame.positions[0], slab.positions[0])
    moved = result.minima[0].atoms.positions - slab.positions
    assert np.linalg.norm(moved[1:3], axis=1).min() > 1e-3
    result.write(tmp_path / "found.extxyz")
    assert read(tmp_path / "found.extxyz").constraints[0].get_indices().tolist() == [0]


def test_curvatures_over_held_atoms_are_those_of_the_full_matrix():
    slab = held_below()
    add_adsorbate(slab, "O", 1.0, "ontop")
    first = relax(slab, EMT(), generations=1, fmax=1e-4, steps=2000).found[0]
    space = Displacements(first.atoms, 1e-3)
    size = 3 * len(slab)
    full = np.zeros((size, size))
    for k in range(size):
        forces = []
        for sign in (1, -1):
            atoms = space.atoms.copy()
            atoms.set_constraint()
            atoms.positions.ravel()[k] += 0.005 * sign
            atoms.calc = EMT()
            forces.append(atoms.get_forces().ravel())
        full[k] = (forces[1] - forces[0]) / 0.01
    free = full[3:, 3:]  # no rigid motion is taken out: none leaves the held atom in place
    values = np.linalg.eigvalsh((free + free.T) / 2)
    assert min(c for _, c in first.curvatures) == pytest.approx(values[0], rel=3e-3)
    assert len(space.basis) == len(values)


@pytest.mark.parametrize(("held", "left"), [([], 6), ([0], 3), ([0, 1], 1), ([0, 1, 2], 0)])
def test_rigid_motions_are_those_that_leave_held_atoms_in_place(held, left):
    atoms = molecule("CH3CH2OH")
    atoms.set_constraint(FixAtoms(held))
    space = Displacements(atoms)
    assert len(space.basis) == 3 * (len(atoms) - len(held)) - left
    assert np.abs(space.basis[:, held]).max(initial=0) == 0


def test_a_linear_molecule_that_is_held_at_one_end():
    """It stretches and bends, and it does not turn about the atom that is held."""
    atoms = Atoms("Cu3", [[0, 0, 2.3 * i] for i in range(3)])
    atoms.set_constraint(FixAtoms([0]))
    space = Displacements(atoms)
    assert space.whole.schoenflies == "Cinfv"
    assert [(d.irrep, d.keep.schoenflies) for d in distortions(atoms)] == [("Pi", "Cs")]
    result = relax(atoms, EMT())
    np.testing.assert_array_equal(result.minima[0].atoms.positions[0], 0)
    assert detect_symmetry(result.minima[0].atoms, 0.05).group.schoenflies == "D3h"
    assert result.minima[0].symmetry.schoenflies == "C2v"


def test_all_atoms_held():
    atoms = molecule("CH4")
    atoms.set_constraint(FixAtoms(range(5)))
    assert distortions(atoms, 1e-2) == []


def test_held_atoms_correspond_to_held_atoms():
    a, b = molecule("H2O2"), molecule("H2O2")
    a.set_constraint(FixAtoms([0]))
    b.set_constraint(FixAtoms([1]))
    assert same_structure(a, b)  # an axis carries one to the other
    b.set_constraint(FixAtoms([2]))
    assert not same_structure(a, b)


@pytest.mark.parametrize("constraint", [FixBondLength(0, 1), FixCartesian([0], (True, False, False))])
@pytest.mark.parametrize("call", [distortions, lambda atoms: relax(atoms, EMT())])
def test_other_constraints_are_refused_by_name(constraint, call):
    atoms = molecule("CO2")
    atoms.set_constraint([FixAtoms([1]), constraint])
    with pytest.raises(ValueError, match=rf"constraint {type(constraint).__name__}.*FixAtoms.*set_constraint\(\)"):
        call(atoms)


def test_a_cell_does_not_relax_over_held_atoms():
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="FixAtoms holds some"):
        relax(atoms, EMT(), cell="symmetric")
