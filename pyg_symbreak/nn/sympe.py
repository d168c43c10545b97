"""Learned vectors moved by a sampled group element."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor, nn

from pyg_symbreak.groups import irreps_matrices

__all__ = ["SymPE"]


class SymPE(nn.Module):
    r"""Positional encoding that breaks symmetry: a learned vector moved by a sampled group element.

    The element :math:`\tilde g` comes from the inversion kernel of the input
    (``AddSymmetryBreaking("sympe")``), the vector v is learned, and :math:`\tilde g v` is given to an
    equivariant network as further features (H. Lawrence, V. Portilheiro, Y. Zhang, S.-O. Kaba, "Improving Equivariant
    Networks with Probabilistic Symmetry Breaking", ICLR 2025, arXiv 2503.21985). The network is then equivariant in
    distribution, without the obstruction that sets which depend on the symmetry alone meet.

    Of structures with positions the elements are rotations, proper and improper, and v is a vector of irreps. Of
    graphs they are permutations, and v is a table: the node of rank r gets row r.

    Parameters
    ----------
    irreps : str, e3nn Irreps or int
        Of the vector; with ``num_ranks`` the width of the table.
    num_ranks : int, optional
        Number of rows of the table, for graphs of up to so many nodes.

    Shapes:
        - **input:** ``breaking``, the columns of rotations, :math:`(B, 9)`, or ranks :math:`(N, 1)`
        - **output:** :math:`(B, D)` in the irreps, or rows :math:`(N, D)`

    Raises
    ------
    ValueError
        The input is not of that shape, or a rank is beyond the table.

    Examples
    --------
    >>> SymPE("0o+2x1o")(torch.eye(3).reshape(1, 9)).shape
    torch.Size([1, 7])
    >>> SymPE(8, num_ranks=6)(torch.arange(6)[:, None]).shape
    torch.Size([6, 8])
    """

    def __init__(self, irreps: str | o3.Irreps | int, num_ranks: int | None = None) -> None:
        super().__init__()
        if isinstance(irreps, int):
            irreps = f"{irreps}x0e"
        self.irreps, self.num_ranks = str(o3.Irreps(irreps)), num_ranks
        if num_ranks is not None and o3.Irreps(irreps).lmax > 0:
            raise ValueError(f"a permutation rotates nothing: with num_ranks give a width, not irreps={irreps}")
        dim = o3.Irreps(irreps).dim
        self.vector = nn.Parameter(torch.empty(dim if num_ranks is None else (num_ranks, dim)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vector, or the table, anew from the standard normal law."""
        nn.init.normal_(self.vector)

    def forward(self, breaking: Tensor) -> Tensor:
        """The moved vectors, or the rows of the table."""
        width = 9 if self.num_ranks is None else 1
        if breaking.dim() != 2 or breaking.size(1) != width:
            raise ValueError(f"breaking has shape {tuple(breaking.shape)}, expected rows of width {width} for {self}")
        if self.num_ranks is None:
            rotations = breaking.detach().reshape(-1, 3, 3).mT.cpu().double().numpy()
            return torch.from_numpy(irreps_matrices(self.irreps, rotations)).to(self.vector) @ self.vector
        if breaking.numel() and int(breaking.max()) >= self.num_ranks:
            raise ValueError(
                f"a node has rank {int(breaking.max())}, but the table has {self.num_ranks} rows: num_ranks must be "
                "the number of nodes of the largest graph"
            )
        return nn.functional.embedding(breaking[:, 0].long(), self.vector)

    def __repr__(self) -> str:
        ranks = "" if self.num_ranks is None else f", num_ranks={self.num_ranks}"
        return f"{type(self).__name__}({self.irreps}{ranks})"
