"""The assignment of sets to symmetries is equivariant, and sampling is uniform and reproducible."""

import math

import numpy as np
import pytest
import torch
from explicit_groups import by_harmonics, conjugated, explicit, random_orthogonal, same_set, turn
from explicit_sets import axial_orbit_distance, generalized_normalizer, spherical_solutions
from scipy.stats import chisquare

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.groups import PointGroup


def anew(group, g, rng):
    """The conjugate of a finite group by g, made anew from its matrices in another order."""
    return PointGroup.from_matrices(conjugated(group.matrices, g)[rng.permutation(group.order)])


def check_moved(before, after, g):
    """Assert that the objects of one set are the images under g of those of the other."""
    assert str(after.irreps) == str(before.irreps)
    moved = before.objects.numpy() @ by_harmonics(before.irreps, g[None])[0].T
    assert same_set(moved, after.objects)


@pytest.mark.parametrize("name", ["C3v", "D2", "D3", "D2d", "D4", "D3h", "D2h", "T", "Td", "Oh", "I"])
def test_finite_sets_move_with_the_symmetry(name):
    rng = np.random.default_rng(sum(map(ord, name)))
    group = PointGroup(name).rotated(random_orthogonal(rng))
    subgroups = group.subgroups()
    for keep in [subgroups[i] for i in sorted({0, *rng.integers(0, len(subgroups), 4).tolist()})]:
        before = breaking_set(group, keep)
        inside = group.normalizer().matrices
        for g in (random_orthogonal(rng), -random_orthogonal(rng), *inside[rng.integers(0, len(inside), 4)]):
            after = breaking_set(anew(group, g, rng), anew(keep, g, rng))
            check_moved(before, after, g)
            assert after.stabilizer == keep.rotated(g)
        for g in group.generalized_normalizer(keep).matrices[::3]:
            check_moved(before, before, g)


@pytest.mark.parametrize("name", ["D2", "D4", "T"])
def test_sets_within_rotations_move_with_the_symmetry(name):
    rng = np.random.default_rng(5)
    for keep in PointGroup(name).subgroups():
        for _ in range(3):
            g = random_orthogonal(rng)
            g *= np.linalg.det(g)
            before = breaking_set(PointGroup(name), keep, parent="SO3")
            check_moved(before, breaking_set(anew(PointGroup(name), g, rng), anew(keep, g, rng), parent="SO3"), g)


@pytest.mark.parametrize("name", ["D4h", "Oh", "C8h"])
def test_sets_in_a_finite_parent_move_with_the_symmetry(name):
    rng = np.random.default_rng(6)
    parent = PointGroup(name).rotated(random_orthogonal(rng))
    for group in parent.subgroups()[1::3]:
        for keep in group.subgroups()[:3]:
            before = breaking_set(group, keep, parent)
            for g in parent.matrices[rng.integers(0, parent.order, 3)]:
                check_moved(before, breaking_set(anew(group, g, rng), anew(keep, g, rng), parent), g)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("Cs", "C1"), ("Ci", "C1"), ("S4", "C2"), ("S6", "C3"), ("C4h", "C4"), ("C3h", "C3"), ("C5", "C5")],
)
def test_sets_that_the_component_alone_decides_move_with_the_symmetry(name, kept):
    rng = np.random.default_rng(7)
    group = PointGroup(name)
    keep = group.subgroup(kept)
    for g in (random_orthogonal(rng), turn([0, 0, 1], 0.7), turn([1, 2, 0], np.pi), np.diag([1.0, 1, -1]), -np.eye(3)):
        check_moved(breaking_set(group, keep), breaking_set(anew(group, g, rng), anew(keep, g, rng)), g)


@pytest.mark.parametrize(
    ("name", "kept"), [("C3", "C1"), ("C4", "C2"), ("C4h", "C1"), ("S4", "C1"), ("C3h", "Cs"), ("C6h", "C2")]
)
def test_circles_move_with_the_symmetry(name, kept):
    """The samples for the moved symmetry lie on the moved orbit of D∞h; elements of D∞h lead back to that orbit."""
    rng = np.random.default_rng(8)
    d_inf = np.array([np.eye(3), np.diag([1.0, -1, 1]), np.diag([1.0, 1, -1]), np.diag([1.0, -1, -1])])
    group = PointGroup(name)
    keep = group.subgroup(kept)
    before = breaking_set(group, keep)
    for g in (random_orthogonal(rng), -random_orthogonal(rng), turn([0, 0, 1], 0.7), np.diag([1.0, -1, -1])):
        after = breaking_set(anew(group, g, rng), anew(keep, g, rng))
        moved = before.sample(1).numpy()[0] @ by_harmonics(before.irreps, g[None])[0].T
        for x in after.sample(3).numpy():
            assert axial_orbit_distance(after.irreps, x, moved, g[:, 2], conjugated(d_inf, g)) < 1e-6


def test_sets_of_continuous_groups_move_with_the_symmetry():
    rng = np.random.default_rng(9)
    d_inf = np.array([np.eye(3), np.diag([1.0, -1, 1]), np.diag([1.0, 1, -1]), np.diag([1.0, -1, -1])])
    linear = PointGroup("Dinfh")
    across = PointGroup("C2v").rotated(turn([0, 1, 0], np.pi / 2))
    for keep in (linear.subgroup("C2v[001]"), across, PointGroup("D3d"), PointGroup("C1")):
        before = breaking_set(linear, keep)
        for g in (random_orthogonal(rng), turn([0, 0, 1], 0.9)):
            after = breaking_set(linear.rotated(g), anew(keep, g, rng))
            moved = before.sample(1).numpy()[0] @ by_harmonics(before.irreps, g[None])[0].T
            x = after.sample(1).numpy()[0]
            assert axial_orbit_distance(after.irreps, x, moved, g[:, 2], conjugated(d_inf, g)) < 1e-6
    check_moved(breaking_set(linear, "Cinfv"), breaking_set(linear.rotated(g), PointGroup("Cinfv").rotated(g)), g)
    keep = PointGroup("D3")
    before, after = breaking_set(PointGroup("O3"), keep), breaking_set(PointGroup("O3"), anew(keep, g, rng))
    x, y = before.sample(1).numpy()[0], after.sample(1).numpy()[0]
    assert len(spherical_solutions(before.irreps, x, y, improper=True, starts=120)) > 0


def test_swapped_classes_get_different_sets():
    """The assignment moves with S and K together: an element of N(S) outside N(S, K) makes another set."""
    s, k = PointGroup("D4"), PointGroup("D2")
    g = turn([0, 0, 1], np.pi / 4)
    assert len(generalized_normalizer(explicit("D8h"), s.matrices, k.matrices)) == 16
    before, after = breaking_set(s, k), breaking_set(s, k.rotated(g))
    check_moved(before, after, g)
    assert not same_set(before.objects, after.objects)


def test_samples_of_a_finite_set_are_uniform():
    b = breaking_set(PointGroup("Td"))
    x = b.sample(4800, torch.Generator().manual_seed(0))
    index = torch.cdist(x, b.objects).argmin(1)
    assert torch.cdist(x, b.objects).min(1).values.max() < 1e-6
    assert chisquare(torch.bincount(index, minlength=24).numpy()).pvalue > 0.01


def test_samples_of_circles_are_uniform():
    b = breaking_set(PointGroup("C4h"))
    x = b.sample(4000, torch.Generator().manual_seed(1)).numpy()
    assert np.abs(np.linalg.norm(x, axis=1) - 1).max() < 1e-12
    angle = np.floor((np.arctan2(x[:, 1], x[:, 0]) + np.pi) / (2 * np.pi) * 16).astype(int) % 16
    cells = np.bincount(2 * angle + (x[:, 2] > 0), minlength=32)
    assert cells.min() > 0
    assert chisquare(cells).pvalue > 0.01


def test_samples_on_the_sphere_are_uniform():
    b = breaking_set(PointGroup("O3"), keep="Cinfv")
    x = b.sample(4000, torch.Generator().manual_seed(2)).numpy()
    height = np.bincount(np.floor((x[:, 1] + 1) / 2 * 20).astype(int), minlength=20)  # Archimedes: uniform
    assert chisquare(height).pvalue > 0.01


@pytest.mark.parametrize("name", ["C4", "Td", "Cinfv", "SO3"])
def test_samples_are_reproducible(name):
    b = breaking_set(PointGroup(name))
    first = b.sample(5, torch.Generator().manual_seed(3))
    assert first.dtype == torch.float64
    assert first.shape == (5, b.irreps.dim)
    assert torch.equal(first, b.sample(5, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, b.sample(5, torch.Generator().manual_seed(4)))
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(first, b.sample(5, generator))
    assert not torch.equal(first, b.sample(5, generator))
    torch.manual_seed(0)
    one = b.sample(8)
    torch.manual_seed(0)
    assert torch.equal(one, b.sample(8))
    assert b.sample(0).shape == (0, b.irreps.dim)
    assert (b.size < math.inf) == (name == "Td")
