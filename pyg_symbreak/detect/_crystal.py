"""Symmetry of crystals and slabs: the operations come from moyo, everything else about them from here."""

import logging
from dataclasses import replace

import moyopy
import numpy as np
import torch
from ase import Atoms
from scipy.spatial import cKDTree

from pyg_symbreak.detect._input import Structure
from pyg_symbreak.detect._symmetry import SpaceGroup, Symmetry
from pyg_symbreak.structures import neighbor_pairs

logging.getLogger("moyo").addHandler(logging.NullHandler())  # heard by those who set up logging


SAFE = 8.0
"""moyo's tolerance is kept this much below the shortest distance: far above that its search may not end."""


def crystal_symmetry(structure: Structure, symprec: float) -> Symmetry:
    """Space group of a crystal, or layer group of a slab, modulo the lattice of the given cell.

    Raises
    ------
    ValueError
        The cell is thinner than the tolerance allows, the tolerance is larger than distances between atoms allow, or
        no set of operations that fit within `symprec` is found.
    """
    cell, origin = lattice_of(structure)
    is_slab = not structure.pbc.all()
    thickness = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    if thickness.min() <= 4 * symprec:
        raise ValueError(f"the cell is {thickness.min():.2g} Å thin, too thin for symprec = {symprec:g} Å")
    shortest = _shortest_distance(structure, SAFE * symprec)
    if shortest <= 2 * symprec:
        raise ValueError(
            f"symprec = {symprec:g} Å is too large: two atoms are {shortest:.3g} Å apart, and for "
            "unambiguous images it must be below half of that"
        )
    fractional = (structure.positions - origin) @ np.linalg.inv(cell)
    tolerance = min(symprec, shortest / SAFE)
    for _ in range(24):  # moyo's tolerance bounds other distances: here no atom misses by more than symprec
        dataset = _moyo(cell, fractional, structure, tolerance)
        integer, shifts = _operations(dataset, is_slab)
        found = _complete(cell, fractional, structure.kinds, structure.pbc.sum(), integer, shifts)
        if found is not None and found[3].max() <= symprec:
            found = _with_tensors(structure, cell, found, symprec)
            break
        tolerance /= 2
    else:
        raise ValueError(f"no group of operations fits this structure within symprec = {symprec:g} Å")
    rotations, translations, permutations, residuals = found
    kind = SpaceGroup(dataset.number, _symbol(dataset.number, is_slab))
    return Symmetry(
        rotations=torch.from_numpy(rotations),
        translations=torch.from_numpy(translations + origin - rotations @ origin),
        permutations=torch.from_numpy(permutations),
        residuals=torch.from_numpy(residuals),
        symprec=symprec,
        space_group=None if is_slab else kind,
        layer_group=kind if is_slab else None,
    )


def _shortest_distance(structure: Structure, cutoff: float) -> float:
    """Shortest distance, Å, between two atoms or an atom and its image; the cutoff if all are longer."""
    atoms = Atoms(structure.kinds, structure.positions, cell=structure.cell, pbc=structure.pbc)
    source, target, shift = neighbor_pairs(atoms, cutoff)
    apart = structure.positions[target] - structure.positions[source] + shift @ structure.cell
    return float(np.linalg.norm(apart, axis=1).min(initial=cutoff))


def crystal_levels(structure: Structure, limit: float) -> list[Symmetry]:
    """Groups found at rising tolerances up to `limit`, Å; `symprec` of each is its residual.

    `plateau` goes from there to the residual of the next.
    """
    levels: list[Symmetry] = []
    for tolerance in np.geomspace(1e-5 * limit, limit, 31):
        try:
            found = crystal_symmetry(structure, float(tolerance))
        except ValueError:
            if levels:
                break
            raise
        if not levels or found.order > levels[-1].order:
            levels.append(found)
    ends = [level.residual for level in levels[1:]] + [float(limit)]
    pairs = zip(levels, ends, strict=True)
    return [replace(x, symprec=x.residual, plateau=(x.residual, end)) for x, end in pairs]


def crystal_displacements(structure: Structure, symmetry: Symmetry) -> np.ndarray:
    """How each atom moves when fractional coordinates are averaged over the group, [N, 3] Å in the given cell."""
    cell, origin = lattice_of(structure)
    periodic = structure.pbc.sum()
    inverse_cell = np.linalg.inv(cell)
    rotations, permutations = symmetry.rotations.numpy(), symmetry.permutations.numpy()
    integer = integer_matrices(cell, rotations)
    shifts = (symmetry.translations.numpy() - origin + rotations @ origin) @ inverse_cell
    fractional = (structure.positions - origin) @ inverse_cell
    misses = fractional[permutations] - fractional @ integer.swapaxes(1, 2) - shifts[:, None]
    misses[..., :periodic] -= np.round(misses[..., :periodic])
    return (misses @ np.linalg.inv(integer).swapaxes(1, 2)).mean(0) @ cell


def symmetrize_lattice(
    structure: Structure, symmetry: Symmetry, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N, 3] and cell [3, 3] after straining positions and cell to the nearest symmetric lattice."""
    cell, origin = lattice_of(structure)
    symmetric = symmetrized_cell(cell, integer_matrices(cell, symmetry.rotations.numpy()))
    new_cell = structure.cell.copy()
    new_cell[structure.pbc] = symmetric[: structure.pbc.sum()]
    return (positions - origin) @ np.linalg.inv(cell) @ symmetric + origin, new_cell


def integer_matrices(cell: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Rotations [n, 3, 3] of fractional coordinates (columns), from the Cartesian ones."""
    return np.round(np.linalg.inv(cell).T @ rotations @ cell.T)


def lattice_of(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Cell [3, 3] and origin [3]; of a slab, the third vector is a long normal."""
    pbc = structure.pbc
    if pbc.all():
        return structure.cell, np.zeros(3)
    plane = structure.cell[pbc]
    normal = np.cross(*plane)
    normal /= np.linalg.norm(normal)
    heights = structure.positions @ normal
    length = 2 * np.ptp(heights) + 10.0
    return np.vstack([plane, length * normal]), heights.mean() * normal


def _moyo(cell: np.ndarray, fractional: np.ndarray, structure: Structure, tolerance: float):
    """Run moyo; its panics and terse errors become one that says what to do."""
    is_slab = not structure.pbc.all()
    read = moyopy.MoyoLayerDataset if is_slab else moyopy.MoyoDataset
    if is_slab:  # moyo wants the plane to be xy, and the atoms in one piece between 0 and 1
        cell = np.linalg.qr(cell.T)[1].T
        fractional = fractional + np.array([0.0, 0.0, 0.5])
    numbers = (structure.kinds + 1).tolist()
    try:
        return read(moyopy.Cell(cell.tolist(), (fractional % 1.0).tolist(), numbers), symprec=tolerance)
    except ValueError as error:
        raise ValueError(
            f"the symmetry search failed at a tolerance of {tolerance:g} Å ({error}): it is probably "
            "too large for the distances between the atoms; try a smaller symprec"
        ) from error


def _operations(dataset, is_slab: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rotations [n, 3, 3] of fractional coordinates (columns) and shifts [n, 3] of a moyo data set."""
    operations = dataset.operations
    rotations, shifts = np.array(operations.rotations, dtype=np.int64), np.array(operations.translations)
    if is_slab:
        shifts[:, 2] = 0.0  # heights are measured from their mean
    return rotations, shifts


def _complete(cell, fractional, kinds, periodic, integer, shifts):
    """Cartesian rotations, translations, permutations and residuals of the operations (W, w): f -> W f + w.

    The group is the product of one operation per rotation and the pure translations, so that only those need
    to be matched atom by atom. None if some operation does not permute the atoms.
    """
    first = np.unique(integer.reshape(-1, 9), axis=0, return_index=True)[1]
    is_identity = (integer == np.eye(3, dtype=np.int64)).all((1, 2))
    pure = np.flatnonzero(is_identity)
    pure = pure[np.argsort(np.abs(shifts[pure] - np.round(shifts[pure])).sum(1), kind="stable")]
    leaders = [pure[0], *(i for i in np.sort(first) if not is_identity[i])]
    if len(leaders) * len(pure) != len(integer):
        return None
    metric_cell = symmetrized_cell(cell, integer[leaders])
    tree = _Tree(fractional, kinds, metric_cell)
    coset_maps, translation_maps = (tree.match(integer[i], shifts[i]) for i in (leaders, pure))
    if coset_maps is None or translation_maps is None:
        return None
    permutations = translation_maps[:, coset_maps].swapaxes(0, 1)
    permutations = permutations.reshape(-1, len(fractional))
    whole = np.repeat(integer[leaders], len(pure), axis=0)
    moved = fractional @ whole.swapaxes(1, 2) + (shifts[leaders][:, None] + shifts[pure]).reshape(-1, 1, 3)
    misses = fractional[permutations] - moved
    misses -= np.round(misses)
    correction = misses.mean(1)
    misses -= correction[:, None]
    residuals = np.linalg.norm(misses @ metric_cell, axis=-1).max(1)
    shifts = moved[:, 0] - whole @ fractional[0] + correction
    shifts[:, :periodic] = _into_cell(shifts[:, :periodic])
    shifts[:, periodic:] -= np.round(shifts[:, periodic:])
    inverse_cell = np.linalg.inv(metric_cell)
    rotations = np.einsum("ji,gjk,lk->gil", metric_cell, integer[leaders], inverse_cell)
    strain = cell @ rotations.swapaxes(1, 2) - integer[leaders].swapaxes(1, 2) @ cell
    residuals = np.maximum(residuals, np.repeat(np.linalg.norm(strain, axis=-1).max(1), len(pure)))
    return np.repeat(rotations, len(pure), axis=0), shifts @ cell, permutations, residuals


def _with_tensors(structure: Structure, cell: np.ndarray, found: tuple, symprec: float) -> tuple:
    """The operations that keep tensors: the largest group of them up to some residual, at most symprec."""
    if not structure.tensors:
        return found
    rotations, translations, permutations, residuals = found
    misses, integer = structure.misses(rotations, permutations), integer_matrices(cell, rotations)
    for limit in np.unique(misses[misses <= symprec])[::-1]:
        chosen = np.flatnonzero(misses <= limit)
        if _is_group(integer[chosen], permutations[chosen]):
            break
    return rotations[chosen], translations[chosen], permutations[chosen], np.maximum(residuals, misses)[chosen]


def _is_group(integer: np.ndarray, permutations: np.ndarray) -> bool:
    """Whether operations, some of a group and the identity first, generate no others."""

    def keys(w: np.ndarray, p: np.ndarray) -> list[bytes]:
        return [row.tobytes() for row in np.concatenate([w.reshape(len(w), 9).astype(np.int64), p], axis=1)]

    index = {key: i for i, key in enumerate(keys(integer, permutations))}
    reached = np.arange(len(integer)) == 0
    generators: list[int] = []
    while not reached.all():
        generators.append(int(np.argmin(reached)))
        frontier = np.flatnonzero(reached)
        while len(frontier):
            products = [
                index.get(key, -1)
                for g in generators
                for key in keys(integer[frontier] @ integer[g], permutations[frontier][:, permutations[g]])
            ]
            if min(products) < 0:
                return False
            frontier = np.unique([i for i in products if not reached[i]]).astype(int)
            reached[frontier] = True
    return True


def symmetrized_cell(cell: np.ndarray, integer: np.ndarray) -> np.ndarray:
    """Cell [3, 3] nearest to the given one whose metric all the integer rotations leave as it is."""
    metric = np.einsum("gki,kl,glj->ij", integer, cell @ cell.T, integer) / len(integer)
    values, vectors = np.linalg.eigh(metric)
    root = (vectors * np.sqrt(values)) @ vectors.T
    left, _, right = np.linalg.svd(root @ cell)
    return root @ left @ right


def _into_cell(shifts: np.ndarray) -> np.ndarray:
    """Reduce fractional shifts to [0, 1), where what is 1 up to round-off is 0."""
    shifts = shifts - np.floor(shifts)
    shifts[(shifts > 1 - 1e-9) | (shifts < 1e-9)] = 0.0
    return shifts


class _Tree:
    """Finds which atom lies at a position, modulo the lattice, in coordinates along the cell vectors, Å."""

    def __init__(self, fractional: np.ndarray, kinds: np.ndarray, cell: np.ndarray) -> None:
        self.fractional, self.kinds, self.cell = fractional, kinds, cell
        self.lengths = np.linalg.norm(cell, axis=1)
        self.tree = cKDTree(self._wrapped(fractional), boxsize=self.lengths)

    def _wrapped(self, fractional: np.ndarray) -> np.ndarray:
        wrapped = (fractional % 1.0) * self.lengths
        return np.where(wrapped >= self.lengths, 0.0, wrapped)

    def match(self, rotations: np.ndarray, shifts: np.ndarray) -> np.ndarray | None:
        """Permutations [n, N] that the operations [n, 3, 3] and [n, 3] are of the atoms, or None if one is not."""
        moved = self.fractional @ rotations.swapaxes(1, 2) + shifts[:, None]
        found = self.tree.query(self._wrapped(moved))[1]
        for g in np.flatnonzero(~self._are_permutations(found)):
            misses = (
                moved[g][:, None] - self.fractional
            )  # in a skewed cell, nearest along its vectors may not be nearest
            misses -= np.round(misses)
            found[g] = np.linalg.norm(misses @ self.cell, axis=-1).argmin(1)
        return found if self._are_permutations(found).all() else None

    def _are_permutations(self, found: np.ndarray) -> np.ndarray:
        hit = np.zeros(found.shape, dtype=bool)
        np.put_along_axis(hit, found, True, axis=1)
        return hit.all(1) & (self.kinds[found] == self.kinds).all(1)


def _symbol(number: int, is_slab: bool) -> str:
    """Short Hermann-Mauguin symbol, without blanks."""
    kind = moyopy.LayerGroupType(number) if is_slab else moyopy.SpaceGroupType(number)
    return kind.hm_short.replace(" ", "")
