"""Maximum cuts and independent sets: optima, objectives and decoding by brute force, and what the example claims."""

import json
from itertools import product

import networkx as nx
import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.utils import from_networkx

EXAMPLE = "combinatorial"


def brute_force(graph: nx.Graph) -> tuple[int, int]:
    cut = independent = 0
    for sides in product((0, 1), repeat=graph.number_of_nodes()):
        inside = sum(sides[a] and sides[b] for a, b in graph.edges)
        cut = max(cut, sum(sides[a] != sides[b] for a, b in graph.edges))
        independent = max(independent, 0 if inside else sum(sides))
    return cut, independent


def test_optima(example):
    found = {}
    for name, graph in example.vertex_transitive().items():
        found[name] = example.maximum_cut(graph), example.independence_number(graph)
        if graph.number_of_nodes() <= 10:
            assert found[name] == brute_force(graph)
    assert found["cycle C12"] == (12, 6)
    assert found["cube Q4"] == (32, 8)
    assert found["Petersen"] == (12, 4)
    assert found["torus 4 × 6"] == (48, 12)
    assert found["torus 5 × 5"] == (40, 10)  # each row and each column is an odd cycle
    assert (found["Paley 13"][1], found["Paley 17"][1]) == (3, 3)


def test_graphs_are_vertex_transitive(example):
    for data in example.dataset():
        assert int(data.symmetry.orbits.max()) == 0, data.name


@pytest.fixture
def path(example):
    """A path of four nodes and a triangle, as a batch."""
    return Batch.from_data_list([from_networkx(nx.path_graph(4)), from_networkx(nx.complete_graph(3))])


def test_objectives_are_expectations_of_independent_draws(example, path):
    p = torch.rand(7, 2, example.ANSWERS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.zeros(2, 2, example.ANSWERS, dtype=torch.float64)
    for i, (graph, q) in enumerate(((nx.path_graph(4), p[:4]), (nx.complete_graph(3), p[4:]))):
        for sides in product((0, 1), repeat=len(q)):
            chance = torch.stack([v if s else 1 - v for s, v in zip(sides, q, strict=True)]).prod(0)
            cut = sum(sides[a] != sides[b] for a, b in graph.edges)
            inside = sum(sides[a] and sides[b] for a, b in graph.edges)
            expected[i] += chance * torch.tensor([[cut], [sum(sides) - inside]])
    torch.testing.assert_close(example.relaxed(path, p), expected)


def test_decoding(example, path):
    p = torch.zeros(7, 2, example.ANSWERS)
    p[:4, 0, 0] = torch.tensor([0.9, 0.1, 0.6, 0.4])
    p[:4, 1, 0] = torch.tensor([0.9, 0.1, 0.2, 0.8])
    p[4:, 1, 0] = torch.tensor([0.9, 0.8, 0.7])  # all adjacent: the largest stays
    p[:, 1, 1] = 0.9  # all alike: none stays
    sizes = example.decode(path, p)
    assert sizes[:, :, 0].tolist() == [[3, 2], [0, 1]]
    assert sizes[:, :, 1].tolist() == [[0, 0], [0, 0]]


def test_unbroken_network_is_below_its_bounds_whatever_its_weights(example):
    graphs = example.dataset()
    batch = example.draw(graphs, example.graph_way("none"), 1)[0]
    for seed in range(5):
        torch.manual_seed(seed)
        p = example.NodeNetwork("none", 25)(batch)
        cut, independent = example.relaxed(batch, p).unbind(1)
        n, degree = batch.ptr.diff(), torch.tensor([data.num_edges / data.num_nodes for data in graphs])
        assert (cut <= (n * degree / 4)[:, None] + 1e-9).all()
        assert (independent <= (n / (2 * degree))[:, None] + 1e-9).all()


def test_example(example, tmp_path):
    example.main(out=tmp_path, seeds=1, steps=50)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    runs = {way: found[0] for way, found in metrics["runs"].items()}
    for key, bound in metrics["bounds"].items():
        assert 0.9 * bound < runs["none"][key] <= bound + 1e-6
    assert runs["none"][example.SOLVED] == 0
    assert runs["SymPE"][example.CUT] > 1.2 * metrics["bounds"][example.CUT]
    assert runs["SymPE"][example.SET] > 1.2 * metrics["bounds"][example.SET]
    assert (tmp_path / "combinatorial.png").stat().st_size > 10_000
    assert "SymPE" in (tmp_path / "table.md").read_text()
