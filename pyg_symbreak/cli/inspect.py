"""pyg-symbreak inspect: the symmetry of a structure."""

from __future__ import annotations

from typing import Any, Literal

from ase import Atoms
from rich.table import Table

from pyg_symbreak.cli.output import numbered, stdout, title, wave_name
from pyg_symbreak.cli.subgroups import print_subgroups, subgroup_rows
from pyg_symbreak.detect import Symmetry, WaveVectors, detect_symmetry
from pyg_symbreak.diagnosis import describe_symmetry
from pyg_symbreak.structures import occupancy_kinds

__all__ = ["report", "show"]


def report(atoms: Atoms, symprec: float | Literal["auto"], features: dict[str, str]) -> dict[str, Any]:
    """Symmetry, orbits and subgroups of a structure, and notes on what it carries beside positions."""
    symmetry = detect_symmetry(atoms, symprec, features=features)
    assert isinstance(symmetry, Symmetry)
    return {
        "formula": atoms.get_chemical_formula(),
        "atoms": len(atoms),
        "notes": _notes(atoms, features),
        "symmetry": describe_symmetry(symmetry),
        "larger": None if symmetry.larger is None else describe_symmetry(symmetry.larger),
        "supercell": _supercell(symmetry),
        "orbits": _orbits(symmetry, atoms.get_chemical_symbols()),
        "subgroups": subgroup_rows(symmetry.group, "O3"),
    }


def _supercell(symmetry: Symmetry) -> dict[str, Any] | None:
    """What a cell that is not primitive adds: translations, and the k vectors of waves that fit it."""
    translations = len(symmetry.pure_translations)
    if translations == 1 or len(symmetry.lattice) < 3:
        return None
    fitting = WaveVectors(symmetry.lattice, symmetry.rotations.numpy(), symmetry.translations.numpy())
    named = [(*fitting.named(star), len(star)) for star in fitting.stars()]
    k = [{"letter": letter, "vector": list(vector), "arms": arms} for letter, vector, arms in named]
    return {"translations": translations, "k": k, "hidden_domains": symmetry.hidden_domains}


def _notes(atoms: Atoms, features: dict[str, str]) -> list[str]:
    """What the structure carries that was used without being asked for, or was not used."""
    notes = ["partial occupancies tell sites apart"] if occupancy_kinds(atoms) is not None else []
    for name, irreps in (("initial_magmoms", "1e"), ("initial_charges", "0e"), ("masses", "0e"), ("tags", "0e")):
        if name in atoms.arrays and name not in features and atoms.arrays[name].any():
            how = irreps if atoms.arrays[name].ndim == 2 else "0e"
            notes.append(f"{name} were not used: --features {name}={how}")
    notes += [f"the constraint {type(held).__name__} was not used" for held in atoms.constraints]
    return notes


def _orbits(symmetry: Symmetry, species: list[str]) -> list[dict[str, Any]]:
    out = []
    for number in range(int(symmetry.orbits.max()) + 1):
        members = (symmetry.orbits == number).nonzero().flatten().tolist()
        out.append(
            {
                "species": species[members[0]],
                "multiplicity": len(members),
                "members": members,
                "site_symmetry": symmetry.site_symmetry(members[0]).schoenflies,
            }
        )
    return out


def show(report: dict[str, Any]) -> None:
    """Print it as tables."""
    console = stdout()
    symmetry = report["symmetry"]
    for name, value in (
        ("Structure", f"{report['formula']}, {report['atoms']} atom{'s' * (report['atoms'] > 1)}"),
        ("Point group", title(symmetry)),
        ("Space group", numbered(symmetry["space_group"])),
        ("Layer group", numbered(symmetry["layer_group"])),
        ("Line group", symmetry["line_group"]),
        ("Operations", symmetry["operations"] if symmetry["operations"] != symmetry["order"] else None),
        ("Tolerance", f"{symmetry['symprec']:.3g} Å; the operations miss by at most {symmetry['residual']:.1e} Å"),
        ("Nearby", _nearby(report["larger"])),
    ):
        if value is not None:
            console.print(f"{name:12} {value}", highlight=False)
    if report["supercell"] is not None:
        _show_supercell(report["supercell"])
    for note in report["notes"]:
        console.print(f"{'Note':12} {note}", highlight=False)
    orbits = Table("species", "atoms", "site symmetry", "members")
    for orbit in report["orbits"]:
        orbits.add_row(
            orbit["species"], str(orbit["multiplicity"]), orbit["site_symmetry"], _shortened(orbit["members"])
        )
    console.print("Orbits")
    console.print(orbits, highlight=False)
    print_subgroups(console, report["subgroups"], symmetry["schoenflies"])


def _show_supercell(supercell: dict[str, Any]) -> None:
    console = stdout()
    console.print(f"{'Translations':12} {supercell['translations']} inside the cell", highlight=False)
    waves = [wave_name(wave) + (f" ({wave['arms']} arms)" if wave["arms"] > 1 else "") for wave in supercell["k"]]
    console.print(f"{'k vectors':12} {', '.join(waves)}", highlight=False, soft_wrap=True)
    if supercell["hidden_domains"] > 1:
        text = f"the cell lacks symmetry of the crystal: of each domain there are {supercell['hidden_domains']} in all"
        console.print(f"{'Note':12} {text}, the others in cells of other shape", highlight=False)


def _nearby(larger: dict[str, Any] | None) -> str | None:
    """Which larger group a larger tolerance would find."""
    if larger is None:
        return None
    return f"{title(larger)} with a residual of {larger['residual']:.2g} Å: pass --symprec {larger['symprec']:g}"


def _shortened(members: list[int]) -> str:
    text = " ".join(map(str, members))
    return text if len(text) <= 60 else f"{text[:56].rsplit(' ', 1)[0]} ..."
