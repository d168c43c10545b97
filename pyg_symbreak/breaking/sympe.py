"""The element of the inversion kernel itself as the object, for a learned vector (SymPE)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from e3nn import o3
from torch_geometric.data import Data

from pyg_symbreak.detect import Features, GraphSymmetry, Symmetry

from .canonical.kernel import inversion_kernel
from .group_indexed import BreakingSet
from .input_indexed import TRIVIAL, KernelObjects, placed_set
from .protocol import describe

__all__ = ["GroupElement"]

COLUMNS = o3.Irreps("3x1o")


@dataclass(frozen=True)
class GroupElement:
    """The element of the inversion kernel itself, for the learned vector of :class:`~pyg_symbreak.nn.SymPE`.

    Of a structure with positions the three columns of a rotation, proper or improper, irreps "3x1o"; of a graph
    without positions the rank of each node in the canonical form. After H. Lawrence, V. Portilheiro, Y. Zhang,
    S.-O. Kaba, "Improving Equivariant Networks with Probabilistic Symmetry Breaking", ICLR 2025, arXiv 2503.21985.

    Examples
    --------
    >>> import torch
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking
    >>> ring = Data(edge_index=torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]]), num_nodes=3)
    >>> sorted(AddSymmetryBreaking(GroupElement(), choose="all")(ring).breaking.view(6, 3).tolist())
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    """

    def objects(
        self, data: Data, symmetry: Symmetry | GraphSymmetry, features: Features = ()
    ) -> BreakingSet | KernelObjects:
        """All elements that carry the canonical form to the input."""
        kernel = inversion_kernel(data, symmetry, features)
        if isinstance(symmetry, GraphSymmetry):
            return KernelObjects(kernel, o3.Irreps("0e"), lambda elements: elements.ranks[:, :, None])
        frame, group = kernel.setting.rotation.numpy(), symmetry.group
        return placed_set(frame, group, TRIVIAL, COLUMNS, np.eye(3).ravel())

    def __repr__(self) -> str:
        return describe(self)
