"""Symmetry groups: finite groups, point groups of O(3), their subgroups, normalizers and complements."""

from ._finite import FiniteGroup
from ._irreps import irreps_matrices, wigner_d
from ._point_group import PointGroup

__all__ = ["FiniteGroup", "PointGroup", "irreps_matrices", "wigner_d"]
