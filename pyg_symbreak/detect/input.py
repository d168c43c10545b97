"""What detection reads of a structure, the same for PyG Data and ase.Atoms.

Distances between atoms are measured by compiled code, see ``csrc/molecule.h``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from e3nn import o3
from torch_geometric.data import Batch, Data

from pyg_symbreak import _native
from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.structures import (
    LONGEST,
    MIN_DISTANCE,
    StructureArrays,
    array_of,
    check_cell,
    check_structure,
    occupancy_kinds,
    shortest_distance,
    structure_arrays,
)

__all__ = ["Features", "Structure", "feature", "invariant_names", "number_rows", "read_structure", "require_features"]

Features = Sequence[str] | Mapping[str, str]
"""Names of features, or names with the irreps by which they transform."""

ELEMENTS = frozenset(range(len(chemical_symbols)))
EPSILON = torch.finfo(torch.float64).eps

SEARCHED = 1.0
"""Distances, Å, that are looked for at once: a search for shorter ones takes as long."""


@dataclass(frozen=True)
class Structure:
    """Positions [N, 3] and cell [3, 3] (rows), Å; periodic directions [3]; the kind of each atom and its number [N].

    Features of the atoms that transform are pairs of irreps and values [N, irreps.dim], whose largest row has norm 1.
    """

    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    kinds: np.ndarray
    tensors: tuple[tuple[o3.Irreps, np.ndarray], ...] = ()
    numbers: np.ndarray | None = None

    @cached_property
    def _extent(self) -> tuple[float, float]:
        return _native.measure(self.positions)

    @property
    def shortest(self) -> float:
        """Shortest distance between two atoms, Å, images aside; infinite if there is one atom only."""
        return self._extent[0]

    @cached_property
    def _nearest(self) -> float:
        return self._search(SEARCHED)

    def shortest_within(self, cutoff: float) -> float:
        """Shortest distance between two atoms or an atom and its image, Å; the cutoff if all are longer."""
        known = self._nearest
        return min(known, cutoff) if cutoff <= SEARCHED or known < SEARCHED else self._search(cutoff)

    def _search(self, cutoff: float) -> float:
        return shortest_distance(self.positions, self.cell, self.pbc, cutoff)

    def misses(self, rotations: np.ndarray, permutations: np.ndarray) -> np.ndarray:
        """Largest |D(g) v_i - v_g(i)| of the tensors v under each operation g, [order]; 0 without tensors."""
        out = np.zeros(len(rotations))
        for irreps, values in self.tensors:
            miss = values[permutations] - values @ irreps_matrices(irreps, rotations).swapaxes(1, 2)
            np.maximum(out, np.linalg.norm(miss, axis=-1).max(1), out=out)
        return out

    @property
    def reach(self) -> float:
        """Largest coordinate, Å; NaN if one is not finite."""
        return self._extent[1]


def read_structure(x: Data | Atoms, features: Features, symprec: float) -> Structure:
    """Take positions, cell, periodicity and kinds of atoms, or say what is wrong with them.

    Two atoms are of one kind if their atomic numbers and all of the named node features that do not transform are
    equal.

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
    if isinstance(symprec, bool) or not isinstance(symprec, int | float | np.floating):
        raise TypeError(f"symprec must be a distance in Å or 'auto', got {symprec!r}")
    if not symprec > 0:
        raise ValueError(f"symprec must be a positive distance in Å, got {symprec}")
    found = (
        StructureArrays(x.numbers, x.positions, x.cell.array, x.pbc) if isinstance(x, Atoms) else structure_arrays(x)
    )
    numbers, positions, cell, pbc = found
    count = len(numbers)
    kinds, invariant = numbers, [feature(x, name, count) for name in invariant_names(features)]
    mixtures = occupancy_kinds(x) if isinstance(x, Atoms) else x.get("occupancy_kind")
    if mixtures is not None:
        invariant.append(np.asarray(mixtures))
    if invariant:
        kinds = number_rows([kinds, *invariant], count)
    structure = Structure(
        np.ascontiguousarray(positions, dtype=np.float64),
        cell,
        pbc,
        np.ascontiguousarray(kinds, dtype=np.int64),
        _tensors(x, features, count) if isinstance(features, Mapping) else (),
        numbers,
    )
    shortest, reach = structure._extent
    sound = (
        count > 0
        and shortest >= MIN_DISTANCE
        and reach + (np.abs(cell).max() if cell.any() else 0.0) <= LONGEST  # nor of what is not finite
        and ELEMENTS.issuperset(numbers.tolist())
    )
    if sound and pbc.any():
        check_cell(cell, pbc)
        sound = structure.shortest_within(MIN_DISTANCE) >= MIN_DISTANCE
    if not sound:
        check_structure(found.atoms())
    _check_resolution(x, reach, symprec)
    return structure


def require_features(features: Features) -> Features:
    """The features as a mapping or a tuple of names.

    Raises
    ------
    TypeError
        They are something else.
    """
    if isinstance(features, str) or not isinstance(features, Sequence | Mapping):
        raise TypeError(f"features must be a list of names, or a mapping of names to irreps, got {features!r}")
    odd = [name for name in features if not isinstance(name, str)]
    if odd:
        raise TypeError(f"features holds {odd[0]!r}, which is no name of an attribute")
    return features if isinstance(features, Mapping) else tuple(features)


def invariant_names(features: Features) -> list[str]:
    """Names of the features whose irreps, if any are given, are all 0e.

    Raises
    ------
    ValueError
        What is given for a feature is not irreps.
    """
    if features == ():
        return []
    features = require_features(features)
    if not isinstance(features, Mapping):
        return list(features)
    return [name for name, irreps in features.items() if _is_invariant(_irreps(name, irreps))]


def _is_invariant(irreps: o3.Irreps) -> bool:
    return all(ir.is_scalar() for _, ir in irreps)


def _irreps(name: str, given: str | o3.Irreps) -> o3.Irreps:
    problem = f"feature {name!r} must have irreps such as '1o' or '2x0e+1e', got {given!r}"
    if not isinstance(given, str | o3.Irreps):
        raise ValueError(problem)
    try:
        return o3.Irreps(given)
    except ValueError as error:
        raise ValueError(problem) from error


def _tensors(x: Data | Atoms, features: Mapping[str, str], count: int) -> tuple[tuple[o3.Irreps, np.ndarray], ...]:
    """Features that transform, scaled so that the largest row has norm 1; those that are zero are left out."""
    out = []
    for name, given in features.items():
        irreps = _irreps(name, given)
        if _is_invariant(irreps):
            continue
        value = feature(x, name, count).astype(np.float64)
        if value.shape != (count, irreps.dim):
            raise ValueError(f"feature {name!r} must be {irreps} [{count}, {irreps.dim}], got {list(value.shape)}")
        largest = np.linalg.norm(value, axis=1).max(initial=0)
        if largest > 0:
            out.append((irreps, value / largest))
    return tuple(out)


def feature(x: Data | Atoms, name: str, count: int) -> np.ndarray:
    """Feature of a structure, one row for each of so many nodes (or edges)."""
    named = x.arrays if isinstance(x, Atoms) else x
    if name not in named:
        raise ValueError(f"features names {name!r}, which the structure does not have")
    value = named[name]
    value = array_of(value, f"feature {name!r}", f"[{count}, ...]") if isinstance(x, Data) else np.asarray(value)
    if value.dtype.kind not in "biufc" or value.shape[:1] != (count,) or not np.isfinite(value).all():
        raise ValueError(
            f"feature {name!r} must be {count} finite rows of numbers, got {value.dtype} {list(value.shape)}"
        )
    return value


def number_rows(columns: list[np.ndarray], count: int) -> np.ndarray:
    """Number the distinct rows of columns [count, ...] side by side by rank, from 0."""
    if len(columns) == 1 and columns[0].ndim == 1:
        return np.unique(columns[0], return_inverse=True)[1]
    if not columns or count == 0:
        return np.zeros(count, dtype=np.int64)
    ranks = [np.zeros(count, dtype=np.int64)]
    ranks += [np.unique(c, return_inverse=True)[1] for column in columns for c in column.reshape(count, -1).T]
    return np.unique(np.stack(ranks, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def _check_resolution(x: Data | Atoms, reach: float, symprec: float) -> None:
    """Raise ValueError if the numbers that hold the positions are coarser than the tolerance."""
    if isinstance(x, Atoms):
        epsilon = EPSILON
    elif x.pos.is_floating_point():
        epsilon = torch.finfo(x.pos.dtype).eps
    else:
        raise ValueError(f"pos is of {x.pos.dtype}: positions in Å are floating point numbers, use pos.double()")
    if 8 * epsilon * reach > symprec:
        raise ValueError(
            f"positions reach {reach:.3g} Å from the origin, where their numbers are good to "
            f"{8 * epsilon * reach:.1g} Å, more than symprec = {symprec:g}: centre it or use float64"
        )
