"""Relaxation inside the symmetry that a distortion keeps, in the primitive cell of the distorted structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS

from pyg_symbreak.detect import SpaceGroup
from pyg_symbreak.distort.displacements import Features, structure_symmetry
from pyg_symbreak.distort.distortions import Distortion
from pyg_symbreak.distort.equivalence import same_structure
from pyg_symbreak.distort.relax import SAME_ENERGY, Cell, Search, relaxed_tolerance
from pyg_symbreak.distort.relaxation import primitive_structure, with_results

__all__ = ["RelaxedDistortion", "relax_within"]


@dataclass(frozen=True, eq=False)
class RelaxedDistortion:
    """The end of a relaxation inside a symmetry.

    Attributes
    ----------
    distortion : Distortion, optional
        What it started along; None for the parent.
    sign : int
        Of the displacement.
    atoms : ase.Atoms
        In the primitive cell, with energy (eV) and forces (eV/Å) of that cell; ``info`` names the space group.
    energy : float
        eV per formula unit.
    space_group : SpaceGroup, optional
        Of the end, which may have regained symmetry; of a slab the layer group.
    schoenflies : str
        Its point group.
    converged : bool
        Whether forces fell below ``fmax``.
    same_as : int, optional
        Number of an earlier end that is the same structure, up to an isometry and a renumbering.
    """

    distortion: Distortion | None
    sign: int
    atoms: Atoms
    energy: float
    space_group: SpaceGroup | None
    schoenflies: str
    converged: bool
    same_as: int | None = None

    @property
    def symbol(self) -> str:
        """Space group with its number, of a molecule the point group."""
        return f"{self.space_group.symbol} ({self.space_group.number})" if self.space_group else self.schoenflies

    def to_dict(self) -> dict[str, Any]:
        """Everything but the structure, as numbers and strings."""
        group = self.space_group
        return {
            "sign": self.sign,
            "energy": self.energy,
            "space_group": group and {"number": group.number, "symbol": group.symbol},
            "symmetry": self.schoenflies,
            "atoms": len(self.atoms),
            "converged": self.converged,
            "same_as": self.same_as,
        }

    def __repr__(self) -> str:
        start = "parent" if self.distortion is None else f"{self.distortion.irrep} keeping {self.distortion.symbol}"
        return f"RelaxedDistortion({start}: {self.symbol}, {self.energy:.4f} eV per formula unit)"


def relax_within(
    ways: Sequence[Distortion],
    calculator: Calculator,
    *,
    cell: Cell = "symmetric",
    amplitude: float = 0.1,
    optimizer: Any = BFGS,
    fmax: float = 0.01,
    steps: int = 500,
    features: Features = (),
    processes: int = 1,
    progress: Callable[[str], None] = lambda message: None,
) -> list[RelaxedDistortion]:
    """Relax the parent within its symmetry, and each distorted structure within what the distortion keeps.

    Each relaxation is in the primitive cell of what it keeps, with forces and stresses averaged over that group: of
    SrTiO3 in a cell of 40 atoms the tilt a0a0c- takes 10.

    Parameters
    ----------
    ways : sequence of Distortion
        As :func:`distortions` or :func:`tilt_systems` lists them, at least one.
    calculator : ase.calculators.calculator.Calculator
        Any that gives energy and forces; stresses too unless the cell is fixed.
    cell : "symmetric", "fixed" or "free"
        ``"symmetric"``: the cell relaxes in ways that keep the symmetry. ``"fixed"``: it stays that of the parent as
        given. ``"free"``: atoms and cell follow forces and stresses that nothing is averaged over.
    amplitude : float
        Largest displacement of an atom in a start, as a fraction of the nearest-neighbour distance.
    optimizer, fmax, steps, features
        As in :func:`relax`.
    processes : int
        How many relaxations run at once. The calculator is sent to each process, so that it must be one that pickles.
    progress : callable
        Is told in a line what is being done.

    Returns
    -------
    list of RelaxedDistortion
        The parent, then an end for each start: of a distortion whose signs are not alike two. Ends that are one
        structure are told by ``same_as``.

    Raises
    ------
    ValueError, TypeError
        As :func:`relax`; there are no distortions, or they know no parent.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from pyg_symbreak.distort import distortions
    >>> ways = distortions(bulk("Cu", "sc", a=2.4), supercell=(2, 1, 1), copies=1)
    >>> for end in relax_within(ways, EMT()):  # within Cmcm simple cubic copper becomes face-centred
    ...     print(end.distortion and end.distortion.symbol, "to", end.symbol, round(end.energy, 2), end.same_as)
    None to Pm-3m (221) 0.45 None
    P4/mmm (123) to Pm-3m (221) 0.45 0
    Pmma (51) to P6/mmm (191) 0.27 None
    Cmcm (63) to Fm-3m (225) -0.01 None
    P2_1/m (11) to Fm-3m (225) -0.01 3
    """
    if not ways or any(way.parent is None for way in ways):
        raise ValueError("ways must be distortions of a structure, at least one: those that distortions(x) lists")
    search = partial(_end, calculator, optimizer, fmax, steps, cell, features)
    starts = list(_starts(ways, amplitude))
    found: list[RelaxedDistortion] = []
    for (way, sign, _), (atoms, converged) in zip(
        starts, _mapped(search, [s[2] for s in starts], processes), strict=True
    ):
        energy = float(atoms.get_potential_energy()) / atoms.symbols.formula.reduce()[1]
        symmetry = structure_symmetry(atoms, relaxed_tolerance(atoms), features)
        kind = symmetry.space_group or symmetry.layer_group
        end = RelaxedDistortion(way, sign, atoms, energy, kind, symmetry.group.schoenflies, converged)
        same = (
            number
            for number, known in enumerate(found)
            if known.same_as is None
            and abs(known.energy - energy) < SAME_ENERGY
            and same_structure(known.atoms, atoms, features=features)
        )
        found.append(replace(end, same_as=next(same, None)))
        atoms.info["space_group"] = end.symbol
        progress(f"{len(found)} of {len(starts)} relaxations, {end!r}")
    return found


def _starts(ways: Sequence[Distortion], amplitude: float) -> Iterator[tuple[Distortion | None, int, Atoms]]:
    """The parent and the displaced structures, each in the primitive cell of what it keeps."""
    first = ways[0]
    assert first.parent is not None
    yield None, 1, first.parent if first.kept is None else primitive_structure(first.parent, first.kept.symmetry)
    for way in ways:
        for sign, start in zip((1, -1), way.starts(amplitude=amplitude), strict=False):
            yield way, sign, start if way.kept is None else way.kept.primitive_cell(start)


def _mapped(function: Callable[[Atoms], Any], starts: list[Atoms], processes: int) -> Iterator[Any]:
    if processes == 1:
        yield from map(function, starts)
        return
    spawn = get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, torch.set_num_threads, (1,)) as pool:
        yield from pool.map(function, starts)


def _end(
    calculator: Calculator, optimizer: Any, fmax: float, steps: int, cell: Cell, features: Features, start: Atoms
) -> tuple[Atoms, bool]:
    """Relax a structure with all its symmetry: the last structure, in its primitive cell, and whether it converged."""
    search = Search(calculator, 0.1, optimizer, fmax, steps, cell, features)
    space = search.space(start, 1e-3)
    frames: list[Atoms] = []
    end = search.relax(space, (0,) if search.free else range(space.order), space.atoms, fmax, frames)
    last = frames[-1] if end is None else end
    last.info.pop("relaxation", None)
    symmetry = structure_symmetry(last, relaxed_tolerance(last), features)
    if len(symmetry.pure_translations) == 1:
        return last, end is not None
    small = primitive_structure(last, symmetry)
    small.calc = search.calculator
    results = {name: search.calculator.get_property(name, small) for name in search.calculator.wanted}
    return with_results(small, results), end is not None
