"""The kernels of the orbit ops and of the sums of tensor products on a GPU: right, and how fast; run by gpu.sh.

Right: each kernel against plain torch on the same device, in three precisions, on orbits of all sizes and on one of all
rows. Fast: bytes that must be read and written over the time, as a share of the bandwidth of a copy measured beside it.
Then a training step of GatedNetwork with the sums of tensor products as one operation, beside the same with messages
and beside e3nn's blocks, and the tables of orbit_ops.py, 10^8 rows among them.
"""

import argparse
import re
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import orbit_ops
import torch
import torch_geometric
import training_step
from e3nn import o3
from torch import Tensor
from torch_geometric.utils import scatter

from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.ops import REDUCTIONS, Orbits, orbit_project, orbit_reduce

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 4e-2}
PROJECTED = ["1x1o", "16x1o", "64x1o", "16x2e", "64x0e+32x1o+16x2e"]


def agree(of: Callable[[str], Tensor], dtype: torch.dtype) -> None:
    got, expected = of("triton"), of("torch")
    torch.testing.assert_close(got, expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])
    assert torch.equal(of("triton"), got), "not the same bits twice"


def check(rows: int, device: str) -> str:
    """Compare all kernels with plain torch."""
    mixed = Orbits.from_index(orbit_ops.partition(rows, "mixed", device))
    one = Orbits.from_index(torch.zeros(20 * rows, dtype=torch.long, device=device))
    count = 0
    for dtype in TOLERANCES:
        for orbits in (mixed, one):
            x = torch.randn(orbits.num_nodes, 5, device=device, dtype=dtype)
            for reduce in REDUCTIONS:
                for broadcast in (False, True):
                    # A sum of n terms is known to the root of n.
                    small = x / orbits.num_nodes**0.5 if reduce == "sum" else x
                    agree(
                        lambda m, o=orbits, v=small, r=reduce, b=broadcast: orbit_reduce(
                            v, o, r, broadcast=b, method=m
                        ),
                        dtype,
                    )
                    count += 1
        graphs, _, _ = orbit_ops.cube_graphs(max(1, rows // 147), True, device)
        for irreps in PROJECTED:
            x = torch.randn(graphs.num_nodes, o3.Irreps(irreps).dim, device=device, dtype=dtype)
            agree(lambda m, v=x, i=irreps, g=graphs: orbit_project(v, g, i, method=m), dtype)
            count += 1
    return f"{count} comparisons with plain torch: all kernels are right, and give the same bits twice."


def share_of_copy(name: str, run: Callable[[], object], x: Tensor, device: str, rounds: int, written: float = 1) -> str:
    """One row: time, and the bandwidth of reading x and writing `written` of it as a share of that of a copy."""
    times = orbit_ops.race({"copy": x.clone, name: run}, device, rounds)
    gigabytes = x.numel() * x.element_size() / 1e9
    copy, own = 2 * gigabytes / times["copy"], (1 + written) * gigabytes / times[name]
    return f"| {name} | {1e3 * times[name]:.3f} | {own:.0f} | {copy:.0f} | {own / copy:.2f} |"


def bandwidths(rows: int, device: str, rounds: int) -> list[str]:
    lines = ["| | ms | GB/s | GB/s of a copy | share |", "| --- | ---: | ---: | ---: | ---: |"]
    graphs, _, _ = orbit_ops.cube_graphs(max(1, rows // 147), False, device)
    for irreps in PROJECTED:
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(graphs.num_nodes, o3.Irreps(irreps).dim, device=device, dtype=dtype)
            table = graphs.table(irreps, torch.float32, "triton")
            name = f"project {irreps}, {str(dtype).removeprefix('torch.')}"
            run = lambda x=x, i=irreps, t=table: orbit_project(x, graphs, i, table=t, method="triton")  # noqa: E731
            lines.append(share_of_copy(name, run, x, device, rounds))
    x = torch.randn(rows, 64, device=device)
    node = torch.zeros(rows, dtype=torch.long, device=device)
    one, eights = Orbits.from_index(node), Orbits.from_index(torch.arange(rows, device=device) // 8)
    for title, orbits in (("one orbit", one), ("orbits of 8", eights)):
        for broadcast in (False, True):
            name = f"mean over {title}" + (", given to the nodes" if broadcast else "")
            run = lambda o=orbits, b=broadcast: orbit_reduce(x, o, "mean", broadcast=b, method="triton")  # noqa: E731
            lines.append(share_of_copy(name, run, x, device, rounds, 1 if broadcast else orbits.num_orbits / rows))
        run = lambda o=orbits: scatter(x, o.node, 0, o.num_orbits, "mean")  # noqa: E731
        lines.append(share_of_copy(f"scatter of PyG, {title}", run, x, device, rounds, orbits.num_orbits / rows))
    return lines


def networks(width: str, fused: bool) -> GatedNetwork:
    hidden, lmax = training_step.WIDTHS[width]
    torch.manual_seed(0)
    model = GatedNetwork("4x0e", "0e", "1o", max_radius=training_step.RADIUS, hidden=hidden, lmax=lmax)
    for conv in model.convs:
        conv.fuse = fused
    return model


def sums_agree(device: str, size: tuple[int, int]) -> str:
    """Compare networks with and without messages in float64: outputs, forces, gradients of a loss on forces."""
    worst = 0.0
    for width in training_step.WIDTHS:
        found = []
        for fused in (True, False):
            model, data = networks(width, fused).double().to(device), training_step.atoms(*size).to(device)
            data.x, data.breaking = data.x.double(), data.breaking.double()
            data.pos = data.pos.double().requires_grad_()
            energy = model(data)
            (forces,) = torch.autograd.grad(energy.sum(), data.pos, create_graph=True)
            grads = torch.autograd.grad(energy.square().sum() + forces.square().sum(), list(model.parameters()))
            found.append([energy, forces, *grads])
        for a, b in zip(*found, strict=True):
            worst = max(worst, ((a - b).abs().max() / b.abs().max()).item())
    assert worst < 1e-10, worst
    return (
        f"Sums of tensor products differ by {worst:.0e} from messages, forces and gradients of a loss on them included."
    )


def training_steps(device: str, size: tuple[int, int], rounds: int) -> list[str]:
    lines = [
        "| width | edges | loss of | network | ms | MB beyond weights and data |",
        "| --- | ---: | --- | --- | ---: | ---: |",
    ]
    for width, (hidden, lmax) in training_step.WIDTHS.items():
        for forces in (False, True):
            steps, memory = {}, {}
            for name in ("one operation", "messages", "e3nn"):
                data = training_step.atoms(*size).to(device)
                if name == "e3nn":
                    neighbors = data.num_edges / data.num_nodes
                    convolution = training_step.CONVOLUTIONS[name]
                    blocks = "4x0e+1x1o", "0e", training_step.RADIUS, neighbors, convolution, hidden, lmax
                    model: torch.nn.Module = training_step.PublicBlocks(*blocks).to(device)
                else:
                    model = networks(width, name == "one operation").to(device)
                target = torch.randn(data.num_nodes, 1, device=device)
                steps[name] = training_step.training_step(model, data, target, forces)
                for _ in range(3):  # TorchScript and Triton compile
                    steps[name]()
                if device == "cuda":
                    before = torch.cuda.memory_allocated()
                    torch.cuda.reset_peak_memory_stats()
                    steps[name]()
                    memory[name] = f"{(torch.cuda.max_memory_allocated() - before) / 1e6:.0f}"
            for name, seconds in orbit_ops.race(steps, device, rounds).items():
                row = width, str(data.num_edges), "forces" if forces else "energy", name, f"{1e3 * seconds:.2f}"
                lines.append("| " + " | ".join([*row, memory.get(name, "")]) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device here")
    card = orbit_ops.device_name(args.device)
    lines = [f"# Kernels on {card}", ""]
    lines += [f"{date.today()}, `sh benchmarks/gpu.sh`, torch {torch.__version__}, {args.rows} rows.", ""]
    output = args.output or Path(__file__).parent / "results" / f"gpu-{re.sub('[^A-Za-z0-9]+', '-', card)}.md"

    def say(*more: str) -> None:  # what is known is kept, whatever comes
        lines.extend([*more, ""])
        print(*more, "", sep="\n", flush=True)
        output.write_text("\n".join(lines))

    say(f"torch_geometric {torch_geometric.__version__}, best of {args.rounds} rounds in turn with a copy.")
    say("## Right", "", check(min(args.rows, 10**5), args.device))
    say("## Bandwidth", "", *bandwidths(args.rows, args.device, args.rounds))
    size = training_step.SIZES["32 x 20"] if args.device == "cuda" else (2, 5)
    say("## Training step", "", sums_agree(args.device, (2, 5)), "", *training_steps(args.device, size, args.rounds))
    if args.device == "cuda":
        orbit_ops.main(["--device", "cuda", "--output", str(output.with_suffix(".tables"))])
        tables = output.with_suffix(".tables")
        say(tables.read_text())
        tables.unlink()


if __name__ == "__main__":
    main()
