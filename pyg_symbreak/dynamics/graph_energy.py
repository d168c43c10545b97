"""Energies of graphs that are invariant under a chosen group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import MessagePassing

from pyg_symbreak.dynamics.invariants import Invariants, affine_generators
from pyg_symbreak.groups import LieGroup

__all__ = ["GraphEnergy", "sum_graphs"]

INPUTS = ("pos", "momentum", "vel")


def sum_graphs(values: Tensor, data: Data) -> Tensor:
    """The sum over the nodes of each graph, of one number [N] or several [N, k] a node.

    Examples
    --------
    >>> batch = Batch.from_data_list([Data(num_nodes=2), Data(num_nodes=1)])
    >>> sum_graphs(torch.tensor([1.0, 2.0, 4.0]), batch)
    tensor([3., 4.])
    """
    if not isinstance(data, Batch):
        return values.sum(0, keepdim=True)
    return values.new_zeros(data.num_graphs, *values.shape[1:]).index_add(0, data.batch, values)


class GraphEnergy(MessagePassing):
    r"""A message passing energy of a graph that a chosen group leaves invariant.

    .. math::
        h_i = \phi(I_i, x_i), \qquad h_i \leftarrow h_i + \sum_{j} \psi(I_{ij}, h_i, h_j), \qquad
        E = \sum_i w \cdot h_i

    with perceptrons φ and ψ. The :math:`I_i` and :math:`I_{ij}` are all polynomials of first and second degree in the
    state of a node, or of both ends of an edge, that the group leaves invariant: coordinates and components under the
    trivial group, differences of positions under translations, scalar products under rotations (in two dimensions also
    cross products). They are smooth everywhere, and so is the energy. With one round of messages it is a sum over
    nodes and pairs; each further round makes more bodies interact. Numbering nodes in another way changes nothing.

    A group element acts on positions x by gx + t, on velocities by g and on momenta by :math:`g^{-\top}`, so that each
    generator is a conserved charge of the motion under this energy, see :func:`noether`. Rotations in three dimensions
    have no invariants of second degree that a mirror changes: under SO(3) the energy is invariant under O(3) as well.

    After M. Finzi et al., "Generalizing convolutional networks for equivariance to Lie groups on arbitrary continuous
    data", ICML 2020, arXiv 2002.12880 (energies whose group decides what is conserved), and S. Villar et al., "Scalars
    are universal", NeurIPS 2021, arXiv 2106.06610 (invariants as inputs).

    Parameters
    ----------
    dim : int
        Dimension d of the space.
    group : LieGroup, optional
        Matrices of size d, or d + 1 to act on (x, 1). Default: the trivial group.
    inputs : sequence of str
        What it is an energy of: some of ``pos``, ``momentum``, ``vel``. With ``("pos",)`` it is a potential.
    features : int
        How many numbers ``x`` has for each node, such as masses and charges; they are invariant.
    hidden : int
        Width of the perceptrons and of the h.
    layers : int
        Rounds of messages.
    time_reversal : bool
        Make the energy even in momenta and velocities: the mean over both signs.

    Raises
    ------
    ValueError
        An input is unknown, the size of the group does not fit, it leaves nothing invariant, or at a call an attribute
        is missing or has another shape.

    Shapes:
        - **input:** a Data or Batch with the inputs :math:`(N, d)`, ``x`` :math:`(N, F)` if F > 0, and ``edge_index``
          if there are edges
        - **output:** :math:`(B)`, for each of the B graphs

    Examples
    --------
    >>> energy = GraphEnergy(2, LieGroup.euclidean(2), inputs=("pos",)).double()
    >>> data = Data(pos=torch.randn(3, 2).double(), edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]))
    >>> moved = Data(pos=data.pos @ torch.tensor([[0.0, 1], [-1, 0]]).double() + 5, edge_index=data.edge_index)
    >>> torch.allclose(energy(data), energy(moved))
    True
    """

    def __init__(
        self,
        dim: int,
        group: LieGroup | None = None,
        inputs: Sequence[str] = ("pos", "momentum"),
        features: int = 0,
        hidden: int = 64,
        layers: int = 1,
        time_reversal: bool = False,
    ) -> None:
        super().__init__(aggr="sum")
        if not inputs or not set(inputs) <= set(INPUTS):
            raise ValueError(f"inputs must be some of {', '.join(INPUTS)}, got {tuple(inputs)}")
        self.dim, self.group, self.inputs = dim, group, tuple(inputs)
        self.features, self.hidden, self.layers, self.time_reversal = features, hidden, layers, time_reversal
        self.node_invariants = Invariants(self._actions(ends=1))
        self.edge_invariants = Invariants(self._actions(ends=2))
        if not self.edge_invariants.num:
            raise ValueError(f"{group} leaves no polynomial of first or second degree in {', '.join(inputs)} invariant")
        self.embed = self._mlp(1 + self.node_invariants.num + features)
        self.messages = nn.ModuleList(self._mlp(self.edge_invariants.num + 2 * hidden) for _ in range(layers))
        self.readout = nn.Linear(hidden, 1, bias=False)

    def _mlp(self, size: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(size, self.hidden), nn.Tanh(), nn.Linear(self.hidden, self.hidden), nn.Tanh())

    def _actions(self, ends: int) -> np.ndarray:
        """The generators on the column (1, then each input of one node, or of both ends of an edge)."""
        linear, shift = affine_generators(self.group, self.dim)
        d, size = self.dim, 1 + ends * len(self.inputs) * self.dim
        out = np.zeros((len(linear), size, size))
        for i, name in enumerate(self.inputs):
            for end in range(ends):
                at = slice(1 + (i * ends + end) * d, 1 + (i * ends + end + 1) * d)
                out[:, at, at] = -linear.swapaxes(1, 2) if name == "momentum" else linear
                if name == "pos" and end == 0:  # the other end is given by the difference
                    out[:, at, 0] = shift
        return out

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()

    def forward(self, data: Data) -> Tensor:
        """The energy of each graph."""
        state = {name: self._attribute(data, name, self.dim) for name in self.inputs}
        energy = self._energy(data, state)
        if self.time_reversal:
            energy = (energy + self._energy(data, {k: v if k == "pos" else -v for k, v in state.items()})) / 2
        return energy

    def _energy(self, data: Data, state: dict[str, Tensor]) -> Tensor:
        parts = list(state.values())
        ones = parts[0].new_ones(len(parts[0]), 1)
        h = torch.cat([ones, self.node_invariants(torch.cat([ones, *parts], dim=1))], dim=1)
        if self.features:
            h = torch.cat([h, self._attribute(data, "x", self.features)], dim=1)
        h = self.embed(h)
        if data.edge_index is not None:
            source, target = data.edge_index
            column = [parts[0].new_ones(source.numel(), 1)]
            for name, value in state.items():
                far = value[source] - value[target] if name == "pos" else value[source]
                column += [value[target], far]
            invariants = self.edge_invariants(torch.cat(column, dim=1))
            for layer in range(len(self.messages)):
                # propagate_type: (h: Tensor, invariants: Tensor, layer: int)
                h = h + self.propagate(data.edge_index, h=h, invariants=invariants, layer=layer)
        return sum_graphs(self.readout(h).squeeze(1), data)

    def message(self, h_i: Tensor, h_j: Tensor, invariants: Tensor, layer: int) -> Tensor:
        """What the source j of each edge sends to its target i."""
        return self.messages[layer](torch.cat([invariants, h_i, h_j], dim=1))

    def _attribute(self, data: Data, name: str, size: int) -> Tensor:
        value = data.get(name)
        shape = None if value is None else list(value.shape)
        if shape != [data.num_nodes, size]:
            found = "is missing" if shape is None else f"has shape {shape}"
            raise ValueError(f"data.{name} {found}: GraphEnergy needs [{data.num_nodes}, {size}] numbers there")
        return value

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.dim}, {self.group}, inputs={self.inputs}, hidden={self.hidden}, "
            f"layers={self.layers})"
        )
