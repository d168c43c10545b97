"""CPU time and memory against size: supercells, rings, sets of axial groups, graphs, each in a process of its own.

python benchmarks/scaling.py [--output benchmarks/results/scaling.md]
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import multiprocessing
import pickle
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch_geometric.data import Data

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetryBreaking


def supercell(count: int) -> Atoms:
    """Silicon of so many atoms, 8 n³."""
    return bulk("Si", cubic=True).repeat(round((count / 8) ** (1 / 3)))


def ring(count: int) -> Atoms:
    """Equal atoms at 1.5 Å from each other on a circle."""
    turns = 2 * np.pi * np.arange(count) / count
    places = 0.75 / np.sin(np.pi / count) * np.stack([np.cos(turns), np.sin(turns), 0 * turns], 1)
    return Atoms(numbers=[6] * count, positions=places)


def graph(g: nx.Graph) -> Data:
    """A graph without positions."""
    edges = np.array(list(g.edges), dtype=np.int64).reshape(-1, 2).T
    return Data(edge_index=torch.from_numpy(np.concatenate([edges, edges[::-1]], 1)), num_nodes=g.number_of_nodes())


def star(count: int) -> Data:
    """A node joined to all others."""
    return graph(nx.star_graph(count - 1))


def binary_tree(count: int) -> Data:
    """A binary tree, filled level by level."""
    return graph(nx.from_edgelist((k, (k - 1) // 2) for k in range(1, count)))


def random_graph(count: int) -> Data:
    """Edges between any two nodes with probability 4/n."""
    return graph(nx.fast_gnp_random_graph(count, 4 / count, seed=1))


def random_tree(count: int) -> Data:
    """Each node joined to one before it."""
    draw = np.random.default_rng(0)
    return graph(nx.from_edgelist((k, int(draw.integers(k))) for k in range(1, count)))


def axial_sets(count: int) -> None:
    """Full sets of three groups of an axis of some order."""
    for name in (f"C{count}v", f"D{count}", f"D{count}h"):
        breaking_set(PointGroup(name))


def broken(strategy: str) -> Callable[[Data], Any]:
    """The transform with a strategy."""
    return AddSymmetryBreaking(strategy)


def crystal_group(atoms: Atoms) -> int:
    """Detection; the number of bytes that the result takes when stored."""
    return len(pickle.dumps(detect_symmetry(atoms)))


def point_group(atoms: Atoms) -> None:
    """Detection and the name of the group."""
    assert detect_symmetry(atoms).group.schoenflies


Case = tuple[str, Callable[[int], Any], Callable[[Any], Any], tuple[int, ...]]
CASES: list[Case] = [
    ("silicon, detection", supercell, crystal_group, (64, 216, 512, 1000)),
    ("ring, detection", ring, point_group, (500, 1000, 2000, 5000)),
    ("axial groups, full sets", int, axial_sets, (10, 100, 1000)),
    *(
        (f"{name}, {what}", make, function, sizes)
        for name, make, sizes in (
            ("star", star, (100, 1000, 10_000)),
            ("binary tree", binary_tree, (300, 3000, 30_000)),
            ("G(n, 4/n)", random_graph, (1000, 10_000, 100_000)),
            ("random tree", random_tree, (1000, 10_000, 100_000)),
        )
        for what, function in (
            ("detection", detect_symmetry),
            ("input", broken("input")),
            ("sympe", broken("sympe")),
        )
    ),
]


def measure(make: Callable[[int], Any], function: Callable[[Any], Any], size: int) -> tuple[float, float, int]:
    """CPU time in s, MB of memory above what was in use before, and bytes stored, in a process of its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_measured, args=(sender, make, function, size))
    process.start()
    sender.close()
    found = receiver.recv()
    process.join()
    return found


def _measured(sender: Any, make: Callable[[int], Any], function: Callable[[Any], Any], size: int) -> None:
    given = make(size)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    stored = function(given)
    spent = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sender.send((spent, (peak - before) / 1024, stored if isinstance(stored, int) else 0))


def main() -> None:
    """Print the table and, if asked to, write it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only", default="", help="cases whose names hold this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    detect_symmetry(molecule("CH4")), crystal_group(bulk("Si")), detect_symmetry(star(4))
    for strategy in ("input", "sympe"):
        broken(strategy)(from_ase(molecule("CH4")))
    lines = [
        "| case | size | CPU s | memory MB | stored kB | exponent of time |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, make, function, sizes in CASES:
        if options.only not in name:
            continue
        before: tuple[int, float] | None = None
        for size in sizes:
            spent, memory, stored = measure(make, function, size)
            exponent = "" if before is None else f"{math.log(spent / before[1]) / math.log(size / before[0]):.1f}"
            before = size, spent
            kept = f"{stored / 1000:.0f}" if stored else ""
            lines.append(f"| {name} | {size} | {spent:.4f} | {memory:.0f} | {kept} | {exponent} |")
            print(lines[-1], flush=True)
    if options.output:
        head = [
            "# Time and memory against size",
            "",
            "`python benchmarks/scaling.py`, one thread, on a machine shared with other work. Memory: above what the "
            "process had before. Exponent: from the size before.",
            "",
        ]
        options.output.write_text("\n".join([*head, *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
