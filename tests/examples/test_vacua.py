"""Two vacua: quadrature against enumeration, the bound against its definition, and flows beside both."""

import json

import numpy as np
import pytest
import torch

from pyg_symbreak.flows import log_partition

EXAMPLE = "vacua"


def test_transfer_matrix_against_a_grid_of_all_nodes(example):
    exact = example.Exact()
    at = torch.linspace(-3.2, 3.2, 25)
    fields = torch.cartesian_prod(*[at] * 4)[..., None]
    z = (-example.action(fields)).exp().sum() * (6.4 / 24) ** 4
    assert z.log().item() == pytest.approx(exact.log_z, abs=1e-3)
    x = exact.sample(20_000, torch.Generator().manual_seed(0))
    mean = ((-example.action(fields)).exp() * (fields[:, 0] * fields[:, 1])[:, 0]).sum() * (6.4 / 24) ** 4 / z
    product = (x[:, 0] * x[:, 1])[:, 0]
    assert abs(product.mean() - mean) < 4 * product.std() / 20_000**0.5


def pool(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Isotonic regression, increasing, by pooling adjacent violators."""
    blocks: list[list[float]] = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            v, w, n = blocks.pop()
            u, x, m = blocks.pop()
            blocks.append([(u * x + v * w) / (x + w), x + w, m + n])
    return np.concatenate([np.full(int(n), v) for v, _, n in blocks])


def test_the_bound_is_isotonic_regression_along_rays(example):
    u = torch.randn(40, 4, 1, generator=torch.Generator().manual_seed(0))
    u = u / u.norm(dim=1, keepdim=True)
    r = (torch.arange(2000) + 0.5) / 2000 * 5
    found = example.flattened(u[..., 0], points=2000)
    for ray, value in zip(u, found, strict=True):
        actions = example.action(r[:, None, None] * ray).numpy()
        flat = pool(actions, r.numpy() ** 3)
        assert (np.diff(flat) >= 0).all()
        assert (np.exp(-flat) * r.numpy() ** 3).sum() * 5 / 2000 == pytest.approx(value.item(), rel=1e-3)
    assert example.one_mode_bound() == pytest.approx(example.one_mode_bound(27), abs=1e-3)
    assert example.one_mode_bound() > -example.Exact().log_z + 0.2


@pytest.mark.parametrize("seed", range(2))
def test_one_mode_falls_along_rays_and_stays_above_the_bound(example, seed):
    torch.manual_seed(seed)
    flow = example.OneMode()
    torch.nn.init.normal_(flow.weights)
    torch.nn.init.normal_(flow.linear, std=0.2)
    flow.linear.data += torch.eye(4)
    with torch.no_grad():
        # The density in z-space coordinates y = g(z) is a product: each factor falls with |z|.
        at = torch.linspace(0, 5, 200)[:, None].expand(-1, 4)
        w = torch.nn.functional.softplus(flow.weights)
        slope = (w * (-at.new_tensor(flow.SHAPES) * at[..., None] ** 2 / 2).exp()).sum(-1)
        assert ((-at * at / 2 - slope.log()).diff(dim=0) <= 1e-12).all()
        x, log_prob = flow.sample(4000)
        loss = (log_prob + example.action(x)).mean()
        assert loss > example.one_mode_bound(20)
        inside = log_partition(-(x**2).sum((1, 2)) / 2 - log_prob)  # a density: it integrates a normal law
        assert abs(inside.value - 2 * np.log(2 * np.pi)) < 5 * inside.error + 0.05


def test_example(example, tmp_path):
    example.main(out=tmp_path, seeds=1, steps=4, samples=500)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics["runs"]) == ["one mode", "odd, deep", "one vacuum", "mixture", "on samples"]
    assert metrics["runs"]["one mode"][0]["loss"] > metrics["bound"] > -metrics["log_z"]
    assert (tmp_path / "vacua.png").stat().st_size > 10_000
    assert len((tmp_path / "table.md").read_text().splitlines()) == 7
