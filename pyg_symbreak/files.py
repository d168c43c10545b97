"""Reading structures. Importing this imports nothing; what a file asks for is imported when it is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["parse_file", "read_frames", "read_structure"]


def parse_file(path: str | os.PathLike) -> Atoms:
    """What ASE reads in a file, of several frames the last, unchecked.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If ASE cannot read it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    import ase.io

    try:
        return cast("Atoms", ase.io.read(os.fspath(path)))  # a list only where an index asks for one
    except Exception as error:  # ASE's readers raise whatever they meet
        raise ValueError(f"{path}: ASE cannot read this file ({type(error).__name__}: {error})") from error


def read_frames(path: str | os.PathLike) -> Iterator[Atoms]:
    """All frames of a file, one after the other, unchecked.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If ASE cannot read a frame.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    import ase.io

    frames, count = ase.io.iread(os.fspath(path)), 0
    while True:
        try:
            frame = next(frames, None)
        except Exception as error:  # ASE's readers raise whatever they meet
            raise ValueError(f"{path}: ASE cannot read frame {count} ({type(error).__name__}: {error})") from error
        if frame is None:
            return
        count += 1
        yield frame


def read_structure(path: str | os.PathLike, pbc: Sequence[bool] | None = None) -> Atoms:
    """Read a structure from any file that ASE reads, and check it.

    Parameters
    ----------
    path : str or path
        File; of several frames the last is taken.
    pbc : sequence of three bools, optional
        Periodic directions; default: those of the file. Most formats cannot say that a structure is a slab.

    Returns
    -------
    ase.Atoms

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If ASE cannot read it, or if :func:`~pyg_symbreak.structures.check_structure` refuses what it holds.
    """
    atoms = parse_file(path)
    if pbc is not None:
        atoms.pbc = pbc
    from pyg_symbreak.structures import check_structure

    try:
        return check_structure(atoms)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
