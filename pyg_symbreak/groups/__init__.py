"""Symmetry groups: finite groups, point groups of O(3), their subgroups, normalizers and complements."""

from ._finite import FiniteGroup
from ._irreps import irreps_matrices, wigner_d
from ._point_group import PointGroup
from ._representation import Representation, cyclic_group, dihedral_group, symmetric_group, transversal_subgroup
from .lie import LieGroup

__all__ = [
    "FiniteGroup",
    "LieGroup",
    "PointGroup",
    "Representation",
    "cyclic_group",
    "dihedral_group",
    "irreps_matrices",
    "symmetric_group",
    "transversal_subgroup",
    "wigner_d",
]
