"""A force field is learned from the forces of displaced molecules, in steps that show errors in the soft directions.

A force of 0.1 eV/Å is much along a soft direction and nothing along a bond: the loss is how far, in Å, the error of the
forces would send the atoms in a step of Newton's method with model force constants. The same steps lead downhill.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from torch_geometric.data import Batch, Data

from pyg_symbreak.nn import ForceField
from pyg_symbreak.nn.force_field import HIDDEN
from pyg_symbreak.training.config import Config
from pyg_symbreak.training.loop import fit
from pyg_symbreak.training.pairs import atom_features

__all__ = [
    "FEATURES",
    "Frames",
    "features_of",
    "field_of",
    "fit_forces",
    "force_loss",
    "joined",
    "model_force_constants",
]

FEATURES = 21
"""Number of features of an atom."""
BATCH = 16
"""Structures in a step, if the configuration does not say."""
FORCE_SHARE = 0.02
"""Å²/eV: share of the error of the forces themselves in the loss."""
STRETCH, ISOTROPIC, SOFTEST = 40.0, 0.02, 0.5
"""eV/Å²: model force constants of a bond, across it (share), of any displacement."""


def features_of(z: Tensor, charge: float) -> Tensor:
    """What a network reads of atoms: the periodic table, covalent radius (the last but one), charge of the molecule."""
    return torch.cat([atom_features(z), torch.full((len(z), 1), float(charge))], dim=1).float()


def model_force_constants(z: Tensor, pos: Tensor) -> Tensor:
    """Model force constants of molecules, positive definite, eV/Å²: springs that fade as the sixth power of distance.

    Parameters
    ----------
    z : Tensor [N]
        Atomic numbers.
    pos : Tensor [..., N, 3]
        Å.

    Returns
    -------
    Tensor [..., 3N, 3N]
    """
    count, radius = len(z), torch.tensor(covalent_radii)[z].to(pos)
    r, own = pos.unsqueeze(-2) - pos.unsqueeze(-3), torch.eye(count).to(pos)
    length = r.norm(dim=-1) + own
    stretch = STRETCH * ((radius[:, None] + radius) / length).clamp(max=1.2) ** 6 * (1 - own)
    unit, identity = r / length.unsqueeze(-1), torch.eye(3).to(pos)
    springs = stretch[..., None, None] * (unit.unsqueeze(-1) * unit.unsqueeze(-2) + ISOTROPIC * identity)
    blocks = torch.diag_embed(springs.sum(-3).movedim(-3, -1)).movedim((-2, -1), (-4, -3)) - springs
    matrix = blocks.transpose(-3, -2).reshape(*pos.shape[:-2], 3 * count, 3 * count)
    return matrix + SOFTEST * torch.eye(3 * count).to(pos)


class Frames:
    """Displaced molecules with their forces, of :class:`~pyg_symbreak.datasets.SaddleForces`.

    Parameters
    ----------
    molecules : sequence of Data
    cutoff : float
        Å.
    """

    def __init__(self, molecules: Sequence[Data], cutoff: float) -> None:
        self.cutoff = cutoff
        self._rows: list[tuple[Tensor, ...]] = []
        for data in molecules:
            count = len(data.z)
            x, pairs = features_of(data.z, float(data.charge)), (1 - torch.eye(count)).nonzero().T
            pos = (data.pos + data.displacement.view(-1, count, 3)).float()
            flexibility = torch.linalg.inv(model_force_constants(data.z, pos))
            forces = data.force.view(-1, count, 3).float()
            self._rows += [(x, pairs, *row) for row in zip(pos, forces, flexibility, strict=True)]

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, numbers: Sequence[int]) -> tuple[Batch, Tensor, list[Tensor]]:
        """Structures, forces [ΣN, 3], and for each structure the inverse of the model force constants [3N, 3N]."""
        x, pairs, pos, forces, flexibility = zip(*(self._rows[n] for n in numbers), strict=True)
        return joined(x, pairs, pos, self.cutoff), torch.cat(forces), list(flexibility)

    def draws(self, size: int, draw: np.random.Generator) -> Iterator[list[int]]:
        """Numbers of the structures in the steps of training, without end; all once before one comes again."""
        order: list[int] = []
        while True:
            if len(order) < size:
                order += draw.permutation(len(self)).tolist()
            yield order[:size]
            order = order[size:]


def joined(x: Sequence[Tensor], pairs: Sequence[Tensor], pos: Sequence[Tensor], cutoff: float) -> Batch:
    """A batch of which atoms nearer than the cutoff are neighbours."""
    counts = torch.tensor([len(p) for p in pos])
    ends, together, features = counts.cumsum(0), torch.cat(list(pos)), torch.cat(list(x))
    edges = torch.cat([p + first for p, first in zip(pairs, (ends - counts).tolist(), strict=True)], dim=1)
    near = (together[edges[0]] - together[edges[1]]).norm(dim=1) < cutoff
    return Batch(
        x=features,
        radius=features[:, -2],
        pos=together,
        edge_index=edges[:, near],
        batch=torch.arange(len(counts)).repeat_interleave(counts),
        ptr=torch.cat([ends.new_zeros(1), ends]),
    )


def force_loss(field: ForceField, batch: Batch, forces: Tensor, flexibility: Sequence[Tensor]) -> Tensor:
    """Mean over molecules of the step, Å, root mean square, that errors of the forces make; and a share of them."""
    counts = batch.ptr.diff()
    off = field(batch) - forces
    size = 3 * int(counts.max())
    inverse, rows = off.new_zeros(len(counts), size, size), off.new_zeros(len(counts), size)
    for n, (matrix, part) in enumerate(zip(flexibility, off.split(counts.tolist()), strict=True)):
        inverse[n, : len(matrix), : len(matrix)], rows[n, : len(matrix)] = matrix, part.flatten()
    squares = (inverse @ rows.unsqueeze(2)).square().sum((1, 2)) / counts
    return (squares + 1e-6).sqrt().mean() + FORCE_SHARE * (off.square().sum(1) + 1e-4).sqrt().mean()


def fit_forces(
    frames: Frames, config: Config, seed: int = 0, progress: str | None = None
) -> tuple[ForceField, list[float]]:
    """Train a force field.

    Returns
    -------
    ForceField
    list of float
        The loss of each step.
    """
    torch.manual_seed(seed)
    field = field_of(config)
    draws = frames.draws(config.batch_size or BATCH, np.random.default_rng(seed))
    losses = fit(
        field,
        lambda _: force_loss(field, *frames.batch(next(draws))),
        config.steps,
        config.lr,
        schedule=lambda optimizer: OneCycleLR(optimizer, config.lr, total_steps=config.steps),
        clip=1.0,
        progress=progress,
    )
    return field.eval(), losses


def field_of(config: Config) -> ForceField:
    """An untrained force field."""
    return ForceField(FEATURES, config.hidden or HIDDEN, cutoff=config.cutoff, layers=config.layers).float()
