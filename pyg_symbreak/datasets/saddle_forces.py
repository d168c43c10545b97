"""Forces on displaced molecules, of the method of :class:`~pyg_symbreak.datasets.Saddles`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data

from pyg_symbreak.datasets.shipped import ShippedDataset, require_unchanged

__all__ = ["SaddleForces"]

SHA256 = "487f42c7908c070541ba0f1ee92a27de8905d2af15433b52973899c3616b918f"
UNIT_LENGTH, UNIT_FORCE = 2e-4, 1e-3
"""Å and eV/Å: of the whole numbers in the file."""


class SaddleForces(ShippedDataset):
    """Forces of GFN2-xTB on displaced molecules: those of :class:`Saddles`, and others of the same frames.

    Each graph is a molecule with F displaced structures. They are on ways downhill with noise, as at 350 K, from
    distortions of the symmetric molecule; those of Saddles also about their minima. Where the ways end is not said, nor
    which molecules are at saddles. ``datasets/saddles/make_forces.py`` made the file.

    ==================== ========== =================================================================
    key                  shape      meaning
    ==================== ========== =================================================================
    ``z``                [N]        atomic numbers
    ``pos``              [N, 3]     Å, the symmetric molecule; relaxed if its first displacement is zero
    ``displacement``     [F·N, 3]   Å, to each structure
    ``force``            [F·N, 3]   eV/Å, on the atoms of each structure
    ``charge``           [1]        elementary charges; no electron is unpaired
    ``name``             str        as in Saddles
    ``frame``            str        as in Saddles
    ``formula``          str        as in Saddles
    ==================== ========== =================================================================

    Parameters
    ----------
    root, transform, pre_transform, pre_filter, force_reload
        As for :class:`Saddles`.

    Raises
    ------
    ValueError
        If the data file is not the one this version was made with.
    """

    folder = "saddles"

    @property
    def raw_file_names(self) -> list[str]:
        """The file of all structures."""
        return ["forces.npz"]

    def graphs(self) -> list[Data]:
        """Each molecule with its structures."""
        path = Path(self.raw_paths[0])
        require_unchanged(path, SHA256)
        with np.load(path) as file:
            arrays = dict(file)
        counts, structures = arrays["atoms"].astype(int), arrays["structures"].astype(int)
        starts, rows = np.cumsum(counts) - counts, np.cumsum(counts * structures)
        dtype = torch.get_default_dtype()
        graphs = []
        for n, (start, end) in enumerate(zip(starts, rows, strict=True)):
            atoms, some = slice(start, start + counts[n]), slice(end - counts[n] * structures[n], end)
            graphs.append(
                Data(
                    z=torch.from_numpy(arrays["z"][atoms]).long(),
                    pos=torch.from_numpy(arrays["pos"][atoms]).to(dtype),
                    displacement=torch.from_numpy(arrays["displacement"][some] * UNIT_LENGTH).to(dtype),
                    force=torch.from_numpy(arrays["force"][some] * UNIT_FORCE).to(dtype),
                    charge=torch.tensor([int(arrays["charge"][n])]),
                    name=str(arrays["name"][n]),
                    frame=str(arrays["frame"][n]),
                    formula=str(arrays["formula"][n]),
                )
            )
        return graphs
