"""Hamiltonian flows of few samples: a ring and particles in a trap, with and without their symmetry.

A flow along Hamilton's equations of learned energies keeps volume. Energies that rotations and exchanges leave alone
make the density symmetric; a penalty on Poisson brackets makes it nearly so; free ones learn the samples by heart. The
law of the ring is known, and so is its entropy, below which no test likelihood falls.

    python examples/hamiltonian_flow.py
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from _shared import console, markdown, table
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_symbreak.dynamics import GraphEnergy
from pyg_symbreak.flows import HamiltonianFlow, PlainEnergy, fit_samples, hybrid_monte_carlo
from pyg_symbreak.groups import LieGroup

RADIUS, WIDTH = 2.0, 0.1
WAYS = ("none", "penalty", "exact")
WEIGHT = 10.0
COLORS = dict(zip(WAYS, ("#8d8d8d", "#edae49", "#d1495b"), strict=True))
SYSTEMS = {"ring": (1, 2), "3 particles in 2D": (3, 2), "3 particles in 3D": (3, 3)}


# ------------------------------------------------------------------ what is to be learned


def ring(n: int, generator: torch.Generator) -> Tensor:
    """Points [n, 1, 2] at a distance of 2 ± 0.1 from the origin."""
    r = RADIUS + WIDTH * torch.randn(n, generator=generator)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    return torch.stack([r * angle.cos(), r * angle.sin()], dim=1)[:, None]


def ring_entropy() -> float:
    """Of the law of the ring, in nats: of r, and of the angle on a circle of radius r."""
    r = RADIUS + WIDTH * np.linspace(-6, 6, 20_001)
    weight = np.exp(-(((r - RADIUS) / WIDTH) ** 2) / 2)
    return float(
        0.5 * math.log(2 * math.pi * math.e * WIDTH**2) + (weight * np.log(2 * math.pi * r)).sum() / weight.sum()
    )


def trap(x: Tensor) -> Tensor:
    """Energy of particles [n, N, d] that repel each other in a trap, in units of the temperature, [n]."""
    i, j = torch.triu_indices(x.shape[1], x.shape[1], 1)
    distances = (x[:, i] - x[:, j]).square().sum(2)
    return 2 * x.square().sum((1, 2)) + (6 / (distances + 0.2)).sum(1)


def particles(n: int, nodes: int, dim: int, generator: torch.Generator) -> Tensor:
    """Independent states of particles in the trap: the ends of so many chains."""
    start = torch.randn(n, nodes, dim, generator=generator)
    return hybrid_monte_carlo(trap, start, 60, 0.12, generator=generator)[0][-1]


def samples(system: str, n: int, generator: torch.Generator) -> Tensor:
    """Samples [n, N, d] of one of SYSTEMS."""
    return ring(n, generator) if system == "ring" else particles(n, *SYSTEMS[system], generator)


# ------------------------------------------------------------------ flows


def make(system: str, way: str, steps: int) -> HamiltonianFlow:
    """A flow of so many leap-frog steps, with exactly symmetric energies or free ones."""
    nodes, dim = SYSTEMS[system]
    edges = torch.tensor([(i, j) for i in range(nodes) for j in range(nodes) if i != j]).view(-1, 2).T
    graph = Data(num_nodes=nodes, edge_index=edges if nodes > 1 else None)

    def energy(name: str) -> nn.Module:
        if way == "exact":
            return GraphEnergy(dim, LieGroup.rotations(dim), [name], hidden=32)
        return PlainEnergy(nodes, dim, name, hidden=32)

    potentials, kinetics = ([energy(name) for _ in range(steps)] for name in ("pos", "momentum"))
    return HamiltonianFlow(graph, dim, potentials, kinetics, energy("pos"))


def penalty_on(flow: HamiltonianFlow, training: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Squares of brackets, with a weight that grows over the training, so that energies are learned before it counts.

    They are taken at the samples turned at random: brackets that vanish at few samples alone say nothing of the rest of
    their orbits, where the density is to be the same.
    """
    group, steps = LieGroup.rotations(flow.dim), iter(range(training))
    turns = torch.from_numpy(group.sample(100, generator=np.random.default_rng(seed))).to(flow.log_scale.dtype)

    def penalty(x: Tensor) -> Tensor:
        turned = x @ turns[torch.randint(len(turns), (len(x),))]
        return WEIGHT * (next(steps) / training) ** 2 * flow.brackets(group, turned).square().mean()

    return penalty


def run(system: str, way: str, seed: int, steps: int, training: int, test: int) -> tuple[HamiltonianFlow, dict]:
    """Train a flow; negative log-likelihoods in nats (bounds from 100 momenta), and brackets."""
    generator = torch.Generator().manual_seed(seed)
    x, y = samples(system, 32, generator), samples(system, test, generator)
    torch.manual_seed(seed)
    flow = make(system, way, steps)
    group = LieGroup.rotations(x.shape[2])
    penalty = penalty_on(flow, training, seed) if way == "penalty" else None
    fit_samples(flow, x, training, 32, 3e-3, penalty=penalty)
    with torch.no_grad():
        train, held_out = (-flow.log_prob(z, 100).mean().item() for z in (x, y))
        bracket = flow.brackets(group, y).square().mean().sqrt().item()
    return flow, {"train": train, "test": held_out, "gap": held_out - train, "bracket": bracket}


# ------------------------------------------------------------------ main


def figure(results: dict, models: dict[str, HamiltonianFlow], data: Tensor) -> plt.Figure:
    """Samples of the ring's flows, and the gaps."""
    fig, axes = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained")
    for ax, way in zip(axes, WAYS, strict=False):
        x = models[way].sample(2000, torch.Generator().manual_seed(0))[:, 0]
        ax.plot(*x.T, ".", color=COLORS[way], markersize=1.5)
        ax.plot(*data[:, 0].T, "k.", markersize=4)
        ax.set(title=f"symmetry: {way}", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
    for i, system in enumerate(results):
        for k, way in enumerate(results[system]):
            gaps = [r["gap"] for r in results[system][way]]
            axes[3].plot([i + (k - 1) * 0.2] * len(gaps), gaps, "o", color=COLORS[way], label=None if i else way)
    axes[3].set(xticks=range(len(results)), ylabel="test − train, nats")
    axes[3].set_xticklabels([s.replace(" in ", "\nin ") for s in results], fontsize=8)
    axes[3].axhline(0, color="black", linewidth=0.5)
    axes[3].legend(fontsize=8, frameon=False)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure, table and figures of merit.")] = Path(
        "results/hamiltonian_flow"
    ),
    seeds: Annotated[int, typer.Option(help="Runs of each flow.")] = 1,
    steps: Annotated[int, typer.Option(help="Leap-frog steps.")] = 5,
    training: Annotated[int, typer.Option(help="Training steps.")] = 500,
    test: Annotated[int, typer.Option(help="Samples to test with.")] = 1000,
) -> None:
    """Learn laws from 32 samples, with and without their symmetry."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, list[dict]]] = {}
    models: dict[str, HamiltonianFlow] = {}
    for system in SYSTEMS:
        ways = WAYS if system == "ring" else ("none", "exact")
        for way in ways:
            for seed in range(seeds):
                flow, found = run(system, way, seed, steps, training, test)
                results.setdefault(system, {}).setdefault(way, []).append(found)
                if system == "ring":
                    models.setdefault(way, flow)
    rows = []
    for system, ways_of in results.items():
        for way, runs in ways_of.items():
            numbers = {k: " ".join(f"{r[k]:.2f}" for r in runs) for k in ("train", "test", "gap")}
            numbers["bracket"] = " ".join(f"{r['bracket']:.0e}" for r in runs)
            rows.append({"system": system, "symmetry": way, **numbers})
    console.print(table("Negative log-likelihood in nats, and rms Poisson bracket; a number for each seed", rows))
    console.print(f"Entropy of the ring: {ring_entropy():.3f} nats")
    figure(results, models, samples("ring", 32, torch.Generator().manual_seed(0))).savefig(
        out / "hamiltonian_flow.png", dpi=90
    )
    (out / "table.md").write_text(markdown(rows))
    seconds = time.perf_counter() - start
    (out / "metrics.json").write_text(json.dumps({"runs": results, "seconds": seconds}, indent=1))
    console.print(f"Figure, table and metrics are in {out} ({seconds:.0f} s)")


if __name__ == "__main__":
    typer.run(main)
