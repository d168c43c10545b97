"""The transform that numbers the nodes of each orbit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.detect import require_features, symmetry_of
from pyg_symbreak.transforms.input import attach, device_of, generator_for, naming, require_data, require_free

__all__ = ["OrbitIndividualization"]


@functional_transform("orbit_individualization")
class OrbitIndividualization(BaseTransform):
    r"""Attaches random numbers that tell the nodes of each orbit of the symmetry apart.

    The nodes of an orbit of size m are numbered 0 ... m - 1, in all ways with the same probability and independently
    of other orbits (M. Morris, B. Cuenca Grau, I. Horrocks, "Orbit-Equivariant Graph Neural Networks", ICLR 2024).
    What an equivariant network makes of the structure and the numbers is equivariant in distribution. It breaks more
    than the symmetry: the numbers of two orbits do not know of each other, so that all m! numberings of an orbit
    occur, where ``AddSymmetryBreaking("input")`` gives only those that a symmetry carries into each other.

    A random transform (``transform=``) unless it has a seed.

    Parameters
    ----------
    num_ids : int, optional
        Width of the encoding, at least the size of the largest orbit. Default: that size, structure by structure; to
        share a batch, structures need the same.
    seed : int, optional
        The numbers then depend on the seed and the structure only. Without it they are drawn from torch's global
        generator.
    attr : str, optional
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
        num_ids: int | None = None,
        seed: int | None = None,
        attr: str | None = "breaking",
        symprec: float | Literal["auto"] = 1e-3,
        features: Sequence[str] = (),
    ) -> None:
        require_free(attr)
        self.num_ids = num_ids
        self.seed = seed
        self.attr = attr
        self.symprec = symprec
        self.features = require_features(features)

    def forward(self, data: Data) -> Data:
        """Number the nodes of each orbit."""
        read = require_data(data, self)
        with naming(data):
            rows = self._numbers(read)
        rows = rows.to(device_of(data), torch.get_default_dtype())
        return attach(data, self.attr, rows, f"{rows.size(1)}x0e")

    def _numbers(self, data: Data) -> Tensor:
        """One-hot numbers [N, num_ids]."""
        orbits = symmetry_of(data, self.symprec, self.features).orbits
        sizes = torch.bincount(orbits)
        width = self.num_ids or int(sizes.max())
        if int(sizes.max()) > width:
            raise ValueError(f"an orbit has {int(sizes.max())} nodes, more than num_ids={self.num_ids}")
        shuffled = torch.randperm(len(orbits), generator=generator_for(data, self.seed))
        by_orbit = shuffled[orbits[shuffled].argsort(stable=True)]
        first = sizes.cumsum(0) - sizes
        number = torch.empty_like(orbits)
        number[by_orbit] = torch.arange(len(orbits)) - first[orbits[by_orbit]]
        return one_hot(number, width)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"
