"""Gauge invariant flows on two-dimensional lattices: couplings of links that move loops."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order
from scipy.special import ive
from torch import Tensor, nn
from torch_geometric.nn import GraphConv

from .cell_complex import CellComplex, wrap
from .circular import circular_spline, spline_size
from .flow import Flow

__all__ = ["GaugeFlow"]

_HARMONICS = 3


class GaugeFlow(Flow):
    r"""A density of U(1) link angles that is gauge invariant exactly.

    It starts with uniform links. Each coupling takes some active links, no two of which bound a plaquette together,
    and a loop P through each that crosses no other active link. It moves the link so that :math:`P \mapsto h(P)`, where
    h is a spline of the circle whose parameters are made of loops that the active links leave as they are. All that
    enters is a loop, so that the density is gauge invariant, and the samples move with a gauge transformation of the
    uniform ones (G. Kanwar et al., Phys. Rev. Lett. 125, 121601 (2020), arXiv 2003.06413).

    With the schedule "stripes" (theirs) the loop is the plaquette to one side of the link. The context is the loop
    around the plaquettes to both sides, and, through two graph convolutions on the dual graph, the plaquettes that the
    coupling leaves alone.

    With "tree" each link is active once that crosses a spanning tree of the dual graph (whose nodes are the plaquettes,
    and one for the outside where the lattice is open). Taking such a link out cuts a tree into two parts, and each part
    is cut again, as evenly as it can be, so that about 2 log N couplings cut a tree of N plaquettes. The loop is that
    around the one part, x, and the context that around both, s, with the numbers a and b of plaquettes in the parts.
    All splits share one network, and so one network serves lattices of any size. Wilson's theory is in reach of it
    exactly: its plaquettes are independent but for their sum, so that
    :math:`p(x | s) \propto f_a(x) f_b(s - x)` with the a-fold convolution :math:`f_a` of the law
    :math:`f_1 \propto e^{\beta \cos P}` of one plaquette, whatever else there is outside of the two parts.

    Parameters
    ----------
    complex : CellComplex
    schedule : "tree" or "stripes"
    bins : int
        Of the splines.
    hidden : int
        Width of the networks.
    layers : int
        Couplings with "stripes": the stripes take turns.

    Raises
    ------
    ValueError
        The dual graph is in several pieces, or "stripes" is asked for where the lattice has none.

    Examples
    --------
    >>> from pyg_symbreak.flows import square_lattice
    >>> torus = square_lattice(4)
    >>> flow = GaugeFlow(torus)
    >>> links, log_prob = flow.sample(10)
    >>> links.shape, log_prob.shape
    (torch.Size([10, 32]), torch.Size([10]))
    >>> moved = torus.gauge_transform(links, torch.rand(10, 16))
    >>> torch.allclose(flow.log_prob(moved), log_prob, atol=1e-2)
    True
    """

    def __init__(
        self,
        complex: CellComplex,
        schedule: Literal["tree", "stripes"] = "tree",
        bins: int = 16,
        hidden: int = 64,
        layers: int = 16,
    ):
        super().__init__()
        self.num_links = complex.num_links
        if schedule == "tree":
            steps = list(_tree_steps(complex))
            self.net = _network(2 * _HARMONICS + 4, hidden, bins)
            self.couplings = nn.ModuleList(_Split(self.net, *step) for step in steps)
            self.sizes = torch.cat([step[-1] for step in steps])
        elif schedule == "stripes":
            if "stripe" not in complex:
                raise ValueError(
                    "complex.stripe is missing: tori have stripes if their sides are multiples of 4 (square) or 2 "
                    "(triangular); schedule='tree' needs none"
                )
            stripes = complex.stripe.unique()
            self.couplings = nn.ModuleList(
                _Stripe(complex, complex.stripe == stripes[i % len(stripes)], hidden, bins) for i in range(layers)
            )
        else:
            raise ValueError(f"schedule must be 'tree' or 'stripes', got {schedule!r}")
        self.schedule = schedule

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Fields [n, L] in [-π, π), and their log-densities [n] in the measure ∏ dθ."""
        like = next(self.parameters())
        z = torch.rand(n, self.num_links, generator=generator, dtype=like.dtype, device=like.device)
        links, log_slope = self((2 * z - 1) * math.pi)
        return wrap(links), -self.num_links * math.log(2 * math.pi) - log_slope

    def forward(self, links: Tensor) -> tuple[Tensor, Tensor]:
        """What becomes of some uniform links [n, L], and the log-determinant [n] of that map."""
        total = links.new_zeros(len(links))
        for coupling in self.couplings:
            links, log_slope = coupling(links)
            total = total + log_slope
        return links, total

    def log_prob(self, links: Tensor) -> Tensor:
        """The log-density [n] of some fields [n, L] in the measure ∏ dθ."""
        total = links.new_zeros(len(links))
        for coupling in reversed(list(self.couplings)):
            links, log_slope = coupling(links, inverse=True)
            total = total + log_slope
        return total - self.num_links * math.log(2 * math.pi)

    def fit_plaquettes(
        self,
        beta: float,
        steps: int = 1500,
        batch: int = 2048,
        lr: float = 1e-2,
        generator: torch.Generator | None = None,
    ) -> list[float]:
        r"""Fit the splits of the schedule "tree" to the law of one plaquette, before any training on fields.

        It takes the plaquettes to be independent but for their sum, with the law :math:`f_1 \propto e^{\beta \cos P}`,
        and lowers the Kullback-Leibler divergence of h from :math:`f_a(x) f_b(s - x)` at fresh points x and s of a
        Sobol sequence. (At fixed ones a spline may hide a spike between them.)

        Returns
        -------
        list of float
            The mean divergence of a split at each step.
        """
        if self.schedule != "tree":
            raise ValueError("fit_plaquettes is for schedule='tree': with 'stripes' the couplings share the links")
        sizes, net = self.sizes, self.net
        law = _SplitLaw(beta, sizes)
        optimizer = torch.optim.Adam(net.parameters(), lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        like = next(self.parameters())
        seed = int(torch.randint(2**31, (), generator=generator))
        points = torch.quasirandom.SobolEngine(3, scramble=True, seed=seed)
        losses = []
        for _ in range(steps):
            u, x, s = points.draw(batch, dtype=like.dtype).T
            which = (u * len(sizes)).long().clamp(max=len(sizes) - 1)
            x, s = (2 * x - 1) * math.pi, torch.where(law.closed[which], 0.0, (2 * s - 1) * math.pi)
            y, log_slope = circular_spline(x, net(_features(s, sizes[which].to(like.dtype))))
            loss = (-math.log(2 * math.pi) - log_slope - law(y, s, which)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        return losses

    def __repr__(self) -> str:
        return f"GaugeFlow({self.num_links} links, schedule={self.schedule!r}, {len(self.couplings)} couplings)"


class _Coupling(nn.Module):
    """Active links, each with a loop through it."""

    loop: Tensor
    active: Tensor
    sign: Tensor

    def __init__(self, loop: Tensor, active: Tensor):
        super().__init__()
        self.register_buffer("loop", loop, persistent=False)  # [J, L]
        self.register_buffer("active", active, persistent=False)  # long [J]
        self.register_buffer("sign", loop[torch.arange(len(active)), active], persistent=False)

    def parameters_of(self, links: Tensor) -> Tensor:
        """Parameters of the splines [n, J, p], made of loops without active links."""
        raise NotImplementedError

    def forward(self, links: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        x = links @ self.loop.T
        y, log_slope = circular_spline(x, self.parameters_of(links), inverse)
        return links.index_add(1, self.active, self.sign * wrap(y - x)), log_slope.sum(1)


class _Split(_Coupling):
    """Links that cut disjoint trees, each into a part of a plaquettes and a part of b."""

    around: Tensor
    sizes: Tensor

    def __init__(self, net: nn.Module, loop: Tensor, around: Tensor, active: Tensor, sizes: Tensor):
        super().__init__(loop, active)
        self.net = net
        self.register_buffer("around", around, persistent=False)  # [J, L]
        self.register_buffer("sizes", sizes, persistent=False)  # [J, 2]: a and b, inf with the outside

    def parameters_of(self, links: Tensor) -> Tensor:
        s = links @ self.around.T
        return self.net(_features(s, self.sizes.expand(len(links), -1, -1)))


def _features(s: Tensor, sizes: Tensor) -> Tensor:
    """What the network of a split sees: harmonics of the loop around both parts, and the sizes of the parts."""
    angles = s[..., None] * torch.arange(1, _HARMONICS + 1, dtype=s.dtype, device=s.device)
    return torch.cat([angles.cos(), angles.sin(), 1 / sizes, sizes.rsqrt()], dim=-1)


class _SplitLaw:
    """log p(x | s) of splits, p ∝ f_a(x) f_b(s - x), by the Fourier series of the laws; whole trees have s = 0."""

    def __init__(self, beta: float, sizes: Tensor):
        self.k = torch.arange(0, max(8, math.ceil(8 * math.sqrt(beta) + beta)), dtype=torch.float64)
        one = torch.from_numpy(ive(self.k.numpy(), beta) / ive(0, beta))
        n = torch.cat([sizes, sizes.sum(1, keepdim=True)], dim=1).double()
        self.series = torch.where(self.k == 0, 1.0, one ** n[..., None].clamp(max=1e9)) * torch.where(self.k == 0, 1, 2)
        self.closed = n[:, 2].isfinite() & (n[:, 2] == n[:, 2].max())

    def __call__(self, x: Tensor, s: Tensor, which: Tensor) -> Tensor:
        angles = torch.stack([x, s - x, s]).double()
        series = self.series[which].unbind(1)
        log_f = [
            ((angle[:, None] * self.k).cos() * c).sum(1).clamp(min=1e-9).log()
            for angle, c in zip(angles, series, strict=True)
        ]
        return (log_f[0] + log_f[1] - log_f[2] - math.log(2 * math.pi)).to(x.dtype)


class _Stripe(_Coupling):
    """Links of one stripe: a graph convolution sees the plaquettes that they do not bound."""

    around: Tensor
    boundary: Tensor
    frozen: Tensor
    first: Tensor
    edges: Tensor

    def __init__(self, complex: CellComplex, links: Tensor, hidden: int, bins: int):
        boundary = complex.boundary()
        pairs = _sides(complex)[links]
        inside = (pairs < complex.num_plaquettes).all(1)
        pairs, active = pairs[inside], links.nonzero()[:, 0][inside]
        super().__init__(boundary[pairs[:, 0]], active)
        self.register_buffer("around", boundary[pairs[:, 0]] + boundary[pairs[:, 1]], persistent=False)
        frozen = torch.ones(complex.num_plaquettes)
        frozen[pairs.flatten()] = 0
        self.register_buffer("boundary", boundary, persistent=False)
        self.register_buffer("frozen", frozen.to(boundary.dtype), persistent=False)
        self.register_buffer("first", pairs, persistent=False)
        dual = _sides(complex)
        dual = dual[(dual < complex.num_plaquettes).all(1)].T
        self.register_buffer("edges", torch.cat([dual, dual.flip(0)], dim=1), persistent=False)
        self.convs = nn.ModuleList([GraphConv(2, hidden), GraphConv(hidden, hidden)])
        self.net = _network(2 * hidden + 2 * _HARMONICS, hidden, bins)

    def parameters_of(self, links: Tensor) -> Tensor:
        p = links @ self.boundary.T
        x = torch.stack([p.cos(), p.sin()], dim=-1) * self.frozen[:, None]
        for conv in self.convs:
            x = conv(x, self.edges).tanh()
        angles = (links @ self.around.T)[..., None] * torch.arange(1, _HARMONICS + 1, dtype=x.dtype, device=x.device)
        return self.net(torch.cat([x[:, self.first].flatten(2), angles.cos(), angles.sin()], dim=-1))


def _network(inputs: int, hidden: int, bins: int) -> nn.Sequential:
    """Layers that end in the parameters of a spline, and begin their training with the identity."""
    last = nn.Linear(hidden, spline_size(bins))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)


def _sides(complex: CellComplex) -> Tensor:
    """The plaquettes beside each link, long [L, 2]: first that with sign 1; the outside has the last number."""
    out = torch.full((complex.num_links, 2), complex.num_plaquettes)
    face, link = complex.boundary_index
    out[link, (complex.boundary_sign < 0).long()] = face
    return out


def _tree_steps(complex: CellComplex) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Loops, loops around, active links and sizes of the splits of each coupling, whole trees first."""
    boundary: np.ndarray = complex.boundary().numpy()
    weight: np.ndarray = np.ones(len(boundary) + 1)
    if complex.is_closed:
        weight = weight[:-1]
    else:
        boundary = np.concatenate([boundary, -boundary.sum(0, keepdims=True)])
        weight[-1] = np.inf
    trees = [(np.arange(len(weight)), _spanning_tree(_sides(complex).numpy(), len(weight)))]
    while trees := [tree for tree in trees if len(tree[1])]:
        rows, parts = [], []
        for nodes, edges in trees:
            link, left, right = _even_cut(nodes, edges)
            rows.append(
                (boundary[left[0]].sum(0), boundary[nodes].sum(0), link, [weight[x[0]].sum() for x in (left, right)])
            )
            parts += [left, right]
        loop, around, active, sizes = (np.array(column) for column in zip(*rows, strict=True))
        dtype = complex.boundary_sign.dtype
        yield (
            torch.from_numpy(loop).to(dtype),
            torch.from_numpy(around).to(dtype),
            torch.from_numpy(active),
            torch.from_numpy(sizes).to(dtype),
        )
        trees = parts


def _spanning_tree(sides: np.ndarray, count: int) -> np.ndarray:
    """Edges (plaquette, plaquette, link) of a spanning tree of the dual graph, int [count - 1, 3]."""
    number = {tuple(sorted(pair)): link for link, pair in enumerate(sides.tolist())}
    pairs = np.array([pair for pair in number if max(pair) < count]).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(count, count)).tocsr()
    order, before = breadth_first_order(graph, 0, directed=False)
    if len(order) < count:
        raise ValueError(f"complex: only {len(order)} of {count} plaquettes are connected; make a flow for each piece")
    return np.array([(p, before[p], number[tuple(sorted((int(p), int(before[p]))))]) for p in order[1:]])


def _even_cut(nodes: np.ndarray, edges: np.ndarray) -> tuple[int, tuple, tuple]:
    """Where to cut a tree into parts most alike in size: the link there, and both parts with their edges."""
    place = {int(n): i for i, n in enumerate(nodes)}
    ends = np.array([[place[int(a)], place[int(b)]] for a, b, _ in edges])
    graph = coo_array((np.ones(len(ends)), ends.T), shape=(len(nodes), len(nodes))).tocsr()
    order, before = breadth_first_order(graph, 0, directed=False)
    below = np.ones(len(nodes), dtype=int)
    for i in order[:0:-1]:
        below[before[i]] += below[i]
    child = min(order[1:], key=lambda i: abs(2 * int(below[i]) - len(nodes)))
    inside = np.zeros(len(nodes), dtype=bool)
    inside[child] = True
    for i in order:
        inside[i] |= i != order[0] and i != child and inside[before[i]]
    cut = [{int(a), int(b)} == {int(child), int(before[child])} for a, b in ends]
    within = inside[ends].all(1)
    without = ~inside[ends].any(1)
    return int(edges[cut][0, 2]), (nodes[inside], edges[within]), (nodes[~inside], edges[without])
