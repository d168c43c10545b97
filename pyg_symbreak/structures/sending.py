"""Structures on their way to other processes, as bytes.

torch takes half a millisecond to pickle the tensors of a small molecule, and a file for each in shared memory. Here the
arrays that many structures have under one name are sent as one.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

__all__ = ["from_bytes", "to_bytes"]


def to_bytes(items: Sequence[Any]) -> bytes:
    """Many structures, or anything else that can be pickled."""
    if not items or any(type(item) is not Data for item in items):
        return pickle.dumps((len(items), items))
    rows = [item.to_dict() for item in items]
    columns = []
    for name in dict.fromkeys(name for row in rows for name in row):
        having = [i for i, row in enumerate(rows) if name in row]
        columns.append((name, having, *_joined([rows[i][name] for i in having])))
    return pickle.dumps((len(rows), _Columns(columns)))


def from_bytes(content: bytes) -> list[Any]:
    """The structures that :func:`to_bytes` was given, with memory of their own."""
    count, columns = pickle.loads(content)
    if not isinstance(columns, _Columns):
        return list(columns)
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, having, *joined in columns:
        for i, value in zip(having, _parted(*joined), strict=True):
            rows[i][name] = value
    return [Data(**row) for row in rows]


class _Columns(list):
    """Attributes of all structures that have one of a name: the name, which have it, and what."""


def _joined(values: list[Any]) -> tuple[str, Any, Any]:
    """What they are, their numbers, and their shapes."""
    types, kind, arrays = set(map(type, values)), "", values
    if types == {np.ndarray}:
        kind = "arrays"
    elif types == {Tensor} and all(map(_is_plain, values)):
        kind, arrays = "tensors", [v.numpy() for v in values]
    if not kind or any(a.dtype != arrays[0].dtype or a.dtype == object for a in arrays):
        return "", values, None
    return kind, np.concatenate([a.ravel() for a in arrays]), [a.shape for a in arrays]


def _is_plain(x: Tensor) -> bool:
    """Whether numpy has the same."""
    return x.is_cpu and not x.requires_grad and x.layout == torch.strided and x.dtype != torch.bfloat16


def _parted(kind: str, joined: Any, shapes: Any) -> list[Any]:
    if not kind:
        return list(joined)
    ends = pairwise(accumulate((math.prod(shape) for shape in shapes), initial=0))
    arrays = [joined[a:b].reshape(shape).copy() for (a, b), shape in zip(ends, shapes, strict=True)]
    return arrays if kind == "arrays" else [torch.from_numpy(a) for a in arrays]
