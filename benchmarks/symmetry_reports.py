"""What symmetry_report says of networks that were broken on purpose, and of sound ones.

Each broken network is the library's own, untrained and in float64, with one of the faults that people make; the sound
ones are the library's networks with their options, and the models of e3nn and PyG. Structures are methanol out of shape
and ammonia with its symmetry::

    python benchmarks/symmetry_reports.py [--output FILE]

``benchmarks/results/discover.md`` holds the table that it prints.
"""

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from ase.build import molecule
from e3nn.nn.models.gate_points_2102 import Network
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv, SchNet

from pyg_symbreak.discover import SymmetryReport, symmetrized, symmetry_report
from pyg_symbreak.dynamics import GraphEnergy
from pyg_symbreak.groups import LieGroup, PointGroup
from pyg_symbreak.nn import BreakingEdgeInvariants, EncodeProcessDecode, GatedNetwork, GroupConv
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import NeighborList

HEADER = "| network | broken | rotations | inversion | shifts | order | jumps | own | generators | found |"
CUTOFF = 3.0
FIELD = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
OBJECT = {"object": "1o"}


def structures() -> list[Data]:
    """Molecules, with an object for each, one for each node, and axial moments of the nodes."""
    found = []
    for seed, (name, shake) in enumerate((("CH3OH", 0.05), ("NH3", 0.0))):
        generator = torch.Generator().manual_seed(seed)
        data = from_ase(molecule(name), dtype=torch.float64)
        n = len(data.pos)
        data.pos = data.pos + shake * torch.randn(n, 3, generator=generator, dtype=torch.float64)
        data.x = data.z[:, None].double() / 8
        data.object = torch.randn(1, 3, generator=generator, dtype=torch.float64)
        data.field, data.moment = torch.randn(2, n, 3, generator=generator, dtype=torch.float64)
        data.all_pairs = (1 - torch.eye(n)).nonzero().T
        found.append(data)
    return found


@dataclass
class Case:
    """A network, how it is meant to transform, and words of the fault that it has, none if it is sound."""

    model: Callable[[Data], Tensor]
    irreps_out: str = "1o"
    fault: str = ""
    features: dict[str, str] = field(default_factory=dict)
    group: PointGroup | None = None

    def report(self, dataset: list[Data], degree: int = 1) -> SymmetryReport:
        """The report."""
        return symmetry_report(self.model, dataset, self.irreps_out, self.features, self.group, degree)


# ------------------------------------------------------------------ models


class Gated(nn.Module):
    """GatedNetwork that finds its neighbours; the data are changed first, as a fault may ask for."""

    def __init__(
        self,
        *irreps: str | None,
        change: Callable[[Data], None] = lambda data: None,
        cutoff: float = CUTOFF,
        **options: object,
    ):
        super().__init__()
        small = {"hidden": "4x0e+2x0o+4x1o+2x1e+2x2e", "layers": 2, "lmax": 2, "radial_layers": 1} | options
        self.net = GatedNetwork(*irreps, max_radius=CUTOFF, **small).double()
        self.neighbors, self.change = NeighborList(cutoff), change

    def forward(self, data: Data) -> Tensor:
        """The output on the nodes, of networks with one for the graph that one."""
        data = copy.copy(data)
        self.change(data)
        out = self.net(self.neighbors(data))
        return out[1] if isinstance(out, tuple) else out


def with_object(data: Data) -> None:
    """The object of the structure."""
    data.breaking = data.object


def set_pos(function: Callable[[Tensor], Tensor]) -> Callable[[Data], None]:
    """A change of the positions."""
    return lambda data: setattr(data, "pos", function(data.pos))


def add_x(function: Callable[[Data], Tensor]) -> Callable[[Data], None]:
    """Node features more."""
    return lambda data: setattr(data, "x", torch.cat([data.x, function(data)], dim=1))


def summed(*models: nn.Module) -> Callable[[Data], Tensor]:
    """Two layers side by side, of which one may be wrong."""
    return lambda data: sum(model(data) for model in models)


class Invariant(nn.Module):
    """An energy of the edge and node scalars of an object, or its negative gradient, on all pairs of atoms."""

    def __init__(self, kind: str, forces: bool = True):
        super().__init__()
        self.forces = forces
        self.invariants = BreakingEdgeInvariants("1o", object_degree=2)
        self.kind, dims = kind, (self.invariants.dim_edge, self.invariants.dim_node)
        if kind == "SchNet":
            self.net, self.graph = SchNet(8, 8, 2, 10, 10.0), _Given()
            self.net.interaction_graph = self.graph
            self.net.distance_expansion = self.edge = _Plus(self.net.distance_expansion, nn.Linear(dims[0], 10))
            self.net.embedding = self.node = _Plus(self.net.embedding, nn.Linear(dims[1], 8))
        else:
            self.net = GATv2Conv(dims[1], 1, edge_dim=dims[0])
        self.double()

    def forward(self, data: Data) -> Tensor:
        """Vectors [N, 3], or of GATv2 numbers [N, 1]."""
        data = copy.copy(data)
        data.pos, data.edge_index = data.pos.clone().requires_grad_(), data.all_pairs
        data.breaking = data.object
        edge, node = self.invariants(data)
        if self.kind == "SchNet":
            self.graph.edges = data.edge_index, edge[:, 0]  # the first edge scalar is the length
            self.edge.scalars, self.node.scalars = edge, node
            energy = self.net(data.z, data.pos)
        else:
            energy = self.net(node, data.edge_index, edge_attr=edge)
        return -torch.autograd.grad(energy.sum(), data.pos)[0] if self.forces else energy


class _Given(nn.Module):
    edges: tuple[Tensor, Tensor]

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        return self.edges


class _Near(nn.Module):
    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        apart = (pos[:, None] - pos[None]).square().sum(2)
        source, target = ((apart < CUTOFF**2) & (apart > 0)).nonzero().T
        return torch.stack([source, target]), apart[source, target].sqrt()


class _Plus(nn.Module):
    def __init__(self, module: nn.Module, linear: nn.Linear):
        super().__init__()
        self.module, self.linear, self.scalars = module, linear, torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x) + self.linear(self.scalars)


class Convolved(nn.Module):
    """Two group convolutions on all pairs of atoms, and scalars."""

    def __init__(self, group: PointGroup, kernel: str):
        super().__init__()
        self.first = GroupConv(1, 4, group, radius=3.0, kernel=kernel, lift=True)
        self.second = GroupConv(4, 2, group, radius=3.0, kernel=kernel)
        self.double()

    def forward(self, data: Data) -> Tensor:
        """Scalars [N, 2]."""
        hidden = self.first(data.x, data.all_pairs, data.pos).tanh()
        return self.second.pool(self.second(hidden, data.all_pairs, data.pos))


class Processed(nn.Module):
    """EncodeProcessDecode on the distances of all pairs of atoms."""

    def __init__(self) -> None:
        super().__init__()
        self.net = EncodeProcessDecode(1, 1, 2, 1).double()

    def forward(self, data: Data) -> Tensor:
        """Scalars [N, 2]."""
        source, target = data.all_pairs
        apart = (data.pos[source] - data.pos[target]).norm(dim=1, keepdim=True)
        return self.net(data.x, data.all_pairs, apart, steps=3)[-1][0]


class Energy(nn.Module):
    """GraphEnergy, of the Euclidean group, on all pairs of atoms."""

    def __init__(self) -> None:
        super().__init__()
        self.net = GraphEnergy(3, LieGroup.euclidean(3), inputs=("pos",), features=1, hidden=8).double()

    def forward(self, data: Data) -> Tensor:
        """One number."""
        data = copy.copy(data)
        data.edge_index = data.all_pairs
        return self.net(data)


def of_e3nn() -> Callable[[Data], Tensor]:
    """The network of e3nn's own, which finds its neighbours."""
    net = Network(
        irreps_in="1x0e", irreps_hidden="4x0e+4x1o+2x1e", irreps_out="1o", irreps_node_attr=None,
        irreps_edge_attr="0e+1o+2e", layers=2, max_radius=CUTOFF, number_of_basis=6, radial_layers=1,
        radial_neurons=16, num_neighbors=3.0, num_nodes=1.0, reduce_output=False,
    )  # fmt: skip
    net = net.double()
    return lambda data: net({"x": data.x, "pos": data.pos, "batch": torch.zeros(len(data.pos), dtype=torch.long)})


def of_pyg() -> Callable[[Data], Tensor]:
    """SchNet, on neighbours within the cutoff."""
    net = SchNet(16, 16, 2, 10, CUTOFF).double()
    net.interaction_graph = _Near()  # its own asks for a compiled library
    return lambda data: net(data.z, data.pos)


# ------------------------------------------------------------------ cases


def cases() -> dict[str, Case]:
    """All networks by name."""
    torch.manual_seed(0)
    mirrored = set_pos(lambda pos: pos * torch.tensor([1.0, 1.0, -1.0]).to(pos))
    reordered = set_pos(lambda pos: pos[:, [1, 2, 0]])
    return {
        "pseudovectors given for forces": Case(Gated("0e", "1e"), fault="wrong parity"),
        "axial moments taken for polar ones": Case(
            Gated("0e+1o", "1o", change=add_x(lambda data: data.moment)), "1o", "parities are mixed", {"moment": "1e"}
        ),
        "z mirrored in one layer": Case(
            summed(Gated("0e", "1o"), Gated("0e", "1o", change=mirrored)), fault="the z axis is treated unlike"
        ),
        "z of the input mirrored": Case(Gated("0e", "1o", change=mirrored), fault="(x, y, -z) stand for (x, y, z)"),
        "y, z, x in one layer": Case(
            summed(Gated("0e", "1o"), Gated("0e", "1o", change=reordered)), fault="e3nn's harmonics of old"
        ),
        "y, z, x in the input": Case(Gated("0e", "1o", change=reordered), fault="stand for (x, y, z)"),
        "edges cut at 2.2 Å, envelope at 3 Å": Case(
            Gated("0e", "1o", cutoff=2.2), fault="jumps where two atoms are 2.200 Å apart"
        ),
        "a vector of the laboratory": Case(
            Gated("0e", "1o", "1o", change=lambda data: setattr(data, "breaking", FIELD[None])),
            fault="along (0.60, 0.00, 0.80)",
        ),
        "absolute positions": Case(
            Gated("0e+0e", "1o", change=add_x(lambda data: data.pos.square().sum(1, keepdim=True) / 10)),
            fault="where the structure lies",
        ),
        "numbers of the nodes": Case(
            Gated("0e+0e", "1o", change=add_x(lambda data: torch.arange(len(data.x))[:, None] / 5)),
            fault="order of the nodes",
        ),
        "forces of leaky rectifiers: of GATv2": Case(
            Invariant("GATv2"), fault="activation with a kink", features=OBJECT
        ),
        "GatedNetwork, forces": Case(Gated("0e", "1o")),
        "GatedNetwork, all irreps to l = 2": Case(Gated("0e", "0e+0o+1e+1o+2e+2o"), "0e+0o+1e+1o+2e+2o"),
        "GatedNetwork, object": Case(Gated("0e", "1o", "1o", change=with_object), features=OBJECT),
        "GatedNetwork, object on nodes": Case(
            Gated("0e", "1o", "1o", change=lambda data: setattr(data, "breaking", data.field)),
            "1o",
            "",
            {"field": "1o"},
        ),
        "GatedNetwork, object to degree 2": Case(
            Gated("0e", "1o", "1o", object_degree=2, change=with_object), features=OBJECT
        ),
        "GatedNetwork, tensor of the graph": Case(
            Gated("0e", "", "1o", "2e", change=with_object), "2e", features=OBJECT
        ),
        "GatedNetwork, axial moments": Case(
            Gated("0e+1e", "1o", change=add_x(lambda data: data.moment)), features={"moment": "1e"}
        ),
        "BreakingEdgeInvariants, SchNet, forces": Case(Invariant("SchNet"), features=OBJECT),
        "BreakingEdgeInvariants, GATv2, energy": Case(Invariant("GATv2", forces=False), "0e", features=OBJECT),
        "GroupConv of Td, splines": Case(Convolved(PointGroup("Td"), "spline"), "2x0e", group=PointGroup("Td")),
        "GroupConv of C4v, perceptron": Case(Convolved(PointGroup("C4v"), "mlp"), "2x0e", group=PointGroup("C4v")),
        "EncodeProcessDecode": Case(Processed(), "2x0e"),
        "GraphEnergy": Case(Energy(), "0e"),
        "symmetrized sum with a fixed tensor": Case(symmetrized(scalar_part, "0e", degree=1), "0e"),
        "e3nn's network": Case(of_e3nn()),
        "PyG's SchNet": Case(of_pyg(), "0e"),
    }


def scalar_part(data: Data) -> Tensor:
    """A sum over pairs that is no scalar: a fixed tensor of degree 2 on their differences."""
    steps = data.pos[:, None] - data.pos[None]
    weights = (-steps.square().sum(2)).exp()
    return (weights[:, :, None] * steps * steps * torch.tensor([1.0, 1.0, 2.0]).to(steps)).sum((1, 2))[:, None]


def row(name: str, case: Case, dataset: list[Data]) -> tuple[str, bool]:
    """The row of the table, and whether the one fault that there is was found, or nothing."""
    found = case.report(dataset)
    own = max(error for errors in found.own.values() for error in errors.values())
    errors = (found.rotation, found.inversion, found.translation, found.permutation, found.jump, own)
    cells = [name, "yes" if case.fault else "no", *(f"{e:.1g}" for e in errors), str(found.generators.dimension)]
    line = "| " + " | ".join([*cells, "; ".join(found.faults) or "nothing"]) + " |"
    return line, [case.fault in fault for fault in found.faults] == ([True] if case.fault else [])


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    output = parser.parse_args().output
    torch.set_num_threads(1)
    dataset, right = structures(), 0
    lines = [HEADER, "| --- " * HEADER.count(" | ") + "| --- |"]
    print(*lines, sep="\n")
    for name, case in cases().items():
        line, as_it_should = row(name, case, dataset)
        print(line, flush=True)
        lines.append(line)
        right += as_it_should
    lines.append(f"\n{right} of {len(cases())} as they should be: the one fault that there is, or nothing.")
    print(lines[-1])
    if output:
        output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
