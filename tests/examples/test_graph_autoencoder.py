"""Auto-encoding graphs: bounds against brute force over automorphisms, and networks at and below them."""

import itertools
import json

import networkx as nx
import pytest
import torch
from networkx.algorithms.isomorphism import GraphMatcher
from torch_geometric.data import Batch

EXAMPLE = "graph_autoencoder"


def orbits_of(graph: nx.Graph) -> list[set]:
    """By listing all automorphisms."""
    maps = list(GraphMatcher(graph, graph).isomorphisms_iter())
    return [set(orbit) for orbit in {frozenset(m[v] for m in maps) for v in graph}]


def best_by_orbits(graph: nx.Graph) -> float:
    """The least share of wrong pairs over all ways to call the pairs between two orbits alike."""
    orbits = orbits_of(graph)
    wrong = 0
    for a, b in itertools.combinations_with_replacement(orbits, 2):
        pairs = {frozenset(p) for p in itertools.product(a, b) if p[0] != p[1]}
        edges = sum(graph.has_edge(*p) for p in pairs)
        wrong += min(edges, len(pairs) - edges)
    n = len(graph)
    return wrong / (n * (n - 1) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_bound_of_random_graphs(example, seed):
    graph = nx.gnp_random_graph(7, 0.3, seed=seed)
    assert example.from_graph(graph).bound == pytest.approx(best_by_orbits(graph))


@pytest.mark.parametrize(
    "graph",
    [nx.star_graph(4), nx.path_graph(6), nx.wheel_graph(7), nx.petersen_graph()],
    ids=["star", "path", "wheel", "Petersen"],
)
def test_bound_of_symmetric_graphs(example, graph):
    assert example.from_graph(graph).bound == pytest.approx(best_by_orbits(graph))


def test_vertex_transitive_graphs(example):
    graphs = example.vertex_transitive()
    found = example.distinct(graphs)
    assert len(found) == 59
    for name, data in found.items():
        assert data.num_nodes == len(graphs[name]) <= example.NODES
        assert data.symmetry.orbits.max() == 0
        density = nx.density(graphs[name])
        assert data.bound == pytest.approx(min(density, 1 - density))
    for a, b in itertools.combinations(found, 2):
        assert not nx.is_isomorphic(graphs[a], graphs[b])
    for name in graphs.keys() - found.keys():
        assert any(nx.is_isomorphic(graphs[name], graphs[other]) for other in found)
    for name in ("rook 4×4", "Shrikhande"):
        adjacency = torch.from_numpy(nx.to_numpy_array(graphs[name]))
        torch.testing.assert_close(adjacency @ adjacency, 4 * torch.eye(16) + 2)


def colorings(graph: nx.Graph, colors: int) -> bool:
    """Whether there is a proper one up to distance two, by trying."""
    square = nx.power(graph, 2)
    order = list(nx.bfs_tree(square, next(iter(square)))) if nx.is_connected(square) else list(square)

    def extend(given: dict) -> bool:
        if len(given) == len(order):
            return True
        node = order[len(given)]
        free = set(range(colors)) - {given.get(other) for other in square[node]}
        return any(extend({**given, node: color}) for color in sorted(free))

    return extend({})


def test_four_colors_are_enough(example):
    for graph in example.colorable().values():
        assert example.from_graph(graph).symmetry.orbits.max() == 0
        assert colorings(graph, example.COLORS)
    assert not colorings(nx.cycle_graph(5), example.COLORS)


def test_near_pairs_are_those_at_distance_one_and_two(example):
    graph = nx.circular_ladder_graph(8)
    near = {frozenset(pair) for pair in example.from_graph(graph).near_index.T.tolist()}
    lengths = dict(nx.all_pairs_shortest_path_length(graph))
    assert near == {frozenset(p) for p in itertools.combinations(graph, 2) if lengths[p[0]][p[1]] <= 2}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_weights_equivariant_networks_stay_above_the_bounds(example, seed):
    torch.manual_seed(seed)
    graphs = [example.from_graph(g) for g in (nx.star_graph(5), nx.petersen_graph(), nx.cycle_graph(9))]
    batch = example.draw(graphs, example.graph_way("none", dim=example.DIM), 1)[0]
    coder, coloring = example.AutoEncoder("none"), example.Coloring("none")
    z = coder.encoder(batch)
    for orbit in batch.orbit_index.unique():
        assert z[batch.orbit_index == orbit].std(0, correction=0).max() < 1e-12
    wrong = example.per_graph(batch, batch.pair_index, ((coder(batch) > 0) != batch.is_edge).double())
    assert (wrong >= torch.tensor([data.bound for data in graphs]) - 1e-12).all()
    expected = example.conflicts(batch, coloring(batch))
    assert expected[1:].min() >= 1 / example.COLORS - 1e-12


def test_conflicts_and_wrong_pairs_of_known_answers(example):
    batch = Batch.from_data_list([example.from_graph(nx.cycle_graph(6))])
    p = torch.eye(4)[torch.tensor([0, 1, 2, 0, 1, 2])]
    assert example.conflicts(batch, p).item() == 0
    p[3] = p[2]  # one of 6 edges and one of 6 pairs at distance two: nodes 2 and 3, 3 and 5
    assert example.conflicts(batch, p).item() == pytest.approx(2 / 12)

    def no_edges(batch):
        return -torch.ones(len(batch.is_edge))

    assert example.wrong_pairs(no_edges, [batch]) == pytest.approx(40)


def test_sympe_finds_what_no_weights_find_without_it(example):
    graphs = [example.from_graph(g) for g in (nx.cycle_graph(6), nx.cycle_graph(8), nx.petersen_graph())]
    colored = graphs[:2]
    bound = 100 * sum(data.bound for data in graphs) / len(graphs)
    found = {}
    for way in ("none", "SymPE"):
        torch.manual_seed(0)
        transform = example.graph_way(way, dim=example.DIM)
        coder = example.trained_autoencoder(way, graphs, seed=0, steps=150)
        coloring = example.trained_coloring(way, colored, 150)
        found[way] = example.assess_coloring(coloring, example.draw(colored, transform, 4))
        found[way]["wrong"] = example.wrong_pairs(coder, example.draw(graphs, transform, 4))
    assert found["none"]["wrong"] == pytest.approx(bound)
    assert found["SymPE"]["wrong"] < 0.05 * bound
    assert found["none"][example.CONFLICTS] == pytest.approx(25)
    assert found["SymPE"][example.PROPER] == 100


def test_example(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "WAYS", ("none", "noise", "orbit ids", "SymPE"))
    example.main(out=tmp_path, seeds=2, steps=3)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert [len(runs) for runs in metrics["runs"].values()] == [2] * 4
    for run in metrics["runs"]["none"]:
        for key in (example.SEEN, example.UNSEEN, example.RANDOM, example.CONFLICTS):
            assert run[key] >= metrics["bounds"][key] - 1e-4
    assert len((tmp_path / "table.md").read_text().splitlines()) == 7
    assert (tmp_path / "graph_autoencoder.png").stat().st_size > 10_000
