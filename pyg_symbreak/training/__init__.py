"""Training on pairs of a symmetric structure and a less symmetric target.

:mod:`pyg_symbreak.training.run`, which needs Lightning, trains; the rest is for loops of one's own too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyg_symbreak.training.config import Config

if TYPE_CHECKING:
    from pyg_symbreak.training.loop import fit
    from pyg_symbreak.training.model import Distorter, answer_all, evaluate, sample
    from pyg_symbreak.training.pairs import Pair, Pairs, atom_features, load_pairs, pair_of

__all__ = [
    "Config",
    "Distorter",
    "Pair",
    "Pairs",
    "answer_all",
    "atom_features",
    "evaluate",
    "fit",
    "load_pairs",
    "pair_of",
    "sample",
]


def __getattr__(name: str) -> Any:
    """Import networks and pairs when they are asked for, so that a configuration is read without them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = {"Distorter": "model", "answer_all": "model", "evaluate": "model", "sample": "model", "fit": "loop"}
    return getattr(import_module(f"{__name__}.{room.get(name, 'pairs')}"), name)
