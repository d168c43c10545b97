"""Relaxation from a symmetric structure to the minima around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.constraints import FixConstraint
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_stress
from torch_geometric.data import Data

from pyg_symbreak.distort.displacements import (
    Displacements,
    Features,
    Irrep,
    nearest_neighbor_distance,
    structure_symmetry,
)
from pyg_symbreak.distort.distortions import Distortion, directions, joint_directions
from pyg_symbreak.distort.equivalence import SAME_PLACE, same_structure
from pyg_symbreak.distort.relaxation import FLAT, Descent, Relaxation, Stationary, with_results

__all__ = ["Cell", "Search", "relax", "relaxed_tolerance"]

Cell = Literal["fixed", "symmetric", "free"]
"""What becomes of the cell in a relaxation, see :func:`relax`."""

STEP = 0.01
"""Largest displacement, Å, of the finite differences of forces."""
NEARLY_FLAT = 0.1
"""Curvatures nearer to zero than this, eV/Å², are computed more precisely."""
SAME_ENERGY = 5e-3
"""Relaxed structures whose energies, eV, differ by more are different."""


def relax(
    x: Data | Atoms,
    calculator: Calculator,
    *,
    along: Literal["unstable"] | Sequence[Distortion] = "unstable",
    amplitude: float = 0.1,
    generations: int = 5,
    combine: int = 1,
    max_calls: int | None = None,
    cell: Cell = "fixed",
    optimizer: Any = BFGS,
    fmax: float = 0.01,
    steps: int = 500,
    symprec: float | Literal["auto"] = 1e-3,
    features: Features = (),
    progress: Callable[[str], None] = lambda message: None,
) -> Relaxation:
    """Relax a symmetric structure, then leave it along the distortions that break its symmetry.

    First the structure is relaxed with all its symmetry S. Then the curvature of the energy is computed in each copy
    of each irrep of S that breaks it: one force call for a copy, by central differences, whatever its dimension (two
    where no operation turns a vector of it into its opposite); for a cuboctahedron of 13 atoms these are 13 in all.
    In each unstable copy a start is displaced along one direction for each isotropy subgroup K with a one-dimensional
    fixed space (of least dimension where there is none), with either sign where they are inequivalent, and relaxed
    with forces averaged over K. Where it ends is looked at in the same way, as long as it has symmetry left, is new
    and lower in energy than the structure it came from.

    Parameters
    ----------
    x : Data or ase.Atoms
        Molecule, crystal or slab. All that Atoms carry (charges, moments, tags, masses, ``info``) goes with them to
        the calculator and into the results. Atoms that are held by ``ase.constraints.FixAtoms`` stay where they are,
        and the symmetry carries them to each other: a slab that is held below has no mirror in its plane.
    calculator : ase.calculators.calculator.Calculator
        Any that gives energy and forces; stresses too unless the cell is fixed.
    along : "unstable" or sequence of Distortion
        Distortions to follow from the first structure instead of the unstable ones, e.g. all of
        :func:`distortions`, to reach minima behind a barrier.
    amplitude : float
        Largest displacement of an atom in a start, as a fraction of the nearest-neighbour distance.
    generations : int
        How often to go on from what was found; 1 stops at what is found from the symmetric structure.
    combine : int
        Start along up to so many unstable irreps at once: the lowest minimum of CaTiO3 takes one at M and one at R.
        Their softest copies, in the directions with least parameters.
    max_calls : int, optional
        Stop when so many forces have been computed; what was found until then is returned, and ``unfinished`` says
        what was being done. No limit if not given.
    cell : "fixed", "symmetric" or "free"
        Whether the cell of a crystal relaxes too (``ase.filters.FrechetCellFilter``; of a slab in its plane), and
        strains are among the distortions: ``"fixed"`` is not, ``"symmetric"`` with stresses that are averaged over K
        as forces are. ``"free"``: neither is averaged once the symmetric structure is left, so that noise may lead on
        to less symmetry.
    optimizer : class
        Of :mod:`ase.optimize`.
    fmax, steps
        eV/Å and number of steps: when a relaxation ends, and when it has failed to. If the cell relaxes, the derivative
        by the strain, divided by √N nearest-neighbour distances, is a force too.
    symprec : float or "auto"
        Tolerance of the symmetry of x, Å.
    features : sequence of str, or mapping of str to irreps
        Of the atoms, which the symmetry keeps, as in :func:`pyg_symbreak.detect.detect_symmetry`: initial moments, say.
    progress : callable
        Is told in a line what is being done and what was found.

    Returns
    -------
    Relaxation

    Raises
    ------
    ValueError, TypeError
        As :func:`pyg_symbreak.detect.detect_symmetry`; the Atoms have a constraint other than FixAtoms; a cell that is
        to relax of what has none, or holds atoms, or with a calculator that gives no stress.
    RuntimeError
        The relaxation that keeps all symmetry does not converge, or not within ``max_calls``.

    Notes
    -----
    Minima are found along ways that keep some symmetry at first; one that lies on none of them is missed.

    A curvature is uncertain by what is left of the forces: a force f across a direction that bends with a radius ρ
    changes the curvature along it by f/ρ. ρ is taken to be the distance to the structure that it was found from, at
    most the length of a start. Where a curvature is nearer to zero than that or 0.1 eV/Å² (``NEARLY_FLAT``), the
    structure is relaxed further, until f/ρ is below half of ``FLAT``, 0.01 eV/Å², and these curvatures are computed
    again with an error of the fourth order in the step. What then still lies within the ``uncertainty``, ``FLAT`` or
    a larger f/ρ, is called flat: the trough of a Jahn-Teller system without warping is neither a minimum nor a saddle.
    Noise of the forces is not seen: δ eV/Å of it are δ/0.01 eV/Å² in a curvature.

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
    search = Search(calculator, amplitude, optimizer, fmax, steps, cell, features, progress, combine, max_calls)
    return search.run(x, along, generations, symprec)


def curvatures(
    x: Data | Atoms,
    calculator: Calculator,
    *,
    cell: Cell = "fixed",
    optimizer: Any = BFGS,
    fmax: float = 0.01,
    steps: int = 500,
    symprec: float | Literal["auto"] = 1e-3,
    features: Features = (),
    progress: Callable[[str], None] = lambda message: None,
) -> Stationary:
    """Relax a structure with all its symmetry, and compute the curvature of the energy in each irrep that breaks it.

    What :func:`relax` does first, without following any distortion: which irreps are unstable. Of a crystal those of
    waves that fit the cell: Γ, M, X and R of a perovskite take 40 atoms.

    Parameters
    ----------
    x, calculator, cell, optimizer, fmax, steps, symprec, features, progress
        As for :func:`relax`.

    Returns
    -------
    Stationary
        With ``curvatures``, eV/Å², and ``unstable``.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        As :func:`relax`.

    Examples
    --------
    >>> from ase import Atoms
    >>> from ase.calculators.emt import EMT
    >>> curvatures(Atoms("Cu3", [[0, 0, -2.3], [0, 0, 0], [0, 0, 2.3]]), EMT()).unstable
    ['Pi_u']
    """
    search = Search(calculator, 0.1, optimizer, fmax, steps, cell, features, progress)
    (found,) = search.run(x, (), 0, symprec).found
    search.unstable(search.space(found.atoms, relaxed_tolerance(found.atoms)), 0)
    return found


Ways = list[tuple[float | None, Distortion]]
"""Distortions to follow, with the curvature along them, eV/Å²."""


Modes = tuple[Irrep, np.ndarray]
"""An irrep whose copies are modes, and their curvatures, eV/Å²."""


class Search:
    """Relaxations with one calculator and one set of tolerances; the arguments are those of :func:`relax`."""

    def __init__(
        self,
        calculator: Calculator,
        amplitude: float,
        optimizer: Any,
        fmax: float,
        steps: int,
        cell: Cell,
        features: Features,
        progress: Callable[[str], None] = lambda message: None,
        combine: int = 1,
        max_calls: int | None = None,
    ):
        if cell not in ("fixed", "symmetric", "free"):
            raise ValueError(f"cell must be 'fixed', 'symmetric' or 'free', got {cell!r}")
        self.cell, self.free = cell != "fixed", cell == "free"
        self.calculator = _Counted(calculator, self.cell, max_calls)
        self.amplitude, self.optimizer, self.fmax, self.steps = amplitude, optimizer, fmax, steps
        self.features, self.progress, self.combine = features, progress, combine
        self.doing = ""
        self.distances: list[float] = []  # of each structure from the one that it was found from, Å
        self.result = Relaxation()

    def run(self, x, along, generations, symprec) -> Relaxation:
        """As :func:`relax`."""
        space = self.space(x, symprec)
        self._tell(f"relaxing with all of {space.whole.schoenflies}")
        descent = Descent(None, None, 1, None, [], 0)
        self.result.descents.append(descent)
        try:
            end = self.relax(space, range(space.order), space.atoms, self.fmax, descent.frames)
        except _SpentError as spent:
            raise RuntimeError(f"the symmetric structure is not relaxed after {spent}: raise max_calls") from spent
        if end is None:
            raise RuntimeError(
                f"the symmetric structure is not relaxed to {self.fmax} eV/Å after {self.steps} steps: "
                "raise fmax or steps, or start nearer to it"
            )
        self._number(end, np.inf)
        queue = [0]
        try:
            for generation in range(generations):
                ways = along if generation == 0 else "unstable"
                queue = [new for number in queue for new in self._leave(number, ways)]
        except _SpentError:
            self.result.unfinished = self.doing
        return self.result

    def space(self, x: Data | Atoms, symprec: float | Literal["auto"]) -> Displacements:
        """The displacements of a structure, and strains if the cell relaxes."""
        space = Displacements(x, symprec, features=self.features, strain=self.cell)
        space.atoms.calc = None if isinstance(x, Data) else x.calc  # the symmetric structure has its forces, nearly
        return space

    def _tell(self, doing: str) -> None:
        self.doing = doing
        lowest = min(self.result.found, key=lambda s: s.energy, default=None)
        known = f", the lowest {lowest.symbol} at {lowest.energy:.4f} eV" if lowest else ""
        self.progress(f"{self.calculator.calls} force calls, {len(self.result.found)} structures{known}; {doing}")

    def _leave(self, number: int, along) -> list[int]:
        """Relax from a stationary structure; the numbers of what is new and lower."""
        parent = self.result.found[number]
        space = self.space(parent.atoms, relaxed_tolerance(parent.atoms))
        ways: Ways
        if isinstance(along, str):
            ways = self.unstable(space, number)
        else:  # the operations may have been listed in another order
            ways = [(None, replace(way, operations=space.stabilizer(_rows(space, way)))) for way in along]
        lower = []
        for curvature, way in ways:
            fmax = self.fmax
            if curvature is not None:  # on a flat saddle the forces on the start may be below fmax
                fmax = min(fmax, abs(curvature) * self._reach(space.atoms) / 2)
            for sign, start in zip((1, -1), way.starts(space.atoms, self.amplitude), strict=False):
                self._tell(f"{parent.symbol} along {way.irrep}, keeping {way.symbol}")
                known = len(self.result.found)
                descent = Descent(number, way, sign, curvature, [], None)
                self.result.descents.append(descent)
                kept = (0,) if self.free else way.operations
                end = self.relax(space, kept, start, fmax, descent.frames)
                if end is not None:
                    descent.found = self._number(end, float(np.linalg.norm(space.displacement(end))))
                if descent.found == known and self.result.found[known].energy < parent.energy:
                    lower.append(known)
        return lower

    def _reach(self, atoms: Atoms) -> float:
        """Length of a start, Å."""
        return self.amplitude * nearest_neighbor_distance(atoms)

    def unstable(self, space: Displacements, number: int) -> Ways:
        """Distortions along which the energy falls, steepest first, with the curvature."""
        parent, before = self.result.found[number], self.calculator.calls
        radius = min(self._reach(parent.atoms), self.distances[number])
        try:
            modes = self._all_curvatures(space, parent, radius)
        finally:
            parent.curvature_calls = self.calculator.calls - before
        ways: list[tuple[float, Distortion]] = []
        for irrep, curvatures in modes:
            found = directions(space, irrep, int((curvatures < -parent.uncertainty).sum()))
            least = min((way.parameters for way in found), default=0)
            ways += [(float(curvatures[way.copy]), way) for way in found if way.parameters == least]
        unstable = [(irrep, float(c.min())) for irrep, c in modes if c.min() < -parent.uncertainty]
        for count in range(2, self.combine + 1):
            for several in combinations(unstable, count):
                found = joint_directions(space, [irrep for irrep, _ in several])
                least = min((way.parameters for way in found), default=0)
                ways += [(max(c for _, c in several), way) for way in found if way.parameters == least]
        return [*sorted(ways, key=lambda item: (item[0], item[1].equivalent))]

    def _all_curvatures(self, space: Displacements, parent: Stationary, radius: float) -> list[Modes]:
        """Each irrep divided into modes, with their curvatures; where one is nearly flat, the structure is refined."""
        modes = []
        for irrep in space.irreps:
            self._tell(f"{parent.symbol}: curvatures in {irrep.name}")
            modes.append(self._curvatures(space, irrep))
        error = self._left(space) / radius
        nearly = [k for k, (_, c) in enumerate(modes) if np.abs(c).min() <= max(NEARLY_FLAT, error)]
        if nearly and error > FLAT / 2:
            self._tell(f"{parent.symbol}: relaxing further, it is nearly flat")
            end = self.relax(space, range(space.order), space.atoms, FLAT / 2 * radius / space.rows**0.5, [])
            if end is not None:
                parent.atoms, parent.energy = end, float(end.get_potential_energy())
                space.atoms = end
        for k in nearly:
            self._tell(f"{parent.symbol}: curvatures in {modes[k][0].name} again, they are nearly flat")
            modes[k] = self._curvatures(space, modes[k][0], precise=True)
        parent.curvatures = [(irrep.name, float(curvatures.min())) for irrep, curvatures in modes]
        parent.uncertainty = max(FLAT, self._left(space) / radius)
        return modes

    def _curvatures(self, space: Displacements, irrep: Irrep, precise: bool = False) -> Modes:
        """The irrep divided into eigenspaces of the force constants, and these, eV/Å², rising.

        From central differences, whose error is of the second order in the step; where it is to be precise, from two
        steps, so that it is of the fourth (Richardson).
        """
        multiplicity, dimension, rows, _ = irrep.basis.shape
        _, size, right = np.linalg.svd(irrep.matrices + np.eye(dimension))
        reverse = int(size[:, -1].argmin())  # the operation that turns some vector into its opposite, if one does
        reversible, vector = size[reverse, -1] < 1e-6, right[reverse, -1]

        def response(mode: np.ndarray, step: float) -> np.ndarray:
            size = step / np.linalg.norm(mode, axis=1).max()
            plus = self._forces(space, size * mode)
            if not reversible:
                return (self._forces(space, -size * mode) - plus) / (2 * size)
            return (space.images(plus[None], [reverse])[0, 0] - plus) / (2 * size)  # minus the mode is an image of it

        displaced = np.einsum("k,ckia->cia", vector, irrep.basis)
        responses = np.array([response(mode, STEP) for mode in displaced])
        if precise:
            responses = (4 * responses - np.array([response(mode, 2 * STEP) for mode in displaced])) / 3
        flat = irrep.basis.reshape(multiplicity * dimension, -1)
        modes, answers = (space.images(u).reshape(-1, 3 * rows) @ flat.T for u in (displaced, responses))
        inside = np.linalg.lstsq(modes, answers, rcond=None)[0]  # the images of the modes span all copies
        blocks = (inside + inside.T).reshape(multiplicity, dimension, multiplicity, dimension) / 2
        blocks = np.einsum("gab,ibjd,gcd->iajc", irrep.matrices, blocks, irrep.matrices, optimize=True) / space.order
        constants = flat.T @ blocks.reshape(len(flat), -1) @ flat
        split = space.irrep(irrep.name, irrep.basis.reshape(-1, rows, 3), dimension, constants)
        copies = split.basis.reshape(multiplicity, dimension, -1)
        return split, np.einsum("cdi,ij,cdj->c", copies, constants, copies) / dimension

    def _forces(self, space: Displacements, displacement: np.ndarray) -> np.ndarray:
        """Derivatives [M, 3] of minus the energy by the displacement."""
        atoms = space.displaced(displacement)
        atoms.set_constraint()
        atoms.calc = self.calculator
        if not self.cell:
            return atoms.get_forces()
        strained = FrechetCellFilter(atoms, exp_cell_factor=space.scale)
        strained.orig_cell = space.atoms.cell.array
        return strained.get_forces()

    def _left(self, space: Displacements) -> float:
        """Norm of what is left of the symmetric forces on a relaxed structure, eV/Å."""
        results = space.atoms.calc.results
        forces = results["forces"]
        if self.cell:
            virial = -space.atoms.get_volume() * voigt_6_to_full_3x3_stress(results["stress"])
            forces = np.concatenate([forces, virial / space.scale])
        return float(np.linalg.norm(space.projector(range(space.order)) @ forces.ravel()))

    def relax(self, space: Displacements, operations, start: Atoms, fmax: float, frames: list[Atoms]) -> Atoms | None:
        """Relax with the symmetry of some operations: the end if it was reached; what was computed goes to frames."""
        atoms = start.copy()
        atoms.info = space.atoms.info.copy()
        atoms.set_constraint()
        atoms.calc = self.calculator
        projector = space.projector(operations)
        moving: Any = atoms
        if self.cell:
            moving = _SymmetricCell(atoms, space.atoms, space.scale, projector)
        else:
            atoms.set_constraint(_Symmetric(space.atoms.positions, projector))
        self.calculator.frames = frames
        try:
            converged = self.optimizer(moving, logfile=None).run(fmax=fmax, steps=self.steps)
        finally:
            self.calculator.frames = None
            for frame in frames:
                frame.set_constraint(start.constraints)
                frame.info["relaxation"] = len(self.result.descents) - 1
        if not converged:
            return None
        atoms.set_constraint()
        end = with_results(atoms, {name: self.calculator.get_property(name, atoms) for name in self.calculator.wanted})
        end.set_constraint(start.constraints)
        return end

    def _number(self, atoms: Atoms, distance: float) -> int:
        """Number of a stationary structure, a new one if it is not known."""
        energy = float(atoms.get_potential_energy())
        for number, known in enumerate(self.result.found):
            if abs(energy - known.energy) < SAME_ENERGY and same_structure(atoms, known.atoms, features=self.features):
                return number
        symmetry = structure_symmetry(atoms, relaxed_tolerance(atoms), self.features)
        self.distances.append(distance)
        self.result.found.append(Stationary(atoms, energy, symmetry))
        return len(self.result.found) - 1


def _rows(space: Displacements, way: Distortion) -> np.ndarray:
    """A distortion as a displacement [M, 3]."""
    if way.strain is not None and not space.strain:
        raise ValueError("the distortions to follow have strains, but cell='fixed': pass cell='symmetric'")
    strain = np.zeros((3, 3)) if way.strain is None else space.scale * way.strain
    return np.concatenate([way.direction, strain]) if space.strain else way.direction


def relaxed_tolerance(atoms: Atoms) -> float:
    """Of the symmetry of a relaxed structure, Å."""
    return SAME_PLACE / 2 * nearest_neighbor_distance(atoms)


class _SpentError(Exception):
    """The force calls that were allowed are used up."""


class _Counted(Calculator):
    """Another calculator, counted, stopped at a number of calls, and remembered while ``frames`` is a list."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, calculator: Calculator, stress: bool, max_calls: int | None):
        if isinstance(calculator, type) or not hasattr(calculator, "get_forces"):
            raise TypeError(f"calculator must be an ASE calculator such as EMT(), got {calculator!r}")
        super().__init__()
        self.inner, self.max_calls = calculator, max_calls
        self.wanted = ("energy", "forces", "stress") if stress else ("energy", "forces")
        self.calls = 0
        self.frames: list[Atoms] | None = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.calls == self.max_calls:
            raise _SpentError(f"{self.calls} force calls")
        assert self.atoms is not None
        free = self.atoms.copy()
        free.set_constraint()
        free.calc = self.inner
        self.results = {"forces": free.get_forces(), "energy": float(free.get_potential_energy())}
        if "stress" in self.wanted:
            try:
                self.results["stress"] = free.get_stress()
            except PropertyNotImplementedError as error:
                raise ValueError(
                    f"the calculator {type(self.inner).__name__} gives no stress, which a cell that relaxes needs: "
                    "take another, or keep the cell"
                ) from error
        self.calls += 1
        if self.frames is not None:
            self.frames.append(with_results(free, self.results))


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


class _SymmetricCell(FrechetCellFilter):
    """The same for a cell that relaxes too: displacements [M, 3] from a symmetric structure, strain included."""

    def __init__(self, atoms: Atoms, symmetric: Atoms, scale: float, projector: np.ndarray):
        super().__init__(atoms, exp_cell_factor=scale)
        self.orig_cell = symmetric.cell.array
        self.reference = np.concatenate([symmetric.positions, np.zeros((3, 3))])
        self.projector = projector

    def set_positions(self, new, **keywords):  # type: ignore[override]
        kept = self.reference + (self.projector @ (new - self.reference).ravel()).reshape(-1, 3)
        super().set_positions(kept, **keywords)

    def get_forces(self, **keywords):
        return (self.projector @ super().get_forces(**keywords).ravel()).reshape(-1, 3)
