"""Displacements of a molecule without the translation and the rotation in them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["remove_rigid_motion"]


def remove_rigid_motion(pos: Tensor, displacements: Tensor) -> Tensor:
    """Lay displaced molecules on the molecule itself, by the translations and rotations that suit it best.

    They make the sum of squared displacements least (W. Kabsch, Acta Cryst. A 32, 922 (1976)). Every operation of the
    molecule that keeps the displacements keeps the result, unless several rotations are equally good. Where the atoms
    of ``pos`` are in line, the smallest of the best rotations is taken.

    Parameters
    ----------
    pos : Tensor [N, 3]
        Å.
    displacements : Tensor [..., N, 3]
        Å.

    Returns
    -------
    Tensor [..., N, 3]
        With mean zero over the atoms.

    Raises
    ------
    ValueError
        The shapes do not fit.

    Examples
    --------
    >>> water = torch.tensor([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
    >>> turned = water @ torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) + 3
    >>> bool(remove_rigid_motion(water, turned - water).abs().max() < 1e-5)
    True
    """
    if pos.dim() != 2 or pos.shape[1] != 3 or displacements.shape[-2:] != pos.shape:
        raise ValueError(
            f"pos has shape {list(pos.shape)}, the displacements {list(displacements.shape)}: "
            "they must be [N, 3] and [..., N, 3]"
        )
    x = (pos - pos.mean(0)).double()
    y = (pos + displacements).double()
    y = y - y.mean(-2, keepdim=True)
    overlap = y.mT @ x
    size = torch.linalg.matrix_norm(overlap)[..., None, None]
    left, _, right = torch.linalg.svd(overlap + 1e-10 * size * torch.eye(3, dtype=torch.float64, device=x.device))
    handed = torch.ones_like(left[..., 0, :])
    handed[..., 2] = torch.linalg.det(left @ right).sign()
    return (y @ (left * handed[..., None, :]) @ right - x).to(displacements.dtype)
