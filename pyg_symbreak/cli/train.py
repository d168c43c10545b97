"""pyg-symbreak train: how its report is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from pyg_symbreak.cli.output import stdout

__all__ = ["show"]


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
