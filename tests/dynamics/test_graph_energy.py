"""An energy changes under what is outside of its group, and under nothing inside."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from pyg_symbreak.dynamics import GraphEnergy
from pyg_symbreak.dynamics.invariants import Invariants, affine_generators
from pyg_symbreak.groups import LieGroup

SCREW = np.zeros((1, 4, 4))  # a turn about an axis through (1, 2, 0) along z, and a climb
SCREW[0, 0, 1], SCREW[0, 1, 0], SCREW[0, :3, 3] = -1, 1, [2, -1, 0.3]
BOOST = np.array([[[0.0, 1.0], [1.0, 0.0]]])  # of the plane of space and time
STRETCH = np.diag([1.0, -1.0])[None]
GROUPS = {
    "trivial": (2, None),
    "T2": (2, LieGroup.translations(2)),
    "SO2": (2, LieGroup.rotations(2)),
    "SE2": (2, LieGroup.euclidean(2)),
    "T3": (3, LieGroup.translations(3)),
    "SO3": (3, LieGroup.rotations(3)),
    "SE3": (3, LieGroup.euclidean(3)),
    "SE4": (4, LieGroup.euclidean(4)),
    "about an axis": (3, LieGroup(LieGroup.rotations(3).generators[2:])),
    "screw": (3, LieGroup(SCREW)),
    "boosts": (2, LieGroup(BOOST)),
    "squeezes": (2, LieGroup(STRETCH)),
}


def random_batch(dim, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    graphs = []
    for n in (3, 1, 4):
        index = torch.combinations(torch.arange(n), 2).T
        data = Data(edge_index=torch.cat([index, index.flip(0)], 1))
        for name, size in (("pos", dim), ("momentum", dim), ("vel", dim), ("x", 2)):
            data[name] = torch.randn(n, size, generator=g, dtype=torch.float64).to(dtype)
        graphs.append(data)
    return Batch.from_data_list(graphs)


def moved(batch, linear, shift):
    """Each graph under an element x → gx + t of its own, momenta by the inverse transpose: pairings p · v stay."""
    out = batch.clone()
    g, t = torch.as_tensor(linear)[batch.batch], torch.as_tensor(shift)[batch.batch]
    out.pos = torch.einsum("nij,nj->ni", g, batch.pos) + t
    out.vel = torch.einsum("nij,nj->ni", g, batch.vel)
    out.momentum = torch.einsum("nji,nj->ni", torch.linalg.inv(g), batch.momentum)
    return out


@pytest.mark.parametrize("inputs", [("pos",), ("pos", "momentum"), ("pos", "momentum", "vel")])
@pytest.mark.parametrize("name", GROUPS)
def test_the_group_and_no_more(name, inputs):
    dim, group = GROUPS[name]
    torch.manual_seed(0)
    energy = GraphEnergy(dim, group, inputs, features=2, hidden=16, layers=2).double()
    batch = random_batch(dim)
    before = energy(batch)
    assert before.shape == (3,)
    if group is not None:
        elements = group.sample(3, scale=0.7, generator=np.random.default_rng(1))
        shift = elements[:, :dim, dim] if group.size > dim else np.zeros((3, dim))
        after = energy(moved(batch, elements[:, :dim, :dim], shift))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-11)
    linear, shift = affine_generators(group, dim)
    rng = np.random.default_rng(2)
    outside = []
    for turn, step in ((rng.normal(size=(dim, dim)), np.zeros(dim)), (np.zeros((dim, dim)), rng.normal(size=dim))):
        turn = turn - turn.T
        within = np.concatenate([linear, shift[..., None]], -1).reshape(len(linear), dim * (dim + 1))
        wanted = np.concatenate([turn, step[:, None]], -1).ravel()
        if np.linalg.matrix_rank(np.vstack([within, wanted]), 1e-8) > len(within):
            outside.append((LieGroup(turn[None]).exp([1.0]) if turn.any() else np.eye(dim), step))
    for g, t in outside:
        change = energy(moved(batch, np.array([g] * 3), np.array([t] * 3))) - before
        assert change.abs()[[0, 2]].min() > 1e-5


def test_numbering_and_batching_change_nothing():
    torch.manual_seed(0)
    energy = GraphEnergy(3, LieGroup.euclidean(3), features=2, hidden=16, layers=2).double()
    batch = random_batch(3)
    torch.testing.assert_close(torch.cat([energy(d) for d in batch.to_data_list()]), energy(batch), atol=1e-14, rtol=0)
    data = batch[2]
    order = torch.tensor([2, 0, 3, 1])
    numbered = Data(edge_index=order.argsort()[data.edge_index])
    for name in ("pos", "momentum", "x"):
        numbered[name] = data[name][order]
    torch.testing.assert_close(energy(numbered), energy(data), atol=1e-14, rtol=0)
    data.x = data.x.flip(0)
    assert (energy(numbered) - energy(data)).abs() > 1e-4


def test_invariants_are_the_known_ones():
    """Of one point and momentum: components, scalar and cross products; of a pair under SE(2): those of p, p', r."""
    p = GraphEnergy(2, LieGroup.euclidean(2), hidden=4)
    assert str(p.node_invariants) == "Invariants(0 linear, 1 quadratic)"  # |p|²
    assert str(p.edge_invariants) == "Invariants(0 linear, 9 quadratic)"  # six scalar, three cross products
    z = torch.tensor([[1.0, 5, 5, 3, 4, 1, 0, 0, 2]]).double()  # pos, r = (3, 4), p = (1, 0), p' = (0, 2)
    values = p.edge_invariants(z)
    expected = [25, 1, 4, 3, 8, 0, 3 * 0 - 4 * 1, 3 * 2 - 4 * 0, 2]
    assert sorted(values[0].tolist()) == pytest.approx(sorted(expected), abs=1e-12)
    assert str(GraphEnergy(2, hidden=4).edge_invariants) == "Invariants(8 linear, 0 quadratic)"
    assert (
        str(GraphEnergy(3, LieGroup.translations(3), hidden=4).edge_invariants) == "Invariants(9 linear, 0 quadratic)"
    )
    assert str(GraphEnergy(3, LieGroup.rotations(3), hidden=4).node_invariants) == "Invariants(0 linear, 3 quadratic)"
    about_z = GraphEnergy(3, LieGroup(LieGroup.rotations(3).generators[2:]), inputs=("pos",), hidden=4)
    found = about_z.node_invariants(torch.tensor([[1.0, 3, 4, 7]]).double())
    assert found[0].tolist() == pytest.approx([7, 25], abs=1e-12)
    # Squeezes leave xy, and momentum against position x px, y py; nothing of position is linear.
    squeezed = GraphEnergy(2, LieGroup(STRETCH), hidden=4)
    found = squeezed.node_invariants(torch.tensor([[1.0, 2, 3, 5, 7]]).double())
    assert sorted(found[0].tolist()) == pytest.approx([2 * 3, 2 * 5, 3 * 7, 5 * 7], abs=1e-12)


def test_a_generator_leaves_the_invariants_for_random_actions():
    rng = np.random.default_rng(0)
    for size in (3, 5):
        turn = rng.normal(size=(2, size, size))
        turn = turn - turn.swapaxes(1, 2)
        turn[:, 0] = 0
        turn[:, :, 0] = 0
        invariants = Invariants(turn[:1])
        z = torch.from_numpy(rng.normal(size=(4, size)))
        z[:, 0] = 1
        element = torch.linalg.matrix_exp(0.8 * torch.from_numpy(turn[0]))
        torch.testing.assert_close(invariants(z @ element.T), invariants(z))
        other = torch.linalg.matrix_exp(0.8 * torch.from_numpy(turn[1]))
        assert size == 3 or (invariants(z @ other.T) - invariants(z)).abs().max() > 0.1


def test_time_reversal():
    torch.manual_seed(0)
    batch, reverse = random_batch(2), random_batch(2)
    reverse.momentum = -batch.momentum
    for group in (None, LieGroup.euclidean(2)):
        assert (GraphEnergy(2, group).double()(batch) - GraphEnergy(2, group).double()(reverse)).abs().min() > 1e-4
        even = GraphEnergy(2, group, time_reversal=True).double()
        assert torch.equal(even(batch), even(reverse))


def test_far_from_the_origin_in_single_precision():
    torch.manual_seed(0)
    energy = GraphEnergy(3, LieGroup.euclidean(3), ("pos",))
    batch = random_batch(3, dtype=torch.float32)
    batch.pos = (batch.pos * 8).round() / 8  # so that the sums are exact
    far = batch.clone()
    far.pos = batch.pos + 4096
    assert torch.equal(energy(far), energy(batch))


def test_gradients_of_second_order():
    torch.manual_seed(0)
    energy = GraphEnergy(2, LieGroup.euclidean(2), ("pos",), hidden=8).double()
    data = random_batch(2)[0]

    def of(pos):
        moved = data.clone()
        moved.pos = pos
        return energy(moved)

    assert torch.autograd.gradgradcheck(of, data.pos.requires_grad_())


def test_faults_are_named():
    data = Data(pos=torch.zeros(2, 3), edge_index=torch.zeros(2, 0, dtype=torch.long))
    with pytest.raises(ValueError, match=r"data\.momentum is missing"):
        GraphEnergy(3)(data)
    with pytest.raises(ValueError, match=r"data.pos has shape \[2, 3\]: GraphEnergy needs \[2, 2\]"):
        GraphEnergy(2, inputs=("pos",))(data)
    with pytest.raises(ValueError, match=r"data\.x is missing"):
        GraphEnergy(3, inputs=("pos",), features=1)(data)
    with pytest.raises(ValueError, match="inputs must be some of pos, momentum, vel"):
        GraphEnergy(3, inputs=("q",))
    with pytest.raises(ValueError, match="size 2: on points of dimension 3 they must have size 3, or 4"):
        GraphEnergy(3, LieGroup.rotations(2))
    with pytest.raises(ValueError, match="leaves no polynomial of first or second degree in pos invariant"):
        GraphEnergy(3, LieGroup.scalings(3), inputs=("pos",))
    with pytest.raises(ValueError, match="does not keep the 1"):
        GraphEnergy(2, LieGroup(np.eye(3)[None]))
