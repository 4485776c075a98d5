"""The identity of a model: a hash of the weights and of everything that determines its predictions."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from tfpipeline.export.options import ExportOptions
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.trained_model import TrainedModel


def identity(run: TrainedModel, graph: PredictionGraph, options: ExportOptions) -> str:
    """A hash of the weights and of everything that determines the predictions.

    It does not cover the files: the bytes of ``saved_model.pb`` differ from one export to the next.
    """
    digest = hashlib.sha256()
    for variable in sorted(graph.model.weights, key=lambda variable: variable.path):
        digest.update(f"{variable.path} {variable.shape} {variable.dtype}\n".encode())
        digest.update(np.ascontiguousarray(variable.numpy()).reshape(-1).view(np.uint8).data)  # no copy
    task = run.config.task.model_dump(mode="json")
    decisive = [
        run.text_identity,
        run.truncation.identity(),
        task,
        run.task.fitted,
        options.identity(),
        graph.confidence.identity(),
    ]
    digest.update(json.dumps(decisive, sort_keys=True).encode())
    return digest.hexdigest()
