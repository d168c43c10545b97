import pytest
import torch

from pyg_symbreak.ops import Columns, LinearBlocks, block_linear

NODES = 4
# Two inputs, [4, 3, 5] and flat with blocks of [4, 1, 3] and [4, 3, 2]; none reads column 4 of the first. Two outputs.
PLAN = LinearBlocks(
    sources=(
        Columns(0, 0, 3, 5, 0, 2),
        Columns(0, 0, 3, 5, 2, 2),
        Columns(1, 3, 3, 2, 0, 2),
        Columns(1, 0, 1, 3, 0, 3),
        Columns(0, 0, 3, 5, 0, 2),
    ),
    targets=(
        Columns(0, 0, 3, 4, 0, 3),
        Columns(0, 0, 3, 4, 3, 1),
        Columns(0, 0, 3, 4, 0, 3),
        Columns(1, 0, 1, 2, 0, 2),
        Columns(0, 0, 3, 4, 3, 1),
    ),
    shapes=((1, 3, 4), (2,)),
)
SIZES = [2 * 3, 2 * 1, 2 * 3, 3 * 2, 2 * 1]


def factors(nodes=NODES):
    torch.manual_seed(0)
    shapes = (sum(SIZES),), (nodes, 3, 5), (nodes * 9,)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def blockwise(weight, a, b):
    return block_linear(weight, [a, b], PLAN, NODES)


def by_hand(weight, a, b):
    w = [m.view(n, -1) for m, n in zip(weight.split(SIZES), (2, 2, 2, 3, 2), strict=True)]
    first, second = b[: 3 * NODES].view(NODES, 3), b[3 * NODES :].view(NODES, 3, 2)
    left = a[..., :2] @ w[0] + second @ w[2]
    right = a[..., 2:4] @ w[1] + a[..., :2] @ w[4]
    return [torch.cat([left, right], dim=2), (first @ w[3]).flatten()]


def derivatives(of, values, order=3):
    """The outputs and what their gradients, and those of these, are."""
    found = of(*values)
    for _ in range(order):
        scalar = sum(t.sin().sum() for t in found)
        found = [*found, *torch.autograd.grad(scalar, values, create_graph=True)]
    return found


def test_is_the_products_of_the_blocks_with_all_derivatives():
    values = factors()
    for got, expected in zip(derivatives(blockwise, values), derivatives(by_hand, values), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert derivatives(blockwise, values)[3][..., 4].eq(0).all()  # what no block reads


def test_derivatives_by_differences():
    assert torch.autograd.gradcheck(blockwise, factors())
    assert torch.autograd.gradgradcheck(blockwise, factors())


@pytest.mark.parametrize("used", [0, 1])
def test_outputs_that_are_not_used(used):
    values = factors()
    found, expected = (derivatives(lambda *v, of=of: [of(*v)[used], *v], values, 2) for of in (blockwise, by_hand))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_inputs_that_need_no_gradient_and_lie_apart():
    weight, a, b = factors()
    a, b = a.detach(), b.detach()
    strided = a.transpose(0, 1).contiguous().transpose(0, 1), torch.stack([b, b], dim=1)[:, 1]
    assert not any(t.is_contiguous() for t in strided)
    for got, expected in zip(blockwise(weight, *strided), by_hand(weight, a, b), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-13)
    views = weight[None].expand(2, -1)[1], torch.cat([a, a])[NODES:], torch.cat([b, b])[len(b) :]
    (got,) = torch.autograd.grad(blockwise(*views)[0].sum(), weight)
    (expected,) = torch.autograd.grad(by_hand(weight, a, b)[0].sum(), weight)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-13)


def test_no_nodes():
    weight, a, b = factors(0)
    out = block_linear(weight, [a, b], PLAN, 0)
    assert [tuple(t.shape) for t in out] == [(0, 3, 4), (0,)]
    grads = torch.autograd.grad(sum(t.sum() for t in out), [weight, a, b])
    assert grads[0].eq(0).all()
    assert [tuple(t.shape) for t in grads[1:]] == [(0, 3, 5), (0,)]


def test_compiled():
    values = factors()
    compiled = torch.compile(blockwise, backend="aot_eager", fullgraph=True)
    for got, expected in zip(derivatives(compiled, values, 1), derivatives(by_hand, values, 1), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
