"""Perovskites ABX3 and what their cubic phase distorts to: tilts of the octahedra, polar displacements, both."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.datasets.shipped import ShippedDataset, require_unchanged
from pyg_symbreak.structures import from_ase

__all__ = ["PerovskiteTilts"]

SHA256 = "a99ed2fcd86033babf8430906fc4fa22bdbf38877cc6a4abeccf521b6ec8270a"


class PerovskiteTilts(ShippedDataset):
    r"""Stationary structures of perovskites below their cubic phase, by a machine-learned potential.

    Each graph is the cubic phase of a compound ABX3, in a cell that holds one of its distortions, and its target are
    the displacements and the strain that lead to the distorted structure: octahedra that are tilted, ions that are
    displaced along an axis, or both. It keeps the subgroup :math:`K` of the space group :math:`S` = Pm-3m, and is one
    of :math:`|S|/|K|` domains.

    Method. The cubic phase is relaxed, and each distortion inside its :math:`K`
    (:func:`pyg_symbreak.distort.relax_within`), the cell with it, until no force is above 0.01 eV/Å. Energies and
    forces are those of SevenNet-0 of 11 July 2024 (Y. Park, J. Kim, S. Hwang & S. Han, J. Chem. Theory Comput. 20,
    4857 (2024); MIT licence), which was trained on calculations with PBE and PBE+U of the Materials Project. Started
    are the tilt systems, as far as the irreps M3+ and R4+ of their tilts are not stable in the cubic phase; P4mm, Amm2
    and R3m along the unstable polar modes; and tilted structures displaced along their axes. Structures that are the
    same are given once. ``datasets/perovskite_tilts/README.md`` says what was started of each compound, and compares
    with the phases that are measured.

    Limits. Structures are lowest *inside their symmetry*, and may be saddles outside it: the curvatures there were not
    computed. Tilts whose pattern needs a cell larger than 2x2x2 are missing, and so are phases that are no distorted
    perovskites, such as yellow CsPbI3. PBE makes cells too long, and the potential has errors of its own, a few meV a
    formula unit between phases that are near to each other. Spins are not treated: energies of magnetic compounds are
    those that the Materials Project has for its (mostly ferromagnetic) states. All is at zero temperature.

    ================ ============== ===============================================================================
    key              shape          meaning
    ================ ============== ===============================================================================
    ``z``            [N]            atomic numbers
    ``pos``          [N, 3]         Å, the cubic phase, its axes along x, y and z, a B at the origin
    ``cell``,        [1, 3, 3]      rows in Å, the primitive cell of K before it is strained
    ``pbc``          [1, 3]
    ``y``            [N, 3]         displacements in Å, with mean zero (``1o`` on the nodes)
    ``strain``       [1, 3, 3]      symmetric: vectors v of the cell become v (1 + strain), and positions p become
                                    (p + y)(1 + strain) (``0e+2e``)
    ``energy``       [1]            eV a formula unit, less that of the cubic phase
    ``tilt``         str            Glazer symbol; empty where an ion has left its octahedron
    ``angles``       [1, 3, 2]      degrees, tilts in phase and out of phase about the three axes in the order of the
                                    symbol; zeros where there is none
    ``kept``         str            Hermann-Mauguin symbol of K
    ``kept_number``  [1]            its number
    ``count``        [1]            number of domains
    ``polar``        [1]            whether K is polar
    ``lowest``       [1]            whether no other structure of the compound has a lower energy
    ``starts``       str            the distortions whose relaxations ended here
    ``formula``      str            the compound
    ``tolerance``    [1]            tolerance factor of V. M. Goldschmidt
    ``radius``       [N]            ionic radii in Å (R. D. Shannon, Acta Cryst. A 32, 751 (1976))
    ``charge``       [N]            charges of the ions in elementary charges
    ``curvatures``   [1, 3]         eV/Å², of the energy of the cubic phase along its softest polar mode Γ4-, and along
                                    the tilts M3+ and R4+, for displacements whose norm in the cell is 1 Å
    ================ ============== ===============================================================================

    Parameters
    ----------
    root : str, optional
        Folder for the processed data, as in any PyG data set. Without it the graphs are made in memory and nothing is
        written. Floating-point numbers are in torch's default dtype at the time of processing.
    cell : "primitive" or "2x2x2"
        Of the distorted structure; or of all 40 atoms, so that all structures of a compound have one and the same
        input, and all their domains are in it.
    transform, pre_transform, pre_filter : callable, optional
        As in any PyG data set.
    force_reload : bool
        Process again what ``root`` already holds.

    Raises
    ------
    ValueError
        If the data file is not the one this version was made with, or ``cell`` is none of the two.

    Examples
    --------
    >>> data = next(d for d in PerovskiteTilts() if d.formula == "CaTiO3" and d.lowest)
    >>> data.tilt, data.kept, data.count.item(), data.num_nodes
    ('a+b-b-', 'Pnma', 24, 20)
    """

    folder = "perovskite_tilts"

    def __init__(
        self,
        root: str | os.PathLike | None = None,
        cell: Literal["primitive", "2x2x2"] = "primitive",
        transform: Callable | None = None,
        pre_transform: Callable | None = None,
        pre_filter: Callable | None = None,
        force_reload: bool = False,
    ):
        if cell not in ("primitive", "2x2x2"):
            raise ValueError(f"cell must be 'primitive' or '2x2x2', got {cell!r}")
        self.cell = cell
        super().__init__(root, transform, pre_transform, pre_filter, force_reload)

    @property
    def raw_file_names(self) -> list[str]:
        """The file of all structures."""
        return ["perovskite_tilts.json.gz"]

    @property
    def processed_file_names(self) -> list[str]:
        """File of the processed graphs, one for each kind of cells."""
        return [f"data_{self.cell}.pt"]

    @cached_property
    def _compounds(self) -> dict[str, list[dict[str, Any]]]:
        path = Path(self.raw_paths[0])
        require_unchanged(path, SHA256)
        out: dict[str, list[dict[str, Any]]] = {}
        for line in gzip.decompress(path.read_bytes()).splitlines():
            record = json.loads(line)
            out.setdefault(record["name"], []).append(record)
        return out

    @property
    def measured(self) -> dict[str, tuple[str, str, str]]:
        """For compounds of which that is known: the space group that is measured, under what conditions, the source."""
        return {name: tuple(r[0]["measured"]) for name, r in self._compounds.items() if r[0]["measured"]}

    @property
    def cubic(self) -> dict[str, tuple[float, tuple[float, float, float]]]:
        """Of each compound the edge of the cubic phase, Å, and its curvatures Γ4-, M3+ and R4+, eV/Å²."""
        return {name: (r[0]["edge"], tuple(r[0]["curvatures"].values())) for name, r in self._compounds.items()}

    def graphs(self) -> list[Data]:
        """The distinct structures of each compound, other than the cubic one."""
        return [graph for records in self._compounds.values() for graph in _graphs(records, self.cell)]

    def split(self, by: str = "formula", held_out: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Numbers of the graphs for training and of those held out, which share no value of an attribute.

        As :meth:`ShippedDataset.split`, by composition unless said otherwise: no compound is in both.
        """
        return super().split(by, held_out, seed)


def _graphs(records: list[dict[str, Any]], cell: str) -> list[Data]:
    """The distinct structures of one compound."""
    cubic = records[0]
    phases = [phase for record in records for phase in record["phases"]]
    found = [number for number, phase in enumerate(phases) if phase["same_as"] is None]
    lowest = min(found, key=lambda number: phases[number]["energy"])
    out = []
    for number in found:
        phase = phases[number]
        if phase["space_group"][0] == 221:
            continue
        same = [other["start"] for n, other in enumerate(phases) if n == number or other["same_as"] == number]
        data = _structure(phase, cubic["edge"], cell)
        data.energy = data.pos.new_tensor([phase["energy"] - phases[0]["energy"]])
        data.tilt = phase["tilt"] or ""
        data.angles = data.pos.new_tensor([phase["angles"] or np.zeros((3, 2)).tolist()])
        data.kept, data.kept_number = phase["space_group"][1], torch.tensor([phase["space_group"][0]])
        data.count, data.polar = torch.tensor([phase["domains"]]), torch.tensor([phase["polar"]])
        data.lowest, data.starts = torch.tensor([number == lowest]), ", ".join(dict.fromkeys(same))
        data.formula, data.tolerance = cubic["name"], data.pos.new_tensor([cubic["tolerance_factor"]])
        ions = dict(zip(cubic["elements"], cubic["ions"], strict=True))
        own = data.pos.new_tensor([ions[element] for element in _symbols(data)])
        data.radius, data.charge = own[:, 0], own[:, 1]
        data.curvatures = data.pos.new_tensor([list(cubic["curvatures"].values())])
        out.append(data)
    return out


def _symbols(data: Data) -> list[str]:
    return Atoms(data.z.tolist()).get_chemical_symbols()


def _structure(phase: dict[str, Any], edge: float, cell: str) -> Data:
    """The cubic phase with the displacements and the strain of another."""
    halves, multiples = np.array(phase["halves"]), np.array(phase["multiples"])
    symbols, moves = phase["symbols"], np.array(phase["displacements"])
    if cell == "2x2x2":
        unit = np.array(list(product(range(2), repeat=3)))
        places = [(1, 1, 1), (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
        whole = (2 * unit[:, None] + np.array(places)).reshape(-1, 3)
        away = (whole[:, None] - halves) / 2 @ np.linalg.inv(multiples)
        which = np.abs(away - np.round(away)).max(2).argmin(1)  # the atom that a lattice vector carries here
        symbols, moves = [symbols[i] for i in which], moves[which]
        halves, multiples = whole, 2 * np.eye(3)
    atoms = Atoms(symbols, positions=halves * edge / 2, cell=multiples * edge, pbc=True)
    data = from_ase(atoms)
    data.y = data.pos.new_tensor(moves)
    data.strain = data.pos.new_tensor([phase["strain"]])
    return data
