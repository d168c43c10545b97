"""Symmetry of molecules: which orthogonal operations about the centre permute the atoms, within a tolerance.

The search is compiled, see ``csrc/molecule.cpp``.
"""

from dataclasses import replace

import numpy as np
import torch

from pyg_symbreak import _native
from pyg_symbreak.detect._input import Structure
from pyg_symbreak.detect._symmetry import Symmetry
from pyg_symbreak.groups import PointGroup


def molecule_symmetry(structure: Structure, symprec: float) -> Symmetry:
    """Largest group found whose operations all move each atom to within `symprec` of an atom of its kind.

    Raises
    ------
    ValueError
        `symprec` is half of the shortest distance between atoms or more, so that images would be ambiguous.
    """
    if symprec >= structure.shortest / 2:
        raise ValueError(
            f"symprec = {symprec:g} Å is too large: two atoms are {structure.shortest:.3g} Å apart, and for "
            "unambiguous images it must be below half of that"
        )
    return _symmetry(_native.molecule(structure.positions, structure.kinds, symprec, None), structure, symprec)


def molecule_levels(structure: Structure, limit: float) -> list[Symmetry]:
    """Groups that operations up to some residual generate, each in the next, from the least residual on.

    Operations that miss by more than `limit` (Å, lowered where atoms are close) are not looked at. `symprec` of
    each is its residual, `plateau` goes from there to the residual of the next.
    """
    limit = min(limit, 0.45 * structure.shortest)
    found = _native.molecule_levels(structure.positions, structure.kinds, limit, None)
    levels = [_symmetry(level, structure, limit) for level in found]
    ends = [level.residual for level in levels[1:]] + [limit]
    pairs = zip(levels, ends, strict=True)
    return [replace(x, symprec=x.residual, plateau=(x.residual, end)) for x, end in pairs if x.residual < end]


def molecule_displacements(structure: Structure, symmetry: Symmetry) -> np.ndarray:
    """How each atom moves when the positions from their mean are averaged over the group, [N, 3] Å."""
    x = structure.positions - structure.positions.mean(0)
    rotations, permutations = symmetry.rotations.numpy(), symmetry.permutations.numpy()
    images = x if symmetry.continuous is None else _on_axis(x)
    return (images[permutations] @ rotations).mean(0) - x


def _on_axis(x: np.ndarray) -> np.ndarray:
    """Projection of points [N, 3] about their mean on their principal axis."""
    axis = np.linalg.eigh(x.T @ x)[1][:, -1]
    return np.outer(x @ axis, axis)


def _symmetry(found: tuple, structure: Structure, symprec: float) -> Symmetry:
    """What was found, as tensors; of atoms on a line also the group that has no end of operations."""
    rotations, translations, permutations, residuals, frame = found
    permutations = torch.frombuffer(permutations, dtype=torch.long).view(-1, len(structure.kinds))
    continuous = kernel = None
    if frame is not None:
        frame = np.frombuffer(frame).reshape(3, 3)
        single, reversible = len(structure.kinds) == 1, len(permutations) == 2
        kernel = PointGroup._oriented("O3" if single else "Cinfv", frame)
        continuous = PointGroup._oriented("Dinfh", frame) if reversible else kernel
    return Symmetry(
        rotations=torch.frombuffer(rotations, dtype=torch.float64).view(-1, 3, 3),
        translations=torch.frombuffer(translations, dtype=torch.float64).view(-1, 3),
        permutations=permutations,
        residuals=torch.frombuffer(residuals, dtype=torch.float64),
        symprec=symprec,
        continuous=continuous,
        kernel=kernel,
    )
