"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "CALCULATORS",
    "Cell",
    "Features",
    "Json",
    "Parameters",
    "Supercell",
    "Symprec",
    "features_of",
    "periodic_directions",
    "repeatable",
]


def _tolerance(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a length in Å nor 'auto'") from error


Symprec = Annotated[
    Any, typer.Option(metavar="Å|auto", parser=_tolerance, help="Tolerance of the symmetry detection, or auto.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON; null stands for what is infinite.")]
Features = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[=IRREPS]",
        help="Array of the file that tells atoms apart, with the irreps by which it transforms: initial_magmoms=1e. "
        "May be given several times.",
    ),
]

Supercell = Annotated[tuple[int, int, int], typer.Option(metavar="A B C", help="Repeat a crystal.")]
CALCULATORS = "emt, lj, sevenn, chgnet, or module:Class of any ASE calculator."
Parameters = Annotated[str, typer.Option(metavar="JSON", help="Arguments of the calculator.")]
Cell = Annotated[
    Literal["symmetric", "fixed", "free"],
    typer.Option(help="Whether the cell relaxes: as the symmetry allows, not at all, or as it likes."),
]


def repeatable(file: Path, atoms: Atoms, supercell: tuple[int, int, int]) -> None:
    """Refuse to repeat what is no crystal.

    Raises
    ------
    ValueError
        It is not periodic in three directions, or a number is below 1.
    """
    if supercell != (1, 1, 1) and not atoms.pbc.all():
        raise ValueError(f"{file}: only a crystal can be repeated")
    if min(supercell) < 1:
        raise ValueError(f"--supercell is {supercell}: give three whole numbers from 1 on")


def features_of(texts: list[str] | None) -> dict[str, str]:
    """Names of features with their irreps, 0e where none are given."""
    return {name: irreps or "0e" for name, _, irreps in (text.partition("=") for text in texts or ())}


def periodic_directions(text: str) -> list[bool]:
    """Periodic directions from letters such as TTF.

    Raises
    ------
    ValueError
        They are not three letters T or F.
    """
    if len(text) != 3 or not set(text.upper()) <= {"T", "F"}:
        raise ValueError(
            f"--pbc is {text!r}; it must be three letters T or F, one a lattice vector: TTF is a slab, FFT a rod"
        )
    return [letter == "T" for letter in text.upper()]
