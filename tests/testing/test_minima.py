"""The score of predicted minima: nearest images, the bound of unbroken answers, symmetry and order."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation
from testing_models import randn

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.losses import symmetrize
from pyg_symbreak.structures import from_ase, remove_rigid_motion
from pyg_symbreak.testing import score_minima

ETHANE = Atoms(
    "CCH6",
    [[0, 0, 0.77], [0, 0, -0.77]]
    + [[np.cos(2 * np.pi * k / 3), np.sin(2 * np.pi * k / 3), z] for z in (1.2, -1.2) for k in range(3)],
)
LINE = Atoms("NCCN", [[0, 0, -1.85], [0, 0, -0.69], [0, 0, 0.69], [0, 0, 1.85]])


def turned(atoms, seed):
    """In a random orientation, with the matrix of it."""
    rotation = Rotation.random(random_state=seed).as_matrix()
    out = atoms.copy()
    out.positions = out.positions @ rotation.T
    return from_ase(out, torch.float64), torch.from_numpy(rotation)


@pytest.mark.parametrize("seed", range(3))
def test_images_of_a_minimum_are_as_good_as_the_minimum(seed):
    data, _ = turned(ETHANE, seed)
    symmetry = detect_symmetry(data)
    minima = remove_rigid_motion(data.pos, 0.3 * randn(2, 8, 3, seed=seed))
    images = torch.empty(len(symmetry.rotations), 2, 8, 3, dtype=torch.float64)
    for image, rotation, permutation in zip(images, symmetry.rotations, symmetry.permutations, strict=True):
        image[:, permutation] = minima @ rotation.T
    score = score_minima(data, images.flatten(0, 1), minima)
    assert len(symmetry.rotations) == 12
    assert score.errors.max() < 1e-9
    assert score.nearest.tolist() == [0, 1] * 12
    assert score.found() == 1
    assert score.wanted == ["C1", "C1"]
    assert score.right_symmetry == 1
    off = score_minima(data, minima[:1] + 0.1 * randn(1, 8, 3, seed=9), minima)
    assert 0.01 < off.errors.item() < 0.2
    assert off.found(0.01) == 0


@pytest.mark.parametrize("atoms", [ETHANE, molecule("BF3"), molecule("C6H6"), LINE], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_unbroken_answers_stay_above_the_bound_and_the_average_reaches_it(atoms, seed):
    data, _ = turned(atoms, seed)
    symmetry = detect_symmetry(data, 1e-2)
    minima = 0.3 * randn(3, len(atoms), 3, seed=seed)
    rotations, permutations = symmetry.rotations, symmetry.permutations
    if symmetry.continuous is not None:  # of a line only what lies along it is kept
        axis = torch.from_numpy(symmetry.kernel.axis.copy())
        rotations = rotations @ torch.outer(axis, axis)
    aligned = remove_rigid_motion(data.pos, minima)
    best = torch.stack([symmetrize(y, rotations, permutations) for y in aligned])
    other = torch.stack([symmetrize(y, rotations, permutations) for y in 2 * randn(20, len(atoms), 3, seed=5)])
    score = score_minima(data, torch.cat([best, other]), minima, symprec=1e-2)
    assert (score.distances >= score.bounds - 1e-6).all()
    torch.testing.assert_close(score.distances[:3].diagonal(), score.bounds, atol=1e-4, rtol=0)
    assert set(score.kept) == {symmetry.group.schoenflies}
    broken = score_minima(data, aligned, minima, symprec=1e-2)
    assert (broken.distances.diagonal() < 1e-6).all()  # a broken answer is below
    assert broken.bound > 0.1


def test_translation_and_rotation_do_not_count():
    data, rotation = turned(ETHANE, 1)
    y = remove_rigid_motion(data.pos, 0.3 * randn(1, 8, 3, seed=1))
    moved = (data.pos + y) @ rotation.T + 5 - data.pos
    assert score_minima(data, moved, y).errors.max() < 1e-9
    assert score_minima(data, y + 0.1 * data.pos, y).errors.min() > 0.05


def test_images_of_a_line_are_turned_by_the_best_angle():
    """Compared with the best of many angles."""
    data, rotation = turned(LINE, 2)
    axis = rotation[:, 2].numpy()
    answer, minimum = remove_rigid_motion(data.pos, 0.3 * randn(2, 4, 3, seed=3))
    best = np.inf
    for angle in np.linspace(0, 2 * np.pi, 2000):
        about = torch.from_numpy(Rotation.from_rotvec(angle * axis).as_matrix())
        mirror = torch.eye(3) - 2 * torch.outer(rotation[:, 0], rotation[:, 0])
        for operation, order in ((about, [0, 1, 2, 3]), (-about, [3, 2, 1, 0])):
            for kind in (torch.eye(3).double(), mirror):
                best = min(best, (answer - (minimum @ kind.T @ operation.T)[order]).square().mean().item() * 3)
    score = score_minima(data, answer[None], minimum[None])
    assert score.errors.item() == pytest.approx(best**0.5, abs=1e-5)


def test_order_of_the_energies():
    data, _ = turned(ETHANE, 0)
    minima = 0.3 * randn(3, 8, 3, seed=0)
    true = torch.tensor([-0.3, -0.2, -0.2002])

    def order(*energies):
        return score_minima(data, minima, minima, torch.tensor(energies), true).order

    assert order(-0.3, -0.2, -0.2) == 1  # the two that are nearly equal do not count
    assert order(-0.1, -0.2, -0.05) == 0.5
    assert order(0.0, -0.2, -0.1) == 0
    assert score_minima(data, minima, minima).order is None
    assert score_minima(data, minima[:1], minima[:1], torch.zeros(1), torch.zeros(1)).order is None


def test_bad_input():
    data, _ = turned(ETHANE, 0)
    good = torch.zeros(1, 8, 3)
    with pytest.raises(ValueError, match="the answers have shape"):
        score_minima(data, good[:, :7], good)
    with pytest.raises(ValueError, match="the minima have shape"):
        score_minima(data, good, good[:0])
    with pytest.raises(ValueError, match="the energies have shapes"):
        score_minima(data, good, good, torch.zeros(2), torch.zeros(1))
    with pytest.raises(ValueError, match="single atom"):
        score_minima(from_ase(Atoms("N")), torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))
    with pytest.raises(ValueError, match="pos has shape"):
        remove_rigid_motion(data.pos, good[0, :7])
