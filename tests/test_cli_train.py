"""pyg-symbreak train: from a YAML file to a folder, and one line on stderr for what is wrong."""

import json
import sys

import pytest
from typer.testing import CliRunner

from pyg_symbreak.cli import app

pytest.importorskip("lightning")

CONFIG = """
dataset: TriangularPrism
keep: nothing
hidden: 8x0e+8x0o+4x1o+4x1e+4x2e+4x2o
steps: 120
lr: 3e-2
"""


def call(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "prism.yaml"
    path.write_text(CONFIG)
    return path


def test_train_and_resume(config, tmp_path):
    out = tmp_path / "out"
    done = call(config, "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report == json.loads((out / "metrics.json").read_text())
    (row,) = report["runs"][0]["training"]
    assert (row["group"], row["keep"], row["targets"], row["answers"]) == ("D3", "C1", 6, 6)
    assert max(row["error"], row["missed"]) < 0.02
    assert row["curie"] == pytest.approx(2**0.5)
    config.write_text(CONFIG.replace("120", "125"))
    again = call(config, "--out", out, "--resume")
    assert again.exit_code == 0, again.stderr
    assert json.loads((out / "metrics.json").read_text())["runs"][0]["steps"] == 125
    assert "prism" in again.stdout
    assert "metrics" in again.stdout.lower()
    assert "Near the bound" not in again.stdout
    config.write_text(CONFIG.replace("120", "1"))
    short = call(config, "--out", tmp_path / "short")
    assert "Near the bound of a network without object: prism." in short.stdout
    config.write_text(CONFIG.replace("120", "1").replace("keep: nothing", "strategy: none"))
    assert "Near the bound" not in call(config, "--out", tmp_path / "none").stdout  # where it must be


def test_what_is_wrong_is_named(config, tmp_path):
    config.write_text(CONFIG + "epochs: 3\n")
    cases = [
        ([config], "unknown key 'epochs'; the keys are dataset,"),
        ([tmp_path / "no.yaml"], "no such file"),
    ]
    (tmp_path / "list.yaml").write_text("- 1\n")
    cases.append(([tmp_path / "list.yaml"], "must hold keys and values"))
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    cases.append(([tmp_path / "broken.yaml"], "is not YAML"))
    for arguments, message in cases:
        result = call(*arguments, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert message in result.stderr
        assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text("dataset: BaTiO3\n")
    config.write_text(CONFIG)
    assert "holds a run already" in call(config, "--out", tmp_path / "out").stderr
    assert "dataset is 'TriangularPrism', but 'BaTiO3'" in call(config, "--out", tmp_path / "out", "--resume").stderr


def test_without_lightning_the_extra_is_named(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(sys.modules, "pyg_symbreak.training.run", raising=False)
    result = call(config, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr == "error: training needs Lightning: pip install 'pyg_symbreak[train]'\n"
