"""Models that people have: equivariant with the object, below the bound only with it."""

import copy
import json

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch

from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.training import Config, load_pairs

EXAMPLE = "any_model"
NAMES = ["SchNet", "ViSNet", "GATv2", "TransformerConv", "e3nn"]


@pytest.mark.parametrize("name", NAMES)
def test_models_are_equivariant_with_the_object_and_use_it(example, name):
    pairs = load_pairs(Config.of({"dataset": "JahnTeller", "held_out": []}))
    borane = next(pair for pair in pairs.training if pair.name == "BH3+")
    torch.manual_seed(0)
    model = example.MODELS[name](pairs.irreps_breaking)
    batch = Batch.from_data_list([borane.data] * 3)
    batch.breaking = borane.objects
    y = model(batch).detach()
    turn = torch.from_numpy(-Rotation.random(random_state=1).as_matrix())
    other = copy.copy(batch)
    other.pos = batch.pos @ turn.T + torch.tensor([1.0, -2.0, 0.5])
    other.breaking = batch.breaking @ torch.from_numpy(irreps_matrices(pairs.irreps_breaking, turn[None].numpy())[0]).T
    torch.testing.assert_close(model(other).detach(), y @ turn.T, rtol=1e-6, atol=1e-7)
    answers = y.view(3, -1, 3)
    assert (answers[0] - answers[1]).norm() > 1e-5 * answers.norm()  # even before training


def test_example(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "MOLECULES", ("CH4+",))
    monkeypatch.setattr(example, "MODELS", {name: example.MODELS[name] for name in ("SchNet", "GATv2")})
    example.main(out=tmp_path, steps=25)
    rows = json.loads((tmp_path / "metrics.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["SchNet", "GATv2"]
    for row in rows:
        assert row["its bound"] > 0.2
        assert row["without object"] >= row["its bound"] - 1e-6
        assert row["with object"] < 0.01
        assert row["worst served"] < 0.01
        assert row["targets"] == 3
