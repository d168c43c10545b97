import math

import numpy as np
import pytest
import torch

from pyg_symbreak.discover import (
    TransformationVAE,
    density_distance,
    fit_generator,
    gram_symmetry,
    learn_orbit,
    log_evidence,
    orbit_penalty,
)
from pyg_symbreak.groups import LieGroup, PointGroup


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------ generators of pairs


def shifted(pairs, nodes, band, reach, seed=0):
    """Signals of some band on a ring, their images under shifts, the shifts, and the derivative on that band."""
    k = torch.fft.fftfreq(nodes, 1 / nodes).double()
    derivative = torch.fft.ifft(
        (2j * torch.pi * k / nodes)[:, None] * torch.fft.fft(torch.eye(nodes).cdouble(), dim=0), dim=0
    )
    inside = (torch.fft.ifft((k.abs() <= band)[:, None] * torch.fft.fft(torch.eye(nodes).cdouble(), dim=0), dim=0)).real
    x = normal(pairs, nodes, seed=seed) @ inside.T
    z = reach * (2 * torch.rand(pairs, generator=torch.Generator().manual_seed(seed)).double() - 1)
    spectrum = torch.fft.fft(x) * torch.exp(2j * torch.pi * k / nodes * z[:, None])
    return x, torch.fft.ifft(spectrum).real, z, (derivative @ inside.cdouble()).real


def test_shifts_are_the_derivative():
    x, images, z, derivative = shifted(120, 11, 3, 1.5)
    fit = fit_generator(x, images, steps=200)
    scale = (fit.generators[0] * derivative).sum() / fit.generators[0].square().sum()
    assert (scale * fit.generators[0] - derivative).norm() < 1e-4 * derivative.norm()
    assert (fit.sizes[:, 0] / scale - z).abs().max() < 1e-3
    assert fit.error < 1e-4
    torch.testing.assert_close(fit.sizes.std(0, correction=0), torch.ones(1).double())
    torch.testing.assert_close(fit.transform(x, fit.sizes), images, rtol=0, atol=1e-3)


@pytest.mark.parametrize("seed", [0, 7])
def test_false_minima_are_left(seed):
    """From its first guess alone the fit ends at an error above 0.1 here."""
    x, images, _, derivative = shifted(80, 11, 3, 2.0, seed)
    fit = fit_generator(x, images, steps=200)
    scale = (fit.generators[0] * derivative).sum() / fit.generators[0].square().sum()
    assert fit.error < 1e-5
    assert (scale * fit.generators[0] - derivative).norm() < 1e-4 * derivative.norm()


def test_shifts_with_noise():
    x, images, z, derivative = shifted(200, 11, 3, 1.5)
    fit = fit_generator(
        x + 0.01 * normal(200, 11, seed=1), images + 0.01 * normal(200, 11, seed=2), noise=0.05, steps=100
    )
    scale = (fit.generators[0] * derivative).sum() / fit.generators[0].square().sum()
    assert (scale * fit.generators[0] - derivative).norm() < 0.03 * derivative.norm()
    assert (fit.sizes[:, 0] / scale - z).square().mean().sqrt() < 0.03


def test_two_generators_span_the_turns_of_two_planes():
    x = normal(300, 4)
    z = 0.8 * normal(300, 2, seed=1)
    turns = torch.zeros(2, 4, 4).double()
    turns[0, 0, 1], turns[0, 1, 0], turns[1, 2, 3], turns[1, 3, 2] = -1, 1, -1, 1
    images = torch.einsum("pij,pj->pi", torch.linalg.matrix_exp(torch.einsum("pk,kij->pij", z, turns)), x)
    fit = fit_generator(x, images, rank=2)
    assert fit.error < 1e-3
    basis = torch.linalg.qr(turns.flatten(1).T)[0]
    found = fit.generators.flatten(1).T
    assert (found - basis @ basis.T @ found).norm() < 3e-3 * found.norm()


def test_pairs_that_are_no_pairs():
    with pytest.raises(ValueError, match="same shape"):
        fit_generator(normal(5, 3), normal(5, 4))
    with pytest.raises(ValueError, match="too few"):
        fit_generator(normal(3, 12), normal(3, 12))


# ------------------------------------------------------------------ evidence


def test_evidence_is_that_of_the_normal_law():
    """Without the group, against scipy's density at the parameters that scipy's optimizer finds."""
    from scipy.optimize import minimize
    from scipy.stats import multivariate_normal

    x = normal(25, 2)
    y = (x[:, 0] + 0.1 * normal(25, seed=1)).numpy()
    y = (y - y.mean()) / y.std()
    squared = ((x[:, None] - x[None]) ** 2).sum(2).numpy()

    def negative(p):
        cov = np.exp(p[1]) * np.exp(-squared / (2 * np.exp(p[0]))) + (np.exp(p[2]) + 1e-6) * np.eye(25)
        return -multivariate_normal(cov=cov, allow_singular=True).logpdf(y)

    best = min(minimize(negative, [s, 0, -3], method="Nelder-Mead", options={"maxiter": 2000}).fun for s in (-1, 1, 3))
    found = log_evidence(LieGroup.rotations(2), x, torch.from_numpy(y))
    assert found.none == pytest.approx(-best, abs=0.2)


def test_verdicts():
    x = normal(40, 2)
    radius, angle = x.norm(dim=1), torch.atan2(x[:, 1], x[:, 0])
    verdicts = [
        log_evidence(LieGroup.rotations(2), x, y + 0.05 * normal(40, seed=1)).verdict
        for y in ((3 * radius).sin(), angle.sin(), (3 * radius).sin() + 0.6 * angle.sin())
    ]
    assert verdicts == ["invariant", "broken", "partly"]


@pytest.mark.parametrize(("odd", "sign"), [(0.15, 1), (1.0, -1)])
def test_the_bound_is_below_the_evidence_and_tells_the_same(odd, sign):
    x = normal(60, 3)
    y = (3 * x[:, 2]).cos() + x[:, 0] * x[:, 2].square() + odd * (2 * x[:, 2]).sin() + 0.1 * normal(60, seed=1)
    exact, bound = log_evidence(PointGroup("Cs"), x, y), log_evidence(PointGroup("Cs"), x, y, tolerance=1.0)
    for law in ("none", "learned", "full"):
        assert getattr(exact, law) - 1 < getattr(bound, law) <= getattr(exact, law) + 1e-3
    assert np.sign(exact.full - exact.none) == np.sign(bound.full - bound.none) == sign
    assert exact.verdict == bound.verdict == "partly"


def test_inducing_points_are_where_the_data_are():
    """Thirty places told five times each: as many inducing points as places bring the bound to the evidence."""
    places = normal(30, 3)
    x = places.repeat_interleave(5, 0) + 1e-3 * normal(150, 3, seed=1)
    y = (2 * x[:, 2]).sin() + 0.3 * x[:, 0] + 0.1 * normal(150, seed=2)
    mirror = PointGroup("Cs")
    exact, bound = log_evidence(mirror, x, y), log_evidence(mirror, x, y, tolerance=np.inf)  # never more than 32
    assert exact.none - 1 < bound.none <= exact.none + 1e-3
    assert exact.full - 1 < bound.full <= exact.full + 1e-3


def test_chirality_of_molecules():
    species = torch.tensor([6, 1, 9, 17, 35])
    frame = torch.tensor([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]]).double()
    hands = torch.randint(2, (40,), generator=torch.Generator().manual_seed(0)) * 2 - 1
    x = frame * hands[:, None, None] + 0.15 * normal(40, 5, 3)
    distance = density_distance(species)
    torch.testing.assert_close(distance(x, x).diagonal(), torch.zeros(40).double(), atol=1e-12, rtol=0)
    handed = log_evidence(PointGroup("Ci"), x, hands.double() + 0.1 * normal(40, seed=1), distance)
    assert handed.verdict == "broken"
    lengths = (x[:, 1] - x[:, 0]).norm(dim=1)
    assert log_evidence(PointGroup("Ci"), x, lengths, distance).full > handed.full


def test_distances_and_labels_that_do_not_do():
    x = normal(20, 2)
    with pytest.raises(ValueError, match="distance changes"):
        log_evidence(LieGroup.rotations(2), x, x[:, 0], lambda a, b: (a[:, None, 0] - b[None, :, 0]).square())
    with pytest.raises(ValueError, match="distance changes"):  # the first element of a point group is the identity
        log_evidence(
            PointGroup("Ci"), normal(20, 3), x[:, 0], lambda a, b: (a[:, None, 0] - b[None, :, 0].abs()).square()
        )
    with pytest.raises(ValueError, match="not be constant"):
        log_evidence(LieGroup.rotations(2), x, torch.ones(20))


# ------------------------------------------------------------------ orbits


def test_penalty_vanishes_on_orbits_only():
    template = normal(6)
    orbit = torch.stack([template.roll(i) for i in range(6)])
    turned = orbit @ torch.linalg.qr(normal(6, 6, seed=1))[0]
    assert orbit_penalty(turned) < 1e-26
    assert orbit_penalty(normal(6, 6)) > 0.1
    m = normal(6, 6)
    rows = np.sort((m @ m.T).numpy(), axis=1)
    brute = np.mean([((a - b) ** 2).sum() for a in rows for b in rows])
    assert float(orbit_penalty(m)) == pytest.approx(brute)


def test_gram_symmetry():
    template = normal(5)
    assert gram_symmetry(torch.stack([template.roll(i) for i in range(5)])).order == 10  # dihedral: products are even
    assert gram_symmetry(torch.eye(4)).order == 24
    assert gram_symmetry(normal(5, 5)).order == 1
    noisy = torch.stack([template.roll(i) for i in range(5)]) + 1e-3 * normal(5, 5, seed=1)
    assert gram_symmetry(noisy).order == 10


def test_dictionaries_come_nearer_to_orbits():
    template = normal(6)
    shifts = torch.randint(6, (40,), generator=torch.Generator().manual_seed(1)).tolist()
    x = torch.stack([template.roll(i) for i in shifts]) + 0.3 * normal(40, 6, seed=2)
    plain, pulled = (learn_orbit(x, 6, weight, steps=600) for weight in (0.0, 1.0))
    assert orbit_penalty(pulled) < 0.2 * orbit_penalty(plain)


# ------------------------------------------------------------------ latent transformations


def test_transformations_of_the_group_compose():
    torch.manual_seed(0)
    w, other = torch.randn(2, 16)
    model = TransformationVAE(5, 2)
    assert model.composition_error(w, other) < 1e-5
    z = torch.randn(16, 8)
    torch.testing.assert_close(model.transform(z, w).norm(dim=1), z.norm(dim=1))
    assert model.group.dimension == 1
    assert TransformationVAE(5, 2, action="free").composition_error(w, other) > 0.01


def test_rotations_of_a_cloud_are_learned():
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    model = TransformationVAE(4, 2, latent=4, hidden=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def views(n):
        cloud = torch.tensor([[1.0, 0], [0, 0.5], [-1, 0.3], [0.2, -1]]) + 0.2 * torch.randn(n, 4, 2, generator=g)
        a = math.pi / 2 * (torch.rand(2, n, generator=g) - 0.5)
        turn = torch.stack([a.cos(), -a.sin(), a.sin(), a.cos()], -1).view(2, n, 2, 2)
        return torch.einsum("vnij,naj->vnai", turn, cloud), a[1] - a[0]

    def loss():
        return model.loss(*views(64)[0], g)

    first = loss().item()
    for _ in range(300):
        optimizer.zero_grad()
        last = loss()
        last.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    assert last.item() < 0.2 * first
    (x, other), angles = views(64)
    with torch.no_grad():
        w = model.infer(x, other, reach=4.0)
    assert abs(np.corrcoef(w.numpy(), angles.numpy())[0, 1]) > 0.9


def test_model_without_transformations():
    model = TransformationVAE(5, 2, action="none")
    with pytest.raises(ValueError, match="no transformations"):
        model.matrices(torch.ones(1))
    with pytest.raises(ValueError, match="action"):
        TransformationVAE(5, 2, action="affine")
