"""The entries to detection of structures: one structure, all its approximate symmetries, many structures."""

import pickle
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
from ase import Atoms
from scipy.special import fdtri
from torch_geometric.data import Batch, Data

from pyg_symbreak.detect._crystal import crystal_levels, crystal_symmetry
from pyg_symbreak.detect._graph_symmetry import GraphSymmetry, graph_symmetry
from pyg_symbreak.detect._input import Features, Structure, read_structure
from pyg_symbreak.detect._molecule import molecule_levels, molecule_symmetry
from pyg_symbreak.detect._symmetrize import displacements
from pyg_symbreak.detect._symmetry import Symmetry
from pyg_symbreak.groups import irreps_matrices

EXACT = 1e-4
"""Noise, Å per coordinate, that "auto" expects in any structure."""
NOISE = 0.03
"""Larger deviations, Å per coordinate, are not taken for noise by "auto"."""
REACH = 0.25
"""Operations that miss by more than this, Å, are not looked at by "auto"."""
CONFIDENCE = 0.9999
"""Quantile of the F distribution above which "auto" calls a deviation significant."""


def detect_symmetry(
    x: Data | Atoms, symprec: float | Literal["auto"] = 1e-3, *, features: Features = ()
) -> Symmetry | GraphSymmetry:
    """Detect the symmetry of a molecule, a crystal, a slab, or a graph without positions.

    Parameters
    ----------
    x : Data or ase.Atoms
        Periodic in no direction (a molecule), in three (a crystal), or in two (a slab). A Data has ``pos`` [N, 3]
        Å and may have ``z`` [N] (without it all nodes are alike), ``cell`` [1, 3, 3] Å and ``pbc`` [1, 3]. Without
        ``pos`` it is a graph, and its automorphisms are found: permutations that carry each arc of
        ``edge_index`` to an arc, whether or not all have their reverse; parallel arcs count.
    symprec : float or "auto"
        Tolerance, Å: every operation of the result, as an exact member of an exact group, carries each atom to
        within this distance of an atom of its kind, and each lattice vector to within it of a lattice vector. It
        must be below half of the shortest distance between two atoms. "auto" estimates the noise and says in
        ``plateau`` for which tolerances the group does not change, see Notes.
    features : sequence of str, or mapping of str to irreps
        Names of node features (charge, isotope, one-hot, ...). Atoms whose features differ are of different
        kinds, as those of different species are. In a graph without positions also edge features: names with
        "edge" in them, such as ``edge_attr``. A mapping says how features v transform, ``{"moment": "1e"}``: then
        an operation g must also carry them along, D(g) v_i = v_g(i), where by what it misses at most, divided by
        the largest norm of a v_i, counts as a residual in Å.

    Returns
    -------
    Symmetry
        Of a graph without positions: GraphSymmetry, with a :class:`PermutationGroup` for its group.

    Raises
    ------
    ValueError
        x is not a structure (no atoms, not finite, coincident atoms, a periodic cell without volume), is periodic
        in one direction only, lacks a feature, or is too coarse or too close-packed for `symprec`; features that
        are not invariant have other irreps than said, or leave finitely many operations of atoms on a line.
    TypeError
        x is neither a Data nor an Atoms, or is a batch.

    Notes
    -----
    "auto" takes the largest of the :func:`approximate_symmetries` that noise explains. Averaging over a group of k
    constraints on the internal coordinates removes squares whose sum is k times the variance of the noise. The
    root of that ratio must be below 0.03 Å, and no larger than the smaller groups let expect: an F-test at 0.9999,
    with 1e-4 Å for the least noise.

    Examples
    --------
    >>> from ase.build import molecule
    >>> s = detect_symmetry(molecule("CH4"))
    >>> s.group.schoenflies, s.order, s.orbits.tolist()
    ('Td', 24, [0, 1, 1, 1, 1])
    """
    if isinstance(x, Data) and not isinstance(x, Batch) and x.get("pos") is None:
        return graph_symmetry(x, features)
    if symprec == "auto":
        return _most_likely(read_structure(x, features, REACH), approximate_symmetries(x, features=features))
    structure = read_structure(x, features, symprec)
    return crystal_symmetry(structure, symprec) if structure.pbc.any() else molecule_symmetry(structure, symprec)


def approximate_symmetries(x: Data | Atoms, limit: float = REACH, *, features: Features = ()) -> list[Symmetry]:
    """Measure how far a structure is from each of the symmetries that it nearly has.

    Parameters
    ----------
    x, features
        As in :func:`detect_symmetry`.
    limit : float
        Largest residual that is looked for, Å; lowered to 0.45 of the shortest distance between two atoms.

    Returns
    -------
    list of Symmetry
        By rising residual. ``residual`` says by how much the worst operation misses, ``plateau`` for which
        tolerances the group is the largest, and :func:`symmetrize` gives the structure that has it exactly.

    Examples
    --------
    >>> from ase.build import molecule
    >>> [(s.group.schoenflies, round(s.residual, 2)) for s in approximate_symmetries(molecule("CH3O"))]
    [('C1', 0.0), ('Cs', 0.0), ('C3v', 0.07)]
    """
    structure = read_structure(x, features, limit)
    return crystal_levels(structure, limit) if structure.pbc.any() else molecule_levels(structure, limit)


def detect_symmetries(
    structures: Iterable[Data | Atoms],
    symprec: float | Literal["auto"] = 1e-3,
    *,
    features: Features = (),
    processes: int = 1,
) -> list[Symmetry | GraphSymmetry]:
    """Detect the symmetries of many structures.

    Parameters
    ----------
    structures : iterable of Data or ase.Atoms
    symprec, features
        As in :func:`detect_symmetry`.
    processes : int
        Number of processes to share the work; 1 does it here.

    Returns
    -------
    list of Symmetry or GraphSymmetry

    Raises
    ------
    ValueError, TypeError
        As in :func:`detect_symmetry`; the message names the structure.
    """
    structures = list(structures)
    work = partial(_detect_numbered, symprec=symprec, features=features)
    if processes == 1:
        return [work(item) for item in enumerate(structures)]
    chunk = max(1, len(structures) // (8 * processes))
    items = list(enumerate(structures))
    chunks = [pickle.dumps(items[k : k + chunk]) for k in range(0, len(items), chunk)]
    with ProcessPoolExecutor(processes) as pool:  # as bytes: shared memory would cost a file for each tensor
        found = pool.map(partial(_detect_chunk, work), chunks)
        return [symmetry for part in found for symmetry in pickle.loads(part)]


def _detect_numbered(item, symprec, features) -> Symmetry | GraphSymmetry:
    number, x = item
    try:
        return detect_symmetry(x, symprec, features=features)
    except (ValueError, TypeError) as error:
        raise type(error)(f"structure {number}: {error}") from error


def _detect_chunk(work, chunk: bytes) -> bytes:
    return pickle.dumps([work(item) for item in pickle.loads(chunk)])


def _most_likely(structure: Structure, levels: list[Symmetry]) -> Symmetry:
    """Largest level whose deviation is noise, as far as the levels below it tell what the noise is."""
    deviations = [_deviation(structure, level) for level in levels]
    for level, (square, freedom) in zip(reversed(levels), reversed(deviations), strict=True):
        below = [(s, f) for s, f in deviations if f < freedom]
        if square <= freedom * NOISE**2 + 1e-12 and all(_is_noise(square - s, freedom - f, s, f) for s, f in below):
            return level
    return levels[0]


def _deviation(structure: Structure, level: Symmetry) -> tuple[float, int]:
    """Sum of squares, Å², of what averaging removes from the positions, and the dimension of what it removes."""
    square = float((displacements(structure, level) ** 2).sum())
    count = level.num_nodes
    rotations, permutations = level.rotations.numpy(), level.permutations.numpy()
    fixed = (permutations == np.arange(count)).sum(1)
    tensors = 0.0
    for irreps, values in structure.tensors:
        matrices = irreps_matrices(irreps, rotations)
        square += float((((values[permutations] @ matrices).mean(0) - values) ** 2).sum())
        tensors += count * irreps.dim - (fixed * np.trace(matrices, axis1=1, axis2=2)).mean()
    if level.continuous is not None:
        reversible = len(level.permutations) - 1
        return square, max(2 * count - 4, 0) + reversible * (count - 1 - count // 2) + round(tensors)
    turn = np.trace(rotations, axis1=1, axis2=2)
    freedom = tensors + 3 * count - (fixed * turn).mean() - (3 - turn.mean())
    if not structure.pbc.any():
        freedom -= 3 - (np.linalg.det(rotations) * turn).mean()
    return square, max(round(freedom), 0)


def _is_noise(more: float, freedom: int, square: float, square_freedom: int) -> bool:
    """Whether `more` squares in `freedom` dimensions are no larger than those below let expect (F-test)."""
    if square_freedom == 0:
        return True
    expected = max(square / square_freedom, EXACT**2)
    return more / freedom <= expected * float(fdtri(freedom, square_freedom, CONFIDENCE))
