"""Real orthogonal representations of finite groups, and the linear maps that commute with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .finite_group import FiniteGroup, Subgroup
from .irreps import irreps_matrices, irreps_terms
from .point_group import PointGroup

__all__ = ["Representation", "cyclic_group", "dihedral_group", "symmetric_group", "transversal_subgroup"]

_TOL = 1e-8


def cyclic_group(n: int) -> FiniteGroup:
    """C_n as the rotations of n points on a circle; the element i moves each point i places on."""
    return FiniteGroup.from_permutations(np.roll(np.arange(n), -1))


def dihedral_group(n: int) -> FiniteGroup:
    """D_n, of order 2n for n ≥ 3, as the rotations and reflections of the n corners of a polygon."""
    return FiniteGroup.from_permutations([np.roll(np.arange(n), -1), -np.arange(n) % n])


def symmetric_group(n: int) -> FiniteGroup:
    """S_n as all permutations of n points."""
    swap = np.arange(n)
    swap[:2] = swap[:2][::-1].copy()
    return FiniteGroup.from_permutations([np.roll(np.arange(n), -1), swap])


@dataclass(frozen=True, eq=False)
class Term:
    """A summand of a representation: permutations ``images`` [order, d] of the coordinates, or matrices [order, d, d].

    The permutation of g carries the coordinate i to the place ``images[g, i]``.
    """

    group: FiniteGroup
    dim: int
    images: np.ndarray | None = None
    general: np.ndarray | None = None

    @property
    def matrices(self) -> np.ndarray:
        """The matrices, float64 [order, d, d]."""
        if self.images is None:
            assert self.general is not None
            return self.general
        out = np.zeros((self.group.order, self.dim, self.dim))
        np.put_along_axis(out, self.images[:, None, :], 1.0, axis=1)
        return out

    @cached_property
    def character(self) -> np.ndarray:
        """The traces, float64 [order]."""
        if self.images is not None:
            return (self.images == np.arange(self.dim)).sum(1).astype(np.float64)
        return np.trace(self.matrices, axis1=1, axis2=2)


class Representation:
    r"""A real orthogonal representation ρ of a finite group: a matrix for each element, with ρ(g)ρ(h) = ρ(gh).

    Representations are added (``a + b``, the direct sum), multiplied by a number of copies (``3 * a``) and by each
    other (``a @ b``, the tensor product). A vector of ``3 * a + b`` is flat and holds three vectors of a, then one
    of b, as with e3nn's irreps.

    Parameters
    ----------
    group : FiniteGroup or PointGroup
        A point group must be finite; its elements are those of ``matrices``, in that order.
    matrices : float array [order, d, d]

    Attributes
    ----------
    group : FiniteGroup
    dim : int
    terms : tuple of (int, Term)
        The summands, each with its number of copies.

    Raises
    ------
    ValueError
        The matrices do not have this shape, are not orthogonal, or are not a homomorphism (which product fails is
        said).

    Examples
    --------
    >>> s4 = symmetric_group(4)
    >>> nodes = Representation.permutation(s4)
    >>> nodes.hom_dimension(nodes), nodes.hom_dimension(nodes @ nodes)
    (2, 5)
    >>> Representation.irreps(PointGroup("Oh"), "1o+2e")
    Representation(order=48, dim=8)
    """

    def __init__(self, group: FiniteGroup | PointGroup, matrices: Any):
        group = _as_finite(group)
        given = np.asarray(matrices, dtype=np.float64)
        if given.ndim != 3 or given.shape != (group.order, given.shape[1], given.shape[1]):
            raise ValueError(
                f"matrices: a representation of a group of order {group.order} has shape [{group.order}, d, d], "
                f"got {list(given.shape)}"
            )
        _require_homomorphism(group, given)
        self._set(group, [(1, _term(group, given))])

    def _set(self, group: FiniteGroup, terms: Iterable[tuple[int, Term]]) -> Representation:
        self.group = group
        merged: list[tuple[int, Term]] = []
        for mul, term in terms:
            if merged and merged[-1][1] is term:
                merged[-1] = (merged[-1][0] + mul, term)
            elif mul:
                merged.append((mul, term))
        self.terms = tuple(merged)
        self.dim = sum(mul * term.dim for mul, term in self.terms)
        return self

    @classmethod
    def _of(cls, group: FiniteGroup, terms: Iterable[tuple[int, Term]]) -> Representation:
        return cls.__new__(cls)._set(group, terms)

    # ------------------------------------------------------------------ constructors

    @classmethod
    def trivial(cls, group: FiniteGroup | PointGroup) -> Representation:
        """Invariant scalars, d = 1."""
        group = _as_finite(group)
        return cls._of(group, [(1, Term(group, 1, images=np.zeros((group.order, 1), dtype=np.int64)))])

    @classmethod
    def regular(cls, group: FiniteGroup | PointGroup) -> Representation:
        """Functions on the group, d = order: g carries the coordinate of h to that of g·h."""
        group = _as_finite(group)
        return cls._of(group, [(1, Term(group, group.order, images=group.table))])

    @classmethod
    def permutation(cls, group: FiniteGroup | PointGroup, images: Any = None) -> Representation:
        """Scalars on points that the group permutes.

        Parameters
        ----------
        group : FiniteGroup or PointGroup
        images : int array [order, N], optional
            ``images[g, i]`` is the point to which g carries the point i, such as the action of a point group on the
            atoms of a molecule. Default: the permutations that ``FiniteGroup.from_permutations`` made the group from.

        Raises
        ------
        ValueError
            The images are not permutations, or not a homomorphism.
        """
        group = _as_finite(group)
        if images is None:
            images = getattr(group, "elements", None)
            if images is None or np.ndim(images) != 2:
                raise ValueError("the group was not made from permutations: give images, int [order, N]")
        images = np.asarray(images, dtype=np.int64)
        if images.ndim != 2 or len(images) != group.order or (np.sort(images, 1) != np.arange(images.shape[1])).any():
            raise ValueError(f"images must be {group.order} permutations of 0 .. N-1, got shape {list(images.shape)}")
        for h in group.generators():
            wrong = (images[:, images[h]] != images[group.table[:, h]]).any(1)
            if wrong.any():
                raise ValueError(_not_homomorphic(int(np.argmax(wrong)), h))
        return cls._of(group, [(1, Term(group, images.shape[1], images=images))])

    @classmethod
    def irreps(cls, group: FiniteGroup | PointGroup, irreps: Any) -> Representation:
        """Irreps of O(3) in e3nn's basis, restricted to a point group or a group made from matrices [k, 3, 3].

        Raises
        ------
        ValueError
            The group is not one of 3×3 matrices.
        """
        elements = group.matrices if isinstance(group, PointGroup) else getattr(group, "elements", np.empty(0))
        if elements.shape[1:] != (3, 3):
            raise ValueError("irreps are those of elements of O(3): give a PointGroup or FiniteGroup.from_matrices")
        group = _as_finite(group)
        return cls._of(
            group, [(mul, _term(group, irreps_matrices([(1, ir)], elements))) for mul, ir in irreps_terms(irreps)]
        )

    # ------------------------------------------------------------------ algebra

    def __add__(self, other: Representation) -> Representation:
        self.require_same_group(other)
        return Representation._of(self.group, [*self.terms, *other.terms])

    def __rmul__(self, copies: int) -> Representation:
        if len(self.terms) == 1:
            return Representation._of(self.group, [(copies * mul, term) for mul, term in self.terms])
        return Representation._of(self.group, self.terms * copies)

    def __matmul__(self, other: Representation) -> Representation:
        self.require_same_group(other)
        n = self.group.order
        if self.is_permutation and other.is_permutation:
            images = self.images[:, :, None] * other.dim + other.images[:, None, :]
            return Representation._of(self.group, [(1, Term(self.group, self.dim * other.dim, images.reshape(n, -1)))])
        product = np.einsum("gij,gkl->gikjl", self.matrices, other.matrices)
        size = self.dim * other.dim
        return Representation._of(self.group, [(1, Term(self.group, size, general=product.reshape(n, size, size)))])

    def restrict(self, subgroup: Iterable[int]) -> Representation:
        """The representation of a subgroup (indices of elements), a group of its own in the order of the indices."""
        chosen = np.array(self.group.require_subgroup(subgroup))
        place = np.zeros(self.group.order, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        small = _subgroup_of(self.group, tuple(chosen.tolist()))
        terms = []
        for mul, term in self.terms:
            images = None if term.images is None else term.images[chosen]
            general = None if term.general is None else term.general[chosen]
            terms.append((mul, Term(small, term.dim, images, general)))
        return Representation._of(small, terms)

    def require_same_group(self, other: Representation) -> None:
        """Raise a ValueError unless the other is a representation of the same group."""
        mine, its = self.group.table, other.group.table
        if mine is not its and not np.array_equal(mine, its):
            raise ValueError(
                f"representations of different groups, of orders {self.group.order} and {other.group.order} or with "
                "elements in another order: make both from one group"
            )

    # ------------------------------------------------------------------ values

    @property
    def is_permutation(self) -> bool:
        """Whether the group permutes the coordinates."""
        return all(term.images is not None for _, term in self.terms)

    @property
    def images(self) -> np.ndarray:
        """Of a representation that permutes its coordinates: int [order, dim], g carries i to ``images[g, i]``."""
        parts, at = [np.zeros((self.group.order, 0), dtype=np.int64)], 0
        for mul, term in self.terms:
            if term.images is None:
                raise ValueError("this representation does not permute its coordinates: use matrices")
            for _ in range(mul):
                parts.append(term.images + at)
                at += term.dim
        return np.concatenate(parts, axis=1)

    @property
    def matrices(self) -> np.ndarray:
        """All ρ(g), float64 [order, dim, dim]."""
        out = np.zeros((self.group.order, self.dim, self.dim))
        at = 0
        for mul, term in self.terms:
            block = term.matrices
            for _ in range(mul):
                out[:, at : at + term.dim, at : at + term.dim] = block
                at += term.dim
        return out

    @property
    def character(self) -> np.ndarray:
        """The traces of all ρ(g), float64 [order]."""
        return sum((mul * term.character for mul, term in self.terms), np.zeros(self.group.order))

    def stabilizer(self, x: Any, tolerance: float = 1e-6) -> Subgroup:
        """The elements g with ρ(g)x = x within ``tolerance`` times the largest entry of x [dim]."""
        x = np.asarray(x, dtype=np.float64)
        moved = np.abs(self.matrices @ x - x).max(1)
        return tuple(np.flatnonzero(moved <= tolerance * np.abs(x).max()).tolist())

    def hom_dimension(self, other: Representation) -> int:
        r"""dim Hom_G(self, other) = (1/|G|) Σ_g χ(g)χ'(g), the number of independent equivariant linear maps."""
        self.require_same_group(other)
        return round(float(self.character @ other.character) / self.group.order)

    def hom_basis(self, other: Representation) -> np.ndarray:
        """An orthonormal basis of the linear maps W from this to another with ρ'(g)W = Wρ(g).

        Returns
        -------
        float64 array [k, other.dim, dim]
        """
        self.require_same_group(other)
        out: list[np.ndarray] = []
        row = 0
        for mul_out, term_out in other.terms:
            for i in range(mul_out):
                column = 0
                for mul_in, term_in in self.terms:
                    basis = hom(term_in, term_out).matrices()
                    for j in range(mul_in):
                        full = np.zeros((len(basis), other.dim, self.dim))
                        at, to = row + i * term_out.dim, column + j * term_in.dim
                        full[:, at : at + term_out.dim, to : to + term_in.dim] = basis
                        out.append(full)
                    column += mul_in * term_in.dim
            row += mul_out * term_out.dim
        return np.concatenate([np.zeros((0, other.dim, self.dim)), *out])

    def __repr__(self) -> str:
        return f"Representation(order={self.group.order}, dim={self.dim})"


# ---------------------------------------------------------------------- equivariant linear maps


@dataclass(frozen=True, eq=False)
class Hom:
    """An orthonormal basis of Hom_G between two terms.

    Between permuted coordinates it is one map for each orbit of pairs: ``orbits`` [d_out, d_in] numbers the orbits,
    and map k has the entry ``scale[k]`` on orbit k. Else ``basis`` [k, d_out, d_in].
    """

    dim: int
    orbits: np.ndarray | None = None
    scale: np.ndarray | None = None
    basis: np.ndarray | None = None

    def matrices(self) -> np.ndarray:
        """The basis, float64 [k, d_out, d_in]."""
        if self.basis is not None:
            return self.basis
        assert self.scale is not None
        return (self.orbits == np.arange(self.dim)[:, None, None]) * self.scale[:, None, None]


@lru_cache(maxsize=256)
def hom(term_in: Term, term_out: Term) -> Hom:
    """The linear maps W from one term to another with ρ'(g)W = Wρ(g) for all g."""
    if term_in.images is not None and term_out.images is not None:
        return _pair_orbits(term_in, term_out)
    dim = round(float(term_in.character @ term_out.character) / term_in.group.order)
    shape = (dim, term_out.dim, term_in.dim)
    # The averages over the group of as many random maps as the dimension says span the space.
    basis = np.random.default_rng(0).standard_normal(shape)
    for _ in range(2):  # the second round removes what the orthogonalization leaves of round-off
        basis = _reynolds(basis, term_in.matrices, term_out.matrices)
        basis = np.linalg.qr(basis.reshape(dim, term_out.dim * term_in.dim).T)[0].T.reshape(shape)
    return Hom(dim, basis=basis)


def _reynolds(maps: np.ndarray, rho_in: np.ndarray, rho_out: np.ndarray) -> np.ndarray:
    """(1/|G|) Σ_g ρ'(g) W ρ(g)⁻¹ of maps [k, d_out, d_in]."""
    total = np.zeros_like(maps)
    for a, b in zip(rho_in, rho_out, strict=True):
        total += b @ maps @ a.T
    return total / len(rho_in)


def _pair_orbits(term_in: Term, term_out: Term) -> Hom:
    """The orbits of the group on pairs of a coordinate out and a coordinate in."""
    assert term_in.images is not None
    assert term_out.images is not None
    size = term_out.dim * term_in.dim
    from scipy.sparse import coo_array  # takes longer to import than all of this package
    from scipy.sparse.csgraph import connected_components

    generators = term_in.group.generators()
    reached = [(term_out.images[g][:, None] * term_in.dim + term_in.images[g]).ravel() for g in generators]
    targets = np.concatenate([np.arange(size), *reached])
    sources = np.tile(np.arange(size), len(generators) + 1)
    count, labels = connected_components(coo_array((np.ones(len(targets)), (sources, targets)), (size, size)))
    scale = np.bincount(labels, minlength=count) ** -0.5
    return Hom(count, orbits=labels.reshape(term_out.dim, term_in.dim).astype(np.int64), scale=scale)


# ---------------------------------------------------------------------- subgroups


def transversal_subgroup(group: FiniteGroup | PointGroup, stabilizer: Iterable[int]) -> Subgroup:
    """A subgroup T of G with one element in each coset g·H: G = T·H and T ∩ H = {e}.

    A map that is equivariant under T alone is relaxed equivariant under G on every input whose stabilizer is H or a
    conjugate of it: each g is t·h, so f(gx) = f(tx) = t f(x), and t ∈ gH. ``Representation.restrict`` gives the
    representations of T, between which dim Hom_T ≥ dim Hom_G.

    Parameters
    ----------
    group : FiniteGroup or PointGroup
        All subgroups of it are looked through, up to conjugacy.
    stabilizer : indices of the elements of H

    Raises
    ------
    ValueError
        H is not a subgroup, or there is no such T.

    Examples
    --------
    >>> transversal_subgroup(cyclic_group(6), [0, 3])
    (0, 2, 4)
    """
    group = _as_finite(group)
    h = group.require_subgroup(stabilizer, "stabilizer")
    size = group.order // len(h)
    for members in group.subgroup_classes:
        if len(members[0]) == size and len(set(members[0]) & set(h)) == 1:
            return members[0]
    raise ValueError(
        f"no subgroup of order {size} meets the stabilizer {h} in the identity alone, so no subgroup is a transversal "
        "of its cosets: use RelaxedLinear, which needs none"
    )


@lru_cache(maxsize=64)
def _subgroup_of(group: FiniteGroup, chosen: Subgroup) -> FiniteGroup:
    rows = np.array(chosen)
    small = FiniteGroup(np.searchsorted(rows, group.table[np.ix_(rows, rows)]))
    if hasattr(group, "elements"):
        small.elements = group.elements[rows]
    return small


def _as_finite(group: FiniteGroup | PointGroup) -> FiniteGroup:
    if isinstance(group, FiniteGroup):
        return group
    if not isinstance(group, PointGroup):
        raise TypeError(f"group must be a FiniteGroup or a PointGroup, got {group!r}")
    finite = FiniteGroup(group.table)
    finite.elements = group.matrices
    return finite


def _term(group: FiniteGroup, matrices: np.ndarray) -> Term:
    """A term of matrices, as permutations where they are."""
    images = matrices.argmax(1)
    dim = matrices.shape[1]
    permuted = Term(group, dim, images=images)
    if dim and np.abs(permuted.matrices - matrices).max() < _TOL:
        return permuted
    return Term(group, dim, general=matrices)


def _require_homomorphism(group: FiniteGroup, matrices: np.ndarray) -> None:
    unit = np.eye(matrices.shape[1])
    deviation = np.abs(matrices @ np.swapaxes(matrices, 1, 2) - unit).max((1, 2), initial=0.0)
    if not (deviation < _TOL).all():
        raise ValueError(
            f"the matrix of element {int(np.argmax(deviation))} is not orthogonal within {_TOL}: change the basis, a "
            "real representation of a finite group is orthogonal in a suitable one"
        )
    for h in group.generators() or [group.identity]:
        wrong = np.abs(matrices @ matrices[h] - matrices[group.table[:, h]]).max((1, 2), initial=0.0) > _TOL
        if wrong.any():
            raise ValueError(_not_homomorphic(int(np.argmax(wrong)), h))


def _not_homomorphic(g: int, h: int) -> str:
    return f"not a representation: the product of the images of elements {g} and {h} is not that of {g}·{h}"
