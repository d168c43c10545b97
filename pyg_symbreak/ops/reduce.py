"""Reductions over orbits, with or without broadcast back to the nodes: the ops and their derivatives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ._blocks import blocks
from .methods import resolve_method
from .orbits import Orbits

__all__ = ["REDUCTIONS", "orbit_broadcast", "orbit_reduce"]

REDUCTIONS = ("sum", "mean", "min", "max", "logsumexp")

# What the reduction of nothing is.
_EMPTY = {"sum": 0.0, "mean": 0.0, "min": float("inf"), "max": -float("inf"), "logsumexp": -float("inf")}

# The elements of a block that fit in a core's cache together with their result.
_BLOCK_ELEMENTS = 2**18


def orbit_reduce(
    x: Tensor,
    orbits: Orbits,
    reduce: str = "mean",
    *,
    weight: Tensor | None = None,
    broadcast: bool = False,
    method: str = "auto",
) -> Tensor:
    """Reduce node features over each orbit, and with `broadcast` give every node the result of its orbit.

    The sums of float16 and bfloat16 features accumulate in float32. min and max give their gradient in equal
    parts to all nodes that attain them, as `torch.amax` does: a symmetric input keeps a symmetric gradient.

    Parameters
    ----------
    x : float tensor [N, ...]
        Node features.
    orbits : Orbits
        The orbits of the N nodes.
    reduce : {"sum", "mean", "min", "max", "logsumexp"}
        With weights w the sum is Σ w x, the mean Σ w x / Σ w and logsumexp is log Σ w exp x.
    weight : float tensor [N], optional
        The weight of each node; not for min and max.
    broadcast : bool
        Whether to return a row for each node instead of one for each orbit.
    method : {"auto", "torch", "triton", "torch_scatter"}
        The implementation, see `resolve_method`.

    Returns
    -------
    tensor [num_orbits, ...] or [N, ...], of the dtype of x. An empty orbit has the sum and the mean 0, the
    maximum and logsumexp -inf and the minimum +inf.

    Raises
    ------
    ValueError
        If x or the weights do not fit the orbits, or there is no such reduction or method.
    """
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduce must be one of {REDUCTIONS}, got {reduce!r}")
    _check_features(x, orbits.num_nodes, "x", "node")
    if weight is not None:
        if reduce in ("min", "max"):
            raise ValueError(f"weight has no meaning for reduce={reduce!r}: leave it out")
        if weight.shape != (orbits.num_nodes,) or not weight.is_floating_point():
            raise ValueError(
                f"weight must be floats of shape [{orbits.num_nodes}], one for each node, "
                f"got {weight.dtype} of shape {tuple(weight.shape)}"
            )
    method = resolve_method(method, x.device)
    if weight is not None and reduce == "mean":
        total = orbit_reduce(weight, orbits, "sum", broadcast=True, method=method)
        weight, reduce = weight / total, "sum"
    out = torch.ops.pyg_symbreak.orbit_reduce(
        x.flatten(1) if x.dim() > 1 else x[:, None],
        orbits.node,
        orbits.order,
        orbits.offsets,
        weight,
        reduce,
        broadcast,
        method,
    )
    return out.view(out.shape[0], *x.shape[1:])


def orbit_broadcast(v: Tensor, orbits: Orbits, *, method: str = "auto") -> Tensor:
    """Give every node the row of its orbit; the adjoint of the sum over orbits.

    Parameters
    ----------
    v : float tensor [num_orbits, ...]
    orbits : Orbits
    method : {"auto", "torch", "triton", "torch_scatter"}
        The implementation of the derivative, see `resolve_method`.

    Returns
    -------
    tensor [N, ...]

    Raises
    ------
    ValueError
        If v does not have a row for each orbit, or there is no such method.
    """
    _check_features(v, orbits.num_orbits, "v", "orbit")
    out = torch.ops.pyg_symbreak.orbit_broadcast(
        v.flatten(1) if v.dim() > 1 else v[:, None],
        orbits.node,
        orbits.order,
        orbits.offsets,
        resolve_method(method, v.device),
    )
    return out.view(out.shape[0], *v.shape[1:])


def _check_features(x: Tensor, rows: int, name: str, of: str) -> None:
    if x.dim() == 0 or x.shape[0] != rows or not x.is_floating_point():
        raise ValueError(
            f"{name} must be floats with a row for each {of}, [{rows}, ...], got {x.dtype} of shape {tuple(x.shape)}"
        )


# The implementations. Each takes contiguous features [N, C] with N, C > 0 and gives [num_orbits, C].


def _reduce_torch(x: Tensor, order: Tensor, offsets: Tensor, weight: Tensor | None, reduce: str) -> Tensor:
    if reduce in ("sum", "mean"):
        dtype = x.dtype
        x = x.to(torch.promote_types(dtype, torch.float32))
        if weight is not None:
            weight = weight.to(x.dtype)[order]
        out = embedding_bag(order, x, offsets[:-1], mode="sum", per_sample_weights=weight)
        if reduce == "mean":  # embedding_bag has one, but divides slowly
            out /= offsets.diff().clamp_(min=1)[:, None]
        return out.to(dtype)
    out = x.new_full((offsets.shape[0] - 1, x.shape[1]), _EMPTY[reduce])
    for orbit, nodes in blocks(order, offsets, _BLOCK_ELEMENTS // x.shape[1]):
        block = x.index_select(0, nodes.flatten()).view(*nodes.shape, -1)
        if reduce == "logsumexp":
            block = block.to(torch.promote_types(x.dtype, torch.float32))
            if weight is not None:
                block = block + weight.to(block.dtype)[nodes].log()[:, :, None]
            out[orbit] = block.logsumexp(0).to(x.dtype)
        else:
            out[orbit] = block.amin(0) if reduce == "min" else block.amax(0)
    return out


def _reduce_torch_scatter(x: Tensor, order: Tensor, offsets: Tensor, weight: Tensor | None, reduce: str) -> Tensor:
    from torch_scatter import gather_csr, segment_csr

    rows = x.to(torch.promote_types(x.dtype, torch.float32)).index_select(0, order)
    empty = (offsets.diff() == 0)[:, None]
    if reduce == "logsumexp":
        if weight is not None:
            rows = rows + weight.to(rows.dtype)[order].log()[:, None]
        top = segment_csr(rows, offsets, reduce="max")
        shift = torch.where(top.isfinite(), top, 0.0)
        out = segment_csr((rows - gather_csr(shift, offsets)).exp(), offsets, reduce="sum").log() + shift
    else:
        if weight is not None:
            rows = rows * weight.to(rows.dtype)[order][:, None]
        out = segment_csr(rows, offsets, reduce=reduce)
    return out.masked_fill(empty, _EMPTY[reduce]).to(x.dtype)


def _reduce_triton(
    x: Tensor, order: Tensor, offsets: Tensor, weight: Tensor | None, reduce: str, broadcast: bool
) -> Tensor:
    from ._triton import launch_reduce

    return launch_reduce(x, order, offsets, weight, reduce, broadcast)


@torch.library.custom_op("pyg_symbreak::orbit_reduce", mutates_args=())
def _orbit_reduce(
    x: Tensor,
    node: Tensor,
    order: Tensor,
    offsets: Tensor,
    weight: Tensor | None,
    reduce: str,
    broadcast: bool,
    method: str,
) -> Tensor:
    num_orbits = offsets.shape[0] - 1
    if x.numel() == 0 or num_orbits == 0:
        return x.new_full((x.shape[0] if broadcast else num_orbits, x.shape[1]), _EMPTY[reduce])
    x = x.contiguous()
    if method == "triton":
        return _reduce_triton(x, order, offsets, weight, reduce, broadcast)
    implementation = _reduce_torch if method == "torch" else _reduce_torch_scatter
    out = implementation(x, order, offsets, weight, reduce)
    return out.index_select(0, node) if broadcast else out


@_orbit_reduce.register_fake
def _(x, node, order, offsets, weight, reduce, broadcast, method):
    return x.new_empty((x.shape[0] if broadcast else offsets.shape[0] - 1, x.shape[1]))


@torch.library.custom_op("pyg_symbreak::orbit_broadcast", mutates_args=())
def _orbit_broadcast(v: Tensor, node: Tensor, order: Tensor, offsets: Tensor, method: str) -> Tensor:
    return v.index_select(0, node)


@_orbit_broadcast.register_fake
def _(v, node, order, offsets, method):
    return v.new_empty((node.shape[0], v.shape[1]))


# Derivatives, in differentiable ops, so that second derivatives follow.


def _setup_reduce(ctx, inputs, output):
    x, node, order, offsets, weight, reduce, broadcast, method = inputs
    linear = reduce in ("sum", "mean")
    ctx.settings = reduce, broadcast, method
    ctx.save_for_backward(
        node,
        order,
        offsets,
        weight,
        None if linear and weight is None else x,
        None if linear else output,
    )


def _backward_reduce(ctx, grad):
    node, order, offsets, weight, x, out = ctx.saved_tensors
    reduce, broadcast, method = ctx.settings

    def spread(v: Tensor) -> Tensor:
        return torch.ops.pyg_symbreak.orbit_broadcast(v, node, order, offsets, method)

    def total(v: Tensor, how: str = "sum") -> Tensor:
        return torch.ops.pyg_symbreak.orbit_reduce(v, node, order, offsets, None, how, True, method)

    grad_weight = None
    if reduce == "mean":
        if broadcast:
            grad_x = total(grad, "mean")
        else:
            grad_x = spread(grad / offsets.diff().clamp(min=1).to(grad.dtype)[:, None])
    else:
        # The derivative of a loss with respect to what the node's orbit was reduced to.
        grad_out = total(grad) if broadcast else spread(grad)
        if reduce == "sum":
            slope = x
            grad_x = grad_out if weight is None else weight.to(grad.dtype)[:, None] * grad_out
        else:
            out = out if broadcast else spread(out)
            if reduce == "logsumexp":
                slope = (x - torch.where(out.isinf(), 0.0, out)).exp()
                grad_x = slope * grad_out if weight is None else weight.to(x.dtype)[:, None] * slope * grad_out
            else:
                slope = (x == out).to(x.dtype)
                grad_x = slope * grad_out / total(slope)
        if slope is not None and ctx.needs_input_grad[4]:
            grad_weight = (slope * grad_out).sum(1).to(weight.dtype)
    return grad_x, None, None, None, grad_weight, None, None, None


def _setup_broadcast(ctx, inputs, output):
    _, node, order, offsets, ctx.method = inputs
    ctx.save_for_backward(node, order, offsets)


def _backward_broadcast(ctx, grad):
    node, order, offsets = ctx.saved_tensors
    grad_v = torch.ops.pyg_symbreak.orbit_reduce(grad, node, order, offsets, None, "sum", False, ctx.method)
    return grad_v, None, None, None, None


_orbit_reduce.register_autograd(_backward_reduce, setup_context=_setup_reduce)
_orbit_broadcast.register_autograd(_backward_broadcast, setup_context=_setup_broadcast)


# vmap: one more dimension of the features is more channels.


@_orbit_reduce.register_vmap
def _(info, in_dims, x, node, order, offsets, weight, reduce, broadcast, method):
    x_dim, *index_dims, weight_dim = in_dims[:5]
    _check_vmap(index_dims)
    x = x[:, None].expand(-1, info.batch_size, -1) if x_dim is None else x.movedim(x_dim, 1)
    if weight_dim is not None:
        w = weight.movedim(weight_dim, 1)[:, :, None]
        x = x + w.log() if reduce == "logsumexp" else x * w
        weight = None
    out = torch.ops.pyg_symbreak.orbit_reduce(x.flatten(1), node, order, offsets, weight, reduce, broadcast, method)
    return out.view(out.shape[0], *x.shape[1:]), 1


@_orbit_broadcast.register_vmap
def _(info, in_dims, v, node, order, offsets, method):
    v_dim, *index_dims = in_dims[:4]
    _check_vmap(index_dims)
    v = v.movedim(v_dim, 1)
    out = torch.ops.pyg_symbreak.orbit_broadcast(v.flatten(1), node, order, offsets, method)
    return out.view(out.shape[0], *v.shape[1:]), 1


def _check_vmap(index_dims: list[int | None]) -> None:
    if any(d is not None for d in index_dims):
        raise ValueError("vmap goes over features and weights: all samples must have the same orbits")
