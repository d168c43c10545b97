r"""Which object belongs to a known target: a rule that moves with the structure and the target together.

Let S be the symmetry of the structure x and K = Stab(x, y) what its target y keeps of it. A rule β with
β(gx, gy) = g β(x, y) lets a network f with f(gx, gb) = g f(x, b) fit all pairs at once, in any orientation; the number
of an object in its set is no such rule. Since K is all that moves neither x nor y, β must be fixed by K or be defined
up to K, which does no harm, as f(x, kb) = k f(x, b) = ky = y for k in K.

Two rules are used. An equivariant moment m(x, y) in the irreps of the objects, a sum over the atoms and their
neighbours of products of y with spherical harmonics, and the object nearest to it: it changes continuously with
structure and target, so that similar molecules get similar objects. Where no moment tells the objects apart, the
canonical frame of the pair and in it a fixed generic vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_symbreak.detect import Features, GraphSymmetry, Symmetry, detect_symmetry, symmetry_of
from pyg_symbreak.groups import PointGroup, irreps_matrices, rotation
from pyg_symbreak.structures import check_structure, neighbor_pairs, strain_to_irreps

from .canonical.kernel import KernelElements, inversion_kernel
from .canonical.ranks import rank_table
from .input_indexed import KernelObjects
from .noise import neighbor_distance
from .protocol import Objects

__all__ = [
    "Target",
    "largest_group",
    "orbit_candidates",
    "paired_object",
    "read_target",
    "target_changes",
    "target_stabilizer",
]

TargetFields = str | Mapping[str, str]
LMAX = 4
"""Highest degree of the spherical harmonics, and of the products of a target with itself, in moments."""
CLEAR = 1e-2
"""By how much, of its largest possible value, a moment must prefer one object to others."""
SAME = 1e-4
"""Distance, as a share of the longest, up to which two objects are equal."""
ROUND_OFF = 1e-9
"""Products whose rows are smaller than this, as a share of what they could be, vanish."""
REACH = 3.0
"""Neighbours in moments are closer than this many times the shortest distance."""


@dataclass(frozen=True, eq=False)
class Target:
    """A target as rows on the nodes; what belongs to the whole structure is on all of them.

    Attributes
    ----------
    irreps : e3nn Irreps
    rows : Tensor
        float64 [N, irreps.dim].
    """

    irreps: o3.Irreps
    rows: Tensor


def read_target(data: Data, fields: TargetFields = "y") -> Target:
    """What a structure has as its target.

    Parameters
    ----------
    data : Data
    fields : str, or mapping of str to irreps
        Names of attributes, and how they transform: values [N, dim] on the nodes or [1, dim] of the structure. A
        symmetric matrix [1, 3, 3], such as a strain, has irreps "0e+2e". A name alone is enough for vectors
        [N, 3], such as displacements, for a strain, and for graphs without positions, where all is scalar.

    Raises
    ------
    ValueError
        An attribute is missing, not finite, or does not fit its irreps.
    """
    count = int(data.num_nodes)  # type: ignore[arg-type]
    parts, irreps = [], o3.Irreps()
    for name, given in fields.items() if isinstance(fields, Mapping) else [(fields, None)]:
        value = data.get(name)
        if not isinstance(value, Tensor):
            raise ValueError(f"the target {name!r} is missing: name the attribute that holds it, target=...")
        value = value.detach().cpu().double()
        is_strain = value.shape == (1, 3, 3)
        if given is None:
            given = _irreps_of(data, name, value)
        ir = o3.Irreps(given)
        rows = strain_to_irreps(value) if is_strain and ir.dim == 6 else value
        if rows.dim() == 1 and len(rows) == count:
            rows = rows[:, None]
        if rows.dim() != 2 or rows.shape[0] not in (1, count) or rows.shape[1] != ir.dim:
            raise ValueError(
                f"the target {name!r} of irreps {ir} must be [{count}, {ir.dim}] or [1, {ir.dim}], got "
                f"{list(value.shape)}"
            )
        if not rows.isfinite().all():
            raise ValueError(f"the target {name!r} is not finite")
        parts.append(rows.expand(count, -1))
        irreps = irreps + ir
    return Target(irreps, torch.cat(parts, dim=1))


def _irreps_of(data: Data, name: str, value: Tensor) -> str:
    """The irreps of a target of which the name alone is given."""
    if data.get("pos") is None:
        return f"{value[0].numel()}x0e"
    if value.shape == (data.num_nodes, 3):
        return "1o"
    if value.shape == (1, 3, 3):
        return "0e+2e"
    raise ValueError(
        f"the target {name!r} has shape {list(value.shape)}: say how it transforms, such as target={{{name!r}: '1x2e'}}"
    )


# ---------------------------------------------------------------------- what the target keeps


def target_stabilizer(
    symmetry: Symmetry, target: Target, tolerance: float, rotations_only: bool = False
) -> tuple[PointGroup, np.ndarray]:
    """K = Stab(x, y): a point group, and which of the operations of the symmetry leave the target as it is.

    Parameters
    ----------
    symmetry : Symmetry
        S, finite.
    target : Target
    tolerance : float
        Largest change of a row, in the unit of the target. It is lowered where the operations within it do not form
        a group.
    rotations_only : bool
        Whether improper operations do not count.

    Raises
    ------
    ValueError
        The symmetry is continuous, and the target breaks what moves no atom: rotations about the axis of a linear
        molecule.
    """
    if symmetry.continuous is not None:
        assert symmetry.kernel is not None
        _require_unbroken(symmetry, target, tolerance)
        kept = target_changes(symmetry, target) <= tolerance
        return symmetry.group if kept.all() else symmetry.kernel, kept
    return largest_group(symmetry.rotations.numpy(), target_changes(symmetry, target, rotations_only), tolerance)


def target_changes(symmetry: Symmetry, target: Target, rotations_only: bool = False) -> np.ndarray:
    """By how much each operation changes a target: the largest change of a row; inf for those that do not count."""
    matrices = torch.from_numpy(irreps_matrices(target.irreps, symmetry.rotations.numpy()))
    moved = torch.einsum("gij,nj->gni", matrices, target.rows)
    changes = (moved - target.rows[symmetry.permutations]).norm(dim=2).amax(1)
    if rotations_only:
        changes[torch.linalg.det(symmetry.rotations) < 0] = torch.inf
    return changes.numpy()


def _require_unbroken(symmetry: Symmetry, target: Target, tolerance: float) -> None:
    """Raise ValueError for a target that some of the operations change that move no node, of which there is no end."""
    assert symmetry.kernel is not None
    axes = symmetry.kernel.frame[:, 2:] if symmetry.kernel.dimension == 1 else symmetry.kernel.frame[:, :2]
    turns = np.array([np.eye(3), *(rotation(axis, 1.0) for axis in axes.T)])  # with these a dense subgroup
    mirrors = np.array([m for m in symmetry.kernel.components if np.linalg.det(m) < 0][:1]).reshape(-1, 3, 3)
    matrices = torch.from_numpy(irreps_matrices(target.irreps, np.concatenate([turns, mirrors])))
    changes = torch.einsum("gij,nj->gni", matrices, target.rows) - target.rows
    if changes.norm(dim=2).max() > tolerance:
        raise ValueError(
            "the target breaks a continuous symmetry: its equally good targets have no end; "
            f"the structure has {symmetry.group.schoenflies}. Attach an object made from the target instead, such as "
            "the direction in which it bends, data.breaking [1, 3] with data.breaking_irreps = '1o': a symmetry of the "
            "structure carries it, with its answer, to each other direction"
        )


def largest_group(rotations: np.ndarray, changes: np.ndarray, tolerance: float) -> tuple[PointGroup, np.ndarray]:
    """The group of the operations that change a target by no more than a tolerance, lowered until there is one."""
    while True:
        mask = changes <= tolerance
        rounded = np.round(rotations[mask].reshape(-1, 9), 6) + 0.0
        first = np.sort(np.unique(rounded, axis=0, return_index=True)[1])
        try:
            return PointGroup.from_matrices(rotations[mask][first]), mask
        except ValueError:
            if mask.sum() <= 1:
                raise
            tolerance = float(np.nextafter(changes[mask].max(), -1))


def orbit_candidates(
    data: Data | Batch, target: TargetFields = "y", symprec: float = 1e-3, features: Features = ()
) -> Tensor:
    """All equally good targets of a structure, the images of one under its symmetry: what ``orbit_loss`` takes.

    Parameters
    ----------
    data : Data or Batch
        A structure or a graph; or a batch of them.
    target : str, or mapping of one str to irreps
        The attribute, as in :func:`read_target`.
    symprec, features
        As in :func:`~pyg_symbreak.detect.detect_symmetry`. Images that differ by less than ``symprec`` are one.

    Returns
    -------
    Tensor [N, T, d]
        Candidate 0 is the target itself. Of a target of the whole structure [1, T, d]. In a batch structures with
        fewer candidates repeat their first.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> planar = from_ase(molecule("BF3"), torch.float64)
    >>> planar.y = torch.tensor([[0, 0, 0.3], [0, 0, -0.1], [0, 0, -0.1], [0, 0, -0.1]], dtype=torch.float64)
    >>> orbit_candidates(planar)[0]
    tensor([[ 0.0000,  0.0000,  0.3000],
            [ 0.0000,  0.0000, -0.3000]], dtype=torch.float64)
    """
    if isinstance(data, Batch):
        every = [orbit_candidates(x, target, symprec, features) for x in data.to_data_list()]
        most = max(images.size(1) for images in every)
        return torch.cat([torch.cat([x, x[:, :1].expand(-1, most - x.size(1), -1)], dim=1) for x in every])
    found = read_target(data, target)
    name = target if isinstance(target, str) else next(iter(target))
    symmetry = symmetry_of(data, symprec, features)
    rows = found.rows[None].expand(len(symmetry.permutations), -1, -1)
    if isinstance(symmetry, Symmetry):
        if symmetry.continuous is not None:
            _require_unbroken(symmetry, found, symprec)
        matrices = torch.from_numpy(irreps_matrices(found.irreps, symmetry.rotations.numpy()))
        rows = torch.einsum("gij,nj->gni", matrices, found.rows)
    images = torch.zeros_like(rows).scatter(1, symmetry.permutations[:, :, None].expand_as(rows), rows)
    images = images[_first_of_each(images, symprec)]
    of_structure = len(data[name]) == 1 and data.num_nodes != 1
    images = images[:, :1] if of_structure else images
    return images.transpose(0, 1).to(data[name])


def _first_of_each(rows: Tensor, tolerance: float) -> list[int]:
    """Numbers of the rows [n, N, d] that differ from all before them."""
    found: list[int] = []
    for number in range(len(rows)):
        if not found or (rows[found] - rows[number]).norm(dim=2).amax(1).min() > tolerance:
            found.append(number)
    return found


# ---------------------------------------------------------------------- which object belongs to it


def paired_object(
    objects: Objects,
    data: Data,
    symmetry: Symmetry | GraphSymmetry,
    target: Target,
    features: Features = (),
    tolerance: float = 1e-3,
    rotations_only: bool = False,
) -> Tensor:
    """The object that belongs to a target, by a rule that moves with structure and target.

    Parameters
    ----------
    objects : Objects
        Of the structure; they must have an end.
    data : Data
    symmetry : Symmetry or GraphSymmetry
        Of the structure, found with the features.
    target : Target
    features : sequence of str, or mapping of str to irreps
    tolerance : float
        As in :func:`target_stabilizer`.
    rotations_only : bool
        Whether the network is equivariant under rotations only, and the objects for their symmetries.

    Returns
    -------
    Tensor [dim] or [N, dim]

    Raises
    ------
    ValueError
        The objects cannot be listed; or each of them keeps something that the target does not.
    """
    if isinstance(symmetry, GraphSymmetry):
        return _paired_on_graph(objects, data, target, features)
    rows = objects.all()
    on_nodes = objects.level == "node"
    kept, mask = target_stabilizer(symmetry, target, tolerance, rotations_only)
    if symmetry.continuous is not None:
        if mask.all():  # all of it keeps the target, and carries the objects into each other
            return rows[0]
        return _paired_on_line(objects, data, symmetry, target)
    _require_translations(symmetry, mask, on_nodes)
    matrices = torch.from_numpy(irreps_matrices(objects.irreps, symmetry.rotations.numpy()))
    acting = torch.ones(len(mask), dtype=torch.bool)
    if rotations_only:
        acting = torch.linalg.det(symmetry.rotations) > 0
    near = SAME * float(rows.flatten(1).norm(dim=1).max())

    def images(row: Tensor, which: Tensor) -> Tensor:
        moved = row @ matrices[which].mT
        if not on_nodes:
            return moved
        return torch.zeros_like(moved).scatter(1, symmetry.permutations[which][:, :, None].expand_as(moved), moved)

    lost = acting & ~torch.from_numpy(_reached(symmetry, mask, on_nodes))
    moved = torch.stack([(images(row, lost) - row).flatten(1).norm(dim=1) for row in rows])
    fitting = (moved > near).all(1).nonzero()[:, 0]
    if len(fitting) == 0:
        inside = objects.keep.label if objects.keep is not None else "more"
        raise ValueError(
            f"objects that keep {inside} of {symmetry.group.schoenflies} cannot give a target that keeps {kept.label} "
            "only, Stab(x, y): keep less, or leave keep out to keep what the target does"
        )
    stabilizer = torch.from_numpy(mask)
    for moment in _preferences(objects, data, symmetry, target, features, rotations_only):
        scores = (rows[fitting] * moment).flatten(1).sum(1)
        best = rows[fitting[int(scores.argmax())]]
        alike = torch.cdist(rows[fitting].flatten(1), images(best, stabilizer).flatten(1)).amin(1) <= near
        others = scores[~alike]
        if len(others) == 0 or scores.max() - others.max() > CLEAR * best.norm():
            return best
    raise ValueError("no rule tells which object belongs to the target: the target is nearly symmetric; raise symprec")


def _paired_on_line(objects: Objects, data: Data, symmetry: Symmetry, target: Target) -> Tensor:
    """The object of a linear molecule whose target tells its ends apart and keeps all else."""
    rows = objects.all()
    if len(rows) == 1:
        assert symmetry.kernel is not None
        raise ValueError(
            f"objects that keep {symmetry.group.schoenflies} cannot give a target that keeps "
            f"{symmetry.kernel.schoenflies} only, Stab(x, y): keep less, or leave keep out to keep what the target does"
        )
    for moment in _moments(data, target, objects.irreps):
        scores = rows @ moment.sum(0)
        first, second = scores.topk(2).values.tolist()
        if first - second > CLEAR * float(rows[0].norm()):
            return rows[int(scores.argmax())]
    raise ValueError("no rule tells which object belongs to the target: the target is nearly symmetric; raise symprec")


def _require_translations(symmetry: Symmetry, mask: np.ndarray, on_nodes: bool) -> None:
    """Refuse a target that loses translations where objects belong to the whole structure."""
    pure = np.abs(symmetry.rotations.numpy() - np.eye(3)).max((1, 2)) < 1e-6
    if not on_nodes and (pure & ~mask).any():
        raise ValueError(
            f"the target loses {int((pure & ~mask).sum())} translations of the cell, which leave an object of the "
            "whole structure as it is: it takes objects on the nodes, in AddSymmetryBreaking on='nodes'"
        )


def _reached(symmetry: Symmetry, mask: np.ndarray, on_nodes: bool) -> np.ndarray:
    """Operations that act on objects as one that keeps the target."""
    if on_nodes:
        return mask
    distinct = np.unique(symmetry.elements.numpy()[mask])
    return np.isin(symmetry.elements.numpy(), distinct)


def _preferences(
    objects: Objects, data: Data, symmetry: Symmetry, target: Target, features: Features, rotations_only: bool
) -> Iterator[Tensor]:
    """Vectors [dim], or [N, dim], in the irreps of the objects that move with structure and target."""
    for moment in _moments(data, target, objects.irreps):
        yield moment if objects.level == "node" else moment.sum(0)
    rotation, ranks = _pair_frame(data, symmetry, target, features, rotations_only)
    matrix = torch.from_numpy(irreps_matrices(objects.irreps, rotation[None].numpy()))[0]
    table = rank_table(len(ranks) + 1, objects.irreps.dim)
    generic = 1e3 * (table[1 + ranks] if objects.level == "node" else table[1]) @ matrix.T
    yield generic


def _pair_frame(
    data: Data, symmetry: Symmetry, target: Target, features: Features, rotations_only: bool
) -> tuple[Tensor, Tensor]:
    """An element of the inversion kernel of the pair: of the frames in which x looks the same, one by how y looks."""
    kernel = inversion_kernel(data, symmetry, features)
    rotations, ranks = kernel.elements.rotations, kernel.elements.ranks
    assert rotations is not None
    if rotations_only:
        sign = torch.linalg.det(rotations)
        same_hand = sign > sign.max() - 1
        rotations, ranks = rotations[same_hand], ranks[same_hand]
    matrices = torch.from_numpy(irreps_matrices(target.irreps, rotations.numpy()))
    seen = torch.einsum("gji,nj->gni", matrices, target.rows)  # the inverse of each
    energies = (seen * rank_table(len(target.rows), target.irreps.dim)[ranks]).sum((1, 2))
    chosen = int(energies.argmin())
    return rotations[chosen], ranks[chosen]


# ---------------------------------------------------------------------- moments

Parts = list[tuple[o3.Irrep, Tensor]]
"""Irreps and rows [N, 2l+1] (of pairs: [E, 2l+1])."""


def _moments(data: Data, target: Target, irreps: o3.Irreps) -> Iterator[Tensor]:
    """Equivariant moments of the target over the structure, on the nodes, [N, irreps.dim], low degrees first.

    Copies of one irrep get different moments.
    """
    wanted = {ir for _, ir in irreps}
    found: dict[o3.Irrep, list[Tensor]] = {ir: [] for ir in wanted}
    for ir, rows in _all_moments(data, target, wanted):
        found[ir].append(rows)
    for trial in range(max((len(moments) for moments in found.values()), default=0)):
        columns = []
        taken = dict.fromkeys(found, trial)
        for mul, ir in irreps:
            for _ in range(mul):
                moments = found[ir]
                columns.append(
                    moments[taken[ir] % len(moments)] if moments else target.rows.new_zeros(len(target.rows), ir.dim)
                )
                taken[ir] += 1
        yield torch.cat(columns, dim=1)


def _all_moments(data: Data, target: Target, wanted: set[o3.Irrep]) -> Iterator[tuple[o3.Irrep, Tensor]]:
    """Products of the target, then of the target with itself, with the harmonics of the ways to the neighbours.

    Each is divided by what it would be if all its terms pointed the same way.
    """
    source, harmonics, weights = _environment(data)
    first = _split(target)
    second = _multiply(first, first, {o3.Irrep(l, p) for l in range(LMAX + 1) for p in (1, -1)})
    count = len(target.rows)
    for parts in (first, second):
        for harmonic in harmonics:
            for here in (True, False):  # the target where the sum is, then that of the neighbours
                on_edges = [(ir, rows[source[0] if here else source[1]]) for ir, rows in parts]
                for ir, rows in _multiply([harmonic], on_edges, wanted):
                    rows = weights[:, None] * rows
                    size = rows.norm(dim=1).sum()
                    if size > ROUND_OFF * weights.sum():  # the product of a vector with itself is round-off
                        yield ir, rows.new_zeros(count, ir.dim).index_add(0, source[0], rows) / size


def _environment(data: Data) -> tuple[Tensor, Parts, Tensor]:
    """Pairs of neighbours [2, E], each atom with itself among them, spherical harmonics and weights of them."""
    atoms = check_structure(data)
    size = torch.sqrt(2.0 + torch.from_numpy(atoms.numbers).double())
    count, cutoff = len(atoms), 1.0
    i, j, shift = np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros((0, 3))
    if count > 1 or atoms.pbc.any():
        cutoff = REACH * neighbor_distance(data)
        i, j, shift = neighbor_pairs(atoms, cutoff)
    vectors = torch.from_numpy(atoms.positions[j] - atoms.positions[i] + shift @ atoms.cell.array)
    lengths = vectors.norm(dim=1)
    pairs = torch.from_numpy(np.stack([i, j]))
    weights = size[pairs].prod(0) * (1 - (lengths / cutoff) ** 2) ** 3
    itself = torch.arange(count).expand(2, -1)
    harmonics: Parts = []
    for l in range(LMAX + 1):
        values = o3.spherical_harmonics(l, vectors, normalize=True, normalization="norm")
        at_itself = values.new_full((count, 2 * l + 1), float(l == 0))
        harmonics.append((o3.Irrep(l, (-1) ** l), torch.cat([values, at_itself])))
    return torch.cat([pairs, itself], dim=1), harmonics, torch.cat([weights, size])


def _split(target: Target) -> Parts:
    """The irreps of the target, each scaled so that its longest row is 1; those that are zero left out."""
    parts, at = [], 0
    for mul, ir in target.irreps:
        for _ in range(mul):
            rows = target.rows[:, at : at + ir.dim]
            longest = float(rows.norm(dim=1).max())
            if longest > 1e-9:
                parts.append((ir, rows / longest))
            at += ir.dim
    return parts


def _multiply(a: Parts, b: Parts, wanted: set[o3.Irrep]) -> Parts:
    """All products of two lists in the irreps that are wanted."""
    out: Parts = []
    for ir1, x in a:
        for ir2, y in b:
            for ir in ir1 * ir2:
                if ir in wanted:
                    coupling = o3.wigner_3j(ir1.l, ir2.l, ir.l, dtype=torch.float64)
                    out.append((ir, torch.einsum("ijk,ni,nj->nk", coupling, x, y)))
    return out


# ---------------------------------------------------------------------- graphs without positions


def _paired_on_graph(objects: Objects, data: Data, target: Target, features: Features) -> Tensor:
    """The object of the kernel's element that leads through the canonical form of the pair.

    With the target as one more feature the canonical form is that of the pair, and the labels that lead to it are
    known up to K. From there on the way to the canonical form of the graph alone is the same for all images.
    """
    if not isinstance(objects, KernelObjects):
        raise ValueError(f"{objects} are not elements of the inversion kernel of the graph: use 'input' or 'sympe'")
    decorated = data.clone()
    size = max(float(target.rows.abs().max()), 1e-300)
    decorated["_target"] = (target.rows / size * 1e6).round().long()
    names = list(features)
    pair = detect_symmetry(decorated, features=[*names, "_target"])
    assert isinstance(pair, GraphSymmetry)
    form = inversion_kernel(decorated, pair, [*names, "_target"]).canonical
    alone = detect_symmetry(form, features=names)
    assert isinstance(alone, GraphSymmetry)
    ranks = alone.canonical_labels[pair.canonical_labels]
    return objects.make(KernelElements(ranks[None]))[0]
