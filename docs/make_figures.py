"""Draws the figures of docs/theory.md and docs/symptoms that no example draws, and the pictures of reports.

``python docs/make_figures.py`` writes them to docs/images; those of reports need ``chromium`` on the PATH.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from matplotlib.axes import Axes
from PIL import Image

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.discover import symmetry_report
from pyg_symbreak.distort import tilt_systems
from pyg_symbreak.structures import from_ase

IMAGES = Path(__file__).parent / "images"
BATIO3 = Path(__file__).parents[1] / "datasets" / "batio3"
BLUE, ORANGE, GREY = "#30638e", "#e6730d", "0.75"


# ------------------------------------------------------------------ theory


def theory() -> None:
    """Stabilizer and orbit, Curie's principle, normalizer, complement, no finite set: for a square and a pinwheel."""
    fig, every = plt.subplots(1, 5, figsize=(12.5, 2.9), layout="constrained")
    quarter = 90 * np.arange(4)
    _square(every[0], "the orbit of an answer,\nand what fixes it")
    _arrows(every[0], quarter, [BLUE, *[GREY] * 3])
    every[0].plot([-1.4, 1.4], [0, 0], "--", color=BLUE, lw=1)
    _square(every[1], "without an object:\nthe average of the orbit")
    _arrows(every[1], quarter, [GREY] * 4)
    every[1].plot(0, 0, "o", color=BLUE)
    _square(every[2], "off the complement the\nnormalizer makes 16")
    _arrows(every[2], np.concatenate([quarter + 10, quarter - 10]), [BLUE] * 8)
    _arrows(every[2], np.concatenate([quarter + 55, quarter + 35]), [ORANGE] * 8)
    _square(every[3], "fixed by a complement:\n8, an ideal set")
    _arrows(every[3], np.concatenate([quarter + 22.5, quarter - 22.5]), [BLUE] * 8)
    line = 1.4 * np.array([np.cos(np.pi / 8), np.sin(np.pi / 8)])
    every[3].plot(*np.stack([-line, line]).T, "--", color=ORANGE, lw=1)
    _pinwheel(every[4], "no mirrors: the normalizer\nholds all turns")
    every[4].add_patch(plt.Circle((0, 0), 1.0, fill=False, color=BLUE, lw=1.5))
    _arrows(every[4], quarter + 20, [BLUE] * 4)
    _save(fig, "theory.png")


def _square(axes: Axes, title: str) -> None:
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1), (1, 1)]) * 1.15
    axes.plot(*corners.T, color="0.3", lw=1)
    axes.plot(*corners.T, "o", color="0.3", ms=5)
    _frame(axes, title)


def _pinwheel(axes: Axes, title: str) -> None:
    for k in range(4):
        turn = np.array([[0.0, -1.0], [1.0, 0.0]])
        arm = np.array([(0, 0), (1.3, 0), (1.3, 0.45)]) @ np.linalg.matrix_power(turn, k).T
        axes.plot(*arm.T, color="0.3", lw=1)
    _frame(axes, title)


def _frame(axes: Axes, title: str) -> None:
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def _arrows(axes: Axes, degrees: np.ndarray, colors: Sequence[str]) -> None:
    for angle, color in zip(np.deg2rad(degrees), colors, strict=True):
        axes.annotate("", (np.cos(angle), np.sin(angle)), (0, 0), arrowprops={"arrowstyle": "-|>", "color": color})


# ------------------------------------------------------------------ symptoms


def tolerance() -> None:
    """The order of the group that is found in a rough benzene, against the tolerance."""
    rough = molecule("C6H6")
    rough.positions += 0.01 * np.random.default_rng(0).normal(size=rough.positions.shape)
    tolerances = np.geomspace(1e-3, 0.5, 60)
    groups = [detect_symmetry(rough, symprec=float(t)).group for t in tolerances]
    fig, axes = plt.subplots(figsize=(5.5, 2.6), layout="constrained")
    axes.semilogx(tolerances, [g.order for g in groups], drawstyle="steps-post", color=BLUE)
    changes = [k for k in range(len(groups)) if k == 0 or groups[k].schoenflies != groups[k - 1].schoenflies]
    for k in changes:
        axes.annotate(groups[k].schoenflies, (tolerances[k], groups[k].order), (3, 3), textcoords="offset points")
    chosen = detect_symmetry(rough, symprec="auto")
    axes.axvline(chosen.symprec, color=ORANGE, ls="--", label=f'"auto": {chosen.group.schoenflies}')
    axes.set(xlabel="tolerance (Å)", ylabel="order of the group", ylim=(0, 28))
    axes.legend(frameon=False, loc="upper left")
    _save(fig, "tolerance.png")


def not_equivariant() -> None:
    """What `symmetry_report` says of the two models of the page."""
    ammonia = from_ase(molecule("NH3"), torch.float64)
    models = {"good": lambda d: d.pos - d.pos.mean(0), "bad": lambda d: (d.pos - d.pos.mean(0)).abs()}
    tables = {name: symmetry_report(model, [ammonia], "1o", degree=2).table() for name, model in models.items()}
    fig, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    for k, (name, color) in enumerate({"good": BLUE, "bad": ORANGE}.items()):
        rows = dict(tables[name])
        places = np.arange(len(tables["bad"]))[::-1] - 0.35 * k
        values = [max(rows.get(row, 1e-16), 1e-16) for row, _ in tables["bad"]]
        axes.barh(places, values, height=0.35, color=color, label=name)
    axes.set_yticks(np.arange(len(tables["bad"]))[::-1] - 0.18, [row for row, _ in tables["bad"]], fontsize=7)
    axes.set(xscale="log", xlim=(1e-16, 10), xlabel="error over the spread of the output")
    axes.legend(frameon=False)
    _save(fig, "not_equivariant.png")


def _save(fig: plt.Figure, name: str) -> None:
    fig.savefig(IMAGES / name, dpi=110, bbox_inches="tight")
    plt.close(fig)


# ------------------------------------------------------------------ reports


def reports() -> None:
    """The reports of barium titanate, C60 and a tilted perovskite, as a browser shows them."""
    places = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    cubic = Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True).repeat(2)
    tilted = next(way for way in tilt_systems(cubic) if way.tilt == "a+b-b-")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        molecule("C60").write(folder / "C60.xyz")
        cubic.write(folder / "SrTiO3.cif")
        next(tilted.starts(amplitude=0.15)).write(folder / "tilted.cif")
        batio3 = [BATIO3 / "cubic.cif", BATIO3 / "tetragonal.cif"]
        _report(folder, "report_batio3", batio3, (1000, 1500))
        _report(folder, "report_c60", [folder / "C60.xyz", "--symprec", "auto"], (1000, 1100))
        _report(folder, "report_perovskite", [folder / "SrTiO3.cif", folder / "tilted.cif"], (500, 1500))


def _report(folder: Path, name: str, arguments: Sequence[object], size: tuple[int, int]) -> None:
    page, picture = folder / f"{name}.html", folder / f"{name}.png"
    subprocess.run(["pyg-symbreak", "report", *map(str, arguments), "-o", str(page)], check=True)
    flags = "--headless=new --no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
    flags += f" --hide-scrollbars --virtual-time-budget=2000 --window-size={size[0]},{size[1]}"
    command = ["chromium", *flags.split(), f"--user-data-dir={folder / name}", f"--screenshot={picture}"]
    subprocess.run([*command, page.as_uri()], check=True, capture_output=True)
    Image.open(picture).convert("RGB").quantize(128).save(IMAGES / picture.name, optimize=True)


if __name__ == "__main__":
    theory()
    tolerance()
    not_equivariant()
    if shutil.which("chromium"):
        reports()
