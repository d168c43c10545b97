"""Make ferroelectrics.json.gz, what :class:`pyg_symbreak.datasets.Ferroelectrics` reads, from the collected pairs.

python datasets/ferroelectrics/make_ferroelectrics.py PAIRS.json.gz

PAIRS.json.gz is a list with one entry for each pair: ``parent_in_child_setting`` and ``child``, each with ``cell``,
``symbols`` and ``frac``, the identifiers and what is known of the pair. Atoms are matched, and the part of the parent's
symmetry that the child keeps is found, once and for all.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from rich.progress import track

from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.relation import match_structures

TOLERANCE = 0.01
"""Å: what an operation of the parent may change the distortion by and still be one of the child."""
COPIED = ["formula", "nonpolar_id", "polar_id", "nonpolar_space_group", "polar_space_group", "dmax"]
COPIED += ["polarization_uC_per_cm2", "energy_difference_eV_per_atom", "polarization_curve"]


def atoms_of(entry: dict) -> Atoms:
    """A structure of the collection."""
    return Atoms(entry["symbols"], scaled_positions=entry["frac"], cell=entry["cell"], pbc=True)


def kept_operations(symmetry: Symmetry, displacements: np.ndarray, strain: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Operations of the parent that change no displacement, and by the strain no vector of the cell, by more, Å."""
    rotations, permutations = symmetry.rotations.numpy(), symmetry.permutations.numpy()
    moved = np.linalg.norm(displacements[permutations] - displacements @ rotations.swapaxes(1, 2), axis=2).max(1)
    sheared = np.linalg.norm(cell @ (rotations @ strain @ rotations.swapaxes(1, 2) - strain), axis=2).max(1)
    return np.flatnonzero(np.maximum(moved, sheared) <= TOLERANCE)


def record(pair: dict) -> dict:
    """What is stored of a pair: a child whose atoms could not be matched keeps its own order, with the reason."""
    parent, child = atoms_of(pair["parent_in_child_setting"]), atoms_of(pair["child"])
    out = {key: pair[key] for key in COPIED if key in pair}
    out |= {
        "numbers": parent.numbers.tolist(),
        "cell": parent.cell.array.round(6).tolist(),
        "frac": parent.get_scaled_positions(wrap=False).round(6).tolist(),
    }
    symmetry = detect_symmetry(parent, TOLERANCE)
    assert isinstance(symmetry, Symmetry)
    assert symmetry.space_group is not None
    out["space_group"] = symmetry.space_group.symbol
    child_frac = child.get_scaled_positions(wrap=False)
    try:
        match = match_structures(parent, child, TOLERANCE)
    except ValueError as error:
        child_of = {"numbers": child.numbers.tolist(), "cell": child.cell.array.tolist(), "frac": child_frac.tolist()}
        return out | {"child": child_of, "problem": str(error)}
    operations = kept_operations(symmetry, match.displacements.numpy(), match.strain.numpy(), parent.cell.array)
    kept = symmetry.subgroup(operations.tolist())
    assert kept.space_group is not None
    still = len(symmetry.pure_translations)
    remaining = sum(int(g) in set(kept.operations) for g in symmetry.pure_translations)
    return out | {
        "displacements": match.displacements.numpy().round(6).tolist(),
        "strain": match.strain.numpy().round(7).tolist(),
        "kept": [kept.space_group.number, kept.space_group.symbol, kept.point_group.schoenflies],
        "index": kept.index,
        "alternatives": len(match.alternatives),
        "lost_translations": still // remaining,
    }


if __name__ == "__main__":
    with gzip.open(sys.argv[1]) as file:
        pairs = json.load(file)
    records, failed = [], []
    for pair in track(pairs, "pairs"):
        try:
            records.append(record(pair))
        except (ValueError, AssertionError) as error:
            failed.append((pair["formula"], str(error)[:200]))
    text = json.dumps(records, separators=(",", ":")).encode()
    Path(__file__).with_name("ferroelectrics.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    print(len(records), "pairs,", sum("problem" in r for r in records), "not matched,", len(failed), "failed", failed)
