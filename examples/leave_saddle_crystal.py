"""Two perovskites leave the cubic phase: which irreps are unstable, and which tilt of the octahedra is lowest.

Forces of a cubic crystal keep it cubic. The curvature of the energy in each irrep of a cell of 40 atoms says where it
would rather go: strontium titanate and calcium titanate at Γ (polar) and at R and M (tilts). Each tilt is then relaxed
inside the space group that it keeps, the cell with it. Measured are Pnma for CaTiO3 and, below 105 K, I4/mcm for
SrTiO3. Energies are those of SevenNet, a machine-learned potential: `pip install sevenn`; 13 minutes of one core.

    python examples/leave_saddle_crystal.py
    python examples/leave_saddle_crystal.py --calculator chgnet   # a second opinion; pip install chgnet
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import typer
from _shared import Run, console, table
from ase import Atoms
from ase.io import write

from pyg_symbreak.cli.calculators import made_calculator
from pyg_symbreak.distort import RelaxedDistortion, Stationary, curvatures, relax, relax_within, tilt_systems
from pyg_symbreak.plot import plot_structure

EDGES = {"SrTiO3": 3.91, "CaTiO3": 3.84}  # Å, to begin with
TILTS = ("a0a0c+", "a0a0c-", "a-a-a-", "a0b-b-", "a+b-b-")
COLORS = {"Γ": "#d1495b", "X": "0.6", "M": "#edae49", "R": "#30638e"}


def cubic(formula: str, edge: float) -> Atoms:
    """The perovskite without distortion, five atoms."""
    places = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    return Atoms(formula, scaled_positions=places, cell=[edge] * 3, pbc=True)


def cubic_phase(atoms: Atoms, calculator: Any) -> Stationary:
    """The cubic phase at its own edge, with the curvature in each irrep of a cell of 40 atoms."""
    relaxed = relax(atoms, calculator, generations=0, cell="symmetric").found[0].atoms
    with console.status("curvatures") as status:
        return curvatures(relaxed.repeat(2), calculator, progress=status.update)


def tilted(parent: Atoms, calculator: Any) -> list[RelaxedDistortion]:
    """The cubic phase and each tilt, relaxed inside its space group."""
    ways = [way for way in tilt_systems(parent) if way.tilt in TILTS]
    with console.status("tilts") as status:
        return relax_within(ways, calculator, progress=status.update)


def rows_of(formula: str, ends: list[RelaxedDistortion]) -> list[dict]:
    """What is known of each end: energies in meV per formula unit, below the cubic phase; edges of its cell, Å."""
    rows = []
    for end in ends:
        start = "a0a0a0" if end.distortion is None else end.distortion.tilt
        energy = 1000 * (end.energy - ends[0].energy)
        lengths = " ".join(f"{x:.3f}" for x in end.atoms.cell.lengths())
        rows.append({"compound": formula, "tilt": start, "space group": end.symbol, "meV": energy, "cell": lengths})
    return rows


def draw_curvatures(axes: plt.Axes, found: Stationary, title: str) -> None:
    """A bar for each of the lowest irreps; those below zero are unstable."""
    assert found.curvatures is not None
    lowest = sorted(found.curvatures, key=lambda pair: pair[1])[:10]
    letters = [name[0] if name[0] in COLORS else "Γ" for name, _ in lowest]
    axes.bar(range(len(lowest)), [c for _, c in lowest], color=[COLORS[letter] for letter in letters])
    axes.axhline(0, color="0.2", lw=0.8)
    axes.set_xticks(range(len(lowest)), [name for name, _ in lowest], rotation=60)
    axes.set(title=title, ylabel="curvature (eV/Å²)")
    axes.spines[["top", "right"]].set_visible(False)


def draw_energies(axes: plt.Axes, rows: list[dict]) -> None:
    """A step for each tilt."""
    for place, row in enumerate(rows):
        axes.plot([place - 0.4, place + 0.4], [row["meV"]] * 2, lw=3, color="#30638e")
        axes.annotate(
            row["space group"].split()[0],
            (place, row["meV"]),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_xticks(range(len(rows)), [row["tilt"] for row in rows], rotation=60)
    axes.set(ylabel="energy (meV a formula unit)")
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def main(
    out: Annotated[Path, typer.Option(help="Folder for structures, figure, table and metrics.")] = Path(
        "results/leave_saddle_crystal"
    ),
    calculator: Annotated[str, typer.Option(help="sevenn, chgnet, or module:Class of any ASE calculator.")] = "sevenn",
) -> None:
    """Curvatures of two cubic perovskites, and energies of their tilts."""
    files, potential = Run(out), made_calculator(calculator, "{}")
    fig, panels = plt.subplots(len(EDGES), 3, figsize=(12, 4 * len(EDGES)), layout="constrained", squeeze=False)
    rows, unstable = [], {}
    for line, (formula, edge) in zip(panels, EDGES.items(), strict=True):
        parent = cubic(formula, edge)
        found = cubic_phase(parent, potential)
        unstable[formula] = {name: c for name, c in found.curvatures or [] if c < -found.uncertainty}
        ends = tilted(found.primitive, potential)
        own = rows_of(formula, ends)
        lowest = min(ends, key=lambda end: end.energy)
        draw_curvatures(line[0], found, f"{formula}, cubic")
        draw_energies(line[1], own)
        plot_structure(lowest.atoms, axes=line[2])
        line[2].set_title(f"lowest: {lowest.symbol}")
        write(out / f"{formula}.extxyz", [end.atoms for end in ends])
        rows += own
    fig.savefig(out / "leave_saddle_crystal.png", dpi=100)
    for formula, irreps in unstable.items():
        console.print(f"{formula}: unstable in {', '.join(f'{n} ({c:.2f} eV/Å²)' for n, c in irreps.items())}")
    console.print(table("Relaxed inside each symmetry", rows, ".1f"))
    files.finish({"unstable": unstable, "tilts": rows}, "Structures, figure, table and metrics")


if __name__ == "__main__":
    typer.run(main)
