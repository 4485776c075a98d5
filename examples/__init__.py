"""Worked examples on real weights and real data."""
