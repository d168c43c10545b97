"""Does a label depend on the hand of a molecule, on how it lies, on the angle of a point? The evidence decides.

Three questions are put to data alone, without a trained model: whether labels of hydrogen peroxide are the same for
mirror images (its energy is, its optical rotation is not), whether labels of bent water are the same however it is
turned (the size of its dipole is, a component is not), and whether labels of points depend on the radius only. Each is
asked of a label that has the symmetry, of one that has not, and of a sum of both. A Gaussian process is averaged over a
law of group elements, from none to all of them, and the log evidence of the labels in nats tells which law they
follow. After M. van der Wilk et al., "Learning invariances using the marginal likelihood", NeurIPS 2018.

    python examples/discover_law.py
    python examples/discover_law.py --seeds 5
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from _seeds import Rows, over_seeds
from torch import Tensor

from pyg_symbreak.discover import density_distance, log_evidence, squared_distance
from pyg_symbreak.groups import LieGroup, PointGroup

NOISE = 0.05  # of all labels, whose parts are of order one
TOLERANCE = 5.0  # nats that more inducing points may still add to the bound
COLORS = {"invariant": "#30638e", "partly": "#edae49", "broken": "#d1495b"}


class Question(NamedTuple):
    """Points or molecules, a group that acts on them, and labels that it keeps, breaks, and breaks in part."""

    group: LieGroup | PointGroup
    x: Tensor
    distance: Callable[[Tensor, Tensor], Tensor]
    labels: dict[str, Tensor]


def peroxide(count: int, generator: torch.Generator) -> Question:
    """H2O2 of all dihedral angles φ; the mirror at z = 0 turns φ into -φ."""
    phi = math.pi * (2 * torch.rand(count, generator=generator) - 1)
    bend = math.radians(100) + 0.3 * torch.randn(count, generator=generator)
    bonds = 1 + 0.15 * torch.randn(count, 2, generator=generator)
    half = torch.full((count,), 0.725)

    def hydrogen(side: int) -> Tensor:
        r = bonds[:, (1 - side) // 2]
        out = r * bend.sin()
        return torch.stack([side * (half - r * bend.cos()), out * (phi / 2).cos(), side * out * (phi / 2).sin()], dim=1)

    oxygen = torch.stack([half, 0 * half, 0 * half], dim=1)
    x = torch.stack([oxygen, -oxygen, hydrogen(1), hydrogen(-1)], dim=1)
    energy = 1.5 * phi.cos() + (2 * phi).cos() + 4 * (bonds.prod(1) - 1) + 4 * (bend - 1.75) * phi.cos()
    rotation = phi.sin() * (1 + 2 * (bend - 1.75)) + 0.5 * (2 * phi).sin()
    labels = {"invariant": energy, "partly": energy + 0.12 * rotation, "broken": rotation}
    return Question(PointGroup("Cs"), x, density_distance(torch.tensor([8, 8, 1, 1])), labels)


def water(count: int, generator: torch.Generator) -> Question:
    """Water of all angles, turned about z."""
    bend = math.radians(104) + 0.35 * torch.randn(count, generator=generator)
    turn = 2 * math.pi * torch.rand(count, generator=generator)
    bonds = 0.96 + 0.1 * torch.randn(count, 2, generator=generator)
    angles = turn[:, None] + torch.stack([bend, -bend], dim=1) / 2
    hydrogen = torch.stack([bonds * angles.cos(), bonds * angles.sin(), torch.zeros(count, 2)], dim=2)
    dipole = hydrogen.sum(1)
    size, component = (standard(v) for v in (dipole.norm(dim=1), dipole[:, 0]))
    labels = {"invariant": size, "partly": size + 0.3 * component, "broken": component}
    about_z = LieGroup(LieGroup.rotations(3).generators[2:])
    x = torch.cat([torch.zeros(count, 1, 3), hydrogen], dim=1)
    return Question(about_z, x, density_distance(torch.tensor([8, 1, 1])), labels)


def points(count: int, generator: torch.Generator) -> Question:
    """Points of the plane."""
    x = torch.randn(count, 2, generator=generator)
    radial, angular = (3 * x.norm(dim=1)).sin(), torch.atan2(x[:, 1], x[:, 0]).sin()
    labels = {"invariant": radial, "partly": radial + 0.6 * angular, "broken": angular}
    return Question(LieGroup.rotations(2), x, squared_distance, labels)


def standard(y: Tensor) -> Tensor:
    """Of mean zero and variance one."""
    return (y - y.mean()) / y.std()


QUESTIONS = {"mirrored H2O2": (peroxide, 140), "turned water": (water, 50), "turned points": (points, 40)}


def ask(question: Question, kind: str, noise: Tensor) -> dict:
    """The log evidence over that of no group, exact and by the variational bound."""
    y = question.labels[kind] + NOISE * noise
    exact = log_evidence(question.group, question.x, y, question.distance)
    bound = log_evidence(question.group, question.x, y, question.distance, tolerance=TOLERANCE)
    return {
        "learned": exact.learned - exact.none,
        "full": exact.full - exact.none,
        "amount": exact.amount,
        "verdict": exact.verdict,
        "bound of full": bound.full - bound.none,
        "by the bound": bound.verdict,
    }


def figure(rows: Rows) -> plt.Figure:
    """The evidence of each label under the three laws."""
    fig, panels = plt.subplots(1, len(QUESTIONS), figsize=(11, 3.4), layout="constrained")
    for axes, name in zip(panels, QUESTIONS, strict=True):
        for offset, kind in enumerate(COLORS):
            row = rows[f"{name}: {kind}"]
            place = np.arange(3) + 0.25 * (offset - 1)
            heights = [0, row["learned"], row["full"]]
            axes.bar(place, heights, width=0.22, color=COLORS[kind], label=f"{kind}: {row['full']:+.0f} nats")
        axes.axhspan(-30, 30, color="0.92", zorder=0)
        axes.set(title=name, xticks=range(3), xticklabels=["none", "learned", "full"], xlabel="law of group elements")
        axes.legend(fontsize=8)
    panels[0].set_ylabel("log evidence over that of no group (nats)")
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for table, figure and metrics.")] = Path("results/discover_law"),
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 1,
    part: Annotated[float, typer.Option(help="Part of the data to use.")] = 1.0,
) -> None:
    """The evidence for three symmetries, of labels that have them, have them in part, and have them not."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # the matrices are small

    def run(seed: int) -> Rows:
        generator = torch.Generator().manual_seed(seed)
        rows: Rows = {}
        for name, (make, count) in QUESTIONS.items():
            question = make(max(round(part * count), 10), generator)
            noise = torch.randn(len(question.x), generator=generator)
            rows |= {f"{name}: {kind}": ask(question, kind, noise) for kind in COLORS}
        return rows

    runs = over_seeds(run, range(seed, seed + seeds), "Log evidence over that of no group, nats", out)
    figure(runs[0]).savefig(out / "discover_law.png", dpi=100)


if __name__ == "__main__":
    typer.run(main)
