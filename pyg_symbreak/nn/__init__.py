"""Layers and models that use symmetry breaking objects."""

from pyg_symbreak.nn.breaking_conv import BreakingConv
from pyg_symbreak.nn.breaking_edge_invariants import BreakingEdgeInvariants
from pyg_symbreak.nn.edge_embedding import EdgeEmbedding
from pyg_symbreak.nn.encode_process_decode import EncodeProcessDecode
from pyg_symbreak.nn.equivariant_linear import EquivariantLinear
from pyg_symbreak.nn.equivariant_mlp import EquivariantActivation, EquivariantMLP
from pyg_symbreak.nn.finite_canonicalizer import FiniteCanonicalizer
from pyg_symbreak.nn.force_field import ForceField
from pyg_symbreak.nn.gated_network import GatedNetwork
from pyg_symbreak.nn.group_conv import GroupConv
from pyg_symbreak.nn.learned_breaking import LearnedBreaking, ObjectAdam, curie_gradient, fit_breaking
from pyg_symbreak.nn.orbit_aggregation import OrbitAggregation
from pyg_symbreak.nn.orbit_exchange import OrbitExchange
from pyg_symbreak.nn.orbit_project import OrbitProject
from pyg_symbreak.nn.orbital_colors import OrbitalColors
from pyg_symbreak.nn.potential import Potential
from pyg_symbreak.nn.relaxed_linear import RelaxedLinear
from pyg_symbreak.nn.relaxed_mlp import RelaxedMLP
from pyg_symbreak.nn.symmetric_powers import SymmetricPowers
from pyg_symbreak.nn.sympe import SymPE
from pyg_symbreak.nn.with_breaking import WithBreaking

__all__ = [
    "BreakingConv",
    "BreakingEdgeInvariants",
    "EdgeEmbedding",
    "EncodeProcessDecode",
    "EquivariantActivation",
    "EquivariantLinear",
    "EquivariantMLP",
    "FiniteCanonicalizer",
    "ForceField",
    "GatedNetwork",
    "GroupConv",
    "LearnedBreaking",
    "ObjectAdam",
    "OrbitAggregation",
    "OrbitExchange",
    "OrbitProject",
    "OrbitalColors",
    "Potential",
    "RelaxedLinear",
    "RelaxedMLP",
    "SymPE",
    "SymmetricPowers",
    "WithBreaking",
    "curie_gradient",
    "fit_breaking",
]
