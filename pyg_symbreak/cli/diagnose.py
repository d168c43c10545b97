"""pyg-symbreak diagnose: what leads from one structure to another, irrep by irrep."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import numpy as np
from ase import Atoms
from rich.table import Table

from pyg_symbreak.cli.output import numbered, stdout, wave_name
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.diagnosis import Diagnosis, diagnose
from pyg_symbreak.distort import irrep_amplitudes
from pyg_symbreak.relation import relate_structures
from pyg_symbreak.structures import polar

__all__ = ["report", "show"]


def report(parent: Atoms, child: Atoms, symprec: float | Literal["auto"]) -> dict[str, Any]:
    """The diagnosis of a pair; of crystals also the irreps of the displacements, the space group and the domains.

    A parent in another setting is brought to the cell of the child first.
    """
    crystals = bool(parent.pbc.all() and child.pbc.all())
    cell, vectors = parent, None
    if crystals and not _in_one_setting(parent, child):
        relation = relate_structures(parent, child)
        cell, vectors = relation.parent, _tidy(relation.transformation.numpy())
    found = diagnose(cell, child, symprec)
    out = found.to_dict() | {"cell": vectors, "irreps": [], "text": str(found)}
    if crystals:
        symmetry = detect_symmetry(child, symprec)
        assert isinstance(symmetry, Symmetry)
        kind = symmetry.space_group
        out["space_group"] = kind and {"number": kind.number, "symbol": kind.symbol}
        out["domains"] = _domains(found)
        whole, moved = _in_whole_cell(parent, cell, found.vectors.numpy())
        out["irreps"] = irrep_amplitudes(whole, moved, symprec, copies=len(whole) // len(cell))
    return out


def _in_one_setting(parent: Atoms, child: Atoms) -> bool:
    """Whether both hold the same number of atoms in cells whose vectors follow each other."""
    try:
        polar(parent.cell.array, child.cell.array)
    except ValueError:
        return False
    return len(parent) == len(child)


def _tidy(vectors: np.ndarray) -> list[list[float]]:
    return (vectors.round(6) + 0.0).tolist()  # no negative zeros


def _in_whole_cell(parent: Atoms, cell: Atoms, moved: np.ndarray) -> tuple[Atoms, np.ndarray]:
    """The parent repeated equally along its vectors until that fits a cell of it, and displacements given there."""
    inverse = np.linalg.inv(cell.cell.array @ np.linalg.inv(parent.cell.array))
    times = int(np.lcm.reduce([Fraction(x).limit_denominator(1000).denominator for x in inverse.flat]))
    whole = parent.repeat(times)
    apart = (whole.positions[:, None] - cell.positions) @ np.linalg.inv(cell.cell.array)
    same = np.linalg.norm((apart - np.rint(apart)) @ cell.cell.array, axis=2).argmin(1)
    return whole, moved[same]


def _domains(found: Diagnosis) -> int:
    """|S|/|K|, with the domains in cells of other shape."""
    symmetry, translations = found.symmetry, len(found.symmetry.pure_translations)
    kept = int(found.keep.order) * (translations - found.lost_translations)
    return int(symmetry.order) * symmetry.hidden_domains // kept


def show(report: dict[str, Any]) -> None:
    """Print it."""
    console = stdout()
    console.print(report["text"], highlight=False, soft_wrap=True)
    if report["cell"] is not None:
        console.print(f"Cell of the target, rows in vectors of the input: {report['cell']}", highlight=False)
    if not report["irreps"]:
        return
    console.print(
        f"Target   space group {numbered(report['space_group'])}, {report['domains']} domains", highlight=False
    )
    table = Table("k", "irrep", "dimension", "amplitude (Å)")
    for row in report["irreps"]:
        table.add_row(wave_name(row["k"]), row["irrep"], str(row["dimension"]), f"{row['amplitude']:.4f}")
    console.print(table, highlight=False)
