import pytest
import torch

from pyg_symbreak.datasets import SaddleForces, Saddles, saddle_forces


def test_molecules_and_forces():
    dataset, known = SaddleForces(), {d.name: d for d in Saddles()}
    assert len({d.name for d in dataset}) == len(dataset) > 1000
    shared = [d for d in dataset if d.name in known and not d.displacement[: len(d.z)].any()]
    assert len(shared) > 600
    for data in dataset:
        count = len(data.z)
        moved, force = data.displacement.view(-1, count, 3), data.force.view(-1, count, 3)
        assert len(moved) > 0
        assert force.abs().max() < 30
        assert force.sum(1).abs().max() < 0.02  # rounded
        pos = data.pos + moved
        assert torch.linalg.cross(pos, force).sum(1).abs().max() < 0.2
    for data in shared[::40]:
        saddle = known[data.name]
        assert data.z.tolist() == saddle.z.tolist()
        assert (data.frame, data.formula, int(data.charge)) == (saddle.frame, saddle.formula, int(saddle.charge))
        distances = (torch.cdist(x, x) for x in (data.pos.double(), saddle.pos.double()))
        torch.testing.assert_close(*distances, rtol=0, atol=1e-3)
        first = data.force[: len(data.z)]
        assert first.abs().max() < 0.02  # relaxed within its symmetry


def test_a_changed_file(monkeypatch):
    monkeypatch.setattr(saddle_forces, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="was changed"):
        SaddleForces()
