"""Objects, networks and answers for molecules whose minima are not known; runs on Saddles and their command."""

import json
import math

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from pyg_symbreak.cli import app
from pyg_symbreak.datasets import Saddles
from pyg_symbreak.structures import from_ase
from pyg_symbreak.training import Config, minima_run
from pyg_symbreak.training.minima import (
    MinimaNetwork,
    answers_of,
    judge_loss,
    known_molecule,
    molecule_of,
    mover_loss,
    predict_minima,
    varied,
)

CONFIG = Config.of({"dataset": "Saddles", "hidden": "4x0e+4x0o+4x1o+4x1e", "lmax": 1, "steps": 3, "batch_size": 4})


@pytest.fixture(scope="module")
def some():
    every = Saddles()
    names = [
        next(d.name for d in every if d.kept == kept and d.group == group)
        for group, kept in (("D3h", "D3h"), ("D3h", "C3v"), ("C2v", "Cs"), ("C2v", "C2"), ("Dinfh", "C2v"))
    ]
    return [d for d in every if d.name in names]


def planar() -> Atoms:
    return molecule("BF3")


def test_objects_keep_what_their_distortions_keep():
    found = molecule_of(planar(), CONFIG)
    assert len(found.objects) == len(found.way_of) > len({way.irrep for way in found.ways})
    for row, n in zip(found.objects.numpy(), found.way_of, strict=True):
        assert found.space.stabilizer(row) == tuple(sorted(found.ways[n].operations))
    assert found.objects.norm(dim=2).amax(1).allclose(torch.ones(len(found.objects)), atol=1e-5)


def test_images_and_pairs(some):
    for data in some:
        found = known_molecule(data, CONFIG)
        assert found.stays == (data.kept == data.group)
        for m, count in enumerate(data.minima_count.tolist()):
            if math.isfinite(count):
                assert int((found.minimum == m).sum()) == count
        assert bool(found.pairs) != found.stays
        for c, t in found.pairs:  # the object keeps what the minimum keeps, and points to it
            kept = found.space.stabilizer(found.images[t].double().numpy())
            assert set(found.ways[found.way_of[c]].operations) <= set(kept)
            overlaps = (found.objects[c] * found.images).sum((1, 2))
            same = found.minimum == found.minimum[t]
            assert overlaps[t] >= overlaps[same].max() - 1e-4


def test_answers_turn_with_the_molecule_and_keep_the_symmetry_of_the_object():
    torch.manual_seed(0)
    model = MinimaNetwork(CONFIG).double()
    bare = molecule_of(planar(), CONFIG)
    rotation = torch.from_numpy(Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix()) * -1
    order = [2, 0, 3, 1]
    atoms = Atoms(bare.space.atoms.numbers[order], bare.space.atoms.positions[order] @ rotation.T.numpy())
    turned = molecule_of(atoms, CONFIG)
    for found in (bare, turned):
        found.data.x, found.data.pos = found.data.x.double(), found.data.pos.double()
    for b, n in zip(bare.objects.double(), bare.way_of, strict=True):
        u = model([bare], [b])[-1]
        v = model([turned], [b[order] @ rotation.T])[-1]
        assert (v - u[order] @ rotation.T).abs().max() < 1e-6  # of positions that are float32 at first
        change = bare.space.images(u.detach().numpy()[None], bare.ways[n].operations)[:, 0] - u.detach().numpy()
        assert np.abs(change).max() < 1e-5
    assert np.abs(bare.space.images(u.detach().numpy()[None])[:, 0] - u.detach().numpy()).max() > 1e-2


def test_losses_fall(some):
    molecules = [known_molecule(d, CONFIG) for d in some[:3]]
    config = Config.of({"dataset": "Saddles", "hidden": CONFIG.hidden, "lmax": 1, "steps": 40, "batch_size": 4})
    _, losses = minima_run.fit_minima(molecules, config)
    for part in (losses[:40], losses[40:]):
        assert np.mean(part[-10:]) < 0.8 * np.mean(part[:5])


def test_answers_are_compared_with_the_nearest_image(some):
    torch.manual_seed(0)
    model = MinimaNetwork(CONFIG)
    for data in some[:3]:
        molecule = known_molecule(data, CONFIG)
        found = answers_of(model, molecule)
        assert len(found.errors) == len(molecule.objects) + 1
        assert found.displacements[0].abs().max() == 0
        for u, error in zip(found.displacements, found.errors, strict=True):
            by_hand = min(float((u - image).square().sum(1).mean()) ** 0.5 for image in molecule.images)
            assert float(error) == pytest.approx(by_hand, abs=2e-4)


def test_losses_are_the_same_for_the_same_draw(some):
    torch.manual_seed(0)
    molecules, model = [known_molecule(d, CONFIG) for d in some[:3]], MinimaNetwork(CONFIG)
    answers = [answers_of(model, m) for m in molecules]
    for loss, what in ((mover_loss, molecules), (judge_loss, answers)):
        a, b, c = (float(loss(model, what, 4, np.random.default_rng(seed)).detach()) for seed in (0, 0, 1))
        assert a == pytest.approx(b)
        assert a != pytest.approx(c)


def test_varied_objects_keep_what_the_object_keeps():
    found = molecule_of(planar(), CONFIG)
    for number, n in enumerate(found.way_of):
        b = varied(found, number, np.random.default_rng(0)).double().numpy()
        images = found.space.images(b[None], found.ways[n].operations)[:, 0]
        assert np.abs(images - b).max() < 1e-5
        assert np.abs(b - found.objects[number].numpy()).max() > 1e-3


def test_different_answers_with_the_molecule_itself_among_them():
    torch.manual_seed(0)
    bare = molecule_of(planar(), CONFIG)
    found = predict_minima(MinimaNetwork(CONFIG), bare)
    still = found.ways.index(None)
    assert found.displacements[still].abs().max() == 0
    assert found.energies[still] == 0
    assert (found.expected.diff() >= 0).all()
    flat = found.displacements.double().numpy()
    for i, u in enumerate(flat):
        images = bare.space.images(u[None])[:, 0]
        for v in flat[:i]:
            assert np.square(images - v).sum(2).mean(1).min() ** 0.5 > 0.1
    frames = list(found.structures(bare))
    assert [a.info["rank"] for a in frames] == list(range(1, len(frames) + 1))
    assert frames[still].info["K"] == "D3h"
    assert {a.info["K"] for a in frames} > {"D3h"}


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("H"), "single atom|no distortion|no displacements|atom"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]), "no distortion"),
        (Atoms("Cu", pbc=True, cell=[2, 2, 2]), "periodic"),
    ],
)
def test_what_has_no_minima_below_it(atoms, message):
    with pytest.raises(ValueError, match=message):
        molecule_of(atoms, CONFIG)


def test_run_and_predict(tmp_path, monkeypatch, some):
    monkeypatch.setattr(minima_run, "Saddles", lambda: some)
    (tmp_path / "run.yaml").write_text(
        f"dataset: Saddles\nsteps: 3\nbatch_size: 4\nhidden: {CONFIG.hidden}\nlmax: 1\nheld_out: ['{some[1].name}']\n"
    )
    ase.io.write(tmp_path / "bf3.xyz", planar())
    run = CliRunner().invoke
    folder, out = str(tmp_path / "run"), str(tmp_path / "minima.extxyz")
    done = run(app, ["train", str(tmp_path / "run.yaml"), "--out", folder, "--json"])
    assert done.exit_code == 0, done.output
    (row,) = json.loads((tmp_path / "run" / "metrics.json").read_text())["runs"][0]["held out"]
    assert row["name"] == some[1].name
    assert row["error"] >= 0
    found = run(app, ["predict", folder, str(tmp_path / "bf3.xyz"), "--out", out, "--most", "3"])
    assert found.exit_code == 0
    assert "D3h" in found.output
    frames = ase.io.read(out, ":")
    assert [a.info["rank"] for a in frames] == [1, 2, 3]
    assert {"K", "expected_error"} <= set(frames[0].info)
    again = run(app, ["train", str(tmp_path / "run.yaml"), "--out", folder])
    assert again.exit_code == 2
    assert "holds a run already" in again.stderr


def test_a_run_that_is_none_or_on_pairs(tmp_path):
    ase.io.write(tmp_path / "bf3.xyz", planar())
    run = CliRunner().invoke
    missing = run(app, ["predict", str(tmp_path), str(tmp_path / "bf3.xyz")])
    assert missing.exit_code == 2
    assert "no config.yaml" in missing.stderr
    Config.of({"dataset": "JahnTeller"}).write(tmp_path / "config.yaml")
    pairs = run(app, ["predict", str(tmp_path), str(tmp_path / "bf3.xyz")])
    assert pairs.exit_code == 2
    assert "dataset: Saddles" in pairs.stderr


def test_a_name_that_is_not_held(tmp_path, monkeypatch, some):
    monkeypatch.setattr(minima_run, "Saddles", lambda: some)
    with pytest.raises(ValueError, match="no molecule and no frame"):
        minima_run.train_minima(Config.of({"dataset": "Saddles", "held_out": ["ring of 99"]}), tmp_path)


def test_charge_is_read():
    plain, charged = (molecule_of(from_ase(planar(), torch.float64), CONFIG, charge) for charge in (0.0, 1.0))
    assert (charged.data.x - plain.data.x).abs().sum(0).nonzero().flatten().tolist() == [plain.data.x.size(1) - 1]
