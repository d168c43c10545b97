"""Graphs that refinement does not begin to tell apart: those of Latin squares, whose classes and groups are counted."""

import itertools
import math
from collections.abc import Iterator

import networkx as nx
import numpy as np
import torch
from torch_geometric.data import Data

from pyg_symbreak.detect import detect_symmetry


def latin_squares(n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """All Latin squares [n, n] with 0, ..., n - 1 in the first row and column, in random order."""

    def extended(rows: list) -> Iterator[np.ndarray]:
        if len(rows) == n:
            yield np.array(rows)
            return
        columns = list(zip(*rows, strict=True))[1:]
        rests = itertools.permutations([s for s in range(n) if s != len(rows)])
        fitting = [r for r in rests if all(s not in column for s, column in zip(r, columns, strict=True))]
        for k in rng.permutation(len(fitting)):
            yield from extended([*rows, (len(rows), *fitting[k])])

    yield from extended([tuple(range(n))])


def switched(rng: np.random.Generator, count: int) -> np.ndarray:
    """The table of Z2 x Z2 x Z2 with the symbols of some pairs of rows and columns exchanged: the search is deep."""
    square = np.bitwise_xor.outer(np.arange(8), np.arange(8))
    for _ in range(count):
        i, k, j = *rng.choice(8, 2, replace=False), rng.integers(8)
        other = int(np.flatnonzero(square[i] == square[k, j])[0])
        if square[k, other] == square[i, j]:
            square[[i, k, i, k], [j, j, other, other]] = square[[k, i, k, i], [j, j, other, other]]
    return square


def arcs_of(square: np.ndarray) -> torch.Tensor:
    """Pairs of cells that share row, column or symbol: a strongly regular graph."""
    row, column = np.indices(square.shape).reshape(2, -1)
    symbol = square.ravel()
    joined = sum(x[:, None] == x for x in (row, column, symbol))
    return torch.tensor(np.array(np.nonzero(joined == 1)))  # a cell shares all three with itself


def form_and_order(arcs: torch.Tensor, n: int) -> tuple[tuple, int]:
    """Arcs between canonical labels, sorted, and the order of the group."""
    found = detect_symmetry(Data(edge_index=arcs, num_nodes=n))
    first, second = found.canonical_labels[arcs]
    return tuple(torch.sort(first * n + second).values.tolist()), found.order


def test_all_latin_squares_of_order_five():
    """Two main classes; 6 n!^3 / order squares are in one, 161,280 in all (McKay, Meynert, Myrvold, 2007).

    From n = 5 on the automorphisms of the graph are those of the square and its conjugates.
    """
    order_of = dict(form_and_order(arcs_of(s), 25) for s in latin_squares(5, np.random.default_rng(0)))
    assert len(order_of) == 2
    assert sum(6 * math.factorial(5) ** 3 // order for order in order_of.values()) == 161_280


def test_forms_of_latin_squares_do_not_depend_on_the_numbering():
    """Nearly all of the search is below nodes that look the same and are not."""
    rng = np.random.default_rng(1)
    for n, count in ((5, 6), (6, 12), (7, 4), (8, 6)):
        squares = (switched(rng, k) for k in range(count)) if n == 8 else latin_squares(n, rng)
        for square in itertools.islice(squares, count):
            arcs = arcs_of(square)
            form = form_and_order(arcs, n * n)
            for _ in range(3):
                assert form_and_order(torch.tensor(rng.permutation(n * n))[arcs], n * n) == form


def test_forms_do_not_depend_on_the_numbering_where_more_is_singled_out_below_nodes_that_differ():
    """A path of four nodes in place of each cell: its turn is singled out after what tells the cells apart."""
    rng = np.random.default_rng(0)
    for square in itertools.islice(latin_squares(5, rng), 3):
        cells = nx.Graph(arcs_of(square).T.tolist())
        graph = nx.convert_node_labels_to_integers(nx.lexicographic_product(cells, nx.path_graph(4)))
        arcs = torch.tensor(list(graph.to_directed().edges())).T
        found = {form_and_order(torch.tensor(rng.permutation(100))[arcs], 100) for _ in range(4)}
        assert len(found) == 1
        assert found.pop()[1] == 2**25 * form_and_order(arcs_of(square), 25)[1]


def test_like_components_are_found_between_others_that_refinement_takes_for_the_same():
    rook = nx.convert_node_labels_to_integers(nx.line_graph(nx.complete_bipartite_graph(4, 4)))
    steps = [(0, 1), (1, 0), (1, 1)]
    shrikhande = nx.convert_node_labels_to_integers(
        nx.Graph(
            ((a, b), ((a + x) % 4, (b + y) % 4)) for a, b in itertools.product(range(4), repeat=2) for x, y in steps
        )
    )
    for parts in itertools.permutations([rook, rook, shrikhande]):
        graph = nx.disjoint_union_all(parts)
        arcs = torch.tensor(list(graph.to_directed().edges())).T
        assert detect_symmetry(Data(edge_index=arcs, num_nodes=48)).order == 2 * 1152**2 * 192


def test_the_square_of_an_elementary_abelian_group():
    """Translations of rows and columns, automorphisms of the group, conjugates: 8² · 168 · 6."""
    assert form_and_order(arcs_of(switched(np.random.default_rng(0), 0)), 64)[1] == 64_512
