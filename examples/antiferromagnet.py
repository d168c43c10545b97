"""Order the moments of one cubic lattice in every simple way: F, A, C and G, along an edge or the diagonal.

The moments of a perovskite's B sites order parallel (F), in layers (A), in chains (C) or as a checkerboard (G). All
are fields 1e on the nodes that turn over with time reversal, and all but F break translations of the cubic cell. The
symmetry of the lattice with time reversal gives the magnetic space group of each order and its domains: the starts of
a calculation, and the answers of a network that is trained on one domain of each. As a target, each antiparallel
neighbour takes 0.05 μB from a moment of 3 μB.

    python examples/antiferromagnet.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import moyopy
import numpy as np
import torch
import typer
from _shared import Run, console, table
from ase import Atoms
from ase.io import write
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_symbreak.breaking import NodeBreakingSet, breaking_set
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import from_ase
from pyg_symbreak.training import fit
from pyg_symbreak.transforms import NeighborList

EDGE = 3.9  # Å
WAVES = {"F": ("Γ", (0, 0, 0)), "A": ("X", (0, 0, 1)), "C": ("M", (1, 1, 0)), "G": ("R", (1, 1, 1))}
AXES = {"[001]": (0, 0, 1), "[111]": (1, 1, 1)}
UP, DOWN = "#d1495b", "#30638e"


def lattice() -> Atoms:
    """Eight manganese atoms on a simple cubic lattice."""
    return Atoms("Mn", cell=[EDGE] * 3, pbc=True).repeat(2)


def pattern(atoms: Atoms, order: str, axis: str) -> np.ndarray:
    """Unit vectors [8, 3] along an axis, with the signs of an order."""
    index = np.rint(atoms.positions / EDGE).astype(int)
    direction = np.array(AXES[axis]) / np.linalg.norm(AXES[axis])
    return np.outer((-1.0) ** (index @ WAVES[order][1]), direction)


def domains(symmetry: Symmetry, field: np.ndarray) -> NodeBreakingSet:
    """All images of a field under the operations and time reversal."""
    keep = symmetry.stabilizer(field, "1e", time_reversal=True)
    return breaking_set(symmetry, keep=keep, nodes="Mn", irreps="1e", time_reversal=True)


def moments(data: Data, fields: Tensor) -> Tensor:
    """Moments, μB, [n, 8, 3] along fields of unit vectors."""
    i, j = data.edge_index
    antiparallel = ((fields[:, i] * fields[:, j]).sum(-1) < 0).to(fields)
    count = torch.zeros(fields.shape[:2]).index_add(1, i, antiparallel)
    return (3 - 0.05 * count)[:, :, None] * fields


def answer(model: GatedNetwork, data: Data, fields: Tensor | None, count: int) -> Tensor:
    """Moments [n, 8, 3] that the network gives."""
    batch = Batch.from_data_list([data] * count)
    if fields is not None:
        batch.breaking = fields.reshape(-1, 3)
    return model(batch).view(count, -1, 3)


def train(data: Data, fields: Tensor | None, targets: Tensor, steps: int, seed: int) -> GatedNetwork:
    """One domain of each order."""
    torch.manual_seed(seed)
    irreps = None if fields is None else "1e"
    model = GatedNetwork("0e", "1e", irreps, max_radius=4.5, hidden="8x0e+4x1e+4x1o+2x2e", lmax=2)

    def loss(step: int) -> Tensor:
        return (answer(model, data, fields, len(targets)) - targets).square().mean()

    fit(model, loss, steps, polish=steps, progress="no object" if fields is None else "one domain of each")
    return model


def figure(atoms: Atoms, found: dict[str, np.ndarray], captions: dict[str, str]) -> plt.Figure:
    """The moments that the network gives for the trained domain of each order."""
    fig = plt.figure(figsize=(13, 7))
    corners = EDGE * np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)])
    for number, (name, rows) in enumerate(found.items()):
        axes = fig.add_subplot(len(AXES), len(WAVES), number + 1, projection="3d")
        for level in (0, EDGE):
            ring = corners[[0, 1, 2, 3, 0]] + [0, 0, level]
            axes.plot(*ring.T, color="0.8", lw=1)
        for x, y, _ in corners:
            axes.plot([x, x], [y, y], [0, EDGE], color="0.8", lw=1)
        for at, row in zip(atoms.positions, rows, strict=True):
            color = UP if row.sum() > 0 else DOWN
            axes.quiver(*(at - row / 4), *(row / 2), color=color, lw=2.5, arrow_length_ratio=0.4)
        axes.scatter(*atoms.positions.T, color="0.3", s=18)
        axes.set_box_aspect((1, 1, 1), zoom=1.0)
        axes.set_axis_off()
        axes.set_title(f"{name}\n{captions[name]}", fontsize=10, y=1.0)
    fig.subplots_adjust(left=0, right=1, bottom=0.01, top=0.9, wspace=0, hspace=0.22)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for structures, figure and figures of merit.")] = Path(
        "results/antiferromagnet"
    ),
    steps: Annotated[int, typer.Option(help="Training steps with Adam, and as many with L-BFGS.")] = 100,
    seed: int = 0,
) -> None:
    """Domains and magnetic space groups of eight orders, and a network trained on one domain of each."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # the tensors are small
    files, atoms = Run(out), lattice()
    symmetry = detect_symmetry(atoms)
    sets = {f"{o} {a}": domains(symmetry, pattern(atoms, o, a)) for a in AXES for o in WAVES}
    data = from_ase(atoms, torch.float64)
    data.x = torch.ones(len(atoms), 1)
    data = NeighborList(cutoff=4.5)(data)
    trained = torch.stack([b.objects[0] for b in sets.values()])
    targets = moments(data, trained)
    model, plain = train(data, trained, targets, steps, seed), train(data, None, targets, 1, seed)
    rows, drawn, captions, starts = [], {}, {}, []
    with torch.no_grad():
        without = answer(plain, data, None, 1)
        for name, b in sets.items():
            found, wanted = answer(model, data, b.objects, len(b.objects)), moments(data, b.objects)
            kind = moyopy.MagneticSpaceGroupType(b.stabilizer.magnetic_group)
            row = {"order": name, "k": WAVES[name[0]][0], "magnetic group (BNS)": kind.bns_number}
            row |= {"UNI": kind.uni_number, "operations kept": b.stabilizer.order, "domains": b.size}
            row |= {"worst error (μB)": (found - wanted).norm(dim=2).max().item()}
            rows.append(row | {"without object (μB)": (without - wanted).norm(dim=2).max().item()})
            drawn[name] = found[0].numpy()
            captions[name] = f"k = {row['k']}, group {row['magnetic group (BNS)']}, {b.size} domains"
            for number, field in enumerate(found):
                start = atoms.copy()
                start.set_initial_magnetic_moments(field.numpy())
                start.info.update(order=name, domain=number, bns=f"BNS {kind.bns_number}")
                starts.append(start)
    total = sum(row["domains"] for row in rows)
    console.print(table(f"Eight orders of one lattice: trained on 8 domains, asked for {total}", rows))
    write(out / "domains.extxyz", starts)
    figure(atoms, drawn, captions).savefig(out / "antiferromagnet.png", dpi=110)
    files.finish({"orders": rows}, "Structures with moments, figure and metrics")


if __name__ == "__main__":
    typer.run(main)
