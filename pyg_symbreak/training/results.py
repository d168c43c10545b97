"""What a run leaves to look at: structures, and predictions against targets."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.structures import apply_distortion, irreps_to_strain, to_ase
from pyg_symbreak.training.config import Config
from pyg_symbreak.training.model import Distorter, answer_all
from pyg_symbreak.training.pairs import Pair, Pairs

__all__ = ["draw_predictions", "write_structures"]


def write_structures(model: Distorter, pairs: Pairs, config: Config, path: Path) -> None:
    """Write the target of each pair and all answers of the network, as structures in extended XYZ.

    ``info`` says the ``name`` of the pair, its ``part`` ("training" or "held out") and the ``answer``: "target", or the
    number of the object. Where the targets are no displacements nothing is written.
    """
    frames = []
    for part, some in (("training", pairs.training), ("held out", pairs.held_out)):
        for pair in some:
            if not pair.y.size(1):
                continue
            y, graph_y = answer_all(model, pair, config)
            rows = [
                ("target", pair.y, pair.graph_y[0]),
                *((str(i), *row) for i, row in enumerate(zip(y, graph_y, strict=True))),
            ]
            for answer, displacements, whole in rows:
                atoms = to_ase(_distorted(pair, displacements, whole, pairs.irreps_graph_out))
                atoms.info = {"name": pair.name, "part": part, "answer": answer}
                frames.append(atoms)
    if frames:
        ase.io.write(path, frames, format="extxyz")


def _distorted(pair: Pair, displacements: Tensor, whole: Tensor, irreps: str) -> Data:
    strain = irreps_to_strain(whole[:6]) if irreps.startswith("0e+2e") else None
    return apply_distortion(pair.data, displacements, strain)


def draw_predictions(model: Distorter, pairs: Pairs, config: Config, path: Path) -> None:
    """Draw each component of every answer against that of the target nearest to it."""
    figure = Figure(figsize=(4.5, 4.2), layout="constrained")
    axes = figure.subplots()
    ends = []
    for label, some, color in (("training", pairs.training, "C0"), ("held out", pairs.held_out, "C3")):
        points = [_against_nearest(model, pair, config) for pair in some]
        if points:
            wanted, found = np.concatenate(points, axis=1)
            axes.plot(wanted, found, ".", color=color, alpha=0.5, label=label)
            ends += [wanted.min(), wanted.max(), found.min(), found.max()]
    low, high = min(ends), max(ends)
    axes.plot([low, high], [low, high], "-", color="0.6", linewidth=1, zorder=0)
    of = "displacement (Å)" if pairs.irreps_out else "answer for the structure"
    axes.set(xlabel=f"{of} of the target", ylabel=f"{of} predicted", aspect="equal")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _against_nearest(model: Distorter, pair: Pair, config: Config) -> np.ndarray:
    """Components [2, n] of the nearest targets and of all answers."""
    y, graph_y = answer_all(model, pair, config)
    answers, images = (y, pair.images_y) if pair.y.size(1) else (graph_y, pair.images_graph_y)
    answers, images = answers.flatten(1), images.flatten(1)
    nearest = (answers[:, None] - images).norm(dim=2).argmin(dim=1)
    return np.stack([images[nearest].flatten().numpy(), answers.flatten().numpy()])
