"""What the tests of the public checks share: networks, structures, a model that is not equivariant."""

import torch
from ase import Atoms
from torch_geometric.data import Data

from pyg_symbreak.datasets import TriangularPrism
from pyg_symbreak.nn import GatedNetwork
from pyg_symbreak.structures import from_ase
from pyg_symbreak.transforms import NeighborList

IN, OBJECT, OUT, GRAPH = "2x0e+1o", "1o+2e+3o", "1o+0o+2e", "0e+2e"
HIDDEN = "6x0e+4x0o+4x1o+4x1e+2x2e+2x2o"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def network(irreps_in: str, irreps_out: str, irreps_breaking: str | None = None, **kwargs) -> GatedNetwork:
    torch.manual_seed(0)
    settings = {"max_radius": 4.5, "hidden": HIDDEN, "lmax": 3, "layers": 2} | kwargs
    return GatedNetwork(irreps_in, irreps_out, irreps_breaking, **settings).double()


def structure(periodic: bool, nodes: int = 5) -> Data:
    """A random structure with random features, an edge attribute, and as many edges as it happens to have."""
    pos = 4.0 * torch.rand(nodes, 3, generator=seeded(1), dtype=torch.float64).numpy()
    cell = (4.0 * torch.eye(3) + 0.3 * randn(3, 3, seed=2)).numpy() if periodic else None
    data = NeighborList(3.0)(from_ase(Atoms("BCNOF"[:nodes], pos, cell=cell, pbc=periodic), torch.float64))
    data.x = randn(nodes, 5, seed=3)
    return data


class CoordinateMLP(torch.nn.Module):
    """What is not equivariant: a perceptron on the coordinates of each node."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.SiLU(), torch.nn.Linear(16, 3))

    def forward(self, data: Data) -> torch.Tensor:
        return self.layers(data.pos)


def double_prism() -> Data:
    return TriangularPrism()[0].apply(lambda t: t.double() if t.is_floating_point() else t)
