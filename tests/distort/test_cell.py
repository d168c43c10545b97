"""Cells that relax: strains among the distortions, against energies of strained cells and known transformations."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from scipy.spatial.transform import Rotation

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.distort import distortions, relax, same_structure
from pyg_symbreak.distort.displacements import Displacements, nearest_neighbor_distance


def turned(atoms: Atoms, seed: int) -> Atoms:
    """Another orientation, origin and basis of the lattice."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    basis = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
    out = atoms.copy()
    out.set_cell(basis @ atoms.cell.array @ turn.T)
    out.positions = atoms.positions @ turn.T + rng.standard_normal(3)
    out.wrap()
    return out[rng.permutation(len(out))]


STRAINS = {
    "cubic": (lambda: bulk("Cu"), {"Eg": 2, "T2g": 3}),
    "hexagonal": (
        lambda: Atoms("Mg", cell=[[3, 0, 0], [-1.5, 1.5 * 3**0.5, 0], [0, 0, 5]], pbc=True),
        {"E1g": 2, "E2g": 2},
    ),
    "tetragonal": (lambda: Atoms("Cu", cell=[3, 3, 4], pbc=True), {"B1g": 1, "B2g": 1, "Eg": 2}),
    "orthorhombic": (lambda: Atoms("Cu", cell=[3, 3.5, 4], pbc=True), {"B1g": 1, "B2g": 1, "B3g": 1}),
}
"""Irreps of x², y², z², xy, yz, zx but for the trivial one, in tables of characters."""


@pytest.mark.parametrize("name", STRAINS)
def test_irreps_of_strains_are_those_of_quadratic_forms(name):
    make, expected = STRAINS[name]
    found = distortions(turned(make(), 1), strain=True)
    assert {d.irrep: d.dimension for d in found} == expected
    for d in found:
        assert np.abs(d.direction).max() < 1e-9  # one atom moves against nothing
        np.testing.assert_allclose(d.strain, d.strain.T, atol=1e-12)
        assert abs(np.trace(d.strain)) < 1e-9 or name != "cubic"


@pytest.mark.parametrize("make", [lambda: bulk("Cu"), lambda: bulk("Mg"), lambda: bulk("NaCl", "rocksalt", a=5.6)])
def test_what_a_strained_start_keeps_is_what_it_says(make):
    atoms = turned(make(), 2)
    for d in distortions(atoms, strain=True):
        for start in d.starts(atoms, 0.1):
            symmetry = detect_symmetry(start, 1e-4)
            assert symmetry.group == d.keep
            assert symmetry.order == len(d.operations)
            rows = np.concatenate([d.direction, d.strain * len(atoms) ** 0.5 * nearest_neighbor_distance(atoms)])
            assert np.linalg.norm(rows, axis=1).max() == pytest.approx(1)


def test_a_slab_is_strained_in_its_plane():
    slab = fcc100("Cu", (1, 1, 3), vacuum=6)
    strained = [d for d in distortions(slab, strain=True) if np.abs(d.strain).max() > 1e-6]
    assert {d.irrep for d in strained} >= {"B1g", "B2g"}
    for d in strained:
        assert np.abs(d.strain[2]).max() < 1e-12


def test_displacements_and_what_they_make():
    space = Displacements(turned(bulk("Mg"), 3), strain=True)
    rng = np.random.default_rng(0)
    for _ in range(5):
        u = np.einsum("k,kia->ia", rng.standard_normal(len(space.basis)), space.basis) / 3
        np.testing.assert_allclose(space.displacement(space.displaced(u)), u, atol=1e-9)


@pytest.mark.parametrize("make", [lambda: bulk("Cu", "bcc", a=2.9), lambda: bulk("Cu", "hcp", a=2.6, c=4.1)])
def test_curvatures_are_second_derivatives_of_the_energy(make):
    first = relax(turned(make(), 4), EMT(), cell="symmetric", generations=1, fmax=1e-4).found[0]
    space = Displacements(first.atoms, 1e-3, strain=True)

    def energy(u: np.ndarray) -> float:
        atoms = space.displaced(u)
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    def mixed(a: np.ndarray, b: np.ndarray, h: float = 0.01) -> float:
        signs = [(1, 1), (-1, -1), (1, -1), (-1, 1)]
        return sum(s * t * energy(h * (s * a + t * b)) for s, t in signs) / (4 * h**2)

    assert {name for name, _ in first.curvatures} == {irrep.name for irrep in space.irreps}
    for irrep in space.irreps:
        (lowest,) = [c for name, c in first.curvatures if name == irrep.name]
        modes = irrep.basis[:, 0]  # one vector of each copy, which are the same linear combinations of all
        hessian = [[mixed(a, b) for b in modes] for a in modes]
        assert lowest == pytest.approx(np.linalg.eigvalsh(hessian)[0], rel=1e-2, abs=5e-3)


@pytest.mark.parametrize("strain", [True, False])
def test_the_model_that_divides_copies_is_one_of_springs(strain):
    """Translations cost nothing, all else something."""
    space = Displacements(turned(bulk("NaCl", "rocksalt", a=5.6).repeat((1, 1, 2)), 9), strain=strain)
    model, flat = space._springs(), space.basis.reshape(len(space.basis), -1)
    translations = np.zeros((3, space.rows, 3))
    translations[:, :4] = np.eye(3)[:, None]
    np.testing.assert_allclose(model, model.T, atol=1e-12)
    np.testing.assert_allclose(translations.reshape(3, -1) @ model, 0, atol=1e-12)
    assert np.linalg.eigvalsh(flat @ model @ flat.T)[0] > 1e-3


def test_body_centred_copper_becomes_face_centred():
    """Bain's path: the tetragonal strain of bcc is unstable and ends in fcc, the minimum of the potential."""
    result = relax(turned(bulk("Cu", "bcc", a=2.9), 5), EMT(), cell="symmetric")
    assert [(s.space_group.symbol, s.is_minimum) for s in result.found] == [("Im-3m", False), ("Fm-3m", True)]
    assert result.found[0].unstable == ["Eg"]
    fcc = bulk("Cu", a=3.5)
    fcc.calc = EMT()
    BFGS(FrechetCellFilter(fcc), logfile=None).run(fmax=1e-4)
    assert result.minima[0].energy == pytest.approx(fcc.get_potential_energy(), abs=1e-4)
    assert result.minima[0].atoms.get_volume() == pytest.approx(fcc.get_volume(), rel=5e-3)
    assert same_structure(result.minima[0].atoms, fcc)
    assert not same_structure(result.found[0].atoms, fcc)


def test_without_the_cell_body_centred_copper_stays():
    atoms = turned(bulk("Cu", "bcc", a=2.9), 6)
    result = relax(atoms, EMT())
    assert [s.space_group.symbol for s in result.found] == ["Im-3m"]
    np.testing.assert_allclose(result.found[0].atoms.cell.lengths(), atoms.cell.lengths(), atol=1e-6)


def test_a_reconstruction_of_two_atoms():
    """Simple cubic copper in a doubled cell: a relaxed cell is lower than what the fixed one allows."""
    atoms = Atoms("Cu", cell=[2.4] * 3, pbc=True).repeat((2, 1, 1))
    free, fixed = (relax(atoms, EMT(), cell=cell, generations=1) for cell in ("symmetric", "fixed"))
    assert free.minima[0].energy < fixed.minima[0].energy - 0.1
    for s in free.found:
        s.atoms.calc = EMT()
        assert np.abs(s.atoms.get_stress()).max() < 0.01


def test_crystals_in_other_bases_are_the_same():
    for make in (
        lambda: bulk("Cu", "bcc", a=2.9),
        lambda: bulk("Mg"),
        lambda: bulk("NaCl", "rocksalt", a=5.6, cubic=True),
    ):
        assert same_structure(make(), turned(make(), 7))
    squeezed = bulk("Cu")
    squeezed.set_cell(squeezed.cell.array @ np.diag([1, 1, 1.2]), scale_atoms=True)
    assert not same_structure(bulk("Cu"), squeezed)


def test_mirror_images_are_the_same_crystal():
    rng = np.random.default_rng(0)
    atoms = Atoms("NaClKBr", rng.uniform(0, 5, (4, 3)), cell=[[5, 0, 0], [1, 6, 0], [0.5, 2, 7]], pbc=True)
    mirrored = Atoms(atoms.numbers, atoms.positions * [1, 1, -1], cell=atoms.cell.array * [1, 1, -1], pbc=True)
    assert same_structure(atoms, turned(mirrored, 8))
    mirrored.positions[0] += 0.5
    assert not same_structure(atoms, mirrored)


class WithoutStress(Calculator):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


@pytest.mark.parametrize(
    ("atoms", "calculator", "message"),
    [
        (molecule("CH4"), EMT(), "not periodic"),
        (Atoms("Cu", cell=[3, 3, 0], pbc=[1, 1, 0]), EMT(), "three cell vectors"),
        (bulk("Cu"), WithoutStress(), "WithoutStress gives no stress"),
    ],
)
def test_what_has_no_cell_or_no_stress_is_refused(atoms, calculator, message):
    with pytest.raises(ValueError, match=message):
        relax(atoms, calculator, cell="symmetric")


def test_distortions_to_follow_are_strained_if_the_cell_is():
    atoms = bulk("Cu", "bcc", a=2.9)
    ways = [d for d in distortions(atoms, strain=True) if d.keep.schoenflies == "D4h"]
    result = relax(atoms, EMT(), along=ways, cell="symmetric", generations=1)
    assert "Fm-3m" in {s.space_group.symbol for s in result.found}
    with pytest.raises(ValueError, match="cell='symmetric'"):
        relax(atoms, EMT(), along=ways)
    with pytest.raises(ValueError, match="cell must be"):
        relax(atoms, EMT(), cell=True)


def test_distortions_without_strain_are_followed_while_the_cell_relaxes():
    atoms = bulk("Cu", "sc", a=2.4).repeat((2, 1, 1))
    ways = [d for d in distortions(atoms, copies=1) if d.symbol == "Cmcm (63)"]
    for cell in ("symmetric", "free"):
        result = relax(atoms, EMT(), along=ways, cell=cell, generations=1)
        assert [s.space_group.number for s in result.found] == [221, 225]
