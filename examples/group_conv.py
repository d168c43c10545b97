"""Group convolutions on points: which symmetry data break, rotated glyphs, splines on SO(2), springs with LieConv.

Four small studies of one layer, `GroupConv`. Relaxed weights, one for each element of C4, trained to turn a square into
a rectangle, tell that the quarter turn is broken and the half turn is not (R. Wang et al., ICML 2024, arXiv
2310.02299). A p4 network beside a plain one with as many parameters on glyphs in all orientations (T. Cohen and M.
Welling, ICML 2016, arXiv 1602.07576). B-spline kernels on C_n approach SO(2) as n grows (E. Bekkers, ICLR 2020, arXiv
1909.12057). The forces of particles on springs with the trivial group, translations, and SE(2) with random lifts (M.
Finzi et al., ICML 2020, arXiv 2002.12880).

    python examples/group_conv.py
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from matplotlib.textpath import TextPath
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from pyg_symbreak.groups import LieGroup, PointGroup
from pyg_symbreak.nn import GroupConv

GLYPHS = "12478"
POINTS = 16
console = Console(width=110)


def descend(model: nn.Module, loss: Callable[[int], Tensor], steps: int, lr: float, name: str) -> None:
    """Adam with a rate that falls to zero as a cosine does."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in track(range(steps), name, console=console, transient=True):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
        schedule.step()


class Stack(nn.Module):
    """Lifting and group convolutions of some widths with SiLU between them; invariant features of the nodes."""

    def __init__(self, group: PointGroup | LieGroup, widths: list[int], **settings: object) -> None:
        super().__init__()
        ends = list(itertools.pairwise(widths))
        self.layers = nn.ModuleList(
            GroupConv(a, b, group, dim=2, lift=number == 0, **settings) for number, (a, b) in enumerate(ends)
        )

    def forward(self, x: Tensor, edges: Tensor, pos: Tensor, lifts: Tensor | None = None) -> Tensor:
        """Apply all layers."""
        for number, layer in enumerate(self.layers):
            x = layer(nn.functional.silu(x) if number else x, edges, pos, lifts)
        return GroupConv.pool(x)


# ------------------------------------------------------------------ relaxed weights


def images() -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """A square of lit points among 5 × 5, three targets, and the points."""
    grid = torch.cartesian_prod(torch.arange(-2.0, 3), torch.arange(-2.0, 3))
    size = grid.abs()
    lit = {name: (size == torch.tensor(c)).all(1).double()[:, None] for name, c in
           {"start": (1.0, 1.0), "square": (2.0, 2.0), "rectangle": (2.0, 1.0)}.items()}  # fmt: skip
    return lit.pop("start"), lit | {"random": torch.randn(25, 1)}, grid


def spectra(group: str, target: str, seed: int, steps: int) -> list[dict[str, float]]:
    """Irreps in the relaxed weights of three layers after training."""
    torch.manual_seed(seed)
    x, targets, pos = images()
    edges = (torch.cdist(pos, pos) < 1.8).nonzero().T
    net = Stack(PointGroup(group), [1, 8, 8, 1], radius=1.0, relaxed=1)
    descend(net, lambda _: (net(x, edges, pos) - targets[target]).square().mean(), steps, 1e-2, f"{group}, {target}")
    return [layer.breaking_spectrum() for layer in net.layers]


# ------------------------------------------------------------------ splines on SO(2)


def cloud(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random features, all edges and positions of some points."""
    pos = 2 * torch.rand(count, 2)
    return torch.randn(count, 2), (1 - torch.eye(count)).nonzero().T, pos


def turn(angle: float) -> Tensor:
    """A rotation of the plane."""
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


@torch.no_grad()
def rotation_error(n: int, centers: int, seed: int) -> float:
    """Relative change of an untrained network on C_n with B-splines when the points turn by angles between its own."""
    torch.manual_seed(seed)
    x, edges, pos = cloud(10)
    group, settings = PointGroup(f"C{n}"), {"radius": 1.5, "dim": 2, "kernel": "spline"}
    first, second = GroupConv(2, 8, group, lift=True, **settings), GroupConv(8, 4, group, centers=centers, **settings)

    def answer(at: Tensor) -> Tensor:
        return second.pool(second(first(x, edges, at).tanh(), edges, at).tanh())

    still = answer(pos)
    return max(((answer(pos @ turn(t * math.pi / n).T) - still).norm() / still.norm()).item() for t in (0.4, 0.7, 1.0))


@torch.no_grad()
def sampling_exponent(seed: int, counts: list[int], draws: int) -> float:
    """Exponent p of the number of lifts S, where the error of a layer on SE(2) falls as S^p: that between any draws."""
    torch.manual_seed(seed)
    numbers = np.random.default_rng(seed)
    layer = GroupConv(2, 3, LieGroup.euclidean(2), radius=1.5, dim=2, kernel="mlp", lift=True)
    x, edges, pos = cloud(2)

    def answers(at: Tensor, samples: int) -> Tensor:
        lifts = (layer.sample_lifts(2, samples, numbers) for _ in range(draws))
        return torch.stack([layer.pool(layer(x, edges, at, frames).tanh()) for frames in lifts])

    apart = [answers(pos, s)[:, None] - answers(pos @ turn(0.9).T, s) for s in counts]
    return float(np.polyfit(np.log(counts), np.log([a.square().mean().sqrt().item() for a in apart]), 1)[0])


# ------------------------------------------------------------------ glyphs


def outline(letter: str) -> Tensor:
    """Evenly spaced points on the outline of a glyph of DejaVu Sans, centred, one unit high."""
    dots = []
    for polygon in TextPath((0, 0), letter, size=1).to_polygons():
        steps = np.linalg.norm(np.diff(polygon, axis=0), axis=1)
        along = np.concatenate([[0], np.cumsum(steps)])
        at = np.arange(0, along[-1], 0.02)
        dots.append(np.stack([np.interp(at, along, polygon[:, k]) for k in range(2)], axis=1))
    points = torch.from_numpy(np.concatenate(dots))
    return points - (points.amax(0) + points.amin(0)) / 2


def glyphs(count: int) -> tuple[Tensor, Tensor]:
    """Point clouds [count, POINTS, 2] of glyphs in random orientation, and which glyph it is."""
    outlines = [outline(letter) for letter in GLYPHS]
    labels = torch.randint(len(GLYPHS), (count,))
    clouds = []
    for label in labels:
        dots = outlines[label]
        evenly = (torch.arange(POINTS) + torch.rand(())) / POINTS * len(dots)
        chosen = dots[evenly.long()] + 0.02 * torch.randn(POINTS, 2)
        clouds.append(chosen @ turn(2 * math.pi * torch.rand(()).item()).T)
    return torch.stack(clouds), labels


class Reader(nn.Module):
    """Group convolutions on all points of a glyph, and a linear classifier of their mean."""

    def __init__(self, group: str, channels: int) -> None:
        super().__init__()
        self.stack = Stack(PointGroup(group), [1, channels, channels, channels], radius=0.3, kernel="spline")
        self.last = nn.Linear(channels, len(GLYPHS))

    def forward(self, clouds: Tensor) -> Tensor:
        """Logits of point clouds [B, POINTS, 2]."""
        close = torch.cdist(clouds, clouds) < 0.35
        graph, one, other = close.nonzero().T
        edges = torch.stack([graph * POINTS + one, graph * POINTS + other])
        pos = clouds.flatten(0, 1)
        hidden = nn.functional.silu(self.stack(torch.ones(len(pos), 1), edges, pos))
        return self.last(hidden.view(len(clouds), POINTS, -1).mean(1))


def glyph_errors(seed: int, steps: int, train: int) -> dict[str, dict[str, float]]:
    """Share of turned glyphs that are read wrongly, by networks with about the same number of parameters."""
    torch.manual_seed(seed)
    clouds, labels = glyphs(train)
    asked, truth = glyphs(300)
    found = {}
    for name, group, channels in (("plain", "C1", 20), ("p4", "C4", 10)):
        torch.manual_seed(seed)
        model = Reader(group, channels)
        batches = torch.randint(train, (steps, 24))

        def loss(step: int, model: Reader = model, batches: Tensor = batches) -> Tensor:
            return nn.functional.cross_entropy(model(clouds[batches[step]]), labels[batches[step]])

        descend(model, loss, steps, 1e-2, f"glyphs, {name}")
        with torch.no_grad():
            wrong = (model(asked).argmax(1) != truth).double().mean().item()
            quarter = (model(asked[:20]) - model(asked[:20] @ turn(math.pi / 2).T)).abs().max().item()
        found[name] = {"parameters": sum(p.numel() for p in model.parameters()), "wrong (%)": 100 * wrong}
        found[name] |= {"quarter turn moves logits by": quarter}
    return found


# ------------------------------------------------------------------ springs

BODIES = 5
SPRING_EDGES = (1 - torch.eye(BODIES)).nonzero().T


def springs(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Places [count, 5, 2], spring constants [count, 5, 1], and forces with energy Σ k_i k_j |q_i - q_j|² / 2."""
    places, stiffness = torch.randn(count, BODIES, 2), 0.5 + torch.rand(count, BODIES, 1)
    apart = places[:, None] - places[:, :, None]
    pull = stiffness[:, :, None] * stiffness[:, None] * apart
    return places, stiffness, pull.sum(2)


def forces(stack: Stack, places: Tensor, stiffness: Tensor, samples: int) -> Tensor:
    """Minus the gradient of the energy that the network gives."""
    count = len(places)
    pos = places.flatten(0, 1).detach().requires_grad_()
    edges = (SPRING_EDGES[:, None] + BODIES * torch.arange(count)[:, None]).flatten(1)
    lifts = stack.layers[0].sample_lifts(len(pos), samples) if samples else None
    energy = stack(stiffness.flatten(0, 1), edges, pos, lifts).sum()
    return -torch.autograd.grad(energy, pos, create_graph=True)[0].view(places.shape)


def spring_errors(seed: int, steps: int, train: int) -> dict[str, dict[str, float]]:
    """Relative errors of the forces on new states, and what forces add up to."""
    torch.manual_seed(seed)
    places, stiffness, truth = springs(train)
    new, new_stiffness, new_truth = springs(60)
    groups = {
        "trivial": (LieGroup(np.zeros((0, 2, 2))), 0),
        "T(2)": (LieGroup.translations(2), 0),
        "SE(2)": (LieGroup.euclidean(2), 3),
    }
    found = {}
    for name, (group, samples) in groups.items():
        torch.manual_seed(seed)
        stack = Stack(group, [1, 12, 12, 1], radius=1.0, kernel="mlp")
        batches = torch.randint(train, (steps, 16))

        def loss(step: int, stack: Stack = stack, batches: Tensor = batches, samples: int = samples) -> Tensor:
            chosen = batches[step]
            return (forces(stack, places[chosen], stiffness[chosen], samples) - truth[chosen]).square().mean()

        descend(stack, loss, steps, 5e-3, f"springs, {name}")
        given = forces(stack, new, new_stiffness, samples).detach()
        found[name] = {
            "force error (%)": 100 * ((given - new_truth).norm() / new_truth.norm()).item(),
            "sum of forces": given.sum(1).norm(dim=1).mean().item(),
        }
    return found


# ------------------------------------------------------------------ output


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.2g}"


def table(title: str, rows: dict[str, list[dict[str, float]]]) -> Table:
    """A table of one row for each name, of means over seeds."""
    out = Table(title=title, title_justify="left")
    keys = list(next(iter(rows.values()))[0])
    for key in ["", *keys]:
        out.add_column(key, justify="right" if key else "left")
    for name, found in rows.items():
        out.add_row(name, *(spread([f[key] for f in found]) for key in keys))
    return out


def figure(
    relaxed: dict[str, list[dict[str, float]]], errors: dict[str, list[dict[int, float]]],
    read: dict[str, list[dict[str, float]]], pulled: dict[str, list[dict[str, float]]],
) -> plt.Figure:  # fmt: skip
    """Four panels, one for each study."""
    fig, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    for number, (name, found) in enumerate((n[4:], f) for n, f in relaxed.items() if n.startswith("C4, ")):
        keys = list(found[0])
        heights = [max(np.mean([f[k] for f in found]), 1e-17) for k in keys]
        axes[0].bar(np.arange(len(keys)) + 0.27 * (number - 1), heights, 0.25, label=name)
        axes[0].set_xticks(range(len(keys)), keys)
    axes[0].set(yscale="log", ylim=(1e-17, 1e9), title="Irreps of C4 in the weights", ylabel="‖ŵ‖, largest of 3 layers")
    axes[0].axhline(1e-6, color="0.6", lw=0.8, ls="--")
    axes[0].legend(title="square →", frameon=False)
    for name, found in errors.items():
        axes[1].plot(list(found[0]), [np.mean([f[n] for f in found]) for n in found[0]], "o-", ms=4, label=name)
    axes[1].set(yscale="log", title="Turned between the elements", xlabel="elements n of C_n", ylabel="relative change")
    axes[1].legend(frameon=False)
    for ax, found, key, title in (
        (axes[2], read, "wrong (%)", "Glyphs in all orientations"),
        (axes[3], pulled, "force error (%)", "Springs, new states"),
    ):
        values = [[f[key] for f in rows] for rows in found.values()]
        ax.bar(list(found), [np.mean(v) for v in values], color="#30638e", alpha=0.5)
        for number, v in enumerate(values):
            ax.scatter([number] * len(v), v, color="k", s=14, zorder=3)
        ax.set(title=title, ylabel=key)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for the figure and the figures of merit.")] = Path(
        "results/group_conv"
    ),
    seeds: int = 3,
    steps: Annotated[int, typer.Option(help="Steps of each training; of glyphs twice as many.")] = 160,
) -> None:
    """Relaxed weights, splines on SO(2), glyphs and springs with one layer."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # the tensors are small
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)

    relaxed = {}
    for group in ("C4", "D4"):
        for target in ("square", "rectangle", "random"):
            every = [spectra(group, target, seed, steps) for seed in range(seeds)]
            relaxed[f"{group}, {target}"] = [{k: max(s[k] for s in layers) for k in layers[0]} for layers in every]
    console.print(table("Relaxed weights: size of irreps, largest of three layers (C4)", _of(relaxed, "C4")))
    console.print(table("The same with D4", _of(relaxed, "D4")))

    sizes = [3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32]
    errors = {
        "n centres": [{n: rotation_error(n, n, seed) for n in sizes} for seed in range(seeds)],
        "4 centres": [{n: rotation_error(n, 4, seed) for n in sizes if n >= 4} for seed in range(seeds)],
    }
    exponents = [{"exponent": sampling_exponent(seed, [32, 64, 128], 3 + steps // 4)} for seed in range(seeds)]
    console.print(table("Random lifts to SE(2): error ~ S^exponent", {"lifts": exponents}))

    read = [glyph_errors(seed, 2 * steps, 300) for seed in range(seeds)]
    read_by = {name: [r[name] for r in read] for name in read[0]}
    console.print(table("Glyphs in all orientations", read_by))
    pulled = [spring_errors(seed, steps, 100) for seed in range(seeds)]
    pulled_by = {name: [p[name] for p in pulled] for name in pulled[0]}
    console.print(table("Springs, 100 states to learn from", pulled_by))

    figure(relaxed, errors, read_by, pulled_by).savefig(out / "group_conv.png", dpi=80)
    seconds = time.perf_counter() - start
    metrics = {"relaxed": relaxed, "splines": errors, "lifts": exponents, "glyphs": read_by, "springs": pulled_by}
    (out / "metrics.json").write_text(json.dumps(metrics | {"seconds": seconds}, indent=2))
    console.print(f"Figure and metrics are in {out} ({seconds:.0f} s)")


def _of(found: dict[str, list[dict[str, float]]], group: str) -> dict[str, list[dict[str, float]]]:
    return {name: rows for name, rows in found.items() if name.startswith(group)}


if __name__ == "__main__":
    typer.run(main)
