"""Canonical forms of fields on square lattices with periodic boundaries: the group p4m modulo L, 8 L² elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["LatticeKernel", "canonicalize_lattice", "lattice_action", "lattice_points"]

TIE = 1e-9
"""Difference, relative to the norms, up to which two energies are equal."""
ROUND_OFF = 1e-14
"""The same, relative to the norms with the means."""

PointAction = Callable[[Tensor, int], Tensor]


def lattice_points(field: Tensor, k: int) -> Tensor:
    """The point operation k = 0 ... 7 of the square on a field of scalars [..., L, L].

    ``k % 4`` quarter turns, after a reflection of the last axis if k ≥ 4.
    """
    return torch.rot90(field.flip(-1) if k >= 4 else field, k % 4, (-2, -1))


def lattice_action(element: Tensor, field: Tensor, point: PointAction = lattice_points) -> Tensor:
    """An element (k, a, b) of p4m on a field [..., L, L]: point operation k, then a shift by a rows and b columns."""
    k, a, b = (int(i) for i in element)
    return torch.roll(point(field, k), (a, b), (-2, -1))


@dataclass(frozen=True, eq=False)
class LatticeKernel:
    """The uniform law on the elements of p4m that make the canonical form the field.

    Attributes
    ----------
    elements : Tensor
        long [order, 3]: all elements h, with h·c = x for the canonical form c of the field x, as (k, a, b) for
        :func:`lattice_action`. They are the coset S·h of the symmetry S of the field.
    """

    elements: Tensor
    _field: Tensor
    _point: PointAction

    @property
    def order(self) -> int:
        """The number of elements: the order of the symmetry of the field."""
        return len(self.elements)

    @cached_property
    def canonical(self) -> Tensor:
        """The canonical form [C, L, L], the same for all g·x."""
        pattern = _pattern(self._field)
        moved = lattice_action(self.elements[0], pattern, self._point)
        inverse = _nearest(moved, pattern, self._point)[0]
        return lattice_action(inverse, self._field, self._point)

    def sample(self, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Elements drawn independently and uniformly, long [n, 3]."""
        return self.elements[torch.randint(self.order, (n,), generator=generator)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(order={self.order}, size={self._field.shape[-1]})"


def canonicalize_lattice(field: Tensor, point: PointAction = lattice_points) -> LatticeKernel:
    r"""The canonical form of a field on a periodic square lattice under p4m, and the elements that lead back to it.

    The elements h are those of least energy :math:`-\langle h w, x \rangle`, with w a fixed field without symmetry:
    least for the means of the channels, and among those least for what the field is besides. Of 8 L² elements all
    that are in the symmetry of the field tie.

    Parameters
    ----------
    field : Tensor [C, L, L]
        Whole or floating point numbers, such as spins or couplings.
    point : callable
        From a field [C, L, L] and k = 0 ... 7 to the field moved by the point operation k (see
        :func:`lattice_points`, the default, where each channel is a scalar). Where channels are components of vectors,
        or live on bonds, it permutes them, with signs and shifts, as these eight operations do.

    Returns
    -------
    LatticeKernel

    Raises
    ------
    ValueError
        The field is not [C, L, L] and finite.

    Examples
    --------
    >>> checkerboard = torch.tensor([[[1, -1, 1, -1], [-1, 1, -1, 1]] * 2]).view(1, 4, 4)
    >>> canonicalize_lattice(checkerboard)
    LatticeKernel(order=64, size=4)
    """
    if field.dim() != 3 or field.shape[1] != field.shape[2] or not field.isfinite().all():
        raise ValueError(f"field must be finite numbers [C, L, L] on a square lattice, got shape {list(field.shape)}")
    x = field.detach().cpu().double()
    return LatticeKernel(_nearest(_pattern(x), x, point), field, point)


def _pattern(field: Tensor) -> Tensor:
    """A fixed field without symmetry."""
    return torch.randn(field.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _nearest(pattern: Tensor, field: Tensor, point: PointAction) -> Tensor:
    """The elements (k, a, b) of greatest overlap [n, 3]: of the means, then, where those tie, of the rest."""
    means = [x.mean((1, 2), keepdim=True).expand_as(x) for x in (pattern, field)]
    norms = pattern.norm() * field.norm()
    tied = torch.ones(8, *field.shape[1:], dtype=torch.bool)
    for p, x in (means, (pattern - means[0], field - means[1])):
        overlaps = _overlaps(p, x, point).masked_fill(~tied, -torch.inf)
        tied &= overlaps >= overlaps.max() - TIE * p.norm() * x.norm() - ROUND_OFF * norms
    return tied.nonzero()


def _overlaps(pattern: Tensor, field: Tensor, point: PointAction) -> Tensor:
    """⟨h·pattern, field⟩ for all h = (k, a, b), [8, L, L]."""
    moved = torch.fft.fft2(torch.stack([point(pattern, k) for k in range(8)]))
    return torch.fft.ifft2((torch.fft.fft2(field) * moved.conj()).sum(1)).real
