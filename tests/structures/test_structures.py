from itertools import permutations, product

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from e3nn import o3
from e3nn.io import CartesianTensor
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch, Data

from pyg_symbreak.structures import (
    apply_distortion,
    check_structure,
    from_ase,
    irreps_to_strain,
    match_atoms,
    neighbor_pairs,
    read_structure,
    strain_to_irreps,
    to_ase,
)


def random_crystal(rng, symbols="BaTiO3"):
    """A triclinic crystal without symmetry whose atoms are at least 1.5 Å apart; half of them left-handed."""
    while True:
        cell = np.eye(3) * 5 + rng.normal(size=(3, 3))
        cell = cell[rng.permutation(3)]
        atoms = Atoms(symbols, scaled_positions=rng.random((5, 3)), cell=cell, pbc=True)
        if len(neighbor_pairs(atoms, 1.5)[0]) == 0:
            return atoms


def random_distortion(rng, n, amplitude=0.1, strain=0.02):
    u = rng.normal(size=(n, 3)) * amplitude
    e = rng.normal(size=(3, 3)) * strain
    return torch.from_numpy(u - u.mean(axis=0)), torch.from_numpy((e + e.T) / 2)


def disguise(rng, atoms, rotation=None):
    """Permute atoms, move the origin, take other images, rotate; returns the disguised Atoms and the permutation."""
    rotation = np.eye(3) if rotation is None else rotation
    perm = rng.permutation(len(atoms))
    out = atoms.copy()
    images = rng.integers(-2, 3, (len(atoms), 3)) if atoms.pbc.all() else np.zeros((len(atoms), 3))
    positions = atoms.positions + images @ atoms.cell.array + rng.normal(size=3) * 3
    out.set_cell(atoms.cell.array @ rotation.T)
    out.positions = positions @ rotation.T
    return out[perm], perm


# Reading and checking


def test_read_structure(tmp_path):
    crystal = bulk("NaCl", "rocksalt", 5.6)
    for name in ("a.cif", "a.extxyz", "POSCAR"):
        ase.io.write(tmp_path / name, crystal)
        atoms = read_structure(tmp_path / name)
        assert sorted(atoms.numbers) == [11, 17]
        assert atoms.pbc.all()
    ase.io.write(tmp_path / "m.xyz", [molecule("H2O"), molecule("CH4")])
    assert len(read_structure(str(tmp_path / "m.xyz"))) == 5  # the last frame


def test_read_structure_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.cif: no such file"):
        read_structure(tmp_path / "nowhere.cif")
    (tmp_path / "noise.cif").write_text("not a structure\n")
    with pytest.raises(ValueError, match=r"noise\.cif: "):
        read_structure(tmp_path / "noise.cif")
    (tmp_path / "noise.what").write_text("not a structure\n")
    with pytest.raises(ValueError, match=r"noise\.what: ASE cannot read this file \(UnknownFileType"):
        read_structure(tmp_path / "noise.what")
    (tmp_path / "empty.xyz").write_text("0\n\n")
    with pytest.raises(ValueError, match=r"empty\.xyz: .*no atoms|empty\.xyz: ASE cannot read"):
        read_structure(tmp_path / "empty.xyz")


H2 = Atoms("H2", [[0, 0, 0], [0, 0, 0.7]])


def with_positions(positions, **kwargs):
    return Atoms(f"H{len(positions)}", positions=positions, **kwargs)


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (Data(z=torch.tensor([1])), "has no positions"),
        (Data(), "has no positions"),
        (Data(pos=torch.zeros(0, 3)), "has no atoms"),
        (Atoms(), "has no atoms"),
        (Data(pos=torch.zeros(2, 2)), r"data.pos has shape \[2, 2\]"),
        (Data(pos=torch.eye(3), z=torch.ones(2).long()), r"data.z has shape \[2\]; 3 positions need \[3\]"),
        (with_positions([[0, 0, 0], [0, np.nan, 1]]), "position of atom 1 is .*nan.* must be finite"),
        (with_positions([[np.inf, 0, 0]]), "position of atom 0"),
        (with_positions([[0, 0, 0]], cell=np.full((3, 3), np.nan), pbc=True), "cell is not finite"),
        (with_positions([[0, 0, 0]], pbc=True), "no volume"),
        (with_positions([[0, 0, 0]], cell=[[1, 0, 0], [0, 1, 0], [1, 1, 0]], pbc=True), "no volume"),
        (with_positions([[0, 0, 0]], cell=[[1, 0, 0], [2, 0, 0], [0, 0, 0]], pbc=[1, 1, 0]), "no volume"),
        (
            with_positions([[0, 0, 0], [5, 0, 0], [5, 0, 0.002]]),
            r"atoms 1 \(H\) and 2 \(H\) coincide: they are 0.002 Å apart",
        ),
        (
            Atoms("HLi", [[0.001, 1, 1], [3.999, 1, 1]], cell=np.eye(3) * 4, pbc=True),
            r"atoms 0 \(H\) and 1 \(Li\) \(its image \[-1, 0, 0\]\) coincide: they are 0.002 Å apart",
        ),
    ],
)
def test_check_structure_refuses(structure, message):
    with pytest.raises(ValueError, match=message):
        check_structure(structure)


def test_check_structure_accepts():
    check_structure(H2)
    check_structure(with_positions([[0, 0, 0]]))
    check_structure(with_positions([[0, 0, 0]], cell=[[2, 0, 0], [0, 3, 0], [0, 0, 0]], pbc=[1, 1, 0]))  # a layer
    check_structure(with_positions([[0, 0, 0], [0, 0, 4]], cell=np.eye(3) * 4, pbc=[1, 1, 0]))  # not an image
    check_structure(Atoms("H", cell=-np.eye(3), pbc=True))  # left-handed
    with pytest.raises(ValueError, match="coincide"):
        check_structure(H2, min_distance=0.8)


def test_ase_round_trip():
    rng = np.random.default_rng(0)
    for atoms in (
        random_crystal(rng),
        molecule("CH3CH2OH"),
        Atoms("C", cell=[[2, 0, 0]] + [[0] * 3] * 2, pbc=[1, 0, 0]),
    ):
        data = from_ase(atoms, dtype=torch.float64)
        assert data.z.shape == (len(atoms),)
        assert data.cell.shape == (1, 3, 3)
        assert data.pbc.shape == (1, 3)
        back = to_ase(data)
        assert (back.numbers == atoms.numbers).all()
        assert (back.positions == atoms.positions).all()
        assert (back.cell.array == atoms.cell.array).all()
        assert (back.pbc == atoms.pbc).all()
    assert from_ase(atoms).pos.dtype == torch.get_default_dtype()


def test_molecules_and_crystals_share_a_batch():
    atoms = [molecule("H2O"), bulk("Si"), molecule("CH4")]
    batch = Batch.from_data_list([from_ase(a, torch.float64) for a in atoms])
    assert batch.cell.shape == (3, 3, 3)
    assert batch.pbc.tolist() == [[False] * 3, [True] * 3, [False] * 3]
    for data, one in zip(batch.to_data_list(), atoms, strict=True):
        assert (to_ase(data).positions == one.positions).all()
    with pytest.raises(ValueError, match="take one of the batch"):
        to_ase(batch)


def test_to_ase_defaults():
    assert to_ase(Data(pos=torch.eye(3))).numbers.tolist() == [0, 0, 0]
    assert not to_ase(Data(pos=torch.eye(3))).pbc.any()
    assert to_ase(Data(pos=torch.eye(3), cell=torch.eye(3) * 9)).pbc.all()


# Distortions


@pytest.mark.parametrize("seed", range(20))
def test_match_recovers_distortion(seed):
    rng = np.random.default_rng(seed)
    parent = random_crystal(rng)
    u, e = random_distortion(rng, len(parent))
    rotation = Rotation.random(random_state=seed).as_matrix()
    distorted = to_ase(apply_distortion(from_ase(parent, torch.float64), u, e[None]))
    hidden, perm = disguise(rng, distorted, rotation)
    match = match_atoms(parent, hidden)
    assert perm[match.permutation].tolist() == list(range(len(parent)))
    torch.testing.assert_close(match.displacements, u, rtol=0, atol=1e-12)
    torch.testing.assert_close(match.strain, e, rtol=0, atol=1e-12)
    torch.testing.assert_close(match.rotation, torch.from_numpy(rotation), rtol=0, atol=1e-12)
    # the documented relation between the two structures
    left = hidden.get_scaled_positions(wrap=False)[match.permutation] + match.shifts.numpy() - match.origin.numpy()
    right = parent.get_scaled_positions(wrap=False) + match.displacements.numpy() @ np.linalg.inv(parent.cell)
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-12)
    cell = parent.cell.array @ (np.eye(3) + match.strain.numpy()) @ match.rotation.numpy().T
    np.testing.assert_allclose(hidden.cell.array, cell, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_match_rotates_with_the_pair(seed):
    """Both structures rotated, permuted, shifted: the distortion rotates along, improper rotations too."""
    rng = np.random.default_rng(seed)
    parent = random_crystal(rng)
    u, e = random_distortion(rng, len(parent))
    distorted = to_ase(apply_distortion(from_ase(parent, torch.float64), u, e))
    rotation = Rotation.random(random_state=seed).as_matrix() * (-1) ** seed
    parent2, perm = disguise(rng, parent, rotation)
    distorted2, _ = disguise(rng, distorted, rotation)
    match = match_atoms(parent2, distorted2)
    r = torch.from_numpy(rotation)
    torch.testing.assert_close(match.displacements, (u @ r.T)[perm], rtol=0, atol=1e-12)
    torch.testing.assert_close(match.strain, r @ e @ r.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(match.rotation, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_match_in_a_supercell(seed):
    """The match is right up to the parent's own translations, and as good as the known one."""
    rng = np.random.default_rng(seed)
    parent = bulk("NaCl", "rocksalt", 5.6, cubic=True)
    u, e = random_distortion(rng, len(parent), amplitude=0.08)
    hidden, _ = disguise(rng, to_ase(apply_distortion(from_ase(parent, torch.float64), u, e)))
    match = match_atoms(parent, hidden)
    torch.testing.assert_close(match.strain, e, rtol=0, atol=1e-12)
    torch.testing.assert_close(match.displacements.square().sum(), u.square().sum(), rtol=0, atol=1e-12)
    found = {tuple(row) for row in match.displacements.numpy().round(9)}
    assert found == {tuple(row) for row in u.numpy().round(9)}


def test_match_is_minimal_by_brute_force():
    """Three like atoms: no permutation, choice of images or origin beats the match."""
    rng = np.random.default_rng(3)
    cell = np.array([[3, 0, 0], [0.5, 3, 0], [0, 0.4, 3]])
    parent = Atoms("H3", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.1], [0.5, 0, 0.6]], cell=cell, pbc=True)
    images = np.array(list(product((-1, 0, 1), repeat=3))) @ cell
    for _ in range(5):
        distorted = parent.copy()
        distorted.positions += rng.normal(size=(3, 3)) * 0.3
        distorted = distorted[rng.permutation(3)]
        best = np.inf
        for perm in permutations(range(3)):
            difference = distorted.positions[list(perm)] - parent.positions
            shifted = np.stack(np.broadcast_arrays(0 * images[:1, None], images[:, None], images[None]), axis=2)
            candidates = difference + shifted.reshape(-1, 3, 3)  # atom 0 stays: the origin is free
            candidates -= candidates.mean(axis=1, keepdims=True)
            best = min(best, np.square(candidates).sum(axis=(1, 2)).min())
        found = match_atoms(parent, distorted).displacements.square().sum().item()
        assert found == pytest.approx(best, abs=1e-10)


def test_match_molecules():
    rng = np.random.default_rng(0)
    parent = molecule("CH3CH2OH")
    u, _ = random_distortion(rng, len(parent), amplitude=0.05)
    hidden, perm = disguise(rng, to_ase(apply_distortion(from_ase(parent, torch.float64), u)))
    match = match_atoms(parent, hidden)
    assert perm[match.permutation].tolist() == list(range(len(parent)))
    torch.testing.assert_close(match.displacements, u, rtol=0, atol=1e-12)
    assert not match.strain.any()


def test_match_refuses():
    crystal = bulk("NaCl", "rocksalt", 5.6)
    with pytest.raises(ValueError, match="parent is NaCl, the distorted structure K"):
        match_atoms(crystal, bulk("KCl", "rocksalt", 6.3))
    with pytest.raises(ValueError, match="both need the same atoms"):
        match_atoms(crystal, bulk("NaCl", "rocksalt", 5.6, cubic=True))
    with pytest.raises(ValueError, match="two crystals or two molecules"):
        match_atoms(crystal, Atoms("NaCl", [[0, 0, 0], [0, 0, 2.3]]))
    mirrored = crystal.copy()
    mirrored.set_cell(-crystal.cell.array, scale_atoms=True)
    with pytest.raises(ValueError, match=r"same setting.*reflection"):
        match_atoms(crystal, mirrored)
    with pytest.raises(ValueError, match="same setting"):
        match_atoms(crystal, bulk("NaCl", "rocksalt", 8))


def test_apply_distortion_by_hand():
    parent = from_ase(Atoms("HHe", [[0, 0, 0], [1, 1, 1]], cell=np.diag([2, 3, 4]), pbc=True), torch.float64)
    u = torch.tensor([[0.1, 0, 0], [-0.1, 0, 0]], dtype=torch.float64)
    out = apply_distortion(parent, u, torch.diag(torch.tensor([0.5, 0, 0], dtype=torch.float64))[None])
    assert out.pos.tolist() == pytest.approx(np.array([[0.15, 0, 0], [1.35, 1, 1]]))
    assert out.cell[0].tolist() == pytest.approx(np.diag([3.0, 3, 4]))
    assert parent.pos[1].tolist() == [1, 1, 1]  # the parent stays
    assert parent.cell[0, 0, 0] == 2


def test_apply_distortion_in_a_batch_and_its_gradient():
    rng = np.random.default_rng(1)
    parents = [from_ase(random_crystal(rng), torch.float64) for _ in range(3)]
    us, es = zip(*[random_distortion(rng, 5) for _ in parents], strict=True)
    u, e = torch.cat(us).requires_grad_(), torch.stack(es).requires_grad_()
    batch = Batch.from_data_list(parents)
    out = apply_distortion(batch, u, e)
    for k, (parent, ui, ei) in enumerate(zip(parents, us, es, strict=True)):
        one = apply_distortion(parent, ui, ei[None])
        torch.testing.assert_close(out.get_example(k).pos, one.pos)
        torch.testing.assert_close(out.get_example(k).cell, one.cell)

    def moved(u, e):
        out = apply_distortion(batch, u, e)
        return out.pos, out.cell

    assert torch.autograd.gradcheck(moved, (u, e))


# Strain as irreps


def test_strain_irreps_round_trip_and_norm():
    e = torch.randn(4, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    e = e + e.mT
    components = strain_to_irreps(e)
    assert components.shape == (4, 2, 6)
    torch.testing.assert_close(irreps_to_strain(components), e, rtol=0, atol=1e-14)
    torch.testing.assert_close(components.square().sum(-1), e.square().sum((-1, -2)))
    torch.testing.assert_close(components[..., 0] * 3**0.5, e.diagonal(dim1=-2, dim2=-1).sum(-1))
    assert irreps_to_strain(strain_to_irreps(e.float())).dtype == torch.float32


def test_strain_irreps_rotate_as_0e_2e(double):
    rotation = torch.from_numpy(Rotation.random(20, random_state=0).as_matrix())
    e = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(0))
    e = e + e.mT
    irreps = o3.Irreps("0e + 2e")
    for sign in (1, -1):
        r = sign * rotation
        expected = torch.einsum("nij,nj->ni", irreps.D_from_matrix(r), strain_to_irreps(e))
        torch.testing.assert_close(strain_to_irreps(r @ e @ r.mT), expected, rtol=0, atol=1e-12)


def test_strain_irreps_agree_with_e3nn():
    tensor = CartesianTensor("ij=ji")
    assert o3.Irreps(tensor) == o3.Irreps("0e + 2e")
    e = torch.randn(5, 3, 3)
    e = e + e.mT
    torch.testing.assert_close(strain_to_irreps(e), tensor.from_cartesian(e), rtol=0, atol=1e-5)
