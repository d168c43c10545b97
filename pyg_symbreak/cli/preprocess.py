"""What `pyg-symbreak preprocess` runs and shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ase import Atoms
from torch_geometric.transforms import Compose

from pyg_symbreak.cli.output import stdout
from pyg_symbreak.preprocess import preprocess
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

__all__ = ["run", "show"]


def run(
    frames: Iterator[Atoms], out: Path, objects: dict[str, Any], cutoff: float | None, work: dict[str, Any]
) -> dict[str, Any]:
    """Attach objects, and neighbours if there is a cutoff, to all frames."""
    neighbors = [] if cutoff is None else [NeighborList(cutoff)]
    done = preprocess(frames, out, Compose([*neighbors, AddSymmetryBreaking(**objects)]), progress=True, **work)
    return {"out": str(done.root), "count": done.count, "failures": [asdict(failure) for failure in done.failures]}


def show(report: dict[str, Any]) -> None:
    """How many structures there are, and those that failed."""
    console = stdout()
    console.print(f"{report['count']} structures in {report['out']}, {len(report['failures'])} failed", highlight=False)
    for failure in report["failures"]:
        console.print(f"  {failure['index']} {failure['structure']}: {failure['error']}", highlight=False, markup=False)
