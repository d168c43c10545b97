"""Losses where the answer is one of an orbit, and the loss that no equivariant network can go below.

An equivariant network that sees a structure of symmetry S can answer only with what S leaves fixed. Where the target
is less symmetric there is an orbit of equally good targets. With a symmetry breaking object in the input one target
belongs to one object (:func:`paired_loss`); where it is not known which, the nearest target counts
(:func:`orbit_loss`). Without an object the squared error cannot go below :func:`curie_residual`.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from ase import Atoms
from ase.geometry import minkowski_reduce
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.ops import Orbits, orbit_reduce
from pyg_symbreak.structures import apply_distortion, check_structure, from_ase, match_atoms

__all__ = ["CrystalMismatch", "curie_residual", "orbit_loss", "pad_candidates", "paired_loss", "symmetrize"]


def paired_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error against the one target that belongs to the object in the input.

    Parameters
    ----------
    prediction, target : Tensor
        Of the same shape; nothing is broadcast.

    Returns
    -------
    Tensor
        Scalar.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"the prediction has shape {list(prediction.shape)}, the target {list(target.shape)}")
    return (prediction - target).square().mean()


def orbit_loss(
    prediction: Tensor, candidates: Tensor, batch: Tensor | None = None, return_index: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Mean squared error against the nearest of a set of equally good targets.

    The candidate is chosen graph by graph: all nodes of a graph follow the same one. With one candidate, and graphs of
    one size, this is :func:`paired_loss`.

    Parameters
    ----------
    prediction : Tensor [N, d]
        Of the nodes; or [B, d] of B graphs, then ``batch`` is ``torch.arange(B)``.
    candidates : Tensor [N, T, d]
        Candidate ``t`` is ``candidates[:, t]``. With the nodes first it is concatenated by PyG as any node attribute.
        Graphs with fewer candidates repeat some (:func:`pad_candidates`), which changes no minimum.
    batch : Tensor [N], optional
        Graph of each node, every graph from 0 to max present; one graph if not given.
    return_index : bool
        Also return which candidate was chosen.

    Returns
    -------
    loss : Tensor
        Scalar, the mean over the graphs; differentiable in both inputs (the choice is piecewise constant).
    index : Tensor [B]
        Chosen candidate of each graph, if ``return_index``; the first of equals.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if candidates.dim() != 3 or prediction.shape != candidates[:, 0].shape:
        raise ValueError(
            f"the prediction has shape {list(prediction.shape)}, the candidates {list(candidates.shape)}: "
            "they must be [N, d] and [N, T, d]"
        )
    if batch is None:
        batch = torch.zeros(len(prediction), dtype=torch.long, device=prediction.device)
    square = (prediction[:, None] - candidates).square().mean(dim=2)
    loss, index = orbit_reduce(square, Orbits.from_index(batch), "mean").min(dim=1)
    return (loss.mean(), index) if return_index else loss.mean()


def pad_candidates(candidates: Tensor, size: int) -> Tensor:
    """Repeat the first candidate until there are ``size`` of them, so that graphs with fewer can share a batch.

    Parameters
    ----------
    candidates : Tensor [N, T, d]
        T between 1 and ``size``.
    size : int

    Returns
    -------
    Tensor [N, size, d]

    Raises
    ------
    ValueError
        If there is no candidate, or more than ``size``.
    """
    missing = size - candidates.shape[1]
    if missing < 0 or candidates.shape[1] == 0:
        raise ValueError(f"{candidates.shape[1]} candidates cannot be padded to {size}")
    return torch.cat([candidates, candidates[:, :1].expand(-1, missing, -1)], dim=1)


def symmetrize(target: Tensor, matrices: Tensor, permutations: Tensor) -> Tensor:
    r"""Average of a target over a symmetry group.

    .. math:: \hat y^*_j = \frac{1}{|S|} \sum_{s \in S} D(s)\, y_{\pi_s^{-1}(j)}

    Parameters
    ----------
    target : Tensor [N, d]
        On the nodes; of a whole graph with N = 1.
    matrices : Tensor [|S|, d, d]
        How each element acts on a node's components; for vectors its 3×3 matrix.
    permutations : long Tensor [|S|, N]
        Element ``s`` moves node ``i`` to node ``permutations[s, i]``; zeros for a whole graph.

    Returns
    -------
    Tensor [N, d]
        Of all vectors that S leaves fixed, the nearest to the target (where D is orthogonal).

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    order, (n, d) = len(matrices), target.shape
    if order == 0 or matrices.shape != (order, d, d) or permutations.shape != (order, n):
        raise ValueError(
            f"a target of shape {[n, d]} needs matrices [|S|, {d}, {d}] and permutations [|S|, {n}]; "
            f"they have shapes {list(matrices.shape)} and {list(permutations.shape)}"
        )
    moved = torch.einsum("sde,ne->snd", matrices.to(target), target)
    images = permutations.flatten().to(target.device)
    return target.new_zeros(n, d).index_add(0, images, moved.reshape(-1, d)) / order


def curie_residual(target: Tensor, matrices: Tensor, permutations: Tensor) -> Tensor:
    r"""Least squared error of any equivariant network whose input has the symmetry S.

    Such a network answers with a vector that S leaves fixed (Curie's principle), and the nearest one to the target is
    its average over S: :math:`\lVert y - \hat y^* \rVert^2`, zero exactly when S is in the target's own symmetry.

    Parameters
    ----------
    target, matrices, permutations
        As for :func:`symmetrize`.

    Returns
    -------
    Tensor
        Scalar: the sum over nodes and components. The floor of :func:`paired_loss` is this over ``target.numel()``.
    """
    return (target - symmetrize(target, matrices, permutations)).square().sum()


class CrystalMismatch(torch.nn.Module):
    r"""How far a predicted crystal is from a target, whatever the origin.

    .. math::
        L = \sum_{a \neq b} \frac{1}{|M_{ab}|} \sum_{n \in M_{ab}}
            \lVert (r_b - r_a + n A) - (r'_b - r'_a + n A') \rVert^2

    over ordered pairs of atoms, with positions :math:`r` and cell :math:`A` of the prediction, :math:`r'` and
    :math:`A'` of the target (after Xie and Smidt, "Equivariant Symmetry Breaking Sets", Trans. Mach. Learn. Res.
    (2024), arXiv 2402.02681). :math:`M_{ab}` are the images of ``b`` nearest to ``a`` in the parent: where several
    are equally near they count in equal parts, so no symmetry is lost by a choice between them. Atoms and images
    are matched once, from the parent, and stay frozen: the loss is quadratic in the prediction.

    The target is brought to the parent's frame first (:func:`~pyg_symbreak.structures.match_atoms`): its own rotation
    and translation do not matter. With equal cells and displacements :math:`u, u'` of N atoms from the parent,
    :math:`L = 2N \sum_a \lVert (u_a - \bar u) - (u'_a - \bar u') \rVert^2`.

    Parameters
    ----------
    parent : Data or ase.Atoms
        The structure that predictions start from.
    target : Data or ase.Atoms
        A distortion of the parent, in the same setting.

    Shapes:
        - **input:** positions :math:`(*, N, 3)` and cell :math:`(*, 3, 3)` in Å, in the parent's order and frame;
          without a cell the parent's is taken
        - **output:** :math:`(*)` in Å², of the dtype of the positions

    Raises
    ------
    ValueError
        For what :func:`~pyg_symbreak.structures.match_atoms` refuses.
    """

    cell: Tensor
    pairs: Tensor
    shift: Tensor
    weight: Tensor
    vectors: Tensor

    def __init__(self, parent: Data | Atoms, target: Data | Atoms):
        super().__init__()
        atoms = check_structure(parent)
        match = match_atoms(atoms, target)
        pairs, shift, weight = _nearest_images(atoms)
        start = from_ase(atoms, torch.float64)
        end = apply_distortion(start, match.displacements, match.strain[None])
        assert end.pos is not None
        vectors = end.pos[pairs[1]] - end.pos[pairs[0]] + shift @ end.cell[0]
        self.register_buffer("pairs", pairs)
        for name, value in (("cell", start.cell[0]), ("shift", shift), ("weight", weight), ("vectors", vectors)):
            self.register_buffer(name, value)
        self.num_atoms = len(atoms)

    def forward(self, pos: Tensor, cell: Tensor | None = None) -> Tensor:
        """Mismatch of each prediction."""
        if pos.shape[-2:] != (self.num_atoms, 3):
            raise ValueError(f"the positions have shape {list(pos.shape)}; they must be [..., {self.num_atoms}, 3]")
        cell = self.cell.to(pos.dtype) if cell is None else cell
        vectors = pos[..., self.pairs[1], :] - pos[..., self.pairs[0], :] + self.shift.to(pos.dtype) @ cell
        return (vectors - self.vectors.to(pos.dtype)).square().sum(dim=-1) @ self.weight.to(pos.dtype)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(num_atoms={self.num_atoms})"


def _nearest_images(atoms: Atoms, tolerance: float = 1e-4) -> tuple[Tensor, Tensor, Tensor]:
    """Ordered pairs [2, E] of different atoms, the shifts [E, 3] to their nearest images, and 1 / how many tie [E]."""
    n = len(atoms)
    source, target = np.nonzero(~np.eye(n, dtype=bool))
    shifts = np.zeros((len(source), 1, 3))
    if atoms.pbc.all():  # in a Minkowski-reduced cell the nearest images are among the 27 neighbour cells
        reduced, change = minkowski_reduce(atoms.cell.array)
        frac = (atoms.positions[target] - atoms.positions[source]) @ np.linalg.inv(reduced)
        around = np.array(list(product((-1, 0, 1), repeat=3)))
        shifts = (around - frac.round()[:, None]) @ change
    vectors = (atoms.positions[target] - atoms.positions[source])[:, None] + shifts @ atoms.cell.array
    lengths = np.linalg.norm(vectors, axis=2)
    near = lengths < lengths.min(axis=1, keepdims=True) + tolerance
    pair, image = np.nonzero(near)
    pairs = torch.from_numpy(np.stack([source[pair], target[pair]]))
    return pairs, torch.from_numpy(shifts[pair, image]), torch.from_numpy(1 / near.sum(axis=1)[pair])
