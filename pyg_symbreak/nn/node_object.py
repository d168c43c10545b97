"""The symmetry breaking object of a graph, or of its nodes, as features of the nodes."""

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_symbreak.nn.symmetric_powers import SymmetricPowers
from pyg_symbreak.structures import require_own_object

__all__ = ["NodeObject"]


class NodeObject(nn.Module):
    r"""Reads the object ``breaking`` of data, checks it, and gives each node a row of it and its powers.

    Parameters
    ----------
    irreps_breaking : str or e3nn.o3.Irreps
        Irreps of the object, ``""`` for none.
    degree, lmax : int
        As for :class:`SymmetricPowers`.

    Shapes:
        - **input:** data with ``pos`` :math:`(|\mathcal{V}|, 3)` and ``breaking`` :math:`(B, D_{breaking})` or
          :math:`(|\mathcal{V}|, D_{breaking})`
        - **output:** :math:`(|\mathcal{V}|, D)` in ``irreps_out``, or None where there is no object to read
    """

    def __init__(self, irreps_breaking: str | o3.Irreps, degree: int, lmax: int) -> None:
        super().__init__()
        self._has_looked = False
        self.irreps_breaking, self.dim_breaking = str(o3.Irreps(irreps_breaking)), o3.Irreps(irreps_breaking).dim
        self.powers = SymmetricPowers(irreps_breaking, degree, lmax)
        self.irreps_out = self.powers.irreps_out

    def forward(self, data: Data) -> Tensor | None:
        """The object and its powers with one row for each node, or None."""
        breaking = data.get("breaking")
        if breaking is None and self.dim_breaking:
            raise ValueError(
                f"data has no object breaking, the network irreps_breaking {self.irreps_breaking}: attach an object "
                "(AddSymmetryBreaking), or zeros, which break nothing"
            )
        if breaking is None:
            return None
        if not self.dim_breaking:
            raise ValueError(
                "data has an object breaking but the network no irreps_breaking: give it the object's irreps"
            )
        named = data.get("breaking_irreps", [])
        for irreps in {named} if isinstance(named, str) else set(named):
            if o3.Irreps(irreps).simplify() != o3.Irreps(self.irreps_breaking).simplify():
                raise ValueError(
                    f"the object breaking has irreps {irreps}, the network irreps_breaking {self.irreps_breaking}: "
                    "give the network those of the objects, and all objects common ones (irreps=... of the transform)"
                )
        if not self._has_looked and not torch.compiler.is_compiling():
            require_own_object(data)
            self._has_looked = True
        num_nodes, num_graphs = data.pos.size(0), 1 if data.batch is None else data.num_graphs
        if breaking.dim() != 2 or breaking.size(1) != self.dim_breaking:
            raise ValueError(
                f"the object breaking has shape {tuple(breaking.shape)}, expected rows of width "
                f"{self.dim_breaking} as irreps_breaking {self.irreps_breaking} says"
            )
        if breaking.size(0) not in (num_graphs, num_nodes):
            raise ValueError(
                f"the object breaking has {breaking.size(0)} rows, expected one for each of the {num_graphs} graphs "
                f"or one for each of the {num_nodes} nodes"
            )
        breaking = self.powers(breaking.to(data.pos.dtype))
        if breaking.size(0) == num_nodes:
            return breaking
        return breaking.expand(num_nodes, -1) if data.batch is None else breaking.index_select(0, data.batch)
