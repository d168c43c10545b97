"""Point groups from generators written out here, and how O(3) acts on irreps by evaluating spherical harmonics.

Nothing of pyg_symbreak is used: these are what its groups, normalizers and breaking sets are compared with.
"""

import re
from functools import cache

import numpy as np
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

PHI = (1 + 5**0.5) / 2
INVERSION = -np.eye(3)
MZ, MY, C2X = np.diag([1.0, 1, -1]), np.diag([1.0, -1, 1]), np.diag([1.0, -1, -1])
C3_111 = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])

HERMANN_MAUGUIN = """1 C1|-1 Ci|2 C2|m Cs|2/m C2h|222 D2|mm2 C2v|mmm D2h|4 C4|-4 S4|4/m C4h|422 D4|4mm C4v|-42m D2d
4/mmm D4h|3 C3|-3 S6|32 D3|3m C3v|-3m D3d|6 C6|-6 C3h|6/m C6h|622 D6|6mm C6v|-6m2 D3h|6/mmm D6h|23 T|m-3 Th|432 O
-43m Td|m-3m Oh"""
CRYSTALLOGRAPHIC = dict(entry.split() for entry in HERMANN_MAUGUIN.replace("\n", "|").split("|"))


def turn(axis, angle):
    axis = np.asarray(axis, dtype=float)
    return Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).as_matrix()


def families(n):
    """The seven axial groups of a main axis of order n."""
    return [f"C{n}", f"C{n}v", f"C{n}h", f"S{2 * n}", f"D{n}", f"D{n}h", f"D{n}d"]


def all_names(n_max):
    return [
        "C1",
        "Cs",
        "Ci",
        *(f for n in range(2, n_max + 1) for f in families(n)),
        "T",
        "Td",
        "Th",
        "O",
        "Oh",
        "I",
        "Ih",
    ]


def generators(name):
    cubic = [C3_111, C2X]
    if name[0] in "TOI" or name in ("C1", "Cs", "Ci"):
        five, four = turn([0, 1, PHI], 2 * np.pi / 5), turn([0, 0, 1], np.pi / 2)
        return {
            "C1": [np.eye(3)], "Cs": [MZ], "Ci": [INVERSION],
            "T": cubic, "Th": [*cubic, INVERSION], "Td": [*cubic, -four], "O": [*cubic, four],
            "Oh": [*cubic, four, INVERSION], "I": [*cubic, five], "Ih": [*cubic, five, INVERSION],
        }[name]  # fmt: skip
    family, n, kind = re.fullmatch(r"([CDS])(\d+)([vhd]?)", name).groups()
    n = int(n)
    main = turn([0, 0, 1], 2 * np.pi / n)
    return {
        "C": [main], "Cv": [main, MY], "Ch": [main, MZ], "S": [MZ @ main],
        "D": [main, C2X], "Dh": [main, C2X, MZ], "Dd": [MZ @ turn([0, 0, 1], np.pi / n), C2X],
    }[family + kind]  # fmt: skip


@cache
def explicit(name):
    """All matrices [n, 3, 3]: main axis z, C_nv with a mirror that holds x, dihedral groups with a C2 axis along x."""
    found = np.eye(3)[None]
    for _ in range(300):
        grown = np.concatenate([found, *(found @ g for g in generators(name))])
        keep = np.unique(np.round(grown.reshape(-1, 9), 6) + 0.0, axis=0, return_index=True)[1]
        if len(keep) == len(found):
            return found
        found = grown[np.sort(keep)]
    raise AssertionError(name)


def find(elements, matrices, tolerance=1e-7):
    """The number of each matrix in the list of elements; an AssertionError where one is not in it."""
    elements, matrices = np.asarray(elements), np.asarray(matrices)
    index = np.argmax(matrices.reshape(-1, 9) @ elements.reshape(-1, 9).T, axis=1)
    deviation = np.abs(elements[index] - matrices.reshape(-1, 3, 3)).max()
    assert deviation < tolerance, f"a matrix is not among the elements: {deviation:.1e}"
    return index.reshape(matrices.shape[:-2])


def same_set(a, b, tolerance=1e-7):
    """Whether two lists of matrices or of vectors hold the same things, each once."""
    a, b = np.asarray(a).reshape(len(a), -1), np.asarray(b).reshape(len(b), -1)
    if len(a) != len(b):
        return False
    close = np.abs(a[:, None] - b[None]).max(2) < tolerance
    return bool((close.sum(0) == 1).all() and (close.sum(1) == 1).all())


def conjugated(elements, g):
    return g @ elements @ np.swapaxes(g, -1, -2)


def random_rotation(rng):
    return Rotation.from_quat(rng.standard_normal(4)).as_matrix()


def random_orthogonal(rng):
    return random_rotation(rng) * rng.choice([-1.0, 1.0])


@cache
def _points(l):
    points = np.random.default_rng(l).standard_normal((6 * l + 4, 3))
    points = torch.from_numpy(points / np.linalg.norm(points, axis=1)[:, None])
    values = o3.spherical_harmonics(l, points, normalize=False).numpy()
    return points.numpy(), np.linalg.pinv(values)


def by_harmonics(irreps, elements):
    """The matrices of elements [n, 3, 3] on e3nn irreps with l ≤ 11, from Y(R·x) = D(R)·Y(x) at many points x."""
    irreps, elements = o3.Irreps(irreps), np.asarray(elements)
    sign = np.sign(np.linalg.det(elements))
    rotations = elements * sign[:, None, None]
    out = np.zeros((len(elements), irreps.dim, irreps.dim))
    at = 0
    for mul, ir in irreps:
        points, inverse = _points(ir.l)
        moved = np.einsum("nij,pj->npi", rotations, points)
        values = o3.spherical_harmonics(ir.l, torch.from_numpy(moved), normalize=False).numpy()
        d = np.swapaxes(inverse @ values, 1, 2) * np.where(sign < 0, ir.p, 1)[:, None, None]
        for _ in range(mul):
            out[:, at : at + ir.dim, at : at + ir.dim] = d
            at += ir.dim
    return out
