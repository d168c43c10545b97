"""The entries to detection of structures: one structure, all its approximate symmetries, many structures."""

import gc
import math
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import fields, replace
from functools import partial
from itertools import islice
from multiprocessing import get_all_start_methods, get_context
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from ase import Atoms
from scipy.special import fdtri
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from pyg_symbreak.detect.crystal import crystal_levels, crystal_symmetry, symmetric_lattice
from pyg_symbreak.detect.graph import GraphSymmetry, graph_symmetry
from pyg_symbreak.detect.input import Features, Structure, read_structure
from pyg_symbreak.detect.molecule import molecule_levels, molecule_symmetry
from pyg_symbreak.detect.symmetrization import displacements
from pyg_symbreak.detect.symmetry import Operations, Symmetry
from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.structures import from_bytes, to_bytes

__all__ = ["approximate_symmetries", "detect_symmetries", "detect_symmetry"]

SMALL = 5e-3
"""Deviations, Å per coordinate, that "auto" takes for noise in any structure: what optimizers and rounding leave."""
LOCAL = 0.015
"""No atom may be displaced by more than this, Å, for that: what is left lies on all atoms, a defect on one."""
CELL = 2e-3
"""Displacements of vectors of the cell, Å, that are taken for noise (in a supercell: of those that repeat)."""
NOISE = 0.03
"""Larger deviations, Å per coordinate, are not taken for noise by "auto"."""
ROUND_OFF = 1e-5
"""Smaller deviations, Å per coordinate, are none."""
REACH = 0.25
"""Operations that miss by more than this, Å, are not looked at by "auto"."""
NEAR = 0.1
"""A result tells of larger groups that miss by no more than this, Å."""
CONFIDENCE = 0.9999
"""Quantile of the F distribution above which "auto" calls a deviation significant."""


def detect_symmetry(
    x: Data | Atoms, symprec: float | Literal["auto"] = 1e-3, *, features: Features = ()
) -> Symmetry | GraphSymmetry:
    """Detect the symmetry of a molecule, a crystal, a slab, a rod, or a graph without positions.

    Parameters
    ----------
    x : Data or ase.Atoms
        Periodic in no direction (a molecule), in three (a crystal), two (a slab) or one (a rod). A Data has ``pos``
        [N, 3] Å and may have ``z`` [N] (without it all nodes are alike), ``cell`` [1, 3, 3] Å and ``pbc`` [1, 3].
        Without ``pos`` it is a graph, and its automorphisms are found: permutations that carry each arc of
        ``edge_index`` to an arc, whether or not all have their reverse; parallel arcs count.
    symprec : float or "auto"
        Tolerance, Å: every operation of the result, as an exact member of an exact group, carries each atom (in a
        crystal: each that ``atoms.wrap()`` has put into the cell) to within this distance of an atom of its kind, and
        each vector of the cell to within it of one of the lattice. It must be below half of the shortest distance
        between two atoms. "auto" estimates the noise and says in
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
        x is not a structure (no atoms, not finite, coincident atoms, a periodic cell without volume), is a rod with
        all atoms on its axis, lacks a feature, or is too coarse or too close-packed for `symprec`; features that
        are not invariant have other irreps than said, or leave finitely many operations of atoms on a line.
    TypeError
        x is neither a Data nor an Atoms, or is a batch.

    Notes
    -----
    "auto" takes the largest of the :func:`approximate_symmetries` that noise explains. Averaging over a group of k
    constraints on the internal coordinates removes squares whose sum is k times the variance of the noise. The
    root of that ratio must be below 0.03 Å, and either small, or no larger than the smaller groups let expect by an
    F-test at 0.9999. Small is 0.005 Å where no atom moves by more than 0.015 Å: optimizers and coordinates of two
    decimals leave that much, also where they keep smaller groups exactly. The strain of a cell is judged by itself in
    the same way; small is where no vector of it moves by more than 0.002 Å, or half a unit of its last decimal.

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
        structure = read_structure(x, features, REACH)
        found = _most_likely(structure, _levels(structure, REACH))
        return _remembering(found, structure)
    structure = read_structure(x, features, symprec)
    found = crystal_symmetry(structure, symprec) if structure.pbc.any() else molecule_symmetry(structure, symprec)
    return _remembering(found, structure)


def _remembering(found: Symmetry, structure: Structure) -> Symmetry:
    """The symmetry, which knows the structure as long as it is not saved."""
    vars(found)["structure"] = structure
    vars(found)["search_larger"] = partial(_larger, structure, found.order)
    return found


def approximate_symmetries(x: Data | Atoms, limit: float = REACH, *, features: Features = ()) -> list[Symmetry]:
    """Measure how far a structure is from each of the symmetries that it nearly has.

    Parameters
    ----------
    x, features
        As in :func:`detect_symmetry`.
    limit : float
        Largest residual that is looked for, Å; lowered to 0.45 of the shortest distance between two atoms and, of a
        crystal, to 0.24 of the smallest thickness of its cell.

    Returns
    -------
    list of Symmetry
        By rising residual, those of crystals also where only the type of the space group changes. ``residual`` says
        by how much the worst operation misses, ``plateau`` for which tolerances :func:`detect_symmetry` finds the
        group, and :func:`symmetrize` gives the structure that has it exactly.

    Examples
    --------
    >>> from ase.build import molecule
    >>> [(s.group.schoenflies, round(s.residual, 2)) for s in approximate_symmetries(molecule("CH3O"))]
    [('Cs', 0.0), ('C3v', 0.07)]
    """
    return _levels(read_structure(x, features, limit), limit)


def _levels(structure: Structure, limit: float) -> list[Symmetry]:
    return crystal_levels(structure, limit) if structure.pbc.any() else molecule_levels(structure, limit)


CHUNK = 128
"""Structures that a process takes at once."""


def detect_symmetries(
    structures: Iterable[Data | Atoms],
    symprec: float | Literal["auto"] = 1e-3,
    *,
    features: Features = (),
    processes: int = 1,
) -> Iterator[Symmetry | GraphSymmetry]:
    """Detect the symmetries of many structures, one after the other as they are asked for.

    A bar around it, such as ``rich.progress.track(detect_symmetries(structures))``, shows how far it is.

    Parameters
    ----------
    structures : iterable of Data or ase.Atoms
    symprec, features
        As in :func:`detect_symmetry`.
    processes : int
        Number of processes to share the work; 1 does it here. They are some structures ahead, no more: memory does
        not grow with the number of structures. A list or a data set is read by the processes themselves where the
        system can fork; structures of an iterator are sent to them. For crystals two take two thirds of the time of
        one. Small molecules, found in 20 to 50 µs, take as long as in one: what they are made of has to be moved. What
        comes back does not know its structure: ``atoms`` and ``larger`` are None.

    Yields
    ------
    Symmetry or GraphSymmetry

    Raises
    ------
    ValueError, TypeError
        As in :func:`detect_symmetry`; the message names the structure.
    """
    work = partial(_detect_numbered, symprec=symprec, features=features)
    if processes == 1:
        yield from map(work, enumerate(structures))
        return
    is_listed = isinstance(structures, Sequence | Dataset) and isinstance(structures, Sized)
    is_shared = is_listed and "fork" in get_all_start_methods()
    chunks = _ranges(structures) if is_shared else _sent(structures)
    context = get_context("fork") if is_shared else None
    with ProcessPoolExecutor(processes, context, _share, (structures if is_shared else None,)) as pool:
        begun: deque[Future[bytes]] = deque()
        while (chunk := next(chunks, None)) is not None or begun:
            if chunk is not None:
                begun.append(pool.submit(_detect_chunk, work, *chunk))
            if chunk is None or len(begun) > 2 * processes:
                found, error = _unpacked(begun.popleft().result())
                yield from found
                if error is not None:
                    pool.shutdown(cancel_futures=True)
                    raise error


def _ranges(structures: Any) -> Iterator[tuple[int, int]]:
    """Numbers from which and to which a process takes the structures that it shares."""
    for start in range(0, len(structures), CHUNK):
        yield start, min(start + CHUNK, len(structures))


def _sent(structures: Iterable[Data | Atoms]) -> Iterator[tuple[int, bytes]]:
    """Number of the first of some structures, and these as bytes: shared memory would cost a file for each tensor."""
    numbered = enumerate(structures)
    while chunk := list(islice(numbered, CHUNK)):
        yield chunk[0][0], to_bytes([item for _, item in chunk])


def _detect_numbered(item, symprec, features) -> Symmetry | GraphSymmetry:
    number, x = item
    try:
        return detect_symmetry(x, symprec, features=features)
    except (ValueError, TypeError) as error:
        raise type(error)(f"structure {number}: {error}") from error


_shared: Any = None  # the structures that a process has from the one that it was forked of


def _share(structures: Any) -> None:
    global _shared
    _shared = structures
    gc.freeze()  # a collection would touch, and so copy, all that is shared
    torch.set_num_threads(1)


def _detect_chunk(work, start: int, chunk: int | bytes) -> bytes:
    """Symmetries of structures that were sent, or up to a number of those shared, and the error that ended it."""
    if isinstance(chunk, bytes):
        numbered: Iterable[tuple[int, Any]] = enumerate(from_bytes(chunk), start)
    else:
        numbered = ((number, _shared[number]) for number in range(start, chunk))
    found: list[Symmetry | GraphSymmetry] = []
    error = None
    try:
        for item in numbered:
            found.append(work(item))
    except Exception as raised:
        error = raised
    return _packed(found, error)


LISTED = ("symprec", "residual_list", "cosets")
"""What every symmetry of a molecule has."""
OTHERS = tuple(field.name for field in fields(Symmetry) if field.name not in LISTED)


def _packed(found: list[Symmetry | GraphSymmetry], error: Exception | None) -> bytes:
    """Many symmetries as few arrays: a small molecule has a kilobyte, and each array of its own costs as much time."""
    plain = [isinstance(s, Symmetry) and s.residual_list is not None for s in found]
    listed: list[Any] = [s for s, is_plain in zip(found, plain, strict=True) if is_plain]
    arrays: list[np.ndarray] = [np.zeros(0)] * 4
    if listed:
        parts = [(*s.cosets, s.residual_list) for s in listed]
        arrays = [np.concatenate([part.ravel() for part in column]) for column in zip(*parts, strict=True)]
    sizes = [s.cosets.permutations.shape for s in listed]
    others = [{name: value for name in OTHERS if (value := getattr(s, name)) is not None} for s in listed]
    rest = [s for s, is_plain in zip(found, plain, strict=True) if not is_plain]
    return pickle.dumps((plain, arrays, sizes, [s.symprec for s in listed], others, rest, error))


def _unpacked(content: bytes) -> tuple[list[Symmetry | GraphSymmetry], Exception | None]:
    """What :func:`_packed` was given; the arrays of a symmetry are parts of those of all."""
    plain, (rotations, translations, permutations, residuals), sizes, tolerances, others, rest, error = pickle.loads(
        content
    )
    rotations, translations = rotations.reshape(-1, 3, 3), translations.reshape(-1, 3)
    found: list[Symmetry | GraphSymmetry] = []
    listed, left = zip(sizes, tolerances, others, strict=True), iter(rest)
    start = at = 0
    for is_plain in plain:
        if not is_plain:
            found.append(next(left))
            continue
        (count, nodes), symprec, more = next(listed)
        end, to = start + count, at + count * nodes
        images = permutations[at:to].reshape(count, nodes)
        cosets = Operations(rotations[start:end], translations[start:end], images)
        found.append(Symmetry(cosets, symprec, residuals[start:end], **more))
        start, at = end, to
    return found, error


def _larger(structure: Structure, order: int | float) -> Symmetry | None:
    """The largest group of more than so many operations that misses by no more than ``NEAR``."""
    try:
        levels = _levels(structure, NEAR)
    except ValueError:
        return None
    larger = [level for level in levels if level.order > order]
    return replace(larger[-1], symprec=_round_up(larger[-1].symprec)) if larger else None


def _round_up(length: float) -> float:
    """A number of two digits above a length, to be passed as a tolerance."""
    unit = 10.0 ** (math.floor(math.log10(max(length, 1e-9))) - 1)
    return (math.floor(length / unit) + 1) * unit


class _Deviation(NamedTuple):
    """What averaging over a group removes: the sum of squares, Å², its dimension, and whether it is always noise."""

    square: float
    freedom: int
    is_small: bool


def _most_likely(structure: Structure, levels: list[Symmetry]) -> Symmetry:
    """Largest level whose deviations are noise, as far as the levels below it tell what the noise is."""
    deviations = [_deviations(structure, level, levels[-1]) for level in levels]
    for k in reversed(range(len(levels))):
        if all(_is_noise(parts[k], parts[:k]) for parts in zip(*deviations, strict=True)):
            return levels[k]
    return levels[0]


def _deviations(structure: Structure, level: Symmetry, largest: Symmetry) -> tuple[_Deviation, ...]:
    """Of atoms and, of what is periodic, of the cell."""
    atoms = _atoms_deviation(structure, level)
    return (atoms, _cell_deviation(structure, level, largest)) if structure.pbc.any() else (atoms,)


def _atoms_deviation(structure: Structure, level: Symmetry) -> _Deviation:
    moved = displacements(structure, level)
    is_local = np.linalg.norm(moved, axis=1).max() > LOCAL
    square, count, tensors = float((moved**2).sum()), level.num_nodes, 0.0
    if structure.tensors:
        rotations, permutations = level.rotations.numpy(), level.permutations.numpy()
        fixed = (permutations == np.arange(count)).sum(1)
        for irreps, values in structure.tensors:
            matrices = irreps_matrices(irreps, rotations)
            square += float((((values[permutations] @ matrices).mean(0) - values) ** 2).sum())
            tensors += count * irreps.dim - (fixed * np.trace(matrices, axis1=1, axis2=2)).mean()
    rotations, _, permutations = level.cosets
    if level.continuous is not None:
        reversible = len(permutations) - 1
        freedom = max(2 * count - 4, 0) + reversible * (count - 1 - count // 2) + round(tensors)
        return _Deviation(square, freedom, not is_local and square <= freedom * SMALL**2)
    turn = np.trace(rotations, axis1=1, axis2=2)
    first, translations = np.arange(count), 1
    if level.supercell is not None:  # of the products of a coset and the translations, one at most leaves an atom
        first, translations = level.supercell.first_images(), level.supercell.size
    fixed = (first[permutations] == first).sum(1)
    free = tensors + 3 * count - (fixed * turn).mean() / translations - (3 - turn.mean())
    if not structure.pbc.any():
        free -= 3 - (np.linalg.det(rotations) * turn).mean()
    if structure.pbc.sum() == 1:  # it may be turned about its axis
        (axis,) = structure.cell[structure.pbc]
        free -= 1 - (np.linalg.det(rotations) * (rotations @ axis @ axis)).mean() / (axis @ axis)
    freedom = max(round(free), 0)
    return _Deviation(square, freedom, not is_local and square <= freedom * SMALL**2)


def _cell_deviation(structure: Structure, level: Symmetry, largest: Symmetry) -> _Deviation:
    """Of the periodic vectors, each divided by how often they repeat the cell that the largest group finds."""
    assert largest.supercell is not None
    periodic = structure.cell[structure.pbc]
    repeats = largest.supercell.size ** (1 / len(periodic))
    moved = (symmetric_lattice(structure, level) - periodic) / repeats
    axes = np.linalg.svd(periodic)[2][: len(periodic)]
    turns = axes @ level.cosets.rotations @ axes.T
    strains = (np.trace(turns, axis1=1, axis2=2) ** 2 + np.trace(turns @ turns, axis1=1, axis2=2)) / 2
    freedom = len(periodic) * (len(periodic) + 1) / 2 - strains.mean()
    is_small = np.linalg.norm(moved, axis=1).max() <= max(CELL, _last_digit(periodic) / 2)
    return _Deviation(float((moved**2).sum()), round(freedom), bool(is_small))


def _last_digit(vectors: np.ndarray) -> float:
    """Unit of the last decimal that components or lengths of vectors have, from 0.01 on; 0 if they have many."""
    for unit in (1e-2, 1e-3):
        for values in (vectors, np.linalg.norm(vectors, axis=1)):
            if np.abs(values / unit - np.round(values / unit)).max() < 1e-6:
                return unit
    return 0.0


def _is_noise(deviation: _Deviation, smaller: tuple[_Deviation, ...]) -> bool:
    """Whether deviations are small or as large as those from smaller groups let expect (F-test)."""
    if deviation.square > deviation.freedom * NOISE**2 + 1e-12:
        return False
    if deviation.is_small:
        return True
    return all(_is_as_expected(deviation, known) for known in smaller if known.freedom < deviation.freedom)


def _is_as_expected(deviation: _Deviation, known: _Deviation) -> bool:
    if known.freedom == 0:
        return True
    freedom = deviation.freedom - known.freedom
    more = (deviation.square - known.square) / freedom
    expected = known.square / known.freedom * float(fdtri(freedom, known.freedom, CONFIDENCE))
    return more <= max(expected, ROUND_OFF**2)
