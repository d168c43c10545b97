"""Let the charge of a perovskite disproportionate: rock salt, layers or rows, each with the breathing of its oxygen.

The B sites of BaBiO3 are alike in the cubic parent, and become Bi with more and Bi with less charge. Which ones is a
scalar field on the nodes, 0e, that breaks translations: no object of the whole crystal can tell them apart. Rock-salt
order (k = R) has two domains and Fm-3m; layers (X) and rows (M) have six each and both P4/mmm, in different cells.
Oxygen moves towards the higher charge, by half the difference times 0.09 Å: octahedra breathe. A network that is
trained on one domain of each order gives charges and displacements of all 14.

Vanadium dioxide beside it: below 340 K the chains of vanadium in rutile pair up, k = R, and P2_1/c is kept. The
distortion is one of those that are listed, and its object a field of vectors, 1o on the vanadium, of 8 domains.

    python examples/charge_order.py
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
from ase.geometry import get_distances
from ase.io import write
from ase.spacegroup import crystal
from matplotlib.lines import Line2D
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_symbreak.breaking import NodeBreakingSet, breaking_set
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.distort import Distortion, distortions
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import find_octahedra, from_ase
from pyg_symbreak.training import fit
from pyg_symbreak.transforms import NeighborList

EDGE, BREATHING, CHARGE = 4.35, 0.09, 0.5  # Å, Å, e
ORDERS = {"rock salt": ("R", (1, 1, 1)), "layers": ("X", (0, 0, 1)), "rows": ("M", (1, 1, 0))}
COLORS = {1: "#d1495b", -1: "#30638e"}


def parent() -> Atoms:
    """Cubic BaBiO3, 40 atoms."""
    places = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    return Atoms("BaBiO3", scaled_positions=places, cell=[EDGE] * 3, pbc=True).repeat(2)


def pattern(atoms: Atoms, order: str) -> np.ndarray:
    """Signs [40, 1] of an order on the bismuth, zero elsewhere."""
    index = np.rint(atoms.positions / EDGE).astype(int)
    return ((-1.0) ** (index @ ORDERS[order][1]) * (atoms.numbers == 83))[:, None]


def domains(symmetry: Symmetry, field: np.ndarray) -> NodeBreakingSet:
    """All images of a field under the operations."""
    return breaking_set(symmetry, keep=symmetry.stabilizer(field, "0e"), nodes="Bi", irreps="0e")


def response(atoms: Atoms, fields: Tensor) -> Tensor:
    """Charges, e, beside displacements, Å: [n, 40, 4], for fields [n, 40, 1]."""
    octahedra = find_octahedra(atoms)
    arms = torch.from_numpy(octahedra.arms / np.linalg.norm(octahedra.arms, axis=1)[:, None])
    centers, corners = (torch.from_numpy(octahedra.centers[octahedra.bonds[:, 0]]), octahedra.bonds[:, 2])
    pull = -BREATHING / 2 * fields[:, centers] * arms  # from each of its two neighbours: towards the higher charge
    moved = torch.zeros(len(fields), len(atoms), 3).index_add(1, torch.from_numpy(corners), pull)
    return torch.cat([CHARGE * fields, moved], dim=2)


def answer(model: GatedNetwork, data: Data, fields: Tensor | None, count: int) -> Tensor:
    """Charges and displacements [n, 40, 4] that the network gives."""
    batch = Batch.from_data_list([data] * count)
    if fields is not None:
        batch.breaking = fields.reshape(-1, 1)
    return model(batch).view(count, -1, 4)


def train(data: Data, fields: Tensor | None, targets: Tensor, steps: int, seed: int) -> GatedNetwork:
    """One domain of each order."""
    torch.manual_seed(seed)
    irreps = None if fields is None else "0e"
    model = GatedNetwork("3x0e", "0e+1o", irreps, max_radius=2.5, hidden="8x0e+4x1o+2x2e", lmax=2)

    def loss(step: int) -> Tensor:
        return (answer(model, data, fields, len(targets)) - targets).square().mean()

    fit(model, loss, steps, polish=steps, progress="no object" if fields is None else "one domain of each")
    return model


def rutile() -> Atoms:
    """Metallic VO2, D. B. McWhan, M. Marezio, J. P. Remeika & P. D. Dernier, Phys. Rev. B 10, 490 (1974)."""
    cell = (4.5546, 4.5546, 2.8514, 90, 90, 90)
    return crystal(("V", "O"), [(0, 0, 0), (0.3001, 0.3001, 0)], spacegroup=136, cellpar=cell)


def dimers() -> tuple[Distortion, Atoms, NodeBreakingSet]:
    """Of the distortions of rutile that keep P2_1/c the one that moves vanadium most along the chains.

    With it the structure in which the shorter distance of vanadium is 2.62 Å, as in the M1 phase (J. M. Longo & P.
    Kierkegaard, Acta Chem. Scand. 24, 420 (1970)), where the pairs are turned out of the chains too, and the objects.
    """
    ways = [way for way in distortions(rutile(), supercell=(2, 2, 2)) if way.symbol == "P2_1/c (14)"]
    ways = [way for way in ways if [letter for letter, _ in way.k] == ["R"]]

    def along(way: Distortion) -> float:
        assert way.parent is not None
        return float(np.abs(way.direction[way.parent.numbers == 23, 2]).max())

    way = max(ways, key=along)
    assert way.parent is not None
    paired = way.parent.copy()
    paired.positions += (2.8514 - 2.62) / 2 / along(way) * way.direction
    assert way.kept is not None
    return way, paired, breaking_set(way.kept.symmetry, keep=way, nodes="V", irreps="1o")


def chain_distances(atoms: Atoms) -> tuple[float, float]:
    """The shorter and the longer distance of neighbours in the chains, Å."""
    vanadium = atoms[atoms.numbers == 23].repeat(2)
    apart = get_distances(vanadium.positions, cell=vanadium.cell, pbc=True)[1]
    near = np.sort(apart, axis=1)[:, 1:3]
    return float(near[:, 0].mean()), float(near[:, 1].mean())


def figure(atoms: Atoms, found: dict[str, Tensor], captions: dict[str, str]) -> plt.Figure:
    """Two layers of octahedra, seen along [010], for the trained domain of each order."""
    fig, panels = plt.subplots(2, len(found), figsize=(4 * len(found), 7.6), layout="constrained")
    octahedra = find_octahedra(atoms)
    for column, (name, rows) in enumerate(found.items()):
        moved = atoms.positions + 4 * rows[:, 1:].numpy()
        for level in range(2):
            axes = panels[level, column]
            for b, center in enumerate(octahedra.centers):
                if round(atoms.positions[center, 1] / EDGE) != level:
                    continue
                own = octahedra.bonds[:, 0] == b
                flat = np.abs(octahedra.arms[own][:, 1]) < 0.1
                shift = 4 * rows[octahedra.bonds[own][flat, 2], 1:].numpy()
                tips = (atoms.positions[center] + octahedra.arms[own][flat] + shift)[:, [0, 2]]
                middle = moved[center][[0, 2]]
                around = np.argsort(np.arctan2(*(tips - middle).T[::-1]))
                charge = rows[center, 0].item()
                color = COLORS[1 if charge > 0 else -1]
                axes.fill(*tips[around].T, color=color, alpha=0.35, lw=0)
                axes.scatter(*middle, s=260, color=color, zorder=3)
                axes.annotate(f"{charge:+.2f}", middle, ha="center", va="center", color="w", fontsize=7, zorder=4)
                axes.scatter(*tips.T, s=40, color="0.25", zorder=3)
            axes.set(aspect="equal", ylabel=f"y = {level}" if column == 0 else "")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        panels[0, column].set_title(f"{name}: {captions[name]}", fontsize=11)
    handles = [Line2D([], [], color=c, marker="o", ms=9, lw=0) for c in COLORS.values()]
    labels = ["Bi with more charge", "with less"]
    fig.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    fig.suptitle("What the network gives, displacements four times as long")
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for structures, figure and figures of merit.")] = Path(
        "results/charge_order"
    ),
    steps: Annotated[int, typer.Option(help="Training steps with Adam, and as many with L-BFGS.")] = 60,
    seed: int = 0,
) -> None:
    """Domains and space groups of three charge orders, and a network trained on one domain of each."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # the tensors are small
    files, atoms = Run(out), parent()
    symmetry = detect_symmetry(atoms)
    sets = {order: domains(symmetry, pattern(atoms, order)) for order in ORDERS}
    data = from_ase(atoms, torch.float64)
    data.x = torch.stack([data.z == z for z in (56, 83, 8)], 1).double()
    data = NeighborList(cutoff=2.5)(data)
    trained = torch.stack([b.objects[0] for b in sets.values()])
    targets = response(atoms, trained)
    model, plain = train(data, trained, targets, steps, seed), train(data, None, targets, 3, seed)
    rows, drawn, captions, ends = [], {}, {}, []
    with torch.no_grad():
        without = answer(plain, data, None, 1)
        for name, b in sets.items():
            found, wanted = answer(model, data, b.objects, len(b.objects)), response(atoms, b.objects)
            kind = b.stabilizer.space_group
            bound = float(curie_residual(wanted[0, :, 1:], symmetry.rotations, symmetry.permutations))
            row = {"order": name, "k": ORDERS[name][0], "space group": f"{kind.symbol} ({kind.number})"}
            row |= {"domains": b.size, "worst charge (e)": (found - wanted)[:, :, 0].abs().max().item()}
            row |= {"worst shift (Å)": (found - wanted)[:, :, 1:].norm(dim=2).max().item()}
            row |= {"without object (Å)": (without - wanted)[:, :, 1:].norm(dim=2).max().item()}
            rows.append(row | {"Curie bound, rms (Å)": (bound / len(atoms)) ** 0.5})
            drawn[name] = found[0]
            captions[name] = f"k = {row['k']}, {row['space group']}, {b.size} domains"
            for number, one in enumerate(found):
                end = atoms.copy()
                end.positions += one[:, 1:].numpy()
                end.set_initial_charges(one[:, 0].numpy())
                end.info.update(order=name, domain=number)
                ends.append(end)
    total = sum(row["domains"] for row in rows)
    console.print(table(f"Charge orders of BaBiO3: trained on 3 domains, asked for {total}", rows))
    way, paired, objects = dimers()
    short, long = chain_distances(paired)
    row = {"k": way.k[0][0], "irrep": way.irrep, "space group": way.symbol, "domains": objects.size}
    row |= {"irreps of objects": str(objects.irreps), "short V-V (Å)": short, "long V-V (Å)": long}
    console.print(table("Dimers of VO2, from rutile", [row], ".2f"))
    write(out / "domains.extxyz", ends)
    write(out / "dimers.extxyz", paired)
    figure(atoms, drawn, captions).savefig(out / "charge_order.png", dpi=100)
    files.finish({"orders": rows, "dimers": row}, "Structures, figure and metrics")


if __name__ == "__main__":
    typer.run(main)
