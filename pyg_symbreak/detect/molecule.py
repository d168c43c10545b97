"""Symmetry of molecules: which orthogonal operations about the centre permute the atoms, within a tolerance.

The search is compiled, see ``csrc/molecule.h``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from pyg_symbreak import _native
from pyg_symbreak.detect.input import Structure
from pyg_symbreak.detect.symmetry import Operations, Symmetry
from pyg_symbreak.groups import PointGroup

__all__ = ["molecule_displacements", "molecule_levels", "molecule_symmetry"]

ROUND_OFF = 1e-6
"""Residuals that differ by less than this, Å, are not told apart: numbers of single precision are no better."""


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
    *parts, _ = _native.molecule(structure.positions, structure.kinds, symprec, _misses(structure))
    return _symmetry(parts, structure, symprec)


def molecule_levels(structure: Structure, limit: float) -> list[Symmetry]:
    """Groups for all tolerances up to a limit, the smallest first; :func:`molecule_symmetry` finds each in its plateau.

    Operations that miss by more than `limit` (Å, lowered where atoms are close) are not looked at. ``symprec`` of
    each is the least tolerance that finds it, its residual or a little more; levels that are as near to the next as
    round-off are left out.
    """
    limit = min(limit, 0.45 * structure.shortest)
    levels: list[Symmetry] = []
    end = limit
    for *parts, low in reversed(
        _native.molecule_levels(structure.positions, structure.kinds, limit, _misses(structure))
    ):
        if end - low > ROUND_OFF:
            levels.append(replace(_symmetry(parts, structure, limit), symprec=low, plateau=(low, end)))
            end = low
    return levels[::-1]


def molecule_displacements(structure: Structure, symmetry: Symmetry) -> np.ndarray:
    """How each atom moves when the positions from their mean are averaged over the group, [N, 3] Å."""
    x = structure.positions - structure.positions.mean(0)
    rotations, _, permutations = symmetry.cosets
    images = x if symmetry.continuous is None else _on_axis(x)
    return (images[permutations] @ rotations).mean(0) - x


def _on_axis(x: np.ndarray) -> np.ndarray:
    """Projection of points [N, 3] about their mean on their principal axis."""
    axis = np.linalg.eigh(x.T @ x)[1][:, -1]
    return np.outer(x @ axis, axis)


def _misses(structure: Structure) -> Callable[[bytearray, bytearray], np.ndarray] | None:
    """What tensors of the atoms miss by under operations, as the compiled search asks for it."""
    if not structure.tensors:
        return None

    def misses(rotations: bytearray, permutations: bytearray) -> np.ndarray:
        images = np.frombuffer(permutations, dtype=np.int64).reshape(-1, len(structure.kinds))
        return structure.misses(np.frombuffer(rotations).reshape(-1, 3, 3), images)

    return misses


def _symmetry(found: Sequence, structure: Structure, symprec: float) -> Symmetry:
    """What was found, as tensors; of atoms on a line also the group that has no end of operations."""
    rotations, translations, permutations, residuals, frame = found
    symmetry = Symmetry(
        Operations(
            np.frombuffer(rotations).reshape(-1, 3, 3),
            np.frombuffer(translations).reshape(-1, 3),
            np.frombuffer(permutations, dtype=np.int64).reshape(-1, len(structure.kinds)),
        ),
        symprec,
        np.frombuffer(residuals),
    )
    if frame is None:
        return symmetry
    frame = np.frombuffer(frame).reshape(3, 3)
    kernel = PointGroup("O3" if symmetry.num_nodes == 1 else "Cinfv").rotated(frame)
    continuous = PointGroup("Dinfh").rotated(frame) if len(symmetry.cosets.permutations) == 2 else kernel
    symmetry = replace(symmetry, continuous=continuous, kernel=kernel)
    return _with_tensors(symmetry, structure, frame) if structure.tensors else symmetry


def _with_tensors(symmetry: Symmetry, structure: Structure, frame: np.ndarray) -> Symmetry:
    """What tensors leave of the symmetry of atoms on a line (the third column of the frame) or of a single atom.

    Raises
    ------
    ValueError
        They leave finitely many operations, or not all rotations of a single atom.
    """
    single = symmetry.num_nodes == 1
    axes = frame.T if single else frame.T[2:]
    turns = Rotation.from_rotvec(np.concatenate([axes * angle for angle in (0.3, 1.0, 2.0)])).as_matrix()
    inversion, half_turn = -np.eye(3), 2 * np.outer(frame[:, 0], frame[:, 0]) - np.eye(3)
    still, reverse = symmetry.cosets.permutations[[0, -1]]

    def kept(permutation: np.ndarray, *matrices: np.ndarray) -> bool:
        images = np.broadcast_to(permutation, (len(matrices), len(permutation)))
        return bool(structure.misses(np.array(matrices), images).max() <= symmetry.symprec)

    if not kept(still, *turns):
        raise ValueError(
            "the features have directions across the axis of atoms on a line (for a single atom: any direction), "
            "which is not supported: detect the symmetry without them"
        )
    rotations = [np.eye(3)]
    if single:
        name = kernel = "O3" if kept(still, inversion) else "SO3"
    else:
        name = kernel = "Cinfv" if kept(still, half_turn @ inversion) else "Cinf"
        if len(symmetry.cosets.permutations) == 2 and kept(reverse, inversion):
            rotations.append(inversion)
            name = {"Cinfv": "Dinfh", "Cinf": "Cinfh"}[kernel]
        elif len(symmetry.cosets.permutations) == 2 and kept(reverse, half_turn):
            rotations.append(half_turn)
            name = "Dinf"
    listed = np.array(rotations)
    permutations = symmetry.cosets.permutations[: len(listed)]
    assert symmetry.residual_list is not None
    center = structure.positions.mean(0)
    return replace(
        symmetry,
        cosets=Operations(listed, center - listed @ center, permutations),
        residual_list=np.maximum(symmetry.residual_list[: len(listed)], structure.misses(listed, permutations)),
        continuous=PointGroup(name).rotated(frame),
        kernel=PointGroup(kernel).rotated(frame),
    )
