"""What is computed once for each finite group in its standard orientation: products, subgroups and their labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from .finite_group import FiniteGroup, Subgroup
from .names import subgroup_labels
from .orientation import TOLERANCE, place, recognize
from .standard import standard

__all__ = ["Structure", "SubgroupClass", "structure"]


@dataclass(frozen=True, eq=False)
class SubgroupClass:
    """A conjugacy class of subgroups of a standard group, through one member."""

    indices: Subgroup
    schoenflies: str
    frame: np.ndarray
    conjugates: int
    label: str


class Structure:
    """A finite group in its standard orientation; `structure` makes and keeps one for each name.

    Attributes
    ----------
    elements : float64 array [order, 3, 3]
    group : FiniteGroup
        The same elements, by their positions.
    """

    def __init__(self, name: str):
        self.elements = standard(name).elements
        axial = standard(name).axial
        self.group: FiniteGroup = FiniteGroup(_table(self.elements)) if axial is None else axial

    @cached_property
    def classes(self) -> list[SubgroupClass]:
        """The conjugacy classes of subgroups, small ones first."""
        plain = []
        for members in self.group.subgroup_classes:
            # the member whose elements come first in the readable order, so that [001] is preferred to [100]
            indices = members[0]
            elements = self.elements[list(indices)]
            name = recognize(elements, TOLERANCE)
            plain.append((indices, name, place(name, elements, TOLERANCE)[0], len(members)))
        labels = subgroup_labels([(name, self.elements[list(indices)]) for indices, name, _, _ in plain])
        return [SubgroupClass(*p, label) for p, label in zip(plain, labels, strict=True)]


def _table(elements: np.ndarray) -> np.ndarray:
    products = np.einsum("aij,bjk->abik", elements, elements).reshape(-1, 9)
    return np.argmax(products @ elements.reshape(-1, 9).T, axis=1).reshape(len(elements), len(elements))


@cache
def structure(name: str) -> Structure:
    """The structure of a finite group, by its Schoenflies name."""
    return Structure(name)
