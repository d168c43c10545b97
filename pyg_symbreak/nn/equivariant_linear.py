"""Linear maps between representations of a finite group."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyg_symbreak.groups import Representation, hom
from pyg_symbreak.nn.constants import ConstantsMixin

__all__ = ["EquivariantLinear"]


class EquivariantLinear(ConstantsMixin):
    r"""The general linear map W with :math:`\rho'(g) W = W \rho(g)` for all g in a finite group, and invariant bias.

    W is a learned combination of an orthonormal basis of :math:`\mathrm{Hom}_G(V, V')`, which is computed once; it
    has :math:`\frac{1}{|G|} \sum_g \chi(g) \chi'(g)` elements. A layer of this kind between permutations of nodes and
    of pairs of nodes is that of `Maron et al. (2019) <https://arxiv.org/abs/1812.09902>`_; for general
    representations that of `Finzi et al. (2021) <https://arxiv.org/abs/2104.09459>`_.

    Parameters
    ----------
    rep_in, rep_out : Representation
        Of one group.
    bias : bool
        Whether to add a learned vector that the group leaves unchanged.

    Raises
    ------
    ValueError
        The representations are of different groups.

    Shapes:
        - **input:** :math:`(*, D_{in})`
        - **output:** :math:`(*, D_{out})`

    Examples
    --------
    >>> from pyg_symbreak.groups import symmetric_group
    >>> nodes = Representation.permutation(symmetric_group(5))
    >>> layer = EquivariantLinear(nodes, nodes)  # a·x + b·mean(x) + c
    >>> sum(p.numel() for p in layer.parameters())
    3
    """

    def __init__(self, rep_in: Representation, rep_out: Representation, bias: bool = True) -> None:
        super().__init__()
        rep_in.require_same_group(rep_out)
        self.dim_in, self.dim_out = rep_in.dim, rep_out.dim
        self.weights = _Combination(rep_in, rep_out)
        self.biases = _Combination(Representation.trivial(rep_in.group), rep_out) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw W such that independent unit normal input gives output of unit mean square; bias zero."""
        self.weights.reset_parameters()
        if self.biases is not None:
            for coefficients in self.biases.coefficients:
                nn.init.zeros_(coefficients)

    @property
    def weight(self) -> Tensor:
        """W, :math:`(D_{out}, D_{in})`."""
        return self.weights()

    @property
    def bias(self) -> Tensor | None:
        """The invariant vector, :math:`(D_{out},)`."""
        return None if self.biases is None else self.biases().squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply W and add the bias."""
        return nn.functional.linear(x, self.weight, self.bias)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.dim_in}, {self.dim_out}, bias={self.biases is not None})"


class _Combination(ConstantsMixin):
    """A learned matrix in Hom_G: coefficients [mul_out, mul_in, k] of the basis for each pair of terms."""

    def __init__(self, rep_in: Representation, rep_out: Representation) -> None:
        super().__init__()
        self.muls_in = [mul for mul, _ in rep_in.terms]
        self.muls_out = [mul for mul, _ in rep_out.terms]
        self.sizes_in = [mul * term.dim for mul, term in rep_in.terms]
        self.sizes_out = [mul * term.dim for mul, term in rep_out.terms]
        self.permuted: list[bool] = []
        self.coefficients = nn.ParameterList()
        for n, ((mul_out, term_out), (mul_in, term_in)) in enumerate(itertools.product(rep_out.terms, rep_in.terms)):
            space = hom(term_in, term_out)
            like = torch.empty(mul_out, mul_in, space.dim)
            self.coefficients.append(nn.Parameter(like))
            self.permuted.append(space.orbits is not None)
            if space.orbits is not None:
                self.register_buffer(f"orbits_{n}", torch.from_numpy(space.orbits), persistent=False)
                self.register_constant(f"scale_{n}", torch.from_numpy(space.scale), like)
            else:
                self.register_constant(f"basis_{n}", torch.from_numpy(space.basis), like)

    def reset_parameters(self) -> None:
        """Normal coefficients that give each output term a unit mean square."""
        width = len(self.muls_in)
        for i, (mul_out, size_out) in enumerate(zip(self.muls_out, self.sizes_out, strict=True)):
            row = self.coefficients[i * width : (i + 1) * width]
            terms = sum(c.size(1) * c.size(2) for c in row)
            for c in row:
                nn.init.normal_(c, std=(size_out / (mul_out * max(terms, 1))) ** 0.5)

    def forward(self) -> Tensor:
        """The matrix [D_out, D_in]."""
        return self._assemble(list(self.coefficients))

    def _block(self, n: int, coefficients: Tensor) -> Tensor:
        """[mul_out, mul_in, d_out, d_in] from coefficients [mul_out, mul_in, k]"""
        if self.permuted[n]:
            return (coefficients * getattr(self, f"scale_{n}"))[..., getattr(self, f"orbits_{n}")]
        return torch.tensordot(coefficients, getattr(self, f"basis_{n}"), dims=1)

    def projection(self, matrix: Tensor) -> Tensor:
        """The orthogonal projection of a matrix [D_out, D_in] to Hom_G, its average over the group."""
        coefficients: list[Tensor] = []
        for i, row in enumerate(matrix.split(self.sizes_out, dim=0)):
            for j, block in enumerate(row.split(self.sizes_in, dim=1)):
                by_copy = block.unflatten(1, (self.muls_in[j], -1)).unflatten(0, (self.muls_out[i], -1)).transpose(1, 2)
                coefficients.append(self._coefficients_of(len(coefficients), by_copy))
        return self._assemble(coefficients)

    def _assemble(self, coefficients: Sequence[Tensor]) -> Tensor:
        """The matrix [D_out, D_in] with coefficients [mul_out, mul_in, k] of each pair of terms."""
        rows, width = [], len(self.muls_in)
        for i, size_out in enumerate(self.sizes_out):
            row = []
            for j, size_in in enumerate(self.sizes_in):
                block = self._block(i * width + j, coefficients[i * width + j])
                row.append(block.transpose(1, 2).reshape(size_out, size_in))
            rows.append(torch.cat(row, dim=1))
        return torch.cat(rows, dim=0)

    def _coefficients_of(self, n: int, block: Tensor) -> Tensor:
        """Inner products of a block [mul_out, mul_in, d_out, d_in] with the basis."""
        if not self.permuted[n]:
            return torch.tensordot(block, getattr(self, f"basis_{n}"), dims=([2, 3], [1, 2]))
        scale, orbits = getattr(self, f"scale_{n}"), getattr(self, f"orbits_{n}").flatten()
        sums = block.new_zeros(*block.shape[:2], len(scale)).index_add(2, orbits, block.flatten(2))
        return sums * scale
