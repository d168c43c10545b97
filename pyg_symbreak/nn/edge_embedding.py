"""Edge vectors to spherical harmonics and learned radial features, shared by all convolutions of a network."""

import itertools
import math
from typing import cast

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_symbreak.nn.activation import SILU_SCALE
from pyg_symbreak.nn.constants import ConstantsMixin

__all__ = ["EdgeEmbedding", "Harmonics", "PairEmbedding", "edge_vectors"]


class EdgeEmbedding(ConstantsMixin):
    r"""Angular and radial features of the edges.

    The angular part are the real spherical harmonics of the edge directions up to degree ``lmax`` in e3nn's
    basis and "component" normalization, :math:`\|Y_l\|^2 = 2l+1`, times a cutoff that is 1 up to half of
    ``max_radius`` and falls to 0 at ``max_radius`` as a cosine does. The radial part is a multilayer
    perceptron on Gaussians of the edge length, spread evenly from 0 to ``max_radius``; one perceptron for
    each of ``num_convs`` convolutions, all computed together. Both are those of
    ``e3nn.nn.models.gate_points_2102``.

    Parameters
    ----------
    max_radius : float
        Radius of the cutoff, in the unit of the edge vectors.
    lmax : int
        Highest degree of the spherical harmonics.
    num_convs : int
        Number of convolutions that take their own radial features.
    number_of_basis : int
        Number of Gaussians.
    radial_layers, radial_neurons : int
        Number and width of the hidden layers of each perceptron.

    Shapes:
        - **input:** edge vectors :math:`(|\mathcal{E}|, 3)`, none of them zero
        - **output:** harmonics :math:`(|\mathcal{E}|, (l_{max}+1)^2)` and radial features
          :math:`(\text{num\_convs}, |\mathcal{E}|, \text{radial\_neurons})`
    """

    step: Tensor
    centers: Tensor

    def __init__(
        self,
        max_radius: float,
        lmax: int = 4,
        num_convs: int = 1,
        number_of_basis: int = 10,
        radial_layers: int = 3,
        radial_neurons: int = 16,
    ) -> None:
        super().__init__()
        if not max_radius > 0:
            raise ValueError(f"max_radius must be a positive length, got {max_radius}")
        if number_of_basis < 2 or radial_layers < 1 or radial_neurons < 1:
            raise ValueError(
                "a radial perceptron needs number_of_basis >= 2, radial_layers >= 1 and radial_neurons >= 1, got "
                f"{number_of_basis}, {radial_layers}, {radial_neurons}"
            )
        self.max_radius = float(max_radius)
        self.lmax = lmax
        self.num_convs = num_convs
        self.radial_neurons = radial_neurons
        widths = [number_of_basis] + [radial_neurons] * radial_layers
        self.weights = nn.ParameterList(torch.empty(num_convs, n, m) for n, m in itertools.pairwise(widths))
        like = self.weights[0]
        centers = torch.linspace(0.0, max_radius, number_of_basis, dtype=torch.float64)
        self.register_constant("centers", centers, like)
        self.harmonics = Harmonics(lmax)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from the standard normal distribution (they are scaled in the forward pass)."""
        for weight in self.weights:
            nn.init.normal_(weight)

    def forward(self, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        """Return the harmonics times the cutoff, and the radial features."""
        length = edge_vec.norm(dim=1, keepdim=True)
        return self._harmonics(edge_vec, length), self._radial(length)

    def _harmonics(self, edge_vec: Tensor, length: Tensor) -> Tensor:
        falling = (2.0 * math.pi * (length / self.max_radius)).clamp(math.pi, 2.0 * math.pi)
        return self.harmonics(edge_vec / length, 0.5 - 0.5 * falling.cos())

    def _radial(self, length: Tensor) -> Tensor:
        spacing = self.max_radius / (self.centers.size(0) - 1)
        gaussians = torch.exp(-(((length - self.centers) / spacing) ** 2))
        # With this factor the squares of the Gaussians average to about 1 (e3nn's soft_one_hot_linspace).
        hidden = gaussians * (math.sqrt(self.centers.size(0)) / 1.12)
        hidden = hidden.expand(self.num_convs, -1, -1)
        scale = 1.0
        for weight in self.weights:
            hidden = nn.functional.silu(torch.bmm(hidden, weight * (scale / math.sqrt(weight.size(1)))))
            scale = SILU_SCALE
        return hidden * scale

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(max_radius={self.max_radius}, lmax={self.lmax}, "
            f"num_convs={self.num_convs}, number_of_basis={self.centers.size(0)}, radial_neurons={self.radial_neurons})"
        )


class PairEmbedding(ConstantsMixin):
    r"""Angular features of edges, and radial ones that are learned for each pair of elements.

    The angular part are the :class:`Harmonics` times a cutoff, which is the polynomial
    :math:`1 - 28 u^6 + 48 u^7 - 21 u^8` of :math:`u = r / r_{max}` (`Gasteiger et al. 2020
    <https://arxiv.org/abs/2003.03123>`_) and has two continuous derivatives. The radial part is a perceptron on

    .. math:: e^{-k r / a}, \quad a = 0.4\, r_{max}, \quad k = 1, \dots, K,

    each shifted and scaled to zero mean and unit variance over r from :math:`r_{max} / 8` to :math:`r_{max}`, with
    a bias for each ordered pair of elements in its first layer; one perceptron for each convolution. The overlap of two
    atoms, and with it their repulsion, falls about as an exponential of their distance, so that few frames also tell of
    contacts closer than most of theirs, where Bessel functions and Gaussians leave the perceptron free.

    Parameters
    ----------
    elements : int
        Number of elements.
    max_radius : float
        Radius of the cutoff, in the unit of the edge vectors.
    lmax : int
        Highest degree of the spherical harmonics.
    num_convs : int
        Number of convolutions that take their own radial features.
    number_of_basis : int
        Number K of exponentials.
    radial_layers, radial_neurons : int
        Number and width of the hidden layers of each perceptron.

    Shapes:
        - **input:** edge vectors :math:`(|\mathcal{E}|, 3)`, none of them zero, and numbers of pairs of elements
          :math:`(|\mathcal{E}|,)`, below the square of ``elements``
        - **output:** harmonics :math:`(|\mathcal{E}|, (l_{max}+1)^2)` and radial features
          :math:`(\text{num\_convs}, |\mathcal{E}|, \text{radial\_neurons})`
    """

    rates: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        elements: int,
        max_radius: float,
        lmax: int,
        num_convs: int,
        number_of_basis: int = 8,
        radial_layers: int = 2,
        radial_neurons: int = 32,
    ) -> None:
        super().__init__()
        if not max_radius > 0:
            raise ValueError(f"max_radius must be a positive length, got {max_radius}")
        self.max_radius, self.lmax = float(max_radius), lmax
        self.harmonics = Harmonics(lmax)
        widths = [number_of_basis] + [radial_neurons] * radial_layers
        self.weights = nn.ParameterList(torch.empty(num_convs, n, m) for n, m in itertools.pairwise(widths))
        self.pairs = nn.Parameter(torch.empty(num_convs, elements**2, radial_neurons))
        rates = torch.arange(1, number_of_basis + 1, dtype=torch.float64) * (2.5 / max_radius)
        spread = torch.exp(-rates * torch.linspace(max_radius / 8, max_radius, 200, dtype=torch.float64)[:, None])
        for name, value in (("rates", rates), ("mean", spread.mean(dim=0)), ("std", spread.std(dim=0))):
            self.register_constant(name, value, self.pairs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from the standard normal distribution (they are scaled in the forward pass)."""
        for weight in (*self.weights, self.pairs):
            nn.init.normal_(weight)

    def forward(self, edge_vec: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """Return the harmonics times the cutoff, and the radial features."""
        length = edge_vec.norm(dim=1, keepdim=True)
        u = (length / self.max_radius).clamp(max=1.0)
        cutoff = 1.0 + u**6 * (-28.0 + u * (48.0 - 21.0 * u))
        hidden = ((torch.exp(-self.rates * length) - self.mean) / self.std).expand(self.pairs.size(0), -1, -1)
        bias, scale = self.pairs.index_select(1, pair), 1.0
        for n, weight in enumerate(self.weights):
            hidden = torch.bmm(hidden, weight * (scale / math.sqrt(weight.size(1))))
            hidden = nn.functional.silu((hidden + bias) * 0.5**0.5 if n == 0 else hidden)
            scale = SILU_SCALE
        return self.harmonics(edge_vec / length, cutoff), hidden * scale


class Harmonics(ConstantsMixin):
    r"""Real spherical harmonics of unit vectors times a factor, in e3nn's basis, :math:`\|Y_l\|^2 = 2l+1`.

    :math:`Y_1 = \sqrt 3 v`, and :math:`Y_{l+1}` is the coupling of :math:`Y_l` with v.

    Parameters
    ----------
    lmax : int
        Highest degree.

    Shapes:
        - **input:** unit vectors :math:`(|\mathcal{E}|, 3)`, factors :math:`(|\mathcal{E}|, 1)`
        - **output:** :math:`(|\mathcal{E}|, (l_{max}+1)^2)`
    """

    def __init__(self, lmax: int) -> None:
        super().__init__()
        self.lmax = lmax
        for ell in range(1, lmax):
            self.register_constant(f"raise_{ell}", _raising(ell), torch.empty(0))

    def forward(self, unit: Tensor, factor: Tensor) -> Tensor:
        """Harmonics of all degrees, ascending."""
        harmonics = [factor]
        if self.lmax > 0:
            harmonics.append(math.sqrt(3.0) * factor * unit)
        for ell in range(1, self.lmax):
            product = (harmonics[-1].unsqueeze(2) * unit.unsqueeze(1)).flatten(1)
            harmonics.append(product @ cast(Tensor, getattr(self, f"raise_{ell}")))
        return torch.cat(harmonics, dim=1)


def edge_vectors(data: Data) -> Tensor:
    """Vectors ``[E, 3]`` from source to target, by ``edge_shift`` and ``cell`` where the data have both."""
    source, target = data.edge_index[0], data.edge_index[1]
    edge_vec = data.pos.index_select(0, target) - data.pos.index_select(0, source)
    if data.get("edge_shift") is None or data.get("cell") is None:
        return edge_vec
    shift = data.edge_shift.to(edge_vec)
    if data.batch is None:
        return edge_vec + shift @ data.cell.to(edge_vec).view(3, 3)
    cells = data.cell.to(edge_vec).view(-1, 3, 3).index_select(0, data.batch.index_select(0, source))
    return edge_vec + torch.bmm(shift.unsqueeze(1), cells).squeeze(1)


def _raising(ell: int) -> Tensor:
    """Matrix [(2l+1)·3, 2l+3] that takes Y_l(v) ⊗ v to Y_{l+1}(v) on the unit sphere, float64."""
    coupling = o3.wigner_3j(ell, 1, ell + 1, dtype=torch.float64)
    v = torch.tensor([[0.36, 0.48, 0.8]], dtype=torch.float64)
    lower, upper = (o3.spherical_harmonics(n, v, normalize=True, normalization="component")[0] for n in (ell, ell + 1))
    raised = torch.einsum("ijk,i,j->k", coupling, lower, v[0])
    return (coupling * (upper.dot(raised) / raised.dot(raised))).reshape(-1, 2 * ell + 3)
