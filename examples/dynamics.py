"""Learned motion: what the symmetry of an energy conserves, and what breaks it.

Springs: five bodies, energies learned under the trivial group, translations, rotations, and both. The charges of the
group are conserved, whatever the weights; the others drift. Friction: the power that a pendulum loses, read off its
second lane. Spring and pendulum after S. Greydanus et al., arXiv 1906.01563, against a network that gives the rates
themselves. The double pendulum after M. Cranmer et al., arXiv 2003.04630, with a mass matrix bounded below. Three like
bodies that start as an equilateral triangle stay one, unless one of them is marked.

    python examples/dynamics.py
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from pyg_symbreak.dynamics import (
    GraphEnergy,
    Hamiltonian,
    Lagrangian,
    NaturalLagrangian,
    NewtonianEnergy,
    charge_drift,
    integrate,
)
from pyg_symbreak.groups import LieGroup

GROUPS = {
    "trivial": None,
    "T(2)": LieGroup.translations(2),
    "SO(2)": LieGroup.rotations(2),
    "SE(2)": LieGroup.euclidean(2),
}
COLORS = {"trivial": "0.5", "T(2)": "#edae49", "SO(2)": "#d1495b", "SE(2)": "#00798c"}
G, FRICTION = 9.8, 0.2
Row = dict[str, float | str]
console = Console(width=max(Console().width, 120))


def train(model: nn.Module, loss: Callable[[], Tensor], steps: int) -> None:
    """Adam with a learning rate that falls along a cosine."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()


def along(energy: Callable[[Data], Tensor], data: Data, names: tuple[str, str], path: tuple[Tensor, Tensor]) -> Tensor:
    """An energy [T, B] along a trajectory."""
    values = []
    for first, second in zip(*path, strict=True):
        moved = copy.copy(data)
        moved[names[0]], moved[names[1]] = first, second
        values.append(energy(moved))
    return torch.stack(values)


def singles(pos: Tensor, second: Tensor, name: str) -> Batch:
    """A batch of graphs of one node each, or of one coordinate a node and as many nodes as there are coordinates."""
    count, coordinates = pos.shape
    data = Batch(pos=pos.reshape(-1, 1), batch=torch.arange(count).repeat_interleave(coordinates))
    data[name] = second.reshape(-1, 1)
    data._num_graphs = count
    return data


# ------------------------------------------------------------------ springs: charges


def springs(count: int, bodies: int = 5) -> Batch:
    """Bodies of unit mass and random charges k, each pair joined by a spring of strength k k'."""
    pairs = torch.combinations(torch.arange(bodies), 2).T
    index = torch.cat([pairs, pairs.flip(0)], 1)
    return Batch.from_data_list(
        [
            Data(
                pos=torch.randn(bodies, 2),
                momentum=0.6 * torch.randn(bodies, 2),
                x=0.5 + torch.rand(bodies, 1),
                mass=torch.ones(bodies),
                edge_index=index,
            )
            for _ in range(count)
        ]
    )


def spring_forces(data: Data) -> Tensor:
    """The true rates of change of momenta."""
    source, target = data.edge_index
    pull = data.x[source] * data.x[target] * (data.pos[source] - data.pos[target])
    return torch.zeros_like(data.pos).index_add(0, target, pull)


def learn_springs(group: LieGroup | None, steps: int) -> Hamiltonian:
    """A potential of known bodies, learned from forces."""
    model = Hamiltonian(NewtonianEnergy(GraphEnergy(2, group, ("pos",), features=1, hidden=32)))
    batches = [springs(32) for _ in range(min(steps, 40))]
    targets = [spring_forces(batch) for batch in batches]
    turn = iter(range(steps))

    def loss() -> Tensor:
        i = next(turn) % len(batches)
        return (model(batches[i])[1] - targets[i]).square().mean()

    train(model, loss, steps)
    return model


@torch.no_grad()
def assess_springs(model: Hamiltonian, times: int) -> tuple[Row, Tensor]:
    """Drifts over ``times`` hundredths of the unit of time, mean over four starts, and a trajectory."""
    data = springs(4)
    path = integrate(model, data, times, 0.01)
    drift = charge_drift(model, data, path, LieGroup.euclidean(2)).mean(0)
    energy = along(model.energy, data, model.state, path)
    force = (model(data)[1] - spring_forces(data)).square().mean().sqrt() / spring_forces(data).square().mean().sqrt()
    row: Row = {"momentum": drift[1:].max().item(), "angular momentum": drift[0].item()}
    row |= {"learned H": (energy - energy[0]).abs().max().item(), "relative force error": force.item()}
    return row, path[0]


# ------------------------------------------------------------------ one degree of freedom: energy and friction


class Rates(nn.Module):
    """The baseline: a network that gives the rates of change themselves."""

    def __init__(self, state: tuple[str, str], coordinates: int = 1, angles: bool = False, hidden: int = 64) -> None:
        super().__init__()
        self.state, self.coordinates, self.angles = state, coordinates, angles
        outputs = coordinates * (1 if angles else 2)
        self.mlp = nn.Sequential(
            *(nn.Linear(coordinates * (3 if angles else 2), hidden), nn.Tanh()),
            *(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, outputs)),
        )

    def forward(self, data: Data) -> tuple[Tensor, Tensor]:
        """Rates of positions and of momenta; or velocities and accelerations, of angles."""
        q, p = (data[name].view(-1, self.coordinates) for name in self.state)
        if self.angles:
            return data[self.state[1]], self.mlp(torch.cat([q.sin(), q.cos(), p / 3], 1)).view(-1, 1)
        first, second = self.mlp(torch.cat([q, p], 1)).chunk(2, 1)
        return first.reshape(-1, 1), second.reshape(-1, 1)


SYSTEMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[float, float]]] = {
    "spring": (lambda q, p: q**2 + p**2, (0.1, 1.0)),
    "pendulum": (lambda q, p: 3 * (1 - q.cos()) + p**2, (1.3, 2.3)),
}
"""Energies and the radii of the starts, of the paper."""


def truth(name: str, friction: float = 0.0) -> Hamiltonian:
    """The true motion."""
    energy = SYSTEMS[name][0]
    rayleigh = None if not friction else lambda data: friction * data.vel.square().sum(1) / 2
    return Hamiltonian(lambda data: energy(data.pos, data.momentum).sum(1), rayleigh)


def starts(name: str, count: int) -> Batch:
    """Random states of the system."""
    low, high = SYSTEMS[name][1]
    radius, angle = low + (high - low) * torch.rand(count, 1), 2 * math.pi * torch.rand(count, 1)
    return singles(radius * angle.cos(), radius * angle.sin(), "momentum")


def observed(name: str, count: int, noise: float, friction: float = 0.0) -> tuple[Batch, tuple[Tensor, Tensor]]:
    """States along trajectories over three units of time, with noise, and their true rates."""
    model = truth(name, friction)
    with torch.no_grad():
        pos, momentum = integrate(model, starts(name, count), 60, 0.05)
        data = singles(pos[::2].reshape(-1, 1), momentum[::2].reshape(-1, 1), "momentum")
        rates = model(data)
    data.pos, data.momentum = (x + noise * torch.randn_like(x) for x in (data.pos, data.momentum))
    return data, rates


def fit(model: nn.Module, data: Batch, rates: tuple[Tensor, Tensor], steps: int, polish: int = 0) -> None:
    """Fit both rates of change; without noise, which can be learned by heart, with steps of L-BFGS at the end."""

    def loss() -> Tensor:
        return sum((a - b).square().mean() for a, b in zip(model(data), rates, strict=True))

    train(model, loss, steps)
    if polish:
        optimizer = torch.optim.LBFGS(
            model.parameters(), max_iter=polish, history_size=30, line_search_fn="strong_wolfe", tolerance_change=1e-14
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        optimizer.step(closure)


def greydanus(name: str, steps: int) -> Row:
    """Mean squared error of the true energy over 20 units of time: the baseline's and that of a learned H."""
    data, rates = observed(name, 25, 0.1)
    test, energy = starts(name, 25), truth(name).energy
    errors = {}
    for way, model in {
        "baseline": Rates(("pos", "momentum")),
        "ours": Hamiltonian(GraphEnergy(1, hidden=64)),
    }.items():
        fit(model, data, rates, steps)
        with torch.no_grad():
            values = along(energy, test, model.state, integrate(model, test, 200, 0.1))
        errors[way] = (values - values[0]).square().mean().item()
    return errors | {"ratio": errors["baseline"] / errors["ours"]}


def rubbed(steps: int) -> tuple[Row, tuple[Tensor, Tensor, Tensor]]:
    """A pendulum with friction: power of the learned lane, and what an energy alone makes of it."""
    data, rates = observed("pendulum", 25, 0.0, FRICTION)
    model = Hamiltonian(GraphEnergy(1), GraphEnergy(1, inputs=("vel",), time_reversal=True))
    fit(model, data, rates, steps, polish=steps // 2)
    true, test = truth("pendulum", FRICTION), starts("pendulum", 25)
    with torch.no_grad():
        path = integrate(true, test, 60, 0.05)
        states = singles(path[0].reshape(-1, 1), path[1].reshape(-1, 1), "momentum")
        power, known = model.power(states), true.power(states)
        energies = [along(true.energy, test, true.state, path)]
        for one in (model, Hamiltonian(model.energy)):
            energies.append(along(true.energy, test, true.state, integrate(one, test, 60, 0.05)))
        # Along the true motion the learned energy loses what the learned lane is not there to give.
        learned = along(model.energy, test, true.state, path)
    lost = energies[0][0] - energies[0][-1]
    row: Row = {"power, relative error": ((power - known).square().mean() / known.square().mean()).sqrt().item()}
    row["mean power, relative error"] = abs(power.mean() / known.mean() - 1).item()
    row["loss of learned H over true loss"] = ((learned[0] - learned[-1]).mean() / lost.mean()).item()
    without = energies[2][-1] - energies[0][-1]
    row["drift without the lane over true loss"] = (without.mean() / lost.mean()).item()
    return row, (energies[0][:, 0], energies[1][:, 0], energies[2][:, 0])


# ------------------------------------------------------------------ double pendulum


def double_pendulum(data: Data) -> Tensor:
    """L of two unit masses on unit rods."""
    (a, b), (x, y) = data.pos.view(-1, 2).unbind(1), data.vel.view(-1, 2).unbind(1)
    return x**2 + y**2 / 2 + x * y * (a - b).cos() + G * (2 * a.cos() + b.cos())


def swings(count: int) -> Batch:
    """Random states of the double pendulum."""
    return singles(math.pi * (2 * torch.rand(count, 2) - 1), 5 * (2 * torch.rand(count, 2) - 1), "vel")


def cranmer(steps: int, times: int) -> tuple[Row, dict[str, Tensor]]:
    """Error of the true energy after 10 s, divided by 29.4 as in the paper, over 40 starts; and along the way."""
    true, test = Lagrangian(double_pendulum), swings(40)
    pool = [swings(128) for _ in range(min(steps, 60))]
    with torch.no_grad():
        targets = [true(batch)[1] for batch in pool]
    row: Row = {}
    errors = {}
    for way, model in {
        "baseline": Rates(("pos", "vel"), coordinates=2, angles=True),
        "ours": Lagrangian(NaturalLagrangian(2, hidden=64)),
    }.items():
        turn = iter(range(steps))

        def loss(model=model, turn=turn) -> Tensor:
            i = next(turn) % len(pool)
            return (model(pool[i])[1] - targets[i]).abs().mean()

        train(model, loss, steps)
        with torch.no_grad():
            row[f"L1 of {way}"] = (model(test)[1] - true(test)[1]).abs().mean().item()
            path = integrate(model, test, times, 0.02)
            energy = along(true.energy, test, true.state, path)
        errors[way] = (energy - energy[0]).abs() / 29.4
        row[f"mean, {way}"], row[f"median, {way}"] = errors[way][-1].mean().item(), errors[way][-1].median().item()
    row["ratio of means"] = row["mean, baseline"] / row["mean, ours"]
    return row, {way: error.mean(1) for way, error in errors.items()}


# ------------------------------------------------------------------ three bodies


@torch.no_grad()
def triangle(model: Hamiltonian, times: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Distance of the bodies from a triangle of threefold symmetry, with and without an object at one of them."""
    angles = 2 * math.pi / 3 * torch.arange(3)
    pos = torch.stack([angles.cos(), angles.sin()], 1)
    momentum = 0.7 * torch.stack([-angles.sin(), angles.cos()], 1)
    index = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
    turn = torch.tensor([[-0.5, -math.sqrt(0.75)], [math.sqrt(0.75), -0.5]])
    off, paths = {}, {}
    for name, item in {"no object": 0.0, "object at one body": 0.3}.items():
        x = torch.ones(3, 1)
        x[0] += item
        data = Data(pos=pos, momentum=momentum, x=x, mass=torch.ones(3), edge_index=index)
        paths[name], _ = integrate(model, data, times, 0.01)
        off[name] = (paths[name] @ turn.T - paths[name].roll(-1, 1)).abs().max().item()
    return off, paths


# ------------------------------------------------------------------ output


def spread(rows: list[Row]) -> dict[str, str]:
    """Mean and range over seeds."""
    out = {}
    for key in rows[0]:
        values = [float(row[key]) for row in rows]
        out[key] = f"{sum(values) / len(values):.2g} ({min(values):.2g} to {max(values):.2g})"
    return out


def show(title: str, rows: dict[str, list[Row]]) -> str:
    """Print a table, and return it as Markdown."""
    table, keys = Table(title=title, title_justify="left"), list(next(iter(rows.values()))[0])
    for key in ["", *keys]:
        table.add_column(key)
    lines = [f"## {title}", "", "|  | " + " | ".join(keys) + " |", "| --- |" + " ---: |" * len(keys)]
    for name, found in rows.items():
        cells = [name, *spread(found).values()]
        table.add_row(*cells)
        lines.append("| " + " | ".join(cells) + " |")
    console.print(table)
    return "\n".join([*lines, ""])


def figure(drawn: dict) -> plt.Figure:
    """Springs, friction, double pendulum and three bodies."""
    fig, panels = plt.subplots(1, 4, figsize=(16, 3.8), layout="constrained")
    for name, rows in drawn["springs"].items():
        for axes_at, key in enumerate(("momentum", "angular momentum")):
            values = [max(float(row[key]), 1e-17) for row in rows]
            panels[0].plot([axes_at + 0.15 * list(GROUPS).index(name)] * len(values), values, "o", color=COLORS[name])
    panels[0].set(yscale="log", xticks=[0.2, 1.2], xticklabels=["momentum", "angular momentum"], title="Springs: drift")
    panels[0].legend([plt.Line2D([], [], marker="o", ls="", color=c) for c in COLORS.values()], COLORS, frameon=False)
    for values, label, style in zip(
        drawn["friction"], ("true", "learned, both lanes", "learned, no friction"), ("k-", "--", ":"), strict=True
    ):
        panels[1].plot(0.05 * torch.arange(len(values)), values, style, label=label, lw=2)
    panels[1].set(title="Pendulum with friction: energy", xlabel="time")
    for way, values in drawn["double"].items():
        panels[2].plot(0.02 * torch.arange(len(values)), values, label=way)
    panels[2].set(title="Double pendulum: mean energy error", xlabel="time (s)", yscale="log")
    for (name, path), color in zip(drawn["triangle"].items(), ("#00798c", "#d1495b"), strict=True):
        for body in range(3):
            label = name if body == 0 else None
            panels[3].plot(*path[:, body].T, color=color, lw=1, label=label, alpha=0.8)
    panels[3].set(title="Three bodies from a triangle", aspect="equal")
    for axes in panels[1:]:
        axes.legend(frameon=False, fontsize=8)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure, tables and figures of merit.")] = Path(
        "results/dynamics"
    ),
    seeds: Annotated[int, typer.Option(help="Runs of each.")] = 1,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 400,
    times: Annotated[int, typer.Option(help="Steps of the trajectories.")] = 500,
) -> None:
    """Learn motions, and measure what is conserved and what is not."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # the tensors are small
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[Row]] = {}
    pages, drawn = [], {}

    def keep(name: str, row: Row) -> None:
        rows.setdefault(name, []).append(row)
        (out / "metrics.json").write_text(json.dumps(rows, indent=2))
        console.print(f"{time.perf_counter() - start:.0f} s", name, row)

    for seed in range(seeds):
        for name, group in GROUPS.items():
            torch.manual_seed(seed)
            model = learn_springs(group, steps)
            keep(name, assess_springs(model, times)[0])
        off, paths = triangle(model, times)
        keep("three bodies", off)
        drawn.setdefault("triangle", paths)
    drawn["springs"] = {name: rows[name] for name in GROUPS}
    for seed in range(seeds):
        torch.manual_seed(seed)
        row, energies = rubbed(steps)
        keep("friction", row)
        drawn.setdefault("friction", energies)
        for name in SYSTEMS:
            keep(name, greydanus(name, 2 * steps))
    for seed in range(seeds):
        torch.manual_seed(seed)
        row, curves = cranmer(4 * steps, times)
        keep("double pendulum", row)
        drawn.setdefault("double", curves)

    pages.append(show("Springs: largest change of each charge", drawn["springs"]))
    pages.append(show("Three bodies: distance from threefold symmetry", {"learned SE(2)": rows["three bodies"]}))
    pages.append(show("Pendulum with friction", {"H and R": rows["friction"]}))
    pages.append(show("Mean squared error of the energy", {name: rows[name] for name in SYSTEMS}))
    pages.append(show("Double pendulum: energy error / 29.4", {"40 starts": rows["double pendulum"]}))
    (out / "tables.md").write_text("\n".join(pages))
    figure(drawn).savefig(out / "dynamics.png", dpi=75)
    console.print(f"Figure, tables and metrics are in {out} ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    typer.run(main)
