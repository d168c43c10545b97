"""Atoms of ASE and Data of PyG, with all that they carry."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from ase.data import chemical_symbols
from torch import Tensor
from torch_geometric.data import Data

__all__ = ["bare_atoms", "from_ase", "occupancy_kinds", "to_ase"]

OWN = frozenset({"numbers", "positions", "spacegroup_kinds"})
"""Arrays of Atoms that a Data has under other names."""
STRUCTURE = frozenset({"z", "pos", "cell", "pbc", "batch", "ptr", "num_nodes", "symmetry", "fixed"})
"""Attributes of a Data that Atoms have under other names, or not at all."""


def from_ase(atoms: Atoms, dtype: torch.dtype | None = None) -> Data:
    """Turn Atoms into a Data, with all that they carry.

    Parameters
    ----------
    atoms : ase.Atoms
    dtype : torch.dtype, optional
        Of positions, cell and other floating point numbers; torch's default if not given.

    Returns
    -------
    Data
        ``z`` long [N], ``pos`` [N, 3] Å, ``cell`` [1, 3, 3] Å (rows are the lattice vectors; zero if there is
        none), ``pbc`` bool [1, 3]. Further arrays of the atoms, such as ``initial_magmoms``, ``initial_charges``,
        ``tags`` and ``masses``, are node attributes [N, ...] of the same names; atoms that are held fixed are
        ``fixed`` bool [N], and sites with partial occupancies ``occupancy_kind``, see :func:`occupancy_kinds`. Numbers,
        arrays and strings of ``info`` are attributes of the graph, [1, ...]. To be batched, structures must have the
        same attributes.

    Warns
    -----
    UserWarning
        Of what a Data cannot carry: other constraints, other objects in ``info``, and names that have a meaning in PyG
        ("index", "batch", ...).

    Examples
    --------
    >>> from ase.build import bulk
    >>> from_ase(bulk("Si"))
    Data(pos=[2, 3], z=[2], cell=[1, 3, 3], pbc=[1, 3])
    >>> iron = bulk("Fe")
    >>> iron.info["temperature"] = 300.0
    >>> from_ase(iron)  # ASE gives it a magnetic moment
    Data(pos=[1, 3], z=[1], cell=[1, 3, 3], pbc=[1, 3], initial_magmoms=[1], temperature=[1])
    """
    dtype = dtype or torch.get_default_dtype()
    data = Data(
        z=torch.tensor(atoms.numbers, dtype=torch.long),
        pos=torch.tensor(atoms.positions, dtype=dtype),
        cell=torch.tensor(atoms.cell.array, dtype=dtype)[None],
        pbc=torch.tensor(atoms.pbc, dtype=torch.bool)[None],
    )
    left_out: list[str] = []
    for name, array in atoms.arrays.items():
        if name not in OWN:
            _carry(data, name, np.asarray(array), dtype, left_out)
    for name, value in atoms.info.items():
        if isinstance(value, str):
            _carry(data, name, value, dtype, left_out)
        elif name not in ("occupancy", "spacegroup", "unit_cell"):  # of the cell before its symmetry was applied
            _carry(data, name, np.asarray(value)[None], dtype, left_out)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            held = torch.zeros(len(atoms), dtype=torch.bool)
            held[torch.from_numpy(np.atleast_1d(constraint.index))] = True
            data.fixed = held | data.fixed if "fixed" in data else held
        else:
            left_out.append(type(constraint).__name__)
    kinds = occupancy_kinds(atoms)
    if kinds is not None:
        data.occupancy_kind = torch.from_numpy(kinds)
    if left_out:
        warnings.warn(f"a Data cannot carry {', '.join(left_out)} of {atoms.symbols.formula:metal}", stacklevel=2)
    return data


def _carry(data: Data, name: str, value: Any, dtype: torch.dtype, left_out: list[str]) -> None:
    means_something = any(word in name for word in ("index", "batch", "face", "ptr", "adj")) or name in STRUCTURE
    if not name.isidentifier() or means_something or hasattr(Data, name):
        left_out.append(repr(name))
    elif isinstance(value, str):
        data[name] = value
    elif value.dtype.kind in "bi":
        data[name] = torch.from_numpy(value.copy())
    elif value.dtype.kind == "f":
        data[name] = torch.tensor(value, dtype=dtype)
    else:
        left_out.append(repr(name))


def occupancy_kinds(atoms: Atoms) -> np.ndarray | None:
    """Which sites are occupied alike, of a structure with partial occupancies as ASE reads it from a CIF.

    ASE keeps one atom for each site, of its main species, and what else is on it in ``info["occupancy"]``.

    Returns
    -------
    int64 array [N] or None
        The number of the mixture on each site; None if all sites are full.
    """
    occupancy, kinds = atoms.info.get("occupancy"), atoms.arrays.get("spacegroup_kinds")
    if not isinstance(occupancy, dict) or kinds is None:
        return None
    mixtures = {
        str(kind): tuple(sorted((symbol, round(float(share), 6)) for symbol, share in shares.items()))
        for kind, shares in occupancy.items()
    }
    if all(len(mixture) == 1 and mixture[0][1] == 1 for mixture in mixtures.values()):
        return None
    of_atom = [mixtures.get(str(kind), ((symbol, 1.0),)) for kind, symbol in zip(kinds, atoms.symbols, strict=True)]
    number = {mixture: i for i, mixture in enumerate(sorted(set(of_atom)))}
    return np.array([number[mixture] for mixture in of_atom])


def bare_atoms(data: Data) -> Atoms:
    """Species, positions, cell and periodicity of a Data, and nothing else."""
    if not isinstance(data, Data):
        raise TypeError(f"a structure is a Data or Atoms, got {type(data).__name__}")
    pos = data.get("pos")
    if pos is None:
        raise ValueError("the Data has no positions: set data.pos [N, 3] in Å")
    if not isinstance(pos, Tensor) or pos.dim() != 2 or pos.shape[1] != 3:
        raise ValueError(f"data.pos {_described(pos)}; it must be a Tensor [N, 3], Å")
    if pos.is_complex():
        raise ValueError(f"data.pos is of {pos.dtype}; positions are real")
    count = len(pos)
    z, cell, pbc = data.get("z"), data.get("cell"), data.get("pbc")
    if z is not None:
        if not isinstance(z, Tensor) or z.shape != (count,):
            raise ValueError(f"data.z {_described(z)}; {count} positions need [{count}]")
        if z.is_floating_point() or z.is_complex():
            raise ValueError(f"data.z is of {z.dtype}; atomic numbers are whole")
        if count and not 0 <= int(z.min()) <= int(z.max()) < len(chemical_symbols):
            raise ValueError(
                f"data.z holds {int(z.min())} to {int(z.max())}; atomic numbers are 1 to {len(chemical_symbols) - 1}, "
                "and 0 for what is no element"
            )
    if cell is not None and (not isinstance(cell, Tensor) or cell.numel() != 9 or cell.is_complex()):
        raise ValueError(f"data.cell {_described(cell)}; one structure needs [1, 3, 3]: take one of the batch")
    if pbc is not None and (not isinstance(pbc, Tensor) or pbc.numel() != 3):
        raise ValueError(
            f"data.pbc {_described(pbc)}; one structure needs a Tensor [1, 3] such as "
            "torch.tensor([[True, True, True]]): take one of the batch"
        )
    return Atoms(
        numbers=np.zeros(count, dtype=int) if z is None else z.cpu().numpy(),
        positions=pos.detach().cpu().double().numpy(),
        cell=None if cell is None else cell.detach().cpu().double().numpy().reshape(3, 3),
        pbc=cell is not None if pbc is None else pbc.cpu().numpy().reshape(3),
    )


def _described(value: object) -> str:
    return f"has shape {list(value.shape)}" if isinstance(value, Tensor) else f"is {value!r}"


def to_ase(data: Data) -> Atoms:
    """Turn a Data into Atoms, with all that it carries.

    Parameters
    ----------
    data : Data
        One structure (not a batch): ``pos`` [N, 3] Å; ``z`` long [N], without it all nodes are alike (atomic
        number 0); ``cell`` [1, 3, 3] or [3, 3] Å, without it the structure is a molecule; ``pbc`` bool [1, 3]
        or [3], without it a structure with a cell is periodic along all three vectors. ``fixed`` becomes a
        constraint, other node attributes become arrays, attributes of the graph ``info``; edges are left out.

    Returns
    -------
    ase.Atoms

    Raises
    ------
    ValueError
        If a key has another shape, or ``pos`` is missing.
    """
    atoms = bare_atoms(data)
    for name, value in data.to_dict().items():
        if name in STRUCTURE or "edge" in name or "adj" in name:
            continue
        if isinstance(value, str | int | float):
            atoms.info[name] = value
        elif isinstance(value, Tensor) and not value.is_sparse and value.dim() > 0:
            array = value.detach().cpu().numpy()
            if data.is_node_attr(name):
                atoms.set_array(name, array)
            else:
                atoms.info[name] = array[0].item() if array.shape == (1,) else array[0] if len(array) == 1 else array
    if data.get("fixed") is not None:
        atoms.set_constraint(FixAtoms(mask=data.fixed.cpu().numpy()))
    return atoms
