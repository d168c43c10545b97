"""Two-dimensional lattices as graphs with faces, and the U(1) gauge theory on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import ive
from torch import Tensor
from torch_geometric.data import Data

__all__ = ["CellComplex", "GaugeSums", "exact_sums", "square_lattice", "triangular_lattice", "wrap"]


def wrap(angle: Tensor) -> Tensor:
    """The angle in [-π, π) that differs by a multiple of 2π."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


class CellComplex(Data):
    """A graph with faces: sites, links between them, and plaquettes, each bounded by a closed walk of links.

    ================== ============ ===========================================================================
    key                shape        meaning
    ================== ============ ===========================================================================
    ``edge_index``     long [2, L]  the links, each once, from its site of lower to that of higher number
    ``boundary_index`` long [2, K]  a plaquette and a link of its boundary
    ``boundary_sign``  [K]          1 where the plaquette is walked around along the link, -1 against it
    ``stripe``         long [L]     lattices only: links of one stripe bound no plaquette together
    ================== ============ ===========================================================================

    All plaquettes are walked around the same way, so that a link inside the surface has one plaquette with each sign.
    A field of links is a tensor of angles [..., L]. Complexes make batches as any ``Data``.

    Examples
    --------
    >>> torus = square_lattice(4)
    >>> torus.num_nodes, torus.num_links, torus.num_plaquettes, torus.is_closed
    (16, 32, 16, True)
    >>> links = torch.rand(3, torus.num_links)
    >>> torus.plaquettes(links).shape
    torch.Size([3, 16])
    """

    @classmethod
    def from_faces(cls, faces: Sequence[Sequence[int]]) -> CellComplex:
        """The complex of some faces, each a cycle of sites, all with the same sense of rotation.

        Raises
        ------
        ValueError
            A face has fewer than three sites or a site twice, or two faces run along a link the same way: then the
            surface has no orientation, or more than two faces meet.

        Examples
        --------
        >>> tetrahedron = CellComplex.from_faces([(0, 1, 2), (0, 3, 1), (1, 3, 2), (2, 3, 0)])
        >>> tetrahedron.num_links, tetrahedron.is_closed
        (6, True)
        """
        links: dict[tuple[int, int], int] = {}
        entries: dict[tuple[int, int], int] = {}
        for number, face in enumerate(faces):
            if len(face) < 3 or len(set(face)) < len(face):
                raise ValueError(
                    f"faces[{number}] is {tuple(face)}: a face is a cycle of three or more sites, each once"
                )
            for a, b in zip(face, [*face[1:], face[0]], strict=True):
                link = links.setdefault((min(a, b), max(a, b)), len(links))
                sign = 1 if a < b else -1
                if (link, sign) in entries:
                    raise ValueError(
                        f"faces[{entries[link, sign]}] and faces[{number}] both run from site {a} to site {b}: "
                        "neighbouring faces must run along their link in opposite ways"
                    )
                entries[link, sign] = number
        rows = [(face, link, sign) for (link, sign), face in entries.items()]
        table = torch.tensor(sorted(rows)).T
        return cls(
            edge_index=torch.tensor(list(links)).T.contiguous(),
            boundary_index=table[:2].contiguous(),
            boundary_sign=table[2].to(torch.get_default_dtype()),
            num_nodes=1 + max(map(max, faces)),
        )

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key == "boundary_index":
            return torch.tensor([[self.num_plaquettes], [self.num_links]])
        return super().__inc__(key, value, *args, **kwargs)

    @property
    def num_links(self) -> int:
        """L."""
        return self.edge_index.shape[1]

    @property
    def num_plaquettes(self) -> int:
        """The number of faces."""
        return int(self.boundary_index[0].max()) + 1

    @property
    def is_closed(self) -> bool:
        """Whether the surface has no boundary, as a torus has none."""
        return self.boundary_index.shape[1] == 2 * self.num_links

    def boundary(self, dtype: torch.dtype | None = None) -> Tensor:
        """The matrix [plaquettes, L] of the signs: it makes plaquette angles of link angles."""
        out = torch.zeros(self.num_plaquettes, self.num_links, dtype=dtype or self.boundary_sign.dtype)
        out[self.boundary_index[0], self.boundary_index[1]] = self.boundary_sign.to(out.dtype)
        return out

    def plaquettes(self, links: Tensor) -> Tensor:
        """The angles around the plaquettes [..., plaquettes], not wrapped."""
        face, link = self.boundary_index
        out = links.new_zeros(*links.shape[:-1], self.num_plaquettes)
        return out.index_add(-1, face, links[..., link] * self.boundary_sign.to(links.dtype))

    def action(self, links: Tensor, beta: float) -> Tensor:
        """Wilson's action -β Σ cos P of each field, [...]."""
        return -beta * self.plaquettes(links).cos().sum(-1)

    def charge(self, links: Tensor) -> Tensor:
        """The topological charge Σ P / 2π with each P in [-π, π): an integer on closed surfaces, [...]."""
        return wrap(self.plaquettes(links)).sum(-1) / (2 * math.pi)

    def gauge_transform(self, links: Tensor, phases: Tensor) -> Tensor:
        """The same field in other phases [..., N] at the sites: θ → θ + α(source) - α(target)."""
        source, target = self.edge_index
        return links + phases[..., source] - phases[..., target]


def square_lattice(width: int, height: int | None = None, periodic: bool = True) -> CellComplex:
    """Square lattice of width times height sites; a torus if periodic.

    Its stripes are those of Kanwar et al. (2020): links of one direction in every fourth line. A torus has them if
    both sides are multiples of four.
    """
    corners = [[(0, 0), (1, 0), (1, 1), (0, 1)]]
    return _lattice(corners, width, height or width, periodic, directions=2, period=4)


def triangular_lattice(width: int, height: int | None = None, periodic: bool = True) -> CellComplex:
    """Triangular lattice of width times height sites; a torus if periodic.

    Its stripes are the links of one direction in every second line. A torus has them if both sides are even.
    """
    corners = [[(0, 0), (1, 0), (0, 1)], [(1, 0), (1, 1), (0, 1)]]
    return _lattice(corners, width, height or width, periodic, directions=3, period=2)


def _lattice(corners: list, width: int, height: int, periodic: bool, directions: int, period: int) -> CellComplex:
    least = 3 if periodic else 2
    if min(width, height) < least:
        raise ValueError(f"width and height must be {least} or more, got {width} and {height}")
    cells = [(x, y) for y in range(height - (not periodic)) for x in range(width - (not periodic))]
    out = CellComplex.from_faces(
        [[(x + i) % width + width * ((y + j) % height) for i, j in face] for x, y in cells for face in corners]
    )
    site = torch.arange(width * height)
    out.pos = torch.stack([site % width, site // width], dim=1).to(torch.get_default_dtype())
    if not periodic or (width % period == 0 and height % period == 0):
        start, end = (torch.stack([s % width, s // width]) for s in out.edge_index)
        step = (end - start + 1) % torch.tensor([[width], [height]]) - 1  # across the seam too; 1, 0 or -1
        # Links along x count their row, those along y their column, diagonals the sum of both.
        direction = (step[0] != 0) + 2 * (step[1] != 0) - 1
        forward = torch.where((step.sum(0) > 0) | ((direction == 2) & (step[0] > 0)), start, end)
        line = torch.stack([forward[1], forward[0], forward.sum(0)]).gather(0, direction[None])[0]
        out.stripe = direction + directions * (line % period)
    return out


class GaugeSums(NamedTuple):
    """What :func:`exact_sums` gives."""

    log_z: float
    plaquette: float
    charge_squared: float


def exact_sums(beta: float, num_plaquettes: int, closed: bool = True) -> GaugeSums:
    r"""The U(1) theory with Wilson's action on a surface of N plaquettes, exactly.

    On a closed orientable surface of any genus, with links of measure :math:`d\theta/2\pi`,
    :math:`Z = \sum_k c_k^N` with :math:`c_k = \int e^{\beta \cos P - ikP} dP/2\pi = I_k(\beta)`; with an open boundary
    the plaquettes are independent and :math:`Z = I_0^N`. So :math:`\langle \cos P \rangle = \partial_\beta \log Z / N`.
    With :math:`e^{i\vartheta P/2\pi}` in the integral, :math:`\langle Q^2 \rangle = -\partial_\vartheta^2 \log Z` at 0
    (A. A. Migdal, Sov. Phys. JETP 42, 413 (1975); U.-J. Wiese, Nucl. Phys. B 318, 153 (1989)).

    Parameters
    ----------
    beta : float
        Inverse coupling, not negative.
    num_plaquettes : int
    closed : bool

    Returns
    -------
    GaugeSums
        ``log_z``, ``plaquette`` ⟨cos P⟩ and ``charge_squared`` ⟨Q²⟩ of Q = Σ P/2π, P in [-π, π).

    Examples
    --------
    >>> [round(x, 6) for x in exact_sums(2.0, 64)]
    [52.735587, 0.697775, 1.239299]
    """
    n = num_plaquettes
    k = np.arange(-60, 61) if closed else np.zeros(1)
    c = ive(k, beta) + 1e-300
    slope = (ive(k - 1, beta) + ive(k + 1, beta)) / 2
    z = (c / c.max()) ** n
    mean = float((z / c * slope).sum() / z.sum())
    angle = (np.arange(4000) + 0.5) * 2 * math.pi / 4000 - math.pi
    weight = np.exp(beta * (np.cos(angle) - 1)) / 4000
    winding = angle / (2 * math.pi)
    first = (weight * winding * np.sin(k[:, None] * angle)).sum(1)  # d c_k / dϑ, real
    second = -(weight * winding**2 * np.cos(k[:, None] * angle)).sum(1)
    c = np.cos(k[:, None] * angle) @ weight
    z = (c / c.max()) ** (n - 2)
    square = -float((z * (n * c * second + n * (n - 1) * first**2)).sum() / (z * c**2).sum())
    log_z = n * (math.log(ive(0, beta)) + beta) + math.log(float(((ive(k, beta) / ive(0, beta)) ** n).sum()))
    return GaugeSums(log_z, mean, square)
