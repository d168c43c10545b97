"""Checks that users run on their own models and sets: each returns how far a property is from being true.

They are to be run on trained models as well: training can bring out what the initial weights hide. What to expect of
a model that passes is round-off: about 1e-13 in float64 and 1e-5 in float32, more for deep networks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from e3nn import o3
from scipy.stats import chisquare
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.breaking import read_target, target_stabilizer
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.diagnosis import kept_symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices
from pyg_symbreak.losses import curie_residual

__all__ = [
    "RelaxedEquivariance",
    "curie_gap",
    "equality_p_value",
    "equivariance_error",
    "pairing_error",
    "relaxed_equivariance_error",
    "set_equivariance_error",
    "stabilizer_of_output",
    "uniformity_p_value",
]

Model = Callable[[Data], Tensor | tuple[Tensor, Tensor]]


def equivariance_error(
    model: Model,
    data: Data,
    irreps_out: str | o3.Irreps | None,
    irreps_breaking: str | o3.Irreps | None = None,
    irreps_in: str | o3.Irreps | None = None,
    irreps_graph_out: str | o3.Irreps | None = None,
    *,
    parent: str = "O3",
    trials: int = 4,
    generator: torch.Generator | None = None,
) -> float:
    r"""How far a model is from equivariant, jointly in the structure x and the symmetry breaking object b.

    .. math:: \max_g \frac{\lVert f(gx, gb) - g f(x, b) \rVert_\infty}{\lVert f(x, b) \rVert_\infty}

    over random g: a rotation, proper or improper, a translation and a new order of the nodes. ``pos``, the rows of
    ``cell``, ``x`` and ``breaking`` are rotated; the rows of all node attributes are reordered and ``edge_index`` is
    renumbered; ``edge_shift`` and other edge attributes stay. The output does not follow the translation.

    Parameters
    ----------
    model : callable
        From a Data to the node output [N, D]; to the graph output [1, D]; or to the pair of them. If it is a module,
        the data are taken in the dtype of its parameters.
    data : Data
        One structure, not a batch, on which the output does not vanish: of an output that is zero up to round-off the
        relative error says nothing.
    irreps_out : str or e3nn Irreps, optional
        Of the node output; None if there is none.
    irreps_breaking : str or e3nn Irreps, optional
        Of ``data.breaking``, [1, dim] or [N, dim].
    irreps_in : str or e3nn Irreps, optional
        Of ``data.x``. Default: it is invariant.
    irreps_graph_out : str or e3nn Irreps, optional
        Of the graph output.
    parent : "O3" or "SO3"
        The group that the model should be equivariant under.
    trials : int
        Number of rotations; with "O3" each is tried with and without an inversion.
    generator : torch.Generator, optional
        Default: torch's global one.

    Returns
    -------
    float
        Of two outputs, the larger error.

    Raises
    ------
    ValueError
        The irreps do not fit the data or the output, or an output is zero.

    Examples
    --------
    >>> from pyg_symbreak.datasets import TriangularPrism
    >>> prism = TriangularPrism()[0]
    >>> equivariance_error(lambda data: data.pos - data.pos.mean(0), prism, "1o") < 1e-5
    True
    >>> equivariance_error(lambda data: data.pos.abs(), prism, "1o") < 1e-5
    False
    """
    data = _in_dtype_of(model, data)
    if data.get("breaking") is not None and irreps_breaking is None:
        raise ValueError("the data have an object breaking, which is to move with them: give irreps_breaking")
    irreps = _input_irreps(data, irreps_in, irreps_breaking)
    wanted = [(True, irreps_out), (False, irreps_graph_out)]
    kinds = [(nodes, o3.Irreps(ir)) for nodes, ir in wanted if ir is not None]
    outputs = _outputs(model, data, kinds)
    error = 0.0
    for rotation, shift, order in _motions(data, parent, trials, generator):
        after = _outputs(model, _moved(data, rotation, shift, order, irreps), kinds)
        for (nodes, ir), out, out_moved in zip(kinds, outputs, after, strict=True):
            difference = (out_moved[order] if nodes else out_moved) - _rotated(out, ir, rotation)
            error = max(error, _relative(difference, out))
    return error


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
    moving = _input_irreps(data, irreps_in, None)
    objects = _objects(objects_of, data, irreps)
    error = 0.0
    for rotation, shift, order in _motions(data, parent, trials, generator):
        wanted = _rotated(objects, irreps, rotation)
        found = _objects(objects_of, _moved(data, rotation, shift, order, moving), irreps)
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
        symmetry = _structure_symmetry(one, symprec)
        first = attach(copy.copy(one))
        if "breaking_irreps" not in first:
            raise ValueError("attach gives no breaking_irreps: how its objects transform")
        irreps = o3.Irreps(first.breaking_irreps)
        moving = _input_irreps(one, irreps_in, None) | _target_irreps(one, target)
        alike = _images_of(first, irreps, symmetry, one, target, parent == "SO3")
        for rotation, shift, order in _motions(one, parent, trials, generator):
            found = _finite(attach(_moved(one, rotation, shift, order, moving)).breaking)
            if len(found) == one.num_nodes:
                found = found[order]
            error = max(error, float((_rotated(alike, irreps, rotation) - found).abs().amax((1, 2)).min()))
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
    rows = _finite(data.breaking)
    if symmetry.continuous is not None:
        return rows[None]
    _, mask = target_stabilizer(symmetry, read_target(plain, target), symmetry.symprec, rotations_only)
    matrices = torch.from_numpy(irreps_matrices(irreps, symmetry.rotations[mask].numpy()))
    moved = rows @ matrices.mT
    if len(rows) == plain.num_nodes:
        moved = torch.zeros_like(moved).scatter(1, symmetry.permutations[mask][:, :, None].expand_as(moved), moved)
    return moved


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
    data = _in_dtype_of(model, data)
    (vectors,) = _outputs(model, data, [])[:1]
    if vectors.dim() != 2 or vectors.shape[0] not in (1, data.num_nodes) or vectors.shape[1] != 3:
        raise ValueError(f"the output has shape {list(vectors.shape)}; vectors are [{data.num_nodes}, 3] or [1, 3]")
    symmetry = _structure_symmetry(data, symprec)
    longest = float(vectors.norm(dim=1).max())
    return kept_symmetry(symmetry, vectors.expand(data.num_nodes, 3), tolerance=tolerance * longest)


class RelaxedEquivariance(NamedTuple):
    """What :func:`relaxed_equivariance_error` returns, relative to the largest component of f(x).

    Attributes
    ----------
    error : float
        Zero if f is relaxed equivariant at x.
    broken : float
        By how much f breaks the symmetry of x; zero if f(x) has all of it, as the output of an equivariant f does.
    """

    error: float
    broken: float


def relaxed_equivariance_error(
    f: Callable[[Any], Tensor],
    x: Any,
    elements: Iterable[Any],
    stabilizer: Iterable[Any],
    act_in: Callable[[Any, Any], Any] = torch.matmul,
    act_out: Callable[[Any, Tensor], Tensor] = torch.matmul,
) -> RelaxedEquivariance:
    r"""How far a function is from relaxed equivariant at an input, and how much of its symmetry it breaks.

    f is relaxed equivariant if for each g there is an s in Stab(x) with :math:`f(gx) = g s f(x)` (S.-O. Kaba and
    S. Ravanbakhsh, "Symmetry Breaking and Equivariant Neural Networks", arXiv 2312.09016). Equivariant functions are;
    others may besides give an answer less symmetric than x. The two numbers returned are

    .. math::
        \max_g \min_{s \in \mathrm{Stab}(x)} \lVert f(gx) - g s f(x) \rVert_\infty, \qquad
        \max_{s \in \mathrm{Stab}(x)} \lVert f(x) - s f(x) \rVert_\infty,

    both over :math:`\lVert f(x) \rVert_\infty`. A function composed of relaxed equivariant ones need not be one, so
    check the whole and not its layers, at inputs with and without symmetry.

    Parameters
    ----------
    f : callable
        From inputs to Tensors.
    x : Tensor or any type that f and ``act_in`` take
    elements : iterable
        The elements g to try: all of a finite group, or some.
    stabilizer : iterable
        All elements that leave x as it is.
    act_in : callable
        ``act_in(g, x)`` is g·x. Default: elements are matrices.
    act_out : callable
        ``act_out(g, y)`` is g·y.

    Returns
    -------
    RelaxedEquivariance

    Raises
    ------
    ValueError
        An element of ``stabilizer`` moves x (checked where x is a Tensor), or f(x) is zero.

    Examples
    --------
    Choosing one of the largest components breaks ties, and is relaxed equivariant under cyclic permutations:

    >>> first_largest = lambda x: torch.nn.functional.one_hot(x.argmax(), 4).double()
    >>> turns = [torch.roll(torch.eye(4).double(), k, 0) for k in range(4)]
    >>> x = torch.tensor([1.0, 0.0, 1.0, 0.0]).double()
    >>> relaxed_equivariance_error(first_largest, x, turns, turns[::2])
    RelaxedEquivariance(error=0.0, broken=1.0)

    Choosing the first component is not:

    >>> relaxed_equivariance_error(lambda x: torch.tensor([1.0, 0, 0, 0]).double(), x, turns, turns[::2]).error
    1.0
    """
    stabilizer = list(stabilizer)
    if isinstance(x, Tensor):
        for s in stabilizer:
            if (act_in(s, x) - x).abs().max() > 1e-4 * x.abs().max():
                raise ValueError(f"stabilizer must hold the elements that leave x as it is; this one does not: {s}")
    y = f(x)
    images = [act_out(s, y) for s in stabilizer]
    error = 0.0
    for g in elements:
        found = f(act_in(g, x))
        error = max(error, min(_relative(found - act_out(g, image), y) for image in images))
    return RelaxedEquivariance(error, max(_relative(image - y, y) for image in images))


def uniformity_p_value(draws: Tensor, answers: Tensor, tolerance: float = 1e-6) -> float:
    r"""Whether draws are uniform over a finite set of answers: Pearson's χ² test.

    What an equivariant f makes of a symmetric input x and an object b drawn uniformly from an ideal set is uniform over
    the orbit :math:`S f(x, b)` of the symmetry S of x.

    Parameters
    ----------
    draws : Tensor [n, ...]
        Independent draws; five for each answer at least.
    answers : Tensor [m, ...]
        The distinct answers.
    tolerance : float
        Largest component of the difference between a draw and its answer.

    Returns
    -------
    float
        The p-value: if the draws are uniform, the probability of counts at least as uneven. 0 if some draw is no
        answer.

    Raises
    ------
    ValueError
        The shapes differ, two answers are equal, or there are too few draws.

    Examples
    --------
    >>> die = torch.randint(6, (6000, 1), generator=torch.Generator().manual_seed(0))
    >>> uniformity_p_value(die, torch.arange(6)[:, None]) > 0.01
    True
    >>> uniformity_p_value(die.clamp(max=4), torch.arange(6)[:, None])
    0.0
    """
    if draws.shape[1:] != answers.shape[1:]:
        raise ValueError(f"draws have shape {list(draws.shape[1:])}, answers {list(answers.shape[1:])}")
    if len(draws) < 5 * len(answers):
        raise ValueError(f"{len(draws)} draws are too few for {len(answers)} answers: take at least five for each")
    answers, draws = _finite(answers).flatten(1), _finite(draws).flatten(1)
    if len(answers) > 1 and torch.pdist(answers, p=torch.inf).min() <= 2 * tolerance:
        raise ValueError("two answers are equal: they must be distinct")
    nearest = torch.cdist(draws, answers, p=torch.inf).min(1)
    if nearest.values.max() > tolerance:
        return 0.0
    return float(chisquare(torch.bincount(nearest.indices, minlength=len(answers)).numpy()).pvalue)


def equality_p_value(
    draws: Tensor, others: Tensor, permutations: int = 999, generator: torch.Generator | None = None
) -> float:
    r"""Whether two samples may come from one distribution: a permutation test of their energy distance.

    A model that breaks symmetry at random is equivariant in distribution if f(gx) has the distribution of g f(x): give
    draws of either. The energy distance (G. J. Székely and M. L. Rizzo, J. Stat. Plan. Inference 143, 1249 (2013))

    .. math:: 2\,\mathbb{E}\lVert a - b \rVert - \mathbb{E}\lVert a - a' \rVert - \mathbb{E}\lVert b - b' \rVert

    vanishes for equal distributions only. It is compared with its values after random exchanges of the draws.

    Parameters
    ----------
    draws, others : Tensor [n, ...], [m, ...]
        Independent draws. All distances between them are kept in memory.
    permutations : int
        Number of random exchanges; the p-value is never below the inverse of one more.
    generator : torch.Generator, optional
        Default: torch's global one.

    Returns
    -------
    float
        The p-value: if the distributions are equal, the probability of a distance at least as large.

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------
    >>> draws = torch.randn(3, 200, 2, generator=torch.Generator().manual_seed(0))
    >>> equality_p_value(draws[0], draws[1], generator=torch.Generator().manual_seed(0)) > 0.01
    True
    >>> equality_p_value(draws[0], 1.5 * draws[2], generator=torch.Generator().manual_seed(0))
    0.001
    """
    if draws.shape[1:] != others.shape[1:]:
        raise ValueError(f"the draws have shapes {list(draws.shape[1:])} and {list(others.shape[1:])}")
    pooled = torch.cat([_finite(draws).flatten(1), _finite(others).flatten(1)])
    apart = torch.cdist(pooled, pooled)
    labels = torch.full((len(pooled),), -1 / len(others), dtype=torch.float64)
    labels[: len(draws)] = 1 / len(draws)
    exchanged = [labels[torch.randperm(len(labels), generator=generator)] for _ in range(permutations)]
    signs = torch.stack([labels, *exchanged])
    distances = -((signs @ apart) * signs).sum(1)
    return float((distances >= distances[0] - 1e-12 * apart.max()).double().mean())


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
    data = copy.copy(_in_dtype_of(model, data))
    if data.get("breaking") is not None:
        data.breaking = torch.zeros_like(data.breaking)
    symmetry = _structure_symmetry(data, symprec)
    if symmetry.continuous is not None:
        raise ValueError(f"{symmetry.group.schoenflies} is continuous: take a structure that is not linear")
    irreps_out = o3.Irreps(irreps_out)
    target = target.detach().cpu().double()
    _require_width("the target", target, irreps_out)
    (out,) = _outputs(model, data, [])[:1]
    if out.shape != target.shape:
        raise ValueError(f"the output has shape {list(out.shape)}, the target {list(target.shape)}")
    rotations, permutations = symmetry.rotations, symmetry.permutations
    if data.x is not None:
        x = data.x.detach().cpu().double()
        irreps = o3.Irreps(f"{x.shape[1]}x0e" if irreps_in is None else irreps_in)
        _require_width("data.x", x, irreps)
        matrices = torch.from_numpy(irreps_matrices(irreps, rotations.numpy()))
        changes = (torch.einsum("gde,ne->gnd", matrices, x) - x[permutations]).abs().amax((1, 2))
        kept = changes <= 1e-4 * x.abs().max()
        rotations, permutations = rotations[kept], permutations[kept]
    matrices = torch.from_numpy(irreps_matrices(irreps_out, rotations.numpy()))
    return float((out - target).square().sum() - curie_residual(target, matrices, permutations))


# ---------------------------------------------------------------------- the action on structures


def _motions(
    data: Data, parent: str, trials: int, generator: torch.Generator | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Random rotations [3, 3], translations [3], and orders [N]: node i becomes node order[i]."""
    if parent not in ("O3", "SO3"):
        raise ValueError(f"parent must be 'O3' or 'SO3', got {parent!r}")
    for _ in range(trials):
        for sign in (1, -1) if parent == "O3" else (1,):
            q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
            q = q * r.diagonal().sign()  # uniformly distributed
            shift = torch.randn(3, generator=generator, dtype=torch.float64)
            assert data.num_nodes is not None
            yield sign * q * torch.linalg.det(q).sign(), shift, torch.randperm(data.num_nodes, generator=generator)


def _moved(data: Data, rotation: Tensor, shift: Tensor, order: Tensor, irreps: dict[str, o3.Irreps]) -> Data:
    """The structure rotated, translated and with its nodes in another order."""
    out = copy.copy(data)
    for key, value in irreps.items():
        rows = _rotated(data[key], value, rotation)
        if rows.dim() == 3:  # a matrix for the structure
            rows = _rotated(rows.mT, value, rotation)
        out[key] = rows.to(data[key])
    out.pos = (_rotated(data.pos, o3.Irreps("1o"), rotation) + shift).to(data.pos)
    if data.get("cell") is not None:
        out.cell = _rotated(data.cell, o3.Irreps("1o"), rotation).to(data.cell)
    for key, value in out.to_dict().items():
        if isinstance(value, Tensor) and key not in ("edge_index", "cell", "pbc") and data.is_node_attr(key):
            out[key] = value[order.argsort().to(value.device)]
    if data.edge_index is not None:
        out.edge_index = order.to(data.edge_index)[data.edge_index]
    return out


def _rotated(values: Tensor, irreps: o3.Irreps, rotation: Tensor) -> Tensor:
    """Vectors [..., dim] of irreps after a rotation, in float64 on the CPU."""
    matrix = torch.from_numpy(irreps_matrices(irreps, rotation[None].numpy()))[0]
    return values.detach().cpu().double() @ matrix.T


def _input_irreps(
    data: Data, irreps_in: str | o3.Irreps | None, irreps_breaking: str | o3.Irreps | None
) -> dict[str, o3.Irreps]:
    """Which attributes besides positions and cell are rotated, and how."""
    found: dict[str, o3.Irreps] = {}
    for key, name, irreps in (("x", "irreps_in", irreps_in), ("breaking", "irreps_breaking", irreps_breaking)):
        value = data.get(key)
        if irreps is not None:
            if value is None:
                raise ValueError(f"{name} is given, but the data have no {key}")
            found[key] = o3.Irreps(irreps)
            _require_width(f"data.{key}", value, found[key])
    return found


def _require_width(name: str, values: Tensor, irreps: o3.Irreps) -> None:
    if values.dim() < 2 or values.shape[-1] != irreps.dim:
        raise ValueError(f"{name} has shape {list(values.shape)}; its last dimension must be {irreps.dim}, as {irreps}")


# ---------------------------------------------------------------------- outputs


def _in_dtype_of(model: Model, data: Data) -> Data:
    """The data, with floating point numbers as the parameters of a module."""
    if not isinstance(model, torch.nn.Module):
        return data
    dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
    if not dtypes:
        return data
    return copy.copy(data).apply(lambda t: t.to(dtypes[0]) if t.is_floating_point() else t)


def _outputs(model: Model, data: Data, kinds: list[tuple[bool, o3.Irreps]]) -> list[Tensor]:
    """The outputs of a model in float64 on the CPU, one for each kind (on nodes or not, irreps) if these are given."""
    out = model(copy.copy(data))
    outputs = [_finite(o) for o in (out if isinstance(out, tuple) else (out,))]
    if kinds and len(outputs) != len(kinds):
        raise ValueError(
            f"the model gives {len(outputs)} outputs, irreps are given for {len(kinds)}: irreps_out is for the nodes, "
            "irreps_graph_out for the graph"
        )
    for (nodes, irreps), o in zip(kinds, outputs, strict=False):
        shape = [data.num_nodes if nodes else 1, irreps.dim]
        if list(o.shape) != shape:
            raise ValueError(f"the output has shape {list(o.shape)}; {irreps} on the {_PLACES[nodes]} is {shape}")
    return outputs


_PLACES = {True: "nodes", False: "graph"}


def _objects(objects_of: Callable[[Data], Tensor | Data], data: Data, irreps: o3.Irreps) -> Tensor:
    """All objects of the set of a structure, in float64 on the CPU."""
    found = objects_of(copy.copy(data))
    objects = _finite(found.breaking if isinstance(found, Data) else found)
    _require_width("the set of objects", objects, irreps)
    return objects


def _structure_symmetry(data: Data, symprec: float) -> Symmetry:
    symmetry = detect_symmetry(data, symprec)
    if not isinstance(symmetry, Symmetry):
        raise ValueError("data has no positions: set data.pos [N, 3] in Å")
    return symmetry


def _relative(difference: Tensor, output: Tensor) -> float:
    """Largest component of an error over the largest of the output."""
    size = float(_finite(output).abs().max())
    if size == 0:
        raise ValueError("the output is zero, which says nothing of the model: take data on which it is not")
    return float(_finite(difference).abs().max()) / size


def _finite(output: Tensor) -> Tensor:
    """The output in float64 on the CPU, if all of it is finite."""
    output = output.detach().cpu().double()
    if not output.isfinite().all():
        raise ValueError("the output is not finite")
    return output
