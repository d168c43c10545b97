"""pyg-symbreak report: what is on the page, and, where there is a browser, that the page draws itself."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ase.build import molecule
from typer.testing import CliRunner

from pyg_symbreak.cli import app

BATIO3 = Path(__file__).parents[1] / "datasets" / "batio3"


@pytest.fixture(scope="module")
def batio3(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "sub" / "report.html"
    files = [str(BATIO3 / f"{name}.cif") for name in ("cubic", "tetragonal")]
    result = CliRunner().invoke(app, ["report", *files, "-o", str(out), "--json"])
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout)


def test_a_crystal_and_its_target(batio3):
    out, said = batio3
    assert said["point_group"] == "Oh"
    assert said["subgroups"] == 32
    assert said["bytes"] == out.stat().st_size < 3_000_000
    text = out.read_text(encoding="utf-8")
    scene = json.loads(re.search(r'id="scene">(.*?)</script>', text, re.DOTALL).group(1))
    structure = scene["structure"]
    assert len(structure["atoms"]) == 15  # Ba on eight corners, six O on faces, Ti
    assert structure["distortions"][structure["playing"]]["label"] == "to the target"
    labels = [d["label"] for d in structure["distortions"]]
    assert "T1u keeps P4mm (99)" in labels
    assert len(scene["sets"]) == len(re.findall(r'<tr data-set="', text)) == 32
    assert len(labels) - 1 == len(re.findall(r'<tr data-distortion="', text))
    assert "Pm-3m (221)" in text
    assert "6 objects, irreps 1x1o" in text  # of the diagnosis


def test_molecules_and_bad_files(tmp_path):
    file = tmp_path / "ammonia.xyz"
    molecule("NH3").write(file)
    result = CliRunner().invoke(app, ["report", str(file), "-o", str(tmp_path / "r.html")])
    assert result.exit_code == 0, result.output
    assert "r.html, 0." in result.output
    bad = CliRunner().invoke(app, ["report", str(tmp_path / "none.xyz")])
    assert bad.exit_code == 2
    assert "none.xyz" in bad.output


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser")
@pytest.mark.skipif("CI" in os.environ, reason="a browser draws in software for a minute")
def test_a_browser_draws_it(batio3, tmp_path):
    page = tmp_path / "page.html"  # without the animation, which has no end
    page.write_text(batio3[0].read_text(encoding="utf-8").replace('"playing"', '"resting"'), encoding="utf-8")
    flags = (
        "--headless=new --no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --disable-quic"
    )
    flags += " --no-first-run --disable-background-networking --disable-component-update --disable-sync --dump-dom"
    command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False).stdout
    assert 'data-ready="yes"' in drawn
    assert drawn.count("<canvas") >= 2
    assert "Oh to Td: 2 objects in 1x3o" in drawn
