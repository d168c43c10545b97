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
from .group_indexed import BreakingSet, GroupIndexed, breaking_set, breaking_sets
from .input_indexed import InputIndexed, KernelObjects, input_breaking_set
from .node_fields import NodeBreakingSet, NodeFields
from .noise import Noise, NoiseObjects
from .protocol import Breaking, ListedObjects, Objects
from .sympe import GroupElement
from .target import (
    Target,
    largest_group,
    orbit_candidates,
    paired_object,
    read_target,
    target_changes,
    target_stabilizer,
)

__all__ = [
    "Breaking",
    "BreakingSet",
    "CosetBreakingSet",
    "GroupElement",
    "GroupIndexed",
    "InputIndexed",
    "InversionKernel",
    "KernelElements",
    "KernelObjects",
    "LatticeKernel",
    "ListedObjects",
    "NodeBreakingSet",
    "NodeFields",
    "Noise",
    "NoiseObjects",
    "Objects",
    "SetAnalysis",
    "Target",
    "analyze_set",
    "breaking_set",
    "breaking_sets",
    "canonicalize",
    "canonicalize_lattice",
    "coset_breaking_set",
    "input_breaking_set",
    "largest_group",
    "lattice_action",
    "lattice_points",
    "orbit_candidates",
    "paired_object",
    "read_target",
    "target_changes",
    "target_stabilizer",
]
