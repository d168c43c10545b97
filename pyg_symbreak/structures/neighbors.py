"""Which atoms are near one another, images included. The shortest distance is compiled, see ``csrc/crystal.h``."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from vesin import NeighborList as VesinNeighborList

from pyg_symbreak import _native

__all__ = ["neighbor_pairs", "shortest_distance"]

FEW = 64
"""Of up to so many atoms without images all distances are taken, which is quicker than a search."""
MAX_NEIGHBORS = 20_000
"""More neighbours of an atom than this are a wrong unit: at common densities a cutoff of 40 Å."""
MAX_IMAGES = 1000
"""More images of the cell in one direction than this are those of a cell without volume."""
FEW_IMAGES = 1000
"""Where more images of the cell than this lie within reach, those of the shortest vectors may be fewer."""
MIN_BINS = 1000
"""Up to so many bins, and eight for each atom, space is searched by; going through empty ones takes the time."""
MAX_BINS = 100_000
"""With more bins the search makes wider ones; where that leaves less than one in a direction it ends the process."""
MAX_PAIRS = 50_000_000
"""More pairs than this do not fit in the memory of a small machine."""


def neighbor_pairs(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List all ordered pairs of atoms closer than a cutoff, images included.

    Parameters
    ----------
    atoms : ase.Atoms
    cutoff : float
        Å.

    Returns
    -------
    source, target : int64 arrays [E]
    shift : int64 array [E, 3]
        Whole lattice vectors: ``pos[target] - pos[source] + shift @ cell`` is the vector from source to
        target. The pairs are sorted by (source, target, shift).

    Raises
    ------
    ValueError
        So many pairs are to be expected that the cutoff or the cell cannot be in Å.
    """
    if len(atoms) <= FEW and not atoms.pbc.any():
        return _pairs_of_few(atoms.positions, cutoff)
    box = atoms.cell.uncomplete(atoms.pbc).complete().array  # the vectors that are not periodic do not matter
    reach = max(cutoff, 1.0)  # the search takes seconds with a tiny cutoff
    positions = atoms.positions - atoms.positions[:1]
    if not atoms.pbc.any():
        reach = min(reach, 1.0 + 2 * float(np.ptp(positions, axis=0).sum()))  # no two atoms are farther apart
    given, box = box, _shortest(box, atoms.pbc, reach)
    inverse = np.linalg.inv(box)
    places = positions @ inverse
    home = np.where(atoms.pbc, np.floor(places), 0).astype(np.int64)
    positions = positions - home @ box
    _refuse_too_many(positions, box[atoms.pbc], reach)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    if (reach / heights[atoms.pbc]).max(initial=0) > MAX_IMAGES:
        raise ValueError(
            f"the cell {box[atoms.pbc].tolist()} is too flat: within {reach:g} Å lie too many of its images"
        )
    short = box.copy()
    if not atoms.pbc.all():
        for k in np.flatnonzero(~atoms.pbc):  # where it is empty the box is no longer than it must be
            positions = positions - _excess(places[:, k], 2 * reach)[:, None] * box[k]
        # Vacuum between images that do not count, as the search itself takes some skewed slabs for vast boxes.
        box[~atoms.pbc] *= 1 + reach + np.ptp(np.linalg.solve(box.T, positions.T), axis=1)[~atoms.pbc, None]
        heights = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)
    most = max(MIN_BINS, 8 * len(atoms))
    while not _can_merge(heights, reach) or (
        _bins(heights, reach).prod() > most and _visits(heights, 2 * reach) < _visits(heights, reach)
    ):
        reach *= 2
    search = VesinNeighborList(cutoff=reach, full_list=True)
    i, j, shift, distance = search.compute(positions, box, np.ones(3, dtype=bool), quantities="ijSd")
    near = distance < cutoff
    i, j = i[near].astype(np.int64), j[near].astype(np.int64)
    # As the atoms were moved home by whole vectors, so the images are counted from where they were.
    shift = shift[near].astype(np.int64) + home[i] - home[j]
    shift = shift @ np.rint(short @ np.linalg.inv(given)).astype(np.int64)
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], j, i))
    return i[order], j[order], shift[order]


def shortest_distance(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> float:
    """Shortest distance between two atoms [N, 3] or an atom and its image, Å; the cutoff if all are longer.

    Where many images are within reach they are searched, and refused, as by :func:`neighbor_pairs`.
    """
    found = _native.shortest_image(np.ascontiguousarray(positions), cell, int(pbc @ (1, 2, 4)), cutoff)
    if found >= 0:
        return found
    source, target, shift = neighbor_pairs(Atoms(positions=positions, cell=cell, pbc=pbc), cutoff)
    apart = positions[target] - positions[source] + shift @ cell
    return float(np.linalg.norm(apart, axis=1).min(initial=cutoff))


def _shortest(box: np.ndarray, pbc: np.ndarray, reach: float) -> np.ndarray:
    """The periodic vectors of a box, of a skewed one the shortest ones: a thin box is thin in one direction only."""
    images = 2 * np.ceil(reach * np.linalg.norm(np.linalg.inv(box), axis=0)) + 1
    return box if images[pbc].prod() <= FEW_IMAGES else minkowski_reduce(box, pbc)[0]


def _pairs_of_few(positions: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of atoms that have no images, from all distances."""
    apart = positions[:, None] - positions
    near = np.einsum("ijk,ijk->ij", apart, apart) < cutoff**2
    np.fill_diagonal(near, False)
    source, target = np.nonzero(near)
    return source, target, np.zeros((len(source), 3), dtype=np.int64)


def _excess(places: np.ndarray, widest: float) -> np.ndarray:
    """How far each place on a line moves down when gaps are cut to a width."""
    order = np.argsort(places)
    excess = np.zeros(len(places))
    excess[order[1:]] = np.cumsum(np.maximum(np.diff(places[order]) - widest, 0))
    return excess


def _bins(heights: np.ndarray, reach: float) -> np.ndarray:
    """Numbers of bins, none narrower than the reach, along the heights of a box."""
    return np.maximum(heights // reach, 1)


def _can_merge(heights: np.ndarray, reach: float) -> bool:
    """Whether there are not too many bins, or merging them leaves some in each direction."""
    bins = _bins(heights, reach)
    return bins.prod() <= MAX_BINS or bins.min() * np.cbrt(MAX_BINS / bins.prod()) > 4


def _visits(heights: np.ndarray, reach: float) -> float:
    """Number of pairs of bins that the search goes through."""
    bins = _bins(heights, reach)
    return float((bins * (2 * np.ceil(reach * bins / heights) + 1)).prod())


def _refuse_too_many(positions: np.ndarray, vectors: np.ndarray, reach: float) -> None:
    """Raise ValueError where an atom would have more neighbours than any structure needs, or memory holds."""
    count = len(positions)
    if len(vectors):
        measure = np.sqrt(abs(np.linalg.det(vectors @ vectors.T)))  # length, area or volume of the cell
        ball = {1: 2.0, 2: np.pi, 3: 4 / 3 * np.pi}[len(vectors)] * reach ** len(vectors)
        neighbors = count * ball / measure
    else:
        some = positions[:: max(1, count // 50)]
        neighbors = (np.linalg.norm(some[:, None] - positions, axis=2) < reach).mean() * count if count else 0
    if neighbors > MAX_NEIGHBORS or count * neighbors > MAX_PAIRS:
        lengths = ", ".join(f"{v:.3g}" for v in np.linalg.norm(vectors, axis=1))
        unit = f"the cell, with vectors of {lengths} Å, is" if len(vectors) else "the positions are"
        raise ValueError(
            f"within {reach:g} Å an atom of this structure would have about {neighbors:.2g} neighbours: the cutoff is "
            f"too large, or {unit} not in Å"
        )
