"""Jahn-Teller distortions: what the example claims, for a few of its molecules."""

import json
from dataclasses import replace

import numpy as np
import pytest

EXAMPLE = "jahn_teller"
TRAINING, HELD_OUT = ("NH3+", "CH4+", "N2+", "C2H4+"), ("BF3+",)


@pytest.fixture
def few(example, monkeypatch):
    load = example.load_pairs

    def load_few(config):
        pairs = load(config)
        names = [p for p in pairs.training if p.name in TRAINING], [p for p in pairs.held_out if p.name in HELD_OUT]
        return replace(pairs, training=names[0], held_out=names[1])

    monkeypatch.setattr(example, "load_pairs", load_few)
    return load_few


def test_bound_by_explicit_averaging_is_that_of_the_library(example):
    pairs = example.load_pairs(example.config_for("with object"))
    for pair in [*pairs.training, *pairs.held_out]:
        assert example.curie_bound(pair) == pytest.approx(pair.floor, abs=1e-6)
        assert (example.curie_bound(pair) > 1e-3) == (len(pair.images_y) > 1)


def test_bound_of_methane_by_hand(example, few):
    """Averaged over T_d only the breathing of the four hydrogens is left."""
    methane = next(p for p in few(example.config_for("with object")).training if p.name == "CH4+")
    bonds = methane.data.pos[1:] - methane.data.pos[0]
    bonds = bonds / bonds.norm(dim=1, keepdim=True)
    breathing = (methane.y[1:] * bonds).sum(1).mean() * bonds
    off = methane.y[0].square().sum() + (methane.y[1:] - breathing).square().sum()
    assert example.curie_bound(methane) == pytest.approx((off / 5).sqrt().item(), abs=1e-6)


def test_example(example, few, tmp_path):
    example.main(out=tmp_path, steps=100, seeds=1, workers=1, show="CH4+")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert [row["molecule"] for row in metrics["training"]] == list(TRAINING)
    counts = {row["molecule"]: (row["|S|/|K|"], row["answers"]) for row in metrics["training"]}
    assert counts == {"NH3+": (1, 1), "CH4+": (3, 3), "C2H4+": (2, 2), "N2+": (1, 1)}
    for row in metrics["training"]:
        assert row["without object"] >= row["Curie bound"] - 1e-8
        assert row["largest"] < 0.01
        assert row["worst served"] < 0.01
        assert row["energies differ (eV)"] < 1e-5
    broken = [row for row in metrics["training"] if row["|S|/|K|"] > 1]
    assert min(row["without object"] for row in broken) > 0.1
    (held_out,) = metrics["held out"]
    assert held_out["molecule"] == "BF3+"
    assert held_out["without object"][0] >= held_out["Curie bound"] - 1e-8
    assert np.isfinite([held_out[way][0] for way in example.WAYS]).all()
    assert (tmp_path / "jahn_teller.png").stat().st_size > 10_000
