"""Pairs and their objects against explicit operations; losses against loops; runs that stop and go on."""

import copy
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read, write
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch

from pyg_symbreak.datasets import BaTiO3, JahnTeller
from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import apply_distortion, irreps_to_strain
from pyg_symbreak.training import Config, Distorter, answer_all, atom_features, evaluate, load_pairs, sample

run = pytest.importorskip("pyg_symbreak.training.run", exc_type=ImportError)

SMALL = {"hidden": "8x0e+4x0o+4x1o+4x1e+2x2e", "lmax": 2, "layers": 1}
RECTANGLE = [[1.0, 0.7, 0], [-1.0, 0.7, 0], [1.0, -0.7, 0], [-1.0, -0.7, 0]]


pytestmark = pytest.mark.usefixtures("double")


def operations(positions, numbers, candidates):
    """Those of the candidate matrices that carry the atoms to atoms, with their permutations."""
    found = []
    for g in candidates:
        moved = positions @ g.T
        apart = np.linalg.norm(moved[:, None] - positions, axis=2)
        order = apart.argmin(1)
        if apart.min(1).max() < 1e-3 and (numbers[order] == numbers).all() and len(set(order)) == len(order):
            found.append((g, order))
    return found


def images_of(y, found):
    out = []
    for g, order in found:
        moved = np.empty_like(y)
        moved[order] = y @ g.T
        out.append(moved)
    return np.array(out)


def distinct(rows, tolerance=1e-2):
    found = []
    for row in rows:
        if all(np.abs(row - other).max() > tolerance for other in found):
            found.append(row)
    return found


def file_of_pairs(path, frames, turn=None):
    turn = np.eye(3) if turn is None else turn
    frames = [Atoms(a.numbers, positions=a.positions @ turn.T, info=a.info) for a in frames]
    write(path, frames, format="extxyz")
    return str(path)


def rectangle(shift, energy=-1.0):
    """A rectangle of helium of which one atom moves in the plane: D2h to Cs."""
    parent = Atoms("He4", positions=RECTANGLE, info={"name": "rectangle", "energy": 0.0})
    target = parent.copy()
    target.positions[0] += shift
    target.info["energy"] = energy
    return [parent, target]


# ------------------------------------------------------------------ configurations


def test_configuration_is_read_and_written_back(tmp_path):
    (tmp_path / "a.yaml").write_text("dataset: BaTiO3\nlr: 1e-3\ncutoff: 3\nseeds: [1, 2]\nheld_out: [tetragonal]\n")
    config = Config.read(tmp_path / "a.yaml")
    assert (config.lr, config.cutoff, config.seeds, config.held_out) == (1e-3, 3.0, [1, 2], ["tetragonal"])
    config.write(tmp_path / "b.yaml")
    assert Config.read(tmp_path / "b.yaml") == config
    (tmp_path / "c.yaml").write_text("dataset: pairs.xyz\n")
    (tmp_path / "pairs.xyz").write_text("")
    assert Config.read(tmp_path / "c.yaml").dataset == str(tmp_path / "pairs.xyz")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": "BaTiO3", "learning_rate": 1}, "unknown key 'learning_rate'; the keys are dataset, held_out, str"),
        ({}, "names no dataset"),
        ({"dataset": "BaTiO3", "strategy": "magic"}, "strategy must be one of group, input, noise, none, got 'magic'"),
        ({"dataset": "BaTiO3", "steps": "many"}, "steps must be int, got 'many'"),
        ({"dataset": "BaTiO3", "steps": True}, "steps must be int, got True"),
        ({"dataset": "BaTiO3", "steps": 0}, "steps must be positive, got 0"),
        ({"dataset": "BaTiO3", "lr": "fast"}, "lr must be float, got 'fast'"),
        ({"dataset": "BaTiO3", "batch_size": 1.5}, "batch_size must be int or null, got 1.5"),
        ({"dataset": "BaTiO3", "seeds": [0.5]}, r"seeds must be list\[int\], got \[0.5\]"),
        ({"dataset": "BaTiO3", "seeds": []}, "seeds is empty"),
    ],
)
def test_bad_configurations_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        Config.of(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": "Ba"}, "dataset is 'Ba'; it must be JahnTeller, BaTiO3, TriangularPrism or the path"),
        ({"dataset": "BaTiO3", "held_out": ["cubic"]}, "names 'cubic', which is not in BaTiO3; it has tetragonal, or"),
        ({"dataset": "TriangularPrism", "held_out": ["prism"]}, "none is left to train on"),
        ({"dataset": "BaTiO3", "keep": "D4h"}, "that keep D4h of Oh cannot give a target that keeps C4v"),
        ({"dataset": "TriangularPrism", "strategy": "input"}, "strategy: group"),
    ],
)
def test_what_cannot_be_trained_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        load_pairs(Config.of(values))


# ------------------------------------------------------------------ pairs


def test_groups_of_the_periodic_table():
    known = {1: 1, 2: 18, 3: 1, 4: 2, 5: 13, 6: 14, 10: 18, 13: 13, 17: 17, 20: 2, 22: 4, 30: 12, 31: 13, 56: 2, 57: 3}
    known |= {64: 3, 72: 4, 79: 11, 82: 14, 86: 18, 92: 3, 118: 18}
    features = atom_features(torch.tensor(list(known)))
    assert (features[:, :18].argmax(1) + 1).tolist() == list(known.values())
    assert (features[:, :18].sum(1) == 1).all()
    assert len(distinct(features[[0, 2, 3, 4, 5, 7, 8, 14]].numpy(), 1e-6)) == 8  # H, Li, Be, B, C, Al, Cl, La


@pytest.mark.parametrize(("name", "order", "kept"), [("CH4+", 24, 8), ("BH3+", 12, 4), ("NH3+", 6, 6)])
def test_targets_and_bound_against_explicit_operations(name, order, kept):
    """T_d, D_3h and C_3v from the elements of O, D_6 and their inverses, put along the molecule's own axes."""
    pair = {p.name: p for p in all_pairs(Config.of({"dataset": "JahnTeller"}))}[name]
    data = next(d for d in JahnTeller() if d.name == name)
    x, z, y = data.pos.numpy(), data.z.numpy(), data.y.numpy()
    x = x - x.mean(0)
    found = operations(x, z, candidates_along(x, z))
    assert len(found) == order
    images = images_of(y, found)
    answers = distinct(images)
    assert len(answers) == len(pair.images_y) == order // kept
    assert all(min(np.abs(a - b).max() for b in pair.images_y.numpy()) < 1e-6 for a in answers)
    torch.testing.assert_close(pair.images_y[0], data.y, rtol=0, atol=1e-9)
    floor = np.sqrt(((y - images.mean(0)) ** 2).sum(1).mean())
    assert pair.floor == pytest.approx(floor, abs=1e-6)
    assert (pair.group.order, pair.keep.order) == (order, kept)
    assert len(pair.objects) == order // kept


def all_pairs(config):
    pairs = load_pairs(config)
    return [*pairs.training, *pairs.held_out]


def candidates_along(x, z):
    """O(3) elements built from the atoms themselves: every frame of two hydrogens carried to every other."""
    rows = [i for i in range(len(z)) if z[i] == 1]
    frames = []
    for i in rows:
        for j in rows:
            if i != j:
                a = x[i] / np.linalg.norm(x[i])
                b = x[j] - (x[j] @ a) * a
                b /= np.linalg.norm(b)
                frames += [np.stack([a, b, s * np.cross(a, b)]) for s in (1, -1)]
    return [frame.T @ frames[0] for frame in frames]


@pytest.mark.parametrize("strategy", ["group", "input"])
@pytest.mark.parametrize("dataset", ["JahnTeller", "BaTiO3"])
def test_the_first_object_belongs_to_the_target(strategy, dataset):
    """K fixes the first object, every other element of S moves it: it breaks what the target breaks."""
    config = Config.of({"dataset": dataset, "strategy": strategy})
    pairs = load_pairs(config)
    for pair in [*pairs.training, *pairs.held_out]:
        assert len(pair.objects) == len(pair.images_y)
        if pair.keep == pair.group:
            assert not pair.objects.any()
            continue
        matrices = irreps_matrices(pairs.irreps_breaking, pair.group.matrices)
        moved = matrices @ pair.objects[0].numpy()
        fixing = np.abs(moved - pair.objects[0].numpy()).max(1) < 1e-6
        assert pair.keep.order == fixing.sum()
        assert all(pair.keep.contains(g) for g in pair.group.matrices[fixing])
        assert len(distinct(pair.objects.numpy(), 1e-3)) == len(pair.objects)


def test_objects_that_break_everything_give_each_target_several_times():
    config = Config.of({"dataset": "BaTiO3", "keep": "nothing"})
    assert [len(pair.objects) for pair in load_pairs(config).training] == [48, 48, 48]


def test_pairs_from_a_file_turn_with_it(tmp_path):
    frames = rectangle([0.2, 0.1, 0.0])
    plain = load_pairs(Config.of({"dataset": file_of_pairs(tmp_path / "a.xyz", frames)})).training[0]
    turn = -Rotation.random(random_state=1).as_matrix()
    turned = load_pairs(Config.of({"dataset": file_of_pairs(tmp_path / "b.xyz", frames, turn)})).training[0]
    assert (plain.name, plain.group.schoenflies, plain.keep.schoenflies) == ("rectangle", "D2h", "Cs")
    assert plain.graph_y.tolist() == [[-1.0]]
    assert plain.floor == pytest.approx(turned.floor, abs=1e-6)
    moved = plain.images_y @ torch.from_numpy(turn).T
    for image in turned.images_y:
        assert (moved - image).abs().amax((1, 2)).min() < 1e-5
    objects = plain.objects @ torch.from_numpy(irreps_matrices("1o", turn[None])[0]).T
    if plain.objects.shape[1] == 3:
        assert all((objects - b).abs().amax(1).min() < 1e-5 for b in turned.objects)


def test_crystals_from_a_file(tmp_path):
    cubic = Atoms("CsCl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[4.0] * 3, pbc=True)
    polar = cubic.copy()
    polar.set_cell([4.0, 4.0, 4.1], scale_atoms=True)
    polar.positions[1, 2] += 0.1
    write(tmp_path / "pair.extxyz", [cubic, polar])
    pairs = load_pairs(Config.of({"dataset": str(tmp_path / "pair.extxyz"), "cutoff": 3.6}))
    (pair,) = pairs.training
    assert pairs.irreps_graph_out == "0e+2e"
    assert (pair.keep.schoenflies, len(pair.images_y), pair.graph_y.shape) == ("C4v", 6, (1, 6))


def test_bad_files(tmp_path):
    parent, target = rectangle([0.2, 0.0, 0.0])
    with pytest.raises(ValueError, match="holds 3 structures; it must be a parent, its target"):
        load_pairs(Config.of({"dataset": file_of_pairs(tmp_path / "a.xyz", [parent, target, parent])}))
    with pytest.raises(ValueError, match="pair 0"):
        load_pairs(Config.of({"dataset": file_of_pairs(tmp_path / "b.xyz", [parent, Atoms("H")])}))
    line, bent = Atoms("OCO", positions=[[-1.2, 0, 0], [0, 0, 0], [1.2, 0, 0]]), None
    bent = line.copy()
    bent.positions[1, 1] = 0.3
    with pytest.raises(ValueError, match="breaks a continuous symmetry: its equally good targets have no end"):
        load_pairs(Config.of({"dataset": file_of_pairs(tmp_path / "c.xyz", [line, bent])}))
    ring = Atoms("H3F3", positions=propeller())
    broken = ring.copy()
    broken.positions[0] += [0.1, 0.2, 0.0]
    path = file_of_pairs(tmp_path / "d.xyz", [ring, broken])
    with pytest.raises(ValueError, match=r"No finite equivariant set takes C3h to Cs.*strategy: input"):
        load_pairs(Config.of({"dataset": path}))
    assert len(load_pairs(Config.of({"dataset": path, "strategy": "input"})).training[0].objects) == 3


def propeller():
    """C_3h: two rings in the plane, turned against each other."""
    turns = 2 * np.pi * np.arange(3) / 3
    return [[r * np.cos(t + a), r * np.sin(t + a), 0] for r, a in ((1.0, 0), (2.0, 0.4)) for t in turns]


def test_pairs_from_folders_and_held_out_by_name_and_number(tmp_path):
    """A parent with its children in a folder, and a second family in a format of its own."""
    cubic = Atoms("CsCl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[4.0] * 3, pbc=True)
    polar, strained = cubic.copy(), cubic.copy()
    polar.positions[1, 2] += 0.1
    strained.set_cell([4.0, 4.0, 4.1], scale_atoms=True)
    for name, atoms in (("cscl/parent.cif", cubic), ("cscl/polar.vasp", polar), ("cscl/strained.cif", strained)):
        (tmp_path / "crystals" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "crystals" / name, atoms)
    folder = str(tmp_path / "crystals")
    pairs = load_pairs(Config.of({"dataset": folder, "cutoff": 3.6, "held_out": [1]}))
    assert [p.name for p in pairs.training] == ["cscl/polar"]
    assert [p.name for p in pairs.held_out] == ["cscl/strained"]
    assert [p.keep.schoenflies for p in (*pairs.training, *pairs.held_out)] == ["C4v", "D4h"]
    by_name = load_pairs(Config.of({"dataset": folder, "cutoff": 3.6, "held_out": ["cscl/strained"]}))
    assert [p.name for p in by_name.training] == ["cscl/polar"]
    with pytest.raises(ValueError, match=r"held_out names 2, .*it has cscl/polar, cscl/strained, or by numbers 0 to 1"):
        load_pairs(Config.of({"dataset": folder, "cutoff": 3.6, "held_out": [2]}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no pairs: give a file named parent"):
        load_pairs(Config.of({"dataset": str(tmp_path / "empty")}))
    write(tmp_path / "frames.traj", rectangle([0.2, 0.1, 0.0]))
    assert load_pairs(Config.of({"dataset": str(tmp_path / "frames.traj")})).training[0].group.schoenflies == "D2h"


def test_a_target_that_breaks_translations_is_refused(tmp_path):
    """Two cells of CsCl of which one atom moves along the doubled axis: two targets for one direction of the object."""
    parent = Atoms("CsCl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[4.0] * 3, pbc=True) * (2, 1, 1)
    target, polar = parent.copy(), parent.copy()
    target.positions[0, 0] += 0.1
    polar.positions[parent.numbers == 17, 0] += 0.1
    path = str(tmp_path / "pair.extxyz")
    write(path, [parent, target])
    with pytest.raises(ValueError, match=r"no pair can be learned; 0: .* translations of the cell: 2 targets for each"):
        load_pairs(Config.of({"dataset": path, "cutoff": 3.6}))
    assert load_pairs(Config.of({"dataset": path, "cutoff": 3.6, "strategy": "noise"})).training[0].learnable
    write(path, [parent, target, parent, polar])
    pairs = load_pairs(Config.of({"dataset": path, "cutoff": 3.6}))
    assert [p.learnable for p in pairs.training] == [False, True]
    assert "smaller cell" in pairs.training[0].warning
    assert pairs.training[1].warning == ""


def test_the_tilts_of_Pnma_break_translations(tmp_path):
    """a-a-c+ in two cubic cells along each axis: three of four translations in each target's orbit are lost."""
    cell = Atoms("SrTiO3", scaled_positions=[[0.5] * 3, [0] * 3, *0.5 * np.eye(3)], cell=[3.9] * 3, pbc=True)
    parent = cell.repeat(2)
    target = parent.copy()
    for number in range(0, len(parent), 5):
        site = np.round(parent.positions[number + 1] / 3.9).astype(int)
        tilt = 0.1 * np.array([(-1) ** site.sum(), (-1) ** site.sum(), (-1) ** (site[0] + site[1])])
        for oxygen in range(number + 2, number + 5):
            target.positions[oxygen] += np.cross(tilt, parent.positions[oxygen] - parent.positions[number + 1])
    path = str(tmp_path / "tilts.extxyz")
    write(path, [parent, target])
    with pytest.raises(ValueError, match=r"breaks translations of the cell: 4 targets for each object"):
        load_pairs(Config.of({"dataset": path}))
    polar = parent.copy()
    polar.positions[1::5, 2] += 0.1
    write(path, [parent, target, parent, polar])
    tilted, moved = load_pairs(Config.of({"dataset": path})).training
    assert (tilted.keep.schoenflies, tilted.learnable, len(tilted.images_y)) == ("D2h", False, 384 // 16)
    assert (moved.keep.schoenflies, moved.learnable, len(moved.objects)) == ("C4v", True, 6)
    assert tilted.reachable_y.abs().max() < 1e-9
    assert not tilted.objects.any()


def test_noise_on_ten_pairs_is_told(tmp_path):
    """On both structures, or on the target alone: what was meant is named with the symprec that gives it."""
    frames = []
    for number in range(10):
        pair = rectangle([0.3, 0.2, 0.0])
        for side, atoms in enumerate(pair):
            atoms.rattle(0.005, seed=2 * number + side)
        frames += pair
    path = file_of_pairs(tmp_path / "both.xyz", frames)
    for pair in load_pairs(Config.of({"dataset": path, "strategy": "none"})).training:
        assert pair.group.order < 8
        assert pair.warning.startswith("D2h fits the parent to within")
    for pair in load_pairs(Config.of({"dataset": path, "symprec": 0.04})).training:
        assert (pair.group.schoenflies, pair.keep.schoenflies, pair.warning) == ("D2h", "Cs", "")
    parent, target = rectangle([0.3, 0.2, 0.0])
    target.rattle(0.005, seed=1)
    path = file_of_pairs(tmp_path / "target.xyz", [parent, target])
    (pair,) = load_pairs(Config.of({"dataset": path})).training
    assert (pair.group.schoenflies, pair.keep.schoenflies) == ("D2h", "C1")
    symprec = float(re.fullmatch(r"the target keeps Cs to within .*: if it is meant, symprec: (.*)", pair.warning)[1])
    (pair,) = load_pairs(Config.of({"dataset": path, "symprec": symprec})).training
    assert (pair.keep.schoenflies, pair.warning) == ("Cs", "")


def test_a_noisy_parent_is_told(tmp_path):
    parent, target = rectangle([0.3, 0.2, 0.0])
    parent.rattle(0.005, seed=1)
    path = file_of_pairs(tmp_path / "a.xyz", [parent, target])
    (pair,) = load_pairs(Config.of({"dataset": path})).training
    assert pair.group.schoenflies == "C1"
    found = re.search(r"D2h fits the parent to within (.*) Å: if it is meant, symprec: (.*)", pair.warning)
    assert 0.001 < float(found[1]) < 0.03
    (pair,) = load_pairs(Config.of({"dataset": path, "symprec": float(found[2])})).training
    assert (pair.group.schoenflies, pair.keep.schoenflies, pair.warning) == ("D2h", "Cs", "")
    assert pair.residual == pytest.approx(float(found[1]), rel=0.1)


# ------------------------------------------------------------------ network and loss


def small(dataset="BaTiO3", **more):
    return Config.of({"dataset": dataset, "cutoff": 2.9, "steps": 12, **SMALL, **more})


@pytest.mark.parametrize("strategy", ["group", "noise", "none"])
def test_loss_against_a_loop(strategy):
    config = small(strategy=strategy)
    pairs = load_pairs(config)
    model = Distorter(pairs, config)
    samples = [sample(pair, config, 5, 12) for pair in pairs.training]
    losses = model.loss(Batch.from_data_list(samples))
    for data, pair, loss in zip(samples, pairs.training, losses, strict=True):
        y, strain = model(Batch.from_data_list([data]))
        assert y.mean(0).abs().max() < 1e-12
        values = [
            ((y - a) / model.scale_y).square().mean() + ((strain[0] - b) / model.scale_graph).square().mean()
            for a, b in zip(pair.images_y, pair.images_graph_y, strict=True)
        ]
        torch.testing.assert_close(loss, torch.stack(values).min())


def test_noise_depends_on_the_seed_and_the_object_does_not():
    for strategy, same in (("noise", False), ("group", True)):
        config = small(strategy=strategy)
        pair = load_pairs(config).training[0]
        first, again, other = (sample(pair, config, seed).breaking for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert torch.equal(first, other) == same


def test_no_weights_bring_the_network_without_object_below_the_bound():
    config = small(strategy="none")
    pairs = load_pairs(config)
    for seed in range(5):
        torch.manual_seed(seed)
        model = Distorter(pairs, config)
        for pair in pairs.training:
            row = evaluate(model, pair, config)
            assert row["answers"] == 1
            assert row["error"] >= pair.floor - 1e-9


def test_report_of_exact_and_of_wrong_answers(monkeypatch):
    """An oracle in the place of the network: all targets, the same target for every object, or one atom off."""
    config = small()
    pairs = load_pairs(config)
    pair, model = pairs.training[0], Distorter(pairs, config)
    images, strains = pair.images_y, pair.images_graph_y
    answers = [(images, strains), (images[:1].expand_as(images), strains), (images.clone(), strains + 0.5)]
    answers[2][0][3, 1] += torch.tensor([0.0, 0.3, 0.4])
    rows = []
    for answer in answers:
        monkeypatch.setattr("pyg_symbreak.training.model.answer_all", lambda *_, a=answer: a)
        rows.append(evaluate(model, pair, config))
    right, same, off = rows
    assert (right["targets"], right["answers"]) == (6, 6)
    assert max(right["error"], right["largest"], right["missed"], right["graph error"]) < 1e-9
    assert same["answers"] == 1
    assert same["error"] < 1e-9
    assert same["missed"] > 0.05
    assert off["largest"] == pytest.approx(0.5)
    assert off["error"] == pytest.approx(0.5 / 5**0.5)
    assert off["graph error"] == pytest.approx(0.5)
    assert off["graph spread"] < 1e-9


# ------------------------------------------------------------------ runs


def weights(folder: Path):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_breaks_the_symmetry_in_any_orientation(tmp_path):
    frames = rectangle([0.3, 0.2, 0.0])
    path = file_of_pairs(tmp_path / "pair.xyz", frames)
    config = Config.of({"dataset": path, "steps": 150, **SMALL, "object_degree": 2})
    metrics = run.train(config, tmp_path / "run")
    (row,) = metrics["runs"][0]["training"]
    assert row["targets"] == row["answers"] == 4
    assert row["largest"] < 0.01
    assert row["missed"] < 0.01
    assert row["curie"] > 0.05
    assert row["graph spread"] < 1e-9
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics
    assert (tmp_path / "run" / "seed-0" / "loss.png").stat().st_size > 5000
    lines = (tmp_path / "run" / "seed-0" / "curve.csv").read_text().splitlines()
    assert lines[0] == "step,loss,watched"
    assert len(lines) == 151
    turn = -Rotation.random(random_state=3).as_matrix()
    turned = replace(config, dataset=file_of_pairs(tmp_path / "turned.xyz", frames, turn))
    pairs = load_pairs(turned)
    model = Distorter(pairs, turned)
    model.load_state_dict({k.removeprefix("model."): v for k, v in weights(tmp_path / "run" / "seed-0").items()})
    row = evaluate(model, pairs.training[0], turned)
    assert row["answers"] == 4
    assert max(row["largest"], row["missed"]) < 0.01


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    config = small(strategy="noise", batch_size=2, check_every=2, steps=10)
    straight = run.train(config, tmp_path / "straight")
    step = run._Module.training_step

    def cut_off(self, batch):
        if self.trainer.global_step == 7:
            raise KeyError("power failure")
        return step(self, batch)

    monkeypatch.setattr(run._Module, "training_step", cut_off)
    with pytest.raises(KeyError, match="power failure"):
        run.train(config, tmp_path / "cut")
    monkeypatch.undo()
    assert not (tmp_path / "cut" / "metrics.json").exists()
    with pytest.raises(FileExistsError, match="holds a run already: resume it"):
        run.train(config, tmp_path / "cut")
    with pytest.raises(ValueError, match=r"lr is 0\.5, but 0\.01 in the run"):
        run.train(replace(config, lr=0.5), tmp_path / "cut", resume=True)
    assert run.train(config, tmp_path / "cut", resume=True) == straight
    for key, value in weights(tmp_path / "straight" / "seed-0").items():
        assert torch.equal(value, weights(tmp_path / "cut" / "seed-0")[key]), key
    curves = [(tmp_path / name / "seed-0" / "curve.csv").read_text() for name in ("straight", "cut")]
    assert curves[0] == curves[1]


def test_seeds_and_early_stop(tmp_path):
    config = small(seeds=[0, 1], held_out=["rhombohedral"], check_every=1, patience=2, lr=1e-9, steps=5)
    metrics = run.train(config, tmp_path / "run")
    first, second = metrics["runs"]
    assert first["loss"] != second["loss"]
    assert [row["name"] for row in first["held out"]] == ["rhombohedral"]
    assert [row["name"] for row in first["training"]] == ["tetragonal", "orthorhombic"]
    long = run.train(replace(config, lr=0.3, steps=40), tmp_path / "long")  # too fast: it does not keep falling
    assert min(r["steps"] for r in long["runs"]) < 40
    for r in long["runs"]:
        watched = [float(line.split(",")[2]) for line in curve(tmp_path / "long" / f"seed-{r['seed']}")]
        assert len(watched) == r["steps"]
        assert min(watched[-2:]) >= min(watched)
        assert int(np.argmin(watched)) == r["steps"] - 3  # two looks in vain, then the end


def curve(folder):
    return (folder / "curve.csv").read_text().splitlines()[1:]


TORCHRUN = """
import sys
import lightning, pyg_symbreak.training.run
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from pyg_symbreak.cli import app

def command(*words):
    app([*words], standalone_mode=False)

settings = {"start_method": "fork", "rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "monitor_interval": 0.1}
elastic_launch(LaunchConfig(1, 1, 2, **settings), command)(*sys.argv[1:])
"""
"""What ``torchrun --nproc-per-node=2 --standalone`` does, but the processes share their imports."""


@pytest.mark.parametrize("launcher", [["-c", TORCHRUN], ["-m", "pyg_symbreak.cli"]], ids=["torchrun", "devices"])
def test_two_processes_give_the_result_of_one(tmp_path, launcher):
    """Three pairs in a batch: one process counts two of them, the other one."""
    by_itself = launcher[0] == "-m"
    config = small(steps=3, strategy="noise", seeds=[0, 1] if by_itself else [0])
    run.train(config, tmp_path / "one")
    config = replace(config, devices=2, parallel="ddp") if by_itself else config
    config.write(tmp_path / "config.yaml")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(run.__file__).parents[2])}
    command = [sys.executable, *launcher, "train", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Metrics, curves and checkpoints") == 1
    start = Distorter(load_pairs(config), config).state_dict()
    for seed in (f"seed-{s}" for s in config.seeds):
        one, two = weights(tmp_path / "one" / seed), weights(tmp_path / "two" / seed)
        assert set(one) == set(two)
        for key in one:
            torch.testing.assert_close(one[key], two[key], rtol=0, atol=1e-9)
        assert any((one[f"model.{key}"] - value).abs().max() > 0.01 for key, value in start.items())
        rows, others = (
            [[float(x) for x in line.split(",")[:2]] for line in curve(tmp_path / name / seed)]
            for name in ("one", "two")
        )
        np.testing.assert_allclose(rows, others, rtol=0, atol=1e-9)


def test_more_processes_than_pairs_are_refused(monkeypatch):
    config = small("TriangularPrism", keep="nothing")
    module = run._Module(load_pairs(config), config, 0)
    module._trainer = type("Trainer", (), {"world_size": 2})()
    with pytest.raises(ValueError, match="2 processes cannot share batches of 1"):
        module.setup("fit")


def test_an_answer_for_each_object_and_each_draw():
    config = small("JahnTeller")
    methane = next(p for p in all_pairs(config) if p.name == "CH4+")
    pairs = load_pairs(config)
    y, energy = answer_all(Distorter(pairs, config), methane, config)
    assert (y.shape, energy.shape) == ((3, 5, 3), (3, 1))
    assert (energy - energy[0]).abs().max() < 1e-9
    noisy = small("JahnTeller", strategy="noise")
    methane = copy.copy(next(p for p in all_pairs(noisy) if p.name == "CH4+"))
    y, energy = answer_all(Distorter(load_pairs(noisy), noisy), methane, noisy)
    assert (y.shape, energy.shape) == ((32, 5, 3), (32, 1))


def pyramids(orientations):
    """Planar ammonia and the pyramid it becomes, turned, reflected and renumbered."""
    turns = 2 * np.pi * np.arange(3) / 3
    planar = np.array([(0, 0, 0), *((np.cos(a), np.sin(a), 0) for a in turns)])
    umbrella = np.array([[0, 0, 0.3], *[[0, 0, -0.1]] * 3])
    frames = []
    for number in range(orientations):
        turn = Rotation.random(random_state=number).as_matrix() * (-1) ** number
        order = np.random.default_rng(number).permutation(4)
        parent = Atoms("NH3", planar @ turn.T)[order]
        target = Atoms("NH3", (planar + umbrella) @ turn.T)[order]
        frames += [parent, target]
    return frames


def test_one_pair_in_eight_orientations_is_learned(tmp_path):
    """Labels of all orientations agree: what object 0 of each, one of two at random, could not be fitted to."""
    write(tmp_path / "pairs.xyz", pyramids(8), format="extxyz")
    config = Config.of({"dataset": str(tmp_path / "pairs.xyz"), "steps": 150, **SMALL})
    metrics = run.train(config, tmp_path / "run")["runs"][0]
    assert metrics["loss"] < 1e-4
    for row in metrics["training"]:
        assert (row["group"], row["keep"], row["targets"], row["answers"]) == ("D3h", "C3v", 2, 2)
        assert row["error"] < 0.01


def test_what_a_run_leaves_to_look_at(tmp_path, capsys):
    """Structures are the targets and the answers; the figure is there; the network that is loaded gives the same."""
    config = small(steps=3, held_out=["tetragonal"])
    run.train(config, tmp_path / "run")
    table = capsys.readouterr().err
    assert "S misses by" in table
    assert "tetragonal" in table
    model, pairs, loaded = run.load(tmp_path / "run")
    assert loaded == config
    frames = read(tmp_path / "run" / "seed-0" / "predicted.extxyz", ":")
    assert (tmp_path / "run" / "seed-0" / "predicted.png").read_bytes().startswith(b"\x89PNG")
    (pair,) = pairs.held_out
    own = [atoms for atoms in frames if atoms.info["name"] == "tetragonal"]
    assert [str(atoms.info["answer"]) for atoms in own] == ["target", *map(str, range(len(pair.objects)))]
    y, whole = answer_all(model, pair, config)
    reference = next(data for data in BaTiO3() if data.phase == "tetragonal")
    wanted = apply_distortion(reference, reference.y, reference.strain)
    np.testing.assert_allclose(own[0].positions, wanted.pos, atol=1e-5)
    np.testing.assert_allclose(own[0].cell, wanted.cell[0], atol=1e-5)
    for row, atoms in enumerate(own[1:]):
        stretch = np.eye(3) + irreps_to_strain(whole[row]).numpy()
        np.testing.assert_allclose(atoms.positions, (pair.data.pos.numpy() + y[row].numpy()) @ stretch, atol=1e-5)
    with pytest.raises(FileNotFoundError, match="not finished"):
        run.load(tmp_path / "run", seed=7)


def test_a_compiled_network_is_asked_for(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(GatedNetwork, "compile", lambda network: compiled.append(network))
    run.train(small(steps=1), tmp_path / "plain")
    assert not compiled
    run.train(small(steps=1, compile=True), tmp_path / "compiled")
    assert [type(network) for network in compiled] == [GatedNetwork]
