"""Sets of fields on the nodes: tilts, charge and magnetic order, against explicit operations on the atoms."""

import math
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from e3nn import o3
from scipy.spatial.transform import Rotation

from pyg_symbreak.breaking import NodeFields, breaking_set
from pyg_symbreak.breaking.node_fields import _Space
from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.groups import PointGroup, irreps_matrices
from pyg_symbreak.structures import find_octahedra, from_ase

UNIT = Atoms(
    "SrTiO3",
    scaled_positions=[(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)],
    cell=[3.905] * 3,
    pbc=True,
)
CUBIC = UNIT.repeat(2)
WURTZITE = bulk("ZnO", "wurtzite", a=3.25, c=5.2)
RUTILE = crystal(["V", "O"], [(0, 0, 0), (0.3, 0.3, 0)], spacegroup=136, cellpar=[4.55, 4.55, 2.85, 90, 90, 90])
TILTS = {
    "a0a0c+": (127, 6, 1),
    "a0b+b+": (139, 12, 1),
    "a+a+a+": (204, 8, 1),
    "a+b+c+": (71, 24, 3),
    "a0a0c-": (140, 6, 1),
    "a0b-b-": (74, 12, 1),
    "a-a-a-": (167, 8, 1),
    "a0b-c-": (12, 24, 3),
    "a-b-b-": (15, 24, 3),
    "a-b-c-": (2, 48, 6),
    "a0b+c-": (63, 24, 3),
    "a+b-b-": (62, 24, 3),
    "a+b-c-": (11, 48, 6),
    "a+a+c-": (137, 24, 3),
}
"""C. J. Howard & H. T. Stokes, Acta Cryst. B 54, 782 (1998): space groups; domains; dimension of the fields 1e on B."""


def graphite():
    """Two layers of graphite, whose atoms are of two kinds: above each other, and above hollows."""
    return crystal(
        ["C", "C"], [(0, 0, 0.25), (1 / 3, 2 / 3, 0.25)], spacegroup=194, cellpar=[2.46, 2.46, 6.7, 90, 90, 120]
    )


def trans_polyacetylene():
    """A zigzag chain, periodic along z."""
    places = [(0.33, 0, 0), (-0.33, 0, 1.23), (1.4, 0, 0), (-1.4, 0, 1.23)]
    return Atoms("CCHH", positions=places, cell=[12, 12, 2.46], pbc=[False, False, True])


@pytest.fixture(scope="module")
def symmetry():
    return detect_symmetry(CUBIC)


def general(number, cellpar, seed=1):
    place = np.random.default_rng(seed).uniform(0.05, 0.45, 3)
    return crystal(["C"], [place], spacegroup=number, cellpar=cellpar)


def images(s, row, irreps):
    """What each operation makes of a field, straight from the definition."""
    turns = irreps_matrices(irreps, s.rotations.numpy())
    out = np.zeros((len(turns), *row.shape))
    for g, (turn, places) in enumerate(zip(turns, s.permutations.numpy(), strict=True)):
        out[g, places] = row @ turn.T
    return out


def same_sets(a, b):
    apart = torch.cdist(torch.as_tensor(a).flatten(1), torch.as_tensor(b).flatten(1))
    return len(a) == len(b) and apart.amin(0).max() < 1e-4 and apart.amin(1).max() < 1e-4


@pytest.mark.parametrize("tilt", TILTS)
def test_tilts(symmetry, tilt):
    number, domains, dimension = TILTS[tilt]
    b = breaking_set(symmetry, keep=tilt, nodes="Ti", irreps="1e")
    assert (b.stabilizer.space_group.number, b.size, b.ideal, b.degeneracy) == (number, domains, True, 1)
    assert b.depends_on == ("nodes" if dimension == 1 else "input")
    moved = images(symmetry, b.objects[0].numpy(), "1e")
    kept = np.abs(moved - b.objects[0].numpy()).max((1, 2)) < 1e-8
    assert tuple(np.flatnonzero(kept)) == b.stabilizer.operations
    assert same_sets(b.objects, torch.from_numpy(moved[b.operations]))
    assert torch.cdist(b.objects.flatten(1), b.objects.flatten(1)).fill_diagonal_(1).min() > 0.1
    assert torch.cdist(torch.from_numpy(moved).flatten(1), b.objects.flatten(1)).amin(1).max() < 1e-6
    assert float(b.objects.norm(dim=2).max()) == pytest.approx(1)
    assert not b.objects[:, CUBIC.numbers != 22].any()


def test_by_space_group(symmetry):
    b = breaking_set(symmetry, keep="R-3c", nodes="Ti", irreps="1e")
    assert (b.size, b.stabilizer.order, b.ideal, b.depends_on) == (8, 48, True, "nodes")
    assert breaking_set(symmetry, keep=167, nodes="Ti").size == 8
    assert str(breaking_set(symmetry, keep="R-3c", nodes="Ti").irreps) == "1x1e"
    assert breaking_set(symmetry, keep="Fm-3m", nodes="Ti", irreps="0e").size == 2


def test_a_space_group_of_several_classes_is_that_of_the_fewest_domains(symmetry):
    """Pnma and R-3c of the tilts, and others of the same type that have more domains."""
    for symbol, irreps, glazer, more, others in (
        ("Pnma", "1e", "a+b-b-", 48, "1e"),
        ("R-3c", None, "a-a-a-", 32, "1o"),
    ):
        k = breaking_set(symmetry, keep=symbol, nodes="Ti", irreps=irreps).stabilizer
        tilt = symmetry.stabilizer(find_octahedra(CUBIC).field(glazer), "1e")
        assert tilt.operations in symmetry.abstract.conjugates(k.operations)
        other = breaking_set(symmetry, keep=f"{symbol}/{more}", nodes="Ti", irreps=others)
        assert (other.size, other.stabilizer.space_group) == (more, k.space_group)
        assert not any(set(other.stabilizer.operations) <= set(c) for c in symmetry.abstract.conjugates(k.operations))


def test_a_space_group_of_several_classes_is_ambiguous(symmetry):
    """Pnma of tilts and of displacements of titanium; layers of charge along [001] and along [110]."""
    with pytest.raises(ValueError, match=r"4 classes .* 24 domains: Pnma/24@XMR \(space group/domains.* a distortion"):
        breaking_set(symmetry, keep="Pnma", nodes="Ti")
    with pytest.raises(ValueError, match=r"P4/mmm/6@M, P4/mmm/6@X"):
        breaking_set(symmetry, keep="P4/mmm", nodes="Ti", irreps="0e")
    index = np.rint(CUBIC.positions / 3.905).astype(int)
    for wave, letter in (((0, 0, 1), "X"), ((1, 1, 0), "M")):
        layers = (-1.0) ** (index @ wave) * (CUBIC.numbers == 22)
        b = breaking_set(symmetry, keep=f"123/6@{letter}", nodes="Ti", irreps="0e")
        assert float((b.objects[:, :, 0] - torch.from_numpy(layers)).abs().amax(1).min()) < 1e-8
    with pytest.raises(ValueError, match="'Pnna7' is no space group"):
        breaking_set(symmetry, keep="Pnna7", nodes="Ti", irreps="0e")
    with pytest.raises(ValueError, match="no field"):
        breaking_set(symmetry, keep="R-3c/9", nodes="Ti", irreps="1e")


def test_chosen_by_itself(symmetry):
    full = breaking_set(symmetry)
    assert (full.size, str(full.irreps), full.ideal, int(full.nodes.sum())) == (384, "1x0e", True, 24)
    k = breaking_set(symmetry, keep="a0a0c-", nodes="Ti", irreps="1e").stabilizer
    assert str(breaking_set(symmetry, keep=k).irreps) == "1x0o"  # on O, as on Ti, lower than the tilt itself


def moved(atoms, seed):
    """The structure turned or reflected, shifted, in another basis of its lattice and another order, in float32."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix() * rng.choice([-1, 1])
    basis = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]]) if seed % 2 else np.eye(3)
    out = atoms.copy()
    out.set_cell((basis @ atoms.cell.array @ turn.T).astype(np.float32 if seed > 1 else float))
    out.positions = (atoms.positions @ turn.T + rng.standard_normal(3)).astype(np.float32 if seed > 1 else float)
    order = rng.permutation(len(out))
    return out[order], turn, order


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("keep", "irreps", "nodes"), [("a-a-a-", "1e", "Ti"), ("a+b-b-", "1e", "Ti"), (None, "0e", "O")]
)
def test_sets_move_with_the_structure(symmetry, seed, keep, irreps, nodes):
    plain = breaking_set(symmetry, keep=keep, nodes=nodes, irreps=irreps).objects
    atoms, turn, order = moved(CUBIC, seed)
    there = breaking_set(detect_symmetry(atoms), keep=keep, nodes=nodes, irreps=irreps).objects
    matrix = torch.from_numpy(irreps_matrices(irreps, turn[None])[0])
    assert same_sets((plain @ matrix.T)[:, order], there)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "atoms",
    [
        bulk("CsCl", "cesiumchloride", a=4.1, cubic=True).repeat((1, 1, 2)),
        graphite(),
        trans_polyacetylene().repeat((1, 1, 2)),
    ],
    ids=["CsCl", "graphite", "polyacetylene"],
)
def test_orbits_of_one_size_are_told_apart_in_any_order(atoms, seed):
    """Two orbits of as many atoms: of two elements, of one element, and of a rod."""
    plain = breaking_set(detect_symmetry(atoms))
    there, turn, order = moved(atoms, seed)
    found = breaking_set(detect_symmetry(there))
    assert found.irreps == plain.irreps
    matrix = torch.from_numpy(irreps_matrices(plain.irreps, turn[None])[0])
    assert same_sets((plain.objects @ matrix.T)[:, order], found.objects)


def test_what_is_kept_can_be_said_in_many_ways(symmetry):
    octahedra = find_octahedra(CUBIC)
    field = octahedra.field("a+b-b-")
    child = CUBIC.copy()
    child.positions += 0.1 * octahedra.displacements(field) + [0.3, 0.1, 0]
    k = symmetry.stabilizer(field, "1e")
    expected = breaking_set(symmetry, keep="a+b-b-", nodes="Ti", irreps="1e").objects
    for keep in (k, k.operations, list(k.operations), child, from_ase(child, torch.float64)):
        assert same_sets(breaking_set(symmetry, keep=keep, nodes="Ti", irreps="1e").objects, expected)


@pytest.mark.parametrize("irreps", ["0e", "0o", "1e", "1o", "2e", "2o"])
@pytest.mark.parametrize("tilt", ["a0a0c+", "a0b-c-", "a+b-b-", "a+a+c-", "a-b-c-"])
def test_dimensions_of_kept_fields_are_ranks_of_averages(symmetry, tilt, irreps):
    k = symmetry.stabilizer(find_octahedra(CUBIC).field(tilt), "1e").operations
    for element in (38, 22, 8):
        space = _Space(symmetry, np.flatnonzero(CUBIC.numbers == element), irreps, False)
        average = space.matrices[list(k)].mean(0)
        fixed = space.fixed(k)
        assert len(fixed) == round(np.trace(average)) == np.linalg.matrix_rank(average, tol=1e-6)
        flat = fixed.reshape(len(fixed), average.shape[0])
        assert np.abs(average @ flat.T - flat.T).max(initial=0) < 1e-8
        assert np.abs(flat @ flat.T - np.eye(len(flat))).max(initial=0) < 1e-8


def test_waves_along_a_polar_axis():
    """Wurtzite, the cell doubled along c and across: which Zn layer is raised is not known to the space group."""
    s = detect_symmetry(WURTZITE * 2)
    height = np.rint(s.atoms.positions[:, 2] / 2.6).astype(int)
    waves = np.where(height % 4 < 2, 1.0, -1.0)[:, None] * (s.atoms.numbers == 30)[:, None]
    k = s.stabilizer(waves, "0e")
    at_group = breaking_set(s, keep=k, nodes="Zn", irreps="0e", depends_on="group")
    assert (at_group.size, at_group.ideal) == (math.inf, False)
    assert "polar axis" in at_group.explanation
    assert "[0.0, 0.0, 1.0]" in at_group.explanation.replace("-1.0", "1.0")
    with pytest.raises(ValueError, match="polar axis"):
        _ = at_group.objects
    on_nodes = breaking_set(s, keep=k, nodes="Zn", irreps="0e")
    assert (on_nodes.size, on_nodes.ideal, on_nodes.stabilizer.space_group.symbol) == (4, True, "P3m1")


@pytest.mark.parametrize(
    ("number", "cellpar", "degeneracy"),
    [(2, [5, 6, 7, 80, 95, 103], 4), (16, [5, 6, 7, 90, 90, 90], 2), (47, [5, 6, 7, 90, 90, 90], 1)],
    ids=["P-1", "P222", "Pmmm"],
)
def test_full_sets_of_doubled_cells_that_depend_on_the_group_alone(number, cellpar, degeneracy):
    s = detect_symmetry(general(number, cellpar) * 2)
    b = breaking_set(s, nodes=np.arange(s.num_nodes), irreps="0e", depends_on="group")
    assert (b.degeneracy, b.size) == (degeneracy, degeneracy * s.order)
    assert b.explanation.startswith("Ideal" if degeneracy == 1 else "Not ideal")


def test_tilts_are_ideal_in_the_group_alone(symmetry):
    b = breaking_set(symmetry, keep="a0a0c-", nodes="Ti", irreps="1e", depends_on="group")
    assert (b.size, b.ideal, len(b.objects)) == (6, True, 6)


@pytest.mark.parametrize(("size", "hidden"), [((2, 2, 2), 1), ((2, 2, 4), 3)])
def test_domains_do_not_depend_on_the_supercell(size, hidden):
    atoms = UNIT.repeat(size)
    s = detect_symmetry(atoms)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        index = np.rint(atoms.positions / 3.905).astype(int)
        tilt = np.outer((-1.0) ** index.sum(1) * (atoms.numbers == 22), [0, 0, 1])
        b = breaking_set(s, keep=s.stabilizer(tilt, "1e"), nodes="Ti", irreps="1e")
    assert b.size * s.hidden_domains == 6
    assert s.hidden_domains == hidden
    assert any("in cells of other shape" in str(w.message) for w in caught) == (hidden > 1)


@pytest.mark.parametrize(("size", "domains", "hidden"), [((2, 2, 2), 8, 1), ((1, 2, 2), 4, 2)])
@pytest.mark.filterwarnings("ignore:the cell lacks symmetry")
def test_dimers_of_rutile(size, domains, hidden):
    """The M1 phase of VO2: pairs along c on one chain, across it on the other; R = (0, 1/2, 1/2)."""
    s = detect_symmetry(RUTILE.repeat(size))
    b = breaking_set(s, keep=f"P2_1/c/{domains}", nodes="V", irreps="1o")
    assert (b.stabilizer.space_group.number, b.size, s.hidden_domains) == (14, domains, hidden)


@pytest.mark.parametrize(("wave", "uni"), [((0, 0, 0), 1005), ((0, 0, 1), 1020), ((1, 1, 0), 1057), ((1, 1, 1), 1210)])
def test_magnetic_orders(symmetry, wave, uni):
    index = np.rint(CUBIC.positions / 3.905).astype(int)
    moments = np.outer((-1.0) ** (index @ wave) * (CUBIC.numbers == 22), [0, 0, 1])
    k = symmetry.stabilizer(moments, "1e", time_reversal=True)
    b = breaking_set(symmetry, keep=k, nodes="Ti", irreps="1e", time_reversal=True)
    assert (b.size, b.ideal, b.stabilizer.magnetic_group) == (6, True, uni)
    assert (
        min(float((b.objects - sign * torch.from_numpy(moments)).abs().amax((1, 2)).min()) for sign in (1, -1)) < 1e-8
    )
    for row, g, sign in zip(b.objects, b.operations, b.signs, strict=True):
        assert np.abs(images(symmetry, b.objects[0].numpy(), "1e")[g] * sign.item() - row.numpy()).max() < 1e-8
    full = breaking_set(symmetry, nodes="O", irreps="2e", time_reversal=True)
    assert (full.size, full.irreps.dim) == (768, 5)


def test_numbers_and_samples(symmetry):
    b = breaking_set(symmetry, keep="a0a0c-", nodes="Ti", irreps="1e")
    drawn = b.sample(100, torch.Generator().manual_seed(0))
    assert {b.element_of(row) for row in drawn} == set(range(6))
    with pytest.raises(ValueError, match="not an object"):
        b.element_of(0.5 * drawn[0])


def test_what_cannot_be_is_said(symmetry):
    k = symmetry.stabilizer(find_octahedra(CUBIC).field("a0a0c-"), "1e")
    with pytest.raises(ValueError, match=r"no field of irreps 1x0e on these nodes keeps exactly I4/mcm"):
        breaking_set(symmetry, keep=k, nodes="Ti", irreps="0e")
    with pytest.raises(ValueError, match="no field of irreps 1x0e"):
        breaking_set(symmetry, keep="Pnma", nodes="Ti", irreps="0e")
    with pytest.raises(ValueError, match="names no element"):
        breaking_set(symmetry, nodes="Zr")
    with pytest.raises(ValueError, match="whole orbits"):
        breaking_set(symmetry, nodes=[1])
    with pytest.raises(ValueError, match="not a subgroup"):
        breaking_set(symmetry, keep=[0, 1, 5])
    with pytest.raises(ValueError, match="depends_on must be"):
        breaking_set(symmetry, depends_on="atoms")
    with pytest.raises(ValueError, match="go with a Symmetry"):
        breaking_set(PointGroup("Oh"), nodes="Ti")
    with pytest.raises(ValueError, match="does not fit the tilt"):
        breaking_set(detect_symmetry(UNIT.repeat((2, 2, 1))), keep="a0a0c-", nodes="Ti")
    stretched = CUBIC.copy()
    stretched.set_cell(CUBIC.cell.array * [[1.0, 1.0, 1.02]], scale_atoms=True)
    with pytest.raises(ValueError, match="in the same cell as the symmetric one"):
        breaking_set(symmetry, keep=stretched, nodes="Ti")
    with pytest.raises(TypeError, match="keep must be operations"):
        breaking_set(symmetry, keep=3.5)
    assert repr(NodeFields(keep=k)) == repr(NodeFields(keep=k.operations))
    assert o3.Irreps(breaking_set(symmetry, nodes="O").irreps) == o3.Irreps("0e")
