"""Axial groups by arithmetic, beside the same groups by their multiplication tables."""

import numpy as np
import pytest
from explicit_groups import families

from pyg_symbreak.groups import FiniteGroup, PointGroup
from pyg_symbreak.groups.axial_group import AxialGroup

NAMES = ["C1", "Cs", "Ci", *(name for n in range(2, 9) for name in families(n)), "D9d", "C12h", "D12h", "S20", "C15v"]


def both(name):
    group = PointGroup(name).finite_group
    assert isinstance(group, AxialGroup)
    return group, FiniteGroup(group.table)


@pytest.mark.parametrize("name", NAMES)
def test_products_and_subgroups(name):
    group, plain = both(name)
    matrices = PointGroup(name).matrices
    line = np.arange(group.order)
    assert np.abs(matrices[group.product(line[:, None], line)] - matrices[:, None] @ matrices).max() < 1e-13
    assert (group.inverse == plain.inverse).all()
    assert group.identity == plain.identity
    assert group.element_classes == plain.element_classes
    assert group.subgroup_classes == plain.subgroup_classes


@pytest.mark.parametrize("name", ["C4h", "S8", "C6v", "D4", "D6", "D5d", "D4h", "D3h", "D8h", "D4d", "C2v", "D2h"])
def test_what_is_asked_of_subgroups(name):
    """Generation, conjugates, normalizers, transversals, largest avoiding subgroups."""
    group, plain = both(name)
    rng = np.random.default_rng(group.order)
    for _ in range(20):
        chosen = rng.integers(group.order, size=rng.integers(1, 4)).tolist()
        assert group.generate(chosen) == plain.generate(chosen)
    for s_class in plain.subgroup_classes:
        s = s_class[rng.integers(len(s_class))]
        assert group.conjugates(s) == plain.conjugates(s) == s_class
        inside = group.generate(rng.integers(group.order, size=2))
        assert group.conjugates(s, under=inside) == plain.conjugates(s, under=inside)
        assert group.normalizer(s) == plain.normalizer(s)
        assert group.normalizer(s, inside=inside) == plain.normalizer(s, inside=inside)
        assert group.transversal(s, range(group.order)) == plain.transversal(s, range(group.order))
        for k in (k for members in plain.subgroup_classes for k in members[:2] if set(k) <= set(s)):
            assert group.first_conjugate(s, k) == plain.first_conjugate(s, k)
            n = group.generalized_normalizer(s, k)
            assert n == plain.generalized_normalizer(s, k)
            ours, theirs = (g.largest_avoiding_subgroups(n, s, k) for g in (group, plain))
            assert len(ours) == len(theirs)
            assert all(any(plain.is_conjugate(a, b, under=n) for b in theirs) for a in ours)
            assert all(set(a) & set(s) == set(k) for a in ours)
            frame = plain.normalizer(k, inside=n)
            ours, theirs = (list(g.avoiding_subgroups(n, s, k)) for g in (group, plain))
            classes = {min(plain.conjugates(m, under=frame)) for m in theirs}
            assert sorted(ours) == sorted(classes)
            assert group.complements(n, s, k) == [m for m in ours if len(m) * len(s) == len(n) * len(k)][: len(ours)]
