"""Pages with a viewer: symmetry elements as in tables, atoms where they are, and no network."""

import html
import json
import re

import numpy as np
import pytest
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.distort import distortions
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.plot import Motion, notebook_html, page, set_scene, structure_scene, subgroup_svg, symmetry_elements

# Axes by order, mirror planes and centre, as in tables of point groups.
KNOWN = {
    "C1": ({}, 0, False),
    "Ci": ({}, 0, True),
    "Cs": ({}, 1, False),
    "C4": ({4: 1}, 0, False),
    "D3h": ({3: 1, 2: 3}, 4, False),
    "D3d": ({3: 1, 2: 3}, 3, True),
    "D6h": ({6: 1, 2: 6}, 7, True),
    "Td": ({3: 4, 2: 3}, 6, False),
    "Oh": ({4: 3, 3: 4, 2: 6}, 9, True),
    "Ih": ({5: 6, 3: 10, 2: 15}, 15, True),
}


@pytest.mark.parametrize("name", KNOWN)
def test_symmetry_elements(name):
    turn = Rotation.random(random_state=5).as_matrix()
    group = PointGroup(name).rotated(turn)
    found = symmetry_elements(group)
    orders = [e["order"] for e in found if e["kind"] == "axis"]
    counts = {n: orders.count(n) for n in set(orders)}
    planes = [np.array(e["direction"]) for e in found if e["kind"] == "plane"]
    assert (counts, len(planes), any(e["kind"] == "centre" for e in found)) == KNOWN[name]
    for normal in planes:
        assert group.contains(np.eye(3) - 2 * np.outer(normal, normal))
    for e in found:
        if e["kind"] == "axis":
            rotation = Rotation.from_rotvec(2 * np.pi / e["order"] * np.array(e["direction"])).as_matrix()
            assert group.contains(rotation)


def test_rotoreflections_are_named():
    labels = {}
    for name in ("Td", "D3d", "S4", "Oh"):
        labels[name] = {e["label"] for e in symmetry_elements(PointGroup(name)) if e["kind"] == "axis"}
    assert labels == {"Td": {"C3", "C2 S4"}, "D3d": {"C3 S6", "C2"}, "S4": {"C2 S4"}, "Oh": {"C4", "C3 S6", "C2"}}


def test_linear_molecules():
    found = symmetry_elements(detect_symmetry(molecule("CO2")).group)
    assert [e["kind"] for e in found] == ["axis", "plane", "centre"]
    assert found[0]["label"] == "C∞"


def test_crystals_show_the_atoms_on_faces_and_the_middle_site():
    atoms = bulk("CsCl", "cesiumchloride", a=4.1)
    scene = structure_scene(atoms, detect_symmetry(atoms), [Motion("up", np.array([[0, 0, 0.0], [0, 0, 0.2]]), True)])
    assert [a[0] for a in scene["atoms"]].count("Cs") == 8
    assert scene["centre"] == [2.05, 2.05, 2.05]
    assert len(scene["cell"]) == 12
    vectors = np.array(scene["distortions"][0]["vectors"])
    chlorine = [a[0] == "Cl" for a in scene["atoms"]]
    assert vectors[chlorine].tolist() == [[0, 0, 1]]
    assert not vectors[~np.array(chlorine)].any()


def test_objects_of_sets():
    six = set_scene(breaking_set(PointGroup("Oh"), keep="C4v"))
    assert sorted(a["to"] for a in six["arrows"]) == sorted([*np.eye(3).tolist(), *(-np.eye(3) + 0.0).tolist()])
    assert {a["kind"] for a in six["arrows"]} == {"polar"}
    assert six["text"].startswith("Oh to C4v: 6 objects in 1x1o. Ideal")
    assert {a["kind"] for a in set_scene(breaking_set(PointGroup("D2")))["arrows"]} == {"lobe"}
    assert set_scene(breaking_set(PointGroup("Oh"), keep="O"))["signs"] == ["+", "−"]
    continuous = set_scene(breaking_set(PointGroup("C4")))
    assert "60 of infinitely many objects" in continuous["text"]
    assert "60 of 120 objects" in set_scene(breaking_set(PointGroup("Ih")))["text"]


def test_pages_need_no_network_and_hold_what_they_are_given():
    scene = {"structure": {"note": "</script><b>"}}
    text = page("a < b", "<p>body</p>", scene)
    assert "<title>a &lt; b</title>" in text
    written = re.search(r'<script type="application/json" id="scene">(.*?)</script>', text, re.DOTALL).group(1)
    assert json.loads(written) == scene
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text)
    assert len(text) < 1_000_000


def test_trees_are_part_of_a_page():
    text = subgroup_svg(PointGroup("C4v"))
    assert text.startswith("<svg")
    assert text.rstrip().endswith("</svg>")
    assert "C2v[001]m[010]" in text


def test_notebooks():
    group = PointGroup("C4v")
    for shown in (detect_symmetry(molecule("NH3")), group, breaking_set(group), distortions(molecule("NH3"))[0]):
        text = shown._repr_html_()
        inside = html.unescape(re.search(r'srcdoc="([^"]*)"', text).group(1))
        assert repr(shown) in html.unescape(inside)
        scene = json.loads(re.search(r'id="scene">(.*?)</script>', inside, re.DOTALL).group(1))
        assert list(scene) in (["structure"], ["sets"])
    alone = detect_symmetry(molecule("NH3"))
    vars(alone).pop("structure")
    assert notebook_html(alone) is None
