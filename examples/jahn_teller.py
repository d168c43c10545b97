"""From a symmetric molecule to the distorted ion: every equivalent distortion, and its energy.

Take an electron out of methane, benzene or cyclopropane and the molecule distorts, in one of several equivalent ways
(the Jahn-Teller effect). An equivariant network that sees the neutral molecule can predict their average only. Here it
is also given a symmetry breaking object, from the smallest equivariant set for the symmetry S of the molecule and the
subgroup K that the ion keeps, and is trained on one distortion of each ion. The other objects of the set give the
others, |S|/|K| in all, with the same energy. Controls, which keep their symmetry, get no object and need none.

K is given: for molecules held out of training too it is taken from the data, as a label.

    python examples/jahn_teller.py
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from _shared import Run, console, table
from rich.progress import track
from torch_geometric.data import Batch

from pyg_symbreak.groups import PointGroup
from pyg_symbreak.plot import plot_structure
from pyg_symbreak.training import Config, Distorter, Pair, answer_all, evaluate, fit, load_pairs, sample

WAYS = {"without object": "none", "noise": "noise", "with object": "group"}
COLORS = {"without object": "0.45", "noise": "#edae49", "with object": "#30638e"}
HIDDEN = "16x0e+8x0o+8x1e+8x1o+4x2e+4x2o"
Row = dict[str, Any]


# ------------------------------------------------------------------ the bound


def curie_bound(pair: Pair) -> float:
    """Least root mean square error by atom, Å, without object: of the target against its average over S."""
    group, pos, y = pair.group, pair.data.pos.numpy(), pair.y.numpy()
    if not group.is_finite:  # four turns about the axis average vectors as all turns do
        group = PointGroup({"Dinfh": "D4h", "Cinfv": "C4v"}[group.schoenflies]).rotated(group.frame)
    centered, average = pos - pos.mean(0), np.zeros_like(y)
    for matrix in group.matrices:
        to = np.linalg.norm((centered @ matrix.T)[:, None] - centered, axis=2).argmin(1)
        average[to] += y @ matrix.T / len(group.matrices)
    return float(np.sqrt(((y - average) ** 2).sum(1).mean()))


# ------------------------------------------------------------------ training


def config_for(way: str) -> Config:
    """What the network of this way is given, and its size."""
    return Config.of({"dataset": "JahnTeller", "strategy": WAYS[way], "hidden": HIDDEN, "object_degree": 2})


def run(job: tuple[str, int, int]) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    """Train one network, and compare its answers with all equivalent distortions; also the weights."""
    way, seed, steps = job
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = config_for(way)
    pairs = load_pairs(config)
    model = Distorter(pairs, config)
    most = max(len(pair.images_y) for pair in pairs.training) if way == "noise" else 1

    def batch_of(number: int) -> Batch:
        return Batch.from_data_list([sample(pair, config, number, most) for pair in pairs.training])

    first = batch_of(0)

    def loss(step: int) -> torch.Tensor:
        """Noise is drawn anew; it may lead to any of the equivalent distortions."""
        return model.loss(batch_of(seed * steps + step) if way == "noise" else first).mean()

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    fit(model, loss, steps, schedule=schedule, polish=0 if way == "noise" else steps // 2, tolerance=1e-7)
    rows = {
        "training": [evaluate(model, pair, config) for pair in pairs.training],
        "held out": [evaluate(model, pair, config) for pair in pairs.held_out],
    }
    return rows, model.state_dict()


def run_all(steps: int, seeds: int, workers: int) -> dict[str, list[tuple]]:
    """All ways with all seeds, in several processes."""
    jobs = [(way, seed, steps) for seed, way in product(range(seeds), WAYS)]
    if workers == 1:
        done = [run(job) for job in track(jobs, "ways × seeds", console=console, transient=True)]
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            done = list(track(pool.map(run, jobs), "ways × seeds", len(jobs), console=console, transient=True))
    results: dict[str, list[tuple]] = {way: [] for way in WAYS}
    for (way, _, _), result in zip(jobs, done, strict=True):
        results[way].append(result)
    return results


# ------------------------------------------------------------------ tables


def training_rows(pairs: list[Pair], without: list[Row], with_object: list[Row]) -> list[Row]:
    """What one network makes of each training molecule."""
    return [
        {
            "molecule": pair.name,
            "S": pair.group.schoenflies,
            "K": pair.keep.schoenflies,
            "|S|/|K|": len(pair.images_y),
            "answers": row["answers"],
            "Curie bound": curie_bound(pair),
            "without object": other["error"],
            "with object": row["error"],
            "largest": row["largest"],
            "worst served": row["missed"],
            "energy off (eV)": row["graph error"],
            "energies differ (eV)": row["graph spread"],
        }
        for pair, other, row in zip(pairs, without, with_object, strict=True)
    ]


def held_out_rows(pairs: list[Pair], results: dict[str, list[tuple]]) -> list[Row]:
    """Mean ± standard deviation over the seeds of the error of an answer."""
    rows = []
    for number, pair in enumerate(pairs):
        row: Row = {
            "molecule": pair.name,
            "S": pair.group.schoenflies,
            "K, given": pair.keep.schoenflies,
            "no distortion": float(pair.y.square().sum(1).mean().sqrt()),
            "Curie bound": curie_bound(pair),
        }
        for way, runs in results.items():
            row[way] = [rows["held out"][number]["mean error"] for rows, _ in runs]
        rows.append(row)
    return rows


# ------------------------------------------------------------------ figure


def figure(rows: list[Row], held_out: list[Row], shown: Pair, answers: np.ndarray) -> plt.Figure:
    """All answers for one molecule, the errors on training molecules, and on those held out."""
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    draw_answers(left, shown, answers)
    broken = [row for row in rows if row["|S|/|K|"] > 1]
    x = np.arange(len(broken))
    for i, row in enumerate(broken):
        label = "bound without object" if i == 0 else None
        middle.plot([i - 0.4, i + 0.4], [row["Curie bound"]] * 2, color="k", lw=1, ls="--", label=label)
    for way, marker in (("without object", "o"), ("with object", "D")):
        middle.scatter(x, [row[way] for row in broken], s=30, marker=marker, color=COLORS[way], label=way, zorder=3)
    middle.set_xticks(x, [row["molecule"] for row in broken], rotation=60, ha="right", fontsize=9)
    middle.set(yscale="log", ylabel="error by atom (Å)", title="Ions that distort, in training")
    middle.legend(frameon=False, fontsize=9, loc="center left")
    x = np.arange(len(held_out))
    for shift, way in zip((-0.22, 0, 0.22), WAYS, strict=True):
        for i, row in enumerate(held_out):
            label = way if i == 0 else None
            right.scatter([i + shift] * len(row[way]), row[way], s=18, color=COLORS[way], label=label)
    for i, row in enumerate(held_out):
        label = "no distortion" if i == 0 else None
        right.plot([i - 0.4, i + 0.4], [row["no distortion"]] * 2, color="k", lw=1, ls=":", label=label)
    right.set_xticks(x, [row["molecule"] for row in held_out], rotation=60, ha="right", fontsize=9)
    right.set(ylabel="error by atom (Å)", title="Held out; each dot a seed", ylim=(0, None))
    right.legend(frameon=False, fontsize=9)
    return fig


def draw_answers(axes: plt.Axes, pair: Pair, answers: np.ndarray) -> None:
    """A molecule seen along its main axis, and the ion in each of the predicted shapes."""
    plot_structure(pair.data, answers, axes, direction=pair.group.axis)
    axes.set_title(f"{pair.name}: {pair.group.schoenflies} to {pair.keep.schoenflies}, trained on one distortion")
    axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2)


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure and figures of merit.")] = Path("results/jahn_teller"),
    steps: Annotated[int, typer.Option(help="Steps of Adam; L-BFGS takes half as many.")] = 250,
    seeds: Annotated[int, typer.Option(help="Networks of each kind.")] = 5,
    workers: Annotated[int, typer.Option(help="Processes.")] = min(2, os.cpu_count() or 1),
    show: Annotated[str, typer.Option(help="Molecule of the figure.")] = "BH3+",
) -> None:
    """Predict how symmetric molecules distort when an electron is taken away, every equivalent distortion."""
    torch.set_default_dtype(torch.float64)
    files = Run(out)
    results = run_all(steps, seeds, workers)
    config = config_for("with object")
    pairs = load_pairs(config)
    rows = training_rows(pairs.training, *(results[way][0][0]["training"] for way in ("without object", "with object")))
    held_out = held_out_rows(pairs.held_out, results)
    console.print(table("Training molecules, first seed; errors by atom and largest of an atom in Å", rows))
    console.print(table(f"Held out of training: error by atom (Å), {seeds} seeds", held_out))
    broken = [row for result, _ in results["with object"] for row in result["training"]]
    unbroken = [row for result, _ in results["without object"] for row in result["training"]]
    summary = {
        "largest error of an atom, all seeds (Å)": max(row["largest"] for row in broken),
        "energies of equivalent distortions differ by (eV)": max(row["graph spread"] for row in broken),
        "error without object less the Curie bound, at least (Å)": min(r["error"] - r["curie"] for r in unbroken),
    }
    console.print(table("All seeds", [summary]))

    model = Distorter(pairs, config)
    model.load_state_dict(results["with object"][0][1])
    shown = next(pair for pair in pairs.training if pair.name == show)
    answers = answer_all(model, shown, config)[0].numpy()
    figure(rows, held_out, shown, answers).savefig(out / "jahn_teller.png", dpi=120)
    files.finish({"training": rows, "held out": held_out, **summary}, "Figure and metrics")


if __name__ == "__main__":
    typer.run(main)
