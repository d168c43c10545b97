"""Tilts of octahedra: Glazer's symbols to structures, whose space groups spglib finds, and back, with noise."""

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation

from pyg_symbreak.structures import find_octahedra, parse_glazer

CUBIC = Atoms(
    "SrTiO3",
    scaled_positions=[(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)],
    cell=[3.905] * 3,
    pbc=True,
)
SYSTEMS = {
    **{"a0a0a0": 221, "a0a0c+": 127, "a0b+b+": 139, "a+a+a+": 204, "a+b+c+": 71, "a0a0c-": 140, "a0b-b-": 74},
    **{"a-a-a-": 167, "a0b-c-": 12, "a-b-b-": 15, "a-b-c-": 2, "a0b+c-": 63, "a+b-b-": 62, "a+b-c-": 11},
    **{"a+a+c-": 137, "a+b+c-": 59},
}
CATIO3 = [
    ("Ca", 0.9916, 0.0123, 0.25),
    ("Ti", 0.5, 0, 0),
    ("O", 0.0586, 0.4687, 0.25),
    ("O", 0.7130, 0.2880, 0.0371),
]
"""Pbnm: A. Yamanaka et al., American Mineralogist 87, 1183 (2002)."""


def catio3():
    w = spglib.get_symmetry_from_database(294)  # Pbnm
    symbols, places = [], []
    for symbol, *place in CATIO3:
        images = (w["rotations"] @ place + w["translations"]) % 1
        images = np.unique(np.round(images, 6) % 1, axis=0)
        symbols += [symbol] * len(images)
        places += list(images)
    return Atoms(symbols, scaled_positions=places, cell=[5.4043, 5.4224, 7.6510], pbc=True)


def turned(atoms, seed):
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix() * rng.choice([-1, 1])
    out = atoms.copy()
    out.set_cell(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]]) @ atoms.cell.array @ turn.T)
    out.positions = atoms.positions @ turn.T + rng.standard_normal(3)
    return out[rng.permutation(len(out))]


@pytest.mark.parametrize("symbol", SYSTEMS)
def test_symbols_make_structures_and_are_read_off_them(symbol):
    parent = turned(CUBIC.repeat(2), 3)
    octahedra = find_octahedra(parent)
    assert (len(octahedra.centers), octahedra.edge) == (8, pytest.approx(3.905))
    tilted = parent.copy()
    tilted.positions += np.radians(7) * octahedra.displacements(octahedra.field(symbol))
    tilted.wrap()
    found = spglib.get_spacegroup((tilted.cell.array, tilted.get_scaled_positions(), tilted.numbers), symprec=1e-4)
    assert int(found.split("(")[1][:-1]) == SYSTEMS[symbol]
    tilts = find_octahedra(turned(tilted, 4)).tilts()
    assert tilts.symbol == symbol
    assert np.linalg.norm(tilts.angles) == pytest.approx(0 if symbol == "a0a0a0" else 7, abs=0.1)
    assert np.abs(tilts.axes @ tilts.axes.T - np.eye(3)).max() < 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_tilts_under_noise(seed):
    parent = CUBIC.repeat(2)
    octahedra = find_octahedra(parent)
    tilted = parent.copy()
    tilted.positions += np.radians(10) * octahedra.displacements(octahedra.field("a+b-b-"))
    tilted.rattle(0.05, seed=seed)
    tilts = find_octahedra(tilted).tilts()
    kinds = "".join(x for x in tilts.symbol if x in "0+-")
    assert kinds == "+--"
    assert 0.2 < tilts.spread < 3


def test_calcium_titanate():
    """Its tilts out of phase about the two axes in the plane are equal by symmetry; about c they are in phase."""
    tilts = find_octahedra(turned(catio3(), 1)).tilts()
    assert tilts.symbol == "a+b-b-"
    assert tilts.angles[0] == pytest.approx([8.7, 0], abs=0.2)
    assert tilts.angles[1] == pytest.approx(tilts.angles[2], abs=1e-6)
    assert tilts.angles[1, 1] == pytest.approx(7.6, abs=0.2)
    assert abs(tilts.axes[0] @ catio3().cell.array[2]) <= 7.66


@pytest.mark.parametrize("symbols", [("Li", "Nb", "O"), ("O", "Li", "Nb"), ("Nb", "O", "Li")])
def test_lithium_niobate(symbols):
    """Both metals have six oxygens: R3c, S. C. Abrahams et al., J. Phys. Chem. Solids 27, 997 (1966)."""
    places = {"Li": (0, 0, 0.2829), "Nb": (0, 0, 0), "O": (0.0492, 0.3446, 0.0647)}
    cell = (5.1483, 5.1483, 13.8631, 90, 90, 120)
    atoms = crystal(symbols, [places[s] for s in symbols], spacegroup=161, cellpar=cell)
    octahedra = find_octahedra(atoms)
    assert set(atoms.symbols[octahedra.centers]) == {"Nb"}
    assert np.linalg.norm(octahedra.arms, axis=1).max() < 2.2
    tilts = octahedra.tilts()
    assert tilts.symbol == "a-a-a-"
    assert np.linalg.norm(tilts.angles) == pytest.approx(23, abs=1)  # about [111], as H. D. Megaw has it


def test_what_is_no_perovskite_or_no_tilt():
    with pytest.raises(ValueError, match="no octahedra of a perovskite"):
        find_octahedra(bulk("NaCl", "rocksalt", a=5.6))
    with pytest.raises(ValueError, match="no Glazer symbol"):
        parse_glazer("a+b-")
    with pytest.raises(ValueError, match="equal letters are equal angles"):
        parse_glazer("a0a+c-")
    with pytest.raises(ValueError, match="double the cell"):
        find_octahedra(CUBIC).field("a0a0c-")
    assert find_octahedra(CUBIC).field("a0a0a0").shape == (5, 3)
