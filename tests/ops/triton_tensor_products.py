"""The Triton kernels of the sums of tensor products under the interpreter, against einsums and the C++ of the CPU.

Run by test_ops_triton.py in a process of its own with TRITON_INTERPRET=1.
"""

import pytest
import torch
from test_ops_tensor_product import case, compiled, derivatives, plain, third_derivatives

from pyg_symbreak.ops import tensor_product

IRREPS = [
    ("2x0e+1x0o+1x1e", "1x0e+1x1o+2x1e", 1, torch.float64),
    ("1x1o+1x2e", "1x1o+1x2e", 2, torch.float32),
    ("33x0e+1x1o", "1x0e+34x1o", 1, torch.float32),  # more channels than a program has
    ("1x0e+1x0o+1x0e+2x3e", "2x3o+1x0o", 1, torch.float64),  # runs of one channel
]


@pytest.fixture(autouse=True)
def with_triton(monkeypatch):
    monkeypatch.setattr(tensor_product, "_run_native", tensor_product._run_triton)


@pytest.mark.parametrize(("irreps_in", "irreps_out", "lmax", "dtype"), IRREPS)
def test_first_and_second_derivatives(irreps_in, irreps_out, lmax, dtype):
    conv, _, factors = case(irreps_in, irreps_out, lmax, nodes=4, edges=5, dtype=dtype, radial=3)
    edge_index = torch.tensor([[0, 2, 1, 1, 0], [2, 0, 1, 0, 2]])  # in no order; one edge twice, one node without any
    expected = derivatives(plain, conv, edge_index, factors)
    found = derivatives(compiled, conv, edge_index, factors)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= (1e-13 if dtype == torch.float64 else 2e-5) * b.abs().max()
        assert b.abs().max() > 0.1


def test_third_derivatives():
    conv, edge_index, factors = case("1x1o", "1x0e+1x1o", 1, nodes=2, edges=1, radial=1)
    found, expected = (third_derivatives(of, conv, edge_index, factors) for of in (compiled, plain))
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= 1e-12 * b.abs().max()


def test_no_edges_no_nodes_and_one_edge():
    conv, edge_index, factors = case("1x0e+1x1o", "1x1o", 1, nodes=3, edges=0, radial=2)
    assert (compiled(conv, edge_index, factors) == 0).all()
    conv, edge_index, factors = case("1x0e+1x1o", "1x1o", 1, nodes=3, edges=1, radial=2)
    found, expected = (derivatives(of, conv, edge_index, factors) for of in (compiled, plain))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)
    none = [factors[0].detach()[:0], *(f.detach()[:0] for f in factors[1:3]), factors[3]]
    assert compiled(conv, edge_index[:, :0], none).shape == (0,)


def test_tensors_that_are_not_side_by_side():
    conv, edge_index, factors = case("2x0e+1x1o", "1x0e+2x1o", 1, nodes=4, edges=5, radial=2)
    expected = compiled(conv, edge_index, factors)
    strided = [factors[0].detach()[:, None].repeat(1, 2)[:, 0], *(f.detach().t().contiguous().t() for f in factors[1:])]
    assert not any(f.is_contiguous() for f in strided)
    assert torch.equal(compiled(conv, edge_index.t().contiguous().t(), strided), expected)


def test_in_a_network():
    conv, edge_index, (x, harmonics, radial, _) = case("2x0e+1x1o", "1x0e+2x1o", 1, nodes=4, edges=5)
    results = []
    for conv.fuse in (True, False):
        out = conv(x.view(4, -1), edge_index, harmonics, radial)
        results.append([out, *torch.autograd.grad(out.sin().sum(), [x, harmonics, radial, *conv.parameters()])])
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() <= 1e-13 * b.abs().max()
