"""Random motions of a structure, and how its attributes follow."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.groups import irreps_matrices


def motions(
    data: Data, parent: str, trials: int, generator: torch.Generator | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Random rotations [3, 3], translations [3], and orders [N]: node i becomes node order[i]."""
    if parent not in ("O3", "SO3"):
        raise ValueError(f"parent must be 'O3' or 'SO3', got {parent!r}")
    for _ in range(trials):
        for sign in (1, -1) if parent == "O3" else (1,):
            q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
            q = q * r.diagonal().sign()  # uniformly distributed
            shift = torch.randn(3, generator=generator, dtype=torch.float64)
            assert data.num_nodes is not None
            yield sign * q * torch.linalg.det(q).sign(), shift, torch.randperm(data.num_nodes, generator=generator)


def moved(data: Data, rotation: Tensor, shift: Tensor, order: Tensor, irreps: dict[str, o3.Irreps]) -> Data:
    """The structure rotated, translated and with its nodes in another order."""
    out = copy.copy(data)
    for key, value in irreps.items():
        rows = rotated(data[key], value, rotation)
        if rows.dim() == 3:  # a matrix for the structure
            rows = rotated(rows.mT, value, rotation)
        out[key] = rows.to(data[key])
    out.pos = (rotated(data.pos, o3.Irreps("1o"), rotation) + shift).to(data.pos)
    if data.get("cell") is not None:
        out.cell = rotated(data.cell, o3.Irreps("1o"), rotation).to(data.cell)
    for key, value in out.to_dict().items():
        if isinstance(value, Tensor) and key not in ("edge_index", "cell", "pbc") and data.is_node_attr(key):
            out[key] = value[order.argsort().to(value.device)]
    if data.edge_index is not None:
        out.edge_index = order.to(data.edge_index)[data.edge_index]
    return out


def rotated(values: Tensor, irreps: o3.Irreps, rotation: Tensor) -> Tensor:
    """Vectors [..., dim] of irreps after a rotation, in float64 on the CPU."""
    matrix = torch.from_numpy(irreps_matrices(irreps, rotation[None].numpy()))[0]
    return values.detach().cpu().double() @ matrix.T


def input_irreps(
    data: Data, irreps_in: str | o3.Irreps | None, irreps_breaking: str | o3.Irreps | None
) -> dict[str, o3.Irreps]:
    """Which attributes besides positions and cell are rotated, and how."""
    found: dict[str, o3.Irreps] = {}
    for key, name, irreps in (("x", "irreps_in", irreps_in), ("breaking", "irreps_breaking", irreps_breaking)):
        value = data.get(key)
        if irreps is not None:
            if value is None:
                raise ValueError(f"{name} is given, but the data have no {key}")
            found[key] = o3.Irreps(irreps)
            require_width(f"data.{key}", value, found[key])
    return found


def require_width(name: str, values: Tensor, irreps: o3.Irreps) -> None:
    if values.dim() < 2 or values.shape[-1] != irreps.dim:
        raise ValueError(f"{name} has shape {list(values.shape)}; its last dimension must be {irreps.dim}, as {irreps}")
