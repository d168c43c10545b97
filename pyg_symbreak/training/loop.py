"""A training loop for small problems: Adam comes near the minimum, L-BFGS goes down to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

__all__ = ["fit"]


def fit(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    steps: int,
    lr: float = 1e-2,
    *,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    clip: float | None = None,
    polish: int = 0,
    tolerance: float = 1e-9,
    progress: str | None = None,
) -> list[float]:
    """Minimize a loss with Adam and then, if asked to, with L-BFGS.

    With L-BFGS the loss must be the same at each call. It comes down to round-off where a network can fit its data, as
    one with an object can, and to the Curie bound where it cannot.

    Parameters
    ----------
    model : Module
        What has the parameters.
    loss : callable
        From the number of the step to the loss, a scalar; L-BFGS asks for that of step ``steps``.
    steps : int
        Of Adam.
    lr : float
        Its learning rate.
    schedule : callable, optional
        From the optimizer to a schedule of learning rates, such as
        ``lambda optimizer: CosineAnnealingLR(optimizer, steps)``.
    clip : float, optional
        Norm that the gradient of a step of Adam is shortened to where it is longer.
    polish : int
        Most iterations of L-BFGS, with the strong Wolfe conditions.
    tolerance : float
        Largest component of the gradient at which L-BFGS ends.
    progress : str, optional
        Words before a progress bar on the standard error; without them there is none.

    Returns
    -------
    list of float
        The loss before each step of Adam, and with L-BFGS that at the end.

    Examples
    --------
    >>> line = nn.Linear(1, 1).double()
    >>> x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    >>> losses = fit(line, lambda step: (line(x) - 2 * x - 1).square().mean(), steps=50, polish=20)
    >>> len(losses), losses[-1] < 1e-12
    (51, True)
    """
    optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    scheduler = None if schedule is None else schedule(optimizer)
    losses: list[float] = []

    def closure(step: int, clip: float | None) -> Tensor:
        optimizer.zero_grad()
        value = loss(step)
        value.backward()  # type: ignore[no-untyped-call]
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        return value.detach()

    every = range(steps)
    for step in every if progress is None else track(every, progress, console=Console(stderr=True), transient=True):
        losses.append(float(optimizer.step(lambda step=step: closure(step, clip))))  # type: ignore[misc, arg-type]
        if scheduler is not None:
            scheduler.step()
    if polish:
        optimizer = torch.optim.LBFGS(
            model.parameters(),
            max_iter=polish,
            tolerance_grad=tolerance,
            tolerance_change=1e-14,
            line_search_fn="strong_wolfe",
        )
        optimizer.step(lambda: closure(steps, None))  # type: ignore[arg-type]
        losses.append(float(loss(steps).detach()))  # with gradients, of which some models make their answers
    return losses
