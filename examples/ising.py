"""Ground states of Ising models on tori: a symmetric question with answers that are less symmetric.

Spins s on the sites of an even torus, with couplings Jx along rows and Jy along columns of either sign, have the energy
-(Jx Σ s s' + Jy Σ s s') over neighbours. It is lowest, -(|Jx| + |Jy|) per site, for the ferromagnet, for stripes one
way or the other, or for the checkerboard, each with its flipped copy. A network sees the graph of the torus with the
couplings on its edges and answers with a magnetization for each site. It is trained without labels, on the mean-field
free energy of its answer.

All sites of a torus are alike, so an equivariant network answers with one and the same m everywhere, whatever its
weights: an energy of -(Jx + Jy) m². If it is equivariant under flips as well, m = -m = 0. So the energy per site stays
above the ground state by

    |Jx| + |Jy|                      with flips, exactly,
    |Jx| + |Jy| - max(0, Jx + Jy)    without flips, at least.

    python examples/ising.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from _shared import (
    DIM,
    GRAPH_WAYS,
    BreakingFeatures,
    Metrics,
    Run,
    bound_row,
    compare,
    console,
    dots,
    draw,
    graph_way,
    markdown,
    mean_and_deviation,
    table,
    train,
)
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GraphConv
from torch_geometric.transforms import BaseTransform, Compose
from torch_geometric.utils import scatter

from pyg_symbreak.groups import FiniteGroup, Representation
from pyg_symbreak.nn import EquivariantMLP, RelaxedMLP

SIZES = (4, 6)
NO_FLIPS = "none (no flips)"
WAYS = (NO_FLIPS, *GRAPH_WAYS, "E-MLP", "relaxed E-MLP")
ABOVE, EXACT = "energy above ground state, per site", "exact ground states (%)"


# ------------------------------------------------------------------ tori, their energy and their ground states


def neighbors(size: int) -> Tensor:
    """Pairs of neighbouring sites, long [2, 2·size²]: first those along rows, then those along columns."""
    site = torch.arange(size**2).view(size, size)
    return torch.stack([site.repeat(2, 1).flatten(), torch.cat([site.roll(-1, 1), site.roll(-1, 0)]).flatten()])


def torus(size: int, couplings: Tensor) -> Data:
    """The graph of a torus with ``edge_weight`` Jx along rows and Jy along columns; each pair is there twice."""
    pairs = neighbors(size)
    weight = couplings.repeat_interleave(size**2).repeat(2)
    return Data(
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
        edge_weight=weight,
        couplings=couplings[None],
        num_nodes=size**2,
    )


def tori(count: int, generator: torch.Generator) -> list[Data]:
    """So many tori of each size, with couplings of either sign and of absolute values from 0.5 to 1.5."""
    shape = (count, len(SIZES), 2)
    sign = 2 * torch.randint(2, shape, generator=generator) - 1
    couplings = sign * (0.5 + torch.rand(shape, generator=generator))
    return [torus(size, couplings[k, i]) for k in range(count) for i, size in enumerate(SIZES)]


def energy(batch: Batch, m: Tensor) -> Tensor:
    """Mean-field energy per site of magnetizations m [N], for each torus."""
    source, target = batch.edge_index
    pairs = -batch.edge_weight * m[source] * m[target] / 2
    return scatter(pairs, batch.batch[source], dim_size=batch.num_graphs) / batch.ptr.diff()


def ground_energy(batch: Batch) -> Tensor:
    """Energy per site of the ground states: every pair of neighbours is content."""
    return -batch.couplings.abs().sum(1)


def bounds(batch: Batch) -> dict[str, float]:
    """How far above the ground states equivariant networks stay, per site: exactly with flips, at least without."""
    uniform = batch.couplings.sum(1).clamp(min=0)
    return {"none": -ground_energy(batch).mean().item(), NO_FLIPS: (-ground_energy(batch) - uniform).mean().item()}


# ------------------------------------------------------------------ networks


class RandomFlip(BaseTransform):
    """The other part of the object: flips leave couplings as they are, so both are equally likely."""

    def forward(self, data: Data) -> Data:
        """Attach ``flip``, 1 or -1."""
        data.flip = 2 * torch.randint(2, (1,)) - 1
        return data


class SpinNetwork(nn.Module):
    """Message passing from couplings and object to a magnetization for each site, odd in the object.

    So it is equivariant under flips, which flip the object; but for ``NO_FLIPS``, which sees ones instead of it.
    """

    def __init__(self, way: str, width: int = 32, layers: int = 4) -> None:
        super().__init__()
        self.features = None if way == NO_FLIPS else BreakingFeatures(way, max(SIZES) ** 2)
        self.first = nn.Linear(DIM, width, bias=False)
        self.convs = nn.ModuleList(GraphConv(width, width, bias=False) for _ in range(layers))
        self.last = nn.Linear(width, 1, bias=False)

    def forward(self, batch: Batch) -> Tensor:
        """Magnetizations between -1 and 1, [N]."""
        if self.features is None:
            x = torch.ones(batch.num_nodes, DIM)
        else:
            x = self.features(batch.breaking) * batch.flip[batch.batch, None]
        h = self.first(x).tanh()
        for conv in self.convs:
            h = h + conv(h, batch.edge_index, batch.edge_weight).tanh()
        return self.last(h).tanh().squeeze(1)


def representations(size: int) -> tuple[Representation, Representation, Representation]:
    """Couplings, signed sites and spins of a torus, under its translations, rotations and mirrors, and the flip."""
    n = size**2
    site = np.arange(n).reshape(size, size)
    moves = [np.roll(site, 1, 0), np.roll(site, 1, 1), np.rot90(site), site.T]
    generators = [np.concatenate([move.ravel(), move.ravel() + n]) for move in moves]
    group = FiniteGroup.from_permutations([*generators, np.roll(np.arange(2 * n), n)])
    signed = Representation.permutation(group)
    sites, flipped = signed.images[:, :n] % n, signed.images[:, :1] >= n

    number = np.empty((n, n), dtype=np.int64)
    a, b = neighbors(size).numpy()
    number[a, b] = number[b, a] = np.arange(2 * n)
    couplings = Representation.permutation(group, number[sites[:, a], sites[:, b]])

    spins = np.zeros((group.order, n, n))
    np.put_along_axis(spins, sites[:, None, :], np.where(flipped, -1.0, 1.0)[:, :, None], axis=1)
    return couplings, signed, Representation(group, spins)


class LatticeNetwork(nn.Module):
    """An E-MLP, or a relaxed one, for each size of torus."""

    def __init__(self, kind: type[EquivariantMLP] | type[RelaxedMLP], copies: int = 2) -> None:
        super().__init__()
        self.of_size = nn.ModuleDict()
        for size in SIZES:
            couplings, signed, spins = representations(size)
            self.of_size[str(size)] = kind(couplings, spins, copies * signed, layers=1, act=torch.tanh)

    def forward(self, batch: Batch) -> Tensor:
        """Magnetizations between -1 and 1, [N]."""
        m = torch.empty(batch.num_nodes)
        for size in SIZES:
            here = (batch.ptr.diff() == size**2)[batch.batch]
            weight = batch.edge_weight[here[batch.edge_index[0]]].view(-1, 4 * size**2)
            m[here] = self.of_size[str(size)](weight[:, : 2 * size**2]).tanh().flatten()
        return m


# ------------------------------------------------------------------ training and asking


def free_energy(model: nn.Module, batch: Batch, done: float) -> Tensor:
    """Mean-field free energy E - T S per site in units of |Jx| + |Jy|, cooled from the transition to T = 0.

    At the transition the ground states are the only order that lowers it, so that cooling ends without domain walls.
    """
    m = model(batch)
    temperature = 2 * max(0.0, 1 - done / 0.8)
    up = ((1 + m) / 2).clamp(1e-6, 1 - 1e-6)
    entropy = -(up * up.log() + (1 - up) * (1 - up).log())
    return (energy(batch, m) / -ground_energy(batch)).mean() - temperature * entropy.mean()


@torch.no_grad()
def assess(model: nn.Module, batches: list[Batch]) -> Metrics:
    """Figures of merit; spins are the signs of magnetizations."""
    above, exact = [], []
    for batch in batches:
        m = model(batch)
        above.append(energy(batch, m) - ground_energy(batch))
        exact.append(energy(batch, m.sign()) - ground_energy(batch) < 1e-5)
    return {ABOVE: torch.cat(above).mean().item(), EXACT: 100 * torch.cat(exact).float().mean().item()}


def object_of(way: str) -> BaseTransform:
    """The transform that attaches the object; a relaxed E-MLP draws its own."""
    return Compose([graph_way(way if way in GRAPH_WAYS else "none", features=("edge_weight",)), RandomFlip()])


def trained(way: str, seed: int, steps: int, layers: int = 4) -> nn.Module:
    """A network trained on up to 20 batches of tori."""
    generator = torch.Generator().manual_seed(seed)
    batches = [draw(tori(12, generator), object_of(way), 1)[0] for _ in range(min(20, steps))]
    kinds = {"E-MLP": EquivariantMLP, "relaxed E-MLP": RelaxedMLP}
    model = LatticeNetwork(kinds[way]) if way in kinds else SpinNetwork(way, layers=layers)
    train(model, lambda batch, done: free_energy(model, batch, done), batches, steps, lr=2e-2)
    return model


# ------------------------------------------------------------------ output


def figure(results: dict[str, list[Metrics]], bound: dict[str, float], models: dict[str, nn.Module]) -> plt.Figure:
    """Figures of merit of all runs, and answers on the largest torus for couplings of either sign."""
    fig = plt.figure(figsize=(14, 7.5), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=[1.35, 1])
    merit = left.subplots(2, 1, sharex=True)
    for axes, key in zip(merit, (ABOVE, EXACT), strict=True):
        dots(axes, results, key)
    for way, value in bound.items():
        at = list(results).index(way)
        merit[0].plot([at - 0.45, at + 0.45], [value] * 2, "k--", lw=1, label="bound" if way == "none" else None)
    merit[0].legend(frameon=False)

    shown = ("none", "noise", "SymPE", "relaxed E-MLP")
    signs = {"ferromagnet": (1, 1), "stripes": (1, -1), "other stripes": (-1, 1), "checkerboard": (-1, -1)}
    cases = [torus(SIZES[-1], torch.tensor([1.1 * x, 0.9 * y])) for x, y in signs.values()]
    panels = right.subplots(len(shown), len(signs))
    for row, way in zip(panels, shown, strict=True):
        batch = draw(cases, object_of(way), 1)[0]
        with torch.no_grad():
            answers = models[way](batch).view(len(cases), SIZES[-1], SIZES[-1])
        for axes, m in zip(row, answers, strict=True):
            axes.imshow(m, cmap="RdBu", vmin=-1, vmax=1)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(way, fontsize=10)
    for axes, name in zip(panels[0], signs, strict=True):
        axes.set_title(name, fontsize=10)
    right.suptitle("Magnetizations (red −1, blue 1) for four pairs of signs of Jx, Jy", fontsize=11)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure, table and figures of merit.")] = Path("results/ising"),
    seeds: Annotated[int, typer.Option(help="Runs of each way to break symmetry.")] = 5,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 400,
    layers: Annotated[int, typer.Option(help="Rounds of messages.")] = 4,
) -> None:
    """Find ground states of Ising models without labels, with each way to break symmetry."""
    torch.set_num_threads(1)  # the tensors are small
    files = Run(out)
    test = tori(20, torch.Generator().manual_seed(1000))
    bound = bounds(Batch.from_data_list(test))
    models = {}

    def run(way: str, seed: int) -> Metrics:
        model = trained(way, seed, steps, layers)
        models.setdefault(way, model)
        return assess(model, draw(test, object_of(way), 4))

    results = compare(run, WAYS, seeds)
    rows = [bound_row(f"bound of {way!r}", results, {ABOVE: value}) for way, value in bound.items()]
    rows += mean_and_deviation(results)
    console.print(table("Ground states on tori that were not trained on", rows))
    for way, value in bound.items():
        least, most = (f(r[ABOVE] for r in results[way]) for f in (min, max))
        console.print(f"{way}: bound {value:.6f}, found {least:.6f} to {most:.6f}")
    figure(results, bound, models).savefig(out / "ising.png", dpi=90)
    (out / "table.md").write_text(markdown(rows))
    files.finish({"runs": results, "bounds": bound})


if __name__ == "__main__":
    typer.run(main)
