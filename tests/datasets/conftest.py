"""Graphs in float64, for the files of tests that ask for it."""

import pytest
import torch


@pytest.fixture
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
