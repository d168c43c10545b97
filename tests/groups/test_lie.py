import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pyg_symbreak.groups import FiniteGroup, LieGroup, PointGroup


def conjugated(group, seed=0):
    """The same group in another basis: no longer orthogonal."""
    m = np.random.default_rng(seed).normal(size=(group.size, group.size))
    return LieGroup(m @ group.generators @ np.linalg.inv(m)), m


def test_rotations_are_those_of_scipy():
    a = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_allclose(LieGroup.rotations(3).exp(a), Rotation.from_rotvec(a).as_matrix(), atol=1e-14)


@pytest.mark.parametrize(
    "group",
    [LieGroup.rotations(2), LieGroup.rotations(3), LieGroup.rotations(4), LieGroup.euclidean(2), LieGroup.euclidean(3),
     LieGroup.translations(3), LieGroup.scalings(3)],
)  # fmt: skip
def test_log_inverts_exp_and_brackets_close(group):
    for g in (group, conjugated(group)[0]):
        a = 0.4 * np.random.default_rng(1).normal(size=(5, 2, g.dimension))
        np.testing.assert_allclose(g.log(g.exp(a)), a, atol=1e-9)
        assert g.closure_error < 1e-12


def test_dimensions_and_commutation():
    dimensions = {LieGroup.rotations(d).dimension: d * (d - 1) // 2 for d in (2, 3, 4, 5)}
    assert all(k == v for k, v in dimensions.items())
    assert [LieGroup.euclidean(d).dimension for d in (2, 3)] == [3, 6]
    assert LieGroup.translations(3).is_abelian
    assert LieGroup.rotations(2).is_abelian
    assert not LieGroup.rotations(3).is_abelian


def test_translations_and_scalings_act_as_they_should():
    moved = LieGroup.translations(3).exp([1.0, -2.0, 0.5]) @ [4.0, 5.0, 6.0, 1.0]
    np.testing.assert_allclose(moved, [5.0, 3.0, 6.5, 1.0])
    np.testing.assert_allclose(LieGroup.scalings(2).exp([np.log(3.0)]), 3 * np.eye(2))


def test_two_turns_are_not_closed():
    pair = LieGroup(LieGroup.rotations(3).generators[:2])
    assert pair.closure_error == pytest.approx(np.sqrt(2) / 2)  # |[Tx, Ty]| = |Tz| = √2, and |Tx||Ty| = 2
    with pytest.raises(ValueError, match="the third is missing"):
        pair.point_group()


def test_structure_constants_of_so3_are_the_levi_civita_symbol():
    constants = LieGroup.rotations(3).structure_constants
    epsilon = np.zeros((3, 3, 3))
    for i, j, k in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]:
        epsilon[i, j, k], epsilon[j, i, k] = 1, -1
    np.testing.assert_allclose(constants, epsilon, atol=1e-14)


def test_uniform_rotations_have_the_moments_of_the_haar_measure():
    rng = np.random.default_rng(0)
    for group, m in [(LieGroup.rotations(3), np.eye(3)), conjugated(LieGroup.rotations(3))]:
        r = np.linalg.inv(m) @ group.sample(20_000, generator=rng) @ m
        np.testing.assert_allclose(r @ r.swapaxes(1, 2), np.broadcast_to(np.eye(3), r.shape), atol=1e-8)
        trace = np.trace(r, axis1=1, axis2=2)
        # characters of l = 1 are orthonormal: mean 0, mean square 1, and χ₁³ contains the invariant once.
        np.testing.assert_allclose([trace.mean(), (trace**2).mean(), (trace**3).mean()], [0, 1, 1], atol=0.05)


def test_uniform_law_of_what_has_none():
    for group in (LieGroup.translations(1), LieGroup.scalings(2), LieGroup.euclidean(2)):
        with pytest.raises(ValueError, match=r"compact|uniform"):
            group.sample(3)
    assert LieGroup.euclidean(2).sample(3, scale=0.1, generator=np.random.default_rng(0)).shape == (3, 3, 3)


@pytest.mark.parametrize(("rates", "period"), [((1,), 1), ((2,), 1 / 2), ((2, 3), 1), ((4, 6), 1 / 2), ((1, 2.5), 2)])
def test_period(rates, period):
    t = np.zeros((2 * len(rates), 2 * len(rates)))
    for i, rate in enumerate(rates):
        t[2 * i + 1, 2 * i], t[2 * i, 2 * i + 1] = rate, -rate
    group, _ = conjugated(LieGroup(t[None]))
    assert group.period == pytest.approx(2 * np.pi * period)
    np.testing.assert_allclose(group.exp([group.period]), np.eye(len(t)), atol=1e-9)


def test_no_period():
    t = np.zeros((4, 4))
    t[1, 0], t[0, 1], t[3, 2], t[2, 3] = 1, -1, np.pi, -np.pi
    for generators in (t[None], np.array([[[0.0, 1.0], [0.0, 0.0]]]), np.eye(2)[None]):
        with pytest.raises(ValueError, match="not"):
            _ = LieGroup(generators).period


def test_cyclic_subgroups():
    axis = Rotation.random(random_state=0).apply([0, 0, 1])
    turn = LieGroup(np.einsum("i,ijk->jk", axis, LieGroup.rotations(3).generators)[None])
    for n in (1, 2, 5, 12):
        group = PointGroup.from_matrices(turn.cyclic_subgroup(n))
        assert group.schoenflies == f"C{n}"
        if n > 1:
            assert abs(group.axis @ axis) == pytest.approx(1)
    assert FiniteGroup.from_matrices(turn.cyclic_subgroup(7)[1:2]).order == 7


def test_point_groups():
    axis = Rotation.random(random_state=1).apply([0, 0, 1])
    turns = LieGroup.rotations(3).generators
    found = LieGroup(np.einsum("i,ijk->jk", 2.0 * axis, turns)[None]).point_group()
    assert found.schoenflies == "Cinf"
    assert abs(found.axis @ axis) == pytest.approx(1)
    assert LieGroup(np.empty((0, 3, 3))).point_group().schoenflies == "C1"
    with pytest.raises(ValueError, match="rotations of three-dimensional"):
        LieGroup.scalings(3).point_group()


def test_cut_locus_and_elements_of_other_groups():
    with pytest.raises(ValueError, match="cut locus"):
        LieGroup.rotations(3).log(np.diag([1.0, -1.0, -1.0]))
    with pytest.raises(ValueError, match="not in the group"):
        LieGroup.rotations(3).log(np.diag([1.0, 2.0, 0.5]))


@pytest.mark.parametrize(
    ("generators", "message"),
    [(np.eye(3), "shape"), (np.ones((2, 3, 3)), "dependent"), (np.full((1, 2, 2), np.nan), "finite")],
)
def test_bad_generators(generators, message):
    with pytest.raises(ValueError, match=message):
        LieGroup(generators)
