"""The generators of transformations, from pairs of a signal and its image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["FittedGenerator", "fit_generator"]


STARTS = 4
"""First guesses."""


class FittedGenerator(NamedTuple):
    """What :func:`fit_generator` returns.

    Attributes
    ----------
    generators : float64 Tensor [k, n, n]
        The generators G; zero outside of the span of the signals, where pairs say nothing of them.
    sizes : float64 Tensor [P, k]
        How far each pair is transformed; each column has variance one.
    error : float
        Root mean square of what is left of the images, over that of the signals.
    """

    generators: Tensor
    sizes: Tensor
    error: float

    def transform(self, x: Tensor, sizes: Tensor) -> Tensor:
        """Signals [P, n] transformed by sizes [P, k]."""
        flow = torch.linalg.matrix_exp(torch.einsum("pk,kij->pij", sizes.to(self.generators), self.generators))
        return torch.einsum("pij,pj->pi", flow, x.to(flow)).to(x)


def fit_generator(
    x: Tensor, images: Tensor, rank: int = 1, steps: int = 400, noise: float = 1e-3, seed: int = 0
) -> FittedGenerator:
    r"""The generators G and sizes z with :math:`x' = \exp(\sum_k z_k G_k)\, x`, from pairs (x, x').

    R. P. N. Rao and D. L. Ruderman, "Learning Lie groups for invariant visual perception", NIPS 11 (1999). Pairs that
    differ little are fitted to first order by alternating least squares; what they give is refined on all pairs
    with the matrix exponential, where the size of each pair is first the best of many. There are false minima: the
    best of four first guesses is taken, and where ``error`` is far above the noise of the signals none was right, or
    the images are no such transformations. Nothing is known of the signals beforehand: they are reduced to their own
    principal components. The scale of G is not determined by pairs; it is fixed by sizes of variance one. Neither is
    its sign, nor with several generators their basis.

    Parameters
    ----------
    x, images : Tensor [P, n]
        Signals, and their images.
    rank : int
        Number of generators.
    steps : int
        Steps of the refinement.
    noise : float
        Principal components below this part of the largest are left out.
    seed : int
        Of the first guesses.

    Raises
    ------
    ValueError
        The shapes differ, or there are fewer pairs than numbers to find.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x, z = torch.randn(60, 2, generator=generator).double(), torch.randn(60, generator=generator).double()
    >>> turn = torch.stack([z.cos(), -z.sin(), z.sin(), z.cos()], 1).view(60, 2, 2)
    >>> fit = fit_generator(x, torch.einsum("pij,pj->pi", turn, x))
    >>> ratio = fit.generators[0, 1, 0] / z.std(correction=0)  # G is a rotation, in units of the spread of the angles
    >>> bool(abs(abs(ratio) - 1) < 1e-3 and abs(fit.generators[0, 0, 0]) < 1e-3)
    True
    """
    if x.shape != images.shape or x.dim() != 2:
        raise ValueError(f"x and images must have the same shape [P, n], got {list(x.shape)} and {list(images.shape)}")
    basis = _principal(torch.cat([x, images]).double(), noise)
    before, after = x.double() @ basis, images.double() @ basis
    scale = before.square().mean().sqrt()
    before, after = before / scale, after / scale
    if rank * basis.shape[1] ** 2 >= before.numel() - rank * len(x):
        raise ValueError(f"{len(x)} pairs are too few to find {rank} generators of size {basis.shape[1]}")
    random = torch.Generator().manual_seed(seed)
    tried = [_refined(before, after, _first_order(before, after, rank, random), steps // 4) for _ in range(STARTS)]
    generators, sizes = min(tried, key=lambda found: _misfit(before, after, *found).item())
    for count in (steps // 4, steps // 2):
        generators, sizes = _refined(before, after, generators, count)
    spread = sizes.std(0, correction=0)
    error = _misfit(before, after, generators, sizes).sqrt().item()
    generators = torch.einsum("ai,kij,bj->kab", basis, generators * spread[:, None, None], basis)
    return FittedGenerator(generators, sizes / spread, error)


def _principal(signals: Tensor, noise: float) -> Tensor:
    """An orthonormal basis [n, r] of the span of the signals."""
    values, vectors = torch.linalg.svd(signals, full_matrices=False)[1:]
    return vectors[values > noise * values[0]].T


def _flow(x: Tensor, sizes: Tensor, generators: Tensor) -> Tensor:
    flow = torch.linalg.matrix_exp(torch.einsum("pk,kij->pij", sizes, generators))
    return torch.einsum("pij,pj->pi", flow, x)


def _misfit(before: Tensor, after: Tensor, generators: Tensor, sizes: Tensor) -> Tensor:
    return (_flow(before, sizes, generators) - after).square().mean()


def _first_order(before: Tensor, after: Tensor, rank: int, random: torch.Generator) -> Tensor:
    """Alternating least squares of x' - x = Σ z_k G_k x̄, x̄ the mean of both, over the quarter that differs least."""
    change = after - before
    relative = change.norm(dim=1) / before.norm(dim=1)
    count = max(len(before) // 4, min(len(before), rank * before.shape[1] + 1))
    near = relative.argsort()[:count]
    x, change = ((before + after) / 2)[near], change[near]
    r = x.shape[1]
    guess = torch.randn(rank, r, r, generator=random, dtype=x.dtype)
    generators = guess - guess.transpose(1, 2)
    for _ in range(200):
        along = torch.einsum("kij,pj->pik", generators, x)
        sizes = torch.linalg.lstsq(along, change[:, :, None]).solution[:, :, 0]
        sizes = sizes / sizes.std(0, correction=0).clamp(min=1e-12)
        design = torch.einsum("pk,pj->pkj", sizes, x).flatten(1)
        solution = torch.linalg.lstsq(design, change, driver="gelsd").solution
        generators = solution.reshape(rank, r, r).transpose(1, 2)
    return generators


def _refined(before: Tensor, after: Tensor, generators: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Generators [k, r, r] and sizes [P, k] that fit all pairs, with the exponential."""
    sizes = _scanned(before, after, generators)
    scale = sizes.std(0, correction=0)  # so that generators and sizes are both of order one
    generators, sizes = (generators * scale[:, None, None]).contiguous(), (sizes / scale).contiguous()
    generators.requires_grad_()
    sizes.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [generators, sizes], max_iter=steps, history_size=20, tolerance_grad=1e-12, tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = _misfit(before, after, generators, sizes)
        value.backward()
        return value

    optimizer.step(loss)
    return generators.detach(), sizes.detach()


def _scanned(before: Tensor, after: Tensor, generators: Tensor) -> Tensor:
    """For each pair the best of many sizes: a grid of one, or points that fill a box of several evenly."""
    rank = len(generators)
    if rank == 1:
        points = torch.linspace(-1, 1, 129, dtype=before.dtype)[:, None]
    else:
        points = 2 * torch.quasirandom.SobolEngine(rank).draw(512 * rank).to(before) - 1
    reach = torch.stack([torch.pi * _turns(g) / torch.linalg.eigvals(g).abs().max() for g in generators])
    sizes = points * reach
    flows = torch.linalg.matrix_exp(torch.einsum("gk,kij->gij", sizes, generators))
    misses = (torch.einsum("gij,pj->gpi", flows, before) - after).square().sum(2)
    return sizes[misses.argmin(0)]


def _turns(generator: Tensor) -> float:
    """How many turns of the fastest mode the slowest one needs for half a turn, eight at most."""
    rates = torch.linalg.eigvals(generator).abs()
    slow = rates[rates > 0.05 * rates.max()].min()
    return float((rates.max() / slow).clamp(max=8))
