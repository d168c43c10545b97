"""Turn one square of an octagon into a rectangle: break D4 to D2, no further.

Two squares of different atoms are interleaved to an octagon. One of them is to become a rectangle, long one way or the
other: two equally good answers, each with a symmetry K = D2 out of the octagon's S = D4. A partial symmetry breaking
set has to be closed under the generalized normalizer N(S, K), the rotations that keep S and the kind of K. It has two
objects, and trained with one of them a network gives both rectangles. Closed under the whole normalizer N(S), which
exchanges the two kinds of D2 in D4, it has four: the other two leave a different D2, and no network can make the wanted
rectangle of them. After Y. Xie and T. Smidt, "Equivariant Symmetry Breaking Sets", Trans. Mach. Learn. Res. (2024),
arXiv 2402.02681.

    python examples/octagon.py
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import torch
import typer
from _shared import Run, console, table
from ase.io import write
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from torch import Tensor
from torch.nn.functional import one_hot, pad
from torch_geometric.data import Batch, Data

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import apply_distortion, irreps_to_strain, to_ase
from pyg_symbreak.training import fit
from pyg_symbreak.transforms import NeighborList

COLORS = {6: "#30638e", 7: "#d1495b"}
LOBES = "#edae49"
RADIUS, SHIFT = 1.5, 0.25  # Å: of the octagon, and of the atoms along either axis


# ------------------------------------------------------------------ the octagon, its symmetry, and two sets


def octagon() -> Data:
    """A square of carbon with its corners on the axes, one of nitrogen between them, and a chirality mark."""
    angles = math.pi / 4 * torch.arange(8)
    pos = RADIUS * torch.stack([angles.cos(), angles.sin(), torch.zeros(8)], dim=1)
    kind = torch.arange(8) % 2
    x = torch.cat([one_hot(kind).to(pos), torch.ones(8, 1)], dim=1)
    data = Data(pos=pos, z=6 + kind, x=x, cell=torch.zeros(1, 3, 3), pbc=torch.zeros(1, 3, dtype=torch.bool))
    return NeighborList(2.5)(data)


def symmetry_of(data: Data) -> tuple[PointGroup, Tensor]:
    """The rotations of the octagon, all that the chirality mark allows, and how they permute the atoms [8, 8]."""
    found = detect_symmetry(data)
    proper = torch.linalg.det(found.rotations) > 0
    return PointGroup.from_matrices(found.rotations[proper]), found.permutations[proper]


def images(item: Tensor, group: PointGroup) -> Tensor:
    """What each element of a group makes of an object of irreps 2e, [order, 5]."""
    return torch.from_numpy(irreps_matrices("2e", group.matrices)) @ item


def closure(objects: Tensor, group: PointGroup) -> Tensor:
    """The objects [n, 5], and all others that a group makes of the first one."""
    for image in images(objects[0], group):
        if (objects - image).norm(dim=1).min() > 1e-6:
            objects = torch.cat([objects, image[None]])
    return objects


def axis_of(item: Tensor) -> Tensor:
    """The longest axis in the plane, a unit vector [3], of an object of irreps 2e."""
    q = irreps_to_strain(pad(item, (1, 0)))
    angle = torch.atan2(2 * q[0, 1], q[0, 0] - q[1, 1]) / 2
    return torch.stack([angle.cos(), angle.sin(), torch.zeros(())])


def rectangle(data: Data, axis: Tensor) -> Tensor:
    """Displacements [8, 3] that turn the square of nitrogen into a rectangle, long along an axis."""
    across = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), axis)
    along = (data.pos @ axis).sign()[:, None] * axis - (data.pos @ across).sign()[:, None] * across
    return SHIFT * along * (data.z == 7)[:, None]


# ------------------------------------------------------------------ training and asking


def answer(model: GatedNetwork, data: Data, objects: Tensor | None) -> Tensor:
    """Displacements [n, 8, 3] that the network gives for n objects."""
    batch = Batch.from_data_list([data] * (1 if objects is None else len(objects)))
    if objects is not None:
        batch.breaking = objects
    return model(batch).view(-1, data.num_nodes, 3)


def train(
    name: str, data: Data, objects: Tensor | None, target: Tensor, steps: int, seed: int
) -> tuple[GatedNetwork, float]:
    """Train to answer each object with one target; returns the network and its squared error in Å²."""
    torch.manual_seed(seed)
    model = GatedNetwork("2x0e+0o", "1o", None if objects is None else "2e", max_radius=3.0)

    def squared_error(step: int) -> Tensor:
        return (answer(model, data, objects) - target).square().sum(dim=(1, 2)).mean()

    return model, fit(model, squared_error, steps, polish=100, progress=name)[-1]


def curie_bound(data: Data, item: Tensor | None, target: Tensor) -> float:
    """The least squared error, Å²: what averaging the target over the rotations that the object allows takes away."""
    group, permutations = symmetry_of(data)
    allowed = torch.ones(len(permutations), dtype=torch.bool)
    if item is not None:
        allowed = (images(item, group) - item).norm(dim=1) < 1e-6
    return curie_residual(target, torch.from_numpy(group.matrices)[allowed], permutations[allowed]).item()


@torch.no_grad()
def largest_miss(model: GatedNetwork, data: Data, keep: PointGroup, targets: Tensor) -> float:
    """Turn the octagon and K by each rotation of N(S) and ask with the set for that; the largest error, Å."""
    worst = 0.0
    for rotation in symmetry_of(data)[0].normalizer("SO3").matrices:
        turned, back = copy.copy(data), torch.from_numpy(rotation)
        turned.pos = data.pos @ back.T
        objects = breaking_set(symmetry_of(turned)[0], keep.rotated(rotation), parent="SO3").objects
        found = answer(model, turned, objects) @ back
        worst = max(worst, torch.cdist(found.flatten(1), targets.flatten(1)).amin(1).max().item())
    return worst


# ------------------------------------------------------------------ output


def figure(data: Data, objects: Tensor, answers: Tensor, targets: Tensor) -> plt.Figure:
    """The answers to the four objects, and the targets they should be, all [4, 8, 3]."""
    fig, panels = plt.subplots(1, 4, figsize=(14, 4.9))
    fig.subplots_adjust(left=0.01, right=0.99, bottom=0.14, top=0.79, wspace=0.04)
    for i, axes in enumerate(panels):
        draw(axes, data, objects[i], answers[i], targets[i])
        axes.set_title(f"object {i}" + (", the trained one" if i == 0 else ""), fontsize=11)
        miss = (answers[i] - targets[i]).norm()
        label = "on the target" if miss < 1e-3 else f"{miss:.2f} Å from the target"
        axes.text(0.5, -0.05, label, transform=axes.transAxes, ha="center", fontsize=11)
    fig.text(
        0.255, 0.96, "Set closed under N(S, K) = D4:\nboth rectangles, as wanted", ha="center", va="top", fontsize=13
    )
    fig.text(0.745, 0.96, "What N(S) = D8 adds to it:\nanother kind of rectangle", ha="center", va="top", fontsize=13)
    fig.add_artist(Line2D([0.5, 0.5], [0.13, 0.96], color="0.7", lw=1))
    handles = [Line2D([], [], color=c, marker="o", ms=9, lw=2) for c in COLORS.values()]
    handles += [Line2D([], [], color="k", ls="--", lw=1.3), Line2D([], [], color=LOBES, lw=7, alpha=0.85)]
    labels = ["square of carbon", "square of nitrogen", "target", "object"]
    fig.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    return fig


def draw(axes: plt.Axes, data: Data, item: Tensor, answer: Tensor, target: Tensor) -> None:
    """The octagon before (rings) and after (dots), the two lobes of the object, and the target dashed."""
    angles = torch.linspace(0, 2 * math.pi, 200)
    circle = torch.stack([angles.cos(), angles.sin(), torch.zeros(200)], dim=1)
    lobes = 0.6 * (circle @ axis_of(item)).square()[:, None] * circle
    axes.fill(*lobes[:, :2].T, color=LOBES, alpha=0.85, lw=0, zorder=2)
    for number, color in COLORS.items():
        at = data.z == number
        start, end = data.pos[at, :2], (data.pos + answer)[at, :2]
        axes.scatter(*start.T, s=90, facecolors="white", edgecolors=color, alpha=0.5, zorder=2)
        axes.add_patch(Polygon(end, facecolor=color, edgecolor=color, alpha=0.15, zorder=1))
        axes.add_patch(Polygon(end, fill=False, edgecolor=color, lw=2, zorder=3))
        axes.scatter(*end.T, s=90, color=color, zorder=4)
        for p, q in zip(start, end, strict=True):
            if (q - p).norm() > 0.05:
                axes.annotate("", q, p, arrowprops={"arrowstyle": "->", "color": "0.2", "lw": 1}, zorder=5)
    axes.add_patch(Polygon((data.pos + target)[data.z == 7, :2], fill=False, edgecolor="k", ls="--", lw=1.3, zorder=6))
    axes.set(xlim=(-1.75, 1.75), ylim=(-1.75, 1.75), aspect="equal")
    axes.set_axis_off()


def main(
    out: Annotated[Path, typer.Option(help="Folder for structures, figure and figures of merit.")] = Path(
        "results/octagon"
    ),
    steps: Annotated[int, typer.Option(help="Training steps with Adam, before L-BFGS.")] = 150,
    seed: int = 0,
) -> None:
    """Turn one square of an octagon into a rectangle: the set for N(S, K) beside the set for N(S)."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # the tensors are small
    files = Run(out)
    data = octagon()
    group, _ = symmetry_of(data)
    keep = group.subgroup("D2[001][010]")
    two = breaking_set(group, keep, parent="SO3").objects
    four = closure(two, group.normalizer("SO3"))
    targets = torch.stack([rectangle(data, axis_of(item)) for item in two])

    # Both targets are equally far from whatever the network may answer to an added object: it is given the first.
    runs = {"none": None, "of N(S, K)": four[:1], "of N(S)": four[[0, 2]]}
    bounds = {"none": curie_bound(data, None, targets[0])}
    bounds |= {n: sum(curie_bound(data, b, targets[0]) for b in o) / len(o) for n, o in runs.items() if o is not None}
    trained = {name: train(f"set {name}", data, objects, targets[0], steps, seed) for name, objects in runs.items()}
    sizes = {"none": 0, "of N(S, K)": len(two), "of N(S)": len(four)}
    training = [
        {"set": n, "objects": sizes[n], "pairs": 1 if o is None else len(o), "squared error (Å²)": trained[n][1]}
        | {"Curie bound (Å²)": bounds[n]}
        for n, o in runs.items()
    ]
    console.print(table("Training, one pair for each S-orbit of the set", training))

    model = trained["of N(S, K)"][0]
    with torch.no_grad():
        answers = answer(model, data, four)
    nearest = torch.cdist(answers.flatten(1), targets.flatten(1)).min(dim=1)
    asked = []
    for i, item in enumerate(four):
        x, y, _ = axis_of(item).tolist()
        least = min(curie_bound(data, item, target) for target in targets) ** 0.5
        asked.append({"object": i, "axis (°)": round(math.degrees(math.atan2(y, x))) % 180})
        asked[-1] |= {"in the set of": "N(S, K)" if i < len(two) else "N(S) only"}
        asked[-1] |= {"from nearer target (Å)": nearest.values[i].item(), "Curie bound (Å)": least}
    console.print(table("Asked after training with object 0", asked))
    miss = largest_miss(model, data, keep, targets)
    console.print(f"Turned by each rotation of N(S), with the set for that: at most {miss:.1g} Å off")

    structures = [to_ase(apply_distortion(data, y)) for y in answers]
    for i, atoms in enumerate(structures):
        atoms.info.update(object=four[i].tolist(), in_set_of=asked[i]["in the set of"])
    write(out / "answers.extxyz", structures)
    figure(data, four, answers, targets[nearest.indices]).savefig(out / "octagon.png", dpi=120)
    files.finish({"training": training, "asked": asked, "turned: off by (Å)": miss}, "Structures, figure and metrics")


if __name__ == "__main__":
    typer.run(main)
