"""Time of a training step: GatedNetwork beside the network of the same paths built from e3nn's public blocks.

One run, one thread, the two interleaved. A step is zero_grad, forward, backward and Adam (fused), on a batch of 1, 6
and 48 copies of the triangular prism or of cubic BaTiO3, each with its own symmetry breaking object::

    python benchmarks/training_step.py [--compile] [--seconds 3] [--dtype float64]

Prints a table and writes ``results/training_step.json`` beside this file.
"""

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import e3nn
import torch
import torch_geometric
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from e3nn.nn import Gate
from e3nn.nn.models.gate_points_2102 import Convolution, smooth_cutoff, tp_path_exists
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Batch, Data

from pyg_symbreak.nn import GatedNetwork

HIDDEN = "16x0e+16x0o+8x1e+8x1o+4x2e+4x2o"


class PublicBlocks(nn.Module):
    """The network of gate_points_2102 from its own Convolution and e3nn's Gate, on given edges."""

    def __init__(self, irreps_in: str, irreps_out: str, max_radius: float, num_neighbors: float) -> None:
        super().__init__()
        self.max_radius = max_radius
        self.irreps_edge = o3.Irreps.spherical_harmonics(4)
        radial = {"number_of_edge_features": 10, "radial_layers": 3, "radial_neurons": 16}
        even, odd = {1: nn.functional.silu, -1: torch.tanh}, {1: torch.sigmoid, -1: torch.tanh}
        irreps = o3.Irreps(irreps_in)
        self.layers = nn.ModuleList()
        for _ in range(3):
            hidden = [(mul, ir) for mul, ir in o3.Irreps(HIDDEN) if tp_path_exists(irreps, self.irreps_edge, ir)]
            scalars = o3.Irreps([(mul, ir) for mul, ir in hidden if ir.l == 0])
            gated = o3.Irreps([(mul, ir) for mul, ir in hidden if ir.l > 0])
            gate_ir = "0e" if tp_path_exists(irreps, self.irreps_edge, "0e") else "0o"
            gates = o3.Irreps([(gated.num_irreps, gate_ir)])
            gate = Gate(scalars, [even[ir.p] for _, ir in scalars], gates, [odd[ir.p] for _, ir in gates], gated)
            conv = Convolution(irreps, "0e", self.irreps_edge, gate.irreps_in, num_neighbors=num_neighbors, **radial)
            self.layers.extend([conv, gate])
            irreps = gate.irreps_out
        self.layers.append(
            Convolution(irreps, "0e", self.irreps_edge, irreps_out, num_neighbors=num_neighbors, **radial)
        )

    def forward(self, data: Data) -> Tensor:
        """Return the output on the nodes."""
        source, target = data.edge_index
        edge_vec = data.pos[target] - data.pos[source]
        if "edge_shift" in data:
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


class CountCalls(TorchDispatchMode):
    """Count the calls of tensor operations."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def training_step(model: nn.Module, data: Data, target: Tensor) -> Callable[[], Tensor]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = (model(data) - target).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


def time_interleaved(steps: dict[str, Callable], seconds: float) -> dict[str, float]:
    """Median seconds of each step; one call of each in turn."""
    for step in steps.values():
        for _ in range(4):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(steps))]) < 5:
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def measure(structure: Callable, dtype: torch.dtype, copies: int, seconds: float, compiled: bool) -> dict:
    torch.set_default_dtype(dtype)
    data, kwargs = structure()
    batch = Batch.from_data_list([data] * copies)
    torch.manual_seed(0)
    ours = GatedNetwork(irreps_breaking="1o", **kwargs)
    neighbors = batch.num_edges / batch.num_nodes
    theirs = PublicBlocks(kwargs["irreps_in"] + "+1o", kwargs["irreps_out"], kwargs["max_radius"], neighbors)
    target = torch.randn(batch.num_nodes, 3)
    models = {"e3nn blocks": theirs, "pyg_symbreak": ours}
    steps = {name: training_step(model, batch, target) for name, model in models.items()}
    for step in steps.values():
        step()
    calls = {}
    for name, step in steps.items():
        with CountCalls() as count:
            step()
        calls[name] = count.calls
    if compiled:
        steps["compiled"] = training_step(torch.compile(ours), batch, target)
    times = time_interleaved(steps, seconds)
    return {
        "structure": structure.__name__,
        "dtype": str(dtype).removeprefix("torch."),
        "objects": copies,
        "ms_per_step": {name: 1e3 * t for name, t in times.items()},
        "ms_per_object": {name: 1e3 * t / copies for name, t in times.items()},
        "ratio": times["e3nn blocks"] / times["pyg_symbreak"],
        "tensor_calls": calls,
        "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--compile", action="store_true", help="time torch.compile of our network too (slow to start)")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each row of the table")
    parser.add_argument("--dtype", choices=["float32", "float64"], help="one dtype instead of both")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "training_step.json")
    args = parser.parse_args()
    torch.set_num_threads(1)

    rows = []
    table = Table(title="training step: forward, backward, Adam; one thread; median")
    for column in ("structure", "dtype", "objects", "e3nn ms", "ours ms", "e3nn ms/object", "ours ms/object", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("tensor calls", justify="right")
    if args.compile:
        table.add_column("compiled ms", justify="right")
    for structure in (prism, batio3):
        for dtype in [getattr(torch, args.dtype)] if args.dtype else [torch.float32, torch.float64]:
            for copies in (1, 6, 48):
                row = measure(structure, dtype, copies, args.seconds, args.compile)
                rows.append(row)
                step, each = row["ms_per_step"], row["ms_per_object"]
                cells = [f"{d[name]:.3g}" for d in (step, each) for name in ("e3nn blocks", "pyg_symbreak")]
                calls = " / ".join(str(n) for n in row["tensor_calls"].values())
                compiled = [f"{step['compiled']:.3g}"] if args.compile else []
                table.add_row(
                    row["structure"], row["dtype"], str(copies), *cells, f"{row['ratio']:.1f}", calls, *compiled
                )
    Console(width=120).print(table)

    versions = {"torch": torch.__version__, "torch_geometric": torch_geometric.__version__, "e3nn": e3nn.__version__}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.processor() or platform.machine(), "threads": 1, **versions}
    args.output.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
