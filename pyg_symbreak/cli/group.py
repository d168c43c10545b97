"""pyg-symbreak group: a point group and what breaks it."""

from __future__ import annotations

import math
from typing import Any

from pyg_symbreak.breaking import BreakingSet, breaking_sets
from pyg_symbreak.cli.output import size_of, stdout, title
from pyg_symbreak.cli.subgroups import listed, named_group, print_subgroups, subgroup_rows
from pyg_symbreak.diagnosis import describe_group, describe_set
from pyg_symbreak.groups import PointGroup

__all__ = ["report", "show"]


def report(symbol: str, keep: str | None, parent: str) -> dict[str, Any]:
    """The group, its normalizer, its smallest sets and its subgroups."""
    whole = PointGroup(symbol)
    sets = breaking_sets(whole, keep if whole.is_finite else listed(whole, keep), parent)
    normalizer = whole.normalizer(parent)
    out: dict[str, Any] = describe_group(whole) | {
        "parent": parent,
        "normalizer": normalizer.schoenflies,
        "keep": None if keep is None else named_group(sets[0].keep),
        "set": describe_set(sets[0]) | {"objects": _objects(sets[0])},
        "choices": [describe_set(x) for x in sets],
    }
    if keep is None:
        out["subgroups"] = subgroup_rows(whole, parent)
    elif whole.is_finite and normalizer.is_finite:
        out["generalized_normalizer"] = whole.generalized_normalizer(sets[0].keep, parent).schoenflies
    return out


def _objects(found: BreakingSet) -> list[list[float]] | None:
    return None if found.size == math.inf else (found.objects.numpy().round(9) + 0.0).tolist()


def show(report: dict[str, Any]) -> None:
    """Print it as tables."""
    console = stdout()
    found = report["set"]
    lines = [
        ("Group", title(report)),
        ("Normalizer", f"{report['normalizer']} in {report['parent']}"),
    ]
    if report["keep"] is not None:
        lines.append(("Keep", title(report["keep"], report["keep"]["label"])))
    if "generalized_normalizer" in report:
        lines.append(("N(S, K)", report["generalized_normalizer"]))
    lines += [
        ("Set", f"{size_of(found)} objects, irreps {found['irreps']}"),
        ("", found["explanation"]),
    ]
    if len(report["choices"]) > 1:
        choices = [f"{x['irreps']} (fixed by {x['complement']})" for x in report["choices"]]
        lines.append(("Choices", "; ".join(choices)))
    for name, value in lines:
        console.print(f"{name:12} {value}", highlight=False, soft_wrap=True)
    if "subgroups" in report:
        print_subgroups(console, report["subgroups"], report["schoenflies"])
