"""Full and partial sets of groups with a finite normalizer, each in a random orientation, by explicit matrices."""

import itertools
import re

import numpy as np
import pytest
import torch
from e3nn import o3
from explicit_groups import by_harmonics, conjugated, explicit, find, random_orthogonal, same_set, turn
from explicit_sets import check_finite_set, generalized_normalizer, images_of, stabilizer_in

from pyg_symbreak.breaking import breaking_set, breaking_sets
from pyg_symbreak.groups import FiniteGroup, PointGroup

# Pairs (S, K), K up to conjugacy in the normalizer of S in O(3).
PAIRS = {
    "C2v": 4, "D2": 3, "D2h": 8, "D2d": 8, "C3v": 4, "D3": 4, "D3h": 10, "D3d": 10, "C4v": 6, "D4": 6, "D4h": 19,
    "D4d": 11, "C5v": 4, "D5": 4, "D5h": 10, "D5d": 10, "C6v": 8, "D6": 8, "D6h": 24, "D6d": 16, "T": 5, "Td": 11,
    "Th": 12, "O": 11, "Oh": 33, "I": 9, "Ih": 22,
}  # fmt: skip


def normalizer_name(name):
    if name in ("I", "Ih"):
        return "Ih"
    if name in ("T", "Th", "Td", "O", "Oh", "D2", "D2h"):
        return "Oh"
    return f"D{2 * int(re.search('[0-9]+', name)[0])}h"


def oriented(name, seed=0):
    """A group with shuffled elements in a random orientation, its elements and those of its normalizer."""
    rng = np.random.default_rng([seed, *map(ord, name)])
    q = random_orthogonal(rng)
    elements = conjugated(explicit(name), q)[rng.permutation(len(explicit(name)))]
    return PointGroup.from_matrices(elements), elements, conjugated(explicit(normalizer_name(name)), q), q


def test_the_280_pairs():
    assert sum(PAIRS.values()) == 280


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_has_an_ideal_set(name):
    group, s, n, _ = oriented(name)
    pairs = set()
    for keep in group.subgroups():
        k = keep.matrices
        b = breaking_set(group, keep)
        check_finite_set(b, s, k, n)
        assert b.size == len(s) // len(k)
        assert b.stabilizer == keep
        movers = n[find(n, b.complement.matrices)]
        assert same_set(stabilizer_in(n, b.irreps, b.objects[0].numpy()), movers)
        conjugates = find(n, n[:, None] @ k @ np.swapaxes(n, 1, 2)[:, None])
        pairs.add(min(tuple(sorted(row)) for row in conjugates.tolist()))
    assert len(pairs) == PAIRS[name]


@pytest.mark.parametrize("name", ["C7v", "D7", "D7h", "D7d", "C8v", "D8", "D8h", "D8d", "C12v", "D12h"])
def test_full_sets_of_higher_axes(name):
    group, s, n, _ = oriented(name)
    check_finite_set(breaking_set(group), s, np.eye(3)[None], n)


def unit(*v):
    return np.array(v, dtype=float)


def odd(name, tilt=0.0):
    n = int(re.search("[0-9]+", name)[0])
    return np.array([np.cos(np.pi / 2 / n), np.sin(np.pi / 2 / n), tilt])


ROWS = [
    *((f"C{n}v", "1o", lambda name: odd(name)) for n in range(2, 7)),
    *((f"D{n}", "1o", lambda name: odd(name)) for n in range(3, 7)),
    *((f"D{n}h", "1o", lambda name: odd(name, 0.7)) for n in range(3, 7)),
    *((f"D{n}d", "1o", lambda name: unit(1, 0.17, 0)) for n in range(2, 7)),
    ("D2h", "1o", lambda _: unit(1, 1, 1)),
    ("T", "1o", lambda _: unit(1, 1, 0)),
    ("T", "1e", lambda _: unit(1, 1, 0)),
    ("Th", "1o", lambda _: unit(2, 2, 1)),
    ("Td", "1o", lambda _: unit(2, 1, 0)),
    ("O", "1o", lambda _: unit(2, 1, 0)),
    ("O", "1o", lambda _: unit(2, 2, 1)),
    ("Oh", "1o", lambda _: unit(3, 2, 1)),
    ("I", "1o", lambda _: unit(0, 1, 0.4)),
    ("Ih", "1o", lambda _: unit(0.3, 1, 0.1)),
]


@pytest.mark.parametrize(("name", "irreps", "vector"), ROWS)
def test_known_objects_of_full_sets(name, irreps, vector):
    """Vectors known to make an ideal set have as many images under the normalizer as S has elements, all moved by S.

    The set that the library finds is in irreps of no higher dimension.
    """
    _, s, n, q = oriented(name, 1)
    v = by_harmonics(irreps, q[None])[0] @ vector(name)
    images = np.unique(np.round(by_harmonics(irreps, n) @ v, 8) + 0.0, axis=0)
    assert len(images) == len(s)
    assert len(stabilizer_in(s, irreps, v)) == 1
    assert breaking_set(PointGroup(name)).irreps.dim <= len(v)


def test_d2_vector_and_director():
    """Along [111] a vector has 8 images and a director 4: the smallest set is the director, 2e."""
    group, s, n, q = oriented("D2")
    b = breaking_set(group)
    assert str(b.irreps) == "1x2e"
    assert b.size == 4
    v = q @ unit(1, 1, 1)
    assert len(np.unique(np.round(n @ v, 8) + 0.0, axis=0)) == 8
    tensors = np.array([np.outer(m @ v, m @ v) for m in n]).reshape(-1, 9)
    assert len(np.unique(np.round(tensors, 8) + 0.0, axis=0)) == 4
    assert breaking_set(group).complement.schoenflies == "D3d"
    check_finite_set(b, s, np.eye(3)[None], n)


def test_td_to_c3v_needs_a_director():
    """A vector along [111] keeps C3v, but the inversion is in the normalizer of Td: 8 vectors, 4 directors."""
    group, _, n, q = oriented("Td")
    b = breaking_set(group, keep="C3v")
    assert (b.size, b.irreps.lmax, b.irreps.dim) == (4, 2, 5)
    assert len(np.unique(np.round(n @ q @ unit(1, 1, 1), 8) + 0.0, axis=0)) == 8
    to_tensor = [np.outer(m @ q @ unit(1, 1, 1), m @ q @ unit(1, 1, 1)).ravel() for m in n]
    assert len(np.unique(np.round(to_tensor, 8) + 0.0, axis=0)) == 4


def test_d3_vectors_must_lie_on_an_odd_axis():
    group, s, n, q = oriented("D3")
    b = breaking_set(group)
    assert (b.size, str(b.irreps)) == (6, "1x1o")
    twofold = [m for m in s if abs(np.trace(m) + 1) < 1e-9]
    angles = [np.arccos(np.clip(abs(v @ a), 0, 1)) for v in b.objects.numpy() for a in _axes(twofold)]
    assert min(angles) == pytest.approx(np.pi / 6, abs=1e-9)
    assert np.abs(b.objects.numpy() @ q[:, 2]).max() < 1e-12
    assert len(np.unique(np.round(n @ q @ unit(0.5, 0.2, 0.3), 8) + 0.0, axis=0)) == 24


def _axes(half_turns):
    return [np.linalg.eigh((m + m.T) / 2)[1][:, 2] for m in half_turns]


def test_prism_to_a_vertex():
    """D3h → Cs: vectors toward the vertices have 12 images under D6h, directors 6, as many as |S|/|K|."""
    group, _, n, q = oriented("D3h")
    vertical = q @ np.diag([1.0, -1, 1]) @ q.T  # the mirror that holds the vertex at (1, 0, 1)
    keep = PointGroup.from_matrices([np.eye(3), vertical])
    b = breaking_set(group, keep)
    assert b.size == 6
    assert b.ideal
    assert b.complement.schoenflies == "C2h"
    vertex = q @ unit(1, 0, 1)
    assert len(np.unique(np.round(n @ vertex, 8) + 0.0, axis=0)) == 12
    assert len(np.unique(np.round([np.outer(m @ vertex, m @ vertex).ravel() for m in n], 8) + 0.0, axis=0)) == 6
    images_of(b.irreps, n, b.objects)


@pytest.mark.parametrize("parent", ["SO3", "O3"])
def test_two_squares_to_a_rectangle(parent):
    """D4 → D2: closed under N(S, K) there are 2 directors; D8 would add those of the other class of D2."""
    group, s, _, q = oriented("D4")
    if parent == "SO3":
        group = PointGroup.from_matrices(s)
    keep = PointGroup("D2").rotated(q)
    b = breaking_set(group, keep, parent=parent)
    assert (b.size, b.ideal) == (2, True)
    n = conjugated(explicit("D8"), q)
    check_finite_set(b, s, keep.matrices, n)
    moved = by_harmonics(b.irreps, n) @ b.objects[0].numpy()
    assert len(np.unique(np.round(moved, 8) + 0.0, axis=0)) == 4
    other = PointGroup("D2").rotated(q @ turn([0, 0, 1], np.pi / 4))
    assert not same_set(breaking_set(group, other, parent=parent).objects, b.objects)


SO3_ROWS = {"D2": ("O", "D3"), "D3": ("D6", "C2"), "D4": ("D8", "C2"), "D5": ("D10", "C2"), "D6": ("D12", "C2"),
            "T": ("O", "C2"), "O": ("O", "C1"), "I": ("I", "C1")}  # fmt: skip


@pytest.mark.parametrize("name", SO3_ROWS)
def test_rotation_groups_in_so3(name):
    group, s, n, q = oriented(name)
    normalizer, complement = SO3_ROWS[name]
    n = n[np.linalg.det(n) > 0]
    assert same_set(n, conjugated(explicit(normalizer), q))
    for keep in group.subgroups():
        b = breaking_set(group, keep, parent="SO3")
        check_finite_set(b, s, keep.matrices, n)
        assert all((np.linalg.det(x.complement.matrices) > 0).all() for x in breaking_sets(group, keep, "SO3"))
    assert breaking_set(group, parent="SO3").complement.schoenflies == complement
    assert breaking_set(PointGroup("D2"), parent="SO3").size == 4


def test_breaking_sets_lists_one_for_each_complement():
    assert sorted(b.complement.schoenflies for b in breaking_sets(PointGroup("D3d"))) == ["C2", "C2", "Cs", "Cs"]
    for name in ("Td", "D3h", "C4v", "T"):
        group, s, n, _ = oriented(name)
        found = breaking_sets(group)
        assert len(found) == len(group.complements())
        for b in found:
            check_finite_set(b, s, np.eye(3)[None], n)
        assert [b.irreps.dim for b in found] == sorted(b.irreps.dim for b in found)


def height(irreps):
    return irreps.dim, len(irreps), irreps.lmax, sum(ir.p != (-1) ** ir.l for _, ir in irreps)


@pytest.mark.parametrize("name", ["C2v", "D2", "D3", "D3h", "D2d", "T", "Td", "Th"])
def test_irreps_are_the_lowest(name):
    """In all lower irreps a random vector that a complement fixes is fixed by more.

    Lower is smaller in dimension, then has fewer terms, then lower l, then more terms with the parity of harmonics.
    """
    group, s, n, _ = oriented(name)
    rng = np.random.default_rng(0)
    terms = [(l, p) for l in range(4) for p in (1, -1) if (l, p) != (0, 1)]
    sums = [c for size in (1, 2, 3) for c in itertools.combinations(terms, size)]

    sums = [o3.Irreps([(1, term) for term in x]) for x in sums]
    for keep in group.subgroups()[:-1]:  # the last one is the group itself
        movers = generalized_normalizer(n, s, keep.matrices)
        lowest = height(breaking_set(group, keep).irreps)
        for other in breaking_sets(group, keep):
            h = other.complement.matrices
            for irreps in (x for x in sums if height(x) < lowest):
                v = by_harmonics(irreps, h).mean(0) @ rng.standard_normal(irreps.dim)
                assert len(stabilizer_in(movers, irreps, v)) > len(h), (keep, irreps)
    assert str(breaking_set(group, group).irreps) == "1x0e"


def test_cyclic_parent():
    """C2 has no complement in C4: 4 objects of degeneracy 2; in C6 it has one."""
    b = breaking_set(PointGroup("C2"), parent=PointGroup("C4"))
    assert (b.size, b.degeneracy, b.ideal) == (4, 2.0, False)
    assert "Not ideal" in b.explanation
    check_finite_set(b, explicit("C2"), np.eye(3)[None], explicit("C4"), ideal=False)
    for name in ("C2", "C3"):
        b = breaking_set(PointGroup(name), parent=PointGroup("C6"))
        check_finite_set(b, explicit(name), np.eye(3)[None], explicit("C6"))


@pytest.mark.parametrize("name", ["Oh", "D4h", "D6h", "Td", "C8h"])
def test_finite_parents_by_brute_force(name):
    """For every S and K in a finite parent: the least |N'|/|M| over all M with M ∩ S = K, in sets that are sets."""
    rng = np.random.default_rng(4)
    parent = PointGroup(name).rotated(random_orthogonal(rng))
    engine = FiniteGroup(parent.table)
    subgroups = [set(m) for members in engine.subgroup_classes for m in members]
    pairs = [(s, k) for s in parent.subgroups() for k in s.subgroups()]
    for pick in rng.permutation(len(pairs))[:30]:
        s, k = pairs[pick]
        b = breaking_set(s, k, parent)
        in_s, in_k = set(parent.indices_of(s)), set(parent.indices_of(k))
        normalizer = np.array(s.normalizer(parent).matrices)
        movers = generalized_normalizer(normalizer, s.matrices, k.matrices)
        inside = set(find(parent.matrices, movers).tolist())
        largest = max(len(m) for m in subgroups if m <= inside and m & in_s == in_k)
        assert b.size == len(inside) / largest
        check_finite_set(b, s.matrices, k.matrices, normalizer, ideal=b.size * len(in_k) == len(in_s))


NOT_IDEAL = {
    "C4": 1, "S4": 1, "C4h": 4, "D4": 1, "C4v": 1, "D2d": 1, "D4h": 4, "Td": 1, "O": 1, "Oh": 4, "C8": 3, "S8": 3,
    "C8h": 13, "D8": 3, "C8v": 3, "D4d": 3, "D8h": 13, "C6h": 0, "D6h": 0, "Th": 0, "D3d": 0, "D2h": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_IDEAL)
def test_lowest_irreps_of_sets_that_are_not_ideal(name):
    """Of all largest M ≤ N(S, K) with M ∩ S = K, in a finite parent, the lowest irreps of any, and all their classes.

    A sum of irreps serves M if a random vector that M fixes is fixed by nothing else in N(S, K).
    """
    rng = np.random.default_rng(len(name))
    parent = PointGroup(name).rotated(random_orthogonal(rng))
    engine = FiniteGroup(parent.table)
    subgroups = [set(m) for members in engine.subgroup_classes for m in members]
    terms = [(l, p) for l in range(4) for p in (1, -1) if (l, p) != (0, 1)]
    matrices = {t: by_harmonics(o3.Irreps([(1, t)]), parent.matrices) for t in terms}
    sums = [c for size in (1, 2, 3) for c in itertools.combinations(terms, size)]
    sums.sort(key=lambda c: height(o3.Irreps([(1, t) for t in c])))
    count = 0
    for s in parent.subgroups():
        for k in s.subgroups():
            found = breaking_sets(s, k, parent)
            if found[0].ideal:
                continue
            count += 1
            in_s, in_k = set(parent.indices_of(s)), set(parent.indices_of(k))
            n = find(parent.matrices, generalized_normalizer(s.normalizer(parent).matrices, s.matrices, k.matrices))
            fitting = [m for m in subgroups if m <= set(n.tolist()) and m & in_s == in_k]
            largest = [sorted(m) for m in fitting if len(m) == max(map(len, fitting))]
            classes = {frozenset(frozenset(engine.conjugation[g, m].tolist()) for g in n) for m in largest}
            assert len(found) == len(classes)
            assert {frozenset(parent.indices_of(b.complement)) for b in found} <= set().union(*classes)
            assert [height(b.irreps) for b in found] == sorted(height(b.irreps) for b in found)
            fixed = {}
            for t in terms:
                for i, m in enumerate(largest):
                    v = matrices[t][m].mean(0) @ rng.standard_normal(2 * t[0] + 1)
                    fixed[t, i] = np.abs(matrices[t] @ v - v).max(1) < 1e-9

            def serves(chosen, i, n=n, fixed=fixed, largest=largest):
                return np.all([fixed[t, i] for t in chosen], axis=0)[n].sum() == len(largest[i])

            lowest = next(c for c in sums if any(serves(c, i) for i in range(len(largest))))
            assert height(found[0].irreps) == height(o3.Irreps([(1, t) for t in lowest])), (s, k, found[0], lowest)
            check_finite_set(found[0], s.matrices, k.matrices, s.normalizer(parent).matrices, ideal=False)
    assert count == NOT_IDEAL[name]


def test_c2h_in_d4h_and_c2_in_c4h():
    assert str(breaking_set(PointGroup("C2h"), parent=PointGroup("D4h")).irreps) == "1x1o"
    found = breaking_sets(PointGroup("C2"), parent=PointGroup("C4h"))
    assert [str(b.irreps) for b in found] == ["1x1o", "1x1e"]


def test_errors():
    oh = PointGroup("Oh")
    with pytest.raises(ValueError, match="keep: C4, as oriented here, is not a subgroup of the symmetry Oh"):
        breaking_set(oh, PointGroup("C4").rotated(turn([1, 2, 3], 0.4)))
    with pytest.raises(ValueError, match="keep: C5"):
        breaking_set(oh, PointGroup("C5"))
    with pytest.raises(ValueError, match=r"choices are 'C2v\["):
        breaking_set(oh, keep="C2v")
    with pytest.raises(ValueError, match="Oh has no subgroup C6"):
        breaking_set(oh, keep="C6")
    with pytest.raises(ValueError, match=r"Td has improper elements.*break its rotations, T"):
        breaking_set(PointGroup("Td"), parent="SO3")
    with pytest.raises(ValueError, match="D6h, as oriented here, is not a subgroup of Oh"):
        breaking_set(PointGroup("D6h"), parent=oh)
    with pytest.raises(ValueError, match="parent must be O3, SO3 or a finite point group, not Dinfh"):
        breaking_set(PointGroup("C2"), parent=PointGroup("Dinfh"))
    with pytest.raises(ValueError, match="parent must be 'O3', 'SO3' or a PointGroup, got 'E3'"):
        breaking_set(oh, parent="E3")
    labels = [k.label for k in oh.subgroups() if k.schoenflies == "C2v"]
    assert [breaking_set(oh, keep=label).size for label in labels] == [12, 12, 12]


def test_repr_names_everything():
    b = breaking_set(PointGroup("Oh"), keep="C4v")
    assert repr(b) == "BreakingSet(Oh, keep=C4v, size=6, irreps=1x1o, ideal)"
    assert "Ideal" in b.explanation
    assert b.objects.dtype == torch.float64
    assert same_set(b.objects, np.concatenate([np.eye(3), -np.eye(3)]))


@pytest.mark.parametrize(("family", "n"), itertools.product(["C{}v", "D{}", "D{}h", "D{}d"], [100, 243, 1000]))
def test_full_sets_of_axes_of_high_order(family, n):
    """The orbit of the first object under the normalizer D_2nh is as large as S, and no element of S fixes it."""
    q = random_orthogonal(np.random.default_rng(n))
    group = PointGroup(family.format(n)).rotated(q)
    b = breaking_set(group)
    assert (b.ideal, b.size, str(b.irreps)) == (True, group.order, "1x1o")
    v = b.objects[0].numpy()
    turns = np.arange(2 * n) * np.pi / n
    z = q[:, 2]
    rotated = np.cos(turns)[:, None] * (v - (v @ z) * z) + np.sin(turns)[:, None] * np.cross(z, v) + (v @ z) * z
    rest = conjugated(explicit("D2h"), q)  # D_2nh is generated by the turns about z and D2h
    orbit = np.unique(np.round(rotated @ rest, 7).reshape(-1, 3) + 0.0, axis=0)
    assert len(orbit) == group.order
    assert np.abs(np.sort(b.objects.numpy() @ [1, 2, 4]) - np.sort(orbit @ [1, 2, 4])).max() < 1e-6
    images = group.matrices @ v
    assert (np.linalg.norm(images - v, axis=1) < 1e-4).sum() == 1


def test_partial_sets_of_axes_of_high_order():
    """An n-fold axis is kept in irreps from l = n only, or along the axis; above l = 60 there is none."""
    b = breaking_set(PointGroup("C1000v"), keep="C1000")
    assert (b.size, str(b.irreps)) == (2, "1x0o")
    b = breaking_set(PointGroup("D60"), keep="C6")
    assert (b.size, b.irreps.lmax) == (20, 6)
    with pytest.raises(ValueError, match=r"no object for a stabilizer .* in irreps up to l = 60"):
        breaking_set(PointGroup("C1000v"), keep="C200")
