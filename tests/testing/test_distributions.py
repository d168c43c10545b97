"""The p-values: uniform where the distributions are equal, small where they are not."""

import pytest
import torch
from testing_models import randn, seeded

from pyg_symbreak.testing import equality_p_value, uniformity_p_value


def test_p_values_of_what_is_uniform_are_uniform():
    """Over many samples of a fair die a p-value below 0.1 comes once in ten times."""
    dice = torch.randint(6, (400, 600, 1), generator=seeded())
    p = torch.tensor([uniformity_p_value(die, torch.arange(6)[:, None]) for die in dice])
    for level in (0.1, 0.5, 0.9):
        assert abs(float((p < level).double().mean()) - level) < 0.06


def test_p_values_of_what_is_not_uniform():
    answers = randn(4, 3)
    fair = torch.randint(4, (10_000,), generator=seeded())
    assert uniformity_p_value(answers[fair] + 1e-9, answers) > 0.01
    loaded = torch.where(torch.rand(10_000, generator=seeded()) < 0.05, 0, fair)
    assert uniformity_p_value(answers[loaded], answers) < 1e-4
    assert uniformity_p_value(answers[fair % 3], answers) < 1e-4
    assert uniformity_p_value(answers[fair], answers[:3]) == 0  # a draw is none of the answers
    with pytest.raises(ValueError, match="19 draws are too few for 4 answers"):
        uniformity_p_value(answers[fair[:19]], answers)
    with pytest.raises(ValueError, match="two answers are equal"):
        uniformity_p_value(answers[fair], answers[[0, 1, 1]])
    with pytest.raises(ValueError, match="draws have shape"):
        uniformity_p_value(answers[fair, :2], answers)


def test_p_values_of_equal_distributions_are_uniform():
    samples = torch.randn(150, 60, 2, generator=seeded())
    p = torch.tensor([equality_p_value(a[:30], a[30:], permutations=99, generator=seeded()) for a in samples])
    for level in (0.1, 0.5, 0.9):
        assert abs(float((p <= level).double().mean()) - level) < 0.1


def test_equality_sees_means_spreads_and_dependence():
    """Two samples with the same marginals but another correlation differ."""
    a, b = torch.randn(2, 300, 2, generator=seeded(1))
    turned = b @ torch.tensor([[1.0, 0.8], [0, 0.6]])
    for other, same in [(b, True), (b + 0.5, False), (2 * b, False), (turned, False)]:
        assert (equality_p_value(a, other, generator=seeded()) > 0.01) == same
    steps = torch.randint(3, (2, 300, 1), generator=seeded())  # discrete ones too
    assert equality_p_value(steps[0], steps[1], generator=seeded()) > 0.01
    assert equality_p_value(steps[0], steps[1].clamp(max=1), generator=seeded()) < 0.01
    with pytest.raises(ValueError, match="shapes"):
        equality_p_value(a, b[:, :1])
