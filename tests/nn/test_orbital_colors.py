"""Colours of pairs: orbits against explicit groups, known 2-closures, networks with the symmetry and no more."""

import itertools

import numpy as np
import pytest
import torch
from sympy.combinatorics import PermutationGroup as SympyGroup
from sympy.combinatorics.named_groups import AlternatingGroup, CyclicGroup, DihedralGroup, SymmetricGroup
from torch_geometric.nn import RGCNConv

from pyg_symbreak.groups import FiniteGroup
from pyg_symbreak.nn import OrbitalColors


def generators(group: SympyGroup) -> np.ndarray:
    return np.array([g.array_form for g in group.generators])


NAMED = {
    **{f"C{n}": (CyclicGroup(n), True) for n in (3, 4, 5, 6, 7, 8)},
    **{f"D{n}": (DihedralGroup(n), True) for n in (3, 4, 5, 6, 7, 8)},
    **{f"S{n}": (SymmetricGroup(n), True) for n in (2, 3, 5)},
    "A3": (AlternatingGroup(3), True),  # cyclic
    **{f"A{n}": (AlternatingGroup(n), False) for n in (4, 5, 6)},
}


@pytest.mark.parametrize("name", NAMED)
def test_known_two_closures(name):
    group, closed = NAMED[name]
    colors = OrbitalColors(generators(group))
    assert colors.order == group.order()
    assert colors.is_two_closed is closed
    if name[0] == "A" and not closed:
        assert colors.closure.order == 2 * group.order()  # all permutations
        assert colors.num_colors == 2


@pytest.mark.parametrize("seed", range(6))
def test_orbits_order_and_closure_against_all_permutations(seed):
    """Brute force over S_5: the closure is every permutation that keeps the colours."""
    numbers = np.random.default_rng(seed)
    some = np.array([numbers.permutation(5) for _ in range(1 + seed % 2)])
    if seed > 3:
        some = np.array([[1, 0, 2, 3, 4], [0, 1, 3, 4, 2]][: seed - 3])
    group, colors = FiniteGroup.from_permutations(some), OrbitalColors(some)
    table = colors.colors.numpy()
    orbits = {frozenset((int(g[i]), int(g[j])) for g in group.elements) for i in range(5) for j in range(5)}
    assert len(orbits) == colors.num_colors
    for orbit in orbits:
        assert len({table[pair] for pair in orbit}) == 1
    keeping = [p for p in itertools.permutations(range(5)) if (table[np.ix_(p, p)] == table).all()]
    assert len(keeping) == colors.closure.order
    assert colors.order == group.order
    assert colors.is_two_closed == (len(keeping) == group.order)


def test_orders_of_large_groups():
    wreath = generators(SymmetricGroup(6)), np.array([[*range(6, 12), *range(6)]])
    padded = np.concatenate([np.concatenate([wreath[0], np.tile(np.arange(6, 12), (2, 1))], axis=1), wreath[1]])
    assert OrbitalColors(padded).order == 720**2 * 2
    assert OrbitalColors(padded).is_two_closed
    assert OrbitalColors([[0, 1, 2]]).order == 1
    assert OrbitalColors([[0]]).is_two_closed


class Network(torch.nn.Module):
    def __init__(self, colors: OrbitalColors, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.colors = colors
        self.convs = torch.nn.ModuleList(
            [RGCNConv(2, 8, colors.num_colors), RGCNConv(8, 2, colors.num_colors)]
        ).double()

    def forward(self, x):  # [B, N, 2]
        edges, kind = self.colors(len(x))
        hidden = self.convs[0](x.flatten(0, 1), edges, kind).tanh()
        return self.convs[1](hidden, edges, kind).view(x.shape)


@pytest.mark.parametrize("name", ["C5", "D6", "A4", "C8"])
def test_networks_have_the_symmetry_and_no_more(name):
    group, closed = NAMED[name]
    images = generators(group)
    net, size = Network(OrbitalColors(images)), images.shape[1]
    x = torch.randn(3, size, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def error(permutation):
        moved = torch.empty_like(x)
        moved[:, permutation] = x
        expected = torch.empty_like(x)
        expected[:, permutation] = net(x)
        return (net(moved) - expected).abs().max().item()

    elements = {tuple(g) for g in FiniteGroup.from_permutations(images).elements.tolist()}
    assert max(error(list(g)) for g in elements) < 1e-12
    numbers = np.random.default_rng(0)
    outside = [p for p in (tuple(numbers.permutation(size).tolist()) for _ in range(40)) if p not in elements]
    errors = [error(list(p)) for p in outside]
    assert min(errors) > 1e-3 if closed else max(errors) < 1e-12


def test_what_is_no_permutation():
    for wrong in ([[0, 0, 1]], [0, 1, 2], [[]]):
        with pytest.raises(ValueError, match="permutations"):
            OrbitalColors(wrong)
    assert repr(OrbitalColors([[1, 0, 2]])) == "OrbitalColors(nodes=3, colors=5)"
