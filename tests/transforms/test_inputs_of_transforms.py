"""What the transforms take and refuse, how errors name the structure, a breaking of one's own, batches of batches."""

from dataclasses import dataclass

import networkx as nx
import pytest
import torch
import torch_geometric.transforms as T
from ase.build import molecule
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.loader import DataLoader

from pyg_symbreak.breaking import GroupIndexed, InputIndexed, ListedObjects, Noise
from pyg_symbreak.datasets import BaTiO3
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetry, AddSymmetryBreaking, NeighborList, OrbitIndividualization

TRANSFORMS = [AddSymmetry(), AddSymmetryBreaking("input"), AddSymmetryBreaking("noise"), OrbitIndividualization()]


def of(name: str) -> Data:
    data = NeighborList(3.0)(from_ase(molecule(name), dtype=torch.float64))
    data.x = torch.ones(data.num_nodes, 1, dtype=torch.float64)
    return data


def cycle() -> Data:
    edges = torch.tensor(list(nx.cycle_graph(6).to_directed().edges)).T
    return Data(edge_index=edges, num_nodes=6)


@pytest.mark.parametrize("transform", [*TRANSFORMS, NeighborList(3.0)], ids=repr)
def test_what_is_not_one_data_is_a_type_error(transform):
    with pytest.raises(TypeError, match="takes one structure, not a batch"):
        transform(Batch.from_data_list([of("CH4")]))
    with pytest.raises(TypeError, match=r"to_homogeneous\(\) and name the types as features"):
        transform(HeteroData())
    with pytest.raises(TypeError, match="from_ase"):
        transform(molecule("CH4"))


def test_types_of_a_heterogeneous_graph_are_features():
    hetero = HeteroData()
    hetero["a"].num_nodes, hetero["b"].num_nodes = 3, 3
    around = torch.arange(3)
    hetero["a", "to", "b"].edge_index = torch.stack([around, around])
    hetero["b", "to", "a"].edge_index = torch.stack([around, (around + 1) % 3])
    data = hetero.to_homogeneous()
    found = AddSymmetryBreaking("sympe", choose="all", features=["node_type", "edge_type"])(data)
    assert found.num_graphs == 3
    assert AddSymmetryBreaking("sympe", choose="all", features=["edge_type"])(data).num_graphs == 3
    assert AddSymmetryBreaking("sympe", choose="all")(data).num_graphs == 6


@pytest.mark.parametrize("transform", [*TRANSFORMS, AddSymmetryBreaking("sympe", choose=0)], ids=repr)
@pytest.mark.parametrize("layout", [None, torch.sparse_csr])
def test_transposed_adjacency_is_read_as_edges(transform, layout):
    graph = Data(edge_index=torch.tensor([[0, 1, 2, 2], [1, 2, 0, 3]]), num_nodes=4)  # a cycle and a way out of it
    sparse = T.ToSparseTensor(layout=layout)(graph.clone())
    assert sparse.get("edge_index") is None
    assert torch.equal(detect_symmetry(sparse).orbits, detect_symmetry(graph).orbits)
    torch.manual_seed(0)
    expected = transform(graph)
    torch.manual_seed(0)
    found = transform(sparse)
    assert found.get("edge_index") is None
    key = "breaking" if "breaking" in expected else "orbit_index"
    assert torch.equal(found[key], expected[key])


def test_numbers_of_orbits_without_a_width():
    rows = OrbitIndividualization()(cycle())
    assert rows.breaking.shape == (6, 6)
    assert rows.breaking_irreps == "6x0e"
    assert OrbitIndividualization()(of("CH4")).breaking.shape == (5, 4)


def test_what_is_appended_to_x_keeps_its_irreps():
    for transform in (AddSymmetryBreaking(attr=None), OrbitIndividualization(attr=None)):
        data = transform(of("NH3"))
        assert data.x.shape[1] == 1 + {"1x1o": 3, "3x0e": 3}[data.breaking_irreps]


def test_errors_name_the_structure():
    hcn = from_ase(molecule("HCN"))
    with pytest.raises(ValueError, match=r"^CHN: the set is continuous and cannot be listed.*with a seed"):
        AddSymmetryBreaking(choose=0)(hcn)
    hcn.name, hcn.idx = "gdb_5", torch.tensor([4])
    with pytest.raises(ValueError, match=r"^CHN \(name gdb_5, idx 4\): the set is continuous"):
        AddSymmetryBreaking(choose=0)(hcn)
    with pytest.raises(ValueError, match=r"^CH4: .*no subgroup"):
        AddSymmetryBreaking(keep="C5")(of("CH4"))
    with pytest.raises(ValueError, match=r"^the graph: "):
        AddSymmetryBreaking()(cycle())
    with pytest.raises(ValueError, match=r"^CHN \(name gdb_5, idx 4\): "):
        AddSymmetry(features=["charge"])(hcn)


# ---------------------------------------------------------------------- a breaking of one's own


@dataclass(frozen=True)
class Corners:
    """A row on each node: the way to the first node, as an example of objects on the nodes."""

    scale: float = 1.0

    def objects(self, data, symmetry, features=()):
        rows = torch.stack([self.scale * (data.pos - data.pos[k]) for k in range(symmetry.num_nodes)])
        return ListedObjects("1o", rows, explanation="Each node is an origin.")


def test_a_class_with_one_method_breaks():
    data = of("NH3")
    every = AddSymmetryBreaking(Corners(2.0), choose="all", irreps="0o+1o")(data)
    assert every.num_graphs == 4
    assert every.breaking.shape == (16, 4)
    assert not every.breaking[:, 0].any()
    for k in range(4):
        torch.testing.assert_close(every.breaking[4 * k : 4 * k + 4, 1:], 2 * (data.pos - data.pos[k]))
    seeded = [AddSymmetryBreaking(Corners(), seed=3)(data.clone()).breaking for _ in range(2)]
    assert torch.equal(*seeded)
    texts = [repr(AddSymmetryBreaking(breaking)) for breaking in (Corners(), Corners(2.0), "group", "input")]
    assert len(set(texts)) == 4
    with pytest.raises(TypeError, match="have a method objects"):
        AddSymmetryBreaking(Corners)  # the class is no breaking, though it has the function
    with pytest.raises(TypeError, match="have a method objects"):
        AddSymmetryBreaking(3)


@pytest.mark.parametrize("rows", [torch.zeros(3), torch.zeros(2, 4), torch.zeros(0, 3)])
def test_listed_objects_fit_their_irreps(rows):
    with pytest.raises(ValueError, match=r"objects of irreps 1x1o are rows"):
        ListedObjects("1o", rows)


def test_every_kind_of_objects_obeys_the_protocol():
    data, graph = of("CH4"), cycle()
    sets = [AddSymmetryBreaking(b).objects(data) for b in (GroupIndexed("C3v"), InputIndexed(), "sympe", "noise")]
    sets += [AddSymmetryBreaking(b).objects(graph) for b in ("input", "sympe", Noise(2.0))]
    for found in sets:
        drawn = found.sample(5, torch.Generator().manual_seed(0))
        nodes = 5 if found in sets[:4] else 6
        shape = (found.irreps.dim,) if found.level == "graph" else (nodes, found.irreps.dim)
        assert tuple(drawn.shape) == (5, *shape)
        assert found.explanation.endswith(".")
        if found.size == float("inf"):
            assert not found.ideal
            with pytest.raises(ValueError, match="cannot be listed"):
                found.all()
            continue
        assert found.all().shape == (found.size, *shape)
        assert found.ideal
    assert sets[0].keep.schoenflies == "C3v"
    assert sets[1].keep.schoenflies == sets[2].keep.schoenflies == "C1"


# ---------------------------------------------------------------------- batches of batches


def test_a_loader_over_all_objects_counts_all_structures():
    names = ["CH4", "NH3"]
    every = [AddSymmetryBreaking(choose="all", irreps="1x1o")(of(name)) for name in names]
    loader = DataLoader(every, batch_size=2, num_workers=1)
    (batch,) = loader
    assert batch.num_graphs == 30
    assert torch.equal(torch.bincount(batch.batch), torch.tensor([5] * 24 + [4] * 6))
    assert (batch.batch.diff() >= 0).all()
    assert batch.breaking.shape == (30, 3)
    model = GatedNetwork("0e", "1o", "1o", "0e", max_radius=3.0).double()
    y, energy = model(batch)
    alone = [model(b) for b in every]
    torch.testing.assert_close(y, torch.cat([a for a, _ in alone]))
    torch.testing.assert_close(energy, torch.cat([e for _, e in alone]))


def test_all_objects_of_a_data_set(tmp_path):
    phases = BaTiO3(str(tmp_path), transform=AddSymmetryBreaking(keep="C4v", choose="all"))
    batches = list(DataLoader(phases, batch_size=2))
    assert [batch.num_graphs for batch in batches] == [12, 12]
    assert batches[0].pos.shape == (60, 3)


def test_a_batch_of_all_objects_comes_apart(tmp_path):
    every = AddSymmetryBreaking(choose="all")(of("NH3"))
    torch.save(every, tmp_path / "batch.pt")
    for batch in (every, torch.load(tmp_path / "batch.pt", weights_only=False)):
        for row, data in zip(every.breaking, batch.to_data_list(), strict=True):
            assert type(data) is Data
            assert torch.equal(data.breaking[0], row)
            assert data.breaking_irreps == "1x1o"
            assert data.num_nodes == 4


@pytest.mark.parametrize("on", ["graph", "nodes"])
def test_a_batch_of_batches_comes_apart(on):
    """Each structure with each of its objects, as from the batch of one structure, in the same order."""
    every = []
    for name in ("CH4", "H2O", "NH3"):
        data = NeighborList(3.0)(of(name))
        data.name, data.energy, data.tag_index = name, torch.tensor([[1.5]]), torch.arange(data.num_nodes)
        every.append(AddSymmetryBreaking(choose="all", irreps="0o+2x1o+1e+2x2e+3o", on=on)(data))
    expected = [data for batch in every for data in batch.to_data_list()]
    (batch,) = DataLoader(every, batch_size=3)
    found = batch.to_data_list()
    assert len(found) == len(expected) == batch.num_graphs == 24 + 4 + 6
    for one, two in zip(found, expected, strict=True):
        assert type(one) is Data
        assert set(one.keys()) == set(two.keys())
        for key, value in two.to_dict().items():
            same = torch.equal(one[key], value) if isinstance(value, torch.Tensor) else one[key] == value
            assert same, key
    assert torch.equal(batch[-1].breaking, expected[-1].breaking)
    graph = Data(edge_index=torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]]), num_nodes=3)
    every = [AddSymmetryBreaking("input", choose="all")(graph.clone()) for _ in range(2)]
    (batch,) = DataLoader(every, batch_size=2)
    for one, two in zip(batch.to_data_list(), [d for b in every for d in b.to_data_list()], strict=True):
        assert torch.equal(one.edge_index, two.edge_index)
        assert torch.equal(one.breaking, two.breaking)
        assert one.num_nodes == 3


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 2**40, -5])
def test_errors_name_a_structure_whatever_its_numbers_are(value):
    data = of("CH4")
    data.z, data.idx = torch.full((5,), value), torch.tensor([float("inf")])
    with pytest.raises(ValueError, match=r"^a structure \(idx inf\): data.z"):
        AddSymmetryBreaking("sympe")(data)


ROWS = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mark", ROWS[:, 0].to_sparse()),
        ("edge_mark", ROWS.to_sparse(1)),
        ("mark_index", ROWS.to_sparse()),
        ("mark", {"inner": ROWS[:, 0].to_sparse()}),
        ("mask_index", True),
    ],
)
def test_attributes_that_no_batch_holds_are_named(name, value):
    """torch raised errors of its own, an IndexError among them, of which none named the attribute."""
    data = of("NH3")
    data[name] = value
    with pytest.raises(ValueError, match=rf"^H3N: choose='all' .* cannot hold data.{name}, which is"):
        AddSymmetryBreaking("input", choose="all")(data)
    assert AddSymmetryBreaking("input", choose=0)(data)[name] is data[name]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1.0]] * 6, r"data.x is \[\[1.0\]"),
        (torch.ones(6, 2).to_sparse(), "data.x is of torch.float32, torch.sparse_coo"),
        (torch.ones(6), r"data.x has shape \[6\]; the 6 nodes need \[6, d\]"),
        (torch.ones(5, 2), r"data.x has shape \[5, 2\]"),
    ],
)
@pytest.mark.parametrize("transform", [AddSymmetryBreaking("sympe", attr=None), OrbitIndividualization(attr=None)])
def test_node_features_that_nothing_can_be_appended_to(value, message, transform):
    graph = cycle()
    graph.x = value
    with pytest.raises(ValueError, match=message):
        transform(graph)
