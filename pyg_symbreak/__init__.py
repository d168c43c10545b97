"""Symmetry breaking for equivariant networks in PyTorch Geometric.

The way of a structure through the packages:

:mod:`~pyg_symbreak.structures`
    Files, ASE's Atoms and PyG's Data; checks; a parent and what it distorts to.
:mod:`~pyg_symbreak.groups`
    What a symmetry is: point groups of O(3), finite groups, Lie groups, representations.
:mod:`~pyg_symbreak.detect`
    Which symmetry a molecule, a crystal, a slab or a graph has.
:mod:`~pyg_symbreak.relation`
    How a parent becomes its child, given in any cells: supercell, origin, atoms, by what symmetry they share.
:mod:`~pyg_symbreak.breaking`
    Sets of symmetry breaking objects, and the other ways to break symmetry.
:mod:`~pyg_symbreak.distort`
    The ways in which a structure can distort, and relaxations along them.
:mod:`~pyg_symbreak.transforms`
    PyG transforms that attach symmetry and objects to a Data.
:mod:`~pyg_symbreak.preprocess`
    Many structures, over processes or a cluster, into a data set on disk.
:mod:`~pyg_symbreak.nn`
    Layers and networks that take the objects.
:mod:`~pyg_symbreak.ops`
    Reductions over symmetry orbits, with Triton kernels.
:mod:`~pyg_symbreak.losses`
    Losses whose answer is an orbit of equally good targets.
:mod:`~pyg_symbreak.diagnosis`
    What a target keeps of the symmetry, and what an equivariant network can make of it.
:mod:`~pyg_symbreak.dynamics`
    Energies of graphs, motion under them, and the charges that it conserves.
:mod:`~pyg_symbreak.flows`
    Densities that keep a symmetry exactly, and sample what breaks it.
:mod:`~pyg_symbreak.datasets`
    Structures whose answer is less symmetric than they are.
:mod:`~pyg_symbreak.training`
    Networks trained on pairs of a structure and its distortion.
:mod:`~pyg_symbreak.plot`
    Pictures of objects, subgroups, domains, relaxations and training.
:mod:`~pyg_symbreak.testing`
    Checks for models and sets of one's own, which return errors.
:mod:`~pyg_symbreak.discover`
    Which symmetry a function, a model or data have, and where a model breaks it.
:mod:`~pyg_symbreak.cli`
    The command ``pyg-symbreak``.
:mod:`~pyg_symbreak.selftest`
    Whether an installation works: ``python -m pyg_symbreak.selftest``.

Importing ``pyg_symbreak`` imports none of them; ``pyg_symbreak.groups`` is imported when it is first asked for.
"""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from pkgutil import iter_modules as _iter_modules
from typing import Any as _Any

__all__ = ["__version__"]

__version__ = "0.1.0"


def __dir__() -> list[str]:
    return sorted([*__all__, *(module.name for module in _iter_modules(__path__) if module.name[0] != "_")])


def __getattr__(name: str) -> _Any:
    if name[0] != "_" and name in __dir__():
        return _import_module(f"{__name__}.{name}")
    if name == "_native" and _find_spec(f"{__name__}._native") is None:
        raise ImportError(f"{__path__[0]} is source that was not built: run in another folder, or pip install -e .")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
