import math

import pytest
import torch
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from e3nn.nn import FullyConnectedNet
from e3nn.nn.models.gate_points_2102 import smooth_cutoff

from pyg_symbreak.nn import EdgeEmbedding


def vectors(n: int = 30) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("lmax", [0, 1, 2, 4, 7])
def test_harmonics_are_those_of_e3nn(lmax):
    v = vectors()
    expected = o3.spherical_harmonics(range(lmax + 1), v, True, normalization="component")
    cutoff = smooth_cutoff(v.norm(dim=1) / 2.0)
    assert ((cutoff > 0) & (cutoff < 1)).any()
    assert (cutoff == 0).any()
    harmonics, _ = EdgeEmbedding(2.0, lmax).double()(v)
    torch.testing.assert_close(harmonics, cutoff[:, None] * expected, rtol=0, atol=1e-13)


def test_polar_vector_in_order_xyz():
    harmonics, _ = EdgeEmbedding(100.0, 1).double()(vectors())
    unit = torch.nn.functional.normalize(vectors())
    torch.testing.assert_close(harmonics[:, 1:], math.sqrt(3.0) * unit, rtol=0, atol=1e-14)


def test_radial_features_are_those_of_e3nn():
    edges = EdgeEmbedding(3.0, num_convs=2, number_of_basis=7, radial_layers=2, radial_neurons=5).double()
    length = vectors().norm(dim=1)
    basis = soft_one_hot_linspace(length, 0.0, 3.0, 7, basis="gaussian", cutoff=False) * math.sqrt(7)
    _, radial = edges(vectors())
    assert radial.shape == (2, 30, 5)
    for n in range(2):
        reference = FullyConnectedNet([7, 5, 5], torch.nn.functional.silu, out_act=True).double()
        with torch.no_grad():
            reference.layer0.weight.copy_(edges.weights[0][n])
            reference.layer1.weight.copy_(edges.weights[1][n])
        # e3nn estimates the second moment of SiLU from a million random numbers.
        torch.testing.assert_close(radial[n], reference(basis), rtol=5e-3, atol=1e-6)


def test_constants_follow_the_dtype_in_full_precision():
    edges = EdgeEmbedding(3.0)
    assert edges.harmonics.raise_3.dtype == torch.float32
    edges.double().float().double()
    assert edges.harmonics.raise_3.dtype == torch.float64
    v = vectors()
    expected = o3.spherical_harmonics(range(5), v, True, normalization="component")
    harmonics, _ = EdgeEmbedding(1e3).half().double()(v)
    torch.testing.assert_close(harmonics, expected, rtol=0, atol=1e-13)


def test_errors():
    with pytest.raises(ValueError, match="max_radius must be a positive length, got -1"):
        EdgeEmbedding(-1.0)
    with pytest.raises(ValueError, match="number_of_basis >= 2"):
        EdgeEmbedding(1.0, number_of_basis=1)


def test_repr():
    assert repr(EdgeEmbedding(2.5)) == (
        "EdgeEmbedding(max_radius=2.5, lmax=4, num_convs=1, number_of_basis=10, radial_neurons=16)"
    )
