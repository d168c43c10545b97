"""Projection of node features on those that a residual symmetry allows."""

from collections.abc import Sequence

from e3nn import o3
from torch import Tensor, nn

from pyg_symbreak.ops import METHODS, Orbits, orbit_project

__all__ = ["OrbitProject"]


class OrbitProject(nn.Module):
    r"""Projects node features on those that a group K of symmetries of each graph leaves fixed.

    .. math::
        (Px)_j = \frac{1}{|K|} \sum_{g \in K} D(g) \, x_{\pi_g^{-1}(j)}

    The output is K-symmetric by construction, up to rounding: put the layer last where the answer is known to
    keep a residual symmetry. It has no weights. The group of each graph comes with its
    :class:`~pyg_symbreak.ops.Orbits`, for the group detected in a graph
    ``Orbits.from_group(permutations, matrices)``, and for a batch ``Orbits.cat`` of these.

    Parameters
    ----------
    irreps : str or e3nn.o3.Irreps
        How the features transform.
    method : {"auto", "torch", "triton"}
        The implementation, see :func:`pyg_symbreak.ops.resolve_method`.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, D)`, orbits of the same nodes, their table for these
          irreps *(optional, needed inside torch.compile)*
        - **output:** node features :math:`(|\mathcal{V}|, D)`
    """

    def __init__(self, irreps: str | o3.Irreps, method: str = "auto") -> None:
        super().__init__()
        if method not in METHODS or method == "torch_scatter":
            raise ValueError(f"method must be 'auto', 'torch' or 'triton', got {method!r}")
        self.irreps, self.method = str(o3.Irreps(irreps)), method

    def reset_parameters(self) -> None:
        """Do nothing: there are no parameters."""

    def forward(self, x: Tensor, orbits: Orbits, table: Sequence[Tensor] | None = None) -> Tensor:
        """Project x; ``table`` is ``orbits.table(irreps, dtype, method)``, which the orbits keep once built."""
        return orbit_project(x, orbits, self.irreps, table=table, method=self.method)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.irreps}, method={self.method!r})"
