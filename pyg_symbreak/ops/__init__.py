"""Per-orbit aggregation."""
