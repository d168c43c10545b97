"""Which symmetry an input has: molecules, crystals, graphs."""

from typing import Any

import numpy as np
import torch

from pyg_symbreak.detect.attached import symmetry_of
from pyg_symbreak.detect.detection import approximate_symmetries, detect_symmetries, detect_symmetry
from pyg_symbreak.detect.graph import GraphSymmetry, PermutationGroup
from pyg_symbreak.detect.input import Features, feature, number_rows, require_features
from pyg_symbreak.detect.normalizer import Normalizer
from pyg_symbreak.detect.subgroup import (
    SpaceGroup,
    SymmetrySubgroup,
    hermite_form,
    identify_space_group,
    integer_rotations,
    point_order,
    primitive_operations,
    space_group_numbers,
)
from pyg_symbreak.detect.symmetrization import symmetrize, symmetrized_arrays
from pyg_symbreak.detect.symmetry import Operations, Supercell, Symmetry, operations_group
from pyg_symbreak.detect.wave_vectors import WaveVectors
from pyg_symbreak.groups import PointGroup

__all__ = [
    "Features",
    "GraphSymmetry",
    "Normalizer",
    "Operations",
    "PermutationGroup",
    "SpaceGroup",
    "Supercell",
    "Symmetry",
    "SymmetrySubgroup",
    "WaveVectors",
    "approximate_symmetries",
    "detect_symmetries",
    "detect_symmetry",
    "feature",
    "hermite_form",
    "identify_space_group",
    "integer_rotations",
    "number_rows",
    "operations_group",
    "point_order",
    "primitive_operations",
    "require_features",
    "space_group_numbers",
    "symmetrize",
    "symmetrized_arrays",
    "symmetry_of",
]

# What a symmetry is made of, so that data sets that hold some are loaded with torch.load(weights_only=True).
_array: Any = np.empty(0).__reduce__()[0]
_made_of = [GraphSymmetry, Operations, PermutationGroup, PointGroup, SpaceGroup, Supercell, Symmetry]
_kinds = (float, int, bool, np.uint8, np.uint16, np.uint32)
torch.serialization.add_safe_globals([*_made_of, _array, np.ndarray, np.dtype, bytes])
torch.serialization.add_safe_globals(list({type(np.dtype(kind)) for kind in _kinds}))
