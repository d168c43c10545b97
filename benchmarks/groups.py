"""Time of the group engine: full and partial breaking sets, cold in a process of their own, and repeated calls.

One thread. Each cold figure is that of a fresh process, without the time of the imports::

    python benchmarks/groups.py [--repeats 3]

Prints a table with the bounds that the engine keeps to and writes ``results/groups.json`` beside this file.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from pyg_symbreak.breaking import breaking_set, coset_breaking_set
from pyg_symbreak.groups import FiniteGroup, PointGroup

AXIAL = [f for n in range(2, 9) for f in (f"C{n}", f"C{n}v", f"C{n}h", f"S{2 * n}", f"D{n}", f"D{n}h", f"D{n}d")]
POLYHEDRAL = ["T", "Td", "Th", "O", "Oh", "I", "Ih"]
CONTINUOUS = ["Cinf", "Cinfv", "Cinfh", "Dinf", "Dinfh", "SO3", "O3"]
CRYSTALLOGRAPHIC = (
    *("C1", "Ci", "C2", "Cs", "C2h", "D2", "C2v", "D2h", "C4", "S4", "C4h", "D4", "C4v", "D2d", "D4h", "C3", "S6"),
    *("D3", "C3v", "D3d", "C6", "C3h", "C6h", "D6", "C6v", "D3h", "D6h", "T", "Th", "O", "Td", "Oh"),
)


def full_sets() -> int:
    names = ["C1", "Cs", "Ci", *AXIAL, *POLYHEDRAL, *CONTINUOUS]
    for name in names:
        breaking_set(PointGroup(name))
    return len(names)


def partial_sets() -> int:
    count = 0
    for name in [*CRYSTALLOGRAPHIC, "I", "Ih"]:
        group = PointGroup(name)
        for keep in group.subgroups():
            breaking_set(group, keep)
            count += 1
    return count


def abstract_sets() -> int:
    """Every subgroup class of S₆, the smallest full set of each."""
    group = FiniteGroup.from_permutations([[1, 0, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]])
    return len([coset_breaking_set(group, members[0]) for members in group.subgroup_classes])


COLD = {
    "full sets of all groups with n ≤ 8 and the continuous ones": (full_sets, 5.0),
    "all partial sets of the 32 crystallographic groups, I and Ih": (partial_sets, 60.0),
    "full sets of all subgroups of S6": (abstract_sets, None),
}
REPEATED = [("Oh", "C4v"), ("Oh", None), ("Ih", None), ("D8h", None), ("C4", None), ("Dinfh", "Cinfv"), ("O3", "Oh")]


def cold(task: str) -> None:
    """Run one task of `COLD` and print its count and seconds: the child process."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    count = COLD[task][0]()
    print(json.dumps({"count": count, "seconds": time.perf_counter() - start}))


def repeated(name: str, keep: str | None, calls: int = 50, rounds: int = 9) -> float:
    """Median milliseconds of a repeated call, in a random orientation, with a PointGroup made anew for each call."""
    turn = PointGroup("SO3").random_element(np.random.default_rng(0))
    group = PointGroup(name).rotated(turn)
    kept = None if keep is None else group.subgroup(keep)
    breaking_set(group, kept)
    times = []
    for _ in range(rounds):
        groups = [PointGroup(name).rotated(turn) for _ in range(calls)]
        start = time.perf_counter()
        for fresh in groups:
            breaking_set(fresh, kept)
        times.append((time.perf_counter() - start) / calls * 1e3)
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cold", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cold:
        cold(args.cold)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    table = Table("what", "number", "time", "bound")
    results: dict[str, dict] = {}
    for task, (_, bound) in COLD.items():
        command = [sys.executable, "-W", "ignore", __file__, "--cold", task]
        runs = []
        for _ in range(args.repeats):
            out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            runs.append(json.loads(out.splitlines()[-1]))
        seconds = sorted(run["seconds"] for run in runs)
        results[task] = {"count": runs[0]["count"], "seconds": seconds, "bound_seconds": bound}
        limit = "" if bound is None else f"{bound:g} s"
        table.add_row(
            task, str(runs[0]["count"]), f"{median(seconds):.2f} s ({seconds[0]:.2f}-{seconds[-1]:.2f})", limit
        )
    for name, keep in REPEATED:
        ms = repeated(name, keep)
        results[f"repeated {name} → {keep or 'C1'}"] = {"milliseconds": ms, "bound_milliseconds": 1.0}
        table.add_row(f"repeated call, {name} → {keep or 'C1'}", "1", f"{ms:.2f} ms", "1 ms")
    Console(width=120).print(table)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    path = Path(__file__).parent / "results" / "groups.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({"machine": platform.machine(), "load": os.getloadavg(), **versions, "results": results}, indent=1)
        + "\n"
    )


if __name__ == "__main__":
    main()
