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

from .axial_group import AxialGroup

__all__ = ["Standard", "axis_and_angle", "rotation", "standard"]

MIRROR_Y, MIRROR_Z = np.diag([1.0, -1, 1]), np.diag([1.0, 1, -1])
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
    axial : AxialGroup or None
        The same elements of a finite group that is not polyhedral, as those of a subgroup of D_mh.
    """

    name: str
    dimension: int
    elements: np.ndarray
    axial: AxialGroup | None = None

    def locate(self, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each of some matrices [n, 3, 3] the index of the nearest element, and how far an entry is from it."""
        if self.axial is None:
            index = np.argmax(matrices.reshape(-1, 9) @ self.elements.reshape(-1, 9).T, axis=1)
        else:
            s = (np.linalg.det(matrices) < 0).astype(np.int64)
            f = (matrices[:, 2, 2] < 0) ^ s
            angle = np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])
            index = self.axial.place(np.rint(angle * self.axial.m / (2 * np.pi)).astype(np.int64), f, s)
        missing = np.where(index < 0, np.inf, 0.0)
        return index, np.abs(matrices - self.elements[index]).max((1, 2)) + missing


_AXIAL = {  # offsets in D_2nh, whose step is π/n: of R^k M, of half-turns across the axis, of mirrors that hold it
    "C": (None, None, None), "Cv": (None, None, 0), "Ch": (0, None, None), "S": (1, None, None), "D": (None, 0, None),
    "Dh": (0, 0, 0), "Dd": (1, 0, 1),
}  # fmt: skip


def _axial(name: str) -> tuple[np.ndarray, AxialGroup] | None:
    """The elements of a finite group about one axis."""
    match = re.fullmatch(r"([CDS])(\d+)([vhd]?)", {"Cs": "C1h", "Ci": "S2"}.get(name, name))
    if not match:
        return None
    n = int(match[2]) // (2 if match[1] == "S" else 1)
    line, parts = 2 * np.arange(n), []
    for offset, f, s in zip((0, *_AXIAL[match[1] + match[3]]), (0, 0, 1, 1), (0, 1, 0, 1), strict=True):
        if offset is not None:
            parts.append(np.stack([line + offset, np.full(n, f), np.full(n, s)], axis=1))
    triples = np.concatenate(parts)
    k, f, s = triples.T
    cosine, sine = (np.where(np.abs(x) < 1e-14, 0, x) for x in (np.cos(np.pi * k / n), np.sin(np.pi * k / n)))
    turned, up = 1 - 2 * f, 1 - 2 * (f ^ s)
    elements = np.zeros((len(k), 3, 3))
    elements[:, 0, 0], elements[:, 0, 1], elements[:, 2, 2] = cosine, -sine * turned, up
    elements[:, 1, 0], elements[:, 1, 1] = sine, cosine * turned
    order = _readable_order(elements)
    return elements[order], AxialGroup(2 * n, triples[order])


def _generators(name: str) -> tuple[int, list[np.ndarray]]:
    """Dimension and generators of a group that is polyhedral or continuous."""
    z = np.array([0.0, 0, 1])
    cubic = [rotation(np.ones(3), 2 * np.pi / 3), C2_X]
    five = rotation(np.array([0, 1, (1 + 5**0.5) / 2]), 2 * np.pi / 5)
    return {
        "T": (0, cubic),
        "Td": (0, [*cubic, -rotation(z, np.pi / 2)]),
        "Th": (0, [*cubic, INVERSION]),
        "O": (0, [*cubic, rotation(z, np.pi / 2)]),
        "Oh": (0, [*cubic, rotation(z, np.pi / 2), INVERSION]),
        "I": (0, [*cubic, five]),
        "Ih": (0, [*cubic, five, INVERSION]),
        "Cinf": (1, []),
        "Cinfv": (1, [MIRROR_Y]),
        "Cinfh": (1, [MIRROR_Z]),
        "Dinf": (1, [C2_X]),
        "Dinfh": (1, [MIRROR_Y, MIRROR_Z]),
        "SO3": (3, []),
        "O3": (3, [INVERSION]),
    }[name]


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
    found = _axial(name)
    if found:
        dimension, (elements, axial) = 0, found
    else:
        dimension, generators = _generators(name)
        elements, axial = _close(generators), None
        elements = elements[_readable_order(elements)]
    elements.setflags(write=False)
    return Standard(name, dimension, elements, axial)
