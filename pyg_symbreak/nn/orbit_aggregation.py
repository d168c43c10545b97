"""Aggregation of the rows that share an index, on the orbit kernels."""

import torch
from torch import Tensor
from torch_geometric.nn.aggr import Aggregation

from pyg_symbreak.ops import METHODS, REDUCTIONS, Orbits, orbit_reduce

__all__ = ["OrbitAggregation"]


class OrbitAggregation(Aggregation):
    r"""Reduces rows that share an index, as of the nodes of an orbit or the messages to a node.

    Unlike a scatter it gives the same bits on every run on a GPU too, and its minimum and maximum divide their
    gradient equally among tied rows, so that symmetric inputs keep symmetric gradients. An index that no row
    has gets zeros, as everywhere in PyG.

    Parameters
    ----------
    reduce : {"sum", "mean", "min", "max", "logsumexp"}
        How the rows are reduced.
    method : {"auto", "torch", "triton", "torch_scatter"}
        The implementation, see :func:`pyg_symbreak.ops.resolve_method`.

    Shapes:
        - **input:** rows :math:`(*, N, F)`, index :math:`(N)` or pointer :math:`(M + 1)` of sorted rows
        - **output:** reduced rows :math:`(*, M, F)`
    """

    def __init__(self, reduce: str = "mean", method: str = "auto") -> None:
        super().__init__()
        if reduce not in REDUCTIONS:
            raise ValueError(f"reduce must be one of {REDUCTIONS}, got {reduce!r}")
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {method!r}")
        self.reduction, self.method = reduce, method

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        """Reduce x along a dimension."""
        if index is None:
            if ptr is None:
                raise ValueError("give index, the group of each row, or ptr, where the groups of sorted rows begin")
            groups = _from_ptr(ptr, x.size(dim))
        else:
            groups = Orbits.from_index(index, dim_size)
        out = orbit_reduce(x.movedim(dim, 0), groups, self.reduction, method=self.method)
        if self.reduction not in ("sum", "mean"):
            empty = (groups.offsets.diff() == 0).view(-1, *[1] * (out.dim() - 1))
            out = out.masked_fill(empty, 0.0)
        return out.movedim(0, dim)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.reduction!r}, method={self.method!r})"


def _from_ptr(ptr: Tensor, num_rows: int) -> Orbits:
    rows = torch.arange(num_rows, device=ptr.device)
    groups = torch.arange(ptr.numel() - 1, device=ptr.device)
    return Orbits(groups.repeat_interleave(ptr.diff(), output_size=num_rows), rows, ptr)
