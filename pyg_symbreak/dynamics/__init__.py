"""Motion under learned energies: what their symmetry conserves, and what breaks it."""

from pyg_symbreak.dynamics.graph_energy import GraphEnergy
from pyg_symbreak.dynamics.hamiltonian import Hamiltonian, NewtonianEnergy
from pyg_symbreak.dynamics.integrate import integrate
from pyg_symbreak.dynamics.lagrangian import Lagrangian, NaturalLagrangian
from pyg_symbreak.dynamics.noether import NoetherCharges, charge_drift, charges, noether

__all__ = [
    "GraphEnergy",
    "Hamiltonian",
    "Lagrangian",
    "NaturalLagrangian",
    "NewtonianEnergy",
    "NoetherCharges",
    "charge_drift",
    "charges",
    "integrate",
    "noether",
]
