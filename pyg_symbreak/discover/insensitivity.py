"""Whether labels are invariant under a group, decided by the evidence of a Gaussian process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from pyg_symbreak.groups import LieGroup, PointGroup

__all__ = ["Evidence", "density_distance", "log_evidence", "squared_distance"]

AMOUNTS = tuple(np.linspace(0, 1, 9))
"""Laws that are tried, from the identity alone to the uniform law."""
TURNS = 24
"""Elements that stand for a law over a group of one parameter."""
DRAWS = 16
"""Elements that stand for a law over SO(3)."""
NATS = 30
"""Difference of log evidence that decides."""
POINTS = 32
"""Inducing points to begin with."""
JITTER = 1e-6
"""Least variance of the noise, of labels of variance one."""

Distance = Callable[[Tensor, Tensor], Tensor]


def squared_distance(x: Tensor, others: Tensor) -> Tensor:
    """Squared Euclidean distances [N, M] between points [N, ...] and [M, ...], Å² where points are in Å."""
    return torch.cdist(x.flatten(1), others.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").square()


def density_distance(species: Tensor, width: float = 0.5) -> Distance:
    r"""Squared distances between molecules as densities, Gaussians at their atoms.

    .. math:: \lVert \rho - \rho' \rVert^2, \quad \langle \rho, \rho' \rangle
        = \sum_{ab} [z_a = z'_b] \exp(-\lVert r_a - r'_b \rVert^2 / 4 w^2)

    It does not change when atoms of one species are exchanged, nor when both molecules are moved alike.

    Parameters
    ----------
    species : Tensor [n]
        What the atoms are: the same for all molecules, in the same order.
    width : float
        w, in units of the positions.

    Returns
    -------
    callable
        Takes molecules [N, n, 3] and [M, n, 3] and returns [N, M].
    """
    same = (species[:, None] == species[None]).double()

    def overlap(x: Tensor, others: Tensor) -> Tensor:
        apart = (x[..., :, None, :] - others[..., None, :, :]).square().sum(-1)
        return (same * (-apart / (4 * width**2)).exp()).sum((-2, -1))

    def distance(x: Tensor, others: Tensor) -> Tensor:
        norms = overlap(x, x)[:, None] + overlap(others, others)
        return (norms - 2 * overlap(x[:, None], others)).clamp(min=0)

    return distance


@dataclass(frozen=True)
class Evidence:
    """The log evidence of labels, in nats, under laws of group elements.

    Attributes
    ----------
    none : float
        Without the group.
    learned : float
        With the law under which the labels are likeliest.
    full : float
        With the uniform law, under which functions are invariant.
    amount : float
        That law, from 0, the identity alone, to 1, uniform.
    """

    none: float
    learned: float
    full: float
    amount: float

    @property
    def verdict(self) -> Literal["invariant", "broken", "partly"]:
        """Whether invariance makes the labels likelier by 30 nats, or less likely by 30 nats, or neither."""
        gain = self.full - self.none
        return "invariant" if gain >= NATS else "broken" if gain <= -NATS else "partly"


def log_evidence(
    group: LieGroup | PointGroup,
    x: Tensor,
    y: Tensor,
    distance: Distance = squared_distance,
    tolerance: float | None = None,
    seed: int = 0,
) -> Evidence:
    r"""Whether labels are invariant under a group, partly so, or not.

    A Gaussian process whose kernel is averaged over a law of group elements,

    .. math:: \bar k(x, x') = \mathbb{E}_{g, g'} [k(gx, g'x')], \quad k(x, x') = s \exp(-d(x, x') / 2\ell^2),

    is insensitive to them. How wide the law should be is learned by the log evidence of the labels, with the length,
    the variance and the noise fitted anew for each; whether the symmetry holds is told by the evidence, not by the
    width, since averaging labels over half a turn only makes some of them smaller. M. van der Wilk et al., "Learning
    invariances using the marginal likelihood", NeurIPS 2018.

    The law: of a group of one parameter, turns uniform in a symmetric interval up to its period; of SO(3), uniform
    rotations whose angles are multiplied by the amount; of a finite group, a uniform element with the probability of
    the amount, else the identity.

    Parameters
    ----------
    group : LieGroup or PointGroup
        A compact group of one parameter, SO(3), or a finite point group, that acts on the last axis of ``x``.
    x : Tensor [N, d] or [N, n, d]
        Points, or sets of points that are moved together.
    y : Tensor [N]
        Labels.
    distance : callable
        Squared distances between points, which must not change when the group moves both.
    tolerance : float, optional
        Nats. The evidence is then the variational bound of M. Titsias, AISTATS 2009, at a cost of N times the square of
        the number of inducing points. They are chosen from x one after the other where the variance that is left is
        largest, by D. Burt, C. E. Rasmussen and M. van der Wilk, JMLR 21, 131 (2020), and doubled in number, for each
        law anew, until the bound rises by less than this. Default: the exact evidence, at a cost of N³.
    seed : int
        Of the draws from SO(3).

    Raises
    ------
    ValueError
        The distance changes under the group, the labels are constant, or the group is not one of these.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    >>> found = log_evidence(LieGroup.rotations(2), x, (2 * x.norm(dim=1)).sin())
    >>> found.verdict
    'invariant'
    >>> log_evidence(LieGroup.rotations(2), x, (2 * x[:, 0]).sin()).verdict
    'broken'
    """
    x, y = x.double(), y.double()
    if y.shape != (len(x),) or not y.std() > 0:
        raise ValueError(f"y must hold one label for each of the {len(x)} points, and not be constant")
    labels = (y - y.mean()) / y.std(correction=0)
    found = []
    for elements, weights in _laws(group, seed):
        moved = torch.stack([x @ g.T for g in elements])  # [q, N, ...]
        some = torch.stack([distance(m[:8], m[:8]) for m in moved])
        if (some - distance(x[:8], x[:8])).abs().max() > 1e-6 * some.max():
            raise ValueError("the distance changes when the group moves both points: take one that is invariant")
        averaged = _Averaged(x, moved, weights, distance)
        found.append(_exact(averaged, labels) if tolerance is None else _bounded(averaged, labels, tolerance))
    best = int(np.argmax(found))
    return Evidence(found[0], found[best], found[-1], float(AMOUNTS[best]))


def _laws(group: LieGroup | PointGroup, seed: int) -> list[tuple[Tensor, Tensor]]:
    """For each amount, the quotients g⁻¹g' [q, d, d] of two elements and their weights [q]."""
    if isinstance(group, PointGroup):
        elements = torch.from_numpy(group.matrices)
        laws = []
        for amount in AMOUNTS:
            weights = torch.full((len(elements),), amount * (2 - amount) / len(elements), dtype=torch.float64)
            weights[int((elements - torch.eye(3)).abs().amax((1, 2)).argmin())] += (1 - amount) ** 2
            laws.append((elements, weights))
        return laws
    if group.dimension == 1:
        steps = np.arange(1 - TURNS, TURNS)
        weights = torch.from_numpy((TURNS - np.abs(steps)) / TURNS**2)
        return [
            (torch.from_numpy(group.exp(amount * group.period / TURNS * steps[:, None])), weights) for amount in AMOUNTS
        ]
    # The logarithms of uniform elements; turned back by one another, those of one amount give the quotients.
    logs = group.log(group.sample(DRAWS, generator=np.random.default_rng(seed)))
    drawn = [torch.from_numpy(group.exp(amount * logs)) for amount in AMOUNTS]
    quotients = [torch.einsum("aij,bjk->abik", torch.linalg.inv(g), g).flatten(0, 1) for g in drawn]
    return [(q, torch.full((len(q),), 1 / len(q), dtype=torch.float64)) for q in quotients]


@dataclass(frozen=True, eq=False)
class _Averaged:
    """The averaged kernel of points x [N, ...], of their images [q, N, ...] and the weights [q] of these."""

    x: Tensor
    moved: Tensor
    weights: Tensor
    distance: Distance

    def distances(self, chosen: Tensor) -> Tensor:
        """[N, M, q], to points that are chosen."""
        return torch.stack([self.distance(m, self.x[chosen]) for m in self.moved], -1)

    @cached_property
    def own(self) -> Tensor:
        """[N, q], of each point to its own images."""
        pairs = zip(self.x, self.moved.transpose(0, 1), strict=True)
        return torch.cat([self.distance(x[None], images) for x, images in pairs])

    def kernel(self, distances: Tensor, length: Tensor, variance: Tensor) -> Tensor:
        return variance * ((-distances / (2 * length)).exp() @ self.weights)


def _exact(averaged: _Averaged, y: Tensor) -> float:
    """The log evidence, with the length, variance and noise that make it largest."""
    every = averaged.distances(torch.arange(len(y)))
    starts, bounds = _starts(every)

    def objective(parameters: Tensor) -> Tensor:
        length, variance, noise = parameters.exp()
        return _log_evidence(averaged.kernel(every, length, variance), noise + JITTER, y)

    return max(_maximized(objective, start, bounds)[0] for start in starts)


def _bounded(averaged: _Averaged, y: Tensor, tolerance: float) -> float:
    """Its lower bound, with as many inducing points as are needed."""
    count, value = POINTS, -np.inf
    starts, bounds = _starts(averaged.distances(torch.arange(len(y))[:count]))
    at = torch.tensor(starts[1], dtype=y.dtype)
    while True:
        chosen = _spread(averaged, at, min(count, len(y)))
        columns = averaged.distances(chosen)

        def objective(parameters: Tensor, columns: Tensor = columns, chosen: Tensor = chosen) -> Tensor:
            length, variance, noise = parameters.exp()
            wide, inner, own = (averaged.kernel(d, length, variance) for d in (columns, columns[chosen], averaged.own))
            return _bound(wide, inner, own, noise + JITTER, y)

        before = value
        value, at = max(
            (_maximized(objective, s, bounds) for s in (starts[0], at.tolist())), key=lambda found: found[0]
        )
        if value - before < tolerance or count >= len(y):
            return max(value, before)
        count *= 2


def _spread(averaged: _Averaged, parameters: Tensor, count: int) -> Tensor:
    """Points [count] each chosen where the variance that those before leave is largest: a Cholesky factor's pivots."""
    length, variance, _ = parameters.exp()
    left = averaged.kernel(averaged.own, length, variance)
    rows, chosen = torch.zeros(count, len(left), dtype=left.dtype), torch.zeros(count, dtype=torch.int64)
    for k in range(count):
        pivot = left.argmax()
        column = averaged.kernel(averaged.distances(pivot[None])[:, 0], length, variance)
        rows[k] = (column - rows[:k, pivot] @ rows[:k]) / left[pivot].clamp(min=1e-12).sqrt()
        left = (left - rows[k].square()).clamp(min=0)
        chosen[k] = pivot
        left[chosen[: k + 1]] = -1  # never twice, also where nothing is left
    return chosen


def _starts(distances: Tensor) -> tuple[list[list[float]], list[tuple[float, float]]]:
    """Logarithms of length, variance and noise from which to start, and their bounds."""
    typical = distances.median().clamp(min=1e-6).log().item()
    starts = [[typical + shift, 0.0, -3.0] for shift in (-1.5, 0.5)]
    return starts, [(typical - 7, typical + 7), (-7, 7), (-14, 3)]


def _maximized(
    objective: Callable[[Tensor], Tensor], start: list[float], bounds: list[tuple[float, float]]
) -> tuple[float, Tensor]:
    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
        value = -objective(at)
        return value.item(), torch.autograd.grad(value, at)[0].numpy()

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return -float(found.fun), torch.from_numpy(found.x)


def _log_evidence(kernel: Tensor, noise: Tensor, y: Tensor) -> Tensor:
    symmetric = (kernel + kernel.T) / 2  # the quotients come with their inverses: equal but for round-off
    factor = torch.linalg.cholesky(symmetric + noise * torch.eye(len(y), dtype=y.dtype))
    return _log_normal(factor, y)


def _log_normal(factor: Tensor, y: Tensor) -> Tensor:
    white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
    return -0.5 * white.square().sum() - factor.diagonal().log().sum() - 0.5 * len(y) * np.log(2 * np.pi)


def _bound(columns: Tensor, inner: Tensor, own: Tensor, noise: Tensor, y: Tensor) -> Tensor:
    """Titsias' lower bound of the log evidence."""
    eye = torch.eye(len(inner), dtype=y.dtype)
    inner = (inner + inner.T) / 2
    factor = torch.linalg.cholesky(inner + 1e-8 * inner.diagonal().mean() * eye)
    projected = torch.linalg.solve_triangular(factor, columns.T, upper=False)  # [M, N]
    small = torch.linalg.cholesky(eye + projected @ projected.T / noise)
    fitted = torch.linalg.solve_triangular(small, projected @ y[:, None], upper=False) / noise
    return (
        -0.5 * len(y) * (np.log(2 * np.pi) + noise.log())
        - small.diagonal().log().sum()
        - 0.5 * (y.square().sum() / noise - fitted.square().sum())
        - 0.5 * (own.sum() - projected.square().sum()) / noise
    )
