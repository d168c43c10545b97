"""Time and memory of a training step: GatedNetwork beside networks of the same paths built from public blocks.

Peers are e3nn's blocks and, where they are installed (``pip install "pyg_symbreak[peers]"``), nequip's interaction and
the tensor product of cuequivariance-torch in their place. A step is zero_grad, forward, backward and Adam (fused),
with forces also the gradient of the energy by the positions, on which the loss is. One run, one thread, CPU time::

    python benchmarks/training_step.py [--only small|large] [--output benchmarks/results/training_step.md]

Small: copies of the triangular prism or of cubic BaTiO3, each with its own symmetry breaking object, networks in turns.
Large: random atoms, 0.05 of them in a cubic Å, 1.5 Å apart, with edges up to 5 Å, each network in a process of its own;
its memory is the peak beyond what the process held before the first step.
"""

import argparse
import itertools
import math
import resource
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from e3nn.nn import FullyConnectedNet, Gate
from e3nn.nn.models.gate_points_2102 import Convolution, smooth_cutoff, tp_path_exists
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.utils import scatter

from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.transforms import NeighborList

HIDDEN = "16x0e+16x0o+8x1e+8x1o+4x2e+4x2o"
WIDTHS = {"default": (HIDDEN, 4), "64 channels": ("64x0e+64x1o+64x1e+64x2e+64x2o", 2)}  # hidden irreps, lmax
SIZES = {"32 x 20": (32, 20), "4 x 100": (4, 100)}  # structures, atoms
RADIUS = 5.0


class NequipConvolution(nn.Module):
    """The interaction of nequip with the arguments of e3nn's Convolution."""

    def __init__(self, irreps_in, irreps_node_attr, irreps_edge_attr, irreps_out, number_of_edge_features, **kwargs):
        super().__init__()
        from nequip.nn.interaction_block import InteractionBlock

        irreps = {
            "node_features": o3.Irreps(irreps_in),
            "node_attrs": o3.Irreps(irreps_node_attr),
            "edge_attrs": o3.Irreps(irreps_edge_attr),
            "edge_embedding": o3.Irreps(f"{number_of_edge_features}x0e"),
        }
        self.block = InteractionBlock(
            irreps,
            o3.Irreps(irreps_out),
            radial_mlp_depth=kwargs["radial_layers"],
            radial_mlp_width=kwargs["radial_neurons"],
            avg_num_neighbors=kwargs["num_neighbors"],
            type_names=["X"],
            is_first_layer=True,
        )

    def forward(self, x, node_attr, source, target, edge_attr, edge_features):
        """Convolve."""
        data = {"node_features": x, "node_attrs": node_attr, "edge_attrs": edge_attr, "edge_embedding": edge_features}
        data |= {"edge_index": torch.stack([target, source]), "pos": x}
        return self.block(data)["node_features"]


class CueConvolution(nn.Module):
    """e3nn's Convolution with the channel-wise tensor product of cuequivariance-torch."""

    def __init__(self, irreps_in, irreps_node_attr, irreps_edge_attr, irreps_out, number_of_edge_features, **kwargs):
        super().__init__()
        import cuequivariance as cue
        import cuequivariance_torch as cuet

        irreps_in, irreps_out = o3.Irreps(irreps_in), o3.Irreps(irreps_out)
        self.product = cuet.ChannelWiseTensorProduct(
            cue.Irreps("O3", str(irreps_in)),
            cue.Irreps("O3", str(irreps_edge_attr)),
            [cue.O3(ir.l, ir.p) for _, ir in irreps_out],
            layout=cue.mul_ir,
            shared_weights=False,
            method="naive",
        )
        self.num_neighbors = kwargs["num_neighbors"]
        widths = [number_of_edge_features, *[kwargs["radial_neurons"]] * kwargs["radial_layers"]]
        self.fc = FullyConnectedNet([*widths, self.product.weight_numel], nn.functional.silu)
        self.lin1, self.sc = o3.Linear(irreps_in, irreps_in), o3.Linear(irreps_in, irreps_out)
        self.lin2 = o3.Linear(o3.Irreps(str(self.product.irreps_out)), irreps_out)

    def forward(self, x, node_attr, source, target, edge_attr, edge_features):
        """Convolve."""
        message = self.product(self.lin1(x)[source], edge_attr, self.fc(edge_features))
        return self.sc(x) + self.lin2(scatter(message, target, dim_size=len(x)) / self.num_neighbors**0.5)


CONVOLUTIONS = {"e3nn": Convolution, "nequip": NequipConvolution, "cuequivariance_torch": CueConvolution}


class PublicBlocks(nn.Module):
    """The network of gate_points_2102 from a convolution and e3nn's Gate, on given edges."""

    def __init__(
        self,
        irreps_in: str,
        irreps_out: str,
        max_radius: float,
        num_neighbors: float,
        convolution: Callable[..., nn.Module] = Convolution,
        hidden: str = HIDDEN,
        lmax: int = 4,
    ) -> None:
        super().__init__()
        self.max_radius = max_radius
        self.irreps_edge = o3.Irreps.spherical_harmonics(lmax)
        radial = {"number_of_edge_features": 10, "radial_layers": 3, "radial_neurons": 16}
        even, odd = {1: nn.functional.silu, -1: torch.tanh}, {1: torch.sigmoid, -1: torch.tanh}
        irreps = o3.Irreps(irreps_in)
        self.layers = nn.ModuleList()
        for _ in range(3):
            hidden = [(mul, ir) for mul, ir in o3.Irreps(hidden) if tp_path_exists(irreps, self.irreps_edge, ir)]
            scalars = o3.Irreps([(mul, ir) for mul, ir in hidden if ir.l == 0])
            gated = o3.Irreps([(mul, ir) for mul, ir in hidden if ir.l > 0])
            gate_ir = "0e" if tp_path_exists(irreps, self.irreps_edge, "0e") else "0o"
            gates = o3.Irreps([(gated.num_irreps, gate_ir)])
            gate = Gate(scalars, [even[ir.p] for _, ir in scalars], gates, [odd[ir.p] for _, ir in gates], gated)
            conv = convolution(irreps, "0e", self.irreps_edge, gate.irreps_in, num_neighbors=num_neighbors, **radial)
            self.layers.extend([conv, gate])
            irreps = gate.irreps_out
        self.layers.append(
            convolution(irreps, "0e", self.irreps_edge, irreps_out, num_neighbors=num_neighbors, **radial)
        )

    def forward(self, data: Data) -> Tensor:
        """Return the output on the nodes."""
        source, target = data.edge_index
        edge_vec = data.pos[target] - data.pos[source]
        if "cell" in data:
            edge_vec = edge_vec + torch.einsum("ei,eij->ej", data.edge_shift, data.cell[data.batch[source]])
        length = edge_vec.norm(dim=1)
        basis = soft_one_hot_linspace(length, 0.0, self.max_radius, 10, basis="gaussian", cutoff=False) * 10**0.5
        harmonics = o3.spherical_harmonics(self.irreps_edge, edge_vec, True, normalization="component")
        edge_attr = smooth_cutoff(length / self.max_radius)[:, None] * harmonics
        ones = data.pos.new_ones(data.num_nodes, 1)
        x = torch.cat([data.x, data.breaking[data.batch]], dim=1)
        for layer in self.layers:
            x = layer(x) if isinstance(layer, Gate) else layer(x, ones, source, target, edge_attr, basis)
        return x


def prism() -> tuple[Data, dict]:
    """Six nodes, 18 directed edges, the chirality mark on each node and a horizontal vector as object."""
    pos = torch.tensor(
        [[math.cos(2 * math.pi * i / 3), math.sin(2 * math.pi * i / 3), z] for z in (-1.0, 1.0) for i in range(3)]
    )
    distance = torch.cdist(pos, pos)
    edge_index = ((distance < 2.1) & (distance > 0)).nonzero().t().contiguous()
    data = Data(x=torch.ones(6, 1), pos=pos, edge_index=edge_index, breaking=torch.tensor([[0.8, 0.6, 0.0]]))
    return data, {"irreps_in": "0o", "irreps_out": "1o", "max_radius": 2.5}


def batio3() -> tuple[Data, dict]:
    """Cubic BaTiO3, cell 4 Å, the 12 directed Ti-O edges within 2.7 Å, species and a polar axis as object."""
    fractional = torch.tensor([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
    species = nn.functional.one_hot(torch.tensor([0, 1, 2, 2, 2])).to(fractional.dtype)
    edges, shifts = [], []
    for i, a in enumerate(fractional):
        for j, b in enumerate(fractional):
            for shift in torch.cartesian_prod(*[torch.arange(-1.0, 2.0)] * 3):
                if 0 < 4.0 * (b + shift - a).norm() < 2.7:
                    edges.append([i, j])
                    shifts.append(shift)
    data = Data(
        x=species,
        pos=4.0 * fractional,
        edge_index=torch.tensor(edges).t().contiguous(),
        edge_shift=torch.stack(shifts),
        cell=4.0 * torch.eye(3)[None],
        breaking=torch.tensor([[0.0, 0.0, 1.0]]),
    )
    return data, {"irreps_in": "3x0e", "irreps_out": "1o", "max_radius": 2.7}


def atoms(structures: int, number: int) -> Batch:
    """Random atoms of four species, with an object for each structure."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for _ in range(structures):
        pos = torch.zeros(0, 3)
        while len(pos) < number:
            new = (number / 0.05) ** (1 / 3) * torch.rand(1, 3, generator=generator)
            if not (torch.cdist(new, pos) < 1.5).any():
                pos = torch.cat([pos, new])
        species = torch.randint(0, 4, (number,), generator=generator)
        x, breaking = nn.functional.one_hot(species, 4).float(), torch.randn(1, 3, generator=generator)
        graphs.append(NeighborList(RADIUS)(Data(x=x, pos=pos, breaking=breaking)))
    return Batch.from_data_list(graphs)


def training_step(model: nn.Module, data: Data, target: Tensor, forces: bool = False) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    if forces:
        data.pos.requires_grad_()

    def step() -> None:
        optimizer.zero_grad()
        out = model(data)
        loss = (out - target).square().mean()
        if forces:
            (gradient,) = torch.autograd.grad(out.sum(), data.pos, create_graph=True)
            loss = loss + gradient.square().mean()
        loss.backward()
        optimizer.step()

    return step


def small(structure: Callable, dtype: torch.dtype, copies: int, seconds: float) -> list[str]:
    """A row: both networks in turns."""
    torch.set_default_dtype(dtype)
    data, kwargs = structure()
    batch = Batch.from_data_list([data] * copies)
    torch.manual_seed(0)
    ours = GatedNetwork(irreps_breaking="1o", **kwargs)
    neighbors = batch.num_edges / batch.num_nodes
    theirs = PublicBlocks(kwargs["irreps_in"] + "+1o", kwargs["irreps_out"], kwargs["max_radius"], neighbors)
    target = torch.randn(batch.num_nodes, 3)
    steps = [training_step(model, batch, target) for model in (ours, theirs)]
    times: list[list[float]] = [[], []]
    end = time.process_time() + seconds
    while time.process_time() < end or len(times[0]) < 8:
        for step, of_step in zip(steps, times, strict=True):
            start = time.process_time()
            step()
            of_step.append(time.process_time() - start)
    own, other = (1e3 * median(t[3:]) for t in times)
    name = str(dtype).removeprefix("torch.")
    return [structure.__name__, name, str(copies), f"{own:.1f}", f"{other:.1f}", f"{other / own:.1f}"]


def large(name: str, width: str, size: str, forces: bool, seconds: float) -> dict[str, float]:
    """Milliseconds of a step, its spread, and MB, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, (hidden, lmax) = atoms(*SIZES[size]), WIDTHS[width]
    if name == "pyg_symbreak":
        model: nn.Module = GatedNetwork("4x0e", "0e", "1o", max_radius=RADIUS, hidden=hidden, lmax=lmax)
    else:
        neighbors = data.num_edges / data.num_nodes
        model = PublicBlocks("4x0e+1o", "0e", RADIUS, neighbors, CONVOLUTIONS[name], hidden, lmax)
    step = training_step(model, data, torch.randn(data.num_nodes, 1), forces)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    times: list[float] = []
    for _ in range(2):  # TorchScript compiles
        step()
    while len(times) < 2 or sum(times) < seconds:
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ms = [1e3 * t for t in (median(times), min(times), max(times))]
    return {"ms": ms[0], "least": ms[1], "most": ms[2], "MB": (peak - before) / 1e6, "edges": data.num_edges}


def large_rows(peers: list[str], seconds: float) -> list[list[str]]:
    """The row of each network, each in a process of its own; peers other than e3nn at one size."""
    rows = []
    for width, size, forces in itertools.product(WIDTHS, SIZES, (False, True)):
        own: dict[str, float] = {}
        for name in ["pyg_symbreak", *(peers if size == "4 x 100" else peers[:1])]:
            with get_context("fork").Pool(1) as pool:
                found = pool.apply(large, (name, width, size, forces, seconds))
            own = own or found
            ratios = [f"{found[key] / own[key]:.1f}" for key in ("ms", "MB")]
            spread = f"{found['ms']:.0f} ({found['least']:.0f} to {found['most']:.0f})"
            row = [width, size, str(own["edges"]), "forces" if forces else "energy", name, spread, ratios[0]]
            rows.append([*row, f"{found['MB']:.0f}", ratios[1]])
            print(*rows[-1], sep="\t", flush=True)
    return rows


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", choices=["small", "large"])
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU time for each figure, at least")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    peers = [name for name in CONVOLUTIONS if find_spec(name)]
    packages = ["torch", "torch_geometric", *peers]
    parts = [
        "# Training step",
        f"`python benchmarks/training_step.py`, one thread, CPU time, "
        f"{', '.join(f'{name} {version(name)}' for name in packages)}. What is measured stands in the file; "
        '"times" are over the first row of a group.',
    ]
    if args.only != "small":
        columns = ["width", "atoms", "edges", "loss of", "blocks of", "ms (least to most)", "times", "MB", "times"]
        widths = ", ".join(f'"{name}" {hidden} with l ≤ {lmax}' for name, (hidden, lmax) in WIDTHS.items())
        parts += [f"Large, float32; {widths}:", table(columns, large_rows(peers, args.seconds))]
    if args.only != "large":
        rows = [
            small(structure, dtype, copies, args.seconds)
            for structure in (prism, batio3)
            for dtype in (torch.float32, torch.float64)
            for copies in (1, 6, 48)
        ]
        columns = ["structure", "dtype", "objects", "pyg_symbreak ms", "e3nn ms", "times"]
        parts += ["Small, energies, hidden irreps of the default:", table(columns, rows)]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
