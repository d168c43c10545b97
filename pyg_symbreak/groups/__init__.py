"""Symmetry groups: finite groups, point groups of O(3), their subgroups, normalizers and complements."""
