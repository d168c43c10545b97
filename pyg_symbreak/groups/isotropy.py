"""Isotropy subgroups of a real representation of a finite group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .finite_group import FiniteGroup, Subgroup

__all__ = ["irreps_of", "isotropy_subgroups", "joint_isotropy_subgroups"]

_TOL = 1e-6


def isotropy_subgroups(matrices: np.ndarray, group: FiniteGroup) -> list[tuple[tuple[int, ...], int, np.ndarray, bool]]:
    """Isotropy subgroups of a real orthogonal representation without invariant vectors, up to conjugacy.

    The fixed spaces of isotropy subgroups are the intersections of fixed spaces of elements, so they are
    found by intersecting, from the whole space down.

    Parameters
    ----------
    matrices : float64 array [order, d, d]
    group : FiniteGroup

    Returns
    -------
    list of (K, p, v, reversible)
        Element indices of K; the dimension p of Fix(K); a unit vector v [d] with stabilizer K; whether -v is an image
        of v. By rising p, then falling order of K.

    Notes
    -----
    The vector is a generic one of Fix(K): far from the vectors of larger stabilizer, and from those that an element
    turns into their opposite where it does not do so with all of Fix(K). Both kinds fill finitely many
    subspaces. So ``reversible`` holds for K, not for v alone.
    """

    kernel = np.flatnonzero(np.abs(matrices - np.eye(matrices.shape[1])).max((1, 2)) < _TOL)
    representatives, coset = np.unique(group.table[:, kernel].min(1), return_inverse=True)
    quotient = FiniteGroup(coset[group.table[np.ix_(representatives, representatives)]])
    found = [
        (tuple(np.flatnonzero(np.isin(coset, k)).tolist()), parameters, vector, reversible)
        for k, parameters, vector, reversible in _faithful(matrices[representatives], quotient)
    ]
    return sorted(found, key=lambda item: (item[1], -len(item[0]), item[0]))


def _faithful(matrices: np.ndarray, group: FiniteGroup) -> list[tuple[Subgroup, int, np.ndarray, bool]]:
    """The same, in any order, of a representation in which only the identity leaves all vectors as they are."""

    def stabilizer(space: np.ndarray) -> tuple[int, ...]:
        return tuple(np.flatnonzero(np.abs(matrices @ space - space).max((1, 2)) < _TOL).tolist())

    whole = np.eye(matrices.shape[1])
    classes = [(stabilizer(whole), whole)]
    known = set(group.conjugates(classes[0][0]))
    for _, space in classes:  # grows while it is walked through
        for projector in _proper(_kernels(matrices @ space - space)):
            smaller = space @ _image(projector)
            larger = stabilizer(smaller)
            if larger not in known:
                known.update(group.conjugates(larger))
                classes.append((larger, smaller))
    found = []
    for k, space in classes:
        larger_groups = [matrices[list(h)].mean(0) for h in known if len(h) > len(k) and set(k) < set(h)]
        reversals = _kernels(matrices @ space + space)
        special = np.concatenate([space.T @ np.array(larger_groups).reshape(-1, *whole.shape) @ space, reversals])
        vector = space @ _away(_largest(_proper(special)), space.shape[1])
        reversible = bool(np.abs(matrices @ vector + vector).max(1).min() < _TOL)
        found.append((k, space.shape[1], vector, reversible))
    return found


def joint_isotropy_subgroups(
    first: Sequence[Subgroup], second: Sequence[Subgroup], group: FiniteGroup
) -> list[tuple[Subgroup, int, int, int]]:
    """Stabilizers of pairs of vectors, none zero, of two representations, up to conjugacy.

    The stabilizer of (v, w) is the intersection of those of v and w.

    Parameters
    ----------
    first, second : sequences of subgroups
        One isotropy subgroup of each class of a representation.
    group : FiniteGroup

    Returns
    -------
    list of (K, i, j, g)
        K is the intersection of ``first[i]`` with g·H·g⁻¹, H = ``second[j]``. By falling order of K.
    """
    found = []
    known: set[Subgroup] = set()
    others: dict[frozenset[int], tuple[int, int]] = {}
    for j, h in enumerate(second):
        for g, conjugate in enumerate(group.conjugation[:, list(h)].tolist()):
            others.setdefault(frozenset(conjugate), (j, g))
    for i, a in enumerate(first):
        for members, (j, g) in others.items():
            common = tuple(x for x in a if x in members)
            if common not in known:
                known.update(group.conjugates(common))
                found.append((common, i, j, g))
    return sorted(found, key=lambda item: (-len(item[0]), item[0]))


def irreps_of(matrices: np.ndarray) -> list[np.ndarray]:
    """One copy [order, d, d] of each inequivalent real irrep in a real orthogonal representation [order, n, n].

    It is an eigenspace of a random symmetric matrix averaged over the group. By rising dimension.
    """
    random = np.random.default_rng(1).standard_normal(matrices.shape[1:])
    average = (matrices @ (random + random.T) @ matrices.swapaxes(1, 2)).mean(0)
    values, vectors = np.linalg.eigh(average)
    cuts = np.flatnonzero(np.diff(values) > 1e-7 * np.abs(values).max()) + 1
    found: list[np.ndarray] = []
    for space in np.split(vectors, cuts, axis=1):
        part = space.T @ matrices @ space
        character = np.trace(part, axis1=1, axis2=2)
        if all(np.abs(np.trace(known, axis1=1, axis2=2) - character).max() > 1e-4 for known in found):
            found.append(part)
    return sorted(found, key=lambda part: part.shape[1])


def _kernels(maps: np.ndarray) -> np.ndarray:
    """Projectors [n, p, p] on the kernels of linear maps [n, d, p] with p at most d."""
    _, size, right = np.linalg.svd(maps, full_matrices=False)
    return np.einsum("nki,nk,nkj->nij", right, (size <= _TOL).astype(float), right)


def _proper(projectors: np.ndarray) -> np.ndarray:
    """The distinct ones [m, p, p] among projectors that are neither zero nor the identity."""
    rank = np.trace(projectors, axis1=1, axis2=2)
    inside = projectors[(rank > 0.5) & (rank < projectors.shape[1] - 0.5)]
    first = np.unique(np.round(inside, 5) + 0.0, axis=0, return_index=True)[1]
    return inside[np.sort(first)]


def _largest(projectors: np.ndarray) -> np.ndarray:
    """Those among projectors whose image lies in no larger one."""
    rank = np.trace(projectors, axis1=1, axis2=2)
    flat = projectors.reshape(len(projectors), projectors.shape[1] ** 2)
    inside = flat @ flat.T > rank[:, None] - 1e-6  # the trace of PQ is the rank of P if its image lies in that of Q
    return projectors[~(inside & (rank > rank[:, None] + 0.5)).any(1)]


def _image(projector: np.ndarray) -> np.ndarray:
    """Orthonormal basis [p, r] of the image of a projector."""
    values, vectors = np.linalg.eigh(projector)
    return vectors[:, values > 0.5]


def _away(special: np.ndarray, dimension: int) -> np.ndarray:
    """Unit vector [p] that is far from the images of some projectors [m, p, p]."""
    if dimension == 1:
        return np.ones(1)
    rng = np.random.default_rng(3)
    best, reach, least = rng.standard_normal(dimension), 4.0, np.inf
    if len(special) == 0:
        return best / np.linalg.norm(best)
    for step in rng.standard_normal((80, 64, dimension)):  # wide at first, then narrower about the best so far
        trial = best + reach * step
        nearness = (trial @ special * trial).sum(2).max(0) / (trial * trial).sum(1)  # squared cosine of the angle
        first = nearness.argmin()
        if nearness[first] < least:
            best, least = trial[first] / np.linalg.norm(trial[first]), nearness[first]
        reach *= 0.75
    return best
