"""Variational auto-encoders of pairs of views whose latent transformation is a one-parameter group."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pyg_symbreak.groups import LieGroup

__all__ = ["TransformationVAE"]


class TransformationVAE(nn.Module):
    r"""A variational auto-encoder of pairs of views, with an explicit transformation between their latents.

    .. math:: z \sim q(z | x_1), \quad w \sim q(w | x_1, x_2), \quad x_1 \approx D z, \quad x_2 \approx D\, T(w) z

    with T a one-parameter group, :math:`T(w) = \exp(w A)`, A antisymmetric and learned: :math:`T(w) T(w') = T(w + w')`
    exactly, so that transformations larger than any seen are products of small ones. Encoder and decoder being free to
    choose the coordinates of z, A turns its coordinate planes, at rates that are learned. The decoder D is linear, so
    that the law holds of what is decoded too. After G. Giannone, S. Saremi, J. Masci and C. Osendorfer, "No
    representation without transformation", arXiv 1912.03845.

    Parameters
    ----------
    nodes, features : int
        Of a view: a point cloud or the signal on the nodes of a graph, ``[nodes, features]``, nodes in one order.
    latent : int
        Dimension of z.
    hidden : int
        Width of the encoders.
    action : "group", "free" or "none"
        "group" is the model above. To compare with: "free", where T(w) is any matrix that a network makes of w;
        "none", where x₂ is encoded by itself.
    noise : float
        Standard deviation of the views about what is decoded.

    Shapes:
        - **views:** :math:`(B, N, F)`
        - **latents:** :math:`(B, M)`, sizes w :math:`(B,)`
    """

    planes: Tensor

    def __init__(
        self,
        nodes: int,
        features: int,
        latent: int = 8,
        hidden: int = 64,
        action: Literal["group", "free", "none"] = "group",
        noise: float = 0.05,
    ):
        super().__init__()
        if action not in ("group", "free", "none"):
            raise ValueError(f"action must be 'group', 'free' or 'none', got {action!r}")
        self.nodes, self.features, self.latent, self.action, self.noise = nodes, features, latent, action, noise
        size = nodes * features
        self.encoder = _mlp(size, hidden, 2 * latent)
        self.decoder = nn.Linear(latent, size)
        if action != "none":
            self.sizes = _mlp(2 * size, hidden, 2)
        if action == "group":
            first = torch.arange(latent // 2)
            planes = torch.zeros(len(first), latent, latent)
            planes[first, 2 * first + 1, 2 * first], planes[first, 2 * first, 2 * first + 1] = 1, -1
            self.register_buffer("planes", planes)
            self.rates = nn.Parameter(0.5 + torch.rand(len(first)))  # arcs of about a radian: larger ones have aliases
        elif action == "free":
            self.matrix = _mlp(1, hidden, latent * latent)

    @property
    def generator(self) -> Tensor:
        """A, [latent, latent]."""
        return torch.einsum("k,kij->ij", self.rates, self.planes)

    @property
    def group(self) -> LieGroup:
        """The one-parameter group that acts on the latents."""
        return LieGroup(self.generator.detach().double().numpy()[None])

    def encode(self, x: Tensor) -> Tensor:
        """The mean latents of some views."""
        return self.encoder(x.flatten(1))[:, : self.latent]

    def decode(self, z: Tensor) -> Tensor:
        """The views of some latents."""
        return self.decoder(z).view(-1, self.nodes, self.features)

    def matrices(self, w: Tensor) -> Tensor:
        """T(w), [B, latent, latent]."""
        if self.action == "group":
            angles = w[:, None] * self.rates
            turn = torch.einsum("bk,kij->bij", angles.sin(), self.planes)
            back = torch.einsum("bk,kij->bij", 1 - angles.cos(), self.planes @ self.planes)
            return torch.eye(self.latent).to(w) + turn + back
        if self.action == "free":
            return torch.eye(self.latent).to(w) + self.matrix(w[:, None]).view(-1, self.latent, self.latent)
        raise ValueError("this model has no transformations: it was made with action='none'")

    def transform(self, z: Tensor, w: Tensor) -> Tensor:
        """Latents after transformations of some sizes."""
        return torch.einsum("bij,bj->bi", self.matrices(w), z)

    def infer(self, x: Tensor, other: Tensor, reach: float) -> Tensor:
        """The size w, of 721 between -reach and reach, that carries each view x best to another one, [B, N, F] each."""
        z = self.encode(x)
        grid = torch.linspace(-reach, reach, 721).to(z)
        images = self.decoder(torch.einsum("gij,bj->gbi", self.matrices(grid), z))
        return grid[(images - other.flatten(1)).square().sum(2).argmin(0)]

    def composition_error(self, w: Tensor, other: Tensor) -> float:
        """The largest norm of T(w) T(w') - T(w + w') over that of T(w + w')."""
        product, whole = self.matrices(w) @ self.matrices(other), self.matrices(w + other)
        return ((product - whole).norm(dim=(1, 2)) / whole.norm(dim=(1, 2))).max().item()

    def loss(self, x: Tensor, other: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The negative evidence lower bound of pairs of views, in nats for each pair, up to a constant."""
        z, divergence = _draw(self.encoder(x.flatten(1)), generator)
        if self.action == "none":
            there, more = _draw(self.encoder(other.flatten(1)), generator)
        else:
            w, more = _draw(self.sizes(torch.cat([x.flatten(1), other.flatten(1)], 1)), generator)
            there = self.transform(z, w[:, 0])
        misses = (self.decode(z) - x).square().sum((1, 2)) + (self.decode(there) - other).square().sum((1, 2))
        return (misses / (2 * self.noise**2) + divergence + more).mean()


def _mlp(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out)
    )


def _draw(parameters: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """A sample of a normal law with mean and log deviation, and its divergence [B] from the standard normal one."""
    mean, log_deviation = parameters.chunk(2, dim=1)
    deviation = (log_deviation - 2).exp()
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    divergence = 0.5 * (mean.square() + deviation.square() - 1) - deviation.log()
    return mean + deviation * noise, divergence.sum(1)
