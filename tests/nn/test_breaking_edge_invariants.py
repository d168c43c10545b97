"""Invariant scalars of a structure and an object: invariance, formulas, what they tell apart, use in PyG's layers."""

import math

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from e3nn import o3
from nn_graphs import random_graph, random_orthogonal, representation
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GATv2Conv, GINEConv, TransformerConv

from pyg_symbreak.breaking import BreakingSet, breaking_sets, input_breaking_set
from pyg_symbreak.datasets import TriangularPrism
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.nn import BreakingEdgeInvariants
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

ALL = "0e+0o+2x1e+1o+2e+2o+3e+3o+4e+4o"


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def graph(periodic: bool = False, irreps: str = ALL, rows: int = 1, seed: int = 0) -> Data:
    data = random_graph(7, 1, seed, periodic)
    data.breaking = random(rows, o3.Irreps(irreps).dim, seed=seed + 1)
    return data


def complete(pos: torch.Tensor, **more) -> Data:
    edge_index = (~torch.eye(len(pos), dtype=torch.bool)).nonzero().T.contiguous()
    return Data(pos=pos, edge_index=edge_index, **more)


# ---------------------------------------------------------------------- invariance


@pytest.mark.parametrize("periodic", [False, True], ids=["molecule", "crystal"])
@pytest.mark.parametrize("rows", [1, 7], ids=["graph object", "node objects"])
@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "improper"])
def test_invariant_jointly_and_not_alone(periodic, rows, improper):
    layer = BreakingEdgeInvariants(ALL).double()
    data = graph(periodic, rows=rows)
    edge, node = layer(data)
    assert edge.shape == (data.num_edges, layer.dim_edge)
    assert node.shape == (7, layer.dim_node)
    for seed in range(3):
        r = random_orthogonal(improper, torch.Generator().manual_seed(seed))
        order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
        shuffle = torch.randperm(data.num_edges, generator=torch.Generator().manual_seed(seed))
        moved = data.clone()
        moved.pos = (data.pos @ r.T + random(3, seed=seed))[order]
        moved.edge_index = torch.argsort(order)[data.edge_index][:, shuffle]
        moved.breaking = data.breaking @ representation(ALL, r).T
        if rows == 7:
            moved.breaking = moved.breaking[order]
        if periodic:
            moved.cell, moved.edge_shift = data.cell @ r.T, data.edge_shift[shuffle]
        edge_moved, node_moved = layer(moved)
        assert (edge_moved - edge[shuffle]).abs().max() < 1e-11
        assert (node_moved - node[order]).abs().max() < 1e-11
        # each scalar but those of the lengths and of 0e sees the object stay behind
        moved.breaking = data.breaking if rows == 1 else data.breaking[order]
        edge_stays, node_stays = layer(moved)
        seen = (edge_stays - edge[shuffle]).abs().amax(0) > 1e-3
        assert seen.tolist() == [False, False, improper, *[True] * (layer.dim_edge - 3)]
        seen = (node_stays - node[order]).abs().amax(0) > 1e-4
        assert seen.tolist() == [False, False, improper, *[True] * (layer.dim_node - 3)]


@pytest.mark.parametrize("degree", [2, 3])
def test_powers_of_the_object(degree):
    irreps = "0o+1o+1e"
    layer = BreakingEdgeInvariants(irreps, object_degree=degree, lmax=3).double()
    assert layer.dim_edge > BreakingEdgeInvariants(irreps).dim_edge
    data = graph(irreps=irreps)
    r = random_orthogonal(True, torch.Generator().manual_seed(1))
    moved = data.clone()
    moved.pos, moved.breaking = data.pos @ r.T, data.breaking @ representation(irreps, r).T
    for a, b in zip(layer(data), layer(moved), strict=True):
        assert (a - b).abs().max() < 1e-11


def test_another_choice_of_cell_and_of_atoms_in_it():
    layer = BreakingEdgeInvariants("1o+1e+0o").double()
    data = NeighborList(3.0)(from_ase(bulk("Si", cubic=True)))
    data.pos = data.pos.double() + 0.1 * random(8, 3)
    data.cell, data.edge_shift, data.breaking = data.cell.double(), data.edge_shift.double(), random(1, 7)
    moved = data.clone()
    jump = torch.randint(-2, 3, (8, 3), generator=torch.Generator().manual_seed(0)).double()
    moved.pos = data.pos + jump @ data.cell[0]
    source, target = data.edge_index
    moved.edge_shift = data.edge_shift + jump[source] - jump[target]
    for a, b in zip(layer(data), layer(moved), strict=True):
        assert (a - b).abs().max() < 1e-11


def test_batches():
    layer = BreakingEdgeInvariants(ALL).double()
    for periodic in (False, True):
        graphs = [graph(periodic, seed=s) for s in range(3)]
        single = [layer(g) for g in graphs]
        edge, node = layer(Batch.from_data_list(graphs))
        assert (edge - torch.cat([e for e, _ in single])).abs().max() < 1e-13
        assert (node - torch.cat([n for _, n in single])).abs().max() < 1e-13


# ---------------------------------------------------------------------- formulas


def _ends(data):
    source, target = data.edge_index
    unit = nn.functional.normalize(data.pos[target] - data.pos[source], dim=1)
    mean = torch.stack(
        [unit[source == i].mean(0) if (source == i).any() else torch.zeros(3).double() for i in range(7)]
    )
    place = data.pos - data.pos.mean(0)
    return unit, mean, place / (1 + place.square().sum(1, keepdim=True)).sqrt()


def test_vectors_and_pseudoscalars_by_hand():
    data = graph(irreps="1o+1e+0o")
    polar, axial, pseudo = data.breaking[0].split([3, 3, 1])
    unit, mean, place = _ends(data)
    source, target = data.edge_index
    edge, node = BreakingEdgeInvariants("1o+1e+0o").double()(data)
    columns = [
        (data.pos[target] - data.pos[source]).norm(dim=1),
        unit @ polar,
        torch.linalg.cross(mean[source], unit) @ axial,
        torch.linalg.cross(mean[target], unit) @ axial,
        torch.stack([unit, mean[source], mean[target]], dim=2).det() * pseudo,
    ]
    assert (edge - torch.stack(columns, dim=1)).abs().max() < 1e-13
    lengths = (data.pos[target] - data.pos[source]).norm(dim=1, keepdim=True)
    waves = [
        torch.stack([(unit * (k * lengths).cos())[source == i].sum(0) / max(1, (source == i).sum()) for i in range(7)])
        for k in (1, 2, 3)
    ]
    columns = [
        place.square().sum(1),
        place @ polar,
        torch.linalg.cross(mean, place) @ axial,
        torch.stack(waves, dim=2).det() * pseudo,
    ]
    assert (node - torch.stack(columns, dim=1)).abs().max() < 1e-13


def test_tensors_by_hand():
    # 2e is a symmetric traceless matrix Q: Y²(r)·b is a multiple of rᵀQr, and 2o turns about w at the rate 2 rᵀQ(w×r)
    data = graph(irreps="2e+2o")
    unit, mean, _ = _ends(data)
    edge, _ = BreakingEdgeInvariants("2e+2o").double()(data)
    matrices = []
    for b in data.breaking[0].split(5):
        points = random(40, 3, seed=5)
        products = torch.stack([points[:, i] * points[:, j] for i in range(3) for j in range(3)], dim=1)
        harmonics = o3.spherical_harmonics(2, points, normalize=False, normalization="norm") @ b
        q = torch.linalg.lstsq(products, harmonics, driver="gelsd").solution.view(3, 3)
        assert (q - q.T).abs().max() < 1e-12
        assert abs(q.trace()) < 1e-12
        matrices.append(q)
    polar, axial = matrices
    assert (edge[:, 1] - torch.einsum("ei,ij,ej->e", unit, polar, unit)).abs().max() < 1e-12
    for column, end in zip((2, 3), data.edge_index, strict=True):
        rate = 2 * torch.einsum("ei,ij,ej->e", unit, axial, torch.linalg.cross(mean[end], unit))
        assert (edge[:, column] - rate).abs().max() < 1e-12


def test_turns_are_rates_of_the_harmonics():
    layer = BreakingEdgeInvariants("1e+2o+3e+4o+5e").double()
    w, r, step = random(3), random(3, seed=1), 1e-5
    for ell in range(1, 6):
        turned = [
            o3.spherical_harmonics(
                ell, torch.linalg.matrix_exp(t * _cross(w)) @ r, normalize=False, normalization="norm"
            )
            for t in (step, -step)
        ]
        rate = (turned[0] - turned[1]) / (2 * step)
        here = o3.spherical_harmonics(ell, r, normalize=False, normalization="norm")
        exact = torch.einsum("kij,k,j->i", getattr(layer, f"turn_{ell}"), w, here)
        assert (rate - exact).abs().max() < 1e-7 * max(1, exact.abs().max())


def _cross(w: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.linalg.cross(w, e) for e in torch.eye(3, dtype=torch.float64)], dim=1)


# ---------------------------------------------------------------------- what is told apart


def _names() -> list[str]:
    """Point groups of at most 48 elements with a finite full set: small axial ones, the largest, and the cubic ones."""
    small = [f for n in range(2, 7) for f in (f"C{n}v", f"D{n}", f"D{n}h", f"D{n}d")]
    return ["Cs", "Ci", *small, "C24v", "D24", "D12h", "D12d", "T", "Td", "Th", "O", "Oh"]


def _molecule(group: PointGroup, generator: np.random.Generator) -> tuple[Data, np.ndarray]:
    """Atoms on orbits of points in general position, all of them connected, and the images [order, N] of the nodes."""
    orbits = 2 if group.order > 6 else 5
    points = generator.standard_normal((orbits, 3)) * 2
    pos = np.einsum("gij,oj->ogi", group.matrices, points).reshape(-1, 3)
    moved = np.einsum("gij,nj->gni", group.matrices, pos)
    images = np.linalg.norm(moved[:, :, None] - pos, axis=3).argmin(2)
    return complete(torch.from_numpy(pos + generator.standard_normal(3))), images


def _signature(data: Data, edge: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
    """What one step of message passing with random weights makes of the scalars, [N, 16]."""
    weights = [random(edge.size(1), 16, seed=7), random(node.size(1), 16, seed=8)]
    messages = (edge @ weights[0]).tanh()
    total = torch.zeros(len(data.pos), 16, dtype=torch.float64).index_add(0, data.edge_index[1], messages)
    return total / len(data.pos) + (node @ weights[1]).tanh()


def _nearest(rows: torch.Tensor) -> float:
    distance = torch.cdist(rows, rows)
    return distance.fill_diagonal_(math.inf).min().item()


def _require_told_apart(data: Data, images: np.ndarray, found: BreakingSet) -> None:
    layer = BreakingEdgeInvariants(found.irreps).double()
    plain = _signature(
        data, *layer(data.clone().update({"breaking": torch.zeros(1, o3.Irreps(layer.irreps_breaking).dim)}))
    )
    signatures = [_signature(data, *layer(data.clone().update({"breaking": b[None]}))) for b in found.objects.double()]
    # equivalent nodes: equal without an object, all different with one
    for orbit in {tuple(sorted(o)) for o in images.T.tolist()}:
        assert (plain[list(orbit)] - plain[orbit[0]]).abs().max() < 1e-9
        assert all(_nearest(s[list(orbit)]) > 1e-6 for s in signatures)
    # and no two objects alike
    assert _nearest(torch.stack(signatures).flatten(1)) > 1e-6


@pytest.mark.parametrize("name", _names())
def test_full_sets_tell_all_equivalent_nodes_apart(name):
    generator = np.random.default_rng(sum(map(ord, name)))
    group = PointGroup(name).rotated(np.linalg.qr(generator.standard_normal((3, 3)))[0])
    data, images = _molecule(group, generator)
    for found in breaking_sets(group):
        _require_told_apart(data, images, found)


@pytest.mark.parametrize("name", ["C2", "C5", "C3h", "C4h", "S4", "S6", "D3h"])
def test_input_indexed_sets_tell_all_equivalent_nodes_apart(name):
    generator = np.random.default_rng(sum(map(ord, name)))
    group = PointGroup(name).rotated(np.linalg.qr(generator.standard_normal((3, 3)))[0])
    data, images = _molecule(group, generator)
    found = input_breaking_set(Data(pos=data.pos, z=torch.ones(len(data.pos), dtype=torch.long)))
    assert found.size == group.order
    _require_told_apart(data, images, found)


@pytest.mark.parametrize("periodic", [False, True], ids=["molecule", "crystal"])
def test_no_two_objects_are_alike_in_general_position(periodic):
    irreps = o3.Irreps(ALL)
    layer = BreakingEdgeInvariants(irreps).double()
    data = graph(periodic)
    columns = []
    for b in torch.eye(irreps.dim, dtype=torch.float64):
        data.breaking = b[None]
        columns.append(torch.cat([x[:, 1:].flatten() for x in layer(data)]))
    singular = torch.linalg.svdvals(torch.stack(columns, dim=1))
    assert singular.min() > 1e-2


def rank(irreps: str, data: Data) -> int:
    """Dimension of the space of objects in which no two are alike."""
    layer = BreakingEdgeInvariants(irreps).double()
    columns = []
    for b in torch.eye(o3.Irreps(irreps).dim, dtype=torch.float64):
        data.breaking = b[None]
        columns.append(torch.cat([x[:, 1:].flatten() for x in layer(data)]))
    return int(torch.linalg.matrix_rank(torch.stack(columns), atol=1e-6))


@pytest.mark.parametrize("nodes", [4, 5, 8])
@pytest.mark.parametrize("irreps", ["0o", "1o", "1e", "2e", "2o", "3o", "3e", "4e", "4o", "2x1e+1o+0o"])
def test_no_two_objects_are_alike_on_few_nodes(irreps, nodes):
    for seed in range(3):
        dim = o3.Irreps(irreps).dim
        assert rank(irreps, complete(random(nodes, 3, seed=seed))) == dim
        arms = torch.stack([torch.zeros(nodes, dtype=torch.long), torch.arange(1, nodes + 1)])
        star = Data(pos=random(nodes + 1, 3, seed=seed), edge_index=torch.cat([arms, arms.flip(0)], 1))
        assert rank(irreps, star) == dim
        # three nodes lie in a plane: what is odd under its mirror is not seen
        assert rank("1o", complete(random(3, 3, seed=seed))) == 2
        assert rank("1e", complete(random(3, 3, seed=seed))) == 1


def test_what_few_nodes_of_crystals_and_edges_of_one_way_leave_alike():
    """Triclinic diamond, two atoms with four bonds each, and stars whose edges only go in, or out."""
    silicon = bulk("Si")
    silicon.set_cell(silicon.cell.array + 0.3 * random(3, 3, seed=1).numpy(), scale_atoms=True)
    silicon.positions[1] += [0.1, -0.15, 0.2]
    diamond = NeighborList(2.95)(from_ase(silicon, torch.float64))
    assert torch.bincount(diamond.edge_index[1]).tolist() == [4, 4]
    assert [rank(irreps, diamond) for irreps in ("1o", "1e")] == [3, 2]
    inward = torch.stack([torch.arange(1, 6), torch.zeros(5, dtype=torch.long)])
    for seed in range(3):
        pos = random(6, 3, seed=seed)
        assert [rank(irreps, Data(pos=pos, edge_index=inward)) for irreps in ("0o", "1o", "1e")] == [0, 3, 2]
        outward = Data(pos=pos, edge_index=inward.flip(0))
        assert [rank(irreps, outward) for irreps in ("0o", "1o", "1e")] == [1, 3, 2]


def test_objects_are_alike_if_their_difference_is_not_seen():
    """Linear scalars: an object plus one of those that a star of edges that go in does not see."""
    inward = torch.stack([torch.arange(1, 6), torch.zeros(5, dtype=torch.long)])
    data = Data(pos=random(6, 3), edge_index=inward)
    layer = BreakingEdgeInvariants("1e").double()
    columns = []
    for b in torch.eye(3, dtype=torch.float64):
        data.breaking = b[None]
        columns.append(torch.cat([x[:, 1:].flatten() for x in layer(data)]))
    unseen = torch.linalg.svd(torch.stack(columns, dim=1))[2][-1:]
    b = random(1, 3, seed=4)
    data.breaking = b
    first = layer(data)
    for step, alike in ((unseen, True), (random(1, 3, seed=5), False)):
        data.breaking = b + step
        off = max((x - y).abs().max() for x, y in zip(first, layer(data), strict=True))
        assert (off < 1e-12) == alike


def test_the_handedness_of_a_star():
    """CHFClBr with its bonds only: a pseudoscalar is seen at the carbon atom, with the sign of the hand."""
    corners = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double() / math.sqrt(3)
    lengths = torch.tensor([[0.0], [1.09], [1.36], [1.76], [1.94]]).double()
    bonds = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4], [1, 2, 3, 4, 0, 0, 0, 0]])
    layer = BreakingEdgeInvariants("0o").double()
    found = []
    for pos in (corners * lengths, -corners * lengths, corners):
        edge, node = layer(Data(pos=pos, edge_index=bonds, breaking=torch.ones(1, 1)))
        assert edge[:, 1].abs().max() < 1e-12
        assert node[1:, 1].abs().max() < 1e-12
        found.append(node[0, 1])
    assert found[0].abs() > 1e-4
    assert (found[0] + found[1]).abs() < 1e-12
    assert found[2].abs() < 1e-12  # all bonds alike: the graph has no hand


def test_a_molecule_with_shifts_is_a_molecule():
    """NeighborList gives shifts to all structures; pbc says which are periodic, also within a batch."""
    layer = BreakingEdgeInvariants("0o+1o+1e")
    water, copper = from_ase(molecule("H2O")), from_ase(bulk("Cu", cubic=True))
    graphs = [NeighborList(3.0)(data) for data in (water, copper, Data(pos=water.pos, z=water.z))]
    for data in graphs:
        data.breaking = torch.arange(7.0)[None]
    plain = Data(pos=water.pos, edge_index=graphs[0].edge_index, breaking=graphs[0].breaking)
    for data in (graphs[0], graphs[2]):
        for a, b in zip(layer(data), layer(plain), strict=True):
            assert (a - b).abs().max() < 1e-6
    squares = (water.pos - water.pos.mean(0)).square().sum(1)
    assert (layer(graphs[0])[1][:, 0] - squares / (1 + squares)).abs().max() < 1e-6
    assert layer(graphs[1])[1][:, 0].abs().max() < 1e-6  # an atom of copper is the centroid of its neighbours
    _, both = layer(Batch.from_data_list(graphs[:2]))
    assert (both - torch.cat([layer(data)[1] for data in graphs[:2]])).abs().max() < 1e-6


def test_a_symmetry_that_leaves_every_node_in_place_cannot_be_seen():
    pos = random(6, 3)
    pos[:, 2] = 0.5  # a planar molecule
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    for irreps, degree in ((ALL, 1), ("0o+1o+1e", 2)):
        layer = BreakingEdgeInvariants(irreps, object_degree=degree).double()
        b = random(1, o3.Irreps(irreps).dim, seed=3)
        other = b @ representation(irreps, mirror).T
        assert (b - other).abs().max() > 0.1
        for x, y in zip(layer(complete(pos, breaking=b)), layer(complete(pos, breaking=other)), strict=True):
            assert (x - y).abs().max() < 1e-12


def test_handedness_needs_a_handed_molecule():
    layer = BreakingEdgeInvariants("0o").double()
    flat = random(6, 3) * torch.tensor([1.0, 1.0, 0.0])
    for pos, handed in ((flat, False), (random(6, 3), True)):
        edge, _ = layer(complete(pos, breaking=torch.ones(1, 1, dtype=torch.float64)))
        assert (edge[:, 1].abs().max() > 1e-3) == handed
    # at the middle bond of H-O-O-H it has the sign of the dihedral angle
    for angle in (1.0, -1.0):
        end = torch.tensor([[math.cos(angle), math.sin(angle), 1.5]])
        pos = torch.cat([torch.tensor([[1.0, 0, 0], [0, 0, 0.5], [0, 0, 1.0]]), end]).double()
        bonds = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
        edge, _ = layer(Data(pos=pos, edge_index=bonds, breaking=torch.ones(1, 1)))
        assert torch.sign(edge[2, 1]) == torch.sign(edge[3, 1]) == math.copysign(1, angle)


def test_degree_two_sees_what_vanishes_at_centres_of_inversion():
    # rock salt: every site is a centre of inversion, the mean directions vanish, and an axial object with them
    data = NeighborList(3.0)(from_ase(bulk("NaCl", "rocksalt", a=5.64)))
    data.breaking = torch.tensor([[0.3, 0.5, 0.8]])
    first = BreakingEdgeInvariants("1e")
    assert first(data)[0][:, 1:].abs().max() < 1e-6
    second = BreakingEdgeInvariants("1e", object_degree=2)
    values = second(data)[0][:, 4]  # of the 2e in the product of the axial vector with itself
    assert values.std() > 0.05


# ---------------------------------------------------------------------- use


class Model(nn.Module):
    """Two layers of PyG's convolutions on the scalars."""

    def __init__(self, kind: str, irreps: str) -> None:
        super().__init__()
        self.invariants = BreakingEdgeInvariants(irreps)
        edge, node = self.invariants.dim_edge, self.invariants.dim_node
        if kind == "GINE":
            convs = [
                GINEConv(nn.Sequential(nn.Linear(n, 16), nn.SiLU(), nn.Linear(16, 16)), edge_dim=edge)
                for n in (node, 16)
            ]
        else:
            conv = {"GATv2": GATv2Conv, "Transformer": TransformerConv}[kind]
            convs = [conv(n, 16, edge_dim=edge) for n in (node, 16)]
        self.convs = nn.ModuleList(convs)
        self.out = nn.Linear(16, 1)

    def forward(self, data: Data) -> torch.Tensor:
        edge, x = self.invariants(data)
        for conv in self.convs:
            x = nn.functional.silu(conv(x, data.edge_index, edge))
        return self.out(x).squeeze(1)


@pytest.mark.parametrize("kind", ["GATv2", "GINE", "Transformer"])
def test_a_model_of_pyg_picks_one_vertex_of_a_prism(kind):
    prism = TriangularPrism()[0]
    prism.pos = prism.pos.double()
    target = torch.eye(6, dtype=torch.float64)[2]
    torch.manual_seed(0)
    losses = {}
    for name in ("with", "without"):
        data = AddSymmetryBreaking(choose=0)(prism.clone())
        if name == "without":
            data.breaking = torch.zeros(1, 3)
        irreps = "1o" if name == "without" else data.breaking_irreps
        model = Model(kind, irreps).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(150):
            optimizer.zero_grad()
            loss = (model(data) - target).square().mean()
            loss.backward()
            optimizer.step()
        losses[name] = loss.item()
        if name == "with":
            broken, network = data, model
    assert losses["without"] > 5 / 36 - 1e-9  # equal outputs on equivalent nodes: the variance of the target
    assert losses["with"] < 1e-3
    # a moved prism with the moved object gives the same, another object another vertex
    r = random_orthogonal(True, torch.Generator().manual_seed(0))
    moved = broken.clone()
    moved.pos = broken.pos @ r.T + 1.0
    moved.breaking = broken.breaking.double() @ representation(str(broken.breaking_irreps), r).T
    broken.breaking = broken.breaking.double()
    assert (network(moved) - network(broken)).abs().max() < 1e-10
    others = AddSymmetryBreaking(choose="all")(prism.clone())
    picked = network(others).view(-1, 6)
    assert sorted(picked.argmax(1).tolist()) == sorted(list(range(6)) * (len(picked) // 6))
    assert (picked.sort(1).values - picked[0].sort().values).abs().max() < 1e-6


def test_gradients_and_dtypes():
    layer = BreakingEdgeInvariants("0o+1e+1o+2e")
    data = graph(irreps="0o+1e+1o+2e")

    def scalars(pos, breaking):
        return layer(Data(pos=pos, edge_index=data.edge_index, breaking=breaking))

    layer = layer.double()
    assert torch.autograd.gradcheck(scalars, (data.pos.requires_grad_(), data.breaking.requires_grad_()))
    single = Data(pos=data.pos.float(), edge_index=data.edge_index, breaking=data.breaking)
    edge, node = layer.float()(single)
    assert edge.dtype == node.dtype == torch.float32
    for a, b in zip((edge, node), layer.double()(data), strict=True):
        assert (a - b).abs().max() < 1e-5


def test_an_atom_at_the_centroid_and_one_without_edges():
    pos = torch.tensor([[0.0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 2, 0], [0, -2, 0]]).double().requires_grad_()
    data = Data(pos=pos, edge_index=torch.tensor([[0, 1], [1, 0]]), breaking=random(1, 8))
    edge, node = BreakingEdgeInvariants("1e+2e").double()(data)
    (edge.sum() + node.sum()).backward()
    assert torch.isfinite(pos.grad).all()
    assert torch.equal(node[0], torch.zeros(3).double())
    lone = Data(pos=torch.zeros(1, 3), edge_index=torch.zeros(2, 0, dtype=torch.long), breaking=torch.ones(1, 8))
    edge, node = BreakingEdgeInvariants("1e+2e")(lone)
    assert edge.shape == (0, 4)
    assert node.shape == (1, 3)


def test_errors_and_repr():
    layer = BreakingEdgeInvariants("1o+1e+0o")
    assert repr(layer) == "BreakingEdgeInvariants(1x1o+1x1e+1x0o, dim_edge=5, dim_node=4)"
    data = graph(irreps="1o+1e+0o")
    layer = layer.double()
    data.breaking_irreps = "1x1o"
    with pytest.raises(ValueError, match=r"irreps 1x1o, the layer irreps_breaking 1x1o\+1x1e\+1x0o"):
        layer(data)
    del data.breaking_irreps
    data.breaking = data.breaking[:, :3]
    with pytest.raises(ValueError, match=r"shape \[1, 3\], expected \[1, 7\] or \[7, 7\]"):
        layer(data)
    with pytest.raises(ValueError, match="data lacks edge_index"):
        layer(Data(pos=data.pos))


# ---------------------------------------------------------------------- how many objects are told apart


def _rank(data: Data, irreps: str) -> int:
    """Dimension of what the scalars see of an object."""
    layer, rows = BreakingEdgeInvariants(irreps).double(), []
    for b in torch.eye(o3.Irreps(irreps).dim, dtype=torch.float64):
        data.breaking = b[None]
        rows.append(torch.cat([scalars[:, 1:].flatten() for scalars in layer(data)]))
    return int(torch.linalg.matrix_rank(torch.stack(rows), tol=1e-9))


def test_a_star_with_edges_both_ways_tells_all_objects_apart():
    pos = random(5, 3, seed=0)
    outward = [[0, i] for i in range(1, 5)]
    inward = [[i, 0] for i in range(1, 5)]
    both, out, into = (Data(pos=pos, edge_index=torch.tensor(e).T) for e in (outward + inward, outward, inward))
    for l in range(5):
        for p in "eo":
            assert _rank(both, f"{l}{p}") == 2 * l + 1
    assert (_rank(out, "1e"), _rank(into, "1e"), _rank(into, "0o")) == (2, 2, 0)


def test_triclinic_diamond_tells_two_directions_of_an_axial_vector():
    cell = torch.tensor([[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]]).double() + 0.3 * random(3, 3, seed=0)
    pos = torch.stack([torch.zeros(3).double(), cell.sum(0) / 4 + 0.1 * random(3, seed=1)])
    shift = torch.tensor([[0, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 0, -1]]).double()
    data = Data(
        pos=pos,
        cell=cell[None],
        pbc=torch.ones(1, 3, dtype=torch.bool),
        edge_index=torch.tensor([[0] * 4 + [1] * 4, [1] * 4 + [0] * 4]),
        edge_shift=torch.cat([shift, -shift]),
    )
    assert [_rank(data, irreps) for irreps in ("0o", "1o", "1e", "2e", "2o")] == [1, 3, 2, 5, 4]


def test_another_dtype_is_refused():
    data = graph()
    with pytest.raises(ValueError, match=r"data.pos is torch.float64, the layer torch.float32: convert the data, or"):
        BreakingEdgeInvariants(ALL)(data)
    assert BreakingEdgeInvariants(ALL).double()(data)[0].dtype == torch.float64
