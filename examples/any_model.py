"""Break symmetry with the models that people have: SchNet, ViSNet, GATv2, a graph transformer, and the e3nn network.

Take an electron out of methane or borane and the molecule distorts. No model that sees the neutral molecule alone can
say how: its forces have all the symmetry of the molecule. AddSymmetryBreaking attaches an object to the molecule;
WithBreaking turns it into scalars of the edges and nodes and puts them into SchNet, ViSNet, GATv2 and a transformer.
The four give an energy, and its negative gradient is the answer. The e3nn network takes the object itself as a feature
of the nodes and answers with a vector on each. All in float64.

Each model is trained on one distortion of each molecule, without and with the object, and then asked with all objects.

    python examples/any_model.py
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated

import torch
import typer
from _shared import Run, console, table
from e3nn.nn.models.gate_points_2102 import Network
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GAT, SchNet, TransformerConv, ViSNet
from torch_geometric.utils import scatter

from pyg_symbreak.nn import WithBreaking
from pyg_symbreak.training import Config, Pair, Pairs, fit, load_pairs

MOLECULES = ("CH4+", "BH3+", "C3H6+")
CUTOFF, WIDTH = 4.0, 32


# ------------------------------------------------------------------ models that know no irreps


class Forces(nn.Module):
    """The negative gradient of an energy of positions and object."""

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, data: Data) -> Tensor:
        """Vectors [N, 3]."""
        data = copy.copy(data)
        data.x = None  # the models embed the elements themselves
        data.pos = data.pos.detach().requires_grad_()
        out = self.energy(data)
        energy = out[0] if isinstance(out, tuple) else out
        return -torch.autograd.grad(energy.sum(), data.pos, create_graph=True)[0]


class LinearReadout(nn.Module):
    """In the place of ViSNet's, which takes lengths of vectors that vanish by symmetry: no second derivative there."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, 1)

    def pre_reduce(self, x: Tensor, v: Tensor) -> Tensor:
        """Energies of the atoms [N, 1]."""
        return self.linear(x)


class Transformer(nn.Module):
    """Two layers of TransformerConv."""

    in_channels = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.first = TransformerConv(WIDTH, WIDTH // 4, heads=4, edge_dim=8)
        self.second = TransformerConv(WIDTH, WIDTH // 4, heads=4, edge_dim=8)
        self.last = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Energies of the atoms [N, 1]."""
        for layer in (self.first, self.second):
            x = nn.functional.silu(layer(x, edge_index, edge_attr))
        return self.last(x)


def with_object(model: nn.Module, irreps: str) -> Forces:
    """Forces of a model that takes the object."""
    return Forces(WithBreaking(model, irreps, object_degree=2))


def schnet(irreps: str) -> nn.Module:
    """SchNet."""
    return with_object(SchNet(WIDTH, WIDTH, 2, 20, CUTOFF), irreps)


def visnet(irreps: str) -> nn.Module:
    """ViSNet."""
    model = ViSNet(lmax=2, num_heads=4, num_layers=2, hidden_channels=WIDTH, num_rbf=20, cutoff=CUTOFF)
    model.output_model = LinearReadout()
    return with_object(model, irreps)


def gat(irreps: str) -> nn.Module:
    """Layers of GATv2Conv."""
    return with_object(GAT(WIDTH, WIDTH, 2, 1, v2=True, heads=4, edge_dim=8, act="silu"), irreps)


def transformer(irreps: str) -> nn.Module:
    """A graph transformer."""
    return with_object(Transformer(), irreps)


# ------------------------------------------------------------------ a model that knows irreps


class BreakingE3nn(nn.Module):
    """The network of e3nn with the object among the features of each node."""

    def __init__(self, irreps: str) -> None:
        super().__init__()
        self.atoms, self.irreps = nn.Embedding(100, 8), irreps
        self.model = Network(
            irreps_in=f"8x0e+{irreps}",
            irreps_hidden="8x0e+8x0o+4x1e+4x1o+4x2e+4x2o",
            irreps_out="1o",
            irreps_node_attr=None,
            irreps_edge_attr="0e+1o+2e",
            layers=2,
            max_radius=CUTOFF,
            number_of_basis=8,
            radial_layers=1,
            radial_neurons=16,
            num_neighbors=3.0,
            num_nodes=1.0,
            reduce_output=False,
        )

    def forward(self, data: Data) -> Tensor:
        """Vectors [N, 3]."""
        x = torch.cat([self.atoms(data.z), data.breaking[data.batch]], dim=1)
        return self.model({"x": x, "pos": data.pos, "batch": data.batch})


MODELS = {
    "SchNet": schnet,
    "ViSNet": visnet,
    "GATv2": gat,
    "TransformerConv": transformer,
    "e3nn": BreakingE3nn,
}


# ------------------------------------------------------------------ training and asking


def answers(model: nn.Module, pairs: list[Pair], objects: Tensor) -> Tensor:
    """Displacements [sum of the N, 3] in Å of structures with an object each, without rigid shift."""
    batch = Batch.from_data_list([pair.data for pair in pairs])
    batch.breaking = objects
    y = model(batch)
    return y - scatter(y, batch.batch, dim=0, reduce="mean")[batch.batch]


def train(name: str, pairs: Pairs, broken: bool, steps: int, seed: int) -> nn.Module:
    """Train on the first object (or zeros) and the first target of each molecule."""
    torch.manual_seed(seed)
    model = MODELS[name](pairs.irreps_breaking)
    objects = torch.cat([pair.objects[:1] for pair in pairs.training]) * broken
    target = torch.cat([pair.y for pair in pairs.training])

    def loss(step: int) -> Tensor:
        return (answers(model, pairs.training, objects) - target).square().mean()

    fit(model, loss, steps, polish=steps, tolerance=1e-6, progress=f"{name}, with{'' if broken else 'out'} object")
    return model


def compare(model: nn.Module, pair: Pair, objects: Tensor) -> tuple[float, float]:
    """Root mean square errors by atom, Å: of the worst answer, and of the answer to the worst served target."""
    found = answers(model, [pair] * len(objects), objects).detach().view(len(objects), 1, -1, 3)
    off = (found - pair.images_y).square().sum(3).mean(2).sqrt()
    return off.amin(1).max().item(), off.amin(0).max().item()


def main(
    out: Annotated[Path, typer.Option(help="Folder for the figures of merit.")] = Path("results/any_model"),
    steps: Annotated[int, typer.Option(help="Steps of Adam, and of L-BFGS.")] = 60,
    seed: int = 0,
) -> None:
    """Fit distortions that no model can give from the molecule alone, with five models."""
    torch.set_default_dtype(torch.float64)
    files = Run(out)
    pairs = load_pairs(Config.of({"dataset": "JahnTeller", "cutoff": CUTOFF, "held_out": []}))
    pairs.training[:] = [pair for pair in pairs.training if pair.name in MOLECULES]
    rows = []
    for name in MODELS:
        models = {broken: train(name, pairs, broken, steps, seed) for broken in (False, True)}
        for pair in pairs.training:
            error, missed = compare(models[True], pair, pair.objects)
            rows.append(
                {
                    "model": name,
                    "molecule": pair.name,
                    "breaks": f"{pair.group.schoenflies} to {pair.keep.schoenflies}",
                    "without object": compare(models[False], pair, torch.zeros_like(pair.objects[:1]))[0],
                    "its bound": pair.floor,
                    "with object": error,
                    "targets": len(pair.images_y),
                    "worst served": missed,
                }
            )
    console.print(table("Root mean square error by atom (Å) of the worst answer", rows))
    files.finish({"rows": rows}, "Figures of merit")


if __name__ == "__main__":
    typer.run(main)
