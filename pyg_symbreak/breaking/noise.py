"""Noise: the baseline that breaks all symmetry of every structure, and is equivariant in distribution only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from e3nn import o3
from scipy.spatial.distance import pdist
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.detect import Features, GraphSymmetry, Symmetry
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.structures import shortest_distance, structure_arrays

from .input_indexed import require_scalars
from .protocol import Level, describe

__all__ = ["Noise", "NoiseObjects"]


@dataclass(frozen=True)
class Noise:
    """Independent normal numbers on all nodes, of mean zero: they break all symmetry of every structure.

    Parameters
    ----------
    scale : float
        The standard deviation; with positions times the shortest distance between two atoms, Å.
    irreps : str or e3nn Irreps, optional
        Of the row on a node. Default: "1o", and "8x0e" for graphs without positions, which have scalars only.

    Raises
    ------
    ValueError
        ``scale`` is not positive.

    Examples
    --------
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking
    >>> AddSymmetryBreaking(Noise(scale=0.1), seed=0)(Data(pos=torch.eye(3))).breaking.shape
    torch.Size([3, 3])
    """

    scale: float = 1.0
    irreps: str | None = None

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale={self.scale} must be positive: it is the standard deviation of the noise")
        if self.irreps is not None:
            object.__setattr__(self, "irreps", str(o3.Irreps(self.irreps)))

    def objects(self, data: Data, symmetry: Symmetry | GraphSymmetry, features: Features = ()) -> NoiseObjects:
        """The law of the noise."""
        count = symmetry.num_nodes
        if isinstance(symmetry, GraphSymmetry):
            return NoiseObjects(require_scalars(self.irreps), count, self.scale)
        return NoiseObjects(o3.Irreps(self.irreps or "1o"), count, self.scale * neighbor_distance(data))

    def __repr__(self) -> str:
        return describe(self)


@dataclass(frozen=True, eq=False)
class NoiseObjects:
    """Independent normal numbers on all nodes: a law that no rotation and no permutation of the nodes changes."""

    irreps: o3.Irreps
    num_nodes: int
    scale: float
    level: Level = "node"
    size: float = math.inf
    keep: PointGroup | None = None
    ideal: bool = False
    explanation: str = "Noise breaks all symmetry, and what is learned is equivariant in distribution only."

    def all(self) -> Tensor:
        """Raise ValueError: there is no end of them."""
        raise ValueError(f"noise is continuous and cannot be listed: use choose='sample'. {self.explanation}")

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Independent draws, float64 [n, N, dim]."""
        return self.scale * torch.randn(n, self.num_nodes, self.irreps.dim, generator=generator, dtype=torch.float64)


def neighbor_distance(data: Data) -> float:
    """The shortest distance between two atoms, or an atom and its image, Å.

    Raises
    ------
    ValueError
        There is a single atom without images.
    """
    _, positions, cell, pbc = structure_arrays(data)
    images = np.linalg.norm(cell[pbc], axis=1)
    shortest = float(min(pdist(positions).min(initial=math.inf), images.min(initial=math.inf)))
    if shortest == math.inf:
        raise ValueError("a single atom has no neighbour, whose distance is the unit of scale")
    return shortest_distance(positions, cell, pbc, shortest) if pbc.any() else shortest
