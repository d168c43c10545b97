"""The Euler-Lagrange equations of a learned Lagrangian."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_dense_batch

from pyg_symbreak.dynamics.graph_energy import sum_graphs
from pyg_symbreak.dynamics.hamiltonian import Energy, gradients

__all__ = ["Lagrangian", "NaturalLagrangian"]


class Lagrangian(nn.Module):
    r"""Motion under a Lagrangian L(q, v), for which no momenta need to be known.

    .. math:: a = M^{-1} \left( \frac{\partial L}{\partial q}
        - \frac{\partial^2 L}{\partial v\, \partial q} v \right), \qquad
        M = \frac{\partial^2 L}{\partial v\, \partial v}

    over all coordinates of a graph. Conserved are the energy :math:`v \cdot \partial L / \partial v - L` and the
    charges of the group of L (:func:`noether`), a coordinate on which L does not depend among them.

    M. Cranmer et al., "Lagrangian neural networks", ICLR 2020 workshop, arXiv 2003.04630.

    Parameters
    ----------
    lagrangian : callable
        L: takes a Data or Batch with ``pos`` [N, d] and ``vel`` [N, d], and returns one number for each graph. M must
        be regular: see :class:`NaturalLagrangian`.

    Attributes
    ----------
    state : tuple of str
        The attributes of a Data that hold the state of the motion.

    Raises
    ------
    RuntimeError
        At a call: M is singular.

    Examples
    --------
    >>> spring = Lagrangian(lambda data: (data.vel.square() - data.pos.square()).sum().view(1) / 2)
    >>> data = Data(pos=torch.tensor([[1.0]]), vel=torch.tensor([[2.0]]))
    >>> [rate.tolist() for rate in spring(data)], spring.energy(data).tolist()
    ([[[2.0]], [[-1.0]]], [2.5])
    """

    state = ("pos", "vel")

    def __init__(self, lagrangian: Energy) -> None:
        super().__init__()
        self.lagrangian = lagrangian

    def forward(self, data: Data) -> tuple[Tensor, Tensor]:
        """The rates of change of ``pos`` and ``vel``, [N, d] each: the velocities and the accelerations."""
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            moved = copy.copy(data)
            moved.pos, moved.vel = (
                x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in self._state(data)
            )
            force, momentum = gradients(self.lagrangian, moved, self.state)
            dense, filled = _dense(momentum, data)  # [B, K] each
            mass, drag = [], []
            for column in dense.unbind(1):
                by_pos, by_vel = torch.autograd.grad(
                    column.sum(), [moved.pos, moved.vel], create_graph=graph, retain_graph=True, materialize_grads=True
                )
                mass.append(_dense(by_vel, data)[0])
                drag.append(_dense(by_pos * moved.vel, data)[0].sum(1))
            matrix = torch.stack(mass, 1) + torch.diag_embed((~filled).to(dense.dtype))
            coordinates = torch.linalg.solve(matrix, _dense(force, data)[0] - torch.stack(drag, 1))
            acceleration = coordinates[filled].view_as(force)
        return data.vel, acceleration if graph else acceleration.detach()

    def _state(self, data: Data) -> list[Tensor]:
        missing = [name for name in self.state if data.get(name) is None]
        if missing:
            raise ValueError(f"data.{missing[0]} is missing: the state of a motion is pos and vel")
        return [data.pos, data.vel]

    def energy(self, data: Data) -> Tensor:
        """The energy of each graph, [B]."""
        momentum, vel, _ = self.canonical(data)
        return sum_graphs((momentum * vel).sum(1), data) - self.lagrangian(data)

    def canonical(self, data: Data) -> tuple[Tensor, Tensor, Tensor]:
        """Momenta, and the rates of change of positions and of momenta, [N, d] each."""
        force, momentum = gradients(self.lagrangian, data, self.state, create_graph=torch.is_grad_enabled())
        return momentum, data.vel, force


def _dense(values: Tensor, data: Data) -> tuple[Tensor, Tensor]:
    """The coordinates [N, d] of nodes as [B, K], with zeros where a graph has fewer, and where there are any."""
    if not isinstance(data, Batch):
        return values.reshape(1, -1), torch.ones(1, values.numel(), dtype=torch.bool, device=values.device)
    dense, filled = to_dense_batch(values, data.batch, batch_size=data.num_graphs)
    return dense.flatten(1), filled.repeat_interleave(values.shape[1], dim=1)


class NaturalLagrangian(nn.Module):
    r"""A Lagrangian :math:`\tfrac12 v^\top M(q)\, v - V(q)` whose mass matrix is bounded below.

    A perceptron gives V and a lower triangular C with a positive diagonal (softplus), and
    :math:`M = C C^\top + \epsilon`: accelerations are bounded where those of a free L(q, v) pass a singular M. After
    M. Lutter et al., "Deep Lagrangian networks", ICLR 2019, arXiv 1907.04490. The coordinates are those of one
    mechanism and not alike, so that numbering nodes in another way is no symmetry.

    Parameters
    ----------
    coordinates : int
        How many each graph has: its nodes times the dimension of ``pos``.
    periodic : bool
        Whether they are angles: the perceptron then sees their sines and cosines.
    hidden : int
        Width of its two hidden layers.
    epsilon : float
        The least eigenvalue of M.

    Raises
    ------
    ValueError
        At a call: a graph has another number of coordinates.

    Examples
    --------
    >>> lagrangian = NaturalLagrangian(2)
    >>> lagrangian(Data(pos=torch.zeros(2, 1), vel=torch.zeros(2, 1))).shape
    torch.Size([1])
    """

    places: Tensor

    def __init__(self, coordinates: int, periodic: bool = True, hidden: int = 96, epsilon: float = 0.05) -> None:
        super().__init__()
        self.coordinates, self.periodic, self.epsilon = coordinates, periodic, epsilon
        self.mlp = nn.Sequential(
            nn.Linear(coordinates * (1 + periodic), hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
            nn.Linear(hidden, 1 + coordinates * (coordinates + 1) // 2),
        )
        self.register_buffer("places", torch.tril_indices(coordinates, coordinates), persistent=False)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.mlp.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()

    def mass_and_potential(self, data: Data) -> tuple[Tensor, Tensor]:
        """M [B, K, K] and V [B] at the positions of each graph."""
        q = self._coordinates(data.pos, data)
        out = self.mlp(torch.cat([q.sin(), q.cos()], dim=1) if self.periodic else q)
        lower = out.new_zeros(len(out), self.coordinates, self.coordinates)
        lower = lower.index_put((torch.arange(len(out), device=out.device)[:, None], *self.places), out[:, 1:])
        diagonal = lower.diagonal(dim1=1, dim2=2)
        lower = lower + torch.diag_embed(nn.functional.softplus(diagonal) - diagonal)
        identity = torch.eye(self.coordinates, dtype=out.dtype, device=out.device)
        return lower @ lower.mT + self.epsilon * identity, out[:, 0]

    def forward(self, data: Data) -> Tensor:
        """The Lagrangian of each graph."""
        mass, potential = self.mass_and_potential(data)
        v = self._coordinates(data.vel, data)
        return torch.einsum("bi,bij,bj->b", v, mass, v) / 2 - potential

    def _coordinates(self, values: Tensor, data: Data) -> Tensor:
        dense, filled = _dense(values, data)
        if dense.shape[1] != self.coordinates or not filled.all():
            raise ValueError(f"every graph must have {self.coordinates} coordinates, those of its pos [N, d] together")
        return dense

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.coordinates}, periodic={self.periodic}, epsilon={self.epsilon})"
