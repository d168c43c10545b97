"""What is computed once for each finite group in its standard orientation: subgroups, labels, normalizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from .finite_group import FiniteGroup, Subgroup
from .names import subgroup_labels
from .orientation import TOLERANCE, alignments, identify
from .standard import axis_and_angle, standard

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
    """What is computed once for each finite group, in its standard orientation."""

    def __init__(self, name: str):
        self.name = name
        self.elements = standard(name).elements
        flat = self.elements.reshape(len(self.elements), 9)
        products = np.einsum("aij,bjk->abik", self.elements, self.elements).reshape(-1, 9)
        self.group = FiniteGroup(np.argmax(products @ flat.T, axis=1).reshape(len(flat), len(flat)))
        det = np.sign(np.linalg.det(self.elements))
        self.axes, angles = axis_and_angle(self.elements * det[:, None, None])
        turned = self.axes[angles > 1e-6]
        self.is_cyclic = len(turned) == 0 or np.abs(np.cross(turned, turned[0])).max() < TOLERANCE

    @cached_property
    def classes(self) -> list[SubgroupClass]:
        """The conjugacy classes of subgroups, small ones first."""
        plain = []
        for members in self.group.subgroup_classes:
            # the member whose elements come first in the readable order, so that [001] is preferred to [100]
            indices = members[0]
            name, frame = identify(self.elements[list(indices)], TOLERANCE)
            plain.append((indices, name, frame, len(members)))
        labels = subgroup_labels([(name, self.elements[list(indices)]) for indices, name, _, _ in plain])
        return [SubgroupClass(*p, label) for p, label in zip(plain, labels, strict=True)]

    @cache  # noqa: B019  (structures live as long as the process)
    def normalizer(self, improper: bool) -> tuple[str, np.ndarray]:
        """Name and frame of the normalizer in O(3), or in SO(3), where it is finite."""
        turns = alignments(self.elements, self.elements, TOLERANCE)
        return identify(np.concatenate([turns, -turns]) if improper else turns, TOLERANCE)


@cache
def structure(name: str) -> Structure:
    """The structure of a finite group, by its Schoenflies name."""
    return Structure(name)
