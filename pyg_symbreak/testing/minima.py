"""How well predicted structures are the minima below a symmetric saddle."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.detect import Symmetry
from pyg_symbreak.diagnosis import kept_symmetry, vector_residual
from pyg_symbreak.structures import remove_rigid_motion
from pyg_symbreak.testing._outputs import structure_symmetry

__all__ = ["MinimaScore", "score_minima"]


@dataclass(frozen=True, eq=False)
class MinimaScore:
    """Answers compared with the minima of a molecule and all their images under its symmetry; :func:`score_minima`.

    Attributes
    ----------
    distances : Tensor [n, M]
        Root mean square over the atoms, Å, of what each answer misses the nearest image of each minimum by.
    bounds : Tensor [M]
        Least distance from each minimum, Å, of an answer that has all of the symmetry: of an equivariant model that
        sees the structure alone. A minimum that keeps the symmetry has 0.
    kept : list of str, n
        Schoenflies symbols of the symmetry that each answer keeps.
    wanted : list of str, M
        The same of the minima.
    order : float or None
        Of all pairs of minima whose energies differ by 1 meV at least, the share that the energies of the answers
        nearest to them have in the right order. None if there is no such pair, or no energy was given.
    """

    distances: Tensor
    bounds: Tensor
    kept: list[str]
    wanted: list[str]
    order: float | None

    @property
    def nearest(self) -> Tensor:
        """Long [n]: the minimum that each answer is nearest to."""
        return self.distances.argmin(1)

    @property
    def errors(self) -> Tensor:
        """[n], Å: the distance of each answer from the minimum nearest to it."""
        return self.distances.amin(1)

    @property
    def missed(self) -> Tensor:
        """[M], Å: the distance of each minimum from the answer nearest to it."""
        return self.distances.amin(0)

    @property
    def bound(self) -> float:
        """Least error, Å, of an unbroken answer: that to the minimum which it can come nearest to."""
        return float(self.bounds.min())

    @property
    def right_symmetry(self) -> float:
        """Share of the answers that keep the symmetry, by its symbol, of the minimum nearest to them."""
        right = [kept == self.wanted[m] for kept, m in zip(self.kept, self.nearest.tolist(), strict=True)]
        return sum(right) / len(right)

    def found(self, within: float = 0.1) -> float:
        """Share of the minima, of M, that an answer comes nearer to than this, Å."""
        return float((self.missed < within).double().mean())

    def to_dict(self) -> dict[str, float | None]:
        """The numbers that a table of molecules is made of."""
        return {
            "error": float(self.errors.mean()),
            "best error": float(self.errors.min()),
            "bound": self.bound,
            "found": self.found(),
            "right symmetry": self.right_symmetry,
            "order": self.order,
        }


def score_minima(
    data: Data,
    answers: Tensor,
    minima: Tensor,
    energies: Tensor | None = None,
    minima_energies: Tensor | None = None,
    symprec: float = 1e-3,
) -> MinimaScore:
    r"""Compare predicted displacements of a molecule with its minima.

    A minimum is as good as its images under the symmetry :math:`S` of the molecule, so an answer is compared with the
    nearest image. Translation and rotation are taken out of answers and minima first, by
    :func:`~pyg_symbreak.structures.remove_rigid_motion`. This keeps what symmetry an answer has, and therefore no
    equivariant model without an object comes below ``bounds``: all its answers have :math:`S` (Curie's principle).

    Parameters
    ----------
    data : Data
        One molecule: ``pos`` [N, 3] Å, ``z``.
    answers : Tensor [n, N, 3]
        Displacements, Å. One at least.
    minima : Tensor [M, N, 3]
        Displacements, Å, to inequivalent minima, such as ``Saddles.minima_of(data)``.
    energies, minima_energies : Tensor [n], Tensor [M], optional
        Of the answers and of the minima, eV.
    symprec : float
        Tolerance of the detection of :math:`S`, Å. An operation is kept by an answer if it changes no displacement by
        more than 0.1 of the largest.

    Returns
    -------
    MinimaScore

    Raises
    ------
    ValueError
        The shapes do not fit, or the structure is a single atom.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> planar = from_ase(molecule("BF3"), torch.float64)
    >>> umbrella = torch.tensor([[0, 0, 0.3], [0, 0, -0.1], [0, 0, -0.1], [0, 0, -0.1]]).double()
    >>> score = score_minima(planar, torch.stack([-umbrella, 0 * umbrella]), umbrella[None])
    >>> [round(error, 4) for error in score.errors.tolist()], score.kept, round(score.bound, 4)
    ([0.0, 0.1732], ['C3v', 'D3h'], 0.1732)
    """
    pos = data.pos.detach().cpu().double()
    answers, minima = answers.detach().cpu().double(), minima.detach().cpu().double()
    for name, value in (("answers", answers), ("minima", minima)):
        if value.dim() != 3 or value.shape[1:] != pos.shape or not len(value):
            raise ValueError(f"the {name} have shape {list(value.shape)}; they must be [n, {len(pos)}, 3], n > 0")
    symmetry = structure_symmetry(data, symprec)
    answers, minima = remove_rigid_motion(pos, answers), remove_rigid_motion(pos, minima)
    if symmetry.continuous is None:
        squares = _squares(symmetry, answers, minima)
    elif symmetry.kernel is not None and symmetry.kernel.dimension == 1:
        squares = _squares_of_line(symmetry, answers, minima)
    else:
        raise ValueError("a single atom has no displacements to compare")
    distances = (squares.clamp(min=0) / len(pos)).sqrt()
    bounds = torch.tensor([(max(vector_residual(symmetry, y), 0.0) / len(pos)) ** 0.5 for y in minima])
    return MinimaScore(
        distances,
        bounds.double(),
        [_kept(symmetry, y) for y in answers],
        [_kept(symmetry, y) for y in minima],
        _order(distances, energies, minima_energies),
    )


def _kept(symmetry: Symmetry, vectors: Tensor) -> str:
    largest = float(vectors.norm(dim=1).max())
    return kept_symmetry(symmetry, vectors, tolerance=0.1 * largest + 1e-6).schoenflies


def _squares(symmetry: Symmetry, answers: Tensor, minima: Tensor) -> Tensor:
    """Sums of squared differences to the nearest images, [n, M]."""
    best = torch.full((len(answers), len(minima)), torch.inf, dtype=torch.float64)
    for rotation, permutation in zip(symmetry.rotations, symmetry.permutations, strict=True):
        images = torch.empty_like(minima)
        images[:, permutation] = minima @ rotation.T
        best = torch.minimum(best, (answers[:, None] - images).square().sum((2, 3)))
    return best


def _squares_of_line(symmetry: Symmetry, answers: Tensor, minima: Tensor) -> Tensor:
    """The same for a linear molecule: the images are also turned about its axis, by the angle that suits best.

    With the components across the axis as complex numbers w of the answer and v of the image, the sum of
    |w - exp(iφ) v|² is least where exp(iφ) turns the sum of w v* to the positive numbers.
    """
    assert symmetry.kernel is not None
    axis = symmetry.kernel.axis
    first = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    first /= np.linalg.norm(first)
    frame = torch.from_numpy(np.stack([first, np.cross(axis, first), axis]))
    a = answers @ frame.T
    best = torch.full((len(answers), len(minima)), torch.inf, dtype=torch.float64)
    for rotation, permutation in zip(symmetry.rotations, symmetry.permutations, strict=True):
        images = torch.empty_like(minima)
        images[:, permutation] = minima @ rotation.T
        for mirror in (1.0, -1.0):  # the mirrors that hold the axis move no atom either
            b = (images @ frame.T) * torch.tensor([1.0, mirror, 1.0])
            w, v = torch.complex(a[..., 0], a[..., 1]), torch.complex(b[..., 0], b[..., 1])
            across = torch.einsum("ni,mi->nm", w, v.conj()).abs()
            along = torch.einsum("ni,mi->nm", a[..., 2], b[..., 2])
            squares = a.square().sum((1, 2))[:, None] + b.square().sum((1, 2)) - 2 * (across + along)
            best = torch.minimum(best, squares)
    return best


def _order(distances: Tensor, energies: Tensor | None, minima_energies: Tensor | None) -> float | None:
    if energies is None or minima_energies is None:
        return None
    if energies.shape != distances.shape[:1] or minima_energies.shape != distances.shape[1:]:
        raise ValueError(
            f"the energies have shapes {list(energies.shape)} and {list(minima_energies.shape)}, "
            f"for {distances.shape[0]} answers and {distances.shape[1]} minima"
        )
    given, true = energies[distances.argmin(0)].tolist(), minima_energies.tolist()
    pairs = [(i, j) for i, j in combinations(range(len(true)), 2) if abs(true[i] - true[j]) >= 1e-3]
    if not pairs:
        return None
    return sum((given[i] - given[j]) * (true[i] - true[j]) > 0 for i, j in pairs) / len(pairs)
