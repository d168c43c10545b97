"""Barium titanate: the cubic crystal and the ferroelectric phases it distorts to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from torch_geometric.data import Data

from pyg_symbreak.datasets.shipped import ShippedDataset, require_unchanged
from pyg_symbreak.structures import from_ase, match_atoms, read_structure

__all__ = ["BaTiO3"]

SHA256 = {
    "cubic.cif": "0dedac1db741966d74f83a47fd3ed888df4e53b3574e0b83878601e3d480a5d3",
    "orthorhombic.cif": "9bc303e70ef22b96e49543084b155e7837f40a574d30fe6b08f3821f820abe67",
    "paper_initial.cif": "ae0354be3e73f1d631faa0a561db6511c58ba2ae6fc57dc89d62183c51a5cb29",
    "paper_target.cif": "20c2be6bf246c8e71f8978bc62d099c32d2d0c8c5697b0ad9f29347e1967e71b",
    "rhombohedral.cif": "427b9fe648b8a0e6d2b31462e7709870d2fad9caab5e3698f5b538a53e5a918b",
    "tetragonal.cif": "b27e16b6f1d3149781f0b4f912c885f54374a19887df9864dec439bb4869b7ab",
}

# Pseudo-cubic lattice vectors (rows) in those of the file; they put the polarization along [001], [011] and [111].
PSEUDOCUBIC = {
    "cubic": np.eye(3),
    "tetragonal": np.eye(3),
    "orthorhombic": np.array([[1, 0, 0], [0, 0.5, 0.5], [0, -0.5, 0.5]]),
    "rhombohedral": np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]]),
    "paper_initial": np.eye(3),
    "paper_target": np.eye(3),
}
PHASES = {"cubic": 221, "tetragonal": 99, "orthorhombic": 38, "rhombohedral": 160}
TEMPERATURES = {"cubic": 393.0, "tetragonal": 300.0, "orthorhombic": 190.0, "rhombohedral": 15.0}


class BaTiO3(ShippedDataset):
    r"""Barium titanate: from the cubic structure to its ferroelectric phases.

    Each graph is the cubic five-atom crystal (:math:`Pm\bar{3}m`), and its target one domain of a phase,
    given as the distortion that leads to it: :func:`~pyg_symbreak.structures.apply_distortion` of the graph,
    ``y`` and ``strain`` is the phase. The other domains are the images of this one under the rotations and
    reflections of the cube.

    ``name="phases"``: the phases seen on cooling, from neutron diffraction (Kwei, Lawson, Billinge and
    Cheong, J. Phys. Chem. 97, 2368 (1993)).

    ===== ============ ============ ======== ============ ======= ==================== ===============
    index phase        space group  measured polarization domains largest displacement largest strain
    ===== ============ ============ ======== ============ ======= ==================== ===============
    0     cubic        Pm-3m (221)  > 393 K  none         1       0                    0
    1     tetragonal   P4mm (99)    300 K    [001]        6       0.108 Å (Ti)         0.88 %
    2     orthorhombic Amm2 (38)    190 K    [011]        12      0.125 Å (Ti)         0.46 %
    3     rhombohedral R3m (160)    15 K     [111]        8       0.131 Å (Ti)         0.14 %
    ===== ============ ============ ======== ============ ======= ==================== ===============

    ``name="paper"``: one graph, the pair Materials Project mp-2998 to mp-5986 on one cubic cell of 4 Å, the
    example of Xie and Smidt, "Equivariant Symmetry Breaking Sets", Trans. Mach. Learn. Res. (2024), arXiv
    2402.02681. Its target is tetragonal, polarized along [001], without strain.

    =============== ============ ===========================================================================
    key             shape        meaning
    =============== ============ ===========================================================================
    ``z``           [5]          atomic numbers: Ba, Ti, O, O, O
    ``pos``         [5, 3]       Å, the cubic structure
    ``cell``        [1, 3, 3]    Å, rows are the lattice vectors: 4 Å along x, y, z
    ``pbc``         [1, 3]       all true
    ``y``           [5, 3]       displacements in Å, mean zero (``1o`` on the nodes)
    ``strain``      [1, 3, 3]    symmetric right stretch minus 1 (``0e + 2e`` by
                                 :func:`~pyg_symbreak.structures.strain_to_irreps`)
    ``phase``       str          the target's name
    ``spacegroup``  [1]          the target's space group number
    ``temperature`` [1]          K, of the measurement (cubic: the lowest that is cubic); not in ``"paper"``
    =============== ============ ===========================================================================

    Parameters
    ----------
    root : str, optional
        Folder for the processed data, as in any PyG data set. Without it the graphs are made in memory (they
        are few) and nothing is written. Floating-point numbers are in torch's default dtype at the time of
        processing.
    name : str
        ``"phases"`` or ``"paper"``.
    transform, pre_transform, pre_filter : callable, optional
        As in any PyG data set.
    force_reload : bool
        Process again what ``root`` already holds.

    Raises
    ------
    ValueError
        If ``name`` is unknown, or a data file is not the one this version was made with.

    Examples
    --------
    >>> dataset = BaTiO3()
    >>> dataset[1].phase, dataset[1].y.shape, dataset[1].strain.shape
    ('tetragonal', torch.Size([5, 3]), torch.Size([1, 3, 3]))
    """

    folder = "batio3"

    def __init__(
        self,
        root: str | os.PathLike | None = None,
        name: str = "phases",
        transform: Callable | None = None,
        pre_transform: Callable | None = None,
        pre_filter: Callable | None = None,
        force_reload: bool = False,
    ):
        if name not in ("phases", "paper"):
            raise ValueError(f'BaTiO3 has no variant {name!r}; choose "phases" or "paper"')
        self.name = name
        super().__init__(root, transform, pre_transform, pre_filter, force_reload)

    @property
    def raw_file_names(self) -> list[str]:
        """CIF files of this variant."""
        names = PHASES if self.name == "phases" else ("paper_initial", "paper_target")
        return [f"{name}.cif" for name in names]

    @property
    def processed_dir(self) -> str:
        """Folder of the processed graphs of this variant."""
        return os.path.join(self.root, self.name, "processed")

    def graphs(self) -> list[Data]:
        """The cubic crystal with each phase as its target, or the pair of the paper."""
        structures = {Path(path).stem: _read(Path(path)) for path in self.raw_paths}
        if self.name == "phases":
            pairs = [(structures["cubic"], structures[phase], phase) for phase in PHASES]
        else:
            pairs = [(structures["paper_initial"], structures["paper_target"], "tetragonal")]
        graphs = [_graph(*pair) for pair in pairs]
        if self.name == "phases":
            for graph in graphs:
                graph.temperature = graph.pos.new_tensor([TEMPERATURES[graph.phase]])
        return graphs


def _read(path: Path) -> Atoms:
    """Read a CIF file of ours and bring it to the five-atom pseudo-cubic cell."""
    require_unchanged(path, SHA256[path.name])
    atoms = read_structure(path)
    cell = PSEUDOCUBIC[path.stem] @ atoms.cell.array
    reduced = Atoms(atoms.numbers, positions=atoms.positions, cell=cell, pbc=True)
    frac = reduced.get_scaled_positions().round(8) % 1  # images of an atom fall on the same point
    _, first = np.unique(frac, axis=0, return_index=True)
    reduced = reduced[np.sort(first)]
    order = [i for number in (56, 22, 8) for i in np.flatnonzero(reduced.numbers == number)]
    return reduced[order]


def _graph(parent: Atoms, target: Atoms, phase: str) -> Data:
    data = from_ase(parent)
    match = match_atoms(parent, target)
    data.y = match.displacements.to(data.pos.dtype)
    data.strain = match.strain.to(data.pos.dtype)[None]
    data.phase = phase
    data.spacegroup = torch.tensor([PHASES[phase]])
    return data
