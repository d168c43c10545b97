"""Monotone maps of the circle with a known inverse: rational-quadratic splines."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .cell_complex import wrap

__all__ = ["circular_spline", "spline_size"]

_LEAST = 1e-3  # width and height of a bin, as parts of the circle, and slope at a knot


def spline_size(bins: int) -> int:
    """How many parameters a spline of so many bins has."""
    return 3 * bins + 1


def circular_spline(x: Tensor, parameters: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
    r"""A map of the circle onto itself, once around and with a positive continuous slope.

    Between knots it is rational-quadratic, which is inverted by solving a quadratic equation; then comes a turn
    (C. Durkan et al., NeurIPS 2019, arXiv 1906.04032; D. J. Rezende et al., ICML 2020, arXiv 2002.02428).

    Parameters
    ----------
    x : Tensor [...]
        Angles, taken modulo 2π.
    parameters : Tensor [..., 3 k + 1]
        Of k bins, unconstrained: widths and heights (softmax), slopes at the knots (softplus), the turn. Zeros give
        the identity.
    inverse : bool
        Whether to apply the inverse map.

    Returns
    -------
    Tensor [...], Tensor [...]
        The image in [-π, π), and the logarithm of the slope there.

    Examples
    --------
    >>> x, parameters = torch.linspace(-3, 3, 5).double(), torch.randn(5, 25).double()
    >>> y, log_slope = circular_spline(x, parameters)
    >>> back, log_inverse = circular_spline(y, parameters, inverse=True)
    >>> torch.allclose(back, x), torch.allclose(log_slope, -log_inverse)
    (True, True)
    """
    bins = (parameters.shape[-1] - 1) // 3
    widths, heights, slopes, turn = parameters.split([bins, bins, bins, 1], dim=-1)
    turn = turn[..., 0]
    left, widths = _knots(widths)
    low, heights = _knots(heights)
    slope = F.softplus(slopes + math.log(math.expm1(1 - _LEAST))) + _LEAST
    at = wrap(x - turn) if inverse else wrap(x)
    edges = low if inverse else left
    bin_ = (torch.searchsorted(edges.detach().contiguous(), at.detach()[..., None].contiguous(), right=True) - 1).clamp(
        0, bins - 1
    )
    x0, w, y0, h, d0, d1 = (
        values.gather(-1, bin_)[..., 0] for values in (left, widths, low, heights, slope, slope.roll(-1, -1))
    )
    s = h / w
    bend = d1 + d0 - 2 * s
    if inverse:
        rise = at - y0
        a = h * (s - d0) + rise * bend
        b = h * d0 - rise * bend
        c = -s * rise
        root = (b * b - 4 * a * c).clamp(min=0).sqrt()
        t = (2 * c / (-b - root)).clamp(0, 1)
        out = x0 + t * w
    else:
        t = (at - x0) / w
        out = wrap(y0 + h * (s * t * t + d0 * t * (1 - t)) / (s + bend * t * (1 - t)) + turn)
    u = t * (1 - t)
    log_slope = 2 * s.log() + (d1 * t * t + 2 * s * u + d0 * (1 - t) ** 2).log() - 2 * (s + bend * u).log()
    return out, -log_slope if inverse else log_slope


def _knots(free: Tensor) -> tuple[Tensor, Tensor]:
    """Where the bins begin, in [-π, π), and how long they are."""
    bins = free.shape[-1]
    length = 2 * math.pi * (_LEAST + (1 - _LEAST * bins) * free.softmax(-1))
    return length.cumsum(-1) - length - math.pi, length
