"""Writes a page in which one chooses a point group and what is to be kept of it, and sees the objects turn.

``make docs`` writes it to build/docs/sets.html; ``python docs/make_interactive_sets.py FILE`` does so alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from make_breaking_sets import FAMILIES, pretty

from pyg_symbreak.cli.report import set_of, set_table
from pyg_symbreak.cli.subgroups import subgroup_rows
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.plot import page, set_scene

INTRODUCTION = """
<style>
details { border-bottom: 1px solid #e5e5e5; padding: .15rem 0; } summary { cursor: pointer; }
.two > :first-child { position: sticky; top: 0; align-self: start; background: #fff; z-index: 1; }
</style>
<h1>Sets of symmetry breaking objects</h1>
<p>Open a point group and choose what is to be kept of it: the smallest set of objects turns beside it. Drag it, or
use the arrow keys; + and - zoom. Arrows are polar vectors, those with a disc axial ones, several of one colour the
lobes of one tensor, grey ends the negative lobes. <a href="breaking_sets.html">All full sets in a table</a>,
<a href="theory.html">what they are for</a>.</p>
"""


def interactive_page() -> str:
    """The page."""
    scenes: list[dict[str, Any]] = []
    parts: list[str] = []
    for family, names in FAMILIES.items():
        parts.append(f"<h2>{family}</h2>")
        for name in names:
            group = PointGroup(name)
            rows = [row for row in subgroup_rows(group, "O3") if row["set"]["irreps"] is not None]
            if rows:
                shown = (
                    f"<details name='group'><summary>{pretty(name)}</summary>{set_table(rows, len(scenes))}</details>"
                )
                parts.append(shown)
            scenes += [set_scene(set_of(group, row["label"])) for row in rows]
    viewer = '<div class="view" id="objects" tabindex="0" role="img" aria-label="Objects of the set"></div>'
    left = f'<div>{viewer}<p id="objects-text"></p></div>'
    body = f'{INTRODUCTION}<div class="two">{left}<div>{"".join(parts)}</div></div>'
    return page("Sets of symmetry breaking objects", body, {"sets": scenes, "spin": True}, "min(40vh, 26rem)")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(interactive_page(), encoding="utf-8")
