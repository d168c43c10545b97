from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from pyg_symbreak.datasets import BaTiO3, TriangularPrism
from pyg_symbreak.losses import (
    CrystalMismatch,
    curie_residual,
    orbit_loss,
    pad_candidates,
    paired_loss,
    symmetrize,
)
from pyg_symbreak.structures import apply_distortion, from_ase, to_ase


@pytest.fixture(autouse=True)
def _seeded(double):
    torch.manual_seed(0)


def cube_group():
    return torch.from_numpy(np.concatenate([s * Rotation.create_group("O").as_matrix() for s in (1, -1)]))


def cube_permutations(data, group):
    """Where each operation sends each atom of the cubic cell, up to lattice vectors, found by trial.

    Barium (corner), titanium (centre) and the oxygen atoms sit on halves of the lattice vectors.
    """
    frac = data.pos / 4
    moved = torch.einsum("sij,nj->sni", group, frac)
    offset = moved[:, :, None] - frac[None, None]
    return ((offset - offset.round()).norm(dim=-1) < 1e-6).long().argmax(dim=-1)


# Paired and orbit losses


def test_paired_loss():
    prediction, target = torch.randn(5, 3), torch.randn(5, 3)
    expected = sum((prediction[i, k] - target[i, k]) ** 2 for i in range(5) for k in range(3)) / 15
    torch.testing.assert_close(paired_loss(prediction, target), expected)
    with pytest.raises(ValueError, match=r"shape \[5, 3\], the target \[1, 5, 3\]"):
        paired_loss(prediction, target[None])


def test_orbit_loss_is_the_nearest_candidate():
    prediction, candidates = torch.randn(5, 3), torch.randn(5, 4, 3)
    losses = torch.stack([paired_loss(prediction, candidates[:, t]) for t in range(4)])
    loss, index = orbit_loss(prediction, candidates, return_index=True)
    torch.testing.assert_close(loss, losses.min())
    assert index.tolist() == [losses.argmin()]
    assert torch.equal(orbit_loss(prediction, candidates), loss)
    torch.testing.assert_close(orbit_loss(prediction, candidates[:, :1]), losses[0])


def test_orbit_loss_chooses_for_the_graph_not_for_the_node():
    """Each node alone is at a candidate, but of different orbits: the loss is not zero."""
    candidates = torch.tensor([[[0.0], [2.0]], [[0.0], [2.0]]])
    assert orbit_loss(torch.tensor([[0.0], [2.0]]), candidates) == 2.0
    assert orbit_loss(torch.tensor([[2.0], [2.0]]), candidates) == 0.0


def test_orbit_loss_gradient():
    prediction = torch.randn(5, 3, requires_grad=True)
    candidates = torch.randn(5, 4, 3, requires_grad=True)
    batch = torch.tensor([0, 0, 1, 1, 1])
    assert torch.autograd.gradcheck(lambda p, c: orbit_loss(p, c, batch), (prediction, candidates))


def test_orbit_loss_in_a_batch_of_unequal_graphs():
    sizes, counts = (2, 3, 1), (1, 4, 2)
    predictions = [torch.randn(n, 3) for n in sizes]
    candidates = [torch.randn(n, t, 3) for n, t in zip(sizes, counts, strict=True)]
    single = [orbit_loss(p, c, return_index=True) for p, c in zip(predictions, candidates, strict=True)]
    graphs = [Data(pos=p, candidates=pad_candidates(c, 4)) for p, c in zip(predictions, candidates, strict=True)]
    batch = next(iter(DataLoader(graphs, batch_size=3)))
    loss, index = orbit_loss(batch.pos, batch.candidates, batch.batch, return_index=True)
    torch.testing.assert_close(loss, torch.stack([one for one, _ in single]).mean())
    assert index.tolist() == [i.item() for _, i in single]


def test_orbit_loss_of_graph_outputs():
    """The prism: any vertex is right, the mean of the vertices is not."""
    batch = Batch.from_data_list([TriangularPrism()[0]] * 2)
    loss, index = orbit_loss(batch.y[:, 4] + 0.01, batch.y, torch.arange(2), return_index=True)
    assert index.tolist() == [4, 4]
    torch.testing.assert_close(loss, torch.tensor(1e-4))
    assert orbit_loss(torch.zeros(2, 3), batch.y, torch.arange(2)) == pytest.approx(2 / 3)  # |vertex|² = 2


def test_orbit_loss_is_invariant_under_the_group_of_the_orbit():
    group = cube_group()
    y = torch.randn(1, 3)
    candidates = torch.einsum("sij,nj->nsi", group, y)
    prediction = torch.randn(1, 3)
    reference = orbit_loss(prediction, candidates)
    for g in group:
        torch.testing.assert_close(orbit_loss(prediction @ g.T, candidates), reference, rtol=0, atol=1e-14)


def test_loss_shapes_are_checked():
    with pytest.raises(ValueError, match=r"prediction has shape \[5, 3\], the candidates \[4, 5, 3\]"):
        orbit_loss(torch.zeros(5, 3), torch.zeros(4, 5, 3))
    for count, size in ((3, 2), (0, 2)):
        with pytest.raises(ValueError, match=f"{count} candidates cannot be padded to {size}"):
            pad_candidates(torch.zeros(5, count, 3), size)


# Curie residual


def test_curie_residual_by_hand():
    """Two nodes on the x axis, inversion swaps them: only the odd part of the target survives."""
    group = torch.stack([torch.eye(3), -torch.eye(3)])
    permutations = torch.tensor([[0, 1], [1, 0]])
    target = torch.tensor([[1.0, 2, 0], [3, 2, 0]])
    average = torch.tensor([[-1.0, 0, 0], [1, 0, 0]])  # (y_0 - y_1) / 2 and its opposite
    assert torch.equal(symmetrize(target, group, permutations), average)
    assert curie_residual(target, group, permutations) == 4 + 4 + 4 + 4
    assert curie_residual(average, group, permutations) == 0


def test_symmetrize_moves_nodes_the_right_way():
    """A threefold rotation that sends 0 to 1 to 2: the average of an arrow at node 0 turns with the nodes."""
    c3 = torch.from_numpy(Rotation.from_euler("z", 120, degrees=True).as_matrix())
    group = torch.stack([torch.eye(3), c3, c3 @ c3])
    permutations = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    target = torch.zeros(3, 3)
    target[0] = torch.tensor([3.0, 0, 3])
    arrow = torch.tensor([1.0, 0, 1])
    expected = torch.stack([arrow, c3 @ arrow, c3 @ c3 @ arrow])
    torch.testing.assert_close(symmetrize(target, group, permutations), expected)


def test_symmetrize_is_the_projection_on_what_the_group_fixes():
    data = BaTiO3()[0]
    group = cube_group()
    # a subgroup under which not all vectors average to zero: keeps the z axis
    keep = (group[:, 2, 2] > 0.9).nonzero().flatten()
    group = group[keep]
    assert len(group) == 8
    permutations = cube_permutations(data, group)
    target = torch.randn(5, 3)
    average = symmetrize(target, group, permutations)
    for g, permutation in zip(group, permutations, strict=True):
        moved = torch.empty(5, 3)
        moved[permutation] = average @ g.T
        torch.testing.assert_close(moved, average, rtol=0, atol=1e-14)
    torch.testing.assert_close(symmetrize(average, group, permutations), average, rtol=0, atol=1e-14)
    # nearest: the residual is orthogonal to every fixed vector
    other = symmetrize(torch.randn(5, 3), group, permutations)
    assert other.norm() > 0.1
    assert ((target - average) * other).sum().abs() < 1e-14


def test_curie_residual_of_the_phases():
    """Under O_h no atom may move, so the residual is all of the target; under its own group a target costs nothing."""
    group = cube_group()
    for data in BaTiO3():
        permutations = cube_permutations(data, group)
        assert torch.equal(permutations.sort().values, torch.arange(5).expand(48, 5))
        torch.testing.assert_close(curie_residual(data.y, group, permutations), data.y.square().sum())
        moved = torch.zeros(48, 5, 3).scatter(1, permutations[..., None].expand(-1, -1, 3), data.y @ group.mT)
        own = (moved - data.y).abs().amax(dim=(1, 2)) < 1e-9
        assert own.sum() == {"cubic": 48, "tetragonal": 8, "orthorhombic": 4, "rhombohedral": 6}[data.phase]
        assert curie_residual(data.y, group[own], permutations[own]) < 1e-25


def test_curie_residual_of_the_strain():
    """A graph target: the cube leaves of a strain its mean diagonal."""
    strain = torch.diag(torch.tensor([-0.01, -0.01, 0.05]))
    group = cube_group()
    matrices = torch.einsum("sij,skl->sikjl", group, group).reshape(48, 9, 9)
    residual = curie_residual(strain.reshape(1, 9), matrices, torch.zeros(48, 1, dtype=torch.long))
    torch.testing.assert_close(residual, torch.tensor(0.02**2 + 0.02**2 + 0.04**2))


def test_curie_residual_bad_shapes():
    with pytest.raises(ValueError, match=r"needs matrices \[\|S\|, 3, 3\] and permutations \[\|S\|, 5\]"):
        curie_residual(torch.zeros(5, 3), torch.eye(3), torch.zeros(1, 5, dtype=torch.long))
    with pytest.raises(ValueError, match="they have shapes"):
        curie_residual(torch.zeros(5, 3), torch.eye(3)[None], torch.zeros(2, 5, dtype=torch.long))
    with pytest.raises(ValueError, match="they have shapes"):
        curie_residual(torch.zeros(5, 3), torch.zeros(0, 3, 3), torch.zeros(0, 5, dtype=torch.long))


# Crystal mismatch


def paper_pair():
    data = BaTiO3(name="paper")[0]
    return data, apply_distortion(data, data.y)


def test_mismatch_of_the_paper_pair():
    """From the printed coordinates in exact fractions: Σ over ordered pairs of (Δz_b - Δz_a)², times 4 Å squared."""
    shifts = [Fraction(s, 10**6) for s in (82541, 100043, 64221, 64221, 48972)]
    exact = 16 * sum((b - a) ** 2 for a, b in product(shifts, repeat=2))
    assert round(float(exact), 6) == 0.247814
    parent, target = paper_pair()
    loss = CrystalMismatch(parent, target)
    assert loss(parent.pos).item() == pytest.approx(float(exact), abs=1e-14)
    assert loss(target.pos + torch.randn(3)) < 1e-27


def test_mismatch_is_the_curie_residual_of_the_paper_pair():
    parent, target = paper_pair()
    group = cube_group()
    floor = 2 * 5 * curie_residual(parent.y, group, cube_permutations(parent, group))
    torch.testing.assert_close(CrystalMismatch(parent, target)(parent.pos), floor, rtol=0, atol=1e-14)


def test_mismatch_formula_for_equal_cells():
    parent, target = paper_pair()
    u = torch.randn(7, 5, 3)
    difference = u - u.mean(1, keepdim=True) - parent.y
    expected = 2 * 5 * difference.square().sum((1, 2))
    torch.testing.assert_close(CrystalMismatch(parent, target)(parent.pos + u), expected)


def random_pair(seed):
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * 4 + rng.normal(size=(3, 3)) * 0.5
    cell[1] += 2 * cell[0]  # a skewed basis: the nearest images are beyond the neighbour cells
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    sites += rng.integers(-3, 4, (5, 3))
    parent = Atoms("BaTiO3", positions=sites @ cell, cell=cell, pbc=True)
    e = rng.normal(size=(3, 3)) * 0.01
    data = from_ase(parent)
    target = apply_distortion(data, torch.from_numpy(rng.normal(size=(5, 3)) * 0.05), torch.from_numpy(e + e.T)[None])
    return data, target


@pytest.mark.parametrize("seed", range(4))
def test_mismatch_against_a_plain_sum(seed):
    """All images within ten cells, one by one; the prediction has a cell of its own."""
    parent, target = random_pair(seed)
    pos, cell = parent.pos + 0.1 * torch.randn(5, 3), parent.cell[0] + 0.1 * torch.randn(3, 3)
    images = torch.tensor(list(product(range(-10, 11), repeat=3)), dtype=torch.float64)
    expected = torch.zeros(())
    for a, b in product(range(5), repeat=2):
        if a == b:
            continue
        lengths = (parent.pos[b] - parent.pos[a] + images @ parent.cell[0]).norm(dim=1)
        near = images[lengths < lengths.min() + 1e-6]
        mine = pos[b] - pos[a] + near @ cell
        theirs = target.pos[b] - target.pos[a] + near @ target.cell[0]
        expected = expected + (mine - theirs).square().sum(1).mean()
    torch.testing.assert_close(CrystalMismatch(parent, target)(pos, cell), expected)


def test_mismatch_ignores_how_the_target_is_given():
    """Rotated, permuted, shifted, with other images of its atoms."""
    parent, target = random_pair(0)
    rng = np.random.default_rng(1)
    atoms = to_ase(target)
    atoms.positions += rng.integers(-2, 3, (5, 3)) @ atoms.cell.array + rng.normal(size=3)
    rotation = Rotation.random(random_state=0).as_matrix()
    atoms.set_cell(atoms.cell.array @ rotation.T)
    atoms.positions = atoms.positions @ rotation.T
    other = CrystalMismatch(to_ase(parent), atoms[rng.permutation(5)])
    pos, cell = parent.pos + torch.randn(5, 3), parent.cell[0] + torch.randn(3, 3)
    torch.testing.assert_close(other(pos, cell), CrystalMismatch(parent, target)(pos, cell), rtol=1e-12, atol=1e-12)


def test_mismatch_is_invariant_under_joint_rotations():
    parent, target = random_pair(2)
    pos, cell = parent.pos + torch.randn(5, 3), parent.cell[0] + torch.randn(3, 3)
    reference = CrystalMismatch(parent, target)(pos, cell)
    r = -torch.from_numpy(Rotation.random(random_state=1).as_matrix())
    for data in (parent, target):
        data.pos, data.cell = data.pos @ r.T, data.cell @ r.T
    torch.testing.assert_close(CrystalMismatch(parent, target)(pos @ r.T, cell @ r.T), reference, rtol=1e-12, atol=0)


def test_mismatch_keeps_the_symmetry_of_a_strained_target():
    """The images of a prediction under the target's own symmetry cost the same; images outside it do not."""
    data = BaTiO3()[1]
    loss = CrystalMismatch(data, apply_distortion(data, data.y, data.strain))
    group = cube_group()
    permutations = cube_permutations(data, group)
    u, e = 0.1 * torch.randn(5, 3), 0.01 * torch.randn(3, 3)
    e = e + e.T
    reference = apply_distortion(data, u, e[None])
    reference = loss(reference.pos, reference.cell[0])
    same = []
    for g, permutation in zip(group, permutations, strict=True):
        moved = torch.empty(5, 3)
        moved[permutation] = u @ g.T
        image = apply_distortion(data, moved, (g @ e @ g.T)[None])
        same.append(abs(loss(image.pos, image.cell[0]) - reference) < 1e-12)
    assert [bool(s) for s in same] == [bool(g[2, 2] > 0.9) for g in group]


def test_mismatch_gradient_and_leading_dimensions():
    parent, target = random_pair(3)
    loss = CrystalMismatch(parent, target)
    pos = (parent.pos + 0.1 * torch.randn(2, 5, 3)).requires_grad_()
    cell = (parent.cell + 0.1 * torch.randn(2, 3, 3)).requires_grad_()
    assert loss(pos, cell).shape == (2,)
    torch.testing.assert_close(loss(pos, cell)[1], loss(pos[1], cell[1]))
    assert torch.autograd.gradcheck(loss, (pos, cell))
    assert torch.autograd.gradgradcheck(loss, (pos, cell))
    (gradient,) = torch.autograd.grad(loss(pos, cell).sum(), pos)
    torch.testing.assert_close(gradient.sum(1), torch.zeros(2, 3), rtol=0, atol=1e-12)  # no force on the origin


def test_mismatch_of_molecules():
    water = from_ase(molecule("H2O"))
    u = 0.1 * torch.randn(3, 3)
    loss = CrystalMismatch(water, apply_distortion(water, u))
    torch.testing.assert_close(loss(water.pos), 2 * 3 * (u - u.mean(0)).square().sum())


def test_mismatch_as_a_module():
    parent, target = paper_pair()
    loss = CrystalMismatch(parent, target)
    assert repr(loss) == "CrystalMismatch(num_atoms=5)"
    single = loss.float()(parent.pos.float())
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(0.247814, abs=1e-5)
    with pytest.raises(ValueError, match=r"must be \[\.\.\., 5, 3\]"):
        loss(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="same atoms"):
        CrystalMismatch(parent, from_ase(molecule("H2O")))


def test_crystal_mismatch_in_double_is_exact():
    """Made with float32 as the default, its numbers are still those of float64."""
    a, b = bulk("CsCl", "cesiumchloride", a=4.123456789), bulk("CsCl", "cesiumchloride", a=4.123456789)
    b.positions[1] += [0.01234567891, 0, 0]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        loss = CrystalMismatch(a, b).double()
    finally:
        torch.set_default_dtype(before)
    found = loss(torch.from_numpy(a.positions))
    assert float(found) == pytest.approx(2 * 0.01234567891**2, rel=1e-12)
    assert loss(torch.from_numpy(a.positions).float()).dtype == torch.float32


def test_symmetrize_takes_a_target_on_another_device():
    permutations = torch.zeros(48, 1, dtype=torch.long)
    assert symmetrize(torch.zeros(1, 3, device="meta"), cube_group(), permutations).device.type == "meta"
