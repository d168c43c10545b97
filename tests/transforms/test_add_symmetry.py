"""The transform that keeps the symmetry with a structure: batches, loaders, files, subgraphs."""

import pytest
import torch
import torch_geometric.transforms as T
from ase.build import bulk, molecule
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.loader import DataLoader

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms.add_symmetry import AddSymmetry

NAMES = ["NH3", "CO2", "CH4", "H2O"]
GROUPS = ["C3v", "Dinfh", "Td", "C2v"]


def structures() -> list[Data]:
    return [AddSymmetry()(from_ase(molecule(name))) for name in NAMES]


def check(data: Data, name: str) -> None:
    """Compare with a detection made now."""
    expected = detect_symmetry(from_ase(molecule(name)))
    assert data.symmetry.group.schoenflies == expected.group.schoenflies
    assert torch.equal(data.symmetry.permutations, expected.permutations)
    assert torch.equal(data.symmetry.rotations, expected.rotations)
    same = data.orbit_index[:, None] == data.orbit_index
    assert torch.equal(same, expected.orbits[:, None] == expected.orbits)
    assert torch.equal(data.orbit_index[data.orbit_index], data.orbit_index)


def test_batch_keeps_orbits_apart_and_comes_apart_again():
    batch = Batch.from_data_list(structures())
    assert [s.group.schoenflies for s in batch.symmetry] == GROUPS
    assert batch.orbit_index.tolist() == [0, 1, 1, 1, 4, 5, 5, 7, 8, 8, 8, 8, 12, 13, 13]
    assert batch.site_symmetry_order.tolist() == [6, 2, 2, 2, 0, 0, 0, 24, 6, 6, 6, 6, 4, 2, 2]
    for data, name in zip(batch.to_data_list(), NAMES, strict=True):
        check(data, name)


def test_loader_with_workers():
    loader = DataLoader(structures(), batch_size=2, num_workers=2)
    found = [s.group.schoenflies for batch in loader for s in batch.symmetry]
    assert found == GROUPS


class Molecules(InMemoryDataset):
    """A few molecules, on disk."""

    def __init__(self, root, **kwargs):
        super().__init__(root, **kwargs)
        self.load(self.processed_paths[0])

    @property
    def processed_file_names(self):
        return "data.pt"

    def process(self):
        self.save([self.pre_transform(from_ase(molecule(name))) for name in NAMES], self.processed_paths[0])


@pytest.mark.filterwarnings("ignore:Weights only load failed")
def test_data_set_on_disk(tmp_path):
    for _ in range(2):  # written, then read
        dataset = Molecules(str(tmp_path), pre_transform=AddSymmetry())
        for data, name in zip(dataset, NAMES, strict=True):
            check(data, name)


def test_saved_and_loaded(tmp_path):
    data = structures()[2]
    _ = data.symmetry.group
    torch.save(data, tmp_path / "data.pt")
    check(torch.load(tmp_path / "data.pt", weights_only=False), "CH4")


def test_loaded_without_trust(tmp_path):
    """PyG loads data sets with weights_only=True first, and warns where that fails."""
    square = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]])
    crystal, graph = from_ase(bulk("Si")), Data(edge_index=square, num_nodes=4)
    saved = [AddSymmetry()(data).symmetry for data in (*structures(), crystal, graph)]
    torch.save(saved, tmp_path / "symmetries.pt")
    loaded = torch.load(tmp_path / "symmetries.pt", weights_only=True)
    assert [repr(symmetry) for symmetry in loaded] == [repr(symmetry) for symmetry in saved]


def test_subgraph_keeps_the_labels_of_its_nodes():
    data = structures()[2]
    data.edge_index = torch.tensor([[0, 1], [1, 0]])
    part = data.subgraph(torch.tensor([0, 3, 4]))
    assert part.orbit_index.tolist() == [0, 1, 1]
    assert part.site_symmetry_order.tolist() == [24, 6, 6]
    again = AddSymmetry()(part)
    assert again.symmetry.group.schoenflies == "C2v"
    assert again.orbit_index.tolist() == [0, 1, 1]


def test_input_is_left_alone():
    data = from_ase(molecule("NH3"))
    keys = data.keys()
    T.Compose([AddSymmetry()])(data)
    assert data.keys() == keys


def test_crystals_and_graphs():
    crystal = AddSymmetry()(from_ase(bulk("NaCl", "rocksalt", 5.6, cubic=True)))
    assert crystal.symmetry.order == 192
    assert crystal.orbit_index.tolist() == [0, 1] * 4
    assert crystal.site_symmetry_order.tolist() == [48] * 8
    ring = torch.stack([torch.arange(6), (torch.arange(6) + 1) % 6])
    graph = AddSymmetry()(Data(edge_index=ring, num_nodes=6))
    assert graph.symmetry.order == 6
    assert graph.site_symmetry_order.tolist() == [1] * 6
    leaves = torch.stack([torch.zeros(25, dtype=torch.long), torch.arange(1, 26)])
    star = AddSymmetry()(Data(edge_index=leaves, num_nodes=26))  # 24! is more than a long holds
    assert star.site_symmetry_order.tolist() == [2**63 - 1] * 26


def test_parameters_count():
    data = from_ase(molecule("CH4"))
    data.mass = torch.tensor([12, 1, 1, 1, 2])
    assert AddSymmetry(features=["mass"])(data).symmetry.group.schoenflies == "C3v"
    data.pos[0, 0] += 0.01
    assert AddSymmetry()(data).symmetry.group.schoenflies == "C2v"
    assert AddSymmetry(symprec=0.05)(data).symmetry.group.schoenflies == "Td"


def test_repr_names_every_parameter():
    assert repr(AddSymmetry("auto", features=["mass"])) == "AddSymmetry(symprec='auto', features=('mass',))"


def test_batches_are_refused():
    with pytest.raises(TypeError, match="before batching"):
        AddSymmetry()(Batch.from_data_list([from_ase(molecule("H2O"))]))


@pytest.mark.parametrize("processes", [1, 2])
def test_many_at_once(processes):
    given = [from_ase(molecule(name)) for name in NAMES]
    for data, name in zip(AddSymmetry().map(given, processes), NAMES, strict=True):
        check(data, name)
    assert all("symmetry" not in data for data in given)
    given[2].pos[1] = float("nan")
    with pytest.raises(ValueError, match=r"structure 2: .*finite"):
        list(AddSymmetry().map(given, processes))
