"""PyG's own QM9 and MD17, read from tiny files in their raw formats, with our transforms as pre_transform."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from e3nn import o3
from scipy.spatial.transform import Rotation
from torch_geometric.datasets import MD17, QM9
from torch_geometric.loader import DataLoader

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetryBreaking

# The first three molecules of QM9 (B3LYP/6-31G(2df,p), Ramakrishnan et al., Sci. Data 1, 140022 (2014)), Å.
MOLECULES = {
    "gdb_1": """C -0.0126981359 1.0858041578 0.0080009958
                H 0.002150416 -0.0060313176 0.0019761204
                H 1.0117308433 1.4637511618 0.0002765748
                H -0.540815069 1.4475266138 -0.8766437152
                H -0.5238136345 1.4379326443 0.9063972942""",
    "gdb_2": """N -0.0404260543 1.0241077531 0.0625637998
                H 0.0172574639 0.0125452063 -0.0273771593
                H 0.9157893661 1.3587451948 -0.0287577581
                H -0.5202777357 1.3435321258 -0.7755426124""",
    "gdb_3": """O -0.0343604951 0.9775395708 0.0076015923
                H 0.0647664923 0.0205721989 0.0015346341
                H 0.8717903737 1.3007924048 0.0006931336""",
}
GROUPS = {"gdb_1": "Td", "gdb_2": "C3v", "gdb_3": "C2v"}
BLOCK = "  0  0  0  0  0  0  0  0  0  0  0  0"


def write_qm9(root):
    """All raw files of QM9: those that PyG reads with RDKit, and the one that it reads without."""
    raw = root / "raw"
    raw.mkdir()
    blocks, dicts = [], []
    for index, (name, text) in enumerate(MOLECULES.items()):
        rows = [line.split() for line in text.splitlines()]
        positions = [[float(x) for x in row[1:]] for row in rows]
        atoms = Atoms([row[0] for row in rows], positions=positions)
        n = len(atoms)
        lines = [name, "", "", f"{n:3d}{n - 1:3d}  0  0  0  0  0  0  0  0999 V2000"]
        lines += [
            f"{x:10.4f}{y:10.4f}{z:10.4f} {s:<3s}{BLOCK}" for s, (x, y, z) in zip(atoms.symbols, positions, strict=True)
        ]
        lines += [f"  1{i:3d}  1  0  0  0  0" for i in range(2, n + 1)]
        blocks.append("\n".join([*lines, "M  END", "$$$$", ""]))
        around = torch.tensor([[0] * (n - 1) + list(range(1, n)), list(range(1, n)) + [0] * (n - 1)])
        z = torch.tensor(atoms.numbers)
        x = torch.nn.functional.one_hot(torch.searchsorted(torch.tensor([1, 6, 7, 8, 9]), z), 11).float()
        single = torch.tensor([[1.0, 0, 0, 0]]).repeat(2 * (n - 1), 1)
        dicts.append(
            {"x": x, "edge_index": around, "edge_attr": single, "y": torch.arange(19.0)[None], "z": z, "name": name}
            | {"pos": torch.tensor(positions), "idx": torch.tensor([index])}
        )
    (raw / "gdb9.sdf").write_text("".join(blocks))
    columns = ",".join(f"{i}.0" for i in range(19))
    (raw / "gdb9.sdf.csv").write_text("\n".join(["mol_id,...", *(f"{name},{columns}" for name in MOLECULES), ""]))
    (raw / "uncharacterized.txt").write_text("\n" * 8 + "====\n\n")
    torch.save(dicts, raw / "qm9_v3.pt")
    return root


@pytest.fixture
def no_network(monkeypatch):
    def download(self):
        raise AssertionError("the test would download")

    for dataset in (QM9, MD17):
        monkeypatch.setattr(dataset, "download", download)


def orders_of_stabilizers(data):
    """Number of elements of S that leave the object as it is."""
    group = detect_symmetry(data, 1e-2).group
    matrices = irreps_matrices(o3.Irreps(data.breaking_irreps), group.matrices)
    b = data.breaking[0].double().numpy()
    return int((np.abs(matrices @ b - b).max(1) < 1e-4).sum())


def test_qm9(tmp_path, no_network):
    write_qm9(tmp_path)
    plain = QM9(tmp_path)
    assert [detect_symmetry(data, 1e-2).group.schoenflies for data in plain] == list(GROUPS.values())
    irreps = AddSymmetryBreaking(symprec=1e-2).common_irreps(plain)
    transform = AddSymmetryBreaking(symprec=1e-2, irreps=irreps, choose=0)
    dataset = QM9(tmp_path, pre_transform=transform, force_reload=True)
    assert [data.name for data in dataset] == list(MOLECULES)
    for data in dataset:
        assert data.breaking.shape == (1, irreps.dim)
        assert data.breaking.dtype == torch.float32
        assert data.y.shape == (1, 19)
        assert orders_of_stabilizers(data) == 1
    batch = next(iter(DataLoader(dataset, batch_size=3)))
    assert batch.breaking.shape == (3, irreps.dim)
    saved = QM9(tmp_path, pre_transform=transform)
    assert torch.equal(saved[0].breaking, dataset[0].breaking)
    with pytest.warns(UserWarning, match="pre_transform"):  # the objects on disk are not those now asked for
        QM9(tmp_path, pre_transform=AddSymmetryBreaking(symprec=1e-2, irreps=irreps, choose=1))


def test_qm9_with_random_objects_at_each_access(tmp_path, no_network):
    write_qm9(tmp_path)
    methane = QM9(tmp_path, transform=AddSymmetryBreaking(keep="C3v", symprec=1e-2))
    seen = {tuple(methane[0].breaking[0].mul(1e4).round().tolist()) for _ in range(100)}
    assert len(seen) == 4  # the four directions of the bonds; one is missed with a probability of 1e-12


@pytest.mark.parametrize("revised", [False, True])
def test_md17(tmp_path, no_network, revised):
    """Benzene in any orientation, then shaken: the group is D6h in the first half of the frames, C1 in the other."""
    benzene, rng = molecule("C6H6"), np.random.default_rng(0)
    turned = [benzene.positions @ Rotation.random(random_state=rng).as_matrix().T for _ in range(4)]
    r = np.array([*turned[:2], *(x + 0.05 * rng.normal(size=x.shape) for x in turned[2:])])
    energy, force = rng.normal(size=(4, 1)), rng.normal(size=r.shape)
    if revised:
        folder, name, file = tmp_path / "raw" / "rmd17" / "npz_data", "revised benzene", "rmd17_benzene.npz"
        keys = {"nuclear_charges": benzene.numbers, "coords": r, "energies": energy[:, 0], "forces": force}
    else:
        folder, name, file = tmp_path / "benzene" / "raw", "benzene", "md17_benzene2017.npz"
        keys = {"z": benzene.numbers, "R": r, "E": energy, "F": force}
    folder.mkdir(parents=True)
    np.savez(folder / file, **keys)
    irreps = AddSymmetryBreaking(symprec=1e-2).common_irreps([from_ase(benzene)])
    dataset = MD17(tmp_path, name, pre_transform=AddSymmetryBreaking(symprec=1e-2, irreps=irreps, choose=0))
    assert len(dataset) == 4
    assert [detect_symmetry(data, 1e-2).group.schoenflies for data in dataset] == ["D6h", "D6h", "C1", "C1"]
    for data in dataset[:2]:
        assert data.breaking.norm() > 0.9
        assert orders_of_stabilizers(data) == 1
    for data in dataset[2:]:
        assert not data.breaking.any()  # nothing is left to break
    batch = next(iter(DataLoader(dataset, batch_size=4)))
    assert batch.breaking.shape == (4, irreps.dim)
    assert batch.force.shape == (48, 3)
