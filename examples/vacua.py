r"""Two vacua: a symmetric flow of one mode cannot give them, a broken one mixed over the group gives both.

A field on a ring of four nodes has the action S = Σ (φ_i - φ_j)²/2 + Σ (φ_i² - a)²/2 and, below the transition, two
vacua, φ = ±√a everywhere. Z and samples are known from the transfer matrix. Four flows are trained on S alone: one of
one mode, one that is odd and deep, one that sits in one vacuum, and the same mixed over the group of the sign, which is
then trained on samples as well.

What one mode costs. Let q be symmetric and fall along every ray from the origin. On a ray x = r u the action is
A r⁴ - B r² + C, and the best such q is flat up to R² = B (N + 4) / (2 A (N + 2)), where S equals its mean below (weight
r^(N-1)), and e^{-S} beyond. This is isotonic regression of S, which is the projection in KL(q || p) too, as that is
a Bregman divergence with the monotone log q as its second argument. So with V = S(R) up to R and V = S beyond,

    E_q[log q + S] ≥ -log ∫ e^{-V}   >   -log ∫ e^{-S} = -log Z.

The flow of one mode is x = L g(z), g odd with g'(z) = Σ_k w_k exp(-κ_k z²/2), 0 ≤ κ_k ≤ 1: then n(z)/g'(z) falls with
|z|, a product of such densities falls along rays, and so does its image under L. It can be normal, flat, or between.

    python examples/vacua.py
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from _shared import console, markdown, table
from scipy.stats import chisquare
from torch import Tensor, nn

from pyg_symbreak.flows import (
    FieldFlow,
    Flow,
    VacuumMixture,
    effective_sample_size,
    fit_action,
    fit_samples,
    log_partition,
)
from pyg_symbreak.groups import PointGroup

N, DEPTH = 4, 2.5
RING = torch.tensor([[0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 0, 0, 1, 2, 3]])
COLORS = {
    "one mode": "#8d8d8d",
    "odd, deep": "#30638e",
    "one vacuum": "#edae49",
    "mixture": "#d1495b",
    "on samples": "#d1495b",
}


# ------------------------------------------------------------------ the field, exactly


def action(x: Tensor) -> Tensor:
    """S of fields [n, N, 1], [n]."""
    bonds = (x[:, RING[0]] - x[:, RING[1]]).square().sum((1, 2)) / 4  # each bond is there twice
    return bonds + ((x**2 - DEPTH) ** 2).sum((1, 2)) / 2


class Exact:
    """The ring by its transfer matrix on a grid."""

    def __init__(self, points: int = 241, limit: float = 3.6) -> None:
        self.grid = torch.linspace(-limit, limit, points, dtype=torch.float64)
        self.step = (self.grid[1] - self.grid[0]).item()
        local = (self.grid**2 - DEPTH) ** 2 / 2
        exponent = (self.grid[:, None] - self.grid) ** 2 / 2 + local[:, None] / 2 + local / 2
        self.transfer = (-exponent).exp()
        self.powers = [torch.linalg.matrix_power(self.transfer, k) for k in range(N + 1)]
        self.log_z = (self.powers[N].trace() * self.step**N).log().item()

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Independent fields [n, N, 1] on the grid, with uniform noise of its step."""
        first = torch.multinomial(self.powers[N].diagonal(), n, True, generator=generator)
        nodes = [first]
        for k in range(1, N):
            weight = self.transfer[nodes[-1]] * self.powers[N - k][:, first].T
            nodes.append(torch.multinomial(weight, 1, generator=generator)[:, 0])
        x = self.grid[torch.stack(nodes, dim=1)]
        return (x + (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5) * self.step)[..., None]


def one_mode_bound(points: int = 40) -> float:
    """The least loss of a density that falls along every ray from the origin, by Gauss's quadrature over rays."""
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(points))
    theta, phi = (nodes + 1) * math.pi / 2, torch.arange(points, dtype=torch.float64) * 2 * math.pi / points
    t, c, f = torch.meshgrid(theta, nodes, phi, indexing="ij")
    s = (1 - c * c).sqrt() * t.sin()
    u = torch.stack([t.cos(), t.sin() * c, s * f.cos(), s * f.sin()], dim=-1)
    # The first axis along the vacua, where most of the integral is.
    axes = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64) / 2
    measure = weights[:, None, None] * math.pi / 2 * t.sin() ** 2 * weights[:, None] * 2 * math.pi / points
    return -math.log((flattened((u @ axes).view(-1, N)) * measure.flatten()).sum().item())


def flattened(u: Tensor, points: int = 150, limit: float = 5.0) -> Tensor:
    """The integral of e^{-V} r^(N-1) along each ray u [n, N], [n]."""
    quartic = (u**4).sum(1) / 2
    bonds = (u[:, RING[0]] - u[:, RING[1]]).square().sum(1) / 4
    quadratic, constant = DEPTH * (u**2).sum(1) - bonds, N * DEPTH**2 / 2
    flat = (quadratic.clamp(min=0) * (N + 4) / (2 * (N + 2) * quartic)).sqrt()
    r = (torch.arange(points, dtype=u.dtype) + 0.5) * limit / points
    at = torch.maximum(r, flat[:, None])
    v = quartic[:, None] * at**4 - quadratic[:, None] * at**2 + constant
    return ((-v).exp() * r ** (N - 1)).sum(1) * limit / points


# ------------------------------------------------------------------ flows


class OneMode(Flow):
    """x = L g(z): symmetric, and falls along every ray from the origin."""

    SHAPES = (0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((N, len(self.SHAPES)), -1.0))
        self.linear = nn.Parameter(torch.eye(N))

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Fields and their log-densities."""
        z = torch.randn(n, N, generator=generator, dtype=self.linear.dtype)
        shapes = z.new_tensor(self.SHAPES)
        w = nn.functional.softplus(self.weights)
        slope = (w * (-shapes * z[..., None] ** 2 / 2).exp()).sum(-1)
        root = shapes[1:].sqrt()
        g = (
            w[:, 0] * z
            + (w[:, 1:] * (torch.special.ndtr(root * z[..., None]) - 0.5) / root).sum(-1) * (2 * math.pi) ** 0.5
        )
        normal = -(z * z + math.log(2 * math.pi)).sum(1) / 2
        log_prob = normal - slope.log().sum(1) - torch.linalg.slogdet(self.linear)[1]
        return (g @ self.linear.T)[..., None], log_prob


def flows() -> dict[str, Flow]:
    """The four, untrained but for the third, which is part of the fourth."""
    mixture = VacuumMixture(FieldFlow(RING, N, layers=4, start=1.0), PointGroup("Ci"), irreps="0o")
    return {"one mode": OneMode(), "odd, deep": FieldFlow(RING, N, layers=4, odd=True), "mixture": mixture}


def assess(flow: Flow, exact: Exact, samples: int) -> dict[str, float]:
    """Figures of merit of a flow."""
    with torch.no_grad():
        x, log_prob = flow.sample(samples)
    m = x.mean((1, 2)).double()
    log_weights = (-action(x) - log_prob).double()
    out = {
        "loss": -log_weights.mean().item(),
        "loss error": log_weights.std().item() / math.sqrt(samples),
        "KL": exact.log_z - log_weights.mean().item(),
        "ESS": effective_sample_size(log_weights),
        "log Z deviation": (log_partition(log_weights).value - exact.log_z) / log_partition(log_weights).error,
        "M": m.mean().item(),
        "M error": m.std().item() / math.sqrt(samples),
        "up": (m > 0).double().mean().item(),
        "p": chisquare(np.bincount((m > 0).long(), minlength=2)).pvalue,
    }
    if not isinstance(flow, OneMode):
        truth = exact.sample(samples, torch.Generator().manual_seed(0))
        with torch.no_grad():
            found = flow.log_prob(truth.to(x.dtype)).double().mean().item()
        out["log-likelihood"], out["exact"] = found, (-action(truth) - exact.log_z).mean().item()
    return out


# ------------------------------------------------------------------ main


def figure(results: dict, bound: float, exact: Exact, models: dict[str, Flow], samples: int) -> plt.Figure:
    """The law of the mean field, and the losses."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=(3, 2), layout="constrained")
    truth = exact.sample(samples, torch.Generator().manual_seed(1)).mean((1, 2))
    left.hist(truth, 80, density=True, color="#dddddd", label="exact")
    for way, flow in models.items():
        with torch.no_grad():
            m = flow.sample(samples)[0].mean((1, 2))
        left.hist(m.numpy(), 80, density=True, histtype="step", color=COLORS[way], label=way, linewidth=1.5)
    left.set(xlabel="mean of φ over the ring", ylabel="density", yticks=[])
    left.legend(fontsize=8, frameon=False)
    for i, way in enumerate(results):
        right.plot([i] * len(results[way]), [r["loss"] for r in results[way]], "o", color=COLORS[way])
    right.axhline(-exact.log_z, color="black", linewidth=1)
    right.axhline(bound, color=COLORS["one mode"], linewidth=1, linestyle="--")
    right.text(len(results) - 0.6, bound, "bound of one mode", ha="right", va="bottom", fontsize=8)
    right.text(-0.4, -exact.log_z, "−log Z", va="bottom", fontsize=8)
    right.set(xticks=range(len(results)), ylabel="E[log q + S]", xlim=(-0.5, len(results) - 0.5))
    right.set_xticklabels(results, fontsize=8)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure, table and figures of merit.")] = Path("results/vacua"),
    seeds: Annotated[int, typer.Option(help="Runs of each flow.")] = 1,
    steps: Annotated[int, typer.Option(help="Training steps, each on S and on samples.")] = 600,
    samples: Annotated[int, typer.Option(help="Samples for the figures of merit.")] = 20_000,
) -> None:
    """Train four flows on a field with two vacua, beside quadrature."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    exact, bound = Exact(), one_mode_bound()
    results: dict[str, list[dict[str, float]]] = {}
    models: dict[str, Flow] = {}
    for seed in range(seeds):
        torch.manual_seed(seed)
        for way, flow in flows().items():
            fit_action(flow, action, steps, lr=1e-2 if way == "one mode" else 4e-3)
            if isinstance(flow, VacuumMixture):
                results.setdefault("one vacuum", []).append(assess(flow.flow, exact, samples))
            results.setdefault(way, []).append(assess(flow, exact, samples))
            models.setdefault(way, flow)
            if isinstance(flow, VacuumMixture):
                known = exact.sample(50_000, torch.Generator().manual_seed(seed)).to(torch.get_default_dtype())
                fit_samples(flow, known, steps, 512, 1e-2)
                results.setdefault("on samples", []).append(assess(flow, exact, samples))
    rows = []
    for way, runs in results.items():

        def over(key: str, digits: int = 3, runs: list = runs) -> str:
            values = [run[key] for run in runs if key in run]
            return " ".join(f"{v:.{digits}f}" for v in values) or "-"

        rows.append({"flow": way, **{key: over(key) for key in ("loss", "KL", "ESS", "M", "M error", "up", "p")}})
        rows[-1] |= {"log-likelihood": over("log-likelihood"), "exact": over("exact")}
    console.print(table("Flows on a ring of four nodes, a number for each seed", rows))
    console.print(f"-log Z {-exact.log_z:.4f}; no density of one mode has a loss below {bound:.4f}")
    figure(results, bound, exact, models, samples).savefig(out / "vacua.png", dpi=100)
    (out / "table.md").write_text(markdown(rows))
    seconds = time.perf_counter() - start
    (out / "metrics.json").write_text(
        json.dumps({"runs": results, "log_z": exact.log_z, "bound": bound, "seconds": seconds}, indent=1)
    )
    console.print(f"Figure, table and metrics are in {out} ({seconds:.0f} s)")


if __name__ == "__main__":
    typer.run(main)
