"""Symmetry breaking sets of point groups: which stabilizers, which objects, how many.

S is the symmetry of the input, K ≤ S what is to be kept of it, N' = N(S, K) the generalized normalizer in the
parent group. An equivariant set in which each object keeps a conjugate of K is a union of orbits N'/H with
H ∩ S = K; it is ideal, one orbit of S, exactly if H·S = N'. So H is chosen first, then a vector that H fixes.
Theory: Y. Xie and T. Smidt, "Equivariant Symmetry Breaking Sets", TMLR 2024, arXiv:2402.02681.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from e3nn import o3

from pyg_symbreak.groups import FiniteGroup, PointGroup, irreps_matrices
from pyg_symbreak.groups._catalog import axis_and_angle, rotation
from pyg_symbreak.groups._point_group import parent_group, require_inside, structure

from ._objects import (
    Candidate,
    axial_stabilizer,
    cost,
    lowest_object,
    object_candidates,
    polyhedral_object,
    spherical_stabilizer,
)

__all__ = ["BreakingSet", "breaking_set", "breaking_sets"]


@dataclass(frozen=True, eq=False)
class BreakingSet:
    """An equivariant set of symmetry breaking objects for a symmetry S, of which K is kept.

    Attributes
    ----------
    group, keep, parent : PointGroup
        S, K, and the group that the network is equivariant under.
    irreps : e3nn Irreps
        How the objects transform.
    ideal : bool
        Whether the set is a single orbit of S: any object may be picked, in any frame, without coordination.
    degeneracy : float
        The number of S-orbits; each needs training data of its own.
    stabilizer : PointGroup
        The stabilizer in S of the first object: K.
    complement : PointGroup
        The stabilizer H of the first object in N(S, K); a complement where the set is ideal.
    """

    group: PointGroup
    keep: PointGroup
    parent: PointGroup
    irreps: o3.Irreps
    ideal: bool
    degeneracy: float
    complement: PointGroup
    _first: np.ndarray
    _motions: np.ndarray | None
    _normalizer: PointGroup

    @property
    def size(self) -> int | float:
        """The number of objects: an int, or ``math.inf``."""
        return math.inf if self._motions is None else len(self._motions)

    @property
    def stabilizer(self) -> PointGroup:
        """The stabilizer in S of the first object."""
        return self.keep

    @property
    def motions(self) -> np.ndarray:
        """Elements g_i of N(S, K) that make object i of the first one, float64 [size, 3, 3]; in S if ideal."""
        if self._motions is None:
            raise ValueError(f"the set is continuous and cannot be listed; use .sample(n). {self.explanation}")
        return self._motions

    @cached_property
    def objects(self) -> torch.Tensor:
        """The objects, float64 [size, irreps.dim]; each irrep of each object has unit length.

        Raises
        ------
        ValueError
            The set is continuous.
        """
        return torch.from_numpy(irreps_matrices(self.irreps, self.motions) @ self._first)

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Objects drawn independently and uniformly, float64 [n, irreps.dim]; continuous sets too."""
        if self._motions is not None:
            return self.objects[torch.randint(len(self._motions), (n,), generator=generator)]
        seed = int(torch.randint(2**62, (), generator=generator))
        numbers = np.random.default_rng(seed)
        elements = np.array([self._normalizer.random_element(numbers) for _ in range(n)]).reshape(n, 3, 3)
        return torch.from_numpy(irreps_matrices(self.irreps, elements) @ self._first)

    @property
    def explanation(self) -> str:
        """One sentence on why the set has the size it has, and what else there is."""
        s, k = self.group.schoenflies, self.keep.schoenflies
        if self.ideal:
            kept = (
                "none is fixed by any element of it" if self.keep.order == 1 else f"each is fixed by a conjugate of {k}"
            )
            return f"Ideal: the objects are one orbit of {s}, and {kept}; any of them may be used in any frame."
        if self._motions is None:
            return (
                f"No finite equivariant set takes {s} to {k} in {self.parent.schoenflies}: the normalizer of {s} holds "
                f"all rotations about its axis, which carry an object to infinitely many unless {k} holds all proper "
                f"rotations of {s}. Sample the continuous set, keep those rotations, take a finite parent group, or "
                "use a set that depends on the input itself (input_breaking_set)."
            )
        return (
            f"Not ideal: {s} has no complement above {k} in its normalizer in {self.parent.schoenflies}; the smallest "
            f"equivariant set consists of {self.degeneracy:g} orbits of {s}, and training must see each of them."
        )

    def __repr__(self) -> str:
        size = "inf" if self._motions is None else len(self._motions)
        kept = "" if self.keep.order == 1 else f", keep={self.keep.label}"
        return (
            f"BreakingSet({self.group.schoenflies}{kept}, size={size}, irreps={self.irreps}, "
            f"{'ideal' if self.ideal else f'degeneracy={self.degeneracy:g}'})"
        )


def breaking_set(
    group: PointGroup, keep: PointGroup | str | None = None, parent: str | PointGroup = "O3"
) -> BreakingSet:
    """The smallest equivariant set of symmetry breaking objects for a symmetry.

    Parameters
    ----------
    group : PointGroup
        S, the symmetry of the input, in the input's orientation.
    keep : PointGroup or str, optional
        K, what is to be kept: a subgroup of S, or a symbol or label (see `PointGroup.subgroups`) where that names
        one class of subgroups. Default: nothing is kept.
    parent : "O3", "SO3" or a finite PointGroup that contains S
        The group that the network is equivariant under.

    Returns
    -------
    BreakingSet
        Ideal where an ideal set exists. Among the smallest sets it is the one in the lowest irreps: smallest
        dimension, then fewest terms, then lowest l, then the parity of spherical harmonics. (Only where S is SO(3)
        or O(3) the search for the lowest irreps is not exhaustive.) If no finite set exists the set is continuous.

    Raises
    ------
    ValueError
        ``keep`` is not a subgroup of ``group`` or a label with several meanings (they are listed), or ``group`` is
        not contained in ``parent``.

    Examples
    --------
    >>> b = breaking_set(PointGroup("Oh"), keep="C4v")
    >>> b
    BreakingSet(Oh, keep=C4v, size=6, irreps=1x1o, ideal)
    >>> breaking_set(PointGroup("D2"))
    BreakingSet(D2, size=4, irreps=1x2e, ideal)
    >>> breaking_set(PointGroup("C4")).size
    inf
    """
    return breaking_sets(group, keep, parent)[0]


def breaking_sets(
    group: PointGroup, keep: PointGroup | str | None = None, parent: str | PointGroup = "O3"
) -> list[BreakingSet]:
    """The inequivalent choices of smallest sets, one for each class of stabilizers H, lowest irreps first.

    Parameters, and errors, as in `breaking_set`.
    """
    if not isinstance(group, PointGroup):
        raise TypeError(f"group must be a PointGroup, got {group!r}; a symbol makes one: PointGroup('Oh')")
    whole = parent_group(parent)
    require_inside(group, whole)
    kept = _resolve(group, keep)
    if whole.is_finite:
        return _inside_finite(group, kept, whole, whole)
    if whole.dimension == 1:
        raise ValueError(f"parent must be O3, SO3 or a finite point group, not {whole.schoenflies}")
    normalizer = group.normalizer(whole)
    if normalizer.is_finite:
        return _inside_finite(group, kept, normalizer, whole)
    return _inside_continuous(group, kept, normalizer, whole)


def _resolve(group: PointGroup, keep: PointGroup | str | None) -> PointGroup:
    if keep is None:
        return PointGroup("C1").rotated(group.frame)
    if isinstance(keep, str):
        return group.subgroup(keep)
    if not isinstance(keep, PointGroup):
        raise TypeError(f"keep must be a PointGroup or a symbol, got {keep!r}")
    if not group.contains_group(keep):
        raise ValueError(
            f"keep: {keep.schoenflies}, as oriented here, is not a subgroup of the symmetry {group.schoenflies}; "
            "use one of group.subgroups(), or the matrices of the elements to keep"
        )
    return keep


# ---------------------------------------------------------------------- in a finite parent


@dataclass(frozen=True, eq=False)
class _Solution:
    """A set in the standard orientation of the ambient group."""

    candidate: Candidate
    complement: PointGroup
    motions: np.ndarray | None
    normalizer: PointGroup
    ideal: bool
    degeneracy: float


def _inside_finite(group: PointGroup, keep: PointGroup, ambient: PointGroup, parent: PointGroup) -> list[BreakingSet]:
    """Sets for S with N(S, K) inside a finite ambient group: the parent, or the normalizer of S in O(3).

    Pairs (S, K) that the ambient group maps on each other get images of one and the same set, which makes the
    assignment of sets to symmetries equivariant.
    """
    engine = structure(ambient.schoenflies)
    upright = ambient.frame.T
    plain = PointGroup(ambient.schoenflies)
    s = plain.indices_of(group.rotated(upright))
    k = plain.indices_of(keep.rotated(upright))
    mover, s0, k0 = _first_conjugate(ambient.schoenflies, s, k)
    move = ambient.frame @ engine.elements[mover].T
    return [_placed(x, move, group, keep, parent) for x in _finite_solutions(ambient.schoenflies, s0, k0)]


@cache
def _first_conjugate(
    ambient: str, s: tuple[int, ...], k: tuple[int, ...]
) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """The element that carries (S, K) to the first of its conjugates in lexicographic order, and that one."""
    conjugate = structure(ambient).group.conjugation
    pairs = np.concatenate([np.sort(conjugate[:, list(s)], 1), np.sort(conjugate[:, list(k)], 1)], axis=1)
    mover = int(np.lexsort(pairs.T[::-1])[0])
    return mover, tuple(pairs[mover][: len(s)].tolist()), tuple(pairs[mover][len(s) :].tolist())


@cache
def _finite_solutions(ambient: str, s: tuple[int, ...], k: tuple[int, ...]) -> list[_Solution]:
    engine = structure(ambient)
    group, elements = engine.group, engine.elements
    n = group.generalized_normalizer(s, k)
    stabilizers = group.complements(n, s, k)
    ideal = bool(stabilizers)
    if not ideal:
        stabilizers = [group.largest_avoiding_subgroup(n, s, k)]
    normalizer = PointGroup.from_matrices(elements[list(n)])
    solutions = []
    for h in stabilizers:
        complement = PointGroup.from_matrices(elements[list(h)])
        others = sorted(set(n) - set(h))
        candidate = lowest_object(complement, elements[others])
        motions = elements[_transversal(group, h, s if ideal else n)]
        degeneracy = len(motions) * len(k) / len(s)
        solutions.append(_Solution(candidate, complement, motions, normalizer, ideal, degeneracy))
    return sorted(solutions, key=lambda x: cost(x.candidate.terms))


def _transversal(group: FiniteGroup, h: tuple[int, ...], among: tuple[int, ...]) -> list[int]:
    """One element of each left coset g·H with g in ``among``, the identity for H itself."""
    seen = np.zeros(group.order, dtype=bool)
    chosen = []
    for g in sorted(among, key=lambda g: g != group.identity):
        if not seen[g]:
            chosen.append(int(g))
            seen[group.table[g, list(h)]] = True
    return chosen


def _placed(x: _Solution, move: np.ndarray, group: PointGroup, keep: PointGroup, parent: PointGroup) -> BreakingSet:
    irreps = x.candidate.irreps
    return BreakingSet(
        group=group,
        keep=keep,
        parent=parent,
        irreps=irreps,
        ideal=x.ideal,
        degeneracy=x.degeneracy,
        complement=x.complement.rotated(move),
        _first=irreps_matrices(irreps, move[None])[0] @ x.candidate.vector,
        _motions=None if x.motions is None else move @ x.motions @ move.T,
        _normalizer=x.normalizer.rotated(move),
    )


# ---------------------------------------------------------------------- in a continuous normalizer


def _inside_continuous(
    group: PointGroup, keep: PointGroup, normalizer: PointGroup, parent: PointGroup
) -> list[BreakingSet]:
    """Sets for S with a continuous normalizer N. Here N(S, K) = N for every K.

    (The subgroups of C_n, C_nh and S_2n are normal in D_∞h, and every subgroup of an axial continuous group or of
    SO(3), O(3) is carried into a conjugate of itself by representatives of all components of N.)
    """
    frame = normalizer.frame @ _upright(keep.rotated(normalizer.frame.T), normalizer.dimension)
    s, k = (x.rotated(frame.T) for x in (group, keep))
    solutions = _continuous_solutions(
        normalizer.schoenflies, s.schoenflies, k.schoenflies, tuple(np.round(k.frame, 9).ravel().tolist())
    )
    return [_placed(x, frame, group, keep, parent) for x in solutions]


def _upright(keep: PointGroup, dimension: int) -> np.ndarray:
    """An element of the identity component of N that brings K to an orientation that depends on its class only."""
    if dimension == 3:
        return keep.frame
    across = _horizontal_axes(keep)
    if not across:
        return np.eye(3)
    return rotation(np.array([0, 0, 1.0]), math.atan2(across[0][1], across[0][0]))


def _horizontal_axes(group: PointGroup) -> list[np.ndarray]:
    """Axes across z of the elements of a subgroup of D_∞h, those of proper rotations first."""
    det = np.sign(np.linalg.det(group.components))
    axes, angles = axis_and_angle(group.components * det[:, None, None])
    order = np.argsort(-det, kind="stable")
    return [axes[i] for i in order if angles[i] > 1e-6 and abs(axes[i][2]) < 1e-5]


@cache
def _continuous_solutions(normalizer: str, s_name: str, k_name: str, k_frame: tuple[float, ...]) -> list[_Solution]:
    n, s = PointGroup(normalizer), PointGroup(s_name)
    k = PointGroup(k_name).rotated(np.array(k_frame).reshape(3, 3))
    if s.dimension <= 1 and _keeps_connected_part(s, k, n):
        return _component_solutions(n, s, k)
    if s.dimension == 0:
        return _circles(n, s, k)
    return _homogeneous_solutions(n, s, k)


def _keeps_connected_part(s: PointGroup, k: PointGroup, n: PointGroup) -> bool:
    """Whether K holds S ∩ N⁰, N⁰ the identity component of N; exactly then a finite exact set exists."""
    if s.dimension:
        return k.dimension == s.dimension
    proper = [m for m in s.matrices if np.linalg.det(m) > 0]
    inside = [m for m in proper if n.dimension == 3 or abs(m[2, 2] - 1) < 1e-6]
    return all(k.contains(m) for m in inside)


def _component_of(m: np.ndarray, n: PointGroup) -> int:
    quotient = np.swapaxes(n.components, 1, 2) @ m
    proper = np.linalg.det(quotient) > 0
    return int(np.argmax(proper & ((quotient[:, 2, 2] > 1 - 1e-6) if n.dimension == 1 else True)))


def _component_solutions(n: PointGroup, s: PointGroup, k: PointGroup) -> list[_Solution]:
    """Finite sets: H holds the identity component N⁰, so all happens in the finite group of components N/N⁰."""
    parts = FiniteGroup.from_matrices(n.components)
    of = {_component_of(m, n): i for i, m in enumerate(parts.elements)}
    s_bar, k_bar = (tuple(sorted({of[_component_of(m, n)] for m in x.components})) for x in (s, k))
    solutions = []
    whole = tuple(range(parts.order))
    for h_bar in parts.complements(whole, s_bar, k_bar):
        h = _with_components(n, parts.elements[list(h_bar)])
        others = parts.elements[sorted(set(whole) - set(h_bar))]
        motions = _lift(parts.elements[_transversal(parts, h_bar, s_bar)], s, n)
        solutions.append(_Solution(lowest_object(h, others), h, motions, n, True, 1.0))
    return sorted(solutions, key=lambda x: cost(x.candidate.terms))


def _with_components(n: PointGroup, components: np.ndarray) -> PointGroup:
    names = {1: ("Cinf", "Cinfv", "Cinfh", "Dinf", "Dinfh"), 3: ("SO3", "O3")}[n.dimension]
    for name in names:
        group = PointGroup(name)
        if len(group.components) == len(components) and all(group.contains(m) for m in components):
            return group
    raise AssertionError("the components of a closed group are listed")


def _lift(components: np.ndarray, s: PointGroup, n: PointGroup) -> np.ndarray:
    """Elements of S in the given components of N."""
    return np.array([next(m for m in s.components if _component_of(m, n) == _component_of(c, n)) for c in components])


def _circles(n: PointGroup, s: PointGroup, k: PointGroup) -> list[_Solution]:
    """Continuous sets for C_n, C_nh, S_2n: orbits of D_∞h that keep K exactly, fewest circles first."""
    order = max(_turns_about_z(s), 2)
    frame = structure(f"D{2 * order}h")
    group, elements = frame.group, frame.elements
    plain = PointGroup(f"D{2 * order}h")
    s_in, k_in = plain.indices_of(s), plain.indices_of(k)
    others = elements[sorted(set(s_in) - set(k_in))]
    fitting = []
    for members in group.subgroup_classes:
        h = list(members[0])
        if set(h) & set(s_in) == set(k_in) and (n.schoenflies == "Dinfh" or np.linalg.det(elements[h]).min() > 0):
            reached = len({_component_of(m, n) for m in elements[h]})
            fitting.append((len(n.components) // reached, h))
    fewest = min(circles for circles, _ in fitting)
    solutions = []
    for circles, h in fitting:
        if circles == fewest:
            complement = PointGroup.from_matrices(elements[h])
            candidate = lowest_object(complement, others)
            solutions.append(_Solution(candidate, complement, None, n, False, math.inf))
    return [min(solutions, key=lambda x: (cost(x.candidate.terms), x.candidate.terms))]


def _turns_about_z(group: PointGroup) -> int:
    return sum(1 for m in group.matrices if np.linalg.det(m) > 0 and m[2, 2] > 1 - 1e-6)


def _homogeneous_solutions(n: PointGroup, s: PointGroup, k: PointGroup) -> list[_Solution]:
    """Sets for a continuous S: a whole S-orbit S/K, kept together by a complement H of S above K in N."""
    solutions = []
    for h in _axial_complements(n, s, k) if n.dimension == 1 else _spherical_complements(n, s, k):
        candidate = _object_of(h, n)
        if candidate is not None:
            motions = _sphere_motions(h, s, n) if h.dimension == n.dimension else None
            solutions.append(_Solution(candidate, h, motions, n, True, 1.0))
    if not solutions:
        raise ValueError(
            f"no object was found that breaks {s.schoenflies} to {k.schoenflies} in low irreps; break in two steps, "
            "through a group in between"
        )
    return sorted(solutions, key=lambda x: cost(x.candidate.terms))


def _object_of(h: PointGroup, n: PointGroup) -> Candidate | None:
    """An object whose stabilizer in a continuous group N is H, in low irreps; None where none was found."""
    if n.dimension == 3 and h.schoenflies in ("T", "Td", "Th", "O", "Oh", "I", "Ih"):
        return polyhedral_object(h, improper=len(n.components) == 2)
    fold = int("".join(c for c in h.schoenflies if c.isdigit()) or 0)  # H has a vector below l = fold + 2
    stabilizer = axial_stabilizer if n.dimension == 1 else spherical_stabilizer
    wanted = (h.dimension, len(h.components))
    candidates = object_candidates(h, l_max=max(8, fold + 2))
    return next((c for c in candidates if stabilizer(c, n.components) == wanted), None)


def _sphere_motions(h: PointGroup, s: PointGroup, n: PointGroup) -> np.ndarray:
    outside = [m for m in s.components if not h.contains(m)]
    return np.array([np.eye(3), *outside[:1]])


def _axial_complements(n: PointGroup, s: PointGroup, k: PointGroup) -> list[PointGroup]:
    """H with H ∩ S = K and H·S = N for an axial continuous S and finite K.

    H has the rotations about z of K, say C_k, and at most four times as many elements; so it lies in D_4kh in the
    orientation of K.
    """
    name = f"D{4 * _turns_about_z(k)}h"
    frame, plain = structure(name), PointGroup(name)
    inside = [i for i, m in enumerate(frame.elements) if n.contains(m)]
    s_in = [i for i in inside if s.contains(frame.elements[i])]
    found: list[PointGroup] = []
    for indices in frame.group.complements(inside, s_in, plain.indices_of(k)):
        h = PointGroup.from_matrices(frame.elements[list(indices)])
        if not _horizontal_axes(k):  # then K stays the same under rotations about z
            h = h.rotated(_upright(h, 1).T)
        if h not in found:
            found.append(h)
    return found


def _spherical_complements(n: PointGroup, s: PointGroup, k: PointGroup) -> list[PointGroup]:
    """H with H ∩ S = K and H·S = N for S = SO(3) or O(3): K itself, or K and as many improper elements."""
    if len(n.components) == len(s.components):
        return [k]
    if k.dimension:
        names = {"Cinf": ("Cinfv", "Cinfh"), "Dinf": ("Dinfh",), "SO3": ("O3",)}[k.schoenflies]
        return [PointGroup(name).rotated(k.frame) for name in names]
    turns = k.normalizer("SO3")
    if not turns.is_finite:
        turns = PointGroup(f"D{max(2 * int(k.order), 2)}").rotated(k.frame)
    found: list[PointGroup] = []
    for r in turns.matrices:
        if k.contains(r @ r):
            h = PointGroup.from_matrices(np.concatenate([k.matrices, -r @ k.matrices]))
            if all(h.schoenflies != other.schoenflies for other in found):
                found.append(h)
    return found
