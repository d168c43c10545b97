"""What symbols mean, and how the groups stand: beside spglib, moyopy and rules written out here."""

import re

import numpy as np
import pytest
from explicit_groups import C2X, CRYSTALLOGRAPHIC, INVERSION, MY, MZ, explicit, same_set, turn

from pyg_symbreak.groups import PointGroup
from pyg_symbreak.groups.symbols import parse_symbol, read_symbol

HEXAGONAL = np.array([[1, -0.5, 0], [0, 3**0.5 / 2, 0], [0, 0, 1.6]])  # columns a, b, c
X, Y, Z = np.eye(3)
EIGHTH = np.array([np.cos(np.pi / 8), np.sin(np.pi / 8), 0])


def half_turn(axis):
    return turn(axis, np.pi)


def mirror(normal):
    return -half_turn(normal)


def point_symbol(space_group):
    """The point group in the symbol of a space group: no lattice letter, no screws, mirrors for glide planes."""
    symbol = re.sub("[abcden]", "m", re.sub(r"_\d", "", space_group.split(" ", 1)[1]))
    return symbol.replace("4/m 2/m m", "4/m 2/m 2/m")  # spglib leaves a 2 out of 127 to 130


@pytest.mark.parametrize("axes", ["orthogonal", "hexagonal"])
def test_groups_stand_as_in_all_settings_of_all_space_groups(axes):
    """The operations of spglib's 530 settings, taken to Cartesian axes with a along x, are those of the full symbol."""
    spglib = pytest.importorskip("spglib")
    seen = set()
    for hall in range(1, 531):
        kind = spglib.get_spacegroup_type(hall)
        hexagonal = 143 <= kind.number <= 194
        # rhombohedral axes are not Cartesian, and R3m leaves open how 3m stands
        if kind.choice == "R" or hexagonal != (axes == "hexagonal") or kind.number in (160, 161):
            continue
        rotations = np.unique(spglib.get_symmetry_from_database(hall)["rotations"], axis=0).astype(float)
        if hexagonal:
            rotations = HEXAGONAL @ rotations @ np.linalg.inv(HEXAGONAL)
        for symbol in {point_symbol(kind.international_full), point_symbol(kind.international_full).replace(" ", "")}:
            assert same_set(PointGroup(symbol).matrices, rotations), (kind.international_full, symbol)
            seen.add(symbol.replace(" ", ""))
    some = {
        "orthogonal": {"-42m", "-4m2", "2mm", "m2m", "mm2", "12/m1", "112/m", "2/m11", "4/m2/m2/m", "4/m-32/m"},
        "hexagonal": {"312", "321", "31m", "3m1", "-312/m", "-32/m1", "-6m2", "-62m"},
    }
    assert seen >= some[axes]


@pytest.mark.parametrize(
    ("number", "symbol", "other"),
    [(111, "-42m", "-4m2"), (115, "-4m2", "-42m"), (149, "312", "321"), (150, "321", "312"), (156, "3m1", "31m"),
     (157, "31m", "3m1"), (162, "-31m", "-3m1"), (164, "-3m1", "-31m"), (187, "-6m2", "-62m"), (189, "-62m", "-6m2"),
     (160, "3m1", "31m"), (155, "32", "312"), (166, "-3m", "-31m")],
)  # fmt: skip
def test_both_settings_of_a_class_by_moyopy(number, symbol, other):
    moyopy = pytest.importorskip("moyopy")
    rotations = np.unique(moyopy.operations_from_number(number, primitive=False).rotations, axis=0).astype(float)
    if number > 142:
        rotations = HEXAGONAL @ rotations @ np.linalg.inv(HEXAGONAL)
    assert same_set(PointGroup(symbol).matrices, rotations)
    assert not same_set(PointGroup(other).matrices, rotations)
    assert PointGroup(symbol) != PointGroup(other)
    assert PointGroup(symbol).schoenflies == PointGroup(other).schoenflies


def test_short_symbols_of_classes():
    for symbol, name in CRYSTALLOGRAPHIC.items():
        assert parse_symbol(symbol) == name
        if symbol != "-6m2":
            assert PointGroup(symbol) == PointGroup(name)
    assert PointGroup("-62m") == PointGroup("D3h")
    assert PointGroup("-42m") == PointGroup("D2d")


SETTINGS = {  # two elements that tell how the group stands, one that it has not
    "2mm": (half_turn(X), mirror(Y), half_turn(Z)), "m2m": (half_turn(Y), mirror(X), half_turn(Z)),
    "mm2": (half_turn(Z), mirror(X), half_turn(X)), "-4m2": (mirror(X), half_turn([1, 1, 0]), half_turn(X)),
    "-42m": (half_turn(X), mirror([1, 1, 0]), mirror(X)), "312": (half_turn(Y), half_turn(Y), half_turn(X)),
    "321": (half_turn(X), half_turn(X), half_turn(Y)), "3m1": (mirror(X), mirror(X), mirror(Y)),
    "31m": (mirror(Y), mirror(Y), mirror(X)), "-31m": (half_turn(Y), mirror(Y), half_turn(X)),
    "-3m1": (half_turn(X), mirror(X), half_turn(Y)), "-6m2": (mirror(X), half_turn(Y), half_turn(X)),
    "-62m": (half_turn(X), mirror(Y), mirror(X)), "121": (half_turn(Y), half_turn(Y), half_turn(Z)),
    "1m1": (mirror(Y), mirror(Y), mirror(Z)), "2/m 1 1": (half_turn(X), mirror(X), mirror(Z)),
    "1 1 2/m": (half_turn(Z), mirror(Z), mirror(X)), "-82m": (half_turn(X), mirror(EIGHTH), mirror(X)),
    "-8m2": (mirror(X), half_turn(EIGHTH), half_turn(X)),
    "-10m2": (mirror(X), half_turn(Y), half_turn(X)), "-102m": (half_turn(X), mirror(Y), mirror(X)),
    "D1": (half_turn(X), half_turn(X), half_turn(Z)), "D1h": (half_turn(X), MZ, mirror(X)),
    "D1d": (half_turn(X), INVERSION, MZ), "C1v": (MY, MY, MZ), "C1h": (MZ, MZ, MY),
}  # fmt: skip


@pytest.mark.parametrize("symbol", SETTINGS)
def test_directions_of_settings(symbol):
    group = PointGroup(symbol)
    *inside, outside = SETTINGS[symbol]
    assert all(group.contains(m) for m in inside)
    assert not group.contains(outside)
    assert abs(np.linalg.det(group.frame) - 1) < 1e-12


@pytest.mark.parametrize("n", range(1, 9))
def test_axial_families_of_any_order_by_their_generators(n):
    """The rule of the families holds for n = 1 as well: D1, D1h, D1d, C1v, C1h, S1, S2."""
    main, roto = turn(Z, 2 * np.pi / n), MZ @ turn(Z, np.pi / n)
    for symbol, generators in {
        f"C{n}": [main], f"C{n}v": [main, MY], f"C{n}h": [main, MZ], f"D{n}": [main, C2X], f"D{n}h": [main, C2X, MZ],
        f"D{n}d": [roto, C2X], f"S{2 * n}": [roto], f"S{n}": [MZ @ main],
        **({f"C{n}i": [main, INVERSION]} if n % 2 else {}),
    }.items():  # fmt: skip
        group = PointGroup(symbol)
        assert all(group.contains(g) for g in generators), symbol
        words = [np.eye(3)]
        for a in words:
            words += [a @ g for g in generators if not any(np.abs(a @ g - w).max() < 1e-9 for w in words)]
        assert group.order == len(words), symbol


NON_CRYSTALLOGRAPHIC = {
    "5": "C5", "7": "C7", "8": "C8", "12": "C12", "-5": "S10", "-8": "S8", "-10": "C5h", "-12": "S12", "-14": "C7h",
    "8/m": "C8h", "10/m": "C10h", "5/m": "C5h", "52": "D5", "72": "D7", "822": "D8", "1022": "D10", "5m": "C5v",
    "8mm": "C8v", "12mm": "C12v", "-5m": "D5d", "-5 2/m": "D5d", "-7m": "D7d", "-82m": "D4d", "-122m": "D6d",
    "-10m2": "D5h", "8/mmm": "D8h", "8/m 2/m 2/m": "D8h", "12/mmm": "D12h", "5/mm2": "D5h", "235": "I", "532": "I",
    "m-3-5": "Ih", "2/m -3 -5": "Ih", "∞": "Cinf", "∞m": "Cinfv", "∞mm": "Cinfv", "∞/m": "Cinfh", "∞2": "Dinf",
    "∞22": "Dinf", "∞/mm": "Dinfh", "∞/mmm": "Dinfh", "∞∞": "SO3", "∞∞m": "O3", "3/m": "C3h",
}  # fmt: skip


@pytest.mark.parametrize(("symbol", "name"), NON_CRYSTALLOGRAPHIC.items())
def test_non_crystallographic_symbols(symbol, name):
    assert parse_symbol(symbol) == name


@pytest.mark.parametrize(
    ("symbol", "name"),
    [("V", "D2"), ("Vh", "D2h"), ("Vd", "D2d"), ("C*v", "Cinfv"), ("D*h", "Dinfh"), ("C0v", "Cinfv"), ("D0h", "Dinfh"),
     ("Coov", "Cinfv"), ("Dooh", "Dinfh"), ("C_{2v}", "C2v"), ("C∞v", "Cinfv"), (r"D_{\infty h}", "Dinfh"),
     (r"$\mathrm{C}_{\infty\,v}$", "Cinfv"), ("C₂ᵥ", "C2v"), ("K", "SO3"), ("Kh", "O3"), ("K_h", "O3"), ("Y", "I"),
     ("Yh", "Ih"), ("SO(3)", "SO3"), ("O(3)", "O3"), ("D241h", "D241h"), ("D1", "C2"), ("D1h", "C2v"), ("D1d", "C2h"),
     ("S2", "Ci"), ("C1h", "Cs"), ("C1v", "Cs"), ("S1", "Cs"), ("S3", "C3h"), ("S5", "C5h"), ("C3i", "S6"),
     ("C5i", "S10"), ("C1i", "Ci"), ("m3m", "Oh"), ("m3", "Th"), ("4/m 2/m 2/m", "D4h"), ("2/m 2/m 2/m", "D2h"),
     ("6/m 2/m 2/m", "D6h"), ("4/m -3 2/m", "Oh"), ("2/m -3", "Th"), ("-3 2/m", "D3d"), (r"\bar{4}3m", "Td"),
     ("4\u03043m", "Td"), ("−43m", "Td"), (" D_3h ", "D3h")],
)  # fmt: skip
def test_other_spellings(symbol, name):
    assert parse_symbol(symbol) == name
    assert PointGroup(symbol).schoenflies == name


@pytest.mark.parametrize(
    ("symbol", "near"),
    [("oh", "Oh"), ("c2v", "C2v"), ("d6h", "D6h"), ("td", "Td"), ("ih", "Ih"), ("cs", "Cs"), ("ci", "Ci"), ("s8", "S8"),
     ("CINFV", "Cinfv"), ("D3H", "D3h"), ("d241h", "D241h"), ("c17v", "C17v"), ("M-3M", "m-3m"), ("vh", "Vh"),
     ("DOOH", "Dooh")],
)  # fmt: skip
def test_a_symbol_in_other_letters_is_named_first(symbol, near):
    with pytest.raises(ValueError, match=f"the nearest are {near}(,|$)"):
        PointGroup(symbol)


@pytest.mark.parametrize(
    ("symbol", "near"),
    [("C4w", "C4v"), ("m3n", "m-3m"), ("D_5x", "D5"), ("Dinfv", "Dinfh"), ("-43n", "-43m"), ("42", "422"),
     ("62", "622"), ("8m", "8mm"), ("4/mm", "4/mmm"), ("D3v", "D3h"), ("C3d", "C3v"), ("-5m2", "-5m"),
     ("S0", "S4"), ("C0d", "Cs")],
)  # fmt: skip
def test_unknown_symbols_name_the_nearest(symbol, near):
    with pytest.raises(ValueError, match="nearest") as error:
        PointGroup(symbol)
    assert near in str(error.value).split("nearest are")[1].replace(",", "").split()


def test_symbols_without_any_neighbour():
    for symbol in ("", "xyz", None, "()"):
        with pytest.raises(ValueError, match="the nearest are C1, D3h, Oh"):
            PointGroup(symbol)
    with pytest.raises(ValueError, match="above 100000"):
        PointGroup("C100001v")
    assert parse_symbol("D100000h") == "D100000h"
    assert parse_symbol("19") == "C19"
    with pytest.raises(ValueError, match="not the symbol"):
        PointGroup("20")  # a long number is rather a symbol with something left out


def test_known_symbols_are_their_own_nearest():
    """Every name that an error may offer is a symbol."""
    for symbol in ("C4w", "8", "m-3n", "-9", "D9x", "5q", "12/", "23x"):
        try:
            read_symbol(symbol)
        except ValueError as error:
            for near in str(error).split("nearest are ")[1].split(", "):
                read_symbol(near)


@pytest.mark.parametrize("name", ["C2v", "D3h", "S8", "Oh", "Ih", "D5d"])
def test_schoenflies_symbols_stand_in_the_standard_orientation(name):
    assert (read_symbol(name)[1] == np.eye(3)).all()
    assert same_set(PointGroup(name).matrices, explicit(name))


def test_different_groups_differ():
    for a, b in [("C2v", "C2h"), ("D3", "C3v"), ("S4", "C4"), ("Dinf", "Cinfv"), ("D1", "C2"), ("C1v", "Cs")]:
        assert PointGroup(a) != PointGroup(b)
