"""Ways down from a symmetric structure: distortions that break its symmetry, and relaxations along them.

A structure with symmetry S never leaves it under symmetric forces. What it can become is told by representation
theory: its displacements [N, 3], rigid motions taken out, are a representation of S and decompose into irreps. In an
irrep W a subgroup K of S fixes the space Fix_W(K), the order parameter directions of K; K is an *isotropy subgroup*
if no larger group fixes the same space (Stokes & Hatch, *Isotropy Subgroups of the 230 Crystallographic Space
Groups*, World Scientific 1988). Where Fix_W(K) is one-dimensional and W is unstable, a stationary point of symmetry K
branches off (the equivariant branching lemma; Golubitsky, Stewart & Schaeffer, *Singularities and Groups in
Bifurcation Theory II*, Springer 1988).
"""

from pyg_symbreak.distort.displacements import irrep_amplitudes
from pyg_symbreak.distort.distortions import Distortion, distortions
from pyg_symbreak.distort.equivalence import same_structure
from pyg_symbreak.distort.relax import curvatures, relax
from pyg_symbreak.distort.relaxation import FLAT, Descent, Relaxation, Stationary
from pyg_symbreak.distort.tilt_systems import TILT_SYSTEMS, glazer, tilt_systems
from pyg_symbreak.distort.within import RelaxedDistortion, relax_within

__all__ = [
    "FLAT",
    "TILT_SYSTEMS",
    "Descent",
    "Distortion",
    "Relaxation",
    "RelaxedDistortion",
    "Stationary",
    "curvatures",
    "distortions",
    "glazer",
    "irrep_amplitudes",
    "relax",
    "relax_within",
    "same_structure",
    "tilt_systems",
]
