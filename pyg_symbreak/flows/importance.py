"""Exact averages from a flow that is only nearly right: weights, a Markov chain, and the errors of both."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Estimate", "autocorrelation", "effective_sample_size", "log_partition", "metropolis", "reweight"]


class Estimate(NamedTuple):
    """A value with its standard error."""

    value: float
    error: float


def effective_sample_size(log_weights: Tensor) -> float:
    r""":math:`(\sum w)^2 / (N \sum w^2)` of weights :math:`w = e^{-S}/q` [N]: the part of the samples that counts.

    Weights that are rare and large are missed by small samples, so that a few hundred flatter: take 10,000 or more.
    """
    w = (log_weights - log_weights.max()).double().exp()
    return float(w.sum() ** 2 / (w**2).sum() / len(w))


def log_partition(log_weights: Tensor) -> Estimate:
    r""":math:`\log Z = \log \langle w \rangle`, with the error to first order, :math:`\sigma_w / (\bar w \sqrt N)`."""
    top = log_weights.max()
    w = (log_weights - top).double().exp()
    return Estimate(float(w.mean().log() + top), float(w.std() / w.mean() / math.sqrt(len(w))))


def reweight(observable: Tensor, log_weights: Tensor) -> Estimate:
    r"""The average :math:`\sum w O / \sum w` of an observable [N] under the target, with its error (delta method).

    Examples
    --------
    >>> x = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    >>> mean, error = reweight(x, 0.5 * x)  # exp(x/2) moves a normal law by 1/2
    >>> abs(mean - 0.5) < 3 * error < 0.02
    True
    """
    w = (log_weights - log_weights.max()).double().exp()
    w = w / w.sum()
    o = observable.double()
    mean = (w * o).sum()
    return Estimate(float(mean), float((w**2 * (o - mean) ** 2).sum().sqrt()))


def metropolis(log_weights: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, float]:
    """The chain that proposes independent samples, one after the other (independence Metropolis).

    Parameters
    ----------
    log_weights : Tensor [N]
        log of target over proposal, up to a constant, of samples that were drawn independently.
    generator : torch.Generator, optional

    Returns
    -------
    long Tensor [N], float
        Which sample the chain is at after each step, and how many proposals were accepted.
    """
    logs = log_weights.double().tolist()
    barriers = torch.rand(len(logs), generator=generator, dtype=torch.float64, device="cpu").log().tolist()
    chain, at, accepted = [], 0, 0
    for i, (new, barrier) in enumerate(zip(logs, barriers, strict=True)):
        if i and barrier < new - logs[at]:
            at = i
            accepted += 1
        chain.append(at)
    return torch.tensor(chain), accepted / max(len(logs) - 1, 1)


def autocorrelation(series: Tensor) -> Estimate:
    r"""Integrated autocorrelation time :math:`1/2 + \sum_t \rho(t)` of chains [steps] or [steps, chains].

    The sum ends at the first window W ≥ 5 τ; the error is :math:`\tau \sqrt{(4 W + 2) / N}` (N. Madras and A. D. Sokal,
    J. Stat. Phys. 50, 109 (1988)). Independent samples have τ = 1/2. A chain that never moves has τ = ∞.

    Examples
    --------
    >>> noise = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    >>> tau, error = autocorrelation(noise)
    >>> abs(tau - 0.5) < 3 * error
    True
    """
    x = series.double().reshape(len(series), -1).cpu().numpy()
    x = x - x.mean()
    length = 2 ** math.ceil(math.log2(2 * len(x)))
    spectrum = np.abs(np.fft.rfft(x, length, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, axis=0)[: len(x)].sum(1) / np.arange(len(x), 0, -1)
    if covariance[0] <= 0:
        return Estimate(math.inf, math.inf)
    sums = np.cumsum(covariance / covariance[0]) - 0.5
    done = np.flatnonzero(np.arange(len(x)) >= 5 * sums)
    window = int(done[0]) if len(done) else len(x) - 1
    tau = float(sums[window])
    return Estimate(tau, abs(tau) * math.sqrt((4 * window + 2) / x.size))
