"""Symmetry breaking sets of point groups: which stabilizers, which objects, how many.

S is the symmetry of the input, K ≤ S what is to be kept of it, N' = N(S, K) the generalized normalizer in the
parent group. An equivariant set in which each object keeps a conjugate of K is a union of orbits N'/H with
H ∩ S = K; it is ideal, one orbit of S, exactly if H·S = N'. So H is chosen first, then a vector that H fixes.
Theory: Y. Xie and T. Smidt, "Equivariant Symmetry Breaking Sets", TMLR 2024, arXiv:2402.02681.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, overload

import numpy as np
import torch
from e3nn import o3
from torch_geometric.data import Data

from pyg_symbreak.detect import Features, GraphSymmetry, Symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices, parent_group, require_inside

from .continuous import continuous_solutions
from .node_fields import DependsOn, NodeBreakingSet, node_breaking_set
from .objects import NoObjectError, Solution, cost, lowest_object
from .protocol import Level, describe, require_keep, require_point_group

__all__ = ["BreakingSet", "GroupIndexed", "breaking_set", "breaking_sets"]


@dataclass(frozen=True)
class GroupIndexed:
    """Objects from the smallest equivariant set for the symmetry S of the structure (:func:`breaking_set`).

    If the set is ideal any object may be used with any structure of the same shape in any orientation; the answers
    that the others give are the images of the first under S. For some S there is only a continuous set, and graphs
    without positions have none. After Y. Xie and T. Smidt, "Equivariant Symmetry Breaking Sets", TMLR 2024,
    arXiv 2402.02681.

    Parameters
    ----------
    keep : PointGroup or str, optional
        K, what is to be kept of S: a symbol or label of a subgroup, which must mean one class of subgroups in every
        orientation of S; or a point group in the frame of the structure. Default: nothing is kept.
    parent : "O3", "SO3" or PointGroup
        The group that the network is equivariant under. With "SO3" S is the group of the rotations among the
        symmetries of the structure: such a network does not know of the others.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking
    >>> AddSymmetryBreaking(GroupIndexed(keep="C3v"), choose="all")(from_ase(molecule("BF3"))).breaking.shape
    torch.Size([2, 3])
    """

    keep: PointGroup | str | None = None
    parent: str | PointGroup = "O3"

    def __post_init__(self) -> None:
        require_keep(self.keep)
        parent_group(self.parent)

    def objects(self, data: Data, symmetry: Symmetry | GraphSymmetry, features: Features = ()) -> BreakingSet:
        """The set for the symmetry of the structure."""
        group = require_point_group(symmetry)
        if self.parent == "SO3":
            group = group.rotations()
        found = breaking_set(group, self.keep, self.parent)
        if isinstance(self.keep, str):
            _require_invariant_class(group, found.keep, self.keep)
        return found

    def __repr__(self) -> str:
        return describe(self)


def _require_invariant_class(group: PointGroup, keep: PointGroup, label: str) -> None:
    """Refuse a label whose meaning depends on the choice of axes: N(S) exchanges several classes of such subgroups."""
    if not group.is_finite or keep.order in (1, group.order):
        return
    normalizer = group.normalizer()
    if normalizer.is_finite and normalizer.order != group.generalized_normalizer(keep).order:
        raise ValueError(
            f"keep={label!r} is ambiguous in a structure of symmetry {group.schoenflies}: rotations that leave the "
            "group as it is exchange several classes of such subgroups, so that a label cannot tell them apart in "
            "every orientation; give keep as a PointGroup in the frame of the structure, for example "
            f"detect_symmetry(data).group.subgroup({label!r})"
        )


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
    _normalizer: PointGroup | None  # of a continuous set: it is an orbit of this group
    level: Level = "graph"

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
            raise ValueError(
                "the set is continuous and cannot be listed; use .sample(n), in a transform choose='sample' (with a "
                f"seed for the same object each time). {self.explanation}"
            )
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

    def all(self) -> torch.Tensor:
        """The same as a method, as all ways of breaking have it."""
        return self.objects

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Objects drawn independently and uniformly, float64 [n, irreps.dim]; continuous sets too."""
        if self._motions is not None:
            drawn = torch.randint(len(self._motions), (n,), generator=generator).numpy()
            return torch.from_numpy(irreps_matrices(self.irreps, self._motions[drawn]) @ self._first)
        assert self._normalizer is not None
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

    def _repr_html_(self) -> str | None:
        from pyg_symbreak.plot import notebook_html

        return notebook_html(self)

    def __repr__(self) -> str:
        size = "inf" if self._motions is None else len(self._motions)
        kept = "" if self.keep.order == 1 else f", keep={self.keep.label}"
        return (
            f"BreakingSet({self.group.schoenflies}{kept}, size={size}, irreps={self.irreps}, "
            f"{'ideal' if self.ideal else f'degeneracy={self.degeneracy:g}'})"
        )


@overload
def breaking_set(
    group: PointGroup, keep: PointGroup | str | None = None, parent: str | PointGroup = "O3"
) -> BreakingSet: ...


@overload
def breaking_set(
    group: Symmetry,
    keep: Any = None,
    parent: str | PointGroup = "O3",
    *,
    nodes: Any = None,
    irreps: str | o3.Irreps | None = None,
    depends_on: DependsOn = "nodes",
    time_reversal: bool = False,
) -> NodeBreakingSet: ...


def breaking_set(
    group: PointGroup | Symmetry,
    keep: Any = None,
    parent: str | PointGroup = "O3",
    *,
    nodes: Any = None,
    irreps: str | o3.Irreps | None = None,
    depends_on: DependsOn = "nodes",
    time_reversal: bool = False,
) -> BreakingSet | NodeBreakingSet:
    """The smallest equivariant set of symmetry breaking objects for a symmetry.

    Parameters
    ----------
    group : PointGroup or Symmetry
        S, the symmetry of the input, in the input's orientation. Of a PointGroup the objects belong to the whole
        structure; of a Symmetry they are fields on its nodes, which break translations of a supercell too.
    keep : PointGroup or str, optional
        K, what is to be kept: a subgroup of S, or a symbol or label (see `PointGroup.subgroups`) where that names
        one class of subgroups. Default: nothing is kept. Of a Symmetry K is given as rows of its operations, as a
        subgroup (:meth:`~pyg_symbreak.detect.Symmetry.stabilizer`) or a distortion of it, as a distorted structure in
        the same cell, as a Glazer symbol of tilts (``"a+b-b-"``), or as the symbol or number of a space group.
        That means the class of subgroups with the fewest domains, among those that fields of scalars and vectors on
        the nodes (or of the irreps that are given) keep in at most two irreps: R-3c of the titanium atoms of SrTiO3,
        2x2x2, those of the tilts a-a-a- with 8 domains, though displacements of titanium keep another R-3c with 32.
        ``"R-3c/32"`` asks for those. Where several have the fewest, the choices are listed as they can be given:
        ``"P4/mmm/6@M"`` has 6 domains and the k vectors M in its reciprocal lattice.
    parent : "O3", "SO3" or a finite PointGroup that contains S
        The group that the network is equivariant under.
    nodes : str or indices, optional
        Of a Symmetry, where the objects live: an element, or whole orbits of nodes. Default: the smallest orbit on
        which low irreps can keep K.
    irreps : str or e3nn Irreps, optional
        Of a Symmetry, how a row of the objects transforms. Default: the lowest of ``0e 1o 1e 0o 2e 2o 3o 3e 4e 4o``.
    depends_on : "nodes", "input" or "group"
        Of a Symmetry, what the set may depend on. "nodes": on S and the orbit alone, where the field that keeps K is
        unique up to a sign that S reverses; else, and with "input", the canonical form of the structure picks the
        direction. Both are ideal for every S and K. "group": on space group and cell alone, so that structures with
        other atoms share the set; it may not be ideal, or have no end.
    time_reversal : bool
        Of a Symmetry, whether time reversal turns a field into its opposite and is a symmetry: magnetic moments, "1e".

    Returns
    -------
    BreakingSet, of a Symmetry NodeBreakingSet
        Ideal where an ideal set exists. Among the smallest sets it is the one in the lowest irreps: smallest
        dimension, then fewest terms, then lowest l, then the parity of spherical harmonics. (Only where S is SO(3)
        or O(3) the search for the lowest irreps is not exhaustive.) If no finite set exists the set is continuous.

    Raises
    ------
    ValueError
        ``keep`` is not a subgroup of ``group`` or a label with several meanings (they are listed), ``group`` is not
        contained in ``parent``, or only irreps above l = 60 have objects (an axis of higher order is kept in part).

    Examples
    --------
    >>> b = breaking_set(PointGroup("Oh"), keep="C4v")
    >>> b
    BreakingSet(Oh, keep=C4v, size=6, irreps=1x1o, ideal)
    >>> breaking_set(PointGroup("D2"))
    BreakingSet(D2, size=4, irreps=1x2e, ideal)
    >>> breaking_set(PointGroup("C4")).size
    inf
    >>> from ase import Atoms
    >>> from pyg_symbreak.detect import detect_symmetry
    >>> chain = detect_symmetry(Atoms("C2", [(0, 0, 0), (0, 0, 2.5)], cell=(4, 4, 5), pbc=True))
    >>> breaking_set(chain, keep="P4/mmm", irreps="0e").objects.flatten().round()  # charge order
    tensor([ 1., -1., -1.,  1.], dtype=torch.float64)
    """
    if isinstance(group, Symmetry):
        if parent != "O3":
            raise ValueError(f"parent={parent!r}: fields on the nodes are objects under all isometries, parent 'O3'")
        return node_breaking_set(
            group, keep, nodes=nodes, irreps=irreps, depends_on=depends_on, time_reversal=time_reversal
        )
    if nodes is not None or irreps is not None or depends_on != "nodes" or time_reversal:
        raise ValueError("nodes, irreps, depends_on and time_reversal go with a Symmetry: breaking_set(symmetry, ...)")
    if isinstance(group, PointGroup) and isinstance(parent, str) and not isinstance(keep, PointGroup):
        return _moved(_standard_set(group.schoenflies, keep, parent), group)
    return breaking_sets(group, keep, parent)[0]


@cache
def _standard_set(name: str, keep: str | None, parent: str) -> BreakingSet:
    """The set of a group in its standard orientation: that of any other is what the rotation makes of it."""
    return breaking_sets(PointGroup(name), keep, parent)[0]


def _moved(found: BreakingSet, group: PointGroup) -> BreakingSet:
    """The set of a group in another orientation than the standard one, which has the set ``found``."""
    frame = group.frame
    return replace(
        found,
        group=group,
        keep=found.keep.rotated(frame),
        complement=found.complement.rotated(frame),
        _first=irreps_matrices(found.irreps, frame[None])[0] @ found._first,
        _motions=None if found._motions is None else frame @ found._motions @ frame.T,
        _normalizer=None if found._normalizer is None else found._normalizer.rotated(frame),
    )


def breaking_sets(
    group: PointGroup, keep: PointGroup | str | None = None, parent: str | PointGroup = "O3"
) -> list[BreakingSet]:
    """The inequivalent choices of smallest sets, one for each class of stabilizers H, lowest irreps first.

    Stabilizers that have no object up to l = 60 are left out: those of axes of higher order. Continuous sets for C_n,
    C_nh and S_2n are those with fewest circles and a stabilizer inside D_2nh.

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
    solutions, frame = continuous_solutions(group, kept, normalizer)
    return [_placed(x, frame, group, kept, whole) for x in solutions]


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


def _inside_finite(group: PointGroup, keep: PointGroup, ambient: PointGroup, parent: PointGroup) -> list[BreakingSet]:
    """Sets for S with N(S, K) inside a finite ambient group: the parent, or the normalizer of S in O(3).

    Pairs (S, K) that the ambient group maps on each other get images of one and the same set, which makes the
    assignment of sets to symmetries equivariant.
    """
    upright = ambient.frame.T
    plain = _upright(ambient.schoenflies)
    s = plain.indices_of(group.rotated(upright))
    k = plain.indices_of(keep.rotated(upright))
    mover, s0, k0 = _first_conjugate(ambient.schoenflies, s, k)
    move = ambient.frame @ plain.matrices[mover].T
    return [_placed(x, move, group, keep, parent) for x in _finite_solutions(ambient.schoenflies, s0, k0)]


@cache
def _upright(name: str) -> PointGroup:
    return PointGroup(name)


@cache
def _first_conjugate(
    ambient: str, s: tuple[int, ...], k: tuple[int, ...]
) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return _upright(ambient).finite_group.first_conjugate(s, k)


@cache
def _finite_solutions(ambient: str, s: tuple[int, ...], k: tuple[int, ...]) -> list[Solution]:
    group, elements = _upright(ambient).finite_group, _upright(ambient).matrices
    n = group.generalized_normalizer(s, k)
    stabilizers = group.largest_avoiding_subgroups(n, s, k)
    ideal = len(stabilizers[0]) * len(s) == len(n) * len(k)
    solutions, without = [], []
    for h in stabilizers:
        complement = PointGroup.of_exact(elements[list(h)])
        motions = elements[group.transversal(h, s if ideal else n)]
        try:
            candidate = lowest_object(complement, motions[1:])
        except NoObjectError as error:
            without.append(error)
            continue
        degeneracy = len(motions) * len(k) / len(s)
        solutions.append(Solution(candidate, complement, motions, None, ideal, degeneracy))
    if not solutions:
        raise without[0]
    return sorted(solutions, key=lambda x: cost(x.candidate.terms))


def _placed(x: Solution, move: np.ndarray, group: PointGroup, keep: PointGroup, parent: PointGroup) -> BreakingSet:
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
        _normalizer=None if x.normalizer is None else x.normalizer.rotated(move),
    )
