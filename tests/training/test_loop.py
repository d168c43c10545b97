"""The training loop against torch's optimizers, called by hand."""

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from pyg_symbreak.training import fit

X = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()


@pytest.mark.parametrize("clip", [None, 0.01])
def test_adam_with_a_schedule(clip):
    ours, by_hand = network(), network()
    found = fit(
        ours,
        lambda step: (ours(X) - X**2 * (step % 3)).square().mean(),
        20,
        0.03,
        schedule=lambda optimizer: CosineAnnealingLR(optimizer, 20),
        clip=clip,
    )
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.03)
    schedule = CosineAnnealingLR(optimizer, 20)
    losses = []
    for step in range(20):
        loss = (by_hand(X) - X**2 * (step % 3)).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            norm = torch.stack([p.grad.square().sum() for p in by_hand.parameters()]).sum().sqrt()
            for p in by_hand.parameters():
                p.grad *= min(1.0, clip / (norm.item() + 1e-6))  # as torch does
        optimizer.step()
        schedule.step()
    assert found == pytest.approx(losses, rel=1e-12)
    for mine, other in zip(ours.parameters(), by_hand.parameters(), strict=True):
        assert (mine - other).abs().max() < 1e-12


def test_polishing_ends_where_the_gradient_does():
    """Of an even function an odd network makes its mean at best: the residual is the variance."""
    model = nn.Linear(1, 1).double()
    target = X**2
    losses = fit(model, lambda step: (model(X) - target).square().mean(), 30, polish=50)
    assert len(losses) == 31
    assert losses[-1] == pytest.approx(float(target.var(correction=0)), abs=1e-12)
    assert losses[-1] <= losses[-2]
    gradient = torch.autograd.grad((model(X) - target).square().mean(), list(model.parameters()))
    assert max(float(g.abs().max()) for g in gradient) < 1e-8


def test_answers_that_are_gradients():
    """Forces are derivatives of an energy: the loss needs gradients at the end as well."""
    energy = network()

    def loss(step: int) -> torch.Tensor:
        x = X.clone().requires_grad_()
        force = -torch.autograd.grad(energy(x).sum(), x, create_graph=True)[0]
        return (force + 2 * X).square().mean()

    losses = fit(energy, loss, 20, polish=100)
    assert losses[-1] < 1e-3 < losses[0]


def test_imported_twice():
    from pyg_symbreak.training import fit as again

    assert again is fit
    assert callable(again)
