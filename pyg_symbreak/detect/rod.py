"""Operations of rods, structures that are periodic along one axis: screws, glides and reflections of any order.

About the axis, where w = x + iy is the place of an atom across it and z its height, an operation takes (w, z) to
(e^{ia} w, s z + t), or, if it changes the hand across the axis, to (e^{ia} w*, s z + t), with s = 1 or -1. Where it
carries one atom off the axis fixes a and t, so that there are four operations at most for each atom of the same kind.
"""

from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["RodOperations", "line_group"]

PILOTS = 8
"""Atoms that are tried first."""


class _Candidate(NamedTuple):
    """An operation that permutes the atoms: s, whether it keeps the hand, a, t (a share of the period)."""

    sign: int
    hand: int
    angle: float
    shift: float
    permutation: np.ndarray
    residual: float


class RodOperations:
    """The operations that permute the atoms of a rod, each by itself as near as it can be.

    Parameters
    ----------
    across : array [N, 2]
        Places of the atoms across the axis, from their mean, Å.
    heights : array [N]
        In periods.
    period : float
        Å.
    kinds : array [N]
    reach : float
        Operations miss by no more than this, Å.
    """

    def __init__(self, across: np.ndarray, heights: np.ndarray, period: float, kinds: np.ndarray, reach: float) -> None:
        self.places, self.heights = across @ np.array([1, 1j]), heights
        self.period, self.kinds, self.reach = period, kinds, reach
        radius = np.abs(self.places)
        self.thickness = float(radius.max())
        alike = (kinds[:, None] == kinds) & (np.abs(radius[:, None] - radius) <= 2 * reach)
        outer = np.flatnonzero(radius >= self.thickness / 2)
        self.first = int(outer[alike[outer].sum(1).argmin()])  # the angle of an outer atom is known best
        boxed = np.column_stack([across, (heights % 1.0) * period])
        boxed[boxed[:, 2] >= period, 2] = 0.0
        self._tree = cKDTree(boxed, boxsize=[0, 0, period])
        self._pilots = np.unique(np.linspace(0, len(kinds) - 1, PILOTS).astype(int))
        found = (
            self._candidate(sign, hand, int(image))
            for sign, hand in product((1, -1), (1, -1))
            for image in np.flatnonzero(alike[self.first])
        )
        self.candidates = [candidate for candidate in found if candidate is not None]
        self._index = {self._key(c.sign, c.hand, c.permutation): i for i, c in enumerate(self.candidates)}

    def _candidate(self, sign: int, hand: int, image: int) -> _Candidate | None:
        """The operation that carries the first atom to its image, if it permutes all of them."""
        places = self.places if hand == 1 else self.places.conj()
        turn = self.places[image] / places[self.first]
        turn /= abs(turn)
        shift = self.heights[image] - sign * self.heights[self.first]
        if self._nearest(turn * places[self._pilots], sign * self.heights[self._pilots] + shift) is None:
            return None
        found = self._nearest(turn * places, sign * self.heights + shift)
        if found is None or (self.kinds[found] != self.kinds).any() or len(set(found.tolist())) < len(found):
            return None
        overlap = (self.places[found] * places.conj()).sum()
        turn = overlap / abs(overlap)
        misses = self.heights[found] - sign * self.heights - shift
        misses -= np.round(misses)
        shift += misses.mean()
        apart = np.hypot(np.abs(turn * places - self.places[found]), self.period * (misses - misses.mean()))
        if apart.max() > self.reach:
            return None
        return _Candidate(sign, hand, float(np.angle(turn)), float(shift), found, float(apart.max()))

    def _nearest(self, places: np.ndarray, heights: np.ndarray) -> np.ndarray | None:
        """Atoms at these places, None if there is none at one of them."""
        z = (heights % 1.0) * self.period
        moved = np.column_stack([places.real, places.imag, np.where(z >= self.period, 0.0, z)])
        far, found = self._tree.query(moved)
        return found if far.max() <= 6 * self.reach else None  # the angle is known from one atom only

    def _key(self, sign: int, hand: int, permutation: np.ndarray) -> tuple[int, int, int]:
        return sign, hand, int(permutation[self.first])

    def group(self, tolerance: float) -> tuple[np.ndarray, np.ndarray] | None:
        """The group that the operations that miss by no more than a tolerance generate.

        Returns
        -------
        rotations : array [n, 3, 3]
            Of coordinates (z, x, y), exact.
        shifts : array [n, 3]
            In periods along z, zero across.
            None if products are no operations themselves, or angles do not fit.
        """
        members = self._generated([i for i, c in enumerate(self.candidates) if c.residual <= tolerance])
        if members is None:
            return None
        angles: dict[int, float] = {}
        shifts = {i: self.candidates[i].shift for i in members}
        for i in members:
            if self.candidates[i].hand == 1:
                order = self._order(i)
                turns, steps = order * self.candidates[i].angle / (2 * np.pi), order * shifts[i]
                is_screw = self.candidates[i].sign == 1
                if abs(turns - round(turns)) > 0.25 or (is_screw and abs(steps - round(steps)) > 0.25):
                    return None
                angles[i] = 2 * np.pi * (round(turns) % order) / order
                if is_screw:
                    shifts[i] = round(steps) % order / order
        reflection = next((i for i in members if self.candidates[i].hand == -1), None)
        if reflection is not None:
            products = {self._product(i, reflection): angle for i, angle in angles.items()}
            off = sum(np.exp(1j * (self.candidates[i].angle - angle)) for i, angle in products.items())
            angles |= {i: angle + float(np.angle(off)) for i, angle in products.items()}
        rotations = np.zeros((len(members), 3, 3))
        for row, i in enumerate(members):
            c, s, hand = np.cos(angles[i]), np.sin(angles[i]), self.candidates[i].hand
            rotations[row, 0, 0] = self.candidates[i].sign
            rotations[row, 1:, 1:] = [[c, -hand * s], [s, hand * c]]
        return rotations, np.array([[shifts[i], 0.0, 0.0] for i in members])

    def _product(self, a: int, b: int) -> int:
        """Number of the operation b followed by a, -1 if there is none."""
        one, two = self.candidates[a], self.candidates[b]
        key = self._key(one.sign * two.sign, one.hand * two.hand, one.permutation[two.permutation])
        return self._index.get(key, -1)

    def _generated(self, generators: Iterable[int]) -> list[int] | None:
        """All products, the identity first; None if some are no operations."""
        start = self._index.get((1, 1, self.first), -1)
        reached, used = {start}, []
        for generator in generators:
            if generator in reached:
                continue
            used.append(generator)
            frontier = list(reached)
            while frontier:
                products = {self._product(a, b) for a in used for b in frontier}
                frontier = list(products - reached)
                reached |= products
        return None if -1 in reached else [start, *sorted(reached - {start})]

    def _order(self, number: int) -> int:
        power, order = number, 1
        while power != self._index[1, 1, self.first]:
            power, order = self._product(power, number), order + 1
        return order


def line_group(rotations: np.ndarray, shifts: np.ndarray, translations: int) -> str:
    """Symbol of a line group, as in Damnjanović & Milošević, Line Groups in Physics (2010), table 2.1.

    Parameters
    ----------
    rotations : array [n, 3, 3]
        Of coordinates (z, x, y), z along the axis, one operation for each.
    shifts : array [n]
        Along z, in periods of the cell.
    translations : int
        How many pure translations the cell holds.

    Examples
    --------
    >>> half_turn, mirror = np.diag([1.0, -1, -1]), np.diag([1.0, -1, 1])
    >>> line_group(np.array([np.eye(3), half_turn, mirror, mirror @ half_turn]), np.array([0, 0.5, 0, 0.5]), 1)
    'L2_1mc'
    """
    signs, hands = np.sign(rotations[:, 0, 0]), np.sign(np.linalg.det(rotations[:, 1:, 1:]))
    turns = np.arctan2(rotations[:, 2, 1], rotations[:, 1, 1]) / (2 * np.pi) % 1.0
    steps = shifts * translations % 1.0  # in primitive periods
    proper = np.flatnonzero((signs > 0) & (hands > 0))
    n = len(proper)
    single = proper[np.round(turns[proper] * n) % n == 1 % n][0]
    p = round(steps[single] * n) % n
    axis = f"{n}_{p}" if p else f"{n}"
    improper = turns[(signs < 0) & (hands > 0)]
    is_flat = bool((np.abs(improper - np.round(improper)) < 1e-6).any())
    if len(improper):
        inverse = -2 * n if is_flat == bool(n % 2) else -n
        axis = f"{axis}/m" if is_flat and n % 2 == 0 else f"{inverse}"
    glides = np.round(2 * steps[(signs > 0) & (hands < 0)]) % 2
    flips = bool(((signs < 0) & (hands < 0)).any())
    if not len(glides):
        return f"L{axis}" + (" 2" if n % 2 else " 22") * flips
    letters = "mc" if 0 < glides.sum() < len(glides) else "c" if glides.any() else "m"
    if axis.startswith("-"):
        return f"L{axis}{letters}" if n % 2 and not is_flat else f"L{axis} 2{letters}"
    if n % 2 == 0 and letters != "mc":
        letters *= 2
    return f"L{axis}{'cm' if '/' in axis and letters == 'mc' else letters}"
