from importlib.resources import files

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from ase.spacegroup import crystal as of_space_group
from scipy.spatial.transform import Rotation

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.diagnosis import diagnose, kept_symmetry
from pyg_symbreak.relation import match_structures, relate_structures
from pyg_symbreak.structures import apply_distortion, from_ase, match_atoms, to_ase

PEROVSKITE = Atoms(
    "CaTiO3",
    scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    cell=3.9 * np.eye(3),
    pbc=True,
)


def in_another_cell(atoms, rng):
    """The same crystal with another basis of its lattice, another origin, orientation and order of atoms."""
    out = make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [1, 0, 1]])[rng.permutation(len(atoms))]
    out.positions += rng.standard_normal(3)
    rotation = Rotation.random(random_state=int(rng.integers(1000))).as_matrix()
    out.set_cell(out.cell.array @ rotation.T, scale_atoms=True)
    return out


def distorted(seed):
    """A random distortion of a cell of four perovskites: the random numbers, the cell of four, the child."""
    rng = np.random.default_rng(seed)
    whole = make_supercell(PEROVSKITE, [[1, -1, 0], [1, 1, 0], [0, 0, 2]])
    displacements = torch.from_numpy(0.1 * rng.standard_normal((20, 3)))
    strain = 0.02 * rng.standard_normal((3, 3))
    child = apply_distortion(from_ase(whole, torch.float64), displacements, torch.from_numpy(strain + strain.T)[None])
    return rng, whole, to_ase(child)


@pytest.mark.parametrize("seed", range(3))
def test_cell_origin_and_atoms_are_found_from_any_cell(seed):
    rng, whole, child = distorted(seed)
    given, hidden = in_another_cell(PEROVSKITE, rng), in_another_cell(child, rng)
    found = relate_structures(given, hidden)
    assert found.supercell == 4
    np.testing.assert_allclose(found.transformation.numpy() @ given.cell.array, found.parent.cell.array, atol=1e-9)
    # the parent that is returned is the parent that was given, in a larger cell
    assert detect_symmetry(found.parent, 1e-3).space_group.number == 221
    assert len(detect_symmetry(found.parent, 1e-3).pure_translations) == 4
    # the child comes back from it, atom by atom
    back = to_ase(
        apply_distortion(from_ase(found.parent, torch.float64), found.match.displacements, found.match.strain[None])
    )
    np.testing.assert_allclose(back.get_all_distances(mic=True), hidden.get_all_distances(mic=True), atol=1e-9)
    assert (back.numbers == hidden.numbers).all()
    # and by no longer way than the distortion it was made with
    made = match_atoms(whole, child)
    cost = [float(m.displacements.square().sum()) for m in (found.match, made)]
    assert cost[0] <= cost[1] + 1e-9
    assert float(found.match.strain.norm()) == pytest.approx(float(made.strain.norm()), abs=1e-9)


def pairs():
    """Pairs of the data set whose atoms move far, in the cell of the child: parent and child."""
    from pyg_symbreak.datasets import Ferroelectrics

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        dataset = Ferroelectrics()
    finally:
        torch.set_default_dtype(before)
    for data in dataset:
        if data.formula in ("CrO3", "CuN") or (data.formula == "SiO2" and data.parent_number.item() == 72):
            yield to_ase(data), to_ase(apply_distortion(data, data.y, data.strain[0]))


def order_kept(parent, child, match):
    symmetry = detect_symmetry(parent, 1e-2)
    return kept_symmetry(symmetry, match.displacements, match.strain * parent.cell.lengths().max(), 2e-2).order


def test_assignment_keeps_the_symmetry_that_parent_and_child_share():
    """Of the nearest atoms some pairs keep less than the child has; the orders of the child are moyo's."""
    nearest, symmetric = [], []
    for parent, child in pairs():
        wanted = detect_symmetry(child, 1e-2).group.order
        match, plain = match_structures(parent, child), match_atoms(parent, child)
        symmetric.append(order_kept(parent, child, match) == wanted)
        nearest.append(order_kept(parent, child, plain) == wanted)
        assert match.displacements.square().sum() <= 2 * plain.displacements.square().sum()
    assert len(symmetric) >= 3
    assert all(symmetric)
    assert not all(nearest)


def test_of_several_cells_one_that_keeps_all_symmetry_of_the_child_is_preferred():
    """SiO2 from Ibam (72) to Pna2_1 (33), mp-7905 to mp-554089: a shorter distortion from another cell keeps less."""
    parent = of_space_group(
        ["Si", "O"], [(0, 0, 0.25), (0.14766, 0.13282, 0)], spacegroup=72, cellpar=[5.7251, 6.2566, 4.7322, 90, 90, 90]
    )
    child = of_space_group(
        ["Si", "O", "O"],
        [(0.04552, 0.62483, 0.99957), (0.01596, 0.55231, 0.30318), (0.15575, 0.19899, 0.44726)],
        spacegroup=33,
        cellpar=[5.0823, 7.0383, 5.0646, 90, 90, 90],
    )
    found = relate_structures(parent, child)
    assert order_kept(found.parent, child, found.match) == detect_symmetry(child, 1e-2).group.order == 4


def test_other_assignments_that_keep_as_much_are_named():
    parent, child = next(pair for pair in pairs() if pair[0].get_chemical_formula() == "O8Si4")
    found = diagnose(parent, child, symprec=1e-2)
    total = float(found.vectors.square().sum())
    assert all(total < cost <= 2 * total for cost in found.alternatives)
    assert f"other assignments of the atoms\n         keep as much, with sums of {found.alternatives[0]:.4g}" in str(
        found
    )
    assert found.to_dict()["alternatives"] == list(found.alternatives)
    plain = diagnose(PEROVSKITE, PEROVSKITE)
    assert plain.alternatives == ()
    assert "other assignments" not in str(plain)


def test_no_symmetry_in_common_gives_the_nearest_atoms():
    rng, whole, child = distorted(5)
    del rng
    match, plain = match_structures(whole, child), match_atoms(whole, child)
    assert match.displacements.square().sum() == pytest.approx(float(plain.displacements.square().sum()), abs=1e-9)


def test_the_match_turns_with_the_structures():
    """Tetragonal barium titanate and its parent, both turned: the displacements turn along."""
    folder = files("pyg_symbreak.datasets.files") / "batio3"
    from pyg_symbreak.structures import read_structure

    parent, child = read_structure(str(folder / "cubic.cif")), read_structure(str(folder / "tetragonal.cif"))
    turn = Rotation.random(random_state=3).as_matrix()
    turned = [x.copy() for x in (parent, child)]
    for x in turned:
        x.set_cell(x.cell.array @ turn.T, scale_atoms=True)
    first, second = match_structures(parent, child), match_structures(*turned)
    np.testing.assert_allclose(second.displacements, first.displacements.numpy() @ turn.T, atol=1e-9)
    assert diagnose(*turned, symprec=1e-2).keep.schoenflies == "C4v"


def test_refusals():
    crystal = bulk("CsCl", "cesiumchloride", a=4.1)
    with pytest.raises(ValueError, match="must be crystals"):
        relate_structures(molecule("H2O"), crystal)
    with pytest.raises(ValueError, match="whole number of the parent's"):
        relate_structures(crystal, bulk("NaCl", "rocksalt", a=5.6))
    with pytest.raises(ValueError, match="whole number of the parent's"):
        relate_structures(make_supercell(PEROVSKITE, np.diag([1, 1, 2]))[1:], PEROVSKITE)
    long = crystal.copy()
    long.set_cell(np.diag([4.1, 4.1, 6.5]), scale_atoms=True)
    with pytest.raises(ValueError, match="reconstructive"):
        relate_structures(crystal, long)
    assert relate_structures(crystal, long, max_strain=0.7).supercell == 1
    with pytest.raises(ValueError, match="same setting"):
        match_structures(crystal, long)
    with pytest.raises(ValueError, match="relate_structures"):
        match_structures(crystal, crystal * (1, 1, 2))
