"""The public checks: models and sets that must pass, and for each check some that must fail."""

import copy

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch_geometric.data import Data

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.datasets import BaTiO3, TriangularPrism
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import from_ase
from pyg_symbreak.testing import (
    curie_gap,
    equality_p_value,
    equivariance_error,
    relaxed_equivariance_error,
    set_equivariance_error,
    stabilizer_of_output,
    uniformity_p_value,
)
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

IN, OBJECT, OUT, GRAPH = "2x0e+1o", "1o+2e+3o", "1o+0o+2e", "0e+2e"
HIDDEN = "6x0e+4x0o+4x1o+4x1e+2x2e+2x2o"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def network(irreps_in: str, irreps_out: str, irreps_breaking: str | None = None, **kwargs) -> GatedNetwork:
    torch.manual_seed(0)
    settings = {"max_radius": 4.5, "hidden": HIDDEN, "lmax": 3, "layers": 2} | kwargs
    return GatedNetwork(irreps_in, irreps_out, irreps_breaking, **settings).double()


def structure(periodic: bool, nodes: int = 5) -> Data:
    """A random structure with random features, an edge attribute, and as many edges as it happens to have."""
    pos = 4.0 * torch.rand(nodes, 3, generator=seeded(1), dtype=torch.float64).numpy()
    cell = (4.0 * torch.eye(3) + 0.3 * randn(3, 3, seed=2)).numpy() if periodic else None
    data = NeighborList(3.0)(from_ase(Atoms("BCNOF"[:nodes], pos, cell=cell, pbc=periodic), torch.float64))
    data.x = randn(nodes, 5, seed=3)
    return data


class CoordinateMLP(torch.nn.Module):
    """What is not equivariant: a perceptron on the coordinates of each node."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.SiLU(), torch.nn.Linear(16, 3))

    def forward(self, data: Data) -> torch.Tensor:
        return self.layers(data.pos)


# ---------------------------------------------------------------------- equivariance


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("rows", [1, 5])
def test_network_is_equivariant_before_and_after_training(periodic, rows):
    data = structure(periodic)
    data.breaking = randn(rows, 15, seed=4)
    model = network(IN, OUT, OBJECT, irreps_graph_out=GRAPH)

    def error(model: GatedNetwork) -> float:
        return equivariance_error(model, data, OUT, OBJECT, IN, GRAPH, trials=2, generator=seeded())

    assert error(model) < 1e-12
    target, optimizer = randn(5, 9, seed=5), torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        (model(data)[0] - target).square().mean().backward()
        optimizer.step()
    assert error(model) < 1e-12
    assert 1e-12 < error(model.float()) < 1e-3  # the data follow the dtype of the model
    assert data.pos.dtype == data.breaking.dtype == torch.float64


def test_each_wrong_irreps_is_seen():
    data = structure(True)
    data.breaking = randn(1, 15, seed=4)
    model = network(IN, OUT, OBJECT, irreps_graph_out=GRAPH)
    right = [OUT, OBJECT, IN, GRAPH]
    for place, wrong in enumerate(["1e+0o+2e", "1o+2o+3o", "2x0e+1e", "0e+2o"]):
        arguments = [wrong if i == place else irreps for i, irreps in enumerate(right)]
        assert equivariance_error(model, data, *arguments, trials=1, generator=seeded()) > 1e-3
    wrong_degree = [OUT, OBJECT, "5x0e", GRAPH]
    assert equivariance_error(model, data, *wrong_degree, trials=1, generator=seeded()) > 1e-3


def edge_vectors(data: Data, with_shift: bool = True) -> torch.Tensor:
    source, target = data.edge_index
    shift = data.edge_shift @ data.cell[0]
    return data.pos[target] - data.pos[source] + (shift if with_shift else 0 * shift)


def sum_of_edges(data: Data, weight: torch.Tensor, **kwargs) -> torch.Tensor:
    vectors = edge_vectors(data, **kwargs)
    return torch.zeros_like(data.pos).index_add(0, data.edge_index[1], weight[:, None] * vectors)


def exact(data: Data) -> torch.Tensor:
    return sum_of_edges(data, edge_vectors(data).norm(dim=1))


def second_edge_attribute(data: Data) -> torch.Tensor:
    return sum_of_edges(data, data.edge_attr)


def pseudovectors(data: Data) -> torch.Tensor:
    """Products of two vectors: they turn as vectors do, but an inversion leaves them."""
    vectors = exact(data)
    return torch.linalg.cross(vectors, (vectors.norm(dim=1, keepdim=True) * vectors).sum(0).expand_as(vectors))


OTHER = structure(True)
NOT_EQUIVARIANT = {
    "coordinates": lambda data: data.pos.square() + 1,
    "translation": lambda data: data.pos,
    "reflection": pseudovectors,
    "order of nodes": lambda data: data.pos - data.pos[0],
    "number of nodes": lambda data: exact(data) * torch.arange(data.num_nodes)[:, None],
    "old edges": lambda data: exact(Data(**{**data.to_dict(), "edge_index": OTHER.edge_index})),
    "old cell": lambda data: exact(Data(**{**data.to_dict(), "cell": OTHER.cell})),
    "norm per axis": lambda data: exact(data) / exact(data).std(0),
}


@pytest.mark.parametrize("name", NOT_EQUIVARIANT)
def test_what_is_not_equivariant(name):
    assert equivariance_error(NOT_EQUIVARIANT[name], structure(True), "1o", generator=seeded()) > 1e-2


def test_what_is_equivariant_by_hand():
    data = structure(True)
    data.edge_attr = randn(data.num_edges, seed=6)
    for model in (exact, second_edge_attribute):
        assert equivariance_error(model, data, "1o", generator=seeded()) < 1e-13
    # a graph output alone; and one that is the same for all nodes
    tensor = edge_vectors(data).T @ edge_vectors(data)
    assert equivariance_error(lambda d: tensor.trace().view(1, 1), data, None, irreps_graph_out="0e") < 1e-13
    total = lambda d: exact(d).square().sum(0, keepdim=True)  # noqa: E731
    assert equivariance_error(total, data, None, irreps_graph_out="1o", generator=seeded()) > 1e-2


def test_attributes_that_only_look_like_those_of_nodes():
    data = structure(True, nodes=3)  # as many nodes as the cell has rows
    data.cell = data.cell[0]
    model = lambda d: exact(Data(**{**d.to_dict(), "cell": d.cell[None]}))  # noqa: E731
    assert equivariance_error(model, data, "1o", generator=seeded()) < 1e-13
    data.edge_index, data.edge_shift = data.edge_index[:, :3], data.edge_shift[:3]  # and edges
    assert equivariance_error(model, data, "1o", generator=seeded()) < 1e-13


def test_proper_rotations_only():
    data = structure(True)
    assert equivariance_error(pseudovectors, data, "1o", generator=seeded()) > 1
    assert equivariance_error(pseudovectors, data, "1o", parent="SO3", generator=seeded()) < 1e-13
    assert equivariance_error(pseudovectors, data, "1e", generator=seeded()) < 1e-13


def test_object_that_does_not_move():
    data, model = structure(False), network(IN, "1o", "1o")
    fixed = torch.tensor([[0.0, 0.0, 1.0]]).double()
    with_fixed = lambda d: model(Data(**{**d.to_dict(), "breaking": fixed}))  # noqa: E731
    assert equivariance_error(with_fixed, data, "1o", irreps_in=IN, generator=seeded()) > 1e-2
    data.breaking = fixed
    assert equivariance_error(model, data, "1o", "1o", IN, generator=seeded()) < 1e-12


def test_perceptron_fails_everything():
    model, data = CoordinateMLP().double(), from_ase(molecule("BF3"), torch.float64)
    assert equivariance_error(model, data, "1o", generator=seeded()) > 1e-2
    assert stabilizer_of_output(model, data).schoenflies == "C1"
    target = torch.eye(4, 3, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (model(data) - target).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert curie_gap(model, data, target) < -0.5


def test_the_generator_decides():
    data = structure(True)
    errors = [equivariance_error(CoordinateMLP(), data, "1o", generator=seeded(s)) for s in (0, 0, 1)]
    assert errors[0] == errors[1] != errors[2]


def test_errors_of_equivariance():
    data = structure(True)
    with pytest.raises(ValueError, match="output is zero"):
        equivariance_error(lambda d: 0 * d.pos, data, "1o")
    with pytest.raises(ValueError, match="not finite"):
        equivariance_error(lambda d: d.pos / 0, data, "1o")
    with pytest.raises(ValueError, match=r"shape \[5, 3\]; 1x2e on the nodes is \[5, 5\]"):
        equivariance_error(exact, data, "2e")
    with pytest.raises(ValueError, match="1 outputs, irreps are given for 2"):
        equivariance_error(exact, data, "1o", irreps_graph_out="0e")
    with pytest.raises(ValueError, match="data have no breaking"):
        equivariance_error(exact, data, "1o", "1o")
    with pytest.raises(ValueError, match=r"data.x has shape \[5, 5\]"):
        equivariance_error(exact, data, "1o", irreps_in="1o")
    with pytest.raises(ValueError, match="'O3' or 'SO3'"):
        equivariance_error(exact, data, "1o", parent="O(3)")
    data.breaking = randn(1, 3)
    with pytest.raises(ValueError, match="give irreps_breaking"):
        equivariance_error(exact, data, "1o")


# ---------------------------------------------------------------------- sets


def prism_symmetry(prism: Data) -> PointGroup:
    """D3: an improper operation would change the sign of the chirality mark."""
    rotations = detect_symmetry(prism).rotations
    return PointGroup.from_matrices(rotations[torch.linalg.det(rotations) > 0])


def naive_set(prism: Data) -> torch.Tensor:
    """Three vectors along twofold axes and two along the main axis, in the axes that the group happens to be given."""
    angles = 2 * torch.pi * torch.arange(3) / 3
    pairs = [[a.cos(), a.sin(), 0.0, 0.0, 0.0, z] for z in (1.0, -1.0) for a in angles]
    return (torch.tensor(pairs).double().view(6, 2, 3) @ torch.from_numpy(prism_symmetry(prism).frame.T)).flatten(1)


def double_prism() -> Data:
    return TriangularPrism()[0].apply(lambda t: t.double() if t.is_floating_point() else t)


def test_ideal_and_naive_set_of_the_prism():
    prism = double_prism()
    prism.pos = prism.pos @ torch.linalg.qr(randn(3, 3, seed=8))[0]
    ideal = lambda d: breaking_set(prism_symmetry(d), parent="O3").objects  # noqa: E731
    assert set_equivariance_error(ideal, prism, "1o", "0o", generator=seeded()) < 1e-12
    assert set_equivariance_error(naive_set, prism, "2x1o", "0o", generator=seeded()) > 0.1
    assert set_equivariance_error(lambda d: d.y[0], prism, "1o") > 0.1  # y is an answer, which does not follow
    # the vectors to the vertices, and these in another order, are one set; with one left out they are not
    vertices = lambda d: d.pos - d.pos.mean(0)  # noqa: E731
    assert set_equivariance_error(vertices, prism, "1o", generator=seeded()) < 1e-13
    assert set_equivariance_error(lambda d: vertices(d)[1:], prism, "1o", generator=seeded()) > 0.1


@pytest.mark.parametrize("centre", [[True, False], [False, True]])
def test_an_object_more_in_either_set_counts(centre):
    """The centre of the prism is sqrt(2) from all vertices, so at least sqrt(2/3) in the maximum norm."""
    turns = iter(centre)
    vertices = lambda d: d.pos - d.pos.mean(0)  # noqa: E731
    sometimes = lambda d: torch.cat([vertices(d), torch.zeros(int(next(turns)), 3)])  # noqa: E731
    assert set_equivariance_error(sometimes, double_prism(), "1o", parent="SO3", trials=1) > 0.8


@pytest.mark.parametrize(
    ("atoms", "keep", "irreps"),
    [
        (molecule("BF3"), None, "1o"),
        (molecule("BF3"), "C3v", "1o"),
        (molecule("CH4"), "D2d", "2e"),
        (bulk("CsCl", "cesiumchloride", a=4.1), "C4v", "1o"),
    ],
)
def test_sets_of_the_transform(atoms, keep, irreps):
    data = from_ase(atoms, torch.float64)
    transform = AddSymmetryBreaking(keep=keep, choose="all")
    assert transform(data).breaking.shape[1] == {"1o": 3, "2e": 5}[irreps]
    assert set_equivariance_error(transform, data, irreps, generator=seeded()) < 1e-12
    # one object of several is no equivariant set
    alone = AddSymmetryBreaking(keep=keep, choose=0)
    assert set_equivariance_error(alone, data, irreps, generator=seeded()) > 0.1


def test_objects_on_the_nodes():
    data = double_prism()
    marks = lambda d: torch.eye(d.num_nodes)[..., None]  # noqa: E731
    assert set_equivariance_error(marks, data, "0e", generator=seeded()) == 0
    assert set_equivariance_error(lambda d: marks(d)[:3], data, "0e", generator=seeded()) == 1
    outward = lambda d: marks(d) * (d.pos - d.pos.mean(0))  # noqa: E731
    assert set_equivariance_error(outward, data, "1o", generator=seeded()) < 1e-13
    assert set_equivariance_error(outward, data, "1e", generator=seeded()) > 0.1


def test_errors_of_sets():
    with pytest.raises(ValueError, match=r"set of objects has shape \[6, 3\]"):
        set_equivariance_error(lambda d: d.pos, double_prism(), "2e")
    with pytest.raises(ValueError, match="not finite"):
        set_equivariance_error(lambda d: d.pos / 0, double_prism(), "1o")


# ---------------------------------------------------------------------- symmetry of the output


@pytest.mark.parametrize("seed", [None, 0])
def test_output_keeps_exactly_what_the_object_keeps(seed):
    atoms = molecule("BF3")
    if seed is not None:
        atoms.positions = atoms.positions @ torch.linalg.qr(randn(3, 3, seed=seed))[0].numpy()
    data = NeighborList(3.0)(from_ase(atoms, torch.float64))
    data.x = torch.nn.functional.one_hot((data.z > 5).long(), 2).double()
    irreps = "0e+0o+1o+1e+2e"
    group = detect_symmetry(data).group
    kept = {degree: {} for degree in (1, 2)}
    for degree, labels in kept.items():
        model = network("2x0e", "1o", irreps, object_degree=degree)
        plain = data.clone().update({"breaking": torch.zeros(1, 13)})
        assert stabilizer_of_output(model, plain) == group
        for keep in group.subgroups():
            with_object = AddSymmetryBreaking(keep=keep, choose=0, irreps=irreps)(copy.copy(data))
            out = stabilizer_of_output(model, with_object)
            labels[keep.label] = out.schoenflies
            if out.schoenflies == keep.schoenflies:  # the object leaves one group of the class of K
                assert any(out == keep.rotated(m) for m in group.matrices)
    exact = {keep.label: keep.schoenflies for keep in group.subgroups()}
    # vectors on these four nodes cannot have the symmetry D3 alone: its axes go through the nodes
    assert kept[2] == exact | {"D3": "D3h"}
    # at degree 1 nothing multiplies the pseudoscalar and the vector of the object for C3: less is broken than was asked
    assert kept[1] == exact | {"D3": "D3h", "C3": "C3v"}


def test_output_of_known_symmetry():
    data = from_ase(molecule("CH4"), torch.float64)
    assert stabilizer_of_output(lambda d: d.pos, data).schoenflies == "Td"
    assert stabilizer_of_output(lambda d: 0 * d.pos, data).schoenflies == "Td"  # more than was to be kept
    for length in (1e-9, 1, 1e9):  # in any unit
        bond = lambda d, u=length: u * d.pos[1:2]  # noqa: E731
        assert stabilizer_of_output(bond, data).schoenflies == "C3v"
    assert stabilizer_of_output(lambda d: (d.pos[1:2] + d.pos[2:3], d.z), data).schoenflies == "C2v"
    assert stabilizer_of_output(lambda d: d.pos + 1e-2 * randn(5, 3), data).schoenflies == "C1"
    assert stabilizer_of_output(lambda d: d.pos + 1e-2 * randn(5, 3), data, tolerance=0.1).schoenflies == "Td"
    with pytest.raises(ValueError, match=r"shape \[5, 2\]; vectors are \[5, 3\] or \[1, 3\]"):
        stabilizer_of_output(lambda d: d.pos[:, :2], data)
    with pytest.raises(ValueError, match="no positions"):
        stabilizer_of_output(lambda d: d.x, Data(x=randn(3, 3), edge_index=torch.tensor([[0, 1], [1, 2]])))


# ---------------------------------------------------------------------- relaxed equivariance

TURNS = [torch.roll(torch.eye(6, dtype=torch.float64), k, 0) for k in range(6)]  # C_6 on R^6


def stabilizer(x: torch.Tensor) -> list[torch.Tensor]:
    return [g for g in TURNS if torch.equal(g @ x, x)]


def with_canonical_weights(weights: torch.Tensor):
    """x -> h W h^-1 x, where h carries the lexicographically least turn of x, found first of equals, to x."""

    def layer(x: torch.Tensor) -> torch.Tensor:
        h = min(TURNS, key=lambda g: [round(v, 9) for v in (g.T @ x).tolist()])
        return h @ weights @ h.T @ x

    return layer


INPUTS = [
    torch.tensor(x).double()
    for x in ([1, 2, 3, 4, 5, 7], [1, 2, 3, 1, 2, 3], [1, 2, 1, 2, 1, 2], [1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0])
]


@pytest.mark.parametrize("x", INPUTS, ids=str)
def test_relaxed_layer(x):
    layer = with_canonical_weights(randn(6, 6))
    error, broken = relaxed_equivariance_error(layer, x, TURNS, stabilizer(x))
    assert error < 1e-14
    assert broken == 0 if len(stabilizer(x)) == 1 else broken > 0.1


@pytest.mark.parametrize("x", INPUTS, ids=str)
def test_equivariant_is_relaxed_and_breaks_nothing(x):
    circulant = sum(w * g for w, g in zip(randn(6), TURNS, strict=True))
    error, broken = relaxed_equivariance_error(lambda v: (circulant @ v).tanh(), x, TURNS, stabilizer(x))
    assert max(error, broken) < 1e-14


@pytest.mark.parametrize("x", INPUTS[:3], ids=str)
def test_what_is_not_relaxed(x):
    weights = randn(6, 6)
    assert relaxed_equivariance_error(lambda v: weights @ v, x, TURNS, stabilizer(x)).error > 0.1
    if len(stabilizer(x)) > 1:  # equality up to the symmetry of x is all that a relaxed layer gives
        assert relaxed_equivariance_error(with_canonical_weights(weights), x, TURNS, TURNS[:1]).error > 0.1


def test_two_relaxed_layers_need_not_be_relaxed():
    mean, weights = torch.full((6, 6), 1 / 6, dtype=torch.float64), randn(6, 6)
    first, second = with_canonical_weights(mean), with_canonical_weights(weights)
    x = INPUTS[0]
    constant = first(x)
    for layer, v in ((first, x), (second, x), (second, constant.round(decimals=12))):
        assert relaxed_equivariance_error(layer, v, TURNS, stabilizer(v)).error < 1e-14
    # the mean has all symmetry, and what is chosen from it knows no more of x
    assert relaxed_equivariance_error(lambda v: second(first(v)), x, TURNS, stabilizer(x)).error > 0.1
    # an equivariant layer after a relaxed one is safe, as is the canonical element of x carried along
    circulant = sum(w * g for w, g in zip(randn(6, seed=1), TURNS, strict=True))
    for v in INPUTS:
        assert relaxed_equivariance_error(lambda u: circulant @ second(u), v, TURNS, stabilizer(v)).error < 1e-14
        both = with_canonical_weights(weights @ mean)
        assert relaxed_equivariance_error(both, v, TURNS, stabilizer(v)).error < 1e-14


def test_elements_and_actions_of_any_kind():
    """Turning a square of points by permutations: from a set of positions to one vector."""
    corners = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]).double()
    quarter = torch.tensor([[0.0, -1], [1, 0]]).double()
    act_in = lambda k, x: x.roll(k, 0)  # noqa: E731
    act_out = lambda k, y: torch.linalg.matrix_power(quarter, k) @ y  # noqa: E731
    x = torch.tensor([2.0, 1, 2, 1]).double()
    to_a_largest = lambda v: corners[v.argmax()]  # noqa: E731
    error, broken = relaxed_equivariance_error(to_a_largest, x, range(4), [0, 2], act_in, act_out)
    assert error < 1e-15
    assert broken == 2
    weighted = lambda v: v @ corners  # noqa: E731
    y = torch.tensor([2.0, 1, 1, 1]).double()
    assert relaxed_equivariance_error(weighted, y, range(4), [0], act_in, act_out) == (0, 0)


def test_errors_of_relaxed():
    with pytest.raises(ValueError, match="stabilizer must hold"):
        relaxed_equivariance_error(lambda v: v, INPUTS[0], TURNS, TURNS)
    with pytest.raises(ValueError, match="output is zero"):
        relaxed_equivariance_error(lambda v: 0 * v, INPUTS[3], TURNS, TURNS)


# ---------------------------------------------------------------------- the Curie residual


def test_perovskite_sits_on_the_residual():
    """All sites of cubic BaTiO3 have an inversion centre: no weights move an atom, and the residual is all of y²."""
    data = NeighborList(3.0)(BaTiO3()[1])
    data = data.apply(lambda t: t.double() if t.is_floating_point() else t)
    data.x = torch.nn.functional.one_hot(data.z, 60)[:, [8, 22, 56]].double()
    model = network("3x0e", "1o", "1o")
    data.breaking = torch.zeros(1, 3).double()
    assert abs(curie_gap(model, data, data.y)) < 1e-14
    assert curie_gap(lambda d: data.y, data, data.y) == pytest.approx(-float(data.y.square().sum()))
    data.breaking = torch.tensor([[0.0, 0.0, 1.0]]).double()  # an object is set to zero
    assert abs(curie_gap(model, data, data.y)) < 1e-14
    with_object = lambda d: model(Data(**{**d.to_dict(), "breaking": data.breaking}))  # noqa: E731
    assert curie_gap(with_object, data, data.y) != pytest.approx(0, abs=1e-6)


def test_training_comes_down_to_the_residual():
    data = NeighborList(3.0)(from_ase(molecule("BF3"), torch.float64))
    data.x = torch.nn.functional.one_hot((data.z > 5).long(), 2).double()
    outward = data.pos / data.pos.norm(dim=1).max()
    target = 0.3 * outward
    target[0, 2] += 0.4
    model = network("2x0e", "1o", hidden="8x0e+4x1o", lmax=1)
    before = curie_gap(model, data, target)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (model(data) - target).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert before > 1e-3
    assert -1e-13 < curie_gap(model, data, target) < 1e-6
    # the loss itself is far from zero: what is lost is the step of boron out of the plane
    assert float(loss().detach()) == pytest.approx(0.4**2, abs=1e-6)


def test_features_are_part_of_the_input():
    """A mark on one fluorine of BF3 leaves C2v of D3h, and a model may then tell it apart."""
    data = from_ase(molecule("BF3"), torch.float64)
    axis = data.pos[1] / data.pos[1].norm()
    target = torch.zeros(4, 3).double()
    target[0] = axis
    assert curie_gap(lambda d: target, data, target) == pytest.approx(-1)
    data.x = torch.eye(4, dtype=torch.float64)[:, 1:2]
    assert curie_gap(lambda d: target, data, target) == pytest.approx(0, abs=1e-12)
    # the mirrors leave it too, unless it is a pseudoscalar: two fluorines moved up and down keep only the axis
    twist = torch.zeros(4, 3).double()
    twist[2, 2], twist[3, 2] = 1, -1
    assert curie_gap(lambda d: twist, data, twist) == pytest.approx(-2)
    assert curie_gap(lambda d: twist, data, twist, irreps_in="0o") == pytest.approx(0, abs=1e-12)
    up = torch.tensor([0.0, 0.0, 1.0]).double()
    target[0], data.x = up, up.expand(4, 3).clone()  # an electric field leaves C3v, a magnetic one C3h
    assert curie_gap(lambda d: target, data, target, irreps_in="1o") == pytest.approx(0, abs=1e-12)
    assert curie_gap(lambda d: target, data, target, irreps_in="1e") == pytest.approx(-1)


def test_chirality_mark_of_the_prism():
    prism = double_prism()
    model = network("0o", "1o", max_radius=2.5)
    axial = torch.linalg.cross(torch.tensor([[0.0, 0.0, 1.0]]).double().expand(6, 3), prism.pos) * prism.pos[:, 2:]
    # a pseudovector field, which D3 keeps and the mirrors turn round
    plain = copy.copy(prism)
    plain.x = None
    assert curie_gap(lambda d: axial, plain, axial) == pytest.approx(-6)
    assert curie_gap(lambda d: axial, prism, axial, irreps_in="0o") == pytest.approx(0, abs=1e-12)
    assert curie_gap(model, prism, axial, irreps_in="0o") > 1e-3


def test_errors_of_the_gap():
    data = from_ase(molecule("CO2"), torch.float64)
    with pytest.raises(ValueError, match="continuous"):
        curie_gap(lambda d: d.pos, data, data.pos)
    data = from_ase(molecule("CH4"), torch.float64)
    with pytest.raises(ValueError, match="the target has shape"):
        curie_gap(lambda d: d.pos, data, data.pos[:, :2])
    with pytest.raises(ValueError, match="output has shape"):
        curie_gap(lambda d: d.pos[:1], data, data.pos)


# ---------------------------------------------------------------------- distributions


def test_p_values_of_what_is_uniform_are_uniform():
    """Over many samples of a fair die a p-value below 0.1 comes once in ten times."""
    dice = torch.randint(6, (400, 600, 1), generator=seeded())
    p = torch.tensor([uniformity_p_value(die, torch.arange(6)[:, None]) for die in dice])
    for level in (0.1, 0.5, 0.9):
        assert abs(float((p < level).double().mean()) - level) < 0.06


def test_p_values_of_what_is_not_uniform():
    answers = randn(4, 3)
    fair = torch.randint(4, (10_000,), generator=seeded())
    assert uniformity_p_value(answers[fair] + 1e-9, answers) > 0.01
    loaded = torch.where(torch.rand(10_000, generator=seeded()) < 0.05, 0, fair)
    assert uniformity_p_value(answers[loaded], answers) < 1e-4
    assert uniformity_p_value(answers[fair % 3], answers) < 1e-4
    assert uniformity_p_value(answers[fair], answers[:3]) == 0  # a draw is none of the answers
    with pytest.raises(ValueError, match="19 draws are too few for 4 answers"):
        uniformity_p_value(answers[fair[:19]], answers)
    with pytest.raises(ValueError, match="two answers are equal"):
        uniformity_p_value(answers[fair], answers[[0, 1, 1]])
    with pytest.raises(ValueError, match="draws have shape"):
        uniformity_p_value(answers[fair, :2], answers)


def test_p_values_of_equal_distributions_are_uniform():
    samples = torch.randn(150, 60, 2, generator=seeded())
    p = torch.tensor([equality_p_value(a[:30], a[30:], permutations=99, generator=seeded()) for a in samples])
    for level in (0.1, 0.5, 0.9):
        assert abs(float((p <= level).double().mean()) - level) < 0.1


def test_equality_sees_means_spreads_and_dependence():
    """Two samples with the same marginals but another correlation differ."""
    a, b = torch.randn(2, 300, 2, generator=seeded(1))
    turned = b @ torch.tensor([[1.0, 0.8], [0, 0.6]])
    for other, same in [(b, True), (b + 0.5, False), (2 * b, False), (turned, False)]:
        assert (equality_p_value(a, other, generator=seeded()) > 0.01) == same
    steps = torch.randint(3, (2, 300, 1), generator=seeded())  # discrete ones too
    assert equality_p_value(steps[0], steps[1], generator=seeded()) > 0.01
    assert equality_p_value(steps[0], steps[1].clamp(max=1), generator=seeded()) < 0.01
    with pytest.raises(ValueError, match="shapes"):
        equality_p_value(a, b[:, :1])
