"""Gated equivariant network with a symmetry breaking object."""

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from pyg_symbreak.nn.activation import SIGMOID_SCALE, SILU_SCALE, TANH_SCALE
from pyg_symbreak.nn.breaking_conv import BreakingConv, per_neighbor, with_object
from pyg_symbreak.nn.degrees import blocks_of, join_degrees, split_by_degree
from pyg_symbreak.nn.edge_embedding import EdgeEmbedding, edge_vectors
from pyg_symbreak.nn.node_object import NodeObject

__all__ = ["Gate", "GatedNetwork", "reachable"]

NORM_FLOOR = 0.03
INVARIANT_FLOOR = 0.001
HIDDEN = "16x0e+16x0o+8x1e+8x1o+4x2e+4x2o"


class GatedNetwork(nn.Module):
    r"""Gated equivariant message passing network that takes a symmetry breaking object.

    ``layers`` times a :class:`BreakingConv` and a gate, then one convolution more to the output. The gate
    passes even scalars through SiLU and odd ones through tanh, which being odd keeps their parity, and
    multiplies each irrep of higher degree by the sigmoid of an even scalar of its own (by the tanh of an odd
    one where no even scalar can be formed). Hidden irreps that a layer cannot reach from its input are left
    out. With the default arguments this is the network of the experiments of Xie & Smidt (TMLR 2024), which
    they built from ``e3nn.nn.models.gate_points_2102``, but for three things that keep the output of an untrained
    network near 1 whatever the neighbours are: a convolution counts those that there are; the invariant sums
    :math:`s_i` over the neighbours of node i, of which it makes even scalars, are divided by
    :math:`(\overline{s_i^2} + 0.001)^{1/2}`, the mean being over channels, since shells of neighbours cancel and some
    sums vanish by the symmetry of the site; and the features :math:`h_i^l` of degree l that leave a gate are divided
    by :math:`(\overline{(h_i^l)^2} + 0.03)^{1/2}`, the mean being over channels and components. All are smooth and
    act on one node and its neighbours alone. They hide how dense the neighbours are, which energies depend on: for
    these take :class:`Potential`.

    ``torch.compile`` takes from 13 s to minutes on a CPU and a sixth to a quarter off the time of a step: it pays from
    some thousand steps (``benchmarks/training_options.py``).

    The network is equivariant jointly in the input and the object. A network without ``irreps_breaking``, or with
    zeros as the object, is equivariant in the input alone, and its output at least as symmetric as the input.

    Parameters
    ----------
    irreps_in, irreps_out : str or e3nn.o3.Irreps
        Irreps of the node features ``x`` and of the output on the nodes (``""`` for none).
    irreps_breaking : str or e3nn.o3.Irreps, optional
        Irreps of the object ``breaking``.
    irreps_graph_out : str or e3nn.o3.Irreps, optional
        Irreps of an output for the whole graph, the mean over its nodes.
    max_radius : float
        Radius of the cutoff, in the unit of the positions.
    hidden : str or e3nn.o3.Irreps
        Hidden irreps.
    lmax : int
        Highest degree of the spherical harmonics of the edges.
    layers : int
        Number of gated layers.
    object_degree : int
        The object enters with its :class:`SymmetricPowers` up to this degree. On sites with inversion symmetry the
        sum over neighbours of an odd function vanishes, so that no gate sees an odd object: at degree 1, which is
        the network of the paper, the output is then linear in it, and a strain cannot depend on it at all. An
        object of several irreps whose product it takes to break the symmetry, such as ``0o+1o`` to keep C3 of D3h,
        needs degree 2.
    number_of_basis, radial_layers, radial_neurons : int
        Number of Gaussians, and number and width of the hidden layers of the radial perceptrons.

    Shapes:
        - **input:** a :class:`~torch_geometric.data.Data` or batch with node features ``x``
          :math:`(|\mathcal{V}|, D_{in})`, positions ``pos`` :math:`(|\mathcal{V}|, 3)`, ``edge_index``
          :math:`(2, |\mathcal{E}|)`, and *(optional)* ``edge_shift`` :math:`(|\mathcal{E}|, 3)` with ``cell``
          :math:`(B, 3, 3)`, and ``breaking`` :math:`(B, D_{breaking})` or
          :math:`(|\mathcal{V}|, D_{breaking})`
        - **output:** node output :math:`(|\mathcal{V}|, D_{out})`; with ``irreps_graph_out`` the pair of
          it and the graph output :math:`(B, D_{graph})`

    Raises
    ------
    ValueError
        The data lacks an attribute, the object among them, or one has another width or dtype than the network; or, in
        the first batch, a structure was turned and its object was not.
    """

    def __init__(
        self,
        irreps_in: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        irreps_breaking: str | o3.Irreps | None = None,
        irreps_graph_out: str | o3.Irreps | None = None,
        *,
        max_radius: float,
        hidden: str | o3.Irreps = HIDDEN,
        lmax: int = 4,
        layers: int = 3,
        object_degree: int = 1,
        number_of_basis: int = 10,
        radial_layers: int = 3,
        radial_neurons: int = 16,
    ) -> None:
        super().__init__()
        irreps_in, irreps_out = o3.Irreps(irreps_in), o3.Irreps(irreps_out)
        object_irreps = o3.Irreps(irreps_breaking or "")
        graph_irreps = o3.Irreps(irreps_graph_out or "")
        self.irreps_in, self.irreps_out = str(irreps_in), str(irreps_out)
        self.irreps_breaking, self.irreps_graph_out = str(object_irreps), str(graph_irreps)
        self.object = NodeObject(object_irreps, object_degree, lmax)
        object_irreps = o3.Irreps(self.object.irreps_out)
        self.dim_in, self.dim_out, self.dim_powers = irreps_in.dim, irreps_out.dim, object_irreps.dim
        self.dim_graph_out = graph_irreps.dim
        self.blocks_in = blocks_of(irreps_in + object_irreps)
        self.blocks_out = blocks_of(irreps_out + graph_irreps)

        self.edges = EdgeEmbedding(max_radius, lmax, layers + 1, number_of_basis, radial_layers, radial_neurons)
        self.convs, self.gates = nn.ModuleList(), nn.ModuleList()
        irreps = irreps_in + object_irreps
        for _ in range(layers):
            gate = Gate(reachable(irreps, o3.Irreps(hidden), lmax), even_gates=_reaches(irreps, o3.Irrep("0e"), lmax))
            self.convs.append(BreakingConv(irreps, gate.irreps_in, None, lmax, radial_neurons))
            self.gates.append(gate)
            irreps = o3.Irreps(gate.irreps_out)
        self.convs.append(BreakingConv(irreps, irreps_out + graph_irreps, None, lmax, radial_neurons))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.edges.reset_parameters()
        for conv in self.convs:
            assert isinstance(conv, BreakingConv)
            conv.reset_parameters()

    def forward(self, data: Data) -> Tensor | tuple[Tensor, Tensor]:
        """Evaluate the network on a graph or a batch of graphs."""
        missing = [key for key in ("x", "pos", "edge_index") if data.get(key) is None]
        if missing:
            raise ValueError(f"data lacks {', '.join(missing)}: the network reads node features, positions and edges")
        dtype = self.edges.centers.dtype
        for key in ("x", "pos"):
            if data[key].dtype != dtype:
                raise ValueError(
                    f"data.{key} is {data[key].dtype}, the network {dtype}: convert the data, or the network by "
                    "model.double() or model.float()"
                )
        x = with_object(data.x, self.object(data), self.dim_in, self.dim_powers)
        out = self.network(x, data.edge_index, edge_vectors(data))
        if not self.dim_graph_out:
            return out
        node_out, graph_out = out.split([self.dim_out, self.dim_graph_out], dim=1)
        if data.batch is None:
            return node_out, graph_out.mean(dim=0, keepdim=True)
        return node_out, scatter(graph_out, data.batch, dim=0, dim_size=data.num_graphs, reduce="mean")

    def network(self, x: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Evaluate on tensors: features with the object appended, edges, and their vectors."""
        harmonics, radial_features = self.edges(edge_vec)
        harmonics = per_neighbor(harmonics, edge_index[1], x.size(0))
        radial = radial_features.unbind(0)
        features: Sequence[Tensor] = split_by_degree(x, self.blocks_in)
        for n, conv in enumerate(self.convs):
            assert isinstance(conv, BreakingConv)
            features = conv.convolve(features, edge_index, harmonics, radial[n], INVARIANT_FLOOR)
            if n < len(self.gates):
                features = [_normalized(f) for f in self.gates[n](features)]
        return join_degrees(features, self.blocks_out)

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.irreps_in}, {self.irreps_out}, "
            f"irreps_breaking={self.irreps_breaking}, "
            f"irreps_graph_out={self.irreps_graph_out}, layers={len(self.gates)}, lmax={self.edges.lmax}, "
            f"max_radius={self.edges.max_radius})"
        )


class Gate(nn.Module):
    """Nonlinearity on features sorted by degree, see :class:`GatedNetwork`.

    Degree 0 of the input holds the even scalars, the gates, and the odd scalars. A factor makes the second moment of
    each activation 1 on standard normal input.
    """

    def __init__(self, irreps: o3.Irreps, even_gates: bool) -> None:
        super().__init__()
        even, odd = irreps.count("0e"), irreps.count("0o")
        gated = o3.Irreps([(mul, ir) for mul, ir in irreps if ir.l > 0]).sort().irreps
        gates = f"{gated.num_irreps}x0{'e' if even_gates else 'o'}"
        self.irreps_in = str(o3.Irreps(f"{even}x0e+{gates}+{odd}x0o") + gated)
        sign = 1 if even_gates else -1  # an odd gate turns the parity of what it multiplies
        gated_out = o3.Irreps([(mul, (ir.l, sign * ir.p)) for mul, ir in gated])
        self.irreps_out = str(o3.Irreps(f"{even}x0e+{odd}x0o") + gated_out)
        self.even_gates = even_gates
        self.scalars = (even, gated.num_irreps, odd)
        self.channels = [sum(mul for mul, ir in gated if ir.l == ell) for ell in sorted({ir.l for _, ir in gated})]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map one tensor ``[N, 2l+1, channels]`` for each degree, ascending, to the same."""
        even, gates, odd = features[0].split(self.scalars, dim=2)
        gates = gates.sigmoid() * SIGMOID_SCALE if self.even_gates else gates.tanh() * TANH_SCALE
        gated = [f * g for f, g in zip(features[1:], gates.split(self.channels, dim=2), strict=True)]
        scalars = torch.cat([nn.functional.silu(even) * SILU_SCALE, odd.tanh() * TANH_SCALE], dim=2)
        return [scalars, *gated] if scalars.size(2) else gated


def _normalized(features: Tensor) -> Tensor:
    """Scale ``[N, 2l+1, channels]`` to a mean square of about 1 at each node, see :class:`GatedNetwork`."""
    return features * (features.square().mean(dim=(1, 2), keepdim=True) + NORM_FLOOR).rsqrt()


def _reaches(irreps: o3.Irreps, target: o3.Irrep, lmax: int) -> bool:
    """Whether ``target`` is in the product of an irrep with a spherical harmonic up to ``lmax``."""
    return any(
        abs(ir.l - target.l) <= ell <= ir.l + target.l and ir.p * (-1) ** ell == target.p
        for mul, ir in irreps
        if mul > 0
        for ell in range(lmax + 1)
    )


def reachable(irreps: o3.Irreps, hidden: o3.Irreps, lmax: int) -> o3.Irreps:
    """Those of the hidden irreps that are in the product of ``irreps`` with a spherical harmonic up to ``lmax``."""
    return o3.Irreps([(mul, ir) for mul, ir in hidden if _reaches(irreps, ir, lmax)])
