"""What an output keeps of the symmetry of its input: Curie's principle, with an object and without."""

from __future__ import annotations

import copy

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.diagnosis import kept_symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.testing._motions import require_width
from pyg_symbreak.testing._outputs import Model, in_dtype_of, outputs_of, structure_symmetry

__all__ = ["curie_gap", "stabilizer_of_output"]


def stabilizer_of_output(model: Model, data: Data, symprec: float = 1e-3, tolerance: float = 1e-3) -> PointGroup:
    """The symmetry K that the vectors a model gives have in common with the positions.

    With an object b an equivariant model's answer has at least the symmetry Stab(x, b). The object has broken what it
    should, and no more, if this is K: ``stabilizer_of_output(model, data) == keep``.

    Parameters
    ----------
    model : callable
        From a Data to a polar vector (irreps 1o) on each node [N, 3] or for the graph [1, 3]; of a pair of outputs
        the first is taken. If it is a module, the data are taken in the dtype of its parameters.
    data : Data
        One structure with its object.
    symprec : float
        Tolerance of the detection of the symmetry of the positions, Å.
    tolerance : float
        Largest change of a vector, relative to the longest vector, at which the output counts as unchanged.

    Returns
    -------
    PointGroup
        A subgroup of ``detect_symmetry(data).group``, in the same frame.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> water = from_ase(molecule("H2O"))
    >>> stabilizer_of_output(lambda data: data.pos, water).schoenflies
    'C2v'
    >>> stabilizer_of_output(lambda data: data.pos * torch.tensor([[1.0], [1.0], [2.0]]), water).schoenflies
    'Cs'
    """
    data = in_dtype_of(model, data)
    (vectors,) = outputs_of(model, data, [])[:1]
    if vectors.dim() != 2 or vectors.shape[0] not in (1, data.num_nodes) or vectors.shape[1] != 3:
        raise ValueError(f"the output has shape {list(vectors.shape)}; vectors are [{data.num_nodes}, 3] or [1, 3]")
    symmetry = structure_symmetry(data, symprec)
    longest = float(vectors.norm(dim=1).max())
    return kept_symmetry(symmetry, vectors.expand(data.num_nodes, 3), tolerance=tolerance * longest)


def curie_gap(
    model: Model,
    data: Data,
    target: Tensor,
    irreps_out: str | o3.Irreps = "1o",
    irreps_in: str | o3.Irreps | None = None,
    symprec: float = 1e-3,
) -> float:
    r"""By how much the squared error of a model without an object exceeds that of the best equivariant model.

    .. math:: \lVert f(x) - y \rVert^2 - \lVert y - \hat y^* \rVert^2,

    with :math:`\hat y^*` the average of the target y over the symmetry of x (:func:`~pyg_symbreak.losses.symmetrize`).
    It is zero for the best equivariant model, positive for others, up to round-off and to how far x itself is from
    symmetric. Where it is negative the model is not equivariant, or sees something that is not in the symmetry used
    here: that of positions, ``z``, cell and ``x``. Edges must follow from these.

    Parameters
    ----------
    model : callable
        From a Data to the node output [N, D]; of a pair of outputs the first is taken. If it is a module, the data
        are taken in the dtype of its parameters.
    data : Data
        One structure, not a batch. Its ``breaking``, if any, is set to zero.
    target : Tensor [N, D]
        y.
    irreps_out : str or e3nn Irreps
        Of output and target.
    irreps_in : str or e3nn Irreps, optional
        Of ``data.x``. Default: it is invariant.
    symprec : float
        Tolerance of the detection of the symmetry, Å; ``x`` counts as unchanged up to 1e-4 of its largest component.

    Returns
    -------
    float
        Sum over nodes and components, in the squared unit of the target.

    Raises
    ------
    ValueError
        The irreps or the target do not fit, or the structure is linear or a single atom: its symmetry is continuous.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> planar = from_ase(molecule("BF3"), torch.float64)
    >>> umbrella = torch.tensor([[0, 0, 0.3], [0, 0, -0.1], [0, 0, -0.1], [0, 0, -0.1]]).double()
    >>> abs(curie_gap(lambda data: torch.zeros(4, 3), planar, umbrella)) < 1e-12  # nothing better without an object
    True
    >>> round(curie_gap(lambda data: umbrella, planar, umbrella), 6)  # not equivariant
    -0.12
    """
    data = copy.copy(in_dtype_of(model, data))
    if data.get("breaking") is not None:
        data.breaking = torch.zeros_like(data.breaking)
    symmetry = structure_symmetry(data, symprec)
    if symmetry.continuous is not None:
        raise ValueError(f"{symmetry.group.schoenflies} is continuous: take a structure that is not linear")
    irreps_out = o3.Irreps(irreps_out)
    target = target.detach().cpu().double()
    require_width("the target", target, irreps_out)
    (out,) = outputs_of(model, data, [])[:1]
    if out.shape != target.shape:
        raise ValueError(f"the output has shape {list(out.shape)}, the target {list(target.shape)}")
    rotations, permutations = symmetry.rotations, symmetry.permutations
    if data.x is not None:
        x = data.x.detach().cpu().double()
        irreps = o3.Irreps(f"{x.shape[1]}x0e" if irreps_in is None else irreps_in)
        require_width("data.x", x, irreps)
        matrices = torch.from_numpy(irreps_matrices(irreps, rotations.numpy()))
        changes = (torch.einsum("gde,ne->gnd", matrices, x) - x[permutations]).abs().amax((1, 2))
        kept = changes <= 1e-4 * x.abs().max()
        rotations, permutations = rotations[kept], permutations[kept]
    matrices = torch.from_numpy(irreps_matrices(irreps_out, rotations.numpy()))
    return float((out - target).square().sum() - curie_residual(target, matrices, permutations))
