"""AddSymmetryBreaking: one line in a pipeline, batches, data sets on disk, equivariance, errors."""

import numpy as np
import pytest
import torch
import torch_geometric.transforms as T
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from pyg_symbreak.breaking import GroupIndexed, breaking_set
from pyg_symbreak.datasets import BaTiO3
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetry, AddSymmetryBreaking, NeighborList


def cubic():
    return from_ase(bulk("CsCl", "cesiumchloride", a=4.1), dtype=torch.float64)


def of(name):
    return from_ase(molecule(name), dtype=torch.float64)


def same_set(a, b, tolerance):
    distance = (a[:, None] - b[None]).abs().amax(2)
    return len(a) == len(b) and distance.amin(1).max() < tolerance and distance.amin(0).max() < tolerance


@pytest.mark.parametrize(
    ("data", "keep", "size"),
    [(cubic(), "C4v", 6), (cubic(), "C3v", 8), (cubic(), "4mm", 6), (of("CH4"), None, 24), (of("CH4"), "C3v", 4),
     (of("NH3"), None, 6), (of("H2O"), None, 4), (of("H2O"), "Cs", None), (of("C2H4"), "C2v", None)],
)  # fmt: skip
def test_sizes(data, keep, size):
    t = AddSymmetryBreaking(keep=keep, choose="all")
    if size is None:
        with pytest.raises(ValueError, match="choices"):
            t(data)
        return
    batch = t(data)
    assert batch.num_graphs == size == len(batch.breaking)
    assert len({tuple(row) for row in batch.breaking.round(decimals=6).tolist()}) == size
    assert torch.equal(batch.pos, data.pos.repeat(size, 1))


def test_objects_break_to_exactly_what_is_kept():
    data = cubic()
    row = AddSymmetryBreaking(keep="C4v", choose=3)(data).breaking[0].numpy()
    group = detect_symmetry(data).group
    fixed = [m for m in group.matrices if np.abs(m @ row - row).max() < 1e-9]
    assert PointGroup.from_matrices(fixed).schoenflies == "C4v"


@pytest.mark.parametrize("make", [lambda: of("CH4"), lambda: of("C2H6"), lambda: of("C6H6"), cubic])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_set_moves_with_the_structure(make, sign):
    data, moved = make(), make()
    r = sign * Rotation.random(random_state=5).as_matrix()
    matrix = torch.from_numpy(r)
    order = torch.randperm(data.num_nodes, generator=torch.Generator().manual_seed(1))
    moved.pos, moved.z, moved.cell = (moved.pos @ matrix.T + 0.7)[order], moved.z[order], moved.cell @ matrix.T
    t = AddSymmetryBreaking(choose="all", symprec=0.01)
    objects, others = t(data).breaking, t(moved).breaking
    d = torch.from_numpy(irreps_matrices(t.objects(data).irreps, r[None])[0])
    assert same_set(objects @ d.T, others, 1e-6)


def test_sampled_objects_are_members_and_all_of_them_come():
    t = AddSymmetryBreaking(keep="C4v")
    objects = AddSymmetryBreaking(keep="C4v", choose="all")(cubic()).breaking
    torch.manual_seed(0)
    drawn = torch.cat([t(cubic()).breaking for _ in range(120)])
    counts = torch.bincount(torch.cdist(drawn, objects).argmin(1), minlength=6)
    assert torch.cdist(drawn, objects).amin(1).max() < 1e-9
    assert counts.min() >= 8  # 20 on average


def test_a_seed_fixes_the_object_of_a_structure_whatever_was_drawn_before():
    t = AddSymmetryBreaking(seed=3)
    first = t(of("CH4")).breaking
    torch.rand(5)
    assert torch.equal(t(of("CH4")).breaking, first)
    others = [AddSymmetryBreaking(seed=s)(of("CH4")).breaking for s in range(10)]
    assert any(not torch.equal(o, first) for o in others)


def test_input_is_not_changed_and_compose_works():
    data = cubic()
    out = T.Compose([NeighborList(3.7), AddSymmetryBreaking(keep="C4v", choose=0)])(data)
    assert "breaking" not in data
    assert "edge_index" in out
    assert out.breaking.shape == (1, 3)


def test_on_the_nodes():
    data = of("NH3")
    data.x = torch.ones(4, 2, dtype=torch.float64)
    nodes = AddSymmetryBreaking(choose=1, on="nodes")(data)
    assert nodes.breaking.shape == (4, 3)
    assert (nodes.breaking == nodes.breaking[0]).all()
    features = AddSymmetryBreaking(choose=1, attr=None)(data)
    assert torch.equal(features.x, torch.cat([data.x, nodes.breaking], 1))
    assert "breaking" not in features
    assert features.breaking_irreps == nodes.breaking_irreps == "1x1o"
    assert data.x.shape == (4, 2)


def test_a_batch_of_different_groups():
    structures = [
        of("CH4"),
        of("NH3"),
        cubic(),
        of("H2O"),
        from_ase(Atoms("HOF", np.diag([1.0, 0, 1.0])), torch.float64),
    ]
    plain = AddSymmetryBreaking()
    irreps = plain.common_irreps(structures)
    assert str(irreps) == "1x0o+1x1o"
    t = AddSymmetryBreaking(irreps=irreps)
    loader = DataLoader([t(d) for d in structures], batch_size=5)
    batch = next(iter(loader))
    assert batch.breaking.shape == (5, 4)
    for data, row in zip(structures, batch.breaking, strict=True):
        own = AddSymmetryBreaking(choose="all", irreps=irreps)(data).breaking
        assert (own - row).abs().amax(1).min() < 1e-9
    with pytest.raises(ValueError, match="1o is missing"):
        AddSymmetryBreaking(irreps="0o+2e")(of("CH4"))


def test_dataloader_with_workers_draws_different_objects():
    class Repeated(torch.utils.data.Dataset):
        def __len__(self):
            return 16

        def __getitem__(self, index):
            return AddSymmetryBreaking()(of("CH4"))

    torch.manual_seed(0)
    rows = torch.cat([b.breaking for b in DataLoader(Repeated(), batch_size=4, num_workers=2)])
    assert rows.shape == (16, 3)
    assert len({tuple(r) for r in rows.round(decimals=6).tolist()}) > 6


def test_as_pre_transform_and_its_repr(tmp_path):
    t = AddSymmetryBreaking(keep="C4v", choose=2)
    data = BaTiO3(str(tmp_path), pre_transform=t)
    assert data[1].breaking.shape == (1, 3)
    again = BaTiO3(str(tmp_path), pre_transform=AddSymmetryBreaking(keep="C4v", choose=2))
    assert torch.equal(again[1].breaking, data[1].breaking)
    variants = [
        {}, {"keep": "C4v"}, {"keep": "C3v"}, {"symprec": 0.01}, {"breaking": GroupIndexed(parent="SO3")}, {"seed": 1},
        {"choose": 1},
        {"irreps": "1o"}, {"attr": None}, {"on": "nodes"}, {"keep": PointGroup("C4v")},
        {"keep": PointGroup("C4v").rotated(Rotation.random(random_state=0).as_matrix())},
    ]  # fmt: skip
    assert len({repr(AddSymmetryBreaking(**v)) for v in variants}) == len(variants)


def test_attached_symmetry_is_read_and_checked():
    data = AddSymmetry(symprec=0.01)(of("C6H6"))
    t = AddSymmetryBreaking(choose="all", symprec=1e-9)  # at this tolerance nothing would be found
    assert t(data).num_graphs == 24
    crystal = AddSymmetry()(cubic())
    assert AddSymmetryBreaking(keep="C4v", choose="all")(crystal).num_graphs == 6
    turned = data.clone()
    turned.pos = turned.pos @ torch.from_numpy(Rotation.random(random_state=2).as_matrix()).T
    with pytest.raises(ValueError, match="not the symmetry of these positions"):
        t(turned)


def test_continuous_sets_are_sampled():
    boric = from_ase(Atoms("BO3H3", _boric_acid()), torch.float64)
    assert detect_symmetry(boric, 1e-3).group.schoenflies == "C3h"
    rows = torch.cat([AddSymmetryBreaking()(boric).breaking for _ in range(5)])
    assert len({tuple(r) for r in rows.round(decimals=6).tolist()}) == 5
    with pytest.raises(ValueError, match="continuous"):
        AddSymmetryBreaking(choose="all")(boric)


def _boric_acid():
    turn = [2 * np.pi * k / 3 for k in range(3)]
    ring = [(1.36 * np.cos(a), 1.36 * np.sin(a), 0) for a in turn]
    hydrogen = [(1.9 * np.cos(a + 0.45), 1.9 * np.sin(a + 0.45), 0) for a in turn]
    return np.array([(0, 0, 0), *ring, *hydrogen])


def test_bad_input_is_refused():
    with pytest.raises(TypeError, match="not a batch"):
        AddSymmetryBreaking()(Batch.from_data_list([of("CH4")]))
    with pytest.raises(ValueError, match="no positions"):
        AddSymmetryBreaking()(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2))
    with pytest.raises(ValueError, match="no subgroup"):
        AddSymmetryBreaking(keep="C5")(of("CH4"))
    with pytest.raises(ValueError, match="objects 0 to 23"):
        AddSymmetryBreaking(choose=24)(of("CH4"))
    with pytest.raises(ValueError, match="choose must be"):
        AddSymmetryBreaking(choose="first")
    turned = PointGroup("C4v").rotated(Rotation.random(random_state=1).as_matrix())
    with pytest.raises(ValueError, match="not a subgroup"):
        AddSymmetryBreaking(keep=turned)(cubic())


def test_a_label_that_the_normalizer_exchanges_is_refused():
    """D_4 (two interleaved squares twisted against each other) has two kinds of D_2, swapped by D_8."""
    angles = np.arange(4) * np.pi / 2
    square = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    twist = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    up = np.array([0, 0, 0.7])
    pos = np.concatenate([square + up, square @ twist.T - up])
    data = Data(pos=torch.from_numpy(pos), z=torch.full((8,), 6))
    group = detect_symmetry(data).group
    assert group.schoenflies == "D4"
    labels = [k.label for k in group.subgroups() if k.schoenflies == "D2"]
    assert len(labels) == 2
    with pytest.raises(ValueError, match="exchange"):
        AddSymmetryBreaking(keep=labels[0])(data)
    kept = next(k for k in group.subgroups() if k.label == labels[0])
    assert AddSymmetryBreaking(keep=kept, choose="all")(data).num_graphs == 2
    assert breaking_set(group, kept).ideal


def test_irreps_travel_with_the_object_and_the_network_compares_them():
    """A polar and an axial vector are equally wide: only their names tell them apart."""
    hcn, methane = of("HCN"), of("CH4")
    structures = [AddSymmetryBreaking()(d) for d in (methane, hcn)]
    assert [d.breaking_irreps for d in structures] == ["1x1o", "1x1e"]
    for d in structures:
        d.x = torch.ones(d.num_nodes, 1, dtype=torch.float64)
    mixed = Batch.from_data_list([NeighborList(3.0)(d) for d in structures])
    network = GatedNetwork("0e", "1o", "1o", max_radius=3.0).double()
    with pytest.raises(ValueError, match="1x1e, the network irreps_breaking 1x1o"):
        network(mixed)
    assert network(NeighborList(3.0)(structures[0])).shape == (5, 3)


def test_rotations_only_under_so3():
    t = AddSymmetryBreaking(GroupIndexed(parent="SO3"), choose="all")
    assert t(of("CH4")).num_graphs == 12
    with pytest.raises(ValueError, match=r"improper elements.*T = group.rotations"):
        breaking_set(PointGroup("Td"), parent="SO3")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"keep": "C9q"}, ValueError, "not the symbol"),
        ({"keep": 4}, TypeError, "PointGroup or a symbol"),
        ({"attr": "pos"}, ValueError, "overwrite"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, error, words):
    with pytest.raises(error, match=words):
        AddSymmetryBreaking(**arguments)


def test_a_parent_that_is_no_group_is_refused_at_once():
    with pytest.raises(ValueError, match="parent"):
        GroupIndexed(parent="SO(4)")


def test_what_is_not_a_data_is_refused():
    with pytest.raises(TypeError, match="from_ase"):
        AddSymmetryBreaking()(molecule("CH4"))
    with pytest.raises(TypeError, match="PointGroup\\('Oh'\\)"):
        breaking_set("Oh")
