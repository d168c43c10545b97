"""Whether labels are invariant under a group, decided by the evidence of a Gaussian process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
    inducing: int | None = None,
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
    inducing : int, optional
        Number of inducing points, drawn from x. The evidence is then the variational bound of M. Titsias, AISTATS
        2009, at a cost of N times the square of that number. Default: the exact evidence, at a cost of N³.
    seed : int
        Of the draws from SO(3) and of inducing points.

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
    chosen = None
    if inducing is not None:
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:inducing]
    found = [_fitted(*law, x, labels, distance, chosen) for law in _laws(group, seed)]
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


def _fitted(
    elements: Tensor, weights: Tensor, x: Tensor, y: Tensor, distance: Distance, chosen: Tensor | None
) -> float:
    """The log evidence under one law, with the length, variance and noise that make it largest."""
    others = x if chosen is None else x[chosen]
    moved = [x @ g.T for g in elements]
    some = torch.stack([distance(m[:8], m[:8]) for m in moved])
    if (some - distance(x[:8], x[:8])).abs().max() > 1e-6 * some.max():
        raise ValueError("the distance changes when the group moves both points: take one that is invariant")
    columns = torch.stack([distance(m, others) for m in moved], -1)  # [N, M, q]
    own = columns
    if chosen is not None:
        own = torch.cat([distance(x[i : i + 1], orbit) for i, orbit in enumerate(torch.stack(moved, 1))])  # [N, q]

    def objective(parameters: Tensor) -> Tensor:
        length, variance, noise = parameters.exp()

        def kernel(d: Tensor) -> Tensor:
            return variance * ((-d / (2 * length)).exp() @ weights)

        if chosen is None:
            return _exact(kernel(columns), noise + 1e-6, y)
        return _bound(kernel(columns), kernel(columns[chosen]), kernel(own), noise + 1e-6, y)

    typical = columns.median().clamp(min=1e-6).log().item()
    bounds = [(typical - 7, typical + 7), (-7, 7), (-14, 3)]
    return max(_maximized(objective, [typical + shift, 0.0, -3.0], bounds) for shift in (-1.5, 0.5))


def _maximized(objective: Callable[[Tensor], Tensor], start: list[float], bounds: list[tuple[float, float]]) -> float:
    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
        value = -objective(at)
        return value.item(), torch.autograd.grad(value, at)[0].numpy()

    return -float(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).fun)


def _exact(kernel: Tensor, noise: Tensor, y: Tensor) -> Tensor:
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
