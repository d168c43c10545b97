"""Triton kernels of the orbit ops; imported only where they run.

One program owns one orbit and a block of channels: it reads the rows of the orbit, reduces them in registers in a
fixed order and writes each row once. Orbits of more than `LONG` nodes are cut into segments, each with a program of its
own, whose results a second pass reduces. There are no atomics, so results are the same bit by bit from run to run.
Offsets and node numbers are int64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

LONG = 4096
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
    starts,
    stops,
    weight,
    out,
    channels,
    longest,
    REDUCE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    BROADCAST: tl.constexpr,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Reduce features [N, channels] over orbits, into a row for each orbit or, with BROADCAST, for each node.

    Orbits of more than longest rows are taken for empty.
    """
    orbit = tl.program_id(0).to(tl.int64)
    start = tl.load(starts + orbit)
    end = tl.load(stops + orbit)
    end = tl.where(end - start > longest, start, end)
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
def _project_block(
    x,
    order,
    coset,
    table,
    fixed_rows,
    out,
    start,
    end,
    program,
    width,
    first,
    columns,
    cosets_apart,
    PHASE: tl.constexpr,
    DIM: tl.constexpr,
    FLAT: tl.constexpr,
    VECTOR: tl.constexpr,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Project some channels of DIM components; what is read and written is flat, and permuted in registers."""
    PADDED: tl.constexpr = triton.next_power_of_2(DIM)
    CHANNELS: tl.constexpr = FLAT // PADDED
    row = tl.arange(0, ROWS)
    a = tl.arange(0, PADDED)
    u = tl.arange(0, CHANNELS)
    c = tl.arange(0, FLAT)
    column = first + c
    inside = c < columns
    from_flat = tl.minimum((c % DIM) * CHANNELS + c // DIM, FLAT - 1)  # where (component, channel) has column c

    if PHASE == "spread":
        fixed_place = fixed_rows + program * width + first + u[None, :] * DIM + a[:, None]
        fixed = tl.load(fixed_place, mask=(a < DIM)[:, None] & (u * DIM < columns)[None, :], other=0.0)
    else:
        total = tl.zeros((ROWS, PADDED, CHANNELS), ACC)
        for begin in range(start, end, ROWS):
            at = begin + row
            node = tl.load(order + at, mask=at < end, other=0)
            x_row = x + tl.multiple_of(node * width, VECTOR)
            value = tl.load(x_row[:, None] + column[None, :], mask=(at < end)[:, None] & inside[None, :], other=0.0)
            value = value.to(ACC)
            w_row = table + tl.load(coset + node, mask=at < end, other=0) * cosets_apart
            w_mask = (at < end)[:, None] & (a < DIM)[None, :]
            for b in tl.static_range(DIM):
                if DIM == 1:
                    part = value
                else:
                    to_part = tl.minimum(u * DIM + b, FLAT - 1)
                    part = tl.gather(value, tl.broadcast_to(to_part[None, :], (ROWS, CHANNELS)), 1)
                w = tl.load(w_row[:, None] + b * DIM + a[None, :], mask=w_mask, other=0.0)
                total += w[:, :, None] * part[:, None, :]
        fixed = tl.sum(total, 0)

    if PHASE == "sum":
        flat = tl.gather(tl.reshape(fixed, (FLAT,)), from_flat, 0)
        tl.store(out + tl.multiple_of(program * width, VECTOR) + column, flat, mask=inside)
    else:
        if PHASE == "both":
            fixed *= 1.0 / tl.maximum(end - start, 1).to(ACC)
        for begin in range(start, end, ROWS):
            at = begin + row
            node = tl.load(order + at, mask=at < end, other=0)
            w_row = table + tl.load(coset + node, mask=at < end, other=0) * cosets_apart
            w_mask = (at < end)[:, None] & (a < DIM)[None, :]
            y = tl.zeros((ROWS, PADDED, CHANNELS), ACC)
            for b in tl.static_range(DIM):
                part = tl.sum(tl.where(a[:, None] == b, fixed, 0.0), 0)
                w = tl.load(w_row[:, None] + a[None, :] * DIM + b, mask=w_mask, other=0.0)
                y += w[:, :, None] * part[None, None, :]
            y = tl.reshape(y.to(out.dtype.element_ty), (ROWS, FLAT))
            flat = tl.gather(y, tl.broadcast_to(from_flat[None, :], (ROWS, FLAT)), 1)
            place = out + tl.multiple_of(node * width, VECTOR)[:, None] + column[None, :]
            tl.store(place, flat, mask=(at < end)[:, None] & inside[None, :])


@triton.jit
def project_kernel(
    x,
    order,
    starts,
    stops,
    rows,
    coset,
    table,
    blocks,
    fixed_rows,
    out,
    width,
    cosets_apart,
    longest,
    PHASE: tl.constexpr,
    DIMS: tl.constexpr,
    FLAT: tl.constexpr,
    VECTOR: tl.constexpr,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Project blocks of columns of all terms of the irreps on what the group of each graph fixes.

    Phase "both" reads orbits and writes their nodes, but takes orbits of more than longest rows for empty. Of these,
    "sum" reads segments and writes a row for each, and "spread" writes the nodes of segments from row `rows` of
    fixed_rows.
    """
    program = tl.program_id(0).to(tl.int64)
    start = tl.load(starts + program)
    end = tl.load(stops + program)
    if PHASE == "both":
        end = tl.where(end - start > longest, start, end)
    if PHASE == "spread":
        program = tl.load(rows + program)
    block = blocks + tl.program_id(1) * 4
    first = tl.multiple_of(tl.load(block), VECTOR)
    columns = tl.multiple_of(tl.load(block + 1), VECTOR)
    dim = tl.load(block + 2)
    matrices = table + tl.load(block + 3)
    for k in tl.static_range(len(DIMS)):
        if dim == DIMS[k]:
            _project_block(
                x,
                order,
                coset,
                matrices,
                fixed_rows,
                out,
                start,
                end,
                program,
                width,
                first,
                columns,
                cosets_apart,
                PHASE,
                DIMS[k],
                FLAT,
                VECTOR,
                ACC,
                ROWS,
            )


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


def project_settings(dtype: torch.dtype, rows_per_orbit: int, muls: list[int], dims: list[int]) -> dict[str, Any]:
    """Block shape, warps and width of the loads of `project_kernel`: at most 4 KiB in the accumulator of a program."""
    flat = max(_ceil_power(mul * _padded(dim), 128) for mul, dim in zip(muls, dims, strict=True))
    flat = max(flat, *map(_padded, dims))
    rows = _ceil_power(rows_per_orbit, min(32, max(1, (512 if dtype == torch.float64 else 1024) // flat)))
    wide, width = 16 // dtype.itemsize, sum(mul * dim for mul, dim in zip(muls, dims, strict=True))
    aligned = all(n % wide == 0 for block in _blocks(muls, dims, [0] * len(dims), flat) for n in block[:2])
    return {
        "DIMS": tuple(sorted({dim for mul, dim in zip(muls, dims, strict=True) if mul})),
        "FLAT": flat,
        "VECTOR": wide if aligned and width % wide == 0 else 1,
        "ACC": _TRITON_TYPES.get(dtype, tl.float32),
        "ROWS": rows,
        "num_warps": _ceil_power(rows * flat // 256, 4),
    }


def _padded(dim: int) -> int:
    return int(triton.next_power_of_2(dim))


def _blocks(muls: list[int], dims: list[int], starts: list[int], flat: int) -> list[tuple[int, int, int, int]]:
    """First column, number of columns, dimension and first entry of the matrices of each block of channels."""
    blocks, column = [], 0
    for mul, dim, start in zip(muls, dims, starts, strict=True):
        step = flat // _padded(dim)
        blocks += [(column + u * dim, min(step, mul - u) * dim, dim, start) for u in range(0, mul, step)]
        column += mul * dim
    return blocks


@lru_cache
def _blocks_on(device: torch.device, *arguments: Any) -> Tensor:
    muls, dims, starts, flat = arguments
    return torch.tensor(_blocks(muls, dims, starts, flat), device=device)


@dataclass(frozen=True)
class LongOrbits:
    """Orbits of more than LONG nodes: which, how large, and their segments: bounds, orbits, and those of an orbit."""

    orbit: Tensor
    size: Tensor
    starts: Tensor
    stops: Tensor
    which: Tensor
    first: Tensor
    last: Tensor
    rows: int


_long_orbits: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def long_orbits(offsets: Tensor) -> LongOrbits | None:
    """The long orbits, looked for once for the offsets, since it stops the device; None if there are none."""
    if offsets not in _long_orbits:
        sizes = offsets.diff()
        orbit = (sizes > LONG).nonzero().flatten()
        _long_orbits[offsets] = _segments(offsets, orbit, sizes[orbit]) if len(orbit) else None
    return _long_orbits[offsets]


def _segments(offsets: Tensor, orbit: Tensor, size: Tensor) -> LongOrbits:
    count = (size + LONG - 1) // LONG
    last = count.cumsum(0)
    first = last - count
    which = torch.arange(len(orbit), device=orbit.device).repeat_interleave(count)
    number = torch.arange(len(which), device=orbit.device) - first[which]
    starts = offsets[orbit][which] + number * LONG
    stops = torch.minimum(starts + LONG, offsets[orbit + 1][which])
    return LongOrbits(orbit, size, starts, stops, which, first, last, int(size.sum()))


def launch_reduce(
    x: Tensor, order: Tensor, offsets: Tensor, weight: Tensor | None, reduce: str, broadcast: bool
) -> Tensor:
    """Run `reduce_kernel` on contiguous features [N, C] with N, C > 0."""
    out = torch.empty_like(x) if broadcast else x.new_empty((offsets.shape[0] - 1, x.shape[1]))
    _reduce_into(out, x, order, offsets[:-1], offsets[1:], weight, reduce, broadcast)
    long = long_orbits(offsets) if x.shape[0] > LONG else None
    if long is not None:
        how = "sum" if reduce == "mean" else reduce
        parts = x.new_empty((len(long.which), x.shape[1]), dtype=torch.promote_types(x.dtype, torch.float32))
        _reduce_into(parts, x, order, long.starts, long.stops, weight, how, False)
        result = _reduce_segments(parts, long, how)
        if reduce == "mean":
            result /= long.size[:, None]
        if broadcast:
            which = torch.arange(len(long.orbit), device=x.device).repeat_interleave(long.size, output_size=long.rows)
            begin = offsets[long.orbit] - (long.size.cumsum(0) - long.size)
            nodes = order[torch.arange(long.rows, device=x.device) + begin[which]]
            out.index_copy_(0, nodes, result.to(x.dtype).index_select(0, which))
        else:
            out.index_copy_(0, long.orbit, result.to(x.dtype))
    return out


def _reduce_segments(parts: Tensor, long: LongOrbits, reduce: str) -> Tensor:
    out = parts.new_empty((len(long.orbit), parts.shape[1]))
    identity = torch.arange(len(parts), device=parts.device)
    _reduce_into(out, parts, identity, long.first, long.last, None, reduce, False)
    return out


def _reduce_into(
    out: Tensor,
    x: Tensor,
    order: Tensor,
    starts: Tensor,
    stops: Tensor,
    weight: Tensor | None,
    reduce: str,
    broadcast: bool,
) -> None:
    channels = x.shape[1]
    settings = reduce_settings(x.dtype, -(-x.shape[0] // len(starts)), channels)
    grid = (len(starts), triton.cdiv(channels, settings["CHANNELS"]))
    with torch.cuda.device_of(x):
        reduce_kernel[grid](
            x,
            order,
            starts,
            stops,
            x if weight is None else weight.contiguous(),
            out,
            channels,
            LONG,
            REDUCE=reduce,
            WEIGHTED=weight is not None,
            BROADCAST=broadcast,
            **settings,
        )


def launch_project(x: Tensor, table: list[Tensor], muls: list[int], dims: list[int], kinds: list[int]) -> Tensor:
    """Run `project_kernel` for all terms of the irreps on contiguous features [N, width]."""
    order, offsets, coset, means = table
    num_orbits, width = offsets.shape[0] - 1, x.shape[1]
    settings = project_settings(x.dtype, -(-x.shape[0] // num_orbits), muls, dims)
    entries = [0] * (max(kinds) + 1)
    for dim, kind in zip(dims, kinds, strict=True):
        entries[kind] = dim * dim
    first = [sum(entries[:kind]) for kind in kinds]
    blocks = _blocks_on(x.device, tuple(muls), tuple(dims), tuple(first), settings["FLAT"])

    def run(phase: str, starts: Tensor, stops: Tensor, rows: Tensor, fixed: Tensor, out: Tensor) -> Tensor:
        with torch.cuda.device_of(x):
            project_kernel[(len(starts), len(blocks))](
                x,
                order,
                starts,
                stops,
                rows,
                coset,
                means,
                blocks,
                fixed,
                out,
                width,
                means.shape[1],
                LONG,
                PHASE=phase,
                **settings,
            )
        return out

    out = run("both", offsets[:-1], offsets[1:], order, means, torch.empty_like(x))
    long = long_orbits(offsets) if x.shape[0] > LONG else None
    if long is not None:
        parts = run("sum", long.starts, long.stops, order, means, means.new_empty((len(long.which), width)))
        fixed = _reduce_segments(parts, long, "sum") / long.size[:, None]
        run("spread", long.starts, long.stops, long.which, fixed, out)
    return out
