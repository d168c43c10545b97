"""How far a set of objects is from moving with the structure, and the object of a target with both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.breaking import read_target, target_stabilizer
from pyg_symbreak.detect import Symmetry
from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.testing._motions import input_irreps, motions, moved, require_width, rotated
from pyg_symbreak.testing._outputs import finite, structure_symmetry

__all__ = ["pairing_error", "set_equivariance_error"]


def set_equivariance_error(
    objects_of: Callable[[Data], Tensor | Data],
    data: Data,
    irreps: str | o3.Irreps,
    irreps_in: str | o3.Irreps | None = None,
    *,
    parent: str = "O3",
    trials: int = 4,
    generator: torch.Generator | None = None,
) -> float:
    r"""How far a set B of symmetry breaking objects is from moving with the structure: :math:`B(gx) = g B(x)`.

    Parameters
    ----------
    objects_of : callable
        From a Data to all objects of its set, [n, dim], or [n, N, dim] if they live on the nodes; or a transform that
        attaches them as ``breaking`` of a batch, such as ``AddSymmetryBreaking(choose="all")``.
    data : Data
        One structure, not a batch.
    irreps : str or e3nn Irreps
        Of an object (of its row on a node).
    irreps_in : str or e3nn Irreps, optional
        Of ``data.x``. Default: it is invariant.
    parent, trials, generator
        As for :func:`equivariance_error`, which lists what g is.

    Returns
    -------
    float
        The largest Hausdorff distance between the two sets, in the maximum norm: no object of either set is further
        than this from all objects of the other. Not relative.

    Raises
    ------
    ValueError
        The irreps do not fit the objects or the data.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking
    >>> t = AddSymmetryBreaking(keep="C3v", choose="all")
    >>> set_equivariance_error(t, from_ase(molecule("BF3")), "1o") < 1e-5
    True
    """
    irreps = o3.Irreps(irreps)
    moving = input_irreps(data, irreps_in, None)
    objects = _objects(objects_of, data, irreps)
    error = 0.0
    for rotation, shift, order in motions(data, parent, trials, generator):
        wanted = rotated(objects, irreps, rotation)
        found = _objects(objects_of, moved(data, rotation, shift, order, moving), irreps)
        if found.dim() == 3:
            found = found[:, order]
        distances = torch.cdist(found.flatten(1), wanted.flatten(1), p=torch.inf)
        error = max(error, float(distances.amin(0).max()), float(distances.amin(1).max()))
    return error


def pairing_error(
    attach: Callable[[Data], Data],
    data: Data | Iterable[Data],
    target: str | Mapping[str, str] = "y",
    irreps_in: str | o3.Irreps | None = None,
    *,
    parent: str = "O3",
    symprec: float = 1e-3,
    trials: int = 2,
    generator: torch.Generator | None = None,
) -> float:
    r"""Whether the object that goes with a target moves with structure and target: :math:`b(gx, gy) = g b(x, y)`.

    Where it does not, a data set with structures in several orientations has labels that contradict each other, and no
    network can fit it: ``AddSymmetryBreaking(choose=0)`` is such a rule, ``choose="target"`` is not.

    Parameters
    ----------
    attach : callable
        From a structure with its target to the same with ``breaking`` and ``breaking_irreps``, such as
        ``AddSymmetryBreaking(choose="target")``. (From an object kept in a file follows nothing of how it moves.)
    data : Data, or iterable of Data
        Structures with positions, without ``breaking``.
    target : str, or mapping of str to irreps
        The attributes that hold the target, as in :func:`~pyg_symbreak.breaking.read_target`.
    irreps_in : str or e3nn Irreps, optional
        Of ``data.x``. Default: it is invariant.
    parent, trials, generator
        As for :func:`equivariance_error`, which lists what g is.
    symprec : float
        Tolerance of the symmetry, Å, and of what the target keeps of it.

    Returns
    -------
    float
        The largest distance, in the maximum norm, over structures and g; objects that a symmetry of structure and
        target carries into each other count as one. An object has unit length in each irrep.

    Raises
    ------
    ValueError
        ``attach`` gives no ``breaking_irreps``, or the irreps do not fit.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking
    >>> planar = from_ase(molecule("BF3"), torch.float64)
    >>> planar.y = torch.tensor([[0, 0, 0.3], [0, 0, -0.1], [0, 0, -0.1], [0, 0, -0.1]], dtype=torch.float64)
    >>> seeded = torch.Generator().manual_seed(0)
    >>> pairing_error(AddSymmetryBreaking(keep="C3v", choose="target"), planar, generator=seeded) < 1e-9
    True
    >>> pairing_error(AddSymmetryBreaking(keep="C3v", choose=0), planar, trials=4, generator=seeded) < 1e-9
    False
    """
    error = 0.0
    for one in [data] if isinstance(data, Data) else data:
        symmetry = structure_symmetry(one, symprec)
        first = attach(copy.copy(one))
        if "breaking_irreps" not in first:
            raise ValueError("attach gives no breaking_irreps: how its objects transform")
        irreps = o3.Irreps(first.breaking_irreps)
        moving = input_irreps(one, irreps_in, None) | _target_irreps(one, target)
        alike = _images_of(first, irreps, symmetry, one, target, parent == "SO3")
        for rotation, shift, order in motions(one, parent, trials, generator):
            found = finite(attach(moved(one, rotation, shift, order, moving)).breaking)
            if len(found) == one.num_nodes:
                found = found[order]
            error = max(error, float((rotated(alike, irreps, rotation) - found).abs().amax((1, 2)).min()))
    return error


def _target_irreps(data: Data, target: str | Mapping[str, str]) -> dict[str, o3.Irreps]:
    """How each attribute of a target moves; a matrix [1, 3, 3] as its rows and columns do."""
    names = target if isinstance(target, Mapping) else {target: read_target(data, target).irreps}
    return {name: o3.Irreps("1o") if data[name].dim() == 3 else o3.Irreps(irreps) for name, irreps in names.items()}


def _images_of(
    data: Data,
    irreps: o3.Irreps,
    symmetry: Symmetry,
    plain: Data,
    target: str | Mapping[str, str],
    rotations_only: bool,
) -> Tensor:
    """The images [n, 1 or N, dim] of an object under what leaves structure and target as they are."""
    rows = finite(data.breaking)
    if symmetry.continuous is not None:
        return rows[None]
    _, mask = target_stabilizer(symmetry, read_target(plain, target), symmetry.symprec, rotations_only)
    matrices = torch.from_numpy(irreps_matrices(irreps, symmetry.rotations[mask].numpy()))
    moved = rows @ matrices.mT
    if len(rows) == plain.num_nodes:
        moved = torch.zeros_like(moved).scatter(1, symmetry.permutations[mask][:, :, None].expand_as(moved), moved)
    return moved


def _objects(objects_of: Callable[[Data], Tensor | Data], data: Data, irreps: o3.Irreps) -> Tensor:
    """All objects of the set of a structure, in float64 on the CPU."""
    found = objects_of(copy.copy(data))
    objects = finite(found.breaking if isinstance(found, Data) else found)
    require_width("the set of objects", objects, irreps)
    return objects
