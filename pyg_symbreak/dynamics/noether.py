"""Noether's theorem: the charges that a motion conserves, and how far they drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_symbreak.dynamics.graph_energy import sum_graphs
from pyg_symbreak.dynamics.integrate import at
from pyg_symbreak.dynamics.invariants import affine_generators
from pyg_symbreak.groups import LieGroup

__all__ = ["Motion", "NoetherCharges", "charge_drift", "charges", "noether"]


class Motion(Protocol):
    """A Hamiltonian, a Lagrangian, or what else has momenta."""

    state: tuple[str, str]

    def __call__(self, data: Data) -> tuple[Tensor, Tensor]:
        """The rates of change of both attributes of the state."""

    def canonical(self, data: Data) -> tuple[Tensor, Tensor, Tensor]:
        """Momenta, and the rates of change of positions and of momenta."""


def charges(model: Motion, data: Data, group: LieGroup) -> Tensor:
    r"""The charge :math:`\sum_i p_i \cdot (L q_i + t)` of each generator :math:`\dot{q} = L q + t` of a group.

    Momentum for translations, angular momentum for rotations; conserved if the generator is a symmetry of the energy.

    Parameters
    ----------
    model : Hamiltonian or Lagrangian
    data : Data or Batch
    group : LieGroup
        Acts on points x of dimension d, or on (x, 1).

    Returns
    -------
    Tensor [B, k]
        For each graph and generator.

    Examples
    --------
    >>> from pyg_symbreak.dynamics import Hamiltonian
    >>> data = Data(pos=torch.tensor([[2.0, 0.0]]), momentum=torch.tensor([[0.0, 3.0]]))
    >>> free = Hamiltonian(lambda data: data.momentum.square().sum().view(1) / 2)
    >>> charges(free, data, LieGroup.euclidean(2))
    tensor([[6., 0., 3.]])
    """
    with torch.no_grad():
        momentum = model.canonical(data)[0]
    linear, shift = (torch.from_numpy(x).to(momentum) for x in affine_generators(group, momentum.shape[1]))
    moved = torch.einsum("kij,nj->nki", linear, data.pos) + shift
    return sum_graphs(torch.einsum("nki,ni->nk", moved, momentum), data)


def charge_drift(model: Motion, data: Data, trajectory: tuple[Tensor, Tensor], group: LieGroup) -> Tensor:
    """The largest change of each charge along a trajectory that starts at data.

    Parameters
    ----------
    model : Hamiltonian or Lagrangian
    data : Data or Batch
    trajectory : tuple of Tensor [T, N, d]
        What :func:`integrate` returns.
    group : LieGroup

    Returns
    -------
    Tensor [B, k]
        For each graph and generator.

    Examples
    --------
    >>> from pyg_symbreak.dynamics import Hamiltonian, integrate
    >>> falling = Hamiltonian(lambda data: (data.momentum.square().sum() / 2 + data.pos[:, 1].sum()).view(1))
    >>> data = Data(pos=torch.zeros(1, 2), momentum=torch.ones(1, 2))
    >>> drift = charge_drift(falling, data, integrate(falling, data, 10, 0.1), LieGroup.translations(2))
    >>> [[round(x, 6) for x in row] for row in drift.tolist()]
    [[0.0, 1.0]]
    """
    values = torch.stack([charges(model, at(model, data, *state), group) for state in zip(*trajectory, strict=True)])
    return (values - values[0]).abs().amax(0)


@dataclass(frozen=True)
class NoetherCharges:
    """The charges that a motion conserves.

    Attributes
    ----------
    group : LieGroup
        Of their generators [k, d + 1, d + 1], which act on (x, 1), those that are conserved best first.
    rates : float64 array [d (d + 1)]
        For a basis of all charges, the rate at which each changes, relative to the state itself; in ascending order.
    """

    group: LieGroup
    rates: np.ndarray

    def __repr__(self) -> str:
        k = self.group.dimension
        return (
            f"NoetherCharges({k} of {len(self.rates)}, rates up to {self.rates[:k].max(initial=0):.2g}, next "
            f"{self.rates[k:].min(initial=np.inf):.2g})"
        )


def noether(model: Motion, data: Batch, tolerance: float = 1e-2) -> NoetherCharges:
    r"""Which charges :math:`\sum_i p_i \cdot (L q_i + t)` a motion conserves, whatever it was built from.

    The rate of change of a charge,

    .. math:: \dot{J} = \sum_i \dot{p}_i \cdot (L q_i + t) + p_i \cdot L \dot{q}_i,

    is linear in (L, t): those that vanish in all states are a null space. Of a learned energy it holds up to the
    errors of learning, so that rates are compared with a tolerance. Friction counts.

    Parameters
    ----------
    model : Hamiltonian or Lagrangian
    data : Batch
        States of at least d (d + 1) graphs, for d the dimension of space; better many more.
    tolerance : float
        Largest rate of a conserved charge: root mean square of :math:`\dot{J}` over that of p times that of
        (L q + t), in units of the relative rates at which the q and p themselves change.

    Raises
    ------
    ValueError
        There are too few graphs, or nothing moves in them.

    Examples
    --------
    >>> from pyg_symbreak.dynamics import Hamiltonian
    >>> def energy(data):  # invariant under turns, but not translations
    ...     return sum_graphs((data.momentum.square() + data.pos.square() ** 2).sum(1), data)
    >>> def around(data):
    ...     return sum_graphs(data.momentum.square().sum(1) + data.pos.square().sum(1) ** 2, data)
    >>> g = torch.Generator().manual_seed(0)
    >>> state = lambda: torch.randn(1, 2, generator=g).double()
    >>> batch = Batch.from_data_list([Data(pos=state(), momentum=state()) for _ in range(50)])
    >>> noether(Hamiltonian(energy), batch).group.dimension, noether(Hamiltonian(around), batch).group.dimension
    (0, 1)
    """
    with torch.no_grad():
        momentum, vel, force = model.canonical(data)
    q, p, v, f = (x.detach().double() for x in (data.pos, momentum, vel, force))
    dim, count = q.shape[1], getattr(data, "num_graphs", 1)
    if not isinstance(data, Batch) or count < dim * (dim + 1):
        raise ValueError(
            f"{count} states cannot tell {dim * (dim + 1)} charges apart: give a Batch of many more graphs"
        )
    point = torch.cat([q, q.new_ones(len(q), 1)], 1)
    change = torch.einsum("ni,nj->nij", f, point) + torch.einsum("ni,nj->nij", p, torch.cat([v, 0 * v[:, :1]], 1))
    rows = sum_graphs(change.flatten(1), data).cpu().numpy()
    speed = _size(v) / _size(q - q.mean(0)) + _size(f) / _size(p)
    metric = (_size(p) * speed) ** 2 * len(q) / count * np.kron(np.eye(dim), (point.T @ point / count).cpu().numpy())
    if not np.isfinite(metric).all() or speed == 0:
        raise ValueError("nothing moves in these states: no rate of change can be told from another")
    values, vectors = eigh(rows.T @ rows / count, metric)
    rates = np.sqrt(values.clip(0))
    kept = vectors[:, rates <= tolerance].T
    if len(kept):
        kept = np.linalg.qr(kept.T)[0].T
    generators = np.zeros((len(kept), dim + 1, dim + 1))
    generators[:, :dim] = kept.reshape(-1, dim, dim + 1)
    return NoetherCharges(LieGroup(generators), rates)


def _size(x: Tensor) -> float:
    """Root mean square of the lengths of rows."""
    return float(x.square().sum(1).mean().sqrt())
