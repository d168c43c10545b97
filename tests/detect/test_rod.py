"""Rods against line groups made of explicit operations, known polymers and nanotubes, and moyo in boxes."""

import math

import moyopy
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import nanotube
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.detect import approximate_symmetries, detect_symmetry, symmetrize
from pyg_symbreak.distort import distortions
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.structures import from_ase
from pyg_symbreak.testing import pairing_error
from pyg_symbreak.transforms import AddSymmetry, AddSymmetryBreaking

PERIOD = 4.7


def turn(part, of):
    """Rotation about z by a part of a full turn."""
    return Rotation.from_rotvec([0, 0, 2 * np.pi * part / of]).as_matrix()


MIRROR_X, MIRROR_Z, HALF_X = np.diag([-1.0, 1, 1]), np.diag([1.0, 1, -1]), np.diag([1.0, -1, -1])


def closed(generators):
    """All products of pairs (matrix, shift along z), modulo 1 along z."""
    found = [(np.eye(3), 0.0)]
    for g, t in found:
        for h, u in generators:
            new = h @ g, (h[2, 2] * t + u) % 1.0
            if all(np.abs(new[0] - m).max() > 1e-6 or abs((new[1] - v + 0.5) % 1 - 0.5) > 1e-6 for m, v in found):
                found.append(new)
    return found


def families():
    """Generators of the thirteen families of line groups, with the symbols and isogonal point groups."""
    for n in (1, 2, 3, 4, 5, 7):
        even, principal = n % 2 == 0, (turn(1, n), 0.0)
        half = (turn(1, 2 * n), 0.5)
        improper = (turn(1, 2 * n) @ MIRROR_Z, 0.0)
        flat, side, flip, glide = (MIRROR_Z, 0.0), (MIRROR_X, 0.0), (HALF_X, 0.0), (MIRROR_X, 0.5)
        for p in range(n):
            yield [(turn(1, n), p / n)], f"L{n}_{p}" if p else f"L{n}", f"C{n}"
            suffix = "22" if even else "2"
            yield [(turn(1, n), p / n), flip], f"L{n}_{p} {suffix}" if p else f"L{n} {suffix}", f"D{n}"
        yield [improper], f"L-{2 * n}" if even else f"L-{n}", f"S{2 * n}"
        yield [principal, flat], f"L{n}/m" if even else f"L-{2 * n}", f"C{n}h"
        yield [half, flat], f"L{2 * n}_{n}/m", f"C{2 * n}h"
        yield [principal, side], f"L{n}mm" if even else f"L{n}m", f"C{n}v"
        yield [principal, glide], f"L{n}cc" if even else f"L{n}c", f"C{n}v"
        yield [half, side], f"L{2 * n}_{n}mc", f"C{2 * n}v"
        yield [improper, side], f"L-{2 * n} 2m" if even else f"L-{n}m", f"D{n}d"
        yield [improper, glide], f"L-{2 * n} 2c" if even else f"L-{n}c", f"D{n}d"
        yield [principal, flat, side], f"L{n}/mmm" if even else f"L-{2 * n} 2m", f"D{n}h"
        yield [principal, (MIRROR_Z, 0.0), glide], f"L{n}/mcc" if even else f"L-{2 * n} 2c", f"D{n}h"
        yield [half, flat, side], f"L{2 * n}_{n}/mcm", f"D{2 * n}h"


FAMILIES = list(families())
SAME = {"S2": "Ci", "C1h": "Cs", "C1v": "Cs", "D1": "C2", "D1h": "C2v", "D1d": "C2h"}


def decorated(operations, seed, cells=1):
    """The orbits of three atoms in general position, turned, moved, renumbered."""
    rng = np.random.default_rng(seed)
    positions, symbols = [], []
    for symbol, radius in (("C", 4.0), ("O", 6.0), ("N", 8.0)):
        orbit = np.empty((0, 3))
        while len(orbit) < len(operations) or pdist(orbit).min(initial=9) < 0.3:
            place = np.array([*(radius * turn(rng.uniform(), 1)[:2, 0]), rng.uniform(0.3, 1.2)])
            orbit = np.array([g @ place + [0, 0, PERIOD * t] for g, t in operations])
        positions += [row + np.array([0, 0, PERIOD * cell]) for cell in range(cells) for row in orbit]
        symbols += [symbol] * len(operations) * cells
    frame = Rotation.random(random_state=seed).as_matrix() * (-1) ** seed
    order = rng.permutation(len(symbols))
    axis = rng.integers(3)
    cell = rng.normal(size=(3, 3)) * 9  # the vectors that are not periodic mean nothing
    cell[axis] = frame @ [0, 0, cells * PERIOD]
    positions = np.array(positions)[order] @ frame.T + rng.normal(size=3)
    symbols = [symbols[i] for i in order]
    return Atoms(symbols, positions=positions, cell=cell, pbc=np.arange(3) == axis), frame


def mirrored(symbol):
    """The symbol of the mirror image: the other sense of each screw."""
    axis, _, rest = symbol[1:].partition(" ")
    n, _, p = axis.partition("_")
    if not p.isdigit():
        return symbol
    p = int(n) - int(p)
    return f"L{n}_{p}" + (f" {rest}" if rest else "")


@pytest.mark.parametrize("number", range(len(FAMILIES)))
def test_line_groups_against_their_operations(number):
    generators, symbol, name = FAMILIES[number]
    operations = closed(generators)
    cells = 1 + number % 2
    atoms, frame = decorated(operations, number, cells)
    found = detect_symmetry(atoms)
    assert found.group.schoenflies == SAME.get(name, name)
    assert found.line_group == (symbol if np.linalg.det(frame) > 0 else mirrored(symbol))
    assert found.order == len(operations) * cells
    assert found.residual < 1e-9
    expected = PointGroup.from_matrices(frame @ np.array([g for g, _ in operations]) @ frame.T)
    assert expected == found.group
    check_operations(atoms, found)
    assert found.orbits.max() == 2


def check_operations(atoms, found):
    """Each operation carries each atom to its image, up to the period; and they are a group."""
    axis = atoms.cell[atoms.pbc][0]
    for g, t, p in zip(found.rotations.numpy(), found.translations.numpy(), found.permutations.numpy(), strict=True):
        apart = atoms.positions[p] - atoms.positions @ g.T - t
        apart -= np.outer(np.round(apart @ axis / (axis @ axis)), axis)
        assert np.abs(apart).max() < 1e-8
    rows = {
        tuple(np.round([*g.ravel(), *p], 6)) for g, p in zip(found.rotations.numpy(), found.permutations, strict=True)
    }
    assert len(rows) == found.order


@pytest.mark.parametrize(
    ("n", "m", "symbol", "name", "order"),
    [
        (4, 4, "L8_4/mcm", "D8h", 32),
        (5, 0, "L10_5/mcm", "D10h", 40),
        (6, 0, "L12_6/mcm", "D12h", 48),
        (3, 2, "L38_5 22", "D38", 76),
        (4, 2, "L28_6 22", "D28", 56),
    ],
)
def test_nanotubes(n, m, symbol, name, order):
    """Achiral tubes have L(2n)_n/mcm, chiral ones a screw of order q = 2(n² + nm + m²)/d_R; all atoms are one orbit."""
    divisor = math.gcd(2 * n + m, 2 * m + n)
    assert order == {True: 8 * n}.get(m in (0, n), 4 * (n * n + n * m + m * m) // divisor)
    tube = nanotube(n, m)
    found = detect_symmetry(tube)
    assert (found.line_group, found.group.schoenflies, found.order) == (symbol, name, order)
    assert found.orbits.max() == 0
    check_operations(tube, found)


def chain(symbols, places, period):
    return Atoms(symbols, positions=places, cell=[0, 0, period], pbc=[False, False, True])


def polyethylene():
    """Planar zigzag: two CH2 in a period."""
    places = [(0.42, 0, 0), (-0.42, 0, 1.27)]
    for side, z in ((1, 0), (-1, 1.27)):
        places += [(side * 1.05, 0.88, z), (side * 1.05, -0.88, z)]
    return chain("C2H4", places, 2.54)


def trans_polyacetylene(dimerization):
    x, d = 0.33, dimerization
    places = [(x, 0, d), (-x, 0, 1.23 - d), (x + 1.05, 0, d), (-x - 1.05, 0, 1.23 - d)]
    return chain("C2H2", places, 2.46)


def test_polymers():
    found = detect_symmetry(polyethylene())
    assert (found.group.schoenflies, found.line_group, found.order) == ("D2h", "L2_1/mcm", 8)
    found = detect_symmetry(trans_polyacetylene(0.0))
    assert (found.group.schoenflies, found.line_group) == ("D2h", "L2_1/mcm")
    found = detect_symmetry(trans_polyacetylene(0.03))
    assert (found.group.schoenflies, found.order) == ("C2h", 4)
    assert found.line_group == "L-1c" or found.line_group == "L-1m"
    assert [s.group.schoenflies for s in approximate_symmetries(trans_polyacetylene(0.03))] == ["C2h", "D2h"]


def test_against_moyo_in_a_box():
    """Rods in a square or hexagonal box are crystals, whose operations are those of the rod that the box allows."""
    for number in range(0, len(FAMILIES), 4):
        atoms, frame = decorated(closed(FAMILIES[number][0]), number)
        found = detect_symmetry(atoms)
        rotations = frame.T @ found.rotations.numpy() @ frame
        positions = (atoms.positions - atoms.positions.mean(0)) @ frame
        for corner in (np.pi / 2, 2 * np.pi / 3):
            cell = np.array([[40, 0, 0], [40 * np.cos(corner), 40 * np.sin(corner), 0], [0, 0, PERIOD]])
            scaled = positions @ np.linalg.inv(cell)
            box = moyopy.Cell(cell.tolist(), (scaled % 1).tolist(), atoms.numbers.tolist())
            allowed = np.linalg.inv(cell).T @ rotations @ cell.T
            allowed = np.abs(allowed - np.round(allowed)).max((1, 2)) < 1e-6
            assert moyopy.MoyoDataset(box, symprec=1e-4).operations.num_operations == allowed.sum()


def test_noise_and_tolerance():
    """A group is found at tolerances above its residual, and never misses by more than the tolerance."""
    rng = np.random.default_rng(0)
    tube = nanotube(6, 0)
    tube.positions += rng.normal(scale=0.01, size=tube.positions.shape)
    levels = approximate_symmetries(tube)
    assert levels[-1].line_group == "L12_6/mcm"
    assert 0.01 < levels[-1].residual < 0.08
    for tolerance in (1e-3, 0.01, 0.03, 0.06, 0.1):
        found = detect_symmetry(tube, tolerance)
        assert found.residual <= tolerance
        assert found.order >= max(level.order for level in levels if level.residual <= tolerance)
        x, axis = tube.positions, tube.cell[2]
        apart = (
            x[found.permutations] - np.einsum("gij,nj->gni", found.rotations, x) - found.translations[:, None].numpy()
        )
        apart[..., 2] -= np.round(apart[..., 2] / axis[2]) * axis[2]
        np.testing.assert_array_less(np.linalg.norm(apart, axis=2).max(1), found.residuals.numpy() + 1e-9)
    assert detect_symmetry(tube, "auto").line_group == "L12_6/mcm"
    flat = nanotube(6, 0)
    flat.positions[:, 0] *= 1.05
    assert detect_symmetry(flat, "auto").group.schoenflies == "D2h"
    exact = symmetrize(tube, levels[-1])
    again = detect_symmetry(exact, 1e-6)
    assert again.line_group == "L12_6/mcm"
    assert np.linalg.norm(exact.positions - tube.positions, axis=1).max() <= levels[-1].residual


def test_what_tells_atoms_apart():
    """Moments along the tube, of one sign, leave no mirror that contains it; boron nitride no mirror across it."""
    tube = nanotube(4, 4)
    tube.arrays["moment"] = np.tile([0.0, 0.0, 1.0], (len(tube), 1))
    found = detect_symmetry(tube, features={"moment": "1e"})
    assert (found.group.schoenflies, found.line_group) == ("C8h", "L8_4/m")
    found = detect_symmetry(tube, features={"moment": "1o"})
    assert (found.group.schoenflies, found.line_group) == ("C8v", "L8_4mc")
    nitride = nanotube(4, 0)
    bonded = nitride.get_all_distances(mic=True) < 1.6
    colors = np.zeros(len(nitride), dtype=int)
    frontier = [0]
    while frontier:
        i = frontier.pop()
        for j in np.flatnonzero(bonded[i] & (colors == 0)):
            if j != i:
                colors[j] = -1 if colors[i] == 1 else 1
                frontier.append(int(j))
    nitride.symbols[colors == 1] = "B"
    nitride.symbols[colors == -1] = "N"
    assert (nitride.symbols == "B").sum() == len(nitride) // 2
    assert detect_symmetry(nitride).line_group == "L8_4mc"


def test_atoms_on_the_axis_are_refused():
    with pytest.raises(ValueError, match=r"all atoms are on the axis .* set pbc to False"):
        detect_symmetry(chain("C2", [(0, 0, 0), (0, 0, 1.2)], 2.5))
    with pytest.raises(ValueError, match="coincide"):
        detect_symmetry(chain("C2", [(0, 1, 0), (0, 1, 2.5)], 2.5))


# ------------------------------------------------------------------ what is made of it


def test_objects_belong_to_the_isogonal_group():
    data = from_ase(polyethylene(), torch.float64)
    symmetry = detect_symmetry(data)
    found = AddSymmetryBreaking(choose="all")(AddSymmetry()(data.clone()))
    expected = breaking_set(symmetry.group)
    assert len(found.breaking) == expected.size == 8
    frame = torch.from_numpy(Rotation.random(random_state=2).as_matrix())
    turned = data.clone()
    turned.pos, turned.cell = data.pos @ frame.T, data.cell @ frame.T
    moved = AddSymmetryBreaking(choose="all")(turned).breaking
    rows = found.breaking[:, :3] @ frame.T if found.breaking.shape[1] == 3 else None
    if rows is not None:
        assert torch.cdist(rows, moved).amin(1).max() < 1e-6


def test_a_target_of_a_polymer_is_paired_and_translations_are_told():
    """Dimerization of two cells of a zigzag chain keeps no translation, the polar distortion of a chain does."""
    single = trans_polyacetylene(0.0)
    data = from_ase(single, torch.float64)
    data.y = torch.zeros(4, 3, dtype=torch.float64)
    data.y[:2, 2] = 0.05
    paired = AddSymmetryBreaking(choose="target")(data)
    assert (paired.breaking_irreps, paired.breaking.shape) == ("1x1o", (1, 3))
    assert abs(paired.breaking[0, 2]) > 0.99
    double = single.repeat((1, 1, 2))
    data = from_ase(double, torch.float64)
    data.y = torch.zeros(8, 3, dtype=torch.float64)
    data.y[::4, 0] = 0.05 * torch.tensor([1.0, -1.0])
    with pytest.raises(ValueError, match="the target loses 1 translations of the cell"):
        AddSymmetryBreaking(choose="target")(data)
    on_nodes = AddSymmetryBreaking(choose="target", on="nodes")(data.clone())
    assert on_nodes.breaking.shape[0] == 8
    assert pairing_error(AddSymmetryBreaking(choose="target", on="nodes"), data) < 1e-6


def test_distortions_of_rods_are_refused():
    with pytest.raises(ValueError, match="periodic in one direction only"):
        distortions(polyethylene())


def test_wrapped_scaled_and_long_cells():
    """Atoms many periods away, a period along each axis of the frame, a tube of many cells."""
    tube = nanotube(5, 0, length=4)
    tube.positions[::3, 2] += 7 * tube.cell[2, 2]
    for axes in ([0, 1, 2], [1, 2, 0], [2, 0, 1]):
        turned = Atoms(tube.numbers, tube.positions[:, axes], cell=tube.cell.array[axes][:, axes], pbc=tube.pbc[axes])
        found = detect_symmetry(turned)
        assert (found.line_group, found.order, found.supercell.size) == ("L10_5/mcm", 160, 4)
        check_operations(turned, found)
