"""Irreducible representations of O(3) in e3nn's basis, in numpy alone.

e3nn's basis of the irrep l is that of real spherical harmonics with polar axis y, m = -l, ..., l; for l = 1 it is x, y
and z.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["irreps_matrices", "irreps_terms", "wigner_d"]


def irreps_terms(irreps: Any) -> list[tuple[int, tuple[int, int]]]:
    """The terms (copies, (l, p)) of irreps, p = ±1.

    Parameters
    ----------
    irreps : e3nn Irreps, a string such as ``"2x1o+0e"``, or a list of such terms

    Raises
    ------
    ValueError
        The string does not name irreps.

    Examples
    --------
    >>> irreps_terms("2x1o + 0e")
    [(2, (1, -1)), (1, (0, 1))]
    """
    if not isinstance(irreps, str):
        return [(mul, (l, p)) for mul, (l, p) in irreps]
    terms = []
    for word in irreps.replace(" ", "").split("+") if irreps.strip() else []:
        match = re.fullmatch(r"(?:(\d+)x)?(\d+)([eo])", word)
        if not match:
            raise ValueError(f"{irreps!r} does not name irreps of O(3): {word!r} should be like '1o' or '2x1o'")
        terms.append((int(match[1] or 1), (int(match[2]), 1 if match[3] == "e" else -1)))
    return terms


@lru_cache(maxsize=128)
def _coupling(l: int) -> np.ndarray:
    """The isometry [(2l-1)·3, 2l+1] from the irrep l into (l-1) ⊗ 1, up to a sign.

    Clebsch–Gordan coefficients ⟨l-1 m-μ, 1 μ | l m⟩ in closed form (D. A. Varshalovich, A. N. Moskalev and V. K.
    Khersonskii, Quantum Theory of Angular Momentum, 1988, table 8.2), taken to real harmonics.
    """
    m = np.arange(-l, l + 1)
    plus = np.sqrt((l + m - 1) * (l + m) / ((2 * l - 1) * 2 * l))
    zero = np.sqrt((l - m) * (l + m) / ((2 * l - 1) * l))
    w = np.zeros((2 * l - 1, 3, 2 * l + 1))
    w[m[2:] + l - 2, 2, m[2:] + l] = plus[2:]  # μ = 1 and m - 1 from 1 - l to l - 1
    w[m[1:-1] + l - 1, 1, m[1:-1] + l] = zero[1:-1]
    w[m[:-2] + l, 0, m[:-2] + l] = plus[::-1][:-2]
    real = np.einsum("ij,kl,nm,ikn->jlm", _real(l - 1), _real(1), _real(l).conj(), w, optimize=True).real
    whole = 8 * l * (2 * l - 1)  # the squares are whole multiples of 1/whole: without it round-off adds up over l
    return (np.sign(real) * np.sqrt(np.round(real**2 * whole) / whole)).reshape(-1, 2 * l + 1)


def _real(l: int) -> np.ndarray:
    """The real harmonics (columns) in terms of complex ones (rows), complex [2l+1, 2l+1]."""
    q = np.zeros((2 * l + 1, 2 * l + 1), dtype=complex)
    q[l, l] = 1
    for m in range(1, l + 1):
        q[l - m, l + m], q[l - m, l - m] = 0.5**0.5, -1j * 0.5**0.5
        q[l + m, l + m], q[l + m, l - m] = (-1) ** m * 0.5**0.5, 1j * (-1) ** m * 0.5**0.5
    return (-1j) ** l * q


def wigner_d(l_max: int, rotations: np.ndarray) -> list[np.ndarray]:
    """Wigner matrices D^l(R) of rotations in e3nn's real basis, for l = 0 .. l_max.

    D¹ is R itself in that basis, and D^l is the l-part of D^(l-1) ⊗ D¹; so no angles are taken, and the
    matrices are accurate to round-off for every rotation, those about the polar axis among them.

    Parameters
    ----------
    l_max : int
    rotations : float array [n, 3, 3], determinant +1

    Returns
    -------
    list of float64 arrays [n, 2l+1, 2l+1]
    """
    rotations = np.asarray(rotations, dtype=np.float64)
    matrices = [np.ones((len(rotations), 1, 1)), rotations]
    for l in range(2, l_max + 1):
        c = _coupling(l)
        right = (matrices[-1] @ c.reshape(2 * l - 1, -1)).reshape(-1, 2 * l - 1, 3, 2 * l + 1)
        turned = rotations[:, None] @ right  # (D^(l-1) ⊗ R)·C
        matrices.append(c.T @ turned.reshape(-1, len(c), 2 * l + 1))
    return matrices[: l_max + 1]


def irreps_matrices(irreps: Any, elements: np.ndarray) -> np.ndarray:
    """The block-diagonal matrices by which elements of O(3) act on a vector of e3nn irreps.

    An improper element is -R with R a rotation; it acts as p·D^l(R) on the irrep (l, p).

    Parameters
    ----------
    irreps : e3nn Irreps, or what `irreps_terms` takes
    elements : float array [n, 3, 3], orthogonal

    Returns
    -------
    float64 array [n, dim, dim]
    """
    places, l_max, dim = _layout(irreps if isinstance(irreps, str) else tuple(irreps))
    elements = np.asarray(elements, dtype=np.float64)
    sign = np.sign(np.linalg.det(elements))[:, None, None]
    blocks = wigner_d(l_max, elements * sign)
    out = np.zeros((len(elements), dim, dim))
    for (l, p), slices in places:
        block = blocks[l] if p > 0 else blocks[l] * sign
        for part in slices:
            out[:, part, part] = block
    return out


@lru_cache(maxsize=256)
def _layout(irreps: Any) -> tuple[list[tuple[tuple[int, int], list[slice]]], int, int]:
    """Where each copy of each (l, p) lies, the highest degree and the dimension."""
    places, at = [], 0
    for mul, (l, p) in irreps_terms(irreps):
        places.append(((l, p), [slice(at + k * (2 * l + 1), at + (k + 1) * (2 * l + 1)) for k in range(mul)]))
        at += mul * (2 * l + 1)
    return places, max((l for (l, _), _ in places), default=0), at
