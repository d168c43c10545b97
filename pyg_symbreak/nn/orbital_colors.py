"""Edge colours that leave of all permutations of nodes a chosen group."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_symbreak.detect import PermutationGroup, detect_symmetry

__all__ = ["OrbitalColors"]


class OrbitalColors(nn.Module):
    r"""Colours of pairs of nodes with which a network on graphs is equivariant under a group of permutations.

    A network f on graphs commutes with all permutations of nodes. Given beside its input x a fixed v with the
    symmetry G, it commutes with those of G: :math:`f(gx, v) = f(gx, gv) = g f(x, v)` (ASEN, `Goel et al., 2026
    <https://arxiv.org/abs/2603.19486>`_). Here v are colours of all ordered pairs of nodes, the *orbitals*, orbits of G
    on pairs. They are symmetric under the 2-closure of G, the largest group with the same orbitals, which is G for
    many groups but not for all (:attr:`is_two_closed`): the alternating group on four nodes and more carries every pair
    to every other, as all permutations do, and is not reached by colours of pairs.

    Parameters
    ----------
    generators : int array or Tensor [k, N]
        Permutations that generate G: ``generators[a, i]`` is the node onto which a carries i.

    Attributes
    ----------
    num_nodes, num_colors : int
    colors : Tensor
        Long :math:`(N, N)`; the colour of the pair (i, j). Pairs (i, i) have colours of their own.

    Shapes:
        - **output:** edge indices :math:`(2, B N^2)` of all ordered pairs, loops among them, and their colours
          :math:`(B N^2,)`, which ``RGCNConv`` takes as ``edge_type``

    Raises
    ------
    ValueError
        A generator is not a permutation.

    Examples
    --------
    >>> ring = OrbitalColors([[1, 2, 3, 4, 5, 0]])
    >>> ring.num_colors, ring.is_two_closed
    (6, True)
    >>> alternating = OrbitalColors([[1, 2, 0, 3], [0, 2, 3, 1]])
    >>> alternating.order, alternating.closure.order
    (12, 24)
    """

    colors: Tensor

    def __init__(self, generators: Any) -> None:
        super().__init__()
        images = np.asarray(torch.as_tensor(generators).cpu(), dtype=np.int64)
        if images.ndim != 2 or images.shape[1] == 0 or (np.sort(images, 1) != np.arange(images.shape[1])).any():
            raise ValueError("generators must be permutations [k, N] of the numbers 0 to N - 1")
        self.generators = images
        self.num_nodes = images.shape[1]
        pairs = np.arange(self.num_nodes**2)
        moved = [(g[:, None] * self.num_nodes + g).ravel() for g in images]
        targets, sources = np.concatenate([pairs, *moved]), np.tile(pairs, len(moved) + 1)
        graph = coo_array((np.ones(len(targets), dtype=np.int8), (sources, targets)), (len(pairs), len(pairs)))
        self.num_colors, labels = connected_components(graph, directed=False)
        colors = torch.from_numpy(labels.astype(np.int64)).view(self.num_nodes, self.num_nodes)
        self.register_buffer("colors", colors, persistent=False)

    def forward(self, num_graphs: int = 1) -> tuple[Tensor, Tensor]:
        """Edges and colours of a batch of graphs of N nodes each."""
        number = torch.arange(self.num_nodes, device=self.colors.device)
        edges = torch.cartesian_prod(number, number).T if self.num_nodes > 1 else number.expand(2, 1)
        shift = self.num_nodes * torch.arange(num_graphs, device=edges.device)
        return (edges[:, None] + shift[:, None]).flatten(1), self.colors.flatten().repeat(num_graphs)

    @cached_property
    def order(self) -> int:
        """The number of elements of G."""
        return _order(list(self.generators))

    @cached_property
    def closure(self) -> PermutationGroup:
        """The 2-closure of G, all permutations that leave the colours as they are."""
        edges, kind = self()
        apart = edges[0] != edges[1]
        data = Data(num_nodes=self.num_nodes, edge_index=edges[:, apart])
        data.node_color, data.edge_color = self.colors.diagonal(), kind[apart]
        group = detect_symmetry(data, features=["node_color", "edge_color"]).group
        assert isinstance(group, PermutationGroup)
        return group

    @property
    def is_two_closed(self) -> bool:
        """Whether the colours are symmetric under G and nothing more."""
        return self.closure.order == self.order

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(nodes={self.num_nodes}, colors={self.num_colors})"


def _order(generators: list[np.ndarray]) -> int:
    """The order of a group of permutations by a chain of stabilizers, with Sims' filter of Schreier's generators."""
    order = 1
    while True:
        generators = _filtered(generators)
        if not generators:
            return order
        point = min(int(np.flatnonzero(g != np.arange(len(g)))[0]) for g in generators)
        carriers = {point: np.arange(len(generators[0]))}  # a permutation that carries the point to each of its orbit
        orbit = [point]
        for p in orbit:  # grows while it is walked through
            for g in generators:
                if int(g[p]) not in carriers:
                    carriers[int(g[p])] = g[carriers[p]]
                    orbit.append(int(g[p]))
        order *= len(orbit)
        generators = [np.argsort(carriers[int(g[p])])[g[carriers[p]]] for p in orbit for g in generators]


def _filtered(permutations: list[np.ndarray]) -> list[np.ndarray]:
    """At most N(N-1)/2 permutations that generate the same group."""
    kept: dict[tuple[int, int], np.ndarray] = {}
    for g in permutations:
        while (moved := np.flatnonzero(g != np.arange(len(g)))).size:
            key = int(moved[0]), int(g[moved[0]])
            if key not in kept:
                kept[key] = g
                break
            g = np.argsort(kept[key])[g]
    return list(kept.values())
