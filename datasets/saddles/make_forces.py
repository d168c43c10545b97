"""Make forces.npz, what :class:`pyg_symbreak.datasets.SaddleForces` reads: forces on displaced molecules.

python make_forces.py compute FOLDER    a line in FOLDER/forces.jsonl for each molecule; goes on where it was
python make_forces.py write FOLDER      forces.npz beside this file

Needs tblite 0.8.0. Molecules are those of Saddles, and small ones that the same frames and substituents make.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from frames import molecules
from make_saddles import METHOD
from rich.progress import track
from tblite.ase import TBLite

from pyg_symbreak.datasets import Saddles
from pyg_symbreak.training import Config
from pyg_symbreak.training.forces import model_force_constants
from pyg_symbreak.training.minima import molecule_of

TEMPERATURE = 0.03
"""eV, of the noise along model force constants."""
PACE, LONGEST = 0.5, 0.3
"""Share of a step of Newton's method with model force constants; Å, the longest of an atom."""
LARGEST = 30.0
"""eV/Å: structures with larger forces are left out, and so are those above 3 eV and 0.1 eV for each atom."""
OTHERS, SMALL, SECONDS = 700, 14, 1.0
"""Molecules that are not in Saddles; their atoms, at most; CPU time after which no chain is begun for one."""
RELAXED, SHOWN = 12, 4
"""Steps in which a molecule that is not in Saddles is relaxed; every so many-th structure of them is kept."""
UNIT_LENGTH, UNIT_FORCE = 2e-4, 1e-3
"""Å and eV/Å: of the whole numbers in the file."""


class Chain:
    """Structures of a molecule, with energies and forces."""

    def __init__(self, atoms: Atoms, charge: float) -> None:
        self.atoms, self.still = atoms.copy(), atoms.positions.copy()
        self.atoms.calc = TBLite(charge=charge, **METHOD)
        self.z = torch.from_numpy(atoms.numbers).long()
        self.rows: list[tuple[np.ndarray, np.ndarray, float]] = []

    def call(self, u: np.ndarray, keep: bool = True) -> np.ndarray:
        """Forces at a displacement."""
        self.atoms.positions = self.still + u
        forces, energy = self.atoms.get_forces(), self.atoms.get_potential_energy()
        if keep:
            self.rows.append((u.copy(), forces, energy))
        return forces

    def hard(self, u: np.ndarray) -> np.ndarray:
        """Model force constants."""
        return model_force_constants(self.z, torch.from_numpy(self.still + u)).numpy()

    def step(self, u: np.ndarray, forces: np.ndarray, share: float, longest: float) -> np.ndarray:
        """A step downhill."""
        out = share * np.linalg.solve(self.hard(u), forces.ravel()).reshape(u.shape)
        return out * min(1, longest / np.linalg.norm(out, axis=1).max())

    def down(self, u: np.ndarray, steps: int, lowest: float, draw: np.random.Generator) -> None:
        """Downhill with noise as at a temperature (Langevin dynamics without inertia)."""
        for _ in range(steps):
            values, vectors = np.linalg.eigh(self.hard(u))
            noise = vectors @ (draw.standard_normal(u.size) / values**0.5)
            u = u + (2 * PACE * TEMPERATURE) ** 0.5 * noise.reshape(u.shape)
            u = u - u.mean(0)
            try:
                forces = self.call(u)
            except Exception:  # atoms that came too close
                return
            if self.rows[-1][2] - lowest > 3 + 0.1 * len(u) or np.abs(forces).max() > LARGEST:
                self.rows.pop()
                return
            u = u + self.step(u, forces, PACE, LONGEST)


def of_saddle(data, config: Config, draw: np.random.Generator) -> Chain:
    """Of a molecule of Saddles: downhill from distortions and at the minima."""
    molecule = molecule_of(data, config, float(data.charge))
    chain = Chain(molecule.space.atoms, float(data.charge))
    still = np.zeros((data.num_nodes, 3))
    chain.call(still)
    lowest = chain.rows[0][2]
    objects = molecule.objects.double().numpy()
    starts = [(objects[c] * draw.uniform(0.1, 0.8), 9) for c in draw.permutation(len(objects))[:5]]
    for u in Saddles.minima_of(data).double().numpy()[:3]:
        if np.abs(u).max() > 1e-3:
            starts += [(u, 5), (u * draw.uniform(0.2, 0.8), 5)]
    for u, steps in [*starts, (still, 4)]:
        chain.down(u + 0.02 * draw.standard_normal(u.shape), steps, lowest, draw)
    return chain


def of_other(atoms: Atoms, charge: float, draw: np.random.Generator) -> Chain | None:
    """Of another molecule: relaxed within its symmetry for a few steps, then downhill from soft directions."""
    began, count = time.process_time(), len(atoms)
    atoms.positions -= atoms.positions.mean(0)
    chain, u = Chain(atoms, charge), np.zeros((count, 3))
    try:
        for n in range(RELAXED):
            forces = chain.call(u, n % SHOWN == SHOWN - 1)
            if np.abs(forces).max() > 2 * LARGEST or time.process_time() - began > 0.6 * SECONDS:
                return None
            u = u + chain.step(u, forces, 1, 0.2)
        chain.call(u)
    except Exception:  # no convergence
        return None
    relaxed, lowest = u, chain.rows[-1][2]
    for n in range(3):
        values, vectors = np.linalg.eigh(chain.hard(relaxed))
        some = 6 + draw.integers(1, 7) if n % 2 else 3 * count
        x = (vectors[:, :some] @ (draw.standard_normal(3 * count)[:some] / values[:some])).reshape(count, 3)
        x -= x.mean(0)
        chain.down(relaxed + x / np.linalg.norm(x, axis=1).max() * draw.uniform(0.1, 0.8), 6, lowest, draw)
        if time.process_time() - began > SECONDS:
            break
    return chain if len(chain.rows) > 7 else None


def drawn(name: str) -> np.random.Generator:
    """Random numbers of a molecule."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def todo(done: set[str]) -> Iterator[tuple[dict, Callable[[], Chain | None]]]:
    """Head of the record of each molecule, and what computes it."""
    config = Config.of({"dataset": "Saddles"})
    names = {d.name for d in Saddles()}
    for d in Saddles():
        if d.name not in done and not bool(d.rearranged):
            head = {"name": d.name, "frame": d.frame, "formula": d.formula, "charge": int(d.charge)}
            yield head, lambda d=d: of_saddle(d, config, drawn(d.name))
    for frame, name, charge, atoms in molecules():
        full = f"{frame}: {name}"
        if full not in names | done and len(atoms) <= SMALL:
            formula = atoms.get_chemical_formula() + (f" {charge:+d}" if charge else "")
            head = {"name": full, "frame": frame, "formula": formula, "charge": charge}
            yield head, lambda a=atoms, c=charge, f=full: of_other(a, float(c), drawn(f))


def compute(folder: Path) -> None:
    """Append to forces.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "forces.jsonl"
    done = {json.loads(line)["name"] for line in path.open()} if path.exists() else set()
    enough = OTHERS + sum(not bool(d.rearranged) for d in Saddles())
    with path.open("a") as file:
        for head, make in track(list(todo(done)), "molecules"):
            if len(done) == enough:
                break
            try:
                chain = make()
            except Exception:  # the symmetric structure does not converge
                chain = None
            if chain is None:
                continue
            u, forces, energies = (np.array(part) for part in zip(*chain.rows, strict=True))
            record = head | {"numbers": chain.z.tolist(), "pos": np.round(chain.still, 5).tolist()}
            record |= {"u": np.round(u, 4).tolist(), "F": np.round(forces, 3).tolist()}
            file.write(json.dumps(record | {"E": np.round(energies - energies[0], 4).tolist()}) + "\n")
            file.flush()
            done.add(head["name"])


def write(folder: Path) -> None:
    """All records as arrays."""
    records = [json.loads(line) for line in (folder / "forces.jsonl").open()]
    for r in records:
        fine = np.abs(r["F"]).max((1, 2)) < LARGEST
        r["u"], r["F"] = np.array(r["u"])[fine], np.array(r["F"])[fine]
    np.savez_compressed(
        Path(__file__).with_name("forces.npz"),
        name=[r["name"] for r in records],
        frame=[r["frame"] for r in records],
        formula=[r["formula"] for r in records],
        charge=np.array([r["charge"] for r in records], np.int8),
        atoms=np.array([len(r["numbers"]) for r in records], np.int16),
        structures=np.array([len(r["u"]) for r in records], np.int16),
        z=np.concatenate([r["numbers"] for r in records]).astype(np.int8),
        pos=np.concatenate([r["pos"] for r in records]).astype(np.float32),
        displacement=np.concatenate([np.rint(r["u"] / UNIT_LENGTH).reshape(-1, 3) for r in records]).astype(np.int16),
        force=np.concatenate([np.rint(r["F"] / UNIT_FORCE).reshape(-1, 3) for r in records]).astype(np.int16),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("compute", "write"))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    (compute if options.what == "compute" else write)(options.folder)
