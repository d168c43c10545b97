"""How fast PyG's QM9 and MD17 are processed with the transforms: python benchmarks/qm9_transform.py [--count 1000].

Copies of small molecules in random orientations, and of benzene, are written in the raw formats of the two data sets
(QM9 in the one that PyG reads without RDKit) and processed with nothing, with each transform, and again: sets of
objects are cached by symmetry group, so that the second time shows what a large data set costs. One thread.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.collections import g2
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation
from torch_geometric.data import InMemoryDataset
from torch_geometric.datasets import MD17, QM9
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetry, AddSymmetryBreaking


def small_molecules() -> list[Atoms]:
    """The molecules of ase's g2 that could be in QM9: of H, C, N, O, F, more than one atom."""
    found = [molecule(name) for name in g2.names]
    return [atoms for atoms in found if len(atoms) > 1 and set(atoms.symbols) <= set("HCNOF")]


def turned(atoms: Atoms, rng: np.random.Generator) -> np.ndarray:
    """Positions in a random orientation."""
    return atoms.positions @ Rotation.random(random_state=rng).as_matrix().T


def write_qm9(root: Path, molecules: list[Atoms], count: int) -> None:
    """The file qm9_v3.pt of so many graphs."""
    rng, dicts = np.random.default_rng(0), []
    for i in range(count):
        atoms = molecules[i % len(molecules)]
        pos, z = torch.tensor(turned(atoms, rng), dtype=torch.float), torch.tensor(atoms.numbers)
        dicts.append({"pos": pos, "z": z, "y": torch.zeros(1, 19), "idx": torch.tensor([i]), "name": f"gdb_{i + 1}"})
    (root / "raw").mkdir(parents=True)
    torch.save(dicts, root / "raw" / "qm9_v3.pt")


def write_md17(root: Path, atoms: Atoms, count: int) -> None:
    """The file of so many frames of benzene."""
    rng = np.random.default_rng(0)
    r = np.array([turned(atoms, rng) for _ in range(count)])
    (root / "benzene" / "raw").mkdir(parents=True)
    path = root / "benzene" / "raw" / MD17.file_names["benzene"]
    np.savez(path, z=atoms.numbers, R=r, E=np.zeros((count, 1)), F=np.zeros_like(r))


def seconds(make, transform: BaseTransform | None) -> float:
    """Time to process a data set."""
    start = time.perf_counter()
    dataset: InMemoryDataset = make(transform)
    assert len(dataset)
    return time.perf_counter() - start


def main(count: int) -> None:
    """Print structures per second, and the milliseconds that a transform adds to one."""
    warnings.simplefilter("ignore")  # PyG's, on data processed with another transform
    sys.modules["rdkit"] = None  # type: ignore[assignment]  # have PyG read qm9_v3.pt
    molecules, benzene = small_molecules(), molecule("C6H6")
    table = Table(title=f"{count} structures", title_justify="left")
    for name in ("data set", "pre_transform", "first time", "structures/s", "added ms each"):
        table.add_column(name, justify="left" if name in ("data set", "pre_transform") else "right")
    with tempfile.TemporaryDirectory() as folder:
        qm9, md17 = Path(folder) / "qm9", Path(folder) / "md17"
        write_qm9(qm9, molecules, count)
        write_md17(md17, benzene, count)
        for name, make, kinds in (
            (f"QM9, {len(molecules)} molecules", lambda t: QM9(qm9, pre_transform=t, force_reload=True), molecules),
            ("MD17, benzene", lambda t: MD17(md17, "benzene", pre_transform=t, force_reload=True), [benzene]),
        ):
            irreps = AddSymmetryBreaking().common_irreps([from_ase(atoms) for atoms in kinds])
            bare = min(seconds(make, None) for _ in range(2))
            for transform in (
                None,
                AddSymmetry(),
                AddSymmetryBreaking(irreps=irreps, seed=0),
                AddSymmetryBreaking("noise", seed=0),
            ):
                first, again = seconds(make, transform), min(seconds(make, transform) for _ in range(2))
                kind = type(transform).__name__ if transform else "none"
                if isinstance(transform, AddSymmetryBreaking):
                    kind += f", {transform.breaking}"
                rates = f"{count / first:.0f}", f"{count / again:.0f}", f"{(again - bare) / count * 1e3:.2f}"
                table.add_row(name, kind, *rates)
    Console(width=100).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    main(parser.parse_args().count)
