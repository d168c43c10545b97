import pytest
import torch
from e3nn import o3
from torch.utils._python_dispatch import TorchDispatchMode

from pyg_symbreak.nn import BreakingConv
from pyg_symbreak.ops import TensorProductPaths, sum_tensor_products, tensor_product

# Runs of channels of 1 to 37, degrees with and without code of their own, both parities in turns.
IRREPS = [
    ("3x0e+2x0o+2x1o+4x1e+1x2e+3x2o", "3x0e+2x0o+2x1o+4x1e+1x2e+3x2o", 2),
    ("20x0e+37x1o+3x3e+1x4o+2x5o+1x1e", "4x0e+33x1o+2x2e+1x3o", 4),
    ("1x0e", "3x1o", 1),
    ("1x0e+1x0o+1x0e+1x0o+9x6e", "2x6o+1x0o", 1),
    ("17x0e+16x1o+18x1e", "17x0e+2x0o+16x1o+17x1e", 1),  # sums of each parity apart
]


def case(irreps_in, irreps_out, lmax, nodes=7, edges=40, dtype=torch.float64, radial=5):
    """A convolution for its paths, and random factors; some nodes without neighbours, edges in no order."""
    torch.manual_seed(0)
    conv = BreakingConv(irreps_in, irreps_out, lmax=lmax, edge_features=radial).to(dtype)
    edge_index = torch.randint(0, nodes - 1, (2, edges))
    factors = [
        torch.randn(nodes * o3.Irreps(irreps_in).dim, dtype=dtype),
        torch.randn(edges, (lmax + 1) ** 2, dtype=dtype),
        torch.randn(edges, radial, dtype=dtype),
        torch.randn(conv.num_radial, radial, dtype=dtype),
    ]
    return conv, edge_index, [f.requires_grad_() for f in factors]


def compiled(conv, edge_index, factors):
    plan = TensorProductPaths(conv.runs, conv.coupled, sum(conv.widths_in), sum(conv.widths_sums))
    return sum_tensor_products(*factors, *edge_index, conv.coupling, plan)


def side_by_side(flat, widths):
    """Blocks [N, width], one after the other, as the columns of one matrix."""
    nodes = len(flat) // sum(widths)
    return torch.cat([block.view(nodes, -1) for block in flat.split([nodes * w for w in widths])], dim=1)


def plain(conv, edge_index, factors):
    """One einsum for each path, edge by edge; what no weight reaches stays zero."""
    x, harmonics, radial, weight = factors
    source, target = edge_index
    coupling, x = conv.coupling.to(x.dtype), side_by_side(x, conv.widths_in)
    rows = x.new_zeros(len(target), sum(conv.widths_sums))
    for (
        d_in,
        d_out,
        channels,
        *x_place,
        w_at,
        c_at,
        c_step,
        out_block,
        out_width,
        out_at,
        out_step,
    ) in conv.runs.tolist():
        columns = torch.arange(channels)
        x_block, x_width, x_at, x_step = x_place
        assert x_width in conv.widths_in
        assert out_width in conv.widths_sums
        feature = x[source][:, (x_block + x_at + x_step * torch.arange(d_in))[:, None] + columns]
        matrix = coupling[:, (c_at + c_step * torch.arange(d_out))[:, None] + torch.arange(d_in)]
        weights = radial @ weight[w_at : w_at + channels].T
        product = torch.einsum("em,moi,eiu,eu->eou", harmonics, matrix, feature, weights)
        at = (out_block + out_at + out_step * torch.arange(d_out))[:, None] + columns
        rows = rows.index_copy(1, at.flatten(), product.flatten(1))
    summed = rows.new_zeros(len(x), rows.size(1)).index_add(0, target, rows)
    return torch.cat([block.flatten() for block in summed.split(conv.widths_sums, dim=1)])


def third_derivatives(of, conv, edge_index, factors):
    """Of the sum of squares, along ones: the sum over all factors of each derivative before is derived again."""
    value = of(conv, edge_index, factors).square().sum()
    for _ in range(3):
        grads = torch.autograd.grad(value, factors, create_graph=True)
        value = sum(g.sum() for g in grads)
    return grads


def derivatives(of, conv, edge_index, factors):
    """The sum, its gradients along some direction, and the gradients of a function of all of these."""
    out = of(conv, edge_index, factors)
    direction = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out).requires_grad_()
    first = torch.autograd.grad((out * direction).sum(), factors, create_graph=True)
    scalar = sum((g * torch.linspace(1, -2, g.numel(), dtype=g.dtype).view_as(g)).sum() for g in (out, *first))
    return out, *first, *torch.autograd.grad(scalar, [*factors, direction])


@pytest.mark.parametrize("irreps", IRREPS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
def test_is_the_sum_over_paths_and_edges_with_first_and_second_derivatives(irreps, dtype, tolerance):
    conv, edge_index, factors = case(*irreps, dtype=dtype)
    expected = derivatives(plain, conv, edge_index, factors)
    found = derivatives(compiled, conv, edge_index, factors)
    assert len(found) == 1 + 4 + 5
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= tolerance * b.abs().max()
        assert b.abs().max() > 0.1


@pytest.mark.parametrize("irreps", IRREPS)
def test_network_is_the_same_with_messages(irreps):
    conv, edge_index, (x, harmonics, radial, _) = case(*irreps)
    x = x.view(7, -1)
    inputs = [x, harmonics, radial, *conv.parameters()]
    results = []
    for conv.fuse in (True, False):
        out = conv(x, edge_index, harmonics, radial)
        results.append([out, *torch.autograd.grad(out.sin().sum(), inputs)])
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() <= 1e-13 * b.abs().max()


def test_messages_where_they_are_wanted():
    class Halved(BreakingConv):
        def message(self, x_j, harmonics, radial):
            return 0.5 * super().message(x_j, harmonics, radial)

    assert BreakingConv("0e", "1o").fuse
    assert not Halved("0e", "1o").fuse
    assert not BreakingConv("0e", "1o", aggr="mean").fuse
    conv, edge_index, (x, harmonics, radial, _) = case(*IRREPS[0])
    x = x.view(7, -1)
    called = []
    conv.register_propagate_forward_pre_hook(lambda *_: called.append(1))
    conv(x, edge_index, harmonics, radial)
    assert not called
    conv.explain = True
    conv.explain_message = lambda inputs, dim_size: inputs
    conv(x, edge_index, harmonics, radial)
    assert called


def test_derivatives_by_differences():
    conv, edge_index, factors = case("1x0e+2x1o", "1x0e+1x1o", 1, nodes=4, edges=5, radial=2)
    assert torch.autograd.gradcheck(lambda *f: compiled(conv, edge_index, f), factors)
    assert torch.autograd.gradgradcheck(lambda *f: compiled(conv, edge_index, f), factors)


def test_third_derivatives():
    conv, edge_index, factors = case("1x0e+2x1o", "1x0e+1x1o", 1, nodes=4, edges=5, radial=2)
    found, expected = (third_derivatives(of, conv, edge_index, factors) for of in (compiled, plain))
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= 1e-12 * b.abs().max()


def test_registered_as_an_operation():
    conv, edge_index, factors = case("1x0e+2x1o", "1x0e+1x1o", 1, nodes=4, edges=5, radial=2)
    dims = sum(conv.widths_in), sum(conv.widths_sums)
    arguments = (*factors, None, *edge_index, conv.coupling, conv.runs, conv.coupled, *dims)
    torch.library.opcheck(tensor_product._derivatives, (*arguments, [False] * 4 + [True]))
    grad = torch.randn(4 * dims[1], dtype=torch.float64, requires_grad=True)
    arguments = (*factors, grad, *arguments[5:])
    torch.library.opcheck(tensor_product._derivatives, (*arguments, [True, False, True, True, False]))


def test_any_number_of_threads_gives_the_same(monkeypatch):
    monkeypatch.setattr(tensor_product, "_WORK_OF_A_THREAD", 1)
    conv, edge_index, factors = case(*IRREPS[0], edges=100)
    expected, threads = derivatives(plain, conv, edge_index, factors), torch.get_num_threads()
    try:
        for number in (2, 3, 16):  # more than there are targets
            torch.set_num_threads(number)
            for a, b in zip(derivatives(compiled, conv, edge_index, factors), expected, strict=True):
                assert (a - b).abs().max() <= 1e-13 * b.abs().max()
    finally:
        torch.set_num_threads(threads)


class LargestTensor(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            self.numel = max(self.numel, t.numel() if isinstance(t, torch.Tensor) else 0)
        return out


def test_nothing_is_stored_for_edges_and_weights():
    conv, edge_index, (x, harmonics, radial, _) = case("8x0e+8x1o", "8x0e+8x1o", 2, nodes=4, edges=300, radial=5)
    x, largest = x.view(4, -1), {}
    for conv.fuse in (True, False):
        with LargestTensor() as mode:
            out = conv(x, edge_index, harmonics, radial)
            forces = torch.autograd.grad(out.square().sum(), harmonics, create_graph=True)[0]
            forces.square().sum().backward()
        largest[conv.fuse] = mode.numel
    assert largest[False] >= 300 * sum(conv.widths_sums)
    assert largest[True] <= 300 * 9


def test_no_edges_and_edges_that_cannot_be():
    conv, edge_index, factors = case(*IRREPS[0], edges=0)
    assert (compiled(conv, edge_index, factors) == 0).all()
    conv, edge_index, factors = case(*IRREPS[0])
    for node in (-1, 7):
        edge_index[1, 3] = node
        with pytest.raises(ValueError, match=r"edge_index must be \[2, E\] with nodes from 0 to 6"):
            compiled(conv, edge_index, factors)


def test_rows_that_are_not_side_by_side():
    conv, edge_index, factors = case(*IRREPS[0])
    expected = compiled(conv, edge_index, factors)
    strided = [factors[0].detach()[:, None].repeat(1, 2)[:, 0], *(f.detach().t().contiguous().t() for f in factors[1:])]
    assert not any(f.is_contiguous() for f in strided)
    assert torch.equal(compiled(conv, edge_index.t().contiguous().t(), strided), expected)
