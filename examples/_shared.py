"""What the examples share: runs over ways and seeds, tables and files; ways to break the symmetry of a graph."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.breaking import InputIndexed, Noise
from pyg_symbreak.nn import SymPE
from pyg_symbreak.training import fit
from pyg_symbreak.transforms import AddSymmetryBreaking, OrbitIndividualization

DIM = 8
"""Numbers that a model is given at each node, if not said otherwise, whichever way symmetry is broken."""
GRAPH_WAYS = ("none", "noise", "uniform ranks", "input-indexed", "SymPE")
COLORS = {
    "none": "0.45",
    "none (no flips)": "0.65",
    "E-MLP": "0.3",
    "noise": "#edae49",
    "uniform ranks": "#d1495b",
    "uniform frames": "#d1495b",
    "orbit ids": "#8d5a2b",
    "group-indexed": "#7b2d8b",
    "input-indexed": "#30638e",
    "SymPE": "#00798c",
    "relaxed E-MLP": "#7fb069",
}
Metrics = dict[str, float]
console = Console(width=max(Console().width, 125))


# ------------------------------------------------------------------ ways to break the symmetry of a graph


class NoObject(BaseTransform):
    """The unbroken model: zeros in the place of the object."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, data: Data) -> Data:
        """Attach zeros."""
        data.breaking = torch.zeros(data.num_nodes, self.dim)
        return data


class UniformRanks(BaseTransform):
    """Nodes numbered at random, whatever the graph: all n! numberings are equally likely."""

    def forward(self, data: Data) -> Data:
        """Attach the numbers."""
        data.breaking = torch.randperm(data.num_nodes)[:, None]
        return data


def graph_way(way: str, features: Sequence[str] = (), dim: int = DIM) -> BaseTransform:
    """The transform that attaches ``breaking`` to a graph without positions; features tell its nodes or edges apart."""
    if way == "none":
        return NoObject(dim)
    if way == "uniform ranks":
        return UniformRanks()
    if way == "orbit ids":
        return OrbitIndividualization(dim, features=features)
    if way == "SymPE":
        return AddSymmetryBreaking("sympe", features=features)
    kind = Noise if way == "noise" else InputIndexed
    return AddSymmetryBreaking(kind(irreps=f"{dim}x0e"), features=features)


class BreakingFeatures(nn.Module):
    """What a model is given at each node, [N, dim]: the object itself or, where it is a rank, a learned row."""

    def __init__(self, way: str, num_ranks: int, dim: int = DIM) -> None:
        super().__init__()
        self.rows = SymPE(dim, num_ranks) if way in ("SymPE", "uniform ranks") else None

    def forward(self, breaking: Tensor) -> Tensor:
        """From ``data.breaking`` to features."""
        return breaking.to(torch.get_default_dtype()) if self.rows is None else self.rows(breaking)


def draw(graphs: Iterable[Data], transform: BaseTransform, count: int) -> list[Batch]:
    """The graphs as one batch, with objects drawn anew for each of so many copies of it."""
    graphs = list(graphs)
    return [Batch.from_data_list([transform(data) for data in graphs]) for _ in range(count)]


# ------------------------------------------------------------------ training and comparing


def train(
    model: nn.Module, loss: Callable[[Batch, float], Tensor], batches: Sequence[Batch], steps: int, lr: float = 1e-2
) -> None:
    """Minimize a loss on batches in turn, with Adam; the loss is also told how far training is, from 0 to 1."""

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)

    fit(model, lambda step: loss(batches[step % len(batches)], step / steps), steps, lr, schedule=schedule)


def compare(run: Callable[[str, int], Metrics], ways: Sequence[str], seeds: int) -> dict[str, list[Metrics]]:
    """Run each way with each seed, from 0."""
    results: dict[str, list[Metrics]] = {way: [] for way in ways}
    jobs = list(product(ways, range(seeds)))
    for way, seed in track(jobs, "ways × seeds", console=console, transient=True):
        torch.manual_seed(seed)
        results[way].append(run(way, seed))
    return results


# ------------------------------------------------------------------ output


def mean_and_deviation(results: dict[str, list[Metrics]]) -> list[dict[str, str]]:
    """One row for each way: mean ± standard deviation over the seeds of each figure of merit."""
    rows = []
    for way, runs in results.items():
        row = {"way": way}
        for key in runs[0]:
            values = np.array([run[key] for run in runs])
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            row[key] = f"{values.mean():.3g} ± {spread:.1g}"
        rows.append(row)
    return rows


def bound_row(name: str, results: dict[str, list[Metrics]], bound: dict[str, float]) -> dict[str, str]:
    """A row of the same table with what theory says of some of the figures of merit."""
    keys = next(iter(results.values()))[0]
    return {"way": name} | {key: f"{bound[key]:.3g}" if key in bound else "" for key in keys}


def table(title: str, rows: list[dict], digits: str = ".2g") -> Table:
    """A table for the terminal, numbers with so many digits, lists of numbers as mean ± standard deviation."""
    out = Table(title=title, title_justify="left")
    for number, key in enumerate(rows[0]):
        out.add_column(key, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        out.add_row(*(_shown(value, digits) for value in row.values()))
    return out


def _shown(value: object, digits: str) -> str:
    if isinstance(value, list) and all(isinstance(number, float) for number in value):
        return f"{np.mean(value):.2f} ± {np.std(value, ddof=1) if len(value) > 1 else 0:.2f}"
    return f"{value + 0.0:{digits}}" if isinstance(value, float) else str(value)


class Run:
    """The folder that an example writes to, and how long it takes."""

    def __init__(self, out: Path) -> None:
        self.out, self.start = out, time.perf_counter()
        out.mkdir(parents=True, exist_ok=True)

    def finish(self, metrics: dict, what: str = "Figure, table and metrics") -> None:
        """Write the figures of merit, and say where all is."""
        seconds = time.perf_counter() - self.start
        (self.out / "metrics.json").write_text(json.dumps(metrics | {"seconds": seconds}, indent=2))
        console.print(f"{what} are in {self.out} ({seconds:.0f} s)")


def markdown(rows: list[dict[str, str]]) -> str:
    """The same for docs/applications.md."""
    lines = [list(rows[0]), ["---"] + ["---:"] * (len(rows[0]) - 1), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def dots(axes: plt.Axes, results: dict[str, list[Metrics]], key: str) -> None:
    """A dot for each seed and a line at the mean, one column for each way."""
    for i, (way, runs) in enumerate(results.items()):
        values = np.array([run[key] for run in runs])
        across = i + np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else np.array([i])
        axes.plot([i - 0.3, i + 0.3], [values.mean()] * 2, color=COLORS[way], lw=3, alpha=0.5)
        axes.scatter(across, values, s=30, color=COLORS[way], zorder=3)
    axes.set_xticks(range(len(results)), [way.replace(" ", "\n") for way in results], fontsize=9)
    axes.set_title(key, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
