"""Sets of objects where the normalizer of the symmetry is continuous: finite ones, circles, homogeneous spaces."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from pyg_symbreak.groups import FiniteGroup, PointGroup, axis_and_angle, rotation

from .objects import (
    Candidate,
    NoObjectError,
    Solution,
    axial_stabilizer,
    cost,
    lowest_object,
    object_candidates,
    polyhedral_object,
    spherical_stabilizer,
)

__all__ = ["continuous_solutions"]


def continuous_solutions(
    group: PointGroup, keep: PointGroup, normalizer: PointGroup
) -> tuple[list[Solution], np.ndarray]:
    """Sets for S with a continuous normalizer N, and the rotation [3, 3] that brings them to S. Here N(S, K) = N.

    (The subgroups of C_n, C_nh and S_2n are normal in D_∞h, and every subgroup of an axial continuous group or of
    SO(3), O(3) is carried into a conjugate of itself by representatives of all components of N.)
    """
    frame = normalizer.frame @ _upright(keep.rotated(normalizer.frame.T), normalizer.dimension)
    s, k = (x.rotated(frame.T) for x in (group, keep))
    turn = tuple(np.round(k.frame, 9).ravel().tolist())
    return _continuous_solutions(normalizer.schoenflies, s.schoenflies, k.schoenflies, turn), frame


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
def _continuous_solutions(normalizer: str, s_name: str, k_name: str, k_frame: tuple[float, ...]) -> list[Solution]:
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
    inside = (np.linalg.det(s.matrices) > 0) & ((n.dimension == 3) | (s.matrices[:, 2, 2] > 1 - 1e-6))
    return bool(k.holds(s.matrices[inside]).all())


def _component_of(m: np.ndarray, n: PointGroup) -> int:
    quotient = np.swapaxes(n.components, 1, 2) @ m
    proper = np.linalg.det(quotient) > 0
    return int(np.argmax(proper & ((quotient[:, 2, 2] > 1 - 1e-6) if n.dimension == 1 else True)))


def _component_solutions(n: PointGroup, s: PointGroup, k: PointGroup) -> list[Solution]:
    """Finite sets: H holds the identity component N⁰, so all happens in the finite group of components N/N⁰."""
    parts = FiniteGroup.from_matrices(n.components)
    of = {_component_of(m, n): i for i, m in enumerate(parts.elements)}
    s_bar, k_bar = (tuple(sorted({of[_component_of(m, n)] for m in x.components})) for x in (s, k))
    solutions = []
    whole = tuple(range(parts.order))
    for h_bar in parts.complements(whole, s_bar, k_bar):
        h = _with_components(n, parts.elements[list(h_bar)])
        others = parts.elements[sorted(set(whole) - set(h_bar))]
        motions = _lift(parts.elements[parts.transversal(h_bar, s_bar)], s, n)
        solutions.append(Solution(lowest_object(h, others), h, motions, n, True, 1.0))
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


def _circles(n: PointGroup, s: PointGroup, k: PointGroup) -> list[Solution]:
    """Continuous sets for C_n, C_nh, S_2n: orbits of N that keep K exactly, in fewest circles, one for each class of H.

    The circles are the components of N over those that H reaches.
    """
    plain = PointGroup(f"D{2 * max(_turns_about_z(s), 2)}h")
    group, elements = plain.finite_group, plain.matrices
    proper = np.linalg.det(elements) > 0
    inside = np.flatnonzero(proper | (n.schoenflies == "Dinfh"))
    s_in, k_in = plain.indices_of(s), plain.indices_of(k)
    fitting = [list(h) for h in group.avoiding_subgroups(inside.tolist(), s_in, k_in)]
    reached = [len(np.unique(2 * proper[h] + (elements[h, 2, 2] > 0))) for h in fitting]
    others = elements[group.transversal(k_in, s_in)[1:]]
    solutions: dict[tuple[str, bool], Solution] = {}
    without: list[NoObjectError] = []
    for h, components in zip(fitting, reached, strict=True):
        complement = PointGroup.of_exact(elements[h])
        kind = complement.schoenflies, abs(complement.axis[2]) > 0.5  # what N tells apart
        if components == max(reached) and kind not in solutions:
            try:
                candidate = lowest_object(complement, others)
            except NoObjectError as error:
                without.append(error)
                continue
            solutions[kind] = Solution(candidate, complement, None, n, False, math.inf)
    if not solutions:
        raise without[0]
    return sorted(solutions.values(), key=lambda x: (cost(x.candidate.terms), x.candidate.terms))


def _turns_about_z(group: PointGroup) -> int:
    return int(((np.linalg.det(group.matrices) > 0) & (group.matrices[:, 2, 2] > 1 - 1e-6)).sum())


def _homogeneous_solutions(n: PointGroup, s: PointGroup, k: PointGroup) -> list[Solution]:
    """Sets for a continuous S: a whole S-orbit S/K, kept together by a complement H of S above K in N."""
    solutions = []
    for h in _axial_complements(n, s, k) if n.dimension == 1 else _spherical_complements(n, s, k):
        candidate = _object_of(h, n)
        if candidate is not None:
            motions = _sphere_motions(h, s) if h.dimension == n.dimension else None
            solutions.append(Solution(candidate, h, motions, n, True, 1.0))
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


def _sphere_motions(h: PointGroup, s: PointGroup) -> np.ndarray:
    outside = [m for m in s.components if not h.contains(m)]
    return np.array([np.eye(3), *outside[:1]])


def _axial_complements(n: PointGroup, s: PointGroup, k: PointGroup) -> list[PointGroup]:
    """H with H ∩ S = K and H·S = N for an axial continuous S and finite K.

    H has the rotations about z of K, say C_k, and at most four times as many elements; so it lies in D_4kh in the
    orientation of K.
    """
    name = f"D{4 * _turns_about_z(k)}h"
    plain = PointGroup(name)
    inside = np.flatnonzero(n.holds(plain.matrices)).tolist()
    s_in = np.flatnonzero(n.holds(plain.matrices) & s.holds(plain.matrices)).tolist()
    found: list[PointGroup] = []
    for indices in plain.finite_group.complements(inside, s_in, plain.indices_of(k)):
        h = PointGroup.of_exact(plain.matrices[list(indices)])
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
