"""Ferroelectrics: pairs of a nonpolar parent and its polar child, from first principles."""

from __future__ import annotations

import gzip
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.datasets.shipped import ShippedDataset, require_unchanged
from pyg_symbreak.structures import from_ase

__all__ = ["Ferroelectrics"]

SHA256 = "79b0eb23ae7932a7fad5c84dea2d7ca0a9e7f2a3c6760e58175368731ce34ea1"


class Ferroelectrics(ShippedDataset):
    r"""Nonpolar crystals and the polar phases they distort to, from density functional theory.

    Each graph is a nonpolar parent in the cell of its polar child, of space group :math:`S`; its target are the
    displacements and the strain that lead to the child, which keeps the subgroup :math:`K`. The child is one of
    :math:`|S|/|K|` equivalent domains. Where the child has a larger primitive cell than its parent, :math:`K` lacks
    translations of :math:`S` (``lost_translations``).

    The pairs are those of T. E. Smidt, S. A. Mack, S. E. Reyes-Lillo, A. Jain and J. B. Neaton, "An automatically
    curated first-principles database of ferroelectrics", Scientific Data 7, 72 (2020), doi 10.1038/s41597-020-0407-9
    (repository blondegeek/ferroelectric_search_site, MIT licence, copyright 2019 Tess Smidt). The structures are from
    PBE and PBE+U calculations of the Materials Project (CC BY 4.0). Atoms are matched by
    :func:`~pyg_symbreak.relation.match_structures`, so that most symmetry is kept at little more than the least sum of
    squared displacements; K are the operations of S that change them, or by the strain a vector of the cell, by 0.01 Å
    at most. K has the space group of the child in all pairs but one, BC2N, whose atoms cannot be assigned so. Nine
    parents have operations that the shape of the child's cell hides: there S is K.

    ===================== ========= ============================================================================
    key                   shape     meaning
    ===================== ========= ============================================================================
    ``z``                 [N]       atomic numbers
    ``pos``               [N, 3]    Å, the parent
    ``cell``, ``pbc``     [1, 3, 3] of the parent, rows in Å
    ``y``                 [N, 3]    displacements in Å to the child, with mean zero (``1o`` on the nodes)
    ``strain``            [1, 3, 3] of the cell, symmetric, in the parent's frame (``0e+2e``)
    ``kept``              str       Hermann-Mauguin symbol of K, with the translations that it has
    ``kept_number``       [1]       number of the space group K
    ``space_group``       str       Hermann-Mauguin symbol of S
    ``parent_number``     [1]       number of the space group S, as the database has it
    ``polar_number``      [1]       number of the space group of the child, as the database has it
    ``count``             [1]       number of equivalent domains :math:`|S|/|K|`
    ``lost_translations`` [1]       translations inside the cell that S has for each that K has; 1 if none is lost
    ``alternatives``      [1]       number of other assignments of atoms that keep as much and cost not much more
    ``polarization``      [1]       µC/cm², not a number where it is not known
    ``energy``            [1]       eV an atom, polar less nonpolar, not a number where it is not known
    ``smooth``            [1]       whether the polarization was followed without a jump along the distortion
    ``formula``           str       chemical formula
    ``parent_id``         str       identifier in the Materials Project
    ``polar_id``          str       the same of the child
    ===================== ========= ============================================================================

    Pairs whose atoms cannot be matched, as their cells differ too much (reconstructive transitions), have no target:
    they are left out of the graphs and listed in :attr:`unmatched` with the reason. Their cells differ by stretches of
    1.3 to 1.9: to describe them as distortions all the same, match with a larger ``max_strain``.

    Parameters
    ----------
    root : str, optional
        Folder for the processed data, as in any PyG data set. Without it the graphs are made in memory and nothing is
        written. Floating-point numbers are in torch's default dtype at the time of processing.
    transform, pre_transform, pre_filter : callable, optional
        As in any PyG data set.
    force_reload : bool
        Process again what ``root`` already holds.

    Raises
    ------
    ValueError
        If the data file is not the one this version was made with.

    Examples
    --------
    >>> titanate = next(data for data in Ferroelectrics() if data.formula == "BaTiO3" and data.kept == "P4mm")
    >>> titanate.space_group, titanate.count.item(), titanate.y.shape
    ('Pm-3m', 6, torch.Size([5, 3]))
    """

    folder = "ferroelectrics"

    @property
    def raw_file_names(self) -> list[str]:
        """The file of all pairs."""
        return ["ferroelectrics.json.gz"]

    @cached_property
    def _records(self) -> list[dict[str, Any]]:
        path = Path(self.raw_paths[0])
        require_unchanged(path, SHA256)
        return json.loads(gzip.decompress(path.read_bytes()))

    @property
    def unmatched(self) -> list[tuple[str, str, str, str]]:
        """Formula, identifiers of parent and child, and the reason, of each pair without a target."""
        return [(r["formula"], r["nonpolar_id"], r["polar_id"], r["problem"]) for r in self._records if "problem" in r]

    def graphs(self) -> list[Data]:
        """Each parent whose atoms are matched, with its target."""
        return [_graph(record) for record in self._records if "problem" not in record]

    def split(self, by: str = "formula", held_out: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor]:
        """As for any data set of the package: ``by`` is ``"formula"``, ``"parent_number"`` or another attribute.

        ``"polar_id"`` divides at random.
        """
        return super().split(by, held_out, seed)


def _graph(record: dict[str, Any]) -> Data:
    parent = Atoms(record["numbers"], scaled_positions=record["frac"], cell=record["cell"], pbc=True)
    data = from_ase(parent)
    data.y = data.pos.new_tensor(record["displacements"])
    data.strain = data.pos.new_tensor([record["strain"]])
    (number, symbol, _), unknown = record["kept"], float("nan")
    data.kept, data.space_group, data.formula = symbol, record["space_group"], record["formula"]
    data.parent_id, data.polar_id = record["nonpolar_id"], record["polar_id"]
    data.kept_number, data.count = torch.tensor([number]), torch.tensor([record["index"]])
    data.parent_number = torch.tensor([record["nonpolar_space_group"]])
    data.polar_number = torch.tensor([record["polar_space_group"]])
    data.lost_translations = torch.tensor([record["lost_translations"]])
    data.alternatives = torch.tensor([record["alternatives"]])
    data.polarization = data.pos.new_tensor([record.get("polarization_uC_per_cm2", unknown)])
    data.energy = data.pos.new_tensor([record.get("energy_difference_eV_per_atom", unknown)])
    data.smooth = torch.tensor([record.get("polarization_curve") == "smooth"])
    return data
