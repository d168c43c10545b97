"""Per-orbit aggregation beside its peers, in one run: python benchmarks/orbit_ops.py [--device cuda].

Two questions: what mean-and-broadcast over orbits costs, forward and backward, against a copy of the same bytes
and against the scatters that do the same; and what the projection of vectors on symmetric ones costs for graphs
of the group O_h, against the sum over group elements written in the usual ways. What does not depend on the
features (orbits, table, matrices, permutations) is built before the clock starts. Contestants take turns; the time
of each is its best. On the CPU the first question is asked twice: with fresh memory, where the system hands out
and clears the pages of each large result, and with warm memory, where the allocator keeps them.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.utils import scatter, segment

from pyg_symbreak.groups import PointGroup
from pyg_symbreak.ops import Orbits, orbit_project, orbit_reduce, resolve_method

try:
    import torch_scatter
except ImportError:
    torch_scatter = None

SIZES = torch.tensor([1, 2, 3, 4, 6, 8, 12, 24, 48])  # of the orbits of O_h and its subgroups
GRAPH = 200  # nodes of a graph, among which orbits mix where nodes are not sorted
Contestants = dict[str, Callable[[], object]]


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def race(contestants: Contestants, device: str, rounds: int) -> dict[str, float]:
    """The best time of each in seconds, after one round that does not count."""
    best = dict.fromkeys(contestants, float("inf"))
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            begin = clock(device)
            result = run()
            seconds = clock(device) - begin
            del result
            if turn:
                best[name] = min(best[name], seconds)
    return best


def keep_memory_warm() -> None:
    """Make glibc keep freed memory instead of returning it: M_MMAP_MAX = 0 and M_TRIM_THRESHOLD at its largest."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(-4, 0)
    libc.mallopt(-1, 2**31 - 1)


def partition(nodes: int, arrangement: str, device: str) -> Tensor:
    """The orbit of each node: sorted, mixed within graphs, or mixed altogether."""
    generator = torch.Generator().manual_seed(0)
    sizes = SIZES[torch.randint(len(SIZES), (nodes // 4 + 1,), generator=generator)]
    node = torch.arange(len(sizes)).repeat_interleave(sizes)[:nodes]
    if arrangement == "mixed within graphs":
        keys = torch.arange(nodes) // GRAPH + torch.rand(nodes, generator=generator, dtype=torch.float64)
        node = node[keys.argsort()]
    elif arrangement == "mixed":
        node = node[torch.randperm(nodes, generator=generator)]
    return node.to(device)


def reduction_contestants(x: Tensor, grad: Tensor, node: Tensor, arrangement: str) -> Contestants:
    """Mean over each orbit, given to its nodes: forward and backward of each way to write it."""
    orbits = Orbits.from_index(node)
    count, offsets = orbits.num_orbits, orbits.offsets
    sizes = offsets.diff().to(x.dtype)[:, None]

    def both(forward: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(forward(), x, grad)

    def index_add() -> Tensor:
        return (x.new_zeros(count, x.shape[1]).index_add(0, node, x) / sizes).index_select(0, node)

    ways: Contestants = {
        "copy of the same bytes": lambda: (x.detach().clone(), grad.clone()),
        "orbit_reduce": both(lambda: orbit_reduce(x, orbits, "mean", broadcast=True)),
        "index_add": both(index_add),
        "PyG scatter": both(lambda: scatter(x, node, 0, count, "mean").index_select(0, node)),
    }
    if arrangement == "sorted":
        ways["PyG segment"] = both(lambda: segment(x, offsets, "mean").index_select(0, node))
    if torch_scatter is not None:
        ts = torch_scatter
        ways["torch_scatter scatter"] = both(lambda: ts.scatter_mean(x, node, 0, None, count).index_select(0, node))
        if arrangement == "sorted":
            ways["torch_scatter segment_csr"] = both(
                lambda: ts.gather_csr(ts.segment_csr(x, offsets, reduce="mean"), offsets)
            )
    return ways


def cube_graphs(count: int, turned: bool, device: str) -> tuple[Orbits, list[Tensor], Tensor]:
    """Graphs with a node set of every kind of site of O_h, 147 nodes: orbits, matrices and inverse permutations."""
    generator = torch.Generator().manual_seed(0)
    elements = torch.as_tensor(PointGroup("Oh").matrices)
    kinds = [(0, 0, 0), (1, 0, 0), (1, 1, 1), (1, 1, 0), (1, 2, 0), (1, 1, 2), (2, 2, 1), (1, 2, 3)]
    points = torch.cat(
        [
            (elements @ torch.tensor(kind, dtype=torch.float64)).round().unique(dim=0) * (1 + i / 10)
            for i, kind in enumerate(kinds)
        ]
    )
    images = points @ elements.transpose(1, 2)
    permutations = torch.cdist(images, points.expand(len(elements), -1, -1)).argmin(dim=2)
    graph = Orbits.from_group(permutations, elements)
    graphs, matrices = [], []
    for _ in range(count):
        q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0] if turned else torch.eye(3)
        turned_elements = q.double() @ elements @ q.double().T
        graphs.append(replace(graph, matrices=turned_elements))
        matrices.append(turned_elements.float().to(device))
    return Orbits.cat(graphs).to(device), matrices, permutations.argsort(dim=1).to(device)


def projection_contestants(x: Tensor, orbits: Orbits, matrices: list[Tensor], inverse: Tensor) -> Contestants:
    """The projection of `mul` vectors on each node, on those that the group of each graph fixes."""
    order, nodes = inverse.shape
    mul = x.shape[1] // 3
    irreps = f"{mul}x1o"
    table = orbits.table(irreps)
    all_matrices = torch.stack(matrices)
    w = orbits._coset_means([o3.Irrep("1o")])[0].to(x)

    def per_graph() -> Tensor:
        parts = [
            torch.einsum("gab,gnub->nua", d, part[inverse].view(order, nodes, mul, 3)) / order
            for d, part in zip(matrices, x.split(nodes), strict=True)
        ]
        return torch.cat(parts).flatten(1)

    def materialized() -> Tensor:
        pairs = x.view(len(matrices), nodes, mul, 3)[:, inverse]
        return torch.einsum("sgab,sgnub->snua", all_matrices, pairs).reshape(x.shape) / order

    def looped() -> Tensor:
        features = x.view(len(matrices), nodes, mul, 3)
        total = torch.zeros_like(features)
        for g in range(order):
            total += torch.einsum("sab,snub->snua", all_matrices[:, g], features[:, inverse[g]])
        return total.view(x.shape) / order

    def tiny_matrices() -> Tensor:
        transport = w.index_select(0, orbits.coset)
        local = torch.bmm(x.view(-1, mul, 3), transport).flatten(1)
        mean = orbit_reduce(local, orbits, "mean", broadcast=True).view(-1, mul, 3)
        return torch.bmm(mean, transport.transpose(1, 2)).flatten(1)

    ways = {
        "orbit_project": lambda: orbit_project(x, orbits, irreps, table=table),
        "sum over the group, einsum of each graph": per_graph,
        "sum over the group, element by element": looped,
        "factorized, matrix products of 3 × 3": tiny_matrices,
    }
    if x.numel() * order < 5e8:
        ways["sum over the group, materialized"] = materialized
    expected = per_graph()
    for name, run in ways.items():
        torch.testing.assert_close(run(), expected, rtol=1e-4, atol=1e-4, msg=f"{name} is wrong")
    return ways


def report(title: str, times: dict[str, float], ours: str, unit: float, unit_name: str) -> list[str]:
    """A Markdown table: the time of each and its ratio to ours and to the reference."""
    lines = [f"### {title}", "", f"| | ms | {unit_name} | ÷ ours |", "| --- | ---: | ---: | ---: |"]
    for name, seconds in times.items():
        ratio = seconds / times[ours]
        lines.append(f"| {name} | {seconds * 1e3:.2f} | {seconds / unit:.2f} | {ratio:.2f} |")
    return [*lines, ""]


def best_peer(times: dict[str, float], ours: str) -> str:
    peers = {n: t for n, t in times.items() if n not in (ours, "copy of the same bytes")}
    name = min(peers, key=peers.__getitem__)
    return f"{peers[name] / times[ours]:.2f}× faster than the best peer ({name})"


def many_rows() -> str:
    """10^8 rows on a GPU: more elements than an int32 can count."""
    nodes, channels = 10**8, 32
    node = torch.arange(nodes, device="cuda") // 8
    orbits = Orbits(node, torch.arange(nodes, device="cuda"), torch.arange(0, nodes + 1, 8, device="cuda"))
    x = torch.randn(nodes, channels, device="cuda")
    y = orbit_reduce(x, orbits, "mean", broadcast=True)
    torch.testing.assert_close(y[-8:], x[-8:].mean(0).expand(8, -1))
    torch.testing.assert_close(y[:8], x[:8].mean(0).expand(8, -1))
    again = orbit_reduce(x, orbits, "mean", broadcast=True)
    assert torch.equal(y, again)
    return f"10^8 rows × {channels} channels: right at both ends, and the same bits twice."


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    return f"{model}, {torch.get_num_threads()} thread(s), load average {os.getloadavg()[0]:.1f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--nodes", type=int, default=10**6)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--graphs", type=int, default=680, help="graphs of 147 nodes for the projection")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="a Markdown file to write the tables to")
    args = parser.parse_args(arguments)
    device = args.device
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device here: run with --device cpu")

    lines = [
        "# Per-orbit aggregation",
        "",
        f"{date.today()}, {device_name(device)}, torch {torch.__version__}, method {resolve_method('auto', device)}, "
        f"torch_scatter {torch_scatter.__version__ if torch_scatter else 'not installed'}; float32, best of "
        f"{args.rounds} rounds in turn.",
        "",
        f"## Mean over orbits, given to the nodes: forward and backward, {args.nodes} × {args.channels}",
        "",
    ]
    x = torch.randn(args.nodes, args.channels, device=device, requires_grad=True)
    grad = torch.randn(args.nodes, args.channels, device=device)
    memories = ("fresh memory", "warm memory") if device == "cpu" else ("",)
    for memory, arrangement in itertools.product(memories, ("sorted", "mixed within graphs", "mixed")):
        if memory == "warm memory":
            keep_memory_warm()
        ways = reduction_contestants(x, grad, partition(args.nodes, arrangement, device), arrangement)
        times = race(ways, device, args.rounds)
        title = f"Nodes {arrangement}" + (f", {memory}" if memory else "")
        lines += report(title, times, "orbit_reduce", times["copy of the same bytes"], "÷ copy")
        lines += [f"orbit_reduce is {best_peer(times, 'orbit_reduce')}.", ""]
    del x, grad

    lines += [f"## Projection of vectors, {args.graphs} graphs of O_h with 147 nodes each, forward", ""]
    for turned, mul in itertools.product((False, True), (1, 16)):
        orbits, matrices, inverse = cube_graphs(args.graphs, turned, device)
        begin = clock(device)
        orbits.table("1o")
        seconds = clock(device) - begin
        features = torch.randn(orbits.num_nodes, 3 * mul, device=device)
        ways = projection_contestants(features, orbits, matrices, inverse)
        times = race(ways, device, args.rounds)
        frame = "each in its own orientation" if turned else "all in one orientation"
        lines += report(f"{mul} vector(s) a node, {frame}", times, "orbit_project", features.numel() * 4e-9, "s/GB")
        lines += [f"The table of orbit_project took {seconds:.2f} s to build.", ""]
    if device == "cuda":
        lines += ["## Large input", "", many_rows(), ""]
    text = "\n".join(lines)
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
