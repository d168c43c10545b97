"""Equivariant convolution that takes a symmetry breaking object."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from pyg_symbreak.nn.constants import ConstantsMixin
from pyg_symbreak.nn.degrees import blocks_of, join_degrees, parities_of, split_by_degree
from pyg_symbreak.ops import (
    Columns,
    LinearBlocks,
    TensorProductPaths,
    block_linear,
    resolve_method,
    sum_tensor_products,
)

__all__ = ["BreakingConv", "with_object"]

# Shares of the self-connection and of the neighbours in the output, sin(π/8)² + cos(π/8)² = 1.
SELF_SHARE, NEIGHBOR_SHARE = math.sin(math.pi / 8), math.cos(math.pi / 8)

# Channels of one parity from which on they have matrices and sums of their own.
LONG_RUN = 16


class BreakingConv(MessagePassing, ConstantsMixin):
    r"""Equivariant convolution over irreps with a symmetry breaking object as an extra node feature.

    With :math:`x_i` the features of node :math:`i`, its object included, and :math:`Y` the spherical
    harmonics of the edge from :math:`j` to :math:`i`

    .. math::
        x'_i = \sin\tfrac{\pi}{8} W_0 x_i + \cos\tfrac{\pi}{8} W_2
               \sum_{j \in \mathcal{N}(i)} w(r_{ij}) \odot \left( W_1 x_j \otimes Y(\vec r_{ij}) / n_i \right)

    where :math:`W_0, W_1, W_2` mix channels of one irrep, the tensor product keeps every path (degree and
    parity of the input, degree of the harmonics, degree of the output) apart, and the weights :math:`w`, one
    for each channel and path, are linear in the radial features of the edge. The harmonics :math:`Y^l` are divided by
    the number of neighbours that node i really has, each counted as its cutoff :math:`f_{ij} = Y^0(\vec r_{ij})` says,

    .. math::
        n_i^0 = 1 + \sum_{j \in \mathcal{N}(i)} f_{ij}, \qquad
        n_i^l = \Big( 1 + \sum_{j \in \mathcal{N}(i)} f_{ij}^2 \Big)^{1/2} \quad (l > 0),

    since what all neighbours have in common adds up as their number does, and directions as its root. Up to this
    factor, which depends smoothly on the positions, it is the convolution of ``e3nn.nn.models.gate_points_2102`` with
    the same paths and the same number of weights. It is equivariant jointly in the features and the object.

    Features lie as one tensor for each degree, both parities side by side: contracted with the harmonics, the
    Clebsch–Gordan coefficients give for each edge and degree of the input one matrix, common to all channels. On the
    CPU, and with Triton on CUDA, in float32 and float64, the sum over neighbours is one compiled operation
    (:func:`~pyg_symbreak.ops.sum_tensor_products`) that stores neither messages nor weights. On other devices, in other
    precisions, under a PyG explainer, with another ``aggr``, and after ``conv.fuse = False`` it is that of messages.

    Parameters
    ----------
    irreps_in, irreps_out : str or e3nn.o3.Irreps
        Irreps of the node features and of the output.
    irreps_breaking : str or e3nn.o3.Irreps, optional
        Irreps of the object.
    lmax : int
        Highest degree of the spherical harmonics.
    edge_features : int
        Number of radial features of an edge.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, D_{in})`, edge indices :math:`(2, |\mathcal{E}|)`,
          harmonics :math:`(|\mathcal{E}|, (l_{max}+1)^2)`, radial features :math:`(|\mathcal{E}|, F)` (both
          from :class:`EdgeEmbedding`), object :math:`(|\mathcal{V}|, D_{breaking})` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}|, D_{out})`
    """

    propagate: Callable[..., Tensor]
    scale: Tensor
    coupling: Tensor
    place: Tensor
    channel: Tensor
    kept: Tensor
    runs: Tensor
    coupled: Tensor

    def __init__(
        self,
        irreps_in: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        irreps_breaking: str | o3.Irreps | None = None,
        lmax: int = 4,
        edge_features: int = 16,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("aggr", "add")
        super().__init__(**kwargs)
        irreps_in, irreps_out = o3.Irreps(irreps_in), o3.Irreps(irreps_out)
        object_irreps = o3.Irreps(irreps_breaking or "")
        self.irreps_in, self.irreps_out = str(irreps_in), str(irreps_out)
        self.irreps_breaking = str(object_irreps)
        self.dim_in, self.dim_breaking = irreps_in.dim, object_irreps.dim
        # PyG's switch between messages and one operation.
        self.fuse = self.aggr == "add" and type(self).message is BreakingConv.message
        self.lmax = lmax
        self.blocks_in, self.blocks_out = blocks_of(irreps_in + object_irreps), blocks_of(irreps_out)
        self._plan(parities_of(irreps_in + object_irreps), parities_of(irreps_out))
        self.radial_weight = nn.Parameter(torch.empty(self.num_radial, edge_features))
        self.weight = nn.Parameter(torch.empty(self.num_linear))
        self.reset_parameters()

    def _plan(self, channels_in: dict[int, list[int]], channels_out: dict[int, list[int]]) -> None:
        """Lay out paths and weights: all that the forward pass needs, as integers and constant tensors."""
        # Paths l_in ⊗ l_edge → l_out, for each l_in sorted by l_out.
        self.degrees_in = tuple((ell, len(p)) for ell, p in channels_in.items())
        self.paths: list[list[list[int]]] = [
            [
                [
                    l_edge
                    for l_edge in range(abs(l_in - l_out), min(self.lmax, l_in + l_out) + 1)
                    if any(p * (-1) ** l_edge in parities_out for p in parities_in)
                ]
                for l_out, parities_out in channels_out.items()
            ]
            for l_in, parities_in in channels_in.items()
        ]
        # Rows of each edge's coupling matrix, (l_out, m_out, path).
        self.rows = [
            sum((2 * l_out + 1) * len(p) for l_out, p in zip(channels_out, paths_in, strict=True))
            for paths_in in self.paths
        ]
        # Matrices for each parity where that leaves runs of channels long enough for the vectors of a processor.
        counts = [Counter(parities).values() for parities in channels_in.values()]
        self.apart = all(min(c) >= LONG_RUN for c in counts if len(c) > 1)
        # Sums for W_2: a block [N, 2l+1, channels] for each irrep or for both parities of a degree; scalars apart.
        sums: Counter[tuple[int, int]] = Counter()
        for (l_out, parities_out), paths_to in zip(channels_out.items(), zip(*self.paths, strict=True), strict=True):
            sums.update(dict.fromkeys(sorted({self._block(l_out, p) for p in parities_out}, reverse=True), 0))
            for parities_in, paths in zip(channels_in.values(), paths_to, strict=True):
                for l_edge in paths:
                    reached = [p * (-1) ** l_edge for p in parities_in if p * (-1) ** l_edge in parities_out]
                    sums.update(self._block(l_out, p) for p in reached)
        self._plan_tensor_product(channels_in, channels_out, _Layout(dict(sums)))
        self._plan_linear(channels_in, channels_out, _Layout(dict(sums)))

    def _block(self, ell: int, parity: int) -> tuple[int, int]:
        """The irrep whose matrices are apart, or (l, 0) for both parities."""
        return (ell, parity) if self.apart or ell == 0 else (ell, 0)

    def _plan_tensor_product(
        self, channels_in: dict[int, list[int]], channels_out: dict[int, list[int]], sums: "_Layout"
    ) -> None:
        couplings, indices, runs, self.num_radial = [], [], [], 0
        features = _Layout({(ell, 0): len(parities) for ell, parities in channels_in.items()})
        # Of the columns of messages, those that are summed, in the order of the sums.
        kept, filled = torch.zeros(sums.dim, dtype=torch.long), dict.fromkeys(sums.channels, 0)
        coupling_at = out_at = 0
        for (l_in, parities_in), paths_in in zip(channels_in.items(), self.paths, strict=True):
            channels, d_in = len(parities_in), 2 * l_in + 1
            for (l_out, parities_out), paths in zip(channels_out.items(), paths_in, strict=True):
                d_out = 2 * l_out + 1
                block = torch.zeros((self.lmax + 1) ** 2, d_out, len(paths), d_in, dtype=torch.float64)
                index = torch.zeros(len(paths), channels, dtype=torch.long)
                for n, l_edge in enumerate(paths):
                    w3j = o3.wigner_3j(l_edge, l_out, l_in, dtype=torch.float64)
                    block[l_edge**2 : (l_edge + 1) ** 2, :, n] = math.sqrt(2 * l_out + 1) * w3j
                    # A channel of the wrong parity has no weight of its own: W_2 does not read it.
                    live = {
                        u: p * (-1) ** l_edge for u, p in enumerate(parities_in) if p * (-1) ** l_edge in parities_out
                    }
                    index[n, list(live)] = torch.arange(self.num_radial, self.num_radial + len(live))
                    self.num_radial += len(live)
                    for out in {self._block(l_out, p): None for p in live.values()}:
                        alike = [u for u, p in live.items() if self._block(l_out, p) == out]
                        for at, run in _runs(alike):
                            feature, weight = features.place((l_in, 0), alike[at]), int(index[n, alike[at]])
                            coupling = coupling_at + n * d_in, len(paths) * d_in
                            result = sums.place(out, filled[out] + at)
                            runs.append([d_in, d_out, run, *feature, weight, *coupling, *result])
                        row = (torch.arange(d_out)[:, None] * len(paths) + n) * channels
                        kept[sums.columns(out, filled[out], len(alike))] = out_at + row + torch.tensor(alike)
                        filled[out] += len(alike)
                couplings.append(block.flatten(1))
                indices.append(index.expand(d_out, -1, -1).flatten())
                coupling_at += couplings[-1].size(1)
                out_at += indices[-1].size(0)
        self.register_constant("coupling", torch.cat(couplings, dim=1), torch.empty(0))
        self.register_buffer("channel", torch.cat(indices), persistent=False)
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("runs", torch.tensor(runs, dtype=torch.long).view(-1, 14), persistent=False)
        self.register_buffer("coupled", torch.cat(couplings, dim=1).nonzero(), persistent=False)
        self.widths_in, self.widths_sums = features.widths, sums.widths

    def _plan_linear(
        self, channels_in: dict[int, list[int]], channels_out: dict[int, list[int]], sums: "_Layout"
    ) -> None:
        """The blocks of the matrices, and where the weights are in them.

        Weights are numbered by rows, parities side by side, through W_1 and W_0 of each degree of the input and then
        W_2 of each degree of the output. Their scale is 1/√(number of inputs).
        """
        self.num_linear, self.num_invariant = 0, sums.channels.get((0, 1), 0)
        self.with_self = [n for n, (ell, _) in enumerate(self.degrees_in) if ell in channels_out]
        features = _Layout({(ell, 0): len(parities) for ell, parities in channels_in.items()})
        mixing, joining, scales = _Blocks(), _Blocks(), []

        def numbered(mask: Tensor, scale: Tensor) -> Tensor:
            """Number of each weight of a matrix, -1 where there is none."""
            numbers = torch.where(mask, (mask.flatten().cumsum(0) - 1 + self.num_linear).view_as(mask), -1)
            self.num_linear += int(mask.sum())
            scales.append(scale[mask])
            return numbers

        for n_in, (ell, parities) in enumerate(channels_in.items()):
            parities_out = channels_out.get(ell, [])
            p_in, p_out = torch.tensor(parities), torch.tensor(parities_out)
            masks = _same_parity(p_in, p_in), _same_parity(p_in, p_out)
            scale = torch.cat([_normalized(masks[0]), SELF_SHARE * _normalized(masks[1])], dim=1)
            to_message, to_output = numbered(torch.cat(masks, dim=1), scale).split(
                [len(parities), len(parities_out)], 1
            )
            for block in dict.fromkeys(self._block(ell, p) for p in parities):
                rows = [u for u, p in enumerate(parities) if self._block(ell, p) == block]
                source = _columns(n_in, 0, ell, rows, len(parities))
                mixing.add(
                    source, _columns(0, features.at[ell, 0], ell, rows, len(parities)), to_message[rows][:, rows]
                )
                columns = [u for u, p in enumerate(parities_out) if self._block(ell, p) == block]
                if columns:
                    source = _columns(2 + self.with_self.index(n_in), 0, ell, rows, len(parities))
                    target = _columns(list(channels_out).index(ell), 0, ell, columns, len(parities_out))
                    joining.add(source, target, to_output[rows][:, columns])
        for n_out, (ell, parities) in enumerate(channels_out.items()):
            p_out = torch.tensor(parities)
            p_mid = torch.tensor(
                [
                    p * (-1) ** l_edge
                    for parities_in, paths in zip(channels_in.values(), self.paths, strict=True)
                    for l_edge in paths[n_out]
                    for p in parities_in
                ]
            )
            has_self = _same_parity(torch.tensor(channels_in.get(ell, [])), p_out).any(dim=0)
            reached = _same_parity(p_mid, p_out)
            if not (has_self | reached.any(dim=0)).all():
                given = f"{self.irreps_in} and the object {self.irreps_breaking or 'none'}"
                raise ValueError(
                    f"irreps_out {self.irreps_out} has an irrep of degree {ell} that no path reaches from {given} with "
                    f"harmonics up to lmax={self.lmax}: it would be zero. Remove it, or give features that reach it"
                )
            numbers = numbered(reached, _normalized(reached) * torch.where(has_self, NEIGHBOR_SHARE, 1.0))
            for block in dict.fromkeys(self._block(ell, p) for p in parities):
                if not sums.channels[block]:
                    continue
                rows = [u for u, p in enumerate(p_mid.tolist()) if p in parities and self._block(ell, p) == block]
                columns = [u for u, p in enumerate(parities) if self._block(ell, p) == block]
                tensor, skipped = (0, 0) if block == (0, 1) else (1, self.num_invariant)
                source = _columns(tensor, sums.at[block] - skipped, ell, list(range(len(rows))), len(rows))
                joining.add(source, _columns(n_out, 0, ell, columns, len(parities)), numbers[rows][:, columns])
        self.mixing = LinearBlocks(tuple(mixing.sources), tuple(mixing.targets), ((features.dim,),))
        shapes = tuple((1, 2 * ell + 1, len(parities)) for ell, parities in channels_out.items())
        self.joining = LinearBlocks(tuple(joining.sources), tuple(joining.targets), shapes)
        self.register_constant("scale", torch.cat(scales), torch.empty(0))
        self.sizes = [sum(t.numel() for t in blocks.numbers) for blocks in (mixing, joining)]
        numbers = torch.cat(mixing.numbers + joining.numbers)
        where = (numbers >= 0).nonzero().flatten()
        self.register_buffer("place", where[numbers[where].argsort()], persistent=False)

    def reset_parameters(self) -> None:
        """Draw all weights from the standard normal distribution (they are scaled in the forward pass)."""
        super().reset_parameters()
        nn.init.normal_(self.radial_weight)
        nn.init.normal_(self.weight)

    def forward(
        self, x: Tensor, edge_index: Tensor, harmonics: Tensor, radial: Tensor, breaking: Tensor | None = None
    ) -> Tensor:
        """Convolve features in e3nn's layout."""
        x = with_object(x, breaking, self.dim_in, self.dim_breaking)
        features = split_by_degree(x, self.blocks_in)
        harmonics = per_neighbor(harmonics, edge_index[1], x.size(0))
        return join_degrees(self.convolve(features, edge_index, harmonics, radial), self.blocks_out)

    def convolve(
        self,
        features: Sequence[Tensor],
        edge_index: Tensor,
        harmonics: Tensor,
        radial: Tensor,
        floor: float | None = None,
    ) -> list[Tensor]:
        """Convolve features given, and returned, as one tensor ``[N, 2l+1, channels]`` for each degree.

        The harmonics are those that :func:`per_neighbor` has divided. With a ``floor`` the invariant sums over the
        neighbours, of which W_2 makes the even scalars, are divided by the root of their mean square over the channels
        of a node plus ``floor``.
        """
        num_nodes = features[0].size(0)
        dense = self.weight.new_zeros(sum(self.sizes)).index_copy(0, self.place, self.weight * self.scale)
        mixing, joining = dense.split(self.sizes)
        (x,) = block_linear(mixing, features, self.mixing, num_nodes)
        # propagate_type: (x: Tensor, harmonics: Tensor, radial: Tensor)
        if self.fuse and not self.explain and _is_compiled_for(x, harmonics, radial):
            plan = TensorProductPaths(self.runs, self.coupled, sum(self.widths_in), sum(self.widths_sums))
            source, target = edge_index
            radial_weight = self.radial_weight * self.radial_weight.size(1) ** -0.5
            summed = sum_tensor_products(x, harmonics, radial, radial_weight, source, target, self.coupling, plan)
        else:
            blocks = x.split([num_nodes * width for width in self.widths_in])
            rows = torch.cat([block.view(num_nodes, -1) for block in blocks], dim=1)
            rows = self.propagate(edge_index, x=rows, harmonics=harmonics, radial=radial).index_select(1, self.kept)
            summed = torch.cat([block.flatten() for block in rows.split(self.widths_sums, dim=1)])
        num_invariant = num_nodes * self.num_invariant
        invariant, others = summed.split([num_invariant, summed.size(0) - num_invariant])
        if floor is not None and self.num_invariant:
            invariant = invariant.view(num_nodes, self.num_invariant)
            invariant = invariant * (invariant.square().mean(dim=1, keepdim=True) + floor).rsqrt()
        return block_linear(
            joining, [invariant, others, *(features[n] for n in self.with_self)], self.joining, num_nodes
        )

    def message(self, x_j: Tensor, harmonics: Tensor, radial: Tensor) -> Tensor:
        """Weighted tensor product of the sources' features with the harmonics, all paths side by side."""
        num_edges = x_j.size(0)
        sizes = [rows * (2 * ell + 1) for rows, (ell, _) in zip(self.rows, self.degrees_in, strict=True)]
        couplings = (harmonics @ self.coupling).split(sizes, dim=1)
        features = x_j.split([channels * (2 * ell + 1) for ell, channels in self.degrees_in], dim=1)
        products = []
        for rows, (ell, channels), c, f in zip(self.rows, self.degrees_in, couplings, features, strict=True):
            coupling, feature = c.view(num_edges, rows, 2 * ell + 1), f.view(num_edges, 2 * ell + 1, channels)
            # The product of a column and a row is much faster elementwise.
            product = coupling * feature if ell == 0 else torch.bmm(coupling, feature)
            products.append(product.flatten(1))
        weight = (self.radial_weight * self.radial_weight.size(1) ** -0.5).index_select(0, self.channel)
        return torch.cat(products, dim=1) * (radial @ weight.t())

    def __repr__(self) -> str:
        extra = f", irreps_breaking={self.irreps_breaking}" if self.irreps_breaking else ""
        return f"{self.__class__.__name__}({self.irreps_in}, {self.irreps_out}{extra}, lmax={self.lmax})"


def per_neighbor(harmonics: Tensor, target: Tensor, num_nodes: int) -> Tensor:
    """Divide the harmonics ``[E, (lmax+1)²]`` by the numbers of neighbours of their targets, see BreakingConv."""
    cutoff = harmonics[:, 0]
    counts = harmonics.new_ones(num_nodes, 2).index_add(0, target, torch.stack([cutoff, cutoff.square()], dim=1))
    scales = torch.cat([counts[:, :1].reciprocal(), counts[:, 1:].rsqrt()], dim=1).index_select(0, target)
    return torch.cat([harmonics[:, :1] * scales[:, :1], harmonics[:, 1:] * scales[:, 1:]], dim=1)


def with_object(x: Tensor, breaking: Tensor | None, dim_in: int, dim_breaking: int) -> Tensor:
    """Append the node-level object to the node features."""
    if x.dim() != 2 or x.size(1) != dim_in:
        raise ValueError(f"node features x have shape {tuple(x.shape)}, expected [N, {dim_in}] as irreps_in says")
    if breaking is None:
        if dim_breaking:
            raise ValueError(
                f"no object breaking was given: expected [{x.size(0)}, {dim_breaking}], zeros break nothing"
            )
        return x
    if breaking.shape != (x.size(0), dim_breaking):
        raise ValueError(
            f"the object breaking has shape {tuple(breaking.shape)}, expected [{x.size(0)}, {dim_breaking}]: "
            "one row for each node and the width of irreps_breaking"
        )
    return torch.cat([x, breaking.to(x.dtype)], dim=1)


def _is_compiled_for(x: Tensor, *others: Tensor) -> bool:
    is_known = x.is_cpu or resolve_method("auto", x.device) == "triton"
    return is_known and x.dtype in (torch.float32, torch.float64) and all(t.dtype == x.dtype for t in others)


class _Layout:
    """Where channels lie: a block [N, 2l+1, channels] for each irrep (l, p), p = 0 for both, block after block."""

    def __init__(self, channels: dict[tuple[int, int], int]) -> None:
        self.channels = channels
        self.widths = [(2 * ell + 1) * n for (ell, _), n in channels.items()]
        self.dim = sum(self.widths)
        self.at = dict(zip(channels, itertools.accumulate(self.widths, initial=0), strict=False))

    def place(self, block: tuple[int, int], first: int) -> tuple[int, int, int, int]:
        """Block, its width, a column in it, and the step from one m to the next, see TensorProductPaths."""
        n = self.channels[block]
        return self.at[block], (2 * block[0] + 1) * n, first, n

    def columns(self, block: tuple[int, int], first: int, count: int) -> Tensor:
        """Where [2l+1, count] numbers are in rows of all blocks side by side."""
        m = torch.arange(2 * block[0] + 1)[:, None]
        return self.at[block] + m * self.channels[block] + torch.arange(first, first + count)


class _Blocks:
    """Blocks of matrices, and the numbers of their weights, -1 for zeros."""

    def __init__(self) -> None:
        self.sources: list[Columns] = []
        self.targets: list[Columns] = []
        self.numbers: list[Tensor] = []

    def add(self, sources: list[Columns], targets: list[Columns], numbers: Tensor) -> None:
        """Add a matrix; its rows are side by side in the sources, its columns in the targets."""
        for rows, source in zip(numbers.split([c.size for c in sources]), sources, strict=True):
            for part, target in zip(rows.split([c.size for c in targets], dim=1), targets, strict=True):
                self.sources.append(source)
                self.targets.append(target)
                self.numbers.append(part.flatten())


def _columns(tensor: int, at: int, ell: int, channels: list[int], width: int) -> list[Columns]:
    """Some channels of a block [N, 2l+1, width]."""
    return [Columns(tensor, at, 2 * ell + 1, width, channels[n], count) for n, count in _runs(channels)]


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Where runs of consecutive numbers begin, and their lengths."""
    starts = [n for n, number in enumerate(numbers) if n == 0 or numbers[n - 1] != number - 1]
    return [(a, b - a) for a, b in itertools.pairwise([*starts, len(numbers)])]


def _same_parity(p_in: Tensor, p_out: Tensor) -> Tensor:
    return p_in[:, None] == p_out[None, :]


def _normalized(mask: Tensor) -> Tensor:
    """Columns of ``mask``, float64, divided by the root of their number of ones."""
    return mask.double() / mask.sum(dim=0).clamp(min=1).sqrt()
