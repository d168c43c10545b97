"""Atoms of ASE and Data of PyG, with all that they carry."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from ase.data import chemical_symbols
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_edge_index

__all__ = ["StructureArrays", "array_of", "bare_atoms", "from_ase", "occupancy_kinds", "structure_arrays", "to_ase"]

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
    require_numbers(atoms.numbers, "numbers")
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


def array_of(value: object, name: str, shape: str) -> np.ndarray:
    """The numbers of a dense tensor; what is named is refused if it is something else."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
        raise ValueError(f"{name} {described(value)}; it must be a dense Tensor {shape}")
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy(force=True)


def _real_array(value: object, name: str, shape: str) -> np.ndarray:
    array = array_of(value, name, shape)
    if array.dtype.kind == "c":
        raise ValueError(f"{name} {described(value)}; it must be a dense Tensor {shape} of real numbers")
    return array


def edge_index_of(data: Data) -> Tensor | None:
    """Edges [2, E] of a Data; where it has none those of ``adj_t``, which ``ToSparseTensor`` leaves."""
    edge_index = data.get("edge_index")
    if edge_index is not None:
        return edge_index
    adjacency = data.get("adj_t")
    if adjacency is None:
        return None
    if isinstance(adjacency, Tensor):
        target, source = to_edge_index(adjacency)[0]
    else:  # of torch_sparse
        target, source, _ = adjacency.coo()
    return torch.stack([source, target])


class StructureArrays(NamedTuple):
    """Species [N], positions [N, 3] and cell [3, 3] in Å, and periodicity [3] of a structure."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray

    def atoms(self) -> Atoms:
        """The same for ASE."""
        return Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc)


def bare_atoms(data: Data) -> Atoms:
    """Species, positions, cell and periodicity of a Data, and nothing else."""
    return structure_arrays(data).atoms()


def structure_arrays(data: Data) -> StructureArrays:
    """The same as arrays."""
    if not isinstance(data, Data):
        raise TypeError(f"a structure is a Data or Atoms, got {type(data).__name__}")
    pos = data.get("pos")
    if pos is None:
        raise ValueError("the Data has no positions: set data.pos [N, 3] in Å")
    positions = _real_array(pos, "data.pos", "[N, 3], Å")
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(f"data.pos has shape {list(positions.shape)}; it must be [N, 3]")
    count = len(positions)
    z, cell, pbc = data.get("z"), data.get("cell"), data.get("pbc")
    if z is not None:
        z = _real_array(z, "data.z", f"[{count}]")
        if z.shape != (count,):
            raise ValueError(f"data.z has shape {list(z.shape)}; {count} positions need [{count}]")
        if z.dtype.kind not in "iu":
            raise ValueError(f"data.z is of {data.z.dtype}; atomic numbers are whole")
        require_numbers(z, "data.z")
    if cell is not None:
        cell = _real_array(cell, "data.cell", "[1, 3, 3]")
        if cell.shape not in ((3, 3), (1, 3, 3)):
            raise ValueError(
                f"data.cell has shape {list(cell.shape)}; one structure needs [1, 3, 3]: take one of the batch"
            )
    if pbc is not None:
        pbc = _real_array(pbc, "data.pbc", "[1, 3], such as torch.tensor([[True, True, True]])")
        if pbc.size != 3:
            raise ValueError(f"data.pbc has shape {list(pbc.shape)}; one structure needs [1, 3]: take one of the batch")
    return StructureArrays(
        np.zeros(count, dtype=int) if z is None else z,
        positions.astype(np.float64),
        np.zeros((3, 3)) if cell is None else cell.astype(np.float64).reshape(3, 3),
        np.full(3, cell is not None) if pbc is None else pbc.reshape(3).astype(bool),
    )


def require_numbers(numbers: np.ndarray, name: str) -> None:
    """Raise ValueError if some of the numbers are no atomic numbers."""
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(chemical_symbols):
        raise ValueError(
            f"{name} holds {int(numbers.min())} to {int(numbers.max())}; atomic numbers are 1 to "
            f"{len(chemical_symbols) - 1}, and 0 for what is no element"
        )


def described(value: object) -> str:
    """What a value is, for messages."""
    if not isinstance(value, Tensor):
        return f"is {value!r}"
    where = " on the meta device" if value.is_meta else ""
    layout = "" if value.layout == torch.strided else f", {value.layout}"
    return f"is of {value.dtype}{layout}{where}"


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
        elif isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta and value.dim() > 0:
            value = value.detach().cpu()
            array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
            if data.is_node_attr(name):
                atoms.set_array(name, array)
            else:
                atoms.info[name] = array[0].item() if array.shape == (1,) else array[0] if len(array) == 1 else array
    if data.get("fixed") is not None:
        fixed = array_of(data.fixed, "data.fixed", f"[{len(atoms)}]")
        if fixed.shape != (len(atoms),):
            raise ValueError(f"data.fixed has shape {list(fixed.shape)}; {len(atoms)} positions need [{len(atoms)}]")
        atoms.set_constraint(FixAtoms(mask=fixed.astype(bool)))
    return atoms
