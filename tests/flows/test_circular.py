"""Splines of the circle: bijective, smooth, with the slope and the inverse that they give."""

import math

import pytest
import torch

from pyg_symbreak.flows import circular_spline, spline_size, wrap


@pytest.fixture
def parameters():
    torch.manual_seed(0)
    return torch.randn(4, spline_size(7), dtype=torch.float64)


def test_zeros_are_the_identity():
    x = torch.linspace(-3, 3, 50, dtype=torch.float64)
    y, log_slope = circular_spline(x, x.new_zeros(50, spline_size(5)))
    torch.testing.assert_close(y, x)
    assert log_slope.abs().max() < 1e-12


def test_slope_and_inverse(parameters):
    x = ((2 * torch.rand(2000, 4, dtype=torch.float64) - 1) * math.pi).requires_grad_()
    y, log_slope = circular_spline(x, parameters.expand(2000, -1, -1))
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope.log(), log_slope)
    back, log_inverse = circular_spline(y.detach(), parameters.expand(2000, -1, -1), inverse=True)
    assert wrap(back - x).abs().max() < 1e-9
    torch.testing.assert_close(log_inverse, -log_slope, atol=1e-7, rtol=0)


def test_once_around_the_circle(parameters):
    x = torch.linspace(-math.pi, math.pi, 100_001, dtype=torch.float64)[:-1]
    for row in parameters:
        y, log_slope = circular_spline(x, row.expand(len(x), -1))
        steps = wrap(y.roll(-1) - y)
        assert steps.min() > 0
        assert steps.sum().item() == pytest.approx(2 * math.pi)
        assert (log_slope.roll(-1) - log_slope).abs().max() < 0.2  # continuous, across the seam as well
    a, _ = circular_spline(x + 2 * math.pi, row.expand(len(x), -1))
    assert wrap(a - y).abs().max() < 1e-9
