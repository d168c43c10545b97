"""What a saved model answers to a structure with each of its objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.breaking import orbit_candidates
from pyg_symbreak.diagnosis import Diagnosis
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import NeighborList
from pyg_symbreak.transforms.add_symmetry_breaking import place

__all__ = ["Answer", "Model", "answers", "loaded"]


@dataclass(frozen=True)
class Model:
    """A callable from a Data to vectors [N, 3], with its file, and how far its edges reach, Å.

    Of the folder of a run of ``pyg-symbreak train`` there is none: its network is read with the configuration.
    """

    file: Path
    call: Callable[[Data], Any] | None
    cutoff: float | None


@dataclass(frozen=True, eq=False)
class Answer:
    """Displacements [N, 3] in Å, the nearest of the equally good targets, its number, and the distance from it."""

    vectors: np.ndarray
    nearest: np.ndarray
    domain: int
    error: float


def loaded(file: Path) -> Any:
    """What ``torch.save`` wrote; a ValueError where that is nothing it reads."""
    try:
        return torch.load(file, weights_only=False)
    except OSError:
        raise
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{file}: {error}; PYTHONPATH must hold the folder of the module that defines it") from error
    except Exception as error:  # unpickling raises whatever the file says
        raise ValueError(f"{file}: nothing that torch.load reads ({type(error).__name__}: {error})") from error


def answers(model: Model, atoms: Atoms, target: Atoms, found: Diagnosis) -> list[Answer]:
    """The answer to each object, or to the structure alone where there is none."""
    call = model.call
    if call is None:
        return _of_run(model.file, atoms, target)
    dtype = next((p.dtype for p in call.parameters()), None) if isinstance(call, torch.nn.Module) else None
    data = from_ase(atoms, dtype)
    if model.cutoff is not None:
        data = NeighborList(model.cutoff)(data)
    data.y = found.vectors.to(data.pos)
    candidates = orbit_candidates(data, symprec=found.symmetry.symprec)
    del data.y
    out = []
    for row in _objects(call, found, data):
        if row is not None:
            data.breaking = row
        y = call(data)
        y = (y[0] if isinstance(y, tuple) else y).detach()
        if y.shape != data.pos.shape:
            raise ValueError(
                f"{model.file}: the model gives {list(y.shape)}, not a vector on each of {len(atoms)} atoms"
            )
        out.append(_compared(y - y.mean(0), candidates))
    return out


def _compared(y: Tensor, candidates: Tensor) -> Answer:
    """Displacements [N, 3] beside the nearest of the targets [N, n, 3]."""
    off = (y[:, None] - candidates).square().sum(2).mean(0).sqrt()
    domain = int(off.argmin())
    return Answer(y.double().numpy(), candidates[:, domain].double().numpy(), domain, float(off[domain]))


def _of_run(folder: Path, atoms: Atoms, target: Atoms) -> list[Answer]:
    """The answers of the network of a run."""
    from pyg_symbreak.training import answer_all, pair_of
    from pyg_symbreak.training.run import double_precision, load

    network, pairs, config = load(folder)
    with double_precision():
        pair = pair_of(atoms, target, config, pairs)
        rows, _ = answer_all(network, pair, config)
    return [_compared(y, pair.images_y.transpose(0, 1)) for y in rows]


def _objects(call: Any, found: Diagnosis, data: Data) -> list[Tensor | None]:
    """The objects as rows of the graph [1, D] or of the nodes [N, D], in the irreps that the model names, if any."""
    if found.representable or found.breaking is None:
        return [None]
    rows = found.breaking.all().to(data.pos)
    wanted = getattr(call, "irreps_breaking", None)
    if wanted:
        rows = place(rows, found.breaking.irreps, wanted)
    data.breaking_irreps = str(wanted or found.breaking.irreps)
    return [row if row.ndim == 2 else row[None] for row in rows]
