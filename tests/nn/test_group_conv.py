"""Group convolutions: equivariance under the group and not beyond, images, sampled lifts, relaxed weights."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from scipy.linalg import logm
from scipy.spatial.transform import Rotation

from pyg_symbreak.groups import LieGroup, PointGroup, irreps_matrices
from pyg_symbreak.nn import GroupConv
from pyg_symbreak.nn.lifts import circle_splines, hat, pair_invariants, quadratic, rotation_log

PLANE = ["C4", "C5", "C12", "C4v", "D3", "C7v"]
SPACE = ["C4", "C5", "Td", "Oh", "D6h", "S8"]
KERNELS = ["table", "spline", "mlp"]


pytestmark = pytest.mark.usefixtures("double")


def cloud(dim: int, count: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features [N, 2], all edges, positions."""
    numbers = torch.Generator().manual_seed(seed)
    pos = torch.rand(count, dim, generator=numbers) * 2
    edges = torch.cartesian_prod(torch.arange(count), torch.arange(count)).T
    return torch.randn(count, 2, generator=numbers), edges[:, edges[0] != edges[1]], pos


class Network(torch.nn.Module):
    """A lifting layer and one more, nonlinear between; scalar answers of the nodes."""

    def __init__(self, group, dim, seed=0, radius=1.5, **kwargs):
        super().__init__()
        torch.manual_seed(seed)
        centers = {k: kwargs.pop(k) for k in ("centers", "spread") if k in kwargs}
        self.lift = GroupConv(2, 4, group, radius=radius, dim=dim, lift=True, **kwargs)
        self.conv = GroupConv(4, 3, group, radius=radius, dim=dim, **centers, **kwargs)

    def features(self, x, edge_index, pos, *lifts):
        return self.conv(self.lift(x, edge_index, pos, *lifts).tanh(), edge_index, pos, *lifts)

    def forward(self, x, edge_index, pos, *lifts):
        return self.conv.pool(self.features(x, edge_index, pos, *lifts).tanh())


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def turned_group(name: str, dim: int) -> tuple[PointGroup, torch.Tensor]:
    """A group in a random orientation (in the plane as it is), and its elements on the positions."""
    group = PointGroup(name)
    if dim == 3:
        group = group.rotated(Rotation.random(random_state=3).as_matrix())
    return group, torch.from_numpy(group.matrices[:, :dim, :dim].copy())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("dim", "name"), [(2, n) for n in PLANE] + [(3, n) for n in SPACE])
def test_equivariant_under_the_group_and_not_beyond(dim, name, kernel):
    group, elements = turned_group(name, dim)
    # What a turn between the elements of C_n changes are the harmonics n, 2n, ... of the kernel on circles: a grid of
    # three offsets hardly has those of C12, one of five has; a perceptron has them at many units of length.
    finer = {} if dim == 3 else {"radius": 0.2} if kernel == "mlp" else {"size": 5}
    net = Network(group, dim, kernel=kernel, **finer)
    x, edges, pos = cloud(dim, 6)
    with torch.no_grad():
        features, answer = net.features(x, edges, pos), net(x, edges, pos)
        for g in sorted({1, len(elements) // 2, len(elements) - 1}):
            moved = pos @ elements[g].T + torch.arange(dim) / 3
            # x'(h) = x(g⁻¹h): what was at h is at gh
            expected = torch.zeros_like(features)
            expected[:, torch.from_numpy(group.table[g].copy())] = features
            assert (net.features(x, edges, moved) - expected).abs().max() < 1e-12
            assert (net(x, edges, moved) - answer).abs().max() < 1e-12
        order = torch.randperm(6)
        renumbered = net(x[order], torch.argsort(order)[edges], pos[order])
        assert (renumbered - answer[order]).abs().max() < 1e-12
        between = math.pi / (torch.linalg.det(elements) > 0).sum().item()
        turn = torch.from_numpy(Rotation.from_rotvec([0, 0, between] if dim == 2 else [0.3, -0.2, 0.4]).as_matrix())
        assert relative(net(x, edges, pos @ turn[:dim, :dim].T), answer) > 0.01


def test_on_a_lattice_it_is_the_group_convolution_of_images():
    """p4 of Cohen & Welling: conv2d with the kernel turned by quarter turns."""
    torch.manual_seed(1)
    layer = GroupConv(2, 3, PointGroup("C4"), radius=1.0, dim=2, lift=True, bias=False, aggr="add")
    image = torch.randn(2, 5, 5)
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))  # row, column as x, y
    close = (torch.cdist(grid, grid) < 1.5).nonzero().T
    out = layer(image.flatten(1).T, close, grid)
    kernel = layer.weight[0, :, 0].view(3, 3, 2, 3).permute(3, 2, 0, 1)  # out, in, x, y
    for s, h in enumerate(layer.elements):
        quarters = round(math.atan2(h[1, 0], h[0, 0]) / (math.pi / 2))
        expected = torch.nn.functional.conv2d(image[None], torch.rot90(kernel, quarters, (2, 3)), padding=1)[0]
        assert (out[:, s].T.view(3, 5, 5) - expected).abs().max() < 1e-12


@pytest.mark.parametrize(("spline", "degree"), [(hat, 1), (quadratic, 2)])
def test_splines(spline, degree):
    t = torch.linspace(-3, 3, 121)
    knots = np.arange(degree + 2) - (degree + 1) / 2
    expected = np.nan_to_num(BSpline.basis_element(knots, extrapolate=False)(t.numpy()))
    assert (spline(t) - torch.from_numpy(expected)).abs().max() < 1e-12


def test_splines_on_the_circle():
    angles = 2 * math.pi * torch.arange(16) / 16
    dense = circle_splines(angles, 8, 16, "dense")
    assert (dense.sum(1) - 1).abs().max() < 1e-12
    localized = circle_splines(angles, 3, 16, "localized")
    assert sorted(localized.sum(1).nonzero()[:, 0].tolist()) == [0, 1, 2, 14, 15]
    atrous = circle_splines(angles, 4, 16, "atrous")
    assert [localized[0].argmax().item(), *atrous.argmax(1)[[0, 4, 8, 12]].tolist()] == [1, 0, 1, 2, 3]
    assert atrous.sum(1)[2] == 0  # between the centres nothing is read


@pytest.mark.parametrize("spread", ["dense", "localized", "atrous"])
def test_splines_on_the_group_are_equivariant(spread):
    net = Network(PointGroup("C12"), 2, kernel="spline", centers=5, spread=spread)
    assert net.conv.weight.shape[2] == 5
    x, edges, pos = cloud(2)
    turn = torch.from_numpy(Rotation.from_euler("z", 30, degrees=True).as_matrix())[:2, :2]
    with torch.no_grad():
        answer = net(x, edges, pos)
        assert (net(x, edges, pos @ turn.T) - answer).abs().max() < 1e-12


def test_more_elements_approach_all_rotations():
    """The mean over C_n of a function with continuous slope is a quadrature: turns between its elements matter less."""
    x, edges, pos = cloud(2)
    errors = []
    for n in (4, 16):
        net = Network(PointGroup(f"C{n}"), 2, kernel="spline", centers=4)
        turns = [math.pi / n * t for t in (0.5, 1.0)]
        turns = [torch.tensor([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]]) for t in turns]
        with torch.no_grad():
            answer = net(x, edges, pos)
            errors.append(max(relative(net(x, edges, pos @ t.T), answer) for t in turns))
    assert errors[0] > 0.01
    assert errors[1] < errors[0] / 10


# ---------------------------------------------------------------------- Lie groups

ORIGIN = {
    "rotations": LieGroup.rotations(2),
    "scalings": LieGroup.scalings(2),
    "both": LieGroup(np.concatenate([LieGroup.scalings(2).generators, LieGroup.rotations(2).generators])),
}


@pytest.mark.parametrize("name", ["translations", "none", *ORIGIN])
def test_abelian_groups_are_exact(name):
    """One motion of the group changes nothing, one of another group does."""
    group = {"translations": LieGroup.translations(2), "none": LieGroup(np.zeros((0, 2, 2)))}.get(name)
    group = ORIGIN[name] if group is None else group
    net = Network(group, 2, kernel="mlp")
    x, edges, pos = cloud(2)
    motions = {
        "translations": lambda p: p + torch.tensor([0.3, -0.7]),
        "rotations": lambda p: p @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]]),
        "scalings": lambda p: 1.3 * p,
    }
    inside = {"both": {"rotations", "scalings"}, "none": set()}.get(name, {name})
    with torch.no_grad():
        answer = net(x, edges, pos)
        for motion, move in motions.items():
            error = relative(net(x, edges, move(pos)), answer)
            assert error < 1e-12 if motion in inside else error > 1e-3


@pytest.mark.parametrize("dim", [2, 3])
def test_logarithms_of_pairs(dim):
    """Against the matrix logarithm of v⁻¹u in homogeneous coordinates, and generators of any basis."""
    basis = np.random.default_rng(0).normal(size=(dim * (dim + 1) // 2,) * 2)
    group = LieGroup(np.einsum("ik,kab->iab", basis, LieGroup.euclidean(dim).generators))
    invariants, number, sampled = pair_invariants(group, dim)
    assert (number, sampled) == (dim * (dim + 1) // 2, True)
    frames = torch.from_numpy(LieGroup.rotations(dim).sample(6, generator=np.random.default_rng(1)))
    frames, pos = frames.view(3, 2, dim, dim), torch.randn(3, dim)
    edges = torch.tensor([[0, 1, 2, 1], [1, 2, 0, 1]])
    found = invariants(pos, edges, frames)
    for e, (j, i) in enumerate(edges.T):
        for s in range(2):
            for t in range(2):
                v, u = (np.block([[frames[n, k].numpy(), pos[n, :, None].numpy()], [np.eye(dim + 1)[dim:]]])
                        for n, k in ((i, s), (j, t)))  # fmt: skip
                log = np.real(logm(np.linalg.inv(v) @ u))
                rows, columns = np.triu_indices(dim, 1)
                assert np.abs(found[e, s, t].numpy() - [*log[:dim, dim], *log[columns, rows]]).max() < 1e-9


def test_rotation_log_near_the_identity_and_near_half_turns():
    for angle in (0.0, 1e-9, 1e-4, 3.0, math.pi - 1e-4):
        turn = torch.from_numpy(Rotation.from_rotvec(angle * np.array([0.6, 0, 0.8])).as_matrix())
        algebra, found = rotation_log(turn[None])
        assert abs(found.item() - angle) < 1e-7
        assert abs(algebra[0, 1, 0].item() - 0.8 * angle) < 1e-7


@pytest.mark.parametrize("dim", [2, 3])
def test_rigid_motions_of_points_and_frames_are_exact(dim):
    net = Network(LieGroup.euclidean(dim), dim, kernel="mlp")
    x, edges, pos = cloud(dim, 5)
    lifts = net.lift.sample_lifts(5, 3, np.random.default_rng(0))
    turn = torch.from_numpy(LieGroup.rotations(dim).sample(1, generator=np.random.default_rng(1))[0])
    with torch.no_grad():
        answer = net(x, edges, pos, lifts)
        assert (net(x, edges, pos @ turn.T + 1, turn @ lifts) - answer).abs().max() < 1e-12
        assert relative(net(x, edges, pos @ turn.T, lifts), answer) > 1e-3


def test_sampled_lifts_are_equivariant_up_to_the_root_of_their_number():
    torch.manual_seed(3)
    layer = GroupConv(2, 3, LieGroup.euclidean(2), radius=1.5, dim=2, kernel="mlp", lift=True)
    x, edges, pos = cloud(2, 2)
    turned = pos @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    numbers = np.random.default_rng(3)
    counts, errors = [4, 8, 16, 32], []

    @torch.no_grad()
    def answer(at, samples):
        lifts = layer.sample_lifts(2, samples, numbers)
        return layer.pool(layer(x, edges, at, lifts).tanh())

    for samples in counts:
        apart = [answer(pos, samples) - answer(turned, samples) for _ in range(50)]
        errors.append(torch.stack(apart).square().mean().sqrt().item())
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert -0.62 < slope < -0.38


def test_forces_are_the_gradient():
    net = Network(LieGroup.euclidean(2), 2, kernel="mlp")
    x, edges, pos = cloud(2, 4)
    lifts = net.lift.sample_lifts(4, 2, np.random.default_rng(0))
    assert torch.autograd.gradcheck(lambda p: net(x, edges, p, lifts).sum(), pos.requires_grad_())


# ---------------------------------------------------------------------- relaxed weights

SQUARES = {"C4": {"B"}, "C4v": {"B1", "B2"}}


def images(kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A square of lit points on 5 × 5 points, a target, and the positions."""
    grid = torch.cartesian_prod(torch.arange(-2.0, 3), torch.arange(-2.0, 3))

    def lit(*corners):
        return sum((grid == torch.tensor(c)).all(1).double() for c in corners)[:, None]

    square = lit((1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0))
    target = {
        "square": lit((2.0, 2.0), (-2.0, 2.0), (2.0, -2.0), (-2.0, -2.0)),
        "rectangle": lit((2.0, 1.0), (-2.0, 1.0), (2.0, -1.0), (-2.0, -1.0)),
        "random": torch.randn(25, 1, generator=torch.Generator().manual_seed(0)),
    }[kind]
    return square, target, grid


def trained(group, pos, x, y, dim, steps, hidden=8, seed=0):
    torch.manual_seed(seed)
    edges = (torch.cdist(pos, pos) < 1.8).nonzero().T
    settings = {"radius": 1.0, "dim": dim, "relaxed": 1}
    layers = torch.nn.ModuleList(
        [
            GroupConv(1, hidden, group, lift=True, **settings),
            GroupConv(hidden, hidden, group, **settings),
            GroupConv(hidden, 1, group, **settings),
        ]
    )
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        h = layers[1](layers[0](x, edges, pos).tanh(), edges, pos).tanh()
        (layers[2].pool(layers[2](h, edges, pos)) - y).square().mean().backward()
        optimizer.step()
    return layers


@pytest.mark.parametrize("kind", ["square", "rectangle", "random"])
@pytest.mark.parametrize("name", ["C4", "C4v"])
def test_relaxed_weights_name_what_the_data_break(name, kind):
    """An exact theorem: weights stay constant on cosets of what is common to input and target."""
    x, y, pos = images(kind)
    layers = trained(PointGroup(name), pos, x, y, 2, 20 if kind == "square" else 60)
    for layer in layers:
        found = layer.breaking_spectrum()
        trivial, odd = ("A" if name == "C4" else "A1"), SQUARES[name]
        others = {k: v for k, v in found.items() if k != trivial}
        if kind == "square":
            assert max(others.values()) < 1e-6
        elif kind == "rectangle":
            assert found["E"] < 1e-6
            assert max(others[b] for b in odd) > 0.1
            assert sum(v > 1e-6 for v in others.values()) == 1
        else:
            assert found["E"] > 0.1


def test_the_names_are_those_of_the_group_given():
    x, y, pos = images("rectangle")
    found = trained(PointGroup("D4"), pos, x, y, 2, 40)[0].breaking_spectrum()
    assert list(found) == ["A1", "A2", "B1", "B2", "E"]
    assert found["E"] < 1e-6
    assert max(found["B1"], found["B2"]) > 0.1


def test_relaxed_weights_of_the_cube():
    """A cube drawn out along z: irreps with a vector that D4h fixes are A1g and Eg, worked out from the matrices."""
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    pos = torch.cat([corners, torch.cat([torch.eye(3), -torch.eye(3)]) * 1.5])
    x = (torch.arange(14) < 8).double()[:, None]
    y = (pos[:, 2:].abs() == 1.5).double()
    layers = trained(PointGroup("Oh"), pos, x, y, 3, 25, hidden=2)
    fixed = irreps_matrices("2e", PointGroup("Oh").subgroup("D4h").matrices).mean(0)
    assert round(np.trace(fixed)) == 1  # of Eg + T2g
    for layer in layers:
        found = layer.breaking_spectrum()
        assert found.pop("A1g") > 10
        assert found.pop("Eg") > 0.1
        assert max(found.values()) < 1e-6


@pytest.mark.parametrize("name", ["C4", "C5", "C4v", "T", "Oh"])
def test_spectrum_against_explicit_representations(name):
    """The parts of the regular representation under the irreps of O(3), whose sizes add up."""
    group = PointGroup(name)
    layer = GroupConv(1, 1, group, radius=1.0, lift=True, relaxed=2)
    with torch.no_grad():
        layer.element_weight.normal_()
    w = layer.element_weight.detach().numpy()
    found = layer.breaking_spectrum()
    trivial = next(iter(found))
    assert found[trivial] == pytest.approx(np.linalg.norm(w.sum(1)))
    vector = {"C4": ("A", "E"), "C5": ("A", "E1"), "C4v": ("A1", "E"), "T": ("T",), "Oh": ("T1u",)}[name]
    expected = np.linalg.norm(np.einsum("lh,hij->lij", w, irreps_matrices("1o", group.matrices)))
    assert np.hypot.reduce([found[v] for v in vector]) == pytest.approx(expected)


# ---------------------------------------------------------------------- errors and small things


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"group": PointGroup("Oh"), "dim": 2}, "no group of the plane"),
        ({"group": PointGroup("C4h"), "dim": 2}, "no group of the plane"),
        ({"group": PointGroup("Cinfv")}, "continuous"),
        ({"group": PointGroup("C4"), "dim": 4}, "dim must be 2 or 3"),
        ({"group": PointGroup("C4"), "radius": 0.0}, "radius"),
        ({"group": PointGroup("C4"), "kernel": "fourier"}, "'table', 'spline' or 'mlp'"),
        ({"group": PointGroup("C4"), "kernel": "table", "centers": 3}, "B-splines"),
        ({"group": PointGroup("C4v"), "kernel": "spline", "centers": 3}, "cyclic"),
        ({"group": PointGroup("C8"), "kernel": "spline", "centers": 9}, "between 3 and the 8"),
        ({"group": PointGroup("C8"), "kernel": "spline", "centers": 4, "spread": "wide"}, "atrous"),
        ({"group": PointGroup("C8"), "kernel": "spline", "centers": 4, "lift": True}, "lifting"),
        ({"group": LieGroup.euclidean(3)}, "kernel='mlp'"),
        ({"group": LieGroup.euclidean(3), "kernel": "mlp", "relaxed": 1}, "finite group"),
        ({"group": LieGroup.euclidean(3), "kernel": "mlp", "dim": 2}, "not lifted"),
        ({"group": LieGroup.rotations(3), "kernel": "mlp"}, "not lifted"),
    ],
)
def test_arguments_that_make_no_layer(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GroupConv(1, 1, **{"radius": 1.0, **kwargs})


def test_inputs_that_do_not_fit():
    x, edges, pos = cloud(2)
    conv = GroupConv(2, 3, PointGroup("C4"), radius=1.0, dim=2)
    with pytest.raises(ValueError, match=r"expected \[8, 4, 2\]"):
        conv(x, edges, pos)
    with pytest.raises(ValueError, match="dim=2"):
        conv(x, edges, torch.zeros(8, 3))
    with pytest.raises(ValueError, match="leave lifts out"):
        conv(x[:, None].expand(-1, 4, -1), edges, pos, torch.eye(2).expand(8, 1, 2, 2))
    with pytest.raises(ValueError, match="exact"):
        conv.sample_lifts(8, 2)
    with pytest.raises(ValueError, match="relaxed=1"):
        conv.breaking_spectrum()
    with pytest.raises(ValueError, match="sample_lifts"):
        Network(LieGroup.euclidean(2), 2, kernel="mlp")(x, edges, pos)


def test_repr_scale_and_state():
    conv = GroupConv(2, 3, PointGroup("C8"), radius=1.0, dim=2, kernel="spline", centers=5, relaxed=2)
    assert repr(conv) == "GroupConv(2, 3, C8, dim=2, kernel='spline', lift=False, centers=5, spread='dense', relaxed=2)"
    assert sorted(conv.state_dict()) == ["bias", "element_weight", "weight"]
    single = GroupConv(2, 3, PointGroup("C5"), radius=1.0, dim=2).float().double()
    assert (single.elements - torch.from_numpy(PointGroup("C5").matrices[:, :2, :2])).abs().max() < 1e-15
    x, edges, pos = cloud(2)
    for kernel in KERNELS:
        out = Network(PointGroup("C4v"), 2, kernel=kernel).features(x, edges[:, :0], pos)
        assert 0.01 < out.std() < 3  # nodes without neighbours
