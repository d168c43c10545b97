"""The Euclidean normalizer of the space group of a crystal that keeps its cell, modulo the lattice of that cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from ase.geometry import minkowski_reduce

from pyg_symbreak.detect.subgroup import hermite_form, integer_rotations, primitive_operations
from pyg_symbreak.groups import FiniteGroup

if TYPE_CHECKING:
    from pyg_symbreak.detect.symmetry import Symmetry

__all__ = ["Normalizer", "euclidean_normalizer", "smith_form"]


@dataclass(frozen=True, eq=False)
class Normalizer:
    """The isometries n of space that keep the lattice L of the cell, n·L = L, and the operations S: n·S·n⁻¹ = S.

    They are listed modulo L and, where all operations leave a direction as it is, modulo the translations along such
    polar directions, which all are normalizers: the finite group N/N⁰. Made by :meth:`Symmetry.normalizer`.

    Attributes
    ----------
    rotations : float64 array [order, 3, 3]
    translations : float64 array [order, 3]
        Å.
    polar : float64 array [p, 3]
        Orthonormal basis of the polar directions.
    inside : int array [|S|]
        The element that each operation of S is: distinct ones unless S has translations along a polar direction.

    Notes
    -----
    A translation t goes with the linear part Q if (1 - W) t = w(W) - Q w(Q⁻¹WQ) modulo the translations of S, for
    generators W of the point group; w(W) is the translation of the operation with the rotation W. The Smith normal
    form of the left side gives all t; its zeros are the polar directions. Those of primitive cells are listed in
    *International Tables for Crystallography* A (2002), chapter 15.
    """

    rotations: np.ndarray
    translations: np.ndarray
    polar: np.ndarray
    inside: np.ndarray
    _linear: np.ndarray  # table of products of the linear parts
    _shifts: np.ndarray  # [q, q, r]: integers that their translations make
    _actions: np.ndarray  # [q, r, r]: what the linear parts do to the integers of a translation
    _lattice: np.ndarray  # [r, r]: Hermite form of the lattice of the cell, in these integers

    @property
    def order(self) -> int:
        """Number of elements listed."""
        return len(self.rotations)

    @cached_property
    def abstract(self) -> FiniteGroup:
        """The elements as an abstract group."""
        vectors = _residues(self._lattice)
        count = len(vectors)
        turned = np.einsum("qij,zj->qzi", self._actions, vectors)
        total = self._shifts[:, None, :, None] + vectors[:, None, None] + turned[:, None, None]
        rows = _index(total, self._lattice) + self._linear[:, None, :, None] * count
        return FiniteGroup(rows.reshape(len(self._linear) * count, -1))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(order={self.order}, polar={len(self.polar)})"


def euclidean_normalizer(symmetry: Symmetry) -> Normalizer:
    """As :meth:`Symmetry.normalizer`."""
    if len(symmetry.lattice) < 3:
        raise ValueError("normalizers are those of the space groups of crystals, periodic in three directions")
    cell, steps = symmetry.lattice, symmetry.pure_translations
    rotations, translations = symmetry.rotations.numpy()[:: len(steps)], symmetry.translations.numpy()
    basis, integer, _ = primitive_operations(cell, symmetry.rotations.numpy(), translations)
    inverse = np.linalg.inv(basis)
    integer = integer_rotations(basis, rotations)
    shifts = translations[:: len(steps)] @ inverse
    place = {matrix.tobytes(): g for g, matrix in enumerate(integer)}
    generators = FiniteGroup(symmetry.group.table).generators()
    left = np.concatenate([np.eye(3, dtype=int)[None] - integer[generators], np.zeros((1, 3, 3), dtype=int)])
    rows, divisors, columns = smith_form(left.reshape(-1, 3))
    rank = int((divisors > 0).sum())
    back = np.rint(np.linalg.inv(columns)).astype(int)
    linear, bases = [], []
    for turn in _lattice_isometries(cell, symmetry.symprec):
        (q,) = integer_rotations(basis, turn[None])
        q_inverse = np.rint(np.linalg.inv(q)).astype(int)
        sources = [place.get((q_inverse @ w @ q).tobytes()) for w in integer]
        if np.abs(np.linalg.inv(basis).T @ turn @ basis.T - q).max() > 1e-2 or None in sources:
            continue
        right = [shifts[g] - q @ shifts[sources[g]] for g in generators]
        c = rows @ np.concatenate([*right, np.zeros(3)])
        if np.abs(c[rank:] - np.rint(c[rank:])).max(initial=0) < 1e-3:
            linear.append((turn, q))
            bases.append(c[:rank] / divisors[:rank])
    turns, matrices = (np.array(part) for part in zip(*linear, strict=True))
    y, d = np.array(bases), divisors[:rank]
    actions = (back @ matrices @ columns)[:, :rank, :rank]
    number = {matrix.tobytes(): g for g, matrix in enumerate(matrices)}
    table = np.array([[number[(a @ b).tobytes()] for b in matrices] for a in matrices])
    cocycle = np.rint((y[:, None] + np.einsum("aij,bj->abi", actions, y) - y[table]) * d).astype(int)
    scaled = np.rint(d[:, None] * actions / d).astype(int)
    multiples = np.rint(cell @ inverse).astype(int)
    lattice = hermite_form((multiples @ back.T)[:, :rank] * d)
    vectors = _residues(lattice)
    along = (y[:, None] + vectors / d).reshape(-1, rank) @ columns[:, :rank].T @ basis
    which = np.array([number[w.tobytes()] for w in integer_rotations(basis, symmetry.rotations.numpy())])
    own = np.rint(((translations @ inverse @ back.T)[:, :rank] - y[which]) * d).astype(int)
    return Normalizer(
        rotations=np.repeat(turns, len(vectors), axis=0),
        translations=along,
        polar=np.linalg.qr((columns[:, rank:].T @ basis).T)[0].T,
        inside=which * len(vectors) + _index(own, lattice),
        _linear=table,
        _shifts=cocycle,
        _actions=scaled,
        _lattice=lattice,
    )


def _lattice_isometries(cell: np.ndarray, tolerance: float) -> np.ndarray:
    """Orthogonal matrices [n, 3, 3] that carry a lattice to itself, where its vectors match to within a tolerance, Å.

    An isometry carries a basis that is as short as can be to vectors whose coordinates in it are -1, 0 or 1.
    """
    reduced = minkowski_reduce(cell)[0]
    vectors = np.array(list(product((-1, 0, 1), repeat=3))) @ reduced
    lengths, metric = np.linalg.norm(vectors, axis=1), reduced @ reduced.T
    alike = [vectors[np.abs(lengths - np.linalg.norm(v)) < tolerance] for v in reduced]
    bases = np.array(list(product(*alike)))
    scale = np.sqrt(np.outer(metric.diagonal(), metric.diagonal()))
    apart = np.abs(bases @ bases.swapaxes(1, 2) - metric) / np.sqrt(scale)
    left, _, right = np.linalg.svd(bases[(apart < 2 * tolerance).all((1, 2))].swapaxes(1, 2) @ np.linalg.inv(reduced).T)
    return left @ right


def smith_form(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unimodular U [n, n] and V [m, m] with U·A·V diagonal, and its diagonal [m], of an integer matrix [n, m], n >= m.

    The diagonal is not negative, and its zeros come last.
    """
    a = np.array(matrix, dtype=int)
    n, m = a.shape
    u, v = np.eye(n, dtype=int), np.eye(m, dtype=int)
    for k in range(m):
        while np.any(a[k:, k:]):
            rest = np.abs(a[k:, k:])
            i, j = divmod(int(np.where(rest > 0, rest, rest.max() + 1).argmin()), m - k)
            for x in (a, u):
                x[[k, k + i]] = x[[k + i, k]]
            for x in (a, v):
                x[:, [k, k + j]] = x[:, [k + j, k]]
            down, across = a[k + 1 :, k] // a[k, k], a[k, k + 1 :] // a[k, k]
            u[k + 1 :] -= np.outer(down, u[k])
            a[k + 1 :] -= np.outer(down, a[k])
            v[:, k + 1 :] -= np.outer(v[:, k], across)
            a[:, k + 1 :] -= np.outer(a[:, k], across)
            if not a[k + 1 :, k].any() and not a[k, k + 1 :].any():
                break
    diagonal = a[np.arange(m), np.arange(m)]
    return u * np.where(np.append(diagonal, np.ones(n - m)) < 0, -1, 1)[:, None].astype(int), np.abs(diagonal), v


def _residues(lattice: np.ndarray) -> np.ndarray:
    """One vector of each class [k, r] of integer vectors modulo a lattice in Hermite form."""
    sides = [range(step) for step in lattice.diagonal()]
    return np.array(list(product(*sides)), dtype=int).reshape(-1, len(lattice))


def _index(vectors: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Row of :func:`_residues` that integer vectors [..., r] are, modulo the lattice."""
    left, index = np.array(vectors), np.zeros(np.shape(vectors)[:-1], dtype=int)
    for k, row in enumerate(lattice):
        left = left - (left[..., k] // row[k])[..., None] * row
        index = index * row[k] + left[..., k]
    return index
