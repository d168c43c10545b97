"""Orbits of one size as dense blocks, the CPU's way through irregular segments."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def blocks(order: Tensor, offsets: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Non-empty orbits in blocks of one size and about `rows` nodes, so that a block stays in cache.

    Yields
    ------
    orbits : long tensor [n]
    nodes : long tensor [size, n], column i the nodes of orbit i
    """
    sizes, starts = offsets.diff(), offsets[:-1]
    by_size = sizes.argsort(stable=True)
    values, counts = sizes[by_size].unique_consecutive(return_counts=True)
    first = 0
    for size, count in zip(values.tolist(), counts.tolist(), strict=True):
        same = by_size[first : first + count]
        first += count
        if size:
            steps = torch.arange(size, device=order.device)[:, None]
            for orbits in same.split(max(1, rows // size)):
                at = starts.index_select(0, orbits) + steps
                yield orbits, order.index_select(0, at.flatten()).view(at.shape)
