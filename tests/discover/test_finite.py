import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch, Data

from pyg_symbreak.discover import finite_symmetries
from pyg_symbreak.groups import PointGroup

TURN = torch.from_numpy(Rotation.random(random_state=3).as_matrix())
PHI = (1 + 5**0.5) / 2
FIVEFOLD = torch.tensor([[0, 1, PHI], [0, 1, -PHI], [1, PHI, 0], [1, -PHI, 0], [PHI, 0, 1], [-PHI, 0, 1]]).double()
SPHERE = 6 / 7 * (1 + PHI**2) ** 3  # the mean of the sum of sixth powers below over all directions

FUNCTIONS = {
    "C1": lambda x: x[:, 2] + 2 * x[:, 0] * x[:, 1] + x[:, 0] ** 3,
    "C4v": lambda x: x[:, 2] + x[:, 0] ** 2 * x[:, 1] ** 2,
    "D3h": lambda x: x[:, 0] ** 3 - 3 * x[:, 0] * x[:, 1] ** 2,
    "Td": lambda x: x.prod(1),
    "Th": lambda x: (x**2 * x.roll(1, 1) ** 4).sum(1) / 10,
    "Oh": lambda x: (x**4).sum(1) / (1 + x.square().sum(1)),
    "Ih": lambda x: ((x @ FIVEFOLD.T) ** 6).sum(1) - SPHERE * x.square().sum(1) ** 3,
    "Cinfv": lambda x: x[:, 2] * x[:, :2].square().sum(1),
    "Dinfh": lambda x: x[:, 2] ** 2,
    "O3": lambda x: x.square().sum(1),
}


def points(n=300, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", ["C1", "C4v", "Td", "Ih", "Dinfh", "O3"])
def test_groups_are_found_in_any_orientation(name):
    x = points()
    if name == "Ih":
        x = x / x.norm(dim=1, keepdim=True)
    found = finite_symmetries(lambda x: FUNCTIONS[name](x @ TURN), x)
    assert found.group.schoenflies == name
    assert found.errors.max() < 0.01
    expected = PointGroup(name)
    if 1 < expected.order < math.inf and name != "Ih":  # the standard frame of Ih may be another one
        assert found.group.order == expected.order
        turned = TURN.numpy() @ expected.matrices @ TURN.numpy().T
        nearest = np.abs(found.group.matrices[:, None] - turned[None]).max((2, 3)).min(1)
        assert nearest.max() < 0.02


@pytest.mark.parametrize("name", ["C4v", "Td", "Th", "Oh"])
def test_of_a_group_the_elements_that_are_respected(name):
    found = finite_symmetries(FUNCTIONS[name], points(), PointGroup("Oh"))
    assert found.group == PointGroup(name)
    respected = np.array([PointGroup(name).contains(g) for g in found.elements])
    assert found.errors[respected].max() < 1e-12
    assert found.errors[~respected].min(initial=1) > 0.1


def test_vectors_and_axial_vectors():
    def field(x):
        return torch.linalg.cross(x, x**3)

    assert finite_symmetries(field, points(), PointGroup("Oh"), "1e").group.schoenflies == "Oh"
    assert finite_symmetries(field, points(), PointGroup("Oh"), "1o").group.schoenflies == "O"
    assert (
        finite_symmetries(lambda x: x * x.roll(1, 1) ** 2, points(), PointGroup("Oh"), "1o").group.schoenflies == "Th"
    )


def test_graphs_turn_as_a_whole():
    def moment(batch):
        return torch.zeros(batch.num_graphs).double().index_add(0, batch.batch, (batch.pos**4).sum(1))

    batch = Batch.from_data_list([Data(pos=p) for p in points(240).view(60, 4, 3)])
    assert finite_symmetries(moment, batch, PointGroup("Oh")).group.schoenflies == "Oh"
    sets = points(240).view(60, 4, 3)
    assert finite_symmetries(lambda x: (x**4).sum((1, 2)), sets, PointGroup("Ih")).group.schoenflies == "Th"


def test_labels_decide_by_residuals():
    x = points(120)
    noise = 0.3 * points(120, seed=1)[:, 0]
    y = (x**4).sum(1) / 3 + noise
    kept = finite_symmetries(lambda x: (x**4).sum(1) / 3, x, PointGroup("C4v"), y=y)
    assert kept.group.schoenflies == "C4v"
    assert kept.p_values.min() > 0.01 / 8
    lean = finite_symmetries(lambda x: (x**4).sum(1) / 3 + 2 * x[:, 0], x, PointGroup("C4v"), y=y + 2 * x[:, 0])
    assert lean.group.schoenflies == "Cs"


def test_a_continuous_candidate():
    assert finite_symmetries(FUNCTIONS["Dinfh"], points(), PointGroup("Dinfh")).group.schoenflies == "Dinfh"
    with pytest.raises(ValueError, match="not respected"):
        finite_symmetries(FUNCTIONS["D3h"], points(), PointGroup("Dinfh"))


def test_an_axis_that_is_round_only_roughly():
    """Turns of one radian about z are below the tolerance, others are not: no continuous group is claimed."""

    def f(x):
        r, phi = x[:, :2].norm(dim=1), torch.atan2(x[:, 1], x[:, 0])
        return x[:, 2].exp() + 0.35 * r * (6 * phi).cos()  # 6 radians are nearly a turn

    found = finite_symmetries(f, points(), tolerance=0.1)
    assert found.group.schoenflies == "C6v"
    assert found.errors.max() < 0.01


def test_bad_input():
    with pytest.raises(ValueError, match="give the group"):
        finite_symmetries(FUNCTIONS["Oh"], points(), y=points()[:, 0])
    with pytest.raises(ValueError, match="constant"):
        finite_symmetries(lambda x: torch.ones(len(x)), points())
    with pytest.raises(ValueError, match="points"):
        finite_symmetries(lambda x: x.sum(1), points()[:, :2])
