import pytest
import torch
from ase.build import bulk
from ase.collections import g2
from e3nn import o3
from orbit_reference import (
    GENERATORS,
    naive_projection,
    permutations,
    point_group,
    random_rotation,
    representation,
    symmetric_points,
)

from pyg_symbreak.detect import detect_symmetry
from pyg_symbreak.ops import Orbits, orbit_project

MIXED = "0e+0o+2x1o+1e+2e+3o+4e"
ALL = "+".join(f"2x{l}{p}" for l in range(5) for p in "eo")


def example(name, seed=0, generic=1):
    generator = torch.Generator().manual_seed(seed)
    elements = point_group(name, random_rotation(generator))
    points = symmetric_points(elements, generator, generic)
    return elements, points, permutations(elements, points)


def random_features(nodes, irreps, seed=0, dtype=torch.float64):
    return torch.randn(nodes, o3.Irreps(irreps).dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", GENERATORS)
def test_equals_the_sum_over_the_group(name):
    elements, points, perms = example(name)
    x = random_features(len(points), ALL)
    y = orbit_project(x, Orbits.from_group(perms, elements), ALL)
    torch.testing.assert_close(y, naive_projection(x, ALL, perms, elements), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["C3v", "D4h", "S8", "Td", "Oh"])
def test_is_an_orthogonal_projector_that_commutes_with_the_group(name):
    elements, points, perms = example(name, seed=1)
    orbits = Orbits.from_group(perms, elements)
    x, z = random_features(len(points), ALL, 1), random_features(len(points), ALL, 2)
    y = orbit_project(x, orbits, ALL)
    torch.testing.assert_close(orbit_project(y, orbits, ALL), y, rtol=0, atol=1e-12)
    assert abs((y * z).sum() - (x * orbit_project(z, orbits, ALL)).sum()) < 1e-11
    assert (x - y).norm() > 0.1
    for d, perm in zip(representation(ALL, elements), perms, strict=True):
        moved, moved_x = torch.empty_like(y), torch.empty_like(x)
        moved[perm], moved_x[perm] = y @ d.T, x @ d.T
        torch.testing.assert_close(moved, y, rtol=0, atol=1e-12)
        torch.testing.assert_close(orbit_project(moved_x, orbits, ALL), y, rtol=0, atol=1e-12)


def test_leaves_the_points_of_the_structure_where_they_are():
    elements, points, perms = example("D3d")
    y = orbit_project(points, Orbits.from_group(perms, elements), "1o")
    torch.testing.assert_close(y, points, rtol=0, atol=1e-13)
    axial = orbit_project(points, Orbits.from_group(perms, elements), "1e")
    assert axial.abs().max() < 1e-13  # an inversion takes axial vectors to themselves and points to their opposites


def test_projector_has_the_rank_that_the_character_demands():
    elements, points, perms = example("C4v")
    irreps = "1o+2e"
    size = len(points) * o3.Irreps(irreps).dim
    basis = torch.eye(size, dtype=torch.float64).view(size, len(points), -1)
    orbits = Orbits.from_group(perms, elements)
    p = torch.stack([orbit_project(b, orbits, irreps).flatten() for b in basis])
    fixed = (perms == torch.arange(len(points))).sum(1)
    traces = representation(irreps, elements).diagonal(dim1=1, dim2=2).sum(1)
    rank = (fixed * traces).mean()
    assert abs(p.trace() - rank) < 1e-11
    assert torch.linalg.matrix_rank(p, atol=1e-9) == round(rank.item())


def test_batch_of_mixed_graphs_equals_the_graphs_one_by_one():
    names = list(GENERATORS)
    graphs = [example(names[i % len(names)], seed=i, generic=i % 3) for i in range(64)]
    parts = [random_features(len(points), MIXED, i) for i, (_, points, _) in enumerate(graphs)]
    orbits = Orbits.cat([Orbits.from_group(perms, elements) for elements, _, perms in graphs])
    y = orbit_project(torch.cat(parts), orbits, MIXED).split([len(p) for p in parts])
    for part, (elements, _, perms), projected in zip(parts, graphs, y, strict=True):
        expected = orbit_project(part, Orbits.from_group(perms, elements), MIXED)
        torch.testing.assert_close(projected, expected, rtol=0, atol=1e-13)
        if len(part) < 30:
            expected = naive_projection(part, MIXED, perms, elements)
            torch.testing.assert_close(projected, expected, rtol=0, atol=1e-12)


def test_batch_of_molecules_and_crystals():
    names = [n for n in g2.names if len(g2[n]) > 2 and detect_symmetry(g2[n]).continuous is None][::2][:48]
    crystals = [bulk(n) for n in ("Cu", "Fe", "Si", "Ti", "Mg", "Ge", "Al", "W")]
    crystals += [bulk("NaCl", "rocksalt", 5.64), bulk("ZnS", "zincblende", 5.41), bulk("CsCl", "cesiumchloride", 4.1)]
    crystals += [bulk("GaN", "wurtzite", 3.2), bulk("Si", cubic=True), bulk("CaF2", "fluorite", 5.46)]
    crystals += [bulk("Cu") * (2, 1, 1), bulk("Te", "hcp", 4.4, 5.9)]
    generator = torch.Generator().manual_seed(0)
    symmetries = []
    for atoms in [g2[n] for n in names] + crystals:
        q = random_rotation(generator).numpy()
        atoms.set_cell(atoms.cell.array @ q.T)
        atoms.positions = atoms.positions @ q.T
        symmetries.append(detect_symmetry(atoms))
    assert len(symmetries) == 64
    assert sum(s.order > 1 for s in symmetries) > 50
    parts = [random_features(s.num_nodes, MIXED, i) for i, s in enumerate(symmetries)]
    orbits = Orbits.cat([Orbits.from_group(s.permutations, s.rotations) for s in symmetries])
    assert orbits.num_orbits == sum(int(s.orbits.max()) + 1 for s in symmetries)
    y = orbit_project(torch.cat(parts), orbits, MIXED).split([len(p) for p in parts])
    for part, projected, s in zip(parts, y, symmetries, strict=True):
        expected = naive_projection(part, MIXED, s.permutations, s.rotations)
        torch.testing.assert_close(projected, expected, rtol=0, atol=1e-12)


def test_group_of_a_linear_molecule_may_be_replaced_by_a_finite_subgroup():
    angles = torch.arange(60, dtype=torch.float64) * (2 * torch.pi / 60)
    rotations = torch.eye(3, dtype=torch.float64).repeat(len(angles), 1, 1)
    rotations[:, 0, 0] = rotations[:, 1, 1] = angles.cos()
    rotations[:, 1, 0], rotations[:, 0, 1] = angles.sin(), -angles.sin()
    x = random_features(2, ALL)
    limit = torch.stack([x @ d.T for d in representation(ALL, rotations)]).mean(0)
    five, four = point_group("C5"), point_group("C4")
    trivial = torch.arange(2).expand(5, 2)
    y = orbit_project(x, Orbits.from_group(trivial, five), ALL)
    torch.testing.assert_close(y, limit, rtol=0, atol=1e-11)
    y = orbit_project(x, Orbits.from_group(trivial[:4], four), ALL)
    assert (y - limit).abs().max() > 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_lower_precision(dtype, tolerance):
    elements, points, perms = example("Oh")
    orbits = Orbits.from_group(perms, elements)
    x = random_features(len(points), ALL, dtype=dtype)
    y = orbit_project(x, orbits, ALL)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), orbit_project(x.double(), orbits, ALL), rtol=0, atol=tolerance)


def test_features_that_are_not_contiguous():
    elements, points, perms = example("D4")
    orbits = Orbits.from_group(perms, elements)
    x = random_features(len(points), "3x1o+2e")
    wide = torch.stack([x, x + 1], dim=2)
    for strided in (wide[:, :, 0], x.t().contiguous().t()):
        assert not strided.is_contiguous()
        torch.testing.assert_close(orbit_project(strided, orbits, "3x1o+2e"), orbit_project(x, orbits, "3x1o+2e"))


def test_nothing_to_project():
    elements = point_group("C2v")
    empty = Orbits.from_group(torch.zeros(4, 0, dtype=torch.long), elements)
    assert (empty.num_nodes, empty.num_orbits) == (0, 0)
    assert orbit_project(torch.zeros(0, 3), empty, "1o").shape == (0, 3)
    one = Orbits.from_group(torch.zeros(4, 1, dtype=torch.long), elements)
    assert orbit_project(torch.zeros(1, 0), one, "").shape == (1, 0)
    assert orbit_project(torch.ones(1, 1), one, "0x1o+0e+0x2e").tolist() == [[1.0]]
    joined = Orbits.cat([empty, one, empty, one])
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orbit_project(x, joined, "1o"), x * torch.tensor([0.0, 0.0, 1.0]), atol=1e-6, rtol=0)


def test_nothing_is_fixed():
    orbits = Orbits.from_group(torch.zeros(2, 1, dtype=torch.long), point_group("Ci"))
    for dtype in (torch.float32, torch.float64):
        assert orbit_project(torch.ones(1, 7, dtype=dtype), orbits, "2x1o+0e").tolist() == [[0.0] * 6 + [1.0]]


def test_table_is_built_once_and_goes_with_the_distinct_irreps():
    elements, points, perms = example("D3")
    orbits = Orbits.from_group(perms, elements)
    table = orbits.table("1o+0e")
    assert orbits.table("5x1o+2x0e+1o") is table
    assert orbits.table("1o+0e", torch.float64) is not table
    assert all(t.dtype in (torch.float32, torch.long) for t in table)
    x = random_features(len(points), "5x1o+2x0e+1o", dtype=torch.float32)
    given = orbit_project(x, orbits, "5x1o+2x0e+1o", table=table)
    assert torch.equal(given, orbit_project(x, orbits, "5x1o+2x0e+1o"))


def test_same_bits_with_any_number_of_threads():
    graphs = [example(name) for name in ("Oh", "D6h", "Ih")] * 20
    orbits = Orbits.cat([Orbits.from_group(perms, elements) for elements, _, perms in graphs])
    x = random_features(orbits.num_nodes, "16x1o+3x2e", dtype=torch.float32)
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 2):
            torch.set_num_threads(n)
            results.append(orbit_project(x, orbits, "16x1o+3x2e"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[1], results[2])


def test_derivatives():
    elements, points, perms = example("C3v")
    orbits = Orbits.from_group(perms, elements)
    irreps = "0o+2x1o+2e"
    x = random_features(len(points), irreps).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: orbit_project(x, orbits, irreps), x)
    assert torch.autograd.gradgradcheck(lambda x: orbit_project(x, orbits, irreps).pow(3), x)


def arguments(x, orbits):
    table = orbits.table("2x1o+0e", torch.promote_types(x.dtype, torch.float32))
    return x, list(table), [2, 1], [3, 1], [0, 1], "torch"


def test_op_is_registered_soundly():
    elements, points, perms = example("D3")
    orbits = Orbits.from_group(perms, elements)
    for dtype in (torch.float32, torch.float64):
        x = random_features(len(points), "2x1o+0e", dtype=dtype).requires_grad_()
        torch.library.opcheck(torch.ops.pyg_symbreak.orbit_project, arguments(x, orbits))


def test_vmap():
    elements, points, perms = example("Td")
    orbits = Orbits.from_group(perms, elements)
    irreps = "2x0e+3x1o+2e"
    x = torch.stack([random_features(len(points), irreps, i) for i in range(4)], dim=1)
    y = torch.vmap(lambda x: orbit_project(x, orbits, irreps), in_dims=1)(x)
    for i in range(4):
        torch.testing.assert_close(y[i], orbit_project(x[:, i], orbits, irreps), rtol=0, atol=1e-14)


def test_compiles_without_a_break_and_exports():
    elements, points, perms = example("C4v")
    orbits = Orbits.from_group(perms, elements)
    x = random_features(len(points), "1o", dtype=torch.float32)

    class Double(torch.nn.Module):
        def forward(self, x, table):
            return 2 * torch.ops.pyg_symbreak.orbit_project(x, table, [1], [3], [0], "torch")

    def double(x, orbits, table):
        return 2 * orbit_project(x, orbits, "1o", table=table)

    expected = 2 * orbit_project(x, orbits, "1o")
    table = orbits.table("1o")
    compiled = torch.compile(double, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, orbits, table), expected)
    x.requires_grad_()
    (grad,) = torch.autograd.grad(compiled(x, orbits, table).pow(2).sum(), x)
    torch.testing.assert_close(grad, 4 * expected.detach(), rtol=1e-5, atol=1e-5)
    args = x.detach(), list(table)
    torch.testing.assert_close(torch.export.export(Double(), args).module()(*args), expected)


def test_autocast_keeps_the_type_of_the_features():
    elements, points, perms = example("C4v")
    orbits = Orbits.from_group(perms, elements)
    x = random_features(len(points), "1o", dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = orbit_project(x, orbits, "1o")
    assert torch.equal(y, orbit_project(x, orbits, "1o"))


def test_bad_input_is_named():
    elements, points, perms = example("C2")
    orbits = Orbits.from_group(perms, elements)
    with pytest.raises(ValueError, match=r"x must be floats of shape \[\d+, 3\]"):
        orbit_project(torch.zeros(len(points), 4), orbits, "1o")
    with pytest.raises(ValueError, match="no group elements"):
        orbit_project(torch.zeros(len(points), 3), Orbits.from_index(orbits.node), "1o")
    with pytest.raises(ValueError, match="no group elements"):
        Orbits.from_index(orbits.node).table("1o")
    with pytest.raises(ValueError, match="torch_scatter"):
        orbit_project(torch.zeros(len(points), 3), orbits, "1o", method="torch_scatter")
