import pytest
import torch
from ase.build import molecule
from scipy.spatial.transform import Rotation

from pyg_symbreak.structures import from_ase, remove_rigid_motion


@pytest.mark.parametrize("name", ["H2O", "C6H6", "CH4", "CO2"])
def test_no_other_rotation_or_translation_is_better(name):
    generator = torch.Generator().manual_seed(0)
    pos = from_ase(molecule(name), torch.float64).pos
    u = 0.4 * torch.randn(5, *pos.shape, generator=generator, dtype=torch.float64)
    best = remove_rigid_motion(pos, u)
    torch.testing.assert_close(remove_rigid_motion(pos, best), best, rtol=0, atol=1e-8)
    for seed in range(50):
        rotation = Rotation.random(random_state=seed).as_rotvec() * 0.1
        turn = torch.from_numpy(Rotation.from_rotvec(rotation).as_matrix())
        for start in (u, best):
            moved = (pos + start) @ turn.T + 0.01 * seed - pos
            assert (moved.square().sum((1, 2)) >= best.square().sum((1, 2)) - 1e-9).all()
            torch.testing.assert_close(
                remove_rigid_motion(pos, moved).square().sum((1, 2)), best.square().sum((1, 2)), rtol=1e-6, atol=1e-8
            )
            distances = torch.cdist(pos + remove_rigid_motion(pos, moved), pos + remove_rigid_motion(pos, moved))
            torch.testing.assert_close(distances, torch.cdist(pos + u, pos + u), rtol=0, atol=1e-6)


def test_mirror_images_are_not_laid_on_each_other():
    pos = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], dtype=torch.float64)
    mirrored = pos * torch.tensor([1.0, 1, -1], dtype=torch.float64)
    assert remove_rigid_motion(pos, mirrored - pos).norm() > 0.5


def test_shapes():
    with pytest.raises(ValueError, match="pos has shape"):
        remove_rigid_motion(torch.zeros(4, 3), torch.zeros(2, 3, 3))
