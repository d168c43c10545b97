"""What AddSymmetryBreaking costs a structure, every strategy, beside one training step of SchNet on such structures.

Of crystals also beside moyo alone, which finds operations and nothing else: 2 times its time and 1 ms is the aim.

python benchmarks/transforms.py [--output benchmarks/results/transforms.md]
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import moyopy
import networkx as nx
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2
from ase.spacegroup import crystal
from torch_geometric.data import Batch, Data
from torch_geometric.nn import SchNet
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetry, AddSymmetryBreaking, NeighborList

REPEATS = 3
CRYSTALS = [bulk("Si"), bulk("Cu", cubic=True), bulk("Mg"), bulk("NaCl", "rocksalt", a=5.6, cubic=True)]
CRYSTALS += [bulk("Si").repeat(k) for k in ((2, 1, 1), (2, 2, 1), (2, 2, 2), (3, 3, 2))]
STRATEGIES = ("group", "input", "sympe", "noise")
CELL = [4.76, 4.76, 12.99, 90, 90, 120]
CORUNDUM = crystal(
    ["Al", "O"], [(0, 0, 0.352), (0.306, 0, 0.25)], spacegroup=167, cellpar=[4.76, 4.76, 12.99, 90, 90, 120]
)
QUARTZ = crystal(
    ["Si", "O"], [(0.4697, 0, 0), (0.4135, 0.2669, 0.1191)], spacegroup=154, cellpar=[4.91, 4.91, 5.4, 90, 90, 120]
)
SPINEL = crystal(
    ["Mg", "Al", "O"],
    [(0.125,) * 3, (0.5,) * 3, (0.2624,) * 3],
    spacegroup=227,
    setting=2,
    cellpar=[8.08, 8.08, 8.08, 90, 90, 90],
)
PEROVSKITE = crystal(
    ["Sr", "Ti", "O"], [(0.5,) * 3, (0, 0, 0), (0.5, 0, 0)], spacegroup=221, cellpar=[3.9, 3.9, 3.9, 90, 90, 90]
)
LARGER = [QUARTZ, CORUNDUM, PEROVSKITE.repeat(2), SPINEL, bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(2)]
LARGER += [bulk("Mg").repeat((4, 4, 2)), bulk("Si", cubic=True).repeat((3, 2, 2)), CORUNDUM.repeat((3, 1, 1))]
GRAPHS = [nx.cycle_graph(12), nx.petersen_graph(), nx.star_graph(20), nx.erdos_renyi_graph(20, 0.3, seed=1)]


def graph(g: nx.Graph) -> Data:
    """A graph without positions."""
    edges = torch.tensor(list(nx.convert_node_labels_to_integers(g).to_directed().edges)).T
    return Data(edge_index=edges, num_nodes=g.number_of_nodes())


def data_sets() -> dict[str, list[Data]]:
    """Structures by kind."""
    molecules = [from_ase(molecule(name)) for name in g2.names]
    molecules = [data for data in molecules if data.num_nodes > 2]
    small = [data for data in molecules if data.num_nodes > 8]
    return {
        "g2": molecules,
        "g2, more than 8 atoms": small,
        "crystals, 1 to 36 atoms": [from_ase(atoms) for atoms in CRYSTALS],
        "graphs": [graph(g) for g in GRAPHS],
    }


def milliseconds(transform: BaseTransform, structures: Iterable[Data]) -> tuple[float, int]:
    """CPU time a structure, the best of some rounds, and of how many structures (linear ones have no finite set)."""
    done = []
    for data in structures:
        try:
            transform(data)
            done.append(data)
        except ValueError:
            continue
    best = min(cpu(lambda: [transform(data) for data in done]) for _ in range(REPEATS))
    return best / max(len(done), 1), len(done)


def cpu(function: Callable[[], object]) -> float:
    """CPU time of a call, ms."""
    start = time.process_time()
    function()
    return (time.process_time() - start) * 1e3


def beside_moyo() -> list[str]:
    """Each crystal: CPU time of moyo, of detection and of each strategy, and the largest of 2 × moyo + 1 ms."""
    transforms = {"detection": AddSymmetry()} | {name: AddSymmetryBreaking(name) for name in STRATEGIES}
    lines = [
        f"| crystal | atoms | moyo, ms | {', ms | '.join(transforms)}, ms | worst of 2 × moyo + 1 ms |",
        "| --- " * (len(transforms) + 4) + "|",
    ]
    for atoms in CRYSTALS + LARGER:
        data, cell = from_ase(atoms), moyo_cell(atoms)
        runs: dict[str, Callable[[], object]] = {"moyo": lambda c=cell: moyopy.MoyoDataset(c, symprec=1e-3)}
        runs |= {name: lambda t=transform, d=data: t(d) for name, transform in transforms.items()}
        times = dict.fromkeys(runs, float("inf"))
        for _ in range(8):  # in turns
            for name, run in runs.items():
                times[name] = min(times[name], cpu(lambda run=run: [run() for _ in range(20)]) / 20)
        aim = 2 * times["moyo"] + 1
        ours = [times[name] for name in transforms]
        numbers = " | ".join(f"{t:.2f}" for t in times.values())
        lines.append(f"| {atoms.symbols.formula:metal} | {len(atoms)} | {numbers} | {max(ours) / aim:.0%} |")
        print(lines[-1], flush=True)
    return lines


def moyo_cell(atoms: Atoms) -> moyopy.Cell:
    """A crystal as moyo takes it."""
    return moyopy.Cell(atoms.cell.array.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())


def schnet_step() -> float:
    """CPU time of a training step of SchNet (128 channels, 6 interactions) a structure, in batches of 32 × 18 atoms."""
    torch.manual_seed(0)
    data = [Data(z=torch.randint(1, 9, (18,)), pos=4 * torch.rand(18, 3)) for _ in range(32)]
    batch = Batch.from_data_list([NeighborList(5.0)(one) for one in data])
    model = SchNet(128, 128, 6, interaction_graph=Given(batch.edge_index, batch.pos))
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        model(batch.z, batch.pos, batch.batch).square().mean().backward()
        optimizer.step()

    step()
    return min(cpu(step) for _ in range(REPEATS)) / 32


class Given(torch.nn.Module):
    """In the place of SchNet's search for neighbours: edges that are known."""

    def __init__(self, edge_index: torch.Tensor, pos: torch.Tensor) -> None:
        super().__init__()
        self.edges = edge_index, (pos[edge_index[0]] - pos[edge_index[1]]).norm(dim=1)

    def forward(self, pos: torch.Tensor, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The edges and their lengths."""
        return self.edges


def main() -> None:
    """Print the table and, if asked to, write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path)
    output = parser.parse_args().output
    torch.set_num_threads(1)
    step = schnet_step()
    lines = [
        "| structures | transform | number | CPU ms each | of a SchNet step |",
        "| --- | --- | --- | --- | --- |",
        f"| 32 × 18 atoms | SchNet, one training step | 32 | {step:.2f} | |",
    ]
    print("\n".join(lines))
    transforms = {"NeighborList": NeighborList(5.0), "AddSymmetry": AddSymmetry()}
    transforms |= {name: AddSymmetryBreaking(name) for name in STRATEGIES}
    for kind, structures in data_sets().items():
        for name, transform in transforms.items():
            cost, count = milliseconds(transform, structures)
            if count:
                lines.append(f"| {kind} | {name} | {count} | {cost:.2f} | {cost / step:.0%} |")
                print(lines[-1], flush=True)
    crystals = beside_moyo()
    if output:
        head = (
            f"# What the transforms cost\n\n`python benchmarks/transforms.py`, one thread, {date.today()}, "
            f"moyopy {moyopy.__version__}, torch {torch.__version__}. CPU time, on a machine shared with other work."
        )
        moyo = "Crystals beside moyo alone (`MoyoDataset`, its operations not yet read), in turns, the best of eight:"
        output.write_text("\n".join([head, "", *lines, "", moyo, "", *crystals, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
