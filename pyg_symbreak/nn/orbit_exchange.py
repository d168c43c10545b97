"""Messages between nodes and the orbits they belong to."""

from e3nn import o3
from torch import Tensor, nn

from pyg_symbreak.ops import METHODS, Orbits, orbit_broadcast, orbit_reduce

__all__ = ["OrbitExchange"]


class OrbitExchange(nn.Module):
    r"""Exchanges messages between each node and the virtual node of its orbit.

    With :math:`v_O` the features of the virtual node of orbit :math:`O`, and :math:`W` linear maps that mix
    channels of one irrep

    .. math::
        v'_O &= W_{vv} v_O + W_{vx} \frac{1}{|O|} \sum_{k \in O} x_k \\
        x'_j &= W_{xx} x_j + W_{xv} v'_{O(j)}

    It reaches all symmetry-equivalent nodes in one step, however far apart they are. It is equivariant under
    rotations and reflections of the whole structure and under every permutation of nodes that maps orbits to
    orbits. It does not break symmetry: equal features within an orbit stay equal. Put nonlinearities between
    such layers.

    Parameters
    ----------
    irreps_in, irreps_out : str or e3nn.o3.Irreps
        Irreps of the node features and of the output. Scalars ``"16x0e"`` are plain channels.
    irreps_virtual : str or e3nn.o3.Irreps, optional
        Irreps of the virtual nodes; those of the output if it is not given.
    method : {"auto", "torch", "triton", "torch_scatter"}
        The implementation, see :func:`pyg_symbreak.ops.resolve_method`.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, D_{in})`, orbits of the same nodes, features of the
          virtual nodes :math:`(|\mathcal{O}|, D_{virtual})` *(optional, none are zeros)*
        - **output:** node features :math:`(|\mathcal{V}|, D_{out})`, features of the virtual nodes
          :math:`(|\mathcal{O}|, D_{virtual})`
    """

    def __init__(
        self,
        irreps_in: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        irreps_virtual: str | o3.Irreps | None = None,
        method: str = "auto",
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {method!r}")
        virtual = o3.Irreps(irreps_out if irreps_virtual is None else irreps_virtual)
        self.irreps_in, self.irreps_out = str(o3.Irreps(irreps_in)), str(o3.Irreps(irreps_out))
        self.irreps_virtual, self.method = str(virtual), method
        self.node_to_node = o3.Linear(self.irreps_in, self.irreps_out)
        self.node_to_virtual = o3.Linear(self.irreps_in, virtual)
        self.virtual_to_virtual = o3.Linear(virtual, virtual)
        self.virtual_to_node = o3.Linear(virtual, self.irreps_out)

    def reset_parameters(self) -> None:
        """Draw all weights from the standard normal distribution (e3nn scales them in the forward pass)."""
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: Tensor, orbits: Orbits, virtual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Update the virtual nodes from the nodes, then the nodes from the virtual nodes."""
        message = self.node_to_virtual(orbit_reduce(x, orbits, "mean", method=self.method))
        virtual = message if virtual is None else message + self.virtual_to_virtual(virtual)
        back = orbit_broadcast(self.virtual_to_node(virtual), orbits, method=self.method)
        return self.node_to_node(x) + back, virtual

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.irreps_in}, {self.irreps_out}, irreps_virtual={self.irreps_virtual})"
