"""Neighbour list of molecules and crystals, as a PyG transform."""

from __future__ import annotations

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.structures import MIN_DISTANCE, check_values, neighbor_pairs, refuse_coincidence
from pyg_symbreak.transforms.input import naming, require_data

__all__ = ["NeighborList"]


@functional_transform("symbreak_neighbor_list")
class NeighborList(BaseTransform):
    r"""Connect atoms closer than a cutoff, periodic images included.

    Adds ``edge_index`` [2, E] (row 0 source, row 1 target) and ``edge_shift`` [E, 3], whole numbers of
    lattice vectors in the dtype of ``pos``: the vector along an edge is ``pos[target] - pos[source] +
    edge_shift @ cell``. Each pair appears once in each direction; an atom is its own neighbour only through
    an image. Edges are sorted by (source, target, edge_shift). Deterministic: it belongs in
    ``pre_transform``.

    An atom at the cutoff itself is in or out by round-off, and a rotated copy may get other edges: choose a
    cutoff between two shells of neighbours.

    Parameters
    ----------
    cutoff : float
        Å.

    Shapes:
        - **input:** ``pos`` :math:`(N, 3)`, ``cell`` :math:`(1, 3, 3)`, ``pbc`` :math:`(1, 3)`
        - **output:** ``edge_index`` :math:`(2, E)`, ``edge_shift`` :math:`(E, 3)`

    Raises
    ------
    ValueError
        If the cutoff is not a positive number or gives too many neighbours, or for what
        :func:`~pyg_symbreak.structures.check_structure` refuses.
    TypeError
        If it is applied to no Data, or to a batch.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from pyg_symbreak.structures import from_ase
    >>> NeighborList(2.5)(from_ase(bulk("Si")))
    Data(pos=[2, 3], z=[2], cell=[1, 3, 3], pbc=[1, 3], edge_index=[2, 8], edge_shift=[8, 3])
    """

    def __init__(self, cutoff: float):
        if isinstance(cutoff, bool) or not isinstance(cutoff, int | float) or not 0 < cutoff < float("inf"):
            raise ValueError(f"cutoff is {cutoff!r}; it must be a positive length in Å")
        self.cutoff = float(cutoff)

    def forward(self, data: Data) -> Data:
        """Add the edges."""
        with naming(require_data(data, self)):
            atoms = check_values(data)
            source, target, shift = pairs = neighbor_pairs(atoms, max(self.cutoff, MIN_DISTANCE))
            refuse_coincidence(atoms, pairs)
        pos = data.pos
        assert pos is not None
        data.edge_index = torch.stack([torch.from_numpy(source), torch.from_numpy(target)]).to(pos.device)
        data.edge_shift = torch.from_numpy(shift).to(pos)
        return data

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(cutoff={self.cutoff})"
