"""The check of an installation: passes here, notices what is broken, and says which optional parts are there."""

import importlib.metadata

import pytest

from pyg_symbreak import selftest


@pytest.mark.parametrize("check", selftest.CHECKS, ids=lambda check: check.__name__)
def test_claims_hold(check):
    said, holds = check()
    assert holds, said
    assert check.__doc__.endswith(".")


def test_a_claim_that_does_not_hold_is_noticed(monkeypatch, capsys):
    def false() -> tuple[str, bool]:
        """Two is three."""
        return "2", False

    def broken() -> tuple[str, bool]:
        """It runs."""
        raise ImportError("no such library")

    monkeypatch.setattr(selftest, "CHECKS", (selftest.sets_are_small, false, broken))
    assert selftest.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert "FAILS  Two is three. [2]" in lines
    assert "FAILS  It runs. [ImportError: no such library]" in lines
    assert any(line.startswith("1 of 3 claims hold") for line in lines)
    monkeypatch.setattr(selftest, "CHECKS", (selftest.sets_are_small,))
    assert selftest.main() == 0


def test_optional_parts(monkeypatch):
    found = selftest.optional_parts()
    assert found["lightning"] == importlib.metadata.version("lightning")
    monkeypatch.setattr(selftest, "OPTIONAL", {"no-such-package-here": "nothing"})
    assert selftest.optional_parts() == {"no-such-package-here": None}


def test_an_implementation_that_differs_is_noticed(monkeypatch):
    real = selftest.orbit_reduce

    def reduce(x, orbits, kind, method):
        return real(x, orbits, kind, method="torch") + (method == "triton")

    monkeypatch.setattr(selftest, "orbit_reduce", reduce)
    with pytest.raises(AssertionError, match="triton differs from torch by 1e\\+00"):
        selftest._reductions_agree()
