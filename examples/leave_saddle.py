"""Leave the saddle: relaxations of symmetric structures that plain relaxation never gets away from.

Symmetric forces keep every symmetry, so BFGS relaxes the cuboctahedron Cu13 to the best cuboctahedron, a square to a
square and a flat cluster to a flat one. ``pyg_symbreak.distort.relax`` computes the curvatures irrep by irrep,
displaces the atoms along the unstable ones so that an isotropy subgroup stays, and goes on until nothing is unstable.

    python examples/leave_saddle.py
    python examples/leave_saddle.py --quantum   # those of CH4+ and C6H6+ too; needs pyscf, takes minutes
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import typer
from _shared import Run, console, table
from ase import Atoms
from ase.build import add_adsorbate, fcc100, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.cluster import Octahedron
from ase.optimize import BFGS
from ase.units import Bohr, Hartree
from ase.visualize.plot import plot_atoms

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.distort import Relaxation, relax

PLAIN, DESCENT, RATTLE, CURVATURE = "#8d8d8d", "#d1495b", "#30638e", "#edae49"
COLORS = {"Cu": "#d98e5f", "O": "#d1495b"}
FMAX = 0.01
CATIONS = {"CH4": "6-31g*", "C6H6": "sto-3g"}


# ------------------------------------------------------------------ symmetric structures


def ring(count: int, radius: float) -> np.ndarray:
    """Corners of a regular polygon in the xy plane, [count, 3] Å."""
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], axis=1)


def oxygen_on_copper() -> Atoms:
    """Three layers of copper with an oxygen atom on top of each atom of the surface."""
    slab = fcc100("Cu", (1, 1, 3), vacuum=6)
    add_adsorbate(slab, "O", 1.0, "ontop")
    return slab


STRUCTURES = {
    "Cu13, cuboctahedron": lambda: Octahedron("Cu", 3, 1),
    "Cu4, square": lambda: Atoms("Cu4", ring(4, 1.7)),
    "Cu7, flat": lambda: Atoms("Cu7", np.concatenate([np.zeros((1, 3)), ring(6, 2.4)])),
    "O on Cu(100)": oxygen_on_copper,
}
VIEWS = {"O on Cu(100)": "0x"}


# ------------------------------------------------------------------ relaxing


def descend(atoms: Atoms) -> list[float]:
    """Relax with BFGS alone; the energies, eV, one for each force call."""
    atoms.calc = EMT()
    energies: list[float] = []
    optimizer = BFGS(atoms, logfile=None)
    optimizer.attach(lambda: energies.append(float(atoms.get_potential_energy())))
    optimizer.run(fmax=FMAX, steps=500)
    return energies


def compare(make) -> dict:
    """Relax a structure by itself, rattled, and with its symmetry broken."""
    plain, rattled = make(), make()
    rattled.rattle(0.1, seed=0)
    return {
        "plain": (descend(plain), plain),
        "rattled": (descend(rattled), rattled),
        "relax": relax(make(), EMT(), fmax=FMAX),
    }


def timeline(result: Relaxation) -> tuple[list[tuple[int, int]], list[tuple[int, list[float]]]]:
    """Where the force calls went: (first, number) of those for curvatures, (first, energies) of the descents."""
    calls = len(result.descents[0].energies)
    curvatures, descents = [], [(0, result.descents[0].energies)]
    for number, structure in enumerate(result.found):  # they are looked at in the order of their numbers
        if structure.curvature_calls:
            curvatures.append((calls, structure.curvature_calls))
            calls += structure.curvature_calls
        for descent in result.descents[1:]:
            if descent.parent == number:
                descents.append((calls, descent.energies))
                calls += len(descent.energies)
    return curvatures, descents


def cation(name: str, basis: str, generations: int = 2) -> Relaxation:
    """The cation of a molecule from the molecule's symmetry, with unrestricted Hartree-Fock."""
    from pyscf import gto, scf

    class HartreeFock(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            geometry = list(zip(atoms.symbols, atoms.positions, strict=True))
            ion = gto.M(atom=geometry, charge=1, spin=1, basis=basis, verbose=0)
            field = scf.UHF(ion).run(conv_tol=1e-10, max_cycle=200)
            forces = -field.nuc_grad_method().kernel() * Hartree / Bohr
            self.results = {"energy": field.e_tot * Hartree, "forces": forces}

    with console.status(f"{name}+") as status:
        return relax(molecule(name), HartreeFock(), generations=generations, fmax=0.02, progress=status.update)


# ------------------------------------------------------------------ output


def figure(compared: dict[str, dict]) -> plt.Figure:
    """For each structure: before, after, and the energy against the force calls."""
    fig = plt.figure(figsize=(15, 7))
    grid = fig.add_gridspec(2, 2 * len(compared), height_ratios=[1, 1.25], hspace=0.2, wspace=0.1)
    fig.subplots_adjust(left=0.055, right=0.99, top=0.95, bottom=0.14)
    for column, (name, found) in enumerate(compared.items()):
        result: Relaxation = found["relax"]
        first, last = result.found[0], result.minima[0]
        for side, (structure, word) in enumerate(((first, "saddle"), (last, "minimum"))):
            axes = fig.add_subplot(grid[0, 2 * column + side])
            draw(axes, structure.atoms, VIEWS.get(name, "-65x,10y,8z"))
            axes.set_title(f"{structure.symmetry.schoenflies}, {word}", fontsize=11)
        axes = fig.add_subplot(grid[1, 2 * column : 2 * column + 2])
        position = axes.get_position()
        axes.set_position([position.x0 + 0.012, position.y0, position.width - 0.024, position.height])
        curvatures, descents = timeline(result)
        for start, number in curvatures:
            axes.axvspan(start, start + number, color=CURVATURE, alpha=0.35, lw=0, label="curvatures")
        for start, energies in descents:
            axes.plot(start + np.arange(len(energies)), energies, color=DESCENT, lw=2, marker=".", label="relax")
        axes.plot(found["rattled"][0], color=RATTLE, lw=1.5, ls=":", label="BFGS, rattled by 0.1 Å")
        flat = found["plain"][0]
        axes.plot([*flat, *[flat[-1]] * max(result.calls - len(flat), 0)], color=PLAIN, lw=1.5, ls="--", label="BFGS")
        gain = first.energy - last.energy
        axes.set(ylim=(last.energy - 0.1 * gain, first.energy + 0.6 * gain), xlabel="force calls", title=name)
    fig.axes[2].set_ylabel("energy (eV)")
    handles, labels = fig.axes[2].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    fig.legend(unique.values(), unique.keys(), loc="lower center", ncols=4, frameon=False, fontsize=11)
    return fig


def draw(axes: plt.Axes, atoms: Atoms, view: str) -> None:
    """A structure as balls; of a slab three by three cells."""
    shown = atoms.repeat((3, 3, 1)) if atoms.pbc.any() else atoms.copy()
    shown.set_pbc(False)
    shown.set_cell(None)
    plot_atoms(shown, axes, rotation=view, colors=[COLORS[s] for s in shown.symbols], radii=0.85)
    axes.set_axis_off()


def row(name: str, found: dict) -> dict:
    """What the table says of a structure."""
    result: Relaxation = found["relax"]
    return {
        "structure": name,
        "BFGS stays in": detect_symmetry(found["plain"][1], 0.02).group.schoenflies,
        "unstable in": ", ".join(result.found[0].unstable),
        "minima": ", ".join(s.symmetry.schoenflies for s in result.minima),
        "lower by (eV)": result.found[0].energy - result.minima[0].energy,
        "rattled: lower by (eV)": result.found[0].energy - found["rattled"][0][-1],
        "force calls": result.calls,
    }


def main(
    out: Annotated[Path, typer.Option(help="Folder for structures, figure and figures of merit.")] = Path(
        "results/leave_saddle"
    ),
    quantum: Annotated[bool, typer.Option("--quantum", help="CH4+ and C6H6+ with PySCF too.")] = False,
) -> None:
    """Relax symmetric structures by themselves, rattled, and along the distortions that break their symmetry."""
    files = Run(out)
    compared = {}
    for name, make in STRUCTURES.items():
        with console.status(name):
            compared[name] = compare(make)
    rows = [row(name, found) for name, found in compared.items()]
    console.print(table("Relaxed by themselves, rattled, and along unstable distortions", rows, ".3f"))
    for number, found in enumerate(compared.values()):
        found["relax"].write(out / f"structure_{number}.extxyz")
    figure(compared).savefig(out / "leave_saddle.png", dpi=100)
    if quantum:
        for name, basis in CATIONS.items():
            ion = cation(name, basis)
            ion.write(out / f"{name}_cation.extxyz")
            for structure in sorted(ion.found, key=lambda s: s.energy):
                console.print(f"{name}+  {structure}", highlight=False)
    files.finish({"structures": rows}, "Structures, figure and metrics")


if __name__ == "__main__":
    typer.run(main)
