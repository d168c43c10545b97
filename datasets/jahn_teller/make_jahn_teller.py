"""Compute the Jahn-Teller data set with PySCF: python make_jahn_teller.py RUN.jsonl [jahn_teller.xyz]

Each finished relaxation is appended to RUN.jsonl, and a run that was killed goes on from there. With a second
argument, what is there is written as extended XYZ instead. README.md beside this file says what is computed.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pyscf
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.io import write
from ase.optimize import BFGS
from ase.units import Bohr, Hartree
from pyscf import dft, gto, scf
from scipy.spatial.transform import Rotation

from pyg_symbreak.detect import Symmetry, detect_symmetry, symmetrize
from pyg_symbreak.groups import PointGroup

XC, BASIS, GRID = "PBE0", "def2-svp", 2
FMAX = 0.01
"""Relaxed when no force is larger, eV/Å."""
MAX_STEPS = 60
KICK = 0.03
"""Root mean square of the displacements of a start, as a fraction of the shortest distance."""
SYMPREC = 0.02
"""Tolerance for the symmetry of what was relaxed, Å."""
SAME_ENERGY = 0.001
"""Relaxed structures whose energies differ by less, eV, are as low as each other."""


def ring(symbol: str, count: int, radius: float) -> Atoms:
    """Regular polygon of atoms about z."""
    angles = 2 * np.pi * np.arange(count) / count
    x = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.zeros(count)], 1)
    return Atoms(symbol * count, positions=x)


TRANS_N2H2 = [[0, 0.62, 0], [0, -0.62, 0], [0.99, 0.93, 0], [-0.99, -0.93, 0]]
TETRAHEDRON = [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]

# name: (how to build it, charge and number of unpaired electrons, of the parent and of what is made of it)
SYSTEMS = {
    "H2O+": (lambda: molecule("H2O"), (0, 0), (1, 1)),
    "NH3+": (lambda: molecule("NH3"), (0, 0), (1, 1)),
    "CH4+": (lambda: molecule("CH4"), (0, 0), (1, 1)),
    "BH3+": (lambda: Atoms("B", positions=[[0, 0, 0]]) + ring("H", 3, 1.19), (0, 0), (1, 1)),
    "N2+": (lambda: molecule("N2"), (0, 0), (1, 1)),
    "C2H2+": (lambda: molecule("C2H2"), (0, 0), (1, 1)),
    "H2CO+": (lambda: molecule("H2CO"), (0, 0), (1, 1)),
    "C2H4+": (lambda: molecule("C2H4"), (0, 0), (1, 1)),
    "N2H2+": (lambda: Atoms("N2H2", positions=TRANS_N2H2), (0, 0), (1, 1)),
    "PH3+": (lambda: molecule("PH3"), (0, 0), (1, 1)),
    "SH2+": (lambda: molecule("SH2"), (0, 0), (1, 1)),
    "C3H6+": (lambda: molecule("C3H6_D3h"), (0, 0), (1, 1)),
    "C6H6+": (lambda: molecule("C6H6"), (0, 0), (1, 1)),
    "SiH4+": (lambda: molecule("SiH4"), (0, 0), (1, 1)),
    "CO2+": (lambda: molecule("CO2"), (0, 0), (1, 1)),
    "BF3+": (lambda: molecule("BF3"), (0, 0), (1, 1)),
    "C3H4+ allene": (lambda: molecule("C3H4_D2d"), (0, 0), (1, 1)),
    "P4+": (lambda: Atoms("P4", positions=1.36 / np.sqrt(3) * np.array(TETRAHEDRON)), (0, 0), (1, 1)),
    "HCN+": (lambda: molecule("HCN"), (0, 0), (1, 1)),
    "H2O2+": (lambda: molecule("H2O2"), (0, 0), (1, 1)),
    "C2H6+": (lambda: molecule("C2H6"), (0, 0), (1, 1)),
    "C4H4+": (lambda: ring("C", 4, 1.02) + ring("H", 4, 2.11), (0, 2), (1, 1)),
}
LARGE = 5
"""Molecules of more atoms are started only along the directions whose group is in no larger one of another start."""
TWOFOLD = ("C6H6+", "C4H4+")
"""Started only along those of the directions whose group has no axis above C2, and so lifts every degeneracy."""


def average(u: np.ndarray, operations: list) -> np.ndarray:
    """Part of the displacements [N, 3] that a group leaves as they are: the mean over its operations."""
    moved = np.zeros((len(operations), *u.shape))
    for out, (rotation, permutation) in zip(moved, operations, strict=True):
        out[permutation] = u @ rotation.T
    return moved.mean(0)


def rigid(positions: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the translations and rotations, [3N, up to 6]."""
    x = positions - positions.mean(0)
    rows = [np.tile(e, (len(x), 1)) for e in np.eye(3)] + [np.cross(e, x) for e in np.eye(3)]
    q, s, _ = np.linalg.svd(np.array(rows).reshape(6, -1).T, full_matrices=False)
    return q[:, s > 1e-6 * s[0]]


def representation(operations: list, count: int) -> np.ndarray:
    """Matrices [order, 3N, 3N] of the operations on displacements."""
    out = np.zeros((len(operations), count, 3, count, 3))
    for matrix, (rotation, permutation) in zip(out, operations, strict=True):
        matrix[permutation, :, np.arange(count)] = rotation
    return out.reshape(len(operations), 3 * count, 3 * count)


def vibrations_by_irrep(matrices: np.ndarray, positions: np.ndarray, rng: np.random.Generator) -> list[list]:
    """Irreducible spaces of vibrations, orthonormal bases [3N, d], in one list for each irrep (over the reals)."""
    motion = rigid(positions)
    internal = np.eye(positions.size) - motion @ motion.T
    random = rng.standard_normal(matrices.shape[1:])
    symmetric = (matrices @ (random + random.T) @ matrices.transpose(0, 2, 1)).mean(0)
    values, vectors = np.linalg.eigh(internal @ symmetric @ internal + 1e3 * motion @ motion.T)
    edges = np.flatnonzero(np.diff(values) > 1e-7) + 1
    irreps: dict[tuple, list] = {}
    for v in np.split(vectors, edges, axis=1):
        if np.abs(motion.T @ v).max() < 1e-6:
            character = np.einsum("gij,ia,ja->g", matrices, v, v).round(3) + 0.0
            irreps.setdefault(tuple(character), []).append(v)
    return list(irreps.values())


def isotropy_starts(atoms: Atoms, symmetry: Symmetry, rng: np.random.Generator) -> list[tuple]:
    """One displacement [N, 3] for each irrep of the symmetry S and each class of its axial isotropy subgroups K.

    K is axial if it fixes one direction of the irrep. The displacement is a random one of the vibrations that belong
    to the irrep, averaged over K; its opposite comes too unless it is an image of it under S. Large K come first.
    Returned with K's label and operations.
    """
    operations = every_operation(symmetry)
    if symmetry.continuous is not None:
        return []
    matrices = representation(operations, len(atoms))
    irreps = vibrations_by_irrep(matrices, atoms.positions, rng)
    row = symmetry.elements.numpy()
    found = []
    for subgroup in symmetry.group.subgroups():
        members = np.isin(row, list(symmetry.group.indices_of(subgroup)))
        if members.all():
            continue
        fixed = matrices[members].mean(0)
        number = 0
        for spaces in irreps:
            if not np.isclose(np.trace(spaces[0].T @ fixed @ spaces[0]), 1):
                continue
            all_spaces = np.concatenate(spaces, axis=1)
            u = fixed @ all_spaces @ rng.standard_normal(all_spaces.shape[1])
            u *= np.sqrt(len(atoms)) / np.linalg.norm(u)
            if ((np.linalg.norm(matrices @ u - u, axis=1) < 1e-6) != members).any():
                continue
            number += 1
            has_opposite = (np.linalg.norm(matrices @ u + u, axis=1) < 1e-6).any()
            kept = [op for op, inside in zip(operations, members, strict=True) if inside]
            for sign in (1,) if has_opposite else (1, -1):
                found.append(
                    (f"{subgroup.label}{'' if number == 1 else f' #{number}'} {sign:+d}", sign * u.reshape(-1, 3), kept)
                )
    return sorted(found, key=lambda f: -len(f[2]))


def is_twofold(rotation: np.ndarray) -> bool:
    """Whether an operation is its own inverse."""
    return np.allclose(rotation @ rotation, np.eye(3), atol=1e-6)


def is_part(small: list, large: list, operations: list) -> bool:
    """Whether a conjugate of one group is a proper subgroup of another."""
    if len(small) >= len(large):
        return False
    inside = np.array([r for r, _ in large])
    conjugates = (np.array([g @ r @ g.T for r, _ in small]) for g, _ in operations)
    return any((np.abs(c[:, None] - inside).max((2, 3)).min(1) < 1e-6).all() for c in conjugates)


class PySCF(Calculator):
    """Energy and forces of one electronic state, the forces averaged over a group."""

    implemented_properties = ("energy", "forces")

    def __init__(self, charge: int, spin: int, operations: list, search: bool):
        super().__init__()
        self.charge, self.spin, self.operations, self.search = charge, spin, operations, search
        self.density = None
        self.converged = True

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Solve from the density of the last call, and differentiate."""
        super().calculate(atoms, properties, system_changes)
        mf = self._solve(mean_field(self.atoms, self.charge, self.spin))
        self.converged = bool(mf.converged)
        self.density = mf.make_rdm1()
        gradient = mf.nuc_grad_method()
        gradient.grid_response = True
        forces = -gradient.kernel() * Hartree / Bohr
        forces = average(forces - forces.mean(0), self.operations)
        self.results = {"energy": mf.e_tot * Hartree, "forces": forces}

    def _solve(self, mf):
        """From the last density, or at first from the atoms; with search, the lower of two, made stable."""
        if self.density is not None:
            mf.kernel(self.density)
            return mf if mf.converged else self._second_order(mf)
        trials = []
        for guess in ("minao", "huckel") if self.search else ("minao",):
            trial = mf.copy()
            trial.kernel(trial.get_init_guess(key=guess))
            trials.append(trial if trial.converged else self._second_order(trial))
        best = min(trials, key=lambda t: t.e_tot)
        for _ in range(3 if self.search else 0):
            orbitals = best.stability()[0]
            density = best.make_rdm1(orbitals, best.mo_occ)
            lower = mf.copy()
            lower.kernel(density)
            lower = lower if lower.converged else self._second_order(lower)
            if lower.e_tot > best.e_tot - 1e-6:
                break
            best = lower
        return best

    def _second_order(self, mf):
        newton = mf.newton()
        newton.max_cycle = 60
        newton.kernel(mf.mo_coeff, mf.mo_occ)
        out = mf.copy()
        out.mo_coeff, out.mo_occ, out.mo_energy = newton.mo_coeff, newton.mo_occ, newton.mo_energy
        out.e_tot, out.converged = newton.e_tot, newton.converged
        return out


def mean_field(atoms: Atoms, charge: int, spin: int):
    """Kohn-Sham calculation of a molecule."""
    mol = pyscf_molecule(atoms, charge, spin, BASIS)
    mf = (dft.UKS(mol) if spin else dft.RKS(mol)).density_fit()
    mf.xc, mf.grids.level, mf.max_cycle, mf.conv_tol = XC, GRID, 60, 1e-8
    return mf


def pyscf_molecule(atoms: Atoms, charge: int, spin: int, basis: str):
    """The molecule in PySCF's terms."""
    places = list(zip(atoms.get_chemical_symbols(), atoms.positions, strict=True))
    return gto.M(atom=places, charge=charge, spin=spin, basis=basis, verbose=0)


def model_hessian(atoms: Atoms, charge: int) -> np.ndarray:
    """Positive model of the force constants [3N, 3N], eV/Å^2: from softened RHF/STO-3G, to start BFGS."""
    mf = scf.RHF(pyscf_molecule(atoms, charge, 0, "sto-3g")).run()
    n = 3 * len(atoms)
    hessian = mf.Hessian().kernel().transpose(0, 2, 1, 3).reshape(n, n) * Hartree / Bohr**2
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return vectors * np.maximum(0.7 * np.abs(values), 3.0) @ vectors.T


def relax(atoms: Atoms, charge: int, spin: int, operations: list, hessian: np.ndarray, search: bool) -> dict:
    """Relax within a group; what was found, ready for JSON. If asked for, look for the lowest electronic state."""
    atoms = atoms.copy()
    atoms.calc = PySCF(charge, spin, operations, search)
    started = time.time()
    first = atoms.get_potential_energy()
    optimizer = BFGS(atoms, logfile=None, maxstep=0.15)
    optimizer.H0 = hessian.copy()  # BFGS updates it in place
    done = optimizer.run(fmax=FMAX, steps=MAX_STEPS)
    force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    return {
        "order": len(operations),
        "energy": atoms.get_potential_energy(),
        "first_energy": first,
        "fmax": force,
        "converged": bool(done) and atoms.calc.converged,
        "steps": optimizer.nsteps,
        "positions": atoms.positions.tolist(),
        "seconds": round(time.time() - started, 1),
    }


def every_operation(symmetry: Symmetry) -> list:
    """The (rotation, permutation) pairs of a symmetry."""
    return list(zip(symmetry.rotations.numpy(), symmetry.permutations.numpy(), strict=True))


def aligned(positions: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The structure turned and moved to be nearest to the reference in the least-squares sense."""
    centered = positions - positions.mean(0)
    rotation, _ = Rotation.align_vectors(reference - reference.mean(0), centered)
    return rotation.apply(centered) + reference.mean(0)


def kept_operations(positions: np.ndarray, parent: np.ndarray, operations: list, symprec: float) -> list:
    """The operations of the parent that carry the displaced atoms to within symprec of each other."""
    u = positions - parent
    return [op for op in operations if np.linalg.norm(average(u, [op]) - u, axis=1).max() < symprec]


class Run:
    """The finished relaxations, in a file with one line each."""

    def __init__(self, path: str):
        self.path = Path(path)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.records = {(r["system"], r["stage"]): r for r in map(json.loads, lines)}

    def of(self, system: str) -> list[dict]:
        """The relaxations of one system."""
        return [r for (name, _), r in self.records.items() if name == system]

    def get(self, system: str, stage: str, compute: Callable[[], dict]) -> dict:
        """A record from the file, or computed now and appended."""
        key = (system, stage)
        if key not in self.records:
            record = {"system": system, "stage": stage, **compute()}
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")
            self.records[key] = record
            note = "" if record["converged"] else "NOT CONVERGED"
            print(
                f"{time.strftime('%H:%M:%S')} {system:20s} {stage:28s} {record['energy']:14.4f} eV "
                f"{record['steps']:3d} steps {record['seconds']:6.0f} s {note}",
                flush=True,
            )
        return self.records[key]


def compute(run: Run, system: str) -> None:
    """All relaxations of one system."""
    build, (charge, spin), (ion_charge, ion_spin) = SYSTEMS[system]
    rough = build()
    symmetry = detect_symmetry(rough, 0.05)
    rough = symmetrize(rough, symmetry)
    rough.positions -= rough.positions.mean(0)
    group = every_operation(symmetry)
    hessian = None

    def relaxed(start: np.ndarray, state: tuple, operations: list, search: bool = False):
        nonlocal hessian
        if hessian is None:
            matrices = representation(group, len(rough))  # the RHF density may be less symmetric than the nuclei
            hessian = (matrices @ model_hessian(rough, charge) @ matrices.transpose(0, 2, 1)).mean(0)
        return relax(Atoms(rough.numbers, positions=start), *state, operations, hessian, search)

    parent = run.get(system, "parent", lambda: relaxed(rough.positions, (charge, spin), group))
    x = np.array(parent["positions"])
    ion = (ion_charge, ion_spin)
    run.get(system, "symmetric", lambda: relaxed(x, ion, group, search=True))
    distances = [np.linalg.norm(a - b) for a, b in combinations(x, 2)]
    rng = np.random.default_rng(0)
    starts = isotropy_starts(Atoms(rough.numbers, positions=x), symmetry, rng)
    if len(x) > LARGE:
        starts = [a for a in starts if not any(is_part(a[2], b[2], group) for b in starts)]
    if system in TWOFOLD:
        starts = [a for a in starts if all(is_twofold(rotation) for rotation, _ in a[2])]
    for label, u, kept in starts:
        begin = x + KICK * min(distances) * u
        run.get(system, label, lambda b=begin, k=kept: relaxed(b, ion, k))
    for number in range(3):
        best = lowest(run.of(system))
        noise = rng.standard_normal(x.shape)
        begin = np.array(best["positions"]) + 0.02 * noise
        alone = [(np.eye(3), np.arange(len(x)))]
        free = run.get(system, f"free {number}", lambda b=begin, k=alone: relaxed(b, ion, k, search=True))
        if free["energy"] > best["energy"] - SAME_ENERGY:
            break
        position = aligned(np.array(free["positions"]), x)
        kept = kept_operations(position, x, group, 0.1)
        position = x + average(position - x, kept)
        run.get(system, f"again {number}", lambda b=position, k=kept: relaxed(b, ion, k))


def lowest(records: list[dict]) -> dict:
    """The lowest relaxed structure; of those as low, the first of the largest group."""
    ions = [r for r in records if r["stage"] != "parent"]
    bottom = min(r["energy"] for r in ions)
    return max((r for r in ions if r["energy"] < bottom + SAME_ENERGY), key=lambda r: r["order"])


def frames(run: Run, system: str) -> list[Atoms]:
    """The parent, then the different relaxed structures, the lowest first, all in the parent's place and order."""
    build, parent_state, state = SYSTEMS[system]
    records = run.of(system)
    parent = next(r for r in records if r["stage"] == "parent")
    ions = [r for r in records if r["stage"] != "parent"]
    numbers = build().numbers
    symmetry = detect_symmetry(Atoms(numbers, positions=parent["positions"]), SYMPREC)
    positions = symmetrize(Atoms(numbers, positions=parent["positions"]), symmetry).positions
    out = [frame(numbers, positions, parent, parent_state, system, "parent")]
    group, x = every_operation(symmetry), out[0].positions
    out[0].info |= {"group": symmetry.group.schoenflies, "kept": symmetry.group.schoenflies, "count": 1}
    best = lowest(records)
    reference = next(r for r in ions if r["stage"] == "symmetric")["energy"]
    for record in [best, *sorted(ions, key=lambda r: (round(r["energy"] / SAME_ENERGY), -r["order"]))]:
        relaxed = Atoms(numbers, positions=record["positions"])
        whole = detect_symmetry(relaxed, SYMPREC)
        u = aligned(symmetrize(relaxed, whole).positions, x) - x
        kept = kept_operations(x + u, x, group, SYMPREC)
        u = average(u, kept)
        same = (
            other
            for other in out[1:]
            if abs(other.info["total_energy"] - record["energy"]) < 3 * SAME_ENERGY
            and min(np.abs(average(u, [op]) + x - other.positions).max() for op in group) < 0.05
        )
        known = next(same, None)
        if known is not None:
            if record["stage"] not in known.info["starts"].split(", "):
                known.info["starts"] += f", {record['stage']}"
            continue
        role = "lowest" if len(out) == 1 else "other"
        atoms = frame(numbers, x + u, record, state, system, role)
        is_whole = len(kept) == len(group)
        atoms.info |= {
            "group": whole.group.schoenflies,
            "kept": symmetry.group.schoenflies if is_whole else kept_group(kept).schoenflies,
            "count": len(group) // len(kept),
            "relative_energy": record["energy"] - reference,
            "starts": record["stage"],
        }
        out.append(atoms)
    return out


def kept_group(operations: list) -> PointGroup:
    """Point group of (rotation, permutation) pairs."""
    return PointGroup.from_matrices(np.array([r for r, _ in operations]))


def frame(numbers, positions: np.ndarray, record: dict, state: tuple, system: str, role: str) -> Atoms:
    """One structure with what was computed of it."""
    atoms = Atoms(numbers, positions=positions)
    atoms.info = {
        "system": system,
        "role": role,
        "charge": state[0],
        "unpaired": state[1],
        "total_energy": record["energy"],
        "fmax": record["fmax"],
        "converged": record["converged"],
        "symprec": SYMPREC,
        "method": f"{'U' if state[1] else 'R'}{XC}/{BASIS}, density fitting, grid level {GRID}",
        "program": f"PySCF {pyscf.__version__}",
    }
    return atoms


def complete(run: Run, system: str) -> bool:
    """Whether the lowest structure of a system was released without symmetry and did not fall."""
    stages = {r["stage"] for r in run.of(system)}
    return any(f"free {i}" in stages and f"again {i}" not in stages for i in range(3)) or "again 2" in stages


if __name__ == "__main__":
    run = Run(sys.argv[1])
    if len(sys.argv) > 2:
        write(sys.argv[2], [f for system in SYSTEMS if complete(run, system) for f in frames(run, system)], "extxyz")
        sys.exit()
    for system in SYSTEMS:
        try:
            compute(run, system)
        except Exception as error:  # one molecule that fails must not stop the others
            print(f"{system} FAILED: {error!r}", flush=True)
