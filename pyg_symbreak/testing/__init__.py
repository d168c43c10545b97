"""Checks that users run on their own models and sets: each returns how far a property is from being true.

They are to be run on trained models as well: training can bring out what the initial weights hide. What to expect of
a model that passes is round-off: about 1e-13 in float64 and 1e-5 in float32, more for deep networks.
"""

from pyg_symbreak.testing.curie import curie_gap, stabilizer_of_output
from pyg_symbreak.testing.distributions import equality_p_value, uniformity_p_value
from pyg_symbreak.testing.equivariance import equivariance_error
from pyg_symbreak.testing.minima import MinimaScore, score_minima
from pyg_symbreak.testing.relaxed import RelaxedEquivariance, relaxed_equivariance_error
from pyg_symbreak.testing.sets import pairing_error, set_equivariance_error

__all__ = [
    "MinimaScore",
    "RelaxedEquivariance",
    "curie_gap",
    "equality_p_value",
    "equivariance_error",
    "pairing_error",
    "relaxed_equivariance_error",
    "score_minima",
    "set_equivariance_error",
    "stabilizer_of_output",
    "uniformity_p_value",
]
