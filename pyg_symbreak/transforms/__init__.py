"""PyG transforms that attach symmetry and symmetry breaking objects to a Data."""

from pyg_symbreak.transforms.add_symmetry import AddSymmetry
from pyg_symbreak.transforms.add_symmetry_breaking import AddSymmetryBreaking, ObjectBatch
from pyg_symbreak.transforms.neighbor_list import NeighborList
from pyg_symbreak.transforms.orbit_individualization import OrbitIndividualization

__all__ = ["AddSymmetry", "AddSymmetryBreaking", "NeighborList", "ObjectBatch", "OrbitIndividualization"]
