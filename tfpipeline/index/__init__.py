"""Vectors of texts on disk, and search among them, in NumPy and as a graph."""
