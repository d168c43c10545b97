"""Find the continuous symmetries of trained models, and the point groups that are left where they are broken.

Small networks learn potentials of a point from noisy values: one round, one with an axis, one cubic, and one with
elliptic rings, whose symmetry no picture shows: all in random orientations. Graph networks that know of no symmetry
learn from forces the energy of five bodies, free and in a field; an equivariant one learns the energy of a molecule in
a field, from energies. Of each trained model the generators of its symmetries are found as a null space, without
knowing what they should be, and for the potentials also from pairs of points that the last hidden layer has near to
one another, after S. Krippendorf and M. Syvaeri, arXiv 2003.13679.

    python examples/discover_generators.py
    python examples/discover_generators.py --seeds 5
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from _seeds import Rows, over_seeds
from ase.build import molecule
from ase.calculators.emt import EMT
from scipy.linalg import subspace_angles
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch_geometric.data import Batch, Data
from torch_geometric.nn import global_add_pool

from pyg_symbreak.discover import Generators, finite_symmetries, invariance_generators, pair_generators
from pyg_symbreak.dynamics import GraphEnergy
from pyg_symbreak.groups import LieGroup, PointGroup
from pyg_symbreak.nn import GatedNetwork

BALL = 2.0  # radius of the ball in which the points lie
NOISE = 0.02  # of the values, over their spread
BODIES = 5
FIELD = 0.6  # force of the field on a body of charge one
EUCLIDEAN = dict(zip(("Rx", "Ry", "Rz", "Tx", "Ty", "Tz"), LieGroup.euclidean(3).generators, strict=True))
CHARGES = {"C": 0.1, "O": -0.6, "H": 0.125}  # of methanol, in units of e: they sum to zero

TURN_X, TURN_Y, TURN_Z = LieGroup.rotations(3).generators
ELLIPTIC = np.array([[0, 2.0, 0], [-0.5, 0, 0], [0, 0, 0]])  # x' = 2y, y' = -x/2 keeps x² + 4y²
POTENTIALS = {
    "radial": (lambda x, y, z: (x**2 + y**2 + z**2) ** 2 / 4 - x**2 - y**2 - z**2, [TURN_X, TURN_Y, TURN_Z]),
    "axial": (lambda x, y, z: (x**2 + y**2) ** 2 / 4 - x**2 - y**2 + (2 * z).sin(), [TURN_Z]),
    "cubic": (lambda x, y, z: x**4 + y**4 + z**4 - (x**2 + y**2 + z**2) ** 2 / 2, []),
    "elliptic": (lambda x, y, z: (1 + x**2 + 4 * y**2).sqrt() + (2 * z).cos() / 2, [ELLIPTIC]),
}


# ------------------------------------------------------------------ potentials of a point


def points(count: int, generator: torch.Generator) -> Tensor:
    """Uniform in a ball."""
    x = torch.randn(count, 3, generator=generator)
    return BALL * x / x.norm(dim=1, keepdim=True) * torch.rand(count, 1, generator=generator) ** (1 / 3)


def train_potential(x: Tensor, y: Tensor, steps: int) -> nn.Sequential:
    """A perceptron [N, 3] → [N, 1] for the values."""
    model = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x)[:, 0] - y).square().mean().backward()
        optimizer.step()
        schedule.step()
    return model.double()


def potential(name: str, seed: int, samples: int, steps: int) -> tuple[Generators, dict]:
    """What is found of one potential, in a random orientation."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    f, expected = POTENTIALS[name]
    x, test = points(samples, generator), points(samples // 2, generator).double()
    y = f(*(x @ torch.from_numpy(turn).float()).T)
    y = (y - y.mean()) / y.std() + NOISE * torch.randn(samples, generator=generator)
    model = train_potential(x, y, steps)
    found = invariance_generators(model, test)
    truth = np.array([turn @ t @ turn.T for t in expected]).reshape(-1, 3, 3)
    group = finite_symmetries(lambda x: model(x)[:, 0], test).group
    pairs, weights = pair_generators(model[:-1](x.double()), x)
    k = len(expected)
    row = summary(found, truth) | {"point group": group.schoenflies}
    if k:
        row["pairs: cosine"] = cosine(pairs[:k], truth)
        row["pairs: next weight"] = float(weights[k] / weights[k - 1])
    return found, row


# ------------------------------------------------------------------ five bodies


def bodies(count: int, field: Tensor, generator: torch.Generator) -> tuple[Batch, Tensor]:
    """Bodies that attract one another, in a field, and the forces on them [N, 3]."""
    source, target = torch.combinations(torch.arange(BODIES)).T
    edges = torch.cat([torch.stack([source, target]), torch.stack([target, source])], 1)
    graphs = [
        Data(
            pos=torch.randn(BODIES, 3, generator=generator),
            x=1 + torch.rand(BODIES, 1, generator=generator),
            edge_index=edges,
        )
        for _ in range(count)
    ]
    batch = Batch.from_data_list(graphs)
    apart = batch.pos[batch.edge_index[1]] - batch.pos[batch.edge_index[0]]
    strength = batch.x[batch.edge_index[0]] * batch.x[batch.edge_index[1]]
    pull = strength * apart * (-apart.square().sum(1, keepdim=True) / 2).exp()
    return batch, torch.zeros_like(batch.pos).index_add(0, batch.edge_index[0], pull) + batch.x * field


def forces(model: nn.Module, batch: Batch) -> Tensor:
    """Minus the gradient of the energy, which can be differentiated again."""
    moved = batch.clone()
    moved.pos = batch.pos.clone().requires_grad_()
    return -torch.autograd.grad(model(moved).sum(), moved.pos, create_graph=True)[0]


def train_bodies(field: Tensor, steps: int, seed: int) -> GraphEnergy:
    """A graph network that knows of no symmetry, trained on forces of fresh bodies."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = GraphEnergy(3, inputs=("pos",), features=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch, wanted = bodies(64, field, generator)
        optimizer.zero_grad()
        (forces(model, batch) - wanted).square().mean().backward()
        optimizer.step()
        schedule.step()
    return model.double()


def five_bodies(strength: float, seed: int, steps: int) -> tuple[Generators, dict]:
    """What is found of the energy of five bodies in a field of some strength, along a random axis."""
    axes = Rotation.random(random_state=seed).as_matrix()
    model = train_bodies(strength * torch.from_numpy(axes[:, 2]).float(), steps, seed)
    test, _ = bodies(300, torch.zeros(3), torch.Generator().manual_seed(seed + 1000))
    test.pos, test.x = test.pos.double(), test.x.double()
    found = invariance_generators(model, test, mode="affine")
    expected = ["Rz", "Tx", "Ty"] if strength else list(EUCLIDEAN)
    return found, summary(found, euclidean(axes, expected)) | {"kept": kept(found, axes)}


def euclidean(axes: np.ndarray, names: list[str]) -> np.ndarray:
    """Turns about and shifts along some axes, generators [k, 4, 4]."""
    frame = np.eye(4)
    frame[:3, :3] = axes
    return np.array([frame @ EUCLIDEAN[name] @ frame.T for name in names])


def kept(found: Generators, axes: np.ndarray) -> str:
    """Which turns R about the axes of the field and shifts T along them are among the symmetries found."""
    if found.group.dimension == 0:
        return "none"
    return " ".join(n for n in EUCLIDEAN if cosine(euclidean(axes, [n]), found.group.generators) > 0.99)


# ------------------------------------------------------------------ a molecule


class InField(nn.Module):
    """The energy of methanol in a field, by an equivariant network that is given the field."""

    def __init__(self, field: Tensor):
        super().__init__()
        self.net = GatedNetwork("3x0e", "0e", "1o", max_radius=4.0, hidden="8x0e+8x1o+4x2e", layers=2, lmax=2)
        self.field = field

    def forward(self, batch: Batch) -> Tensor:
        """The energies [N]."""
        batch = batch.clone()
        batch.breaking = self.field.to(batch.pos).expand(batch.num_graphs, 3)
        return global_add_pool(self.net(batch)[:, 0], batch.batch)


def molecules(count: int, field: np.ndarray, seed: int) -> tuple[Batch, Tensor]:
    """Methanol, turned and shaken, and its energies by effective medium theory and charges in the field."""
    rng = np.random.default_rng(seed)
    atoms = molecule("CH3OH")
    kinds = torch.tensor(["HCO".index(a.symbol) for a in atoms])
    pairs = torch.tensor([(i, j) for i in range(6) for j in range(6) if i != j]).T
    rest, turns = atoms.positions - atoms.positions.mean(0), Rotation.random(count, random_state=seed).as_matrix()
    graphs, energies = [], []
    atoms.calc = EMT()
    for turn in turns:
        atoms.positions = (rest + rng.normal(scale=0.08, size=rest.shape)) @ turn.T
        charges = np.array([CHARGES[a.symbol] for a in atoms])
        energies.append(atoms.get_potential_energy() - (charges @ atoms.positions) @ field)
        pos = torch.from_numpy(atoms.positions).to(torch.get_default_dtype())
        graphs.append(Data(pos=pos, x=one_hot(kinds, 3).to(pos), edge_index=pairs))
    y = torch.tensor(energies)
    return Batch.from_data_list(graphs), (y - y.mean()) / y.std()


def methanol(seed: int, steps: int) -> tuple[Generators, dict]:
    """What is found of the trained energy of a molecule in a field along a random axis."""
    torch.manual_seed(seed)
    axes = Rotation.random(random_state=seed).as_matrix()
    batch, y = molecules(120, 8 * axes[:, 2], seed)
    model = InField(torch.from_numpy(axes[:, 2]).float())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(batch) - y).square().mean().backward()
        optimizer.step()
        schedule.step()
    test, _ = molecules(100, 8 * axes[:, 2], seed + 1000)
    model, test.pos, test.x = model.double(), test.pos.double(), test.x.double()
    found = invariance_generators(model, test, mode="affine")
    group = finite_symmetries(model, test, PointGroup("Cinfv").rotated(axes)).group
    row = summary(found, euclidean(axes, ["Rz", "Tx", "Ty", "Tz"])) | {"kept": kept(found, axes)}
    return found, row | {"point group": group.schoenflies}


# ------------------------------------------------------------------ output


def cosine(some: np.ndarray, others: np.ndarray) -> float:
    """The cosine of the largest angle between two spaces of matrices."""
    if not len(some) or not len(others):
        return float(len(some) == len(others))
    return float(np.cos(subspace_angles(some.reshape(len(some), -1).T, others.reshape(len(others), -1).T).max()))


def summary(found: Generators, expected: np.ndarray) -> dict:
    """The columns that all rows have."""
    k = found.group.dimension
    right = cosine(found.group.generators, expected) if k == len(expected) else 0.0
    rates = {"last rate": float(found.spectrum[k - 1])} if k else {}
    return (
        {"generators": k, "expected": len(expected), "cosine": right, "closure": found.closure_error}
        | rates
        | {"next rate": float(found.spectrum[k])}
    )


def figure(found: dict[str, Generators]) -> plt.Figure:
    """The spectra, with their intervals and the tolerance."""
    fig, panels = plt.subplots(1, len(found), figsize=(2.0 * len(found), 3.2), sharey=True, layout="constrained")
    for axes, (name, one) in zip(panels, found.items(), strict=True):
        n = min(len(one.spectrum), 12)
        colors = ["#d1495b" if i < one.group.dimension else "#30638e" for i in range(n)]
        axes.vlines(range(n), *np.maximum(one.intervals[:n], 1e-9).T, color=colors, lw=2)
        axes.scatter(range(n), np.maximum(one.spectrum[:n], 1e-9), color=colors, s=22, zorder=3)
        axes.axhline(one.tolerance, color="0.5", ls="--", lw=0.8)
        axes.set(yscale="log", title=f"{name}: {one.group.dimension}", ylim=(1e-4, 3), xticks=[])
    panels[0].set_ylabel("rate of change along the direction")
    fig.suptitle("Directions of generators, the symmetries found in red", fontsize=11)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for table, figure and metrics.")] = Path(
        "results/discover_generators"
    ),
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 1,
    samples: Annotated[int, typer.Option(help="Values that each potential is learned from.")] = 2000,
    steps: Annotated[int, typer.Option(help="Training steps of the perceptrons; the graph networks take less.")] = 1500,
) -> None:
    """Generators of trained potentials, of bodies and of a molecule."""
    torch.set_num_threads(1)  # the tensors are small
    shown: dict[str, Generators] = {}

    def run(seed: int) -> Rows:
        results = {name: potential(name, seed, samples, steps) for name in POTENTIALS}
        results["five bodies"] = five_bodies(0.0, seed, steps // 2)
        results["five bodies in a field"] = five_bodies(FIELD, seed, steps // 2)
        results["methanol in a field"] = methanol(seed, steps // 10)
        shown.update({name: found for name, (found, _) in results.items() if name not in shown})
        return {name: row for name, (_, row) in results.items()}

    over_seeds(run, range(seed, seed + seeds), "Symmetries found in trained models", out)
    figure(shown).savefig(out / "discover_generators.png", dpi=90)


if __name__ == "__main__":
    typer.run(main)
