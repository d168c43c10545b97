"""Molecules at symmetric saddle points of the energy, and the minima below them."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import iread
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.datasets.shipped import ShippedDataset, require_unchanged
from pyg_symbreak.structures import from_ase

__all__ = ["Saddles"]

SHA256 = "13eb127dbab23fae39bee36f32a62e6e7778f36e1b271560553085d7d5d873e4"
HESSIANS_SHA256 = "53f9987c11be16ec930e5b89add45135c74ef6a6cd837a252eed1283da4206ae"
UNIT, HOLE = 1e-4, -(2**31)
"""eV/Å², in which force constants are stored as integers, and what stands where there are none."""


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
    ``hessian``             [N², 3, 3] eV/Å², second derivatives of the energy of the symmetric molecule: those by the
                                       places of atoms i and j in row i·N + j (``1ox1o``); :meth:`hessian_of` has them
                                       as [3N, 3N]; not a number where the energy is not smooth
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
        """The file of all structures, and that of the force constants."""
        return ["saddles.xyz.gz", "saddles_hessians.npz"]

    def graphs(self) -> list[Data]:
        """Each molecule with its minima."""
        structures, constants = (Path(path) for path in self.raw_paths)
        triangles, start, graphs = _triangles(constants), 0, []
        for saddle, minima in _molecules(structures):
            stop = start + 3 * len(saddle) * (3 * len(saddle) + 1) // 2
            graphs.append(_graph(saddle, minima, triangles[start:stop]))
            start = stop
        return graphs

    @staticmethod
    def minima_of(data: Data) -> Tensor:
        """Displacements [M, N, 3], Å, from one molecule to each of its inequivalent minima, the lowest first."""
        return data.minima.view(-1, data.num_nodes, 3)

    @staticmethod
    def hessian_of(data: Data) -> Tensor:
        """Second derivatives [3N, 3N], eV/Å², of the energy of a symmetric molecule by the coordinates of its atoms."""
        count = data.num_nodes
        return data.hessian.view(count, count, 3, 3).transpose(1, 2).reshape(3 * count, 3 * count)


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


def _triangles(path: Path) -> np.ndarray:
    """Upper triangles of all matrices of force constants, one after the other, eV/Å²."""
    require_unchanged(path, HESSIANS_SHA256)
    with np.load(path) as file:
        stored = file["triangles"]
    return np.where(stored == HOLE, np.nan, UNIT * stored)


def _graph(saddle: Atoms, minima: list[Atoms], triangle: np.ndarray) -> Data:
    info, count = saddle.info, len(saddle)
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
    hessian = np.zeros((3 * count, 3 * count))
    hessian[np.triu_indices(3 * count)] = triangle
    hessian += np.triu(hessian, 1).T
    data.hessian = data.pos.new_tensor(hessian.reshape(count, 3, count, 3).swapaxes(1, 2).reshape(-1, 3, 3))
    data.y, data.energy = data.minima[: len(saddle)], data.minima_energy[:1]
    data.kept, data.count = data.minima_kept[0], data.minima_count[:1]
    return data
