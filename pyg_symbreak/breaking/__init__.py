"""Sets of symmetry breaking objects, and the other ways to break symmetry."""
