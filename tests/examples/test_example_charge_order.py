"""Charge orders of a perovskite: space groups of the displaced structures by spglib, and breathing octahedra."""

import numpy as np
import pytest
import spglib
import torch
from ase.spacegroup import crystal

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.relation import relate_structures
from pyg_symbreak.structures import find_octahedra

EXAMPLE = "charge_order"


@pytest.mark.parametrize(("order", "number", "domains"), [("rock salt", 225, 2), ("layers", 123, 6), ("rows", 123, 6)])
def test_displaced_structures(example, order, number, domains):
    atoms = example.parent()
    symmetry = detect_symmetry(atoms)
    b = example.domains(symmetry, example.pattern(atoms, order))
    assert (b.size, b.stabilizer.space_group.number, b.ideal) == (domains, number, True)
    both = example.response(atoms, b.objects)
    for charges, moved in zip(both[:, :, 0], both[:, :, 1:], strict=True):
        displaced = atoms.copy()
        displaced.positions += moved.numpy()
        cell = displaced.cell.array, displaced.get_scaled_positions(), displaced.numbers
        assert int(spglib.get_spacegroup(cell, symprec=1e-4).split("(")[1][:-1]) == number
        octahedra = find_octahedra(displaced)
        size = np.array([np.linalg.norm(octahedra.arms[octahedra.bonds[:, 0] == n], axis=1).mean() for n in range(8)])
        poorer = charges.numpy()[octahedra.centers] < 0
        assert size[poorer].min() > size[~poorer].max()
    stays = symmetry.stabilizer(both[0, :, 1:], "1o").operations
    assert stays == b.stabilizer.operations
    assert torch.allclose(both[:, :, 0].sum(1), torch.zeros(domains))


def test_dimers_of_vanadium_dioxide(example):
    """The listed distortion against the measured M1 phase, in its own setting."""
    way, paired, objects = example.dimers()
    cell = paired.cell.array, paired.get_scaled_positions(), paired.numbers
    assert spglib.get_spacegroup(cell, symprec=1e-3) == "P2_1/c (14)"
    assert (objects.size, objects.ideal, objects.stabilizer.operations) == (8, True, way.operations)
    assert not objects.objects[:, ~objects.nodes].any()
    short, long = example.chain_distances(paired)
    assert short == pytest.approx(2.62, abs=0.01)
    assert long == pytest.approx(3.16, abs=0.1)
    places = [(0.23947, 0.97894, 0.02646), (0.10616, 0.21185, 0.20859), (0.40051, 0.70258, 0.29884)]
    measured = crystal(("V", "O", "O"), places, spacegroup=14, cellpar=(5.7517, 4.5378, 5.3825, 90, 122.646, 90))
    assert example.chain_distances(measured) == pytest.approx((2.619, 3.164), abs=0.01)
    relation = relate_structures(example.rutile(), measured)
    symmetry = detect_symmetry(relation.parent, 1e-2)
    moved = relation.match.displacements.numpy()
    kept = symmetry.stabilizer(moved - moved.mean(0), "1o")
    assert kept.space_group == objects.stabilizer.space_group
    assert kept.index * symmetry.hidden_domains == objects.size
    vanadium = relation.parent.numbers == 23
    assert np.abs(moved[vanadium, 2] - moved[vanadium, 2].mean()).min() > 0.1  # all chains pair
    assert np.abs(way.direction[way.parent.numbers == 23, 2]).min() > 0.9
