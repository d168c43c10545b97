"""The transform that attaches a symmetry breaking object to a structure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np
import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.breaking import (
    Breaking,
    GroupElement,
    GroupIndexed,
    InputIndexed,
    NodeFields,
    Noise,
    Objects,
    paired_object,
    read_target,
    target_stabilizer,
)
from pyg_symbreak.detect import GraphSymmetry, Symmetry, require_features, space_group_numbers, symmetry_of
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.structures import GLAZER, mark_of
from pyg_symbreak.structures.conversion import described
from pyg_symbreak.transforms.add_symmetry import AddSymmetry
from pyg_symbreak.transforms.input import (
    attach,
    device_of,
    generator_for,
    naming,
    node_features,
    require_data,
    require_free,
)

__all__ = ["AddSymmetryBreaking", "ObjectBatch"]

KINDS: dict[str, type] = {"group": GroupIndexed, "input": InputIndexed, "sympe": GroupElement, "noise": Noise}
MANY = 20_000
"""More copies of a structure than this are not made."""


@functional_transform("add_symmetry_breaking")
class AddSymmetryBreaking(BaseTransform):
    r"""Attaches an object that breaks the symmetry of the structure.

    The object, a vector of e3nn irreps, is attached as ``data.breaking``, its irreps as ``data.breaking_irreps``. A
    network that is equivariant in the structure x and the object b together can then give an answer that is less
    symmetric than x. Where b comes from is the breaking:

    - ``"group"``, :class:`~pyg_symbreak.breaking.GroupIndexed`: from the smallest equivariant set for the symmetry of
      the structure;
    - ``"input"``, :class:`~pyg_symbreak.breaking.InputIndexed`: from a set that depends on the structure itself;
    - ``"sympe"``, :class:`~pyg_symbreak.breaking.GroupElement`: the group element that leads from the canonical form to
      the structure, for the learned vector of :class:`~pyg_symbreak.nn.SymPE`;
    - ``"noise"``, :class:`~pyg_symbreak.breaking.Noise`: independent normal numbers on the nodes;
    - one of your own, see :class:`~pyg_symbreak.breaking.Breaking`.

    An object of the whole structure leaves pure translations, which carry a supercell into itself, alone; fields on the
    nodes and noise do not.

    With ``choose="sample"`` and no seed this is a random transform (``transform=``), else a deterministic one
    (``pre_transform=``). Objects belong to the orientation and the order of nodes that the structure had: transforms
    that rotate or renumber (``RandomRotate``) come before this one. ``data.breaking_mark`` [1, 3], a vector of the
    positions, tells the first batch that :class:`~pyg_symbreak.nn.GatedNetwork` or
    :class:`~pyg_symbreak.nn.BreakingEdgeInvariants` sees whether they do (noise has none, it fits any orientation).
    Turns of less than 11 degrees pass, as a jitter of the positions does, and later batches are not looked at.

    Parameters
    ----------
    breaking : Breaking or "group", "input", "sympe", "noise"
        Where the object comes from; a name stands for the class with its defaults.
    keep : str or PointGroup, optional
        With the names "group" and "input": what is to be kept of the symmetry. Default: nothing.
    choose : "sample", "all", "target" or int
        A random object; or all of them, each on a copy of the structure, returned as one batch in the order of the
        set; or the one that belongs to the target of the structure, by a rule that moves with both
        (:func:`~pyg_symbreak.breaking.paired_object`): this is for training on known answers; or the object of this
        number, which means nothing from one orientation of a structure to another.
    target : str, or mapping of str to irreps
        With ``choose="target"``: the attributes that hold the target, as in
        :func:`~pyg_symbreak.breaking.read_target`. A breaking whose ``keep`` is not given keeps what the target keeps,
        up to changes of ``symprec`` (in the unit of the target).
    seed : int, optional
        With ``choose="sample"``: the object then depends on the seed and the structure only. Without it, it is
        drawn from torch's global generator, which DataLoader seeds in its workers.
    irreps : str or e3nn Irreps, optional
        The irreps that the object is placed in, with zeros where it has no part. Structures with different symmetries
        get objects in different irreps; to be batched they need common ones, see :meth:`common_irreps`. Default: those
        of the object.
    attr : str, optional
        Attribute that holds the object. With ``None`` the object is copied to all nodes and becomes the last columns
        of ``x``; ``breaking_irreps`` says how they transform.
    on : "graph" or "nodes"
        With "nodes" an object of the whole structure is copied to all nodes, ``[N, dim]``. An object that has a row on
        each node stays as it is. What breaks translations of a supercell takes "nodes": ``keep`` is then the symbol or
        number of a space group, a Glazer symbol, a subgroup, a distortion or a distorted structure, as for
        :func:`~pyg_symbreak.breaking.breaking_set` of a symmetry, and the object a field in ``irreps``, see
        :class:`~pyg_symbreak.breaking.NodeFields`. With ``choose="target"`` this is decided by the target; where the
        set of the whole structure is continuous, the object is a field then too.
    nodes : str or indices, optional
        An element, or whole orbits, that such a field lives on. Default: chosen, as are its irreps.
    symprec : float or "auto"
        Tolerance of the detection, Å. Where :class:`AddSymmetry` has attached the symmetry, it is not detected again.
    features : sequence of str, or mapping of str to irreps
        Names of the features that tell nodes (in a graph without positions also edges) apart besides ``z``, as in
        :func:`~pyg_symbreak.detect.detect_symmetry`; with "group" and "noise" also how they transform.

    Shapes:
        - **output:** ``breaking`` :math:`(1, D)` for structures with positions, :math:`(N, D)` for graphs without, for
          noise, and with ``on="nodes"``

    Raises
    ------
    ValueError
        The structure is not one (see :func:`~pyg_symbreak.detect.detect_symmetry`), ``keep`` is not a subgroup or
        not a unique one (the choices are listed), the set is continuous or too large and was to be listed, or an
        argument has no meaning. Errors about a structure begin with its formula.
    TypeError
        The data are no Data, or a batch.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from pyg_symbreak.structures import from_ase
    >>> t = AddSymmetryBreaking(keep="C4v", choose="all")
    >>> t(from_ase(bulk("CsCl", "cesiumchloride", a=4.1))).breaking.shape
    torch.Size([6, 3])
    """

    def __init__(
        self,
        breaking: Breaking | str = "group",
        *,
        keep: Any = None,
        choose: int | Literal["sample", "all", "target"] = "sample",
        target: str | Mapping[str, str] = "y",
        seed: int | None = None,
        irreps: str | o3.Irreps | None = None,
        attr: str | None = "breaking",
        on: Literal["graph", "nodes"] = "graph",
        nodes: Any = None,
        symprec: float | Literal["auto"] = 1e-3,
        features: Sequence[str] | Mapping[str, str] = (),
    ) -> None:
        if isinstance(choose, str) and choose not in ("sample", "all", "target"):
            raise ValueError(f"choose must be 'sample', 'all', 'target' or the number of an object, got {choose!r}")
        if on not in ("graph", "nodes"):
            raise ValueError(f"on must be 'graph' or 'nodes', got {on!r}")
        require_free(attr)
        self.irreps = None if irreps is None else str(o3.Irreps(irreps))
        if breaking == "group" and (nodes is not None or not _is_point_group(keep)):
            if on == "graph":
                if isinstance(keep, int | float):
                    raise TypeError(f"keep must be a PointGroup or a symbol, got {keep!r}")
                raise ValueError(
                    f"keep={keep!r}, nodes={nodes!r}: what breaks translations of a supercell takes objects on the "
                    "nodes, pass on='nodes'"
                )
            self.breaking: Breaking = NodeFields(keep, nodes, self.irreps)
        elif nodes is not None:
            raise ValueError(f"nodes={nodes!r} goes with breaking='group' or is a parameter of NodeFields")
        else:
            self.breaking = _breaking(breaking, keep)
        self.choose = choose
        self.target = target if isinstance(target, str) else dict(target)
        self.seed = seed
        self.attr = attr
        self.on = on
        self.symprec = symprec
        self.features = require_features(features)

    def objects(self, data: Data) -> Objects:
        """The objects of a structure, in irreps of their own."""
        return self._read(data)[2]

    def common_irreps(self, dataset: Iterable[Data]) -> o3.Irreps:
        """The smallest irreps that hold the objects of all structures: what ``irreps`` should be for them."""
        most: dict[o3.Irrep, int] = {}
        for data in dataset:
            for mul, ir in self.objects(data).irreps.sort().irreps.simplify():
                most[ir] = max(most.get(ir, 0), mul)
        return o3.Irreps([(mul, ir) for ir, mul in most.items()]).sort().irreps.simplify()

    def forward(self, data: Data) -> Data | Batch:
        """Attach the object; with ``choose="all"`` return the batch of the structure with each of them."""
        read, symmetry, found = self._read(data)
        with naming(data):
            rows = self._chosen(read, symmetry, found)
            if self.choose == "all":
                return ObjectBatch.of(
                    [self._attach(data.clone(), found, row) for row in rows], f"{self.attr or 'breaking'}_irreps"
                )
            return self._attach(data, found, rows[0])

    def map(self, structures: Iterable[Data], processes: int = 1) -> Iterator[Data | Batch]:
        """Copies of many structures with their symmetries, as :meth:`AddSymmetry.map` attaches them, and objects."""
        for data in AddSymmetry(self.symprec, self.features).map(structures, processes):
            yield self(data)

    def _read(self, data: Data) -> tuple[Data, Symmetry | GraphSymmetry, Objects]:
        """The structure as it is read, its symmetry and its objects."""
        read = require_data(data, self)
        with naming(data):
            symmetry = symmetry_of(read, self.symprec, self.features)
            breaking: Any = self.breaking
            kept_rows: tuple[int, ...] | None = None  # operations to keep, where the target says which
            if (
                self.choose == "target"
                and isinstance(symmetry, Symmetry)
                and getattr(breaking, "keep", "given") is None
            ):
                target = read_target(read, self.target)
                kept, mask = target_stabilizer(symmetry, target, symmetry.symprec, self._rotations_only)
                kept_rows = tuple(np.flatnonzero(mask).tolist())
                if isinstance(breaking, NodeFields):
                    breaking = replace(breaking, keep=kept_rows)
                elif self.on == "nodes" and not set(symmetry.pure_translations.tolist()) <= set(kept_rows):
                    breaking = NodeFields(kept_rows, irreps=self.irreps)
                else:
                    breaking = replace(breaking, keep=kept)
            found: Objects = breaking.objects(read, symmetry, self.features)
            if self.on == "nodes" and self.choose == "target" and kept_rows is not None and found.size == math.inf:
                found = NodeFields(kept_rows, irreps=self.irreps).objects(read, symmetry, self.features)
            return read, symmetry, found

    @property
    def _rotations_only(self) -> bool:
        return getattr(self.breaking, "parent", "O3") == "SO3"

    def _chosen(self, data: Data, symmetry: Symmetry | GraphSymmetry, found: Objects) -> Tensor:
        """The rows of the objects that were asked for, [n, ...]."""
        if self.choose == "target":
            target, tolerance = read_target(data, self.target), getattr(symmetry, "symprec", 0.0)
            only = self._rotations_only
            if found.size == float("inf"):
                why = getattr(found, "explanation", "")
                raise ValueError(
                    "choose='target' takes one of finitely many objects: use AddSymmetryBreaking('input', "
                    "choose='target'), or keep what leaves finitely many" + (f". {why}" if why else "")
                )
            return paired_object(found, data, symmetry, target, self.features, tolerance, only)[None]
        if self.choose == "sample":
            return found.sample(1, generator_for(data, self.seed))
        if self.choose == "all":
            if MANY < found.size < float("inf"):  # the set says itself what to do where it is continuous
                raise ValueError(f"the set has {found.size} objects, too many for choose='all': use choose='sample'")
            return found.all()
        number = int(self.choose)
        if not 0 <= number < found.size:
            raise ValueError(f"there is no object {number}: the set {found} has objects 0 to {found.size - 1}")
        return found.all()[number : number + 1]

    def _attach(self, data: Data, found: Objects, rows: Tensor) -> Data:
        """The data with an object [dim] or [N, dim]."""
        if self.irreps is not None:
            rows = place(rows, found.irreps, self.irreps)
        rows = _like(rows, data)
        if found.level == "graph":
            rows = rows.expand(data.num_nodes, -1) if self.on == "nodes" else rows[None]
        if self.attr is not None and data.get("pos") is not None and not isinstance(self.breaking, Noise):
            data[f"{self.attr}_mark"] = mark_of(data.pos, data.get("cell"), data.get("pbc"))
        return attach(data, self.attr, rows, self.irreps or str(found.irreps))

    def __repr__(self) -> str:
        values = {name: value for name, value in vars(self).items() if name != "breaking"}
        arguments = ", ".join(f"{name}={value!r}" for name, value in values.items())
        return f"{type(self).__name__}({self.breaking!r}, {arguments})"


class ObjectBatch(Batch):
    """A batch of one structure with each object of its set; a loader makes of several a batch of all structures."""

    @classmethod
    def of(cls, copies: list[Data], irreps: str) -> ObjectBatch:
        """The batch of the copies, whose common irreps, an attribute, stay one string."""
        try:
            batch = cls.from_data_list(copies)
        except Exception as error:  # of any type: of what torch cannot concatenate, such as sparse vectors
            raise ValueError(f"choose='all' makes a batch, which cannot hold {_not_batched(copies[0])}") from error
        batch[irreps] = copies[0][irreps]
        del batch._slice_dict[irreps]
        return batch

    def get_example(self, idx: int) -> Data:
        """One structure with its object."""
        if self._num_graphs < self.num_graphs:  # a loader's batch of such batches
            return self._copy_of(idx)
        data = super().get_example(idx)
        for key, value in self.to_dict().items():
            if isinstance(value, str):
                data[key] = value
        return data

    def _copy_of(self, idx: int) -> Data:
        """One structure with its object of a batch of batches, in each of which all copies are of one size."""
        idx = range(self.num_graphs)[idx]
        first = self.batch[self._slice_dict["batch"][:-1]].tolist()  # number of the first copy of each structure
        structure = bisect_right(first, idx) - 1
        copies, count = [*first, self.num_graphs][structure + 1] - first[structure], idx - first[structure]
        every, data = super().get_example(structure), Data()
        nodes = len(every.batch) // copies
        for key, value in every.to_dict().items():
            if key == "batch":
                continue
            if isinstance(value, Tensor):
                value = value.chunk(copies, data.__cat_dim__(key, value))[count]
                if "index" in key or key == "face":
                    value = value - count * nodes
            elif isinstance(value, list):
                value = value[count]
            data[key] = value
        if "pos" not in data:
            data.num_nodes = nodes
        return data

    @property
    def num_graphs(self) -> int:
        """The number of structures."""
        return int(self.batch[-1]) + 1


def _not_batched(data: Data) -> str:
    """Name and type of the attribute that PyG cannot concatenate."""
    for key, value in data.to_dict().items():
        try:
            Batch.from_data_list([Data(**{key: value, "num_nodes": data.num_nodes})] * 2)
        except Exception:  # as above
            return f"data.{key}, which {described(value)}"
    return "its attributes"


def _is_point_group(keep: Any) -> bool:
    """Whether what is to be kept is said as a point group, or not at all; "C2", which is both, as a point group."""
    if isinstance(keep, str):
        return keep == "C2" or not (keep.replace(" ", "") in space_group_numbers() or GLAZER.fullmatch(keep))
    return keep is None or isinstance(keep, PointGroup)


def _breaking(breaking: Breaking | str, keep: str | PointGroup | None) -> Breaking:
    """The breaking that a name stands for, or the one given."""
    if not isinstance(breaking, str):
        if isinstance(breaking, type) or not isinstance(breaking, Breaking):
            raise TypeError(
                f"breaking must be one of {', '.join(KINDS)}, or have a method objects(data, symmetry, features); got "
                f"{breaking!r}"
            )
        if keep is not None:
            raise ValueError(f"keep={keep!r} goes with a name; here it is a parameter of {type(breaking).__name__}")
        return breaking
    if breaking not in KINDS:
        raise ValueError(f"breaking must be one of {', '.join(KINDS)}, or a Breaking, got {breaking!r}")
    kind = KINDS[breaking]
    if keep is None:
        return kind()
    if "keep" not in [field.name for field in fields(kind)]:
        raise ValueError(f"keep={keep!r} has no meaning with {breaking!r}, which breaks everything")
    return kind(keep=keep)


def _like(rows: Tensor, data: Data) -> Tensor:
    """Rows on the device, and if they are floating point numbers in the precision, of the data."""
    if not rows.is_floating_point():
        return rows.to(device_of(data))
    if data.get("pos") is not None:
        return rows.to(data.pos)
    x = node_features(data)
    dtype = x.dtype if x is not None and x.is_floating_point() else torch.get_default_dtype()
    return rows.to(device_of(data), dtype)


def place(objects: Tensor, irreps: o3.Irreps, into: str) -> Tensor:
    """Objects [..., irreps.dim] as vectors [..., dim] of irreps that contain theirs, with zeros in the rest.

    An invariant scalar, which breaks nothing, is left out where there is no room for it.

    Raises
    ------
    ValueError
        ``into`` lacks an irrep that the objects need.
    """
    slots: dict[o3.Irrep, list[slice]] = {}
    at = 0
    for mul, ir in o3.Irreps(into):
        for _ in range(mul):
            slots.setdefault(ir, []).append(slice(at, at + ir.dim))
            at += ir.dim
    out = objects.new_zeros(*objects.shape[:-1], at)
    at = 0
    for mul, ir in irreps:
        for _ in range(mul):
            if slots.get(ir):
                out[..., slots[ir].pop(0)] = objects[..., at : at + ir.dim]
            elif ir != o3.Irrep("0e"):  # an invariant says nothing of the direction in which to break
                raise ValueError(
                    f"the objects have irreps {irreps}, which do not fit in irreps={into}: {ir} is missing"
                )
            at += ir.dim
    return out
