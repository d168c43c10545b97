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

import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch_geometric.data import Batch

from pyg_symbreak.groups import PointGroup
from pyg_symbreak.training import Config, Distorter, Pair, answer_all, evaluate, load_pairs, sample

WAYS = {"without object": "none", "noise": "noise", "with object": "group"}
COLORS = {"without object": "0.45", "noise": "#edae49", "with object": "#30638e"}
HIDDEN = "16x0e+8x0o+8x1e+8x1o+4x2e+4x2o"
console = Console(width=max(Console().width, 125))
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
    optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, foreach=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    most = max(len(pair.images_y) for pair in pairs.training) if way == "noise" else 1

    def batch_of(number: int) -> Batch:
        return Batch.from_data_list([sample(pair, config, number, most) for pair in pairs.training])

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = model.loss(batch).mean()
        value.backward()
        return value

    batch = batch_of(0)
    for step in range(steps):
        if way == "noise":  # drawn anew; it may lead to any of the equivalent distortions
            batch = batch_of(seed * steps + step)
        optimizer.step(loss)
        schedule.step()
    if way != "noise":  # Adam comes near the minimum, L-BFGS goes down to it
        optimizer = torch.optim.LBFGS(
            model.parameters(), max_iter=steps // 2, tolerance_change=1e-14, line_search_fn="strong_wolfe"
        )
        optimizer.step(loss)
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


def table(title: str, rows: list[Row]) -> Table:
    """A table for the terminal."""
    out = Table(title=title, title_justify="left")
    for key in rows[0]:
        out.add_column(key, justify="left" if key in ("molecule", "S", "K") else "right", no_wrap=key == "molecule")
    for row in rows:
        out.add_row(*map(_shown, row.values()))
    return out


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"{np.mean(value):.2f} ± {np.std(value, ddof=1) if len(value) > 1 else 0:.2f}"
    return f"{value + 0.0:.2g}" if isinstance(value, float) else str(value)


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
    frame = pair.group.frame
    flat = pair.data.pos.numpy() @ frame
    flat = flat - flat.mean(0)
    axes.scatter(*flat[:, :2].T, s=250, color="white", edgecolors="0.6", label="neutral molecule")
    for number, y in enumerate(answers):
        ends = flat + y @ frame
        color = ["#d1495b", "#00798c", "#edae49"][number % 3]
        for p, q in zip(flat, ends, strict=True):
            axes.annotate("", q[:2], p[:2], arrowprops={"arrowstyle": "->", "color": color, "lw": 1.5})
        axes.scatter(*ends[:, :2].T, s=40, color=color, label=f"answer to object {number}", zorder=3)
    axes.set_aspect("equal")
    axes.margins(0.15)
    axes.set_axis_off()
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
    start = time.perf_counter()
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
    out.mkdir(parents=True, exist_ok=True)
    figure(rows, held_out, shown, answers).savefig(out / "jahn_teller.png", dpi=120)
    seconds = time.perf_counter() - start
    metrics = {"training": rows, "held out": held_out, **summary, "seconds": seconds}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2))
    console.print(f"Figure and metrics are in {out} ({seconds:.0f} s)")


if __name__ == "__main__":
    typer.run(main)
