"""Triton kernels of the sums of tensor products; imported only where they run.

Of the form Φ = Σ_e Σ_paths Σ g[target e, m_out, u] w[e, u] C[e, m_out, m_in] x[source e, m_in, u], which
``csrc/tensor_product.h`` explains, C[e] is made by a matrix product and the weights w[e] = W radial[e] in registers.
Three kernels give the derivatives: one program owns a node and some channels of a block of ∂Φ/∂g or ∂Φ/∂x and goes over
the node's edges; one owns an edge and gives its ∂Φ/∂C and ∂Φ/∂radial; one owns some rows of W and a share of the edges.
There are no atomics, so results are the same bit by bit from run to run. Offsets are int64.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

# Channels of a program, which are its threads.
LANES = 32
# Shares of the edges whose ∂Φ/∂W are added up in the end.
SHARES = 32


@triton.jit
def _weights(weight, weight_at, u, live, k, num_radial, ACC: tl.constexpr):
    """Some rows of W."""
    at = weight + (weight_at + u)[:, None] * num_radial + k[None, :]
    return tl.load(at, mask=live[:, None] & (k < num_radial)[None, :], other=0.0).to(ACC)


@triton.jit
def node_kernel(
    read,
    coupling,
    radial,
    weight,
    order,
    starts,
    other,
    tiles,
    paths,
    out,
    num_nodes,
    num_radial,
    num_couplings,
    D: tl.constexpr,
    RADIAL: tl.constexpr,
    LANES: tl.constexpr,
    ACC: tl.constexpr,
):
    """Sum over the edges of a node, and the paths of some channels: ∂Φ/∂g from x at the sources, or ∂Φ/∂x from g.

    A row of tiles is: first and last path; block, width and step of what is written; first column, number of channels.
    A row of paths is: first column of what is written, channels; dimension, block, width, first column and step of what
    is read; first weight; first column of the coupling and its steps in what is written and read.
    """
    PADDED: tl.constexpr = triton.next_power_of_2(D)
    node = tl.program_id(0).to(tl.int64)
    tile = tiles + tl.program_id(1) * 7
    first_column, count = tl.load(tile + 5), tl.load(tile + 6)
    begin, end = tl.load(starts + node), tl.load(starts + node + 1)
    lane = tl.arange(0, LANES)
    a = tl.arange(0, PADDED)
    k = tl.arange(0, RADIAL)
    total = tl.zeros((PADDED, LANES), ACC)
    for p in range(tl.load(tile), tl.load(tile + 1)):
        path = paths + p * 11
        u = first_column + lane - tl.load(path)
        live = (u >= 0) & (u < tl.load(path + 1)) & (lane < count)
        dim, block, width = tl.load(path + 2), tl.load(path + 3), tl.load(path + 4)
        column, step = tl.load(path + 5), tl.load(path + 6)
        rows = _weights(weight, tl.load(path + 7), u, live, k, num_radial, ACC)
        coupling_at, written_step, read_step = tl.load(path + 8), tl.load(path + 9), tl.load(path + 10)
        for n in range(begin, end):
            edge = tl.load(order + n)
            features = tl.load(radial + edge * num_radial + k, mask=k < num_radial, other=0.0).to(ACC)
            w = tl.sum(rows * features[None, :], 1)
            row = read + num_nodes * block + tl.load(other + edge) * width + column
            matrix = coupling + edge * num_couplings + coupling_at
            product = tl.zeros((PADDED, LANES), ACC)
            for b in range(dim):
                f = tl.load(row + b * step + u, mask=live, other=0.0).to(ACC)
                c = tl.load(matrix + a * written_step + b * read_step, mask=a < D, other=0.0).to(ACC)
                product += c[:, None] * f[None, :]
            total += product * w[None, :]
    to = out + num_nodes * tl.load(tile + 2) + node * tl.load(tile + 3) + first_column
    place = to + a[:, None] * tl.load(tile + 4) + lane[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=(a < D)[:, None] & (lane < count)[None, :])


@triton.jit
def _features(x, path, node, num_nodes, a, u, live, D: tl.constexpr, ACC: tl.constexpr):
    """Some channels of the features [2l+1, channels] of a node."""
    row = x + num_nodes * tl.load(path + 3) + node * tl.load(path + 4) + tl.load(path + 5)
    place = row + a[:, None] * tl.load(path + 6) + u[None, :]
    return tl.load(place, mask=(a < D)[:, None] & live[None, :], other=0.0).to(ACC)


@triton.jit
def edge_kernel(
    x,
    coupling,
    radial,
    weight,
    g,
    source,
    target,
    paths,
    d_coupling,
    d_radial,
    first,
    last,
    num_nodes,
    num_radial,
    num_couplings,
    COUPLING: tl.constexpr,
    D: tl.constexpr,
    D_OUT: tl.constexpr,
    RADIAL: tl.constexpr,
    LANES: tl.constexpr,
    ACC: tl.constexpr,
):
    """∂Φ/∂C of an edge, if asked for, and what the paths from first to last add to ∂Φ/∂radial.

    A row of paths is one of TensorProductPaths.
    """
    PADDED: tl.constexpr = triton.next_power_of_2(D)
    edge = tl.program_id(0).to(tl.int64)
    i, j = tl.load(target + edge), tl.load(source + edge)
    lane = tl.arange(0, LANES)
    a = tl.arange(0, PADDED)
    o = tl.arange(0, D_OUT)
    k = tl.arange(0, RADIAL)
    features = tl.load(radial + edge * num_radial + k, mask=k < num_radial, other=0.0).to(ACC)
    slope = tl.zeros((RADIAL,), ACC)
    d_matrix = tl.zeros((D_OUT, PADDED), ACC)
    before = tl.full((), -1, tl.int64)
    for p in range(first, last):
        path = paths + p * 14
        d_out, channels = tl.load(path + 1), tl.load(path + 2)
        row = g + num_nodes * tl.load(path + 10) + i * tl.load(path + 11) + tl.load(path + 12)
        step, coupling_step = tl.load(path + 13), tl.load(path + 9)
        coupling_at = tl.load(path + 8)
        matrix = edge * num_couplings + coupling_at
        # Runs of channels that share a matrix follow each other: the last store has the sum.
        d_matrix = tl.where(coupling_at == before, d_matrix, 0.0)
        before = coupling_at
        for u0 in range(0, channels, LANES):
            u = u0 + lane
            live = u < channels
            rows = _weights(weight, tl.load(path + 7), u, live, k, num_radial, ACC)
            w = tl.sum(rows * features[None, :], 1)
            value = _features(x, path, j, num_nodes, a, u, live, D, ACC)
            d_w = tl.zeros((LANES,), ACC)
            for m in range(d_out):
                part = tl.load(row + m * step + u, mask=live, other=0.0).to(ACC)[None, :] * value
                c = tl.load(coupling + matrix + m * coupling_step + a, mask=a < D, other=0.0).to(ACC)
                d_w += tl.sum(c[:, None] * part, 0)
                if COUPLING:
                    d_matrix += tl.where((o == m)[:, None], tl.sum(part * w[None, :], 1)[None, :], 0.0)
            slope += tl.sum(rows * d_w[:, None], 0)
        if COUPLING:
            place = d_coupling + matrix + o[:, None] * coupling_step + a[None, :]
            mask = (o < d_out)[:, None] & (a < D)[None, :]
            tl.store(place, d_matrix.to(d_coupling.dtype.element_ty), mask=mask)
    place = d_radial + edge * num_radial + k
    others = tl.load(place, mask=k < num_radial, other=0.0)
    tl.store(place, others + slope.to(d_radial.dtype.element_ty), mask=k < num_radial)


@triton.jit
def weight_kernel(
    x,
    coupling,
    radial,
    g,
    source,
    target,
    tiles,
    paths,
    out,
    num_nodes,
    num_edges,
    num_radial,
    num_couplings,
    num_weights,
    D: tl.constexpr,
    RADIAL: tl.constexpr,
    LANES: tl.constexpr,
    ACC: tl.constexpr,
):
    """∂Φ/∂W of some channels of a path, summed over a share of the edges. A row of tiles is: path, first channel."""
    PADDED: tl.constexpr = triton.next_power_of_2(D)
    tile = tiles + tl.program_id(0) * 2
    share = tl.program_id(1).to(tl.int64)
    path = paths + tl.load(tile) * 14
    d_out, channels = tl.load(path + 1), tl.load(path + 2)
    step, coupling_at, coupling_step = tl.load(path + 13), tl.load(path + 8), tl.load(path + 9)
    u = tl.load(tile + 1) + tl.arange(0, LANES)
    live = u < channels
    a = tl.arange(0, PADDED)
    k = tl.arange(0, RADIAL)
    total = tl.zeros((LANES, RADIAL), ACC)
    shares = tl.num_programs(1)
    for edge in range(num_edges * share // shares, num_edges * (share + 1) // shares):
        value = _features(x, path, tl.load(source + edge), num_nodes, a, u, live, D, ACC)
        row = g + num_nodes * tl.load(path + 10) + tl.load(target + edge) * tl.load(path + 11) + tl.load(path + 12)
        matrix = coupling + edge * num_couplings + coupling_at
        d_w = tl.zeros((LANES,), ACC)
        for m in range(d_out):
            c = tl.load(matrix + m * coupling_step + a, mask=a < D, other=0.0).to(ACC)
            d_w += tl.load(row + m * step + u, mask=live, other=0.0).to(ACC) * tl.sum(c[:, None] * value, 0)
        features = tl.load(radial + edge * num_radial + k, mask=k < num_radial, other=0.0).to(ACC)
        total += d_w[:, None] * features[None, :]
    place = out + (share * num_weights + tl.load(path + 7) + u)[:, None] * num_radial + k[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=live[:, None] & (k < num_radial)[None, :])


@dataclass(frozen=True)
class Launches:
    """Tables of the kernels: for each dimension of what a program keeps, its tiles; paths as the kernels read them."""

    into_sum: list[tuple[int, Tensor]]
    into_x: list[tuple[int, Tensor]]
    into_weight: list[tuple[int, Tensor]]
    edges: list[tuple[int, int, int]]
    paths_sum: Tensor
    paths_x: Tensor
    paths: Tensor
    largest: int


_launches: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def launches(paths: Tensor) -> Launches:
    """What is launched for the paths, made once, since it stops the device."""
    if paths not in _launches:
        _launches[paths] = _plan(paths.tolist(), paths.device)
    return _launches[paths]


def _plan(paths: list[list[int]], device: torch.device) -> Launches:
    paths = sorted(paths, key=lambda p: (p[0], p[3], p[8]))
    d_in, d_out, channels, weight_at, c_at, c_step = ([p[at] for p in paths] for at in (0, 1, 2, 7, 8, 9))
    x, out = ([p[at : at + 4] for p in paths] for at in (3, 10))
    into_sum: dict[int, list[list[int]]] = {}
    into_x: dict[int, list[list[int]]] = {}
    into_weight: dict[int, list[list[int]]] = {}
    for p, (block, width, column, step) in enumerate(out):
        for u in range(0, channels[p], LANES):
            tile = [p, p + 1, block, width, step, column + u, min(LANES, channels[p] - u)]
            into_sum.setdefault(d_out[p], []).append(tile)
            into_weight.setdefault(d_in[p], []).append([p, u])
    for (dim, block), same in groupby(range(len(paths)), lambda p: (d_in[p], x[p][0])):
        numbers = list(same)
        _, width, _, step = x[numbers[0]]
        for u in range(0, step, LANES):
            tile = [numbers[0], numbers[-1] + 1, block, width, step, u, min(LANES, step - u)]
            into_x.setdefault(dim, []).append(tile)

    def tables(tiles: dict[int, list[list[int]]]) -> list[tuple[int, Tensor]]:
        return [(dim, torch.tensor(rows, device=device)) for dim, rows in tiles.items()]

    rows = range(len(paths))
    of_sum = [[out[p][2], channels[p], d_in[p], *x[p], weight_at[p], c_at[p], c_step[p], 1] for p in rows]
    of_x = [[x[p][2], channels[p], d_out[p], *out[p], weight_at[p], c_at[p], 1, c_step[p]] for p in rows]
    return Launches(
        tables(into_sum),
        tables(into_x),
        tables(into_weight),
        [(dim, d_in.index(dim), d_in.index(dim) + d_in.count(dim)) for dim in sorted(set(d_in))],
        torch.tensor(of_sum, device=device),
        torch.tensor(of_x, device=device),
        torch.tensor(paths, device=device),
        max(d_out, default=1),
    )


def settings(dtype: torch.dtype, num_radial: int) -> dict[str, Any]:
    """Block shape and warps of all kernels."""
    acc = tl.float64 if dtype == torch.float64 else tl.float32
    return {"RADIAL": triton.next_power_of_2(num_radial), "LANES": LANES, "ACC": acc, "num_warps": 1}


def launch_tensor_product(
    num_nodes: int,
    factors: list[Any],
    source: Tensor,
    target: Tensor,
    coupling: Tensor,
    paths: Tensor,
    out: list[Tensor],
    wanted: list[bool],
) -> None:
    """Write the derivatives by x, harmonics, radial, weight and grad that are wanted into out, which is zeros.

    All tensors are contiguous, and there are nodes, edges and paths.
    """
    x, harmonics, radial, weight, grad = factors
    plan, how = launches(paths), settings(x.dtype, radial.shape[1])
    num_edges, num_radial, num_couplings = len(source), radial.shape[1], coupling.shape[1]
    matrices = torch.mm(harmonics, coupling, out=harmonics.new_empty(num_edges, num_couplings))  # no autocast

    def sum_at_nodes(
        groups: list[tuple[int, Tensor]], paths: Tensor, read: Tensor, at: Tensor, other: Tensor, out: Tensor
    ) -> None:
        order = at.argsort(stable=True)
        starts = torch.searchsorted(at[order], torch.arange(num_nodes + 1, device=at.device))
        for dim, tiles in groups:
            node_kernel[(num_nodes, len(tiles))](
                read,
                matrices,
                radial,
                weight,
                order,
                starts,
                other,
                tiles,
                paths,
                out,
                num_nodes,
                num_radial,
                num_couplings,
                D=dim,
                **how,
            )

    with torch.cuda.device_of(x):
        if wanted[4]:
            sum_at_nodes(plan.into_sum, plan.paths_sum, x, target, source, out[4])
        if wanted[0]:
            sum_at_nodes(plan.into_x, plan.paths_x, grad, source, target, out[0])
        if wanted[1] or wanted[2]:
            d_matrices = torch.zeros_like(matrices) if wanted[1] else matrices
            d_radial = out[2] if wanted[2] else torch.zeros_like(radial)
            for dim, first, last in plan.edges:
                edge_kernel[(num_edges,)](
                    x,
                    matrices,
                    radial,
                    weight,
                    grad,
                    source,
                    target,
                    plan.paths,
                    d_matrices,
                    d_radial,
                    first,
                    last,
                    num_nodes,
                    num_radial,
                    num_couplings,
                    COUPLING=wanted[1],
                    D=dim,
                    D_OUT=triton.next_power_of_2(plan.largest),
                    **how,
                )
            if wanted[1]:
                torch.mm(d_matrices, coupling.t(), out=out[1])
        if wanted[3]:
            shares = min(SHARES, num_edges)
            parts = weight.new_empty(shares, *weight.shape)
            for dim, tiles in plan.into_weight:
                weight_kernel[(len(tiles), shares)](
                    x,
                    matrices,
                    radial,
                    grad,
                    source,
                    target,
                    tiles,
                    plan.paths,
                    parts,
                    num_nodes,
                    num_edges,
                    num_radial,
                    num_couplings,
                    len(weight),
                    D=dim,
                    **how,
                )
            torch.sum(parts, 0, out=out[3])
