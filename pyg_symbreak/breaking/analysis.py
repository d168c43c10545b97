"""What a set of objects that somebody chose costs, beside the smallest equivariant one."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from e3nn import o3

from pyg_symbreak.groups import PointGroup, Subgroup, irreps_matrices, rotation

from .group_indexed import BreakingSet, breaking_set

__all__ = ["SetAnalysis", "analyze_set"]

_TOL = 1e-4  # distance, as a share of the longest object, at which two objects count as different


@dataclass(frozen=True)
class SetAnalysis:
    """How a set of objects breaks a symmetry S to K, once it is closed under N(S, K).

    Attributes
    ----------
    size : int or math.inf
        The number of objects after closing. An equivariant set must be closed, so all of these have to be trained on.
    closed : bool
        Whether the given set was closed already.
    degeneracy : int or math.inf
        The number of S-orbits in the closed set.
    stabilizers : dict
        The stabilizers in S of the closed objects, by their labels in S, with the number of objects of each (of the
        given objects where the closed set is infinite).
    breaking : bool
        Whether each object keeps no more than a conjugate of K. If not, some answers of symmetry K are out of reach.
    exact : bool
        Whether each object keeps exactly a conjugate of K.
    ideal : bool
        Whether the closed set is exact and a single orbit of S.
    smallest : BreakingSet
        The smallest exact set for the same S, K and parent.
    """

    size: int | float
    closed: bool
    degeneracy: int | float
    stabilizers: dict[str, int]
    breaking: bool
    exact: bool
    ideal: bool
    smallest: BreakingSet

    @property
    def explanation(self) -> str:
        """What the set does and costs, in a few sentences."""
        s, k = self.smallest.group.schoenflies, self.smallest.keep.schoenflies
        kept = ", ".join(f"{label} ({count})" for label, count in self.stabilizers.items())
        lines = []
        if not self.breaking:
            lines.append(f"Does not break {s} to {k}: objects keep {kept}.")
        elif not self.exact:
            lines.append(f"Breaks more than was asked: to be kept was {k}, objects keep {kept}.")
        if math.isinf(self.size):
            lines.append(f"Closed under the normalizer of {s} in {self.smallest.parent.schoenflies} it is infinite.")
        else:
            grown = "The set is closed and has" if self.closed else "The set is not closed; closed, it has"
            lines.append(f"{grown} {self.size} objects; orbits of {s}: {self.degeneracy}.")
        if self.ideal:
            lines.append("Ideal: any object may be used in any frame.")
        elif self.smallest.size < self.size or not self.breaking:
            lines.append(f"{self.smallest.size} objects in {self.smallest.irreps} suffice.")
        return " ".join(lines)


def analyze_set(
    objects: Any,
    irreps: o3.Irreps | str,
    group: PointGroup,
    keep: PointGroup | str | None = None,
    parent: str | PointGroup = "O3",
) -> SetAnalysis:
    """What it costs to break a finite symmetry with objects of one's own choice.

    The objects are closed under N(S, K), as the equivariance of the assignment of sets to symmetries demands, and
    their stabilizers and S-orbits counted. Objects count as equal within 10⁻⁴ of the length of the longest.

    Parameters
    ----------
    objects : Tensor or array [m, irreps.dim], or one object [irreps.dim]
    irreps : e3nn Irreps or str
        How they transform.
    group : PointGroup
        S, finite, in the frame of the objects.
    keep, parent
        As in `breaking_set`.

    Raises
    ------
    ValueError
        The objects do not fit the irreps or are not finite numbers, S is continuous, or the errors of `breaking_set`.

    Examples
    --------
    A vector along a three-fold axis keeps C3v of Td, but the inversion, which maps Td onto itself, makes eight of the
    four vectors:

    >>> a = analyze_set([[1.0, 1.0, 1.0]], "1o", PointGroup("Td"), keep="C3v")
    >>> a.size, a.degeneracy, a.stabilizers, a.smallest.size
    (8, 2, {'C3v': 8}, 4)
    """
    irreps = o3.Irreps(irreps)
    rows = np.atleast_2d(torch.as_tensor(objects).detach().cpu().numpy().astype(np.float64))
    if rows.ndim != 2 or rows.shape[1] != irreps.dim or len(rows) == 0:
        raise ValueError(f"objects must have shape [m, {irreps.dim}] for irreps {irreps}, got {list(rows.shape)}")
    if not np.isfinite(rows).all():
        raise ValueError("objects must be finite numbers")
    if not group.is_finite:
        raise ValueError(f"analyze_set counts orbits of a finite symmetry, and {group.schoenflies} is continuous")
    smallest = breaking_set(group, keep, parent)
    keep = smallest.keep

    tolerance = _TOL * max(np.linalg.norm(rows, axis=1).max(), 1e-300)
    given = _distinct(rows, tolerance)
    movers = _movers(given, irreps, group, keep, parent, tolerance)
    closed = given if movers is None else _distinct(_images(given, irreps, movers), tolerance)
    moved = _images(closed, irreps, group.matrices).reshape(len(group.matrices), *closed.shape)
    fixed = np.linalg.norm(moved - closed, axis=2) < tolerance  # [order, size]
    stabilizers = [tuple(np.flatnonzero(column).tolist()) for column in fixed.T]

    labels = _labels(group)
    if not labels.keys() >= set(stabilizers):
        raise ValueError("an object is nearly symmetric: what fixes it within the tolerance is not a group")
    conjugates = group.finite_group.conjugates(group.indices_of(keep))
    exact = set(stabilizers) <= set(conjugates)
    degeneracy = math.inf if movers is None else sum(map(len, stabilizers)) // len(group.matrices)
    return SetAnalysis(
        size=math.inf if movers is None else len(closed),
        closed=movers is not None and len(closed) == len(given),
        degeneracy=degeneracy,
        stabilizers=dict(Counter(labels[h] for h in stabilizers)),
        breaking=all(any(set(h) <= set(k) for k in conjugates) for h in set(stabilizers)),
        exact=exact,
        ideal=exact and degeneracy == 1,
        smallest=smallest,
    )


def _labels(group: PointGroup) -> dict[Subgroup, str]:
    """The label of the class of each subgroup of S."""
    engine = group.finite_group
    return {h: k.label for k in group.subgroups() for h in engine.conjugates(group.indices_of(k))}


def _images(rows: np.ndarray, irreps: o3.Irreps, elements: np.ndarray) -> np.ndarray:
    """The images [n·m, dim] of objects [m, dim] under elements [n, 3, 3]."""
    return np.einsum("nij,mj->nmi", irreps_matrices(irreps, elements), rows).reshape(-1, irreps.dim)


def _distinct(rows: np.ndarray, tolerance: float) -> np.ndarray:
    kept = rows[:1]
    for row in rows[1:]:
        if np.linalg.norm(kept - row, axis=1).min() > tolerance:
            kept = np.vstack([kept, row])
    return kept


def _movers(
    rows: np.ndarray,
    irreps: o3.Irreps,
    group: PointGroup,
    keep: PointGroup,
    parent: str | PointGroup,
    tolerance: float,
) -> np.ndarray | None:
    """Elements of N(S, K) that make the closure of the objects, or None where it is infinite."""
    normalizer = group.normalizer(parent)
    if normalizer.is_finite:
        return group.generalized_normalizer(keep, parent).matrices
    # one turn by 1 rad about the axis, or about two axes, generates a dense subgroup of the identity component
    axes = [normalizer.axis] if normalizer.dimension == 1 else list(np.eye(3)[:2])
    turned = _images(rows, irreps, np.array([rotation(axis, 1.0) for axis in axes])).reshape(len(axes), *rows.shape)
    return normalizer.components if np.linalg.norm(turned - rows, axis=2).max() < tolerance else None
