"""Transformations learned at a tiny size: exact properties of the data, and that table and figure are written."""

import json
import math

import torch

EXAMPLE = "learn_transformations"


def test_example(example, tmp_path):
    example.main(out=tmp_path, pairs=60, steps=20)
    rows = json.loads((tmp_path / "metrics.json").read_text())["0"]
    assert len(rows) == 5
    assert rows["latent, clouds"]["composition"] < 1e-12 < rows["latent, clouds"]["of any T(w)"]
    assert len((tmp_path / "table.md").read_text().splitlines()) == 7
    assert (tmp_path / "learn_transformations.png").stat().st_size > 5_000


def test_true_generators_carry_the_signals(example):
    for make in (example.shifts, example.rotations):
        x, images, sizes, truth = make(20, torch.Generator().manual_seed(0))
        flow = torch.linalg.matrix_exp(sizes[:, None, None] * truth)
        torch.testing.assert_close(torch.einsum("pij,pj->pi", flow, x), images, rtol=0, atol=1e-9)


def test_distance_to_orbits(example):
    template = torch.randn(8, generator=torch.Generator().manual_seed(0))
    orbit = torch.stack([template.roll(i) for i in (3, 0, 7, 1, 2, 6, 4, 5)])
    assert example.orbit_distance(orbit) < 1e-14
    assert example.orbit_distance(torch.randn(8, 8, generator=torch.Generator().manual_seed(1))) > 0.3


def test_far_views_are_far(example):
    x, near, far = example.rows_of_views(example.clouds, 50, torch.Generator().manual_seed(0))

    def angles(other):
        cross = (x[..., 0] * other[..., 1] - x[..., 1] * other[..., 0]).sum(1)
        return torch.atan2(cross, (x * other).sum((1, 2)))

    assert angles(far).abs().min() >= math.pi / 2 - 1e-9
    assert angles(near).abs().max() <= math.pi / 4 + 1e-9
    torch.testing.assert_close((4 * angles(near)).cos(), angles(far).cos())
    x, near = example.pairs_of_views(example.waves, 50, torch.Generator().manual_seed(0))
    assert torch.linalg.matrix_rank(torch.cat([x, near]).flatten(1)) == 4
