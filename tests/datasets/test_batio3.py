import hashlib
import re
from importlib.resources import files

import moyopy
import numpy as np
import pytest
import spglib
import torch
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation
from torch_geometric.loader import DataLoader

from pyg_symbreak.datasets import BaTiO3, batio3
from pyg_symbreak.structures import apply_distortion, match_atoms, read_structure, to_ase
from pyg_symbreak.transforms import NeighborList

pytestmark = pytest.mark.usefixtures("double")

FILES = files("pyg_symbreak.datasets.files") / "batio3"
SPACE_GROUPS = {"cubic": 221, "tetragonal": 99, "orthorhombic": 38, "rhombohedral": 160}
POLARIZATION = {"cubic": [0, 0, 0], "tetragonal": [0, 0, 1], "orthorhombic": [0, 1, 1], "rhombohedral": [1, 1, 1]}
TI_O = {
    "cubic": [2.0] * 6,
    "tetragonal": [1.829] + [2.000] * 4 + [2.206],
    "orthorhombic": [1.856] * 2 + [1.998] * 2 + [2.168] * 2,
    "rhombohedral": [1.873] * 3 + [2.139] * 3,
}


def space_groups(atoms, symprec):
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    moyo = moyopy.MoyoDataset(moyopy.Cell(cell[0].tolist(), cell[1].tolist(), cell[2].tolist()), symprec=symprec)
    return spglib.get_symmetry_dataset(cell, symprec=symprec).number, moyo.number


def phase_of(data):
    return to_ase(apply_distortion(data, data.y, data.strain))


def ti_o(atoms):
    i, j, d = neighbor_list("ijd", atoms, 2.5)
    return np.sort(d[(atoms.numbers[i] == 22) & (atoms.numbers[j] == 8)])


@pytest.mark.parametrize("symprec", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize("index", range(4))
def test_phases(index, symprec):
    data = BaTiO3()[index]
    assert data.spacegroup.item() == SPACE_GROUPS[data.phase]
    assert data.z.tolist() == [56, 22, 8, 8, 8]
    assert space_groups(to_ase(data), symprec) == (221, 221)
    assert space_groups(phase_of(data), symprec) == (data.spacegroup.item(),) * 2


@pytest.mark.parametrize("index", range(4))
def test_bond_lengths_and_volume(index):
    """The bonds as published, and those of the file itself in its own conventional cell."""
    data = BaTiO3()[index]
    phase = phase_of(data)
    np.testing.assert_allclose(ti_o(phase), TI_O[data.phase], rtol=0, atol=6e-4)
    file = read_structure(FILES / f"{data.phase}.cif")
    copies = len(file) // len(phase)
    np.testing.assert_allclose(ti_o(file), np.sort(np.tile(ti_o(phase), copies)), rtol=0, atol=1e-9)
    assert phase.get_volume() == pytest.approx(file.get_volume() / copies, rel=1e-12)


@pytest.mark.parametrize("index", range(4))
def test_targets(index):
    data = BaTiO3()[index]
    torch.testing.assert_close(data.y.sum(0), torch.zeros(3), rtol=0, atol=1e-14)
    torch.testing.assert_close(data.strain, data.strain.mT, rtol=0, atol=1e-15)
    axis = torch.tensor(POLARIZATION[data.phase], dtype=torch.float64)
    titanium = data.y[1] - data.y[2:].mean(0)  # against the oxygen
    if axis.any():
        assert torch.nn.functional.cosine_similarity(titanium, axis, dim=0) > 1 - 1e-12
    else:
        assert not data.y.any()
        assert not data.strain.any()


def test_orthorhombic_cell_by_hand():
    """Stretch of the cell a, (b + c)/2, (c - b)/2 against 4 Å: 2x2 block with eigenvalues c and b over 4√2."""
    strain = BaTiO3()[2].strain[0]
    a, b, c = 3.9828, 5.6745, 5.6916
    along, across = c / (4 * 2**0.5) - 1, b / (4 * 2**0.5) - 1
    expected = torch.zeros(3, 3)
    expected[0, 0] = a / 4 - 1
    expected[1, 1] = expected[2, 2] = (along + across) / 2
    expected[1, 2] = expected[2, 1] = (along - across) / 2
    torch.testing.assert_close(strain, expected, rtol=0, atol=1e-12)


def test_all_domains_are_distinct():
    """6, 12 and 8 images of the targets under the 48 operations of the cube."""
    group = [r * s for r in Rotation.create_group("O").as_matrix() for s in (1, -1)]
    for data, count in zip(BaTiO3(), (1, 6, 12, 8), strict=True):
        domains = set()
        for g in group:
            moved = np.mod((data.pos.numpy() @ g.T) / 4 + 1e-6, 1)
            order = [int(np.abs(moved - p).sum(1).argmin()) for p in np.mod(data.pos.numpy() / 4 + 1e-6, 1)]
            domains.add(tuple((data.y.numpy()[order] @ g.T).round(9).ravel() + 0.0))
        assert len(domains) == count


def test_paper_pair():
    (data,) = BaTiO3(name="paper")
    assert data.spacegroup.item() == 99
    assert not data.strain.any()
    assert data.cell[0].tolist() == (4 * torch.eye(3)).tolist()
    z = torch.tensor([0.0422, 0.1122, -0.0311, -0.0311, -0.0921])
    torch.testing.assert_close(data.y[:, 2], z, rtol=0, atol=6e-5)
    assert not data.y[:, :2].any()
    assert space_groups(to_ase(data), 1e-5) == (221, 221)
    assert space_groups(phase_of(data), 1e-5) == (99, 99)


def test_round_trip_from_the_files():
    """The phase rebuilt from the target matches the file's primitive cell exactly."""
    for data in BaTiO3()[1:]:
        match = match_atoms(data, phase_of(data))
        torch.testing.assert_close(match.displacements, data.y, rtol=0, atol=1e-13)
        torch.testing.assert_close(match.strain, data.strain[0], rtol=0, atol=1e-13)
        torch.testing.assert_close(match.rotation, torch.eye(3), rtol=0, atol=1e-13)


def test_batch():
    batch = next(iter(DataLoader(BaTiO3(pre_transform=NeighborList(3.0)), batch_size=4)))
    assert batch.y.shape == (20, 3)
    assert batch.strain.shape == batch.cell.shape == (4, 3, 3)
    assert batch.spacegroup.tolist() == [221, 99, 38, 160]
    assert batch.phase == list(SPACE_GROUPS)
    assert batch.edge_shift.shape == (batch.num_edges, 3)


def test_in_memory_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(BaTiO3(pre_filter=lambda data: data.phase != "cubic")) == 3
    assert list(tmp_path.iterdir()) == []


def test_on_disk(tmp_path):
    for name, size in (("phases", 4), ("paper", 1)):
        made = BaTiO3(tmp_path, name=name, pre_transform=NeighborList(3.0))
        again = BaTiO3(tmp_path, name=name, pre_transform=NeighborList(3.0))
        assert (tmp_path / name / "processed" / "data.pt").is_file()
        for data, other, memory in zip(made, again, BaTiO3(name=name, pre_transform=NeighborList(3.0)), strict=True):
            for key in memory.keys():  # noqa: SIM118
                same = torch.equal if isinstance(memory[key], torch.Tensor) else str.__eq__
                assert same(data[key], memory[key])
                assert same(other[key], memory[key])
        assert len(made) == size
    with pytest.warns(UserWarning, match="pre_transform"):
        BaTiO3(tmp_path, pre_transform=NeighborList(2.5))
    fresh = BaTiO3(tmp_path, pre_transform=NeighborList(2.5), force_reload=True)
    assert fresh[0].num_edges != again[0].num_edges


def test_default_dtype():
    torch.set_default_dtype(torch.float32)
    data = BaTiO3()[1]
    assert {data[key].dtype for key in ("pos", "cell", "y", "strain")} == {torch.float32}


def test_files_are_listed_with_their_sums():
    sums = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in FILES.iterdir() if f.name.endswith(".cif")}
    assert sums == batio3.SHA256
    readme = (FILES.parent / "README.md").read_text(encoding="utf-8")
    assert {name: digest for digest, name in re.findall(r"([0-9a-f]{64})  batio3/(\S+)", readme)} == sums


def test_bad_input(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no variant 'cubic'.*phases.*paper"):
        BaTiO3(name="cubic")
    for path in FILES.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "cubic.cif").write_text((tmp_path / "cubic.cif").read_text().replace("4.0000", "4.0001"))
    monkeypatch.setattr(BaTiO3, "raw_dir", str(tmp_path))
    with pytest.raises(ValueError, match=r"cubic\.cif was changed: its sha256 is [0-9a-f]{64}, not"):
        BaTiO3()
