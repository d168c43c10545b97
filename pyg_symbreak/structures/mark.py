"""A vector that turns with a structure, to tell whether an object attached to it is still its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

__all__ = ["mark_of", "require_own_object"]

SAME = 0.98
"""Cosine of the angle between two marks above which a structure has not been turned, 11 degrees."""


def mark_of(pos: Tensor, cell: Tensor | None = None, pbc: Tensor | None = None) -> Tensor:
    """A vector [1, 3] that turns with a structure, from weights that tell its nodes apart by their numbers.

    It does not change when the structure is moved as a whole, or atoms to others of their periodic images.

    Parameters
    ----------
    pos : Tensor [N, 3]
        Å.
    cell : Tensor [1, 3, 3], optional
        Å.
    pbc : Tensor [1, 3], optional
        Default: all directions of a structure with a cell.
    """
    x = pos.numpy(force=True).astype(np.float64)
    away = x - x[:1]
    if cell is not None:
        vectors = cell.numpy(force=True).astype(np.float64).reshape(3, 3)
        if pbc is not None:
            vectors = vectors[pbc.numpy(force=True).reshape(3).astype(bool)]
        part = away @ vectors.T @ np.linalg.inv(vectors @ vectors.T)
        away = away + (np.sin(2 * np.pi * part) - part) @ vectors
    return torch.from_numpy(np.sin(np.arange(len(x)))[None] @ away).to(pos)


def require_own_object(data: Data) -> None:
    """Refuse an object that stayed as it was when its structure was turned, or its nodes renumbered.

    Raises
    ------
    ValueError
        ``data.breaking_mark``, which AddSymmetryBreaking has attached, is not the mark of the positions.
    """
    marks = data.get("breaking_mark")
    if marks is None:
        return
    batch = data.get("batch")
    for number, mark in enumerate(marks):
        own = slice(None) if batch is None else batch == number
        cell, pbc = (
            None if data.get(key) is None else data[key].view(len(marks), -1)[number] for key in ("cell", "pbc")
        )
        found = mark_of(data.pos[own], cell, pbc)[0]
        sizes = mark.norm() * found.norm()
        if mark @ found < SAME * sizes and mark.norm() > 1e-3:
            raise ValueError(
                f"structure {number} was turned, or its nodes renumbered or removed, after its object breaking was "
                "attached, which stayed as it was: transforms such as RandomRotate come before AddSymmetryBreaking. "
                "Where the object was turned as well, delete data.breaking_mark"
            )
