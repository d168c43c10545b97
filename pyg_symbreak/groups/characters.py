"""Characters of the real irreducible representations of finite point groups, with Mulliken's names.

Two complex conjugate representations, as of C_3 or T, are one real one of twice the dimension, named E as in the usual
tables; its character has the norm 2 and not 1. Names follow R. S. Mulliken, J. Chem. Phys. 23, 1997 (1955), with x, y
and z the standard axes of the group: B1 is symmetric under the half-turns or mirrors whose axis or plane holds x.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from .irreps import irreps_terms
from .point_group import PointGroup
from .standard import Standard, axis_and_angle, standard

__all__ = ["CharacterTable", "character_table"]


@dataclass(frozen=True, eq=False)
class CharacterTable:
    """The real irreps of a finite point group.

    Attributes
    ----------
    group : PointGroup
    names : tuple of str
        Mulliken's symbols.
    classes : list of list of int
        The conjugacy classes of elements, as positions in ``group.matrices``.
    characters : float64 array [irreps, classes]
    """

    group: PointGroup
    names: tuple[str, ...]
    classes: list[list[int]]
    characters: np.ndarray

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.array([len(c) for c in self.classes])

    def row(self, name: str) -> np.ndarray:
        """The character of an irrep, float64 [classes].

        Raises
        ------
        ValueError
            The group has no irrep of this name; the names are listed.
        """
        if name not in self.names:
            raise ValueError(f"{self.group.schoenflies} has no irrep {name!r}; its irreps are {', '.join(self.names)}")
        return self.characters[self.names.index(name)]

    def decompose(self, character: Any) -> dict[str, int]:
        """How often each irrep is in a real representation with the given character [classes].

        Raises
        ------
        ValueError
            The numbers are not the character of a real representation.
        """
        character = np.asarray(character, dtype=np.float64)
        if character.shape != self._sizes.shape:
            raise ValueError(f"character must have one number for each of {len(self.classes)} classes")
        weights = self._sizes * self.characters
        counts = weights @ character / (weights * self.characters).sum(1)
        whole = np.round(counts).astype(int)
        if not np.abs(whole @ self.characters - character).max() < 1e-6 or (whole < 0).any():
            raise ValueError(
                f"{character.tolist()} is not the character of a real representation of {self.group.schoenflies}"
            )
        return {name: int(count) for name, count in zip(self.names, whole, strict=True) if count}

    def product(self, *names: str) -> dict[str, int]:
        """The irreps in the product of some irreps."""
        return self.decompose(np.prod([self.row(name) for name in names], axis=0))

    def symmetric_square(self, name: str) -> dict[str, int]:
        """The irreps in the symmetric part of the square of an irrep: its character is (χ(g)² + χ(g²))/2."""
        return self.decompose((self.row(name) ** 2 + self.row(name)[self._squares]) / 2)

    def antisymmetric_square(self, name: str) -> dict[str, int]:
        """The irreps in the antisymmetric part of the square of an irrep: its character is (χ(g)² - χ(g²))/2."""
        return self.decompose((self.row(name) ** 2 - self.row(name)[self._squares]) / 2)

    def jahn_teller_active(self, state: str) -> dict[str, int]:
        """The irreps of displacements along which a degenerate orbital state splits to first order.

        They are what is in the symmetric square of the state's irrep beside the totally symmetric one (H. A. Jahn and
        E. Teller, Proc. R. Soc. A 161, 220 (1937)); spin-orbit coupling is left out. Whether a molecule has such
        displacements is another question.
        """
        return {name: count for name, count in self.symmetric_square(state).items() if name != self.names[0]}

    def of_irreps(self, irreps: Any) -> dict[str, int]:
        """The irreps in irreps of O(3), e3nn's or a string: ``"1o"`` of x, y, z, ``"1e"`` of rotations about them."""
        elements = self.group.matrices[[c[0] for c in self.classes]]
        det = np.sign(np.linalg.det(elements))
        angles = axis_and_angle(elements * det[:, None, None])[1]
        total = np.zeros(len(angles))
        for mul, (l, p) in irreps_terms(irreps):
            total += mul * np.where(det < 0, p, 1) * _turned(l, angles)
        return self.decompose(total)

    @cached_property
    def _squares(self) -> np.ndarray:
        """For each class the class of its elements' squares."""
        class_of = np.zeros(len(self.group.matrices), dtype=np.int64)
        for i, members in enumerate(self.classes):
            class_of[members] = i
        first = np.array([c[0] for c in self.classes])
        return class_of[self.group.finite_group.product(first, first)]

    def __repr__(self) -> str:
        return f"CharacterTable({self.group.schoenflies}, {', '.join(self.names)})"


def character_table(group: PointGroup) -> CharacterTable:
    """The characters of the real irreps of a finite point group.

    Parameters
    ----------
    group : PointGroup
        In any orientation; x, y, z in the meaning of the names are its standard axes (``group.frame``).

    Raises
    ------
    ValueError
        The group is continuous.

    Examples
    --------
    >>> table = character_table(PointGroup("Oh"))
    >>> table.of_irreps("1o"), table.jahn_teller_active("Eg"), table.jahn_teller_active("T2g")
    ({'T1u': 1}, {'Eg': 1}, {'Eg': 1, 'T2g': 1})
    >>> character_table(PointGroup("D6h")).product("E1g", "E2u")
    {'B1u': 1, 'B2u': 1, 'E1u': 1}
    """
    if not group.is_finite:
        raise ValueError(f"{group.schoenflies} is continuous: it has infinitely many irreps, which are not listed")
    names, characters = _of_standard(group.schoenflies)
    places = standard(group.schoenflies).locate(group.frame.T @ group.matrices @ group.frame)[0]
    classes = group.element_classes
    return CharacterTable(group, names, classes, characters[:, places[[c[0] for c in classes]]])


@cache
def _of_standard(name: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names, and characters [irreps, order] of the elements of the group in its standard orientation."""
    group = standard(name)
    rotations, improper = _proper_parts(group)
    with_inversion = bool((np.abs(group.elements + np.eye(3)).max((1, 2)) < 1e-9).any())
    with_mirror = bool((np.abs(group.elements - np.diag([1.0, 1, -1])).max((1, 2)) < 1e-9).any())
    if group.axial is None:
        rows = _polyhedral("O" if name == "Td" else name[0], rotations)
        marks = ("g", "u") if with_inversion else None
    elif with_inversion:  # the product with C_i
        k, f, s = group.axial.triples.T
        rows = _about_axis(name, group, (k + s * group.axial.m // 2) % group.axial.m, f)
        marks = ("g", "u")
    else:
        k, f, _ = group.axial.triples.T
        rows = _about_axis(name, group, k, f)
        marks = ("'", "''") if with_mirror else None  # the product with C_s
    if marks is None:
        return tuple(rows), np.array(list(rows.values()))
    names = tuple(row + mark for mark in marks for row in rows)
    table = np.array(list(rows.values()))
    return names, np.concatenate([table, table * np.where(improper, -1, 1)])


def _proper_parts(group: Standard) -> tuple[np.ndarray, np.ndarray]:
    """The rotation R of each element R or -R, and which are improper."""
    improper = np.linalg.det(group.elements) < 0
    return group.elements * np.where(improper, -1, 1)[:, None, None], improper


def _about_axis(name: str, group: Standard, k: np.ndarray, f: np.ndarray) -> dict[str, np.ndarray]:
    """Characters by the turn k about the axis and by whether an element reverses it or holds it in a mirror.

    A factor C_i or C_s is not in them. The group is then cyclic or dihedral, with an n-fold generator.
    """
    assert group.axial is not None
    n = len(np.unique(k[f == 0]))
    turn = k * n // group.axial.m
    one, alternating = np.ones(len(k)), 1.0 - 2 * (turn % 2)
    across = 1.0 - 2 * f  # A2: turns about the axis against the other elements
    dihedral = bool((f == 1).any())
    if n == 2 and dihedral and "v" not in name:  # D_2: named by the axis that an irrep is even under
        return {"A": one, "B1": across, "B2": alternating * across, "B3": alternating}
    rows: dict[str, np.ndarray] = {"A1": one, "A2": across} if dihedral else {"A": one}
    if n % 2 == 0:
        rows |= {"B1": alternating, "B2": alternating * across} if dihedral else {"B": alternating}
    degenerate = range(1, (n + 1) // 2)
    for order in degenerate:
        rows[f"E{order}" if len(degenerate) > 1 else "E"] = np.where(f, 0, 2 * np.cos(2 * np.pi * order * turn / n))
    return rows


def _turned(l: int, angles: np.ndarray) -> np.ndarray:
    """The character of the irrep l of SO(3), 1 + 2 cos θ + ... + 2 cos lθ."""
    return 1 + 2 * sum((np.cos(m * angles) for m in range(1, l + 1)), np.zeros_like(angles))


def _polyhedral(family: str, rotations: np.ndarray) -> dict[str, np.ndarray]:
    """Characters of T, O or I, from those of SO(3) that they are parts of."""
    angles = axis_and_angle(rotations)[1]
    one, vector, quadrupole, octupole = (_turned(l, angles) for l in range(4))
    if family == "I":
        four = _turned(4, angles) - quadrupole
        return {"A": one, "T1": vector, "T2": octupole - four, "G": four, "H": quadrupole}
    if family == "T":
        return {"A": one, "E": quadrupole - vector, "T": vector}
    # the permutations of the three axes: even for T, odd for the rest of O
    odd = np.linalg.det(np.abs(np.round(rotations)))
    return {"A1": one, "A2": odd, "E": quadrupole - odd * vector, "T1": vector, "T2": odd * vector}
