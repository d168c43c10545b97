"""Densities that keep a symmetry exactly, and sample what breaks it."""

from .cell_complex import CellComplex, GaugeSums, exact_sums, square_lattice, triangular_lattice, wrap
from .circular import circular_spline, spline_size
from .field_flow import FieldFlow
from .flow import Flow, fit_action, fit_samples
from .gauge_flow import GaugeFlow
from .hamiltonian_flow import HamiltonianFlow, PlainEnergy
from .hybrid_monte_carlo import hybrid_monte_carlo
from .importance import Estimate, autocorrelation, effective_sample_size, log_partition, metropolis, reweight
from .spin_flow import SpinFlow
from .vacuum_mixture import VacuumMixture

__all__ = [
    "CellComplex",
    "Estimate",
    "FieldFlow",
    "Flow",
    "GaugeFlow",
    "GaugeSums",
    "HamiltonianFlow",
    "PlainEnergy",
    "SpinFlow",
    "VacuumMixture",
    "autocorrelation",
    "circular_spline",
    "effective_sample_size",
    "exact_sums",
    "fit_action",
    "fit_samples",
    "hybrid_monte_carlo",
    "log_partition",
    "metropolis",
    "reweight",
    "spline_size",
    "square_lattice",
    "triangular_lattice",
    "wrap",
]
