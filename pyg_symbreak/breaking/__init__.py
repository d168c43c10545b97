"""Sets of symmetry breaking objects, and the other ways to break symmetry."""

from ._abstract import CosetBreakingSet, coset_breaking_set
from ._analysis import SetAnalysis, analyze_set
from ._canonical import InversionKernel, KernelElements, canonicalize
from ._input import input_breaking_set
from ._sets import BreakingSet, breaking_set, breaking_sets

__all__ = [
    "BreakingSet",
    "CosetBreakingSet",
    "InversionKernel",
    "KernelElements",
    "SetAnalysis",
    "analyze_set",
    "breaking_set",
    "breaking_sets",
    "canonicalize",
    "coset_breaking_set",
    "input_breaking_set",
]
