"""The Reynolds operator on irreps features: the projector on features that a graph's own symmetry leaves fixed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor
from torch.nn.functional import embedding_bag

from .methods import resolve_method
from .orbits import Orbits

__all__ = ["orbit_project"]


@torch.compiler.assume_constant_result
def layout(irreps: o3.Irreps | str) -> tuple[list[int], list[int], list[int]]:
    """Multiplicity, dimension and number of the distinct irrep of each term of some irreps."""
    terms = o3.Irreps(irreps).remove_zero_multiplicities()
    kinds = list(dict.fromkeys(ir for _, ir in terms))
    return [mul for mul, _ in terms], [ir.dim for _, ir in terms], [kinds.index(ir) for _, ir in terms]


def orbit_project(
    x: Tensor,
    orbits: Orbits,
    irreps: o3.Irreps | str,
    *,
    table: Sequence[Tensor] | None = None,
    method: str = "auto",
) -> Tensor:
    """The orthogonal projection of node features on those that the group of each graph leaves fixed.

    The Reynolds operator (Px)_j = (1/|S|) Σ_g D(g) x_{π_g⁻¹(j)}, in one pass over the features. With W_j the
    mean of D(g) over the elements g that take the representative of an orbit O to its node j,

        (Px)_j = W_j (1/|O|) Σ_{k∈O} W_kᵀ x_k

    because W_j = D(g_j) A with A the projector on the vectors that the representative's site symmetry fixes,
    and A = A² = Aᵀ. P is self-adjoint and idempotent, and so its own derivative. The matrices should form a group
    to the precision of the features; on the CPU P is B Bᵀ, with the symmetric fields B read off the W_j.

    Parameters
    ----------
    x : float tensor [N, irreps.dim]
    orbits : Orbits
        From `Orbits.from_group`, or `Orbits.cat` of such.
    irreps : e3nn Irreps
        How the features transform, both parities and any l.
    table : tuple of tensors, optional
        `orbits.table(irreps, dtype, method)` with dtype float64 for float64 features and else float32. The orbits
        keep it; inside `torch.compile` it has to be given.
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
    muls, dims, kinds = layout(irreps)
    width = sum(mul * dim for mul, dim in zip(muls, dims, strict=True))
    if x.shape != (orbits.num_nodes, width) or not x.is_floating_point():
        raise ValueError(
            f"x must be floats of shape [{orbits.num_nodes}, {width}], a row for each node and a column for each "
            f"component of {irreps}, got {x.dtype} of shape {tuple(x.shape)}"
        )
    if orbits.coset is None:
        raise ValueError("the orbits have no group elements: build them with Orbits.from_group")
    if table is None:
        table = orbits.table(irreps, torch.promote_types(x.dtype, torch.float32), method)
    return torch.ops.pyg_symbreak.orbit_project(x, list(table), muls, dims, kinds, method)


def _project_torch(x: Tensor, table: list[Tensor], muls: list[int], dims: list[int], kinds: list[int]) -> Tensor:
    """B Bᵀ x for each term of the irreps."""
    parts = []
    for part, mul, dim, kind in zip(_split(x, muls, dims), muls, dims, kinds, strict=True):
        *columns, row_offsets, row_index, row_entry = table[6 * kind : 6 * kind + 6]
        sums = _bags(part.to(row_entry.dtype), *columns).view(-1, dim, mul, dim)
        # Row (field, a) has the sums of B_a x_b for each b: those with a = b add up to the coefficient.
        coefficient = sums.diagonal(dim1=1, dim2=3).sum(-1, keepdim=True)
        spread = torch.zeros_like(sums)
        spread.diagonal(dim1=1, dim2=3).copy_(coefficient.expand(-1, -1, dim))
        parts.append(_bags(spread.view(-1, mul * dim), row_offsets, row_index, row_entry).to(x.dtype))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _split(x: Tensor, muls: list[int], dims: list[int]) -> tuple[Tensor, ...]:
    return x.split([mul * dim for mul, dim in zip(muls, dims, strict=True)], dim=-1)


def _bags(x: Tensor, offsets: Tensor, index: Tensor, entry: Tensor) -> Tensor:
    """A sparse matrix in compressed rows times x."""
    return embedding_bag(index, x, offsets, mode="sum", per_sample_weights=entry, include_last_offset=True)


@torch.library.custom_op("pyg_symbreak::orbit_project", mutates_args=())
def _orbit_project(
    x: Tensor, table: list[Tensor], muls: list[int], dims: list[int], kinds: list[int], method: str
) -> Tensor:
    x = x.contiguous()
    if x.numel() == 0:
        return torch.empty_like(x)
    if method == "triton":
        from ._triton import launch_project

        return launch_project(x, table, muls, dims, kinds)
    return _project_torch(x, table, muls, dims, kinds)


@_orbit_project.register_fake
def _(x, table, muls, dims, kinds, method):
    return x.new_empty(x.shape)


def _setup(ctx, inputs, output):
    _, table, *ctx.settings = inputs
    ctx.save_for_backward(*table)


def _backward(ctx, grad):
    table = list(ctx.saved_tensors)
    return torch.ops.pyg_symbreak.orbit_project(grad, table, *ctx.settings), [None] * len(table), *[None] * 4


_orbit_project.register_autograd(_backward, setup_context=_setup)


@_orbit_project.register_vmap
def _(info, in_dims, x, table, muls, dims, kinds, method):
    if any(d is not None for d in in_dims[1]):
        raise ValueError("vmap goes over features: all samples must have the same orbits and table")
    x = x.movedim(in_dims[0], 1)
    samples = info.batch_size
    channels = torch.cat([part.flatten(1) for part in _split(x, muls, dims)], dim=1)
    muls = [samples * mul for mul in muls]
    out = torch.ops.pyg_symbreak.orbit_project(channels, table, muls, dims, kinds, method)
    parts = [part.unflatten(1, (samples, -1)) for part in _split(out, muls, dims)]
    return torch.cat(parts, dim=2), 1
