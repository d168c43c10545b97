"""Many structures into a data set: results, failures, interruptions, and workers that die."""

import json
import os
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import write
from torch_geometric.data import Data, OnDiskDataset
from typer.testing import CliRunner

from pyg_symbreak.cli import app
from pyg_symbreak.preprocess import Failure, preprocess
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetryBreaking

NAMES = ["CH4", "NH3", "H2O", "C2H4", "C6H6", "CH3OH", "CH3Cl"]
BREAK = AddSymmetryBreaking(seed=0, symprec=0.01)


def atoms() -> list[Atoms]:
    return [molecule(name) for name in NAMES]


class Counting:
    """Writes a line for each structure that it sees; refuses, or is interrupted by, the species that are named."""

    def __init__(self, log: Path, refused: int = 0, interrupting: int = 0) -> None:
        self.log, self.refused, self.interrupting = log, refused, interrupting

    def __call__(self, data: Data) -> Data:
        if self.interrupting in data.z:
            raise KeyboardInterrupt
        with self.log.open("a") as file:
            file.write(f"{data.num_nodes}\n")
        if self.refused in data.z:
            raise ValueError("no such species here")
        return BREAK(data)

    def __repr__(self) -> str:
        return "Counting()"


class Dying:
    """Ends its process over a chloride, the first times."""

    def __init__(self, marks: Path, times: int) -> None:
        self.marks, self.times = marks, times

    def __call__(self, data: Data) -> Data:
        deaths = len(list(self.marks.iterdir()))
        if 17 in data.z and deaths < self.times:
            (self.marks / str(deaths)).touch()
            os._exit(1)
        return BREAK(data)

    def __repr__(self) -> str:
        return "Dying()"


def same(found: OnDiskDataset, expected: list[Data]) -> bool:
    return len(found) == len(expected) and all(
        torch.equal(a.pos, b.pos) and torch.equal(a.breaking, b.breaking) for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_the_data_set_is_what_the_transform_gives(tmp_path, processes):
    done = preprocess(atoms(), tmp_path, BREAK, processes=processes, shard_size=2)
    expected = [BREAK(from_ase(x)) for x in atoms()]
    assert done.count == 7
    assert done.failures == ()
    assert same(OnDiskDataset(str(tmp_path), log=False), expected)
    assert done.dataset(lambda data: data.num_nodes)[4] == 12
    again = preprocess([from_ase(x) for x in atoms()], tmp_path / "data", BREAK, processes=processes)
    assert same(again.dataset(), expected)


def test_iterators_and_nothing_at_all(tmp_path):
    assert preprocess(iter(atoms()), tmp_path / "some", BREAK, shard_size=3).count == 7
    assert preprocess([], tmp_path / "none", BREAK).count == len(OnDiskDataset(str(tmp_path / "none"), log=False)) == 0


def test_a_structure_that_fails_is_named(tmp_path):
    done = preprocess(atoms(), tmp_path, Counting(tmp_path / "log", refused=8), shard_size=2)
    assert [(f.index, f.structure) for f in done.failures] == [(2, "H2O"), (5, "CH4O")]
    assert done.failures[0].error == "ValueError: no such species here"
    assert [data.num_nodes for data in done.dataset()] == [5, 4, 6, 12, 5]
    stored = json.loads((tmp_path / "report.json").read_text())["failures"]
    assert [Failure(**entry) for entry in stored] == list(done.failures)


def test_what_was_interrupted_goes_on(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        preprocess(atoms(), tmp_path, Counting(log, interrupting=17), shard_size=2)
    assert len(log.read_text().split()) == 6
    done = preprocess(atoms(), tmp_path, Counting(log), shard_size=2)
    assert log.read_text().split()[6:] == ["5"]  # the last shard alone
    assert same(done.dataset(), [BREAK(from_ase(x)) for x in atoms()])
    assert preprocess(atoms(), tmp_path, Counting(log), shard_size=2) == done
    assert len(log.read_text().split()) == 7


def test_a_folder_that_was_begun_with_something_else_is_refused(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        preprocess(atoms(), tmp_path, Counting(log, interrupting=17), shard_size=2)
    for changed in ({"transform": BREAK, "shard_size": 2}, {"transform": Counting(log), "shard_size": 3}):
        with pytest.raises(ValueError, match=r"was begun with (transform|shard_size)"):
            preprocess(atoms(), tmp_path, **changed)
    others = atoms()
    others[3].positions[0, 0] += 1e-6
    with pytest.raises(ValueError, match="structures 2 to 3 are not those"):
        preprocess(others, tmp_path, Counting(log), shard_size=2)
    preprocess(atoms(), tmp_path, Counting(log), shard_size=2)
    with pytest.raises(ValueError, match="was begun with transform"):
        preprocess(atoms(), tmp_path, BREAK, shard_size=2)


def test_a_shard_of_a_lost_process_is_done_again(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    done = preprocess(atoms(), tmp_path, Dying(marks, times=1), processes=2, shard_size=2)
    assert len(list(marks.iterdir())) == 1
    assert same(done.dataset(), [BREAK(from_ase(x)) for x in atoms()])


def test_a_shard_that_always_kills_is_named(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    with pytest.raises(RuntimeError, match=r"shard 0 .* died 3 times"):
        preprocess(atoms()[6:], tmp_path, Dying(marks, times=9), processes=2, shard_size=2)


def test_a_shard_of_a_lost_worker_of_a_cluster_is_done_again(tmp_path):
    ray = pytest.importorskip("ray")
    marks = tmp_path / "marks"
    marks.mkdir()
    here = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}  # where workers find this file
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=here)
    try:
        done = preprocess(atoms(), tmp_path, Dying(marks, times=1), ray=True, shard_size=2)
    finally:
        ray.shutdown()
    assert len(list(marks.iterdir())) == 1
    assert same(done.dataset(), [BREAK(from_ase(x)) for x in atoms()])


def test_without_ray_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ImportError, match=r"pyg_symbreak\[distributed\]"):
        preprocess(atoms(), tmp_path, BREAK, ray=True)


def test_bad_numbers_are_refused(tmp_path):
    for bad in ({"processes": 0}, {"shard_size": 0}):
        with pytest.raises(ValueError, match="1 or more"):
            preprocess(atoms(), tmp_path, BREAK, **bad)


def test_command(tmp_path):
    write(tmp_path / "in.xyz", [*atoms(), Atoms("H2", [(0, 0, 0), (0, 0, 0)])])
    arguments = [
        "preprocess",
        tmp_path / "in.xyz",
        tmp_path / "out",
        "--cutoff",
        2,
        "--symprec",
        0.01,
        "--shard-size",
        3,
    ]
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["count"] == 7
    assert [f["index"] for f in report["failures"]] == [7]
    first = OnDiskDataset(str(tmp_path / "out"), log=False)[0]
    assert first.breaking.shape[0] == 1
    assert first.edge_index.shape[1] > 0
    shown = CliRunner().invoke(app, [*map(str, arguments)])
    assert "7 structures" in shown.stdout
    assert "7 H2" in shown.stdout
    missing = CliRunner().invoke(app, ["preprocess", str(tmp_path / "none.xyz"), str(tmp_path / "other")])
    assert missing.exit_code == 2
    assert "no such file" in missing.stderr
    (tmp_path / "bad.xyz").write_text("3\n\nH 0 0\n")
    bad = CliRunner().invoke(app, ["preprocess", str(tmp_path / "bad.xyz"), str(tmp_path / "other")])
    assert bad.exit_code == 2
    assert "frame 0" in bad.stderr
