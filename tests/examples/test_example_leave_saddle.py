"""Leaving the saddle: what the example claims, run through its own functions."""

import json

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import read

from pyg_symbreak.detect import detect_symmetry

EXAMPLE = "leave_saddle"


@pytest.mark.parametrize(
    ("name", "symmetry"),
    [("Cu13, cuboctahedron", "Oh"), ("Cu4, square", "D4h"), ("Cu7, flat", "D6h"), ("O on Cu(100)", "C4v")],
)
def test_structures_are_as_symmetric_as_they_look(example, name, symmetry):
    assert detect_symmetry(example.STRUCTURES[name]()).group.schoenflies == symmetry


def test_example(example, tmp_path, monkeypatch):
    for name in ("Cu7, flat", "O on Cu(100)"):
        monkeypatch.delitem(example.STRUCTURES, name)
    timelines = []
    whole = example.timeline
    monkeypatch.setattr(example, "timeline", lambda result: timelines.append((result, whole(result))) or whole(result))
    example.main(out=tmp_path)
    cluster, square = json.loads((tmp_path / "metrics.json").read_text())["structures"]
    assert (cluster["BFGS stays in"], cluster["unstable in"], cluster["minima"]) == ("Oh", "A2g", "Ih")
    assert (square["BFGS stays in"], square["unstable in"], square["minima"]) == ("D4h", "B1g, B2u", "Td")
    for number, row in enumerate((cluster, square)):
        frames = read(tmp_path / f"structure_{number}.extxyz", index=":")
        energies = []
        for frame in frames:  # what was written is stationary
            frame.calc = EMT()
            energies.append(frame.get_potential_energy())
            assert np.linalg.norm(frame.get_forces(), axis=1).max() <= example.FMAX
        assert energies[0] - min(energies) == pytest.approx(row["lower by (eV)"])
        assert row["lower by (eV)"] >= row["rattled: lower by (eV)"] - 1e-3
    for result, (curvatures, descents) in timelines:  # every force call has its place
        calls = sorted([*curvatures, *((start, len(energies)) for start, energies in descents)])
        assert [start for start, _ in calls] == [sum(n for _, n in calls[:i]) for i in range(len(calls))]
        assert sum(n for _, n in calls) == result.calls
    assert (tmp_path / "leave_saddle.png").stat().st_size > 10_000


def test_methane_cation(example):
    pytest.importorskip("pyscf")
    ion = example.cation("CH4", example.CATIONS["CH4"], generations=1)
    assert ion.found[0].symmetry.schoenflies == "Td"
    assert ion.found[0].unstable == ["E", "T2"]  # those that are Jahn-Teller active in a T2 state
    lowest = min(ion.found, key=lambda s: s.energy)
    assert lowest.symmetry.schoenflies == "C2v"
