"""The main job: every bound the example claims, run through the example's own functions."""

import json

import pytest
import torch
from ase.io import read

from pyg_symbreak.datasets import BaTiO3
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.losses import CrystalMismatch
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import apply_distortion

EXAMPLE = "batio3"


@pytest.mark.parametrize("seed", range(3))
def test_without_object_no_weights_leave_the_curie_residual(example, seed):
    pair = BaTiO3(name="paper")[0]
    data = example.with_features(pair, 2.7)
    mismatch = CrystalMismatch(pair, apply_distortion(pair, pair.y))
    torch.manual_seed(seed)
    data.breaking = torch.zeros(1, 3)
    model = GatedNetwork("3x0e", "1o", "1o", max_radius=2.7)
    losses = []
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    for _ in range(10):
        loss = mismatch(pair.pos + model(data))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == pytest.approx([0.247814] * 10, abs=1e-6)


@pytest.fixture(scope="module")
def result(example):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield example.paper_pair(seed=0, steps=300)
    torch.set_default_dtype(before)


def test_paper_pair(result):
    assert result["start"] == pytest.approx(0.247814, abs=1e-6)
    assert result["without object"] == pytest.approx(0.247814, abs=1e-6)
    assert result["with object"] <= 1e-10
    assert result["structures"] == 6
    assert result["largest error (Å)"] <= 1e-5


def test_all_domains_of_the_phases(example, result, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "paper_pair", lambda seed, steps: result)
    example.main(out=tmp_path, steps=200, seed=0)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["paper pair"] == result
    assert [row["domains"] for row in metrics["phases"]] == [6, 12, 8]
    assert [row["space groups"] for row in metrics["phases"]] == [[99], [38], [160]]
    for row in metrics["phases"]:
        assert row["rms error (Å)"] < 1e-3
        assert row["strain error"] < 1e-4
    assert metrics["Curie bound"] * (1 - 1e-9) <= metrics["without object"] < metrics["Curie bound"] * (1 + 1e-4)
    assert metrics["without object"] > 1
    assert metrics["moved input: off by (Å)"] < 1e-6
    structures = read(tmp_path / "domains.extxyz", index=":")
    assert len(structures) == 26
    assert detect_symmetry(structures[0], 1e-3).space_group.number == 99
    assert detect_symmetry(read(tmp_path / "rhombohedral_07.cif"), 1e-3).space_group.number == 160
    assert (tmp_path / "domains.png").stat().st_size > 10_000
