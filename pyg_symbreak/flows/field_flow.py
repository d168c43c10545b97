"""Flows of a real number on each node of a graph."""

from __future__ import annotations

import math

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order
from torch import Tensor, nn
from torch_geometric.nn import GraphConv

from .circular import circular_spline
from .flow import Flow

__all__ = ["FieldFlow"]

_BINS, _REACH = 8, 6.0  # of the splines


class FieldFlow(Flow):
    """A density of fields on a graph, x [n, N, 1], by couplings (L. Dinh et al., ICLR 2017, arXiv 1605.08803).

    Nodes at even and at odd distance from the first take turns; two graph convolutions see the others, and give each
    node an affine map and, between -6 and 6, a rational-quadratic spline (C. Durkan et al., NeurIPS 2019, arXiv
    1906.04032). Where neighbours pull a node to two vacua its law has two modes: affine maps of normal numbers would
    have one. The base is normal.

    Parameters
    ----------
    edge_index : long Tensor [2, E]
        Both directions of each edge.
    num_nodes : int
    layers : int
        Couplings.
    hidden : int
        Width of the graph convolutions.
    odd : bool
        Whether the map is odd, so that the density is the same at x and -x.
    start : float
        The mean of an untrained flow: in the vacuum that is to be learned. Not with ``odd``.

    Examples
    --------
    >>> edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> x, log_prob = FieldFlow(edges, 3).sample(5)
    >>> x.shape, log_prob.shape
    (torch.Size([5, 3, 1]), torch.Size([5]))
    """

    parity: Tensor

    def __init__(
        self,
        edge_index: Tensor,
        num_nodes: int,
        layers: int = 6,
        hidden: int = 24,
        odd: bool = False,
        start: float = 0.0,
    ):
        super().__init__()
        if odd and start:
            raise ValueError(f"start is the mean, which is zero with odd=True; got {start}")
        self.odd, self.num_nodes = odd, num_nodes
        self.register_buffer("parity", _parity(edge_index, num_nodes)[:, None], persistent=False)
        self.nets = nn.ModuleList(_Net(edge_index, hidden) for _ in range(layers))
        self.log_scale = nn.Parameter(torch.zeros(num_nodes, 1))
        self.shift = nn.Parameter(torch.full((num_nodes, 1), float(start)), requires_grad=not odd)

    def _move(self, number: int, x: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """What a coupling, or its inverse, makes of x [n, N, 1], and the log-determinant [n]."""
        moved = (self.parity == number % 2).to(x.dtype)

        def see(x: Tensor) -> Tensor:
            return self.nets[number](torch.cat([x * (1 - moved), (1 - moved).expand_as(x)], dim=-1))

        out = (see(x) + _mirrored(see(-x))) / 2 if self.odd else see(x)
        log_scale, shift, spline = (out * moved).split([1, 1, 3 * _BINS - 1], dim=-1)
        log_scale = log_scale.tanh()
        if inverse:
            x, log_slope = _spline(x, spline, inverse)
            return (x - shift) * (-log_scale).exp(), (log_slope - log_scale).sum((1, 2))
        x, log_slope = _spline(x * log_scale.exp() + shift, spline)
        return x, (log_slope + log_scale).sum((1, 2))

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Fields [n, N, 1], and their log-densities [n]."""
        like = self.log_scale
        x = torch.randn(n, self.num_nodes, 1, generator=generator, dtype=like.dtype)
        log_prob = _normal(x) - self.log_scale.sum()
        for number in range(len(self.nets)):
            x, log_slope = self._move(number, x)
            log_prob = log_prob - log_slope
        return x * self.log_scale.exp() + self.shift, log_prob

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-densities [n] of some fields [n, N, 1]."""
        x = (x - self.shift) * (-self.log_scale).exp()
        total = -self.log_scale.sum()
        for number in reversed(range(len(self.nets))):
            x, log_slope = self._move(number, x, inverse=True)
            total = total + log_slope
        return _normal(x) + total

    def __repr__(self) -> str:
        return f"FieldFlow({self.num_nodes} nodes, layers={len(self.nets)}, odd={self.odd})"


class _Net(nn.Module):
    """Two graph convolutions, and the parameters of a map for each node."""

    edge_index: Tensor

    def __init__(self, edge_index: Tensor, hidden: int):
        super().__init__()
        self.register_buffer("edge_index", edge_index, persistent=False)
        self.first, self.second = GraphConv(2, hidden), GraphConv(hidden, hidden)
        self.last = nn.Linear(hidden, 1 + 3 * _BINS)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x, self.edge_index).tanh()
        return self.last(self.second(h, self.edge_index).tanh())


def _spline(x: Tensor, free: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """A spline of x [n, N, 1] with free parameters [n, N, 3 bins - 1], and its log-slope; the identity beyond ±6.

    It is that of a circle without the turn, and with the slope 1 where the circle closes.
    """
    zero = torch.zeros_like(x)
    parameters = torch.cat([free[..., : 2 * _BINS], zero, free[..., 2 * _BINS :], zero], dim=-1)
    y, log_slope = circular_spline(x[..., 0] * (math.pi / _REACH), parameters, inverse)
    inside = x.abs() < _REACH
    return torch.where(inside, y[..., None] * (_REACH / math.pi), x), torch.where(inside, log_slope[..., None], 0.0)


def _mirrored(parameters: Tensor) -> Tensor:
    """The parameters of -T(-x), where those [n, N, 3 bins + 1] are of T."""
    log_scale, shift, *spline = parameters.split([1, 1, _BINS, _BINS, _BINS - 1], dim=-1)
    return torch.cat([log_scale, -shift, *(part.flip(-1) for part in spline)], dim=-1)


def _normal(x: Tensor) -> Tensor:
    """Log-density of independent standard normal numbers."""
    return -(x * x + math.log(2 * math.pi)).flatten(1).sum(1) / 2


def _parity(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Whether the distance to the first node of its component is odd, long [N]; single nodes take turns."""
    graph = coo_array((torch.ones(edge_index.shape[1]).numpy(), edge_index.numpy()), shape=(num_nodes, num_nodes))
    parity = torch.full((num_nodes,), -1)
    for first in range(num_nodes):
        if parity[first] < 0:
            order, before = breadth_first_order(graph.tocsr(), first, directed=False)
            parity[first] = first % 2
            for node in order[1:]:
                parity[node] = 1 - parity[before[node]]
    return parity
