"""The point groups in their standard orientation: generators and matrices.

The main axis is z. C_nv, D_n, D_nh and D_nd have their mirrors or two-fold axes at angles k·π/n from x: C_nv the
mirror that holds x, D_n, D_nh and D_nd the two-fold axis along x. Cubic groups have their axes along x, y, z; so
have the two-fold axes of the icosahedral groups, whose five-fold axes are along (0, ±1, ±φ) and cyclic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import numpy as np

__all__ = ["Standard", "axis_and_angle", "rotation", "standard"]

_PATTERN = re.compile(r"(C|D|S)(\d+)(v|h|d)?")

MIRROR_X, MIRROR_Y, MIRROR_Z = np.diag([-1.0, 1, 1]), np.diag([1.0, -1, 1]), np.diag([1.0, 1, -1])
C2_X = np.diag([1.0, -1, -1])
INVERSION = -np.eye(3)


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """The rotation matrix [3, 3] about an axis [3] by an angle in radians (Rodrigues' formula)."""
    x, y, z = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)


def axis_and_angle(rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit axes [n, 3] and angles [n] in [0, π] of rotation matrices [n, 3, 3].

    The axis of a half-turn has either sign; that of the identity is zero.
    """
    r = np.asarray(rotations, dtype=float)
    skew = np.stack([r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]], -1) / 2
    sine, cosine = np.linalg.norm(skew, axis=-1), (np.trace(r, axis1=1, axis2=2) - 1) / 2
    angles = np.arctan2(sine, cosine)
    symmetric = (r + np.swapaxes(r, 1, 2)) / 2 - np.minimum(cosine, 1)[:, None, None] * np.eye(3)
    column = np.argmax(np.abs(np.einsum("nii->ni", symmetric)), axis=1)
    axes = symmetric[np.arange(len(r)), :, column]  # (1 - cosθ)·u·uᵀ has the axis in each column
    flip = np.einsum("ni,ni->n", axes, skew) < 0
    axes = np.where(flip[:, None], -axes, axes)
    length = np.linalg.norm(axes, axis=-1, keepdims=True)
    return np.where(angles[:, None] < 1e-6, 0.0, axes / np.maximum(length, 1e-300)), angles


@dataclass(frozen=True, eq=False)
class Standard:
    """A closed subgroup of O(3) in its standard orientation.

    Attributes
    ----------
    name : str
        Schoenflies symbol.
    dimension : int
        0 for a finite group, 1 if the identity component is SO(2) about z, 3 if it is SO(3).
    elements : float64 array [n, 3, 3]
        All elements of a finite group (identity first); else one of each connected component.
    """

    name: str
    dimension: int
    elements: np.ndarray


def _generators(name: str) -> tuple[int, list[np.ndarray]]:
    z = np.array([0.0, 0, 1])
    cubic = [rotation(np.ones(3), 2 * np.pi / 3), C2_X]
    fixed: dict[str, tuple[int, list[np.ndarray]]] = {
        "C1": (0, []),
        "Cs": (0, [MIRROR_Z]),
        "Ci": (0, [INVERSION]),
        "T": (0, cubic),
        "Td": (0, [*cubic, -rotation(z, np.pi / 2)]),
        "Th": (0, [*cubic, INVERSION]),
        "O": (0, [*cubic, rotation(z, np.pi / 2)]),
        "Oh": (0, [*cubic, rotation(z, np.pi / 2), INVERSION]),
        "I": (0, [*cubic, rotation(np.array([0, 1, (1 + 5**0.5) / 2]), 2 * np.pi / 5)]),
        "Ih": (0, [*cubic, rotation(np.array([0, 1, (1 + 5**0.5) / 2]), 2 * np.pi / 5), INVERSION]),
        "Cinf": (1, []),
        "Cinfv": (1, [MIRROR_Y]),
        "Cinfh": (1, [MIRROR_Z]),
        "Dinf": (1, [C2_X]),
        "Dinfh": (1, [MIRROR_Y, MIRROR_Z]),
        "SO3": (3, []),
        "O3": (3, [INVERSION]),
    }
    if name in fixed:
        return fixed[name]
    match = _PATTERN.fullmatch(name)
    assert match is not None, name
    family, n, suffix = match[1], int(match[2]), match[3]
    turn = rotation(z, 2 * np.pi / n)
    if family == "S":
        return 0, [MIRROR_Z @ turn]
    extra = {
        ("C", "v"): [MIRROR_Y],
        ("C", "h"): [MIRROR_Z],
        ("D", None): [C2_X],
        ("D", "h"): [C2_X, MIRROR_Z],
    }
    if (family, suffix) == ("D", "d"):
        return 0, [MIRROR_Z @ rotation(z, np.pi / n), C2_X]
    return 0, [turn, *extra.get((family, suffix), [])]


def _close(generators: list[np.ndarray]) -> np.ndarray:
    elements, known = [np.eye(3)], {_rounded(np.eye(3))}
    for a in elements:  # grows while it is walked through
        for b in generators:
            c = a @ b
            if (key := _rounded(c)) not in known:
                known.add(key)
                elements.append(c)
    u, _, v = np.linalg.svd(np.array(elements))
    out = u @ v
    out[np.abs(out) < 1e-14] = 0.0
    return out


def _rounded(m: np.ndarray) -> tuple[float, ...]:
    return tuple((np.round(m, 5) + 0.0).ravel().tolist())


def _readable_order(elements: np.ndarray) -> np.ndarray:
    """Rotations before improper elements, small angles first, the z axis first."""
    det = np.sign(np.linalg.det(elements))
    axes, angles = axis_and_angle(elements * det[:, None, None])
    x, y, z = np.round(np.abs(axes), 6).T
    keys = np.column_stack([-det, np.round(angles, 6), -z, np.where(z == 0, -x, -y), np.round(-axes, 6)])
    return np.lexsort(keys.T[::-1])


@cache
def standard(name: str) -> Standard:
    """The group of a Schoenflies name (as `parse_symbol` returns it) in its standard orientation."""
    dimension, generators = _generators(name)
    elements = _close(generators)
    elements = elements[_readable_order(elements)]
    elements.setflags(write=False)
    return Standard(name, dimension, elements)
