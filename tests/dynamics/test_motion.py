"""Hamiltonians, Lagrangians, their integration and their charges, against formulas, sympy and scipy."""

import copy

import numpy as np
import pytest
import sympy
import torch
from scipy.integrate import solve_ivp
from torch import nn
from torch_geometric.data import Batch, Data

from pyg_symbreak.dynamics import (
    GraphEnergy,
    Hamiltonian,
    Lagrangian,
    NaturalLagrangian,
    NewtonianEnergy,
    charge_drift,
    charges,
    integrate,
    noether,
)
from pyg_symbreak.dynamics.graph_energy import sum_graphs
from pyg_symbreak.groups import LieGroup

G = 9.8


def complete(n):
    index = torch.combinations(torch.arange(n), 2).T
    return torch.cat([index, index.flip(0)], 1)


def bodies(n=3, dim=2, seed=0, graphs=None):
    g = torch.Generator().manual_seed(seed)

    def one():
        pos, momentum = (torch.randn(n, dim, generator=g).double() for _ in range(2))
        mass = 0.5 + torch.rand(n, generator=g).double()
        return Data(pos=pos, momentum=momentum, vel=momentum, mass=mass, edge_index=complete(n))

    return one() if graphs is None else Batch.from_data_list([one() for _ in range(graphs)])


def learned(group, dim=2, **kwargs):
    torch.manual_seed(0)
    return GraphEnergy(dim, group, hidden=8, **kwargs).double()


def double_pendulum(data):
    """L of two unit masses on unit rods."""
    (a, b), (x, y) = data.pos.view(-1, 2).unbind(1), data.vel.view(-1, 2).unbind(1)
    return x**2 + y**2 / 2 + x * y * (a - b).cos() + G * (2 * a.cos() + b.cos())


def known_accelerations(a, b, x, y):
    """Solved by sympy from the same L."""
    t = sympy.Symbol("t")
    u, v = (sympy.Function(n)(t) for n in "uv")
    du, dv = u.diff(t), v.diff(t)
    lagrangian = du**2 + dv**2 / 2 + du * dv * sympy.cos(u - v) + G * (2 * sympy.cos(u) + sympy.cos(v))
    equations = [(lagrangian.diff(w.diff(t))).diff(t) - lagrangian.diff(w) for w in (u, v)]
    solved = sympy.solve(equations, [u.diff(t, 2), v.diff(t, 2)])
    symbols = sympy.symbols("a b x y")
    order = {u.diff(t): symbols[2], v.diff(t): symbols[3]}
    formulas = [solved[w.diff(t, 2)].subs(order).subs({u: symbols[0], v: symbols[1]}) for w in (u, v)]
    return sympy.lambdify(symbols, formulas)(a, b, x, y)


def arms(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    make = lambda s: s * (2 * torch.rand(2, 1, generator=g).double() - 1)  # noqa: E731
    return Batch.from_data_list([Data(pos=make(torch.pi), vel=make(5.0)) for _ in range(n)])


# ------------------------------------------------------------------ Hamiltonians


def test_hamiltons_equations_against_finite_differences():
    data, model = bodies(), Hamiltonian(learned(LieGroup.euclidean(2)))
    rates = model(data)
    for name, rate, sign in (("momentum", rates[0], 1), ("pos", rates[1], -1)):
        for i, j in ((0, 0), (2, 1)):
            ends = []
            for step in (1e-5, -1e-5):
                moved = data.clone()
                moved[name][i, j] += step
                ends.append(model.energy(moved))
            assert sign * (ends[0] - ends[1]).item() / 2e-5 == pytest.approx(rate[i, j].item(), abs=1e-8)


def test_friction_takes_its_power_from_the_energy():
    """dH/dt = ∂H/∂q q̇ + ∂H/∂p ṗ is the power, for any R; and 2R for R = γ |q̇|² / 2 with a minus."""
    data = bodies(graphs=2)
    energy, friction = learned(LieGroup.euclidean(2)), learned(None, inputs=("pos", "vel"), time_reversal=True)
    model, free = Hamiltonian(energy, friction), Hamiltonian(energy)
    vel, force = model(data)
    change = sum_graphs((vel * force - vel * free(data)[1]).sum(1), data)
    torch.testing.assert_close(model.power(data), change)
    assert model.power(data).abs().min() > 1e-6
    assert free.power(data).tolist() == [0, 0]
    drag = Hamiltonian(energy, lambda data: sum_graphs(0.3 * data.vel.square().sum(1), data))
    torch.testing.assert_close(drag.power(data), -sum_graphs(0.6 * vel.square().sum(1), data))
    torch.testing.assert_close(drag(data)[1], free(data)[1] - 0.6 * vel)


def test_masses_are_asked_for():
    data = bodies()
    model = Hamiltonian(NewtonianEnergy(learned(None, inputs=("pos",))))
    torch.testing.assert_close(model(data)[0], data.momentum / data.mass[:, None])
    del data.mass
    with pytest.raises(ValueError, match=r"data\.mass must hold 3 numbers"):
        model(data)
    del data.momentum
    with pytest.raises(ValueError, match=r"data\.momentum is missing: the state of a motion is pos and momentum"):
        model(data)


def test_under_no_grad_nothing_is_kept_and_nothing_changes():
    data, model = bodies(), Hamiltonian(learned(None), learned(None, inputs=("vel",)))
    with torch.no_grad():
        rates = model(data)
    for with_graph, without in zip(model(data), rates, strict=True):
        assert not without.requires_grad
        assert with_graph.requires_grad
        assert torch.equal(with_graph, without)
    assert not data.pos.requires_grad


@pytest.mark.parametrize("method", ["rk4", "leapfrog"])
def test_motion_reversed_in_time_is_a_motion(method):
    data = bodies()
    even = Hamiltonian(NewtonianEnergy(learned(LieGroup.euclidean(2), inputs=("pos",))))
    back_at = {}
    odd = Hamiltonian(lambda data: even.energy(data) + (data.pos[:, 0] * data.momentum[:, 1]).sum())
    for name, model in {"even": even, "odd": odd}.items():
        if name == "odd" and method == "leapfrog":
            continue
        with torch.no_grad():
            pos, momentum = integrate(model, data, 20, 0.1, method)
            turned = copy.copy(data)
            turned.pos, turned.momentum = pos[-1], -momentum[-1]
            back_at[name] = (integrate(model, turned, 20, 0.1, method)[0][-1] - data.pos).abs().max()
    assert back_at["even"] < (1e-12 if method == "leapfrog" else 1e-4)
    assert back_at.get("odd", 1) > 0.1


# ------------------------------------------------------------------ Lagrangians


def test_exact_lagrangian_gives_exact_accelerations():
    data = arms(20)
    _, found = Lagrangian(double_pendulum)(data)
    a, b, x, y = (*data.pos.view(-1, 2).T.numpy(), *data.vel.view(-1, 2).T.numpy())
    expected = np.array(known_accelerations(a, b, x, y)).T
    np.testing.assert_allclose(found.view(-1, 2).detach().numpy(), expected, rtol=0, atol=1e-10)


def test_graphs_of_several_sizes_and_coupled_masses():
    """A batch gives what its graphs give alone; a magnetic term makes no acceleration along the velocity."""
    torch.manual_seed(0)
    potential = learned(LieGroup.euclidean(2), inputs=("pos", "vel"))

    def lagrangian(data):
        return sum_graphs(data.vel.square().sum(1), data) + potential(data)

    batch = Batch.from_data_list([bodies(n, seed=n) for n in (3, 1, 2)])
    alone = torch.cat([Lagrangian(lagrangian)(data)[1] for data in batch.to_data_list()])
    torch.testing.assert_close(Lagrangian(lagrangian)(batch)[1], alone)
    one = bodies(1)
    charged = Lagrangian(lambda d: (d.vel.square().sum(1) / 2 + 3 * d.pos[:, 0] * d.vel[:, 1]).sum().view(1))
    x, y = one.vel[0]
    torch.testing.assert_close(charged(one)[1], torch.stack([3 * y, -3 * x])[None])


def test_mass_matrix_is_bounded_below():
    torch.manual_seed(0)
    lagrangian = NaturalLagrangian(2, epsilon=0.1).double()
    with torch.no_grad():
        for parameter in lagrangian.parameters():
            parameter.mul_(20)
    data = arms(50)
    mass, _ = lagrangian.mass_and_potential(data)
    assert torch.linalg.eigvalsh(mass).min() > 0.1 * (1 - 1e-9)
    torch.testing.assert_close(mass, mass.mT)
    acceleration = Lagrangian(lagrangian)(data)[1]
    assert acceleration.isfinite().all()
    shifted = data.clone()
    shifted.pos = data.pos + 2 * torch.pi
    torch.testing.assert_close(lagrangian(shifted), lagrangian(data))
    with pytest.raises(ValueError, match="every graph must have 3 coordinates"):
        NaturalLagrangian(3).double()(data)
    with pytest.raises(ValueError, match=r"data\.vel is missing"):
        Lagrangian(lagrangian)(Data(pos=data.pos))


def test_lagrangian_and_hamiltonian_of_one_system_move_alike():
    potential = learned(LieGroup.euclidean(2), inputs=("pos",))
    data = bodies()
    data.vel = data.momentum / data.mass[:, None]
    hamiltonian = Hamiltonian(NewtonianEnergy(potential))
    lagrangian = Lagrangian(lambda data: sum_graphs(data.mass * data.vel.square().sum(1) / 2, data) - potential(data))
    torch.testing.assert_close(lagrangian(data)[1] * data.mass[:, None], hamiltonian(data)[1])
    torch.testing.assert_close(lagrangian.energy(data), hamiltonian.energy(data))
    for one, other in zip(lagrangian.canonical(data), hamiltonian.canonical(data), strict=True):
        torch.testing.assert_close(one, other)


def test_acceleration_can_be_trained():
    lagrangian = NaturalLagrangian(2, hidden=4).double()
    data = arms(3)
    Lagrangian(lagrangian)(data)[1].abs().sum().backward()
    weight, exact = lagrangian.mlp[0].weight, lagrangian.mlp[0].weight.grad[1, 2].item()
    ends = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            weight[1, 2] += step
        ends.append(Lagrangian(lagrangian)(data)[1].abs().sum().item())
        with torch.no_grad():
            weight[1, 2] -= step
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(exact, rel=1e-5)


# ------------------------------------------------------------------ integration


@pytest.mark.parametrize(("method", "order"), [("leapfrog", 2), ("rk4", 4)])
def test_integration_against_scipy(method, order):
    data, model = bodies(), Hamiltonian(NewtonianEnergy(lambda d: sum_graphs((d.pos**4).sum(1), d)))

    def rates(_, y):
        pos, momentum = y.reshape(2, 3, 2)
        return np.stack([momentum / data.mass[:, None].numpy(), -4 * pos**3]).ravel()

    start = torch.stack([data.pos, data.momentum]).numpy().ravel()
    exact = solve_ivp(rates, (0, 1), start, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1].reshape(2, 3, 2)
    errors = []
    with torch.no_grad():
        for steps in (50, 100):
            pos, momentum = integrate(model, data, steps, 1 / steps, method)
            assert pos.shape == (steps + 1, 3, 2)
            errors.append(np.abs(torch.stack([pos[-1], momentum[-1]]).numpy() - exact).max())
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)
    assert errors[1] < 1e-2


def test_leapfrog_is_symplectic_and_rk4_is_not():
    """The Jacobian of a step keeps the symplectic form; also a check that trajectories can be differentiated."""
    model = Hamiltonian(lambda d: (d.momentum.square().sum() / 2 + d.pos.cos().sum() + d.pos.prod()).view(1))
    form = torch.zeros(4, 4).double()
    form[[0, 1], [2, 3]], form[[2, 3], [0, 1]] = 1, -1
    errors = {}
    for method in ("leapfrog", "rk4"):

        def flow(state, method=method):
            data = Data(pos=state[:2].view(1, 2), momentum=state[2:].view(1, 2))
            return torch.cat([x[-1].ravel() for x in integrate(model, data, 3, 0.3, method)])

        jacobian = torch.autograd.functional.jacobian(flow, torch.tensor([0.3, -0.8, 1.0, 0.5]).double())
        errors[method] = (jacobian.T @ form @ jacobian - form).abs().max().item()
    assert errors["leapfrog"] < 1e-13
    assert 1e-6 < errors["rk4"] < 1e-2


def test_leapfrog_refuses_what_it_is_not_for():
    data = bodies()
    coupled = Hamiltonian(learned(None))
    rubbed = Hamiltonian(
        NewtonianEnergy(learned(None, inputs=("pos",))), lambda d: sum_graphs(d.vel.square().sum(1), d)
    )
    for model in (coupled, rubbed):
        with pytest.raises(ValueError, match="take method='rk4'"):
            integrate(model, data, 1, 0.1, "leapfrog")
    with pytest.raises(ValueError, match="must be 'leapfrog' or 'rk4', got 'euler'"):
        integrate(coupled, data, 1, 0.1, "euler")


def test_energy_error_stays_bounded_with_leapfrog():
    spring = Hamiltonian(lambda d: sum_graphs((d.pos**2 + d.momentum**2).sum(1) / 2, d))
    data = Data(pos=torch.ones(1, 1).double(), momentum=torch.zeros(1, 1).double())
    with torch.no_grad():
        energy = [
            (pos**2 + momentum**2).flatten() / 2
            for pos, momentum in (integrate(spring, data, 200, 0.3, method) for method in ("leapfrog", "rk4"))
        ]
    late = [(e[150:] - e[0]).abs().max() / (e[:40] - e[0]).abs().max() for e in energy]
    assert late[0] < 1.01  # oscillates
    assert late[1] > 3  # drifts


# ------------------------------------------------------------------ charges


@pytest.mark.parametrize("dim", [2, 3])
def test_charges_of_the_group_are_conserved_and_others_not(dim):
    """Untrained energies: the group alone decides, whatever the weights."""
    turns, euclidean = dim * (dim - 1) // 2, LieGroup.euclidean(dim)
    kept = {"trivial": [], "T": range(turns, turns + dim), "SO": range(turns), "SE": range(turns + dim)}
    groups = {"T": LieGroup.translations(dim), "SO": LieGroup.rotations(dim), "SE": euclidean}
    data = bodies(4, dim)
    for name, conserved in kept.items():
        energy = learned(groups.get(name), dim, inputs=("pos", "momentum"))
        model = Hamiltonian(lambda d, e=energy: sum_graphs(d.momentum.square().sum(1) / 2, d) + 5 * e(d))
        with torch.no_grad():
            drift = charge_drift(model, data, integrate(model, data, 12, 0.02), euclidean)[0]
        for k in range(turns + dim):
            assert (drift[k] < (1e-6 if k < turns else 1e-13)) == (k in conserved), (name, k, drift)


def test_charges_are_those_of_mechanics():
    data = bodies(dim=3)
    values = charges(Hamiltonian(learned(None, 3)), data, LieGroup.euclidean(3))[0]
    expected = torch.cat([torch.linalg.cross(data.pos, data.momentum).sum(0), data.momentum.sum(0)])
    torch.testing.assert_close(values, expected)


def test_drift_of_momentum_is_the_impulse_of_what_breaks_the_symmetry():
    inner = learned(LieGroup.euclidean(2), inputs=("pos",))
    model = Hamiltonian(NewtonianEnergy(lambda d: inner(d) + sum_graphs(d.mass * G * d.pos[:, 1], d)))
    data = bodies()
    with torch.no_grad():
        drift = charge_drift(model, data, integrate(model, data, 20, 0.05), LieGroup.translations(2))[0]
    assert drift[0] < 1e-13
    assert drift[1].item() == pytest.approx((data.mass.sum() * G).item(), rel=1e-12)


def test_a_cyclic_coordinate_of_a_lagrangian():
    """A spherical pendulum about z: its second angle is cyclic, and the first is not."""

    def lagrangian(data):
        a, (x, y) = data.pos[:, 0], data.vel.T
        return sum_graphs((x**2 + a.sin() ** 2 * y**2) / 2 + a.cos(), data)

    data = Data(pos=torch.tensor([[1.0, 0.3]]).double(), vel=torch.tensor([[0.5, 0.8]]).double())
    model = Lagrangian(lagrangian)
    with torch.no_grad():
        drift = charge_drift(model, data, integrate(model, data, 20, 0.05), LieGroup.translations(2))[0]
        coarse = charge_drift(model, data, integrate(model, data, 10, 0.1), LieGroup.translations(2))[0]
    assert drift[1] < 1e-6
    assert coarse[1] / drift[1] > 10  # of the order of the integrator
    assert drift[0] > 0.1


def test_noether_finds_the_group_of_an_energy():
    data = bodies(graphs=60)
    for group, count in (
        (None, 0),
        (LieGroup.translations(2), 2),
        (LieGroup.rotations(2), 1),
        (LieGroup.euclidean(2), 3),
    ):
        energy = learned(group)
        found = noether(Hamiltonian(lambda d, e=energy: sum_graphs(d.momentum.square().sum(1), d) * 0 + e(d)), data)
        assert found.group.dimension == count, (group, found)
        assert found.rates[:count].max(initial=0) < 1e-7
        assert found.rates[count] > 0.02
        if count == 3:
            known = LieGroup.euclidean(2).generators.reshape(3, -1)
            assert np.linalg.matrix_rank(np.vstack([known, found.group.generators.reshape(3, -1)]), 1e-6) == 3
            assert found.group.closure_error < 1e-6
    assert str(found).startswith("NoetherCharges(3 of 6, rates up to")


def test_rates_are_those_of_the_same_motion_elsewhere():
    """Nothing is conserved; 7 Å aside the charges mix, but as functions of the states they are the same."""
    data, aside = bodies(graphs=60), bodies(graphs=60)
    step = torch.tensor([7.0, -2.0]).double()
    aside.pos = aside.pos + step
    energy = learned(None)

    def moved(d):
        back = copy.copy(d)
        back.pos = d.pos - step
        return energy(back)

    here, there = noether(Hamiltonian(energy), data).rates, noether(Hamiltonian(moved), aside).rates
    np.testing.assert_allclose(there, here, rtol=1e-9)


def test_noether_in_other_terms():
    """A Lagrangian; friction, which keeps nothing; bodies that pull on each other through a squeezed metric."""
    data = bodies(graphs=60)
    potential = learned(LieGroup.euclidean(2), inputs=("pos",))
    newton = Hamiltonian(NewtonianEnergy(potential))
    moving = Lagrangian(lambda d: sum_graphs(d.mass * d.vel.square().sum(1) / 2, d) - potential(d))
    assert noether(moving, data).group.dimension == noether(newton, data).group.dimension == 3
    rubbed = Hamiltonian(newton.energy, lambda d: sum_graphs(d.vel.square().sum(1), d))
    assert noether(rubbed, data).group.dimension == 0
    metric = torch.tensor([1.0, 4.0]).double()

    def squeezed(d):  # invariant under the turns of the ellipses x² + 4 y²
        r = d.pos[d.edge_index[0]] - d.pos[d.edge_index[1]]
        pairs = torch.zeros(len(d.pos)).double().index_add(0, d.edge_index[0], (r.square() * metric).sum(1).square())
        return sum_graphs((d.momentum.square() / metric).sum(1) + pairs, d)

    found = noether(Hamiltonian(squeezed), data)
    assert found.group.dimension == 3
    turn = np.zeros((3, 3))
    turn[0, 1], turn[1, 0] = -4, 1
    basis = found.group.generators.reshape(3, -1)
    rest = turn.ravel() - basis.T @ (basis @ turn.ravel())
    assert np.linalg.norm(rest) < 1e-6
    with pytest.raises(ValueError, match="5 states cannot tell 6 charges apart"):
        noether(newton, bodies(graphs=5))
    with pytest.raises(ValueError, match="nothing moves"):
        noether(Hamiltonian(lambda d: sum_graphs(0 * d.pos.sum(1), d)), data)


def test_in_single_precision_and_as_a_module(tmp_path):
    torch.manual_seed(0)
    model = Hamiltonian(GraphEnergy(2, LieGroup.euclidean(2), features=1), GraphEnergy(2, inputs=("vel",)))
    assert isinstance(model, nn.Module)
    data = bodies()
    single = Data(edge_index=data.edge_index, x=torch.ones(3, 1), pos=data.pos.float(), momentum=data.momentum.float())
    assert model(single)[1].dtype == torch.float32
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = Hamiltonian(GraphEnergy(2, LieGroup.euclidean(2), features=1), GraphEnergy(2, inputs=("vel",)))
    other.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert torch.equal(other(single)[1], model(single)[1])
