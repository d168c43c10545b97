"""Names of irreps of point groups after Mulliken."""

from __future__ import annotations

import math

import numpy as np

from pyg_symbreak.groups import PointGroup

__all__ = ["mulliken_symbol"]


def mulliken_symbol(group: PointGroup, character: np.ndarray, fixed: np.ndarray) -> str:
    """Mulliken symbol of a real irrep; two complex conjugate ones together are an E.

    Parameters
    ----------
    group : PointGroup
        Finite.
    character : float64 array [order]
        Trace of each element, in the order of ``group.matrices``.
    fixed : int array [order]
        What each element leaves in place; it tells axes (or mirrors) of two kinds apart: C2' leaves more than C2'',
        sigma_v more than sigma_d, but in C2v sigma(yz) more than sigma(xz); C2(z) of D2h more than C2(y).

    Notes
    -----
    After R. S. Mulliken, *J. Chem. Phys.* 23, 1997 (1955).
    """
    name = group.schoenflies
    elements = group.frame.T @ group.matrices @ group.frame
    dimension = round(character[0])

    def at(matrix: np.ndarray) -> int | None:
        deviation = np.abs(elements - matrix).max((1, 2))
        return int(deviation.argmin()) if deviation.min() < 1e-4 else None

    def sign(index: int | None) -> bool:
        return bool(index is not None and character[index] > 0)

    inversion, horizontal = at(-np.eye(3)), at(np.diag([1.0, 1, -1]))
    parity = ""
    if inversion is not None:
        parity = "g" if sign(inversion) else "u"
    elif horizontal is not None and name[0] != "T" and name not in ("Td", "D2d"):
        parity = "'" if sign(horizontal) else "''"
    if name[0] in "TOI":
        return _cubic_letter(name, elements, character) + parity
    if name in ("C1", "Cs", "Ci"):
        return "A" + parity
    if name in ("D2", "D2h"):
        axes = [at(np.diag(d)) for d in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])]
        mirrors = [at(np.diag(d)) for d in ([-1.0, 1, 1], [1.0, -1, 1], [1.0, 1, -1])]
        on_axis = [fixed[a] for a in axes]
        on_plane = [0 if m is None else fixed[m] for m in mirrors]
        z = max((2, 1, 0), key=lambda i: (on_axis[i], -on_plane[i]))
        x = max((i for i in (0, 1, 2) if i != z), key=lambda i: (on_plane[i], -on_axis[i]))
        y = 3 - x - z
        numbered = [i for i, a in enumerate((axes[z], axes[y], axes[x]), 1) if sign(a)]
        return ("A" if len(numbered) == 3 else f"B{numbered[0]}") + parity
    main, fold = _main_element(name, at)
    if dimension == 2:
        power = round(math.acos(max(-1, min(1, character[main] / 2))) * fold / (2 * math.pi))
        return f"E{power if fold > 4 else ''}{parity}"
    letter = "A" if sign(main) else "B"
    across = _across(elements, name)
    if not across:
        return letter + parity
    most = max(across, key=lambda g: (fixed[g] if name != "C2v" else -fixed[g], elements[g, 0, 0]))
    return f"{letter}{1 if sign(most) else 2}{parity}"


def _cubic_letter(name: str, elements: np.ndarray, character: np.ndarray) -> str:
    letter = " AETGH"[round(character[0])]
    if name in ("T", "Th") or letter in "EGH":
        return letter
    turn = np.trace(elements, axis1=1, axis2=2) * np.linalg.det(elements)  # 1 + 2 cos of the angle of det·R
    if name in ("I", "Ih"):
        fifth = np.argmin(np.abs(turn - 1 - 2 * np.cos(2 * np.pi / 5)) + (np.linalg.det(elements) < 0))
        return letter if letter == "A" else f"T{1 if character[fifth] > 0 else 2}"
    quarter = np.abs(turn - 1) + (np.linalg.det(elements) * (1 if name != "Td" else -1) < 0)
    return f"{letter}{1 if character[np.argmin(quarter)] > 0 else 2}"


def _main_element(name: str, at) -> tuple[int, int]:
    """A generator of the rotations (or rotation-reflections) about the main axis, and its order."""
    n = int("".join(c for c in name if c.isdigit()))
    improper = (name[0] == "S" and n % 4 == 0) or (name[0] == "D" and name[-1] == "d" and n % 2 == 0)
    fold = 2 * n if name[-1] == "d" and improper else n // 2 if name[0] == "S" and not improper else n
    c, s = math.cos(2 * math.pi / fold), math.sin(2 * math.pi / fold)
    return at(np.array([[c, -s, 0], [s, c, 0], [0, 0, -1.0 if improper else 1.0]])), fold


def _across(elements: np.ndarray, name: str) -> list[int]:
    """Two-fold axes across z, or without any the mirrors that hold z."""
    trace, det = np.trace(elements, axis1=1, axis2=2), np.linalg.det(elements)
    upright = np.abs(elements[:, 2, 2] - (1 if name.endswith("v") else -1)) < 1e-4
    wanted = np.abs(trace - (1 if name.endswith("v") else -1)) < 1e-4
    return np.flatnonzero(upright & wanted & ((det < 0) == name.endswith("v"))).tolist()
