"""Symmetry of graphs without positions: the automorphism group, its orbits and elements.

The search is compiled, see ``csrc/graph.h`` and ``csrc/graph_search.h``.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak import _native
from pyg_symbreak.detect.input import Features, feature, invariant_names, number_rows
from pyg_symbreak.structures import array_of, edge_index_of

__all__ = ["Graph", "GraphSymmetry", "PermutationGroup", "graph_symmetry", "read_graph"]

Graph = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Colors of nodes [N], arcs [2, E], labels of arcs [E], all long."""

MOST_NODES = 100_000_000
"""More nodes than this are an error in the numbers."""
LISTED = 100_000_000
"""Most entries, order times number of nodes, of a permutation group that is listed."""

STEPS = 1_000_000_000
"""Most arcs and nodes that a search for automorphisms visits: about ten seconds."""


def _describe_order(order: int | float) -> str:
    """The order of a group, a power of ten where it is long."""
    return str(order) if order < 10**12 or order == math.inf else f"10^{math.log10(order):.1f}"


class PermutationGroup:
    """A group of permutations of nodes, as a product of factors: each element is one product of theirs.

    The factors are of two kinds, all permutations of like blocks of nodes, and transversals of a base. They are found
    and multiplied in ``csrc/graph.h``, which says how they are stored.
    """

    def __init__(self, size: int, program: bytearray, radices: np.ndarray, base: bytearray, generators: int) -> None:
        self._size = size
        self._program = program
        self._radices = radices
        self._base = base
        self._generators = generators

    @cached_property
    def order(self) -> int:
        """Number of elements, exact."""
        factors: list[int] = self._radices.tolist()
        while len(factors) > 8:  # in pairs: the numbers multiplied are of like length
            factors = [math.prod(factors[k : k + 2]) for k in range(0, len(factors), 2)]
        return math.prod(factors)

    @property
    def base(self) -> Tensor:
        """Nodes, long [m]: only the identity leaves all of them where they are."""
        return torch.from_numpy(_array(self._base))

    @cached_property
    def generators(self) -> Tensor:
        """Elements that generate all, long [k, N]; ``generators[a, i]`` is the node onto which a carries i.

        None (k = 0) for the trivial group.

        Raises
        ------
        ValueError
            There are too many.
        """
        if self._generators * self._size > LISTED:
            raise ValueError(
                f"the group has {self._generators} generators on {self._size} nodes, too many to list: use its orbits, "
                "or sample()"
            )
        return torch.from_numpy(_array(_native.group_generators(self._program, self._size))).view(-1, self._size)

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
                f"the group has {_describe_order(self.order)} elements on {self._size} nodes, too many to list: "
                "use its generators, orbits, or sample()"
            )
        digits = np.indices(self._radices.tolist(), dtype=np.int64).reshape(len(self._radices), self.order).T
        return self._elements(digits)

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
        uniform = torch.rand(count, len(self._radices), generator=generator, dtype=torch.float64).numpy()
        return self._elements((uniform * self._radices).astype(np.int64))

    def _elements(self, digits: np.ndarray) -> Tensor:
        """The elements [n, N] with these digits [n, number of radices]."""
        found = _native.group_elements(self._program, self._size, np.ascontiguousarray(digits), len(digits))
        return torch.from_numpy(_array(found)).view(-1, self._size)

    def __getstate__(self) -> dict[str, Any]:
        """Save what cannot be derived from the rest."""
        return {name: value for name, value in vars(self).items() if name.startswith("_")}

    def __repr__(self) -> str:
        order = _describe_order(self.order)
        return f"{type(self).__name__}(order={order}, nodes={self._size}, generators={self._generators})"


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
    graph: Graph
    _orbits: np.ndarray

    @property
    def orbits(self) -> Tensor:
        """Number of the orbit that each node is in, long [N], from 0 in the order of their first nodes."""
        return torch.from_numpy(self._orbits)

    @property
    def order(self) -> int:
        """Number of automorphisms."""
        return self.group.order

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self._orbits)

    @property
    def permutations(self) -> Tensor:
        """All automorphisms, long [order, N], the identity first; a ValueError if they are too many."""
        return self.group.elements

    @property
    def canonical_labels(self) -> Tensor:
        """Long [N]: a new number for each node, such that isomorphic graphs become the same graph.

        Colors count by rank: graphs are comparable if the same values of the features occur in both.
        """
        return torch.from_numpy(self._labels)

    @cached_property
    def _labels(self) -> np.ndarray:
        return _array(_native.automorphisms(*self.graph, True, STEPS)[-1])

    def site_symmetry(self, node: int) -> PermutationGroup:
        """Automorphisms that leave the node where it is.

        Raises
        ------
        IndexError
            There is no such node.
        """
        if not 0 <= node < self.num_nodes:
            raise IndexError(f"there is no node {node}: the graph has {self.num_nodes}")
        colors, edges, labels = self.graph
        colors = colors.copy()
        colors[node] = colors.max() + 1
        return _automorphisms((colors, edges, labels)).group

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.group!r}, orbits={int(self.orbits.max()) + 1})"


def graph_symmetry(data: Data, features: Features) -> GraphSymmetry:
    """Automorphisms of a Data without positions.

    Raises
    ------
    ValueError
        As in :func:`read_graph`, or the search is too long.
    """
    return _automorphisms(read_graph(data, features))


def read_graph(data: Data, features: Features) -> Graph:
    """Take nodes, arcs and what tells them apart, or say what is wrong with them.

    Raises
    ------
    ValueError
        There are no nodes or no ``edge_index`` or ``adj_t``, or a feature is missing or has a direction.
    """
    edge_index = edge_index_of(data)
    if edge_index is None:
        raise ValueError("the Data has neither pos nor edge_index: there is no symmetry to detect")
    edges = array_of(edge_index, "data.edge_index", "[2, E]")
    if edges.dtype.kind not in "iu" or edges.ndim != 2 or len(edges) != 2:
        raise ValueError(f"data.edge_index must be whole numbers [2, E], got {edge_index.dtype} {list(edges.shape)}")
    count = data.num_nodes
    if not isinstance(count, int) or count <= 0:
        raise ValueError(f"the graph has no nodes: num_nodes is {count}")
    if count > MOST_NODES:
        raise ValueError(f"the graph has {count} nodes, as data.num_nodes or the largest number in edge_index says")
    edges = np.ascontiguousarray(edges, dtype=np.int64)
    invariant = invariant_names(features)
    for name in features:
        if name not in invariant:
            raise ValueError(
                f"feature {name!r} has a direction, but the graph has no positions: only 0e can be compared"
            )
    at_nodes = [name for name in invariant if "edge" not in name]
    at_edges = [name for name in invariant if "edge" in name]
    names = ["z", *at_nodes] if data.get("z") is not None else at_nodes
    colors = number_rows([feature(data, name, count) for name in names], count)
    labels = number_rows([feature(data, name, edges.shape[1]) for name in at_edges], edges.shape[1])
    return colors, edges, labels


def _automorphisms(graph: Graph) -> GraphSymmetry:
    """Search for the automorphisms."""
    program, radices, base, generators, orbits, _ = _native.automorphisms(*graph, False, STEPS)
    group = PermutationGroup(len(graph[0]), program, _array(radices), base, generators)
    return GraphSymmetry(group, graph, _array(orbits))


def _array(buffer: bytearray) -> np.ndarray:
    return np.frombuffer(buffer, dtype=np.int64)
