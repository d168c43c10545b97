"""A function at structures and at their images under elements of O(3)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data

from pyg_symbreak.groups import PointGroup, irreps_matrices

__all__ = ["Images", "back", "elements_of", "moved"]


def elements_of(group: PointGroup, seed: int) -> np.ndarray:
    """All elements [n, 3, 3] of a finite group; of another one of each component, and random ones."""
    if group.is_finite:
        return group.matrices
    rng = np.random.default_rng(seed)
    drawn = [group.random_element(rng) for _ in range(4 * len(group.components))]
    return np.concatenate([group.components, drawn])


def moved(x: Any, element: np.ndarray, features: Mapping[str, str], shift: np.ndarray | None = None) -> Any:
    """Points [..., 3], or a structure with the cell and the features that turn with it, after a motion."""
    pos = x.pos if isinstance(x, Data) else x
    g = torch.from_numpy(np.ascontiguousarray(element)).to(pos)
    pos = pos @ g.T if shift is None else pos @ g.T + torch.from_numpy(shift).to(pos)
    if not isinstance(x, Data):
        return pos
    image = copy.copy(x)
    image.pos = pos
    if x.get("cell") is not None:
        image.cell = x.cell @ g.T
    for name, irreps in features.items():
        image[name] = back(x[name], o3.Irreps(irreps), element.T)
    return image


def back(out: Tensor, irreps: o3.Irreps, element: np.ndarray) -> Tensor:
    """D(g)⁻¹ of an output, [..., dim]."""
    d = torch.from_numpy(irreps_matrices(irreps, element[None])[0]).to(out)
    return (out.reshape(-1, irreps.dim) @ d).view(out.shape)


class Images:
    """The values of a function at some structures, and what it gives at their images, turned back."""

    def __init__(
        self, f: Callable[[Any], Tensor], structures: Sequence[Any], irreps: o3.Irreps, features: Mapping[str, str]
    ):
        self.f, self.structures, self.irreps, self.features = f, structures, irreps, features
        self.values = [self.at(x) for x in structures]
        pooled = torch.cat(self.values)
        # the mean of the invariant part of the output is no deviation
        invariant = torch.cat([torch.full((i.dim,), float(i.ir == o3.Irrep("0e"))) for i in irreps]).to(pooled)
        self.spread = float((pooled - pooled.mean(0) * invariant).square().mean().sqrt())
        if not self.spread > 0:
            raise ValueError(
                "the output is constant, the same for all structures, or not finite: give other ones, or more"
            )

    def at(self, x: Any) -> Tensor:
        """The values at a structure, float64 [n, dim]."""
        out = self.f(x).detach()
        if out.numel() % self.irreps.dim:
            raise ValueError(f"the output {list(out.shape)} is no vector of {self.irreps} for each node or structure")
        return out.reshape(-1, self.irreps.dim).double()

    def relative(self, differences: Iterable[Tensor]) -> float:
        """Root mean square of differences of values over their spread."""
        return float(torch.cat(list(differences)).square().mean().sqrt()) / self.spread

    def turned_back(self, element: np.ndarray, shift: np.ndarray | None = None) -> list[Tensor]:
        """D(g)⁻¹ f(gx), and if a shift is given with it in gx."""
        images = (self.at(moved(x, element, self.features, shift)) for x in self.structures)
        return [back(image, self.irreps, element) for image in images]

    def error(self, element: np.ndarray, shift: np.ndarray | None = None) -> float:
        """Root mean square of D(g)⁻¹ f(gx) - f(x) over the spread of the values."""
        return self.relative(a - b for a, b in zip(self.turned_back(element, shift), self.values, strict=True))
