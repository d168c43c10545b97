"""The evidence of a few points and molecules: rows, verdicts, table and figure."""

import json

EXAMPLE = "discover_law"


def test_example(example, tmp_path, monkeypatch):
    questions = {name: example.QUESTIONS[name] for name in ("mirrored H2O2", "turned points")}
    monkeypatch.setattr(example, "QUESTIONS", questions)
    example.main(out=tmp_path, part=0.1)
    rows = json.loads((tmp_path / "metrics.json").read_text())["0"]
    assert len(rows) == 6
    assert all(row["learned"] >= max(row["full"], 0) for row in rows.values())
    assert rows["mirrored H2O2: broken"]["full"] < rows["mirrored H2O2: invariant"]["full"]
    assert len((tmp_path / "table.md").read_text().splitlines()) == 8
    assert (tmp_path / "discover_law.png").stat().st_size > 10_000


def test_the_mirror_turns_the_dihedral(example):
    import torch

    question = example.peroxide(5, torch.Generator().manual_seed(0))
    x = question.x.double()
    mirrored = x * torch.tensor([1.0, 1.0, -1.0])
    bond = x[:, 0] - x[:, 1]
    volume = torch.linalg.det(torch.stack([bond, x[:, 2] - x[:, 0], x[:, 3] - x[:, 1]], dim=1))
    image = torch.linalg.det(torch.stack([bond, mirrored[:, 2] - x[:, 0], mirrored[:, 3] - x[:, 1]], dim=1))
    torch.testing.assert_close(image, -volume)
    assert volume.abs().min() > 1e-3
