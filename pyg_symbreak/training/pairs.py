"""Pairs of a symmetric structure and a less symmetric target, ready to train on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from e3nn import o3
from torch import Tensor
from torch.nn.functional import one_hot
from torch_geometric.data import Data

from pyg_symbreak.breaking import (
    GroupIndexed,
    InputIndexed,
    Objects,
    Target,
    largest_group,
    read_target,
    target_changes,
    target_stabilizer,
)
from pyg_symbreak.datasets import BaTiO3, JahnTeller, TriangularPrism
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.diagnosis import diagnose
from pyg_symbreak.groups import PointGroup, irreps_matrices
from pyg_symbreak.structures import from_ase, read_structure, strain_to_irreps
from pyg_symbreak.testing import pairing_error
from pyg_symbreak.training.config import Config
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList
from pyg_symbreak.transforms.add_symmetry_breaking import place

__all__ = ["Pair", "Pairs", "atom_features", "load_pairs", "pair_of"]

FAINT = 0.2
"""A group larger than K is told if it changes the target by less than this share of what S changes it by."""
SAMPLE = 5
"""Pairs that are turned, to see whether their objects turn with them."""
NOBLE_GASES = (2, 10, 18, 36, 54, 86, 118)


@dataclass(frozen=True, eq=False)
class Pair:
    """A structure, its target, and what the symmetry of the structure says of them.

    Attributes
    ----------
    data : Data
        What the network reads: ``x``, ``pos``, edges. Without object.
    name : str
    y : Tensor [N, 3]
        Displacements, Å; [N, 0] if the target is of the whole structure only.
    graph_y : Tensor [1, d]
        Target of the whole structure.
    group, keep : PointGroup
        S, and K, what the target keeps of it.
    images_y, images_graph_y : Tensor [n, N, 3], [n, d]
        The :math:`n = |S|/|K|` equally good targets, the target itself first.
    floor : float
        Curie residual of the displacements by atom, Å: the least root mean square error of an equivariant network
        that sees the structure alone. Of the target of the whole structure where there are no displacements.
    learnable : bool
        Whether the objects tell its equally good targets apart: those that differ by a translation have one object.
    residual : float
        By how much the operations of S miss, Å.
    warning : str
        Why the network cannot learn the pair, or may not learn what was meant; "" for nothing.
    objects : Tensor [m, D] or None
        The symmetry breaking objects; the first belongs to the target.
    reachable_y : Tensor [N, 3]
        The target, averaged over the translations of the cell: what one object of the whole structure can give.
    """

    data: Data
    name: str
    y: Tensor
    graph_y: Tensor
    group: PointGroup
    keep: PointGroup
    images_y: Tensor
    images_graph_y: Tensor
    floor: float
    residual: float
    warning: str
    learnable: bool
    objects: Tensor | None
    reachable_y: Tensor


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of a data set, and the irreps that a network for them needs."""

    training: list[Pair]
    held_out: list[Pair]
    irreps_in: str
    irreps_out: str
    irreps_graph_out: str
    irreps_breaking: str | None


def load_pairs(config: Config) -> Pairs:
    """The pairs that a configuration asks for, with their objects.

    Raises
    ------
    ValueError
        The data set is unknown or not made of pairs, ``held_out`` names what is not there or leaves nothing to train
        on, there is no finite set of objects for a pair, they keep more of the symmetry than the target does, or no
        pair can be learned.
    """
    graphs, irreps_in, irreps_graph, parent = _graphs(config)
    pairs = [_pair(data, irreps_graph, parent, config) for data in graphs]
    irreps = None
    if config.strategy == "noise":
        irreps = "1o"
    elif config.strategy != "none":
        pairs, irreps = _with_objects(pairs, config, parent, irreps_graph)
    names = _held_out(config, graphs)
    training = [pair for pair in pairs if pair.name not in names]
    if not training:
        raise ValueError("held_out names all pairs: none is left to train on")
    if not any(pair.learnable for pair in training):
        raise ValueError(f"no pair can be learned; {training[0].name}: {training[0].warning}")
    irreps_out = "1o" if pairs[0].y.size(1) else ""
    return Pairs(training, [pair for pair in pairs if pair.name in names], irreps_in, irreps_out, irreps_graph, irreps)


def pair_of(parent: Atoms, target: Atoms, config: Config, pairs: Pairs) -> Pair:
    """Two structures as the network of a run reads them, whose configuration and pairs these are.

    Raises
    ------
    ValueError
        The run was trained on other features or targets than files hold, its objects have no place for those of this
        pair; or as for :func:`load_pairs`.
    """
    (data,), irreps_graph = _of_structures([("pair", parent, target)], config)
    if (f"{data.x.size(1)}x0e", irreps_graph) != (pairs.irreps_in, pairs.irreps_graph_out):
        raise ValueError(
            f"the network was trained on {config.dataset} with features {pairs.irreps_in} and targets "
            f"{pairs.irreps_graph_out or 'none'} of the whole structure; these files hold {data.x.size(1)}x0e and "
            f"{irreps_graph or 'none'}"
        )
    pair = _pair(NeighborList(config.cutoff)(data), irreps_graph, "O3", config)
    if pairs.irreps_breaking is None or config.strategy == "noise":
        return pair
    (pair,), irreps = _with_objects([pair], config, "O3", irreps_graph)
    if pair.objects is None or irreps is None:
        return replace(pair, objects=torch.zeros(1, o3.Irreps(pairs.irreps_breaking).dim))
    return replace(pair, objects=place(pair.objects, o3.Irreps(irreps), pairs.irreps_breaking))


def _held_out(config: Config, graphs: Sequence[Data]) -> list[str]:
    """Names of the pairs that are not trained on."""
    if config.held_out is None:
        return [data.name for data in graphs if data.get("held_out") is not None and bool(data.held_out)]
    known = [data.name for data in graphs]
    names = []
    for entry in config.held_out:
        if isinstance(entry, str) and entry in known:
            names.append(entry)
        elif isinstance(entry, int) and 0 <= entry < len(known):
            names.append(known[entry])
        else:
            raise ValueError(
                f"held_out names {entry!r}, which is not in {config.dataset}; it has {', '.join(known)}, or by numbers "
                f"0 to {len(known) - 1}"
            )
    return names


# ------------------------------------------------------------------ data sets


def _graphs(config: Config) -> tuple[list[Data], str, str, str]:
    """Graphs with x, edges, name, y and graph_y; irreps of x and graph_y; what the network is equivariant under."""
    if config.dataset == "TriangularPrism":
        if config.strategy == "input":
            raise ValueError("the prism's mark, a pseudoscalar, takes objects for rotations alone: strategy: group")
        (data,) = TriangularPrism()
        data.graph_y, data.y, data.name = data.y[:, 0], data.pos.new_zeros(6, 0), "prism"
        return [data], "0o", "1o", "SO3"
    neighbors = NeighborList(config.cutoff)
    if config.dataset == "BaTiO3":
        graphs, irreps = [_of_phase(data) for data in BaTiO3()[1:]], "0e+2e"
    elif config.dataset == "JahnTeller":
        graphs, irreps = [_of_ion(data) for data in JahnTeller()], "0e"
    elif Path(config.dataset).exists():
        graphs, irreps = _of_structures(_read_pairs(Path(config.dataset)), config)
    else:
        raise ValueError(
            f"dataset is {config.dataset!r}; it must be JahnTeller, BaTiO3, TriangularPrism or the path of a file or a "
            "folder of structures"
        )
    graphs = [neighbors(data) for data in graphs]
    return graphs, f"{graphs[0].x.size(1)}x0e", irreps, "O3"


def atom_features(z: Tensor) -> Tensor:
    """What the periodic table says of atoms: group (one-hot), period and covalent radius in Å, [N, 20].

    Group 3 stands for the f block too.

    Examples
    --------
    >>> atom_features(torch.tensor([6, 14]))[:, :18].argmax(dim=1)  # carbon and silicon are in group 14
    tensor([13, 13])
    """
    rows = []
    for number in z.tolist():
        period = next(p for p, (low, high) in enumerate(pairwise((0, *NOBLE_GASES)), 1) if low < number <= high)
        low, high = (0, *NOBLE_GASES)[period - 1 : period + 1]
        from_left, from_right = number - low, high - number
        group = from_left if from_left <= 2 and number != 2 else max(3, 18 - from_right)
        if number == 2:
            group = 18
        rows.append((group - 1, period))
    table = torch.tensor(rows)
    radius = torch.tensor([covalent_radii[number] for number in z.tolist()])
    others = torch.stack([table[:, 1] / 4, radius], dim=1)
    return torch.cat([one_hot(table[:, 0], 18), others], dim=1).to(torch.get_default_dtype())


def _of_phase(data: Data) -> Data:
    """Displacements and strain of a phase of BaTiO3; the temperature, in units of 300 K, tells the phases apart."""
    temperature = (data.temperature / 300).expand(data.num_nodes, 1)
    data.x = torch.cat([atom_features(data.z), temperature], dim=1)
    data.graph_y, data.name = strain_to_irreps(data.strain), data.phase
    return data


def _of_ion(data: Data) -> Data:
    """Displacements and energy of an ion; its charge and spin are features of its atoms."""
    state = torch.cat([data.charge, data.unpaired]).to(data.pos).expand(data.num_nodes, 2)
    data.x = torch.cat([atom_features(data.z), state], dim=1)
    data.graph_y = data.energy[None]
    return data


def _read_pairs(path: Path) -> list[tuple[str, Atoms, Atoms]]:
    """Name, parent and target of the pairs in a file or a folder."""
    if path.is_dir():
        return _read_folder(path)
    try:
        frames = ase.io.read(path, ":")
    except Exception as error:  # ASE's readers raise whatever they meet
        raise ValueError(f"{path}: ASE cannot read this file ({type(error).__name__}: {error})") from error
    if len(frames) % 2 or not frames:
        raise ValueError(f"{path} holds {len(frames)} structures; it must be a parent, its target, a parent, and so on")
    pairs = zip(frames[::2], frames[1::2], strict=True)
    return [(str(b.info.get("name", a.info.get("name", i))), a, b) for i, (a, b) in enumerate(pairs)]


def _read_folder(path: Path) -> list[tuple[str, Atoms, Atoms]]:
    """In each folder the file named parent with each of the others."""
    pairs = []
    for folder in [path, *sorted(x for x in path.iterdir() if x.is_dir())]:
        files = sorted(x for x in folder.iterdir() if x.is_file() and not x.name.startswith("."))
        parents = [x for x in files if x.stem == "parent"]
        if len(parents) > 1:
            raise ValueError(f"{folder} holds {len(parents)} files named parent: one is needed")
        for target in files:
            if parents and target != parents[0]:
                name = target.relative_to(path).with_suffix("").as_posix()
                pairs.append((name, read_structure(parents[0]), read_structure(target)))
    if not pairs:
        raise ValueError(
            f"{path} holds no pairs: give a file named parent (parent.cif, ...) beside those of its targets"
        )
    return pairs


def _of_structures(pairs: list[tuple[str, Atoms, Atoms]], config: Config) -> tuple[list[Data], str]:
    """Graphs of pairs; strain as a target if they are periodic, the energy between them if all have one."""
    has_strain = all(parent.pbc.any() for _, parent, _ in pairs)
    has_energy = all(_energy(atoms) is not None for _, *both in pairs for atoms in both)
    graphs = []
    for number, (name, parent, target) in enumerate(pairs):
        try:
            found = diagnose(parent, target, config.symprec)
        except ValueError as error:
            raise ValueError(f"{config.dataset}: pair {number} ({name}): {error}") from error
        data = from_ase(parent)
        data.x, data.y = atom_features(data.z), found.vectors.to(data.pos)
        parts = [strain_to_irreps(found.strain[None])] if has_strain and found.strain is not None else []
        if has_energy:
            parts.append(torch.tensor([[_energy(target) - _energy(parent)]]))  # type: ignore[operator]
        data.graph_y = torch.cat([part.to(data.pos) for part in [data.pos.new_zeros(1, 0), *parts]], dim=1)
        data.name = name
        graphs.append(data)
    return graphs, "+".join(["0e+2e"] * has_strain + ["0e"] * has_energy)


def _energy(atoms: Atoms) -> float | None:
    if atoms.calc is not None and "energy" in atoms.calc.results:
        return float(atoms.calc.results["energy"])
    return atoms.info.get("energy")


# ------------------------------------------------------------------ symmetry and objects


def _pair(data: Data, irreps_graph: str, parent: str, config: Config) -> Pair:
    """What the symmetry says of a graph with y and graph_y."""
    tolerance = config.symprec
    symmetry = detect_symmetry(data, tolerance)
    assert isinstance(symmetry, Symmetry)
    rotations, permutations = symmetry.rotations, symmetry.permutations
    if parent == "SO3":
        proper = torch.linalg.det(rotations) > 0
        rotations, permutations = rotations[proper], permutations[proper]
    y, graph_y = data.y.double(), data.graph_y.double()
    target = read_target(data, _fields(data, irreps_graph))
    try:
        keep, _ = target_stabilizer(symmetry, target, tolerance, parent == "SO3")
    except ValueError as error:
        raise ValueError(f"{data.name}: {error}") from error
    moved_y = torch.zeros(len(rotations), *y.shape, dtype=torch.float64)
    if y.size(1):
        turned = y @ rotations.mT
        moved_y = moved_y.scatter(1, permutations[:, :, None].expand_as(turned), turned)
    matrices = torch.from_numpy(irreps_matrices(o3.Irreps(irreps_graph), rotations.numpy()))
    moved_graph = matrices @ graph_y[0]
    both = torch.cat([moved_y.flatten(1), moved_graph], dim=1)
    first = _first_of_each(both, tolerance)
    pure = (rotations - torch.eye(3, dtype=torch.float64)).abs().amax((1, 2)) < 1e-6
    alike = 1 if config.strategy in ("none", "noise") else len(_first_of_each(both[pure], tolerance))
    mean_y, mean_graph = moved_y.mean(0), moved_graph.mean(0)
    floor = (y - mean_y).square().sum() / len(y) if y.size(1) else (graph_y[0] - mean_graph).square().sum()
    dtype = torch.get_default_dtype()
    return Pair(
        data=Data(
            **{key: data[key] for key in ("x", "pos", "edge_index", "edge_shift", "cell", "z", "pbc") if key in data}
        ),
        name=data.name,
        y=data.y,
        graph_y=data.graph_y,
        group=symmetry.group if parent == "O3" else symmetry.group.rotations(),
        keep=keep,
        images_y=moved_y[first].to(dtype),
        images_graph_y=moved_graph[first].to(dtype),
        floor=float(floor.sqrt()),
        residual=symmetry.residual,
        warning=_warning(symmetry, target, keep, alike, parent == "SO3"),
        learnable=alike == 1,
        objects=None,
        reachable_y=moved_y[pure].mean(0).to(dtype),
    )


def _warning(symmetry: Symmetry, target: Target, keep: PointGroup, alike: int, rotations_only: bool) -> str:
    """What is wrong with a pair of which so many targets have one object."""
    if alike > 1:
        return (
            f"the target breaks translations of the cell: {alike} targets for each object, of which the network can "
            "give the mean only; describe it in a smaller cell, or train a network of your own with objects on the "
            "nodes, AddSymmetryBreaking(choose='target', on='nodes')"
        )
    larger = symmetry.larger
    if larger is not None:
        return (
            f"{larger.group.schoenflies} fits the parent to within {larger.residual:.2g} Å: if it is meant, "
            f"symprec: {larger.symprec:g}"
        )
    if symmetry.continuous is not None:
        return ""
    changes = target_changes(symmetry, target, rotations_only)
    nearly, mask = largest_group(symmetry.rotations.numpy(), changes, FAINT * changes[np.isfinite(changes)].max())
    if nearly.order <= keep.order:
        return ""
    most = changes[mask].max()
    return f"the target keeps {nearly.schoenflies} to within {most:.2g}: if it is meant, symprec: {1.1 * most:.2g}"


def _first_of_each(rows: Tensor, tolerance: float) -> list[int]:
    """Numbers of the rows that differ from all before them."""
    found: list[int] = []
    for number, row in enumerate(rows):
        if all((row - rows[other]).abs().max() > tolerance for other in found):
            found.append(number)
    return found


def _fields(data: Data, irreps_graph: str) -> dict[str, str]:
    """The attributes that hold the target, and how they transform."""
    on_nodes = {"y": "1o"} if data.y.size(1) else {}
    return on_nodes | ({"graph_y": irreps_graph} if data.graph_y.size(1) else {})


def _with_objects(
    pairs: Sequence[Pair], config: Config, parent: str, irreps_graph: str
) -> tuple[list[Pair], str | None]:
    """The pairs with their objects, all in common irreps; zeros where nothing is to be broken."""
    ways = {}
    for pair in pairs:
        if config.keep != "target" or pair.keep != pair.group:
            keep = {"target": None, "nothing": "C1"}.get(config.keep, config.keep)
            kind = InputIndexed(keep) if config.strategy == "input" else GroupIndexed(keep, parent)
            fields = _fields(pair, irreps_graph)  # type: ignore[arg-type]
            ways[pair] = AddSymmetryBreaking(kind, choose="target", target=fields, symprec=config.symprec)
    sets = {pair: way.objects(_with_target(pair)) for pair, way in ways.items()}
    sets = {pair: found for pair, found in sets.items() if found.size > 1}  # one object alone breaks nothing
    if not sets:
        return list(pairs), None
    for pair, found in sets.items():
        if found.size == math.inf:
            raise ValueError(f"{pair.name}: {found.explanation} For that: strategy: input")
    _check_pairing({pair: ways[pair] for pair in sets}, parent, config.symprec)
    common = _union([found.irreps for found in sets.values()])
    zero = torch.zeros(1, common.dim)
    objects = {pair: _objects(ways[pair], pair, found, common) for pair, found in sets.items()}
    return [replace(pair, objects=objects.get(pair, zero)) for pair in pairs], str(common)


def _with_target(pair: Pair) -> Data:
    """The structure with that part of its target that an object can tell."""
    data = pair.data.clone()
    data.y, data.graph_y = pair.reachable_y, pair.graph_y
    return data


def _check_pairing(ways: Mapping[Pair, AddSymmetryBreaking], parent: str, symprec: float) -> None:
    """Refuse to train if the objects of some of the pairs do not move with structure and target."""
    for pair, way in list(ways.items())[:SAMPLE]:
        try:
            seeded = torch.Generator().manual_seed(0)
            error = pairing_error(
                way, _with_target(pair), way.target, parent=parent, symprec=symprec, trials=1, generator=seeded
            )
        except ValueError as problem:
            raise ValueError(f"{pair.name}: {problem}") from problem
        if error > 0.01:
            raise ValueError(
                f"{pair.name}: turned with its target, the structure gets another object ({error:.2g} away from the "
                "turned one), so that no network could learn it: the target, or the structure, is nearly symmetric"
            )


def _union(all_irreps: Sequence[o3.Irreps]) -> o3.Irreps:
    """The smallest irreps that hold each of them."""
    irs = sorted({ir for irreps in all_irreps for _, ir in irreps})
    return o3.Irreps([(max(irreps.count(ir) for irreps in all_irreps), ir) for ir in irs])


def _objects(way: AddSymmetryBreaking, pair: Pair, found: Objects, irreps: o3.Irreps) -> Tensor:
    """The objects of a pair, the one that belongs to the target first."""
    try:
        first = way(_with_target(pair)).breaking
    except ValueError as error:
        raise ValueError(f"{pair.name}: {error}") from error
    objects = found.all().to(first)
    number = int((objects - first).norm(dim=1).argmin())
    return place(objects.roll(-number, 0), found.irreps, str(irreps))
