"""Pictures of subgroups, structures, domains and training, read back from what was drawn."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from matplotlib.colors import to_hex

import pyg_symbreak.plot
from pyg_symbreak.datasets import BaTiO3
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.plot import plot_domains, plot_losses, plot_predictions, plot_structure, plot_subgroups
from pyg_symbreak.structures import from_ase


def lines_of(axes) -> set[tuple[str, str]]:
    """Pairs of names, small and large, that lines join."""
    at = {text.get_position(): text.get_text().split(" ×")[0] for text in axes.texts}
    return {(at[tuple(line.get_xydata()[0])], at[tuple(line.get_xydata()[1])]) for line in axes.lines}


def test_subgroups_of_c4v():
    axes = plot_subgroups(PointGroup("C4v"))
    assert lines_of(axes) == {
        *(("C1", x) for x in ("C2", "Cs[100]", "Cs[110]")),
        *(("C2", x) for x in ("C4", "C2v[001]m[010]", "C2v[001]m[110]")),
        *(("Cs[100]", "C2v[001]m[010]"), ("Cs[110]", "C2v[001]m[110]")),
        *((x, "C4v") for x in ("C4", "C2v[001]m[010]", "C2v[001]m[110]")),
    }


def test_subgroups_of_oh_against_pairs_by_hand():
    """Maximal subgroups of m-3m: Th, O, Td, D4h, D3d (International Tables)."""
    group = PointGroup("Oh")
    axes = plot_subgroups(group, keep=group.subgroup("C4v"))
    assert {a for a, b in lines_of(axes) if b == "Oh"} == {"Th", "O", "Td", "D4h", "D3d"}
    assert len(axes.texts) == 33
    red = [line for line in axes.lines if line.get_lw() > 1]
    at = {text.get_position(): text.get_text().split(" ×")[0] for text in axes.texts}
    tops = {at[tuple(line.get_xydata()[1])] for line in red}
    assert "Oh" not in {at[tuple(line.get_xydata()[0])] for line in red}
    assert "C4v" in tops | {at[tuple(line.get_xydata()[0])] for line in red}
    # each line is a containment, up to a conjugation, and nothing of the group's is between
    for small, large in list(lines_of(axes))[::7]:
        a, b = (group.subgroup(name) for name in (small, large))
        assert any(b.contains_group(a.rotated(m)) for m in group.matrices)


def test_subgroups_of_what_is_continuous():
    with pytest.raises(ValueError, match="continuous"):
        plot_subgroups(PointGroup("Cinfv"))
    with pytest.raises(ValueError, match="not a subgroup"):
        plot_subgroups(PointGroup("D3h"), keep=PointGroup("C4v"))


@pytest.mark.parametrize("kind", ["atoms", "data"])
def test_atoms_and_arrows(kind):
    atoms = molecule("BF3")
    x = atoms if kind == "atoms" else from_ase(atoms)
    y = np.zeros((4, 3))
    y[0, 1] = 0.3
    axes = plot_structure(x, y, direction=(0, 0, 1), scale=2)
    (arrow,) = axes.texts
    assert np.allclose(arrow.xyann, atoms.positions[0, :2], atol=1e-6)
    assert np.allclose(arrow.xy, atoms.positions[0, :2] + [0, 0.6], atol=1e-6)
    drawn = np.concatenate([c.get_offsets() for c in axes.collections if len(c.get_offsets())])
    assert len(drawn) == 4
    several = plot_structure(x, torch.from_numpy(np.stack([y, -y, 2 * y])), direction=(0, 0, 1))
    assert len(several.texts) == 3
    # seen from where it is broadest: its plane
    flat = plot_structure(x).collections[0].get_offsets()
    assert np.linalg.matrix_rank(flat - flat.mean(0), tol=1e-3) == 2
    atoms.translate([3, 0, 9])
    away = plot_structure(atoms).collections[0].get_offsets()
    extents = [np.linalg.svd(drawn - drawn.mean(0))[1] for drawn in (flat, away)]
    assert np.allclose(*extents, atol=1e-6)
    with pytest.raises(ValueError, match=r"displacements are \[4, 3\]"):
        plot_structure(x, y[:3])


def test_atoms_on_faces_are_drawn_on_all_of_them():
    axes = plot_structure(BaTiO3()[1])
    assert len(axes.collections[0].get_offsets()) == 8 + 1 + 6
    assert len([line for line in axes.lines if line.get_color() == "0.85"]) == 12
    assert len(plot_structure(bulk("Cu", cubic=True)).collections[0].get_offsets()) == 8 + 6


def test_domains():
    found = {"six": torch.cat([torch.eye(3), -torch.eye(3)]), "one": [[0, 0, 5.0]]}
    axes = plot_domains(found, {"six": 3 * torch.eye(3)}, direction=(0, 0, 1))
    assert np.allclose([arrow.xy for arrow in axes.texts][:3], np.eye(3)[:, :2])
    assert axes.get_xlim() == axes.get_ylim() == (-axes.get_xlim()[1], axes.get_xlim()[1])
    assert [text.get_text() for text in axes.get_legend().texts] == ["six: 6", "one: 1"]
    assert np.allclose(axes.collections[0].get_offsets(), np.eye(3)[:, :2])
    with pytest.raises(ValueError, match="'a' is zero"):
        plot_domains({"a": np.zeros((1, 3))})
    with pytest.raises(ValueError, match=r"'a' are \[n, 3\]"):
        plot_domains({"a": np.zeros((1, 2))})


def test_losses_and_predictions():
    axes = plot_losses({"without": [3.0, 2.0], "with": [3.0, 0.1]}, bound=1.5)
    assert [list(line.get_ydata()) for line in axes.lines] == [[3.0, 2.0], [3.0, 0.1], [1.5, 1.5]]
    assert axes.get_yscale() == "log"
    assert len({to_hex(line.get_color()) for line in axes.lines}) == 3
    y = torch.arange(6.0, requires_grad=True).view(2, 3)
    axes = plot_predictions(y, y.detach() + 2, unit="eV")
    assert axes.get_title() == "r.m.s. error 2 eV"
    assert np.allclose(axes.collections[0].get_offsets()[:, 0], np.arange(6) + 2)
    with pytest.raises(ValueError, match=r"shape \[2, 3\], target \[6\]"):
        plot_predictions(y, torch.arange(6.0))


def test_matplotlib_is_imported_when_something_is_drawn():
    for path in Path(pyg_symbreak.plot.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # those under TYPE_CHECKING are none of them
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")]
            assert not any((name or "").startswith("matplotlib") for name in names), path
