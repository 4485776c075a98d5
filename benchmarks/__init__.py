"""Benchmarks against peers in one process: ``python -m benchmarks.NAME`` prints one JSON line per
measurement.
"""
