"""What the transforms share: which data they take, how errors name them, random numbers that a seed fixes."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from ase import Atoms
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData

from pyg_symbreak.structures import array_of, edge_index_of
from pyg_symbreak.structures.conversion import require_numbers

__all__ = ["attach", "device_of", "generator_for", "naming", "require_data", "require_free"]

RESERVED = ("pos", "z", "x", "y", "cell", "pbc", "batch", "edge_index", "edge_shift", "edge_attr", "symmetry")


def require_data(data: object, transform: object) -> Data:
    """One structure or graph, as its transform reads it: ``adj_t`` as edges.

    Raises
    ------
    TypeError
        It is no Data, or a batch, or of several types.
    """
    name = type(transform).__name__
    if isinstance(data, Batch):
        raise TypeError(f"{name} takes one structure, not a batch: use it before batching")
    if isinstance(data, HeteroData):
        raise TypeError(
            f"{name} takes a Data with one type of nodes: use data.to_homogeneous() and name the types as features, "
            "features=['node_type', 'edge_type']"
        )
    if not isinstance(data, Data):
        raise TypeError(f"{name} takes a Data, got {type(data).__name__}; see structures.from_ase")
    if data.get("adj_t") is None or data.get("edge_index") is not None:
        return data
    read = copy.copy(data)
    read.num_nodes, read.edge_index = data.num_nodes, edge_index_of(data)
    return read


@contextmanager
def naming(data: Data) -> Iterator[None]:
    """Have errors say which structure they are about: its formula, and its ``name`` or ``idx`` if it has one."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"{_name_of(data)}: {error}") from error


def _name_of(data: Data) -> str:
    z, name = data.get("z"), "the graph"
    if z is not None:
        try:
            numbers = array_of(z, "data.z", "[N]")
            require_numbers(numbers, "data.z")
            name = Atoms(numbers).get_chemical_formula()
        except (ValueError, TypeError, IndexError, OverflowError):  # these are not species, of which the error is
            name = "a structure"
    known = [f"{key} {data[key]}" for key in ("name", "idx") if isinstance(data.get(key), (str, int))]
    known += [f"idx {data.idx.item()}"] if isinstance(data.get("idx"), Tensor) and data.idx.numel() == 1 else []
    return f"{name} ({', '.join(known)})" if known else name


def generator_for(data: Data, seed: int | None) -> torch.Generator | None:
    """A generator seeded with the seed and the positions, or edges, of the data; None, the global one, for None."""
    if seed is None:
        return None
    tensor = data.edge_index if data.get("pos") is None else data.pos
    content = array_of(tensor, "the structure", "").tobytes()
    digest = hashlib.sha256(repr(seed).encode() + content).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def device_of(data: Data) -> torch.device:
    """Where the data are."""
    for key in ("pos", "edge_index", "adj_t"):
        if data.get(key) is not None:
            return data[key].device if isinstance(data[key], Tensor) else data[key].device()
    return torch.device("cpu")


def node_features(data: Data) -> Tensor | None:
    """``data.x`` if there is one; ValueError if it is no dense tensor [N, d]."""
    x = data.get("x")
    if x is not None and array_of(x, "data.x", "[N, d]").shape[:-1] != (data.num_nodes,):
        raise ValueError(f"data.x has shape {list(x.shape)}; the {data.num_nodes} nodes need [{data.num_nodes}, d]")
    return x


def attach(data: Data, attr: str | None, rows: Tensor, irreps: str) -> Data:
    """Put rows under a name, or with None at the end of ``x``; their irreps beside them."""
    if attr is None:
        rows = rows.expand(data.num_nodes, -1)
        x = node_features(data)
        data.x = rows if x is None else torch.cat([x, rows.to(x)], dim=1)
    else:
        data[attr] = rows
    data[f"{attr or 'breaking'}_irreps"] = irreps
    return data


def require_free(attr: str | None) -> None:
    """Raise ValueError for a name that the structure needs itself."""
    if attr in RESERVED:
        raise ValueError(f"attr={attr!r} would overwrite that attribute of the structure; choose another")
