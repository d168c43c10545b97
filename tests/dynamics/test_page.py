"""The Python of docs/dynamics.md runs as it stands, and says what it says."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_code_of_the_page():
    text = (DOCS / "dynamics.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    assert names["drift"][0] > 1e-5
    assert names["drift"][1:].max() < 1e-14
    assert names["found"].group.dimension == 2
    assert abs(names["found"].group.generators[:, :, :2]).max() < 1e-6
    assert names["power"].shape == (1,)
    assert names["acceleration"].shape == (2, 1)
    for path in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (DOCS / path).stat().st_size < 150_000
