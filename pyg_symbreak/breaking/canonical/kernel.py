"""Canonical forms of structures and graphs, and the inversion kernel: all elements that make the form the input.

Theory: S.-O. Kaba and S. Ravanbakhsh, "Symmetry Breaking and Equivariant Neural Networks", arXiv 2312.09016;
H. Lawrence, V. Portilheiro, Y. Zhang, S.-O. Kaba, "Improving Equivariant Networks with Probabilistic Symmetry
Breaking", ICLR 2025, arXiv 2503.21985.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_symbreak.detect import Features, GraphSymmetry, Symmetry, require_features, symmetry_of

from .graphs import canonical_graph
from .structures import Setting, canonical_setting, canonical_structure

__all__ = ["InversionKernel", "KernelElements", "canonicalize", "inversion_kernel"]


class KernelElements(NamedTuple):
    """Elements h of an inversion kernel, each with h·c = x for the canonical form c of the input x.

    Attributes
    ----------
    ranks : Tensor
        long [n, N]: node i of the input is node ``ranks[a, i]`` of the canonical form.
    rotations : Tensor, optional
        float64 [n, 3, 3], proper and improper, of a structure with positions: up to a translation (in a crystal also
        up to lattice vectors) ``pos = canonical.pos[ranks[a]] @ rotations[a].T``.
    """

    ranks: Tensor
    rotations: Tensor | None = None


@dataclass(frozen=True, eq=False)
class InversionKernel:
    """The uniform law on the elements h of a group that make the canonical form the input: h·c = x.

    They are the coset S·h of the symmetry S of the input, so there are as many as S has elements. For every g in the
    group, g·h drawn for x has the law of h drawn for g·x.

    Attributes
    ----------
    symmetry : Symmetry or GraphSymmetry
        S.
    """

    symmetry: Symmetry | GraphSymmetry
    _data: Data
    _features: tuple[str, ...]
    _ranks: Tensor
    _setting: Setting | None

    @property
    def setting(self) -> Setting:
        """The canonical frame of a structure with positions."""
        if self._setting is None:
            raise ValueError("a graph without positions has no frame")
        return self._setting

    @property
    def order(self) -> int:
        """The number of elements, exact: the order of the symmetry (of a supercell with its pure translations)."""
        return int(self.symmetry.order)

    @cached_property
    def canonical(self) -> Data:
        """The canonical form, the same for all g·x: what tells nodes and edges apart, and nothing else.

        Of a structure ``pos`` (float64), ``z``, the features named, and ``cell`` and ``pbc`` if it is periodic; of a
        graph ``edge_index``, sorted, ``z`` and the features named.
        """
        order = self._ranks.argsort()
        out = Data(num_nodes=len(order))
        for name in ("z", *(name for name in self._features if "edge" not in name)):
            if self._data.get(name) is not None:
                out[name] = self._data[name][order.to(self._data[name].device)]
        if self._setting is not None:
            return canonical_structure(out, self._data, self._setting, order)
        return canonical_graph(out, self._data, self._features, self._ranks)

    @cached_property
    def elements(self) -> KernelElements:
        """All elements; a ValueError if they are too many to list."""
        return self._moved(self.symmetry.permutations, torch.arange(len(self.symmetry.permutations)))

    def sample(self, n: int = 1, generator: torch.Generator | None = None) -> KernelElements:
        """Elements drawn independently and uniformly, also where they are too many to list."""
        if isinstance(self.symmetry, GraphSymmetry):
            return self._moved(self.symmetry.group.sample(n, generator), None)
        chosen = torch.randint(self.order, (n,), generator=generator)
        return self._moved(self.symmetry.permutations[chosen], chosen)

    def _moved(self, permutations: Tensor, operations: Tensor | None) -> KernelElements:
        """The elements s·h for operations s of the symmetry, with their permutations [n, N]."""
        if self._setting is None:  # a group holds the inverse of each of its elements: no need to take it
            return KernelElements(self._ranks[permutations])
        assert isinstance(self.symmetry, Symmetry)
        rotations = self.symmetry.rotations[operations] @ self._setting.rotation
        return KernelElements(self._ranks[permutations.argsort(1)], rotations)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(order={self.order}, nodes={len(self._ranks)})"


def canonicalize(data: Data, symprec: float | Literal["auto"] = 1e-3, features: Features = ()) -> InversionKernel:
    """The canonical form of a structure or a graph, and the law of the elements that lead back to the input.

    The group is that of proper and improper rotations, translations and permutations of the nodes for a structure
    with positions (a molecule, a point cloud, a slab, a crystal), that of the permutations of the nodes for a graph
    without.

    Parameters
    ----------
    data : Data
        As for :func:`~pyg_symbreak.detect.detect_symmetry`. The symmetry that
        :class:`~pyg_symbreak.transforms.AddSymmetry` has attached is used. It is checked that its operations hold;
        one that was found with more features, and is smaller for that, is taken as it is.
    symprec : float or "auto"
        Tolerance of the detection, Å. The canonical form is that of the structure averaged over its symmetry.
    features : sequence of str
        Names of the features that tell nodes apart besides ``z``, invariant ones; in a graph those with "edge" in
        them tell edges apart.

    Returns
    -------
    InversionKernel

    Raises
    ------
    ValueError, TypeError
        As in :func:`~pyg_symbreak.detect.detect_symmetry`. Also if the symmetry attached is not that of the data and
        the features, and if the structure is linear or a single atom: there are infinitely many elements.

    Notes
    -----
    Of a structure, the frames that pairs of its atoms (in a crystal, shortest bases of its lattice) define are
    compared by a generic function of the coordinates in them, and the least is taken; its ties are the symmetry. Of a
    graph it is the canonical labelling.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> kernel = canonicalize(from_ase(molecule("CH4"), torch.float64))
    >>> kernel
    InversionKernel(order=24, nodes=5)
    >>> kernel.sample(10).rotations.shape
    torch.Size([10, 3, 3])
    """
    if not isinstance(data, Data) or isinstance(data, Batch):
        raise TypeError(f"canonicalize takes one structure as a Data, got {type(data).__name__}")
    return inversion_kernel(data, symmetry_of(data, symprec, _invariant_names(features)), features)


def _invariant_names(features: Features) -> tuple[str, ...]:
    """The names of features, if they are invariant."""
    if isinstance(features, Mapping):
        raise TypeError(
            f"features={dict(features)}: a canonical form compares invariant features only, give their names; where "
            "features transform use the group-indexed set of detect_symmetry(data, features=...).group"
        )
    return tuple(require_features(features))


def inversion_kernel(data: Data, symmetry: Symmetry | GraphSymmetry, features: Features = ()) -> InversionKernel:
    """As :func:`canonicalize`, of a structure whose symmetry is known, and the features that it was found with."""
    names = _invariant_names(features)
    if isinstance(symmetry, GraphSymmetry):
        return InversionKernel(symmetry, data, names, symmetry.canonical_labels, None)
    setting = canonical_setting(data, symmetry, names)
    return InversionKernel(symmetry, data, names, torch.from_numpy(setting.ranks), setting)
