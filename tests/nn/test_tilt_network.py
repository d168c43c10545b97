"""One network, one domain of a tilted perovskite in 40 atoms: what it learns holds for all 24 domains."""

import numpy as np
import pytest
import torch
from ase import Atoms
from torch_geometric.data import Batch

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import find_octahedra, from_ase
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

CUBIC = Atoms(
    "SrTiO3",
    scaled_positions=[(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)],
    cell=[3.905] * 3,
    pbc=True,
).repeat(2)
STEPS = 6


def parent():
    data = from_ase(CUBIC, torch.float64)
    data.x = torch.stack([data.z == z for z in (38, 22, 8)], 1).double()
    octahedra = find_octahedra(CUBIC)
    data.y = torch.from_numpy(octahedra.displacements(octahedra.field("a+b-b-")))
    return NeighborList(cutoff=2.8)(data)


def network(irreps_breaking):
    torch.manual_seed(0)
    return GatedNetwork("3x0e", "1o", irreps_breaking=irreps_breaking, max_radius=2.8).double()


def loss_of(model, data):
    return (model(data) - data.y).square().sum(1).mean()


def test_without_the_object_it_is_on_the_curie_residual():
    data = parent()
    symmetry = detect_symmetry(CUBIC)
    residual = float(curie_residual(data.y, symmetry.rotations, symmetry.permutations))
    assert residual == pytest.approx(float(data.y.square().sum()))
    assert float(loss_of(network(None), data).detach()) * 40 == pytest.approx(residual, abs=1e-10)


def test_one_domain_gives_all():
    data = parent()
    choose = {"keep": "a+b-b-", "on": "nodes", "nodes": "Ti", "irreps": "1e", "target": {"y": "1o"}}
    trained = AddSymmetryBreaking(**choose, choose="target")(data)
    model = network("1x1e")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = float(loss_of(model, trained).detach())
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, trained)
        loss.backward()
        optimizer.step()
    reached = float(loss_of(model, trained).detach())
    assert reached < first
    symmetry = AddSymmetryBreaking(**choose).objects(data).symmetry
    images = torch.zeros(384, 40, 3, dtype=torch.float64)
    moved = data.y @ symmetry.rotations.mT
    images.scatter_(1, symmetry.permutations[:, :, None].expand_as(moved), moved)
    firsts = np.unique((images * 1e6).round().numpy() + 0.0, axis=0, return_index=True)[1]
    domains = images[firsts]
    assert len(domains) == 24
    losses = []
    for y in domains:
        domain = data.clone()
        domain.y = y
        losses.append(AddSymmetryBreaking(**choose, choose="target")(domain))
    batch = Batch.from_data_list(losses)
    with torch.no_grad():
        errors = (model(batch) - batch.y).square().sum(1).reshape(24, 40).mean(1)
    assert float((errors - reached).abs().max()) < 1e-8
    assert len({tuple(x.breaking.flatten().round(decimals=6).tolist()) for x in losses}) == 24
