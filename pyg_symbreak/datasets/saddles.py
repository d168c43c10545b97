"""Molecules at symmetric saddle points of the energy, and the minima below them."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import torch
from ase import Atoms
from ase.io import iread
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.datasets.shipped import ShippedDataset, require_unchanged
from pyg_symbreak.structures import from_ase

__all__ = ["Saddles"]

SHA256 = "ea9374a76801a836c02615046ad671df5ccd6849f921e97632afe4384a7c3888"


class Saddles(ShippedDataset):
    r"""Symmetric molecules at saddle points of the energy, with the minima that they fall into.

    Each graph is a molecule relaxed within its point group :math:`S` by a semiempirical method, GFN2-xTB (C. Bannwarth,
    S. Ehlert and S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019)). Where the energy falls in some irreps of
    :math:`S`, :func:`pyg_symbreak.distort.relax` has followed it down to the minima: planar amines that become
    pyramids, eclipsed rotors, planar rings that pucker, linear chains that bend, square and octahedral centres that
    prefer another shape. Each minimum keeps a subgroup :math:`K` of :math:`S` and is one of :math:`|S|/|K|` equally
    good ones, its images under :math:`S`. Where the energy rises in all irreps the molecule is a control: its one
    minimum is itself, without displacement.

    ``datasets/saddles/README.md`` says how the molecules were made and where the method is wrong.

    ======================= ========== =========================================================================
    key                     shape      meaning
    ======================= ========== =========================================================================
    ``z``                   [N]        atomic numbers
    ``pos``                 [N, 3]     Å, the symmetric molecule (no ``cell``: zero, and no ``pbc``: false)
    ``y``                   [N, 3]     displacements in Å to the lowest minimum, without rigid motion (``1o``)
    ``energy``              [1]        eV, of the lowest minimum less that of the symmetric molecule
    ``kept``                str        Schoenflies symbol of :math:`K` of the lowest minimum
    ``count``               [1]        :math:`|S|/|K|` of the lowest minimum; infinite for a line that bends
    ``minima``              [M·N, 3]   displacements in Å to each of the M inequivalent minima, the lowest first;
                                       :meth:`minima_of` has them as [M, N, 3]
    ``minima_energy``       [M]        eV
    ``minima_count``        [M]        |S|/|K|
    ``minima_kept``         list       K
    ``minima_point_group``  list       point groups of the minima themselves: they contain K, and may be larger
    ``group``               str        Schoenflies symbol of :math:`S`
    ``irreps``              list       the n irreps of :math:`S` that displacements belong to and that break it
    ``curvature``           [n]        eV/Å², the lowest curvature of the energy in each
    ``unstable``            [n]        whether it is below zero by more than its uncertainty
    ``charge``              [1]        elementary charges; no electron is unpaired
    ``frame``               str        what the molecule was assembled from: ``"planar AX3"``, ``"ring of 6"``
    ``name``                str        frame, atoms and substituents
    ``formula``             str        chemical formula, with the charge if there is one: ``"H4N +1"``
    ``complete``            [1]        whether every relaxation ended at a minimum; else there may be others
    ``rearranged``          [1]        whether a minimum has other bonds than the symmetric molecule
    ======================= ========== =========================================================================

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

    Notes
    -----
    :meth:`split` divides at random with ``by="name"``, so that no frame is on both sides with ``by="frame"``, and so
    that no point group :math:`S` is with ``by="group"``. Some compounds are in two frames, as different saddles above
    one minimum (the octahedron and the prism of AX6); ``by="formula"`` keeps compounds together.
    """

    folder = "saddles"

    @property
    def raw_file_names(self) -> list[str]:
        """The file of all structures."""
        return ["saddles.xyz.gz"]

    def graphs(self) -> list[Data]:
        """Each molecule with its minima."""
        return [_graph(*frames) for frames in _molecules(Path(self.raw_paths[0]))]

    @staticmethod
    def minima_of(data: Data) -> Tensor:
        """Displacements [M, N, 3], Å, from one molecule to each of its inequivalent minima, the lowest first."""
        return data.minima.view(-1, data.num_nodes, 3)


def _molecules(path: Path) -> Iterator[tuple[Atoms, list[Atoms]]]:
    """Each symmetric molecule and its minima."""
    require_unchanged(path, SHA256)
    saddle, minima = None, []
    text = gzip.decompress(path.read_bytes()).decode()
    for atoms in iread(io.StringIO(text), ":", format="extxyz"):
        if atoms.info["role"] == "minimum":
            minima.append(atoms)
            continue
        if saddle is not None:
            yield saddle, minima
        saddle, minima = atoms, []
    if saddle is not None:
        yield saddle, minima


def _graph(saddle: Atoms, minima: list[Atoms]) -> Data:
    info = saddle.info
    data = from_ase(Atoms(saddle.numbers, saddle.positions))
    irreps = [word.split() for word in info["curvatures"].split("; ")] if info["curvatures"] else []
    data.irreps, data.curvature = [name for name, _ in irreps], data.pos.new_tensor([float(c) for _, c in irreps])
    data.unstable = data.curvature < -info["uncertainty"]
    data.group, data.frame, data.name = info["group"], info["frame"], info["name"]
    charge = int(info["charge"])
    data.formula = saddle.get_chemical_formula() + (f" {charge:+d}" if charge else "")
    data.charge, data.complete = torch.tensor([charge]), torch.tensor([bool(info["complete"])])
    below = minima or [saddle]
    data.minima = torch.cat([data.pos.new_tensor(m.positions - saddle.positions) for m in below])
    data.minima_energy = data.pos.new_tensor([m.info.get("relative_energy", 0.0) for m in below])
    data.minima_count = data.pos.new_tensor([float(m.info.get("count", 1)) for m in below])
    data.minima_kept = [m.info.get("kept", info["group"]) for m in below]
    data.minima_point_group = [m.info.get("point_group", info["group"]) for m in below]
    data.rearranged = torch.tensor([any(m.info["rearranged"] for m in minima)])
    data.y, data.energy = data.minima[: len(saddle)], data.minima_energy[:1]
    data.kept, data.count = data.minima_kept[0], data.minima_count[:1]
    return data
