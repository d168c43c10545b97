"""Figures of docs/ferroelectrics.md: what the pairs of datasets.Ferroelectrics say of how symmetry breaks in crystals.

python docs/make_ferroelectrics.py [--every 1]

Writes docs/images/ferroelectrics.png and docs/images/ferroelectrics.json, and prints the numbers.
"""

import argparse
import json
import math
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.datasets import Ferroelectrics
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.diagnosis import kept_symmetry
from pyg_symbreak.losses import curie_residual

SYMPREC = 0.01
IMAGES = Path(__file__).parent / "images"


def row(data) -> dict:
    """What is counted of a pair: sizes, and the set of objects of the whole structure where there is one."""
    symmetry = detect_symmetry(data, SYMPREC)
    assert isinstance(symmetry, Symmetry)
    length = float(data.cell.norm(dim=-1).max())
    keep = kept_symmetry(symmetry, data.y, data.strain[0] * length, SYMPREC)
    out = {
        "from": symmetry.group.schoenflies,
        "to": keep.schoenflies,
        "domains": data.count.item(),
        "lost_translations": data.lost_translations.item(),
        "rms": float(data.y.square().sum(1).mean().sqrt()),
        "bound": math.sqrt(float(curie_residual(data.y, symmetry.rotations, symmetry.permutations)) / data.num_nodes),
        "atoms": data.num_nodes,
    }
    if out["lost_translations"] == 1 and keep != symmetry.group:
        found = breaking_set(symmetry.group, keep)
        out |= {"size": found.size, "ideal": found.ideal, "irreps": str(found.irreps)}
    return out


def figure(rows: list[dict]) -> None:
    """Domains, sizes of sets, and the Curie bound beside the size of the distortion."""
    fig, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    counts = Counter(r["domains"] for r in rows)
    lost = Counter(r["domains"] for r in rows if r["lost_translations"] > 1)
    values = sorted(counts)
    axes[0].bar(range(len(values)), [counts[v] for v in values], color="#4477aa", label="translations kept")
    axes[0].bar(range(len(values)), [lost[v] for v in values], color="#ee6677", label="translations lost")
    axes[0].set(xticks=range(len(values)), xticklabels=values, xlabel="equivalent domains", ylabel="pairs")
    axes[0].tick_params(axis="x", labelsize=7)
    axes[0].legend(frameon=False)
    sizes = [r for r in rows if "size" in r]
    names = sorted({r["size"] for r in sizes})
    for ideal, color, label in ((True, "#228833", "ideal"), (False, "#ccbb44", "not ideal")):
        below = [sum(r["size"] == n and r["ideal"] for r in sizes) if not ideal else 0 for n in names]
        high = [sum(r["size"] == n and r["ideal"] == ideal for r in sizes) for n in names]
        axes[1].bar(range(len(names)), high, bottom=below, color=color, label=label)
    labels = ["∞" if n == math.inf else str(n) for n in names]
    axes[1].set(xticks=range(len(names)), xticklabels=labels, xlabel="objects in the set of the whole structure")
    axes[1].set(ylabel="pairs")
    axes[1].legend(frameon=False)
    axes[2].loglog([r["rms"] for r in rows], [r["bound"] for r in rows], ".", ms=4, color="#4477aa")
    ends = np.array([min(r["rms"] for r in rows), max(r["rms"] for r in rows)])
    axes[2].loglog(ends, ends, "k--", lw=0.8)
    axes[2].set(xlabel="rms displacement, Å", ylabel="least rms error without an object, Å")
    fig.savefig(IMAGES / "ferroelectrics.png", dpi=120)


def main() -> None:
    """Count, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    every = parser.parse_args().every
    torch.set_default_dtype(torch.float64)
    rows = [row(data) for data in list(Ferroelectrics())[::every]]
    figure(rows)
    sets = [r for r in rows if "size" in r]
    share = np.array([r["bound"] / r["rms"] for r in rows])
    summary = {
        "pairs": len(rows),
        "lose_translations": sum(r["lost_translations"] > 1 for r in rows),
        "sets_of_the_structure": len(sets),
        "ideal": sum(r["ideal"] for r in sets),
        "continuous": sum(r["size"] == math.inf for r in sets),
        "not_ideal": sorted({f"{r['from']} to {r['to']}" for r in sets if not r["ideal"]}),
        "median_size": float(np.median([r["size"] for r in sets])),
        "median_domains": float(np.median([r["domains"] for r in rows])),
        "irreps": dict(Counter(r["irreps"] for r in sets).most_common(8)),
        "steps": dict(Counter(f"{r['from']} to {r['to']}" for r in rows).most_common(10)),
        "bound_over_rms": [round(float(q), 3) for q in np.quantile(share, (0.25, 0.5, 0.75))],
        "bound_above_90_percent": int((share > 0.9).sum()),
    }
    (IMAGES / "ferroelectrics.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
