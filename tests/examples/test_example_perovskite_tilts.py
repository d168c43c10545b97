"""Tilts of perovskites: domains are read off displacements, and a network answers for each of them alike."""

import numpy as np
import pytest
import torch

from pyg_symbreak.datasets import PerovskiteTilts
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.structures import find_octahedra, to_ase

EXAMPLE = "perovskite_tilts"


@pytest.fixture(scope="module")
def data(example):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        few = [d for d in PerovskiteTilts() if d.formula in ("CaTiO3", "BaTiO3", "NaMgF3", "LaAlO3", "SrTiO3")]
        return example.Tilts(few)
    finally:
        torch.set_default_dtype(before)


def test_domains_are_those_of_rigid_tilts(example):
    """Displacements of rigid octahedra give back the field that made them, with the sign of each axis."""
    graph = next(d for d in PerovskiteTilts(cell="2x2x2") if d.formula == "CaTiO3")
    octahedra = find_octahedra(to_ase(graph))
    for tilt in example.TILTS:
        field = octahedra.field(tilt)
        for sign in (1, -1):
            found = example.domain(octahedra, torch.from_numpy(sign * octahedra.displacements(field)), tilt)
            np.testing.assert_allclose(found.numpy(), sign * field, atol=1e-9)


def test_graphs(example, data):
    """Six tilts of each compound; those that are none lead to the cubic phase or to another tilt."""
    assert set(data.graphs) == {"CaTiO3", "BaTiO3", "NaMgF3", "LaAlO3", "SrTiO3"}
    for name, graphs in data.graphs.items():
        assert [graph.tilt for graph in graphs] == list(example.TILTS)
        for graph in graphs:
            assert graph.object.norm(dim=1).max() == pytest.approx(1)
            assert graph.energy.item() <= 1e-3
            assert torch.equal(graph.roles.sum(0) * 5, graph.num_nodes * torch.tensor([1.0, 1.0, 3.0]))
            assert (graph.candidates[:, 0] - graph.y).abs().max() < 2e-2
        if name == "BaTiO3":
            assert all(graph.known and not graph.y.any() for graph in graphs)
    other = data.graphs["LaAlO3"][-1]  # a+b-b- relaxes to a0b-b-
    assert not other.known.item()
    assert other.energy.item() < -0.03


def test_objects_break_what_they_should(example, data):
    """The tilt keeps the space group of its tilt; the input-indexed one nothing."""
    graph = data.graphs["CaTiO3"][-1]
    symmetry = detect_symmetry(to_ase(graph), 1e-2)
    assert symmetry.stabilizer(graph.object, "1e").space_group.number == 62
    whole = example.with_objects(data, "input-indexed", [graph]).breaking
    assert symmetry.stabilizer(whole, example.OBJECT).order == 1


def test_without_object_nothing_moves(example, data):
    names = ["CaTiO3", "NaMgF3"]
    model = example.train(data, "none", names, 2, 0)
    merits, rows = example.judged(data, model, "none", names)
    assert merits["error / no displacement"] == pytest.approx(1, abs=1e-3)
    assert max(row["predicted angle"] for row in rows) < 0.5


def test_every_domain_is_answered_alike(example, data):
    model = example.train(data, "tilt", ["CaTiO3"], 2, 0)
    count, spread = example.domains(data, model, "CaTiO3")
    assert count == 24
    assert spread < 1e-8


def test_least_squares(example, data):
    """Of the compounds that it was fitted to: exact for as many as it has numbers."""
    found = example.without_network(data, ["CaTiO3", "NaMgF3", "LaAlO3", "SrTiO3"], ["CaTiO3", "NaMgF3"])
    assert found["angle error (°)"] < 1e-6
    assert found["lowest tilt right"] == 1
