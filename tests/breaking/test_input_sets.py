"""Sets that depend on the structure itself: ideal whatever its symmetry, moving with it, keeping what they should."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from symmetric_inputs import (
    CRYSTALS,
    GRAPHS,
    MOLECULES,
    data_of,
    graph_data,
    moved,
    quartz,
    random_motion,
    twisted_squares,
)

from pyg_symbreak.breaking import breaking_set, input_breaking_set
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices
from pyg_symbreak.testing import set_equivariance_error, uniformity_p_value

BAD = ("C3", "C4", "C3h", "S4")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", MOLECULES)
def test_full_set_of_every_molecule_is_ideal(name):
    data = data_of(MOLECULES[name]())
    found = input_breaking_set(data, symprec=0.01)
    order = found.group.order
    assert found.group.schoenflies == name
    assert found.ideal
    assert found.size == order == len(found.objects.round(decimals=6).unique(dim=0))
    moved_first = irreps_matrices(found.irreps, found.group.matrices) @ found.objects[0].numpy()
    distances = torch.cdist(torch.from_numpy(moved_first), found.objects, p=torch.inf)
    assert distances.amin(0).max() < 1e-9
    fixing = np.abs(moved_first - found.objects[0].numpy()).max(1) < 1e-3
    assert fixing.sum() == 1


@pytest.mark.parametrize("name", BAD)
def test_where_the_symmetry_alone_has_no_finite_set(name):
    group = detect_symmetry(data_of(MOLECULES[name]())).group
    assert breaking_set(group).size == float("inf")
    assert input_breaking_set(data_of(MOLECULES[name]())).size == group.order


@pytest.mark.parametrize("name", MOLECULES)
def test_the_set_moves_with_the_molecule(name):
    data = data_of(MOLECULES[name]())
    objects_of = lambda d: input_breaking_set(d, symprec=0.01).objects  # noqa: E731
    assert set_equivariance_error(objects_of, data, "0o+2x1o", trials=2, generator=generator()) < 1e-9


@pytest.mark.parametrize("name", CRYSTALS)
def test_the_set_moves_with_the_crystal(name):
    data = data_of(CRYSTALS[name][0]())
    found = input_breaking_set(data)
    assert found.size == found.group.order  # pure translations are not broken
    for seed in range(3):
        rotation, shift, order = random_motion(data, seed)
        wanted = found.objects @ torch.from_numpy(irreps_matrices(found.irreps, rotation[None].numpy())[0]).T
        others = input_breaking_set(moved(data, rotation, shift, order)).objects
        distances = torch.cdist(wanted, others, p=torch.inf)
        assert max(distances.amin(0).max(), distances.amin(1).max()) < 1e-9


def test_a_set_of_the_wrong_frame_does_not_move():
    """Frames from the first atoms of the list, or from the principal axes with any sign, do not pass."""
    data = data_of(MOLECULES["C3h"]())
    vector = torch.tensor([0.3, 0.5, 0.8]).double()

    def first_atoms(d):
        frame = torch.linalg.qr((d.pos[:3] - d.pos.mean(0)).T)[0]
        group = torch.from_numpy(detect_symmetry(d).group.matrices)
        return group @ frame @ vector

    def principal_axes(d):
        centered = d.pos - d.pos.mean(0)
        frame = torch.linalg.eigh(centered.T @ centered)[1]
        return torch.from_numpy(detect_symmetry(d).group.matrices) @ frame @ vector

    for wrong in (first_atoms, principal_axes):
        assert set_equivariance_error(wrong, data, "1o", trials=2, generator=generator()) > 0.05


PARTIAL = [
    ("C4", "C2"), ("C3h", "C3"), ("C3h", "Cs"), ("S4", "C2"), ("Td", "C3v"), ("Td", "D2d"), ("Td", "T"), ("D3h", "C3"),
    ("D6h", "D6"), ("D6h", "C6h"), ("C3v", "Cs"), ("D20", "C20"), ("O", "T"), ("I", "D3"), ("Ih", "Th"), ("Ih", "I"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "keep"), PARTIAL)
def test_partial_sets_keep_exactly_conjugates(name, keep):
    data = data_of(MOLECULES[name]())
    found = input_breaking_set(data, keep, symprec=0.01)
    group = found.group
    kept = group.subgroup(keep)
    assert found.size == group.order // kept.order
    assert len(found.objects.round(decimals=6).unique(dim=0)) == found.size
    matrices = irreps_matrices(found.irreps, group.matrices)
    for row in found.objects.numpy():
        stabilizer = PointGroup.from_matrices(group.matrices[np.abs(matrices @ row - row).max(1) < 1e-6])
        assert any(stabilizer == kept.rotated(m) for m in group.matrices)
    assert np.abs(irreps_matrices(found.irreps, found.stabilizer.matrices) @ found.objects[0].numpy()
                  - found.objects[0].numpy()).max() < 1e-9  # fmt: skip
    objects_of = lambda d: input_breaking_set(d, keep, symprec=0.01).objects  # noqa: E731
    assert set_equivariance_error(objects_of, data, found.irreps, trials=2, generator=generator()) < 1e-9


def test_a_label_that_the_normalizer_exchanges_means_the_same_in_every_frame():
    """D_4 has two classes of D_2 that a rotation by 45 degrees exchanges: the canonical form tells them apart."""
    data = data_of(twisted_squares())
    group = detect_symmetry(data).group
    for keep in [k for k in group.subgroups() if k.order in (2, 4)]:
        objects_of = lambda d, label=keep.label: input_breaking_set(d, label).objects  # noqa: E731
        irreps = input_breaking_set(data, keep.label).irreps
        assert set_equivariance_error(objects_of, data, irreps, trials=3, generator=generator()) < 1e-9


def test_a_subgroup_given_by_its_matrices():
    """All conjugates of K stand for one class, and another class is another set."""
    data = data_of(twisted_squares())
    group = detect_symmetry(data).group
    keep = next(k for k in group.subgroups() if k.schoenflies == "D2")
    first = input_breaking_set(data, keep)
    again = input_breaking_set(data, keep.rotated(group.matrices[3]))
    assert torch.cdist(first.objects, again.objects, p=torch.inf).amin(1).max() < 1e-9
    with pytest.raises(ValueError, match="not a subgroup"):
        input_breaking_set(data, PointGroup("Oh"))


@pytest.mark.parametrize("keep", ["C4v", "C3v", "D4h", "Th"])
def test_crystal_to_subgroup(keep):
    data = data_of(bulk("CsCl", "cesiumchloride", a=4.1))
    found = input_breaking_set(data, keep)
    assert found.size == 48 // PointGroup(keep).order
    assert set(found.objects.round(decimals=6).unique(dim=0).shape) == {found.size, found.irreps.dim}


def test_irreps():
    data = data_of(MOLECULES["C4"]())
    assert str(input_breaking_set(data, irreps="1o").irreps) == "1x1o"
    assert input_breaking_set(data, "C2").irreps.lmax == 2  # a vector that C2 keeps is kept by C4
    with pytest.raises(ValueError, match=r"no vector of irreps=1o is fixed by C2 and by nothing else"):
        input_breaking_set(data, "C2", irreps="1o")
    with pytest.raises(ValueError, match="no vector of irreps=0e"):
        input_breaking_set(data, irreps="0e")
    with pytest.raises(ValueError, match="no subgroup"):
        input_breaking_set(data, "C3")
    for length in input_breaking_set(data, irreps="0o+1o+2e").objects.split([1, 3, 5], 1):
        assert torch.allclose(length.norm(dim=1), torch.ones(4).double())


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_uniform(seed):
    found = input_breaking_set(data_of(MOLECULES["C3h"]()))
    assert uniformity_p_value(found.sample(10_000, generator(seed)), found.objects) > 0.01


def test_a_supercell_is_broken_as_its_cell():
    """Its pure translations are left alone: as many objects as rotations."""
    assert input_breaking_set(data_of(quartz().repeat((1, 1, 2)))).size == 6


def test_graphs_have_no_sets_of_irreps():
    with pytest.raises(ValueError, match="no positions"):
        input_breaking_set(graph_data(GRAPHS["cycle"][0]))
