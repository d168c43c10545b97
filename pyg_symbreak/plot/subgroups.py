"""Picture of what a point group can be broken to: the tree of its subgroups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyg_symbreak.groups import PointGroup
from pyg_symbreak.plot._canvas import PALETTE, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_subgroups"]


def plot_subgroups(group: PointGroup, axes: Axes | None = None, *, keep: PointGroup | None = None) -> Axes:
    """Draw the classes of conjugate subgroups of a finite point group, and which are maximal in which.

    Groups of one order are on one level, the larger the higher. Lines lead down to maximal subgroups, up to
    conjugation in the group. A number after × says how many conjugates there are.

    Parameters
    ----------
    group : PointGroup
        A finite one.
    axes : matplotlib Axes, optional
        Default: those of a new figure, ``.figure`` of what is returned.
    keep : PointGroup, optional
        A subgroup, whose class and all chains of groups down to it are drawn in colour.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        The group is continuous, or ``keep`` is not a subgroup of it.

    Examples
    --------
    >>> axes = plot_subgroups(PointGroup("C4v"))
    >>> [text.get_text() for text in axes.texts]
    ['C1', 'C2', 'Cs[100] ×2', 'Cs[110] ×2', 'C4', 'C2v[001]m[010]', 'C2v[001]m[110]', 'C4v']
    """
    if not group.is_finite:
        raise ValueError(f"{group.schoenflies} is continuous and has no end of subgroups: draw those of a finite group")
    classes = group.subgroups()
    below = _contained(group, classes)
    covers = below & ~(below.astype(int) @ below.astype(int) > 0)
    marked = np.zeros(len(classes), dtype=bool)
    if keep is not None:
        conjugates = group.finite_group.conjugates(group.indices_of(keep))
        at = next(i for i, k in enumerate(classes) if tuple(group.indices_of(k)) in conjugates)
        marked = below[at] | (np.arange(len(classes)) == at)

    levels = sorted({int(k.order) for k in classes})
    members = [[i for i, k in enumerate(classes) if k.order == order] for order in levels]
    widest = max(map(len, members))
    axes = canvas(axes, (1.5 + 1.05 * widest, 1.0 + 0.85 * len(levels)))
    places = {i: (at - (len(row) - 1) / 2, y) for y, row in enumerate(members) for at, i in enumerate(row)}
    for small, large in zip(*np.nonzero(covers), strict=True):
        chosen = bool(marked[small] and marked[large])
        ends = np.array([places[small], places[large]]).T
        axes.plot(*ends, color=PALETTE[4] if chosen else "0.75", lw=1.8 if chosen else 0.8, zorder=1 + chosen)
    for i, (x, y) in places.items():
        count = classes[i].conjugates
        label = classes[i].label + (f" ×{count}" if count > 1 else "")
        edge = PALETTE[4] if marked[i] else "0.6"
        box = {"boxstyle": "round,pad=0.25", "facecolor": "w", "edgecolor": edge}
        axes.text(x, y, label, ha="center", va="center", fontsize=8, bbox=box, zorder=3)
    axes.set(xlim=(-widest / 2 - 0.1, widest / 2 + 0.1), ylim=(-0.5, len(levels) - 0.5))
    axes.set_yticks(range(len(levels)), [str(order) for order in levels])
    axes.set(xticks=[], ylabel="order")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    return axes


def _contained(group: PointGroup, classes: list[PointGroup]) -> np.ndarray:
    """Whether a conjugate of class i is inside a group of class j and smaller, bool [i, j]."""
    conjugation = group.finite_group.conjugation
    members = [list(group.indices_of(k)) for k in classes]
    inside = np.zeros((len(classes), len(group.matrices)), dtype=bool)
    for row, elements in zip(inside, members, strict=True):
        row[elements] = True
    found = np.stack([np.any(inside[:, conjugation[:, elements]].all(axis=2), axis=1) for elements in members])
    return found & ~np.eye(len(classes), dtype=bool)
