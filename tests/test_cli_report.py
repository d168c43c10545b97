"""pyg-symbreak report: what is on the page, and, where there is a browser, that the page draws itself."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import ase.io
import pytest
import torch
from ase.build import molecule
from typer.testing import CliRunner

from pyg_symbreak.cli import app
from pyg_symbreak.training import Config, Distorter, load_pairs
from pyg_symbreak.training.run import double_precision

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


class OneWay(torch.nn.Module):
    """A vector along the object, for the titanium of BaTiO3."""

    irreps_breaking = "1e+1o"

    def forward(self, data):
        assert data.edge_index.size(1) > 0
        return 0.1 * torch.nn.functional.one_hot(data.z, 100)[:, 22:23] * data.breaking[:, 3:]


def test_the_answers_of_a_model_beside_the_target(tmp_path):
    torch.save(OneWay(), tmp_path / "model.pt")
    files = [str(BATIO3 / f"{name}.cif") for name in ("cubic", "tetragonal")]
    command = ["report", *files, "-o", str(tmp_path / "r.html"), "--model", str(tmp_path / "model.pt"), "--cutoff", "3"]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    errors = json.loads(result.stdout)["errors"]
    assert len(errors) == 6
    assert max(errors) < 0.04  # Å, alike for the six, each nearest to another target
    assert max(errors) - min(errors) < 1e-4
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    moves = json.loads(re.search(r'id="scene">(.*?)</script>', text, re.DOTALL).group(1))["structure"]["distortions"]
    shown = [m for m in moves if m["label"].startswith("answer to object")]
    assert len({str(m["beside"]) for m in shown}) == 6
    assert len(re.findall(r"<tr data-distortion=", text)) == len(moves) - 1  # the target has no row
    refused = CliRunner().invoke(app, ["report", files[0], "--model", str(tmp_path / "model.pt")])
    assert refused.exit_code == 2
    assert "needs the target" in refused.output


def test_the_answers_of_a_run(tmp_path):
    methane = molecule("CH4")
    longer = methane.copy()
    longer.positions[1] *= 1.1
    files = [str(tmp_path / name) for name in ("parent.xyz", "child.xyz")]
    for atoms, file in zip((methane, longer), files, strict=True):
        ase.io.write(file, atoms)
    ase.io.write(tmp_path / "pairs.xyz", [methane, longer])
    sizes = {"cutoff": 3.0, "hidden": "2x0e+2x1o", "lmax": 1, "layers": 1}
    config = Config.of({"dataset": str(tmp_path / "pairs.xyz"), **sizes})
    run = tmp_path / "run"
    (run / "seed-0").mkdir(parents=True)
    config.write(run / "config.yaml")
    torch.manual_seed(0)
    with double_precision():
        network = Distorter(load_pairs(config), config)
    torch.save(network.state_dict(), run / "seed-0" / "model.pt")
    command = ["report", *files, "-o", str(tmp_path / "r.html"), "--json", "--model", str(run)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    errors = json.loads(result.stdout)["errors"]
    assert len(errors) == 4
    assert max(errors) - min(errors) < 1e-6
    cubic = CliRunner().invoke(app, ["report", *[str(BATIO3 / "cubic.cif")] * 2, "--model", str(run)])
    assert cubic.exit_code == 2
    assert "these files hold 20x0e and 0e+2e" in cubic.output


def test_many_structures_and_their_targets(tmp_path):
    names = ("CH4", "BF3", "NH3", "H2O", "CO2")
    parents = [molecule(name) for name in names]
    targets = [atoms.copy() for atoms in parents]
    for atoms in targets[:2]:
        atoms.positions[0, 2] += 0.1
    targets[4].symbols[0] = "N"
    for file, some in (("a.xyz", parents), ("b.xyz", targets)):
        ase.io.write(tmp_path / file, some)
    out = ["-o", str(tmp_path / "r.html"), "--symprec", "0.01", "--json"]
    found = json.loads(
        CliRunner().invoke(app, ["report", str(tmp_path / "a.xyz"), str(tmp_path / "b.xyz"), *out]).stdout
    )
    assert {row["group"]: row["structures"] for row in found["groups"]} == {"Td": 1, "D3h": 1, "C3v": 1, "C2v": 1}
    assert found["orbits"] == {"1": 4, "2": 1, "3": 2, "4": 1}
    assert (found["targets"], found["unanswered"]) == (4, 2)
    assert [text[:11] for text in found["failures"]] == ["structure 4"]
    assert "AddSymmetryBreaking(choose='target', irreps='1x1o')" in found["strategy"]
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "2 of 4 targets (50%)" in text
    assert re.search(r"<td>D3h</td><td>C3v</td><td>2</td><td>1x1o</td><td>1</td>", text)
    alone = json.loads(CliRunner().invoke(app, ["report", str(tmp_path / "a.xyz"), *out]).stdout)
    assert (alone["structures"], alone["targets"]) == (5, 0)
    assert "1 linear or single atoms" in alone["strategy"]
    short = CliRunner().invoke(app, ["report", str(tmp_path / "a.xyz"), str(BATIO3 / "cubic.cif"), *out])
    assert short.exit_code == 2
    assert "more of the other" in short.output


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser")
@pytest.mark.skipif("CI" in os.environ, reason="a browser draws in software for a minute")
def test_a_browser_draws_it(batio3, tmp_path):
    page = tmp_path / "page.html"  # without the animation, which has no end
    page.write_text(batio3[0].read_text(encoding="utf-8").replace('"playing"', '"resting"'), encoding="utf-8")
    flags = "--headless=new --no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
    flags += " --disable-quic --window-size=1000,5000 --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --virtual-time-budget=20000 --dump-dom"
    command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False).stdout
    assert 'data-ready="yes"' in drawn
    assert drawn.count("<canvas") >= 2
    assert "Oh to Td: 2 objects in 1x3o" in drawn
