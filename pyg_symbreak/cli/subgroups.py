"""What a group can be broken to: rows for JSON and their table."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.cli.output import size_of
from pyg_symbreak.diagnosis import describe_group, describe_set
from pyg_symbreak.groups import PointGroup

__all__ = ["listed", "named_group", "print_subgroups", "subgroup_rows"]


def subgroup_rows(group: PointGroup, parent: str) -> list[dict[str, Any]]:
    """What the group could be broken to, largest subgroups first, each with the smallest set for it."""
    return [
        named_group(keep) | {"conjugates": conjugates, "set": _set_or_reason(group, keep, parent)}
        for keep, conjugates in reversed(_subgroups(group))
        if keep != group
    ]


def _subgroups(group: PointGroup) -> list[tuple[PointGroup, int | None]]:
    """Subgroups up to conjugacy, and how many conjugates each has (None: infinitely many, or not counted)."""
    if group.is_finite:
        return [(k, k.conjugates) for k in group.subgroups()]
    upright = [PointGroup(name).rotated(group.frame) for name in ("C1", "Cinf", "Cinfh", "Cinfv", "Dinf", "Dinfh")]
    small = [k.rotated(group.frame) for k in PointGroup("D2h").subgroups()[1:]] if group.dimension == 1 else []
    turn = group.frame @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ group.frame.T
    found: list[PointGroup] = []
    for k in [*upright[:1], *small, *upright[1:], PointGroup("SO3")]:
        if group.contains_group(k) and all(k != other and k.rotated(turn) != other for other in found):
            found.append(k)
    return [(k, None) for k in found]


def listed(group: PointGroup, keep: str | None) -> PointGroup | None:
    """The subgroup of a continuous group that a label in its table means."""
    if keep is None:
        return None
    choices = [k for k, _ in _subgroups(group)]
    found = [k for k in choices if keep in (k.label, k.schoenflies)]
    if len(found) != 1:
        raise ValueError(
            f"{keep!r} does not name one of the listed subgroups of {group.schoenflies}; the choices are "
            + ", ".join(repr(k.label) for k in choices)
        )
    return found[0]


def named_group(group: PointGroup) -> dict[str, Any]:
    """Label, name and order of a subgroup."""
    return {"label": group.label} | describe_group(group)


def _set_or_reason(group: PointGroup, keep: PointGroup, parent: str) -> dict[str, Any]:
    try:
        return describe_set(breaking_set(group, keep, parent))
    except ValueError as error:
        return {"size": None, "irreps": None, "ideal": None, "degeneracy": None, "explanation": str(error)}


def print_subgroups(console: Console, rows: list[dict[str, Any]], name: str) -> None:
    """The table of the rows."""
    if not rows:
        console.print(f"{name} has no smaller subgroup: there is nothing to break.", highlight=False)
        return
    finite = rows[0]["conjugates"] is not None
    choice = "" if finite else f" (a selection; [001] is the axis of {name})"
    console.print(f"What {name} can be broken to{choice}", highlight=False)
    table = Table()
    for column in ("keep", "order", *(["conjugates"] if finite else []), "objects", "irreps", "ideal"):
        table.add_column(column, justify="right" if column in ("order", "conjugates", "objects") else "left")
    for row in rows:
        found = row["set"]
        cells = [row["label"], "∞" if row["order"] is None else str(row["order"])]
        cells += [str(row["conjugates"])] if finite else []
        if found["irreps"] is None:
            cells += ["?", "none found", ""]
        else:
            ideal = "yes" if found["ideal"] else "no, continuous" if found["size"] is None else "no"
            cells += [size_of(found), found["irreps"], ideal]
        table.add_row(*cells)
    console.print(table, highlight=False)
