"""What a relaxation from a symmetric structure finds, and the count of what it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory

from pyg_symbreak.detect import SpaceGroup, Symmetry, symmetrize
from pyg_symbreak.distort.distortions import Distortion
from pyg_symbreak.groups import PointGroup

__all__ = ["FLAT", "Descent", "Relaxation", "Stationary", "primitive_structure", "with_results"]

FLAT = 0.01
"""Curvatures nearer to zero than this, eV/Å², are not told from zero."""


@dataclass(eq=False)
class Stationary:
    """A structure at which the forces vanish.

    Attributes
    ----------
    atoms : ase.Atoms
        With energy (eV) and forces (eV/Å), and with all that the structure given to :func:`relax` carries.
    energy : float
        eV.
    detected : Symmetry
        The operations; ``symmetry`` and ``space_group`` name them.
    curvatures : list of (str, float), optional
        The lowest curvature, eV/Å², in each irrep that breaks the symmetry; None where it was not computed.
    uncertainty : float
        Curvatures near zero are known to within this, eV/Å²: the larger of ``FLAT`` and of what the forces that are
        left make of them, see :func:`relax`.
    curvature_calls : int
        Force calls that the curvatures took.
    """

    atoms: Atoms
    energy: float
    detected: Symmetry
    curvatures: list[tuple[str, float]] | None = None
    uncertainty: float = FLAT
    curvature_calls: int = 0

    @property
    def symmetry(self) -> PointGroup:
        """Its point group."""
        return self.detected.group

    @property
    def space_group(self) -> SpaceGroup | None:
        """Of a crystal; of a slab its layer group."""
        return self.detected.space_group or self.detected.layer_group

    @property
    def primitive(self) -> Atoms:
        """Of a crystal its primitive cell, symmetrized; else a copy. ``info`` names the symmetry."""
        out = primitive_structure(self.atoms, self.detected) if self.atoms.pbc.all() else self.atoms.copy()
        out.info["space_group"] = self.symbol
        return out

    @property
    def is_minimum(self) -> bool | None:
        """Whether the energy rises in all irreps; None where that was not computed, or where one is flat."""
        if self.unstable:
            return False
        return None if self.curvatures is None or self.flat else True

    @property
    def unstable(self) -> list[str]:
        """Irreps in which the energy falls, as far as known."""
        return [name for name, curvature in self.curvatures or [] if curvature < -self.uncertainty]

    @property
    def flat(self) -> list[str]:
        """Irreps in which it neither rises nor falls by more than the uncertainty, as far as known."""
        return [name for name, curvature in self.curvatures or [] if abs(curvature) <= self.uncertainty]

    @property
    def kind(self) -> str:
        """Minimum, saddle, flat (no irrep is unstable, one is flat), or not looked at."""
        if self.curvatures is None:
            return "not looked at"
        return "saddle" if self.unstable else "flat" if self.flat else "minimum"

    @property
    def symbol(self) -> str:
        """Name of the symmetry: of a crystal the space group with its number, of a molecule the Schoenflies symbol."""
        return (
            f"{self.space_group.symbol} ({self.space_group.number})" if self.space_group else self.symmetry.schoenflies
        )

    def __repr__(self) -> str:
        where = {"saddle": f", unstable in {', '.join(self.unstable)}", "flat": f" in {', '.join(self.flat)}"}
        return f"Stationary({self.symbol}, {self.energy:.4f} eV, {self.kind}{where.get(self.kind, '')})"


@dataclass(eq=False)
class Descent:
    """One relaxation.

    Attributes
    ----------
    parent : int, optional
        Number of the stationary structure that it started from; None for the relaxation that keeps all symmetry.
    distortion : Distortion, optional
        How the start was displaced, and what symmetry was kept on the way.
    sign : int
        Of the displacement.
    curvature : float, optional
        eV/Å², of the energy along it at the parent.
    frames : list of Atoms
        What the forces were computed of, with energy (eV) and forces.
    found : int, optional
        Number of the stationary structure at its end; None if it did not converge.
    """

    parent: int | None
    distortion: Distortion | None
    sign: int
    curvature: float | None
    frames: list[Atoms]
    found: int | None

    @property
    def energies(self) -> list[float]:
        """Of the frames, eV: one for each force call."""
        return [float(frame.get_potential_energy()) for frame in self.frames]


@dataclass(eq=False)
class Relaxation:
    """What was found from a symmetric structure.

    Attributes
    ----------
    found : list of Stationary
        Inequivalent stationary structures, in the order in which they were found; the first has all symmetry of the
        input.
    descents : list of Descent
        All relaxations, in their order.
    unfinished : str, optional
        What was being done when the force calls that were allowed were used up; None if all was done.
    """

    found: list[Stationary] = field(default_factory=list)
    descents: list[Descent] = field(default_factory=list)
    unfinished: str | None = None

    @property
    def curvature_calls(self) -> int:
        """Force calls for curvatures."""
        return sum(s.curvature_calls for s in self.found)

    @property
    def calls(self) -> int:
        """All force calls."""
        return self.curvature_calls + sum(len(d.frames) for d in self.descents)

    @property
    def minima(self) -> list[Stationary]:
        """The structures that are not known to be saddles, by rising energy."""
        return sorted((s for s in self.found if s.is_minimum is not False), key=lambda s: s.energy)

    def write(self, path: str | PathLike) -> None:
        """Write the structures with all that they carry as extended XYZ, with energy, forces and symmetry."""
        frames = []
        for s in self.found:
            frames.append(with_results(s.atoms, s.atoms.calc.results))
            frames[-1].info["symmetry"] = s.symmetry.schoenflies
            if s.space_group is not None:
                frames[-1].info["space_group"] = s.space_group.symbol
        ase.io.write(fspath(path), frames, format="extxyz")

    def write_trajectory(self, path: str | PathLike) -> None:
        """Write what the relaxations went through as a trajectory of ASE, one relaxation after the other.

        ``info["relaxation"]`` says which of ``descents`` a frame belongs to. Of the arrays the file holds those that
        ASE knows by name (moments, charges, tags, masses); :meth:`write` keeps all.
        """
        with Trajectory(fspath(path), "w") as trajectory:
            for descent in self.descents:
                for frame in descent.frames:
                    trajectory.write(frame)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the structures, as numbers, strings and lists."""
        return {
            "force_calls": self.calls,
            "force_calls_for_curvatures": self.curvature_calls,
            "unfinished": self.unfinished,
            "found": [
                {
                    "symmetry": s.symmetry.schoenflies,
                    "space_group": s.space_group and {"number": s.space_group.number, "symbol": s.space_group.symbol},
                    "energy": s.energy,
                    "kind": s.kind,
                    "minimum": s.is_minimum,
                    "unstable": s.unstable,
                    "flat": s.flat,
                }
                for s in self.found
            ],
            "descents": [
                {
                    "parent": d.parent,
                    "irrep": d.distortion and d.distortion.irrep,
                    "kept": d.distortion and d.distortion.symbol,
                    "sign": d.sign,
                    "curvature": d.curvature,
                    "force_calls": len(d.frames),
                    "found": d.found,
                }
                for d in self.descents
            ],
        }

    def __repr__(self) -> str:
        names = ", ".join(s.symbol for s in self.minima)
        stop = "" if self.unfinished is None else f"; stopped there, unfinished: {self.unfinished}"
        return f"Relaxation({self.found[0].symbol} to {names}: {self.calls} force calls{stop})"


def with_results(atoms: Atoms, results: dict[str, Any]) -> Atoms:
    """A copy with the results of a calculator."""
    out = atoms.copy()
    out.calc = SinglePointCalculator(out, **results)
    return out


def primitive_structure(atoms: Atoms, symmetry: Symmetry) -> Atoms:
    """A crystal in its primitive cell, symmetrized."""
    exact = symmetrize(atoms, symmetry)
    assert isinstance(exact, Atoms)
    return symmetry.subgroup(range(int(symmetry.order))).primitive_cell(exact)
