"""Complexes: Stokes, orientation, batches; the exact sums against quadrature and enumeration."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.special import iv
from torch_geometric.data import Batch

from pyg_symbreak.flows import CellComplex, exact_sums, square_lattice, triangular_lattice, wrap

LATTICES = [square_lattice(4), triangular_lattice(3, 5), square_lattice(3, 5, False), triangular_lattice(4, 3, False)]
EULER = [0, 0, 1, 1]


@pytest.mark.parametrize(("complex", "euler"), zip(LATTICES, EULER, strict=True))
def test_boundaries(complex, euler):
    assert complex.num_nodes - complex.num_links + complex.num_plaquettes == euler
    assert complex.is_closed == (euler == 0)
    links = torch.randn(3, complex.num_links, dtype=torch.float64)
    plaquettes = complex.plaquettes(links)
    torch.testing.assert_close(plaquettes, links @ complex.boundary(torch.float64).T)
    # The boundary of a boundary is nothing: gauge transformations move no plaquette.
    phases = torch.randn(3, complex.num_nodes, dtype=torch.float64)
    torch.testing.assert_close(complex.plaquettes(complex.gauge_transform(links, phases)), plaquettes)
    if complex.is_closed:
        assert plaquettes.sum(1).abs().max() < 1e-12
        charge = complex.charge(3 * links)
        torch.testing.assert_close(charge, charge.round())
        assert charge.abs().max() > 0
    torch.testing.assert_close(complex.action(links, 2.0), -2 * plaquettes.cos().sum(1))


def test_angles_add_up_in_the_direction_of_the_corners():
    """Links lead from the lower to the higher number: those that a face passes the other way count negative."""
    for face, expected in {(0, 1, 2): 1 + 4 - 2, (0, 2, 1): -(1 + 4 - 2)}.items():
        complex = CellComplex.from_faces([list(face)])
        angles = {(0, 1): 1.0, (0, 2): 2.0, (1, 2): 4.0}
        links = torch.tensor([angles[tuple(x)] for x in complex.edge_index.T.tolist()])
        assert complex.plaquettes(links).tolist() == [expected]


@pytest.mark.parametrize("make", [square_lattice, triangular_lattice])
def test_links_join_sites_that_lie_side_by_side(make):
    complex = make(5, 4, False)
    assert {tuple(x) for x in complex.pos.tolist()} == {(x, y) for x in range(5) for y in range(4)}
    start, end = complex.pos[complex.edge_index]
    steps = {(1, 0), (0, 1), *([(1, -1)] if make is triangular_lattice else [])}
    assert {tuple(x) for x in (end - start).abs().tolist()} == {(abs(x), abs(y)) for x, y in steps}
    assert {tuple(x) for x in (end - start).tolist()} <= steps | {(-x, -y) for x, y in steps}


@pytest.mark.parametrize("make", [square_lattice, triangular_lattice])
def test_stripes_share_no_plaquette(make):
    for complex in (make(4), make(8, 4), make(5, 4, False)):
        boundary = complex.boundary().abs()
        for stripe in complex.stripe.unique():
            assert boundary[:, complex.stripe == stripe].sum(1).max() == 1
        kinds = 8 if make is square_lattice else 6
        assert len(complex.stripe.unique()) <= kinds
    assert make(8).stripe.bincount().unique().numel() == 1
    assert "stripe" not in make(5)


def test_faces_with_a_fault_are_refused():
    with pytest.raises(ValueError, match="opposite ways"):
        CellComplex.from_faces([(0, 1, 2), (0, 1, 3)])
    with pytest.raises(ValueError, match=r"faces\[1\]"):
        CellComplex.from_faces([(0, 1, 2), (0, 1)])
    with pytest.raises(ValueError, match="width"):
        square_lattice(2)


def test_complexes_make_batches():
    lattices = [square_lattice(4), triangular_lattice(2, 3, periodic=False)]
    both = Batch.from_data_list(lattices)
    fields = [torch.randn(x.num_links) for x in lattices]
    expected = torch.cat([x.plaquettes(field) for x, field in zip(lattices, fields, strict=True)])
    torch.testing.assert_close(both.plaquettes(torch.cat(fields)), expected)
    again = both.to_data_list()[1]
    assert torch.equal(again.boundary_index, lattices[1].boundary_index)


def test_wrap():
    angle = torch.linspace(-20, 20, 101)
    assert wrap(angle).abs().max() <= math.pi
    torch.testing.assert_close(wrap(angle).cos(), angle.cos())


@pytest.mark.parametrize("beta", [0.0, 1.0, 5.0])
def test_sums_of_independent_plaquettes(beta):
    found = exact_sums(beta, 7, closed=False)
    assert found.log_z == pytest.approx(7 * math.log(iv(0, beta)))
    assert found.plaquette == pytest.approx(iv(1, beta) / iv(0, beta))
    p = np.linspace(-np.pi, np.pi, 20001)
    weight = np.exp(beta * np.cos(p))
    second = trapezoid(weight * p**2, p) / trapezoid(weight, p) / (2 * np.pi) ** 2
    assert found.charge_squared == pytest.approx(7 * second, rel=1e-6)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_sums_of_a_closed_surface_against_an_integral(beta):
    """Three plaquettes whose angles add up to a multiple of 2π."""

    def integral(f):
        def weight(x, y):
            z = -x - y
            q = (x + y + (z + np.pi) % (2 * np.pi) - np.pi) / (2 * np.pi)
            s = np.cos(x) + np.cos(y) + np.cos(z)
            return np.exp(beta * s) * f(s, q) / (2 * np.pi) ** 2

        x = (np.arange(600) + 0.5) * 2 * np.pi / 600 - np.pi
        return weight(x[:, None], x[None]).mean() * (2 * np.pi) ** 2

    z = integral(lambda s, q: 1.0)
    found = exact_sums(beta, 3)
    assert found.log_z == pytest.approx(math.log(z), abs=1e-9)
    assert found.plaquette == pytest.approx(integral(lambda s, q: s / 3) / z, abs=1e-9)
    assert found.charge_squared == pytest.approx(integral(lambda s, q: q**2) / z, rel=2e-3)


def test_large_surfaces():
    for n in (64, 256, 4096):
        closed, open_ = exact_sums(2.0, n), exact_sums(2.0, n, closed=False)
        assert closed.log_z >= open_.log_z
        assert closed.plaquette == pytest.approx(open_.plaquette, abs=1e-5)
    assert exact_sums(2.0, 64).charge_squared == pytest.approx(1.2393, abs=1e-4)
    assert exact_sums(5.0, 64).charge_squared == pytest.approx(0.3607, abs=1e-4)
