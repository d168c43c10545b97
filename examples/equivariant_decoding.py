"""Decoding an invariant code: point clouds up to rotation, graphs up to numbering.

An auto-encoder whose code is invariant keeps the shape and forgets the pose. Its decoder sees a code with the symmetry
of the whole group G, so that an equivariant one can only answer with what all of G leaves as it is, whatever its
weights:

    O(3)   the only invariant cloud has all points at the centre: the mean squared distance after alignment is that
           of the cloud from its centre;
    S_n    the only invariant adjacency matrices are constant: the mean squared error is at least ρ (1 - ρ) for a graph
           that has a fraction ρ of all pairs as edges.

With an object b that all of G moves freely, the decoder can tell poses apart, and answers in that of the object.

Clouds (Platonic solids and molecules, of any size between 0.8 and 1.2 times their own) are coded by their distances
and compared after the best rotation or reflection. Graphs are coded by the eigenvalues of their adjacency matrix and
compared with the copy whose nodes are numbered in the order of the object's first number, equal ones in random order;
a graph is recovered if the edges with more than 1/2 make a graph isomorphic to it.

    python examples/equivariant_decoding.py
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import ase.build
import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import torch
import typer
from _shared import (
    COLORS,
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
from ase import Atoms
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.data import Batch, Data
from torch_geometric.utils import from_networkx, to_dense_adj, to_dense_batch, to_networkx

from pyg_symbreak.breaking import breaking_set, canonicalize, input_breaking_set
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.nn import SymPE
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetry

CODE = 16
CLOUD_WAYS = ("none", "noise", "uniform frames", "group-indexed", "input-indexed", "SymPE")
POINTS, NODES = 20, 10  # of the largest cloud and graph
EVERYTHING = breaking_set(PointGroup("O3"))
DISTANCE, SQUARED = "r.m.s. distance (%)", "squared distance (%)"
PAIRS, RECOVERED = "squared error of pairs (%)", "graphs recovered (%)"


# ------------------------------------------------------------------ clouds and their objects


def images(x: float, y: float, z: float) -> np.ndarray:
    """A point with all its signs and cyclic orders."""
    signed = np.array([x, y, z]) * np.array(np.meshgrid([1, -1], [1, -1], [1, -1])).reshape(3, -1).T
    return np.unique(np.concatenate([np.roll(signed, k, axis=1) for k in range(3)]) + 0.0, axis=0)


def clouds() -> list[Data]:
    """Platonic solids and molecules, centred, with a mean squared distance of 1 from the centre, and their symmetry."""
    golden, cube = (1 + 5**0.5) / 2, images(1, 1, 1)
    solids = {
        "tetrahedron": cube[cube.prod(1) > 0],
        "octahedron": images(1, 0, 0),
        "cube": cube,
        "icosahedron": images(0, 1, golden),
        "dodecahedron": np.concatenate([cube, images(0, 1 / golden, golden)]),
    }
    structures = {name: Atoms(f"C{len(points)}", points) for name, points in solids.items()}
    structures |= {name: ase.build.molecule(name) for name in ("H2O", "NH3", "BF3", "CH4", "C2H6", "C3H4_D2d", "C6H6")}
    out = []
    for name, atoms in structures.items():
        atoms.positions -= atoms.positions.mean(0)
        atoms.positions /= np.sqrt((atoms.positions**2).sum(1).mean())
        data = from_ase(atoms, torch.get_default_dtype())
        data.name = name
        out.append(AddSymmetry()(data))
    return out


def rotations(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Proper and improper rotations, uniformly distributed: [count, 3, 3]."""
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))
    return q * r.diagonal(dim1=1, dim2=2).sign()[:, None]


def turned(data: Data, rotation: Tensor) -> Data:
    """A cloud in another orientation; its symmetry is not known any more."""
    return Data(pos=data.pos @ rotation.T, z=data.z, name=data.name)


def cloud_objects(way: str, data: Data, count: int) -> Tensor:
    """Objects for the decoder of a cloud, each as three polar vectors, its rows: [count, 3, 3].

    In the group-indexed set of O(3) they are an axial vector a and a polar one b: from these b, a × b and a × (a × b).
    """
    if way == "none":
        return torch.zeros(count, 3, 3)
    if way == "noise":
        return torch.randn(count, 3, 3)
    if way == "uniform frames":
        return rotations(count)
    if way == "group-indexed":
        a, b = EVERYTHING.sample(count).to(torch.get_default_dtype()).view(count, 2, 3).unbind(1)
        return torch.stack([b, a.cross(b, dim=1), a.cross(a.cross(b, dim=1), dim=1)], dim=1)
    if way == "input-indexed":
        return input_breaking_set(data, irreps="3x1o").sample(count).to(data.pos).view(count, 3, 3)
    return canonicalize(data).sample(count).rotations.mT.to(data.pos)  # a vector of SymPE is moved by each


def pad(points: Tensor) -> Tensor:
    """Points [n, 3] with zeros up to [POINTS, 3]."""
    return torch.nn.functional.pad(points, (0, 0, 0, POINTS - len(points)))


class CloudAutoEncoder(nn.Module):
    """Distances to a code, and code and three vectors to a cloud, equivariant under O(3).

    A point is a combination of the vectors, with coefficients from the code and the products of the vectors.
    """

    def __init__(self, way: str, width: int = 128) -> None:
        super().__init__()
        self.vectors = SymPE("3x1o") if way == "SymPE" else None
        self.encoder = nn.Sequential(nn.Linear(POINTS**2, width), nn.SiLU(), nn.Linear(width, CODE))
        self.decoder = nn.Sequential(
            nn.Linear(CODE + 9, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, POINTS * 3)
        )

    def forward(self, clouds: Tensor, mask: Tensor, objects: Tensor) -> Tensor:
        """Clouds [B, POINTS, 3], centred, from clouds, masks [B, POINTS, 1] and objects [B, 3, 3]."""
        distances = torch.cdist(clouds, clouds, compute_mode="donot_use_mm_for_euclid_dist") * mask * mask.mT
        vectors = objects if self.vectors is None else self.vectors(objects.flatten(1)).view(-1, 3, 3)
        products = vectors @ vectors.mT
        code = self.encoder(distances.flatten(1))
        points = self.decoder(torch.cat([code, products.flatten(1)], dim=1)).view(-1, POINTS, 3) @ vectors * mask
        return points - points.sum(1, keepdim=True) / mask.sum(1, keepdim=True) * mask


def misfit(answers: Tensor, clouds: Tensor) -> Tensor:
    """Squared distance after the best rotation or reflection (Kabsch), in units of that of the centre: [B]."""
    overlap = torch.linalg.svdvals(answers.mT @ clouds).sum(1)
    size = clouds.square().sum((1, 2))
    return (answers.square().sum((1, 2)) + size - 2 * overlap) / size


def stacked(cases: list[Data]) -> tuple[Tensor, Tensor]:
    """Clouds [B, POINTS, 3] and masks [B, POINTS, 1]."""
    mask = [pad(torch.ones_like(data.pos))[:, :1] for data in cases]
    return torch.stack([pad(data.pos) for data in cases]), torch.stack(mask)


def trained_on_clouds(way: str, cases: list[Data], steps: int) -> CloudAutoEncoder:
    """An auto-encoder trained with 200 draws of the object in turn, on clouds of new sizes in each step."""
    model = CloudAutoEncoder(way)
    points, mask = stacked(cases)

    def loss(objects: Tensor, _: float) -> Tensor:
        sized = points * (0.8 + 0.4 * torch.rand(len(points), 1, 1))
        return misfit(model(sized, mask, objects), sized).mean()

    objects = torch.stack([cloud_objects(way, data, 200) for data in cases], dim=1)
    train(model, loss, objects, steps, lr=5e-3)
    return model


@torch.no_grad()
def assess_clouds(model: CloudAutoEncoder, way: str, cases: list[Data]) -> Metrics:
    """Figures of merit on clouds of new sizes, in random orientations."""
    cases = [turned(data, rotation) for data in cases for rotation in rotations(4)]
    points, mask = stacked(cases)
    points = points * (0.8 + 0.4 * torch.rand(len(points), 1, 1))
    objects = torch.cat([cloud_objects(way, data, 1) for data in cases])
    found = misfit(model(points, mask, objects), points).clamp(min=0).mean().item()
    return {SQUARED: 100 * found, DISTANCE: 100 * found**0.5}


# ------------------------------------------------------------------ graphs


def graphs() -> list[Data]:
    """Symmetric graphs and four random ones on 8 to 10 nodes, no two with the same spectrum, and their symmetry."""
    named = {
        "cycle C8": nx.cycle_graph(8),
        "cycle C10": nx.cycle_graph(10),
        "cube Q3": nx.hypercube_graph(3),
        "Petersen": nx.petersen_graph(),
        "Möbius ladder": nx.circulant_graph(8, [1, 4]),
        "circulant C9(1, 2)": nx.circulant_graph(9, [1, 2]),
        "Paley 9": nx.line_graph(nx.complete_bipartite_graph(3, 3)),
        "K4,4": nx.complete_bipartite_graph(4, 4),
    }
    named |= {f"random {i}": nx.gnp_random_graph(10, 0.4, seed=i) for i in range(1, 5)}
    out = []
    for name, graph in named.items():
        data = from_networkx(nx.convert_node_labels_to_integers(graph))
        data = Data(edge_index=data.edge_index, num_nodes=data.num_nodes, name=name)
        adjacency = to_dense_adj(data.edge_index, max_num_nodes=data.num_nodes)[0]
        data.spectrum = torch.nn.functional.pad(torch.linalg.eigvalsh(adjacency), (0, NODES - data.num_nodes))[None]
        out.append(AddSymmetry()(data))
    return out


class GraphAutoEncoder(nn.Module):
    """Eigenvalues to a code, and code and object to logits of edges, equivariant under permutations of the nodes."""

    def __init__(self, way: str, width: int = 48, layers: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(NODES + 1, width), nn.SiLU(), nn.Linear(width, CODE))
        self.features = BreakingFeatures(way, NODES)
        self.first = nn.Linear(DIM + CODE, width)
        self.own, self.mean = (nn.ModuleList(nn.Linear(width, width) for _ in range(layers)) for _ in range(2))
        self.left, self.right = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [G, NODES, NODES], symmetric."""
        code = self.encoder(torch.cat([batch.spectrum, batch.ptr.diff()[:, None] / NODES], dim=1))
        x = torch.cat([self.features(batch.breaking), code[batch.batch]], dim=1)
        h, mask = to_dense_batch(self.first(x).tanh(), batch.batch, max_num_nodes=NODES)
        count = mask.sum(1)[:, None, None]
        for own, mean in zip(self.own, self.mean, strict=True):
            h = h + (own(h) + mean(h).sum(1, keepdim=True) / count).tanh() * mask[:, :, None]
        logits = self.left(h) @ self.right(h).mT
        return (logits + logits.mT) / 2


def copies(batch: Batch) -> tuple[Tensor, Tensor]:
    """Adjacency matrices [G, NODES, NODES] numbered as the objects say, and which entries are pairs of nodes."""
    key, mask = to_dense_batch(batch.breaking[:, 0].double(), batch.batch, float("inf"), NODES)
    order = torch.argsort(key + 1e-9 * torch.rand(key.shape, dtype=torch.float64), dim=1)
    place = order.argsort(dim=1)
    adjacency = to_dense_adj(batch.edge_index, batch.batch, max_num_nodes=NODES)
    adjacency = adjacency.gather(1, place[:, :, None].expand_as(adjacency))
    adjacency = adjacency.gather(2, place[:, None, :].expand_as(adjacency))
    return adjacency, mask[:, :, None] & mask[:, None, :] & ~torch.eye(NODES, dtype=torch.bool)


def over_pairs(logits: Tensor, batch: Batch, error: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Mean over all pairs of nodes of an error of logits, for each graph: [G]."""
    adjacency, pairs = copies(batch)
    return (error(logits, adjacency) * pairs).sum((1, 2)) / pairs.sum((1, 2))


def squared_error(logits: Tensor, adjacency: Tensor) -> Tensor:
    """Of the probabilities of edges."""
    return (logits.sigmoid() - adjacency).square()


def graph_bound(cases: list[Data]) -> float:
    """Mean over graphs of ρ (1 - ρ)."""
    density = torch.tensor([data.num_edges / (data.num_nodes * (data.num_nodes - 1)) for data in cases])
    return (density * (1 - density)).mean().item()


def trained_on_graphs(way: str, cases: list[Data], steps: int) -> GraphAutoEncoder:
    """An auto-encoder trained with 40 draws of the object in turn."""
    model = GraphAutoEncoder(way)
    entropy = partial(binary_cross_entropy_with_logits, reduction="none")
    batches = draw(cases, graph_way(way), 40)
    train(model, lambda batch, _: over_pairs(model(batch), batch, entropy).mean(), batches, steps)
    return model


@torch.no_grad()
def assess_graphs(model: GraphAutoEncoder, way: str, cases: list[Data]) -> Metrics:
    """Figures of merit with new objects."""
    errors, recovered = [], []
    for batch in draw(cases, graph_way(way), 4):
        logits = model(batch)
        errors.append(over_pairs(logits, batch, squared_error))
        for data, answer in zip(batch.to_data_list(), logits > 0, strict=True):
            n = data.num_nodes
            found = nx.from_numpy_array((answer[:n, :n] & ~torch.eye(n, dtype=torch.bool)).numpy())
            recovered.append(nx.is_isomorphic(found, to_networkx(data, to_undirected=True)))
    return {
        PAIRS: 100 * torch.cat(errors).mean().item() / graph_bound(cases),
        RECOVERED: 100 * float(np.mean(recovered)),
    }


# ------------------------------------------------------------------ output


@torch.no_grad()
def aligned_answer(model: CloudAutoEncoder, way: str, data: Data) -> np.ndarray:
    """What is decoded of a cloud, after the best rotation or reflection."""
    answer = model(*stacked([data]), cloud_objects(way, data, 1))[0, : len(data.pos)]
    left, _, right = torch.linalg.svd(answer.T @ data.pos)
    return (answer @ left @ right).numpy()


def figure(results: dict[str, dict[str, list[Metrics]]], models: dict[tuple[str, str], nn.Module]) -> plt.Figure:
    """Figures of merit of all runs, and some of what is decoded."""
    fig = plt.figure(figsize=(14, 7), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=[1, 1.2])
    for axes, (kind, key) in zip(left.subplots(2, 1), (("clouds", DISTANCE), ("graphs", PAIRS)), strict=True):
        dots(axes, results[kind], key)
        axes.set_yscale("symlog", linthresh=0.1)
        axes.set_ylim(-0.02, 300)
        axes.axhline(100, color="k", ls="--", lw=1, label="bound of an invariant answer")
        axes.set_title(f"{kind}: {key}", fontsize=11)
    axes.legend(frameon=False)

    shown, ways = ("cube", "dodecahedron", "C6H6"), ("none", "noise", "SymPE")
    cases = {data.name: data for data in clouds()}
    petersen = [data for data in graphs() if data.name == "Petersen"]
    for row, way in enumerate(ways):
        for column, name in enumerate(shown):
            axes = right.add_subplot(len(ways), 4, 4 * row + column + 1, projection="3d")
            axes.scatter(*cases[name].pos.T.numpy(), s=70, facecolors="none", edgecolors="0.4")
            axes.scatter(*aligned_answer(models["clouds", way], way, cases[name]).T, s=25, color=COLORS[way])
            axes.set_axis_off()
            axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), zlim=(-1.2, 1.2), box_aspect=(1, 1, 1))
            axes.set_title(f"{way}: {name}", fontsize=10)
        axes = right.add_subplot(len(ways), 4, 4 * row + 4)
        with torch.no_grad():
            axes.imshow(models["graphs", way](draw(petersen, graph_way(way), 1)[0])[0].sigmoid(), vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{way}: Petersen", fontsize=10)
    right.suptitle("Decoded clouds on the true ones (circles), decoded adjacency matrices", fontsize=11)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for figure, tables and figures of merit.")] = Path(
        "results/equivariant_decoding"
    ),
    seeds: Annotated[int, typer.Option(help="Runs of each way to break symmetry.")] = 5,
    steps: Annotated[int, typer.Option(help="Training steps on clouds; on graphs a third of them.")] = 1500,
) -> None:
    """Decode clouds and graphs from invariant codes, with each way to break symmetry."""
    torch.set_num_threads(1)  # the tensors are small
    files = Run(out)
    all_clouds, all_graphs = clouds(), graphs()
    models: dict[tuple[str, str], nn.Module] = {}

    def run_clouds(way: str, seed: int) -> Metrics:
        model = trained_on_clouds(way, all_clouds, steps)
        models.setdefault(("clouds", way), model)
        return assess_clouds(model, way, all_clouds)

    def run_graphs(way: str, seed: int) -> Metrics:
        model = trained_on_graphs(way, all_graphs, steps // 3)
        models.setdefault(("graphs", way), model)
        return assess_graphs(model, way, all_graphs)

    results = {"clouds": compare(run_clouds, CLOUD_WAYS, seeds), "graphs": compare(run_graphs, GRAPH_WAYS, seeds)}
    rows = {kind: mean_and_deviation(result) for kind, result in results.items()}
    console.print(table("Clouds, in % of the distance from the centre", rows["clouds"]))
    console.print(table("Graphs, squared error in % of that of the best constant", rows["graphs"]))
    figure(results, models).savefig(out / "equivariant_decoding.png", dpi=90)
    for kind in results:
        (out / f"{kind}.md").write_text(markdown(rows[kind]))
    files.finish({"runs": results}, "Figure, tables and metrics")


if __name__ == "__main__":
    typer.run(main)
