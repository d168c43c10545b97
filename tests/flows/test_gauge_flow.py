"""Gauge flows: invariance, Jacobians, the laws that they can represent, and observables beside exact sums."""

import math

import pytest
import torch

from pyg_symbreak.flows import (
    CellComplex,
    GaugeFlow,
    effective_sample_size,
    exact_sums,
    fit_action,
    log_partition,
    reweight,
    square_lattice,
    triangular_lattice,
    wrap,
)

LATTICES = {
    "square": lambda: square_lattice(4),
    "triangular": lambda: triangular_lattice(4),
    "open square": lambda: square_lattice(4, 3, periodic=False),
    "open triangular": lambda: triangular_lattice(3, periodic=False),
    "tetrahedron": lambda: CellComplex.from_faces([(0, 1, 2), (0, 3, 1), (1, 3, 2), (2, 3, 0)]),
}
CASES = [(name, "tree") for name in LATTICES] + [(name, "stripes") for name in LATTICES if name != "tetrahedron"]


@pytest.fixture(autouse=True)
def _seeded(double):
    torch.manual_seed(0)


def scrambled(complex: CellComplex, schedule: str, std: float = 0.3) -> GaugeFlow:
    """A flow with weights away from the identity."""
    flow = GaugeFlow(complex, schedule, bins=6, hidden=8, layers=8)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return flow


@pytest.mark.parametrize(("name", "schedule"), CASES)
def test_gauge_transformations_change_nothing(name, schedule):
    complex = LATTICES[name]()
    flow = scrambled(complex, schedule)
    links = 2 * math.pi * torch.rand(5, complex.num_links)
    phases = 20 * torch.randn(5, complex.num_nodes)
    moved = complex.gauge_transform(links, phases)
    assert (flow.log_prob(moved) - flow.log_prob(links)).abs().max() <= 1e-10
    out, log_slope = flow(links)
    moved_out, moved_slope = flow(moved)
    assert (moved_slope - log_slope).abs().max() <= 1e-10
    assert wrap(moved_out - complex.gauge_transform(out, phases)).abs().max() <= 1e-10
    other = links + torch.randn_like(links)  # no gauge transformation
    assert (flow.log_prob(other) - flow.log_prob(links)).abs().max() > 1e-2


@pytest.mark.parametrize(("name", "schedule"), CASES)
def test_the_density_is_that_of_the_jacobian(name, schedule):
    complex = LATTICES[name]()
    flow = scrambled(complex, schedule)
    z = (2 * torch.rand(2, complex.num_links) - 1) * math.pi
    links, log_slope = flow(z)
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], z[i])
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(log_slope[i].item(), abs=1e-9)
        assert log_slope.abs().max() > 0.1
    expected = -complex.num_links * math.log(2 * math.pi) - log_slope
    torch.testing.assert_close(flow.log_prob(links), expected, atol=1e-8, rtol=0)
    torch.testing.assert_close(flow.log_prob(links + 2 * math.pi), expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("schedule", ["tree", "stripes"])
def test_sampled_densities_are_those_asked_for(schedule):
    complex = square_lattice(4)
    flow = scrambled(complex, schedule, 0.15)
    with torch.no_grad():
        links, log_prob = flow.sample(4000)
    assert links.abs().max() <= math.pi
    torch.testing.assert_close(flow.log_prob(links[:20]), log_prob[:20], atol=1e-8, rtol=0)
    # E_q[p/q] = 1 for the uniform p, whatever the flow.
    log_z = log_partition(-32 * math.log(2 * math.pi) - log_prob)
    assert abs(log_z.value) < 4 * log_z.error


@pytest.mark.parametrize("name", LATTICES)
def test_the_tree_cuts_each_plaquette_off(name):
    complex = LATTICES[name]()
    flow = GaugeFlow(complex)
    active = torch.cat([c.active for c in flow.couplings])
    nodes = complex.num_plaquettes + (not complex.is_closed)
    assert len(active) == len(active.unique()) == nodes - 1
    sizes = torch.cat([c.sizes for c in flow.couplings])
    assert (sizes >= 1).all()
    assert sizes[0].sum() == (nodes if complex.is_closed else math.inf)
    for coupling in flow.couplings:
        # Each loop crosses its own active link and no other; the loop around crosses none.
        torch.testing.assert_close(coupling.loop[:, coupling.active].abs(), torch.eye(len(coupling.active)))
        assert coupling.around[:, coupling.active].abs().max() == 0
    assert len(GaugeFlow(square_lattice(16)).couplings) <= 12


@pytest.mark.parametrize("name", ["square", "triangular"])
def test_stripes_leave_plaquettes_alone(name):
    flow = GaugeFlow(LATTICES[name](), "stripes", layers=24)
    for coupling in flow.couplings:
        assert coupling.frozen.mean() == 0.5
        torch.testing.assert_close(coupling.loop[:, coupling.active].abs(), torch.eye(len(coupling.active)))
    active = torch.cat([c.active for c in flow.couplings])
    assert len(active.unique()) == flow.num_links


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="tree"):
        GaugeFlow(square_lattice(6), "stripes")
    with pytest.raises(ValueError, match="schedule"):
        GaugeFlow(square_lattice(4), "rows")
    with pytest.raises(ValueError, match="connected"):
        GaugeFlow(CellComplex.from_faces([(0, 1, 2), (0, 2, 1), (3, 4, 5), (3, 5, 4)]))
    with pytest.raises(ValueError, match="stripes"):
        GaugeFlow(square_lattice(4), "stripes").fit_plaquettes(1.0)


def weights(flow: GaugeFlow, complex: CellComplex, beta: float, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        links, log_prob = flow.sample(n)
    return links, -complex.action(links, beta) - log_prob - complex.num_links * math.log(2 * math.pi)


@pytest.mark.parametrize("name", ["triangular", "open square", "tetrahedron"])
def test_fitted_plaquettes_give_the_exact_sums(name):
    complex, beta = LATTICES[name](), 1.0
    flow = GaugeFlow(complex, bins=8, hidden=32).float()
    losses = flow.fit_plaquettes(beta, 150, 1024)
    assert min(losses) > -1e-3  # a divergence
    flow.double()
    links, log_weights = weights(flow, complex, beta, 4000)
    exact = exact_sums(beta, complex.num_plaquettes, complex.is_closed)
    assert effective_sample_size(log_weights) > 0.5
    for found, value in (
        (log_partition(log_weights), exact.log_z),
        (reweight(complex.plaquettes(links).cos().mean(1), log_weights), exact.plaquette),
        (reweight(complex.charge(links) ** 2, log_weights), exact.charge_squared),
    ):
        assert abs(found.value - value) < 4 * found.error


@pytest.mark.parametrize("schedule", ["tree", "stripes"])
def test_training_on_the_action_alone(schedule):
    torch.set_default_dtype(torch.float32)
    complex, beta = square_lattice(4), 1.0
    flow = GaugeFlow(complex, schedule, bins=8, hidden=16, layers=8)
    losses = fit_action(flow, lambda x: complex.action(x, beta), 50, 64, 1e-2)
    exact = exact_sums(beta, 16).log_z + 32 * math.log(2 * math.pi)
    before, after = losses[0] + exact, sum(losses[-10:]) / 10 + exact
    assert 3 < before < 5
    assert -0.1 < after < before / 3
    _, log_weights = weights(flow.double(), complex, beta, 2000)
    log_z = log_partition(log_weights)
    assert abs(log_z.value - exact_sums(beta, 16).log_z) < 4 * log_z.error
