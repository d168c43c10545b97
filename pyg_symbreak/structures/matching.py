"""Which atom of one structure is which of another, and the distortion between them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from ase import Atoms
from ase.geometry import minkowski_reduce
from e3nn import o3
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch_geometric.data import Data

from .checks import check_structure

__all__ = [
    "MAX_STRAIN",
    "Match",
    "NearestImages",
    "apply_distortion",
    "irreps_to_strain",
    "match_atoms",
    "match_of",
    "nearest_assignment",
    "polar",
    "strain_to_irreps",
]

MAX_STRAIN = 0.3
"""A larger strain means that two cells are not in the same setting."""


@dataclass(frozen=True)
class Match:
    """Which atom of a distorted structure is which atom of its parent, and the distortion between them.

    With ``f`` and ``f'`` the fractional coordinates of the parent and of the distorted structure (Cartesian
    ones for a molecule)::

        f'[permutation] + shifts - origin = f + displacements @ inv(cell),
        cell' = cell (1 + strain) rotation^T.

    All tensors are float64 or long.

    Attributes
    ----------
    permutation : Tensor [N]
        Atom ``i`` of the parent is atom ``permutation[i]`` of the distorted structure.
    shifts : Tensor [N, 3]
        Whole lattice vectors that bring each of these atoms next to its parent.
    origin : Tensor [3]
        Shift of the origin, fractional (Å for a molecule).
    displacements : Tensor [N, 3]
        Å, in the parent's frame, the mean over the atoms is zero.
    strain : Tensor [3, 3]
        U - 1 with F = R U the polar decomposition of the deformation gradient F, symmetric, in the parent's
        frame.
    rotation : Tensor [3, 3]
        The rotation R; what is left of the distorted structure's orientation.
    alternatives : tuple of float
        Where more than the nearest atoms are looked at, as by :func:`~pyg_symbreak.relation.match_structures`: sums of
        squared displacements, Å², of other assignments that keep as much symmetry and cost not much more.
    """

    permutation: Tensor
    shifts: Tensor
    origin: Tensor
    displacements: Tensor
    strain: Tensor
    rotation: Tensor
    alternatives: tuple[float, ...] = ()


def match_atoms(parent: Data | Atoms, distorted: Data | Atoms, max_strain: float = MAX_STRAIN) -> Match:
    """Match the atoms of a parent and a distorted structure, and find the distortion between them.

    The displacements are the difference of fractional coordinates times the parent's cell, so neither a
    strain nor a rotation of the distorted crystal enters them. The origin is found by laying one atom of the
    rarest species on each of its candidates, then refined by the mean displacement; atoms are assigned
    (Hungarian method) so that the sum of squared displacements is least. Rotating both structures rotates the
    result, a rotated distorted crystal alone changes nothing but ``rotation``, and :func:`apply_distortion`
    gives the distorted structure back up to a rotation, a translation and the order of its atoms.

    Where a translation that is no vector of the given cell maps the parent to itself (a supercell, a centred
    cell), it carries one match to another, equally good one; one of them is returned.

    Parameters
    ----------
    parent, distorted : Data or ase.Atoms
        Two crystals in the same setting: cell vector ``k`` of one becomes cell vector ``k`` of the other. Or
        two molecules in one orientation: they have no strain.
    max_strain : float
        Cells that differ by stretches farther from 1 are refused. A stretch of 1.3 and more is no small distortion:
        such a transition is reconstructive, and which cell vector is which is a guess.

    Returns
    -------
    Match

    Raises
    ------
    ValueError
        If the structures differ in composition or periodicity, are periodic in some directions only, or if
        the cells are not in the same setting (opposite handedness, or a strain above ``max_strain``).
    """
    a, b = check_structure(parent), check_structure(distorted)
    if sorted(a.numbers) != sorted(b.numbers):
        alike = bool(a.pbc.all() and b.pbc.all()) and a.symbols.formula.reduce()[0] == b.symbols.formula.reduce()[0]
        raise ValueError(
            f"the parent is {a.symbols.formula:metal}, the distorted structure {b.symbols.formula:metal}: "
            "both need the same atoms"
            + ("; bring them to the same cell first, pyg_symbreak.relation.relate_structures does it" if alike else "")
        )
    if a.pbc.any() != a.pbc.all() or (a.pbc != b.pbc).any():
        raise ValueError(
            f"pbc is {a.pbc.tolist()} in the parent and {b.pbc.tolist()} in the distorted structure: "
            "matching needs two crystals or two molecules"
        )
    if a.pbc.all():
        cell, frac_a, frac_b = (
            a.cell.array,
            a.get_scaled_positions(wrap=False),
            b.get_scaled_positions(wrap=False),
        )
        stretch, rotation = polar(cell, b.cell.array, max_strain)
    else:
        cell, frac_a, frac_b = np.eye(3), a.positions, b.positions
        stretch = rotation = np.eye(3)

    numbers, counts = np.unique(a.numbers, return_counts=True)
    rarest = numbers[np.argmin(counts)]
    first = np.flatnonzero(a.numbers == rarest)[0]
    starts = frac_b[b.numbers == rarest] - frac_a[first]
    images = NearestImages(cell, a.pbc)
    lengths = np.linalg.norm(images.nearest(starts)[0], axis=1)
    best = None
    for start in starts[np.argsort(lengths.round(6), kind="stable")]:  # the smallest shift first: it wins ties
        found = nearest_assignment(a.numbers, b.numbers, frac_a, frac_b, start, images)
        if best is None or found[0] < best[0] - 1e-8:
            best = found
    assert best is not None
    _, permutation, shifts = best
    return match_of(permutation, shifts, frac_b[permutation] + shifts - frac_a, cell, stretch, rotation)


def match_of(
    permutation: np.ndarray,
    shifts: np.ndarray,
    difference: np.ndarray,
    cell: np.ndarray,
    stretch: np.ndarray,
    rotation: np.ndarray,
    alternatives: tuple[float, ...] = (),
) -> Match:
    """The match in which fractional coordinates differ by ``difference`` [N, 3]."""
    origin = difference.mean(axis=0)
    return Match(
        permutation=torch.from_numpy(permutation),
        shifts=torch.from_numpy(shifts),
        origin=torch.from_numpy(origin),
        displacements=torch.from_numpy((difference - origin) @ cell),
        strain=torch.from_numpy(stretch - np.eye(3)),
        rotation=torch.from_numpy(rotation),
        alternatives=alternatives,
    )


def polar(cell: np.ndarray, distorted: np.ndarray, max_strain: float = MAX_STRAIN) -> tuple[np.ndarray, np.ndarray]:
    """Right stretch U and rotation R of the deformation gradient F = R U between two cells (rows)."""
    gradient = np.linalg.solve(cell, distorted).T
    left, singular, right = np.linalg.svd(gradient)
    stretch, rotation = right.T * singular @ right, left @ right
    reflected = np.linalg.det(rotation) < 0
    if reflected or np.abs(singular - 1).max() > max_strain:
        raise ValueError(
            f"the cells {cell.tolist()} and {distorted.tolist()} are not in the same setting: they differ by "
            f"the stretches {singular.round(3).tolist()}{' and a reflection' if reflected else ''}; "
            "choose cells whose vectors follow each other, as pyg_symbreak.relation.relate_structures does, or allow a "
            "larger max_strain"
        )
    return (stretch + stretch.T) / 2, rotation


def nearest_assignment(
    numbers_a: np.ndarray,
    numbers_b: np.ndarray,
    frac_a: np.ndarray,
    frac_b: np.ndarray,
    origin: np.ndarray,
    images: NearestImages,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Alternate assignment and mean origin to the end: (sum of squares, permutation, shifts)."""
    species = [(np.flatnonzero(numbers_a == z), np.flatnonzero(numbers_b == z)) for z in np.unique(numbers_a)]
    permutation, shifts = np.zeros(len(frac_a), dtype=np.int64), np.zeros((len(frac_a), 3), dtype=np.int64)
    previous = np.inf
    while True:
        for rows, columns in species:
            vectors, whole = images.nearest(frac_b[None, columns] - frac_a[rows, None] - origin)
            chosen = linear_sum_assignment(np.square(vectors).sum(-1))
            permutation[rows], shifts[rows] = columns[chosen[1]], whole[chosen]
        difference = frac_b[permutation] + shifts - frac_a
        origin = difference.mean(axis=0)
        total = np.square((difference - origin) @ images.cell).sum()
        if total >= previous - 1e-10:
            return total, permutation, shifts
        previous = total


class NearestImages:
    """Shortest vectors modulo the lattice of a cell [3, 3] (rows, Å) along its periodic directions pbc [3]."""

    def __init__(self, cell: np.ndarray, pbc: np.ndarray) -> None:
        self.cell = cell
        self.reduced = minkowski_reduce(cell, pbc)[0]
        self.pbc = pbc
        steps = np.array(list(product(*[(0, -1, 1) if periodic else (0,) for periodic in pbc])))
        self.around = steps @ self.reduced
        self.steps = np.rint(self.around @ np.linalg.inv(cell))
        lengths = np.linalg.norm(self.reduced[pbc], axis=1)
        self.safe = lengths.min() / 2 if len(lengths) else np.inf

    def nearest(self, fractional: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The shortest vectors, Å, of differences [..., 3] along the cell, and the whole vectors added for them."""
        raw = fractional @ self.cell
        along = raw @ np.linalg.inv(self.reduced)
        vectors = raw - np.where(self.pbc, np.round(along), 0) @ self.reduced
        far = np.square(vectors).sum(-1) > self.safe**2
        longer = vectors[far] @ (2 * self.around.T) + np.square(self.around).sum(
            1
        )  # squared length less that of no step
        vectors[far] += self.around[longer.argmin(1)]
        return vectors, ((vectors - raw) @ np.linalg.inv(self.cell)).round().astype(np.int64)


def apply_distortion(parent: Data, displacements: Tensor, strain: Tensor | None = None) -> Data:
    """Displace the atoms of a structure, then strain it; differentiable, and on batches too.

    Parameters
    ----------
    parent : Data
        ``pos`` [N, 3] and ``cell`` [B, 3, 3] in Å; ``batch`` [N] where it is a batch.
    displacements : Tensor [N, 3]
        Å, in the parent's frame.
    strain : Tensor [B, 3, 3], optional
        Symmetric, in the parent's frame; no strain if not given.

    Returns
    -------
    Data
        A shallow copy with ``pos`` = (pos + displacements)(1 + strain) and ``cell`` = cell (1 + strain).
        Edges stay those of the parent.
    """
    out = copy.copy(parent)
    out.pos = parent.pos + displacements
    if strain is not None:
        stretch = strain.reshape(-1, 3, 3) + torch.eye(3, dtype=strain.dtype, device=strain.device)
        batch = parent.get("batch")
        if batch is None:
            batch = torch.zeros(len(out.pos), dtype=torch.long, device=out.pos.device)
        out.pos = torch.einsum("ni,nij->nj", out.pos, stretch[batch])
        if parent.get("cell") is not None:
            out.cell = parent.cell @ stretch
    return out


def _strain_basis(like: Tensor) -> Tensor:
    """Orthonormal basis [6, 3, 3] of the symmetric matrices, ordered as e3nn's 0e + 2e."""
    trace = torch.eye(3, dtype=like.dtype, device=like.device)[None] / 3**0.5
    traceless = o3.wigner_3j(1, 1, 2, dtype=like.dtype, device=like.device).movedim(2, 0) * 5**0.5
    return torch.cat([trace, traceless])


def strain_to_irreps(strain: Tensor) -> Tensor:
    """Components of symmetric matrices in e3nn's irreps ``0e + 2e``.

    The basis is orthonormal: the norm of the components is the Frobenius norm of the matrix, and the 0e
    component is trace/√3. An antisymmetric part is dropped.

    Parameters
    ----------
    strain : Tensor [..., 3, 3]

    Returns
    -------
    Tensor [..., 6]
    """
    return torch.einsum("...ij,kij->...k", strain, _strain_basis(strain))


def irreps_to_strain(components: Tensor) -> Tensor:
    """Symmetric matrices from their components in ``0e + 2e``; inverse of :func:`strain_to_irreps`.

    Parameters
    ----------
    components : Tensor [..., 6]

    Returns
    -------
    Tensor [..., 3, 3]
    """
    return torch.einsum("...k,kij->...ij", components, _strain_basis(components))
