"""Ways to break symmetry on molecules that were not trained on: the minima below the saddles of datasets.Saddles.

    python benchmarks/saddles.py run results/saddles --seeds 1         # trains what the folder lacks
    python benchmarks/saddles.py table results/saddles                 # the tables, and saddles.png

The row "learned forces" is what pyg-symbreak train and predict do. Every other row is one network, MinimaNetwork, that
learns displacements from an object, with the same number of steps on the same molecules; what it is given as object
differs. A row of one's own is an entry of ROWS: the irreps of the object on an atom, and a function that makes some
objects for a molecule, [n, N, dim]; any n of them that are equally likely. The network may differ too: a subclass with
its own ``move``.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from torch_geometric.data import Batch, Data
from torch_geometric.nn import SchNet, ViSNet
from torch_geometric.utils import scatter

from pyg_symbreak.datasets import SaddleForces, Saddles
from pyg_symbreak.datasets.saddles import SHA256
from pyg_symbreak.nn import ForceField, GatedNetwork, SymPE, WithBreaking
from pyg_symbreak.testing import score_minima
from pyg_symbreak.training import Config
from pyg_symbreak.training.forces import FEATURES, Frames, fit_forces, joined
from pyg_symbreak.training.loop import fit
from pyg_symbreak.training.memory import keep_freed_memory
from pyg_symbreak.training.minima import AMPLITUDE, Molecule, downhill, known_molecule, predict_minima, score
from pyg_symbreak.training.minima_run import trained_on
from pyg_symbreak.transforms import AddSymmetryBreaking
from pyg_symbreak.transforms.add_symmetry_breaking import place

CONFIG = Config.of({"dataset": "Saddles", "cutoff": 5.0, "steps": 500, "batch_size": 32})
HIDDEN = "32x0e+8x0o+16x1o+8x1e+8x2e+4x2o"
"""Hidden irreps of the networks that learn displacements."""
FORCE_CONFIG = Config.read(Path(__file__).parents[1] / "examples" / "saddles.yaml")
ROUNDS, RADIUS = 3, 0.5
"""How often a network moves the atoms; Å, unit of what a round adds."""
DRAWS = 8
"""Answers that noise is asked for."""
KEPT = 4
"""Objects of a finite set that are looked at."""
GROUP, INPUT, GIVEN = "0o+1o+1e", "0o+2x1o+1e", "0o+1o+1e+2e+2o+3e+3o"
"""Irreps that hold the objects of all molecules."""


# ------------------------------------------------------------------ the network that learns displacements


class MinimaNetwork(torch.nn.Module):
    """Moves the atoms from the symmetric molecule in some rounds; it sees how far they have come, and the object."""

    def __init__(self, config: Config, irreps_object: str) -> None:
        super().__init__()
        size: dict[str, Any] = {"max_radius": config.cutoff, "hidden": HIDDEN, "lmax": config.lmax}
        size |= {"layers": config.layers, "object_degree": config.object_degree}
        self.mover = GatedNetwork(f"{FEATURES}x0e", "1o", o3.Irreps(f"1o+{irreps_object}"), **size).float()

    def forward(self, molecules: Sequence[Molecule], objects: Sequence[Tensor]) -> list[Tensor]:
        """Displacements [ΣN, 3] in Å after each round, of mean zero over each molecule; an object [N, D] for each."""
        pairs = [(1 - torch.eye(len(m.data.z))).nonzero().T for m in molecules]
        data = joined([m.data.x for m in molecules], pairs, [m.data.pos for m in molecules], CONFIG.cutoff)
        data.z, still, given = torch.cat([m.data.z for m in molecules]), data.pos, torch.cat(list(objects))
        u, after = torch.zeros_like(still), []
        for _ in range(ROUNDS):
            data.pos, data.breaking = still + u, torch.cat([u, given], dim=1)
            u = u + RADIUS * self.move(data)
            u = u - scatter(u, data.batch, dim=0, reduce="mean")[data.batch]
            after.append(u)
        return after

    def move(self, data: Batch) -> Tensor:
        """What a round adds to the displacements, in units of 0.5 Å."""
        return self.mover(data)


# ------------------------------------------------------------------ rows

Objects = Callable[[Molecule, Data], Tensor]


@dataclass(frozen=True)
class Row:
    """A way: irreps of the object on an atom, what makes objects and whether anew for each use, the network, its lr."""

    irreps: str
    objects: Objects
    network: type[MinimaNetwork] = MinimaNetwork
    drawn: bool = False
    lr: float = CONFIG.lr


def no_object(molecule: Molecule, data: Data) -> Tensor:
    return torch.zeros(1, data.num_nodes, 0)


def noise(scale: float) -> Objects:
    return lambda molecule, data: scale * torch.randn(DRAWS, data.num_nodes, 3)


def attached(breaking: Any, irreps: str) -> Objects:
    """Objects of the whole molecule, on every atom; of a line, where this kind has none, those of its group."""

    def objects(molecule: Molecule, data: Data) -> Tensor:
        plain = Data(pos=data.pos, z=data.z)
        linear = molecule.space.linear and breaking != "group"
        if linear and breaking == "sympe":
            frames = [Rotation.random(random_state=n).as_matrix().ravel() for n in range(KEPT)]
            rows = torch.from_numpy(np.array(frames)).float()
        else:
            found = AddSymmetryBreaking("group" if linear else breaking).objects(plain)
            rows = place(found.sample(KEPT, torch.Generator().manual_seed(0)), found.irreps, irreps).float()
        return rows[:, None].expand(KEPT, data.num_nodes, -1)

    return objects


def given_subgroup(molecule: Molecule, data: Data) -> Tensor:
    """Group-indexed objects for the subgroup that the lowest minimum keeps, as the data say; for none if not finite."""
    plain = Data(pos=data.pos, z=data.z, y=data.y)
    if molecule.stays:
        return torch.zeros(1, data.num_nodes, o3.Irreps(GIVEN).dim)
    try:
        rows = AddSymmetryBreaking(choose="target", irreps=GIVEN, symprec=1e-2)(plain).breaking
    except ValueError:
        return attached("group", GIVEN)(molecule, data)
    return rows.float()[None].expand(1, data.num_nodes, -1)


class WithSymPE(MinimaNetwork):
    """The frame of an object moves a learned vector."""

    def __init__(self, config: Config, irreps_object: str) -> None:
        super().__init__(config, "0o+1e+2x1o")
        self.sympe = SymPE("0o+1e+2x1o")

    def forward(self, molecules: Sequence[Molecule], objects: Sequence[Tensor]) -> list[Tensor]:
        """The learned vector as the object on every atom."""
        moved = self.sympe(torch.stack([b[0] for b in objects]))
        return super().forward(molecules, [row.expand(len(b), -1) for row, b in zip(moved, objects, strict=True)])


class WithSchNet(MinimaNetwork):
    """PyG's SchNet in the place of the equivariant network: displacements are the gradient of its output."""

    def __init__(self, config: Config, irreps_object: str) -> None:
        super().__init__(config, irreps_object)
        self.mover = WithBreaking(self.model(config.cutoff), f"1o+{irreps_object}")
        self.scale = torch.nn.Parameter(torch.tensor(0.01))

    def model(self, reach: float) -> torch.nn.Module:
        """The model, of which no edge may be longer than this, Å."""
        return SchNet(64, 64, 3, 32, reach)

    def move(self, data: Batch) -> Tensor:
        """The gradient, downhill, at the symmetric molecule; how far the atoms have come is part of the object.

        It is kept below 0.5 Å: what comes back as an object would otherwise grow from round to round.
        """
        with torch.enable_grad():
            data.pos = pos = (data.pos - data.breaking[:, :3]).detach().requires_grad_()
            out = self.mover(data)
            energy = (out[0] if isinstance(out, tuple) else out).sum()
            (gradient,) = torch.autograd.grad(energy, pos, create_graph=self.training)
        step = -self.scale * gradient
        return step / (1 + step.square().sum(1, keepdim=True)).sqrt()


class WithViSNet(WithSchNet):
    """PyG's ViSNet likewise."""

    def model(self, reach: float) -> torch.nn.Module:
        """The model."""
        return ViSNet(lmax=1, num_heads=4, num_layers=2, hidden_channels=32, num_rbf=16, cutoff=reach)


FORCES = "learned forces, K predicted"
"""The force field follows each distortion downhill; ranked by energy."""
ROWS = {
    "none": Row("0x0e", no_object),
    "noise, 0.1 Å": Row("1o", noise(0.1), drawn=True),
    "noise, 0.3 Å": Row("1o", noise(0.3), drawn=True),
    "noise, 1 Å": Row("1o", noise(1.0), drawn=True),
    "group-indexed": Row(GROUP, attached("group", GROUP)),
    "group-indexed, K given": Row(GIVEN, given_subgroup),
    "input-indexed": Row(INPUT, attached("input", INPUT)),
    "SymPE": Row("3x1o", attached("sympe", "3x1o"), WithSymPE),
    "canonicalization": Row("3x1o", attached("sympe", "3x1o")),
    FORCES: Row("1o", lambda molecule, data: molecule.objects),
    "SchNet, group-indexed": Row(GROUP, attached("group", GROUP), WithSchNet, lr=1e-3),
    "ViSNet, group-indexed": Row(GROUP, attached("group", GROUP), WithViSNet, lr=1e-3),
}


# ------------------------------------------------------------------ training


def nearest_loss(
    model: MinimaNetwork, molecules: list[Molecule], objects: list[Callable[[], Tensor]], draw: np.random.Generator
) -> Tensor:
    """The error to the nearest of all images of all minima, after each round."""
    chosen = draw.integers(len(molecules), size=CONFIG.batch_size)
    some = [molecules[i] for i in chosen]
    after = model(some, [objects[i]() for i in chosen])
    loss = after[-1].new_zeros(())
    for number, u in enumerate(after, 1):
        parts = u.split([len(m.data.pos) for m in some])
        off = torch.stack([(p - m.images).square().sum(2).mean(1).min() for p, m in zip(parts, some, strict=True)])
        loss = loss + number / ROUNDS * (off + 1e-4).sqrt().mean()
    return loss


def trained(row: Row, data: list[Data], molecules: list[Molecule], seed: int, steps: int) -> MinimaNetwork:
    """A network after its steps."""
    config = replace(CONFIG, steps=steps, lr=row.lr)
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    model = row.network(config, row.irreps)

    def pick(molecule: Molecule, graph: Data) -> Callable[[], Tensor]:
        fixed = None if row.drawn else row.objects(molecule, graph)

        def one() -> Tensor:
            found = row.objects(molecule, graph) if fixed is None else fixed
            return found[draw.integers(len(found))]

        return one

    objects = [pick(m, d) for m, d in zip(molecules, data, strict=True)]
    fit(
        model,
        lambda _: nearest_loss(model, molecules, objects, draw),
        steps,
        row.lr,
        schedule=lambda optimizer: OneCycleLR(optimizer, row.lr, total_steps=steps),
        clip=1.0,
    )
    return model.eval()


def followed(field: ForceField, data: Data, molecule: Molecule) -> dict[str, Any]:
    """One molecule: the answers of a force field, those from the right object, and those from noise in its place."""
    out = score(molecule, data, predict_minima(field, molecule))
    out["right start"] = None
    if molecule.pairs:
        right, _ = downhill(field, molecule, AMPLITUDE * molecule.objects[[molecule.pairs[0][0]]])
        out["right start"] = float(score_minima(data, right, Saddles.minima_of(data)).errors[0])
    starts = noise(0.1)(molecule, data)
    rattled = score(molecule, data, predict_minima(field, molecule, starts))
    return out | {f"rattled {key}": rattled[key] for key in ("error", "best error", "found", "right symmetry")}


@torch.no_grad()
def evaluated(row: Row, model: MinimaNetwork, data: Data, molecule: Molecule) -> dict[str, Any]:
    """One molecule: the mean error of an answer, and that of the best of them."""
    objects = list(row.objects(molecule, data))
    answers = model([molecule] * len(objects), objects)[-1].view(len(objects), -1, 3)
    found = score_minima(data, answers, Saddles.minima_of(data))
    return {
        "name": data.name,
        "frame": data.frame,
        "group": data.group,
        "kept": data.kept,
        "bound": found.bound,
        "error": float(found.errors.mean()),
        "best error": float(found.errors.min()),
        "right symmetry": found.right_symmetry,
        "answers": len(objects),
        "minima": len(found.wanted),
        "found": found.found(0.2),
    }


def prepared(folder: Path) -> tuple[list[Data], list[Molecule]]:
    """The molecules whose bonds stay, with their objects; made once."""
    path = folder / f"molecules-{SHA256[:12]}.pkl"
    if not path.exists():
        data = [d.clone() for d in Saddles() if not bool(d.rearranged)]  # no views of all molecules at once
        with path.open("wb") as file:
            pickle.dump((data, [known_molecule(d, CONFIG) for d in data]), file)
    with path.open("rb") as file:
        return pickle.load(file)


def run(folder: Path, seeds: int, splits: list[str], rows: list[str], steps: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    data, molecules = prepared(folder)
    by_name = {d.name: n for n, d in enumerate(data)}
    source, forces = Saddles(), SaddleForces()
    for seed in range(seeds):
        for split in splits:
            _, held_out = source.split(by="name" if split == "random" else split, seed=seed)
            apart = [source[int(i)] for i in held_out]
            out = sorted(by_name[d.name] for d in apart if d.name in by_name)
            inside = [n for n in range(len(data)) if n not in set(out)]
            for name in rows:
                path = folder / f"{name}-{split}-{seed}.json".replace(" ", "_")
                if path.exists():
                    continue
                began, row = time.process_time(), ROWS[name]
                if name == FORCES:
                    some = trained_on(forces, apart, {d.frame for d in apart} if split == "frame" else ())
                    model, _ = fit_forces(Frames(some, FORCE_CONFIG.cutoff), FORCE_CONFIG, seed)
                else:
                    model = trained(row, [data[n] for n in inside], [molecules[n] for n in inside], seed, steps)
                seconds = time.process_time() - began
                if name == FORCES:
                    found = [followed(model, data[n], molecules[n]) for n in out]
                else:
                    found = [evaluated(row, model, data[n], molecules[n]) for n in out]
                taken = FORCE_CONFIG.steps if name == FORCES else steps
                record = {"row": name, "split": split, "seed": seed, "steps": taken, "seconds": seconds, "data": SHA256}
                record["parameters"] = sum(p.numel() for p in model.parameters())
                path.write_text(json.dumps(record | {"molecules": found}))
                torch.save(model.state_dict(), path.with_suffix(".pt"))
                print(name, split, seed, f"{seconds:.0f} s", summary(found), flush=True)


# ------------------------------------------------------------------ tables


def summary(rows: list[dict[str, Any]], key: str = "error") -> dict[str, float]:
    """Over the molecules that leave their symmetry, and those that stay."""
    group = "rattled " if key.startswith("rattled ") else ""
    broken = [r for r in rows if r["bound"] > 1e-3 and r.get(key) is not None]
    stay = [r for r in rows if r["bound"] <= 1e-3 and r.get(key) is not None]
    errors, bounds = np.array([r[key] for r in broken]), np.array([r["bound"] for r in broken])
    mean = bounds.mean()
    return {
        "molecules": len(broken),
        "bound": round(float(mean), 3),
        "error": round(float(errors.mean()), 3),
        "below 1/3": round(float((errors < mean / 3).mean()), 3),
        "below 1/2": round(float((errors < mean / 2).mean()), 3),
        "below its bound": round(float((errors < bounds - 1e-3).mean()), 3),
        "stay": round(float(np.mean([r[key] for r in stay])), 3) if stay else float("nan"),
        "right symmetry": round(float(np.mean([r[group + "right symmetry"] for r in broken])), 3),
        "found": round(float(np.mean([r[group + "found"] for r in broken])), 3),
    }


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*-*-*.json"))]


KEYS = {
    "": "error",
    "best": "best error",
    "right object given": "right start",
    "from noise, 0.1 Å": "rattled error",
    "from noise, 0.1 Å, best": "rattled best error",
}
"""What the rows that are no training runs of their own show."""


def table(folder: Path) -> None:
    every = records(folder)
    lines = []
    for split in ("random", "frame", "group"):
        some = [r for r in every if r["split"] == split]
        if not some:
            continue
        columns = ("error", "below 1/3", "below 1/2", "below its bound", "stay", "right symmetry", "found")
        lines += [f"\n{split} split\n", f"| object | seeds | {' | '.join(columns)} |", "| --- |" + " ---: |" * 8]
        for name in [
            *ROWS,
            f"{FORCES}: best",
            f"{FORCES}: right object given",
            f"{FORCES}: from noise, 0.1 Å",
            f"{FORCES}: from noise, 0.1 Å, best",
            *(f"noise, {s} Å: best" for s in ("0.1", "0.3", "1")),
        ]:
            base, _, extra = name.partition(": ")
            key = KEYS[extra]
            found = [summary(r["molecules"], key) for r in some if r["row"] == base]
            if found:
                cells = [f"{np.mean([f[c] for f in found]):.2f}" + spread([f[c] for f in found]) for c in columns]
                cells = ["" if "nan" in cell else cell for cell in cells]
                lines.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
        bounds = [summary(r["molecules"])["bound"] for r in some]
        lines.append(
            f"\nbound {np.mean(bounds):.2f} Å, {summary(some[0]['molecules'])['molecules']} molecules that leave"
        )
    print("\n".join(lines))
    kept = ("name", "bound", "error", "best error", "right start", "right symmetry", "found")
    kept += tuple(f"rattled {key}" for key in ("error", "best error", "right symmetry", "found"))
    small = [
        r | {"molecules": [{k: shortened(m[k]) for k in kept if m.get(k) is not None} for m in r["molecules"]]}
        for r in every
    ]
    (folder / "saddles.json").write_text(json.dumps(small, default=float, separators=(",", ":")) + "\n")
    figure(every).savefig(folder / "saddles.png", dpi=120)


def shortened(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def spread(values: list[float]) -> str:
    return f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""


def figure(every: list[dict[str, Any]]) -> plt.Figure:
    """Share of the molecules with an error below what the axis says, in units of the mean bound."""
    splits = [s for s in ("random", "frame") if any(r["split"] == s for r in every)]
    fig, axes = plt.subplots(1, len(splits), figsize=(5.2 * len(splits), 4.2), squeeze=False, layout="constrained")
    for ax, split in zip(axes[0], splits, strict=True):
        for number, name in enumerate(ROWS):
            rows = [m for r in every if r["split"] == split and r["row"] == name for m in r["molecules"]]
            rows = [m for m in rows if m["bound"] > 1e-3]
            if rows:
                ratio = np.sort([m["error"] for m in rows]) / np.mean([m["bound"] for m in rows])
                style = (
                    {"lw": 2.5, "color": "#30638e"}
                    if name == FORCES
                    else {"lw": 1.2, "color": plt.colormaps["tab20"](number)}
                )
                ax.plot(ratio, np.arange(1, len(ratio) + 1) / len(ratio), label=name, **style)
        for x in (1 / 3, 1 / 2):
            ax.axvline(x, color="0.7", lw=0.8, ls=":")
        title = "held-out molecules" if split == "random" else "molecules of held-out frames"
        ax.set(xlim=(0, 2), ylim=(0, 1), xlabel="error / mean bound without object", title=title)
    axes[0, 0].set_ylabel("share of the molecules")
    axes[0, 0].legend(fontsize=7, frameon=False)
    return fig


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--splits", nargs="+", default=["random", "frame"])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--steps", type=int, default=CONFIG.steps)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "run":
        run(options.folder, options.seeds, options.splits, options.rows, options.steps)
    else:
        table(options.folder)
