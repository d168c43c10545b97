"""Every minimum below a symmetric molecule that was not trained on, where nobody says which symmetry a minimum keeps.

The molecules of datasets.Saddles are symmetric and mostly at a saddle of the energy. There an equivariant force field
has no force that breaks the symmetry. One is trained on the forces of displaced molecules. A molecule that it has not
seen is displaced along each distortion, one for each isotropy subgroup K of each irrep, and follows the learned forces
downhill; the energy ranks where that leads.

    python examples/saddles.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from _shared import Run, console, table
from rich.progress import track

from pyg_symbreak.datasets import SaddleForces, Saddles
from pyg_symbreak.training import Config
from pyg_symbreak.training.forces import Frames, fit_forces
from pyg_symbreak.training.memory import keep_freed_memory
from pyg_symbreak.training.minima import known_molecule, predict_minima, score
from pyg_symbreak.training.minima_run import trained_on

Row = dict[str, Any]


def summary(rows: list[Row], by: str) -> list[Row]:
    """Mean errors of the molecules that leave their symmetry, for each value of an attribute, and of all."""
    broken = [row for row in rows if row["bound"] > 1e-3]
    mean = float(np.mean([row["bound"] for row in broken]))
    groups = {"all": broken} | {str(v): [r for r in broken if r[by] == v] for v in sorted({r[by] for r in broken})}
    return [
        {
            by: name,
            "molecules": len(some),
            "bound without object (Å)": float(np.mean([r["bound"] for r in some])),
            "first answer (Å)": float(np.mean([r["error"] for r in some])),
            "best answer (Å)": float(np.mean([r["best error"] for r in some])),
            "first below half of the mean bound": float(np.mean([r["error"] < mean / 2 for r in some])),
            "minima found": float(np.mean([r["found"] for r in some])),
        }
        for name, some in groups.items()
        if name == "all" or len(some) > 3
    ]


def figure(rows: list[Row]) -> plt.Figure:
    """The error of the first and of the best answer against the bound, a dot for each molecule."""
    fig, panels = plt.subplots(1, 2, figsize=(9, 4.4), sharex=True, sharey=True, layout="constrained")
    for axes, key in zip(panels, ("error", "best error"), strict=True):
        bound, error = (np.array([row[k] for row in rows]) for k in ("bound", key))
        axes.plot([0, 1.2], [0, 1.2], "k--", lw=1, label="least error without object")
        axes.scatter(bound, error, s=16, color="#30638e", alpha=0.7)
        title = "answer ranked first" if key == "error" else "best of all answers"
        axes.set(xlabel="bound without object (Å)", title=title, xlim=(-0.03, 1.2), ylim=(-0.03, 1.5))
    panels[0].set_ylabel("distance from the nearest minimum (Å)")
    panels[0].legend(frameon=False, fontsize=9)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure and figures of merit.")] = Path(
        "results/saddles_example"
    ),
    steps: Annotated[int, typer.Option(help="Of training.")] = 2000,
    molecules: Annotated[int | None, typer.Option(help="Of the data set, the first ones. Default: all.")] = None,
    by: Annotated[str, typer.Option(help="What no held-out molecule shares with one for training.")] = "name",
) -> None:
    """Predict the minima below symmetric molecules, and what they keep of the symmetry."""
    files = Run(out)
    torch.set_num_threads(1)  # molecules are small
    keep_freed_memory()
    config = Config.read(Path(__file__).with_suffix(".yaml"))
    config = Config.of({**vars(config), "steps": steps})
    dataset = Saddles()[:molecules]
    _, numbers = dataset.split(by=by)
    outside = [dataset[int(i)] for i in numbers]
    known = trained_on(SaddleForces()[:molecules], outside, {d.frame for d in outside} if by == "frame" else ())
    model, losses = fit_forces(Frames(known, config.cutoff), config, progress="training")
    rows = []
    for data in track(outside, "molecules held out", console=console, transient=True):
        if not bool(data.rearranged):
            molecule = known_molecule(data, config)
            rows.append(score(molecule, data, predict_minima(model, molecule)))
    found = summary(rows, "kept")
    console.print(table(f"Molecules held out, by what their lowest minimum keeps; {len(known)} trained on", found))
    figure(rows).savefig(out / "saddles.png", dpi=120)
    stay = [row["error"] for row in rows if row["bound"] <= 1e-3]
    files.finish({"loss": losses[-1], "summary": found, "molecules that stay (Å)": float(np.mean(stay)), "rows": rows})


if __name__ == "__main__":
    typer.run(main)
