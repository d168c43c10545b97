"""Fields on the nodes through the transform: batches, files, workers, targets, and what is said to who passes wrong."""

import numpy as np
import pytest
import torch
from ase import Atoms
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from pyg_symbreak.breaking import NodeFields
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.structures import find_octahedra, from_ase
from pyg_symbreak.transforms import AddSymmetry, AddSymmetryBreaking

UNIT = Atoms(
    "SrTiO3",
    scaled_positions=[(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)],
    cell=[3.905] * 3,
    pbc=True,
)
CUBIC = UNIT.repeat(2)
TILT = AddSymmetryBreaking(keep="a0a0c-", on="nodes", nodes="Ti", irreps="1e")


def test_fields_batch_save_and_load(tmp_path):
    data = from_ase(CUBIC)
    rows = [TILT(data) for _ in range(3)]
    assert all(x.breaking.shape == (40, 3) and x.breaking.dtype == data.pos.dtype for x in rows)
    assert rows[0].breaking_irreps == "1x1e"
    batch = next(iter(DataLoader(rows, batch_size=3)))
    assert batch.breaking.shape == (120, 3)
    assert torch.equal(batch.to_data_list()[2].breaking, rows[2].breaking)
    torch.save(rows, tmp_path / "rows.pt")
    assert torch.equal(torch.load(tmp_path / "rows.pt", weights_only=False)[1].breaking, rows[1].breaking)
    every = AddSymmetryBreaking(keep="a0a0c-", on="nodes", nodes="Ti", irreps="1e", choose="all")(data)
    assert isinstance(every, Batch)
    assert every.breaking.shape == (240, 3)


def test_with_a_symmetry_that_was_attached_and_in_other_irreps():
    data = AddSymmetry()(from_ase(CUBIC))
    assert TILT(data).breaking.shape == (40, 3)
    placed = AddSymmetryBreaking(NodeFields("a0a0c-", "Ti", "1e"), irreps="1o+1e")(data)
    assert placed.breaking.shape == (40, 6)
    assert not placed.breaking[:, :3].any()
    assert placed.breaking[:, 3:].any()


def test_the_object_that_goes_with_a_target():
    """Of all domains; the one chosen has the symmetry of the target, and moves with it."""
    octahedra = find_octahedra(CUBIC)
    field = octahedra.field("a+b-b-")
    s = detect_symmetry(CUBIC)
    k = s.stabilizer(field, "1e")
    data = from_ase(CUBIC, torch.float64)
    data.y = torch.from_numpy(octahedra.displacements(field))
    paired = AddSymmetryBreaking(on="nodes", choose="target", target={"y": "1o"})
    first = paired(data)
    irreps = first.breaking_irreps
    assert s.stabilizer(first.breaking, irreps).operations == k.operations
    named = AddSymmetryBreaking(keep="a+b-b-", on="nodes", nodes="Ti", irreps="1e", choose="target", target={"y": "1o"})
    assert s.stabilizer(named(data).breaking, "1e").operations == k.operations
    for g in (50, 200):
        moved = data.clone()
        turn, places = s.rotations[g], s.permutations[g]
        moved.y[places] = data.y @ turn.T
        there = named(moved).breaking
        expected = torch.zeros_like(there)
        expected[places] = torch.linalg.det(turn) * named(data).breaking @ turn.T
        assert (there - expected).abs().max() < 1e-9


def test_what_is_said():
    with pytest.raises(ValueError, match="on='nodes'"):
        AddSymmetryBreaking(keep="Pnma")
    with pytest.raises(ValueError, match="on='nodes'"):
        AddSymmetryBreaking(keep="a+b-b-")
    with pytest.raises(ValueError, match="on='nodes'"):
        AddSymmetryBreaking(keep=detect_symmetry(CUBIC).subgroup([0]))
    with pytest.raises(ValueError, match="NodeFields"):
        AddSymmetryBreaking("input", nodes="Ti", on="nodes")
    lost = from_ase(CUBIC, torch.float64)
    lost.y = torch.from_numpy(find_octahedra(CUBIC).displacements(find_octahedra(CUBIC).field("a0a0c-")))
    with pytest.raises(ValueError, match="on='nodes'"):
        AddSymmetryBreaking(choose="target", target={"y": "1o"})(lost)
    with pytest.raises(ValueError, match="O24Sr8Ti8"):
        AddSymmetryBreaking(keep="a0a0c-", on="nodes", nodes="Ti", irreps="0e")(lost)
    assert repr(TILT) != repr(AddSymmetryBreaking(keep="a0a0c+", on="nodes", nodes="Ti", irreps="1e"))
    assert "nodes='Ti'" in repr(TILT)
    assert np.isfinite(TILT(lost).breaking).all()
