"""The canonical frame of a molecule in numpy, all frames at once: what the compiled search is compared with."""

import math

import numpy as np

from pyg_symbreak.breaking.canonical.structures import generic_function

SAME = 1.0937e-6


def levels(values: np.ndarray) -> np.ndarray:
    """Numbers of the distinct values, in their order; values closer than SAME of the largest are one."""
    flat = values.ravel()
    order = np.argsort(flat)
    steps = np.diff(flat[order], prepend=flat[order[:1]]) > SAME * np.abs(flat).max()
    out = np.empty(len(flat), dtype=np.int64)
    out[order] = np.cumsum(steps)
    return out.reshape(values.shape)


def highest(values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Positions of the values of the highest level."""
    found = levels(values)
    return np.nonzero(found == found.max())


def rarest(columns: list[np.ndarray]) -> np.ndarray:
    """Positions of the rows that belong to the class with the fewest members, the first of such classes."""
    _, of, sizes = np.unique(np.stack(columns, 1), axis=0, return_inverse=True, return_counts=True)
    return np.flatnonzero(of.reshape(-1) == np.argmin(sizes))


def molecular_frame(positions: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """A frame of least energy, the positions in it, and the number of such frames."""
    centered = positions - positions.mean(0)
    size = math.sqrt((centered**2).sum(1).mean())
    q = centered / size
    frames, widths = frames_of(q, kinds)
    points = q @ frames
    points[..., 1:] /= widths[:, None, None]
    energies = generic_function(points) @ np.sqrt(2.0 + kinds)
    ties = np.flatnonzero(energies <= energies.min() + 1e-9 * np.abs(energies).max())
    rotation = frames[ties[0]]
    return rotation, centered @ rotation, len(ties)


def frames_of(q: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames of both hands, float64 [n, 3, 3], and the root mean square distance from the first axis of each, [n].

    The first axis goes through an atom of those furthest from the centre, the second towards one of those furthest
    from the first axis; among them the rarest class is taken, of those that invariants tell apart.
    """
    radius = np.linalg.norm(q, axis=1)
    apart = np.linalg.norm(q[:, None] - q[None], axis=2)
    around = (np.exp(-apart) * np.sqrt(2.0 + kinds)).sum(1)
    of = np.unique(np.stack([kinds, levels(radius), levels(around)], 1), axis=0, return_inverse=True)[1].reshape(-1)
    furthest = highest(radius)[0]
    first = furthest[rarest([of[furthest]])]
    e1 = q[first] / radius[first, None]
    along = e1 @ q.T
    across = q[None] - along[:, :, None] * e1[:, None]
    offset = np.linalg.norm(across, axis=2)
    i, j = highest(offset)
    pairs = rarest([of[j], levels(along)[i, j]])
    i, j = i[pairs], j[pairs]
    e1, e2 = e1[i], across[i, j] / offset[i, j, None]
    e2 -= (e1 * e2).sum(1, keepdims=True) * e1  # of a long thin molecule the first time is not enough
    e3 = np.cross(e1, e2)
    frames = np.concatenate([np.stack([e1, e2, e3], 2), np.stack([e1, e2, -e3], 2)])
    return frames, np.tile(np.sqrt((offset**2).mean(1))[i], 2)
