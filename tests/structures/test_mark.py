"""Marks against rotations, images and renumberings; pipelines in which RandomRotate leaves an object behind."""

import pytest
import torch
import torch_geometric.transforms as T
from ase.build import bulk, fcc111, molecule, nanotube
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch

from pyg_symbreak.nn import BreakingEdgeInvariants, GatedNetwork
from pyg_symbreak.structures import from_ase, mark_of, require_own_object
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

STRUCTURES = {
    "molecule": molecule("CH3OH"),
    "crystal": bulk("NaCl", "rocksalt", a=5.6, cubic=True),
    "slab": fcc111("Al", (1, 1, 3), vacuum=5),
    "rod": nanotube(3, 0),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_marks_turn_with_structures_and_see_no_images(name):
    data = from_ase(STRUCTURES[name], torch.float64)
    data.pos = data.pos + 0.05 * torch.randn(data.pos.shape, generator=torch.Generator().manual_seed(0)).double()
    mark = mark_of(data.pos, data.cell, data.pbc)
    assert mark.norm() > 0.1
    if data.pbc.all():
        torch.testing.assert_close(mark_of(data.pos, data.cell), mark)
    r = -torch.from_numpy(Rotation.random(random_state=1).as_matrix())
    moved = mark_of(data.pos @ r.T + 3.0, data.cell @ r.T, data.pbc)
    torch.testing.assert_close(moved, mark @ r.T)
    jumps = torch.arange(3 * data.num_nodes).view(-1, 3).double() % 5 * data.pbc
    torch.testing.assert_close(mark_of(data.pos + jumps @ data.cell[0], data.cell, data.pbc), mark)
    left = mark_of(data.pos @ r.T, data.cell, data.pbc)
    assert (left[0] @ mark[0]) / (left.norm() * mark.norm()) < 0.98


def network(irreps: str) -> GatedNetwork:
    return GatedNetwork("1x0e", "1o", irreps, max_radius=3.0, hidden="4x0e+4x1o", layers=1)


def batch_of(*transforms, names=("CH4", "NH3", "H2O")) -> Batch:
    pipeline = T.Compose([NeighborList(3.0), *transforms])
    structures = [from_ase(molecule(name)) for name in names]
    for data in structures:
        data.x = torch.ones(data.num_nodes, 1)
    return Batch.from_data_list([pipeline(data) for data in structures])


IRREPS = "0o+2x1o+1e+2x2e+3o+3e"


@pytest.mark.parametrize("turn", [T.RandomRotate(180), T.RandomFlip(0, p=1.0), T.NormalizeRotation()])
@pytest.mark.parametrize("kind", ["group", "input"])
def test_an_object_that_was_left_behind_is_refused(turn, kind):
    torch.manual_seed(1)
    attach = AddSymmetryBreaking(kind, seed=0, irreps=IRREPS)
    for model in (network(IRREPS), BreakingEdgeInvariants(IRREPS)):
        with pytest.raises(ValueError, match=r"was turned.* RandomRotate come before AddSymmetryBreaking"):
            model(batch_of(attach, turn))
        model(batch_of(turn, attach))
        model(batch_of(attach, T.RandomJitter(0.05)))
    first = network(IRREPS)
    first(batch_of(attach, T.RandomScale((0.9, 1.1))))


def test_noise_fits_any_orientation_and_both_may_be_turned():
    torch.manual_seed(0)
    network("1o")(batch_of(AddSymmetryBreaking("noise"), T.RandomRotate(180)))
    batch = batch_of(AddSymmetryBreaking(seed=0, irreps="1o"), names=("NH3",))
    r = torch.from_numpy(Rotation.random(random_state=1).as_matrix()).float()
    batch.pos, batch.breaking = batch.pos @ r.T, batch.breaking @ r.T
    with pytest.raises(ValueError, match=r"Where the object was turned as well, delete data.breaking_mark"):
        require_own_object(batch)
    del batch.breaking_mark
    network("1o")(batch)
