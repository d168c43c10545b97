"""Size of what an untrained GatedNetwork answers, over structures, radii, strategies and sizes of the network.

Features of ones, weights as they are drawn, all arguments at their defaults but those that the table names. For every
cell of the grid one draw; what counts is the root mean square over the nodes of each part of the output::

    python benchmarks/fresh_outputs.py [--every 1] [--output benchmarks/results/fresh_outputs.md]

``--every n`` takes every n-th cell of the grid.
"""

import argparse
import functools
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import ase
import numpy as np
import torch
from ase.build import bulk, molecule
from e3nn import o3
from torch_geometric.data import Data

from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

RADII = (3.0, 4.0, 5.0, 6.0)
STRATEGIES = ("none", "group", "input", "sympe", "noise")
DEGREES = (1, 2, 3, 4)
OBJECT_DEGREES = (1, 2)
OUT = "0e+1o+2e"
LOW, HIGH = 0.1, 3.0
VANISHING = 1e-4


def alkane(carbons: int) -> ase.Atoms:
    """The stretched chain of 3n + 2 atoms."""
    symbols, positions = [], []
    for i in range(carbons):
        side = 0.42 * (-1) ** i
        symbols += ["C", "H", "H"]
        positions += [[1.26 * i, side, 0], [1.26 * i, 2.5 * side, 0.89], [1.26 * i, 2.5 * side, -0.89]]
    ends = [[-0.9, -0.2, 0], [1.26 * (carbons - 1) + 0.9, 0.2 * (-1) ** carbons, 0]]
    return ase.Atoms([*symbols, "H", "H"], [*positions, *ends])


def rattled(atoms: ase.Atoms) -> ase.Atoms:
    atoms.rattle(0.1, seed=0)
    return atoms


def structures() -> dict[str, ase.Atoms]:
    """Molecules and crystals of 2 to 200 atoms."""
    sites = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    perovskite = ase.Atoms("BaTiO3", scaled_positions=sites, cell=[4.0] * 3, pbc=True)
    names = ("HCl", "H2O", "NH3", "CH4", "C2H6", "C6H6", "P2", "C60")
    return {
        **{name: molecule(name) for name in names},
        "alkane of 62 atoms": alkane(20),
        "alkane of 200 atoms": alkane(66),
        "copper": bulk("Cu"),
        "iron": bulk("Fe"),
        "magnesium": bulk("Mg"),
        "diamond": bulk("C"),
        "silicon": bulk("Si"),
        "CsCl": bulk("CsCl", "cesiumchloride", a=4.12),
        "rock salt": bulk("NaCl", "rocksalt", a=5.64, cubic=True),
        "perovskite": perovskite,
        "perovskite of 40 atoms": perovskite * (2, 2, 2),
        "silicon of 64 atoms, rattled": rattled(bulk("Si", cubic=True) * (2, 2, 2)),
        "rock salt of 96 atoms": bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 3),
        "copper of 192 atoms, rattled": rattled(bulk("Cu", cubic=True) * (4, 4, 3)),
    }


@functools.cache
def network(irreps: str, radius: float, lmax: int, object_degree: int) -> GatedNetwork:
    return GatedNetwork("0e", OUT, irreps, max_radius=radius, lmax=lmax, object_degree=object_degree)


def with_object(data: Data, strategy: str) -> Data:
    """The structure with an object; raises ValueError where the strategy has none."""
    data = data.clone()
    if strategy == "none":
        data.breaking, data.breaking_irreps = None, ""
        return data
    return AddSymmetryBreaking(strategy, seed=0)(data)


def draw(atoms: ase.Atoms, radius: float, strategy: str, lmax: int, object_degree: int) -> list[float]:
    """Root mean squares of the parts of an untrained output, one for each irrep."""
    data = with_object(from_ase(atoms), strategy)
    data = NeighborList(cutoff=radius)(data)
    data.x = torch.ones(data.num_nodes, 1)
    model = network(data.breaking_irreps, radius, lmax, object_degree)
    model.reset_parameters()
    with torch.no_grad():
        parts = model(data).split([ir.dim for _, ir in o3.Irreps(OUT)], dim=1)
    return [part.square().mean().sqrt().item() for part in parts]


def draws(every: int = 1) -> Iterator[tuple[tuple, list[float]]]:
    """The cells of the grid and what is drawn there; cells that have no object are left out."""
    torch.manual_seed(0)
    grid = itertools.product(structures().items(), RADII, STRATEGIES, DEGREES, OBJECT_DEGREES)
    for (name, atoms), radius, strategy, lmax, object_degree in itertools.islice(grid, 0, None, every):
        try:
            sizes = draw(atoms, radius, strategy, lmax, object_degree)
        except ValueError as error:
            if "continuous" not in str(error) and "linear" not in str(error):
                raise
            continue
        yield (name, radius, strategy, lmax, object_degree), sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "fresh_outputs.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start, found = time.process_time(), list(draws(args.every))
    lines = [
        "# Untrained outputs of GatedNetwork",
        "",
        f"{len(found)} draws, {time.process_time() - start:.0f} s of CPU; "
        f"`python benchmarks/fresh_outputs.py --every {args.every}`.",
        f"Root mean square of each part of the output: share of the draws between {LOW} and {HIGH}, and the quantiles "
        f"0.01, 0.05, 0.5, 0.95, 0.99. Parts that vanish by symmetry (below {VANISHING}) are left out, of the whole as "
        "well.",
        "",
        "| | part | draws | share | 0.01 | 0.05 | 0.5 | 0.95 | 0.99 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    axes = ("structure", "radius", "strategy", "lmax", "object degree")
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for cell, sizes in found:
        live = [(ir.dim, size) for (_, ir), size in zip(o3.Irreps(OUT), sizes, strict=True) if size > VANISHING]
        whole = math.sqrt(sum(dim * size**2 for dim, size in live) / max(1, sum(dim for dim, _ in live)))
        for part, size in zip(("whole", *(str(ir) for _, ir in o3.Irreps(OUT))), (whole, *sizes), strict=True):
            if size > VANISHING:
                groups["all", part].append(size)
                for axis, value in zip(axes, cell, strict=True):
                    groups[f"{axis}: {value}", part].append(size)
    order = [key for axis in ("all", *axes) for key in groups if key[0].split(":")[0] == axis]
    for key in order:
        quantiles = np.quantile(groups[key], [0.01, 0.05, 0.5, 0.95, 0.99])
        share = np.mean([LOW <= size <= HIGH for size in groups[key]])
        cells = [*key, str(len(groups[key])), f"{share:.3f}", *(f"{q:.2g}" for q in quantiles)]
        lines.append("| " + " | ".join(cells) + " |")
    args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
