"""Symmetry of crystals, slabs and rods: the operations of the first two come from moyo, everything else from here.

Operations are matched and fitted by compiled code, see ``csrc/crystal.h``.
"""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, cached_property
from itertools import chain
from typing import Any, NamedTuple

import moyopy
import numpy as np
from ase.geometry import minkowski_reduce

from pyg_symbreak import _native
from pyg_symbreak.detect.input import Structure
from pyg_symbreak.detect.rod import RodOperations, line_group
from pyg_symbreak.detect.subgroup import SpaceGroup, identify_space_group, point_order
from pyg_symbreak.detect.symmetry import Operations, Supercell, Symmetry, into_cell

__all__ = [
    "Crystal",
    "Refit",
    "averaged_crystal",
    "crystal_displacements",
    "crystal_levels",
    "crystal_symmetry",
    "symmetric_lattice",
]

logging.getLogger("moyo").addHandler(logging.NullHandler())  # heard by those who set up logging


SAFE = 8.0
"""moyo's tolerance is kept this much below the shortest distance: far above that its search may not end."""
ABOVE = 4.0
"""moyo is asked with tolerances up to this much above ours: its bound other distances."""
STEP = 2**0.5
"""Ratio of successive tolerances that moyo is asked with; they are powers of it, whatever ours is."""
IDENTITY = np.eye(3, dtype=np.int64)[None]

flat = chain.from_iterable


@contextmanager
def _garbage_left() -> Iterator[None]:
    """Do not collect garbage: long lists of new objects would set that off, and it visits every object there is."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Proposal(NamedTuple):
    """Operations in coordinates along the cell, rotations [n, 3, 3] and shifts [n, 3], found at a tolerance, Å.

    ``number`` is that of the type of space or layer groups, 0 for rods. ``standard``, of crystals: the matrix Q, the
    shift q and the Hall number of the setting of the primitive cell, x = Q y + q for coordinates y in it.
    """

    rotations: np.ndarray
    shifts: np.ndarray
    number: int
    tolerance: float
    standard: tuple[np.ndarray, np.ndarray, int] | None = None


def crystal_symmetry(structure: Structure, symprec: float) -> Symmetry:
    """Space group of a crystal, layer group of a slab, or line group of a rod, modulo the lattice of the given cell.

    It is the largest one that is proposed, at any tolerance up to a multiple of `symprec`, of which no operation
    misses by more than `symprec`.

    Raises
    ------
    ValueError
        The cell is thinner than the tolerance allows, the tolerance is larger than distances between atoms allow, the
        atoms of a rod are on its axis, or no set of operations that fit within `symprec` is found.
    """
    crystal = Crystal(structure)
    largest = crystal.largest_tolerance(symprec)
    best: Symmetry | None = None
    before: tuple[int, int] | None = None
    is_first = True  # of the groups that are proposed none was refused
    for tolerance in _tolerances(largest):
        if tolerance < 1e-3 * symprec or (best is not None and tolerance < best.residual):
            break
        proposal = crystal.propose(tolerance)
        kind = None if proposal is None else (proposal.number, len(proposal.rotations))
        if kind == before is not None and kind != (1, 1):
            break  # nothing changes from here down to the residual, which is far below
        found = None if proposal is None else crystal.symmetry(proposal, symprec)
        before = None
        if found is None or found.residual > symprec:
            is_first = False
            continue
        if best is None or found.order > best.order:
            best = found
        if found.residual < tolerance / SAFE:
            before = kind
            is_exact = is_first and found.order > 1 and found.residual < 1e-2 * tolerance
            if is_exact or tolerance < symprec / SAFE:
                break
    if best is None:
        raise ValueError(f"no group of operations fits this structure within symprec = {symprec:g} Å")
    return replace(best, symprec=symprec)


def crystal_levels(structure: Structure, limit: float) -> list[Symmetry]:
    """Groups by rising residuals up to `limit`, Å, each larger than the last or of another type.

    The limit is lowered to what the cell and the distances between atoms allow.
    `symprec` of each is the least tolerance that finds it, `plateau` goes from there to that of the next.
    """
    crystal = Crystal(structure)
    limit = crystal.limited(limit)
    found: list[Symmetry] = []
    for tolerance in _tolerances(crystal.largest_tolerance(limit)):
        if tolerance < 1e-5 * limit:
            break
        level = crystal.found_at(tolerance, limit)
        if level is not None and level.residual <= limit:
            low = max(level.residual, tolerance / ABOVE if level.residual > tolerance / SAFE else 0.0)
            found.append(replace(level, symprec=low))
    levels: list[Symmetry] = []
    for level in sorted(found, key=lambda s: (s.symprec, -s.order)):
        if (
            not levels
            or level.order > levels[-1].order
            or (level.order == levels[-1].order and _kind(level) != _kind(levels[-1]))
        ):
            levels.append(level)
    if not levels:
        raise ValueError(f"no group of operations fits this structure within {limit:g} Å")
    ends = [level.symprec for level in levels[1:]] + [float(limit)]
    return [replace(x, plateau=(x.symprec, end)) for x, end in zip(levels, ends, strict=True)]


def _tolerances(largest: float) -> Iterator[float]:
    """Falling tolerances, the same whatever the largest is, so that a larger one sees all that a smaller one sees."""
    power = int(np.floor(np.log(largest) / np.log(STEP)))
    while True:
        yield STEP**power
        power -= 1


def _kind(symmetry: Symmetry) -> SpaceGroup | str | None:
    return symmetry.space_group or symmetry.layer_group or symmetry.line_group


class Crystal:
    """A crystal, slab or rod in coordinates along the vectors of its cell, and the groups proposed for it."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.cell, self.origin = _lattice_of(structure)
        self.periodic = int(structure.pbc.sum())
        self.is_slab, self.is_rod = self.periodic == 2, self.periodic == 1
        self._inverse = np.linalg.inv(self.cell)
        self.fractional = (structure.positions - self.origin) @ self._inverse
        self._numbers = (structure.kinds + 1).tolist()

    def largest_tolerance(self, symprec: float) -> float:
        """Largest tolerance for moyo, Å.

        Raises
        ------
        ValueError
            The cell is too thin for `symprec`, or atoms are too close.
        """
        thickness = self._thickness
        if thickness <= 4 * symprec:
            raise ValueError(f"the cell is {thickness:.2g} Å thin, too thin for symprec = {symprec:g} Å")
        if self.is_rod and self._across.max() <= symprec:
            raise ValueError(
                "all atoms are on the axis along which the structure is periodic, so that its symmetry is continuous, "
                "which is not supported; set pbc to False to treat a fragment as a molecule"
            )
        shortest = self.structure.shortest_within(SAFE * ABOVE * symprec)
        if shortest <= 2 * symprec:
            raise ValueError(
                f"symprec = {symprec:g} Å is too large: two atoms are {shortest:.3g} Å apart, and for "
                "unambiguous images it must be below half of that"
            )
        largest = min(ABOVE * symprec, shortest / SAFE, thickness / 4)
        return min(largest, self._shear_tolerance(shortest, largest))

    def _shear_tolerance(self, shortest: float, enough: float) -> float:
        """Tolerance, Å, at which moyo does not yet take a shear along the lattice for a symmetry, or one above enough.

        It compares angles between vectors of lengths a and c by the arc at the geometric mean of the lengths. A shear
        that adds a to c turns c by about a / c, so that from some part of sqrt(a³ / c) on, a third in the worst of
        oblique cells, it passes. Its powers are a group without end: the search never returns.
        """
        rarest = np.bincount(np.unique(self.structure.kinds, return_inverse=True)[1]).min()

        def tolerance(least: float, most: float) -> float:
            # of the lengths of lattice vectors; no translation has a larger order than the rarest kind has atoms
            return 0.2 * float(np.sqrt(max(shortest, least / rarest) ** 3 / most))

        safe = tolerance(self._thickness, np.sqrt((self.cell**2).sum(1).max()))
        if safe >= enough:
            return safe
        lengths = np.linalg.norm(_reduced(self.cell), axis=1)
        return tolerance(lengths.min(), lengths.max())

    def limited(self, limit: float) -> float:
        """The limit, Å, lowered to what the thickness of the cell and the distances between atoms allow."""
        return min(limit, 0.24 * self._thickness, 0.45 * self.structure.shortest_within(3 * limit))

    @cached_property
    def _thickness(self) -> float:
        return float(1 / np.sqrt((self._inverse**2).sum(0).max()))

    @property
    def _across(self) -> np.ndarray:
        """Distances of the atoms of a rod from its axis, Å."""
        return np.linalg.norm(self.fractional[:, 1:] @ self.cell[1:], axis=1)

    def found_at(self, tolerance: float, symprec: float) -> Symmetry | None:
        """The group that is proposed at a tolerance, None if there is none."""
        proposal = self.propose(tolerance)
        return None if proposal is None else self.symmetry(proposal, symprec)

    def symmetry(self, proposal: Proposal, symprec: float) -> Symmetry | None:
        """The group that is proposed, None if its operations do not permute the atoms.

        Of tensors, the largest group that keeps them within `symprec`.
        """
        number = proposal.number
        kind = None if self.is_rod else SpaceGroup(number, _symbol(number, self.is_slab))
        found = self._group(proposal.rotations, proposal.shifts, kind)
        if found is not None and self.periodic == 3 and len(found.cosets.rotations) < point_order(number):
            found = self._with_type(found, proposal)
        return self._with_tensors(found, symprec) if found is not None and self.structure.tensors else found

    def _with_type(self, found: Symmetry, proposal: Proposal) -> Symmetry | None:
        """A group of which the shape of a supercell hides rotations, with what these miss by in the primitive cell."""
        assert found.supercell is not None
        assert proposal.standard is not None
        linear, origin, hall_number = proposal.standard
        integer, shifts = _standard_operations(proposal.number, hall_number)
        origin = np.linalg.inv(linear) @ origin
        chosen = np.unique(found.supercell.first_images())
        positions = (self.structure.positions - found.supercell.deviations)[chosen]
        primitive = Crystal(
            Structure(positions, linear.T @ self.cell, self.structure.pbc, self.structure.kinds[chosen])
        )
        whole = primitive._group(integer, shifts + origin - origin @ integer.swapaxes(1, 2), found.space_group)
        if whole is None:
            return None
        residual = max(found.residual, whole.residual)
        return replace(found, symprec=residual, largest_residual=residual)

    def propose(self, tolerance: float) -> Proposal | None:
        """What moyo finds, or for rods their own search; None where it fails."""
        if self.is_rod:
            group = self._rod.group(tolerance)
            return None if group is None else Proposal(*group, 0, tolerance)
        cell, fractional = self.cell, self.fractional
        read = moyopy.MoyoLayerDataset if self.is_slab else moyopy.MoyoDataset
        if self.is_slab:  # moyo wants the plane to be xy, and the atoms in one piece between 0 and 1
            cell = np.linalg.qr(cell.T)[1].T
            fractional = fractional + np.array([0.0, 0.0, 0.5])
        try:
            dataset = read(moyopy.Cell(cell.tolist(), (fractional % 1.0).tolist(), self._numbers), symprec=tolerance)
        except ValueError:
            return None
        with _garbage_left():
            rotations = np.fromiter(flat(flat(dataset.operations.rotations)), np.int64).reshape(-1, 3, 3)
            shifts = np.fromiter(flat(dataset.operations.translations), np.float64).reshape(-1, 3)
        if self.is_slab:
            shifts[:, 2] = 0.0  # heights are measured from their mean
        standard = None
        if self.periodic == 3:
            linear, origin = np.array(dataset.prim_std_linear), np.array(dataset.prim_std_origin_shift)
            standard = linear, origin, dataset.hall_number
        return Proposal(rotations, shifts, dataset.number, dataset.symprec, standard)

    @cached_property
    def _rod(self) -> RodOperations:
        across = self.fractional[:, 1:] * np.linalg.norm(self.cell[1:], axis=1)
        reach = min(0.5, self.structure.shortest_within(2.0) / 4)
        period = float(np.linalg.norm(self.cell[0]))
        return RodOperations(across, self.fractional[:, 0], period, self.structure.kinds, reach)

    def _group(self, integer: np.ndarray, shifts: np.ndarray, kind: SpaceGroup | None) -> Symmetry | None:
        """The group of the operations (W, w): f -> W f + w, None if some of them does not permute the atoms.

        It is the product of one operation for each W and the pure translations, and these are products of powers of a
        few, so that only few are matched atom by atom.
        """
        first = _first_of_each(integer)
        is_identity = (integer == IDENTITY).all((1, 2))
        leaders = np.sort(first[~is_identity[first]])
        pure = shifts[is_identity]
        if (len(leaders) + 1) * len(pure) != len(integer):
            return None
        integer = np.concatenate([IDENTITY, integer[leaders]])
        shifts = np.concatenate([np.zeros((1, 3)), shifts[leaders]])
        permutations = self._match(integer, shifts)
        translations = self._generated(pure)
        if permutations is None or translations is None:
            return None
        found = self._fitted(integer, shifts, permutations, translations)
        rotations, center = found.rotations, self.cell[: self.periodic].sum(0) / 2
        vectors = (self._center @ integer.swapaxes(1, 2) + found.shifts) @ self.cell - rotations @ center
        vectors = into_cell(vectors + self.origin - rotations @ self.origin, found.supercell.lattice)
        return Symmetry(
            cosets=Operations(rotations, vectors, permutations),
            symprec=found.largest,
            largest_residual=found.largest,
            space_group=None if self.is_slab else kind,
            layer_group=kind if self.is_slab else None,
            line_group=line_group(integer, found.shifts[:, 0], found.supercell.size) if self.is_rod else None,
            supercell=found.supercell,
        )

    @property
    def _center(self) -> np.ndarray:
        """Centre of the cell, in fractional coordinates."""
        return np.where(np.arange(3) < self.periodic, 0.5, 0.0)

    def _match(self, matrices: np.ndarray, shifts: np.ndarray) -> np.ndarray | None:
        """Permutations [n, N] that the operations [n, 3, 3] and [n, 3] are of the atoms, or None if one is not."""
        turns = np.ascontiguousarray(matrices, dtype=np.float64)
        found = _native.crystal_match(self.fractional, self.structure.kinds, self.cell, turns, shifts)
        return None if found is None else np.frombuffer(found, dtype=np.int64).reshape(len(turns), -1)

    def _fitted(self, matrices, shifts, permutations, translations: "_Translations") -> "_Fit":
        """The group with the cell and shifts of its operations that miss the least."""
        turns = np.ascontiguousarray(matrices, dtype=np.float64)
        steps, moves, counts = translations
        found = _native.crystal_fit(
            self.fractional, self.cell, self.periodic, turns, np.ascontiguousarray(shifts), permutations, steps,
            moves, np.array(counts, dtype=np.int64),
        )  # fmt: skip
        cell, rotations, fitted, deviations, strains = map(np.frombuffer, found[:5])
        supercell = Supercell(
            lattice=self.cell[: self.periodic].copy(),
            permutations=steps,
            vectors=moves @ self.cell,
            counts=counts,
            deviations=deviations.reshape(-1, 3),
            strains=strains.reshape(-1, 2),
            stretch=found[5],
        )
        return _Fit(supercell, cell.reshape(3, 3), rotations.reshape(-1, 3, 3), fitted.reshape(-1, 3), found[6])

    def _generated(self, pure: np.ndarray) -> "_Translations | None":
        """A few pure translations whose products are all of them.

        None if the shifts [k, 3], modulo 1, are no group, or do not act as one on the atoms.
        """
        count, size = len(pure), len(self.fractional)
        if count == 1:
            return _Translations(np.zeros((0, size), dtype=np.int64), np.zeros((0, 3)), ())
        # each translation is of an order that divides their number
        rows: Any = (np.round(pure * count).astype(np.int64) % count).tolist()
        if np.abs(pure * count - np.round(pure * count)).max() > 0.25:
            return None
        wanted: set[tuple[int, ...]] = {tuple(row) for row in rows}
        reached: dict[tuple[int, ...], tuple[int, ...]] = {(0, 0, 0): ()}  # translations and their powers of the steps
        steps: list[np.ndarray] = []
        moves: list[np.ndarray] = []
        for row in sorted(wanted, key=lambda r: (sum(min(x, count - x) for x in r), r)):
            if row in reached:
                continue
            shift = np.array(row) / count
            matched = self._match(IDENTITY, shift[None])
            if matched is None:
                return None
            order = 1
            image: tuple[int, ...] = row
            while image not in reached and order <= count:
                order, image = order + 1, tuple((a + b) % count for a, b in zip(image, row, strict=True))
            if image not in reached:
                return None
            relation = reached[image]
            if not np.array_equal(_composed([matched[0]], (order,), size), _composed(steps, relation, size)):
                return None
            powers = {}
            for known, exponents in reached.items():
                for power in range(order):
                    new = tuple((a + power * b) % count for a, b in zip(known, row, strict=True))
                    powers[new] = (*exponents, power)
            reached = powers
            steps.append(matched[0])
            moves.append(shift)
        if set(reached) != wanted or len(wanted) != count:
            return None
        counts = tuple(1 + max(powers) for powers in zip(*reached.values(), strict=True))
        return _Translations(np.array(steps), np.array(moves), counts)

    def _with_tensors(self, found: Symmetry, symprec: float) -> Symmetry | None:
        """The operations that keep tensors: the largest group of them up to some residual, at most symprec."""
        rotations, permutations = found.rotations.numpy(), found.permutations.numpy()
        misses, integer = self.structure.misses(rotations, permutations), self._coordinate_matrices(rotations)
        for limit in np.unique(misses[misses <= symprec])[::-1]:
            chosen = np.flatnonzero(misses <= limit)
            if _is_group(integer[chosen], permutations[chosen]):
                break
        kind, translations = found.space_group or found.layer_group, found.translations.numpy()
        if kind is not None and len(chosen) < len(rotations):
            kept_operations = rotations[chosen], translations[chosen]
            kind = identify_space_group(self.structure.cell, self.structure.pbc, *kept_operations)
        shifts = self._shifts(rotations, translations)
        kept = self._group(integer[chosen], shifts[chosen], kind)
        if kept is None:
            return None
        misses = self.structure.misses(kept.rotations.numpy(), kept.permutations.numpy())
        residuals = np.maximum(kept.residuals.numpy(), misses)
        return replace(kept, residual_list=residuals, largest_residual=float(residuals.max()))

    def _shifts(self, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
        """Shifts of fractional coordinates [n, 3] from Cartesian translations."""
        center = self.cell[: self.periodic].sum(0) / 2
        moved = translations - self.origin + rotations @ (self.origin + center)
        return moved @ self._inverse - self._center @ self._coordinate_matrices(rotations).swapaxes(1, 2)

    def with_vectors(self, cell: np.ndarray) -> np.ndarray:
        """The cell of the structure with other periodic vectors, those that come first in a cell here."""
        out = self.structure.cell.copy()
        out[self.structure.pbc] = cell[: self.periodic]
        return out

    def _coordinate_matrices(self, rotations: np.ndarray) -> np.ndarray:
        """Rotations [n, 3, 3] of coordinates along the cell, from the Cartesian ones: integers but for rods."""
        matrices = self._inverse.T @ rotations @ self.cell.T
        if self.is_rod:
            return np.where(np.abs(matrices - np.round(matrices)) < 1e-9, np.round(matrices), matrices)
        return np.round(matrices).astype(np.int64)

    def refitted(self, symmetry: Symmetry) -> "Refit":
        """A known group in this structure, where translations may change."""
        assert symmetry.supercell is not None
        rotations, known, permutations = symmetry.cosets
        shifts = self._shifts(rotations, known)
        moves = symmetry.supercell.vectors @ self._inverse
        translations = _Translations(symmetry.supercell.permutations, moves, symmetry.supercell.counts)
        found = self._fitted(self._coordinate_matrices(rotations), shifts, permutations, translations)
        positions = self.fractional @ found.cell - found.supercell.deviations
        return Refit(found.largest, positions, found.cell, (found.shifts - shifts) @ self.cell)


class Refit(NamedTuple):
    """A known group in a structure.

    Attributes
    ----------
    residual : float
        Largest miss of an operation, Å.
    positions : array [N, 3]
        Averaged over the group, from the origin of the coordinates, in the nearest symmetric cell, Å.
    cell : array [3, 3]
        That cell, the periodic vectors first.
    moves : array [m, 3]
        By how much the translations of the cosets change, Å.
    """

    residual: float
    positions: np.ndarray
    cell: np.ndarray
    moves: np.ndarray


class _Translations(NamedTuple):
    """Pure translations: permutations [r, N] and shifts [r, 3] of some, and the counts of their powers."""

    permutations: np.ndarray
    shifts: np.ndarray
    counts: tuple[int, ...]


class _Fit(NamedTuple):
    """What a group misses by, the nearest symmetric cell, its rotations and shifts, and its largest miss."""

    supercell: Supercell
    cell: np.ndarray
    rotations: np.ndarray
    shifts: np.ndarray
    largest: float


def _reduced(cell: np.ndarray) -> np.ndarray:
    """The shortest vectors of a lattice [3, 3], the given ones where they are."""
    return np.asarray(minkowski_reduce(cell)[0])


def _composed(steps: list[np.ndarray], powers: tuple[int, ...], size: int) -> np.ndarray:
    """Product of powers of permutations [size] that commute."""
    out = np.arange(size)
    for step, power in zip(steps, powers, strict=True):
        for _ in range(power):
            out = step[out]
    return out


def crystal_displacements(structure: Structure, symmetry: Symmetry) -> np.ndarray:
    """How each atom moves when fractional coordinates are averaged over the group, [N, 3] Å in the given cell."""
    crystal = Crystal(structure)
    found = crystal.refitted(symmetry)
    return (found.positions @ np.linalg.inv(found.cell) - crystal.fractional) @ crystal.cell


def averaged_crystal(structure: Structure, symmetry: Symmetry) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N, 3] averaged over the group, and the cell [3, 3], in the nearest symmetric lattice."""
    crystal = Crystal(structure)
    found = crystal.refitted(symmetry)
    return found.positions + crystal.origin, crystal.with_vectors(found.cell)


def symmetric_lattice(structure: Structure, symmetry: Symmetry) -> np.ndarray:
    """The periodic vectors [p, 3] of the nearest symmetric cell, Å."""
    return averaged_crystal(structure, symmetry)[1][structure.pbc]


def _first_of_each(matrices: np.ndarray) -> np.ndarray:
    """Rows of matrices [n, 3, 3] that are the first of their kind."""
    flat = matrices.reshape(-1, 9)
    if matrices.dtype != np.int64:
        return np.unique(np.round(flat, 6) + 0.0, axis=0, return_index=True)[1]
    base = 2 * np.abs(matrices).max() + 1
    return np.unique(flat @ base ** np.arange(9), return_index=True)[1]


def _lattice_of(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Cell [3, 3] and origin [3]; of a slab, the third vector is a long normal, of a rod, two are."""
    pbc = structure.pbc
    if pbc.all():
        return structure.cell, np.zeros(3)
    if pbc.sum() == 1:
        (axis,) = structure.cell[pbc]
        frame = np.linalg.svd(axis[None])[2]
        frame[2] *= np.sign(np.linalg.det(np.vstack([axis, frame[1:]])))
        across = structure.positions @ frame[1:].T
        length = 2 * np.ptp(across, axis=0).max() + 10.0
        return np.vstack([axis, length * frame[1:]]), across.mean(0) @ frame[1:]
    plane = structure.cell[pbc]
    normal = np.cross(*plane)
    normal /= np.linalg.norm(normal)
    heights = structure.positions @ normal
    length = 2 * np.ptp(heights) + 10.0
    return np.vstack([plane, length * normal]), heights.mean() * normal


def _is_group(integer: np.ndarray, permutations: np.ndarray) -> bool:
    """Whether operations, some of a group and the identity first, generate no others."""

    def keys(w: np.ndarray, p: np.ndarray) -> list[bytes]:
        return [row.tobytes() for row in np.concatenate([np.round(w.reshape(len(w), 9), 6) + 0, p], axis=1)]

    index = {key: i for i, key in enumerate(keys(integer, permutations))}
    reached = np.arange(len(integer)) == 0
    generators: list[int] = []
    while not reached.all():
        generators.append(int(np.argmin(reached)))
        frontier = np.flatnonzero(reached)
        while len(frontier):
            products = [
                index.get(key, -1)
                for g in generators
                for key in keys(integer[frontier] @ integer[g], permutations[frontier][:, permutations[g]])
            ]
            if min(products) < 0:
                return False
            frontier = np.unique([i for i in products if not reached[i]]).astype(int)
            reached[frontier] = True
    return True


@cache
def _standard_operations(number: int, hall_number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations [n, 3, 3] and shifts [n, 3] of a space group in the primitive cell of a setting."""
    setting = moyopy.Setting.hall_number(hall_number)
    found = moyopy.operations_from_number(number, setting=setting, primitive=True)
    return np.array(found.rotations, dtype=np.int64), np.array(found.translations)


@cache
def _symbol(number: int, is_slab: bool) -> str:
    """Short Hermann-Mauguin symbol, without blanks."""
    kind = moyopy.LayerGroupType(number) if is_slab else moyopy.SpaceGroupType(number)
    return kind.hm_short.replace(" ", "")
