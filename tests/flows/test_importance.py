"""Weights, chains and errors against laws that are known."""

import math

import pytest
import torch

from pyg_symbreak.flows import (
    autocorrelation,
    effective_sample_size,
    hybrid_monte_carlo,
    log_partition,
    metropolis,
    reweight,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_weights_of_a_shifted_normal_law(generator):
    shift = 0.7
    x = torch.randn(40_000, generator=generator, dtype=torch.float64)
    log_weights = shift * x + 3  # e^{-S} is e^3 e^{shift²/2} times the density around the shift
    assert effective_sample_size(log_weights) == pytest.approx(math.exp(-(shift**2)), abs=0.02)
    log_z = log_partition(log_weights)
    assert abs(log_z.value - 3 - shift**2 / 2) < 4 * log_z.error < 0.02
    mean = reweight(x, log_weights)
    assert abs(mean.value - shift) < 4 * mean.error < 0.05
    assert effective_sample_size(torch.zeros(10)) == 1


def test_errors_are_the_spread(generator):
    x = torch.randn(400, 500, generator=generator, dtype=torch.float64)
    found = [reweight(row, 0.5 * row) for row in x]
    values = torch.tensor([f.value for f in found])
    assert torch.tensor([f.error for f in found]).mean() == pytest.approx(values.std().item(), rel=0.15)


def test_the_chain_samples_the_target(generator):
    x = torch.randn(60_000, generator=generator, dtype=torch.float64)
    chain, rate = metropolis(0.7 * x, generator)
    assert abs(x[chain].mean() - 0.7) < 0.03
    assert abs(x[chain].var() - 1) < 0.05
    moved = (chain[1:] != chain[:-1]).double().mean().item()
    assert rate == pytest.approx(moved)
    assert metropolis(torch.zeros(1000), generator)[1] == 1


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("chains", [1, 5])
def test_autocorrelation_of_an_autoregressive_chain(rho, chains, generator):
    noise = torch.randn(40_000 // chains, chains, generator=generator, dtype=torch.float64)
    x = [noise[0]]
    for e in noise[1:]:
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * e)
    tau = autocorrelation(torch.stack(x))
    assert abs(tau.value - 0.5 * (1 + rho) / (1 - rho)) < 4 * tau.error
    assert tau.error < 0.15 * tau.value
    assert autocorrelation(torch.ones(50)).value == math.inf


def test_autocorrelation_of_a_short_series_by_hand(generator):
    """Each ρ(t) is a mean over the N - t pairs that there are, which few steps show."""
    noise = torch.randn(13, generator=generator, dtype=torch.float64)
    x = noise[1:] + 0.8 * noise[:-1]
    centered = (x - x.mean()).tolist()
    covariance = [sum(a * b for a, b in zip(centered, centered[t:], strict=False)) / (12 - t) for t in range(12)]
    tau, window = 0.5, 0
    while window < 5 * tau:
        window += 1
        tau += covariance[window] / covariance[0]
    found = autocorrelation(x)
    assert window == 2
    assert found.value == pytest.approx(tau)
    assert found.error == pytest.approx(tau * math.sqrt((4 * window + 2) / 12))


def test_hybrid_monte_carlo(generator):
    def action(x):
        return (x**4 / 4 - x**2).sum(1)

    states, rate = hybrid_monte_carlo(action, torch.zeros(400, 1, dtype=torch.float64), 300, 0.3, generator=generator)
    x = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
    p = (-action(x)).exp()
    square = (p * x[:, 0] ** 2).sum() / p.sum()
    assert (states[50:] ** 2).mean().item() == pytest.approx(square.item(), rel=0.02)
    assert 0.8 < rate < 1
    wild, rate = hybrid_monte_carlo(action, torch.zeros(400, 1, dtype=torch.float64), 300, 0.9, 3, generator=generator)
    assert (wild[50:] ** 2).mean().item() == pytest.approx(square.item(), rel=0.03)  # exact for any step
    assert rate < 0.95
