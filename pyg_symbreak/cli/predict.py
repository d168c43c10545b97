"""pyg-symbreak predict: the minima below a symmetric molecule, as a learned force field has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms
from rich.table import Table

from pyg_symbreak.cli.output import stdout
from pyg_symbreak.training.minima import molecule_of, predict_minima
from pyg_symbreak.training.minima_run import load_minima

__all__ = ["report", "show"]


def report(folder: Path, atoms: Atoms, charge: float, seed: int | None, most: int, out: Path) -> dict[str, Any]:
    """Predict, and write the first answers as extended XYZ."""
    field, config = load_minima(folder, seed)
    molecule = molecule_of(atoms, config, charge)
    frames = list(predict_minima(field, molecule).structures(molecule))[:most]
    ase.io.write(out, frames, format="extxyz")
    keys = ("rank", "K", "irrep", "predicted_energy", "rearranged")
    rows = [{key: frame.info[key] for key in keys} for frame in frames]
    return {
        "group": molecule.space.whole.schoenflies,
        "objects": len(molecule.objects),
        "out": str(out),
        "minima": rows,
    }


def show(report: dict[str, Any]) -> None:
    """Print it as a table."""
    console = stdout()
    table = Table("rank", "K", "along", "rough energy (eV)", "bonds")
    for row in report["minima"]:
        bonds = "others" if row["rearranged"] else "kept"
        table.add_row(str(row["rank"]), row["K"], row["irrep"], f"{row['predicted_energy']:.2f}", bonds)
    console.print(f"Predicted minima below {report['group']}; {report['objects']} objects tried", highlight=False)
    console.print(table, highlight=False)
    console.print(f"Written to {report['out']}. Relax them: the energies rank them, no more.", highlight=False)
