"""pyg-symbreak relax: what lies below a symmetric structure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import ase.io
import ase.optimize
from ase import Atoms
from rich.console import Console
from rich.table import Table

from pyg_symbreak.cli.calculators import made_calculator
from pyg_symbreak.cli.output import numbered, stdout
from pyg_symbreak.distort import distortions, relax
from pyg_symbreak.plot import plot_relaxation

__all__ = ["report", "show"]


def report(
    atoms: Atoms,
    calculator: str,
    parameters: str,
    *,
    along: Literal["unstable", "all"],
    optimizer: str,
    symprec: float | Literal["auto"],
    cell: Literal["fixed", "symmetric", "free"],
    out: Path | None,
    **settings: Any,
) -> dict[str, Any]:
    """Relax, and write what was found to the folder ``out``; the other settings are those of ``relax``."""
    if not hasattr(ase.optimize, optimizer):
        raise ValueError(f"ase.optimize has no {optimizer!r}: BFGS, LBFGS, FIRE, ...")
    with Console(stderr=True).status("") as status:
        try:
            found = relax(
                atoms,
                made_calculator(calculator, parameters),
                along="unstable"
                if along == "unstable"
                else distortions(atoms, symprec, copies=1, strain=cell != "fixed"),
                optimizer=getattr(ase.optimize, optimizer),
                symprec=symprec,
                cell=cell,
                progress=status.update,
                **settings,
            )
        except RuntimeError as error:  # not converged, or what the calculator cannot do
            raise ValueError(str(error)) from error
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        found.write(out / "found.extxyz")
        ase.io.write(out / "primitive.extxyz", [stationary.primitive for stationary in found.found])
        found.write_trajectory(out / "relax.traj")
        plot_relaxation(found).figure.savefig(out / "relax.png", dpi=120)  # type: ignore[union-attr]
        (out / "report.json").write_text(json.dumps(found.to_dict(), indent=2) + "\n")
    return found.to_dict()


def show(report: dict[str, Any]) -> None:
    """Print it as tables."""
    console = stdout()
    found = Table("number", "symmetry", "energy (eV)", "below the first (eV)", "kind", "unstable or flat in")
    for number, row in enumerate(report["found"]):
        symmetry = numbered(row["space_group"]) or row["symmetry"]
        gain = report["found"][0]["energy"] - row["energy"]
        unstable = ", ".join([*row["unstable"], *(f"{name} (flat)" for name in row["flat"])])
        found.add_row(str(number), symmetry, f"{row['energy']:.4f}", f"{gain:.4f}", row["kind"], unstable)
    descents = Table("from", "along", "curvature (eV/Å²)", "kept", "force calls", "to")
    for row in report["descents"]:
        along = "" if row["irrep"] is None else row["irrep"] + (" reversed" if row["sign"] < 0 else "")
        curvature = "" if row["curvature"] is None else f"{row['curvature']:.3f}"
        cells = ["" if row["parent"] is None else str(row["parent"]), along, curvature, row["kept"] or "all"]
        stopped = report["unfinished"] is not None and row is report["descents"][-1]
        end = str(row["found"]) if row["found"] is not None else "stopped" if stopped else "not converged"
        descents.add_row(*cells, str(row["force_calls"]), end)
    console.print("Stationary structures")
    console.print(found, highlight=False)
    console.print("Relaxations")
    console.print(descents, highlight=False)
    total, curvatures = report["force_calls"], report["force_calls_for_curvatures"]
    console.print(f"{total} force calls, {curvatures} of them for curvatures", highlight=False)
    if report["unfinished"] is not None:
        console.print(f"Stopped there, unfinished: {report['unfinished']}. --max-calls sets how many.", highlight=False)
