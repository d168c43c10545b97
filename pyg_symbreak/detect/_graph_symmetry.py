"""The result of a detection on a graph without positions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.detect._graph import Automorphisms, Graph, automorphisms, canonical_labels
from pyg_symbreak.detect._input import feature, number_rows

LISTED = 100_000_000
"""Most entries, order times number of nodes, of a permutation group that is listed."""


class PermutationGroup:
    """A group of permutations of nodes, given by strong generators.

    Attributes
    ----------
    generators : Tensor
        long [k, N]; ``generators[a, i]`` is the node onto which a carries i. None (k = 0) for the trivial group.
    order : int
        Number of elements, exact.
    base : Tensor
        long [m]: only the identity leaves all of these nodes where they are.
    """

    def __init__(self, found: Automorphisms, size: int) -> None:
        self.generators = torch.tensor(found.generators, dtype=torch.long).reshape(-1, size)
        self.order = found.order
        self.base = torch.tensor(found.base, dtype=torch.long)
        self._levels = found.levels
        self._size = size

    @cached_property
    def elements(self) -> Tensor:
        """All elements, long [order, N], the identity first.

        Raises
        ------
        ValueError
            There are too many.
        """
        if self.order * self._size > LISTED:
            raise ValueError(
                f"the group has {self.order} elements on {self._size} nodes, too many to list: "
                "use its generators, orbits, or sample()"
            )
        elements = np.arange(self._size)[None]
        for transversal in reversed(self._transversals):
            elements = transversal[:, elements].reshape(-1, self._size)
        return torch.from_numpy(elements)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Random elements, independent and all equally likely.

        Parameters
        ----------
        count : int
        generator : torch.Generator, optional

        Returns
        -------
        Tensor
            long [count, N].
        """
        drawn = torch.arange(self._size).expand(count, -1)
        for transversal in reversed(self._transversals):
            chosen = torch.randint(len(transversal), (count,), generator=generator)
            drawn = torch.from_numpy(transversal)[chosen].gather(1, drawn)
        return drawn.clone()

    @cached_property
    def _transversals(self) -> list[np.ndarray]:
        """For each base node an element [orbit, N] to each node of its orbit that fixes the base nodes before it."""
        generators = self.generators.numpy()
        chain = []
        for level, b in enumerate(self.base.tolist()):
            usable = generators[[k >= level for k in self._levels]]
            reached = {b: np.arange(self._size)}
            frontier = [b]
            while frontier:
                v = frontier.pop()
                for g in usable:
                    if int(g[v]) not in reached:
                        reached[int(g[v])] = g[reached[v]]
                        frontier.append(int(g[v]))
            chain.append(np.array(list(reached.values())))
        return chain

    def __repr__(self) -> str:
        order = str(self.order) if self.order < 10**12 else f"{float(math.log10(self.order)):.1f} digits"
        return f"{type(self).__name__}(order={order}, nodes={self._size}, generators={len(self.generators)})"


@dataclass(frozen=True, eq=False)
class GraphSymmetry:
    """The automorphisms of a graph.

    Attributes
    ----------
    group : PermutationGroup
        Its exact order and generators.
    orbits : Tensor
        long [N]: number of the orbit that each node is in, from 0 in the order of their first nodes.
    """

    group: PermutationGroup
    orbits: Tensor
    graph: Graph
    found: Automorphisms

    @property
    def order(self) -> int:
        """Number of automorphisms."""
        return self.group.order

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.graph.size

    @property
    def permutations(self) -> Tensor:
        """All automorphisms, long [order, N], the identity first; a ValueError if they are too many."""
        return self.group.elements

    @cached_property
    def canonical_labels(self) -> Tensor:
        """Long [N]: a new number for each node, such that isomorphic graphs become the same graph.

        Colors count by rank: graphs are comparable if the same values of the features occur in both.
        """
        return torch.tensor(canonical_labels(self.graph, self.found))

    def site_symmetry(self, node: int) -> PermutationGroup:
        """Automorphisms that leave the node where it is.

        Raises
        ------
        IndexError
            There is no such node.
        """
        if not 0 <= node < self.num_nodes:
            raise IndexError(f"there is no node {node}: the graph has {self.num_nodes}")
        colors = self.graph.colors.copy()
        colors[node] = colors.max() + 1
        return PermutationGroup(automorphisms(self.graph.recolored(colors)), self.num_nodes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.group!r}, orbits={int(self.orbits.max()) + 1})"


def graph_symmetry(data: Data, features: Sequence[str]) -> GraphSymmetry:
    """Automorphisms of a Data without positions.

    Raises
    ------
    ValueError
        There are no nodes or no ``edge_index``, a feature is missing, or the search is too long.
    """
    edge_index = data.get("edge_index")
    if edge_index is None:
        raise ValueError("the Data has neither pos nor edge_index: there is no symmetry to detect")
    count = data.num_nodes
    if not count:
        raise ValueError("the graph has no nodes")
    edges = edge_index.detach().cpu().numpy()
    if edges.ndim != 2 or len(edges) != 2 or (edges.size and (edges.min() < 0 or edges.max() >= count)):
        raise ValueError(f"edge_index must be [2, E] with nodes from 0 to {count - 1}")
    at_nodes = [name for name in features if "edge" not in name]
    at_edges = [name for name in features if "edge" in name]
    names = ["z", *at_nodes] if data.get("z") is not None else at_nodes
    colors = number_rows([feature(data, name, count) for name in names], count)
    labels = number_rows([feature(data, name, edges.shape[1]) for name in at_edges], edges.shape[1])
    graph = Graph(colors, *_merged(edges, labels))
    found = automorphisms(graph)
    orbits = torch.unique(torch.tensor(found.orbits), return_inverse=True)[1]
    return GraphSymmetry(PermutationGroup(found, count), orbits, graph, found)


def _merged(edges: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sources, targets and labels with parallel arcs merged into one, whose label stands for all of theirs."""
    parallel: dict[tuple[int, int], list[int]] = {}
    for u, v, label in zip(*edges.tolist(), labels.tolist(), strict=True):
        parallel.setdefault((u, v), []).append(label)
    bundles = {arc: tuple(sorted(found)) for arc, found in parallel.items()}
    rank = {bundle: i for i, bundle in enumerate(sorted(set(bundles.values())))}
    arcs = np.array(list(bundles), dtype=np.int64).reshape(-1, 2)
    return arcs[:, 0], arcs[:, 1], np.array([rank[bundle] for bundle in bundles.values()], dtype=np.int64)
