"""pyg-symbreak discover: a saved model and a file of structures in, faults and errors out."""

import json

import torch
from ase.build import molecule
from ase.io import write
from typer.testing import CliRunner

from pyg_symbreak.cli import app
from pyg_symbreak.structures import from_ase


class Springs(torch.nn.Module):
    """Vectors from each atom's neighbours; with an axis stretched if asked for."""

    def __init__(self, stretch=1.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([1.0, 1.0, stretch], dtype=torch.float64))

    def forward(self, data):
        source, target = data.edge_index
        steps = data.pos[target] - data.pos[source]
        steps = steps * (3.0 - steps.norm(dim=1, keepdim=True)).square()
        return torch.zeros_like(data.pos).index_add(0, source, steps) * self.scale


def run(tmp_path, model, *options):
    torch.save(model, tmp_path / "model.pt")
    frames = [molecule(name) for name in ("CH3OH", "CH3SH")]
    for atoms in frames:
        atoms.rattle(0.05)
    write(tmp_path / "data.xyz", frames)
    files = [str(tmp_path / "model.pt"), str(tmp_path / "data.xyz")]
    return CliRunner().invoke(app, ["discover", *files, "--irreps-out", "1o", "--cutoff", "3", *options])


def test_a_sound_model(tmp_path):
    result = run(tmp_path, Springs())
    assert result.exit_code == 0, result.stderr
    assert "No fault was found." in result.stdout


def test_a_model_with_a_stretched_axis(tmp_path):
    result = run(tmp_path, Springs(1.5), "--json", "--figure", str(tmp_path / "errors.png"), "--degree", "2")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert len(found["faults"]) == 1
    assert found["rotation"] > 0.05
    assert found["irreps"]["2e"] > 0.05
    assert found["variance"] >= found["irreps"]["2e"] ** 2
    assert len(found["generators"]) == 4  # the turn about the stretched axis, and the shifts
    assert (tmp_path / "errors.png").stat().st_size > 5000


class WithObject(Springs):
    """Vectors along an object of each structure."""

    def forward(self, data):
        return super().forward(data) + data.breaking


def test_saved_data_with_objects(tmp_path):
    structures = []
    for name in ("CH3OH", "CH3SH"):
        structures.append(from_ase(molecule(name), dtype=torch.float64))
        structures[-1].breaking = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    torch.save(WithObject(), tmp_path / "model.pt")
    torch.save(structures, tmp_path / "data.pt")
    command = ["discover", str(tmp_path / "model.pt"), str(tmp_path / "data.pt"), "--irreps-out", "1o", "--cutoff", "3"]
    sound = CliRunner().invoke(app, [*command, "--features", "breaking=1o", "--degree", "1"])
    assert "No fault was found." in sound.stdout
    assert "6 of 6 generators" in sound.stdout
    broken = CliRunner().invoke(app, [*command, "--degree", "1"])  # the object stays while the structure turns
    assert "a direction of the laboratory, along (0.27, 0.53, 0.80)" in broken.stdout
    torch.save([1, 2], tmp_path / "data.pt")
    assert "no list of Data" in CliRunner().invoke(app, command).stderr


def test_files_that_are_none(tmp_path):
    (tmp_path / "model.pt").write_text("no model")
    write(tmp_path / "data.xyz", molecule("H2O"))
    for name, message in (("model.pt", "nothing that torch.load reads"), ("missing.pt", "no such file")):
        result = CliRunner().invoke(
            app, ["discover", str(tmp_path / name), str(tmp_path / "data.xyz"), "--irreps-out", "1o"]
        )
        assert result.exit_code == 2
        assert message in result.stderr
    torch.save({"weights": 1}, tmp_path / "state.pt")
    result = CliRunner().invoke(
        app, ["discover", str(tmp_path / "state.pt"), str(tmp_path / "data.xyz"), "--irreps-out", "1o"]
    )
    assert "save the model itself" in result.stderr
