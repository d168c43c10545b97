"""Products of blocks of features with matrices: linear maps of irreps without the zeros between parities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Columns", "LinearBlocks", "block_linear"]


class Columns(NamedTuple):
    """Some columns of a matrix that has rows for the components of nodes and lies somewhere in a contiguous tensor.

    Parameters
    ----------
    tensor : int
        Number of the tensor.
    at : int
        Where the matrix begins, in numbers for each node.
    rows, width : int
        Rows for each node (2l + 1) and columns of the matrix.
    first, size : int
        The columns that are meant.
    """

    tensor: int
    at: int
    rows: int
    width: int
    first: int
    size: int


@dataclass(frozen=True)
class LinearBlocks:
    """Products whose sums make up all columns of the outputs.

    Parameters
    ----------
    sources, targets : tuples of Columns
        For each matrix the columns of an input that it multiplies and those of an output to which the product is added.
        Two of the same tensor are the same or have none in common. The matrices lie one after the other, by rows.
    shapes : tuple of tuples
        Shape of each output for one node: its first number is multiplied by the number of nodes.
    """

    sources: tuple[Columns, ...]
    targets: tuple[Columns, ...]
    shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def matrices(self) -> list[tuple[int, int, int]]:
        """First entry, rows and columns of each matrix."""
        sizes = [(source.size, target.size) for source, target in zip(self.sources, self.targets, strict=True)]
        return [(at, *size) for at, size in zip(accumulate((n * m for n, m in sizes), initial=0), sizes, strict=False)]

    @cached_property
    def repeated(self) -> list[tuple[bool, bool]]:
        """Whether an earlier block has the columns of a block's input, and those of its output."""
        sources, targets = self.sources, self.targets
        return [(sources[n] in sources[:n], targets[n] in targets[:n]) for n in range(len(sources))]

    @cached_property
    def read(self) -> dict[int, int]:
        """How many numbers of each input are in blocks, for each node."""
        counts: Counter[int] = Counter()
        for columns in set(self.sources):
            counts[columns.tensor] += columns.rows * columns.size
        return counts


def block_linear(weight: Tensor, inputs: Sequence[Tensor], plan: LinearBlocks, num_nodes: int) -> list[Tensor]:
    r"""Multiply blocks of columns of features by matrices, and add up what goes to the same columns.

    One operation for all blocks; in each it is one matrix product on the memory of the features, nothing is copied. The
    sum of the products of the outputs with tensors is a form linear in the weights, in the inputs and in these tensors,
    so that the derivatives by all three, and the derivatives of these, are one operation too.

    Parameters
    ----------
    weight : tensor [W]
        All matrices, by rows.
    inputs : sequence of tensors
        Of any shape; read as their numbers lie in memory once contiguous.
    plan : LinearBlocks
    num_nodes : int

    Returns
    -------
    list of tensors, of the dtype of the weights
    """
    inputs = [t.to(weight.dtype) for t in inputs]
    if torch.compiler.is_compiling():
        return _plain(weight, inputs, plan, num_nodes)
    outputs = [None] * len(plan.shapes)
    wanted = (False, *[False] * len(inputs), *[True] * len(outputs))
    found = _Derivatives.apply(plan, num_nodes, wanted, weight, *inputs, *outputs)
    return list(found[1 + len(inputs) :])


def _plain(weight: Tensor, inputs: list[Tensor], plan: LinearBlocks, num_nodes: int) -> list[Tensor]:
    """The same in plain operations, for torch.compile."""
    inputs = [t.contiguous() for t in inputs]
    outputs = [weight.new_zeros(num_nodes * first, *rest) for first, *rest in plan.shapes]
    for source, target, (at, n, m) in zip(plan.sources, plan.targets, plan.matrices, strict=True):
        matrix = weight[at : at + n * m].view(n, m)
        _part(outputs, target, num_nodes).add_(_part(inputs, source, num_nodes) @ matrix)
    return outputs


def _part(tensors: list[Tensor], columns: Columns, n: int) -> Tensor:
    number, at, rows, width, first, size = columns
    return tensors[number].view(-1)[n * at : n * (at + rows * width)].view(n * rows, width)[:, first : first + size]


def _views(columns: Sequence[Columns], tensors: Sequence[Tensor | None], n: int) -> list[Any]:
    """Matrices that share the memory of the tensors."""
    return [
        None
        if (t := tensors[number]) is None
        else t.as_strided((n * rows, size), (width, 1), t.storage_offset() + n * at + first)
        for number, at, rows, width, first, size in columns
    ]


def _matrices(plan: LinearBlocks, weight: Tensor | None) -> list[Any]:
    if weight is None:
        return [None] * len(plan.sources)
    return [weight.as_strided((n, m), (m, 1), weight.storage_offset() + at) for at, n, m in plan.matrices]


def _multiply(a: Tensor, b: Tensor, out: Tensor, add: bool) -> None:
    if add:
        torch.addmm(out, a, b, out=out)
    else:
        torch.mm(a, b, out=out)


class _Derivatives(torch.autograd.Function):
    """Derivatives of Σ grads · outputs by the weights, inputs and grads; None where not wanted."""

    @staticmethod
    def forward(ctx: Any, plan: LinearBlocks, num_nodes: int, wanted: tuple[bool, ...], *factors: Any) -> Any:
        ctx.plan, ctx.num_nodes = plan, num_nodes
        ctx.save_for_backward(*factors)
        ctx.set_materialize_grads(False)
        tensors: list[Any] = [None if t is None else t.contiguous() for t in factors]
        weight, *tensors = tensors
        count = len(tensors) - len(plan.shapes)
        inputs, grads = tensors[:count], tensors[count:]
        d_weight = torch.empty_like(weight) if wanted[0] else None
        d_inputs = [torch.empty_like(t) if w else None for t, w in zip(inputs, wanted[1:], strict=False)]
        d_grads = [
            weight.new_empty(num_nodes * first, *rest) if w else None
            for (first, *rest), w in zip(plan.shapes, wanted[1 + count :], strict=True)
        ]
        for number, t in enumerate(d_inputs):
            if t is not None and plan.read.get(number, 0) * num_nodes < t.numel():
                t.zero_()
        for (more_source, more_target), matrix, d_matrix, source, target, d_source, d_target in zip(
            plan.repeated,
            _matrices(plan, weight),
            _matrices(plan, d_weight),
            _views(plan.sources, inputs, num_nodes),
            _views(plan.targets, grads, num_nodes),
            _views(plan.sources, d_inputs, num_nodes),
            _views(plan.targets, d_grads, num_nodes),
            strict=True,
        ):
            if d_target is not None:
                _multiply(source, matrix, d_target, more_target)
            if d_source is not None:
                _multiply(target, matrix.t(), d_source, more_source)
            if d_matrix is not None:
                torch.mm(source.t(), target, out=d_matrix)
        return d_weight, *d_inputs, *d_grads

    @staticmethod
    def backward(ctx, *directions):
        """The form is linear in each of three factors: directions take the place of that by which was derived."""
        factors, needed = ctx.saved_tensors, ctx.needs_input_grad[3:]
        outputs = len(factors) - len(ctx.plan.shapes)
        grads: list[Tensor | None] = [None] * len(factors)
        for slots in (slice(0, 1), slice(1, outputs), slice(outputs, None)):
            inside = range(*slots.indices(len(factors)))
            wanted = tuple(need and n not in inside for n, need in enumerate(needed))
            if all(d is None for d in directions[slots]) or not any(wanted):
                continue
            given = list(directions[slots])
            for n, factor in enumerate(factors[slots]):
                if given[n] is None and factor is not None:
                    given[n] = torch.zeros_like(factor)
                elif given[n] is None:
                    first, *rest = ctx.plan.shapes[n]
                    given[n] = factors[0].new_zeros(ctx.num_nodes * first, *rest)
            replaced = (*factors[: slots.start], *given, *factors[inside.stop :])
            for n, part in enumerate(_Derivatives.apply(ctx.plan, ctx.num_nodes, wanted, *replaced)):
                if part is not None:
                    grads[n] = part if grads[n] is None else grads[n] + part
        return None, None, None, *grads
