"""Mixtures over vacua: exact densities, invariance, equal weights; fields, spins and molecules."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from pyg_symbreak.breaking import read_target, target_stabilizer
from pyg_symbreak.datasets import JahnTeller
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.flows import FieldFlow, Flow, VacuumMixture, fit_action
from pyg_symbreak.groups import PointGroup

SQUARE = torch.tensor([[0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 0, 0, 1, 2, 3]])


@pytest.fixture(autouse=True)
def _seeded(double):
    torch.manual_seed(0)


class NormalAround(Flow):
    """Independent normal numbers around rows [N, d]."""

    def __init__(self, rows: Tensor, width: float):
        super().__init__()
        self.rows, self.width = rows, width

    def sample(self, n, generator=None):
        x = self.rows + self.width * torch.randn(n, *self.rows.shape, generator=generator)
        return x, self.log_prob(x)

    def log_prob(self, x):
        z = (x - self.rows) / self.width
        return -(z**2 / 2 + math.log(self.width * math.sqrt(2 * math.pi))).sum((1, 2))


class SpinsAround(Flow):
    """The first spin at rest, the others independent of each other: von Mises in a plane, or Fisher on the sphere."""

    def __init__(self, first: Tensor, count: int, planar: bool, kappa: float = 3.0):
        super().__init__()
        self.first, self.count, self.planar, self.kappa = first, count, planar, kappa

    def sample(self, n, generator=None):
        shape = (n, self.count - 1)
        if self.planar:
            angle = torch.distributions.VonMises(0.0, self.kappa).sample(shape)
            normal = torch.tensor([0.0, 0, 1])
            across = torch.linalg.cross(normal, self.first)
            others = angle.cos()[..., None] * self.first + angle.sin()[..., None] * across
        else:
            u, angle = torch.rand(shape, generator=generator), 2 * math.pi * torch.rand(shape, generator=generator)
            c = 1 + (u + (1 - u) * math.exp(-2 * self.kappa)).log() / self.kappa
            a, b = torch.linalg.svd(self.first[None])[2][1:]
            s = (1 - c**2).sqrt()
            others = c[..., None] * self.first + (s * angle.cos())[..., None] * a + (s * angle.sin())[..., None] * b
        x = torch.cat([self.first.expand(n, 1, 3), others], dim=1)
        return x, self.log_prob(x)

    def log_prob(self, x):
        k = torch.tensor(self.kappa)
        norm = (2 * math.pi * torch.special.i0(k)) if self.planar else (4 * math.pi * k.sinh() / k)
        return (self.kappa * (x[:, 1:] @ self.first) - norm.log()).sum(1)


def test_both_vacua_of_a_field():
    flow = FieldFlow(SQUARE, 4, layers=3, hidden=6, start=1.0)
    for parameter in flow.nets.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    both = VacuumMixture(flow, PointGroup("Ci"), irreps="0o")
    x, log_prob = both.sample(6)
    torch.testing.assert_close(log_prob, (flow.log_prob(x).exp() / 2 + flow.log_prob(-x).exp() / 2).log())
    torch.testing.assert_close(both.log_prob(-x), log_prob)
    assert (flow.log_prob(-x) - flow.log_prob(x)).abs().min() > 1e-3


@pytest.mark.parametrize("odd", [False, True])
def test_densities_of_fields(odd):
    path = torch.tensor([[0, 1], [1, 0]])
    flow = FieldFlow(path, 2, layers=4, hidden=8, odd=odd, start=0.0 if odd else 0.4)
    for parameter in flow.nets.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, log_prob = flow.sample(50)
    torch.testing.assert_close(flow.log_prob(x), log_prob)
    at = torch.linspace(-10, 10, 201)
    grid = torch.cartesian_prod(at, at)[..., None]
    with torch.no_grad():
        assert flow.log_prob(grid).exp().sum().item() * (at[1] - at[0]).item() ** 2 == pytest.approx(1, abs=1e-3)
        difference = (flow.log_prob(grid) - flow.log_prob(-grid)).abs().max()
    assert difference < 1e-9 if odd else difference > 1e-3


def test_fields_below_the_transition():
    """A short training: no mean, equal weights, and a loss that the vacua alone explain."""

    def action(x):
        bonds = (x[:, SQUARE[0]] - x[:, SQUARE[1]]).square().sum((1, 2)) / 4  # each bond is there twice
        return (x**2 - 2).square().sum((1, 2)) / 2 + bonds

    at = torch.linspace(-4, 4, 241)
    local = (at**2 - 2) ** 2 / 2
    transfer = (-((at[:, None] - at) ** 2) / 2 - local[:, None] / 2 - local / 2).exp() * (at[1] - at[0])
    log_z = torch.linalg.matrix_power(transfer, 4).trace().log()
    torch.set_default_dtype(torch.float32)
    both = VacuumMixture(FieldFlow(SQUARE, 4, layers=4, hidden=12, start=1.0), PointGroup("Ci"), irreps="0o")
    losses = fit_action(both, action, 150, 64, 1e-2)
    with torch.no_grad():
        x, _ = both.sample(2000)
    m = x.mean((1, 2)).double()
    assert abs(m.mean()) < 3 * m.std() / math.sqrt(2000)
    assert m.abs().mean() > 0.7
    assert chisquare(np.bincount(both.vacuum(x).numpy(), minlength=2)).pvalue > 0.01
    kl = sum(losses[-40:]) / 40 + log_z
    assert -0.05 < kl < 0.35
    # A flow of one vacuum alone misses half of Z, log 2, at least.
    alone = both.flow.sample(4000)
    assert ((alone[1] + action(alone[0])).mean() + log_z).item() > 0.5


@pytest.mark.parametrize("name", ["BH3+", "CH4+", "C2H6+"])
def test_the_minima_of_an_ion(name):
    data = next(d for d in JahnTeller() if d.name == name)
    symmetry = detect_symmetry(data)
    rows = data.y.double()
    kept, mask = target_stabilizer(symmetry, read_target(data), 0.01)
    assert kept.schoenflies == data.kept
    # The stored target keeps K to a thousandth of an angstrom: make it exact.
    moved = torch.einsum("gij,nj->gni", symmetry.rotations, rows)
    images = torch.zeros_like(moved).scatter(1, symmetry.permutations[..., None].expand_as(moved), moved)
    rows = images[torch.from_numpy(mask)].mean(0)
    mixture = VacuumMixture(NormalAround(rows, 0.05), symmetry, kept)
    assert mixture.num_vacua == data.count
    x, log_prob = mixture.sample(3000)
    for rotation, permutation in zip(symmetry.rotations, symmetry.permutations, strict=True):
        y = torch.empty_like(x)
        y[:, permutation] = x @ rotation.T
        torch.testing.assert_close(mixture.log_prob(y), log_prob)
    assert chisquare(np.bincount(mixture.vacuum(x).numpy(), minlength=int(data.count))).pvalue > 0.01
    # The samples lie around the images of the target under S, and their mean keeps all of S.
    distance = (x[:, None] - images).square().sum((2, 3)).amin(1).sqrt() / 0.05
    assert distance.max() < 4 + math.sqrt(rows.numel())
    mean = images.mean(0)
    assert ((x.mean(0) - mean).abs() < 4.5 * x.std(0) / math.sqrt(3000)).all()
    assert (rows - mean).abs().max() > 0.02


def sphere(n: int) -> Tensor:
    x = torch.randn(n, 3)
    return x / x.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("group", "keep", "planar"), [("Cinf", None, True), ("SO3", "Cinf", False), ("O3", "Cinfv", False)]
)
def test_spins_of_continuous_vacua(group, keep, planar):
    first = torch.tensor([0.6, 0.8, 0.0]) if planar else torch.tensor([0.48, 0.6, 0.64])
    flow = SpinsAround(first, 3, planar)
    mixture = VacuumMixture(flow, PointGroup(group), keep)
    assert mixture.num_vacua == math.inf
    x, log_prob = mixture.sample(4000)
    torch.testing.assert_close(x.norm(dim=2), torch.ones(4000, 3))
    torch.testing.assert_close(mixture.log_prob(x), log_prob)
    # The density depends on angles between spins alone: a turn changes nothing.
    turn = PointGroup(group).random_element(np.random.default_rng(0))
    torch.testing.assert_close(mixture.log_prob(x @ torch.from_numpy(turn).T), log_prob)
    expected = flow.log_prob(flow.first.expand(1, 3, 3)) - math.log(2 * math.pi if planar else 4 * math.pi)
    torch.testing.assert_close(mixture.log_prob(x[:1, :1].expand(1, 3, 3)), expected)
    # E[q] over uniform spins is one over the volume.
    if planar:
        angle = 2 * math.pi * torch.rand(200_000, 3)
        uniform = torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=2)
    else:
        uniform = sphere(600_000).view(-1, 3, 3)
    q = mixture.log_prob(uniform).exp() * (2 * math.pi if planar else 4 * math.pi) ** 3
    assert abs(q.mean() - 1) < 4 * q.std() / math.sqrt(len(q)) < 0.1
    m = x.mean(1)
    assert (m.mean(0).abs() <= 4 * m.std(0) / math.sqrt(4000)).all()
    assert m.norm(dim=1).mean() > 0.7
    octants = 4 * (m[:, 0] > 0) + 2 * (m[:, 1] > 0) + (0 if planar else (m[:, 2] > 0).long())
    counts = np.bincount(octants.numpy(), minlength=8)
    assert chisquare(counts[counts > 0]).pvalue > 0.01


class Corners(Flow):
    """Independent spins on the corners of a polyhedron, more often on the first corner."""

    def __init__(self, corners: Tensor, count: int, kappa: float = 1.5):
        super().__init__()
        self.corners, self.count, self.kappa = corners, count, kappa

    def sample(self, n, generator=None):
        p = (self.kappa * self.corners @ self.corners[0]).softmax(0)
        x = self.corners[torch.multinomial(p, n * self.count, True, generator=generator).view(n, self.count)]
        return x, self.log_prob(x)

    def log_prob(self, x):
        p = (self.kappa * self.corners @ self.corners[0]).log_softmax(0)
        which = (x[..., None, :] - self.corners).square().sum(-1).argmin(-1)
        return p[which].sum(1)


@pytest.mark.parametrize(("group", "keep", "size"), [("C3v", "Cs", 3), ("Td", "C3v", 4), ("C4", None, 4)])
def test_colours_of_a_potts_model(group, keep, size):
    whole = PointGroup(group)
    if group == "Td":
        corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)
        kept = PointGroup.from_matrices([g for g in whole.matrices if np.allclose(g @ corners[0].numpy(), corners[0])])
    else:
        start = torch.tensor([1.0, 0, 0])
        corners = torch.stack([torch.from_numpy(g) @ start for g in PointGroup(f"C{size}").matrices])
        kept = keep and PointGroup.from_matrices([g for g in whole.matrices if np.allclose(g @ start.numpy(), start)])
    assert kept is None or kept.schoenflies == keep
    mixture = VacuumMixture(Corners(corners, 3), whole, kept)
    assert mixture.num_vacua == size
    states = corners[torch.cartesian_prod(*[torch.arange(size)] * 3)]
    log_prob = mixture.log_prob(states)
    assert log_prob.exp().sum().item() == pytest.approx(1)
    for g in whole.matrices:
        torch.testing.assert_close(mixture.log_prob(states @ torch.from_numpy(g).T), log_prob)
    x, _ = mixture.sample(3000)
    assert chisquare(np.bincount(mixture.vacuum(x[:, :1].expand_as(x)).numpy(), minlength=size)).pvalue > 0.01


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="first row"):
        VacuumMixture(NormalAround(torch.eye(3), 0.1), PointGroup("SO3"), "Cinf")
    with pytest.raises(ValueError, match="vectors"):
        VacuumMixture(FieldFlow(SQUARE, 4), PointGroup("SO3"), "Cinf", irreps="0e")
    with pytest.raises(ValueError, match="odd"):
        FieldFlow(SQUARE, 4, odd=True, start=1.0)
