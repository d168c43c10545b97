"""Which point group some matrices are, and how it stands.

The name is found by compiled code, see ``csrc/molecule.h``.
"""

from __future__ import annotations

import numpy as np

from pyg_symbreak._native import point_group_name

from .standard import axis_and_angle, rotation, standard

__all__ = [
    "TOLERANCE",
    "normalizer_name",
    "orient",
    "place",
    "polar",
    "recognize",
    "require_group",
    "require_orthogonal",
]

_Z = np.array([0.0, 0.0, 1.0])
TOLERANCE = 1e-5  # deviation at which two elements of a group in floating point count as different


def polar(m: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] nearest to a matrix."""
    u, _, v = np.linalg.svd(m)
    return u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v


def require_group(given: np.ndarray, tolerance: float) -> None:
    """Raise a ValueError unless matrices [n, 3, 3] are orthogonal, distinct, and closed under products."""
    require_orthogonal(given, tolerance)
    overlap = given.reshape(len(given), 9) @ given.reshape(len(given), 9).T - 10 * np.eye(len(given))
    a, b = divmod(int(np.argmax(overlap)), len(given))
    if len(given) > 1 and np.abs(given[a] - given[b]).max() < 4 * tolerance:
        raise ValueError(f"matrices {min(a, b)} and {max(a, b)} are the same element")
    for a, m in enumerate(given):
        products = m @ given
        index = np.argmax(products.reshape(-1, 9) @ given.reshape(-1, 9).T, axis=1)
        deviation = np.abs(products - given[index]).max((1, 2))
        if deviation.max() > 4 * tolerance:
            b = int(np.argmax(deviation))
            raise ValueError(
                f"not a group: the product of matrices {a} and {b} is missing, {np.round(products[b], 4).tolist()}"
            )


def require_orthogonal(given: np.ndarray, tolerance: float) -> None:
    """Raise a ValueError unless matrices [n, 3, 3] are orthogonal."""
    bad = ~(np.abs(given @ np.swapaxes(given, 1, 2) - np.eye(3)).max((1, 2)) < 4 * tolerance)
    if bad.any():
        raise ValueError(f"matrix {int(np.argmax(bad))} is not orthogonal within {tolerance}")


def recognize(given: np.ndarray, tolerance: float) -> str:
    """The name of a group of matrices, by how many elements of each kind there are.

    The counting is compiled: ``point_group_name`` in csrc/molecule.cpp, one pass over the elements.
    """
    name = point_group_name(np.ascontiguousarray(given), 10 * tolerance)
    if not name:
        raise _no_point_group(given, tolerance)
    return name


def _no_point_group(given: np.ndarray, tolerance: float) -> ValueError:
    return ValueError(f"these {len(given)} matrices are not a point group within {tolerance}; raise the tolerance")


def place(name: str, given: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """The best rotation F with given = F·standard·Fᵀ, and which standard element each of the given is.

    Raises
    ------
    ValueError
        The matrices are not, each once, the elements of the group in some orientation.
    """
    frame, exact = orient(name, given, tolerance), standard(name)
    for _ in range(3):  # the mean of R·F·sᵀ over matched elements is a fixed point at the best orientation
        index, deviation = exact.locate(frame.T @ given @ frame)
        if not deviation.max() < max(20 * tolerance, 1e-6) or len(set(index.tolist())) != len(exact.elements):
            raise _no_point_group(given, tolerance)
        frame = polar(np.einsum("nij,jk,nlk->il", given, frame, exact.elements[index]))
    return frame, index


def orient(name: str, given: np.ndarray, tolerance: float) -> np.ndarray:
    """A rotation F with given = F·standard·Fᵀ, to the accuracy of single elements: of all those the nearest to 1.

    One such frame comes from two axes of the group. All others are that times the rotations that normalize the
    standard group.
    """
    if name in ("C1", "Ci"):
        return np.eye(3)
    det = np.sign(np.linalg.det(given))
    axes, angles = axis_and_angle(given * det[:, None, None])
    main = _main_axis(name, det, axes, angles)
    if np.linalg.norm(main) < 0.5:
        raise _no_point_group(given, tolerance)
    if not (name[0] in "DTOI" or name[-1] == "v"):
        return _shortest_turn(main)
    across = (np.abs(axes @ main) < 0.1) & (np.abs(angles - np.pi) < 0.02) & (det == (-1 if name[-1] == "v" else 1))
    if not across.any():
        raise _no_point_group(given, tolerance)
    second = axes[np.argmax(across)]
    first = _frame(main, np.cross(second, main) if name[-1] == "v" else second)
    if name[0] in "OI":  # the half-turns across an axis are of two kinds
        rotations, other = standard(name[0]).elements, rotation(_Z, np.pi / 4 if name[0] == "O" else np.pi / 2)
        first = min((first, first @ other), key=lambda f: _miss(f @ rotations @ f.T, given))
    frames = first @ standard(normalizer_name(name, improper=False)).elements
    closeness = np.round(np.trace(frames, axis1=1, axis2=2), 6)
    nearest = frames[closeness == closeness.max()]
    return nearest[np.lexsort(np.round(-nearest, 6).reshape(-1, 9).T[::-1])[0]]


def _main_axis(name: str, det: np.ndarray, axes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """An axis that is z in the standard orientation, or in one that is as good."""
    if name in ("Cs", "C2", "C2h", "C2v", "D2", "D2h", "T", "Td", "Th", "I", "Ih"):
        half = np.abs(angles - np.pi) < 0.02
        return axes[np.argmax(half & ((det > 0) | (name == "Cs")))]
    if name[0] == "O":
        return axes[np.argmax((det > 0) & (np.abs(angles - np.pi / 2) < 0.02))]
    return axes[np.argmax(np.sin(angles))]  # neither a half-turn nor a mirror


def _miss(some: np.ndarray, given: np.ndarray) -> float:
    """How far the worst of some matrices is from the nearest of the given."""
    nearest = np.argmax(some.reshape(-1, 9) @ given.reshape(-1, 9).T, axis=1)
    return float(np.abs(some - given[nearest]).max())


def _frame(z: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] whose third column is z and whose first is nearest to x."""
    x = x - (x @ z) * z
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _shortest_turn(axis: np.ndarray) -> np.ndarray:
    """The rotation by the smallest angle that brings z to a line."""
    leading = next(x for x in np.round(axis[[2, 0, 1]], 6) if x)
    axis = axis * np.sign(leading)
    turn = np.cross(_Z, axis)
    if np.linalg.norm(turn) < 1e-9:
        return np.eye(3)
    return rotation(turn, np.arctan2(np.linalg.norm(turn), axis[2]))


def normalizer_name(name: str, improper: bool) -> str:
    """The normalizer of a group of dimension 0 or 1 in O(3), or in SO(3), which stands as the group does."""
    if name[0] in "TO" or name in ("D2", "D2h"):
        found = "Oh" if improper else "O"
    elif name[0] == "I":
        found = "Ih" if improper else "I"
    elif name in ("C1", "Ci"):
        found = "O3" if improper else "SO3"
    elif "inf" in name or not (name[0] == "D" or name[-1] == "v"):
        found = "Dinfh" if improper else "Dinf"
    else:
        n = int("".join(c for c in name if c.isdigit()))
        found = f"D{2 * n}h" if improper else f"D{2 * n}"
    return found
