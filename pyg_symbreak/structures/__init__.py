"""Structures: reading and checking them, neighbours, and the distortion that leads from a parent to a distorted one.

Units and signs, everywhere in the library: lengths in Å, lattice vectors are the rows of ``cell``, positions
are Cartesian rows. A molecule carries ``cell`` = 0 and ``pbc`` = False, so that molecules and crystals share
a batch.

A distorted structure is a parent that was first displaced, then strained::

    pos' = (pos + u) U,   cell' = cell U,   U = 1 + strain symmetric,

with ``u`` the displacements [N, 3] in the parent's frame. :func:`apply_distortion` does it,
:func:`match_atoms` inverts it.
"""

from pyg_symbreak.files import read_structure

from .checks import LONGEST, MIN_DISTANCE, check_cell, check_structure, check_values, refuse_coincidence
from .conversion import (
    StructureArrays,
    array_of,
    bare_atoms,
    edge_index_of,
    from_ase,
    occupancy_kinds,
    structure_arrays,
    to_ase,
)
from .mark import mark_of, require_own_object
from .matching import (
    MAX_STRAIN,
    Match,
    NearestImages,
    apply_distortion,
    irreps_to_strain,
    match_atoms,
    match_of,
    nearest_assignment,
    polar,
    strain_to_irreps,
)
from .neighbors import neighbor_pairs, shortest_distance
from .rigid_motion import remove_rigid_motion
from .sending import from_bytes, to_bytes
from .tilts import GLAZER, Octahedra, Tilts, find_octahedra, parse_glazer

__all__ = [
    "GLAZER",
    "LONGEST",
    "MAX_STRAIN",
    "MIN_DISTANCE",
    "Match",
    "NearestImages",
    "Octahedra",
    "StructureArrays",
    "Tilts",
    "apply_distortion",
    "array_of",
    "bare_atoms",
    "check_cell",
    "check_structure",
    "check_values",
    "edge_index_of",
    "find_octahedra",
    "from_ase",
    "from_bytes",
    "irreps_to_strain",
    "mark_of",
    "match_atoms",
    "match_of",
    "nearest_assignment",
    "neighbor_pairs",
    "occupancy_kinds",
    "parse_glazer",
    "polar",
    "read_structure",
    "refuse_coincidence",
    "remove_rigid_motion",
    "require_own_object",
    "shortest_distance",
    "strain_to_irreps",
    "structure_arrays",
    "to_ase",
    "to_bytes",
]
