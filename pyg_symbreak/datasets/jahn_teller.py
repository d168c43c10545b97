"""Jahn-Teller distortions: symmetric molecules, and what becomes of them when an electron is taken away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from ase import Atoms
from ase.io import iread
from torch_geometric.data import Data

from pyg_symbreak.datasets.shipped import ShippedDataset, require_unchanged
from pyg_symbreak.structures import from_ase

__all__ = ["JahnTeller"]

SHA256 = "67b402f108dab2f28c74160bd625dd2b64c2f45ec052cf66acd03a2ee5e93a17"

HELD_OUT = ("SH2+", "PH3+", "SiH4+", "BF3+")


class JahnTeller(ShippedDataset):
    r"""Jahn-Teller distortions of small molecules, from quantum chemistry.

    Each graph is a symmetric molecule, relaxed within its symmetry :math:`S` (the parent), and its target the
    lowest structure found after an electron was taken away or added, or after its spin was changed. An electron
    missing from a degenerate orbital makes the molecule distort (H. A. Jahn and E. Teller, Proc. R. Soc. Lond. A
    161, 220 (1937)) and leaves a subgroup :math:`K` of :math:`S`. The target is one of :math:`|S|/|K|` equally good
    ones; the others are its images under the operations of :math:`S`. Of the nondegenerate ions, C2H4+ and BF3+
    distort all the same, and the others, with count 1, are controls. The structures are from PBE0/def2-SVP;
    ``datasets/jahn_teller/README.md`` says how, and where the literature differs: D2d of CH4+ is an error of PBE0,
    and coupled cluster theory and experiment have C2v.

    ============ ===== ===== ===== ===== ======
    name         S     K     count Å     eV
    ============ ===== ===== ===== ===== ======
    H2O+         C2v   C2v   1     0.066 0.000
    NH3+         C3v   C3v   1     0.304 0.000
    CH4+         Td    D2d   3     0.314 -1.344
    BH3+         D3h   C2v   3     0.391 -0.986
    N2+          Dinfh Dinfh 1     0.006 0.000
    C2H2+        Dinfh Dinfh 1     0.041 0.000
    H2CO+        C2v   C2v   1     0.039 0.000
    C2H4+        D2h   D2    2     0.236 -0.048
    N2H2+        C2h   C2h   1     0.123 0.000
    PH3+*        C3v   C3v   1     0.316 0.000
    SH2+*        C2v   C2v   1     0.026 0.000
    C3H6+        D3h   C2v   3     0.199 -0.868
    C6H6+        D6h   D2h   3     0.041 -0.121
    SiH4+*       Td    Cs    12    0.965 -1.450
    CO2+         Dinfh Dinfh 1     0.011 0.000
    BF3+*        D3h   C2v   3     0.172 -0.092
    C3H4+ allene D2d   D2    2     0.335 -0.541
    P4+          Td    D2d   3     0.143 -0.504
    HCN+         Cinfv Cinfv 1     0.048 0.000
    H2O2+        C2    C2    1     0.273 0.000
    C2H6+        D3d   C2h   3     0.169 -0.545
    C4H4+        D4h   D2h   2     0.042 -0.241
    ============ ===== ===== ===== ===== ======

    The columns are: the point groups S of the parent and K; the number of equivalent targets; the largest
    displacement; and the energy. An asterisk marks what is held out. NH3+ (D3h) and H2O2+ (C2h) become planar
    and gain symmetry: their K is the part that the parent has too.

    ============= ============ =============================================================================
    key           shape        meaning
    ============= ============ =============================================================================
    ``z``         [N]          atomic numbers
    ``pos``       [N, 3]       Å, the parent (no ``cell``: zero, and no ``pbc``: false)
    ``y``         [N, 3]       displacements in Å to the target, without rigid motion (``1o`` on the nodes)
    ``energy``    [1]          eV, of the target less that of the same charge and spin relaxed within S
    ``charge``    [1]          elementary charges, of the target
    ``unpaired``  [1]          number of unpaired electrons of the target
    ``count``     [1]          number of equivalent targets
    ``group``     str          Schoenflies symbol of S
    ``kept``      str          Schoenflies symbol of K
    ``name``      str          the name in the table
    ``held_out``  [1]          true for those marked, meant for testing: chemical relatives of the others
    ============= ============ =============================================================================

    Parameters
    ----------
    root : str, optional
        Folder for the processed data, as in any PyG data set. Without it the graphs are made in memory (they
        are few) and nothing is written. Floating-point numbers are in torch's default dtype at the time of
        processing.
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
    >>> methane = next(data for data in JahnTeller() if data.name == "CH4+")
    >>> methane.group, methane.kept, methane.count.item(), methane.y.shape
    ('Td', 'D2d', 3, torch.Size([5, 3]))
    """

    folder = "jahn_teller"

    @property
    def raw_file_names(self) -> list[str]:
        """The file of all structures."""
        return ["jahn_teller.xyz"]

    def graphs(self) -> list[Data]:
        """Each parent with its lowest structure."""
        return [_graph(*pair) for pair in _pairs(Path(self.raw_paths[0]))]


def _pairs(path: Path) -> Iterator[tuple[Atoms, Atoms]]:
    """Each parent and its lowest structure; the others of the file are left out."""
    require_unchanged(path, SHA256)
    parent = None
    for atoms in iread(path, ":", format="extxyz"):
        if atoms.info["role"] == "parent":
            parent = atoms
        elif atoms.info["role"] == "lowest":
            assert parent is not None
            yield parent, atoms


def _graph(parent: Atoms, target: Atoms) -> Data:
    data = from_ase(parent)
    info = target.info
    data.y = torch.from_numpy(target.positions - parent.positions).to(data.pos.dtype)
    data.energy = data.pos.new_tensor([info["relative_energy"]])
    data.charge, data.unpaired = torch.tensor([info["charge"]]), torch.tensor([info["unpaired"]])
    data.count = torch.tensor([info["count"]])
    data.group, data.kept, data.name = parent.info["group"], info["kept"], info["system"]
    data.held_out = torch.tensor([data.name in HELD_OUT])
    return data
