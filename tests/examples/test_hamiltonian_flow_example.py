"""Hamiltonian flows of few samples: the laws that are learned, and the example at a small size."""

import json
import math

import pytest
import torch

EXAMPLE = "hamiltonian_flow"


def test_entropy_of_the_ring(example):
    x = example.ring(200_000, torch.Generator().manual_seed(0))
    r = x.norm(dim=(1, 2))
    log_p = -(((r - 2) / 0.1) ** 2) / 2 - math.log(0.1 * math.sqrt(2 * math.pi)) - (2 * math.pi * r).log()
    assert example.ring_entropy() == pytest.approx(-log_p.mean().item(), abs=0.01)


@pytest.mark.parametrize("system", ["3 particles in 2D", "3 particles in 3D"])
def test_particles_have_the_virial_that_they_should(example, system):
    x = example.samples(system, 2000, torch.Generator().manual_seed(0)).requires_grad_()
    assert x.shape == (2000, *example.SYSTEMS[system])
    (force,) = torch.autograd.grad(example.trap(x).sum(), x)
    virial = (x * force).sum((1, 2)).detach()
    assert abs(virial.mean() - x[0].numel()) < 4.5 * virial.std() / math.sqrt(2000)


def test_example(example, tmp_path):
    example.main(out=tmp_path, seeds=1, steps=1, training=3, test=50)
    runs = json.loads((tmp_path / "metrics.json").read_text())["runs"]
    assert [list(ways) for ways in runs.values()] == [["none", "penalty", "exact"], *[["none", "exact"]] * 2]
    for ways in runs.values():
        assert ways["exact"][0]["bracket"] < 1e-10 < ways["none"][0]["bracket"]
    assert (tmp_path / "hamiltonian_flow.png").stat().st_size > 10_000
