import itertools
import re
from collections import Counter

import numpy as np
import pytest
from explicit_groups import all_names, conjugated, explicit, families, find, random_orthogonal, same_set, turn

from pyg_symbreak.groups import PointGroup

# Written by GAP 4.12 from exact cyclotomic matrices (ConjugacyClasses, ConjugacyClassesSubgroups): name, number of
# classes of elements, then order:conjugates x number of such classes of subgroups.
GAP_SUBGROUPS = """
C1 1 1:1x1
Cs 2 1:1x1 2:1x1
Ci 2 1:1x1 2:1x1
T 4 1:1x1 2:3x1 3:4x1 4:1x1 12:1x1
Th 8 1:1x1 2:1x1 2:3x2 3:4x1 4:1x1 4:3x2 6:4x1 8:1x1 12:1x1 24:1x1
Td 5 1:1x1 2:3x1 2:6x1 3:4x1 4:1x1 4:3x2 6:4x1 8:3x1 12:1x1 24:1x1
O 5 1:1x1 2:3x1 2:6x1 3:4x1 4:1x1 4:3x2 6:4x1 8:3x1 12:1x1 24:1x1
Oh 10 1:1x1 2:1x1 2:3x2 2:6x2 3:4x1 4:1x1 4:3x6 4:6x2 6:4x3 8:1x1 8:3x6 12:1x1 12:4x1 16:3x1 24:1x3 48:1x1
I 5 1:1x1 2:15x1 3:10x1 4:5x1 5:6x1 6:10x1 10:6x1 12:5x1 60:1x1
Ih 10 1:1x1 2:1x1 2:15x2 3:10x1 4:5x1 4:15x2 5:6x1 6:10x3 8:5x1 10:6x3 12:5x1 12:10x1 20:6x1 24:5x1 60:1x1 120:1x1
C2 2 1:1x1 2:1x1
C2v 4 1:1x1 2:1x3 4:1x1
C2h 4 1:1x1 2:1x3 4:1x1
S4 4 1:1x1 2:1x1 4:1x1
D2 4 1:1x1 2:1x3 4:1x1
D2h 8 1:1x1 2:1x7 4:1x7 8:1x1
D2d 5 1:1x1 2:1x1 2:2x2 4:1x3 8:1x1
C3 3 1:1x1 3:1x1
C3v 3 1:1x1 2:3x1 3:1x1 6:1x1
C3h 6 1:1x1 2:1x1 3:1x1 6:1x1
S6 6 1:1x1 2:1x1 3:1x1 6:1x1
D3 3 1:1x1 2:3x1 3:1x1 6:1x1
D3h 6 1:1x1 2:1x1 2:3x2 3:1x1 4:3x1 6:1x3 12:1x1
D3d 6 1:1x1 2:1x1 2:3x2 3:1x1 4:3x1 6:1x3 12:1x1
C4 4 1:1x1 2:1x1 4:1x1
C4v 5 1:1x1 2:1x1 2:2x2 4:1x3 8:1x1
C4h 8 1:1x1 2:1x3 4:1x3 8:1x1
S8 8 1:1x1 2:1x1 4:1x1 8:1x1
D4 5 1:1x1 2:1x1 2:2x2 4:1x3 8:1x1
D4h 10 1:1x1 2:1x3 2:2x4 4:1x7 4:2x4 8:1x7 16:1x1
D4d 7 1:1x1 2:1x1 2:4x2 4:1x1 4:2x2 8:1x3 16:1x1
C5 5 1:1x1 5:1x1
C5v 4 1:1x1 2:5x1 5:1x1 10:1x1
C5h 10 1:1x1 2:1x1 5:1x1 10:1x1
S10 10 1:1x1 2:1x1 5:1x1 10:1x1
D5 4 1:1x1 2:5x1 5:1x1 10:1x1
D5h 8 1:1x1 2:1x1 2:5x2 4:5x1 5:1x1 10:1x3 20:1x1
D5d 8 1:1x1 2:1x1 2:5x2 4:5x1 5:1x1 10:1x3 20:1x1
C6 6 1:1x1 2:1x1 3:1x1 6:1x1
C6v 6 1:1x1 2:1x1 2:3x2 3:1x1 4:3x1 6:1x3 12:1x1
C6h 12 1:1x1 2:1x3 3:1x1 4:1x1 6:1x3 12:1x1
S12 12 1:1x1 2:1x1 3:1x1 4:1x1 6:1x1 12:1x1
D6 6 1:1x1 2:1x1 2:3x2 3:1x1 4:3x1 6:1x3 12:1x1
D6h 12 1:1x1 2:1x3 2:3x4 3:1x1 4:1x1 4:3x6 6:1x7 8:3x1 12:1x7 24:1x1
D6d 9 1:1x1 2:1x1 2:6x2 3:1x1 4:1x1 4:3x2 6:1x1 6:2x2 8:3x1 12:1x3 24:1x1
C7 7 1:1x1 7:1x1
C7v 5 1:1x1 2:7x1 7:1x1 14:1x1
C7h 14 1:1x1 2:1x1 7:1x1 14:1x1
S14 14 1:1x1 2:1x1 7:1x1 14:1x1
D7 5 1:1x1 2:7x1 7:1x1 14:1x1
D7h 10 1:1x1 2:1x1 2:7x2 4:7x1 7:1x1 14:1x3 28:1x1
D7d 10 1:1x1 2:1x1 2:7x2 4:7x1 7:1x1 14:1x3 28:1x1
C8 8 1:1x1 2:1x1 4:1x1 8:1x1
C8v 7 1:1x1 2:1x1 2:4x2 4:1x1 4:2x2 8:1x3 16:1x1
C8h 16 1:1x1 2:1x3 4:1x3 8:1x3 16:1x1
S16 16 1:1x1 2:1x1 4:1x1 8:1x1 16:1x1
D8 7 1:1x1 2:1x1 2:4x2 4:1x1 4:2x2 8:1x3 16:1x1
D8h 14 1:1x1 2:1x3 2:4x4 4:1x3 4:2x4 4:4x4 8:1x7 8:2x4 16:1x7 32:1x1
D8d 11 1:1x1 2:1x1 2:8x2 4:1x1 4:4x2 8:1x1 8:2x2 16:1x3 32:1x1
"""
CLASSES = {name: (int(count), rest) for name, count, *rest in map(str.split, GAP_SUBGROUPS.strip().splitlines())}


def complements_by_gap(name):
    """The complements of S in its normalizer in O(3), one of each class (GAP: ComplementClassesRepresentatives)."""
    fixed = {"D2": "D3d", "D2h": "C3v D3", "T": "C2v C2h", "Th": "Cs C2", "Td": "C2 Ci Cs", "O": "Ci Cs Cs", "Oh": "C1",
             "I": "Ci Cs", "Ih": "C1"}  # fmt: skip
    even = {"Cv": "C2v C2h", "D": "C2v C2h", "Dh": "Cs C2", "Dd": "C2 Ci Cs Cs"}
    odd = {"Cv": "C2v D2 C2h C2h", "D": "C2v C2v C2h C2h", "Dh": "C2 C2 Cs Ci", "Dd": "C2 C2 Cs Cs"}
    if name in fixed:
        return fixed[name].split()
    family, n, kind = re.fullmatch(r"([CD])(\d+)([vhd]?)", name).groups()
    return (odd if int(n) % 2 else even)[family + kind].split()


def normalizer_by_table(name):
    """The name of the normalizer in O(3) of a group whose axes do not all coincide."""
    if name in ("T", "Th", "Td", "O", "Oh", "D2", "D2h"):
        return "Oh"
    if name in ("I", "Ih"):
        return "Ih"
    return f"D{2 * int(re.search('[0-9]+', name)[0])}h"


CYCLIC = [f for n in range(2, 9) for f in families(n) if re.fullmatch(r"C\d+h?|S\d+", f)]
FINITE_NORMALIZER = [n for n in all_names(8) if n not in (*CYCLIC, "C1", "Cs", "Ci")]


def moved(name, seed=0):
    q = random_orthogonal(np.random.default_rng(seed + sum(map(ord, name))))
    return PointGroup(name).rotated(q), q


@pytest.mark.parametrize("name", CLASSES)
def test_classes_agree_with_gap(name):
    count, rest = CLASSES[name]
    g, _ = moved(name)
    found = Counter(f"{k.order}:{k.conjugates}" for k in g.subgroups())
    assert {f"{key}x{value}" for key, value in found.items()} == set(rest)
    classes = g.element_classes
    assert len(classes) == count
    assert sorted(i for c in classes for i in c) == list(range(g.order))
    traces = np.trace(g.matrices, axis1=1, axis2=2)
    assert all(np.ptp(traces[c]) < 1e-9 for c in classes)


@pytest.mark.parametrize("name", CLASSES)
def test_subgroups_are_what_they_are_called(name):
    g, _ = moved(name, 1)
    subgroups = g.subgroups()
    assert len({k.label for k in subgroups}) == len(subgroups)
    seen = set()
    for k in subgroups:
        inside = find(g.matrices, k.matrices)
        assert same_set(k.matrices, conjugated(explicit(k.schoenflies), k.frame))
        conjugates = find(g.matrices, g.matrices[:, None] @ k.matrices @ np.swapaxes(g.matrices, 1, 2)[:, None])
        conjugates = {frozenset(row.tolist()) for row in conjugates}
        assert len(conjugates) == k.conjugates
        assert not conjugates & seen
        seen |= conjugates
        assert g.indices_of(k) == tuple(sorted(inside.tolist()))
        assert g.subgroup(k.label) == k  # the label means this very representative


def test_names_of_the_classes_of_subgroups():
    names = Counter(k.schoenflies for k in PointGroup("m-3m").subgroups())
    expected = (
        "C1 Ci C2 C2 Cs Cs C3 S6 C4 S4 C2v C2v C2v C2h C2h D2 D2 C3v D3 C4v C4h D4 D2d D2d D2h D2h D3d D4h T Th Td O Oh"
    )
    assert names == Counter(expected.split())
    names = Counter(k.schoenflies for k in PointGroup("Ih").subgroups())
    expected = "C1 C2 Cs Ci C3 D2 C2v C2h C5 C3v D3 S6 D2h C5v D5 S10 D3d T D5d Th I Ih"
    assert names == Counter(expected.split())


def characteristic_automorphisms(elements):
    """How many automorphisms of a group of matrices keep every trace and determinant."""
    table = find(elements, elements[:, None] @ elements)
    kind = np.round(10 * np.linalg.det(elements) + np.trace(elements, axis1=1, axis2=2), 5)
    unit = int(find(elements, np.eye(3)[None])[0])

    def spanned(seeds):
        reached = [unit]
        for a in reached:
            reached += [b for b in dict.fromkeys(int(table[a, g]) for g in seeds) if b not in reached]
        return reached

    generators = []
    rarest_first = sorted(range(len(elements)), key=lambda i: (np.sum(kind == kind[i]), -len(spanned([i]))))
    for i in rarest_first:
        if i not in spanned(generators):
            generators.append(i)
    found = 0
    for images in itertools.product(*(np.flatnonzero(kind == kind[g]) for g in generators)):
        image, order = {unit: unit}, [unit]
        for a in order:
            for g, h in zip(generators, images, strict=True):
                b = int(table[a, g])
                if b not in image:
                    image[b] = int(table[image[a], h])
                    order.append(b)
        phi = np.array([image[a] for a in range(len(elements))])
        good = len(set(phi.tolist())) == len(phi) and (kind[phi] == kind).all()
        found += bool(good and all((phi[table[:, g]] == table[phi, phi[g]]).all() for g in generators))
    return found


@pytest.mark.parametrize("name", FINITE_NORMALIZER)
def test_finite_normalizers(name):
    """All elements normalize S, and there are as many as there can be.

    The centralizer of S in O(3) has 2^c elements, c = <χ,χ> the number of irreducible parts of R³ (all different and
    of real type), and N(S) modulo it consists of the automorphisms of S that keep the character.
    """
    s, q = moved(name)
    n = s.normalizer()
    assert n.schoenflies == normalizer_by_table(name)
    assert same_set(n.matrices, conjugated(explicit(normalizer_by_table(name)), q))
    for m in n.matrices:
        find(s.matrices, conjugated(s.matrices, m))
    parts = np.mean(np.trace(s.matrices, axis1=1, axis2=2) ** 2)
    assert n.order == 2 ** round(parts) * characteristic_automorphisms(explicit(name))
    if (np.linalg.det(s.matrices) > 0).all():
        rotations = s.normalizer("SO3").matrices
        assert same_set(rotations, n.matrices[np.linalg.det(n.matrices) > 0])


@pytest.mark.parametrize("name", [*CYCLIC, "Cs"])
def test_infinite_normalizers(name):
    """One axis, kept by all that normalizes S: N is in D∞h, and all of D∞h normalizes S."""
    s, q = moved(name)
    n = s.normalizer()
    assert n.schoenflies == "Dinfh"
    assert abs(abs(n.axis @ q[:, 2]) - 1) < 1e-12
    rng = np.random.default_rng(0)
    for _ in range(8):
        find(s.matrices, conjugated(s.matrices, n.random_element(rng)))
    if name[0] == "C" and name[-1] not in "hs":
        assert s.normalizer("SO3").schoenflies == "Dinf"


def test_normalizers_of_the_rest():
    expected = {"C1": "O3", "Ci": "O3", "Cinf": "Dinfh", "Cinfv": "Dinfh", "Cinfh": "Dinfh", "Dinf": "Dinfh",
                "Dinfh": "Dinfh", "SO3": "O3", "O3": "O3"}  # fmt: skip
    for name, normalizer in expected.items():
        s, _ = moved(name)
        assert s.normalizer().schoenflies == normalizer
        assert s.normalizer().contains_group(s)
    assert PointGroup("Dinf").normalizer("SO3").schoenflies == "Dinf"
    assert PointGroup("C1").normalizer("SO3").schoenflies == "SO3"
    assert PointGroup("D2").normalizer("SO3").schoenflies == "O"
    assert PointGroup("T").normalizer("SO3").schoenflies == "O"
    assert PointGroup("D5").normalizer("SO3").schoenflies == "D10"


@pytest.mark.parametrize("parent", ["Oh", "D6h", "Td", "D4d"])
def test_normalizers_in_a_finite_parent(parent):
    g, _ = moved(parent)
    for s in g.subgroups():
        elements = s.matrices
        expected = [m for m in g.matrices if same_set(conjugated(elements, m), elements)]
        assert same_set(s.normalizer(parent=g).matrices, expected)


def test_normalizer_errors():
    with pytest.raises(ValueError, match="improper elements"):
        PointGroup("Cs").normalizer("SO3")
    with pytest.raises(ValueError, match="not a subgroup of Td"):
        PointGroup("O").normalizer(PointGroup("Td"))
    with pytest.raises(ValueError, match="must be 'O3', 'SO3' or a PointGroup"):
        PointGroup("O").normalizer("E3")
    with pytest.raises(ValueError, match="O3, SO3 or a finite"):
        PointGroup("C2").normalizer(PointGroup("Dinfh"))
    with pytest.raises(ValueError, match="continuous"):
        PointGroup("C4").complements()


@pytest.mark.parametrize("name", FINITE_NORMALIZER)
def test_complements_agree_with_gap(name):
    s, _ = moved(name, 2)
    n = s.normalizer().matrices
    found = s.complements()
    assert sorted(m.schoenflies for m in found) == sorted(complements_by_gap(name))
    in_s = find(n, s.matrices)
    orbits = []
    for m in found:
        in_m = find(n, m.matrices)
        assert len(set(in_m.tolist()) & set(in_s.tolist())) == 1
        assert len(np.unique(find(n, s.matrices[:, None] @ m.matrices))) == len(n)
        conjugates = find(n, n[:, None] @ m.matrices @ np.swapaxes(n, 1, 2)[:, None])
        orbits.append({frozenset(row.tolist()) for row in conjugates})
    for a, b in itertools.combinations(orbits, 2):
        assert not a & b


def test_generalized_normalizer_of_two_squares():
    """D4 → D2 within rotations: D8 swaps the two classes of D2, so N(S, K) is D4 and not D8."""
    s, q = moved("D4")
    k = PointGroup("D2").rotated(q)
    assert s.normalizer("SO3").schoenflies == "D8"
    assert s.generalized_normalizer(k, "SO3") == s
    assert s.generalized_normalizer(PointGroup("C4").rotated(q), "SO3").schoenflies == "D8"


@pytest.mark.parametrize("name", ["D4", "D2h", "T", "D3d"])
def test_generalized_normalizers_by_definition(name):
    s, _ = moved(name)
    n = s.normalizer().matrices
    for k in s.subgroups():
        conjugates = [conjugated(k.matrices, m) for m in s.matrices]
        expected = [m for m in n if any(same_set(conjugated(k.matrices, m), c) for c in conjugates)]
        assert same_set(s.generalized_normalizer(k).matrices, expected)


def test_ambiguous_labels_list_the_choices():
    g = PointGroup("Oh")
    for name in ("C2", "Cs", "C2v", "D2", "C2h", "D2h", "D2d"):
        choices = [k.label for k in g.subgroups() if k.schoenflies == name]
        assert len(choices) > 1
        with pytest.raises(ValueError, match="choices are") as error:
            g.subgroup(name)
        assert all(f"'{label}'" in str(error.value) for label in choices)
    for name in ("C4v", "D4h", "Td", "4mm", "-43m"):
        assert g.subgroup(name).schoenflies == PointGroup(name).schoenflies
    with pytest.raises(ValueError, match="Oh has no subgroup C5; its subgroups are C1"):
        g.subgroup("C5")
    with pytest.raises(ValueError, match="nearest"):
        g.subgroup("C4q")
    with pytest.raises(ValueError, match="choices are"):
        g.subgroup("C2[123]")
    with pytest.raises(ValueError, match="not a subgroup of Oh"):
        g.indices_of(PointGroup("C4").rotated(turn([0, 1, 0], 0.3)))


def test_labels_in_continuous_groups():
    g, q = moved("Dinfh")
    for name in ("Cs", "C2", "C2v", "C2h"):
        with pytest.raises(ValueError, match="choices are") as error:
            g.subgroup(name)
        assert f"'{name}[001]' and '{name}[100]'" in str(error.value)
    assert abs(abs(g.subgroup("C2v[001]").axis @ q[:, 2]) - 1) < 1e-12
    assert abs(g.subgroup("C2v[100]").axis @ q[:, 2]) < 1e-12
    for name in ("Cinfv", "D2", "D2d", "Ci", "D5h", "C7", "D2h"):
        assert g.subgroup(name).schoenflies == name
        assert g.contains_group(g.subgroup(name))
    vertical = moved("Cinfv")[0].subgroup("Cs")
    assert moved("Cinfv")[0].contains_group(vertical)
    with pytest.raises(ValueError, match="Cinf has no subgroup Cs"):
        PointGroup("Cinf").subgroup("Cs")
    assert PointGroup("O3").subgroup("Td").schoenflies == "Td"


@pytest.mark.parametrize("name", ["Cs", "C4h", "S6", "D3d", "D4h", "Td", "Th", "Ih", "D5"])
def test_rotations(name):
    g, _ = moved(name)
    assert same_set(g.rotations().matrices, g.matrices[np.linalg.det(g.matrices) > 0])


def test_rotations_of_continuous_groups():
    for name, proper in {"Cinfv": "Cinf", "Cinfh": "Cinf", "Dinf": "Dinf", "Dinfh": "Dinf", "O3": "SO3"}.items():
        g, _ = moved(name)
        assert g.rotations().schoenflies == proper
        assert g.contains_group(g.rotations())


def test_hermann_mauguin_symbols_of_groups():
    assert moved("D4h")[0].hermann_mauguin == "4/mmm"
    assert moved("C3h")[0].hermann_mauguin == "-6"
    assert moved("D5h")[0].hermann_mauguin is None
