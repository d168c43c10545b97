import hashlib
from importlib.resources import files

import numpy as np
import pytest
import spglib
import torch
from torch_geometric.loader import DataLoader

from pyg_symbreak.datasets import Ferroelectrics, ferroelectrics
from pyg_symbreak.structures import apply_distortion, to_ase
from pyg_symbreak.testing import pairing_error
from pyg_symbreak.transforms import AddSymmetryBreaking

pytestmark = pytest.mark.usefixtures("double")

FILE = files("pyg_symbreak.datasets.files") / "ferroelectrics" / "ferroelectrics.json.gz"


@pytest.fixture(scope="module")
def dataset():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return Ferroelectrics()
    finally:
        torch.set_default_dtype(before)


def child_of(data):
    return to_ase(apply_distortion(data, data.y, data.strain[0]))


def number(atoms, symprec):
    """Space group by spglib."""
    return spglib.get_spacegroup(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=symprec, angle_tolerance=-1
    )


def test_every_pair_is_there_or_said_to_be_missing(dataset):
    assert len(dataset) + len(dataset.unmatched) == 413
    assert all("setting" in reason for *_, reason in dataset.unmatched)
    assert len({data.formula for data in dataset} | {formula for formula, *_ in dataset.unmatched}) == 279


def test_file_is_the_one_listed():
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert digest == ferroelectrics.SHA256
    assert f"{digest}  ferroelectrics/ferroelectrics.json.gz" in (FILE.parent.parent / "README.md").read_text()


def test_kept_group_is_that_of_the_child_by_spglib(dataset):
    """The child made of parent, displacements and strain has the space group K, by a program that knows no parent."""
    some = [data for data in dataset if data.num_nodes <= 60][::6]
    right = sum(number(child_of(data), 0.01) == f"{data.kept} ({data.kept_number.item()})" for data in some)
    assert right == len(some)
    assert [data.formula for data in dataset if data.kept_number != data.polar_number] == ["BC2N"]


def test_domains_are_as_many_as_the_parent_has_operations_for_each_of_the_child(dataset):
    for data in [data for data in dataset if data.num_nodes <= 20][::5]:
        cells = [
            spglib.get_symmetry((x.cell.array, x.get_scaled_positions(), x.numbers), symprec=0.01)["rotations"]
            for x in (to_ase(data), child_of(data))
        ]
        if number(child_of(data), 0.01) == f"{data.kept} ({data.kept_number.item()})":
            assert len(cells[0]) == data.count.item() * len(cells[1])


def test_targets(dataset):
    for data in dataset:
        assert data.y.mean(0).abs().max() < 1e-5
        assert torch.equal(data.strain, data.strain.mT)
        assert data.count.item() % data.lost_translations.item() == 0
        assert data.y.isfinite().all()
    known = [data for data in dataset if data.polarization.isfinite()]
    assert 230 <= len(known) <= 255
    assert all(data.polarization.item() >= 0 for data in known)
    losing = sum(data.lost_translations.item() > 1 for data in dataset)
    assert losing == pytest.approx(127, abs=6)


def test_splits_share_nothing(dataset):
    for by in ("formula", "parent_number"):
        train, test = dataset.split(by, 0.2, seed=1)
        assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(dataset)))
        assert not {str(dataset[i][by]) for i in train.tolist()} & {str(dataset[i][by]) for i in test.tolist()}
    with pytest.raises(ValueError, match="by one of"):
        dataset.split("colour")
    with pytest.raises(ValueError, match="between 0 and 1"):
        dataset.split(held_out=1.5)


def test_batches_and_files(dataset, tmp_path):
    batch = next(iter(DataLoader(dataset, batch_size=5)))
    assert batch.y.shape == batch.pos.shape
    assert batch.strain.shape == (5, 3, 3)
    stored = Ferroelectrics(tmp_path, pre_filter=lambda data: data.num_nodes <= 6)
    again = Ferroelectrics(tmp_path, pre_filter=lambda data: data.num_nodes <= 6)
    assert 0 < len(stored) == len(again) < len(dataset)
    np.testing.assert_array_equal(stored[0].y, again[0].y)


def test_objects_move_with_the_pair(dataset):
    """Of the whole structure and on the nodes; benchmarks/ferroelectric_pairs.py has more pairs."""
    small = [data for data in dataset if data.num_nodes <= 10]
    losing = next(data for data in small if data.lost_translations.item() > 1)
    keeping = next(data for data in small if data.lost_translations.item() == 1 and data.count.item() > 2)
    fields = {"y": "1o", "strain": "0e+2e"}
    attach = AddSymmetryBreaking(choose="target", target=fields, on="nodes", symprec=0.01)
    continuous = next(data for data in dataset if data.space_group == "P2_1/m" and data.kept == "Pm")
    assert attach(continuous).breaking.unique(dim=0).shape[0] > 1  # a field: no finite set of the whole structure
    for data in (losing, keeping, continuous):
        assert pairing_error(attach, data, fields, symprec=0.01, trials=1) < 1e-5
    assert pairing_error(AddSymmetryBreaking(choose=0, on="nodes", symprec=0.01), keeping, fields, symprec=0.01) > 0.1
