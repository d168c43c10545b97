"""Displacements of a structure as a representation of its symmetry, and the distortions that break it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from torch_geometric.data import Data

from pyg_symbreak.detect import Symmetry, detect_symmetry, symmetrize
from pyg_symbreak.distort._isotropy import isotropy_subgroups, mulliken_symbol
from pyg_symbreak.groups import FiniteGroup, PointGroup
from pyg_symbreak.structures import neighbor_pairs, to_ase

_TOL = 1e-6


@dataclass(frozen=True, eq=False)
class Distortion:
    """One way to break a symmetry S: a direction in an irrep of the displacements, and the subgroup K it keeps.

    Attributes
    ----------
    irrep : str
        Mulliken symbol (``T2``, ``Eg``, ``A2''``); of a linear molecule ``Sigma`` or ``Pi``; ``k3(1)``, ``k6(2)``,
        ... (dimension, number) for an irrep that breaks translations of a supercell.
    dimension : int
        Of the irrep, over the real numbers.
    multiplicity : int
        How often the irrep occurs in the displacements.
    copy : int
        Which of these copies the direction is in, from 0, the softest.
    keep : PointGroup
        Rotation parts of K, in the frame of the structure; ``label`` is that of the subgroup of S.
    operations : tuple of int
        K as rows of the operations of S.
    parameters : int
        Dimension of Fix(K) in the irrep. Above 1 the direction is one of a continuum.
    equivalent : int or float
        |S|/|K|, the number of directions that S makes of it; infinite for a linear molecule that bends.
    reversible : bool
        Whether an operation of S turns the direction into its opposite, so that both signs are alike.
    direction : float64 array [N, 3]
        Displacements; the largest has length 1.
    """

    irrep: str
    dimension: int
    multiplicity: int
    copy: int
    keep: PointGroup
    operations: tuple[int, ...]
    parameters: int
    equivalent: int | float
    reversible: bool
    direction: np.ndarray

    def starts(self, atoms: Atoms, amplitude: float = 0.1) -> Iterator[Atoms]:
        """Displaced copies of a structure, one for each inequivalent sign of the direction.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure that the distortion was found for, symmetrized.
        amplitude : float
            Largest displacement of an atom, as a fraction of the nearest-neighbour distance.
        """
        step = amplitude * nearest_neighbor_distance(atoms) * self.direction
        for sign in (1,) if self.reversible else (1, -1):
            out = Atoms(atoms.numbers, atoms.positions + sign * step, cell=atoms.cell, pbc=atoms.pbc)
            out.info["distortion"] = f"{self.irrep}{'' if sign > 0 else ' reversed'} keeps {self.keep.label}"
            yield out

    def __repr__(self) -> str:
        copy = f", copy {self.copy + 1} of {self.multiplicity}" if self.multiplicity > 1 else ""
        return f"Distortion({self.irrep}{copy}, keeps {self.keep.label}, {self.equivalent} equivalent)"


def distortions(
    x: Data | Atoms, symprec: float | Literal["auto"] = 1e-3, *, copies: int | None = None
) -> list[Distortion]:
    """List the inequivalent ways in which displacements in one irrep break the symmetry of a structure.

    For each irrep of S in the displacements [N, 3], other than the trivial one, and each isotropy subgroup K of it up
    to conjugacy, one direction. An irrep that occurs m times is divided into m copies, which are those of a model
    force constant matrix (springs between near atoms), softest first: one direction in each copy.

    Parameters
    ----------
    x : Data or ase.Atoms
        Molecule, crystal or slab. Rigid motions are no distortions; the cell of a crystal stays.
    symprec : float or "auto"
        Tolerance of the symmetry detection, Å.
    copies : int, optional
        Take at most so many copies of each irrep; all if not given.

    Returns
    -------
    list of Distortion
        By irrep; empty where nothing can be broken.

    Raises
    ------
    ValueError, TypeError
        As :func:`pyg_symbreak.detect.detect_symmetry`.

    Notes
    -----
    A linear molecule has a continuous group. Its displacements are along the axis or across it, and in a single irrep
    all across are parallel up to rotations about the axis: they are taken in one plane, under the
    subgroup D2h (C2v without inversion).

    Which of the axes of C2v, D2h, C4v, D4h, ... is which in names such as B1 is told by the number of atoms on them,
    in a crystal by its cell vectors (z is c, C2' is a or b); where that does not tell, by the orientation.

    Examples
    --------
    >>> from ase.build import molecule
    >>> for d in distortions(molecule("CH4"), copies=1):
    ...     print(d.irrep, d.multiplicity, d.keep.schoenflies, d.parameters, d.equivalent)
    E 1 D2d 1 3
    E 1 D2 2 6
    T2 2 C3v 1 4
    T2 2 C2v 1 6
    T2 2 Cs 2 12
    T2 2 C1 3 24
    """
    space = Displacements(x, symprec)
    return [d for irrep in space.irreps for d in space.distortions(irrep, copies)]


def nearest_neighbor_distance(atoms: Atoms) -> float:
    """Shortest distance between two atoms (or an atom and its image), Å; 1 for a single atom."""
    if len(atoms) == 1 and not atoms.pbc.any():
        return 1.0
    cutoff = 3.0
    while True:
        i, j, shift = neighbor_pairs(atoms, cutoff)
        if len(i):
            vectors = atoms.positions[j] - atoms.positions[i] + shift @ atoms.cell.array
            return float(np.linalg.norm(vectors, axis=1).min())
        cutoff *= 2


# ---------------------------------------------------------------------- the representation on displacements


@dataclass(eq=False)
class Irrep:
    """All copies of a real irrep in the displacements.

    ``basis[c]`` [d, N, 3] is an orthonormal basis of copy c; S acts on each by the same ``matrices`` [order, d, d].
    """

    name: str
    basis: np.ndarray
    matrices: np.ndarray


class Displacements:
    """The displacements of a structure, without rigid motions, as a representation of its symmetry.

    Attributes
    ----------
    atoms : ase.Atoms
        The structure, symmetrized.
    whole : PointGroup
        Its point group.
    group : PointGroup
        The same, but D2h or C2v in place of a continuous one.
    rotations, permutations : arrays [order, 3, 3] and [order, N]
        Operation g carries the displacement u of atom i to R_g u of atom permutations[g, i].
    """

    def __init__(self, x: Data | Atoms, symprec: float | Literal["auto"] = 1e-3):
        symmetry = detect_symmetry(x, symprec)
        if not isinstance(symmetry, Symmetry):
            raise ValueError("a graph without positions has no displacements: give it pos [N, 3] in Å")
        self.whole = symmetry.group
        atoms = symmetrize(x, symmetry)
        self.atoms = to_ase(atoms) if isinstance(atoms, Data) else atoms
        self.linear = symmetry.continuous is not None
        if self.linear:
            self._take_plane(symmetry)
        else:
            self.group = symmetry.group
            self.rotations, self.permutations = symmetry.rotations.numpy(), symmetry.permutations.numpy()
            self._elements = symmetry.elements.numpy()
        self._inverse = np.argsort(self.permutations, axis=1)

    def _take_plane(self, symmetry: Symmetry) -> None:
        """Stand D2h or C2v in for the continuous group: it has the same action on displacements in one plane."""
        whole = self.whole
        inverted = len(symmetry.permutations) > 1
        self.group = PointGroup("D2h" if inverted or len(self.atoms) == 1 else "C2v").rotated(whole.frame)
        self.rotations = self.group.matrices
        flips = np.einsum("i,gij,j->g", whole.axis, self.rotations, whole.axis) < 0
        permutations = symmetry.permutations.numpy()
        self.permutations = permutations[np.where(flips & inverted, len(permutations) - 1, 0)]
        self._elements = np.arange(len(self.rotations))
        self.plane = whole.frame[:, [0, 2]]

    @property
    def order(self) -> int:
        """Number of operations."""
        return len(self.rotations)

    @cached_property
    def abstract(self) -> FiniteGroup:
        """The operations as a group: each is a rotation and a permutation."""
        rng = np.random.default_rng(0)
        key = rng.integers(1, 2**40, self.permutations.shape[1])  # tells permutations of one rotation apart
        rows = self.group.table[np.ix_(self._elements, self._elements)]
        known = {
            (int(e), int(h)): g for g, (e, h) in enumerate(zip(self._elements, self.permutations @ key, strict=True))
        }
        table = np.empty_like(rows)
        for a in range(self.order):
            hashes = self.permutations[a][self.permutations] @ key
            table[a] = [known[e, h] for e, h in zip(rows[a].tolist(), hashes.tolist(), strict=True)]
        return FiniteGroup(table)

    def images(self, u: np.ndarray, operations: Sequence[int] | None = None) -> np.ndarray:
        """What the operations make of displacements [k, N, 3]: [order, k, N, 3]."""
        rows = np.arange(self.order) if operations is None else np.asarray(operations)
        turned = np.einsum("gab,kib->gkia", self.rotations[rows], u)
        return np.take_along_axis(turned, self._inverse[rows][:, None, :, None], axis=2)

    @cached_property
    def basis(self) -> np.ndarray:
        """Orthonormal basis [D, N, 3] of the displacements without rigid motions."""
        count = len(self.atoms)
        allowed = np.eye(3 * count).reshape(-1, count, 3)
        if self.linear:
            allowed = np.einsum("ij,ax->iajx", np.eye(count), self.plane.T).reshape(-1, count, 3)
        rigid = np.repeat(np.eye(3)[:, None], count, axis=1)
        if not self.atoms.pbc.any():
            centred = self.atoms.positions - self.atoms.positions.mean(0)
            rigid = np.concatenate([rigid, np.cross(np.eye(3)[:, None], centred)])
        a, r = allowed.reshape(len(allowed), -1), rigid.reshape(len(rigid), -1)
        _, size, axes = np.linalg.svd(r, full_matrices=False)
        axes = axes[size > 1e-6 * max(size.max(), 1)]
        left, kept, _ = np.linalg.svd(a @ (np.eye(3 * count) - axes.T @ axes), full_matrices=False)
        independent = left[:, kept > 0.5].T @ a  # rigid motions lie in the plane or across it: kept is 0 or 1
        return independent.reshape(-1, count, 3)

    def average(self, matrix: np.ndarray) -> np.ndarray:
        """Average a symmetric matrix [3N, 3N] over the group: the nearest that commutes with it."""
        count = len(self.atoms)
        blocks = matrix.reshape(count, 3, count, 3)
        total = np.zeros_like(blocks)
        for rotation, inverse in zip(self.rotations, self._inverse, strict=True):
            total += np.einsum("ab,ibjd,cd->iajc", rotation, blocks[inverse][:, :, inverse], rotation, optimize=True)
        return total.reshape(3 * count, 3 * count) / self.order

    def stabilizer(self, u: np.ndarray) -> tuple[int, ...]:
        """Operations that leave displacements [N, 3] as they are, to a thousandth of the largest."""
        change = np.abs(self.images(u[None])[:, 0] - u).max((1, 2))
        return tuple(np.flatnonzero(change < 1e-3 * np.abs(u).max()).tolist())

    def projector(self, operations: Sequence[int]) -> np.ndarray:
        """Projector [3N, 3N] on the displacements that a subgroup leaves as they are."""
        count = len(self.atoms)
        total = np.zeros((count, 3, count, 3))
        for g in operations:
            total[self.permutations[g], :, np.arange(count)] += self.rotations[g]
        return total.reshape(3 * count, 3 * count) / len(operations)

    @cached_property
    def irreps(self) -> list[Irrep]:
        """The irreps of the displacements other than the trivial one."""
        flat = self.basis.reshape(-1, 3 * len(self.atoms))
        random = np.random.default_rng(1).standard_normal((flat.shape[1],) * 2)
        self._generic = self.average(random + random.T)
        spaces = [(u @ flat).reshape(-1, *self.basis.shape[1:]) for u in _eigenspaces(flat @ self._generic @ flat.T)]
        sorts: list[tuple[np.ndarray, list[np.ndarray]]] = []  # spaces with one character are equivalent
        for space in spaces:
            character = np.einsum("gkia,kia->g", self.images(space), space)
            for known, members in sorts:
                if np.abs(known - character).max() < 1e-4:
                    members.append(space)
                    break
            else:
                sorts.append((character, [space]))
        found = [
            self.irrep(self._name(character), np.concatenate(members), len(members[0]), _springs(self.atoms))
            for character, members in sorts
            if character.min() < 1 - 1e-4
        ]
        found.sort(key=lambda irrep: (irrep.basis.shape[1], irrep.name))
        for number, irrep in enumerate([irrep for irrep in found if irrep.name[0] == "k"], 1):
            irrep.name += f"({number})"
        return found

    def irrep(self, name: str, basis: np.ndarray, dimension: int, matrix: np.ndarray) -> Irrep:
        """Divide an isotypic component, spanned by basis [m·d, N, 3], into copies that are eigenspaces of a matrix."""
        flat = basis.reshape(len(basis), -1)
        inside, generic = flat @ self.average(matrix) @ flat.T, flat @ self._generic @ flat.T
        split = _eigenspaces(inside)
        if any(len(u) != dimension for u in split):  # the matrix does not tell the copies apart
            split = _eigenspaces(inside + 1e-3 * np.abs(inside).max() / np.abs(generic).max() * generic)
        copies = [(u @ flat).reshape(-1, *basis.shape[1:]) for u in split]
        matrices = self._matrices(copies[0])
        mix = np.random.default_rng(2).standard_normal((dimension, dimension))
        aligned = [copies[0]]
        for copy in copies[1:]:
            link = np.einsum("gab,bc,gdc->ad", self._matrices(copy), mix, matrices)
            left, _, right = np.linalg.svd(link)
            aligned.append(np.einsum("ab,aix->bix", left @ right, copy))
        return Irrep(name, np.array(aligned), matrices)

    def _matrices(self, basis: np.ndarray) -> np.ndarray:
        return np.einsum("kia,gjia->gkj", basis, self.images(basis))

    def distortions(self, irrep: Irrep, copies: int | None = None) -> list[Distortion]:
        """One direction for each isotropy subgroup of an irrep, in each of its copies."""
        multiplicity, dimension = irrep.basis.shape[:2]
        groups = isotropy_subgroups(irrep.matrices, self.abstract)
        kept = [self.named(operations) for operations, *_ in groups]
        found = []
        for c in range(multiplicity)[:copies]:
            for keep, (operations, parameters, vector, reversible) in zip(kept, groups, strict=True):
                direction = np.einsum("k,kia->ia", vector, irrep.basis[c])
                direction /= np.linalg.norm(direction, axis=1).max()
                whole = 2 if self.linear and irrep.name.startswith("Pi") else dimension
                found.append(
                    Distortion(
                        irrep=irrep.name,
                        dimension=whole,
                        multiplicity=multiplicity,
                        copy=c,
                        keep=keep,
                        operations=operations,
                        parameters=parameters,
                        equivalent=self.order // len(operations) if whole == dimension else math.inf,
                        reversible=reversible,
                        direction=direction,
                    )
                )
        return found

    def named(self, operations: Sequence[int]) -> PointGroup:
        """Point group of some of the operations, with the label that it has among the subgroups of S."""
        if self.linear and set(self._turns) <= set(operations):  # nothing is across the axis
            inverted = len(operations) == self.order and self.group.schoenflies == "D2h"
            return PointGroup("Dinfh" if inverted else "Cinfv").rotated(self.group.frame)
        rows = np.unique(self._elements[list(operations)])
        found = PointGroup.from_matrices(self.group.matrices[rows])
        whole = FiniteGroup(self.group.table)
        for known in self.group.subgroups():
            if known.schoenflies == found.schoenflies and whole.is_conjugate(
                rows.tolist(), self.group.indices_of(known)
            ):
                found.label, found.conjugates = known.label, known.conjugates
        return found

    def _name(self, character: np.ndarray) -> str:
        dimension = round(character[0])
        if self.linear:
            kind = "Sigma" if character[self._turns].min() > 0 else "Pi"
            inversion = np.abs(self.rotations + np.eye(3)).max((1, 2)) < _TOL
            return kind + ("_" + ("g" if character[inversion][0] > 0 else "u") if inversion.any() else "")
        first = np.unique(self._elements, return_index=True)[1]
        if np.abs(character - character[first][self._elements]).max() > 1e-4:
            return f"k{dimension}"
        if self.atoms.pbc.any():  # cell vectors that it leaves where they are
            turned = self.rotations[first] @ self.atoms.cell.array.T
            fixed = (np.abs(turned - self.atoms.cell.array.T).max(1) < 1e-3) @ [1, 2, 3]
        else:
            fixed = (self.permutations[first] == np.arange(self.permutations.shape[1])).sum(1)
        return mulliken_symbol(self.group, character[first], fixed)

    @property
    def _turns(self) -> np.ndarray:
        """Operations that leave the main axis, direction and all, where it is."""
        return np.flatnonzero(np.abs(self.rotations @ self.group.axis - self.group.axis).max(1) < _TOL)


def _eigenspaces(matrix: np.ndarray) -> list[np.ndarray]:
    """Orthonormal bases [d, n] of the eigenspaces of a symmetric matrix, by rising eigenvalue."""
    if len(matrix) == 0:
        return []
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    scale = max(np.abs(values).max(), 1e-300)
    cuts = np.flatnonzero(np.diff(values) > 1e-7 * scale) + 1
    return [u.T for u in np.split(vectors, cuts, axis=1)]


def _springs(atoms: Atoms) -> np.ndarray:
    """Model force constants [3N, 3N]: springs that stiffen with the sixth power of the overlap of two atoms."""
    count = len(atoms)
    radius = covalent_radii[atoms.numbers]
    cutoff = 3 * nearest_neighbor_distance(atoms)
    i, j, shift = neighbor_pairs(atoms, cutoff)
    vectors = atoms.positions[j] - atoms.positions[i] + shift @ atoms.cell.array
    length = np.linalg.norm(vectors, axis=1)
    stiffness = ((radius[i] + radius[j]) / length) ** 6 * (1 - (length / cutoff) ** 2) ** 2
    unit = vectors / length[:, None]
    blocks = stiffness[:, None, None] * (unit[:, :, None] * unit[:, None] + 0.1 * np.eye(3))
    matrix = np.zeros((count, count, 3, 3))
    np.add.at(matrix, (i, j), -blocks)
    np.add.at(matrix, (i, i), blocks)
    return matrix.transpose(0, 2, 1, 3).reshape(3 * count, 3 * count)
