"""The generated page of breaking sets is what the code gives, and what is known of the groups."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from pyg_symbreak.breaking import Breaking
from pyg_symbreak.groups import PointGroup

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("make_breaking_sets", DOCS / "make_breaking_sets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_code_gives(generator):
    assert (DOCS / "breaking_sets.md").read_text(encoding="utf-8") == generator.page(), (
        "the code gives another table: run python docs/make_breaking_sets.py"
    )


def test_check_notices_a_change(generator, tmp_path, monkeypatch, capsys):
    text = (DOCS / "breaking_sets.md").read_text(encoding="utf-8")
    monkeypatch.setattr(generator, "page", lambda: text)
    monkeypatch.setattr("sys.argv", ["make_breaking_sets.py", "--check"])
    assert generator.main() == 0
    monkeypatch.setattr(generator, "page", lambda: text.replace("| 48 |", "| 47 |"))
    assert generator.main() == 1
    assert "make_breaking_sets.py" in capsys.readouterr().out


def test_pictures_are_there_and_small():
    shown = re.findall(r'<img src="([^"]+)"', (DOCS / "breaking_sets.md").read_text(encoding="utf-8"))
    assert len(shown) == len(set(shown)) == 52
    sizes = [(DOCS / path).stat().st_size for path in shown]
    assert max(sizes) < 15_000
    assert sum(sizes) < 1_500_000
    assert {DOCS / path for path in shown} == set((DOCS / "images" / "sets").iterdir())


def test_a_picture_can_be_drawn(generator):
    for name in ("C4", "D2", "Oh"):
        assert generator.draw(PointGroup(name)).startswith(b"\x89PNG")


# Orders, normalizers and classes of complements, worked out with GAP and by hand.
KNOWN = {
    "C1": "1 O(3) O(3) 1 0e ideal",
    "Ci": "2 O(3) SO(3) 2 0o ideal",
    "C4": "4 D∞h none ∞ 1o continuous",
    "S6": "6 D∞h none ∞ 1o continuous",
    "C3h": "6 D∞h none ∞ 1e continuous",
    "C4h": "8 D∞h none ∞ 1o continuous",
    "C4v": "8 D8h C2h,C2v 8 1o ideal",
    "C3v": "6 D6h C2h×2,C2v,D2 6 1o ideal",
    "D2": "4 Oh D3d 4 2e ideal",
    "D4": "8 D8h C2h,C2v 8 1o ideal",
    "D5": "10 D10h C2h×2,C2v×2 10 1o ideal",
    "D2h": "8 Oh C3v,D3 8 1o ideal",
    "D3h": "12 D6h C2×2,Ci,Cs 12 1o ideal",
    "D4h": "16 D8h C2,Cs 16 1o ideal",
    "D2d": "8 D4h C2,Ci,Cs×2 8 1o ideal",
    "D3d": "12 D6h C2×2,Cs×2 12 1o ideal",
    "T": "12 Oh C2h,C2v 12 1o ideal",
    "Th": "24 Oh C2,Cs 24 1o ideal",
    "Td": "24 Oh C2,Ci,Cs 24 1o ideal",
    "O": "24 Oh Ci,Cs×2 24 1o ideal",
    "Oh": "48 Oh C1 48 1o ideal",
    "I": "60 Ih Ci,Cs 60 1o ideal",
    "Ih": "120 Ih C1 120 1o ideal",
    "Cinf": "∞ D∞h C2h,C2v ∞ 1o ideal,continuous",
    "Cinfh": "∞ D∞h C2,Cs ∞ 1o ideal,continuous",
    "Dinfh": "∞ D∞h C1 ∞ 0o+1o ideal,continuous",
}


@pytest.mark.parametrize("name", KNOWN)
def test_rows_against_known_ones(name):
    text = (DOCS / "breaking_sets.md").read_text(encoding="utf-8")
    (line,) = [x for x in text.splitlines() if f"sets/{name}.png" in x]
    cells = [re.sub(r"</?sub>|\*\*| ", "", c) for c in line.strip("| ").split(" | ")]
    assert cells[2:8] == KNOWN[name].split()


def test_the_breaking_of_the_contributors_runs():
    text = (DOCS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    assert sum(len(block.splitlines()) for block in blocks) < 40
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert isinstance(names["ExternalField"]((0.0, 0.0, 1.0)), Breaking)
    names["test_what_a_field_keeps"]()


def test_the_page_of_flows_runs():
    text = (DOCS / "flows.md").read_text(encoding="utf-8")
    torch.manual_seed(0)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    assert names["ess"] > 0.1
    assert abs(names["up"] - 0.5) < 0.05
    assert names["minima"].num_vacua == 3
    assert names["minima"].vacuum(names["displacements"]).bincount().min() > 850
    charge, exact = names["charge"], names["exact"]
    assert abs(charge.value - exact.charge_squared) < 4 * charge.error
    assert names["acceptance"] > 0.4
    assert names["losses"][-1] < names["losses"][0]
    assert names["largest"] < 1e-5
    for path in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (DOCS / path).stat().st_size < 150_000


def test_the_blocks_of_the_page_of_symmetries_found_run():
    text = (DOCS / "discover.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    assert names["found"].group.dimension == 1
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (DOCS / path).stat().st_size < 150_000
