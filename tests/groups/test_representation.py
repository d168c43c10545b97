"""Representations of finite groups: homomorphisms, characters, spaces of equivariant maps, transversals."""

import itertools

import numpy as np
import pytest
import sympy
from e3nn import o3
from sympy.polys.matrices import DomainMatrix

from pyg_symbreak.groups import (
    FiniteGroup,
    PointGroup,
    Representation,
    cyclic_group,
    dihedral_group,
    symmetric_group,
    transversal_subgroup,
)

rng = np.random.default_rng(3)


def turned(symbol: str) -> PointGroup:
    """A point group in a random orientation."""
    return PointGroup(symbol).rotated(np.linalg.qr(rng.standard_normal((3, 3)))[0])


def nodes(n: int) -> Representation:
    return Representation.permutation(symmetric_group(n))


REPRESENTATIONS = {
    "S4 nodes": nodes(4),
    "S4 pairs": nodes(4) @ nodes(4),
    "C6 ring": Representation.permutation(cyclic_group(6)),
    "D4 corners and scalars": Representation.permutation(dihedral_group(4))
    + 2 * Representation.trivial(dihedral_group(4)),
    "D5 regular": Representation.regular(dihedral_group(5)),
    "Oh 1o+2e": Representation.irreps(turned("Oh"), "2x1o+2e+0o"),
    "D3h 1e@2o": Representation.irreps(g := turned("D3h"), "1e") @ Representation.irreps(g, "2o"),
    "C5 1o": 3 * Representation.irreps(turned("C5"), "1o"),
    "Q8": Representation(
        q8 := FiniteGroup.from_matrices(
            [np.kron([[0, -1], [1, 0]], np.eye(2)), np.kron(np.diag([1, -1]), [[0, -1], [1, 0]])]
        ),
        q8.elements,
    ),
}
each = pytest.mark.parametrize("rep", REPRESENTATIONS.values(), ids=REPRESENTATIONS.keys())


@each
def test_homomorphism_into_orthogonal_matrices(rep):
    m, table = rep.matrices, rep.group.table
    assert m.shape == (rep.group.order, rep.dim, rep.dim)
    assert np.abs(m[:, None] @ m[None] - m[table]).max() < 1e-12
    assert np.abs(m @ np.swapaxes(m, 1, 2) - np.eye(rep.dim)).max() < 1e-12
    assert np.abs(np.trace(m, axis1=1, axis2=2) - rep.character).max() < 1e-12


def _null_space_dimension(a: Representation, b: Representation) -> int:
    """The dimension of {W : ρ'(g)W = Wρ(g) for all g}, from the singular values of the whole system."""
    rows = [
        np.kron(y, np.eye(a.dim)) - np.kron(np.eye(b.dim), x.T) for x, y in zip(a.matrices, b.matrices, strict=True)
    ]
    return a.dim * b.dim - np.linalg.matrix_rank(sum(r.T @ r for r in rows), tol=1e-9, hermitian=True)


@each
def test_hom_dimension_is_an_integer_and_that_of_the_null_space(rep):
    for other in (rep, Representation.trivial(rep.group), Representation.regular(rep.group)):
        exact = rep.character @ other.character / rep.group.order
        assert abs(exact - round(exact)) < 1e-10
        assert rep.hom_dimension(other) == round(exact)
        if rep.dim * other.dim <= 300:
            assert rep.hom_dimension(other) == _null_space_dimension(rep, other)


@each
def test_maps_to_the_regular_representation_and_from_it(rep):
    regular = Representation.regular(rep.group)
    assert rep.hom_dimension(regular) == rep.dim == regular.hom_dimension(rep)


@each
def test_hom_basis_is_orthonormal_and_equivariant(rep):
    for other in (rep, Representation.regular(rep.group)):
        basis = rep.hom_basis(other)
        assert len(basis) == rep.hom_dimension(other)
        flat = basis.reshape(len(basis), other.dim * rep.dim)
        assert np.abs(flat @ flat.T - np.eye(len(flat))).max() < 1e-12
        for a, b in zip(rep.matrices, other.matrices, strict=True):
            assert np.abs(b @ basis - basis @ a).max() < 1e-12


@pytest.mark.parametrize(
    ("n", "node_to_node", "node_to_pair", "pair_to_pair"),
    [(2, 2, 4, 8), (3, 2, 5, 14), (4, 2, 5, 15), (5, 2, 5, 15)],
)
def test_permutations_of_nodes_and_pairs(n, node_to_node, node_to_pair, pair_to_pair):
    # Bell numbers (2, 5, 15) once n is large enough, Maron et al. 2019
    a = nodes(n)
    dims = [a.hom_dimension(a), a.hom_dimension(a @ a), (a @ a).hom_dimension(a @ a)]
    assert dims == [node_to_node, node_to_pair, pair_to_pair]
    assert [len(a.hom_basis(a)), len(a.hom_basis(a @ a)), len((a @ a).hom_basis(a @ a))] == dims


def test_pair_maps_in_exact_arithmetic():
    for n, expected in ((3, 14), (4, 15)):
        pairs = (nodes(n) @ nodes(n)).matrices.astype(int)
        group = symmetric_group(n)
        unit = np.eye(n * n, dtype=int)
        rows = [np.kron(pairs[g], unit) - np.kron(unit, pairs[g].T) for g in group.generators()]
        system = DomainMatrix.from_Matrix(sympy.Matrix(np.concatenate(rows))).to_sparse()
        assert n**4 - system.convert_to(sympy.QQ).rank() == expected


@pytest.mark.parametrize(
    ("symbol", "irreps_in", "irreps_out", "dim"),
    [
        ("Oh", "1o", "1o", 1),
        ("Oh", "2e", "2e", 2),  # E_g + T_2g
        ("Oh", "1o", "2e", 0),
        ("T", "1o", "2e", 1),
        ("T", "2e", "2e", 3),  # the pair E is complex, T
        ("C1", "1o", "2e", 15),
        ("Ci", "1o", "1e", 0),
        ("C6", "1o", "1o", 3),
        ("C6v", "1o", "1o", 2),
        ("I", "2e", "2e", 1),
        ("I", "3o", "3o", 2),  # T_2 + G
        ("Ih", "6e", "0e", 1),
        ("D4", "0o", "0e", 1),
        ("D4h", "0o", "0e", 0),
    ],
)
def test_maps_between_irreps_of_point_groups(symbol, irreps_in, irreps_out, dim):
    g = turned(symbol)
    a, b = Representation.irreps(g, irreps_in), Representation.irreps(g, irreps_out)
    assert a.hom_dimension(b) == len(a.hom_basis(b)) == dim


def test_tensor_products_and_sums():
    g = turned("D3d")
    a, b = Representation.irreps(g, "1o+0o"), Representation.irreps(g, "2x1e")
    assert np.abs((a @ b).matrices - [np.kron(x, y) for x, y in zip(a.matrices, b.matrices, strict=True)]).max() < 1e-12
    total = a + 2 * b
    assert total.dim == 4 + 12
    assert np.abs(total.character - a.character - 2 * b.character).max() < 1e-12
    ring = Representation.permutation(dihedral_group(4))
    assert (ring @ ring).is_permutation
    assert np.abs((ring @ ring).matrices - [np.kron(x, x) for x in ring.matrices]).max() == 0
    assert not a.is_permutation
    # l ⊗ l' holds |l - l'| .. l + l', for a group with other elements as well
    one = Representation.irreps(g, "1o")
    product = Representation.irreps(g, str(o3.Irreps("0e+1e+2e")))
    assert np.abs((one @ one).character - product.character).max() < 1e-12


def test_permutation_matrices_are_recognized():
    g = PointGroup("C3").rotated(_onto_diagonal())
    assert Representation.irreps(g, "1o").is_permutation  # C3 about [111] permutes x, y, z
    assert not Representation.irreps(turned("C3"), "1o").is_permutation


def _onto_diagonal() -> np.ndarray:
    z = np.ones(3) / np.sqrt(3)
    x = np.array([1, -1, 0]) / np.sqrt(2)
    return np.stack([x, np.cross(z, x), z], axis=1)


def test_stabilizer():
    ring = Representation.permutation(cyclic_group(6))
    assert ring.stabilizer([1, 2, 1, 2, 1, 2]) == (0, 2, 4)
    assert ring.stabilizer(np.zeros(6)) == tuple(range(6))
    assert ring.stabilizer(rng.standard_normal(6)) == (0,)


def test_cyclic_dihedral_and_symmetric_groups():
    assert [cyclic_group(n).order for n in range(1, 8)] == list(range(1, 8))
    assert [dihedral_group(n).order for n in range(3, 8)] == [6, 8, 10, 12, 14]
    assert [symmetric_group(n).order for n in range(1, 6)] == [1, 2, 6, 24, 120]
    assert cyclic_group(5).elements.tolist() == [[(i + k) % 5 for i in range(5)] for k in range(5)]


def test_restriction():
    rep = Representation.irreps(turned("Oh"), "1o+2e") + Representation.regular(PointGroup("Oh"))
    for h in ([0], rep.group.generate([5]), rep.group.generate([3, 7]), range(48)):
        small = rep.restrict(h)
        assert small.group.order == len(h)
        assert np.abs(small.matrices - rep.matrices[list(h)]).max() == 0
        assert np.abs(small.matrices[:, None] @ small.matrices[None] - small.matrices[small.group.table]).max() < 1e-12
        assert small.hom_dimension(small) >= rep.hom_dimension(rep)


@pytest.mark.parametrize("group", [cyclic_group(12), dihedral_group(6), symmetric_group(4), q8], ids=repr)
def test_transversal_subgroups_against_all_pairs(group):
    subgroups = list(itertools.chain.from_iterable(group.subgroup_classes))
    found = 0
    for h in subgroups:
        exists = any(len(np.unique(group.table[np.ix_(t, h)])) == group.order == len(t) * len(h) for t in subgroups)
        if exists:
            t = transversal_subgroup(group, h)
            assert len(np.unique(group.table[np.ix_(t, h)])) == group.order == len(t) * len(h)
            found += 1
        else:
            with pytest.raises(ValueError, match=r"no subgroup of order .* use RelaxedLinear"):
                transversal_subgroup(group, h)
    assert found >= 2


def test_transversal_of_a_subgroup_that_is_not_normal():
    s3 = symmetric_group(3)
    swap = next(h for h in range(6) if s3.element_orders[h] == 2)
    t = transversal_subgroup(s3, [s3.identity, swap])
    assert sorted(s3.element_orders[list(t)].tolist()) == [1, 3, 3]


def test_what_is_no_representation():
    c3 = cyclic_group(3)
    turn = np.array([[-0.5, -np.sqrt(0.75)], [np.sqrt(0.75), -0.5]])
    good = np.stack([np.eye(2), turn, turn @ turn])
    Representation(c3, good)
    with pytest.raises(ValueError, match="product of the images of elements"):
        Representation(c3, np.stack([np.eye(2), turn, turn]))
    skew = np.array([[1.0, 0.4], [0.0, 1.0]])
    with pytest.raises(ValueError, match="not orthogonal"):
        Representation(c3, skew @ good @ np.linalg.inv(skew))
    with pytest.raises(ValueError, match=r"shape \[3, d, d\], got \[2, 2, 2\]"):
        Representation(c3, good[:2])
    with pytest.raises(ValueError, match="product of the images of elements"):
        Representation.permutation(c3, [[0, 1, 2], [1, 0, 2], [0, 1, 2]])
    with pytest.raises(ValueError, match="must be 3 permutations"):
        Representation.permutation(c3, [[0, 1, 1]] * 3)
    with pytest.raises(ValueError, match="give images"):
        Representation.permutation(PointGroup("C3"))
    with pytest.raises(ValueError, match="give a PointGroup"):
        Representation.irreps(c3, "1o")
    with pytest.raises(ValueError, match="different groups"):
        Representation.trivial(c3) + Representation.trivial(cyclic_group(4))
    with pytest.raises(TypeError, match="FiniteGroup or a PointGroup"):
        Representation.trivial("C3")
    with pytest.raises(ValueError, match="continuous"):
        Representation.irreps(PointGroup("Cinfv"), "1o")
