"""Sets of symmetry breaking objects, and the other ways to break symmetry."""

from ._sets import BreakingSet, breaking_set, breaking_sets

__all__ = ["BreakingSet", "breaking_set", "breaking_sets"]
