"""Axes to draw into, and how space is seen on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = ("#1a5cb3", "#e6730d", "#268c4d", "#99338c", "#d1495b", "#00798c", "#edae49", "#8d5a2b")


def canvas(axes: Axes | None, size: tuple[float, float] = (5.0, 4.0)) -> Axes:
    """The axes, or those of a new figure, which no window shows."""
    if axes is not None:
        return axes
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained").add_subplot()


def screen(direction: Sequence[float] | np.ndarray) -> np.ndarray:
    """Rows [3, 3]: to the right, up, and towards the eye, which is in this direction; z is up where it can be."""
    eye = np.asarray(direction, dtype=float)
    if eye.shape != (3,) or not np.linalg.norm(eye) > 0:
        raise ValueError(f"direction is a vector of three numbers that is not zero, got {direction!r}")
    eye = eye / np.linalg.norm(eye)
    across = np.cross((0.0, 0.0, 1.0) if abs(eye[2]) < 1 - 1e-9 else (0.0, 1.0, 0.0), eye)
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(eye, across), eye])
