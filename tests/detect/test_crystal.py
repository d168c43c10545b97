"""Crystals, supercells and slabs, against spglib and against the definition of a symmetry operation."""

import gc
import pickle

import numpy as np
import pytest
import spglib
import torch
from ase import Atoms
from ase.build import bulk, fcc100, fcc111, graphene, mx2
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch, Data

from pyg_symbreak.detect import approximate_symmetries, detect_symmetry, symmetrize


def misfit(atoms: Atoms, symmetry) -> float:
    """Largest distance by which an operation misses, taken from the definition, lattice vectors removed."""
    pos, cell = torch.tensor(atoms.positions), torch.tensor(atoms.cell.array)
    moved = pos @ symmetry.rotations.mT + symmetry.translations[:, None]
    fractional = (pos[symmetry.permutations] - moved) @ torch.linalg.inv(cell)
    fractional[..., torch.tensor(atoms.pbc)] -= fractional[..., torch.tensor(atoms.pbc)].round()
    return float((fractional @ cell).norm(dim=-1).max())


def disguised(atoms: Atoms, seed: int, reflect: bool = False) -> tuple[Atoms, np.ndarray, np.ndarray]:
    """Rotate (and reflect), shift, and reorder a crystal; returned with the rotation and the order."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=seed).as_matrix() * (-1 if reflect else 1)
    order = rng.permutation(len(atoms))
    out = atoms[order]
    out.set_cell(atoms.cell.array @ rotation.T)
    out.positions = out.positions @ rotation.T + rng.normal(size=3) * 5
    out.wrap()
    return out, rotation, order


def as_set(matrices) -> set:
    return {tuple(np.round(m, 5).ravel() + 0.0) for m in np.asarray(matrices)}


def partition(orbits) -> set:
    orbits = np.asarray(orbits)
    return {frozenset(np.flatnonzero(orbits == o).tolist()) for o in set(orbits.tolist())}


def spglib_view(atoms: Atoms, symprec: float):
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    return spglib.get_symmetry_dataset(cell, symprec)


def generic_crystal(number: int) -> Atoms:
    """A crystal of one space-group type: two generic atoms in a cell that its system allows."""
    parameters = {
        1: [5.0, 6.1, 7.3, 83, 97, 104],
        2: [5.0, 6.1, 7.3, 90, 103, 90],
        3: [5.0, 6.1, 7.3, 90, 90, 90],
        4: [5.5, 5.5, 7.1, 90, 90, 90],
        5: [5.5, 5.5, 7.1, 90, 90, 120],
        6: [6.2, 6.2, 6.2, 90, 90, 90],
    }
    system = 1 + int(np.searchsorted([3, 16, 75, 143, 195], number, side="right"))
    basis = [(0.137, 0.229, 0.071), (0.313, 0.041, 0.417)]
    return crystal(["Si", "O"], basis, spacegroup=number, cellpar=parameters[system])


@pytest.mark.parametrize("number", range(1, 231))
def test_all_space_groups_agree_with_spglib(number):
    atoms = generic_crystal(number)
    primitive = spglib.find_primitive((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), 1e-4)
    cells = [atoms, Atoms(primitive[2], cell=primitive[0], scaled_positions=primitive[1], pbc=True)]
    cells.append(cells[1] * (2, 2, 2))
    for i, cell in enumerate(cells):
        cell = disguised(cell, number + i, reflect=i == 1)[0]
        expected = spglib_view(cell, 1e-3)
        found = detect_symmetry(cell, 1e-3)
        assert found.space_group.number == expected.number
        assert found.order == len(expected.rotations)
        assert partition(found.orbits) == partition(expected.equivalent_atoms)
        assert misfit(cell, found) < 1e-6
        assert found.group.order == len(np.unique(expected.rotations, axis=0))


def test_supercell_of_silicon_has_5184_operations():
    found = detect_symmetry(bulk("Si", cubic=True) * (3, 3, 3))
    assert found.order == 5184
    assert found.group.order == 48
    assert found.group.schoenflies == "Oh"
    assert found.orbits.unique().tolist() == [0]
    assert found.site_symmetry(17).schoenflies == "Td"


def test_supercell_shape_removes_rotations_but_not_the_space_group():
    found = detect_symmetry(bulk("Si", cubic=True) * (2, 1, 1))
    assert found.space_group == (227, "Fd-3m")
    assert found.group.schoenflies == "D4h"
    assert found.order == 16 * 8


@pytest.mark.parametrize("repeat", [(1, 1, 1), (2, 1, 1), (2, 2, 1)])
def test_operations_are_a_group(repeat):
    atoms = disguised(crystal("O", [(0.1, 0.2, 0.3)], spacegroup=92, cellpar=[5, 5, 7, 90, 90, 90]), 3)[0]
    atoms *= repeat
    found = detect_symmetry(atoms)
    listed = {tuple(p) for p in found.permutations.tolist()}
    assert len(listed) == found.order
    for p in found.permutations[::3]:
        assert {tuple(p[q].tolist()) for q in found.permutations} == listed
    assert torch.equal(found.permutations[0], torch.arange(len(atoms)))
    products = found.rotations[:, None] @ found.rotations
    assert float((products @ products.mT - torch.eye(3)).abs().max()) < 1e-12
    assert as_set(products.reshape(-1, 3, 3)) == as_set(found.group.matrices)
    torch.testing.assert_close(torch.as_tensor(found.group.matrices)[found.elements], found.rotations)


def test_translations_compose():
    atoms = disguised(bulk("Si", cubic=True), 5)[0]
    found = detect_symmetry(atoms)
    inverse_cell = torch.linalg.inv(torch.tensor(atoms.cell.array))
    index = {tuple(p): i for i, p in enumerate(found.permutations.tolist())}
    for g, h in [(3, 50), (77, 120), (191, 4)]:
        gh = index[tuple(found.permutations[g][found.permutations[h]].tolist())]
        composed = found.translations[h] @ found.rotations[g].T + found.translations[g]
        difference = (composed - found.translations[gh]) @ inverse_cell
        assert float((difference - difference.round()).abs().max()) < 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_group_and_orbits_move_with_the_crystal(seed):
    atoms = crystal(["Ti", "O"], [(0, 0, 0), (0.3, 0.3, 0)], spacegroup=136, cellpar=[4.6, 4.6, 2.96, 90, 90, 90]) * (
        2,
        1,
        1,
    )
    before = detect_symmetry(atoms)
    moved, rotation, order = disguised(atoms, seed, reflect=seed % 2 == 1)
    after = detect_symmetry(moved)
    expected = rotation @ np.asarray(before.group.matrices) @ rotation.T
    assert as_set(after.group.matrices) == as_set(expected)
    assert partition(before.orbits[torch.tensor(order)]) == partition(after.orbits)


def test_noise_below_the_tolerance_keeps_the_group_exact():
    atoms = disguised(bulk("NaCl", "rocksalt", 5.6, cubic=True) * (2, 1, 2), 7)[0]
    atoms.rattle(2e-3, seed=1)
    atoms.set_cell(atoms.cell.array * (1 + 1e-4 * np.random.default_rng(0).normal(size=(3, 3))), scale_atoms=True)
    found = detect_symmetry(atoms, 0.03)
    assert found.order == 16 * 16
    assert 1e-3 < found.residual <= 0.03
    identity = found.rotations @ found.rotations.mT
    torch.testing.assert_close(identity, torch.eye(3).double().expand_as(identity), atol=1e-14, rtol=0)
    assert misfit(atoms, found) < 3 * found.residual
    assert detect_symmetry(atoms, 1e-5).order == 1


RATTLED = [1, 2, 14, 15, 19, 62, 64, 75, 92, 136, 141, 148, 155, 161, 166, 176, 186, 198, 205, 216, 225, 227]


def rattled_crystal(number: int) -> Atoms:
    """A crystal with noise of random size on its atoms and on its cell."""
    rng = np.random.default_rng(number)
    system = 1 + int(np.searchsorted([3, 16, 75, 143, 195], number, side="right"))
    cells = {1: [5.0, 6.1, 7.3, 83, 97, 104], 2: [5.0, 6.1, 7.3, 90, 103, 90], 3: [5.0, 6.1, 7.3, 90, 90, 90]}
    cells |= {4: [5.5, 5.5, 7.1, 90, 90, 90], 5: [5.5, 5.5, 7.1, 90, 90, 120], 6: [6.2, 6.2, 6.2, 90, 90, 90]}
    basis = [(0, 0, 0), (0.313, 0.041, 0.417)] if number < 140 else [(0, 0, 0), (0, 0, 0.3)]
    atoms = crystal(["Si", "O"], basis, spacegroup=number, cellpar=cells[system])
    atoms.rattle(10 ** rng.uniform(-3, -1.3), seed=number)
    strain = 10 ** rng.uniform(-5, -2.3) * rng.normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


@pytest.mark.parametrize("number", RATTLED)
def test_detection_agrees_with_the_levels_at_every_tolerance(number):
    atoms = rattled_crystal(number)
    levels = approximate_symmetries(atoms, 0.2)
    assert [s.plateau[1] for s in levels[:-1]] == [s.plateau[0] for s in levels[1:]]
    for level in levels:
        low, high = level.plateau
        assert level.residual <= low < high
        for symprec in {max(low, 1e-6) * 1.0001, np.sqrt(max(low, 1e-6) * high), high * 0.9999}:
            if low < symprec < high:
                found = detect_symmetry(atoms, symprec)
                assert (found.order, found.space_group) == (level.order, level.space_group)
                assert found.residual <= symprec
                assert true_misfit(atoms, found) <= found.residual + 1e-12


@pytest.mark.parametrize(("number", "seed", "symprec"), [(155, 155, 4.1e-4), (176, 364, 1.01e-4), (225, 1333, 1.29e-3)])
def test_translations_that_are_exact_do_not_hide_the_group_of_a_strained_crystal(number, seed, symprec):
    basis = [(0, 0, 0), (0, 0, 0.3)]
    cell = [6.2, 6.2, 6.2, 90, 90, 90] if number == 225 else [5.5, 5.5, 7.1, 90, 90, 120]
    atoms = crystal(["Si", "O"], basis, spacegroup=number, cellpar=cell)
    rng = np.random.default_rng(seed)
    strain = 10 ** rng.uniform(-5, -3) * rng.normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    within = [level for level in approximate_symmetries(atoms, 10 * symprec) if level.residual <= symprec]
    found = detect_symmetry(atoms, symprec)
    assert within[0].residual < 1e-12
    assert found.order == max(level.order for level in within) > within[0].order
    assert true_misfit(atoms, found) <= found.residual + 1e-12 <= symprec


def test_a_supercell_in_a_thin_cell():
    """Two cells of silicon in a cell that is 1e-5 Å thin: what may be asked of it is tiny, and has an answer."""
    skewed = [[1862.49, -5.43, 1857.06], [2704.14, 2706.855, -2.715], [-2.715, -2.715, 0.0]]
    places = [[0, 0, 0], [1.3575, 1.3575, 1.3575], [0, 2.715, 2.715], [1.3575, 4.0725, 4.0725]]
    atoms = Atoms("Si4", places, cell=skewed, pbc=True)
    with pytest.raises(ValueError, match="Å thin, too thin for symprec"):
        detect_symmetry(atoms)
    assert max(level.residual for level in approximate_symmetries(atoms)) < 1e-5


def test_a_cell_whose_metric_is_nearly_lost_in_round_off():
    """Magnesium to 1e-5 Å in a cell a million times as long as thick."""
    cell = [[754.35, -1301.0126435972863, 0], [-1.605, 2.7799415461480477, -1720.3032], [0, 0, 10.42608]]
    places = [[0, 0, 0], [0, 1.8532944, 2.60652], [0, 0, 5.21304], [0, 1.8532944, 7.81956]]
    places = np.array(places) - [2.405e-6, 2.7704e-5, 8.536e-6]
    for level in approximate_symmetries(Atoms("Mg4", places, cell=cell, pbc=True)):
        assert level.residual < 1e-6
        assert np.abs(level.rotations @ level.rotations.mT - torch.eye(3)).max() < 1e-9


def true_misfit(atoms: Atoms, symmetry) -> float:
    """Largest distance by which operations miss images of atoms in the cell, and lattice vectors."""
    atoms = atoms.copy()
    wrapped = atoms.copy()
    wrapped.wrap()
    moved = wrapped.positions @ symmetry.rotations.numpy().swapaxes(1, 2) + symmetry.translations.numpy()[:, None]
    cell = atoms.cell.array
    misses = (wrapped.positions[symmetry.permutations.numpy()] - moved) @ np.linalg.inv(cell)
    misses = (misses - np.round(misses)) @ cell
    lattice = cell @ symmetry.rotations.numpy().swapaxes(1, 2) @ np.linalg.inv(cell)
    strains = (lattice - np.round(lattice)) @ cell
    return max(np.linalg.norm(misses, axis=-1).max(), np.linalg.norm(strains, axis=-1).max())


@pytest.mark.parametrize("shift", [0.0, 0.3, 10.0])
def test_atoms_in_a_strained_cell_are_carried_to_within_the_tolerance(shift):
    places = [[shift, 0, 0], [10.5 + shift, 0.5, 0.5]]
    for length in (4.0004, 4.0008):
        atoms = Atoms("CsCl", scaled_positions=places, cell=[4, 4, length], pbc=True)
        found = detect_symmetry(atoms, 1e-3)
        assert found.space_group == (221, "Pm-3m")
        assert true_misfit(atoms, found) <= found.residual + 1e-12 <= 1e-3
    atoms = Atoms("CsCl", scaled_positions=places, cell=[4, 4, 4.0030], pbc=True)
    assert detect_symmetry(atoms, 1e-3).space_group == (123, "P4/mmm")


def test_a_strained_slab_is_carried_to_within_the_tolerance():
    slab = graphene(vacuum=5)
    slab.pbc = (True, True, False)
    slab.set_cell(slab.cell.array @ np.diag([1.001, 1, 1]), scale_atoms=True)
    slab.positions[0, 2] += 1e-3
    found = detect_symmetry(slab, 0.01)
    assert found.layer_group.number == 80
    assert true_misfit(slab, found) <= found.residual + 1e-12 <= 0.01


def test_levels_show_where_only_the_type_of_the_space_group_changes():
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.set_cell(atoms.cell.array @ np.diag([1.01, 1, 1]), scale_atoms=True)
    levels = approximate_symmetries(atoms)
    assert [(s.space_group.symbol, s.order) for s in levels] == [("I4_1/amd", 128), ("Fd-3m", 128)]
    assert detect_symmetry(atoms, levels[1].residual * 1.01).space_group.symbol == "Fd-3m"


def test_a_supercell_stores_few_operations_and_lists_them_when_asked():
    atoms = disguised(bulk("Si", cubic=True) * (3, 3, 3), 3)[0]
    atoms.rattle(2e-3, seed=0)
    found = detect_symmetry(atoms, 0.05)
    assert (found.order, len(found.cosets.permutations), found.supercell.size) == (5184, 48, 108)
    assert len(pickle.dumps(found)) < 40_000
    assert not found.orbits.any()
    assert found.site_symmetry(5).schoenflies == "Td"
    assert "_all" not in vars(found)
    copied = pickle.loads(pickle.dumps(found))
    assert torch.equal(copied.permutations, found.permutations)
    assert len(torch.unique(found.permutations, dim=0)) == 5184
    assert float(found.residuals.max()) == pytest.approx(found.residual, rel=1e-12)
    assert true_misfit(atoms, found) <= found.residual + 1e-12
    orbits = found.permutations[:, :20].T.unique(dim=1)
    assert orbits.shape[1] >= 216
    assert detect_symmetry(symmetrize(atoms, found), 1e-6).order == 5184


def test_residuals_of_single_operations():
    atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True) * (2, 1, 1)
    atoms.rattle(3e-3, seed=2)
    found = detect_symmetry(atoms, 0.05)
    assert found.supercell.size == 8
    moved = atoms.positions @ found.rotations.numpy().swapaxes(1, 2) + found.translations.numpy()[:, None]
    misses = (atoms.positions[found.permutations.numpy()] - moved) @ np.linalg.inv(atoms.cell.array)
    expected = np.linalg.norm((misses - np.round(misses)) @ atoms.cell.array, axis=-1).max(1)
    np.testing.assert_allclose(found.residuals, expected, atol=1e-12)


def test_features_distinguish_atoms():
    atoms = bulk("Fe", "bcc", 2.87, cubic=True)
    data = Data(
        z=torch.tensor(atoms.numbers),
        pos=torch.tensor(atoms.positions),
        cell=torch.tensor(atoms.cell.array)[None],
        pbc=torch.ones(1, 3, dtype=torch.bool),
        charge=torch.tensor([2, 3]),
    )
    assert detect_symmetry(data).order == 96
    assert detect_symmetry(data, features=["charge"]).order == 48
    with pytest.raises(ValueError, match="'spin'"):
        detect_symmetry(data, features=["spin"])


def test_skewed_cell():
    atoms = bulk("Cu", "fcc", 3.6)
    skewed = Atoms("Cu", cell=np.array([[1, 0, 0], [5, 1, 0], [-7, 4, 1]]) @ atoms.cell.array, pbc=True)
    found = detect_symmetry(skewed * (1, 2, 1))
    assert found.space_group.number == 225
    assert found.order == len(spglib_view(skewed * (1, 2, 1), 1e-3).rotations)


@pytest.mark.parametrize(
    ("slab", "number", "order", "name"),
    [
        (graphene(vacuum=5), 80, 24, "D6h"),
        (mx2("MoS2", vacuum=5), 78, 12, "D3h"),
        (mx2("MoS2", kind="1T", vacuum=5), 72, 12, "D3d"),
        (fcc111("Al", (1, 1, 3), vacuum=5), 72, 12, "D3d"),
        (fcc100("Cu", (2, 2, 3), vacuum=5), 61, 64, "D4h"),
        (fcc100("Cu", (1, 1, 4), vacuum=None), 64, 16, "D4h"),
    ],
)
def test_slabs(slab, number, order, name):
    slab.pbc = (True, True, False)
    slab = disguised(slab, number)[0]
    for axes in ([0, 1, 2], [2, 0, 1]):
        turned = slab.copy()
        turned.set_cell(slab.cell.array[axes])
        turned.pbc = slab.pbc[axes]
        found = detect_symmetry(turned)
        assert (found.layer_group.number, found.order, found.group.schoenflies) == (number, order, name)
        assert found.space_group is None
        complete = turned.copy()
        complete.set_cell(turned.cell.complete())
        assert misfit(complete, found) < 1e-8


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_stays_as_it_was(enabled):
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        detect_symmetry(bulk("Si"))
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_broken_cells_are_refused():
    with pytest.raises(ValueError, match="volume"):
        detect_symmetry(Atoms("C", cell=[[1, 0, 0], [0, 1, 0], [1, 1, 0]], pbc=True))
    with pytest.raises(ValueError, match="coincide"):
        detect_symmetry(Atoms("CC", [[0, 0, 0], [3, 0, 0]], cell=[3, 3, 3], pbc=True))
    with pytest.raises(ValueError, match="thin"):
        detect_symmetry(Atoms("C", cell=[3, 3, 0.05], pbc=True), 0.02)
    with pytest.raises(ValueError, match="symprec"):
        detect_symmetry(bulk("Si"), -1.0)
    with pytest.raises(TypeError, match="batch"):
        detect_symmetry(Batch.from_data_list([Data(pos=torch.zeros(1, 3))]))


def test_repr_and_site_symmetry_bounds():
    found = detect_symmetry(bulk("Si"))
    assert repr(found).startswith("Symmetry(Oh, space group Fd-3m (227), order=48, nodes=2, orbits=1, residual=")
    with pytest.raises(IndexError, match="node 2"):
        found.site_symmetry(2)


@pytest.mark.parametrize("symprec", [1e-3, 0.05])
@pytest.mark.parametrize("gap", [300.0, 2e4])
def test_long_cells_end(gap, symprec):
    """Along a long vector the search took shears for symmetries, of which there is no end."""
    slab = Atoms("C2", [[0.1, 0.3, 0], [1.0, 2.0, gap]], cell=[2.3, 4.2, 0], pbc=[True, True, False])
    found = detect_symmetry(slab, symprec)
    assert (found.order, found.layer_group.number) == (2, 2)
    square = Atoms("CO", [[0, 0, 0], [0, 0, 2]], cell=[2.9, 2.9, gap], pbc=True)
    found = detect_symmetry(square, symprec)
    assert (found.order, found.space_group.number) == (8, 99)
    monoclinic = Atoms("C", cell=[[3, 0, 0], [0, 3.5, 0], [1, 0, gap]], pbc=True)
    assert detect_symmetry(monoclinic, symprec).space_group.number == 10
