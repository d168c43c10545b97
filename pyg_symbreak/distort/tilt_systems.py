"""The tilt systems of perovskites as distortions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from ase import Atoms
from torch_geometric.data import Data

from pyg_symbreak.detect import SymmetrySubgroup
from pyg_symbreak.distort.displacements import Displacements, Irrep
from pyg_symbreak.distort.distortions import Distortion
from pyg_symbreak.structures import Octahedra, find_octahedra, to_ase

__all__ = ["TILT_SYSTEMS", "glazer", "tilt_systems"]

TILT_SYSTEMS = (
    *("a0a0a0", "a0a0c+", "a0b+b+", "a+a+a+", "a+b+c+", "a0a0c-", "a0b-b-", "a-a-a-"),
    *("a0b-c-", "a-b-b-", "a-b-c-", "a0b+c-", "a+b-b-", "a+b-c-", "a+a+c-"),
)
"""Those of C. J. Howard & H. T. Stokes, *Acta Crystallographica* B 54, 782 (1998), by their Glazer symbols."""


def tilt_systems(x: Data | Atoms, symprec: float | Literal["auto"] = 1e-3) -> list[Distortion]:
    """The 15 tilt systems of a perovskite ABX3: the parent, and 14 ways in which its octahedra can be tilted.

    Parameters
    ----------
    x : Data or ase.Atoms
        The parent without tilts, in any orientation and cell. Where its cell does not fit the tilts it is repeated
        twice along each vector; each distortion has the structure that it is one of as ``parent``.
    symprec : float or "auto"
        As in :func:`distortions`.

    Returns
    -------
    list of Distortion
        In the order of :data:`TILT_SYSTEMS`, rigid octahedra turned by small angles. Angles of different letters are
        as 1 to 3/4 to 1/2.

    Raises
    ------
    ValueError
        There are no such octahedra (see :func:`~pyg_symbreak.structures.find_octahedra`), or they are tilted already.

    Examples
    --------
    >>> places = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    >>> cubic = Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True)
    >>> for d in tilt_systems(cubic)[-3:]:
    ...     print(d.tilt, d.symbol, d.irrep, d.domains)
    a+b-b- Pnma (62) M(2) + R(4) 24
    a+b-c- P2_1/m (11) M(2) + R(4) 48
    a+a+c- P4_2/nmc (137) M(2) + R(4) 24
    """
    space, octahedra = _parent(x, symprec, TILT_SYSTEMS)
    return [_tilted(space, octahedra, symbol) for symbol in TILT_SYSTEMS]


def glazer(symbol: str, x: Data | Atoms, symprec: float | Literal["auto"] = 1e-3) -> Distortion:
    """The tilt system of a Glazer symbol as a distortion of a perovskite.

    Parameters
    ----------
    symbol : str
        Such as ``"a+b-b-"``, of the 23 symbols any one.
    x, symprec
        As in :func:`tilt_systems`.

    Returns
    -------
    Distortion
        ``starts`` makes the structure. As an object for a network, 1e on the centres, the tilts are
        ``find_octahedra(distortion.parent).field(symbol)``.

    Raises
    ------
    ValueError
        As in :func:`tilt_systems`; ``symbol`` is no Glazer symbol.
    """
    space, octahedra = _parent(x, symprec, (symbol,))
    return _tilted(space, octahedra, symbol)


def _parent(
    x: Data | Atoms, symprec: float | Literal["auto"], symbols: Sequence[str]
) -> tuple[Displacements, Octahedra]:
    """The displacements of a parent in a cell that fits some tilts, and its octahedra."""
    atoms = x if isinstance(x, Atoms) else to_ase(x)
    octahedra = find_octahedra(atoms)
    if (found := octahedra.tilts().symbol) != "a0a0a0":
        raise ValueError(f"{atoms.get_chemical_formula()} has the tilts {found} already: give the parent without tilts")
    try:
        for symbol in symbols:
            octahedra.field(symbol)
    except ValueError:
        atoms = atoms.repeat(2)
    space = Displacements(atoms, symprec)
    octahedra = find_octahedra(space.atoms)
    for symbol in symbols:
        octahedra.field(symbol)
    return space, octahedra


def _tilted(space: Displacements, octahedra: Octahedra, symbol: str) -> Distortion:
    """One tilt system."""
    direction = octahedra.displacements(octahedra.field(symbol))
    direction /= max(np.linalg.norm(direction, axis=1).max(), 1e-300)
    operations = space.stabilizer(direction) if direction.any() else tuple(range(space.order))
    parts = [irrep for irrep in space.irreps if _amplitude(irrep, direction) > 1e-6] if direction.any() else []
    moved = np.abs(space.images(direction[None])[:, 0] + direction).max((1, 2))
    return Distortion(
        irrep=" + ".join(irrep.name for irrep in parts),
        dimension=sum(irrep.basis.shape[1] for irrep in parts),
        multiplicity=1,
        copy=0,
        keep=space.named(operations),
        operations=operations,
        parameters=sum(round(np.trace(irrep.matrices[list(operations)].mean(0))) for irrep in parts),
        equivalent=space.order // len(operations),
        reversible=bool(moved.min() < 1e-6),
        direction=direction,
        space_group=space.space_group_of(operations),
        parts=tuple(irrep.name for irrep in parts),
        k=tuple(irrep.k for irrep in parts if irrep.k is not None),
        tilt=symbol,
        kept=SymmetrySubgroup(space.symmetry, operations),
        parent=space.atoms,
    )


def _amplitude(irrep: Irrep, direction: np.ndarray) -> float:
    """Norm of the part of a displacement that is in the copies of an irrep."""
    return float(np.linalg.norm(np.einsum("ckia,ia->ck", irrep.basis, direction)))
