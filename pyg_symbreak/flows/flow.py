"""What a flow is, and how it is trained: on an action, without samples, or on samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Flow", "fit_action", "fit_samples"]


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

    Returns
    -------
    list of float
        The loss at each step.
    """

    def loss() -> Tensor:
        x, log_prob = flow.sample(batch, generator)
        return (log_prob + action(x)).mean()

    return _descend(flow, loss, steps, lr)


def fit_samples(
    flow: nn.Module,
    x: Tensor,
    steps: int,
    batch: int = 256,
    lr: float = 2e-3,
    generator: torch.Generator | None = None,
    penalty: Callable[[Tensor], Tensor] | None = None,
) -> list[float]:
    """Train a flow on samples: lower the mean of -log q(x), and a penalty.

    Adam, with a rate that falls to zero along a cosine.

    Parameters
    ----------
    flow : module with ``log_prob``
    x : Tensor [N, ...]
    steps : int
    batch : int
        Samples a step, drawn anew; all where there are no more.
    lr : float
    generator : torch.Generator, optional
    penalty : callable, optional
        Of the samples of a step, a number.

    Returns
    -------
    list of float
        The loss at each step.
    """

    def loss() -> Tensor:
        part = x if len(x) <= batch else x[torch.randint(len(x), (batch,), generator=generator)]
        out = -flow.log_prob(part).mean()  # type: ignore[operator]
        return out if penalty is None else out + penalty(part)

    return _descend(flow, loss, steps, lr)


def _descend(module: nn.Module, loss: Callable[[], Tensor], steps: int, lr: float) -> list[float]:
    optimizer = torch.optim.Adam(module.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    return losses
