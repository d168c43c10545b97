"""Objects, force fields and answers for molecules whose minima are not known; runs on Saddles and their command."""

import json
import math

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii
from ase.neighborlist import natural_cutoffs, neighbor_list
from typer.testing import CliRunner

from pyg_symbreak.cli import app
from pyg_symbreak.datasets import SaddleForces, Saddles
from pyg_symbreak.nn import ForceField
from pyg_symbreak.structures import from_ase
from pyg_symbreak.training import Config, minima_run
from pyg_symbreak.training.forces import Frames, field_of, fit_forces, force_loss, model_force_constants
from pyg_symbreak.training.minima import downhill, known_molecule, molecule_of, predict_minima

HIDDEN = "8x0e+6x1o+4x2e"
CONFIG = Config.of({"dataset": "Saddles", "hidden": HIDDEN, "steps": 3, "batch_size": 4})


@pytest.fixture(scope="module")
def some():
    every = Saddles()
    names = [
        next(d.name for d in every if d.kept == kept and d.group == group)
        for group, kept in (("D3h", "D3h"), ("D3h", "C3v"), ("C2v", "Cs"), ("C2v", "C2"), ("Dinfh", "C2v"))
    ]
    return [d for d in every if d.name in names]


@pytest.fixture(scope="module")
def few():
    every = SaddleForces()
    return [every[n] for n in range(0, 60, 10)]


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


class Springs(torch.nn.Module):
    """Springs from each boron to its neighbours, and a force across them that is zero at a height of 0.4 Å."""

    cutoff = 5.0

    def forward(self, data):
        forces = torch.zeros_like(data.pos)
        for own in data.ptr[:-1].tolist():
            pos = data.pos[own : own + 4]
            axis = torch.nn.functional.normalize(torch.linalg.cross(pos[2] - pos[1], pos[3] - pos[1]), dim=0)
            height = (pos[0] - pos[1:].mean(0)) @ axis
            up = 4 * height * (0.16 - height**2)
            forces[own] += up * axis
            forces[own + 1 : own + 4] -= up / 3 * axis
        return forces


def test_downhill_ends_where_forces_vanish():
    found = molecule_of(planar(), CONFIG)
    c = next(n for n, w in enumerate(found.way_of) if found.ways[w].keep.schoenflies == "C3v")
    u, energies = downhill(Springs(), found, 0.3 * found.objects[[c]])
    pos = found.data.pos + u[0]
    assert abs(float(pos[0, 2] - pos[1:, 2].mean())) == pytest.approx(0.4, abs=0.01)
    assert float(energies) == pytest.approx(-(0.4**4), rel=0.05)  # of 4 h (0.16 - h²) from 0 to 0.4
    assert found.space.images(u.double().numpy(), found.ways[found.way_of[c]].operations)[:, 0].std(0).max() < 1e-5
    still, zero = downhill(Springs(), found, torch.zeros_like(u))
    assert still.abs().max() < 1e-5
    assert float(zero) == 0


def test_answers_keep_the_symmetry_of_the_object():
    torch.manual_seed(0)
    found = molecule_of(planar(), CONFIG)
    u, _ = downhill(ForceField(21, HIDDEN, layers=2), found, 0.3 * found.objects)
    for v, n in zip(u.double().numpy(), found.way_of, strict=True):
        images = found.space.images(v[None], found.ways[n].operations)[:, 0]
        assert np.abs(images - v).max() < 1e-4
    assert np.abs(found.space.images(u.double().numpy()) - u.double().numpy()).max() > 1e-2


def test_model_force_constants():
    found = molecule_of(planar(), CONFIG)
    pos, z = found.data.pos.double(), found.data.z
    matrix = model_force_constants(z, pos)
    assert (matrix - matrix.T).abs().max() < 1e-12
    values = torch.linalg.eigvalsh(matrix)
    assert values.min() == pytest.approx(0.5)  # translations
    assert 40 < values.max() < 400
    assert np.abs(found.space.average(matrix.numpy()) - matrix.numpy()).max() < 1e-4  # commutes with S
    both = model_force_constants(z, torch.stack([pos, 2 * pos]))
    torch.testing.assert_close(both[0], matrix)
    assert (both[1].diagonal() < matrix.diagonal()).all()


def test_the_loss_is_the_step_of_the_error():
    data = SaddleForces()[0]
    frames = Frames([data], 5.0)
    assert len(frames) == len(data.force) // len(data.z)
    batch, forces, flexibility = frames.batch([0, 3])

    class Off(torch.nn.Module):
        def forward(self, batch):
            return forces + torch.arange(len(forces) * 3.0).view(-1, 3)

    off = torch.arange(len(forces) * 3.0).view(2, -1)
    steps = [
        torch.linalg.solve(model_force_constants(data.z, p), o)
        for p, o in zip(batch.pos.view(2, -1, 3), off, strict=True)
    ]
    by_hand = sum(float((s.square().sum() / len(data.z)).sqrt()) for s in steps) / 2
    by_hand += 0.02 * float(off.view(-1, 3).norm(dim=1).mean())
    assert float(force_loss(Off(), batch, forces, flexibility)) == pytest.approx(by_hand, rel=1e-3)
    draws = frames.draws(5, np.random.default_rng(0))
    once = [n for _ in range(len(frames) // 5) for n in next(draws)]
    assert len(set(once)) == len(once)


def test_the_loss_falls_and_seeds_repeat():
    config = Config.of({"dataset": "Saddles", "hidden": HIDDEN, "layers": 1, "steps": 60, "batch_size": 8})
    frames = Frames([SaddleForces()[n] for n in range(3)], 5.0)
    losses = fit_forces(frames, config)[1]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    assert losses == pytest.approx(fit_forces(frames, config)[1], rel=1e-3)


def test_different_answers_with_the_molecule_itself_among_them():
    torch.manual_seed(0)
    bare = molecule_of(planar(), CONFIG)
    found = predict_minima(ForceField(21, HIDDEN), bare)
    still = found.ways.index(None)
    assert found.displacements[still].abs().max() == 0
    assert found.energies[still] == 0
    flat = found.displacements.double().numpy()
    for i, u in enumerate(flat):
        images = bare.space.images(u[None])[:, 0]
        for v in flat[:i]:
            assert np.square(images - v).sum(2).mean(1).min() ** 0.5 > 0.1
    frames = list(found.structures(bare))
    assert [a.info["rank"] for a in frames] == list(range(1, len(frames) + 1))
    assert frames[still].info["K"] == "D3h"


def test_the_lowest_answers_come_first_but_those_with_other_bonds_last():
    def pairs(atoms: Atoms) -> set[tuple[int, int]]:
        return set(zip(*neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.3)), strict=True))

    bare = molecule_of(planar(), CONFIG)
    torch.manual_seed(0)
    field = ForceField(21, HIDDEN)
    starts = 0.2 * bare.objects
    pulled = starts[:2].clone()
    pulled[:, 1] = 3 * bare.data.pos[1]  # an atom leaves
    found = predict_minima(field, bare, torch.cat([pulled, starts]))
    frames = list(found.structures(bare))
    other = [pairs(atoms) != pairs(planar()) for atoms in frames]
    assert found.rearranged.tolist() == other == [atoms.info["rearranged"] for atoms in frames]
    assert set(other) == {False, True}
    assert other == sorted(other)
    for kind in (False, True):
        assert (found.energies[found.rearranged == kind].diff() >= 0).all()


def without_forces() -> ForceField:
    """What starts somewhere stays there."""
    field = ForceField(21, HIDDEN)
    for parameter in field.parameters():
        torch.nn.init.zeros_(parameter)
    return field


@pytest.mark.parametrize(("length", "kept"), [(1.29, True), (1.31, False)])
def test_atoms_nearer_than_1_3_sums_of_radii_are_bonded(length, kept):
    bare = molecule_of(planar(), CONFIG)
    bond = bare.data.pos[1] - bare.data.pos[0]
    start = torch.zeros(1, 4, 3)
    start[0, 1] = (length * covalent_radii[[5, 9]].sum() / bond.norm() - 1) * bond
    found = predict_minima(without_forces(), bare, start)
    assert found.rearranged.tolist() == [False, not kept]  # the molecule itself, and the start


def test_what_answers_from_given_starts_keep():
    bare = molecule_of(planar(), CONFIG)
    torch.manual_seed(0)
    normal = torch.linalg.cross(bare.data.pos[1] - bare.data.pos[0], bare.data.pos[2] - bare.data.pos[0])
    umbrella = torch.tensor([0.3, -0.1, -0.1, -0.1])[:, None] * normal / normal.norm()
    found = predict_minima(without_forces(), bare, torch.stack([umbrella, 0.3 * torch.randn(4, 3)]))
    assert {atoms.info["K"] for atoms in found.structures(bare)} == {"D3h", "C3v", "C1"}


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


def test_run_and_predict(tmp_path, monkeypatch, some, few):
    monkeypatch.setattr(minima_run, "Saddles", lambda: some)
    monkeypatch.setattr(minima_run, "SaddleForces", lambda: few)
    (tmp_path / "run.yaml").write_text(
        f"dataset: Saddles\nsteps: 3\nbatch_size: 4\nhidden: {HIDDEN}\nheld_out: ['{some[1].name}']\n"
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
    assert [a.info["rank"] for a in frames] == list(range(1, len(frames) + 1))
    assert {"K", "predicted_energy", "rearranged"} <= set(frames[0].info)
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


def test_what_has_no_meaning_here(tmp_path):
    for key, value in {"keep": "nothing", "strategy": "noise", "patience": 3}.items():
        with pytest.raises(ValueError, match=f"{key} has no meaning with dataset: Saddles"):
            minima_run.train_minima(Config.of({"dataset": "Saddles", key: value}), tmp_path)


def test_what_is_held_out_is_not_trained_on(some):
    every = SaddleForces()
    apart = [d for d in Saddles() if d.frame == "planar AX3"]
    left = minima_run.trained_on(every, apart, {"planar AX3"})
    assert 0 < len(left) < len(every)
    assert not {d.formula for d in left} & {d.formula for d in apart}
    assert "planar AX3" not in {d.frame for d in left}
    one = minima_run.trained_on(every, apart[:1])
    assert {d.frame for d in one} >= {"planar AX3"}
    assert apart[0].name not in {d.name for d in one}


def test_networks_of_a_configuration():
    plain = field_of(Config.of({"dataset": "Saddles", "layers": 3}))
    assert len(plain.layers) == 3
    with pytest.raises(ValueError, match="0e, 1o and 2e"):
        field_of(Config.of({"dataset": "Saddles", "hidden": "4x0e+4x1e"}))
