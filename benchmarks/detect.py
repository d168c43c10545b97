"""Detection beside its peers, in one run: python benchmarks/detect.py [--rounds 5].

All contestants do the same work on the same input where they can: operations, permutations and orbits of
molecules (libmsym: operations only);
operations and orbits of crystals; generators, order and orbits of graphs. They take turns; the time of each is its
best. Peers that are not installed are left out: pymatgen, libmsym, pynauty (``pip install -e ".[benchmark]"``), spglib,
moyopy, networkx (the last on small graphs only: it lists all automorphisms). One thread. Writes ``results/detect.md``.
"""

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import networkx as nx
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2
from scipy.spatial.distance import cdist
from torch_geometric.data import Data

from pyg_symbreak.detect import detect_symmetries, detect_symmetry

Contestants = dict[str, Callable[[], object]]
OURS = "pyg_symbreak"


def race(contestants: Contestants, rounds: int) -> dict[str, float]:
    """Best time of each, in seconds, taking turns of 20 ms or one run; the first round does not count."""
    best = dict.fromkeys(contestants, float("inf"))
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            start = now = time.perf_counter()
            while now < start + 0.02:
                begin = now
                run()
                now = time.perf_counter()
                if turn:
                    best[name] = min(best[name], now - begin)
    return best


def ours(structures: list[Atoms], symprec: float) -> list[str]:
    """Operations, permutations and orbits; the names of the groups are left for who asks."""
    return [s.orbits for s in detect_symmetries(structures, symprec)]


def ours_named(structures: list[Atoms], symprec: float) -> list[str]:
    return [s.group.schoenflies for s in detect_symmetries(structures, symprec)]


def by_pymatgen(structures: list[Atoms], tolerance: float) -> list[str]:
    from pymatgen.core import Molecule
    from pymatgen.symmetry.analyzer import PointGroupAnalyzer

    names = []
    for atoms in structures:
        found = PointGroupAnalyzer(Molecule(atoms.numbers, atoms.positions), tolerance=tolerance)
        if len(atoms) > 1:  # single atoms have none
            operations = found.get_symmetry_operations()
            places = found.centered_mol.cart_coords
            [cdist(operation.operate_multi(places), places).argmin(1) for operation in operations]  # permutations
            found.get_equivalent_atoms()  # orbits, and an operation to each atom
        names.append(found.sch_symbol)
    return names


def by_libmsym(structures: list[Atoms], tolerance: float) -> list[str]:
    import libmsym

    names = []
    for atoms in structures:
        symbols, places = atoms.get_chemical_symbols(), atoms.positions.tolist()
        elements = [libmsym.Element(name=s, coordinates=p) for s, p in zip(symbols, places, strict=True)]
        with libmsym.Context(elements=elements) as context:
            try:
                names.append(context.find_symmetry())
                list(context.symmetry_operations)
                list(context.elements)
            except libmsym.Error:
                names.append("failed")
    return names


def molecules() -> dict[str, Contestants]:
    small = [g2[name] for name in g2.names]
    large = [molecule("C60")]
    out = {}
    for title, structures, tolerance in (("g2, 162 molecules", small, 1e-2), ("C60", large, 2e-2)):
        race_of: Contestants = {
            OURS: lambda s=structures, t=tolerance: ours(s, t),
            f"{OURS}, groups named": lambda s=structures, t=tolerance: ours_named(s, t),
        }
        if find_spec("pymatgen"):
            race_of["pymatgen"] = lambda s=structures, t=tolerance: by_pymatgen(s, t)
        if find_spec("libmsym"):
            race_of["libmsym"] = lambda s=structures, t=tolerance: by_libmsym(s, t)
        out[title] = race_of
    return out


def crystals() -> dict[str, Contestants]:
    out = {}
    silicon = bulk("Si", cubic=True)
    for title, atoms in (("Si2", bulk("Si")), ("Si64", silicon * (2, 2, 2)), ("Si216", silicon * (3, 3, 3))):
        cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
        race_of: Contestants = {OURS: lambda a=atoms: detect_symmetry(a, 1e-3).orbits}
        if find_spec("spglib"):
            import spglib

            race_of["spglib (no permutations)"] = lambda c=cell: spglib.get_symmetry_dataset(c, 1e-3).equivalent_atoms
        import moyopy

        moyo_cell = moyopy.Cell(*(part.tolist() for part in cell))
        race_of["moyopy (no permutations)"] = lambda c=moyo_cell: (
            lambda d: (d.operations.rotations, d.operations.translations, d.orbits)
        )(moyopy.MoyoDataset(c, symprec=1e-3))
        out[title] = race_of
    return out


def by_pynauty(data: Data) -> object:
    import pynauty

    neighbors: dict[int, list[int]] = {}
    for u, v in data.edge_index.T.tolist():
        neighbors.setdefault(u, []).append(v)
    return pynauty.autgrp(pynauty.Graph(data.num_nodes, adjacency_dict=neighbors))


def by_networkx(graph: nx.Graph) -> int:
    return sum(1 for _ in nx.isomorphism.GraphMatcher(graph, graph).isomorphisms_iter())


def graphs() -> dict[str, Contestants]:
    squares = {i * i % 101 for i in range(1, 101)}
    named = {
        "Petersen": nx.petersen_graph(),
        "dodecahedron": nx.dodecahedral_graph(),
        "hypercube Q8": nx.hypercube_graph(8),
        "torus 30 x 30": nx.grid_2d_graph(30, 30, periodic=True),
        "Paley-101": nx.Graph((i, j) for i in range(101) for j in range(i) if (i - j) % 101 in squares),
        "K_20,20": nx.complete_bipartite_graph(20, 20),
        "binary tree of 1023": nx.balanced_tree(2, 9),
    }
    out = {}
    for title, graph in named.items():
        graph = nx.convert_node_labels_to_integers(graph)
        data = Data(edge_index=torch.tensor(list(graph.to_directed().edges())).T, num_nodes=len(graph))
        race_of: Contestants = {OURS: lambda d=data: detect_symmetry(d).order}
        if find_spec("pynauty"):
            race_of["pynauty"] = lambda d=data: by_pynauty(d)
        if len(graph) <= 20:
            race_of["networkx"] = lambda g=graph: by_networkx(g)
        out[title] = race_of
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    lines = [
        "# Detection beside its peers",
        "",
        f"`python benchmarks/detect.py --rounds {rounds}`, {date.today()}, {platform.machine()}, one thread, "
        f"Python {platform.python_version()}, numpy {np.__version__}. Best of {rounds} turns; the ratio is "
        f"the time over that of {OURS}.",
        "",
        "| input | contestant | ms | ratio |",
        "| --- | --- | ---: | ---: |",
    ]
    for title, contestants in (molecules() | crystals() | graphs()).items():
        best = race(contestants, rounds)
        for name, seconds in best.items():
            lines.append(f"| {title} | {name} | {1e3 * seconds:.3g} | {seconds / best[OURS]:.2g} |")
            print(lines[-1], flush=True)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "detect.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
