"""The transform that detects the symmetry of a structure and keeps it with the structure."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import tee
from typing import Literal

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.detect import GraphSymmetry, Symmetry, detect_symmetries, detect_symmetry, require_features
from pyg_symbreak.transforms.input import device_of, naming, require_data

__all__ = ["AddSymmetry"]


@functional_transform("add_symmetry")
class AddSymmetry(BaseTransform):
    r"""Attaches the symmetry of a structure, so that it is detected once.

    - ``symmetry``: what :func:`~pyg_symbreak.detect.detect_symmetry` returns; in a batch a list, one for each
      structure.
    - ``orbit_index``: the first node of the orbit that each node is in. As all attributes with "index" in their
      name, PyG counts it on from structure to structure, so that orbits stay apart in a batch.
    - ``site_symmetry_order``: the number of operations that leave the node where it is; 0 if there is no end of
      them, and the largest long where there are more.

    Deterministic: it belongs in ``pre_transform``. All three describe the structure as it was: after a transform that
    moves atoms or picks some of them (``data.subgraph``), apply it again.

    Parameters
    ----------
    symprec : float or "auto"
        Tolerance, Å, as in :func:`~pyg_symbreak.detect.detect_symmetry`.
    features : sequence of str, or mapping of str to irreps
        Names of the features that tell nodes (or, in a graph without positions, edges) apart besides ``z``, as in
        :func:`~pyg_symbreak.detect.detect_symmetry`.

    Shapes:
        - **input:** ``pos`` :math:`(N, 3)`, ``z`` :math:`(N)`, ``cell`` :math:`(1, 3, 3)`, ``pbc`` :math:`(1, 3)`; or
          a graph without positions, ``edge_index`` :math:`(2, E)`
        - **output:** ``orbit_index`` :math:`(N)`, ``site_symmetry_order`` :math:`(N)`

    Raises
    ------
    ValueError, TypeError
        As in :func:`~pyg_symbreak.detect.detect_symmetry`.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> data = AddSymmetry()(from_ase(molecule("NH3")))
    >>> data.symmetry.group.schoenflies, data.orbit_index.tolist(), data.site_symmetry_order.tolist()
    ('C3v', [0, 1, 1, 1], [6, 2, 2, 2])
    """

    def __init__(
        self, symprec: float | Literal["auto"] = 1e-3, features: Sequence[str] | Mapping[str, str] = ()
    ) -> None:
        self.symprec = symprec
        self.features = require_features(features)

    def forward(self, data: Data) -> Data:
        """Detect and attach."""
        read = require_data(data, self)
        with naming(data):
            return self._attach(data, detect_symmetry(read, self.symprec, features=self.features))

    def map(self, structures: Iterable[Data], processes: int = 1) -> Iterator[Data]:
        """Attach their symmetries to copies of many structures, detected in so many processes, one after the other.

        The message of an error names the structure.
        """
        copies, waiting = tee(copy.copy(data) for data in structures)
        read = (require_data(data, self) for data in waiting)
        found = detect_symmetries(read, self.symprec, features=self.features, processes=processes)
        for data, symmetry in zip(copies, found, strict=True):
            yield self._attach(data, symmetry)

    @staticmethod
    def _attach(data: Data, found: Symmetry | GraphSymmetry) -> Data:
        orbits = found.orbits
        first = torch.full((len(orbits),), len(orbits)).scatter_reduce(0, orbits, torch.arange(len(orbits)), "amin")
        device = device_of(data)
        data.symmetry = found
        data.orbit_index = first[orbits].to(device)
        data.site_symmetry_order = _site_symmetry_order(found).to(device)
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}(symprec={self.symprec!r}, features={self.features})"


def _site_symmetry_order(found) -> torch.Tensor:
    """Orders of the site symmetries, by the orbit-stabilizer theorem; 0 where they are infinite."""
    sizes = torch.bincount(found.orbits)[found.orbits].tolist()
    if isinstance(found, Symmetry) and found.continuous is not None:
        return torch.zeros(len(sizes), dtype=torch.long)
    return torch.tensor([min(found.order // size, torch.iinfo(torch.long).max) for size in sizes])
