"""Measures a server under load, with the thin client: throughput and latencies. Imports no TensorFlow."""
