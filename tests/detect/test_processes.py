"""Symmetries that go from process to process: few open files, small messages, the same result."""

import pickle
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch_geometric.data import Data

from pyg_symbreak.detect import GraphSymmetry, detect_symmetries, detect_symmetry
from pyg_symbreak.structures import from_ase

SQUARE = Data(edge_index=torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]]), num_nodes=4)
STRUCTURES = [molecule("CH4"), molecule("CO2"), Atoms("He"), bulk("Si", cubic=True), SQUARE]

FEW_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
import torch
from ase.build import bulk, molecule
from torch_geometric.loader import DataLoader
from torch_geometric.data import Data
from pyg_symbreak.detect import detect_symmetries
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms.add_symmetry import AddSymmetry

if __name__ == "__main__":
    square = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]])
    for x in (from_ase(molecule("CH4")), from_ase(bulk("Si")), Data(edge_index=square, num_nodes=4)):
        carried = [AddSymmetry()(x)] * 150
        orders = [s.order for batch in DataLoader(carried, batch_size=50, num_workers=1) for s in batch.symmetry]
        assert orders == [carried[0].symmetry.order] * 150
        assert [s.order for s in detect_symmetries([x] * 150, processes=2)] == orders
        assert [s.order for s in detect_symmetries(carried, processes=2)] == orders
    print("done")
"""


def test_many_symmetries_pass_where_few_files_may_be_open(tmp_path):
    """Tensors would take one open file each on their way from a worker."""
    script = tmp_path / "few_files.py"
    script.write_text(FEW_FILES)
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    assert ran.stdout.strip() == "done", ran.stderr


@pytest.mark.parametrize("structure", STRUCTURES, ids=["CH4", "CO2", "He", "Si8", "square"])
def test_a_copy_by_pickle_is_the_same(structure):
    found = detect_symmetry(structure)
    _ = found.permutations, found.orbits, found.site_symmetry(0)
    for copied in (pickle.loads(pickle.dumps(found)), pickle.loads(ForkingPickler.dumps(found))):
        assert repr(copied) == repr(found)
        assert torch.equal(copied.permutations, found.permutations)
        assert torch.equal(copied.orbits, found.orbits)
        if isinstance(found, GraphSymmetry):
            assert torch.equal(copied.canonical_labels, found.canonical_labels)
        else:
            assert torch.equal(copied.rotations, found.rotations)
            assert torch.equal(copied.translations, found.translations)
            assert torch.equal(copied.residuals, found.residuals)


@pytest.mark.parametrize("structure", STRUCTURES, ids=["CH4", "CO2", "He", "Si8", "square"])
def test_what_is_saved_holds_no_tensors(structure):
    """The pickler between processes moves tensors, and them alone, into shared memory."""
    found = detect_symmetry(structure)
    assert b"torch" not in ForkingPickler.dumps(found).tobytes()


def same(a, b) -> bool:
    """Whether two symmetries are the same in all that they list."""
    if isinstance(a, GraphSymmetry):
        return isinstance(b, GraphSymmetry) and torch.equal(a.orbits, b.orbits) and a.order == b.order
    names = ("permutations", "rotations", "translations", "residuals", "orbits")
    kinds = ("order", "symprec", "space_group", "layer_group", "continuous", "kernel", "plateau")
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in names) and all(
        str(getattr(a, k)) == str(getattr(b, k)) for k in kinds
    )


@pytest.mark.parametrize("pass_on", [list, iter, tuple], ids=["list", "iterator", "tuple"])
def test_symmetries_of_all_kinds_come_in_order(pass_on):
    """Those of molecules travel as joined arrays, others beside them; more of them than a process takes at once."""
    structures = [STRUCTURES[k * k % 5] for k in range(60)] + [molecule("NH3"), molecule("CO")] * 100
    alone = list(detect_symmetries(structures))
    for processes in (2, 3):
        found = list(detect_symmetries(pass_on(structures), processes=processes))
        assert len(found) == len(alone)
        assert all(same(a, b) for a, b in zip(alone, found, strict=True))
        assert found[-1].atoms is None


def test_features_that_transform_are_heeded():
    """The symmetry of a crystal then lists what its operations miss by."""
    crystal = from_ase(bulk("Fe"), torch.float64)
    crystal.moment = torch.tensor([[0.0, 0, 1]], dtype=torch.float64)
    (alone,) = detect_symmetries([crystal], features={"moment": "1e"})
    (found,) = detect_symmetries([crystal], features={"moment": "1e"}, processes=2)
    assert same(alone, found)
    assert found.order < detect_symmetry(crystal).order


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("pass_on", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("bad", [0, 130, 199])
def test_what_was_found_before_a_structure_fails_comes_first(bad, pass_on, processes):
    """Also of those that a process took together with it; the message names it."""
    structures = [molecule("CH4")] * 200
    structures[bad] = Atoms("H2", [[0, 0, 0], [0, 0, 0]])
    found = detect_symmetries(pass_on(structures), processes=processes)
    assert [next(found).order for _ in range(bad)] == [24] * bad
    with pytest.raises(ValueError, match=f"^structure {bad}: atoms 0 .* coincide"):
        next(found)


class Stored(torch.utils.data.Dataset):
    """A data set whose structures are made when they are asked for."""

    def __len__(self):
        return 140

    def __getitem__(self, number):
        if number >= len(self):
            raise IndexError(number)
        return from_ase(molecule("NH3" if number % 2 else "CH4"))


def test_a_data_set_is_read_by_the_processes():
    assert [s.order for s in detect_symmetries(Stored(), processes=2)] == [24, 6] * 70
    assert [s.order for s in detect_symmetries(Stored())] == [24, 6] * 70


class Streamed(torch.utils.data.IterableDataset):
    """A data set without a length."""

    def __iter__(self):
        return iter([molecule("CH4"), molecule("NH3")])


def test_a_data_set_without_a_length_is_sent():
    assert [s.order for s in detect_symmetries(Streamed(), processes=2)] == [24, 6]
