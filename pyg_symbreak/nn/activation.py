"""Factors that give an activation a second moment of 1 on standard normal input."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["SIGMOID_SCALE", "SILU_SCALE", "TANH_SCALE"]


def _unit_moment_scale(act: Callable[[Tensor], Tensor]) -> float:
    """Return c with E[(c·act(z))²] = 1 for standard normal z, by quadrature on [-12, 12]."""
    z = torch.linspace(-12.0, 12.0, 4001, dtype=torch.float64)
    density = torch.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    return torch.trapezoid(act(z) ** 2 * density, z).item() ** -0.5


SILU_SCALE = _unit_moment_scale(torch.nn.functional.silu)
SIGMOID_SCALE = _unit_moment_scale(torch.sigmoid)
TANH_SCALE = _unit_moment_scale(torch.tanh)
