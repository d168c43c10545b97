"""The object that belongs to a target moves with structure and target: rotations, reflections, relabellings."""

import networkx as nx
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation
from symmetric_inputs import GRAPHS, graph_data, propeller, renumbered, ring, s4_molecule
from torch_geometric.data import Batch, Data

from pyg_symbreak.breaking import (
    GroupIndexed,
    InputIndexed,
    ListedObjects,
    Noise,
    orbit_candidates,
    paired_object,
    read_target,
    target_stabilizer,
)
from pyg_symbreak.datasets import BaTiO3, JahnTeller
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.losses import orbit_loss
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import from_ase
from pyg_symbreak.testing import pairing_error
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

WAYS = {
    "group": AddSymmetryBreaking("group", choose="target"),
    "input": AddSymmetryBreaking("input", choose="target"),
    "sympe": AddSymmetryBreaking("sympe", choose="target"),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of(atoms: Atoms, y: np.ndarray) -> Data:
    data = from_ase(atoms, torch.float64)
    data.y = torch.from_numpy(np.asarray(y, dtype=float))
    return data


def kept_by(atoms: Atoms, keep: str, seed: int = 0) -> Data:
    """A random displacement that keeps exactly K: the mean over K of a random one."""
    data = from_ase(atoms, torch.float64)
    symmetry = detect_symmetry(data)
    group = symmetry.group.subgroup(keep)
    y = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    total = np.zeros_like(y)
    for r, p in zip(symmetry.rotations.numpy(), symmetry.permutations.numpy(), strict=True):
        if group.contains(r):
            total[p] += y @ r.T
    data.y = torch.from_numpy(total / group.order)
    return data


def planar_ammonia() -> Data:
    return of(Atoms("NH3", [(0, 0, 0), *ring(3, 1.0)]), [(0, 0, 0.3), *[(0, 0, -0.1)] * 3])


PAIRS = {
    "NH3 becomes a pyramid": planar_ammonia,
    **{f"methane keeps {k}": lambda k=k: kept_by(molecule("CH4"), k) for k in ("C3v", "C2v", "Cs", "C3", "D2d", "S4")},
    **{f"benzene keeps {k}": lambda k=k: kept_by(molecule("C6H6"), k) for k in ("C6v", "Ci", "D3d[001][010]", "C1")},
    **{f"D4: {k}": lambda k=k: kept_by(Atoms("C8", np.concatenate([ring(4, 1, 0, 0.7), ring(4, 1, 0.35, -0.7)])), k)
       for k in ("C4", "C1")},
    "a tilt of the corners of a cell": lambda: kept_by(bulk("CsCl", "cesiumchloride", a=4.1), "C4v"),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_in_any_orientation(name, way):
    data = PAIRS[name]()
    assert pairing_error(WAYS[way], data, trials=3, generator=seeded()) < 1e-6
    symmetry = detect_symmetry(data)
    kept, _ = target_stabilizer(symmetry, read_target(data), 1e-3)
    found = WAYS[way](data.clone())
    moved = irreps_matrices(found.breaking_irreps, symmetry.group.matrices) @ found.breaking[0].numpy()
    fixing = np.abs(moved - found.breaking[0].numpy()).max(1) < 1e-6
    assert all(kept.contains(g) for g in symmetry.group.matrices[fixing])  # it breaks what the target breaks
    if way != "sympe":
        assert fixing.sum() == kept.order


@pytest.mark.parametrize("make", [lambda: propeller(4), s4_molecule])
@pytest.mark.parametrize("way", ["input", "sympe"])
def test_where_no_finite_set_depends_on_the_symmetry_alone(make, way):
    data = of(make(), np.random.default_rng(1).normal(size=(9, 3)))
    assert pairing_error(WAYS[way], data, generator=seeded()) < 1e-6
    with pytest.raises(ValueError, match=r"finitely many objects: use AddSymmetryBreaking\('input', choose='target'\)"):
        WAYS["group"](data)


def test_a_number_is_no_rule():
    """Object 0 of a moved structure is not the moved object 0."""
    for name in ("NH3 becomes a pyramid", "methane keeps C3v", "benzene keeps C6v"):
        data = PAIRS[name]()
        symmetry = detect_symmetry(data)
        kept, _ = target_stabilizer(symmetry, read_target(data), 1e-3)
        number = lambda x, keep=kept.schoenflies: AddSymmetryBreaking(keep=keep, choose=0)(x)  # noqa: E731
        assert pairing_error(number, data, trials=6, generator=seeded()) > 0.1


@pytest.mark.parametrize("way", WAYS)
def test_shipped_data_sets(way):
    ions = [data for data in JahnTeller() if detect_symmetry(data).continuous is None][::4]
    for data in ions:
        assert pairing_error(WAYS[way], data, trials=1, generator=seeded()) < 1e-5
    fields = {"y": "1o", "strain": "0e+2e"}
    t = AddSymmetryBreaking(way, choose="target", target=fields)
    assert pairing_error(t, BaTiO3()[1:], fields, trials=1, generator=seeded()) < 1e-6


def test_less_may_be_kept_and_more_may_not():
    data = PAIRS["methane keeps C3v"]()
    for keep in ("Cs", "C3", "C1"):
        for kind in (GroupIndexed(keep), InputIndexed(keep)):
            assert pairing_error(AddSymmetryBreaking(kind, choose="target"), data, generator=seeded()) < 1e-6
    for keep in ("Td", "C2v", "D2d"):
        with pytest.raises(ValueError, match=r"objects that keep .* cannot give a target that keeps C3v only, Stab"):
            AddSymmetryBreaking(keep=keep, choose="target")(data)


def test_targets_of_the_whole_structure_and_other_irreps():
    base = from_ase(molecule("CH4"), torch.float64)
    numbers = torch.randn(1, 9, generator=seeded(1), dtype=torch.float64)
    for irreps, width in (("1o", 3), ("1e", 3), ("2e", 5), ("2o", 5), ("3o", 7), ("0o+1e+2o", 9), ("0o", 1)):
        data = base.clone()
        data.dipole = numbers[:, :width]
        for way in WAYS:
            t = AddSymmetryBreaking(way, choose="target", target={"dipole": irreps})
            assert pairing_error(t, data, {"dipole": irreps}, trials=1, generator=seeded()) < 1e-6
    strained = base.clone()
    matrix = torch.randn(1, 3, 3, generator=seeded(2), dtype=torch.float64)
    strained.strain = matrix + matrix.mT
    t = AddSymmetryBreaking(choose="target", target="strain")
    assert pairing_error(t, strained, "strain", generator=seeded()) < 1e-6
    on_nodes = base.clone()
    on_nodes.moment = torch.randn(5, 8, generator=seeded(3), dtype=torch.float64)
    fields = {"moment": "1e+2o"}
    assert (
        pairing_error(AddSymmetryBreaking(choose="target", target=fields), on_nodes, fields, generator=seeded()) < 1e-6
    )


def test_products_of_a_vector_with_itself_that_vanish_decide_nothing():
    """The antisymmetric ones of a field of l = 3 are zero but for round-off, which no motion carries along."""
    data = from_ase(molecule("CH4"), torch.float64)
    data.dipole = torch.randn(1, 7, generator=seeded(1), dtype=torch.float64)
    t = AddSymmetryBreaking("input", choose="target", target={"dipole": "3o"})
    assert pairing_error(t, data, {"dipole": "3o"}, trials=4, generator=seeded(3)) < 1e-6


def test_a_handed_target_goes_up_to_the_frame_of_the_pair():
    """Rotating the two ends of ethane against each other: all that is linear in it and of low degree vanishes."""
    staggered = molecule("C2H6")
    x = staggered.positions - staggered.positions.mean(0)
    axis = x[0] / np.linalg.norm(x[0])
    data = of(staggered, 0.1 * np.cross(axis, x) * np.sign(x @ axis)[:, None])
    symmetry = detect_symmetry(data)
    kept, _ = target_stabilizer(symmetry, read_target(data), 1e-3)
    assert (symmetry.group.schoenflies, kept.schoenflies) == ("D3d", "D3")
    found = WAYS["group"](data.clone())
    assert found.breaking_irreps == "1x0o"
    other = data.clone()
    other.y = -data.y
    assert WAYS["group"](other).breaking == -found.breaking  # the enantiomer gets the other object
    assert pairing_error(WAYS["group"], data, trials=4, generator=seeded()) < 1e-6


def test_rotations_only():
    data = PAIRS["benzene keeps C1"]()
    t = AddSymmetryBreaking(GroupIndexed(parent="SO3"), choose="target")
    assert pairing_error(t, data, parent="SO3", trials=4, generator=seeded()) < 1e-6
    assert t(data).breaking_irreps == "1x1o"


def test_similar_molecules_get_similar_objects():
    """The object of every pyramid points where the hydrogens go, or away from there, whatever is in the centre."""
    signs = set()
    for centre, length in (("B", 1.2), ("C", 1.1), ("N", 1.0), ("Al", 1.6), ("Si", 1.5)):
        data = of(Atoms(f"{centre}H3", [(0, 0, 0), *ring(3, length)]), [(0, 0, 0.2), *[(0, 0, -0.07)] * 3])
        signs.add(round(float(WAYS["group"](data).breaking[0, 2])))
    assert len(signs) == 1


@pytest.mark.parametrize("noise", [1e-5, 3e-4])
def test_noise_below_the_tolerance_changes_no_object(noise):
    for name in ("NH3 becomes a pyramid", "methane keeps C3v", "methane keeps C2v", "benzene keeps Ci"):
        data = PAIRS[name]()
        expected = WAYS["group"](data.clone()).breaking
        other = data.clone()
        other.pos = data.pos + noise / 3 * torch.randn(data.pos.shape, generator=seeded(), dtype=torch.float64)
        found = AddSymmetryBreaking(choose="target", symprec=2e-3)(other).breaking
        assert (found - expected).abs().max() < 100 * noise


def test_linear_molecules():
    stretched = of(molecule("CO2"), [(0, 0, 0), (0, 0, 0.1), (0, 0, -0.1)])
    assert pairing_error(WAYS["group"], stretched, generator=seeded()) < 1e-6
    asymmetric = of(molecule("CO2"), [(0, 0, 0.1), (0, 0, 0), (0, 0, 0)])
    bent = of(molecule("CO2"), [(0.1, 0, 0), (0, 0, 0), (0, 0, 0)])
    kept, mask = target_stabilizer(detect_symmetry(asymmetric), read_target(asymmetric), 1e-3)
    assert (kept.schoenflies, mask.tolist()) == ("Cinfv", [True, False])
    assert pairing_error(WAYS["group"], asymmetric, trials=6, generator=seeded()) < 1e-6
    other = asymmetric.clone()
    other.y = -asymmetric.y[[0, 2, 1]]  # of the molecule turned round
    torch.testing.assert_close(WAYS["group"](other).breaking, -WAYS["group"](asymmetric.clone()).breaking)
    torch.testing.assert_close(orbit_candidates(asymmetric)[0], torch.tensor([[0, 0, 0.1], [0, 0, -0.1]]).double())
    with pytest.raises(ValueError, match="objects that keep Dinfh cannot give a target that keeps Cinfv only"):
        AddSymmetryBreaking(keep="Dinfh", choose="target")(asymmetric)
    for way in ("group", "input"):
        with pytest.raises(ValueError, match=r"breaks a continuous symmetry.*Dinfh\. Attach an object made from the"):
            WAYS[way](bent)


def test_a_bent_molecule_by_an_object_of_its_own():
    """The direction of the bend moves with the pair, and the symmetry carries it to each other: one target is all."""
    torch.manual_seed(0)
    line = NeighborList(3.0)(from_ase(molecule("CO2"), torch.float64))
    line.x = torch.nn.functional.one_hot((line.z == 8).long(), 2).double()
    line.breaking = torch.tensor([[1.0, 0, 0]]).double()
    target = torch.tensor([(0.2, 0, 0), (-0.1, 0, 0), (-0.1, 0, 0)]).double()
    model = GatedNetwork("2x0e", "1o", "1o", max_radius=3.0, hidden="4x0e+4x1o", layers=1).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (model(line) - target).square().sum()
        loss.backward()
        optimizer.step()
    assert loss < 1e-4
    across = Rotation.from_euler("z", 0.7).as_matrix()
    line.breaking = line.breaking @ torch.from_numpy(across).T
    torch.testing.assert_close(model(line), target @ torch.from_numpy(across).T, atol=0.01, rtol=0)


def test_a_lost_translation_is_refused():
    cell = bulk("CsCl", "cesiumchloride", a=4.1).repeat((2, 1, 1))
    y = np.zeros((4, 3))
    y[0, 2], y[2, 2] = 0.1, -0.1
    with pytest.raises(ValueError, match="loses 1 translations of the cell"):
        WAYS["group"](of(cell, y))


def test_what_is_no_target():
    data = from_ase(molecule("CH4"))
    with pytest.raises(ValueError, match="the target 'y' is missing"):
        WAYS["group"](data)
    data.y = torch.zeros(1, 19)
    with pytest.raises(ValueError, match=r"'y' has shape \[1, 19\]: say how it transforms"):
        WAYS["group"](data)
    with pytest.raises(ValueError, match=r"of irreps 1x2e must be \[5, 5\] or \[1, 5\]"):
        AddSymmetryBreaking(choose="target", target={"y": "2e"})(data)
    data.y = torch.full((5, 3), torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        WAYS["group"](data)
    data.y = torch.zeros(5, 3)
    with pytest.raises(ValueError, match="takes one of finitely many objects"):
        AddSymmetryBreaking(Noise(), choose="target")(data)
    assert len({repr(AddSymmetryBreaking(choose="target", target=x)) for x in ("y", "force", {"y": "1o"})}) == 3


def test_objects_of_ones_own_on_the_nodes():
    data = PAIRS["NH3 becomes a pyramid"]()
    up = torch.zeros(2, 4, 3, dtype=torch.float64)
    up[0, 0, 2], up[1, 0, 2] = 1, -1

    class OnNitrogen:
        def objects(self, x, symmetry, features=()):
            axis = symmetry.group.axis if symmetry.group.dimension else symmetry.group.frame[:, 2]
            rows = torch.zeros(2, 4, 3, dtype=torch.float64)
            rows[:, int(x.z.argmax())] = torch.from_numpy(np.stack([axis, -axis]))
            return ListedObjects("1o", rows)

    assert pairing_error(AddSymmetryBreaking(OnNitrogen(), choose="target"), data, generator=seeded()) < 1e-6


# ---------------------------------------------------------------------- graphs


@pytest.mark.parametrize("way", ["input", "sympe"])
@pytest.mark.parametrize("name", ["cycle", "Petersen", "hypercube", "star"])
@pytest.mark.parametrize("kind", ["two nodes", "real numbers"])
def test_graphs_in_any_order(name, kind, way):
    graph = nx.star_graph(40) if name == "star" else GRAPHS[name][0]
    data = graph_data(graph)
    count = data.num_nodes
    data.y = torch.zeros(count, 1)
    data.y[1:3] = 1.0
    if kind == "real numbers":
        data.y = torch.randn(count, 2, generator=seeded())
    t = AddSymmetryBreaking(way, choose="target")
    rows = t(data.clone()).breaking
    for seed in range(4):
        order = torch.randperm(count, generator=seeded(seed))
        other = renumbered(data, order, seeded(seed))
        other.y = data.y[order.argsort()]
        found = t(other).breaking[order]
        # equal up to what keeps graph and target
        if kind == "real numbers":
            assert torch.equal(found, rows)
            continue
        matched = torch.cat([rows.double(), data.y.double()], dim=1)
        moved = torch.cat([found.double(), data.y.double()], dim=1)
        assert torch.equal(_sorted(matched), _sorted(moved))
        order_of = [int((rows.double() == row).all(1).nonzero()[0, 0]) for row in found.double()]
        edges = {tuple(e) for e in data.edge_index.T.tolist()}
        assert {(order_of[i], order_of[j]) for i, j in edges} == edges


def _sorted(rows: torch.Tensor) -> torch.Tensor:
    return torch.tensor(sorted(rows.tolist()))


# ---------------------------------------------------------------------- all equally good targets


def test_candidates_are_the_images_and_go_into_the_loss():
    pyramid, methane = planar_ammonia(), PAIRS["methane keeps C2v"]()
    found = orbit_candidates(pyramid)
    torch.testing.assert_close(found, torch.stack([pyramid.y, -pyramid.y], dim=1))
    images = orbit_candidates(methane)
    symmetry = detect_symmetry(methane)
    expected = []
    for r, p in zip(symmetry.rotations, symmetry.permutations, strict=True):
        moved = torch.empty_like(methane.y)
        moved[p] = methane.y @ r.T
        expected.append(moved)
    assert images.shape == (5, 6, 3)
    assert torch.equal(images[:, 0], methane.y)
    assert all((images.transpose(0, 1) - e).abs().amax((1, 2)).min() < 1e-6 for e in expected)

    batch = Batch.from_data_list([pyramid, methane])
    both = orbit_candidates(batch)
    assert both.shape == (9, 6, 3)
    loss, index = orbit_loss(torch.cat([-pyramid.y, images[:, 3]]), both, batch.batch, return_index=True)
    assert loss < 1e-12
    assert index.tolist() == [1, 3]

    strained = from_ase(bulk("CsCl", "cesiumchloride", a=4.1), torch.float64)
    strained.strain = torch.diag(torch.tensor([0.0, 0.0, 0.1], dtype=torch.float64))[None]
    assert orbit_candidates(strained, {"strain": "0e+2e"}).shape == (1, 3, 6)
    graph = graph_data(nx.cycle_graph(4))
    graph.y = torch.tensor([1.0, 0.0, 0.0, 0.0])
    images = orbit_candidates(graph)[..., 0].T
    assert images[0].tolist() == graph.y.tolist()
    assert sorted(images.tolist(), reverse=True) == torch.eye(4).tolist()


def test_a_function_for_objects_and_targets_alone():
    data = planar_ammonia()
    symmetry = detect_symmetry(data)
    objects = GroupIndexed("C3v").objects(data, symmetry)
    b = paired_object(objects, data, symmetry, read_target(data))
    turn = torch.from_numpy(Rotation.random(random_state=1).as_matrix())
    data.pos, data.y = data.pos @ turn.T, data.y @ turn.T
    symmetry = detect_symmetry(data)
    moved = paired_object(GroupIndexed("C3v").objects(data, symmetry), data, symmetry, read_target(data))
    torch.testing.assert_close(moved, b @ turn.T)
