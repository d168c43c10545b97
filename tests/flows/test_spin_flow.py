"""Spins: exact Gibbs laws on trees for the XY, O(3) and Potts models, and elsewhere by weights."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest, vonmises

from pyg_symbreak.flows import SpinFlow, VacuumMixture, effective_sample_size, fit_samples, log_partition
from pyg_symbreak.groups import PointGroup

TREE = torch.tensor([[0, 1], [1, 2], [1, 3], [3, 4]]).T
RING = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3]]).T
TRIANGLE = torch.tensor([[1, 0, 0], [-0.5, math.sqrt(3) / 2, 0], [-0.5, -math.sqrt(3) / 2, 0]], dtype=torch.float64)
TETRAHEDRON = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64) / math.sqrt(3)
J = 1.7


@pytest.fixture(autouse=True)
def _seeded(double):
    torch.manual_seed(0)


def keeps(group: PointGroup, vector: torch.Tensor) -> PointGroup:
    return PointGroup.from_matrices([g for g in group.matrices if np.allclose(g @ vector.numpy(), vector)])


MODELS = {
    "XY": ("plane", PointGroup("Cinf"), None),
    "O(3)": ("sphere", PointGroup("O3"), "Cinfv"),
    "Potts, 3": (TRIANGLE, PointGroup("C3v"), keeps(PointGroup("C3v"), TRIANGLE[0])),
    "Potts, 4": (TETRAHEDRON, PointGroup("Td"), keeps(PointGroup("Td"), TETRAHEDRON[0])),
}


def mixture(name: str, edges: torch.Tensor, nodes: int) -> VacuumMixture:
    states, group, keep = MODELS[name]
    return VacuumMixture(SpinFlow(torch.cat([edges, edges.flip(0)], 1), nodes, states, J), group, keep)


def energy(x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    return -J * (x[:, edges[0]] * x[:, edges[1]]).sum((1, 2))


def log_z(name: str, edges: torch.Tensor, nodes: int) -> float:
    """In closed form, on a tree or a ring (sums over characters), or by counting."""
    states = MODELS[name][0]
    if torch.is_tensor(states):
        all_states = states[torch.cartesian_prod(*[torch.arange(len(states))] * nodes)]
        return (-energy(all_states, edges)).logsumexp(0).item()
    at = (torch.arange(2000) + 0.5) / 2000
    l = torch.arange(30)
    if name == "XY":
        angle = 2 * math.pi * at
        c = ((J * angle.cos()).exp() * (torch.arange(-30, 31)[:, None] * angle).cos()).mean(1)
        whole, volume = c[30], 2 * math.pi
        weights = torch.ones(61)
    else:
        z = torch.from_numpy(np.polynomial.legendre.leggauss(200)[0])
        w = torch.from_numpy(np.polynomial.legendre.leggauss(200)[1])
        legendre = torch.from_numpy(np.polynomial.legendre.legvander(z.numpy(), 29))
        c = (w[:, None] * (J * z).exp()[:, None] * legendre).sum(0) / 2
        whole, volume, weights = c[0], 4 * math.pi, 2.0 * l + 1
    if edges.shape[1] == nodes - 1:
        return nodes * math.log(volume) + (nodes - 1) * math.log(whole)
    return nodes * math.log(volume) + (weights * c**nodes).sum().log().item()


@pytest.mark.parametrize("name", MODELS)
def test_trees_are_exact(name):
    model = mixture(name, TREE, 5)
    with torch.no_grad():
        x, log_prob = model.sample(2000)
    torch.testing.assert_close(x.norm(dim=2), torch.ones(2000, 5))
    torch.testing.assert_close(log_prob, -energy(x, TREE) - log_z(name, TREE, 5))
    m = x.mean(1)
    assert (m.mean(0).abs() <= 4 * m.std(0) / math.sqrt(2000)).all()
    # Neighbours are as far apart as the derivative of log Z says.
    bond, across = (x[:, 0] * x[:, 1]).sum(1), (x[:, 0] * x[:, 2]).sum(1)
    states = MODELS[name][0]
    if torch.is_tensor(states):
        p = (J * states @ states[0]).softmax(0)
        mean = (p * (states @ states[0])).sum().item()
        which = (x[:, 0, None] - states).square().sum(2).argmin(1)
        assert chisquare(np.bincount(which.numpy(), minlength=len(states))).pvalue > 0.01
    else:
        mean = 1 / math.tanh(J) - 1 / J if name == "O(3)" else float(torch.special.i1(torch.tensor(J))) / np.i0(J)
    assert abs(bond.mean() - mean) < 4 * bond.std() / math.sqrt(2000)
    assert abs(across.mean() - mean**2) < 4 * across.std() / math.sqrt(2000)
    if name == "XY":
        turn = torch.atan2(x[:, 0, 0] * x[:, 1, 1] - x[:, 0, 1] * x[:, 1, 0], bond)
        assert kstest(turn.numpy(), vonmises(J).cdf).pvalue > 0.01


@pytest.mark.parametrize("name", MODELS)
def test_rings_by_weights(name):
    model = mixture(name, RING, 4)
    with torch.no_grad():
        x, log_prob = model.sample(4000)
    log_weights = -energy(x, RING) - log_prob
    found = log_partition(log_weights)
    assert abs(found.value - log_z(name, RING, 4)) < 4 * found.error
    assert 0.4 < effective_sample_size(log_weights) < 0.999


def test_couplings_can_be_fitted():
    states, _, _ = MODELS["Potts, 3"]
    flow = SpinFlow(torch.cat([TREE, TREE.flip(0)], 1), 5, states, J)
    x, _ = flow.sample(2000)
    other = SpinFlow(torch.cat([TREE, TREE.flip(0)], 1), 5, states, 0.3)
    losses = fit_samples(other, x, 80, 500, 0.1)
    assert losses[-1] < losses[0]
    assert (other.coupling[1:] - J).abs().max() < 0.25
