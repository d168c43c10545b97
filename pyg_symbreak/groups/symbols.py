"""The symbols of point groups: Schoenflies, Hermann–Mauguin with its settings, and other spellings of both.

A symbol says how a group stands. A Schoenflies symbol stands as in :mod:`pyg_symbreak.groups.standard`, D_1, D_1h, D_1d
and C_1v among them, which are C_2, C_2v, C_2h and C_s with their axis along x, or their normal along y. A
Hermann–Mauguin symbol stands as in International Tables for Crystallography, volume A, with z the main axis; trigonal
and hexagonal groups on hexagonal axes with a along x, so that the second place of the symbol is the direction x and the
third one the direction y. Of 32, 3m and -3m, which leave that open, 32 and -3m are 321 and -3m1, 3m is 31m; a
monoclinic symbol without ones has its unique axis along z.
"""

from __future__ import annotations

import difflib
import re
import unicodedata

import numpy as np

__all__ = ["HERMANN_MAUGUIN", "parse_symbol", "read_symbol"]

HERMANN_MAUGUIN = {
    "1": "C1", "-1": "Ci", "2": "C2", "m": "Cs", "2/m": "C2h", "222": "D2", "mm2": "C2v", "mmm": "D2h",
    "4": "C4", "-4": "S4", "4/m": "C4h", "422": "D4", "4mm": "C4v", "-42m": "D2d", "4/mmm": "D4h",
    "3": "C3", "-3": "S6", "32": "D3", "3m": "C3v", "-3m": "D3d",
    "6": "C6", "-6": "C3h", "6/m": "C6h", "622": "D6", "6mm": "C6v", "-6m2": "D3h", "6/mmm": "D6h",
    "23": "T", "m-3": "Th", "432": "O", "-43m": "Td", "m-3m": "Oh",
}  # fmt: skip
_Z_TO_X = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
_Z_TO_Y = _Z_TO_X.T


def _about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


# Symbols whose group does not stand as the Schoenflies one does, with the rotation that carries this onto it.
_SETTINGS = {
    "D1": ("C2", _Z_TO_X), "D1h": ("C2v", _Z_TO_X), "D1d": ("C2h", _Z_TO_X), "C1v": ("Cs", _Z_TO_Y),
    "2mm": ("C2v", _Z_TO_X), "m2m": ("C2v", _Z_TO_Y),
    **{f"{s}11": (n, _Z_TO_X) for s, n in (("2", "C2"), ("m", "Cs"), ("2/m", "C2h"))},
    **{f"1{s}1": (n, _Z_TO_Y) for s, n in (("2", "C2"), ("m", "Cs"), ("2/m", "C2h"))},
    "312": ("D3", _about_z(np.pi / 6)), "3m1": ("C3v", _about_z(np.pi / 6)),
    "-31m": ("D3d", _about_z(np.pi / 6)), "-312/m": ("D3d", _about_z(np.pi / 6)),
    "-4m2": ("D2d", _about_z(np.pi / 4)), "-6m2": ("D3h", _about_z(np.pi / 6)),
}  # fmt: skip
_ALIASES = {
    "C1h": "Cs", "S1": "Cs", "S2": "Ci", "C1i": "Ci", "V": "D2", "Vh": "D2h", "Vd": "D2d", "Y": "I", "Yh": "Ih",
    "K": "SO3", "Kh": "O3",
    "112": "C2", "11m": "Cs", "112/m": "C2h", "2/m2/m2/m": "D2h", "2/mmm": "D2h", "321": "D3", "31m": "C3v",
    "-3m1": "D3d", "-32/m": "D3d", "-32/m1": "D3d", "3/m": "C3h", "-62m": "D3h", "4/m2/m2/m": "D4h",
    "6/m2/m2/m": "D6h", "2/m-3": "Th", "m3": "Th", "4/m-32/m": "Oh", "m3m": "Oh",
    "235": "I", "532": "I", "m-3-5": "Ih", "2/m-3-5": "Ih", "-5-32/m": "Ih", "-532/m": "Ih", "-53m": "Ih",
    "-5-3m": "Ih", "m-35": "Ih",
    "inf": "Cinf", "infm": "Cinfv", "infmm": "Cinfv", "inf/m": "Cinfh", "inf2": "Dinf", "inf22": "Dinf",
    "inf/mm": "Dinfh", "inf/mmm": "Dinfh", "inf/m2/m": "Dinfh", "infinf": "SO3", "2inf": "SO3", "infinfm": "O3",
    "m-inf": "O3",
}  # fmt: skip
_FIXED = ("C1", "Cs", "Ci", "T", "Td", "Th", "O", "Oh", "I", "Ih", "SO3", "O3")
_AXIAL = ("Cinf", "Cinfv", "Cinfh", "Dinf", "Dinfh")
_MAX_N = 100_000


def parse_symbol(symbol: str) -> str:
    """The Schoenflies name that a symbol stands for, as `read_symbol` without the orientation."""
    return read_symbol(symbol)[0]


def read_symbol(symbol: str) -> tuple[str, np.ndarray]:
    """The Schoenflies name of the group that a symbol means, and how the group stands.

    Schoenflies symbols may be written as in TeX (``"C_{2v}"``), with ``∞``, ``*``, ``oo``, ``0`` or ``\\infty`` for an
    infinite order, and with the names D1, D1h, D1d, V, Vh, Vd, C3i, K, Kh, Y, Yh. Hermann–Mauguin symbols may be short
    or full, in any setting of the axes, and of non-crystallographic groups as well (``"-5m"``, ``"8mm"``,
    ``"m-3-5"``, ``"∞/mm"``).

    Returns
    -------
    name : str
    frame : float64 array [3, 3]
        The rotation that carries the group in its standard orientation to what the symbol means.

    Raises
    ------
    ValueError
        The symbol is not that of a point group; the message names the nearest ones.
    """
    found = _read(_plain(symbol))
    if found is None:
        raise ValueError(
            f"{symbol!r} is not the symbol of a point group; the nearest are {', '.join(_nearest_symbols(symbol))}"
        )
    name, frame = found
    order = re.search(r"\d+", name)
    if order and int(order[0]) > _MAX_N:
        raise ValueError(f"{symbol!r}: axes of order above {_MAX_N} are not listed; use Cinfv, Dinfh, ...")
    return name, frame


def _plain(symbol: str) -> str:
    """A symbol without spaces and typography: ``C_{∞ v}`` is ``Cinfv``, ``\\bar{4}2m`` and ``4̄2m`` are ``-42m``."""
    text = unicodedata.normalize("NFKC", str(symbol)).replace("−", "-").replace("–", "-")
    text = text.replace("∞", "inf").replace("\\infty", "inf")
    text = re.sub(r"\\(?:bar|overline)\s*\{?\s*(\d+|inf)\s*\}?", r"-\1", text)
    text = re.sub("(\\d)[\u0304\u0305]", r"-\1", text)
    return re.sub(r"\\(?:mathrm|rm|[,;! ])|[\s_{}()$\\]", "", text)


def _read(text: str) -> tuple[str, np.ndarray] | None:
    if text in _SETTINGS:
        return _SETTINGS[text]
    name = HERMANN_MAUGUIN.get(text) or _ALIASES.get(text) or (text if text in (*_FIXED, *_AXIAL) else None)
    name = name or _schoenflies(text)
    return (name, np.eye(3)) if name else _hermann_mauguin(text)


def _schoenflies(text: str) -> str | None:
    match = re.fullmatch(r"([CDS])(\d+|\*|oo)([vhdi]?)", text)
    if not match:
        return None
    family, order, suffix = match.groups()
    if order in ("*", "oo") or int(order) == 0:
        name = f"{family}inf{suffix}"
        return name if name in _AXIAL else None
    n = int(order)
    if n < 2:
        return None
    if family + suffix in ("C", "Cv", "Ch", "D", "Dh", "Dd"):
        return f"{family}{n}{suffix}"
    if family + suffix == "S":
        return f"S{n}" if n % 2 == 0 else f"C{n}h"
    return f"S{2 * n}" if family + suffix == "Ci" and n % 2 else None


def _hermann_mauguin(text: str) -> tuple[str, np.ndarray] | None:
    """A non-crystallographic group with one main axis, such as 5m, -82m, 12/mmm."""
    for digits in range(1, 1 + len(text)):
        match = re.fullmatch(rf"(-?)(\d{{{digits}}})(.*)", text)
        if match and (int(match[2]) == 5 or int(match[2]) > 6):
            n, rest = int(match[2]), match[1] + match[3]
            if name := _with_main_axis(n, rest):
                return name, _about_z(np.pi / n) if rest == "-m2" else np.eye(3)
    return None


def _with_main_axis(n: int, rest: str) -> str | None:
    if rest == "" and n >= 20:  # 42, 62 are 422, 622 with something left out
        return None
    odd = {"": f"C{n}", "-": f"S{2 * n}", "/m": f"C{n}h", "2": f"D{n}", "m": f"C{n}v", "-m": f"D{n}d", "-2/m": f"D{n}d",
           "/mm": f"D{n}h", "/mm2": f"D{n}h"}  # fmt: skip
    half = f"D{n // 2}d" if n % 4 == 0 else f"D{n // 2}h"
    even = {"": f"C{n}", "-": f"S{n}" if n % 4 == 0 else f"C{n // 2}h", "/m": f"C{n}h", "22": f"D{n}", "mm": f"C{n}v",
            "/mmm": f"D{n}h", "/m2/m2/m": f"D{n}h", "-2m": half, "-m2": half}  # fmt: skip
    return (odd if n % 2 else even).get(rest)


def _nearest_symbols(symbol: str) -> list[str]:
    """Known symbols that are spelled nearly so; first one that differs in capital letters only."""
    text = _plain(symbol)
    known = [
        *_FIXED,
        *_AXIAL,
        *HERMANN_MAUGUIN,
        *(
            f"{f}{n}{s}"
            for f in ("C", "D")
            for n in range(2, 9)
            for s in ("", "v", "h", "d")
            if f + s not in ("Cd", "Dv")
        ),
        *(f"S{n}" for n in range(4, 13, 2)),
        *(f"{n}{s}" for n in (5, 7) for s in ("", "2", "m")),
        *(f"{n}{s}" for n in (8, 10, 12) for s in ("", "/m", "22", "mm", "/mmm")),
        *("-5m", "-7m", "-82m", "-8m2", "-10m2", "-102m", "235", "m-3-5"),
    ]
    same = [k for k in (text[:1].upper() + text[1:].lower(), text.lower(), *known) if k.lower() == text.lower()]
    near = [k for k in same if _read(k)] + difflib.get_close_matches(text, known, n=4, cutoff=0.3)
    return list(dict.fromkeys(near))[:4] or ["C1", "D3h", "Oh"]
