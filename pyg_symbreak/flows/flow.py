"""What a flow is, and how it is trained on an action, without samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

__all__ = ["Flow", "fit_action"]


class Flow(nn.Module):
    """A density that can be sampled and evaluated."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Samples x [n, ...] and their log-densities [n]."""
        raise NotImplementedError

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-densities [n] of some x [n, ...]."""
        raise NotImplementedError


def fit_action(
    flow: Flow,
    action: Callable[[Tensor], Tensor],
    steps: int,
    batch: int = 256,
    lr: float = 2e-3,
    generator: torch.Generator | None = None,
    parameters: Iterable[nn.Parameter] | None = None,
) -> list[float]:
    r"""Train a flow on its own samples: lower :math:`E_q[\log q(x) + S(x)] = KL(q \| e^{-S}/Z) - \log Z`.

    Adam, with a rate that falls to zero along a cosine.

    Parameters
    ----------
    flow : Flow
    action : callable
        S of x [n, ...], [n].
    steps, batch : int
    lr : float
    generator : torch.Generator, optional
    parameters : optional
        What is trained; default: all of the flow.

    Returns
    -------
    list of float
        The loss at each step.
    """
    optimizer = torch.optim.Adam(flow.parameters() if parameters is None else parameters, lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for _ in range(steps):
        x, log_prob = flow.sample(batch, generator)
        loss = (log_prob + action(x)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses
