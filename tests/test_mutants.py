"""The mutator of benchmarks/: that a change is made, judged by the tests, and undone."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "benchmarks/mutants.py"
SOURCE = '''"""A sum."""

__all__ = ["total"]


def total(a: int = 0, b: int = 0) -> int:
    """Sum of the two."""
    seen = 7
    return a + b
'''


@pytest.fixture
def mutants():
    spec = importlib.util.spec_from_file_location("mutants", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_change_is_one_token_of_behaviour(mutants):
    """Neither annotations nor texts nor public names, and one change at a time."""
    found = [mutants.mutate(SOURCE, k) for k in range(len(list(mutants.changes(ast.parse(SOURCE)))))]
    assert sorted((kind, before, after) for _, kind, _, before, after in found) == [
        ("constant", "def total(a: int=0, b: int=0) -> int:", "def total(a: int=0, b: int=1) -> int:"),
        ("constant", "def total(a: int=0, b: int=0) -> int:", "def total(a: int=1, b: int=0) -> int:"),
        ("constant", "seen = 7", "seen = 8"),
        ("operator", "return a + b", "return a - b"),
    ]
    for text, *_ in found:
        assert (
            sum(a != b for a, b in zip(text.split("\n"), ast.unparse(ast.parse(SOURCE)).split("\n"), strict=False)) == 1
        )


def test_what_runs_on_import_is_judged_by_what_is_around_it(mutants):
    tree = ast.parse(
        "LIMIT = 3\n\n\nclass Sum:\n    start: int = 0\n\n    def add(self, x=1):\n        if (\n            x"
        "\n        ):\n            x += 1\n        return x\n\n\ndef other():\n    return LIMIT\n"
    )
    method, other = {8, 9, 10, 11, 12}, {16}
    expected = {1: method | other, 5: method, 7: method, 9: {8, 9, 10}, 11: {11}, 12: {12}, 15: other, 16: other}
    assert {line: mutants.lines_of(tree, line) for line in expected} == expected


def test_mutants_are_made_judged_and_undone(tmp_path):
    shutil.copytree(PATH.parent, tmp_path / "benchmarks", ignore=shutil.ignore_patterns("results"))
    (tmp_path / "pyg_symbreak").mkdir()
    (tmp_path / "tests").mkdir()
    module, out, record = tmp_path / "pyg_symbreak/add.py", tmp_path / "found.json", tmp_path / "record.json"
    module.write_text(SOURCE + "\n\ndef unseen():\n    return 1\n")
    (tmp_path / "pyg_symbreak/__init__.py").write_text("")
    (tmp_path / "tests/test_add.py").write_text(
        "from pyg_symbreak.add import total\n\ndef test_total():\n    assert (total(3, 2), total()) == (5, 0)\n"
    )
    test = "tests/test_add.py::test_total"
    record.write_text(
        json.dumps({"tests": [[test, 0.1]], "lines": {"pyg_symbreak/add.py": {"8": [0], "9": [0], "13": []}}})
    )
    arguments = ["--record", str(record), "--out", str(out)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "PYTHON"))}
    subprocess.run([sys.executable, "benchmarks/mutants.py", *arguments], cwd=tmp_path, env=environment, check=True)
    results = {(row["before"], row["after"]): row for row in json.loads(out.read_text())}
    assert len(results) == 5
    assert {key for key, row in results.items() if row["result"] != "noticed"} == {
        ("seen = 7", "seen = 8"),
        ("return 1", "return 2"),
    }
    assert {row["test"] for row in results.values()} == {test, None}
    assert module.read_text().startswith(SOURCE)


def test_the_record_names_the_tests_that_run_a_line(tmp_path):
    pytest.importorskip("coverage")
    shutil.copytree(PATH.parent, tmp_path / "benchmarks", ignore=shutil.ignore_patterns("results"))
    (tmp_path / "pyg_symbreak").mkdir()
    (tmp_path / "pyg_symbreak/__init__.py").write_text("")
    (tmp_path / "pyg_symbreak/add.py").write_text(SOURCE)
    (tmp_path / "test_add.py").write_text(
        "from pyg_symbreak.add import total\n\ndef test_total():\n    assert total(3, 2) == 5\n\n"
        "def test_nothing():\n    pass\n\ndef test_wrong():\n    assert total(3, 2) == 6\n"
    )
    code = "import pathlib, mutants; mutants.make_record(pathlib.Path('record.json'), [])"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment | {"PYTHONPATH": "benchmarks:."}, check=True
    )
    record = json.loads((tmp_path / "record.json").read_text())
    tests = [test for test, _ in record["tests"]]
    assert tests == ["test_add.py::test_total", "test_add.py::test_nothing"]
    assert record["lines"]["pyg_symbreak/add.py"]["9"] == [0]
