"""What is a structure and what is not: the one place where bad structures are named."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from torch_geometric.data import Data

from .conversion import bare_atoms, require_numbers
from .neighbors import neighbor_pairs

__all__ = ["LONGEST", "MIN_DISTANCE", "check_cell", "check_structure", "check_values", "refuse_coincidence"]

MIN_DISTANCE = 0.01
"""Two atoms closer than this (Å) are an error: no structure has them, a badly rounded file does."""
LONGEST = 1e5
"""Cell vectors and distances from the middle beyond this (Å), a hundredth of a millimetre, are in another unit."""


def check_structure(structure: Data | Atoms, min_distance: float = MIN_DISTANCE) -> Atoms:
    """Refuse what is not a structure; the one place where bad structures are named.

    Parameters
    ----------
    structure : Data or ase.Atoms
        See :func:`to_ase` for the keys of a Data.
    min_distance : float
        Two atoms (or an atom and its own image) closer than this, in Å, coincide.

    Returns
    -------
    ase.Atoms
        The structure, positions and cell in float64.

    Raises
    ------
    ValueError
        If there are no positions or no atoms, a position or a cell vector is not finite or longer than 10⁵ Å, an
        atomic number is none, the cell has no volume along the periodic directions, or atoms coincide.
    """
    atoms = check_values(structure)
    refuse_coincidence(atoms, neighbor_pairs(atoms, min_distance), min_distance)
    return atoms


def check_values(structure: Data | Atoms) -> Atoms:
    """As :func:`check_structure`, of all but atoms that coincide."""
    atoms = bare_atoms(structure) if isinstance(structure, Data) else structure
    if not isinstance(atoms, Atoms):
        raise TypeError(f"a structure is a Data or Atoms, got {type(atoms).__name__}")
    if len(atoms) == 0:
        raise ValueError("the structure has no atoms")
    require_numbers(atoms.numbers, "numbers")
    if not np.isfinite(atoms.positions).all():
        bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
        raise ValueError(f"the position of atom {bad[0]} is {atoms.positions[bad[0]]}: it must be finite")
    is_wide = np.ptp(atoms.positions, axis=0).max() > LONGEST
    if is_wide and np.abs(atoms.positions - np.median(atoms.positions, axis=0)).max() > LONGEST:
        far = int(np.abs(atoms.positions).max(axis=1).argmax())
        raise ValueError(f"the position of atom {far} is {atoms.positions[far]} Å: are the positions in Å?")
    check_cell(atoms.cell.array, atoms.pbc)
    return atoms


def refuse_coincidence(
    atoms: Atoms, pairs: tuple[np.ndarray, np.ndarray, np.ndarray], min_distance: float = MIN_DISTANCE
) -> None:
    """Raise ValueError if two atoms of some pairs, as of :func:`neighbor_pairs`, are closer than a distance."""
    source, target, shift = pairs
    vectors = atoms.positions[target] - atoms.positions[source] + shift @ atoms.cell.array
    distance = np.linalg.norm(vectors, axis=1)
    close = np.flatnonzero(distance < min_distance)
    if len(close):
        i, j, image = source[close[0]], target[close[0]], shift[close[0]]
        named = f" (its image {image.tolist()})" if image.any() else ""
        raise ValueError(
            f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}){named} coincide: they are "
            f"{distance[close[0]]:.2g} Å apart, closer than {min_distance:g} Å; remove one of them"
        )


def check_cell(cell: np.ndarray, pbc: np.ndarray) -> None:
    """Raise ValueError if a cell [3, 3] is no lattice along the periodic directions [3]."""
    if not np.isfinite(cell).all():
        raise ValueError(f"the cell is not finite: {cell.tolist()}")
    lengths = np.sqrt((cell**2).sum(1))
    if lengths.max() > LONGEST:
        raise ValueError(
            f"the cell has a vector of {lengths.max():.3g} Å: is it in Å? Of a molecule in a box set pbc and cell to 0"
        )
    if not pbc.any():
        return
    lengths = lengths[pbc]
    if (lengths == 0).any() or abs(np.linalg.det(cell[pbc] @ cell[pbc].T)) <= 1e-12 * np.prod(lengths) ** 2:
        raise ValueError(
            f"the structure is periodic (pbc = {pbc.tolist()}) but its cell {cell.tolist()} has no volume: "
            "give three independent lattice vectors, or pbc = False for a molecule"
        )
    if lengths.min(initial=1.0) < MIN_DISTANCE:
        raise ValueError(
            f"the cell has a vector of {lengths.min():.3g} Å, so that every atom coincides with its image: is it in Å?"
        )
