"""Point groups: closed subgroups of O(3) in any orientation, with their subgroups and normalizers."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from .finite_group import FiniteGroup, Subgroup
from .names import element_names
from .orientation import (
    TOLERANCE,
    normalizer_name,
    orthogonalized,
    place,
    recognize,
    require_group,
    require_orthogonal,
)
from .standard import Standard, rotation, standard
from .structure import SubgroupClass, structure
from .symbols import HERMANN_MAUGUIN, parse_symbol, read_symbol

__all__ = ["PointGroup", "parent_group", "require_inside"]


class PointGroup:
    """A closed subgroup of O(3): a finite point group or one of the continuous ones, in any orientation.

    Parameters
    ----------
    symbol : str
        Schoenflies (``"C4v"``, ``"D3h"``, ``"S8"``, ``"Oh"``, ``"Ih"``, any n; ``"Cinfv"``, ``"Dinfh"``, ``"SO3"``,
        ``"O3"``, ...) or Hermann–Mauguin (``"m-3m"``, ``"-6m2"``, ``"8mm"``, ``"∞/mm"``, ...). The main axis is z. A
        Schoenflies symbol stands in the standard orientation, see :mod:`pyg_symbreak.groups.standard`; a
        Hermann–Mauguin symbol stands as International Tables draw it, see :mod:`pyg_symbreak.groups.symbols`.

    Attributes
    ----------
    schoenflies : str
    frame : float64 array [3, 3]
        A rotation F: the group is F·S₀·Fᵀ with S₀ the group in its standard orientation. The columns of F are the
        standard axes; directions in names refer to them.

    Raises
    ------
    ValueError
        The symbol is unknown; the message names the nearest ones.

    Examples
    --------
    >>> g = PointGroup("m-3m")
    >>> g.schoenflies, g.order, len(g.subgroups())
    ('Oh', 48, 33)
    >>> g.normalizer().schoenflies, PointGroup("C4").normalizer().schoenflies
    ('Oh', 'Dinfh')
    """

    def __init__(self, symbol: str):
        self._set(*read_symbol(symbol))

    def _set(self, name: str, frame: np.ndarray, permutation: np.ndarray | None = None) -> None:
        self._name(name)
        self._placement = frame, permutation

    def _name(self, name: str) -> None:
        self.schoenflies = name
        self.label = name
        self.conjugates = 1

    @classmethod
    def _oriented(cls, name: str, frame: np.ndarray, permutation: np.ndarray | None = None) -> PointGroup:
        group = cls.__new__(cls)
        group._set(name, frame, permutation)
        return group

    @property
    def _standard(self) -> Standard:
        return standard(self.schoenflies)

    def __getstate__(self) -> dict[str, Any]:
        """Name and orientation, without what is computed from them."""
        kept = ("schoenflies", "label", "conjugates", "_placement", "_exact")
        return {k: v for k, v in self.__dict__.items() if k in kept}

    @classmethod
    def of_exact(cls, matrices: np.ndarray) -> PointGroup:
        """As `from_matrices`, of what is known to be a finite group to round-off; oriented when that is asked for."""
        group = cls.__new__(cls)
        group._name(recognize(matrices, TOLERANCE))
        group._exact = matrices
        return group

    _exact: np.ndarray

    @cached_property
    def _placement(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Frame, and the standard element that each position holds (None: its own)."""
        return place(self.schoenflies, self._exact, TOLERANCE)

    @property
    def frame(self) -> np.ndarray:
        """A rotation F [3, 3]: the group is F·S₀·Fᵀ with S₀ the group in its standard orientation."""
        return self._placement[0]

    @property
    def _permutation(self) -> np.ndarray | None:
        return self._placement[1]

    @classmethod
    def from_matrices(cls, matrices: Any, tolerance: float = TOLERANCE) -> PointGroup:
        """The finite group of some matrices: finds its name and its orientation.

        The order of the matrices is kept; they are replaced by those of the exact group nearest to them.

        Parameters
        ----------
        matrices : array or tensor [n, 3, 3]
            All elements, each once. Orthogonal, and closed under products, within ``tolerance``.
        tolerance : float
            Largest deviation of an entry from that of an exact group.

        Raises
        ------
        ValueError
            A matrix is not orthogonal, occurs twice, or a product is missing (which one is said).
        """
        given = np.array(matrices, dtype=np.float64)
        if given.ndim != 3 or given.shape[1:] != (3, 3) or len(given) == 0:
            raise ValueError(f"matrices must have shape [n, 3, 3] with n ≥ 1, got {list(given.shape)}")
        require_orthogonal(given, tolerance)
        try:
            name = recognize(given, tolerance)
            return cls._oriented(name, *place(name, given, tolerance))
        except ValueError:
            require_group(given, tolerance)  # says what is missing
            raise

    # ------------------------------------------------------------------ elements

    @property
    def hermann_mauguin(self) -> str | None:
        """The Hermann–Mauguin symbol of a crystallographic group in any orientation, None for the others."""
        return next((symbol for symbol, name in HERMANN_MAUGUIN.items() if name == self.schoenflies), None)

    @property
    def order(self) -> int | float:
        """Number of elements: an int, or ``math.inf``."""
        return math.inf if self._standard.dimension else len(self._standard.elements)

    @property
    def is_finite(self) -> bool:
        """Whether the group has finitely many elements."""
        return self._standard.dimension == 0

    @property
    def dimension(self) -> int:
        """0 for a finite group, 1 if its rotations are all those about an axis, 3 if they are all there are."""
        return self._standard.dimension

    @cached_property
    def matrices(self) -> np.ndarray:
        """All elements, float64 [order, 3, 3].

        Raises
        ------
        ValueError
            The group is continuous.
        """
        self._require_finite("matrices")
        elements = self._standard.elements
        if self._permutation is not None:
            elements = elements[self._permutation]
        return self.frame @ elements @ self.frame.T

    @cached_property
    def components(self) -> np.ndarray:
        """One element of each connected component, float64 [c, 3, 3]; of a finite group all elements."""
        return self.frame @ self._standard.elements @ self.frame.T

    @property
    def axis(self) -> np.ndarray:
        """The main axis, float64 [3], of unit length: the standard z axis in this orientation."""
        return self.frame[:, 2]

    def contains(self, matrix: Any, tolerance: float = TOLERANCE) -> bool:
        """Whether an orthogonal matrix [3, 3] is an element."""
        return bool(self.holds(np.asarray(matrix, dtype=np.float64)[None], tolerance)[0])

    def holds(self, matrices: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
        """Which of some orthogonal matrices [n, 3, 3] are elements, bool [n]."""
        if self.dimension == 3:
            return (np.linalg.det(matrices) > 0) | (len(self.components) == 2)
        upright = self.frame.T @ matrices @ self.frame
        if self.dimension == 0:
            return self._standard.locate(upright)[1] < tolerance
        quotient = np.swapaxes(self._standard.elements, 1, 2) @ upright[:, None]
        about_z = np.abs(quotient[..., 2] - [0, 0, 1]).max(2) < tolerance
        return (about_z & (np.linalg.det(quotient) > 0)).any(1)

    def contains_group(self, other: PointGroup) -> bool:
        """Whether every element of another point group is an element of this one."""
        mine, its = self.dimension, other.dimension
        if its > mine or (its == mine == 1 and not abs(abs(self.axis @ other.axis) - 1) < TOLERANCE):
            return False
        return bool(self.holds(other.components, 10 * TOLERANCE).all()) and not (its == 1 and mine == 0)

    def random_element(self, generator: np.random.Generator) -> np.ndarray:
        """A Haar-distributed random element, float64 [3, 3]."""
        if self._standard.dimension == 3:
            q, r = np.linalg.qr(generator.standard_normal((3, 3)))
            q = q * np.sign(np.diag(r))
            turn = q * np.sign(np.linalg.det(q))
        elif self._standard.dimension == 1:
            turn = rotation(self.axis, generator.uniform(0, 2 * np.pi))
        else:
            turn = np.eye(3)
        return turn @ self.components[generator.integers(len(self.components))]

    def rotated(self, matrix: Any) -> PointGroup:
        """The conjugate R·S·R⁻¹ by an orthogonal matrix R [3, 3], elements in the same order."""
        r = np.asarray(matrix, dtype=np.float64)
        if r.shape != (3, 3) or not np.isfinite(r).all():
            raise ValueError(f"a point group is moved by an orthogonal matrix [3, 3], not by {r}")
        exact, sign, deviation = orthogonalized(r)
        if not deviation < TOLERANCE:
            raise ValueError(
                f"a point group is moved by an orthogonal matrix [3, 3]; this one is not orthogonal: "
                f"{deviation:.1g} from the nearest one"
            )
        frame = sign * exact @ self.frame
        moved = self._oriented(self.schoenflies, frame, self._permutation)
        moved.label, moved.conjugates = self.label, self.conjugates
        return moved

    @cached_property
    def table(self) -> np.ndarray:
        """The multiplication table, int [order, order]: ``matrices[table[a, b]] = matrices[a] @ matrices[b]``."""
        return self.finite_group.table

    @cached_property
    def finite_group(self) -> FiniteGroup:
        """The group of the positions in ``matrices``."""
        self._require_finite("a multiplication table")
        group = structure(self.schoenflies).group
        return group if self._permutation is None else group.reordered(self._permutation)

    @property
    def element_names(self) -> list[str]:
        """Readable names of the elements, such as ``"C3 about [111]"``, in the order of ``matrices``."""
        self._require_finite("names of all elements")
        names = element_names(self._standard.elements)
        return names if self._permutation is None else [names[i] for i in self._permutation]

    @property
    def element_classes(self) -> list[list[int]]:
        """The conjugacy classes of elements, as lists of positions in ``matrices``."""
        self._require_finite("classes of elements")
        return [list(c) for c in self.finite_group.element_classes]

    def _require_finite(self, what: str) -> None:
        if not self.is_finite:
            raise ValueError(
                f"{self.schoenflies} is continuous: {what} cannot be listed; use .components, .contains and "
                ".random_element"
            )

    # ------------------------------------------------------------------ subgroups and normalizers

    def subgroups(self) -> list[PointGroup]:
        """One group of each conjugacy class of subgroups, small ones first, in this group's orientation.

        Each has ``label``, unambiguous inside this group (``"C2v[011]"``: main axis [011] of the standard axes, then
        ``m[..]`` for a mirror normal or ``[..]`` for a two-fold axis), and ``conjugates``, the size of its class.
        """
        self._require_finite("subgroups")
        return [self._subgroup(c) for c in structure(self.schoenflies).classes]

    def _subgroup(self, entry: SubgroupClass) -> PointGroup:
        group = self._oriented(entry.schoenflies, self.frame @ entry.frame)
        group.label, group.conjugates = entry.label, entry.conjugates
        return group

    def subgroup(self, label: str) -> PointGroup:
        """A representative of the class of subgroups that a label or symbol names.

        Raises
        ------
        ValueError
            There is no such subgroup, or several classes of it; the message lists the choices.
        """
        if not self.is_finite:
            return self._subgroup_of_continuous(label)
        classes = structure(self.schoenflies).classes
        wanted = label.replace(" ", "")
        found = [c for c in classes if c.label == wanted]
        if not found:
            name = parse_symbol(wanted.split("[")[0])
            found = [c for c in classes if c.schoenflies == name]
            if not found:
                raise ValueError(
                    f"{self.schoenflies} has no subgroup {label}; its subgroups are "
                    + ", ".join(c.label for c in classes)
                )
            if len(found) > 1 or name != _parse_symbol_or_none(wanted):
                raise ValueError(
                    f"{label!r} does not name one class of subgroups of {self.schoenflies}; the choices are "
                    + ", ".join(f"{c.label!r}" for c in found)
                    + " (directions on the standard axes), or give a PointGroup"
                )
        return self._subgroup(found[0])

    def _subgroup_of_continuous(self, label: str) -> PointGroup:
        name, _, at = label.replace(" ", "").partition("[")
        upright = self._oriented(parse_symbol(name), self.frame)
        across = self._oriented(upright.schoenflies, self.frame @ rotation(np.array([0, 1, 0]), np.pi / 2))
        places = {"001]": upright, "100]": across}
        found = {k: group for k, group in places.items() if self.contains_group(group) and at in ("", k)}
        if not found:
            raise ValueError(
                f"{self.schoenflies} has no subgroup {label} with its standard z axis along [001] or [100]; "
                "give a PointGroup in the orientation you mean"
            )
        if len(found) == 2 and self.dimension == 1 and upright != across:
            raise ValueError(
                f"{label!r} does not name one class of subgroups of {self.schoenflies}; the choices are "
                f"'{name}[001]' and '{name}[100]' (where its standard z axis is), or give a PointGroup"
            )
        return next(iter(found.values()))

    def rotations(self) -> PointGroup:
        """The subgroup of proper rotations, S ∩ SO(3), in this group's orientation."""
        if self.is_finite:
            return _subset(self, np.flatnonzero(np.linalg.det(self.matrices) > 0))
        proper = {"Cinfv": "Cinf", "Cinfh": "Cinf", "Dinfh": "Dinf", "O3": "SO3"}
        return self._oriented(proper.get(self.schoenflies, self.schoenflies), self.frame)

    def indices_of(self, subgroup: PointGroup) -> Subgroup:
        """The positions in ``matrices`` of the elements of a subgroup, sorted.

        Raises
        ------
        ValueError
            The other group is not contained in this one.
        """
        if self.is_finite and subgroup.is_finite:
            index, distance = self._standard.locate(self.frame.T @ subgroup.components @ self.frame)
            if distance.max() < TOLERANCE * 10:
                places = index if self._permutation is None else np.argsort(self._permutation)[index]
                return tuple(sorted(places.tolist()))
        raise ValueError(f"{subgroup.schoenflies}, as oriented here, is not a subgroup of {self.schoenflies}")

    def normalizer(self, parent: str | PointGroup = "O3") -> PointGroup:
        """N(S) = {g : g·S·g⁻¹ = S} with g in ``parent``: ``"O3"``, ``"SO3"`` or a point group that contains S.

        Raises
        ------
        ValueError
            S is not a subgroup of ``parent``.
        """
        whole = parent_group(parent)
        require_inside(self, whole)
        if whole.is_finite:
            return _subset(whole, whole.finite_group.normalizer(whole.indices_of(self)))
        if whole._standard.dimension == 1:
            raise ValueError("normalizers are taken in O3, SO3 or a finite point group")
        improper = whole.schoenflies == "O3"
        if self.schoenflies in ("C1", "Ci", "SO3", "O3"):
            return whole
        return self._oriented(normalizer_name(self.schoenflies, improper), self.frame)

    def generalized_normalizer(self, keep: PointGroup, parent: str | PointGroup = "O3") -> PointGroup:
        """N(S, K) = {g ∈ N(S) : g·K·g⁻¹ is an S-conjugate of K}, for a finite group S with a finite normalizer."""
        n = self.normalizer(parent)
        n._require_finite("a generalized normalizer in a continuous normalizer")
        return _subset(n, n.finite_group.generalized_normalizer(n.indices_of(self), n.indices_of(keep)))

    def complements(self, parent: str | PointGroup = "O3") -> list[PointGroup]:
        """The complements of S in its normalizer, one of each class under the normalizer (finite normalizers)."""
        n = self.normalizer(parent)
        n._require_finite("complements in a continuous normalizer")
        group = n.finite_group
        return [_subset(n, m) for m in group.complements(range(group.order), n.indices_of(self), (group.identity,))]

    # ------------------------------------------------------------------ comparison

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PointGroup):
            return NotImplemented
        return self.schoenflies == other.schoenflies and self.contains_group(other)

    def __hash__(self) -> int:
        return hash(self.schoenflies)

    def _repr_html_(self) -> str | None:
        from pyg_symbreak.plot import notebook_html

        return notebook_html(self)

    def __repr__(self) -> str:
        inside = "" if self.label == self.schoenflies else f", label={self.label!r}"
        turned = "" if np.abs(self.frame - np.eye(3)).max() < TOLERANCE else ", oriented"
        return f"PointGroup({self.schoenflies!r}{inside}{turned})"


def _parse_symbol_or_none(symbol: str) -> str | None:
    """As `parse_symbol`, with None for an unknown symbol."""
    try:
        return parse_symbol(symbol)
    except ValueError:
        return None


def parent_group(parent: str | PointGroup) -> PointGroup:
    """The group meant by a ``parent`` argument: ``"O3"``, ``"SO3"`` or a PointGroup."""
    if isinstance(parent, PointGroup):
        return parent
    if parent not in ("O3", "SO3"):
        raise ValueError(f"parent must be 'O3', 'SO3' or a PointGroup, got {parent!r}")
    return PointGroup(parent)


def require_inside(group: PointGroup, parent: PointGroup) -> None:
    """Raise a ValueError unless ``group`` is a subgroup of ``parent``."""
    if parent.schoenflies == "SO3" and (np.linalg.det(group.components) < 0).any():
        raise ValueError(
            f"{group.schoenflies} has improper elements, which a network equivariant under SO(3) does not know of: "
            f"break its rotations, {group.rotations().schoenflies} = group.rotations()"
        )
    if not parent.contains_group(group):
        raise ValueError(f"{group.schoenflies}, as oriented here, is not a subgroup of {parent.schoenflies}")


def _subset(group: PointGroup, indices: Any) -> PointGroup:
    return PointGroup.of_exact(group.matrices[list(indices)])
