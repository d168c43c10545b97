"""PyG transforms that attach symmetry and symmetry breaking objects to a Data."""
