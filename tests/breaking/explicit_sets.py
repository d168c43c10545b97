"""Checks of breaking sets with explicit matrices: closure, transitivity, stabilizers."""

import numpy as np
from explicit_groups import by_harmonics, conjugated, find

TOL = 1e-9


def generalized_normalizer(n, s, k):
    """The elements [m, 3, 3] of n that normalize S and carry K onto an S-conjugate of it, by trying all of them."""

    def images(group, movers):
        moved = movers[:, None] @ group @ np.swapaxes(movers, 1, 2)[:, None]
        return [frozenset(map(int, row)) for row in find(n, moved)]

    normal, conjugates = frozenset(find(n, s).tolist()), set(images(k, s))
    keep = [a == normal and b in conjugates for a, b in zip(images(s, n), images(k, n), strict=True)]
    return n[keep]


def images_of(irreps, elements, objects):
    """How elements [n, 3, 3] permute objects [m, dim], int [n, m]; an AssertionError where one leads out of the set."""
    objects = np.asarray(objects)
    moved = np.einsum("nij,mj->nmi", by_harmonics(irreps, elements), objects)
    distance = np.linalg.norm(moved[:, :, None] - objects, axis=3)
    index = distance.argmin(2)
    assert distance.min(2).max() < TOL, "the set is not closed"
    return index


def is_transitive(images):
    return len(set(images[:, 0].tolist())) == images.shape[1]


def check_finite_set(b, s, k, n, ideal=True):
    """Assert that b is an equivariant exact set for S → K, given the elements of S, K and of the normalizer of S."""
    objects = b.objects.numpy()
    gaps = np.linalg.norm(objects[:, None] - objects, axis=2) + np.eye(len(objects))
    assert gaps.min() > 0.05, "two objects nearly coincide"
    movers = generalized_normalizer(n, s, k)
    by_normalizer, by_s = images_of(b.irreps, movers, objects), images_of(b.irreps, s, objects)
    assert (np.sort(by_normalizer, 1) == np.arange(len(objects))).all()
    assert is_transitive(by_normalizer)
    assert is_transitive(by_s) == ideal == b.ideal
    assert b.size == len(objects)
    assert b.degeneracy == len(objects) * len(k) / len(s)
    assert b.degeneracy == 1 or not ideal
    k_in_s = set(find(s, k).tolist())
    assert set(np.flatnonzero(by_s[:, 0] == 0).tolist()) == k_in_s
    conjugates = {frozenset(row.tolist()) for row in find(s, s[:, None] @ k @ np.swapaxes(s, 1, 2)[:, None])}
    for j in range(len(objects)):
        assert frozenset(np.flatnonzero(by_s[:, j] == j).tolist()) in conjugates
    return movers, conjugated
