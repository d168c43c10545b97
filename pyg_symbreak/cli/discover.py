"""pyg-symbreak discover: where a trained model breaks its symmetry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from ase import Atoms
from rich.table import Table
from torch_geometric.data import Data

from pyg_symbreak.cli.answers import loaded
from pyg_symbreak.cli.output import stdout
from pyg_symbreak.discover import symmetry_report
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import NeighborList

__all__ = ["report", "saved", "show"]


def saved(file: Path) -> list[Data]:
    """The structures in a file of torch."""
    found = loaded(file)
    structures = [found] if isinstance(found, Data) else list(found) if isinstance(found, list | tuple) else []
    if not structures or not all(isinstance(data, Data) and data.get("pos") is not None for data in structures):
        raise ValueError(f"{file} holds no list of Data with pos: save one by torch.save(list(dataset), file)")
    return structures


def report(
    model_file: Path,
    structures: Sequence[Atoms | Data],
    irreps_out: str,
    features: dict[str, str],
    cutoff: float | None,
    degree: int,
    figure: Path | None,
) -> dict[str, Any]:
    """The faults of the model and all errors; the figure of them if a file for it is given."""
    model = loaded(model_file)
    if not callable(model):
        raise ValueError(f"{model_file} holds {type(model).__name__}: save the model itself, torch.save(model, file)")
    dtype = next((p.dtype for p in model.parameters()), None) if isinstance(model, torch.nn.Module) else None
    edges = None if cutoff is None else NeighborList(cutoff)

    def of(data: Data) -> torch.Tensor:
        return model(data if edges is None else edges(data))

    dataset = [from_ase(s, dtype) if isinstance(s, Atoms) else s for s in structures]
    found = symmetry_report(of, dataset, irreps_out, features, degree=degree)
    if figure is not None:
        _draw(found.table(), figure)
    kept = found.generators.generators.round(12).tolist()
    return vars(found) | {"variance": found.variance, "generators": kept, "table": found.table()}


def _draw(rows: list[tuple[str, float]], path: Path) -> None:
    fig, axes = plt.subplots(figsize=(7, 0.3 * len(rows) + 1), layout="constrained")
    names, values = zip(*reversed(rows), strict=True)
    axes.barh(names, [max(v, 1e-16) for v in values], color=["#d1495b" if v > 1e-3 else "#30638e" for v in values])
    axes.set(xscale="log", xlim=(1e-16, 10), xlabel="root mean square error over the spread of the output")
    axes.axvline(1e-3, color="0.6", lw=0.8, ls="--")
    fig.savefig(path, dpi=120)
    plt.close(fig)


def show(found: dict[str, Any]) -> None:
    """Print it as a table."""
    console = stdout()
    table = Table(box=None)
    table.add_column("what was tried")
    table.add_column("error", justify="right")
    for name, value in found["table"]:
        table.add_row(name, f"{value:.1e}")
    console.print(table)
    console.print(f"equivariant under {len(found['generators'])} of 6 generators of turns and shifts", highlight=False)
    for fault in found["faults"] or ["No fault was found."]:
        console.print(fault, highlight=False, soft_wrap=True)
