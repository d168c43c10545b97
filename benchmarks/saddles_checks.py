"""Whether the minima of ``datasets.Saddles`` are minima, whether they are all, and what PBE0 says of them.

Three checks, each on molecules drawn at random (those that keep their symmetry left out of the last two)::

    python benchmarks/saddles_checks.py hessians [--molecules 60]
    python benchmarks/saddles_checks.py rattling [--molecules 20]
    python benchmarks/saddles_checks.py pbe0 [--molecules 30]

``hessians``: all eigenvalues of the force constants of each minimum, from central differences of the forces in all
coordinates, translations and rotations projected out. ``rattling``: relaxations without symmetry from the saddle with
Gaussian displacements, twelve for each molecule; the structures they end in that no minimum of the data is
(``distort.same_structure``). Those within 5 meV of a minimum of the data are counted apart: of soft rotors, whose
relaxation ends anywhere. ``pbe0``: energies of saddle and lowest minimum by PBE0/def2-SVP at the structures of the
data, molecules of eight atoms at most. Each writes ``results/saddles_<check>.json`` beside this file. Needs tblite, or
pyscf for the last.
"""

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.optimize import BFGS
from rich.progress import track
from scipy.linalg import null_space
from scipy.sparse.csgraph import connected_components

from pyg_symbreak.datasets import Saddles
from pyg_symbreak.distort import same_structure
from pyg_symbreak.structures import to_ase

RESULTS = Path(__file__).with_name("results")
STEP = 0.005
RATTLES, STDEV, FMAX, STEPS = 12, 0.15, 0.002, 500
NEAR = 5e-3  # eV


def drawn(count: int, seed: int, accepted) -> list:
    """Molecules of the data that are accepted, at random."""
    dataset = Saddles()
    order = np.random.default_rng(seed).permutation(len(dataset))
    graphs = (dataset[int(i)] for i in order)
    return [data for data, _ in zip((d for d in graphs if accepted(d)), range(count), strict=False)]


def calculator(data):
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", charge=int(data.charge), accuracy=0.1, verbosity=0)


def minima(data) -> list[Atoms]:
    saddle = to_ase(data)
    return [Atoms(saddle.numbers, saddle.positions + y.numpy().astype(float)) for y in Saddles.minima_of(data)]


def rigid_motions(positions: np.ndarray) -> np.ndarray:
    """Translations and rotations [3N, 6], some dependent for a line."""
    shifts = np.tile(np.eye(3), (len(positions), 1))
    turns = np.stack([np.cross(axis, positions).ravel() for axis in np.eye(3)], axis=1)
    return np.concatenate([shifts, turns], axis=1)


def lowest_curvature(atoms: Atoms) -> float:
    """Lowest eigenvalue of the force constants, eV/Å², beside translations and rotations."""
    size = 3 * len(atoms)
    start, hessian = atoms.positions.copy(), np.empty((size, size))
    for k in range(size):
        forces = []
        for sign in (1, -1):
            atoms.positions = start + sign * STEP * np.eye(size)[k].reshape(-1, 3)
            forces.append(atoms.get_forces().ravel())
        hessian[k] = (forces[1] - forces[0]) / (2 * STEP)
    atoms.positions = start
    inner = null_space(rigid_motions(start - start.mean(0)).T, rcond=1e-4)
    return float(np.linalg.eigvalsh(inner.T @ (hessian + hessian.T) / 2 @ inner)[0])


def check_hessians(count: int, seed: int) -> dict:
    rows = []
    for data in track(drawn(count, seed, lambda data: True), "hessians"):
        for number, atoms in enumerate(minima(data)):
            atoms.calc = calculator(data)
            forces = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
            rows.append({"name": data.name, "minimum": number, "fmax": forces, "lowest": lowest_curvature(atoms)})
    lowest = np.array([row["lowest"] for row in rows])
    return {
        "minima": len(rows),
        "above zero": int((lowest > 0).sum()),
        "above 0.01": int((lowest > 0.01).sum()),
        "lowest": float(lowest.min()),
        "median": float(np.median(lowest)),
        "rows": rows,
    }


def pieces(atoms: Atoms) -> int:
    radii = covalent_radii[atoms.numbers]
    return int(connected_components(atoms.get_all_distances() < 1.5 * (radii[:, None] + radii))[0])


def check_rattling(count: int, seed: int) -> dict:
    rows = []
    rng = np.random.default_rng(seed)
    for data in track(drawn(count, seed + 1, lambda data: bool(data.unstable.any())), "rattling"):
        known, saddle, found, apart, failed = minima(data), to_ase(data), [], 0, 0
        for _ in range(RATTLES):
            atoms = saddle.copy()
            atoms.positions += STDEV * rng.standard_normal(atoms.positions.shape)
            atoms.calc = calculator(data)
            try:
                converged = BFGS(atoms, logfile=None).run(fmax=FMAX, steps=STEPS)
            except Exception:  # what the calculator raises when it does not converge
                converged = False
            failed += int(not converged)
            if converged and pieces(atoms) > 1:
                apart += 1
            elif converged and not any(same_structure(atoms, other) for other in found):
                atoms.info["energy"] = atoms.get_potential_energy()
                found.append(atoms)
        start = saddle.copy()
        start.calc = calculator(data)
        zero = start.get_potential_energy()
        missing = [atoms for atoms in found if not any(same_structure(atoms, other) for other in known)]
        energies = [round(atoms.info["energy"] - zero, 4) for atoms in missing]
        near = [min(abs(e - float(other)) for other in data.minima_energy) < NEAR for e in energies]
        rows.append(
            {
                "name": data.name,
                "complete": bool(data.complete),
                "minima": len(known),
                "found": len(found),
                "apart": apart,
                "not converged": failed,
                "energies": [round(float(e), 4) for e in data.minima_energy],
                "missing": [e for e, soft in zip(energies, near, strict=True) if not soft],
                "missing within 5 meV": sum(near),
                "not found": sum(not any(same_structure(a, b) for b in found) for a in known),
            }
        )
    found, missing = (sum(row["found"] for row in rows), sum(len(row["missing"]) for row in rows))
    return {
        "molecules": len(rows),
        "structures found by rattling": found,
        "of these not within 5 meV of one in the data": missing,
        "of these lower than all in the data": sum(e < row["energies"][0] for row in rows for e in row["missing"]),
        "another structure, within 5 meV of one in the data": sum(row["missing within 5 meV"] for row in rows),
        "minima of the data": sum(row["minima"] for row in rows),
        "of these not found by rattling": sum(row["not found"] for row in rows),
        "rows": rows,
    }


def check_pbe0(count: int, seed: int) -> dict:
    from pyscf import dft, gto

    def energy(atoms: Atoms, charge: int) -> tuple[float, bool]:
        molecule = gto.M(
            atom=list(zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True)),
            basis="def2-svp",
            ecp={symbol: "def2-svp" for symbol, z in zip(atoms.symbols, atoms.numbers, strict=True) if z > 36},
            charge=charge,
            verbose=0,
        )
        field = dft.RKS(molecule, xc="pbe0").density_fit()
        field.grids.level = 1
        return field.kernel() * 27.211386, bool(field.converged)

    rows = []
    accepted = drawn(
        count, seed + 2, lambda data: bool(data.unstable.any()) and data.num_nodes <= 8 and not data.rearranged
    )
    for data in track(accepted, "PBE0"):
        try:
            (above, first), (below, second) = (energy(a, int(data.charge)) for a in (to_ase(data), minima(data)[0]))
        except RuntimeError as error:
            rows.append({"name": data.name, "problem": str(error)[:100]})
            continue
        except KeyboardInterrupt:  # what was computed until then is written
            break
        row = {"name": data.name, "xtb": float(data.energy), "pbe0": below - above}
        rows.append(row | ({} if first and second else {"problem": "not converged"}))
    good = [row for row in rows if "problem" not in row]
    return {
        "molecules": len(rows),
        "converged": len(good),
        "minimum below the saddle": sum(row["pbe0"] < 0 for row in good),
        "disagree": [row for row in good if row["pbe0"] >= 0],
        "rows": rows,
    }


CHECKS = {"hessians": (check_hessians, 60), "rattling": (check_rattling, 20), "pbe0": (check_pbe0, 30)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("--molecules", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    check, count = CHECKS[arguments.check]
    began = time.process_time()
    result = check(arguments.molecules or count, arguments.seed)
    package = "pyscf" if arguments.check == "pbe0" else "tblite"
    result |= {
        "seed": arguments.seed,
        "data": len(Saddles()),
        "cpu_seconds": round(time.process_time() - began, 1),
        "versions": {name: version(name) for name in (package, "ase", "numpy")} | {"python": platform.python_version()},
    }
    (RESULTS / f"saddles_{arguments.check}.json").write_text(json.dumps(result, indent=1, default=float) + "\n")
    print({key: value for key, value in result.items() if key != "rows"})
