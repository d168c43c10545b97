"""Canonical form of a vector under a finite group, with the ties that are its symmetry."""

import numpy as np
import torch
from torch import Tensor

from pyg_symbreak.groups import Representation
from pyg_symbreak.nn.constants import ConstantsMixin

__all__ = ["FiniteCanonicalizer", "GroupAction"]


class GroupAction(ConstantsMixin):
    """Moves vectors of a representation by elements of the group, given by their indices."""

    inverse: Tensor

    def __init__(self, rep: Representation) -> None:
        super().__init__()
        self.shapes = [(mul, term.dim, term.images is not None) for mul, term in rep.terms]
        self.sizes = [mul * dim for mul, dim, _ in self.shapes]
        self.register_buffer("inverse", torch.from_numpy(rep.group.inverse), persistent=False)
        for n, (_, term) in enumerate(rep.terms):
            if term.images is not None:
                self.register_buffer(f"images_{n}", torch.from_numpy(term.images), persistent=False)
            else:
                self.register_constant(f"matrices_{n}", torch.from_numpy(term.matrices), torch.empty(0))

    def forward(self, g: Tensor, x: Tensor) -> Tensor:
        """ρ(g)x for g [*] and x [*, D]."""
        back = self.inverse[g]
        pieces = []
        for n, ((mul, dim, permuted), piece) in enumerate(zip(self.shapes, x.split(self.sizes, dim=-1), strict=True)):
            v = piece.unflatten(-1, (mul, dim))
            if permuted:  # the coordinate i of gx is the coordinate g⁻¹i of x
                places = getattr(self, f"images_{n}")[back].unsqueeze(-2).expand(v.shape)
                v = v.gather(-1, places)
            else:
                v = v @ getattr(self, f"matrices_{n}")[back]
            pieces.append(v.flatten(-2))
        return torch.cat(pieces, dim=-1)


class FiniteCanonicalizer(ConstantsMixin):
    r"""The inversion kernel of a finite group on a representation: h with :math:`\rho(h)^{-1} x` in canonical form.

    The canonical form of x is the point of its orbit whose coordinates in a fixed generic basis come first in
    lexicographic order. The elements that lead to it are a coset :math:`h G_x = G_{x'} h` of the stabilizer; one of
    them is drawn uniformly. So the law of h at gx is that of gh at x, and any map
    :math:`x \mapsto \rho'(h) p(\rho(h)^{-1} x)` is relaxed equivariant (`Kaba & Ravanbakhsh 2023
    <https://arxiv.org/abs/2312.09016>`_) and, as a law, equivariant (`Lawrence et al. 2025
    <https://arxiv.org/abs/2503.21985>`_).

    Parameters
    ----------
    rep : Representation
        Of x.
    tolerance : float
        Points of the orbit that differ by less than this times the largest entry of x are taken for the same. Of an
        input that is symmetric to about the tolerance only, the ties are neither all nor none of the symmetry.

    Raises
    ------
    ValueError
        x has another number of coordinates, or such as are not finite.

    Shapes:
        - **input:** :math:`(*, D)`; whole numbers and truth values count as floating point numbers
        - **output:** indices of elements, :math:`(*)`

    Examples
    --------
    >>> from pyg_symbreak.groups import cyclic_group
    >>> canonicalizer = FiniteCanonicalizer(Representation.permutation(cyclic_group(4)))
    >>> canonicalizer.ties(torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])).sum(1)
    tensor([1, 2])
    """

    basis: Tensor

    def __init__(self, rep: Representation, tolerance: float = 1e-5) -> None:
        super().__init__()
        self.tolerance = tolerance
        self.dim, self.order = rep.dim, rep.group.order
        self.action = GroupAction(rep)
        basis = np.linalg.qr(np.random.default_rng(0).standard_normal((rep.dim, rep.dim)))[0]
        self.register_constant("basis", torch.from_numpy(basis), torch.empty(0))

    @torch.no_grad()
    def ties(self, x: Tensor) -> Tensor:
        """Which elements lead to the canonical form, bool :math:`(*, |G|)`."""
        if x.size(-1) != self.dim:
            raise ValueError(f"x has {x.size(-1)} coordinates, the representation {self.dim}")
        if not x.is_floating_point():
            x = x.to(self.basis)
        if not x.isfinite().all():
            raise ValueError("x has NaN or infinite coordinates, of which there is no canonical form")
        flat = x.reshape(-1, self.dim)
        slack = self.tolerance * flat.abs().amax(1, keepdim=True)
        all_back = self.action.inverse.expand(len(flat), -1)
        orbit = self.action(all_back, flat.unsqueeze(1).expand(-1, self.order, -1)) @ self.basis.to(flat)
        tied = torch.ones(orbit.shape[:2], dtype=torch.bool, device=x.device)
        for energy in orbit.unbind(2):
            least = energy.masked_fill(~tied, torch.inf).amin(1, keepdim=True)
            tied &= energy <= least + slack
        return tied.view(*x.shape[:-1], self.order)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one of the ties for each x."""
        tied = self.ties(x)
        flat = tied.reshape(-1, self.order).to(torch.float32)
        drawn = torch.multinomial(flat, 1, generator=generator) if len(flat) else flat.new_zeros(0, 1, dtype=torch.long)
        return drawn.view(tied.shape[:-1])

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(order={self.order}, dim={self.dim}, tolerance={self.tolerance})"
