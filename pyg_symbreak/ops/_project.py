"""The Reynolds operator on irreps features: the projector on features that a graph's own symmetry leaves fixed."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor

from ._blocks import blocks
from ._methods import resolve_method
from ._orbits import Orbits

__all__ = ["orbit_project"]

# The elements of a block that fit in a core's cache together with their images.
_BLOCK_ELEMENTS = 2**17


def layout(irreps: o3.Irreps | str) -> tuple[list[int], list[int], list[int]]:
    """Multiplicity, dimension and first column in the table of each term of some irreps."""
    terms = o3.Irreps(irreps)
    columns: dict[o3.Irrep, int] = {}
    end = 0
    for _, ir in terms:
        if ir not in columns:
            columns[ir] = end
            end += ir.dim**2
    return [mul for mul, _ in terms], [ir.dim for _, ir in terms], [columns[ir] for _, ir in terms]


def orbit_project(
    x: Tensor,
    orbits: Orbits,
    irreps: o3.Irreps | str,
    *,
    table: Tensor | None = None,
    method: str = "auto",
) -> Tensor:
    """The orthogonal projection of node features on those that the group of each graph leaves fixed.

    The Reynolds operator (Px)_j = (1/|S|) Σ_g D(g) x_{π_g⁻¹(j)}, in one pass over the features. With W_j the
    mean of D(g) over the elements g that take the representative of an orbit O to its node j,

        (Px)_j = W_j (1/|O|) Σ_{k∈O} W_kᵀ x_k

    because W_j = D(g_j) A with A the projector on the vectors that the representative's site symmetry fixes,
    and A = A² = Aᵀ. P is self-adjoint and idempotent, and so its own derivative.

    Parameters
    ----------
    x : float tensor [N, irreps.dim]
    orbits : Orbits
        From `Orbits.from_group`, or `Orbits.cat` of such.
    irreps : e3nn Irreps
        How the features transform, both parities and any l.
    table : tensor, optional
        `orbits.table(irreps, dtype)` with dtype float64 for float64 features and else float32. Build it once
        where it is used again; inside `torch.compile` it has to be given.
    method : {"auto", "torch", "triton"}
        The implementation, see `resolve_method`.

    Returns
    -------
    tensor [N, irreps.dim], of the dtype of x

    Raises
    ------
    ValueError
        If x does not fit the orbits or the irreps, or the orbits have no group elements.
    """
    if method == "torch_scatter":
        raise ValueError("method='torch_scatter' cannot project: use 'auto', 'torch' or 'triton'")
    method = resolve_method(method, x.device)
    muls, dims, columns = layout(irreps)
    width = sum(mul * dim for mul, dim in zip(muls, dims, strict=True))
    if x.shape != (orbits.num_nodes, width) or not x.is_floating_point():
        raise ValueError(
            f"x must be floats of shape [{orbits.num_nodes}, {width}], a row for each node and a column for each "
            f"component of {irreps}, got {x.dtype} of shape {tuple(x.shape)}"
        )
    if orbits.coset is None:
        raise ValueError("the orbits have no group elements: build them with Orbits.from_group")
    if table is None:
        table = orbits.table(irreps, torch.promote_types(x.dtype, torch.float32))
    return torch.ops.pyg_symbreak.orbit_project(
        x, orbits.order, orbits.offsets, orbits.coset, table, muls, dims, columns, method
    )


def _project_torch(
    x: Tensor,
    order: Tensor,
    offsets: Tensor,
    coset: Tensor,
    table: Tensor,
    muls: list[int],
    dims: list[int],
    columns: list[int],
) -> Tensor:
    """Blocks of orbits of one size, transposed so that each step is one multiply-add along all their nodes."""
    out = torch.empty_like(x)
    table = table.t().contiguous()
    for _, nodes in blocks(order, offsets, max(256, _BLOCK_ELEMENTS // x.shape[1])):
        flat = nodes.flatten()
        rows = x.index_select(0, flat).t().contiguous().to(table.dtype)
        transport = table.index_select(1, coset.index_select(0, flat))
        result = torch.empty_like(rows)
        start = 0
        for mul, dim, column in zip(muls, dims, columns, strict=True):
            w = transport[column : column + dim * dim].unbind()
            source = rows[start : start + mul * dim].unflatten(0, (mul, dim))
            target = result[start : start + mul * dim].unflatten(0, (mul, dim))
            start += mul * dim
            fixed = _combine([w[a::dim] for a in range(dim)], source.unbind(1), torch.empty_like(source))
            fixed = _spread_mean(fixed, nodes.shape)
            _combine([w[a * dim : (a + 1) * dim] for a in range(dim)], fixed.unbind(1), target)
        result = result.to(x.dtype).t()
        out.index_copy_(0, flat, result if x.shape[1] < 8 else result.contiguous())
    return out


def _combine(w: list[tuple[Tensor, ...]], x: tuple[Tensor, ...], out: Tensor) -> Tensor:
    """out[:, a] = Σ_b w[a][b] x[b], with w[a][b] one number for each node and x[b] a row of them for each channel."""
    for weights, total in zip(w, out.unbind(1), strict=True):
        torch.mul(x[0], weights[0], out=total)
        for weight, part in zip(weights[1:], x[1:], strict=True):
            total.addcmul_(part, weight)
    return out


def _spread_mean(x: Tensor, shape: torch.Size) -> Tensor:
    """The mean over each orbit of x [..., size · count], in the place of each node of it."""
    if shape[0] == 1:
        return x
    mean = x.unflatten(-1, shape).mean(-2, keepdim=True)
    return mean.expand(*x.shape[:-1], *shape).flatten(-2)


@torch.library.custom_op("pyg_symbreak::orbit_project", mutates_args=())
def _orbit_project(
    x: Tensor,
    order: Tensor,
    offsets: Tensor,
    coset: Tensor,
    table: Tensor,
    muls: list[int],
    dims: list[int],
    columns: list[int],
    method: str,
) -> Tensor:
    x = x.contiguous()
    if x.numel() == 0:
        return torch.empty_like(x)
    if method == "triton":
        from ._triton import launch_project

        return launch_project(x, order, offsets, coset, table, muls, dims, columns)
    return _project_torch(x, order, offsets, coset, table, muls, dims, columns)


@_orbit_project.register_fake
def _(x, order, offsets, coset, table, muls, dims, columns, method):
    return x.new_empty(x.shape)


def _setup(ctx, inputs, output):
    _, *tensors, muls, dims, columns, method = inputs
    ctx.settings = muls, dims, columns, method
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad):
    grad_x = torch.ops.pyg_symbreak.orbit_project(grad, *ctx.saved_tensors, *ctx.settings)
    return grad_x, None, None, None, None, None, None, None, None


_orbit_project.register_autograd(_backward, setup_context=_setup)


@_orbit_project.register_vmap
def _(info, in_dims, x, order, offsets, coset, table, muls, dims, columns, method):
    if any(d is not None for d in in_dims[1:5]):
        raise ValueError("vmap goes over features: all samples must have the same orbits and table")
    x = x.movedim(in_dims[0], 1)
    widths = [mul * dim for mul, dim in zip(muls, dims, strict=True)]
    samples = info.batch_size
    out = torch.ops.pyg_symbreak.orbit_project(
        torch.cat([part.flatten(1) for part in x.split(widths, dim=2)], dim=1),
        order,
        offsets,
        coset,
        table,
        [samples * mul for mul in muls],
        dims,
        columns,
        method,
    )
    parts = out.split([samples * width for width in widths], dim=1)
    return torch.cat([part.unflatten(1, (samples, -1)) for part in parts], dim=2), 1
