"""Irreducible representations of O(3) in e3nn's basis, as float64 arrays."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from e3nn import o3

__all__ = ["irreps_matrices", "wigner_d"]


@lru_cache(maxsize=64)
def _coupling(l: int) -> np.ndarray:
    """The isometry [(2l-1)·3, 2l+1] from the irrep l into (l-1) ⊗ 1."""
    w = o3.wigner_3j(l - 1, 1, l, dtype=torch.float64).numpy() * np.sqrt(2 * l + 1)
    return w.reshape(-1, 2 * l + 1)


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
        d = matrices[-1]
        product = np.einsum("nij,nkm->nikjm", d, rotations).reshape(len(d), len(c), len(c))
        matrices.append(c.T @ product @ c)
    return matrices[: l_max + 1]


def irreps_matrices(irreps: o3.Irreps | str, elements: np.ndarray) -> np.ndarray:
    """The block-diagonal matrices by which elements of O(3) act on a vector of e3nn irreps.

    An improper element is -R with R a rotation; it acts as p·D^l(R) on the irrep (l, p).

    Parameters
    ----------
    irreps : e3nn Irreps
    elements : float array [n, 3, 3], orthogonal

    Returns
    -------
    float64 array [n, irreps.dim, irreps.dim]
    """
    irreps = o3.Irreps(irreps)
    elements = np.asarray(elements, dtype=np.float64)
    sign = np.sign(np.linalg.det(elements))
    blocks = wigner_d(irreps.lmax if len(irreps) else 0, elements * sign[:, None, None])
    out = np.zeros((len(elements), irreps.dim, irreps.dim))
    at = 0
    for mul, ir in irreps:
        block = blocks[ir.l] * np.where(sign < 0, ir.p, 1)[:, None, None]
        for _ in range(mul):
            out[:, at : at + ir.dim, at : at + ir.dim] = block
            at += ir.dim
    return out
