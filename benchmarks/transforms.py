"""What AddSymmetryBreaking costs a structure, every strategy, beside one training step of SchNet on such structures.

python benchmarks/transforms.py [--output benchmarks/results/transforms.md]
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import networkx as nx
import torch
from ase.build import bulk, molecule
from ase.collections import g2
from torch_geometric.data import Batch, Data
from torch_geometric.nn import SchNet
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetry, AddSymmetryBreaking, NeighborList

REPEATS = 3
CRYSTALS = [bulk("Si"), bulk("Cu", cubic=True), bulk("Mg"), bulk("NaCl", "rocksalt", a=5.6, cubic=True)]
CRYSTALS += [bulk("Si").repeat(k) for k in ((2, 1, 1), (2, 2, 1), (2, 2, 2), (3, 3, 2))]
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
    transforms |= {name: AddSymmetryBreaking(name) for name in ("group", "input", "sympe", "noise")}
    for kind, structures in data_sets().items():
        for name, transform in transforms.items():
            cost, count = milliseconds(transform, structures)
            if count:
                lines.append(f"| {kind} | {name} | {count} | {cost:.2f} | {cost / step:.0%} |")
                print(lines[-1], flush=True)
    if output:
        head = "# What the transforms cost\n\n`python benchmarks/transforms.py`, one thread."
        output.write_text("\n".join([head, "", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
