"""The space group of some of the operations of a supercell, from the operations alone."""

from __future__ import annotations

import moyopy
import numpy as np
from ase.cell import Cell

from pyg_symbreak.detect import SpaceGroup

__all__ = ["identify_space_group"]


def identify_space_group(
    cell: np.ndarray, pbc: np.ndarray, rotations: np.ndarray, translations: np.ndarray
) -> SpaceGroup:
    """Type of the space group that operations make with the translations of a cell; of a slab its layer group.

    The pure translations among the operations belong to it: its primitive cell may be smaller than the one given. It
    is found from their Hermite normal form.

    Parameters
    ----------
    cell : float64 array [3, 3]
        Rows are lattice vectors, Å; of a slab, the one along which it is not periodic is not looked at.
    pbc : bool array [3]
        Three or two of them.
    rotations, translations : float64 arrays [n, 3, 3] and [n, 3]
        Cartesian, Å: positions x go to R x + t. A group modulo the lattice.

    Examples
    --------
    >>> from pyg_symbreak.groups import PointGroup
    >>> cube = PointGroup("Oh").matrices
    >>> identify_space_group(4 * np.eye(3), np.ones(3, bool), cube, np.zeros((48, 3)))
    SpaceGroup(number=221, symbol='Pm-3m')
    """
    order = [*np.flatnonzero(pbc), *np.flatnonzero(~pbc)]  # moyo takes the third vector of a slab as the normal
    basis = cell[order]
    if not pbc.all():
        basis[2] = np.cross(basis[0], basis[1]) / np.linalg.norm(np.cross(basis[0], basis[1]))
    inverse = np.linalg.inv(basis)
    pure = np.abs(rotations - np.eye(3)).max((1, 2)) < 1e-4
    basis = _lattice_with(translations[pure] @ inverse) @ basis
    inverse = np.linalg.inv(basis)
    integer = np.rint(np.einsum("ai,nij,jb->nba", basis, rotations.swapaxes(1, 2), inverse)).astype(int)
    _, first = np.unique(integer, axis=0, return_index=True)
    shifts = (translations @ inverse)[first]
    if pbc.all():
        group = moyopy.SpaceGroup(integer[first].tolist(), (shifts % 1).tolist(), basis=basis.tolist())
        return SpaceGroup(group.number, moyopy.SpaceGroupType(group.number).hm_short.replace(" ", ""))
    shifts = shifts % 1 * [1, 1, 0]  # the origin goes to the middle of the slab
    flat = Cell.new(Cell(basis).cellpar())  # a along x, b in the plane, c along z
    layer = moyopy.LayerGroup(integer[first].tolist(), shifts.tolist(), basis=flat.array.tolist())
    return SpaceGroup(layer.number, moyopy.LayerGroupType(layer.number).hm_short.replace(" ", ""))


def _lattice_with(shifts: np.ndarray) -> np.ndarray:
    """Basis [3, 3] (rows) of the lattice that shifts [n, 3], a group modulo whole vectors, make with these."""
    count = len(shifts)
    rows = np.concatenate([count * np.eye(3), np.rint(count * shifts)]).astype(int)
    for column in range(3):  # Hermite normal form: Euclid's algorithm on the rows that are left
        while (left := np.flatnonzero(rows[column:, column]) + column).size:
            least = left[np.argmin(np.abs(rows[left, column]))]
            rows[[column, least]] = rows[[least, column]]
            rows[column + 1 :] -= rows[column + 1 :, column : column + 1] // rows[column, column] * rows[column]
            if not rows[column + 1 :, column].any():
                break
    return rows[:3] / count
