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

from pyg_symbreak.detect import GraphSymmetry, detect_symmetry

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
