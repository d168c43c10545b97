"""What all tests share."""


def pytest_terminal_summary(terminalreporter):
    """Show the registers that the kernels take when compiled ahead of time."""
    reports = terminalreporter.stats.get("passed", [])
    lines = [line for r in reports for line in getattr(r, "capstdout", "").splitlines() if line.endswith("registers")]
    if lines:
        terminalreporter.section("kernels compiled for sm_90, without spills")
        for line in lines:
            terminalreporter.line(line)
