"""The result of a detection: operations, permutations, orbits and site symmetries of one structure.

Orbits are counted by compiled code, see ``csrc/module.cpp``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from pyg_symbreak import _native
from pyg_symbreak.detect.normalizer import Normalizer, euclidean_normalizer
from pyg_symbreak.detect.subgroup import SpaceGroup, SymmetrySubgroup, point_order
from pyg_symbreak.groups import FiniteGroup, PointGroup, irreps_matrices

SAME = 1e-3
"""A field, of which the largest row has norm 1, is kept by an operation that changes no row by more."""

__all__ = ["Operations", "Supercell", "Symmetry", "into_cell", "operations_group"]


class Operations(NamedTuple):
    """Operations of a structure, arrays: rotations [n, 3, 3], translations [n, 3] in Å, permutations [n, N]."""

    rotations: np.ndarray
    translations: np.ndarray
    permutations: np.ndarray


class Supercell(NamedTuple):
    """The pure translations of a crystal modulo the lattice of its cell, and what its atoms miss by.

    Each translation is one product of powers of a few of them, the a-th to a power below ``counts[a]``.

    Attributes
    ----------
    lattice : array [p, 3]
        Periodic vectors of the cell, Å.
    permutations : array [r, N]
    vectors : array [r, 3]
        Å.
    counts : tuple of int
    deviations : array [N, 3]
        How far each atom is from where the group has it, Å, in the nearest symmetric cell.
    strains : array [m, 2]
        For each coset, by how much its operations miss vectors of the lattice, and how far the strain of the cell
        moves what is at its border, Å.
    stretch : float
        Largest ratio of a length in the cell to that in the nearest symmetric one, at least 1.
    """

    lattice: np.ndarray
    permutations: np.ndarray
    vectors: np.ndarray
    counts: tuple[int, ...]
    deviations: np.ndarray
    strains: np.ndarray
    stretch: float

    @property
    def size(self) -> int:
        """Number of pure translations."""
        return math.prod(self.counts)

    def translations(self) -> tuple[np.ndarray, np.ndarray]:
        """All of them: permutations [k, N] and vectors [k, 3], the identity first."""
        permutations: np.ndarray = np.arange(len(self.deviations))[None]
        vectors: np.ndarray = np.zeros((1, 3))
        for step, vector, count in zip(self.permutations, self.vectors, self.counts, strict=True):
            powers, shifts = [permutations], [vectors]
            for _ in range(count - 1):
                powers.append(step[powers[-1]])
                shifts.append(shifts[-1] + vector)
            permutations, vectors = np.concatenate(powers), np.concatenate(shifts)
        return permutations, vectors

    def first_images(self) -> np.ndarray:
        """For each atom the first of those that the pure translations carry it to, [N]."""
        first = np.arange(len(self.deviations))
        for step, count in zip(self.permutations, self.counts, strict=True):
            image = first
            for _ in range(count - 1):
                image = image[step]
                first = np.minimum(first, image)
        return first

    def misses(self, rotation: np.ndarray, permutations: np.ndarray, strain: np.ndarray) -> np.ndarray:
        """By what operations with permutations [n, N] of one coset miss atoms and lattice at most, [n] Å."""
        away = self.deviations @ rotation.T
        apart = [np.linalg.norm(self.deviations[images] - away, axis=1).max() for images in permutations]
        return np.maximum(strain[0], self.stretch * np.array(apart) + strain[1])


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The symmetry of a structure: operations (R_g, t_g), g = 0 ... order - 1, and what they do to the nodes.

    The operation g carries node i onto node ``permutations[g, i]``::

        pos[permutations[g]] = pos @ rotations[g].T + translations[g]

    up to ``residuals[g]``, and for a crystal up to vectors of the lattice of the given cell. Operation 0 is
    the identity. h followed by g has the permutation ``permutations[g][permutations[h]]``.

    In a cell that is symmetric only nearly, this holds for atoms in the cell: those whose fractional coordinates lie
    between 0 and 1, as ``atoms.wrap()`` makes them. The farther from it, the more the strain of the cell counts.

    The operations of a supercell are the products of one for each rotation, the ``cosets``, and the pure
    translations. Only these are stored; what lists all of the operations is made when it is asked for.

    Attributes
    ----------
    cosets : Operations
        Rotations, translations and permutations, as arrays, of one operation for each distinct rotation (where
        atoms are on a line: for each permutation).
    symprec : float
        The tolerance, Å, that was used.
    plateau : tuple of float
        The tolerances (low, high), Å, between which the group is known not to change: both are `symprec` unless
        a range of tolerances was asked for.
    space_group : SpaceGroup, optional
        Of a crystal: its space-group type, also where the shape of a supercell leaves less of it. With features that
        transform, that of the operations which carry them along.
    layer_group : SpaceGroup, optional
        Of a slab (two periodic directions): its layer-group type.
    line_group : str, optional
        Of a rod (one periodic direction), a nanotube or a polymer: the symbol of its line group, ``"L8_4/mcm"`` for a
        screw axis of order 8 with mirrors and glide planes; see Damnjanović & Milošević, Line Groups in Physics.
    continuous : PointGroup, optional
        Of linear molecules and single atoms: the group, which has no end of operations. Those listed here are
        one for each distinct permutation of the nodes.
    kernel : PointGroup, optional
        Of the same: the operations that move no node. The listed ones times these are all of the group.
    supercell : Supercell, optional
        Of a crystal: its pure translations.
    """

    cosets: Operations
    symprec: float
    residual_list: np.ndarray | None = None
    largest_residual: float | None = None
    plateau: tuple[float, float] | None = None
    space_group: SpaceGroup | None = None
    layer_group: SpaceGroup | None = None
    line_group: str | None = None
    continuous: PointGroup | None = None
    kernel: PointGroup | None = None
    supercell: Supercell | None = None

    @cached_property
    def _all(self) -> Operations:
        """Every operation, coset by coset."""
        if self.supercell is None or self.supercell.size == 1:
            return self.cosets
        moves, vectors = self.supercell.translations()
        permutations = moves[:, self.cosets.permutations].swapaxes(0, 1).reshape(-1, self.num_nodes)
        shifts = (self.cosets.translations[:, None] + vectors).reshape(-1, 3)
        shifts = into_cell(shifts, self.supercell.lattice)
        return Operations(np.repeat(self.cosets.rotations, len(moves), axis=0), shifts, permutations)

    @cached_property
    def rotations(self) -> Tensor:
        """float64 [order, 3, 3], orthogonal (determinant 1 or -1) and closed under products to round-off."""
        return torch.from_numpy(self._all.rotations)

    @cached_property
    def translations(self) -> Tensor:
        """float64 [order, 3], Å, closed in the same sense where the cell is symmetric; taken into the cell."""
        return torch.from_numpy(self._all.translations)

    @cached_property
    def permutations(self) -> Tensor:
        """Long [order, N]: where each operation carries each node."""
        return torch.from_numpy(self._all.permutations)

    @cached_property
    def residuals(self) -> Tensor:
        """float64 [order], Å: what each operation misses by at most. Never above `symprec`.

        This bounds the distance from where it carries a node, of those in the cell, to the node that it should be
        carried to, and in a crystal from where it carries a vector of its cell to one of the lattice.
        """
        if self.residual_list is not None:
            return torch.from_numpy(self.residual_list)
        assert self.supercell is not None
        moves = self.supercell.translations()[0]
        cosets = zip(self.cosets.rotations, self.cosets.permutations, self.supercell.strains, strict=True)
        return torch.from_numpy(
            np.concatenate([self.supercell.misses(rotation, moves[:, p], strain) for rotation, p, strain in cosets])
        )

    @cached_property
    def group(self) -> PointGroup:
        """Point group in the frame of the structure: the distinct rotations, in order of appearance."""
        return PointGroup.of_exact(self.cosets.rotations) if self.continuous is None else self.continuous

    @cached_property
    def elements(self) -> Tensor:
        """Long [number of operations]: row of ``group.matrices`` that each operation has as its rotation."""
        if self.continuous is not None:
            raise ValueError(f"{self.group.schoenflies} is continuous: its matrices cannot be listed")
        rows = torch.arange(len(self.cosets.rotations))
        return rows if self.supercell is None else rows.repeat_interleave(self.supercell.size)

    @property
    def order(self) -> int | float:
        """Number of operations (in a supercell: rotations times translations); ``math.inf`` if continuous."""
        if self.continuous is not None:
            return math.inf
        return len(self.cosets.rotations) * (1 if self.supercell is None else self.supercell.size)

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.cosets.permutations.shape[1]

    @property
    def residual(self) -> float:
        """Largest residual of all operations, Å."""
        return float(self.residuals.max()) if self.largest_residual is None else self.largest_residual

    @cached_property
    def orbits(self) -> Tensor:
        """Long [N]: number of the orbit that each node is in, from 0 in the order of their first nodes."""
        images = self.cosets.permutations
        if self.supercell is not None and self.supercell.size > 1:
            images = self.supercell.first_images()[images]
        return torch.frombuffer(_native.orbits(np.ascontiguousarray(images), self.num_nodes), dtype=torch.long)

    def site_symmetry(self, node: int) -> PointGroup:
        """Point group, in the frame of the structure, of the operations that leave the node where it is.

        Raises
        ------
        IndexError
            There is no such node.
        """
        if not 0 <= node < self.num_nodes:
            raise IndexError(f"there is no node {node}: the structure has {self.num_nodes}")
        images = self.cosets.permutations[:, node]
        if self.supercell is not None:
            first = self.supercell.first_images()
            images, node = first[images], first[node]
        fixed = images == node
        if self.continuous is None:
            return PointGroup.of_exact(self.cosets.rotations[fixed])
        if bool(fixed.all()):
            return self.continuous
        assert self.kernel is not None
        return self.kernel

    @property
    def lattice(self) -> np.ndarray:
        """Periodic vectors of the cell, rows [p, 3], Å: three of a crystal, two of a slab, none of a molecule."""
        return np.zeros((0, 3)) if self.supercell is None else self.supercell.lattice

    @property
    def pure_translations(self) -> np.ndarray:
        """Rows of the operations that are pure translations, [m]; the identity alone unless the cell is a supercell."""
        return np.arange(1 if self.supercell is None else self.supercell.size)

    @property
    def hidden_domains(self) -> int:
        """By what factor domains are more than S tells, since the cell is less symmetric than the crystal; mostly 1.

        With the space group G of the crystal it is [G : N(L)], the number of lattices that G makes of that of the cell.
        """
        return 1 if self.space_group is None else point_order(self.space_group.number) // len(self.cosets.rotations)

    @property
    def atoms(self) -> Atoms | None:
        """The structure that was looked at, as it was given; None if this symmetry was loaded or built."""
        structure = vars(self).get("structure")
        if structure is None:
            return None
        return Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)

    @cached_property
    def abstract(self) -> FiniteGroup:
        """The operations as an abstract group: element g is operation g, and the product a·b is b followed by a.

        Raises
        ------
        ValueError
            The symmetry is continuous.

        Notes
        -----
        An operation is known by its rotation and the place of node 0: two with the same rotation differ by a pure
        translation, which leaves no node where it is.
        """
        return operations_group(self.group, self.elements.numpy(), self._all.permutations)

    def subgroup(self, operations: Sequence[int]) -> SymmetrySubgroup:
        """The subgroup of some operations, given by their rows.

        Raises
        ------
        ValueError
            They are not closed under products.
        """
        return SymmetrySubgroup(self, self.abstract.require_subgroup(operations, "operations"))

    def stabilizer(self, field: Tensor | np.ndarray, irreps: str, *, time_reversal: bool = False) -> SymmetrySubgroup:
        """The operations that leave a field on the nodes as it is.

        Operation g carries the row v of node i to D(g) v on node ``permutations[g, i]``.

        Parameters
        ----------
        field : Tensor or array [N, dim]
        irreps : str or e3nn Irreps
            How the rows transform: displacements are ``"1o"``, tilts and moments ``"1e"``.
        time_reversal : bool
            Whether time reversal, which turns the field into its opposite, counts too: then operations that do so are
            in the subgroup with the sign -1.

        Returns
        -------
        SymmetrySubgroup
            Operations that change no row by more than a thousandth of the largest.

        Raises
        ------
        ValueError
            The field has another shape, is not finite, or with time reversal vanishes.
        """
        rows = np.asarray(field, dtype=np.float64)
        matrices = irreps_matrices(irreps, self._all.rotations)
        if rows.shape != (self.num_nodes, matrices.shape[1]) or not np.isfinite(rows).all():
            raise ValueError(
                f"a field of irreps {irreps} on {self.num_nodes} nodes has shape "
                f"{(self.num_nodes, matrices.shape[1])} and finite numbers, got shape {rows.shape}"
            )
        size = np.linalg.norm(rows, axis=1).max(initial=0)
        moved, there = rows @ matrices.swapaxes(1, 2), rows[self._all.permutations]
        keeps = np.linalg.norm(there - moved, axis=2).max(1) <= SAME * size
        if not time_reversal:
            return self.subgroup(np.flatnonzero(keeps).tolist())
        if size == 0:
            raise ValueError("the field vanishes: time reversal leaves it as it is, alone and with each operation")
        turns = np.linalg.norm(there + moved, axis=2).max(1) <= SAME * size
        found = self.subgroup(np.flatnonzero(keeps | turns).tolist())
        return replace(found, signs=tuple(np.where(keeps, 1, -1)[list(found.operations)].tolist()))

    def normalizer(self) -> Normalizer:
        """The isometries of space that keep the lattice of the cell and the operations, modulo that lattice.

        Raises
        ------
        ValueError
            The structure is not a crystal.

        Examples
        --------
        >>> from ase.build import bulk
        >>> from pyg_symbreak.detect import detect_symmetry
        >>> s = detect_symmetry(bulk("CsCl", "cesiumchloride", a=4.1))
        >>> s.order, s.normalizer()  # a shift by half the diagonal of the cell swaps Cs and Cl
        (48, Normalizer(order=96, polar=0))
        """
        return euclidean_normalizer(self)

    @cached_property
    def larger(self) -> "Symmetry | None":
        """The largest group, larger than this one, whose operations miss by no more than 0.1 Å.

        Pass its ``symprec`` to :func:`detect_symmetry` to get it. None if there is none, or if this symmetry was loaded
        or has come from another process.
        """
        search = vars(self).get("search_larger")
        return None if search is None else search()

    def __getstate__(self) -> dict[str, Any]:
        """Save what cannot be derived from the rest, as arrays: torch keeps a file open for a tensor on its way."""
        state = {field.name: getattr(self, field.name) for field in fields(self)}
        small = np.min_scalar_type(self.num_nodes)
        state["cosets"] = self.cosets._replace(permutations=self.cosets.permutations.astype(small))
        if self.supercell is not None:
            state["supercell"] = self.supercell._replace(permutations=self.supercell.permutations.astype(small))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in ("cosets", "supercell"):
            if state[name] is not None:
                part = state[name]
                state[name] = part._replace(permutations=part.permutations.astype(np.int64))
        self.__dict__.update(state)

    def _repr_html_(self) -> str | None:
        from pyg_symbreak.plot import notebook_html

        return notebook_html(self)

    def __repr__(self) -> str:
        kind = self.group.schoenflies
        for number, symbol in filter(None, [self.space_group or self.layer_group]):
            kind = f"{kind}, {'space' if self.space_group else 'layer'} group {symbol} ({number})"
        if self.line_group:
            kind = f"{kind}, line group {self.line_group}"
        hint = ""
        if self.larger is not None:
            name = self.larger.group.schoenflies
            hint = f"; {name} within {self.larger.residual:.2g} Å: symprec={self.larger.symprec:g}"
        return (
            f"{type(self).__name__}({kind}, order={self.order}, nodes={self.num_nodes}, "
            f"orbits={int(self.orbits.max()) + 1}, residual={self.residual:.1e}, symprec={self.symprec:g}{hint})"
        )


def operations_group(group: PointGroup, elements: np.ndarray, permutations: np.ndarray) -> FiniteGroup:
    """The abstract group of operations, of which no two agree in rotation and in the place of node 0.

    Parameters
    ----------
    group : PointGroup
    elements : int array [n]
        Row of ``group.matrices`` that is the rotation of each operation.
    permutations : int array [n, N]
    """
    codes = elements * permutations.shape[1] + permutations[:, 0]
    order = np.argsort(codes)
    products = group.table[np.ix_(elements, elements)] * permutations.shape[1]
    products += permutations[:, permutations[:, 0]]
    return FiniteGroup(order[np.searchsorted(codes[order], products)])


def into_cell(vectors: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Vectors [n, 3] less those of the lattice [p, 3], to coordinates in [0, 1), where 1 up to round-off is 0."""
    coordinates = vectors @ (np.linalg.inv(lattice) if len(lattice) == 3 else np.linalg.pinv(lattice))
    whole = np.floor(coordinates)
    whole[coordinates - whole > 1 - 1e-9] += 1
    reduced = vectors - whole @ lattice
    near = np.abs(coordinates - whole) < 1e-9
    return reduced - np.where(near, coordinates - whole, 0.0) @ lattice
