"""Matrix Lie groups, given by generators."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from .point_group import PointGroup

__all__ = ["LieGroup"]

_CUT = 1e-6  # distance of an eigenvalue from the negative real axis at which a matrix has no unique logarithm


class LieGroup:
    r"""The connected group of the matrices :math:`\exp(\sum_i a_i T_i)`.

    Parameters
    ----------
    generators : array [k, d, d]
        The :math:`T_i`, linearly independent. They need not be closed under brackets: see :attr:`closure_error`.

    Attributes
    ----------
    generators : float64 array [k, d, d]
    dimension : int
        k.
    size : int
        d.

    Raises
    ------
    ValueError
        The generators are no square matrices, or linearly dependent.

    Examples
    --------
    >>> so3 = LieGroup.rotations(3)
    >>> so3.dimension, so3.closure_error < 1e-14, so3.point_group()
    (3, True, PointGroup('SO3'))
    >>> turn = so3.exp([0.0, 0.0, np.pi / 2])
    >>> np.round(turn @ [1, 0, 0], 12)
    array([0., 1., 0.])
    """

    def __init__(self, generators: Any):
        given = np.array(generators, dtype=np.float64)
        if given.ndim != 3 or given.shape[1] != given.shape[2]:
            raise ValueError(f"generators must have shape [k, d, d], got {list(given.shape)}")
        if not np.isfinite(given).all():
            raise ValueError("generators must be finite numbers")
        if len(given) and np.linalg.matrix_rank(given.reshape(len(given), -1)) < len(given):
            raise ValueError(f"the {len(given)} generators are linearly dependent: leave out those that others span")
        self.generators = given

    @classmethod
    def translations(cls, d: int) -> LieGroup:
        """Translations of d-dimensional space, as matrices [d + 1, d + 1] that act on (x, 1)."""
        generators = np.zeros((d, d + 1, d + 1))
        generators[np.arange(d), np.arange(d), d] = 1
        return cls(generators)

    @classmethod
    def rotations(cls, d: int) -> LieGroup:
        """SO(d). For d = 3 the generators turn about x, y and z, by one radian each."""
        pairs = [(1, 2), (2, 0), (0, 1)] if d == 3 else [(i, j) for i in range(d) for j in range(i + 1, d)]
        return cls(np.array([_plane(d, i, j) for i, j in pairs]).reshape(-1, d, d))

    @classmethod
    def scalings(cls, d: int) -> LieGroup:
        """The scalings of d-dimensional space by positive numbers."""
        return cls(np.eye(d)[None])

    @classmethod
    def euclidean(cls, d: int) -> LieGroup:
        """SE(d), rotations first and then translations, as matrices [d + 1, d + 1] that act on (x, 1)."""
        turns = cls.rotations(d).generators
        padded = np.zeros((len(turns), d + 1, d + 1))
        padded[:, :d, :d] = turns
        return cls(np.concatenate([padded, cls.translations(d).generators]))

    @property
    def dimension(self) -> int:
        """The number of generators."""
        return len(self.generators)

    @property
    def size(self) -> int:
        """The number of rows of a matrix."""
        return self.generators.shape[1]

    @cached_property
    def _flat(self) -> np.ndarray:
        return self.generators.reshape(self.dimension, self.size**2).T

    @cached_property
    def structure_constants(self) -> np.ndarray:
        r"""The numbers [k, k, k] in :math:`[T_i, T_j] = \sum_l c_{ijl} T_l`, by least squares."""
        brackets = self._brackets.reshape(self.dimension**2, -1)
        return (brackets @ np.linalg.pinv(self._flat).T).reshape(3 * (self.dimension,))

    @cached_property
    def _brackets(self) -> np.ndarray:
        products = np.einsum("aij,bjk->abik", self.generators, self.generators)
        return (products - products.swapaxes(0, 1)).reshape(self.dimension, self.dimension, self.size**2)

    @property
    def closure_error(self) -> float:
        r"""How far the generators are from a Lie algebra.

        The largest part of a bracket that lies outside of their span,
        :math:`\lVert [T_i, T_j]_\perp \rVert / (\lVert T_i \rVert \lVert T_j \rVert)`.
        """
        if self.dimension < 2:
            return 0.0
        outside = np.linalg.norm(self._brackets - self.structure_constants @ self._flat.T, axis=2)
        norms = np.linalg.norm(self._flat, axis=0)
        return float((outside / np.outer(norms, norms)).max())

    @property
    def is_abelian(self) -> bool:
        """Whether the generators commute."""
        return bool(
            np.abs(self._brackets).max(initial=0) < 1e-9 * max(1.0, np.abs(self.generators).max(initial=0)) ** 2
        )

    def exp(self, coordinates: Any) -> np.ndarray:
        """The elements [..., d, d] of some coordinates [..., k]."""
        a = np.asarray(coordinates, dtype=np.float64)
        if a.shape[-1:] != (self.dimension,):
            raise ValueError(f"coordinates must have shape [..., {self.dimension}], got {list(a.shape)}")
        from scipy.linalg import expm  # takes longer to import than all of this package

        return expm(np.einsum("...k,kij->...ij", a, self.generators))

    def log(self, elements: Any) -> np.ndarray:
        """The coordinates [..., k] of some elements [..., d, d]: the inverse of :meth:`exp` near 1.

        Raises
        ------
        ValueError
            An element lies on the cut locus, where several coordinates are as near (a rotation by π), or is not in
            the group.
        """
        g = np.asarray(elements, dtype=np.float64)
        if g.shape[-2:] != (self.size, self.size):
            raise ValueError(f"elements must have shape [..., {self.size}, {self.size}], got {list(g.shape)}")
        flat = [self._log(one) for one in g.reshape(-1, self.size, self.size)]
        return np.array(flat).reshape(*g.shape[:-2], self.dimension)

    def _log(self, element: np.ndarray) -> np.ndarray:
        values = np.linalg.eigvals(element)
        if ((np.abs(values.imag) < _CUT) & (values.real < _CUT)).any():
            raise ValueError(f"{element.round(6).tolist()} has no unique logarithm: it lies on the cut locus")
        from scipy.linalg import logm

        algebra = np.real(logm(element)).ravel()
        coordinates = np.linalg.lstsq(self._flat, algebra, rcond=None)[0]
        if np.abs(self._flat @ coordinates - algebra).max() > 1e-6 * max(1.0, np.abs(algebra).max()):
            raise ValueError(f"{element.round(6).tolist()} is not in the group")
        return coordinates

    def sample(self, n: int, scale: float | None = None, generator: np.random.Generator | None = None) -> np.ndarray:
        """Random elements [n, d, d].

        Parameters
        ----------
        n : int
        scale : float, optional
            Standard deviation of the coordinates, which are normal. Default: the uniform (Haar) law, for groups of
            one parameter that are compact and for SO(3) in any representation.
        generator : numpy Generator, optional
            Default: a new one, seeded by the system.

        Raises
        ------
        ValueError
            There is no uniform law to draw from, and no scale is given.
        """
        rng = np.random.default_rng() if generator is None else generator
        if scale is not None:
            return self.exp(rng.normal(scale=scale, size=(n, self.dimension)))
        if self.dimension == 1:
            return self.exp(self.period * rng.uniform(size=(n, 1)))
        basis = _so3_basis(self.structure_constants) if self.dimension == 3 else None
        if basis is None:
            raise ValueError(
                f"no uniform law is known for this group of dimension {self.dimension}: give the scale of a normal one"
            )
        quaternion = rng.normal(size=(n, 4))
        quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
        length = np.linalg.norm(quaternion[:, 1:], axis=1)
        angle = 2 * np.arctan2(length, quaternion[:, 0])
        return self.exp((angle / length)[:, None] * quaternion[:, 1:] @ basis)

    @property
    def period(self) -> float:
        """The smallest t > 0 with exp(t T) = 1, of a group of one parameter.

        Raises
        ------
        ValueError
            The group has several parameters or is not compact.
        """
        if self.dimension != 1:
            raise ValueError(f"only a group of one parameter has a period, this has {self.dimension}")
        values, vectors = np.linalg.eig(self.generators[0])
        scale = np.abs(values).max()
        is_compact = scale > 0 and np.abs(values.real).max() < 1e-6 * scale and np.linalg.cond(vectors) < 1e6
        turning = np.abs(values.imag[np.abs(values.imag) > 1e-6 * scale]) if is_compact else np.empty(0)
        if not len(turning):
            raise ValueError("the group is not compact, so that it has no period")
        base = turning.min()
        ratios = [Fraction(float(t / base)).limit_denominator(60) for t in turning]
        if any(abs(float(r) - t / base) > 1e-6 for r, t in zip(ratios, turning, strict=True)):
            raise ValueError("the turning rates of the generator have no common period: the group is not closed")
        return float(2 * np.pi / base * np.lcm.reduce([r.denominator for r in ratios]) / _gcd(ratios))

    def cyclic_subgroup(self, n: int) -> np.ndarray:
        """The n elements [n, d, d] of the cyclic subgroup C_n of a compact group of one parameter."""
        return self.exp(self.period * np.arange(n)[:, None] / n)

    def point_group(self) -> PointGroup:
        """This group as a closed subgroup of SO(3): C_1, C_∞ about the axis of the generator, or SO(3).

        Raises
        ------
        ValueError
            The matrices are no rotations of three-dimensional space, or are not closed under brackets.
        """
        t = self.generators
        if self.size != 3 or np.abs(t + t.swapaxes(1, 2)).max(initial=0) > 1e-6 * np.abs(t).max(initial=1.0):
            raise ValueError("only groups of rotations of three-dimensional space are point groups")
        if self.dimension == 2:
            raise ValueError("two rotations that do not commute generate SO(3): the third is missing")
        if self.dimension != 1:
            return PointGroup("SO3" if self.dimension else "C1")
        axis = np.array([t[0, 2, 1], t[0, 0, 2], t[0, 1, 0]])
        return PointGroup("Cinf").rotated(_turn_z_to(axis / np.linalg.norm(axis)))

    def __repr__(self) -> str:
        return f"LieGroup(dimension={self.dimension}, size={self.size})"


def _plane(d: int, i: int, j: int) -> np.ndarray:
    """The generator of the rotations in the plane of two axes, from i to j."""
    t = np.zeros((d, d))
    t[j, i], t[i, j] = 1, -1
    return t


def _gcd(ratios: Sequence[Fraction]) -> int:
    common = np.lcm.reduce([r.denominator for r in ratios])
    return int(np.gcd.reduce([int(r * int(common)) for r in ratios]))


def _so3_basis(constants: np.ndarray) -> np.ndarray | None:
    """Coordinates [3, 3] of generators with [e₀, e₁] = e₂ and so on, if these are structure constants of so(3).

    The Killing form of so(3) is -2 in such a basis.
    """
    killing = np.einsum("ikl,jlk->ij", constants, constants)
    values, vectors = np.linalg.eigh(killing)
    if values.max() > -1e-6 * np.abs(values).max() or np.abs(values).max() == 0:
        return None
    basis = vectors.T * np.sqrt(-2 / values)[:, None]
    bracket = np.einsum("i,j,ijk->k", basis[0], basis[1], constants)
    if np.linalg.norm(bracket - basis[2]) > np.linalg.norm(bracket + basis[2]):
        basis[2] *= -1
    return basis


def _turn_z_to(axis: np.ndarray) -> np.ndarray:
    """A rotation whose third column is the axis."""
    other = np.eye(3)[np.argmin(np.abs(axis))]
    x = np.cross(other, axis)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(axis, x), axis], axis=1)
