"""Canonical forms of structures, graphs and fields on lattices, and the elements that lead back to the input."""

from .kernel import InversionKernel, KernelElements, canonicalize, inversion_kernel
from .lattices import LatticeKernel, canonicalize_lattice, lattice_action, lattice_points

__all__ = [
    "InversionKernel",
    "KernelElements",
    "LatticeKernel",
    "canonicalize",
    "canonicalize_lattice",
    "inversion_kernel",
    "lattice_action",
    "lattice_points",
]
