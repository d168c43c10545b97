"""The vector that an object is: fixed by a group H and by nothing more, in the lowest irreps that have one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from e3nn import o3

from pyg_symbreak.groups import PointGroup, irreps_matrices, rotation

__all__ = [
    "Candidate",
    "NoObjectError",
    "Solution",
    "axial_stabilizer",
    "fixed_vectors",
    "lowest_object",
    "object_candidates",
    "polyhedral_object",
    "spherical_stabilizer",
]

Term = tuple[int, int]
_TOL = 1e-6
_L_MAX = 60
_Z = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Candidate:
    """Irreps, given as terms (l, p) with p = ±1, and a vector [dim] in them."""

    terms: tuple[Term, ...]
    vector: np.ndarray

    @property
    def irreps(self) -> o3.Irreps:
        """The e3nn irreps of the vector."""
        return irreps_of(self.terms)


@dataclass(frozen=True, eq=False)
class Solution:
    """A set in the standard orientation of the ambient group; a continuous one is an orbit of the normalizer."""

    candidate: Candidate
    complement: PointGroup
    motions: np.ndarray | None
    normalizer: PointGroup | None
    ideal: bool
    degeneracy: float


class NoObjectError(ValueError):
    """A stabilizer has no object in irreps that are low enough to be of use."""


def irreps_of(terms: tuple[Term, ...]) -> o3.Irreps:
    """The e3nn irreps with one copy of each term (l, p)."""
    return o3.Irreps([(1, term) for term in terms])


def cost(terms: tuple[Term, ...]) -> tuple[int, int, int, int]:
    """What "lowest" compares: dimension, number of terms, largest l, terms without the parity of Y_lm."""
    return (
        sum(2 * l + 1 for l, _ in terms),
        len(terms),
        max((l for l, _ in terms), default=0),
        sum(p != (-1) ** l for l, p in terms),
    )


def fixed_vectors(group: PointGroup, term: Term) -> np.ndarray:
    """A basis [r, 2l+1] of the vectors of an irrep that a closed group fixes, in reduced row echelon form."""
    l, _ = term
    irreps = irreps_of((term,))
    if group.dimension == 3 and l > 0:
        return np.zeros((0, 2 * l + 1))
    if group.dimension:
        projector = irreps_matrices(irreps, group.components).mean(0)
    else:
        generators = group.matrices[group.finite_group.generators()]
        moves = (irreps_matrices(irreps, generators) - np.eye(2 * l + 1)).reshape(-1, 2 * l + 1)
        _, sizes, rows = np.linalg.svd(np.concatenate([np.zeros((2 * l + 1, 2 * l + 1)), moves]), full_matrices=False)
        projector = rows[sizes < _TOL].T @ rows[sizes < _TOL]
    if group.dimension == 1:  # l + 1 equal turns leave the rotation-invariant vector only
        turns = np.array([rotation(group.axis, 2 * np.pi * k / (l + 1)) for k in range(l + 1)])
        projector = projector @ irreps_matrices(irreps, turns).mean(0)
    return _row_echelon(projector.T)


def _fold(group: PointGroup) -> int:
    """The order of the rotations about the main axis of a finite group that is not polyhedral, else 1."""
    order = int("".join(c for c in group.schoenflies if c.isdigit()) or 1) if group.is_finite else 1
    return order // 2 if group.schoenflies[0] == "S" else order


def _row_echelon(a: np.ndarray) -> np.ndarray:
    a, done = a.copy(), 0
    for column in range(a.shape[1]):
        if done == len(a):
            break
        pivot = done + int(np.argmax(np.round(np.abs(a[done:, column]), 8)))
        if abs(a[pivot, column]) < _TOL:
            continue
        a[[done, pivot]] = a[[pivot, done]]
        a[done] /= a[done, column]
        others = np.arange(len(a)) != done
        a[others] -= np.outer(a[others, column], a[done])
        done += 1
    a = a[:done]
    a[np.abs(a) < 1e-12] = 0
    return a


def lowest_object(h: PointGroup, others: np.ndarray) -> Candidate:
    """The object in the lowest irreps that H fixes and that each of the elements ``others`` moves.

    Such a vector exists in a sum of irreps exactly if for each of the others some irrep of the sum has a vector
    that H fixes and it moves; a generic vector then does, because a space is not a finite union of proper
    subspaces. So the lowest irreps are a cheapest cover of the others. Among the vectors with small whole
    coordinates the one is taken whose nearest image under ``others`` is farthest.

    Below l = n an n-fold group fixes vectors with m = 0 only. Elements that keep its axis move these as they move those
    of l = 0 and 1, so between l = 1 and n nothing is to be found.

    Parameters
    ----------
    h : PointGroup
    others : float array [t, 3, 3]
        Elements of O(3) outside H.

    Raises
    ------
    NoObjectError
        There is none up to l = 60.
    """
    if len(others) == 0:
        return Candidate(((0, 1),), np.ones(1))
    fold = _fold(h) if np.abs(np.einsum("i,tij,j->t", h.axis, others, h.axis)).min() > 1 - _TOL else 1
    moved: dict[Term, np.ndarray] = {}
    best: tuple[Term, ...] | None = None
    for l in range(_L_MAX + 1):
        if best is not None and cost(best)[0] < 2 * l + 1:
            break
        if 1 < l < fold:
            continue
        for term in ((l, (-1) ** l), (l, -((-1) ** l))):
            basis = fixed_vectors(h, term)
            if len(basis):
                d = irreps_matrices(irreps_of((term,)), others)
                moved[term] = np.abs(d @ basis.T - basis.T).max((1, 2)) > _TOL
        best = _cheapest_cover(moved, len(others))
    if best is None:
        raise NoObjectError(f"no object for a stabilizer {h.schoenflies} in irreps up to l = {_L_MAX}")
    d = irreps_matrices(irreps_of(best), others)
    vectors = np.array(list(_vectors(h, best)))
    overlap = np.einsum("ci,cj->cij", vectors, vectors).reshape(len(vectors), -1) @ d.reshape(len(d), -1).T
    separation = np.sqrt(np.maximum(2 * (vectors**2).sum(1) - 2 * overlap.max(1), 0))  # |Dv - v|, D orthogonal
    return Candidate(best, vectors[int(np.argmax(np.round(separation, 6)))])


def _cheapest_cover(moved: dict[Term, np.ndarray], count: int) -> tuple[Term, ...] | None:
    terms = sorted((t for t in moved if moved[t].any()), key=lambda t: cost((t,)))
    best: tuple[Term, ...] | None = None

    def extend(chosen: tuple[Term, ...], covered: np.ndarray) -> None:
        nonlocal best
        if covered.all():
            chosen = tuple(sorted(chosen, key=lambda t: (t[0], -t[1])))
            if best is None or cost(chosen) < cost(best):
                best = chosen
            return
        if len(chosen) == 4:
            return
        target = int(np.argmin(covered))
        for term in terms:
            if moved[term][target] and (best is None or cost((*chosen, term))[0] <= cost(best)[0]):
                extend((*chosen, term), covered | moved[term])

    extend((), np.zeros(count, dtype=bool))
    return best


@cache
def _whole_coordinates(r: int) -> np.ndarray:
    """Directions with small whole coordinates [n, r], short ones first."""
    if r == 1:
        return np.ones((1, 1))
    if r <= 3:
        grid = np.array(list(itertools.product(range(-3, 4), repeat=r)), dtype=float)
    else:
        grid = np.random.default_rng(r).integers(-3, 4, (150, r)).astype(float)
    leading = np.array([next((x for x in g if x), 0.0) for g in grid])
    grid = grid[leading > 0]
    return grid[np.lexsort([*-grid.T[::-1], np.abs(grid).sum(1)])]


def _vectors(h: PointGroup, terms: tuple[Term, ...]) -> Iterator[np.ndarray]:
    """Vectors [dim] that H fixes, with small whole coordinates in each term and unit length there."""
    bases = [fixed_vectors(h, term) for term in terms]
    choices = [_whole_coordinates(len(b)) for b in bases]
    total = int(np.prod([len(c) for c in choices]))
    picks: Iterator[int] | range = range(total)
    if total > 400:
        picks = iter(np.random.default_rng(0).integers(0, total, 400).tolist())
    for pick in picks:
        parts = []
        for basis, choice in zip(bases, choices, strict=True):
            pick, i = divmod(pick, len(choice))
            v = choice[i] @ basis
            parts.append(v / np.linalg.norm(v))
        yield np.concatenate(parts)


def object_candidates(h: PointGroup, l_max: int = 8, most_terms: int = 3) -> Iterator[Candidate]:
    """Vectors that a closed group H fixes, in sums of irreps, lowest irreps first.

    Of each sum first the vectors that small rotations outside H move most, then one with full and unequal
    coordinates: the others may lie on symmetric directions.
    """
    fixed = [(l, p) for l in range(l_max + 1) for p in (1, -1) if (l, p) != (0, 1) and len(fixed_vectors(h, (l, p)))]
    sums = [c for n in range(1, most_terms + 1) for c in itertools.combinations_with_replacement(fixed, n)]
    for terms in [((0, 1),), *sorted(sums, key=cost)]:
        vectors = np.array(list(_vectors(h, terms)))
        order = np.argsort(-np.round(_stiffness(terms, vectors, h.dimension), 6), kind="stable")[:3]
        generic = max(vectors, key=lambda v: (np.count_nonzero(v), len(set(np.round(np.abs(v), 6)))))
        for vector in [*vectors[order], generic]:
            yield Candidate(terms, vector)


def _stiffness(terms: tuple[Term, ...], vectors: np.ndarray, dimension: int) -> np.ndarray:
    """How far an infinitesimal rotation moves each vector [n, dim] at least, besides those of a ``dimension``."""
    step = 1e-4
    turns = np.array([[rotation(axis, s * step) for s in (1, -1)] for axis in np.eye(3)])
    d = irreps_matrices(irreps_of(terms), turns.reshape(6, 3, 3)).reshape(3, 2, vectors.shape[1], -1)
    velocities = np.einsum("aij,nj->nia", (d[:, 0] - d[:, 1]) / (2 * step), vectors)
    return np.sort(np.linalg.svd(velocities, compute_uv=False), axis=1)[:, min(dimension, velocities.shape[1] - 1, 2)]


# ---------------------------------------------------------------------- stabilizers in continuous groups


def axial_stabilizer(candidate: Candidate, components: np.ndarray) -> tuple[int, int]:
    """Dimension and number of components of the stabilizer of a vector in SO(2)_z ⋊ (the given components).

    A rotation by θ about z multiplies the part v_m of a vector by exp(imθ). So θ with R(θ)·c·v = v is known up to
    2π/m from the lowest m > 0 that v has, and is then checked on all of v.

    Parameters
    ----------
    candidate : Candidate
    components : float array [c, 3, 3]
        Elements that normalize the rotations about z, one of each component.

    Returns
    -------
    (1, number of components) if all rotations about z fix the vector, else (0, number of elements)
    """
    l_max = max(l for l, _ in candidate.terms)
    count = 2 * l_max + 2
    angles = 2 * np.pi * np.arange(count) / count
    turned = irreps_matrices(candidate.irreps, np.array([rotation(_Z, t) for t in angles]))
    images = irreps_matrices(candidate.irreps, components) @ candidate.vector
    phases = np.exp(-1j * np.outer(np.arange(l_max + 1), angles)) / count

    def parts(v: np.ndarray) -> np.ndarray:
        return phases @ (turned @ v)  # [m, dim]

    v = parts(candidate.vector)
    size = np.linalg.norm(v, axis=1)
    order = np.arange(l_max + 1)
    present = order[(order > 0) & (size > _TOL)]
    if len(present) == 0:
        return 1, int(sum(np.abs(w - candidate.vector).max() < _TOL for w in images))
    found = 0
    m = int(present[0])
    for image in images:
        w = parts(image)
        start = np.angle(np.vdot(w[m], v[m])) / m
        for k in range(m):
            shift = np.exp(1j * order * (start + 2 * np.pi * k / m))
            found += bool(np.abs(shift[:, None] * w - v).max() < _TOL)
    return 0, found


def polyhedral_object(h: PointGroup, improper: bool) -> Candidate:
    """The object in the lowest irreps whose stabilizer in SO(3), or with ``improper`` in O(3), is a polyhedral group.

    The closed groups above T, T_d, T_h, O, O_h, I and I_h are again polyhedral, SO(3) or O(3), and each of them
    that is above H has, in H's orientation, one of five elements that H lacks: a quarter-turn about z, the
    inversion, their product, or a turn by 2π/5 about (0, 1, φ) or (0, φ, 1). A vector that all those move is fixed
    by H only.
    """
    golden = (1 + 5**0.5) / 2
    quarter = rotation(_Z, np.pi / 2)
    fifths = [rotation(np.array(axis), 2 * np.pi / 5) for axis in ([0, 1, golden], [0, golden, 1])]
    elements = [h.frame @ m @ h.frame.T for m in (quarter, *fifths, *((-np.eye(3), -quarter) if improper else ()))]
    return lowest_object(h, np.array([m for m in elements if not h.contains(m)]))


def spherical_stabilizer(candidate: Candidate, components: np.ndarray) -> tuple[int, int] | None:
    """As `axial_stabilizer`, in SO(3) or O(3); None where it could not be decided.

    The vectors and symmetric tensors that are quadratic in v move with v, so the stabilizer of v keeps their axis;
    it is taken in the group that keeps that axis. Where all of them are isotropic there is no axis to go by.
    """
    if all(l == 0 for l, _ in candidate.terms):
        return 3, int(sum(np.abs(w - candidate.vector).max() < _TOL for w in _act(candidate, components)))
    axis = _covariant_axis(candidate)
    if axis is None:
        return None
    improper = len(components) == 2
    group = PointGroup("Dinfh" if improper else "Dinf")
    turn = _turn_to_z(axis)
    moved = Candidate(candidate.terms, irreps_matrices(candidate.irreps, turn[None])[0] @ candidate.vector)
    return axial_stabilizer(moved, group.components)


def _act(candidate: Candidate, elements: np.ndarray) -> np.ndarray:
    return irreps_matrices(candidate.irreps, elements) @ candidate.vector


def _turn_to_z(axis: np.ndarray) -> np.ndarray:
    helper = np.eye(3)[np.argmin(np.abs(axis))]
    x = np.cross(helper, axis) / np.linalg.norm(np.cross(helper, axis))
    return np.array([x, np.cross(axis, x), axis])


def _covariant_axis(candidate: Candidate) -> np.ndarray | None:
    """An axis that every element of O(3) that fixes the vector must keep, or None where none was found.

    It is a vector of the sum, or an eigenvector of a symmetric tensor of even parity that is made of the sum. (One of
    odd parity will not do: an improper element that fixes it may exchange eigenvectors of opposite eigenvalues.)
    """
    pieces = torch.split(torch.from_numpy(candidate.vector), [2 * l + 1 for l, _ in candidate.terms])
    parts = list(zip(candidate.terms, pieces, strict=True))
    for (l, _), u in parts:
        if l == 1:
            return u.numpy() / np.linalg.norm(u.numpy())
    tensors = [u for (l, p), u in parts if (l, p) == (2, 1)]
    tensors += [
        torch.einsum("ijk,i,j->k", o3.wigner_3j(l1, l2, 2, dtype=torch.float64), u, v)
        for (l1, p1), u in parts
        for (l2, p2), v in parts
        if p1 == p2 and abs(l1 - l2) <= 2 <= l1 + l2
    ]
    to_matrix = o3.wigner_3j(1, 1, 2, dtype=torch.float64)
    for tensor in tensors:
        values, vectors = np.linalg.eigh(torch.einsum("ijk,k->ij", to_matrix, tensor).numpy())
        gaps = np.diff(values)
        if gaps.max() > 1e-4:  # the eigenvalue farthest from the others belongs to the axis
            return vectors[:, 0] if gaps[0] > gaps[1] else vectors[:, 2]
    return None
