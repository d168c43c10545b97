"""Per-orbit aggregation: reductions over the orbits of a symmetry group, and the projector on symmetric features."""

from .methods import METHODS, resolve_method
from .orbits import Orbits
from .project import orbit_project
from .reduce import REDUCTIONS, orbit_broadcast, orbit_reduce

__all__ = [
    "METHODS",
    "REDUCTIONS",
    "Orbits",
    "orbit_broadcast",
    "orbit_project",
    "orbit_reduce",
    "resolve_method",
]
