"""Invariant scalars of edges and nodes from a structure and a symmetry breaking object, for any PyG model."""

import math

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from pyg_symbreak.nn.constants import ConstantsMixin
from pyg_symbreak.nn.degrees import blocks_of
from pyg_symbreak.nn.edge_embedding import edge_vectors
from pyg_symbreak.nn.symmetric_powers import SymmetricPowers
from pyg_symbreak.structures import require_own_object

__all__ = ["BreakingEdgeInvariants"]


class BreakingEdgeInvariants(ConstantsMixin):
    r"""Scalars of edges and nodes that see a symmetry breaking object, for models that know no irreps.

    A model on lengths alone cannot tell equivalent nodes apart. With these scalars as ``edge_attr`` and node features
    any PyG model (GATv2Conv, GINEConv, TransformerConv, SchNet, ...) takes the object into account. The scalars are
    invariant when the structure and the object move together, under O(3) and translations, and follow a relabelling
    of the nodes; so the model is equivariant jointly in the structure and the object.

    With :math:`r` the vector along an edge (Å), :math:`\hat r` its direction, :math:`w_i` the mean direction from node
    i to its neighbours, and :math:`w_{ik}` the mean of :math:`\cos(k |r|)\, \hat r`; and :math:`v_i` the position of
    node i from the centroid of a molecule, from that of its neighbours where ``pbc`` says that the structure is
    periodic (without ``pbc``: where it has ``edge_shift`` and ``cell``), shortened to :math:`v / \sqrt{1 + v^2}`; an
    irrep :math:`b` of degree l of the object enters through

    ===========  ==========================================  ====================================
    parity of b  edge from i to j                            node i
    ===========  ==========================================  ====================================
    :math:`l`    :math:`Y^l(\hat r) \cdot b`                 :math:`Y^l(v_i) \cdot b`
    :math:`l+1`  :math:`(w \cdot L) Y^l(\hat r) \cdot b`,    :math:`(w_i \cdot L) Y^l(v_i) \cdot b`
                 with :math:`w = w_i` and :math:`w = w_j`
    ``0o``       :math:`\det(\hat r, w_i, w_j)\, b`          :math:`\det(w_{i1}, w_{i2}, w_{i3}) b`
    ===========  ==========================================  ====================================

    where L generates rotations: :math:`(w \cdot L) Y(r)` is the rate at which Y changes when r turns about w, for l = 1
    the vector :math:`w \times r`. The first row is for polar objects (``0e``, ``1o``, ``2e``, ...), the second for
    axial ones (``1e``, ``2o``, ...), and the third row, for pseudoscalars, is the handedness of the torsion about the
    edge, and that of neighbours at different distances. The first edge scalar is the length (Å), the first node scalar
    :math:`|v_i|^2`, with :math:`v_i` as shortened. Y is of unit length on unit vectors, so that :math:`Y^1(r) = r`.

    *What can be told apart.* The scalars are linear in the object (in its powers, of which ``object_degree`` is the
    highest): two objects b, b' give the same ones exactly if every tensor above is orthogonal to b - b'. Of irreps up
    to l = 4 no two objects are alike on four or more nodes of a molecule in general position, all connected, nor on one
    whose nodes are one and four or more others that it is connected to by edges both ways. Fewer or special nodes may
    tell less. So may edges that go one way: a star whose edges only go in sees no ``0o``, and, as one whose edges only
    go out, two of the three directions of a ``1e``. So may small cells: triclinic diamond, two atoms with four bonds
    each, sees two directions of a ``1e``. For at a node with a single edge w is parallel to that
    edge, whose torsion and scalars with this w vanish, and no invariant of edges and nodes whatever tells b from sb if
    the symmetry s of the structure leaves every node in place, as the mirror of a planar molecule does.

    Parameters
    ----------
    irreps_breaking : str or e3nn.o3.Irreps
        Irreps of the object ``breaking``.
    object_degree : int
        The object enters with its :class:`SymmetricPowers` up to this degree. Degree 2 is of use where w vanishes,
        as on sites with inversion symmetry.
    lmax : int
        Irreps of the powers with a higher l than this are left out.

    Attributes
    ----------
    dim_edge, dim_node : int
        Numbers of scalars.

    Raises
    ------
    ValueError
        Data without ``pos``, ``edge_index`` or ``breaking``, or with an object of other irreps; or, in the first batch,
        a structure that was turned and its object was not.

    Shapes:
        - **input:** a :class:`~torch_geometric.data.Data` or batch with ``pos`` :math:`(|\mathcal{V}|, 3)`,
          ``edge_index`` :math:`(2, |\mathcal{E}|)`, *(optional)* ``edge_shift`` :math:`(|\mathcal{E}|, 3)` with
          ``cell`` :math:`(B, 3, 3)`, ``pbc`` :math:`(B, 3)`, and ``breaking`` :math:`(B, D)` or
          :math:`(|\mathcal{V}|, D)`; an edge takes the
          object of its source.
        - **output:** edge scalars :math:`(|\mathcal{E}|, \text{dim\_edge})` and node scalars
          :math:`(|\mathcal{V}|, \text{dim\_node})`

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList
    >>> benzene = NeighborList(1.6)(from_ase(molecule("C6H6")))
    >>> benzene = AddSymmetryBreaking(seed=0)(benzene)
    >>> invariants = BreakingEdgeInvariants(benzene.breaking_irreps)
    >>> edge_attr, x = invariants(benzene)
    >>> edge_attr.shape, x.shape  # the length and r·b; v² and v·b
    (torch.Size([24, 2]), torch.Size([12, 2]))
    """

    def __init__(self, irreps_breaking: str | o3.Irreps, object_degree: int = 1, lmax: int = 4) -> None:
        super().__init__()
        self._has_looked = False
        self.irreps_breaking = str(o3.Irreps(irreps_breaking))
        self.powers = SymmetricPowers(irreps_breaking, object_degree, lmax)
        irreps = o3.Irreps(self.powers.irreps_out)
        self.blocks = blocks_of(irreps)
        self.axial = [ir.p != (-1) ** ir.l for mul, ir in irreps if mul > 0]
        for ell in sorted({ell for (_, ell), axial in zip(self.blocks, self.axial, strict=True) if axial and ell > 0}):
            self.register_constant(f"turn_{ell}", _generators(ell), torch.empty(0))
        self.dim_edge = self.dim_node = 1
        for (mul, ell), axial in zip(self.blocks, self.axial, strict=True):
            self.dim_edge += mul * (2 if axial and ell > 0 else 1)
            self.dim_node += mul

    def forward(self, data: Data) -> tuple[Tensor, Tensor]:
        """Return the scalars of edges and of nodes."""
        missing = [key for key in ("pos", "edge_index", "breaking") if data.get(key) is None]
        if missing:
            raise ValueError(
                f"data lacks {', '.join(missing)}: the invariants are those of positions, edges and the object "
                "(AddSymmetryBreaking attaches one; zeros break nothing)"
            )
        for constant in self.buffers():
            if constant.is_floating_point() and constant.dtype != data.pos.dtype:
                raise ValueError(
                    f"data.pos is {data.pos.dtype}, the layer {constant.dtype}: convert the data, or the layer by "
                    ".double() or .float()"
                )
        source, target = data.edge_index
        batch = data.pos.new_zeros(len(data.pos), dtype=torch.long) if data.batch is None else data.batch
        vectors = edge_vectors(data)
        length = vectors.norm(dim=1, keepdim=True)
        unit = torch.nn.functional.normalize(vectors, dim=1)

        def around(values: Tensor) -> Tensor:
            return scatter(values, source, dim=0, dim_size=len(data.pos), reduce="mean")

        mean = around(unit)
        waves = [around(unit * (k * length).cos()) for k in (1, 2, 3)]
        offset = data.pos - scatter(data.pos, batch, dim=0, reduce="mean")[batch]
        if data.get("pbc") is not None:
            offset = torch.where(data.pbc.view(-1, 3).any(1)[batch, None], -around(vectors), offset)
        elif data.get("cell") is not None and data.get("edge_shift") is not None:
            offset = -around(vectors)
        place = offset / (1.0 + offset.square().sum(1, keepdim=True)).sqrt()

        rows = self._object(data)
        on_nodes = rows if len(rows) == len(data.pos) else rows[batch]
        torsion, handedness = _triple(unit, mean[source], mean[target]), _triple(*waves)
        edge = self._contract(on_nodes[source], unit, [mean[source], mean[target]], torsion)
        node = self._contract(on_nodes, place, [mean], handedness)
        return torch.cat([length, *edge], dim=1), torch.cat([place.square().sum(1, keepdim=True), *node], dim=1)

    def _contract(self, objects: Tensor, at: Tensor, about: list[Tensor], handedness: Tensor) -> list[Tensor]:
        """Scalars [n, mul] of each block of the objects [n, D], with harmonics at some vectors [n, 3]."""
        out = []
        pieces = objects.split([mul * (2 * ell + 1) for mul, ell in self.blocks], dim=1)
        for (mul, ell), axial, piece in zip(self.blocks, self.axial, pieces, strict=True):
            b = piece.unflatten(1, (mul, 2 * ell + 1))
            if axial and ell == 0:
                out.append(handedness * piece)
                continue
            tensors = [o3.spherical_harmonics(ell, at, normalize=False, normalization="norm")]
            if axial:
                turn = getattr(self, f"turn_{ell}")
                tensors = [torch.einsum("kij,nk,nj->ni", turn, w, tensors[0]) for w in about]
            out += [torch.einsum("nmi,ni->nm", b, t) for t in tensors]
        return out

    def _object(self, data: Data) -> Tensor:
        """The object and its powers."""
        if not self._has_looked and not torch.compiler.is_compiling():
            require_own_object(data)
            self._has_looked = True
        dim = o3.Irreps(self.irreps_breaking).dim
        graphs = 1 if data.batch is None else data.num_graphs
        breaking = data.breaking
        named = data.get("breaking_irreps", self.irreps_breaking)
        for irreps in {named} if isinstance(named, str) else set(named):
            if o3.Irreps(irreps) != o3.Irreps(self.irreps_breaking):
                raise ValueError(
                    f"the object breaking has irreps {irreps}, the layer irreps_breaking {self.irreps_breaking}: give "
                    "the layer those of the objects, and all objects common ones (irreps=... of the transform)"
                )
        if breaking.dim() != 2 or breaking.size(0) not in (graphs, len(data.pos)) or breaking.size(1) != dim:
            raise ValueError(
                f"the object breaking has shape {list(breaking.shape)}, expected [{graphs}, {dim}] or "
                f"[{len(data.pos)}, {dim}]"
            )
        return self.powers(breaking.to(data.pos))

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.irreps_breaking}, dim_edge={self.dim_edge}, dim_node={self.dim_node})"


def _triple(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Determinants [n, 1] of three vectors [n, 3]."""
    return torch.linalg.cross(a, b).mul(c).sum(1, keepdim=True)


def _generators(ell: int) -> Tensor:
    """Matrices L [3, 2l+1, 2l+1] with Y(exp(t w×) r) = Y(r) + t (w·L) Y(r) + O(t²), float64."""
    coupling = o3.wigner_3j(1, ell, ell, dtype=torch.float64) * math.sqrt(ell * (ell + 1) * (2 * ell + 1))
    v = torch.tensor([[0.36, 0.48, 0.8]], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    # The sign of the coupling is a convention: take it from the derivative along w × v.
    harmonics = o3.spherical_harmonics(ell, v, normalize=False)[0]
    rate = torch.stack([torch.autograd.grad(y, v, retain_graph=True)[0][0] @ w.cross(v[0], dim=0) for y in harmonics])
    turned = torch.einsum("kij,k,j->i", coupling, w, harmonics)
    return (coupling * torch.sign(rate @ turned)).detach()
