"""Every minimum below a symmetric molecule, where it is not known which symmetry a minimum keeps.

The distortions of a molecule (:func:`pyg_symbreak.distort.distortions`), one direction for each isotropy subgroup K
of each irrep, are its symmetry breaking objects: fields on the atoms, "1o", that mean the same in all molecules,
whatever their symmetry. A network is given one and moves the atoms, in a few rounds; as it is equivariant in structure
and object together, the answer keeps the K of the object. A second network looks at the answer and says how far from a
minimum it expects it to be, which ranks the objects, and so the irreps and subgroups, of a molecule whose minima are
not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms
from e3nn import o3
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.utils import scatter

from pyg_symbreak.datasets import Saddles
from pyg_symbreak.distort import Distortion, distortions
from pyg_symbreak.distort.displacements import Displacements
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import from_ase, to_ase
from pyg_symbreak.testing import score_minima
from pyg_symbreak.training.config import Config
from pyg_symbreak.training.pairs import atom_features
from pyg_symbreak.transforms import NeighborList

__all__ = [
    "Answers",
    "Minima",
    "MinimaNetwork",
    "Molecule",
    "answers_of",
    "judge_loss",
    "known_molecule",
    "molecule_of",
    "mover_loss",
    "predict_minima",
    "score",
]

ROUNDS = 3
"""How often the network moves the atoms."""
COPIES = 2
"""Softest copies of an irrep that there are objects for."""
TURNS = 24
"""Turns about the axis of a line at which its minima are listed."""
CLOSE = 0.02
"""Å: errors below this are not told apart."""
SAME = 0.1
"""Å, root mean square: answers that differ by less are one."""
RADIUS = 0.5
"""Å: unit of what a round adds to the displacements."""
VARIED = 0.5
"""Of the norm of an object, how much it is varied by in training."""
MOST = 24
"""Answers for one molecule that the judge looks at in a step."""
CHOICE, NEAR = 0.05, 0.25
"""Å: errors that differ by more are told apart in the choice of the best; answers that have the energy of a minimum."""


# ------------------------------------------------------------------ what the network reads


@dataclass(frozen=True, eq=False)
class Molecule:
    """A symmetric molecule and its objects; of training, the minima below it.

    Attributes
    ----------
    data : Data
        ``x``, ``pos``, ``edge_index``, float32, and ``z``.
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
    energies : Tensor [M]
        Of the inequivalent minima, eV.
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
    energies: Tensor
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
        Of which ``symprec`` and ``cutoff``, Å, are read.
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
    data = NeighborList(config.cutoff)(from_ase(space.atoms, torch.float32))
    features = atom_features(data.z)
    data.x = torch.cat([features, torch.full((len(features), 1), float(charge))], dim=1).float()
    none = torch.zeros(0, dtype=torch.long)
    objects = torch.from_numpy(np.array([row for _, row in rows])).float()
    numbers = [n for n, _ in rows]
    return Molecule(data, space, ways, objects, numbers, torch.zeros(0, len(atoms), 3), none, torch.zeros(0), [])


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
        data.minima_energy.float(),
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


# ------------------------------------------------------------------ networks


class MinimaNetwork(nn.Module):
    """One network moves the atoms from the symmetric molecule and an object, one says how good the answer is.

    Parameters
    ----------
    config : Config
        Sizes of the networks.
    irreps_object : str
        Of the object on an atom.
    """

    def __init__(self, config: Config, irreps_object: str = "1o") -> None:
        super().__init__()
        size: dict[str, Any] = {
            "max_radius": config.cutoff,
            "hidden": config.hidden,
            "lmax": config.lmax,
            "layers": config.layers,
            "object_degree": config.object_degree,
        }
        irreps_in, given = f"{atom_features(torch.tensor([1])).size(1) + 1}x0e", o3.Irreps(f"1o+{irreps_object}")
        self.mover = GatedNetwork(irreps_in, "1o", given, **size)
        self.judge = GatedNetwork(irreps_in, "", given, "2x0e", **size)
        self.float()

    def forward(self, molecules: Sequence[Molecule], objects: Sequence[Tensor]) -> list[Tensor]:
        """Displacements [ΣN, 3] in Å after each round, of mean zero over each molecule; an object [N, D] for each."""
        data, given = _joined(molecules), torch.cat(list(objects))
        still = data.pos
        u, after = torch.zeros_like(still), []
        for _ in range(ROUNDS):
            data.pos, data.breaking = still + u, torch.cat([u, given], dim=1)
            u = u + RADIUS * self.move(data)
            u = u - scatter(u, data.batch, dim=0, reduce="mean")[data.batch]
            after.append(u)
        return after

    def move(self, data: Batch) -> Tensor:
        """What a round adds to the displacements, in units of 0.5 Å."""
        return self.mover(data)

    def judged(self, molecules: Sequence[Molecule], objects: Sequence[Tensor], u: Tensor) -> tuple[Tensor, Tensor]:
        """Expected distance from a minimum, Å, and energy, eV, of displaced molecules: [B] each."""
        data = _joined(molecules)
        data.pos, data.breaking = data.pos + u, torch.cat([u, torch.cat(list(objects))], dim=1)
        _, graph = self.judge(data)
        return 0.2 * graph[:, 0].exp(), graph[:, 1]


def _joined(molecules: Sequence[Molecule]) -> Batch:
    """The molecules as a batch."""
    parts = [m.data for m in molecules]
    counts = torch.tensor([len(part.pos) for part in parts])
    ends = counts.cumsum(0)
    edges = [part.edge_index + first for part, first in zip(parts, (ends - counts).tolist(), strict=True)]
    return Batch(
        **{key: torch.cat([part[key] for part in parts]) for key in ("x", "z", "pos")},
        edge_index=torch.cat(edges, dim=1),
        batch=torch.arange(len(parts)).repeat_interleave(counts),
        ptr=torch.cat([ends.new_zeros(1), ends]),
    )


def _distances(u: Tensor, images: Tensor) -> Tensor:
    """Root mean square over the atoms of what displacements [..., N, 3] miss each image by, [..., T]."""
    return (u.unsqueeze(-3) - images).square().sum(-1).mean(-1).clamp(min=1e-8).sqrt()


def mover_loss(model: MinimaNetwork, molecules: Sequence[Molecule], size: int, draw: np.random.Generator) -> Tensor:
    """The loss of a batch of pairs that is drawn: errors after each round, the later ones with more weight.

    A pair is an object and the minimum that it points to. The object is varied at random among those that keep K.
    """
    moving = [m for m in molecules if m.pairs]
    paired, targets = [], []
    for i in draw.integers(len(moving), size=size):
        m = moving[i]
        c, t = m.pairs[draw.integers(len(m.pairs))]
        paired.append((m, varied(m, c, draw)))
        targets.append(m.images[t])
    after = model([m for m, _ in paired], [b for _, b in paired])
    counts = [len(t) for t in targets]
    loss = after[-1].new_zeros(())
    for number, u in enumerate(after, 1):
        off = [(a - t).square().sum(1).mean() for a, t in zip(u.split(counts), targets, strict=True)]
        loss = loss + number / ROUNDS * (torch.stack(off) + 1e-4).sqrt().mean()
    return loss


def varied(molecule: Molecule, number: int, draw: np.random.Generator) -> Tensor:
    """An object with a random field added that its K leaves as it is, of at most half its norm."""
    b = molecule.objects[number]
    field = draw.standard_normal((1, *b.shape))
    field = molecule.space.images(field, molecule.ways[molecule.way_of[number]].operations)[:, 0].mean(0)
    size = draw.uniform(0, VARIED) * float(b.norm()) / (np.linalg.norm(field) + 1e-9)
    return b + torch.from_numpy(size * field).to(b)


@dataclass(frozen=True, eq=False)
class Answers:
    """What the mover makes of the objects of a molecule, and of none, with the distance to the nearest minimum."""

    molecule: Molecule
    objects: Tensor
    displacements: Tensor
    errors: Tensor
    energies: Tensor


@torch.no_grad()
def answers_of(model: MinimaNetwork, molecule: Molecule) -> Answers:
    """All answers for a molecule whose minima are known, the molecule itself first."""
    objects, u = _answered(model, molecule)
    off = _distances(u, molecule.images)
    energies = molecule.energies[molecule.minimum[off.argmin(1)]]
    return Answers(molecule, objects, u, off.amin(1), energies)


def judge_loss(model: MinimaNetwork, answers: Sequence[Answers], size: int, draw: np.random.Generator) -> Tensor:
    """The loss of the judge on the answers for some molecules, at least ``size`` in all.

    It learns the logarithm of the distance to the nearest minimum, which of the answers for a molecule has the least,
    and the energies of minima that answers are near to.
    """
    some: list[tuple[Answers, np.ndarray]] = []
    while sum(len(rows) for _, rows in some) < size:
        found = answers[int(draw.integers(len(answers)))]
        others = 1 + draw.permutation(len(found.errors) - 1)[: MOST - 1]
        some.append((found, np.concatenate([[0], others])))
    molecules = [found.molecule for found, rows in some for _ in rows]
    given = [found.objects[n] for found, rows in some for n in rows]
    u = torch.cat([found.displacements[n] for found, rows in some for n in rows])
    expected, energies = model.judged(molecules, given, u)
    wanted = torch.cat([found.errors[rows] for found, rows in some])
    loss = ((expected + CLOSE).log() - (wanted + CLOSE).log()).abs().mean()
    counts = [len(rows) for _, rows in some]
    chosen = [
        -(torch.softmax(-w / CHOICE, 0) * torch.log_softmax(-2 * e.log(), 0)).sum()
        for e, w in zip(expected.split(counts), wanted.split(counts), strict=True)
    ]
    near = wanted < NEAR
    real = torch.cat([found.energies[rows] for found, rows in some])
    off = ((energies - real).abs() * near).sum() / near.sum().clamp(min=1)
    return loss + 0.5 * torch.stack(chosen).mean() + 0.1 * off


# ------------------------------------------------------------------ answers


@dataclass(frozen=True, eq=False)
class Minima:
    """Different answers for a molecule, the one that is expected to be nearest to a minimum first.

    Attributes
    ----------
    displacements : Tensor [n, N, 3]
        Å, from the symmetric molecule.
    expected : Tensor [n]
        Expected distance from a minimum, Å, root mean square over the atoms.
    energies : Tensor [n]
        Predicted, relative to the symmetric molecule, eV.
    ways : list of (Distortion or None), n
        What each answer was found along; its ``keep`` is K. None is the molecule as it is.
    """

    displacements: Tensor
    expected: Tensor
    energies: Tensor
    ways: list[Distortion | None]

    def structures(self, molecule: Molecule) -> Iterator[Atoms]:
        """Displaced molecules; ``info`` has ``rank``, ``K``, ``irrep``, ``expected_error``, ``predicted_energy``."""
        for n, (u, way) in enumerate(zip(self.displacements.numpy(), self.ways, strict=True)):
            atoms = molecule.space.atoms.copy()
            atoms.positions += u
            kept = molecule.space.whole if way is None else way.keep
            atoms.info |= {
                "rank": n + 1,
                "K": kept.schoenflies,
                "irrep": "none" if way is None else way.irrep,
                "expected_error": round(float(self.expected[n]), 4),
                "predicted_energy": round(float(self.energies[n]), 4),
            }
            yield atoms


@torch.no_grad()
def predict_minima(model: MinimaNetwork, molecule: Molecule) -> Minima:
    """All answers for a molecule, equivalent ones once."""
    objects, u = _answered(model, molecule)
    expected, energies = model.judged([molecule] * len(u), list(objects), u.flatten(0, 1))
    energies = torch.where(torch.arange(len(u)) == 0, 0.0, energies)
    chosen: list[int] = []
    images = molecule.space.images(u.double().numpy()).swapaxes(0, 1)  # [n, order, N, 3]
    for n in expected.argsort().tolist():
        off = [np.square(images[k] - u[n].double().numpy()).sum(2).mean(1).min() ** 0.5 for k in chosen]
        if min(off, default=np.inf) > SAME:
            chosen.append(n)
    ways = [None if n == 0 else molecule.ways[molecule.way_of[n - 1]] for n in chosen]
    return Minima(u[chosen], expected[chosen], energies[chosen], ways)


def _answered(model: MinimaNetwork, molecule: Molecule) -> tuple[Tensor, Tensor]:
    """All objects, zeros first, and the displacements that they lead to, [C + 1, N, 3] each."""
    objects = list(molecule.objects)
    u = model([molecule] * len(objects), objects)[-1].view(len(objects), -1, 3)
    still = torch.zeros_like(u[:1])
    return torch.cat([still, molecule.objects]), torch.cat([still, u])


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
