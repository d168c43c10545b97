"""The canonical form of a graph whose canonical labels are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.structures import array_of

__all__ = ["canonical_graph"]


def canonical_graph(out: Data, data: Data, features: Sequence[str], ranks: Tensor) -> Data:
    """The graph with its nodes renumbered and its edges, with their features, sorted."""
    edges = ranks[data.edge_index.detach().cpu().long()]
    at_edges = {name: data[name].detach().cpu() for name in features if "edge" in name}
    columns = [c for name, value in at_edges.items() for c in array_of(value[:, None].flatten(1).T, name, "[E, ...]")]
    order = torch.from_numpy(np.lexsort([*reversed(columns), edges[1].numpy(), edges[0].numpy()]))
    out.edge_index = edges[:, order].to(data.edge_index.device)
    for name, value in at_edges.items():
        out[name] = value[order].to(data[name].device)
    return out
