"""The identity of a version: what it answers, and the options that affect its files."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tfpipeline.export.options import ExportOptions
from tfpipeline.tasks import Signature
from tfpipeline.training.model_identity import model_identity
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.trained_model import TrainedModel


def identity(
    run: TrainedModel,
    graph: PredictionGraph,
    options: ExportOptions,
    further: Mapping[str, Signature] = MappingProxyType({}),
) -> str:
    """A hash of the weights and of everything that determines the predictions.

    It does not cover the files: the bytes of ``saved_model.pb`` differ from one export to the next.

    Args:
        run: the trained model.
        graph: with its weights, temperatures and thresholds.
        options: of the export.
        further: the further signatures.
    """
    own = {name: signature.identity for name, signature in further.items() if signature.identity is not None}
    more = [options.identity(), graph.confidence.identity(), *([own] if own else [])]
    return model_identity(run, graph, more)
