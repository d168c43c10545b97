"""Structures on their way to other processes: the same on the other side, in memory of their own."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from torch_geometric.data import Data

from pyg_symbreak.structures import from_ase, from_bytes, to_bytes


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return type(b) is torch.Tensor and a.dtype == b.dtype and torch.equal(a.detach(), b.detach())
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


EMPTY = Data(pos=torch.zeros(2, 3), edge_index=torch.zeros(2, 0, dtype=torch.long), y=torch.tensor(1.5), name="a")
CASES = {
    "molecules": [from_ase(molecule(name)) for name in ("CH4", "NH3", "H2O")],
    "no edges, a number, a name": [EMPTY, EMPTY],
    "other attributes": [from_ase(molecule("CH4")), Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2)],
    "other types": [Data(pos=torch.zeros(2, 3)), Data(pos=torch.zeros(2, 3).double())],
    "sparse": [Data(x=torch.eye(3).to_sparse()), Data(x=torch.eye(2).to_sparse())],
    "half": [Data(x=torch.eye(3).bfloat16()), Data(x=torch.eye(2).bfloat16())],
    "arrays": [Data(a=np.eye(2), b=None), Data(a=np.ones(3), b="c")],
}


@pytest.mark.parametrize("name", CASES)
def test_they_come_as_they_were(name):
    given = CASES[name]
    come = from_bytes(to_bytes(given))
    assert len(come) == len(given)
    for a, b in zip(given, come, strict=True):
        assert type(a) is type(b)
        a, b = a.to_dict(), b.to_dict()
        assert a.keys() == b.keys()
        for key, value in a.items():
            if name == "sparse":
                value, b[key] = value.to_dense(), b[key].to_dense()
            assert same(value, b[key]), key


def test_atoms_and_nothing():
    assert from_bytes(to_bytes([])) == []
    assert from_bytes(to_bytes([molecule("CH4"), bulk("Si")])) == [molecule("CH4"), bulk("Si")]


def test_each_has_memory_of_its_own():
    come = from_bytes(to_bytes(CASES["molecules"]))
    assert come[0].pos.untyped_storage().nbytes() == come[0].pos.numel() * come[0].pos.element_size()
    come[0].pos += 1.0
    assert same(come[1].pos, CASES["molecules"][1].pos)


def test_a_gradient_is_still_asked_for():
    (come,) = from_bytes(to_bytes([Data(pos=torch.zeros(2, 3, requires_grad=True))]))
    assert come.pos.requires_grad
