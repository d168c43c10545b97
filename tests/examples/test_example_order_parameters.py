"""The order parameters of the example: the perovskite is what it says, and the groups come out after a few steps."""

import json

import numpy as np
import torch

from pyg_symbreak.detect import detect_symmetry

EXAMPLE = "order_parameters"


def test_perovskites(example):
    data, low, between = example.perovskite()
    symmetry = detect_symmetry(data)
    assert symmetry.space_group.number == 221
    assert [detect_symmetry(x).space_group.number for x in (low, between)] == [62, 74]
    assert example.group_of(data, symmetry, np.ones(len(symmetry.rotations), bool)).startswith("P4/mmm")
    titanium = data.pos[data.z == 22]
    for pos in (data.pos, low.pos):  # six oxygen atoms about each, as far as before
        shift = torch.cartesian_prod(*[torch.arange(-1.0, 2)] * 3) @ data.cell[0]
        arms = (pos[data.z == 8][:, None] + shift).flatten(0, 1)[None] - titanium[:, None]
        nearest = arms.norm(dim=2).sort(dim=1).values[:, :6]
        assert (nearest - 1.9).abs().max() < 0.05


def test_it_runs(example, tmp_path):
    example.main(tmp_path, seeds=1, steps=3)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    square, crystal = metrics["square"][0], metrics["perovskite"][0]
    assert square["gradient at zero"] == square["learned"] == square["called for"] == ["2e"]
    assert square["same group"]
    assert crystal["called for on B"] == ["1e", "2e"]
    assert crystal["free: object keeps"] == crystal["target"]
    assert crystal["constrained: object keeps"] == crystal["between"]
    assert (tmp_path / "order_parameters.png").stat().st_size > 10_000
