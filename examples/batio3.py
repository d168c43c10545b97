"""From cubic barium titanate to its ferroelectric phases, every domain of each.

An equivariant network cannot leave the cubic symmetry of its input. Here one is given a symmetry breaking object, a
vector from the smallest equivariant set for m-3m and the symmetry of the phase, and is trained on a single domain of
each phase. The other domains follow without training.

    python examples/batio3.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from _shared import Run, console, table
from ase import Atoms
from ase.io import write
from rich.progress import track
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
from pyg_symbreak.plot import plot_domains, plot_losses, plot_structure
from pyg_symbreak.structures import apply_distortion, irreps_to_strain, strain_to_irreps, to_ase
from pyg_symbreak.training import fit
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList


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

    def loss(step: int) -> Tensor:
        return phases.loss(*phases.predict(model, data))

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    name = f"phases, with{'' if broken else 'out'} object"
    return model, fit(model, loss, steps, schedule=schedule, progress=name)


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
    axes = plot_domains(*polarizations(phases, displacements), fig.add_subplot(left))
    axes.set_title("Predicted polarization (Ti against O)\nof all domains; rings: exact", fontsize=11)
    grid = middle.subgridspec(2, 2)
    cubic = phases.targets[0]
    shown = {"cubic": None} | {t.phase: u[0] for t, u in zip(phases.targets, displacements, strict=True)}
    for k, (name, y) in enumerate(shown.items()):
        axes = plot_structure(cubic, y, fig.add_subplot(grid[k // 2, k % 2]), scale=5)
        axes.set_title(name, fontsize=10, pad=0)
        if k == 0:
            axes.legend(loc="upper left", bbox_to_anchor=(-0.25, 1.0), frameon=False, fontsize=8, handletextpad=0)
    axes = plot_losses(curves, bound, fig.add_subplot(right))
    axes.set(ylabel="loss on the three training domains", title="Training on one domain of each phase")
    return fig


def polarizations(phases: Phases, displacements: list[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Predicted polarization [n, 3] of each domain of each phase, and the exact directions."""
    found, exact = {}, {}
    for target, y, objects in zip(phases.targets, displacements, phases.sets, strict=True):
        polar = y[:, target.z == 22].mean(1) - y[:, target.z == 8].mean(1)
        found[target.phase] = polar
        exact[target.phase] = objects.objects * (objects.objects * polar).sum(1, keepdim=True).sign()
    return found, exact


def main(
    out: Annotated[Path, typer.Option(help="Folder for structures, figure and figures of merit.")] = Path(
        "results/batio3"
    ),
    steps: Annotated[int, typer.Option(help="Training steps.")] = 700,
    seed: int = 0,
) -> None:
    """Predict the ferroelectric phases of BaTiO3 from the cubic one, every domain of each."""
    torch.set_default_dtype(torch.float64)
    files = Run(out)
    paper = paper_pair(seed, min(steps, 300))
    console.print(table("Cubic to tetragonal on a fixed cell (mismatch, Å²)", [paper], ".3g"))

    phases = Phases()
    bound = phases.curie_bound()
    _, unbroken = train(phases, seed, steps, broken=False)
    model, broken = train(phases, seed, steps, broken=True)
    rows, structures, displacements = evaluate(phases, model)
    console.print(table("One network, trained on one domain of each phase, asked for all domains", rows, ".3g"))
    summary = {
        "without object": unbroken[-1],
        "Curie bound": bound,
        "with object": broken[-1],
        "moved input: off by (Å)": moved_prediction_error(phases, model, seed),
    }
    console.print(
        table("Loss after training, and predictions for a rotated, permuted, shifted crystal", [summary], ".3g")
    )

    write(out / "domains.extxyz", structures)
    for atoms in structures:
        write(out / f"{atoms.info['phase']}_{atoms.info['domain']:02d}.cif", atoms)
    curves = {"without object": unbroken, "with object": broken}
    figure(phases, displacements, curves, bound).savefig(out / "domains.png", dpi=120)
    metrics = {"paper pair": paper, "phases": rows, **summary}
    files.finish(metrics, f"{len(structures)} structures, figure and metrics")


if __name__ == "__main__":
    typer.run(main)
