"""The identity of a model: a hash of its weights and of everything that determines its predictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.trained_model import TrainedModel


def model_identity(run: TrainedModel, graph: PredictionGraph, more: Sequence[Any] = ()) -> str:
    """A hash of the weights, the tokenizer and the settings that determine the predictions.

    Args:
        run: the trained model.
        graph: with its weights.
        more: further values that determine them, in JSON form.
    """
    digest = hashlib.sha256()
    for variable in sorted(graph.model.weights, key=lambda variable: variable.path):
        digest.update(f"{variable.path} {variable.shape} {variable.dtype}\n".encode())
        digest.update(np.ascontiguousarray(variable.numpy()).reshape(-1).view(np.uint8).data)  # no copy
    task = run.config.task.model_dump(mode="json")
    decisive = [run.text_identity, run.truncation.identity(), task, run.task.fitted, *more]
    digest.update(json.dumps(decisive, sort_keys=True).encode())
    return digest.hexdigest()
