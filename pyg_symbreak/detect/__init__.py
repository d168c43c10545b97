"""Which symmetry an input has: molecules, crystals, graphs."""
