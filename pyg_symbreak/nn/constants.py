"""Constant tensors that keep full precision when a module changes its dtype."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["ConstantsMixin"]


class ConstantsMixin(nn.Module):
    """Module with float64 constants that are rounded anew at every change of dtype.

    A plain buffer made in float32 keeps its float32 rounding after ``module.double()``, and an equivariant
    network made of such buffers is then equivariant to 1e-7 only. The constants here are not part of the
    ``state_dict``.
    """

    def register_constant(self, name: str, value: Tensor, like: Tensor) -> None:
        """Attach the float64 tensor ``value`` under ``name`` with the dtype and device of ``like``."""
        exact = self.__dict__.setdefault("_exact_constants", {})
        exact[name] = value
        self.register_buffer(name, value.to(like), persistent=False)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "ConstantsMixin":
        super()._apply(fn, recurse)
        for name, exact in self.__dict__.get("_exact_constants", {}).items():
            self._buffers[name] = exact.to(self._buffers[name])
        return self
