"""PyG transforms that attach symmetry and symmetry breaking objects to a Data."""

from pyg_symbreak.transforms.neighbor_list import NeighborList

__all__ = ["NeighborList"]
