"""Trajectories, step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch_geometric.data import Data

__all__ = ["Field", "at", "integrate"]


class Field(Protocol):
    """What can be integrated: rates of change of two attributes of a Data, such as a Hamiltonian gives."""

    state: tuple[str, str]
    """Names of the positions and of the momenta or velocities."""

    def __call__(self, data: Data) -> tuple[Tensor, Tensor]:
        """The rates of change of both."""


Rates = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def at(model: Field, data: Data, first: Tensor, second: Tensor) -> Data:
    """The graphs of data in another state of motion, such as one of a trajectory."""
    moved = copy.copy(data)
    moved[model.state[0]], moved[model.state[1]] = first, second
    return moved


def integrate(
    model: Field, data: Data, steps: int, dt: float, method: Literal["leapfrog", "rk4"] = "rk4"
) -> tuple[Tensor, Tensor]:
    r"""A trajectory of each graph from the state that it is in.

    The trajectory can be differentiated by the start and the weights, unless under ``torch.no_grad()``.

    Parameters
    ----------
    model : Hamiltonian, Lagrangian, or any module with ``state`` that gives two rates of change
    data : Data or Batch
    steps : int
    dt : float
        Length of a step.
    method : "leapfrog" or "rk4"
        ``"rk4"`` is the classical Runge-Kutta method of fourth order. It keeps linear charges exactly, energy and
        angular momentum up to :math:`O(dt^4)`. ``"leapfrog"`` (Störmer-Verlet, second order) is symplectic and
        reversible, keeps angular momentum too, and its energy does not drift, but only for energies
        :math:`T(p) + V(q)` without friction. E. Hairer, C. Lubich and G. Wanner, Geometric Numerical Integration,
        sections I.1 and IV.2.

    Returns
    -------
    first, second : Tensor [steps + 1, N, d]
        Positions, and momenta or velocities, the start among them.

    Raises
    ------
    ValueError
        The method is unknown, or is leapfrog and the rates of positions depend on positions or those of momenta on
        momenta.

    Examples
    --------
    >>> from pyg_symbreak.dynamics import Hamiltonian
    >>> spring = Hamiltonian(lambda data: (data.pos.square() + data.momentum.square()).sum().view(1) / 2)
    >>> start = Data(pos=torch.ones(1, 1).double(), momentum=torch.zeros(1, 1).double())
    >>> pos, momentum = integrate(spring, start, steps=100, dt=torch.pi / 100)  # half a period
    >>> pos.shape, round(pos[-1].item(), 6)
    (torch.Size([101, 1, 1]), -1.0)
    """
    if method not in ("leapfrog", "rk4"):
        raise ValueError(f"method must be 'leapfrog' or 'rk4', got {method!r}")
    step = _leapfrog if method == "leapfrog" else _rk4

    def rates(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return model(at(model, data, first, second))

    states = [(data[model.state[0]], data[model.state[1]])]
    for _ in range(steps):
        states.append(step(rates, *states[-1], dt))
    first, second = zip(*states, strict=True)
    return torch.stack(first), torch.stack(second)


def _rk4(rates: Rates, q: Tensor, p: Tensor, dt: float) -> tuple[Tensor, Tensor]:
    a = rates(q, p)
    b = rates(q + dt / 2 * a[0], p + dt / 2 * a[1])
    c = rates(q + dt / 2 * b[0], p + dt / 2 * b[1])
    d = rates(q + dt * c[0], p + dt * c[1])
    return (
        q + dt / 6 * (a[0] + 2 * b[0] + 2 * c[0] + d[0]),
        p + dt / 6 * (a[1] + 2 * b[1] + 2 * c[1] + d[1]),
    )


def _leapfrog(rates: Rates, q: Tensor, p: Tensor, dt: float) -> tuple[Tensor, Tensor]:
    _, force = rates(q, p)
    half = p + dt / 2 * force
    drift, same_force = rates(q, half)
    end = q + dt * drift
    same_drift, end_force = rates(end, half)
    for one, other in ((force, same_force), (drift, same_drift)):
        if not torch.allclose(one, other, rtol=1e-4, atol=1e-6):
            raise ValueError(
                "leapfrog needs an energy T(p) + V(q) without friction: here the rates of positions depend on "
                "positions, or those of momenta on momenta; take method='rk4'"
            )
    return end, half + dt / 2 * end_force
