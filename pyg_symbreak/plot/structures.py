"""Pictures of structures: displacements of the atoms, and the domains that equal distortions make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from torch_geometric.data import Data

from pyg_symbreak.plot._canvas import PALETTE, canvas, screen
from pyg_symbreak.structures import check_structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_domains", "plot_structure"]


def plot_structure(
    structure: Data | Atoms,
    displacements: Any = None,
    axes: Axes | None = None,
    *,
    direction: Sequence[float] | np.ndarray | None = None,
    scale: float = 1.0,
) -> Axes:
    """Draw the atoms of a structure, and where one or several distortions take them.

    Atoms are discs in Jmol's colours, those behind first. With several distortions the structure is drawn in grey and
    each distortion in a colour of its own. Of a crystal one cell is shown, with the atoms on its faces on all of them.

    Parameters
    ----------
    structure : Data or ase.Atoms
    displacements : array or Tensor, optional
        Of the atoms, [N, 3] or [n, N, 3] for several distortions, Å.
    axes : matplotlib Axes, optional
        Default: those of a new figure, ``.figure`` of what is returned.
    direction : sequence of float, optional
        From where it is seen, [3]. Default: a molecule from where it is broadest, a crystal almost along x.
    scale : float
        Displacements are drawn so many times as long.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        The displacements do not fit the structure.

    Examples
    --------
    >>> from ase.build import molecule
    >>> axes = plot_structure(molecule("BF3"), [[0, 0, 0.3], [0, 0, -0.1], [0, 0, -0.1], [0, 0, -0.1]], scale=3)
    """
    atoms = check_structure(structure)
    shifts = np.zeros((1, len(atoms), 3)) if displacements is None else _array(displacements)
    shifts = scale * (shifts[None] if shifts.ndim == 2 else shifts)
    if shifts.ndim != 3 or shifts.shape[1:] != (len(atoms), 3):
        raise ValueError(f"displacements are [{len(atoms)}, 3] or [n, {len(atoms)}, 3], got {list(shifts.shape)}")
    view = screen(_broadside(atoms) if direction is None else direction)
    axes = canvas(axes, (4.5, 4.5))
    number, start = _shown(atoms)
    flat = start @ view.T
    if atoms.pbc.any():
        _draw_cell(axes, atoms, view)
    radii = 0.35 * covalent_radii[atoms.numbers[number]]
    several = len(shifts) > 1
    if several:
        _draw_discs(axes, flat, radii, "w", "0.6", 1)
    for k, shift in enumerate(shifts):
        ends = (start + shift[number]) @ view.T
        order = np.argsort(ends[:, 2])
        if several:
            color = PALETTE[k % len(PALETTE)]
            _draw_discs(axes, ends[order], 0.4 * radii[order], color, "0.3", 2)
            axes.scatter([], [], s=40, color=color, label=f"distortion {k}")
        else:
            _draw_discs(axes, ends[order], radii[order], jmol_colors[atoms.numbers[number[order]]], "0.3", 2)
        for p, q in zip(flat, ends, strict=True):
            if np.linalg.norm(q - p) > 0.02:
                color = PALETTE[k % len(PALETTE)] if several else "0.2"
                arrow = {"arrowstyle": "->", "color": color, "lw": 1.2}
                axes.annotate("", q[:2], p[:2], arrowprops=arrow, zorder=3)
    if not several:
        for z in sorted(set(atoms.numbers.tolist())):
            axes.scatter([], [], s=60, color=jmol_colors[z], edgecolors="0.3", label=chemical_symbols[z])
    axes.set_aspect("equal")
    axes.margins(0.1)
    axes.autoscale_view()
    axes.set_axis_off()
    return axes


def _draw_discs(axes: Axes, at: np.ndarray, radii: np.ndarray, colors: Any, edge: str, order: int) -> None:
    """Discs of radii in Å, which grow with the axes."""
    from matplotlib.collections import EllipseCollection

    discs = EllipseCollection(
        2 * radii,
        2 * radii,
        np.zeros(len(radii)),
        units="xy",
        offsets=at[:, :2],
        offset_transform=axes.transData,
        facecolors=colors,
        edgecolors=edge,
        linewidths=0.6,
        zorder=order,
    )
    axes.add_collection(discs)
    axes.update_datalim(np.concatenate([at[:, :2] - radii[:, None], at[:, :2] + radii[:, None]]))


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().double().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, float)


def _broadside(atoms: Atoms) -> np.ndarray:
    """A direction from which the atoms of a molecule lie farthest apart."""
    if atoms.pbc.any():
        return np.array([0.91, 0.29, 0.27])
    centred = atoms.positions - atoms.positions.mean(0)
    return np.linalg.svd(centred, full_matrices=True)[2][2]


def _shown(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Which atoms are drawn where: numbers [n] and positions [n, 3]; those on faces of the cell on all of them."""
    if not atoms.pbc.any():
        return np.arange(len(atoms)), atoms.positions
    scaled = atoms.get_scaled_positions(wrap=False)
    scaled[:, atoms.pbc] %= 1
    scaled[np.abs(scaled - 1) < 1e-4] = 0
    images = [np.array(n) for n in np.ndindex(2, 2, 2) if not (np.array(n) & ~atoms.pbc).any()]
    pairs = [(i, x + n) for i, x in enumerate(scaled) for n in images if (x + n < 1 + 1e-4)[np.flatnonzero(n)].all()]
    return np.array([i for i, _ in pairs]), np.array([x for _, x in pairs]) @ atoms.cell.array


def _cell_edges(atoms: Atoms) -> list[np.ndarray]:
    """The twelve edges of the cell, each as its two ends [2, 3]."""
    corners = np.array(list(np.ndindex(2, 2, 2)))
    pairs = [(p, q) for p in corners for q in corners if np.abs(q - p).sum() == 1 and (q >= p).all()]
    return [np.array(pair) @ atoms.cell.array for pair in pairs]


def _draw_cell(axes: Axes, atoms: Atoms, view: np.ndarray) -> None:
    for edge in _cell_edges(atoms):
        axes.plot(*(view @ edge.T)[:2], color="0.85", lw=0.8, zorder=0)


def plot_domains(
    found: Mapping[str, Any],
    exact: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
    *,
    direction: Sequence[float] = (0.5, -0.75, 0.45),
) -> Axes:
    """Draw order parameters that are vectors, such as the polarization of each domain, as arrows on a sphere.

    Parameters
    ----------
    found : mapping of str to array or Tensor
        Vectors [n, 3] of the domains of each phase; all are drawn with length one.
    exact : mapping of str to array or Tensor, optional
        Vectors [m, 3] where the arrows should end, drawn as rings.
    axes : matplotlib Axes, optional
        Default: those of a new figure, ``.figure`` of what is returned.
    direction : sequence of float
        From where it is seen, [3].

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        A vector is zero or not of three components.

    Examples
    --------
    >>> axes = plot_domains({"tetragonal": torch.cat([torch.eye(3), -torch.eye(3)])})
    """
    axes, view = canvas(axes, (4.5, 4.5)), screen(direction)
    t = np.linspace(0, 2 * np.pi, 181)
    axes.plot(np.cos(t), np.sin(t), color="0.8", lw=0.8, zorder=-9)
    for k in range(3):
        ring = np.roll(np.stack([np.cos(t), np.sin(t), 0 * t]), k, 0)
        axes.plot(*(view @ ring)[:2], color="0.9", lw=0.6, zorder=-9)
    for number, (name, vectors) in enumerate(found.items()):
        color = PALETTE[(number + 4) % len(PALETTE)]
        ends = _directions(name, vectors) @ view.T
        for x, y, depth in ends:
            arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.5, "alpha": 0.65 + 0.35 * depth, "shrinkA": 0}
            axes.annotate("", (x, y), (0, 0), arrowprops=arrow | {"shrinkB": 0}, zorder=depth)
        axes.plot([], [], color=color, lw=1.5, label=f"{name}: {len(ends)}")
        if exact is not None and name in exact:
            rings = _directions(name, exact[name]) @ view.T
            axes.scatter(rings[:, 0], rings[:, 1], s=60, facecolors="none", edgecolors=color, zorder=2)
    axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
    axes.set_axis_off()
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=len(found), fontsize=9)
    return axes


def _directions(name: str, vectors: Any) -> np.ndarray:
    rows = _array(vectors)
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"the vectors of {name!r} are [n, 3], got {list(rows.shape)}")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise ValueError(f"a vector of {name!r} is zero and has no direction")
    return rows / lengths
