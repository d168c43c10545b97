"""Which symmetry data or a model have, and where a model breaks the one that it was meant to have."""

from .finite import FiniteSymmetries, finite_symmetries
from .generators import Generators, equivariance_generators, invariance_generators, pair_generators
from .insensitivity import Evidence, density_distance, log_evidence, squared_distance
from .latent import TransformationVAE
from .orbits import gram_symmetry, learn_orbit, orbit_penalty
from .report import SymmetryReport, rotation_quadrature, symmetrized, symmetry_report
from .transformations import FittedGenerator, fit_generator

__all__ = [
    "Evidence",
    "FiniteSymmetries",
    "FittedGenerator",
    "Generators",
    "SymmetryReport",
    "TransformationVAE",
    "density_distance",
    "equivariance_generators",
    "finite_symmetries",
    "fit_generator",
    "gram_symmetry",
    "invariance_generators",
    "learn_orbit",
    "log_evidence",
    "orbit_penalty",
    "pair_generators",
    "rotation_quadrature",
    "squared_distance",
    "symmetrized",
    "symmetry_report",
]
