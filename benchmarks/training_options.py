"""What `pyg-symbreak train` gains from keeping freed memory and from compiling, in a process of its own each.

CPU time of a training step (forward, backward, Adam) of a GatedNetwork on one thread, page faults of a step, and the
peak of the process; the first steps, compilation among them, are told apart::

    python benchmarks/training_options.py [--output benchmarks/results/training_options.md]
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch_geometric.data import Batch, Data

from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.training.memory import keep_freed_memory
from pyg_symbreak.transforms import NeighborList

HIDDEN = "32x0e+32x0o+16x1e+16x1o+8x2e+8x2o"
GRAPHS, ATOMS, STEPS, FIRST = 32, 20, 10, 3


def structures() -> Batch:
    """Random atoms of a density of 0.05 Å⁻³, with an object each."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for _ in range(GRAPHS):
        pos = (ATOMS / 0.05) ** (1 / 3) * torch.rand(ATOMS, 3, generator=generator)
        graph = NeighborList(3.5)(Data(pos=pos))
        graph.x, graph.breaking = torch.ones(ATOMS, 1), torch.randn(1, 3, generator=generator)
        graphs.append(graph)
    return Batch.from_data_list(graphs)


def measure(keeps: bool, compiles: bool) -> dict[str, float]:
    """Of one process."""
    torch.set_num_threads(1)
    if keeps:
        keep_freed_memory()
    torch.manual_seed(0)
    data = structures()
    model = GatedNetwork("0e", "1o", "1o", max_radius=3.5, hidden=HIDDEN, lmax=2, layers=2)
    if compiles:
        model.compile()
    optimizer = torch.optim.Adam(model.parameters())
    marks = []
    for step in range(FIRST + STEPS):
        if step in (0, FIRST):
            marks.append((time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt))
        optimizer.zero_grad()
        model(data).square().mean().backward()
        optimizer.step()
    marks.append((time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt))
    (start, _), (middle, faults), (end, all_faults) = marks
    return {
        "step": (end - middle) / STEPS,
        "faults": (all_faults - faults) / STEPS,
        "first": middle - start,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "edges": data.num_edges,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--case", nargs=2, type=int)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "training_options.md")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(*map(bool, args.case))))
        return
    rows = []
    for keeps, compiles, name in ((0, 0, "as it is"), (1, 0, "freed memory kept"), (0, 1, "compiled"), (1, 1, "both")):
        command = [sys.executable, __file__, "--case", str(keeps), str(compiles)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        cells = f"{1e3 * found['step']:.0f}", f"{found['faults']:.0f}", f"{found['first']:.1f}", f"{found['peak']:.0f}"
        rows.append(f"| {name} | {' | '.join(cells)} |")
    lines = [
        "# What training gains from its options",
        "",
        f"{GRAPHS} structures of {ATOMS} atoms, {found['edges']} edges, hidden {HIDDEN}, l ≤ 2, float32, one thread; "
        f"mean of {STEPS} steps after {FIRST}; `python benchmarks/training_options.py`, torch {torch.__version__}. "
        "The last row finds in torch's cache what the third has compiled.",
        "",
        f"| | CPU ms a step | page faults a step | CPU s of the first {FIRST} | peak MB |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]
    args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
