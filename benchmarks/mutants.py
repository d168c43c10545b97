"""Whether the tests notice faults: change one token of the code at random, run the tests, count what goes unnoticed.

    python benchmarks/mutants.py --modules pyg_symbreak/groups --record /tmp/record.json --count 40 --seed 0

Each mutant is one change in one module: a comparison, the sign or size of a constant, an arithmetic operator, a product
turned round, min for max, all for any, and for or, a condition negated, a statement dropped.

The record says which tests run which line, and how long they take. Where the file does not exist it is made first, by
the suite under coverage.py (`pip install coverage`), less tests of more than 10 s of CPU. A mutant is judged, in
a copy of the repository, by the tests that run the changed statement, the cheapest first, until one fails; for what
runs on import these are the tests that run anything of the function, the class or the module around it. They run in
processes forked from one that has imported the libraries below.

Results go to --out as they come: module, line, kind of change, the line before and after, the first test that failed,
and the result: "noticed"; "timeout", which counts as noticed (the tests take three times as long); "unnoticed", by all
tests that run the line, of which there may be none; "no verdict", unnoticed by the cheapest, the rest would take more
than --seconds. What is unnoticed is either a gap in the tests or a change that changes nothing (a speed-up, a tolerance
far from every input): which of the two has to be read.
"""

import argparse
import ast
import contextlib
import gc
import importlib
import itertools
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"]
LONGEST = 10.0
"""Seconds of CPU that a test of the record may take."""
FIRST = 12
"""Tests that judge a mutant before the others are collected."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
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
            if ast.dump(left) != ast.dump(right):
                yield (
                    "product turned round",
                    line,
                    lambda: (setattr(node, "left", right), setattr(node, "right", left))[0],
                )
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


def libraries() -> Iterator[str]:
    """Modules of others that the package imports."""
    for path in (ROOT / "pyg_symbreak").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module


class Recorder:
    """Plugin of pytest: the lines that each test runs, and its CPU time."""

    def __init__(self, coverage: Any):
        self.coverage = coverage
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Begin with empty caches, and end after the limit."""

        def stop(*_: Any) -> None:
            pytest.skip("too long for the record")

        for module in [m for name, m in sys.modules.items() if name.startswith("pyg_symbreak")]:
            for cached in [f for f in vars(module).values() if hasattr(f, "cache_clear")]:
                cached.cache_clear()
        signal.signal(signal.SIGPROF, stop)
        signal.setitimer(signal.ITIMER_PROF, LONGEST)
        start = time.process_time()
        done = yield
        signal.setitimer(signal.ITIMER_PROF, 0)
        if item.nodeid in self.seconds:
            self.seconds[item.nodeid] = round(time.process_time() - start, 3)
        return done

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """What fixtures run counts for all tests of the file."""
        self.coverage.switch_context(_file_of(item.nodeid))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Lines belong to this test from here on."""
        self.coverage.switch_context(item.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """Nobody's lines."""
        self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Only tests that pass are recorded."""
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = 0.0


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def make_record(path: Path, tests: list[str]) -> None:
    """Write which tests run each line: ``{"tests": [[test, s]], "lines": {module: {line: [numbers of tests]}}}``."""
    from coverage import Coverage

    coverage = Coverage(data_file=None, source=["pyg_symbreak"], config_file=False)
    recorder = Recorder(coverage)
    coverage.start()
    pytest.main([*OPTIONS, *tests], plugins=[recorder])
    coverage.stop()
    of_context: dict[str, list[int]] = {}
    for number, test in enumerate(recorder.seconds):
        of_context[test] = [number]
        of_context.setdefault(_file_of(test), []).append(number)
    data, lines = coverage.get_data(), {}
    for file in data.measured_files():
        lines[str(Path(file).relative_to(ROOT))] = {
            line: sorted({number for context in contexts for number in of_context.get(context, [])})
            for line, contexts in sorted(data.contexts_by_lineno(file).items())
        }
    path.write_text(json.dumps({"tests": [*recorder.seconds.items()], "lines": lines}) + "\n", encoding="utf-8")


def lines_of(tree: ast.Module, line: int) -> set[int]:
    """Lines of the statement at a line; of one that runs on import, of the function, class or module around it."""
    around = [x for x in ast.walk(tree) if isinstance(x, (ast.stmt, ast.ExceptHandler)) and line in _lines(x)]
    inner = around[-1]
    if not isinstance(inner, FUNCTIONS) and any(isinstance(x, FUNCTIONS) for x in around):
        block = getattr(inner, "body", None)
        return {inner.lineno, *range(inner.lineno, block[0].lineno)} if block else _lines(inner)
    for scope in [*reversed(around), tree]:
        if bodies := [x.body for x in ast.walk(scope) if isinstance(x, FUNCTIONS)]:
            return {n for body in bodies for statement in body for n in _lines(statement)}
    return set()


def _lines(node: Any) -> set[int]:
    first = min(x.lineno for x in [node, *getattr(node, "decorator_list", [])])
    return {*range(first, node.end_lineno + 1)}


def judges(record: dict[str, Any], module: Path, tree: ast.Module, line: int) -> dict[str, float]:
    """Tests that run a line with the seconds that they take, the cheapest first."""
    runs = record["lines"].get(str(module), {})
    numbers = {number for n in lines_of(tree, line) for number in runs.get(str(n), [])}
    return dict(sorted((record["tests"][number] for number in numbers), key=lambda test: test[1]))


def judge(copied: Path, tests: dict[str, float], limit: float) -> tuple[str, str | None]:
    """Result and the first test that fails, of those that take no more than the limit together."""
    taken = [test for test, total in zip(tests, itertools.accumulate(tests.values()), strict=True) if total <= limit]
    for batch in (taken[:FIRST], taken[FIRST:]):
        if batch:
            result, failed, _ = run_tests(copied, batch, 30 + 3 * sum(tests[test] for test in batch))
            if result != "unnoticed":
                return result, failed
    return ("unnoticed" if len(taken) == len(tests) else "no verdict"), None


class Chosen:
    """Plugin of pytest: these tests in this order."""

    def __init__(self, tests: list[str]):
        self.rank = {test: k for k, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the rest of their files."""
        items[:] = sorted((x for x in items if x.nodeid in self.rank), key=lambda x: self.rank[x.nodeid])


def run_tests(copied: Path, tests: list[str], seconds: float) -> tuple[str, str | None, str]:
    """Result, the first test that failed, and what pytest printed; CPU time is limited."""
    with tempfile.TemporaryFile("w+") as out:
        child = os.fork()
        if child == 0:
            os.setsid()
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            os.chdir(copied)
            sys.path.insert(0, str(copied))
            sys.dont_write_bytecode = True
            used = int(seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (used, used + 5))
            code = 3
            try:
                code = pytest.main(["-x", *OPTIONS, *dict.fromkeys(map(_file_of, tests))], plugins=[Chosen(tests)])
                sys.stdout.flush()
            finally:
                os._exit(code)
        end = time.monotonic() + 20 * seconds
        while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
            time.sleep(0.05)
        if done[0] == 0:
            os.killpg(child, 9)
            done = os.waitpid(child, 0)
        out.seek(0)
        printed = out.read()
    if os.WIFSIGNALED(done[1]) and os.WTERMSIG(done[1]) in (signal.SIGXCPU, signal.SIGKILL):
        return "timeout", None, printed
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", printed, re.MULTILINE)
    return ("unnoticed" if done[1] == 0 else "noticed"), failed and failed[1], printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", nargs="+", default=["pyg_symbreak"], help="files or folders below pyg_symbreak/")
    parser.add_argument("--record", type=Path, required=True, help="which tests run which line; made if missing")
    parser.add_argument(
        "--tests", nargs="+", default=[], help="files or folders that the record is made of; default: all"
    )
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="begin with this one of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="CPU time that the tests of one mutant take, unchanged"
    )
    parser.add_argument("--out", type=Path, default=Path("results/mutants.json"))
    options = parser.parse_args()

    os.chdir(ROOT)
    if not options.record.exists():
        recorded = multiprocessing.Process(target=make_record, args=(options.record, options.tests))
        recorded.start()  # in a process of its own: this one must not import the package
        recorded.join()
    record = json.loads(options.record.read_text(encoding="utf-8"))
    named = [Path(name).resolve().relative_to(ROOT) for name in options.modules]
    modules = sorted({f for x in named for f in (x.rglob("*.py") if (ROOT / x).is_dir() else [x])})
    sources = {module: (ROOT / module).read_text(encoding="utf-8") for module in modules}
    places = [(m, i) for m, text in sources.items() for i in range(len(list(changes(ast.parse(text)))))]
    chosen = random.Random(options.seed).sample(places, min(options.count, len(places)))
    print(f"{len(places)} possible changes in {len(modules)} modules", flush=True)

    for name in sorted({*libraries()}):
        if name.split(".")[0] != "pyg_symbreak":
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    gc.freeze()  # the processes to come neither look through these objects for garbage nor copy them
    rows: list[dict[str, Any]] = []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "copy"
        skipped = shutil.ignore_patterns(".git", ".venv", "build", "dist", "results", ".*_cache")
        shutil.copytree(ROOT, copied, ignore=skipped)
        for number, (module, index) in list(enumerate(chosen))[options.first :]:
            text, kind, line, before, after = mutate(sources[module], index)
            tests = judges(record, module, ast.parse(sources[module]), line)
            (copied / module).write_text(text, encoding="utf-8")
            result, failed = judge(copied, tests, options.seconds)
            (copied / module).write_text(sources[module], encoding="utf-8")
            row = {"module": str(module), "line": line, "kind": kind, "before": before, "after": after}
            rows.append(row | {"result": result, "tests": len(tests), "test": failed})
            options.out.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(f"{number + 1:3} {result:10} {module}:{line} {kind}: {before}  ->  {after}", flush=True)
        noticing = sorted({row["test"] for row in rows if row["test"]})
        if noticing and (result := run_tests(copied, noticing, 36000))[0] != "unnoticed":
            raise SystemExit(f"{result[2]}\nof the tests that noticed some fail without any change")
    print(", ".join(f"{count} {result}" for result, count in Counter(row["result"] for row in rows).items()))


if __name__ == "__main__":
    main()
