"""Tilts of perovskites: one domain of each tilt is learned, all domains and other compounds are predicted.

The cubic phase of ABX3 has no direction in which its octahedra could tilt. The object says which: rotation vectors on
the B sites (1e), one domain of a tilt system. A network that is given it predicts the displacements and the energy of
that tilt. It is trained on one domain of each tilt of the compounds of datasets.PerovskiteTilts, and asked of held-out
compounds how far their octahedra tilt, and which tilt is lowest. Beside it stand networks whose objects are zero, noise
and input-indexed, which may give any domain. All are told the name of the tilt too, as scalars on every atom.

    python examples/perovskite_tilts.py
    python examples/perovskite_tilts.py --seeds 5
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from _seeds import Rows, over_seeds
from _shared import Run, console
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.utils import scatter

from pyg_symbreak.breaking import NodeBreakingSet, breaking_set
from pyg_symbreak.datasets import PerovskiteTilts
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.losses import pad_candidates
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import Octahedra, apply_distortion, find_octahedra, to_ase
from pyg_symbreak.training import fit
from pyg_symbreak.transforms import NeighborList

TILTS = {"a0a0c-": 140, "a-a-a-": 167, "a0b-b-": 74, "a0a0c+": 127, "a+a+a+": 204, "a+b-b-": 62}
"""The tilts that every compound is asked for, and their space groups."""
WAYS = ("none", "noise", "input-indexed", "tilt")
EDGE, CUTOFF = 4.0, 3.0
"""Networks see crystals in units in which the cubic edge is 4; neighbours are nearer than 3."""
OBJECT = "1e+1o"
HIDDEN = "16x0e+4x0o+8x1e+8x1o+4x2e+4x2o"
LAYERS, DEGREE, BLUR = 2, 2, 0.1
MOST = 16
"""Largest number of domains in the primitive cell of a tilt."""
SAME = 2e-3
"""Energies, eV, that are not told apart when it is asked which tilt is lowest; the cubic phase is at zero."""
COMPOUNDS = 3
"""In a batch."""


# ------------------------------------------------------------------ data


def reduced(data: Data, edge: float) -> Data:
    """The cubic phase in units of its edge, with neighbours."""
    out = Data(z=data.z, pos=data.pos * EDGE / edge, cell=data.cell * EDGE / edge, pbc=data.pbc)
    return NeighborList(CUTOFF)(out)


def domain(octahedra: Octahedra, y: Tensor, tilt: str) -> Tensor:
    """The domain of a tilt system [N, 3] that displacements are in: rotation vectors on the centres, the largest 1.

    Of the displacements it takes the signs of the tilts about each axis, not how large they are.
    """
    b, arms, moved = octahedra.bonds[:, 0], octahedra.arms, y.numpy()[octahedra.bonds[:, 2]]
    turns = np.zeros((len(octahedra.centers), 3))
    np.add.at(turns, b, np.cross(arms, moved) / (4 * (arms**2).sum(1, keepdims=True)))
    means, waves = {}, {}
    for axis in range(3):
        for sign in "+-":
            if (wave := octahedra.phase(axis, sign)) is not None:
                waves[axis, sign] = np.outer(wave, octahedra.axes[axis])
                means[axis, sign] = float((turns * waves[axis, sign]).sum(1).mean())
    wanted = [sign for sign in (tilt[1], tilt[3], tilt[5]) if sign != "0"]
    field = np.zeros((len(y), 3))
    for sign in set(wanted):
        largest = sorted((key for key in means if key[1] == sign), key=lambda key: -abs(means[key]))
        for key in largest[: wanted.count(sign)]:
            weight = 0.75 if sign == "-" and "+" in wanted else 1.0  # of a+b-b-
            field[octahedra.centers] += weight * np.sign(means[key]) * waves[key]
    return torch.from_numpy(field / np.linalg.norm(field, axis=1).max()).to(y)


class Tilts:
    """Every tilt of every compound as a graph: what is known, and what the networks read."""

    def __init__(self, source: Sequence[Data] | None = None) -> None:
        every = PerovskiteTilts()
        source = list(every) if source is None else source
        self.edges = {name: edge for name, (edge, _) in every.cubic.items()}
        self.symmetries: dict[bytes, tuple[Symmetry, NodeBreakingSet]] = {}
        known = {(d.formula, d.tilt): d for d in source if TILTS.get(d.tilt) == d.kept_number.item()}
        examples = {tilt: next(d for (_, t), d in known.items() if t == tilt) for tilt in TILTS}
        ions = {d.formula: d for d in source}
        self.graphs: dict[str, list[Data]] = {}
        for name, own in ions.items():
            self.graphs[name] = [self._graph(name, tilt, own, known, examples[tilt], source) for tilt in TILTS]

    def _graph(self, name: str, tilt: str, ions: Data, known: dict, example: Data, source: Sequence[Data]) -> Data:
        """A tilt of a compound. Where it has none, relaxation led to the cubic phase or to another tilt."""
        found, edge = known.get((name, tilt)), self.edges[name]
        shape = example if found is None else found
        graph = reduced(shape, self.edges[shape.formula])
        graph.y = graph.pos.new_zeros(graph.num_nodes, 3) if found is None else found.y * EDGE / edge
        end = found
        if found is None:
            others = (d for d in source if d.formula == name and tilt in d.starts.split(", "))
            end = next(others, None)
        graph.energy = graph.pos.new_tensor([0.0 if end is None else end.energy.item()])
        graph.known = torch.tensor([found is not None or end is None])  # whether y is the answer
        graph.angle = torch.tensor([0.0 if found is None else float(found.angles.norm())])
        octahedra = find_octahedra(to_ase(graph))
        graph.object = domain(octahedra, shape.y, tilt)
        centers = set(octahedra.centers.tolist())
        counts = torch.bincount(graph.z)[graph.z]
        roles = [1 if i in centers else 2 if counts[i] > len(centers) else 0 for i in range(graph.num_nodes)]
        graph.roles = torch.eye(3)[roles].to(graph.pos)
        _, b, x = _one_of_each(ions)
        bond = 2 * float(ions.radius[b] + ions.radius[x])
        numbers = [10 * (ions.tolerance.item() - 0.95), 20 * (edge / bond - 1), float(-ions.charge[x] - 1)]
        graph.scalars = graph.pos.new_tensor(numbers).expand(graph.num_nodes, -1)
        graph.name = graph.pos.new_tensor([float(tilt == t) for t in TILTS]).expand(graph.num_nodes, -1)
        symmetry, _ = self.symmetry(graph)
        graph.candidates = pad_candidates(images(symmetry, graph.y).transpose(0, 1), MOST)
        graph.formula, graph.tilt = name, tilt
        graph.strain = torch.zeros(1, 3, 3) if found is None else found.strain
        return graph

    def symmetry(self, graph: Data) -> tuple[Symmetry, NodeBreakingSet]:
        """Of the cubic phase in the cell of a graph, and the objects that break all of it; one for all compounds."""
        atoms = to_ase(graph)
        order = np.argsort(np.bincount(atoms.numbers)[atoms.numbers], kind="stable")
        key = np.round(np.concatenate([atoms.positions, atoms.cell.array]), 3).tobytes()
        if key not in self.symmetries:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the cell does not hold all domains
                symmetry = detect_symmetry(atoms, 1e-2)
                corners = order[len(order) * 2 // 5 :]
                objects = breaking_set(symmetry, nodes=corners, irreps=OBJECT, depends_on="input")
            self.symmetries[key] = symmetry, objects
        return self.symmetries[key]

    def split(self, seed: int, share: float = 0.2) -> tuple[list[str], list[str]]:
        """Compounds for training, and those that are held out."""
        names = sorted(self.graphs)
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
        count = round(share * len(names))
        return [names[i] for i in order[count:]], [names[i] for i in order[:count]]


def _one_of_each(data: Data) -> list[int]:
    """An atom A, B and X of a structure."""
    atoms = to_ase(data)
    octahedra = find_octahedra(atoms)
    b, x = int(octahedra.centers[0]), int(octahedra.bonds[0, 2])
    a = next(i for i in range(len(atoms)) if atoms.numbers[i] not in (atoms.numbers[b], atoms.numbers[x]))
    return [a, b, x]


def images(symmetry: Symmetry, field: Tensor) -> Tensor:
    """What the operations make of a field of vectors [N, 3], each image once: [n, N, 3]."""
    turned = field.double() @ symmetry.rotations.mT
    places = symmetry.permutations[:, :, None].expand_as(turned)
    every = torch.zeros_like(turned).scatter(1, places, turned)
    near = torch.cdist(every.flatten(1), every.flatten(1)) < 0.02 * float(field.norm()) + 1e-6
    return every[near.int().argmax(1).unique()].to(field)


# ------------------------------------------------------------------ networks


class Tilter(nn.Module):
    """Displacements [N, 3], and [B] the square root of the energy below the cubic phase, eV^(1/2)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = GatedNetwork(
            f"{6 + len(TILTS)}x0e",
            "1o",
            OBJECT,
            "1x0e",
            max_radius=CUTOFF,
            hidden=HIDDEN,
            lmax=2,
            layers=LAYERS,
            object_degree=DEGREE,
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Evaluate on a batch."""
        batch = batch.clone()
        batch.x = torch.cat([batch.roles, batch.scalars, batch.name], 1)
        y, depth = self.network(batch)
        return y - scatter(y, batch.batch, dim=0, reduce="mean")[batch.batch], depth[:, 0]


def with_objects(data: Tilts, way: str, graphs: Sequence[Data]) -> Batch:
    """The graphs with an object each; noise and input-indexed ones are drawn."""
    out = []
    for graph in graphs:
        graph = graph.clone()
        zero = torch.zeros_like(graph.object)
        if way == "tilt":
            graph.breaking = torch.cat([graph.object, zero], 1)
        elif way == "none":
            graph.breaking = torch.cat([zero, zero], 1)
        elif way == "noise":
            graph.breaking = torch.randn(graph.num_nodes, 6)
        else:
            graph.breaking = data.symmetry(graph)[1].sample(1)[0].to(graph.pos)
        out.append(graph)
    return Batch.from_data_list(out)


def errors(y: Tensor, batch: Batch, way: str) -> Tensor:
    """Mean squares [B] of the errors of displacements: of the tilt that was asked for, or of its nearest domain."""
    wanted = batch.y[:, None] if way == "tilt" else batch.candidates
    return scatter((y[:, None] - wanted).square().sum(2), batch.batch, dim=0, reduce="mean").min(1).values


def loss_of(model: Tilter, batch: Batch, way: str) -> Tensor:
    """Of displacements where they are known, of energies, and of how these differ between the tilts of a compound."""
    y, depth = model(batch)
    wanted = (-batch.energy).clamp(min=0).sqrt()
    off = (depth - wanted).view(-1, len(TILTS))
    moved = (errors(y, batch, way) * batch.known).sum() / batch.known.sum()
    return 10 * moved + off.square().mean() + 5 * (off - off.mean(1, keepdim=True)).square().mean()


def train(data: Tilts, way: str, names: Sequence[str], steps: int, seed: int) -> Tilter:
    """Train one network."""
    torch.manual_seed(seed)
    model = Tilter()
    parts = [names[k::count] for count in [max(1, round(len(names) / COMPOUNDS))] for k in range(count)]
    fixed = {k: with_objects(data, way, [g for n in part for g in data.graphs[n]]) for k, part in enumerate(parts)}

    def loss(step: int) -> Tensor:
        k = step % len(parts)
        if way in ("noise", "input-indexed") and step >= len(parts):
            fixed[k] = with_objects(data, way, [g for n in parts[k] for g in data.graphs[n]])
        batch = fixed[k].clone()
        blur = BLUR * torch.randn(batch.num_graphs // len(TILTS), batch.scalars.size(1))
        batch.scalars = batch.scalars + blur.repeat_interleave(len(TILTS), 0)[batch.batch]
        return loss_of(model, batch, way)

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)

    fit(model, loss, steps, schedule=schedule, progress=way)
    return model.eval()


# ------------------------------------------------------------------ figures of merit


def angle_of(graph: Data, y: Tensor, edge: float) -> float:
    """Degrees that the octahedra turn altogether when the atoms are displaced: the norm over axes."""
    physical = Data(z=graph.z, pos=graph.pos * edge / EDGE, cell=graph.cell * edge / EDGE, pbc=graph.pbc)
    try:
        tilts = find_octahedra(to_ase(apply_distortion(physical, y * edge / EDGE, graph.strain))).tilts()
    except ValueError:  # octahedra are torn
        return 0.0
    return float(np.linalg.norm(tilts.angles))


@torch.no_grad()
def judged(data: Tilts, model: Tilter, way: str, names: Sequence[str]) -> tuple[dict[str, float], list[dict]]:
    """Figures of merit over compounds, and what is predicted of each tilt."""
    rows, right, moved, still = [], [], 0.0, 0.0
    for name in names:
        graphs = data.graphs[name]
        batch = with_objects(data, way, graphs)
        y, depth = model(batch)
        off = errors(y, batch, way)
        for graph, own, root, error in zip(graphs, unbatched(y, batch), depth.tolist(), off.tolist(), strict=True):
            known = graph.known.item()
            if known:
                moved, still = moved + error, still + float(graph.y.square().sum(1).mean())
            row = {"compound": name, "tilt": graph.tilt, "known": known, "angle": graph.angle.item()}
            row |= {"predicted angle": angle_of(graph, own, data.edges[name]), "energy": graph.energy.item()}
            rows.append(row | {"predicted energy": -(max(root, 0.0) ** 2), "y": own})
        own = rows[-len(graphs) :]
        energies = [0.0, *(row["energy"] for row in own)]
        chosen = int(np.argmin([-SAME / 2, *(row["predicted energy"] for row in own)]))
        right.append(energies[chosen] < min(energies) + SAME)
    angles = np.array([[row["angle"], row["predicted angle"]] for row in rows if row["known"] and row["angle"] > 0])
    merits = {
        "angle error (°)": float(np.abs(angles[:, 0] - angles[:, 1]).mean()),
        "of a mean of (°)": float(angles[:, 0].mean()),
        "error / no displacement": (moved / still) ** 0.5,
        "lowest tilt right": float(np.mean(right)),
    }
    return merits, rows


def without_network(data: Tilts, names: Sequence[str], held_out: Sequence[str]) -> dict[str, float]:
    """Angles by least squares, for each tilt linear in the numbers that networks read; a+b-b- is always said lowest."""
    off: list[float] = []
    for k in range(len(TILTS)):
        rows, angles = {}, {}
        for kind, those in (("train", names), ("test", held_out)):
            own = [data.graphs[n][k] for n in those if data.graphs[n][k].known and data.graphs[n][k].angle > 0]
            rows[kind] = np.array([[*g.scalars[0].tolist(), 1.0] for g in own]).reshape(-1, 4)
            angles[kind] = np.array([g.angle.item() for g in own])
        weights = np.linalg.lstsq(rows["train"], angles["train"], rcond=None)[0]
        off += np.abs(rows["test"] @ weights - angles["test"]).tolist()
    energies = np.array([[g.energy.item() for g in data.graphs[n]] for n in held_out])
    right = energies[:, -1] < np.minimum(energies.min(1), 0) + SAME
    return {"angle error (°)": float(np.mean(off)), "lowest tilt right": float(right.mean())}


def unbatched(y: Tensor, batch: Batch) -> list[Tensor]:
    """The rows of each graph."""
    return list(y.split(torch.bincount(batch.batch).tolist()))


@torch.no_grad()
def domains(data: Tilts, model: Tilter, name: str) -> tuple[int, float]:
    """Domains of a+b-b- of a compound in 40 atoms, and by how much the errors of the answers differ, in units of the
    displacements, when the network is given each."""
    found = next(d for d in PerovskiteTilts(cell="2x2x2") if d.formula == name and d.kept_number.item() == 62)
    graph = reduced(found, data.edges[name])
    symmetry = detect_symmetry(to_ase(graph), 1e-2)
    own = data.graphs[name][-1]
    octahedra = find_octahedra(to_ase(graph))
    seen = images(symmetry, found.y * EDGE / data.edges[name])
    kinds = {int(z): own.roles[own.z == z][0] for z in own.z.unique()}
    graph.roles = torch.stack([kinds[z] for z in graph.z.tolist()])
    graph.scalars, graph.name = own.scalars[:1].expand(40, -1), own.name[:1].expand(40, -1)
    several = []
    for one in seen:
        each = graph.clone()
        field = domain(octahedra, one, "a+b-b-")
        each.y, each.breaking = one, torch.cat([field, torch.zeros_like(field)], 1)
        several.append(each)
    batch = Batch.from_data_list(several)
    off = errors(model(batch)[0], batch, "tilt").sqrt()
    return len(several), float(off.max() - off.min()) / float(seen[0].square().sum(1).mean().sqrt())


# ------------------------------------------------------------------ what is shown


def figure(data: Tilts, rows: Sequence[dict], names: Sequence[str], merits: dict[str, dict[str, float]]) -> plt.Figure:
    """Angles predicted against true ones, energies of the tilts of some compounds, and errors of the ways."""
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    palette = plt.get_cmap("tab10")
    for k, tilt in enumerate(TILTS):
        own = [row for row in rows if row["tilt"] == tilt and row["known"]]
        left.scatter([r["angle"] for r in own], [r["predicted angle"] for r in own], s=30, color=palette(k), label=tilt)
    most = max(row["angle"] for row in rows) * 1.1
    left.plot([0, most], [0, most], color="0.6", lw=1, zorder=0)
    left.set(xlabel="angle of the octahedra (°)", ylabel="predicted (°)", title="Held-out compounds")
    left.legend(frameon=False, fontsize=9)
    shown = names[:6]
    for place, name in enumerate(shown):
        for row in (row for row in rows if row["compound"] == name):
            color = palette(list(TILTS).index(row["tilt"]))
            depth = [max(-1000 * row[key], 0.5) for key in ("energy", "predicted energy")]
            middle.plot([place - 0.35, place - 0.02], [depth[0]] * 2, color=color, lw=3)
            middle.plot([place + 0.02, place + 0.35], [depth[1]] * 2, color=color, lw=3, alpha=0.5)
    middle.set_xticks(range(len(shown)), shown, rotation=40)
    middle.set(yscale="log", ylabel="meV a formula unit below cubic", title="Energies: true, and predicted beside it")
    ways = list(merits)
    colors = ["0.5", "#edae49", "#30638e", "#d1495b"]
    right.bar(range(len(ways)), [merits[w]["angle error (°)"] for w in ways], color=colors)
    for place, way in enumerate(ways):
        text = f"{100 * merits[way]['lowest tilt right']:.0f} %"
        right.annotate(text, (place, merits[way]["angle error (°)"]), (0, 3), textcoords="offset points", ha="center")
    right.set_xticks(range(len(ways)), ways)
    right.set(ylabel="mean error of angles (°)", title="Ways to break; in %: lowest tilt right")
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure, table and metrics.")] = Path("results/perovskite_tilts"),
    steps: Annotated[int, typer.Option(help="Training steps of each network.")] = 400,
    seeds: Annotated[int, typer.Option(help="Number of seeds, each with compounds of its own held out.")] = 1,
) -> None:
    """Train on one domain of each tilt, and predict tilts of other compounds."""
    torch.set_num_threads(1)  # the tensors are small
    files, data = Run(out), Tilts()

    def run(seed: int) -> Rows:
        names, held_out = data.split(seed)
        merits, answer, model = {}, [], None
        for way in WAYS:
            model = train(data, way, names, steps, seed)
            merits[way], answer = judged(data, model, way, held_out)
        assert model is not None
        if seed == 0:
            figure(data, answer, held_out, merits).savefig(out / "perovskite_tilts.png", dpi=100)
            tilted = next(n for n in held_out if data.graphs[n][-1].known and data.graphs[n][-1].angle > 1)
            count, spread = domains(data, model, tilted)
            console.print(
                f"{tilted}: {count} domains of Pnma, whose errors differ by {spread:.1g} of the displacements"
            )
        least = without_network(data, names, held_out)
        return {way: dict(row) for way, row in merits.items()} | {"no network": dict(least)}

    over_seeds(run, range(seeds), "Held-out compounds", out)
    console.print(f"{len(data.graphs)} compounds; figure, table and metrics are in {files.out}")


if __name__ == "__main__":
    typer.run(main)
