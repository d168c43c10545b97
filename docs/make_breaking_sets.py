"""Writes docs/breaking_sets.md and its pictures from what the code finds.

``python docs/make_breaking_sets.py`` writes both, ``--check`` compares the page with the code and draws nothing.
"""

from __future__ import annotations

import io
import math
import sys
from collections import Counter
from pathlib import Path

from pyg_symbreak.breaking import BreakingSet, breaking_set, breaking_sets
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.plot import plot_objects

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


def draw(group: PointGroup) -> bytes:
    """A picture, PNG of 240 × 240 pixels, of the set that breaks all of a group."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(2.4, 2.4), dpi=200)
    plot_objects(breaking_set(group), figure.add_axes((0, 0, 1, 1)))
    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    image = Image.open(raw).convert("RGB").resize((240, 240), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.quantize(48).save(out, format="png", optimize=True)
    return out.getvalue()


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
