"""Symmetry breaking objects that are learned: order parameters of structures, and fields that a data set shares."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_symbreak.breaking import BreakingSet, ListedObjects, Target, breaking_set, largest_group, target_stabilizer
from pyg_symbreak.detect import Features, GraphSymmetry, Symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices

__all__ = ["LearnedBreaking", "ObjectAdam", "curie_gradient", "fit_breaking"]

Per = Literal["dataset", "graph", "node"]


class LearnedBreaking(nn.Module):
    r"""Objects that are parameters: what breaks the symmetry is found by training and not told.

    An equivariant network with an object b beside the structure is trained in its weights and in b. What b ends as
    says how the targets are less symmetric than the structures:

    - ``per="dataset"``: one field for all data, which then break the symmetry themselves (the law is not symmetric), as
      an electric field does. These are the relaxed weights of `Hofgard et al. (2024)
      <https://arxiv.org/abs/2407.20471>`_;
    - ``per="graph"`` and ``per="node"``: an order parameter of each structure, or a row on each node, as in `Smidt,
      Geiger & Miller (2021) <https://doi.org/10.1103/PhysRevResearch.3.L012002>`_. The law is symmetric, and the images
      of b give the other answers: :meth:`objects`.

    Objects start at zero, where the network keeps all symmetry. Gradients are equivariant, so that b always keeps what
    structure and target have in common: :meth:`stabilizer` reads it off, up to a sign and scale that no data tell.
    :meth:`penalty` prefers few and low irreps.

    The optimizer of b has to be equivariant as well. Adam is not: it scales each component by its own history, and so
    makes steps of full size of what is round-off in irreps that are not called for. :class:`ObjectAdam`, which
    :func:`fit_breaking` uses, scales an object as a whole.

    The module is a :class:`~pyg_symbreak.breaking.Breaking`: once learned it goes into
    :class:`~pyg_symbreak.transforms.AddSymmetryBreaking`.

    Parameters
    ----------
    irreps : str or e3nn.o3.Irreps
        Of an object, or of its row on a node.
    per : "dataset", "graph" or "node"
        What has an object of its own.
    num : int
        The number of graphs, or of nodes.
    where : bool Tensor, optional
        :math:`(\text{num},)`: the graphs or nodes that have an object; it stays zero on the others. Default: all.

    Shapes:
        - **input:** a :class:`~torch_geometric.data.Data` or batch. Where it does not hold all ``num`` graphs (nodes)
          in order, ``breaking_id`` is the number of each of its graphs (nodes), long
        - **output:** a copy with ``breaking`` :math:`(B, D)`, for nodes :math:`(|\mathcal{V}|, D)`, and
          ``breaking_irreps``

    Examples
    --------
    >>> field = LearnedBreaking("1o+1e")
    >>> field(Data(pos=torch.zeros(4, 3))).breaking
    tensor([[0., 0., 0., 0., 0., 0.]], grad_fn=<ExpandBackward0>)
    """

    def __init__(
        self, irreps: str | o3.Irreps, per: Per = "dataset", num: int = 1, where: Tensor | None = None
    ) -> None:
        super().__init__()
        if per not in ("dataset", "graph", "node"):
            raise ValueError(f"per must be 'dataset', 'graph' or 'node', got {per!r}")
        if num < 1 or (per == "dataset" and num != 1):
            raise ValueError(f"num={num} must be at least 1, and is 1 for a data set")
        if where is not None and (where.dtype != torch.bool or where.shape != (num,)):
            raise ValueError(f"where must be bool [{num}], got {where.dtype} {list(where.shape)}")
        self.irreps, self.per, self.num = str(o3.Irreps(irreps)), per, num
        self.rows = nn.Parameter(torch.zeros(num, o3.Irreps(irreps).dim))
        self.register_buffer("where", where, persistent=False)
        self.kept: PointGroup | Symmetry | None = None

    where: Tensor | None

    def reset_parameters(self) -> None:
        """Set all objects to zero."""
        nn.init.zeros_(self.rows)

    @property
    def value(self) -> Tensor:
        """All objects :math:`(\\text{num}, D)`, within what :meth:`constrain` allows."""
        rows = self.rows if self.where is None else self.rows * self.where[:, None].to(self.rows)
        return rows if self.kept is None else self._images(rows, self.kept).mean(0)

    def forward(self, data: Data) -> Data:
        """Attach the objects to a graph or a batch."""
        count = data.num_nodes if self.per == "node" else data.num_graphs if data.batch is not None else 1
        assert count is not None
        if self.per == "dataset":
            rows = self.value.expand(count, -1)
        else:
            rows = self.value
            ids = data.get("breaking_id")
            if ids is None and count != self.num:
                raise ValueError(
                    f"there are objects for {self.num} {self.per}s and the data have {count}: say in data.breaking_id "
                    "which they are"
                )
            if ids is not None:
                if ids.shape != (count,) or ids.min() < 0 or ids.max() >= self.num:
                    raise ValueError(f"breaking_id must hold {count} numbers from 0 to {self.num - 1}")
                rows = rows.index_select(0, ids)
        data = copy.copy(data)
        data.breaking, data.breaking_irreps = rows, self.irreps
        return data

    def penalty(self, power: float = 6) -> Tensor:
        """Group lasso: the sum over irreps of their :meth:`weights` times their length, the mean over rows.

        With the power of Smidt et al. the lowest irreps that do are found; with 0 all count alike, as in Hofgard et al.
        It has no gradient at zero: to have irreps at exactly zero leave it to :class:`ObjectAdam`.
        """
        lengths = [block.norm(dim=1).mean() for _, block in _blocks(self.irreps, self.value)]
        return (torch.stack(lengths) * self.rows.new_tensor(self.weights(power))).sum()

    def weights(self, power: float = 6) -> list[float]:
        """Weight of each copy of an irrep in the penalty: 1 + l^power, and 0 for 0e, which breaks nothing."""
        terms = [ir for mul, ir in o3.Irreps(self.irreps) for _ in range(mul)]
        return [0.0 if ir == o3.Irrep("0e") else 1.0 + (ir.l**power if power and ir.l else 0.0) for ir in terms]

    def constrain(self, kept: PointGroup | Symmetry | None) -> LearnedBreaking:
        """Allow only objects that a group K leaves as they are, so that answers keep K; None lifts that.

        Parameters
        ----------
        kept : PointGroup or Symmetry
            K. For objects on nodes the symmetry of a structure whose nodes are those of the data, which tells where
            nodes go: that of a less symmetric structure, for instance.
        """
        if kept is not None:
            self._images(self.rows, kept)  # raises what there is to raise
        self.kept = kept
        return self

    # ------------------------------------------------------------------ what was learned

    @torch.no_grad()
    def sizes(self, symmetry: PointGroup | Symmetry | None = None) -> dict[str, float]:
        """Length of the objects in each irrep, the root of the mean square over rows.

        With the symmetry S of the structure, of what breaks S: the objects less their average over S.
        """
        rows = self.value
        if symmetry is not None:
            rows = rows - self._images(rows, symmetry).mean(0)
        found: dict[str, float] = {}
        for ir, block in _blocks(self.irreps, rows):
            found[str(ir)] = float((found.get(str(ir), 0.0) ** 2 + block.square().sum(1).mean()) ** 0.5)
        return found

    def stabilizer(
        self, symmetry: PointGroup | Symmetry, row: int = 0, tolerance: float = 0.01
    ) -> tuple[PointGroup, np.ndarray]:
        """The isotropy subgroup K of an object: what of a symmetry S leaves it as it is.

        Parameters
        ----------
        symmetry : PointGroup or Symmetry
            S, finite; for objects on nodes the Symmetry of the structure.
        row : int
            Which object; for nodes all rows are one object.
        tolerance : float
            Largest change, as a share of the longest row. An object of zeros keeps everything.

        Returns
        -------
        K : PointGroup
        mask : bool array [order]
            The operations of S that are in K, space group operations where S is a Symmetry.
        """
        rows = self.value.detach().cpu().double()
        rows = rows if self.per == "node" else rows[row : row + 1]
        allowed = tolerance * float(rows.norm(dim=1).max())
        if isinstance(symmetry, PointGroup):
            changes = (self._images(rows, symmetry) - rows).norm(dim=2).amax(1)
            return largest_group(symmetry.matrices, changes.numpy(), allowed)
        rows = rows if self.per == "node" else rows.expand(symmetry.num_nodes, -1)
        return target_stabilizer(symmetry, Target(o3.Irreps(self.irreps), rows), allowed)

    def breaking_set(self, symmetry: PointGroup | Symmetry, row: int = 0, tolerance: float = 0.01) -> BreakingSet:
        """The set of objects that breaks S to what the learned object keeps, computed and not learned.

        Raises
        ------
        ValueError
            The object loses translations of a supercell, which no object of a whole structure does.
        """
        kept, mask = self.stabilizer(symmetry, row, tolerance)
        if isinstance(symmetry, PointGroup):
            return breaking_set(symmetry, kept)
        pure = np.abs(symmetry.rotations.numpy() - np.eye(3)).max((1, 2)) < 1e-6
        if (pure & ~mask).any():
            raise ValueError("the learned objects lose translations of the cell: a set of point group objects cannot")
        return breaking_set(symmetry.group, kept)

    def objects(self, data: Data, symmetry: Symmetry | GraphSymmetry, features: Features = ()) -> ListedObjects:
        """The images of the learned object under the symmetry of a structure; of a data set the field alone."""
        if isinstance(symmetry, GraphSymmetry):
            raise ValueError("data has no positions: learned objects are irreps, which rotations act on")
        rows = self.forward(data).breaking.detach()
        if self.per == "dataset":
            return ListedObjects(self.irreps, rows, explanation="The field of the data set breaks the symmetry.")
        images = self._images(rows, symmetry)
        near = 1e-4 * float(rows.norm(dim=1).max())
        distinct: list[Tensor] = []
        for image in images:
            if not distinct or (torch.stack(distinct) - image).norm(dim=2).amax(1).min() > near:
                distinct.append(image)
        listed = torch.stack(distinct)
        return ListedObjects(
            self.irreps,
            listed if self.per == "node" else listed[:, 0],
            ideal=True,
            explanation="The images of a learned object under the symmetry of the structure.",
        )

    def _images(self, rows: Tensor, symmetry: PointGroup | Symmetry) -> Tensor:
        """What each operation makes of the rows, [order, n, D]; on nodes they move with them."""
        return images(rows, self.irreps, symmetry, self.per == "node")

    def extra_repr(self) -> str:
        """Parameters and lengths of what was learned."""
        lengths = {ir: round(size, 6) for ir, size in self.sizes().items()}
        return f"{self.irreps}, per={self.per!r}, num={self.num}, sizes={lengths}"


def images(rows: Tensor, irreps: str, symmetry: PointGroup | Symmetry, on_nodes: bool) -> Tensor:
    """What each operation makes of objects [n, D], or of one with a row on each of n nodes: [order, n, D].

    Raises
    ------
    ValueError
        The symmetry is continuous, or does not tell where nodes go.
    """
    if isinstance(symmetry, PointGroup):
        if on_nodes:
            raise ValueError("objects on nodes move with them: give the Symmetry of the structure, not its point group")
        elements, permutations = symmetry.matrices, None
    else:
        if symmetry.continuous is not None:
            raise ValueError(f"{symmetry.group.schoenflies} is continuous: give a finite subgroup of it")
        elements, permutations = symmetry.rotations.numpy(), symmetry.permutations.to(rows.device)
    moved = torch.einsum("gij,nj->gni", torch.from_numpy(irreps_matrices(irreps, elements)).to(rows), rows)
    if not on_nodes:
        return moved
    assert permutations is not None
    if permutations.size(1) != rows.size(0):
        raise ValueError(f"the symmetry is of {permutations.size(1)} nodes, the objects are on {rows.size(0)}")
    return torch.zeros_like(moved).scatter(1, permutations[:, :, None].expand_as(moved), moved)


def _blocks(irreps: str, rows: Tensor) -> Iterable[tuple[o3.Irrep, Tensor]]:
    """Each copy of each irrep, and its components [n, 2l+1]."""
    at = 0
    for mul, ir in o3.Irreps(irreps):
        for _ in range(mul):
            yield ir, rows[:, at : at + ir.dim]
            at += ir.dim


class ObjectAdam(torch.optim.Optimizer):
    r"""Adam for learned objects: equivariant, since each object is scaled as a whole.

    Adam (`Kingma & Ba, 2015 <https://arxiv.org/abs/1412.6980>`_) with the mean over the components of an object in the
    place of the square of each component; the decay rates are its 0.9 and 0.999. Irreps keep the proportions that they
    have in the gradient. ``strength`` times :meth:`LearnedBreaking.penalty` is minimized as well, by the proximal step:
    each irrep is shortened, and one that the loss does not hold is exactly zero.

    Parameters
    ----------
    breaking : LearnedBreaking
    lr : float
        Step, the root of the mean square of components.
    strength, power : float
        Of the penalty.
    """

    def __init__(self, breaking: LearnedBreaking, lr: float = 1e-2, strength: float = 0.0, power: float = 6) -> None:
        super().__init__([breaking.rows], {"lr": lr, "strength": strength})
        self.over = (0, 1) if breaking.per == "node" else (1,)  # the rows on nodes are one object
        self.widths = [ir.dim for mul, ir in o3.Irreps(breaking.irreps) for _ in range(mul)]
        self.weights = [weight / breaking.num for weight in breaking.weights(power)]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step down the gradient, and the proximal step of the penalty."""
        for group in self.param_groups:
            (rows,) = group["params"]
            if rows.grad is None:
                continue
            state = self.state[rows]
            if not state:
                state.update(count=0, mean=torch.zeros_like(rows), square=torch.zeros_like(rows[:, :1]))
            state["count"] += 1
            state["mean"].lerp_(rows.grad, 1 - 0.9)
            state["square"].lerp_(rows.grad.square().mean(self.over, keepdim=True).expand(len(rows), 1), 1 - 0.999)
            scale = (state["square"] / (1 - 0.999 ** state["count"])).sqrt() + 1e-8
            size = group["lr"] / scale
            rows.sub_(size * state["mean"] / (1 - 0.9 ** state["count"]))
            for block, weight in zip(rows.split(self.widths, dim=1), self.weights, strict=True):
                shortest = group["strength"] * weight * size
                block.mul_((1 - shortest / block.norm(dim=1, keepdim=True).clamp(min=1e-300)).clamp(min=0))


def fit_breaking(
    model: nn.Module,
    breaking: LearnedBreaking,
    loss: Callable[[], Tensor],
    steps: int,
    lr: float = 1e-2,
    strength: float = 1e-3,
    power: float = 6,
) -> list[float]:
    """Alternate steps in the weights of a network, with Adam, and in its learned objects, with :class:`ObjectAdam`.

    The weights descend the loss, the objects the loss and ``strength`` times their :meth:`LearnedBreaking.penalty`, as
    in Smidt, Geiger & Miller (2021).

    Parameters
    ----------
    model : Module
    breaking : LearnedBreaking
    loss : callable
        Evaluates the loss with the present objects, for instance
        ``lambda: (model(breaking(data)) - data.y).square().mean()``.
    steps : int
        Of each kind.
    lr, strength, power : float

    Returns
    -------
    list of float
        The loss before each pair of steps.
    """
    weights, objects = torch.optim.Adam(model.parameters(), lr=lr), ObjectAdam(breaking, lr, strength, power)
    history = []
    for _ in range(steps):
        weights.zero_grad()
        value = loss()
        value.backward()
        weights.step()
        history.append(value.item())
        objects.zero_grad()
        loss().backward()
        objects.step()
    return history


def curie_gradient(
    model: nn.Module, data: Data, target: Tensor, symmetry: Symmetry, on: Literal["graph", "nodes"] = "graph"
) -> dict[str, float]:
    r"""Which irreps an object must have: length of the gradient of the squared error in an object of zeros.

    Without an object an equivariant output is fixed by the symmetry S of the structure. At :math:`b = 0` the gradient
    :math:`-\partial_b \|f(x, b) - y\|^2` is an S-equivariant linear image of the residual, and so it lies in those
    irreps alone that, under S, have a part in common with what the residual lacks (Smidt, Geiger & Miller, 2021). What
    of it S leaves as it is is taken away: it breaks nothing.

    Parameters
    ----------
    model : Module
        With ``irreps_breaking``; it is given ``data`` with ``breaking``. Weights need not be trained.
    data : Data
        One structure.
    target : Tensor
        Of the shape of the output.
    symmetry : Symmetry
        S.
    on : "graph" or "nodes"
        Whether the object is one row, or a row on each node.

    Returns
    -------
    dict of str to float
        Irreps in e3nn's names; an irrep that the target does not call for is zero up to round-off.

    Examples
    --------
    A square that is to become a rectangle:

    >>> from pyg_symbreak.detect import detect_symmetry
    >>> from pyg_symbreak.nn import GatedNetwork
    >>> square = torch.tensor([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]], dtype=torch.float64)
    >>> every = (1 - torch.eye(4)).nonzero().T
    >>> data = Data(pos=square, z=torch.ones(4, dtype=torch.long), x=torch.ones(4, 1).double(), edge_index=every)
    >>> model = GatedNetwork("0e", "1o", "1o+1e+2e", max_radius=3.0, lmax=2, layers=1).double()
    >>> target = square * torch.tensor([0.5, -0.5, 0.0])
    >>> found = curie_gradient(model, data, target, detect_symmetry(data))
    >>> [name for name, size in found.items() if size > 1e-6]
    ['2e']
    """
    irreps = str(model.irreps_breaking)
    count = symmetry.num_nodes if on == "nodes" else 1
    rows = torch.zeros(count, o3.Irreps(irreps).dim, dtype=target.dtype, device=target.device, requires_grad=True)
    given = copy.copy(data)
    given.breaking = rows
    output = model(given)
    if output.shape != target.shape:
        raise ValueError(f"the target has shape {list(target.shape)}, the output {list(output.shape)}")
    (gradient,) = torch.autograd.grad((output - target).square().sum(), rows)
    gradient = gradient - images(gradient, irreps, symmetry, on == "nodes").mean(0)
    found: dict[str, float] = {}
    for ir, block in _blocks(irreps, gradient):
        found[str(ir)] = float((found.get(str(ir), 0.0) ** 2 + block.square().sum()) ** 0.5)
    return found
