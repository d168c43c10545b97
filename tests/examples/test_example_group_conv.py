"""The group convolutions of the example: glyphs and springs are what they say, and it runs."""

import json

import torch

EXAMPLE = "group_conv"


def test_forces_of_springs_are_the_gradient_and_cancel(example):
    torch.manual_seed(0)
    places, stiffness, truth = example.springs(3)
    places.requires_grad_()
    apart = places[:, None] - places[:, :, None]
    energy = (stiffness[:, :, None] * stiffness[:, None] * apart.square().sum(-1, keepdim=True)).sum() / 4
    assert (torch.autograd.grad(energy, places)[0] + truth).abs().max() < 1e-12
    assert truth.sum(1).abs().max() < 1e-12


def test_glyphs_are_turned_outlines(example):
    torch.manual_seed(0)
    clouds, labels = example.glyphs(50)
    assert clouds.shape == (50, example.POINTS, 2)
    assert set(labels.tolist()) == set(range(len(example.GLYPHS)))
    assert 0.3 < clouds.norm(dim=2).amax(1).min() < clouds.norm(dim=2).max() < 0.7


def test_it_runs(example, tmp_path):
    example.main(tmp_path, seeds=1, steps=2)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    square = metrics["relaxed"]["C4, square"][0]
    assert max(square["B"], square["E"]) < 1e-6
    assert metrics["relaxed"]["D4, rectangle"][0]["E"] < 1e-6
    assert metrics["splines"]["n centres"][0]["32"] < 0.1 * metrics["splines"]["n centres"][0]["4"]
    assert metrics["springs"]["T(2)"][0]["sum of forces"] < 1e-12 < metrics["springs"]["trivial"][0]["sum of forces"]
    assert metrics["glyphs"]["p4"][0]["quarter turn moves logits by"] < 1e-10
    assert (tmp_path / "group_conv.png").stat().st_size > 10_000
