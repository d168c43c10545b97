"""Generators of trained models, at a tiny size: what is exact holds, and table and figure are written."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pyg_symbreak.discover import invariance_generators

EXAMPLE = "discover_generators"


@pytest.fixture(autouse=True)
def _float32():
    torch.set_default_dtype(torch.float32)


def test_example(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "POTENTIALS", {name: example.POTENTIALS[name] for name in ("radial",)})
    example.main(out=tmp_path, samples=300, steps=60)
    rows = json.loads((tmp_path / "metrics.json").read_text())["0"]
    assert [row["expected"] for row in rows.values()] == [3, 6, 3, 4]
    assert rows["methanol in a field"]["kept"] == "Rz Tx Ty Tz"  # by construction, trained or not
    assert rows["methanol in a field"]["point group"] == "Cinfv"
    assert len((tmp_path / "table.md").read_text().splitlines()) == 6
    assert (tmp_path / "discover_generators.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["radial", "axial", "cubic", "elliptic"])
def test_the_potentials_have_the_symmetries_that_are_expected(example, name):
    f, expected = example.POTENTIALS[name]
    x = example.points(300, torch.Generator().manual_seed(0)).double()
    found = invariance_generators(lambda x: f(*x.T), x)
    assert found.group.dimension == len(expected)
    assert example.cosine(found.group.generators, np.array(expected).reshape(-1, 3, 3)) > 1 - 1e-9


@pytest.mark.parametrize("strength", [0.0, 0.6])
def test_forces_of_bodies_in_a_field(example, strength):
    axes = Rotation.random(random_state=1).as_matrix()
    batch, forces = example.bodies(
        60, strength * torch.from_numpy(axes[:, 2]).float(), torch.Generator().manual_seed(0)
    )
    graphs = forces.view(60, 5, 3), batch.pos.view(60, 5, 3)
    total = graphs[0].sum(1)
    weight = strength * batch.x.view(60, 5).sum(1)
    torch.testing.assert_close(total, weight[:, None] * torch.from_numpy(axes[:, 2]).float(), atol=1e-5, rtol=0)
    torque = torch.linalg.cross(graphs[1], graphs[0]).sum(1)
    assert (torque @ torch.from_numpy(axes[:, 2]).float()).abs().max() < 1e-4
