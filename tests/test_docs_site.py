"""The site: its code runs, its links and pictures are there, and the reference names all packages."""

import re
from pathlib import Path

import pytest
import torch

import pyg_symbreak

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SYMPTOMS = sorted((DOCS / "symptoms").glob("*.md"))
PAGES = [*SYMPTOMS, *sorted((DOCS / "tutorials").glob("*.md")), DOCS / "theory.md", DOCS / "your_model.md"]
ALL = [*PAGES, *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_runs(path):
    torch.manual_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict = {}
    for block in blocks:
        exec(block, names)


@pytest.mark.parametrize("path", SYMPTOMS, ids=lambda path: path.stem)
def test_a_symptom_says_why_what_and_when_not(path):
    text = path.read_text(encoding="utf-8")
    parts = re.findall(r"^\*\*(.*?)\*\*", text, re.MULTILINE)
    assert parts == ["Why.", "The fix.", "Did it work?", "Cost.", "When not."]
    assert "assert" in text.partition("Did it work?")[2]


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


def test_the_reference_has_a_page_for_each_package_and_all_public_names(monkeypatch):
    namespace: dict = {"__file__": str(DOCS / "conf.py")}
    exec((DOCS / "conf.py").read_text(encoding="utf-8"), namespace)
    inside = [p for p in Path(pyg_symbreak.__file__).parent.iterdir() if p.stem[0] != "_"]
    rooms = {p.stem for p in inside if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert set(namespace["PACKAGES"]) == rooms
    page = namespace["page_of"]("breaking")
    assert ".. autoclass:: pyg_symbreak.breaking.BreakingSet\n   :members:" in page
    assert ".. autofunction:: pyg_symbreak.breaking.breaking_set\n" in page
