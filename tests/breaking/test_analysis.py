import math

import numpy as np
import pytest
import torch
from explicit_groups import by_harmonics, conjugated, explicit, random_orthogonal, random_rotation, turn

from pyg_symbreak.breaking import analyze_set, breaking_set
from pyg_symbreak.groups import PointGroup


def oriented(name, seed=0):
    q = random_orthogonal(np.random.default_rng(seed))
    return PointGroup.from_matrices(conjugated(explicit(name), q)), q


@pytest.mark.parametrize("given", [1, 4, 8])
def test_vectors_for_td_to_c3v(given):
    """A vector along [111] has eight images under the normalizer of Td, where four directors suffice."""
    group, q = oriented("Td")
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    vectors = np.concatenate([corners, -corners])[:given] @ q.T
    a = analyze_set(vectors, "1o", group, keep="C3v")
    assert (a.size, a.degeneracy, a.closed, a.ideal) == (8, 2, given == 8, False)
    assert a.exact
    assert a.breaking
    assert a.stabilizers == {"C3v": 8}
    assert a.smallest.size == 4
    assert "4 objects in 1x2e suffice" in a.explanation


def prism_pairs(q):
    """Toward each vertex and up or down the axis: a pair of vectors that D3 moves freely."""
    angles = np.arange(3) * 2 * np.pi / 3
    up = np.array([0.0, 0, 1])
    pairs = [([np.cos(a), np.sin(a), 0], sign * up) for a in angles for sign in (1, -1)]
    return np.array([np.concatenate([q @ u, q @ z]) for u, z in pairs])


def test_naive_set_of_the_prism():
    """Within rotations the six pairs are one orbit of D3 and two orbits once closed under D6."""
    q = random_rotation(np.random.default_rng(1))
    group = PointGroup("D3").rotated(q)
    pairs = np.concatenate([np.ones((6, 1)), prism_pairs(q)], axis=1)
    a = analyze_set(torch.from_numpy(pairs), "0o+2x1o", group, parent="SO3")
    assert (a.size, a.degeneracy, a.closed, a.exact, a.ideal) == (12, 2, False, True, False)
    assert a.stabilizers == {"C1": 12}
    assert a.smallest.size == 6
    # in O(3) the pseudoscalar is moved too
    assert analyze_set(pairs, "0o+2x1o", group, parent="O3").degeneracy == 4
    assert analyze_set(pairs[:, 1:], "2x1o", group, parent="O3").degeneracy == 2


def test_equivariant_set_of_the_prism():
    q = random_rotation(np.random.default_rng(2))
    angles = (2 * np.arange(6) + 1) * np.pi / 6
    vectors = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1) @ q.T
    a = analyze_set(vectors, "1o", PointGroup("D3").rotated(q))
    assert (a.size, a.degeneracy, a.closed, a.exact, a.ideal) == (6, 1, True, True, True)
    assert "Ideal" in a.explanation
    turned = analyze_set(vectors @ turn(q[:, 2], 0.2).T, "1o", PointGroup("D3").rotated(q))
    assert (turned.size, turned.degeneracy, turned.closed) == (12, 2, False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "keep"), [("Oh", "C4v"), ("D2", None), ("Td", "C3v"), ("D4h", "D4"), ("Cs", None)])
def test_sets_of_the_library_are_ideal(name, keep, dtype):
    group, _ = oriented(name, 3)
    b = breaking_set(group, keep)
    a = analyze_set(b.objects.to(dtype), b.irreps, group, keep)
    assert (a.size, a.degeneracy, a.closed, a.exact, a.ideal) == (b.size, 1, True, True, True)
    one = analyze_set(b.objects[0].to(dtype), b.irreps, group, keep)
    assert one.size == b.size
    assert one.closed == (b.size == 1)


def test_objects_are_closed_under_what_keeps_both_groups():
    """D4 → D2: an in-plane director has 2 images under N(S, K); N(S) would make 4 of them, of two kinds."""
    b = breaking_set(PointGroup("D4"), PointGroup("D2"))
    for angle in (0.0, np.pi / 4):
        q = turn([0, 0, 1], angle)
        director = by_harmonics(b.irreps, q[None])[0] @ b.objects[0].numpy()
        a = analyze_set(director, b.irreps, PointGroup("D4"), PointGroup("D2").rotated(q))
        assert (a.size, a.ideal) == (2, True)
    assert not analyze_set(director, b.irreps, PointGroup("D4"), PointGroup("D2")).breaking


def test_objects_that_keep_too_much():
    """Along a four-fold axis a vector keeps C4v: of no use to break Oh, or to reach C3v."""
    group, q = oriented("Oh", 4)
    for keep in (None, "C3v"):
        a = analyze_set(q[:, 2], "1o", group, keep)
        assert not a.breaking
        assert not a.exact
        assert not a.ideal
        assert a.stabilizers == {"C4v": 6}
        assert "Does not break Oh" in a.explanation
    mixed = analyze_set(np.stack([q[:, 2], q @ [1.0, 1, 1]]), "1o", group, "C4v")
    assert mixed.stabilizers == {"C4v": 6, "C3v": 8}
    assert (mixed.size, mixed.degeneracy, mixed.breaking) == (14, 2, False)


def test_objects_that_keep_too_little():
    group, q = oriented("Oh", 5)
    a = analyze_set(q @ [1.0, 2, 3], "1o", group, "C4v")
    assert (a.size, a.degeneracy) == (48, 1)
    assert a.breaking
    assert not a.exact
    assert not a.ideal
    assert a.stabilizers == {"C1": 48}
    assert "Breaks more than was asked" in a.explanation


def test_continuous_normalizers():
    """A horizontal vector for C4 has infinitely many images; ± the axis for C4h → C4 are two."""
    group, q = oriented("C4", 6)
    a = analyze_set(q[:, 0], "1o", group)
    assert (a.size, a.degeneracy, a.closed, a.ideal) == (math.inf, math.inf, False, False)
    assert a.breaking
    assert a.exact
    assert "infinite" in a.explanation
    group, q = oriented("C4h", 7)
    for given, closed in ((q[:, 2], False), (np.stack([q[:, 2], -q[:, 2]]), True)):
        a = analyze_set(given, "1o", group, "C4")
        assert (a.size, a.degeneracy, a.closed, a.ideal) == (2, 1, closed, True)
    assert analyze_set([[-1.0]], "0o", PointGroup("Ci")).size == 2
    assert analyze_set([[1.0, 0, 0]], "1o", PointGroup("Ci")).size == math.inf
    assert analyze_set([[1.0]], "0e", PointGroup("C1")).ideal


def test_finite_parents():
    a = analyze_set([[1.0, 0, 0]], "1o", PointGroup("C2"), parent=PointGroup("C4"))
    assert (a.size, a.degeneracy) == (4, 2)
    assert analyze_set([[1.0, 0, 0]], "1o", PointGroup("C2"), parent=PointGroup("C6")).size == 6
    two = (
        by_harmonics("3o", np.array([turn([0, 0, 1], 0.3)]))[0]
        @ breaking_set(PointGroup("C2"), parent=PointGroup("C6"))._first
    )
    a = analyze_set(two, "3o", PointGroup("C2"), parent=PointGroup("C6"))
    assert (a.size, a.ideal) == (2, True)


def test_errors():
    td = PointGroup("Td")
    with pytest.raises(ValueError, match=r"shape \[m, 3\] for irreps 1x1o, got \[1, 2\]"):
        analyze_set([[1.0, 2.0]], "1o", td)
    with pytest.raises(ValueError, match="shape"):
        analyze_set(np.zeros((0, 3)), "1o", td)
    with pytest.raises(ValueError, match="finite numbers"):
        analyze_set([[1.0, 2.0, math.nan]], "1o", td)
    with pytest.raises(ValueError, match="Cinfv is continuous"):
        analyze_set([[1.0, 2.0, 3.0]], "1o", PointGroup("Cinfv"))
    with pytest.raises(ValueError, match="choices"):
        analyze_set([[1.0, 2.0, 3.0]], "1o", PointGroup("Oh"), keep="C2v")
    with pytest.raises(ValueError, match="improper elements"):
        analyze_set([[1.0, 2.0, 3.0]], "1o", td, parent="SO3")
