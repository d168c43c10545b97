"""Graphs, rotations and representation matrices made by hand for the tests of the networks."""

import math

import torch
from e3nn import o3
from torch_geometric.data import Data


def representation(irreps: str, rotation: torch.Tensor) -> torch.Tensor:
    """Matrix of ``rotation`` (in O(3), float64) on e3nn's ``irreps``, from how polynomials of degree l transform."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    blocks = []
    for mul, ir in o3.Irreps(irreps):
        if ir.l == 0:
            matrix = torch.ones(1, 1, dtype=torch.float64)
        elif ir.l == 1:
            matrix = rotation
        elif ir.l == 2:
            matrix = torch.linalg.lstsq(_quadratic(points), _quadratic(points @ rotation.T)).solution.T
        else:
            before, after = (o3.spherical_harmonics(ir.l, p, normalize=False) for p in (points, points @ rotation.T))
            matrix = torch.linalg.lstsq(before, after).solution.T
        # A polynomial of degree l has parity (-1)^l: put in the sign that the irrep asks for.
        sign = ir.p * (-1) ** ir.l if rotation.det() < 0 else 1
        blocks += [sign * matrix] * mul
    return torch.block_diag(*blocks) if blocks else torch.zeros(0, 0, dtype=torch.float64)


def _quadratic(v: torch.Tensor) -> torch.Tensor:
    x, y, z = v.T
    r3 = math.sqrt(3.0)
    return torch.stack([r3 * x * z, r3 * x * y, y**2 - (x**2 + z**2) / 2, r3 * y * z, r3 / 2 * (z**2 - x**2)], dim=1)


def random_orthogonal(improper: bool, generator: torch.Generator) -> torch.Tensor:
    """Random element of O(3), float64, of the asked determinant."""
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q * (q.det().sign() * (-1 if improper else 1))


def random_graph(num_nodes: int, dim: int, seed: int, periodic: bool = False) -> Data:
    """Random positions, about half of all ordered pairs as edges, and random features."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    edge_index = (torch.rand(num_nodes, num_nodes, generator=generator) < 0.5).fill_diagonal_(False).nonzero().T
    data = Data(x=normal(num_nodes, dim), pos=normal(num_nodes, 3), edge_index=edge_index.contiguous())
    if periodic:
        data.edge_shift = torch.randint(-1, 2, (edge_index.size(1), 3), generator=generator).double()
        data.cell = (2.0 * torch.eye(3, dtype=torch.float64) + 0.3 * normal(3, 3))[None]
    return data


def prism() -> Data:
    """Six nodes with the scalar 1, edges along the triangles and the verticals."""
    pos = torch.tensor(
        [[math.cos(2 * math.pi * i / 3), math.sin(2 * math.pi * i / 3), z] for z in (1.0, -1.0) for i in range(3)],
        dtype=torch.float64,
    )
    distance = torch.cdist(pos, pos)
    edge_index = ((distance > 0) & (distance < 2.1)).nonzero().T.contiguous()
    return Data(x=torch.ones(6, 1, dtype=torch.float64), pos=pos, edge_index=edge_index)


def prism_group() -> torch.Tensor:
    """The 12 elements of D_3h that keep the prism: E, 2C3, 3C2', σ_h, 2S3, 3σ_v, written out."""
    c, s = -0.5, math.sqrt(3.0) / 2
    planar = [
        [[1, 0], [0, 1]],
        [[c, -s], [s, c]],
        [[c, s], [-s, c]],
        [[1, 0], [0, -1]],
        [[c, s], [s, -c]],
        [[c, -s], [-s, -c]],
    ]
    group = torch.zeros(12, 3, 3, dtype=torch.float64)
    for n, matrix in enumerate(planar):
        group[2 * n : 2 * n + 2, :2, :2] = torch.tensor(matrix, dtype=torch.float64)
    group[0::2, 2, 2], group[1::2, 2, 2] = 1.0, -1.0
    return group
