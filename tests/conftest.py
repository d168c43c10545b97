"""What all tests share."""

import pytest
import torch


@pytest.fixture
def double():
    """Float64 as torch's default dtype, to which e3nn rounds its constants when a module is made."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def pytest_terminal_summary(terminalreporter):
    """Show the registers that the kernels take when compiled ahead of time."""
    reports = terminalreporter.stats.get("passed", [])
    lines = [line for r in reports for line in getattr(r, "capstdout", "").splitlines() if line.endswith("registers")]
    if lines:
        terminalreporter.section("kernels compiled for sm_90, without spills")
        for line in lines:
            terminalreporter.line(line)
