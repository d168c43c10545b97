"""A vector that turns with a structure, to tell whether an object attached to it is still its own."""

from __future__ import annotations

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
    pos = pos.detach()
    away = pos - pos[:1]
    if cell is not None and (pbc is None or bool(pbc.any())):
        vectors = cell.detach().reshape(3, 3).to(pos)
        if pbc is not None:
            vectors = vectors * pbc.reshape(3, 1)
        part = away @ torch.linalg.pinv(vectors)
        away = away + ((2 * torch.pi * part).sin() - part) @ vectors
    weights = torch.arange(len(pos), dtype=pos.dtype, device=pos.device).sin()
    return weights[None] @ away


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
