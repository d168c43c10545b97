"""How commands end: a table or JSON on stdout, or one line on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["emit", "errors", "numbered", "size_of", "stdout", "title", "wave_name"]


@contextmanager
def errors() -> Iterator[None]:
    """Bad files and labels become one line on stderr and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        raise typer.Exit(2) from error


def stdout() -> Console:
    """Rich's console on stdout."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120)


def emit(report: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    """Print a report as JSON or as tables."""
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show(report)


def title(group: dict[str, Any], label: str | None = None) -> str:
    """Name, other name and order of a group."""
    order = "continuous" if group["order"] is None else f"order {group['order']}"
    symbol = f"{group['hermann_mauguin']}, " if group["hermann_mauguin"] else ""
    return f"{label or group['schoenflies']} ({symbol}{order})"


def size_of(found: dict[str, Any]) -> str:
    """Number of objects of a set."""
    return "∞" if found["size"] is None else str(found["size"])


def numbered(kind: dict[str, Any] | None) -> str | None:
    """Symbol and number of a space group."""
    return None if kind is None else f"{kind['symbol']} ({kind['number']})"


def wave_name(k: dict[str, Any]) -> str:
    """The letter of a k vector, numbers where it has none."""
    return k["letter"] or "({})".format(", ".join(f"{x:.3g}" for x in k["vector"]))
