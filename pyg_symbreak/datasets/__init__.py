"""PyG data sets of structures whose answer is less symmetric than the input."""
