"""Subgroups of the symmetry of a structure: their space group, lattice and setting, from the operations alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

import moyopy
import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.geometry import minkowski_reduce

from pyg_symbreak.groups import PointGroup

if TYPE_CHECKING:
    from pyg_symbreak.detect.symmetry import Symmetry

__all__ = [
    "SpaceGroup",
    "SymmetrySubgroup",
    "hermite_form",
    "identify_space_group",
    "integer_rotations",
    "point_order",
    "primitive_operations",
    "space_group_numbers",
]


SAME_SHIFT = 0.01
"""Shifts of fractional coordinates are the same to within this: atoms of relaxed structures miss their places."""


class SpaceGroup(NamedTuple):
    """Type of the space group (or of the layer group of a slab): number and Hermann-Mauguin symbol."""

    number: int
    symbol: str


@dataclass(frozen=True, eq=False)
class SymmetrySubgroup:
    """A subgroup K of the operations of a symmetry S.

    Made by :meth:`Symmetry.subgroup` and :meth:`Symmetry.stabilizer`.

    Attributes
    ----------
    symmetry : Symmetry
        S.
    operations : tuple of int
        Rows of the operations of S, sorted.
    signs : tuple of int, optional
        With time reversal: -1 for each operation that keeps the field together with it, 1 for each that keeps it alone.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from pyg_symbreak.detect import detect_symmetry
    >>> s = detect_symmetry(bulk("CsCl", "cesiumchloride", a=4.1, cubic=True) * (1, 1, 2))
    >>> s.order, len(s.pure_translations)
    (32, 2)
    >>> alternating = np.array([[1.0], [0], [-1], [0]])  # on the two Cs
    >>> k = s.stabilizer(alternating, "0e")
    >>> k.order, k.index, k.space_group.symbol, k.lattice.shape
    (16, 2, 'P4/mmm', (3, 3))
    """

    symmetry: Symmetry
    operations: tuple[int, ...]
    signs: tuple[int, ...] | None = None

    @property
    def order(self) -> int:
        """Number of operations of K modulo the lattice of the cell."""
        return len(self.operations)

    @property
    def index(self) -> int:
        """Number of equivalent domains: |S|/|K|, with time reversal 2|S|/|K|."""
        return int(self.symmetry.order) * (1 if self.signs is None else 2) // self.order

    @cached_property
    def point_group(self) -> PointGroup:
        """The distinct rotations, in the frame of the structure."""
        rows = np.unique(self.symmetry.elements.numpy()[list(self.operations)])
        return PointGroup.from_matrices(self.symmetry.group.matrices[rows])

    @property
    def _frame(self) -> tuple[np.ndarray, np.ndarray]:
        """Cell [3, 3] of which the periodic vectors come first, and which these are."""
        lattice = self.symmetry.lattice
        cell = Cell(np.concatenate([lattice, np.zeros((3 - len(lattice), 3))])).complete().array
        return cell, np.arange(3) < len(lattice)

    @property
    def _cartesian(self) -> tuple[np.ndarray, np.ndarray]:
        rows = list(self.operations)
        return self.symmetry.rotations.numpy()[rows], self.symmetry.translations.numpy()[rows]

    @cached_property
    def space_group(self) -> SpaceGroup | None:
        """Its type with all the translations of K; of a slab the layer group, of a rod or a molecule None."""
        return identify_space_group(*self._frame, *self._cartesian) if len(self.symmetry.lattice) > 1 else None

    @cached_property
    def lattice(self) -> np.ndarray:
        """Shortest basis [p, 3], rows, Å, of the lattice that the translations of K make; none of a molecule."""
        cell, pbc = self._frame
        basis = primitive_operations(cell, *self._cartesian)[0]
        return minkowski_reduce(basis, pbc)[0][pbc] if pbc.any() else np.zeros((0, 3))

    def primitive_cell(self, atoms: Atoms) -> Atoms:
        """A structure with the symmetry K in the cell of :attr:`lattice`, which holds one of atoms that K translates.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure of S displaced, and strained, in a way that K keeps.
        """
        periodic = np.asarray(atoms.pbc)
        turns, moves = self._cartesian[0], self.symmetry.permutations.numpy()[list(self.operations)]
        pure = np.abs(turns - np.eye(3)).max((1, 2)) < 1e-6
        out = atoms[np.unique(moves[pure].min(0))]
        cell = atoms.cell.array.copy()
        cell[periodic] = self.lattice @ np.linalg.pinv(self.symmetry.lattice) @ cell[periodic]
        if np.linalg.det(cell) * np.linalg.det(atoms.cell.array) < 0:
            cell[np.flatnonzero(periodic)[0]] *= -1  # as right-handed as it was
        out.set_cell(cell)
        out.wrap()
        return out

    @cached_property
    def setting(self) -> tuple[np.ndarray, np.ndarray]:
        """Cell [3, 3], rows, Å, and origin [3], Å, in which the operations of K are those of the standard tables.

        A position is origin + fractional coordinates times the cell. Of a crystal only.

        Raises
        ------
        ValueError
            The structure is not a crystal.
        """
        if len(self.symmetry.lattice) < 3:
            raise ValueError("only the space group of a crystal, periodic in three directions, has a standard setting")
        basis, integer, shifts = primitive_operations(self.symmetry.lattice, *self._cartesian)
        found = moyopy.SpaceGroup(integer.tolist(), (shifts % 1).tolist(), basis=basis.tolist(), epsilon=SAME_SHIFT)
        centering = moyopy.HallSymbolEntry(found.hall_number).centering.linear
        columns = np.array(found.linear) @ np.array(centering)
        return columns.T @ basis, np.array(found.origin_shift) @ basis

    @cached_property
    def magnetic_group(self) -> int:
        """UNI number (1 to 1651) of the magnetic space group of operations with signs, for a crystal.

        Raises
        ------
        ValueError
            The subgroup was made without time reversal, or the structure is not a crystal.
        """
        if self.signs is None:
            raise ValueError("the subgroup has no signs: make it with stabilizer(..., time_reversal=True)")
        if len(self.symmetry.lattice) < 3:
            raise ValueError("only the operations of a crystal, periodic in three directions, have a UNI number")
        rotations, translations = self._cartesian
        signs = np.array(self.signs)
        alone = signs > 0
        basis = primitive_operations(self.symmetry.lattice, rotations[alone], translations[alone])[0]
        inverse = np.linalg.inv(basis)
        integer = integer_rotations(basis, rotations)
        shifts = np.round(translations @ inverse % 1, 6) % 1
        key = np.column_stack([integer.reshape(len(signs), 9), signs, np.round(shifts * 1e4)])
        first = np.unique(key, axis=0, return_index=True)[1]
        found = moyopy.MagneticSpaceGroup(
            integer[first].tolist(),
            shifts[first].tolist(),
            (signs[first] < 0).tolist(),
            basis=basis.tolist(),
            epsilon=SAME_SHIFT,
        )
        return found.uni_number

    def __repr__(self) -> str:
        kind = self.point_group.schoenflies if self.space_group is None else f"{self.space_group.symbol}"
        number = "" if self.space_group is None else f" ({self.space_group.number})"
        return f"{type(self).__name__}({kind}{number}, order={self.order}, index={self.index})"


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
    basis, integer, shifts = primitive_operations(basis, rotations, translations)
    if pbc.all():
        group = moyopy.SpaceGroup(integer.tolist(), (shifts % 1).tolist(), basis=basis.tolist(), epsilon=SAME_SHIFT)
        return SpaceGroup(group.number, moyopy.SpaceGroupType(group.number).hm_short.replace(" ", ""))
    shifts = shifts % 1 * [1, 1, 0]  # the origin goes to the middle of the slab
    flat = Cell.new(Cell(basis).cellpar())  # a along x, b in the plane, c along z
    layer = moyopy.LayerGroup(integer.tolist(), shifts.tolist(), basis=flat.array.tolist(), epsilon=SAME_SHIFT)
    return SpaceGroup(layer.number, moyopy.LayerGroupType(layer.number).hm_short.replace(" ", ""))


def primitive_operations(
    cell: np.ndarray, rotations: np.ndarray, translations: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Primitive basis [3, 3] (rows), and in it an operation for each rotation: integers [k, 3, 3], shifts [k, 3]."""
    pure = np.abs(rotations - np.eye(3)).max((1, 2)) < 1e-4
    basis = _lattice_with(translations[pure] @ np.linalg.inv(cell)) @ cell
    integer = integer_rotations(basis, rotations)
    _, first = np.unique(integer, axis=0, return_index=True)
    return basis, integer[first], (translations @ np.linalg.inv(basis))[first]


def integer_rotations(basis: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Rotations [n, 3, 3] as they act on columns of coordinates along the rows of a basis, integers."""
    return np.rint(np.linalg.inv(basis).T @ rotations @ basis.T).astype(int)


def _lattice_with(shifts: np.ndarray) -> np.ndarray:
    """Basis [3, 3] (rows) of the lattice that shifts [n, 3], a group modulo whole vectors, make with these."""
    count = len(shifts)
    return hermite_form(np.concatenate([count * np.eye(3), np.rint(count * shifts) % count]).astype(int)) / count


def hermite_form(rows: np.ndarray) -> np.ndarray:
    """Upper triangular basis [r, r] with a positive diagonal of the lattice that integer rows [n, r] of rank r span."""
    rows = rows.copy()
    for column in range(rows.shape[1]):  # Euclid's algorithm on the rows that are left
        while (left := np.flatnonzero(rows[column:, column]) + column).size:
            least = left[np.argmin(np.abs(rows[left, column]))]
            rows[[column, least]] = rows[[least, column]]
            rows[column + 1 :] -= rows[column + 1 :, column : column + 1] // rows[column, column] * rows[column]
            if not rows[column + 1 :, column].any():
                break
    basis = rows[: rows.shape[1]]
    return basis * np.sign(basis.diagonal())[:, None]


@cache
def point_order(number: int) -> int:
    """Number of rotations of a type of space groups."""
    crystal_class = moyopy.SpaceGroupType(number).geometric_crystal_class
    return int(PointGroup(crystal_class.replace(" ", "")).order)


@cache
def space_group_numbers() -> dict[str, int]:
    """Numbers of the 230 space groups by short Hermann-Mauguin symbol, in the standard setting, without blanks.

    Examples
    --------
    >>> space_group_numbers()["Pnma"]
    62
    """
    return {moyopy.SpaceGroupType(n).hm_short.replace(" ", ""): n for n in range(1, 231)}
