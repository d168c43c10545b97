"""Point groups, symmetric point sets and the plain definitions, written without the library."""

import math

import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

Z, X, DIAGONAL = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (1.0, 1.0, 1.0)
GOLDEN = (0.0, 1.0, (1 + math.sqrt(5)) / 2)


def turn(axis, n):
    axis = torch.tensor(axis, dtype=torch.float64)
    return torch.from_numpy(Rotation.from_rotvec((axis / axis.norm() * (2 * math.pi / n)).numpy()).as_matrix())


def mirror(normal):
    return -turn(normal, 2)


INVERSION = -torch.eye(3, dtype=torch.float64)


def _generators():
    groups = {"C1": [], "Ci": [INVERSION], "Cs": [mirror(Z)]}
    for n in range(2, 7):
        groups[f"C{n}"] = [turn(Z, n)]
        groups[f"C{n}v"] = [turn(Z, n), mirror(X)]
        groups[f"C{n}h"] = [turn(Z, n), mirror(Z)]
        groups[f"S{2 * n}"] = [mirror(Z) @ turn(Z, 2 * n)]
        groups[f"D{n}"] = [turn(Z, n), turn(X, 2)]
        groups[f"D{n}h"] = [turn(Z, n), turn(X, 2), mirror(Z)]
        groups[f"D{n}d"] = [mirror(Z) @ turn(Z, 2 * n), turn(X, 2)]
    groups["T"] = [turn(Z, 2), turn(DIAGONAL, 3)]
    groups["Th"] = [*groups["T"], INVERSION]
    groups["Td"] = [turn(DIAGONAL, 3), mirror(Z) @ turn(Z, 4)]
    groups["O"] = [turn(Z, 4), turn(DIAGONAL, 3)]
    groups["Oh"] = [*groups["O"], INVERSION]
    groups["I"] = [turn(GOLDEN, 5), turn(DIAGONAL, 3)]
    groups["Ih"] = [*groups["I"], INVERSION]
    return groups


GENERATORS = _generators()


def point_group(name, orientation=None):
    """All products of the generators, float64 [order, 3, 3]."""
    elements = [torch.eye(3, dtype=torch.float64)]
    for element in elements:
        for generator in GENERATORS[name]:
            product = generator @ element
            if min((product - e).abs().max() for e in elements) > 1e-6:
                elements.append(product)
    elements = torch.stack(elements)
    return elements if orientation is None else orientation @ elements @ orientation.T


def random_rotation(generator):
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return q * q.det()


def symmetric_points(elements, generator, generic=1):
    """The origin, points on the axes and in the mirrors of a group, and generic ones, with their images."""
    seeds = [torch.zeros(3, dtype=torch.float64)]
    seeds += [torch.randn(3, generator=generator, dtype=torch.float64) for _ in range(generic)]
    for e in elements[torch.randperm(len(elements), generator=generator)[:4]]:
        seed = torch.randn(3, generator=generator, dtype=torch.float64)
        values, vectors = torch.linalg.eig(e)
        fixed = vectors[:, (values - 1).abs() < 1e-6]
        basis, _ = torch.linalg.qr(torch.cat([fixed.real, fixed.imag], dim=1))
        basis = basis[:, : fixed.shape[1]]
        seeds.append(basis @ (basis.T @ seed))
    points = []
    for seed in seeds:
        for image in elements @ seed:
            if all((image - p).norm() > 1e-6 for p in points):
                points.append(image)
    points = torch.stack(points)
    return points[torch.randperm(len(points), generator=generator)]


def permutations(elements, points):
    """long [order, N]: element g takes node j to permutations[g, j]."""
    images = points @ elements.transpose(1, 2)
    distance, index = torch.cdist(images, points.expand(len(elements), -1, -1)).min(dim=2)
    assert distance.max() < 1e-6
    return index


def wigner(l, elements):
    """D^l of orthogonal matrices, read off spherical harmonics of points and of their images."""
    generator = torch.Generator().manual_seed(l)
    points = torch.randn(8 * (2 * l + 1), 3, generator=generator, dtype=torch.float64)
    before = o3.spherical_harmonics(l, points, normalize=True)
    after = o3.spherical_harmonics(l, points @ elements.transpose(1, 2), normalize=True)
    return (torch.linalg.pinv(before) @ after).transpose(1, 2)


def representation(irreps, elements):
    """The block-diagonal matrices [order, dim, dim]; harmonics have parity (-1)^l."""
    det = torch.linalg.det(elements)
    blocks = []
    for mul, ir in o3.Irreps(irreps):
        sign = torch.where(det < 0, ir.p * (-1.0) ** ir.l, 1.0)
        blocks += [wigner(ir.l, elements) * sign[:, None, None]] * mul
    return torch.stack([torch.block_diag(*(b[g] for b in blocks)) for g in range(len(elements))])


def naive_projection(x, irreps, perms, elements):
    """(1/|S|) Σ_g D(g) x_{π_g⁻¹(j)}, element by element."""
    total = torch.zeros_like(x)
    for d, perm in zip(representation(irreps, elements), perms, strict=True):
        total[perm] += x @ d.T
    return total / len(elements)


def naive_reduce(x, node, num_orbits, reduce, weight=None):
    """Orbit by orbit, with torch's own reductions."""
    rows = []
    for i in range(num_orbits):
        part = x[node == i]
        w = torch.ones(len(part), dtype=x.dtype) if weight is None else weight[node == i]
        if reduce == "sum":
            rows.append((w[:, None] * part).sum(0))
        elif reduce == "mean":
            rows.append((w[:, None] * part).sum(0) / w.sum() if len(part) else x.new_zeros(x.shape[1]))
        elif reduce == "logsumexp":
            rows.append((part + w.log()[:, None]).logsumexp(0))
        elif len(part):
            rows.append(part.amin(0) if reduce == "min" else part.amax(0))
        else:
            rows.append(x.new_full((x.shape[1],), math.inf if reduce == "min" else -math.inf))
    return torch.stack(rows)
