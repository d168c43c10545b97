"""Sets of groups with a continuous normalizer, and of continuous groups; stabilizers by explicit search."""

import math
import re

import numpy as np
import pytest
import torch
from explicit_groups import (
    CRYSTALLOGRAPHIC,
    INVERSION,
    MY,
    MZ,
    by_harmonics,
    conjugated,
    explicit,
    families,
    find,
    random_orthogonal,
    random_rotation,
    same_set,
    turn,
)
from explicit_sets import (
    axial_orbit_distance,
    axial_stabilizer,
    check_finite_set,
    spherical_solutions,
    stabilizer_in,
)

from pyg_symbreak.breaking import breaking_set, breaking_sets
from pyg_symbreak.groups import PointGroup

CYCLIC = [f for n in range(2, 9) for f in families(n) if re.fullmatch(r"C\d+h?|S\d+", f)]
COMPONENTS = {  # one element of each component, main axis z
    "Cinf": [np.eye(3)],
    "Cinfv": [np.eye(3), MY],
    "Cinfh": [np.eye(3), MZ],
    "Dinf": [np.eye(3), MY @ MZ],
    "Dinfh": [np.eye(3), MY, MZ, MY @ MZ],
}


def oriented(name, seed=0):
    q = random_orthogonal(np.random.default_rng([seed, *map(ord, name)]))
    if name in COMPONENTS or name in ("SO3", "O3"):
        return PointGroup(name).rotated(q), q
    return PointGroup.from_matrices(conjugated(explicit(name), q)), q


def d_inf_h(q):
    """The axis of D∞h in this orientation and an element of each of its components."""
    return q[:, 2], conjugated(np.array(COMPONENTS["Dinfh"]), q)


def finite_normalizer(q, n):
    """D_mh with a large m, which stands in for D∞h where a set is finite: the set must be closed under it."""
    return conjugated(explicit(f"D{n}h"), q)


@pytest.mark.parametrize("name", ["C1", "Cs", "Ci", *CYCLIC])
def test_cyclic_groups(name):
    """Finite, and then ideal, exactly if K holds all proper rotations of S; else sampled objects keep K exactly."""
    group, q = oriented(name)
    s = group.matrices
    rotations = s[np.linalg.det(s) > 0]
    for keep in group.subgroups():
        b = breaking_set(group, keep)
        finite = all(keep.contains(m) for m in rotations)
        assert (b.size < math.inf) == finite == b.ideal
        if finite:
            check_finite_set(b, s, keep.matrices, finite_normalizer(q, 2 * len(s)))
            assert b.size == len(s) // keep.order <= 2
            images = by_harmonics(b.irreps, conjugated(np.array([turn([0, 0, 1], 1.0)]), q)) @ b.objects[0].numpy()
            assert np.abs(images - b.objects[0].numpy()).max() < 1e-12  # every turn about the axis fixes it
        else:
            assert b.degeneracy == math.inf
            for v in b.sample(4, torch.Generator().manual_seed(0)).numpy():
                assert same_set(stabilizer_in(s, b.irreps, v), keep.matrices)


def test_crystallographic_pairs_without_a_finite_set():
    infinite = [
        (name, keep.label)
        for name in CRYSTALLOGRAPHIC.values()
        for keep in PointGroup(name).subgroups()
        if breaking_set(PointGroup(name), keep).size == math.inf
    ]
    assert len(infinite) == 29
    assert {name for name, _ in infinite} == {"C2", "C3", "C4", "C6", "C2h", "C3h", "C4h", "C6h", "S4", "S6"}


@pytest.mark.parametrize("name", ["C2", "C4", "C3h", "C4h", "S4", "S6", "C6h"])
def test_continuous_sets_are_orbits_of_the_normalizer(name):
    """Samples lie on one orbit of D∞h, in one or two circles; a finite group like D8h would not do."""
    group, q = oriented(name)
    axis, components = d_inf_h(q)
    b = breaking_set(group)
    x = b.sample(6, torch.Generator().manual_seed(1)).numpy()
    assert all(axial_orbit_distance(b.irreps, v, x[0], axis, components) < 1e-6 for v in x)
    circles = [axial_orbit_distance(b.irreps, v, x[0], axis, components[:1]) < 1e-6 for v in x]
    n = int(name[1])
    two = name.endswith("h") and n % 2 == 0
    assert all(circles) != two
    assert b.irreps.dim == 3


def test_c4_has_a_complement_in_d4h_and_not_in_d8h():
    """So no large D_mh can stand in for D∞h: C4 has no finite set in O(3), though one in D4h."""
    c4 = PointGroup("C4")
    assert c4.normalizer(PointGroup("D4h")) == PointGroup("D4h")
    sizes = {m: breaking_set(c4, parent=PointGroup(f"D{m}h")).size for m in (4, 8, 12, 16)}
    assert sizes == {4: 4, 8: 8, 12: 4, 16: 16}
    assert breaking_set(c4).size == math.inf


def test_objects_of_an_infinite_set_explain_themselves():
    b = breaking_set(PointGroup("C4"), keep="C2")
    with pytest.raises(ValueError, match=r"continuous and cannot be listed; use \.sample\(n\)") as error:
        _ = b.objects
    assert "No finite equivariant set takes C4 to C2 in O3" in str(error.value)
    assert repr(b) == "BreakingSet(C4, keep=C2, size=inf, irreps=1x2e, degeneracy=inf)"
    with pytest.raises(ValueError, match="continuous"):
        _ = breaking_set(PointGroup("Cinfv")).objects


def keeps(s_name):
    """Subgroups K to break an axial continuous group to: name, turn of its standard orientation."""
    across = turn([0, 0, 1], 0.3) @ turn([0, 1, 0], np.pi / 2)
    rolled = turn([0, 0, 1], -0.8) @ turn([0, 1, 0], np.pi / 2) @ turn([0, 0, 1], np.pi / 2)
    names = ["C1", "Cs", "Ci", *(f for n in (2, 3, 4) for f in families(n)), "C6v", "D5h", "C9v", *COMPONENTS]
    seen = []
    for name in names:
        for frame in (np.eye(3), across, rolled):
            group = PointGroup(name).rotated(frame)
            if PointGroup(s_name).contains_group(group) and group not in seen:
                seen.append(group)
                yield group


@pytest.mark.parametrize(("name", "parent"), [*((n, "O3") for n in COMPONENTS), ("Cinf", "SO3"), ("Dinf", "SO3")])
def test_axial_continuous_groups(name, parent):
    """Objects keep K of S and no more, and their orbit under the normalizer is a single orbit of S."""
    group, q = oriented(name)
    if parent == "SO3":
        q = q * np.linalg.det(q)
    axis, components = d_inf_h(q)
    if parent == "SO3":
        components = components[np.linalg.det(components) > 0]
    s = conjugated(np.array(COMPONENTS[name]), q)
    for plain in keeps(name):
        keep = plain.rotated(q)
        b = breaking_set(group, keep, parent)
        assert b.ideal
        assert b.degeneracy == 1
        x = (b.objects if b.size < math.inf else b.sample(2, torch.Generator().manual_seed(0))).numpy()
        if b.irreps.lmax > 11:
            continue
        expected = None if keep.order == math.inf else keep.order
        first = b._first
        found = axial_stabilizer(b.irreps, first, axis, s)
        assert (None if found is None else len(found)) == expected, (plain, b)
        members = keep.components if found is None else found
        assert all(keep.contains(m, 1e-4) for m in members)
        assert np.abs(by_harmonics(b.irreps, keep.components) @ first - first).max() < 1e-9
        for v in x:
            assert axial_orbit_distance(b.irreps, v, first, axis, s) < 1e-6
        for c in components:  # what the normalizer makes of the first object, S makes of it too
            moved = by_harmonics(b.irreps, c[None])[0] @ first
            assert axial_orbit_distance(b.irreps, moved, first, axis, s) < 1e-6, (plain, b)


def test_sizes_and_kinds_in_linear_groups():
    dinfh = PointGroup("Dinfh")
    b = breaking_set(dinfh, keep="Cinfv")
    assert (b.size, str(b.irreps)) == (2, "1x1o")
    assert same_set(b.objects, [[0, 0, 1], [0, 0, -1]])
    for label in ("C2v[001]", "C2v[100]"):
        assert breaking_set(dinfh, keep=label).size == math.inf
    assert breaking_set(PointGroup("Cinfv"), keep="Cs").size == math.inf
    assert breaking_set(PointGroup("Cinfh"), keep="Cinf").size == 2
    assert breaking_set(dinfh, dinfh).size == 1
    lone = breaking_set(PointGroup("Cinfv"), keep="Cs")
    assert str(lone.irreps) == "1x1o"  # a horizontal vector keeps the mirror that holds it
    full = breaking_set(PointGroup("Cinfv"))  # so it cannot break everything, but a tilted axial vector can
    assert str(full.irreps) == "1x1e"
    assert full.complement.schoenflies == "Ci"
    assert min(abs(full._first[2]), np.linalg.norm(full._first[:2])) > 0.1


SPHERICAL = ["C1", "Ci", "Cs", "C2", "C3v", "D3", "S4", "D2d", "C4h", "D5h", "T", "Td", "Th", "O", "Oh", "I", "Ih"]


@pytest.mark.parametrize("name", SPHERICAL)
def test_spherical_groups_to_finite_ones(name):
    """O(3) → K, and SO(3) → K for K of rotations, within both parents: the stabilizer is found by search."""
    rng = np.random.default_rng(len(name))
    keep = PointGroup.from_matrices(conjugated(explicit(name), random_rotation(rng)))
    cases = [("O3", "O3")]
    if (np.linalg.det(keep.matrices) > 0).all():
        cases += [("SO3", "O3"), ("SO3", "SO3")]
    for s_name, parent in cases:
        b = breaking_set(PointGroup(s_name), keep, parent)
        assert (b.size, b.ideal, b.degeneracy) == (math.inf, True, 1)
        v = b._first
        found = spherical_solutions(b.irreps, v, v, improper=s_name == "O3", starts=400 if name in ("I", "Ih") else 250)
        assert len(found) == keep.order, b
        assert same_set(find(keep.matrices, found, 1e-4)[:, None], np.arange(keep.order)[:, None])
        if parent == "O3" and s_name == "SO3":  # the inversion leads to nothing that a rotation does not lead to
            mirrored = by_harmonics(b.irreps, INVERSION[None])[0] @ v
            assert len(spherical_solutions(b.irreps, v, mirrored, improper=False, starts=120)) > 0
        x = b.sample(1, torch.Generator().manual_seed(3)).numpy()[0]
        assert len(spherical_solutions(b.irreps, v, x, improper=s_name == "O3", starts=120)) > 0


def test_spherical_groups_to_continuous_ones():
    rng = np.random.default_rng(0)
    r = random_rotation(rng)
    expected = {"Dinfh": "1x2e", "Cinfv": "1x1o", "Cinfh": "1x1e", "SO3": "1x0o", "O3": "1x0e"}
    for name, irreps in expected.items():
        b = breaking_set(PointGroup("O3"), PointGroup(name).rotated(r))
        assert str(b.irreps) == irreps
        assert b.size == {"SO3": 2, "O3": 1}.get(name, math.inf)
    for name in ("Cinf", "Dinf"):
        keep = PointGroup(name).rotated(r)
        for s_name, parent in (("SO3", "SO3"), ("SO3", "O3"), ("O3", "O3")):
            b = breaking_set(PointGroup(s_name), keep, parent)
            axis, components = d_inf_h(r)
            if s_name == "SO3":
                components = components[np.linalg.det(components) > 0]
            fixed = [
                c for c in components if np.abs(by_harmonics(b.irreps, c[None]) @ b._first - b._first).max() < 1e-9
            ]
            assert all(keep.contains(c) for c in fixed)
            assert len(fixed) == len(keep.components)
            assert np.abs(by_harmonics(b.irreps, turn(axis, 1.0)[None]) @ b._first - b._first).max() < 1e-9
    assert breaking_set(PointGroup("SO3"), keep="SO3").size == 1
    assert breaking_set(PointGroup("C1")).size == 1
    assert str(breaking_set(PointGroup("Ci")).irreps) == "1x0o"


def test_choices_for_a_mirror():
    """Cs: ± along the normal, or a pseudoscalar; both are listed, the smaller first."""
    found = breaking_sets(PointGroup("Cs"))
    assert [(b.complement.schoenflies, str(b.irreps), b.size) for b in found] == [
        ("Dinf", "1x0o", 2),
        ("Cinfv", "1x1o", 2),
    ]


@pytest.mark.parametrize("name", ["C2", "C3", "C4", "C3h", "C4h", "C2h", "S4", "S6"])
def test_choices_of_continuous_sets(name):
    """One for each class of stabilizers, lowest irreps first; each keeps K exactly, in as many circles."""
    group, q = oriented(name)
    axis, components = d_inf_h(q)
    for keep in group.subgroups():
        found = breaking_sets(group, keep)
        if found[0].size < math.inf:
            continue
        assert [b.irreps.dim for b in found] == sorted(b.irreps.dim for b in found)
        kinds = {(b.complement.schoenflies, round(abs(b.complement.axis @ axis), 6)) for b in found}
        assert len(kinds) == len(found)
        circles = set()
        for b in found:
            v = b._first
            assert same_set(stabilizer_in(group.matrices, b.irreps, v), keep.matrices)
            assert len(stabilizer_in(b.complement.matrices, b.irreps, v)) == b.complement.order
            images = [by_harmonics(b.irreps, c[None])[0] @ v for c in components]
            circles.add(sum(axial_orbit_distance(b.irreps, w, v, axis, components[:1]) < 1e-6 for w in images))
        assert len(circles) == 1
