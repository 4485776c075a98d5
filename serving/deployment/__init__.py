"""Writes what a production deployment of TensorFlow Serving needs: Kubernetes, KServe, Docker Compose.

Builders return plain dicts; :mod:`~tfpipeline.serving.deployment.writing` turns them into files. Nothing here
contacts a cluster. Imports no TensorFlow.
"""
