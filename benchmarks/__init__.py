"""Side by side with peers in one process: ``python -m benchmarks.NAME`` prints one JSON line a
measurement.
"""
