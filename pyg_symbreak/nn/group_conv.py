"""Group convolution on points: one layer for tables, B-splines, perceptrons and relaxed weights."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import add_self_loops, remove_self_loops

from pyg_symbreak.groups import LieGroup, PointGroup, character_table
from pyg_symbreak.nn.constants import ConstantsMixin
from pyg_symbreak.nn.lifts import circle_splines, hat, pair_invariants, quadratic

__all__ = ["GroupConv"]

Kernel = Literal["table", "spline", "mlp"]
Spread = Literal["dense", "localized", "atrous"]
WIDTH, FUNCTIONS = 32, 16  # of the perceptron and of its output, as in LieConv
_TOL = 1e-6


class GroupConv(MessagePassing, ConstantsMixin):
    r"""Group convolution on points in the plane or in space, equivariant under translations and a group H.

    Features are functions on the group: :math:`x_i(h)` at node i and element h of H, a tensor
    :math:`(|\mathcal{V}|, |H|, C)` with elements in the order of ``group.matrices``. With :math:`r_i` the positions

    .. math::
        x'_i(h) = \underset{j \in \mathcal{N}(i) \cup \{i\}}{\mathrm{mean}} \sum_{h' \in H}
                  k\left(h^{-1}(r_j - r_i),\; h^{-1}h'\right) x_j(h')

    A motion g turns the features :math:`x_i(h)` to :math:`x_i(g^{-1}h)`, and the layer commutes with it for any kernel
    k. The first layer, ``lift=True``, takes features :math:`(|\mathcal{V}|, C)` that do not depend on h. :meth:`pool`
    makes invariant features of the last.

    The kernel is linear in weights, :math:`k(r, h) = \sum_m \varphi_m(r) W_m(h)`, with one of

    - ``"table"``: the G-CNN of `Cohen & Welling (2016) <https://arxiv.org/abs/1602.07576>`_. The table of weights has
      ``size`` offsets along each axis, between which it is interpolated linearly; on a lattice of the same spacing it
      is read as it stands;
    - ``"spline"``: quadratic cardinal B-splines about these offsets, which have continuous derivatives (`Bekkers, 2020
      <https://arxiv.org/abs/1909.12057>`_). With ``centers`` the dependence on h is one of B-splines as well, of
      :math:`\log(h_c^{-1}h)` about ``centers`` elements :math:`h_c` of a cyclic group;
    - ``"mlp"``: a perceptron, as in LieConv (`Finzi et al., 2020 <https://arxiv.org/abs/2002.12880>`_).

    *Lie groups.* With a :class:`~pyg_symbreak.groups.LieGroup` the group need not be finite: the perceptron takes the
    logarithm of :math:`v^{-1}u` of a pair of lifted points and what tells their orbits. Translations, rotations of the
    plane about the origin, scalings and these two together are exact, with one lift of each point (:math:`S = 1`). For
    :math:`SE(d)` each point is lifted to S random frames, :meth:`sample_lifts`, common to all layers of a network; the
    layer is equivariant exactly in points and frames together, and in the points alone up to an error that falls as
    :math:`1/\sqrt S`.

    *Relaxed* group convolution (`Wang et al., 2024 <https://arxiv.org/abs/2310.02299>`_) gives each element h a weight,
    :math:`k_h = \sum_l w_l(h) k_l`. They start at 1, where the layer is equivariant. Trained on data that K, a subgroup
    of H, leaves as they are, weights stay constant on the cosets Kh; :meth:`breaking_spectrum` tells which irreps of H
    they have.

    Parameters
    ----------
    in_channels, out_channels : int
    group : PointGroup or LieGroup
        H; a finite point group. With ``dim=2`` it acts on x and y, and C_n, C_nv and D_n of any n are the groups of the
        plane. Or a Lie group of matrices of size ``dim``, or ``dim + 1`` for those that act on (x, 1).
    radius : float
        Half of the width of the grid of offsets, in the unit of the positions: offsets run from ``-radius`` to
        ``radius`` along each axis. For perceptrons the unit of length.
    dim : 2 or 3
        Dimension of the positions.
    kernel : "table", "spline" or "mlp"
    size : int
        Number of offsets along each axis.
    centers : int, optional
        Number of B-splines on the group. Default: a weight for each element.
    spread : "dense", "localized" or "atrous"
        Centres all around, as wide as they are apart; or next to the identity, one step of the group wide; or all
        around and one step wide.
    lift : bool
        Whether the input is a feature of the points alone.
    relaxed : int
        Number of kernels with weights w_l(h); 0 for none.
    bias : bool
    **kwargs
        Of :class:`~torch_geometric.nn.MessagePassing`; ``aggr`` is "mean".

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, S, C_{in})`, with ``lift`` :math:`(|\mathcal{V}|, C_{in})`;
          edge indices :math:`(2, |\mathcal{E}|)`; positions :math:`(|\mathcal{V}|, d)`; lifts
          :math:`(|\mathcal{V}|, S, d, d)` *(SE(d) only)*. S is the order of a finite group
        - **output:** node features :math:`(|\mathcal{V}|, S, C_{out})`

    Raises
    ------
    ValueError
        The group does not act on ``dim`` dimensions, is continuous and no LieGroup, or does not go with the kernel.

    Examples
    --------
    >>> pos = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> edge_index = torch.tensor([[1, 2, 0, 0], [0, 0, 1, 2]])
    >>> lift = GroupConv(1, 8, PointGroup("C4"), radius=1.0, dim=2, lift=True)
    >>> conv = GroupConv(8, 5, PointGroup("C4"), radius=1.0, dim=2)
    >>> out = conv(lift(torch.ones(3, 1), edge_index, pos).relu(), edge_index, pos)
    >>> out.shape, conv.pool(out).shape
    (torch.Size([3, 4, 5]), torch.Size([3, 5]))
    """

    propagate: Callable[..., Tensor]
    elements: Tensor
    table: Tensor
    on_group: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        group: PointGroup | LieGroup,
        *,
        radius: float,
        dim: int = 3,
        kernel: Kernel = "table",
        size: int = 3,
        centers: int | None = None,
        spread: Spread = "dense",
        lift: bool = False,
        relaxed: int = 0,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("aggr", "mean")
        super().__init__(node_dim=0, **kwargs)
        if dim not in (2, 3):
            raise ValueError(f"dim must be 2 or 3, got {dim}")
        if not radius > 0 or size < 1:
            raise ValueError(f"radius must be a positive length and size at least 1, got {radius} and {size}")
        if kernel not in ("table", "spline", "mlp"):
            raise ValueError(f"kernel must be 'table', 'spline' or 'mlp', got {kernel!r}")
        self.in_channels, self.out_channels, self.group, self.dim = in_channels, out_channels, group, dim
        self.radius, self.kernel, self.size, self.lift = float(radius), kernel, size, lift
        self.centers, self.spread, self.relaxed = centers, spread, int(relaxed)
        if isinstance(group, LieGroup):
            inputs, blocks = self._plan_lie(group), 1
        else:
            inputs, blocks = dim, self._plan_finite(group)
        self.functions = FUNCTIONS if kernel == "mlp" else size**dim
        self.perceptron = _perceptron(inputs) if kernel == "mlp" else None
        shape = (max(self.relaxed, 1), self.functions, blocks, in_channels, out_channels)
        self.weight = nn.Parameter(torch.empty(shape))
        self.element_weight = nn.Parameter(torch.empty(self.relaxed, len(self.elements))) if self.relaxed else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def _plan_lie(self, group: LieGroup) -> int:
        """The invariants of pairs of lifts; returns their number."""
        if self.kernel != "mlp" or self.centers is not None:
            raise ValueError(f"kernels on {group} are perceptrons: use kernel='mlp' without centers")
        if self.relaxed:
            raise ValueError(f"relaxed weights belong to the elements of a finite group, not of {group}")
        self.invariants, number, self.is_sampled = pair_invariants(group, self.dim)
        return number

    def _plan_finite(self, group: PointGroup) -> int:
        """Elements, products, and functions on the group; returns the number of these functions."""
        if not group.is_finite:
            raise ValueError(f"{group.schoenflies} is continuous: give a finite subgroup, or a LieGroup")
        elements = torch.from_numpy(group.matrices)
        if self.dim == 2:
            off = elements[:, :2, 2].abs().max() + elements[:, 2, :2].abs().max()
            if off > _TOL or len(np.unique(np.round(group.matrices[:, :2, :2], 6) + 0.0, axis=0)) < len(elements):
                raise ValueError(
                    f"{group.schoenflies}, as oriented here, is no group of the plane of x and y: use C_n or C_nv "
                    "about z"
                )
            elements = elements[:, :2, :2]
        like = torch.empty(0)
        self.register_constant("elements", elements.clone(), like)
        self.register_buffer("table", torch.from_numpy(group.table.copy()), persistent=False)
        self.is_sampled = False
        if self.lift:
            if self.centers is not None:
                raise ValueError("a lifting layer has no dependence on the group to expand: leave centers out")
            return 1
        order = len(elements)
        if self.centers is None:
            self.register_constant("on_group", torch.eye(order, dtype=torch.float64), like)
            return order
        self._require_splines(group)
        turned = group.frame.T @ group.matrices @ group.frame
        angles = torch.from_numpy(np.arctan2(turned[:, 1, 0], turned[:, 0, 0]))
        self.register_constant("on_group", circle_splines(angles, self.centers, order, self.spread), like)
        return self.centers

    def _require_splines(self, group: PointGroup) -> None:
        assert self.centers is not None
        if self.kernel != "spline" or group.schoenflies != f"C{group.order}":
            raise ValueError(
                f"centers are those of B-splines on a cyclic group C_n (kernel='spline'), got {group.schoenflies} and "
                f"kernel={self.kernel!r}: without centers each element has a weight"
            )
        if self.spread not in ("dense", "localized", "atrous"):
            raise ValueError(f"spread must be 'dense', 'localized' or 'atrous', got {self.spread!r}")
        least = 3 if self.spread == "dense" else 1
        if not least <= self.centers <= group.order:
            raise ValueError(f"centers={self.centers} must lie between {least} and the {group.order} elements")

    def reset_parameters(self) -> None:
        """Draw the weights from a normal distribution; those of the elements are 1, biases 0."""
        super().reset_parameters()
        for module in self.perceptron or ():
            if isinstance(module, nn.Linear):
                module.reset_parameters()  # biases; weights below, larger, for functions that vary over the radius
                nn.init.kaiming_normal_(module.weight)
        functions = FUNCTIONS if self.kernel == "mlp" else 1  # splines add up to one
        nn.init.normal_(self.weight, std=(functions * self.weight.size(2) * self.in_channels) ** -0.5)
        if self.element_weight is not None:
            nn.init.ones_(self.element_weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edge_index: Tensor, pos: Tensor, lifts: Tensor | None = None) -> Tensor:
        """Convolve features on the points and the group."""
        x = self._checked(x, pos, lifts)
        edge_index = add_self_loops(remove_self_loops(edge_index)[0], num_nodes=x.size(0))[0]
        # propagate_type: (y: Tensor, functions: Tensor)
        out = self.propagate(edge_index, y=self._mixed(x), functions=self._functions(pos, edge_index, lifts))
        return out if self.bias is None else out + self.bias

    def message(self, y_j: Tensor, functions: Tensor) -> Tensor:
        """The kernel of each edge times what is at its source, [E, S, C]."""
        if functions.dim() == 3:
            return torch.einsum("esm,esmo->eso", functions, y_j.expand(-1, functions.size(1), -1, -1))
        return torch.einsum("estm,etmo->eso", functions, y_j) / functions.size(2)

    def _mixed(self, x: Tensor) -> Tensor:
        """The input [N, S, C_in] summed over elements with the weights of each function: [N, S, functions, C_out]."""
        if isinstance(self.group, LieGroup):
            return torch.einsum("ntc,mco->ntmo", x, self.weight[0, :, 0])
        # [N, S, functions on the group, C], of a lifting layer [N, 1, 1, C]
        parts = x[:, :, None] if self.lift else torch.einsum("nshc,hk->nskc", x[:, self.table], self.on_group)
        if self.element_weight is None:
            return torch.einsum("nskc,mkco->nsmo", parts, self.weight[0])
        return torch.einsum(
            "nslmo,ls->nsmo",
            torch.einsum("nskc,lmkco->nslmo", parts, self.weight).expand(-1, len(self.elements), -1, -1, -1),
            self.element_weight,
        )

    def _functions(self, pos: Tensor, edge_index: Tensor, lifts: Tensor | None) -> Tensor:
        """The functions of the offset, [E, S, functions], of lifted pairs [E, S, S, functions]."""
        if isinstance(self.group, LieGroup):
            assert self.perceptron is not None
            return self.perceptron(self.invariants(pos / self.radius, edge_index, lifts))
        offset = pos.index_select(0, edge_index[0]) - pos.index_select(0, edge_index[1])
        local = torch.einsum("sji,ej->esi", self.elements, offset)  # h⁻¹ = hᵀ
        if self.perceptron is not None:
            return self.perceptron(local / self.radius)
        spline = hat if self.kernel == "table" else quadratic
        spacing = 2 * self.radius / max(self.size - 1, 1)
        places = torch.arange(self.size, device=pos.device) - (self.size - 1) / 2
        along = spline(local[..., None] / spacing - places)  # [E, S, d, size]
        out = along[:, :, 0]
        for axis in range(1, self.dim):
            out = (out[..., None] * along[:, :, axis, None]).flatten(2)
        return out

    def sample_lifts(self, num_nodes: int, samples: int, generator: np.random.Generator | None = None) -> Tensor:
        """Random frames :math:`(|\\mathcal{V}|, S, d, d)` of each node, uniform over all rotations, for SE(d)."""
        if not self.is_sampled:
            raise ValueError(f"lifts to {self.group} are exact: none are to be drawn")
        drawn = LieGroup.rotations(self.dim).sample(num_nodes * samples, generator=generator)
        return torch.from_numpy(drawn).view(num_nodes, samples, self.dim, self.dim).to(self.weight)

    @staticmethod
    def pool(x: Tensor) -> Tensor:
        """Invariant features :math:`(|\\mathcal{V}|, C)`: the mean over the elements, or the lifts."""
        return x.mean(dim=1)

    def breaking_spectrum(self) -> dict[str, float]:
        r"""Size of each irrep of H in the weights of the elements, under Mulliken's names.

        That is :math:`\|\hat w(\rho)\|` with :math:`\hat w(\rho) = \sum_h w(h) \rho(h)`, over all kernels. Equal
        weights have the totally symmetric irrep alone, of size :math:`|H|` at the start; the others are broken.

        Examples
        --------
        >>> layer = GroupConv(1, 1, PointGroup("C4"), radius=1.0, dim=2, lift=True, relaxed=1)
        >>> cosines = layer.elements[:, 0, 0].round()  # 0 for the two quarter turns
        >>> layer.element_weight.data[0] += cosines.abs() - 0.5
        >>> {name: round(size, 3) + 0.0 for name, size in layer.breaking_spectrum().items()}
        {'A': 4.0, 'B': 2.0, 'E': 0.0}
        """
        if self.element_weight is None:
            raise ValueError("the layer has no weights of elements: make it with relaxed=1")
        assert isinstance(self.group, PointGroup)
        w = self.element_weight.detach().double().cpu().numpy()
        group, table = self.group.finite_group, character_table(self.group)
        class_of = np.zeros(group.order, dtype=np.int64)
        for number, members in enumerate(table.classes):
            class_of[members] = number
        quotients = class_of[group.table[:, group.inverse]]  # the class of g·h⁻¹
        characters = table.characters[:, class_of]
        # χ∗w is |H|/d times the part of w in the irrep, d being the dimension of each of its complex parts
        parts = np.einsum("igh,lh->ilg", table.characters[:, quotients], w)
        dims = characters[:, group.identity] / (characters**2).mean(1)
        sizes = np.sqrt(dims / group.order) * np.linalg.norm(parts, axis=(1, 2))
        return dict(zip(table.names, sizes.tolist(), strict=True))

    def _checked(self, x: Tensor, pos: Tensor, lifts: Tensor | None) -> Tensor:
        """The input as [N, S, C], or a ValueError."""
        count = x.size(0)
        if pos.shape != (count, self.dim):
            raise ValueError(f"pos has shape {list(pos.shape)}, expected [{count}, {self.dim}] for dim={self.dim}")
        samples = 1 if isinstance(self.group, LieGroup) else len(self.elements)
        if self.is_sampled:
            if lifts is None or lifts.dim() != 4 or (lifts.size(0), *lifts.shape[2:]) != (count, self.dim, self.dim):
                raise ValueError(
                    f"lifts to {self.group} are drawn at random and common to all layers: give lifts "
                    f"[{count}, S, {self.dim}, {self.dim}], see sample_lifts"
                )
            samples = lifts.size(1)
        elif lifts is not None:
            raise ValueError(f"lifts to {self.group} are exact: leave lifts out")
        expected = (count, self.in_channels) if self.lift else (count, samples, self.in_channels)
        if x.shape != expected:
            raise ValueError(f"x has shape {list(x.shape)}, expected {list(expected)} with lift={self.lift}")
        if not self.lift:
            return x
        return x[:, None].expand(-1, samples if isinstance(self.group, LieGroup) else 1, -1)

    def __repr__(self) -> str:
        group = self.group.schoenflies if isinstance(self.group, PointGroup) else self.group
        extra = f", centers={self.centers}, spread={self.spread!r}" if self.centers is not None else ""
        extra += f", relaxed={self.relaxed}" if self.relaxed else ""
        return (
            f"{self.__class__.__name__}({self.in_channels}, {self.out_channels}, {group}, dim={self.dim}, "
            f"kernel={self.kernel!r}, lift={self.lift}{extra})"
        )


def _perceptron(inputs: int) -> nn.Sequential:
    """Three layers, as in LieConv."""
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, FUNCTIONS)
    )
