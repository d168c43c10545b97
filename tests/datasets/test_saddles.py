import hashlib
import importlib
import math
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
import torch
from ase.data import covalent_radii
from scipy.spatial.transform import Rotation
from torch_geometric.loader import DataLoader

from pyg_symbreak.datasets import Saddles, saddles
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.diagnosis import vector_residual
from pyg_symbreak.distort.displacements import Displacements
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.structures import to_ase
from pyg_symbreak.testing import score_minima

pytestmark = pytest.mark.usefixtures("double")

FOLDER = files("pyg_symbreak.datasets.files") / "saddles"
FILES = {"saddles.xyz.gz": saddles.SHA256, "saddles_hessians.npz": saddles.HESSIANS_SHA256}


@pytest.fixture(scope="module")
def dataset():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return Saddles()
    finally:
        torch.set_default_dtype(before)


def some(dataset, count, seed=0):
    """Molecules that are not linear, at random."""
    picked = np.random.default_rng(seed).permutation(len(dataset))
    graphs = (dataset[int(i)] for i in picked)
    return [data for data, _ in zip((d for d in graphs if "inf" not in d.group), range(count), strict=False)]


def images_of(symmetry, y):
    """Displacements under each operation: [order, N, 3]."""
    out = torch.empty(len(symmetry.permutations), *y.shape)
    for image, rotation, permutation in zip(out, symmetry.rotations, symmetry.permutations, strict=True):
        image[permutation] = y @ rotation.T
    return out


def isometries(kinds, *sets, tolerance=1e-3):
    """Orthogonal matrices that carry each set of points [N, 3] onto itself, by one permutation, found by trial.

    Three points that span space, or a plane, are laid on any three others with the same distances.
    """
    x = sets[0]
    lengths = np.linalg.norm(x, axis=1)
    first = int(lengths.argmax())
    second = int(np.linalg.norm(np.cross(x[first], x), axis=1).argmax())
    base = np.stack([x[first], x[second], np.cross(x[first], x[second])])
    found = []
    near = (np.abs(lengths[:, None] - lengths) < tolerance) & (kinds[:, None] == kinds)
    for a in np.flatnonzero(near[first]):
        for b in np.flatnonzero(near[second]):
            if abs(x[a] @ x[b] - x[first] @ x[second]) > 10 * tolerance:
                continue
            for sign in (1, -1):
                image = np.stack([x[a], x[b], sign * np.cross(x[a], x[b])])
                left, _, right = np.linalg.svd(image.T @ base)
                rotation = left @ right
                if np.linalg.det(rotation) * sign < 0:
                    continue
                apart = np.linalg.norm((x @ rotation.T)[:, None] - x, axis=2)
                to = np.where(kinds[:, None] == kinds, apart, np.inf).argmin(1)
                if all(np.linalg.norm(s @ rotation.T - s[to], axis=1).max() < tolerance for s in sets):
                    found.append(rotation)
    return np.array(found)


@pytest.mark.parametrize("name", FILES)
def test_file_is_the_one_listed(name):
    digest = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
    assert digest == FILES[name]
    assert f"{digest}  saddles/{name}" in (FOLDER.parent / "README.md").read_text()


def test_size(dataset):
    names = Counter(data.name for data in dataset)
    assert len(names) >= 600
    assert max(names.values()) == 1
    assert len({data.group for data in dataset}) >= 12
    assert all(4 <= data.num_nodes <= 30 for data in dataset)
    assert sum(not data.unstable.any() for data in dataset) >= len(dataset) / 5
    assert sum((FOLDER / name).stat().st_size for name in FILES) < 8_000_000


def test_table_of_the_data_sheet(dataset):
    controls = sum(not data.unstable.any() for data in dataset)
    several = sum(len(data.minima_energy) > 1 for data in dataset)
    sheet = (FOLDER / "README.md").read_text()
    assert f"| all | {len(dataset)} | {controls} | {several} |" in sheet
    for group, count in Counter(data.group for data in dataset).items():
        assert f"| {group} | {count} |" in sheet
    for frame, count in Counter(data.frame for data in dataset).items():
        assert f"| {frame} | {count} |" in sheet


def test_no_electron_is_unpaired(dataset):
    assert all((int(data.z.sum()) - int(data.charge)) % 2 == 0 for data in dataset)


def test_minima_lie_below_in_order(dataset):
    for data in dataset:
        energies = data.minima_energy
        assert (energies.diff() >= 0).all(), data.name
        assert data.energy == energies[0]
        assert torch.equal(data.y, Saddles.minima_of(data)[0])
        broken = bool(data.unstable.any())
        assert bool((energies < -1e-3).all()) == broken, data.name
        assert broken or (data.y.abs().max() == 0 and data.kept == data.group and data.count == 1)
        assert len(energies) == len(data.minima_count) == len(data.minima_kept) == len(data.minima_point_group)
        assert len(data.irreps) == len(data.curvature) == len(data.unstable)


def test_minima_are_kept_by_k_and_counted_by_their_images(dataset):
    for data in some(dataset, 60):
        symmetry = detect_symmetry(data)
        assert symmetry.group.schoenflies == data.group, data.name
        for y, count, kept in zip(Saddles.minima_of(data), data.minima_count, data.minima_kept, strict=True):
            images = images_of(symmetry, y)
            keeps = (images - y).flatten(1).abs().amax(1) < 1e-5
            distinct = torch.unique(images.flatten(1).div(1e-3).round() + 0.0, dim=0)
            assert count == len(keeps) / int(keeps.sum())
            assert PointGroup.from_matrices(symmetry.rotations[keeps]).schoenflies == kept
            assert len(distinct) >= count
            far = torch.cdist(images.flatten(1), images.flatten(1)) > 1e-4
            assert len(torch.unique(far, dim=0)) == count, data.name


def test_symmetry_of_molecule_and_minima_by_trial_of_isometries(dataset):
    """|S| and |K| by a search that shares no code with the library."""
    for data in some(dataset, 40, seed=1):
        if data.num_nodes > 16:
            continue
        kinds, x = data.z.numpy(), (data.pos - data.pos.mean(0)).numpy()
        order = len(isometries(kinds, x))
        planar = np.linalg.matrix_rank(x, tol=1e-3) == 2
        assert order == len(detect_symmetry(data).rotations), (data.name, planar)
        for y, count in zip(Saddles.minima_of(data), data.minima_count, strict=True):
            assert len(isometries(kinds, x, y.numpy())) * count == order, data.name


def test_lines(dataset):
    """A line that bends has infinitely many images; one that slides along itself has two."""
    for data in dataset:
        if data.group not in ("Dinfh", "Cinfv"):
            continue
        assert detect_symmetry(data).group.schoenflies == data.group
        for count, kept in zip(data.minima_count.tolist(), data.minima_kept, strict=True):
            assert count == {"Dinfh": 1, "Cinfv": 1 + (data.group == "Dinfh")}.get(kept, math.inf)


@pytest.mark.filterwarnings("ignore:Optimal rotation is not uniquely")
def test_no_rigid_motion(dataset):
    for data in some(dataset, 60, seed=2):
        x = data.pos - data.pos.mean(0)
        for y in Saddles.minima_of(data):
            torch.testing.assert_close(y.mean(0), torch.zeros(3), rtol=0, atol=1e-6)
            best, _ = Rotation.align_vectors(x.numpy(), (x + y).numpy())
            nearer = np.linalg.norm(best.apply((x + y).numpy()) - x.numpy())
            assert np.linalg.norm(y) == pytest.approx(nearer, abs=1e-5)


def test_molecules_and_minima_hold_together(dataset):
    for data in dataset:
        radii = covalent_radii[data.z.numpy()]
        for y in [torch.zeros_like(data.pos), *Saddles.minima_of(data)]:
            near = torch.cdist(data.pos + y, data.pos + y).numpy() / (radii[:, None] + radii)
            bonded = (near < 1.5).astype(int)
            assert np.linalg.matrix_power(bonded, len(bonded)).all(), data.name


def test_scores_of_the_minima_themselves_and_of_the_saddle(dataset):
    """Each minimum is found by its image; the symmetric structure is at the bound or above."""
    for data in some(dataset, 25, seed=3):
        minima = Saddles.minima_of(data)
        image = images_of(detect_symmetry(data), minima[-1])[-1]
        score = score_minima(data, torch.stack([*minima[:-1], image]), minima, data.minima_energy, data.minima_energy)
        assert score.errors.max() < 1e-5
        assert score.found() == 1
        assert score.order in (1, None)
        unbroken = score_minima(data, torch.zeros(1, *data.pos.shape), minima)
        assert (unbroken.distances[0] >= unbroken.bounds - 1e-6).all()
        bound = (vector_residual(detect_symmetry(data), minima[0]) / len(minima[0])) ** 0.5
        assert unbroken.bounds[0] == pytest.approx(bound, abs=1e-5)
        assert (unbroken.bounds[0] > 1e-3) == (data.count > 1), data.name


@pytest.mark.parametrize("by", ["name", "frame", "group", "formula"])
def test_splits_share_nothing(dataset, by):
    train, test = dataset.split(by, 0.2, seed=1)
    assert set(train.tolist()).isdisjoint(test.tolist())
    assert len(train) + len(test) == len(dataset)
    assert {dataset[i][by] for i in train}.isdisjoint({dataset[i][by] for i in test})
    assert len(test) > 0
    assert not torch.equal(test, dataset.split(by, 0.2, seed=2)[1])


def test_formulas_and_the_umbrella_of_arsine(dataset):
    assert all(to_ase(data).get_chemical_formula() == data.formula.split()[0] for data in dataset)
    assert all((data.charge != 0) == (" " in data.formula) for data in dataset)
    (arsine,) = (data for data in dataset if data.formula == "H3As" and data.group == "D3h")  # an umbrella
    assert (arsine.kept, arsine.count) == ("C3v", 2)
    assert [irrep for irrep, falls in zip(arsine.irreps, arsine.unstable, strict=True) if falls] == ["A2''"]
    assert arsine.y[arsine.z == 33].norm() > 0.1


# Structures known from textbooks: S, K and number of images of the lowest minimum, its own point group.
PYRAMID, PUCKER = ("D3h", "C3v", 2, "C3v"), ("D4h", "D2d", 2, "D2d")
TEXTBOOK = {
    **{f"planar AX3: {x}": PYRAMID for x in ["N-H", "P-H", "As-H", "Sb-H", "N-F", "N-Cl", "P-F", "P-Cl"]},
    **{f"planar AX3: {x}": PYRAMID for x in ("O-H +1", "S-H +1", "C-H -1")},
    **{f"planar AX3: {x}": ("D3h", "D3h", 1, "D3h") for x in ("B-H", "B-F", "B-Cl", "Al-Cl", "C-H +1")},
    **{f"planar AX3 of halogens: {x}": ("D3h", "C2v", 3, "C2v") for x in ("Br-F", "I-F")},
    **{f"square AX4: {x}": ("D4h", "D2d", 2, "Td") for x in ("C-H", "C-F", "Si-F")},
    **{f"tetrahedral AX4: {x}": ("Td", "Td", 1, "Td") for x in ("C-H", "C-Cl", "Si-F", "N-H +1")},
    "tetrahedral AX4: S-F": ("Td", "C2v", 6, "C2v"),
    "square AX4: Xe-F": ("D4h", "D4h", 1, "D4h"),
    **{f"trigonal bipyramid: {x}": ("D3h", "D3h", 1, "D3h") for x in ("P-F-F", "P-H-H", "P-Cl-Cl", "As-F-F")},
    **{f"square pyramid: {x}": ("C4v", "C2v", 2, "D3h") for x in ("P-F-F", "P-H-H", "P-Cl-Cl", "As-F-F")},
    **{f"square pyramid: {x}": ("C4v", "C4v", 1, "C4v") for x in ("Cl-F-F", "Br-F-F", "I-F-F")},
    "trigonal bipyramid: I-F-F": ("D3h", "C2v", 3, "C4v"),
    **{f"prismatic AX6: {x}": ("D3h", "D3", 2, "Oh") for x in ("S-F", "P-F -1")},
    "planar X2A-BY2: CC-H-H": ("D2h", "D2h", 1, "D2h"),
    "planar X2A-BY2: SiSi-H-H": ("D2h", "C2h", 2, "C2h"),
    "planar X2A-BY2: BB-H-H": ("D2h", "D2", 2, "D2d"),
    "twisted X2A-BY2: BB-H-H": ("D2d", "D2d", 1, "D2d"),
    "twisted X2A-BY2: CC-H-H": ("D2d", "D2", 2, "D2h"),
    **{f"planar XA-AX: {x} cis-{y}": ("C2v", "C2", 2, "C2") for x, y in ("SH", "OF")},
    **{f"planar XA-AX: {x} trans-{y}": ("C2h", "C2", 2, "C2") for x, y in ("SH", "OF")},
    "planar XA-AX: N trans-H": ("C2h", "C2h", 1, "C2h"),
    "linear XA-AX: C cis-H": ("Dinfh", "Dinfh", 1, "Dinfh"),
    **{f"eclipsed X3A-BY3: CC-{x}": ("D3h", "D3", 2, "D3d") for x in ("H-H", "F-F", "Cl-Cl")},
    **{f"eclipsed X3A-BY3: {x}": ("C3v", "C3", 2, "C3v") for x in ("BN-H-H", "CN-H-H +1", "CSi-H-H")},
    "ring of 3: C3X6-H": ("D3h", "D3h", 1, "D3h"),
    "ring of 4: C4X8-H": PUCKER,
    "ring of 4: C4X4-H": ("D4h", "D2h", 2, "D2h"),
    "ring of 6: C6X12-H": ("D6h", "D3d", 2, "D3d"),
    "ring of 6: S6": ("D6h", "D3d", 2, "D3d"),
    "ring of 6: C6X6-H": ("D6h", "D6h", 1, "D6h"),
    "ring of 8: C8X8-H": ("D8h", "D2d", 4, "D2d"),
    "ring of 8: C8X8-H -2": ("D8h", "D8h", 1, "D8h"),
    "ring of 6 puckered: C6X12 boat-H": ("C2v", "C2", 2, "D2"),
    "ring of 6 puckered: C6X12 chair-H": ("D3d", "D3d", 1, "D3d"),
    "cumulene X2A=(C)n=AX2: CCC planar-H": ("D2h", "D2", 2, "D2d"),
    "cumulene X2A=(C)n=AX2: CCC twisted-H": ("D2d", "D2d", 1, "D2d"),
    "cumulene X2A=(C)n=AX2: CCCC twisted-H": ("D2d", "D2", 2, "D2h"),
    "biaryl: C6H5-C6H5-H": ("D2h", "D2", 2, "D2"),
    "hydrogen bond: malonaldehyde": ("C2v", "Cs", 2, "Cs"),
    "tetrahedron: P": ("Td", "Td", 1, "Td"),
    "cube: C-H": ("Oh", "Oh", 1, "Oh"),
    "adamantane: CC-H-H": ("Td", "Td", 1, "Td"),
    "double bridge: BH-H": ("D2h", "D2h", 1, "D2h"),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_structures_of_textbooks(dataset, name):
    (data,) = (data for data in dataset if data.name == name)
    assert (data.group, data.kept, int(data.count), data.minima_point_group[0]) == TEXTBOOK[name]


def test_barriers_known_from_experiment(dataset):
    """Of inversion, internal rotation and twist, to a third; and cyclohexane has a second minimum, the twist-boat."""
    known = {
        "planar AX3: N-H": 0.25,
        "eclipsed X3A-BY3: CC-H-H": 0.125,
        "eclipsed X3A-BY3: BN-H-H": 0.09,
        "planar XA-AX: S cis-H": 0.30,
    }
    barriers = {data.name: -float(data.energy) for data in dataset if data.name in known}
    assert barriers == pytest.approx(known, rel=1 / 3)
    (ring,) = (data for data in dataset if data.name == "ring of 6: C6X12-H")
    assert ring.minima_point_group == ["D3d", "D2"]
    assert float(ring.minima_energy.diff()) == pytest.approx(0.24, rel=1 / 3)


def rigid_motions(x):
    """Orthonormal translations and rotations [3N, 6], of a line [3N, 5]."""
    shifts = np.tile(np.eye(3), (len(x), 1))
    turns = np.stack([np.cross(axis, x - x.mean(0)).ravel() for axis in np.eye(3)], axis=1)
    left, size, _ = np.linalg.svd(np.concatenate([shifts, turns], axis=1), full_matrices=False)
    return left[:, size > 1e-3]


def smooth(dataset):
    """Molecules with force constants, and these [3N, 3N]."""
    found = ((data, Saddles.hessian_of(data).numpy()) for data in dataset)
    return [(data, matrix) for data, matrix in found if np.isfinite(matrix).all()]


def test_force_constants_of_nearly_all(dataset):
    assert len(smooth(dataset)) > 0.98 * len(dataset)
    for data, matrix in smooth(dataset):
        assert np.array_equal(matrix, matrix.T)
        assert np.linalg.norm(matrix @ rigid_motions(data.pos.numpy()), axis=0).max() < 0.05, data.name


def test_force_constants_are_as_symmetric_as_the_molecule(dataset):
    for data in some(dataset, 40, seed=4):
        symmetry, matrix = detect_symmetry(data), Saddles.hessian_of(data)
        for rotation, permutation in zip(symmetry.rotations, symmetry.permutations, strict=True):
            turned = torch.zeros_like(matrix).view(data.num_nodes, 3, data.num_nodes, 3)
            blocks = torch.einsum("ij,ajbk,lk->aibl", rotation, matrix.view_as(turned), rotation)
            turned[permutation[:, None], :, permutation] = blocks.transpose(1, 2)
            torch.testing.assert_close(turned.reshape_as(matrix), matrix, rtol=0, atol=5e-4, equal_nan=True)


def test_lowest_force_constant_is_the_lowest_curvature(dataset):
    """Differences of forces atom by atom against those along irreps; a few are steep, and not yet quadratic."""
    near = []
    for data, matrix in smooth(dataset):
        rigid = rigid_motions(data.pos.numpy())
        values = np.linalg.eigvalsh(matrix + 1e4 * rigid @ rigid.T)
        assert (values[0] < -5e-3) == bool(data.unstable.any()), data.name
        if data.unstable.any():
            near.append(abs(values[0] - float(data.curvature.min())) < 0.02 + 0.05 * abs(values[0]))
    assert np.mean(near) > 0.97


def test_force_constants_of_each_irrep_are_its_curvatures(dataset):
    near = []
    finite = {data.name for data, _ in smooth(dataset)}
    for data in some(dataset, 40, seed=5):
        if data.name not in finite:
            continue
        space, matrix = Displacements(to_ase(data), "auto"), Saddles.hessian_of(data).numpy()
        assert [irrep.name for irrep in space.irreps] == data.irreps
        for irrep, curvature in zip(space.irreps, data.curvature.tolist(), strict=True):
            basis = irrep.basis.reshape(-1, len(matrix))
            lowest = np.linalg.eigvalsh(basis @ matrix @ basis.T)[0]
            near.append(abs(lowest - curvature) < 0.02 + 0.02 * abs(curvature))
    assert np.mean(near) > 0.97


def test_blocks_of_pairs_of_atoms(dataset):
    data = dataset[3]
    i, j, count = 1, 2, data.num_nodes
    block = Saddles.hessian_of(data)[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
    assert torch.equal(data.hessian[i * count + j], block)


def test_batch(dataset):
    batch = next(iter(DataLoader(dataset, batch_size=8)))
    assert batch.y.shape == batch.pos.shape
    assert batch.energy.shape == batch.charge.shape == batch.complete.shape == batch.count.shape == (8,)
    assert len(batch.minima_energy) == sum(len(data.minima_energy) for data in dataset[:8])
    assert torch.equal(batch[3].minima, dataset[3].minima)
    assert batch.hessian.shape == (sum(data.num_nodes**2 for data in dataset[:8]), 3, 3)
    torch.testing.assert_close(Saddles.hessian_of(batch[3]), Saddles.hessian_of(dataset[3]), equal_nan=True)


def test_on_disk(tmp_path, dataset):
    made = Saddles(tmp_path)
    assert (tmp_path / "processed" / "data.pt").is_file()
    assert [data.name for data in made] == [data.name for data in dataset]
    assert made[5].minima_kept == dataset[5].minima_kept


def test_molecules_are_assembled_with_symmetry(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    frames = importlib.import_module("frames")
    listed = frames.molecules(draws=1)
    assert len({made[:2] for made in listed}) == len(listed) > 1500
    assert len({frame for frame, *_ in listed}) > 50
    for frame, name, charge, atoms in listed:
        assert frames.SMALLEST <= len(atoms) <= frames.LARGEST
        assert (atoms.numbers.sum() - charge) % 2 == 0, (frame, name)
    for frame, name, _, atoms in listed[:200]:
        assert detect_symmetry(atoms, 1e-3).group.order > 1, (frame, name)
