"""Symmetry groups: finite groups, point groups of O(3), their subgroups, normalizers and complements.

All of it is numpy: matrices, tables and irreps are arrays, and importing it imports neither torch nor e3nn. What
enters a network is a tensor, and is made by the packages above.
"""

from .characters import CharacterTable, character_table
from .finite_group import FiniteGroup, Subgroup
from .irreps import irreps_matrices, irreps_terms, wigner_d
from .isotropy import irreps_of, isotropy_subgroups, joint_isotropy_subgroups
from .lie import LieGroup
from .point_group import PointGroup, parent_group, require_inside
from .representation import (
    Representation,
    cyclic_group,
    dihedral_group,
    hom,
    symmetric_group,
    transversal_subgroup,
)
from .standard import axis_and_angle, rotation
from .symbols import parse_symbol

__all__ = [
    "CharacterTable",
    "FiniteGroup",
    "LieGroup",
    "PointGroup",
    "Representation",
    "Subgroup",
    "axis_and_angle",
    "character_table",
    "cyclic_group",
    "dihedral_group",
    "hom",
    "irreps_matrices",
    "irreps_of",
    "irreps_terms",
    "isotropy_subgroups",
    "joint_isotropy_subgroups",
    "parent_group",
    "parse_symbol",
    "require_inside",
    "rotation",
    "symmetric_group",
    "transversal_subgroup",
    "wigner_d",
]
