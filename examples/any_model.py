"""Break symmetry with the models that people have: SchNet, ViSNet, GATv2, a graph transformer, and the e3nn network.

Take an electron out of methane or borane and the molecule distorts. No model that sees the neutral molecule alone can
say how: its forces have all the symmetry of the molecule. AddSymmetryBreaking attaches an object to the molecule;
BreakingEdgeInvariants turns it into scalars of the edges and nodes, which any model takes as edge and node features.
Here they are added to SchNet's and ViSNet's expansion of the distances and embedding of the atoms, and are the features
of GATv2Conv and TransformerConv. The four give an energy, and its negative gradient is the answer. The e3nn network
takes the object itself as a feature of the nodes and answers with a vector on each. All in float64.

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
from torch_geometric.nn import GAT, SchNet, TransformerConv, ViSNet, global_add_pool
from torch_geometric.utils import add_self_loops, scatter

from pyg_symbreak.nn import BreakingEdgeInvariants
from pyg_symbreak.training import Config, Pair, Pairs, fit, load_pairs

MOLECULES = ("CH4+", "BH3+", "C3H6+")
CUTOFF, WIDTH = 4.0, 32


# ------------------------------------------------------------------ models that know no irreps


class PlusScalars(nn.Module):
    """What a module of the model makes of its input, plus a linear map of scalars."""

    def __init__(self, module: nn.Module, dim: int, width: int) -> None:
        super().__init__()
        self.module, self.linear = module, nn.Linear(dim, width, bias=False)
        self.scalars = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """Add the scalars that were put in place before."""
        return self.module(x) + self.linear(self.scalars)


class GivenEdges(nn.Module):
    """In the place of a model's own search for neighbours: the edges of the data."""

    edges: tuple[Tensor, ...]

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, ...]:
        """Return the edges that were put in place before."""
        return self.edges


class EnergyModel(nn.Module):
    """The negative gradient of an energy of positions and object."""

    def __init__(self, irreps: str) -> None:
        super().__init__()
        self.invariants = BreakingEdgeInvariants(irreps, object_degree=2)

    def forward(self, data: Data) -> Tensor:
        """Vectors [N, 3]."""
        data = copy.copy(data)
        data.pos = data.pos.detach().requires_grad_()
        energy = self.energy(data, *self.invariants(data))
        return -torch.autograd.grad(energy.sum(), data.pos, create_graph=True)[0]


class BreakingSchNet(EnergyModel):
    """SchNet whose filters see the edge scalars beside the distances, and whose atoms the node scalars."""

    def __init__(self, irreps: str) -> None:
        super().__init__(irreps)
        self.graph = GivenEdges()
        self.model = SchNet(WIDTH, WIDTH, 2, 20, CUTOFF, interaction_graph=self.graph)
        self.model.distance_expansion = PlusScalars(self.model.distance_expansion, self.invariants.dim_edge, 20)
        self.model.embedding = PlusScalars(self.model.embedding, self.invariants.dim_node, WIDTH)

    def energy(self, data: Data, edge: Tensor, node: Tensor) -> Tensor:
        """Energies [B, 1]."""
        self.graph.edges = data.edge_index, edge[:, 0]  # the first edge scalar is the length
        self.model.distance_expansion.scalars, self.model.embedding.scalars = edge, node
        return self.model(data.z, data.pos, data.batch)


class BreakingViSNet(EnergyModel):
    """ViSNet with the scalars in the same two places; of the edges that it adds from each atom to itself they are 0.

    Its own readout takes lengths of vectors that vanish by symmetry, where they have no second derivative; a linear
    one of its scalars takes its place.
    """

    def __init__(self, irreps: str) -> None:
        super().__init__(irreps)
        visnet = ViSNet(lmax=2, num_heads=4, num_layers=2, hidden_channels=WIDTH, num_rbf=20, cutoff=CUTOFF)
        block = self.model = visnet.representation_model
        block.distance = self.graph = GivenEdges()
        block.distance_expansion = PlusScalars(block.distance_expansion, self.invariants.dim_edge, 20)
        block.embedding = PlusScalars(block.embedding, self.invariants.dim_node, WIDTH)
        self.last = nn.Linear(WIDTH, 1)

    def energy(self, data: Data, edge: Tensor, node: Tensor) -> Tensor:
        """Energies [B, 1]."""
        edge_index, edge = add_self_loops(data.edge_index, edge, 0.0, data.num_nodes)
        self.graph.edges = edge_index, edge[:, 0], data.pos[edge_index[0]] - data.pos[edge_index[1]]
        self.model.distance_expansion.scalars, self.model.embedding.scalars = edge, node
        x, _ = self.model(data.z, data.pos, data.batch)
        return global_add_pool(self.last(x), data.batch)


class BreakingGAT(EnergyModel):
    """Layers of GATv2Conv with the scalars as edge_attr and node features."""

    def __init__(self, irreps: str) -> None:
        super().__init__(irreps)
        self.atoms = nn.Embedding(100, WIDTH)
        dims = self.invariants.dim_edge, self.invariants.dim_node + WIDTH
        self.model = GAT(dims[1], WIDTH, 2, 1, v2=True, heads=4, edge_dim=dims[0], act="silu", concat=True)

    def energy(self, data: Data, edge: Tensor, node: Tensor) -> Tensor:
        """Energies [B, 1]."""
        x = torch.cat([self.atoms(data.z), node], dim=1)
        return global_add_pool(self.model(x, data.edge_index, edge_attr=edge), data.batch)


class BreakingTransformer(EnergyModel):
    """Two layers of TransformerConv with the scalars as edge_attr and node features."""

    def __init__(self, irreps: str) -> None:
        super().__init__(irreps)
        self.atoms = nn.Embedding(100, WIDTH)
        dims = self.invariants.dim_edge, self.invariants.dim_node + WIDTH
        self.first = TransformerConv(dims[1], WIDTH // 4, heads=4, edge_dim=dims[0])
        self.second = TransformerConv(WIDTH, WIDTH // 4, heads=4, edge_dim=dims[0])
        self.last = nn.Linear(WIDTH, 1)

    def energy(self, data: Data, edge: Tensor, node: Tensor) -> Tensor:
        """Energies [B, 1]."""
        x = torch.cat([self.atoms(data.z), node], dim=1)
        for layer in (self.first, self.second):
            x = nn.functional.silu(layer(x, data.edge_index, edge))
        return global_add_pool(self.last(x), data.batch)


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
    "SchNet": BreakingSchNet,
    "ViSNet": BreakingViSNet,
    "GATv2": BreakingGAT,
    "TransformerConv": BreakingTransformer,
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
