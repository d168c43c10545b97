"""Whether random answers have the distribution that they should have."""

from __future__ import annotations

import torch
from scipy.stats import chisquare
from torch import Tensor

from pyg_symbreak.testing._outputs import finite

__all__ = ["equality_p_value", "uniformity_p_value"]


def uniformity_p_value(draws: Tensor, answers: Tensor, tolerance: float = 1e-6) -> float:
    r"""Whether draws are uniform over a finite set of answers: Pearson's χ² test.

    What an equivariant f makes of a symmetric input x and an object b drawn uniformly from an ideal set is uniform over
    the orbit :math:`S f(x, b)` of the symmetry S of x.

    Parameters
    ----------
    draws : Tensor [n, ...]
        Independent draws; five for each answer at least.
    answers : Tensor [m, ...]
        The distinct answers.
    tolerance : float
        Largest component of the difference between a draw and its answer.

    Returns
    -------
    float
        The p-value: if the draws are uniform, the probability of counts at least as uneven. 0 if some draw is no
        answer.

    Raises
    ------
    ValueError
        The shapes differ, two answers are equal, or there are too few draws.

    Examples
    --------
    >>> die = torch.randint(6, (6000, 1), generator=torch.Generator().manual_seed(0))
    >>> uniformity_p_value(die, torch.arange(6)[:, None]) > 0.01
    True
    >>> uniformity_p_value(die.clamp(max=4), torch.arange(6)[:, None])
    0.0
    """
    if draws.shape[1:] != answers.shape[1:]:
        raise ValueError(f"draws have shape {list(draws.shape[1:])}, answers {list(answers.shape[1:])}")
    if len(draws) < 5 * len(answers):
        raise ValueError(f"{len(draws)} draws are too few for {len(answers)} answers: take at least five for each")
    answers, draws = finite(answers).flatten(1), finite(draws).flatten(1)
    if len(answers) > 1 and torch.pdist(answers, p=torch.inf).min() <= 2 * tolerance:
        raise ValueError("two answers are equal: they must be distinct")
    nearest = torch.cdist(draws, answers, p=torch.inf).min(1)
    if nearest.values.max() > tolerance:
        return 0.0
    return float(chisquare(torch.bincount(nearest.indices, minlength=len(answers)).numpy()).pvalue)


def equality_p_value(
    draws: Tensor, others: Tensor, permutations: int = 999, generator: torch.Generator | None = None
) -> float:
    r"""Whether two samples may come from one distribution: a permutation test of their energy distance.

    A model that breaks symmetry at random is equivariant in distribution if f(gx) has the distribution of g f(x): give
    draws of either. The energy distance (G. J. Székely and M. L. Rizzo, J. Stat. Plan. Inference 143, 1249 (2013))

    .. math:: 2\,\mathbb{E}\lVert a - b \rVert - \mathbb{E}\lVert a - a' \rVert - \mathbb{E}\lVert b - b' \rVert

    vanishes for equal distributions only. It is compared with its values after random exchanges of the draws.

    Parameters
    ----------
    draws, others : Tensor [n, ...], [m, ...]
        Independent draws. All distances between them are kept in memory.
    permutations : int
        Number of random exchanges; the p-value is never below the inverse of one more.
    generator : torch.Generator, optional
        Default: torch's global one.

    Returns
    -------
    float
        The p-value: if the distributions are equal, the probability of a distance at least as large.

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------
    >>> draws = torch.randn(3, 200, 2, generator=torch.Generator().manual_seed(0))
    >>> equality_p_value(draws[0], draws[1], generator=torch.Generator().manual_seed(0)) > 0.01
    True
    >>> equality_p_value(draws[0], 1.5 * draws[2], generator=torch.Generator().manual_seed(0))
    0.001
    """
    if draws.shape[1:] != others.shape[1:]:
        raise ValueError(f"the draws have shapes {list(draws.shape[1:])} and {list(others.shape[1:])}")
    pooled = torch.cat([finite(draws).flatten(1), finite(others).flatten(1)])
    apart = torch.cdist(pooled, pooled)
    labels = torch.full((len(pooled),), -1 / len(others), dtype=torch.float64)
    labels[: len(draws)] = 1 / len(draws)
    exchanged = [labels[torch.randperm(len(labels), generator=generator)] for _ in range(permutations)]
    signs = torch.stack([labels, *exchanged])
    distances = -((signs @ apart) * signs).sum(1)
    return float((distances >= distances[0] - 1e-12 * apart.max()).double().mean())
