"""Hamilton's equations of a learned energy, with friction."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_symbreak.dynamics.graph_energy import sum_graphs

__all__ = ["Hamiltonian", "NewtonianEnergy", "gradients"]

Energy = Callable[[Data], Tensor]


def gradients(energy: Energy, data: Data, names: Sequence[str], create_graph: bool = True) -> tuple[Tensor, ...]:
    """The derivatives of the energies of graphs by attributes of their nodes.

    Parameters
    ----------
    energy : callable
        Takes a Data or Batch and returns one number for each graph.
    data : Data or Batch
    names : sequence of str
        Attributes to differentiate by.
    create_graph : bool
        Whether the derivatives can be differentiated again.

    Returns
    -------
    tuple of Tensor
        Each of the shape of its attribute; zero where the energy does not depend on it.

    Raises
    ------
    ValueError
        An attribute is missing.

    Examples
    --------
    >>> data = Data(pos=torch.tensor([[3.0, 4.0]]))
    >>> gradients(lambda data: data.pos.square().sum().view(1), data, ["pos"], create_graph=False)
    (tensor([[6., 8.]]),)
    """
    moved = copy.copy(data)
    with torch.enable_grad():
        inputs = []
        for name in names:
            value = data.get(name)
            if value is None:
                raise ValueError(f"data.{name} is missing: the state of a motion is {' and '.join(names)}")
            # A view, so that what the other attributes owe to this one is not differentiated through.
            inputs.append(value.view_as(value) if value.requires_grad else value.detach().requires_grad_())
            moved[name] = inputs[-1]
        total = energy(moved).sum()
        return torch.autograd.grad(total, inputs, create_graph=create_graph, materialize_grads=True)


class NewtonianEnergy(nn.Module):
    r"""The energy :math:`\sum_i |p_i|^2 / 2 m_i + V` of bodies with known masses.

    Parameters
    ----------
    potential : callable
        V: takes a Data or Batch and returns one number for each graph, such as ``GraphEnergy(d, inputs=("pos",))``.

    Raises
    ------
    ValueError
        At a call: ``data.mass`` [N] is missing or has another shape.

    Examples
    --------
    >>> spring = NewtonianEnergy(lambda data: sum_graphs(data.pos.square().sum(1) / 2, data))
    >>> data = Data(pos=torch.tensor([[1.0, 0.0]]), momentum=torch.tensor([[0.0, 2.0]]), mass=torch.tensor([2.0]))
    >>> spring(data)
    tensor([1.5000])
    """

    def __init__(self, potential: Energy) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, data: Data) -> Tensor:
        """The energy of each graph."""
        mass = data.get("mass")
        if mass is None or mass.shape != (data.num_nodes,):
            raise ValueError(f"data.mass must hold {data.num_nodes} numbers, the masses of the nodes, in shape [N]")
        return sum_graphs(data.momentum.square().sum(1) / (2 * mass), data) + self.potential(data)


class Hamiltonian(nn.Module):
    r"""Motion under an energy H(q, p), and under friction.

    .. math:: \dot{q} = \partial H / \partial p, \qquad
        \dot{p} = - \partial H / \partial q - \partial R / \partial \dot{q}

    Without friction H is conserved, and so is the charge :math:`\sum_i p_i \cdot (L q_i + t)` of each generator
    :math:`q \mapsto L q + t` of the group of H (:func:`noether`). If H is even in p, motion reversed in time is a
    motion. Rayleigh's dissipation function R of positions and velocities breaks both: energy changes by the power
    :math:`- \dot{q} \cdot \partial R / \partial \dot{q}`. The two lanes can be told apart from motions if R is even in
    velocities, as ``GraphEnergy(..., inputs=("pos", "vel"), time_reversal=True)`` is: the friction is what of
    :math:`\dot{p} + \partial H / \partial q` changes sign with :math:`\dot{q}`.

    S. Greydanus et al., "Hamiltonian neural networks", NeurIPS 2019, arXiv 1906.01563; a second scalar for what is
    lost: A. Sosanya and S. Greydanus, arXiv 2201.10085, here by velocities instead of a Helmholtz split, whose lanes
    may exchange harmonic functions. R: H. Goldstein, Classical Mechanics, section 1.5.

    Parameters
    ----------
    energy : callable
        H: takes a Data or Batch with ``pos`` [N, d] and ``momentum`` [N, d], and returns one number for each graph.
    dissipation : callable, optional
        R: the same of ``pos`` and ``vel``.

    Attributes
    ----------
    state : tuple of str
        The attributes of a Data that hold the state of the motion.

    Examples
    --------
    >>> spring = Hamiltonian(lambda data: (data.pos.square() + data.momentum.square()).sum().view(1) / 2)
    >>> [rate.tolist() for rate in spring(Data(pos=torch.tensor([[1.0]]), momentum=torch.tensor([[2.0]])))]
    [[[2.0]], [[-1.0]]]
    """

    state = ("pos", "momentum")

    def __init__(self, energy: Energy, dissipation: Energy | None = None) -> None:
        super().__init__()
        self.energy = energy
        self.dissipation = dissipation

    def forward(self, data: Data) -> tuple[Tensor, Tensor]:
        """The rates of change of ``pos`` and ``momentum``, [N, d] each."""
        graph = torch.is_grad_enabled()
        by_pos, by_momentum = gradients(self.energy, data, self.state, create_graph=graph)
        force = -by_pos
        if self.dissipation is not None:
            force = force - self._friction(data, by_momentum)
        return by_momentum, force

    def _friction(self, data: Data, vel: Tensor) -> Tensor:
        moved = copy.copy(data)
        moved.vel = vel
        assert self.dissipation is not None
        return gradients(self.dissipation, moved, ["vel"], create_graph=torch.is_grad_enabled())[0]

    def power(self, data: Data) -> Tensor:
        """The rate at which friction changes the energy of each graph, [B]: negative where it is lost."""
        _, vel = gradients(self.energy, data, self.state, create_graph=torch.is_grad_enabled())
        lost = torch.zeros_like(vel) if self.dissipation is None else vel * self._friction(data, vel)
        return -sum_graphs(lost.sum(1), data)

    def canonical(self, data: Data) -> tuple[Tensor, Tensor, Tensor]:
        """Momenta, and the rates of change of positions and of momenta, [N, d] each."""
        return (data.momentum, *self(data))
