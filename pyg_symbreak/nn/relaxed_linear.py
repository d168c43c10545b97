"""Linear layer in two lanes: one equivariant, one that breaks symmetry."""

import torch
from torch import Tensor, nn

from pyg_symbreak.groups import Representation
from pyg_symbreak.nn.equivariant_linear import EquivariantLinear
from pyg_symbreak.nn.finite_canonicalizer import GroupAction

__all__ = ["RelaxedLinear"]


class RelaxedLinear(nn.Module):
    r"""An equivariant linear map and, beside it, one in the frame of a group element h that canonicalizes the input.

    .. math:: L(x, h) = W_{eq} x + b_{eq} + \rho'(h) \left( W_{br} \rho(h)^{-1} x + b_{br} \right)

    :math:`W_{eq}` commutes with the group; :math:`W_{br}` is any matrix orthogonal to those that do, that is, of zero
    average :math:`\frac{1}{|G|} \sum_g \rho'(g) W_{br} \rho(g)^{-1}`, and so is :math:`b_{br}`. For all g

    .. math:: L(\rho(g) x, gh) = \rho'(g) L(x, h)

    so with h(x) from a :class:`FiniteCanonicalizer` the map is relaxed equivariant in the sense of `Kaba &
    Ravanbakhsh (2023) <https://arxiv.org/abs/2312.09016>`_: L(gx) = g' L(x) with g' in :math:`g G_x`. With
    ``breaking_weight`` and ``breaking_bias`` zero it is :class:`EquivariantLinear`.

    Of several such layers in a row all must take the h of the original input: a hidden value may be more symmetric
    than the input, and an h drawn from its ties then moves the output by more than the symmetry of the input.

    Parameters
    ----------
    rep_in, rep_out : Representation
        Of one group.
    bias : bool
        Whether to add the two biases.

    Raises
    ------
    ValueError
        The representations are of different groups.

    Shapes:
        - **input:** x :math:`(*, D_{in})` and h :math:`(*)`, indices of elements of the group
        - **output:** :math:`(*, D_{out})`

    Examples
    --------
    >>> from pyg_symbreak.groups import cyclic_group
    >>> ring = Representation.permutation(cyclic_group(4))
    >>> layer = RelaxedLinear(ring, ring)
    >>> out = layer(torch.ones(4), torch.tensor(0))  # all four nodes are alike, their outputs are not
    >>> torch.allclose(out, out.roll(1))
    False
    """

    def __init__(self, rep_in: Representation, rep_out: Representation, bias: bool = True) -> None:
        super().__init__()
        self.equivariant = EquivariantLinear(rep_in, rep_out, bias)
        self.action_in = GroupAction(rep_in)
        self.action_out = GroupAction(rep_out)
        self.free_weight = nn.Parameter(torch.empty(rep_out.dim, rep_in.dim))
        self.free_bias = nn.Parameter(torch.empty(rep_out.dim, 1)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw both weights such that unit normal input gives output of unit mean square; biases zero."""
        self.equivariant.reset_parameters()
        nn.init.normal_(self.free_weight, std=self.free_weight.size(1) ** -0.5)
        if self.free_bias is not None:
            nn.init.zeros_(self.free_bias)

    @property
    def breaking_weight(self) -> Tensor:
        """W_br, :math:`(D_{out}, D_{in})`: the free weight less its average over the group."""
        return self.free_weight - self.equivariant.weights.projection(self.free_weight)

    @property
    def breaking_bias(self) -> Tensor | None:
        """b_br, :math:`(D_{out},)`."""
        if self.free_bias is None:
            return None
        assert self.equivariant.biases is not None
        return (self.free_bias - self.equivariant.biases.projection(self.free_bias)).squeeze(1)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Apply both lanes."""
        canonical = self.action_in(self.action_in.inverse[h], x)
        broken = nn.functional.linear(canonical, self.breaking_weight, self.breaking_bias)
        return self.equivariant(x) + self.action_out(h, broken)

    def __repr__(self) -> str:
        dims = f"{self.equivariant.dim_in}, {self.equivariant.dim_out}"
        return f"{self.__class__.__name__}({dims}, bias={self.free_bias is not None})"
