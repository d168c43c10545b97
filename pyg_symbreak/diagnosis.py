"""Which symmetry a target keeps, and what an equivariant network can make of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyg_symbreak.detect import Symmetry
from pyg_symbreak.groups import PointGroup

__all__ = ["kept_symmetry"]


def kept_symmetry(
    symmetry: Symmetry, vectors: Tensor, strain: Tensor | None = None, tolerance: float = 1e-3
) -> PointGroup:
    """The symmetry K that a target keeps of the symmetry S of the input: Stab(y) ∩ S.

    Parameters
    ----------
    symmetry : Symmetry
        S, as `detect_symmetry` returns it for the input.
    vectors : Tensor [N, 3]
        A polar vector on each node, such as displacements in Å, in the input's frame.
    strain : Tensor [3, 3], optional
        A symmetric matrix for the whole structure, in the input's frame.
    tolerance : float
        Largest deviation of a component at which the target counts as unchanged, in the unit of the target.

    Returns
    -------
    PointGroup
        A subgroup of ``symmetry.group``.
    """
    rotations, permutations = symmetry.rotations, symmetry.permutations
    vectors = vectors.detach().to(rotations)
    moved = torch.einsum("gij,nj->gni", rotations, vectors)
    wanted = vectors[permutations]  # the operation carries node i onto permutations[g, i]
    kept = (moved - wanted).abs().amax((1, 2)) <= tolerance
    if strain is not None:
        matrix = strain.detach().to(rotations).reshape(3, 3)
        kept &= (rotations @ matrix @ rotations.mT - matrix).abs().amax((1, 2)) <= tolerance
    chosen = rotations[kept]
    distinct = np.unique(np.round(chosen.reshape(-1, 9).numpy(), 6) + 0.0, axis=0, return_index=True)[1]
    return PointGroup.from_matrices(chosen[np.sort(distinct)])
