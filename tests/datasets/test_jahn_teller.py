import hashlib
import inspect
import re
from importlib.resources import files

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read
from scipy.spatial.transform import Rotation
from torch_geometric.loader import DataLoader

from pyg_symbreak.datasets import JahnTeller, jahn_teller
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.structures import to_ase

pytestmark = pytest.mark.usefixtures("double")

FILE = files("pyg_symbreak.datasets.files") / "jahn_teller" / "jahn_teller.xyz"
SYMPREC = 0.02
# Point groups of the lowest structures. CH4+: C2v in the best calculations and in experiment.
GROUPS = {"CH4+": {"D2d", "C2v"}, "NH3+": {"D3h"}, "C3H6+": {"C2v"}, "C6H6+": {"D2h"}}
CONTROLS = ("H2O+", "N2+", "C2H2+", "H2CO+", "PH3+")


@pytest.fixture(scope="module")
def frames():
    return read(FILE, ":", format="extxyz")


def by_name():
    return {data.name: data for data in JahnTeller()}


def moved(data):
    return Atoms(data.z.numpy(), positions=(data.pos + data.y).numpy())


def images(data):
    """The displacements under each operation of the parent: [order, N, 3]."""
    symmetry = detect_symmetry(to_ase(data), 1e-3)
    out = torch.empty(len(symmetry.permutations), *data.y.shape)
    for image, rotation, permutation in zip(out, symmetry.rotations, symmetry.permutations, strict=True):
        image[permutation] = data.y @ rotation.T
    return symmetry, out


def test_size():
    dataset = JahnTeller()
    assert len({data.name for data in dataset}) == len(dataset)
    assert FILE.stat().st_size < 2_000_000


def test_enough_molecules_and_groups(frames):
    neutral = {
        f.get_chemical_formula() + f.info["group"]
        for f in frames
        if f.info["role"] == "parent" and f.info["charge"] == 0
    }
    assert len(neutral) >= 20
    assert len({f.info["group"] for f in frames if f.info["role"] == "parent" and f.info["charge"] == 0}) >= 8


@pytest.mark.parametrize("name", GROUPS)
def test_known_distortions(name):
    """The group in any orientation, with another order of the atoms, and over a range of tolerances."""
    data = by_name()[name]
    rng = np.random.default_rng(0)
    for symprec in (0.005, 0.01, 0.02, 0.05):
        atoms = moved(data)[rng.permutation(data.num_nodes)]
        atoms.positions = Rotation.random(random_state=rng).apply(atoms.positions) + rng.standard_normal(3)
        assert detect_symmetry(atoms, symprec).group.schoenflies in GROUPS[name]


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_keep_their_symmetry(name):
    data = by_name()[name]
    assert data.group == data.kept == detect_symmetry(moved(data), SYMPREC).group.schoenflies
    assert data.count.item() == 1
    assert abs(data.energy.item()) < 2e-3


def test_distortions_are_invariant_under_what_is_kept():
    for data in JahnTeller():
        symmetry, all_images = images(data)
        keeps = (all_images - data.y).flatten(1).abs().amax(1) < 1e-6
        distinct = torch.unique(all_images.flatten(1).div(1e-4).round(), dim=0)
        assert len(distinct) == len(keeps) // int(keeps.sum()) == data.count.item(), data.name
        if symmetry.continuous is None:
            assert PointGroup.from_matrices(symmetry.rotations[keeps]).schoenflies == data.kept
        assert data.group == symmetry.group.schoenflies


@pytest.mark.filterwarnings("ignore:Optimal rotation is not uniquely")  # linear molecules
def test_no_rigid_motion():
    """Neither translation nor rotation brings the target nearer to the parent."""
    for data in JahnTeller():
        torch.testing.assert_close(data.y.mean(0), torch.zeros(3), rtol=0, atol=1e-7)
        x = data.pos - data.pos.mean(0)
        torque = torch.linalg.cross(x, data.y).sum(0)
        torch.testing.assert_close(torque, torch.zeros(3), rtol=0, atol=1e-6)
        target = (x + data.y).numpy()
        best, _ = Rotation.align_vectors(x.numpy(), target)
        nearer = np.linalg.norm(best.apply(target) - x.numpy())
        assert np.linalg.norm(data.y) == pytest.approx(nearer, abs=1e-6)


def test_energies(frames):
    """The target is the lowest of its system; broken ones lie below the symmetric structure."""
    lowest = None
    for frame in frames:
        if frame.info["role"] == "lowest":
            lowest = frame.info
        elif frame.info["role"] == "other":
            assert frame.info["system"] == lowest["system"]
            assert frame.info["total_energy"] > lowest["total_energy"] - 1e-3
            difference = frame.info["total_energy"] - lowest["total_energy"]
            assert difference == pytest.approx(frame.info["relative_energy"] - lowest["relative_energy"], abs=1e-9)
    for data in JahnTeller():
        assert data.energy.item() < (0 if data.count > 1 else 2e-3), data.name


def test_calculations_are_recorded(frames):
    for frame in frames:
        info = frame.info
        assert info["method"].startswith("U" if info["unpaired"] else "R")
        assert info["program"].startswith("PySCF")
        if info["role"] != "other":
            assert info["converged"]
            assert info["fmax"] <= 0.01
        assert (frame.numbers.sum() - info["charge"] - info["unpaired"]) % 2 == 0


def test_atoms_stay_in_place(frames):
    """Order and frame are those of the parent: no atom moves further than half of a long bond."""
    parent = None
    for frame in frames:
        parent = frame if frame.info["role"] == "parent" else parent
        assert (frame.numbers == parent.numbers).all()
        if frame.info["role"] == "lowest":
            assert np.linalg.norm(frame.positions - parent.positions, axis=1).max() < 1.0


def test_held_out_are_there():
    names = by_name()
    assert {name for name, data in names.items() if data.held_out.item()} == set(jahn_teller.HELD_OUT)
    assert 0.1 < len(jahn_teller.HELD_OUT) / len(names) < 0.4


def test_table_of_the_docstring():
    row = r"^(\S.*?)\*? +([A-Z]\w+ +[A-Z]\w+ +\d+ +[\d.]+ +[-\d.]+)$"
    rows = dict(re.findall(row, inspect.getdoc(JahnTeller), re.MULTILINE))
    names = by_name()
    assert set(rows) == set(names)
    for name, data in names.items():
        group, kept, count, largest, energy = rows[name].split()
        assert (group, kept, int(count)) == (data.group, data.kept, data.count.item())
        assert float(largest) == pytest.approx(data.y.norm(dim=1).max().item(), abs=6e-4)
        assert float(energy) == pytest.approx(data.energy.item(), abs=6e-4)


def test_batch():
    batch = next(iter(DataLoader(JahnTeller(), batch_size=4)))
    assert batch.y.shape == batch.pos.shape
    assert batch.energy.shape == batch.charge.shape == batch.unpaired.shape == batch.held_out.shape == (4,)


def test_in_memory_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert all(data.held_out for data in JahnTeller(pre_filter=lambda data: bool(data.held_out)))
    assert list(tmp_path.iterdir()) == []


def test_on_disk(tmp_path):
    made = JahnTeller(tmp_path)
    again = JahnTeller(tmp_path)
    assert (tmp_path / "processed" / "data.pt").is_file()
    assert len(made) == len(again) == len(JahnTeller())
    for data, other in zip(again, JahnTeller(), strict=True):
        assert data.name == other.name
        assert torch.equal(data.y, other.y)


def test_default_dtype():
    torch.set_default_dtype(torch.float32)
    data = JahnTeller()[0]
    assert {data[key].dtype for key in ("pos", "y", "energy")} == {torch.float32}


def test_file_is_listed_with_its_sum():
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert digest == jahn_teller.SHA256
    readme = (FILE.parent.parent / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"([0-9a-f]{64})  jahn_teller/jahn_teller.xyz", readme) == [digest]


def test_changed_file(tmp_path, monkeypatch):
    (tmp_path / FILE.name).write_bytes(FILE.read_bytes() + b"\n")
    monkeypatch.setattr(JahnTeller, "raw_dir", str(tmp_path))
    with pytest.raises(ValueError, match=r"jahn_teller\.xyz was changed: its sha256 is [0-9a-f]{64}, not"):
        JahnTeller()
