"""Force calls until all minima below a molecule are found: from predicted starts, by `relax`, and by rattling.

    python benchmarks/saddles_starts.py results/saddles --molecules 20

Needs tblite 0.8.0 and a network of benchmarks/saddles.py in the folder. The molecules were held out of its training and
leave their symmetry. Predicted structures are relaxed (BFGS, no symmetry imposed) in the order of their rank, rattled
ones one after the other, until each minimum of the data set was reached, by its energy and shape. Where predicted
structures do not lead to all, rattled ones follow and count too. `relax` counts all that it does; it needs no such
list to know that it is done.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.optimize import BFGS
from rich.progress import track
from saddles import FORCE_CONFIG, FORCES
from tblite.ase import TBLite
from torch_geometric.data import Data

from pyg_symbreak.datasets import Saddles
from pyg_symbreak.distort import relax, same_structure
from pyg_symbreak.nn import ForceField
from pyg_symbreak.training.forces import field_of
from pyg_symbreak.training.minima import Molecule, known_molecule, predict_minima

METHOD = {"method": "GFN2-xTB", "accuracy": 0.1, "max_iterations": 120, "verbosity": 0}
FMAX, STEPS, RATTLE, SLIGHT = 0.01, 200, 0.1, 0.02
"""eV/Å; of one relaxation; Å of the random starts, and of what is added to predicted ones, which keep K else."""
MOST = 20
"""Random starts, after which the rest counts as not found."""
SAME_ENERGY = 0.01


def rattled(atoms: Atoms, size: float, seed: int) -> Atoms:
    out = atoms.copy()
    out.positions += np.random.default_rng(seed).normal(scale=size, size=out.positions.shape)
    return out


def calls_to_all(starts: Iterator[Atoms], data: Data, ends: list[Atoms], reference: float) -> tuple[int, int, int]:
    """Force calls until all ends are found; how many of them were, from how many starts."""
    calculator = TBLite(charge=float(data.charge), **METHOD)
    left, calls, used = list(range(len(ends))), 0, 0
    for start in starts:
        start.calc = calculator
        used += 1
        with BFGS(start, logfile=None) as optimizer:
            try:
                optimizer.run(fmax=FMAX, steps=STEPS)
                energy = start.get_potential_energy() - reference
            except Exception:  # atoms that came too close
                energy = math.inf
        calls += optimizer.nsteps + 1
        near = [n for n in left if abs(energy - float(data.minima_energy[n])) < SAME_ENERGY]
        left = [n for n in left if not (n in near and same_structure(start, ends[n]))]
        if not left:
            break
    return calls, len(ends) - len(left), used


def compared(model: ForceField, data: Data, molecule: Molecule) -> dict:
    """The three for one molecule."""
    atoms = Atoms(data.z.numpy(), data.pos.double().numpy())
    atoms.calc = TBLite(charge=float(data.charge), **METHOD)
    reference = atoms.get_potential_energy()
    ends = []
    for u in Saddles.minima_of(data).double().numpy():
        ends.append(Atoms(atoms.numbers, atoms.positions + u))
    found = predict_minima(model, molecule)
    frames = [Atoms(a.numbers, a.positions) for a in found.structures(molecule)]

    def random() -> Iterator[Atoms]:
        return (rattled(Atoms(atoms.numbers, atoms.positions), RATTLE, seed) for seed in range(MOST))

    def predicted() -> Iterator[Atoms]:
        yield from (rattled(frame, SLIGHT, n) for n, frame in enumerate(frames))
        yield from random()

    row = {"name": data.name, "frame": data.frame, "atoms": len(atoms), "minima": len(ends)}
    for name, starts in (("predicted", predicted()), ("rattled", random())):
        calls, reached, used = calls_to_all(starts, data, ends, reference)
        row[name] = {"calls": calls, "found": reached, "starts": used}
    own = relax(atoms, TBLite(charge=float(data.charge), **METHOD), fmax=FMAX, max_calls=4000)
    return row | {"relax": {"calls": own.calls, "found": len(own.minima)}, "answers": len(frames)}


def main(folder: Path, split: str, count: int, out: Path) -> None:
    """Compare, and write what is found after each molecule."""
    record = json.loads((folder / f"{FORCES}-{split}-0.json".replace(" ", "_")).read_text())
    model = field_of(FORCE_CONFIG)
    model.load_state_dict(torch.load(folder / f"{FORCES}-{split}-0.pt".replace(" ", "_"), weights_only=True))
    model.eval()
    held_out = {r["name"] for r in record["molecules"] if r["bound"] > 1e-3}
    some = [d for d in Saddles() if d.name in held_out and bool(d.complete)]
    order = np.random.default_rng(0).permutation(len(some))[:count]
    rows = []
    for n in track(order.tolist(), "molecules"):
        rows.append(compared(model, some[n], known_molecule(some[n], FORCE_CONFIG)))
        out.write_text(json.dumps({"split": split, "rows": rows}, indent=1))
    for name in ("predicted", "rattled", "relax"):
        calls = [r[name]["calls"] for r in rows]
        print(f"{name}: median {np.median(calls):.0f}, mean {np.mean(calls):.0f} force calls,", end=" ")
        print(f"all minima of {sum(r[name]['found'] >= r['minima'] for r in rows)} of {len(rows)} molecules")
    ratio = np.median([r["predicted"]["calls"] / r["rattled"]["calls"] for r in rows])
    print(f"predicted / rattled: median {ratio:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="random", choices=("random", "frame"))
    parser.add_argument("--molecules", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("saddles_starts.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    main(options.folder, options.split, options.molecules, options.out)
