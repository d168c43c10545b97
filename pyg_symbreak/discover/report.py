"""Where a trained model breaks the symmetry that it was meant to have, and the cure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from e3nn import o3
from scipy.linalg import expm
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.groups import LieGroup, PointGroup, irreps_matrices, wigner_d

from .images import Images, back, elements_of, moved

__all__ = ["SymmetryReport", "rotation_quadrature", "symmetrized", "symmetry_report"]

Model = Callable[[Data], Tensor]
REACH = 0.6
"""How far atoms are moved in search of jumps, Å."""
STEPS = 100
"""Steps on the way."""


@dataclass(frozen=True)
class SymmetryReport:
    """What :func:`symmetry_report` found. All errors are root mean squares over the spread of the output.

    Attributes
    ----------
    faults : list of str
        What is wrong, in words; empty where nothing is.
    permutation, translation, rotation, inversion : float
        Errors under random orders of the nodes, shifts, rotations of the group, and its improper elements.
    generators : LieGroup
        The motions, turns and shifts on (x, 1), that the model is equivariant under: six where nothing is broken.
    irreps : dict of str to float
        Of the output turned back, as a function on O(3), the part in each irrep: "0e" is equivariant, all else is
        error.
    beyond : float
        The part in irreps above the degree of the quadrature.
    elements : dict of str to float
        Errors under the 48 elements of O_h in the axes of the model, by name.
    own : dict of str to dict
        For each structure that has symmetry, by number and point group, the error under each of its elements: nodes
        that are alike get outputs that are not.
    jump : float
        The largest change of the output at one place.
    """

    faults: list[str]
    permutation: float
    translation: float
    rotation: float
    inversion: float
    generators: LieGroup
    irreps: dict[str, float]
    beyond: float
    elements: dict[str, float] = field(repr=False)
    own: dict[str, dict[str, float]]
    jump: float

    @property
    def variance(self) -> float:
        """The variance of the output turned back over O(3), over the squared spread: the squares of all errors."""
        return sum(part**2 for name, part in self.irreps.items() if name != "0e") + self.beyond**2

    def table(self) -> list[tuple[str, float]]:
        """The rows of a table: what was tried, and its error."""
        rows = [("order of the nodes", self.permutation), ("translations", self.translation)]
        rows += [("rotations", self.rotation), ("inversion", self.inversion), ("jumps", self.jump)]
        rows += [("deviation over O(3)", self.variance**0.5)]
        rows += [(f"error in {name}", value) for name, value in self.irreps.items() if name != "0e"]
        rows += [("error in higher irreps", self.beyond)]
        for structure, errors in self.own.items():
            worst = max(errors, key=lambda name: errors[name])
            rows.append((f"own symmetry {structure}, {worst}", errors[worst]))
        return rows


def rotation_quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and weights that integrate products of two Wigner matrices up to a degree exactly over SO(3).

    Equal steps in the first and third Euler angle and Gauss–Legendre nodes in the cosine of the second.

    Parameters
    ----------
    degree : int
        Largest l of either factor.

    Returns
    -------
    rotations : float64 array [q, 3, 3]
    weights : float64 array [q]
        They sum to one.

    Examples
    --------
    >>> rotations, weights = rotation_quadrature(2)
    >>> trace = np.trace(rotations, axis1=1, axis2=2)  # the character of l = 1, whose mean square is one
    >>> len(weights), bool(abs(weights @ trace) < 1e-12), bool(abs(weights @ trace**2 - 1) < 1e-12)
    (75, True, True)
    """
    cosines, weights = np.polynomial.legendre.leggauss(degree + 1)
    turns = 2 * np.pi * np.arange(2 * degree + 1) / (2 * degree + 1)
    angles = np.array(list(itertools.product(turns, np.arccos(cosines), turns)))
    each = np.broadcast_to(weights[None, :, None] / 2 / len(turns) ** 2, (len(turns), len(cosines), len(turns)))
    return Rotation.from_euler("ZYZ", angles).as_matrix(), each.ravel().copy()


def symmetrized(
    model: Model, irreps_out: str | o3.Irreps, degree: int = 3, features: Mapping[str, str] | None = None
) -> nn.Module:
    r"""A model averaged over rotations, :math:`\sum_i w_i D(R_i)^{-1} f(R_i x)`, and over the inversion.

    Equivariant up to the part of the error that lies in irreps above the degree of the quadrature; with n points each
    call costs 2n of the model.

    Parameters
    ----------
    model : callable
    irreps_out : str or e3nn Irreps
    degree : int
        See :func:`rotation_quadrature`.
    features : mapping of str to irreps
        Node attributes that turn with the structure, besides ``pos`` and ``cell``.

    Examples
    --------
    >>> crooked = lambda data: data.pos * torch.tensor([1.0, 1.0, 2.0])
    >>> data = Data(pos=torch.tensor([[1.0, 2.0, 3.0]]))
    >>> symmetrized(crooked, "1o")(data)  # the scalings 1, 1, 2 are averaged
    tensor([[1.3333, 2.6667, 4.0000]])
    """
    return _Symmetrized(model, o3.Irreps(irreps_out), degree, dict(features or {}))


class _Symmetrized(nn.Module):
    def __init__(self, model: Model, irreps: o3.Irreps, degree: int, features: dict[str, str]):
        super().__init__()
        self.model, self.irreps, self.features = model, irreps, features
        rotations, weights = rotation_quadrature(degree)
        self.elements = np.concatenate([rotations, -rotations])
        self.weights = np.concatenate([weights, weights]) / 2

    def forward(self, data: Data) -> Tensor:
        total: Tensor | float = 0.0
        for element, weight in zip(self.elements, self.weights, strict=True):
            total = total + weight * back(self.model(moved(data, element, self.features)), self.irreps, element)
        assert isinstance(total, Tensor)
        return total


def symmetry_report(
    model: Model,
    dataset: Iterable[Data],
    irreps_out: str | o3.Irreps,
    features: Mapping[str, str] | None = None,
    group: PointGroup | None = None,
    degree: int = 3,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> SymmetryReport:
    r"""Which symmetry a model of structures has, where it breaks it, and what that looks like.

    The output turned back, :math:`F(g) = D(g)^{-1} f(gx)`, is a constant of an equivariant model. It is projected on
    the irreps of O(3) by a quadrature that is exact up to a degree. Rotations, the inversion, the elements of O_h,
    those of the structures' own point groups, translations and orders of the nodes are tried one by one, and atoms are
    moved in small steps to see whether the output jumps. What the errors have in common is named.

    Parameters
    ----------
    model : callable
        Takes a Data with ``pos``, and if it needs edges finds them itself; returns a vector of ``irreps_out`` for
        each node, or for the structure.
    dataset : iterable of Data
        A few structures, without symmetry or with.
    irreps_out : str or e3nn Irreps
        How the output is meant to transform.
    features : mapping of str to irreps, optional
        Attributes, besides ``pos``, that turn with the structure.
    group : PointGroup, optional
        What the model is meant to be equivariant under, beside translations: O(3) unless given, SO(3), or the finite
        group of a group convolution.
    degree : int
        Largest l of the projection.
    tolerance : float
        Error that counts as none.
    seed : int

    Raises
    ------
    ValueError
        The output is not a vector of ``irreps_out``, or the same for all structures.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from pyg_symbreak.structures import from_ase
    >>> water = from_ase(molecule("H2O"), dtype=torch.float64)
    >>> symmetry_report(lambda data: data.pos - data.pos.mean(0), [water], "1o").faults
    []
    >>> symmetry_report(lambda data: data.pos - data.pos.mean(0), [water], "1e").faults
    ['wrong parity: the output transforms as 1x1o, not as 1x1e']
    """
    structures = list(dataset)
    if not structures:
        raise ValueError("the data set is empty: give a few structures")
    group = PointGroup("O3") if group is None else group
    probe = _Probe(model, structures, o3.Irreps(irreps_out), dict(features or {}))
    rng = np.random.default_rng(seed)
    octahedral = PointGroup("Oh")
    elements = dict(zip(octahedral.element_names, map(probe.error, octahedral.matrices), strict=True))
    irreps, beyond = probe.projections(degree)
    jump, cutoff = probe.largest_jump(rng, tolerance)
    tried = elements_of(group, seed)
    is_proper = np.linalg.det(tried) > 0
    report = SymmetryReport(
        faults=[],
        permutation=max(probe.permutation_error(rng) for _ in range(3)),
        translation=max(probe.error(np.eye(3), rng.normal(size=3)) for _ in range(3)),
        rotation=max(map(probe.error, tried[is_proper])),
        inversion=max(map(probe.error, tried[~is_proper]), default=0.0),
        generators=probe.generators(tolerance),
        irreps=irreps,
        beyond=beyond,
        elements=elements,
        own=probe.own_errors(),
        jump=jump,
    )
    report.faults.extend(_named(report, probe, tried[~is_proper], cutoff, tolerance))
    return report


class _Probe(Images):
    """A model at structures and at their images."""

    def permutation_error(self, rng: np.random.Generator) -> float:
        differences = []
        for data, value in zip(self.structures, self.values, strict=True):
            order = torch.from_numpy(rng.permutation(int(data.num_nodes)))
            there = self.at(data.subgraph(order))
            differences.append(there - (value[order] if len(value) == data.num_nodes else value))
        return self.relative(differences)

    def own_errors(self) -> dict[str, dict[str, float]]:
        """For each symmetric structure, the error under each of its own elements that keeps its features."""
        found = {}
        for number, (data, value) in enumerate(zip(self.structures, self.values, strict=True)):
            symmetry = detect_symmetry(data)
            if not isinstance(symmetry, Symmetry):
                continue
            group = symmetry.group
            names = [group.element_names[i] for i in symmetry.elements] if group.is_finite else itertools.repeat("ends")
            operations = list(zip(symmetry.rotations.numpy(), symmetry.permutations, names, strict=False))
            if symmetry.kernel is not None:  # of atoms on a line, moves none of them
                still = torch.arange(len(data.pos))
                operations += [(g, still, "about the axis") for g in elements_of(symmetry.kernel, 0)]
            if len(operations) == 1:
                continue
            errors: dict[str, float] = {}
            for element, image, name in operations:
                given = [(value, self.irreps), *((data[key], o3.Irreps(i)) for key, i in self.features.items())]
                misses = [back(v[image] if len(v) == data.num_nodes else v, i, element) - v for v, i in given]
                if all(miss.abs().max() < 1e-3 for miss in misses[1:]):
                    errors[name] = max(self.relative([misses[0]]), errors.get(name, 0.0))
            found[f"{number} ({group.schoenflies})"] = errors
        return found

    def generators(self, tolerance: float) -> LieGroup:
        """The null space of the rates at which the output turned back changes along turns (rad) and shifts (Å)."""
        motions = LieGroup.euclidean(3)
        step = float(torch.finfo(self.structures[0].pos.dtype).eps) ** 0.25
        rates = []
        for t in motions.generators:
            there, before = (expm(sign * step * t) for sign in (1, -1))
            ends = (torch.cat(self.turned_back(m[:3, :3], m[:3, 3])) for m in (there, before))
            rates.append((next(ends) - next(ends)).flatten().numpy() / (2 * step * self.spread))
        form = np.array(rates) @ np.array(rates).T / len(rates[0])
        values, vectors = np.linalg.eigh(form)
        kept = vectors[:, values < tolerance**2].T
        return LieGroup(np.einsum("ka,aij->kij", kept, motions.generators))

    def projections(self, degree: int) -> tuple[dict[str, float], float]:
        """The root mean square of the part of F in each irrep of O(3) up to a degree, and of the rest."""
        rotations, weights = rotation_quadrature(degree)
        proper = torch.stack([torch.cat(self.turned_back(r)) for r in rotations]).flatten(1).numpy()
        improper = torch.stack([torch.cat(self.turned_back(-r)) for r in rotations]).flatten(1).numpy()
        matrices = wigner_d(degree, rotations)
        parts: dict[str, float] = {}
        scale = self.spread**2 * proper.shape[1]
        left = 0.0
        for parity, f in (("e", (proper + improper) / 2), ("o", (proper - improper) / 2)):
            left += float(weights @ (f**2).sum(1)) / scale
            for l, d in enumerate(matrices):
                coefficients = np.einsum("q,qmn,qf->mnf", weights, d, f)
                power = (2 * l + 1) * float((coefficients**2).sum()) / scale
                parts[f"{l}{parity}"] = power**0.5
                left -= power
        return parts, max(left, 0.0) ** 0.5

    def largest_jump(self, rng: np.random.Generator, tolerance: float) -> tuple[float, float | None]:
        """The largest jump on some ways, and the distance at which all jumps have a pair of atoms, if there is one."""
        largest, distances = 0.0, []
        for data in self.structures:
            for _ in range(2):
                way = rng.normal(size=tuple(data.pos.shape))
                way *= REACH / np.linalg.norm(way, axis=1).max()
                for size, at in self._jumps(data, way, tolerance):
                    largest = max(largest, size)
                    distances.append(torch.pdist(moved(data.pos.double(), np.eye(3), {}, at * way)))
        common = [r for r in distances[0] if all((d - r).abs().min() < 1e-4 for d in distances)] if distances else []
        return largest, float(common[0]) if len(common) == 1 else None

    def _jumps(self, data: Data, way: np.ndarray, tolerance: float) -> list[tuple[float, float]]:
        def at(t: float) -> Tensor:
            return self.at(moved(data, np.eye(3), {}, t * way))

        times = np.linspace(0, 1, STEPS + 1)
        values = [at(t) for t in times]
        changes = np.array([float((b - a).norm()) for a, b in itertools.pairwise(values)])
        found = []
        for step in np.flatnonzero(changes > max(4 * np.median(changes), tolerance * self.spread)):
            low, high, first, last = times[step], times[step + 1], values[step], values[step + 1]
            while high - low > 1e-6:
                middle = (low + high) / 2
                value = at(middle)
                if (value - first).norm() > (last - value).norm():
                    high, last = middle, value
                else:
                    low, first = middle, value
            size = float((last - first).norm()) / self.spread
            if size > tolerance:
                found.append((size, (low + high) / 2))
        return found

    def basis(self, turns: np.ndarray) -> tuple[np.ndarray, float]:
        """Q, invertible and of unit size, for which Q f is nearest to equivariant; and the error of that."""
        dim = self.irreps.dim
        form = torch.zeros(dim * dim, dim * dim, dtype=torch.float64)
        here, count = torch.cat(self.values), 0
        for g in turns:
            d = torch.from_numpy(irreps_matrices(self.irreps, g[None])[0])
            there = torch.cat([back(image, self.irreps, g.T) for image in self.turned_back(g)])  # f(gx)
            # (Q f(gx) - D Q f(x))_i, linear in Q_kl
            rows = torch.einsum("ik,nl->nikl", torch.eye(dim, dtype=torch.float64), there)
            rows = (rows - torch.einsum("ik,nl->nikl", d, here)).reshape(-1, dim * dim)
            form += rows.T @ rows
            count += len(rows)
        values, vectors = torch.linalg.eigh(form)
        q = vectors[:, 0].view(dim, dim).numpy() * dim**0.5
        return q, float((values[0].clamp(min=0) * dim / count).sqrt()) / self.spread


def _named(
    report: SymmetryReport, probe: _Probe, improper: np.ndarray, cutoff: float | None, tolerance: float
) -> list[str]:
    """What is wrong, in words."""
    faults = []
    if report.permutation > tolerance:
        faults.append("the output depends on the order of the nodes")
    if report.translation > tolerance:
        faults.append("the output depends on where the structure lies: use differences of positions")
    if report.jump > tolerance:
        where = "" if cutoff is None else f" where two atoms are {cutoff:.3f} Å apart"
        cut = ": a cutoff without an envelope that goes to zero"
        kink = ": neighbours listed by number or by several cutoffs, or the gradient of an activation with a kink"
        faults.append(f"the output jumps{where}{kink if cutoff is None else cut}")
    if report.rotation > tolerance:
        faults.append(_rotation_fault(report, probe, tolerance))
    elif report.inversion > tolerance:
        flipped = o3.Irreps([(mul, (ir.l, -ir.p)) for mul, ir in probe.irreps])
        negated = probe.relative(a + b for a, b in zip(probe.turned_back(improper[0]), probe.values, strict=True))
        if negated < tolerance:
            faults.append(f"wrong parity: the output transforms as {flipped}, not as {probe.irreps}")
        else:
            faults.append("the output tells mirror images apart in a way that its irreps do not: parities are mixed")
    return faults


def _rotation_fault(report: SymmetryReport, probe: _Probe, tolerance: float) -> str:
    q, error = probe.basis(Rotation.random(8, random_state=0).as_matrix())
    if error < tolerance and np.linalg.cond(q) < 100:
        if probe.irreps == o3.Irreps("1o") or probe.irreps == o3.Irreps("1e"):
            return f"the components of the output are in another order or direction: {_axes(np.linalg.inv(q))}"
        return "the components of the output are in another basis than e3nn's: a fixed matrix makes it equivariant"
    respected = {name for name, value in report.elements.items() if value <= tolerance}
    group = PointGroup("Oh")
    matrices = dict(zip(group.element_names, group.matrices, strict=True))
    for axis, name in enumerate("xyz"):
        if respected >= _commuting(matrices, np.diag(2 * np.eye(3)[axis] - 1)):
            return f"the {name} axis is treated unlike the other two in one place of the model: mirrored or scaled"
    if respected >= _commuting({n: m for n, m in matrices.items() if np.linalg.det(m) > 0}, np.roll(np.eye(3), 1, 0)):
        return "x, y and z are permuted in one place of the model: e3nn's harmonics of old are ordered y, z, x"
    turns = report.generators.generators[:, :3, :3]
    values, basis = np.linalg.svd(turns.reshape(-1, 9), full_matrices=False)[1:]
    if (values > 0.1).sum() == 1:
        axis = np.sqrt(2) * basis[0].reshape(3, 3)[[2, 0, 1], [1, 2, 0]]
        x, y, z = (axis * np.sign(axis[np.abs(axis).argmax()])).round(2) + 0.0
        return f"a direction of the laboratory, along ({x:.2f}, {y:.2f}, {z:.2f}), enters: only turns about it are kept"
    return "the output does not turn with the structure"


def _commuting(matrices: Mapping[str, np.ndarray], p: np.ndarray) -> set[str]:
    return {name for name, m in matrices.items() if np.allclose(m @ p, p @ m)}


def _axes(p: np.ndarray) -> str:
    """A matrix that is nearly a signed permutation, as the components that it makes of x, y, z."""
    p = p / np.abs(p).max()
    rows = []
    for row in p:
        largest = int(np.argmax(np.abs(row)))
        if np.abs(np.delete(row, largest)).max() > 0.05 or abs(abs(row[largest]) - 1) > 0.05:
            return "a fixed matrix turns them"
        rows.append(("-" if row[largest] < 0 else "") + "xyz"[largest])
    signs = sum(r.startswith("-") for r in rows)
    if signs > 1:  # Q and -Q are the same answer
        rows = [r[1:] if r.startswith("-") else f"-{r}" for r in rows]
    return f"({', '.join(rows)}) stand for (x, y, z)"
