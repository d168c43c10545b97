"""pyg-symbreak report: one page that shows a structure, what its symmetry can be broken to, and how."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from rich.console import Console

from pyg_symbreak.breaking import BreakingSet, breaking_set
from pyg_symbreak.cli.answers import Answer, Model, answers
from pyg_symbreak.cli.inspect import report as facts_of
from pyg_symbreak.cli.output import numbered, size_of, stdout, title
from pyg_symbreak.cli.subgroups import listed
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.diagnosis import diagnose
from pyg_symbreak.distort import Distortion, distortions
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.plot import Motion, page, set_scene, structure_scene, subgroup_svg

__all__ = ["html_table", "report", "set_of", "set_table", "show"]

MOST = 40
"""Distortions that are shown."""


def report(
    name: str,
    atoms: Atoms,
    target: Atoms | None,
    symprec: float | Literal["auto"],
    out: Path,
    model: Model | None = None,
) -> dict[str, Any]:
    """Write the page; what it took in is returned."""
    with Console(stderr=True).status("symmetry") as status:
        symmetry = detect_symmetry(atoms, symprec)
        assert isinstance(symmetry, Symmetry)
        facts = facts_of(atoms, symprec, {})
        ways = distortions(atoms, symprec, copies=1, progress=status.update)
        status.update("sets of objects")
        rows = [row for row in facts["subgroups"] if row["set"]["irreps"] is not None]
        sets = [set_scene(set_of(symmetry.group, row["label"])) for row in rows]
        moves = [Motion(_label(way), way.direction, way.reversible) for way in ways[:MOST]]
        said, playing, asked = None, None, []
        if target is not None:
            found = diagnose(atoms, target, symprec)
            said = str(found)
            if not found.representable:
                playing = len(moves)
            moves.append(Motion("to the target", found.vectors.numpy()))
            if model is not None:
                asked = answers(model, atoms, target, found)
                playing, first = len(moves), len(moves)
                moves += [
                    Motion(f"answer to object {k}", a.vectors, beside=a.nearest) for k, a in enumerate(asked[:MOST])
                ]
        scene: dict[str, Any] = {"structure": structure_scene(atoms, symmetry, moves), "sets": sets}
        if playing is not None:
            scene["structure"]["playing"] = playing
        tree = subgroup_svg(symmetry.group) if symmetry.group.is_finite else ""
        shown = _answers(asked[:MOST], first) if asked else ""
        body = _body(name, facts, tree, ways, rows, said, scene["structure"]["colors"], shown)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(f"{name}: {symmetry.group.schoenflies}", body, scene), encoding="utf-8")
    return {
        "report": str(out),
        "bytes": out.stat().st_size,
        "point_group": symmetry.group.schoenflies,
        "subgroups": len(rows),
        "distortions": len(ways),
        "errors": [answer.error for answer in asked],
    }


def set_of(group: PointGroup, label: str) -> BreakingSet:
    """The smallest set that keeps a subgroup, by its label."""
    return breaking_set(group, keep=group.subgroup(label) if group.is_finite else listed(group, label))


def _label(way: Distortion) -> str:
    return f"{way.irrep} keeps {way.symbol}"


def show(report: dict[str, Any]) -> None:
    """Print where the page is."""
    stdout().print(f"{report['report']}, {report['bytes'] / 1e6:.1f} MB: open it in a browser", highlight=False)


# ------------------------------------------------------------------ the text of the page


def _body(
    name: str,
    facts: dict[str, Any],
    tree: str,
    ways: list[Distortion],
    rows: list[dict[str, Any]],
    said: str | None,
    colors: list[str],
    answered: str,
) -> str:
    crystal = facts["symmetry"]["space_group"] is not None
    where = (
        "Axes and planes are those of the site with the most symmetry, through its atom."
        if crystal
        else "Axes and planes go through the centre."
    )
    parts = [
        f"<h1>{html.escape(name)}</h1>",
        f"<p>{html.escape('; '.join(_facts(facts)))}</p>",
        '<div class="view" id="structure" tabindex="0" role="img" aria-label="The structure"></div>',
        '<div class="bar" id="structure-bar"></div>',
        f"<p>Drag, or use the arrow keys, to turn it; + and - zoom. {where}</p>",
    ]
    if said is not None:
        parts += ["<h2>The target</h2>", f"<pre>{html.escape(said)}</pre>", answered]
    parts += ["<h2>Orbits</h2>", _orbits(facts, colors)]
    if ways:
        more = f" The first {MOST} of {len(ways)} are shown." if len(ways) > MOST else ""
        parts += [
            "<h2>Distortions</h2>",
            "<p>Directions in one irrep of the displacements, the softest copy of each irrep, and the symmetry that "
            f"each keeps. Choose one to play it.{more}</p>",
            _distortions(ways[:MOST]),
        ]
    parts += ["<h2>What the symmetry can be broken to</h2>"]
    if not rows:
        return "\n".join([*parts, "<p>There is nothing to break.</p>"])
    parts += [
        "<p>Subgroups up to conjugacy, and the smallest set of objects that breaks the symmetry to each. "
        "Choose one to see its objects.</p>",
        '<div class="two"><div><div class="view" id="objects" tabindex="0" role="img" aria-label="Objects of the set">'
        f'</div><p id="objects-text"></p></div><div class="wide">{set_table(rows)}</div></div>',
    ]
    return "\n".join([*parts, f'<div class="wide">{tree}</div>'])


def _facts(facts: dict[str, Any]) -> list[str]:
    symmetry = facts["symmetry"]
    named = {
        "point group": title(symmetry),
        "space group": numbered(symmetry["space_group"]),
        "layer group": numbered(symmetry["layer_group"]),
        "line group": symmetry["line_group"],
    }
    start = [f"{facts['formula']}, {facts['atoms']} atom{'s' * (facts['atoms'] > 1)}"]
    tolerance = f"tolerance {symmetry['symprec']:.3g} Å, operations miss by at most {symmetry['residual']:.1e} Å"
    return [*start, *(f"{key} {value}" for key, value in named.items() if value), tolerance, *facts["notes"]]


def html_table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table of cells that are HTML; each row comes with the attributes of its element."""
    lines = ["".join(f"<td>{cell}</td>" for cell in cells) for _, cells in rows]
    body = "".join(f"<tr{attributes}>{line}</tr>" for (attributes, _), line in zip(rows, lines, strict=True))
    names = "".join(f"<th>{name}</th>" for name in head)
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'


def _orbits(facts: dict[str, Any], colors: list[str]) -> str:
    cells = [
        [
            f'<span class="swatch" style="background: {color}"></span>{orbit["species"]}',
            str(orbit["multiplicity"]),
            orbit["site_symmetry"],
        ]
        for color, orbit in zip(colors, facts["orbits"], strict=True)
    ]
    return html_table(["element", "atoms", "site symmetry"], [("", row) for row in cells])


def _distortions(ways: list[Distortion]) -> str:
    rows = []
    for number, way in enumerate(ways):
        many = "∞" if way.equivalent == np.inf else str(way.equivalent)
        cells = [way.irrep, str(way.dimension), f"{way.copy + 1} of {way.multiplicity}", way.symbol, many]
        rows.append((f' data-distortion="{number}"', [*map(html.escape, cells), "yes" if way.reversible else "no"]))
    return html_table(["irrep", "dimension", "copy", "keeps", "equivalent", "signs alike"], rows)


def _answers(asked: Sequence[Answer], first: int) -> str:
    rows = [
        (f' data-distortion="{first + number}"', [str(number), f"{a.error:.4f}", str(a.domain)])
        for number, a in enumerate(asked)
    ]
    return (
        "<h2>The model</h2><p>Its answer to each object in red, in grey the nearest of the equally good targets. "
        "The error is the root mean square distance of an atom from where it should be. Choose one to play it.</p>"
        + html_table(["object", "error (Å)", "nearest target"], rows)
    )


def set_table(rows: Sequence[dict[str, Any]], first: int = 0) -> str:
    """A table of subgroups, whose rows choose the sets of the scene from number ``first`` on."""
    out = []
    for number, row in enumerate(rows, first):
        found = row["set"]
        cells = [
            html.escape(row["label"]),
            "∞" if row["order"] is None else str(row["order"]),
            "" if row["conjugates"] is None else str(row["conjugates"]),
            size_of(found),
            found["irreps"],
            "yes" if found["ideal"] else "no",
        ]
        out.append((f' data-set="{number}"', cells))
    return html_table(["keeps", "order", "conjugates", "objects", "irreps", "ideal"], out)
