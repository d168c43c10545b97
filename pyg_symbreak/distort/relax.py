"""Relaxation from a symmetric structure to the minima around it, and the count of what it took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from typing import Any, Literal

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixConstraint
from ase.optimize import BFGS
from torch_geometric.data import Data

from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.distort.displacements import Displacements, Irrep, nearest_neighbor_distance
from pyg_symbreak.distort.distortions import Distortion, directions
from pyg_symbreak.distort.equivalence import SAME_PLACE, same_structure
from pyg_symbreak.distort.isotropy import isotropy_subgroups
from pyg_symbreak.groups import PointGroup

STEP = 0.01
"""Largest displacement, Å, of the finite differences of forces."""
UNSTABLE = -0.01
"""Curvatures below this, eV/Å², are unstable."""
SAME_ENERGY = 5e-3
"""Relaxed structures whose energies, eV, differ by more are different."""


@dataclass(eq=False)
class Stationary:
    """A structure at which the forces vanish.

    Attributes
    ----------
    atoms : ase.Atoms
        With energy (eV) and forces (eV/Å).
    energy : float
        eV.
    symmetry : PointGroup
    curvatures : list of (str, float), optional
        The lowest curvature, eV/Å², in each irrep that breaks the symmetry; None where it was not computed.
    curvature_calls : int
        Force calls that they took.
    """

    atoms: Atoms
    energy: float
    symmetry: PointGroup
    curvatures: list[tuple[str, float]] | None = None
    curvature_calls: int = 0

    @property
    def is_minimum(self) -> bool | None:
        """Whether no distortion that breaks the symmetry goes down; None where that was not computed."""
        return None if self.curvatures is None else not self.unstable

    @property
    def unstable(self) -> list[str]:
        """Irreps in which the energy falls, as far as known."""
        return [name for name, curvature in self.curvatures or [] if curvature < UNSTABLE]

    def __repr__(self) -> str:
        kind = {True: "minimum", False: f"saddle, unstable in {', '.join(self.unstable)}", None: "not looked at"}
        return f"Stationary({self.symmetry.schoenflies}, {self.energy:.4f} eV, {kind[self.is_minimum]})"


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
    energies : list of float
        eV, one for each force call.
    found : int, optional
        Number of the stationary structure at its end; None if it did not converge.
    """

    parent: int | None
    distortion: Distortion | None
    sign: int
    curvature: float | None
    energies: list[float]
    found: int | None


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
    """

    found: list[Stationary] = field(default_factory=list)
    descents: list[Descent] = field(default_factory=list)

    @property
    def curvature_calls(self) -> int:
        """Force calls for curvatures."""
        return sum(s.curvature_calls for s in self.found)

    @property
    def calls(self) -> int:
        """All force calls."""
        return self.curvature_calls + sum(len(d.energies) for d in self.descents)

    @property
    def minima(self) -> list[Stationary]:
        """The structures that are not known to be saddles, by rising energy."""
        return sorted((s for s in self.found if s.is_minimum is not False), key=lambda s: s.energy)

    def write(self, path: str | PathLike) -> None:
        """Write the structures as extended XYZ, with energy, forces and symmetry."""
        frames = []
        for s in self.found:
            frames.append(Atoms(s.atoms.numbers, s.atoms.positions, cell=s.atoms.cell, pbc=s.atoms.pbc))
            frames[-1].calc = s.atoms.calc
            frames[-1].info["symmetry"] = s.symmetry.schoenflies
        ase.io.write(fspath(path), frames, format="extxyz")

    def to_dict(self) -> dict[str, Any]:
        """Everything but the structures, as numbers, strings and lists."""
        return {
            "force_calls": self.calls,
            "force_calls_for_curvatures": self.curvature_calls,
            "found": [
                {
                    "symmetry": s.symmetry.schoenflies,
                    "energy": s.energy,
                    "minimum": s.is_minimum,
                    "unstable": s.unstable,
                }
                for s in self.found
            ],
            "descents": [
                {
                    "parent": d.parent,
                    "irrep": d.distortion and d.distortion.irrep,
                    "kept": d.distortion and d.distortion.keep.label,
                    "sign": d.sign,
                    "curvature": d.curvature,
                    "force_calls": len(d.energies),
                    "found": d.found,
                }
                for d in self.descents
            ],
        }

    def __repr__(self) -> str:
        names = ", ".join(s.symmetry.schoenflies for s in self.minima)
        return f"Relaxation({self.found[0].symmetry.schoenflies} to {names}: {self.calls} force calls)"


def relax(
    x: Data | Atoms,
    calculator: Calculator,
    *,
    along: Literal["unstable"] | Sequence[Distortion] = "unstable",
    amplitude: float = 0.1,
    generations: int = 5,
    optimizer: Any = BFGS,
    fmax: float = 0.01,
    steps: int = 500,
    symprec: float | Literal["auto"] = 1e-3,
    progress: Callable[[str], None] = lambda message: None,
) -> Relaxation:
    """Relax a symmetric structure, then leave it along the distortions that break its symmetry.

    First the structure is relaxed with all its symmetry S. Then the curvature of the energy is computed in each copy
    of each irrep of S that breaks it: one force call for a copy, by central differences, whatever its dimension (two
    where no operation reverses the distortion); for a cuboctahedron of 13 atoms these are 13 in all. In each unstable
    copy a start is displaced along one direction for each isotropy subgroup K with a one-dimensional fixed space (of
    least dimension where there is none), with either sign where they are inequivalent, and relaxed with forces
    averaged over K. Where it ends is looked at in the same way, as long as it has symmetry left, is new and lower in
    energy than the structure it came from.

    Parameters
    ----------
    x : Data or ase.Atoms
        Molecule, crystal or slab, without constraints; the cell is not relaxed.
    calculator : ase.calculators.calculator.Calculator
        Any that gives energy and forces.
    along : "unstable" or sequence of Distortion
        Distortions to follow from the first structure instead of the unstable ones, e.g. all of
        :func:`distortions`, to reach minima behind a barrier.
    amplitude : float
        Largest displacement of an atom in a start, as a fraction of the nearest-neighbour distance.
    generations : int
        How often to go on from what was found; 1 stops at what is found from the symmetric structure.
    optimizer : class
        Of :mod:`ase.optimize`.
    fmax, steps
        eV/Å and number of steps: when a relaxation ends, and when it has failed to.
    symprec : float or "auto"
        Tolerance of the symmetry of x, Å.
    progress : callable
        Is told in a line what is being done.

    Returns
    -------
    Relaxation

    Raises
    ------
    ValueError, TypeError
        As :func:`pyg_symbreak.detect.detect_symmetry`; the Atoms have constraints.
    RuntimeError
        The relaxation that keeps all symmetry does not converge.

    Notes
    -----
    Minima are found along ways that keep some symmetry at first; one that lies on none of them is missed.

    At a conical intersection (a Jahn-Teller molecule) the symmetric structure is not stationary but the tip of a cone.
    The forces averaged over S vanish there all the same, and the finite differences across the tip give large
    negative curvatures, of the order of the slope over 0.01 Å, in the irreps that are Jahn-Teller active.

    Examples
    --------
    >>> from ase import Atoms
    >>> from ase.calculators.emt import EMT
    >>> line = Atoms("Cu3", [[0, 0, -2.3], [0, 0, 0], [0, 0, 2.3]])
    >>> result = relax(line, EMT())
    >>> [(s.symmetry.schoenflies, round(s.energy, 2), s.is_minimum) for s in result.found]
    [('Dinfh', 4.59, False), ('D3h', 4.05, True)]
    """
    if isinstance(x, Atoms) and x.constraints:
        kinds = ", ".join(type(constraint).__name__ for constraint in x.constraints)
        raise ValueError(
            f"the Atoms have constraints ({kinds}), which the relaxations would not heed: remove them with "
            "atoms.set_constraint() to relax all atoms"
        )
    return _Search(calculator, amplitude, optimizer, fmax, steps, progress).run(x, along, generations, symprec)


class _Search:
    def __init__(self, calculator, amplitude, optimizer, fmax, steps, progress):
        if isinstance(calculator, type) or not hasattr(calculator, "get_forces"):
            raise TypeError(f"calculator must be an ASE calculator such as EMT(), got {calculator!r}")
        self.calculator = _Counted(calculator)
        self.amplitude, self.optimizer, self.fmax, self.steps = amplitude, optimizer, fmax, steps
        self.progress = progress
        self.result = Relaxation()

    def run(self, x, along, generations, symprec) -> Relaxation:
        space = Displacements(x, symprec)
        self._tell(f"relaxing with all of {space.whole.schoenflies}")
        energies, end = self._relax(space, range(space.order), space.atoms, self.fmax)
        if end is None:
            raise RuntimeError(
                f"the symmetric structure is not relaxed to {self.fmax} eV/Å after {self.steps} steps: "
                "raise fmax or steps, or start nearer to it"
            )
        self._number(end)
        self.result.descents.append(Descent(None, None, 1, None, energies, 0))
        queue = [0]
        for generation in range(generations):
            ways = along if generation == 0 else "unstable"
            queue = [new for number in queue for new in self._leave(number, ways)]
        return self.result

    def _tell(self, message: str) -> None:
        self.progress(f"{self.calculator.calls} force calls, {len(self.result.found)} structures; {message}")

    def _leave(self, number: int, along) -> list[int]:
        """Relax from a stationary structure; the numbers of what is new and lower."""
        parent = self.result.found[number]
        space = Displacements(parent.atoms, _tolerance(parent.atoms))
        if isinstance(along, str):
            ways = self._unstable(space, parent)
        else:  # the operations may have been listed in another order
            ways = [(None, replace(way, operations=space.stabilizer(way.direction))) for way in along]
        lower = []
        for curvature, way in ways:
            fmax = self.fmax
            if curvature is not None:  # on a flat saddle the forces on the start may be below fmax
                reach = self.amplitude * nearest_neighbor_distance(space.atoms)
                fmax = min(fmax, abs(curvature) * reach / 2)
            for sign, start in zip((1, -1), way.starts(space.atoms, self.amplitude), strict=False):
                self._tell(f"{parent.symmetry.schoenflies} along {way.irrep}, keeping {way.keep.label}")
                known = len(self.result.found)
                energies, end = self._relax(space, way.operations, start, fmax)
                found = None if end is None else self._number(end)
                self.result.descents.append(Descent(number, way, sign, curvature, energies, found))
                if found == known and self.result.found[found].energy < parent.energy:
                    lower.append(found)
        return lower

    def _unstable(self, space: Displacements, parent: Stationary) -> list[tuple[float | None, Distortion]]:
        """Distortions along which the energy falls, steepest first, with the curvature."""
        ways: list[tuple[float, Distortion]] = []
        parent.curvatures = []
        before = self.calculator.calls
        for irrep in space.irreps:
            self._tell(f"{parent.symmetry.schoenflies}: curvatures in {irrep.name}")
            modes, curvatures = self._curvatures(space, irrep)
            parent.curvatures.append((irrep.name, float(curvatures.min())))
            found = directions(space, modes, int((curvatures < UNSTABLE).sum()))
            least = min((way.parameters for way in found), default=0)
            ways += [(float(curvatures[way.copy]), way) for way in found if way.parameters == least]
        parent.curvature_calls = self.calculator.calls - before
        return sorted(ways, key=lambda item: (item[0], item[1].equivalent))

    def _curvatures(self, space: Displacements, irrep: Irrep) -> tuple[Irrep, np.ndarray]:
        """The irrep divided into eigenspaces of the force constants, and these, eV/Å², rising."""
        multiplicity, dimension, count, _ = irrep.basis.shape
        subgroups = isotropy_subgroups(irrep.matrices, space.abstract)
        _, _, vector, reversible = next((k for k in subgroups if k[3]), subgroups[0])
        displaced, response = [], []
        for copy in irrep.basis:
            mode = np.einsum("k,kia->ia", vector, copy)
            size = STEP / np.linalg.norm(mode, axis=1).max()
            plus = self._forces(space.atoms, size * mode)
            if reversible:  # minus the mode is an image of it
                reverse = int(np.abs(irrep.matrices @ vector + vector).max(1).argmin())
                minus = space.images(plus[None], [reverse])[0, 0]
            else:
                minus = self._forces(space.atoms, -size * mode)
            displaced.append(mode)
            response.append((minus - plus) / (2 * size))
        flat = irrep.basis.reshape(multiplicity * dimension, -1)
        modes, answers = (space.images(np.array(u)).reshape(-1, 3 * count) @ flat.T for u in (displaced, response))
        inside = np.linalg.lstsq(modes, answers, rcond=None)[0]  # the images of the modes span all copies
        blocks = (inside + inside.T).reshape(multiplicity, dimension, multiplicity, dimension) / 2
        blocks = np.einsum("gab,ibjd,gcd->iajc", irrep.matrices, blocks, irrep.matrices, optimize=True) / space.order
        constants = flat.T @ blocks.reshape(len(flat), -1) @ flat
        split = space.irrep(irrep.name, irrep.basis.reshape(-1, count, 3), dimension, constants)
        copies = split.basis.reshape(multiplicity, dimension, -1)
        return split, np.einsum("cdi,ij,cdj->c", copies, constants, copies) / dimension

    def _forces(self, atoms: Atoms, displacement: np.ndarray) -> np.ndarray:
        moved = Atoms(atoms.numbers, atoms.positions + displacement, cell=atoms.cell, pbc=atoms.pbc)
        moved.calc = self.calculator
        return moved.get_forces()

    def _relax(self, space: Displacements, operations, start: Atoms, fmax: float) -> tuple[list[float], Atoms | None]:
        """Relax with the symmetry of some operations: energies, eV, and the end if it was reached."""
        before = self.calculator.calls
        atoms = start.copy()
        atoms.set_constraint(_Symmetric(start.positions, space.projector(operations)))
        atoms.calc = self.calculator
        converged = self.optimizer(atoms, logfile=None).run(fmax=fmax, steps=self.steps)
        energies = self.calculator.energies[before:]
        if not converged:
            return energies, None
        atoms.set_constraint()
        atoms.info.pop("distortion", None)
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        return energies, atoms

    def _number(self, atoms: Atoms) -> int:
        """Number of a stationary structure, a new one if it is not known."""
        energy = float(atoms.get_potential_energy())
        for number, known in enumerate(self.result.found):
            if abs(energy - known.energy) < SAME_ENERGY and same_structure(atoms, known.atoms):
                return number
        self.result.found.append(Stationary(atoms, energy, _group(atoms, _tolerance(atoms))))
        return len(self.result.found) - 1


def _tolerance(atoms: Atoms) -> float:
    """Of the symmetry of a relaxed structure, Å."""
    return SAME_PLACE / 2 * nearest_neighbor_distance(atoms)


def _group(atoms: Atoms, symprec: float) -> PointGroup:
    symmetry = detect_symmetry(atoms, symprec)
    assert isinstance(symmetry, Symmetry)
    return symmetry.group


class _Counted(Calculator):
    """Another calculator, counted: the energy of each force call."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, calculator: Calculator):
        super().__init__()
        self.inner = calculator
        self.energies: list[float] = []

    @property
    def calls(self) -> int:
        return len(self.energies)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        free = self.atoms.copy()
        free.set_constraint()
        free.calc = self.inner
        self.results = {"forces": free.get_forces(), "energy": free.get_potential_energy()}
        self.energies.append(float(self.results["energy"]))


class _Symmetric(FixConstraint):
    """Keeps displacements from a symmetric structure in the image of a projector [3N, 3N]."""

    def __init__(self, positions: np.ndarray, projector: np.ndarray):
        self.positions = positions.copy()
        self.projector = projector

    def get_removed_dof(self, atoms) -> int:
        return round(len(self.projector) - np.trace(self.projector))

    def adjust_positions(self, atoms, new):
        new[:] = self.positions + (self.projector @ (new - self.positions).ravel()).reshape(-1, 3)

    def adjust_forces(self, atoms, forces):
        forces[:] = (self.projector @ forces.ravel()).reshape(-1, 3)
