"""Forces learned at equal CPU time: GatedNetwork beside SchNet of PyG, on frames of small molecules.

Frames are taken every 20 fs from Langevin dynamics at 500 K with ASE's EMT potential, which is no chemistry but a
smooth function of all positions. Of 200 frames 160 are learned, the forces of the other 40 compared. Each network has
the same CPU time on one thread, the same batches of 10, loss (squared errors of forces, and of energies per atom times
0.1, in units of the root mean square force) and schedule (Adam, warm-up, then a cosine over the CPU time)::

    python benchmarks/forces.py [--molecules CH3CH2OH C6H6 CH3CONH2] [--seeds 3] [--seconds 120] [--models ...]
        [--output benchmarks/results/forces.md]
"""

import argparse
import math
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch_geometric
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn.models import SchNet

from pyg_symbreak.nn import GatedNetwork

FRAMES, LEARNED, BATCH = 200, 160, 10


def frames(name: str) -> list[Data]:
    """Frames with energies and forces in units of the root mean square force, all pairs of atoms as edges."""
    atoms, random = molecule(name), np.random.default_rng(0)
    atoms.calc = EMT()
    MaxwellBoltzmannDistribution(atoms, temperature_K=500, rng=random)
    dynamics = Langevin(atoms, 0.5 * units.fs, temperature_K=500, friction=0.01 / units.fs, rng=random)
    dynamics.run(1000)
    z = torch.tensor(atoms.numbers)
    pairs = (1 - torch.eye(len(atoms))).nonzero().t().contiguous()
    graphs = []
    for _ in range(FRAMES):
        dynamics.run(40)
        pos = torch.tensor(atoms.positions - atoms.positions.mean(0)).float()
        energy, forces = torch.tensor([atoms.get_potential_energy()]).float(), torch.tensor(atoms.get_forces()).float()
        graphs.append(Data(z=z, pos=pos, edge_index=pairs, y=energy, forces=forces))
    unit = torch.cat([g.forces for g in graphs]).square().mean().sqrt()
    mean = torch.cat([g.y for g in graphs]).mean()
    species = torch.unique(z)
    for g in graphs:
        g.y, g.forces = (g.y - mean) / unit, g.forces / unit
        g.x = (g.z[:, None] == species).float()
    order = torch.randperm(FRAMES, generator=torch.Generator().manual_seed(0)).tolist()
    return [graphs[n] for n in order]


class Gated(nn.Module):
    """GatedNetwork with a scalar for each atom."""

    def __init__(self, example: Data, **kwargs) -> None:
        super().__init__()
        radius = 1.1 * torch.pdist(example.pos).max().item()
        self.network = GatedNetwork(f"{example.x.size(1)}x0e", "0e", **{"max_radius": radius, "lmax": 2} | kwargs)

    def forward(self, data: Data) -> Tensor:
        """Return the energies."""
        return data.y.new_zeros(data.num_graphs).index_add(0, data.batch, self.network(data)[:, 0])


class Pairs(nn.Module):
    """A model of PyG on the pairs that the data has, whatever its cutoff."""

    def __init__(self, example: Data) -> None:
        super().__init__()
        self.edges: Tensor
        self.model = SchNet(interaction_graph=self._pairs)

    def _pairs(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        source, target = self.edges
        return self.edges, (pos[source] - pos[target]).norm(dim=1)

    def forward(self, data: Data) -> Tensor:
        """Return the energies."""
        self.edges = data.edge_index
        return self.model(data.z, data.pos, data.batch)[:, 0]


MODELS: dict[str, tuple[Callable[[Data], nn.Module], float]] = {
    "GatedNetwork": (Gated, 1e-2),
    "SchNet": (Pairs, 1e-3),
}


def energies_and_forces(model: nn.Module, data: Data, training: bool) -> tuple[Tensor, Tensor]:
    data.pos.requires_grad_()
    energy = model(data)
    (gradient,) = torch.autograd.grad(energy.sum(), data.pos, create_graph=training)
    return energy, -gradient


def force_error(model: nn.Module, graphs: list[Data]) -> float:
    """Root mean square error of the forces over their root mean square."""
    data = Batch.from_data_list(graphs)
    _, forces = energies_and_forces(model, data, training=False)
    return ((forces - data.forces).square().mean() / data.forces.square().mean()).sqrt().item()


def train(model: nn.Module, graphs: list[Data], rate: float, seconds: float) -> tuple[float, int, float]:
    """Error on frames that were not learned, number of steps, and error on the learned ones."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    batches: list[Data] = []
    start, steps = time.process_time(), 0
    while (done := (time.process_time() - start) / seconds) < 1:
        if not batches:
            order = torch.randperm(LEARNED).view(-1, BATCH)
            batches = [Batch.from_data_list([graphs[n] for n in row]) for row in order.tolist()]
        data = batches.pop()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (steps + 1) / 50) * 0.5 * (1 + math.cos(math.pi * done))
        optimizer.zero_grad()
        energy, forces = energies_and_forces(model, data, training=True)
        atoms = data.num_nodes / data.num_graphs
        loss = (forces - data.forces).square().mean() + 0.1 * ((energy - data.y) / atoms).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
    return force_error(model, graphs[LEARNED:]), steps, force_error(model, graphs[:LEARNED])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--molecules", nargs="+", default=["CH3CH2OH"])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU time of each training")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# Forces at equal CPU time",
        "",
        f"{args.seconds:.0f} s of CPU each on one thread, torch {torch.__version__}, torch_geometric "
        f"{torch_geometric.__version__}; what is learned stands in `benchmarks/forces.py`. Errors are relative.",
        "",
        "| molecule | model | weights | seed | steps | error of forces | on learned frames |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in args.molecules:
        graphs = frames(name)
        for seed, (title, (make, rate)) in product(range(args.seeds), [(m, MODELS[m]) for m in args.models]):
            torch.manual_seed(seed)
            model = make(graphs[0])
            error, steps, learned = train(model, graphs, rate, args.seconds)
            weights = sum(p.numel() for p in model.parameters())
            lines.append(f"| {name} | {title} | {weights} | {seed} | {steps} | {error:.3f} | {learned:.3f} |")
            print(lines[-1], flush=True)
    if args.output:
        args.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
