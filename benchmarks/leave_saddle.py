"""Force calls to find the minima below a saddle: pyg_symbreak.distort.relax beside ase's rattle.

For each symmetric structure the minima that ``relax`` finds, with all its force calls: those of the symmetric
relaxation, of the curvatures (which also prove the minima to be minima), and of runs that end where others ended. Then
20 sequences of rattled relaxations, each with seeds of its own: Gaussian displacements of the symmetrically relaxed
structure, the same calculator, optimizer and fmax, again and again until the same minima are found. A sequence is told
when it has them all, so it does not pay for being sure; it is given up after ``--limit`` times the calls of ``relax``.
Where all ways lead to one minimum and the saddle is steep (oxygen on copper) that is what decides: the first rattled
relaxation finds it, and ``relax`` pays for following every way and for proving that none is left::

    python benchmarks/leave_saddle.py [--stdev 0.1] [--limit 5] [--cases Cu13 ...]

Prints a table and writes ``results/leave_saddle_<stdev>.json`` beside this file.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from statistics import median

import ase
import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.cluster import Octahedron
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pyg_symbreak.distort import Relaxation, relax, same_structure

FMAX, STEPS, SEQUENCES = 0.01, 500, 20


def ring(count: int, radius: float) -> np.ndarray:
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], axis=1)


def oxygen_on_copper() -> Atoms:
    slab = fcc100("Cu", (1, 1, 3), vacuum=6)
    add_adsorbate(slab, "O", 1.0, "ontop")
    return slab


CASES = {
    "Cu13": ("cuboctahedron", lambda: Octahedron("Cu", 3, 1)),
    "Cu3": ("line", lambda: Atoms("Cu3", [[0, 0, 2.3 * i] for i in range(3)])),
    "Cu4": ("square", lambda: Atoms("Cu4", ring(4, 1.7))),
    "Cu7": ("hexagon with centre", lambda: Atoms("Cu7", np.concatenate([np.zeros((1, 3)), ring(6, 2.4)]))),
    "Cu8": ("cube", lambda: Atoms("Cu8", 2.3 * np.argwhere(np.ones((2, 2, 2))))),
    "O/Cu(100)": ("O on top", oxygen_on_copper),
}


class Counted(EMT):
    """EMT that counts its force calls."""

    calls = 0

    def calculate(self, *arguments, **keywords):
        """Calculate, and count it."""
        super().calculate(*arguments, **keywords)
        self.calls += 1


def rattled(start: Atoms, stdev: float, seed: int) -> tuple[Atoms, int]:
    """One rattled relaxation: where it ends, and its force calls."""
    atoms = start.copy()
    atoms.rattle(stdev, seed=seed)
    atoms.calc = Counted()
    BFGS(atoms, logfile=None).run(fmax=FMAX, steps=STEPS)
    return atoms, atoms.calc.calls


def which(atoms: Atoms, known: list[Atoms]) -> int | None:
    """Number of the known structure that this is."""
    energy = atoms.get_potential_energy()
    for number, other in enumerate(known):
        if abs(energy - other.get_potential_energy()) < 0.005 and same_structure(atoms, other):
            return number
    return None


def sequence(result: Relaxation, stdev: float, first_seed: int, limit: int) -> tuple[int | None, int, list[Atoms]]:
    """Force calls until all minima are found (None: not within the limit), relaxations, and the other ends."""
    start, wanted = result.found[0].atoms, [s.atoms for s in result.minima]
    calls, missing, others, runs = len(result.descents[0].energies), set(range(len(wanted))), [], 0
    while missing:
        if calls > limit:
            return None, runs, others
        end, more = rattled(start, stdev, first_seed + runs)
        calls, runs = calls + more, runs + 1
        number = which(end, wanted)
        missing.discard(number)
        if number is None and which(end, [s.atoms for s in result.found] + others) is None:
            others.append(end)
    return calls, runs, others


def new_minima(ends: list[Atoms], result: Relaxation, folder: Path) -> list[float]:
    """Energies of minima among the ends, after a tighter relaxation, that ``relax`` did not find."""
    known = [s.atoms for s in result.found]
    energies = []
    for end in ends:
        atoms = end.copy()
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=FMAX / 20, steps=5 * STEPS)
        if which(atoms, known) is None:
            known.append(atoms)
            vibrations = Vibrations(atoms, name=str(folder / f"vib{len(known)}"))
            vibrations.run()
            if np.linalg.eigvalsh(vibrations.get_vibrations().get_hessian_2d())[0] > -0.05:
                energies.append(float(atoms.get_potential_energy()))
            vibrations.clean()
    return energies


def main() -> None:
    """Compare, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stdev", type=float, default=0.1, help="of the rattle, Å")
    parser.add_argument("--limit", type=float, default=5, help="times the calls of relax")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    start, folder = time.process_time(), Path(__file__).parent / "results"
    rows: list[dict] = []
    with Progress(transient=True) as progress:
        for name in options.cases:
            kind, make = CASES[name]
            task = progress.add_task(name, total=SEQUENCES)
            result = relax(make(), EMT(), fmax=FMAX, steps=STEPS)
            calls, runs, ends = [], [], []
            for k in range(SEQUENCES):
                found = sequence(result, options.stdev, 1000 * k, int(options.limit * result.calls))
                calls.append(found[0])
                runs.append(found[1])
                ends += [end for end in found[2] if which(end, ends) is None]
                progress.advance(task)
            middle = median(c if c is not None else np.inf for c in calls)
            rows.append(
                {
                    "structure": f"{name}, {kind}",
                    "symmetry": result.found[0].symmetry.schoenflies,
                    "minima": [f"{s.symmetry.schoenflies} {s.energy:.3f}" for s in result.minima],
                    "relax": result.calls,
                    "curvatures": result.curvature_calls,
                    "rattle, median": middle if np.isfinite(middle) else None,
                    "rattle, all": sorted(calls, key=lambda c: (c is None, c)),
                    "rattled relaxations, median": median(runs),
                    "given up": calls.count(None),
                    "by rattle alone (eV)": new_minima(ends, result, folder),
                }
            )
    seconds = time.process_time() - start
    table = Table(title=f"Force calls, rattle with {options.stdev} Å", title_justify="left")
    for column in ("structure", "minima", "relax", "rattle, median", "given up", "rattle / relax", "by rattle alone"):
        table.add_column(column, justify="left" if column in ("structure", "minima") else "right")
    for row in rows:
        middle, limit = row["rattle, median"], options.limit * row["relax"]
        rattle = f"{middle:.0f}" if middle is not None else f"> {limit:.0f}"
        ratio = f"{middle / row['relax']:.2f}" if middle is not None else f"> {options.limit:g}"
        name, minima = f"{row['structure']} ({row['symmetry']})", ", ".join(m.split()[0] for m in row["minima"])
        given_up, alone = f"{row['given up']} of {SEQUENCES}", str(len(row["by rattle alone (eV)"]))
        table.add_row(name, minima, str(row["relax"]), rattle, given_up, ratio, alone)
    Console(width=120).print(table)
    print(f"{seconds:.0f} s of CPU time")
    report = {
        "command": " ".join(["python", "benchmarks/leave_saddle.py", *sys.argv[1:]]),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "ase": ase.__version__,
        "calculator": "EMT",
        "optimizer": "BFGS",
        "fmax (eV/Å)": FMAX,
        "seconds of CPU time": round(seconds),
        "rows": rows,
    }
    (folder / f"leave_saddle_{options.stdev:g}.json").write_text(
        json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    main()
