"""Models that know nothing of objects, wrapped so that they take them."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn.models import DimeNetPlusPlus, SchNet, ViSNet
from torch_geometric.utils import add_self_loops, scatter

from pyg_symbreak.nn.breaking_edge_invariants import BreakingEdgeInvariants

__all__ = ["WithBreaking"]

ELEMENTS = 119


class WithBreaking(nn.Module):
    r"""A PyG model that takes the symmetry breaking object of the data.

    The scalars of :class:`BreakingEdgeInvariants`, mapped linearly, are added to what the model makes of each edge and
    each atom before its first layer:

    ==============  =====================================  =============================
    model           edge scalars are added to              node scalars are added to
    ==============  =====================================  =============================
    SchNet, ViSNet  the expansion of the distances         the embedding of the elements
    DimeNet++       the first messages                     the embedding of the elements
    others          ``edge_attr``, if they take one        ``x``
    ==============  =====================================  =============================

    An invariant model stays invariant when structure and object move together, and its gradient is equivariant.

    The first three then work on the edges of the data (:class:`~pyg_symbreak.transforms.NeighborList` makes them, for
    crystals too), ViSNet with a loop on each atom besides, which is why it takes no atom for a neighbour of its image.
    DimeNet++ so needs neither torch-sparse nor pyg-lib, which PyG's own search for neighbours and angles needs.
    The others are models whose ``forward`` takes ``x``, ``edge_index`` and any more attributes of the data by their
    names, such as ``torch_geometric.nn.GAT`` and ``PNA``, a stack of ``GPSConv`` or an E(n) GNN. Their ``x`` becomes
    the sum of the data's ``x``, an embedding of ``z``, where the data have them, and the scalars. One that takes no
    ``edge_attr`` sees less of the object.

    Parameters
    ----------
    model : Module
        SchNet, ViSNet and DimeNet++ (``DimeNetPlusPlus``) are changed: submodules of theirs are replaced.
    irreps_breaking : str or e3nn.o3.Irreps
        Irreps of the object ``breaking``.
    in_channels : int, optional
        Width of the ``x`` that another model takes. Default: ``model.in_channels``.
    edge_dim : int, optional
        Width of the ``edge_attr`` that it takes, 0 for none. Default: the first ``edge_dim`` among its layers.
    object_degree : int
        As for :class:`BreakingEdgeInvariants`.

    Raises
    ------
    TypeError
        The model is not of these kinds, or does not say how wide its input is.
    ValueError
        The data do not fit the model, or have no object; see :class:`BreakingEdgeInvariants`.

    Shapes:
        - **input:** a :class:`~torch_geometric.data.Data` or batch as for :class:`BreakingEdgeInvariants`, with what
          the model takes
        - **output:** that of the model

    Examples
    --------
    >>> from ase.build import molecule
    >>> from torch_geometric.nn import SchNet
    >>> from pyg_symbreak.structures import from_ase
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList
    >>> methane = AddSymmetryBreaking()(NeighborList(4.0)(from_ase(molecule("CH4"))))
    >>> WithBreaking(SchNet(16, 16, 2, cutoff=4.0), methane.breaking_irreps)(methane).shape
    torch.Size([1, 1])
    """

    def __init__(
        self,
        model: nn.Module,
        irreps_breaking: str | o3.Irreps,
        *,
        in_channels: int | None = None,
        edge_dim: int | None = None,
        object_degree: int = 1,
    ) -> None:
        super().__init__()
        self.model = model
        self.takes = tuple(inspect.signature(model.forward).parameters)
        self.invariants = BreakingEdgeInvariants(irreps_breaking, object_degree)
        self._inside = isinstance(model, SchNet | ViSNet | DimeNetPlusPlus)
        dims = self.invariants.dim_edge, self.invariants.dim_node
        if self._inside:
            if in_channels is not None or edge_dim is not None:
                raise TypeError(f"in_channels and edge_dim are not for {type(model).__name__}, which has no such input")
            self._replace(*dims)
            return
        width, edge_width = self._widths(in_channels, edge_dim)
        self.atoms = nn.Embedding(ELEMENTS, width)
        self.node = nn.Linear(dims[1], width, bias=False)
        self.edge = nn.Linear(dims[0], edge_width, bias=False) if edge_width else None

    def _replace(self, dim_edge: int, dim_node: int) -> None:
        """Put modules that add the scalars in the places of those that expand distances and embed elements."""
        model: Any = self.model
        if isinstance(model, DimeNetPlusPlus):
            self.cutoff, elements = model.cutoff, model.emb.emb
            model.emb.emb = _Plus(elements, dim_node, elements.embedding_dim)
            model.emb = _Plus(model.emb, dim_edge, elements.embedding_dim)
            return
        if isinstance(model, ViSNet):
            model = model.representation_model
            self.cutoff, model.distance = model.distance.cutoff, _GivenEdges()
        else:
            self.cutoff, model.interaction_graph = model.cutoff, _GivenEdges()
        width = model.distance_expansion(next(model.parameters()).new_ones(1)).size(-1)
        model.distance_expansion = _Plus(model.distance_expansion, dim_edge, width)
        model.embedding = _Plus(model.embedding, dim_node, model.embedding.embedding_dim)

    def _widths(self, in_channels: int | None, edge_dim: int | None) -> tuple[int, int]:
        """Widths of x and of edge_attr, 0 for none."""
        name = type(self.model).__name__
        if not {"x", "edge_index"} <= set(self.takes):
            raise TypeError(
                f"{name}.forward takes {', '.join(self.takes)}: WithBreaking wraps SchNet, ViSNet, DimeNet++ and "
                "models of x and edge_index; give others the scalars of BreakingEdgeInvariants where they take features"
            )
        width = getattr(self.model, "in_channels", None) if in_channels is None else in_channels
        if not isinstance(width, int) or width < 1:
            raise TypeError(f"{name} does not say how wide its x is: give in_channels")
        if "edge_attr" not in self.takes:
            if edge_dim:
                raise TypeError(f"edge_dim={edge_dim}, but {name}.forward takes no edge_attr")
            return width, 0
        found = (getattr(module, "edge_dim", None) for module in self.model.modules())
        return width, next((dim for dim in found if isinstance(dim, int)), 0) if edge_dim is None else edge_dim

    def forward(self, data: Data) -> Any:
        """What the model makes of the data and their object."""
        dtype = next(p.dtype for p in self.parameters() if p.is_floating_point())
        if data.get("pos") is not None and data.pos.dtype != dtype:
            raise ValueError(f"data.pos is {data.pos.dtype}, the model {dtype}: call model.to({data.pos.dtype})")
        data = copy.copy(data)
        edge, node = self.invariants(data)
        if data.batch is None:
            data.batch = data.edge_index.new_zeros(len(data.pos))
        if self._inside:
            self._put(data, edge, node)
        else:
            self._add(data, edge, node)
        if isinstance(self.model, DimeNetPlusPlus):
            out = _dimenet(self.model, data, edge[:, 0])
        else:
            out = self.model(**{name: data[name] for name in self.takes if data.get(name) is not None})
        for module in self.modules():
            if isinstance(module, _Plus | _GivenEdges):
                module.given = ()  # a model that holds results of gradients could not be copied
        return out

    def _put(self, data: Data, edge: Tensor, node: Tensor) -> None:
        """The scalars, and the edges of the data, where the replaced modules find them."""
        model: Any = self.model.representation_model if isinstance(self.model, ViSNet) else self.model
        length = edge[:, 0]  # the first scalar
        if len(length) and length.detach().max() > self.cutoff * (1 + 1e-6):
            raise ValueError(
                f"an edge is {length.max().item():.4g} Å long, the cutoff of the model is {self.cutoff} Å: make the "
                f"edges by NeighborList({self.cutoff})"
            )
        if isinstance(model, DimeNetPlusPlus):
            model.emb.given, model.emb.module.emb.given = (edge,), (node,)
            return
        if isinstance(model, SchNet):
            model.interaction_graph.given = data.edge_index, length
        else:
            if (data.edge_index[0] == data.edge_index[1]).any():
                raise ValueError(
                    "an atom is a neighbour of its own image, which ViSNet takes for a loop: repeat the cell, or give "
                    "NeighborList a smaller cutoff"
                )
            edge_index, edge = add_self_loops(data.edge_index, edge, 0.0, len(node))
            vectors = torch.cat([-_vectors(data), data.pos.new_zeros(len(node), 3)])
            model.distance.given = edge_index, edge[:, 0], vectors
        model.distance_expansion.given, model.embedding.given = (edge,), (node,)

    def _add(self, data: Data, edge: Tensor, node: Tensor) -> None:
        """The scalars in x and edge_attr."""
        x = self.node(node)
        if data.get("z") is not None:
            x = x + self.atoms(data.z)
        for name, more in (("x", x), ("edge_attr", None if self.edge is None else self.edge(edge))):
            own = data.get(name)
            if more is not None and own is not None and own.shape != more.shape:
                raise ValueError(f"data.{name} has shape {list(own.shape)}, the model takes {list(more.shape)}")
            if more is not None:
                data[name] = more if own is None else own + more
        if self.edge is None and "edge_attr" in self.takes:
            data.edge_attr = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, {self.invariants.irreps_breaking})"


class _Plus(nn.Module):
    """What a module of the model makes of its input, plus a linear map of scalars."""

    def __init__(self, module: nn.Module, dim: int, width: int) -> None:
        super().__init__()
        self.module, self.linear = module, nn.Linear(dim, width, bias=False)
        self.given: tuple[Tensor, ...] = ()

    def forward(self, *x: Tensor) -> Tensor:
        """Add the scalars that were put in place before."""
        return self.module(*x) + self.linear(*self.given)

    def reset_parameters(self) -> None:
        """As the model asks its parts to."""
        for module in (self.module, self.linear):
            reset: Any = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()


class _GivenEdges(nn.Module):
    """In the place of a model's own search for neighbours: the edges of the data."""

    given: tuple[Tensor, ...] = ()

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, ...]:
        """Return the edges that were put in place before."""
        return self.given


def _vectors(data: Data) -> Tensor:
    """From the source to the target of each edge, through the walls of the cell."""
    source, target = data.edge_index
    vectors = data.pos[target] - data.pos[source]
    if data.get("cell") is None or data.get("edge_shift") is None:
        return vectors
    cells = data.cell.view(-1, 3, 3).to(vectors)[data.batch[source]]
    return vectors + torch.einsum("ei,eij->ej", data.edge_shift.to(vectors), cells)


def _dimenet(model: Any, data: Data, length: Tensor) -> Tensor:
    """PyG's DimeNet++ on the edges of the data."""
    source, target = data.edge_index
    vectors, count = _vectors(data), len(data.pos)
    first, second = _triplets(source, target, count)
    back = (vectors[first] + vectors[second]).norm(dim=1) < 1e-6
    first, second = first[~back], second[~back]
    v, w = vectors[first], vectors[second]
    angle = torch.atan2(torch.linalg.cross(w, v).norm(dim=1), (w * v).sum(dim=1))
    rbf, sbf = model.rbf(length), model.sbf(length, angle, first)
    x = model.emb(data.z, rbf, target, source)
    out = model.output_blocks[0](x, rbf, target, num_nodes=count)
    for interaction, output in zip(model.interaction_blocks, model.output_blocks[1:], strict=True):
        x = interaction(x, rbf, sbf, first, second)
        out = out + output(x, rbf, target, num_nodes=count)
    return scatter(out, data.batch, dim=0, reduce="sum")


def _triplets(source: Tensor, target: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Edges k to j and j to i, for each edge j to i with all that end in j."""
    ending, order = target.bincount(minlength=count), target.argsort(stable=True)
    start = ending.cumsum(0) - ending
    many = ending[source]
    second = torch.arange(len(source), device=source.device).repeat_interleave(many)
    within = torch.arange(len(second), device=source.device) - (many.cumsum(0) - many)[second]
    return order[start[source[second]] + within], second
