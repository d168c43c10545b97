"""The site: its code runs, its links and pictures are there, and the reference names all packages."""

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import get_type_hints

import lightning
import pytest
import torch
from torch_geometric.data.lightning import LightningDataset

import pyg_symbreak
from pyg_symbreak.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXECUTED = ("theory", "your_model", "reports")
SYMPTOMS = sorted((DOCS / "symptoms").glob("*.md"))
PAGES = [*SYMPTOMS, *sorted((DOCS / "tutorials").glob("*.md")), *(DOCS / f"{name}.md" for name in EXECUTED)]
ALL = [*PAGES, *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_runs(path, tmp_path, monkeypatch):
    """As a module of its own: PyG looks up the source of a MessagePassing."""
    if path.stem == "scale" and not issubclass(LightningDataset, lightning.LightningDataModule):
        pytest.skip("this version of PyG has the data modules of pytorch_lightning")
    torch.manual_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    (tmp_path / f"page_{path.stem}.py").write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(f"page_{path.stem}")


@pytest.mark.parametrize("path", SYMPTOMS, ids=lambda path: path.stem)
def test_a_symptom_says_why_what_and_when_not(path):
    text = path.read_text(encoding="utf-8")
    parts = re.findall(r"^\*\*(.*?)\*\*", text, re.MULTILINE)
    assert parts == ["Why.", "The fix.", "Did it work?", "Cost.", "When not."]
    assert "assert" in text.partition("Did it work?")[2]
    assert "](../images/" in text.partition("The fix.")[0]


@pytest.mark.parametrize("path", sorted(set(ALL)), ids=lambda path: path.stem)
def test_links_and_pictures_are_there(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if not link.startswith("http"):
            assert (path.parent / link).exists(), link


def test_every_page_is_in_the_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL)
    listed = {line.strip() for block in blocks for line in block.split("\n")}
    assert {path.relative_to(DOCS).with_suffix("").as_posix() for path in ALL} - {"index"} <= listed


@pytest.fixture(scope="module")
def conf():
    namespace: dict = {"__file__": str(DOCS / "conf.py")}
    exec((DOCS / "conf.py").read_text(encoding="utf-8"), namespace)
    return namespace


def test_the_reference_has_a_page_for_each_package_and_all_public_names(conf):
    inside = [p for p in Path(pyg_symbreak.__file__).parent.iterdir() if p.stem[0] != "_"]
    rooms = {p.stem for p in inside if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert set(conf["PACKAGES"]) == rooms - {"cli"}
    for name in conf["PACKAGES"]:
        page, module = conf["page_of"](name), importlib.import_module(f"pyg_symbreak.{name}")
        for public in module.__all__:
            value = getattr(module, public)
            assert f":: pyg_symbreak.{name}.{public}\n" in page
            if callable(value):
                assert inspect.getdoc(value), f"{name}.{public} has no docstring"


def test_the_page_of_the_command_line_has_all_commands_and_options(conf):
    page = conf["command_line"]()
    for command in app.registered_commands:
        _, _, part = page.partition(f"## `pyg-symbreak {command.callback.__name__}`")
        part = part.partition("\n## ")[0]
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            metavars = [getattr(told, "metavar", None) for told in getattr(hint, "__metadata__", ())]
            shown = [name.removeprefix("as_").replace("_", "-"), *filter(None, metavars)]
            assert name == "return" or any(text.lower() in part.lower() for text in shown), (command, name)


def test_the_page_of_installation_names_all_extras_and_the_versions():
    text, setup = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/install.md", "setup.py"))
    extras = re.findall(r'^        "(\w+)": \[', setup, re.MULTILINE)
    assert len(extras) > 8
    assert sorted(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == sorted(extras)
    lowest = [re.search(rf'"{name}>=([\d.]+)"', setup).group(1) for name in ("torch", "torch-geometric", "e3nn")]
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M))
    assert f"| lowest that are allowed | {' | '.join(lowest)} |" in text
    row = " | ".join(pinned[name] for name in ("torch", "torch-geometric", "e3nn"))
    assert f"| `constraints.txt`, what CI runs | {row} |" in text


def test_each_picture_has_the_command_that_makes_it():
    images = DOCS / "images"
    text = (images / "README.md").read_text(encoding="utf-8")
    assert all((ROOT / path).is_file() for path in re.findall(r"`python (docs/\w+\.py)`", text))
    for path in images.glob("*.png"):
        assert f"`{path.name}`" in text or (ROOT / "examples" / f"{path.stem}.py").is_file(), path


def test_the_interactive_page_has_a_set_for_each_row(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import make_interactive_sets as made

    monkeypatch.setattr(made, "FAMILIES", {"Few": ["Cs", "C4", "Td", "Dinfh"]})
    page = made.interactive_page()
    scene = json.loads(re.search(r'id="scene">(.*?)</script>', page, re.DOTALL).group(1))
    numbers = [int(n) for n in re.findall(r'<tr data-set="(\d+)"', page)]
    assert numbers == list(range(len(scene["sets"])))
    labels = re.findall(r'<tr data-set="\d+"><td>(.*?)</td>', page)
    assert [s["text"].partition(":")[0].partition(" to ")[2] for s in scene["sets"]] == labels
    assert scene["spin"]
