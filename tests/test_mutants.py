"""The mutator of benchmarks/: that a change is made, judged by the tests, and undone."""

import ast
import importlib.util
import json
from pathlib import Path

import pytest

SOURCE = '''"""A sum."""

__all__ = ["total"]


def total(a: int = 0, b: int = 0) -> int:
    """Sum of the two."""
    seen = 7
    return a + b
'''


@pytest.fixture
def mutants():
    path = Path(__file__).parents[1] / "benchmarks/mutants.py"
    spec = importlib.util.spec_from_file_location("mutants", path)
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


def test_mutants_are_made_judged_and_undone(mutants, tmp_path, monkeypatch):
    (tmp_path / "pyg_symbreak").mkdir()
    (tmp_path / "tests").mkdir()
    module, out = tmp_path / "pyg_symbreak/add.py", tmp_path / "found.json"
    module.write_text(SOURCE)
    (tmp_path / "pyg_symbreak/__init__.py").write_text("")
    (tmp_path / "tests/test_add.py").write_text(
        "from pyg_symbreak.add import total\n\ndef test_total():\n    assert (total(3, 2), total()) == (5, 0)\n"
    )
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    arguments = ["mutants", "--modules", str(module), "--seconds", "60", "--out", str(out)]
    monkeypatch.setattr("sys.argv", [*arguments, "--tests", "tests/test_add.py"])
    mutants.main()
    results = {(row["before"], row["after"]): row["result"] for row in json.loads(out.read_text())["mutants"]}
    assert len(results) == 4
    assert [key for key, result in results.items() if result != "noticed"] == [("seen = 7", "seen = 8")]
    assert module.read_text() == SOURCE
