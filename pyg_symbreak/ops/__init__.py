"""Per-orbit aggregation: reductions over the orbits of a symmetry group, and the projector on symmetric features."""

from ._methods import METHODS, resolve_method
from ._orbits import Orbits
from ._project import orbit_project
from ._reduce import REDUCTIONS, orbit_broadcast, orbit_reduce

__all__ = [
    "METHODS",
    "REDUCTIONS",
    "Orbits",
    "orbit_broadcast",
    "orbit_project",
    "orbit_reduce",
    "resolve_method",
]
