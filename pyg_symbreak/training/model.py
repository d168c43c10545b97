"""The network that predicts a target from a structure and an object, its loss, and what it makes of all objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.utils import scatter

from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.nn.gated_network import HIDDEN
from pyg_symbreak.training.config import Config
from pyg_symbreak.training.pairs import Pair, Pairs
from pyg_symbreak.transforms import AddSymmetryBreaking

__all__ = ["Distorter", "answer_all", "compare", "evaluate", "sample"]

NOISE_DRAWS = 32
"""Answers that a network with noise is asked for."""


class Distorter(nn.Module):
    """A :class:`~pyg_symbreak.nn.GatedNetwork` that answers in the units of the targets.

    Parameters
    ----------
    pairs : Pairs
        The targets of the training pairs set the scales.
    config : Config
        Sizes of the network.
    """

    scale_y: Tensor
    scale_graph: Tensor

    def __init__(self, pairs: Pairs, config: Config) -> None:
        super().__init__()
        self.network = GatedNetwork(
            pairs.irreps_in,
            pairs.irreps_out,
            pairs.irreps_breaking,
            pairs.irreps_graph_out,
            max_radius=config.cutoff,
            hidden=config.hidden or HIDDEN,
            lmax=config.lmax,
            layers=config.layers,
            object_degree=config.object_degree,
        )
        self.register_buffer("scale_y", _scale([pair.y for pair in pairs.training]))
        self.register_buffer("scale_graph", _scale([pair.graph_y for pair in pairs.training]))

    def forward(self, data: Data) -> tuple[Tensor, Tensor]:
        """Displacements [N, 3] in Å, of mean zero over each structure, and the answer for each structure, [B, d]."""
        out = self.network(data)
        y, graph_y = out if self.network.dim_graph_out else (out, out.new_zeros(data.num_graphs, 0))
        if y.size(1):
            y = y - scatter(y, data.batch, dim=0, reduce="mean")[data.batch]
        return y * self.scale_y, graph_y * self.scale_graph

    def loss(self, data: Batch) -> Tensor:
        """For each structure the squared error, in units of the targets' own size, to the nearest ``candidates``."""
        y, graph_y = self(data)
        off = ((y[:, None] - data.candidates) / self.scale_y).square().sum(dim=2) / 3
        off_graph = ((graph_y[:, None] - data.graph_candidates) / self.scale_graph).square().sum(dim=2)
        total = scatter(off, data.batch, dim=0, dim_size=data.num_graphs, reduce="mean")
        return (total + off_graph / max(graph_y.size(1), 1)).amin(dim=1)


def _scale(values: Sequence[Tensor]) -> Tensor:
    """Root mean square of the values, 1 where there are none but zeros."""
    flat = torch.cat([value.flatten() for value in values])
    size = flat.square().mean().sqrt() if len(flat) else flat.new_tensor(0.0)
    return size if size > 0 else torch.ones_like(size)


# ------------------------------------------------------------------ what the network reads


def sample(pair: Pair, config: Config, seed: int, images: int = 1) -> Data:
    """The structure with the object that belongs to its target, or with noise, and the targets to compare with.

    Of the equally good targets the first ``images`` are attached as ``candidates`` [N, images, 3] and
    ``graph_candidates`` [1, images, d]; where they are fewer the last is repeated.
    """
    data = pair.data.clone()
    if config.strategy == "noise":
        data = AddSymmetryBreaking("noise", seed=seed)(data)
    elif pair.objects is not None:
        data.breaking = pair.objects[:1]
    rows = [min(i, len(pair.images_graph_y) - 1) for i in range(images)]
    data.candidates = pair.images_y[rows].transpose(0, 1)
    data.graph_candidates = pair.images_graph_y[rows][None]
    return data


@torch.no_grad()
def answer_all(model: Distorter, pair: Pair, config: Config) -> tuple[Tensor, Tensor]:
    """The answers to each object (to 32 draws of noise; to the structure alone), [n, N, 3] and [n, d]."""
    copies = 1 if pair.objects is None else len(pair.objects)
    if config.strategy == "noise":
        noise = (AddSymmetryBreaking("noise", seed=-1 - i)(pair.data.clone()) for i in range(NOISE_DRAWS))
        batch = Batch.from_data_list(list(noise))
    else:
        batch = Batch.from_data_list([pair.data] * copies)
        if pair.objects is not None:
            batch.breaking = pair.objects
    y, graph_y = model(batch)
    return y.view(len(graph_y), *pair.y.shape), graph_y


# ------------------------------------------------------------------ what is reported


def evaluate(model: Distorter, pair: Pair, config: Config) -> dict[str, Any]:
    """:func:`answer_all` and :func:`compare` in one."""
    return compare(model, pair, *answer_all(model, pair, config))


def compare(model: Distorter, pair: Pair, y: Tensor, graph_y: Tensor) -> dict[str, Any]:
    """Compare all answers, [n, N, 3] and [n, d], with all equally good targets.

    Returns
    -------
    dict
        ``targets``: number of equally good ones, |S|/|K|; ``answers``: number of answers that differ by more than
        0.01 (Å); ``error``: root mean square over the atoms, Å, of the worst answer against the target nearest to it
        (where there are no displacements: length of the difference in the answer for the structure); ``mean error``:
        the same, averaged over the answers; ``largest``: of all answers, the largest distance of an atom from its
        place, Å; ``missed``: of all targets, the largest ``error`` that the answer nearest to it has; ``curie``: the
        least ``error`` without object; ``graph error`` and ``graph spread``: largest error of the invariant parts of
        the answer for the structure, and by how much they differ from answer to answer.
    """
    has_y = bool(pair.y.size(1))
    answers, images = (y, pair.images_y) if has_y else (graph_y[:, None], pair.images_graph_y[:, None])
    off = (answers[:, None] - images).norm(dim=3)  # [answers, targets, atoms]
    rms = off.square().mean(dim=2).sqrt()
    scalars = [i for i, p in enumerate(_invariant(model.network.irreps_graph_out)) if p]
    energy, wanted = graph_y[:, scalars], pair.graph_y[:, scalars]
    return {
        "name": pair.name,
        "group": pair.group.schoenflies,
        "keep": pair.keep.schoenflies,
        "targets": len(images),
        "answers": _count_distinct(answers.flatten(1), 0.01),
        "error": rms.amin(dim=1).max().item(),
        "mean error": rms.amin(dim=1).mean().item(),
        "largest": off.amax(dim=2).amin(dim=1).max().item(),
        "missed": rms.amin(dim=0).max().item(),
        "curie": pair.floor,
        "graph error": (energy - wanted).abs().max().item() if scalars else None,
        "graph spread": (energy - energy[:1]).abs().max().item() if scalars else None,
    }


def _invariant(irreps: str) -> list[bool]:
    return [str(ir) == "0e" for mul, ir in o3.Irreps(irreps) for _ in range(mul * ir.dim)]


def _count_distinct(rows: Tensor, tolerance: float) -> int:
    found: list[Tensor] = []
    for row in rows:
        if all((row - other).abs().max() > tolerance for other in found):
            found.append(row)
    return len(found)
