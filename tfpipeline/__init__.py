"""A BERT checkpoint becomes a served endpoint.

    checkpoint --convert--> backbone --train--> run --export--> SavedModel --serve--> endpoint --predict--> answer

The names below are loaded on first use, so that ``import tfpipeline`` costs nothing and the thin client
(:mod:`tfpipeline.serving.client`) never meets TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that defines it.
_PUBLIC = {
    "UserError": "tfpipeline.errors",
    "convert": "tfpipeline.checkpoints",
    "load_checkpoint": "tfpipeline.checkpoints",
    "train": "tfpipeline.training",
    "load": "tfpipeline.training",
    "evaluate": "tfpipeline.evaluation",
    "export": "tfpipeline.export",
    "serve": "tfpipeline.serving.server",
    "PredictClient": "tfpipeline.serving.client",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tfpipeline' has no attribute {name!r}")
    from tfpipeline.errors import explain_missing_extra

    with explain_missing_extra():
        return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
