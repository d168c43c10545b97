"""One vacuum is learned, and all that are equivalent get the same weight."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.detect import Symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices

from .flow import Flow

__all__ = ["VacuumMixture"]


class VacuumMixture(Flow):
    r"""The density of :math:`x = g\,y`, with y from a flow on one vacuum and g uniform over the cosets G/K.

    .. math:: q(x) = \frac{|K|}{|G|} \sum_{gK \in G/K} q_0(g^{-1} x)

    The representatives g are the motions of :func:`breaking_set` from G to K, whose objects name the vacua. If
    :math:`q_0` is invariant under K, q is invariant under G, gives each vacuum the same weight, and the mean of
    whatever G turns to zero is zero; yet each sample lies in one vacuum.

    For a continuous G, rows are spins: unit vectors. The flow gives all spins with the first at rest at some
    direction :math:`b_0`, with a density of the other spins, and g turns :math:`b_0` to a uniform direction of its
    orbit, a circle or a sphere. So with the turn :math:`g_x` from :math:`b_0` to the first spin of x,
    :math:`q(x) = q_0(g_x^{-1} x) / \mathrm{vol}(G/K)`.

    Parameters
    ----------
    flow : Flow
        Of x [n, N, d], N rows (of nodes) in ``irreps``; invariant under K.
    group : PointGroup or Symmetry
        G. It acts on each row; that of a structure, as `detect_symmetry` gives it, also exchanges the rows.
    keep : PointGroup or str, optional
        K, the symmetry of a vacuum. Default: nothing is kept.
    irreps : str or e3nn Irreps
        How a row transforms: "0o" under "Ci" for fields that change sign; "1o" for spins and displacements.

    Attributes
    ----------
    objects : BreakingSet
        The set whose objects are the vacua.

    Raises
    ------
    ValueError
        K is not in G (see :func:`breaking_set`); G is continuous and rows are not vectors, an object is not one, or
        the first row of the flow is not the same unit vector in all samples.

    Examples
    --------
    >>> from torch_geometric.utils import erdos_renyi_graph
    >>> from pyg_symbreak.flows import FieldFlow
    >>> flow = FieldFlow(erdos_renyi_graph(6, 0.5), 6, start=9.0)
    >>> both = VacuumMixture(flow, PointGroup("Ci"), irreps="0o")
    >>> x, log_prob = both.sample(200)
    >>> x.shape, both.num_vacua, bool((both.vacuum(x) == (x.mean((1, 2)) < 0)).all())
    (torch.Size([200, 6, 1]), 2, True)
    >>> torch.allclose(both.log_prob(-x), log_prob, atol=1e-4)
    True
    """

    motions: Tensor
    moves: Tensor
    reference: Tensor

    def __init__(
        self,
        flow: Flow,
        group: PointGroup | Symmetry,
        keep: PointGroup | str | None = None,
        irreps: str = "1o",
    ):
        super().__init__()
        self.flow = flow
        whole = group.group if isinstance(group, Symmetry) else group
        with torch.no_grad():
            y = flow.sample(2, torch.Generator().manual_seed(0))[0]
        if whole.is_finite:
            self.objects = breaking_set(whole, keep, parent=whole)
            elements = self.objects.motions
            moves = np.tile(np.arange(y.shape[1]), (len(elements), 1))
            if isinstance(group, Symmetry):
                distances = np.abs(elements[:, None] - group.rotations.numpy()).max((2, 3))
                moves = group.permutations.numpy()[distances.argmin(1)]
            self.register_buffer("motions", torch.from_numpy(irreps_matrices(irreps, elements)).to(y.dtype))
            self.register_buffer("moves", torch.from_numpy(moves))
        else:
            self.objects = breaking_set(whole, keep)
            if str(self.objects.irreps) != "1x1o" or str(irreps) not in ("1o", "1x1o"):
                raise ValueError(
                    f"a continuous group needs rows and objects that are vectors, 1o; rows are {irreps}, objects "
                    f"{self.objects.irreps}"
                )
            if (y[0, 0] - y[1, 0]).abs().max() > 1e-6 or abs(y[0, 0].norm() - 1) > 1e-6:
                raise ValueError("flow: the first row must be the same unit vector in all samples")
            self.register_buffer("reference", y[0, 0])
            self.volume = 2 * math.pi if whole.dimension == 1 else 4 * math.pi

    @property
    def num_vacua(self) -> int | float:
        """|G|/|K|, or ``math.inf``."""
        return self.objects.size

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Samples [n, N, d], each in one vacuum, and their log-densities [n]."""
        y, log_prob = self.flow.sample(n, generator)
        if self.num_vacua == math.inf:
            targets = self.objects.sample(n, generator).to(y.dtype)
            return y @ self._turn(targets / targets.norm(dim=1, keepdim=True)).mT, log_prob - math.log(self.volume)
        which = torch.randint(len(self.motions), (n,), generator=generator)
        x = torch.zeros_like(y).scatter(1, self.moves[which][:, :, None].expand(y.shape), y @ self.motions[which].mT)
        return x, self.log_prob(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-densities [n] of some x [n, N, d]."""
        if self.num_vacua == math.inf:
            return self.flow.log_prob(x @ self._turn(x[:, 0])) - math.log(self.volume)
        return self._each(x).logsumexp(0) - math.log(len(self.motions))

    def vacuum(self, x: Tensor) -> Tensor:
        """The vacuum that each x most likely comes from, long [n]: numbers of ``objects``."""
        return self._each(x).argmax(0)

    def _each(self, x: Tensor) -> Tensor:
        """log q0(g⁻¹ x) for each g, [vacua, n]."""
        back = [x[:, move] @ motion for move, motion in zip(self.moves, self.motions, strict=True)]
        return self.flow.log_prob(torch.cat(back)).view(len(back), -1)

    def _turn(self, targets: Tensor) -> Tensor:
        """The rotation in a plane that carries the reference to each target [n, 3], as two half turns, [n, 3, 3]."""
        half = self.reference + targets
        half = half / half.norm(dim=1, keepdim=True)
        unit = torch.eye(3, dtype=targets.dtype)
        first = 2 * torch.outer(self.reference, self.reference) - unit
        return (2 * half[:, :, None] * half[:, None, :] - unit) @ first

    def __repr__(self) -> str:
        return f"VacuumMixture({self.flow}, {self.objects.group.schoenflies}, vacua={self.num_vacua})"
