"""Equivariant linear maps and perceptrons between representations of finite groups."""

import numpy as np
import pytest
import torch
from finite_representations import CASES, turned

from pyg_symbreak.groups import PointGroup, Representation, cyclic_group, symmetric_group
from pyg_symbreak.nn import EquivariantActivation, EquivariantLinear, EquivariantMLP

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def equivariance_error(model, rep_in, rep_out, x) -> float:
    """Largest |f(ρ(g)x) - ρ'(g)f(x)| over all g."""
    a, b = torch.from_numpy(rep_in.matrices), torch.from_numpy(rep_out.matrices)
    moved = model(torch.einsum("gij,nj->gni", a, x))
    return (moved - torch.einsum("gij,nj->gni", b, model(x))).abs().max().item()


def perturbed(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model in float64 with all parameters random, biases among them."""
    model = model.double()
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return model


@each
def test_linear_is_equivariant_and_the_most_general(case):
    rep_in, rep_out = case.rep_in + Representation.trivial(case.rep_in.group), 2 * case.rep_out
    layer = perturbed(EquivariantLinear(rep_in, rep_out))
    assert equivariance_error(layer, rep_in, rep_out, random(5, rep_in.dim)) < 1e-12
    assert layer.bias.abs().max() > 0.01 or Representation.trivial(rep_in.group).hom_dimension(rep_out) == 0
    # as many weights as there are independent maps, and each average over the group is one of them
    assert sum(p.numel() for p in layer.weights.parameters()) == rep_in.hom_dimension(rep_out)
    anything = random(rep_out.dim, rep_in.dim, seed=1)
    a, b = torch.from_numpy(rep_in.matrices), torch.from_numpy(rep_out.matrices)
    average = (b @ anything @ a.mT).mean(0)
    assert (layer.weights.projection(anything) - average).abs().max() < 1e-12
    basis = torch.from_numpy(rep_in.hom_basis(rep_out)).flatten(1)
    assert torch.linalg.matrix_rank(torch.cat([basis, layer.weight.detach().flatten()[None]])) == len(basis)


def test_linear_on_sets_is_that_of_deep_sets():
    nodes = Representation.permutation(symmetric_group(5))
    layer = EquivariantLinear(nodes, nodes).double()
    w = layer.weight
    assert torch.allclose(w.diagonal(), w[0, 0].expand(5))
    off = w[~torch.eye(5, dtype=torch.bool)]
    assert torch.allclose(off, off[0].expand(20))


def test_linear_on_a_ring_is_a_circular_convolution():
    ring = Representation.permutation(cyclic_group(7))
    layer = EquivariantLinear(ring, ring, bias=False).double()
    x = random(7)
    kernel = layer.weight[:, 0]
    convolved = torch.fft.ifft(torch.fft.fft(x) * torch.fft.fft(kernel)).real
    assert (layer(x) - convolved).abs().max() < 1e-12


def test_linear_has_output_of_unit_mean_square():
    cube = turned("Oh")
    rep_in = 8 * Representation.regular(cube) + 4 * Representation.irreps(cube, "1o")
    rep_out = 40 * Representation.irreps(cube, "1o") + 16 * Representation.regular(cube)
    torch.manual_seed(0)
    layer = EquivariantLinear(rep_in, rep_out)
    square = layer(torch.randn(400, rep_in.dim)).square().mean(0)
    assert 0.7 < square[:120].mean() < 1.4
    assert 0.7 < square[120:].mean() < 1.4


@each
def test_mlp_is_equivariant(case):
    group = case.rep_in.group
    hidden = 2 * Representation.regular(group) + case.rep_out + Representation.trivial(group)
    model = perturbed(EquivariantMLP(case.rep_in, case.rep_out, hidden))
    assert equivariance_error(model, case.rep_in, case.rep_out, random(4, case.rep_in.dim)) < 1e-10
    scaled = model(2 * case.inputs) - model(torch.zeros_like(case.inputs))
    assert (scaled - 2 * (model(case.inputs) - model(torch.zeros_like(case.inputs)))).abs().max() > 1e-3  # not linear


@each
def test_output_is_as_symmetric_as_the_input(case):
    model = perturbed(EquivariantMLP(case.rep_in, case.rep_out, 2 * Representation.regular(case.rep_in.group)))
    out = model(case.inputs).detach()
    for x, y in zip(case.inputs, out, strict=True):
        moved = torch.from_numpy(case.rep_out.matrices[list(case.rep_in.stabilizer(x.numpy()))]) @ y
        assert (moved - y).abs().max() < 1e-10


def test_activation_on_general_vectors_is_equivariant_and_not_linear():
    for symbol in ("C5", "T", "D4h", "Ih"):
        g = turned(symbol)
        rep = 3 * Representation.irreps(g, "1o") + 2 * Representation.regular(g) + Representation.irreps(g, "2e+0o")
        act = perturbed(EquivariantActivation(rep, torch.tanh))
        assert equivariance_error(act, rep, rep, random(4, rep.dim)) < 1e-12
        x = random(1, rep.dim)
        assert ((act(2 * x) - 2 * act(x)).abs() > 1e-9).all()


def test_a_pointwise_function_of_vectors_is_refused_by_the_oracle():
    rep = Representation.irreps(turned("O"), "1o")
    assert equivariance_error(torch.tanh, rep, rep, random(4, 3)) > 1e-2


def test_regular_hidden_layers_reach_what_irreps_cannot():
    # x of 1o to the product xy of 2e is no linear map times a scalar
    cube = PointGroup("Oh")
    vector, tensor = Representation.irreps(cube, "1o"), Representation.irreps(cube, "2e")
    narrow = perturbed(EquivariantMLP(vector, tensor, 8 * (vector + tensor)))
    assert narrow(random(5, 3)).abs().max() < 1e-12
    torch.manual_seed(0)
    wide = EquivariantMLP(vector, tensor, 2 * Representation.regular(cube), layers=1).double()
    x = random(64, 3)
    target = torch.stack([x[:, 0] * x[:, 2], x[:, 0] * x[:, 1], 0 * x[:, 0], x[:, 1] * x[:, 2], 0 * x[:, 0]], dim=1)
    optimizer = torch.optim.Adam(wide.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        loss = (wide(x) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 * target.square().mean()


def test_dtypes_and_shapes():
    cube = turned("Oh")
    rep = Representation.irreps(cube, "1o+2e")
    model = EquivariantMLP(rep, rep, Representation.regular(cube))
    x = random(2, 3, 8)
    assert model(x.float()).shape == (2, 3, 8)
    assert model(x.float()[0, 0]).shape == (8,)
    error = equivariance_error(model.double(), rep, rep, x[0])
    assert error < 1e-12  # the bases have not kept a rounding to float32
    assert not any("basis" in key or "orbits" in key for key in model.state_dict())


def test_weights_are_loaded():
    ring = Representation.permutation(cyclic_group(5))
    a, b = EquivariantMLP(ring, ring), EquivariantMLP(ring, ring)
    x = torch.randn(3, 5)
    assert not torch.allclose(a(x), b(x))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(x), b(x))
    b.reset_parameters()
    assert not torch.allclose(a(x), b(x))


def test_gradients():
    rep = Representation.irreps(turned("D3"), "1o+1e")
    model = perturbed(EquivariantMLP(rep, rep, Representation.regular(rep.group), layers=1))
    assert torch.autograd.gradcheck(model, random(2, 6).requires_grad_())
    model(random(2, 6)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters() if p.numel())


def test_errors_and_reprs():
    ring = Representation.permutation(cyclic_group(6))
    square = Representation.permutation(cyclic_group(4))
    with pytest.raises(ValueError, match="representations of different groups"):
        EquivariantLinear(ring, square)
    assert repr(EquivariantLinear(ring, 2 * ring)) == "EquivariantLinear(6, 12, bias=True)"
    assert repr(EquivariantMLP(ring, ring)) == "EquivariantMLP(6, 48, 48, 6)"


def test_element_order_does_not_matter():
    # a point group given by its matrices in another order has other indices, and the same maps
    g = turned("D3d")
    order = np.random.default_rng(0).permutation(12)
    shuffled = PointGroup.from_matrices(g.matrices[order])
    a, b = Representation.irreps(g, "1o+2e"), Representation.irreps(shuffled, "1o+2e")
    assert np.abs(a.matrices[order] - b.matrices).max() < 1e-9
    one, two = (r.hom_basis(r).reshape(-1, 64) for r in (a, b))
    assert np.abs(one.T @ one - two.T @ two).max() < 1e-8  # the projectors on the spaces of maps
