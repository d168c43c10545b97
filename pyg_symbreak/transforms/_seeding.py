"""Random numbers that depend on a seed and on the structure they are drawn for."""

import hashlib

import torch
from torch_geometric.data import Data


def generator_for(data: Data, seed: int | None) -> torch.Generator | None:
    """A generator seeded with the seed and the positions, or edges, of the data; None, the global one, for None."""
    if seed is None:
        return None
    tensor = data.edge_index if data.get("pos") is None else data.pos
    content = tensor.detach().cpu().contiguous().numpy().tobytes()
    digest = hashlib.sha256(repr(seed).encode() + content).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
