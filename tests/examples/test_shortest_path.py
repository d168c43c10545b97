"""Shortest paths, at a tiny size: targets are shortest paths; equal routes are marked alike without an object."""

import json

import networkx as nx
import numpy as np

EXAMPLE = "shortest_path"


def test_targets_are_shortest_paths(example):
    rng = np.random.default_rng(0)
    for data in [example.geographical(rng, 8, 16) for _ in range(5)] + [example.some_routes(rng, (1, 3), True)]:
        graph = nx.Graph()
        for (a, b), length in zip(data.edge_index.T.tolist(), data.edge_attr[:, 0].tolist(), strict=True):
            graph.add_edge(a, b, length=length)
        ends = [int(data.x[:, k].argmax()) for k in (0, 1)]
        shortest = nx.shortest_path_length(graph, *ends, "length")
        assert abs((data.on_edge * data.edge_attr).sum().item() / 2 - shortest) < 1e-12
        path = graph.edge_subgraph(map(tuple, data.edge_index[:, data.on_edge[:, 0] > 0].T.tolist()))
        assert nx.has_path(path, *ends)
        assert set(path) == set(data.on_node[:, 0].nonzero()[:, 0].tolist())


def test_equal_routes_are_alike_unless_an_object_is_there(example):
    model = example.train(3, 0)
    assert example.unlike(model, 4, 5, False) < 1e-12
    assert example.unlike(model, 4, 5, True) > 1e-4


def test_the_whole_runs(example, tmp_path):
    example.main(out=tmp_path, seeds=1, steps=2, graphs=2)
    rows = json.loads((tmp_path / "metrics.json").read_text())
    assert rows[0]["routes differ, no object"] < 1e-12 < rows[0]["routes differ, object"]
    assert rows[0]["equal routes (%), no object"] == 0
    assert (tmp_path / "shortest_path.png").stat().st_size > 10_000
