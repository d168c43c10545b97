"""How well displacements, the group kept and the polarization of ferroelectrics are learned.

Pairs of datasets.Ferroelectrics, split by composition, with the network of examples/ferroelectrics.py::

    python benchmarks/ferroelectrics.py features FILE       # needs SevenNet: pip install "pyg_symbreak[potentials]"
    python benchmarks/ferroelectrics.py learn OUTPUT [--features FILE]
    python benchmarks/ferroelectrics.py kept OUTPUT
    python benchmarks/ferroelectrics.py bound
    python benchmarks/ferroelectrics.py minima              # needs SevenNet
"""

import json
import statistics
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import scatter

from pyg_symbreak.breaking import NodeFields, read_target, target_stabilizer
from pyg_symbreak.detect import SymmetrySubgroup
from pyg_symbreak.detect import symmetrize as symmetrize_structure
from pyg_symbreak.distort import distortions, relax
from pyg_symbreak.losses import symmetrize
from pyg_symbreak.structures import to_ase
from pyg_symbreak.training import atom_features, fit
from pyg_symbreak.transforms import AddSymmetryBreaking

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import ferroelectrics as example

app = typer.Typer()
STEP = 0.05
"""Å: length of the displacements, of all atoms together, from which force constants are taken."""
LAYER = "3_equivariant_gate"
"""The part of SevenNet whose output is taken as features, of which the first 128 columns are scalars."""
SCALARS = 128
SEEDS = 5
Rows = dict[str, list[dict[str, float]]]


# ------------------------------------------------------------------ from a pretrained potential


def kept_space(data) -> np.ndarray:
    """Orthonormal displacements [d, N, 3] that K leaves as they are, without those of S and without translations."""
    symmetry, mask = example.kept(data)
    count = data.num_nodes
    means = []
    for rows in (np.flatnonzero(mask), np.arange(len(mask))):
        mean = np.zeros((count, 3, count, 3))
        for turn, places in zip(symmetry.rotations[rows].numpy(), symmetry.permutations[rows].numpy(), strict=True):
            mean[places, :, np.arange(count)] += turn / len(rows)
        means.append(mean.reshape(3 * count, 3 * count))
    shift = np.kron(np.full((count, count), 1 / count), np.eye(3))
    values, vectors = np.linalg.eigh((np.eye(3 * count) - shift) @ (means[0] - means[1]) @ (np.eye(3 * count) - shift))
    return vectors.T[values > 0.5].reshape(-1, count, 3)


@app.command()
def features(file: Path, atoms: int = 16) -> None:
    """What SevenNet says of each parent: scalars of its atoms, and the curvatures along displacements that keep K.

    The scalars are means over the crystal and its mirror image, as those of SevenNet tell the two apart.
    """
    from sevenn.calculator import SevenNetCalculator

    potential = SevenNetCalculator("7net-0", device="cpu")
    seen: list[Tensor] = []
    potential.model._modules[LAYER].register_forward_hook(lambda module, given, out: seen.append(out["x"].detach()))
    out = torch.load(file) if file.exists() else {}
    for data in sorted(example.pairs(atoms), key=lambda data: data.num_nodes):
        if (data.polar_id, data.parent_id) in out:
            continue
        crystal, scalars = to_ase(data), []
        for hand in (1, -1):
            image = crystal.copy()
            image.set_cell(hand * crystal.cell.array, scale_atoms=True)
            potential.calculate(image)
            scalars.append(seen[-1][:, :SCALARS])
        modes = kept_space(data)
        forces = []
        for mode in modes:
            there = crystal.copy()
            there.positions += STEP * mode
            potential.calculate(there)
            forces.append(potential.results["forces"])
        hessian = -np.einsum("ina,jna->ij", modes, np.array(forces)) / STEP
        values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
        seen.clear()
        out[data.polar_id, data.parent_id] = {
            "scalars": sum(scalars) / 2,
            "modes": torch.from_numpy(np.einsum("fm,fna->mna", vectors, modes)).float(),  # the softest first
            "stiffness": torch.from_numpy(values).float(),
        }
        torch.save(out, file)
        print(data.formula, data.num_nodes, len(modes), f"{values[0]:.3g} eV/Å²", flush=True)


def with_features(graphs: Sequence[Data], found: dict, which: str) -> list[Data]:
    """The graphs with SevenNet's scalars, of mean 0 and variance 1 over all atoms, or the softest displacement."""
    every = torch.cat([found[data.polar_id, data.parent_id]["scalars"] for data in graphs])
    out = []
    for data in graphs:
        entry, data = found[data.polar_id, data.parent_id], data.clone()
        if "scalars" in which:
            scalars = (entry["scalars"] - every.mean(0)) / (every.std(0) + 1e-3)
            data.x, data.irreps_in = torch.cat([data.x, scalars], dim=1), f"{data.irreps_in}+{SCALARS}x0e"
        if "softest" in which:
            soft = entry["modes"][0] * data.num_nodes**0.5
            data.x, data.irreps_in = torch.cat([data.x, soft], dim=1), f"{data.irreps_in}+1x1o"
        out.append(data)
    return out


class Softened(example.Displacer):
    """The network's displacements y, by curvatures H of a potential: exp(-β (H - h)) y, h the least, β learned.

    H and y are taken in the displacements that K leaves as they are and S does not: the answer is of these alone.
    """

    def __init__(self, way: str, irreps_in: str, **options: Any) -> None:
        super().__init__(way, irreps_in, **options)
        self.decay = torch.nn.Parameter(torch.tensor(0.0))  # log β, β in Å²/eV

    def forward(self, data: Batch) -> tuple[Tensor, Tensor]:
        """Evaluate on a batch."""
        y, polar = super().forward(data)
        parts = scatter((y[:, None] * data.modes).sum(2), data.batch, dim=0, reduce="sum")
        weights = torch.exp(-self.decay.exp() * (data.stiffness - data.stiffness[:, :1]))
        return ((weights * parts)[data.batch, :, None] * data.modes).sum(1), polar


def with_modes(graphs: Sequence[Data], found: dict) -> list[Data]:
    """The graphs with the displacements that K leaves as they are, padded by zeros, and the curvatures along them."""
    entries = [found[data.polar_id, data.parent_id] for data in graphs]
    most, out = max(len(entry["modes"]) for entry in entries), []
    for data, entry in zip(graphs, entries, strict=True):
        data, free = data.clone(), most - len(entry["modes"])
        data.modes = torch.nn.functional.pad(entry["modes"].transpose(0, 1), (0, 0, 0, free))
        data.stiffness = torch.nn.functional.pad(entry["stiffness"][None], (0, free), value=1e3)
        out.append(data)
    return out


# ------------------------------------------------------------------ displacements and polarization


def untrained(graphs: Sequence[Data], found: dict | None, seed: int) -> list[dict[str, float]]:
    """Figures of merit of the softest displacement, or of a random one that keeps K, at the mean length of targets."""
    length = np.sqrt(np.mean([float(data.y.square().sum(1).mean()) for data in graphs]))
    generator, rows = np.random.default_rng(seed), []
    for data in graphs:
        if found is None:
            modes = kept_space(data)
            y = torch.from_numpy(np.einsum("f,fna->na", generator.standard_normal(len(modes)), modes)).float()
        else:
            y = found[data.polar_id, data.parent_id]["modes"][0]
        y = y * length * data.num_nodes**0.5 / y.norm()
        rows.append(example.merit(data, y, torch.zeros(3)) | {"P cosine": np.nan, "P length": np.nan})
    return rows


@app.command()
def learn(
    output: Path,
    features: Annotated[Path | None, typer.Option(help="What the command of this name wrote.")] = None,
    atoms: int = 16,
    steps: int = 240,
    seeds: int = SEEDS,
) -> None:
    """Displacements and polarization given K, each way of breaking with each seed; a row is written when it is done."""
    graphs = example.materials(atoms)
    found = None if features is None else torch.load(features)
    results: dict[str, Rows] = json.loads(output.read_text()) if output.exists() else {}
    inputs = {way: (way, graphs, example.Displacer) for way in example.WAYS}
    if found is not None:
        for which in ("scalars", "softest", "scalars and softest"):
            inputs[f"group-indexed, {which}"] = (
                "group-indexed",
                with_features(graphs, found, which),
                example.Displacer,
            )
        inputs["group-indexed, softened"] = ("group-indexed", with_modes(graphs, found), Softened)
    splits = [example.held_out(graphs, seed) for seed in range(seeds)]
    for name, given in {"random that keeps K": None, "softest of SevenNet": found}.items():
        if given is not None or name.startswith("random"):
            rows = [
                example.summary(untrained([graphs[i] for i in test], given, k)) for k, (_, test) in enumerate(splits)
            ]
            results[name] = {"held out": rows}
    for name, (way, data, network) in inputs.items():
        if name in results:
            continue
        draws, rows = example.drawn(way, data), {"training": [], "held out": []}
        for seed, (train, test) in enumerate(splits):
            model = example.train(way, [[part[i] for i in train] for part in draws], seed, steps, network)
            for kind, numbers in (("training", train), ("held out", test)):
                merits = example.evaluated(model, [[part[i] for i in numbers] for part in draws])
                rows[kind].append(example.summary(merits))
        results[name] = rows
        output.write_text(json.dumps(results, indent=1))
        print(table(results), flush=True)


def _shown(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table(results: dict[str, Rows]) -> str:
    """A table in Markdown: median over the seeds and the range."""
    keys = list(next(iter(results.values()))["held out"][0])
    lines = [["way", "materials", *keys], ["---", "---", *["---:"] * len(keys)]]
    for name, kinds in results.items():
        for kind, rows in kinds.items():
            cells = [[row[key] for row in rows] for key in keys]
            lines.append([name, kind, *map(_shown, cells)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ------------------------------------------------------------------ what is kept


@dataclass(frozen=True)
class Choices:
    """The subgroups that distortions of a parent in one irrep keep: features [n, d], classes, and which is K."""

    features: Tensor
    subgroups: list[SymmetrySubgroup]
    right: int | None


def choices(data: Data) -> Choices:
    """One row for each class of subgroups under S; the softest distortion that keeps it stands for it."""
    found = distortions(to_ase(data), example.SYMPREC)
    symmetry = found[0].kept.symmetry
    mask = target_stabilizer(symmetry, read_target(data, example.TARGET), example.SYMPREC)[1]
    conjugation = symmetry.abstract.conjugation

    def name(rows: Sequence[int]) -> frozenset[frozenset[int]]:
        return frozenset(frozenset(image) for image in conjugation[:, list(rows)].tolist())

    elements, whole = atom_features(data.z), atom_features(data.z).mean(0)
    rows: dict[frozenset, tuple[Tensor, SymmetrySubgroup]] = {}
    for d in sorted(found, key=lambda d: (d.copy, d.dimension)):
        key = name(d.kept.operations)
        if key in rows:
            continue
        share = torch.from_numpy(np.square(d.direction).sum(1)).float()
        axes = symmetry.rotations[list(d.kept.operations)].mean(0).trace()
        numbers = [np.log(d.equivalent), d.parameters, d.multiplicity, d.dimension, float(d.reversible), float(axes)]
        lost = set(symmetry.pure_translations.tolist()) - set(d.kept.operations)
        numbers += [float(axes > 0.5), float(bool(lost)), np.log(data.num_nodes)]
        row = torch.cat([torch.tensor(numbers, dtype=torch.float32), (share / share.sum()) @ elements, whole])
        rows[key] = row, d.kept
    wanted = name(np.flatnonzero(mask).tolist())
    right = list(rows).index(wanted) if wanted in rows else None
    return Choices(torch.stack([row for row, _ in rows.values()]), [kept for _, kept in rows.values()], right)


@torch.no_grad()
def likely(score: torch.nn.Module, c: Choices) -> list[int]:
    """The subgroups, the most likely first."""
    return score(c.features)[:, 0].argsort(descending=True).tolist()


def ranks(score: torch.nn.Module, every: Sequence[Choices]) -> np.ndarray:
    """How many subgroups are thought more likely than K, infinite where K is not listed."""
    return np.array([np.inf if c.right is None else likely(score, c).index(c.right) for c in every])


def with_subgroup(data: Data, subgroup: SymmetrySubgroup) -> Data:
    """The parent with an object that keeps a subgroup: a field where none of finitely many of the whole does."""
    options = {"choose": "sample", "seed": 0, "on": "nodes", "irreps": example.OBJECT, "symprec": example.SYMPREC}
    whole = AddSymmetryBreaking("group", keep=subgroup.point_group, **options)
    lost = set(subgroup.symmetry.pure_translations.tolist()) - set(subgroup.operations)
    if lost or whole.objects(data).size == np.inf:
        return AddSymmetryBreaking(NodeFields(keep=subgroup.operations), **options)(data.clone())
    return whole(data.clone())


def chained(model: example.Displacer, data: Data, subgroups: Sequence[SymmetrySubgroup]) -> list[float]:
    """Cosines of the displacements that go with subgroups, zero where no field of the irreps at hand keeps one."""
    out = []
    for subgroup in subgroups:
        try:
            (answer,) = example.answers(model, [with_subgroup(data, subgroup)])
        except ValueError:
            out.append(0.0)
            continue
        out.append(example.merit(data, *answer)["cosine"])
    return out


@app.command()
def kept(output: Path, atoms: int = 16, steps: int = 400, train_steps: int = 120, seeds: int = SEEDS) -> None:
    """Predict K among the subgroups that distortions lists, then the displacements, by composition.

    Top 1 and top 3 of all held-out pairs, beside the guess of one of the polar subgroups at random; cosines of the
    displacements that go with the most likely subgroup, with the best of three, and with K itself.
    """
    graphs = example.materials(atoms)
    (drawn,) = example.drawn("group-indexed", graphs)
    every = [choices(data) for data in graphs]
    mean = torch.cat([c.features for c in every]).mean(0)
    deviation = torch.cat([c.features for c in every]).std(0) + 1e-3
    every = [replace(c, features=(c.features - mean) / deviation) for c in every]
    polar = [(c.features * deviation + mean)[:, 6] > 0.5 for c in every]
    rows = []
    for seed in range(seeds):
        train, test = example.held_out(graphs, seed)
        torch.manual_seed(seed)
        score = torch.nn.Sequential(torch.nn.Linear(len(mean), 32), torch.nn.SiLU(), torch.nn.Linear(32, 1))
        known = [every[i] for i in train if every[i].right is not None]
        joined, sizes = torch.cat([c.features for c in known]), [len(c.features) for c in known]

        def loss(step: int, score=score, joined=joined, sizes=sizes, known=known) -> Tensor:
            kept = torch.rand_like(joined) > 0.2
            parts = score(joined * kept)[:, 0].split(sizes)
            return torch.stack([part.logsumexp(0) - part[c.right] for part, c in zip(parts, known, strict=True)]).mean()

        fit(score, loss, steps, lr=3e-3)
        row: dict[str, float] = {}
        for kind, numbers in (("training", train), ("held out", test)):
            places = ranks(score, [every[i] for i in numbers])
            row |= {f"{kind}, top 1": float((places < 1).mean()), f"{kind}, top 3": float((places < 3).mean())}
        chances = np.array([int(polar[i].sum()) if every[i].right is not None else np.inf for i in test])
        row["held out, listed"] = float(np.mean([every[i].right is not None for i in test]))
        row["guess among polar, top 1"] = float((1 / chances).mean())
        row["guess among polar, top 3"] = float(np.minimum(3 / chances, 1).mean())
        model = example.train("group-indexed", [[drawn[i] for i in train]], seed, train_steps)
        best = [[every[i].subgroups[k] for k in likely(score, every[i])[:3]] for i in test]
        cosines = [chained(model, graphs[i], some) for i, some in zip(test, best, strict=True)]
        row["cosine, most likely"] = statistics.median(c[0] for c in cosines)
        row["cosine, best of three"] = statistics.median(max(c) for c in cosines)
        given = example.evaluated(model, [[drawn[i] for i in test]])
        row["cosine, K given"] = statistics.median(m["cosine"] for m in given)
        rows.append(row)
    results = {f"{len(graphs)} pairs of at most {atoms} atoms": {"": rows}}
    output.write_text(json.dumps(results, indent=1))
    print(f"{np.median([len(c.features) for c in every]):.0f} subgroups of a parent in the median")
    print("\n".join(f"{key}: {_shown([row[key] for row in rows])}" for key in rows[0]))


# ------------------------------------------------------------------ the bound


@app.command()
def bound(atoms: int = 16, count: int = 20, steps: int = 400) -> None:
    """An unbroken network keeps to the Curie bound on every pair; a broken one fits some pairs far below it.

    Of parents that are averaged over S first: the coordinates of the database have six decimals.
    """
    torch.set_default_dtype(torch.float64)
    graphs = [example.material(symmetrize_structure(data, example.kept(data)[0])) for data in example.pairs(400)]
    torch.manual_seed(0)
    model, off, least = example.Displacer("none", "20x0e"), 0.0, np.inf
    for data in graphs:
        symmetry, _ = example.kept(data)
        y = example.answers(model, [example.without_object(data)])[0][0]
        mean = symmetrize(data.y, symmetry.rotations, symmetry.permutations)
        error, rest = (y - data.y).square().sum(), (y - mean).square().sum()
        off = max(off, float((error - rest - data.bound[0]).abs() / error))
        least = min(least, float(error / data.bound[0]))
    print(f"{len(graphs)} pairs, unbroken network: error less distance from the mean over S is the bound to {off:.1g}")
    print(f"of the error; the least error is {least:.6f} bounds")
    small = [data for data in graphs if data.num_nodes <= atoms]
    (some,) = example.drawn("group-indexed", small[:: len(small) // count][:count])
    torch.manual_seed(0)
    broken = example.Displacer("group-indexed", "20x0e", degree=2)
    batch = Batch.from_data_list(some)

    def ratios() -> Tensor:
        y, _ = broken(batch)
        return scatter((y - batch.candidates[:, 0]).square().sum(1), batch.batch, dim=0, reduce="sum") / batch.bound

    fit(broken, lambda step: ratios().mean(), steps, polish=5 * steps)
    final = ratios().detach()
    print(f"{count} pairs with objects: error / bound {final.median():.2g} in the median, {final.max():.2g} at most")


# ------------------------------------------------------------------ what a potential finds


@app.command()
def minima(atoms: int = 8, count: int = 10, calls: int = 250) -> None:
    """Relax parents with SevenNet, leave them along unstable distortions, and look for the phase of the database.

    The cell stays that of the parent. The phase is found if a minimum has its space group and displacements with a
    cosine above 0.9.
    """
    from sevenn.calculator import SevenNetCalculator

    potential, parents = SevenNetCalculator("7net-0", device="cpu"), {}
    for data in example.materials(atoms):
        parents.setdefault(data.parent_id, data)
    chosen = list(parents.values())[:: max(1, len(parents) // count)][:count]
    hits = 0
    for data in chosen:
        crystal = to_ase(data)
        try:
            found = relax(crystal, potential, max_calls=calls, fmax=0.02, symprec=example.SYMPREC)
        except RuntimeError as error:
            print(f"{data.formula} {data.space_group} to {data.kept}: {error}", flush=True)
            continue
        rows = []
        for minimum in found.minima:
            apart = (minimum.atoms.positions - crystal.positions) @ np.linalg.inv(crystal.cell.array)
            y = torch.from_numpy((apart - apart.round()) @ crystal.cell.array).float()
            cosine = example.merit(data, y - y.mean(0), y[0])["cosine"]
            rows.append((minimum.space_group.number, cosine))
        right = any(number == data.kept_number.item() and cosine > 0.9 for number, cosine in rows)
        hits += right
        listed = ", ".join(f"{number} ({cosine:.2f})" for number, cosine in rows)
        state = "found" if right else "not found"
        ended = "" if found.unfinished is None else "; stopped"
        print(f"{data.formula} {data.space_group} to {data.kept} ({data.kept_number.item()}): {state}; ", end="")
        print(f"minima {listed or 'none'}; {found.calls} calls{ended}", flush=True)
    print(f"found: {hits} of {len(chosen)}")


@app.callback()
def main() -> None:
    """Learn ferroelectrics."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)


if __name__ == "__main__":
    app()
