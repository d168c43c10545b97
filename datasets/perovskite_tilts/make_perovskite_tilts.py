"""Compute the data set of perovskite tilts: python make_perovskite_tilts.py RUN.jsonl [perovskite_tilts.json.gz]

Needs `pip install sevenn==0.13.0`. Each finished compound is appended to RUN.jsonl, and a run that was killed goes on
from there. With a second argument, what is there is written as the file of the package instead; its compounds count
as finished for a run whose RUN.jsonl is not there. README.md beside this file says what is computed.
"""

import gzip
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, product
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from rich.progress import Progress
from scipy.optimize import linear_sum_assignment

from pyg_symbreak.detect import detect_symmetry, symmetrize
from pyg_symbreak.distort import Distortion, glazer, relax, relax_within, same_structure
from pyg_symbreak.structures import find_octahedra

MODEL = "7net-0"
SHIPPED = Path(__file__).with_name("perovskite_tilts.json.gz")
FMAX = 0.01
"""Relaxed when no force is larger, eV/Å."""
STABLE = 0.1
"""Tilts with an irrep whose curvature in the cubic phase is larger, eV/Å², are not started."""
STEP = 0.02
"""Displacement of the finite differences, Å."""
KICK = 0.15
"""Largest displacement along the polar mode in a start of tilt and polarization, Å."""
SYMPREC = 0.02
"""Tolerance, Å, for the symmetry of what was relaxed."""
SAME_ENERGY = 0.001
"""Structures whose energies a formula unit differ by more, eV, are different."""
WHOLE = ("BaTiO3", "KMgF3", "LaAlO3")
"""Of these all is started, stable or not, which tests the choice by curvatures."""
STAGES = (
    ("a0a0c-", "a-a-a-", "a0b-b-", "a0a0c+", "a+a+a+", "a+b-b-"),
    ("a0b+b+", "a0b+c-", "a-b-b-", "a+a+c-"),
    ("a0b-c-", "a-b-c-", "a+b+c+", "a+b-c-"),
)
"""Tilts by how often they are the lowest in nature; all compounds go through one stage before the next."""
JOINT = (
    (("a-a-a-", "minus"), ("a0a0c-", "minus")),
    (("a0a0c+", "plus"), ("a0b-b-", "minus"), ("a+b-b-", "plus"), ("a+b-b-", "third")),
    (("a+b-b-", "minus"),),
)
"""Tilts and axes of their polar starts."""

# Shannon radii, Å, and charges (R. D. Shannon, Acta Cryst. A 32, 751 (1976)): of A in 12-fold coordination or in the
# largest that is tabulated, of B in 6-fold coordination (high spin, but Co3+ and Ni3+ low spin), of X in 6-fold.
# Sn2+ is not there: L. H. Ahrens, Geochim. Cosmochim. Acta 2, 155 (1952).
A = {
    **{"Na": (1.39, 1), "K": (1.64, 1), "Rb": (1.72, 1), "Cs": (1.88, 1), "Ag": (1.28, 1), "Mg": (0.89, 2)},
    **{"Ca": (1.34, 2), "Sr": (1.44, 2), "Ba": (1.61, 2), "Pb": (1.49, 2), "Cd": (1.31, 2), "Eu": (1.35, 2)},
    **{"La": (1.36, 3), "Nd": (1.27, 3), "Gd": (1.107, 3), "Dy": (1.083, 3), "Y": (1.075, 3), "Bi": (1.17, 3)},
}
B = {
    **{"Li": (0.76, 1), "Mg": (0.72, 2), "Zn": (0.74, 2), "Mn": (0.83, 2), "Co": (0.745, 2), "Ni": (0.69, 2)},
    **{"Ca": (1.0, 2), "Cd": (0.95, 2), "Sr": (1.18, 2), "Pb": (1.19, 2), "Sn": (0.93, 2), "Ge": (0.73, 2)},
    **{"Al": (0.535, 3), "Ga": (0.62, 3), "Sc": (0.745, 3), "In": (0.8, 3), "Fe": (0.645, 3), "Cr": (0.615, 3)},
    **{"Lu": (0.861, 3), "V": (0.64, 3), "Co3": (0.545, 3), "Ni3": (0.56, 3)},
    **{"Ti": (0.605, 4), "Zr": (0.72, 4), "Hf": (0.71, 4), "Sn4": (0.69, 4), "Ge4": (0.53, 4), "Si": (0.4, 4)},
    **{"Ru": (0.62, 4), "Ce": (0.87, 4), "Mn4": (0.53, 4), "V4": (0.58, 4), "Nb": (0.64, 5), "Ta": (0.64, 5)},
}
X = {"O": (1.4, -2), "F": (1.33, -1), "Cl": (1.81, -1), "Br": (1.96, -1), "I": (2.2, -1)}

# In an order that makes the first ones diverse. A digit after an element tells its charge, where B lists two.
COMPOUNDS = """
    Sr Ti O, Ca Ti O, Ba Ti O, Cs Pb I, La Al O, Na Mg F, K Mg F, Na Nb O, Cs Ge Br, Sr Zr O, Pb Ti O, Bi Fe O,
    Rb Ca F, Ca Sn4 O, Gd Sc O, Cs Sn I, K Nb O, Ba Zr O, Y Al O, K Mn F, Ca Ge4 O, Nd Ga O, Cs Ca Cl, Na Ta O,
    Sr Hf O, Mg Si O, Cs Pb Br, La Fe O, K Zn F, Cd Ti O, Ba Ce O, Sr Sn4 O, La Ga O, Cs Ge I, Ca Zr O, Na Zn F,
    K Ta O, Sr Ru O, La Sc O, Ba Li F, Y Fe O, Cs Pb Cl, Ca Mn4 O, La Co3 O, K Ca F, Pb Zr O, Eu Ti O, Cs Sn Br,
    Ca Hf O, Sr Ce O, Na Mn F, La Ni3 O, Ba Sn4 O, Cs Ge Cl, Gd Fe O, Ca Si O, Rb Cd F, La In O, Ca Ru O, Bi Al O,
    Cs Ca F, K Ni F, La Cr O, Ba Hf O, Nd Al O, Cs Cd F, Na Ni F, Sr Ge4 O, Dy Sc O, La V O, K Cd F, Cs Sn Cl,
    Sr V4 O, Na Co F, Gd Al O, Ca V4 O, Ag Nb O, La Lu O, K Co F, Cs Ca Br, Nd Fe O, Rb Mn F, Y Cr O, Cs Sr F
"""

# compound: space group that is measured, where, and in which work
MEASURED = {
    "SrTiO3": ("I4/mcm", "below 105 K", "H. Unoki & T. Sakudo, J. Phys. Soc. Jpn. 23, 546 (1967)"),
    "CaTiO3": (
        "Pnma",
        "room",
        "H. J. A. Koopmans, G. M. H. van de Velde & P. J. Gellings, Acta Cryst. C 39, 1323 (1983)",
    ),
    "BaTiO3": ("R3m", "below 183 K", "G. H. Kwei et al., J. Phys. Chem. 97, 2368 (1993)"),
    "CsPbI3": ("Pnma", "room, metastable", "R. J. Sutton et al., ACS Energy Lett. 3, 1787 (2018)"),
    "LaAlO3": (
        "R-3c",
        "room",
        "C. J. Howard, B. J. Kennedy & B. C. Chakoumakos, J. Phys. Condens. Matter 12, 349 (2000)",
    ),
    "NaMgF3": (
        "Pnma",
        "room",
        "Y. Zhao, D. J. Weidner, J. B. Parise & D. E. Cox, Phys. Earth Planet. Inter. 76, 1 (1993)",
    ),
    "KMgF3": ("Pm-3m", "room", "G. Vaitheeswaran et al., Phys. Rev. B 76, 014107 (2007)"),
    "NaNbO3": ("R3c", "low", "C. N. W. Darlington & H. D. Megaw, Acta Cryst. B 29, 2171 (1973)"),
    "CsGeBr3": ("R3m", "room", "G. Thiele, H. W. Rotter & K. D. Schmidt, Z. Anorg. Allg. Chem. 545, 148 (1987)"),
    "CsGeI3": ("R3m", "room", "G. Thiele, H. W. Rotter & K. D. Schmidt, Z. Anorg. Allg. Chem. 545, 148 (1987)"),
    "CsGeCl3": ("R3m", "room", "G. Thiele, H. W. Rotter & K. D. Schmidt, Z. Anorg. Allg. Chem. 545, 148 (1987)"),
    "SrZrO3": ("Pnma", "room", "B. J. Kennedy, C. J. Howard & B. C. Chakoumakos, Phys. Rev. B 59, 4023 (1999)"),
    "PbTiO3": ("P4mm", "room", "G. Shirane, R. Pepinsky & B. C. Frazer, Acta Cryst. 9, 131 (1956)"),
    "BiFeO3": ("R3c", "room", "F. Kubel & H. Schmid, Acta Cryst. B 46, 698 (1990)"),
    "RbCaF3": ("I4/mcm", "below 193 K", "F. A. Modine et al., Phys. Rev. B 10, 1623 (1974)"),
    "CaSnO3": ("Pnma", "room", "A. Vegas et al., Acta Cryst. B 42, 167 (1986)"),
    "SrSnO3": ("Pnma", "room", "A. Vegas et al., Acta Cryst. B 42, 167 (1986)"),
    "GdScO3": ("Pnma", "room", "R. P. Liferovich & R. H. Mitchell, J. Solid State Chem. 177, 2188 (2004)"),
    "LaScO3": ("Pnma", "room", "R. P. Liferovich & R. H. Mitchell, J. Solid State Chem. 177, 2188 (2004)"),
    "DyScO3": ("Pnma", "room", "R. P. Liferovich & R. H. Mitchell, J. Solid State Chem. 177, 2188 (2004)"),
    "CsSnI3": ("Pnma", "room, black phase", "K. Yamada et al., Chem. Lett. 20, 801 (1991)"),
    "KNbO3": ("R3m", "low", "A. W. Hewat, J. Phys. C 6, 2559 (1973)"),
    "BaZrO3": ("Pm-3m", "down to 2 K", "A. R. Akbarzadeh et al., Phys. Rev. B 72, 205104 (2005)"),
    "YAlO3": ("Pnma", "room", "R. Diehl & G. Brandt, Mater. Res. Bull. 10, 85 (1975)"),
    "KMnF3": ("Pm-3m", "room", "N. Kijima, K. Tanaka & F. Marumo, Acta Cryst. B 39, 557 (1983)"),
    "KNiF3": ("Pm-3m", "room", "N. Kijima, K. Tanaka & F. Marumo, Acta Cryst. B 39, 557 (1983)"),
    "CaGeO3": ("Pnma", "room", "S. Sasaki, C. T. Prewitt & R. C. Liebermann, Am. Mineral. 68, 1189 (1983)"),
    "NdGaO3": ("Pnma", "room", "W. Marti et al., J. Phys. Condens. Matter 6, 127 (1994)"),
    "LaGaO3": ("Pnma", "room", "W. Marti et al., J. Phys. Condens. Matter 6, 127 (1994)"),
    "NaTaO3": (
        "Pnma",
        "room",
        "B. J. Kennedy, A. K. Prodjosantoso & C. J. Howard, J. Phys. Condens. Matter 11, 6319 (1999)",
    ),
    "SrHfO3": ("Pnma", "room", "B. J. Kennedy, C. J. Howard & B. C. Chakoumakos, Phys. Rev. B 60, 2972 (1999)"),
    "MgSiO3": ("Pnma", "room", "H. Horiuchi, E. Ito & D. J. Weidner, Am. Mineral. 72, 357 (1987)"),
    "CsPbBr3": ("Pnma", "room", "C. C. Stoumpos et al., Cryst. Growth Des. 13, 2722 (2013)"),
    "LaFeO3": ("Pnma", "room", "M. Marezio & P. D. Dernier, Mater. Res. Bull. 6, 23 (1971)"),
    "YFeO3": ("Pnma", "room", "M. Marezio, J. P. Remeika & P. D. Dernier, Acta Cryst. B 26, 2008 (1970)"),
    "GdFeO3": ("Pnma", "room", "M. Marezio, J. P. Remeika & P. D. Dernier, Acta Cryst. B 26, 2008 (1970)"),
    "NdFeO3": ("Pnma", "room", "M. Marezio, J. P. Remeika & P. D. Dernier, Acta Cryst. B 26, 2008 (1970)"),
    "CdTiO3": ("Pnma", "room", "S. Sasaki, C. T. Prewitt, J. D. Bass & W. A. Schulze, Acta Cryst. C 43, 1668 (1987)"),
    "BaCeO3": ("Pnma", "room", "K. S. Knight, Solid State Ionics 74, 109 (1994)"),
    "SrCeO3": ("Pnma", "room", "J. Ranløv & K. Nielsen, J. Mater. Chem. 4, 867 (1994)"),
    "CaZrO3": (
        "Pnma",
        "room",
        "H. J. A. Koopmans, G. M. H. van de Velde & P. J. Gellings, Acta Cryst. C 39, 1323 (1983)",
    ),
    "KTaO3": ("Pm-3m", "down to 4 K", "C. H. Perry et al., Phys. Rev. B 39, 8666 (1989)"),
    "SrRuO3": (
        "Pnma",
        "room",
        "C. W. Jones, P. D. Battle, P. Lightfoot & W. T. A. Harrison, Acta Cryst. C 45, 365 (1989)",
    ),
    "CaRuO3": ("Pnma", "room", "W. Bensch, H. W. Schmalle & A. Reller, Solid State Ionics 43, 171 (1990)"),
    "CaMnO3": ("Pnma", "room", "K. R. Poeppelmeier et al., J. Solid State Chem. 45, 71 (1982)"),
    "LaCoO3": ("R-3c", "down to 4 K", "G. Thornton, B. C. Tofield & A. W. Hewat, J. Solid State Chem. 61, 301 (1986)"),
    "LaNiO3": ("R-3c", "room", "J. L. García-Muñoz et al., Phys. Rev. B 46, 4414 (1992)"),
    "LaCrO3": ("Pnma", "room", "K. Oikawa et al., J. Solid State Chem. 154, 524 (2000)"),
    "LaVO3": ("Pnma", "room", "P. Bordet et al., J. Solid State Chem. 106, 253 (1993)"),
    "LaInO3": ("Pnma", "room", "E. Ruiz-Trejo, G. Tavizón & A. Arroyo-Landeros, J. Phys. Chem. Solids 64, 515 (2003)"),
    "EuTiO3": ("I4/mcm", "below 282 K", "M. Allieta et al., Phys. Rev. B 85, 184107 (2012)"),
    "PbZrO3": ("Pbam", "room; not in 2x2x2", "H. Fujishita & S. Hoshino, J. Phys. Soc. Jpn. 53, 226 (1984)"),
    "CaHfO3": (
        "Pnma",
        "room",
        "A. Feteira, D. C. Sinclair, K. Z. Rajab & M. T. Lanagan, J. Am. Ceram. Soc. 91, 893 (2008)",
    ),
    "BaHfO3": (
        "Pm-3m",
        "room",
        "A. Feteira, D. C. Sinclair, K. Z. Rajab & M. T. Lanagan, J. Am. Ceram. Soc. 91, 893 (2008)",
    ),
    "BiAlO3": ("R3c", "room", "A. A. Belik et al., Chem. Mater. 18, 133 (2006)"),
    "AgNbO3": ("Pmc2_1", "room; not in 2x2x2", "M. Yashima et al., Chem. Mater. 23, 1643 (2011)"),
}


class Compound:
    """One of the list."""

    def __init__(self, line: str):
        a, b, x = line.split()
        self.ions = (A[a], B[b], X[x])
        self.elements = tuple(ion.rstrip("34") for ion in (a, b, x))
        self.name = "{}{}{}3".format(*self.elements)
        if sum(charge * count for (_, charge), count in zip(self.ions, (1, 1, 3), strict=True)):
            raise ValueError(f"{self.name} is charged")

    @property
    def tolerance_factor(self) -> float:
        """Of V. M. Goldschmidt, Naturwissenschaften 14, 477 (1926)."""
        (a, _), (b, _), (x, _) = self.ions
        return (a + x) / (2**0.5 * (b + x))

    def cubic(self, edge: float | None = None) -> Atoms:
        """The cubic phase, five atoms: A in the middle, B at the corners."""
        places = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
        edge = edge or 2 * (self.ions[1][0] + self.ions[2][0])
        a, b, x = self.elements
        return Atoms([a, b, x, x, x], scaled_positions=places, cell=[edge] * 3, pbc=True)


def per_formula(atoms: Atoms) -> float:
    """Energy, eV a formula unit of five atoms."""
    return float(atoms.get_potential_energy()) / len(atoms) * 5


def curvature(way: Distortion, calculator: Calculator) -> float:
    """Of the energy along a distortion whose sign does not matter, eV/Å²: from one force call in its primitive cell."""
    assert way.kept is not None
    assert way.parent is not None
    moved = way.parent.copy()
    moved.positions += STEP * way.direction
    small = way.kept.primitive_cell(moved)
    share = len(small) / len(way.parent)
    small.calc = calculator
    still = way.parent.copy()
    still.arrays["way"] = way.direction
    direction = way.kept.primitive_cell(still).arrays["way"]
    along = float((small.get_forces() * direction).sum())
    return -along / (STEP * float((way.direction**2).sum()) * share)


def polar_start(atoms: Atoms, axis: str, mode: dict[str, float]) -> Atoms:
    """A tilted structure with ions displaced along an axis of its tilts, as in the polar mode of the cubic phase.

    ``axis`` is that of the in-phase tilts ("plus"), of the others ("minus"), or at right angles to both ("third").
    ``mode`` has the displacements of A, B, and of X on the bond along the polarization ("X") and across it ("Y").
    """
    octahedra = find_octahedra(atoms)
    found = octahedra.tilts()
    plus, minus = (found.angles[:, column] @ found.axes for column in (0, 1))
    direction = {"plus": plus, "minus": minus, "third": np.cross(plus, minus)}[axis]
    direction /= np.linalg.norm(direction)
    bonds = zip(octahedra.bonds[:, 2], octahedra.directions, strict=True)
    along = {int(j): octahedra.axes[abs(k) - 1] for j, k in bonds}
    moves = np.zeros((len(atoms), 3))
    for i in range(len(atoms)):
        if i in along:
            part = (along[i] @ direction) * along[i]
            moves[i] = mode["X"] * part + mode["Y"] * (direction - part)
        else:
            moves[i] = direction * mode["B" if i in octahedra.centers else "A"]
    start = atoms.copy()
    start.positions += KICK * moves / np.linalg.norm(moves, axis=1).max()
    return start


def polar_mode(cubic: Atoms, calculator: Calculator) -> tuple[float, dict[str, float]]:
    """Lowest curvature along a polar mode, eV/Å², and the displacements of A, B, X and Y in it."""
    columns = [[0], [1], [4], [2, 3]]  # A, B, X on the bond along z, X across
    basis = np.zeros((4, 5))
    for row, atoms in zip(basis, columns, strict=True):
        row[atoms] = len(atoms) ** -0.5
    constants = np.zeros((4, 4))
    for k, row in enumerate(basis):
        moved = cubic.copy()
        moved.positions[:, 2] += STEP * row
        moved.calc = calculator
        constants[k] = -(basis @ moved.get_forces()[:, 2]) / STEP
    values, vectors = np.linalg.eigh((constants + constants.T) / 2)
    lengths = np.array([1, 1, 1, 2**0.5])
    acoustic = np.abs(vectors.T @ lengths) / 5**0.5
    soft = int(np.argmax(acoustic < 0.5))
    return float(values[soft]), dict(zip("ABXY", (vectors[:, soft] / lengths).tolist(), strict=True))


def loaded(phase: dict) -> Atoms:
    """A relaxed structure that was stored."""
    return Atoms(phase["symbols"], positions=phase["positions"], cell=phase["cell"], pbc=True)


def stored(atoms: Atoms, start: str, converged: bool) -> dict:
    """A relaxed structure, ready for JSON."""
    return {
        "start": start,
        "energy": per_formula(atoms),
        "converged": converged,
        "symbols": atoms.get_chemical_symbols(),
        "cell": atoms.cell.array.round(7).tolist(),
        "positions": atoms.positions.round(7).tolist(),
    }


def start_compound(compound: Compound, calculator: Calculator) -> dict:
    """The cubic phase, and which of its tilts and polar displacements are unstable."""
    parent = relax(compound.cubic(), calculator, generations=0, cell="symmetric", fmax=FMAX / 3).found[0].atoms
    soft, mode = polar_mode(parent, calculator)
    tilts = {name: curvature(glazer(tilt, parent), calculator) for name, tilt in (("M3+", "a0a0c+"), ("R4+", "a0a0c-"))}
    return {
        "ions": [list(ion) for ion in compound.ions],
        "elements": list(compound.elements),
        "tolerance_factor": compound.tolerance_factor,
        "edge": float(parent.cell.lengths()[0]),
        "curvatures": {"GM4-": soft, **tilts},
        "polar_mode": mode,
        "phases": [stored(parent, "a0a0a0", True)],
    }


def possible(tilt: str, cubic: dict) -> bool:
    """Whether the irreps of a tilt are not stable in the cubic phase."""
    limits = {"+": "M3+", "-": "R4+"}
    return all(cubic["curvatures"][irrep] < STABLE for sign, irrep in limits.items() if sign in tilt)


def tilted(tilt: str, cubic: dict, calculator: Calculator) -> dict:
    """A relaxed tilt."""
    way = glazer(tilt, loaded(cubic["phases"][0]))
    end = relax_within([way], calculator, fmax=FMAX, steps=150)[1]
    return {"phases": [stored(end.atoms, tilt, end.converged)]}


def polar(cubic: dict, calculator: Calculator) -> dict:
    """Relaxed polar structures in five atoms."""
    found = relax(loaded(cubic["phases"][0]), calculator, generations=1, cell="symmetric", fmax=FMAX).found[1:]
    return {"phases": [stored(end.atoms, "polar", True) for end in found]}


def joint(tilt: str, axis: str, cubic: dict, tilted: dict, calculator: Calculator) -> dict:
    """A polar structure relaxed from a tilted one, where that kept its tilt."""
    atoms = loaded(tilted["phases"][0])
    if not tilted["phases"][0]["converged"] or find_octahedra(atoms).tilts().symbol != tilt:
        return {"phases": []}
    start = polar_start(atoms, axis, cubic["polar_mode"])
    try:
        end = relax(start, calculator, generations=0, cell="symmetric", fmax=FMAX, steps=150).found[0]
    except RuntimeError:  # not converged
        return {"phases": []}
    return {"phases": [stored(end.atoms, f"{tilt} polar {axis}", True)]}


class Run:
    """What is done, in a file with one line each: the cubic phase, tilts, polar structures of each compound."""

    def __init__(self, path: Path):
        self.path = path
        if not path.exists() and SHIPPED.exists():
            records = list(map(json.loads, gzip.decompress(SHIPPED.read_bytes()).splitlines()))
            edges = {record["name"]: record["edge"] for record in records if "edge" in record}
            for record in records:
                record["phases"] = [restored(phase, edges[record["name"]]) for phase in record["phases"]]
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        lines = path.read_text().splitlines() if path.exists() else []
        self.records = {(r["name"], r["stage"]): r for r in map(json.loads, lines)}

    def get(self, name: str, stage: str, compute: Callable[[], dict]) -> dict:
        """A record from the file, or computed now and appended."""
        key = (name, stage)
        if key not in self.records:
            began = time.process_time()
            record = {"name": name, "stage": stage, **compute()}
            record["seconds"] = round(time.process_time() - began, 1)
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")
            self.records[key] = record
        return self.records[key]


def compute(run: Run, compound: Compound, stage: int, calculator: Calculator, tell: Callable[..., None]) -> None:
    """All relaxations of one compound that belong to a stage."""
    name = compound.name
    tell(description=name)
    cubic = run.get(name, "a0a0a0", lambda: start_compound(compound, calculator))
    whole = name in WHOLE
    for tilt in chain(*STAGES) if whole else STAGES[stage]:
        if whole or possible(tilt, cubic):
            tell(description=f"{name} {tilt}")
            run.get(name, tilt, lambda tilt=tilt: tilted(tilt, cubic, calculator))
    if not whole and cubic["curvatures"]["GM4-"] > 0:
        return
    if stage == 0:
        tell(description=f"{name} polar")
        run.get(name, "polar", lambda: polar(cubic, calculator))
    for tilt, axis in chain(*JOINT) if whole else JOINT[stage]:
        if (name, tilt) in run.records:
            tell(description=f"{name} {tilt} polar {axis}")
            before = run.records[name, tilt]
            run.get(name, f"{tilt} polar {axis}", lambda t=tilt, a=axis, b=before: joint(t, a, cubic, b, calculator))


# ---------------------------------------------------------------------- the file of the package


def described(phase: dict, elements: Sequence[str], edge: float) -> dict:
    """A phase as displacements and strain of the cubic one in the same cell, with its symmetry and its tilts.

    The cubic phase has B at whole multiples of its edge. ``multiples`` are the cell vectors in units of the edge,
    ``halves`` the places of the atoms in units of half of it; an atom of the phase is at (place + displacement)(1 +
    strain).
    """
    atoms = loaded(phase)
    multiples = np.rint(atoms.cell.array / edge)
    cell = multiples * edge
    left, stretch, _ = np.linalg.svd(np.linalg.solve(cell, atoms.cell.array))
    order, places, moves = matched(atoms, elements, cell, edge)
    symmetry = detect_symmetry(atoms, SYMPREC)
    try:
        tilts = find_octahedra(atoms).tilts()
        glazer, angles = tilts.symbol, tilts.angles.round(3).tolist()
    except ValueError:  # an ion has left its octahedron
        glazer, angles = None, None
    assert symmetry.space_group is not None
    cells = len(atoms) // len(symmetry.pure_translations) // 5
    return {
        "start": phase["start"],
        "energy": phase["energy"],
        "converged": phase["converged"],
        "symbols": [atoms.symbols[i] for i in order],
        "multiples": multiples.astype(int).tolist(),
        "halves": np.rint(2 * places / edge).astype(int).tolist(),
        "displacements": (moves - moves.mean(0)).round(6).tolist(),
        "strain": ((left * (stretch - 1)) @ left.T).round(8).tolist(),
        "space_group": list(symmetry.space_group),
        "domains": 48 // len(symmetry.group.matrices) * cells,
        "polar": bool(np.abs(symmetry.group.matrices.mean(0)).max() > 1e-6),
        "tilt": glazer,
        "angles": angles,
    }


def matched(
    atoms: Atoms, elements: Sequence[str], cell: np.ndarray, edge: float
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Atoms in the order of the places of the cubic phase, these places, Å, and the displacements from them, Å."""
    steps = np.array(list(product(range(-4, 5), repeat=3)))
    offsets = dict(zip(elements, ([[0.5, 0.5, 0.5]], [[0, 0, 0]], (np.eye(3) / 2).tolist()), strict=True))
    order, places, moves = [], [], []
    fractional = atoms.positions @ np.linalg.inv(atoms.cell.array)
    for element, offset in offsets.items():
        sites = ((np.array(offset)[:, None] + steps) * edge).reshape(-1, 3) @ np.linalg.inv(cell)
        sites = np.unique(np.round(sites % 1, 6) % 1, axis=0)
        own = np.flatnonzero(atoms.symbols == element)
        apart = fractional[own][:, None] - sites
        apart = (apart - np.round(apart)) @ cell
        distance = np.linalg.norm(apart, axis=2)
        rows, columns = linear_sum_assignment(distance**2)
        if len(sites) != len(own) or distance[rows, columns].max() > 0.45 * edge:
            raise ValueError("the atoms are not those of a distorted perovskite")
        order += own[rows].tolist()
        places += (sites[columns] @ cell).tolist()
        moves += apart[rows, columns].tolist()
    return order, np.array(places), np.array(moves)


def is_perovskite(phase: dict, elements: Sequence[str], edge: float) -> bool:
    """Whether the atoms have stayed near the places of the cubic phase."""
    try:
        described(phase, elements, edge)
    except (ValueError, np.linalg.LinAlgError):
        print(f"{phase['start']} of {''.join(elements)}3 has become another structure: left out", flush=True)
        return False
    return True


def restored(phase: dict, edge: float) -> dict:
    """The structure of a described phase, as it was stored."""
    deformation = np.eye(3) + phase["strain"]
    positions = np.array(phase["halves"]) * edge / 2 + phase["displacements"]
    keys = {key: phase[key] for key in ("start", "energy", "converged", "symbols")}
    cell = np.array(phase["multiples"]) * edge
    return keys | {"cell": (cell @ deformation).tolist(), "positions": (positions @ deformation).tolist()}


def distinct(phases: list[dict]) -> list[int | None]:
    """For each phase of a compound the number of the one that it is the same structure as, None where it is the first.

    Those with most symmetry come first in this, and among them the lowest.
    """
    out: list[int | None] = [None] * len(phases)
    atoms = [loaded(phase) for phase in phases]
    symmetry = [detect_symmetry(one, SYMPREC) for one in atoms]
    keys = [(len(a) / float(s.order), p["energy"]) for a, s, p in zip(atoms, symmetry, phases, strict=True)]
    done: list[int] = []
    for i in sorted(range(len(phases)), key=lambda i: keys[i]):
        alike = (j for j in done if abs(phases[i]["energy"] - phases[j]["energy"]) < SAME_ENERGY)
        out[i] = next((j for j in alike if same_structure(primitive(atoms[i]), primitive(atoms[j]))), None)
        if out[i] is None:
            done.append(i)
    return out


def primitive(atoms: Atoms) -> Atoms:
    """The primitive cell, symmetrized."""
    symmetry = detect_symmetry(atoms, SYMPREC)
    return symmetry.subgroup(range(int(symmetry.order))).primitive_cell(symmetrize(atoms, symmetry))


def packed(run: Run) -> list[dict]:
    """The records of the compounds that have gone through the first stage, with their phases described."""
    out = []
    for compound in map(Compound, COMPOUNDS.split(",")):
        own = [record for (name, _), record in run.records.items() if name == compound.name]
        if not own or not all((compound.name, t) in run.records for t in STAGES[0] if possible(t, own[0])):
            continue
        edge = own[0]["edge"]
        for record in own:
            record["phases"] = [phase for phase in record["phases"] if is_perovskite(phase, compound.elements, edge)]
        phases = [phase for record in own for phase in record["phases"]]
        same = iter(distinct(phases))
        own[0]["measured"] = MEASURED.get(compound.name)
        for record in own:
            shown = [described(phase, compound.elements, edge) | {"same_as": next(same)} for phase in record["phases"]]
            out.append(record | {"phases": shown})
        print(compound.name, len(phases), flush=True)
    return out


def main() -> None:
    """Compute what is not there yet, or write the file of the package."""
    torch.set_num_threads(1)
    run = Run(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        lines = "".join(json.dumps(record) + "\n" for record in packed(run))
        Path(sys.argv[2]).write_bytes(gzip.compress(lines.encode(), mtime=0))
        return
    from sevenn.calculator import SevenNetCalculator

    compounds = [Compound(line) for line in COMPOUNDS.split(",")]
    calculator = SevenNetCalculator(MODEL, device="cpu")
    with Progress() as progress:
        task = progress.add_task("", total=len(STAGES) * len(compounds))
        for stage in range(len(STAGES)):
            for number, compound in enumerate(compounds):
                label = f"stage {stage + 1}, {number + 1} of {len(compounds)}:"
                try:
                    compute(run, compound, stage, calculator, partial(progress.update, task))
                except (RuntimeError, ValueError) as error:  # one compound that fails must not stop the others
                    progress.print(f"{compound.name} FAILED: {error}")
                progress.update(task, advance=1)
                phases = [p for r in run.records.values() if r["name"] == compound.name for p in r["phases"]]
                seconds = sum(r["seconds"] for r in run.records.values() if r["name"] == compound.name)
                best = min(phases, key=lambda phase: phase["energy"], default={"start": None})
                progress.print(f"{time.strftime('%H:%M:%S')} {label} {compound.name} {best['start']}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
