"""Distortions that break the symmetry of a structure: one for each isotropy subgroup in its displacements."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from scipy.linalg import expm
from torch_geometric.data import Data

from pyg_symbreak.detect import SpaceGroup
from pyg_symbreak.distort.displacements import Displacements, Features, Irrep, nearest_neighbor_distance
from pyg_symbreak.groups import PointGroup, isotropy_subgroups

__all__ = ["Distortion", "directions", "distortions"]


@dataclass(frozen=True, eq=False)
class Distortion:
    """One way to break a symmetry S: a direction in an irrep of the displacements, and the subgroup K it keeps.

    Attributes
    ----------
    irrep : str
        Mulliken symbol (``T2``, ``Eg``, ``A2''``); of a linear molecule ``Sigma`` or ``Pi``. For an irrep that breaks
        translations of a supercell the letter of its k vector and a number, the softest first: ``R(1)``, ``M(2)``; or
        ``k3(1)`` (dimension, number) where the k vector has no letter. The letters are those of the space group that
        keeps the supercell.
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
    strain : float64 array [3, 3], optional
        Where the cell is strained too, the strain (symmetric, without unit) that goes with ``direction``. It is the
        logarithm of the deformation, and scaled so that the largest row of it, times √N nearest-neighbour distances, is
        at most 1 Å; then one of these rows or displacements has length 1.
    space_group : SpaceGroup, optional
        K of a crystal; of a slab its layer group. In a supercell of a shape that lacks some of the crystal's symmetry
        the structure can have more.
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

    @property
    def symbol(self) -> str:
        """What is kept: of a crystal the space group with its number, of a molecule the label of ``keep``."""
        return self.keep.label if self.space_group is None else f"{self.space_group.symbol} ({self.space_group.number})"

    def starts(self, atoms: Atoms, amplitude: float = 0.1) -> Iterator[Atoms]:
        """Displaced copies of a structure, one for each inequivalent sign of the direction.

        They carry what the structure carries: arrays, constraints and ``info``, to which ``"distortion"`` is added.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure that the distortion was found for, symmetrized.
        amplitude : float
            Largest displacement of an atom, as a fraction of the nearest-neighbour distance d. A strain alone has a row
            of length amplitude/√N.
        """
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
            "dimension": self.dimension,
            "multiplicity": self.multiplicity,
            "copy": self.copy,
            "keep": self.keep.label,
            "space_group": group and {"number": group.number, "symbol": group.symbol},
            "parameters": self.parameters,
            "equivalent": None if self.equivalent == math.inf else self.equivalent,
            "reversible": self.reversible,
        }

    def __repr__(self) -> str:
        copy = f", copy {self.copy + 1} of {self.multiplicity}" if self.multiplicity > 1 else ""
        return f"Distortion({self.irrep}{copy}, keeps {self.symbol}, {self.equivalent} equivalent)"


def distortions(
    x: Data | Atoms,
    symprec: float | Literal["auto"] = 1e-3,
    *,
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
    space = Displacements(x, symprec, features=features, strain=strain)
    progress(f"irreps of {space.order} operations on {space.rows} rows of displacements")
    found: list[Distortion] = []
    for number, irrep in enumerate(space.irreps, 1):
        progress(f"{irrep.name}, irrep {number} of {len(space.irreps)}; {len(found)} distortions")
        found += directions(space, irrep, copies)
    return found


def directions(space: Displacements, irrep: Irrep, copies: int | None = None) -> list[Distortion]:
    """One direction for each isotropy subgroup of an irrep, in each of its copies."""
    multiplicity, dimension = irrep.basis.shape[:2]
    groups = isotropy_subgroups(irrep.matrices, space.abstract)
    kept = [(space.named(operations), space.space_group_of(operations)) for operations, *_ in groups]
    found = []
    for c in range(multiplicity)[:copies]:
        for (keep, space_group), (operations, parameters, vector, reversible) in zip(kept, groups, strict=True):
            direction = np.einsum("k,kia->ia", vector, irrep.basis[c])
            direction /= np.linalg.norm(direction, axis=1).max()
            count = len(space.atoms)
            whole = 2 if space.linear and irrep.name.startswith("Pi") else dimension
            found.append(
                Distortion(
                    irrep=irrep.name,
                    dimension=whole,
                    multiplicity=multiplicity,
                    copy=c,
                    keep=keep,
                    operations=operations,
                    parameters=parameters,
                    equivalent=space.order // len(operations) if whole == dimension else math.inf,
                    reversible=reversible,
                    direction=direction[:count],
                    space_group=space_group,
                    strain=direction[count:] / space.scale if space.strain else None,
                )
            )
    return found
