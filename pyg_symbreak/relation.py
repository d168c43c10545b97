"""How a structure and what it distorts to are related: cell, origin and atoms, found from the symmetry of both.

K, the operations that parent and child have in common, fixes the origin up to the normalizer. In one setting an
operation of both has the same integer rotation W; if it shifts the parent by w and the child by w', and the origin of
the child lies at t, then ::

    (1 - W) t = w' - w   modulo the lattice of the parent,

which a diagonal form of the integer matrices 1 - W solves for all of K together: finitely many origins, each with a
free shift along the polar directions of K. K permutes the atoms of both, and an assignment that keeps K takes orbits
to orbits of the same site symmetry, so that the best one is an assignment of orbits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
import torch
from ase import Atoms
from ase.geometry import minkowski_reduce
from scipy.optimize import linear_sum_assignment
from torch_geometric.data import Data

from pyg_symbreak.detect import Symmetry, detect_symmetry, hermite_form, integer_rotations, primitive_operations
from pyg_symbreak.groups import FiniteGroup
from pyg_symbreak.structures import (
    MAX_STRAIN,
    Match,
    NearestImages,
    check_structure,
    match_atoms,
    match_of,
    nearest_assignment,
    polar,
)

__all__ = ["Relation", "match_structures", "relate_structures"]

FACTOR = 2.0
"""An assignment that keeps more symmetry may have a sum of squares up to this many times the least one."""
CONSISTENT = 0.05
"""Up to how far from whole numbers, in fractional coordinates, shifts of common operations may be."""
TURNED = 0.5
"""Å: an image of a displacement that the site symmetry changes by more is not that of an atom on the same site."""
REACHED = 0.1
"""Å: an origin this near to one that was tried, or that a search has ended at, is not tried."""
DISTINCT = 1e-3
"""Sums of squares, Å², that differ by less, in all and relatively, are those of equivalent assignments."""
STRAINS = (0.05, 0.1, 0.2)
"""Bounds on the stretches between two cells that are tried one after the other."""
MANY = 50
"""Cells that are tried where none has all the symmetry of the child."""
BASE = 40
"""Integers up to this are told apart in a matrix."""


@dataclass(frozen=True, eq=False)
class _Crystal:
    """Atoms in coordinates along a cell, the operations f -> W f + w of their space group, and its lattice.

    One operation for each rotation, ``rotations`` [m, 3, 3] and ``shifts`` [m, 3]; ``basis`` [3, 3] are primitive
    vectors, rows, in the same coordinates.
    """

    numbers: np.ndarray
    frac: np.ndarray
    cell: np.ndarray
    rotations: np.ndarray
    shifts: np.ndarray
    basis: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms, symmetry: Symmetry) -> _Crystal:
        cell, cosets = atoms.cell.array, symmetry.cosets
        assert symmetry.supercell is not None
        vectors = symmetry.supercell.translations()[1]
        basis = primitive_operations(cell, np.broadcast_to(np.eye(3), (len(vectors), 3, 3)), vectors)[0]
        return cls(
            numbers=atoms.numbers,
            frac=atoms.get_scaled_positions(wrap=False),
            cell=cell,
            rotations=integer_rotations(cell, cosets.rotations),
            shifts=cosets.translations @ np.linalg.inv(cell),
            basis=basis @ np.linalg.inv(cell),
        )

    @cached_property
    def translations(self) -> np.ndarray:
        """Vectors of the lattice inside the cell, [k, 3]."""
        return np.round(_cosets(np.rint(self.inverse).astype(int)) @ self.basis, 6) % 1

    def primitive(self) -> Atoms:
        """The atoms in a reduced primitive cell."""
        cell = minkowski_reduce(self.basis @ self.cell)[0]
        unit = np.eye(3, dtype=int)
        images = [self.permutation(unit, t) for t in self.translations]
        chosen = np.unique(np.min([p for p in images if p is not None], axis=0))
        return Atoms(self.numbers[chosen], positions=self.frac[chosen] @ self.cell, cell=cell, pbc=True)

    def in_cell(self, basis: np.ndarray) -> _Crystal:
        """The same crystal, given in a primitive cell, in the cell of the rows of an integer basis [3, 3]."""
        inverse = np.linalg.inv(basis)
        steps = _cosets(basis)
        rotations = inverse.T @ self.rotations @ basis.T
        whole = np.abs(rotations - np.round(rotations)).max((1, 2)) < 1e-6
        return _Crystal(
            numbers=np.repeat(self.numbers, len(steps)),
            frac=((self.frac[:, None] + steps) @ inverse).reshape(-1, 3),
            cell=basis @ self.cell,
            rotations=np.rint(rotations[whole]).astype(int),
            shifts=self.shifts[whole] @ inverse,
            basis=inverse,
        )

    @cached_property
    def inverse(self) -> np.ndarray:
        """From coordinates along the cell to those along the basis, [3, 3]."""
        return np.linalg.inv(self.basis)

    def whole(self, vectors: np.ndarray) -> np.ndarray:
        """The lattice vectors nearest to vectors [..., 3]."""
        return np.round(vectors @ self.inverse) @ self.basis

    def permutation(self, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray | None:
        """Where an operation carries each atom, None if it is none of the structure."""
        found, images = np.empty(len(self.frac), dtype=np.int64), self.frac @ rotation.T + shift
        for atoms in self.species:
            apart = images[atoms, None] - self.frac[atoms]
            found[atoms] = atoms[np.square((apart - np.round(apart)) @ self.cell).sum(-1).argmin(1)]
        return found if len(set(found.tolist())) == len(found) else None

    @cached_property
    def species(self) -> list[np.ndarray]:
        """Numbers of the atoms of each element, which are in the order of their atomic numbers."""
        return [np.flatnonzero(self.numbers == z) for z in np.unique(self.numbers)]


def _cosets(basis: np.ndarray) -> np.ndarray:
    """One integer vector [k, 3] for each coset of the lattice that the rows of an integer basis [3, 3] generate."""
    return np.array(list(product(*[range(n) for n in hermite_form(basis).diagonal()])))


def _origins(rotations: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """The t [n, 3] of (1 - W) t = shifts modulo 1, one for each of the finitely many families; none if there is none.

    Parameters
    ----------
    rotations : int array [k, 3, 3]
        W, in coordinates along a primitive basis.
    shifts : array [k, 3]
    """
    left, diagonal, right = _diagonal_form((np.eye(3, dtype=int) - rotations).reshape(-1, 3))
    wanted = left @ shifts.reshape(-1)
    pivots = np.zeros(len(wanted), dtype=int)
    pivots[:3] = diagonal
    if np.abs(wanted - np.round(wanted))[pivots == 0].max(initial=0) > CONSISTENT:
        return np.zeros((0, 3))
    steps = [[(x + n) / d for n in range(abs(d))] if d else [0.0] for x, d in zip(wanted, diagonal, strict=False)]
    return np.array(list(product(*steps))) @ right.T


def _diagonal_form(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unimodular left [n, n] and right [3, 3], and the diagonal [3] of left @ matrix @ right, for integers [n, 3]."""
    count = len(matrix)
    left, d, right = np.eye(count, dtype=int), matrix.copy(), np.eye(3, dtype=int)
    for t in range(3):
        while d[t:, t:].any():
            rows, columns = np.nonzero(d[t:, t:])
            least = np.abs(d[t:, t:][rows, columns]).argmin()
            row, column = rows[least] + t, columns[least] + t
            d[[t, row]], left[[t, row]] = d[[row, t]], left[[row, t]]
            d[:, [t, column]], right[:, [t, column]] = d[:, [column, t]], right[:, [column, t]]
            down, across = d[t + 1 :, t] // d[t, t], d[t, t + 1 :] // d[t, t]
            left[t + 1 :] -= down[:, None] * left[t]
            d[t + 1 :] -= down[:, None] * d[t]
            right[:, t + 1 :] -= right[:, [t]] * across
            d[:, t + 1 :] -= d[:, [t]] * across
            if not d[t + 1 :, t].any() and not d[t, t + 1 :].any():
                break
    return left, d.diagonal()[:3], right


def _generators(rotations: np.ndarray) -> list[int]:
    """Rows of integer matrices that generate all of a group; the first is the identity."""
    have, chosen = {np.eye(3, dtype=int).tobytes()}, [0]
    for number, rotation in enumerate(rotations):
        if rotation.tobytes() in have:
            continue
        chosen.append(number)
        frontier = [np.frombuffer(key, dtype=int).reshape(3, 3) for key in have]
        while frontier:
            made = [rotations[g] @ x for g in chosen for x in frontier]
            frontier = [x for key, x in {x.tobytes(): x for x in made}.items() if key not in have]
            have |= {x.tobytes() for x in frontier}
    return chosen


@dataclass(frozen=True, eq=False)
class _Kept:
    """Common operations as permutations [k, N] of the atoms of the parent and of the child, and their rotations."""

    rotations: np.ndarray
    of_parent: np.ndarray
    of_child: np.ndarray

    @cached_property
    def fixing(self) -> tuple[np.ndarray, np.ndarray]:
        """Which operations leave each atom in its place, [N, k] of the parent and of the child."""
        places = np.arange(self.of_parent.shape[1])[:, None]
        return places == self.of_parent.T, places == self.of_child.T

    @cached_property
    def projections(self) -> np.ndarray:
        """Onto the vectors that what fixes each atom of the parent leaves as they are, [N, 3, 3]."""
        fixing = self.fixing[0] / self.fixing[0].sum(1, keepdims=True)
        return np.tensordot(fixing, self.rotations, 1)

    def orbits(self, parent: _Crystal, child: _Crystal) -> list[_Orbits] | None:
        """The orbits of each element, None if one has more of them in the parent than in the child or less."""
        parents, children = self.of_parent.min(0), self.of_child.min(0)
        sites = [np.array([row.tobytes() for row in fixing]) for fixing in self.fixing]
        found = []
        for atoms, others in zip(parent.species, child.species, strict=True):
            firsts, others = np.unique(parents[atoms]), others[np.argsort(children[others], kind="stable")]
            starts = np.flatnonzero(np.diff(children[others], prepend=-1))
            if len(firsts) != len(starts):
                return None
            sizes = len(self.rotations) // self.fixing[0][firsts].sum(1)
            rows, columns = np.nonzero(sites[0][firsts, None] == sites[1][others])
            found.append(_Orbits(firsts, sizes, others, starts, (rows, columns)))
        return found


@dataclass(frozen=True, eq=False)
class _Orbits:
    """The orbits of an element: first atoms [n] of the parent's, and their sizes [n]; atoms [m] of the child, orbit by
    orbit, and where these start [n]; the pairs [p], [p] of the first and the second with equal site symmetry."""

    firsts: np.ndarray
    sizes: np.ndarray
    others: np.ndarray
    starts: np.ndarray
    pairs: tuple[np.ndarray, np.ndarray]


def _kept_at(parent: _Crystal, child: _Crystal, common: np.ndarray, origin: np.ndarray) -> _Kept | None:
    """What both have with this origin, of common operations, rows [k, 2] of equal rotations; None if some lack."""
    rotations, of_parent, of_child = [], [], []
    shared = [t for t in child.translations if np.abs(t - parent.whole(t)).max() < CONSISTENT]
    for i, j in common:
        rotation = child.rotations[j]
        for translation in shared:
            shift = child.shifts[j] + translation
            wanted = shift - origin + rotation @ origin
            nearest = parent.shifts[i] + parent.whole(wanted - parent.shifts[i])
            permutations = parent.permutation(rotation, nearest), child.permutation(rotation, shift)
            if np.abs(wanted - nearest).max() > 2 * CONSISTENT or any(p is None for p in permutations):
                return None
            rotations.append(rotation)
            of_parent.append(permutations[0])
            of_child.append(permutations[1])
    return _Kept(np.array(rotations), np.array(of_parent), np.array(of_child))


@dataclass(frozen=True, eq=False)
class _Found:
    """An assignment: permutation [N], whole vectors [N, 3], sum of squares, Å², operations kept, origin [3]."""

    permutation: np.ndarray
    shifts: np.ndarray
    cost: float
    kept: int
    origin: np.ndarray


def _assigned(
    parent: _Crystal, child: _Crystal, kept: _Kept, orbits: list[_Orbits], origin: np.ndarray, images: NearestImages
) -> _Found | None:
    """Alternate the assignment of orbits and the mean origin to the end; None if orbits do not correspond."""
    count = len(parent.numbers)
    best: _Found | None = None
    while True:
        permutation, shifts = np.zeros(count, dtype=np.int64), np.zeros((count, 3), dtype=np.int64)
        for some in orbits:
            rows, columns = some.pairs
            starting, ending = some.firsts[rows], some.others[columns]
            apart = child.frac[ending] - parent.frac[starting] - origin
            vectors, squares = _fixed_images(apart, kept.projections[starting], images)
            number = np.zeros((len(some.firsts), len(some.others)), dtype=np.int64)
            number[rows, columns] = np.arange(len(rows))
            lengths = np.full(number.shape, np.inf)
            lengths[rows, columns] = squares * some.sizes[rows]
            try:
                chosen = linear_sum_assignment(np.minimum.reduceat(lengths, some.starts, axis=1))
            except ValueError:
                return best
            ends = [*some.starts[1:], len(some.others)]
            for row, column in zip(*chosen, strict=True):
                to = some.starts[column] + lengths[row, some.starts[column] : ends[column]].argmin()
                atoms, partners = kept.of_parent[:, some.firsts[row]], kept.of_child[:, some.others[to]]
                moved = kept.rotations @ vectors[number[row, to]]
                permutation[atoms] = partners
                shifts[atoms] = np.round(parent.frac[atoms] + origin + moved - child.frac[partners])
        difference = child.frac[permutation] + shifts - parent.frac
        origin = difference.mean(0)
        cost = float(np.square((difference - origin) @ images.cell).sum())
        if best is not None and cost >= best.cost - 1e-10:
            return best
        best = _Found(permutation, shifts, cost, len(kept.rotations), origin)


def _fixed_images(apart: np.ndarray, projections: np.ndarray, images: NearestImages) -> tuple[np.ndarray, np.ndarray]:
    """The shortest images of vectors [n, 3] that their projections [n, 3, 3] leave about as they are.

    With their squared lengths [n], which are infinite where there is none.
    """
    nearest, whole = images.nearest(apart)
    vectors, squares = apart + whole, np.square(nearest).sum(1)
    changes = np.eye(3) - projections
    special = np.flatnonzero(np.abs(changes).max((1, 2), initial=0) > 1e-9)
    every = vectors[special, None] + images.steps
    lengths = np.square(nearest[special, None] + images.around).sum(2)
    lengths[np.square(every @ changes[special].swapaxes(1, 2) @ images.cell).sum(2) > TURNED**2] = np.inf
    rows, chosen = np.arange(len(special)), lengths.argmin(1)
    vectors[special], squares[special] = every[rows, chosen], lengths[rows, chosen]
    return vectors, squares


def _symmetric(parent: _Crystal, child: _Crystal, common: np.ndarray, images: NearestImages) -> list[_Found]:
    """The assignments that keep common operations, rows [k, 2] of equal rotations; the least cost first."""
    inverse = parent.inverse
    generators = common[_generators(child.rotations[common[:, 1]])]
    turns = np.rint(inverse.T @ parent.rotations[generators[:, 0]] @ parent.basis.T).astype(int)
    shifts = (child.shifts[generators[:, 1]] - parent.shifts[generators[:, 0]]) @ inverse
    free = child.rotations[common[:, 1]].mean(0)
    numbers, counts = np.unique(parent.numbers, return_counts=True)
    rarest = numbers[counts.argmin()]
    apart = child.frac[child.numbers == rarest] - parent.frac[parent.numbers == rarest][0]
    steps = np.array(list(product((0, -1, 1), repeat=3))) @ parent.basis
    apart = (apart[:, None] + steps).reshape(-1, 3)  # of the vectors of a lattice, some go part of one along polar axes
    found: list[_Found] = []
    for origin in _origins(turns, shifts) @ parent.basis:
        kept = _kept_at(parent, child, common, origin)
        orbits = None if kept is None else kept.orbits(parent, child)
        if kept is None or orbits is None:
            continue
        reached: list[np.ndarray] = []
        for start in origin + (apart - origin) @ free.T:
            away = np.array([start - x for x in reached]).reshape(-1, 3)
            if np.linalg.norm((away - parent.whole(away)) @ parent.cell, axis=1).min(initial=np.inf) < REACHED:
                continue
            made = _assigned(parent, child, kept, orbits, start, images)
            reached += [start] if made is None else [start, made.origin]
            found += [] if made is None else [made]
    return sorted(found, key=lambda f: f.cost)


def _common(parent: _Crystal, child: _Crystal) -> np.ndarray:
    """Numbers [k, 2] of the operations of parent and child with equal rotations, the identity first."""
    places = {w.tobytes(): i for i, w in enumerate(parent.rotations)}
    pairs = [(places[w.tobytes()], j) for j, w in enumerate(child.rotations) if w.tobytes() in places]
    return np.array(sorted(pairs, key=lambda pair: pair[0]))


def _best(parent: _Crystal, child: _Crystal, images: NearestImages) -> list[_Found]:
    """Of the assignments up to FACTOR times the least cost those that keep most symmetry, the least cost first."""
    common = _common(parent, child)
    found = _symmetric(parent, child, common, images)
    if found:
        least = nearest_assignment(parent.numbers, child.numbers, parent.frac, child.frac, found[0].origin, images)
        if found[0].cost <= FACTOR * least[0]:
            return [f for f in found if f.cost <= FACTOR * least[0]]
    free = _symmetric(parent, child, common[:1], images)
    for subgroup in _proper_subgroups(child.rotations[common[:, 1]]):
        found = [f for f in _symmetric(parent, child, common[subgroup], images) if f.cost <= FACTOR * free[0].cost]
        if found:
            return found
    return free


def _proper_subgroups(rotations: np.ndarray) -> list[list[int]]:
    """The subgroups of a group of matrices as rows, the largest first, without the group and the trivial one."""
    index = {w.tobytes(): i for i, w in enumerate(rotations)}
    group = FiniteGroup([[index[(a @ b).tobytes()] for b in rotations] for a in rotations])
    every = [list(k) for kind in group.subgroup_classes for k in kind if 1 < len(k) < len(rotations)]
    return sorted(every, key=len, reverse=True)


def match_structures(
    parent: Data | Atoms, distorted: Data | Atoms, symprec: float = 1e-2, max_strain: float = MAX_STRAIN
) -> Match:
    """Match the atoms of a crystal and a distorted one in the same setting so that most symmetry is kept.

    The origins that the operations of both allow are searched, and orbits of atoms are assigned to orbits. Of the
    assignments whose sum of squared displacements is at most twice the least one that was found, one that keeps most
    operations is returned, and of these the one of the least sum.
    :func:`~pyg_symbreak.structures.match_atoms` looks at the displacements alone: where atoms move far, its least sum
    of squares is often a local one, or keeps less symmetry than the two structures have in common.

    Parameters
    ----------
    parent, distorted : Data or ase.Atoms
        Two crystals, periodic in three directions: cell vector ``k`` of one becomes cell vector ``k`` of the other.
        :func:`relate_structures` brings them there.
    symprec : float
        Tolerance of the detection of both symmetries, Å.
    max_strain : float
        Cells that differ by stretches farther from 1 are refused, as by ``match_atoms``.

    Returns
    -------
    Match
        With other assignments that keep as much among its ``alternatives``.

    Raises
    ------
    ValueError
        The structures are not periodic in three directions, differ in composition, or their cells are not in the same
        setting.

    Examples
    --------
    >>> from ase.build import bulk
    >>> parent = bulk("CsCl", "cesiumchloride", a=4.1)
    >>> moved = parent.copy()
    >>> moved.positions[1, 2] += 0.3
    >>> match_structures(parent, moved).displacements.numpy().round(3)
    array([[ 0.  ,  0.  , -0.15],
           [ 0.  ,  0.  ,  0.15]])
    """
    a, b = _crystals(parent, distorted)
    if sorted(a.numbers) != sorted(b.numbers):
        match_atoms(a, b)  # says so
    polar(a.cell.array, b.cell.array, max_strain)
    return _matched(_crystal(a, symprec), _crystal(b, symprec), max_strain)


def _matched(parent: _Crystal, child: _Crystal, max_strain: float) -> Match:
    stretch, rotation = polar(parent.cell, child.cell, max_strain)
    best, *others = _best(parent, child, NearestImages(parent.cell, np.ones(3, dtype=bool)))
    costs: list[float] = []
    for cost in (f.cost for f in others):
        if cost > [best.cost, *costs][-1] * (1 + DISTINCT) + DISTINCT:
            costs.append(cost)
    difference = child.frac[best.permutation] + best.shifts - parent.frac
    return match_of(best.permutation, best.shifts, difference, parent.cell, stretch, rotation, tuple(costs))


def _crystals(*structures: Data | Atoms) -> list[Atoms]:
    atoms = [check_structure(x) for x in structures]
    for x in atoms:
        if not x.pbc.all():
            raise ValueError(f"pbc is {x.pbc.tolist()}: both structures must be crystals, periodic in three directions")
    return atoms


def _crystal(atoms: Atoms, symprec: float) -> _Crystal:
    symmetry = detect_symmetry(atoms, symprec)
    assert isinstance(symmetry, Symmetry)
    return _Crystal.of(atoms, symmetry)


# ---------------------------------------------------------------------- cells in any setting


@dataclass(frozen=True, eq=False)
class Relation:
    """How a parent becomes its child; made by :func:`relate_structures`.

    Attributes
    ----------
    parent : ase.Atoms
        The parent in its own frame and size, in the cell that becomes the child's: ``match_atoms(parent, child)`` and
        all that takes two structures in the same setting take it. Its atoms are in the order of the child's.
    transformation : Tensor
        float64 [3, 3]: the rows of ``parent.cell`` are ``transformation`` @ the cell that was given.
    supercell : int
        Primitive cells of the parent in the primitive cell of the child.
    match : Match
        Which atom is which, and the distortion; ``match.origin`` is where the origin of the child lies.
    """

    parent: Atoms
    transformation: torch.Tensor
    supercell: int
    match: Match


def relate_structures(
    parent: Data | Atoms, child: Data | Atoms, symprec: float = 1e-2, max_strain: float = MAX_STRAIN
) -> Relation:
    """Find the cell of a parent that becomes the cell of its child, the origin, and which atom is which.

    Both may be given in any cell, primitive or not, in any orientation. Bases of sublattices of the parent that the
    child's primitive cell could come from, up to the strain allowed, are listed; those in which the operations of the
    child are operations of the parent are taken, if there are any, and of these the one with the least squared distance
    an atom moves in the mean, where a strain counts as if it moved neighbours (V/N)^(1/3) apart. One in which an
    assignment of the atoms keeps all symmetry of the child may have up to twice the least.

    Parameters
    ----------
    parent, child : Data or ase.Atoms
        Two crystals, periodic in three directions.
    symprec : float
        Tolerance of the detection of both symmetries, Å.
    max_strain : float
        Largest difference of a stretch from 1.

    Returns
    -------
    Relation

    Raises
    ------
    ValueError
        They are not periodic in three directions, differ in composition, the child has a smaller primitive cell than
        its parent, or no cell of the parent is within the strain.

    Examples
    --------
    >>> from ase.build import bulk
    >>> child = bulk("CsCl", "cesiumchloride", a=4.1) * (1, 1, 2)
    >>> child.positions[::2, 0] += [0.1, -0.1]
    >>> found = relate_structures(bulk("CsCl", "cesiumchloride", a=4.1), child)
    >>> found.supercell, len(found.parent), round(float(found.match.displacements.square().sum()), 3)
    (2, 4, 0.02)
    """
    a, b = _crystals(parent, child)
    whole, own = _crystal(b, symprec), _crystal(a, symprec)
    small, target = _crystal(own.primitive(), symprec), _crystal(whole.primitive(), symprec)
    count, rest = divmod(len(target.numbers), len(small.numbers))
    if rest or (np.sort(np.tile(small.numbers, count)) != np.sort(target.numbers)).any():
        raise ValueError(
            f"the primitive cell of the parent holds {Atoms(small.numbers).symbols}, that of the child "
            f"{Atoms(target.numbers).symbols}: it must hold a whole number of the parent's"
        )
    basis = _cell_of(small, target, max_strain)
    place = np.rint(whole.cell @ np.linalg.inv(target.cell)).astype(int) @ basis
    there = small.in_cell(place)
    match = _matched(there, whole, max_strain)
    order = np.argsort(match.permutation.numpy())
    found = Atoms(there.numbers[order], scaled_positions=there.frac[order], cell=there.cell, pbc=True)
    match = replace(
        match,
        permutation=torch.arange(len(order)),
        shifts=match.shifts[order],
        displacements=match.displacements[order],
    )
    transformation = torch.from_numpy(there.cell @ np.linalg.inv(a.cell.array))
    return Relation(found, transformation, count, match)


def _cell_of(parent: _Crystal, child: _Crystal, max_strain: float) -> np.ndarray:
    """Integer basis [3, 3] of the sublattice of a primitive parent that becomes the primitive cell of the child."""
    step = (abs(np.linalg.det(parent.cell)) / len(parent.numbers)) ** (1 / 3)
    every = np.zeros((0, 3, 3), dtype=int)
    least, best = [np.inf, np.inf], [every, every]  # where all symmetry of the child is kept, and where less is
    for bound in [*(s for s in STRAINS if s < max_strain), max_strain]:
        bases = _bases(parent, child, bound)
        new = bases[~np.isin(_codes(bases), _codes(every))]
        every = np.concatenate([every, new])
        for basis in new[_shared(parent, child, new) == len(child.rotations)]:
            cost, less = _cost(parent.in_cell(basis), child, step, max_strain)
            if cost < least[less] - 1e-8:
                best[less], least[less] = basis, cost
        if min(least) <= (bound * step) ** 2:
            break
    if min(least) < np.inf:
        return best[least[0] > FACTOR * least[1]]
    if len(every):
        shared = _shared(parent, child, every)
        most = every[shared == shared.max()][:MANY]
        return min(most, key=lambda basis: _cost(parent.in_cell(basis), child, step, max_strain)[0])
    raise ValueError(
        f"no cell of the parent becomes that of the child by stretches within {max_strain} of 1: the transition is "
        "reconstructive; allow a larger max_strain if it is to be described as a distortion all the same"
    )


def _cost(parent: _Crystal, child: _Crystal, step: float, max_strain: float) -> tuple[float, bool]:
    """Mean squared displacement and squared strain times a distance between neighbours, Å²; whether less is kept."""
    images = NearestImages(parent.cell, np.ones(3, dtype=bool))
    found = _symmetric(parent, child, _common(parent, child), images)
    less = not found
    found = found or _best(parent, child, images)
    strain = polar(parent.cell, child.cell, max_strain)[0] - np.eye(3)
    return found[0].cost / len(parent.numbers) + float(np.square(strain * step).sum()), less


def _bases(parent: _Crystal, child: _Crystal, bound: float) -> np.ndarray:
    """Integer bases [n, 3, 3], one of those that the parent's rotations carry to each other, by rising strain.

    The parent's cell in such a basis differs from the child's by stretches within 1 ± bound.
    """
    count = len(child.numbers) // len(parent.numbers)
    goal = child.cell @ child.cell.T
    lengths = np.sqrt(goal.diagonal())
    reach = lengths.max() / (1 - bound)
    extent = np.floor(reach * np.linalg.norm(np.linalg.inv(parent.cell), axis=0)).astype(int)
    every = np.array(list(product(*[range(-n, n + 1) for n in extent])))
    vectors = every @ parent.cell
    norms = np.linalg.norm(vectors, axis=1)
    near = [np.flatnonzero((norms * (1 - bound) <= x) & (norms * (1 + bound) >= x)) for x in lengths]
    sign = np.sign(np.linalg.det(child.cell) * np.linalg.det(parent.cell))
    slack = bound * (2 + bound)
    proper = parent.rotations[np.linalg.det(parent.rotations) > 0]  # the others change the sign of the determinant
    found: list[np.ndarray] = [np.zeros((0, 3, 3), dtype=int)]
    for i in near[0][_is_first(every[near[0]], proper)]:
        seconds, thirds = (
            n[np.abs(vectors[n] @ vectors[i] - goal[0, k]) <= slack * norms[n] * norms[i]]
            for k, n in ((1, near[1]), (2, near[2]))
        )
        rows, columns = np.nonzero(np.cross(every[i], every[seconds]) @ every[thirds].T == sign * count)
        first = np.broadcast_to(every[i], (len(rows), 3))
        found.append(np.stack([first, every[seconds[rows]], every[thirds[columns]]], axis=1))
    made = np.concatenate(found)
    stretches = np.abs(np.linalg.svd(np.linalg.solve(made @ parent.cell, child.cell[None]), compute_uv=False) - 1)
    made = made[stretches.max(1) <= bound][np.argsort(np.square(stretches[stretches.max(1) <= bound]).sum(1))]
    return made[_is_first(made, proper)]


def _codes(integers: np.ndarray) -> np.ndarray:
    """A number for each integer matrix or vector [n, ...]."""
    flat = integers.reshape(len(integers), int(np.prod(integers.shape[1:])))
    return (flat * (2 * BASE + 1) ** np.arange(flat.shape[1])[::-1]).sum(1)


def _is_first(integers: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Whether vectors [n, 3], or bases [n, 3, 3], have the largest number of all that rotations make of them."""
    codes = _codes(integers)
    return np.all([_codes(integers @ w.T) <= codes for w in rotations], axis=0)


def _shared(parent: _Crystal, child: _Crystal, bases: np.ndarray) -> np.ndarray:
    """How many rotations of the child are rotations of the parent, for each basis [n]."""
    known = np.array([w.T for w in parent.rotations]).reshape(-1, 9)
    inverse = np.linalg.inv(bases)
    out = np.zeros(len(bases), dtype=int)
    for w in child.rotations:
        turned = (inverse @ w.T @ bases).reshape(-1, 1, 9)
        out += (np.abs(turned - known).max(2) < 1e-6).any(1)
    return out
