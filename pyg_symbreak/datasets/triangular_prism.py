"""A triangular prism of which one vertex is to be chosen."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch_geometric.data import Data, InMemoryDataset

__all__ = ["TriangularPrism"]


class TriangularPrism(InMemoryDataset):
    r"""Six points, and the six equally good answers to "choose one of them".

    One graph: the vertices :math:`(\cos 2\pi i/3, \sin 2\pi i/3, \pm 1)` of a triangular prism, top triangle
    first. The answer is one vector, pointing to a vertex; no equivariant network can give it, since the prism
    has no vertex that differs from the others. The prism alone has the symmetry :math:`D_{3h}`; the chirality
    mark ``x``, which changes its sign under an inversion, leaves :math:`D_3`, so the six vertices are one
    free orbit. The example is from Xie and Smidt, "Equivariant Symmetry Breaking Sets", Trans. Mach. Learn.
    Res. (2024), arXiv 2402.02681.

    ============== ============ ===========================================================================
    key            shape        meaning
    ============== ============ ===========================================================================
    ``pos``        [6, 3]       vertices
    ``x``          [6, 1]       chirality mark, +1 on every node (e3nn irreps ``0o``)
    ``edge_index`` [2, 18]      edges of the prism, in both directions
    ``y``          [1, 6, 3]    the orbit of answers, graph-level (e3nn irreps ``1o``)
    ============== ============ ===========================================================================

    ====== ====== ====== ===========
    graphs nodes  edges  answers
    ====== ====== ====== ===========
    1      6      18     6
    ====== ====== ====== ===========

    Parameters
    ----------
    transform : callable, optional
        Applied to the graph at every access.

    Examples
    --------
    >>> TriangularPrism()[0]
    Data(x=[6, 1], edge_index=[2, 18], y=[1, 6, 3], pos=[6, 3])
    """

    def __init__(self, transform: Callable | None = None):
        super().__init__(None, transform)
        angles = [2 * math.pi * i / 3 for i in range(3)]
        pos = torch.tensor([[math.cos(a), math.sin(a), z] for z in (1.0, -1.0) for a in angles])
        triangles = [(3 * k + i, 3 * k + j) for k in range(2) for i in range(3) for j in range(3) if i != j]
        pillars = [(i, (i + 3) % 6) for i in range(6)]
        data = Data(
            x=torch.ones(6, 1),
            edge_index=torch.tensor(sorted(triangles + pillars)).T.contiguous(),
            y=pos[None].clone(),
            pos=pos,
        )
        self.data, self.slices = self.collate([data])
