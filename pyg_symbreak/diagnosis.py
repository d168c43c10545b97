"""Which symmetry a target keeps, and what an equivariant network can make of it."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.breaking import BreakingSet, NodeBreakingSet, breaking_set, largest_group
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.relation import match_structures
from pyg_symbreak.structures import MAX_STRAIN, check_structure, match_atoms

__all__ = ["Diagnosis", "diagnose", "kept_symmetry"]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What an equivariant network can make of an input and a target; `diagnose` makes it, ``print`` reads it out.

    Attributes
    ----------
    symmetry : Symmetry
        S, the symmetry of the input.
    keep : PointGroup
        K, the part of S that the target has too, in the input's frame.
    vectors : Tensor
        float64 [N, 3], the target on the nodes: displacements in Å without rigid motion, or the vectors given.
    strain : Tensor, optional
        float64 [3, 3], of two crystals: the strain between them.
    unit : str or None
        ``"Å"`` for displacements; None for vectors whose unit is not known.
    tolerance : float
        What counts as unchanged.
    residual : float
        Curie residual of the vectors: the least sum of squared errors of any equivariant network that sees the input
        alone, in the squared unit of the target.
    strain_residual : float or None
        The same of the strain: least squared Frobenius norm of the error.
    lost_translations : int
        How many translations inside the cell the target loses, of those that the input (a supercell) has.
    breaking : BreakingSet, NodeBreakingSet or None
        The smallest equivariant set that breaks S to K; of one object where K is S. Where translations are lost, its
        objects are fields on the nodes. None where there is none, see
        ``explanation``.
    explanation : str
        Why the set is ideal, or why not, or why there is none.
    alternatives : tuple of float
        Of two crystals: sums of squared displacements, Å², of other assignments of the atoms that keep as much.
    """

    symmetry: Symmetry
    keep: PointGroup
    vectors: Tensor
    strain: Tensor | None
    unit: str | None
    tolerance: float
    residual: float
    strain_residual: float | None
    lost_translations: int
    breaking: BreakingSet | NodeBreakingSet | None
    explanation: str
    alternatives: tuple[float, ...] = ()

    @property
    def representable(self) -> bool:
        """Whether an equivariant network can give the target: it has all of the input's symmetry, K = S."""
        return self.lost_translations == 0 and self.keep == self.symmetry.group

    @property
    def rms(self) -> float:
        """Root of the mean over nodes of the squared error in ``residual``, in the unit of the target."""
        return math.sqrt(self.residual / self.symmetry.num_nodes)

    @property
    def label(self) -> str:
        """K by its label among the subgroups of S."""
        return label_inside(self.symmetry.group, self.keep)

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain lists, numbers and strings, ready for JSON (None for what is infinite)."""
        keep = describe_group(self.keep) | {"label": self.label}
        if self.keep.is_finite:
            keep["matrices"] = self.keep.matrices.round(12).tolist()
        return {
            "symmetry": describe_symmetry(self.symmetry),
            "keep": keep,
            "representable": self.representable,
            "unit": self.unit,
            "tolerance": self.tolerance,
            "residual": {
                "sum_of_squares": self.residual,
                "rms": self.rms,
                "strain_sum_of_squares": self.strain_residual,
            },
            "lost_translations": self.lost_translations,
            "alternatives": list(self.alternatives),
            "breaking_set": None if self.breaking is None else describe_set(self.breaking),
            "explanation": self.explanation,
        }

    def __str__(self) -> str:
        group = self.symmetry.group
        lines = [
            f"Input    {_named(group)}{_space_group(self.symmetry)}, {self.symmetry.num_nodes} atoms",
            f"Target   keeps {_named(self.keep, self.label)} of it",
        ]
        if self.alternatives:
            square = float(self.vectors.square().sum())
            others = ", ".join(f"{cost:.4g}" for cost in self.alternatives)
            lines.append(
                f"         by displacements whose squares sum to {square:.4g} Å²; other assignments of the atoms"
            )
            lines.append(f"         keep as much, with sums of {others} Å²")
        if self.representable:
            lines.append("An equivariant network can represent this pair; no symmetry has to be broken.")
            return "\n".join(lines)
        lines.append(
            "An equivariant network cannot represent this pair: all its answers have the symmetry of the input."
        )
        rms, total = f"{self.rms:.4g}", f"{self.residual:.4g}"
        if self.unit:
            rms, total = f"{rms} {self.unit}", f"{total} {self.unit}²"
        lines.append(f"         the best answer misses by {rms} rms an atom, sum of squares {total}")
        if self.strain is not None and self.strain_residual is not None:
            lines.append(f"         and in the strain by {math.sqrt(self.strain_residual):.4g} (Frobenius norm)")
        if self.breaking is not None:
            count = "continuous" if self.breaking.size == math.inf else f"{self.breaking.size} objects"
            count += " on the nodes" if self.breaking.level == "node" else ""
            lines.append(f"To break {group.schoenflies} to {self.label}: {count}, irreps {self.breaking.irreps}")
        lines.append(textwrap.fill(self.explanation, 100, initial_indent=" " * 9, subsequent_indent=" " * 9))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"Diagnosis({self.symmetry.group.schoenflies} -> {self.label}, representable={self.representable}, "
            f"residual={self.residual:.4g})"
        )


def diagnose(
    x: Data | Atoms,
    y: Data | Atoms | Tensor | np.ndarray,
    symprec: float | Literal["auto"] = 1e-3,
    tolerance: float | None = None,
    max_strain: float = MAX_STRAIN,
) -> Diagnosis:
    """Compare the symmetry of an input with that of its target.

    Parameters
    ----------
    x : Data or ase.Atoms
        The input, a molecule or a crystal.
    y : Data, ase.Atoms, or Tensor [N, 3]
        The target: a distorted structure with the same atoms, in any order; or a polar vector on each node of x.
        Of two structures the distortion between them is taken. In crystals, which must be in the same setting, a
        translation and a rotation do not count. A molecule is brought to the input by the translation and the
        rotation that make the squared displacements least, starting from its own orientation.
    symprec : float or "auto"
        Tolerance of the detection of the input's symmetry, Å, as in :func:`~pyg_symbreak.detect.detect_symmetry`.
    tolerance : float, optional
        An operation is kept if it changes no vector of the target by more than this, in its unit (and, in a crystal,
        no lattice vector, in Å). Default: that of the detection.
    max_strain : float
        Two crystals whose cells differ by stretches farther from 1 are refused: the transition is reconstructive, or
        they are not in the same setting, to which :func:`~pyg_symbreak.relation.relate_structures` brings them.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        x or y is not a structure, they do not have the same atoms or are not in the same setting, or y has another
        number of vectors.

    Examples
    --------
    >>> from ase.build import molecule
    >>> planar, pyramid = molecule("BF3"), molecule("BF3")
    >>> pyramid.positions[0, 2] += 0.4  # boron leaves the plane
    >>> found = diagnose(planar, pyramid)
    >>> for line in str(found).splitlines()[:5]:
    ...     print(line)
    Input    D3h (-6m2, order 12), 4 atoms
    Target   keeps C3v (3m, order 6) of it
    An equivariant network cannot represent this pair: all its answers have the symmetry of the input.
             the best answer misses by 0.1732 Å rms an atom, sum of squares 0.12 Å²
    To break D3h to C3v: 2 objects, irreps 1x1o
    >>> found.to_dict()["breaking_set"]["size"]
    2
    """
    atoms = check_structure(x)
    symmetry = detect_symmetry(x, symprec)
    assert isinstance(symmetry, Symmetry)
    tolerance = symmetry.symprec if tolerance is None else tolerance
    strain: Tensor | None = None
    alternatives: tuple[float, ...] = ()
    if isinstance(y, (Data, Atoms)):
        if atoms.pbc.any():
            match = match_structures(atoms, y, symmetry.symprec, max_strain)
            vectors, strain, alternatives = match.displacements, match.strain, match.alternatives
        else:
            vectors = _molecular_displacements(atoms, check_structure(y))
    else:
        vectors = _vectors(y, len(atoms))
    length = float(atoms.cell.lengths().max())
    keep, mask = _kept(symmetry, vectors, None if strain is None else strain * length, tolerance)
    lost = _lost_translations(symmetry, mask)
    breaking, explanation = _smallest_set(symmetry, keep, mask, lost)
    return Diagnosis(
        symmetry=symmetry,
        keep=keep,
        vectors=vectors,
        strain=strain,
        unit="Å" if isinstance(y, (Data, Atoms)) else None,
        tolerance=tolerance,
        residual=vector_residual(symmetry, vectors),
        strain_residual=None if strain is None else _strain_residual(symmetry, strain),
        lost_translations=lost,
        breaking=breaking,
        explanation=explanation,
        alternatives=alternatives,
    )


def kept_symmetry(
    symmetry: Symmetry, vectors: Tensor, strain: Tensor | None = None, tolerance: float = 1e-3
) -> PointGroup:
    """The symmetry K that a target keeps of the symmetry S of the input: Stab(y) ∩ S.

    Parameters
    ----------
    symmetry : Symmetry
        S, as `detect_symmetry` returns it for the input.
    vectors : Tensor [N, 3]
        A polar vector on each node, such as displacements in Å, in the input's frame.
    strain : Tensor [3, 3], optional
        A symmetric matrix for the whole structure, in the input's frame.
    tolerance : float
        Largest change of a vector (of the strain: of its spectral norm) at which the target counts as unchanged, in
        the unit of the target. It is lowered where the operations within it do not form a group.

    Returns
    -------
    PointGroup
        A subgroup of ``symmetry.group``.
    """
    vectors = vectors.detach().to(symmetry.rotations)
    strain = None if strain is None else strain.detach().to(symmetry.rotations).reshape(3, 3)
    return _kept(symmetry, vectors, strain, tolerance)[0]


def _vectors(y: object, count: int) -> Tensor:
    """Real numbers [count, 3] of what stands for an array."""
    try:
        vectors = torch.as_tensor(y).detach().cpu().to_dense()
        if vectors.shape == (count, 3) and not vectors.is_complex() and vectors.isfinite().all():
            return vectors.double()
        got = f"{list(vectors.shape)} of {vectors.dtype}"
    except (RuntimeError, TypeError, ValueError):
        got = type(y).__name__
    raise ValueError(f"y must be a structure or a finite vector on each of the {count} nodes, [{count}, 3]; got {got}")


def _kept(
    symmetry: Symmetry, vectors: Tensor, strain: Tensor | None, tolerance: float
) -> tuple[PointGroup, np.ndarray | None]:
    """K, and which of the listed operations it holds (None if S is continuous)."""
    if symmetry.continuous is not None:
        return _kept_of_continuous(symmetry, vectors, tolerance), None
    changes = _changes(symmetry.rotations, symmetry.permutations, vectors)
    if strain is not None:
        moved = symmetry.rotations @ strain @ symmetry.rotations.mT
        changes = torch.maximum(changes, torch.linalg.matrix_norm(moved - strain, ord=2))
    return largest_group(symmetry.rotations.numpy(), changes.numpy(), tolerance)


def _changes(rotations: Tensor, permutations: Tensor, vectors: Tensor) -> Tensor:
    """By how much each operation changes the vectors: the largest distance over the nodes, [order]."""
    moved = torch.einsum("gij,nj->gni", rotations, vectors)
    wanted = vectors[permutations]  # the operation carries node i onto permutations[g, i]
    return (moved - wanted).norm(dim=2).amax(1)


def _kept_of_continuous(symmetry: Symmetry, vectors: Tensor, tolerance: float) -> PointGroup:
    """K for a single atom, or for a linear molecule with the axis z.

    Parts of the vectors across the axis are kept by no rotation about it, and by at most one mirror that holds it;
    so K is either axial or in the D_2h with the axes e (along the longest such part), n = z × e and z, or it is one
    half-turn about an axis between e and n that exchanges nodes.
    """
    assert symmetry.kernel is not None
    group, kernel, u = symmetry.group, symmetry.kernel, vectors.numpy()
    if kernel.dimension == 3:
        length = float(np.linalg.norm(u[0]))
        return group if length <= tolerance else PointGroup("Cinfv").rotated(_frame(u[0]))
    z = kernel.axis
    across = u - np.outer(u @ z, z)
    lengths = np.linalg.norm(across, axis=1)
    if lengths.max() <= tolerance:
        along = torch.from_numpy(np.outer(u @ z, z))
        changes = _changes(symmetry.rotations, symmetry.permutations, along)
        return group if bool((changes <= tolerance).all()) else kernel
    node = int(np.argmax(lengths))
    frame = _frame(z, across[node])
    e, n = frame[:, 0], frame[:, 1]
    swap = int(symmetry.permutations[-1, node])
    swapping = [-np.eye(3), -_half_turn(z), _half_turn(e), _half_turn(n)] if len(symmetry.permutations) == 2 else []
    kept = _kept_of(symmetry, [-_half_turn(n)], swapping, vectors, tolerance)
    between = across[node] + across[swap]
    if kept.order == 1 and swapping and np.linalg.norm(between) > tolerance:
        kept = _kept_of(symmetry, [], [_half_turn(between)], vectors, tolerance)
    return kept


def _kept_of(
    symmetry: Symmetry, fixing: list[np.ndarray], swapping: list[np.ndarray], vectors: Tensor, tolerance: float
) -> PointGroup:
    """What the vectors keep of the identity, of matrices that leave the nodes in place, and of some that swap them."""
    rotations = np.array([np.eye(3), *fixing, *swapping])
    permutations = symmetry.permutations[[0] * (1 + len(fixing)) + [-1] * len(swapping)]
    changes = _changes(torch.from_numpy(rotations), permutations, vectors).numpy()
    return largest_group(rotations, changes, tolerance)[0]


def _half_turn(axis: np.ndarray) -> np.ndarray:
    axis = axis / np.linalg.norm(axis)
    return 2 * np.outer(axis, axis) - np.eye(3)


def _frame(z: np.ndarray, x: np.ndarray | None = None) -> np.ndarray:
    """A rotation whose third column is along z, and the first along the part of x across it."""
    z = z / np.linalg.norm(z)
    x = np.eye(3)[np.argmin(np.abs(z))] if x is None else x
    x = x - (x @ z) * z
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _lost_translations(symmetry: Symmetry, mask: np.ndarray | None) -> int:
    """Translations of S (those of a supercell) that K lacks."""
    if mask is None:
        return 0
    pure = np.abs(symmetry.rotations.numpy() - np.eye(3)).max((1, 2)) < 1e-6
    return int(pure.sum() - (pure & mask).sum())


def _smallest_set(
    symmetry: Symmetry, keep: PointGroup, mask: np.ndarray | None, lost_translations: int
) -> tuple[BreakingSet | NodeBreakingSet | None, str]:
    try:
        if lost_translations:
            assert mask is not None
            fields: NodeBreakingSet = breaking_set(symmetry, np.flatnonzero(mask))
            return fields, (
                f"The target loses {lost_translations} translations of the input's cell. An object of the whole graph "
                "is left as it is by all translations; these are fields on the nodes, which AddSymmetryBreaking("
                f"choose='target', on='nodes') attaches. {fields.explanation}"
            )
        found: BreakingSet = breaking_set(symmetry.group, keep)
    except ValueError as error:
        return None, str(error)
    return found, "Nothing has to be broken." if keep == symmetry.group else found.explanation


def vector_residual(symmetry: Symmetry, vectors: Tensor) -> float:
    """Least sum of squared errors of an equivariant model that answers with a vector on each node, [N, 3].

    :func:`~pyg_symbreak.losses.curie_residual`, of linear molecules and single atoms too.
    """
    if symmetry.kernel is None:
        return float(curie_residual(vectors, symmetry.rotations, symmetry.permutations))
    if symmetry.kernel.dimension == 3:
        return float(vectors.square().sum())
    z = torch.from_numpy(symmetry.kernel.axis.copy())
    along = torch.outer(vectors @ z, z)  # the mean over the rotations about the axis
    rest = curie_residual(along, symmetry.rotations, symmetry.permutations)
    return float((vectors - along).square().sum() + rest)


def _strain_residual(symmetry: Symmetry, strain: Tensor) -> float:
    mean = (symmetry.rotations @ strain @ symmetry.rotations.mT).mean(0)
    return float((strain - mean).square().sum())


def _molecular_displacements(parent: Atoms, target: Atoms) -> Tensor:
    """Displacements [N, 3] Å from which translation and rotation are removed: atoms and rotation in turn, to the end.

    Where the atoms are in line, so that the best rotation is not unique, it is the smallest of the best ones.
    """
    target = target.copy()
    best = match_atoms(parent, target).displacements
    x = parent.positions - parent.positions.mean(0)
    while True:
        y = x + best.numpy()
        overlap = y.T @ x
        overlap = overlap + 1e-10 * np.linalg.norm(overlap) * np.eye(3)
        left, _, right = np.linalg.svd(overlap)
        turn = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
        target.positions = target.positions @ turn
        found = match_atoms(parent, target).displacements
        if found.square().sum() >= best.square().sum() - 1e-14:
            return best
        best = found


# ---------------------------------------------------------------------- in words and in plain data


def label_inside(group: PointGroup, subgroup: PointGroup) -> str:
    """The label, among the subgroups of a finite group, of the class that a subgroup is in; else its symbol."""
    if not group.is_finite:
        return subgroup.schoenflies
    alike = [k for k in group.subgroups() if k.schoenflies == subgroup.schoenflies]
    if len(alike) > 1:
        alike = [k for k in alike if any(k.rotated(m) == subgroup for m in group.matrices)]
    return alike[0].label


def describe_group(group: PointGroup) -> dict[str, Any]:
    """Name and order of a point group as plain data; the order of a continuous group is None."""
    return {
        "schoenflies": group.schoenflies,
        "hermann_mauguin": group.hermann_mauguin,
        "order": finite_or_none(group.order),
    }


def describe_symmetry(symmetry: Symmetry) -> dict[str, Any]:
    """Groups and order of a detected symmetry as plain data."""
    out = describe_group(symmetry.group) | {"operations": finite_or_none(symmetry.order)}
    for key, kind in (("space_group", symmetry.space_group), ("layer_group", symmetry.layer_group)):
        out[key] = None if kind is None else {"symbol": kind.symbol, "number": kind.number}
    out["line_group"] = symmetry.line_group
    return out | {"symprec": symmetry.symprec, "residual": symmetry.residual}


def describe_set(found: BreakingSet | NodeBreakingSet) -> dict[str, Any]:
    """Size and kind of a breaking set as plain data; size and degeneracy of a continuous set are None."""
    return {
        "size": finite_or_none(found.size),
        "irreps": str(found.irreps),
        "ideal": found.ideal,
        "degeneracy": finite_or_none(found.degeneracy),
        "level": found.level,
        "complement": found.complement.schoenflies if isinstance(found, BreakingSet) else None,
        "explanation": found.explanation,
    }


def finite_or_none(number: int | float) -> int | float | None:
    """The number, or None where it is infinite: JSON has no infinity."""
    return None if number == math.inf else number


def _order(group: PointGroup) -> str:
    return "continuous" if group.order == math.inf else f"order {group.order}"


def _named(group: PointGroup, label: str | None = None) -> str:
    symbol = group.hermann_mauguin
    return f"{label or group.schoenflies} ({symbol + ', ' if symbol else ''}{_order(group)})"


def _space_group(symmetry: Symmetry) -> str:
    for kind, name in ((symmetry.space_group, "space"), (symmetry.layer_group, "layer")):
        if kind is not None:
            return f", {name} group {kind.symbol} ({kind.number})"
    return f", line group {symmetry.line_group}" if symmetry.line_group else ""
