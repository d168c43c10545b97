"""pyg-symbreak distortions: the ways in which a structure can distort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import ase.io
from ase import Atoms
from rich.console import Console
from rich.table import Table

from pyg_symbreak.cli.calculators import made_calculator
from pyg_symbreak.cli.output import numbered, stdout, wave_name
from pyg_symbreak.distort import Distortion, RelaxedDistortion, distortions, relax_within, tilt_systems

__all__ = ["report", "show"]


def report(
    atoms: Atoms,
    symprec: float | Literal["auto"],
    *,
    supercell: tuple[int, int, int],
    strain: bool,
    copies: int,
    combine: int,
    irreps: Sequence[str] | None,
    tilts: bool,
    amplitude: float,
    calculator: str | None,
    parameters: str,
    cell: Literal["symmetric", "fixed", "free"],
    fmax: float,
    processes: int,
    write: Path | None,
) -> list[dict[str, Any]]:
    """List them, relax inside each symmetry if there is a calculator, and write structures to the folder ``write``."""
    ends: list[RelaxedDistortion] = []
    made = None if calculator is None else made_calculator(calculator, parameters)
    with Console(stderr=True).status("") as status:
        if tilts:
            found = tilt_systems(atoms.repeat(supercell), symprec)
        else:
            settings: dict[str, Any] = {"copies": copies, "strain": strain, "combine": combine, "irreps": irreps}
            found = distortions(atoms, symprec, supercell=supercell, **settings, progress=status.update)
        ways = [way for way in found if way.direction.any() or way.strain is not None]
        if made is not None and ways:
            settings = {"cell": cell, "amplitude": amplitude, "fmax": fmax, "processes": processes}
            ends = relax_within(ways, made, **settings, progress=status.update)
    if write is not None:
        _write(write, found, ends, amplitude)
    return [way.to_dict() | {"relaxed": _below(way, ends)} for way in found]


def _below(way: Distortion, ends: list[RelaxedDistortion]) -> list[dict[str, Any]]:
    """Where the starts of a distortion end, with the energy below the parent, eV per formula unit."""
    return [
        end.to_dict() | {"number": number, "below_parent": ends[0].energy - end.energy}
        for number, end in enumerate(ends)
        if end.distortion is way or (number == 0 and way.tilt == "a0a0a0")
    ]


def _write(folder: Path, found: list[Distortion], ends: list[RelaxedDistortion], amplitude: float) -> None:
    """A file for each distortion: its starts, then the primitive cells of their ends."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, way in enumerate(found):
        relaxed = [end.atoms for end in ends if end.distortion is way]
        ase.io.write(folder / f"{number}.extxyz", [*way.starts(amplitude=amplitude), *relaxed])
    if ends:
        ase.io.write(folder / "parent.extxyz", ends[0].atoms)


def show(report: dict[str, Any]) -> None:
    """Print them as a table."""
    rows = report["distortions"]
    crystal, tilted, relaxed = (any(row[name] for row in rows) for name in ("k", "tilt", "relaxed"))
    names = ["#", *["k"] * crystal, "irrep", *["tilt"] * tilted, "copy", "keeps", "domains", "free", "signs"]
    table = Table(*names, *["meV/f.u. below parent", "ends as"] * relaxed)
    places = {end["number"]: number for number, row in enumerate(rows) for end in row["relaxed"]}
    for number, row in enumerate(rows):
        copy = f"{row['copy'] + 1} of {row['multiplicity']}"
        many = "∞" if row["equivalent"] is None else str(row["equivalent"])
        cells = [
            str(number),
            *[" ".join(map(wave_name, row["k"]))] * crystal,
            row["irrep"],
            *[row["tilt"] or ""] * tilted,
        ]
        cells += [copy, numbered(row["space_group"]) or row["keep"], many, str(row["parameters"])]
        cells += ["alike" if row["reversible"] else "differ"]
        if relaxed:
            cells += ["\n".join(f"{1e3 * end['below_parent']:.1f}" for end in row["relaxed"])]
            cells += ["\n".join(_end(end, places) for end in row["relaxed"])]
        table.add_row(*cells)
    stdout().print(table, highlight=False)


def _end(end: dict[str, Any], places: dict[int, int]) -> str:
    """What a relaxation ends as, given the rows that ends are in."""
    if not end["converged"]:
        return "not converged"
    kind = numbered(end["space_group"]) or end["symmetry"]
    if end["same_as"] is None:
        return kind
    return f"{kind}, as #{places[end['same_as']]}" if end["same_as"] in places else "the parent"
