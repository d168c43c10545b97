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


def test_mutants_are_made_judged_and_undone(tmp_path):
    shutil.copytree(PATH.parent, tmp_path / "benchmarks", ignore=shutil.ignore_patterns("results"))
    (tmp_path / "pyg_symbreak").mkdir()
    (tmp_path / "tests").mkdir()
    module, out = tmp_path / "pyg_symbreak/add.py", tmp_path / "found.json"
    module.write_text(SOURCE)
    (tmp_path / "pyg_symbreak/__init__.py").write_text("")
    (tmp_path / "tests/test_add.py").write_text(
        "from pyg_symbreak.add import total\n\ndef test_total():\n    assert (total(3, 2), total()) == (5, 0)\n"
    )
    arguments = ["--modules", str(module), "--seconds", "60", "--out", str(out), "--tests", "tests/test_add.py"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "PYTHON"))}
    subprocess.run([sys.executable, "benchmarks/mutants.py", *arguments], cwd=tmp_path, env=environment, check=True)
    results = {(row["before"], row["after"]): row["result"] for row in json.loads(out.read_text())["mutants"]}
    assert len(results) == 4
    assert [key for key, result in results.items() if result != "noticed"] == [("seen = 7", "seen = 8")]
    assert module.read_text() == SOURCE
