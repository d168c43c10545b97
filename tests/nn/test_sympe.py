"""SymPE: a learned vector moved by a group element, joint equivariance, gradients, repr."""

import pytest
import torch
from ase.build import molecule
from nn_graphs import random_orthogonal, representation
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from pyg_symbreak.nn import SymPE
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetryBreaking


@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("irreps", ["0o+2x1o", "1e+2e", "2o+3o"])
def test_vector_moves_with_the_element(irreps, improper):
    generator = torch.Generator().manual_seed(0)
    g = random_orthogonal(improper, generator)
    rotations = torch.stack([random_orthogonal(i % 2 == 0, generator) for i in range(4)])
    layer = SymPE(irreps).double()
    before, after = (layer(r.mT.reshape(4, 9)) for r in (rotations, g @ rotations))
    assert (after - before @ representation(irreps, g).T).abs().max() < 1e-12
    assert (layer(torch.eye(3).double().reshape(1, 9)) - layer.vector).abs().max() < 1e-12


def test_in_a_pipeline_of_structures():
    data = [AddSymmetryBreaking("sympe")(from_ase(molecule("CH4"))) for _ in range(3)]
    batch = next(iter(DataLoader(data, batch_size=3)))
    layer = SymPE("0o+2x1o")
    out = layer(batch.breaking)
    assert out.shape == (3, 7)
    assert out.dtype == torch.float32
    out.square().sum().backward()
    assert layer.vector.grad.abs().min() > 0


def test_rows_of_a_table():
    ring = Data(edge_index=torch.tensor([[0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 0, 0, 1, 2, 3]]), num_nodes=4)
    data = AddSymmetryBreaking("sympe", choose=3)(ring)
    layer = SymPE(5, num_ranks=6)
    out = layer(data.breaking)
    assert torch.equal(out, layer.vector[data.breaking[:, 0]])
    assert torch.equal(layer(data.breaking.float()), out)
    out.sum().backward()
    assert torch.equal(layer.vector.grad.sum(1), torch.tensor([5.0, 5, 5, 5, 0, 0]))
    with pytest.raises(ValueError, match="a node has rank 3, but the table has 3 rows"):
        SymPE(5, num_ranks=3)(data.breaking)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="rows of width 9"):
        SymPE("1o")(torch.ones(4, 1))
    with pytest.raises(ValueError, match="rows of width 1"):
        SymPE(4, num_ranks=3)(torch.ones(4, 9))
    with pytest.raises(ValueError, match="a permutation rotates nothing"):
        SymPE("1o", num_ranks=3)


def test_reset_and_repr():
    layer = SymPE("0o+2x1o")
    before = layer.vector.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.vector, before)
    assert repr(layer) == "SymPE(1x0o+2x1o)"
    assert repr(SymPE(8, num_ranks=16)) == "SymPE(8x0e, num_ranks=16)"
