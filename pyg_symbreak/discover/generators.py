"""Continuous symmetries of a function: the null space of its derivatives along generators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_symbreak.groups import LieGroup, PointGroup

__all__ = ["Generators", "equivariance_generators", "invariance_generators", "pair_generators"]

RESAMPLES = 200
"""Bootstrap samples behind an interval."""
PROBES = 4
"""Random combinations of the outputs that are differentiated, of a function with several."""


@dataclass(frozen=True)
class Generators:
    """The generators under which a function does not change.

    Attributes
    ----------
    group : LieGroup
        The group of the generators T, which act on a point x, or with ``mode="affine"`` on (x, 1). They are
        orthonormal.
    outputs : float64 array [k, e, e]
        With :func:`equivariance_generators` the generators on the output that go with those on the input.
    spectrum : float64 array [n]
        Of each independent direction of generators, the rate at which the function changes along it, relative to the
        root mean square rate along directions at random; in ascending order. 0 for a symmetry, about 1 where the
        generator has nothing to do with the function.
    intervals : float64 array [n, 2]
        Bootstrap intervals of the spectrum that hold 95 % each, from points that did not choose the directions.
    tolerance : float
        The largest rate of what was taken for a symmetry.
    """

    group: LieGroup
    outputs: np.ndarray
    spectrum: np.ndarray
    intervals: np.ndarray
    tolerance: float

    @property
    def gap(self) -> float:
        """The rate of the first direction that is no symmetry over that of the last that is one."""
        k = self.group.dimension
        if k in (0, len(self.spectrum)):
            return float("nan")
        return float(self.spectrum[k] / self.spectrum[k - 1])

    @property
    def closure_error(self) -> float:
        """How far the generators are from a Lie algebra, see :class:`~pyg_symbreak.groups.LieGroup`."""
        return self.group.closure_error

    @property
    def undecided(self) -> int:
        """How many directions have an interval on both sides of the tolerance: more points would tell."""
        low, high = self.intervals.T
        return int(((low <= self.tolerance) & (high > self.tolerance)).sum())

    def point_group(self, tolerance: float = 0.05) -> PointGroup:
        """The rotations among the symmetries of a function of three-dimensional points, as a point group.

        Parameters
        ----------
        tolerance : float
            Largest part of a generator, relative to its norm, that may be no rotation.

        Raises
        ------
        ValueError
            The points are not three-dimensional, or a generator is neither a rotation nor a translation.
        """
        linear = self.group.generators[:, :3, :3]
        if self.group.size not in (3, 4) or (self.group.size == 4 and np.abs(self.group.generators[:, 3]).max() > 0):
            raise ValueError("point groups are of three-dimensional points")
        skew = (linear - linear.swapaxes(1, 2)) / 2
        if np.linalg.norm(linear - skew, axis=(1, 2)).max(initial=0) > tolerance:
            raise ValueError(
                "a generator is no rotation, so that no point group holds it: see .group for the matrices themselves"
            )
        values, basis = np.linalg.svd(skew.reshape(-1, 9), full_matrices=False)[1:]
        return LieGroup(basis[values > 10 * tolerance].reshape(-1, 3, 3)).point_group()

    def __repr__(self) -> str:
        return (
            f"Generators({self.group.dimension} of {len(self.spectrum)}, rates up to "
            f"{self.spectrum[: self.group.dimension].max(initial=0):.2g}, next "
            f"{self.spectrum[self.group.dimension :].min(initial=np.inf):.2g}, {self.undecided} undecided)"
        )


Function = Callable[[Any], Tensor]


def invariance_generators(
    f: Function,
    x: Tensor | Batch,
    mode: Literal["linear", "affine"] = "linear",
    tolerance: float = 0.1,
    seed: int = 0,
) -> Generators:
    r"""The generators T under which a function is invariant, :math:`f(\exp(tT) x) = f(x)`.

    That is so for all t iff :math:`\nabla f(x) \cdot T x = 0` at all x. So the generators are the null space of

    .. math:: \mathbb{E}\,[\operatorname{vec}(\nabla f\, x^T) \operatorname{vec}(\nabla f\, x^T)^T],

    where the size of T is measured by :math:`\mathbb{E} \lVert T x \rVert^2`. For a graph one T acts on the positions
    of all nodes. Of a trained model the eigenvalues do not vanish: a direction counts as a symmetry if its rate, the
    root of the eigenvalue over :math:`\mathbb{E} \lVert \nabla f \rVert^2 / D` with D the number of coordinates of a
    sample, is below the tolerance with the upper end of its bootstrap interval.

    Parameters
    ----------
    f : callable
        Takes points and returns one number for each, ``[N]``, or several that are all to be invariant, ``[N, k]``.
        No point may have a part in the number of another.
    x : Tensor or Batch
        Points [N, d] or sets of points [N, n, d]; or a batch of N structures with ``pos``. At least 50.
    mode : "linear" or "affine"
        Whether T acts on x or on (x, 1), so that translations are found as well.
    tolerance : float
        Largest rate of a symmetry, between 0 and 1.
    seed : int
        Of the bootstrap.

    Raises
    ------
    ValueError
        There are too few points, or the function is constant, does not depend on x, or is not finite.

    Examples
    --------
    >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> found = invariance_generators(lambda x: x.square().sum(1).sin(), x)
    >>> found.group.dimension, found.point_group()
    (3, PointGroup('SO3'))
    >>> found = invariance_generators(lambda x: x[:, 0] ** 2 + x[:, 1] ** 2 + x[:, 2], x, mode="affine")
    >>> found.group.dimension  # the turn about z; gliding in x and y comes with a shear, which is a symmetry too
    3
    """
    rows, metric = _derivatives(f, x, mode, seed, with_outputs=False)
    return _null_space(rows, metric, (rows.shape[2], 0), tolerance, seed)


def equivariance_generators(
    f: Function,
    x: Tensor | Batch,
    mode: Literal["linear", "affine"] = "linear",
    tolerance: float = 0.1,
    seed: int = 0,
) -> Generators:
    r"""The pairs of generators under which a function is equivariant, :math:`f(\exp(tT) x) = \exp(tT') f(x)`.

    They are the null space of :math:`J_f(x)\, T x - T' f(x)` over the pairs (T, T'), see
    :func:`invariance_generators`; of the Jacobian some random combinations of its rows are used.

    Parameters
    ----------
    f : callable
        Takes points and returns a vector for each, ``[N, e]``, or for each node, ``[N, n, e]``; of a batch of graphs
        with M nodes ``[N, e]`` or ``[M, e]``.
    x, mode, tolerance, seed
        As for :func:`invariance_generators`.

    Returns
    -------
    Generators
        ``.group`` acts on the input, ``.outputs`` holds the generators on the output.

    Examples
    --------
    >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> found = equivariance_generators(lambda x: x * x.square().sum(1, keepdim=True).neg().exp(), x)
    >>> found.group.dimension, bool(np.allclose(found.group.generators, found.outputs, atol=1e-6))
    (3, True)
    """
    rows, metric = _derivatives(f, x, mode, seed, with_outputs=True)
    size = _size(x) + (mode == "affine")
    return _null_space(rows, metric, (_size(x) * size, rows.shape[2] - _size(x) * size), tolerance, seed)


def _size(x: Tensor | Batch) -> int:
    return int((x.pos if isinstance(x, Data) else x).shape[-1])


def _derivatives(f: Function, x: Tensor | Batch, mode: str, seed: int, with_outputs: bool) -> tuple[Tensor, Tensor]:
    """The derivatives [N, probes, p] along the p entries of the generators, and their metric [p, p]."""
    if mode not in ("linear", "affine"):
        raise ValueError(f"mode must be 'linear' or 'affine', got {mode!r}")
    pos, owner, count = _points(x)
    pos = pos.detach().clone().requires_grad_()
    out = f(_with_points(x, pos))
    if not torch.isfinite(out).all():
        raise ValueError("the function is not finite at all points")
    if out.shape[0] == count:
        out_owner = torch.arange(count)
    elif out.shape[0] == len(pos):
        out_owner = owner
    else:
        raise ValueError(f"the function returned {out.shape[0]} rows for {count} points")
    values = out.reshape(out.shape[0], -1) if out.dim() < 3 else out.flatten(0, 1)
    if out.dim() == 3:
        out_owner = torch.arange(count).repeat_interleave(out.shape[1])
    generator = torch.Generator().manual_seed(seed)
    is_scalar = not with_outputs and values.shape[1] == 1
    ones = torch.ones(len(pos), 1, dtype=pos.dtype)
    carried = torch.cat([pos.detach(), ones], 1) if mode == "affine" else pos.detach()
    rows, gradients = [], []
    for _ in range(1 if is_scalar else PROBES):
        u = torch.randn(values.shape, generator=generator, dtype=values.dtype)
        u = torch.ones_like(u) if is_scalar else u
        (gradient,) = torch.autograd.grad(values, pos, u, retain_graph=True, allow_unused=True)
        if gradient is None or gradient.abs().max() == 0:
            raise ValueError("the function does not depend on the points: every generator is a symmetry")
        row = _sum(torch.einsum("ni,nj->nij", gradient, carried).flatten(1), owner, count)
        if with_outputs:
            turned = torch.einsum("ni,nj->nij", u, values.detach()).flatten(1)
            row = torch.cat([row, -_sum(turned, out_owner, count)], 1)
        rows.append(row)
        gradients.append(gradient)
    steepness = torch.stack(gradients).square().mean()  # along one direction at random
    metric = steepness * _second_moment(carried, count, pos.shape[1])
    if with_outputs:
        metric = torch.block_diag(metric, _second_moment(values.detach(), count, values.shape[1]))
    return torch.stack(rows, 1).double(), metric.double()


def _points(x: Tensor | Batch) -> tuple[Tensor, Tensor, int]:
    """Points [M, d], the number of the sample that each belongs to, and how many samples there are."""
    if isinstance(x, Data):
        if not isinstance(x, Batch):
            raise ValueError("x must hold many structures: give a Batch of them")
        pos, owner, count = x.pos, x.batch, x.num_graphs
    elif x.dim() in (2, 3):
        pos, count = x.reshape(-1, x.shape[-1]), len(x)
        owner = torch.arange(count).repeat_interleave(len(pos) // max(count, 1))
    else:
        raise ValueError(f"x must have shape [N, d] or [N, n, d], got {list(x.shape)}")
    if count < 50:
        raise ValueError(f"{count} points are too few to tell symmetries by: take 50 at least")
    return pos, owner, count


def _with_points(x: Tensor | Batch, pos: Tensor) -> Tensor | Batch:
    if not isinstance(x, Data):
        return pos.view(x.shape)
    moved = x.clone()
    moved.pos = pos
    return moved


def _sum(rows: Tensor, owner: Tensor, count: int) -> Tensor:
    return rows.new_zeros(count, rows.shape[1]).index_add(0, owner, rows)


def _second_moment(vectors: Tensor, count: int, copies: int) -> Tensor:
    """1 ⊗ E Σ v vᵀ, by which the size of a generator that acts on the v is measured."""
    moment = vectors.T @ vectors / count
    return torch.kron(torch.eye(copies, dtype=moment.dtype), moment)


def _null_space(rows: Tensor, metric: Tensor, parts: tuple[int, int], tolerance: float, seed: int) -> Generators:
    support = _support(metric.numpy())
    flat = rows.numpy() @ support  # [N, probes, n], in coordinates in which the metric is 1
    count = len(flat)

    def squares(weights: np.ndarray) -> np.ndarray:
        weighted = flat * weights[:, None, None]
        return np.einsum("npi,npj->ij", weighted, flat) / weights.sum() / flat.shape[1]

    values, vectors = eigh(squares(np.ones(count)))
    rng = np.random.default_rng(seed)
    outside = np.empty((RESAMPLES, flat.shape[2]))
    for sample in range(RESAMPLES):
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        along = flat[drawn == 0] @ eigh(squares(drawn))[1]
        outside[sample] = np.sort((along**2).mean((0, 1)))
    intervals = np.sqrt(np.quantile(outside, [0.025, 0.975], axis=0)).T
    held = intervals[:, 1] <= tolerance
    k = len(held) if held.all() else int(np.argmin(held))
    found = (support @ vectors[:, :k]).T
    inputs, outputs = np.split(found, [parts[0]], axis=1)
    basis, outputs = _orthonormal(inputs, outputs)
    d = next(d for d in range(1, parts[0] + 1) if parts[0] in (d * d, d * (d + 1)))
    generators = basis.reshape(len(basis), d, parts[0] // d)
    if generators.shape[2] > d:
        generators = np.concatenate([generators, np.zeros((len(basis), 1, d + 1))], axis=1)
    e = round(parts[1] ** 0.5)
    return Generators(
        LieGroup(generators), outputs.reshape(len(basis), e, e), np.sqrt(np.clip(values, 0, None)), intervals, tolerance
    )


def _support(metric: np.ndarray) -> np.ndarray:
    """Columns that span what the metric measures, each of size one."""
    values, vectors = eigh(metric)
    kept = values > 1e-10 * values.max()
    return vectors[:, kept] / np.sqrt(values[kept])


def _orthonormal(inputs: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A basis of the rows of the inputs that is orthonormal, and the same combinations of the outputs.

    Pairs that do not move the input at all are left out.
    """
    left, values, right = np.linalg.svd(inputs, full_matrices=False)
    kept = values > 1e-6 * values.max(initial=0)
    return right[kept], (left[:, kept] / values[kept]).T @ outputs


def pair_generators(
    features: Tensor,
    x: Tensor,
    thickness: float = 0.5,
    distance: float = 0.3,
    runs: int = 10,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Generators from pairs of near points that a network maps alike, after Krippendorf and Syvaeri.

    Points with equal labels cluster in the last hidden layer of a trained network. In the plane through the origin
    and two random points, of the points near that plane, pairs that are near in space and nearer in the features than
    most are taken as :math:`x' - x \approx \epsilon\, T x`; T is fitted by least squares. The principal components of
    many T are the generators. S. Krippendorf and M. Syvaeri, "Detecting symmetries with neural networks", Mach. Learn.:
    Sci. Technol. 2, 015010 (2021). It finds rotations only, and is here to be compared with
    :func:`invariance_generators`.

    Parameters
    ----------
    features : Tensor [N, h]
        The last hidden layer at the points.
    x : Tensor [N, d]
        Points of one class, or of all.
    thickness : float
        Largest distance from the plane, in units of ``x``.
    distance : float
        Largest distance of a pair.
    runs : int
        Number of planes.
    seed : int
        Of the planes.

    Returns
    -------
    components : float64 array [n, d, d]
        Principal components, normalized, the largest first.
    weights : float64 array [n]
        Their singular values over the first.

    Raises
    ------
    ValueError
        No plane holds enough pairs: raise ``thickness`` or ``distance``.
    """
    points, hidden = x.detach().double().numpy(), features.detach().double().numpy()
    rng = np.random.default_rng(seed)
    fitted = []
    for _ in range(runs):
        plane = np.linalg.qr(points[rng.choice(len(points), 2, replace=False)].T)[0]  # [d, 2]
        near = np.linalg.norm(points - points @ plane @ plane.T, axis=1) < thickness
        inside, codes = points[near] @ plane, hidden[near]
        apart = np.linalg.norm(inside[:, None] - inside[None], axis=2)
        unlike = np.linalg.norm(codes[:, None] - codes[None], axis=2)
        a, b = np.nonzero((apart < distance) & (apart > 0))
        if len(a) < 20:
            continue
        alike = unlike[a, b] < np.quantile(unlike[a, b] / apart[a, b], 0.1) * apart[a, b]
        a, b = a[alike], b[alike]
        ahead = inside[a, 0] * inside[b, 1] - inside[a, 1] * inside[b, 0] > 0  # every pair once, the same way round
        steps = inside[b[ahead]] - inside[a[ahead]]
        fit = np.linalg.lstsq(inside[a[ahead]], steps, rcond=None)[0].T
        if np.linalg.norm(fit) > 0:
            fitted.append((plane @ (fit / np.linalg.norm(fit)) @ plane.T).ravel())
    if not fitted:
        raise ValueError("no plane holds enough near pairs: raise thickness or distance")
    _, values, components = np.linalg.svd(np.array(fitted), full_matrices=False)
    return components.reshape(len(values), points.shape[1], -1), values / values[0]
