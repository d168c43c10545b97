"""Learned objects: what they find is what group theory allows, keeps what the target keeps, and fits the protocol."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from e3nn import o3
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch, Data

from pyg_symbreak.breaking import Breaking, Target, target_stabilizer
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.nn import (
    BreakingConv,
    EdgeEmbedding,
    GatedNetwork,
    LearnedBreaking,
    ObjectAdam,
    curie_gradient,
    fit_breaking,
)
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

IRREPS = "0o+1o+1e+2e+2o"
CORNERS = torch.tensor([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]], dtype=torch.float64)
TARGETS = {  # displacements of the corners of a square
    "rectangle": CORNERS * torch.tensor([0.5, -0.5, 0.0]),
    "rhombus": CORNERS[:, [1, 0, 2]] * torch.tensor([0.3, 0.3, 0.0]),
    "puckered": torch.tensor([[0, 0, 0.3], [0, 0, -0.3]] * 2),
    "trapezium": torch.tensor([[0.2, 0, 0], [-0.2, 0, 0], [0.1, 0, 0], [-0.1, 0, 0]]),
    "lifted": torch.tensor([[0.0, 0, 0.4]] * 4),
    "turned": CORNERS[:, [1, 0, 2]] * torch.tensor([-0.2, 0.2, 0.0]),
}


pytestmark = pytest.mark.usefixtures("double")


def square(seed: int = 0) -> tuple[Data, torch.Tensor]:
    """A square in a random orientation, and the rotation."""
    turn = torch.from_numpy(Rotation.random(random_state=seed).as_matrix())
    pos = CORNERS.to(turn) @ turn.T
    edges = (1 - torch.eye(4)).nonzero().T
    return Data(pos=pos, z=torch.ones(4, dtype=torch.long), x=torch.ones(4, 1), edge_index=edges), turn


def network(irreps: str, seed: int = 0) -> GatedNetwork:
    torch.manual_seed(seed)
    hidden = "6x0e+4x0o+4x1o+4x1e+4x2e+4x2o"
    return GatedNetwork("0e", "1o", irreps, max_radius=3.0, hidden=hidden, lmax=2, layers=2)


def called_for(symmetry, target: torch.Tensor) -> set[str]:
    """Irreps of an object that Stab(x, y) fixes more of than S does: worked out from the matrices."""
    kept, _ = target_stabilizer(symmetry, Target(o3.Irreps("1o"), target), 1e-6)

    def fixed(group, irrep):
        return round(np.trace(irreps_matrices(irrep, group.matrices).mean(0)))

    return {str(ir) for _, ir in o3.Irreps(IRREPS) if fixed(kept, str(ir)) > fixed(symmetry.group, str(ir))}


def in_residual(symmetry, target: torch.Tensor) -> set[str]:
    """Irreps that have, under S, a part in common with what the residual has: by characters of S on the residual."""
    rotations, permutations = symmetry.rotations, symmetry.permutations
    moved = torch.zeros(len(rotations), *target.shape)
    moved.scatter_(1, permutations[:, :, None].expand_as(moved), torch.einsum("gij,nj->gni", rotations, target))
    flat = (moved - moved.mean(0)).flatten(1)
    basis = torch.linalg.svd(flat, full_matrices=False)
    basis = basis.Vh[basis.S > 1e-8]  # the space that S makes of the residual
    shared = set()
    for _, ir in o3.Irreps(IRREPS):
        d = torch.from_numpy(irreps_matrices(str(ir), rotations.numpy()))
        full = torch.zeros(len(rotations), 4, 3, 4, 3)
        for g, p in enumerate(permutations):
            full[g, p, :, torch.arange(4)] = rotations[g]
        character = torch.einsum("ki,gij,kj->g", basis, full.reshape(-1, 12, 12), basis)
        if (character * d.diagonal(dim1=1, dim2=2).sum(1)).mean() > 0.5:
            shared.add(str(ir))
    return shared


@pytest.mark.parametrize("name", TARGETS)
def test_gradient_at_zero_names_the_irreps_of_the_residual(name):
    data, turn = square(1)
    target = TARGETS[name].to(turn) @ turn.T
    symmetry = detect_symmetry(data)
    assert symmetry.group.schoenflies == "D4h"
    found = curie_gradient(network(IRREPS), data, target, symmetry)
    largest = max(found.values())
    assert {ir for ir, size in found.items() if size > 1e-6 * largest} == in_residual(symmetry, target)
    assert max([0.0, *(s for ir, s in found.items() if ir not in in_residual(symmetry, target))]) < 1e-10


def test_gradient_of_a_symmetric_target_names_nothing():
    data, _ = square(2)
    found = curie_gradient(network(IRREPS), data, data.pos * 0.1, detect_symmetry(data))
    assert max(found.values()) < 1e-12
    with pytest.raises(ValueError, match="output"):
        curie_gradient(network(IRREPS), data, data.pos[:2], detect_symmetry(data))


def test_order_parameter_of_a_rectangle():
    """Smidt, Geiger & Miller: 2e, and of the square's D4h it keeps the D2h of the rectangle."""
    data, turn = square(3)
    target = TARGETS["rectangle"].to(turn) @ turn.T
    symmetry = detect_symmetry(data)
    model, learned = network(IRREPS), LearnedBreaking(IRREPS, per="graph")
    bound = curie_residual(target, symmetry.rotations, symmetry.permutations) / 12

    history = fit_breaking(model, learned, lambda: (model(learned(data)) - target).square().mean(), 60)
    assert history[0] >= bound
    assert history[-1] < 0.1 * bound
    sizes = learned.sizes(symmetry)
    assert {ir for ir, size in sizes.items() if size > 1e-8} == called_for(symmetry, target) == {"2e"}
    kept, mask = learned.stabilizer(symmetry)
    expected, same = target_stabilizer(symmetry, Target(o3.Irreps("1o"), target), 1e-6)
    assert (kept == expected, kept.schoenflies, mask.tolist()) == (True, "D2h", same.tolist())
    found = learned.breaking_set(symmetry)
    assert (found.size, found.keep == expected, str(found.irreps)) == (2, True, "1x2e")

    # a Breaking like any other: the other image gives the other rectangle
    assert isinstance(learned, Breaking)
    both = AddSymmetryBreaking(learned, choose="all")(data)
    assert both.breaking.shape == (2, 17)
    answers = model(both).detach().view(2, 4, 3)
    quarter = torch.linalg.matrix_exp(torch.pi / 2 * turn @ torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]]) @ turn.T)
    assert (answers[1] - (answers[0] @ quarter.T)[[3, 0, 1, 2]]).abs().max() < 1e-6
    assert f"'1e': 0.0, '2e': {sizes['2e']:.4f}"[:-2] in repr(learned)


def test_adam_on_components_turns_an_object_away():
    """Why objects have an optimizer of their own: plain Adam finds irreps that are not there."""
    data, turn = square(3)
    target = TARGETS["rectangle"].to(turn) @ turn.T
    symmetry = detect_symmetry(data)
    off = []
    for make in (torch.optim.Adam, ObjectAdam):
        model, learned = network(IRREPS), LearnedBreaking(IRREPS, per="graph")
        optimizer = make(learned.parameters() if make is torch.optim.Adam else learned, lr=1e-2)
        for _ in range(5):
            optimizer.zero_grad()
            (model(learned(data)) - target).square().mean().backward()
            optimizer.step()
        off.append(max(size for ir, size in learned.sizes(symmetry).items() if ir != "2e"))
    assert off[0] > 1e-4
    assert off[1] < 1e-8


def test_constrained_to_all_symmetry_it_stays_at_the_bound():
    data, turn = square(4)
    target = TARGETS["rectangle"].to(turn) @ turn.T
    symmetry = detect_symmetry(data)
    model, learned = network("1o+2e"), LearnedBreaking("1o+2e", per="graph").constrain(symmetry.group)
    bound = curie_residual(target, symmetry.rotations, symmetry.permutations) / 12
    history = fit_breaking(model, learned, lambda: (model(learned(data)) - target).square().mean(), 25)
    assert min(history) >= bound - 1e-12
    assert max(learned.sizes(symmetry).values()) < 1e-12
    with torch.no_grad():
        learned.rows.normal_()
    assert learned.stabilizer(symmetry)[0] == symmetry.group
    learned.constrain(symmetry.group.subgroup("C4v"))
    assert learned.stabilizer(symmetry)[0].schoenflies == "C4v"
    assert learned.constrain(None).stabilizer(symmetry)[0].schoenflies == "C1"


# ---------------------------------------------------------------------- one field for a data set


def particles(law: str, count: int = 128, seed: int = 0) -> tuple[Batch, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs of places of a charged particle one time step apart, its acceleration, and unit fields E and B."""
    numbers = torch.Generator().manual_seed(seed)
    electric, magnetic = torch.nn.functional.normalize(torch.randn(2, 3, generator=numbers), dim=1)
    velocity = torch.randn(count, 3, generator=numbers)
    clean = electric + torch.linalg.cross(velocity, magnetic.expand_as(velocity)) if law == "fields" else -velocity
    noisy = clean + 0.05 * torch.randn(count, 3, generator=numbers)
    one_way = torch.tensor([[0], [1]])
    graphs = [Data(x=torch.ones(2, 1), pos=torch.stack([-v, 0 * v]), edge_index=one_way) for v in velocity]
    return Batch.from_data_list(graphs), noisy, electric, magnetic


def learned_fields(law: str, steps: int, seed: int = 0):
    batch, target, electric, magnetic = particles(law, seed=seed)
    torch.manual_seed(seed)
    edges = EdgeEmbedding(max_radius=10.0, lmax=1)
    conv = BreakingConv("0e", "1o", "1o+1e", lmax=1)
    model, field = torch.nn.ModuleList([edges, conv]), LearnedBreaking("1o+1e")
    source, end = batch.edge_index

    def loss():
        given = field(batch)
        harmonics, radial = edges(batch.pos[end] - batch.pos[source])
        out = conv(batch.x, batch.edge_index, harmonics, radial[0], given.breaking[batch.batch])
        return (out[1::2] - target).square().mean()

    history = fit_breaking(model, field, loss, steps, strength=1e-3, power=0)
    rows = field.value.detach()[0]
    return history[-1], rows[:3], rows[3:], electric, magnetic


def test_electric_and_magnetic_field_are_found():
    loss, polar, axial, electric, magnetic = learned_fields("fields", 250)
    assert loss < 0.03
    assert abs(torch.cosine_similarity(polar, electric, 0)) >= 0.99
    assert abs(torch.cosine_similarity(axial, magnetic, 0)) >= 0.99


def test_a_symmetric_law_has_no_field():
    loss, polar, axial, _, _ = learned_fields("friction", 250)
    assert loss < 0.03
    assert max(polar.norm(), axial.norm()) <= 0.05


# ---------------------------------------------------------------------- rows on nodes


def test_rows_on_nodes_keep_translations_and_read_them_off():
    """Two cubic cells: vectors on the caesium atoms, alike or opposite."""
    atoms = bulk("CsCl", "cesiumchloride", a=4.1).repeat((1, 1, 2))
    data = NeighborList(4.0)(from_ase(atoms, torch.float64))
    symmetry = detect_symmetry(data)
    where = data.z == 55
    learned = LearnedBreaking("1o", per="node", num=4, where=where)
    for signs in ((1.0, 1.0), (1.0, -1.0)):
        with torch.no_grad():
            learned.rows.copy_(torch.eye(3)[2].expand(4, 3))
            learned.rows[where] *= torch.tensor(signs)[:, None]
        assert learned.value[~where].abs().max() == 0
        kept, mask = learned.stabilizer(symmetry)
        moved = learned.objects(data, symmetry).all()
        assert len(moved) == 2  # up and down
        if signs == (1.0, 1.0):
            assert (kept.schoenflies, mask.sum()) == ("C4v", 16)
            assert learned.breaking_set(symmetry).size == 2
        else:
            assert (kept.schoenflies, mask.sum()) == ("D4h", 16)
            with pytest.raises(ValueError, match="translations"):
                learned.breaking_set(symmetry)
    learned.constrain(symmetry)
    assert learned.value.abs().max() < 1e-12
    with pytest.raises(ValueError, match="not its point group"):
        learned.constrain(symmetry.group)


def test_forward_penalty_and_errors():
    graph = Data(pos=torch.zeros(3, 3))
    batch = Batch.from_data_list([graph, graph])
    learned = LearnedBreaking("0e+1o+2e", per="graph", num=2)
    with torch.no_grad():
        learned.rows.copy_(torch.arange(18.0).view(2, 9))
    out = learned(batch)
    assert out.breaking_irreps == "1x0e+1x1o+1x2e"
    assert torch.equal(out.breaking, learned.rows)
    assert "breaking" not in batch
    lengths = [learned.rows[:, s].norm(dim=1).mean() for s in (slice(1, 4), slice(4, 9))]
    assert learned.penalty().item() == pytest.approx((2 * lengths[0] + 65 * lengths[1]).item())
    assert learned.penalty(0).item() == pytest.approx((lengths[0] + lengths[1]).item())
    turn = torch.from_numpy(irreps_matrices(learned.irreps, PointGroup("Ih").matrices[7:8]))[0]
    before = learned.penalty().item()
    with torch.no_grad():
        learned.rows.copy_(learned.rows @ turn.T)
    assert learned.penalty().item() == pytest.approx(before)

    batch.breaking_id = torch.tensor([1, 1])
    assert torch.equal(learned(batch).breaking, learned.rows[[1, 1]])
    with pytest.raises(ValueError, match="breaking_id"):
        learned(graph)
    batch.breaking_id = torch.tensor([1, 2])
    with pytest.raises(ValueError, match="from 0 to 1"):
        learned(batch)
    assert LearnedBreaking("1o")(batch).breaking.shape == (2, 3)
    assert LearnedBreaking("1o", per="node", num=6)(Batch.from_data_list([graph, graph])).breaking.shape == (6, 3)
    empty = LearnedBreaking("0e")
    assert empty.penalty() == 0
    empty.penalty().backward()
    for kwargs, message in (
        ({"per": "atom"}, "'node'"),
        ({"num": 2}, "is 1 for a data set"),
        ({"per": "node", "num": 2, "where": torch.ones(3, dtype=torch.bool)}, r"bool \[2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            LearnedBreaking("1o", **kwargs)
    with pytest.raises(ValueError, match="continuous"):
        LearnedBreaking("1o").constrain(PointGroup("Cinfv"))
    learned.reset_parameters()
    assert learned.rows.abs().max() == 0
