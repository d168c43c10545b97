"""Order parameters that a network learns: what breaks a square, tilts a perovskite, and bends the path of a charge.

An equivariant network is given an object that starts at zero, and both are trained. What the object becomes says how
the target is less symmetric than the input: which irreps, and which isotropy subgroup. A square that becomes a
rectangle takes a 2e; a cubic perovskite that becomes orthorhombic, Pnma, takes axial vectors (1e) on the B sites, the
tilts of their octahedra, and constrained to less it gives the intermediate Imma (T. Smidt, M. Geiger and B. Miller,
Phys. Rev. Research 3, L012002 (2021)). Of charged particles one object for all data finds the electric and the magnetic
field (E. Hofgard et al., arXiv 2407.20471).

    python examples/order_parameters.py
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
from ase.build import make_supercell
from e3nn import o3
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch_geometric.data import Batch, Data

from pyg_symbreak.breaking import Target, target_stabilizer
from pyg_symbreak.detect import Symmetry, detect_symmetry, identify_space_group
from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.nn import BreakingConv, EdgeEmbedding, GatedNetwork, LearnedBreaking, curie_gradient, fit_breaking
from pyg_symbreak.structures import apply_distortion, from_ase, irreps_to_strain
from pyg_symbreak.transforms import NeighborList

IRREPS = "0o+1o+1e+2e+2o"
HIDDEN = "8x0e+4x0o+4x1o+4x1e+4x2e+4x2o"
console = Console(width=110)


def called_for(symmetry: Symmetry, target: Tensor, where: Tensor | None = None) -> list[str]:
    """Irreps of an object, on some of the nodes or of the whole, that the target lets be more than the structure does.

    The dimension of the fixed objects is the mean of their character over the group, that of S or that of Stab(x, y).
    """
    _, kept = target_stabilizer(symmetry, Target(o3.Irreps("1o"), target), 1e-6)
    fixed = torch.ones(len(kept))
    if where is not None:
        number = torch.arange(len(where))
        fixed = ((symmetry.permutations == number) & where).sum(1).double()
    names = []
    for _, ir in o3.Irreps(IRREPS):
        matrices = irreps_matrices(str(ir), symmetry.rotations.numpy())
        character = fixed.numpy() * np.trace(matrices, axis1=1, axis2=2)
        if round(character[kept].mean()) > round(character.mean()):
            names.append(str(ir))
    return names


# ------------------------------------------------------------------ a square


def square(seed: int, steps: int) -> tuple[dict, dict]:
    """From a square in a random orientation to a rectangle; what was found, and what is drawn."""
    torch.manual_seed(seed)
    turn = torch.from_numpy(Rotation.random(random_state=seed).as_matrix())
    flat = torch.tensor([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    edges = (1 - torch.eye(4)).nonzero().T
    data = Data(pos=flat @ turn.T, z=torch.ones(4, dtype=torch.long), x=torch.ones(4, 1), edge_index=edges)
    target = (flat * torch.tensor([-0.5, 0.5, 0.0])) @ turn.T
    symmetry = detect_symmetry(data)
    model = GatedNetwork("0e", "1o", IRREPS, max_radius=3.0, hidden=HIDDEN, lmax=2, layers=2)
    learned = LearnedBreaking(IRREPS, per="graph")
    gradient = curie_gradient(model, data, target, symmetry)
    history = fit_breaking(model, learned, lambda: (model(learned(data)) - target).square().mean(), steps)
    kept, _ = learned.stabilizer(symmetry)
    found = {
        "gradient at zero": [ir for ir, size in gradient.items() if size > 1e-6 * max(gradient.values())],
        "learned": [ir for ir, size in learned.sizes(symmetry).items() if size > 1e-6],
        "called for": called_for(symmetry, target),
        "keeps": kept.schoenflies,
        "target keeps": target_stabilizer(symmetry, Target(o3.Irreps("1o"), target), 1e-6)[0].schoenflies,
        "same group": kept == target_stabilizer(symmetry, Target(o3.Irreps("1o"), target), 1e-6)[0],
        "objects of the set": learned.breaking_set(symmetry).size,
        "loss / Curie residual": 12
        * history[-1]
        / curie_residual(target, symmetry.rotations, symmetry.permutations).item(),
    }
    with torch.no_grad():
        after = (data.pos + model(learned(data))) @ turn
    slots = o3.Irreps(IRREPS).slices()
    quadrupole = irreps_to_strain(torch.cat([torch.zeros(1), learned.value.detach()[0, slots[3]]]))
    return found, {"before": flat, "after": after, "quadrupole": turn.T @ quadrupole @ turn}


# ------------------------------------------------------------------ a perovskite


def perovskite() -> tuple[Data, Data, Data]:
    """Cubic CaTiO3 in a cell of 20 atoms, with displacements y of tilts a⁻a⁻c⁺; and distorted to Pnma and to Imma."""
    a = 3.8
    cubic = Atoms("CaTiO3", scaled_positions=[[0.5] * 3, [0] * 3, [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]], cell=[a] * 3)
    cubic.pbc = True
    atoms = make_supercell(cubic, [[1, 1, 0], [-1, 1, 0], [0, 0, 2]])
    data = NeighborList(2.8)(from_ase(atoms, torch.float64))
    data.x = one_hot(torch.searchsorted(torch.tensor([8, 20, 22]), data.z), 3).to(data.pos)

    def displaced(in_phase: float, shift: float) -> Tensor:
        """Oxygen turned about its titanium by an axial vector that changes sign from cell to cell; calcium shifted."""
        out = torch.zeros_like(data.pos)
        for i, (z, r) in enumerate(zip(data.z.tolist(), (data.pos / a).tolist(), strict=True)):
            x, y, height = (np.floor(np.array(r) + 1e-6)).tolist()
            out_of_phase, along = (-1) ** round(x + y + height), (-1) ** round(x + y)
            if z == 8:
                tilt = torch.tensor([0.1 * out_of_phase, 0.1 * out_of_phase, in_phase * along])
                arm = data.pos[i] - a * torch.tensor([x, y, height])
                out[i] = torch.linalg.cross(tilt, arm)
            elif z == 20:
                out[i] = shift * (-1) ** round(height) * torch.tensor([1.0, 1.0, 0.0])
        return out

    data.y = displaced(0.1, 0.04)
    return data, apply_distortion(data, data.y), apply_distortion(data, displaced(0.0, 0.0))


def group_of(data: Data, symmetry: Symmetry, mask: np.ndarray) -> str:
    """The space group of some of the operations."""
    found = identify_space_group(
        data.cell[0].numpy(), np.ones(3, bool), symmetry.rotations.numpy()[mask], symmetry.translations.numpy()[mask]
    )
    return f"{found.symbol} ({found.number})"


def tilts(seed: int, steps: int) -> tuple[dict, dict]:
    """Learn what takes the cubic perovskite to Pnma, then constrained to the symmetry of Imma."""
    data, low, between = perovskite()
    symmetry, target, where = detect_symmetry(data), data.y, data.z == 22
    found, drawn = {"called for on B": called_for(symmetry, target, where)}, {}
    for name, kept in (("free", None), ("constrained", detect_symmetry(between))):
        torch.manual_seed(seed)
        model = GatedNetwork("3x0e", "1o", IRREPS, max_radius=3.0, hidden=HIDDEN, lmax=2, layers=2, object_degree=2)
        learned = LearnedBreaking(IRREPS, per="node", num=len(where), where=where).constrain(kept)
        history = fit_breaking(model, learned, lambda m=model, b=learned: (m(b(data)) - target).square().mean(), steps)
        with torch.no_grad():
            answer = apply_distortion(data, model(learned(data)))
        sizes = learned.sizes(symmetry)
        first = o3.Irreps(IRREPS).slices()[2]
        found |= {
            f"{name}: learned": {ir: round(size, 4) for ir, size in sizes.items() if size > 1e-6},
            f"{name}: object keeps": group_of(data, symmetry, learned.stabilizer(symmetry)[1]),
            f"{name}: answer": "{0.symbol} ({0.number})".format(detect_symmetry(answer, symprec=1e-3).space_group),
            f"{name}: rms error (Å)": history[-1] ** 0.5,
            f"{name}: rms at first (Å)": target.square().mean().item() ** 0.5,
        }
        drawn[name] = {"at": data.pos[where], "axial": learned.value.detach()[where][:, first]}
    found["target"] = "{0.symbol} ({0.number})".format(detect_symmetry(low).space_group)
    found["between"] = "{0.symbol} ({0.number})".format(detect_symmetry(between).space_group)
    return found, drawn["free"]


# ------------------------------------------------------------------ charged particles


class Acceleration(nn.Module):
    """One convolution from where a particle was to where it is, a unit of time later."""

    def __init__(self) -> None:
        super().__init__()
        self.edges, self.conv = EdgeEmbedding(max_radius=10.0, lmax=1), BreakingConv("0e", "1o", "1o+1e", lmax=1)

    def forward(self, batch: Batch) -> Tensor:
        """Accelerations [B, 3]."""
        source, end = batch.edge_index
        harmonics, radial = self.edges(batch.pos[end] - batch.pos[source])
        return self.conv(batch.x, batch.edge_index, harmonics, radial[0], batch.breaking[batch.batch])[1::2]


def particles(seed: int, steps: int, law: str) -> dict:
    """Particles in fields E and B, or in none and slowed by friction."""
    torch.manual_seed(seed)
    electric, magnetic = nn.functional.normalize(torch.randn(2, 3), dim=1)
    velocity = torch.randn(256, 3)
    clean = electric + torch.linalg.cross(velocity, magnetic.expand_as(velocity)) if law == "fields" else -velocity
    target = clean + 0.05 * torch.randn_like(clean)
    one_way = torch.tensor([[0], [1]])
    paths = [Data(x=torch.ones(2, 1), pos=torch.stack([-v, 0 * v]), edge_index=one_way) for v in velocity]
    batch, model, field = Batch.from_data_list(paths), Acceleration(), LearnedBreaking("1o+1e")
    history = fit_breaking(
        model, field, lambda: (model(field(batch)) - target).square().mean(), steps, strength=1e-3, power=0
    )
    polar, axial = field.value.detach()[0].split(3)
    found = {"rms error": history[-1] ** 0.5, "|1o|": polar.norm().item(), "|1e|": axial.norm().item()}
    if law == "fields":
        found["|cos(1o, E)|"] = abs(torch.cosine_similarity(polar, electric, 0).item())
        found["|cos(1e, B)|"] = abs(torch.cosine_similarity(axial, magnetic, 0).item())
    return found


# ------------------------------------------------------------------ output


def figure(corners: dict, axial: dict, fields: dict[str, list[dict]]) -> plt.Figure:
    """The rectangle with its quadrupole, the axial vectors on titanium, and the two laws."""
    fig = plt.figure(figsize=(13, 4), layout="constrained")
    left = fig.add_subplot(1, 3, 1)
    angle = torch.linspace(0, 2 * torch.pi, 200)
    circle = torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=1)
    strength = (circle @ corners["quadrupole"] * circle).sum(1)
    lobes = 0.8 * (strength.abs() / strength.abs().max())[:, None] * circle
    for sign, color in ((strength > 0, "#edae49"), (strength <= 0, "#30638e")):
        left.scatter(*lobes[sign, :2].T, s=3, color=color)
    for name, style in (("before", "0.7"), ("after", "#d1495b")):
        at = corners[name]
        left.plot(*at[[0, 1, 2, 3, 0], :2].T, "o-", color=style, label=name)
    left.set(aspect="equal", title="Square to rectangle: 2e")
    left.legend(frameon=False, loc="upper right")
    middle = fig.add_subplot(1, 3, 2, projection="3d")
    longest = axial["axial"].norm(dim=1).max()
    middle.quiver(*axial["at"].T, *(1.5 * axial["axial"] / longest).T, color="#30638e", lw=2)
    middle.scatter(*axial["at"].T, color="#d1495b", s=40)
    middle.set(title="Pnma: 1e on the B sites", xlabel="x (Å)", ylabel="y (Å)", zlabel="z (Å)")
    middle.set(xlim=(-2, 2), ylim=(-1, 5), zlim=(-1, 5))
    right = fig.add_subplot(1, 3, 3)
    for number, (law, rows) in enumerate(fields.items()):
        values = [[max(row[key], 1e-6) for row in rows] for key in ("|1o|", "|1e|")]
        places = np.repeat([0.2 * number, 1 + 0.2 * number], len(rows))
        right.scatter(places, np.ravel(values), label=law, s=40)
    right.axhline(0.05, color="0.6", lw=0.8, ls="--")
    right.set(yscale="log", title="One object for all particles", ylabel="length", xlim=(-0.4, 1.6))
    right.set_xticks([0.1, 1.1], ["1o", "1e"])
    right.legend(frameon=False, title="law")
    return fig


def table(title: str, rows: list[dict]) -> Table:
    """What was found, one column for each seed."""
    out = Table(title=title, title_justify="left")
    for name in ("", *(f"seed {n}" for n in range(len(rows)))):
        out.add_column(name, overflow="fold")
    for key in rows[0]:
        values = [row[key] for row in rows]
        out.add_row(key, *(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values))
    return out


def main(
    out: Annotated[Path, typer.Option(help="Folder for the figure and the figures of merit.")] = Path(
        "results/order_parameters"
    ),
    seeds: int = 3,
    steps: Annotated[int, typer.Option(help="Pairs of steps, in the network and in the object.")] = 60,
) -> None:
    """What breaks a square, tilts a perovskite, and bends the path of a charge."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # the tensors are small
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    squares = [square(seed, steps) for seed in range(seeds)]
    console.print(table("Square to rectangle", [found for found, _ in squares]))
    crystals = [tilts(seed, steps) for seed in range(seeds)]
    console.print(table("Cubic perovskite to Pnma, an object on each B site", [found for found, _ in crystals]))
    fields = {law: [particles(seed, 4 * steps, law) for seed in range(seeds)] for law in ("fields", "friction")}
    for law, rows in fields.items():
        console.print(table(f"Charged particles: {law}", rows))

    figure(squares[0][1], crystals[0][1], fields).savefig(out / "order_parameters.png", dpi=80)
    seconds = time.perf_counter() - start
    metrics = {"square": [f for f, _ in squares], "perovskite": [f for f, _ in crystals], "particles": fields}
    (out / "metrics.json").write_text(json.dumps(metrics | {"seconds": seconds}, indent=2))
    console.print(f"Figure and metrics are in {out} ({seconds:.0f} s)")


if __name__ == "__main__":
    typer.run(main)
