"""Whether two structures are the same, up to an isometry and a renumbering."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist, squareform

from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.distort.displacements import nearest_neighbor_distance
from pyg_symbreak.structures import match_atoms

SAME_PLACE = 0.05
"""Of equal structures no two atoms are further apart, as a fraction of the nearest-neighbour distance."""


def same_structure(a: Atoms, b: Atoms) -> bool:
    """Whether an isometry and a renumbering carry one structure to the other, nearly.

    Two molecules, or two crystals in the same cell. Atoms that correspond are of one element, and none is further from
    its partner than 0.05 of the nearest-neighbour distance.
    """
    if sorted(a.numbers) != sorted(b.numbers) or (a.pbc != b.pbc).any():
        return False
    tolerance = SAME_PLACE * nearest_neighbor_distance(a)
    if a.pbc.any():
        return _same_crystal(a, b, tolerance)
    return _same_molecule(a, b, tolerance)


def _same_crystal(a: Atoms, b: Atoms, tolerance: float) -> bool:
    cell = a.cell.array.copy()
    if not a.pbc.all():  # a slab: make it a crystal of slabs far apart
        normal = a.cell.uncomplete(a.pbc).complete().array[~a.pbc][0]
        cell[~a.pbc] = normal * (np.ptp(a.positions @ normal) + np.ptp(b.positions @ normal) + 20)
    lattice = detect_symmetry(Atoms("H", cell=a.cell, pbc=a.pbc), 1e-3)
    assert isinstance(lattice, Symmetry)
    for rotation in lattice.group.matrices:
        turned = Atoms(a.numbers, a.positions @ rotation.T, cell=cell, pbc=True)
        other = Atoms(b.numbers, b.positions, cell=cell, pbc=True)
        if np.linalg.norm(match_atoms(turned, other).displacements.numpy(), axis=1).max() < tolerance:
            return True
    return False


def _same_molecule(a: Atoms, b: Atoms, tolerance: float) -> bool:
    """Lay two atoms of a, with the centre, on each fitting pair of b; the rest must follow."""
    x, y = a.positions - a.positions.mean(0), b.positions - b.positions.mean(0)
    if np.abs(np.sort(pdist(x)) - np.sort(pdist(y))).max(initial=0) > 2 * tolerance:
        return False
    if len(a) == 1:
        return True
    radius = np.linalg.norm(x, axis=1)
    area = np.linalg.norm(np.cross(x[:, None], x), axis=2)
    p, q = np.unravel_index(area.argmax(), area.shape) if area.max() > 1e-3 else (radius.argmax(), radius.argmin())
    length, far = np.linalg.norm(y, axis=1), squareform(pdist(y))
    alike_p = (np.abs(length - radius[p]) < tolerance) & (b.numbers == a.numbers[p])
    alike_q = (np.abs(length - radius[q]) < tolerance) & (b.numbers == a.numbers[q])
    fits = np.abs(far - np.linalg.norm(x[p] - x[q])) < 2 * tolerance
    different = a.numbers[:, None] != b.numbers
    for s, t in np.argwhere(alike_p[:, None] & alike_q & fits):
        for handed in (1, -1):
            rotation = _isometry(x[[p, q]], y[[s, t]], handed)
            for _ in range(2):  # the second time with the isometry that is best for all atoms
                distance = np.linalg.norm((x @ rotation.T)[:, None] - y, axis=2)
                rows, columns = linear_sum_assignment(np.where(different, np.inf, distance**2))
                if distance[rows, columns].max() < tolerance:
                    return True
                rotation = _isometry(x, y[columns], handed)
    return False


def _isometry(x: np.ndarray, y: np.ndarray, handed: int) -> np.ndarray:
    """Orthogonal matrix [3, 3] of a given determinant that carries points [n, 3] to others best."""
    left, _, right = np.linalg.svd(y.T @ x)
    return left @ np.diag([1, 1, handed * np.linalg.det(left @ right)]) @ right
