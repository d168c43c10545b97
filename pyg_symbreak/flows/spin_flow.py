"""Spins on a graph, drawn one after the other around the field of their neighbours."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from .flow import Flow

__all__ = ["SpinFlow"]


class SpinFlow(Flow):
    r"""A density of spins in one vacuum, x [n, N, 3]: unit vectors, the first at rest.

    In the order of their numbers, each spin has the law :math:`p(s_i) \propto e^{\kappa_i s_i \cdot h_i}` in the field
    :math:`h_i` that is the sum of its earlier neighbours: a von Mises law in the plane, a Fisher law on the sphere, a
    softmax over the states of a Potts model. All that counts are angles between spins, so that the density keeps
    what the first spin leaves of the symmetry, and :class:`VacuumMixture` restores the rest. With :math:`\kappa_i = J`
    it is the Gibbs law of :math:`J \sum s_i \cdot s_j` exactly, if the earlier neighbours of each spin are at most one,
    as on trees; elsewhere the :math:`\kappa_i` can be fitted to samples.

    Parameters
    ----------
    edge_index : long Tensor [2, E]
        Both directions of each edge.
    num_nodes : int
    states : "plane", "sphere" or Tensor [q, 3]
        The plane is z = 0, with the first spin along x; on the sphere it is along z. Of the unit vectors of a Potts
        model, the corners of a triangle or a tetrahedron, it is the first.
    coupling : float
        The :math:`\kappa_i` of an untrained flow; not negative.

    Examples
    --------
    >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> x, log_prob = SpinFlow(path, 3, "sphere", coupling=2.0).sample(5)
    >>> x.shape, log_prob.shape, x[0, 0]
    (torch.Size([5, 3, 3]), torch.Size([5]), tensor([0., 0., 1.]))
    """

    first: Tensor
    earlier: Tensor

    def __init__(
        self,
        edge_index: Tensor,
        num_nodes: int,
        states: Literal["plane", "sphere"] | Tensor,
        coupling: float = 1.0,
    ):
        super().__init__()
        self.states = states
        first = torch.eye(3)[0 if states == "plane" else 2] if isinstance(states, str) else states[0]
        earlier = torch.zeros(num_nodes, num_nodes)
        source, target = edge_index
        earlier[target, source] = (source < target).to(earlier.dtype)
        self.register_buffer("first", first)
        self.register_buffer("earlier", earlier, persistent=False)
        self.coupling = nn.Parameter(torch.full((num_nodes,), float(coupling)))

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Spins [n, N, 3], and the log-densities [n] of all but the first."""
        x = self.first.expand(n, 1, 3)
        with torch.no_grad():
            for i in range(1, len(self.earlier)):
                field = self.coupling[i] * torch.einsum("j,njk->nk", self.earlier[i, :i], x)
                x = torch.cat([x, self._draw(field, generator)[:, None]], dim=1)
        return x, self.log_prob(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-densities [n] of some spins [n, N, 3]; minus infinity where a first Potts spin is not at rest."""
        field = self.coupling[:, None] * torch.einsum("ij,njk->nik", self.earlier, x)
        out = ((field * x).sum(-1) - self._log_norm(field))[:, 1:].sum(1)
        if isinstance(self.states, str):
            return out
        return torch.where((x[:, 0] - self.first).abs().amax(1) < 1e-3, out, -math.inf)

    def _log_norm(self, field: Tensor) -> Tensor:
        if not isinstance(self.states, str):
            return (field @ self.states.T).logsumexp(-1)
        k = (field.square().sum(-1) + 1e-12).sqrt()
        if self.states == "plane":
            return torch.special.i0e(k).log() + k + math.log(2 * math.pi)
        return k + (-torch.expm1(-2 * k) / (2 * k)).log() + math.log(4 * math.pi)

    def _draw(self, field: Tensor, generator: torch.Generator | None) -> Tensor:
        if not isinstance(self.states, str):
            return self.states[torch.multinomial((field @ self.states.T).softmax(1), 1, generator=generator)[:, 0]]
        k = field.norm(dim=1).clamp(min=1e-6)
        if self.states == "plane":
            angle = torch.atan2(field[:, 1], field[:, 0]) + _von_mises(k, generator)
            return torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=1)
        u, turn = torch.rand(2, len(k), generator=generator, dtype=k.dtype)
        c = (1 + (u + (1 - u) * (-2 * k).exp()).log() / k).clamp(-1, 1)
        axis = torch.where(field.abs().amax(1, keepdim=True) > 0, field, self.first) / k[:, None]
        axis = axis / axis.norm(dim=1, keepdim=True)
        side = torch.linalg.cross(axis, torch.eye(3, dtype=k.dtype)[axis.abs().argmin(1)])
        side = side / side.norm(dim=1, keepdim=True)
        across = torch.linalg.cross(axis, side)
        phi = (2 * math.pi * turn)[:, None]
        return c[:, None] * axis + (1 - c * c).sqrt()[:, None] * (phi.cos() * side + phi.sin() * across)

    def __repr__(self) -> str:
        kind = self.states if isinstance(self.states, str) else f"{len(self.states)} states"
        return f"SpinFlow({len(self.earlier)} nodes, {kind})"


def _von_mises(k: Tensor, generator: torch.Generator | None) -> Tensor:
    """Angles with the density e^{k cos φ}, by rejection of uniform ones."""
    out, open_ = torch.zeros_like(k), torch.arange(len(k))
    while len(open_):
        u, phi = torch.rand(2, len(open_), generator=generator, dtype=k.dtype)
        phi = (2 * phi - 1) * math.pi
        out[open_] = phi
        open_ = open_[u.log() > k[open_] * (phi.cos() - 1)]
    return out
