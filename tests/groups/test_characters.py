"""Characters beside printed tables, the orthogonality relations, and representations by explicit matrices."""

import math

import numpy as np
import pytest
from explicit_groups import CRYSTALLOGRAPHIC, all_names, by_harmonics, conjugated, explicit, random_rotation

from pyg_symbreak.groups import PointGroup, character_table

NAMES = sorted({*CRYSTALLOGRAPHIC.values(), *all_names(8)})


def moved(name):
    rng = np.random.default_rng(len(name))
    q = random_rotation(rng)
    return PointGroup.from_matrices(conjugated(explicit(name), q)[rng.permutation(len(explicit(name)))])


@pytest.mark.parametrize("name", NAMES)
def test_orthogonality_relations(name):
    """Rows are orthogonal, of norm 1, or 2 for a pair of complex conjugates; dimensions and classes add up."""
    group = moved(name)
    table = character_table(group)
    sizes = np.array([len(c) for c in table.classes])
    assert sizes.sum() == group.order
    gram = (table.characters * sizes) @ table.characters.T / group.order
    norms = np.round(np.diag(gram))
    assert np.abs(gram - np.diag(norms)).max() < 1e-10
    assert set(norms.tolist()) <= {1.0, 2.0}
    first = next(i for i, c in enumerate(table.classes) if np.abs(group.matrices[c[0]] - np.eye(3)).max() < 1e-9)
    assert (table.characters[:, first] ** 2 / norms).sum() == pytest.approx(group.order)
    assert norms.sum() == len(table.classes)  # as many complex irreps as classes
    assert len(set(table.names)) == len(table.names)
    assert (table.characters[0] == 1).all()
    for row in table.characters:  # the Frobenius–Schur indicator: real type, or a pair of complex type
        indicator = (sizes * row[table._squares]).sum() / group.order
        norm = round((sizes * row**2).sum() / group.order)
        assert indicator == pytest.approx({1: 1, 2: 0}[norm])


@pytest.mark.parametrize("name", NAMES)
def test_irreps_of_o3(name):
    """The character of explicit matrices of irreps of O(3), element by element."""
    group = moved(name)
    table = character_table(group)
    for irreps in ("1o", "1e", "2e+0o", "3o", "4o+2x1e"):
        trace = np.trace(by_harmonics(irreps, group.matrices), axis1=1, axis2=2)
        counts = table.of_irreps(irreps)
        for members, column in zip(table.classes, table.characters.T, strict=True):
            found = sum(counts.get(n, 0) * x for n, x in zip(table.names, column, strict=True))
            assert np.abs(trace[members] - found).max() < 1e-9


# x, y, z and the rotations about them, from the usual printed tables; then the second-degree functions
PRINTED = {
    "C1": ("3A", "3A"), "Ci": ("3Au", "3Ag"), "Cs": ("2A' A''", "A' 2A''"), "C2": ("A 2B", "A 2B"),
    "C2v": ("A1 B1 B2", "A2 B1 B2"), "C2h": ("Au 2Bu", "Ag 2Bg"), "D2": ("B1 B2 B3", "B1 B2 B3"),
    "D2h": ("B1u B2u B3u", "B1g B2g B3g"), "C3": ("A E", "A E"), "C3v": ("A1 E", "A2 E"), "D3": ("A2 E", "A2 E"),
    "S6": ("Au Eu", "Ag Eg"), "D3d": ("A2u Eu", "A2g Eg"), "C4": ("A E", "A E"), "S4": ("B E", "A E"),
    "C4h": ("Au Eu", "Ag Eg"), "D4": ("A2 E", "A2 E"), "C4v": ("A1 E", "A2 E"), "D2d": ("B2 E", "A2 E"),
    "D4h": ("A2u Eu", "A2g Eg"), "C6": ("A E1", "A E1"), "C3h": ("A'' E'", "A' E''"), "C6h": ("Au E1u", "Ag E1g"),
    "D6": ("A2 E1", "A2 E1"), "C6v": ("A1 E1", "A2 E1"), "D3h": ("A2'' E'", "A2' E''"), "D6h": ("A2u E1u", "A2g E1g"),
    "T": ("T", "T"), "Th": ("Tu", "Tg"), "O": ("T1", "T1"), "Td": ("T2", "T1"), "Oh": ("T1u", "T1g"),
    "I": ("T1", "T1"), "Ih": ("T1u", "T1g"), "C5v": ("A1 E1", "A2 E1"), "D5h": ("A2'' E1'", "A2' E1''"),
    "D5d": ("A2u E1u", "A2g E1g"), "D4d": ("B2 E1", "A2 E3"), "D6d": ("B2 E1", "A2 E5"), "S8": ("B E1", "A E3"),
    "C5h": ("A'' E1'", "A' E1''"), "D8h": ("A2u E1u", "A2g E1g"),
}  # fmt: skip


def counted(text):
    return {word.lstrip("23"): int(word[0]) if word[0].isdigit() else 1 for word in text.split()}


@pytest.mark.parametrize("name", PRINTED)
def test_vectors_and_rotations_of_printed_tables(name):
    assert set(CRYSTALLOGRAPHIC.values()) <= set(PRINTED)
    table = character_table(moved(name))
    assert table.of_irreps("1o") == counted(PRINTED[name][0])
    assert table.of_irreps("1e") == counted(PRINTED[name][1])


SIGNS = {  # one-dimensional irreps by functions: the irrep, a function it transforms as
    "C2v": {"B1": lambda x, y, z: x, "B2": lambda x, y, z: y, "A2": lambda x, y, z: x * y},
    "D2": {"B1": lambda x, y, z: z, "B2": lambda x, y, z: y, "B3": lambda x, y, z: x},
    "D2h": {"B1u": lambda x, y, z: z, "B2u": lambda x, y, z: y, "B3u": lambda x, y, z: x, "B1g": lambda x, y, z: x * y},
    "D4": {"B1": lambda x, y, z: x * x - y * y, "B2": lambda x, y, z: x * y},
    "C4v": {"B1": lambda x, y, z: x * x - y * y, "B2": lambda x, y, z: x * y},
    "D4h": {"B1g": lambda x, y, z: x * x - y * y, "B2g": lambda x, y, z: x * y,
            "B2u": lambda x, y, z: (x * x - y * y) * z},
    "D2d": {"B1": lambda x, y, z: x * x - y * y, "B2": lambda x, y, z: x * y,
            "A2": lambda x, y, z: x * y * (x * x - y * y)},
    "C6v": {"B1": lambda x, y, z: x**3 - 3 * x * y * y, "B2": lambda x, y, z: y**3 - 3 * x * x * y},
    "D6": {"B1": lambda x, y, z: x**3 - 3 * x * y * y, "B2": lambda x, y, z: y**3 - 3 * x * x * y},
    "D3h": {"A1'": lambda x, y, z: x**3 - 3 * x * y * y, "A2'": lambda x, y, z: y**3 - 3 * x * x * y},
    "C4": {"B": lambda x, y, z: x * y}, "S4": {"B": lambda x, y, z: z},
    "C6": {"B": lambda x, y, z: x**3 - 3 * x * y * y},
    "Td": {"A2": lambda x, y, z: (x * x - y * y) * (y * y - z * z) * (z * z - x * x)},
    "O": {"A2": lambda x, y, z: x * y * z}, "Oh": {"A2u": lambda x, y, z: x * y * z},
    "C3h": {"A''": lambda x, y, z: z}, "Ci": {"Au": lambda x, y, z: x}, "Cs": {"A'": lambda x, y, z: x},
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNS)
def test_functions_of_one_dimensional_irreps(name):
    """Each function is multiplied by the character: f(R⁻¹r) = χ(R)·f(r), in any orientation."""
    group = moved(name)
    table = character_table(group)
    points = np.random.default_rng(1).standard_normal((7, 3))
    for irrep, function in SIGNS[name].items():
        before = function(*(group.frame.T @ points.T))
        for members, sign in zip(table.classes, table.row(irrep), strict=True):
            for m in group.matrices[members]:
                after = function(*(group.frame.T @ m.T @ points.T))
                assert np.abs(after - sign * before).max() < 1e-9 * max(1, np.abs(before).max()), (irrep, sign)


GOLDEN = (1 + 5**0.5) / 2


def test_characters_of_the_icosahedron():
    group = moved("I")
    table = character_table(group)
    cosines = [(np.trace(group.matrices[c[0]]) - 1) / 2 for c in table.classes]
    angle = [round(np.degrees(np.arccos(np.clip(x, -1, 1)))) for x in cosines]
    columns = dict(zip(angle, table.characters.T, strict=True))
    printed = {0: [1, 3, 3, 4, 5], 72: [1, GOLDEN, 1 - GOLDEN, -1, 0], 144: [1, 1 - GOLDEN, GOLDEN, -1, 0],
               120: [1, 0, 0, 1, -1], 180: [1, -1, -1, 0, 1]}  # fmt: skip
    assert table.names == ("A", "T1", "T2", "G", "H")
    for a, column in printed.items():
        assert np.abs(columns[a] - column).max() < 1e-9


JAHN_TELLER = {  # known active irreps of degenerate states
    ("C3v", "E"): "E", ("D3h", "E'"): "E'", ("D3h", "E''"): "E'", ("C4v", "E"): "B1 B2", ("D4h", "Eg"): "B1g B2g",
    ("D2d", "E"): "B1 B2", ("D6h", "E1g"): "E2g", ("D6h", "E2u"): "E2g", ("D5h", "E1'"): "E2'", ("D5h", "E2'"): "E1'",
    ("Td", "E"): "E", ("Td", "T2"): "E T2", ("Td", "T1"): "E T2", ("Oh", "Eg"): "Eg", ("Oh", "T1u"): "Eg T2g",
    ("Ih", "T1u"): "Hg", ("Ih", "T2g"): "Hg", ("Ih", "Gu"): "Gg Hg", ("Ih", "Hu"): "Gg 2Hg", ("D4d", "E1"): "E2",
    ("D4d", "E2"): "B1 B2", ("C3", "E"): "E", ("S4", "E"): "2B", ("T", "T"): "E T", ("Oh", "A1g"): "",
    ("C2v", "B1"): "",
}  # fmt: skip


@pytest.mark.parametrize(("name", "state"), JAHN_TELLER)
def test_jahn_teller_active_irreps(name, state):
    assert character_table(moved(name)).jahn_teller_active(state) == counted(JAHN_TELLER[name, state])


@pytest.mark.parametrize("name", ["C3", "S4", "D3h", "D6d", "Th", "Oh", "Ih", "C6v"])
def test_squares_and_products(name):
    table = character_table(moved(name))
    for a in table.names:
        symmetric, other = table.symmetric_square(a), table.antisymmetric_square(a)
        both = {n: symmetric.get(n, 0) + other.get(n, 0) for n in table.names}
        assert {n: c for n, c in both.items() if c} == table.product(a, a)
        assert table.names[0] in symmetric
        for b in table.names:
            assert table.product(a, b) == table.product(b, a)
            assert (table.names[0] in table.product(a, b)) == (a == b)
    assert table.product(table.names[-1]) == {table.names[-1]: 1}
    # the antisymmetric square of x, y, z is the rotations
    total = sum(count * table.row(n) for n, count in table.of_irreps("1o").items())
    squares = total[table._squares]
    assert table.decompose((total**2 - squares) / 2) == table.of_irreps("1e")
    assert table.decompose((total**2 + squares) / 2) == table.of_irreps("2e+0e")


def test_errors():
    table = character_table(PointGroup("Td"))
    with pytest.raises(ValueError, match="Td has no irrep 'T2g'; its irreps are A1, A2, E, T1, T2"):
        table.row("T2g")
    with pytest.raises(ValueError, match="not the character of a real representation of Td"):
        table.decompose(table.row("A1") / 2)
    with pytest.raises(ValueError, match="not the character"):
        table.decompose(-table.row("E"))
    with pytest.raises(ValueError, match="one number for each of 5 classes"):
        table.decompose([1.0, 2.0])
    with pytest.raises(ValueError, match="Cinfv is continuous"):
        character_table(PointGroup("Cinfv"))
    with pytest.raises(ValueError, match="not the character of a real"):
        character_table(PointGroup("C3")).decompose([1.0, math.sin(1), 0.0])
