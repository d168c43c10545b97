"""The space group of some of the operations of a supercell, from the operations alone, and its k vectors."""

from __future__ import annotations

from fractions import Fraction

import moyopy
import numpy as np
from ase.cell import Cell

from pyg_symbreak.detect import SpaceGroup

__all__ = ["WaveVectors", "identify_space_group"]

SPECIAL: dict[str, dict[str, tuple[float, float, float]]] = {
    "cP": {"X": (0, 1, 0), "M": (1, 1, 0), "R": (1, 1, 1)},
    "cF": {"X": (0, 2, 0), "L": (1, 1, 1), "W": (1, 2, 0)},
    "cI": {"H": (0, 2, 0), "N": (1, 1, 0), "P": (1, 1, 1)},
    "tP": {"Z": (0, 0, 1), "X": (0, 1, 0), "M": (1, 1, 0), "R": (0, 1, 1), "A": (1, 1, 1)},
    "tI": {"M": (0, 0, 2), "X": (1, 1, 0), "N": (1, 0, 1), "P": (1, 1, 1)},
    "oP": {
        "X": (1, 0, 0), "Y": (0, 1, 0), "Z": (0, 0, 1), "S": (1, 1, 0), "U": (1, 0, 1), "T": (0, 1, 1), "R": (1, 1, 1),
    },
    "hP": {"A": (0, 0, 1), "M": (1, 0, 0), "L": (1, 0, 1), "K": (2 / 3, 2 / 3, 0), "H": (2 / 3, 2 / 3, 1)},
}  # fmt: skip
"""Letters of special k vectors by Bravais lattice: halves of the reciprocal vectors of the conventional cell.

C. J. Bradley & A. P. Cracknell, *The Mathematical Theory of Symmetry in Solids*, Oxford 1972; for tI those of c > a.
"""


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
    basis, integer, shifts = _primitive(basis, rotations, translations)
    if pbc.all():
        group = moyopy.SpaceGroup(integer.tolist(), (shifts % 1).tolist(), basis=basis.tolist())
        return SpaceGroup(group.number, moyopy.SpaceGroupType(group.number).hm_short.replace(" ", ""))
    shifts = shifts % 1 * [1, 1, 0]  # the origin goes to the middle of the slab
    flat = Cell.new(Cell(basis).cellpar())  # a along x, b in the plane, c along z
    layer = moyopy.LayerGroup(integer.tolist(), shifts.tolist(), basis=flat.array.tolist())
    return SpaceGroup(layer.number, moyopy.LayerGroupType(layer.number).hm_short.replace(" ", ""))


class WaveVectors:
    """The k vectors that fit the cell of a crystal: characters of its pure translations modulo those of the cell.

    Parameters
    ----------
    cell, rotations, translations
        As for :func:`identify_space_group`, of all operations.

    Attributes
    ----------
    vectors : float64 array [n, 3]
        In reciprocal vectors of the primitive cell, from 0 to 1; n is the number of pure translations.
    """

    def __init__(self, cell: np.ndarray, rotations: np.ndarray, translations: np.ndarray):
        basis, integer, shifts = _primitive(cell, rotations, translations)
        multiple = np.rint(cell @ np.linalg.inv(basis)).astype(int)  # the cell in the primitive basis
        inverse = np.linalg.inv(multiple)
        exponent = np.lcm.reduce([Fraction(x).limit_denominator(10**4).denominator for x in inverse.flat])
        whole = np.stack(np.meshgrid(*[np.arange(exponent)] * 3), axis=-1).reshape(-1, 3)
        vectors = np.rint(exponent * whole @ inverse.T).astype(int) % exponent
        self.vectors = np.unique(vectors, axis=0) / exponent
        self._pure = np.flatnonzero(np.abs(rotations - np.eye(3)).max((1, 2)) < 1e-4)
        phases = 2j * np.pi * (translations[self._pure] @ np.linalg.inv(basis)) @ self.vectors.T
        self._characters = np.exp(-phases)  # [pure translations, n]
        group = moyopy.SpaceGroup(integer.tolist(), (shifts % 1).tolist(), basis=basis.tolist())
        self._lattice = moyopy.SpaceGroupType(group.number).bravais_class
        centering = moyopy.HallSymbolEntry(group.hall_number).centering.linear
        self._conventional = np.array(group.linear) @ np.array(centering)  # columns: its vectors in primitive ones

    def star(self, character: np.ndarray) -> np.ndarray:
        """The k vectors [m, 3] in an irrep, from its character at all operations."""
        share = (np.conj(self._characters) * character[self._pure][:, None]).mean(0).real
        return self.vectors[share > 0.5]

    def letter(self, star: np.ndarray) -> str | None:
        """Letter of the special vector in a star, by the group that all operations make; None where it has no name."""
        for letter, halves in SPECIAL.get(self._lattice, {}).items():
            special = np.linalg.solve(self._conventional.T, np.array(halves) / 2)
            difference = star - special
            if (np.abs(difference - np.rint(difference)).max(1) < 1e-4).any():
                return letter
        return None


def _primitive(
    cell: np.ndarray, rotations: np.ndarray, translations: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Primitive basis [3, 3] (rows), and in it an operation for each rotation: integers [k, 3, 3], shifts [k, 3]."""
    pure = np.abs(rotations - np.eye(3)).max((1, 2)) < 1e-4
    basis = _lattice_with(translations[pure] @ np.linalg.inv(cell)) @ cell
    inverse = np.linalg.inv(basis)
    integer = np.rint(np.einsum("ai,nij,jb->nba", basis, rotations.swapaxes(1, 2), inverse)).astype(int)
    _, first = np.unique(integer, axis=0, return_index=True)
    return basis, integer[first], (translations @ inverse)[first]


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
