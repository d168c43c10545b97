"""Relaxations that are bounded, what they say on the way, and their picture."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from pyg_symbreak.distort import Relaxation, curvatures, distortions, relax
from pyg_symbreak.plot import plot_relaxation


def octahedron() -> Atoms:
    return Atoms("SF6", np.concatenate([np.zeros((1, 3)), 1.56 * np.eye(3), -1.56 * np.eye(3)]))


class Counted(LennardJones):
    count = 0

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.count += 1


def bounded(calls: int) -> tuple[Relaxation, int]:
    calculator = Counted()
    return relax(octahedron(), calculator, max_calls=calls), calculator.count


@pytest.mark.parametrize("calls", [13, 20, 60, 150])
def test_a_number_of_force_calls_is_kept_and_said(calls):
    """In the curvatures, in the first descent, later: all calls are accounted for, and what was found is there."""
    result, count = bounded(calls)
    assert result.calls == count == calls
    assert result.unfinished
    assert f"{calls} force calls; stopped there, unfinished: {result.unfinished}" in repr(result)
    assert result.to_dict()["unfinished"] == result.unfinished
    assert result.found[0].symmetry.schoenflies == "Oh"
    full = bounded(200)[0]
    assert [s.energy for s in result.found] == pytest.approx([s.energy for s in full.found][: len(result.found)])
    assert "stopped there" in plot_relaxation(result).get_title()


def test_what_is_cut_short_names_what_it_was():
    assert bounded(13)[0].unfinished.startswith("Oh: curvatures in ")
    assert bounded(60)[0].unfinished == "Oh along T1u, keeping C3v"


def test_too_few_calls_for_the_first_relaxation():
    with pytest.raises(RuntimeError, match=r"not relaxed after 5 force calls: raise max_calls"):
        relax(octahedron(), LennardJones(), max_calls=5)


def test_curvatures_are_those_that_relax_begins_with():
    line = Atoms("Cu3", [[0, 0, -2.3], [0, 0, 0], [0, 0, 2.3]])
    alone, first = curvatures(line, EMT()), relax(line, EMT(), generations=1).found[0]
    assert alone.curvatures == first.curvatures
    assert alone.unstable == ["Pi_u"]


def test_enough_calls_are_no_stop():
    line = Atoms("Cu3", [[0, 0, -2.3], [0, 0, 0], [0, 0, 2.3]])
    free = relax(line, EMT())
    assert free.unfinished is None
    assert relax(line, EMT(), max_calls=free.calls).unfinished is None
    assert relax(line, EMT(), max_calls=free.calls - 1).unfinished is not None


def test_progress_tells_what_was_found():
    lines: list[str] = []
    result = relax(Atoms("Cu3", [[0, 0, -2.3], [0, 0, 0], [0, 0, 2.3]]), EMT(), progress=lines.append)
    assert lines[0] == "0 force calls, 0 structures; relaxing with all of Dinfh"
    lowest = min(s.energy for s in result.found)
    assert f"2 structures, the lowest D3h at {lowest:.4f} eV; D3h: curvatures in E'" in lines[-1]
    counts = [int(line.split()[0]) for line in lines]
    assert counts == sorted(counts)


def test_progress_of_distortions():
    lines: list[str] = []
    found = distortions(octahedron(), progress=lines.append)
    irreps = dict.fromkeys(d.irrep for d in found)
    assert [line.split(",")[0] for line in lines[2:]] == list(irreps)
    assert lines[1] == "irreps of 48 operations on 7 rows of displacements"


def test_crystals_are_named_by_space_groups():
    result = relax(bulk("Cu", "sc", a=2.4).repeat((2, 1, 1)), EMT(), cell="symmetric", max_calls=80)
    assert result.found[0].symbol == "Pm-3m (221)"
    assert "Fm-3m (225)" in [s.symbol for s in result.found]
    assert result.to_dict()["found"][0]["space_group"] == {"number": 221, "symbol": "Pm-3m"}
    for d in result.descents[1:]:
        assert d.distortion.space_group is not None


def test_the_picture_shows_each_structure_and_how_it_was_found():
    result, _ = bounded(200)
    axes = plot_relaxation(result)
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == len(result.found)
    assert "0  Oh" in texts
    first = {}
    for d in result.descents[1:]:
        if d.found is not None:
            first.setdefault(d.found, d.distortion.irrep)
    for number, irrep in first.items():
        assert f"{number}  {result.found[number].symbol}, by {irrep}" in texts
    bars = [line for line in axes.lines if line.get_linewidth() == 3 and len(line.get_ydata())]
    energies = [s.energy - result.found[0].energy for s in result.found]
    np.testing.assert_allclose([bar.get_ydata()[0] for bar in bars], energies)
    columns = [round(np.mean(bar.get_xdata())) for bar in bars]
    assert columns[0] == 0
    for number in first:
        parent = next(d.parent for d in result.descents if d.found == number)
        assert columns[number] == columns[parent] + 1
    places = {int(text.get_text().split()[0]): text.xy for text in axes.texts}
    for number, (column, height) in places.items():  # above their bars, and apart
        assert column == columns[number]
        assert energies[number] < height < axes.get_ylim()[1]
        others = [h for k, (c, h) in places.items() if k != number and c == column]
        assert min((abs(height - h) for h in others), default=1) > 0.03 * np.ptp(energies)
    legend = {text.get_text() for text in axes.get_legend().get_texts()}
    assert legend == {s.kind for s in result.found}
