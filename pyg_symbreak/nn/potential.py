"""Energies of structures as sums over their atoms, and forces, with a symmetry breaking object."""

import copy
from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_symbreak.nn.breaking_conv import BreakingConv
from pyg_symbreak.nn.degrees import blocks_of, split_by_degree
from pyg_symbreak.nn.edge_embedding import PairEmbedding, edge_vectors
from pyg_symbreak.nn.gated_network import Gate, reachable
from pyg_symbreak.nn.node_object import NodeObject

__all__ = ["Potential"]


class Potential(nn.Module):
    r"""Gated equivariant message passing network for an energy that is a sum over atoms.

    .. math::
        E = \sum_i \Big( e_{z_i} + s_{z_i} \sum_{n} M_n(h_i^n, z_i) \Big)

    with :math:`h_i^n` the even scalars of atom i after layer n, a :class:`BreakingConv` and a :class:`Gate`, and
    :math:`M_n` a perceptron with one hidden layer. Other than in :class:`GatedNetwork`, whose outputs are of order 1
    whatever the surroundings, sums over neighbours are divided by a constant, the root of ``num_neighbors``, and not
    by what is there, so that they tell how dense the surroundings are. So do NequIP (`Batzner et al. 2022
    <https://doi.org/10.1038/s41467-022-29939-5>`_) and others. The energies of separate parts of a graph add up, and
    the energy has continuous second derivatives where atoms pass the cutoff. The energy of an isolated atom is what the
    network makes of its element: learn it where it matters, from isolated atoms among the data.

    The energy is invariant, and the forces are equivariant, jointly in the structure and the object.

    Parameters
    ----------
    elements : sequence of int
        Atomic numbers that may occur.
    irreps_breaking : str or e3nn.o3.Irreps, optional
        Irreps of the object ``breaking``. Hidden irreps must be of its parity to see it.
    max_radius : float
        Radius of the cutoff, in the unit of the positions.
    num_neighbors : float
        Mean number of edges of an atom in the data.
    hidden : str or e3nn.o3.Irreps
        Hidden irreps; those of the last layer are its scalars.
    lmax : int
        Highest degree of the spherical harmonics of the edges.
    layers : int
        Number of layers.
    object_degree : int
        The object enters with its :class:`SymmetricPowers` up to this degree.
    scale, shift : float or sequence of float
        What :math:`s_z` and :math:`e_z`, for each element or common to all, are before training, in the unit of the
        energy. The root mean square of the forces in the data times 1 Å, and their energies per atom, are good.
    number_of_basis, radial_layers, radial_neurons : int
        As for :class:`PairEmbedding`.

    Shapes:
        - **input:** a :class:`~torch_geometric.data.Data` or batch with atomic numbers ``z`` :math:`(|\mathcal{V}|,)`,
          positions ``pos`` :math:`(|\mathcal{V}|, 3)`, ``edge_index`` :math:`(2, |\mathcal{E}|)`, and *(optional)*
          ``edge_shift`` :math:`(|\mathcal{E}|, 3)` with ``cell`` :math:`(B, 3, 3)`, and ``breaking``
          :math:`(B, D_{breaking})` or :math:`(|\mathcal{V}|, D_{breaking})`. Edges longer than ``max_radius`` add
          nothing; where shorter ones are missing the energy jumps.
        - **output:** energies :math:`(B,)`

    Raises
    ------
    ValueError
        The data lack an attribute, the object among them, have another element or dtype, or an object that does not
        fit.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> from pyg_symbreak.transforms import NeighborList
    >>> ethanol = NeighborList(5.0)(from_ase(molecule("CH3CH2OH")))
    >>> energy, forces = Potential([1, 6, 8], max_radius=5.0, num_neighbors=8).energy_and_forces(ethanol)
    >>> energy.shape, forces.shape
    (torch.Size([1]), torch.Size([9, 3]))
    """

    numbers: Tensor

    def __init__(
        self,
        elements: Sequence[int],
        irreps_breaking: str | o3.Irreps | None = None,
        *,
        max_radius: float,
        num_neighbors: float,
        hidden: str | o3.Irreps = "64x0e+32x1o",
        lmax: int = 1,
        layers: int = 2,
        object_degree: int = 1,
        scale: float | Sequence[float] = 1.0,
        shift: float | Sequence[float] = 0.0,
        number_of_basis: int = 8,
        radial_layers: int = 2,
        radial_neurons: int = 32,
    ) -> None:
        super().__init__()
        if not num_neighbors > 0:
            raise ValueError(
                f"num_neighbors, the mean number of edges of an atom, must be positive, got {num_neighbors}"
            )
        numbers = sorted(set(elements))
        if len(numbers) != len(elements) or not numbers:
            raise ValueError(f"elements must be different atomic numbers, got {list(elements)}")
        self.register_buffer("numbers", torch.tensor(numbers), persistent=False)
        self.num_neighbors, count = float(num_neighbors), len(numbers)
        order = [list(elements).index(z) for z in numbers]
        self.initial = [torch.tensor(v).float().expand(count)[order] for v in (scale, shift)]
        self.object = NodeObject(irreps_breaking or "", object_degree, lmax)
        irreps = o3.Irreps(f"{count}x0e") + o3.Irreps(self.object.irreps_out)
        self.blocks = blocks_of(irreps)
        self.edges = PairEmbedding(count, max_radius, lmax, layers, number_of_basis, radial_layers, radial_neurons)
        self.convs, self.gates, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for n in range(layers):
            wanted = o3.Irreps([(mul, ir) for mul, ir in o3.Irreps(hidden) if n < layers - 1 or ir == o3.Irrep("0e")])
            gate = Gate(reachable(irreps, wanted, lmax), even_gates=True)
            self.convs.append(BreakingConv(irreps, gate.irreps_in, None, lmax, radial_neurons))
            self.gates.append(gate)
            self.heads.append(_Head(gate.scalars[0], count))
            irreps = o3.Irreps(gate.irreps_out)
        self.scale, self.shift = nn.Parameter(self.initial[0].clone()), nn.Parameter(self.initial[1].clone())

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in (self.edges, *self.convs, *self.heads):
            module.reset_parameters()
        with torch.no_grad():
            self.scale.copy_(self.initial[0])
            self.shift.copy_(self.initial[1])

    def forward(self, data: Data) -> Tensor:
        """Return the energies."""
        missing = [key for key in ("z", "pos", "edge_index") if data.get(key) is None]
        if missing:
            raise ValueError(f"data lacks {', '.join(missing)}: a potential reads elements, positions and edges")
        if data.pos.dtype != self.scale.dtype:
            raise ValueError(
                f"data.pos is {data.pos.dtype}, the potential {self.scale.dtype}: convert the data, or the potential "
                "by double() or float()"
            )
        one_hot = (data.z[:, None] == self.numbers).to(data.pos)
        if data.z.numel() and not one_hot.any(dim=1).all():
            raise ValueError(
                f"data has atomic numbers {sorted(set(data.z.tolist()))}, the potential {self.numbers.tolist()}: give "
                "it all elements that occur"
            )
        energies = self.atomic_energies(one_hot, self.object(data), data.edge_index, edge_vectors(data))
        if data.batch is None:
            return energies.sum(dim=0, keepdim=True)
        return energies.new_zeros(data.num_graphs).index_add(0, data.batch, energies)

    def energy_and_forces(self, data: Data) -> tuple[Tensor, Tensor]:
        """Energies and forces :math:`-\\partial E / \\partial r_i`, :math:`(|\\mathcal{V}|, 3)`.

        In training mode the forces are differentiable by the weights.
        """
        pos = data.pos if data.pos.requires_grad else data.pos.clone().requires_grad_()
        data = copy.copy(data)
        data.pos = pos
        with torch.enable_grad():
            energy = self(data)
            (gradient,) = torch.autograd.grad(energy.sum(), pos, create_graph=self.training)
        return energy, -gradient

    def atomic_energies(self, one_hot: Tensor, breaking: Tensor | None, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Evaluate on tensors: elements, objects of the nodes, edges, and their vectors."""
        element = one_hot.argmax(dim=1)
        pair = element.index_select(0, edge_index[0]) * one_hot.size(1) + element.index_select(0, edge_index[1])
        harmonics, radial = self.edges(edge_vec, pair)
        harmonics = harmonics * self.num_neighbors**-0.5
        x = one_hot * one_hot.size(1) ** 0.5
        features = split_by_degree(x if breaking is None else torch.cat([x, breaking], dim=1), self.blocks)
        energies = torch.zeros_like(one_hot[:, 0])
        for n, (conv, gate, head) in enumerate(zip(self.convs, self.gates, self.heads, strict=True)):
            assert isinstance(conv, BreakingConv)
            features = gate(conv.convolve(features, edge_index, harmonics, radial[n]))
            energies = energies + head(features[0][:, 0], one_hot)
        return energies * (one_hot @ self.scale) + one_hot @ self.shift

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.numbers.tolist()}, irreps_breaking={self.object.irreps_breaking}, "
            f"layers={len(self.convs)}, lmax={self.edges.lmax}, max_radius={self.edges.max_radius})"
        )


class _Head(nn.Module):
    """An energy from the even scalars of an atom, the first of ``features``, and its element."""

    def __init__(self, scalars: int, elements: int, neurons: int = 32) -> None:
        super().__init__()
        self.scalars = scalars
        self.layers = nn.Sequential(nn.Linear(scalars + elements, neurons), nn.SiLU(), nn.Linear(neurons, 1))

    def reset_parameters(self) -> None:
        for layer in (self.layers[0], self.layers[2]):
            assert isinstance(layer, nn.Linear)
            layer.reset_parameters()

    def forward(self, features: Tensor, one_hot: Tensor) -> Tensor:
        energies: Tensor = self.layers(torch.cat([features[:, : self.scalars], one_hot], dim=1))
        return energies[:, 0]
