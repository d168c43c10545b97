"""Hamiltonian flows: volume, inverse, symmetry exact and by penalty, and the bound on the density."""

import math

import pytest
import torch
from torch_geometric.data import Data

from pyg_symbreak.dynamics import GraphEnergy
from pyg_symbreak.flows import HamiltonianFlow, PlainEnergy, fit_samples
from pyg_symbreak.groups import LieGroup


@pytest.fixture(autouse=True)
def _seeded(double):
    torch.manual_seed(0)


def complete(nodes: int) -> Data:
    pairs = torch.tensor([(i, j) for i in range(nodes) for j in range(nodes) if i != j]).view(-1, 2).T
    return Data(num_nodes=nodes, edge_index=pairs if nodes > 1 else None)


def make(nodes: int, dim: int, exact: bool, steps: int = 3, gain: float = 3.0) -> HamiltonianFlow:
    def energy(name: str):
        if exact:
            return GraphEnergy(dim, LieGroup.rotations(dim), [name], hidden=8)
        return PlainEnergy(nodes, dim, name, hidden=8)

    potentials, kinetics = ([energy(name) for _ in range(steps)] for name in ("pos", "momentum"))
    flow = HamiltonianFlow(complete(nodes), dim, potentials, kinetics, energy("pos"))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(gain)
    return flow


CASES = [(1, 2, True), (1, 2, False), (3, 2, True), (3, 3, True), (2, 3, False)]


@pytest.mark.parametrize(("nodes", "dim", "exact"), CASES)
def test_volume_is_kept_and_the_way_back_is_known(nodes, dim, exact):
    flow = make(nodes, dim, exact)
    state = torch.randn(2, 2, nodes, dim)
    q, p = flow(*state)
    assert (q - state[0]).abs().max() > 0.05
    back = torch.stack(flow.inverse(q, p))
    assert (back - state).abs().max() < 1e-10

    def move(x):
        return torch.stack(flow(*x[:, None]))[:, 0]

    jacobian = torch.autograd.functional.jacobian(move, state[:, 0]).view(2 * nodes * dim, -1)
    assert abs(torch.linalg.slogdet(jacobian)[1].item()) <= 1e-10
    assert (jacobian - torch.eye(len(jacobian))).abs().max() > 0.05
    # Symplectic, not only of determinant one: J^T Ω J = Ω.
    half = nodes * dim
    omega = torch.zeros(2 * half, 2 * half)
    omega[:half, half:] = torch.eye(half)
    omega = omega - omega.T
    assert (jacobian.T @ omega @ jacobian - omega).abs().max() < 1e-10


@pytest.mark.parametrize(("nodes", "dim", "exact"), CASES)
def test_brackets_are_what_symmetry_says(nodes, dim, exact):
    flow, group = make(nodes, dim, exact), LieGroup.rotations(dim)
    x = torch.randn(7, nodes, dim)
    brackets = flow.brackets(group, x)
    assert brackets.shape == (6, 7, group.dimension)
    assert (brackets.abs().max() <= 1e-10) == exact
    if not exact:
        assert brackets.square().mean((1, 2)).min() > 1e-8
    # A map that commutes with rotations, exactly when the brackets vanish.
    turn = torch.from_numpy(group.exp([0.7] * group.dimension))
    q, p = flow(x, 2 * x.flip(0))
    moved_q, moved_p = flow(x @ turn.T, 2 * x.flip(0) @ turn.T)
    error = max((moved_q - q @ turn.T).abs().max(), (moved_p - p @ turn.T).abs().max())
    assert (error < 1e-10) == exact
    if exact:
        order = torch.randperm(nodes)
        torch.testing.assert_close(flow(x[:, order], 2 * x.flip(0)[:, order])[0], q[:, order])


def test_brackets_against_derivatives_along_the_rotation():
    flow = make(2, 3, False)
    group = LieGroup.rotations(3)
    x = torch.randn(4, 2, 3)
    found = flow.brackets(group, x, torch.Generator().manual_seed(0))
    data = Data(pos=x.flatten(0, 1))
    # The last potential is seen first on the way back, at x itself: {g, V} = -d/da V(exp(aT) x).
    for k, generator in enumerate(torch.from_numpy(group.generators)):
        step = 1e-6
        turned = [Data(pos=data.pos @ torch.matrix_exp(s * generator).T) for s in (step, -step)]
        slope = (flow.potentials[-1](turned[0]) - flow.potentials[-1](turned[1])) / (2 * step)
        torch.testing.assert_close(found[0, :, k], -slope, atol=1e-7, rtol=0)
    with pytest.raises(ValueError, match="antisymmetric"):
        flow.brackets(LieGroup.scalings(3), x)


@pytest.mark.parametrize("exact", [True, False])
def test_the_bound_is_below_the_density(exact):
    """In one dimension of position the density follows by quadrature over momenta."""
    nodes, dim = 1, 2
    flow = make(nodes, dim, exact, steps=2, gain=2.0)
    x = torch.randn(3, nodes, dim)
    at = torch.linspace(-7, 7, 141)
    p = torch.cartesian_prod(at, at).view(-1, 1, 2)
    with torch.no_grad():
        for point in x:
            q0, p0 = flow.inverse(point.expand_as(p), p)
            joint = -((q0**2 + p0**2).sum((1, 2)) / 2 + 2 * math.log(2 * math.pi))
            exact_value = joint.logsumexp(0) + 2 * math.log(at[1] - at[0])
            bounds = flow.log_prob(point.expand(1000, 1, 2))
            assert bounds.mean() < exact_value
            many = flow.log_prob(point[None], samples=5000)[0]
            assert abs(many - exact_value) < 0.1
    grid = torch.cartesian_prod(torch.linspace(-8, 8, 81), torch.linspace(-8, 8, 81)).view(-1, 1, 2)
    with torch.no_grad():
        total = flow.log_prob(grid, samples=20).exp().sum() * 0.2**2
    assert total.item() == pytest.approx(1, abs=0.05)


def test_a_penalty_makes_energies_symmetric():
    torch.set_default_dtype(torch.float32)
    angle = torch.rand(16) * 2 * math.pi
    x = 2 * torch.stack([angle.cos(), angle.sin()], dim=1)[:, None]
    group = LieGroup.rotations(2)
    sizes = []
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        flow = make(1, 2, False, steps=1, gain=1.0)
        losses = fit_samples(
            flow, x, 40, lr=1e-2, penalty=lambda y, f=flow, w=weight: w * f.brackets(group, y).square().mean()
        )
        assert losses[-1] < losses[0]
        sizes.append(flow.brackets(group, x).square().mean().sqrt().item())
    assert sizes[1] < sizes[0] / 3


def test_as_many_kinetics_as_potentials():
    with pytest.raises(ValueError, match="as many"):
        HamiltonianFlow(complete(1), 2, [PlainEnergy(1, 2)], [], PlainEnergy(1, 2))
