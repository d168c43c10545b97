"""Pictures that people show: objects of a set, the tree of subgroups, domains, training beside the Curie bound.

Each function draws into the ``axes`` that it is given, or into a new figure, and returns the axes:
``plot_objects(b).figure.savefig("objects.png")``. Matplotlib is imported when something is drawn.
"""

from pyg_symbreak.plot.losses import plot_losses, plot_predictions
from pyg_symbreak.plot.objects import plot_objects
from pyg_symbreak.plot.relaxation import plot_relaxation
from pyg_symbreak.plot.scenes import (
    Motion,
    notebook_html,
    page,
    set_scene,
    structure_scene,
    subgroup_svg,
    symmetry_elements,
)
from pyg_symbreak.plot.structures import plot_domains, plot_structure
from pyg_symbreak.plot.subgroups import plot_subgroups

__all__ = [
    "Motion",
    "notebook_html",
    "page",
    "plot_domains",
    "plot_losses",
    "plot_objects",
    "plot_predictions",
    "plot_relaxation",
    "plot_structure",
    "plot_subgroups",
    "set_scene",
    "structure_scene",
    "subgroup_svg",
    "symmetry_elements",
]
