"""examples/saddles.py on a few molecules and steps."""

import json

import matplotlib.pyplot as plt
import pytest

EXAMPLE = "saddles"


def test_a_short_run(example, tmp_path):
    example.main(out=tmp_path, steps=3, molecules=24, by="name")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (tmp_path / "saddles.png").exists()
    assert metrics["summary"][0]["kept"] == "all"
    assert all(row["best error"] <= row["error"] + 1e-9 for row in metrics["rows"])
    assert all(0 <= row["found"] <= 1 for row in metrics["rows"])


def test_means_and_shares(example):
    row = {"kept": "C2", "bound": 0.5, "error": 0.2, "best error": 0.1, "found": 1.0}
    rows = [row, row | {"error": 0.6, "found": 0.0}, row | {"bound": 0.0, "error": 9.0}]
    (every,) = example.summary(rows, "kept")
    assert every["molecules"] == 2
    assert every["first answer (Å)"] == pytest.approx(0.4)
    assert every["first below half of the mean bound"] == 0.5
    plt.close(example.figure(rows))
