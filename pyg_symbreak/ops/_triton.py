"""Triton kernels of the orbit ops; imported only where they run.

One program owns one orbit and a block of channels: it reads the rows of the orbit, reduces them in registers in a
fixed order and writes each row once. There are no atomics, so results are the same bit by bit from run to run.
Offsets and node numbers are int64.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_TRITON_TYPES = {torch.float64: tl.float64}


@triton.jit
def _nan_max(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _nan_min(a, b):
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _tile(x, order, weight, first, end, channels, row, column, LOG_WEIGHTED: tl.constexpr, ACC: tl.constexpr):
    """Some rows of an orbit, which of them exist, and the numbers of their nodes."""
    at = first + row
    node = tl.load(order + at, mask=at < end, other=0)
    mask = (at < end)[:, None] & (column < channels)[None, :]
    value = tl.load(x + node[:, None] * channels + column[None, :], mask=mask, other=0.0).to(ACC)
    if LOG_WEIGHTED:
        value += tl.log(tl.load(weight + node, mask=at < end, other=1.0).to(ACC))[:, None]
    return value, mask, node


@triton.jit
def reduce_kernel(
    x,
    order,
    offsets,
    weight,
    out,
    channels,
    REDUCE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    BROADCAST: tl.constexpr,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Reduce features [N, channels] over orbits, into a row for each orbit or, with BROADCAST, for each node."""
    orbit = tl.program_id(0).to(tl.int64)
    start = tl.load(offsets + orbit)
    end = tl.load(offsets + orbit + 1)
    row = tl.arange(0, ROWS)
    column = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    LOG: tl.constexpr = WEIGHTED and REDUCE == "logsumexp"

    if REDUCE == "min":
        low = tl.full((ROWS, CHANNELS), float("inf"), ACC)
        for first in range(start, end, ROWS):
            value, mask, _ = _tile(x, order, weight, first, end, channels, row, column, LOG, ACC)
            low = _nan_min(low, tl.where(mask, value, float("inf")))
        result = tl.reduce(low, 0, _nan_min)
    if REDUCE == "max" or REDUCE == "logsumexp":
        high = tl.full((ROWS, CHANNELS), -float("inf"), ACC)
        for first in range(start, end, ROWS):
            value, mask, _ = _tile(x, order, weight, first, end, channels, row, column, LOG, ACC)
            high = _nan_max(high, tl.where(mask, value, -float("inf")))
        result = tl.reduce(high, 0, _nan_max)
    if REDUCE == "logsumexp":
        shift = tl.where(tl.abs(result) == float("inf"), 0.0, result)
        total = tl.zeros((ROWS, CHANNELS), ACC)
        for first in range(start, end, ROWS):
            value, mask, _ = _tile(x, order, weight, first, end, channels, row, column, LOG, ACC)
            total += tl.where(mask, tl.exp(value - shift[None, :]), 0.0)
        result = tl.log(tl.sum(total, 0)) + shift
    if REDUCE == "sum" or REDUCE == "mean":
        total = tl.zeros((ROWS, CHANNELS), ACC)
        for first in range(start, end, ROWS):
            value, mask, node = _tile(x, order, weight, first, end, channels, row, column, LOG, ACC)
            if WEIGHTED:
                value *= tl.load(weight + node, mask=first + row < end, other=0.0).to(ACC)[:, None]
            total += value
        result = tl.sum(total, 0)
        if REDUCE == "mean":
            result /= tl.maximum(end - start, 1).to(ACC)

    if BROADCAST:
        for first in range(start, end, ROWS):
            at = first + row
            node = tl.load(order + at, mask=at < end, other=0)
            mask = (at < end)[:, None] & (column < channels)[None, :]
            spread = tl.broadcast_to(result[None, :], (ROWS, CHANNELS))
            tl.store(out + node[:, None] * channels + column[None, :], spread.to(out.dtype.element_ty), mask=mask)
    else:
        tl.store(out + orbit * channels + column, result.to(out.dtype.element_ty), mask=column < channels)


@triton.jit
def project_kernel(
    x,
    order,
    offsets,
    coset,
    table,
    out,
    width,
    start_column,
    mul,
    DIM: tl.constexpr,
    PADDED: tl.constexpr,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Project the columns of one term mul × (DIM components) of the irreps on what the group of each graph fixes."""
    orbit = tl.program_id(0).to(tl.int64)
    start = tl.load(offsets + orbit)
    end = tl.load(offsets + orbit + 1)
    share = 1.0 / tl.maximum(end - start, 1).to(ACC)
    row = tl.arange(0, ROWS)
    a = tl.arange(0, PADDED)
    u = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)

    total = tl.zeros((ROWS, PADDED, CHANNELS), ACC)
    for first in range(start, end, ROWS):
        at = first + row
        node = tl.load(order + at, mask=at < end, other=0)
        x_row = x + node * width + start_column
        w_row = table + tl.load(coset + node, mask=at < end, other=0) * (DIM * DIM)
        x_mask = (at < end)[:, None] & (u < mul)[None, :]
        w_mask = (at < end)[:, None] & (a < DIM)[None, :]
        for b in tl.static_range(DIM):
            part = tl.load(x_row[:, None] + u[None, :] * DIM + b, mask=x_mask, other=0.0).to(ACC)
            w = tl.load(w_row[:, None] + b * DIM + a[None, :], mask=w_mask, other=0.0)
            total += w[:, :, None] * part[:, None, :]
    fixed = tl.sum(total, 0) * share

    for first in range(start, end, ROWS):
        at = first + row
        node = tl.load(order + at, mask=at < end, other=0)
        w_row = table + tl.load(coset + node, mask=at < end, other=0) * (DIM * DIM)
        w_mask = (at < end)[:, None] & (a < DIM)[None, :]
        y = tl.zeros((ROWS, PADDED, CHANNELS), ACC)
        for b in tl.static_range(DIM):
            part = tl.sum(tl.where(a[:, None] == b, fixed, 0.0), 0)
            w = tl.load(w_row[:, None] + a[None, :] * DIM + b, mask=w_mask, other=0.0)
            y += w[:, :, None] * part[None, None, :]
        place = out + node[:, None, None] * width + start_column + u[None, None, :] * DIM + a[None, :, None]
        mask = w_mask[:, :, None] & (u < mul)[None, None, :]
        tl.store(place, y.to(out.dtype.element_ty), mask=mask)


def _ceil_power(n: int, most: int) -> int:
    return min(triton.next_power_of_2(max(n, 1)), most)


def reduce_settings(dtype: torch.dtype, rows_per_orbit: int, channels: int) -> dict[str, Any]:
    """Block shape and warps of `reduce_kernel`: an orbit of the mean size in a tile or two, 8 KiB a tile at most."""
    room = 1024 if dtype == torch.float64 else 2048
    block = _ceil_power(channels, 128)
    rows = _ceil_power(rows_per_orbit, min(32, room // block))
    return {
        "ACC": _TRITON_TYPES.get(dtype, tl.float32),
        "ROWS": rows,
        "CHANNELS": block,
        "num_warps": _ceil_power(rows * block // 256, 4),
    }


def project_settings(dtype: torch.dtype, rows_per_orbit: int, mul: int, dim: int) -> dict[str, Any]:
    """Block shape and warps of `project_kernel`: at most 4 KiB in the accumulator of one program."""
    padded = triton.next_power_of_2(dim)
    room = 512 if dtype == torch.float64 else 1024
    block = _ceil_power(mul, min(32, room // padded))
    rows = _ceil_power(rows_per_orbit, min(32, room // (padded * block)))
    return {
        "DIM": dim,
        "PADDED": padded,
        "ACC": _TRITON_TYPES.get(dtype, tl.float32),
        "ROWS": rows,
        "CHANNELS": block,
        "num_warps": _ceil_power(rows * padded * block // 256, 4),
    }


def launch_reduce(
    x: Tensor, order: Tensor, offsets: Tensor, weight: Tensor | None, reduce: str, broadcast: bool
) -> Tensor:
    """Run `reduce_kernel` on contiguous features [N, C] with N, C > 0."""
    num_orbits, channels = offsets.shape[0] - 1, x.shape[1]
    settings = reduce_settings(x.dtype, -(-x.shape[0] // num_orbits), channels)
    out = torch.empty_like(x) if broadcast else x.new_empty((num_orbits, channels))
    grid = (num_orbits, triton.cdiv(channels, settings["CHANNELS"]))
    with torch.cuda.device_of(x):
        reduce_kernel[grid](
            x,
            order,
            offsets,
            x if weight is None else weight.contiguous(),
            out,
            channels,
            REDUCE=reduce,
            WEIGHTED=weight is not None,
            BROADCAST=broadcast,
            **settings,
        )
    return out


def launch_project(x: Tensor, table: list[Tensor], muls: list[int], dims: list[int], kinds: list[int]) -> Tensor:
    """Run `project_kernel` for each term of the irreps on contiguous features [N, width]."""
    order, offsets, coset, *means = table
    num_orbits, width = offsets.shape[0] - 1, x.shape[1]
    out = torch.empty_like(x)
    start = 0
    with torch.cuda.device_of(x):
        for mul, dim, kind in zip(muls, dims, kinds, strict=True):
            if mul:
                settings = project_settings(x.dtype, -(-x.shape[0] // num_orbits), mul, dim)
                grid = (num_orbits, triton.cdiv(mul, settings["CHANNELS"]))
                project_kernel[grid](x, order, offsets, coset, means[kind], out, width, start, mul, **settings)
            start += mul * dim
    return out
