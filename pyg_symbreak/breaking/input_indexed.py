"""Symmetry breaking objects that depend on the input itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.detect import Features, GraphSymmetry, Symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices

from .canonical.kernel import InversionKernel, KernelElements, canonicalize, inversion_kernel
from .canonical.ranks import rank_table
from .canonical.structures import DIRECTION, generic_function
from .group_indexed import BreakingSet
from .protocol import Level, describe, require_keep

__all__ = ["InputIndexed", "KernelObjects", "input_breaking_set"]

GENERIC = "0o+2x1o"
"""Irreps in which a generic vector has no symmetry in O(3)."""
LMAX = 12
"""Highest degree in which an object that keeps a subgroup is looked for."""
TRIVIAL, ALL = PointGroup("C1"), PointGroup("O3")
SCALARS = "8x0e"
"""Irreps of the objects of a graph without positions."""


@dataclass(frozen=True)
class InputIndexed:
    """Objects from a set that depends on the structure itself: ideal for every finite symmetry, and for graphs.

    Of a structure with positions the set of :func:`input_breaking_set`; of a graph without positions a row of a fixed
    table is on each node, that of its rank in the canonical form. After S.-O. Kaba and S. Ravanbakhsh, "Symmetry
    Breaking and Equivariant Neural Networks", arXiv 2312.09016.

    Parameters
    ----------
    keep : PointGroup or str, optional
        What is to be kept, see :func:`input_breaking_set`; of structures with positions only. Default: nothing.
    irreps : str or e3nn Irreps, optional
        Of the vector that is moved. Default: as in :func:`input_breaking_set`; "8x0e" for graphs without positions,
        which have scalars only.

    Examples
    --------
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking
    >>> AddSymmetryBreaking(InputIndexed(irreps="2x1o"), choose="all")(Data(pos=torch.eye(3))).breaking.shape
    torch.Size([12, 6])
    """

    keep: PointGroup | str | None = None
    irreps: str | None = None

    def __post_init__(self) -> None:
        require_keep(self.keep)
        if self.irreps is not None:
            object.__setattr__(self, "irreps", str(o3.Irreps(self.irreps)))

    def objects(
        self, data: Data, symmetry: Symmetry | GraphSymmetry, features: Features = ()
    ) -> BreakingSet | KernelObjects:
        """The set of the structure or graph."""
        if isinstance(symmetry, Symmetry):
            return _kernel_set(inversion_kernel(data, symmetry, features), self.keep, self.irreps)
        if self.keep is not None:
            raise ValueError("keep is a point group, and data has no positions: of a graph nothing is kept")
        irreps = require_scalars(self.irreps)
        table = rank_table(symmetry.num_nodes, irreps.dim)
        kernel = inversion_kernel(data, symmetry, features)
        return KernelObjects(kernel, irreps, lambda elements: table[elements.ranks])

    def __repr__(self) -> str:
        return describe(self)


def require_scalars(irreps: str | None) -> o3.Irreps:
    """The irreps of objects on the nodes of a graph without positions."""
    found = o3.Irreps(irreps or SCALARS)
    if any(ir != o3.Irrep("0e") for _, ir in found):
        raise ValueError(f"data has no positions, so that its objects are scalars such as '8x0e', not {found}")
    return found


def input_breaking_set(
    data: Data,
    keep: PointGroup | str | None = None,
    irreps: str | o3.Irreps | None = None,
    symprec: float | Literal["auto"] = 1e-3,
    features: Features = (),
) -> BreakingSet:
    r"""The symmetry breaking set that depends on the structure itself, and not on its symmetry S alone.

    One fixed vector v is moved by all elements of the inversion kernel (:func:`canonicalize`): the objects are
    :math:`D(h) v` for all h that carry the canonical form of the structure to the structure. They are one orbit of S,
    :math:`|S|/|K|` objects: the set is ideal whatever S is, also for C_n, C_nh and S_2n, where no set that depends
    on S alone is finite. To keep a subgroup K, v is averaged over K as it lies in the canonical form. Structures of
    the same symmetry but different shape have sets that do not know of each other.

    Parameters
    ----------
    data : Data
        A molecule, a point cloud, a slab or a crystal: ``pos`` [N, 3] Å, as for :func:`canonicalize`.
    keep : PointGroup or str, optional
        K: a subgroup of S in the frame of the structure, or a label of one (see
        :meth:`~pyg_symbreak.groups.PointGroup.subgroups`). Where several classes of subgroups differ by nothing but
        the choice of axes, the canonical form decides which of them is meant, for all structures of one shape alike.
        Default: nothing is kept.
    irreps : str or e3nn Irreps, optional
        Irreps of the objects. Default: "0o+2x1o"; to keep a subgroup, if need be with irreps of higher degree, both
        parities of each.
    symprec, features
        As for :func:`canonicalize`.

    Returns
    -------
    BreakingSet
        Ideal. Each irrep of an object has unit length, or vanishes. Pure translations of a supercell are not broken.

    Raises
    ------
    ValueError
        As in :func:`canonicalize`; ``data`` has no positions; ``keep`` is not a subgroup, or a label with several
        meanings (they are listed); or no vector of ``irreps`` has exactly the symmetry K.

    Examples
    --------
    >>> from pyg_symbreak.structures import from_ase
    >>> from ase import Atoms
    >>> turns = 2 * np.pi * np.arange(4) / 4
    >>> ring = lambda r, twist: [(r * np.cos(t + twist), r * np.sin(t + twist), 0) for t in turns]
    >>> propeller = Atoms("CF4H4", [(0, 0, 0.5), *ring(1.3, 0), *ring(2.0, 0.3)])
    >>> b = input_breaking_set(from_ase(propeller, torch.float64))
    >>> b
    BreakingSet(C4, size=4, irreps=1x0o+2x1o, ideal)
    """
    kernel = canonicalize(data, symprec, features)
    if isinstance(kernel.symmetry, GraphSymmetry):
        raise ValueError(
            "data has no positions: sets of irreps objects are for structures. For a graph use canonicalize(data), or "
            "AddSymmetryBreaking('input')"
        )
    return _kernel_set(kernel, keep, irreps)


def _kernel_set(kernel: InversionKernel, keep: PointGroup | str | None, irreps: str | o3.Irreps | None) -> BreakingSet:
    """The set for the structure of an inversion kernel."""
    frame, group = kernel.setting.rotation.numpy(), kernel.symmetry.group
    assert isinstance(group, PointGroup)
    if keep is None and irreps is None:  # no isometry leaves two vectors and a pseudoscalar as they are
        return placed_set(frame, group, TRIVIAL, *_generic_object())
    kept = _representative(frame, group, keep)
    if irreps is not None:
        found = _set(frame, group, kept, o3.Irreps(irreps))
        if found is None:
            raise ValueError(
                f"no vector of irreps={irreps} is fixed by {kept.schoenflies} and by nothing else of the symmetry "
                f"{group.schoenflies}: add irreps, or leave them out to have some chosen"
            )
        return found
    more = ["".join(f"+{l}o+{l}e" for l in range(2, lmax + 1)) for lmax in range(1, LMAX + 1)]
    found = next(filter(None, (_set(frame, group, kept, o3.Irreps(GENERIC + m)) for m in more)), None)
    if found is None:
        raise ValueError(f"to keep {kept.schoenflies} of {group.schoenflies} takes irreps above l = {LMAX}: name some")
    return found


def _representative(frame: np.ndarray, group: PointGroup, keep: PointGroup | str | None) -> PointGroup:
    """The member of the class of K that lies in the canonical form as the canonical form itself decides."""
    if keep is None:
        return TRIVIAL
    if isinstance(keep, PointGroup):
        if not group.contains_group(keep):
            raise ValueError(
                f"keep: {keep.schoenflies}, as oriented here, is not a subgroup of the symmetry {group.schoenflies}"
            )
        movers = group.matrices
    else:
        keep = group.subgroup(keep)
        normalizer = group.normalizer()  # an infinite one leaves all subgroups of C_n, C_nh, S_2n as they are
        movers = normalizer.matrices if normalizer.is_finite else group.matrices
    to_canonical = frame.T @ movers
    members = to_canonical[:, None] @ keep.matrices @ to_canonical.swapaxes(1, 2)[:, None]
    values = generic_function(members @ DIRECTION).sum(1)
    return keep.rotated(movers[int(np.argmax(values <= values.min() + 1e-9))])


def _set(frame: np.ndarray, group: PointGroup, kept: PointGroup, irreps: o3.Irreps) -> BreakingSet | None:
    """The set of the generic vector of these irreps averaged over K, if that breaks S to K exactly."""
    averaged = irreps_matrices(irreps, frame.T @ kept.matrices @ frame).mean(0) @ _generic_vector(irreps.dim)
    vector = _of_unit_parts(averaged, irreps)
    found = placed_set(frame, group, kept, irreps, vector)
    moved = irreps_matrices(irreps, group.matrices) @ found._first
    fixing = np.abs(moved - found._first).max(1, initial=0) < 1e-3
    return found if fixing.sum() == kept.order else None


def placed_set(
    frame: np.ndarray, group: PointGroup, kept: PointGroup, irreps: o3.Irreps, vector: np.ndarray
) -> BreakingSet:
    """The set of a vector of the canonical form that breaks S to K."""
    return BreakingSet(
        group=group,
        keep=kept,
        parent=ALL,
        irreps=irreps,
        ideal=True,
        degeneracy=1.0,
        complement=kept,
        _first=irreps_matrices(irreps, frame[None])[0] @ vector,
        _motions=_cosets(group, kept),
        _normalizer=group,
    )


def _cosets(group: PointGroup, kept: PointGroup) -> np.ndarray:
    """One element of each left coset of K in S, the identity for K itself."""
    identity = int(group.matrices.trace(axis1=1, axis2=2).argmax())
    if kept.order == 1:
        return group.matrices[np.argsort(np.arange(len(group.matrices)) != identity, kind="stable")]
    inside = list(group.indices_of(kept))
    seen = np.zeros(len(group.matrices), dtype=bool)
    chosen = []
    for g in [identity, *range(len(group.matrices))]:
        if not seen[g]:
            chosen.append(g)
            seen[group.table[g, inside]] = True
    return group.matrices[chosen]


@cache
def _generic_object() -> tuple[o3.Irreps, np.ndarray]:
    """Irreps in which a generic vector has no symmetry, and that vector."""
    irreps = o3.Irreps(GENERIC)
    return irreps, _of_unit_parts(_generic_vector(irreps.dim), irreps)


def _of_unit_parts(vector: np.ndarray, irreps: o3.Irreps) -> np.ndarray:
    """The vector with each of its irreps, unless it vanishes, scaled to unit length."""
    parts = np.split(vector, np.cumsum([ir.dim for mul, ir in irreps for _ in range(mul)])[:-1])
    lengths = [np.linalg.norm(part) for part in parts]
    return np.concatenate([p / length if length > 1e-6 else 0 * p for p, length in zip(parts, lengths, strict=True)])


def _generic_vector(dim: int) -> np.ndarray:
    """Fixed numbers of mean square 1 without relations between them, float64 [dim]."""
    return rank_table(2, dim)[1].numpy()


# ---------------------------------------------------------------------- graphs without positions


@dataclass(frozen=True, eq=False)
class KernelObjects:
    """Objects on the nodes of a graph, one for each element of its inversion kernel."""

    kernel: InversionKernel
    irreps: o3.Irreps
    make: Callable[[KernelElements], Tensor]
    level: Level = "node"
    keep: PointGroup | None = None
    ideal: bool = True
    explanation: str = "Ideal: the objects are one orbit of the automorphism group, and it fixes none of them."

    @property
    def size(self) -> int:
        """The number of objects: the order of the automorphism group."""
        return self.kernel.order

    def all(self) -> Tensor:
        """All objects [size, N, dim]; a ValueError if they are too many."""
        return self.make(self.kernel.elements)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Objects drawn independently and uniformly, [n, N, dim]."""
        return self.make(self.kernel.sample(n, generator))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, irreps={self.irreps})"
