"""PyG data sets of structures whose answer is less symmetric than the input."""

from pyg_symbreak.datasets.batio3 import BaTiO3
from pyg_symbreak.datasets.ferroelectrics import Ferroelectrics
from pyg_symbreak.datasets.jahn_teller import JahnTeller
from pyg_symbreak.datasets.perovskite_tilts import PerovskiteTilts
from pyg_symbreak.datasets.saddle_forces import SaddleForces
from pyg_symbreak.datasets.saddles import Saddles
from pyg_symbreak.datasets.triangular_prism import TriangularPrism

__all__ = ["BaTiO3", "Ferroelectrics", "JahnTeller", "PerovskiteTilts", "SaddleForces", "Saddles", "TriangularPrism"]
