"""U(1) on a lattice: exact Wilson loops, and the example at a small size."""

import json
import math

import numpy as np
import pytest
import torch

from pyg_symbreak.flows import exact_sums

EXAMPLE = "lattice_gauge"


@pytest.mark.parametrize("area", [1, 2])
def test_exact_loops(example, area):
    # Three plaquettes on a closed surface, whose angles add up to nothing.
    at = (torch.arange(400) + 0.5) * 2 * math.pi / 400
    x, y = at[:, None], at[None]
    weight = (1.3 * (x.cos() + y.cos() + (x + y).cos())).exp()
    loop = x.cos() if area == 1 else (x + y).cos()
    assert example.exact_loop(1.3, area, 3) == pytest.approx(((weight * loop).sum() / weight.sum()).item())
    assert example.exact_loop(1.3, 1, 3) == pytest.approx(exact_sums(1.3, 3).plaquette)


@pytest.mark.parametrize("lattice", ["square", "triangular"])
def test_example(example, tmp_path, lattice):
    example.main(out=tmp_path, lattice=lattice, size=4, beta=1.0, steps=60, samples=1000, trajectories=20)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["ess"] > 0.2
    deviations = [abs(float(row["deviation (σ)"])) for row in metrics["rows"]]
    assert len(deviations) == 6
    assert max(deviations) < 4.5
    assert np.isfinite(metrics["tau"]).all()
    assert (tmp_path / "lattice_gauge.png").stat().st_size > 10_000
