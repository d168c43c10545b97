import hashlib
from importlib.resources import files

import numpy as np
import pytest
import spglib
import torch

from pyg_symbreak.datasets import PerovskiteTilts, perovskite_tilts
from pyg_symbreak.structures import apply_distortion, find_octahedra, to_ase

FILE = files("pyg_symbreak.datasets.files") / "perovskite_tilts" / "perovskite_tilts.json.gz"


def made(cell):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return PerovskiteTilts(cell=cell)
    finally:
        torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def dataset():
    return made("primitive")


@pytest.fixture(scope="module")
def whole():
    return made("2x2x2")


def child_of(data):
    return to_ase(apply_distortion(data, data.y, data.strain[0]))


def by_spglib(atoms):
    """Space group and number of operations, by a program that knows no parent."""
    found = spglib.get_symmetry_dataset(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=0.02, angle_tolerance=-1
    )
    return found.number, len(found.rotations)


def test_file_is_the_one_listed():
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert digest == perovskite_tilts.SHA256
    assert f"{digest}  perovskite_tilts/perovskite_tilts.json.gz" in (FILE.parent.parent / "README.md").read_text()
    assert FILE.stat().st_size < 5e6


def test_compounds(dataset):
    """Oxides and halides; one structure of each compound is the lowest, none where the cubic phase is."""
    assert len(dataset.cubic) >= 40
    assert {name.rstrip("3")[-1] for name in dataset.cubic} == {"O", "F", "l", "r", "I"}
    assert all(3.4 < edge < 7 for edge, _ in dataset.cubic.values())
    lowest = [data.formula for data in dataset if data.lowest]
    assert len(lowest) == len(set(lowest))
    for name in dataset.cubic:
        own = [data.energy.item() for data in dataset if data.formula == name]
        assert (name in lowest) == (min(own, default=0) < -2e-3) or abs(min(own, default=0)) < 2e-3
    for data in dataset:
        assert 0.79 < data.tolerance < 1.1
        assert abs(data.charge.sum()) < 1e-9
        assert (data.radius > 0.3).all()


def test_space_groups_by_spglib(dataset):
    some = [dataset[i] for i in range(0, len(dataset), 4)]
    assert [by_spglib(child_of(data))[0] for data in some] == [data.kept_number.item() for data in some]


def test_one_structure_in_both_cells(dataset, whole):
    """In 2x2x2 all have the same input, as many domains as operations say, and the same space group and angles."""
    assert len(dataset) == len(whole)
    cubic = {}
    for i in range(0, len(dataset), 9):
        small, large = dataset[i], whole[i]
        assert large.num_nodes == 40
        atoms = child_of(large)
        number, order = by_spglib(atoms)
        assert (number, 384 // order) == (small.kept_number.item(), small.count.item())
        torch.testing.assert_close(small.y.square().mean(0).sum(), large.y.square().mean(0).sum())
        assert torch.equal(cubic.setdefault(large.formula, large.pos), large.pos)
        assert by_spglib(to_ase(large))[0] == 221


def test_tilts_are_those_of_the_structures(dataset):
    """Symbols and angles as they are read off; the letters of the tilts as the space group has them."""
    groups = {"a0a0c-": 140, "a0b-b-": 74, "a-a-a-": 167, "a0a0c+": 127, "a+a+a+": 204, "a+b-b-": 62, "a0b+b+": 139}
    for i in range(0, len(dataset), 5):
        data = dataset[i]
        if data.tilt:
            found = find_octahedra(child_of(data)).tilts()
            assert found.symbol == data.tilt
            np.testing.assert_allclose(np.sort(found.angles, 0), np.sort(data.angles[0].numpy(), 0), atol=0.05)
    plain = [data for data in dataset if not data.polar and data.angles.max() > 3 and data.tilt in groups]
    assert len(plain) > 100
    assert np.mean([data.kept_number.item() == groups[data.tilt] for data in plain]) > 0.95


def test_what_is_measured(dataset):
    """Textbook cases: these the potential has right."""
    lowest = {data.formula: data.kept for data in dataset if data.lowest}
    known = dataset.measured
    for name in ("CaTiO3", "SrZrO3", "CaSnO3", "NaMgF3", "PbTiO3", "KNbO3", "CsGeBr3", "NaNbO3", "CsPbI3", "YAlO3"):
        assert lowest[name] == known[name][0]
    assert all(source.endswith(")") for *_, source in known.values())
    assert "KMgF3" not in lowest


def test_split_shares_no_compound(dataset):
    train, test = dataset.split(held_out=0.2, seed=3)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(dataset)))
    assert not {dataset[i].formula for i in train.tolist()} & {dataset[i].formula for i in test.tolist()}


def test_cells_are_these_two(tmp_path):
    with pytest.raises(ValueError, match="primitive"):
        PerovskiteTilts(cell="3x3x3")
    stored = PerovskiteTilts(tmp_path, cell="2x2x2", pre_filter=lambda data: data.formula == "SrTiO3")
    again = PerovskiteTilts(tmp_path, cell="2x2x2", pre_filter=lambda data: data.formula == "SrTiO3")
    assert 0 < len(stored) == len(again)
    assert torch.equal(stored[0].y, again[0].y)
