"""Distortions that break the symmetry of a structure: one for each isotropy subgroup in its displacements."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from ase import Atoms
from scipy.linalg import expm
from torch_geometric.data import Data

from pyg_symbreak.detect import SpaceGroup, SymmetrySubgroup
from pyg_symbreak.distort.displacements import Displacements, Features, Irrep, nearest_neighbor_distance
from pyg_symbreak.groups import PointGroup, Subgroup, isotropy_subgroups, joint_isotropy_subgroups
from pyg_symbreak.structures import to_ase

__all__ = ["Distortion", "directions", "distortions", "joint_directions"]


@dataclass(frozen=True, eq=False)
class Distortion:
    """One way to break a symmetry S: a direction in an irrep of the displacements, and the subgroup K it keeps.

    Attributes
    ----------
    irrep : str
        Mulliken symbol (``T2``, ``Eg``, ``A2''``); of a linear molecule ``Sigma`` or ``Pi``. For an irrep that breaks
        translations of a supercell the letter of its k vector and a number, the softest first: ``R(1)``, ``M(2)``; or
        ``k3(1)`` (dimension, number) where the k vector has no letter. The letters are those of the space group that
        keeps the supercell. Of several irreps the names with + between.
    dimension : int
        Of the irrep, over the real numbers; of several the sum.
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
    strain : float64 array [3, 3], optional
        Where the cell is strained too, the strain (symmetric, without unit) that goes with ``direction``. It is the
        logarithm of the deformation, and scaled so that the largest row of it, times √N nearest-neighbour distances, is
        at most 1 Å; then one of these rows or displacements has length 1.
    space_group : SpaceGroup, optional
        K of a crystal; of a slab its layer group. In a supercell of a shape that lacks some of the crystal's symmetry
        the structure can have more.
    parts : tuple of str
        Names of the irreps that the direction is in, one unless they are combined.
    k : tuple of (str or None, vector)
        Of a crystal, for each of them the letter of its k vector (Γ, X, M, R, ...) and one vector of the star, in
        reciprocal vectors of the conventional cell of the parent.
    tilt : str or None
        Glazer symbol where the direction does nothing but turn the octahedra of a perovskite as rigid bodies.
    kept : SymmetrySubgroup, optional
        K as a subgroup of the symmetry, with its lattice and setting, except of linear molecules.
    parent : ase.Atoms, optional
        The structure that is distorted, symmetrized.
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
    strain: np.ndarray | None = None
    space_group: SpaceGroup | None = None
    parts: tuple[str, ...] = ()
    k: tuple[tuple[str | None, tuple[float, ...]], ...] = ()
    tilt: str | None = None
    kept: SymmetrySubgroup | None = None
    parent: Atoms | None = None

    @property
    def domains(self) -> int | float:
        """Number of equivalent domains, ``equivalent``."""
        return self.equivalent

    @property
    def cell(self) -> np.ndarray | None:
        """Shortest basis [3, 3] of the lattice of the distorted structure, rows, Å, before it is strained."""
        return None if self.kept is None else self.kept.lattice

    @property
    def symbol(self) -> str:
        """What is kept: of a crystal the space group with its number, of a molecule the label of ``keep``."""
        return self.keep.label if self.space_group is None else f"{self.space_group.symbol} ({self.space_group.number})"

    def starts(self, atoms: Atoms | None = None, amplitude: float = 0.1) -> Iterator[Atoms]:
        """Displaced copies of a structure, one for each inequivalent sign of the direction.

        They carry what the structure carries: arrays, constraints and ``info``, to which ``"distortion"`` is added.

        Parameters
        ----------
        atoms : ase.Atoms, optional
            The structure that the distortion was found for, symmetrized. Default: ``parent``.
        amplitude : float
            Largest displacement of an atom, as a fraction of the nearest-neighbour distance d. A strain alone has a row
            of length amplitude/√N.
        """
        atoms = self.parent if atoms is None else atoms
        assert atoms is not None
        step = amplitude * nearest_neighbor_distance(atoms)
        for sign in (1,) if self.reversible else (1, -1):
            out = atoms.copy()
            out.positions += sign * step * self.direction
            if self.strain is not None:
                deformation = expm(sign * step * self.strain)
                out.set_cell(out.cell.array @ deformation)
                out.positions = out.positions @ deformation
            out.info["distortion"] = f"{self.irrep}{'' if sign > 0 else ' reversed'} keeps {self.symbol}"
            yield out

    def to_dict(self) -> dict[str, Any]:
        """Everything but the operations and the direction, as numbers and strings; None is an infinite number."""
        group = self.space_group
        return {
            "irrep": self.irrep,
            "k": [{"letter": letter, "vector": list(vector)} for letter, vector in self.k],
            "tilt": self.tilt,
            "dimension": self.dimension,
            "multiplicity": self.multiplicity,
            "copy": self.copy,
            "keep": self.keep.label,
            "space_group": group and {"number": group.number, "symbol": group.symbol},
            "parameters": self.parameters,
            "equivalent": None if self.equivalent == math.inf else self.equivalent,
            "reversible": self.reversible,
        }

    def _repr_html_(self) -> str | None:
        from pyg_symbreak.plot import notebook_html

        return notebook_html(self)

    def __repr__(self) -> str:
        copy = f", copy {self.copy + 1} of {self.multiplicity}" if self.multiplicity > 1 else ""
        return f"Distortion({self.irrep}{copy}, keeps {self.symbol}, {self.equivalent} equivalent)"


def distortions(
    x: Data | Atoms,
    symprec: float | Literal["auto"] = 1e-3,
    *,
    supercell: tuple[int, int, int] = (1, 1, 1),
    combine: int = 1,
    irreps: Sequence[str] | None = None,
    copies: int | None = None,
    strain: bool = False,
    features: Features = (),
    progress: Callable[[str], None] = lambda message: None,
) -> list[Distortion]:
    """List the inequivalent ways in which displacements in one irrep break the symmetry of a structure.

    For each irrep of S in the displacements [N, 3], other than the trivial one, and each isotropy subgroup K of it up
    to conjugacy, one direction. An irrep that occurs m times is divided into m copies, which are those of a model
    force constant matrix (springs between near atoms), softest first: one direction in each copy.

    Parameters
    ----------
    x : Data or ase.Atoms
        Molecule, crystal or slab. Rigid motions are no distortions. Atoms that are held by
        ``ase.constraints.FixAtoms`` have none, and the symmetry carries them to each other.
    symprec : float or "auto"
        Tolerance of the symmetry detection, Å.
    supercell : (int, int, int)
        Repeat a crystal so often first: distortions may break its translations then.
    combine : int
        Combine up to so many irreps, the softest copy of each, in one direction: Pnma of a perovskite takes one at M
        and one at R. Their number grows fast; ``irreps`` says which.
    irreps : sequence of str, optional
        Names, such as ``"R(1)"``, of the irreps to look at; all if not given.
    copies : int, optional
        Take at most so many copies of each irrep; all if not given.
    strain : bool
        Whether the cell of a crystal is distorted too; of a slab, in its plane.
    features : sequence of str, or mapping of str to irreps
        Of the atoms, which the symmetry keeps, as in :func:`pyg_symbreak.detect.detect_symmetry`: initial moments, say.
    progress : callable
        Is told in a line what is being done.

    Returns
    -------
    list of Distortion
        By irrep; empty where nothing can be broken.

    Raises
    ------
    ValueError, TypeError
        As :func:`pyg_symbreak.detect.detect_symmetry`; the Atoms have a constraint other than FixAtoms; a strain of
        what has no cell, or holds atoms.

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
    progress("symmetry")
    if tuple(supercell) != (1, 1, 1):
        x = x if isinstance(x, Atoms) else to_ase(x)
        if not x.pbc.all():
            raise ValueError("supercell: only a crystal, periodic in three directions, can be repeated")
        x = x.repeat(supercell)
    space = Displacements(x, symprec, features=features, strain=strain)
    progress(f"irreps of {space.order} operations on {space.rows} rows of displacements")
    chosen = _chosen(space.irreps, irreps)
    found: list[Distortion] = []
    for number, irrep in enumerate(chosen, 1):
        progress(f"{irrep.name}, irrep {number} of {len(chosen)}; {len(found)} distortions")
        found += directions(space, irrep, copies)
    for count in range(2, combine + 1):
        for several in combinations(chosen, count):
            progress(f"{' + '.join(irrep.name for irrep in several)}; {len(found)} distortions")
            found += joint_directions(space, several)
    return found


def _chosen(irreps: list[Irrep], names: Sequence[str] | None) -> list[Irrep]:
    """Those irreps that have one of the names."""
    if names is None:
        return irreps
    known = [irrep.name for irrep in irreps]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"irreps: there is no {unknown[0]!r} in the displacements, which have {', '.join(known)}")
    return [irrep for irrep in irreps if irrep.name in names]


def directions(space: Displacements, irrep: Irrep, copies: int | None = None) -> list[Distortion]:
    """One direction for each isotropy subgroup of an irrep, in each of its copies."""
    groups = isotropy_subgroups(irrep.matrices, space.abstract)
    kept = [(space.named(operations), space.space_group_of(operations)) for operations, *_ in groups]
    whole = 2 if space.linear and irrep.name.startswith("Pi") else irrep.basis.shape[1]
    return [
        replace(
            _distortion(space, (irrep,), (vector,), operations, parameters, reversible, names, c),
            dimension=whole,
            equivalent=space.order // len(operations) if whole == irrep.basis.shape[1] else math.inf,
        )
        for c in range(len(irrep.basis))[:copies]
        for names, (operations, parameters, vector, reversible) in zip(kept, groups, strict=True)
    ]


def _distortion(
    space: Displacements,
    irreps: Sequence[Irrep],
    vectors: Sequence[np.ndarray],
    operations: Subgroup,
    parameters: int,
    reversible: bool,
    names: tuple[PointGroup, SpaceGroup | None],
    copy: int = 0,
) -> Distortion:
    """The distortion along a vector in each of some irreps, in one copy of them."""
    rows = [np.einsum("k,kia->ia", v, irrep.basis[copy]) for v, irrep in zip(vectors, irreps, strict=True)]
    direction = sum((part / np.linalg.norm(part, axis=1).max() for part in rows), np.zeros_like(rows[0]))
    direction /= np.linalg.norm(direction, axis=1).max()
    count = len(space.atoms)
    return Distortion(
        irrep=" + ".join(irrep.name for irrep in irreps),
        dimension=sum(irrep.basis.shape[1] for irrep in irreps),
        multiplicity=len(irreps[0].basis) if len(irreps) == 1 else 1,
        copy=copy,
        keep=names[0],
        operations=operations,
        parameters=parameters,
        equivalent=space.order // len(operations),
        reversible=reversible,
        direction=direction[:count],
        space_group=names[1],
        strain=direction[count:] / space.scale if space.strain else None,
        parts=tuple(irrep.name for irrep in irreps),
        k=tuple(irrep.k for irrep in irreps if irrep.k is not None),
        tilt=None if space.octahedra is None or space.strain else space.octahedra.symbol_of(direction[:count]),
        kept=None if space.linear else SymmetrySubgroup(space.symmetry, operations),
        parent=space.atoms,
    )


def joint_directions(space: Displacements, irreps: Sequence[Irrep]) -> list[Distortion]:
    """One direction for each subgroup that vectors in all of some irreps keep, and not already those in fewer.

    Of each irrep the softest copy. The parts of the direction are of equal size.
    """
    group = space.abstract
    singles = [[(k, vector) for k, _, vector, _ in isotropy_subgroups(irrep.matrices, group)] for irrep in irreps]
    states: list[tuple[Subgroup, tuple[np.ndarray, ...]]] = [(k, (vector,)) for k, vector in singles[0]]
    for irrep, found in zip(irreps[1:], singles[1:], strict=True):
        joint = joint_isotropy_subgroups([k for k, _ in states], [k for k, _ in found], group)
        states = [(k, (*states[i][1], irrep.matrices[g] @ found[j][1])) for k, i, j, g in joint]
    out = []
    for k, vectors in states:
        rows = list(k)
        averages = [irrep.matrices[rows].mean(0) for irrep in irreps]
        alone = [np.abs(irrep.matrices @ v - v).max(1) < 1e-6 for irrep, v in zip(irreps, vectors, strict=True)]
        if any(np.delete(alone, n, axis=0).all(0).sum() == len(k) for n in range(len(irreps))):
            continue  # the other irreps keep no more
        rng = np.random.default_rng(5)
        generic = [average @ rng.standard_normal(len(average)) for average in averages]
        turned = [np.abs(irrep.matrices @ v + v).max(1) for irrep, v in zip(irreps, generic, strict=True)]
        parameters = round(sum(np.trace(average) for average in averages))
        names = space.named(k), space.space_group_of(k)
        out.append(_distortion(space, irreps, vectors, k, parameters, bool(np.max(turned, axis=0).min() < 1e-6), names))
    return out
