"""Which elements of O(3) a function respects, and the point group that they form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from e3nn import o3
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_symbreak.groups import FiniteGroup, PointGroup
from pyg_symbreak.testing import equality_p_value

from .images import Images, elements_of

__all__ = ["FiniteSymmetries", "finite_symmetries"]

ORDERS = (math.inf, 2, 3, 4, 5, 6)
"""Orders of the axes that are searched for; an axis of infinite order stands for all rotations about it."""
AXES = 400
"""Directions on a half sphere that the search starts from."""
SEARCHED = 200
"""Points that the search uses; what it finds is judged by all."""
MERGED = 0.15
"""Two matrices whose entries differ by less are one element that was found twice."""
MOST = 120
"""Elements of Ih, the largest finite group with axes of these orders."""
LEVEL = 0.01
"""Probability at which a group that is respected loses an element."""


@dataclass(frozen=True)
class FiniteSymmetries:
    """The elements of O(3) that a function respects.

    Attributes
    ----------
    group : PointGroup
        The group of the elements that are respected.
    elements : float64 array [n, 3, 3]
        The elements that were tried: of the candidate group, or of the group that was found.
    errors : float64 array [n]
        Root mean square of f(gx) - D(g) f(x) over that of two values at independent points: 0 for a symmetry, about 1
        where the two have nothing in common.
    p_values : float64 array [n] or None
        Where labels are given, the probability of residuals at gx that differ as much from those at x as they do, were
        the labels symmetric under g.
    """

    group: PointGroup
    elements: np.ndarray
    errors: np.ndarray
    p_values: np.ndarray | None

    def __repr__(self) -> str:
        kept = self.group.order
        return f"FiniteSymmetries({self.group.schoenflies}, {kept} of {len(self.elements)} elements tried)"


def finite_symmetries(
    f: Callable[[Any], Tensor],
    x: Tensor | Batch,
    group: PointGroup | None = None,
    irreps_out: str | o3.Irreps = "0e",
    y: Tensor | None = None,
    tolerance: float = 0.1,
    seed: int = 0,
) -> FiniteSymmetries:
    r"""Which elements g of O(3) a function respects, :math:`f(gx) = D(g) f(x)`.

    Given a group, all of its elements are tried; of a continuous group one of each component and random ones. Without,
    rotation axes of all directions and the orders ∞, 2 to 6 are searched for, proper and improper, and the group is
    that of what is found: a broken continuous symmetry shows as the point group that is left of it.

    Parameters
    ----------
    f : callable
        Takes points and returns for each point, or each node, a vector of ``irreps_out``, or one number ``[N]``.
    x : Tensor or Batch
        Points [N, 3] or sets of points [N, n, 3] that are rotated together; or a batch of structures with ``pos``.
        Their law should be as symmetric as what is asked for.
    group : PointGroup, optional
        Candidates. Default: all elements of O(3).
    irreps_out : str or e3nn Irreps
        How the output is to transform.
    y : Tensor, optional
        Labels, as the output. An element is then rejected where a permutation test
        (:func:`pyg_symbreak.testing.equality_p_value`) tells the residuals at gx from those at x, at a level of 1 %
        for the group together; the points must not be those that f was fitted to. Only with ``group``.
    tolerance : float
        Without labels, the largest error of an element that is respected.
    seed : int
        Of the random elements and of the permutation test.

    Raises
    ------
    ValueError
        The points are not three-dimensional, the function is constant, or labels are given without a group.

    Examples
    --------
    >>> x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> finite_symmetries(lambda x: (x**4).sum(1), x)
    FiniteSymmetries(Oh, 48 of 48 elements tried)
    >>> finite_symmetries(lambda x: x[:, 0] * x[:, 1] * x[:, 2], x, PointGroup("Oh"))
    FiniteSymmetries(Td, 24 of 48 elements tried)
    """
    if y is not None and group is None:
        raise ValueError("labels decide between the elements of a group: give the group of the candidates")
    compare = _Comparison(f, x, o3.Irreps(irreps_out))
    if group is None:
        few = _Comparison(f, _first(x, SEARCHED), o3.Irreps(irreps_out))
        group = _continuous(few, tolerance)
        if group is None or max(map(compare.error, elements_of(group, seed))) > tolerance:
            group = _finite(few, tolerance)
    elements = elements_of(group, seed)
    errors = np.array([compare.error(g) for g in elements])
    p_values = None if y is None else compare.p_values(elements, y, seed)
    respected = errors <= tolerance if p_values is None else p_values > LEVEL / len(elements)
    return FiniteSymmetries(_kept(group, elements, respected), elements, errors, p_values)


def _first(x: Tensor | Batch, count: int) -> Tensor | Batch:
    if isinstance(x, Data):
        return Batch.from_data_list(x.to_data_list()[:count])
    return x[:count]


class _Comparison(Images):
    """A function at points or at a batch, and at their images."""

    def __init__(self, f: Callable[[Any], Tensor], x: Tensor | Batch, irreps: o3.Irreps):
        pos = x.pos if isinstance(x, Data) else x
        if pos.shape[-1] != 3:
            raise ValueError(f"elements of O(3) act on points [..., 3], got {list(pos.shape)}")
        super().__init__(f, [x], irreps, {})

    def error(self, element: np.ndarray, shift: np.ndarray | None = None) -> float:
        """Over the root mean square difference of two independent values."""
        return super().error(element, shift) / 2**0.5

    def p_values(self, elements: np.ndarray, y: Tensor, seed: int) -> np.ndarray:
        labels = y.reshape(-1, self.irreps.dim).to(self.values[0])
        here = self.values[0] - labels
        draws = math.ceil(2 * len(elements) / LEVEL)
        generator = torch.Generator().manual_seed(seed)
        residuals = (self.turned_back(g)[0] - labels for g in elements)
        return np.array([equality_p_value(r, here, permutations=draws, generator=generator) for r in residuals])


def _kept(group: PointGroup, elements: np.ndarray, respected: np.ndarray) -> PointGroup:
    """The largest group, grown element by element, all of whose elements are respected."""
    if not group.is_finite:
        if respected.all():
            return group
        raise ValueError(
            f"some elements of {group.schoenflies} are not respected: leave out the group to have those that are found"
        )
    table = FiniteGroup(group.table)
    found = table.generate([])
    for element in np.flatnonzero(respected):
        larger = table.generate([*found, int(element)])
        if respected[list(larger)].all():
            found = larger
    return PointGroup.from_matrices(elements[list(found)])


# ------------------------------------------------------------------ searching for axes


def _element(axis: np.ndarray, order: float, sign: int) -> np.ndarray:
    angle = 1.0 if math.isinf(order) else 2 * np.pi / order  # one radian is no rational part of a turn
    return sign * Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()


def _continuous(compare: _Comparison, tolerance: float) -> PointGroup | None:
    """The group that axes of infinite order have, if there are such, in the orientation in which they are found."""
    round_axes = _axes(compare, math.inf, 1, tolerance)
    turns = Rotation.random(16, random_state=0).as_matrix()
    if len(round_axes) > 1 and max(map(compare.error, turns)) <= tolerance:
        return PointGroup("O3" if compare.error(-np.eye(3)) <= tolerance else "SO3")
    if len(round_axes) == 1:
        return _axial(compare, round_axes[0], tolerance)
    return None


def _finite(compare: _Comparison, tolerance: float) -> PointGroup:
    """The group that axes of finite order generate."""
    found = [np.eye(3)]
    if compare.error(-np.eye(3)) <= tolerance:
        found.append(-np.eye(3))
    for order in ORDERS[1:]:
        for sign in (1, -1):
            found += [_element(axis, order, sign) for axis in _axes(compare, order, sign, tolerance)]
    return _closed(found)


def _axial(compare: _Comparison, axis: np.ndarray, tolerance: float) -> PointGroup:
    """The continuous group about an axis."""
    frame = Rotation.align_vectors([axis], [[0, 0, 1]])[0].as_matrix()
    names = ("Dinfh", "Dinf", "Cinfv", "Cinfh", "Cinf")
    groups = [PointGroup(name).rotated(frame) for name in names]
    return next(g for g in groups if all(compare.error(m) <= tolerance for m in g.components))


def _axes(compare: _Comparison, order: float, sign: int, tolerance: float) -> list[np.ndarray]:
    """The axes of one order, each once, about which a rotation (times -1) is respected."""
    steps = np.arange(AXES) + 0.5
    polar, azimuth = np.arccos(1 - steps / AXES), np.pi * (1 + 5**0.5) * steps
    grid = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)
    errors = np.array([compare.error(_element(axis, order, sign)) for axis in grid])
    near = np.argsort(-np.abs(grid @ grid.T), axis=1)[:, :7]
    lowest = np.flatnonzero(errors <= errors[near].min(1))
    found: list[np.ndarray] = []
    for start in sorted(lowest, key=lambda i: errors[i])[:24]:
        axis = _refined(compare, grid[start], order, sign)
        is_new = all(abs(axis @ other) < math.cos(MERGED) for other in found)
        if is_new and compare.error(_element(axis, order, sign)) <= tolerance:
            found.append(axis)
    return found


def _refined(compare: _Comparison, axis: np.ndarray, order: float, sign: int) -> np.ndarray:
    across = np.linalg.svd(axis[None])[2][1:]
    best = minimize(
        lambda t: compare.error(_element(axis + t @ across, order, sign)), np.zeros(2), method="Nelder-Mead",
        options={"initial_simplex": 0.1 * np.array([[-1, -1], [1, 0], [0, 1]]), "xatol": 1e-4, "fatol": 1e-5},
    )  # fmt: skip
    refined = axis + best.x @ across
    return refined / np.linalg.norm(refined)


def _closed(found: list[np.ndarray]) -> PointGroup:
    """The point group that some elements, known roughly, generate."""
    group = np.array(list(islice(_products(found), MOST + 1)))
    try:
        if len(group) <= MOST:
            return PointGroup.from_matrices(_polished(group), tolerance=1e-4)
    except ValueError:
        pass  # elements that are near to symmetries, but to no group of them
    raise ValueError("the elements found generate no point group: lower the tolerance or give a group")


def _products(found: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Elements and their products, each once, until nothing new comes: words of growing length."""
    known = np.zeros((0, 3, 3))
    fresh = found
    while fresh:
        added = []
        for g in fresh:
            if np.abs(g - known).max((1, 2), initial=0).min(initial=np.inf) > MERGED:
                known = np.concatenate([known, g[None]])
                added.append(g)
                yield g
        fresh = [a @ b for a in added for b in found]


def _polished(group: np.ndarray) -> np.ndarray:
    """The exact group near to some matrices: each is replaced by the mean of what its products with others say."""
    for _ in range(20):
        products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 9)
        nearest = (products @ group.reshape(-1, 9).T).argmax(1).reshape(len(group), -1)  # all of one length
        means = np.einsum("abij,bkj->aik", group[nearest], group)
        u, _, v = np.linalg.svd(means)
        group = u @ v
    return group
