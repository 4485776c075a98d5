"""Fits the confidence of an exported model, temperatures and thresholds, on the run's validation rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfpipeline.console import say
from tfpipeline.errors import UserError
from tfpipeline.export.options import ExportOptions
from tfpipeline.training.calibration import SCORES_OF_CONFIDENCE, Fitted, abstention, calibrate
from tfpipeline.training.confidence import Confidence
from tfpipeline.training.inference import Predictions
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.validation import ValidationRows

_ERROR = "expected_calibration_error"


def fit(
    graph: PredictionGraph, rows: ValidationRows, options: ExportOptions
) -> tuple[Confidence, Predictions, dict[str, float], dict[str, Any]]:
    """Fit what the options ask for, to the model that will be served.

    Args:
        graph: the model, in the precision in which it will be served.
        rows: the validation rows.
        options: of the export.
    Returns:
        The fitted values; the model's predictions for the rows with these values, and their scores; and
        entries for the card.
    Raises:
        UserError: the task has no such probabilities, or no threshold reaches the requested share.
    """
    facts: dict[str, Any] = {}
    confidence = Confidence()
    if options.calibrate:
        fitted, before, predictions = calibrate(graph, rows)
        confidence = Confidence(fitted.temperatures)
        scores = rows.scores(predictions)
        facts["calibration"] = _changes(rows.scores(before), scores, len(rows), fitted)
    else:
        predictions = rows.predict(graph, "validation rows")
        scores = rows.scores(predictions)
    if options.abstain is not None:
        thresholds, facts["abstain"] = _thresholds(graph, rows, predictions, options.abstain)
        confidence = Confidence(confidence.temperatures, thresholds)
    return confidence, predictions, scores, facts


def _changes(
    first: Mapping[str, float], second: Mapping[str, float], rows: int, fitted: Fitted
) -> dict[str, Any]:
    """The changes of the scores made by calibration, for the card; also printed."""
    changes: dict[str, Any] = {
        "rows": rows,
        "temperatures": Confidence(fitted.temperatures).identity()["temperatures"],
        "unfitted": list(fitted.unfitted),
    }
    for metric in second:
        if metric.split("/")[-1] in SCORES_OF_CONFIDENCE and metric in first:
            changes[metric] = {"before": first[metric], "after": second[metric]}
            if metric.endswith(_ERROR):
                part = metric.removesuffix(_ERROR)
                say(
                    f"calibrated {part}on {rows} validation rows: expected calibration error "
                    f"{first[metric]:.4f} -> {second[metric]:.4f}"
                )
    return changes


def _thresholds(
    graph: PredictionGraph, rows: ValidationRows, predictions: Predictions, share: float
) -> tuple[dict[str, float], dict[str, Any]]:
    """The threshold of each output that can abstain, and an entry for the card."""
    task = graph.task
    sure = task.confidences(predictions.predictions)
    right = task.scorer.right(predictions.predictions, rows.targets)
    thresholds: dict[str, float] = {}
    facts: dict[str, Any] = {}
    for name, confidences in sure.items():
        if name not in right:
            raise UserError(f"the task {task.options.name} does not say which of its answers are right")
        numbers, correct = right[name]
        part = name.rpartition("/")[0]
        try:
            fitted = abstention(np.asarray(confidences)[numbers], correct, rows.weights[numbers], share)
        except UserError as error:
            raise UserError(f'head "{part}": {error}' if part else str(error)) from error
        thresholds[name] = fitted.threshold
        facts[name] = {
            "asked": share,
            "threshold": fitted.threshold,
            "coverage": fitted.coverage,
            "right": fitted.right,
            "rows": len(numbers),
        }
        say(
            f"{name} below a probability of {fitted.threshold:.4f}: {fitted.coverage:.1%} of {len(numbers)} "
            f"validation rows are answered, {fitted.right:.1%} of these correctly"
        )
    return thresholds, facts
