"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

__all__ = ["Json", "Symprec"]


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
