import numpy as np
import pytest
import torch
import torch_geometric.transforms as T
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list
from torch.utils.data.datapipes.iter import IterableWrapper
from torch_geometric.loader import DataLoader

from pyg_symbreak.structures import from_ase, to_ase
from pyg_symbreak.transforms import NeighborList


def edges(data):
    return [
        (*ij, *shift) for ij, shift in zip(data.edge_index.T.tolist(), data.edge_shift.long().tolist(), strict=True)
    ]


def expected_edges(atoms, cutoff):
    i, j, shift = neighbor_list("ijS", atoms, cutoff)
    return sorted((*ij, *s) for ij, s in zip(np.stack([i, j], 1).tolist(), shift.tolist(), strict=True))


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0), (0, 0, 0)])
def test_against_ase_on_random_cells(pbc):
    """Skewed, tiny and left-handed cells, atoms outside the cell, images of an atom as its own neighbours."""
    rng = np.random.default_rng(sum(pbc))
    handed, own_images, outside = set(), 0, 0
    for _ in range(25):
        n = rng.integers(1, 5)
        cell = rng.normal(size=(3, 3)) * rng.uniform(1, 4)
        if abs(np.linalg.det(cell)) < 2:
            continue
        atoms = Atoms(f"H{n}", positions=rng.normal(size=(n, 3)) * 6, cell=cell, pbc=pbc)
        cutoff = rng.uniform(0.5, 5)
        data = NeighborList(cutoff)(from_ase(atoms, torch.float64))
        found = edges(data)
        assert found == expected_edges(atoms, cutoff)  # the order too: sorted
        vectors = data.pos[data.edge_index[1]] - data.pos[data.edge_index[0]] + data.edge_shift @ data.cell[0]
        lengths = neighbor_list("d", atoms, cutoff)
        np.testing.assert_allclose(np.sort(vectors.norm(dim=1)), np.sort(lengths), rtol=0, atol=1e-12)
        handed.add(np.linalg.det(cell) > 0)
        own_images += sum(i == j for i, j, *_ in found)
        outside += (np.abs(atoms.get_scaled_positions(wrap=False) - 0.5) > 0.5).any()
    assert handed == {True, False}
    assert outside > 0
    assert (own_images > 0) == any(pbc)


def test_layer_without_third_vector():
    cell = np.array([[2.5, 0.3, 0], [0.4, 3, 0], [0, 0, 0]])
    atoms = Atoms("HHe", [[0, 0, 0], [1, 1, 5]], cell=cell, pbc=[1, 1, 0])
    big = atoms.copy()
    big.cell[2] = [0, 0, 100]
    assert edges(NeighborList(6)(from_ase(atoms))) == expected_edges(big, 6)


def test_known_counts():
    assert NeighborList(3.0)(from_ase(bulk("Cu", "fcc", 3.6))).num_edges == 12  # one atom, its own 12 neighbours
    assert NeighborList(3.0)(from_ase(bulk("Cu", "fcc", 3.6, cubic=True))).num_edges == 4 * 12
    assert NeighborList(1.2)(from_ase(molecule("CH4"))).num_edges == 8


def test_edges_are_symmetric():
    data = NeighborList(4.0)(from_ase(bulk("Si")))
    found = edges(data)
    assert len(set(found)) == len(found)
    assert {(j, i, -a, -b, -c) for i, j, a, b, c in found} == set(found)


@pytest.mark.parametrize("atoms", [Atoms("He"), Atoms("H2", [[0, 0, 0], [9, 0, 0]]), bulk("Si")])
def test_no_edges(atoms):
    data = NeighborList(0.5)(from_ase(atoms))
    assert data.edge_index.shape == (2, 0)
    assert data.edge_index.dtype == torch.long
    assert data.edge_shift.shape == (0, 3)
    assert data.edge_shift.dtype == data.pos.dtype


def test_input_is_left_alone():
    data = from_ase(bulk("Si"))
    NeighborList(3.0)(data)
    assert "edge_index" not in data


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches(num_workers):
    atoms = [bulk("Si"), molecule("H2O"), Atoms("He"), bulk("Cu", cubic=True)]
    data_list = [T.Compose([NeighborList(3.0)])(from_ase(a, torch.float64)) for a in atoms]
    batch = next(iter(DataLoader(data_list, batch_size=4, num_workers=num_workers)))
    assert batch.edge_shift.shape == (batch.num_edges, 3)
    source, target = batch.edge_index
    shift = torch.einsum("ei,eij->ej", batch.edge_shift, batch.cell[batch.batch[source]])
    lengths = (batch.pos[target] - batch.pos[source] + shift).norm(dim=1)
    expected = np.concatenate([np.sort(neighbor_list("d", a, 3.0)) for a in atoms])
    by_graph = [lengths[batch.batch[source] == k].sort().values for k in range(4)]
    np.testing.assert_allclose(torch.cat(by_graph), expected, rtol=0, atol=1e-12)
    for data, one in zip(batch.to_data_list(), data_list, strict=True):
        assert edges(data) == edges(one)
        assert (to_ase(data).positions == to_ase(one).positions).all()


def test_names():
    assert repr(NeighborList(4)) == "NeighborList(cutoff=4.0)"
    assert repr(NeighborList(4)) != repr(NeighborList(4.5))
    pipe = IterableWrapper([from_ase(bulk("Si"))]).symbreak_neighbor_list(3.0)
    assert [data.num_edges for data in pipe] == [8]


def test_bad_input():
    for cutoff in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="cutoff is"):
            NeighborList(cutoff)
    data = from_ase(molecule("H2O"))
    data.pos = data.pos * torch.tensor(float("nan"))
    with pytest.raises(ValueError, match="must be finite"):
        NeighborList(3)(data)
