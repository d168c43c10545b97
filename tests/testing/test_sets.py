"""The check that a set moves with its structure: sets that must pass and those that must fail."""

import pytest
import torch
from ase.build import bulk, molecule
from testing_models import double_prism, randn, seeded
from torch_geometric.data import Data

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.structures import from_ase
from pyg_symbreak.testing import set_equivariance_error
from pyg_symbreak.transforms import AddSymmetryBreaking


def prism_symmetry(prism: Data) -> PointGroup:
    """D3: an improper operation would change the sign of the chirality mark."""
    rotations = detect_symmetry(prism).rotations
    return PointGroup.from_matrices(rotations[torch.linalg.det(rotations) > 0])


def naive_set(prism: Data) -> torch.Tensor:
    """Three vectors along twofold axes and two along the main axis, in the axes that the group happens to be given."""
    angles = 2 * torch.pi * torch.arange(3) / 3
    pairs = [[a.cos(), a.sin(), 0.0, 0.0, 0.0, z] for z in (1.0, -1.0) for a in angles]
    return (torch.tensor(pairs).double().view(6, 2, 3) @ torch.from_numpy(prism_symmetry(prism).frame.T)).flatten(1)


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
