"""Shortest paths by a graph network, and which of several equally short ones.

An encode-process-decode network (Battaglia et al., arXiv 1806.01261) is given the ends of a path and the lengths of
edges, and marks the nodes and edges of the shortest path. It is trained on geographical threshold graphs of up to 16
nodes and asked about larger ones, up to 32. In a graph of m equal routes between two nodes there are m shortest paths.
An automorphism exchanges the routes, so an equivariant network marks them all alike, whatever its weights. With an
object, a mark at the first node of one route, it answers with that one: m objects, one for each path. It is trained
in single precision, and asked in double.

    python examples/shortest_path.py
"""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.data import Batch, Data

from pyg_symbreak.nn import EncodeProcessDecode

MESSAGES = 8  # steps of messages in training
console = Console(width=max(Console().width, 130))


def marked(graph: nx.Graph, path: list[int], breaking: int | None = None) -> Data:
    """A graph as input and target: ``x`` marks both ends of a path and the object, ``on_node`` and ``on_edge`` it."""
    edges = [(a, b) for u, v in graph.edges for a, b in ((u, v), (v, u))]
    x = torch.zeros(len(graph), 3)
    x[path[0], 0] = x[path[-1], 1] = 1
    if breaking is not None:
        x[breaking, 2] = 1
    on_node = torch.zeros(len(graph), 1)
    on_node[path] = 1
    steps = {frozenset(pair) for pair in pairwise(path)}
    return Data(
        x=x,
        edge_index=torch.tensor(edges).T,
        edge_attr=torch.tensor([[graph.edges[e]["length"]] for e in edges]),
        on_node=on_node,
        on_edge=torch.tensor([[float(frozenset(e) in steps)] for e in edges]),
    )


def geographical(rng: np.random.Generator, low: int, high: int) -> Data:
    """A connected geographical threshold graph of low to high nodes, and a path of two edges at least."""
    while True:
        n = int(rng.integers(low, high + 1))
        graph = nx.geographical_threshold_graph(n, 2.0 * n, seed=int(rng.integers(2**31)))
        if not nx.is_connected(graph):
            continue
        for u, v in graph.edges:
            graph.edges[u, v]["length"] = float(np.hypot(*np.subtract(graph.nodes[u]["pos"], graph.nodes[v]["pos"])))
        start, end = (int(i) for i in rng.choice(n, 2, replace=False))
        path = nx.shortest_path(graph, start, end, "length")
        if len(path) > 2:
            return marked(graph, path)


def routes(count: int, inner: int, length: float, chosen: int, with_object: bool) -> Data:
    """Equal routes from node 0 to node 1 through some inner nodes each; the target is the chosen one."""
    graph = nx.Graph()
    graph.add_nodes_from(range(2 + count * inner))
    paths = []
    for i in range(count):
        middle = range(2 + i * inner, 2 + (i + 1) * inner)
        paths.append([0, *middle, 1])
        nx.add_path(graph, paths[-1], length=length)
    return marked(graph, paths[chosen], paths[chosen][1] if with_object else None)


def some_routes(rng: np.random.Generator, inner: tuple[int, int], with_object: bool) -> Data:
    """Two to four routes of random length."""
    count = int(rng.integers(2, 5))
    number = int(rng.integers(inner[0], inner[1] + 1))
    return routes(count, number, float(rng.uniform(0.1, 0.4)), int(rng.integers(count)), with_object)


def answers(model: EncodeProcessDecode, batch: Batch, steps: int) -> list[tuple[Tensor, Tensor]]:
    """Logits of nodes and edges after each step."""
    dtype = next(model.parameters()).dtype
    return list(model(batch.x.to(dtype), batch.edge_index, batch.edge_attr.to(dtype), batch.batch, steps))


def train(steps: int, seed: int) -> EncodeProcessDecode:
    """Three geographical graphs in four, up to 16 nodes, and one of routes in four; a loss after each message step."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pool = [
        some_routes(rng, (1, 3), True) if i % 4 == 0 else geographical(rng, 8, 16) for i in range(max(32, 3 * steps))
    ]
    model = EncodeProcessDecode(node_in=3, edge_in=1, node_out=1, edge_out=1, hidden=32).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = Batch.from_data_list([pool[i] for i in rng.choice(len(pool), 24)])
        on_node, on_edge = batch.on_node.float(), batch.on_edge.float()
        optimizer.zero_grad()
        loss = sum(
            binary_cross_entropy_with_logits(node, on_node) + binary_cross_entropy_with_logits(edge, on_edge)
            for node, edge in answers(model, batch, MESSAGES)
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return model.double()


@torch.no_grad()
def solved(model: EncodeProcessDecode, graphs: list[Data], steps: int) -> tuple[float, float]:
    """Percentage of graphs with every node and edge right, and of nodes that are."""
    whole, nodes = [], []
    for data in graphs:
        batch = Batch.from_data_list([data])
        node, edge = answers(model, batch, steps)[-1]
        right = (node > 0) == (batch.on_node > 0)
        whole.append(bool(right.all() and ((edge > 0) == (batch.on_edge > 0)).all()))
        nodes.append(right.double().mean().item())
    return 100 * float(np.mean(whole)), 100 * float(np.mean(nodes))


@torch.no_grad()
def unlike(model: EncodeProcessDecode, count: int, inner: int, with_object: bool) -> float:
    """The largest difference between the marks of corresponding nodes of the routes."""
    batch = Batch.from_data_list([routes(count, inner, 0.2, 0, with_object)])
    marks = answers(model, batch, MESSAGES)[-1][0].sigmoid()[2:].view(count, inner)
    return (marks - marks[:1]).abs().max().item()


def figure(model: EncodeProcessDecode) -> plt.Figure:
    """Marks of the nodes and edges of four routes, without and with each of two objects."""
    fig, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    cases = [(0, "no object: all alike"), (0, "object at route 1"), (2, "object at route 3")]
    for number, (axes, (chosen, title)) in enumerate(zip(panels, cases, strict=True)):
        data = routes(4, 3, 0.2, chosen, number > 0)
        with torch.no_grad():
            node, edge = (a.sigmoid()[:, 0] for a in answers(model, Batch.from_data_list([data]), MESSAGES)[-1])
        place = {0: (-2, 0), 1: (2, 0)}
        place |= {2 + 3 * i + j: (j - 1, 1.5 - i) for i in range(4) for j in range(3)}
        pairs = data.edge_index.T.tolist()
        for (a, b), p in zip(pairs, edge.tolist(), strict=True):
            axes.plot(*zip(place[a], place[b], strict=True), color=plt.cm.coolwarm(p), lw=3, zorder=1)
        for i, p in enumerate(node.tolist()):
            rim = 3.0 if data.x[i, 2] > 0 else 0.8
            axes.scatter(*place[i], s=140, color=plt.cm.coolwarm(p), edgecolor="k", lw=rim, zorder=2)
        axes.set(title=title, xticks=[], yticks=[])
    fig.suptitle("Probability to be on the path (blue 0, red 1); the object has a thick rim", fontsize=10)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure, table and figures of merit.")] = Path(
        "results/shortest_path"
    ),
    seeds: Annotated[int, typer.Option(help="Runs of each network.")] = 1,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 1500,
    graphs: Annotated[int, typer.Option(help="Test graphs of each kind.")] = 200,
) -> None:
    """Find shortest paths, and choose among equal ones."""
    torch.set_num_threads(1)  # the tensors are small
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1000)
    small, large = ([geographical(rng, *sizes) for _ in range(graphs)] for sizes in ((8, 16), (17, 32)))
    rows = []
    for seed in range(seeds):
        model = train(steps, seed)
        row: dict[str, float | str] = {"seed": str(seed)}
        row["solved (%), n 8 to 16"], _ = solved(model, small, MESSAGES)
        row["solved (%), n 17 to 32"], row["right nodes (%)"] = solved(model, large, 2 * MESSAGES)
        for way, with_object in (("no object", False), ("object", True)):
            equal = [some_routes(rng, (1, 3), with_object) for _ in range(graphs)]
            row[f"equal routes (%), {way}"] = solved(model, equal, MESSAGES)[0]
            differ = [unlike(model, m, inner, with_object) for m in (2, 3, 4) for inner in (1, 3)]
            row[f"routes differ, {way}"] = max(differ)
        rows.append(row)
        console.print(f"{time.perf_counter() - start:.0f} s", row)
        (out / "metrics.json").write_text(json.dumps(rows, indent=2))
    table = Table(title="Shortest paths", title_justify="left")
    for key in rows[0]:
        table.add_column(key, justify="right")
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else v for v in row.values()))
    console.print(table)
    figure(model).savefig(out / "shortest_path.png", dpi=80)
    console.print(f"Figure and metrics are in {out} ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    typer.run(main)
