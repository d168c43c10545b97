"""The strategies of AddSymmetryBreaking on structures and graphs: equivariance, uniformity, PyG, a model trained."""

import copy

import networkx as nx
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from pyg_symbreak.breaking import InputIndexed, Noise
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import irreps_matrices
from pyg_symbreak.losses import curie_residual
from pyg_symbreak.nn import GatedNetwork, SymPE
from pyg_symbreak.structures import from_ase
from pyg_symbreak.testing import (
    curie_gap,
    equality_p_value,
    relaxed_equivariance_error,
    set_equivariance_error,
    stabilizer_of_output,
    uniformity_p_value,
)
from pyg_symbreak.transforms import AddSymmetry, AddSymmetryBreaking, NeighborList

STRATEGIES = ("input", "sympe", "noise")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ring(n: int, radius: float, twist: float = 0.0) -> list[tuple[float, float, float]]:
    angles = twist + 2 * np.pi * np.arange(n) / n
    return [(radius * np.cos(a), radius * np.sin(a), 0.0) for a in angles]


def boric_acid() -> Atoms:
    return Atoms("BO3H3", [(0, 0, 0), *ring(3, 1.36), *ring(3, 1.9, 0.45)])


def propeller() -> Atoms:
    """C_4."""
    return Atoms("CF4H4", [(0, 0, 0.5), *ring(4, 1.4), *ring(4, 2.1, 0.3)])


def s4_molecule() -> Atoms:
    """S_4: four arms, up and down in turn."""
    positions = np.array([(0, 0, 0), *ring(4, 1.0), *ring(4, 1.7, 0.4)])
    positions[1:, 2] = [0.8, -0.8, 0.8, -0.8, 1.2, -1.2, 1.2, -1.2]
    return Atoms("CF4H4", positions)


def random_molecule() -> Atoms:
    return Atoms("CNOFH", 2.5 * np.random.default_rng(0).random((5, 3)))


MOLECULES = {
    "C1": random_molecule,
    "C3h": boric_acid,
    "C4": propeller,
    "S4": s4_molecule,
    "C2v": lambda: molecule("H2O"),
    "Td": lambda: molecule("CH4"),
}
CONTINUOUS = ("C3h", "C4", "S4")
"""Those that have no finite set which depends on the symmetry alone."""
GRAPHS = {"cycle": nx.cycle_graph(6), "Petersen": nx.petersen_graph(), "Frucht": nx.frucht_graph()}


def structure(name: str) -> Data:
    data = NeighborList(3.0)(from_ase(MOLECULES[name](), torch.float64))
    data.x = (data.z[:, None] == torch.tensor([1, 5, 6, 8, 9])).double()
    return data


def graph(name: str) -> Data:
    edges = torch.tensor(list(GRAPHS[name].to_directed().edges)).T
    return Data(edge_index=edges, num_nodes=GRAPHS[name].number_of_nodes())


def network(data: Data, irreps_breaking: str) -> GatedNetwork:
    torch.manual_seed(0)
    return GatedNetwork(
        f"{data.x.shape[1]}x0e", "1o", irreps_breaking, max_radius=3.0,
        hidden="16x0e+16x0o+8x1o+8x1e", lmax=1, layers=2,
    ).double()  # fmt: skip


Motion = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def motions(count: int, nodes: int) -> list[Motion]:
    """Rotation, proper or improper, translation, and order: node i becomes node order[i]."""
    rotations = torch.from_numpy(Rotation.random(count, random_state=0).as_matrix())
    shifts = torch.randn(count, 3, generator=seeded(), dtype=torch.float64)
    return [((-1) ** i * rotations[i], shifts[i], torch.randperm(nodes, generator=seeded(i))) for i in range(count)]


def move(motion: Motion, data: Data) -> Data:
    rotation, shift, order = motion
    out = data.clone()
    out.pos = (data.pos @ rotation.T + shift)[order.argsort()]
    out.z, out.x = data.z[order.argsort()], data.x[order.argsort()]
    return NeighborList(3.0)(out)


def move_answer(motion: Motion, vectors: torch.Tensor) -> torch.Tensor:
    return (vectors @ motion[0].T)[motion[2].argsort()]


def symmetry_motions(data: Data) -> list[Motion]:
    found = detect_symmetry(data, 0.01)
    return list(zip(found.rotations, found.translations, found.permutations, strict=True))


# ---------------------------------------------------------------------- structures


@pytest.mark.parametrize(
    ("name", "strategy"),
    [(name, s) for name in MOLECULES for s in ("input", "sympe", "group") if s != "group" or name not in CONTINUOUS],
)
def test_relaxed_equivariance_of_a_network(name, strategy):
    """A network with the first object of each structure: relaxed equivariant, and the symmetry really broken."""
    data = structure(name)
    irreps = "0o+2x1o" if strategy == "group" else None
    t = AddSymmetryBreaking(strategy, choose=0, symprec=0.01, irreps=irreps)
    model, encoding = network(data, "0o+2x1o"), SymPE("0o+2x1o").double()

    def f(x: Data) -> torch.Tensor:
        x = t(copy.copy(x))
        if strategy == "sympe":
            x.breaking, x.breaking_irreps = encoding(x.breaking), "0o+2x1o"
        return model(x).detach()

    stabilizer = symmetry_motions(data)
    error, broken = relaxed_equivariance_error(f, data, motions(4, data.num_nodes), stabilizer, move, move_answer)
    assert error < 1e-9
    assert broken < 1e-9 if name == "C1" else broken > 1e-3
    assert stabilizer_of_output(f, data, 0.01).schoenflies == "C1"


def test_a_wrong_canonicalizer_is_caught():
    """The frame of the first atoms of the list, and one fixed frame, are not relaxed equivariant."""
    data = structure("C3h")
    model = network(data, "0o+2x1o")
    fixed = torch.tensor([1.0, 0.3, 0.5, 0.8, -0.9, 0.1, 0.4]).double()

    def of_first_atoms(x: Data) -> torch.Tensor:
        q, r = torch.linalg.qr(x.pos[1:4].T - x.pos[:3].T)
        frame = q * r.diagonal().sign()
        return torch.from_numpy(irreps_matrices("0o+2x1o", frame[None].numpy())[0]) @ fixed

    for wrong in (of_first_atoms, lambda _: fixed):

        def f(x: Data, object_of=wrong) -> torch.Tensor:
            x = copy.copy(x)
            x.breaking = object_of(x)[None]
            return model(x).detach()

        stabilizer = symmetry_motions(data)
        assert relaxed_equivariance_error(f, data, motions(4, 7), stabilizer, move, move_answer).error > 1e-3


@pytest.mark.parametrize("name", MOLECULES)
def test_all_objects_move_with_the_structure(name):
    data = from_ase(MOLECULES[name](), torch.float64)
    assert detect_symmetry(data, 0.01).group.schoenflies == name
    for strategy, irreps in (("input", "0o+2x1o"), ("sympe", "3x1o")):
        t = AddSymmetryBreaking(strategy, choose="all", symprec=0.01)
        assert len(t(data).breaking) == detect_symmetry(data, 0.01).order
        assert set_equivariance_error(t, data, irreps, trials=2, generator=seeded()) < 1e-9


def test_targets_that_the_group_indexed_way_cannot_be_trained_on():
    """One object of each input-indexed set and one target: the others then belong to the images of the target."""
    structures = [structure(name) for name in CONTINUOUS]
    targets, bounds = [], []
    for data in structures:
        with pytest.raises(ValueError, match="continuous and cannot be listed"):
            AddSymmetryBreaking(choose=0)(data)
        found = detect_symmetry(data)
        target = torch.randn(data.num_nodes, 3, generator=seeded(), dtype=torch.float64)
        targets.append(target)
        bounds.append(float(curie_residual(target, found.rotations, found.permutations)) / target.numel())
    assert min(bounds) > 0.1

    model = network(structures[0], "0o+2x1o")
    sets = [AddSymmetryBreaking("input", choose="all")(data) for data in structures]
    batch = Batch.from_data_list([objects[0] for objects in sets])
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=150)
    for _ in range(150):
        optimizer.zero_grad()
        (model(batch) - torch.cat(targets)).square().mean().backward()
        optimizer.step()
        schedule.step()
    for data, objects, target, bound in zip(structures, sets, targets, bounds, strict=True):
        answers = model(objects).detach().view(objects.num_graphs, -1, 3)
        assert (answers[0] - target).square().mean() < 0.01 * bound
        images = torch.stack([move_answer(s, answers[0]) for s in symmetry_motions(data)])
        distances = torch.cdist(answers.flatten(1), images.flatten(1), p=torch.inf)
        assert max(distances.amin(0).max(), distances.amin(1).max()) < 1e-9
        assert torch.pdist(answers.flatten(1)).min() > 0.1
        data.breaking = torch.zeros_like(objects.breaking[:1])
        assert curie_gap(model, data, target) > -1e-9  # without the object it is equivariant: at the bound or above


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("keep", [None, "Cs", "C3"])
def test_answers_are_uniform_over_their_orbit(keep, seed):
    data = from_ase(boric_acid(), torch.float64)
    found = AddSymmetryBreaking("input", keep=keep).objects(data)
    q = data.pos - data.pos.mean(0)

    def answer(b: torch.Tensor) -> torch.Tensor:  # jointly equivariant, [n, N, 3]
        pseudoscalar, u, v = b[:, 0, None, None], b[:, None, 1:4], b[:, None, 4:7]
        along = (u * q).sum(2, keepdim=True)
        return (
            u + along * q + along**2 * v + pseudoscalar * torch.linalg.cross(u.expand(-1, 7, 3), q.expand(len(b), 7, 3))
        )

    assert uniformity_p_value(answer(found.sample(10_000, seeded(seed))), answer(found.all())) > 0.01
    assert len(found.all()) == 6 / {None: 1, "Cs": 2, "C3": 3}[keep]


def test_structures_with_other_periodicity():
    crystal = from_ase(bulk("CsCl", "cesiumchloride", a=4.1), torch.float64)
    assert AddSymmetryBreaking("input", keep="C4v", choose="all")(crystal).num_graphs == 6
    assert AddSymmetryBreaking("sympe", choose="all")(crystal).breaking.shape == (48, 9)
    assert AddSymmetryBreaking("noise")(crystal).breaking.shape == (2, 3)


def test_sympe_gives_orthogonal_frames():
    t = AddSymmetryBreaking("sympe")
    frame = t(structure("C4")).breaking.view(3, 3)
    assert (frame @ frame.T - torch.eye(3)).abs().max() < 1e-12


# ---------------------------------------------------------------------- noise


def test_noise_has_the_scale_of_the_structure():
    atoms = molecule("CH4")
    for factor in (1.0, 2.5):
        atoms.positions *= factor
        data = from_ase(atoms, torch.float64)
        nearest = float(torch.pdist(data.pos).min())
        t = AddSymmetryBreaking(Noise(scale=0.1, irreps="0e+1o+2e"))
        torch.manual_seed(0)
        drawn = torch.stack([t(data).breaking for _ in range(400)])
        assert drawn.shape == (400, 5, 9)
        assert abs(float(drawn.std()) / (0.1 * nearest) - 1) < 0.03
        assert abs(float(drawn.mean())) < 0.01 * nearest
    copper = from_ase(bulk("Cu", a=3.6), torch.float64)  # the neighbour is an image of the atom itself
    torch.manual_seed(0)
    drawn = torch.cat([AddSymmetryBreaking("noise")(copper).breaking for _ in range(400)])
    assert abs(float(drawn.std()) / (3.6 / np.sqrt(2)) - 1) < 0.05


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equivariance_in_distribution(strategy):
    """Draws of f(gx) and of g f(x) cannot be told apart; those of an object that does not move can."""
    data = structure("C4")
    motion = motions(2, data.num_nodes)[1]
    t = AddSymmetryBreaking(strategy)
    torch.manual_seed(1)

    def answers(x: Data, breaking=None) -> torch.Tensor:
        q = x.pos - x.pos.mean(0)
        rows = []
        for _ in range(150):
            b = t(copy.copy(x)).breaking[:, :3] if breaking is None else breaking
            rows.append((b * q).sum(1, keepdim=True) * q + b)
        return torch.stack(rows)

    if strategy == "input":
        t = AddSymmetryBreaking(InputIndexed(irreps="1o"))
    before = torch.stack([move_answer(motion, y) for y in answers(data)])
    assert equality_p_value(answers(move(motion, data)), before, generator=seeded()) > 0.01
    fixed = torch.tensor([[0.6, 0.8, 0.0]]).double()
    before = torch.stack([move_answer(motion, y) for y in answers(data, fixed)])
    assert equality_p_value(answers(move(motion, data), fixed), before, generator=seeded()) < 0.01


# ---------------------------------------------------------------------- graphs


def messages(data: Data, features: torch.Tensor) -> torch.Tensor:
    """An equivariant network of two layers on features [..., N, d]."""
    adjacency = torch.zeros(data.num_nodes, data.num_nodes, dtype=torch.float64)
    adjacency[data.edge_index[0], data.edge_index[1]] = 1.0
    for layer in range(2):
        weights = torch.randn(2, features.shape[-1], 6, generator=seeded(layer), dtype=torch.float64)
        features = torch.tanh(features @ weights[0] + adjacency @ features @ weights[1])
    return features


def renumber(order: torch.Tensor, data: Data) -> Data:
    return Data(edge_index=order[data.edge_index], num_nodes=data.num_nodes)


def renumber_answer(order: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return rows[order.argsort()]


@pytest.mark.parametrize("strategy", ["input", "sympe"])
@pytest.mark.parametrize("name", GRAPHS)
def test_relaxed_equivariance_on_graphs(name, strategy):
    data = graph(name)
    t = AddSymmetryBreaking(strategy, choose=0)
    torch.manual_seed(0)
    rows = SymPE(4, num_ranks=16).double()

    def f(x: Data) -> torch.Tensor:
        b = t(copy.copy(x)).breaking
        return messages(x, rows(b).detach() if strategy == "sympe" else b.double())

    automorphisms = detect_symmetry(data).permutations
    orders = [torch.randperm(data.num_nodes, generator=seeded(i)) for i in range(6)]
    error, broken = relaxed_equivariance_error(f, data, orders, automorphisms, renumber, renumber_answer)
    assert error < 1e-9
    assert broken == 0 if name == "Frucht" else broken > 0.1


def test_ranks_of_the_list_or_of_a_refinement_are_caught():
    """Node numbers are no canonical ranks, and sorting by degree tells no nodes of the Frucht graph apart."""
    for name in GRAPHS:
        data = graph(name)
        automorphisms = detect_symmetry(data).permutations
        orders = [torch.randperm(data.num_nodes, generator=seeded(i)) for i in range(6)]
        f = lambda x: messages(x, torch.arange(x.num_nodes).double()[:, None])  # noqa: E731
        error = relaxed_equivariance_error(f, data, orders, automorphisms, renumber, renumber_answer).error
        assert error > 0.1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["cycle", "Petersen"])
def test_answers_on_graphs_are_uniform(name, seed):
    data = graph(name)
    found = AddSymmetryBreaking("input").objects(data)
    answers, draws = (messages(data, b) for b in (found.all(), found.sample(10_000, seeded(seed))))
    assert uniformity_p_value(draws, answers) > 0.01


def test_attributes_on_graphs():
    data = graph("cycle")
    rows = AddSymmetryBreaking("input")(data.clone())
    assert rows.breaking.shape == (6, 8)
    assert rows.breaking.dtype == torch.float32
    assert rows.breaking_irreps == "8x0e"
    ranks = AddSymmetryBreaking("sympe")(data.clone())
    assert sorted(ranks.breaking[:, 0].tolist()) == list(range(6))
    assert ranks.breaking.dtype == torch.long
    noise = AddSymmetryBreaking(Noise(irreps="3x0e", scale=2.0))(data.clone())
    assert noise.breaking.shape == (6, 3)
    data.x = torch.ones(6, 2, dtype=torch.float64)
    appended = AddSymmetryBreaking(InputIndexed(irreps="5x0e"), attr=None)(data.clone())
    assert appended.x.shape == (6, 7)
    assert appended.x.dtype == torch.float64
    assert len(appended.x.unique(dim=0)) == 6
    assert AddSymmetryBreaking("sympe", choose="all")(data).num_graphs == 12
    data.x[0] = 2
    assert AddSymmetryBreaking("sympe", choose="all", features=["x"])(data).num_graphs == 2
    attached = AddSymmetry(features=["x"])(data)
    assert AddSymmetryBreaking("sympe", choose="all")(attached).num_graphs == 2


# ---------------------------------------------------------------------- as PyG has it


class Drawn(torch.utils.data.Dataset):
    """The same input again and again, with an object drawn each time."""

    def __init__(self, data: Data, strategy: str) -> None:
        self.data, self.transform = data, AddSymmetryBreaking(strategy)

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Data:
        return self.transform(copy.copy(self.data))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("make", [lambda: structure("C3h"), lambda: graph("Petersen")])
def test_loader_with_workers_and_files(strategy, make, tmp_path):
    data = make()
    torch.manual_seed(0)
    batches = list(DataLoader(Drawn(data, strategy), batch_size=4, num_workers=2))
    on_nodes = strategy == "noise" or data.get("pos") is None
    assert all(len(b.breaking) == (b.num_nodes if on_nodes else 4) for b in batches)
    objects = torch.cat([d.breaking.reshape(1, -1).double() for b in batches for d in b.to_data_list()])
    assert len(objects.round(decimals=6).unique(dim=0)) > 3
    torch.save(batches[0], tmp_path / "batch.pt")
    loaded = torch.load(tmp_path / "batch.pt", weights_only=False)
    assert torch.equal(loaded.breaking, batches[0].breaking)
    assert loaded.breaking_irreps == batches[0].breaking_irreps


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("make", [lambda: structure("Td"), lambda: graph("Petersen")])
def test_seed(strategy, make):
    data, t = make(), AddSymmetryBreaking(strategy, seed=3)
    first = t(copy.copy(data)).breaking
    torch.rand(5)
    assert torch.equal(t(copy.copy(data)).breaking, first)
    others = [AddSymmetryBreaking(strategy, seed=s)(copy.copy(data)).breaking for s in range(10)]
    assert any(not torch.equal(other, first) for other in others)


def test_on_the_nodes_and_its_repr():
    data = structure("C4")
    on_nodes = AddSymmetryBreaking("input", on="nodes")(data.clone())
    assert on_nodes.breaking.shape == (9, 7)
    assert len(on_nodes.breaking.unique(dim=0)) == 1
    variants = [
        {}, {"breaking": "input"}, {"breaking": "sympe"}, {"breaking": "noise"}, {"breaking": Noise(scale=2.0)},
        {"features": ["x"]}, {"breaking": InputIndexed(irreps="1o")}, {"breaking": "input", "keep": "C2"},
    ]  # fmt: skip
    assert len({repr(AddSymmetryBreaking(**v)) for v in variants}) == len(variants)


def test_one_line_swaps_the_strategy_in_a_batch():
    structures = [structure("C2v"), structure("C2v")]
    for strategy in ("group", *STRATEGIES):
        t = AddSymmetryBreaking(strategy, symprec=0.01)
        batch = Batch.from_data_list([t(copy.copy(d)) for d in structures])
        model = network(structures[0], batch.breaking_irreps[0])
        assert model(batch).shape == (6, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"breaking": "random"}, "breaking must be one of group, input, sympe, noise"),
        ({"breaking": "noise", "keep": "Cs"}, "keep='Cs' has no meaning with 'noise'"),
        ({"breaking": "sympe", "keep": "Cs"}, "keep"),
        ({"breaking": InputIndexed(), "keep": "Cs"}, "parameter of InputIndexed"),
        ({"on": "edges"}, "on must be"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, words):
    with pytest.raises(ValueError, match=words):
        AddSymmetryBreaking(**arguments)


def test_bad_inputs():
    with pytest.raises(ValueError, match="of a graph nothing is kept"):
        AddSymmetryBreaking("input", keep="Cs")(graph("cycle"))
    with pytest.raises(ValueError, match="objects are scalars"):
        AddSymmetryBreaking(InputIndexed(irreps="1o"))(graph("cycle"))
    with pytest.raises(ValueError, match=r"AddSymmetryBreaking\('input'\), 'sympe' or 'noise'"):
        AddSymmetryBreaking()(graph("cycle"))
    with pytest.raises(ValueError, match="noise is continuous and cannot be listed"):
        AddSymmetryBreaking("noise", choose="all")(structure("Td"))
    with pytest.raises(ValueError, match="objects 0 to 5"):
        AddSymmetryBreaking("input", choose=6)(structure("C3h"))
    with pytest.raises(ValueError, match="objects 0 to 11"):
        AddSymmetryBreaking("sympe", choose=12)(graph("cycle"))
    with pytest.raises(ValueError, match="single atom has no neighbour"):
        AddSymmetryBreaking("noise")(from_ase(Atoms("H")))
    with pytest.raises(ValueError, match=r"^CO2: .*'group'"):
        AddSymmetryBreaking("input")(from_ase(molecule("CO2")))


def test_many_structures_at_once():
    names = ["NH3", "CH4", "C2H4"]
    transform = AddSymmetryBreaking(irreps="2x1o+1e+2e+2o+3o+3e", choose=0)
    found = list(transform.map((from_ase(molecule(name), torch.float64) for name in names), processes=2))
    for data, name in zip(found, names, strict=True):
        assert torch.equal(data.breaking, transform(from_ase(molecule(name), torch.float64)).breaking)
        assert data.symmetry.group.schoenflies == {"NH3": "C3v", "CH4": "Td", "C2H4": "D2h"}[name]


def test_features_that_transform():
    data = from_ase(molecule("CH4"), torch.float64)
    data.field = torch.zeros(5, 3, dtype=torch.float64)
    data.field[0] = data.pos[1] - data.pos[0]  # a vector on carbon toward a hydrogen: C3v is left
    every = AddSymmetryBreaking(choose="all", features={"field": "1o"})(data)
    assert every.num_graphs == 6
    with pytest.raises(TypeError, match="invariant features only"):
        AddSymmetryBreaking("input", features={"field": "1o"})(data)


def test_noise_without_a_width_is_refused():
    for scale in (0.0, -1.0):
        with pytest.raises(ValueError, match="must be positive"):
            Noise(scale=scale)


def test_positions_that_are_whole_numbers_are_refused():
    square = Data(pos=torch.tensor([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]]))
    with pytest.raises(ValueError, match=r"pos is of torch.int64: .* use pos.double\(\)"):
        AddSymmetryBreaking()(square)
