"""Picture of a relaxation: energies as a tree of symmetries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyg_symbreak.distort import Relaxation
from pyg_symbreak.plot._canvas import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_relaxation"]

_COLORS = {"minimum": "#2a9d8f", "saddle": "#d1495b", "flat": "#edae49", "not looked at": "#8d8d8d"}


def plot_relaxation(result: Relaxation, axes: Axes | None = None) -> Axes:
    """Draw what a relaxation found: each structure at its energy, in the column of its generation.

    Lines lead from each structure to those that were found from it, thin ones to those that were known. Beside the
    name of a structure stands the irrep of the distortion that led to it first.

    Parameters
    ----------
    result : Relaxation
    axes : matplotlib Axes, optional
        Default: those of a new figure, ``.figure`` of what is returned.

    Returns
    -------
    matplotlib.axes.Axes
    """
    columns, first = _columns(result)
    energies = np.array([s.energy for s in result.found]) - result.found[0].energy
    span = max(float(np.ptp(energies)), 1e-3)
    axes = canvas(axes, (2.5 + 2.6 * max(columns), 5.5))
    for descent in result.descents:
        if descent.parent is not None and descent.found is not None and descent.found != descent.parent:
            a, b = descent.parent, descent.found
            new = first.get(b) is descent
            ends = (columns[a] + 0.3, columns[b] - 0.3) if columns[b] > columns[a] else (columns[a], columns[b])
            axes.plot(ends, energies[[a, b]], color="#555555", lw=1.2 if new else 0.4, zorder=1)
    for number, s in enumerate(result.found):
        x, y = columns[number], energies[number]
        axes.plot((x - 0.3, x + 0.3), (y, y), color=_COLORS[s.kind], lw=3, solid_capstyle="round", zorder=2)
    for column in set(columns):
        members = sorted((k for k in range(len(columns)) if columns[k] == column), key=lambda k: energies[k])
        height = -np.inf
        for k in members:  # names are kept apart
            height = max(height + 0.035 * span, energies[k] + 0.01 * span)
            by = f", by {first[k].distortion.irrep}" if k in first else ""
            axes.annotate(f"{k}  {result.found[k].symbol}{by}", (column, height), ha="center", va="bottom", fontsize=9)
    for kind in dict.fromkeys(s.kind for s in result.found):
        axes.plot([], [], color=_COLORS[kind], lw=3, label=kind)
    axes.set(xticks=sorted(set(columns)), xlabel="generation", ylabel="energy (eV)")
    axes.set(xlim=(-0.5, max(columns) + 0.5), ylim=(energies.min() - 0.05 * span, energies.max() + 0.12 * span))
    title = f"{result.calls} force calls" + ("" if result.unfinished is None else ", stopped there")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best", fontsize=9)
    return axes


def _columns(result: Relaxation) -> tuple[list[int], dict]:
    """Generation of each structure, and the descent that found it first."""
    columns, first = [0], {}
    for descent in result.descents:
        if descent.found == len(columns):
            assert descent.parent is not None
            columns.append(columns[descent.parent] + 1)
            first[descent.found] = descent
    return columns, first
