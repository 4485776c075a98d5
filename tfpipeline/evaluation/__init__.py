"""Evaluation: compares a model before and after fine-tuning, and with a cheap baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfpipeline._lazy import attach

if TYPE_CHECKING:  # what the table below loads on first use, for type checkers and editors
    from tfpipeline.evaluation.compare import evaluate as evaluate
    from tfpipeline.evaluation.report import Report as Report

__getattr__, __dir__, __all__ = attach(
    __name__, {"evaluate": "tfpipeline.evaluation.compare", "Report": "tfpipeline.evaluation.report"}
)
