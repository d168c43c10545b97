import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.data import covalent_radii
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch, Data

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.diagnosis import vector_residual
from pyg_symbreak.nn import ForceField
from pyg_symbreak.nn.force_field import _Layer, without_rigid_motion
from pyg_symbreak.testing import equivariance_error

SMALL = "6x0e+5x1o+3x2e"


pytestmark = pytest.mark.usefixtures("double")


def graph(name, noise=0.0, seed=0):
    atoms = molecule(name)
    draw = np.random.default_rng(seed)
    pos = atoms.positions @ Rotation.random(random_state=seed).as_matrix().T + noise * draw.standard_normal(
        (len(atoms), 3)
    )
    z = torch.from_numpy(atoms.numbers).long()
    return Data(
        x=torch.stack([z / 10, torch.ones(len(z))], dim=1).double(),
        radius=torch.from_numpy(covalent_radii[atoms.numbers]),
        pos=torch.from_numpy(pos),
        edge_index=(1 - torch.eye(len(z))).nonzero().T,
        z=z,
    )


@pytest.fixture
def field():
    torch.manual_seed(0)
    return ForceField(2, SMALL, layers=2, width=8).double()


@pytest.mark.parametrize("name", ["CH3OH", "C2H4", "CO2", "BF3"])
def test_forces_turn_with_the_molecule(field, name):
    data = graph(name, 0.1)
    del data.z
    assert equivariance_error(field, data, "1o") < 1e-10
    bent = lambda d: field(d) + 1e-3 * d.pos.abs()  # noqa: E731
    assert equivariance_error(bent, data, "1o") > 1e-5


@pytest.mark.parametrize("name", ["BF3", "CH4", "C6H6", "CO2", "C2H6"])
def test_forces_on_a_symmetric_molecule_are_symmetric(field, name):
    data = graph(name)
    symmetry = detect_symmetry(Data(pos=data.pos, z=data.z), 1e-3)
    forces = field(data).detach()
    size = float(forces.square().sum())
    assert size > 1e-6
    assert vector_residual(symmetry, forces) < 1e-6 * size  # as exact as the coordinates of the molecule are
    rattled = field(graph(name, 0.1)).detach()
    assert vector_residual(symmetry, rattled) > 1e-4 * size


@pytest.mark.parametrize("name", ["CH3OH", "CO2", "H2"])
def test_neither_resultant_nor_torque(field, name):
    data = graph(name, 0.1)
    forces = field(data)
    assert forces.abs().max() > 1e-4
    assert forces.sum(0).abs().max() < 1e-12
    assert torch.linalg.cross(data.pos, forces).sum(0).abs().max() < 1e-8


def test_what_is_left_is_orthogonal_to_rigid_motion():
    draw = torch.Generator().manual_seed(0)
    pos, vectors = torch.randn(2, 12, 3, generator=draw)
    batch = torch.arange(3).repeat_interleave(4)
    left = without_rigid_motion(pos, vectors, batch)
    for some in pos.split(4):
        assert len(some) == 4
    for p, v, w in zip(pos.split(4), vectors.split(4), left.split(4), strict=True):
        centred = p - p.mean(0)
        rigid = torch.cat(
            [torch.eye(3)[:, None].expand(3, 4, 3), torch.linalg.cross(torch.eye(3)[:, None], centred[None])]
        )
        fitted = torch.linalg.lstsq(rigid.flatten(1).T, v.flatten()).solution
        torch.testing.assert_close(w, v - (fitted[:, None, None] * rigid).sum(0), rtol=0, atol=1e-10)


def test_a_batch_is_its_molecules(field):
    graphs = [graph(name, 0.1) for name in ("CH3OH", "CO2", "BF3")]
    together = field(Batch.from_data_list(graphs))
    torch.testing.assert_close(together, torch.cat([field(g) for g in graphs]), rtol=0, atol=1e-10)


def test_nothing_is_felt_at_the_cutoff(field):
    data = graph("CO2", 0.1)
    alone = field(data)
    for distance, felt in ((4.0, True), (4.9999, False), (5.5, False)):
        far = Data(
            x=torch.cat([data.x, data.x[:1]]),
            radius=torch.cat([data.radius, data.radius[:1]]),
            pos=torch.cat([data.pos, data.pos[:1] + data.pos.new_tensor([[0, 0, 0]])]),
            edge_index=(1 - torch.eye(4)).nonzero().T,
        )
        outward = torch.nn.functional.normalize(data.pos[0] - data.pos.mean(0), dim=0)
        nearest = data.pos[(data.pos @ outward).argmax()]
        far.pos[3] = nearest + distance * outward
        length = (far.pos[far.edge_index[0]] - far.pos[far.edge_index[1]]).norm(dim=1)
        far.edge_index = far.edge_index[:, length < 5]
        field.pair.out.bias.data.fill_(1.0)
        alone = field(data)
        whole = without_rigid_motion(far.pos[:3], field(far)[:3], torch.zeros(3, dtype=torch.long))
        change = (whole - alone).abs().max() / alone.abs().max()
        assert (change > 1e-3) == felt


def test_springs_are_learned():
    """Displaced ammonia with springs on all pairs: the forces are learned, and with them the force constants."""
    torch.manual_seed(0)
    field = ForceField(2, SMALL, layers=1, width=16).double()
    still = graph("NH3")
    source, target = still.edge_index
    rest = (still.pos[source] - still.pos[target]).norm(dim=1)

    def spring(pos):
        r = pos[target] - pos[source]
        length = r.norm(dim=1)
        pull = -2.0 * (length - rest) / length
        return torch.zeros_like(pos).index_add(0, target, pull[:, None] * r)

    draw = torch.Generator().manual_seed(0)
    graphs = [still.clone() for _ in range(48)]
    for g in graphs:
        g.pos = still.pos + 0.1 * torch.randn(4, 3, generator=draw, dtype=torch.float64)
    wanted, batch = torch.cat([spring(g.pos) for g in graphs]), Batch.from_data_list(graphs)
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=250)
    for _ in range(250):
        optimizer.zero_grad()
        loss = (field(batch) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert loss < 1e-2 * wanted.square().mean()

    def constants(force):
        jacobian = torch.autograd.functional.jacobian(force, still.pos)
        return -jacobian.reshape(12, 12)

    learned = constants(lambda pos: field(Data(still.x, still.edge_index, radius=still.radius, pos=pos)))
    exact = constants(spring)
    assert (learned - exact).norm() < 0.2 * exact.norm()


@pytest.mark.parametrize("hidden", ["8x0e+8x1o", "8x0e+8x1o+4x2e+2x1e", "8x1o+4x2e"])
def test_hidden_irreps_of_other_kinds(hidden):
    with pytest.raises(ValueError, match="0e, 1o and 2e"):
        ForceField(2, hidden)


def test_messages_go_from_the_sources_to_the_targets():
    """Each sum of the docstring, edge by edge; what an atom makes of it set to zero."""
    torch.manual_seed(0)
    layer = _Layer((3, 2, 2), 4, 5)
    torch.nn.init.zeros_(layer.mix[-1].weight)
    torch.nn.init.zeros_(layer.mix[-1].bias)
    source, target = torch.tensor([[1, 2, 0, 2], [0, 0, 1, 1]])
    unit = torch.nn.functional.normalize(torch.randn(4, 3), dim=1)
    radial, falling = torch.randn(4, 4), torch.rand(4, 1)
    s, v = torch.randn(3, 3), torch.randn(3, 3, 2)
    t = torch.randn(3, 3, 3, 2)
    found = layer(s, v, t, (source, target, unit, radial, falling))
    factors = layer.edges(layer.norm(s), source, target, radial) * falling / 2
    expected = [x.clone() for x in (s, v, t)]
    for e, (j, i) in enumerate(zip(source, target, strict=True)):
        a, b, c, d = factors[e].split([3, 2, 2, 2])
        r = unit[e]
        expected[0][i] += a
        expected[1][i] += torch.outer(r, b) + c * v[j]
        expected[2][i] += (torch.outer(r, r) - torch.eye(3) / 3)[:, :, None] * d
    for n in (1, 2):  # kept bounded
        axes = tuple(range(1, expected[n].dim()))
        expected[n] = expected[n] / (expected[n].square().mean(axes, keepdim=True) + 1).sqrt()
    torch.testing.assert_close(found, tuple(expected), rtol=1e-12, atol=1e-12)
