"""The Python of the README runs as it stands, and says what it says."""

import re
from pathlib import Path

import torch

from pyg_symbreak.losses import orbit_loss

README = Path(__file__).parents[1] / "README.md"


def test_the_code_of_the_readme():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 9
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert str(names["irreps"]) == "1x1o+1x1e"
    assert names["model"](names["batch"]).shape == (15, 3)
    assert names["paired"].breaking_irreps == "1x2e"
    assert names["candidates"].shape == (5, 4, 3)
    assert orbit_loss(names["methane"].y, names["candidates"]) == 0
    assert repr(names["b"]) == "BreakingSet(Oh, keep=C4v, size=6, irreps=1x1o, ideal)"
    assert names["b"].objects.shape == (6, 3)
    assert len(names["rows"].unique(dim=0)) == len(names["signal"].unique()) == 6
    assert names["out"].shape == (12, 8)
    assert len(names["out"].detach().round(decimals=5).unique(dim=0)) == 12
    assert [s.symmetry.schoenflies for s in names["found"]] == ["Td"]
    assert torch.is_tensor(names["transform"](names["data"]).breaking)


def test_the_pictures_of_the_readme_exist():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / path).is_file(), path
