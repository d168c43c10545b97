"""Picture of the objects of a symmetry breaking set: arrows, lobes and signs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from e3nn import o3

from pyg_symbreak.breaking import BreakingSet
from pyg_symbreak.plot._canvas import PALETTE, canvas, screen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_objects"]

DIRECTION = (0.92, 0.21, 0.34)
BLUE, ORANGE = PALETTE[:2]
GREY = "#c8c8c8"
MANY = 240
"""Objects of one set that are still told apart in a picture."""


def plot_objects(found: BreakingSet, axes: Axes | None = None, *, direction: Sequence[float] = DIRECTION) -> Axes:
    """Draw the objects of a set on the unit sphere, in the frame of its group.

    Polar vectors (1o) are arrows, axial ones (1e) arrows with a ring, pseudoscalars (0o) alone signs. Higher irreps
    are lobes where their function on the sphere is largest, white where it is negative. Blue arrows are images of the
    first object under rotations of the group, orange ones under its improper elements; lobes have a colour for each
    object. A continuous set is drawn as its circles, with some of the objects on them; there orange means the other
    sign of a pseudoscalar. Of SO(3) and O(3) three objects are shown.

    Parameters
    ----------
    found : BreakingSet
        With 240 objects at most, or continuous.
    axes : matplotlib Axes, optional
        Default: those of a new figure, ``.figure`` of what is returned.
    direction : sequence of float
        From where it is seen, [3]; z is up.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        There are too many objects.

    Examples
    --------
    >>> from pyg_symbreak.breaking import breaking_set
    >>> from pyg_symbreak.groups import PointGroup
    >>> plot_objects(breaking_set(PointGroup("Oh"), keep="C4v")).figure.savefig("objects.png")  # doctest: +SKIP
    """
    if MANY < found.size < math.inf:
        raise ValueError(f"the set has {found.size} objects, more than a picture can show: {MANY} at most")
    axes = canvas(axes, (4.0, 4.0))
    axes.set(xlim=(-1.22, 1.22), ylim=(-1.22, 1.22), aspect="equal")
    axes.axis("off")
    if found.irreps.lmax == 0:
        _draw_signs(axes, found.all()[:, -1].tolist())
        return axes
    view = screen(direction)
    _draw_globe(axes, view)
    if found.size == math.inf:
        _draw_continuous(axes, view, found)
        return axes
    signs = np.linalg.det(found.motions)
    lobes = found.irreps.lmax >= 2
    for number, (b, sign) in enumerate(zip(found.all().numpy(), signs, strict=True)):
        color = PALETTE[number % 4] if lobes else BLUE if sign > 0 else ORANGE
        _draw_object(axes, view, found, b, color, len(signs))
    return axes


def _draw_globe(axes: Axes, view: np.ndarray) -> None:
    t = np.linspace(0, 2 * np.pi, 181)
    axes.plot(np.cos(t), np.sin(t), color=GREY, lw=0.8, zorder=-9)
    ring = view @ np.stack([np.cos(t), np.sin(t), 0 * t])
    axes.plot(*np.where(ring[2] >= 0, ring[:2], np.nan), color=GREY, lw=0.8, zorder=-9)
    axes.plot(*np.where(ring[2] < 0, ring[:2], np.nan), color=GREY, lw=0.8, ls=(0, (2, 2)), zorder=-9)
    for x, y in view[:2].T:
        axes.plot([0, x], [0, y], color=GREY, lw=0.8, zorder=-9)


def _draw_signs(axes: Axes, values: list[float]) -> None:
    """Scalars: one invariant, or the two signs of a pseudoscalar."""
    from matplotlib.patches import Circle

    for i, value in enumerate(values):
        x = 1.1 * (i - (len(values) - 1) / 2)
        axes.add_artist(Circle((x, 0), 0.42, facecolor=BLUE if value > 0 else ORANGE, edgecolor="none"))
        sign = "1" if len(values) == 1 else "+" if value > 0 else "−"
        axes.text(x, -0.03, sign, color="w", fontsize=26, ha="center", va="center")


def _draw_continuous(axes: Axes, view: np.ndarray, found: BreakingSet) -> None:
    many = found.sample(3000, torch.Generator().manual_seed(0)).numpy()
    vectors = _pieces(found, many)
    if found.group.dimension == 3:  # pairs of vectors: those that are seen best, far from each other
        flat = np.stack([v @ view[:2].T for _, v in vectors])
        chosen = [int(np.argmax(np.linalg.norm(flat, axis=2).min(0)))]
        for _ in range(2):
            apart = np.linalg.norm(flat[:, :, None] - flat[:, chosen][:, None], axis=3).min((0, 2))
            chosen.append(int(np.argmax(apart)))
        for i, strength in zip(chosen[::-1], (0.25, 0.25, 1.0), strict=True):
            _draw_object(axes, view, found, many[i], BLUE, 1, strength)
        return
    main = next(v for (l, _), v in vectors if l == 1) @ found.group.frame
    pseudo = [v[:, 0] for (l, _), v in vectors if l == 0]
    for height in sorted(set(main[:, 2].round(6))):
        t = np.linspace(0, 2 * np.pi, 181)
        radius = math.sqrt(max(1 - height**2, 0))
        ring = view @ found.group.frame @ np.stack([radius * np.cos(t), radius * np.sin(t), height + 0 * t])
        axes.plot(*ring[:2], color=BLUE, lw=1.6, alpha=0.6)
        on = np.flatnonzero(np.abs(main[:, 2] - height) < 1e-5)
        angles = np.arctan2(main[on, 1], main[on, 0])
        arrows = 3 if (1, 1) in [kind for kind, _ in vectors] else 6
        for k in range(arrows):
            wanted = 2 * np.pi * (k + 0.25 + (height > 1e-6) / 2) / arrows
            near = on[np.abs((angles - wanted + np.pi) % (2 * np.pi) - np.pi) < 0.03]
            for sign in (1, -1) if pseudo else (0,):
                some = [i for i in near if not sign or pseudo[0][i] * sign > 0]
                if some and (not sign or k % 2 == (sign > 0)):
                    _draw_object(axes, view, found, many[some[0]], ORANGE if sign < 0 else BLUE, 6)


def _pieces(found: BreakingSet, objects: np.ndarray) -> list[tuple[tuple[int, int], np.ndarray]]:
    """The parts of objects [n, dim], one for each irrep: its degree and parity, and values [n, 2l+1]."""
    out, at = [], 0
    for mul, ir in found.irreps:
        for _ in range(mul):
            out.append(((ir.l, ir.p), objects[:, at : at + ir.dim]))
            at += ir.dim
    return out


def _draw_object(
    axes: Axes, view: np.ndarray, found: BreakingSet, b: np.ndarray, color: str, count: int, strength: float = 1.0
) -> None:
    pieces = [piece for piece in _pieces(found, b[None]) if np.abs(piece[1]).max() > 1e-9]
    for number, ((l, p), v) in enumerate(pieces):
        shade = color if number == 0 or count > 1 else ORANGE
        if l == 1:
            _arrow(axes, view, v[0], shade, count, strength, axial=p == 1)
        elif l > 1:
            _lobes(axes, view, l, v[0], shade)


def _faded(color: str, depth: float, strength: float = 1.0) -> np.ndarray:
    """Lighter the farther behind; depth from -1 to 1."""
    from matplotlib.colors import to_rgb

    share = strength * (0.72 + 0.28 * depth)
    return share * np.array(to_rgb(color)) + (1 - share) * np.ones(3)


def _arrow(axes: Axes, view: np.ndarray, v: np.ndarray, color: str, count: int, strength: float, axial: bool) -> None:
    x, y, depth = view @ v
    shade = _faded(color, depth, strength)
    if count > 48:
        axes.plot([0.55 * x, x], [0.55 * y, y], color=shade, lw=0.8, zorder=depth)
        axes.plot(x, y, "o", ms=3.2, color=shade, mec="none", zorder=depth)
        return
    style = {"arrowstyle": "-|>", "color": shade, "shrinkA": 0, "shrinkB": 0}
    style |= {"lw": 2.2 if count <= 12 else 1.5 if count <= 24 else 0.9}
    style |= {"mutation_scale": 9 if count <= 12 else 7 if count <= 24 else 5}
    axes.annotate("", (x, y), (0, 0), arrowprops=style, zorder=depth)
    if axial:
        t = np.linspace(0, 2 * np.pi, 61)
        across = np.linalg.svd(v[None])[2][1:]
        ring = view @ (0.62 * v[:, None] + 0.16 * (across.T @ np.stack([np.cos(t), np.sin(t)])))
        axes.plot(*ring[:2], color=shade, lw=1.2, zorder=depth)


def _lobes(axes: Axes, view: np.ndarray, l: int, v: np.ndarray, color: str) -> None:
    """Lobes along the directions in which the function Σ v_m Y_lm on the sphere is largest, with its sign."""
    from matplotlib.patches import Ellipse

    for end, sign in _summits(l, v):
        x, y, depth = view @ end
        shade = _faded(color, depth)
        fill = {"facecolor": shade, "edgecolor": "w"} if sign > 0 else {"facecolor": "w", "edgecolor": shade}
        angle = math.degrees(math.atan2(y, x))
        axes.add_artist(Ellipse((x / 2, y / 2), math.hypot(x, y), 0.54 / l, angle=angle, lw=0.9, zorder=depth, **fill))


def _summits(l: int, v: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Unit vectors at which |Σ v_m Y_lm| is largest, within a degree or two, and the sign there."""
    k = np.arange(4000) + 0.5
    z, angle = 1 - k / 2000, np.pi * (1 + 5**0.5) * k
    points = np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], axis=1)
    values = (o3.spherical_harmonics(l, torch.from_numpy(points), normalize=False).numpy() @ v).ravel()
    found: list[int] = []
    for i in np.argsort(-np.abs(values)):
        if abs(values[i]) < 0.97 * abs(values).max():
            break
        if all(points[i] @ points[j] < math.cos(0.8 / l) for j in found):
            found.append(int(i))
    return [(points[i], 1 if values[i] > 0 else -1) for i in found]
