"""Which symmetry an input has: molecules, crystals, graphs."""

from pyg_symbreak.detect._detect import approximate_symmetries, detect_symmetries, detect_symmetry
from pyg_symbreak.detect._graph_symmetry import GraphSymmetry, PermutationGroup
from pyg_symbreak.detect._symmetrize import symmetrize
from pyg_symbreak.detect._symmetry import SpaceGroup, Symmetry

__all__ = [
    "GraphSymmetry",
    "PermutationGroup",
    "SpaceGroup",
    "Symmetry",
    "approximate_symmetries",
    "detect_symmetries",
    "detect_symmetry",
    "symmetrize",
]
