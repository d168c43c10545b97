"""Whether bad inputs end in a clear error: random inputs, odd ones above all, to every public entry, in a worker.

    nice -n 19 python benchmarks/fuzz.py --count 100000 --seed 0 --out benchmarks/results/fuzz.json
    python benchmarks/fuzz.py --seed 0 --only 1234      # one of them, with its traceback

An input is a structure or a graph: molecules, crystals, slabs, clouds and regular graphs, most with one to three faults
(wrong shapes and types, units, values that are not finite, atoms that coincide or lie on a line, cells that are flat,
tiny, huge, skewed or left-handed, edges to nowhere, ...). It depends on the seed and its number alone. Each goes to an
entry with arguments drawn at random too, in a worker with a limit of time; a worker that dies is replaced.

Outcomes: "ok"; "refused", a ValueError or TypeError that the library raises itself, compiled or not; "leaked", one of a
library below; "other", any other exception; "crash"; "hang"; "not finite", a result with a number that is none. All
but the first two are faults; they are listed by kind, with the number of one input of that kind.
"""

import argparse
import contextlib
import json
import linecache
import math
import os
import platform
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FAULTS = ("leaked", "other", "crash", "hang", "not finite")
MEMORY = 8 * 2**30
"""Bytes that a worker may ask for."""


# ---------------------------------------------------------------------- inputs


def structure(rng: np.random.Generator) -> dict[str, Any]:
    """Attributes of a sound structure: numpy arrays ``z``, ``pos``, ``cell``, ``pbc``."""
    from ase.build import bulk, molecule

    kind = rng.integers(7)
    periodic = np.zeros(3, dtype=bool)
    cell = np.zeros((3, 3))
    if kind == 0:
        names = ["H2O", "CH4", "NH3", "C2H4", "CO2", "HCN", "C6H6", "BF3", "O2", "CH3OH", "LiH"]
        atoms = molecule(names[rng.integers(len(names))])
        z, pos = atoms.numbers, atoms.positions
    elif kind == 1:
        crystals = [
            bulk("Si"), bulk("Cu", cubic=True), bulk("CsCl", "cesiumchloride", a=4.1), bulk("Mg"),
            bulk("NaCl", "rocksalt", a=5.6),
        ]  # fmt: skip
        atoms = crystals[rng.integers(len(crystals))] * tuple(rng.integers(1, 3, 3))
        z, pos, cell, periodic = atoms.numbers, atoms.positions, atoms.cell.array, np.ones(3, dtype=bool)
    elif kind == 2:
        n = int(rng.integers(0, 12))
        z, pos = rng.integers(1, 4, n), rng.normal(size=(n, 3)) * 3
    elif kind == 3:  # a triclinic crystal
        n = int(rng.integers(1, 8))
        cell = rng.normal(size=(3, 3)) * 4
        z, pos, periodic = rng.integers(1, 3, n), rng.random((n, 3)) @ cell, rng.random(3) < 0.7
    elif kind == 4:  # on a line, a circle or a grid
        n = int(rng.integers(1, 10))
        angle = 2 * np.pi * np.arange(n) / n
        shapes = [
            np.outer(np.arange(n), [0, 0, 1.2]),
            np.outer(np.arange(n), [1, 1, 1]),
            3 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1),
            1.5 * np.stack(np.unravel_index(np.arange(n), (2, 2, 3)), 1),
        ]
        z, pos = np.ones(n, dtype=int) * rng.integers(1, 4), shapes[rng.integers(4)]
    elif kind == 5:  # a layer
        cell = np.diag([rng.uniform(2, 5), rng.uniform(2, 5), rng.choice([0.0, 20.0])])
        z, pos, periodic = np.array([6, 6]), np.array([[0, 0, 0], [1.1, 1.3, 0.2]]), np.array([True, True, False])
    else:
        z, pos = np.array([rng.integers(1, 119)]), rng.normal(size=(1, 3))
    return {"z": z.copy(), "pos": pos.astype(float), "cell": cell.copy(), "pbc": periodic.copy()}


def spoil(rng: np.random.Generator, s: dict[str, Any]) -> None:
    """One fault of values: units, degenerate geometry, what is not finite."""
    pos, cell, n = s["pos"], s["cell"], len(s["pos"])
    kind = rng.integers(16)
    scale = 10.0 ** rng.uniform(-14, 14)
    some = int(rng.integers(n)) if n else None
    if kind == 0:
        s["pos"], s["cell"] = pos * scale, cell * scale
    elif kind == 1:
        s["cell"] = cell * scale
    elif kind == 2:
        s["pos"] = pos * scale
    elif kind == 3:
        s["pos"] = pos + rng.normal(size=3) * scale
    elif kind == 4 and n:
        pos[some] *= scale
    elif kind == 5 and n:
        pos[some, rng.integers(3)] = rng.choice([np.nan, np.inf, -np.inf, 1e308, 1e-320])
    elif kind == 6:
        cell[rng.integers(3), rng.integers(3)] = rng.choice([np.nan, np.inf, -np.inf, 1e308, 1e-320, -0.0])
    elif kind == 7 and n:
        pos[some] = pos[rng.integers(n)] + rng.choice([0, 1e-9, 5e-3, 0.02]) * rng.normal(size=3)
    elif kind == 8:
        s["pos"] = np.outer(pos @ rng.normal(size=3), rng.normal(size=3))
    elif kind == 9:
        cell[rng.integers(3)] = rng.choice([0.0, 1, -1]) * cell[rng.integers(3)] + rng.choice([0, 1e-9, 1e-3])
    elif kind == 10:
        s["cell"] = cell[rng.permutation(3)] * rng.choice([-1, 1])
    elif kind == 11:
        s["pbc"] = rng.random(3) < 0.5
    elif kind == 12 and cell.any():
        s["pos"] = pos + rng.integers(-(10 ** int(rng.integers(1, 8))), 100, (n, 3)) @ cell
    elif kind == 13:
        s["z"] = rng.choice([0, 1, 118, 119, -1, 10**6, 2**31], n)
    elif kind == 14 and cell.any():  # another basis of the lattice, skewed
        change = np.eye(3, dtype=int)
        change[0, 1], change[1, 2] = rng.integers(-(10 ** int(rng.integers(1, 5))), 50, 2)
        s["cell"] = change @ cell
    elif kind == 15:
        s["pos"], s["z"] = pos[:0], s["z"][:0]


def retype(rng: np.random.Generator, attributes: dict[str, Any]) -> None:
    """One fault of types or shapes in the attributes of a Data."""
    import torch

    name = list(attributes)[rng.integers(len(attributes))]
    value = attributes[name]
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.device.type == "meta":
        return  # odd enough
    odd: list[Callable[[], Any]] = [
        lambda: None,
        lambda: value.tolist(),
        lambda: value.numpy(),
        lambda: value.reshape(-1),
        lambda: value[None],
        lambda: value[..., :-1] if value.dim() else value,
        lambda: value[:-1] if value.dim() else value,
        lambda: value.T if value.dim() == 2 else value,
        lambda: torch.cat([value, value]),
        lambda: value.to(torch.float16),
        lambda: value.to(torch.bfloat16),
        lambda: value.to(torch.complex64),
        lambda: value.to(torch.int32),
        lambda: value.to(torch.uint8),
        lambda: value.bool(),
        lambda: value.float().requires_grad_(),
        lambda: value.double().T.contiguous().T if value.dim() == 2 else value,
        lambda: bool(rng.random() < 0.5),
        lambda: "word",
        lambda: 3,
        lambda: 2.5,
        lambda: torch.tensor(1.0),
        lambda: torch.zeros(0),
        lambda: value.to_sparse() if value.dim() else value,
        lambda: value.to("meta"),
        lambda: value.expand(3, *value.shape),
    ]
    with contextlib.suppress(RuntimeError, TypeError):  # not everything can be done to what is odd already
        attributes[name] = odd[rng.integers(len(odd))]()


def structure_input(rng: np.random.Generator, faults: int) -> Any:
    """A structure as Data, Atoms, or what holds one, with some faults."""
    import torch
    from ase import Atoms
    from torch_geometric.data import Batch, Data, HeteroData

    s = structure(rng)
    values = int(rng.integers(faults + 1))
    for _ in range(values):
        spoil(rng, s)
    n = len(s["pos"])
    extra = {
        "charge": rng.choice([1.0, 2.0, np.nan] if rng.random() < 0.1 else [1.0, 2.0], n),
        "moment": rng.choice([0, 1, -1], (n, 3)).astype(float) * (1e300 if rng.random() < 0.02 else 1),
    }
    if rng.random() < 0.4:
        z = s["z"] if (s["z"] < 2**15).all() else np.minimum(s["z"], 2**15)
        atoms = Atoms(numbers=z, positions=s["pos"], cell=s["cell"], pbc=s["pbc"])
        for name, value in extra.items():
            atoms.set_array(name, value)
        if rng.random() < 0.2:
            atoms.set_initial_magnetic_moments(extra["moment"])
            atoms.info = {"charge": 1, "index": [1, 2], "deep": {"a": 1}, "text": "x"}
        return atoms
    dtype = torch.float64 if rng.random() < 0.7 else torch.float32
    attributes: dict[str, Any] = {
        "pos": torch.tensor(s["pos"], dtype=dtype),
        "z": torch.tensor(s["z"], dtype=torch.long),
        "cell": torch.tensor(s["cell"], dtype=dtype)[None],
        "pbc": torch.tensor(s["pbc"])[None],
        "charge": torch.tensor(extra["charge"], dtype=dtype),
        "moment": torch.tensor(extra["moment"], dtype=dtype),
    }
    for _ in range(faults - values):
        retype(rng, attributes)
    data = Data(**attributes)
    wrapped = rng.random()
    if wrapped < 0.01:
        return [None, "Si", 3, {"pos": s["pos"]}, s["pos"], HeteroData(), Data(), torch.zeros(3, 3)][rng.integers(8)]
    if wrapped < 0.02 and faults == 0:
        return Batch.from_data_list([data, data])
    return data


def graph_input(rng: np.random.Generator, faults: int) -> Any:
    """A graph without positions as Data, with some faults."""
    import networkx as nx
    import torch
    from torch_geometric.data import Data

    n = int(rng.integers(1, 13))
    seed = int(rng.integers(2**31))
    makers: list[Callable[[], nx.Graph]] = [
        lambda: nx.cycle_graph(n),
        lambda: nx.gnp_random_graph(n, 0.3, seed=seed, directed=bool(rng.random() < 0.5)),
        lambda: nx.star_graph(n),
        lambda: nx.petersen_graph(),
        lambda: nx.empty_graph(n),
        lambda: nx.complete_graph(n),
        lambda: nx.random_labeled_tree(n, seed=seed),
        lambda: nx.hypercube_graph(3),
    ]
    graph = nx.convert_node_labels_to_integers(makers[rng.integers(len(makers))]())
    n = graph.number_of_nodes()
    arcs = np.array(list(graph.to_directed().edges), dtype=np.int64).reshape(-1, 2).T
    kinds = rng.integers(8, size=faults)
    if 0 in kinds:
        arcs = np.concatenate([arcs, [[0], [0]]], axis=1)  # a loop
    if 1 in kinds and arcs.size:
        arcs = np.repeat(arcs, 2, axis=1)[:, :-1]
    if 2 in kinds and arcs.size:
        arcs[rng.integers(2), rng.integers(arcs.shape[1])] = rng.choice([-1, n, 10**9, -(2**40)])
    if 3 in kinds:
        n += int(rng.choice([3, -1, -n]))
    attributes: dict[str, Any] = {"edge_index": torch.tensor(arcs)}
    if 4 not in kinds:
        attributes["num_nodes"] = n
    attributes["charge"] = torch.tensor(rng.choice([1.0, 2.0, np.nan], max(n, 0), p=[0.5, 0.45, 0.05]))
    attributes["edge_attr"] = torch.tensor(rng.choice([1.0, 2.0], (arcs.shape[1], 1)))
    for _ in range(int((kinds > 4).sum())):
        retype(rng, attributes)
    return Data(**attributes)


# ---------------------------------------------------------------------- entries


def symprec(rng: np.random.Generator) -> Any:
    """A tolerance, most often a good one."""
    odd = ["auto", 0.0, -1.0, math.nan, math.inf, None, "word", True, 1, 1e-300, 1e6, [1e-3], np.float32(1e-2)]
    return odd[rng.integers(len(odd))] if rng.random() < 0.25 else float(10 ** rng.uniform(-6, -0.7))


def features(rng: np.random.Generator) -> Any:
    """Names of features, most often none."""
    odd = [
        ["charge"], {"moment": "1e"}, {"charge": "0e", "moment": "1o"}, {"moment": "2e"}, {"moment": "word"},
        ["missing"],
        "charge", {"moment": None}, 3, None, [3], ["charge", "moment"], {"charge": "0o"}, ["edge_attr"], [""],
    ]  # fmt: skip
    return odd[rng.integers(len(odd))] if rng.random() < 0.3 else ()


def call(rng: np.random.Generator) -> tuple[str, Callable[[], Any]]:
    """An entry with its input: its name, and the call."""
    from pyg_symbreak import breaking, detect, diagnosis, distort, losses, structures, transforms

    faults = int(rng.choice([0, 1, 1, 1, 2, 2, 3]))
    graph = rng.random() < 0.2
    x = graph_input(rng, faults) if graph else structure_input(rng, faults)
    tolerance, named = symprec(rng), features(rng)
    strategies = ["group", "input", "sympe", "noise"]
    chosen = rng.choice(strategies)
    choose = ["sample", "all", 0, 1, -1, 10**9][rng.choice(6, p=[0.4, 0.2, 0.25, 0.05, 0.05, 0.05])]
    keep = [None, "C1", "C2v", "Cs", "word", "C4v"][rng.choice(6, p=[0.7, 0.1, 0.05, 0.05, 0.05, 0.05])]
    cutoff = [3.0, 1e-3, 50.0, 1e12, 0, None][rng.choice(6, p=[0.7, 0.06, 0.06, 0.06, 0.06, 0.06])]

    def second() -> Any:
        """A target: another input, a moved copy, or vectors."""
        kind = rng.integers(4)
        if kind == 0:
            return structure_input(rng, faults)
        if kind == 1:
            return rng.normal(size=(int(rng.integers(0, 6)), 3)) * rng.choice([1, np.nan, 1e300])
        moved = x.copy() if hasattr(x, "rattle") else x.clone() if hasattr(x, "clone") else x
        if hasattr(moved, "rattle"):
            moved.positions = moved.positions + rng.normal(size=moved.positions.shape) * 10.0 ** rng.uniform(-4, 1)
        return moved

    def with_neighbours() -> Any:
        return transforms.NeighborList(cutoff)(x)

    def averaged() -> Any:
        return [detect.symmetrize(x, s) for s in detect.approximate_symmetries(x, features=named)[-1:]]

    def broken() -> Any:
        arguments = {} if keep is None else {"keep": keep}
        arguments |= {"on": "nodes"} if rng.random() < 0.2 else {}
        t = transforms.AddSymmetryBreaking(chosen, choose=choose, symprec=tolerance, features=named, **arguments)
        return t(x)

    def canonical() -> Any:
        kernel = breaking.canonicalize(x, tolerance, named)
        return kernel.canonical, kernel.sample(2)

    def ids() -> Any:
        return transforms.OrbitIndividualization(int(rng.integers(0, 30)), symprec=tolerance, features=named)(x)

    def distorted() -> Any:
        if len(structures.check_structure(x)) > 8:
            return None
        return distort.distortions(x, tolerance, strain=bool(rng.random() < 0.3))

    def converted() -> None:
        structures.to_ase(structures.from_ase(x) if hasattr(x, "rattle") else x)  # what is not finite stays so

    y = second() if not graph else x
    entries: list[tuple[str, Callable[[], Any]]] = [
        ("detect_symmetry", lambda: detect.detect_symmetry(x, tolerance, features=named)),
        (f"AddSymmetryBreaking {chosen}", broken),
        ("canonicalize", canonical),
        ("AddSymmetry", lambda: transforms.AddSymmetry(tolerance, named)(x)),
        ("OrbitIndividualization", ids),
    ]
    if not graph:
        entries += [
            ("check_structure", lambda: structures.check_structure(x)),
            ("from_ase, to_ase", converted),
            ("NeighborList", with_neighbours),
            ("approximate_symmetries, symmetrize", averaged),
            ("input_breaking_set", lambda: breaking.input_breaking_set(x, keep, None, tolerance, named)),
            ("diagnose", lambda: diagnosis.diagnose(x, y, tolerance)),
            ("match_atoms", lambda: structures.match_atoms(x, y)),
            ("CrystalMismatch", lambda: losses.CrystalMismatch(x, y)(structures.from_ase(structures.to_ase(x)).pos)),
            ("distortions", distorted),
        ]
    return entries[rng.integers(len(entries))]


def finite(x: Any, depth: int = 3) -> bool:
    """Whether all numbers in a result's arrays are finite."""
    import torch
    from ase import Atoms
    from torch_geometric.data import Data

    if isinstance(x, torch.Tensor):
        return not x.is_floating_point() or x.is_sparse or x.device.type == "meta" or bool(x.isfinite().all())
    if isinstance(x, np.ndarray):
        return x.dtype.kind not in "fc" or bool(np.isfinite(x).all())
    if depth == 0:
        return True
    if isinstance(x, Atoms):
        return finite(x.positions) and finite(x.cell.array)
    if isinstance(x, Data):
        made = ("pos", "cell", "breaking", "edge_shift", "x")
        return all(finite(x[name], 1) for name in made if x.get(name) is not None)
    if isinstance(x, list | tuple):
        return all(finite(item, depth - 1) for item in x)
    held = getattr(x, "__dict__", {})
    return all(finite(value, depth - 1) for name, value in held.items() if not name.startswith("_"))


def outcome(seed: int, number: int) -> dict[str, Any]:
    """What becomes of an input."""
    rng = np.random.default_rng([seed, number])
    np.random.seed(number % 2**32)  # noqa: NPY002
    import torch

    torch.manual_seed(number)
    name, made = call(rng)
    try:
        result = made()
    except BaseException as error:
        return {"entry": name} | classified(error)
    return {"entry": name, "outcome": "ok" if finite(result) else "not finite", "kind": name}


def classified(error: BaseException) -> dict[str, Any]:
    """Kind of an exception: whether the library raised it itself, and where."""
    root = error
    while root.__cause__ is not None and str(root).endswith(str(root.__cause__)):  # only a name was put before it
        root = root.__cause__
    frames = traceback.extract_tb(root.__traceback__)
    inner = frames[-1]
    ours = [frame for frame in frames if "pyg_symbreak" in frame.filename]
    line = linecache.getline(inner.filename, inner.lineno or 0).strip()
    compiled = "_native." in line and "buffer" not in str(root)  # but for those of its own making
    raised = "pyg_symbreak" in inner.filename and (compiled or line.startswith("raise"))
    clear = isinstance(error, ValueError | TypeError)
    kind = "other" if not clear else "refused" if raised else "leaked"
    at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else f"{Path(inner.filename).name}:{inner.lineno}"
    return {"outcome": kind, "kind": f"{type(error).__name__} at {at}: {str(root)[:100]}", "at": at}


# ---------------------------------------------------------------------- processes


def work(seed: int) -> None:
    """Read numbers, write outcomes, a line each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(1)
    from pyg_symbreak import distort, transforms  # noqa: F401  so that the limit of time is not spent on imports

    print("ready", file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(outcome(seed, int(line))), file=out, flush=True)


class Worker:
    """A process that works; started anew where it died."""

    def __init__(self, seed: int, limit: float):
        self.seed, self.limit = seed, limit
        self.process: subprocess.Popen | None = None

    def __call__(self, number: int) -> dict[str, Any]:
        """What becomes of an input."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--worker", "--seed", str(self.seed)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
            )  # fmt: skip
            assert self.process.stdout
            self.process.stdout.readline()
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], self.limit)[0]:
            return self._ended("hang", f"more than {self.limit:g} s")
        answer = self.process.stdout.readline()
        if not answer:
            code = self.process.wait()
            return self._ended("crash", signal.Signals(-code).name if code < 0 else f"exit {code}")
        return json.loads(answer)

    def _ended(self, outcome: str, kind: str) -> dict[str, Any]:
        assert self.process
        self.process.kill()
        self.process.wait()
        self.process = None
        return {"entry": "?", "outcome": outcome, "kind": kind}


def entry_of(seed: int, number: int) -> str:
    """Name of the entry that an input goes to."""
    return call(np.random.default_rng([seed, number]))[0]


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for an input")
    parser.add_argument("--only", type=int, help="run this input here and show what it raises")
    parser.add_argument("--out", type=Path, help="JSON for the figures")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments.seed)
    if arguments.only is not None:
        name, made = call(np.random.default_rng([arguments.seed, arguments.only]))
        print(name)
        print(made())
        return None
    worker = Worker(arguments.seed, arguments.limit)
    counts: dict[str, Counter] = {}
    kinds: dict[tuple[str, str], dict[str, Any]] = {}
    start = time.time()
    for number in range(arguments.first, arguments.first + arguments.count):
        found = worker(number)
        if found["entry"] == "?":
            found["entry"] = entry_of(arguments.seed, number)
        counts.setdefault(found["entry"], Counter())[found["outcome"]] += 1
        if found["outcome"] in FAULTS:
            where = found.get("at", found["entry"])
            kind = kinds.setdefault((found["outcome"], where), found | {"count": 0, "number": number})
            if kind["count"] == 0:
                print(number, found["entry"], found["outcome"], found["kind"], flush=True)
            kind["count"] += 1
        if arguments.out and (number % 500 == 499 or number == arguments.first + arguments.count - 1):
            total = sum(counts.values(), Counter())
            report = {
                "seed": arguments.seed,
                "first": arguments.first,
                "inputs": number + 1 - arguments.first,
                "seconds": round(time.time() - start),
                "limit_seconds": arguments.limit,
                "machine": platform.machine(),
                "python": platform.python_version(),
                "outcomes": total,
                "entries": dict(sorted(counts.items())),
                "faults": sorted(kinds.values(), key=lambda kind: -kind["count"]),
            }
            arguments.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(dict(sum(counts.values(), Counter())), f"{time.time() - start:.0f} s")
    return None


if __name__ == "__main__":
    main()
