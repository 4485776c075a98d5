"""Export: a trained run becomes a versioned SavedModel that TensorFlow Serving loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfpipeline._lazy import attach
from tfpipeline.runtime import use_tensorflow_backend

if TYPE_CHECKING:  # what the table below loads on first use, for type checkers and editors
    from tfpipeline.export.publish import export_adapters as export_adapters
    from tfpipeline.export.publish import export_run as export_run
    from tfpipeline.export.signatures import ServingModule as ServingModule

use_tensorflow_backend()  # before anything here imports Keras

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ServingModule": "tfpipeline.export.signatures",
        "export_adapters": "tfpipeline.export.publish",
        "export_run": "tfpipeline.export.publish",
    },
)
