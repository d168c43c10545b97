"""PyG's models with an object: invariant jointly with the structure, not without it, and what is refused."""

import copy

import pytest
import torch
from ase.build import bulk, molecule
from torch import nn
from torch_geometric.data import Batch
from torch_geometric.nn import GAT, GCN, PNA, DimeNetPlusPlus, GCNConv, GINEConv, GPSConv, SchNet, ViSNet
from torch_geometric.nn.models import dimenet

from pyg_symbreak.detect import detect_symmetry, symmetrize
from pyg_symbreak.nn import WithBreaking
from pyg_symbreak.structures import from_ase
from pyg_symbreak.testing import equivariance_error
from pyg_symbreak.transforms import AddSymmetryBreaking, NeighborList

CUTOFF = 3.0


class GPS(nn.Module):
    """A stack of GPSConv, as in PyG's example."""

    def __init__(self):
        super().__init__()
        self.in_channels, self.edge_dim = 8, 8
        conv = [nn.Sequential(nn.Linear(8, 8), nn.SiLU()) for _ in range(2)]
        self.layers = nn.ModuleList(GPSConv(8, GINEConv(c), heads=2, norm="layer_norm") for c in conv)

    def forward(self, x, edge_index, edge_attr, batch):
        for layer in self.layers:
            x = layer(x, edge_index, batch, edge_attr=edge_attr)
        return x


class EGNN(nn.Module):
    """A layer of Satorras, Hoogeboom & Welling, ICML 2021: features and positions."""

    def __init__(self):
        super().__init__()
        self.message = nn.Sequential(nn.Linear(2 * 8 + 1 + 4, 8), nn.SiLU())
        self.along, self.update = nn.Linear(8, 1), nn.Linear(16, 8)

    def forward(self, x, pos, edge_index, edge_attr):
        source, target = edge_index
        r = pos[target] - pos[source]
        m = self.message(torch.cat([x[source], x[target], r.square().sum(1, keepdim=True), edge_attr], dim=1))
        moved = torch.zeros_like(pos).index_add(0, target, self.along(m) * r)
        return self.update(torch.cat([x, torch.zeros_like(x).index_add(0, target, m)], dim=1)), moved


def pna():
    return PNA(8, 8, 2, edge_dim=4, aggregators=["mean", "max"], scalers=["identity"], deg=torch.tensor([0, 2, 6, 4]))


def visnet():
    return ViSNet(lmax=1, num_heads=2, num_layers=1, hidden_channels=8, num_rbf=8, cutoff=CUTOFF)


def dimenetpp():
    return DimeNetPlusPlus(8, 1, 2, 8, 8, 8, 2, 3, cutoff=CUTOFF, output_initializer="glorot_orthogonal")


MODELS = {
    "SchNet": (lambda: SchNet(8, 8, 2, 8, CUTOFF), None, "0e"),
    "ViSNet": (visnet, None, "0e"),
    "DimeNet++": (dimenetpp, None, "0e"),
    "GATv2": (lambda: GAT(8, 8, 2, v2=True, edge_dim=4), "8x0e", None),
    "PNA": (pna, "8x0e", None),
    "GCN": (lambda: GCN(8, 8, 2), "8x0e", None),
    "GPS": (GPS, "8x0e", None),
    "EGNN": (EGNN, "8x0e+1x1o", None),
}


def wrapped(name, irreps):
    torch.manual_seed(0)
    widths = {"in_channels": 8, "edge_dim": 4} if name == "EGNN" else {}
    return WithBreaking(MODELS[name][0](), irreps, **widths).double().eval()


def joined(out):
    """The first of two outputs, where the second is None; one tensor of two on the nodes."""
    if not isinstance(out, tuple):
        return out
    return out[0] if out[1] is None else torch.cat(out, dim=1)


def ammonia(name="NH3", **more):
    atoms = molecule(name)
    structure = NeighborList(1.4)(from_ase(symmetrize(atoms, detect_symmetry(atoms)), torch.float64))
    return AddSymmetryBreaking(seed=0, **more)(structure)


@pytest.mark.parametrize("name", MODELS)
def test_invariant_with_the_object_and_different_with_another(name):
    data = ammonia()
    model = wrapped(name, data.breaking_irreps)
    _, on_nodes, on_graph = MODELS[name]
    error = equivariance_error(
        lambda d: joined(model(d)).view(1, -1) if on_graph else joined(model(d)),
        data,
        on_nodes,
        data.breaking_irreps,
        irreps_graph_out=on_graph,
        trials=2,
    )
    assert error < 1e-9
    hydrogens = (data.z == 1).nonzero().flatten()
    if on_nodes:  # three equivalent atoms are told apart, and are not by zeros
        x = joined(model(data))[hydrogens, :8].detach()
        assert torch.pdist(x).min() > 1e-6
        data.breaking = torch.zeros_like(data.breaking)
        assert torch.pdist(joined(model(data))[hydrogens, :8]).max() < 1e-9
    else:
        data.pos.requires_grad_()
        forces = []
        for scale in (1.0, 0.0):
            d = copy.copy(data)
            d.breaking = scale * data.breaking
            (force,) = torch.autograd.grad(joined(model(d)).sum(), data.pos)
            forces.append(torch.pdist(force[hydrogens].norm(dim=1, keepdim=True)))
        assert forces[0].min() > 1e-7
        assert forces[1].max() < 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_batches_give_what_single_structures_give(name):
    irreps = "1x1o+1x1e"
    single = [ammonia(m, irreps=irreps) for m in ("NH3", "H2O")]
    model = wrapped(name, irreps)
    together = joined(model(Batch.from_data_list(single)))
    torch.testing.assert_close(together, torch.cat([joined(model(d)).view(-1, together.size(1)) for d in single]))


@pytest.mark.parametrize("name", ["SchNet", "ViSNet", "DimeNet++"])
def test_crystals_see_their_periodic_edges(name):
    cell = bulk("CsCl", "cesiumchloride", a=2.6)
    edges = NeighborList(2.4 if name == "ViSNet" else CUTOFF)
    one, two = (edges(from_ase(a, torch.float64)) for a in (cell, cell.repeat((2, 1, 1))))
    one.breaking = two.breaking = torch.tensor([[0.0, 0.6, 0.8]], dtype=torch.float64)
    model = wrapped(name, "1o")
    energy = joined(model(one)).item()
    assert abs(energy) > 1e-3
    assert joined(model(two)).item() == pytest.approx(2 * energy, rel=1e-10)


def test_without_its_linear_maps_dimenet_is_that_of_pyg(monkeypatch):
    """With the neighbours and angles of PyG's code found by loops, as the libraries it takes them from would."""
    data = ammonia()
    model = wrapped("DimeNet++", data.breaking_irreps)
    inner = copy.deepcopy(model.model)
    for plus in (model.model.emb, model.model.emb.module.emb):
        torch.nn.init.zeros_(plus.linear.weight)
    inner.emb = inner.emb.module
    inner.emb.emb = inner.emb.emb.module

    def triplets(edge_index, num_nodes):
        edges = list(enumerate(edge_index.T.tolist()))
        rows = [(i, j, k, n, m) for m, (j, i) in edges for n, (k, l) in edges if l == j and k != i]
        i, j, k, kj, ji = torch.tensor(rows).T
        return edge_index[1], edge_index[0], i, j, k, kj, ji

    monkeypatch.setattr(dimenet, "radius_graph", lambda *args, **kwargs: data.edge_index)
    monkeypatch.setattr(dimenet, "triplets", triplets)
    expected = inner(data.z, data.pos, torch.zeros(4, dtype=torch.long))
    assert expected.abs() > 1e-3
    torch.testing.assert_close(model(data), expected)


def test_models_are_copied_and_saved_as_others(tmp_path):
    data = ammonia()
    model = wrapped("SchNet", data.breaking_irreps)
    data.pos.requires_grad_()
    before = model(data)
    assert copy.deepcopy(model)(data) == before
    other = WithBreaking(SchNet(8, 8, 2, 8, CUTOFF), data.breaking_irreps).double()
    other.load_state_dict(model.state_dict())
    assert other(data) == before
    assert repr(model) == f"WithBreaking(SchNet, {data.breaking_irreps})"


def test_features_of_the_data_are_kept():
    data = ammonia()
    model = wrapped("GATv2", data.breaking_irreps)
    without = model(data)
    data.x = torch.ones(4, 8, dtype=torch.float64)
    data.edge_attr = torch.ones(data.num_edges, 4, dtype=torch.float64)
    assert (model(data) - without).abs().max() > 1e-6
    data.x = torch.ones(4, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"data.x has shape \[4, 3\], the model takes \[4, 8\]"):
        model(data)


def test_what_does_not_fit_is_refused():
    data = ammonia()
    irreps = data.breaking_irreps
    with pytest.raises(TypeError, match=r"Linear\.forward takes input"):
        WithBreaking(nn.Linear(2, 2), irreps)
    with pytest.raises(TypeError, match="EGNN does not say how wide its x is: give in_channels"):
        WithBreaking(EGNN(), irreps)
    with pytest.raises(TypeError, match=r"edge_dim=4, but GCNConv\.forward takes no edge_attr"):
        WithBreaking(GCNConv(8, 8), irreps, edge_dim=4)
    with pytest.raises(TypeError, match="not for SchNet"):
        WithBreaking(SchNet(8, 8, 2), irreps, edge_dim=4)
    with pytest.raises(ValueError, match=r"data.pos is torch.float64, the model torch.float32: call model.to"):
        WithBreaking(SchNet(8, 8, 2), irreps)(data)
    with pytest.raises(ValueError, match=r"NeighborList\(0.9\)"):
        WithBreaking(SchNet(8, 8, 2, cutoff=0.9), irreps).double()(data)
    crystal = NeighborList(CUTOFF)(from_ase(bulk("CsCl", "cesiumchloride", a=2.6), torch.float64))
    crystal.breaking = torch.ones(1, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="neighbour of its own image"):
        wrapped("ViSNet", "1o")(crystal)
    del data.breaking
    with pytest.raises(ValueError, match="data lacks breaking"):
        WithBreaking(SchNet(8, 8, 2), irreps).double()(data)
