"""Learned motions, at a tiny size: what holds whatever the weights, and the truths that the rest is measured by."""

import json

import pytest
import torch

EXAMPLE = "dynamics"


def test_charges_and_triangle(example):
    torch.manual_seed(0)
    drift = {}
    for name, group in example.GROUPS.items():
        model = example.learn_springs(group, 3)
        drift[name], path = example.assess_springs(model, 20)
        assert path.shape == (21, 20, 2)
        assert drift[name]["learned H"] < 1e-5
    for name, row in drift.items():
        assert (row["momentum"] < 1e-12) == (name in ("T(2)", "SE(2)"))
        assert (row["angular momentum"] < 1e-6) == (name in ("SO(2)", "SE(2)"))
    off, _ = example.triangle(model, 20)
    assert off["no object"] < 1e-12 < 1e-8 < off["object at one body"]


def test_true_forces_and_friction(example):
    data = example.springs(2)
    source, target = data.edge_index
    pos = data.pos.clone().requires_grad_()
    energy = (data.x[source] * data.x[target] * (pos[source] - pos[target]).square()).sum() / 4  # each pair twice
    (gradient,) = torch.autograd.grad(energy, pos)
    torch.testing.assert_close(example.spring_forces(data), -gradient)
    states, rates = example.observed("pendulum", 3, 0.0, example.FRICTION)
    torch.testing.assert_close(rates[0], 2 * states.momentum)
    torch.testing.assert_close(rates[1], -3 * states.pos.sin() - 2 * example.FRICTION * states.momentum)


def test_the_whole_runs(example, tmp_path):
    example.main(out=tmp_path, seeds=1, steps=1, times=3)
    rows = json.loads((tmp_path / "metrics.json").read_text())
    assert set(rows) == {*example.GROUPS, *example.SYSTEMS, "three bodies", "friction", "double pendulum"}
    assert (tmp_path / "dynamics.png").stat().st_size > 10_000
    text = (tmp_path / "tables.md").read_text()
    assert text.count("## ") == 5
    assert rows["double pendulum"][0]["ratio of means"] == pytest.approx(
        rows["double pendulum"][0]["mean, baseline"] / rows["double pendulum"][0]["mean, ours"]
    )
