"""Whether the tests notice faults: change one token of the code at random, run the tests, count what goes unnoticed.

    python benchmarks/mutants.py --modules pyg_symbreak/groups --tests tests/groups --count 40 --seed 0

Each mutant is one change in one module: a comparison, the sign or size of a constant, an arithmetic operator, a product
turned round, min for max, all for any, and for or, a condition negated, a statement dropped. The tests run on it in a
copy of the repository, in a process of its own with a limit of time: forked from one that has imported the libraries
below, and first the doctests of the module, then the files of tests that are named after it or name something that it
defines, the short ones first. What is not noticed is either a gap in the tests or a change that changes nothing (a
speed-up, a tolerance far from every input): which of the two has to be read.

Results go to --out as they come: module, line, kind of change, the line before and after, result ("noticed",
"unnoticed" or "timeout", which counts as noticed), the first test that failed.
"""

import argparse
import ast
import compileall
import contextlib
import importlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMPARISONS: dict[type, list[type]] = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.GtE],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
}
OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = [
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("all", "any"),
    ("floor", "ceil"),
    ("minimum", "maximum"),
]
OTHER_NAME = dict(NAMES) | {b: a for a, b in NAMES}

Change = tuple[str, int, Callable[[], None]]  # kind, line, what to do to the tree


def changes(tree: ast.Module) -> Iterator[Change]:
    """All changes of one token, in the order of the source; each is done to the tree by calling it."""
    untouched = {id(inner) for node in _annotations(tree) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) not in untouched:
            yield from _changes_of(node)


def _annotations(tree: ast.Module) -> Iterator[ast.AST]:
    """What holds no behaviour: annotations, the text of messages, lists of public names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if part is not None:
                yield part
        if isinstance(node, ast.Assign) and any(isinstance(x, ast.Name) and x.id == "__all__" for x in node.targets):
            yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield node


def _changes_of(node: ast.AST) -> Iterator[Change]:
    line = getattr(node, "lineno", 0)

    def set_to(owner: Any, name: str, value: Any) -> Callable[[], None]:
        return lambda: setattr(owner, name, value)

    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                yield "comparison", line, set_to(node, "ops", [*node.ops[:i], other(), *node.ops[i + 1 :]])
    elif isinstance(node, (ast.BinOp, ast.AugAssign)):
        if type(node.op) in OPERATORS:
            yield "operator", line, set_to(node, "op", OPERATORS[type(node.op)]())
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            left, right = node.left, node.right
            yield "product turned round", line, lambda: (setattr(node, "left", right), setattr(node, "right", left))[0]
    elif isinstance(node, ast.BoolOp):
        yield "and/or", line, set_to(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", line, set_to(node, "op", ast.UAdd())
    elif isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield "constant", line, set_to(node, "value", not value)
        elif isinstance(value, int):
            yield "constant", line, set_to(node, "value", value + 1)
        elif isinstance(value, float):
            yield "constant", line, set_to(node, "value", value * 10 if value else 1.0)
    elif isinstance(node, ast.Call):
        called = node.func
        for name in ("id", "attr"):
            if getattr(called, name, None) in OTHER_NAME:
                yield "min/max", line, set_to(called, name, OTHER_NAME[getattr(called, name)])
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield "condition", line, set_to(node, "test", ast.UnaryOp(ast.Not(), node.test))
    for field in ("body", "orelse"):
        block = getattr(node, field, None)
        if not isinstance(block, list):
            continue
        for i, statement in enumerate(block):
            text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if isinstance(statement, (ast.Expr, ast.AugAssign, ast.Raise, ast.Continue, ast.Break)) and not text:
                kept = [*block[:i], ast.Pass(), *block[i + 1 :]]
                yield "dropped statement", statement.lineno, set_to(node, field, kept)


def mutate(source: str, number: int) -> tuple[str, str, int, str, str]:
    """Source with its change of that number: new source, kind, line, and what differs before and after."""
    tree = ast.parse(source)
    before = ast.unparse(tree).splitlines()
    kind, line, change = list(changes(tree))[number]
    change()
    text = ast.unparse(ast.fix_missing_locations(tree))
    after = text.splitlines()
    start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    return text + "\n", kind, line, before[start].strip(), after[start].strip()


def mirrored(modules: list[Path]) -> list[str]:
    """The tests of the modules: the folder of the same name, or the file, and the doctests in the modules."""
    found = []
    for module in modules:
        inside = module.relative_to("pyg_symbreak")
        candidates = [Path("tests") / inside.parts[0], Path("tests") / f"test_{Path(inside.parts[0]).stem}.py"]
        found += [str(x) for x in candidates if len(inside.parts) + x.is_file() > 1 and (ROOT / x).exists()]
    return [*dict.fromkeys(found), *map(str, modules)]


def libraries() -> Iterator[str]:
    """Modules of others that the package imports."""
    for path in (ROOT / "pyg_symbreak").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module


def run_tests(copied: Path, tests: list[str], seconds: float) -> tuple[str, str | None, str]:
    """Result, the first test that failed, and what pytest printed."""
    with tempfile.TemporaryFile("w+") as out:
        child = os.fork()
        if child == 0:
            os.setsid()
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            os.chdir(copied)
            sys.path.insert(0, str(copied))
            sys.dont_write_bytecode = True
            code = 3
            try:
                options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"]
                code = pytest.main([*options, *tests])
                sys.stdout.flush()
            finally:
                os._exit(code)
        end = time.monotonic() + seconds
        while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
            time.sleep(0.05)
        if done[0] == 0:
            os.killpg(child, 9)
            os.waitpid(child, 0)
            return "timeout", None, ""
        out.seek(0)
        printed = out.read()
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", printed, re.MULTILINE)
    return ("unnoticed" if done[1] == 0 else "noticed"), failed and failed[1], printed


def judges(module: Path, source: str, tests: list[str]) -> list[str]:
    """Of files and folders of tests, those files that name what the module defines; all of them where there is none."""
    names = [x.name for x in ast.parse(source).body if isinstance(x, (ast.FunctionDef, ast.ClassDef))]
    named = re.compile(rf"\b({'|'.join(names) or module.stem})\b")
    files = {f for test in tests for f in ([ROOT / test] if test.endswith(".py") else (ROOT / test).rglob("test_*.py"))}
    naming = [f for f in files if module.stem in f.stem or named.search(f.read_text(encoding="utf-8"))]
    naming.sort(key=lambda f: f.stat().st_size)
    return [str(module), *([str(f.relative_to(ROOT)) for f in naming] or tests)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", nargs="+", required=True, help="files or folders below pyg_symbreak/")
    parser.add_argument("--tests", nargs="+", help="for pytest; default: the tests that mirror the modules")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=900.0, help="limit for the tests of one mutant")
    parser.add_argument("--out", type=Path, default=Path("results/mutants.json"))
    options = parser.parse_args()

    named = [Path(name).resolve().relative_to(ROOT) for name in options.modules]
    modules = sorted({f for x in named for f in (x.rglob("*.py") if (ROOT / x).is_dir() else [x])})
    sources = {module: (ROOT / module).read_text(encoding="utf-8") for module in modules}
    places = [(m, i) for m, text in sources.items() for i in range(len(list(changes(ast.parse(text)))))]
    chosen = random.Random(options.seed).sample(places, min(options.count, len(places)))
    tests = options.tests or mirrored(modules)
    print(f"{len(places)} possible changes in {len(modules)} modules; tests: {' '.join(tests)}", flush=True)

    for name in sorted({*libraries()}):
        if name.split(".")[0] != "pyg_symbreak":
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    report: dict[str, Any] = {"seed": options.seed, "modules": [str(m) for m in modules], "tests": tests, "mutants": []}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "copy"
        skipped = shutil.ignore_patterns(".git", ".venv", "build", "dist", "results", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, copied, ignore=skipped)
        compileall.compile_dir(copied / "pyg_symbreak", quiet=1)
        for number, (module, index) in enumerate(chosen):
            text, kind, line, before, after = mutate(sources[module], index)
            (copied / module).write_text(text, encoding="utf-8")
            result, failed, _ = run_tests(copied, judges(module, sources[module], tests), options.seconds)
            (copied / module).write_text(sources[module], encoding="utf-8")
            row = {"module": str(module), "line": line, "kind": kind, "before": before, "after": after}
            report["mutants"].append(row | {"result": result, "test": failed})
            report["counts"] = dict(Counter(x["result"] for x in report["mutants"]))
            options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(f"{number + 1:3} {result:9} {module}:{line} {kind}: {before}  ->  {after}", flush=True)
        noticing = sorted({row["test"] for row in report["mutants"] if row["test"]})
        if noticing and (result := run_tests(copied, noticing, 36000))[0] != "unnoticed":
            raise SystemExit(f"{result[2]}\nof the tests that noticed some fail without any change")
    print(", ".join(f"{count} {result}" for result, count in report["counts"].items()), f"of {len(chosen)}")


if __name__ == "__main__":
    main()
