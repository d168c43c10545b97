"""The transform that attaches a symmetry breaking object to a structure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Literal

import torch
from ase.geometry import find_mic
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_symbreak.breaking import BreakingSet, breaking_set
from pyg_symbreak.detect import GraphSymmetry, Symmetry, detect_symmetry
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.groups._catalog import parse_symbol
from pyg_symbreak.groups._point_group import parent_group
from pyg_symbreak.structures import to_ase

__all__ = ["AddSymmetryBreaking"]

RESERVED = ("pos", "z", "x", "y", "cell", "pbc", "batch", "edge_index", "edge_shift", "edge_attr", "symmetry")


@functional_transform("add_symmetry_breaking")
class AddSymmetryBreaking(BaseTransform):
    r"""Attaches an object of the smallest equivariant symmetry breaking set for the symmetry of the structure.

    The symmetry S of the structure is detected or read, the set built that breaks it to K, and one object, a vector of
    e3nn irreps, attached as ``data.breaking`` of shape ``[1, dim]``, its irreps as ``data.breaking_irreps``. A network
    that is equivariant in the structure and the object together can then give an answer of symmetry K. If the set is
    ideal any object may be used with any structure of the same shape in any orientation; the answers that the others
    give are the images of the first under S.

    The object belongs to the whole structure and S is a point group: pure translations that carry a supercell into
    itself are not broken.

    With ``choose="sample"`` and no seed this is a random transform (``transform=``), else a deterministic one
    (``pre_transform=``).

    Parameters
    ----------
    keep : str or PointGroup, optional
        K: a symbol or label of a subgroup of S that means one class of subgroups in every orientation of S, or a
        point group in the frame of the structure. Default: nothing is kept.
    symprec : float or "auto"
        Tolerance of the detection, Å. Where :class:`AddSymmetry` has attached the symmetry, it is not detected again.
    parent : "O3", "SO3" or PointGroup
        The group that the network is equivariant under. With "SO3" S is the group of the rotations among the
        symmetries of the structure: such a network does not know of the others.
    choose : "sample", "all" or int
        A random object; or all of them, each on a copy of the structure, returned as one batch in the order of the
        set; or the object of this number.
    seed : int, optional
        With ``choose="sample"``: the object then depends on the seed and the structure only. Without it, it is
        drawn from torch's global generator, which DataLoader seeds in its workers.
    irreps : str or e3nn Irreps, optional
        Irreps that the object is placed in, with zeros where it has no part. Structures with different symmetries
        get objects in different irreps; to be batched they need common ones, see :meth:`common_irreps`. Default:
        the irreps of the set.
    attr_name : str, optional
        Attribute that holds the object. With ``None`` the object is copied to all nodes and appended to ``x``.
    to_nodes : bool
        Whether the object is copied to all nodes, ``[N, dim]``.

    Raises
    ------
    ValueError
        The structure is not one (see :func:`~pyg_symbreak.detect.detect_symmetry`), ``keep`` is not a subgroup or
        not a unique one (the choices are listed), or the set is continuous and was to be listed.

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
        keep: str | PointGroup | None = None,
        symprec: float | Literal["auto"] = 1e-3,
        parent: str | PointGroup = "O3",
        choose: int | Literal["sample", "all"] = "sample",
        seed: int | None = None,
        irreps: str | o3.Irreps | None = None,
        attr_name: str | None = "breaking",
        to_nodes: bool = False,
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
        self.keep = keep
        self.symprec = symprec
        self.parent = parent
        self.choose = choose
        self.seed = seed
        self.irreps = None if irreps is None else str(o3.Irreps(irreps))
        self.attr_name = attr_name
        self.to_nodes = to_nodes

    def breaking_set(self, data: Data) -> BreakingSet:
        """The set for the symmetry of a structure."""
        group = _symmetry(data, self.symprec).group
        if not isinstance(group, PointGroup):
            raise ValueError(
                "data has no positions: sets of irreps objects break point groups. For graphs without positions use "
                "an input-indexed way to break symmetry"
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
        found = self.breaking_set(data)
        if self.choose != "sample" and found.size == math.inf:
            raise ValueError(f"{found} is continuous and cannot be listed: use choose='sample'. {found.explanation}")
        if self.choose == "all":
            return Batch.from_data_list([self._attach(data, found, row[None]) for row in found.objects])
        if self.choose == "sample":
            return self._attach(data, found, found.sample(1, self._generator(data)))
        if not 0 <= int(self.choose) < len(found.objects):
            raise ValueError(f"there is no object {self.choose}: the set {found} has objects 0 to {found.size - 1}")
        return self._attach(data, found, found.objects[int(self.choose)][None])

    def _generator(self, data: Data) -> torch.Generator | None:
        if self.seed is None:
            return None
        content = data.pos.detach().cpu().contiguous().numpy().tobytes()
        digest = hashlib.sha256(repr(self.seed).encode() + content).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))

    def _attach(self, data: Data, found: BreakingSet, row: Tensor) -> Data:
        out = data.clone() if self.choose == "all" else data
        row = place(row, found.irreps, self.irreps).to(data.pos)
        if self.attr_name is None:
            rows = row.expand(data.num_nodes, -1)
            out.x = rows if data.get("x") is None else torch.cat([data.x, rows.to(data.x)], dim=1)
        else:
            out[self.attr_name] = row.expand(data.num_nodes, -1) if self.to_nodes else row
            out[f"{self.attr_name}_irreps"] = self.irreps or str(found.irreps)
        return out

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={_describe(value)}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


def _symmetry(data: Data, symprec: float | Literal["auto"]) -> Symmetry | GraphSymmetry:
    """The symmetry that the data carry, if it is still that of the positions, or the detected one."""
    known = data.get("symmetry")
    if known is None:
        return detect_symmetry(data, symprec)
    if isinstance(known, Symmetry):
        pos = data.pos.detach().cpu().double()
        if known.num_nodes == len(pos):
            missed = pos @ known.rotations.mT + known.translations[:, None] - pos[known.permutations]
            if bool(data.get("pbc", torch.zeros(1)).any()):
                cell = to_ase(data).cell.complete()[:]
                missed = torch.from_numpy(find_mic(missed.reshape(-1, 3).numpy(), cell, to_ase(data).pbc)[0])
            if missed.norm(dim=-1).max() <= known.residual + 0.05:
                return known
        raise ValueError(
            "data.symmetry is not the symmetry of these positions any more: atoms were moved, turned or removed after "
            "AddSymmetry; apply AddSymmetry again after that, or delete data.symmetry"
        )
    return known


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
