"""Symmetric tensor powers of a vector of irreps."""

import string
from functools import lru_cache

import torch
from e3nn import o3
from torch import Tensor

from pyg_symbreak.nn.constants import ConstantsMixin

__all__ = ["SymmetricPowers"]


class SymmetricPowers(ConstantsMixin):
    r"""A vector of irreps together with its symmetric tensor powers.

    The components of a power are products of components of the vector, combined to irreps: of a vector ``1o`` the
    second power is ``0e+2e``, the third ``1o+3o``. The map is equivariant and, since the vector itself is kept, no
    symmetry is gained or lost: a symmetry breaking object with its powers is an object of the same stabilizer.

    Parameters
    ----------
    irreps_in : str or e3nn.o3.Irreps
        Irreps of the vector.
    degree : int
        Highest power.
    lmax : int
        Irreps of the powers with a higher l than this are left out.

    Shapes:
        - **input:** :math:`(N, D_{in})`
        - **output:** :math:`(N, D_{out})`, in ``irreps_out``
    """

    def __init__(self, irreps_in: str | o3.Irreps, degree: int, lmax: int = 4) -> None:
        super().__init__()
        if degree < 1:
            raise ValueError(f"the degree of the highest power must be at least 1, got {degree}")
        irreps_out = o3.Irreps(irreps_in)
        self.irreps_in = str(irreps_out)
        self.powers = range(2, degree + 1 if irreps_out.dim else 2)  # nothing has no powers
        for power in self.powers:
            irreps, basis = _symmetric_power(self.irreps_in, power, lmax)
            self.register_constant(f"basis_{power}", basis, torch.empty(0))
            irreps_out = irreps_out + irreps
        self.irreps_out = str(irreps_out)

    def forward(self, x: Tensor) -> Tensor:
        """Append the powers to the vectors."""
        parts = [x]
        for power in self.powers:
            y = torch.tensordot(x, getattr(self, f"basis_{power}"), dims=([1], [power]))
            for _ in range(power - 1):
                y = torch.einsum("n...i,ni->n...", y, x)
            parts.append(y)
        return torch.cat(parts, dim=1)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.irreps_in}, {self.irreps_out})"


@lru_cache(maxsize=64)
def _symmetric_power(irreps: str, power: int, lmax: int) -> tuple[o3.Irreps, Tensor]:
    """Irreps of a symmetric power up to ``lmax``, and their basis float64 ``[dim, irreps.dim, ...]``."""
    letters = string.ascii_lowercase[:power]
    swaps = [letters[:i] + letters[i + 1] + letters[i] + letters[i + 2 :] for i in range(power - 1)]
    wanted = [o3.Irrep(l, p) for l in range(lmax + 1) for p in (1, -1)]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # e3nn computes the basis in the default dtype
    try:
        formula = "=".join([letters, *swaps])
        product = o3.ReducedTensorProducts(formula, filter_ir_out=wanted, **{letters[0]: irreps})
    finally:
        torch.set_default_dtype(before)
    return product.irreps_out, product.change_of_basis.double()
