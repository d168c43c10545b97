"""Symmetry breaking for equivariant networks in PyTorch Geometric."""
