"""The packages import each other one way, through public names, and say what is public."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pyg_symbreak

ROOT = Path(pyg_symbreak.__file__).parent
FLOORS = [
    *("_native", "groups", "ops", "files", "structures", "detect", "relation", "breaking", "distort", "transforms"),
    *("preprocess", "nn", "losses", "diagnosis", "dynamics", "flows", "datasets", "plot", "testing", "discover"),
    *("training", "selftest", "cli"),
]
"""From the ground up: each imports those before it."""
UPWARDS = {("files", "structures"), *((room, "plot") for room in ("groups", "detect", "breaking", "distort"))}
"""What is called only: reading a file checks what it holds, and a notebook shows what it is given."""
PRIVATE: set[tuple[str, str]] = set()
"""Private names of other packages that are still imported; nothing may be added."""
MODULES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(["pyg_symbreak", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


NAMES = {name_of(path) for path in MODULES}


def room(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path, *, when_loaded: bool = False) -> Iterator[str]:
    """Full names of all that a module imports from the package, or of what it imports when it is loaded itself."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    nodes = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if when_loaded and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ):
            continue
        nodes.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("pyg_symbreak."))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base += (node.module or "").split(".") if node.module else []
            if base[0] == "pyg_symbreak":
                yield from (".".join([*base, alias.name]) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_down_the_floors(path):
    if path == ROOT / "__init__.py":
        assert list(imports(path)) == []
        return
    own = room(name_of(path))
    assert own in FLOORS, f"a new package: give {own} a place among the floors"
    for imported in imports(path):
        other = room(imported)
        assert other in FLOORS, imported
        if other != own and (own, other) not in UPWARDS:
            assert FLOORS.index(other) < FLOORS.index(own), f"{name_of(path)} imports {imported} from a floor above"
            private = any(part.startswith("_") for part in imported.split(".")[1:] if part != "_native")
            pair = tuple(name.removeprefix("pyg_symbreak.") for name in (name_of(path), imported))
            assert not private or pair in PRIVATE, f"{name_of(path)} imports the private {imported}"


def test_no_module_waits_for_itself():
    graph = {
        name_of(path): {x if x in NAMES else x.rpartition(".")[0] for x in imports(path, when_loaded=True)}
        for path in MODULES
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize(
    "path", [p for p in MODULES if not p.stem.startswith("_") or p.name == "__init__.py"], ids=name_of
)
def test_public_modules_say_what_is_public(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    (listed,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert listed == sorted(set(listed), key=lambda name: (not name.isupper(), not name[0].isupper(), name))


def test_one_version():
    assert pyg_symbreak.__version__ == importlib.metadata.version("pyg_symbreak")


def test_the_front_door_and_groups_import_no_network():
    script = "import sys, pyg_symbreak, pyg_symbreak.groups\nassert not {'torch', 'e3nn', 'scipy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("path", sorted((ROOT / "csrc").glob("*.h")), ids=lambda path: path.name)
def test_headers_say_what_it_costs(path):
    comment = path.read_text(encoding="utf-8").partition("#pragma once")[0]
    assert all(line.startswith("//") for line in comment.splitlines())
    assert "// Cost. " in comment


def test_the_python_side_names_what_is_compiled():
    callers = [
        path for path in MODULES if "pyg_symbreak._native" in {x[: len("pyg_symbreak._native")] for x in imports(path)}
    ]
    assert len(callers) >= 5
    for path in callers:
        named = re.findall(r"csrc/(\w+\.\w+)", ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
        assert named, f"{name_of(path)} calls compiled code: say in its docstring where that is described"
        assert all((ROOT / "csrc" / file).is_file() for file in named), named


@pytest.mark.parametrize("path", sorted((ROOT / "groups").glob("*.py")), ids=name_of)
def test_group_theory_is_numpy(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"torch", "e3nn", "torch_geometric"}


def test_the_front_door_shows_and_opens_the_packages():
    assert {"groups", "breaking", "transforms", "nn", "__version__"} <= set(dir(pyg_symbreak))
    assert "_native" not in dir(pyg_symbreak)


def test_source_that_was_not_built_says_so(monkeypatch):
    monkeypatch.setattr(pyg_symbreak, "_find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"not built: run in another folder, or pip install -e \."):
        pyg_symbreak.__getattr__("_native")
    script = "import pyg_symbreak\nassert pyg_symbreak.groups.PointGroup('C2v').order == 4"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    with pytest.raises(AttributeError, match="'pyg_symbreak' has no attribute 'group'"):
        _ = pyg_symbreak.group


def test_the_front_door_maps_the_packages():
    rooms = {room(name) for name in NAMES if name != "pyg_symbreak" and not room(name).startswith("_")} - {"files"}
    missing = {name for name in rooms if f":mod:`~pyg_symbreak.{name}`" not in pyg_symbreak.__doc__}
    assert not missing
