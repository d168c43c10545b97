"""How far a model is from equivariant, in the structure and its object together."""

from __future__ import annotations

import torch
from e3nn import o3
from torch_geometric.data import Data

from pyg_symbreak.testing._motions import input_irreps, motions, moved, rotated
from pyg_symbreak.testing._outputs import Model, in_dtype_of, outputs_of, relative

__all__ = ["equivariance_error"]


def equivariance_error(
    model: Model,
    data: Data,
    irreps_out: str | o3.Irreps | None,
    irreps_breaking: str | o3.Irreps | None = None,
    irreps_in: str | o3.Irreps | None = None,
    irreps_graph_out: str | o3.Irreps | None = None,
    *,
    parent: str = "O3",
    trials: int = 4,
    generator: torch.Generator | None = None,
) -> float:
    r"""How far a model is from equivariant, jointly in the structure x and the symmetry breaking object b.

    .. math:: \max_g \frac{\lVert f(gx, gb) - g f(x, b) \rVert_\infty}{\lVert f(x, b) \rVert_\infty}

    over random g: a rotation, proper or improper, a translation and a new order of the nodes. ``pos``, the rows of
    ``cell``, ``x`` and ``breaking`` are rotated; the rows of all node attributes are reordered and ``edge_index`` is
    renumbered; ``edge_shift`` and other edge attributes stay. The output does not follow the translation.

    Parameters
    ----------
    model : callable
        From a Data to the node output [N, D]; to the graph output [1, D]; or to the pair of them. If it is a module,
        the data are taken in the dtype of its parameters.
    data : Data
        One structure, not a batch, on which the output does not vanish: of an output that is zero up to round-off the
        relative error says nothing.
    irreps_out : str or e3nn Irreps, optional
        Of the node output; None if there is none.
    irreps_breaking : str or e3nn Irreps, optional
        Of ``data.breaking``, [1, dim] or [N, dim].
    irreps_in : str or e3nn Irreps, optional
        Of ``data.x``. Default: it is invariant.
    irreps_graph_out : str or e3nn Irreps, optional
        Of the graph output.
    parent : "O3" or "SO3"
        The group that the model should be equivariant under.
    trials : int
        Number of rotations; with "O3" each is tried with and without an inversion.
    generator : torch.Generator, optional
        Default: torch's global one.

    Returns
    -------
    float
        Of two outputs, the larger error.

    Raises
    ------
    ValueError
        The irreps do not fit the data or the output, or an output is zero.
    TypeError
        The data are a batch.

    Examples
    --------
    >>> from pyg_symbreak.datasets import TriangularPrism
    >>> prism = TriangularPrism()[0]
    >>> equivariance_error(lambda data: data.pos - data.pos.mean(0), prism, "1o") < 1e-5
    True
    >>> equivariance_error(lambda data: data.pos.abs(), prism, "1o") < 1e-5
    False
    """
    data = in_dtype_of(model, data)
    if data.get("breaking") is not None and irreps_breaking is None:
        raise ValueError("the data have an object breaking, which is to move with them: give irreps_breaking")
    irreps = input_irreps(data, irreps_in, irreps_breaking)
    wanted = [(True, irreps_out), (False, irreps_graph_out)]
    kinds = [(nodes, o3.Irreps(ir)) for nodes, ir in wanted if ir is not None]
    outputs = outputs_of(model, data, kinds)
    error = 0.0
    for rotation, shift, order in motions(data, parent, trials, generator):
        after = outputs_of(model, moved(data, rotation, shift, order, irreps), kinds)
        for (nodes, ir), out, out_moved in zip(kinds, outputs, after, strict=True):
            difference = (out_moved[order] if nodes else out_moved) - rotated(out, ir, rotation)
            error = max(error, relative(difference, out))
    return error
