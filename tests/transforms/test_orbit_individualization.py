"""OrbitIndividualization: numbers inside orbits, their law, batches, errors."""

from itertools import permutations

import pytest
import torch
from ase.build import molecule
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from pyg_symbreak.structures import from_ase
from pyg_symbreak.testing import uniformity_p_value
from pyg_symbreak.transforms import AddSymmetry, OrbitIndividualization


def star() -> Data:
    """A hub and three leaves, one of them longer: orbits {0}, {1, 2}, {3}, {4}."""
    edges = torch.tensor([[0, 0, 0, 3], [1, 2, 3, 4]])
    return Data(edge_index=torch.cat([edges, edges.flip(0)], 1), num_nodes=5)


def test_numbers_are_distinct_in_each_orbit():
    data = from_ase(molecule("C2H6"))
    numbers = OrbitIndividualization(num_ids=6)(data.clone()).breaking.argmax(1)
    assert sorted(numbers[data.z == 6].tolist()) == [0, 1]
    assert sorted(numbers[data.z == 1].tolist()) == [0, 1, 2, 3, 4, 5]
    rows = OrbitIndividualization(num_ids=3)(star())
    assert rows.breaking[[0, 3, 4]].argmax(1).tolist() == [0, 0, 0]
    assert torch.equal(rows.breaking[1:3].sum(0), torch.tensor([1.0, 1, 0]))
    assert rows.breaking_irreps == "3x0e"


@pytest.mark.parametrize("seed", range(3))
def test_all_numberings_are_equally_likely(seed):
    """All 4! of the hydrogens of methane, though a symmetry of methane gives no others."""
    data = AddSymmetry()(from_ase(molecule("CH4")))
    t = OrbitIndividualization(num_ids=4)
    torch.manual_seed(seed)
    draws = torch.stack([t(data.clone()).breaking[1:].argmax(1) for _ in range(1200)])
    assert uniformity_p_value(draws, torch.tensor(list(permutations(range(4))))) > 0.01


def test_orbits_do_not_know_of_each_other():
    """Ethane: the numbers of carbon and hydrogen occur together in 2 · 6! ways, its symmetry has 12 elements."""
    data = AddSymmetry()(from_ase(molecule("C2H6")))
    t = OrbitIndividualization(num_ids=6)
    seen = {tuple(t(data.clone()).breaking.argmax(1).tolist()) for _ in range(60)}
    assert len(seen) > 12


def test_in_pyg(tmp_path):
    data = star()
    data.x = torch.ones(5, 2, dtype=torch.float64)
    appended = OrbitIndividualization(num_ids=2, attr=None)(data.clone())
    assert appended.x.shape == (5, 4)
    assert appended.x.dtype == torch.float64
    first = OrbitIndividualization(num_ids=2, seed=1)(data.clone())
    assert torch.equal(OrbitIndividualization(num_ids=2, seed=1)(data.clone()).breaking, first.breaking)
    batch = next(iter(DataLoader([OrbitIndividualization(num_ids=2)(star()) for _ in range(4)], batch_size=4)))
    assert batch.breaking.shape == (20, 2)
    torch.save(batch, tmp_path / "batch.pt")
    assert torch.equal(torch.load(tmp_path / "batch.pt", weights_only=False).breaking, batch.breaking)
    text = "OrbitIndividualization(num_ids=2, seed=1, attr='breaking', symprec=0.001, features=('x',))"
    assert repr(OrbitIndividualization(num_ids=2, seed=1, features=["x"])) == text


def test_errors():
    with pytest.raises(ValueError, match="an orbit has 4 nodes, more than num_ids=3"):
        OrbitIndividualization(num_ids=3)(from_ase(molecule("CH4")))
    with pytest.raises(TypeError, match="not a batch"):
        OrbitIndividualization(num_ids=3)(Batch.from_data_list([star()]))
