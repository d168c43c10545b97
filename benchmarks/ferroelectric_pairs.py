"""What the library makes of pairs of a nonpolar crystal and a polar phase: what is kept, which objects, in any frame.

Of each pair as datasets.Ferroelectrics ships it: whether K has the order of the point group that is found for the
child alone; whether there is an object; whether the object that goes with the target moves with the pair when it is
turned, renumbered and given in another basis of its cell, in both precisions (``testing.pairing_error``)::

    python benchmarks/ferroelectric_pairs.py [--every 1] [--first 0] [--atoms 400] [--motions 5] [--output FILE]

``--every n`` takes every n-th pair; ``--atoms n`` moves those of at most n atoms only; ``--motions 0`` moves none.

With ``--settings PAIRS.json.gz``, the file that ``datasets/ferroelectrics/make_ferroelectrics.py`` reads, instead: from
each parent in the setting it is published in and its child ``relation.relate_structures`` finds cell, origin and atoms.
They are compared with the parent in the child's setting as the Bilbao server gave it: lengths of the displacements in
order and principal strains, which no isometry and no order of atoms changes. Where the published distortion is shorter
the mirror image of the parent is taken too: of chiral parents the two settings need not have the same hand.
"""

import argparse
import gzip
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.geometry import get_duplicate_atoms
from scipy.spatial.transform import Rotation
from torch_geometric.data import Data

from pyg_symbreak.datasets import Ferroelectrics
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.diagnosis import diagnose
from pyg_symbreak.relation import match_structures, relate_structures
from pyg_symbreak.structures import Match, apply_distortion, to_ase
from pyg_symbreak.testing import pairing_error
from pyg_symbreak.transforms import AddSymmetryBreaking

SYMPREC = 0.01
TARGET = {"y": "1o", "strain": "0e+2e"}
BASES = ([[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [0, 1, 1]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
SAME = {torch.float64: 1e-4, torch.float32: 1e-2}
ALIKE = 0.02
"""Å, and of strains: what the coordinates of two settings with few decimals may differ by."""


def point_order(atoms) -> int:
    """Order of the point group, of a primitive cell: the shape of a supercell hides nothing."""
    found = detect_symmetry(atoms, SYMPREC)
    assert isinstance(found, Symmetry)
    return int(found.group.order)


def moved(data: Data, rng: np.random.Generator, dtype: torch.dtype) -> Data:
    """The pair turned, renumbered and in another basis of its cell."""
    turn = torch.from_numpy(Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix())
    order = torch.from_numpy(rng.permutation(data.num_nodes))
    basis = torch.tensor(BASES[rng.integers(len(BASES))], dtype=torch.float64)
    return Data(
        z=data.z[order],
        pos=(data.pos[order] @ turn.T).to(dtype),
        cell=(basis @ data.cell[0] @ turn.T)[None].to(dtype),
        pbc=data.pbc,
        y=(data.y[order] @ turn.T).to(dtype),
        strain=(turn @ data.strain[0] @ turn.T)[None].to(dtype),
    )


# ------------------------------------------------------------------ in any settings


def atoms_of(entry: dict, hand: int = 1) -> Atoms:
    """A structure of the collection or its mirror image, each atom once: some are listed with images of atoms."""
    cell = hand * np.array(entry["cell"])
    atoms = Atoms(entry["symbols"], scaled_positions=entry["frac"], cell=cell, pbc=True)
    get_duplicate_atoms(atoms, cutoff=0.05, delete=True)
    return atoms


def size(match: Match, parent: Atoms) -> float:
    """Mean squared displacement, and squared strain over a distance between neighbours, Å²."""
    step = (parent.get_volume() / len(parent)) ** (1 / 3)
    return float(match.displacements.square().sum(1).mean() + (step * match.strain).square().sum())


def compared(pair: dict, hand: int = 1) -> tuple[str, float, float]:
    """What became of a pair in any settings, and the sizes of the distortions: found, published; Å²."""
    child, published = atoms_of(pair["child"]), atoms_of(pair["parent_in_child_setting"])
    nan = float("nan")
    try:
        wanted = match_structures(published, child, SYMPREC)
    except ValueError:
        wanted = None
    try:
        found = relate_structures(atoms_of(pair["parent"], hand), child, SYMPREC)
    except ValueError:
        return ("refused", nan, nan) if wanted is not None else ("refused, and so is the published one", nan, nan)
    if wanted is None:
        return "found where the published one is refused", size(found.match, found.parent), nan
    sizes = size(found.match, found.parent), size(wanted, published)
    lengths = [m.displacements.norm(dim=1).sort().values for m in (found.match, wanted)]
    strains = [torch.linalg.eigvalsh(m.strain) for m in (found.match, wanted)]
    if (lengths[0] - lengths[1]).abs().max() < ALIKE and (strains[0] - strains[1]).abs().max() < ALIKE:
        return "equal" if hand == 1 else "equal with the mirror image of the parent", *sizes
    if hand == 1 and sizes[0] > sizes[1]:
        mirrored = compared(pair, -1)
        if mirrored[0].startswith("equal"):
            return mirrored
    kept = [diagnose(x, child, SYMPREC).keep.order for x in (found.parent, published)]
    which = "as much" if kept[0] == kept[1] else "more" if kept[0] > kept[1] else "less"
    return f"another, {'shorter' if sizes[0] < sizes[1] else 'longer'}, keeps {which}", *sizes


def settings(pairs: list[dict], what: str) -> list[str]:
    """Lines of the comparison of all pairs."""
    start, rows = time.process_time(), []
    for pair in pairs:
        name = f"{pair['formula']} {pair['nonpolar_space_group']} to {pair['polar_space_group']}"
        rows.append((name, *compared(pair)))
    counts = {kind: sum(row[1] == kind for row in rows) for kind in sorted({row[1] for row in rows})}
    lines = [
        f"{len(pairs)} pairs, {what}, from the settings they are published in ({time.process_time() - start:.0f} s):"
    ]
    lines += [
        "",
        *(f"- {kind}: {count}" for kind, count in counts.items()),
        "",
        "Not equal (found, published, Å²):",
        "",
    ]
    return lines + [f"- {name}: {kind} ({a:.3g}, {b:.3g})" for name, kind, a, b in rows if kind != "equal"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--atoms", type=int, default=400)
    parser.add_argument("--motions", type=int, default=5)
    parser.add_argument("--settings", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_default_dtype(torch.float64)
    if args.settings:
        pairs = json.loads(gzip.decompress(args.settings.read_bytes()))[args.first :: args.every]
        written("Pairs in any settings", settings(pairs, f"every {args.every} from {args.first}"), args.output)
        return
    dataset = Ferroelectrics()
    chosen = list(dataset)[args.first :: args.every]
    attach = AddSymmetryBreaking(choose="target", target=TARGET, on="nodes", symprec=SYMPREC)
    right, seconds, without, wrong, worst, trials, faults = 0, 0.0, [], [], 0.0, 0, []
    levels = {"graph": 0, "node": 0}
    for data in chosen:
        parent, child = to_ase(data), to_ase(apply_distortion(data, data.y, data.strain[0]))
        name = f"{data.formula} {data.parent_number.item()} to {data.polar_number.item()}"
        start = time.process_time()
        try:
            found = diagnose(parent, child, SYMPREC)
        except ValueError as error:
            faults.append(f"{name}: diagnose: {error}")
            continue
        seconds += time.process_time() - start
        if int(found.keep.order) == point_order(child):
            right += 1
        else:
            wrong.append(name)
        if found.breaking is None or found.representable:
            without.append(name)
        else:
            levels[found.breaking.level] += 1
        if data.num_nodes > args.atoms:
            continue
        rng = np.random.default_rng(data.num_nodes)
        for motion in range(args.motions):
            dtype = torch.float32 if motion % 2 else torch.float64
            trials += 1
            try:
                error = pairing_error(attach, moved(data, rng, dtype), TARGET, symprec=SYMPREC, trials=1)
            except ValueError as problem:
                faults.append(f"{name}: {problem}")
                continue
            worst = max(worst, error)
            if error > SAME[dtype]:
                faults.append(f"{name} ({dtype}): {error:.2g}")
    tried, objects, share = len(chosen), sum(levels.values()), f"every {args.every} from {args.first}"
    kinds = f"{levels['graph']} of the graph, {levels['node']} on the nodes"
    lines = [
        f"{tried} pairs of {len(dataset)}, {share}; {len(dataset.unmatched)} more have no target.",
        f"K has the order of the point group of the child: {right}; not: {', '.join(wrong) or 'none'}.",
        f"An object, and not representable: {objects} ({kinds}); not: {', '.join(without) or 'none'}.",
        f"diagnose: {seconds:.1f} s of one core.",
        f"Objects under motions (at most {args.atoms} atoms): {trials} trials, largest error {worst:.2g}.",
        f"Faults: {len(faults)}",
        *(f"- {fault[:300]}" for fault in faults),
    ]
    written("Pairs of a nonpolar crystal and a polar phase", lines, args.output)


def written(title: str, lines: list[str], output: Path | None) -> None:
    """Print lines, and write them to a file if there is one."""
    print("\n".join(lines))
    if output:
        output.write_text("\n".join([f"# {title}", "", *lines, ""]))


if __name__ == "__main__":
    main()
