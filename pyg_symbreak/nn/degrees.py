"""Features sorted by degree: between e3nn's flat layout and one tensor for each l.

An e3nn vector with irreps such as ``16x0e+8x1e+8x1o`` is flat. The layers here work on one tensor for each
degree l, of shape ``[N, 2l+1, channels]``, where the channels of both parities stand side by side in the
order in which the irreps list them.
"""

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor

__all__ = ["Blocks", "blocks_of", "join_degrees", "parities_of", "split_by_degree"]

Blocks = tuple[tuple[int, int], ...]


def blocks_of(irreps: o3.Irreps) -> Blocks:
    """Multiplicity and degree of each block of ``irreps``: plain integers, which torch.compile can trace."""
    return tuple((mul, ir.l) for mul, ir in irreps if mul > 0)


def parities_of(irreps: o3.Irreps) -> dict[int, list[int]]:
    """Parity, +1 or -1, of each channel of each degree, degrees in ascending order."""
    degrees = sorted({ir.l for mul, ir in irreps if mul > 0})
    return {ell: [ir.p for mul, ir in irreps if ir.l == ell for _ in range(mul)] for ell in degrees}


def split_by_degree(x: Tensor, blocks: Blocks) -> list[Tensor]:
    """Turn ``[N, dim]`` in e3nn's layout into one ``[N, 2l+1, channels]`` for each l, ascending."""
    parts: dict[int, list[Tensor]] = {ell: [] for ell in sorted({ell for _, ell in blocks})}
    pieces = x.split([mul * (2 * ell + 1) for mul, ell in blocks], dim=1)
    for (mul, ell), piece in zip(blocks, pieces, strict=True):
        parts[ell].append(piece.view(-1, mul, 2 * ell + 1).transpose(1, 2))
    return [torch.cat(p, dim=2) if len(p) > 1 else p[0] for p in parts.values()]


def join_degrees(features: Sequence[Tensor], blocks: Blocks) -> Tensor:
    """Undo :func:`split_by_degree`."""
    degrees = sorted({ell for _, ell in blocks})
    pieces = {
        ell: iter(f.split([mul for mul, l_block in blocks if l_block == ell], dim=2))
        for ell, f in zip(degrees, features, strict=True)
    }
    flat = [next(pieces[ell]).transpose(1, 2).reshape(-1, mul * (2 * ell + 1)) for mul, ell in blocks]
    return torch.cat(flat, dim=1)
