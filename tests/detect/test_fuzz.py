"""Ten thousand random inputs, sane and insane: a right answer or a clear error."""

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation
from torch_geometric.data import Data

from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.groups import PointGroup

GROUPS = [
    PointGroup(name) for name in ("C1", "Cs", "Ci", "C2", "C3v", "D2", "D3d", "D5h", "S8", "C7h", "T", "Oh", "Ih")
]


def symmetric_cluster(rng) -> tuple[dict, int]:
    """A molecule of at least a known number of operations."""
    group = GROUPS[rng.integers(len(GROUPS))]
    points = [group.matrices @ (rng.normal(size=3) * 3) for _ in range(rng.integers(1, 4 if group.order < 50 else 2))]
    kinds = [np.full(len(p), rng.integers(1, 4)) for p in points]
    unique = np.unique(np.concatenate(points).round(6), axis=0, return_index=True)[1]
    return {"z": np.concatenate(kinds)[unique], "pos": np.concatenate(points)[unique]}, group.order


def random_cluster(rng) -> tuple[dict, int]:
    count = rng.integers(1, 12)
    return {"z": rng.integers(1, 4, count), "pos": rng.normal(size=(count, 3)) * rng.uniform(0.5, 5)}, 1


def lattice_points(rng) -> tuple[dict, int]:
    """Points on a small grid: linear, planar, coincident and highly symmetric ones."""
    count = rng.integers(1, 9)
    return {"z": rng.integers(1, 3, count), "pos": rng.integers(-1, 2, (count, 3)) * rng.integers(0, 2, 3) * 1.7}, 1


def random_crystal(rng) -> tuple[dict, int]:
    atoms = crystal(
        ["Si"],
        [rng.uniform(size=3).round(int(rng.integers(1, 3)))],
        spacegroup=int(rng.integers(1, 231)),
        cellpar=[5, 5, 5, 90, 90, 90],
    )
    out = {"z": atoms.numbers, "pos": atoms.positions, "cell": atoms.cell.array, "pbc": [True] * 3}
    if len(atoms) < 25 and rng.random() < 0.3:
        atoms *= tuple(rng.integers(1, 3, 3))
        out |= {"z": atoms.numbers, "pos": atoms.positions, "cell": atoms.cell.array}
    return out, 1


def random_cell(rng) -> tuple[dict, int]:
    count = rng.integers(1, 6)
    cell = rng.normal(size=(3, 3)) * rng.uniform(0.5, 6)
    return {
        "z": rng.integers(1, 3, count),
        "pos": rng.uniform(size=(count, 3)) @ cell,
        "cell": cell,
        "pbc": rng.random(3) < [0.5, 0.7, 0.9],
    }, 1


MAKERS = [symmetric_cluster, random_cluster, lattice_points, random_crystal, random_cell]


def disturb(x: dict, rng) -> tuple[dict, bool]:
    """Often nothing; else one of the things that go wrong in practice. Whether symmetry is kept is returned."""
    x = {key: np.array(value) for key, value in x.items()}
    rotation = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix() * rng.choice([-1, 1])
    x["pos"] = x["pos"] @ rotation.T + rng.normal(size=3) * 3
    if "cell" in x:
        x["cell"] = x["cell"] @ rotation.T
    what = rng.integers(0, 22)
    kept = what > 9
    if what == 0:
        x["pos"][rng.integers(len(x["pos"])), rng.integers(3)] = rng.choice([np.nan, np.inf])
    elif what == 1:
        x = {key: value[:0] if key in ("z", "pos") else value for key, value in x.items()}
    elif what == 2:
        x["pos"] = np.concatenate([x["pos"], x["pos"][:1] + rng.choice([0.0, 1e-9, 1e-3])])
        x["z"] = np.append(x["z"], x["z"][0])
    elif what == 3:
        x["cell"] = np.outer(rng.normal(size=3), rng.normal(size=3))
        x["pbc"] = np.ones(3, dtype=bool)
    elif what == 4:
        x["pos"] = x["pos"] + 1e6
        kept = True
    elif what == 5:
        x["pbc"] = rng.random(3) < 0.5
    elif what == 6:
        x["pos"] = x["pos"] + rng.normal(size=x["pos"].shape) * 10 ** rng.uniform(-6, -1)
    elif what == 7:
        x["z"] = x["z"][:-1]
    elif what == 8:
        x["pos"] = x["pos"][:, :2]
    elif what == 9:
        x["pos"] = x["pos"] * 10 ** rng.uniform(-3, 3)
    return x, kept


def as_input(x: dict, rng):
    if rng.random() < 0.5 and x["pos"].shape[1:] == (3,) and len(x["z"]) == len(x["pos"]):
        return Atoms(x["z"], x["pos"], cell=x.get("cell"), pbc=x.get("pbc"))
    dtype = torch.float64 if rng.random() < 0.8 else torch.float32
    data = Data(z=torch.tensor(x["z"]), pos=torch.tensor(x["pos"], dtype=dtype))
    if "cell" in x:
        data.cell = torch.tensor(x["cell"], dtype=dtype)[None]
    if "pbc" in x:
        data.pbc = torch.tensor(x["pbc"])[None]
    return data


def require_right(found: Symmetry, x, symprec: float, rng) -> None:
    """Check the answer by the definition of a group of symmetry operations."""
    if isinstance(x, Atoms):
        z, pos, cell, pbc = x.numbers, torch.tensor(x.positions), torch.tensor(x.cell.array), torch.tensor(x.pbc)
    else:
        z, pos = x.z.numpy(), x.pos.double()
        cell = x.cell[0].double() if "cell" in x else torch.zeros(3, 3).double()
        pbc = x.pbc[0] if "pbc" in x else torch.tensor([("cell" in x)] * 3)
    r, permutations = found.rotations, found.permutations
    assert r.shape[1:] == (3, 3)
    assert float((r @ r.mT - torch.eye(3)).abs().max()) < 1e-12
    assert float((r[0] - torch.eye(3)).abs().max()) < 1e-12
    assert torch.equal(permutations.sort(1)[0], torch.arange(len(pos)).expand_as(permutations))
    assert (z[permutations.numpy()] == z).all()
    assert found.residual <= symprec
    miss = pos[permutations] - pos @ r.mT - found.translations[:, None]
    slack = 1e-9 + 1e-15 * float(pos.abs().max()) * 50
    if pbc.any():
        full = cell.clone()
        if pbc.sum() == 2:
            normal = torch.linalg.cross(*cell[pbc])
            full[~pbc] = normal / normal.norm()
        coefficients = miss @ torch.linalg.inv(full)
        coefficients[..., pbc] -= coefficients[..., pbc].round()
        miss = coefficients @ full
        slack += 30 * found.residual + found.residual * float((pos @ torch.linalg.inv(full))[:, pbc].abs().max()) * 6
    assert float(miss.norm(dim=-1).max()) <= symprec + slack
    orbits = found.orbits
    assert torch.equal(orbits[permutations], orbits.expand_as(permutations))
    if found.order == math.inf:
        assert found.group.schoenflies in ("O3", "Cinfv", "Dinfh")
        return
    assert found.group.order <= found.order == len(permutations)
    listed = {tuple(p) for p in permutations.tolist()}
    for g in rng.integers(len(permutations), size=3):
        assert {tuple(p) for p in permutations[g][permutations].tolist()} == listed


@pytest.mark.parametrize("part", range(6))
def test_three_thousand_inputs(part):
    answers = refusals = 0
    for number in range(500):
        rng = np.random.default_rng([part, number])
        x, order = MAKERS[rng.integers(len(MAKERS))](rng)
        x, kept = disturb(x, rng)
        symprec = float(rng.choice([1e-5, 1e-3, 1e-2, 0.1]))
        x = as_input(x, rng)
        try:
            found = detect_symmetry(x, symprec)
        except (ValueError, TypeError):
            refusals += 1
            continue
        answers += 1
        require_right(found, x, symprec, rng)
        assert not kept or found.order >= order
    assert answers > 200
    assert refusals > 50
