"""What detection reads of a structure, the same for PyG Data and ase.Atoms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from ase import Atoms
from torch_geometric.data import Batch, Data

from pyg_symbreak import _native
from pyg_symbreak.structures import MIN_DISTANCE, check_structure, to_ase


@dataclass(frozen=True)
class Structure:
    """Positions [N, 3] and cell [3, 3] (rows), Å; periodic directions [3]; the kind of each atom [N]."""

    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    kinds: np.ndarray

    @cached_property
    def _extent(self) -> tuple[float, float]:
        return _native.measure(self.positions)

    @property
    def shortest(self) -> float:
        """Shortest distance between two atoms, Å, images aside; infinite if there is one atom only."""
        return self._extent[0]

    @property
    def reach(self) -> float:
        """Largest coordinate, Å; NaN if one is not finite."""
        return self._extent[1]


def read_structure(x: Data | Atoms, features: Sequence[str], symprec: float) -> Structure:
    """Take positions, cell, periodicity and kinds of atoms, or say what is wrong with them.

    Two atoms are of one kind if their atomic numbers and all of the named node features are equal.

    Raises
    ------
    TypeError
        x is neither Data nor Atoms, or it is a batch.
    ValueError
        The structure is not one (see :func:`pyg_symbreak.structures.check_structure`), a named feature is
        missing, or positions are known less finely than the tolerance.
    """
    if isinstance(x, Batch):
        raise TypeError("x is a batch of structures: pass batch.to_data_list() to detect_symmetries")
    if not isinstance(x, (Data, Atoms)):
        raise TypeError(f"x must be a PyG Data or an ase.Atoms, got {type(x).__name__}")
    if not symprec > 0:
        raise ValueError(f"symprec must be a positive distance in Å, got {symprec}")
    atoms = x if isinstance(x, Atoms) else to_ase(x)
    periodic = int(atoms.pbc.sum())
    if periodic == 1:
        raise ValueError(
            f"pbc = {atoms.pbc.tolist()}: structures that are periodic in one direction only (rods) are not "
            "supported; set all three to False to treat a fragment as a molecule"
        )
    kinds = atoms.numbers
    if features:
        kinds = number_rows([kinds, *(feature(x, name, len(atoms)) for name in features)], len(atoms))
    structure = Structure(
        np.ascontiguousarray(atoms.positions, dtype=np.float64),
        atoms.cell.array,
        atoms.pbc,
        np.ascontiguousarray(kinds, dtype=np.int64),
    )
    sound = (
        len(kinds) and structure.shortest >= MIN_DISTANCE and math.isfinite(structure.reach + atoms.cell.array.sum())
    )
    if periodic or not sound:
        check_structure(atoms)
    _check_resolution(x, structure.reach, symprec)
    return structure


def feature(x: Data | Atoms, name: str, count: int) -> np.ndarray:
    """Feature of a structure, one row for each of so many nodes (or edges)."""
    named = x.arrays if isinstance(x, Atoms) else x
    if name not in named:
        raise ValueError(f"features names {name!r}, which the structure does not have")
    value = named[name]
    value = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    if value.shape[:1] != (count,) or not np.isfinite(value).all():
        raise ValueError(f"feature {name!r} must be {count} finite rows, got an array {list(value.shape)}")
    return value


def number_rows(columns: list[np.ndarray], count: int) -> np.ndarray:
    """Number the distinct rows of columns [count, ...] side by side by rank, from 0."""
    if len(columns) == 1 and columns[0].ndim == 1:
        return np.unique(columns[0], return_inverse=True)[1]
    if not columns or count == 0:
        return np.zeros(count, dtype=np.int64)
    table = np.concatenate([column.reshape(count, -1).astype(np.float64) for column in columns], axis=1)
    return np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)


def _check_resolution(x: Data | Atoms, reach: float, symprec: float) -> None:
    """Raise ValueError if the numbers that hold the positions are coarser than the tolerance."""
    epsilon = torch.finfo(torch.float64 if isinstance(x, Atoms) else x.pos.dtype).eps
    if 8 * epsilon * reach > symprec:
        raise ValueError(
            f"positions reach {reach:.3g} Å from the origin, where their numbers are good to "
            f"{8 * epsilon * reach:.1g} Å, more than symprec = {symprec:g}: centre it or use float64"
        )
