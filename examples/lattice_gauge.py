"""U(1) on a lattice: a gauge invariant flow, where hybrid Monte Carlo is frozen in its topological sector.

Couplings along a spanning tree of the dual graph learn to split the angle around a part of the lattice; splits share
one network, fitted to the law of one plaquette. Independence Metropolis makes averages exact: plaquette, Wilson
loops and topological charge stand beside exact sums.

    python examples/lattice_gauge.py
    python examples/lattice_gauge.py --lattice triangular --beta 2
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import torch
import typer
from _shared import console, markdown, table
from scipy.special import ive
from torch import Tensor

from pyg_symbreak.flows import (
    CellComplex,
    Estimate,
    GaugeFlow,
    autocorrelation,
    effective_sample_size,
    exact_sums,
    hybrid_monte_carlo,
    log_partition,
    metropolis,
    reweight,
    square_lattice,
    triangular_lattice,
)

FLOW, CHAIN = "#d1495b", "#30638e"
LATTICES = {"square": square_lattice, "triangular": triangular_lattice}


def sampled(flow: GaugeFlow, complex: CellComplex, beta: float, samples: int) -> tuple[Tensor, Tensor]:
    """Fields [samples, L] and their log-weights, for the measure ∏ dθ/2π."""
    with torch.no_grad():
        parts = [flow.sample(min(samples, 1024)) for _ in range(math.ceil(samples / 1024))]
    links, log_prob = (torch.cat(x)[:samples] for x in zip(*parts, strict=True))
    return links, -complex.action(links, beta) - log_prob - complex.num_links * math.log(2 * math.pi)


def exact_loop(beta: float, area: int, plaquettes: int) -> float:
    """The mean cosine of the sum of so many plaquettes of a torus: Σ I_k^(N-A) I_(k+1)^A / Σ I_k^N."""
    k = torch.arange(-40, 41).numpy()
    low, high = ive(k, beta) / ive(0, beta), ive(k + 1, beta) / ive(0, beta)
    return float((low ** (plaquettes - area) * high**area).sum() / (low**plaquettes).sum())


def loops(lines: Tensor, area: int) -> Tensor:
    """The cosines around so many neighbours on a line, at each place of plaquettes [..., lines, places]."""
    return sum(lines.roll(-i, -1) for i in range(area)).cos()  # type: ignore[union-attr]


def row(name: str, found: Estimate, exact: float) -> dict[str, str]:
    """A line of the table."""
    return {
        "observable": name,
        "flow": f"{found.value:.5f} ± {found.error:.5f}",
        "exact": f"{exact:.5f}",
        "deviation (σ)": f"{(found.value - exact) / found.error:+.1f}",
    }


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure, table and figures of merit.")] = Path(
        "results/lattice_gauge"
    ),
    lattice: Annotated[str, typer.Option(help="square or triangular.")] = "square",
    size: Annotated[int, typer.Option(help="Sites on a side.")] = 8,
    beta: Annotated[float, typer.Option(help="Inverse coupling.")] = 5.0,
    steps: Annotated[int, typer.Option(help="Steps of the fit.")] = 1500,
    samples: Annotated[int, typer.Option(help="Fields to sample.")] = 20_000,
    trajectories: Annotated[int, typer.Option(help="Of hybrid Monte Carlo, with 32 chains.")] = 600,
) -> None:
    """Sample U(1) fields with a flow and with hybrid Monte Carlo, beside exact sums."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    torus = LATTICES[lattice](size)
    flow = GaugeFlow(torus).float()
    losses = flow.fit_plaquettes(beta, steps)
    links, log_weights = sampled(flow.double(), torus, beta, samples)
    charge, exact = torus.charge(links).round(), exact_sums(beta, torus.num_plaquettes)
    plaquettes = torus.plaquettes(links)
    chain, rate = metropolis(log_weights)

    rows = [
        row("plaquette", reweight(plaquettes.cos().mean(1), log_weights), exact.plaquette),
        row("Q²", reweight(charge**2, log_weights), exact.charge_squared),
        row("log Z", log_partition(log_weights), exact.log_z),
    ]
    areas = (1, 2, 4, 8)
    lines = plaquettes.view(samples, size, -1)
    found = [reweight(loops(lines, area).mean((1, 2)), log_weights) for area in areas]
    expected = [exact_loop(beta, area, torus.num_plaquettes) for area in areas]
    rows += [row(f"loop around {a}", x, e) for a, x, e in zip(areas[1:], found[1:], expected[1:], strict=True)]

    states, _ = hybrid_monte_carlo(lambda x: torus.action(x, beta), torch.zeros(32, torus.num_links), trajectories, 0.1)
    history = torus.charge(states).round()
    tau, tau_chain = autocorrelation(charge[chain]), autocorrelation(history)
    ess = effective_sample_size(log_weights)
    console.print(table(f"U(1) on a {lattice} torus of {size} x {size} sites, β = {beta}", rows))
    console.print(f"Effective sample size {ess:.3f}, acceptance {rate:.3f}, divergence of a split {losses[-1]:.4f}")
    console.print(
        f"Autocorrelation time of Q: flow {tau.value:.2f} ± {tau.error:.2f} proposals, "
        f"hybrid Monte Carlo {tau_chain.value:.0f} ± {tau_chain.error:.0f} trajectories"
    )

    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    shown = min(trajectories, samples)
    left.plot(history[:shown, 0], color=CHAIN, linewidth=1, label="hybrid Monte Carlo")
    left.plot(charge[chain][:shown] + 8, color=FLOW, linewidth=0.6, label="flow (8 above)")
    left.set(xlabel="step of a chain", ylabel="topological charge Q", ylim=(-5, 14))
    left.legend(fontsize=8, frameon=False)
    middle.hist(
        wrapped(plaquettes[:2000]), 60, density=True, weights=repeated(log_weights[:2000], plaquettes), color=FLOW
    )
    angle = torch.linspace(-math.pi, math.pi, 200)
    middle.plot(angle, (beta * (angle.cos() - 1)).exp() / (2 * math.pi * ive(0, beta)), color="black", linewidth=1)
    middle.set(xlabel="angle around a plaquette", ylabel="density")
    right.errorbar(areas, [x.value for x in found], [x.error for x in found], fmt="o", color=FLOW, label="flow")
    right.plot(areas, expected, color="black", linewidth=1, label="exact")
    right.set(xlabel="plaquettes inside a loop", ylabel="mean cosine", yscale="log")
    right.legend(fontsize=8, frameon=False)
    fig.savefig(out / "lattice_gauge.png", dpi=90)
    (out / "table.md").write_text(markdown(rows))
    seconds = time.perf_counter() - start
    metrics = {"ess": ess, "acceptance": rate, "tau": tau, "tau of hybrid Monte Carlo": tau_chain, "seconds": seconds}
    (out / "metrics.json").write_text(json.dumps(metrics | {"rows": rows}, indent=1))
    console.print(f"Figure, table and metrics are in {out} ({seconds:.0f} s)")


def wrapped(angles: Tensor) -> Tensor:
    """All angles, in [-π, π)."""
    return (torch.remainder(angles + math.pi, 2 * math.pi) - math.pi).flatten()


def repeated(log_weights: Tensor, plaquettes: Tensor) -> Tensor:
    """The weight of each field, for each of its plaquettes."""
    return (log_weights - log_weights.max()).exp().repeat_interleave(plaquettes.shape[1])


if __name__ == "__main__":
    typer.run(main)
