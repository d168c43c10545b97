"""The check of relaxed equivariance: functions that must pass and those that must fail."""

import pytest
import torch
from testing_models import randn

from pyg_symbreak.testing import relaxed_equivariance_error

TURNS = [torch.roll(torch.eye(6, dtype=torch.float64), k, 0) for k in range(6)]  # C_6 on R^6


def stabilizer(x: torch.Tensor) -> list[torch.Tensor]:
    return [g for g in TURNS if torch.equal(g @ x, x)]


def with_canonical_weights(weights: torch.Tensor):
    """x -> h W h^-1 x, where h carries the lexicographically least turn of x, found first of equals, to x."""

    def layer(x: torch.Tensor) -> torch.Tensor:
        h = min(TURNS, key=lambda g: [round(v, 9) for v in (g.T @ x).tolist()])
        return h @ weights @ h.T @ x

    return layer


INPUTS = [
    torch.tensor(x).double()
    for x in ([1, 2, 3, 4, 5, 7], [1, 2, 3, 1, 2, 3], [1, 2, 1, 2, 1, 2], [1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0])
]


@pytest.mark.parametrize("x", INPUTS, ids=str)
def test_relaxed_layer(x):
    layer = with_canonical_weights(randn(6, 6))
    error, broken = relaxed_equivariance_error(layer, x, TURNS, stabilizer(x))
    assert error < 1e-14
    assert broken == 0 if len(stabilizer(x)) == 1 else broken > 0.1


@pytest.mark.parametrize("x", INPUTS, ids=str)
def test_equivariant_is_relaxed_and_breaks_nothing(x):
    circulant = sum(w * g for w, g in zip(randn(6), TURNS, strict=True))
    error, broken = relaxed_equivariance_error(lambda v: (circulant @ v).tanh(), x, TURNS, stabilizer(x))
    assert max(error, broken) < 1e-14


@pytest.mark.parametrize("x", INPUTS[:3], ids=str)
def test_what_is_not_relaxed(x):
    weights = randn(6, 6)
    assert relaxed_equivariance_error(lambda v: weights @ v, x, TURNS, stabilizer(x)).error > 0.1
    if len(stabilizer(x)) > 1:  # equality up to the symmetry of x is all that a relaxed layer gives
        assert relaxed_equivariance_error(with_canonical_weights(weights), x, TURNS, TURNS[:1]).error > 0.1


def test_two_relaxed_layers_need_not_be_relaxed():
    mean, weights = torch.full((6, 6), 1 / 6, dtype=torch.float64), randn(6, 6)
    first, second = with_canonical_weights(mean), with_canonical_weights(weights)
    x = INPUTS[0]
    constant = first(x)
    for layer, v in ((first, x), (second, x), (second, constant.round(decimals=12))):
        assert relaxed_equivariance_error(layer, v, TURNS, stabilizer(v)).error < 1e-14
    # the mean has all symmetry, and what is chosen from it knows no more of x
    assert relaxed_equivariance_error(lambda v: second(first(v)), x, TURNS, stabilizer(x)).error > 0.1
    # an equivariant layer after a relaxed one is safe, as is the canonical element of x carried along
    circulant = sum(w * g for w, g in zip(randn(6, seed=1), TURNS, strict=True))
    for v in INPUTS:
        assert relaxed_equivariance_error(lambda u: circulant @ second(u), v, TURNS, stabilizer(v)).error < 1e-14
        both = with_canonical_weights(weights @ mean)
        assert relaxed_equivariance_error(both, v, TURNS, stabilizer(v)).error < 1e-14


def test_elements_and_actions_of_any_kind():
    """Turning a square of points by permutations: from a set of positions to one vector."""
    corners = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]).double()
    quarter = torch.tensor([[0.0, -1], [1, 0]]).double()
    act_in = lambda k, x: x.roll(k, 0)  # noqa: E731
    act_out = lambda k, y: torch.linalg.matrix_power(quarter, k) @ y  # noqa: E731
    x = torch.tensor([2.0, 1, 2, 1]).double()
    to_a_largest = lambda v: corners[v.argmax()]  # noqa: E731
    error, broken = relaxed_equivariance_error(to_a_largest, x, range(4), [0, 2], act_in, act_out)
    assert error < 1e-15
    assert broken == 2
    weighted = lambda v: v @ corners  # noqa: E731
    y = torch.tensor([2.0, 1, 1, 1]).double()
    assert relaxed_equivariance_error(weighted, y, range(4), [0], act_in, act_out) == (0, 0)


def test_errors_of_relaxed():
    with pytest.raises(ValueError, match="stabilizer must hold"):
        relaxed_equivariance_error(lambda v: v, INPUTS[0], TURNS, TURNS)
    with pytest.raises(ValueError, match="output is zero"):
        relaxed_equivariance_error(lambda v: 0 * v, INPUTS[3], TURNS, TURNS)
