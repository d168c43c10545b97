"""Charge orders of a perovskite: space groups of the displaced structures by spglib, and breathing octahedra."""

import numpy as np
import pytest
import spglib
import torch

from pyg_symbreak.detect import detect_symmetry
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
