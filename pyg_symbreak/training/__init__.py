"""Training on pairs of a symmetric structure and a less symmetric target.

:mod:`pyg_symbreak.training.run`, which needs Lightning, trains; the rest is for loops of one's own too.
"""

from pyg_symbreak.training._config import Config
from pyg_symbreak.training._model import Distorter, answer_all, evaluate, sample
from pyg_symbreak.training._pairs import Pair, Pairs, atom_features, load_pairs

__all__ = ["Config", "Distorter", "Pair", "Pairs", "answer_all", "atom_features", "evaluate", "load_pairs", "sample"]
