"""Make what :class:`pyg_symbreak.datasets.Saddles` reads: molecules at saddles, and what lies below.

python make_saddles.py compute FOLDER --processes 2    a line in FOLDER/records.jsonl for each molecule
python make_saddles.py verify FOLDER --processes 2     a line in FOLDER/curvatures.jsonl for each minimum
python make_saddles.py hessians FOLDER --processes 2   a line in FOLDER/hessians.jsonl for each symmetric structure
python make_saddles.py write FOLDER                    the files of the data and tables beside this file

Needs tblite (pip install "pyg_symbreak[xtb]"; 0.8.0 made the file). A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import math
import os
import re
import signal
import time
from collections import Counter
from importlib.metadata import version
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.data import covalent_radii
from ase.io import write
from frames import molecules
from rich.progress import track
from scipy.linalg import null_space
from scipy.sparse.csgraph import connected_components
from tblite.ase import TBLite

from pyg_symbreak.breaking import largest_group
from pyg_symbreak.datasets.saddles import HOLE, UNIT
from pyg_symbreak.detect import Symmetry, detect_symmetry, symmetrize
from pyg_symbreak.diagnosis import kept_symmetry
from pyg_symbreak.distort import FLAT, relax, same_structure
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.structures import remove_rigid_motion

SYMPREC = 1e-3
"""Å: of the molecules as they are assembled."""
FMAX = 0.003
"""eV/Å."""
CALLS_PER_SECOND = 400
"""Force calls that a molecule may take for each second of CPU time that it may take."""
GENERATIONS = 6
CLOSE = 0.65
"""Atoms nearer than this share of the sum of their covalent radii are not a start."""
BONDED = 1.3
"""And nearer than this share of it are bonded."""
TOLERANCE = 0.03
"""Å, at most a tenth of the largest displacement: what an operation of K may change the displacements by."""
LOWER = 2e-3
"""eV: by how much a minimum is below the saddle at least."""
SAME = 2e-3
"""eV: molecules of the same shape whose energies differ by less are the same."""
STEP, NEARLY_FLAT = 0.01, 0.1
"""Å, length of a displacement for the force constants; eV/Å², curvatures that are computed more precisely."""
SMOOTH = 0.02
"""Share of the largest force constant that the second step may change; more, and the energy is not smooth there."""
BEGIN, END = "<!-- written by make_saddles.py -->", "<!-- end -->"
METHOD = {"method": "GFN2-xTB", "accuracy": 0.1, "max_iterations": 120, "verbosity": 0}


def bonds(atoms: Atoms, reach: float = BONDED) -> np.ndarray:
    """Which atoms are bonded, [N, N]."""
    radii = covalent_radii[atoms.numbers]
    return (atoms.get_all_distances() < reach * (radii[:, None] + radii)) & ~np.eye(len(atoms), dtype=bool)


def pieces(atoms: Atoms) -> int:
    """Number of parts that no bond joins."""
    return int(connected_components(bonds(atoms, 1.5))[0])


class OutOfTimeError(Exception):
    """Not an OSError, which the library functions that are interrupted may catch."""


def _stop(*_: object) -> None:
    raise OutOfTimeError("out of time")


def compute(job: tuple[float, str, str, int, Atoms]) -> dict:
    """The record of one molecule, for which so many seconds of CPU time are allowed."""
    seconds, frame, name, charge, atoms = job
    record = {"frame": frame, "name": name, "charge": charge, "allowed": seconds}
    began = time.process_time()
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        record |= relaxed(atoms, charge, int(CALLS_PER_SECOND * seconds))
    except Exception as error:  # one molecule that fails must not stop the others
        record["failure"] = f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return record | {"seconds": round(time.process_time() - began, 3)}


def relaxed(atoms: Atoms, charge: int, max_calls: int) -> dict:
    """What lies below a molecule, or why that is not known."""
    radii = covalent_radii[atoms.numbers]
    near = atoms.get_all_distances() / (radii[:, None] + radii) + 9 * np.eye(len(atoms))
    if near.min() < CLOSE:
        return {"failure": "atoms are too close in the start"}
    if detect_symmetry(atoms, SYMPREC).group.order == 1:
        return {"failure": "the start has no symmetry"}
    calculator = TBLite(charge=charge, **METHOD)
    found = relax(
        atoms, calculator, generations=GENERATIONS, max_calls=max_calls, fmax=FMAX, steps=300, symprec=SYMPREC
    )
    return {
        "calls": found.calls,
        **({"failure": "out of force calls"} if found.unfinished else {}),
        "numbers": atoms.numbers.tolist(),
        "found": [
            {
                "positions": s.atoms.positions.round(6).tolist(),
                "energy": round(s.energy, 6),
                "fmax": float(np.linalg.norm(s.atoms.calc.results["forces"], axis=1).max()),
                "group": s.symmetry.schoenflies,
                "kind": s.kind,
                "curvatures": s.curvatures and [(irrep, round(c, 4)) for irrep, c in s.curvatures],
                "uncertainty": s.uncertainty,
            }
            for s in found.found
        ],
        "descents": [
            {
                "parent": d.parent,
                "irrep": d.distortion and d.distortion.irrep,
                "kept": d.distortion and d.distortion.symbol,
                "found": d.found,
                "end": None if d.found is None else d.frames[-1].positions.round(6).tolist(),
            }
            for d in found.descents
        ],
    }


def run(folder: Path, processes: int, first: int | None, seconds: float) -> None:
    """Compute what the folder lacks, and what ran out of less time than there is now."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "records.jsonl"
    known = {
        (r["frame"], r["name"]) for r in read(path) if r["allowed"] >= seconds or "out of" not in r.get("failure", "")
    }
    jobs = [(seconds, *listed) for listed in molecules() if listed[:2] not in known][:first]
    failed: Counter[str] = Counter()
    with path.open("a") as file, Pool(processes, maxtasksperchild=300) as pool:
        for record in track(pool.imap_unordered(compute, jobs), "molecules", total=len(jobs)):
            file.write(json.dumps(record, separators=(",", ":")) + "\n")
            file.flush()
            if "failure" in record:
                failed[record["failure"][:60]] += 1
    print(len(jobs), "computed;", dict(failed))


def read(path: Path) -> list[dict]:
    """The records of a file; a last line that was cut is left out."""
    lines = path.read_text().splitlines() if path.exists() else []
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


# ------------------------------------------------------------------ whether the minima are minima


def lowest_curvature(job: tuple[str, str, int, int, Atoms]) -> dict:
    """Lowest eigenvalue of all force constants, eV/Å², beside translations and rotations.

    From forward differences; from central ones where it is below ``NEARLY_FLAT``.
    """
    frame, name, number, charge, atoms = job
    atoms.calc = TBLite(charge=charge, **METHOD)
    x = atoms.positions.copy()
    inner = null_space(rigid_motions(x).T, rcond=1e-4)
    zero = atoms.get_forces().ravel()

    def forces(step: float) -> np.ndarray:
        out = []
        for mode in inner.T:
            atoms.positions = x + step * mode.reshape(-1, 3)
            out.append(atoms.get_forces().ravel())
        return np.array(out)

    def lowest(differences: np.ndarray) -> float:
        hessian = differences @ inner
        return float(np.linalg.eigvalsh((hessian + hessian.T) / 2)[0])

    plus = forces(STEP)
    value = lowest((zero - plus) / STEP)
    if value < NEARLY_FLAT:
        value = lowest((forces(-STEP) - plus) / (2 * STEP))
    return {"frame": frame, "name": name, "number": number, "lowest": round(value, 5)}


def rigid_motions(x: np.ndarray) -> np.ndarray:
    """Translations and rotations of atoms at x, [3N, 6], some dependent for a line."""
    return np.concatenate([np.tile(np.eye(3), (len(x), 1))] + [np.cross(a, x).reshape(-1, 1) for a in np.eye(3)], 1)


def verify(folder: Path, processes: int) -> None:
    """Compute the lowest curvatures of the minima that the folder lacks, into FOLDER/curvatures.jsonl."""
    path = folder / "curvatures.jsonl"
    known = {(r["frame"], r["name"], r["number"]) for r in read(path)}
    records = {(r["frame"], r["name"]): r for r in read(folder / "records.jsonl") if "failure" not in r}
    jobs = [
        (*key, number, record["charge"], Atoms(record["numbers"], s["positions"]))
        for key, record in records.items()
        for number, s in enumerate(record["found"])
        if s["kind"] == "minimum" and (not number or is_below(s, record["found"][0])) and (*key, number) not in known
    ]
    with path.open("a") as file, Pool(processes) as pool:
        for row in track(pool.imap_unordered(lowest_curvature, jobs), "minima", total=len(jobs)):
            file.write(json.dumps(row) + "\n")
            file.flush()


def is_below(structure: dict, first: dict) -> bool:
    """Whether the energy is below that of the saddle."""
    return structure["energy"] < first["energy"] - LOWER


# ------------------------------------------------------------------ force constants of the symmetric structures


def operations(symmetry: Symmetry) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and permutations; of a line those of D4h or C4v, which all force constants of a line are fixed by."""
    if symmetry.continuous is None:
        return symmetry.rotations.numpy(), symmetry.permutations.numpy()
    permutations = symmetry.permutations.numpy()  # as it is, and the other way round
    whole = symmetry.group
    rotations = PointGroup("D4h" if len(permutations) > 1 else "C4v").rotated(whole.frame).matrices
    flips = np.einsum("i,gij,j->g", whole.axis, rotations, whole.axis) < 0
    return rotations, permutations[np.where(flips, len(permutations) - 1, 0)]


def force_constants(atoms: Atoms, rotations: np.ndarray, permutations: np.ndarray, step: float) -> np.ndarray:
    """Second derivatives of the energy, [3N, 3N], eV/Å², averaged over a group of operations.

    By central differences of the forces, of displacements of one atom of each orbit.
    """
    count, x = len(atoms), atoms.positions.copy()
    blocks, times = np.zeros((count, 3, count, 3)), np.zeros(count)

    def forces(atom: int, shift: np.ndarray) -> np.ndarray:
        atoms.positions = x
        atoms.positions[atom] += shift
        return atoms.get_forces()

    for a in sorted({int(orbit.min()) for orbit in permutations.T}):
        block = np.array([forces(a, -step * axis) - forces(a, step * axis) for axis in np.eye(3)]) / (2 * step)
        for rotation, permutation in zip(rotations, permutations, strict=True):
            image = np.empty_like(block)
            image[:, permutation] = np.einsum("ij,jbk,lk->ibl", rotation, block, rotation)
            blocks[permutation[a]] += image
            times[permutation[a]] += 1
    atoms.positions = x
    matrix = (blocks / times[:, None, None, None]).reshape(3 * count, 3 * count)
    return (matrix + matrix.T) / 2


def hessian(job: tuple[str, str, int, Atoms]) -> dict:
    """Force constants of a symmetric structure, from two steps, so that the error is of the fourth order in them.

    With ``change``, the largest eigenvalue of what the second step changes, and ``rigid``, the largest force that a
    rigid motion of length 1 causes.
    """
    frame, name, charge, atoms = job
    atoms.calc = TBLite(charge=charge, **METHOD)
    of_group = operations(detect_symmetry(atoms, SYMPREC))
    try:
        near, far = (force_constants(atoms, *of_group, step) for step in (STEP / 2, STEP))
    except CalculationFailed as error:
        return {"frame": frame, "name": name, "failure": str(error)[:100]}
    matrix = (4 * near - far) / 3
    rigid = null_space(null_space(rigid_motions(atoms.positions).T, rcond=1e-4).T)
    return {
        "frame": frame,
        "name": name,
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.round(8).tolist(),
        "change": float(np.linalg.norm(matrix - near, 2)),
        "rigid": float(np.linalg.norm(matrix @ rigid, axis=0).max()),
        "hessian": matrix.round(4).tolist(),
    }


def hessians(folder: Path, processes: int) -> None:
    """Compute the force constants that the folder lacks, into FOLDER/hessians.jsonl."""
    path = folder / "hessians.jsonl"
    known = {(r["frame"], r["name"]) for r in read(path)}
    records = {(r["frame"], r["name"]): r for r in read(folder / "records.jsonl") if "failure" not in r}
    jobs = [(*key, r["charge"], symmetric(r)[0]) for key, r in records.items() if key not in known]
    with path.open("a") as file, Pool(processes, maxtasksperchild=300) as pool:
        for row in track(pool.imap_unordered(hessian, jobs), "force constants", total=len(jobs)):
            file.write(json.dumps(row, separators=(",", ":")) + "\n")
            file.flush()


# ------------------------------------------------------------------ the file


def symmetric(record: dict) -> tuple[Atoms, Symmetry]:
    """The symmetric structure of a record, about the origin, and its symmetry."""
    atoms = Atoms(record["numbers"], record["found"][0]["positions"])
    atoms.positions -= atoms.positions.mean(0)
    symmetry = detect_symmetry(atoms, SYMPREC)
    return symmetrize(atoms, symmetry), symmetry


def kept(symmetry: Symmetry, displacements: np.ndarray) -> tuple[str, float, np.ndarray]:
    """K, the number of equivalent displacements |S|/|K|, and the displacements averaged over K."""
    tolerance = min(TOLERANCE, np.linalg.norm(displacements, axis=1).max() / 10)
    if symmetry.continuous is not None:
        group = kept_symmetry(symmetry, torch.from_numpy(displacements), tolerance=tolerance)
        return group.schoenflies, math.inf if group.is_finite else 1.0 + (group != symmetry.group), displacements
    rotations, permutations = symmetry.rotations.numpy(), symmetry.permutations.numpy()
    images = np.empty((len(rotations), *displacements.shape))
    for image, rotation, permutation in zip(images, rotations, permutations, strict=True):
        image[permutation] = displacements @ rotation.T
    changes = np.linalg.norm(images - displacements, axis=2).max(1)
    group, mask = largest_group(rotations, changes, tolerance)
    return group.schoenflies, len(rotations) / group.order, images[mask].mean(0)


def frames_of(record: dict, lowest: dict[tuple[str, str, int], float]) -> list[Atoms]:
    """The saddle and its minima, the lowest first, in the saddle's place and order of atoms.

    ``lowest`` holds the lowest curvatures of the minima by frame, name and number.

    Raises
    ------
    ValueError
        The molecule has no place in the data; the message says why.
    """
    first, *others = record["found"]
    key = (record["frame"], record["name"])
    if first["kind"] not in ("saddle", "minimum") or (first["kind"] == "minimum" and lowest[(*key, 0)] < FLAT):
        raise ValueError("the symmetric structure is flat: neither a saddle nor a minimum")
    atoms, symmetry = symmetric(record)
    if pieces(atoms) > 1:
        raise ValueError("the symmetric structure falls apart")
    group = symmetry.group.schoenflies
    ends = [(d["found"], d["end"]) for d in record["descents"] if d["end"] is not None]
    minima, undecided = [], sum(d["found"] is None for d in record["descents"])
    for number, other in enumerate(others, 1):
        if not is_below(other, first) or other["kind"] == "saddle":
            continue
        if other["kind"] != "minimum" or lowest[(*key, number)] < FLAT:
            undecided += 1
            continue
        ways = [np.array(end) - atoms.positions for found, end in ends if found == number]
        ways = list(remove_rigid_motion(torch.from_numpy(atoms.positions), torch.from_numpy(np.array(ways))).numpy())
        keep, count, u = kept(symmetry, min(ways, key=np.linalg.norm))
        minimum = Atoms(atoms.numbers, atoms.positions + u)
        if pieces(minimum) > 1:
            raise ValueError("a minimum falls apart")
        minimum.info = {
            "role": "minimum",
            "kept": keep,
            "count": count,
            "point_group": other["group"],
            "relative_energy": round(other["energy"] - first["energy"], 6),
            "fmax": round(other["fmax"], 5),
            "rearranged": bool((bonds(minimum) != bonds(atoms)).any()),
        }
        minima.append(minimum)
    if first["kind"] == "saddle" and not minima:
        raise ValueError("no minimum was found below the saddle")
    atoms.info = {
        "role": "saddle",
        "name": f"{record['frame']}: {record['name']}",
        "frame": record["frame"],
        "charge": record["charge"],
        "group": group,
        "energy_eV": first["energy"],
        "fmax": round(first["fmax"], 5),
        "curvatures": "; ".join(f"{irrep} {curvature}" for irrep, curvature in first["curvatures"]),
        "uncertainty": round(first["uncertainty"], 4),
        "complete": undecided == 0,
        "calls": record["calls"],
    }
    return [atoms, *sorted(minima, key=lambda m: m.info["relative_energy"])]


def write_file(folder: Path) -> None:
    """The molecules that came out well, in the order of the list, and the reasons of the others."""
    records = {(r["frame"], r["name"]): r for r in read(folder / "records.jsonl")}  # the last of each
    order = [key for frame, name, *_ in molecules() if (key := (frame, name)) in records]
    lowest = {(r["frame"], r["name"], r["number"]): r["lowest"] for r in read(folder / "curvatures.jsonl")}
    kept_frames: list[list[Atoms]] = []
    failures: list[tuple[str, str, str]] = []
    alike: dict[tuple, list[Atoms]] = {}
    for key in track(order, "molecules"):
        record = records[key]
        try:
            if "failure" in record:
                raise ValueError(record["failure"])
            frames = frames_of(record, lowest)
            formula = (frames[0].get_chemical_formula(), frames[0].info["charge"], frames[0].info["group"])
            for other in alike.setdefault(formula, []):
                if abs(other.info["energy_eV"] - frames[0].info["energy_eV"]) < SAME and same_structure(
                    other, frames[0]
                ):
                    raise ValueError(f"the same as {other.info['name']}")
        except ValueError as error:
            failures.append((*key, str(error)))
            continue
        alike[formula].append(frames[0])
        kept_frames.append(frames)
    for frames in kept_frames:
        frames[0].info |= {"method": "GFN2-xTB, tblite " + version("tblite")}
    text = io.StringIO()
    write(text, [atoms for frames in kept_frames for atoms in frames], format="extxyz")
    target = Path(__file__).with_name("saddles.xyz.gz")
    target.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))
    with Path(__file__).with_name("failures.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("frame", "name", "reason"), *failures])
    readme = Path(__file__).with_name("README.md")
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n\n{statistics(kept_frames)}\n\n{END}{rest.split(END)[1]}")
    stored = Path(__file__).with_name("saddles_hessians.npz")
    np.savez_compressed(stored, triangles=triangles(folder, kept_frames))
    print(len(kept_frames), "molecules")
    for path in (target, stored):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name, path.stat().st_size, "bytes")
    print(Counter(re.sub(r"the same as.*", "a duplicate", reason)[:60] for *_, reason in failures).most_common())


def triangles(folder: Path, molecules_kept: list[list[Atoms]]) -> np.ndarray:
    """Upper triangles of the force constants of all symmetric structures, one after the other, in ``UNIT``.

    ``HOLE`` is written where there are none: the calculation did not converge, or the energy is not smooth.

    Raises
    ------
    ValueError
        The force constants in the folder are those of another structure.
    """
    rows = {f"{r['frame']}: {r['name']}": r for r in read(folder / "hessians.jsonl")}
    out, holes = [], []
    for first, *_ in molecules_kept:
        row, upper = rows[first.info["name"]], np.triu_indices(3 * len(first))
        matrix = np.array(row.get("hessian", []))
        if "failure" in row or row["change"] > SMOOTH * np.linalg.norm(matrix, 2):
            out.append(np.full(len(upper[0]), HOLE, np.int32))
            holes.append(first.info["name"])
            continue
        if np.abs(np.array(row["positions"]) - first.positions).max() > 1e-5:
            raise ValueError(f"{first.info['name']}: hessians.jsonl has another structure; delete its line")
        out.append(np.rint(matrix[upper] / UNIT).astype(np.int32))
    print("no force constants:", holes)
    return np.concatenate(out)


def statistics(molecules_kept: list[list[Atoms]]) -> str:
    """Tables of what there is, by point group and by frame, in Markdown."""
    by_group: dict[str, list[list[Atoms]]] = {}
    by_frame: dict[str, list[list[Atoms]]] = {}
    for frames in molecules_kept:
        by_group.setdefault(frames[0].info["group"], []).append(frames)
        by_frame.setdefault(frames[0].info["frame"], []).append(frames)
    rows = [
        "| S | molecules | controls | with several minima | K of the lowest minimum |",
        "| --- | --- | --- | --- | --- |",
    ]
    for group, found in sorted(by_group.items(), key=lambda item: (-len(item[1]), item[0])):
        lowest = Counter(frames[1].info["kept"] for frames in found if len(frames) > 1)
        names = ", ".join(f"{name} {count}" for name, count in sorted(lowest.items(), key=lambda i: (-i[1], i[0])))
        rows.append(f"| {group} | {_counts(found)} | {names} |")
    rows += [f"| all | {_counts(molecules_kept)} | |", ""]
    rows += ["| frame | molecules | controls | with several minima |", "| --- | --- | --- | --- |"]
    rows += [f"| {frame} | {_counts(found)} |" for frame, found in sorted(by_frame.items())]
    return "\n".join(rows)


def _counts(found: list[list[Atoms]]) -> str:
    return f"{len(found)} | {sum(len(f) == 1 for f in found)} | {sum(len(f) > 2 for f in found)}"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["compute", "verify", "hessians", "write"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--first", type=int, help="so many molecules")
    parser.add_argument("--seconds", type=float, default=2.5, help="of CPU time for a molecule")
    arguments = parser.parse_args()
    if arguments.what == "compute":
        run(arguments.folder, arguments.processes, arguments.first, arguments.seconds)
    elif arguments.what == "verify":
        verify(arguments.folder, arguments.processes)
    elif arguments.what == "hessians":
        hessians(arguments.folder, arguments.processes)
    else:
        write_file(arguments.folder)
