"""Which atom of one structure is which of another, and the distortion between them."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.geometry import find_mic
from e3nn import o3
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch_geometric.data import Data

from .checks import check_structure

__all__ = ["Match", "apply_distortion", "irreps_to_strain", "match_atoms", "strain_to_irreps"]

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
    """

    permutation: Tensor
    shifts: Tensor
    origin: Tensor
    displacements: Tensor
    strain: Tensor
    rotation: Tensor


def match_atoms(parent: Data | Atoms, distorted: Data | Atoms) -> Match:
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

    Returns
    -------
    Match

    Raises
    ------
    ValueError
        If the structures differ in composition or periodicity, are periodic in some directions only, or if
        the cells are not in the same setting (opposite handedness, or a strain above 0.3).
    """
    a, b = check_structure(parent), check_structure(distorted)
    if sorted(a.numbers) != sorted(b.numbers):
        raise ValueError(
            f"the parent is {a.symbols.formula:metal}, the distorted structure {b.symbols.formula:metal}: "
            "both need the same atoms; bring them to the same cell first"
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
        stretch, rotation = _polar(cell, b.cell.array)
    else:
        cell, frac_a, frac_b = np.eye(3), a.positions, b.positions
        stretch = rotation = np.eye(3)

    numbers, counts = np.unique(a.numbers, return_counts=True)
    rarest = numbers[np.argmin(counts)]
    first = np.flatnonzero(a.numbers == rarest)[0]
    starts = frac_b[b.numbers == rarest] - frac_a[first]
    lengths = find_mic(starts @ cell, cell, a.pbc)[1]
    best = None
    for start in starts[np.argsort(lengths.round(6), kind="stable")]:  # the smallest shift first: it wins ties
        found = _assign(a.numbers, b.numbers, frac_a, frac_b, start, cell, a.pbc)
        if best is None or found[0] < best[0] - 1e-8:
            best = found
    assert best is not None
    _, permutation, shifts = best
    difference = frac_b[permutation] + shifts - frac_a
    origin = difference.mean(axis=0)
    return Match(
        permutation=torch.from_numpy(permutation),
        shifts=torch.from_numpy(shifts),
        origin=torch.from_numpy(origin),
        displacements=torch.from_numpy((difference - origin) @ cell),
        strain=torch.from_numpy(stretch - np.eye(3)),
        rotation=torch.from_numpy(rotation),
    )


def _polar(cell: np.ndarray, distorted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right stretch U and rotation R of the deformation gradient F = R U between two cells (rows)."""
    gradient = np.linalg.solve(cell, distorted).T
    left, singular, right = np.linalg.svd(gradient)
    stretch, rotation = right.T * singular @ right, left @ right
    reflected = np.linalg.det(rotation) < 0
    if reflected or np.abs(singular - 1).max() > MAX_STRAIN:
        raise ValueError(
            f"the cells {cell.tolist()} and {distorted.tolist()} are not in the same setting: they differ by "
            f"the stretches {singular.round(3).tolist()}{' and a reflection' if reflected else ''}; "
            "choose the distorted cell so that its vectors follow the parent's"
        )
    return (stretch + stretch.T) / 2, rotation


def _assign(numbers_a, numbers_b, frac_a, frac_b, origin, cell, pbc):
    """Alternate assignment and mean origin to the end: (sum of squares, permutation, shifts)."""
    alike = numbers_a[:, None] == numbers_b[None]
    previous = np.inf
    while True:
        raw = (frac_b[None] - frac_a[:, None] - origin)[alike] @ cell
        nearest, length = find_mic(raw, cell, pbc)
        square = np.full(alike.shape, np.inf)
        square[alike] = length**2
        vectors = np.zeros((*alike.shape, 3))
        vectors[alike] = np.linalg.solve(cell.T, (nearest - raw).T).T
        rows, permutation = linear_sum_assignment(square)
        shifts = vectors[rows, permutation].round().astype(np.int64)
        difference = frac_b[permutation] + shifts - frac_a
        origin = difference.mean(axis=0)
        total = np.square((difference - origin) @ cell).sum()
        if total >= previous - 1e-10:
            return total, permutation, shifts
        previous = total


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
