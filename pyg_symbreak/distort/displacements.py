"""Displacements of a structure, and strains of its cell, as a representation of its symmetry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from scipy.linalg import expm, logm, null_space
from torch_geometric.data import Data

from pyg_symbreak.detect import (
    SpaceGroup,
    Symmetry,
    WaveVectors,
    detect_symmetry,
    identify_space_group,
    operations_group,
    symmetrize,
)
from pyg_symbreak.distort.mulliken import mulliken_symbol
from pyg_symbreak.groups import FiniteGroup, PointGroup
from pyg_symbreak.structures import Octahedra, find_octahedra, neighbor_pairs, to_ase

__all__ = [
    "Displacements",
    "Features",
    "Irrep",
    "held_atoms",
    "irrep_amplitudes",
    "nearest_neighbor_distance",
    "structure_symmetry",
]

_TOL = 1e-6


@dataclass(eq=False)
class Irrep:
    """All copies of a real irrep in the displacements.

    ``basis[c]`` [d, M, 3] is an orthonormal basis of copy c; S acts on each by the same ``matrices`` [order, d, d].
    ``stiffness`` is that of the softest copy in the matrix that divides them. ``translations`` says whether some are
    broken, ``k`` is the letter and a vector of the star of k vectors, of a crystal.
    """

    name: str
    basis: np.ndarray
    matrices: np.ndarray
    stiffness: float
    translations: bool
    k: tuple[str | None, tuple[float, ...]] | None = None


class Displacements:
    """The displacements of a structure, without rigid motions, as a representation of its symmetry.

    A displacement has M rows: one for each atom, Å, and with ``strain`` three more: a strain (the logarithm of the
    deformation, symmetric) times ``scale``, so that its lengths are comparable. Atoms that are held
    (``ase.constraints.FixAtoms``) have no displacements, and only operations that carry them to each other are taken.

    Attributes
    ----------
    atoms : ase.Atoms
        The structure, symmetrized; atoms that are held are where they were.
    whole : PointGroup
        Its point group.
    space_group : SpaceGroup or None
        Of a crystal its space group, of a slab its layer group.
    group : PointGroup
        The same as ``whole``, but D2h or C2v in place of a continuous one.
    rotations, permutations : arrays [order, 3, 3] and [order, N]
        Operation g carries the displacement u of atom i to R_g u of atom permutations[g, i], a strain e to R_g e R_g^T.
    scale : float
        √N times the nearest-neighbour distance, Å: curvatures along strains are then independent of the size of the
        cell.
    """

    def __init__(
        self,
        x: Data | Atoms,
        symprec: float | Literal["auto"] = 1e-3,
        *,
        features: Features = (),
        strain: bool = False,
    ):
        self.symmetry = symmetry = structure_symmetry(x, symprec, features)
        self.whole, self.space_group = symmetry.group, symmetry.space_group or symmetry.layer_group
        atoms = symmetrize(x, symmetry)
        self.atoms = to_ase(atoms) if isinstance(atoms, Data) else atoms
        self.held = held_atoms(self.atoms)
        exact = self.atoms.positions.copy()
        if isinstance(x, Atoms):
            self.atoms.positions[self.held] = x.positions[self.held]
        self.strain = strain
        if strain:
            self._require_cell()
        self.scale = len(self.atoms) ** 0.5 * nearest_neighbor_distance(self.atoms)
        self.linear = symmetry.continuous is not None
        if self.linear:
            self._take_plane(symmetry)
        else:
            self.group = symmetry.group
            self.rotations, self.permutations = symmetry.rotations.numpy(), symmetry.permutations.numpy()
            self._elements = symmetry.elements.numpy()
        self._translations = exact[self.permutations[:, 0]] - self.rotations @ exact[0]  # in a crystal
        self._inverse = np.argsort(self.permutations, axis=1)
        self._names: dict[tuple[int, ...], PointGroup] = {}

    def _require_cell(self) -> None:
        if not self.atoms.pbc.any():
            raise ValueError("the structure is not periodic: it has no cell that could be strained")
        if self.atoms.cell.rank < 3:
            raise ValueError("a strain of the cell needs three cell vectors: give the slab one across it")
        if self.held.any():
            raise ValueError(
                "a strain of the cell moves every atom, but FixAtoms holds some: keep the cell, or remove the "
                "constraint with atoms.set_constraint()"
            )

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

    @cached_property
    def octahedra(self) -> Octahedra | None:
        """The octahedra of a perovskite, None of what is none."""
        try:
            return find_octahedra(self.atoms)
        except ValueError:
            return None

    @property
    def order(self) -> int:
        """Number of operations."""
        return len(self.rotations)

    @cached_property
    def abstract(self) -> FiniteGroup:
        """The operations as a group: each is a rotation and a permutation."""
        return operations_group(self.group, self._elements, self.permutations)

    @property
    def rows(self) -> int:
        """M, the number of rows of a displacement."""
        return len(self.atoms) + 3 * self.strain

    def images(self, u: np.ndarray, operations: Sequence[int] | None = None) -> np.ndarray:
        """What the operations make of displacements [k, M, 3]: [order, k, M, 3]."""
        which = np.arange(self.order) if operations is None else np.asarray(operations)
        count, turn = len(self.atoms), self.rotations[which][:, None]
        carried = u[:, self._inverse[which]].swapaxes(0, 1) @ turn.swapaxes(2, 3)  # [order, k, N, 3]
        if not self.strain:
            return carried
        return np.concatenate([carried, turn @ u[:, count:] @ turn.swapaxes(2, 3)], axis=2)

    def displaced(self, u: np.ndarray) -> Atoms:
        """A copy of the structure, displaced by u [M, 3] and then strained, with all that it carries."""
        out = self.atoms.copy()
        out.positions += u[: len(out)]
        if self.strain:
            deformation = expm(u[len(out) :] / self.scale)
            out.set_cell(out.cell.array @ deformation.T)
            out.positions = out.positions @ deformation.T
        return out

    def displacement(self, atoms: Atoms) -> np.ndarray:
        """What :meth:`displaced` made a structure with: displacements [M, 3]."""
        if not self.strain:
            return atoms.positions - self.atoms.positions
        deformation = np.linalg.solve(self.atoms.cell.array, atoms.cell.array).T
        moved = atoms.positions @ np.linalg.inv(deformation).T - self.atoms.positions
        return np.concatenate([moved, self.scale * logm(deformation).real])

    @cached_property
    def allowed(self) -> np.ndarray:
        """Orthonormal basis [A, M, 3] of what may change: atoms that are not held, strains of periodic directions."""
        count = len(self.atoms)
        moves = np.zeros((count, 3, self.rows, 3))
        moves[np.arange(count)[:, None], np.arange(3), np.arange(count)[:, None], np.arange(3)] = 1
        found = moves[~self.held].reshape(-1, self.rows, 3)
        if not self.strain:
            return found
        periodic = np.linalg.qr(self.atoms.cell.array[self.atoms.pbc].T)[0].T
        strains = np.zeros((len(periodic) * (len(periodic) + 1) // 2, self.rows, 3))
        for row, (i, j) in enumerate(zip(*np.triu_indices(len(periodic)), strict=True)):
            symmetric = np.outer(periodic[i], periodic[j]) + np.outer(periodic[j], periodic[i])
            strains[row, count:] = symmetric / np.linalg.norm(symmetric)
        return np.concatenate([found, strains])

    @cached_property
    def basis(self) -> np.ndarray:
        """Orthonormal basis [D, M, 3] of the displacements without rigid motions."""
        count, allowed = len(self.atoms), self.allowed
        if self.linear:
            free = np.eye(count)[~self.held]
            allowed = np.einsum("ij,ax->iajx", free, self.plane.T).reshape(-1, count, 3)
        a, r = allowed.reshape(-1, 3 * self.rows), self._rigid.reshape(-1, 3 * self.rows)
        _, size, axes = np.linalg.svd(r, full_matrices=False)
        axes = axes[size > 1e-6 * max(size.max(initial=0), 1)]
        left, kept, _ = np.linalg.svd(a - a @ axes.T @ axes, full_matrices=False)
        independent = left[:, kept > 0.5].T @ a  # rigid motions lie in the plane or across it: kept is 0 or 1
        return independent.reshape(-1, self.rows, 3)

    @property
    def _rigid(self) -> np.ndarray:
        """The rigid motions [r, M, 3] that move no atom that is held."""
        motions = np.zeros((3 if self.atoms.pbc.any() else 6, self.rows, 3))
        motions[:3, : len(self.atoms)] = np.eye(3)[:, None]
        if len(motions) == 6:
            centred = self.atoms.positions - self.atoms.positions.mean(0)
            motions[3:] = np.cross(np.eye(3)[:, None], centred)
        if not self.held.any():
            return motions
        moved = motions[:, : len(self.atoms)][:, self.held].reshape(len(motions), -1)
        return np.einsum("mr,mia->ria", null_space(moved.T, rcond=1e-6), motions)

    def average(self, matrix: np.ndarray) -> np.ndarray:
        """Average a symmetric matrix [3M, 3M] over the group: the nearest that commutes with it.

        First over one operation of each coset of the pure translations, then over these.
        """
        size, pure = 3 * self.rows, 1 if self.linear else len(self.symmetry.pure_translations)
        for operations in (range(0, self.order, pure), range(pure)):
            total = np.zeros((size, size))
            for g in operations:
                half = self.images(matrix.reshape(size, self.rows, 3), [g])[0].reshape(size, size)
                total += self.images(half.T.reshape(size, self.rows, 3), [g])[0].reshape(size, size)
            matrix = (total + total.T) / (2 * len(operations))
        return matrix

    def stabilizer(self, u: np.ndarray) -> tuple[int, ...]:
        """Operations that leave displacements [M, 3] as they are, to a thousandth of the largest."""
        change = np.abs(self.images(u[None])[:, 0] - u).max((1, 2))
        return tuple(np.flatnonzero(change < 1e-3 * np.abs(u).max()).tolist())

    def projector(self, operations: Sequence[int]) -> np.ndarray:
        """Projector [3M, 3M] on what may change (see ``allowed``) and a subgroup leaves as it is."""
        size = 3 * self.rows
        allowed = self.allowed.reshape(-1, size)
        total = np.zeros_like(allowed)
        for g in operations:
            total += self.images(self.allowed, [g])[0].reshape(-1, size)
        return allowed.T @ total / len(operations)

    @cached_property
    def irreps(self) -> list[Irrep]:
        """The irreps of the displacements other than the trivial one."""
        flat = self.basis.reshape(-1, 3 * self.rows)
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
        springs = self.average(self._springs())
        found = [
            self.irrep(self._name(character), np.concatenate(members), len(members[0]), springs)
            for character, members in sorts
            if character.min() < 1 - 1e-4
        ]
        found.sort(key=self._rank)
        counts: Counter[str] = Counter()
        for irrep in found:
            if irrep.translations:
                counts[irrep.name] += 1
                irrep.name += f"({counts[irrep.name]})"
        return found

    def _rank(self, irrep: Irrep) -> tuple:
        """What irreps are sorted by, the same in all orientations; equally stiff ones by their characters."""
        character = np.trace(irrep.matrices, axis1=1, axis2=2)
        kind = np.round([np.trace(self.rotations, axis1=1, axis2=2), np.linalg.det(self.rotations), character], 3)
        stiffness = float(f"{irrep.stiffness:.6g}")
        return irrep.basis.shape[1], irrep.name, stiffness, len(irrep.basis), sorted((kind + 0.0).T.tolist())

    def irrep(self, name: str, basis: np.ndarray, dimension: int, matrix: np.ndarray) -> Irrep:
        """Divide an isotypic component, spanned by basis [m·d, M, 3], into copies: eigenspaces of a matrix.

        The matrix [3M, 3M] is symmetric and commutes with the group.
        """
        flat = basis.reshape(len(basis), -1)
        inside, generic = flat @ matrix @ flat.T, flat @ self._generic @ flat.T
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
        softest = copies[0].reshape(dimension, -1)
        stiffness = float(np.einsum("ki,ij,kj->", softest, matrix, softest)) / dimension
        character = np.trace(matrices, axis1=1, axis2=2)
        broken = self._breaks_translations(character)
        return Irrep(name, np.array(aligned), matrices, stiffness, broken, self._wave(character))

    def _springs(self) -> np.ndarray:
        """Model force constants [3M, 3M]: springs that stiffen with the sixth power of the overlap of two atoms."""
        atoms, count = self.atoms, len(self.atoms)
        radius = covalent_radii[atoms.numbers]
        cutoff = 3 * nearest_neighbor_distance(atoms)
        i, j, shift = neighbor_pairs(atoms, cutoff)
        vectors = atoms.positions[j] - atoms.positions[i] + shift @ atoms.cell.array
        length = np.linalg.norm(vectors, axis=1)
        stiffness = ((radius[i] + radius[j]) / length) ** 6 * (1 - (length / cutoff) ** 2) ** 2
        unit = vectors / length[:, None]
        blocks = stiffness[:, None, None] * (unit[:, :, None] * unit[:, None] + 0.1 * np.eye(3))
        matrix = np.zeros((self.rows, self.rows, 3, 3))
        np.add.at(matrix, (i, j), -blocks)
        np.add.at(matrix, (i, i), blocks)
        if self.strain:  # a strain e changes a vector v to v + e v: row a of e adds v_a e_a
            weighted = blocks[:, None] * (vectors / self.scale)[:, :, None, None]
            coupling = np.zeros((count, 3, 3, 3))
            np.add.at(coupling, i, -weighted)
            matrix[:count, count:] = coupling
            matrix[count:, :count] = coupling.transpose(1, 0, 3, 2)
            matrix[count:, count:] = np.einsum("ea,ebxy->abxy", vectors / self.scale, weighted) / 2
        return matrix.transpose(0, 2, 1, 3).reshape(3 * self.rows, 3 * self.rows)

    def _matrices(self, basis: np.ndarray) -> np.ndarray:
        flat = basis.reshape(len(basis), -1)
        return flat @ self.images(basis).reshape(self.order, len(basis), -1).swapaxes(1, 2)

    def named(self, operations: Sequence[int]) -> PointGroup:
        """Point group of some of the operations, with the label that it has among the subgroups of S."""
        if self.linear and set(self._turns) <= set(operations):  # nothing is across the axis
            return PointGroup("Cinfv").rotated(self.group.frame)
        rows = tuple(np.unique(self._elements[list(operations)]).tolist())
        if rows not in self._names:
            self._names[rows] = found = PointGroup.from_matrices(self.group.matrices[list(rows)])
            for known, indices in self._subgroups:
                if known.schoenflies == found.schoenflies and self._rotation_group.is_conjugate(rows, indices):
                    found.label, found.conjugates = known.label, known.conjugates
        return self._names[rows]

    def space_group_of(self, operations: Sequence[int]) -> SpaceGroup | None:
        """Space group of some of the operations, of a slab the layer group; None for a molecule."""
        if not self.atoms.pbc.any():
            return None
        which = list(operations)
        return identify_space_group(
            self.atoms.cell.array, self.atoms.pbc, self.rotations[which], self._translations[which]
        )

    @cached_property
    def _rotation_group(self) -> FiniteGroup:
        return FiniteGroup(self.group.table)

    @cached_property
    def _subgroups(self) -> list[tuple[PointGroup, tuple[int, ...]]]:
        return [(known, self.group.indices_of(known)) for known in self.group.subgroups()]

    def _name(self, character: np.ndarray) -> str:
        dimension = round(character[0])
        if self.linear:
            kind = "Sigma" if character[self._turns].min() > 0 else "Pi"
            inversion = np.abs(self.rotations + np.eye(3)).max((1, 2)) < _TOL
            return kind + ("_" + ("g" if character[inversion][0] > 0 else "u") if inversion.any() else "")
        if self._breaks_translations(character):
            wave = self._wave(character)
            return wave[0] if wave and wave[0] else f"k{dimension}"
        first = np.unique(self._elements, return_index=True)[1]
        if self.atoms.pbc.any():  # cell vectors that it leaves where they are
            turned = self.rotations[first] @ self.atoms.cell.array.T
            fixed = (np.abs(turned - self.atoms.cell.array.T).max(1) < 1e-3) @ [1, 2, 3]
        else:
            fixed = (self.permutations[first] == np.arange(self.permutations.shape[1])).sum(1)
        return mulliken_symbol(self.group, character[first], fixed)

    def _wave(self, character: np.ndarray) -> tuple[str | None, tuple[float, ...]] | None:
        """Letter and a vector of the star of an irrep, of a crystal."""
        if not self.atoms.pbc.all():
            return None
        return self._wave_vectors.named(self._wave_vectors.star(character))

    def _breaks_translations(self, character: np.ndarray) -> bool:
        first = np.unique(self._elements, return_index=True)[1]
        return bool(np.abs(character - character[first][self._elements]).max() > 1e-4)

    @cached_property
    def _wave_vectors(self) -> WaveVectors:
        return WaveVectors(self.atoms.cell.array, self.rotations, self._translations)

    @property
    def _turns(self) -> np.ndarray:
        """Operations that leave the main axis, direction and all, where it is."""
        return np.flatnonzero(np.abs(self.rotations @ self.group.axis - self.group.axis).max(1) < _TOL)


def irrep_amplitudes(
    x: Data | Atoms, displacements: np.ndarray, symprec: float | Literal["auto"] = 1e-3, *, copies: int = 1
) -> list[dict[str, Any]]:
    """The irreps in displacements of a crystal, with the amplitude of each.

    Parameters
    ----------
    x : Data or ase.Atoms
        The parent, in a cell that fits the displacements.
    displacements : float64 array [N, 3]
        Å.
    symprec : float or "auto"
        Tolerance of the symmetry detection, Å.
    copies : int
        How many cells of the distorted structure the given one holds: amplitudes are those in one of them.

    Returns
    -------
    list of dict
        The largest first: ``irrep``, its ``dimension``, ``k`` (letter and vector), and ``amplitude``, Å, the root of
        the sum of squares over the atoms of the cell of its part; none below 0.001. What all of the
        symmetry keeps is ``symmetric``.
    """
    space = Displacements(x, symprec)
    moved = (displacements - displacements.mean(0)) / copies**0.5
    rows, rest = [], float(np.square(moved).sum())
    for irrep in space.irreps:
        part = float(np.square(np.einsum("ckia,ia->ck", irrep.basis, moved)).sum())
        rest -= part
        rows.append((irrep.name, irrep.basis.shape[1], irrep.k or (None, (0.0, 0.0, 0.0)), part**0.5))
    rows.append(("symmetric", 1, ("Γ", (0.0, 0.0, 0.0)), max(rest, 0.0) ** 0.5))
    rows = sorted((row for row in rows if row[3] >= 1e-3), key=lambda row: -row[3])
    return [
        {"irrep": name, "dimension": d, "k": {"letter": k[0], "vector": list(k[1])}, "amplitude": size}
        for name, d, k, size in rows
    ]


def _eigenspaces(matrix: np.ndarray) -> list[np.ndarray]:
    """Orthonormal bases [d, n] of the eigenspaces of a symmetric matrix, by rising eigenvalue."""
    if len(matrix) == 0:
        return []
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    scale = max(np.abs(values).max(), 1e-300)
    cuts = np.flatnonzero(np.diff(values) > 1e-7 * scale) + 1
    return [u.T for u in np.split(vectors, cuts, axis=1)]


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


# ---------------------------------------------------------------------- what a structure carries


Features = Sequence[str] | Mapping[str, str]
"""As in :func:`pyg_symbreak.detect.detect_symmetry`."""


def held_atoms(x: Data | Atoms) -> np.ndarray:
    """Which atoms are held, bool [N].

    Raises
    ------
    ValueError
        The Atoms have a constraint other than FixAtoms.
    """
    held = np.zeros(len(x) if isinstance(x, Atoms) else x.num_nodes or 0, dtype=bool)
    for constraint in x.constraints if isinstance(x, Atoms) else ():
        if not isinstance(constraint, FixAtoms):
            raise ValueError(
                f"the Atoms have the constraint {type(constraint).__name__}, which cannot be kept here, only FixAtoms "
                "can: remove it with atoms.set_constraint(), or hold the atoms that it concerns with FixAtoms"
            )
        held[constraint.get_indices()] = True
    return held


def structure_symmetry(x: Data | Atoms, symprec: float | Literal["auto"], features: Features = ()) -> Symmetry:
    """Symmetry of a structure of which some atoms may be held: these are atoms of another kind.

    Raises
    ------
    ValueError, TypeError
        As :func:`pyg_symbreak.detect.detect_symmetry` and :func:`held_atoms`; x is a graph without positions, or
        periodic in one direction only.
    """
    pbc = x.pbc if isinstance(x, Atoms) else x.get("pbc")
    if pbc is not None and pbc.sum() == 1:
        raise ValueError(
            "distortions of structures that are periodic in one direction only (rods) are not supported: give the cell "
            "two more vectors, of vacuum, and set pbc to True"
        )
    if isinstance(x, Atoms) and (held := held_atoms(x)).any():
        name = "held by FixAtoms"
        features = {**features, name: "0e"} if isinstance(features, Mapping) else (*features, name)
        x = x.copy()
        x.set_array(name, held)
    symmetry = detect_symmetry(x, symprec, features=features)
    if not isinstance(symmetry, Symmetry):
        raise ValueError("a graph without positions has no displacements: give it pos [N, 3] in Å")
    return symmetry
