"""Inputs in wrong units or of wrong types: each once ended the process, hung, or raised what names nothing."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.geometry import minkowski_reduce
from ase.neighborlist import neighbor_list
from torch_geometric.data import Batch, Data, HeteroData

from pyg_symbreak.breaking import canonicalize
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.detect.subgroup import primitive_operations
from pyg_symbreak.structures import check_structure, from_ase, neighbor_pairs, to_ase
from pyg_symbreak.transforms import AddSymmetry, AddSymmetryBreaking, NeighborList, OrbitIndividualization

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
        ({"pbc": True, "cell": 4 * TRIANGLE}, "data.pbc is True; it must be a dense Tensor"),
        ({"pbc": [True, True, True], "cell": 4 * TRIANGLE}, "data.pbc is .* must be a dense Tensor"),
        ({"z": torch.tensor([1, 200, 3])}, "data.z holds 1 to 200; atomic numbers are 1 to 118"),
        ({"z": torch.tensor([1, -2, 3])}, "data.z holds -2 to 3"),
        ({"z": [1, 2, 3]}, "data.z is .* must be a dense Tensor"),
        ({"z": torch.ones(3)}, "data.z is of torch.float32; atomic numbers are whole"),
        ({"cell": [[4.0, 0, 0]]}, "data.cell is .* must be a dense Tensor"),
        ({"cell": TRIANGLE.cfloat()}, "data.cell"),
        ({"pos": [[0.0, 0, 0]]}, "data.pos is .* must be a dense Tensor"),
        ({"pos": TRIANGLE.to("meta")}, "data.pos is of torch.float32 on the meta device"),
        ({"pos": TRIANGLE.to_sparse()}, "data.pos is of torch.float32, torch.sparse_coo"),
        ({"cell": torch.eye(9)[0]}, r"data.cell has shape \[9\]"),
        ({"z": torch.eye(3).long()}, r"data.z has shape \[3, 3\]; 3 positions need \[3\]"),
        ({"pos": TRIANGLE.cfloat()}, "data.pos is of torch.complex64; .* of real numbers"),
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
    with pytest.raises(TypeError, match=r"to_homogeneous"):
        NeighborList(3.0)(HeteroData())
    with pytest.raises(TypeError, match="Atoms"):
        NeighborList(3.0)(bulk("Si"))
    with pytest.raises(TypeError, match="not a batch"):
        NeighborList(3.0)(Batch.from_data_list([from_ase(bulk("Si"))]))
    with pytest.raises(TypeError, match="a structure is a Data or Atoms, got str"):
        check_structure("Si")


def test_a_molecule_with_an_atom_far_away_is_refused_before_the_search():
    """The compiled search ended the process."""
    atoms = Atoms("BF3", [[0, 0, 0], [0, 1.32, 0], [1.14, -0.66, 0], [-3.2e10, -1.8e10, 0]])
    with pytest.raises(ValueError, match="position of atom 3"):
        detect_symmetry(atoms)


def test_atomic_numbers_of_atoms():
    atoms = Atoms(numbers=[1, 200], positions=[[0, 0, 0], [0, 0, 1]])
    for entry in (detect_symmetry, check_structure):
        with pytest.raises(ValueError, match="numbers holds 1 to 200"):
            entry(atoms)


@pytest.mark.parametrize("features", [None, 3, "charge", [3], {3: "1o"}])
@pytest.mark.parametrize(
    "entry",
    [
        lambda x, features: detect_symmetry(x, features=features),
        lambda x, features: canonicalize(x, features=features),
        lambda x, features: AddSymmetry(features=features),
        lambda x, features: AddSymmetryBreaking(features=features),
        lambda x, features: OrbitIndividualization(features=features),
    ],
)
def test_features_that_are_no_names(features, entry):
    data = Data(pos=TRIANGLE, charge=torch.ones(3))
    with pytest.raises(TypeError, match="features"):
        entry(data, features)


@pytest.mark.parametrize("irreps", ["word", None, 3.5])
def test_irreps_of_features_that_are_none(irreps):
    with pytest.raises(ValueError, match="feature 'charge' must have irreps"):
        detect_symmetry(Data(pos=TRIANGLE, charge=torch.ones(3)), features={"charge": irreps})


@pytest.mark.parametrize("value", [torch.ones(3).to_sparse(), torch.ones(3).to("meta"), "word", [1, 2, 3]])
def test_features_that_are_no_tensors(value):
    with pytest.raises(ValueError, match=r"feature 'mark' .* must be a dense Tensor"):
        detect_symmetry(Data(pos=TRIANGLE, mark=value), features=["mark"])


def test_half_precision_is_read():
    data = Data(pos=TRIANGLE, mark=torch.ones(3, dtype=torch.bfloat16))
    assert detect_symmetry(data, features=["mark"]).order == 12
    data.pos = data.pos.bfloat16()
    assert to_ase(data).positions.tolist() == TRIANGLE.tolist()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"edge_index": torch.tensor([[0, 1], [1, 7]])}, "data.edge_index holds 0 to 7; .* nodes from 0 to 2"),
        ({"edge_index": torch.tensor([[0, 1], [1, -1]])}, "data.edge_index holds -1 to 1"),
        ({"edge_index": torch.ones(2, 2)}, "data.edge_index must be whole numbers"),
        ({"edge_index": torch.ones(3, 2).long()}, r"data.edge_index must be whole numbers \[2, E\]"),
        ({"edge_index": [[0, 1], [1, 0]]}, "data.edge_index is .* must be a dense Tensor"),
        ({"edge_index": torch.ones(2, 2).long().to("meta")}, "data.edge_index is .* meta"),
        ({"edge_index": torch.zeros(2, 0).long(), "num_nodes": 0}, "no nodes"),
    ],
)
@pytest.mark.parametrize("entry", [detect_symmetry, canonicalize, AddSymmetryBreaking("input"), AddSymmetry()])
def test_edges_that_are_none(attributes, message, entry):
    with pytest.raises(ValueError, match=message):
        entry(Data(**{"num_nodes": 3, **attributes}))


def test_too_many_copies_are_not_made():
    star = torch.stack([torch.zeros(9, dtype=torch.long), torch.arange(1, 10)])
    data = Data(edge_index=torch.cat([star, star.flip(0)], dim=1), num_nodes=10)
    with pytest.raises(ValueError, match="362880 objects, too many for choose='all'"):
        AddSymmetryBreaking("input", choose="all")(data)


def test_a_slab_whose_atoms_are_far_apart_across_it():
    """It took forever: the box of the search was 1 Å thick."""
    slab = Atoms("C2", [[265.9, 319.2, 220.0], [357.0, 325.4, 1780.2]], cell=[4.1, 4.8, 20.0], pbc=[True, True, False])
    i, j, shift = neighbor_pairs(slab, 4.5)
    assert [(a, b, *s) for a, b, s in zip(i, j, shift.tolist(), strict=True)] == [
        (0, 0, -1, 0, 0),
        (0, 0, 1, 0, 0),
        (1, 1, -1, 0, 0),
        (1, 1, 1, 0, 0),
    ]


@pytest.mark.parametrize("pbc", [(True, True, False), (True, True, True), (True, False, False), (False, False, False)])
def test_large_empty_cells(pbc):
    """With too many bins the search ended the process."""
    atoms = Atoms("C2", [[0, 0, 0], [1.1, 1.3, 0.2]], cell=np.diag([9704.0, 10457.0, 9e4 * pbc[2]]), pbc=pbc)
    i, j, shift = neighbor_pairs(atoms, 3.0)
    assert (i.tolist(), j.tolist(), shift.any()) == ([0, 1], [1, 0], False)
    atoms.positions[1] = [9e4, 9e4, 9e4] if not any(pbc) else [9703.5, 0, 0]
    assert len(neighbor_pairs(atoms, 3.0)[0]) == 2 * any(pbc)


def test_few_atoms_in_long_thin_boxes():
    """Boxes with far more bins than atoms once took minutes; the pairs are those of ASE's own list."""
    rng = np.random.default_rng(0)
    for pbc in ([False, False, True], [True, False, False], [True, True, True]):
        size = np.array([3382.0, 163.0, 12.0])
        atoms = Atoms("C4", rng.uniform(size=(4, 3)) * size, cell=np.diag(size), pbc=pbc)
        atoms.positions[1] = atoms.positions[0] + [0.5, 1.0, 11.0]  # near through the image along z, where there is one
        i, j, shift = neighbor_pairs(atoms, 3.0)
        expected = neighbor_list("ijS", atoms, 3.0)
        found = sorted(zip(i, j, map(tuple, shift), strict=True))
        assert found == sorted(zip(expected[0], expected[1], map(tuple, expected[2]), strict=True))
        assert len(found) == (2 if pbc[2] else 0)


def test_cells_that_are_nearly_flat_and_places_that_overflow():
    cell = np.array([[1, 0, 0], [58807.155, 14328.359, 41098.126], [-6.20068, -1.51026, -4.33353]])
    skewed = Atoms("H2", [[0, 0, 0], [30, 10, 20]], cell=cell, pbc=[False, True, True])
    check_structure(skewed)  # the shortest vectors of its lattice are sound
    assert np.linalg.norm(minkowski_reduce(cell, skewed.pbc)[0][1:], axis=1).min() > 5
    with pytest.raises(ValueError, match="Å thin"):
        detect_symmetry(skewed)
    assert len(neighbor_pairs(Atoms("H", [[0.2, 1.4, 1e308]]), 3.0)[0]) == 0


def test_numbers_of_no_element():
    atoms = Atoms("H")
    atoms.numbers[:] = 200
    atoms.info["object"] = object()
    with pytest.raises(ValueError, match="numbers"):
        from_ase(atoms)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "atoms",
    [
        Atoms("C2", [[0, 0, 0], [1, 1, 1.538e5]], cell=[2.8, 4.2, 20], pbc=[True, True, False]),
        Atoms("C40", RNG.random((40, 3)) * [3, 3, 1e5], cell=[2.8, 4.2, 20], pbc=[True, True, False]),
        Atoms("C40", RNG.random((40, 3)) * [3, 1e5, 50], cell=[2.8, 20, 20], pbc=[True, False, False]),
        Atoms("C", cell=[1e5, 2, 2], pbc=True),
        Atoms("C", cell=[[1e5, 0, 0], [9e4, 9e4, 0], [1, 1, 1.5]], pbc=True),
        Atoms("C40", RNG.random((40, 3)) * 6 + np.eye(40, 3) * [1e5, 0, 1e5]),
    ],
)
def test_empty_space_costs_nothing(atoms):
    """The search went through it in small steps, took in as many atoms as it was wide, or ended the process."""
    i, j, shift = neighbor_pairs(atoms, 3.0)
    images = np.stack(np.meshgrid(*[np.arange(-k, k + 1) for k in 2 * atoms.pbc]), axis=-1).reshape(-1, 3)
    vectors = atoms.positions - atoms.positions[:, None] + (images @ atoms.cell.array)[:, None, None]
    near = np.linalg.norm(vectors, axis=-1) < 3
    expected = [(a, b, *images[k]) for k, a, b in zip(*np.nonzero(near), strict=True) if a != b or images[k].any()]
    assert list(zip(i, j, *shift.T, strict=True)) == sorted(expected)
    assert expected or len(atoms) == 2


def test_a_cluster_in_a_vast_box():
    """Bins as few as the atoms were so wide that all atoms were in one."""
    atoms = Atoms("H1500", RNG.random((1500, 3)) * 25, cell=[400, 500, 600], pbc=True)
    vectors = atoms.positions[:, None] - atoms.positions
    assert len(neighbor_pairs(atoms, 2.0)[0]) == (np.square(vectors).sum(axis=2) < 4).sum() - 1500


def test_the_primitive_basis_does_not_depend_on_whole_vectors_in_translations():
    """Of atoms far outside their cell they are many; the basis was so skewed that moyo refused its integers."""
    shifts = np.stack(np.meshgrid([0, 0.5], [0, 0.5], [0], indexing="ij"), axis=-1).reshape(-1, 3)
    cell, identities = np.diag([3.0, 4, 5]), np.tile(np.eye(3), (4, 1, 1))
    away = np.random.default_rng(0).integers(-(10**7), 10**7, (4, 3))
    basis = primitive_operations(cell, identities, (shifts + away) @ cell)[0]
    np.testing.assert_allclose(basis, np.diag([1.5, 2, 5]), atol=1e-9)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 1)])
def test_skewed_cells_have_the_neighbours_of_short_ones(pbc):
    """Three vectors in nearly one plane: so many images are near along each of them that the search did not end."""
    short = np.array([[0.18, 0.06, 0.14], [-0.15, -0.24, 0.28], [-0.24, 0.34, 0.10]]) * 4
    upper, lower = np.array([[1, 37, -12], [0, 1, 41], [0, 0, 1]]), np.array([[1, 0, 0], [-15, 1, 0], [9, 25, 1]])
    both = np.outer(pbc, pbc) | np.eye(3, dtype=int)
    change = (upper * both) @ (lower * both)
    atoms = Atoms("H3He", RNG.random((4, 3)) @ short, cell=short, pbc=pbc)
    skewed = Atoms("H3He", atoms.positions, cell=change @ short, pbc=pbc)
    found = []
    for x in (atoms, skewed):
        i, j, shift = neighbor_pairs(x, 2.5)
        vectors = x.positions[j] - x.positions[i] + shift @ x.cell.array
        assert (np.linalg.norm(vectors, axis=1) < 2.5).all()
        found.append(sorted(zip(i.tolist(), j.tolist(), *vectors.T.round(6).tolist(), strict=True)))
    assert len(found[0]) > 50
    np.testing.assert_allclose(np.array(found[0]), np.array(found[1]), atol=1e-5)
