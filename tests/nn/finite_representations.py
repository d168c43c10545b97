"""Representations of small groups with symmetric inputs, for the tests of the layers on them."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import chisquare
from torch import Tensor

from pyg_symbreak.groups import PointGroup, Representation, cyclic_group, dihedral_group, symmetric_group


class Case(NamedTuple):
    """Representations of one group, and inputs [k, rep_in.dim] with the orders of their stabilizers."""

    rep_in: Representation
    rep_out: Representation
    inputs: Tensor
    orders: list[int]


def turned(symbol: str, seed: int = 0) -> PointGroup:
    """A point group in a random orientation."""
    return PointGroup(symbol).rotated(np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0])


def fixed_vectors(rep: Representation, subgroups: list[tuple[int, ...]], seed: int = 1) -> Tensor:
    """A random vector that each of some subgroups leaves unchanged, float64 [k, dim]."""
    random = np.random.default_rng(seed)
    matrices = rep.matrices
    return torch.from_numpy(np.stack([matrices[list(h)].mean(0) @ random.standard_normal(rep.dim) for h in subgroups]))


def cases() -> dict[str, Case]:
    """Asymmetric inputs, and inputs with the symmetry of a subgroup of each class."""
    ring = Representation.permutation(cyclic_group(6))
    square = Representation.permutation(dihedral_group(4))
    nodes = Representation.permutation(symmetric_group(4))
    cube = turned("Oh")
    prism = turned("D3h", 1)
    solid = Representation.irreps(cube, "1o+2e")
    reps = {
        "C6 ring": (ring, ring),
        "D4 corners to edges": (square, square @ square),
        "S4 nodes to pairs": (nodes, nodes @ nodes),
        "S4 pairs to nodes": (nodes @ nodes, 2 * nodes),
        "Oh 1o+2e": (solid, solid),
        "D3h 2x1o to 1e+3o": (Representation.irreps(prism, "2x1o"), Representation.irreps(prism, "1e+3o")),
    }
    made = {}
    for name, (a, b) in reps.items():
        inputs = fixed_vectors(a, [members[0] for members in a.group.subgroup_classes])
        made[name] = Case(a, b, inputs, [len(a.stabilizer(x)) for x in inputs.numpy()])
    return made


CASES = cases()


def chi_square_p(counts: np.ndarray) -> float:
    """p-value of counts [k] against equal probabilities."""
    return float(chisquare(counts).pvalue)
