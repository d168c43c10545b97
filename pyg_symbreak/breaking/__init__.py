"""Sets of symmetry breaking objects, and the other ways to break symmetry."""

from ._abstract import CosetBreakingSet, coset_breaking_set
from ._analysis import SetAnalysis, analyze_set
from ._canonical import InversionKernel, KernelElements, canonicalize
from ._canonical_lattice import LatticeKernel, canonicalize_lattice, lattice_action, lattice_points
from ._input import input_breaking_set
from ._sets import BreakingSet, breaking_set, breaking_sets

__all__ = [
    "BreakingSet",
    "CosetBreakingSet",
    "InversionKernel",
    "KernelElements",
    "LatticeKernel",
    "SetAnalysis",
    "analyze_set",
    "breaking_set",
    "breaking_sets",
    "canonicalize",
    "canonicalize_lattice",
    "coset_breaking_set",
    "input_breaking_set",
    "lattice_action",
    "lattice_points",
]
