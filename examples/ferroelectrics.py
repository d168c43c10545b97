"""From nonpolar crystals to their polar phases: displacements and polarization learned from 390 pairs.

The pairs are those of a first-principles database (datasets.Ferroelectrics). A network is given the nonpolar parent
and an object that breaks its symmetry to K, that of the polar phase, and is asked for the displacements of the atoms
and for the polarization. Materials with a held-out composition are predicted, and drawn beside the truth.

    python examples/ferroelectrics.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from _shared import Run, console, table
from ase.data import atomic_numbers
from e3nn.o3 import Irreps
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.utils import scatter

from pyg_symbreak.breaking import Noise, read_target, target_stabilizer
from pyg_symbreak.datasets import Ferroelectrics
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.losses import curie_residual, pad_candidates
from pyg_symbreak.nn import GatedNetwork, SymPE
from pyg_symbreak.plot import plot_structure
from pyg_symbreak.training import atom_features, fit
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

SYMPREC = 0.01
TARGET = {"y": "1o", "strain": "0e+2e"}
OBJECT = "0e+0o+1e+2x1o+2e+2o+3o"
"""Irreps that hold the objects of all pairs."""
WAYS = ("none", "noise", "group-indexed", "input-indexed", "SymPE")
CUTOFF = 3.6
"""Å; atoms closer than this are neighbours."""
HIDDEN = "24x0e+8x0o+8x1e+12x1o+4x2e+4x2o"
MOST = 48
"""Largest number of equivalent domains."""
UNIT = 30.0
"""µC/cm², the unit of polarizations here."""
DRAWS, SIZE, BLUR = 4, 12, 0.2
"""How often objects are drawn; pairs in a batch; relative noise on what the periodic table says."""
SMALL = 0.01
"""Å and units of polarization: lengths below are not told from zero by the loss."""
ANIONS = ["F", "O", "Cl", "N", "Br", "I", "S", "Se", "C", "Te", "H", "P", "As", "Sb", "Bi", "Si", "Ge"]
"""Elements that take electrons, the strongest first (Pauling)."""


# ------------------------------------------------------------------ data


def kept(data: Data) -> tuple[Symmetry, np.ndarray]:
    """The symmetry S of a parent, and which of its operations are in K."""
    symmetry = detect_symmetry(data, SYMPREC)
    assert isinstance(symmetry, Symmetry)
    return symmetry, target_stabilizer(symmetry, read_target(data, TARGET), SYMPREC)[1]


def of_each_coset(symmetry: Symmetry, mask: np.ndarray) -> list[int]:
    """One operation of each coset gK: they make the equivalent domains of one."""
    products, done, chosen = symmetry.abstract.table, np.zeros(len(mask), dtype=bool), []
    for g in range(len(mask)):
        if not done[g]:
            chosen.append(g)
            done[products[g, mask]] = True
    return chosen


def moved(symmetry: Symmetry, rows: Sequence[int], field: Tensor) -> Tensor:
    """What operations make of a field of vectors [N, 3]: [n, N, 3]."""
    turned = field.double() @ symmetry.rotations[list(rows)].mT
    places = symmetry.permutations[list(rows)][:, :, None].expand_as(turned)
    return torch.zeros_like(turned).scatter(1, places, turned)


def material(data: Data) -> Data:
    """A pair with what the network reads, all equivalent targets, and the Curie bound, Å².

    The polarization is known as a length; where K has one polar axis it is a vector along it.
    """
    symmetry, mask = kept(data)
    rows = of_each_coset(symmetry, mask)
    data = NeighborList(CUTOFF)(data)
    data.x, data.irreps_in = atom_features(data.z), "20x0e"
    data.candidates = pad_candidates(moved(symmetry, rows, data.y).to(data.y).transpose(0, 1), MOST)
    data.bound = curie_residual(data.y.double(), symmetry.rotations, symmetry.permutations).reshape(1).to(data.y)
    values, vectors = torch.linalg.eigh(symmetry.rotations[mask].mean(0))
    axis = vectors[:, 2] if (values > 0.5).sum() == 1 else torch.zeros(3, dtype=torch.float64)
    polar = (symmetry.rotations[rows] @ axis * data.polarization.nan_to_num() / UNIT)[:, None]
    data.polar_candidates = pad_candidates(polar.transpose(0, 1), MOST).to(data.y)
    return data


def pairs(atoms: int) -> list[Data]:
    """The pairs of at most so many atoms in which there is something to break."""
    return [data for data in Ferroelectrics() if data.num_nodes <= atoms and data.count.item() > 1]


def materials(atoms: int) -> list[Data]:
    """The same with all that the network reads."""
    return [material(data) for data in pairs(atoms)]


def held_out(graphs: Sequence[Data], seed: int, share: float = 0.2) -> tuple[list[int], list[int]]:
    """Numbers of the graphs for training and of those that are not, which have no composition in common."""
    names = sorted({data.formula for data in graphs})
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    out = {names[i] for i in order[: round(share * len(names))]}
    train = [i for i, data in enumerate(graphs) if data.formula not in out]
    return train, [i for i, data in enumerate(graphs) if data.formula in out]


# ------------------------------------------------------------------ ways to break the symmetry


def way_of(way: str) -> Callable[[Data], Data]:
    """The transform that attaches ``breaking`` to a pair: noise and SymPE draw anew each time they are asked."""
    if way == "none":
        return without_object
    if way == "noise":
        return AddSymmetryBreaking(Noise(irreps=OBJECT))
    if way == "SymPE":
        return AddSymmetryBreaking("sympe", symprec=SYMPREC)
    kind = "group" if way == "group-indexed" else "input"
    return AddSymmetryBreaking(kind, choose="target", target=TARGET, on="nodes", irreps=OBJECT, symprec=SYMPREC)


def without_object(data: Data) -> Data:
    """Zeros in the place of the object."""
    data = data.clone()
    data.breaking = data.pos.new_zeros(data.num_nodes, Irreps(OBJECT).dim)
    return data


class Displacer(nn.Module):
    """The network: displacements [N, 3] in Å, of mean zero in each crystal, and polarization [B, 3]."""

    def __init__(self, way: str, irreps_in: str, hidden: str = HIDDEN, layers: int = 2, degree: int = 1) -> None:
        super().__init__()
        self.sympe = SymPE(OBJECT) if way == "SymPE" else None
        self.network = GatedNetwork(
            irreps_in, "1o", OBJECT, "1o", max_radius=CUTOFF, hidden=hidden, lmax=2, layers=layers, object_degree=degree
        )

    def forward(self, data: Batch) -> tuple[Tensor, Tensor]:
        """Evaluate on a batch."""
        if self.sympe is not None:
            data = data.clone()
            data.breaking, data.breaking_irreps = self.sympe(data.breaking), OBJECT
        y, polar = self.network(data)
        return y - scatter(y, data.batch, dim=0, reduce="mean")[data.batch], polar


# ------------------------------------------------------------------ loss and figures of merit


def compared(answer: Tensor, candidates: Tensor, batch: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine [B] with the nearest candidate [N, T, 3], which one that is, and the ratio [B] of the lengths."""

    def total(values: Tensor) -> Tensor:
        return scatter(values, batch, dim=0, dim_size=count, reduce="sum")

    products = total((answer[:, None] * candidates).sum(2))
    length = (total(answer.square().sum(1)) + SMALL**2).sqrt()
    wanted = (total(candidates[:, 0].square().sum(1)) + SMALL**2).sqrt()
    cosine, index = (products / (length * wanted)[:, None]).max(1)
    return cosine, index, length / wanted


def loss_of(model: Displacer, batch: Batch) -> Tensor:
    """How far directions and lengths of displacements and polarizations are off those of the nearest targets."""
    y, polar = model(batch)
    cosine, _, ratio = compared(y, batch.candidates, batch.batch, batch.num_graphs)
    known = batch.polar_candidates[:, 0].norm(dim=1) > 0
    each = torch.arange(int(known.sum()))
    polar_cosine, _, polar_ratio = compared(polar[known], batch.polar_candidates[known], each, len(each))
    off = (1 - cosine + 0.05 * ratio.log().square()).mean()
    return off + 0.2 * (1 - polar_cosine + 0.2 * polar_ratio.log().square()).sum() / batch.num_graphs


def dipole(z: Tensor, y: Tensor) -> Tensor:
    """How the strongest anions of a crystal move against the rest, Å: the polar axis of displacements [..., N, 3]."""
    symbol = next(s for s in [*ANIONS, None] if s is None or (z == atomic_numbers[s]).any())
    anions = z == (z.max() if symbol is None else atomic_numbers[symbol])
    rest = y[..., ~anions, :].mean(-2) if (~anions).any() else torch.zeros(3)
    return y[..., anions, :].mean(-2) - rest


@torch.no_grad()
def answers(model: Displacer, graphs: Sequence[Data]) -> list[tuple[Tensor, Tensor]]:
    """Displacements and polarization that the network gives to each."""
    model.eval()
    batch = Batch.from_data_list(list(graphs))
    y, polar = model(batch)
    return list(zip(y.split([data.num_nodes for data in graphs]), polar, strict=True))


def merit(data: Data, y: Tensor, polar: Tensor) -> dict[str, float]:
    """Figures of merit of one answer: nan where there is nothing to compare with."""
    zero = torch.zeros(data.num_nodes, dtype=torch.long)
    cosine, index, ratio = (x[0] for x in compared(y, data.candidates, zero, 1))
    wanted = data.candidates[:, index]
    axes = dipole(data.z, y), dipole(data.z, wanted)
    lengths = [x.norm() for x in axes]
    right = lengths[0] > 1e-3 and torch.dot(*axes) > np.cos(np.radians(10)) * lengths[0] * lengths[1]
    out = {
        "cosine": cosine.item(),
        "length": ratio.item(),
        "error / bound": ((y[:, None] - data.candidates).square().sum((0, 2)).min() / data.bound[0]).item(),
        "polar axis": float(right) if lengths[1] > 1e-3 else np.nan,
        "P cosine": np.nan,
        "P length": np.nan,
    }
    if data.polar_candidates[0, 0].norm() > 0:
        cosine, _, ratio = compared(polar[None], data.polar_candidates, torch.zeros(1, dtype=torch.long), 1)
        out |= {"P cosine": cosine.item(), "P length": ratio.item()}
    return out


def summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Medians over materials, and shares of them."""
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return {
        "cosine": float(np.median(columns["cosine"])),
        "above 0.9": float((columns["cosine"] > 0.9).mean()),
        "length": float(np.median(columns["length"])),
        "error / bound": float(np.median(columns["error / bound"])),
        "polar axis": float(np.nanmean(columns["polar axis"])),
        "P cosine": float(np.nanmedian(columns["P cosine"])),
        "P length": float(np.nanmedian(columns["P length"])),
    }


# ------------------------------------------------------------------ training


def drawn(way: str, graphs: Sequence[Data]) -> list[list[Data]]:
    """The graphs with their objects; where these are drawn, as often as there are DRAWS."""
    attach = way_of(way)
    return [[attach(data.clone()) for data in graphs] for _ in range(DRAWS if way in ("noise", "SymPE") else 1)]


def train(
    way: str,
    draws: Sequence[Sequence[Data]],
    seed: int,
    steps: int,
    network: Callable[..., Displacer] = Displacer,
    **options: Any,
) -> Displacer:
    """Train one network on graphs of which objects were drawn a few times; the periodic table is blurred."""
    torch.manual_seed(seed)
    model = network(way, draws[0][0].irreps_in, **options)
    order, parts = torch.randperm(len(draws[0])).tolist(), max(1, round(len(draws[0]) / SIZE))
    batches = [[Batch.from_data_list([graphs[i] for i in order[k::parts]]) for k in range(parts)] for graphs in draws]

    def loss(step: int) -> Tensor:
        batch = batches[step // parts % len(draws)][step % parts].clone()
        blur = torch.ones(1, batch.x.size(1))
        blur[:, :20] += BLUR * torch.randn(20)
        batch.x = batch.x * blur
        return loss_of(model, batch)

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)

    fit(model, loss, steps, schedule=schedule)
    return model


def evaluated(model: Displacer, draws: Sequence[Sequence[Data]]) -> list[dict[str, float]]:
    """Figures of merit of each material, with one object, or means over those drawn."""
    merits = [[merit(data, *a) for data, a in zip(graphs, answers(model, graphs), strict=True)] for graphs in draws]
    return [{key: float(np.mean([row[key] for row in rows])) for key in rows[0]} for rows in zip(*merits, strict=True)]


# ------------------------------------------------------------------ what is shown


def nearest(data: Data, y: Tensor) -> Tensor:
    """The equivalent target [N, 3] nearest in direction."""
    zero = torch.zeros(data.num_nodes, dtype=torch.long)
    return data.candidates[:, int(compared(y, data.candidates, zero, 1)[1])]


def figure(graphs: Sequence[Data], predicted: Sequence[Tensor]) -> plt.Figure:
    """Displacements and polar axes of some materials: predicted and true, which in the small picture points up."""
    fig, axes = plt.subplots(1, len(graphs), figsize=(3.2 * len(graphs), 4), layout="constrained")
    for ax, data, y in zip(np.atleast_1d(axes), graphs, predicted, strict=True):
        wanted = nearest(data, y)
        scale = 0.8 / float(wanted.norm(dim=1).max())
        plot_structure(data, torch.stack([y, wanted]), ax, scale=scale)
        ax.set_title(f"{data.formula}, {data.space_group} to {data.kept}\ncosine {merit(data, y, y[0])['cosine']:.2f}")
        colors = [handle.get_facecolor()[0] for handle in ax.get_legend_handles_labels()[0]]
        inset = ax.inset_axes((0.0, -0.12, 0.24, 0.24))
        axis, true = dipole(data.z, y), dipole(data.z, wanted)
        along = float(torch.dot(axis, true) / true.norm())
        across = float((axis - along * true / true.norm()).norm())
        for number, end in enumerate(((across, along), (0.0, float(true.norm())))):
            length = max(float(axis.norm()), float(true.norm()))
            place = {"xy": (end[0] / length, end[1] / length), "xytext": (0, 0)}
            inset.annotate("", arrowprops={"arrowstyle": "->", "color": colors[number], "lw": 2}, **place)
        inset.set(xlim=(-0.8, 1.1), ylim=(-1.1, 1.1), xticks=[], yticks=[])
        inset.set_title("polar axis", fontsize=8)
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    fig.legend(handles, ["predicted", "true"][: len(labels)], loc="lower right", frameon=False)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for the figure and the figures of merit.")] = Path(
        "results/ferroelectrics"
    ),
    atoms: Annotated[int, typer.Option(help="Largest number of atoms in a cell.")] = 12,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 240,
    seed: int = 0,
) -> None:
    """Learn the displacements of ferroelectrics, with and without an object, and predict other compositions."""
    files = Run(out)
    graphs = materials(atoms)
    train_on, test_on = held_out(graphs, seed)
    console.print(f"{len(graphs)} pairs of at most {atoms} atoms, {len(test_on)} of held-out compositions")
    rows, models = [], {}
    for way in ("none", "group-indexed"):
        draws = drawn(way, graphs)
        models[way] = train(way, [[part[i] for i in train_on] for part in draws], seed, steps)
        for kind, numbers in (("training", train_on), ("held out", test_on)):
            rows.append(
                {"way": f"{way}, {kind}"} | summary(evaluated(models[way], [[d[i] for i in numbers] for d in draws]))
            )
    console.print(table("Displacements (medians; polar axis: share within 10°) and polarization", rows, ".2f"))
    shown = sorted(test_on, key=lambda i: graphs[i].formula)[:: max(1, len(test_on) // 5)][:5]
    predicted = [y for y, _ in answers(models["group-indexed"], [draws[0][i] for i in shown])]
    figure([graphs[i] for i in shown], predicted).savefig(out / "ferroelectrics.png", dpi=120)
    files.finish({row.pop("way"): row for row in rows})


if __name__ == "__main__":
    typer.run(main)
