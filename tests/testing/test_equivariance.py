"""The check of equivariance: models that must pass and those that must fail."""

import pytest
import torch
from ase.build import molecule
from testing_models import GRAPH, IN, OBJECT, OUT, CoordinateMLP, network, randn, seeded, structure
from torch_geometric.data import Batch, Data

from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import from_ase
from pyg_symbreak.testing import equivariance_error


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


def test_a_batch_is_refused():
    structures = [from_ase(molecule(name)) for name in ("NH3", "H2O")]
    with pytest.raises(TypeError, match=r"data is a batch: take one structure, such as batch\[0\]"):
        equivariance_error(lambda data: data.pos, Batch.from_data_list(structures), "1o")
    equivariance_error(lambda data: data.pos - data.pos.mean(0), Batch.from_data_list(structures)[0], "1o")
