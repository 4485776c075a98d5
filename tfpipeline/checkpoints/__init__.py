"""Checkpoints of other programs, read and written: one module a format, each one table of names."""

from __future__ import annotations

from tfpipeline._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Checkpoint": "tfpipeline.checkpoints.checkpoint",
        "Conversion": "tfpipeline.checkpoints.conversion",
        "convert": "tfpipeline.checkpoints.conversion",
        "extend": "tfpipeline.checkpoints.extension",
        "is_checkpoint": "tfpipeline.checkpoints.conversion",
        "load": "tfpipeline.checkpoints.conversion",
        "parity_report": "tfpipeline.checkpoints.parity",
        "read_tokens": "tfpipeline.checkpoints.extension",
        "write": "tfpipeline.checkpoints.conversion",
    },
)
