"""Layers and models that use symmetry breaking objects."""

from pyg_symbreak.nn.breaking_conv import BreakingConv
from pyg_symbreak.nn.edge_embedding import EdgeEmbedding
from pyg_symbreak.nn.gated_network import GatedNetwork
from pyg_symbreak.nn.symmetric_powers import SymmetricPowers

__all__ = ["BreakingConv", "EdgeEmbedding", "GatedNetwork", "SymmetricPowers"]
