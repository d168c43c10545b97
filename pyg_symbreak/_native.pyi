"""Compiled searches. Arrays come in as C-contiguous float64 or int64 and go out as bytearrays of the same."""

from collections.abc import Callable, Sequence

from numpy import ndarray

Raise = Callable[[bytearray, bytearray], ndarray] | None
Found = tuple[bytearray, bytearray, bytearray, bytearray, bytearray | None, float]

def automorphisms(
    colors: ndarray, edges: ndarray, labels: ndarray, canonical: bool, steps: int
) -> tuple[bytearray, bytearray, bytearray, int, bytearray, bytearray]:
    """Program, radices and base of the group, number of its generators, orbits [N] and canonical labels [N] of a graph.

    Nodes have colors [N], arcs [2, E] have labels [E]. Labels are some numbering if canonical ones are not asked for.
    A search of more steps is a ValueError.
    """

def canonical_frame(
    positions: ndarray, kinds: ndarray, rotations: ndarray, permutations: ndarray, generic: ndarray
) -> tuple[bytearray, bytearray, bytearray, int]:
    """The canonical frame of a molecule (columns), its positions [N, 3] and ranks [N] in it, and how many are as good.

    The positions are averaged over operations with rotations [n, 3, 3] and permutations [n, N] first. ``generic``: the
    constants of the generic function, its matrix, phases, direction, decay, and tolerances of lengths and values.
    """

def crystal_fit(
    fractional: ndarray,
    cell: ndarray,
    periodic: int,
    rotations: ndarray,
    shifts: ndarray,
    permutations: ndarray,
    steps: ndarray,
    moves: ndarray,
    counts: ndarray,
) -> tuple[bytearray, bytearray, bytearray, bytearray, bytearray, float, float]:
    """Symmetric cell, rotations, shifts, deviations [N, 3], strains [m, 2], stretch and largest miss of a group.

    Operations f -> W f + w, [m, 3, 3] and [m, 3], one for each W, with permutations [m, N]; the pure translations are
    products of powers, below the counts, of some with permutations [r, N] and moves [r, 3].
    """

def crystal_match(
    fractional: ndarray, kinds: ndarray, cell: ndarray, rotations: ndarray, shifts: ndarray
) -> bytearray | None:
    """Permutations [n, N] of atoms in a periodic cell by operations f -> W f + w, None if one of them is none."""

def group_elements(program: bytearray, nodes: int, digits: ndarray, count: int) -> bytearray:
    """Elements [count, N] of a group from digits [count, number of radices]."""

def group_generators(program: bytearray, nodes: int) -> bytearray:
    """Its generators [k, N]."""

def measure(positions: ndarray) -> tuple[float, float]:
    """Shortest distance between two points [N, 3], and the largest coordinate (NaN if one is not finite)."""

def molecule(positions: ndarray, kinds: ndarray, symprec: float, misses: Raise) -> Found:
    """Rotations, translations, permutations, residuals, of what is linear the frame of its axis, least tolerance."""

def molecule_levels(positions: ndarray, kinds: ndarray, limit: float, misses: Raise) -> list[Found]:
    """The same of the groups for all tolerances up to a limit, the smallest first."""

def orbits(permutations: ndarray, nodes: int) -> bytearray:
    """Number of the orbit of each node, from the listed elements [order, N] of a group."""

def point_group_name(matrices: ndarray, tolerance: float) -> str:
    """Schoenflies symbol of a finite group [order, 3, 3], empty if the kinds of its elements are those of none."""

def orthogonal(matrix: ndarray) -> tuple[bytearray, int, float]:
    """The nearest orthogonal matrix [3, 3] of the same handedness, its determinant, and how far an entry is from it."""

def place(
    name: str, given: ndarray, standard: ndarray, turns: ndarray, steps: int, tolerance: float
) -> tuple[bytearray, bytearray] | None:
    """The rotation F with given = F·standard·Fᵀ that is nearest to 1, and which standard element each of the given is.

    None if they are not, each once, the elements of the group. Rotations ``turns`` normalize the standard group;
    ``steps``: its elements turn by multiples of 2π/steps about z, 0 for a polyhedral one.
    """

def shortest_bases(reduced: ndarray, count: int, same: float) -> bytearray:
    """Bases [n, 3, 3] of the lattice of the first vectors of a reduced basis [3, 3] with the least scalar products.

    Of two vectors, the third is across them and stays. Lengths are equal to within a relative difference.
    """

def shortest_image(positions: ndarray, cell: ndarray, mask: int, cutoff: float) -> float:
    """Shortest distance up to a cutoff between two points [N, 3], images in the directions of a mask included.

    -1 where that takes too many images.
    """

Numbers = Sequence[ndarray | None]

def tensor_product_float32(
    constants: tuple[ndarray, ndarray, ndarray, ndarray, ndarray],
    sizes: tuple[int, int, int, int, int, int],
    factors: Numbers,
    derivatives: Numbers,
    threads: int,
) -> None:
    """Add the derivatives by each factor (features, harmonics, radial, weights, factor of the sum) to zeros given.

    Constants: sources, targets, paths, entries of the coupling that are not zero, coupling. Sizes: nodes, columns of
    the features, columns of the sum, harmonics, radial features, columns of the coupling.
    """

def tensor_product_float64(
    constants: tuple[ndarray, ndarray, ndarray, ndarray, ndarray],
    sizes: tuple[int, int, int, int, int, int],
    factors: Numbers,
    derivatives: Numbers,
    threads: int,
) -> None:
    """The same in float64."""
