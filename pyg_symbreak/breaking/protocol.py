"""One notion of breaking: what gives a structure its symmetry breaking objects, and what those objects are."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.detect import Features, GraphSymmetry, Symmetry
from pyg_symbreak.groups import PointGroup

__all__ = ["Breaking", "Level", "ListedObjects", "Objects", "describe", "require_point_group"]

Level = Literal["graph", "node"]
"""Whether an object is one row for the graph, or a row on each node."""


class Objects(Protocol):
    """The symmetry breaking objects of one structure.

    Attributes
    ----------
    irreps : e3nn Irreps
        How an object (of level "node": its row on a node) transforms.
    level : "graph" or "node"
        Whether an object is one row for the graph, or a row on each node.
    size : int or math.inf
        The number of objects.
    keep : PointGroup or None
        What an object keeps of the symmetry of the structure, up to conjugation; None where that is not a point group.
    ideal : bool
        Whether the objects are one orbit of the symmetry, so that what is learned with one holds for all.
    explanation : str
        One sentence on the set.
    """

    @property
    def irreps(self) -> o3.Irreps:
        """How an object, or its row on a node, transforms."""

    @property
    def level(self) -> Level:
        """Whether an object is one row for the graph, or a row on each node."""

    @property
    def size(self) -> int | float:
        """The number of objects."""

    @property
    def keep(self) -> PointGroup | None:
        """What an object keeps of the symmetry."""

    @property
    def ideal(self) -> bool:
        """Whether the objects are one orbit of the symmetry."""

    @property
    def explanation(self) -> str:
        """One sentence on the set."""

    def all(self) -> Tensor:
        """All objects, [size, dim] or [size, N, dim]; a ValueError where they cannot be listed."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Objects drawn independently from the law of the set, [n, dim] or [n, N, dim]."""


@runtime_checkable
class Breaking(Protocol):
    """A way to break symmetry: a class with one method.

    Those of the library are :class:`GroupIndexed`, :class:`InputIndexed`, :class:`GroupElement` and :class:`Noise`.
    One of your own goes wherever they go. As a dataclass it has a ``repr`` with all its parameters, by which PyG knows
    whether processed files are still good.

    Examples
    --------
    An electric field that has a direction in the laboratory:

    >>> from dataclasses import dataclass
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking
    >>> @dataclass(frozen=True)
    ... class ElectricField:
    ...     field: tuple[float, float, float]
    ...
    ...     def objects(self, data, symmetry, features=()):
    ...         return ListedObjects("1o", torch.tensor([self.field]), explanation="The field breaks the symmetry.")
    >>> AddSymmetryBreaking(ElectricField((0.0, 0.0, 1.0)))(Data(pos=torch.eye(3))).breaking
    tensor([[0., 0., 1.]])
    """

    def objects(self, data: Data, symmetry: Symmetry | GraphSymmetry, features: Features = ()) -> Objects:
        """The objects of a structure.

        Parameters
        ----------
        data : Data
            One structure or graph.
        symmetry : Symmetry or GraphSymmetry
            Its symmetry.
        features : sequence of str, or mapping of str to irreps
            The features that the symmetry was detected with.
        """


@dataclass(frozen=True, eq=False)
class ListedObjects:
    """Objects that are given one by one, and drawn uniformly.

    Parameters
    ----------
    irreps : str or e3nn Irreps
    rows : Tensor
        [m, dim], or [m, N, dim] with a row on each of N nodes.
    keep, ideal, explanation
        As in :class:`Objects`.
    """

    irreps: o3.Irreps
    rows: Tensor
    keep: PointGroup | None = None
    ideal: bool = False
    explanation: str = ""
    level: Level = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "irreps", o3.Irreps(self.irreps))
        shape = list(self.rows.shape)
        if len(shape) not in (2, 3) or shape[0] == 0 or shape[-1] != self.irreps.dim:
            raise ValueError(f"objects of irreps {self.irreps} are rows [m, (N,) {self.irreps.dim}], got {shape}")
        object.__setattr__(self, "level", "graph" if len(shape) == 2 else "node")

    @property
    def size(self) -> int:
        """The number of objects."""
        return len(self.rows)

    def all(self) -> Tensor:
        """All objects."""
        return self.rows

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Objects drawn independently and uniformly."""
        return self.rows[torch.randint(len(self.rows), (n,), generator=generator)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, irreps={self.irreps}, level={self.level!r})"


def describe(parameters: Any) -> str:
    """A repr of a dataclass that tells apart point groups in different orientations."""
    arguments = ", ".join(f"{f.name}={described(getattr(parameters, f.name))}" for f in fields(parameters))
    return f"{type(parameters).__name__}({arguments})"


def described(value: object) -> str:
    """A repr that tells apart point groups in different orientations."""
    if isinstance(value, PointGroup):
        return f"{value.schoenflies} in the frame {(value.frame.round(6) + 0.0).tolist()}"
    return repr(value)


def require_point_group(symmetry: Symmetry | GraphSymmetry) -> PointGroup:
    """The point group of a structure; a ValueError for a graph without positions."""
    if isinstance(symmetry, GraphSymmetry):
        raise ValueError(
            "data has no positions: sets of irreps objects break point groups. For graphs without positions use "
            "AddSymmetryBreaking('input'), 'sympe' or 'noise'"
        )
    return symmetry.group


def require_keep(keep: object) -> None:
    """Raise ValueError or TypeError for what is no symbol of a subgroup."""
    if isinstance(keep, str):
        PointGroup(keep.split("[")[0])
    elif not (keep is None or isinstance(keep, PointGroup)):
        raise TypeError(f"keep must be a PointGroup or a symbol, got {keep!r}")
