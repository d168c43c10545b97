"""Finite groups about one axis by arithmetic: cyclic and dihedral groups need no multiplication table.

The elements of D_mh are R^k X^f M^s with R the turn by 2π/m about z, X the half-turn about x and M the mirror across z;
k is taken modulo m, f and s modulo 2. As X R = R⁻¹ X and M commutes with all,

    (k, f, s)·(k', f', s') = (k + (-1)^f k', f + f', s + s').

Every finite point group that is not polyhedral is such a subgroup, and so are all of its own. One is given by the
step t of its rotations, k ∈ t·Z with t | m, and for each other kind (f, s) either nothing or an offset: k ∈ offset +
t·Z. An element of the kind (0, 1) has the square R^2k, so its offset is 0 or t/2; of three offsets each is fixed by the
other two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .finite_group import FiniteGroup, Subgroup

__all__ = ["AxialGroup", "Steps"]


class Steps(NamedTuple):
    """A subgroup of D_mh: the step of its rotations, and the offset of each kind of other elements, or None.

    ``rotary`` is that of R^k M (the mirror across the axis, the inversion, S_n), ``turn`` of half-turns R^k X across
    the axis, ``mirror`` of mirrors R^k X M that hold it.
    """

    step: int
    rotary: int | None = None
    turn: int | None = None
    mirror: int | None = None

    @property
    def kinds(self) -> tuple[bool, ...]:
        """Which kinds of elements there are."""
        return tuple(x is not None for x in self)

    def meets(self, other: Steps) -> Steps:
        """Step of the common rotations, and kinds of the common elements; offsets are those of this group."""
        common = math.gcd(self.step, other.step)
        offsets = (
            a if a is not None and b is not None and (a - b) % common == 0 else None
            for a, b in zip(self[1:], other[1:], strict=True)
        )
        return Steps(math.lcm(self.step, other.step), *offsets)

    def holds(self, other: Steps) -> bool:
        """Whether the other is a subgroup."""
        return other.step % self.step == 0 and self.meets(other).kinds == other.kinds


class AxialGroup(FiniteGroup):
    """A subgroup of D_mh, as a `FiniteGroup` without a table: the same methods, by arithmetic.

    Parameters
    ----------
    m : int
    triples : int array [order, 3]
        (k, f, s) of each element; they must be a subgroup of D_mh.
    """

    def __init__(self, m: int, triples: Any):
        self.m = m
        self.triples = np.asarray(triples, dtype=np.int64)
        self.order = len(self.triples)
        self._index = np.full((m, 2, 2), -1)
        self._index[tuple(self.triples.T)] = np.arange(self.order)
        self.identity = int(self._index[0, 0, 0])
        k, f, s = self.triples.T
        self.inverse = self._index[np.where(f, k, -k) % m, f, s]
        self.steps = self._steps(range(self.order))

    @cached_property
    def table(self) -> np.ndarray:
        """int [order, order]: ``table[a, b]`` is the index of the product a·b."""
        line = np.arange(self.order)
        return self.product(line[:, None], line)

    def product(self, a: Any, b: Any) -> np.ndarray:
        """The index of each product a·b, with a and b broadcast."""
        (k, f, s), (k2, f2, s2) = (self.triples[x].transpose(-1, *range(np.ndim(x))) for x in (a, b))
        return self._index[(k + np.where(f, -k2, k2)) % self.m, f ^ f2, s ^ s2]

    def reordered(self, places: Any) -> AxialGroup:
        """The same group with its elements in another order: element i is the one at ``places[i]`` here."""
        return AxialGroup(self.m, self.triples[places])

    def place(self, k: np.ndarray, f: np.ndarray, s: np.ndarray) -> np.ndarray:
        """The index of each element R^k X^f M^s, -1 where the group does not have it."""
        return self._index[k % self.m, f, s]

    # ------------------------------------------------------------------ subgroups as steps and offsets

    def _steps(self, subgroup: Iterable[int]) -> Steps:
        """The subgroup that some elements generate."""
        k, f, s = self.triples[np.fromiter(subgroup, dtype=np.int64)].T
        step, offsets = math.gcd(self.m, *k[(f == 0) & (s == 0)].tolist()), []
        for kind in ((0, 1), (1, 0), (1, 1)):
            found = k[(f == kind[0]) & (s == kind[1])]
            offsets.append(int(found[0]) if len(found) else None)
            step = math.gcd(step, *(found - found[:1]).tolist())
        return _closed(step, *offsets)

    def _members(self, steps: Steps, offsets: np.ndarray | None = None) -> np.ndarray:
        """The sorted indices of the elements, int [c, size], of subgroups with offsets [c, 2] (default: its own)."""
        if offsets is None:
            offsets = np.array([[x or 0 for x in steps[2:]]])
        line, parts = np.arange(0, self.m, steps.step), []
        fixed = np.zeros(len(offsets), dtype=np.int64)
        for offset, f, s, there in (
            (fixed, 0, 0, True),
            (fixed + (steps.rotary or 0), 0, 1, steps.rotary is not None),
            (offsets[:, 0], 1, 0, steps.turn is not None),
            (offsets[:, 1], 1, 1, steps.mirror is not None),
        ):
            if there:
                parts.append(self._index[line + offset[:, None], f, s])
        return np.sort(np.concatenate(parts, axis=1), axis=1)

    def _moved(self, steps: Steps, movers: np.ndarray) -> np.ndarray:
        """The offsets of half-turns and mirrors of g·H·g⁻¹ for elements g: int [n, 2], 0 where there are none."""
        k, f, _ = self.triples[movers].T
        return np.stack(
            [np.zeros_like(k) if a is None else (np.where(f, -a, a) + 2 * k) % steps.step for a in steps[2:]], axis=1
        )

    def _conjugates(self, steps: Steps, movers: np.ndarray) -> np.ndarray:
        """The distinct rows of `_moved`."""
        return np.stack(np.divmod(np.unique(self._moved(steps, movers) @ [self.m, 1]), self.m), axis=1)

    def generate(self, generators: Iterable[int]) -> Subgroup:
        """The subgroup generated by some elements."""
        return tuple(self._members(self._steps((self.identity, *generators)))[0].tolist())

    def conjugates(self, subgroup: Sequence[int], under: Sequence[int] | None = None) -> list[Subgroup]:
        """The conjugates g·H·g⁻¹ of a subgroup under the elements ``under`` (default: all), sorted."""
        movers = np.arange(self.order) if under is None else np.array(under)
        steps = self._steps(subgroup)
        return sorted(map(tuple, self._members(steps, self._conjugates(steps, movers)).tolist()))

    def normalizer(self, subgroup: Sequence[int], inside: Sequence[int] | None = None) -> Subgroup:
        """N(H) = {g : g·H·g⁻¹ = H}, with g from the whole group or from the subgroup ``inside``."""
        movers = np.arange(self.order) if inside is None else np.array(inside)
        steps = self._steps(subgroup)
        return tuple(movers[(self._moved(steps, movers) == [x or 0 for x in steps[2:]]).all(1)].tolist())

    def generalized_normalizer(self, s: Sequence[int], k: Sequence[int]) -> Subgroup:
        """N(S, K) = {g ∈ N(S) : g·K·g⁻¹ is an S-conjugate of K} = S·(N(S) ∩ N(K))."""
        return self.generate((*s, *self.normalizer(k, inside=self.normalizer(s))))

    @cached_property
    def subgroup_classes(self) -> list[list[Subgroup]]:
        """All subgroups, one list of conjugates for each conjugacy class, small ones first."""
        movers = np.arange(self.order)
        classes = [
            sorted(map(tuple, self._members(steps, offsets).tolist()))
            for steps, offsets in self._classes_between(self._steps([self.identity]), self.steps, movers)
        ]
        return sorted(classes, key=lambda c: (len(c[0]), c[0]))

    def _classes_between(
        self, small: Steps, large: Steps, movers: np.ndarray, avoided: Steps | None = None
    ) -> Iterator[tuple[Steps, np.ndarray]]:
        """The groups H with small ≤ H ≤ large, one for each class under N_large(small), with the offsets of all of it.

        With ``avoided`` only those whose intersection with that normal subgroup is the small group.

        Where the small group has neither half-turns across the axis nor mirrors that hold it, the rotations of the
        large group normalize it, and carry an offset b to b + 2·(step of the large group): b may be taken as one of
        two. Else b is known from the small group.
        """
        seen = set()
        for step in range(large.step, small.step + 1, large.step):
            if small.step % step or (avoided and math.lcm(step, avoided.step) != small.step):
                continue
            for steps in _with_offsets(step, small, large):
                if not (large.holds(steps) and steps.holds(small)):
                    continue
                if avoided and steps.meets(avoided).kinds != small.kinds:
                    continue
                offsets = self._conjugates(steps, movers)
                key = step, steps.rotary, steps.kinds, *offsets[0]
                if key not in seen:
                    seen.add(key)
                    yield steps, offsets

    def avoiding_subgroups(self, n: Sequence[int], s: Sequence[int], k: Sequence[int]) -> Iterator[Subgroup]:
        """Subgroups M with K ≤ M ≤ N and M ∩ S = K, one for each class under N_N(K); S must be normal in N."""
        small, normal, large = self._steps(k), self._steps(s), self._steps(n)
        movers = np.array(self.normalizer(k, inside=n))
        found = [
            self._first(self._members(steps, offsets))[1]
            for steps, offsets in self._classes_between(small, large, movers, avoided=normal)
        ]
        yield from sorted(found, key=lambda m: (len(m), m))

    def transversal(self, h: Sequence[int], among: Sequence[int]) -> list[int]:
        """One element of each left coset g·H with g in ``among``, the identity for H itself."""
        t, rotary, turn, mirror = self._steps(h)
        elements = np.array(among)
        elements = elements[np.argsort(elements != self.identity, kind="stable")]
        k, f, s = self.triples[elements].T
        if turn is not None or mirror is not None:  # a coset has elements with f = 0, then with s = 0, then k below t
            k, s = np.where(f, k - (mirror if turn is None else turn), k), s ^ (f if turn is None else 0)
            f = np.zeros_like(f)
        if rotary is not None:
            k, s = np.where(s, np.where(f, k - rotary, k + rotary), k), np.zeros_like(s)
        first = np.unique(4 * (k % t) + 2 * f + s, return_index=True)[1]
        return elements[np.sort(first)].tolist()

    def first_conjugate(self, s: Sequence[int], k: Sequence[int]) -> tuple[int, Subgroup, Subgroup]:
        """An element g that carries (S, K) to the first of its conjugates in lexicographic order, and that one."""
        movers, pair = np.arange(self.order), []
        for subgroup in (s, k):
            steps = self._steps(subgroup)
            offsets = self._conjugates(steps, movers)
            row, members = self._first(self._members(steps, offsets))
            movers = movers[(self._moved(steps, movers) == offsets[row]).all(1)]
            pair.append(members)
        return int(movers[0]), pair[0], pair[1]

    @staticmethod
    def _first(rows: np.ndarray) -> tuple[int, Subgroup]:
        """The first row in lexicographic order."""
        row = int(np.lexsort(rows.T[::-1])[0])
        return row, tuple(rows[row].tolist())

    def __repr__(self) -> str:
        return f"AxialGroup(order={self.order})"


def _closed(step: int, rotary: int | None, turn: int | None, mirror: int | None) -> Steps:
    """The group generated by R^step and one element of each of the kinds given, with a step that divides m."""
    if rotary is None and turn is not None and mirror is not None:
        rotary = turn - mirror
    if rotary is not None:
        step = math.gcd(step, 2 * rotary)
        if turn is not None and mirror is not None:
            step = math.gcd(step, rotary + mirror - turn)
        elif turn is not None:
            mirror = rotary + turn
        elif mirror is not None:
            turn = rotary + mirror
    return Steps(step, *(None if a is None else a % step for a in (rotary, turn, mirror)))


def _with_offsets(step: int, small: Steps, large: Steps) -> Iterator[Steps]:
    """Groups of a step that hold all classes of those between a small and a large group."""
    rotary = {0, step // 2} if step % 2 == 0 else {0}
    turns, mirrors = (
        [(None if b is None else b + large.step * i if a is None else a) for i in (0, 1)]
        for a, b in zip(small[2:], large[2:], strict=True)
    )
    for turn in dict.fromkeys((None, *turns)):
        for mirror in dict.fromkeys((None, *mirrors)):
            if turn is None and mirror is None:
                yield from (_closed(step, a, None, None) for a in (None, *sorted(rotary)))
            elif turn is None or mirror is None:
                yield _closed(step, None, turn, mirror)
            else:
                yield from (_closed(step, a, turn, None) for a in sorted(rotary))
                yield from (_closed(step, a, None, mirror) for a in sorted(rotary))
