"""Reductions over the orbits of a symmetry group, the projector on symmetric features, sums of tensor products."""

from .block_linear import Columns, LinearBlocks, block_linear
from .methods import METHODS, resolve_method
from .orbits import Orbits
from .project import orbit_project
from .reduce import REDUCTIONS, orbit_broadcast, orbit_reduce
from .tensor_product import TensorProductPaths, sum_tensor_products

__all__ = [
    "METHODS",
    "REDUCTIONS",
    "Columns",
    "LinearBlocks",
    "Orbits",
    "TensorProductPaths",
    "block_linear",
    "orbit_broadcast",
    "orbit_project",
    "orbit_reduce",
    "resolve_method",
    "sum_tensor_products",
]
