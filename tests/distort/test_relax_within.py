"""Relaxations inside a symmetry, in primitive cells, against energies of known cells and spglib."""

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from pyg_symbreak.distort import distortions, glazer, relax_within
from pyg_symbreak.structures import find_octahedra

CUBIC = Atoms(
    "SrTiO3",
    scaled_positions=[(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)],
    cell=[3.905] * 3,
    pbc=True,
)
SIMPLE = bulk("Cu", "sc", a=2.4)


def by_spglib(atoms):
    cell = atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
    found = spglib.get_spacegroup(cell, symprec=1e-2)
    return int(found.split("(")[1][:-1]), len(spglib.find_primitive(cell, symprec=1e-2)[2])


class Springs(Calculator):
    """Stiff bonds B-X of length 2.1 Å, longer than half the edge, so that octahedra tilt."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        octahedra = find_octahedra(atoms)
        length = np.linalg.norm(octahedra.arms, axis=1)
        pull = (length - 2.1)[:, None] * octahedra.arms / length[:, None]
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, octahedra.centers[octahedra.bonds[:, 0]], pull)
        np.add.at(forces, octahedra.bonds[:, 2], -pull)
        self.results = {"energy": float(((length - 2.1) ** 2).sum() / 2), "forces": forces}


def test_tilts_relax_in_primitive_cells_and_keep_their_symmetry():
    """Rigid octahedra: all bonds have their length, in whichever tilt system: cos(angle) = 3.905/4.2 about one axis."""
    ways = [glazer(symbol, CUBIC) for symbol in ("a0a0c-", "a-a-a-", "a+a+a+")]
    parent, *ends = relax_within(ways, Springs(), cell="fixed", amplitude=0.2, fmax=1e-4, steps=200)
    assert (parent.symbol, len(parent.atoms), parent.distortion) == ("Pm-3m (221)", 5, None)
    assert parent.energy == pytest.approx(3 * (2.1 - 3.905 / 2) ** 2)
    for end, way, count in zip(ends, ways, (10, 10, 20), strict=True):
        assert end.distortion is way
        assert end.converged
        assert end.space_group == way.space_group
        assert by_spglib(end.atoms) == (way.space_group.number, count)
        assert len(end.atoms) == count
        assert end.energy < parent.energy / 2
        assert find_octahedra(end.atoms.repeat(2)).tilts().symbol == way.tilt
        assert end.atoms.get_forces().shape == (count, 3)


@pytest.mark.parametrize("cell", ["symmetric", "fixed", "free"])
def test_ends_are_compared_with_earlier_ones(cell):
    ways = distortions(SIMPLE, supercell=(2, 1, 1), copies=1)
    found = relax_within(ways, EMT(), cell=cell)
    assert [e.same_as for e in found] == [None, 0, None, None, 3]
    known = EMT().get_potential_energy(bulk("Cu", a=3.595)) if cell != "fixed" else None
    for e in found:
        assert by_spglib(e.atoms) == (e.space_group.number, len(e.atoms))
        assert e.atoms.info["space_group"] == e.symbol
        if cell == "fixed":
            assert e.atoms.get_volume() / len(e.atoms) == pytest.approx(2.4**3)
    if known is not None:
        assert found[3].symbol == "Fm-3m (225)"
        assert found[3].energy == pytest.approx(known, abs=2e-3)


def test_molecules_and_what_is_said():
    ways = [d for d in distortions(molecule("H2O")) if d.irrep == "B2"]
    said: list[str] = []
    parent, *found = relax_within(ways, EMT(), cell="fixed", progress=said.append)
    assert parent.symbol == "C2v"
    assert said[-1].startswith(f"{len(said)} of {len(said)} relaxations, ")
    assert len(said) == 1 + len(found)
    with pytest.raises(ValueError, match="at least one"):
        relax_within([], EMT())
    with pytest.raises(TypeError, match="ASE calculator"):
        relax_within(ways, EMT, cell="fixed")


def test_processes_give_the_same():
    ways = distortions(SIMPLE, supercell=(2, 1, 1), copies=1)[1:3]
    alone, together = (relax_within(ways, EMT(), processes=n) for n in (1, 2))
    assert [e.energy for e in alone] == pytest.approx([e.energy for e in together])
