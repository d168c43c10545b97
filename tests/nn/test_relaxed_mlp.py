"""Relaxed equivariant layers: the condition of the definition, broken symmetry, uniform answers, the two lanes."""

import math

import numpy as np
import pytest
import torch
from finite_representations import CASES, Case, chi_square_p, fixed_vectors, turned

from pyg_symbreak.groups import (
    PointGroup,
    Representation,
    cyclic_group,
    dihedral_group,
    symmetric_group,
    transversal_subgroup,
)
from pyg_symbreak.nn import EquivariantLinear, EquivariantMLP, FiniteCanonicalizer, RelaxedLinear, RelaxedMLP

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relaxed_error(f, rep_in, rep_out, x) -> float:
    """The largest over g of the smallest over s in the stabilizer of x of |f(gx) - g s f(x)|, x [D]."""
    a, b = torch.from_numpy(rep_in.matrices), torch.from_numpy(rep_out.matrices)
    symmetry = b[list(rep_in.stabilizer(x.numpy()))]
    answers = b @ (symmetry @ f(x[None])[0]).T  # [g, D_out, s]
    moved = f(a @ x)
    return (moved.unsqueeze(2) - answers).abs().amax(1).amin(1).max().item()


def breaking(f, rep_in, rep_out, x) -> float:
    """The largest over the stabilizer of x of |f(x) - s f(x)|."""
    symmetry = torch.from_numpy(rep_out.matrices[list(rep_in.stabilizer(x.numpy()))])
    y = f(x[None])[0]
    return (symmetry @ y - y).abs().max().item()


def perturbed(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model in float64 with all parameters random, biases among them."""
    model = model.double().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p += 0.3 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return model


def network(case: Case) -> RelaxedMLP:
    group = case.rep_in.group
    hidden = Representation.regular(group) + case.rep_out
    return perturbed(RelaxedMLP(case.rep_in, case.rep_out, hidden, layers=1))


# ---------------------------------------------------------------------- the canonicalizer


@each
def test_ties_are_a_coset_of_the_stabilizer(case):
    canonicalizer = FiniteCanonicalizer(case.rep_in).double()
    table = case.rep_in.group.table
    x = torch.cat([case.inputs, random(5, case.rep_in.dim)])
    for v, tied in zip(x, canonicalizer.ties(x), strict=True):
        ties = tied.nonzero().flatten().numpy()
        symmetry = case.rep_in.stabilizer(v.numpy())
        assert sorted(ties) == sorted(table[list(symmetry), ties[0]])  # G_x h
    assert case.orders == canonicalizer.ties(case.inputs).sum(1).tolist()
    assert max(case.orders) > 1
    assert min(case.orders) == 1


@each
def test_ties_move_with_the_input_and_canonical_forms_do_not(case):
    canonicalizer = FiniteCanonicalizer(case.rep_in).double()
    matrices, table = torch.from_numpy(case.rep_in.matrices), case.rep_in.group.table
    for v in [*case.inputs, *random(3, case.rep_in.dim)]:
        moved = torch.einsum("gij,j->gi", matrices, v)
        ties = canonicalizer.ties(v).nonzero().flatten().numpy()
        of_moved = canonicalizer.ties(moved)
        for g in range(case.rep_in.group.order):
            assert sorted(of_moved[g].nonzero().flatten().tolist()) == sorted(table[g, ties])
        h = canonicalizer(moved, torch.Generator().manual_seed(0))
        forms = torch.einsum("gji,gj->gi", matrices[h], moved)
        assert (forms - forms[0]).abs().max() < 1e-12


def test_ties_are_drawn_uniformly():
    ring = Representation.permutation(dihedral_group(6))
    canonicalizer = FiniteCanonicalizer(ring).double()
    x = torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    assert len(ring.stabilizer(x.numpy())) == 2
    constant = torch.ones(6, dtype=torch.float64)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        counts = torch.bincount(canonicalizer(x.expand(10_000, -1), generator), minlength=12)
        assert counts.count_nonzero() == 2
        assert chi_square_p(counts[counts > 0].numpy()) > 0.01
        counts = torch.bincount(canonicalizer(constant.expand(10_000, -1), generator), minlength=12)
        assert chi_square_p(counts.numpy()) > 0.01
    again = [canonicalizer(constant.expand(9, -1), torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*again)


def test_canonicalizer_in_float32_and_scale():
    for symbol in ("Oh", "D5h", "Ih"):
        group = turned(symbol)
        rep = Representation.irreps(group, "1o+2e")
        x = fixed_vectors(rep, [members[0] for members in rep.group.subgroup_classes])
        orders = FiniteCanonicalizer(rep).double().ties(x).sum(1)
        for scale in (1e-4, 1.0, 1e4):
            assert torch.equal(FiniteCanonicalizer(rep).ties((scale * x).float()).sum(1), orders)


def test_tolerance():
    ring = Representation.permutation(cyclic_group(4))
    x = torch.tensor([1.0, 2.0, 1.0, 2.0 + 1e-3], dtype=torch.float64)
    assert FiniteCanonicalizer(ring).ties(x).sum() == 1
    assert FiniteCanonicalizer(ring, tolerance=1e-2).ties(x).sum() == 2


# ---------------------------------------------------------------------- relaxed equivariance


@each
def test_linear_is_jointly_equivariant_in_x_and_h(case):
    layer = perturbed(RelaxedLinear(case.rep_in, 2 * case.rep_out))
    a = torch.from_numpy(case.rep_in.matrices)
    b = torch.from_numpy((2 * case.rep_out).matrices)
    table = torch.from_numpy(case.rep_in.group.table)
    x, h = random(6, case.rep_in.dim), torch.randint(len(table), (6,), generator=torch.Generator().manual_seed(1))
    for g in range(len(table)):
        assert (layer(x @ a[g].T, table[g, h]) - layer(x, h) @ b[g].T).abs().max() < 1e-10


@each
def test_linear_against_its_formula(case):
    layer = perturbed(RelaxedLinear(case.rep_in, case.rep_out))
    a, b = torch.from_numpy(case.rep_in.matrices), torch.from_numpy(case.rep_out.matrices)
    x, h = random(case.rep_in.dim), case.rep_in.group.order - 1
    even = layer.equivariant.weight @ x + layer.equivariant.bias
    odd = b[h] @ (layer.breaking_weight @ a[h].T @ x + layer.breaking_bias)
    assert (layer(x, torch.tensor(h)) - even - odd).abs().max() < 1e-12


@each
def test_breaking_weights_are_orthogonal_to_equivariant_ones(case):
    layer = perturbed(RelaxedLinear(case.rep_in, case.rep_out))
    a, b = torch.from_numpy(case.rep_in.matrices), torch.from_numpy(case.rep_out.matrices)
    assert (b @ layer.breaking_weight @ a.mT).mean(0).abs().max() < 1e-12
    assert (b @ layer.breaking_bias).mean(0).abs().max() < 1e-12
    basis = torch.from_numpy(case.rep_in.hom_basis(case.rep_out)).flatten(1)
    assert torch.allclose(basis @ layer.breaking_weight.flatten(), torch.zeros(1).double(), rtol=0, atol=1e-12)
    assert layer.breaking_weight.abs().max() > 0.1


@each
def test_relaxed_equivariance_on_symmetric_and_asymmetric_inputs(case):
    model = network(case)
    generator = torch.Generator().manual_seed(0)
    for x in [*case.inputs, *random(2, case.rep_in.dim)]:
        error = relaxed_error(lambda v: model(v, generator=generator), case.rep_in, case.rep_out, x)
        assert error < 1e-9


@each
def test_symmetry_is_broken_where_there_is_one(case):
    model = network(case)
    plain = perturbed(EquivariantMLP(case.rep_in, case.rep_out))
    acts = torch.from_numpy(case.rep_out.matrices)
    for x, order in zip(case.inputs, case.orders, strict=True):
        symmetry = list(case.rep_in.stabilizer(x.numpy()))
        trivially = (acts[symmetry] - acts[:1]).abs().max() < 1e-12  # such a symmetry cannot be seen in the output
        assert (breaking(model, case.rep_in, case.rep_out, x) > 1e-2) == (order > 1 and not trivially)
        assert breaking(plain, case.rep_in, case.rep_out, x) < 1e-9


def test_the_zero_vector_and_invariants_are_broken():
    ring = Representation.permutation(cyclic_group(6))
    scalar = Representation.trivial(ring.group)
    for rep, x in ((ring, torch.zeros(6)), (scalar, torch.ones(1))):
        model = perturbed(RelaxedMLP(rep, ring, ring))
        assert breaking(model, rep, ring, x.double()) > 1e-2
        assert relaxed_error(model, rep, ring, x.double()) < 1e-9


def test_answers_are_uniform_over_the_orbit():
    square = Representation.permutation(dihedral_group(4))
    x = torch.ones(4, dtype=torch.float64)
    for seed in range(3):
        model = perturbed(RelaxedMLP(square, square, square), seed)
        answers = square.matrices @ model(x, torch.tensor(0)).numpy()
        out = model(x.expand(10_000, -1), generator=torch.Generator().manual_seed(seed)).numpy()
        distance = np.abs(out[:, None] - answers).max(2)
        assert distance.min(1).max() < 1e-9
        assert chi_square_p(np.bincount(distance.argmin(1), minlength=8)) > 0.01


def test_an_asymmetric_input_has_one_answer():
    nodes = Representation.permutation(symmetric_group(4))
    model = perturbed(RelaxedMLP(nodes, nodes, 2 * nodes))
    x = random(4).expand(50, -1)
    out = model(x)
    assert (out - out[0]).abs().max() == 0


@each
def test_zero_breaking_weights_recover_the_equivariant_network(case):
    hidden = Representation.regular(case.rep_in.group) + case.rep_out
    relaxed = perturbed(RelaxedMLP(case.rep_in, case.rep_out, hidden))
    plain = EquivariantMLP(case.rep_in, case.rep_out, hidden).double()
    for linear, other in zip(relaxed.linears, plain.linears, strict=True):
        linear.free_weight.zero_()
        linear.free_bias.zero_()
        other.load_state_dict(linear.equivariant.state_dict())
    plain.activations.load_state_dict(relaxed.activations.state_dict())
    x = torch.cat([case.inputs, random(3, case.rep_in.dim)])
    assert torch.equal(relaxed(x), plain(x))
    assert (relaxed(x, torch.randint(case.rep_in.group.order, (len(x),))) - plain(x)).abs().max() == 0


def test_two_relaxed_maps_in_a_row_need_not_be_relaxed():
    # x has no symmetry, its mean has all: a second map with a canonicalizer of its own on the hidden value breaks it
    ring = Representation.permutation(cyclic_group(6))
    canonicalizer = FiniteCanonicalizer(ring).double()
    first, second = perturbed(RelaxedLinear(ring, ring), 1), perturbed(RelaxedLinear(ring, ring), 2)
    mean = torch.full((6, 6), 1 / 6, dtype=torch.float64)
    first.equivariant.weights.coefficients[0].copy_(first.equivariant.weights._coefficients_of(0, mean[None, None]))
    first.free_weight.zero_()
    first.free_bias.zero_()
    x = random(6)
    generator = torch.Generator().manual_seed(0)

    def wrong(v):
        hidden = first(v, canonicalizer(v, generator))
        return second(hidden, canonicalizer(hidden, generator))

    def right(v):
        h = canonicalizer(v, generator)
        return second(first(v, h), h)

    def one(layer):
        return relaxed_error(lambda v: layer(v, canonicalizer(v, generator)), ring, ring, x)

    assert one(first) < 1e-9
    assert one(second) < 1e-9
    assert relaxed_error(wrong, ring, ring, x) > 0.1
    assert relaxed_error(right, ring, ring, x) < 1e-9


# ---------------------------------------------------------------------- training


def test_gradients_reach_both_lanes():
    rep = Representation.irreps(turned("D3h"), "1o+2e")
    model = RelaxedMLP(rep, rep, Representation.regular(rep.group)).double()
    x = fixed_vectors(rep, [rep.group.generate([3])]).expand(4, -1)
    model(x, generator=torch.Generator().manual_seed(0)).pow(3).sum().backward()
    for name, p in model.named_parameters():
        assert p.numel() == 0 or p.grad.abs().max() > 0, name
    h = torch.tensor([0, 3])
    assert torch.autograd.gradcheck(lambda v: model(v, h), random(2, 8).requires_grad_())


def test_a_target_that_the_equivariant_network_must_miss():
    # all nodes of a ring are alike, and one of the two alternating colourings is asked for
    ring = Representation.permutation(cyclic_group(6))
    x, y = torch.ones(1, 6), torch.tensor([[1.0, -1.0] * 3])
    torch.manual_seed(0)
    losses = {}
    for name, model in (("plain", EquivariantMLP(ring, ring)), ("relaxed", RelaxedMLP(ring, ring))):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(150):
            optimizer.zero_grad()
            out = model(x)
            loss = torch.minimum((out - y).square().mean(), (out + y).square().mean())
            loss.backward()
            optimizer.step()
        losses[name] = loss.item()
    assert losses["plain"] > 1 - 1e-5  # the mean of both colourings is zero
    assert losses["relaxed"] < 1e-3


def test_dtypes_shapes_and_loading():
    rep = Representation.irreps(turned("Oh"), "1o")
    model = RelaxedMLP(rep, 2 * rep, Representation.regular(rep.group))
    x = random(2, 5, 3)
    assert model(x.float()).shape == (2, 5, 6)
    assert model(x.float()[0, 0]).shape == (6,)
    assert model(x.float()[:0]).shape == (0, 5, 6)
    model = model.double()
    assert relaxed_error(model, rep, 2 * rep, x[0, 0]) < 1e-9
    other = RelaxedMLP(rep, 2 * rep, Representation.regular(rep.group)).double()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    other.reset_parameters()
    assert not torch.equal(other(x), model(x))


def test_whole_numbers_and_truth_values():
    for rep in (Representation.permutation(cyclic_group(3)), Representation.irreps(PointGroup("Oh"), "1o")):
        for canonicalizer in (FiniteCanonicalizer(rep), FiniteCanonicalizer(rep).double()):
            x = torch.tensor([[1, 0, 0], [1, 1, 1]])
            ties = canonicalizer.ties(x.to(canonicalizer.basis))
            for given in (x, x.int(), x.bool()):
                assert torch.equal(canonicalizer.ties(given), ties)
                assert canonicalizer(given).shape == (2,)


def test_errors_and_reprs():
    ring = Representation.permutation(cyclic_group(6))
    with pytest.raises(ValueError, match="representations of different groups"):
        RelaxedLinear(ring, Representation.permutation(cyclic_group(5)))
    with pytest.raises(ValueError, match="x has 5 coordinates, the representation 6"):
        FiniteCanonicalizer(ring).ties(torch.ones(5))
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="x has NaN or infinite coordinates"):
            FiniteCanonicalizer(ring)(torch.tensor([1.0, bad, 0, 0, 0, 0]))
    assert repr(RelaxedLinear(ring, ring)) == "RelaxedLinear(6, 6, bias=True)"
    assert repr(RelaxedMLP(ring, ring)) == "RelaxedMLP(6, 48, 48, 6)"
    assert repr(FiniteCanonicalizer(ring)) == "FiniteCanonicalizer(order=6, dim=6, tolerance=1e-05)"


# ---------------------------------------------------------------------- the transversal


def test_weights_over_a_transversal():
    ring = Representation.permutation(cyclic_group(6))
    x = torch.tensor([1.0, 2.0, 3.0] * 2, dtype=torch.float64)
    h = ring.stabilizer(x.numpy())
    t = transversal_subgroup(ring.group, h)
    assert (h, t) == ((0, 3), (0, 2, 4))
    small = ring.restrict(t)
    assert small.hom_dimension(small) == 12 > ring.hom_dimension(ring) == 6
    for model in (EquivariantLinear(small, small), EquivariantMLP(small, small)):
        model = perturbed(model)
        assert relaxed_error(model, ring, ring, x) < 1e-9
        assert breaking(model, ring, ring, x) > 1e-2
        assert relaxed_error(model, ring, ring, torch.ones(6, dtype=torch.float64)) < 1e-9  # more symmetric
        assert relaxed_error(model, ring, ring, random(6)) > 1e-2  # less: not what the weights were made for


def test_transversal_of_each_symmetry_of_a_prism():
    rep = Representation.irreps(turned("D3h"), "1o+2e")
    tried = 0
    for members in rep.group.subgroup_classes:
        x = fixed_vectors(rep, members[:1])[0]
        h = rep.stabilizer(x.numpy())
        t = transversal_subgroup(rep.group, h)
        model = perturbed(EquivariantLinear(rep.restrict(t), rep.restrict(t)))
        for v in torch.from_numpy(rep.matrices) @ x:
            assert relaxed_error(model, rep, rep, v) < 1e-9
        assert (breaking(model, rep, rep, x) > 1e-2) == (len(h) > 1)
        tried += 1
    assert tried >= 8


@pytest.mark.parametrize("kind", [EquivariantMLP, RelaxedMLP])
def test_irreps_without_a_group_are_refused(kind):
    with pytest.raises(TypeError, match="'1x1o' is not a Representation"):
        kind("1x1o", "1x1o")
