"""The k vectors that fit a supercell, and the letters of the special ones."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import moyopy
import numpy as np

from pyg_symbreak.detect.subgroup import SAME_SHIFT, primitive_operations

__all__ = ["WaveVectors"]

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


class WaveVectors:
    """The k vectors that fit the cell of a crystal: characters of its pure translations modulo those of the cell.

    Parameters
    ----------
    cell, rotations, translations
        As for :func:`~pyg_symbreak.detect.identify_space_group`, of all operations.

    Attributes
    ----------
    vectors : float64 array [n, 3]
        In reciprocal vectors of the primitive cell, from 0 to 1; n is the number of pure translations.
    """

    def __init__(self, cell: np.ndarray, rotations: np.ndarray, translations: np.ndarray):
        basis, integer, shifts = primitive_operations(cell, rotations, translations)
        multiple = np.rint(cell @ np.linalg.inv(basis)).astype(int)  # the cell in the primitive basis
        inverse = np.linalg.inv(multiple)
        exponent = np.lcm.reduce([Fraction(x).limit_denominator(10**4).denominator for x in inverse.flat])
        whole = np.stack(np.meshgrid(*[np.arange(exponent)] * 3), axis=-1).reshape(-1, 3)
        vectors = np.rint(exponent * whole @ inverse.T).astype(int) % exponent
        self.vectors = np.unique(vectors, axis=0) / exponent
        self._integer = integer
        self._pure = np.flatnonzero(np.abs(rotations - np.eye(3)).max((1, 2)) < 1e-4)
        phases = 2j * np.pi * (translations[self._pure] @ np.linalg.inv(basis)) @ self.vectors.T
        self._characters = np.exp(-phases)  # [pure translations, n]
        group = moyopy.SpaceGroup(integer.tolist(), (shifts % 1).tolist(), basis=basis.tolist(), epsilon=SAME_SHIFT)
        self._lattice = moyopy.SpaceGroupType(group.number).bravais_class
        centering = moyopy.HallSymbolEntry(group.hall_number).centering.linear
        self._conventional = np.array(group.linear) @ np.array(centering)  # columns: its vectors in primitive ones

    def stars(self) -> list[np.ndarray]:
        """All k vectors in stars [m, 3], those that operations carry to each other, the smaller ones first."""
        found: list[np.ndarray] = []
        left = self.vectors
        while len(left):
            images = np.linalg.inv(self._integer).swapaxes(1, 2) @ left[0]
            apart = left[:, None] - images
            inside = (np.abs(apart - np.rint(apart)).max(2) < 1e-4).any(1)
            found.append(left[inside])
            left = left[~inside]
        return sorted(found, key=lambda star: np.linalg.norm((star + 0.499) % 1 - 0.499, axis=1).min().round(6))

    def folded(self, operations: Sequence[int]) -> list[str]:
        """Letters of the k vectors, without Γ, of waves that the translations among some operations leave as they are.

        Those without a letter are k.
        """
        rows = np.isin(self._pure, operations)
        left = self.vectors[np.abs(self._characters[rows] - 1).max(0) < 1e-4]
        stars = [star for star in self.stars() if star.any() and (star[:, None] == left).all(2).any()]
        return list(dict.fromkeys(self.named(star)[0] or "k" for star in stars))

    def star(self, character: np.ndarray) -> np.ndarray:
        """The k vectors [m, 3] in an irrep, from its character at all operations."""
        share = (np.conj(self._characters) * character[self._pure][:, None]).mean(0).real
        return self.vectors[share > 0.5]

    def named(self, star: np.ndarray) -> tuple[str | None, tuple[float, ...]]:
        """Letter of the special vector in a star, None where it has no name, and a vector of the star.

        The vector is in reciprocal vectors of the conventional cell. Letters are those of the group that all operations
        make; that of zero is Γ.
        """
        if np.abs(star).max() < 1e-4:
            return "Γ", (0.0, 0.0, 0.0)
        for letter, halves in SPECIAL.get(self._lattice, {}).items():
            special = np.linalg.solve(self._conventional.T, np.array(halves) / 2)
            difference = star - special
            if (np.abs(difference - np.rint(difference)).max(1) < 1e-4).any():
                return letter, tuple(x / 2 for x in halves)
        return None, tuple(np.round(self._conventional.T @ star[0], 6).tolist())
