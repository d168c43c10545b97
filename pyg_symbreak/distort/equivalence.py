"""Whether two structures are the same, up to an isometry and a renumbering."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from e3nn import o3
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist, squareform

from pyg_symbreak.distort.displacements import Features, held_atoms, nearest_neighbor_distance
from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.structures import match_atoms

__all__ = ["SAME_PLACE", "same_structure"]

SAME_PLACE = 0.05
"""Of equal structures no two atoms are further apart, as a fraction of the nearest-neighbour distance."""


def same_structure(a: Atoms, b: Atoms, *, features: Features = ()) -> bool:
    """Whether an isometry and a renumbering carry one structure to the other, nearly.

    Two molecules, two crystals, or two slabs. Atoms that correspond are of one element, and none is further from
    its partner than 0.05 of the nearest-neighbour distance; the vectors of one cell (in some basis) are no further from
    those of the other. An atom that is held by FixAtoms corresponds to one that is.

    Parameters
    ----------
    a, b : ase.Atoms
    features : sequence of str, or mapping of str to irreps
        Names of arrays that the isometry carries along too, as in :func:`pyg_symbreak.detect.detect_symmetry`.
        Invariant ones are equal, others agree to 0.05 of the largest norm.
    """
    if len(a) != len(b) or (a.pbc != b.pbc).any():
        return False
    kinds_a, kinds_b = _kinds(a, b, features)
    if sorted(kinds_a) != sorted(kinds_b):
        return False
    fields = _fields(a, b, features)

    def carried(rotation: np.ndarray, permutation: np.ndarray) -> bool:
        """Whether the fields of a, turned, are those of b."""
        for irreps, of_a, of_b in fields:
            miss = of_a @ irreps_matrices(irreps, rotation[None])[0].T - of_b[permutation]
            if np.linalg.norm(miss, axis=1).max() > SAME_PLACE * np.linalg.norm(of_b, axis=1).max():
                return False
        return True

    tolerance = SAME_PLACE * nearest_neighbor_distance(a)
    a, b = (Atoms(k, s.positions, cell=s.cell, pbc=s.pbc) for k, s in ((kinds_a, a), (kinds_b, b)))
    same = _same_crystal if a.pbc.any() else _same_molecule
    return same(a, b, tolerance, carried)


def _kinds(a: Atoms, b: Atoms, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that tell atoms of different kinds apart, the same in both structures."""
    columns = [np.concatenate([a.numbers, b.numbers]), np.concatenate([held_atoms(a), held_atoms(b)])]
    for name, irreps in _irreps(features).items():
        if all(ir.is_scalar() for _, ir in irreps):
            columns += list(np.concatenate([_array(a, name), _array(b, name)]).T)
    _, kinds = np.unique(np.array(columns, dtype=float).T.round(6), axis=0, return_inverse=True)
    return kinds.reshape(2, -1)[0], kinds.reshape(2, -1)[1]


def _fields(a: Atoms, b: Atoms, features: Features) -> list[tuple[o3.Irreps, np.ndarray, np.ndarray]]:
    """Irreps and values, in both structures, of the features that a rotation changes and that are not zero."""
    found = [(irreps, _array(a, name), _array(b, name)) for name, irreps in _irreps(features).items()]
    return [f for f in found if not all(ir.is_scalar() for _, ir in f[0]) and f[2].any()]


def _irreps(features: Features) -> dict[str, o3.Irreps]:
    pairs = features.items() if isinstance(features, Mapping) else ((name, "0e") for name in features)
    return {name: o3.Irreps(irreps) for name, irreps in pairs}


def _array(atoms: Atoms, name: str) -> np.ndarray:
    return np.asarray(atoms.arrays[name], dtype=float).reshape(len(atoms), -1)


def _same_crystal(a: Atoms, b: Atoms, tolerance: float, carried) -> bool:
    """Lay each basis of the lattice of a that has the metric of b's cell on it; the atoms must follow."""
    first, second = _reduced(a, b), _reduced(b, a)
    bases = _UNIMODULAR @ first.cell.array
    lengths = bases @ bases.swapaxes(1, 2) - second.cell.array @ second.cell.array.T
    longest = np.linalg.norm(second.cell.array, axis=1).max()
    for basis in bases[np.abs(lengths).max((1, 2)) < 3 * longest * tolerance]:
        left, _, right = np.linalg.svd(second.cell.array.T @ basis)
        rotation = left @ right
        if np.linalg.norm(basis @ rotation.T - second.cell.array, axis=1).max() > tolerance:
            continue
        turned = Atoms(first.numbers, first.positions @ rotation.T, cell=basis @ rotation.T, pbc=True)
        match = match_atoms(turned, second)
        far = np.linalg.norm(match.displacements.numpy(), axis=1).max()
        if far < tolerance and carried(rotation, match.permutation.numpy()):
            return True
    return False


_UNIMODULAR = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
_UNIMODULAR = _UNIMODULAR[np.abs(np.linalg.det(_UNIMODULAR)).round() == 1]
"""Changes of basis: those between two bases as short as can be are among them."""


def _reduced(a: Atoms, other: Atoms) -> Atoms:
    """The crystal in a cell with the shortest vectors; a slab as a crystal of slabs far apart, as far as the other."""
    cell = a.cell.array.copy()
    if not a.pbc.all():
        normal = a.cell.uncomplete(a.pbc).complete().array[~a.pbc][0]
        cell[~a.pbc] = normal * (np.ptp(a.positions @ normal) + np.ptp(other.positions @ normal) + 20)
    return Atoms(a.numbers, a.positions, cell=minkowski_reduce(cell)[0], pbc=True)


def _same_molecule(a: Atoms, b: Atoms, tolerance: float, carried) -> bool:
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
                if distance[rows, columns].max() < tolerance and carried(rotation, columns):
                    return True
                rotation = _isometry(x, y[columns], handed)
    return False


def _isometry(x: np.ndarray, y: np.ndarray, handed: int) -> np.ndarray:
    """Orthogonal matrix [3, 3] of a given determinant that carries points [n, 3] to others best."""
    left, _, right = np.linalg.svd(y.T @ x)
    return left @ np.diag([1, 1, handed * np.linalg.det(left @ right)]) @ right
