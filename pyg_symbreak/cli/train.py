"""pyg-symbreak train: how its report is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from pyg_symbreak.cli.output import stdout

__all__ = ["show", "show_minima"]


def show(report: dict[str, Any], folder: Path) -> None:
    """Print it as tables."""
    console = stdout()
    for run in report["runs"]:
        table = Table(title=f"seed {run['seed']}, {run['steps']} steps, loss {run['loss']:.2g}", title_justify="left")
        for name in ("pair", "", "S", "K", "targets", "answers", "error (Å)", "bound without object (Å)"):
            table.add_column(name, justify="left" if name in ("pair", "", "S", "K") else "right")
        for part in ("training", "held out"):
            for row in run[part]:
                cells = [str(row[key]) for key in ("group", "keep", "targets", "answers")]
                table.add_row(row["name"], part, *cells, f"{row['error']:.2g}", f"{row['curie']:.2g}")
        console.print(table, highlight=False)
        stuck = [row["name"] for row in run["training"] if row["targets"] > 1 and row["error"] > 0.5 * row["curie"] > 0]
        if stuck and report["config"]["strategy"] != "none":
            console.print(
                f"Near the bound of a network without object: {', '.join(stuck)}. They need more steps, or another lr.",
                highlight=False,
            )
    console.print(f"Metrics, curves and checkpoints are in {folder}", highlight=False)


def show_minima(report: dict[str, Any], folder: Path) -> None:
    """Print a run on Saddles as tables."""
    console = stdout()
    for run in report["runs"]:
        title = f"seed {run['seed']}, {run['steps']} steps on {report['molecules']} molecules, loss {run['loss']:.2g}"
        if not run["held out"]:
            console.print(title, highlight=False)
            continue
        table = Table(title=title, title_justify="left")
        for name in ("held out", "S", "K", "first answer misses by (Å)", "bound (Å)", "answers", "minima found"):
            table.add_column(name, justify="left" if name in ("held out", "S", "K") else "right")
        for row in run["held out"]:
            cells = [row["name"], row["group"], row["kept"], f"{row['error']:.2f}", f"{row['bound']:.2f}"]
            table.add_row(*cells, str(row["answers"]), f"{round(row['found'] * row['minima'])} of {row['minima']}")
        console.print(table, highlight=False)
    console.print(f"The run is in {folder}: pyg-symbreak predict {folder} MOLECULE", highlight=False)
