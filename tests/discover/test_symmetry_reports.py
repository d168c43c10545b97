"""Networks that were broken on purpose are told so, and sound ones are not; fewer than the benchmark tries."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from ase.build import molecule

from pyg_symbreak.discover import symmetry_report
from pyg_symbreak.structures import from_ase

BROKEN = [
    "pseudovectors given for forces",
    "z mirrored in one layer",
    "y, z, x in one layer",
    "edges cut at 2.2 Å, envelope at 3 Å",
    "a vector of the laboratory",
    "absolute positions",
]
SOUND = [
    "GatedNetwork, object to degree 2",
    "BreakingEdgeInvariants, SchNet, forces",
    "GroupConv of Td, splines",
    "EncodeProcessDecode",
]


@pytest.fixture(scope="module")
def benchmark_of_reports():
    path = Path(__file__).parents[2] / "benchmarks/symmetry_reports.py"
    spec = importlib.util.spec_from_file_location("symmetry_reports", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["symmetry_reports"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module.cases(), module.structures()[:1]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_on_purpose(benchmark_of_reports, name):
    cases, structures = benchmark_of_reports
    faults = cases[name].report(structures, degree=0).faults
    assert len(faults) == 1
    assert cases[name].fault in faults[0]


@pytest.mark.parametrize("name", SOUND)
def test_sound(benchmark_of_reports, name):
    cases, structures = benchmark_of_reports
    report = cases[name].report(structures, degree=0)
    assert report.faults == []
    assert report.generators.dimension == (3 if cases[name].group else 6)


def test_objects_on_symmetric_molecules_are_no_fault():
    """Of ammonia's own elements those that move the object are not asked of the output."""
    ammonia = from_ase(molecule("NH3"), dtype=torch.float64)
    ammonia.polar = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)  # one mirror, or none, keeps it
    report = symmetry_report(lambda d: d.pos - d.pos.mean(0) + d.polar, [ammonia], "1o", {"polar": "1o"}, degree=0)
    (errors,) = report.own.values()
    assert "identity" in errors
    assert len(errors) <= 2
    assert max(errors.values()) < 1e-6
    assert report.faults == []


def test_linear_molecules_and_float32():
    structures = [from_ase(molecule(name), dtype=torch.float32) for name in ("HCN", "CO2", "H2O")]
    report = symmetry_report(lambda d: d.z[:, None] * (d.pos - d.pos.mean(0)), structures, "1o", degree=1)
    assert report.faults == []
    assert report.generators.dimension == 6
    assert list(report.own) == ["0 (Cinfv)", "1 (Dinfh)", "2 (C2v)"]
    assert max(error for errors in report.own.values() for error in errors.values()) < 1e-5
    aside = symmetry_report(lambda d: d.pos - d.pos.mean(0) + torch.eye(3)[0], structures[:1], "1o", degree=0)
    assert aside.own["0 (Cinfv)"]["about the axis"] > 0.1
