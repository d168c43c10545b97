"""Multilayer perceptron between representations of a finite group."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyg_symbreak.groups import Representation
from pyg_symbreak.nn.equivariant_linear import EquivariantLinear

__all__ = ["EquivariantActivation", "EquivariantMLP", "require_representations"]


def require_representations(*given: Representation) -> None:
    """Raise a TypeError for anything else, such as irreps without a group."""
    for rep in given:
        if not isinstance(rep, Representation):
            raise TypeError(
                f"{rep!r} is not a Representation: the layers of an E-MLP are those of one finite group, such as "
                "Representation.irreps(PointGroup('Oh'), '1o') or Representation.permutation(cyclic_group(6))"
            )


class EquivariantActivation(nn.Module):
    r"""An exactly equivariant nonlinearity on any representation of a finite group.

    Coordinates that the group permutes go through ``act`` one by one. Any other vector v is multiplied by
    :math:`\sigma(a |v|^2 + b)` with a and b learned, one pair for each copy.

    Parameters
    ----------
    rep : Representation
    act : callable
        The pointwise function.

    Shapes:
        - **input and output:** :math:`(*, D)`
    """

    def __init__(self, rep: Representation, act: Callable[[Tensor], Tensor] = nn.functional.silu) -> None:
        super().__init__()
        self.act = act
        self.shapes = [(mul, term.dim, term.images is not None) for mul, term in rep.terms]
        gated = sum(mul for mul, _, permuted in self.shapes if not permuted)
        self.slope, self.offset = nn.Parameter(torch.empty(gated)), nn.Parameter(torch.empty(gated))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the slopes from the normal distribution; offsets zero."""
        nn.init.normal_(self.slope)
        nn.init.zeros_(self.offset)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the nonlinearity."""
        pieces, at = [], 0
        for (mul, dim, permuted), piece in zip(
            self.shapes, x.split([mul * dim for mul, dim, _ in self.shapes], dim=-1), strict=True
        ):
            if permuted:
                pieces.append(self.act(piece))
                continue
            v = piece.unflatten(-1, (mul, dim))
            gate = v.square().mean(-1) * self.slope[at : at + mul] + self.offset[at : at + mul]
            pieces.append((v * gate.sigmoid().unsqueeze(-1)).flatten(-2))
            at += mul
        return torch.cat(pieces, dim=-1)


class EquivariantMLP(nn.Module):
    r"""Equivariant linear maps and nonlinearities in turn, between representations of a finite group: an E-MLP.

    With regular hidden representations one hidden layer that is wide enough approximates every continuous
    equivariant function (`Ravanbakhsh 2020 <https://arxiv.org/abs/2002.02912>`_). Hidden irreps are narrower but not
    universal: the nonlinearity multiplies each of them by a scalar and forms no products.

    The output is at least as symmetric as the input, for any weights; :class:`RelaxedMLP` breaks this.

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

    Raises
    ------
    ValueError, TypeError
        The representations are of different groups, or none.

    Shapes:
        - **input:** :math:`(*, D_{in})`
        - **output:** :math:`(*, D_{out})`

    Examples
    --------
    >>> import torch
    >>> from pyg_symbreak.groups import cyclic_group
    >>> ring = Representation.permutation(cyclic_group(6))
    >>> model = EquivariantMLP(ring, ring)
    >>> x = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])  # repeats after three places, and so does the output
    >>> torch.allclose(model(x), model(x).roll(3), atol=1e-5)
    True
    """

    linear: type[nn.Module] = EquivariantLinear

    def __init__(
        self,
        rep_in: Representation,
        rep_out: Representation,
        hidden: Representation | None = None,
        layers: int = 2,
        act: Callable[[Tensor], Tensor] = nn.functional.silu,
    ) -> None:
        super().__init__()
        require_representations(rep_in, rep_out)
        hidden = 8 * Representation.regular(rep_in.group) if hidden is None else hidden
        reps = [rep_in, *[hidden] * layers, rep_out]
        self.widths = [rep.dim for rep in reps]
        self.linears = nn.ModuleList(self.linear(a, b) for a, b in itertools.pairwise(reps))
        self.activations = nn.ModuleList(EquivariantActivation(hidden, act) for _ in range(layers))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in [*self.linears, *self.activations]:
            module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the network."""
        for linear, activation in zip(self.linears, self.activations, strict=False):
            x = activation(linear(x))
        return self.linears[-1](x)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({', '.join(map(str, self.widths))})"
