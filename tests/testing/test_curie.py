"""What an output keeps of its input's symmetry, and the bound of a model without an object."""

import copy

import pytest
import torch
from ase.build import molecule
from testing_models import CoordinateMLP, double_prism, network, randn, seeded
from torch_geometric.data import Data

from pyg_symbreak.datasets import BaTiO3
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.structures import from_ase
from pyg_symbreak.testing import curie_gap, equivariance_error, stabilizer_of_output
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList


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
    several = lambda d: (model(d), torch.ones(1, 3))  # noqa: E731
    assert abs(curie_gap(several, data, data.y)) < 1e-14  # the first output is compared


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
