"""Tilt systems and joint irreps of perovskites, against the tables of Howard & Stokes, and spglib on the structures."""

import numpy as np
import pytest
import spglib
import torch
from ase import Atoms
from ase.build import bulk
from scipy.spatial.transform import Rotation

from pyg_symbreak.distort import TILT_SYSTEMS, distortions, glazer, tilt_systems
from pyg_symbreak.structures import find_octahedra, from_ase

CUBIC = Atoms(
    "SrTiO3",
    scaled_positions=[(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)],
    cell=[3.905] * 3,
    pbc=True,
)
NUMBERS = [221, 127, 139, 204, 71, 140, 74, 167, 12, 15, 2, 63, 62, 11, 137]
DOMAINS = [1, 6, 12, 8, 24, 6, 12, 8, 24, 24, 48, 24, 24, 48, 24]


def by_spglib(atoms):
    found = spglib.get_spacegroup((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-4)
    return int(found.split("(")[1][:-1])


@pytest.mark.parametrize("as_data", [False, True])
def test_the_fifteen_systems(as_data):
    turn = Rotation.random(random_state=2).as_matrix()
    parent = CUBIC.copy()
    parent.set_cell(parent.cell.array @ turn.T)
    parent.positions = parent.positions @ turn.T + [0.1, 0.2, 0.3]
    found = tilt_systems(from_ase(parent, torch.float64) if as_data else parent)
    assert [d.space_group.number for d in found] == NUMBERS
    assert [d.domains for d in found] == DOMAINS
    assert tuple(d.tilt for d in found) == TILT_SYSTEMS
    letters = ["".join(letter for letter, _ in d.k) for d in found]
    assert letters == ["", *["M"] * 4, *["R"] * 6, *["MR"] * 4]
    for d in found[1:]:
        (start, *_) = d.starts(amplitude=0.06)
        assert by_spglib(start) == d.space_group.number
        assert find_octahedra(start).tilts(tolerance=0.1).symbol == d.tilt
        fits = d.cell @ np.linalg.inv(CUBIC.cell.array @ turn.T)
        assert np.abs(fits - np.rint(fits)).max() < 1e-6
        assert round(np.linalg.det(fits)) in (2, 4, 8)


def test_any_glazer_symbol_in_any_cell():
    cell = CUBIC.repeat((2, 2, 2))
    assert glazer("a+a-a-", cell).space_group.number == 62
    d = glazer("a+b-b-", CUBIC)
    assert (d.symbol, d.irrep.count("+"), len(d.parent)) == ("Pnma (62)", 1, 40)
    with pytest.raises(ValueError, match="has the tilts"):
        tilt_systems(next(d.starts(amplitude=0.1)))
    with pytest.raises(ValueError, match="no octahedra"):
        tilt_systems(bulk("Cu"))


@pytest.fixture(scope="module")
def single():
    return distortions(CUBIC, supercell=(2, 2, 2), copies=1)


def test_k_vectors_are_named(single):
    named = {part: k for d in single for part, k in zip(d.parts, d.k, strict=True)}
    assert set(named.values()) == {
        ("Γ", (0.0, 0.0, 0.0)),
        ("X", (0.0, 0.5, 0.0)),
        ("M", (0.5, 0.5, 0.0)),
        ("R", (0.5, 0.5, 0.5)),
    }
    assert all(name.startswith("T") if k[0] == "Γ" else name[0] == k[0] for name, k in named.items())
    polar = [(d.space_group.number, d.domains) for d in single if d.irrep == "T1u"]
    assert polar == [(99, 6), (160, 8), (38, 12), (6, 24), (8, 24), (1, 48)]


def test_joint_irreps_of_tilts_and_polarization(single):
    """24 classes of tilts and their sum, 60 with polarization and one kind of tilt about each axis: 14 + 6 + 40."""
    tilts = sorted({d.irrep for d in single if d.tilt})
    assert [name[0] for name in tilts] == ["M", "R"]
    both = distortions(CUBIC, supercell=(2, 2, 2), combine=2, irreps=tilts, copies=1)
    assert len(both) == len({d.operations for d in both}) == 24
    joint = [(d.space_group.number, d.domains, d.tilt) for d in both if len(d.parts) == 2]
    assert joint.count((62, 24, "a+b-b-")) == 1
    assert (59, 48, None) in joint
    assert (2, 192, None) in joint
    for d in both:
        start = next(d.starts(amplitude=0.05))
        assert by_spglib(start) == d.space_group.number
    every = distortions(CUBIC, supercell=(2, 2, 2), combine=3, irreps=[*tilts, "T1u"], copies=1)
    assert len(every) == 92
    octahedra = find_octahedra(every[0].parent)
    waves = [octahedra.phase(axis, sign)[:, None] * octahedra.axes[axis] for axis in range(3) for sign in "+-"]
    simple = [0, 0, 0]
    for d in every:
        s = d.kept.symmetry
        turns, moves = s.rotations.numpy()[list(d.operations)], s.permutations.numpy()[list(d.operations)]
        fixed = []
        for wave in waves:  # is it in what K keeps?
            field = np.zeros((40, 3))
            field[octahedra.centers] = wave
            images = np.zeros((len(turns), 40, 3))
            images[np.arange(len(turns))[:, None], moves] = field @ (
                np.linalg.det(turns)[:, None, None] * turns
            ).swapaxes(1, 2)
            fixed.append(np.abs(images.mean(0)).max() > 1e-6)
        if not any(fixed[2 * axis] and fixed[2 * axis + 1] for axis in range(3)):
            simple[("T1u" in d.parts) * (1 + (len(d.parts) > 1))] += 1
    assert simple == [14, 6, 40]


def test_what_is_said():
    with pytest.raises(ValueError, match=r"there is no 'R\(9\)'"):
        distortions(CUBIC, irreps=["R(9)"])
    with pytest.raises(ValueError, match="only a crystal"):
        distortions(Atoms("H2", [(0, 0, 0), (0, 0, 0.7)]), supercell=(2, 1, 1))
