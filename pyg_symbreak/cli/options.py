"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

__all__ = ["Features", "Json", "Symprec", "features_of", "periodic_directions"]


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
