"""The prism: what the example claims, run through its own functions and checked with explicit rotations."""

import json

import numpy as np
import pytest
import torch
from ase.io import read
from scipy.spatial.transform import Rotation

from pyg_symbreak.datasets import TriangularPrism

EXAMPLE = "triangular_prism"


def images(objects: torch.Tensor, group: str) -> torch.Tensor:
    """Distances [order, n, n] from the images of objects made of vectors to the objects; twofold axis along x."""
    rotations = torch.from_numpy(Rotation.create_group(group).as_matrix())
    vectors = objects.view(len(objects), -1, 3)
    moved = torch.einsum("gij,nkj->gnki", rotations, vectors).flatten(2)
    return torch.cdist(moved, objects.expand(len(rotations), -1, -1))


def test_symmetry_with_the_mark_is_d3(example):
    group = example.symmetry_of(TriangularPrism()[0])
    assert group.schoenflies == "D3"
    assert group.normalizer("SO3").schoenflies == "D6"


@pytest.mark.parametrize(("name", "closed_under_d6"), [("ideal_objects", True), ("naive_objects", False)])
def test_both_sets_are_one_free_orbit_of_d3_but_only_one_is_equivariant(example, name, closed_under_d6):
    objects = getattr(example, name)(example.symmetry_of(TriangularPrism()[0]))
    assert len(objects) == 6
    hits = images(objects, "D3") < 1e-9
    assert (hits.sum(2) == 1).all()  # closed
    assert (hits.sum(0) == 1).all()  # free and transitive: one rotation from each object to each
    assert bool((images(objects, "D6").amin(2) < 1e-9).all()) == closed_under_d6


def test_example(example, tmp_path):
    example.main(out=tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["Curie bound"] == pytest.approx(2.0)  # the six vertices average to zero, and |vertex|² = 2
    assert metrics["without object"] == pytest.approx(2.0)
    ideal, naive, repaired = metrics["sets"]
    assert (ideal["pairs"], naive["pairs"], repaired["pairs"]) == (1, 1, 2)
    assert ideal["largest miss"] < 1e-3
    assert repaired["largest miss"] < 1e-3
    assert naive["largest miss"] > 0.3
    assert naive["squared error"] < 1e-6  # it did learn its own pair
    assert [row["orientations right"] for row in metrics["sets"]] == [12, 6, 12]
    frames = read(tmp_path / "answers.extxyz", index=":")
    for name, hit in (("ideal", True), ("ideal, turned", True), ("not equivariant, turned", False)):
        chosen = [atoms for atoms in frames if atoms.info["set"] == name]
        assert len(chosen) == 6
        answers = np.array([atoms.info["answer"] for atoms in chosen])
        distances = np.linalg.norm(answers[:, None] - chosen[0].positions, axis=2)
        if hit:
            assert sorted(distances.argmin(1)) == list(range(6))
            assert distances.min(1).max() < 1e-3
        else:
            assert distances.min() > 0.3
    assert (tmp_path / "triangular_prism.png").stat().st_size > 10_000


def test_ideal_set_in_any_orientation_and_for_the_mirror_image(example):
    prism = TriangularPrism()[0]
    objects = example.ideal_objects(example.symmetry_of(prism))
    model, _ = example.train("ideal set", [prism], objects[:1], 150, 1)
    for seed in range(4):
        rotation = torch.from_numpy(Rotation.random(random_state=seed).as_matrix()) * (-1) ** seed
        other = example.turned(prism, rotation)
        other.x = prism.x * (-1) ** seed
        found = example.answer(model, [other] * 6, example.ideal_objects(example.symmetry_of(other)))
        distances = torch.cdist(found, other.pos)
        assert distances.amin(1).max() < 1e-3
        assert sorted(distances.argmin(1).tolist()) == list(range(6))
