"""Pages with a viewer in three dimensions, which need no network: 3Dmol.js and what it is to draw are in them.

3Dmol.js (N. Rego and D. Koes, Bioinformatics 31, 1322 (2015); BSD licence) lies in the folder page with its licence.
"""

from __future__ import annotations

import html
import io
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from string import Template
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms

from pyg_symbreak.breaking import BreakingSet, breaking_set
from pyg_symbreak.detect import Symmetry
from pyg_symbreak.distort import Distortion
from pyg_symbreak.groups import PointGroup, axis_and_angle
from pyg_symbreak.plot._canvas import PALETTE
from pyg_symbreak.plot.objects import _pieces, _summits
from pyg_symbreak.plot.structures import _cell_edges, _shown
from pyg_symbreak.plot.subgroups import plot_subgroups

__all__ = ["Motion", "notebook_html", "page", "set_scene", "structure_scene", "subgroup_svg", "symmetry_elements"]

MANY = 60
"""Objects of one set that are drawn."""
GREY = "#b0b0b0"


class Motion(NamedTuple):
    """Displacements that are played.

    Attributes
    ----------
    label : str
    vectors : array [N, 3]
    both : bool
        Whether they are played to both sides.
    beside : array [N, 3], optional
        Displacements to compare with, drawn in grey.
    """

    label: str
    vectors: np.ndarray
    both: bool = False
    beside: np.ndarray | None = None


def symmetry_elements(group: PointGroup) -> list[dict[str, Any]]:
    """The axes, mirror planes and the centre of inversion of a point group, as the viewer takes them.

    Returns
    -------
    list of dict
        ``kind`` is "axis", "plane" or "centre". An axis has a ``direction``, the ``order`` of the rotations about it
        and a ``label``, with that of a rotoreflection where it is higher (C2, S4); a plane its normal ``direction``.

    Examples
    --------
    >>> [(e["kind"], e.get("label")) for e in symmetry_elements(PointGroup("C2v"))]
    [('axis', 'C2'), ('plane', None), ('plane', None)]
    """
    if not group.is_finite:
        if group.dimension != 1:
            return [{"kind": "centre"}] if group.contains(-np.eye(3)) else []
        main = {"kind": "axis", "direction": group.axis.tolist(), "order": 0, "label": "C∞"}
        across = {"kind": "plane", "direction": group.axis.tolist()}
        centre = {"kind": "centre"}
        reflects = group.contains(np.eye(3) - 2 * np.outer(group.axis, group.axis))
        return [main, *([across] if reflects else []), *([centre] if group.contains(-np.eye(3)) else [])]
    signs = np.linalg.det(group.matrices).round()
    axes, angles = axis_and_angle(group.matrices * signs[:, None, None])
    turns: list[tuple[np.ndarray, list[int], list[int]]] = []  # direction, orders of rotations, of rotoreflections
    planes, centre_there = [], False
    for sign, axis, angle in zip(signs, axes, angles, strict=True):
        if angle < 1e-6:
            centre_there |= bool(sign < 0)
            continue
        if sign < 0 and abs(angle - math.pi) < 1e-6:
            planes.append(axis)
            continue
        if not any(abs(t[0] @ axis) > 1 - 1e-6 for t in turns):
            turns.append((axis, [], []))
        _, proper, improper = next(t for t in turns if abs(t[0] @ axis) > 1 - 1e-6)
        if sign > 0:
            proper.append(_order(angle))
        else:
            improper.append(_order(math.pi - angle))
    found: list[dict[str, Any]] = []
    for axis, proper, improper in sorted(turns, key=lambda t: -max(t[1] + t[2])):
        order, other = max(proper, default=1), max(improper, default=1)
        label = " ".join([*([f"C{order}"] if order > 1 else []), *([f"S{other}"] if other > order else [])])
        found.append({"kind": "axis", "direction": axis.tolist(), "order": max(order, 2), "label": label})
    found += [{"kind": "plane", "direction": axis.tolist()} for axis in planes]
    return [*found, {"kind": "centre"}] if centre_there else found


def _order(angle: float) -> int:
    """The least n with n·angle a multiple of 2π."""
    return next(n for n in range(1, 10_000) if abs(math.remainder(n * angle, 2 * math.pi)) < 1e-6)


def structure_scene(atoms: Atoms, symmetry: Symmetry, distortions: Sequence[Motion] = ()) -> dict[str, Any]:
    """A structure with its orbits in colours, its symmetry elements and its distortions.

    The elements of a molecule go through its centre; those of a crystal, of which only some meet in one point, are
    those of the site symmetry of the atom that has the most, through this atom.

    Parameters
    ----------
    atoms : ase.Atoms
    symmetry : Symmetry
        That of these atoms.
    distortions : sequence of Motion
    """
    number, places = _shown(atoms)
    orbits = symmetry.orbits.numpy()
    group, centre = symmetry.group, atoms.positions.mean(0)
    if atoms.pbc.any():
        sites = [symmetry.site_symmetry(i) for i in np.unique(orbits, return_index=True)[1].tolist()]
        highest = max(site.order for site in sites)
        middle = np.linalg.norm(places - atoms.cell.array.sum(0) / 2, axis=1)
        highest_sites = [i for i, k in enumerate(orbits[number]) if sites[k].order == highest]
        shown = min(highest_sites, key=lambda i: float(middle[i]))
        group, centre = symmetry.site_symmetry(int(number[shown])), places[shown]
    radius = max(float(np.linalg.norm(places - centre, axis=1).max()), 1.0)
    symbols = atoms.get_chemical_symbols()
    return {
        "atoms": [[symbols[i], *np.round(p, 4).tolist()] for i, p in zip(number, places, strict=True)],
        "orbits": orbits[number].tolist(),
        "colors": [PALETTE[k % len(PALETTE)] for k in range(int(orbits.max()) + 1)],
        "cell": [np.round(line, 4).tolist() for line in _cell_edges(atoms)] if atoms.pbc.any() else [],
        "elements": symmetry_elements(group),
        "centre": np.round(centre, 4).tolist(),
        "radius": radius,
        "distortions": [
            {"label": move.label, "both": move.both} | {name: v[number].tolist() for name, v in _scaled(move).items()}
            for move in distortions
        ],
    }


def _scaled(move: Motion) -> dict[str, np.ndarray]:
    """The vectors of a motion, such that the longest (of those beside, where there are such) has length one."""
    given = {"vectors": move.vectors} if move.beside is None else {"vectors": move.vectors, "beside": move.beside}
    longest = float(np.linalg.norm(move.vectors if move.beside is None else move.beside, axis=1).max())
    return {name: np.round(v / longest if longest > 0 else v, 4) for name, v in given.items()}


def set_scene(found: BreakingSet) -> dict[str, Any]:
    """The objects of a set: vectors as arrows, axial ones with a disc across, higher irreps by the ends of their lobes.

    Of more than 60 objects, and of a continuous set, 60 are shown.
    """
    continuous = found.size == math.inf
    rows = found.sample(MANY, torch.Generator().manual_seed(0)) if continuous else found.all()[:MANY]
    arrows, signs = [], []
    for number, row in enumerate(rows.numpy()):
        color = PALETTE[number % len(PALETTE)]
        for (l, p), v in _pieces(found, row[None]):
            if l == 0:
                signs.append("1" if p > 0 else "+" if v[0, 0] > 0 else "−")
                continue
            if np.abs(v[0]).max() < 1e-9:
                continue
            ends = [(v[0] / np.linalg.norm(v[0]), 1)] if l == 1 else _summits(l, v[0])
            kind = "lobe" if l > 1 else "axial" if p > 0 else "polar"
            for end, sign in ends:
                to = np.round(end, 4).tolist()
                arrows.append({"to": to, "kind": kind, "color": color if sign > 0 else GREY})
    many = f"{MANY} of {'infinitely many' if continuous else found.size}" if found.size > MANY else str(found.size)
    what = f"{found.group.schoenflies} to {found.keep.label}: {many} object{'s' * (found.size > 1)} in {found.irreps}"
    return {
        "elements": symmetry_elements(found.group),
        "arrows": arrows,
        "signs": sorted(set(signs)) if not arrows else [],
        "text": f"{what}. {found.explanation}",
    }


def subgroup_svg(group: PointGroup) -> str:
    """The tree of subgroups of a finite point group, as an element of a page."""
    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "subgroups"}):
        plot_subgroups(group).figure.savefig(out, format="svg", metadata={"Date": None})  # type: ignore[union-attr]
    return "<svg" + out.getvalue().partition("<svg")[2]


def page(title: str, body: str, scene: dict[str, Any], height: str = "min(60vh, 30rem)") -> str:
    """A page of HTML that needs no other file; ``body`` holds elements with the ids that are drawn into.

    They are ``structure`` and ``objects`` for the viewers, ``structure-bar`` and ``objects-text`` beside them; rows of
    tables with ``data-distortion`` or ``data-set`` choose what is shown.
    """
    folder = files("pyg_symbreak.plot") / "page"
    parts = {name: (folder / file).read_text(encoding="utf-8") for name, file in _FILES.items()}
    written = json.dumps(scene, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    return Template(parts.pop("page")).substitute(
        parts, title=html.escape(title), body=body, scene=written, height=height
    )


_FILES = {"page": "page.html", "library": "3Dmol-min.js", "script": "view.js"}
_STRUCTURE = '<div class="view" id="structure" tabindex="0" role="img" aria-label="The structure"></div>'
_OBJECTS = '<div class="view" id="objects" tabindex="0" role="img" aria-label="Objects of the set"></div>'


def notebook_html(shown: Symmetry | PointGroup | BreakingSet | Distortion) -> str | None:
    """What a notebook shows of a symmetry, a point group, a set or a distortion; None where there is nothing to draw.

    A point group shows the smallest set that breaks it; a symmetry the structure that it was found in, and a distortion
    its parent moving.
    """
    scene: dict[str, Any]
    if isinstance(shown, Symmetry):
        if shown.atoms is None:
            return None
        scene = {"structure": structure_scene(shown.atoms, shown)}
    elif isinstance(shown, Distortion):
        if shown.parent is None or shown.kept is None:
            return None
        moves = [Motion(shown.symbol, shown.direction, shown.reversible)]
        scene = {"structure": structure_scene(shown.parent, shown.kept.symmetry, moves) | {"playing": 0}}
    else:
        scene = {"sets": [set_scene(breaking_set(shown) if isinstance(shown, PointGroup) else shown)]}
    viewer = _STRUCTURE + '<div class="bar" id="structure-bar"></div>' if "structure" in scene else _OBJECTS
    text = "" if "structure" in scene else '<p id="objects-text"></p>'
    written = page(repr(shown), f"<p>{html.escape(repr(shown))}</p>{viewer}{text}", scene, height="20rem")
    return f'<iframe srcdoc="{html.escape(written)}" style="width: 100%; height: 30rem; border: 0"></iframe>'
