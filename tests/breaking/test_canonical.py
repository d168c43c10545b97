"""Canonical forms and inversion kernels of molecules, crystals, slabs and graphs."""

from itertools import product

import networkx as nx
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from frames_in_numpy import molecular_frame
from symmetric_inputs import (
    CRYSTALS,
    GRAPHS,
    MOLECULES,
    another_cell,
    data_of,
    graph_data,
    moved,
    no_symmetry,
    orbits_of,
    random_motion,
    renumbered,
    ring,
)
from torch_geometric.data import Batch, Data

from pyg_symbreak.breaking import canonicalize
from pyg_symbreak.detect import detect_symmetry, symmetry_of
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.testing import uniformity_p_value
from pyg_symbreak.transforms import AddSymmetry


def same_structure(a: Data, b: Data) -> bool:
    cells = [a.get("cell"), b.get("cell")]
    near = all(torch.allclose(x, y, rtol=0, atol=1e-9) for x, y in [(a.pos, b.pos), cells] if x is not None)
    return near and torch.equal(a.z, b.z)


def misfit(data: Data, canonical: Data, rotation: torch.Tensor, rank: torch.Tensor) -> float:
    """By how much R·canonical misses the data, up to a translation and lattice vectors."""
    apart = data.pos - canonical.pos[rank] @ rotation.T
    apart = apart - apart[0]
    if data.pbc.any():
        cell = torch.where(data.pbc[0][:, None], data.cell[0], torch.eye(3).double())
        cells = apart @ torch.linalg.inv(cell)
        apart = (cells - torch.where(data.pbc[0], cells.round(), 0)) @ cell
    assert torch.equal(data.z, canonical.z[rank])
    return float(apart.abs().max())


# ---------------------------------------------------------------------- structures


@pytest.mark.parametrize("name", MOLECULES)
def test_the_compiled_frame_is_that_of_numpy(name):
    for seed in range(3):
        data = data_of(MOLECULES[name]())
        data = moved(data, *random_motion(data, seed))
        setting = canonicalize(data, 0.01).setting
        symmetry = detect_symmetry(data, 0.01)
        averaged = (data.pos[symmetry.permutations] - symmetry.translations[:, None]) @ symmetry.rotations
        kinds = np.unique(data.z.numpy(), return_inverse=True)[1]
        rotation, positions, ties = molecular_frame(averaged.mean(0).numpy(), kinds)
        assert ties == symmetry.order
        assert np.abs(setting.rotation.numpy() - rotation).max() < 1e-9
        assert np.abs(setting.positions - positions).max() < 1e-9
        assert np.array_equal(np.sort(setting.ranks), np.arange(len(kinds)))
        assert (np.diff(kinds[setting.ranks.argsort()]) >= 0).all()


@pytest.mark.parametrize("name", MOLECULES)
def test_molecule(name):
    data = data_of(MOLECULES[name]())
    kernel = canonicalize(data, 0.01)
    assert kernel.symmetry.group.schoenflies == name
    assert kernel.order == kernel.symmetry.group.order == len(kernel.elements.rotations)
    for seed in range(4):
        other = canonicalize(moved(data, *random_motion(data, seed)), 0.01)
        assert same_structure(other.canonical, kernel.canonical)
    exact = canonicalize(data_of(Atoms(data.z, kernel.canonical.pos[kernel.elements.ranks[0]])), 0.01)
    assert same_structure(exact.canonical, kernel.canonical)
    for rotation, rank in zip(exact.elements.rotations, exact.elements.ranks, strict=True):
        assert misfit(exact._data, exact.canonical, rotation, rank) < 1e-9


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystal(name):
    make, order = CRYSTALS[name]
    data = data_of(make())
    kernel = canonicalize(data)
    assert kernel.order == order
    for rotation, rank in zip(kernel.elements.rotations, kernel.elements.ranks, strict=True):
        assert misfit(data, kernel.canonical, rotation, rank) < 1e-9
    pairs = torch.cat([kernel.elements.rotations.flatten(1), kernel.elements.ranks.double()], 1)
    assert len(pairs.round(decimals=6).unique(dim=0)) == order
    for seed in range(3):
        other = moved(data, *random_motion(data, seed))
        assert same_structure(canonicalize(other).canonical, kernel.canonical)
        if data.pbc.all():
            assert same_structure(canonicalize(another_cell(other, seed)).canonical, kernel.canonical)


@pytest.mark.parametrize("symbol", ["C8", "S8", "I"])
def test_how_a_small_ring_or_shell_is_turned_to_a_large_one_counts(symbol):
    """It shows in the 8th power of their ratio, or the 15th, unless each is looked at in its own size."""
    group = PointGroup(symbol).matrices
    outer = 2 * orbits_of("Ih").positions if symbol == "I" else group @ np.array([6.0, 0.0, 4.5])
    inner = (0.04, 0.02, 0.1) if symbol == "I" else (0.02, 0.01, 0.4)
    data = data_of(Atoms(["C"] * len(outer) + ["N"] * len(group), np.concatenate([outer, group @ inner])))
    kernel = canonicalize(data)
    assert kernel.symmetry.group.schoenflies == symbol
    assert kernel.order == len(group)
    for seed in range(4):
        other = canonicalize(moved(data, *random_motion(data, seed)))
        assert same_structure(other.canonical, kernel.canonical)


def test_slab_with_its_vacuum_along_another_vector():
    data = data_of(CRYSTALS["slab"][0]())
    other = data.clone()
    other.cell, other.pbc = data.cell[:, [2, 0, 1]], data.pbc[:, [2, 0, 1]]
    canonical = canonicalize(other).canonical
    assert same_structure(canonical, canonicalize(data).canonical)
    assert canonical.pbc.tolist() == [[True, True, False]]
    assert same_structure(canonicalize(canonical).canonical, canonical)


@pytest.mark.parametrize("name", ["C3h", "S4", "D4", "Td"])
def test_elements_move_with_the_structure(name):
    """The elements for g·x are g times those for x."""
    data = data_of(MOLECULES[name]())
    own = canonicalize(data, 0.01).elements
    for seed in range(2):
        rotation, shift, order = random_motion(data, seed)
        found = canonicalize(moved(data, rotation, shift, order), 0.01).elements
        wanted = torch.cat([(rotation @ own.rotations).flatten(1), own.ranks[:, order.argsort()].double()], 1)
        found = torch.cat([found.rotations.flatten(1), found.ranks.double()], 1)
        distances = torch.cdist(found, wanted, p=torch.inf)
        assert max(distances.amin(0).max(), distances.amin(1).max()) < 1e-9


def test_noise_within_the_tolerance():
    """Operations hold within symprec only; the canonical form is that of the averaged structure."""
    data = data_of(molecule("C6H6"))
    data.pos = data.pos + 2e-4 * torch.randn(data.pos.shape, generator=torch.Generator().manual_seed(0)).double()
    kernel = canonicalize(data, 0.01)
    assert kernel.order == 24
    for seed in range(4):
        assert same_structure(canonicalize(moved(data, *random_motion(data, seed)), 0.01).canonical, kernel.canonical)
    assert canonicalize(data, 1e-6).order == 1


def elongated() -> Atoms:
    """C3: two triangles, turned against each other, and an atom far away on their axis."""
    return Atoms("C7", np.concatenate([ring(3, 1.3), ring(3, 1.3, 0.35, 1.4), [[0, 0, 1e4]]]))


EDGE_CASES = {
    "radius at 0.3 of the largest": (Atoms("FCOO", [(10, 0, 0), (0, 3, 0), (-6, -2, 1), (-4, -1, -1)]), 1),
    "radii of an orbit there": (
        Atoms("F4C2", [(10, 0, 0), (-10, 0, 0), (0, 10, 0), (0, -10, 0), (0, 0, 3), (0, 0, -3)]),
        16,
    ),
    "distances from an axis there": (
        Atoms("O2F2C2", [(0, 0, 20), (0, 0, -20), (10, 0, 0), (-10, 0, 0), (0, 3, 0), (0, -3, 0)]),
        8,
    ),
    "long and thin": (elongated(), 3),
    "coordinates next to lattice vectors": (
        Atoms("CNNO", [(0, 0, 0), (2, 2, 5e-6), (1, 2.5, -5e-6), (1.3, 0.4, 3.1)], cell=[4, 4.5, 5], pbc=True),
        1,
    ),
    "atoms of equal height in the frame": (
        Atoms(
            "CNNO",
            7 * np.array([(0, 0, 0), (0.3, 0.9, 0.1), (0.44, 0.07, 0.69), (0.1, 0.3, 0.5)]),
            cell=[7] * 3,
            pbc=True,
        ),
        1,
    ),
}
"""Where a threshold, were it a round number, would be met to round-off; with the order of the symmetry."""


@pytest.mark.parametrize("name", EDGE_CASES)
def test_round_numbers_decide_nothing(name):
    atoms, order = EDGE_CASES[name]
    data = data_of(atoms)
    kernel = canonicalize(data, 1e-6)
    assert kernel.order == order
    for seed in range(20):
        other = canonicalize(moved(data, *random_motion(data, seed)), 1e-6).canonical
        assert (other.pos - kernel.canonical.pos).abs().max() < 1e-9
        assert torch.equal(other.z, kernel.canonical.z)


def test_precision_of_the_positions():
    data = data_of(molecule("CH4"))
    single = data.clone()
    single.pos = data.pos.float()
    assert canonicalize(single).canonical.pos.dtype == torch.float64
    assert (canonicalize(single).canonical.pos - canonicalize(data).canonical.pos).abs().max() < 1e-6


def test_different_structures_have_different_forms():
    """Mirror images are the same under O(3), an isotope or a longer bond is not."""
    data = data_of(no_symmetry())
    kernel = canonicalize(data)
    mirrored = data.clone()
    mirrored.pos = data.pos * torch.tensor([1.0, 1, -1])
    assert same_structure(canonicalize(mirrored).canonical, kernel.canonical)
    longer = data.clone()
    longer.pos = data.pos * torch.tensor([1.0, 1, 1.01])
    assert not same_structure(canonicalize(longer).canonical, kernel.canonical)
    other = data.clone()
    other.z = data.z.flip(0)
    assert not same_structure(canonicalize(other).canonical, kernel.canonical)


def test_features_tell_atoms_apart():
    data = data_of(molecule("CH4"))
    data.isotope = torch.tensor([0, 1, 0, 0, 0])
    kernel = canonicalize(data, 0.01, features=["isotope"])
    assert kernel.order == 6
    assert kernel.canonical.isotope.sum() == 1
    attached = AddSymmetry(0.01, features=["isotope"])(data.clone())
    assert canonicalize(attached, features=["isotope"]).order == 6
    with pytest.raises(ValueError, match=r"24 frames are alike, the symmetry of order 6 makes 6.*features"):
        canonicalize(attached)


def test_what_has_no_finite_kernel_is_refused():
    for name in ("CO2", "HCl"):
        with pytest.raises(ValueError, match=r"linear or a single atom.*group-indexed"):
            canonicalize(data_of(molecule(name)))
    with pytest.raises(ValueError, match="linear or a single atom"):
        canonicalize(data_of(Atoms("H")))
    with pytest.raises(TypeError, match="one structure"):
        canonicalize(Batch.from_data_list([data_of(molecule("CH4"))]))


def test_a_symmetry_that_does_not_fit_any_more_is_refused():
    turned = AddSymmetry()(data_of(molecule("C6H6")))
    turned.pos = moved(turned, *random_motion(turned, 0)).pos
    with pytest.raises(ValueError, match="not the symmetry of these positions"):
        canonicalize(turned)
    for name in ("cycle", "Frucht"):  # also where there is no automorphism that could be tried
        graph = AddSymmetry()(graph_data(GRAPHS[name][0]))
        shuffle = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(0))
        graph.edge_index = graph.edge_index[:, shuffle]
        canonicalize(graph)
        graph.edge_index = (graph.edge_index + (graph.edge_index == 0) * 3 - (graph.edge_index == 3) * 3).long()
        with pytest.raises(ValueError, match="not the symmetry of this graph"):
            canonicalize(graph)


def random_steps(data: Data, length: float) -> torch.Tensor:
    """A displacement of each atom, all of one length."""
    steps = torch.randn(data.pos.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return length * steps / steps.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("name", ["Td", "D6h", "hcp", "cubic cell of fcc", "slab", "supercell", "diamond"])
def test_a_symmetry_attached_is_used_within_its_tolerance_only(name):
    make = MOLECULES.get(name) or CRYSTALS[name][0]
    for noise, symprec in ((0.0, 1e-3), (2e-4, 1e-2), (2e-4, "auto")):
        data = data_of(make())
        data.pos = data.pos + random_steps(data, noise)
        attached = AddSymmetry(symprec)(data)
        single = attached.clone()
        single.pos, single.cell = data.pos.float(), data.cell.float()
        for known in (attached, single):
            assert canonicalize(known).order == attached.symmetry.order > 1
        attached.pos = data.pos + random_steps(data, 2e-2)
        with pytest.raises(ValueError, match="not the symmetry of these positions"):
            canonicalize(attached)


def test_a_symmetry_of_another_cell_is_refused():
    data = AddSymmetry()(data_of(CRYSTALS["one atom"][0]()))
    data.cell = data.cell @ torch.diag(torch.tensor([1.0, 1.0, 1.01])).double()
    with pytest.raises(ValueError, match="not the symmetry of these positions"):
        canonicalize(data)


def test_a_symmetry_of_a_line_is_refused_where_the_atoms_are_bent():
    data = AddSymmetry()(data_of(Atoms("HCN", [(0, 0, 0), (0, 0, 1.07), (0, 0, 2.22)])))
    symmetry_of(data)
    data.pos = data.pos + torch.tensor([[0.0], [0.05], [0.0]]) * torch.tensor([1.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="not the symmetry of these positions"):
        symmetry_of(data)


def test_a_symmetry_that_did_not_know_of_kinds_is_refused():
    data = AddSymmetry(0.01)(data_of(molecule("CH4")))
    data.isotope = torch.tensor([0, 1, 0, 0, 0])
    assert symmetry_of(data).order == 24
    for features in (["isotope"], {"isotope": "0e"}):
        with pytest.raises(ValueError, match="did not know of these features"):
            symmetry_of(data, features=features)
    data.moment = torch.eye(5, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="did not know of these features"):
        symmetry_of(data, features={"moment": "1e"})
    data.z = torch.tensor([6, 1, 1, 1, 9])
    with pytest.raises(ValueError, match="z and features"):
        symmetry_of(data)


def test_a_symmetry_of_a_graph_that_did_not_know_of_kinds_is_refused():
    square = graph_data(nx.cycle_graph(4))
    square.x, square.z = torch.arange(4), torch.tensor([1, 1, 6, 6])
    square.edge_attr = torch.arange(8) // 2
    square = AddSymmetry()(square)
    assert canonicalize(square).order == 2
    for name in ("x", "edge_attr"):
        with pytest.raises(ValueError, match="not the symmetry of this graph, its z and features"):
            canonicalize(square, features=[name])
    for z in (torch.arange(4), torch.tensor([6, 6, 1, 1])):  # the canonical form knows which is the lighter
        with pytest.raises(ValueError, match="not the symmetry of this graph, its z and features"):
            canonicalize(square.clone().update({"z": z}))
    # parallel arcs count, in any order
    doubled = square.clone()
    doubled.edge_index = torch.cat([square.edge_index, square.edge_index[:, :1]], 1)
    with pytest.raises(ValueError, match="not the symmetry of this graph"):
        canonicalize(doubled)
    doubled = AddSymmetry()(doubled)
    doubled.edge_index = doubled.edge_index.flip(1)
    assert canonicalize(doubled).order == doubled.symmetry.order


def test_a_symmetry_found_with_more_features_is_taken():
    square = graph_data(nx.cycle_graph(4))
    square.x, square.edge_attr = torch.arange(4), torch.arange(8)
    for features in (["x"], ["edge_attr"], ["x", "edge_attr"]):
        attached = AddSymmetry(features=features)(square.clone())
        assert canonicalize(attached).order == canonicalize(attached, features=features).order == 1
        shuffle = torch.randperm(8, generator=torch.Generator().manual_seed(0))
        attached.edge_index, attached.edge_attr = square.edge_index[:, shuffle], square.edge_attr[shuffle]
        assert canonicalize(attached, features=features).order == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["C4", "Td"])
def test_sampled_rotations_are_uniform(name, seed):
    kernel = canonicalize(data_of(MOLECULES[name]()), 0.01)
    drawn = kernel.sample(10_000, torch.Generator().manual_seed(seed))
    assert uniformity_p_value(drawn.rotations, kernel.elements.rotations) > 0.01
    assert uniformity_p_value(drawn.ranks, kernel.elements.ranks) > 0.01


# ---------------------------------------------------------------------- graphs


@pytest.mark.parametrize("name", GRAPHS)
def test_graph(name):
    graph, order = GRAPHS[name]
    data = graph_data(graph)
    kernel = canonicalize(data)
    assert kernel.order == order
    arcs = {tuple(arc) for arc in kernel.canonical.edge_index.T.tolist()}
    for rank in kernel.sample(5, torch.Generator().manual_seed(0)).ranks:
        assert {tuple(arc) for arc in rank[data.edge_index].T.tolist()} == arcs
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        other = renumbered(data, torch.randperm(data.num_nodes, generator=generator), generator)
        assert torch.equal(canonicalize(other).canonical.edge_index, kernel.canonical.edge_index)


def test_ranks_of_a_renumbered_graph_are_the_ranks_moved():
    data = graph_data(nx.cycle_graph(6))
    own = {tuple(r) for r in canonicalize(data).elements.ranks.tolist()}
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(6, generator=generator)
    found = canonicalize(renumbered(data, order, generator)).elements.ranks
    assert {tuple(r) for r in found[:, order].tolist()} == own


def test_isomorphic_graphs_share_a_form_and_others_do_not():
    """All 64 graphs on 4 nodes: as many forms as isomorphism classes, 11."""
    pairs = [(i, j) for i in range(4) for j in range(i)]
    forms = set()
    for chosen in product([False, True], repeat=6):
        edges = [pair for pair, there in zip(pairs, chosen, strict=True) if there]
        both = torch.tensor(edges + [pair[::-1] for pair in edges], dtype=torch.long).reshape(-1, 2).T
        form = canonicalize(Data(edge_index=both, num_nodes=4)).canonical.edge_index
        forms.add(tuple(form.flatten().tolist()))
    assert len(forms) == 11


def test_no_edges_and_one_node():
    for nodes, order in ((1, 1), (4, 24)):
        data = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=nodes)
        for graph in (data, AddSymmetry()(data)):
            assert canonicalize(graph).order == order == len(canonicalize(graph).elements.ranks)
        for empty in (torch.empty(0), torch.empty(0, 3)):
            data.edge_attr = empty
            assert torch.equal(canonicalize(data, features=["edge_attr"]).canonical.edge_attr, empty)


def test_features_of_nodes_and_edges():
    data = graph_data(nx.cycle_graph(6))
    assert canonicalize(data).order == 12
    data.x = torch.tensor([[1.0, 0], [0, 1]] * 3)
    data.edge_attr = ((data.edge_index[0] - data.edge_index[1]) % 6 == 1).float()[:, None]
    assert canonicalize(data, features=["x"]).order == 6
    assert canonicalize(data, features=["edge_attr"]).order == 6
    both = canonicalize(data, features=["x", "edge_attr"])
    assert both.order == 3
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        other = renumbered(data, torch.randperm(6, generator=generator), generator)
        found = canonicalize(other, features=["x", "edge_attr"]).canonical
        for key in ("edge_index", "x", "edge_attr"):
            assert torch.equal(found[key], both.canonical[key])


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", ["cycle", "Petersen"])
def test_sampled_ranks_are_uniform(name, seed):
    """All numberings that there are come equally often, and so does the rank of one node."""
    kernel = canonicalize(graph_data(GRAPHS[name][0]))
    ranks = kernel.sample(10_000, torch.Generator().manual_seed(seed)).ranks
    assert uniformity_p_value(ranks, kernel.elements.ranks) > 0.01
    for node in (0, 3):
        assert uniformity_p_value(ranks[:, node, None], torch.arange(ranks.shape[1])[:, None]) > 0.01


def test_uniform_where_the_group_is_too_large_to_list():
    kernel = canonicalize(graph_data(GRAPHS["complete"][0]))
    ranks = kernel.sample(10_000, torch.Generator().manual_seed(0)).ranks
    first_two = 12 * ranks[:, 0] + ranks[:, 1]
    pairs = torch.tensor([12 * i + j for i in range(12) for j in range(12) if i != j])
    assert uniformity_p_value(first_two[:, None], pairs[:, None]) > 0.01
    with pytest.raises(ValueError, match="too many to list"):
        _ = kernel.elements


def test_the_group_is_the_one_that_was_detected():
    data = data_of(MOLECULES["D6h"]())
    found = canonicalize(data, 0.01)
    expected = detect_symmetry(data, 0.01)
    relative = found.elements.rotations @ found.elements.rotations[0].T
    distances = torch.cdist(relative.flatten(1), expected.rotations.flatten(1))
    assert distances.amin(0).max() < 1e-9
    assert repr(found) == "InversionKernel(order=24, nodes=12)"
