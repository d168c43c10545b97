"""Names that people read: of elements, of directions, and labels that tell classes of subgroups apart."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np

from .standard import axis_and_angle

__all__ = ["direction", "element_names", "subgroup_labels"]


def direction(v: np.ndarray) -> str:
    """A direction as ``[hkl]`` with small whole numbers where there are some, else with two decimals."""
    v = v / np.abs(v).max()
    first = next(x for x in v if abs(x) > 1e-4)
    v = v * np.sign(first)
    for scale in range(1, 5):
        if np.abs(v * scale - np.round(v * scale)).max() < 1e-4:
            return "[" + "".join(str(int(x)) for x in np.round(v * scale)) + "]"
    v = v / np.linalg.norm(v)
    return "[" + ",".join(f"{x + 0.0:.2f}".rstrip("0").rstrip(".") for x in v) + "]"


def _turn(angle: float, family: str) -> str:
    """The name of a rotation by an angle in (-π, π], such as C3, C3^-1 or C5^2."""
    share = Fraction(angle / (2 * np.pi)).limit_denominator(400_000)
    return f"{family}{share.denominator}" + ("" if share.numerator == 1 else f"^{share.numerator}")


def element_names(elements: np.ndarray) -> list[str]:
    """The name of each element [n, 3, 3] of a finite group, such as ``"C3 about [111]"``."""
    det = np.sign(np.linalg.det(elements))
    axes, angles = axis_and_angle(elements * det[:, None, None])
    names = []
    for d, u, angle in zip(det, axes, angles, strict=True):
        if angle < 1e-6:
            names.append("identity" if d > 0 else "inversion")
            continue
        first = next(x for x in u if abs(x) > 1e-4)
        signed = angle if first > 0 or abs(angle - np.pi) < 1e-6 else -angle
        if d > 0:
            names.append(f"{_turn(signed, 'C')} about {direction(u)}")
        elif abs(angle - np.pi) < 1e-6:
            names.append(f"mirror ⊥ {direction(u)}")
        else:  # -R(θ) is the rotation by θ ± π followed by the mirror across the axis
            names.append(f"{_turn(signed - np.pi * np.sign(signed), 'S')} about {direction(u)}")
    return names


def _axes_of(elements: np.ndarray) -> tuple[str, str]:
    """The main and the secondary direction of a group, as written in labels ('' where there is none)."""
    det = np.sign(np.linalg.det(elements))
    axes, angles = axis_and_angle(elements * det[:, None, None])
    keep = angles > 1e-6
    if not keep.any():
        return "", ""
    det, axes = det[keep], axes[keep]
    leading = np.take_along_axis(axes, np.argmax(np.abs(axes) > 1e-4, axis=1)[:, None], axis=1)
    _, line, count = np.unique(
        np.round(axes * np.sign(leading), 5) + 0.0, axis=0, return_inverse=True, return_counts=True
    )
    line = line.ravel()
    main = int(
        np.argmax(count[line] + 0.5 * (det > 0))
    )  # most elements share the axis; rotations before mirrors on ties
    others = np.flatnonzero(line != line[main])
    if not len(others):
        return direction(axes[main]), ""
    proper = det[others] > 0
    others = others[proper] if proper.any() else others
    short = _whole(axes[others])
    names = {direction(axes[i]) for i in (others[short] if short.any() else others)}
    second = min(names, key=lambda name: (len(name), name))
    return direction(axes[main]), ("" if proper.any() else "m") + second


def _whole(v: np.ndarray) -> np.ndarray:
    """Which directions [n, 3] are written in small whole numbers, and so are shorter than all others."""
    scaled = (v / np.abs(v).max(1, keepdims=True))[:, None] * np.arange(1, 5)[:, None]
    return (np.abs(scaled - np.round(scaled)).max(2) < 1e-4).any(1)


def subgroup_labels(groups: list[tuple[str, np.ndarray]]) -> list[str]:
    """A label for each (name, elements [n, 3, 3]): the name, with as many directions as tell it from the others."""
    names = [name for name, _ in groups]
    directions = [_axes_of(elements) for _, elements in groups]
    options = [
        names,
        [n + d[0] for n, d in zip(names, directions, strict=True)],
        [n + d[0] + d[1] for n, d in zip(names, directions, strict=True)],
    ]
    counts = [Counter(o) for o in options]
    labels = []
    for i in range(len(groups)):
        level = next((k for k in range(3) if counts[k][options[k][i]] == 1), 2)
        labels.append(options[level][i])
    return labels
