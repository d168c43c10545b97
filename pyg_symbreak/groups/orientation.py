"""Which point group some matrices are, and how it stands.

Both are found by compiled code, see ``csrc/molecule.h`` and ``csrc/orientation.h``.
"""

from __future__ import annotations

import numpy as np

from pyg_symbreak import _native

from .standard import standard

__all__ = [
    "TOLERANCE",
    "normalizer_name",
    "orthogonalized",
    "place",
    "recognize",
    "require_group",
    "require_orthogonal",
]

TOLERANCE = 1e-5  # deviation at which two elements of a group in floating point count as different


def orthogonalized(matrix: np.ndarray) -> tuple[np.ndarray, int, float]:
    """The nearest orthogonal matrix [3, 3] of the same handedness, its determinant, how far an entry is from it."""
    exact, sign, deviation = _native.orthogonal(np.ascontiguousarray(matrix))
    return np.frombuffer(exact).reshape(3, 3), sign, deviation


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
    name = _native.point_group_name(np.ascontiguousarray(given), 10 * tolerance)
    if not name:
        raise _no_point_group(given, tolerance)
    return name


def _no_point_group(given: np.ndarray, tolerance: float) -> ValueError:
    return ValueError(f"these {len(given)} matrices are not a point group within {tolerance}; raise the tolerance")


def place(name: str, given: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """The best rotation F with given = F·standard·Fᵀ, of all those the nearest to 1, and which element each given is.

    Raises
    ------
    ValueError
        The matrices are not, each once, the elements of the group in some orientation.
    """
    exact = standard(name)
    turns = standard(normalizer_name(name, improper=False)).elements
    steps = 0 if exact.axial is None else exact.axial.m
    found = _native.place(name, np.ascontiguousarray(given), exact.elements, turns, steps, tolerance)
    if found is None:
        raise _no_point_group(given, tolerance)
    return np.frombuffer(found[0]).reshape(3, 3), np.frombuffer(found[1], dtype=np.int64)


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
