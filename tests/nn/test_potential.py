import itertools

import pytest
import torch
from nn_graphs import prism, random_orthogonal, representation
from torch_geometric.data import Batch, Data

from pyg_symbreak.nn import Potential
from pyg_symbreak.transforms import NeighborList

ELEMENTS, OBJECT, RADIUS = [6, 1, 8], "1o+1e+2e", 4.0


def potential(**kwargs) -> Potential:
    """A potential made in float32 whose object reaches all that is hidden."""
    torch.manual_seed(0)
    defaults = {"irreps_breaking": OBJECT, "max_radius": RADIUS, "num_neighbors": 6.0, "scale": [1.0, 2.0, 3.0]}
    defaults |= {"hidden": "8x0e+4x0o+4x1o+4x1e+2x2e+2x2o", "lmax": 2, "layers": 3}
    return Potential(ELEMENTS, **{**defaults, **kwargs}).double()


def structure(seed: int = 0, count: int = 7) -> Data:
    """Atoms 1 Å apart or more, with an object."""
    generator = torch.Generator().manual_seed(seed)
    grid = 1.6 * torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 3)[:count]
    pos = grid + 0.3 * torch.rand(count, 3, generator=generator, dtype=torch.float64)
    z = torch.tensor(ELEMENTS)[torch.randint(3, (count,), generator=generator)]
    breaking = torch.randn(1, 11, generator=generator, dtype=torch.float64)
    return NeighborList(RADIUS)(Data(z=z, pos=pos, breaking=breaking))


def crystal(seed: int = 0) -> Data:
    """A periodic structure."""
    data = structure(seed)
    cell = torch.tensor([[[3.6, 0, 0], [0.2, 3.7, 0], [0, 0.3, 3.8]]], dtype=torch.float64)
    periodic = Data(z=data.z, pos=data.pos, cell=cell, pbc=torch.ones(1, 3) > 0, breaking=data.breaking)
    return NeighborList(RADIUS)(periodic)


def moved(data: Data, rotation: torch.Tensor) -> Data:
    """Rotated with its object, and translated."""
    data = data.clone()
    data.pos = data.pos @ rotation.T + 0.7
    data.breaking = data.breaking @ representation(OBJECT, rotation).T
    if "cell" in data:
        data.cell = data.cell @ rotation.T
    return data


@pytest.mark.parametrize("make", [structure, crystal])
def test_energy_is_invariant_and_forces_equivariant(make):
    model, data, generator = potential(), make(), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(3):
        energy, forces = model.energy_and_forces(data)
        assert forces.abs().max() > 1e-2
        assert forces.sum(dim=0).abs().max() < 1e-11
        for improper in (False, True):
            rotation = random_orthogonal(improper, generator)
            energy_moved, forces_moved = model.energy_and_forces(moved(data, rotation))
            torch.testing.assert_close(energy_moved, energy, rtol=0, atol=1e-11)
            torch.testing.assert_close(forces_moved, forces @ rotation.T, rtol=0, atol=1e-11)
            fixed = moved(data, rotation)
            fixed.breaking = data.breaking
            assert (model(fixed) - energy).abs().max() > 1e-5
        optimizer.zero_grad()
        (forces.square().mean() + energy.square().sum()).backward()
        optimizer.step()


def test_permuted_atoms():
    model, data = potential(), structure()
    order = torch.randperm(data.num_nodes, generator=torch.Generator().manual_seed(0))
    again = data.clone()
    again.z, again.pos, again.edge_index = data.z[order], data.pos[order], order.argsort()[data.edge_index]
    (energy, forces), (energy_again, forces_again) = model.energy_and_forces(data), model.energy_and_forces(again)
    torch.testing.assert_close(energy_again, energy, rtol=0, atol=1e-11)
    torch.testing.assert_close(forces_again, forces[order], rtol=0, atol=1e-11)


@pytest.mark.parametrize("make", [structure, crystal])
def test_forces_are_slopes_of_the_energy(make):
    model, data, h = potential(), make(), 1e-5
    _, forces = model.energy_and_forces(data)
    assert not data.pos.requires_grad
    for atom, axis in itertools.product(range(0, data.num_nodes, 3), range(3)):
        energies = []
        for sign in (1, -1):
            shifted = data.clone()
            shifted.pos[atom, axis] += sign * h
            energies.append(model(shifted).item())
        assert -(energies[0] - energies[1]) / (2 * h) == pytest.approx(forces[atom, axis].item(), rel=1e-6, abs=1e-7)


def test_energies_add_up():
    """Of graphs in a batch, of parts of one graph, and of supercells."""
    model, parts = potential(), [structure(0), structure(1, count=5)]
    parts[1].breaking = parts[0].breaking
    alone = torch.cat([model(part) for part in parts])
    torch.testing.assert_close(model(Batch.from_data_list(parts)), alone, rtol=0, atol=1e-12)

    far = torch.tensor([100.0, 0.0, 0.0], dtype=torch.float64)
    both = Data(
        z=torch.cat([parts[0].z, parts[1].z]), pos=torch.cat([parts[0].pos, parts[1].pos + far]), breaking=far[None, :1]
    )
    both.breaking = parts[0].breaking
    both = NeighborList(RADIUS)(both)
    energy, forces = model.energy_and_forces(both)
    torch.testing.assert_close(energy, alone.sum()[None], rtol=0, atol=1e-11)
    expected = torch.cat([model.energy_and_forces(part)[1] for part in parts])
    torch.testing.assert_close(forces, expected, rtol=0, atol=1e-10)

    one = crystal()
    images = torch.cat([one.pos, one.pos + one.cell[0, 0], one.pos + 2 * one.cell[0, 0]])
    cell = one.cell * torch.tensor([[[3.0], [1.0], [1.0]]], dtype=torch.float64)
    three = NeighborList(RADIUS)(Data(z=one.z.repeat(3), pos=images, cell=cell, pbc=one.pbc, breaking=one.breaking))
    torch.testing.assert_close(model(three), 3 * model(one), rtol=1e-12, atol=1e-10)


def test_smooth_where_an_atom_leaves():
    """Energy, forces and their slopes go to those without the edge; closer the edge counts."""
    model, breaking = potential(), structure().breaking

    def at(distance: float, edges: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pos = torch.tensor([[0.0, 0, 0], [1.1, 0.3, 0], [0, 0, distance]], dtype=torch.float64, requires_grad=True)
        data = Data(z=torch.tensor([6, 1, 8]), pos=pos, edge_index=torch.tensor(edges).T, breaking=breaking)
        energy, forces = model.energy_and_forces(data)
        return energy, forces, torch.autograd.grad(forces[2, 2], pos)[0]

    without, with_edge = [[0, 1], [1, 0]], [[0, 1], [1, 0], [0, 2], [2, 0]]
    differences = [
        [(a - b).abs().max().item() for a, b in zip(at(r, with_edge), at(r, without), strict=True)]
        for r in (2.0, RADIUS - 1e-2, RADIUS - 1e-3, RADIUS, RADIUS + 1.0)
    ]
    assert min(differences[0]) > 1e-2
    for order, (near, nearer) in enumerate(zip(*differences[1:3], strict=True)):
        assert 0 < nearer < 0.2 * near, order  # the cutoff falls as (r_max - r)³
    assert max(differences[3] + differences[4]) < 1e-13


def test_density_is_seen():
    """A neighbour more of the same kind, at the same place, changes the energy of the others: nothing is averaged."""
    model, energies = potential(irreps_breaking=None), []
    for count in (1, 2, 3):
        pos = torch.tensor([[0.0, 0, 0]] + [[0, 0, 1.5]] * count, dtype=torch.float64)
        edges = torch.tensor([[n, 0] for n in range(1, count + 1)]).T
        energies.append(model(Data(z=torch.tensor([6] + [1] * count), pos=pos, edge_index=edges)))
    # Without edges to them the neighbours have a constant energy each.
    second = energies[2] - 2 * energies[1] + energies[0]
    assert second.abs() > 1e-4


def test_sums_are_divided_by_the_root_of_the_number_of_neighbors():
    data, twice = structure(), structure()
    twice.edge_index = data.edge_index.repeat(1, 2)
    expected = potential(num_neighbors=3.0)(data)
    torch.testing.assert_close(potential(num_neighbors=12.0)(twice), expected, rtol=1e-12, atol=1e-12)
    assert (potential(num_neighbors=3.0)(twice) - expected).abs() > 1e-3


def test_isolated_atoms_have_the_energies_of_their_elements():
    model = potential(irreps_breaking=None, shift=[-10.0, -20.0, -30.0], scale=1.0)
    data = Data(z=torch.tensor([1, 6, 8]), pos=torch.randn(3, 3).double(), edge_index=torch.empty(2, 0).long())
    with torch.no_grad():
        model.scale.zero_()
    torch.testing.assert_close(model(data), torch.tensor([-60.0]).double())
    assert model.shift.tolist() == [-20.0, -10.0, -30.0]  # sorted by atomic number
    model.reset_parameters()
    assert model.scale.tolist() == [1.0, 1.0, 1.0]


def test_the_same_in_evaluation_mode_and_without_gradients():
    model, data = potential(), structure()
    energy, forces = model.energy_and_forces(data)
    assert forces.requires_grad
    model.eval()
    with torch.no_grad():
        energy_again, forces_again = model.energy_and_forces(data)
    assert not forces_again.requires_grad
    torch.testing.assert_close(energy_again, energy.detach())
    torch.testing.assert_close(forces_again, forces.detach())


def test_messages_give_the_same():
    model, data = potential(), structure()
    energy, forces = model.energy_and_forces(data)
    for conv in model.convs:
        conv.fuse = False
    energy_again, forces_again = model.energy_and_forces(data)
    torch.testing.assert_close(energy_again, energy)
    torch.testing.assert_close(forces_again, forces)


def test_symmetric_structures_have_symmetric_forces_unless_an_object_breaks_them():
    data = prism()
    data.z, data.pos = torch.full((6,), 6), 1.2 * data.pos.double()
    torch.manual_seed(0)
    model = Potential([6], "1o", max_radius=4.0, num_neighbors=3.0, lmax=1, layers=3).double()
    data.breaking = torch.zeros(1, 3, dtype=torch.float64)
    _, forces = model.energy_and_forces(data)
    torch.testing.assert_close(forces[:, :2].norm(dim=1), forces[0, :2].norm().expand(6), rtol=0, atol=1e-12)
    data.breaking = torch.tensor([[0.3, 0.7, 0.5]], dtype=torch.float64)
    _, broken = model.energy_and_forces(data)
    assert broken.norm(dim=1).std() > 1e-4


def test_errors():
    data = structure()
    with pytest.raises(ValueError, match="data lacks z, edge_index"):
        potential()(Data(pos=data.pos))
    with pytest.raises(ValueError, match=r"data.pos is torch.float64, the potential torch.float32"):
        potential().float()(data)
    with pytest.raises(ValueError, match="data has no object breaking"):
        potential()(Data(z=data.z, pos=data.pos, edge_index=data.edge_index))
    data.z = torch.full_like(data.z, 26)
    with pytest.raises(ValueError, match=r"atomic numbers \[26\], the potential \[1, 6, 8\]"):
        potential()(data)
    with pytest.raises(ValueError, match="num_neighbors, the mean number of edges of an atom, must be positive, got 0"):
        potential(num_neighbors=0)
    with pytest.raises(ValueError, match=r"elements must be different atomic numbers, got \[6, 6\]"):
        Potential([6, 6], max_radius=4.0, num_neighbors=6.0)
    with pytest.raises(ValueError, match="max_radius must be a positive length, got 0"):
        potential(max_radius=0.0)


def test_repr():
    model = Potential([6, 1], "1o", max_radius=5.0, num_neighbors=8.0)
    assert repr(model) == "Potential([1, 6], irreps_breaking=1x1o, layers=2, lmax=1, max_radius=5.0)"
