"""Forces learned at equal CPU time: Potential beside SchNet and ViSNet of PyG and nequip, on frames of small molecules.

Frames are taken every 20 fs from Langevin dynamics at 500 K. With ASE's EMT potential, which is no chemistry but a
smooth function of all positions, made of exponentials of distances, the molecules soon are drops in which all atoms
meet; with ``--teacher GFN2-xTB`` (``pip install "pyg_symbreak[xtb]"``) they stay molecules. Of 200 frames 160 are
learned, the forces of the other 40 compared. Each network has the same CPU time on one thread, all pairs of atoms as
edges (cutoff 5 Å, SchNet with its own of 10 Å), the same batches of 10, loss (squared errors of forces, and of energies
per atom times 0.1, in units of the root mean square force) and schedule (Adam, warm-up, then a cosine over the CPU
time). The radial functions of Potential and the learning rates of SchNet and ViSNet were chosen on held-out frames of
ethanol with EMT, in 20 s each; ViSNet and nequip are smaller than by default, for shorter steps, and not tuned in size.
nequip is left out where it is not installed (``pip install "pyg_symbreak[peers]"``); both have fewer seeds::

    python benchmarks/forces.py [--molecules CH3CH2OH C6H6 CH3CONH2] [--seeds 3] [--peer-seeds 1] [--seconds 120]
        [--models ...] [--teacher EMT] [--output benchmarks/results/forces.md]
"""

import argparse
import math
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from ase import units
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn.models import SchNet, ViSNet
from torch_geometric.utils import add_self_loops

from pyg_symbreak.nn import GatedNetwork, Potential

FRAMES, LEARNED, BATCH, RADIUS = 200, 160, 10, 5.0


def calculator(teacher: str) -> Calculator:
    """EMT, or a method of tblite."""
    if teacher == "EMT":
        return EMT()
    from tblite.ase import TBLite

    return TBLite(method=teacher, verbosity=0)


def frames(name: str, teacher: str) -> list[Data]:
    """Frames with energies and forces in units of the root mean square force, all pairs of atoms as edges."""
    atoms, random = molecule(name), np.random.default_rng(0)
    atoms.calc = calculator(teacher)
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


def potential(example: Data) -> nn.Module:
    """Ours."""
    elements = torch.unique(example.z).tolist()
    return Potential(elements, max_radius=RADIUS, num_neighbors=example.num_nodes - 1)


class Gated(nn.Module):
    """GatedNetwork with a scalar for each atom."""

    def __init__(self, example: Data) -> None:
        super().__init__()
        self.network = GatedNetwork(f"{example.x.size(1)}x0e", "0e", max_radius=RADIUS, lmax=2)

    def forward(self, data: Data) -> Tensor:
        """Return the energies."""
        return data.y.new_zeros(data.num_graphs).index_add(0, data.batch, self.network(data)[:, 0])


class OnPairs(nn.Module):
    """SchNet and ViSNet on the edges of the data, which they else search for."""

    def __init__(self, model: Callable[["OnPairs"], nn.Module]) -> None:
        super().__init__()
        self.edges: Tensor
        self.model = model(self)

    def lengths(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        """What SchNet asks for."""
        source, target = self.edges
        return self.edges, (pos[source] - pos[target]).norm(dim=1)

    def lengths_and_vectors(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What ViSNet asks for, with a loop of length zero on each atom."""
        edges, lengths = self.lengths(pos, batch)
        looped, _ = add_self_loops(edges, num_nodes=len(pos))
        return looped, torch.cat([lengths, lengths.new_zeros(len(pos))]), pos[looped[0]] - pos[looped[1]]

    def forward(self, data: Data) -> Tensor:
        """Return the energies."""
        self.edges = data.edge_index
        out = self.model(data.z, data.pos, data.batch)
        return (out[0] if isinstance(out, tuple) else out)[:, 0]


def schnet(example: Data) -> nn.Module:
    """SchNet with its defaults."""
    return OnPairs(lambda wrapper: SchNet(interaction_graph=wrapper.lengths))


def visnet(example: Data) -> nn.Module:
    """Half as wide and deep as by default: steps take a fifth of the time."""

    def make(wrapper: OnPairs) -> nn.Module:
        model = ViSNet(hidden_channels=64, num_layers=3, cutoff=RADIUS)
        model.representation_model.distance.forward = wrapper.lengths_and_vectors
        return model

    return OnPairs(make)


class Nequip(nn.Module):
    """The model of nequip with two layers of its default width."""

    def __init__(self, example: Data) -> None:
        super().__init__()
        from nequip.model import NequIPGNNModel
        from nequip.utils.global_state import set_global_state

        seed = torch.initial_seed()
        set_global_state()  # it sets the seed and the default dtype too
        torch.set_default_dtype(torch.float32)
        names = [f"Z{z}" for z in torch.unique(example.z).tolist()]
        self.model = NequIPGNNModel(
            seed=seed,
            model_dtype="float32",
            type_names=names,
            r_max=RADIUS,
            num_layers=2,
            l_max=1,
            parity=False,
            num_features=32,
            avg_num_neighbors=example.num_nodes - 1.0,
            per_type_energy_scales=1.0,
            per_type_energy_shifts=0.0,
            per_type_energy_scales_trainable=True,
            per_type_energy_shifts_trainable=True,
            do_derivatives=False,
        )

    def forward(self, data: Data) -> Tensor:
        """Return the energies."""
        given = {"pos": data.pos, "edge_index": data.edge_index.flip(0), "atom_types": data.x.argmax(1)}
        given |= {"batch": data.batch, "num_atoms": data.ptr.diff()}
        energy: Tensor = self.model(given)["total_energy"]
        return energy[:, 0]


MODELS: dict[str, tuple[Callable[[Data], nn.Module], float]] = {
    "Potential": (potential, 1e-2),
    "SchNet": (schnet, 3e-3),
    "ViSNet": (visnet, 3e-3),
    "nequip": (Nequip, 1e-2),
    "GatedNetwork": (Gated, 1e-2),
}
ONCE = ("ViSNet", "nequip", "GatedNetwork")
"""Those with fewer seeds."""


def energies_and_forces(model: nn.Module, data: Data, training: bool) -> tuple[Tensor, Tensor]:
    data.pos.requires_grad_()
    energy = model(data)
    (gradient,) = torch.autograd.grad(energy.sum(), data.pos, create_graph=training)
    return energy, -gradient


def force_errors(model: nn.Module, graphs: list[Data]) -> tuple[float, float]:
    """Root mean square error of the forces over their root mean square; and that of the median frame alone."""
    data = Batch.from_data_list(graphs)
    _, forces = energies_and_forces(model, data, training=False)
    squares = (forces - data.forces).square().view(len(graphs), -1).mean(dim=1) / data.forces.square().mean()
    return squares.mean().sqrt().item(), squares.median().sqrt().item()


def train(model: nn.Module, graphs: list[Data], rate: float, seconds: float) -> int:
    """Train, and return the number of steps."""
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
    return steps


def summary(errors: dict[tuple[str, str], list[float]], models: list[str]) -> list[str]:
    """Mean error, and lowest and highest, of each molecule and network."""
    lines = ["| molecule | " + " | ".join(models) + " |", "| --- |" + " --- |" * len(models)]
    for name in dict.fromkeys(name for name, _ in errors):
        cells = []
        for title in models:
            found = errors.get((name, title), [])
            spread = f" ({min(found):.3f} to {max(found):.3f})" if len(found) > 1 else ""
            cells.append(f"{mean(found):.3f}{spread}" if found else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--molecules", nargs="+", default=["CH3CH2OH", "C6H6", "CH3CONH2"])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS)[:4])
    parser.add_argument("--teacher", choices=["EMT", "GFN2-xTB"], default="EMT", help="what gives energies and forces")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peer-seeds", type=int, default=1, help=f"seeds of {', '.join(ONCE)}")
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU time of each training")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = [title for title in args.models if title != "nequip" or find_spec("nequip")]
    packages = ["torch", "torch_geometric", "ase", *(["nequip"] if "nequip" in models else [])]
    packages += ["tblite"] if args.teacher != "EMT" else []
    head = [
        "# Forces at equal CPU time",
        "",
        f"`python benchmarks/forces.py --teacher {args.teacher} --seconds {args.seconds:.0f} --seeds {args.seeds} "
        f"--peer-seeds {args.peer_seeds}`: {args.seconds:.0f} s of CPU each on one thread, "
        + ", ".join(f"{package} {version(package)}" for package in packages)
        + ". What is learned stands in the file. Errors are of forces that were not learned, root mean square over "
        "that of the forces; mean over seeds, lowest and highest.",
        "",
    ]
    table = [
        "| molecule | model | weights | seed | steps | error of forces | of the median frame | on learned frames |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    data: dict[str, list[Data]] = {}
    errors: dict[tuple[str, str], list[float]] = {}
    for seed, name, title in product(range(args.seeds), args.molecules, models):
        if title in ONCE and seed >= args.peer_seeds:
            continue
        if name not in data:
            data[name] = frames(name, args.teacher)
        graphs = data[name]
        torch.manual_seed(seed)
        make, rate = MODELS[title]
        model = make(graphs[0])
        steps = train(model, graphs, rate, args.seconds)
        error, middle = force_errors(model, graphs[LEARNED:])
        learned, _ = force_errors(model, graphs[:LEARNED])
        errors.setdefault((name, title), []).append(error)
        weights = sum(p.numel() for p in model.parameters())
        row = f"| {name} | {title} | {weights} | {seed} | {steps} | {error:.3f} | {middle:.3f} | {learned:.3f} |"
        table.append(row)
        print(row, flush=True)
        if args.output:
            args.output.write_text("\n".join([*head, *summary(errors, models), "", *table]) + "\n")


if __name__ == "__main__":
    main()
