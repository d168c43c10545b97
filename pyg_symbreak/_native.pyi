"""Compiled searches. Arrays come in as C-contiguous float64 or int64 and go out as bytearrays of the same."""

from collections.abc import Callable

from numpy import ndarray

Raise = Callable[[bytearray, bytearray], ndarray] | None
Found = tuple[bytearray, bytearray, bytearray, bytearray, bytearray | None]

def automorphisms(
    colors: ndarray, edges: ndarray, labels: ndarray
) -> tuple[bytearray, bytearray, bytearray, bytearray, bytearray]:
    """Strong generators [k, N], their levels [k], base [m], orbit lengths [m] and orbits [N] of a graph.

    Nodes have colors [N], arcs [2, E] have labels [E]. A generator of level l leaves l nodes of the base where they
    are; the order of the group is the product of the orbit lengths.
    """

def canonical_labels(colors: ndarray, edges: ndarray, labels: ndarray) -> bytearray:
    """New number of each node [N] of a graph, such that isomorphic graphs become the same."""

def measure(positions: ndarray) -> tuple[float, float]:
    """Shortest distance between two points [N, 3], and the largest coordinate (NaN if one is not finite)."""

def molecule(positions: ndarray, kinds: ndarray, symprec: float, misses: Raise) -> Found:
    """Rotations, translations, permutations and residuals; of what is linear also the frame of its axis."""

def molecule_levels(positions: ndarray, kinds: ndarray, limit: float, misses: Raise) -> list[Found]:
    """The same for each group that operations up to some residual generate."""

def orbits(permutations: ndarray, nodes: int) -> bytearray:
    """Number of the orbit of each node, from the listed elements [order, N] of a group."""

def point_group_name(matrices: ndarray, tolerance: float) -> str:
    """Schoenflies symbol of a finite group [order, 3, 3], empty if the kinds of its elements are those of none."""
