"""Structures and graphs of known symmetry, made by hand, and random elements of the groups that move them."""

import networkx as nx
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule, nanotube
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation
from torch_geometric.data import Data

from pyg_symbreak.groups import PointGroup
from pyg_symbreak.structures import from_ase


def ring(n: int, radius: float, twist: float = 0.0, height: float = 0.0) -> np.ndarray:
    angles = twist + 2 * np.pi * np.arange(n) / n
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), height + 0 * angles], 1)


def propeller(n: int) -> Atoms:
    """C_n: blades of two atoms, not in one plane with the hub."""
    hub = np.array([[0, 0, 0.5]])
    return Atoms(["C"] + ["F"] * n + ["H"] * n, np.concatenate([hub, ring(n, 1.4), ring(n, 2.1, 0.3)]))


def boric_acid() -> Atoms:
    """B(OH)3, C_3h."""
    return Atoms("BO3H3", np.concatenate([np.zeros((1, 3)), ring(3, 1.36), ring(3, 1.9, 0.45)]))


def s4_molecule() -> Atoms:
    """S_4: two pairs up and down, each with a twisted second atom."""
    up, down = np.array([0, 0, 0.8]), np.array([0, 0, -0.8])
    first, second = ring(2, 1.0), ring(2, 1.7, 0.4)
    quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    positions = np.concatenate(
        [np.zeros((1, 3)), first + up, first @ quarter.T + down, second + 1.4 * up, second @ quarter.T + 1.4 * down]
    )
    return Atoms("CF4H4", positions)


def twisted_squares() -> Atoms:
    """D_4: two squares, one above the other, turned against each other by 20 degrees."""
    return Atoms("C8", np.concatenate([ring(4, 1.0, 0, 0.7), ring(4, 1.0, np.pi / 9, -0.7)]))


def orbits_of(symbol: str, count: int = 1) -> Atoms:
    """Orbits of points in general position under a point group, each of another species."""
    group, points = PointGroup(symbol).matrices, 2.5 * np.random.default_rng(2).normal(size=(count, 3))
    return Atoms(np.repeat(np.arange(count) + 6, len(group)), np.concatenate([group @ p for p in points]))


def no_symmetry() -> Atoms:
    return Atoms("CNOFHH", 2.5 * np.random.default_rng(0).random((6, 3)))


def twisted_lattice() -> Atoms:
    """P4: squares around the corners of the cells, turned in their plane, and what tells up from down."""
    squares = np.concatenate([ring(4, 1.0, 0.3), ring(1, 0.0, 0, 1.3)])
    return Atoms("O4N", squares, cell=[4.0, 4.0, 5.0], pbc=True)


def rutile() -> Atoms:
    return crystal(
        ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90]
    )


def quartz() -> Atoms:
    basis = [(0.4697, 0, 0), (0.4133, 0.2672, 0.1188)]
    return crystal(["Si", "O"], basis, spacegroup=152, cellpar=[4.916, 4.916, 5.4054, 90, 90, 120])


def triclinic() -> Atoms:
    numbers = np.random.default_rng(1)
    return Atoms("CNOCH", numbers.random((5, 3)) * 5, cell=6 * np.eye(3) + numbers.normal(size=(3, 3)), pbc=True)


def helix() -> Atoms:
    """Seven residues of two kinds of atoms in two turns, in general position: a screw axis 7_2."""
    steps = np.arange(7)
    angles = 4 * np.pi * steps / 7
    inner = np.stack([2 * np.cos(angles), 2 * np.sin(angles), 1.4 * steps], 1)
    outer = np.stack([3 * np.cos(angles + 0.4), 3 * np.sin(angles + 0.4), 1.4 * steps + 0.5], 1)
    return Atoms("C7O7", np.concatenate([inner, outer]), cell=[0, 0, 9.8], pbc=[False, False, True])


def layer() -> Atoms:
    atoms = graphene(vacuum=5)
    atoms.pbc = [True, True, False]
    return atoms


MOLECULES = {
    "C1": no_symmetry,
    "C2v": lambda: molecule("H2O"),
    "C3": lambda: propeller(3),
    "C4": lambda: propeller(4),
    "C3h": boric_acid,
    "S4": s4_molecule,
    "C3v": lambda: molecule("NH3"),
    "D3h": lambda: molecule("BF3"),
    "D4": twisted_squares,
    "D6h": lambda: molecule("C6H6"),
    "Td": lambda: molecule("CH4"),
    "C25": lambda: orbits_of("C25", 2),
    "D20": lambda: orbits_of("D20"),
    "C6h": lambda: orbits_of("C6h", 2),
    "Th": lambda: orbits_of("Th"),
    "O": lambda: orbits_of("O"),
    "I": lambda: orbits_of("I"),
    "Ih": lambda: orbits_of("Ih"),
}
"""By Schoenflies symbol."""

CRYSTALS = {
    "one atom": (lambda: bulk("Fe"), 48),
    "cubic cell of fcc": (lambda: bulk("Cu", cubic=True), 192),
    "diamond": (lambda: bulk("Si"), 48),
    "hcp": (lambda: bulk("Mg"), 24),
    "rutile": (rutile, 16),
    "quartz": (quartz, 6),
    "P4": (twisted_lattice, 4),
    "triclinic": (triclinic, 1),
    "supercell": (lambda: quartz().repeat((1, 1, 2)), 12),
    "slab": (lambda: fcc111("Al", (2, 2, 3), vacuum=8), 48),
    "graphene": (layer, 24),
    "nanotube": (lambda: nanotube(4, 0), 32),
    "helix": (helix, 7),
}
"""With the number of operations modulo the lattice of the cell."""


def data_of(atoms: Atoms) -> Data:
    return from_ase(atoms, torch.float64)


def random_rotation(seed: int) -> torch.Tensor:
    """Proper for even seeds, improper for odd ones."""
    return torch.from_numpy(Rotation.random(random_state=seed).as_matrix()) * (-1) ** seed


def moved(data: Data, rotation: torch.Tensor, shift: torch.Tensor, order: torch.Tensor) -> Data:
    """Rotated, then shifted; node i becomes node order[i]."""
    out = data.clone()
    back = order.argsort()
    out.pos = (data.pos @ rotation.T + shift)[back]
    out.z = data.z[back]
    out.cell = data.cell @ rotation.T
    return out


def random_motion(data: Data, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randn(3, generator=generator, dtype=torch.float64)
    return random_rotation(seed), shift, torch.randperm(data.num_nodes, generator=generator)


def another_cell(data: Data, seed: int) -> Data:
    """The same crystal in another basis of its lattice, its atoms moved by lattice vectors."""
    numbers = np.random.default_rng(seed)
    basis = np.eye(3)
    for _ in range(3):
        i, j = numbers.choice(3, 2, replace=False)
        basis[i] += numbers.integers(-1, 2) * basis[j]
    out = data.clone()
    shifts = torch.from_numpy(numbers.integers(-1, 2, size=(data.num_nodes, 3))).double()
    out.pos = data.pos + shifts @ data.cell[0]
    out.cell = (torch.from_numpy(basis) @ data.cell[0])[None]
    return out


GRAPHS = {
    "cycle": (nx.cycle_graph(6), 12),
    "Petersen": (nx.petersen_graph(), 120),
    "two triangles": (nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)), 72),
    "hypercube": (nx.convert_node_labels_to_integers(nx.hypercube_graph(3)), 48),
    "Paley": (nx.paley_graph(13), 78),
    "complete": (nx.complete_graph(12), 479001600),
    "Frucht": (nx.frucht_graph(), 1),
    "directed cycle": (nx.cycle_graph(5, create_using=nx.DiGraph), 5),
    "Erdős–Rényi": (nx.erdos_renyi_graph(16, 0.4, seed=1), 1),
}
"""With the orders of their automorphism groups."""


def graph_data(graph: nx.Graph) -> Data:
    edges = torch.tensor(list(graph.to_directed().edges)).T
    return Data(edge_index=edges, num_nodes=graph.number_of_nodes())


def renumbered(data: Data, order: torch.Tensor, generator: torch.Generator) -> Data:
    """The graph with node i called order[i], its edges in another order, and its node features moved along."""
    out = data.clone()
    shuffle = torch.randperm(data.edge_index.shape[1], generator=generator)
    out.edge_index = order[data.edge_index][:, shuffle]
    if data.get("edge_attr") is not None:
        out.edge_attr = data.edge_attr[shuffle]
    if data.get("x") is not None:
        out.x = data.x[order.argsort()]
    return out
