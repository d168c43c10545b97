"""Ising models: energies against enumeration, the bounds of equivariant networks, and that breaking gets below them."""

import itertools
import json

import pytest
import torch
from torch_geometric.data import Batch

from pyg_symbreak.nn import EquivariantMLP, RelaxedMLP

EXAMPLE = "ising"
SIGNS = list(itertools.product((1, -1), repeat=2))


def energies(size: int, couplings: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """Per site, of m [*, size², written without the graph."""
    m = m.view(-1, size, size)
    rows, columns = m * m.roll(1, 2), m * m.roll(1, 1)
    return -(couplings[0] * rows + couplings[1] * columns).mean((1, 2))


@pytest.fixture
def tori(example):
    batch = Batch.from_data_list(example.tori(6, torch.Generator().manual_seed(3)))
    batch.flip = torch.ones(batch.num_graphs)
    return batch


@pytest.mark.parametrize("signs", SIGNS)
def test_ground_energy_is_the_least_of_all_states(example, signs):
    couplings = torch.tensor([0.7, 1.2]) * torch.tensor(signs)
    batch = Batch.from_data_list([example.torus(4, couplings)])
    states = 2.0 * torch.tensor(list(itertools.product((0, 1), repeat=16))) - 1
    found = energies(4, couplings, states)
    assert found.min().item() == pytest.approx(example.ground_energy(batch).item())
    assert (found < found.min() + 1e-9).sum() == 2  # a state and its flipped copy
    some = states[12345]
    assert example.energy(batch, some).item() == pytest.approx(found[12345].item())


def test_bounds_are_the_best_of_uniform_magnetizations(example, tori):
    at = torch.linspace(-1, 1, 2001)
    best = []
    for couplings in tori.couplings:
        best.append(energies(4, couplings, at[:, None].expand(-1, 16)).min() + couplings.abs().sum())
    bound = example.bounds(tori)
    assert bound[example.NO_FLIPS] == pytest.approx(torch.stack(best).mean().item())
    assert bound["none"] == pytest.approx(tori.couplings.abs().sum(1).mean().item())
    assert bound[example.NO_FLIPS] < bound["none"]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_weights_equivariant_networks_stay_at_the_bounds(example, tori, seed):
    torch.manual_seed(seed)
    tori.breaking = torch.zeros(tori.num_nodes, example.DIM)
    assert example.SpinNetwork("none")(tori).abs().max() == 0
    assert example.LatticeNetwork(EquivariantMLP)(tori).abs().max() < 1e-12
    uniform = example.SpinNetwork(example.NO_FLIPS)(tori)
    for graph in range(tori.num_graphs):
        assert uniform[tori.batch == graph].std() < 1e-12
    above = example.energy(tori, uniform) - example.ground_energy(tori)
    assert above.mean() >= example.bounds(tori)[example.NO_FLIPS] - 1e-12


def test_flipped_object_flips_the_answer(example, tori):
    torch.manual_seed(0)
    model = example.SpinNetwork("noise")
    tori.breaking = torch.randn(tori.num_nodes, example.DIM)
    m = model(tori)
    assert m.abs().min() > 0
    tori.flip = -tori.flip
    torch.testing.assert_close(model(tori), -m)
    tori.breaking = -tori.breaking
    torch.testing.assert_close(model(tori), m)


@pytest.mark.parametrize("way", ["noise", "SymPE"])
def test_up_and_down_are_equally_likely(example, way):
    torch.manual_seed(0)
    model = example.SpinNetwork(way)
    batch = example.draw([example.torus(4, torch.ones(2))] * 400, example.object_of(way), 1)[0]
    up = (model(batch).view(400, 16).sum(1) > 0).sum().item()
    assert 160 < up < 240  # four standard deviations


@pytest.mark.parametrize("size", [4, 6])
def test_representations_leave_energies_alone(example, size):
    couplings, signed, spins = example.representations(size)
    group = couplings.group
    assert group.order == 2 * 8 * size**2
    assert (couplings.dim, signed.dim, spins.dim) == (2 * size**2, 2 * size**2, size**2)
    a, b = example.neighbors(size)
    strength, s = torch.randn(couplings.dim), torch.randn(spins.dim)
    energy = (strength * s[a] * s[b]).sum()
    for g in torch.randint(group.order, (20,)).tolist():
        moved = torch.empty_like(strength)
        moved[torch.from_numpy(couplings.images[g])] = strength
        turned = torch.from_numpy(spins.matrices[g]) @ s
        assert (moved * turned[a] * turned[b]).sum().item() == pytest.approx(energy.item())


def test_relaxed_answers_differ_between_sites_by_the_symmetry_of_the_torus_only(example):
    torch.manual_seed(0)
    model = example.LatticeNetwork(RelaxedMLP)
    batch = Batch.from_data_list([example.torus(4, torch.tensor([1.3, -0.6]))] * 40)
    answers = model(batch).view(40, 16)
    assert answers.std(1).min() > 1e-3
    # Translations, two mirrors and the flip: no more than 128 answers, each with the same values up to a sign.
    sizes = answers.abs().sort(1).values
    torch.testing.assert_close(sizes, sizes[:1].expand(40, -1))
    assert torch.cdist(answers, answers).max() > 1e-3


def test_sympe_finds_what_no_weights_find_without_it(example, tori):
    bound = example.bounds(tori)["none"]
    for way, least, most in (("none", bound - 1e-9, bound + 1e-9), ("SymPE", 0, 0.01 * bound)):
        torch.manual_seed(0)
        model = example.trained(way, 0, 100)
        batches = example.draw(tori.to_data_list(), example.object_of(way), 2)
        assert least <= example.assess(model, batches)[example.ABOVE] <= most


def test_example(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "WAYS", (example.NO_FLIPS, "none", "noise", "SymPE", "relaxed E-MLP"))
    example.main(out=tmp_path, seeds=2, steps=2)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert [len(runs) for runs in metrics["runs"].values()] == [2] * 5
    for run in metrics["runs"]["none"]:
        assert run[example.ABOVE] == pytest.approx(metrics["bounds"]["none"])
        assert run[example.EXACT] == 0
    assert len((tmp_path / "table.md").read_text().splitlines()) == 9
    assert (tmp_path / "ising.png").stat().st_size > 10_000
