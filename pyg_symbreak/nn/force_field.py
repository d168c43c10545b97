"""Equivariant network for the forces on the atoms of molecules."""

from __future__ import annotations

from typing import cast

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import scatter

__all__ = ["ForceField", "without_rigid_motion"]

HIDDEN = "48x0e+48x1o+16x2e"
NEAR, NEAR_WIDTH = (-0.6, 1.1, 18), 0.1
"""Å: Gaussians of a distance less the covalent radii, first, last and how many; their width."""
FAR_WIDTH = 0.5
"""Å: width, and distance from each other, of the Gaussians of the distance itself."""
UNIT = 3.0
"""eV/Å: unit of the forces."""


class ForceField(nn.Module):
    r"""Forces on the atoms of molecules, equivariant under rotations and reflections.

    Messages as in PaiNN (K. Schütt, O. Unke and M. Gastegger, ICML 2021), with symmetric tensors beside the vectors as
    in TensorNet (G. Simeon and G. De Fabritiis, NeurIPS 2023): atom i has scalars :math:`s_i`, vectors :math:`v_i` and
    traceless symmetric tensors :math:`T_i`; with :math:`\hat r` the direction from j to i, each layer adds

    .. math::
        \Delta s_i = \sum_j a_{ij}, \quad
        \Delta v_i = \sum_j b_{ij} \hat r + c_{ij} v_j, \quad
        \Delta T_i = \sum_j d_{ij} (\hat r \hat r^T - 1/3),

    where a, b, c, d are a perceptron of :math:`s_i, s_j` and of Gaussians of the distance and of the distance less the
    sum of the two covalent radii, so that a bond is short or long alike for all elements. Then each atom mixes what it
    has: the invariants :math:`v \cdot v, T : T, v^T T v` make scalars, and factors of :math:`v` and :math:`T v`. A
    force is the sum of the last vectors and of pair forces along the bonds, without resultant and torque. It is no
    gradient, so that energy is not kept in dynamics: for that take :class:`Potential`. It reads elements by their
    features and radii, and so takes those that were not in training.

    As forces are functions of the structure alone, those of a symmetric molecule are symmetric (Curie's principle), and
    what is displaced along a direction that keeps K keeps K wherever they lead.

    Parameters
    ----------
    features : int
        Number of features ``x`` of an atom, scalars.
    hidden : str or e3nn.o3.Irreps
        Number of scalars ``0e``, vectors ``1o`` and tensors ``2e``.
    cutoff : float
        Å; what atoms say of each other falls to zero there, smoothly.
    layers, width : int
        Number of layers, width of their perceptrons.

    Shapes:
        - **input:** a :class:`~torch_geometric.data.Data` or batch with ``x`` :math:`(|\mathcal{V}|, D)`, ``pos``
          :math:`(|\mathcal{V}|, 3)` in Å, covalent radii ``radius`` :math:`(|\mathcal{V}|)` in Å, ``edge_index``
          :math:`(2, |\mathcal{E}|)`
        - **output:** :math:`(|\mathcal{V}|, 3)`, eV/Å if so trained

    Raises
    ------
    ValueError
        ``hidden`` has irreps other than 0e, 1o and 2e, or lacks one of them.
    """

    near: Tensor
    far: Tensor

    def __init__(
        self,
        features: int,
        hidden: str | o3.Irreps = HIDDEN,
        *,
        cutoff: float = 5.0,
        layers: int = 3,
        width: int = 64,
    ) -> None:
        super().__init__()
        irreps = o3.Irreps(hidden)
        sizes = (irreps.count("0e"), irreps.count("1o"), irreps.count("2e"))
        if min(sizes) < 1 or sum(sizes) != irreps.num_irreps:
            raise ValueError(f"hidden irreps must be of the kinds 0e, 1o and 2e, some of each, got {irreps}")
        self.cutoff = cutoff
        self.register_buffer("near", torch.linspace(*NEAR), persistent=False)
        self.register_buffer("far", torch.arange(FAR_WIDTH, cutoff + 0.1, FAR_WIDTH), persistent=False)
        gaussians = len(self.near) + len(self.far)
        self.embedding = nn.Linear(features, sizes[0])
        self.layers = nn.ModuleList(_Layer(sizes, gaussians, width) for _ in range(layers))
        self.pair = _Edges(sizes[0], gaussians, width, 1)
        self.vector = nn.Linear(sizes[1], 1, bias=False)

    def forward(self, data: Data) -> Tensor:
        """Forces on the atoms of a molecule or of a batch of them."""
        (source, target), pos = data.edge_index, data.pos
        r = pos[target] - pos[source]
        length = r.norm(dim=1, keepdim=True)
        unit, gap = r / length, length - data.radius[target, None] - data.radius[source, None]
        near = torch.exp(-0.5 * ((gap - self.near) / NEAR_WIDTH) ** 2)
        radial = torch.cat([near, torch.exp(-(((length - self.far) / FAR_WIDTH) ** 2))], dim=1)
        falling = 0.5 + 0.5 * torch.cos(torch.pi * (length / self.cutoff).clamp(max=1))
        edges = source, target, unit, radial, falling
        s = self.embedding(data.x)
        v = s.new_zeros(len(s), 3, self.vector.in_features)
        t = s.new_zeros(len(s), 3, 3, cast(_Layer, self.layers[0]).sizes[2])
        for layer in self.layers:
            s, v, t = layer(s, v, t, edges)
        pair = self.pair(s, source, target, radial) * falling
        forces = UNIT * self.vector(v)[..., 0].index_add(0, target, pair * unit)
        batch = data.get("batch")
        return without_rigid_motion(
            pos, forces, torch.zeros_like(source[:1]).expand(len(s)) if batch is None else batch
        )


class _Edges(nn.Module):
    """A perceptron of the scalars of both ends of an edge and of its radial features."""

    def __init__(self, scalars: int, gaussians: int, width: int, out: int) -> None:
        super().__init__()
        self.target, self.source = nn.Linear(scalars, width), nn.Linear(scalars, width, bias=False)
        self.radial, self.middle = nn.Linear(gaussians, width, bias=False), nn.Linear(width, width)
        self.out = nn.Linear(width, out)

    def forward(self, s: Tensor, source: Tensor, target: Tensor, radial: Tensor) -> Tensor:
        """[E, out]."""
        hidden = nn.functional.silu(self.target(s)[target] + self.source(s)[source] + self.radial(radial))
        return self.out(nn.functional.silu(self.middle(hidden)))


class _Layer(nn.Module):
    """Messages between atoms, then the mixing of what an atom has, see :class:`ForceField`."""

    def __init__(self, sizes: tuple[int, int, int], gaussians: int, width: int) -> None:
        super().__init__()
        scalars, vectors, tensors = self.sizes = sizes
        self.norm = nn.LayerNorm(scalars)
        self.messages = (scalars, vectors, vectors, tensors)
        self.edges = _Edges(scalars, gaussians, width, sum(self.messages))
        self.left, self.right = nn.Linear(vectors, vectors, bias=False), nn.Linear(vectors, vectors, bias=False)
        self.to_tensor = nn.Linear(vectors, tensors, bias=False)
        self.from_tensor = nn.Linear(tensors, vectors, bias=False)
        invariants = scalars + vectors + 2 * tensors
        self.gates = (scalars, vectors, vectors)
        self.mix = nn.Sequential(nn.Linear(invariants, width), nn.SiLU(), nn.Linear(width, sum(self.gates)))

    def forward(self, s: Tensor, v: Tensor, t: Tensor, edges: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Scalars [N, S], vectors [N, 3, V], tensors [N, 3, 3, T]."""
        source, target, unit, radial, falling = edges
        weights = self.edges(self.norm(s), source, target, radial) * (0.5 * falling)
        a, b, c, d = weights.split(self.messages, dim=1)
        s = s.index_add(0, target, a)
        v = v.index_add(0, target, b[:, None] * unit[:, :, None] + c[:, None] * v[source])
        square = unit[:, :, None] * unit[:, None] - torch.eye(3).to(unit) / 3
        t = t.index_add(0, target, d[:, None, None] * square[..., None])
        left, right, few = self.left(v), self.right(v), self.to_tensor(v)
        turned = torch.einsum("nabc,nbc->nac", t, few)
        invariants = [s, (left * right).sum(1), t.square().sum((1, 2)), (few * turned).sum(1)]
        ds, scale, share = self.mix(torch.cat(invariants, dim=1)).split(self.gates, dim=1)
        v = v + scale[:, None] * left + share[:, None] * self.from_tensor(turned)
        return s + ds, _bounded(v), _bounded(t)


def _bounded(features: Tensor) -> Tensor:
    """Divide by the root of the mean square of an atom's features plus 1."""
    axes = tuple(range(1, features.dim()))
    return features * (features.square().mean(axes, keepdim=True) + 1).rsqrt()


def without_rigid_motion(pos: Tensor, vectors: Tensor, batch: Tensor) -> Tensor:
    """Forces, or small displacements, [N, 3] without translation and rotation of each molecule: orthogonal to all.

    Examples
    --------
    >>> pos = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    >>> turned = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 0]])
    >>> bool(without_rigid_motion(pos, turned, torch.zeros(3, dtype=torch.long)).abs().max() < 1e-6)
    True
    """
    r = pos - scatter(pos, batch, dim=0, reduce="mean")[batch]
    f = vectors - scatter(vectors, batch, dim=0, reduce="mean")[batch]
    outer = scatter(r[:, :, None] * r[:, None], batch, dim=0).double()
    inertia = outer.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * torch.eye(3, dtype=outer.dtype) - outer
    torque = scatter(torch.linalg.cross(r, f), batch, dim=0).double()
    turn = torch.linalg.pinv(inertia, rtol=1e-4, hermitian=True) @ torque[:, :, None]  # no turn about a line's axis
    return f - torch.linalg.cross(turn[:, :, 0].to(f)[batch], r)
