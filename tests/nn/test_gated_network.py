import copy
import io
import itertools

import pytest
import torch
from nn_graphs import prism, prism_group, random_graph, random_orthogonal, representation
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.transforms import NeighborList

IN, OBJECT, OUT, GRAPH = "2x0e+1x0o+1x1o+1x1e+1x2e", "1x1o+1x0o+1x3e", "1x0e+1x1o+1x0o+1x1e+1x2o+1x3o", "1x0e+1x2e"
DIM_IN, DIM_OBJECT = 14, 11


def network(seed: int = 0, **kwargs) -> GatedNetwork:
    """A network made in float32, with objects of degree 3 and unsorted irreps."""
    torch.manual_seed(seed)
    defaults = {"irreps_breaking": OBJECT, "irreps_graph_out": GRAPH, "max_radius": 5.0}
    return GatedNetwork(IN, OUT, **{**defaults, **kwargs})


def moved(data: Data, rotation: torch.Tensor, shift: torch.Tensor, order: torch.Tensor) -> Data:
    """Rotate, translate and renumber a graph (new node k is old node order[k])."""
    data = copy.copy(data)
    new = order.argsort()
    data.x = (data.x @ representation(IN, rotation).T.to(data.x))[order]
    data.pos = (data.pos @ rotation.T.to(data.x) + shift)[order]
    data.edge_index = new[data.edge_index]
    if "cell" in data:
        data.cell = data.cell @ rotation.T.to(data.x)
    if "breaking" in data:
        data.breaking = data.breaking @ representation(OBJECT, rotation).T.to(data.x)
        if data.breaking.size(0) == data.x.size(0):
            data.breaking = data.breaking[order]
    return data


def equivariance_error(model: GatedNetwork, data: Data) -> float:
    """Largest error over proper and improper rotations, translations and permutations."""
    generator = torch.Generator().manual_seed(7)
    node, graph = model(data)
    error = 0.0
    for improper in (False, True, False, True):
        rotation = random_orthogonal(improper, generator)
        shift = torch.randn(3, generator=generator, dtype=torch.float64).to(data.x)
        order = torch.randperm(data.num_nodes, generator=generator)
        node_moved, graph_moved = model(moved(data, rotation, shift, order))
        node_error = node_moved - (node @ representation(OUT, rotation).T.to(data.x))[order]
        graph_error = graph_moved - graph @ representation(GRAPH, rotation).T.to(data.x)
        error = max(error, node_error.abs().max().item(), graph_error.abs().max().item())
    return error


def graph_with(kind: str, periodic: bool) -> Data:
    data = random_graph(7, DIM_IN, seed=1, periodic=periodic)
    generator = torch.Generator().manual_seed(2)
    rows = {"graph": 1, "node": 7}
    data.breaking = torch.zeros(1, DIM_OBJECT).double()
    if kind in rows:
        data.breaking = torch.randn(rows[kind], DIM_OBJECT, generator=generator, dtype=torch.float64)
    return data


def train(model: GatedNetwork, data: Data, steps: int) -> None:
    generator = torch.Generator().manual_seed(3)
    target = torch.randn(data.num_nodes, model.dim_out, generator=generator, dtype=torch.float64).to(data.x)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        node, graph = model(data)
        ((node - target).square().mean() + (graph - 1.0).square().mean()).backward()
        optimizer.step()


@pytest.mark.parametrize("kind", ["graph", "node", "none"])
@pytest.mark.parametrize("periodic", [False, True])
def test_jointly_equivariant_before_and_after_training(kind, periodic):
    # Made in float32 and converted: the constants must not keep their float32 rounding.
    model, data = network().double(), graph_with(kind, periodic)
    before = [p.detach().clone() for p in model.parameters()]
    assert equivariance_error(model, data) < 1e-10
    train(model, data, 5)
    assert all((p - q).abs().max() > 1e-3 for p, q in zip(model.parameters(), before, strict=True))
    assert equivariance_error(model, data) < 1e-10


def test_equivariant_in_float32():
    data = graph_with("graph", True)
    data.apply(lambda t: t.float() if t.is_floating_point() else t)
    assert equivariance_error(network(), data) < 1e-3


def test_not_equivariant_in_the_input_alone():
    model, data = network().double(), graph_with("graph", False)
    fixed = data.breaking
    rotation = random_orthogonal(False, torch.Generator().manual_seed(7))
    turned = moved(data, rotation, torch.zeros(3, dtype=torch.float64), torch.arange(7))
    turned.breaking = fixed
    assert (model(turned)[0] - model(data)[0] @ representation(OUT, rotation).T).abs().max() > 1e-2


def test_an_object_must_be_there():
    model, data = network().double(), graph_with("none", True)
    expected = model(data)
    data.breaking = torch.zeros(7, DIM_OBJECT).double()
    for out, reference in zip(model(data), expected, strict=True):
        torch.testing.assert_close(out, reference, rtol=0, atol=1e-14)
    data.breaking = None  # which Data drops
    for missing in (data, Batch.from_data_list([data, data])):
        with pytest.raises(ValueError, match=r"data has no object breaking, the network irreps_breaking 1x1o\+1x0o"):
            model(missing)


def test_dtypes_are_those_of_the_network():
    for key in ("x", "pos"):
        data = graph_with("graph", False)
        data[key] = data[key].float()
        with pytest.raises(ValueError, match=rf"data.{key} is torch.float32, the network torch.float64"):
            network().double()(data)
    with pytest.raises(ValueError, match=r"data.x is torch.float64, the network torch.float32"):
        network()(graph_with("graph", False))


def symmetry_errors(out: torch.Tensor, pos: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """|g out - out| for vectors on the nodes, for each g."""
    errors = []
    for g in group:
        order = torch.cdist(pos @ g.T, pos).argmin(dim=1)  # node k goes to node order[k]
        errors.append((out @ g.T - out[order]).abs().max())
    return torch.stack(errors)


def test_output_on_the_prism_has_the_symmetry_of_its_input():
    data, group = prism(), prism_group()
    torch.manual_seed(0)
    model = GatedNetwork("0e", "1o", "1o", max_radius=2.5).double()
    data.breaking = torch.zeros(1, 3, dtype=torch.float64)
    out = model(data)
    assert out.norm() > 1e-2
    assert symmetry_errors(out, data.pos, group).max() < 1e-12
    # One object each for a stabilizer C_2v, C_3v, C_s (σ_h) and C_1.
    for vector, order in [([1.0, 0, 0], 4), ([0, 0, 1.0], 6), ([0.3, 0.7, 0], 2), ([0.3, 0.7, 0.5], 1)]:
        data.breaking = torch.tensor([vector], dtype=torch.float64)
        stabilizer = (group @ data.breaking[0] - data.breaking[0]).norm(dim=1) < 1e-12
        assert stabilizer.sum() == order
        errors = symmetry_errors(model(data), data.pos, group)
        assert errors[stabilizer].max() < 1e-12
        assert (errors[~stabilizer] > 1e-4).all()


def test_chirality_mark_leaves_the_rotations():
    data, group = prism(), prism_group()
    torch.manual_seed(0)
    model = GatedNetwork("0o", "1o", max_radius=2.5).double()
    errors = symmetry_errors(model(data), data.pos, group)
    proper = torch.linalg.det(group) > 0
    assert proper.sum() == 6
    assert errors[proper].max() < 1e-12
    assert (errors[~proper] > 1e-4).all()


def barium_titanate() -> tuple[Data, torch.Tensor]:
    """The cubic cell of 4 Å (Ba, Ti, 3 O) with its Ti-O edges, and the displacements to the tetragonal cell."""
    fractional = torch.tensor([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]).double()
    edges, shifts = [], []
    for oxygen in (2, 3, 4):
        image = -2.0 * fractional[oxygen]  # the oxygen on the other side of titanium
        for shift in (torch.zeros(3), image):
            edges += [[1, oxygen], [oxygen, 1]]
            shifts += [shift.double(), -shift.double()]
    z = torch.tensor([0.582541, 0.100043, 0.064221, 0.064221, 0.548972]).double()
    displacement = torch.zeros(5, 3).double()
    displacement[:, 2] = 4.0 * (z - fractional[:, 2])
    data = Data(
        breaking=torch.zeros(1, 3).double(),
        x=torch.eye(3).double()[[0, 1, 2, 2, 2]],
        pos=4.0 * fractional,
        edge_index=torch.tensor(edges).T.contiguous(),
        edge_shift=torch.stack(shifts),
        cell=4.0 * torch.eye(3).double()[None],
    )
    return data, displacement


def mismatch(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sum over ordered pairs of atoms of the squared errors of their relative displacements."""
    error = out - target
    return (error[:, None] - error[None]).square().sum()


@pytest.mark.parametrize("seed", [0, 1])
def test_ferroelectric_displacement_needs_the_object(seed):
    data, target = barium_titanate()
    torch.manual_seed(seed)
    model = GatedNetwork("3x0e", "1o", "1o", max_radius=2.7).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2, foreach=True)
    # Every atom sits on a centre of inversion: without object nothing moves, whatever the weights.
    assert mismatch(model(data), target).item() == pytest.approx(0.247814, abs=1e-6)
    with_object = data.clone()
    with_object.breaking = torch.tensor([[0.0, 0.0, 1.0]]).double()
    best = torch.inf
    for _ in range(300):
        optimizer.zero_grad()
        loss = mismatch(model(with_object), target)
        loss.backward()
        best = min(best, loss.item())
        optimizer.step()
        if best < 1e-10:
            break
    assert best < 1e-10
    assert mismatch(model(data), target).item() == pytest.approx(0.247814, abs=1e-6)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("kind", ["graph", "node", "none"])
def test_batch_equals_loop(kind, periodic):
    model = network().double()
    graphs = [random_graph(n, DIM_IN, seed=n, periodic=periodic) for n in (4, 1, 6)]
    generator = torch.Generator().manual_seed(0)
    for g in graphs:
        g.breaking = torch.zeros(1, DIM_OBJECT).double()
        rows = {"graph": 1, "node": g.num_nodes}.get(kind)
        if rows:
            g.breaking = torch.randn(rows, DIM_OBJECT, generator=generator, dtype=torch.float64)
    node, graph = model(next(iter(DataLoader(graphs, batch_size=3))))
    single = [model(g) for g in graphs]
    torch.testing.assert_close(node, torch.cat([n for n, _ in single]), rtol=0, atol=1e-12)
    torch.testing.assert_close(graph, torch.cat([g for _, g in single]), rtol=0, atol=1e-12)


def test_graph_output_is_the_mean_over_nodes():
    torch.manual_seed(0)
    kwargs = {"irreps_breaking": OBJECT, "max_radius": 5.0}
    on_nodes = GatedNetwork(IN, OUT + "+" + GRAPH, **kwargs).double()
    on_graph = network().double()
    on_graph.load_state_dict(on_nodes.state_dict())
    data = graph_with("graph", False)
    node, graph = on_graph(data)
    both = on_nodes(data)
    torch.testing.assert_close(both[:, : node.size(1)], node)
    torch.testing.assert_close(both[:, node.size(1) :].mean(dim=0, keepdim=True), graph)


def test_only_a_graph_output():
    node, graph = GatedNetwork("0e", "", irreps_graph_out="0e+2e", max_radius=5.0).double()(random_graph(4, 1, seed=0))
    assert node.shape == (4, 0)
    assert graph.shape == (1, 6)


def tiny() -> tuple[GatedNetwork, Data]:
    torch.manual_seed(0)
    model = GatedNetwork(
        "0e", "0e", "1o", max_radius=4.0, hidden="1x0e+1x0o+1x1o+1x1e", lmax=2, layers=1, radial_neurons=2
    )
    data = random_graph(3, 1, seed=0)
    data.edge_index = torch.tensor([[0, 1, 2, 1], [1, 0, 1, 2]])
    return model.double(), data


def test_first_and_second_derivatives():
    model, data = tiny()
    names = [name for name, _ in model.named_parameters()]

    def energy(pos, breaking, *weights):
        data.pos, data.breaking = pos, breaking
        return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (data,)).sum()

    breaking = torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64, requires_grad=True)
    weights = [p.detach().clone().requires_grad_() for p in model.parameters()]
    inputs = (data.pos.clone().requires_grad_(), breaking, *weights)
    assert torch.autograd.gradcheck(energy, inputs)
    assert torch.autograd.gradgradcheck(energy, inputs)


def test_training_on_forces_reaches_every_weight():
    model, data = tiny()
    data.pos.requires_grad_()
    data.breaking = torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64)
    (force,) = torch.autograd.grad(-model(data).sum(), data.pos, create_graph=True)
    assert force.sum(dim=0).abs().max() < 1e-12  # no net force
    force.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize("periodic", [False, True])
def test_compiles_without_graph_break(periodic):
    model = GatedNetwork(
        "0e", "1o", "1o", "0e+2e", max_radius=4.0, hidden="2x0e+1x0o+1x1o+1x1e", lmax=2, layers=1
    ).double()
    graphs = [random_graph(n, 1, seed=n, periodic=periodic) for n in (3, 4)]
    for n, g in enumerate(graphs):
        g.breaking = torch.tensor([[1.0, n, 0.5]], dtype=torch.float64)
    batch = Batch.from_data_list(graphs)
    node, graph = model(batch)
    torch._dynamo.reset()
    node_compiled, graph_compiled = torch.compile(model, backend="aot_eager", fullgraph=True)(batch)
    torch.testing.assert_close(node_compiled, node, rtol=0, atol=1e-12)
    torch.testing.assert_close(graph_compiled, graph, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(out.square().sum(), model.parameters()) for out in (node, node_compiled)]
    for expected, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled, expected, rtol=0, atol=1e-12)


def test_state_dict_holds_the_weights_alone():
    model, other = network(), network(seed=1)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    data = graph_with("graph", False)
    outputs = [m.double()(data)[0] for m in (model, other, copy.deepcopy(model))]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_reset_parameters():
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    model.reset_parameters()
    assert all((p != q).all() for p, q in zip(model.parameters(), before, strict=True))


def test_only_odd_input():
    # 1e times harmonics gives no 0e: the gates are odd scalars then.
    model = GatedNetwork("1x1e", "1x1e+1x1o", irreps_graph_out=GRAPH, max_radius=5.0).double()
    data = random_graph(5, 3, seed=0)
    node, _ = model(data)
    assert node[:, :3].norm() > 1e-3
    rotation = random_orthogonal(True, torch.Generator().manual_seed(0))
    turned = data.clone()
    turned.x, turned.pos = data.x @ rotation.T * rotation.det(), data.pos @ rotation.T
    expected = node @ representation("1x1e+1x1o", rotation).T
    torch.testing.assert_close(model(turned)[0], expected, rtol=0, atol=1e-12)


def test_isolated_nodes_and_no_edges():
    data = graph_with("graph", False)
    data.edge_index = torch.zeros(2, 0, dtype=torch.long)
    node, graph = network().double()(data)
    assert torch.isfinite(node).all()
    assert torch.isfinite(graph).all()


@pytest.mark.parametrize("feature", [0.0, 1.0])
def test_derivatives_of_isolated_nodes_and_of_sums_that_vanish_are_finite(feature):
    model, data = tiny()
    data.edge_index, data.x = torch.tensor([[0, 1], [1, 0]]), torch.full_like(data.x, feature)
    data.breaking = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    data.pos.requires_grad_()
    inputs = (data.pos, data.breaking, *model.parameters())
    first = torch.autograd.grad(model(data).sum(), inputs, create_graph=True, materialize_grads=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs, materialize_grads=True)
    assert all(torch.isfinite(g).all() for g in (*first, *second))


def test_even_scalars_do_not_depend_on_how_large_the_sums_over_neighbors_are():
    torch.manual_seed(0)
    model, data = GatedNetwork("0e", "4x0e", max_radius=5.0).double(), random_graph(6, 1, seed=0)
    outputs = []
    for factor in (1e2, 1e3):
        with torch.no_grad():
            model.convs[-1].radial_weight *= factor
        outputs.append(model(data))
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-6)


def test_continuous_where_a_neighbor_leaves():
    # Energy and forces at the cutoff: with the edge, and without it.
    torch.manual_seed(0)
    model = GatedNetwork("0e", "0e", "1o", max_radius=3.0).double()
    object_ = torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64)

    def energy_and_forces(distance: float, edges: list[list[int]]):
        pos = torch.tensor([[0.0, 0, 0], [1.1, 0.3, 0], [0, 0, distance]], dtype=torch.float64, requires_grad=True)
        data = Data(x=torch.ones(3, 1).double(), pos=pos, edge_index=torch.tensor(edges).T, breaking=object_)
        energy = model(data).sum()
        return torch.cat([energy[None], torch.autograd.grad(energy, pos)[0].flatten()])

    near, alone = [[0, 1], [1, 0]], [[0, 1], [1, 0], [0, 2], [2, 0]]
    inside, outside = energy_and_forces(3.0 - 1e-6, alone), energy_and_forces(3.0 - 1e-6, near)
    torch.testing.assert_close(inside, outside, rtol=0, atol=1e-4)
    assert (energy_and_forces(2.0, alone) - energy_and_forces(2.0, near)).abs().max() > 1e-2


def test_output_depends_on_its_own_graph_alone():
    # Beside a graph of many close neighbours the output of a small one stays what it was, to the last bit.
    model = network().double()
    small, crowd = (random_graph(n, DIM_IN, seed=n) for n in (3, 30))
    for g in (small, crowd):
        g.breaking = torch.ones(1, DIM_OBJECT).double()
    node, graph = model(Batch.from_data_list([crowd, small]))
    alone, graph_alone = model(small)
    torch.testing.assert_close(node[30:], alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(graph[1:], graph_alone, rtol=0, atol=1e-12)


def fresh_draws():
    """A chain, a crystal and a gas of 2 to 90 atoms with 1 to 80 neighbours; lmax, degree and level of the object."""
    generator = torch.Generator().manual_seed(0)
    for n, kind in itertools.product((2, 10, 90), ("chain", "crystal", "gas")):
        side = round(n ** (1 / 3) + 0.5)
        grid = torch.cartesian_prod(*[torch.arange(side)] * 3)[:n]
        line = torch.arange(n)[:, None] * torch.tensor([1.3, 0.0, 0.0])
        pos = {"chain": line, "crystal": 2.5 * grid, "gas": 3.0 * side * torch.rand(n, 3, generator=generator)}[kind]
        for radius, lmax, degree, rows in itertools.product((3.0, 6.0), (1, 2, 4), (1, 2), (1, n)):
            distance = torch.cdist(pos, pos)
            edges = (distance < radius).fill_diagonal_(False).nonzero().T
            breaking = torch.randn(rows, 4, generator=generator)
            yield radius, lmax, degree, Data(x=torch.ones(n, 1), pos=pos, edge_index=edges, breaking=breaking)


def test_untrained_outputs_are_of_order_one():
    torch.manual_seed(0)
    models, sizes = {}, []
    for radius, lmax, degree, data in itertools.islice(fresh_draws(), 0, None, 3):
        key = radius, lmax, degree
        if key not in models:
            models[key] = GatedNetwork(
                "0e", "4x0e+4x1o+4x2e", "0o+1o", max_radius=radius, lmax=lmax, object_degree=degree
            )
        models[key].reset_parameters()
        with torch.no_grad():
            sizes += [part.square().mean().sqrt() for part in models[key](data).split([4, 12, 20], dim=1)]
    sizes = torch.stack(sizes)
    sizes = sizes[sizes > 1e-4]  # at degree 1 a vector gives a lone atom no 2e
    assert len(sizes) > 180
    assert ((sizes > 0.1) & (sizes < 3.0)).double().mean() > 0.9


def test_errors():
    model, data = network().double(), graph_with("graph", False)
    wide = data.clone()
    wide.breaking = torch.zeros(1, 4).double()
    with pytest.raises(ValueError, match=r"breaking has shape \(1, 4\), expected rows of width 11"):
        model(wide)
    rows = data.clone()
    rows.breaking = torch.zeros(3, DIM_OBJECT).double()
    with pytest.raises(ValueError, match=r"3 rows, expected one for each of the 1 graphs or .* 7 nodes"):
        model(rows)
    features = data.clone()
    features.x = torch.zeros(7, 3).double()
    with pytest.raises(ValueError, match=r"x have shape \(7, 3\), expected \[N, 14\]"):
        model(features)
    with pytest.raises(ValueError, match="data lacks x, edge_index"):
        model(Data(pos=data.pos))
    with pytest.raises(ValueError, match="no irreps_breaking"):
        network(irreps_breaking=None).double()(data)
    with pytest.raises(ValueError, match="an irrep of degree 7 that no path reaches"):
        GatedNetwork("0e", "7e", max_radius=5.0)
    with pytest.raises(ValueError, match="max_radius must be a positive length, got 0"):
        GatedNetwork("0e", "0e", max_radius=0.0)


def test_repr():
    model = GatedNetwork("0e", "1o", "1o", max_radius=2.5)
    assert repr(model) == (
        "GatedNetwork(1x0e, 1x1o, irreps_breaking=1x1o, irreps_graph_out=, layers=3, lmax=4, max_radius=2.5)"
    )


def test_a_molecule_without_cell_has_shifts_of_no_meaning():
    """NeighborList gives shifts to all structures, those without a cell among them."""
    pos = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    network = GatedNetwork("0e", "1o", max_radius=3.0, hidden="4x0e+4x1o", layers=1)
    bare = NeighborList(3.0)(Data(x=torch.ones(5, 1), pos=pos))
    boxed = NeighborList(3.0)(Data(x=torch.ones(5, 1), pos=pos, cell=torch.zeros(1, 3, 3), pbc=torch.zeros(1, 3) > 0))
    assert "edge_shift" in bare
    assert "cell" not in bare
    torch.testing.assert_close(network(bare), network(boxed))
    torch.testing.assert_close(network(Batch.from_data_list([bare])), network(Batch.from_data_list([boxed])))
