"""Sum over neighbours of weighted tensor products with spherical harmonics, without a row of weights for each edge.

How it is done on a CPU stands in ``csrc/tensor_product.h``, on a GPU in ``ops/_triton_tensor_product.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from numpy import ndarray
from torch import Tensor

from pyg_symbreak import _native

__all__ = ["TensorProductPaths", "sum_tensor_products"]

# Below so many multiplications a thread costs more than it saves.
_WORK_OF_A_THREAD = 2**22


@dataclass(frozen=True)
class TensorProductPaths:
    """The paths of a tensor product, and where their numbers lie.

    Parameters
    ----------
    paths : long tensor [P, 14]
        For each path l_in ⊗ l_edge → l_out (l_in ≤ 11) and run of channels, side by side in all rows: 2 l_in + 1,
        2 l_out + 1 and the number of channels; the block of the features, as what lies before it for each node, and its
        width, then the first column in it and the step from one m_in to the next; the first weight; the first column of
        the coupling and the step from one m_out to the next (m_in are side by side); block, width, first column and
        step from one m_out to the next of the sum. Each weight is in one path.
    index : long tensor [Z, 2]
        Harmonic and column of the entries of the coupling that are not zero.
    dim_in, dim_out : int
        Numbers of the features and of the sum for each node, in all blocks.
    """

    paths: Tensor
    index: Tensor
    dim_in: int
    dim_out: int


def sum_tensor_products(
    x: Tensor,
    harmonics: Tensor,
    radial: Tensor,
    weight: Tensor,
    source: Tensor,
    target: Tensor,
    coupling: Tensor,
    plan: TensorProductPaths,
) -> Tensor:
    r"""Sum over the neighbours of each node their weighted tensor products: C++ on the CPU, Triton on CUDA.

    With channels u of a path, edges e from j to i, and :math:`C` the coupling of the path

    .. math::
        \text{out}_{i, m_o, u} = \sum_{e} \Big(\sum_k W_{uk} h_{ek}\Big)
                                 \sum_{m_i, m} C_{m, m_o, m_i} Y_{e, m} x_{j, m_i, u}.

    The sum is linear in x, Y, h and W; contracted with a tensor it is a form of five tensors, whose derivatives by all
    of them are one operation, and so are the derivatives of these. It is differentiable as often as wanted. Neither the
    products nor the weights of all edges are ever stored: derivatives compute them anew.

    Parameters
    ----------
    x : float32 or float64 tensor [N · dim_in]
        Node features, block after block, each [N, width].
    harmonics : tensor [E, M]
    radial : tensor [E, K]
        The features of an edge of which the weights are made.
    weight : tensor [weights, K]
    source, target : long tensor [E]
        Nodes j and i, edges in any order; on CUDA, where looking at them would stop the device, they have to exist.
    coupling : tensor [M, columns]
        Clebsch–Gordan coefficients C, constant.
    plan : TensorProductPaths

    Returns
    -------
    tensor [N · dim_out], block after block

    Raises
    ------
    ValueError
        On the CPU, an edge has a node that does not exist.
    """
    constants = (source, target, coupling, plan.paths, plan.index, plan.dim_in, plan.dim_out)
    # Outside torch.compile without the time that a registered operation takes.
    derivatives = _derivatives if torch.compiler.is_compiling() else _Derivatives.apply
    return derivatives(x, harmonics, radial, weight, None, *constants, [False, False, False, False, True])[4]


def _compute(
    x: Tensor,
    harmonics: Tensor,
    radial: Tensor,
    weight: Tensor,
    grad: Tensor | None,
    source: Tensor,
    target: Tensor,
    coupling: Tensor,
    paths: Tensor,
    index: Tensor,
    dim_in: int,
    dim_out: int,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Derivatives of Σ grad · out by x, harmonics, radial, weight and grad; empty where not wanted."""
    out = [x.new_zeros(shape) for shape in _shapes(x, harmonics, radial, weight, dim_in, dim_out, wanted)]
    if source.numel() and paths.numel():
        run = _run_native if x.is_cpu else _run_triton
        run(
            (x, harmonics, radial, weight, grad),
            (source, target),
            coupling,
            paths,
            index,
            (dim_in, dim_out),
            out,
            wanted,
        )
    return out[0], out[1], out[2], out[3], out[4]


def _run_native(factors, edges, coupling, paths, index, dims, out, wanted):
    x, harmonics, radial, weight, _ = factors
    native = _native.tensor_product_float32 if x.dtype == torch.float32 else _native.tensor_product_float64
    work = edges[0].numel() * weight.numel()
    source, target = edges
    native(
        (_array(source), _array(target), _array(paths), _array(index), _array(coupling)),
        (x.shape[0] // dims[0], *dims, harmonics.shape[1], radial.shape[1], coupling.shape[1]),
        tuple(None if t is None else _array(t) for t in factors),
        tuple(t.numpy() if is_wanted else None for t, is_wanted in zip(out, wanted, strict=True)),
        min(torch.get_num_threads(), 1 + work // _WORK_OF_A_THREAD),
    )


def _run_triton(factors, edges, coupling, paths, index, dims, out, wanted):
    from ._triton_tensor_product import launch_tensor_product

    factors = [None if t is None else t.detach().contiguous() for t in factors]
    source, target = (t.contiguous() for t in edges)
    launch_tensor_product(factors[0].shape[0] // dims[0], factors, source, target, coupling, paths, out, wanted)


def _array(t: Tensor) -> ndarray:
    return t.detach().contiguous().numpy()


def _shapes(x, harmonics, radial, weight, dim_in, dim_out, wanted):
    shapes = (x.shape, harmonics.shape, radial.shape, weight.shape, (x.shape[0] // dim_in * dim_out,))
    return [shape if is_wanted else (0,) for shape, is_wanted in zip(shapes, wanted, strict=True)]


_derivatives = torch.library.custom_op(
    "pyg_symbreak::tensor_product_derivatives", _compute, mutates_args=(), device_types=("cpu", "cuda")
)


@_derivatives.register_fake
def _(x, harmonics, radial, weight, grad, source, target, coupling, paths, index, dim_in, dim_out, wanted):
    return tuple(x.new_empty(shape) for shape in _shapes(x, harmonics, radial, weight, dim_in, dim_out, wanted))


def _setup(ctx, inputs, output):
    *tensors, ctx.dim_in, ctx.dim_out, ctx.wanted = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _backward(ctx, directions, derivatives):
    """The form is linear in each factor: a direction takes the place of the factor by which was derived."""
    factors, constants = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
    grads: list[Tensor | None] = [None] * 5
    for slot, direction in enumerate(directions):
        wanted = [needed and n != slot for n, needed in enumerate(ctx.needs_input_grad[:5])]
        if direction is None or not ctx.wanted[slot] or not any(wanted):
            continue
        replaced = (*factors[:slot], direction, *factors[slot + 1 :])
        found = derivatives(*replaced, *constants, ctx.dim_in, ctx.dim_out, wanted)
        for n, part in enumerate(found):
            if wanted[n]:
                grads[n] = part if grads[n] is None else grads[n] + part
    return (*grads, *[None] * 8)


_derivatives.register_autograd(lambda ctx, *directions: _backward(ctx, directions, _derivatives), setup_context=_setup)


class _Derivatives(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        _setup(ctx, inputs, None)
        return _compute(*inputs)

    @staticmethod
    def backward(ctx, *directions):
        return _backward(ctx, directions, _Derivatives.apply)
