"""Export: a trained run becomes a versioned SavedModel that TensorFlow Serving loads."""

from __future__ import annotations

from tfpipeline._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"export_run": "tfpipeline.export.publish", "ServingModule": "tfpipeline.export.signatures"}
)
