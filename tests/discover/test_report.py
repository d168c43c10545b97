import copy

import numpy as np
import pytest
import torch
from ase.build import molecule
from e3nn import o3
from scipy.spatial.transform import Rotation
from torch_geometric.data import Data

from pyg_symbreak.discover import rotation_quadrature, symmetrized, symmetry_report
from pyg_symbreak.groups import wigner_d
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import NeighborList

CUTOFF = 3.0


def structures(*names):
    found = []
    for seed, name in enumerate(names):
        data = from_ase(molecule(name), dtype=torch.float64)
        data.pos = data.pos + 0.05 * torch.randn(data.pos.shape, generator=torch.Generator().manual_seed(seed)).double()
        data.x = data.z[:, None].double() / 8
        found.append(data)
    return found


DATA = structures("CH3OH", "C2H4")


class Network(torch.nn.Module):
    """The library's network, which finds its edges itself; a fault can be built in."""

    def __init__(self, irreps="1o", order=(0, 1, 2), signs=(1.0, 1.0, 1.0)):
        super().__init__()
        torch.manual_seed(0)
        self.net = GatedNetwork("1x0e", irreps, max_radius=CUTOFF, hidden="4x0e+2x1o+2x1e", layers=2).double()
        self.neighbors = NeighborList(cutoff=CUTOFF)
        self.order, self.signs = list(order), torch.tensor(signs, dtype=torch.float64)

    def forward(self, data):
        moved = copy.copy(data)
        moved.pos = data.pos[:, self.order] * self.signs
        return self.net(self.neighbors(moved))


def weights(data):
    """Smooth weights [N, N] of pairs."""
    apart = (data.pos[:, None] - data.pos[None]).norm(dim=2)
    return (-(apart**2)).exp() * data.x


def steps(data):
    return data.pos[None] - data.pos[:, None]


def test_nothing_is_found_where_nothing_is():
    report = symmetry_report(Network(), DATA, "1o", degree=2)
    assert report.faults == []
    assert max(report.rotation, report.inversion, report.permutation, report.translation, report.beyond) < 1e-6
    assert all(value < 1e-6 for name, value in report.irreps.items() if name != "0e")
    assert report.irreps["0e"] == pytest.approx(1, abs=0.3)


def test_symmetric_structures_under_their_own_elements():
    data = from_ase(molecule("C2H4"), dtype=torch.float64)
    data.x = data.z[:, None].double() / 8
    report = symmetry_report(Network(), [data, DATA[0]], "1o", degree=0)
    assert list(report.own) == ["0 (D2h)"]
    assert len(report.own["0 (D2h)"]) == 8
    assert max(report.own["0 (D2h)"].values()) < 1e-6
    base = Network()
    told = symmetry_report(lambda d: base(d) + torch.arange(d.num_nodes)[:, None] * d.pos, [data], "1o", degree=0)
    assert told.own["0 (D2h)"]["identity"] < 1e-12
    assert max(told.own["0 (D2h)"].values()) > 0.1
    assert "the output depends on the order of the nodes" in told.faults


def test_wrong_parity():
    report = symmetry_report(Network("1o"), DATA[:1], "1e", degree=1)
    assert report.faults == ["wrong parity: the output transforms as 1x1o, not as 1x1e"]
    assert report.irreps["0o"] > 0.5
    assert report.irreps["0e"] < 1e-6


def test_handedness_without_parity():
    """A pseudoscalar added to a scalar: half of it changes sign."""

    def model(data):
        w = weights(data)
        frame = torch.stack([torch.einsum("ab,abi->ai", p, steps(data)) for p in (w, w**2, w**3)], 1)
        return torch.linalg.det(100 * frame)[:, None] + steps(data).norm(dim=2).sum(1, keepdim=True)

    report = symmetry_report(model, DATA, "0e")
    assert len(report.faults) == 1
    assert "mirror images" in report.faults[0]


def test_output_in_another_order():
    base = Network()
    report = symmetry_report(lambda data: base(data)[:, [1, 2, 0]], DATA[:1], "1o", degree=1)
    assert report.faults == [
        "the components of the output are in another order or direction: (y, z, x) stand for (x, y, z)"
    ]


def test_output_with_a_mirrored_axis():
    base = Network()
    flip = torch.tensor([1.0, 1.0, -1.0]).double()
    report = symmetry_report(lambda data: base(data) * flip, DATA[:1], "1o", degree=1)
    assert report.faults == [
        "the components of the output are in another order or direction: (x, y, -z) stand for (x, y, z)"
    ]


def test_input_in_another_order_is_the_same_fault():
    report = symmetry_report(Network(order=(1, 2, 0)), DATA[:1], "1o", degree=1)
    assert len(report.faults) == 1
    assert "stand for (x, y, z)" in report.faults[0]


def mixed(data, wrong):
    """Vectors of two layers, of which one has wrong axes: no fixed matrix cures that."""
    right = torch.einsum("ab,abi->ai", weights(data), steps(data))
    return right + torch.einsum("ab,abi->ai", weights(data).square(), wrong(steps(data)))


def test_harmonics_in_the_order_of_old():
    report = symmetry_report(lambda data: mixed(data, lambda s: s[..., [1, 2, 0]]), DATA, "1o")
    assert report.faults == [
        "x, y and z are permuted in one place of the model: e3nn's harmonics of old are ordered y, z, x"
    ]


@pytest.mark.parametrize("axis", range(3))
def test_one_axis_mirrored_inside(axis):
    signs = torch.ones(3).double()
    signs[axis] = -1
    report = symmetry_report(lambda data: mixed(data, lambda s: s * signs), DATA, "1o")
    assert len(report.faults) == 1
    assert f"the {'xyz'[axis]} axis is treated unlike" in report.faults[0]


def test_tensors_in_another_basis():
    harmonics = o3.SphericalHarmonics("2e", normalize=False)

    def model(data):
        out = torch.einsum("ab,abi->ai", weights(data), harmonics(steps(data)))
        return out[:, [1, 0, 2, 3, 4]]

    report = symmetry_report(model, DATA, "2e")
    assert len(report.faults) == 1
    assert "another basis" in report.faults[0]


def test_no_symmetry_at_all():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double()
    report = symmetry_report(lambda data: (net(steps(data)) * weights(data)[:, :, None]).sum(1), DATA, "1o")
    assert report.faults == ["the output does not turn with the structure"]
    assert report.irreps["1e"] + report.irreps["1o"] > 1e-2


@pytest.mark.parametrize("cutoff", [1.83, 2.31])
def test_cutoff_that_jumps(cutoff):
    def model(data):
        apart = (data.pos[:, None] - data.pos[None]).norm(dim=2)
        return ((apart < cutoff) * (data.x + data.x.T)).sum(1, keepdim=True) + apart.sum(1, keepdim=True)

    report = symmetry_report(model, DATA, "0e")
    assert len(report.faults) == 1
    assert f"where two atoms are {cutoff:.3f} Å apart" in report.faults[0]


def test_cells_turn_with_their_atoms():
    """Coordinates along the vectors of an oblique cell are invariants of a crystal."""
    cell = torch.tensor([[[3.0, 0.2, 0.1], [0.9, 3.5, 0.0], [-0.7, 0.4, 4.1]]]).double()
    crystal = Data(z=DATA[0].z, pos=DATA[0].pos, cell=cell, pbc=torch.tensor([[True] * 3]))

    def model(data):
        return (data.pos - data.pos.mean(0)) @ torch.linalg.inv(data.cell[0])

    report = symmetry_report(model, [crystal], "3x0e", degree=0)
    assert report.faults == []
    assert max(report.elements.values()) < 1e-12


def test_steep_is_no_jump():
    def model(data):
        apart = (data.pos[:, None] - data.pos[None]).norm(dim=2)
        return torch.sigmoid((2.0 - apart) / 0.02).sum(1, keepdim=True)

    assert symmetry_report(model, DATA, "0e").faults == []


def test_place():
    report = symmetry_report(lambda data: data.pos.norm(dim=1, keepdim=True), DATA, "0e")
    assert report.faults == ["the output depends on where the structure lies: use differences of positions"]


def test_quadrature_integrates_products_of_wigner_matrices():
    rotations, weights_ = rotation_quadrature(3)
    matrices = wigner_d(3, rotations)
    assert weights_.sum() == pytest.approx(1)
    for l, a in enumerate(matrices):
        for m, b in enumerate(matrices):
            mean = np.einsum("q,qij,qkl->ijkl", weights_, a, b)
            exact = np.einsum("ik,jl->ijkl", np.eye(2 * l + 1), np.eye(2 * l + 1)) / (2 * l + 1) if l == m else 0 * mean
            np.testing.assert_allclose(mean, exact, atol=1e-12)


def test_projections_of_a_known_error():
    """A vector with a fixed tensor on it: D⁻¹ T D v has parts in l = 0 and 2 only, as T has."""
    strain = torch.diag(torch.tensor([1.0, 1.0, 2.0])).double()
    report = symmetry_report(lambda data: mixed(data, lambda s: s) @ strain, DATA, "1o")
    assert report.irreps["2e"] > 0.05
    assert report.variance == pytest.approx(report.irreps["2e"] ** 2, rel=1e-3)
    kept = report.generators.generators  # the turn about z, and the shifts
    assert len(kept) == 4
    assert np.abs(kept[:, [0, 1, 2, 2], [2, 2, 0, 1]]).max() < 1e-6
    assert all(value < 1e-7 for name, value in report.irreps.items() if name not in ("0e", "2e"))
    assert report.beyond < 1e-6


def test_symmetrized_is_equivariant_where_the_error_is_of_low_degree():
    strain = torch.diag(torch.tensor([1.0, 1.0, 2.0])).double()

    def crooked(data):
        return mixed(data, lambda s: s) @ strain

    assert symmetry_report(crooked, DATA, "1o").rotation > 0.05
    cured = symmetrized(crooked, "1o", degree=1)  # its products of two are of degree 2, as the error is
    turn = torch.from_numpy(-Rotation.random(random_state=0).as_matrix())
    moved = copy.copy(DATA[0])
    moved.pos = DATA[0].pos @ turn.T
    torch.testing.assert_close(cured(moved), cured(DATA[0]) @ turn.T, rtol=0, atol=1e-14)
    assert (crooked(moved) - crooked(DATA[0]) @ turn.T).abs().max() > 1e-3


def test_bad_input():
    with pytest.raises(ValueError, match="empty"):
        symmetry_report(Network(), [], "1o")
    with pytest.raises(ValueError, match="no vector of"):
        symmetry_report(lambda data: data.x.flatten(), DATA, "1x1o+1x2e")
    with pytest.raises(ValueError, match="same for all"):
        symmetry_report(lambda data: torch.ones(data.num_nodes, 1), DATA, "0e")
