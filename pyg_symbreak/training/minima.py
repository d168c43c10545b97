"""Every minimum below a symmetric molecule, where it is not known which symmetry a minimum keeps.

An equivariant force field sends a symmetric molecule nowhere that breaks its symmetry. The distortions of the molecule
(:func:`pyg_symbreak.distort.distortions`), one direction for each isotropy subgroup K of each irrep, are its symmetry
breaking objects: the molecule is displaced along each of them and follows the learned forces downhill. As the force
field is equivariant, K is kept on the way. The answers are ranked by their energy, the work of the learned forces, and
those with other bonds than the molecule after all others: of bonds that break the forces know least.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.datasets import Saddles
from pyg_symbreak.diagnosis import kept_symmetry
from pyg_symbreak.distort import Distortion, distortions
from pyg_symbreak.distort.displacements import Displacements
from pyg_symbreak.nn import ForceField
from pyg_symbreak.nn.force_field import without_rigid_motion
from pyg_symbreak.structures import from_ase, remove_rigid_motion, to_ase
from pyg_symbreak.testing import score_minima
from pyg_symbreak.training.config import Config
from pyg_symbreak.training.forces import features_of, joined, model_force_constants

__all__ = ["Minima", "Molecule", "downhill", "known_molecule", "molecule_of", "predict_minima", "score"]

COPIES = 2
"""Softest copies of an irrep that there are objects for."""
TURNS = 24
"""Turns about the axis of a line at which its minima are listed."""
SAME = 0.1
"""Å, root mean square: answers that differ by less are one."""
BONDED = 1.3
"""Atoms nearer than this share of the sum of their covalent radii are bonded."""
AMPLITUDE = 0.3
"""Å: largest displacement of an atom at the start."""
STEPS, LONGEST, STILL = 40, 0.2, 2e-3
"""Steps downhill at most; Å, the longest of an atom; Å, below which a molecule is said to have arrived."""


# ------------------------------------------------------------------ molecules and objects


@dataclass(frozen=True, eq=False)
class Molecule:
    """A symmetric molecule and its objects; of training, the minima below it.

    Attributes
    ----------
    data : Data
        ``x``, ``pos``, float32, and ``z``.
    space : Displacements
        The displacements as a representation of S, of a line of D2h or C2v.
    ways : list of Distortion
    objects : Tensor [C, N, 3]
        Directions of the distortions with both signs where these differ; the largest displacement is 1.
    way_of : list of int, C
        The distortion that each object is of.
    images : Tensor [T, N, 3]
        Displacements, Å, to all minima and all their images under S. Empty if they are not known.
    minimum : long Tensor [T]
        Which of the inequivalent minima each is an image of.
    pairs : list of (int, int)
        Object and image that belong together: of each minimum the object that keeps the same K and points to it most.
    """

    data: Data
    space: Displacements
    ways: list[Distortion]
    objects: Tensor
    way_of: list[int]
    images: Tensor
    minimum: Tensor
    pairs: list[tuple[int, int]]

    @property
    def stays(self) -> bool:
        """Whether the molecule is itself the minimum."""
        return bool(self.images.abs().max() < 1e-3)


def molecule_of(atoms: Atoms | Data, config: Config, charge: float = 0.0) -> Molecule:
    """A molecule whose minima are not known.

    Parameters
    ----------
    atoms : ase.Atoms or Data
        With positions in Å and atomic numbers, symmetric within ``config.symprec``.
    config : Config
        Of which ``symprec``, Å, is read.
    charge : float
        Elementary charges.

    Raises
    ------
    ValueError
        The structure is periodic, or a single atom, or has no symmetry to break; or as
        :func:`~pyg_symbreak.detect.detect_symmetry`.
    """
    atoms = to_ase(Data(pos=atoms.pos, z=atoms.z)) if isinstance(atoms, Data) else atoms
    if atoms.pbc.any():
        raise ValueError("the structure is periodic: minima are predicted for molecules")
    space = Displacements(atoms, config.symprec)
    ways = distortions(atoms, config.symprec, copies=COPIES)
    if not ways:
        raise ValueError(f"the molecule has the symmetry {space.whole.schoenflies}, which no distortion breaks")
    if len({way.parts for way in ways}) <= 6 and space.order <= 24:
        ways += [way for way in distortions(atoms, config.symprec, copies=1, combine=2) if len(way.parts) == 2]
    rows = [(n, s * way.direction) for n, way in enumerate(ways) for s in ((1,) if way.reversible else (1, -1))]
    data = from_ase(space.atoms, torch.float32)
    data.x = features_of(data.z, charge)
    none = torch.zeros(0, dtype=torch.long)
    objects = torch.from_numpy(np.array([row for _, row in rows])).float()
    numbers = [n for n, _ in rows]
    return Molecule(data, space, ways, objects, numbers, torch.zeros(0, len(atoms), 3), none, [])


def known_molecule(data: Data, config: Config) -> Molecule:
    """A molecule of :class:`~pyg_symbreak.datasets.Saddles`, with its minima."""
    bare = molecule_of(data, config, float(data.charge))
    space = bare.space
    images, minimum = _images(space, Saddles.minima_of(data).double().numpy())
    kept = [set(space.stabilizer(u)) if np.abs(u).max() > 1e-3 else set(range(space.order)) for u in images]
    pairs: list[tuple[int, int]] = []
    directions = bare.objects.double().numpy()
    overlap = np.einsum("cia,tia->ct", directions, images)
    overlap /= np.linalg.norm(directions, axis=(1, 2))[:, None] * (np.linalg.norm(images, axis=(1, 2)) + 1e-9)
    stabilizers = [set(bare.ways[n].operations) for n in bare.way_of]
    exact = np.array([[a == b for b in kept] for a in stabilizers])
    within = np.array([[a <= b for b in kept] for a in stabilizers])
    for m in range(int(minimum.max()) + 1):
        if np.abs(images[minimum == m]).max() < 1e-3:
            continue
        rank = np.where(exact, overlap, np.where(within, overlap - 2, -9.0))
        rank[:, minimum != m] = -9
        rank[[c for c, _ in pairs]] = -9
        if rank.max() > -9:
            pairs.append(tuple(int(i) for i in np.unravel_index(rank.argmax(), rank.shape)))  # type: ignore[arg-type]
    return Molecule(
        bare.data,
        space,
        bare.ways,
        bare.objects,
        bare.way_of,
        torch.from_numpy(images).float(),
        torch.from_numpy(minimum),
        pairs,
    )


def _images(space: Displacements, minima: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different images of displacements [M, N, 3] under S, those of a line at some turns, and which each is of."""
    angles = np.arange(TURNS) * 2 * np.pi / TURNS if space.linear else [0.0]
    found: list[np.ndarray] = []
    numbers: list[int] = []
    for m, u in enumerate(minima):
        own: list[np.ndarray] = []
        for image in space.images(u[None])[:, 0]:
            for angle in angles:
                turned = image @ Rotation.from_rotvec(angle * space.whole.axis).as_matrix().T if angle else image
                if not own or np.abs(np.array(own) - turned).max((1, 2)).min() > 1e-3:
                    own.append(turned)
        found += own
        numbers += [m] * len(own)
    return np.array(found), np.array(numbers)


# ------------------------------------------------------------------ answers


@torch.no_grad()
def downhill(field: ForceField, molecule: Molecule, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Follow the learned forces from displacements of a molecule.

    The steps are those of Newton's method with model force constants, at most 0.2 Å long for an atom, and shorter after
    one that went too far. They commute with the symmetry that a start keeps.

    Parameters
    ----------
    field : ForceField
    molecule : Molecule
    starts : Tensor [n, N, 3]
        Displacements, Å.

    Returns
    -------
    displacements : Tensor [n, N, 3]
        Å, without rigid motion.
    energies : Tensor [n]
        eV, relative to the symmetric molecule: the work of the forces on the way.
    """
    count, z, still = len(starts), molecule.data.z, molecule.data.pos
    pairs = (1 - torch.eye(len(z))).nonzero().T
    owner = torch.arange(count).repeat_interleave(len(z))

    def forces(u: Tensor) -> Tensor:
        pos = list(still + u)
        return field(joined([molecule.data.x] * count, [pairs] * count, pos, field.cutoff)).view_as(u)

    simpson = {0.0: 1 / 12, 0.25: 1 / 3, 0.5: 1 / 6, 0.75: 1 / 3, 1.0: 1 / 12}
    energies = starts.new_zeros(count)
    for part, weight in simpson.items():
        energies = energies - weight * (forces(part * starts) * starts).sum((1, 2))
    u, force, share = starts, forces(starts), starts.new_full((count,), 0.8)
    for _ in range(STEPS):
        step = torch.linalg.solve(model_force_constants(z, still + u), force.view(count, -1)).view_as(u)
        step = without_rigid_motion((still + u).flatten(0, 1), step.flatten(0, 1), owner).view_as(u)
        longest = step.norm(dim=2).amax(1)
        step = step * torch.minimum(share, LONGEST / longest.clamp(min=1e-9))[:, None, None]
        u, before, force = u + step, force, forces(u + step)
        work, later = (before * step).sum((1, 2)), (force * step).sum((1, 2))
        energies = energies - (work + later) / 2
        share = torch.where(later < -0.3 * work, 0.5 * share, (1.1 * share).clamp(max=1.5))
        if longest.max() < STILL:
            break
    return remove_rigid_motion(still.double(), u.double()).float(), energies


@dataclass(frozen=True, eq=False)
class Minima:
    """Different answers for a molecule, the lowest first, but those with other bonds last.

    Attributes
    ----------
    displacements : Tensor [n, N, 3]
        Å, from the symmetric molecule.
    energies : Tensor [n]
        Predicted, relative to the symmetric molecule, eV.
    rearranged : bool Tensor [n]
        Whether atoms are bonded in another way than in the symmetric molecule: nearer than 1.3 sums of covalent radii.
    ways : list of (Distortion or None), n
        What each answer was found along; its ``keep`` is K. None for the molecule as it is, and from starts that were
        given; K is then what changes no displacement by more than a tenth of the largest.
    """

    displacements: Tensor
    energies: Tensor
    rearranged: Tensor
    ways: list[Distortion | None]

    def structures(self, molecule: Molecule) -> Iterator[Atoms]:
        """Displaced molecules; ``info`` has ``rank``, ``K``, ``irrep``, ``predicted_energy``, ``rearranged``."""
        for n, (u, way) in enumerate(zip(self.displacements.numpy(), self.ways, strict=True)):
            atoms = molecule.space.atoms.copy()
            atoms.positions += u
            largest = float(np.linalg.norm(u, axis=1).max())
            kept = kept_symmetry(molecule.space.symmetry, torch.from_numpy(u), tolerance=0.1 * largest + 1e-6)
            atoms.info |= {
                "rank": n + 1,
                "K": (kept if way is None else way.keep).schoenflies,
                "irrep": "none" if way is None else way.irrep,
                "predicted_energy": round(float(self.energies[n]), 4),
                "rearranged": bool(self.rearranged[n]),
            }
            yield atoms


def predict_minima(field: ForceField, molecule: Molecule, starts: Tensor | None = None) -> Minima:
    """All answers for a molecule, equivalent ones once; the molecule itself is one.

    Parameters
    ----------
    field : ForceField
    molecule : Molecule
    starts : Tensor [n, N, 3], optional
        Displacements to start from, Å. Default: 0.3 Å along each object.
    """
    along = starts is None
    u, energies = downhill(field, molecule, AMPLITUDE * molecule.objects if starts is None else starts)
    u, energies = torch.cat([torch.zeros_like(u[:1]), u]), torch.cat([energies.new_zeros(1), energies])
    pos = molecule.data.pos
    rearranged = (_bonds(molecule.data.z, pos + u) != _bonds(molecule.data.z, pos)).any(2).any(1)
    chosen: list[int] = []
    images = molecule.space.images(u.double().numpy()).swapaxes(0, 1)  # [n, order, N, 3]
    for n in np.lexsort((energies.numpy(), rearranged.numpy())).tolist():
        off = [np.square(images[k] - u[n].double().numpy()).sum(2).mean(1).min() ** 0.5 for k in chosen]
        if min(off, default=np.inf) > SAME:
            chosen.append(n)
    ways = [molecule.ways[molecule.way_of[n - 1]] if n and along else None for n in chosen]
    return Minima(u[chosen], energies[chosen], rearranged[chosen], ways)


def _bonds(z: Tensor, pos: Tensor) -> Tensor:
    """Which atoms are bonded, [..., N, N]."""
    radius = torch.from_numpy(covalent_radii)[z].to(pos)
    return torch.cdist(pos, pos) < BONDED * (radius[:, None] + radius)


def score(molecule: Molecule, data: Data, found: Minima) -> dict[str, Any]:
    """What :func:`~pyg_symbreak.testing.score_minima` says of the first answer and of all, one row of a report."""
    known = Saddles.minima_of(data)
    first = score_minima(data, found.displacements[:1], known)
    every = score_minima(data, found.displacements, known, found.energies, data.minima_energy.float())
    return {
        "name": data.name,
        "frame": data.frame,
        "group": data.group,
        "kept": data.kept,
        "bound": first.bound,
        "error": float(first.errors[0]),
        "right symmetry": first.right_symmetry,
        "best error": float(every.errors.min()),
        "answers": len(found.ways),
        "minima": known.size(0),
        "found": every.found(0.2),
        "order": every.order,
    }
