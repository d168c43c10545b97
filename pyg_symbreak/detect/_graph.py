"""Automorphisms of graphs: generators, exact order, orbits, canonical labelling.

Individualization and refinement (McKay, Congr. Numer. 30, 45 (1981)): a partition of the nodes into ordered cells
is refined until nodes of a cell have the same numbers of neighbours in every cell; where cells remain, a node is
singled out and the partition refined again. The nodes b_1, b_2, ... singled out on the first way down to single
nodes are a base of the group. From the last to the first, each node that might take the place of b_k is tried:
if a way down with it meets the first one, the two differ by an automorphism. Those found at level k and below
generate the stabilizer of b_1 ... b_{k-1}, so the order of the group is the product of the orbit lengths of the
b_k under them, and no separate Schreier-Sims step is needed.
"""

import copy
from dataclasses import dataclass, field

import numpy as np

CELLS = 20_000_000
"""Most entries of partitions that are kept at once: the number of nodes times the length of the base."""
STEPS = 50_000
"""Most refinements of one search before it is given up."""


class Graph:
    """Nodes with colors and arcs with colors, both numbered from 0, as detection needs them.

    ``arcs[u]`` maps each head v of the arcs u -> v to the color of the arc; one number for parallel arcs.
    ``neighbors`` lists, for each color and direction, the neighbours of each node.
    """

    def __init__(self, colors: np.ndarray, source: np.ndarray, target: np.ndarray, labels: np.ndarray) -> None:
        self.size = len(colors)
        self.colors = colors
        self.arcs: list[dict[int, int]] = [{} for _ in range(self.size)]
        self.incoming: list[list[int]] = [[] for _ in range(self.size)]
        for u, v, label in zip(source.tolist(), target.tolist(), labels.tolist(), strict=True):
            self.arcs[u][v] = label
            self.incoming[v].append(u)
        self.neighbors = self._neighbors(int(labels.max(initial=-1)) + 1)

    def recolored(self, colors: np.ndarray) -> "Graph":
        """The same arcs between nodes of other colors."""
        graph = copy.copy(self)
        graph.colors = colors
        return graph

    def _neighbors(self, kinds: int) -> list[list[list[int]]]:
        forward: list[list[list[int]]] = [[[] for _ in range(self.size)] for _ in range(kinds)]
        backward: list[list[list[int]]] = [[[] for _ in range(self.size)] for _ in range(kinds)]
        for u, heads in enumerate(self.arcs):
            for v, label in heads.items():
                forward[label][u].append(v)
                backward[label][v].append(u)
        directed = [back for ahead, back in zip(forward, backward, strict=True) if not _same(ahead, back)]
        return forward + directed

    def is_automorphism(self, image: list[int], moved: list[int]) -> bool:
        """Whether a permutation that leaves all other nodes where they are maps arcs on arcs of their color."""
        arcs = self.arcs
        for u in moved:
            here, there = arcs[u], arcs[image[u]]
            if len(here) != len(there) or len(self.incoming[u]) != len(self.incoming[image[u]]):
                return False
            for v, label in here.items():
                if there.get(image[v]) != label:
                    return False
            for v in self.incoming[u]:
                if arcs[image[v]].get(image[u]) != arcs[v][u]:
                    return False
        return True


def _same(ahead: list[list[int]], back: list[list[int]]) -> bool:
    """Whether two lists of neighbours are the same up to order."""
    return all(sorted(a) == sorted(b) for a, b in zip(ahead, back, strict=True))


class _Partition:
    """Ordered partition: cell of v starts at ``cell[v]`` and is ``nodes[start : end[start]]``."""

    __slots__ = ("cell", "cells", "end", "nodes", "place")

    def __init__(self, nodes: list[int], place: list[int], cell: list[int], end: list[int], cells: int) -> None:
        self.nodes, self.place, self.cell, self.end, self.cells = nodes, place, cell, end, cells

    @classmethod
    def of(cls, colors: np.ndarray) -> "_Partition":
        nodes = np.argsort(colors, kind="stable")
        place = np.empty_like(nodes)
        place[nodes] = np.arange(len(nodes))
        start = np.searchsorted(colors[nodes], colors[nodes])
        end = np.searchsorted(colors[nodes], colors[nodes], "right")
        cell = np.empty_like(nodes)
        cell[nodes] = start
        return cls(nodes.tolist(), place.tolist(), cell.tolist(), end.tolist(), len(np.unique(start)))

    def copy(self) -> "_Partition":
        return _Partition(self.nodes[:], self.place[:], self.cell[:], self.end[:], self.cells)

    def first_open(self, start: int = 0) -> int:
        """Start of the first cell, from this one on, with more than one node; the number of nodes if none has."""
        size, end = len(self.nodes), self.end
        while start < size and end[start] == start + 1:
            start += 1
        return start

    def put(self, v: int, index: int) -> None:
        """Exchange v with the node at an index."""
        other, old = self.nodes[index], self.place[v]
        self.nodes[index], self.nodes[old] = v, other
        self.place[v], self.place[other] = index, old

    def individualize(self, v: int) -> int:
        """Put v in a cell of its own, before the rest of its cell."""
        start = self.cell[v]
        self.put(v, start)
        end = self.end[start]
        self.end[start], self.end[start + 1] = start + 1, end
        for u in self.nodes[start + 1 : end]:
            self.cell[u] = start + 1
        self.cells += 1
        return start

    def refine(self, graph: Graph, queue: list[int], expected: list | None = None) -> list | None:
        """Refine until equitable or all single; equivalent partitions have one trace. None if not the expected."""
        trace: list = []
        cell, end = self.cell, self.end
        waiting = set(queue)
        head = 0
        while head < len(queue) and self.cells < len(self.nodes):
            splitter = queue[head]
            head += 1
            waiting.discard(splitter)
            members = self.nodes[splitter : end[splitter]]
            for kind, neighbors in enumerate(graph.neighbors):
                if len(members) == 1:
                    counts = dict.fromkeys(neighbors[members[0]], 1)
                else:
                    counts = {}
                    for u in members:
                        for v in neighbors[u]:
                            counts[v] = counts.get(v, 0) + 1
                touched: dict[int, list[int]] = {}
                for v in counts:
                    touched.setdefault(cell[v], []).append(v)
                for start in sorted(touched):
                    sizes = self._split(start, touched[start], counts, queue, waiting)
                    step = (splitter, kind, start, sizes)
                    if expected is not None and (len(trace) >= len(expected) or step != expected[len(trace)]):
                        return None
                    trace.append(step)
        return trace if expected is None or len(trace) == len(expected) else None

    def _split(self, start, members, counts, queue, waiting) -> tuple:
        """Order a cell by the counts of its members (0 for the others) and cut it; counts and sizes are returned."""
        end = self.end[start]
        buckets: dict[int, list[int]] = {}
        for v in members:
            buckets.setdefault(counts[v], []).append(v)
        order = sorted(buckets)
        sizes = tuple((count, len(buckets[count])) for count in order)
        if len(order) == 1 and len(members) == end - start:
            return sizes
        stop = end
        pieces = []
        for count in reversed(order):
            for v in buckets[count]:
                stop -= 1
                self.put(v, stop)
            pieces.append(stop)
        if stop > start:
            pieces.append(start)
        pieces.reverse()
        self.cells += len(pieces) - 1
        for first, last in zip(pieces, [*pieces[1:], end], strict=True):
            self.end[first] = last
            if first != start:
                for v in self.nodes[first:last]:
                    self.cell[v] = first
        if start in waiting:
            new = pieces[1:]
        else:
            largest = max(pieces, key=lambda first: (self.end[first] - first, -first))
            new = [first for first in pieces if first != largest]
        queue.extend(new)
        waiting.update(new)
        return sizes


class _Orbits:
    """Disjoint sets of nodes."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def find(self, v: int) -> int:
        while self.parent[v] != v:
            self.parent[v] = v = self.parent[self.parent[v]]
        return v

    def join(self, image: list[int], moved: list[int]) -> None:
        for v in moved:
            a, b = self.find(v), self.find(image[v])
            self.parent[max(a, b)] = min(a, b)


@dataclass
class Automorphisms:
    """Strong generators with the level at which each was found, base, order and orbits (first node of each)."""

    generators: list[list[int]] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    base: list[int] = field(default_factory=list)
    order: int = 1
    orbits: list[int] = field(default_factory=list)


def automorphisms(graph: Graph) -> Automorphisms:
    """Automorphism group of a graph."""
    return _Search(graph).run()


class _Search:
    """The first way down, and the search for others that meet it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        partition = _Partition.of(graph.colors)
        partition.refine(graph, sorted(set(partition.cell)))
        self.partitions = [partition]
        self.targets: list[int] = []
        self.traces: list[list] = []
        self.base: list[int] = []
        self.steps = 0
        start = partition.first_open()
        while start < graph.size:
            if len(self.partitions) * graph.size > CELLS:
                raise ValueError(
                    f"the graph has {graph.size} nodes and too many automorphisms (a base of more than "
                    f"{len(self.base)}) for this search: merge its identical parts, or tell nodes apart by features"
                )
            partition = partition.copy()
            self.targets.append(start)
            self.base.append(partition.nodes[start])
            trace = partition.refine(graph, [partition.individualize(partition.nodes[start])])
            assert trace is not None
            self.traces.append(trace)
            self.partitions.append(partition)
            start = partition.first_open(start)

    def run(self) -> Automorphisms:
        found = Automorphisms(base=self.base)
        orbits = _Orbits(self.graph.size)
        for level in range(len(self.base) - 1, -1, -1):
            partition, start, b = self.partitions[level], self.targets[level], self.base[level]
            cell = partition.nodes[start : partition.end[start]]
            failed: set[int] = set()
            for v in cell:
                root = orbits.find(v)
                if root == orbits.find(b) or root in {orbits.find(u) for u in failed}:
                    continue
                image = self._meet(partition, level, v)
                if image is None:
                    failed.add(v)
                    continue
                moved = [u for u, w in enumerate(image) if u != w]
                orbits.join(image, moved)
                found.generators.append(image)
                found.levels.append(level)
            root = orbits.find(b)
            found.order *= sum(orbits.find(v) == root for v in cell)
        found.orbits = [orbits.find(v) for v in range(self.graph.size)]
        return found

    def _meet(self, partition: _Partition, level: int, v: int) -> list[int] | None:
        """Automorphism that carries the base at this level to v and is like the first way down below, if any."""
        self.steps += 1
        if self.steps > STEPS:
            raise ValueError(f"no end of the search for automorphisms after {STEPS} steps: the graph is too regular")
        partition = partition.copy()
        start = partition.individualize(v)
        if partition.refine(self.graph, [start], self.traces[level]) is None:
            return None
        image = self._difference(self.partitions[level + 1], partition)
        if image is not None:
            return image
        level += 1
        if level == len(self.base):
            return None
        start = self.targets[level]
        for w in partition.nodes[start : partition.end[start]]:
            image = self._meet(partition, level, w)
            if image is not None:
                return image
        return None

    def _difference(self, first: _Partition, other: _Partition) -> list[int] | None:
        """Automorphism that carries single nodes of one partition to those of another and moves no other node."""
        image = list(range(self.graph.size))
        moved = []
        if first.cell != other.cell:
            for v, (a, b) in enumerate(zip(first.cell, other.cell, strict=True)):
                if a != b:
                    if first.end[a] != a + 1:
                        return None
                    image[v] = other.nodes[a]
                    moved.append(v)
        return image if self.graph.is_automorphism(image, moved) else None


def canonical_labels(graph: Graph, found: Automorphisms) -> list[int]:
    """Number of each node in a numbering that depends on the graph up to isomorphism only.

    Isomorphic graphs with colors of the same meaning become equal when their nodes are so renumbered. It is the
    leaf of the search tree with the least traces, and among those with the least list of arcs; nodes that
    automorphisms exchange, with those above them fixed, need not all be followed.
    """
    partition = _Partition.of(graph.colors)
    partition.refine(graph, sorted(set(partition.cell)))
    return _Canonical(graph, found).best(partition, found.generators, 0)[1]


class _Canonical:
    def __init__(self, graph: Graph, found: Automorphisms) -> None:
        self.graph, self.steps = graph, 0
        self.rank = {b: i for i, b in enumerate(found.base)}

    def best(self, partition: _Partition, generators: list[list[int]], start: int) -> tuple[list, list[int]]:
        """Least key (traces, then arcs) below a partition, and the labels that give it."""
        start = partition.first_open(start)
        if start == self.graph.size:
            place = partition.place
            arcs = (
                (place[u], place[v], label) for u, heads in enumerate(self.graph.arcs) for v, label in heads.items()
            )
            return [sorted(arcs)], place
        children = []
        for v in self._representatives(partition.nodes[start : partition.end[start]], generators):
            self.steps += 1
            if self.steps > STEPS:
                raise ValueError(f"no end of the search for a canonical labelling after {STEPS} steps")
            child = partition.copy()
            children.append((child.refine(self.graph, [child.individualize(v)]) or [], v, child))
        least = min(trace for trace, _, _ in children)
        keys = []
        for trace, v, child in children:
            if trace == least:
                key, labels = self.best(child, [g for g in generators if g[v] == v], start)
                keys.append(([trace, *key], labels))
        return min(keys)

    def _representatives(self, cell: list[int], generators: list[list[int]]) -> list[int]:
        """One node of each orbit, the first of the base where there is one: its stabilizer is known in full."""
        orbits = _Orbits(self.graph.size)
        for g in generators:
            orbits.join(g, [u for u in cell if g[u] != u])
        far = len(self.rank)
        by_rank = sorted(cell, key=lambda v: self.rank.get(v, far))
        return list({orbits.find(v): v for v in reversed(by_rank)}.values())
