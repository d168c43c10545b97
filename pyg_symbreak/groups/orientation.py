"""Which point group some matrices are, and how it stands: names and alignments of groups in floating point."""

from __future__ import annotations

import math

import numpy as np

from pyg_symbreak._native import point_group_name

from .standard import axis_and_angle, rotation, standard

__all__ = ["TOLERANCE", "alignments", "identify", "nearest", "place", "polar", "recognize", "require_group"]

TOLERANCE = 1e-5  # deviation at which two elements of a group in floating point count as different


def polar(m: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] nearest to a matrix."""
    u, _, v = np.linalg.svd(m)
    return u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v


def nearest(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each matrix of a [n, 3, 3] the index of the nearest of b [m, 3, 3], and the largest deviation."""
    index = np.argmax(a.reshape(len(a), 9) @ b.reshape(len(b), 9).T, axis=1)
    return index, np.abs(a - b[index]).max((1, 2))


def require_group(given: np.ndarray, tolerance: float) -> None:
    """Raise a ValueError unless matrices [n, 3, 3] are orthogonal, distinct, and closed under products."""
    bad = ~(np.abs(given @ np.swapaxes(given, 1, 2) - np.eye(3)).max((1, 2)) < 4 * tolerance)
    if bad.any():
        raise ValueError(f"matrix {int(np.argmax(bad))} is not orthogonal within {tolerance}")
    overlap = given.reshape(len(given), 9) @ given.reshape(len(given), 9).T - 10 * np.eye(len(given))
    a, b = divmod(int(np.argmax(overlap)), len(given))
    if len(given) > 1 and np.abs(given[a] - given[b]).max() < 4 * tolerance:
        raise ValueError(f"matrices {min(a, b)} and {max(a, b)} are the same element")
    products = np.einsum("aij,bjk->abik", given, given).reshape(-1, 3, 3)
    _, deviation = nearest(products, given)
    if deviation.max() > 4 * tolerance:
        a, b = divmod(int(np.argmax(deviation)), len(given))
        raise ValueError(
            f"not a group: the product of matrices {a} and {b} is missing, {np.round(given[a] @ given[b], 4).tolist()}"
        )


def recognize(given: np.ndarray, tolerance: float) -> str:
    """The name of a group of matrices, by how many elements of each kind there are."""
    name = point_group_name(np.ascontiguousarray(given), 10 * tolerance)
    if not name:
        raise _no_point_group(given, tolerance)
    return name


def _no_point_group(given: np.ndarray, tolerance: float) -> ValueError:
    return ValueError(f"these {len(given)} matrices are not a point group within {tolerance}; raise the tolerance")


def _orient(name: str, given: np.ndarray, tolerance: float) -> np.ndarray:
    """A rotation F with given = F·standard·Fᵀ, nearest to the identity."""
    frames = alignments(standard(name).elements, given, tolerance)
    if not len(frames):
        raise _no_point_group(given, tolerance)
    return frames[int(np.argmax(np.round(np.trace(frames, axis1=1, axis2=2), 6)))]


def place(name: str, given: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """The best such rotation, and which standard element each of the given is."""
    frame = _orient(name, given, tolerance)
    exact = standard(name).elements
    for _ in range(3):  # the mean of R·F·sᵀ over matched elements is a fixed point at the best orientation
        index, _ = nearest(given, frame @ exact @ frame.T)
        frame = polar(np.einsum("nij,jk,nlk->il", given, frame, exact[index]))
    return frame, index


def identify(given: np.ndarray, tolerance: float) -> tuple[str, np.ndarray]:
    """The name of a group of matrices and its orientation."""
    name = recognize(given, tolerance)
    return name, _orient(name, given, tolerance)


def alignments(a: np.ndarray, b: np.ndarray, tolerance: float) -> np.ndarray:
    """All rotations R [m, 3, 3] with R·A·Rᵀ = B as sets; one of them where there are infinitely many.

    R carries the axes of two elements of A to axes of elements of B of the same kind, and is known from that.
    """
    (det_a, axes_a, angles_a), (det_b, axes_b, angles_b) = _kinds(a), _kinds(b)
    slack = max(0.02, 20 * tolerance)

    def same(i: int) -> np.ndarray:
        return np.flatnonzero((det_b == det_a[i]) & (np.abs(angles_b - angles_a[i]) < slack))

    turned = np.flatnonzero(angles_a > 1e-6)
    if len(turned) == 0:
        return np.eye(3)[None] if np.abs(np.sort(det_a) - np.sort(det_b)).max() == 0 else np.zeros((0, 3, 3))
    first = min(turned, key=lambda i: len(same(i)))
    across = [i for i in turned if np.linalg.norm(np.cross(axes_a[first], axes_a[i])) > 1e-3]
    if not across:
        targets = [s * axes_b[j] for j in same(first)[:1] for s in (1, -1)]
        trial = np.array([_shortest_turn(axes_a[first], t) for t in targets]).reshape(-1, 3, 3)
    else:
        second = min(across, key=lambda i: len(same(i)))
        one, two = same(first), same(second)
        signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
        u = (signs[:, 0, None, None, None] * axes_b[one][:, None]) + 0 * axes_b[two]
        v = (signs[:, 1, None, None, None] * axes_b[two]) + 0 * axes_b[one][:, None]
        u, v = u.reshape(-1, 3), v.reshape(-1, 3)
        good = np.abs((u * v).sum(1) - axes_a[first] @ axes_a[second]) < slack
        trial = _triads(u[good], v[good]) @ _triads(axes_a[first][None], axes_a[second][None])[0].T
        limit = slack if tolerance > TOLERANCE else 1e-3
        for i in (first, second):
            trial = trial[nearest(trial @ a[i] @ np.swapaxes(trial, 1, 2), b)[1] < limit]
    return _distinct(trial[np.array([_maps_onto(r, a, b, tolerance) for r in trial], dtype=bool)])


def _kinds(elements: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    det = np.sign(np.linalg.det(elements))
    axes, angles = axis_and_angle(elements * det[:, None, None])
    return det, axes, angles


def _triads(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Right-handed orthonormal frames [n, 3, 3] (columns) that are symmetric in the two directions."""
    x, w = u + v, np.cross(u, v)
    x, w = x / np.linalg.norm(x, axis=1)[:, None], w / np.linalg.norm(w, axis=1)[:, None]
    return np.stack([x, np.cross(w, x), w], axis=2)


def _shortest_turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    w, c = np.cross(a, b), a @ b
    if np.linalg.norm(w) < 1e-9:
        if c > 0:
            return np.eye(3)
        w = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
        return rotation(w, np.pi)
    return rotation(w, math.atan2(np.linalg.norm(w), c))


def _maps_onto(r: np.ndarray, a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    index, deviation = nearest(r @ a @ r.T, b)
    return deviation.max() < max(20 * tolerance, 1e-6) and len(set(index.tolist())) == len(b)


def _distinct(matrices: np.ndarray) -> np.ndarray:
    """The first of each lot of matrices [n, 3, 3] that nearly agree."""
    flat = matrices.reshape(-1, 9)
    near = np.abs(flat[:, None] - flat).max(2) < 1e-3
    return matrices[~np.tril(near, -1).any(1)]
