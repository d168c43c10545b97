"""pyg-symbreak distortions: the ways in which a structure can distort."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import ase.io
from ase import Atoms
from rich.console import Console
from rich.table import Table

from pyg_symbreak.cli.output import numbered, stdout
from pyg_symbreak.detect import detect_symmetry, symmetrize
from pyg_symbreak.distort import distortions

__all__ = ["report", "show"]


def report(
    atoms: Atoms, symprec: float | Literal["auto"], *, strain: bool, copies: int, amplitude: float, out: Path | None
) -> list[dict[str, Any]]:
    """List them, and write starting structures to the folder ``out``, a file for each."""
    with Console(stderr=True).status("") as status:
        found = distortions(atoms, symprec, copies=copies, strain=strain, progress=status.update)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        atoms = symmetrize(atoms, detect_symmetry(atoms, symprec))  # type: ignore[arg-type, assignment]
        for number, way in enumerate(found):
            ase.io.write(out / f"{number}.extxyz", list(way.starts(atoms, amplitude)))
    return [way.to_dict() for way in found]


def show(report: dict[str, Any]) -> None:
    """Print them as a table."""
    table = Table("number", "irrep", "dimension", "copy", "keeps", "parameters", "equivalent", "signs alike")
    for number, row in enumerate(report["distortions"]):
        keeps = numbered(row["space_group"]) or row["keep"]
        copy = f"{row['copy'] + 1} of {row['multiplicity']}"
        many = "∞" if row["equivalent"] is None else str(row["equivalent"])
        cells = [str(number), row["irrep"], str(row["dimension"]), copy, keeps, str(row["parameters"]), many]
        table.add_row(*cells, "yes" if row["reversible"] else "no")
    stdout().print(table, highlight=False)
