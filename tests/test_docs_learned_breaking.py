"""The code of the page on learned breaking runs as it stands, and says what it says."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "learned_breaking.md"


def test_the_code_of_the_page():
    text = PAGE.read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    assert names["answer"].shape == names["sampled"].shape == (10, 4)
    assert {name: round(size, 6) for name, size in names["spectrum"].items()} == {"A": 4.0, "B": 0.0, "E": 0.0}
    assert [name for name, size in names["gradient"].items() if size > 1e-6] == ["2e"]
    assert names["kept"].schoenflies == "D2h"
    assert re.fullmatch(r"BreakingSet\(D4h, keep=D2h.*, size=2, irreps=1x2e, ideal\)", repr(names["objects"]))
    assert names["ring"].is_two_closed
    assert not names["alternating"].is_two_closed
    assert names["hidden"].shape == (48, 16)


def test_what_the_page_links_to_exists():
    for path in re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / path).is_file(), path
