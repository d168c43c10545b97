"""Inputs that once gave a wrong answer or none, one a file in cases/, and what must come out."""

import json
import re
from pathlib import Path

import pytest
import torch
from ase import Atoms
from torch_geometric.data import Data

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.diagnosis import diagnose
from pyg_symbreak.structures import read_structure

FOLDER = Path(__file__).with_name("cases")
CASES = sorted(FOLDER.glob("*.json"))
EXPECTED = {"group", "order", "space_group", "layer_group", "keep", "representable", "error"}
KEYS = EXPECTED | {"why", "symprec", "features", "target", "data"}


def inputs(name: str) -> list[Path]:
    return [path for path in FOLDER.glob(f"{name}.*") if path.suffix != ".json"]


def structure_of(name: str, case: dict) -> Data | Atoms:
    if "data" in case:
        return Data(**{k: torch.tensor(v) if isinstance(v, list) else v for k, v in case["data"].items()})
    return read_structure(*inputs(name))


def outcome(name: str, case: dict) -> dict:
    x = structure_of(name, case)
    options = {key: case[key] for key in ("symprec",) if key in case}
    symmetry = detect_symmetry(x, features=case.get("features", ()), **options)
    found = {"order": symmetry.order}
    if "target" in case:
        pair = diagnose(x, read_structure(FOLDER / case["target"]), **options)
        found |= {"keep": pair.keep.schoenflies, "representable": pair.representable}
    if isinstance(x, Data) and x.get("pos") is None:
        return found
    found["group"] = symmetry.group.schoenflies
    for kind in ("space_group", "layer_group"):
        known = getattr(symmetry, kind)
        found[kind] = None if known is None else [known.number, known.symbol]
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path):
    case = json.loads(path.read_text())
    assert set(case) <= KEYS, "cases/README.md says which keys there are"
    expected = {key: case[key] for key in EXPECTED & set(case)}
    assert case["why"]
    assert expected
    if "error" in expected:
        with pytest.raises((ValueError, TypeError)) as error:
            outcome(path.stem, case)
        assert re.search(expected["error"], str(error.value)), str(error.value)
    else:
        found = outcome(path.stem, case)
        assert {key: found[key] for key in expected} == expected


def test_every_file_is_a_case():
    targets = [json.loads(path.read_text()).get("target", "") for path in CASES]
    named = {Path(name).stem for name in [*targets, *(path.name for path in CASES)]}
    assert {path.stem for path in FOLDER.iterdir() if path.name != "README.md"} <= named
    assert CASES
