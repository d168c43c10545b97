"""Symmetric powers: known irreps, explicit polynomials, equivariance."""

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.nn import SymmetricPowers


@pytest.mark.parametrize(
    ("irreps", "degree", "expected"),
    [
        ("1o", 2, "1o+0e+2e"),
        ("1o", 3, "1o+0e+2e+1o+3o"),
        ("1e", 2, "1e+0e+2e"),
        ("2e", 2, "2e+0e+2e+4e"),
        ("0o", 3, "0o+0e+0o"),
    ],
)
def test_irreps(irreps, degree, expected):
    found = o3.Irreps(SymmetricPowers(irreps, degree).irreps_out)
    assert found.sort().irreps.simplify() == o3.Irreps(expected).sort().irreps.simplify()


def test_square_of_a_vector_is_its_norm_and_its_harmonics():
    powers = SymmetricPowers("1o", 2).double()
    x = torch.randn(7, 3, dtype=torch.float64)
    out = powers(x)
    assert torch.equal(out[:, :3], x)
    norm2 = (x * x).sum(1)
    harmonics = o3.spherical_harmonics("2e", x, normalize=False)
    blocks = dict(
        zip([str(ir) for _, ir in o3.Irreps(powers.irreps_out)][1:], out[:, 3:].split([1, 5], 1), strict=True)
    )
    for found, exact in ((blocks["0e"], norm2[:, None]), (blocks["2e"], harmonics)):
        ratio = (found / exact).flatten()
        assert (ratio - ratio[0]).abs().max() < 1e-12
        assert ratio[0].abs() > 0.1


@pytest.mark.parametrize(("irreps", "degree"), [("1o", 4), ("0o+1o", 3), ("2e", 2), ("1e+1o", 2)])
def test_equivariant(irreps, degree):
    powers = SymmetricPowers(irreps, degree).double()
    g = -Rotation.random(random_state=3).as_matrix()[None]
    d_in, d_out = (torch.from_numpy(irreps_matrices(i, g)[0]) for i in (irreps, powers.irreps_out))
    x = torch.randn(5, len(d_in), dtype=torch.float64)
    assert (powers(x @ d_in.T) - powers(x) @ d_out.T).abs().max() < 1e-12
    assert np.linalg.matrix_rank(powers(torch.randn(200, len(d_in), dtype=torch.float64)).numpy()) == len(d_out)


def test_degree_must_be_positive():
    with pytest.raises(ValueError, match="at least 1"):
        SymmetricPowers("1o", 0)


def test_of_nothing_there_is_nothing():
    """A network without an object is one for any degree."""
    powers = SymmetricPowers("", 3)
    assert powers.irreps_out == ""
    assert powers(torch.zeros(4, 0)).shape == (4, 0)
