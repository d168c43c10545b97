"""Layers and models that use symmetry breaking objects."""
