"""A BERT checkpoint becomes a served endpoint.

    checkpoint --train--> run --export--> SavedModel --serve--> server --predict--> predictions

The names below are loaded on first use, so that ``import tfpipeline`` costs nothing and the thin client
(:mod:`tfpipeline.serving.client`) never imports TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfpipeline._lazy import attach

if TYPE_CHECKING:  # what the table below loads on first use, for type checkers and editors
    from tfpipeline.errors import UserError as UserError
    from tfpipeline.evaluation.compare import evaluate as evaluate
    from tfpipeline.explanations import explain as explain
    from tfpipeline.export.publish import export_adapters as export_adapters
    from tfpipeline.export.publish import export_run as export_run
    from tfpipeline.prediction import predict as predict
    from tfpipeline.search import load_index as load_index
    from tfpipeline.serving.client.sync_client import PredictClient as PredictClient
    from tfpipeline.serving.server.run import serve as serve
    from tfpipeline.training.loop import train as train
    from tfpipeline.training.opening import load as load
    from tfpipeline.training.run_as_checkpoint import convert as convert

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "PredictClient": "tfpipeline.serving.client.sync_client",
        "UserError": "tfpipeline.errors",
        "convert": "tfpipeline.training.run_as_checkpoint",
        "evaluate": "tfpipeline.evaluation.compare",
        "explain": "tfpipeline.explanations",
        "export_adapters": "tfpipeline.export.publish",
        "export_run": "tfpipeline.export.publish",
        "load": "tfpipeline.training.opening",
        "load_index": "tfpipeline.search",
        "predict": "tfpipeline.prediction",
        "serve": "tfpipeline.serving.server.run",
        "train": "tfpipeline.training.loop",
    },
)
