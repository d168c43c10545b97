"""Symmetric molecules, assembled from frames and substituents; :func:`molecules` lists them.

A frame has atoms of its own and sites, in orbits: the sites of an orbit take the same substituent. A site has a
direction and a reference across it, such that the plane of both is kept by what the symmetry of the frame leaves of
the site. A substituent has that plane as a mirror, so that the molecule is as symmetric as its frame allows. Bonds are
as long as covalent radii say.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

SMALLEST, LARGEST = 4, 30
"""Number of atoms."""

X, Y, Z = np.eye(3)
FLAT = 70.53  # degrees between a bond and the axis of a tetrahedral group

Vector = np.ndarray
Orbit = list[tuple[int, Vector, Vector]]


def bond(a: str, b: str) -> float:
    """Å."""
    return covalent_radii[atomic_numbers[a]] + covalent_radii[atomic_numbers[b]]


def turn(vector: Vector, axis: Vector, degrees: float) -> Vector:
    """A vector turned about an axis of length 1."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return c * vector + s * np.cross(axis, vector) + (1 - c) * (axis @ vector) * axis


def unit(vector: Sequence[float] | Vector) -> Vector:
    """Of length 1."""
    return np.asarray(vector, dtype=float) / np.linalg.norm(vector)


# ------------------------------------------------------------------ substituents

# The atom that is bonded, then others: which atom they hang on, degrees from the axis, degrees about it (0: reference).
SUBSTITUENTS: dict[str, list[tuple[str, int, float, float]]] = {
    **{name: [(name, 0, 0, 0)] for name in ("H", "F", "Cl", "Br", "I", "O", "S")},
    "CN": [("C", 0, 0, 0), ("N", 0, 0, 0)],
    "NC": [("N", 0, 0, 0), ("C", 0, 0, 0)],
    "CCH": [("C", 0, 0, 0), ("C", 0, 0, 0), ("H", 1, 0, 0)],
    "OH": [("O", 0, 0, 0), ("H", 0, 70, 0)],
    "SH": [("S", 0, 0, 0), ("H", 0, 80, 0)],
    "NH2": [("N", 0, 0, 0), ("H", 0, 60, 0), ("H", 0, 60, 180)],
    "PH2": [("P", 0, 0, 0), ("H", 0, 60, 0), ("H", 0, 60, 180)],
    "BH2": [("B", 0, 0, 0), ("H", 0, 60, 0), ("H", 0, 60, 180)],
    "NO2": [("N", 0, 0, 0), ("O", 0, 60, 0), ("O", 0, 60, 180)],
    "NF2": [("N", 0, 0, 0), ("F", 0, 60, 0), ("F", 0, 60, 180)],
    "CHO": [("C", 0, 0, 0), ("O", 0, 60, 0), ("H", 0, 60, 180)],
    "CH3": [("C", 0, 0, 0), *[("H", 0, FLAT, phi) for phi in (0, 120, 240)]],
    "CF3": [("C", 0, 0, 0), *[("F", 0, FLAT, phi) for phi in (0, 120, 240)]],
    "SiH3": [("Si", 0, 0, 0), *[("H", 0, FLAT, phi) for phi in (0, 120, 240)]],
    "GeH3": [("Ge", 0, 0, 0), *[("H", 0, FLAT, phi) for phi in (0, 120, 240)]],
}
ATOMS = ["H", "F", "Cl", "Br"]
LINEAR = [*ATOMS, "CN"]
SMALL = [*LINEAR, "OH", "NH2", "CH3", "SiH3"]
MANY = ["H", "CH3", "F", "NH2", "Cl", "OH", "SiH3", "CN", "Br", "SH", "PH2", "BH2", "CCH", "CF3", "NO2", "CHO", "NC"]


class Frame:
    """Atoms and sites."""

    def __init__(self) -> None:
        self.symbols: list[str] = []
        self.places: list[Vector] = []
        self.orbits: list[Orbit] = []

    def atom(self, symbol: str, place: Sequence[float] | Vector) -> int:
        """Add an atom; its number."""
        self.symbols.append(symbol)
        self.places.append(np.asarray(place, dtype=float))
        return len(self.symbols) - 1

    def orbit(self, sites: Sequence[tuple[int, Vector, Vector]]) -> None:
        """Add sites that take the same substituent: atom, direction, reference."""
        self.orbits.append(list(sites))

    def molecule(self, substituents: Sequence[str]) -> Atoms:
        """With a substituent on each orbit."""
        symbols, places = list(self.symbols), list(self.places)
        for orbit, name in zip(self.orbits, substituents, strict=True):
            for atom, direction, reference in orbit:
                along = unit(direction)
                across = unit(reference - (reference @ along) * along)
                added: list[Vector] = []
                for symbol, on, polar, azimuth in SUBSTITUENTS[name]:
                    if not added:
                        start, length = self.places[atom], bond(self.symbols[atom], symbol)
                    else:
                        start, length = added[on], bond(SUBSTITUENTS[name][on][0], symbol)
                    side = turn(across, along, azimuth)
                    added.append(
                        start + length * (np.cos(np.radians(polar)) * along + np.sin(np.radians(polar)) * side)
                    )
                    symbols.append(symbol)
                places += added
        return Atoms(symbols, np.array(places))


# ------------------------------------------------------------------ frames


def star(centre: str, directions: Sequence[Vector], references: Sequence[Vector], orbits: Sequence[int] = ()) -> Frame:
    """One atom with sites around it, in one orbit unless ``orbits`` says which each is in."""
    frame = Frame()
    frame.atom(centre, np.zeros(3))
    numbers = orbits or [0] * len(directions)
    for number in sorted(set(numbers)):
        frame.orbit([(0, d, r) for d, r, n in zip(directions, references, numbers, strict=True) if n == number])
    return frame


def around(count: int, start: float = 90) -> list[Vector]:
    """Directions in the xy plane, evenly spaced."""
    return [turn(X, Z, start + 360 * k / count) for k in range(count)]


def planar(centre: str, count: int, up: bool = False, orbits: Sequence[int] = ()) -> Frame:
    """A star in a plane; references along z, or around it."""
    directions = around(count)
    return star(centre, directions, [Z if up else np.cross(Z, d) for d in directions], orbits)


def planar_mixed(centre: str, up: bool) -> Frame:
    """AX2Y in a plane, its axis along y."""
    directions = around(3)
    references = [Z if up else r for r in (X, Y, Y)]
    return star(centre, directions, references, [0, 1, 1])


def line(centre: str, opposite: bool) -> Frame:
    """XAX in a line."""
    return star(centre, [Z, -Z], [X, -X if opposite else X])


TETRAHEDRON = [unit(v) for v in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))]
OCTAHEDRON = [X, -X, Y, -Y, Z, -Z]


def tetrahedral(centre: str, orbits: Sequence[int] = ()) -> Frame:
    """AX4 with references that keep D2d; with orbits AX2Y2 (C2v) or AX3Y (C3v)."""
    references = {2: [X] * 4, 3: [-Z, *[-TETRAHEDRON[0]] * 3]}.get(sum(orbits), [Z] * 4)
    return star(centre, TETRAHEDRON, references, orbits)


def prism(centre: str) -> Frame:
    """AX6, a trigonal prism."""
    directions = [unit(u + h * Z) for h in (0.8, -0.8) for u in around(3)]
    return star(centre, directions, [Z] * 6)


def pyramid(centre: str) -> Frame:
    """AX4Y, a square pyramid."""
    return star(centre, [Z, *[unit(u - 0.2 * Z) for u in around(4)]], [X, *[Z] * 4], [0, 1, 1, 1, 1])


def bipyramid(centre: str, count: int = 3) -> Frame:
    """AXnY2."""
    directions = around(count)
    return star(centre, [*directions, Z, -Z], [*[Z] * count, directions[0], directions[0]], [0] * count + [1, 1])


def pair(a: str, b: str, count: int, twist: float = 0, up: bool = False, order: int = 1) -> Frame:
    """XnA-BYn, the bond along z; with two sites they lie in the xz plane, twisted about z."""
    frame, length = Frame(), bond(a, b) * (1, 0.88, 0.8)[order - 1]
    angle = 60 if count == 2 else FLAT
    for sign, symbol, phi in ((1, a, 0.0), (-1, b, twist)):
        atom = frame.atom(symbol, sign * length / 2 * Z)
        sites = []
        for k in range(count):
            side = turn(X, Z, phi + 360 * k / count)
            direction = np.cos(np.radians(angle)) * sign * Z + np.sin(np.radians(angle)) * side
            sites.append((atom, direction, np.cross(Z, side) if up else sign * Z))
        frame.orbit(sites)
    return frame


def one_each(a: str, polar: float, cis: bool, order: int = 1, mixed: bool = False) -> Frame:
    """XA-AX in a plane (polar: degrees between A-X and the axis z; 0 in a line), and A's other site filled or not."""
    frame, length, sites, others = Frame(), bond(a, a) * (1, 0.88, 0.8)[order - 1], [], []
    for sign in (1, -1):
        side = X if sign > 0 or cis else -X
        atom = frame.atom(a, sign * length / 2 * Z)
        along = np.cos(np.radians(polar)) * sign * Z
        sites.append((atom, along + np.sin(np.radians(polar)) * side, sign * Z if polar else side))
        others.append((atom, along - np.sin(np.radians(polar)) * side, sign * Z))
    frame.orbit(sites)
    if mixed:
        frame.orbit(others)
    return frame


def rotors(a: str, linker: Sequence[str], count: int, bent: float, up: bool = False, inward: bool = False) -> Frame:
    """XnA-linker-AXn, linear or bent at its middle atom; two sites in the plane yz or across it."""
    frame = Frame()
    if len(linker) == 1:
        middle = frame.atom(linker[0], np.zeros(3))
        half = np.radians(bent) / 2
        arms = [np.array([0, s * np.sin(half), np.cos(half)]) for s in (1, -1)]
        tips = [bond(a, linker[0]) * v for v in arms]
        if linker[0] in ("C", "Si", "N+"):
            frame.orbit([(middle, unit([s * 0.82, 0, -0.57]), -Z) for s in (1, -1)])
        elif linker[0] in ("B", "N"):
            frame.orbit([(middle, -Z, Y)])
    else:
        length = sum(0.86 * bond(p, q) for p, q in itertools.pairwise(linker))
        y = -length / 2
        for k, symbol in enumerate(linker):
            frame.atom(symbol, y * Y)
            if k + 1 < len(linker):
                y += 0.86 * bond(symbol, linker[k + 1])
        arms = [Y, -Y]
        tips = [s * (length / 2 + bond(a, linker[0])) * Y for s in (1, -1)]
    sites = []
    for arm, tip in zip(arms, tips, strict=True):
        atom = frame.atom(a, tip)
        axis = unit(arm)
        side = unit(Z - (Z @ axis) * axis) * (-1 if inward else 1)
        if up:
            side = X
        angle = 60 if count == 2 else FLAT if count == 3 else 0
        for k in range(count):
            away = turn(side, axis, 360 * k / count)
            direction = np.cos(np.radians(angle)) * axis + np.sin(np.radians(angle)) * away
            sites.append((atom, direction, axis if angle else side))
    frame.orbit(sites)
    return frame


def ring(elements: Sequence[str], kinds: Sequence[str], orbits: Sequence[int], up: bool = False) -> Frame:
    """A planar ring, a regular polygon; kinds: no site, one in the plane (1), one above and one below (2)."""
    frame, count, sites = Frame(), len(elements), {}
    sides = [bond(a, b) for a, b in zip(elements, [*elements[1:], elements[0]], strict=True)]
    radius = np.mean(sides) / 2 / np.sin(np.pi / count) * (0.93 if set(kinds) <= {"", "1"} and "C" in elements else 1)
    for symbol, kind, number, out in zip(elements, kinds, orbits, around(count), strict=True):
        atom = frame.atom(symbol, radius * out)
        if kind == "1":
            sites.setdefault(number, []).append((atom, out, Z if up else np.cross(Z, out)))
        elif kind == "2":
            for s in (1, -1):
                sites.setdefault(number, []).append((atom, 0.57 * out + s * 0.82 * Z, out))
    for number in sorted(sites):
        frame.orbit(sites[number])
    return frame


def chain(elements: Sequence[str], count: int, twist: float = 0, up: bool = False) -> Frame:
    """Xn on both ends of a cumulene, along z; two sites in a plane, that at the other end twisted."""
    frame = Frame()
    lengths = [0.88 * bond(a, b) for a, b in itertools.pairwise(elements)]
    places = np.cumsum([0, *lengths]) - sum(lengths) / 2
    atoms = [frame.atom(symbol, z * Z) for symbol, z in zip(elements, places, strict=True)]
    sites = []
    for sign, atom, phi in ((1, atoms[-1], 0.0), (-1, atoms[0], twist)):
        for k in range(count):
            side = turn(X, Z, phi + 360 * k / count)
            polar = np.radians({1: 0, 2: 60, 3: FLAT}[count])
            direction = np.cos(polar) * sign * Z + np.sin(polar) * side
            sites.append((atom, direction, np.cross(Z, side) if up else side if count == 1 else sign * Z))
    if sites:
        frame.orbit(sites)
    return frame


def diene(inner: str, outer: str, cis: bool) -> Frame:
    """X2B=AY-AY=BX2 in the plane xz; of B = O or S without X."""
    frame, sites, ends = Frame(), [], []
    for sign in (1, -1):
        side = X if sign > 0 or cis else -X
        axis = unit(np.cos(np.radians(58)) * sign * Z + np.sin(np.radians(58)) * side)
        atom = frame.atom(inner, sign * bond(inner, inner) / 2 * Z)
        end = frame.atom(outer, frame.places[atom] + 0.88 * bond(inner, outer) * axis)
        sites.append((atom, np.cos(np.radians(62)) * sign * Z - np.sin(np.radians(62)) * side, sign * Z))
        if outer not in ("O", "S"):
            normal = np.cross(axis, Y)
            for turned in (60, -60):
                across = turn(axis, Y, turned)
                ends.append((end, across, normal))
    frame.orbit(sites)
    if ends:
        first = [e for k, e in enumerate(ends) if (k % 2 == 0) == (k < 2 or not cis)]
        frame.orbit(first)
        frame.orbit([e for e in ends if not any(e is f for f in first)])
    return frame


def phenyl(places: Sequence[int], up: bool) -> Frame:
    """Benzene with sites at some carbons, hydrogen at the others; references up, or around the ring."""
    frame, radius = Frame(), 1.39
    outs = around(6)
    reference = {0: X, 3: X} if len(places) < 3 else {}
    for out in outs:
        frame.atom("C", radius * out)
    for k in range(6):
        if k not in places:
            frame.atom("H", (radius + 1.08) * outs[k])
    frame.orbit([(k, outs[k], Z if up else reference.get(k, np.cross(Z, outs[k]))) for k in places])
    return frame


def biaryl(count: int, hetero: str, ortho: bool) -> Frame:
    """Two planar rings of six in one plane, bonded along y; at their ortho carbons sites, or nitrogen instead."""
    frame, sites = Frame(), []
    for sign in (1, -1):
        middle = sign * (0.74 + 1.39) * Y
        for k, out in enumerate(around(6, -90 * sign)):
            near = k in (1, 5)
            symbol = hetero if k and near and hetero != "C" else "C"
            atom = frame.atom(symbol, middle + 1.39 * out)
            if k == 0 or symbol != "C":
                continue
            if near and ortho:
                sites.append((atom, out, Y))
            elif count == 1 and k == 3:
                sites.append((atom, out, X))
            else:
                frame.atom("H", middle + 2.47 * out)
    if sites:
        frame.orbit(sites)
    return frame


def polyhedron(symbol: str, corners: Sequence[Vector], edge: float, reference: Vector = Z) -> Frame:
    """Atoms at corners, with a site outwards each."""
    frame = Frame()
    corners = np.array(corners, dtype=float)
    distances = np.linalg.norm(corners[:, None] - corners, axis=2)
    corners *= edge / distances[distances > 0].min()
    atoms = [frame.atom(symbol, c) for c in corners]
    frame.orbit([(atom, unit(corner), reference) for atom, corner in zip(atoms, corners, strict=True)])
    return frame


def bridged(head: str, bridge: Sequence[str], count: int) -> Frame:
    """Two bridgeheads on z joined by three bridges of one or two atoms (count), each with two sites (C, Si) or none."""
    frame, sites = Frame(), []
    reach = 0.95 if count == 1 else 1.28
    scale = bond(head, bridge[0]) / 1.52
    heads = [frame.atom(head, s * reach * scale * Z) for s in (1, -1)]
    for out in around(3):
        heights = (0.0,) if count == 1 else (0.77, -0.77)
        for h in heights:
            atom = frame.atom(bridge[0], scale * (out * (1.25 if count == 1 else 1.42) + h * Z))
            if bridge[0] in ("C", "Si"):
                tangent = np.cross(Z, out)
                sites += [(atom, 0.57 * out + s * 0.82 * tangent, Z) for s in (1, -1)]
    if head not in ("N", "P", "As"):
        frame.orbit([(heads[0], Z, X), (heads[1], -Z, X)])
    if sites:
        frame.orbit(sites)
    return frame


def double_bridge(a: str, b: str) -> Frame:
    """X2A(B)2AX2: a ring of four in the plane xy, sites above and below A."""
    frame = Frame()
    length = bond(a, b)
    atoms = [frame.atom(a, s * 0.75 * length * X) for s in (1, -1)]
    for s in (1, -1):
        frame.atom(b, s * 0.66 * length * Y)
    frame.orbit(
        [(atom, unit(s * 0.57 * X + t * 0.82 * Z), Y) for atom, s in zip(atoms, (1, -1), strict=True) for t in (1, -1)]
    )
    return frame


def adamantane(corner: str, bridge: str) -> Frame:
    """Four corners and six bridges."""
    frame, length = Frame(), bond(corner, bridge)
    corners = [frame.atom(corner, length * 0.58 * np.sqrt(3) * v) for v in TETRAHEDRON]
    bridges = [frame.atom(bridge, length * 1.16 * v) for v in OCTAHEDRON]
    if corner not in ("N", "P", "As"):
        frame.orbit([(c, v, Z) for c, v in zip(corners, TETRAHEDRON, strict=True)])
    if bridge in ("C", "Si"):
        sites = []
        for atom, v in zip(bridges, OCTAHEDRON, strict=True):
            near = [c for c in TETRAHEDRON if c @ v > 0]
            plane = unit(near[0] - (near[0] @ v) * v)
            sites += [(atom, 0.57 * v + s * 0.82 * np.cross(v, plane), v) for s in (1, -1)]
        frame.orbit(sites)
    return frame


def shared_proton(a: str, count: int, twist: float) -> Frame:
    """XnA-H-AXn with the hydrogen in the middle; n sites planar (2) or like ammonia (3)."""
    frame = Frame()
    frame.atom("H", np.zeros(3))
    sites = []
    for sign, phi in ((1, 0.0), (-1, twist)):
        atom = frame.atom(a, sign * 1.22 * (bond(a, "H") / bond("O", "H")) * Z)
        for k in range(count):
            side = turn(X, Z, phi + 360 * k / count)
            polar = np.radians({0: 0, 1: 60, 2: 60, 3: FLAT}[count])
            sites.append((atom, np.cos(polar) * sign * Z + np.sin(polar) * side, sign * Z))
    if sites:
        frame.orbit(sites)
    return frame


def hydrogen_ring(a: str, count: int, extra: bool) -> Frame:
    """(HA)n in a ring with the hydrogens half-way, each A with one more in the plane or not."""
    frame, side = Frame(), 1.2 * 2 * (bond(a, "H") / bond("O", "H"))
    radius = side / 2 / np.sin(np.pi / count)
    outs = around(count)
    atoms = [frame.atom(a, radius * out) for out in outs]
    for k in range(count):
        frame.atom("H", (frame.places[atoms[k]] + frame.places[atoms[(k + 1) % count]]) / 2)
    if extra:
        frame.orbit([(atom, out, Z) for atom, out in zip(atoms, outs, strict=True)])
    return frame


def stacked(symbols: Sequence[str], count: int, distance: float, twist: float) -> Frame:
    """Two planar rings, one above the other, with sites outwards."""
    frame, sites = Frame(), []
    radius = 0.93 * bond(symbols[0], symbols[-1]) / 2 / np.sin(np.pi / count)
    for height, phi in ((distance / 2, 0.0), (-distance / 2, twist)):
        for k, out in enumerate(around(count, 90 + phi)):
            atom = frame.atom(symbols[k % len(symbols)], radius * out + height * Z)
            sites.append((atom, out, Z))
    frame.orbit(sites)
    return frame


# ------------------------------------------------------------------ the list

Made = tuple[str, str, int, Callable[[], Frame], list[list[str]]]
"""Frame, what its core is, charge, how it is built, the substituents that each orbit may have."""


def cores(words: str) -> list[tuple]:
    """What is written as symbols with dots between, and a charge: C.N+1."""
    found = [re.fullmatch(r"([A-Za-z.]+)([+-]\d+)?", word) for word in words.split()]
    return [(*match[1].split("."), int(match[2] or 0)) for match in found if match]


def families() -> Iterator[Made]:
    """Every frame with its cores."""
    yield from _stars()
    yield from _pairs()
    yield from _rotors()
    yield from _rings()
    yield from _chains()
    yield from _conjugated()
    yield from _cages()
    yield from _complexes()


def _stars() -> Iterator[Made]:
    for a, charge in cores("B N P As Al Ga Sb C+1 C-1 Si-1 O+1 S+1 Si+1 Ge-1 Se+1 In Bi"):
        yield "planar AX3", a, charge, lambda a=a: planar(a, 3), [[*SMALL, "SH", "CCH", "NC", "PH2", "I"]]
        yield "planar AX3", a + " up", charge, lambda a=a: planar(a, 3, up=True), [["CH3", "OH", "NH2", "SiH3"]]
        if a in ("N", "P", "As", "B", "C", "O", "S"):
            yield "planar AX2Y", a, charge, lambda a=a: planar_mixed(a, False), [MANY, ["H", "F", "CH3", "Cl", "NH2"]]
            yield (
                "planar AX2Y",
                a + " up",
                charge,
                lambda a=a: planar_mixed(a, True),
                [["CH3", "OH", "NH2", "PH2", "BH2", "NO2"], ["H", "F", "CH3"]],
            )
    for a in ("C", "Si", "S", "Se", "Ge", "P"):
        charge = -1 if a == "P" else 0
        yield "planar OAX2", a, charge, lambda a=a: planar_mixed(a, False), [["O", "S"], SMALL]
    for a in ("Cl", "Br", "I"):
        yield "planar AX3 of halogens", a, 0, lambda a=a: planar(a, 3), [["F", "Cl", "H", "CN", "OH"]]
    yield "planar AX3", "Xe", 0, lambda: planar("Xe", 3), [["O"]]
    for a, charge in cores("O S Se Te C Si Ge Sn Be Mg Zn N-1 P-1 N+1 P+1 B-1 F+1 Cl+1 Xe Hg Cd"):
        yield (
            "linear XAX",
            a,
            charge,
            lambda a=a: line(a, False),
            [["CN", "OH", "NH2", "CH3", "SiH3", "CCH", "SH", "NC", "CF3", "PH2"]],
        )
        yield "linear XAX", a + " opposite", charge, lambda a=a: line(a, True), [["OH", "CH3", "SH", "CHO"]]
    for a, charge in cores("C Si Ge Sn N+1 P+1 B-1 Al-1 Ti Zr S Se Te Hf Pb"):
        yield (
            "tetrahedral AX4",
            a,
            charge,
            lambda a=a: tetrahedral(a),
            [["H", "F", "Cl", "OH", "CH3", "NH2", "Br", "CN", "SH", "SiH3", "CCH"]],
        )
        yield "square AX4", a, charge, lambda a=a: planar(a, 4), [["H", "F", "Cl", "OH", "CH3", "Br", "CN"]]
        if a in ("C", "Si", "Ge", "S", "N", "P", "Ti", "B"):
            yield (
                "AX2Y2",
                a,
                charge,
                lambda a=a: tetrahedral(a, (0, 0, 1, 1)),
                [["H", "CH3", "OH", "NH2", "CN", "SH"], ["F", "Cl", "H", "CH3", "OH"]],
            )
            yield (
                "AX3Y",
                a,
                charge,
                lambda a=a: tetrahedral(a, (0, 1, 1, 1)),
                [["CN", "F", "CCH", "H"], ["CH3", "NH2", "OH", "SiH3", "F"]],
            )
    yield "square AX4", "Xe", 0, lambda: planar("Xe", 4), [["F", "Cl"]]
    for a, charge in cores("P As Sb V Nb Ta S+1 Si-1 I Br Cl"):
        yield (
            "trigonal bipyramid",
            a,
            charge,
            lambda a=a: bipyramid(a),
            [["H", "F", "Cl", "CH3", "OH", "NH2"], ["F", "Cl", "H", "CH3", "O"]],
        )
        yield (
            "square pyramid",
            a,
            charge,
            lambda a=a: pyramid(a),
            [["F", "H", "Cl", "O", "CH3", "OH"], ["F", "H", "Cl", "CH3"]],
        )
    for a, charge in cores("S Se Te W Mo Cr Xe P-1 Si-2 Nb-1 Ta-1 Zr-2"):
        yield (
            "octahedral AX6",
            a,
            charge,
            lambda a=a: star(a, OCTAHEDRON, [Y, Y, Z, Z, X, X]),
            [["F", "H", "Cl", "OH", "CH3", "CN"]],
        )
        yield (
            "octahedral AX4Y2",
            a,
            charge,
            lambda a=a: bipyramid(a, 4),
            [["F", "H", "Cl", "CH3"], ["Cl", "H", "F", "CN"]],
        )
        yield "prismatic AX6", a, charge, lambda a=a: prism(a), [["F", "H", "Cl", "CH3"]]
    yield "pentagonal bipyramid", "I", 0, lambda: bipyramid("I", 5), [["F"], ["F", "O"]]


def _pairs() -> Iterator[Made]:
    for a, b, charge in cores(
        "N.N B.B C.C P.P Si.Si Ge.Ge As.As N.B P.B C.Si N.P C.Ge Al.N C.N+1 C.P+1 Sn.Sn C.B-1 N.Al As.B Al.Al N.As"
    ):
        order = 2 if {a, b} <= {"C", "Si", "Ge", "B", "N"} and {a, b} not in ({"N"}, {"B"}) else 1
        kinds = [["H", "F", "CH3", "Cl", "CN", "OH", "SiH3", "Br", "NH2"], ["H", "F", "CH3", "Cl", "NH2"]]
        yield "planar X2A-BY2", a + b, charge, lambda a=a, b=b, o=order: pair(a, b, 2, order=o), kinds
        yield (
            "twisted X2A-BY2",
            a + b,
            charge,
            lambda a=a, b=b, o=order: pair(a, b, 2, 90, order=o),
            [k[:4] for k in kinds],
        )
    for a in ("N", "P", "C", "Si", "B", "Ge"):
        for cis in (True, False):
            label = f"{a} {'cis' if cis else 'trans'}"
            yield (
                "planar XYA-AXY",
                label,
                0,
                lambda a=a, c=cis: one_each(a, 60, c, 2 if a in ("C", "Si", "Ge") else 1, True),
                [["H", "F", "CH3", "OH"], ["Cl", "H", "CN", "NH2", "F", "SiH3"]],
            )
    for a in ("O", "S", "Se", "N", "P", "Te", "As"):
        for cis in (True, False):
            label = f"{a} {'cis' if cis else 'trans'}"
            order = 2 if a in ("N", "P", "As") else 1
            yield "planar XA-AX", label, 0, lambda a=a, c=cis, o=order: one_each(a, 75, c, o), [MANY]
    for a in ("O", "S", "Se", "N", "C", "Si", "Ge", "B", "P"):
        for cis in (True, False):
            label = f"{a} {'cis' if cis else 'trans'}"
            order = {"O": 1, "S": 1, "Se": 1, "N": 2, "P": 2, "B": 2}.get(a, 3)
            kinds = ["H", "F", "Cl", "CN", "CH3", "Br", "SiH3", "CF3", "CCH", "OH", "NH2"]
            yield (
                "linear XA-AX",
                label,
                0,
                lambda a=a, c=cis, o=order: one_each(a, 0, c, o),
                [kinds if cis else kinds[-7:]],
            )
    for a, b, charge in cores("C.C Si.Si Ge.Ge C.Si B.N C.Ge Si.Ge Al.N B.P C.N+1 Sn.Sn Si.P+1 N.N+2 C.P+1 B.C-1 C.Sn"):
        kinds = [["H", "F", "Cl", "CH3", "Br", "CN", "OH"], ["H", "F", "Cl", "CH3", "SiH3"]]
        yield "eclipsed X3A-BY3", a + b, charge, lambda a=a, b=b: pair(a, b, 3), kinds
        yield "staggered X3A-BY3", a + b, charge, lambda a=a, b=b: pair(a, b, 3, 180), [k[:4] for k in kinds]


def _rotors() -> Iterator[Made]:
    three = ["H", "F", "Cl", "CH3"]
    filled = ["H", "F", "CH3", "Cl", "OH"]
    for a, e in itertools.product(("C", "Si", "Ge"), ("O", "S", "Se", "C", "N", "Si", "B", "Te")):
        inner = [filled] if e in ("C", "N", "Si", "B") else []
        for inward in (False, True):
            label = f"{a}{e}{a} {'in' if inward else 'out'}"
            yield (
                "bent X3A-E-AX3",
                label,
                0,
                lambda a=a, e=e, i=inward: rotors(a, [e], 3, 112, inward=i),
                [*inner, three],
            )
        if not inner:
            yield "linear X3A-E-AX3", a + e + a, 0, lambda a=a, e=e: rotors(a, [e], 3, 180), [three]
    for a, e in itertools.product(("N", "P", "B"), ("O", "S", "C", "N", "B", "Si")):
        inner = [filled] if e in ("C", "N", "Si", "B") else []
        for up in (False, True):
            label = f"{a}{e}{a} {'across' if up else 'planar'}"
            yield (
                "X2A-E-AX2",
                label,
                0,
                lambda a=a, e=e, u=up: rotors(a, [e], 2, 115, up=u),
                [*inner, ["H", "F", "CH3", "Cl"]],
            )
    for a, e in itertools.product(("O", "S"), ("C", "Si", "B", "N", "S", "O", "Se")):
        inner = [filled] if e in ("C", "N", "Si", "B") else []
        for inward in (False, True):
            label = f"{a}{e}{a} {'in' if inward else 'out'}"
            yield (
                "XA-E-AX",
                label,
                0,
                lambda a=a, e=e, i=inward: _bent_ends(a, e, i),
                [*inner, ["H", "F", "CH3", "Cl", "SiH3", "CN"]],
            )
    for a, linker in itertools.product(("C", "Si", "N", "B", "P"), (["C", "C"], ["C", "C", "C", "C"], ["N", "N"])):
        count = 3 if a in ("C", "Si") else 2
        yield (
            "X-A-linker-A-X",
            a + "".join(linker),
            0,
            lambda a=a, l=linker, n=count: rotors(a, l, n, 180),
            [["H", "F", "CH3", "Cl"]],
        )
        if count == 2:
            yield (
                "X-A-linker-A-X",
                a + "".join(linker) + " up",
                0,
                lambda a=a, l=linker: rotors(a, l, 2, 180, up=True),
                [["H", "F", "Cl"]],
            )


def _bent_ends(a: str, e: str, inward: bool) -> Frame:
    """XA-E-AX in one plane."""
    frame = rotors(a, [e], 1, 112, inward=inward)
    bent = []
    for atom, axis, side in frame.orbits[-1]:
        bent.append((atom, np.cos(np.radians(72)) * axis + np.sin(np.radians(72)) * unit(side), axis))
    frame.orbits[-1] = bent
    return frame


def _rings() -> Iterator[Made]:
    ligands = ["H", "F", "Cl", "CH3", "Br", "OH"]
    for n in range(3, 9):
        few = ligands[: 6 if n < 5 else 4 if n < 6 else 2 if n < 8 else 1]
        for e in ("C", "Si", "Ge"):
            yield f"ring of {n}", f"{e}{n}X{2 * n}", 0, lambda e=e, n=n: ring([e] * n, ["2"] * n, [0] * n), [few]
            yield (
                f"ring of {n}",
                f"{e}{n}X{n}",
                0,
                lambda e=e, n=n: ring([e] * n, ["1"] * n, [0] * n),
                [few + ["CN"] * (n < 7)],
            )
        for e in ("N", "P", "B", "As", "Al"):
            yield f"ring of {n}", f"{e}{n}X{n}", 0, lambda e=e, n=n: ring([e] * n, ["1"] * n, [0] * n), [few]
        for e in ("S", "Se", "P", "O", "N", "As"):
            if n > 3 or e in ("O", "S", "Se"):
                yield f"ring of {n}", f"{e}{n}", 0, lambda e=e, n=n: ring([e] * n, [""] * n, [0] * n), []
        for hetero, site in [
            ("O", ""),
            ("S", ""),
            ("N", "1"),
            ("P", "1"),
            ("Se", ""),
            ("B", "1"),
            ("Si", "2"),
            ("C", "1"),
            ("As", "1"),
            ("N", ""),
        ]:
            for base in ("C", "Si"):
                orbits = [0] + [1] * (n - 1)
                kinds = [site] + ["2"] * (n - 1)
                options = ([["H", "F", "CH3", "OH", "Cl"]] if site else []) + [few[:3]]
                charge = {"C": 1, "N": -1 if site == "" else 0}.get(hetero, 0)
                yield (
                    f"ring of {n}",
                    f"{hetero}{base}{n - 1}",
                    charge,
                    lambda b=base, h=hetero, n=n, k=kinds, o=orbits: ring([h] + [b] * (n - 1), k, o),
                    options,
                )
            if n in (3, 4):
                continue
            unsaturated = [site] + ["1"] * (n - 1)
            if n % 2:
                yield (
                    f"ring of {n}",
                    f"{hetero}(CX){n - 1}",
                    charge,
                    lambda h=hetero, n=n, k=unsaturated: ring([h] + ["C"] * (n - 1), k, [0] + [1] * (n - 1)),
                    ([["H", "F", "CH3", "NH2", "Cl"]] if site else []) + [["H", "F"]],
                )
        if n in (4, 6, 8):
            pairs = [
                ("C", "O"),
                ("Si", "O"),
                ("C", "S"),
                ("Si", "S"),
                ("B", "N"),
                ("Al", "N"),
                ("P", "N"),
                ("B", "O"),
                ("C", "N"),
                ("S", "N"),
                ("B", "P"),
                ("Si", "N"),
                ("Ge", "O"),
                ("B", "S"),
                ("P", "O"),
                ("C", "Si"),
                ("As", "O"),
                ("Al", "O"),
            ]
            for a, b in pairs:
                half = n // 2
                for first in {
                    "C": ["2"],
                    "Si": ["2"],
                    "Ge": ["2"],
                    "B": ["1"],
                    "Al": ["1", "2"],
                    "P": ["1", "2"],
                    "As": ["1"],
                    "S": [""],
                }[a]:
                    for second in {"O": [""], "S": [""], "N": ["1", ""], "P": ["1"], "Si": ["2"]}[b]:
                        options = [few[:4]] * (first != "") + [["H", "CH3", "F", "SiH3"][: 4 if n < 8 else 2]] * (
                            second != ""
                        )
                        if a == "Al" and first == "2" and second == "1":
                            second = "2"
                        yield (
                            f"ring of {n}",
                            f"({a}{first}{b}{second}){half}",
                            0,
                            lambda a=a, b=b, f=first, s=second, h=half: ring([a, b] * h, [f, s] * h, [0, 1] * h),
                            options,
                        )
    for n, charge in [(3, 1), (5, -1), (7, 1), (4, 2), (8, -2)]:
        yield (
            f"ring of {n}",
            f"C{n}X{n}",
            charge,
            lambda n=n: ring(["C"] * n, ["1"] * n, [0] * n),
            [["H", "F", "CH3", "Cl"][: 4 if n < 6 else 1]],
        )
    for e, n, charge in [
        ("Si", 3, 1),
        ("S", 4, 2),
        ("Se", 4, 2),
        ("P", 5, -1),
        ("P", 4, -2),
        ("Si", 5, -1),
        ("S", 6, 2),
        ("Bi", 4, -2),
    ]:
        yield (
            f"ring of {n}",
            f"{e}{n}",
            charge,
            lambda e=e, n=n: ring([e] * n, ["1" if e == "Si" else ""] * n, [0] * n),
            [["H", "F", "CH3"]] if e == "Si" else [],
        )


def _chains() -> Iterator[Made]:
    for inner in range(1, 5):
        for ends in ("C", "Si", "B", "N", "P"):
            elements = [ends, *["C"] * inner, ends]
            for twist in (0, 90):
                label = f"{''.join(elements)} {'twisted' if twist else 'planar'}"
                kinds = ["H", "F", "Cl", "CN", "CH3"] if inner < 3 else ["H", "F"]
                yield "cumulene X2A=(C)n=AX2", label, 0, lambda e=elements, t=twist: chain(e, 2, t), [kinds]
    for elements, charge in cores(
        "NCN PCP NNN+1 NCCN NCCCN NSN NBN-1 PNP+1 CCC-2 BNB-1 NPN+1 SCS OCO SiCSi OBO-1 SiNSi-1 CNC+1 CNC-1 NSiN OCCO"
    ):
        symbols = _split(elements)
        if symbols[0] in ("O", "S") and charge == 0:
            continue
        yield (
            "linear X-chain-X",
            elements,
            charge,
            lambda e=symbols: chain(e, 1),
            [["H", "CH3", "F", "SiH3", "CN", "Cl", "OH", "CF3"]],
        )
    for elements, charge in cores(
        "OCCCO SCCCS OCCO SCCS NCCCN NCCN OCCCCCO NCCCCN CNNC ONNO SNNS OSSO CCCCCCC NNNNN+1 OBBO SBBS CCCCC "
        "NCNCN-1 SCSCS OSiSiO SSSS OOOO ICIC IIIII-1 OCSCO OCNCO+1 SiCCSi NCSCN NCOCN OCPCO-1 NCPCN-1 SiCCCSi "
        "SiOOSi PCCP PCCCCP BCCB CSiSiC GeCCGe NBBN"
    ):
        yield "bare chain", elements, charge, lambda e=elements: chain(_split(e), 0), []


def _split(word: str) -> list[str]:
    """Symbols in a word."""
    out: list[str] = []
    for letter in word:
        if letter.islower():
            out[-1] += letter
        else:
            out.append(letter)
    return out


def _conjugated() -> Iterator[Made]:
    for inner, outer, cis in itertools.product(("C", "N", "Si", "B"), ("C", "O", "S", "N", "Si"), (True, False)):
        if inner == "N" and outer != "C":
            continue
        label = f"{outer}{inner}{inner}{outer} {'cis' if cis else 'trans'}"
        if inner == "N":
            continue
        options = [["H", "F", "CH3", "Cl", "NH2", "OH", "CN"]]
        if outer == "C":
            options += [["H", "F", "CH3"], ["H", "F", "CH3", "Cl"]]
        elif outer in ("N", "Si"):
            continue
        yield "diene", label, 0, lambda i=inner, o=outer, c=cis: diene(i, o, c), options
    one = ["NH2", "PH2", "OH", "SH", "CH3", "SiH3", "BH2", "CHO", "NO2", "CF3", "F", "CN", "NF2", "Cl"]
    for up in (False, True):
        label = "up" if up else "in plane"
        yield "phenyl", f"C6H5 {label}", 0, lambda u=up: phenyl([0], u), [one]
        yield "para-phenylene", f"C6H4 {label}", 0, lambda u=up: phenyl([0, 3], u), [[x for x in one if x != "CHO"]]
        yield "benzene, three substituents", f"C6H3 {label}", 0, lambda u=up: phenyl([0, 2, 4], u), [one[:-4]]
        yield (
            "benzene, six substituents",
            f"C6 {label}",
            0,
            lambda u=up: phenyl(range(6), u),
            [["F", "OH", "NH2", "Cl", "SH", "Br", "CH3", "CN"]],
        )
    yield "biaryl", "C6H5-C6H5", 0, lambda: biaryl(1, "C", False), [["H", "F", "Cl", "OH", "NH2", "CN"]]
    yield "biaryl", "C6H5-C6H5 ortho", 0, lambda: biaryl(0, "C", True), [["F", "Cl", "H", "OH"]]
    yield "biaryl", "pyrimidines", 0, lambda: biaryl(1, "N", False), [["H", "F", "Cl", "CN"]]


def _cages() -> Iterator[Made]:
    cube = [np.array(v) for v in itertools.product((1, -1), repeat=3)]
    triangle = [u + 0.8 * s * Z for s in (1, -1) for u in around(3)]
    golden = (1 + 5**0.5) / 2
    icosahedron = [np.roll([0, s, t * golden], k) for k in range(3) for s in (1, -1) for t in (1, -1)]
    for e, edge in [("C", 1.55), ("Si", 2.4), ("Ge", 2.5), ("B", 1.7)]:
        yield (
            "tetrahedron",
            e,
            0,
            lambda e=e, d=edge: polyhedron(e, TETRAHEDRON, d),
            [["H", "F", "Cl", "CH3", "CN", "SiH3"]],
        )
        yield "cube", e, 0, lambda e=e, d=edge: polyhedron(e, cube, d), [["H", "F", "Cl", "CN"]]
        yield "prism", e, 0, lambda e=e, d=edge: polyhedron(e, triangle, d), [["H", "F", "Cl", "CN", "CH3"]]
        yield (
            "octahedron",
            e,
            -2 if e != "C" else 0,
            lambda e=e, d=edge: polyhedron(e, OCTAHEDRON, d, X + 2 * Y + 3 * Z),
            [["H", "F", "Cl", "CN"]],
        )
        yield "icosahedron", e, -2, lambda e=e, d=edge: polyhedron(e, icosahedron, d, Z + 0.1 * X), [["H", "F", "Cl"]]
    for e, edge in [("P", 2.2), ("As", 2.45), ("Sb", 2.8), ("N", 1.45), ("Bi", 2.95)]:
        yield "tetrahedron", e, 0, lambda e=e, d=edge: _bare(polyhedron(e, TETRAHEDRON, d)), []
        yield "cube", e, 0, lambda e=e, d=edge: _bare(polyhedron(e, cube, d)), []
        yield "prism", e, 0, lambda e=e, d=edge: _bare(polyhedron(e, triangle, d)), []
    for head, bridge in itertools.product(("C", "N", "P", "Si", "B", "As", "Al"), ("C", "O", "S", "Si")):
        options = ([["H", "F", "CH3", "Cl"]] if head not in ("N", "P", "As") else []) + (
            [["H", "F", "Cl"]] if bridge in ("C", "Si") else []
        )
        for count in (1, 2):
            core = f"{head}2({bridge}{count})3"
            if head in ("B", "Al"):
                yield "bridged cage", core, -2, lambda h=head, b=bridge, n=count: bridged(h, [b], n), options
            yield "bridged cage", core, 0, lambda h=head, b=bridge, n=count: bridged(h, [b], n), options
    for a, b in [
        ("B", "H"),
        ("Al", "H"),
        ("Al", "F"),
        ("Al", "Cl"),
        ("Ga", "H"),
        ("Ga", "Cl"),
        ("B", "F"),
        ("Al", "Br"),
        ("In", "Cl"),
        ("C", "O"),
        ("Si", "O"),
        ("C", "S"),
        ("Si", "S"),
        ("Ge", "O"),
        ("Si", "C"),
        ("P", "N"),
    ]:
        yield (
            "double bridge",
            a + b,
            0,
            lambda a=a, b=b: double_bridge(a, b),
            [["H", "F", "Cl", "CH3", "Br", "OH", "NH2", "CN"]],
        )
    for corner, bridge in [
        ("C", "C"),
        ("N", "C"),
        ("P", "O"),
        ("P", "S"),
        ("P", "C"),
        ("As", "O"),
        ("As", "S"),
        ("Si", "O"),
        ("Si", "S"),
        ("C", "O"),
        ("C", "S"),
        ("N", "Si"),
        ("N", "O"),
        ("Ge", "S"),
        ("B", "C"),
        ("As", "Se"),
        ("B", "O"),
        ("P", "Se"),
    ]:
        options = ([["H", "F", "Cl", "Br"]] if corner not in ("N", "P", "As") else []) + (
            [["H", "F"]] if bridge in ("C", "Si") else []
        )
        yield "adamantane", corner + bridge, 0, lambda c=corner, b=bridge: adamantane(c, b), options


def _bare(frame: Frame) -> Frame:
    """Without sites."""
    frame.orbits = []
    return frame


def _complexes() -> Iterator[Made]:
    for a, count, charge in [
        ("O", 2, 1),
        ("N", 3, 1),
        ("F", 1, 1),
        ("O", 1, -1),
        ("S", 1, -1),
        ("S", 2, 1),
        ("N", 2, -1),
        ("P", 3, 1),
        ("Cl", 1, 1),
        ("Be", 3, -1),
        ("B", 3, -1),
        ("Al", 3, -1),
        ("Se", 2, 1),
        ("C", 3, -1),
        ("Si", 3, -1),
    ]:
        for twist in (0, 90) if count == 2 else (0, 180):
            yield (
                "shared proton",
                f"{a} {twist}",
                charge,
                lambda a=a, n=count, t=twist: shared_proton(a, n, t),
                [["H", "F", "CH3", "Cl", "SiH3"]],
            )
    for a, extra in [("F", False), ("O", True), ("Cl", False), ("S", True), ("N", True)]:
        for n in (3, 4, 5, 6):
            yield (
                "hydrogen-bonded ring",
                f"(H{a}){n}",
                0,
                lambda a=a, n=n, e=extra: hydrogen_ring(a, n, e),
                [["H", "F", "CH3"]] if extra else [],
            )
    for symbols, n, charge in [
        (("B", "N"), 4, 0),
        (("B", "N"), 6, 0),
        (("Al", "N"), 4, 0),
        (("Al", "N"), 6, 0),
        (("C",), 3, 0),
        (("C",), 4, 0),
        (("C",), 5, 0),
        (("Si",), 3, 0),
        (("Si",), 4, 0),
        (("Si",), 5, 0),
        (("B", "P"), 4, 0),
        (("Ge",), 3, 0),
        (("Si", "N"), 4, 0),
        (("Al", "P"), 4, 0),
        (("Si",), 6, 0),
        (("C",), 6, 0),
    ]:
        for twist in (0.0, 180.0 / n):
            distance = bond(symbols[0], symbols[-1])
            label = f"{'/'.join(symbols)} {n} {'eclipsed' if not twist else 'staggered'}"
            yield (
                "stacked rings",
                label,
                charge,
                lambda s=symbols, n=n, d=distance, t=twist: stacked(s, n, d, t),
                [["H", "F", "Cl", "CH3"]],
            )


# ------------------------------------------------------------------ those of textbooks

CLASSICAL = {
    "planar AX3": "N-H P-H As-H Sb-H N-F N-Cl P-F P-Cl N-CH3 N-SiH3 B-H B-F B-Cl Al-H Al-Cl "
    "O-H_+1 S-H_+1 C-H_-1 Si-H_-1 C-H_+1",
    "planar AX3 of halogens": "Cl-F Br-F I-F",
    "planar AX2Y": "N-H-CH3 N-CH3-H N-H-F N-H-Cl N-F-H",
    "planar OAX2": "C-O-H C-O-NH2 C-O-CH3 S-O-F S-O-Cl",
    "square AX4": "C-H C-F Si-H Si-F S-F Se-F Xe-F N-H_+1 B-H_-1",
    "tetrahedral AX4": "C-H C-F C-Cl Si-H Si-F S-F Se-F N-H_+1 B-H_-1",
    "trigonal bipyramid": "P-H-H P-F-F P-Cl-Cl As-F-F Cl-F-F Br-F-F I-F-F",
    "square pyramid": "P-F-F P-H-H P-Cl-Cl As-F-F Cl-F-F Br-F-F I-F-F",
    "octahedral AX6": "S-F Se-F Xe-F W-F P-F_-1",
    "prismatic AX6": "S-F Se-F W-F P-F_-1",
    "planar X2A-BY2": "NN-H-H PP-H-H CC-H-H BB-H-H SiSi-H-H NB-H-H",
    "twisted X2A-BY2": "NN-H-H CC-H-H BB-H-H NB-H-H",
    "planar XA-AX": "O_cis-H O_trans-H S_cis-H S_trans-H O_cis-F O_trans-F N_cis-H N_trans-H S_cis-CH3 S_trans-CH3",
    "linear XA-AX": "C_cis-H Si_cis-H O_cis-H",
    "eclipsed X3A-BY3": "CC-H-H SiSi-H-H CC-F-F CC-Cl-Cl CSi-H-H BN-H-H CN-H-H_+1",
    "staggered X3A-BY3": "CC-H-H",
    "ring of 3": "C3X6-H C3X3-H_+1",
    "ring of 4": "C4X8-H C4X8-F C4X4-H Si4X8-H S4_+2",
    "ring of 5": "C5X10-H Si5X10-H C5X5-H_-1 N(CX)4-H-H O(CX)4-H",
    "ring of 6": "C6X12-H Si6X12-H C6X6-H Si6X6-H (B1N1)3-H-H S6 P6",
    "ring of 7": "C7X7-H_+1",
    "ring of 8": "C8X8-H C8X8-H_-2 S8 (SN)4",
    "cumulene X2A=(C)n=AX2": "CCC_planar-H CCC_twisted-H CCCC_planar-H CCCC_twisted-H",
    "linear X-chain-X": "NCN-H",
    "bare chain": "OCCCO NCCN",
    "bent X3A-E-AX3": "CCC_in-H-H CCC_out-H-H COC_in-H COC_out-H SiOSi_out-H",
    "linear X3A-E-AX3": "SiOSi-H COC-H",
    "diene": "CCCC_cis-H-H-H CCCC_trans-H-H-H OCCO_cis-H OCCO_trans-H",
    "phenyl": "C6H5_up-NH2 C6H5_in_plane-OH C6H5_up-OH C6H5_in_plane-CH3",
    "biaryl": "C6H5-C6H5-H",
    "tetrahedron": "P C-H",
    "cube": "C-H",
    "double bridge": "BH-H AlCl-Cl",
    "adamantane": "CC-H-H NC-H PO",
    "ring of 10": "C10X10-H",
    "ring of 6 puckered": "C6X12_boat-H C6X12_chair-H Si6X12_boat-H Si6X12_chair-H",
    "metallocene": "Fe_staggered-H Fe_eclipsed-H Ru_staggered-H Ru_eclipsed-H Mg_staggered-H Mg_eclipsed-H",
    "hydrogen bond": "malonaldehyde",
    "shared proton": "O_0-H_+1 O_90-H_+1 N_0-H_+1 N_180-H_+1 O_0-H_-1",
}
"""Molecules that are taken whatever is drawn; a space within a name is written as an underscore."""


def _textbook() -> Iterator[Made]:
    """What no frame above makes."""
    yield "ring of 10", "C10X10", 0, lambda: ring(["C"] * 10, ["1"] * 10, [0] * 10), [["H"]]
    for label, heights in {"boat": (1, 0, 0, 1, 0, 0), "chair": (1, -1, 1, -1, 1, -1)}.items():
        for e in ("C", "Si"):
            yield "ring of 6 puckered", f"{e}6X12 {label}", 0, lambda e=e, h=heights: puckered(e, h), [["H"]]
    for metal, charge in [("Fe", 0), ("Ru", 0), ("Mg", 0)]:
        for twist in (0, 36):
            label = f"{metal} {'staggered' if twist else 'eclipsed'}"
            yield "metallocene", label, charge, lambda m=metal, t=twist: metallocene(m, t), [["H"]]
    yield "hydrogen bond", "malonaldehyde", 0, malonaldehyde, []


def puckered(element: str, heights: Sequence[float]) -> Frame:
    """A saturated ring, its atoms so many quarters of a bond above the plane of a regular polygon."""
    frame, count, length = Frame(), len(heights), bond(element, element)
    radius = 0.95 * length / 2 / np.sin(np.pi / count)
    for height, out in zip(heights, around(count), strict=True):
        frame.atom(element, radius * out + 0.25 * length * height * Z)
    sites = []
    for k, place in enumerate(frame.places):
        to = [unit(frame.places[(k + s) % count] - place) for s in (1, -1)]
        out, across = -unit(to[0] + to[1]), unit(np.cross(*to))
        sites += [(k, 0.57 * out + s * 0.82 * across, out) for s in (1, -1)]
    frame.orbit(sites)
    return frame


def metallocene(metal: str, twist: float) -> Frame:
    """Two planar rings of five carbons above and below a metal."""
    frame, sites = Frame(), []
    frame.atom(metal, np.zeros(3))
    for side, phi in ((1, 0.0), (-1, twist)):
        for out in around(5, 90 + phi):
            atom = frame.atom("C", 1.22 * out + side * (1.98 if metal == "Mg" else 1.68) * Z)
            sites.append((atom, out, Z))
    frame.orbit(sites)
    return frame


def malonaldehyde() -> Frame:
    """The hydrogen half-way between both oxygens, C2v."""
    frame = Frame()
    frame.atom("C", (0, 0, 0))
    frame.atom("H", (0, 1.08, 0))
    frame.atom("H", (0, -2.32, 0))
    for s in (1, -1):
        frame.atom("C", (s * 1.19, -0.72, 0))
        frame.atom("H", (s * 2.15, -0.2, 0))
        frame.atom("O", (s * 1.18, -2.0, 0))
    return frame


def classical() -> Iterator[tuple[str, str, int, Atoms]]:
    """The molecules of textbooks: frame, name, charge and structure."""
    wanted = {frame: {name.replace("_", " ") for name in names.split()} for frame, names in CLASSICAL.items()}
    for frame, core, charge, build, options in itertools.chain(families(), _textbook()):
        for choice in itertools.product(*options):
            name = named(core, choice, charge)
            if name in wanted.get(frame, ()):
                yield frame, name, charge, build().molecule(choice)


MOST, DRAWS = 36, 2
"""Molecules of a frame in a draw, unless it has fewer, and how many draws there are."""


def molecules(draws: int = DRAWS) -> list[tuple[str, str, int, Atoms]]:
    """Frame, name, charge and structure of all molecules, those of textbooks first.

    The others are taken in turn from the frames, small ones before large ones. A draw takes ``MOST`` from each frame at
    random; what an earlier one has is not taken again. Those of an odd number of electrons are left out.
    """
    listed = {made[:2]: made for made in classical()}
    for seed in range(draws):
        for made in _draw(random.Random(seed)):
            listed.setdefault(made[:2], made)
    return list(listed.values())


def _draw(rng: random.Random) -> list[tuple[str, str, int, Atoms]]:
    by_frame: dict[str, list[list]] = {}
    for frame, core, charge, build, options in families():
        choices = list(itertools.product(*options))
        rng.shuffle(choices)
        by_frame.setdefault(frame, []).append([(core, charge, build, choice) for choice in choices])
    turns = []
    for frame, made_of in by_frame.items():
        chosen = [(frame, *made) for made in itertools.islice(_mixed(made_of, rng), MOST)]
        chosen.sort(key=lambda made: cost(made[3]) * (0.5 + rng.random()))
        turns += list(enumerate(chosen))
    return [made for _, made in sorted(turns, key=lambda turn: turn[0])]


def cost(atoms: Atoms) -> int:
    """Number of basis functions: of hydrogen one, of the second period four, of others nine."""
    return sum(1 if number == 1 else 4 if number < 11 else 9 for number in atoms.numbers.tolist())


def named(core: str, substituents: Sequence[str], charge: int) -> str:
    """Name of a molecule within its frame."""
    return "-".join([core, *substituents]) + (f" {charge:+d}" if charge else "")


def _mixed(cores: list[list], rng: random.Random) -> Iterator[tuple[str, int, Atoms]]:
    """One of each core in turn, with few atoms rather than many."""
    rng.shuffle(cores)
    while any(cores):
        for choices in cores:
            while choices:
                core, charge, build, choice = choices.pop()
                atoms = build().molecule(choice)
                electrons = int(atoms.numbers.sum()) - charge
                accepted = SMALLEST <= len(atoms) <= LARGEST and electrons % 2 == 0
                if not accepted or rng.random() > min(1, 11 / len(atoms)) ** 2:
                    continue
                yield named(core, choice, charge), charge, atoms
                break
