"""Motion under learned energies: what their symmetry conserves, and what breaks it."""

from pyg_symbreak.dynamics.graph_energy import GraphEnergy

__all__ = ["GraphEnergy"]
