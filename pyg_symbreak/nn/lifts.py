"""Points lifted to a Lie group that moves them: coordinates of a pair of lifts that the group leaves alone."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pyg_symbreak.groups import LieGroup

__all__ = ["circle_splines", "hat", "pair_invariants", "quadratic", "rotation_log"]

PairInvariants = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From positions [N, d], edges (source, target) [2, E] and frames [N, S, d, d] to the invariants [E, S, S, k]."""


def pair_invariants(group: LieGroup, dim: int) -> tuple[PairInvariants, int, bool]:
    """The invariants of a pair of lifted points, their number k, and whether lifts are drawn at random.

    A point x is lifted to an element u of the group with x = u·o, where o is the origin of its orbit. What no element
    changes of a pair of lifts (v, u) is log(v⁻¹u) and the two orbits.

    Raises
    ------
    ValueError
        The lifts to this group are not known.
    """
    turns = dim * (dim - 1) // 2
    if group.dimension == 0:
        return _orbits_only, 2 * dim, False
    if _same_span(group, LieGroup.translations(dim)):
        return _offset, dim, False
    if dim > 1 and _same_span(group, LieGroup.euclidean(dim)):
        return _rigid_motion, dim + turns, True
    if _same_span(group, LieGroup.scalings(dim)):
        return _scaled, 1 + 2 * dim, False
    if dim == 2:
        turn, scale = LieGroup.rotations(2), LieGroup.scalings(2)
        if _same_span(group, turn):
            return _turned, 3, False
        if _same_span(group, LieGroup(np.concatenate([turn.generators, scale.generators]))):
            return _log_polar, 2, False
    raise ValueError(
        f"points of {dim} dimensions are not lifted to {group}: known are LieGroup.translations({dim}), "
        f".euclidean({dim}), .scalings({dim}), about the origin of the plane rotations(2) and these with scalings, and "
        "the group without generators. Check dim, or take a finite PointGroup"
    )


def _same_span(a: LieGroup, b: LieGroup) -> bool:
    if a.generators.shape != b.generators.shape:
        return False
    both = np.concatenate([a.generators, b.generators]).reshape(2 * a.dimension, -1)
    return int(np.linalg.matrix_rank(both, tol=1e-6 * np.abs(both).max())) == a.dimension


def _ends(pos: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [E, 1, 1, d] of the target and of the source of each edge."""
    target, source = pos.index_select(0, edge_index[1]), pos.index_select(0, edge_index[0])
    return target[:, None, None], source[:, None, None]


def _orbits_only(pos: Tensor, edge_index: Tensor, frames: Tensor | None) -> Tensor:
    return torch.cat(_ends(pos, edge_index), dim=-1)


def _offset(pos: Tensor, edge_index: Tensor, frames: Tensor | None) -> Tensor:
    target, source = _ends(pos, edge_index)
    return source - target


def _turned(pos: Tensor, edge_index: Tensor, frames: Tensor | None) -> Tensor:
    ends = _ends(pos, edge_index)
    return torch.cat([_angle_between(*ends), *(p.norm(dim=-1, keepdim=True) for p in ends)], dim=-1)


def _scaled(pos: Tensor, edge_index: Tensor, frames: Tensor | None) -> Tensor:
    ends = _ends(pos, edge_index)
    return torch.cat([_log_ratio(*ends), *(p / p.norm(dim=-1, keepdim=True) for p in ends)], dim=-1)


def _log_polar(pos: Tensor, edge_index: Tensor, frames: Tensor | None) -> Tensor:
    ends = _ends(pos, edge_index)
    return torch.cat([_angle_between(*ends), _log_ratio(*ends)], dim=-1)


def _angle_between(target: Tensor, source: Tensor) -> Tensor:
    """The angle from target to source about the origin, between -π and π, from cross and dot product."""
    cross = target[..., :1] * source[..., 1:] - target[..., 1:] * source[..., :1]
    return torch.atan2(cross, (target * source).sum(-1, keepdim=True))


def _log_ratio(target: Tensor, source: Tensor) -> Tensor:
    return (source.norm(dim=-1, keepdim=True) / target.norm(dim=-1, keepdim=True)).log()


def _rigid_motion(pos: Tensor, edge_index: Tensor, frames: Tensor | None) -> Tensor:
    """log(v⁻¹u) for v = (x_i, R_i), u = (x_j, R_j): with ω = log(R_iᵀR_j), the pair V(ω)⁻¹R_iᵀ(x_j - x_i) and ω."""
    assert frames is not None
    target, source = frames.index_select(0, edge_index[1]), frames.index_select(0, edge_index[0])
    turn = target.mT[:, :, None] @ source[:, None]  # [E, S, S, d, d]
    algebra, angle = rotation_log(turn)
    # V(ω)⁻¹ = 1 - Ω/2 + (1 - θ/2 cot θ/2) Ω²/θ², whose last factor tends to 1/12
    half = angle.clamp(min=1e-4) / 2
    factor = torch.where(angle > 1e-4, (1 - half / half.tan()) / (2 * half) ** 2, torch.full_like(half, 1 / 12))
    inverse = torch.eye(pos.size(1)).to(pos) - algebra / 2 + factor[..., None, None] * (algebra @ algebra)
    offset = pos.index_select(0, edge_index[0]) - pos.index_select(0, edge_index[1])
    local = torch.einsum("esji,ej->esi", target, offset)
    shift = torch.einsum("estij,esj->esti", inverse, local)
    rows, columns = torch.triu_indices(pos.size(1), pos.size(1), 1, device=pos.device)
    return torch.cat([shift, algebra[..., columns, rows]], dim=-1)


def rotation_log(turn: Tensor) -> tuple[Tensor, Tensor]:
    """The antisymmetric logarithm [..., d, d] of rotations of the plane or of space, and their angles, 0 to π."""
    skew = (turn - turn.mT) / 2
    sine = skew.square().sum((-2, -1)).div(2).sqrt()
    trace = turn.diagonal(dim1=-2, dim2=-1).sum(-1)
    cosine = trace / 2 if turn.size(-1) == 2 else (trace - 1) / 2
    angle = torch.atan2(sine, cosine)
    ratio = torch.where(sine > 1e-6, angle / sine.clamp(min=1e-6), torch.ones_like(sine))
    return skew * ratio[..., None, None], angle


def hat(t: Tensor) -> Tensor:
    """The cardinal B-spline of degree 1, which is 1 at 0 and 0 at the other whole numbers."""
    return (1 - t.abs()).clamp(min=0)


def quadratic(t: Tensor) -> Tensor:
    """The cardinal B-spline of degree 2, with continuous slope and support from -3/2 to 3/2."""
    t = t.abs()
    return torch.where(t < 0.5, 0.75 - t.square(), (1.5 - t).clamp(min=0).square() / 2)


def circle_splines(angles: Tensor, centers: int, order: int, spread: str) -> Tensor:
    """Quadratic B-splines [n, centers] of angles [n] about centres on the circle.

    ``"dense"``: centres all around, as wide as they are apart; ``"localized"``: centres about 0, a grid step 2π/order
    wide and apart; ``"atrous"``: all around, a grid step wide.
    """
    step, apart = 2 * math.pi / order, 2 * math.pi / centers
    number = torch.arange(centers, dtype=angles.dtype)
    places = (number - (centers - 1) // 2) * step if spread == "localized" else number * apart
    wrapped = torch.remainder(angles[:, None] - places + math.pi, 2 * math.pi) - math.pi
    return quadratic(wrapped / (apart if spread == "dense" else step))
