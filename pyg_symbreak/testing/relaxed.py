"""How far a function is from relaxed equivariant, and how much symmetry it breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyg_symbreak.testing._outputs import relative

__all__ = ["RelaxedEquivariance", "relaxed_equivariance_error"]


class RelaxedEquivariance(NamedTuple):
    """What :func:`relaxed_equivariance_error` returns, relative to the largest component of f(x).

    Attributes
    ----------
    error : float
        Zero if f is relaxed equivariant at x.
    broken : float
        By how much f breaks the symmetry of x; zero if f(x) has all of it, as the output of an equivariant f does.
    """

    error: float
    broken: float


def relaxed_equivariance_error(
    f: Callable[[Any], Tensor],
    x: Any,
    elements: Iterable[Any],
    stabilizer: Iterable[Any],
    act_in: Callable[[Any, Any], Any] = torch.matmul,
    act_out: Callable[[Any, Tensor], Tensor] = torch.matmul,
) -> RelaxedEquivariance:
    r"""How far a function is from relaxed equivariant at an input, and how much of its symmetry it breaks.

    f is relaxed equivariant if for each g there is an s in Stab(x) with :math:`f(gx) = g s f(x)` (S.-O. Kaba and
    S. Ravanbakhsh, "Symmetry Breaking and Equivariant Neural Networks", arXiv 2312.09016). Equivariant functions are;
    others may besides give an answer less symmetric than x. The two numbers returned are

    .. math::
        \max_g \min_{s \in \mathrm{Stab}(x)} \lVert f(gx) - g s f(x) \rVert_\infty, \qquad
        \max_{s \in \mathrm{Stab}(x)} \lVert f(x) - s f(x) \rVert_\infty,

    both over :math:`\lVert f(x) \rVert_\infty`. A function composed of relaxed equivariant ones need not be one, so
    check the whole and not its layers, at inputs with and without symmetry.

    Parameters
    ----------
    f : callable
        From inputs to Tensors.
    x : Tensor or any type that f and ``act_in`` take
    elements : iterable
        The elements g to try: all of a finite group, or some.
    stabilizer : iterable
        All elements that leave x as it is.
    act_in : callable
        ``act_in(g, x)`` is g·x. Default: elements are matrices.
    act_out : callable
        ``act_out(g, y)`` is g·y.

    Returns
    -------
    RelaxedEquivariance

    Raises
    ------
    ValueError
        An element of ``stabilizer`` moves x (checked where x is a Tensor), or f(x) is zero.

    Examples
    --------
    Choosing one of the largest components breaks ties, and is relaxed equivariant under cyclic permutations:

    >>> first_largest = lambda x: torch.nn.functional.one_hot(x.argmax(), 4).double()
    >>> turns = [torch.roll(torch.eye(4).double(), k, 0) for k in range(4)]
    >>> x = torch.tensor([1.0, 0.0, 1.0, 0.0]).double()
    >>> relaxed_equivariance_error(first_largest, x, turns, turns[::2])
    RelaxedEquivariance(error=0.0, broken=1.0)

    Choosing the first component is not:

    >>> relaxed_equivariance_error(lambda x: torch.tensor([1.0, 0, 0, 0]).double(), x, turns, turns[::2]).error
    1.0
    """
    stabilizer = list(stabilizer)
    if isinstance(x, Tensor):
        for s in stabilizer:
            if (act_in(s, x) - x).abs().max() > 1e-4 * x.abs().max():
                raise ValueError(f"stabilizer must hold the elements that leave x as it is; this one does not: {s}")
    y = f(x)
    images = [act_out(s, y) for s in stabilizer]
    error = 0.0
    for g in elements:
        found = f(act_in(g, x))
        error = max(error, min(relative(found - act_out(g, image), y) for image in images))
    return RelaxedEquivariance(error, max(relative(image - y, y) for image in images))
