"""pyg-symbreak report of many structures: their symmetries, what their targets ask for, and how to break them."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from ase import Atoms
from e3nn import o3
from rich.console import Console

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.cli.report import html_table, show
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.diagnosis import Diagnosis, diagnose
from pyg_symbreak.plot import page

__all__ = ["report", "show"]

_Counter = Counter[tuple[str, ...]]
MOST = 30
"""Rows of one table."""


@dataclass
class _Counts:
    """What was found in the structures."""

    structures: int
    groups: _Counter
    orbits: Counter[int]
    irreps: Counter[str]
    axial: int
    linear: int
    failures: list[str]
    found: list[Diagnosis]


def report(
    name: str,
    structures: Iterable[Atoms],
    targets: Iterable[Atoms] | None,
    symprec: float | Literal["auto"],
    out: Path,
) -> dict[str, Any]:
    """Write the page; what it says is returned."""
    counts = _count(structures, targets, symprec)
    if counts.structures == len(counts.failures):
        raise ValueError(f"{name}: no structure can be used; {counts.failures[0]}")
    unanswered = [d for d in counts.found if not d.representable]
    kinds: _Counter = Counter((d.symmetry.group.schoenflies, d.label, *_objects_of(d)) for d in unanswered)
    strategy = _strategy(counts, unanswered)
    body = _body(name, counts, kinds, len(unanswered), strategy)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page(name, body, {}), encoding="utf-8")
    return {
        "report": str(out),
        "bytes": out.stat().st_size,
        "structures": counts.structures,
        "groups": [
            {"group": g, "space_group": s or None, "structures": n} for (g, s), n in counts.groups.most_common()
        ],
        "orbits": {str(size): counts.orbits[size] for size in sorted(counts.orbits)},
        "targets": len(counts.found),
        "unanswered": len(unanswered),
        "strategy": strategy,
        "failures": counts.failures,
    }


def _count(structures: Iterable[Atoms], targets: Iterable[Atoms] | None, symprec: float | Literal["auto"]) -> _Counts:
    counts = _Counts(0, Counter(), Counter(), Counter(), 0, 0, [], [])
    missing = object()
    pairs = zip_longest(structures, () if targets is None else targets, fillvalue=missing)
    with Console(stderr=True).status("structures") as status:
        for number, (atoms, target) in enumerate(pairs):
            if targets is not None and (atoms is missing or target is missing):
                raise ValueError(f"there are {number} structures or targets of one kind and more of the other")
            counts.structures += 1
            try:
                if targets is None:
                    symmetry = detect_symmetry(atoms, symprec)
                else:
                    diagnosis = diagnose(atoms, target, symprec)
                    counts.found.append(diagnosis)
                    symmetry = diagnosis.symmetry
                assert isinstance(symmetry, Symmetry)
                _take_in(counts, symmetry)
            except ValueError as error:
                counts.failures.append(f"structure {number}: {error}")
            status.update(f"{counts.structures} structures")
    return counts


def _take_in(counts: _Counts, symmetry: Symmetry) -> None:
    space = symmetry.space_group
    counts.groups[symmetry.group.schoenflies, f"{space.symbol} ({space.number})" if space else ""] += 1
    counts.orbits.update(symmetry.orbits.bincount().tolist())
    whole = breaking_set(symmetry.group)
    if whole.size == math.inf:
        counts.axial += symmetry.group.is_finite
        counts.linear += not symmetry.group.is_finite
    elif whole.size > 1:
        counts.irreps[str(whole.irreps)] += 1


def _objects_of(found: Diagnosis) -> tuple[str, str]:
    """How many objects there are, and in which irreps."""
    if found.breaking is None:
        return "none", ""
    size = "∞" if found.breaking.size == math.inf else str(found.breaking.size)
    return size, str(found.breaking.irreps) + (" on the nodes" if found.lost_translations else "")


# ------------------------------------------------------------------ what to do


def _strategy(counts: _Counts, unanswered: Sequence[Diagnosis]) -> str:
    """Sentences with the transform to use."""
    if counts.found and not unanswered:
        return "No target is less symmetric than its structure: break nothing."
    if not counts.found and not counts.irreps and not counts.axial and not counts.linear:
        return "No structure has symmetry: there is nothing to break."
    if any(found.lost_translations for found in unanswered):
        return "Some targets break translations of the cell: AddSymmetryBreaking(choose='target', on='nodes')."
    if counts.found:
        sets = [found.breaking for found in unanswered]
        if any(b is None or b.size == math.inf for b in sets):
            return (
                "Some of these symmetries have no finite set: AddSymmetryBreaking('input', choose='target') makes "
                "objects that depend on the structure; of linear molecules AddSymmetryBreaking() draws from a "
                "continuous set."
            )
        common = _common(str(b.irreps) for b in sets if b is not None)
        return (
            f"AddSymmetryBreaking(choose='target', irreps='{common}') attaches the object that belongs to the target, "
            "from a set that keeps what the target keeps."
        )
    told = "With the targets as a second file this page says how much of the symmetry has to be broken."
    if counts.axial:
        told = (
            f"{counts.axial} with symmetries that have no finite set of their own (C_n, C_nh, S_2n): "
            f"AddSymmetryBreaking('input'). {told}"
        )
    if counts.linear:
        told = f"{counts.linear} linear or single atoms: their sets are continuous, to be drawn from. {told}"
    if counts.irreps:
        told = f"AddSymmetryBreaking(irreps='{_common(counts.irreps)}') breaks all of a symmetry. {told}"
    return told


def _common(irreps: Iterable[str]) -> str:
    """The smallest irreps that hold each of them."""
    every = [o3.Irreps(text) for text in irreps]
    kinds = sorted({ir for one in every for _, ir in one})
    return str(o3.Irreps([(max(one.count(ir) for one in every), ir) for ir in kinds]))


# ------------------------------------------------------------------ the text of the page


def _body(name: str, counts: _Counts, kinds: _Counter, unanswered: int, strategy: str) -> str:
    used = counts.structures - len(counts.failures)
    parts = [f"<h1>{html.escape(name)}</h1>", f"<p>{counts.structures} structures, of which {used} can be used.</p>"]
    if counts.found:
        share = unanswered / len(counts.found)
        parts += [
            "<h2>What an equivariant network cannot answer</h2>",
            f"<p><b>{unanswered} of {len(counts.found)} targets ({share:.0%})</b> are less symmetric than their "
            "structure: without a symmetry breaking object no equivariant network can give them.</p>",
            _bars(["structure", "target keeps", "objects", "irreps"], kinds),
        ]
    parts += [
        "<h2>What to do</h2>",
        f"<p>{html.escape(strategy)}</p>",
        "<h2>Symmetries</h2>",
        _groups(counts.groups),
        "<h2>Orbits</h2>",
        "<p>Atoms of one orbit are alike: a network gives them the same scalars.</p>",
        _bars(["atoms in the orbit"], Counter({(str(size),): counts.orbits[size] for size in sorted(counts.orbits)})),
    ]
    if counts.failures:
        more = f"<p>and {len(counts.failures) - MOST} more</p>" if len(counts.failures) > MOST else ""
        rows = "".join(f"<li>{html.escape(text)}</li>" for text in counts.failures[:MOST])
        parts += ["<h2>Not used</h2>", f"<ul>{rows}</ul>{more}"]
    return "\n".join(parts)


def _groups(counted: _Counter) -> str:
    """Point groups, of crystals with their space groups."""
    if any(space for _, space in counted):
        return _bars(["point group", "space group"], counted)
    return _bars(["point group"], Counter({(group,): number for (group, _), number in counted.items()}))


def _bars(head: list[str], counted: _Counter) -> str:
    """A table of what was counted, with bars."""
    if not counted:
        return ""
    most, rows = max(counted.values()), counted.most_common(MOST)
    cells = [
        ("", [*map(html.escape, key), str(n), f'<span class="share" style="width: {10 * n / most:.2f}rem"></span>'])
        for key, n in rows
    ]
    others = len(counted) - len(rows)
    more = f"<p>and {others} more kinds</p>" if others else ""
    return html_table([*head, "number", ""], cells) + more
