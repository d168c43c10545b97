"""Decoding of invariant codes: shapes, alignment and copies against plain definitions, and what the example claims."""

import json
from itertools import permutations

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch

EXAMPLE = "equivariant_decoding"


def test_clouds(example):
    groups = {data.name: data.symmetry.group.schoenflies for data in example.clouds()}
    assert groups["tetrahedron"] == groups["CH4"] == "Td"
    assert groups["octahedron"] == groups["cube"] == "Oh"
    assert groups["icosahedron"] == groups["dodecahedron"] == "Ih"
    for data in example.clouds():
        assert data.pos.mean(0).norm() < 1e-12
        assert data.pos.square().sum(1).mean() == pytest.approx(1)


def test_graphs_differ_in_their_spectra(example):
    spectra = torch.cat([data.spectrum for data in example.graphs()])
    assert torch.pdist(spectra).min() > 0.1


def test_misfit_is_that_of_the_best_rotation_or_reflection(example):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    x, y = x - x.mean(0), y - y.mean(0)
    rotation, distance = Rotation.align_vectors(x, y)
    mirrored = Rotation.align_vectors(x, -y)[1]
    expected = min(distance, mirrored) ** 2 / x.square().sum()
    assert example.misfit(y[None], x[None]).item() == pytest.approx(expected.item())
    turned = y @ torch.from_numpy(rotation.as_matrix()).T
    assert example.misfit(-turned[None], y[None]).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("way", ["none", "noise", "SymPE"])
def test_decoder_of_clouds_is_equivariant_and_its_code_invariant(example, way):
    torch.manual_seed(0)
    cases = example.clouds()
    model = example.CloudAutoEncoder(way)
    points, mask = example.stacked(cases)
    objects = torch.cat([example.cloud_objects(way, data, 1) for data in cases])
    answers = model(points, mask, objects)
    for q in (Rotation.random(random_state=1).as_matrix(), -np.eye(3)):
        q = torch.from_numpy(q)
        turned = model(points @ q.T, mask, objects @ q.T)
        torch.testing.assert_close(turned, answers @ q.T, rtol=0, atol=1e-12)
    if way == "none":
        assert answers.abs().max() < 1e-12  # all points at the centre
        torch.testing.assert_close(example.misfit(answers, points), torch.ones(len(cases)))


@pytest.mark.parametrize("way", ["uniform frames", "group-indexed", "input-indexed", "SymPE"])
def test_objects_are_moved_freely(example, way):
    torch.manual_seed(0)
    for data in example.clouds()[:3]:
        objects = example.cloud_objects(way, data, 5)
        assert (torch.linalg.matrix_rank(objects) == 3).all()
        # All are one object in different orientations.
        torch.testing.assert_close(objects @ objects.mT, (objects[:1] @ objects[:1].mT).expand(5, -1, -1))


def test_decoder_of_graphs_is_equivariant(example):
    torch.manual_seed(0)
    model = example.GraphAutoEncoder("noise")
    data = example.graphs()[3]
    data.breaking = torch.randn(10, example.DIM)
    perm = torch.randperm(10)
    moved = data.clone()
    moved.breaking = data.breaking[perm]
    logits, other = model(Batch.from_data_list([data, moved]))
    torch.testing.assert_close(other, logits[perm][:, perm], rtol=0, atol=1e-12)


def test_copies_are_numbered_by_the_object(example):
    torch.manual_seed(0)
    data = next(d for d in example.graphs() if d.name == "cycle C8")
    data.breaking = torch.randn(8, example.DIM)
    adjacency, pairs = example.copies(Batch.from_data_list([data]))
    assert int(pairs.sum()) == 56
    order = data.breaking[:, 0].argsort().tolist()  # the k-th node in this order is node k of the cycle
    around = {frozenset((order[k], order[(k + 1) % 8])) for k in range(8)}
    assert {frozenset(edge) for edge in adjacency[0].nonzero().tolist()} == around


def test_constant_is_the_best_invariant_answer(example):
    """Mean over all numberings of a small graph, where ρ (1 - ρ) is reached and nothing is below it."""
    adjacency = nx.to_numpy_array(nx.path_graph(4))
    pairs = ~np.eye(4, dtype=bool)
    mean = np.mean([adjacency[np.ix_(p, p)] for p in map(list, permutations(range(4)))], axis=0)
    density = adjacency.sum() / 12
    assert mean[pairs] == pytest.approx(density)
    assert ((adjacency - mean)[pairs] ** 2).mean() == pytest.approx(density * (1 - density))


def test_example(example, tmp_path):
    example.main(out=tmp_path, seeds=1, steps=120)
    runs = json.loads((tmp_path / "metrics.json").read_text())["runs"]
    squared = {way: found[0][example.SQUARED] for way, found in runs["clouds"].items()}
    assert squared["none"] == pytest.approx(100, abs=1e-6)
    assert max(squared[way] for way in ("group-indexed", "input-indexed", "SymPE")) < 10
    assert squared["noise"] > 10
    pairs = {way: found[0][example.PAIRS] for way, found in runs["graphs"].items()}
    assert 100 - 1e-6 <= pairs["none"] < 102
    assert pairs["SymPE"] < 95
    assert (tmp_path / "equivariant_decoding.png").stat().st_size > 10_000
    assert "SymPE" in (tmp_path / "graphs.md").read_text()
