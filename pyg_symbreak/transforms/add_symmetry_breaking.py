"""The transform that attaches a symmetry breaking object to a structure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.breaking import BreakingSet, breaking_set, canonicalize, input_breaking_set
from pyg_symbreak.breaking.input_indexed import KernelObjects, Noise, frame_set, neighbor_distance, rank_table
from pyg_symbreak.detect._attached import symmetry_of
from pyg_symbreak.groups import PointGroup, parent_group, parse_symbol
from pyg_symbreak.transforms._seeding import generator_for
from pyg_symbreak.transforms.add_symmetry import AddSymmetry

__all__ = ["AddSymmetryBreaking"]

RESERVED = ("pos", "z", "x", "y", "cell", "pbc", "batch", "edge_index", "edge_shift", "edge_attr", "symmetry")


Strategy = Literal["group", "input", "noise", "sympe"]
SCALARS = "8x0e"


@functional_transform("add_symmetry_breaking")
class AddSymmetryBreaking(BaseTransform):
    r"""Attaches an object that breaks the symmetry of the structure.

    The object, a vector of e3nn irreps, is attached as ``data.breaking``, its irreps as ``data.breaking_irreps``. A
    network that is equivariant in the structure x and the object b together can then give an answer that is less
    symmetric than x. Where b comes from is the strategy:

    - ``"group"``: from the smallest equivariant set for the symmetry S of the structure,
      :func:`~pyg_symbreak.breaking.breaking_set`. If the set is ideal any object may be used with any structure of
      the same shape in any orientation; the answers that the others give are the images of the first under S. For
      some S there is only a continuous set, and graphs without positions have none.
    - ``"input"``: from a set that depends on the structure itself,
      :func:`~pyg_symbreak.breaking.input_breaking_set`, which is ideal for every S. For a graph without positions a
      row of a fixed table is on each node, that of its rank in the canonical form.
    - ``"sympe"``: the element of the inversion kernel itself (:func:`~pyg_symbreak.breaking.canonicalize`), for the
      learned vector of :class:`~pyg_symbreak.nn.SymPE`: the three columns of a rotation, proper or improper; for a
      graph without positions the rank of each node.
    - ``"noise"``: independent normal numbers on each node, of mean zero and the deviation ``scale`` (with positions:
      times the shortest distance between two atoms, Å). They break all symmetry of every structure; what is learned
      is equivariant in distribution.

    The object of a structure leaves pure translations, which carry a supercell into itself, alone; noise does not.

    With ``choose="sample"`` and no seed this is a random transform (``transform=``), else a deterministic one
    (``pre_transform=``).

    Parameters
    ----------
    keep : str or PointGroup, optional
        K, what is to be kept of S: a symbol or label of a subgroup, or a point group in the frame of the structure.
        With "group" a label must mean one class of subgroups in every orientation of S. Default: nothing is kept.
        Of structures with positions, with "group" and "input" only.
    symprec : float or "auto"
        Tolerance of the detection, Å. Where :class:`AddSymmetry` has attached the symmetry, it is not detected again.
    parent : "O3", "SO3" or PointGroup
        The group that the network is equivariant under, with "group" only. With "SO3" S is the group of the rotations
        among the symmetries of the structure: such a network does not know of the others.
    choose : "sample", "all" or int
        A random object; or all of them, each on a copy of the structure, returned as one batch in the order of the
        set; or the object of this number.
    seed : int, optional
        With ``choose="sample"``: the object then depends on the seed and the structure only. Without it, it is
        drawn from torch's global generator, which DataLoader seeds in its workers.
    irreps : str or e3nn Irreps, optional
        With "group" the irreps that the object is placed in, with zeros where it has no part. Structures with
        different symmetries get objects in different irreps; to be batched they need common ones, see
        :meth:`common_irreps`. Default: the irreps of the set. With "input" and "noise" the irreps of the vector that
        is moved, or drawn; defaults: those of :func:`~pyg_symbreak.breaking.input_breaking_set`, "1o" for noise, and
        "8x0e" for graphs without positions, which have scalars only. With "sympe" they are given: "3x1o", of a graph
        "1x0e".
    attr_name : str, optional
        Attribute that holds the object. With ``None`` the object is copied to all nodes and appended to ``x``.
    to_nodes : bool
        Whether an object of the whole structure is copied to all nodes, ``[N, dim]``.
    strategy : "group", "input", "sympe" or "noise"
        Where the object comes from, see above.
    scale : float, optional
        With "noise" only: its standard deviation. Default: 1.
    features : sequence of str, or mapping of str to irreps
        Names of the features that tell nodes (in a graph without positions also edges) apart besides ``z``, as in
        :func:`~pyg_symbreak.detect.detect_symmetry`; with "group" also how they transform.

    Shapes:
        - **output:** ``breaking`` :math:`(1, D)` for structures with positions, :math:`(N, D)` for graphs without, for
          noise, and with ``to_nodes``

    Raises
    ------
    ValueError
        The structure is not one (see :func:`~pyg_symbreak.detect.detect_symmetry`), ``keep`` is not a subgroup or
        not a unique one (the choices are listed), the set is continuous or too large and was to be listed, or an
        argument does not go with the strategy.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from pyg_symbreak.structures import from_ase
    >>> t = AddSymmetryBreaking(keep="C4v", choose="all")
    >>> t(from_ase(bulk("CsCl", "cesiumchloride", a=4.1))).breaking.shape
    torch.Size([6, 3])
    >>> ring = Data(edge_index=torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]]), num_nodes=3)
    >>> AddSymmetryBreaking(strategy="sympe", choose="all")(ring).breaking.view(6, 3).tolist()
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    """

    def __init__(
        self,
        keep: str | PointGroup | None = None,
        symprec: float | Literal["auto"] = 1e-3,
        parent: str | PointGroup = "O3",
        choose: int | Literal["sample", "all"] = "sample",
        seed: int | None = None,
        irreps: str | o3.Irreps | None = None,
        attr_name: str | None = "breaking",
        to_nodes: bool = False,
        strategy: Strategy = "group",
        scale: float | None = None,
        features: Sequence[str] | Mapping[str, str] = (),
    ) -> None:
        if isinstance(choose, str) and choose not in ("sample", "all"):
            raise ValueError(f"choose must be 'sample', 'all' or the number of an object, got {choose!r}")
        if attr_name in RESERVED:
            raise ValueError(f"attr_name={attr_name!r} would overwrite that attribute of the structure; choose another")
        if isinstance(keep, str):
            parse_symbol(keep.split("[")[0])
        elif not (keep is None or isinstance(keep, PointGroup)):
            raise TypeError(f"keep must be a PointGroup or a symbol, got {keep!r}")
        parent_group(parent)
        if strategy not in get_args(Strategy):
            raise ValueError(f"strategy must be one of {', '.join(get_args(Strategy))}, got {strategy!r}")
        self.keep = keep
        self.symprec = symprec
        self.parent = parent
        self.choose = choose
        self.seed = seed
        self.irreps = None if irreps is None else str(o3.Irreps(irreps))
        self.attr_name = attr_name
        self.to_nodes = to_nodes
        self.strategy = strategy
        self.scale = scale
        self.features = features if isinstance(features, Mapping) else tuple(features)
        self._refuse_idle_arguments()

    def _refuse_idle_arguments(self) -> None:
        """Raise ValueError for an argument that this strategy would not heed."""
        idle = {
            "keep": self.keep is not None and self.strategy in ("noise", "sympe"),
            "parent": self.parent != "O3" and self.strategy != "group",
            "choose": self.choose != "sample" and self.strategy == "noise",
            "irreps": self.irreps is not None and self.strategy == "sympe",
            "scale": self.scale is not None and self.strategy != "noise",
        }
        if self.scale is not None and self.scale <= 0:
            raise ValueError(f"scale={self.scale} must be positive: it is the standard deviation of the noise")
        for name, given in idle.items():
            if given:
                raise ValueError(f"{name}={getattr(self, name)!r} has no meaning with strategy={self.strategy!r}")

    def breaking_set(self, data: Data) -> BreakingSet:
        """The set of the objects of a structure with positions, for the strategies "group" and "input"."""
        if self.strategy not in ("group", "input"):
            raise ValueError(
                f"with strategy={self.strategy!r} the objects are no set, and have the same irreps for all structures"
            )
        if self.strategy == "input" and data.get("pos") is not None:
            return input_breaking_set(data, self.keep, self.irreps, self.symprec, self.features)
        group = symmetry_of(data, self.symprec, self.features).group
        if not isinstance(group, PointGroup):
            raise ValueError(
                "data has no positions: sets of irreps objects break point groups. For graphs without positions use "
                "an input-indexed way to break symmetry: strategy='input', 'sympe' or 'noise'"
            )
        if self.parent == "SO3":
            group = group.rotations()
        found = breaking_set(group, self.keep, self.parent)
        if isinstance(self.keep, str):
            _require_invariant_class(group, found.keep, self.keep)
        return found

    def common_irreps(self, dataset: Iterable[Data]) -> o3.Irreps:
        """The smallest irreps that hold the objects of all structures: what ``irreps`` should be for them."""
        most: dict[o3.Irrep, int] = {}
        for data in dataset:
            for mul, ir in self.breaking_set(data).irreps.sort().irreps.simplify():
                most[ir] = max(most.get(ir, 0), mul)
        return o3.Irreps([(mul, ir) for ir, mul in most.items()]).sort().irreps.simplify()

    def forward(self, data: Data) -> Data | Batch:
        """Attach the object; with ``choose="all"`` return the batch of the structure with each of them."""
        if not isinstance(data, Data):
            raise TypeError(f"AddSymmetryBreaking takes a Data, got {type(data).__name__}; see structures.from_ase")
        if isinstance(data, Batch):
            raise ValueError("AddSymmetryBreaking takes one structure, not a batch: use it before batching")
        found = self._objects(data)
        if self.choose == "sample":
            return self._attach(data, found.irreps, found.sample(1, generator_for(data, self.seed))[0])
        assert not isinstance(found, Noise)
        if isinstance(found, BreakingSet) and found.size == math.inf:
            raise ValueError(f"{found} is continuous and cannot be listed: use choose='sample'. {found.explanation}")
        if self.choose == "all":
            return Batch.from_data_list([self._attach(data.clone(), found.irreps, rows) for rows in found.objects])
        if not 0 <= int(self.choose) < len(found.objects):
            raise ValueError(f"there is no object {self.choose}: the set {found} has objects 0 to {found.size - 1}")
        return self._attach(data, found.irreps, found.objects[int(self.choose)])

    def map(self, structures: Iterable[Data], processes: int = 1) -> list[Data | Batch]:
        """Copies of many structures with their symmetries, as :meth:`AddSymmetry.map` attaches them, and objects."""
        return [self(data) for data in AddSymmetry(self.symprec, self.features).map(structures, processes)]

    def _objects(self, data: Data) -> BreakingSet | KernelObjects | Noise:
        """The objects of the structure, each [dim] or [N, dim]."""
        is_graph = data.get("pos") is None
        if self.strategy == "group" or (self.strategy == "input" and not is_graph):
            return self.breaking_set(data)
        if self.strategy == "noise":
            scale = 1.0 if self.scale is None else self.scale
            if not is_graph:
                return Noise(o3.Irreps(self.irreps or "1o"), int(data.num_nodes), scale * neighbor_distance(data))
            return Noise(self._scalars(), int(data.num_nodes), scale)
        if self.keep is not None:
            raise ValueError("keep is a point group, and data has no positions: of a graph nothing is kept")
        if not is_graph:
            return frame_set(data, self.symprec, self.features)
        kernel = canonicalize(data, self.symprec, self.features)
        if self.strategy == "sympe":
            return KernelObjects(kernel, o3.Irreps("0e"), lambda elements: elements.ranks[:, :, None])
        table = rank_table(int(data.num_nodes), self._scalars().dim)
        return KernelObjects(kernel, self._scalars(), lambda elements: table[elements.ranks])

    def _scalars(self) -> o3.Irreps:
        irreps = o3.Irreps(self.irreps or SCALARS)
        if any(ir != o3.Irrep("0e") for _, ir in irreps):
            raise ValueError(f"data has no positions, so that its objects are scalars such as '8x0e', not {irreps}")
        return irreps

    def _attach(self, data: Data, irreps: o3.Irreps, rows: Tensor) -> Data:
        """The data with an object [dim] or [N, dim]."""
        if self.strategy == "group":
            rows = place(rows[None], irreps, self.irreps)[0]
        rows = _like(rows, data)
        on_nodes = rows.expand(data.num_nodes, -1)
        if self.attr_name is None:
            data.x = on_nodes if data.get("x") is None else torch.cat([data.x, on_nodes.to(data.x)], dim=1)
        else:
            data[self.attr_name] = on_nodes if self.to_nodes or rows.dim() == 2 else rows[None]
            data[f"{self.attr_name}_irreps"] = str(irreps) if self.strategy != "group" else self.irreps or str(irreps)
        return data

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={_describe(value)}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


def _like(rows: Tensor, data: Data) -> Tensor:
    """Rows on the device, and if they are floating point numbers in the precision, of the data."""
    if data.get("pos") is not None:
        return rows.to(data.pos)
    if not rows.is_floating_point():
        return rows.to(data.edge_index.device)
    x = data.get("x")
    dtype = x.dtype if x is not None and x.is_floating_point() else torch.get_default_dtype()
    return rows.to(data.edge_index.device, dtype)


def place(objects: Tensor, irreps: o3.Irreps, into: str | None) -> Tensor:
    """Objects [n, irreps.dim] as vectors [n, dim] of irreps that contain theirs, with zeros in the rest.

    An invariant scalar, which breaks nothing, is left out where there is no room for it.

    Raises
    ------
    ValueError
        ``into`` lacks an irrep that the objects need.
    """
    if into is None:
        return objects
    slots: dict[o3.Irrep, list[slice]] = {}
    at = 0
    for mul, ir in o3.Irreps(into):
        for _ in range(mul):
            slots.setdefault(ir, []).append(slice(at, at + ir.dim))
            at += ir.dim
    out = objects.new_zeros(len(objects), at)
    at = 0
    for mul, ir in irreps:
        for _ in range(mul):
            if not slots.get(ir):
                if ir == o3.Irrep("0e"):  # an invariant says nothing of the direction in which to break
                    at += 1
                    continue
                raise ValueError(
                    f"the objects have irreps {irreps}, which do not fit in irreps={into}: {ir} is missing"
                )
            out[:, slots[ir].pop(0)] = objects[:, at : at + ir.dim]
            at += ir.dim
    return out


def _require_invariant_class(group: PointGroup, keep: PointGroup, label: str) -> None:
    """Refuse a label whose meaning depends on the choice of axes: N(S) exchanges several classes of such subgroups."""
    if not group.is_finite or keep.order in (1, group.order):
        return
    normalizer = group.normalizer()
    if normalizer.is_finite and normalizer.order != group.generalized_normalizer(keep).order:
        raise ValueError(
            f"keep={label!r} is ambiguous in a structure of symmetry {group.schoenflies}: rotations that leave the "
            "group as it is exchange several classes of such subgroups, so that a label cannot tell them apart in "
            "every orientation; give keep as a PointGroup in the frame of the structure, for example "
            f"detect_symmetry(data).group.subgroup({label!r})"
        )


def _describe(value: object) -> str:
    if isinstance(value, PointGroup):
        return f"{value.schoenflies} in the frame {(value.frame.round(6) + 0.0).tolist()}"
    return repr(value)
