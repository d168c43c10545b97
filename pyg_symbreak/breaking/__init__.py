"""Sets of symmetry breaking objects, and the other ways to break symmetry."""

from .analysis import SetAnalysis, analyze_set
from .canonical import (
    InversionKernel,
    KernelElements,
    LatticeKernel,
    canonicalize,
    canonicalize_lattice,
    lattice_action,
    lattice_points,
)
from .coset import CosetBreakingSet, coset_breaking_set
from .group_indexed import BreakingSet, breaking_set, breaking_sets
from .input_indexed import input_breaking_set

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
