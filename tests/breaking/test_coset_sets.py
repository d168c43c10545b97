import itertools

import numpy as np
import pytest

from pyg_symbreak.breaking import breaking_set, coset_breaking_set
from pyg_symbreak.groups import FiniteGroup, PointGroup


def index(group, element):
    flat = group.elements.reshape(group.order, -1)
    return int(np.flatnonzero((np.abs(flat - np.ravel(element)) < 1e-6).all(1))[0])


def symmetric(k):
    return FiniteGroup.from_permutations([[1, 0, *range(2, k)], [*range(1, k), 0]])


def check_action(b):
    """The normalizer permutes the objects transitively; the first is fixed by M, and S fixes of it what is kept."""
    n = list(b.normalizer)
    assert b.action.shape == (len(n), b.size)
    assert (np.sort(b.action, 1) == np.arange(b.size)).all()
    assert set(b.action[:, 0].tolist()) == set(range(b.size))
    at = {g: i for i, g in enumerate(n)}
    for x, y in itertools.product(n[:: max(len(n) // 12, 1)], repeat=2):
        assert (b.action[at[int(b.parent.table[x, y])]] == b.action[at[x]][b.action[at[y]]]).all()
    assert tuple(g for g in n if b.action[at[g], 0] == 0) == tuple(sorted(b.stabilizer))
    assert [int(b.action[at[g], 0]) for g in b.representatives] == list(range(b.size))
    orbits = {frozenset(b.action[[at[g] for g in b.group], j].tolist()) for j in range(b.size)}
    assert len(orbits) == b.degeneracy
    assert tuple(g for g in b.group if b.action[at[g], 0] == 0) == b.kept


def t5():
    """Two copies of ⟨r, s, c | r², s⁴, (rs)², c², [s, c], (rc)⁴⟩, of order 32, by coset enumeration."""
    free_groups = pytest.importorskip("sympy.combinatorics.free_groups")
    from sympy.combinatorics.fp_groups import FpGroup

    free, r, s, c = free_groups.free_group("r, s, c")
    presented = FpGroup(free, [r**2, s**4, (r * s) ** 2, c**2, s * c * s**-1 * c**-1, (r * c) ** 4])
    cosets = presented.coset_enumeration([])
    cosets.compress()
    table = np.array(cosets.table)
    images = [table[:, cosets.A_dict[x]] for x in (r, s, c)]
    h = FiniteGroup.from_permutations(images)
    assert h.order == 32
    return h.direct_product(h), h, [index(h, p) for p in images]


def test_breaking_more_can_be_cheaper():
    """A full set of 256 objects, while every exact set that keeps K of order 2 has 512 or more."""
    g, h, (r, s, c) = t5()
    assert g.order == 1024
    first, second = [32 * x + h.identity for x in (r, s, c)], [32 * h.identity + x for x in (r, s, c)]
    square = [int(g.table[x[1], x[1]]) for x in (first, second)]
    group = g.generate([first[0], square[0], first[2], second[0], square[1], second[2]])
    keep = g.generate([int(g.table[first[2], second[2]])])
    assert (len(group), len(keep)) == (256, 2)
    assert len(g.normalizer(group)) == len(g.generalized_normalizer(group, keep)) == 1024
    assert (len(g.normalizer(keep, inside=group)), len(g.normalizer(keep))) == (64, 256)
    assert g.complements(range(1024), group, keep) == []

    full = coset_breaking_set(g, group)
    assert (full.size, full.degeneracy, full.ideal) == (256, 1, True)
    exact = coset_breaking_set(g, group, keep)
    assert (exact.size, exact.degeneracy, exact.ideal, exact.exact) == (512, 4, False, True)
    assert exact.stabilizer == keep
    cheaper = coset_breaking_set(g, group, keep, exact=False)
    assert (cheaper.size, cheaper.degeneracy, cheaper.ideal, cheaper.exact) == (256, 1, False, False)
    for b in (full, exact, cheaper):
        check_action(b)
    members = np.zeros(1024, dtype=bool)
    members[list(group)] = True
    for x in g.normalizer(keep):  # no larger M: any element outside K that normalizes it brings in more of S
        if x not in keep:
            assert members[list(g.generate([*keep, x]))].sum() > 2


def test_pauli_group():
    """⟨i, X, Z⟩ with S = ⟨X, Z⟩ and K = ⟨Z⟩: 8 objects where an ideal set would have 4."""
    pauli = FiniteGroup.from_matrices([[[1j, 0], [0, 1j]], [[0, 1], [1, 0]], [[1, 0], [0, -1]]])
    x, z = index(pauli, [[0, 1], [1, 0]]), index(pauli, [[1, 0], [0, -1]])
    assert pauli.order == 16
    b = coset_breaking_set(pauli, pauli.generate([x, z]), pauli.generate([z]))
    assert (len(b.group), b.size, b.degeneracy, b.ideal) == (8, 8, 2, False)
    check_action(b)
    assert coset_breaking_set(pauli, pauli.generate([x, z]), pauli.generate([z]), exact=False).size == 8


def test_small_examples():
    c4 = FiniteGroup(np.add.outer(np.arange(4), np.arange(4)) % 4)
    b = coset_breaking_set(c4, [0, 2])
    assert (b.size, b.degeneracy, b.ideal) == (4, 2, False)
    c6 = FiniteGroup(np.add.outer(np.arange(6), np.arange(6)) % 6)
    assert coset_breaking_set(c6, [0, 3]).ideal
    assert coset_breaking_set(c6, [0, 2, 4]).ideal
    s4 = symmetric(4)
    pair = s4.generate([index(s4, [1, 0, 3, 2])])
    b = coset_breaking_set(s4, pair)
    assert (len(b.normalizer), b.size, b.degeneracy) == (8, 4, 2)
    klein = s4.generate([index(s4, [1, 0, 3, 2]), index(s4, [2, 3, 0, 1])])
    b = coset_breaking_set(s4, klein)
    assert (b.size, b.ideal) == (4, True)
    assert len(np.unique(b.action, axis=0)) == 24  # the four points
    check_action(b)
    everything = coset_breaking_set(s4, range(24), range(24))
    assert (everything.size, everything.ideal) == (1, True)
    assert repr(coset_breaking_set(c4, [0, 2])) == "CosetBreakingSet(size=4, order of S 2, degeneracy=2)"


@pytest.mark.parametrize("k", [3, 4])
def test_all_pairs_in_symmetric_groups_by_brute_force(k):
    g = symmetric(k)
    subgroups = [set(m) for members in g.subgroup_classes for m in members]
    for s in (members[0] for members in g.subgroup_classes):
        for keep in (m for m in subgroups if m <= set(s)):
            b = coset_breaking_set(g, s, keep)
            inside = set(b.normalizer)
            conjugates = [set(c) for c in g.conjugates(tuple(keep), under=s)]
            exact = [m for m in subgroups if m <= inside and m & set(s) == keep]
            assert b.size == len(inside) / max(map(len, exact))
            fitting = [m for m in subgroups if m <= inside and any(m & set(s) <= c for c in conjugates)]
            assert coset_breaking_set(g, s, keep, exact=False).size == len(inside) / max(map(len, fitting))
            check_action(b)


def test_agrees_with_point_groups():
    """The cosets in a finite parent are as many as the objects that O(3) realizes."""
    parent = PointGroup("D4h")
    group = FiniteGroup(parent.table)
    for s in parent.subgroups():
        for k in s.subgroups()[:3]:
            b = coset_breaking_set(group, parent.indices_of(s), parent.indices_of(k))
            realized = breaking_set(s, k, parent)
            assert (b.size, b.degeneracy, b.ideal) == (realized.size, realized.degeneracy, realized.ideal)


def test_errors():
    s4 = symmetric(4)
    with pytest.raises(ValueError, match="s is not a subgroup: it holds"):
        coset_breaking_set(s4, range(5))
    with pytest.raises(ValueError, match="keep is not inside s"):
        coset_breaking_set(s4, [s4.identity], range(24))
    with pytest.raises(ValueError, match="keep must hold indices"):
        coset_breaking_set(s4, range(24), [99])
