"""Writes docs/breaking_sets.md and its pictures from what the code finds.

``python docs/make_breaking_sets.py`` writes both, ``--check`` compares the page with the code and draws nothing.
"""

from __future__ import annotations

import io
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from pyg_symbreak.breaking import BreakingSet, breaking_set, breaking_sets
from pyg_symbreak.groups import PointGroup

DOCS = Path(__file__).parent
PAGE = DOCS / "breaking_sets.md"
IMAGES = DOCS / "images" / "sets"

FAMILIES = {
    "No axis": ["C1", "Ci", "Cs"],
    "Cₙ": [f"C{n}" for n in range(2, 7)],
    "Cₙᵥ": [f"C{n}v" for n in range(2, 7)],
    "Cₙₕ": [f"C{n}h" for n in range(2, 7)],
    "S₂ₙ": [f"S{2 * n}" for n in range(2, 7)],
    "Dₙ": [f"D{n}" for n in range(2, 7)],
    "Dₙₕ": [f"D{n}h" for n in range(2, 7)],
    "Dₙd": [f"D{n}d" for n in range(2, 7)],
    "Cubic": ["T", "Th", "Td", "O", "Oh"],
    "Icosahedral": ["I", "Ih"],
    "Continuous": ["Cinf", "Cinfv", "Cinfh", "Dinf", "Dinfh", "SO3", "O3"],
}

INTRODUCTION = """\
# Breaking all of a point group

<!-- Written by docs/make_breaking_sets.py; a test compares it with the code. -->

For each point group S: the smallest set of objects, the same for every input of symmetry S and moving with it, of
which no element of S but the identity leaves any as it is. Fed one of them beside the input, an equivariant network
can give an answer without symmetry. `breaking_set(PointGroup("D3h"))` gives the set; `pyg-symbreak group D3h` shows
it, and the smaller sets that keep some of the symmetry.

- **normalizer**: N(S) in O(3), the operations that carry S into itself. They must carry the set into itself too.
- **complements**: subgroups H of N(S) with H ∩ S = 1 and H·S = N(S), one of each class under N(S), with their number
  where several classes have the same name. They are the stabilizers that an object can have. With a complement the set
  is **ideal**: one orbit of S, as many objects as S has elements, any of which may be used in any frame (Y. Xie and
  T. Smidt, [arXiv:2402.02681](https://arxiv.org/abs/2402.02681)). A point group without one has no finite set: it has
  rotations that N(S) joins to the identity. Its set is **continuous**, to be sampled.
- **irreps**: in e3nn's notation, the lowest that hold such a set: `1o` is a polar vector, `1e` an axial vector, `2e` a
  symmetric traceless tensor, `0o` a pseudoscalar, `0e` a number that breaks nothing.
- **SO(3)**: for groups of rotations, the set where the network is equivariant under rotations only.

In the pictures z is up, x to the front, y to the right. Polar vectors are arrows, axial ones arrows with a ring,
tensors pairs of lobes (one colour each), pseudoscalars signs. Blue arrows are images of the first one under rotations
of S, orange ones under its improper elements. Circles are continuous sets, with some of their objects; there orange
means the other sign of the pseudoscalar. For SO(3) and O(3) one object is shown, a blue and an orange vector, and two
others faintly.
"""


def rows() -> list[tuple[str, list[str]]]:
    """Name of each group and the cells of its row, without the picture."""
    return [(name, _cells(PointGroup(name))) for names in FAMILIES.values() for name in names]


def _cells(group: PointGroup) -> list[str]:
    sets = breaking_sets(group)
    found = sets[0]
    symbol = group.hermann_mauguin
    chiral = PointGroup("SO3").contains_group(group)
    return [
        f"**{pretty(group.schoenflies)}**" + (f"<br>{symbol}" if symbol else ""),
        _number(group.order),
        pretty(group.normalizer().schoenflies),
        _complements(sets) if found.ideal else "none",
        _number(found.size),
        _irreps(found),
        _kind(found),
        _chiral(group) if chiral else "",
    ]


def _complements(sets: list[BreakingSet]) -> str:
    """Names of the complements, with their numbers where there are several classes of a name."""
    counts = Counter(x.complement.schoenflies for x in sets)
    return ", ".join(pretty(name) + (f" ×{n}" if n > 1 else "") for name, n in sorted(counts.items()))


def _chiral(group: PointGroup) -> str:
    found = breaking_set(group, parent="SO3")
    return f"{_number(found.size)} × {_irreps(found)}, {_kind(found)}"


def _kind(found: BreakingSet) -> str:
    continuous = found.size == math.inf
    if found.ideal:
        return "ideal, continuous" if continuous else "ideal"
    return "**continuous**" if continuous else f"degeneracy {found.degeneracy:g}"


def _irreps(found: BreakingSet) -> str:
    return " + ".join(f"{mul}×{ir}" if mul > 1 else str(ir) for mul, ir in found.irreps.simplify())


def _number(number: int | float) -> str:
    return "∞" if number == math.inf else str(number)


def pretty(name: str) -> str:
    """A Schoenflies symbol with its subscript, for Markdown."""
    if name in ("SO3", "O3"):
        return f"{name[:-1]}(3)"
    return f"{name[0]}<sub>{name[1:].replace('inf', '∞')}</sub>" if len(name) > 1 else name


def page() -> str:
    """The text of the page."""
    titles = ["", "S", "order", "normalizer", "complements", "objects", "irreps", "kind", "SO(3)"]
    cells = dict(rows())
    parts = [INTRODUCTION]
    for family, names in FAMILIES.items():
        lines = ["| " + " | ".join(titles) + " |", "| " + " | ".join("---" for _ in titles) + " |"]
        for name in names:
            picture = f'<img src="images/sets/{name}.png" width="120" alt="objects of {name}">'
            lines.append("| " + " | ".join([picture, *cells[name]]) + " |")
        parts.append(f"## {family}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


# ---------------------------------------------------------------------- pictures

PALETTE = [np.array(c) for c in ([0.10, 0.36, 0.70], [0.90, 0.45, 0.05], [0.15, 0.55, 0.30], [0.60, 0.20, 0.55])]
BLUE, ORANGE, GREY = PALETTE[0], PALETTE[1], "#c8c8c8"
_ELEVATION, _AZIMUTH = math.radians(20), math.radians(13)
_VIEW = np.array(
    [math.cos(_AZIMUTH) * math.cos(_ELEVATION), math.sin(_AZIMUTH) * math.cos(_ELEVATION), math.sin(_ELEVATION)]
)
_RIGHT = np.array([-math.sin(_AZIMUTH), math.cos(_AZIMUTH), 0.0])
SCREEN = np.stack([_RIGHT, np.cross(_VIEW, _RIGHT), _VIEW])  # rows: to the right, up, towards the eye


def draw(group: PointGroup) -> bytes:
    """A picture, PNG of 240 × 240 pixels, of the set that breaks all of a group."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    found = breaking_set(group)
    figure = plt.figure(figsize=(2.4, 2.4), dpi=200)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-1.22, 1.22)
    axes.set_ylim(-1.22, 1.22)
    axes.axis("off")
    kinds = [(ir.l, ir.p) for _, ir in found.irreps]
    if kinds[0][0] == 0 and len(kinds) == 1:
        _draw_signs(axes, found)
    else:
        _draw_globe(axes)
        _draw_objects(axes, found)
    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    plt.close(figure)
    image = Image.open(raw).convert("RGB").resize((240, 240), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.quantize(48).save(out, format="png", optimize=True)
    return out.getvalue()


def _draw_globe(axes) -> None:
    t = np.linspace(0, 2 * np.pi, 181)
    axes.plot(np.cos(t), np.sin(t), color=GREY, lw=0.8, zorder=-9)
    ring = SCREEN @ np.stack([np.cos(t), np.sin(t), 0 * t])
    for side, style in ((ring[2] >= 0, "-"), (ring[2] < 0, (0, (2, 2)))):
        axes.plot(*np.where(side, ring[:2], np.nan), color=GREY, lw=0.8, ls=style, zorder=-9)
    for axis in np.eye(3):
        end = SCREEN @ axis
        axes.plot([0, end[0]], [0, end[1]], color=GREY, lw=0.8, zorder=-9)


def _draw_signs(axes, found: BreakingSet) -> None:
    """Scalars: one invariant, or the two signs of a pseudoscalar."""
    from matplotlib.patches import Circle

    values = found.objects.flatten().tolist()
    for i, value in enumerate(values):
        x = 1.1 * (i - (len(values) - 1) / 2)
        color = BLUE if value > 0 else ORANGE
        axes.add_artist(Circle((x, 0), 0.42, facecolor=color, edgecolor="none"))
        axes.text(
            x,
            -0.03,
            "1" if len(values) == 1 else "+" if value > 0 else "−",
            color="w",
            fontsize=26,
            ha="center",
            va="center",
        )


def _draw_objects(axes, found: BreakingSet) -> None:
    if found.size != math.inf:
        signs = np.linalg.det(found.motions)
        tensors = found.irreps.lmax == 2
        for number, (b, sign) in enumerate(zip(found.objects.numpy(), signs, strict=True)):
            color = PALETTE[number % 4] if tensors else BLUE if sign > 0 else ORANGE
            _draw_object(axes, found, b, color, len(signs))
        return
    many = found.sample(3000, torch.Generator().manual_seed(0)).numpy()
    vectors = _pieces(found, many)
    if found.group.dimension == 3:  # pairs of vectors: those that are seen best, far from each other
        flat = np.stack([v @ SCREEN[:2].T for _, v in vectors])
        chosen = [int(np.argmax(np.linalg.norm(flat, axis=2).min(0)))]
        for _ in range(2):
            apart = np.linalg.norm(flat[:, :, None] - flat[:, chosen][:, None], axis=3).min((0, 2))
            chosen.append(int(np.argmax(apart)))
        for i, strength in zip(chosen[::-1], (0.25, 0.25, 1.0), strict=True):
            _draw_object(axes, found, many[i], BLUE, 1, strength)
        return
    main = next(v for (l, _), v in vectors if l == 1)
    for height in sorted(set(main[:, 2].round(6))):
        t = np.linspace(0, 2 * np.pi, 181)
        radius = math.sqrt(max(1 - height**2, 0))
        ring = SCREEN @ np.stack([radius * np.cos(t), radius * np.sin(t), height + 0 * t])
        axes.plot(*ring[:2], color=BLUE, lw=1.6, alpha=0.6)
        on = np.flatnonzero(np.abs(main[:, 2] - height) < 1e-5)
        angles = np.arctan2(main[on, 1], main[on, 0])
        arrows = 3 if (1, 1) in [kind for kind, _ in vectors] else 6
        for k in range(arrows):
            wanted = 2 * np.pi * (k + 0.25 + (height > 1e-6) / 2) / arrows
            near = on[np.abs((angles - wanted + np.pi) % (2 * np.pi) - np.pi) < 0.03]
            pseudo = [v for (l, _), v in vectors if l == 0]
            for sign in (1, -1) if pseudo else (0,):
                some = [i for i in near if not sign or pseudo[0][i, 0] * sign > 0]
                if some and (not sign or k % 2 == (sign > 0)):
                    _draw_object(axes, found, many[some[0]], ORANGE if sign < 0 else BLUE, 6)


def _pieces(found: BreakingSet, objects: np.ndarray) -> list[tuple[tuple[int, int], np.ndarray]]:
    """The parts of objects [n, dim], one for each irrep, [n, 2l+1]."""
    out, at = [], 0
    for mul, ir in found.irreps:
        for _ in range(mul):
            out.append(((ir.l, ir.p), objects[:, at : at + ir.dim]))
            at += ir.dim
    return out


def _draw_object(axes, found: BreakingSet, b: np.ndarray, color: np.ndarray, count: int, strength: float = 1.0) -> None:
    for number, ((l, p), v) in enumerate(_pieces(found, b[None])):
        shade = color if number == 0 or count > 1 else ORANGE
        if l == 1:
            _arrow(axes, v[0], shade, count, strength, axial=p == 1)
        elif l == 2:
            _lobes(axes, v[0], shade)


def _faded(color: np.ndarray, depth: float, strength: float = 1.0) -> np.ndarray:
    """Lighter the farther behind; depth from -1 to 1."""
    share = strength * (0.72 + 0.28 * depth)
    return share * color + (1 - share) * np.ones(3)


def _arrow(axes, v: np.ndarray, color: np.ndarray, count: int, strength: float, axial: bool) -> None:
    x, y, depth = SCREEN @ v
    shade = _faded(color, depth, strength)
    width = 2.2 if count <= 12 else 1.5 if count <= 24 else 0.9
    if count > 48:
        axes.plot([0.55 * x, x], [0.55 * y, y], color=shade, lw=0.8, zorder=depth)
        axes.plot(x, y, "o", ms=3.2, color=shade, mec="none", zorder=depth)
        return
    head = 9 if count <= 12 else 7 if count <= 24 else 5
    axes.annotate(
        "",
        (x, y),
        (0, 0),
        arrowprops={
            "arrowstyle": "-|>",
            "color": shade,
            "lw": width,
            "mutation_scale": head,
            "shrinkA": 0,
            "shrinkB": 0,
        },
        zorder=depth,
    )
    if axial:
        t = np.linspace(0, 2 * np.pi, 61)
        across = np.linalg.svd(v[None])[2][1:]
        ring = SCREEN @ (0.62 * v[:, None] + 0.16 * (across.T @ np.stack([np.cos(t), np.sin(t)])))
        axes.plot(*ring[:2], color=shade, lw=1.2, zorder=depth)


def _lobes(axes, v: np.ndarray, color: np.ndarray) -> None:
    """A symmetric traceless tensor by two lobes along its largest eigenvalue."""
    from e3nn import o3
    from matplotlib.patches import Ellipse

    tensor = np.einsum("ijk,k->ij", o3.wigner_3j(1, 1, 2, dtype=torch.float64).numpy(), v)
    values, vectors = np.linalg.eigh(tensor)
    axis = vectors[:, np.argmax(np.abs(values))]
    for end in (axis, -axis):
        x, y, depth = SCREEN @ end
        length = math.hypot(x, y)
        angle = math.degrees(math.atan2(y, x))
        shade = _faded(color, depth)
        axes.add_artist(
            Ellipse((x / 2, y / 2), length, 0.27, angle=angle, facecolor=shade, edgecolor="w", lw=0.6, zorder=depth)
        )


def main() -> int:
    """Write the page and the pictures, or compare the page with the file."""
    text = page()
    if "--check" in sys.argv[1:]:
        missing = [name for name, _ in rows() if not (IMAGES / f"{name}.png").is_file()]
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        if missing or not same:
            print(f"{PAGE} is not what the code gives, or pictures are missing {missing}: run {Path(__file__).name}")
            return 1
        return 0
    PAGE.write_text(text, encoding="utf-8")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for names in FAMILIES.values():
        for name in names:
            (IMAGES / f"{name}.png").write_bytes(draw(PointGroup(name)))
    print(f"{PAGE} and {sum(map(len, FAMILIES.values()))} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
