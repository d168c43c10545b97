"""Numbers without relations between them for the nodes of a canonical form, by their ranks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["rank_table"]


def rank_table(rows: int, dim: int) -> Tensor:
    r"""A fixed table of distinct rows, float64 [rows, dim], of mean 0 and mean square 1.

    :math:`\sqrt 2 \cos(2\pi (r \sqrt{p_j} + 1/8))` in row r and column j, with :math:`p_j` the prime number j. As the
    roots are irrational the rows fill a torus uniformly and never repeat, and a row is the same in every table.
    """
    roots = torch.tensor(_primes(dim), dtype=torch.float64).sqrt()
    turns = torch.arange(rows, dtype=torch.float64)[:, None] * roots + 0.125
    return math.sqrt(2) * torch.cos(2 * math.pi * (turns - turns.floor()))


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % p for p in found):
            found.append(candidate)
        candidate += 1
    return found
