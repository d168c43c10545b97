"""Symmetry of molecules: which orthogonal operations about the centre permute the atoms, within a tolerance.

An operation is fixed, up to a reflection, by the images of two atoms that are not in line with the centre. So
all are found by laying one well-conditioned pair on all pairs that look like it. Each is then fitted to all
atoms (Kabsch, Acta Cryst. A 32, 922 (1976)), those within the tolerance that form a group are kept, and their
matrices are made to multiply exactly.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import cKDTree

from pyg_symbreak.detect._input import Structure
from pyg_symbreak.detect._symmetry import Symmetry
from pyg_symbreak.groups import PointGroup

DENSE = 200_000  # above this many distances at once, a search tree is faster


def molecule_symmetry(structure: Structure, symprec: float) -> Symmetry:
    """Largest group found whose operations all move each atom to within `symprec` of an atom of its kind.

    Raises
    ------
    ValueError
        `symprec` is half of the shortest distance between atoms or more, so that images would be ambiguous.
    """
    molecule = _Molecule.of(structure)
    if symprec >= molecule.shortest / 2:
        raise ValueError(
            f"symprec = {symprec:g} Å is too large: two atoms are {molecule.shortest:.3g} Å apart, and for "
            "unambiguous images it must be below half of that"
        )
    if 2 * molecule.off_axis <= symprec:
        return _linear(molecule, symprec)
    found = _operations(molecule, symprec)
    limit = symprec
    while True:
        exact = _exact(molecule, _largest_group(found, limit))
        if exact.residuals.max() <= symprec:
            return _result(molecule, exact, symprec)
        limit = 0.9 * min(limit, float(exact.residuals.max()))  # exact operations miss by a little more


def molecule_levels(structure: Structure, limit: float) -> list[Symmetry]:
    """Groups that operations up to some residual generate, each in the next, from the least residual on.

    Operations that miss by more than `limit` (Å, lowered where atoms are close) are not looked at. `symprec` of
    each is its residual, `plateau` goes from there to the residual of the next.
    """
    molecule = _Molecule.of(structure)
    limit = min(limit, 0.45 * molecule.shortest)
    if 2 * molecule.off_axis <= 1e-3 * limit:
        found = _linear(molecule, limit)
        return [replace(found, symprec=found.residual, plateau=(found.residual, limit))]
    exact = [_exact(molecule, group) for group in _chain(_operations(molecule, limit))]
    levels = [_result(molecule, group, float(group.residuals.max())) for group in exact]
    if 2 * molecule.off_axis <= limit:
        levels.append(_linear(molecule, limit))
    ends = [level.residual for level in levels[1:]] + [limit]
    pairs = zip(levels, ends, strict=True)
    return [replace(x, symprec=x.residual, plateau=(x.residual, end)) for x, end in pairs if x.residual < end]


def molecule_displacements(structure: Structure, symmetry: Symmetry) -> np.ndarray:
    """How each atom moves when the positions from their mean are averaged over the group, [N, 3] Å."""
    x = structure.positions - structure.positions.mean(0)
    rotations, permutations = symmetry.rotations.numpy(), symmetry.permutations.numpy()
    images = x if symmetry.continuous is None else _on_axis(x)
    return (images[permutations] @ rotations).mean(0) - x


def _on_axis(x: np.ndarray) -> np.ndarray:
    """Projection of points [N, 3] about their mean on their principal axis."""
    axis = np.linalg.eigh(x.T @ x)[1][:, -1]
    return np.outer(x @ axis, axis)


@dataclass(frozen=True)
class _Molecule:
    """Positions [N, 3] from their mean, and what is measured on them once."""

    x: np.ndarray
    center: np.ndarray
    kinds: np.ndarray
    radii: np.ndarray
    axis: np.ndarray
    off_axis: float

    shortest: float

    @classmethod
    def of(cls, structure: Structure) -> "_Molecule":
        center = structure.positions.mean(0)
        x = structure.positions - center
        axis = np.linalg.eigh(x.T @ x)[1][:, -1]
        off_axis = float(np.sqrt(((x - np.outer(x @ axis, axis)) ** 2).sum(1).max()))
        radii = np.sqrt((x * x).sum(1))
        return cls(x, center, structure.kinds, radii, axis, off_axis, _shortest_distance(x))


def _shortest_distance(x: np.ndarray) -> float:
    """Shortest distance between two points; infinite if there is one only."""
    if len(x) == 1:
        return math.inf
    if len(x) ** 2 > DENSE:
        return float(cKDTree(x).query(x, 2)[0][:, 1].min())
    square = _square_distances(x, x)
    square[np.diag_indices_from(square)] = np.inf
    return float(np.sqrt(max(square.min(), 0.0)))


@dataclass(frozen=True)
class _Operations:
    """Rotations [n, 3, 3], permutations [n, N], residuals [n], determinants [n], images of two atoms [n]."""

    rotations: np.ndarray
    permutations: np.ndarray
    residuals: np.ndarray
    signs: np.ndarray
    pair: tuple[int, int]

    def key(self, i: np.ndarray, j: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Whole number that names an operation: the images of the reference pair, and the determinant."""
        return ((i * self.permutations.shape[1] + j) << 1) | (signs < 0)

    @cached_property
    def keys(self) -> np.ndarray:
        """Keys of the operations [n]."""
        i, j = self.pair
        return self.key(self.permutations[:, i], self.permutations[:, j], self.signs)

    @cached_property
    def table(self) -> np.ndarray:
        """Multiplication table [n, n]: in row g, column h the number of h followed by g, -1 if there is none.

        Products are looked up by their keys, and must agree in a weighted sum of their images as well.
        """
        permutations, signs = self.permutations, self.signs
        i, j = self.pair
        images = permutations[:, permutations[:, i]], permutations[:, permutations[:, j]]
        products = self.key(*images, signs[:, None] * signs)
        order = np.argsort(self.keys)
        table = order[np.minimum(np.searchsorted(self.keys[order], products), len(order) - 1)]
        size = permutations.shape[1]
        weights = np.random.default_rng(0).integers(1, 2**52 // size**2, size).astype(np.float64)
        carried = np.empty(permutations.shape)
        np.put_along_axis(carried, permutations, np.broadcast_to(weights, permutations.shape), axis=1)
        sums = permutations.astype(np.float64) @ carried.T  # exact: whole numbers below 2**53
        same = ((permutations @ weights)[table] == sums) & (self.keys[table] == products)
        return np.where(same, table, -1)

    def __getitem__(self, chosen: np.ndarray) -> "_Operations":
        return _Operations(
            self.rotations[chosen],
            self.permutations[chosen],
            self.residuals[chosen],
            self.signs[chosen],
            self.pair,
        )


def _square_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squares [..., len(a), len(b)] of the distances between points."""
    return (a * a).sum(-1)[..., None] + (b * b).sum(-1) - 2 * a @ b.T


def _reference_pair(molecule: _Molecule, symprec: float) -> tuple[int, int, float]:
    """Two atoms not in line with the centre, with few look-alikes; how much their errors grow elsewhere."""
    x, kinds, radii = molecule.x, molecule.kinds, molecule.radii
    alike = np.zeros(len(x), dtype=int)  # atoms of the kind at the distance from the centre
    for kind in range(kinds.max() + 1):
        ours = np.flatnonzero(kinds == kind)
        ordered = np.sort(radii[ours])
        alike[ours] = np.searchsorted(ordered, radii[ours] + symprec, "right") - np.searchsorted(
            ordered, radii[ours] - symprec
        )
    far = radii.max()
    i = int(np.where(radii >= far / 2, alike, len(x) + 1).argmin())
    across = _norm(_cross(x[i], x)) / radii[i]  # distance from the line through the centre
    spread = np.minimum(across, across * radii[i] / np.maximum(radii, 1e-12))
    growth = far / np.maximum(spread, 1e-12)
    j = int(np.where(growth <= max(2.0, 1.2 * growth.min()), alike, len(x) + 1).argmin())
    return i, j, float(growth[j])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Vector product over the last axis; several times faster than numpy's on few vectors."""
    x, y, z = a[..., 0], a[..., 1], a[..., 2]
    u, v, w = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def _norm(a: np.ndarray) -> np.ndarray:
    """Lengths of vectors along the last axis."""
    return np.sqrt((a * a).sum(-1))


def _frames(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Right-handed orthonormal frames (columns) [..., 3, 3] of pairs of directions."""
    a = a / _norm(a)[..., None]
    b = b / _norm(b)[..., None]
    first, second = a + b, a - b  # orthogonal, and both directions count alike
    first /= _norm(first)[..., None]
    second /= _norm(second)[..., None]
    return np.stack([first, second, _cross(first, second)], axis=-1)


def _operations(molecule: _Molecule, symprec: float) -> _Operations:
    """All operations, fitted one by one, that miss no atom by more than symprec; the identity is first."""
    x, kinds, radii = molecule.x, molecule.kinds, molecule.radii
    i, j, growth = _reference_pair(molecule, symprec)
    like_i = np.flatnonzero((kinds == kinds[i]) & (np.abs(radii - radii[i]) <= symprec))
    like_j = np.flatnonzero((kinds == kinds[j]) & (np.abs(radii - radii[j]) <= symprec))
    apart = _norm(x[like_i][:, None] - x[like_j]) - _norm(x[i] - x[j])
    row, column = np.nonzero(np.abs(apart) <= 2 * symprec)
    first, second = x[like_i[row]], x[like_j[column]]
    kept = _norm(_cross(first, second)) > 0.1 * _norm(_cross(x[i], x[j]))
    images = _frames(first[kept], second[kept])
    frame = _frames(x[i], x[j])
    flip = np.array([1.0, 1.0, -1.0])
    candidates = np.concatenate([images, images * flip]) @ frame.T
    signs = np.repeat([1.0, -1.0], len(images))

    loose = (1 + 2 * growth) * symprec + 1e-6 * radii.max()  # the second for round-off in squares of distances
    matcher = _Matcher(x, kinds)
    if len(candidates) * len(x) ** 2 > DENSE:  # try each on a few atoms first
        probes = np.linspace(0, len(x) - 1, 4).astype(int)
        kept = (matcher.nearest(candidates, probes)[1] <= loose).all(1)
        candidates, signs = candidates[kept], signs[kept]
    permutations, distances = matcher.nearest(candidates)
    kept = (distances <= loose).all(1) & _bijective(permutations)
    permutations, signs = permutations[kept], signs[kept]
    rotations = _fit(x, permutations, signs)
    rotations[(permutations == np.arange(len(x))).all(1) & (signs > 0)] = np.eye(3)
    found = _Operations(rotations, permutations, _residuals(x, rotations, permutations), signs, (i, j))
    found = found[found.residuals <= symprec]
    found = found[np.unique(found.keys, return_index=True)[1]]
    order = np.lexsort([*found.permutations.T[::-1], -found.signs])
    return found[order]


class _Matcher:
    """Finds the atom of the same kind that is nearest to the image of an atom."""

    def __init__(self, x: np.ndarray, kinds: np.ndarray) -> None:
        apart = 4 * np.abs(x).max() + 1
        self.x, self.marks = x, kinds[:, None] * apart
        self.points = np.concatenate([x, self.marks], axis=1)

    def nearest(self, rotations: np.ndarray, atoms: slice | np.ndarray = slice(None)):
        """Indices and distances [n, number of atoms] of the atoms nearest to the images of `atoms`."""
        images = self.x[atoms] @ rotations.swapaxes(1, 2)
        marks = np.broadcast_to(self.marks[atoms], (*images.shape[:2], 1))
        images = np.concatenate([images, marks], axis=-1)
        if images.shape[0] * images.shape[1] * len(self.x) > DENSE:
            distances, found = cKDTree(self.points).query(images)
            return found, distances
        square = _square_distances(images, self.points)
        found = square.argmin(-1)
        return found, np.sqrt(np.maximum(np.take_along_axis(square, found[..., None], -1)[..., 0], 0.0))


def _bijective(maps: np.ndarray) -> np.ndarray:
    """Which rows of maps [n, N] are permutations."""
    hit = np.zeros(maps.shape, dtype=bool)
    np.put_along_axis(hit, maps, True, axis=1)
    return np.all(hit, axis=1)


def _fit(x: np.ndarray, permutations: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Orthogonal matrices [n, 3, 3] of given determinants that carry x best onto x[permutation]."""
    u, _, v = np.linalg.svd(x[permutations].swapaxes(1, 2) @ x)
    u[:, :, 2] *= (signs * np.sign(np.linalg.det(u @ v)))[:, None]
    return u @ v


def _residuals(x: np.ndarray, rotations: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """Largest distance between the image of an atom and its partner, for each operation."""
    misses = x[permutations] - x @ rotations.swapaxes(1, 2)
    return np.sqrt((misses * misses).sum(-1).max(1))


def _largest_group(found: _Operations, limit: float) -> _Operations:
    """Largest group, inside those found, that the operations up to some residual (at most limit) generate."""
    found = found[found.residuals <= limit]
    return found if (found.table >= 0).all() else list(_chain(found))[-1]


def _chain(found: _Operations) -> Iterator[_Operations]:
    """Groups that the operations up to rising residuals generate, as long as all of each was found."""
    table = found.table
    members = np.array([0])
    yield found[members]
    for new in np.argsort(found.residuals, kind="stable"):
        if new in members:
            continue
        generated = _generated(table, np.append(members, new))
        if generated is None:
            return
        members = generated
        yield found[members]


def _generated(table: np.ndarray, members: np.ndarray) -> np.ndarray | None:
    """Members of the group that some operations generate, or None if a product is missing."""
    while True:
        products = np.unique(table[np.ix_(members, members)])
        if products[0] < 0:
            return None
        if len(products) == len(members):
            return products
        members = products


def _exact(molecule: _Molecule, group: _Operations) -> _Operations:
    """Make the matrices multiply exactly as the permutations do.

    R_g is replaced by the orthogonal matrix nearest to the mean over h of R_h^T R_hg, which squares what an
    almost-homomorphism misses by (Grove, Karcher, Ruh, Math. Ann. 211, 7 (1974)).
    """
    table = group.table
    rotations = group.rotations
    for _ in range(8):
        products = rotations.swapaxes(1, 2)[:, None] @ rotations[table]
        if np.abs(products - rotations).max() < 1e-14:
            break
        u, _, v = np.linalg.svd(products.mean(0))
        rotations = u @ v
    rotations[0] = np.eye(3)
    residuals = _residuals(molecule.x, rotations, group.permutations)
    return _Operations(rotations, group.permutations, residuals, group.signs, group.pair)


def _result(molecule: _Molecule, exact: _Operations, symprec: float) -> Symmetry:
    """Put the operations on the molecule in its place."""
    return Symmetry(
        rotations=torch.from_numpy(exact.rotations),
        translations=torch.from_numpy(molecule.center - exact.rotations @ molecule.center),
        permutations=torch.from_numpy(exact.permutations),
        residuals=torch.from_numpy(exact.residuals),
        symprec=symprec,
    )


def _linear(molecule: _Molecule, symprec: float) -> Symmetry:
    """Single atoms (O3), and linear molecules: Dinfh if the inversion permutes the atoms, else Cinfv."""
    x, kinds = molecule.x, molecule.kinds
    if len(x) == 1:
        everything = PointGroup("O3")
        return _continuous(molecule, [np.eye(3)], [[0]], [0.0], symprec, everything, everything)
    height = x @ molecule.axis
    off_axis = np.linalg.norm(x - np.outer(height, molecule.axis), axis=1)
    turn = _turn_z_to(molecule.axis)
    axial = PointGroup("Cinfv").rotated(torch.from_numpy(turn))
    identity = np.arange(len(x))
    reverse = np.empty_like(identity)
    order = np.argsort(height)
    reverse[order] = order[::-1]
    miss = np.hypot(height + height[reverse], off_axis + off_axis[reverse]).max()
    residual = 2 * off_axis.max()
    if miss > symprec or (kinds[reverse] != kinds).any():
        return _continuous(molecule, [np.eye(3)], [identity], [residual], symprec, axial, axial)
    both = PointGroup("Dinfh").rotated(torch.from_numpy(turn))
    return _continuous(molecule, [np.eye(3), -np.eye(3)], [identity, reverse], [residual, miss], symprec, both, axial)


def _continuous(molecule, rotations, permutations, residuals, symprec, group, kernel) -> Symmetry:
    rotations = np.array(rotations)
    return Symmetry(
        rotations=torch.from_numpy(rotations),
        translations=torch.from_numpy(molecule.center - rotations @ molecule.center),
        permutations=torch.from_numpy(np.array(permutations)),
        residuals=torch.tensor(residuals, dtype=torch.float64),
        symprec=symprec,
        continuous=group,
        kernel=kernel,
    )


def _turn_z_to(axis: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] that carries the z axis onto the given direction or its opposite (the same line)."""
    z = np.array([0.0, 0.0, 1.0])
    axis = axis if axis[2] >= 0 else -axis
    half = (axis + z) / np.linalg.norm(axis + z)
    return (2 * np.outer(half, half) - np.eye(3)) @ np.diag([-1.0, -1.0, 1.0])
