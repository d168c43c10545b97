"""Octahedra of perovskites ABX3, and how they are tilted: Glazer symbols to fields and back.

A. M. Glazer, *Acta Crystallographica* B 28, 3384 (1972): three letters for the angles about the pseudocubic axes, equal
ones for equal angles, each with + where octahedra that follow each other along the axis turn the same way, - where
they turn opposite ways, 0 without a tilt. Octahedra that share a corner across the axis always turn opposite ways.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation
from torch_geometric.data import Data

from .checks import check_structure
from .neighbors import neighbor_pairs

__all__ = ["GLAZER", "Octahedra", "Tilts", "find_octahedra", "parse_glazer"]

GLAZER = re.compile(r"([abc])([0+-])([abc])([0+-])([abc])([0+-])")
"""A Glazer symbol, such as a0b+b-."""
ANGLES = {"a": 1.0, "b": 0.75, "c": 0.5}
"""Relative angles that letters stand for."""
FAR = 1.2
"""The seventh neighbour of the centre of an octahedron is further than this times the sixth."""


def parse_glazer(symbol: str) -> tuple[tuple[str, str], tuple[str, str], tuple[str, str]]:
    """Letter and sign about each axis.

    Raises
    ------
    ValueError
        It is no Glazer symbol.

    Examples
    --------
    >>> parse_glazer("a0b-b-")
    (('a', '0'), ('b', '-'), ('b', '-'))
    """
    found = GLAZER.fullmatch(symbol)
    if not found:
        raise ValueError(f"{symbol!r} is no Glazer symbol: three letters with signs, such as a+b-b- or a0a0c-")
    a, i, b, j, c, k = found.groups()
    letters = [(a, i), (b, j), (c, k)]
    if any(x == y and s != "0" and "0" in (s, t) and s != t for x, s in letters for y, t in letters):
        raise ValueError(f"{symbol!r}: equal letters are equal angles, and a letter with 0 has none")
    return (a, i), (b, j), (c, k)


@dataclass(frozen=True)
class Tilts:
    """How the octahedra of a structure are tilted.

    Attributes
    ----------
    symbol : str
        Glazer symbol with respect to the pseudocubic axes, which stand in the order that makes it start with what
        has no sign, then +, then -.
    angles : float64 array [3, 2]
        Degrees, about each axis in that order: in phase (+) and out of phase (-).
    axes : float64 array [3, 3]
        Unit vectors (rows) along the pseudocubic axes.
    spread : float
        Root mean square angle, degrees, of what the tilts leave unexplained of the turns of single octahedra.
    """

    symbol: str
    angles: np.ndarray
    axes: np.ndarray
    spread: float


@dataclass(frozen=True, eq=False)
class Octahedra:
    """The octahedra BX6 of a structure, of which each shares its corners with six others.

    Attributes
    ----------
    centers : int array [n]
        Atoms at the centres.
    bonds : int array [m, 3]
        From one centre to the next along an axis: numbers of both among the centres, and the atom between them. All
        six of each octahedron are listed, three of them backwards.
    arms : float64 array [m, 3]
        From the first centre to the atom between, Å.
    directions : int array [m]
        Along which axis a bond is, 1, 2 or 3, negative if backwards.
    axes : float64 array [3, 3]
        Mean unit vectors of the axes.
    edge : float
        Mean distance of centres, Å.
    """

    centers: np.ndarray
    bonds: np.ndarray
    arms: np.ndarray
    directions: np.ndarray
    axes: np.ndarray
    edge: float
    num_atoms: int

    def wave(self, flips: Sequence[bool]) -> np.ndarray | None:
        """Signs [n] of the octahedra that change along the axes with a flip and stay along the others.

        None where the cell does not fit them.
        """
        signs = np.zeros(len(self.centers))
        signs[0] = 1
        step = np.where(np.array(flips)[np.abs(self.directions) - 1], -1.0, 1.0)
        i, j = self.bonds[:, 0], self.bonds[:, 1]
        while (new := (signs[i] != 0) & (signs[j] == 0)).any():
            signs[j[new]] = signs[i[new]] * step[new]
        return signs if (signs[j] == signs[i] * step).all() else None

    def phase(self, axis: int, sign: str) -> np.ndarray | None:
        """Signs of the octahedra in a tilt about an axis, in phase ("+") or out of phase ("-") along it."""
        return self._phases[axis, sign]

    @cached_property
    def _phases(self) -> dict[tuple[int, str], np.ndarray | None]:
        others = {axis: np.arange(3) != axis for axis in range(3)}
        return {(axis, sign): self.wave(others[axis] | (sign == "-")) for axis in range(3) for sign in "+-"}

    def field(self, symbol: str) -> np.ndarray:
        """Rotation vectors [N, 3] on the centres, zero elsewhere, of a tilt system; the largest has length 1.

        Raises
        ------
        ValueError
            It is no Glazer symbol, or the cell does not fit it.
        """
        turns = np.zeros((self.num_atoms, 3))
        for axis, (letter, sign) in enumerate(parse_glazer(symbol)):
            if sign == "0":
                continue
            signs = self.phase(axis, sign)
            if signs is None:
                raise ValueError(
                    f"the cell does not fit the tilt {symbol}: octahedra that turn opposite ways are one and the same "
                    "in it; double the cell along each axis, for example atoms.repeat(2)"
                )
            turns[self.centers] += ANGLES[letter] * np.outer(signs, self.axes[axis])
        return turns / max(np.linalg.norm(turns, axis=1).max(), 1e-300)

    def symbol_of(self, displacements: np.ndarray) -> str | None:
        """Glazer symbol of small displacements [N, 3] that turn the octahedra as rigid bodies, and do nothing else.

        None of others.
        """
        size = np.abs(displacements).max()
        corners = np.bincount(self.bonds[:, 2], minlength=self.num_atoms) > 0
        if np.abs(displacements[~corners]).max(initial=0) > 1e-3 * size:
            return None
        length = np.linalg.norm(self.arms, axis=1)[:, None]
        field, moved = np.zeros((self.num_atoms, 3)), displacements[self.bonds[:, 2]]
        np.add.at(field, self.centers[self.bonds[:, 0]], np.cross(self.arms, moved) / (4 * length**2))
        angles, tilts = np.zeros((3, 2)), np.zeros_like(field)
        for axis in range(3):
            for column, sign in enumerate("+-"):
                signs = self.phase(axis, sign)
                if signs is not None:
                    angles[axis, column] = abs(mean := (signs * (field[self.centers] @ self.axes[axis])).mean())
                    tilts[self.centers] += mean * np.outer(signs, self.axes[axis])
        pure = np.abs(self.displacements(tilts) - displacements).max() < 1e-3 * size
        angles /= max(angles.max(), 1e-300)
        return _symbol(angles, 1e-3)[0] if pure and angles.min(1).max() < 1e-3 else None

    def displacements(self, field: np.ndarray) -> np.ndarray:
        """How the corners move, [N, 3], when rotation vectors [N, 3], small ones, turn the octahedra: Å per radian."""
        moved = np.zeros((self.num_atoms, 3))
        turned = np.cross(field[self.centers[self.bonds[:, 0]]], self.arms)
        np.add.at(moved, self.bonds[:, 2], turned / 2)  # a corner belongs to two
        return moved

    @cached_property
    def turns(self) -> np.ndarray:
        """Rotation vectors [n, 3], radians, of the octahedra against the axes: those that fit their corners best."""
        ideal = np.sign(self.directions)[:, None] * self.axes[np.abs(self.directions) - 1]
        arms = self.arms / np.linalg.norm(self.arms, axis=1)[:, None]
        return np.array(
            [
                Rotation.align_vectors(arms[own], ideal[own])[0].as_rotvec()
                for own in (self.bonds[:, 0] == b for b in range(len(self.centers)))
            ]
        )

    def tilts(self, tolerance: float | None = None) -> Tilts:
        """Angles and Glazer symbol of the structure.

        Parameters
        ----------
        tolerance : float, optional
            Degrees below which an angle is none and two are equal. Default: a half, or where octahedra turn at random
            too, four standard errors of the mean.
        """
        turns = np.degrees(self.turns)
        angles, rest = np.zeros((3, 2)), turns - 0.0
        for axis in range(3):
            for column, sign in enumerate("+-"):
                signs = self.phase(axis, sign)
                if signs is not None:
                    angles[axis, column] = abs(mean := (signs * (turns @ self.axes[axis])).mean())
                    rest -= mean * np.outer(signs, self.axes[axis])
        spread = float(np.sqrt((rest**2).sum(1).mean() / 3))
        if tolerance is None:
            tolerance = max(0.5, 4 * spread / len(turns) ** 0.5)
        symbol, order = _symbol(angles, tolerance)
        return Tilts(symbol, angles[order], self.axes[order], spread)


def _symbol(angles: np.ndarray, tolerance: float) -> tuple[str, np.ndarray]:
    """Glazer symbol of angles [3, 2], in phase and out of phase, and the order of the axes in it."""
    size, kind = angles.max(1), np.where(angles.max(1) < tolerance, 0, 1 + angles.argmax(1))
    alike = (kind[:, None] == kind) & ((kind == 0) | (np.abs(size[:, None] - size) < tolerance))
    order = np.lexsort([size, alike.sum(1), kind])  # of three angles with one sign the two equal ones come last
    kind, alike = kind[order], alike[np.ix_(order, order)]
    letters = ["abc"[int(alike[n].argmax())] for n in range(3)]
    return "".join(letter + "0+-"[k] for letter, k in zip(letters, kind, strict=True)), order


def find_octahedra(x: Data | Atoms) -> Octahedra:
    """Find the octahedra of a perovskite ABX3 in any orientation and cell, tilted or not.

    Parameters
    ----------
    x : Data or ase.Atoms
        A crystal with three times as many atoms of one element X as centres B, each of which has six X for nearest
        neighbours, and each X two centres. Where A has six too, as in LiNbO3, the octahedra are the smaller ones.

    Raises
    ------
    ValueError
        There are no such octahedra.

    Examples
    --------
    >>> places = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    >>> cubic = Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True).repeat(2)
    >>> octahedra = find_octahedra(cubic)
    >>> tilted = cubic.copy()
    >>> tilted.positions += 0.1 * octahedra.displacements(octahedra.field("a+b-b-"))
    >>> find_octahedra(tilted).tilts().symbol
    'a+b-b-'
    """
    atoms = check_structure(x)
    counts = Counter(atoms.numbers.tolist())
    if atoms.pbc.all():
        pairs = [(b, c) for b in counts for c in counts if counts[c] == 3 * counts[b]]
        found = [octahedra for b, c in pairs if (octahedra := _octahedra(atoms, b, c)) is not None]
        if found:
            return min(found, key=lambda octahedra: np.linalg.norm(octahedra.arms, axis=1).mean())
    raise ValueError(
        f"{atoms.get_chemical_formula()}: no octahedra of a perovskite ABX3, centres with six X for nearest neighbours "
        "and three times as many X, each between two centres"
    )


def _octahedra(atoms: Atoms, b: int, x: int) -> Octahedra | None:
    """The octahedra of one element about another, or None."""
    centers, number = np.flatnonzero(atoms.numbers == b), np.full(len(atoms), -1)
    number[centers] = np.arange(len(centers))
    cutoff = 1.6 * (atoms.get_volume() / len(centers)) ** (1 / 3) / 2  # half an edge is an arm
    i, j, shift = neighbor_pairs(atoms, cutoff)
    arm = (atoms.numbers[i] == b) & (atoms.numbers[j] == x)
    i, j = i[arm], j[arm]
    vectors = atoms.positions[j] - atoms.positions[i] + shift[arm] @ atoms.cell.array
    lengths = np.linalg.norm(vectors, axis=1)
    order = np.lexsort([lengths, i])
    i, j, vectors, lengths = i[order], j[order], vectors[order], lengths[order]
    chosen = []
    for center in centers:
        own = np.flatnonzero(i == center)
        if len(own) < 6 or (len(own) > 6 and lengths[own[6]] < FAR * lengths[own[5]]):
            return None
        chosen.extend(own[:6].tolist())
    i, j, vectors = i[chosen], j[chosen], vectors[chosen]
    if (np.bincount(j, minlength=len(atoms))[atoms.numbers == x] != 2).any():
        return None
    partner = np.array([next(m for m in np.flatnonzero(j == j[n]) if m != n) for n in range(len(i))])
    across = vectors - vectors[partner]  # from a centre to the next
    unit = across / np.linalg.norm(across, axis=1)[:, None]
    first = unit[:6]
    axes = [first[0]]
    for v in first:
        if len(axes) < 3 and np.abs(np.array(axes) @ v).max() < 0.6:
            axes.append(v)
    if len(axes) < 3:
        return None
    frame = np.array(axes)
    for _ in range(3):
        overlap = unit @ frame.T
        axis = np.abs(overlap).argmax(1)
        sign = np.sign(overlap[np.arange(len(unit)), axis])
        frame = np.array([(unit * sign[:, None])[axis == k].mean(0) for k in range(3)])
        frame /= np.linalg.norm(frame, axis=1)[:, None]
    if np.abs(overlap).max(1).min() < 0.8 or (np.bincount(axis, minlength=3) != 2 * len(centers)).any():
        return None
    left, _, right = np.linalg.svd(frame)  # the nearest axes at right angles
    bonds = np.column_stack([number[i], number[i[partner]], j])
    edge = float(np.linalg.norm(across, axis=1).mean())
    directions = ((axis + 1) * sign).astype(int)
    return Octahedra(centers, bonds, vectors, directions, left @ right, edge, len(atoms))
