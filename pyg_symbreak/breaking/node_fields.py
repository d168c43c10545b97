"""Symmetry breaking sets whose objects are fields on the nodes: they break translations of a supercell too.

S is the finite space group of the structure modulo the lattice of its cell, K ≤ S what is to be kept. A field of
irreps V on an orbit O of nodes is a vector of V^O, on which S acts. On V^O the subgroup K fixes a space of dimension
Σ dim V^{K_j}, a sum over the K-orbits of O with the site groups K_j in K; a field that keeps exactly K exists if and
only if every operation outside K moves some vector of that space, and then a generic one does.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from e3nn import o3
from scipy.linalg import null_space
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.detect import (
    Features,
    GraphSymmetry,
    Symmetry,
    SymmetrySubgroup,
    WaveVectors,
    point_order,
    space_group_numbers,
)
from pyg_symbreak.groups import (
    FiniteGroup,
    PointGroup,
    Subgroup,
    irreps_matrices,
    irreps_of,
    isotropy_subgroups,
)
from pyg_symbreak.relation import match_structures
from pyg_symbreak.structures import GLAZER, bare_atoms, find_octahedra, from_ase

from .canonical.kernel import inversion_kernel
from .canonical.ranks import rank_table
from .canonical.structures import DIRECTION, generic_function
from .protocol import Level

__all__ = ["DependsOn", "NodeBreakingSet", "NodeFields", "node_breaking_set"]

DependsOn = Literal["nodes", "input", "group"]
"""What a set depends on: the space group, the cell and the orbit; all of the structure; space group and cell only."""
IRREPS = ("0e", "1o", "1e", "0o", "2e", "2o", "3o", "3e", "4e", "4o")
"""Irreps that are tried, in this order, where none are given."""
FIXED = 1e-6


@dataclass(frozen=True, eq=False)
class NodeFields:
    """Objects that are fields on the nodes, for what breaks translations: tilts, charge and magnetic order.

    The set is that of :func:`~pyg_symbreak.breaking.breaking_set` for the symmetry of each structure.

    Parameters
    ----------
    keep, nodes, irreps, depends_on, time_reversal
        As in :func:`~pyg_symbreak.breaking.breaking_set`.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from pyg_symbreak.structures import from_ase
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking
    >>> cell = bulk("CsCl", "cesiumchloride", a=4.1, cubic=True) * 2
    >>> data = AddSymmetryBreaking(NodeFields(keep="Fm-3m", nodes="Cs", irreps="0e"), choose="all")(from_ase(cell))
    >>> data.breaking[data.z == 55].reshape(2, 8).round()  # charges alternate as in rock salt
    tensor([[ 1., -1., -1.,  1., -1.,  1.,  1., -1.],
            [-1.,  1.,  1., -1.,  1., -1., -1.,  1.]])
    """

    keep: Any = None
    nodes: Any = None
    irreps: str | None = None
    depends_on: DependsOn = "nodes"
    time_reversal: bool = False

    def objects(self, data: Data, symmetry: Symmetry | GraphSymmetry, features: Features = ()) -> NodeBreakingSet:
        """The set of the structure."""
        if isinstance(symmetry, GraphSymmetry):
            raise ValueError("data has no positions: fields on the nodes are objects of structures")
        return node_breaking_set(
            symmetry,
            self.keep,
            nodes=self.nodes,
            irreps=self.irreps,
            depends_on=self.depends_on,
            time_reversal=self.time_reversal,
            data=data,
            features=features,
        )

    def __repr__(self) -> str:
        keep = self.keep
        if isinstance(keep, SymmetrySubgroup):
            keep = keep.operations if keep.signs is None else (keep.operations, keep.signs)
        elif hasattr(keep, "operations"):
            keep = keep.operations
        elif isinstance(keep, Atoms | Data):
            atoms = _atoms_of(keep)
            keep = (atoms.numbers.tolist(), atoms.positions.tolist(), atoms.cell.array.tolist())
        nodes = self.nodes if self.nodes is None or isinstance(self.nodes, str) else np.asarray(self.nodes).tolist()
        return (
            f"{type(self).__name__}(keep={keep!r}, nodes={nodes!r}, irreps={self.irreps!r}, "
            f"depends_on={self.depends_on!r}, time_reversal={self.time_reversal})"
        )


@dataclass(frozen=True, eq=False)
class NodeBreakingSet:
    """Symmetry breaking objects on the nodes of one structure: the images of one field under its symmetry S.

    Attributes
    ----------
    symmetry : Symmetry
        S.
    stabilizer : SymmetrySubgroup
        K, the operations that keep the first object; with signs where time reversal counts.
    irreps : e3nn Irreps
        How the row of a node transforms.
    nodes : bool Tensor [N]
        The nodes whose rows are not zero by construction.
    depends_on : "nodes", "input" or "group"
        What the set depends on, see :func:`~pyg_symbreak.breaking.breaking_set`.
    size : int or math.inf
        Number of objects.
    degeneracy : float
        The number of S-orbits that the set consists of.
    operations : Tensor
        long [size]: an operation of S that carries the first object to each.
    signs : Tensor
        long [size]: -1 where it goes with time reversal.
    explanation : str
        Why the set is as it is.
    """

    symmetry: Symmetry
    stabilizer: SymmetrySubgroup
    irreps: o3.Irreps
    nodes: Tensor
    depends_on: DependsOn
    size: int | float
    degeneracy: float
    operations: Tensor
    signs: Tensor
    explanation: str
    _rows: Tensor | None
    level: Level = "node"

    @property
    def ideal(self) -> bool:
        """Whether the objects are one orbit of S."""
        return self.degeneracy == 1

    @property
    def keep(self) -> PointGroup:
        """The rotations of K; its space group is ``stabilizer.space_group``."""
        return self.stabilizer.point_group

    @property
    def objects(self) -> Tensor:
        """float64 [size, N, irreps.dim], the largest row of length 1.

        Raises
        ------
        ValueError
            The set has no end, or on the level "group" no direction is distinguished.
        """
        if self._rows is None:
            raise ValueError(f"the objects cannot be listed. {self.explanation}")
        return self._rows

    def all(self) -> Tensor:
        """The same as a method, as all ways of breaking have it."""
        return self.objects

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Objects drawn independently and uniformly, [n, N, dim]."""
        return self.objects[torch.randint(len(self.objects), (n,), generator=generator)]

    def element_of(self, field: Tensor) -> int:
        """The number of an object of the set.

        Raises
        ------
        ValueError
            It is none of them.
        """
        apart = (self.objects - field.to(self.objects)).flatten(1).norm(dim=1)
        if float(apart.min()) > 1e-3 * float(self.objects[0].norm()):
            raise ValueError(f"the field is not an object of {self}")
        return int(apart.argmin())

    def __repr__(self) -> str:
        kept = self.stabilizer.space_group
        name = self.stabilizer.point_group.schoenflies if kept is None else kept.symbol
        kind = "ideal" if self.ideal else f"degeneracy={self.degeneracy:g}"
        return f"{type(self).__name__}(keep={name}, size={self.size}, irreps={self.irreps}, {kind})"


def node_breaking_set(
    symmetry: Symmetry,
    keep: Any = None,
    *,
    nodes: Any = None,
    irreps: str | o3.Irreps | None = None,
    depends_on: DependsOn = "nodes",
    time_reversal: bool = False,
    data: Data | None = None,
    features: Features = (),
) -> NodeBreakingSet:
    """As :func:`~pyg_symbreak.breaking.breaking_set` of a symmetry, which is that of the ``data``."""
    if depends_on not in ("nodes", "input", "group"):
        raise ValueError(f"depends_on must be 'nodes', 'input' or 'group', got {depends_on!r}")
    if symmetry.continuous is not None:
        raise ValueError("the symmetry is continuous: break that of its point group, breaking_set(symmetry.group)")
    atoms = symmetry.atoms if data is None else bare_atoms(data)
    if atoms is None:
        raise ValueError("this symmetry was loaded and does not know its structure: detect it again")
    data = from_ase(atoms, torch.float64) if data is None else data
    spaces = _spaces(symmetry, _places(symmetry, atoms, data, nodes, features), irreps, time_reversal)
    kept = _resolved(symmetry, atoms, keep, spaces)
    space = _lowest(spaces, kept, explicit=nodes is not None and irreps is not None)
    fixed = space.breaking(kept)
    first, unique = fixed[0], len(fixed) == 1 and space.reverses(fixed[0])
    first = first * np.sign(first.flat[np.abs(first).round(6).argmax()])
    if depends_on == "input" or (depends_on == "nodes" and not unique):
        first = _canonical_direction(space, kept, data, features)
    movers = space.group.transversal(kept, range(space.group.order))
    rows: Tensor | None = torch.zeros(len(movers), symmetry.num_nodes, space.dim, dtype=torch.float64)
    assert rows is not None
    rows[:, space.nodes] = torch.from_numpy(space.images(first / np.linalg.norm(first, axis=1).max(), movers))
    stabilizer = space.subgroup(kept)
    size: int | float = len(movers)
    degeneracy, level = 1.0, depends_on
    name = stabilizer.point_group.schoenflies if stabilizer.space_group is None else stabilizer.space_group.symbol
    if depends_on == "nodes" and unique:
        why = "the field that keeps it is unique up to a sign, which an operation reverses"
    else:
        why = f"of the {len(fixed)} dimensions of fields that keep it, the canonical form of the structure picks one"
        level = "input"
    hidden = symmetry.hidden_domains
    if hidden > 1:
        warnings.warn(
            f"the cell lacks symmetry of the crystal {atoms.get_chemical_formula()}: of each domain here there are "
            f"{hidden} in all, the others in cells of other shape",
            stacklevel=2,
        )
    explanation = f"Ideal: the objects are one orbit of the symmetry, and each keeps {name}; {why}."
    if depends_on == "group":
        level, size, degeneracy, explanation = "group", *_at_group_level(space, kept, name)
        rows = rows if degeneracy == 1 and unique else None
    return NodeBreakingSet(
        symmetry=symmetry,
        stabilizer=stabilizer,
        irreps=o3.Irreps(space.irreps),
        nodes=torch.from_numpy(np.isin(np.arange(symmetry.num_nodes), space.nodes)),
        depends_on=level,
        size=size,
        degeneracy=degeneracy,
        operations=torch.tensor(movers) % int(symmetry.order),
        signs=1 - 2 * (torch.tensor(movers) // int(symmetry.order)),
        explanation=explanation,
        _rows=rows,
    )


# ---------------------------------------------------------------------- fields as a representation


class _Space:
    """The fields of some irreps on some nodes, which the operations carry to each other.

    With time reversal, element |S| + g is operation g together with it.
    """

    def __init__(self, symmetry: Symmetry, nodes: np.ndarray, irreps: str, time_reversal: bool):
        self.symmetry, self.nodes, self.irreps, self.time_reversal = symmetry, nodes, irreps, time_reversal
        self.turns = irreps_matrices(irreps, symmetry.rotations.numpy())
        place = np.full(symmetry.num_nodes, -1)
        place[nodes] = np.arange(len(nodes))
        self.moves = place[symmetry.permutations.numpy()[:, nodes]]
        if time_reversal:
            self.turns = np.concatenate([self.turns, -self.turns])
            self.moves = np.concatenate([self.moves, self.moves])

    @property
    def dim(self) -> int:
        """Dimension of the row of a node."""
        return self.turns.shape[1]

    @property
    def group(self) -> FiniteGroup:
        """The operations, with time reversal their products with it too."""
        plain = self.symmetry.abstract
        return plain.direct_product(_TWO).reordered(self._places(plain.order)) if self.time_reversal else plain

    @staticmethod
    def _places(order: int) -> np.ndarray:
        return np.concatenate([2 * np.arange(order), 2 * np.arange(order) + 1])

    def images(self, field: np.ndarray, elements: Sequence[int]) -> np.ndarray:
        """What elements make of a field [n, dim]: [m, n, dim]."""
        which = list(elements)
        out = np.empty((len(which), *field.shape))
        out[np.arange(len(which))[:, None], self.moves[which]] = field @ self.turns[which].swapaxes(1, 2)
        return out

    def fixed(self, elements: Subgroup) -> np.ndarray:
        """Orthonormal basis [f, n, dim] of the fields that elements of a subgroup leave as they are."""
        which = list(elements)
        moves, turns = self.moves[which], self.turns[which]
        found, done = [], np.zeros(len(self.nodes), dtype=bool)
        for node in range(len(self.nodes)):
            if done[node]:
                continue
            done[moves[:, node]] = True
            values, vectors = np.linalg.eigh(turns[moves[:, node] == node].mean(0))
            for vector in vectors.T[values > 0.5]:
                field = np.zeros((len(self.nodes), self.dim))
                field[moves[:, node]] = turns @ vector
                found.append(field / np.linalg.norm(field))
        return np.array(found).reshape(-1, len(self.nodes), self.dim)

    def breaking(self, elements: Subgroup) -> np.ndarray:
        """The same without the fields that all elements leave as they are, unless all are to be kept."""
        fixed = self.fixed(elements)
        if len(elements) == len(self.turns) or len(fixed) == 0:
            return fixed
        flat = fixed.reshape(len(fixed), len(self.nodes) * self.dim)
        trivial = self.fixed(tuple(range(len(self.turns)))).reshape(-1, flat.shape[1])
        return (null_space(trivial @ flat.T).T @ flat if len(trivial) else flat).reshape(-1, *fixed.shape[1:])

    def moved(self, field: np.ndarray) -> np.ndarray:
        """By how much each element changes a row of a field at most, [order]."""
        there = field[self.moves] - field @ self.turns.swapaxes(1, 2)
        return np.linalg.norm(there, axis=2).max(1)

    def reverses(self, field: np.ndarray) -> bool:
        """Whether an element turns a field into its opposite."""
        there = field[self.moves] + field @ self.turns.swapaxes(1, 2)
        return bool(np.linalg.norm(there, axis=2).max(1).min() < FIXED)

    def keeps_exactly(self, fixed: np.ndarray, elements: Subgroup) -> bool:
        """Whether generic vectors of the space that a subgroup fixes are fixed by nothing else."""
        generic = np.einsum("f,fnd->nd", np.random.default_rng(4).standard_normal(len(fixed)), fixed)
        return int((self.moved(generic) < FIXED).sum()) == len(elements)

    def subgroup(self, elements: Sequence[int]) -> SymmetrySubgroup:
        """Elements as operations, with signs where time reversal counts."""
        order = int(self.symmetry.order)
        pairs = sorted((e % order, 1 - 2 * (e // order)) for e in elements)
        signs = tuple(sign for _, sign in pairs) if self.time_reversal else None
        return SymmetrySubgroup(self.symmetry, tuple(g for g, _ in pairs), signs)

    @property
    def matrices(self) -> np.ndarray:
        """All elements [order, n·dim, n·dim]."""
        size = len(self.nodes) * self.dim
        out = np.zeros((len(self.turns), len(self.nodes), self.dim, len(self.nodes), self.dim))
        rows = np.arange(len(self.turns))[:, None]
        out[rows, self.moves, :, np.arange(len(self.nodes))] = self.turns[:, None]
        return out.reshape(-1, size, size)


_TWO = FiniteGroup([[0, 1], [1, 0]])


def _places(symmetry: Symmetry, atoms: Atoms, data: Data, nodes: Any, features: Features) -> list[np.ndarray]:
    """The nodes asked for, else each orbit: light elements first, those of one element in canonical order."""
    orbits = symmetry.orbits.numpy()
    if isinstance(nodes, str):
        if nodes not in atomic_numbers or atomic_numbers[nodes] not in atoms.numbers:
            raise ValueError(f"nodes={nodes!r} names no element of {atoms.get_chemical_formula()}")
        return [np.flatnonzero(atoms.numbers == atomic_numbers[nodes])]
    if nodes is not None:
        given = np.unique(np.arange(len(atoms))[np.asarray(nodes)])
        whole = np.flatnonzero(np.isin(orbits, orbits[given]))
        if len(whole) != len(given) or len(given) == 0:
            raise ValueError(
                f"nodes must be whole orbits of the symmetry: {given.tolist()} are some of {whole.tolist()}, all alike"
            )
        return [given]
    places = [np.flatnonzero(orbits == o) for o in range(orbits.max() + 1)]
    alike = [(len(place), atoms.numbers[place[0]]) for place in places]
    ranks = np.zeros(len(orbits))
    if len(set(alike)) < len(alike):
        ranks = inversion_kernel(data, symmetry, features).setting.ranks
    return sorted(places, key=lambda place: (atoms.numbers[place[0]], ranks[place].min()))


def _spaces(symmetry: Symmetry, places: list[np.ndarray], irreps: Any, time_reversal: bool) -> list[_Space]:
    """Fields of the irreps asked for, else of each, on some nodes: low irreps on few nodes first."""
    which = ["1e"] if irreps is None and time_reversal else IRREPS if irreps is None else [str(o3.Irreps(irreps))]
    spaces = [_Space(symmetry, place, i, time_reversal) for i in which for place in places]
    return sorted(spaces, key=lambda s: (max(l for _, (l, _) in o3.Irreps(s.irreps)), s.dim * len(s.nodes)))


def _lowest(spaces: list[_Space], kept: Subgroup, explicit: bool) -> _Space:
    """The first of the fields that can keep exactly K, those with one dimension of such fields before others."""
    fitting = []
    for space in spaces:
        fixed = space.breaking(kept)
        if len(fixed) > 0 and space.keeps_exactly(fixed, kept):
            if len(fixed) == 1 or explicit:
                return space
            fitting.append(space)
    if fitting:
        return fitting[0]
    kind = spaces[0].subgroup(kept)
    name = kind.point_group.schoenflies if kind.space_group is None else kind.space_group.symbol
    tried = sorted({space.irreps for space in spaces})
    raise ValueError(
        f"no field of irreps {', '.join(tried)} on these nodes keeps exactly {name}, of {kind.order} operations: all "
        "such fields keep more. Take other irreps or other nodes, or leave them out to have some chosen"
    )


# ---------------------------------------------------------------------- what is to be kept


def _atoms_of(x: Atoms | Data) -> Atoms:
    return x if isinstance(x, Atoms) else bare_atoms(x)


def _resolved(symmetry: Symmetry, atoms: Atoms, keep: Any, spaces: list[_Space]) -> Subgroup:
    """K as elements of the operations (with time reversal: of twice as many)."""
    order, reversal = int(symmetry.order), spaces[0].time_reversal
    if keep is None:
        return (symmetry.abstract.identity,)
    if isinstance(keep, str | int) and not isinstance(keep, bool):
        if not (isinstance(keep, str) and GLAZER.fullmatch(keep)):
            return _by_space_group(keep, spaces)
        keep = symmetry.stabilizer(find_octahedra(atoms).field(keep), "1e")
    if isinstance(keep, Atoms | Data):
        child = _atoms_of(keep)
        if len(child) != len(atoms) or np.abs(child.cell.array - atoms.cell.array).max() > 1e-3:
            raise ValueError(
                "keep: a distorted structure must have the same atoms in the same cell as the symmetric one"
            )
        match = match_structures(atoms, child, symmetry.symprec)
        moved = match.displacements.numpy()
        keep = symmetry.stabilizer(moved - moved.mean(0), "1o")
    signs = getattr(keep, "signs", None)
    if signs is not None and not reversal:
        raise ValueError("keep has operations with time reversal: pass time_reversal=True")
    operations = getattr(keep, "operations", keep)
    if not isinstance(operations, Sequence | np.ndarray | Tensor):
        raise TypeError(
            "keep must be operations, a subgroup, a distortion, the symbol or number of a space group, or a distorted "
            f"structure, got {keep!r}"
        )
    rows = [int(g) for g in operations]
    if signs is not None:
        rows = [g if sign > 0 else g + order for g, sign in zip(rows, signs, strict=True)]
    return spaces[0].group.require_subgroup(rows, "keep")


def _by_space_group(keep: str | int, spaces: list[_Space]) -> Subgroup:
    """The class of subgroups that a symbol means: of those with this space group the one with the fewest domains."""
    head, _, letters = str(keep).replace(" ", "").partition("@")
    symbol, _, domains = head.rpartition("/")
    if not (symbol and domains.isdigit()):
        symbol, domains = head, ""
    number = space_group_numbers().get(symbol, int(symbol) if symbol.isdigit() else 0)
    if not 1 <= number <= 230:
        raise ValueError(f"keep={keep!r}: {symbol!r} is no space group; give a short symbol such as Pnma, or a number")
    for several in _together(spaces):
        space = several[0]
        named = [
            (k, kind, _letters(kind))
            for k in _classes(several, number)
            for kind in [space.subgroup(k)]
            if domains in ("", str(kind.index)) and letters in ("", _letters(kind))
        ]
        fewest = min((kind.index for _, kind, _ in named), default=0)
        named = [found for found in named if found[1].index == fewest]
        if len(named) == 1:
            return named[0][0]
        if named:
            name = next(known for known, n in space_group_numbers().items() if n == number)
            choices = [f"{name}/{kind.index}@{where}" for _, kind, where in named]
            raise ValueError(
                f"keep={keep!r} is ambiguous: {len(named)} classes of subgroups have this space group and {fewest} "
                f"domains: {', '.join(sorted(set(choices)))} (space group/domains@k vectors of the new cell). Give one"
                + (", or a distortion or a distorted structure" if len(set(choices)) < len(choices) else "")
            )
    raise ValueError(
        f"keep={keep!r}: no field of irreps {', '.join(sorted({s.irreps for s in spaces}))} on these nodes, in one or "
        "two irreps of the symmetry, keeps a subgroup of this space group in this cell"
    )


def _together(spaces: list[_Space]) -> list[list[_Space]]:
    """Scalars and vectors on the same nodes together, then each higher degree by itself."""
    found: dict[tuple[int, bytes], list[_Space]] = {}
    for space in spaces:
        degree = max(1, *(ir.l for _, ir in o3.Irreps(space.irreps)))
        found.setdefault((degree, space.nodes.tobytes()), []).append(space)
    return list(found.values())


def _letters(kept: SymmetrySubgroup) -> str:
    """Letters of the k vectors of waves that the translations of K leave as they are, without Γ."""
    if len(kept.symmetry.lattice) < 3:
        return ""
    symmetry = kept.symmetry
    waves = WaveVectors(symmetry.lattice, symmetry.rotations.numpy(), symmetry.translations.numpy())
    return "".join(waves.folded(kept.operations))


def _classes(spaces: list[_Space], number: int) -> list[Subgroup]:
    """Subgroups with a space group, up to conjugacy, that fields in one irrep or in two keep, and exactly they."""
    space, group = spaces[0], spaces[0].group
    characters: list[np.ndarray] = []
    members: list[np.ndarray] = []  # one row for each isotropy subgroup of an irrep, up to conjugacy
    for matrices in (m for s in spaces for m in irreps_of(s.matrices)):
        character = np.trace(matrices, axis1=1, axis2=2)
        if character.mean() < FIXED and all(np.abs(known - character).max() > 1e-4 for known in characters):
            characters.append(character)
            members += [np.isin(np.arange(group.order), k) for k, *_ in isotropy_subgroups(matrices, group)]
    conjugates = _distinct(np.concatenate([row[group.conjugation] for row in members]))
    pure = space.symmetry.elements.numpy()[np.arange(group.order) % int(space.symmetry.order)] == 0
    known: set[Subgroup] = set()
    found = []
    for row in _distinct(np.array(members)):
        common = conjugates & row
        common = common[common.sum(1) == point_order(number) * common[:, pure].sum(1)]  # as many rotations
        for one in _distinct(common):
            k = tuple(np.flatnonzero(one).tolist())
            if k in known:
                continue
            known.update(group.conjugates(k))
            kind = space.subgroup(k).space_group
            if kind is not None and kind.number == number and any(_keeps(s, k) for s in spaces):
                found.append(k)
    return sorted(found, key=len, reverse=True)


def _distinct(rows: np.ndarray) -> np.ndarray:
    """The distinct ones among bool rows [n, m]."""
    packed = np.packbits(rows, axis=1)
    first = {row.tobytes(): n for n, row in enumerate(packed)}
    return rows[list(first.values())]


def _keeps(space: _Space, kept: Subgroup) -> bool:
    """Whether some field of the space keeps exactly K."""
    fixed = space.breaking(kept)
    return len(fixed) > 0 and space.keeps_exactly(fixed, kept)


# ---------------------------------------------------------------------- which direction


def _canonical_direction(space: _Space, kept: Subgroup, data: Data, features: Features) -> np.ndarray:
    """A field [n, dim] that keeps exactly K, picked by the canonical form of the structure up to operations of S.

    A fixed generic field of the canonical form is averaged over the conjugate of K that has the least value of a
    generic function there, and carried back to K.
    """
    symmetry, group = space.symmetry, space.group
    setting = inversion_kernel(data, symmetry, features).setting
    frame, ranks = setting.rotation.numpy(), setting.ranks
    turned = frame.T @ symmetry.rotations.numpy() @ frame
    first, second = rank_table(len(ranks) + 1, 2).numpy()[1 + ranks].T
    values = generic_function(turned @ DIRECTION) * (2 + second[symmetry.permutations.numpy()] @ first / len(ranks))
    if space.time_reversal:
        values = np.concatenate([values, math.sqrt(2) * values])
    sums = values[group.conjugation[:, list(kept)]].sum(1)  # of g·K·g⁻¹
    mover = int(np.argmax(sums <= sums.min() + 1e-9 * np.abs(sums).max()))
    template = rank_table(len(ranks) + 1, space.dim).numpy()[1 + ranks[space.nodes]]
    generic = template @ irreps_matrices(space.irreps, frame[None])[0].T
    (back,) = space.images(generic, [group.inverse[mover]])
    fixed = space.breaking(kept)
    field = np.einsum("f,fnd->nd", np.einsum("fnd,nd->f", fixed, back), fixed)
    field /= np.linalg.norm(field)
    if int((space.moved(field) < FIXED).sum()) != len(kept):
        raise ValueError("the structure is nearly more symmetric: no direction is distinguished; raise symprec")
    return field


def _at_group_level(space: _Space, kept: Subgroup, name: str) -> tuple[int | float, float, str]:
    """Size and degeneracy of the smallest set that depends on the space group and the cell alone, and why."""
    if space.time_reversal:
        raise ValueError("depends_on='group' is not known for time reversal: use 'nodes'")
    normalizer = space.symmetry.normalizer()
    inside, group = normalizer.inside, normalizer.abstract
    along = np.flatnonzero(inside == group.identity)  # translations along polar directions, and the identity
    if not set(along.tolist()) <= set(kept):
        axes = ", ".join(str((np.round(axis, 4) + 0.0).tolist()) for axis in normalizer.polar)
        return (
            math.inf,
            math.inf,
            f"No finite set that depends on the space group alone breaks translations along the polar axis {axes}: "
            "where a wave along it has its zero is not distinguished. The nodes distinguish it: depends_on='nodes'.",
        )
    s = tuple(sorted(set(inside.tolist())))
    k = tuple(sorted(set(inside[list(kept)].tolist())))
    common = group.generalized_normalizer(s, k)
    largest = group.largest_avoiding_subgroup(common, s, k)
    size = len(common) // len(largest)
    degeneracy = size * len(k) / len(s)
    if degeneracy == 1:
        return size, 1.0, f"Ideal: {name} has a complement in the normalizer, and the objects are one orbit."
    return (
        size,
        degeneracy,
        f"Not ideal: {name} has no complement in the Euclidean normalizer of order {normalizer.order}; the smallest "
        f"set that depends on the space group alone consists of {degeneracy:g} orbits. Use depends_on='nodes'.",
    )
