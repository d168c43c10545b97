"""Magnetic orders: UNI numbers and domains as tabulated, moments that are odd in the object."""

import numpy as np
import pytest
import torch

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import NeighborList

EXAMPLE = "antiferromagnet"
ORDERS = {
    ("F", "[001]"): (1005, 6), ("A", "[001]"): (1020, 6), ("C", "[001]"): (1057, 6), ("G", "[001]"): (1210, 6),
    ("F", "[111]"): (1331, 8), ("A", "[111]"): (97, 24), ("C", "[111]"): (90, 24), ("G", "[111]"): (1338, 8),
}  # fmt: skip


@pytest.mark.parametrize(("order", "axis"), ORDERS)
def test_groups_and_domains(example, order, axis):
    atoms = example.lattice()
    b = example.domains(detect_symmetry(atoms), example.pattern(atoms, order, axis))
    assert (b.stabilizer.magnetic_group, b.size) == ORDERS[order, axis]
    assert b.ideal


def test_targets_count_antiparallel_neighbours(example):
    atoms = example.lattice()
    data = NeighborList(cutoff=4.5)(from_ase(atoms, torch.float64))
    for order, antiparallel in {"F": 0, "A": 2, "C": 4, "G": 6}.items():
        field = torch.from_numpy(example.pattern(atoms, order, "[001]"))[None]
        lengths = example.moments(data, field).norm(dim=2)
        assert np.allclose(lengths, 3 - 0.05 * antiparallel)
