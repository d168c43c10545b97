"""Tables of examples that are run over several seeds."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

Value = float | int | str
Rows = dict[str, dict[str, Value]]
"""The rows of a table by name, and in each the cells by column."""


def over_seeds(run: Callable[[int], Rows], seeds: range, title: str, out: Path) -> list[Rows]:
    """Run with each seed, print one table of all and write it to metrics.json and table.md."""
    out.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in seeds:
        start = time.perf_counter()
        runs.append(run(seed))
        Console().print(f"seed {seed}: {time.perf_counter() - start:.0f} s")
    (out / "metrics.json").write_text(json.dumps(dict(zip(seeds, runs, strict=True)), indent=1))
    columns = list(dict.fromkeys(key for row in runs[0].values() for key in row))
    cells = [
        [name] + [_cell([r[name][c] for r in runs]) if c in row else "" for c in columns]
        for name, row in runs[0].items()
    ]
    table = Table(title=title, title_justify="left")
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    for line in cells:
        table.add_row(*line)
    Console().print(table)
    lines = ["| " + " | ".join(row) + " |" for row in [["", *columns], ["---"] * (1 + len(columns)), *cells]]
    (out / "table.md").write_text("\n".join(lines) + "\n")
    return runs


def _cell(values: list[Value]) -> str:
    """One value; the median and the range of several numbers; what several counts and words are, and how often."""
    if all(isinstance(v, float) for v in values):
        if len(values) == 1:
            return f"{values[0]:.3g}"
        return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
    counts = Counter(map(str, values))
    return ", ".join(v if len(counts) == 1 else f"{v} in {n}" for v, n in counts.items())
