"""The structure that has a symmetry exactly, nearest to one that has it within a tolerance."""

import copy

import numpy as np
import torch
from ase import Atoms
from torch_geometric.data import Data

from pyg_symbreak.detect.crystal import averaged_crystal, crystal_displacements
from pyg_symbreak.detect.input import Structure
from pyg_symbreak.detect.molecule import molecule_displacements
from pyg_symbreak.detect.symmetry import Symmetry
from pyg_symbreak.structures import StructureArrays, check_structure

__all__ = ["displacements", "symmetrize", "symmetrized_arrays"]


def symmetrize(x: Data | Atoms, symmetry: Symmetry) -> Data | Atoms:
    """Average a structure over its symmetry.

    Each atom goes to the mean of what the inverse operations make of the atoms that it is carried to,
    ``mean over g of R_g^T (pos[permutations[g]] - translations[g])``; this is the orthogonal projection onto
    symmetric positions, so it moves no atom by more than ``symmetry.residual``, and a second time it moves
    nothing. The cell of a crystal becomes the nearest one whose metric is symmetric; the positions are averaged
    in fractional coordinates, and what is said of distances holds in the new cell.

    Parameters
    ----------
    x : Data or ase.Atoms
        The structure whose symmetry it is.
    symmetry : Symmetry
        What :func:`detect_symmetry` or :func:`approximate_symmetries` found of it.

    Returns
    -------
    Data or ase.Atoms
        A copy with other positions (and cell), of the same type and precision.

    Raises
    ------
    ValueError
        The symmetry belongs to a structure with another number of nodes.
    """
    atoms = check_structure(x)
    if len(atoms) != symmetry.num_nodes:
        raise ValueError(f"the structure has {len(atoms)} nodes, but the symmetry is one of {symmetry.num_nodes}")
    found = StructureArrays(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    _, positions, cell, pbc = symmetrized_arrays(found, symmetry)
    if isinstance(x, Atoms):
        out = x.copy()
        out.set_cell(cell)
        out.positions = positions
        return out
    data = copy.copy(x)
    data.pos = torch.from_numpy(positions).to(x.pos)
    if pbc.any():
        data.cell = torch.from_numpy(cell).to(x.cell).reshape(x.cell.shape)
    return data


def symmetrized_arrays(found: StructureArrays, symmetry: Symmetry) -> StructureArrays:
    """As :func:`symmetrize`, of the arrays of a structure that is known to have the symmetry."""
    structure = Structure(found.positions, found.cell, found.pbc, found.numbers)
    if found.pbc.any():
        positions, cell = averaged_crystal(structure, symmetry)
        return found._replace(positions=positions, cell=cell)
    return found._replace(positions=found.positions + molecule_displacements(structure, symmetry))


def displacements(structure: Structure, symmetry: Symmetry) -> np.ndarray:
    """How each atom moves when a structure is averaged over the group, [N, 3] Å."""
    move = crystal_displacements if structure.pbc.any() else molecule_displacements
    return move(structure, symmetry)
