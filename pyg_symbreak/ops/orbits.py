"""The orbits of a finite group on the nodes of one or more graphs, as plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from e3nn import o3
from torch import Tensor

from pyg_symbreak.groups import wigner_d

from .methods import resolve_method

__all__ = ["Orbits"]


@dataclass(frozen=True, eq=False)
class Orbits:
    """Nodes grouped into orbits and, where the group is known, what takes each node to the others of its orbit.

    Build it with `from_index` (the partition alone, enough for `orbit_reduce`) or `from_group` (needed by
    `orbit_project`), and join the graphs of a batch with `cat`.

    A node j of an orbit with representative r, its first node, is reached by the elements of one coset of the
    site-symmetry group H of r, {g : π_g(r) = j}. What the projector needs is the mean of D(g) over that coset, so
    a node stores its coset, and a coset stores its elements. Orbits of a graph with the same H share cosets.

    Attributes
    ----------
    node : long tensor [N]
        The orbit of each node, 0 .. num_orbits - 1.
    order : long tensor [N]
        The nodes sorted by orbit, in ascending order within an orbit.
    offsets : long tensor [num_orbits + 1]
        Orbit i is `order[offsets[i]:offsets[i + 1]]`; it may be empty.
    matrices : float64 tensor [T, 3, 3], or None
        The group elements of all graphs, one graph after the other; on the CPU whatever the device of the rest.
    coset : long tensor [N], or None
        The coset of each node.
    members : long tensor [E], or None
        The rows of `matrices` that make up the cosets, one coset after the other; on the CPU.
    member_offsets : long tensor [num_cosets + 1], or None
        Coset c is `members[member_offsets[c]:member_offsets[c + 1]]`; on the CPU.
    """

    node: Tensor
    order: Tensor
    offsets: Tensor
    matrices: Tensor | None = None
    coset: Tensor | None = None
    members: Tensor | None = None
    member_offsets: Tensor | None = None
    _tables: dict[str, tuple[Tensor, ...]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_index(cls, node: Tensor, num_orbits: int | None = None) -> Orbits:
        """The partition given by the orbit of each node.

        Parameters
        ----------
        node : long tensor [N]
            The orbit of each node.
        num_orbits : int, optional
            The number of orbits, empty ones included; the largest entry plus one if it is not given.

        Raises
        ------
        ValueError
            If `node` is not a vector of integers, or has an entry outside 0 .. num_orbits - 1 (looked for on
            the CPU only: on a GPU it would stop the device).
        """
        if node.dim() != 1 or node.is_floating_point():
            raise ValueError(f"node must be a vector of integers, got {node.dtype} of shape {tuple(node.shape)}")
        node = node.long()
        if num_orbits is None:
            num_orbits = int(node.max()) + 1 if len(node) else 0
        if node.is_cpu and not torch.compiler.is_compiling() and len(node):
            low, high = (int(v) for v in node.aminmax())
            if low < 0 or high >= num_orbits:
                raise ValueError(
                    f"node must have entries from 0 to num_orbits - 1 = {num_orbits - 1}, got {low} to {high}"
                )
        order = node.argsort(stable=True)
        bounds = torch.arange(num_orbits + 1, device=node.device)
        return cls(node, order, torch.searchsorted(node[order], bounds))

    @classmethod
    def from_group(cls, permutations: Tensor, matrices: Tensor | np.ndarray) -> Orbits:
        """The orbits of a finite group that moves the nodes of one graph.

        For a linear molecule, whose group is infinite, give its subgroup C_nv or D_nh with n > l_max: up to
        l_max it has the same projector, because the sum over C_n keeps of an irrep l the components m
        divisible by n, and only m = 0 is.

        Parameters
        ----------
        permutations : long tensor [order, N]
            Element g takes node j to node `permutations[g, j]`.
        matrices : float tensor or array [order, 3, 3]
            The orthogonal matrix of each element.

        Raises
        ------
        ValueError
            If the shapes disagree, or a row of `permutations` is not a permutation of the nodes.
        """
        permutations = permutations.long()
        matrices = torch.as_tensor(matrices, dtype=torch.float64, device="cpu")
        if permutations.dim() != 2 or matrices.shape != (len(permutations), 3, 3) or not len(permutations):
            raise ValueError(
                "permutations must be [order, N] and matrices [order, 3, 3] with the same order > 0, got "
                f"{tuple(permutations.shape)} and {tuple(matrices.shape)}"
            )
        num_elements, num_nodes = permutations.shape
        device = permutations.device
        permutations = permutations.cpu()
        if not torch.equal(permutations.sort(dim=1).values, torch.arange(num_nodes).expand_as(permutations)):
            raise ValueError("permutations must have a permutation of 0 .. N - 1 in each row")

        representative, node = permutations.amin(dim=0).unique(return_inverse=True)
        images = permutations[:, representative]  # [order, num_orbits]
        stabilizers, kind = (images == representative).unique(dim=1, return_inverse=True)
        first = torch.full((stabilizers.shape[1],), len(representative))
        first.scatter_reduce_(0, kind, torch.arange(len(representative)), "amin")
        # The coset of each element, numbered within the orbit that is the first with its stabilizer.
        local = [images[:, i].unique(return_inverse=True)[1] for i in first.tolist()]
        counts = torch.tensor([0] + [int(c.max()) + 1 for c in local])
        cosets = torch.stack(local, dim=1) + counts.cumsum(0)[:-1] if local else images
        coset = torch.empty(num_nodes, dtype=torch.long)
        coset[images] = cosets[:, kind]

        members = torch.arange(num_elements).repeat_interleave(cosets.shape[1])
        rows = cls.from_index(cosets.flatten(), int(counts.sum()))
        return replace(
            cls.from_index(node, len(representative)),
            matrices=matrices,
            coset=coset,
            members=members[rows.order],
            member_offsets=rows.offsets,
        ).to(device)

    @classmethod
    def cat(cls, orbits: Sequence[Orbits]) -> Orbits:
        """The orbits of a batch: node, orbits and cosets of each graph numbered after those of the one before.

        Raises
        ------
        ValueError
            If there is nothing to join, or some have group elements and others none.
        """
        known = {o.matrices is not None for o in orbits}
        if len(known) != 1:
            raise ValueError("orbits must be non-empty, and all of its items from from_group or all from from_index")

        def joined(name: str, starts_with: str) -> Tensor:
            """The tensors of that name, each shifted by the total length of another one before it."""
            lengths = [len(getattr(o, starts_with)) - starts_with.endswith("offsets") for o in orbits]
            starts = np.cumsum([0, *lengths]).tolist()
            parts = [getattr(o, name) + start for o, start in zip(orbits, starts, strict=False)]
            if name.endswith("offsets"):  # each begins with the end of the one before
                parts[1:] = [part[1:] for part in parts[1:]]
            return torch.cat(parts)

        out = cls(joined("node", "offsets"), joined("order", "node"), joined("offsets", "node"))
        if known == {False}:
            return out
        return replace(
            out,
            matrices=torch.cat([o.matrices for o in orbits if o.matrices is not None]),
            coset=joined("coset", "member_offsets"),
            members=joined("members", "matrices"),
            member_offsets=joined("member_offsets", "members"),
        )

    @property
    def num_nodes(self) -> int:
        """The number of nodes."""
        return self.node.shape[0]

    @property
    def num_orbits(self) -> int:
        """The number of orbits."""
        return self.offsets.shape[0] - 1

    @property
    def num_cosets(self) -> int:
        """The number of cosets, 0 where the group is not known."""
        return 0 if self.member_offsets is None else self.member_offsets.shape[0] - 1

    def to(self, device: torch.device | str) -> Orbits:
        """The same orbits with the tensors that the kernels read on another device."""
        return replace(
            self,
            node=self.node.to(device),
            order=self.order.to(device),
            offsets=self.offsets.to(device),
            coset=None if self.coset is None else self.coset.to(device),
        )

    def table(
        self, irreps: o3.Irreps | str, dtype: torch.dtype = torch.float32, method: str = "auto"
    ) -> tuple[Tensor, ...]:
        """What `orbit_project` reads of the group, built once and kept.

        Parameters
        ----------
        irreps : e3nn Irreps
        dtype : torch.dtype
            float64, or float32 for features of any lower precision.
        method : {"auto", "torch", "triton"}
            The implementation that reads it, see `resolve_method`.

        Returns
        -------
        tuple of tensors, on the device of `node`. For "triton": `order`, `offsets` and `coset`, then for each
        distinct irrep, in the order of first appearance, the mean of D(g) over each coset,
        [num_cosets, (2l + 1)²] by rows. For "torch": for each distinct irrep an orthonormal basis of the fields
        that the group of each graph fixes, as a sparse matrix B [N, basis fields × components] of node by
        (field, component), first its columns and then its rows, each as where they begin, the indices and the
        entries.

        Raises
        ------
        ValueError
            If the orbits were built without group elements.
        """
        if self.coset is None:
            raise ValueError("the orbits have no group elements: build them with Orbits.from_group")
        method = resolve_method(method, self.node.device)
        kinds = tuple(dict.fromkeys(ir for _, ir in o3.Irreps(irreps).remove_zero_multiplicities()))
        key = f"{kinds} {dtype} {method}"  # Dynamo of torch 2.7 reads no tuples as keys
        if key not in self._tables:
            means = self._coset_means(kinds)
            if method == "triton":
                side_by_side = [torch.empty(self.num_cosets, 0), *(mean.flatten(1) for mean in means)]
                parts = [self.order, self.offsets, self.coset, torch.cat(side_by_side, dim=1)]
            else:
                parts = [part for mean in means for part in self._fixed_fields(mean, self.coset)]
            device = self.node.device
            self._tables[key] = tuple(p.to(device, dtype if p.is_floating_point() else None) for p in parts)
        return self._tables[key]

    def _coset_means(self, kinds: Sequence[o3.Irrep]) -> list[Tensor]:
        """The mean of D(g) over each coset for each irrep, float64 [num_cosets, dim, dim] on the CPU."""
        assert self.matrices is not None
        assert self.members is not None
        assert self.member_offsets is not None
        elements = self.matrices.numpy()
        sign = np.sign(np.linalg.det(elements)) if len(elements) else np.ones(0)
        wigner = wigner_d(max((ir.l for ir in kinds), default=0), elements * sign[:, None, None])
        members, starts = self.members.numpy(), self.member_offsets.numpy()
        means = []
        for ir in kinds:
            flat = (wigner[ir.l] * np.where(sign < 0, ir.p, 1)[:, None, None])[members]
            mean = np.add.reduceat(flat, starts[:-1]) / np.diff(starts)[:, None, None] if len(flat) else flat
            means.append(torch.from_numpy(mean))
        return means

    def _fixed_fields(self, mean: Tensor, coset: Tensor) -> tuple[Tensor, ...]:
        """An orthonormal basis of the fields of one irrep that the group fixes, in sparse columns and rows.

        The mean over the coset of a representative is the projector on the vectors that its site symmetry fixes,
        with eigenvalues 0 and 1. Each fixed vector v gives the field that is mean[coset[j]] v / √|O| on the nodes
        j of its orbit O and zero elsewhere.
        """
        order, offsets = self.order.cpu(), self.offsets.cpu()
        orbit, coset = self.node.cpu()[order], coset.cpu()[order]
        dim, sizes = mean.shape[1], offsets.diff()
        sites, site = coset[offsets[:-1]].unique(return_inverse=True)
        values, vectors = torch.linalg.eigh(mean[sites])
        fixed = (values > 0.5)[site]  # [num_orbits, dim]
        number = (fixed.flatten().cumsum(0) - 1).view_as(fixed)
        fields = mean[coset] @ vectors[site][orbit] / sizes[orbit].double().sqrt()[:, None, None]
        at, which = fixed[orbit].nonzero(as_tuple=True)
        column = number[orbit[at], which][:, None] * dim + torch.arange(dim)
        row = order[at][:, None].expand_as(column)
        entry = fields[at, :, which]
        by_column, by_row = (
            Orbits.from_index(index.flatten(), size)
            for index, size in ((column, int(fixed.sum()) * dim), (row, self.num_nodes))
        )
        return (
            by_column.offsets,
            row.flatten()[by_column.order],
            entry.flatten()[by_column.order],
            by_row.offsets,
            column.flatten()[by_row.order],
            entry.flatten()[by_row.order],
        )
