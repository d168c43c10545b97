import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from explicit_groups import (
    CRYSTALLOGRAPHIC,
    all_names,
    conjugated,
    explicit,
    find,
    random_orthogonal,
    random_rotation,
    same_set,
    turn,
)
from scipy.spatial.transform import Rotation

from pyg_symbreak.groups import PointGroup

ORDERS = {"C1": 1, "Cs": 2, "Ci": 2, "T": 12, "Td": 24, "Th": 24, "O": 24, "Oh": 48, "I": 60, "Ih": 120}
CONTINUOUS = {
    "Cinf": [], "Cinfv": [np.diag([1.0, -1, 1])], "Cinfh": [np.diag([1.0, 1, -1])], "Dinf": [np.diag([1.0, -1, -1])],
    "Dinfh": [np.diag([1.0, -1, 1]), np.diag([1.0, 1, -1])],
}  # fmt: skip


def order_of(name):
    n = int("".join(c for c in name if c.isdigit()) or 0)
    return ORDERS.get(name) or n * {"C": 1, "S": 1, "D": 2}[name[0]] * (2 if name[-1] in "vhd" else 1)


@pytest.mark.parametrize("name", all_names(12))
def test_elements_of_the_standard_group(name):
    g = PointGroup(name)
    assert g.schoenflies == name
    assert g.order == order_of(name) == len(explicit(name))
    assert same_set(g.matrices, explicit(name))
    assert np.abs(g.matrices @ np.swapaxes(g.matrices, 1, 2) - np.eye(3)).max() < 1e-14
    assert (find(g.matrices, g.matrices[:, None] @ g.matrices) == g.table).all()


def test_there_are_32_crystallographic_groups():
    assert len(CRYSTALLOGRAPHIC) == len(set(CRYSTALLOGRAPHIC.values())) == 32


def test_crystallographic_groups_are_those_of_spglib():
    """The rotations of spglib's data base of space groups, taken to Cartesian axes, have the same names."""
    spglib = pytest.importorskip("spglib")
    hexagonal = np.array([[1, -0.5, 0], [0, 3**0.5 / 2, 0], [0, 0, 1.6]])
    seen = set()
    for hall in range(1, 531):
        symbol = spglib.get_spacegroup_type(hall).pointgroup_international
        if symbol in seen or spglib.get_spacegroup_type(hall).choice == "R":
            continue
        rotations = np.unique(spglib.get_symmetry_from_database(hall)["rotations"], axis=0)
        cartesian = rotations.astype(float)
        if np.abs(cartesian @ np.swapaxes(cartesian, 1, 2) - np.eye(3)).max() > 1e-9:  # hexagonal axes
            cartesian = hexagonal @ rotations @ np.linalg.inv(hexagonal)
        seen.add(symbol)
        assert PointGroup.from_matrices(cartesian).schoenflies == CRYSTALLOGRAPHIC[symbol]
    assert seen == set(CRYSTALLOGRAPHIC)


@pytest.mark.parametrize("name", all_names(12))
def test_from_matrices_in_any_orientation_with_noise(name):
    rng = np.random.default_rng(order_of(name))
    exact = conjugated(explicit(name), random_orthogonal(rng))[rng.permutation(order_of(name))]
    g = PointGroup.from_matrices(exact + rng.uniform(-1e-6, 1e-6, exact.shape))
    assert g.schoenflies == name
    assert np.abs(g.matrices - exact).max() < 4e-6  # in the order in which they were given
    assert same_set(g.matrices, conjugated(explicit(name), g.frame))
    products = g.matrices[:, None] @ g.matrices
    assert np.abs(g.matrices[g.table] - products).max() < 1e-12  # the noise is gone: an exact group
    assert abs(np.linalg.det(g.frame) - 1) < 1e-12


@pytest.mark.parametrize("name", ["C1", "C3v", "D2", "S8", "D6d", "Oh", "Ih"])
def test_from_matrices_of_exact_matrices_is_exact(name):
    exact = conjugated(explicit(name), random_orthogonal(np.random.default_rng(0)))
    assert np.abs(PointGroup.from_matrices(torch.from_numpy(exact)).matrices - exact).max() < 1e-13


def test_larger_noise_needs_a_larger_tolerance():
    rng = np.random.default_rng(1)
    noisy = conjugated(explicit("D5h"), random_rotation(rng)) + rng.uniform(-1e-3, 1e-3, (20, 3, 3))
    with pytest.raises(ValueError, match="orthogonal"):
        PointGroup.from_matrices(noisy)
    assert PointGroup.from_matrices(noisy, tolerance=2e-3).schoenflies == "D5h"


@pytest.mark.parametrize("name", ["C2v", "D3", "S6", "D4h", "Td", "I"])
def test_a_missing_product_is_named(name):
    matrices = conjugated(explicit(name), random_rotation(np.random.default_rng(3)))
    for left_out in (1, len(matrices) - 1):
        given = np.delete(matrices, left_out, axis=0)
        with pytest.raises(ValueError, match=r"product of matrices (\d+) and (\d+) is missing") as error:
            PointGroup.from_matrices(given)
        a, b = (int(word) for word in str(error.value).replace(",", "").split() if word.isdigit())
        assert np.abs(given[a] @ given[b] - matrices[left_out]).max() < 1e-9


def test_bad_matrices():
    with pytest.raises(ValueError, match=r"\[n, 3, 3\]"):
        PointGroup.from_matrices(np.eye(3))
    with pytest.raises(ValueError, match="n ≥ 1"):
        PointGroup.from_matrices(np.zeros((0, 3, 3)))
    with pytest.raises(ValueError, match="matrix 1 is not orthogonal"):
        PointGroup.from_matrices([np.eye(3), 1.01 * np.diag([1.0, -1, -1])])
    with pytest.raises(ValueError, match="orthogonal"):
        PointGroup.from_matrices([np.full((3, 3), np.nan)])
    with pytest.raises(ValueError, match="matrices 1 and 3 are the same"):
        PointGroup.from_matrices(explicit("C3")[[0, 1, 2, 1]])
    with pytest.raises(ValueError, match="is missing"):
        PointGroup.from_matrices([np.diag([1.0, -1, -1])])
    with pytest.raises(ValueError, match="not orthogonal"):
        PointGroup("C3").rotated(2 * np.eye(3))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_axial_continuous_groups(name):
    rng = np.random.default_rng(2)
    q = random_orthogonal(rng)
    g = PointGroup(name).rotated(q)
    assert g.order == math.inf
    assert g.dimension == 1
    extra = [np.eye(3), *CONTINUOUS[name]]
    words = [a @ b for a in extra for b in extra]
    members = [q @ turn([0, 0, 1], rng.uniform(0, 7)) @ w @ q.T for w in words]
    assert all(g.contains(m) for m in members)
    for m in map(np.diag, itertools.product([1.0, -1], repeat=3)):
        inside = any(np.abs((turn([0, 0, 1], a) @ w) - m).max() < 1e-9 for a in (0, np.pi) for w in words)
        assert g.contains(q @ m @ q.T) == inside
    assert not g.contains(q @ turn([1, 0, 0], 0.1) @ q.T)
    assert all(g.contains(g.random_element(rng)) for _ in range(20))
    with pytest.raises(ValueError, match="continuous"):
        _ = g.matrices


def test_the_spherical_groups():
    rng = np.random.default_rng(5)
    for _ in range(10):
        m = random_rotation(rng)
        assert PointGroup("SO3").contains(m)
        assert PointGroup("O3").contains(-m)
        assert not PointGroup("SO3").contains(-m)
    elements = np.array([PointGroup("O3").random_element(rng) for _ in range(2000)])
    assert abs(np.mean(np.linalg.det(elements))) < 0.1
    assert np.abs(elements.mean(0)).max() < 0.06
    assert np.abs((elements**2).mean(0) - 1 / 3).max() < 0.03


def test_containment():
    inside = [("Oh", "D4h"), ("Oh", "Td"), ("Ih", "Th"), ("I", "T"), ("D6h", "D3d"), ("Dinfh", "D7d"), ("Cinfv", "C9v"),
              ("Dinf", "Cinf"), ("O3", "Dinfh"), ("SO3", "I"), ("SO3", "Dinf"), ("O3", "SO3")]  # fmt: skip
    outside = [("Td", "O"), ("O", "Oh"), ("Oh", "D6h"), ("D6h", "Dinfh"), ("Cinfv", "C3h"), ("SO3", "Cs"),
               ("SO3", "O3"), ("Dinf", "Cinfv"), ("Dinfh", "T"), ("I", "O")]  # fmt: skip
    q = random_orthogonal(np.random.default_rng(8))
    for big, small in inside:
        assert PointGroup(big).rotated(q).contains_group(PointGroup(small).rotated(q)), (big, small)
    for big, small in outside:
        assert not PointGroup(big).rotated(q).contains_group(PointGroup(small).rotated(q)), (big, small)
    assert not PointGroup("Oh").contains_group(PointGroup("C4v").rotated(turn([0, 0, 1], 0.2)))


def test_names_of_elements():
    names = PointGroup("Td").element_names
    assert "C3 about [111]" in names
    assert "mirror ⊥ [1-10]" in names
    assert "S4 about [001]" in names
    for group in ("Td", "Oh", "D6h", "S8", "Ih", "D5d"):
        g = PointGroup(group)
        assert len(set(g.element_names)) == g.order
        for name, m in zip(g.element_names, g.matrices, strict=True):
            kind = name.split()[0]
            assert (np.linalg.det(m) > 0) == (kind[0] == "C" or kind == "identity")
            if kind[0] in "CS":
                fold = int(kind[1:].split("^")[0])
                assert np.abs(np.linalg.matrix_power(m, fold) - np.eye(3)).max() < 1e-9 or (kind[0] == "S" and fold % 2)
                assert min(np.abs(np.linalg.matrix_power(m, k) - np.eye(3)).max() for k in range(1, fold)) > 1e-3
    shuffled = PointGroup.from_matrices(PointGroup("Td").matrices[::-1])
    assert shuffled.element_names == names[::-1]


def test_pickled_groups_hold_their_name_and_orientation_only():
    q = random_orthogonal(np.random.default_rng(3))
    for group in (PointGroup("D200h").rotated(q), PointGroup("Dinfh").rotated(q), PointGroup.of_exact(explicit("Oh"))):
        assert group.components.shape[1:] == (3, 3)
        copy = pickle.loads(pickle.dumps(group))
        assert copy == group
        assert repr(copy) == repr(group)
        assert len(pickle.dumps(PointGroup("D200h").rotated(q))) < 1000
        assert np.array_equal(copy.components, group.components)


@pytest.mark.parametrize("n", [241, 500, 999, 1000])
@pytest.mark.parametrize("family", ["C{}", "C{}v", "C{}h", "D{}", "D{}h", "D{}d", "S{}"])
def test_recognition_and_orientation_of_high_orders(family, n):
    """Turns near π are no half-turns: the name and the orientation of each family come back, noise or not."""
    name = family.format(2 * n if family[0] == "S" else n)
    rng = np.random.default_rng(n)
    q = random_rotation(rng)
    given = conjugated(PointGroup(name).matrices, q)[rng.permutation(int(PointGroup(name).order))]
    for group in (PointGroup.of_exact(given), PointGroup.from_matrices(given + rng.uniform(-2e-6, 2e-6, given.shape))):
        assert group.schoenflies == name
        assert np.abs(group.matrices - given).max() < 4e-6
        assert np.abs(np.abs(group.frame[:, 2] @ q[:, 2]) - 1) < 1e-9


@pytest.mark.parametrize("name", ["C2", "C2v", "D2", "D3", "D2d", "D4h", "D6h", "T", "Oh", "I"])
def test_the_frame_does_not_depend_on_the_order_of_elements(name):
    """Where several frames are as near to the identity one of them is taken by a rule."""
    rng = np.random.default_rng(0)
    for axis in ([0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1]):
        for angle in (np.pi / 6, np.pi / 4, np.pi / 2, np.pi):
            exact = conjugated(explicit(name), turn(axis, angle))
            frames = [PointGroup.of_exact(exact[rng.permutation(len(exact))]).frame for _ in range(4)]
            assert np.abs(np.array(frames) - frames[0]).max() < 1e-9
            turns = [m for m in PointGroup(name).normalizer().components if np.linalg.det(m) > 0]
            assert max(np.trace(frames[0] @ m) for m in turns) < np.trace(frames[0]) + 1e-6


def test_an_element_that_is_given_twice_is_said():
    half = [np.diag([1.0, 1, 1]), np.diag([-1.0, -1, 1]), np.diag([1.0, -1, -1]), np.diag([1.0, -1, -1])]
    with pytest.raises(ValueError, match="matrices 2 and 3 are the same element"):
        PointGroup.from_matrices(half)  # of as many kinds as D2 has


@pytest.mark.parametrize("symbol", ["C3", "C4", "C5h", "S4", "Cs", "C2h"])
def test_of_two_ways_along_an_axis_the_nearer_is_taken(symbol):
    """No rotation that brings the group upright is smaller than the frame, whatever the order of the elements."""
    for seed in range(6):
        matrices = PointGroup(symbol).rotated(Rotation.random(random_state=seed).as_matrix()).matrices
        order = np.random.default_rng(seed).permutation(len(matrices))
        frame = PointGroup.from_matrices(matrices[order]).frame
        angles = np.linspace(0, 2 * np.pi, 721)
        about = Rotation.from_rotvec(angles[:, None] * [0, 0, 1]).as_matrix()
        others = np.concatenate([frame @ about, frame @ np.diag([1.0, -1, -1]) @ about])
        assert np.trace(others, axis1=1, axis2=2).max() <= np.trace(frame) + 1e-4
        assert frame[2, 2] >= 0
