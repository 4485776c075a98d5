"""Evaluation: what fine-tuning changed, in scikit-learn's words, beside a cheap baseline."""

from __future__ import annotations

from tfpipeline._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"evaluate": "tfpipeline.evaluation.compare", "Report": "tfpipeline.evaluation.report"}
)
