"""Polynomials of first and second degree that a Lie group leaves invariant, in states of nodes and of pairs."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import null_space
from torch import Tensor, nn

from pyg_symbreak.groups import LieGroup

__all__ = ["Invariants", "affine_generators"]

TOLERANCE = 1e-9


def affine_generators(group: LieGroup | None, dim: int) -> tuple[np.ndarray, np.ndarray]:
    r"""The generators of a group that acts on points of a space, :math:`\dot{x} = L x + t`.

    Parameters
    ----------
    group : LieGroup, optional
        Matrices [dim, dim] that act on x, or [dim + 1, dim + 1] that act on (x, 1). Default: the trivial group.
    dim : int
        Dimension of the space.

    Returns
    -------
    linear : float64 array [k, dim, dim]
    shift : float64 array [k, dim]

    Raises
    ------
    ValueError
        The matrices have another size, or do not keep the 1 of (x, 1).

    Examples
    --------
    >>> linear, shift = affine_generators(LieGroup.euclidean(2), 2)
    >>> linear[0].tolist(), shift[1].tolist()
    ([[0.0, -1.0], [1.0, 0.0]], [1.0, 0.0])
    """
    if group is None:
        return np.zeros((0, dim, dim)), np.zeros((0, dim))
    if group.size == dim:
        return group.generators, np.zeros((group.dimension, dim))
    if group.size != dim + 1:
        raise ValueError(
            f"group acts by matrices of size {group.size}: on points of dimension {dim} they must have size {dim}, or "
            f"{dim + 1} to act on (x, 1)"
        )
    if np.abs(group.generators[:, dim]).max(initial=0) > TOLERANCE:
        raise ValueError("group does not keep the 1 of (x, 1): the last row of its generators must be zero")
    return group.generators[:, :dim, :dim], group.generators[:, :dim, dim]


class Invariants(nn.Module):
    r"""The invariants of first and second degree of some vectors that a group acts on.

    The vectors form one column z that starts with 1, on which the group acts by matrices T. A linear form is invariant
    if :math:`T^\top l = 0`, a quadratic form if :math:`T^\top A + A T = 0`: a null space each. Quadratic forms that are
    products of linear ones are left out.

    Parameters
    ----------
    actions : float64 array [k, n, n]
        The generators on z = (1, ...); the first row is zero.

    Attributes
    ----------
    num : int
        How many there are.

    Shapes:
        - **input:** z :math:`(M, n)`
        - **output:** :math:`(M, num)`
    """

    linear: Tensor
    first: Tensor
    second: Tensor
    quadratic: Tensor

    def __init__(self, actions: np.ndarray) -> None:
        super().__init__()
        size = actions.shape[1]
        moved = actions[:, 1:].swapaxes(1, 2).reshape(-1, size - 1)
        linear = np.pad(_reduced(null_space(moved, 1e-10).T if len(moved) else np.eye(size - 1)), ((0, 0), (1, 0)))

        pairs = [(a, b) for a in range(size) for b in range(max(a, 1), size)]
        forms = np.zeros((len(pairs), size, size))
        for form, (a, b) in zip(forms, pairs, strict=True):
            form[a, b] += 0.5
            form[b, a] += 0.5
        changes = np.einsum("mab,kbc->mkac", forms, actions)
        changes = (changes + changes.swapaxes(2, 3)).reshape(len(pairs), -1)
        factors = np.vstack([np.eye(1, size), linear])
        products = np.einsum("ia,jb->ijab", factors, factors).reshape(-1, size, size)
        known = np.array([(p + p.T)[[a for a, _ in pairs], [b for _, b in pairs]] for p in products])
        quadratic = _reduced(null_space(np.linalg.qr(np.vstack([changes.T, known]), mode="r"), 1e-10).T)
        used = np.abs(quadratic).max(axis=0, initial=0) > 0
        self.num = len(linear) + len(quadratic)
        index = torch.tensor([pair for pair, is_used in zip(pairs, used, strict=True) if is_used], dtype=torch.long)
        first, second = index.view(-1, 2).T.contiguous()
        self.register_buffer("linear", torch.from_numpy(linear), persistent=False)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)
        self.register_buffer("quadratic", torch.from_numpy(quadratic[:, used]), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """Evaluate them."""
        products = z[:, self.first] * z[:, self.second]
        return torch.cat([z @ self.linear.T.to(z.dtype), products @ self.quadratic.T.to(z.dtype)], dim=1)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({len(self.linear)} linear, {len(self.quadratic)} quadratic)"


def _reduced(rows: np.ndarray) -> np.ndarray:
    """The reduced echelon form of independent rows: the same span by few numbers, of which most are zero."""
    rows, done = rows.copy(), 0
    for column in range(rows.shape[1]):
        if done == len(rows):
            break
        pivot = done + int(np.argmax(np.abs(rows[done:, column])))
        if abs(rows[pivot, column]) < TOLERANCE:
            continue
        rows[[done, pivot]] = rows[[pivot, done]]
        rows[done] /= rows[done, column]
        others = np.arange(len(rows)) != done
        rows[others] -= np.outer(rows[others, column], rows[done])
        done += 1
    rows[np.abs(rows) < TOLERANCE] = 0
    return rows
