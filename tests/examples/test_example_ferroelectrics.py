"""Ferroelectrics: equivalent targets and figures of merit against cases known by hand, and what symmetry forbids."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

EXAMPLE = "ferroelectrics"


@pytest.fixture(scope="module")
def perovskites(example):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        cubic = [data for data in example.pairs(5) if data.space_group == "Pm-3m" and data.kept == "P4mm"]
        return [example.material(data) for data in cubic[:2]]
    finally:
        torch.set_default_dtype(before)


def test_equivalent_targets_of_a_perovskite_are_the_six_directions(example, perovskites):
    """From Pm-3m to P4mm every atom moves along one cell vector: six domains, whose polarizations are as long."""
    data = perovskites[0]
    moved = data.y.norm(dim=1).argmax()
    ends = data.candidates[moved]
    distinct = torch.unique(ends.mul(1e4).round(), dim=0) / 1e4
    axis = (data.cell[0] / data.cell[0].norm(dim=1, keepdim=True)) * data.y[moved].norm()
    for wanted in (*axis, *-axis):
        assert (distinct - wanted).norm(dim=1).min() < 2e-4
    assert len(distinct) == data.count.item() == 6
    lengths = data.polar_candidates[0].norm(dim=1) * example.UNIT
    torch.testing.assert_close(lengths, data.polarization.expand_as(lengths))


def test_figures_of_merit(example, perovskites):
    data = perovskites[0]
    for equivalent in (data.y, data.candidates[:, 3]):
        found = example.merit(data, equivalent, data.polar_candidates[0, 0])
        assert found["cosine"] == pytest.approx(1, abs=0.02)
        assert found["length"] == pytest.approx(1, abs=1e-9)
        assert found["error / bound"] == pytest.approx(0, abs=1e-8)
        assert found["polar axis"] == 1
        assert found["P cosine"] == pytest.approx(1, abs=1e-3)
    none = example.merit(data, torch.zeros_like(data.y), torch.zeros(3))
    assert (none["cosine"], none["polar axis"], none["P cosine"]) == (0, 0, 0)
    assert none["error / bound"] == pytest.approx(1, abs=1e-6)  # nothing but the broken part is there
    tilted = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0])
    assert example.merit(data, data.y @ tilted.T, torch.zeros(3))["polar axis"] == 0


def test_without_object_no_answer_is_nearer_than_the_bound_and_none_is_polar(example, perovskites):
    torch.manual_seed(0)
    for way, least in (("none", 1 - 1e-9), ("group-indexed", 0)):
        model = example.Displacer(way, "20x0e")
        for data in perovskites:
            attached = example.way_of(way)(data.clone())
            y, polar = example.answers(model, [attached])[0]
            assert example.merit(data, y, polar)["error / bound"] >= least
            assert (polar.norm() < 1e-9) == (way == "none")


def test_training_brings_the_loss_down(example, perovskites):
    draws = example.drawn("group-indexed", perovskites)
    start = example.train("group-indexed", draws, 0, 1)
    end = example.train("group-indexed", draws, 0, 10)
    batch = Batch.from_data_list(draws[0])
    assert example.loss_of(end, batch) < 0.8 * example.loss_of(start, batch)


def test_splits_share_no_composition(example, perovskites):
    graphs = [data for data in perovskites for _ in range(2)]
    train, test = example.held_out(graphs, 0, share=0.5)
    assert sorted(train + test) == [0, 1, 2, 3]
    assert not {graphs[i].formula for i in train} & {graphs[i].formula for i in test}
