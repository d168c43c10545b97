"""Which implementation an op runs."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec

import torch

__all__ = ["METHODS", "resolve_method"]

METHODS = ("auto", "torch", "triton", "torch_scatter")


@lru_cache
def _installed(package: str) -> bool:
    return find_spec(package) is not None


def resolve_method(method: str, device: torch.device | str) -> str:
    """The implementation that a `method` argument stands for on a device.

    Parameters
    ----------
    method : {"auto", "torch", "triton", "torch_scatter"}
        "auto" is "triton" on a CUDA device where triton is installed, else "torch".
    device : torch.device

    Returns
    -------
    str : "torch", "triton" or "torch_scatter"

    Raises
    ------
    ValueError
        If there is no such method, or it is "triton" on a device that is neither CUDA nor, with TRITON_INTERPRET=1
        in the environment, the CPU.
    ModuleNotFoundError
        If the package of the method is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if method == "auto":
        return "triton" if torch.device(device).type == "cuda" and _installed("triton") else "torch"
    if not _installed(method):
        raise ModuleNotFoundError(f"method={method!r} needs the package {method}, which is not installed")
    if method == "triton" and torch.device(device).type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"method='triton' needs tensors on a CUDA device, got {device}: use 'auto' or 'torch'")
    return method
