"""The transform that numbers the nodes of each orbit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn.functional import one_hot
from torch_geometric.data import Batch, Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.detect._attached import symmetry_of
from pyg_symbreak.transforms._seeding import generator_for

__all__ = ["OrbitIndividualization"]


@functional_transform("orbit_individualization")
class OrbitIndividualization(BaseTransform):
    r"""Attaches random numbers that tell the nodes of each orbit of the symmetry apart.

    The nodes of an orbit of size m are numbered 0 ... m - 1, in all ways with the same probability and independently
    of other orbits (M. Morris, B. Cuenca Grau, I. Horrocks, "Orbit-Equivariant Graph Neural Networks", ICLR 2024).
    What an equivariant network makes of the structure and the numbers is equivariant in distribution. It breaks more
    than the symmetry: the numbers of two orbits do not know of each other, so that all m! numberings of an orbit
    occur, where ``AddSymmetryBreaking(strategy="input")`` gives only those that a symmetry carries into each other.

    A random transform (``transform=``) unless it has a seed.

    Parameters
    ----------
    num_ids : int
        Width of the encoding, at least the size of the largest orbit.
    seed : int, optional
        The numbers then depend on the seed and the structure only. Without it they are drawn from torch's global
        generator.
    attr_name : str, optional
        Attribute that holds the numbers; with ``None`` they are appended to ``x``.
    symprec : float or "auto"
        Tolerance of the detection, Å. Where :class:`AddSymmetry` has attached the symmetry, it is not detected again.
    features : sequence of str
        As in :func:`~pyg_symbreak.detect.detect_symmetry`.

    Shapes:
        - **output:** ``breaking`` :math:`(N, \mathrm{num\_ids})`, one-hot

    Raises
    ------
    ValueError
        An orbit has more than ``num_ids`` nodes; and as in :func:`~pyg_symbreak.detect.detect_symmetry`.

    Examples
    --------
    >>> ring = Data(edge_index=torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]]), num_nodes=3)
    >>> OrbitIndividualization(num_ids=4)(ring).breaking.sum(0)
    tensor([1., 1., 1., 0.])
    """

    def __init__(
        self,
        num_ids: int,
        seed: int | None = None,
        attr_name: str | None = "breaking",
        symprec: float | Literal["auto"] = 1e-3,
        features: Sequence[str] = (),
    ) -> None:
        self.num_ids = num_ids
        self.seed = seed
        self.attr_name = attr_name
        self.symprec = symprec
        self.features = tuple(features)

    def forward(self, data: Data) -> Data:
        """Number the nodes of each orbit."""
        if isinstance(data, Batch):
            raise TypeError("OrbitIndividualization takes one structure, not a batch: use it before batching")
        orbits = symmetry_of(data, self.symprec, self.features).orbits
        sizes = torch.bincount(orbits)
        if int(sizes.max()) > self.num_ids:
            raise ValueError(f"an orbit has {int(sizes.max())} nodes, more than num_ids={self.num_ids}")
        shuffled = torch.randperm(len(orbits), generator=generator_for(data, self.seed))
        by_orbit = shuffled[orbits[shuffled].argsort(stable=True)]
        first = sizes.cumsum(0) - sizes
        number = torch.empty_like(orbits)
        number[by_orbit] = torch.arange(len(orbits)) - first[orbits[by_orbit]]
        like = data.edge_index if data.get("pos") is None else data.pos
        rows = one_hot(number, self.num_ids).to(like.device, torch.get_default_dtype())
        if self.attr_name is None:
            data.x = rows if data.get("x") is None else torch.cat([data.x, rows.to(data.x)], dim=1)
        else:
            data[self.attr_name] = rows
            data[f"{self.attr_name}_irreps"] = f"{self.num_ids}x0e"
        return data

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"
