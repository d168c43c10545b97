"""The Reynolds operator on irreps features: the projector on features that a graph's own symmetry leaves fixed."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor
from torch.nn.functional import embedding_bag

from ._methods import resolve_method
from ._orbits import Orbits

__all__ = ["orbit_project"]

# The elements of a slice that fit in a core's cache together with their images.
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
        x, orbits.node, orbits.order, orbits.offsets, orbits.coset, table, muls, dims, columns, method
    )


def _project_torch(
    x: Tensor,
    node: Tensor,
    order: Tensor,
    offsets: Tensor,
    coset: Tensor,
    table: Tensor,
    muls: list[int],
    dims: list[int],
    columns: list[int],
) -> Tensor:
    """To the representative, mean over the orbit, and back, in slices of nodes that fit in cache.

    A slice is transposed, so that each step of a matrix product is one multiply-add along all its nodes. The
    matrices of the nodes are gathered once for both ways, which costs as many numbers a node as a row of the table.
    """
    table = table.t().contiguous()
    terms = list(zip(muls, dims, columns, strict=True))
    widths = [mul * dim for mul, dim, _ in terms]
    step = max(1024, _BLOCK_ELEMENTS // x.shape[1])
    slices = [slice(first, first + step) for first in range(0, x.shape[0], step)]

    def multiply(transport: Tensor, source: Tensor, transpose: bool) -> Tensor:
        """Multiply each term by its matrices: features [width, n] by columns of the table [S, n]."""
        result = torch.empty_like(source)
        for term, part, target in zip(terms, source.split(widths), result.split(widths), strict=True):
            _multiply_term(transport, part, target, *term, transpose)
        return result.t()

    transports = [table.index_select(1, coset[rows]) for rows in slices]
    local = torch.empty_like(x, dtype=table.dtype)
    for rows, transport in zip(slices, transports, strict=True):
        local[rows] = multiply(transport, x[rows].t().contiguous().to(table.dtype), transpose=True)
    mean = embedding_bag(order, local, offsets[:-1], mode="mean").t().contiguous()
    out = torch.empty_like(x)
    for rows, transport in zip(slices, transports, strict=True):
        out[rows] = multiply(transport, mean.index_select(1, node[rows]), transpose=False)
    return out


def _multiply_term(table: Tensor, x: Tensor, out: Tensor, mul: int, dim: int, column: int, transpose: bool) -> None:
    """Multiply vectors x [mul · dim, n] by a matrix for each n, in the rows from `column` of the table [S, n]."""
    matrix = table[column : column + dim * dim].view(dim, dim, -1)
    rows = (matrix.transpose(0, 1) if transpose else matrix).unbind()
    parts, totals = (t.view(mul, dim, t.shape[1]).unbind(1) for t in (x, out))
    for row, total in zip(rows, totals, strict=True):
        weights = row.unbind()
        torch.mul(parts[0], weights[0], out=total)
        for part, weight in zip(parts[1:], weights[1:], strict=True):
            total.addcmul_(part, weight)


@torch.library.custom_op("pyg_symbreak::orbit_project", mutates_args=())
def _orbit_project(
    x: Tensor,
    node: Tensor,
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
    return _project_torch(x, node, order, offsets, coset, table, muls, dims, columns)


@_orbit_project.register_fake
def _(x, node, order, offsets, coset, table, muls, dims, columns, method):
    return x.new_empty(x.shape)


def _setup(ctx, inputs, output):
    _, *tensors, muls, dims, columns, method = inputs
    ctx.settings = muls, dims, columns, method
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad):
    grad_x = torch.ops.pyg_symbreak.orbit_project(grad, *ctx.saved_tensors, *ctx.settings)
    return grad_x, *[None] * 9


_orbit_project.register_autograd(_backward, setup_context=_setup)


@_orbit_project.register_vmap
def _(info, in_dims, x, node, order, offsets, coset, table, muls, dims, columns, method):
    if any(d is not None for d in in_dims[1:6]):
        raise ValueError("vmap goes over features: all samples must have the same orbits and table")
    x = x.movedim(in_dims[0], 1)
    widths = [mul * dim for mul, dim in zip(muls, dims, strict=True)]
    samples = info.batch_size
    out = torch.ops.pyg_symbreak.orbit_project(
        torch.cat([part.flatten(1) for part in x.split(widths, dim=2)], dim=1),
        node,
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
