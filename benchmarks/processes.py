"""Many structures in one and in two processes: python benchmarks/processes.py [--broken 100000] [--output FILE].

`detect_symmetries` over a list of 20,000 molecules, or 720 crystals, in one process and in two, in turns, the best of
some rounds. Time on two free cores is that of the parent, or half of that of all, whichever is more: what CPU time
says, as wall time is that of a machine shared with other work. ``--broken``: `preprocess` with AddSymmetryBreaking too.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2
from torch_geometric.data import Data

from pyg_symbreak.detect import detect_symmetries
from pyg_symbreak.preprocess import preprocess
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetryBreaking

ROUNDS = 3


def used() -> np.ndarray:
    """CPU time of this process and of those that it has ended, and wall time, s."""
    own, ended = (sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return np.array([own, ended, time.perf_counter()])


def spent(run: Callable[[], object]) -> np.ndarray:
    """The same of a call."""
    start = used()
    run()
    return used() - start


def on_two_cores(times: np.ndarray) -> float:
    """The least time that the work takes on two cores, s."""
    return float(max(times[0], times[:2].sum() / 2))


def molecules(count: int) -> list[Atoms]:
    """The molecules of g2 over and over."""
    named = [molecule(name) for name in g2.names]
    return [named[k % len(named)].copy() for k in range(count)]


def data_sets() -> dict[str, list[Data] | list[Atoms]]:
    """Structures by kind."""
    draw = np.random.default_rng(0)
    some = [bulk(name) * size for name in ("Si", "Cu", "Mg", "Fe") for size in ((1, 1, 1), (2, 1, 1), (2, 2, 2))]
    asymmetric = [
        Data(z=torch.from_numpy(draw.integers(1, 9, 18)), pos=torch.from_numpy(4 * draw.random((18, 3)).astype("f4")))
        for _ in range(20_000)
    ]
    return {
        "20,000 molecules of g2, Atoms": molecules(20_000),
        "20,000 molecules of g2, Data": [from_ase(atoms) for atoms in molecules(20_000)],
        "20,000 × 18 atoms without symmetry, Data": asymmetric,
        "720 crystals, 1 to 16 atoms, Data": [from_ase(atoms) for atoms in some * 60],
    }


def detected(structures: list, processes: int) -> int:
    """Go through the symmetries."""
    return sum(1 for _ in detect_symmetries(structures, 1e-2, processes=processes))


def main() -> None:
    """Print the table and, if asked to, write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--broken", type=int, default=0, help="number of molecules to detect and break")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| structures | one, CPU s | parent of two, CPU s | the two, CPU s | times as fast on two cores |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for name, structures in data_sets().items():
        best = {1: np.full(3, np.inf), 2: np.full(3, np.inf)}
        for _ in range(ROUNDS):
            for count, known in best.items():
                best[count] = min(known, spent(lambda n=count, x=structures: detected(x, n)), key=on_two_cores)
        one, (parent, others, _) = best[1][0], best[2]
        lines.append(f"| {name} | {one:.2f} | {parent:.2f} | {others:.2f} | {one / on_two_cores(best[2]):.2f} |")
        print(lines[-1], flush=True)
    if options.broken:
        transform = AddSymmetryBreaking("group", symprec=1e-2, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            structures = molecules(options.broken)
            times = spent(lambda: preprocess(structures, folder, transform, processes=2))
        lines += [
            "",
            f"`preprocess` of {options.broken:,} molecules of g2 with AddSymmetryBreaking('group') in two processes: "
            f"{times[0]:.0f} s of CPU in the parent, {times[1]:.0f} s in the two, so {on_two_cores(times):.0f} s on "
            f"two free cores; {times[2]:.0f} s here, at a load of {os.getloadavg()[0]:.1f}.",
        ]
        print(lines[-1])
    if options.output:
        head = f"# Many structures in processes\n\n`python benchmarks/processes.py --broken {options.broken}`"
        head += f", {date.today()}, torch {torch.__version__}. CPU time, one thread each, {os.cpu_count()} cores."
        options.output.write_text("\n".join([head, "", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
