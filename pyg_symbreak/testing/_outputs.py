"""Outputs of a model, read in float64 on the CPU and held against the irreps they should have."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_symbreak.detect import Symmetry, detect_symmetry

Model = Callable[[Data], Tensor | tuple[Tensor, Tensor]]


def in_dtype_of(model: Model, data: Data) -> Data:
    """One structure, with floating point numbers as the parameters of a module."""
    if isinstance(data, Batch):
        raise TypeError("data is a batch: take one structure, such as batch[0], or each of batch.to_data_list()")
    if not isinstance(model, torch.nn.Module):
        return data
    dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
    if not dtypes:
        return data
    return copy.copy(data).apply(lambda t: t.to(dtypes[0]) if t.is_floating_point() else t)


def outputs_of(model: Model, data: Data, kinds: list[tuple[bool, o3.Irreps]]) -> list[Tensor]:
    """The outputs of a model in float64 on the CPU, one for each kind (on nodes or not, irreps) if these are given."""
    out = model(copy.copy(data))
    outputs = [finite(o) for o in (out if isinstance(out, tuple) else (out,))]
    if kinds and len(outputs) != len(kinds):
        raise ValueError(
            f"the model gives {len(outputs)} outputs, irreps are given for {len(kinds)}: irreps_out is for the nodes, "
            "irreps_graph_out for the graph"
        )
    for (nodes, irreps), o in zip(kinds, outputs, strict=False):
        shape = [data.num_nodes if nodes else 1, irreps.dim]
        if list(o.shape) != shape:
            raise ValueError(f"the output has shape {list(o.shape)}; {irreps} on the {_PLACES[nodes]} is {shape}")
    return outputs


_PLACES = {True: "nodes", False: "graph"}


def structure_symmetry(data: Data, symprec: float) -> Symmetry:
    symmetry = detect_symmetry(data, symprec)
    if not isinstance(symmetry, Symmetry):
        raise ValueError("data has no positions: set data.pos [N, 3] in Å")
    return symmetry


def relative(difference: Tensor, output: Tensor) -> float:
    """Largest component of an error over the largest of the output."""
    size = float(finite(output).abs().max())
    if size == 0:
        raise ValueError("the output is zero, which says nothing of the model: take data on which it is not")
    return float(finite(difference).abs().max()) / size


def finite(output: Tensor) -> Tensor:
    """The output in float64 on the CPU, if all of it is finite."""
    output = output.detach().cpu().double()
    if not output.isfinite().all():
        raise ValueError("the output is not finite")
    return output
