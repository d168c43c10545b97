"""Maximum cuts and maximum independent sets of vertex-transitive graphs, learned without labels.

A network answers with a probability p for each node: to be on one side of the cut, or in the set. It is trained on what
independent draws with these probabilities achieve, of graphs of n nodes and e edges,

    cut    Σ over edges of p (1 - p') + p' (1 - p)            expected size, at most the maximum cut
    set    Σ over nodes of p  -  Σ over edges of p p'         at most the independence number

and both maxima are attained at p = 0 or 1. All nodes of a vertex-transitive graph are alike, so an equivariant network
answers with one and the same p everywhere, whatever its weights. For degree d = 2e/n it achieves at most

    cut    e/2            at p = 1/2,
    set    n/(2d)         at p = 1/d (if d > 1).

Each network gives eight answers, and the best is counted too. A cut is read off as the nodes with p > 1/2; a set as
those nodes without the ones that have a neighbour among them with as large a p. So ties are never broken by the
decoding.

    python examples/combinatorial.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import torch
import typer
from _shared import (
    DIM,
    GRAPH_WAYS,
    BreakingFeatures,
    Metrics,
    Run,
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
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GraphConv
from torch_geometric.utils import from_networkx, scatter

from pyg_symbreak.transforms import AddSymmetry

ANSWERS = 8
CUT, CUT_BEST = "expected cut (%)", "best cut of 8 (%)"
SET, SET_BEST = "expected set (%)", "best set of 8 (%)"
SOLVED = "graphs with both maxima (%)"
PICTURES = ("cube Q3", "Petersen", "torus 5 × 5", "Paley 13")


# ------------------------------------------------------------------ graphs and their exact optima


def paley(q: int) -> nx.Graph:
    """The Paley graph of a prime q = 1 mod 4: numbers mod q, adjacent if their difference is a square."""
    squares = {x * x % q for x in range(1, q)}
    return nx.Graph((a, b) for a in range(q) for b in range(a) if (a - b) % q in squares)


def vertex_transitive() -> dict[str, nx.Graph]:
    """The graphs, by name."""
    return {
        "cycle C8": nx.cycle_graph(8),
        "cycle C12": nx.cycle_graph(12),
        "cube Q3": nx.convert_node_labels_to_integers(nx.hypercube_graph(3)),
        "cube Q4": nx.convert_node_labels_to_integers(nx.hypercube_graph(4)),
        "Petersen": nx.petersen_graph(),
        "torus 4 × 6": nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 6, periodic=True)),
        "torus 5 × 5": nx.convert_node_labels_to_integers(nx.grid_2d_graph(5, 5, periodic=True)),
        "Paley 13": paley(13),
        "Paley 17": paley(17),
    }


def maximum_cut(graph: nx.Graph) -> int:
    """Size of the maximum cut: an integer program with a variable for each node and each edge."""
    edges, n = np.array(graph.edges), graph.number_of_nodes()
    e = len(edges)
    rows = np.zeros((2 * e, n + e))
    for i, (a, b) in enumerate(edges):  # an edge is cut only if its ends differ
        rows[i, [a, b]] = rows[e + i, [a, b]] = -1, -1
        rows[e + i, [a, b]] = 1, 1
        rows[[i, e + i], n + i] = 1
    limits = np.repeat([0, 2], e)
    fixed = np.ones(n + e)
    fixed[0] = 0  # sides may be exchanged
    cost = np.concatenate([np.zeros(n), -np.ones(e)])
    found = milp(cost, constraints=LinearConstraint(rows, ub=limits), bounds=Bounds(0, fixed), integrality=1)
    return round(-found.fun)


def independence_number(graph: nx.Graph) -> int:
    """Size of the maximum independent set: an integer program with a variable for each node."""
    edges, n = np.array(graph.edges), graph.number_of_nodes()
    rows = np.zeros((len(edges), n))
    rows[np.arange(len(edges))[:, None], edges] = 1
    found = milp(-np.ones(n), constraints=LinearConstraint(rows, ub=1), bounds=Bounds(0, 1), integrality=1)
    return round(-found.fun)


def dataset() -> list[Data]:
    """The graphs with their symmetries and their optima, ``optimum`` [1, 2]."""
    out = []
    for name, graph in vertex_transitive().items():
        data = from_networkx(graph)
        data.name, data.optimum = name, torch.tensor([[maximum_cut(graph), independence_number(graph)]])
        out.append(AddSymmetry()(data))
    return out


# ------------------------------------------------------------------ network and objectives


class NodeNetwork(nn.Module):
    """Message passing from degree and object to probabilities of each node, [N, 2, ANSWERS]: for cuts and for sets.

    Each answer has a first layer of its own, so that they differ.
    """

    def __init__(self, way: str, num_ranks: int, width: int = 32, layers: int = 6) -> None:
        super().__init__()
        self.features = BreakingFeatures(way, num_ranks)
        self.first = nn.Linear(DIM + 1, ANSWERS * width)
        self.convs = nn.ModuleList(GraphConv(width, width, aggr="mean") for _ in range(layers))
        self.last = nn.Linear(width, 2)

    def forward(self, batch: Batch) -> Tensor:
        """Probabilities."""
        degree = scatter(torch.ones(batch.num_edges, 1), batch.edge_index[0], dim_size=batch.num_nodes) / 4
        h = self.first(torch.cat([self.features(batch.breaking), degree], dim=1)).tanh()
        h = h.view(len(h), ANSWERS, -1).transpose(0, 1)  # the convolutions take [..., N, width]
        for conv in self.convs:
            h = h + conv(h, batch.edge_index).tanh()
        return self.last(h).sigmoid().permute(1, 2, 0)


def relaxed(batch: Batch, p: Tensor) -> Tensor:
    """The two relaxed objectives of probabilities p [N, 2, ANSWERS], for each graph: [G, 2, ANSWERS]."""
    source, target = batch.edge_index
    cut = p[source, 0] * (1 - p[target, 0])  # each edge is there both ways
    conflicts = p[source, 1] * p[target, 1] / 2

    def total(values: Tensor, index: Tensor) -> Tensor:
        return scatter(values, index, dim_size=batch.num_graphs)

    of_edge = batch.batch[source]
    return torch.stack([total(cut, of_edge), total(p[:, 1], batch.batch) - total(conflicts, of_edge)], dim=1)


def free_energy(model: nn.Module, batch: Batch, done: float) -> Tensor:
    """Minus the objectives per optimum, with an entropy that is cooled away."""
    p = model(batch)
    temperature = 1.5 * max(0.0, 1 - done / 0.8)
    q = p.clamp(1e-6, 1 - 1e-6)
    entropy = -(q * q.log() + (1 - q) * (1 - q).log())
    return -(relaxed(batch, p) / batch.optimum[:, :, None]).mean() - temperature * entropy.mean()


# ------------------------------------------------------------------ reading answers off


def decode(batch: Batch, p: Tensor) -> Tensor:
    """Sizes of the cut and of the set that probabilities stand for, for each graph: [G, 2, ANSWERS]."""
    source, target = batch.edge_index
    chosen = p > 0.5
    of_edge = batch.batch[source]
    cut = scatter((chosen[source, 0] != chosen[target, 0]).float() / 2, of_edge, dim_size=batch.num_graphs)
    beaten = chosen[source, 1] & chosen[target, 1] & (p[source, 1] >= p[target, 1])
    kept = chosen[:, 1] & (scatter(beaten.float(), target, dim_size=batch.num_nodes) == 0)
    return torch.stack([cut, scatter(kept.float(), batch.batch, dim_size=batch.num_graphs)], dim=1)


@torch.no_grad()
def assess(model: nn.Module, batches: list[Batch]) -> Metrics:
    """Figures of merit in % of the optimum, mean over graphs and draws of the object."""
    expected, best = [], []
    for batch in batches:
        p = model(batch)
        expected.append(relaxed(batch, p).mean(-1) / batch.optimum)
        best.append(decode(batch, p).amax(-1) / batch.optimum)
    cut, independent = 100 * torch.stack(expected).mean((0, 1))
    best_cut, best_set = 100 * torch.stack(best).mean((0, 1))
    solved = 100 * (torch.stack(best) == 1).all(-1).float().mean()
    values = (cut, best_cut, independent, best_set, solved)
    return {key: v.item() for key, v in zip((CUT, CUT_BEST, SET, SET_BEST, SOLVED), values, strict=True)}


@torch.no_grad()
def unsolved(model: nn.Module, batches: list[Batch]) -> list[str]:
    """Names of the graphs that have a draw of the object for which the best cut, or set, of 8 is not a maximum."""
    solved = torch.stack([(decode(b, model(b)).amax(-1) == b.optimum).all(-1) for b in batches]).all(0)
    return [name for name, good in zip(batches[0].name, solved.tolist(), strict=True) if not good]


def bounds(graphs: list[Data]) -> dict[str, float]:
    """What equivariant networks achieve at most, in % of the optimum, mean over the graphs."""
    cut, independent = [], []
    for data in graphs:
        degree = data.num_edges / data.num_nodes
        cut.append(data.num_edges / 4 / data.optimum[0, 0])
        independent.append(data.num_nodes / (2 * degree) / data.optimum[0, 1])
    return {CUT: 100 * torch.stack(cut).mean().item(), SET: 100 * torch.stack(independent).mean().item()}


def trained(way: str, graphs: list[Data], steps: int) -> NodeNetwork:
    """A network trained on all graphs, with 20 draws of the object in turn."""
    model = NodeNetwork(way, max(int(data.num_nodes) for data in graphs))
    train(model, lambda batch, done: free_energy(model, batch, done), draw(graphs, graph_way(way), 20), steps)
    return model


# ------------------------------------------------------------------ output


def figure(
    results: dict[str, list[Metrics]], bound: dict[str, float], graphs: list[Data], models: dict[str, nn.Module]
) -> plt.Figure:
    """Figures of merit of all runs, and answers to some graphs."""
    fig = plt.figure(figsize=(14, 7.5), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=[1, 1.5])
    merit = left.subplots(3, 1, sharex=True)
    for axes, key in zip(merit, (CUT, SET, SOLVED), strict=True):
        dots(axes, results, key)
        if key in bound:
            axes.axhline(bound[key], color="k", ls="--", lw=1, label="bound without symmetry breaking")
    merit[0].legend(frameon=False)

    shown = [data for data in graphs if data.name in PICTURES]
    panels = right.subplots(4, len(shown))
    for rows, way in ((panels[:2], "none"), (panels[2:], "SymPE")):
        for column, data in zip(rows.T, shown, strict=True):
            batch = draw([data], graph_way(way), 1)[0]
            with torch.no_grad():
                p = models[way](batch)
                best = decode(batch, p)[0].argmax(-1)
            drawn = vertex_transitive()[data.name]
            place = nx.shell_layout(drawn, [range(5), range(5, 10)]) if data.name == "Petersen" else None
            place = place or (nx.circular_layout if "Paley" in data.name else nx.kamada_kawai_layout)(drawn)
            for axes, values in zip(column, (p[:, 0, best[0]], p[:, 1, best[1]]), strict=True):
                nx.draw_networkx_edges(drawn, place, ax=axes, edge_color="0.7")
                nx.draw_networkx_nodes(
                    drawn, place, ax=axes, node_size=70, node_color=values, cmap="coolwarm", vmin=0, vmax=1
                ).set_edgecolor("0.2")
                axes.set(xticks=[], yticks=[])
                axes.axis("equal")
        for axes, what in zip(rows[:, 0], ("cut", "set"), strict=True):
            axes.set_ylabel(f"{way}: {what}")
    for axes, data in zip(panels[0], shown, strict=True):
        axes.set_title(data.name, fontsize=10)
    right.suptitle("Probabilities (blue 0, red 1)", fontsize=11)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure, tables and figures of merit.")] = Path(
        "results/combinatorial"
    ),
    seeds: Annotated[int, typer.Option(help="Runs of each way to break symmetry.")] = 5,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 400,
) -> None:
    """Find maximum cuts and independent sets without labels, with each way to break symmetry."""
    torch.set_num_threads(1)  # the tensors are small
    files = Run(out)
    graphs = dataset()
    bound = bounds(graphs)
    models: dict[str, nn.Module] = {}
    missed: dict[str, list[list[str]]] = {way: [] for way in GRAPH_WAYS}

    def run(way: str, seed: int) -> Metrics:
        model = trained(way, graphs, steps)
        models.setdefault(way, model)
        test = draw(graphs, graph_way(way), 4)
        missed[way].append(unsolved(model, test))
        return assess(model, test)

    results = compare(run, GRAPH_WAYS, seeds)
    rows = mean_and_deviation(results)
    for row, names in zip(rows, missed.values(), strict=True):
        row["seeds that solve every graph"] = f"{sum(not n for n in names)} of {seeds}"
    console.print(table("Maximum cuts and independent sets, in % of the maximum", rows))
    for key, value in bound.items():
        found = max(r[key] for r in results["none"])
        console.print(f"none, {key}: bound {value:.4f}, found at most {found:.4f}")
    figure(results, bound, graphs, models).savefig(out / "combinatorial.png", dpi=90)
    optima = {data.name: data.optimum[0].tolist() for data in graphs}
    (out / "table.md").write_text(markdown(rows))
    files.finish({"runs": results, "bounds": bound, "optima": optima, "unsolved": missed})


if __name__ == "__main__":
    typer.run(main)
