"""Whether an installation works: the main claims on small inputs, and which optional parts are there.

``python -m pyg_symbreak.selftest`` takes under a minute on one core and ends with 1 where a claim does not hold.
"""

from __future__ import annotations

import importlib.metadata
import sys
import time
import warnings
from collections.abc import Callable
from importlib.resources import files

import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv

from pyg_symbreak.breaking import breaking_set, orbit_candidates
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.diagnosis import diagnose
from pyg_symbreak.distort import relax
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.nn import BreakingEdgeInvariants, GatedNetwork, SymPE
from pyg_symbreak.ops import METHODS, Orbits, orbit_reduce
from pyg_symbreak.structures import from_ase, read_structure
from pyg_symbreak.testing import equivariance_error, set_equivariance_error, stabilizer_of_output
from pyg_symbreak.training import fit
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

__all__ = ["CHECKS", "main", "optional_parts"]

F64 = torch.float64
OPTIONAL = {
    "torch-scatter": "method='torch_scatter' of the reductions over orbits; without it they take torch or triton",
    "triton": "their kernels on a GPU; without it, and on a CPU, they take torch",
    "lightning": "pyg-symbreak train",
    "ray": "preprocess on a cluster; without it over processes",
    "pyscf": "datasets/jahn_teller/make_jahn_teller.py, which computes the data set anew; the data set is here",
}
"""What is installed apart, by its name in the package index, and what it is for."""


def _symmetry(structure: Atoms | Data) -> Symmetry:
    found = detect_symmetry(structure)
    assert isinstance(found, Symmetry)
    return found


def _turned(name: str) -> Atoms:
    atoms = molecule(name)
    atoms.positions = atoms.positions @ Rotation.random(random_state=3).as_matrix().T
    return atoms


def symmetry_of_molecules() -> tuple[str, bool]:
    """Symmetry of molecules is found in any orientation."""
    found = [_symmetry(_turned(name)).group.schoenflies for name in ("CH4", "C6H6", "NH3", "HCN")]
    return ", ".join(found), found == ["Td", "D6h", "C3v", "Cinfv"]


def symmetry_of_crystals() -> tuple[str, bool]:
    """Symmetry of crystals, and which translations a supercell has."""
    found = _symmetry(bulk("Cu", cubic=True))
    return repr(found), found.group.schoenflies == "Oh" and len(found.pure_translations) == 4


def sets_are_small() -> tuple[str, bool]:
    """Sets that break a symmetry have the size of its index, where one exists."""
    full, partial = breaking_set(PointGroup("D2")), breaking_set(PointGroup("Oh"), keep="C4v")
    axial = breaking_set(PointGroup("C4"))
    return f"D2: {full.size}, Oh to C4v: {partial.size}, C4: {axial.size}", (full.size, partial.size) == (4, 6) and (
        axial.size == float("inf")
    )


def sets_turn() -> tuple[str, bool]:
    """Sets turn with the structure."""
    data, transform = from_ase(_turned("BF3"), F64), AddSymmetryBreaking(choose="all")
    error = set_equivariance_error(transform, data, str(transform.objects(data).irreps))
    return f"{error:.0e}", error < 1e-8


def _methane() -> Data:
    """Methane of which one bond grows: C3v is kept. The object is the one that goes with it."""
    data = NeighborList(cutoff=3.0)(from_ase(molecule("CH4"), F64))
    data.x, data.y = torch.ones(5, 1, dtype=F64), torch.zeros(5, 3, dtype=F64)
    data.y[1] = data.pos[1]
    return AddSymmetryBreaking(choose="target")(data)


def _network(data: Data) -> GatedNetwork:
    torch.manual_seed(0)
    hidden = "4x0e+2x0o+4x1o+2x1e+4x2e+2x2o"
    return GatedNetwork(
        "0e", "1o", irreps_breaking=data.breaking_irreps, hidden=hidden, lmax=2, layers=2, max_radius=3.0
    ).to(F64)


def network_is_equivariant() -> tuple[str, bool]:
    """A network is equivariant in structure and object together."""
    data = _methane()
    error = equivariance_error(_network(data), data, "1o", data.breaking_irreps)
    return f"{error:.0e}", error < 1e-9


def curie() -> tuple[str, bool]:
    """Without an object an answer has all the symmetry of the input, with it what the object keeps."""
    data = _methane()
    model, without = _network(data), data.clone()
    without.breaking = torch.zeros_like(data.breaking)
    kept = [stabilizer_of_output(model, d).schoenflies for d in (without, data)]
    return " and ".join(kept), kept == ["Td", "C3v"]


class _Forces(nn.Module):
    """Along each edge a vector, whose length a small network gives from invariants of structure and object."""

    def __init__(self, irreps: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.invariants = BreakingEdgeInvariants(irreps)
        self.length = nn.Sequential(nn.Linear(self.invariants.dim_edge + 1, 16), nn.SiLU(), nn.Linear(16, 1)).to(F64)

    def forward(self, data: Data) -> Tensor:
        source, target = data.edge_index
        scalars = torch.cat([self.invariants(data)[0], data.z[source, None]], dim=1)
        vectors = self.length(scalars) * (data.pos[target] - data.pos[source])
        return torch.zeros_like(data.pos).index_add(0, source, vectors)


def one_answer_gives_all() -> tuple[str, bool]:
    """Trained on one of four equivalent answers, a network gives each of them to its object."""
    data = _methane()
    model = _Forces(data.breaking_irreps)
    losses = fit(model, lambda step: (model(data) - data.y).square().sum(), steps=50, polish=100)
    every = AddSymmetryBreaking(keep="C3v", choose="all")(data)
    answers = model(every).detach().view(4, 15)
    error = torch.cdist(answers, orbit_candidates(data).transpose(0, 1).flatten(1)).amin(0).max().item()
    symmetry = _symmetry(data)
    bound = curie_residual(data.y, symmetry.rotations, symmetry.permutations).item()
    said = f"all four within {error:.0e} Å; loss {losses[-1]:.0e}, without object at best {bound:.2f}"
    return said, error < 1e-3 < bound


def any_model() -> tuple[str, bool]:
    """Any model tells equivalent nodes apart by invariant scalars."""
    data = NeighborList(1.6)(from_ase(molecule("C6H6"), F64))
    data = AddSymmetryBreaking(seed=0)(data)
    torch.manual_seed(0)
    invariants = BreakingEdgeInvariants(data.breaking_irreps).to(F64)
    conv = GATv2Conv(invariants.dim_node, 4, edge_dim=invariants.dim_edge).to(F64)

    def out(d: Data) -> Tensor:
        edge, node = invariants(d)
        return conv(node, d.edge_index, edge)

    error = equivariance_error(out, data, "4x0e", data.breaking_irreps)
    different = len(out(data).detach().round(decimals=6).unique(dim=0))
    return f"{different} of 12 atoms differ, error {error:.0e}", error < 1e-9 and different == 12


def graphs() -> tuple[str, bool]:
    """Equivalent nodes of a graph without positions are told apart."""
    around = torch.arange(6)
    edges = torch.stack([torch.cat([around, around.roll(1)]), torch.cat([around.roll(1), around])])
    ranked = AddSymmetryBreaking("sympe")(Data(edge_index=edges, num_nodes=6))
    rows = SymPE(8, num_ranks=6)(ranked.breaking).detach().unique(dim=0)
    return f"{len(rows)} of 6", len(rows) == 6


def data_sets() -> tuple[str, bool]:
    """The data sets are there, and a target says what it breaks."""
    folder = files("pyg_symbreak.datasets.files") / "batio3"
    cubic, tetragonal = (read_structure(str(folder / f"{name}.cif")) for name in ("cubic", "tetragonal"))
    found = diagnose(cubic, tetragonal)
    assert found.breaking is not None
    said = f"{found.symmetry.group.schoenflies} to {found.keep.schoenflies}, {found.breaking.size} domains"
    return said, said == "Oh to C4v, 6 domains"


def leaving_a_saddle() -> tuple[str, bool]:
    """A relaxation leaves the saddle: four copper atoms on a square become a tetrahedron."""
    square = Atoms("Cu4", [(1.1, 1.1, 0), (-1.1, 1.1, 0), (-1.1, -1.1, 0), (1.1, -1.1, 0)])
    found = [s.symmetry.schoenflies for s in relax(square, EMT()).minima]
    return ", ".join(found), found == ["Td"]


CHECKS: tuple[Callable[[], tuple[str, bool]], ...] = (
    symmetry_of_molecules,
    symmetry_of_crystals,
    sets_are_small,
    sets_turn,
    network_is_equivariant,
    curie,
    one_answer_gives_all,
    any_model,
    graphs,
    data_sets,
    leaving_a_saddle,
)
"""Each gives what it found and whether that is right; its docstring is the claim."""


def optional_parts() -> dict[str, str | None]:
    """Versions of the optional packages, None of those that are not installed."""
    found: dict[str, str | None] = {}
    for name in OPTIONAL:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _reductions_agree() -> str:
    """Which implementations of the reductions run here, and by how much they differ from plain torch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.randn(500, 8, device=device)
    orbits = Orbits.from_index(torch.randint(60, (500,)), 60).to(device)
    wanted, said = orbit_reduce(x, orbits, "mean", method="torch"), []
    for method in METHODS[2:]:
        try:
            error = (orbit_reduce(x, orbits, "mean", method=method) - wanted).abs().max().item()
        except (ValueError, ModuleNotFoundError):
            continue
        if error > 1e-5:
            raise AssertionError(f"{method} differs from torch by {error:.0e}")
        said.append(f"{method} as torch, up to {error:.0e}")
    return "; ".join(["torch", *said]) + f" ({device})"


def main() -> int:
    """Print a line for each claim, and for each optional part; 1 where a claim does not hold."""
    warnings.simplefilter("ignore")
    start, failed = time.perf_counter(), 0
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("pyg_symbreak", "torch", "torch-geometric")]
    print(f"{', '.join(versions)}, Python {sys.version.split()[0]}, {'a' if torch.cuda.is_available() else 'no'} GPU\n")
    for check in CHECKS:
        claim = (check.__doc__ or "").strip()
        try:
            said, holds = check()
        except Exception as error:  # whatever is missing in an installation
            said, holds = f"{type(error).__name__}: {error}", False
        failed += not holds
        print(f"{'holds' if holds else 'FAILS'}  {claim} [{said}]", flush=True)
    print(f"\nReductions over orbits: {_reductions_agree()}\nOptional parts:")
    for name, version in optional_parts().items():
        print(f"{name:14} {version or 'not here':9} {OPTIONAL[name]}")
    print(f"\n{len(CHECKS) - failed} of {len(CHECKS)} claims hold, {time.perf_counter() - start:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
