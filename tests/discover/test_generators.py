import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch, Data

from pyg_symbreak.discover import equivariance_generators, invariance_generators, pair_generators
from pyg_symbreak.groups import LieGroup

TURN = torch.from_numpy(Rotation.random(random_state=5).as_matrix())


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def angle(found, expected):
    """The largest angle between two spaces of matrices."""
    return subspace_angles(found.reshape(len(found), -1).T, expected.reshape(len(expected), -1).T).max()


def tilted(f):
    return lambda x: f(x @ TURN)


def test_radial():
    found = invariance_generators(lambda x: x.norm(dim=1).sin(), points(300, 3))
    assert found.group.dimension == 3
    assert angle(found.group.generators, LieGroup.rotations(3).generators) < 1e-6
    assert found.closure_error < 1e-6
    assert found.gap > 1e3
    assert found.undecided == 0


def test_axial_in_any_direction():
    found = invariance_generators(tilted(lambda x: x[:, :2].square().sum(1) + x[:, 2].sin()), points(300, 3))
    assert found.group.dimension == 1
    assert found.point_group().schoenflies == "Cinf"
    assert abs(found.point_group().axis @ TURN.numpy()[:, 2]) == pytest.approx(1, abs=1e-9)


def test_cubic_has_none():
    found = invariance_generators(tilted(lambda x: (x**4).sum(1)), points(300, 3))
    assert found.group.dimension == 0
    assert found.point_group().schoenflies == "C1"
    assert np.isnan(found.gap)


def test_elliptic_rotations_are_found_and_are_no_point_group():
    found = invariance_generators(lambda x: (x[:, 0] ** 2 + 4 * x[:, 1] ** 2).sin() + x[:, 2].sin(), points(300, 3))
    assert found.group.dimension == 1
    expected = np.array([[[0, 2.0, 0], [-0.5, 0, 0], [0, 0, 0]]])  # x² + 4y² is kept by x' = 2y, y' = -x/2
    assert angle(found.group.generators, expected) < 1e-6
    with pytest.raises(ValueError, match="no rotation"):
        found.point_group()


def test_lorentz_boosts():
    metric = torch.tensor([-1.0, 1.0, 1.0, 1.0]).double()
    found = invariance_generators(lambda x: (metric * x**2).sum(1).sin(), points(2000, 4))
    assert found.group.dimension == 6
    t = found.group.generators
    eta = np.diag(metric.numpy())
    np.testing.assert_allclose(eta @ t + t.swapaxes(1, 2) @ eta, 0, atol=1e-7)


def test_energy_of_pairs_has_the_euclidean_group():
    def energy(x):
        return torch.stack([torch.pdist(one).neg().exp().sum() for one in x])

    found = invariance_generators(energy, points(150, 5, 3), mode="affine")
    assert angle(found.group.generators, LieGroup.euclidean(3).generators) < 1e-6
    assert found.point_group().schoenflies == "SO3"
    tied = invariance_generators(
        lambda x: energy(x) + 0.3 * x[:, :, 2].square().sum(1), points(150, 5, 3), mode="affine"
    )
    kept = LieGroup.euclidean(3).generators[[2, 3, 4]]  # the turn about z, and the shifts along x and y
    assert angle(tied.group.generators, kept) < 1e-6


def test_a_batch_of_graphs_is_as_its_points():
    def of_batch(batch):
        return torch.zeros(batch.num_graphs).double().index_add(0, batch.batch, batch.pos.norm(dim=1).sin())

    batch = Batch.from_data_list([Data(pos=p) for p in points(100, 4, 3)])
    found = invariance_generators(of_batch, batch)
    same = invariance_generators(lambda x: x.norm(dim=2).sin().sum(1), points(100, 4, 3))
    np.testing.assert_allclose(found.spectrum, same.spectrum, atol=1e-12)
    assert found.group.dimension == 3


def test_several_invariant_outputs_must_all_be_kept():
    found = invariance_generators(lambda x: torch.stack([x.norm(dim=1), x[:, 2]], 1), points(300, 3))
    assert found.group.dimension == 1


def test_vectors_turn_with_points():
    def f(x):
        return x * x.square().sum(1, keepdim=True).neg().exp()

    found = equivariance_generators(f, points(400, 3))
    assert angle(found.group.generators, LieGroup.rotations(3).generators) < 1e-6
    np.testing.assert_allclose(found.outputs, found.group.generators, atol=1e-6)
    turned = equivariance_generators(lambda x: f(x) @ TURN.T, points(400, 3))
    expected = TURN.numpy() @ turned.group.generators @ TURN.numpy().T
    np.testing.assert_allclose(turned.outputs, expected, atol=1e-6)


def test_outputs_of_nodes():
    def forces(x):
        apart = x[:, :, None] - x[:, None]
        return (apart * apart.square().sum(3, keepdim=True).neg().exp()).sum(2)

    found = equivariance_generators(forces, points(100, 4, 3), mode="affine")
    assert found.group.dimension == 6
    turns = np.linalg.norm(found.outputs, axis=(1, 2)) > 1e-6
    np.testing.assert_allclose(found.outputs, found.group.generators[:, :3, :3], atol=1e-6)
    assert turns.sum() >= 3


def test_tolerance_and_intervals():
    """A symmetry that is slightly broken is one, is none, or is undecided, as the tolerance says."""

    def f(x):
        return x.square().sum(1).sin() + 0.15 * x[:, 2]

    rates = invariance_generators(f, points(400, 3)).spectrum[:3]
    low, high = rates.min(), rates.max()
    assert invariance_generators(f, points(400, 3), tolerance=1.5 * high).group.dimension == 3
    assert invariance_generators(f, points(400, 3), tolerance=0.2 * high).group.dimension == 1  # the turn about z
    assert low < 1e-3
    assert invariance_generators(f, points(400, 3), tolerance=high).undecided >= 1


def test_the_interval_covers_the_rate_of_many_points():
    def f(x):
        return (x**4).sum(1).sqrt()

    exact = invariance_generators(f, points(20000, 3, seed=9)).spectrum
    covered = []
    for seed in range(20):
        low, high = invariance_generators(f, points(300, 3, seed=seed)).intervals.T
        covered.append((low <= exact) & (exact <= high))
    assert np.mean(covered) > 0.85


def test_pairs_find_the_rotation_of_a_plane():
    x = points(1500, 2)
    components, weights = pair_generators(x.norm(dim=1, keepdim=True), x)
    assert abs(components[0, 0, 1] - components[0, 1, 0]) / 2**0.5 > 0.99
    assert weights[1:].max(initial=0) < 0.3
    with pytest.raises(ValueError, match="no plane"):
        pair_generators(x.norm(dim=1, keepdim=True), x, distance=1e-6)


@pytest.mark.parametrize(
    ("f", "x", "message"),
    [
        (lambda x: x[:, 0], points(10, 3), "too few"),
        (lambda x: 0 * x[:, 0], points(100, 3), "does not depend"),
        (lambda x: x[:, 0] / 0, points(100, 3), "not finite"),
        (lambda x: x[:7, 0], points(100, 3), "7 rows for 100"),
        (lambda x: x[:, 0], points(100), "shape"),
    ],
)
def test_bad_input(f, x, message):
    with pytest.raises(ValueError, match=message):
        invariance_generators(f, x)


def test_unknown_mode():
    with pytest.raises(ValueError, match="'linear' or 'affine'"):
        invariance_generators(lambda x: x[:, 0], points(100, 3), mode="projective")


def test_many_coordinates_are_no_symmetry():
    """Rates do not fall with the number of coordinates, of which each has a small part of the gradient."""
    cubic = invariance_generators(lambda x: (x**4).sum((1, 2)), points(200, 40, 3), mode="affine")
    assert cubic.group.dimension == 0
    assert cubic.spectrum[0] > 0.3
    field = invariance_generators(lambda x: x[:, :, 2].square().sum(1), points(100, 40, 3), mode="affine")
    assert field.group.dimension == 8  # all that moves x and y, by x, y, z or a constant
