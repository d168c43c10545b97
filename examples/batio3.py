"""From cubic barium titanate to its ferroelectric phases, every domain of each.

An equivariant network cannot leave the cubic symmetry of its input. Here one is given a symmetry breaking object, a
vector from the smallest equivariant set for m-3m and the symmetry of the phase, and is trained on a single domain of
each phase. The other domains follow without training.

    python examples/batio3.py
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from ase import Atoms
from ase.io import write
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn.functional import one_hot
from torch_geometric.data import Batch, Data

from pyg_symbreak.breaking import BreakingSet, breaking_set
from pyg_symbreak.datasets import BaTiO3
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.diagnosis import kept_symmetry
from pyg_symbreak.losses import CrystalMismatch, curie_residual
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import apply_distortion, irreps_to_strain, strain_to_irreps, to_ase
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

COLORS = {"tetragonal": "#d1495b", "orthorhombic": "#00798c", "rhombohedral": "#edae49"}
console = Console(width=max(Console().width, 100))


def with_features(data: Data, cutoff: float) -> Data:
    """Neighbours, and on each atom its species (one-hot) and, if there is one, the temperature in units of 300 K."""
    data = NeighborList(cutoff)(data)
    data.x = one_hot(torch.searchsorted(torch.tensor([8, 22, 56]), data.z), 3).to(data.pos)
    if "temperature" in data:
        data.x = torch.cat([data.x, (data.temperature / 300).expand(data.num_nodes, 1)], dim=1)
    return data


def without_object(data: Data) -> Data:
    """The same structures for the same network, with zeros in the place of the object."""
    data = data.clone()
    data.breaking = torch.zeros_like(data.breaking)
    return data


# ------------------------------------------------------------------ the pair of the paper: displacements only


def paper_pair(seed: int, steps: int) -> dict:
    """One pair on a fixed cubic cell (Xie & Smidt, TMLR 2024): what the object changes."""
    pair = BaTiO3(name="paper")[0]
    symmetry = detect_symmetry(pair)
    keep = kept_symmetry(symmetry, pair.y)
    data = with_features(pair, 2.7)
    objects = AddSymmetryBreaking(keep=keep, choose="all")(data)
    paired = AddSymmetryBreaking(choose="target")(data)
    mismatch = CrystalMismatch(pair, apply_distortion(pair, pair.y))
    result = {"start": mismatch(pair.pos).item()}
    for name in ("without object", "with object"):
        torch.manual_seed(seed)
        model = GatedNetwork("3x0e", "1o", "1o", max_radius=2.7)
        one = paired if name == "with object" else without_object(paired)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-2, foreach=True)
        best, state = float("inf"), {}
        for _ in track(range(steps + 1), f"paper pair, {name}", console=console, transient=True):
            loss = mismatch(pair.pos + model(one))
            if loss.item() < best:
                best, state = loss.item(), {k: v.clone() for k, v in model.state_dict().items()}
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        result[name] = best
    model.load_state_dict(state)
    with torch.no_grad():
        answers = centered(model(objects).view(-1, 5, 3))
    exact = domains(symmetry, motions_from(breaking_set(symmetry.group, keep), paired.breaking), pair.y)[0]
    result["structures"] = len(distinct(answers))
    result["largest error (Å)"] = (answers - exact).abs().max().item()
    return result


def centered(displacements: Tensor) -> Tensor:
    """Displacements [n, N, 3] without the rigid shift, which has no meaning in a crystal."""
    return displacements - displacements.mean(1, keepdim=True)


def distinct(answers: Tensor) -> list[int]:
    """Numbers of the answers [n, ...] that differ from all before them."""
    flat = answers.reshape(len(answers), -1)
    return [i for i in range(len(flat)) if all((flat[i] - flat[j]).abs().max() > 1e-2 for j in range(i))]


def motions_from(found: BreakingSet, paired: Tensor) -> np.ndarray:
    """Elements [n, 3, 3] of the symmetry that make each object of a set of the one that belongs to the target."""
    number = int((found.objects - paired).norm(dim=1).argmin())
    return found.motions @ found.motions[number].T


def domains(symmetry: Symmetry, motions: np.ndarray, y: Tensor, strain: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The images of a distortion, y [N, 3] and strain [3, 3], under elements [n, 3, 3] of the symmetry."""
    g = torch.from_numpy(motions).to(symmetry.rotations)
    row = (g[:, None] - symmetry.rotations).abs().amax((2, 3)).argmin(1)
    images = torch.zeros(len(g), *y.shape, dtype=g.dtype)
    images.scatter_(1, symmetry.permutations[row][:, :, None].expand_as(images), y.to(g) @ g.mT)
    return images, g @ (torch.zeros(3, 3) if strain is None else strain).to(g) @ g.mT


# ------------------------------------------------------------------ the phases: displacements and strain


class Phases:
    """The three ferroelectric phases: one domain of each to train on, all domains to compare with."""

    def __init__(self) -> None:
        self.targets = [with_features(data, 2.9) for data in BaTiO3()[1:]]
        self.symmetry = detect_symmetry(self.targets[0])
        self.keep = [kept_symmetry(self.symmetry, d.y, d.strain[0]) for d in self.targets]
        self.sets = [breaking_set(self.symmetry.group, keep) for keep in self.keep]
        pair = AddSymmetryBreaking(choose="target", target={"y": "1o", "strain": "0e+2e"})
        self.batch = Batch.from_data_list([pair(data) for data in self.targets])
        self.strain = strain_to_irreps(self.batch.strain)
        self.scale_y, self.scale_strain = self.batch.y.square().mean().sqrt(), self.strain.square().mean().sqrt()

    def all_domains(self, phase: int) -> Batch:
        """The cubic structure with each object of a phase."""
        return AddSymmetryBreaking(keep=self.keep[phase], choose="all")(self.targets[phase])

    def network(self, seed: int) -> GatedNetwork:
        """The network: displacements on the atoms, strain for the crystal."""
        torch.manual_seed(seed)
        return GatedNetwork("4x0e", "1o", "1o", "0e+2e", max_radius=2.9, object_degree=3)

    def predict(self, model: GatedNetwork, data: Batch) -> tuple[Tensor, Tensor]:
        """Displacements [n, 5, 3] in Å, mean zero, and strain in irreps [n, 6]."""
        y, strain = model(data)
        return centered(y.view(data.num_graphs, -1, 3)) * self.scale_y, strain * self.scale_strain

    def loss(self, y: Tensor, strain: Tensor) -> Tensor:
        """Mean squared errors of displacements and strain, in units of their own size."""
        error_y = (y - self.batch.y.view_as(y)) / self.scale_y
        return error_y.square().mean() + ((strain - self.strain) / self.scale_strain).square().mean()

    def curie_bound(self) -> float:
        """The loss below which no network can come without an object: what averaging over m-3m takes away."""
        rotations, permutations = self.symmetry.rotations, self.symmetry.permutations
        y = sum(curie_residual(d.y, rotations, permutations) for d in self.targets)
        strains = self.batch.strain
        averages = torch.einsum("gij,njk,glk->nil", rotations, strains, rotations) / len(rotations)
        strain = (strains - averages).square().sum()
        return (y / self.batch.y.numel() / self.scale_y**2 + strain / self.strain.numel() / self.scale_strain**2).item()


def train(phases: Phases, seed: int, steps: int, broken: bool) -> tuple[GatedNetwork, list[float]]:
    """Train on one domain of each phase, with or without the objects."""
    model, data = phases.network(seed), phases.batch if broken else without_object(phases.batch)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, foreach=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for _ in track(range(steps), f"phases, with{'' if broken else 'out'} object", console=console, transient=True):
        loss = phases.loss(*phases.predict(model, data))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model, losses


def evaluate(phases: Phases, model: GatedNetwork) -> tuple[list[dict], list[Atoms], list[Tensor]]:
    """All domains of all phases, beside the rotated targets."""
    rows, structures, displacements = [], [], []
    for i, target in enumerate(phases.targets):
        data = phases.all_domains(i)
        with torch.no_grad():
            y, strain = phases.predict(model, data)
        motions = motions_from(phases.sets[i], phases.batch.breaking[i])
        exact_y, exact_strain = domains(phases.symmetry, motions, target.y, target.strain[0])
        strain = irreps_to_strain(strain)
        predicted = [to_ase(apply_distortion(target, u, e[None])) for u, e in zip(y, strain, strict=True)]
        for number, atoms in enumerate(predicted):
            atoms.info.update(phase=target.phase, domain=number)
        rows.append(
            {
                "phase": target.phase,
                "kept": phases.keep[i].schoenflies,
                "objects": phases.sets[i].size,
                "domains": len(distinct(y)),
                "rms error (Å)": (y - exact_y).square().sum(2).mean(1).sqrt().max().item(),
                "strain error": (strain - exact_strain).abs().max().item(),
                "space groups": sorted({detect_symmetry(atoms, 1e-3).space_group.number for atoms in predicted}),
                "measured": int(target.spacegroup),
            }
        )
        structures += predicted
        displacements.append(y)
    return rows, structures, displacements


def moved_prediction_error(phases: Phases, model: GatedNetwork, seed: int) -> float:
    """Rotate the cubic crystal, permute its atoms, shift its origin: how far the predictions fail to follow, Å."""
    rng = np.random.default_rng(seed)
    r = torch.from_numpy(-Rotation.random(random_state=rng).as_matrix())
    order = torch.from_numpy(rng.permutation(5))
    shift = torch.from_numpy(rng.normal(size=3))
    largest = 0.0
    for i, target in enumerate(phases.targets):
        moved = Data(z=target.z[order], pos=target.pos[order] @ r.T + shift, cell=target.cell @ r.T, pbc=target.pbc)
        moved.temperature = target.temperature
        data = phases.all_domains(i)
        keep = phases.keep[i].rotated(r.numpy())
        other = AddSymmetryBreaking(keep=keep, choose="all")(with_features(moved, 2.9))
        with torch.no_grad():
            (y, strain), (y2, strain2) = phases.predict(model, data), phases.predict(model, other)
        same = torch.cdist(data.breaking @ r.T, other.breaking).argmin(1)
        largest = max(largest, (y[:, order] @ r.T - y2[same]).abs().max().item())
        turned = r @ irreps_to_strain(strain) @ r.T
        largest = max(largest, (turned - irreps_to_strain(strain2[same])).abs().max().item() * 4)
    return largest


# ------------------------------------------------------------------ pictures


def figure(phases: Phases, displacements: list[Tensor], curves: dict[str, list[float]], bound: float) -> plt.Figure:
    """The domains as directions of polarization, one structure of each phase, and the training."""
    fig = plt.figure(figsize=(13, 4.6), constrained_layout=True)
    left, middle, right = fig.add_gridspec(1, 3, width_ratios=[1.15, 1.1, 1])
    draw_domains(fig.add_subplot(left, projection="3d"), phases, displacements)
    grid = middle.subgridspec(2, 2)
    still = torch.zeros_like(displacements[0][0])
    for k, (name, y) in enumerate(
        [("cubic", still), *((t.phase, u[0]) for t, u in zip(phases.targets, displacements, strict=True))]
    ):
        draw_cell(fig.add_subplot(grid[k // 2, k % 2]), phases.targets[0], y, name)
    axes = fig.add_subplot(right)
    axes.semilogy(curves["without object"], color="0.45", label="without object")
    axes.semilogy(curves["with object"], color="#30638e", label="with object")
    axes.axhline(bound, color="k", ls="--", lw=1, label="bound by Curie's principle")
    axes.set(xlabel="step", ylabel="loss on the three training domains", title="Training on one domain of each phase")
    axes.legend(frameon=False)
    return fig


def draw_domains(axes: plt.Axes, phases: Phases, displacements: list[Tensor]) -> None:
    """Arrows along the predicted polarization of each domain; rings mark the exact directions."""
    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    for a in corners:
        for b in corners:
            if np.abs(a - b).sum() == 2 and tuple(a) < tuple(b):
                axes.plot(*np.stack([a, b]).T, color="0.8", lw=1)
    for target, y, found in zip(phases.targets, displacements, phases.sets, strict=True):
        polar = (y[:, target.z == 22].mean(1) - y[:, target.z == 8].mean(1)).numpy()
        polar = polar / np.linalg.norm(polar, axis=1, keepdims=True)
        exact = found.objects.numpy() * np.sign((found.objects.numpy() * polar).sum(1, keepdims=True))
        reach = 1 / np.abs(exact).max(1, keepdims=True)
        axes.quiver(*np.zeros((3, len(polar))), *(polar * reach).T, color=COLORS[target.phase], arrow_length_ratio=0.12)
        label = f"{target.phase}: {len(polar)}"
        axes.scatter(*(exact * reach).T, s=60, facecolors="none", edgecolors=COLORS[target.phase], label=label)
    axes.set_box_aspect((1, 1, 1), zoom=1.1)
    axes.set_axis_off()
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3, frameon=False, handletextpad=0.1, columnspacing=0.8
    )
    axes.set_title("Predicted polarization (Ti against O)\nof all domains; rings: exact", fontsize=11)


def draw_cell(axes: plt.Axes, cubic: Data, y: Tensor, name: str) -> None:
    """The cell seen almost along -x, displacements five times enlarged."""
    view = torch.tensor([[-0.30, 0.95, 0.0], [-0.25, -0.10, 0.96]], dtype=y.dtype)
    a = cubic.cell[0, 0, 0]
    images, moved, species = [], [], []
    for i in range(5):
        for n in np.ndindex(2, 2, 2):
            at = cubic.pos[i] % a + a * torch.tensor(n, dtype=y.dtype)
            if (at <= a + 1e-6).all():
                images.append(at)
                moved.append(at + 5 * y[i])
                species.append(int(cubic.z[i]))
    flat, ends = torch.stack(images) @ view.T, torch.stack(moved) @ view.T
    corner = a * torch.tensor(list(np.ndindex(2, 2, 2)), dtype=y.dtype)
    for p in corner:
        for q in corner:
            if (p - q).abs().sum() == a and tuple(p) < tuple(q):
                axes.plot(*(torch.stack([p, q]) @ view.T).T, color="0.85", lw=0.8, zorder=0)
    look = {56: ("#7fb069", 90, "Ba"), 22: ("#30638e", 70, "Ti"), 8: ("#d1495b", 35, "O")}
    for number, (color, size, label) in look.items():
        rows = [k for k, z in enumerate(species) if z == number]
        axes.scatter(*ends[rows].T, s=size, color=color, label=label, zorder=2, edgecolors="white", linewidths=0.5)
    for p, q in zip(flat, ends, strict=True):
        if (p - q).norm() > 0.05:
            axes.annotate("", q, p, arrowprops={"arrowstyle": "->", "color": "0.2", "lw": 0.9}, zorder=3)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(name, color=COLORS.get(name, "k"), fontsize=10, pad=0)
    if name == "cubic":
        axes.legend(loc="upper left", bbox_to_anchor=(-0.25, 1.0), frameon=False, fontsize=8, handletextpad=0)


def table(title: str, rows: list[dict]) -> Table:
    """A table for the terminal."""
    out = Table(title=title, title_justify="left")
    for key in rows[0]:
        out.add_column(key, justify="right", no_wrap=key == "phase")
    for row in rows:
        out.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    return out


def main(
    out: Annotated[Path, typer.Option(help="Folder for structures, figure and figures of merit.")] = Path(
        "results/batio3"
    ),
    steps: Annotated[int, typer.Option(help="Training steps.")] = 700,
    seed: int = 0,
) -> None:
    """Predict the ferroelectric phases of BaTiO3 from the cubic one, every domain of each."""
    torch.set_default_dtype(torch.float64)
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    paper = paper_pair(seed, min(steps, 300))
    console.print(table("Cubic to tetragonal on a fixed cell (mismatch, Å²)", [paper]))

    phases = Phases()
    bound = phases.curie_bound()
    _, unbroken = train(phases, seed, steps, broken=False)
    model, broken = train(phases, seed, steps, broken=True)
    rows, structures, displacements = evaluate(phases, model)
    console.print(table("One network, trained on one domain of each phase, asked for all domains", rows))
    summary = {
        "without object": unbroken[-1],
        "Curie bound": bound,
        "with object": broken[-1],
        "moved input: off by (Å)": moved_prediction_error(phases, model, seed),
    }
    console.print(table("Loss after training, and predictions for a rotated, permuted, shifted crystal", [summary]))

    write(out / "domains.extxyz", structures)
    for atoms in structures:
        write(out / f"{atoms.info['phase']}_{atoms.info['domain']:02d}.cif", atoms)
    curves = {"without object": unbroken, "with object": broken}
    figure(phases, displacements, curves, bound).savefig(out / "domains.png", dpi=120)
    seconds = time.perf_counter() - start
    metrics = {"paper pair": paper, "phases": rows, **summary, "seconds": seconds}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2))
    console.print(f"{len(structures)} structures, figure and metrics are in {out} ({seconds:.0f} s)")


if __name__ == "__main__":
    typer.run(main)
