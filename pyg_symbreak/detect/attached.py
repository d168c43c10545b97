"""Whether the symmetry that a Data carries is still its own."""

import math
from typing import Literal

import numpy as np
import torch
from torch_geometric.data import Data

from pyg_symbreak.detect.crystal import Crystal
from pyg_symbreak.detect.detection import detect_symmetry
from pyg_symbreak.detect.graph import GraphSymmetry, read_graph
from pyg_symbreak.detect.input import Features, read_structure
from pyg_symbreak.detect.symmetry import Symmetry

__all__ = ["symmetry_of"]


def symmetry_of(
    data: Data, symprec: float | Literal["auto"] = 1e-3, features: Features = ()
) -> Symmetry | GraphSymmetry:
    """The symmetry that the data carry, if its operations hold, or the detected one.

    Operations hold if they carry atoms (or arcs) to such of their kind, told apart by ``z`` and the features, within
    the tolerance that they were found with. One that was found with more features, and is smaller for that, is taken
    as it is.

    Raises
    ------
    ValueError
        ``data.symmetry`` has operations that do not hold.
    """
    known = data.get("symmetry")
    if known is None:
        return detect_symmetry(data, symprec, features=features)
    if isinstance(known, Symmetry):
        what = "these positions, z and features"
        holds = known.num_nodes == data.num_nodes and _still_maps_atoms(data, known, features)
    else:
        what = "this graph, its z and features"
        holds = known.num_nodes == data.num_nodes and _still_maps_graph(data, known, features)
    if not holds:
        raise ValueError(
            f"data.symmetry is not the symmetry of {what} any more: they were changed, or nodes renumbered or removed, "
            "after AddSymmetry, or it did not know of these features; apply AddSymmetry again or delete data.symmetry"
        )
    return known


def _still_maps_atoms(data: Data, known: Symmetry, features: Features) -> bool:
    """Whether each operation carries each atom to one of its kind, and the lattice to itself, within its tolerance."""
    structure = read_structure(data, features, math.inf)
    rotations, translations, permutations = known.cosets
    steps = permutations if known.supercell is None else np.concatenate([permutations, known.supercell.permutations])
    if (structure.kinds[steps] != structure.kinds).any():
        return False
    if structure.pbc.any():
        if known.supercell is None:
            return False
        found = Crystal(structure).refitted(known)
        worst = found.residual + np.linalg.norm(found.moves, axis=1).max()
    else:
        x = structure.positions
        worst = np.linalg.norm(x[permutations] - x @ rotations.swapaxes(1, 2) - translations[:, None], axis=-1).max()
    if structure.tensors:
        worst = max(worst, structure.misses(known.rotations.numpy(), known.permutations.numpy()).max())
    if known.continuous is not None:  # the operations listed do not say that the atoms are on the axis
        worst = max(worst, 2 * np.linalg.norm(_off_axis(structure.positions, known), axis=1).max())
    round_off = 1e-9 + 8 * torch.finfo(data.pos.dtype).eps * max(structure.reach, np.abs(structure.cell).max())
    return bool(worst <= known.symprec + round_off)


def _off_axis(positions: np.ndarray, known: Symmetry) -> np.ndarray:
    """How far atoms on a line, [N, 3], are from its axis."""
    assert known.kernel is not None
    axis = known.kernel.frame[:, 2]
    x = positions - positions.mean(0)
    return x - np.outer(x @ axis, axis)


def _still_maps_graph(data: Data, known: GraphSymmetry, features: Features) -> bool:
    """Whether the graph has the arcs, in any order, that the symmetry was found of, and no finer colors and labels."""
    colors, arcs, labels = known.graph
    found_colors, edges, found_labels = read_graph(data, features)
    rows, expected = np.lexsort([found_labels, *edges[::-1]]), np.lexsort([labels, *arcs[::-1]])
    if not np.array_equal(edges[:, rows], arcs[:, expected]):
        return False
    return _refines(colors, found_colors) and _refines(labels[expected], found_labels[rows])


def _refines(finer: np.ndarray, coarser: np.ndarray) -> bool:
    """Whether what has the same number of the one kind has the same of the other; if both divide alike, the same."""
    pairs = np.unique(np.stack([finer, coarser]), axis=1)
    same = len(np.unique(coarser)) == pairs.shape[1]
    return np.array_equal(finer, coarser) if same else len(np.unique(finer)) == pairs.shape[1]
