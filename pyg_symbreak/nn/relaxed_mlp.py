"""Multilayer perceptron that breaks the symmetry of its input once and stays relaxed equivariant."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyg_symbreak.groups import Representation
from pyg_symbreak.nn.equivariant_mlp import EquivariantMLP
from pyg_symbreak.nn.finite_canonicalizer import FiniteCanonicalizer
from pyg_symbreak.nn.relaxed_linear import RelaxedLinear

__all__ = ["RelaxedMLP"]


class RelaxedMLP(EquivariantMLP):
    r""":class:`EquivariantMLP` with a lane in each layer that breaks the symmetry of the input.

    One group element h is drawn from the ties of a :class:`FiniteCanonicalizer` on the input and carried through all
    layers. The network f(x, h) is equivariant jointly in both; so each output is relaxed equivariant, f(gx) = g' f(x)
    with g' in :math:`g G_x` (`Kaba & Ravanbakhsh 2023 <https://arxiv.org/abs/2312.09016>`_), and as a law over h the
    output is equivariant: every member of :math:`G_x f(x)` is as likely as any other. On inputs without symmetry it
    is an ordinary equivariant function. With all breaking weights and biases zero it is an EquivariantMLP.

    Parameters
    ----------
    rep_in, rep_out : Representation
        Of one group.
    hidden : Representation, optional
        Of each hidden layer. Default: eight copies of the regular representation.
    layers : int
        Number of hidden layers.
    act : callable
        Nonlinearity on coordinates that the group permutes, see :class:`EquivariantActivation`.
    tolerance : float
        Of the canonicalizer, relative to the largest entry of the input.

    Raises
    ------
    ValueError, TypeError
        The representations are of different groups, or none.

    Shapes:
        - **input:** x :math:`(*, D_{in})` and *(optional)* h :math:`(*)`, drawn if not given
        - **output:** :math:`(*, D_{out})`

    Examples
    --------
    >>> from pyg_symbreak.groups import cyclic_group
    >>> ring = Representation.permutation(cyclic_group(6))
    >>> model = RelaxedMLP(ring, ring)
    >>> out = model(torch.ones(6), generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(out, out.roll(1))
    False
    """

    linear = RelaxedLinear

    def __init__(
        self,
        rep_in: Representation,
        rep_out: Representation,
        hidden: Representation | None = None,
        layers: int = 2,
        act: Callable[[Tensor], Tensor] = nn.functional.silu,
        tolerance: float = 1e-5,
    ) -> None:
        super().__init__(rep_in, rep_out, hidden, layers, act)
        self.canonicalizer = FiniteCanonicalizer(rep_in, tolerance)

    def forward(self, x: Tensor, h: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Evaluate the network in the frame h, or in one drawn from the ties of x."""
        h = self.canonicalizer(x, generator) if h is None else h
        for linear, activation in zip(self.linears, self.activations, strict=False):
            x = activation(linear(x, h))
        return self.linears[-1](x, h)
