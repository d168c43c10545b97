"""The result of a detection on a graph without positions."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak import _native
from pyg_symbreak.detect._input import Features, feature, invariant_names, number_rows
from pyg_symbreak.detect._symmetry import with_arrays, with_tensors

Graph = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Colors of nodes [N], arcs [2, E], labels of arcs [E], all long."""

LISTED = 100_000_000
"""Most entries, order times number of nodes, of a permutation group that is listed."""


def describe_order(order: int | float) -> str:
    """The order of a group, a power of ten where it is long."""
    return str(order) if order < 10**12 or order == math.inf else f"10^{math.log10(order):.1f}"


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

    def __init__(self, generators: Tensor, levels: Tensor, base: Tensor, orbit_lengths: Tensor) -> None:
        self.generators = generators
        self.order = math.prod(orbit_lengths.tolist())
        self.base = base
        self._levels = levels
        self._size = generators.shape[1]

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
                f"the group has {describe_order(self.order)} elements on {self._size} nodes, too many to list: "
                "use its generators, orbits, or sample()"
            )
        elements = torch.arange(self._size)[None]
        for via, parent in reversed(self._trees):
            transversal = self._times(torch.arange(self._size).expand(len(via), -1), via, parent, np.arange(len(via)))
            elements = transversal[:, elements].reshape(-1, self._size)
        return elements

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
        for via, parent in self._trees:
            drawn = self._times(drawn, via, parent, torch.randint(len(via), (count,), generator=generator).numpy())
        return drawn.clone()

    @cached_property
    def _trees(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each base node the tree of its orbit under the elements that fix the base nodes before it.

        Of the nodes of the orbit, the base node first: the number of the generator that leads to it, and the place in
        the orbit of the node that it leads from.
        """
        generators, levels = self.generators.numpy(), self._levels.numpy()
        trees = []
        for level, b in enumerate(self.base.tolist()):
            usable = np.flatnonzero(levels >= level)
            place = np.full(self._size, -1)
            place[b], frontier = 0, np.array([b])
            via, parent = [np.array([len(generators)])], [np.array([0])]
            while len(frontier):
                new, first = np.unique(generators[np.ix_(usable, frontier)], return_index=True)
                new, first = new[place[new] < 0], first[place[new] < 0]
                via.append(usable[first // len(frontier)])
                parent.append(place[frontier[first % len(frontier)]])
                place[new] = place.max() + 1 + np.arange(len(new))
                frontier = new
            trees.append((np.concatenate(via), np.concatenate(parent)))
        return trees

    def _times(self, permutations: Tensor, via: np.ndarray, parent: np.ndarray, places: np.ndarray) -> Tensor:
        """Permutations [n, N], each after the element that carries a base node to a place [n] in its orbit."""
        steps = torch.cat([self.generators, torch.arange(self._size)[None]])
        while places.any():
            permutations = permutations.gather(1, steps[via[places]])
            places = parent[places]
        return permutations

    def __getstate__(self) -> dict[str, Any]:
        """Save what cannot be derived from the rest."""
        return with_arrays({k: v for k, v in self.__dict__.items() if k not in ("elements", "_trees")})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(with_tensors(state))

    def __repr__(self) -> str:
        order, generators = describe_order(self.order), len(self.generators)
        return f"{type(self).__name__}(order={order}, nodes={self._size}, generators={generators})"


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

    @property
    def order(self) -> int:
        """Number of automorphisms."""
        return self.group.order

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.orbits)

    @property
    def permutations(self) -> Tensor:
        """All automorphisms, long [order, N], the identity first; a ValueError if they are too many."""
        return self.group.elements

    @cached_property
    def canonical_labels(self) -> Tensor:
        """Long [N]: a new number for each node, such that isomorphic graphs become the same graph.

        Colors count by rank: graphs are comparable if the same values of the features occur in both.
        """
        return torch.frombuffer(_native.canonical_labels(*self.graph), dtype=torch.long)

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

    def __getstate__(self) -> dict[str, Any]:
        """Save what cannot be derived from the rest."""
        return {"group": self.group, "orbits": self.orbits.numpy(), "graph": self.graph}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(with_tensors(state))

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
        There are no nodes or no ``edge_index``, or a feature is missing or has a direction.
    """
    edge_index = data.get("edge_index")
    if edge_index is None:
        raise ValueError("the Data has neither pos nor edge_index: there is no symmetry to detect")
    count = data.num_nodes
    if not count:
        raise ValueError("the graph has no nodes")
    edges = edge_index.detach().cpu().numpy()
    if edges.ndim != 2 or len(edges) != 2:
        raise ValueError(f"edge_index must be [2, E] with nodes from 0 to {count - 1}, got {list(edges.shape)}")
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
    return colors, np.ascontiguousarray(edges, dtype=np.int64), labels


def _automorphisms(graph: Graph) -> GraphSymmetry:
    """Search for the automorphisms; it is compiled, see ``csrc/graph.cpp``."""
    found = [torch.from_numpy(np.frombuffer(part, dtype=np.int64)) for part in _native.automorphisms(*graph)]
    generators, levels, base, orbit_lengths, orbits = found
    group = PermutationGroup(generators.view(-1, len(orbits)), levels, base, orbit_lengths)
    return GraphSymmetry(group, orbits, graph)
