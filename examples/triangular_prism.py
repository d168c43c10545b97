"""Choose one vertex of a triangular prism.

All six vertices of a prism are alike, so no equivariant network can point to one of them: its answer is as symmetric as
its input. Here it gets a symmetry breaking object beside the prism. From an ideal equivariant set, one training pair is
enough: the other objects give the other vertices, whichever way the prism lies. A set that breaks the symmetry as well
but is not equivariant misses all vertices once the prism lies the other way, until it is trained on that too. After
Y. Xie and T. Smidt, "Equivariant Symmetry Breaking Sets", Trans. Mach. Learn. Res. (2024), arXiv 2402.02681.

    python examples/triangular_prism.py
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import torch
import typer
from _shared import Run, console, table
from ase import Atoms
from ase.io import write
from matplotlib.lines import Line2D
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.nn import global_add_pool

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.datasets import TriangularPrism
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.training import fit

COLORS = ["#30638e", "#00a6a6", "#7fb069", "#edae49", "#d1495b", "#8e5572"]  # one for each object


# ------------------------------------------------------------------ the prism, its symmetry, and two sets


def symmetry_of(prism: Data) -> PointGroup:
    """The symmetry of a prism with its chirality mark: an improper operation would change the sign of the mark."""
    rotations = detect_symmetry(prism).rotations
    return PointGroup.from_matrices(rotations[torch.linalg.det(rotations) > 0])


def ideal_objects(group: PointGroup) -> Tensor:
    """Vectors [6, 3]: horizontal, at the angles between the twofold axes."""
    return breaking_set(group).objects


def naive_objects(group: PointGroup) -> Tensor:
    """Pairs of vectors [6, 6]: one of three along the twofold axes, and one of two along the main axis.

    Only the identity of D3 leaves a pair as it is, so they break the symmetry. But the three are every second one of
    six equal directions. Which three is a convention on the axes of the group, and the prism may lie either way to it.
    """
    angles = 2 * torch.pi * torch.arange(3) / 3
    pairs = [[a.cos(), a.sin(), 0.0, 0.0, 0.0, z] for z in (1.0, -1.0) for a in angles]
    return (torch.tensor(pairs).view(6, 2, 3) @ torch.from_numpy(group.frame.T)).flatten(1)


def turned(prism: Data, rotation: Tensor) -> Data:
    """The prism in another orientation, its vertices in the same order."""
    prism = copy.copy(prism)
    prism.pos, prism.y = prism.pos @ rotation.T, prism.y @ rotation.T
    return prism


# ------------------------------------------------------------------ training and asking


def answer(model: GatedNetwork, prisms: list[Data], objects: Tensor | None) -> Tensor:
    """The vectors [n, 3] that the network gives for n prisms, each with its object."""
    batch = Batch.from_data_list(prisms)
    if objects is not None:
        batch.breaking = objects
    return global_add_pool(model(batch), batch.batch)


def train(name: str, prisms: list[Data], objects: Tensor | None, steps: int, seed: int) -> tuple[GatedNetwork, float]:
    """Train to answer with the first vertex of each prism; returns the network and its squared error."""
    torch.manual_seed(seed)
    irreps = None if objects is None else f"{objects.shape[1] // 3}x1o"
    model = GatedNetwork("0o", "1o", irreps, max_radius=2.5)
    target = torch.stack([prism.y[0, 0] for prism in prisms])

    def squared_error(step: int) -> Tensor:
        return (answer(model, prisms, objects) - target).square().sum(dim=1).mean()

    return model, fit(model, squared_error, steps, polish=100, progress=name)[-1]


@torch.no_grad()
def ask(model: GatedNetwork, prism: Data, set_of: Callable[[PointGroup], Tensor]) -> Tensor:
    """Turn the prism by every rotation that leaves its symmetry group as it is, and ask with the set for that group.

    Returns the distances [12, 6, 6] from the answer in each orientation to each object to each of the vertices.
    """
    distances = []
    for rotation in torch.from_numpy(symmetry_of(prism).normalizer("SO3").matrices):
        other = turned(prism, rotation)
        objects = set_of(symmetry_of(other))
        distances.append(torch.cdist(answer(model, [other] * len(objects), objects), other.y[0]))
    return torch.stack(distances)


def figures_of_merit(distances: Tensor) -> dict:
    """How far the answers are from the nearest vertex, and in how many orientations they are the six vertices."""
    right = (distances < 1e-3).any(dim=1).all(dim=1)
    return {"largest miss": distances.amin(dim=2).max().item(), "orientations right": int(right.sum())}


# ------------------------------------------------------------------ output


def figure(prism: Data, other: Data, objects: Tensor, ideal: Tensor, naive: Tensor) -> plt.Figure:
    """The prism with the ideal objects, and the answers in the turned prism to either set, all [6, 3]."""
    fig, panels = plt.subplots(1, 3, figsize=(13, 5), subplot_kw={"projection": "3d", "computed_zorder": False})
    fig.subplots_adjust(left=0, right=1, bottom=0.05, top=0.88, wspace=0)
    draw(panels[0], prism, objects, "Six objects of the ideal set\n★ the one training pair: object 0, vertex 0")
    panels[0].scatter(*prism.y[0, 0], s=420, marker="*", color=COLORS[0], edgecolors="k", linewidths=0.8, zorder=5)
    draw(panels[1], other, ideal, "Ideal set, prism the other way round:\nthe six answers are the six vertices")
    draw(panels[2], other, naive, "Set that is not equivariant, same prism:\nthe six answers miss every vertex")
    for vector in naive:
        nearest = other.pos[(other.pos - vector).norm(dim=1).argmin()]
        panels[2].plot(*torch.stack([vector, nearest]).T, color="k", ls=":", lw=1.3, zorder=3)
    handles = [Line2D([], [], color=color, lw=3) for color in COLORS]
    fig.legend(handles, [f"object {i}" for i in range(6)], loc="lower center", ncols=6, frameon=False)
    return fig


def draw(axes: plt.Axes, prism: Data, vectors: Tensor, title: str) -> None:
    """A prism with rings for its vertices, and arrows from its middle in the colours of the objects."""
    for pair in prism.edge_index.T.tolist():
        axes.plot(*prism.pos[pair].T, color="0.75", lw=1.3, zorder=1)
    axes.scatter(*prism.pos.T, s=170, color="white", edgecolors="0.3", linewidths=1.6, depthshade=False, zorder=2)
    for vector, color in zip(vectors, COLORS, strict=True):
        axes.plot(*torch.stack([torch.zeros(3), vector]).T, color=color, lw=2.6, zorder=4)
        axes.scatter(*vector, s=60, color=color, depthshade=False, zorder=4)
    axes.view_init(elev=24, azim=-67)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    axes.set_box_aspect((1, 1, 1), zoom=1.08)
    axes.set_axis_off()
    axes.set_title(title, fontsize=12)


def frames(name: str, prism: Data, objects: Tensor, answers: Tensor) -> list[Atoms]:
    """The prism once for each object, with the object and the answer, to be written to a file."""
    rows = zip(objects.tolist(), answers.tolist(), strict=True)
    return [Atoms("C6", prism.pos.numpy(), info={"set": name, "object": b, "answer": y}) for b, y in rows]


def main(
    out: Annotated[Path, typer.Option(help="Folder for answers, figure and figures of merit.")] = Path(
        "results/triangular_prism"
    ),
    steps: Annotated[int, typer.Option(help="Training steps with Adam, before L-BFGS.")] = 150,
    seed: int = 0,
) -> None:
    """Choose one vertex of a triangular prism: an ideal equivariant set beside one that is not equivariant."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # the tensors are small
    files = Run(out)
    prism = TriangularPrism()[0]
    group = symmetry_of(prism)
    # Turned by 60° about its axis the prism lies the other way, but has the same symmetry group.
    other = turned(prism, torch.from_numpy(Rotation.from_rotvec(group.axis * torch.pi / 3).as_matrix()))
    ideal, naive = ideal_objects(group), naive_objects(group)

    # What no network can do better without an object: the vertex minus its average over the group.
    whole = torch.zeros(len(group.matrices), 1, dtype=torch.long)
    bound = curie_residual(prism.y[0, :1], torch.from_numpy(group.matrices), whole).item()
    _, unbroken = train("no object", [prism], None, steps, seed)

    ideal_model, ideal_loss = train("ideal set", [prism], ideal[:1], steps, seed)
    naive_model, naive_loss = train("set not equivariant", [prism], naive[:1], steps, seed)
    both_model, both_loss = train("both orientations", [prism, other], naive[[0, 0]], steps, seed)
    rows = [
        {"set": "none", "pairs": 1, "squared error": unbroken, "largest miss": "", "orientations right": ""},
        {"set": "ideal", "pairs": 1, "squared error": ideal_loss}
        | figures_of_merit(ask(ideal_model, prism, ideal_objects)),
        {"set": "not equivariant", "pairs": 1, "squared error": naive_loss}
        | figures_of_merit(ask(naive_model, prism, naive_objects)),
        {"set": "not equivariant", "pairs": 2, "squared error": both_loss}
        | figures_of_merit(ask(both_model, prism, naive_objects)),
    ]
    console.print(table("Choose one vertex of a prism: 6 objects, 12 orientations", rows))
    console.print(f"Curie bound on the squared error without an object: {bound:.6f}")

    with torch.no_grad():
        first, good = (answer(ideal_model, [p] * 6, ideal) for p in (prism, other))
        bad = answer(naive_model, [other] * 6, naive)
    shown = frames("ideal", prism, ideal, first) + frames("ideal, turned", other, ideal, good)
    write(out / "answers.extxyz", shown + frames("not equivariant, turned", other, naive, bad))
    figure(prism, other, ideal, good, bad).savefig(out / "triangular_prism.png", dpi=120)
    metrics = {"Curie bound": bound, "without object": unbroken, "sets": rows[1:]}
    files.finish(metrics, "Answers, figure and metrics")


if __name__ == "__main__":
    typer.run(main)
