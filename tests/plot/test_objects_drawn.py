"""Pictures of objects show each where it is."""

import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.patches import Circle, Ellipse
from scipy.spatial.transform import Rotation

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.plot import plot_objects
from pyg_symbreak.plot._canvas import PALETTE
from pyg_symbreak.plot.objects import _summits

FROM_ABOVE = (0.0, 0.0, 1.0)


def ends(axes) -> np.ndarray:
    return np.array([arrow.xy for arrow in axes.texts if arrow.get_text() == ""])


@pytest.mark.parametrize("turned", [False, True])
def test_arrows_end_where_the_objects_are(turned):
    """Seen from above, with x to the right and y up."""
    group = PointGroup("Oh").rotated(Rotation.random(random_state=0).as_matrix() if turned else np.eye(3))
    found = breaking_set(group, keep="C4v")
    axes = plot_objects(found, direction=FROM_ABOVE)
    assert axes.get_xlim() == axes.get_ylim() == (-axes.get_xlim()[1], axes.get_xlim()[1])
    shown = ends(axes)
    assert len(shown) == 6
    assert np.abs(shown - found.objects.numpy()[:, :2]).max() < 1e-9


def test_lobes_of_a_tensor_and_of_the_octupole():
    along_z = [(d, s) for d, s in _summits(2, np.array([0, 0, 1.0, 0, 0]))]
    # e3nn's l = 2 has y as its main axis
    assert sorted(round(float(d[1])) for d, _ in along_z) == [-1, 1]
    assert all(s == 1 for _, s in along_z)
    assert all(s == -1 for _, s in _summits(2, np.array([0, 0, -1.0, 0, 0])))
    octupole = _summits(3, np.array([0, 1.0, 0, 0, 0, 0, 0]))  # xyz
    assert len(octupole) == 8
    for d, s in octupole:
        assert np.abs(np.abs(d) - 3**-0.5).max() < 0.05
        assert s == np.sign(d.prod())


def test_what_is_drawn_of_each_kind():
    signs = plot_objects(breaking_set(PointGroup("Ci")))
    discs = {a.center[0]: a.get_facecolor() for a in signs.get_children() if isinstance(a, Circle)}
    colors = {text.get_text(): discs[text.get_position()[0]] for text in signs.texts}
    assert colors == {"+": to_rgba(PALETTE[0]), "−": to_rgba(PALETTE[1])}
    lobes = plot_objects(breaking_set(PointGroup("D2")))
    assert sum(isinstance(a, Ellipse) for a in lobes.get_children()) >= 8
    assert len(ends(plot_objects(breaking_set(PointGroup("C4"))))) == 6  # some of the circle
    assert len(ends(plot_objects(breaking_set(PointGroup("O3"))))) == 6  # three pairs


def test_circles_stand_about_the_axis_of_the_group():
    turn = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    group = PointGroup("C4").rotated(turn)  # about y
    axes = plot_objects(breaking_set(group), direction=(0, 1, 0))
    circle = max((np.array(line.get_xydata()) for line in axes.lines if line.get_alpha() == 0.6), key=len)
    lengths = np.linalg.norm(circle, axis=1)
    assert np.ptp(lengths) < 1e-6
    vector = breaking_set(group).sample(1, torch.Generator().manual_seed(0))[0, :3]
    assert math.hypot(vector[0], vector[2]) == pytest.approx(lengths[0], abs=1e-6)


def test_too_many_objects():
    with pytest.raises(ValueError, match="more than a picture can show"):
        plot_objects(breaking_set(PointGroup("D200h")))
    with pytest.raises(ValueError, match="direction"):
        plot_objects(breaking_set(PointGroup("D2")), direction=(0, 0, 0))
