"""Reads and writes checkpoints of other programs: one module per format, each with one table of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfpipeline._lazy import attach

if TYPE_CHECKING:  # what the table below loads on first use, for type checkers and editors
    from tfpipeline.checkpoints.checkpoint import Checkpoint as Checkpoint
    from tfpipeline.checkpoints.checkpoint import say_notes as say_notes
    from tfpipeline.checkpoints.conversion import Conversion as Conversion
    from tfpipeline.checkpoints.conversion import convert as convert
    from tfpipeline.checkpoints.conversion import is_checkpoint as is_checkpoint
    from tfpipeline.checkpoints.conversion import load as load
    from tfpipeline.checkpoints.conversion import write as write
    from tfpipeline.checkpoints.extension import extend as extend
    from tfpipeline.checkpoints.extension import read_tokens as read_tokens
    from tfpipeline.checkpoints.parity import parity_report as parity_report
    from tfpipeline.checkpoints.tokenizer_parity import check_tokenizer as check_tokenizer

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Checkpoint": "tfpipeline.checkpoints.checkpoint",
        "Conversion": "tfpipeline.checkpoints.conversion",
        "check_tokenizer": "tfpipeline.checkpoints.tokenizer_parity",
        "convert": "tfpipeline.checkpoints.conversion",
        "extend": "tfpipeline.checkpoints.extension",
        "is_checkpoint": "tfpipeline.checkpoints.conversion",
        "load": "tfpipeline.checkpoints.conversion",
        "parity_report": "tfpipeline.checkpoints.parity",
        "read_tokens": "tfpipeline.checkpoints.extension",
        "say_notes": "tfpipeline.checkpoints.checkpoint",
        "write": "tfpipeline.checkpoints.conversion",
    },
)
