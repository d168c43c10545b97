"""Checks of breaking sets with explicit matrices: closure, transitivity and stabilizers, found by search too."""

from functools import cache

import numpy as np
from explicit_groups import INVERSION, by_harmonics, find, random_rotation, turn
from scipy.optimize import minimize_scalar
from scipy.spatial.transform import Rotation

TOL = 1e-9


def generalized_normalizer(n, s, k):
    """The elements [m, 3, 3] of n that normalize S and carry K onto an S-conjugate of it, by trying all of them."""

    def images(group, movers):
        moved = movers[:, None] @ group @ np.swapaxes(movers, 1, 2)[:, None]
        return [frozenset(row.tolist()) for row in find(n, moved)]

    normal, conjugates = frozenset(find(n, s).tolist()), set(images(k, s))
    return n[[a == normal and b in conjugates for a, b in zip(images(s, n), images(k, n), strict=True)]]


def images_of(irreps, elements, objects):
    """How elements [n, 3, 3] permute objects [m, dim], int [n, m]; an AssertionError where one leads out of the set."""
    objects = np.asarray(objects)
    moved = np.einsum("nij,mj->nmi", by_harmonics(irreps, elements), objects)
    distance = np.linalg.norm(moved[:, :, None] - objects, axis=3)
    assert distance.min(2).max() < TOL, "the set is not closed"
    return distance.argmin(2)


def stabilizer_in(elements, irreps, v):
    """The elements among [n, 3, 3] that fix a vector."""
    return elements[np.linalg.norm(by_harmonics(irreps, elements) @ v - v, axis=1) < TOL]


def is_transitive(images):
    return len(set(images[:, 0].tolist())) == images.shape[1]


def check_finite_set(b, s, k, n, ideal=True):
    """Assert that b is an equivariant exact set for S → K, given the elements of S, K and of the normalizer of S.

    Asserted are: as many distinct objects as said, closed under N(S, K), one orbit of it, one orbit of S exactly if
    ideal, the stabilizer of the first object in S is K and those of the others are conjugates.
    """
    objects = b.objects.numpy()
    distances = np.linalg.norm(objects[:, None] - objects, axis=2) + 9 * np.eye(len(objects))
    assert distances.min() > 0.05, "two objects nearly coincide"
    by_normalizer = images_of(b.irreps, generalized_normalizer(n, s, k), objects)
    by_s = images_of(b.irreps, s, objects)
    assert is_transitive(by_normalizer)
    assert is_transitive(by_s) == ideal == b.ideal
    assert b.size == len(objects)
    assert b.degeneracy == len(objects) * len(k) / len(s)
    assert set(np.flatnonzero(by_s[:, 0] == 0).tolist()) == set(find(s, k).tolist())
    conjugates = {frozenset(row.tolist()) for row in find(s, s[:, None] @ k @ np.swapaxes(s, 1, 2)[:, None])}
    for j in range(len(objects)):
        assert frozenset(np.flatnonzero(by_s[:, j] == j).tolist()) in conjugates
    assert np.abs(by_harmonics(b.irreps, b.motions) @ objects[0] - objects).max() < TOL


def _turning(irreps, w, axis):
    """The function θ [n] → D(turn by θ about the axis)·w [n, dim], a trigonometric polynomial known from 32 angles."""
    samples = _turns(str(irreps), tuple(axis)) @ w
    waves, orders = np.fft.fft(samples, axis=0) / 32, np.fft.fftfreq(32, 1 / 32)
    return lambda t: (np.exp(1j * np.outer(t, orders)) @ waves).real


@cache
def _turns(irreps, axis):
    """The matrices of 32 turns about an axis."""
    return by_harmonics(irreps, np.array([turn(axis, t) for t in np.arange(32) * np.pi / 16]))


def _nearest_turns(irreps, w, axis, v):
    """The angles at which a turn about the axis brings w nearest to v, as local minima, and the distances there."""
    turned = _turning(irreps, w, axis)

    def distance(t):
        return np.linalg.norm(turned(np.atleast_1d(t)) - v, axis=1)

    grid = np.linspace(0, 2 * np.pi, 361)[:-1]
    values = distance(grid)
    low = grid[(values <= np.roll(values, 1)) & (values <= np.roll(values, -1)) & (values < values.min() + 0.1)]
    if np.ptp(values) < 1e-9:
        low = low[:1]
    bounds = [(t - 0.02, t + 0.02) for t in low]
    fits = [
        minimize_scalar(lambda t: distance(t)[0], bounds=x, method="bounded", options={"xatol": 1e-11}) for x in bounds
    ]
    return np.array([f.x for f in fits]), np.array([f.fun for f in fits])


def axial_stabilizer(irreps, v, axis, components):
    """The elements that fix v among turns about an axis times the components, found by search; None if too many."""
    found = []
    for c in components:
        w = by_harmonics(irreps, c[None])[0] @ v
        if np.abs(_turning(irreps, w, axis)(np.arange(7)) - v).max() < 1e-9:
            return None
        angles, distances = _nearest_turns(irreps, w, axis, v)
        found += [turn(axis, t) @ c for t in angles[distances < 1e-6]]
    return distinct(found)


def distinct(matrices):
    kept = []
    for m in matrices:
        if all(np.abs(m - other).max() > 1e-3 for other in kept):
            kept.append(m)
    return np.array(kept).reshape(-1, 3, 3)


def spherical_solutions(irreps, v, w, improper, starts=300, seed=0):
    """Elements g of SO(3), or of O(3), with D(g)·v = w, by Gauss–Newton steps from many random rotations."""
    rng = np.random.default_rng(seed)
    h = 1e-4
    steps = [turn(a, h) for a in np.eye(3)], [turn(a, -h) for a in np.eye(3)]
    generators = (by_harmonics(irreps, np.array(steps[0])) - by_harmonics(irreps, np.array(steps[1]))) / (2 * h)
    found = []
    for base in (np.eye(3), INVERSION) if improper else (np.eye(3),):
        u = by_harmonics(irreps, base[None])[0] @ v
        jacobian = (generators @ u).T  # [dim, 3]
        r = np.array([random_rotation(rng) for _ in range(starts)])
        for _ in range(25):
            d = by_harmonics(irreps, r)
            residual = np.einsum("nji,nj->ni", d, w - d @ u)
            damped = jacobian.T @ jacobian + 1e-6 * np.eye(3)
            step = residual @ jacobian @ np.linalg.inv(damped)
            step *= np.minimum(1, 0.5 / np.maximum(np.linalg.norm(step, axis=1), 1e-9))[:, None]
            r = r @ Rotation.from_rotvec(step).as_matrix()
        good = np.linalg.norm(by_harmonics(irreps, r) @ u - w, axis=1) < 1e-6
        found += list(r[good] @ base)
    return distinct(found)


def axial_orbit_distance(irreps, x, y, axis, components):
    """How near the turns about an axis times the components carry y to x."""
    moved = by_harmonics(irreps, np.asarray(components)) @ y
    return min(_nearest_turns(irreps, w, axis, x)[1].min() for w in moved)
