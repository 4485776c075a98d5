"""A BERT checkpoint becomes a served endpoint.

    checkpoint --convert--> backbone --train--> run --export--> SavedModel --serve--> endpoint --predict--> answer

The names below are loaded on first use, so that ``import tfpipeline`` costs nothing and the thin client
(:mod:`tfpipeline.serving.client`) never meets TensorFlow.
"""

from __future__ import annotations

from tfpipeline._lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "PredictClient": "tfpipeline.serving.client",
        "UserError": "tfpipeline.errors",
        "convert": "tfpipeline.checkpoints",
        "evaluate": "tfpipeline.evaluation",
        "export_run": "tfpipeline.export",
        "load": "tfpipeline.training",
        "serve": "tfpipeline.serving.server",
        "train": "tfpipeline.training",
    },
)
