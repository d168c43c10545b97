"""Dictionaries whose atoms are the orbit of one, without knowing the group."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.detect import PermutationGroup, detect_symmetry

__all__ = ["gram_symmetry", "learn_orbit", "orbit_penalty"]

STARTS = 4
"""First guesses of a dictionary."""


def orbit_penalty(atoms: Tensor) -> Tensor:
    r"""How far some vectors are from one orbit of a group of isometries.

    The rows of the Gram matrix of an orbit are permutations of one another, since
    :math:`\langle g w, h w \rangle` depends on :math:`g^{-1} h` only. The penalty is the mean squared difference
    between two sorted rows. F. Anselmi, G. Evangelopoulos, L. Rosasco, T. Poggio, "Symmetry-adapted representation
    learning", Pattern Recognition 86, 201 (2019). Orthonormal vectors have none: it needs a task beside it that they
    do not solve.

    Parameters
    ----------
    atoms : Tensor [..., k, n]

    Examples
    --------
    >>> template = torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> orbit = torch.stack([template.roll(i) for i in range(8)])
    >>> bool(orbit_penalty(orbit) < 1e-28)
    True
    """
    rows = (atoms @ atoms.mT).sort(dim=-1).values
    return 2 * (rows - rows.mean(-2, keepdim=True)).square().sum(-1).mean(-1)


def gram_symmetry(atoms: Tensor, tolerance: float = 0.05) -> PermutationGroup:
    """The permutations of some vectors that leave all their scalar products as they are.

    Parameters
    ----------
    atoms : Tensor [k, n]
    tolerance : float
        Scalar products, over the largest, that differ by less count as one; so does a chain of such.

    Examples
    --------
    >>> template = torch.tensor([1.0, 0.5, -0.2, 0.1, 0.0, 0.3])
    >>> gram_symmetry(torch.stack([template.roll(i) for i in range(6)])).order  # a shift, and the order reversed
    12
    """
    gram = (atoms @ atoms.T).detach().double().numpy()
    k = len(gram)
    values, inverse = np.unique(gram / np.abs(gram).max(), return_inverse=True)
    level = np.concatenate([[0], np.cumsum(np.diff(values) > tolerance)])[inverse.reshape(k, k)]
    source, target = np.nonzero(~np.eye(k, dtype=bool))
    graph = Data(
        edge_index=torch.from_numpy(np.stack([source, target])),
        edge_attr=torch.from_numpy(level[source, target])[:, None],
        norm=torch.from_numpy(level.diagonal().copy())[:, None],
        num_nodes=k,
    )
    group = detect_symmetry(graph, features=["norm", "edge_attr"]).group
    assert isinstance(group, PermutationGroup)
    return group


def learn_orbit(
    x: Tensor, atoms: int, weight: float = 1.0, steps: int = 1500, sharpness: float = 8.0, seed: int = 0
) -> Tensor:
    r"""A dictionary that explains the data, each point by one atom, and is pulled towards an orbit.

    It minimizes the squared error of :math:`\sum_k p_k w_k`, p the softmax of the scalar products with the atoms, over
    atoms of the length of the data, plus the weight times :func:`orbit_penalty`, which grows from nothing: the atoms
    first find the data, from random points far from one another. In many starts two atoms share what one should
    explain, a false minimum with the penalty or without: of four starts the one that ends lowest is returned.

    Parameters
    ----------
    x : Tensor [N, n]
        Points: noisy members of an orbit, not all of which need occur.
    atoms : int
    weight : float
        Of the penalty; 0 is the plain dictionary.
    steps : int
        Of Adam.
    sharpness : float
        Of the softmax, per squared length of the data.
    seed : int

    Returns
    -------
    Tensor [atoms, n]
    """
    length = x.norm(dim=1).mean()
    points = (x / length).double()
    generator = torch.Generator().manual_seed(seed)
    free = torch.stack([_spread(points, atoms, generator) for _ in range(STARTS)]).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def losses(unit: Tensor, weight: float) -> Tensor:
        share = (sharpness * points @ unit.mT).softmax(-1)
        return (share @ unit - points).square().sum(-1).mean(-1) + weight * orbit_penalty(unit)

    for step in range(steps):
        optimizer.zero_grad()
        losses(free / free.norm(dim=-1, keepdim=True), weight * step / steps).sum().backward()
        optimizer.step()
        schedule.step()
    unit = (free / free.norm(dim=-1, keepdim=True)).detach()
    return (unit[losses(unit, weight).argmin()] * length).to(x)


def _spread(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Points that are far from one another, each drawn in proportion to its squared distance to those before."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    while len(chosen) < count:
        apart = torch.cdist(points, points[chosen]).min(1).values.square()
        chosen.append(int(torch.multinomial(apart, 1, generator=generator)))
    return points[chosen].clone()
