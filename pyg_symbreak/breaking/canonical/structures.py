"""The canonical frame, or setting, of a structure with positions.

Frames are built from the structure itself, so that they turn with it: from pairs of atoms of a molecule, from
shortest bases of the lattice of a crystal. In each frame a generic function of the coordinates, a sum over the atoms,
is evaluated. Two frames have the same value exactly if the structure looks the same in both, that is if an operation
of its symmetry carries one into the other; the frames of the least value are one orbit of the symmetry. The structure
is first averaged over its symmetry, so that this holds to round-off. Of molecules this is compiled, see
``csrc/canonical.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase.geometry import minkowski_reduce
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak import _native
from pyg_symbreak.detect import Symmetry, feature, number_rows, symmetrized_arrays
from pyg_symbreak.structures import StructureArrays, structure_arrays

__all__ = [
    "DIRECTION",
    "TIE",
    "Setting",
    "canonical_setting",
    "canonical_structure",
    "generic_function",
    "periodic_function",
]

TIE = 1e-9
"""Relative difference up to which two values of the generic function are equal."""
SAME = 1.0937e-6
"""Relative difference up to which two lengths are equal. Not a round number, as those of structures often are."""
DIRECTION = np.array([0.8147236863931789, 0.5463472918371625, -0.1946120395827153])
PHASES = np.array([0.1379, 0.4142, 0.2361])
MIXING = np.array([[0.8312, 0.4117, -0.2935], [-0.3728, 1.1246, 0.5361], [0.1943, -0.6172, 0.9724]])
"""Numbers without relations: those that make the generic functions generic."""
PERIODS = {3: 1.0, 2: np.array([1.0, 1.0, 0.3183]), 1: np.array([1.0, 0.3183, 0.3183])}
"""By the number of lattice vectors: periods of the function along them and, of slabs and rods, across them."""
DECAY = 0.7
"""Ratio of the Fourier coefficients of :func:`periodic_function`, of one order and the one before."""
CONSTANTS = np.concatenate([MIXING.ravel(), PHASES, DIRECTION, [DECAY, SAME, TIE]])
"""All of these, as the compiled search for the frames of molecules takes them, see ``csrc/canonical.h``."""


def periodic_function(t: np.ndarray) -> np.ndarray:
    """A function [...] of three phases [..., 3] with all Fourier coefficients.

    The product of three Poisson kernels. What tells a group from one with mirrors, say I from I_h, shows in high
    orders only, and those of smoother functions are lost in round-off.
    """
    return ((1 - DECAY**2) / (1 + DECAY**2 - 2 * DECAY * np.cos(2 * np.pi * (t - PHASES)))).prod(-1)


def generic_function(points: np.ndarray) -> np.ndarray:
    """A function [...] of points [..., 3] around the origin, at distances of about 1, without any symmetry."""
    return periodic_function(points @ MIXING.T)


@dataclass(frozen=True, eq=False)
class Setting:
    """One of the frames in which a structure looks as its canonical form.

    Attributes
    ----------
    rotation : Tensor
        float64 [3, 3]: the axes of the frame are the columns.
    ranks : array [N]
        Place of each node in the canonical order.
    positions : array [N, 3]
        Of the nodes in their given order, in the frame.
    cell : array [3, 3], optional
        In the frame.
    """

    rotation: Tensor
    ranks: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None


def canonical_setting(data: Data, symmetry: Symmetry, features: Sequence[str]) -> Setting:
    """A canonical frame of a structure whose symmetry is known; the others are its images under the symmetry.

    Raises
    ------
    ValueError
        The symmetry is continuous, or not that of the positions, ``z`` and features.
    """
    if symmetry.continuous is not None:
        raise ValueError(
            f"the structure is linear or a single atom: its symmetry {symmetry.group.schoenflies} is continuous, and "
            "infinitely many frames are alike. Use the group-indexed set, breaking_set(detect_symmetry(data).group), "
            "or AddSymmetryBreaking('group')"
        )
    kinds = _kinds(data, features)
    if data.get("pbc") is not None and bool(data.pbc.any()):
        exact = symmetrized_arrays(structure_arrays(data), symmetry)
        rotation, positions, cell, ties, expected = _crystal_frame(exact, kinds, symmetry)
        ranks = np.empty(len(kinds), dtype=np.int64)
        ranks[np.lexsort([positions @ DIRECTION, kinds])] = np.arange(len(kinds))
    else:
        rotation, positions, ranks, ties = _molecular_frame(data.pos.detach().cpu().double().numpy(), kinds, symmetry)
        cell, expected = None, int(symmetry.order)
    if ties != expected:
        raise ValueError(
            f"{ties} frames are alike, the symmetry of order {symmetry.order} makes {expected}: if data.symmetry "
            "was found with features, give their names here as well, else detect it anew with another symprec"
        )
    return Setting(torch.from_numpy(rotation), ranks, positions, cell)


def _molecular_frame(
    positions: np.ndarray, kinds: np.ndarray, symmetry: Symmetry
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """A frame of least energy, the averaged positions and the ranks in it, and the number of such frames."""
    rotations, _, permutations = map(np.ascontiguousarray, symmetry.cosets)
    found = _native.canonical_frame(np.ascontiguousarray(positions), kinds, rotations, permutations, CONSTANTS)
    rotation, places, ranks, ties = found
    return (
        np.frombuffer(rotation).reshape(3, 3),
        np.frombuffer(places).reshape(-1, 3),
        np.frombuffer(ranks, dtype=np.int64),
        ties,
    )


def canonical_structure(out: Data, data: Data, setting: Setting, order: Tensor) -> Data:
    """Put positions and cell of the canonical form into the Data that holds the features of its nodes."""
    out.pos = torch.from_numpy(setting.positions)[order].to(data.pos.device)
    if setting.cell is not None:
        out.cell = torch.from_numpy(setting.cell)[None].to(data.pos.device)
        out.pbc = data.pbc.sort(descending=True).values  # as the vectors of the cell are now
    return out


def _kinds(data: Data, features: Sequence[str]) -> np.ndarray:
    """Number of the kind of each atom: atomic number and features."""
    names = ["z", *features] if data.get("z") is not None else list(features)
    return number_rows([feature(data, name, len(data.pos)) for name in names], len(data.pos))


def _levels(values: np.ndarray) -> np.ndarray:
    """Numbers of the distinct values, in their order; values closer than SAME of the largest are one."""
    flat = values.ravel()
    order = np.argsort(flat)
    steps = np.diff(flat[order], prepend=flat[order[:1]]) > SAME * np.abs(flat).max(initial=1e-300)
    out = np.empty(len(flat), dtype=np.int64)
    out[order] = np.cumsum(steps)
    return out.reshape(values.shape)


def _highest(values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Positions of the values of the highest level."""
    levels = _levels(values)
    return np.nonzero(levels == levels.max())


def _rarest(kinds: np.ndarray) -> np.ndarray:
    """Positions of the kind that is the rarest, the first of such kinds."""
    _, of, sizes = np.unique(kinds, return_inverse=True, return_counts=True)
    return np.flatnonzero(of == np.argmin(sizes))


def _ties(values: np.ndarray) -> np.ndarray:
    """Positions of the least values."""
    return np.flatnonzero(values <= values.min() + TIE * np.abs(values).max())


# ---------------------------------------------------------------------- crystals, slabs and rods


def _crystal_frame(
    atoms: StructureArrays, kinds: np.ndarray, symmetry: Symmetry
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """A frame of least energy, positions and cell in it, the number of such frames and the number expected.

    A setting is a shortest basis of the lattice and an atom of the rarest kind at the origin, one of each orbit.
    """
    bases = _rod_bases(atoms, kinds) if atoms.pbc.sum() == 1 else _shortest_bases(atoms)
    rarest = _rarest(kinds)
    orbits = symmetry.orbits.numpy()
    _, first = np.unique(orbits[rarest], return_index=True)
    origins = rarest[np.sort(first)]
    energies = _cell_energies(atoms, kinds, np.linalg.inv(bases), origins)
    ties = _ties(energies.ravel())
    origin, basis = origins[ties[0] // len(bases)], bases[ties[0] % len(bases)]
    expected = int(symmetry.order) // int((orbits == orbits[origin]).sum())
    upper, lower = np.linalg.qr(basis.T)
    rotation = upper * np.sign(np.diag(lower))
    fractional = (atoms.positions - atoms.positions[origin]) @ np.linalg.inv(basis)
    fractional -= np.floor(fractional + SAME) * _periodic(atoms)
    cell = basis @ rotation
    return rotation, fractional @ cell, cell, len(ties), expected


def _periodic(atoms: StructureArrays) -> np.ndarray:
    """Which vectors of a basis are vectors of the lattice: those of a slab are the first two."""
    return np.arange(3) < atoms.pbc.sum()


def _cell_energies(atoms: StructureArrays, kinds: np.ndarray, inverses: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Generic function of the fractional coordinates in each basis, with each of some atoms at the origin, [o, n]."""
    fractional = (atoms.positions - atoms.positions[origins][:, None, None]) @ inverses
    return periodic_function(fractional * PERIODS[int(atoms.pbc.sum())]) @ np.sqrt(2.0 + kinds)


def _rod_bases(atoms: StructureArrays, kinds: np.ndarray) -> np.ndarray:
    """Bases of the period of a rod, either way, a direction from the axis to an atom, and one across both, [n, 3, 3].

    The atoms are of the rarest class of those that are furthest from the axis.
    """
    (period,) = atoms.cell[atoms.pbc]
    centred = atoms.positions - atoms.positions.mean(0)
    across = centred - np.outer(centred @ period, period) / (period @ period)
    furthest = _highest(np.linalg.norm(across, axis=1))[0]
    first = across[furthest[_rarest(kinds[furthest])]]
    apart = np.linalg.norm(first[:, None] - first, axis=2) < SAME * np.abs(first).max()
    first = first[apart.argmax(1) == np.arange(len(first))]  # atoms above each other have one direction
    second = np.cross(period, first) / np.linalg.norm(period)
    bases = np.stack([np.broadcast_to(period, first.shape), first, second], 1)
    return np.concatenate([bases * np.array([[s], [1], [t]]) for s in (1, -1) for t in (1, -1)])


def _shortest_bases(atoms: StructureArrays) -> np.ndarray:
    """All bases of the lattice with the least matrix of scalar products, float64 [n, 3, 3], vectors as rows.

    The lattice of a slab is completed by a normal, up or down, as long as its shortest vector.
    """
    reduced = np.asarray(minkowski_reduce(atoms.cell, atoms.pbc)[0])[atoms.pbc]
    if len(reduced) == 3:
        return np.frombuffer(_native.shortest_bases(np.ascontiguousarray(reduced), 3, SAME)).reshape(-1, 3, 3)
    normal = np.cross(*reduced)
    normal *= np.linalg.norm(reduced, axis=1).min() / np.linalg.norm(normal)
    found = _native.shortest_bases(np.stack([*reduced, normal]), 2, SAME)
    bases = np.frombuffer(found).reshape(-1, 3, 3).copy()
    bases[:, 2] *= np.sign(np.linalg.det(bases))[:, None]  # the normal of each
    return np.concatenate([bases * [[1], [1], [sign]] for sign in (1, -1)])
