"""The result of a detection: operations, permutations, orbits and site symmetries of one structure."""

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyg_symbreak import _native
from pyg_symbreak.groups import PointGroup


def with_arrays(state: dict[str, Any]) -> dict[str, Any]:
    """What an object holds, tensors as arrays: between processes, torch keeps a file open for each tensor."""
    return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in state.items()}


def with_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """The reverse of :func:`with_arrays`, of an object that holds no arrays of its own."""
    return {name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in state.items()}


class SpaceGroup(NamedTuple):
    """Type of the space group (or of the layer group of a slab): number and Hermann-Mauguin symbol."""

    number: int
    symbol: str


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The symmetry of a structure: operations (R_g, t_g), g = 0 ... order - 1, and what they do to the nodes.

    The operation g carries node i onto node ``permutations[g, i]``::

        pos[permutations[g]] = pos @ rotations[g].T + translations[g]

    up to ``residuals[g]``, and for a crystal up to vectors of the lattice of the given cell. Operation 0 is
    the identity. h followed by g has the permutation ``permutations[g][permutations[h]]``.

    A crystal whose cell is only nearly symmetric fulfils this in fractional coordinates (rotations are
    taken in the nearest symmetric cell): in Å it misses by up to another residual for
    each cell away from the origin.

    Attributes
    ----------
    rotations : Tensor
        float64 [order, 3, 3], orthogonal (determinant 1 or -1) and closed under products to round-off.
    translations : Tensor
        float64 [order, 3], Å, closed in the same sense; of a crystal, taken into its cell.
    permutations : Tensor
        long [order, N].
    residuals : Tensor
        float64 [order], Å: the largest distance by which the operation misses, over all nodes and, in a
        crystal, over its lattice vectors. Never above `symprec`.
    symprec : float
        The tolerance, Å, that was used.
    plateau : tuple of float
        The tolerances (low, high), Å, between which the group is known not to change: both are `symprec` unless
        a range of tolerances was asked for.
    space_group : SpaceGroup, optional
        Of a crystal: its space-group type, also where the shape of a supercell leaves less of it.
    layer_group : SpaceGroup, optional
        Of a slab (two periodic directions): its layer-group type.
    continuous : PointGroup, optional
        Of linear molecules and single atoms: the group, which has no end of operations. Those listed here are
        one for each distinct permutation of the nodes.
    kernel : PointGroup, optional
        Of the same: the operations that move no node. The listed ones times these are all of the group.
    """

    rotations: Tensor
    translations: Tensor
    permutations: Tensor
    residuals: Tensor
    symprec: float
    plateau: tuple[float, float] | None = None
    space_group: SpaceGroup | None = None
    layer_group: SpaceGroup | None = None
    continuous: PointGroup | None = None
    kernel: PointGroup | None = None

    @cached_property
    def group(self) -> PointGroup:
        """Point group in the frame of the structure: the distinct rotations, in order of appearance."""
        if self.continuous is not None:
            return self.continuous
        distinct = self.rotations if self._is_molecule else self.rotations[self._distinct[0]]
        return PointGroup.of_exact(distinct.numpy())

    @cached_property
    def elements(self) -> Tensor:
        """Long [number of operations]: row of ``group.matrices`` that each operation has as its rotation."""
        if self.continuous is not None:
            raise ValueError(f"{self.group.schoenflies} is continuous: its matrices cannot be listed")
        return self._distinct[1]

    @property
    def order(self) -> int | float:
        """Number of operations (in a supercell: rotations times translations); ``math.inf`` if continuous."""
        return math.inf if self.continuous is not None else len(self.permutations)

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.permutations.shape[1]

    @property
    def residual(self) -> float:
        """Largest residual of all operations, Å."""
        return float(self.residuals.max())

    @cached_property
    def orbits(self) -> Tensor:
        """Long [N]: number of the orbit that each node is in, from 0 in the order of their first nodes."""
        return torch.frombuffer(
            _native.orbits(self.permutations.contiguous().numpy(), self.num_nodes), dtype=torch.long
        )

    def site_symmetry(self, node: int) -> PointGroup:
        """Point group, in the frame of the structure, of the operations that leave the node where it is.

        Raises
        ------
        IndexError
            There is no such node.
        """
        if not 0 <= node < self.num_nodes:
            raise IndexError(f"there is no node {node}: the structure has {self.num_nodes}")
        fixed = self.permutations[:, node] == node
        if self.continuous is None:
            return PointGroup.of_exact(self.rotations[fixed].numpy())
        if bool(fixed.all()):
            return self.continuous
        assert self.kernel is not None
        return self.kernel

    @property
    def _is_molecule(self) -> bool:
        """Whether there are no translations, so that no two rotations are alike."""
        return self.space_group is None and self.layer_group is None

    @cached_property
    def _distinct(self) -> tuple[Tensor, Tensor]:
        """First operation of each distinct rotation, and for each operation the number of its rotation."""
        if self._is_molecule:
            every = torch.arange(len(self.rotations))
            return every, every
        rounded = np.round(self.rotations.reshape(-1, 9).numpy(), 6) + 0.0
        _, first, inverse = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return torch.from_numpy(first[order]), torch.from_numpy(rank[inverse.reshape(-1)])

    def __getstate__(self) -> dict[str, Any]:
        """Save what cannot be derived from the rest."""
        return with_arrays({field.name: getattr(self, field.name) for field in fields(self)})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(with_tensors(state))

    def __repr__(self) -> str:
        kind = self.group.schoenflies
        for number, symbol in filter(None, [self.space_group or self.layer_group]):
            kind = f"{kind}, {'space' if self.space_group else 'layer'} group {symbol} ({number})"
        return (
            f"{type(self).__name__}({kind}, order={self.order}, nodes={self.num_nodes}, "
            f"orbits={int(self.orbits.max()) + 1}, residual={self.residual:.1e}, symprec={self.symprec:g})"
        )
