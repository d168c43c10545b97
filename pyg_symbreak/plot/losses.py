"""Pictures of training: the loss beside the Curie bound, and predictions beside their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyg_symbreak.plot._canvas import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_losses", "plot_predictions"]

COLORS = ("0.45", "#30638e", "#d1495b", "#edae49", "#00798c", "#7b2d8b")


def plot_losses(
    curves: Mapping[str, Sequence[float] | Mapping[int, float]], bound: float | None = None, axes: Axes | None = None
) -> Axes:
    """Draw the loss against the step, and the bound that no equivariant network can come below without an object.

    Parameters
    ----------
    curves : mapping of str to sequence of float, or to mapping of int to float
        The loss of each run: at every step, or at the steps named.
    bound : float, optional
        As :func:`~pyg_symbreak.losses.curie_residual` gives it, in the unit of the losses.
    axes : matplotlib Axes, optional
        Default: those of a new figure, ``.figure`` of what is returned.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> axes = plot_losses({"without object": [2.0, 1.2, 1.0], "with object": [2.0, 0.3, 0.01]}, bound=1.0)
    """
    axes = canvas(axes)
    for number, (name, losses) in enumerate(curves.items()):
        points = losses if isinstance(losses, Mapping) else dict(enumerate(losses))
        axes.semilogy(list(points), list(points.values()), color=COLORS[number % len(COLORS)], label=name)
    if bound is not None:
        axes.axhline(bound, color="k", ls="--", lw=1, label="bound by Curie's principle")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend(frameon=False)
    return axes


def plot_predictions(predicted: Any, target: Any, axes: Axes | None = None, *, unit: str = "") -> Axes:
    """Draw predictions against their targets, component by component, with the root mean square error as a title.

    Parameters
    ----------
    predicted, target : array or Tensor
        Of one shape.
    axes : matplotlib Axes, optional
        Default: those of a new figure, ``.figure`` of what is returned.
    unit : str
        Of both, for the labels.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        The shapes differ, or there are no numbers.

    Examples
    --------
    >>> plot_predictions([1.0, 2.0], [1.0, 2.5], unit="Å").get_title()
    'r.m.s. error 0.354 Å'
    """
    y, wanted = (torch.as_tensor(v).detach().cpu().double().numpy() for v in (predicted, target))
    if y.shape != wanted.shape or y.size == 0:
        raise ValueError(f"predicted has shape {list(y.shape)}, target {list(wanted.shape)}: they must be the same")
    axes = canvas(axes, (4.5, 4.5))
    ends = np.array([min(y.min(), wanted.min()), max(y.max(), wanted.max())])
    axes.plot(ends, ends, color="0.6", lw=1, zorder=0)
    axes.scatter(wanted, y, s=14, color=COLORS[1], alpha=0.7, linewidths=0)
    of = f" ({unit})" if unit else ""
    axes.set(xlabel=f"target{of}", ylabel=f"predicted{of}", aspect="equal")
    axes.set_title(f"r.m.s. error {np.sqrt(((y - wanted) ** 2).mean()):.3g} {unit}".rstrip(), fontsize=10)
    return axes
