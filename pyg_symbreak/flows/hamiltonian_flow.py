"""Flows along Hamilton's equations of learned energies: what the energies leave alone, the density leaves alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from pyg_symbreak.groups import LieGroup

__all__ = ["HamiltonianFlow", "PlainEnergy"]


class PlainEnergy(nn.Module):
    """An energy of a graph without any symmetry: a perceptron of all coordinates of all nodes, in their order.

    Parameters
    ----------
    num_nodes, dim : int
        Of each graph.
    attribute : str
        What it is an energy of: "pos" or "momentum".
    hidden : int
        Width.
    """

    def __init__(self, num_nodes: int, dim: int, attribute: str = "pos", hidden: int = 64):
        super().__init__()
        self.size, self.attribute = num_nodes * dim, attribute
        self.net = nn.Sequential(
            *(nn.Linear(self.size, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()),
            nn.Linear(hidden, 1, bias=False),
        )

    def forward(self, data: Data) -> Tensor:
        """The energy of each graph, [B]."""
        return self.net(data[self.attribute].view(-1, self.size)).squeeze(1)


class HamiltonianFlow(nn.Module):
    r"""A density of point clouds, x [n, N, d], by leap-frog steps of learned energies on positions and momenta.

    A normal q and p move by :math:`p \leftarrow p - \frac\epsilon2 \nabla V_k(q)`,
    :math:`q \leftarrow q + \epsilon \nabla K_k(p)`, :math:`p \leftarrow p - \frac\epsilon2 \nabla V_k(q)` for each k.
    Every such move keeps volume, so that log-densities of (q, p) are those of the base. If all energies are invariant
    under rotations or under exchange of nodes, so is the density of the final q = x. If they are not, a penalty on
    Poisson brackets makes them so approximately. After D. J. Rezende et al., "Equivariant Hamiltonian flows", 2019,
    arXiv 1909.13739.

    The density of x is an integral over momenta, and bounded from below by samples of an encoder,
    :math:`p \sim N(-\nabla A(x), \sigma^2)`, whose energy A is learned as well:

    .. math:: \log q(x) \ge \mathrm E \log \frac1m \sum_{i=1}^m \frac{\pi(\Phi^{-1}(x, p_i))}{N(p_i | x)}

    Parameters
    ----------
    graph : Data
        The graph of each sample: ``num_nodes`` and, where there are several nodes, ``edge_index``.
    dim : int
        d.
    potentials, kinetics : sequence of modules
        The :math:`V_k` of ``data.pos`` and :math:`K_k` of ``data.momentum``, as many of each. Each takes a Batch and
        gives a number for each graph: :class:`~pyg_symbreak.dynamics.GraphEnergy`, :class:`PlainEnergy`.
    encoder : module
        A, an energy of ``data.pos``.
    step_size : float
        ε.

    Raises
    ------
    ValueError
        There are not as many kinetic energies as potentials.

    Examples
    --------
    >>> from pyg_symbreak.dynamics import GraphEnergy
    >>> so2, graph = LieGroup.rotations(2), Data(num_nodes=1)
    >>> flow = HamiltonianFlow(
    ...     graph, 2, *([GraphEnergy(2, so2, [name]) for _ in range(3)] for name in ("pos", "momentum")),
    ...     encoder=GraphEnergy(2, so2, ["pos"]),
    ... )
    >>> x = flow.sample(100)
    >>> x.shape, flow.log_prob(x, samples=8).shape, bool(flow.brackets(so2, x).abs().max() < 1e-5)
    (torch.Size([100, 1, 2]), torch.Size([100]), True)
    """

    def __init__(
        self,
        graph: Data,
        dim: int,
        potentials: Sequence[nn.Module],
        kinetics: Sequence[nn.Module],
        encoder: nn.Module,
        step_size: float = 0.5,
    ):
        super().__init__()
        if len(potentials) != len(kinetics):
            raise ValueError(
                f"there are {len(potentials)} potentials and {len(kinetics)} kinetics: give as many of each"
            )
        self.num_nodes, self.dim, self.step_size = int(graph.num_nodes or 0), dim, step_size
        self.edge_index = graph.edge_index
        self.potentials, self.kinetics = nn.ModuleList(potentials), nn.ModuleList(kinetics)
        self.encoder = encoder
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.log_width = nn.Parameter(torch.zeros(()))

    def forward(self, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Move positions and momenta [n, N, d] forward."""
        half = self.step_size / 2
        for potential, kinetic in zip(self.potentials, self.kinetics, strict=True):
            p = p - half * self._slope(potential, "pos", q)
            q = q + 2 * half * self._slope(kinetic, "momentum", p)
            p = p - half * self._slope(potential, "pos", q)
        return q, p

    def inverse(self, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Move positions and momenta back."""
        q, p, _ = self._back(q, p)
        return q, p

    def _back(self, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The start of a path, and what its points lose under the rotations of each energy: (energy, point, slope)."""
        half = self.step_size / 2
        path = []
        for potential, kinetic in zip(reversed(self.potentials), reversed(self.kinetics), strict=True):
            slope = self._slope(potential, "pos", q)
            p = p + half * slope
            velocity = self._slope(kinetic, "momentum", p)
            path += [torch.stack([q, slope]), torch.stack([p, velocity])]
            q = q - 2 * half * velocity
            p = p + half * self._slope(potential, "pos", q)
        return q, p, path

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Samples x [n, N, d]."""
        like = self.log_scale
        shape = (2, n, self.num_nodes, self.dim)
        q, p = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device).unbind()
        return self(q * self.log_scale.exp(), p)[0].detach()

    def log_prob(self, x: Tensor, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """The lower bound on the log-densities [n] of some x [n, N, d], from so many momenta for each."""
        mean = -self._slope(self.encoder, "pos", x)
        noise = torch.randn((samples, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
        p = mean + self.log_width.exp() * noise
        density = _normal(noise) - x[0].numel() * self.log_width
        q0, p0 = self.inverse(x.expand_as(p).flatten(0, 1), p.flatten(0, 1))
        base = _normal((q0 * (-self.log_scale).exp())[None]) + _normal(p0[None]) - x[0].numel() * self.log_scale
        return (base.view(samples, -1) - density).logsumexp(0) - math.log(samples)

    def brackets(self, group: LieGroup, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Poisson brackets of the charges of a group with all energies, along the way back from some x.

        The charge of a generator T is :math:`g = \sum_i p_i \cdot T q_i`, so that
        :math:`\{g, V\} = -\sum_i T q_i \cdot \nabla_i V` and :math:`\{g, K\} = \sum_i T^\top p_i \cdot \nabla_i K`.
        Potentials and kinetic energies move one after the other, so that both must vanish. The mean square is the
        penalty that makes the density symmetric.

        Parameters
        ----------
        group : LieGroup
            Of rotations: its generators [k, d, d] are antisymmetric, as the normal base is invariant under those only.
        x : Tensor [n, N, d]
        generator : torch.Generator, optional
            For the momenta.

        Returns
        -------
        Tensor [2 * steps, n, k]

        Raises
        ------
        ValueError
            The generators have another size or are not antisymmetric.
        """
        turns = torch.from_numpy(group.generators).to(x.dtype)
        if turns.shape[1] != self.dim or (turns + turns.mT).abs().max() > 1e-9:
            raise ValueError(
                f"group: generators must be antisymmetric [k, {self.dim}, {self.dim}], as of LieGroup.rotations"
            )
        p = self.log_width.exp() * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        _, _, path = self._back(x, p - self._slope(self.encoder, "pos", x))
        points, slopes = torch.stack(path, dim=1)
        return torch.einsum("snia,kab,snib->snk", slopes, -turns, points)

    def _slope(self, energy: nn.Module, name: str, value: Tensor) -> Tensor:
        """The gradient of an energy, [n, N, d]; to be differentiated itself where gradients are on."""
        n, track = len(value), torch.is_grad_enabled()
        with torch.enable_grad():
            at = value if value.requires_grad else value.detach().requires_grad_()
            nodes = torch.arange(n, device=value.device).repeat_interleave(self.num_nodes)
            data = Batch(batch=nodes, num_nodes=n * self.num_nodes, **{name: at.flatten(0, 1)})
            data._num_graphs = n
            if self.edge_index is not None:
                offset = torch.arange(n, device=value.device) * self.num_nodes
                data.edge_index = (self.edge_index[:, None] + offset[:, None]).flatten(1)
            (slope,) = torch.autograd.grad(energy(data).sum(), at, create_graph=track)
        return slope

    def __repr__(self) -> str:
        return f"HamiltonianFlow({self.num_nodes} nodes in {self.dim} dimensions, {len(self.potentials)} steps)"


def _normal(x: Tensor) -> Tensor:
    """Log-density of independent standard normal numbers [m, n, N, d], [m, n]."""
    return -(x * x + math.log(2 * math.pi)).flatten(2).sum(2) / 2
