"""Hybrid Monte Carlo, the peer that flows are measured against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["hybrid_monte_carlo"]


def hybrid_monte_carlo(
    action: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    step_size: float,
    leapfrog_steps: int = 10,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, float]:
    """Chains that follow Hamilton's equations of S(x) + p²/2 from random momenta, and accept or reject the end.

    Parameters
    ----------
    action : callable
        S of x [chains, ...], [chains].
    start : Tensor [chains, ...]
    steps : int
        Trajectories.
    step_size : float
    leapfrog_steps : int
        Steps of a trajectory.
    generator : torch.Generator, optional

    Returns
    -------
    Tensor [steps, chains, ...], float
        The states after each trajectory, and how many trajectories were accepted.

    Examples
    --------
    >>> start, generator = torch.zeros(50, 1), torch.Generator().manual_seed(0)
    >>> states, rate = hybrid_monte_carlo(lambda x: x[:, 0] ** 2 / 2, start, 200, 0.15, generator=generator)
    >>> states.shape, abs(states.var().item() - 1) < 0.1, rate > 0.9
    (torch.Size([200, 50, 1]), True, True)
    """

    def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = action(x)
            (slope,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), slope

    x = start.detach()
    value, slope = gradient(x)
    states, accepted = [], 0.0
    for _ in range(steps):
        p = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        before = value + (p * p).flatten(1).sum(1) / 2
        y, force = x, slope
        for _ in range(leapfrog_steps):
            p = p - step_size / 2 * force
            y = y + step_size * p
            new, force = gradient(y)
            p = p - step_size / 2 * force
        after = new + (p * p).flatten(1).sum(1) / 2
        take = torch.rand(len(x), generator=generator, dtype=x.dtype).log() < before - after
        accepted += take.double().mean().item() / steps
        wide = take.view(-1, *[1] * (x.dim() - 1))
        x, slope = torch.where(wide, y, x), torch.where(wide, force, slope)
        value = torch.where(take, new, value)
        states.append(x)
    return torch.stack(states), accepted
