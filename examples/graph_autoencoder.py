"""Auto-encoders of graphs: nodes that are alike get the same embedding, and their edges cannot be told apart.

An encoder maps each node of a graph to an embedding, a decoder gives each pair of embeddings a score, and pairs with a
positive score are edges. The embeddings of an equivariant encoder are the same throughout an orbit of the
automorphisms of the graph. So all pairs between two orbits (or within one) get the same score, and whatever the weights
at least

    Σ over pairs of orbits  min(number of edges, number of other pairs)

pairs are wrong: in a vertex-transitive graph the smaller of density and 1 - density. A second task needs labels that
differ within an orbit: four colours for the nodes, such that no two nodes at distance one or two have the same. An
equivariant network gives all nodes of a vertex-transitive graph the same chances, and so at least one pair in four is
in conflict.

    python examples/graph_autoencoder.py
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import torch
import typer
from _shared import (
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
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot, silu
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GraphConv, JumpingKnowledge
from torch_geometric.utils import scatter

from pyg_symbreak.breaking import canonicalize
from pyg_symbreak.transforms import AddSymmetry

NODES, DIM, COLORS = 16, 16, 4
WAYS = (*GRAPH_WAYS[:3], "orbit ids", *GRAPH_WAYS[3:])
SEEN, UNSEEN, RANDOM = "symmetric, seen: wrong pairs (%)", "symmetric, unseen (%)", "Erdős–Rényi, unseen (%)"
CONFLICTS, PROPER = "conflicts of colours (%)", "proper colourings (%)"


# ------------------------------------------------------------------ graphs


def shrikhande() -> nx.Graph:
    """Shrikhande's graph: strongly regular like the rook's graph on 4×4 squares, and not the same."""
    steps = ((0, 1), (1, 0), (1, 1))
    squares = [(i, j) for i in range(4) for j in range(4)]
    return nx.Graph([((i, j), ((i + a) % 4, (j + b) % 4)) for i, j in squares for a, b in steps])


def vertex_transitive() -> dict[str, nx.Graph]:
    """Cycles, circulants, hypercubes and strongly regular graphs with up to 16 nodes, some more than once."""
    graphs = {f"C{n}": nx.cycle_graph(n) for n in range(4, NODES + 1)}
    for n in range(6, NODES + 1):
        graphs |= {f"C{n}(1,{k})": nx.circulant_graph(n, [1, k]) for k in range(2, n // 2 + 1)}
    cube = nx.hypercube_graph(4)
    folded = nx.Graph([*cube.edges, *((v, tuple(1 - i for i in v)) for v in cube)])
    graphs |= {"Q3": nx.hypercube_graph(3), "Q4": cube, "Clebsch": folded, "Petersen": nx.petersen_graph()}
    graphs |= {f"rook {n}×{n}": nx.line_graph(nx.complete_bipartite_graph(n, n)) for n in (3, 4)}
    return graphs | {"Shrikhande": shrikhande(), "Paley 13": nx.paley_graph(13).to_undirected()}


def colorable() -> dict[str, nx.Graph]:
    """Vertex-transitive graphs that four colours are enough for, up to distance two."""
    graphs = {f"C{n}": nx.cycle_graph(n) for n in range(3, NODES + 1) if n != 5}
    graphs |= {"K4": nx.complete_graph(4), "Q3": nx.hypercube_graph(3)}
    graphs |= {"prism 8": nx.circular_ladder_graph(8), "Möbius 6": nx.circulant_graph(12, [1, 6])}
    twice = ("C3", "C4", "C6", "C7", "C8", "K4", "Q3")
    return graphs | {f"two {name}": nx.disjoint_union(graphs[name], graphs[name]) for name in twice}


def erdos_renyi(count: int, generator: torch.Generator) -> list[Data]:
    """Random graphs with 6 to 16 nodes, in which one pair in four is an edge."""
    sizes = torch.randint(6, NODES + 1, (count,), generator=generator).tolist()
    return [prepared((torch.rand(n, n, generator=generator) < 0.25).triu(1)) for n in sizes]


def prepared(upper: Tensor) -> Data:
    """A graph from the upper triangle of its adjacency matrix, with what the two tasks need.

    ``x`` is the share of 16 that its number of nodes is, ``pair_index`` are all pairs and ``is_edge`` which of them are
    edges, ``near_index`` those at distance one or two, ``bound`` the share of pairs that an equivariant auto-encoder
    has wrong at least.
    """
    n = len(upper)
    adjacency = upper | upper.T
    pairs = torch.combinations(torch.arange(n)).T
    near = (adjacency.long() + adjacency.long() @ adjacency.long())[pairs[0], pairs[1]] > 0
    data = Data(edge_index=adjacency.nonzero().T, x=torch.full((n, 1), n / NODES), num_nodes=n)
    data.pair_index, data.is_edge = pairs, adjacency[pairs[0], pairs[1]]
    data.near_index = pairs[:, near]
    data = AddSymmetry()(data)
    data.bound = autoencoder_bound(data.orbit_index, pairs, data.is_edge)
    return data


def from_graph(graph: nx.Graph) -> Data:
    """The same for a networkx graph."""
    return prepared(torch.from_numpy(nx.to_numpy_array(graph)).bool().triu(1))


def distinct(graphs: dict[str, nx.Graph]) -> dict[str, Data]:
    """Without those that are isomorphic to an earlier one, which have the same canonical form."""
    found: dict[tuple, tuple[str, Data]] = {}
    for name, graph in graphs.items():
        data = from_graph(graph)
        form = (data.num_nodes, *canonicalize(data).canonical.edge_index.flatten().tolist())
        found.setdefault(form, (name, data))
    return dict(found.values())


def autoencoder_bound(orbits: Tensor, pairs: Tensor, is_edge: Tensor) -> float:
    """The share of pairs [2, P] that are wrong at best if all pairs between two orbits are called the same."""
    block = orbits[pairs].sort(dim=0).values
    number = torch.unique(block, dim=1, return_inverse=True)[1]
    edges, others = (torch.bincount(number[chosen], minlength=len(number)) for chosen in (is_edge, ~is_edge))
    return torch.minimum(edges, others).sum().item() / len(is_edge)


# ------------------------------------------------------------------ networks


class Encoder(nn.Module):
    """Message passing from the object to an embedding for each node."""

    def __init__(self, way: str, dim: int, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.features = BreakingFeatures(way, NODES, DIM)
        self.first = nn.Linear(DIM + 1, width)
        self.convs = nn.ModuleList(GraphConv(width, width) for _ in range(layers))
        self.jump = JumpingKnowledge("cat")
        self.last = nn.Linear((layers + 1) * width, dim)

    def forward(self, batch: Batch) -> Tensor:
        """Embeddings [N, dim]."""
        h = [self.first(torch.cat([self.features(batch.breaking), batch.x], dim=1)).tanh()]
        for conv in self.convs:
            h.append(silu(conv(h[-1], batch.edge_index)))
        return self.last(self.jump(h))


class AutoEncoder(nn.Module):
    """Scores of pairs from the embeddings of their nodes: a symmetric bilinear form and a threshold."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.encoder = Encoder(way, DIM)
        self.form = nn.Parameter(torch.randn(DIM, DIM) / (2 * DIM**0.5))
        self.threshold = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> Tensor:
        """Scores [P] of ``pair_index``; those of edges should be positive."""
        z = self.encoder(batch)
        a, b = batch.pair_index
        return ((z @ (self.form + self.form.T))[a] * z[b]).sum(1) - self.threshold


class Coloring(nn.Module):
    """Chances [N, 4] of the colours of each node."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.encoder = Encoder(way, COLORS, layers=4)

    def forward(self, batch: Batch) -> Tensor:
        """Chances [N, 4]."""
        return self.encoder(batch).softmax(dim=1)


# ------------------------------------------------------------------ training and asking


def per_graph(batch: Batch, pairs: Tensor, values: Tensor) -> Tensor:
    """Means of values over the pairs of each graph."""
    return scatter(values, batch.batch[pairs[0]], dim_size=batch.num_graphs, reduce="mean")


def conflicts(batch: Batch, p: Tensor) -> Tensor:
    """The share of near pairs that are to be expected to have equal colours, for each graph."""
    a, b = batch.near_index
    return per_graph(batch, batch.near_index, (p[a] * p[b]).sum(1))


def trained_autoencoder(way: str, symmetric: list[Data], seed: int, steps: int) -> AutoEncoder:
    """Trained on up to 40 batches of the symmetric graphs and 24 random ones each."""
    generator = torch.Generator().manual_seed(seed)
    transform = graph_way(way, dim=DIM)
    batches = [draw(symmetric + erdos_renyi(24, generator), transform, 1)[0] for _ in range(min(40, steps))]
    model = AutoEncoder(way)
    train(model, lambda b, done: binary_cross_entropy_with_logits(model(b), b.is_edge.float()), batches, steps)
    return model


def trained_coloring(way: str, graphs: list[Data], steps: int) -> Coloring:
    """Trained without labels: on expected conflicts, less an entropy that is cooled away."""
    model = Coloring(way)

    def free_energy(batch: Batch, done: float) -> Tensor:
        p = model(batch)
        entropy = -(p * (p + 1e-9).log()).sum(1).mean()
        return conflicts(batch, p).mean() - 0.2 * max(0.0, 1 - done / 0.8) * entropy

    train(model, free_energy, draw(graphs, graph_way(way, dim=DIM), 20), steps)
    return model


@torch.no_grad()
def wrong_pairs(model: AutoEncoder, batches: Iterable[Batch]) -> float:
    """The share of pairs that are wrong, %."""
    wrong = [per_graph(b, b.pair_index, ((model(b) > 0) != b.is_edge).float()) for b in batches]
    return 100 * torch.cat(wrong).mean().item()


@torch.no_grad()
def assess_coloring(model: Coloring, batches: Iterable[Batch]) -> Metrics:
    """Conflicts to be expected, and how many graphs have none if each node gets its likeliest colour."""
    expected, proper = [], []
    for batch in batches:
        p = model(batch)
        expected.append(conflicts(batch, p))
        proper.append(conflicts(batch, one_hot(p.argmax(1), COLORS).float()) == 0)
    return {
        CONFLICTS: 100 * torch.cat(expected).mean().item(),
        PROPER: 100 * torch.cat(proper).float().mean().item(),
    }


# ------------------------------------------------------------------ output


def figure(results: dict[str, list[Metrics]], bound: dict[str, float], models: dict[str, nn.Module]) -> plt.Figure:
    """Figures of merit of all runs; below, one graph for each task with what the networks make of it."""
    fig = plt.figure(figsize=(15, 7), layout="constrained")
    top, below = fig.subfigures(2, 1, height_ratios=[1, 0.75])
    for axes, key in zip(top.subplots(1, 5), results["none"][0], strict=True):
        dots(axes, results, key)
        axes.tick_params(axis="x", labelrotation=60, labelsize=9)
        if key in bound:
            axes.axhline(bound[key], color="k", ls="--", lw=1, label="bound without breaking")
    top.axes[0].legend(frameon=False, loc="center right")
    shown = ("none", "noise", "SymPE")
    panels = below.subplots(1, 2 * len(shown))
    for i, way in enumerate(shown):
        draw_pairs(panels[i], nx.petersen_graph(), models[f"pairs {way}"], way)
        draw_colors(panels[len(shown) + i], nx.circular_ladder_graph(8), models[f"colors {way}"], way)
    return fig


def places(graph: nx.Graph, rings: list[range]) -> np.ndarray:
    """Nodes in the plane, [N, 2], in rings around each other."""
    at = nx.shell_layout(graph, rings, rotate=0)
    return np.array([at[node] for node in graph])


@torch.no_grad()
def draw_pairs(axes: plt.Axes, graph: nx.Graph, model: AutoEncoder, way: str) -> None:
    """Edges that the auto-encoder finds (grey), those that it misses (dashed) and those that it invents (red)."""
    batch = draw([from_graph(graph)], graph_way(way, dim=DIM), 1)[0]
    called = model(batch) > 0
    at = places(graph, [range(5, 10), range(5)])
    for (a, b), edge, yes in zip(batch.pair_index.T.tolist(), batch.is_edge, called, strict=True):
        if edge or yes:
            color, line = ("0.5" if edge else "#d1495b"), ("-" if yes else ":")
            axes.plot(*at[[a, b]].T, color=color, ls=line, lw=1.5, zorder=0)
    axes.scatter(*at.T, s=60, color="#30638e")
    wrong = int((called != batch.is_edge).sum())
    axes.set_title(f"{way}: {wrong} of {len(called)} pairs wrong", fontsize=10)
    axes.set(aspect="equal")
    axes.set_axis_off()


@torch.no_grad()
def draw_colors(axes: plt.Axes, graph: nx.Graph, model: Coloring, way: str) -> None:
    """The likeliest colours of the nodes."""
    batch = draw([from_graph(graph)], graph_way(way, dim=DIM), 1)[0]
    colors = model(batch).argmax(1)
    n = len(graph) // 2
    at = places(graph, [range(n), range(n, 2 * n)])
    for a, b in graph.edges:
        axes.plot(*at[[a, b]].T, color="0.5", lw=1.5, zorder=0)
    axes.scatter(*at.T, s=80, c=colors, cmap="Dark2", vmin=0, vmax=7)
    a, b = batch.near_index
    axes.set_title(f"{way}: {int((colors[a] == colors[b]).sum())} of {len(a)} in conflict", fontsize=10)
    axes.set(aspect="equal")
    axes.set_axis_off()


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure, table and figures of merit.")] = Path(
        "results/graph_autoencoder"
    ),
    seeds: Annotated[int, typer.Option(help="Runs of each way to break symmetry.")] = 5,
    steps: Annotated[
        int, typer.Option(help="Training steps of the auto-encoder; the colouring takes 2/3 of it.")
    ] = 600,
) -> None:
    """Encode graphs whose nodes are alike, and colour them, with each way to break symmetry."""
    torch.set_num_threads(1)  # the tensors are small
    files = Run(out)
    symmetric = list(distinct(vertex_transitive()).values())
    unseen = symmetric[::5]
    seen = [data for i, data in enumerate(symmetric) if i % 5]
    sets = {SEEN: seen, UNSEEN: unseen, RANDOM: erdos_renyi(100, torch.Generator().manual_seed(1000))}
    colored = [from_graph(graph) for graph in colorable().values()]
    bound = {key: 100 * sum(data.bound for data in graphs) / len(graphs) for key, graphs in sets.items()}
    bound[CONFLICTS] = 100 / COLORS
    models = {}

    def run(way: str, seed: int) -> Metrics:
        transform = graph_way(way, dim=DIM)
        coder = trained_autoencoder(way, seen, seed, steps)
        coloring = trained_coloring(way, colored, 2 * steps // 3)
        models.setdefault(f"pairs {way}", coder)
        models.setdefault(f"colors {way}", coloring)
        wrong = {key: wrong_pairs(coder, draw(graphs, transform, 4)) for key, graphs in sets.items()}
        return wrong | assess_coloring(coloring, draw(colored, transform, 4))

    results = compare(run, WAYS, seeds)
    rows = [bound_row("bound without breaking", results, bound), *mean_and_deviation(results)]
    console.print(table("Auto-encoding and colouring graphs of up to 16 nodes", rows))
    for key in (SEEN, UNSEEN, CONFLICTS):
        least, most = (f(r[key] for r in results["none"]) for f in (min, max))
        console.print(f"none, {key}: bound {bound[key]:.6f}, found {least:.6f} to {most:.6f}")
    figure(results, bound, models).savefig(out / "graph_autoencoder.png", dpi=90)
    (out / "table.md").write_text(markdown(rows))
    files.finish({"runs": results, "bounds": bound})


if __name__ == "__main__":
    typer.run(main)
