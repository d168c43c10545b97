"""What a run leaves to look at: structures, and predictions against targets."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.structures import apply_distortion, irreps_to_strain, to_ase
from pyg_symbreak.training.pairs import Pair

__all__ = ["draw_predictions", "write_structures"]


Answered = dict[str, list[tuple[Pair, Tensor, Tensor]]]
"""Of the pairs of each part, "training" and "held out", all answers, [n, N, 3] and [n, d]."""


def write_structures(answered: Answered, irreps_graph_out: str, path: Path) -> None:
    """Write the target of each pair and all answers of the network, as structures in extended XYZ.

    ``info`` says the ``name`` of the pair, its ``part`` ("training" or "held out") and the ``answer``: "target", or the
    number of the object. Where the targets are no displacements nothing is written.
    """
    frames = []
    for part, some in answered.items():
        for pair, y, graph_y in some:
            if not pair.y.size(1):
                continue
            rows = [
                ("target", pair.y, pair.graph_y[0]),
                *((str(i), *row) for i, row in enumerate(zip(y, graph_y, strict=True))),
            ]
            for answer, displacements, whole in rows:
                atoms = to_ase(_distorted(pair, displacements, whole, irreps_graph_out))
                atoms.info = {"name": pair.name, "part": part, "answer": answer}
                frames.append(atoms)
    if frames:
        ase.io.write(path, frames, format="extxyz")


def _distorted(pair: Pair, displacements: Tensor, whole: Tensor, irreps: str) -> Data:
    strain = irreps_to_strain(whole[:6]) if irreps.startswith("0e+2e") else None
    return apply_distortion(pair.data, displacements, strain)


def draw_predictions(answered: Answered, irreps_out: str, path: Path) -> None:
    """Draw each component of every answer against that of the target nearest to it."""
    figure = Figure(figsize=(4.5, 4.2), layout="constrained")
    axes = figure.subplots()
    ends = []
    for (label, some), color in zip(answered.items(), ("C0", "C3"), strict=True):
        points = [_against_nearest(*row) for row in some]
        if points:
            wanted, found = np.concatenate(points, axis=1)
            axes.plot(wanted, found, ".", color=color, alpha=0.5, label=label)
            ends += [wanted.min(), wanted.max(), found.min(), found.max()]
    low, high = min(ends), max(ends)
    axes.plot([low, high], [low, high], "-", color="0.6", linewidth=1, zorder=0)
    of = "displacement (Å)" if irreps_out else "answer for the structure"
    axes.set(xlabel=f"{of} of the target", ylabel=f"{of} predicted", aspect="equal")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _against_nearest(pair: Pair, y: Tensor, graph_y: Tensor) -> np.ndarray:
    """Components [2, n] of the nearest targets and of all answers."""
    answers, images = (y, pair.images_y) if pair.y.size(1) else (graph_y, pair.images_graph_y)
    answers, images = answers.flatten(1), images.flatten(1)
    nearest = (answers[:, None] - images).norm(dim=2).argmin(dim=1)
    return np.stack([images[nearest].flatten().numpy(), answers.flatten().numpy()])
