"""Flows beside what they are measured against, three seeds each.

``gauge`` fits gauge flows and measures them beside exact sums; ``chains`` runs hybrid Monte Carlo for the same
theories, per step and per second of CPU::

    OMP_NUM_THREADS=1 python benchmarks/flows.py gauge [--seeds 3] [--only 0] [--output benchmarks/results/flows.json]
    OMP_NUM_THREADS=1 python benchmarks/flows.py chains

Results are added to the file as they come; ``table`` prints the tables of benchmarks/results/flows.md from them.
``vacua`` trains the mixture of examples/vacua.py on exact samples alone, ``hamiltonian`` one kind of flow of
examples/hamiltonian_flow.py; both print what they find.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from pyg_symbreak.flows import (
    FieldFlow,
    GaugeFlow,
    VacuumMixture,
    autocorrelation,
    effective_sample_size,
    exact_sums,
    fit_action,
    fit_samples,
    hybrid_monte_carlo,
    log_partition,
    metropolis,
    reweight,
    square_lattice,
    triangular_lattice,
)
from pyg_symbreak.groups import PointGroup

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import hamiltonian_flow
import vacua as fields

OUTPUT = Path("benchmarks/results/flows.json")
LATTICES = {"square": square_lattice, "triangular": triangular_lattice}
SAMPLES = 20_480
# lattice, sites on a side, beta, schedule, steps of fit_plaquettes, steps of fit_action
RUNS = [
    ("square", 8, 2.0, "tree", 1500, 0),
    ("square", 8, 5.0, "tree", 1500, 0),
    ("triangular", 8, 2.0, "tree", 1500, 0),
    ("triangular", 8, 5.0, "tree", 1500, 0),
    ("square", 16, 5.0, "tree", 3000, 0),
    ("square", 8, 2.0, "tree", 0, 300),
    ("square", 8, 2.0, "stripes", 0, 300),
    ("square", 8, 5.0, "tree", 0, 300),
    ("square", 8, 5.0, "stripes", 0, 300),
]
# step size and trajectories of hybrid Monte Carlo: ten leap-frog steps each, 64 chains
CHAINS = {2.0: (0.15, 1000), 5.0: (0.1, 4000)}
app = typer.Typer()


def add(output: Path, row: dict) -> None:
    """Write a result, and show it."""
    output.parent.mkdir(exist_ok=True, parents=True)
    rows = json.loads(output.read_text()) if output.exists() else []
    output.write_text(json.dumps([*rows, row], indent=1) + "\n")
    print(row, flush=True)


def gauge_flow(lattice: str, size: int, beta: float, schedule: str, fit: int, train: int, seed: int) -> dict:
    """One flow, fitted and measured."""
    torch.manual_seed(seed)
    complex = LATTICES[lattice](size)
    start = time.process_time()
    flow = GaugeFlow(complex, schedule)
    if fit:
        flow.fit_plaquettes(beta, fit)
    if train:
        fit_action(flow, lambda x: complex.action(x, beta), train, lr=3e-3)
    trained = time.process_time()
    flow.double()
    with torch.no_grad():
        parts = [flow.sample(1024) for _ in range(SAMPLES // 1024)]
    sampled = time.process_time()
    links, log_prob = (torch.cat(x) for x in zip(*parts, strict=True))
    log_weights = -complex.action(links, beta) - log_prob - complex.num_links * math.log(2 * math.pi)
    chain, rate = metropolis(log_weights)
    charge = complex.charge(links)
    exact = exact_sums(beta, complex.num_plaquettes)
    found = {
        "plaquette": reweight(complex.plaquettes(links).cos().mean(1), log_weights),
        "charge_squared": reweight(charge**2, log_weights),
        "log_z": log_partition(log_weights),
    }
    tau = autocorrelation(charge[chain])
    return {
        **{"kind": "flow", "lattice": lattice, "size": size, "beta": beta, "schedule": schedule, "fit": fit},
        **{"train": train, "seed": seed, "ess": effective_sample_size(log_weights), "acceptance": rate},
        **{"tau": tau.value, "tau_error": tau.error, "train_seconds": trained - start},
        "step_seconds": (sampled - trained) / SAMPLES,
        **{name: [*value, getattr(exact, name)] for name, value in found.items()},
    }


def gauge_chain(lattice: str, size: int, beta: float, seed: int) -> dict:
    """Hybrid Monte Carlo for the same theory, from links at rest."""
    complex = LATTICES[lattice](size)
    step, trajectories = CHAINS[beta]
    generator = torch.Generator().manual_seed(seed)
    start = time.process_time()
    links = torch.zeros(64, complex.num_links)
    charges, plaquettes, rates = [], [], []
    for _ in range(trajectories // 100):
        states, rate = hybrid_monte_carlo(lambda x: complex.action(x, beta), links, 100, step, generator=generator)
        links = states[-1]
        charges.append(complex.charge(states))
        plaquettes.append(complex.plaquettes(states).cos().mean(-1))
        rates.append(rate)
    seconds = time.process_time() - start
    skip = len(charges) // 10
    charge, plaquette = torch.cat(charges[skip:]), torch.cat(plaquettes[skip:])
    tau = autocorrelation(charge)
    exact = exact_sums(beta, complex.num_plaquettes)
    out = {
        **{"kind": "chain", "lattice": lattice, "size": size, "beta": beta, "seed": seed},
        **{"acceptance": sum(rates) / len(rates), "tau": tau.value, "tau_error": tau.error},
        "step_seconds": seconds / trajectories / 64,
    }
    for name, series in (("plaquette", plaquette), ("charge_squared", charge.double() ** 2)):
        spread = series.std().item() * math.sqrt(2 * max(autocorrelation(series).value, 0.5) / series.numel())
        out[name] = [series.mean().item(), spread, getattr(exact, name)]
    return out


@app.command()
def gauge(seeds: int = 3, output: Path = OUTPUT, only: Annotated[list[int] | None, typer.Option()] = None) -> None:
    """Gauge flows; some of RUNS by their number."""
    for number in range(len(RUNS)) if only is None else only:
        for seed in range(seeds):
            add(output, gauge_flow(*RUNS[number], seed))


@app.command()
def chains(seeds: int = 3, output: Path = OUTPUT, only: Annotated[list[int] | None, typer.Option()] = None) -> None:
    """Hybrid Monte Carlo for the theories of RUNS, or of some of them by their number."""
    for theory in dict.fromkeys(RUNS[number][:3] for number in (range(len(RUNS)) if only is None else only)):
        for seed in range(seeds):
            add(output, gauge_chain(*theory, seed))


@app.command()
def vacua(seed: list[int], steps: int = 600, batch: int = 512) -> None:
    """The mixture of examples/vacua.py after training on 100,000 exact samples."""
    exact = fields.Exact()
    for number in seed:
        torch.manual_seed(number)
        flow = VacuumMixture(FieldFlow(fields.RING, fields.N, layers=4, start=1.0), PointGroup("Ci"), irreps="0o")
        known = exact.sample(100_000, torch.Generator().manual_seed(number)).float()
        fit_samples(flow, known, steps, batch, 1e-2)
        found = fields.assess(flow, exact, 20_000)
        print(number, {key: round(float(value), 4) for key, value in found.items()}, flush=True)


@app.command()
def hamiltonian(
    seed: list[int], system: str = "ring", way: str = "penalty", steps: int = 5, training: int = 500
) -> None:
    """A flow of examples/hamiltonian_flow.py, tested with 1,000 samples."""
    for number in seed:
        _, found = hamiltonian_flow.run(system, way, number, steps, training, 1000)
        print(number, {key: round(value, 3) for key, value in found.items()}, flush=True)


def deviations(runs: list[dict], key: str) -> str:
    """(value - exact) / error of each run."""
    return " ".join(f"{(value - exact) / error:+.1f}" for value, error, exact in (run[key] for run in runs))


def each(runs: list[dict], key: str, shape: str) -> str:
    """The value of each run."""
    return " ".join(format(run[key], shape) for run in runs)


@app.command()
def table(output: Path = OUTPUT) -> None:
    """The tables of benchmarks/results/flows.md."""
    groups: dict[tuple, list[dict]] = {}
    for row in json.loads(output.read_text()):
        name = (row["kind"], row["lattice"], row["size"], row["beta"], row.get("schedule"), row.get("fit"))
        groups.setdefault((*name, row.get("train")), []).append(row)
    for (kind, lattice, size, beta, schedule, fit, train), runs in groups.items():
        cells = [lattice, f"{size}²", f"{beta:g}"]
        if kind == "flow":
            cells += [schedule, f"{fit} + {train}", each(runs, "ess", ".3f"), each(runs, "acceptance", ".2f")]
        shown = ("plaquette", "charge_squared", "log_z") if kind == "flow" else ("plaquette", "charge_squared")
        cells += [deviations(runs, key) for key in shown]
        cells += [each(runs, "tau", ".2f" if kind == "flow" else ".3g")]
        milliseconds = [
            {"t": 1000 * run["step_seconds"], "ms": 1000 * run["step_seconds"] * run["tau"]} for run in runs
        ]
        cells += [each(milliseconds, "t", ".2f"), each(milliseconds, "ms", ".2g")]
        cells += [each(runs, "train_seconds", ".0f")] if kind == "flow" else []
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    app()
