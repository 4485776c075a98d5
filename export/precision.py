"""The precision of an exported model: its cost in accuracy and its gain in speed, measured.

A model is measured before it is exported: its predictions for the validation rows in float32 and in the other
precision, the task's main metric for both, and the time that both take for the same requests, alternately.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.console import say
from tfpipeline.errors import UserError
from tfpipeline.export.options import ExportOptions
from tfpipeline.training.inference import Predictions
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.validation import ValidationRows

POINTS = 100  # of a metric whose maximum is 1
_TIMED_ROWS = 32  # per request
_ROUNDS = 5


def measure(
    trained: PredictionGraph,
    served: PredictionGraph,
    rows: ValidationRows,
    predictions: Predictions,
    scores: Mapping[str, float],
    metric: str,
    options: ExportOptions,
) -> dict[str, Any]:
    """Compare a served model with the trained one, on the validation rows.

    Args:
        trained: the model in float32.
        served: the model in the options' precision.
        rows: the validation rows.
        predictions: of the served model, for these rows.
        scores: of these predictions.
        metric: the metric that the limit applies to.
        options: of the export.
    Returns:
        An entry for the card.
    Raises:
        UserError: the precision costs more points than the options allow.
    """
    task = trained.task
    want = rows.predict(trained, "validation rows, in float32")
    before, after = rows.scores(want)[metric], scores[metric]
    lost = lost_points(before, after, lower=metric == "loss" or metric in task.scorer.lower_is_better)
    if not lost <= options.max_accuracy_loss:
        raise UserError(
            f"{options.precision} costs {lost:.2f} points of {metric} on {len(rows)} validation rows "
            f"({before:.4f} -> {after:.4f}), more than the {options.max_accuracy_loss:g} that are allowed; "
            "export it in float32, or allow more with --max-accuracy-loss"
        )
    speed = _speed(trained.for_serving(), served, rows)
    changes = differences(want.predictions, predictions.predictions, task.offsets)
    say(
        f"{options.precision}: {metric} {before:.4f} -> {after:.4f} on {len(rows)} validation rows, "
        f"{changes['changed_rows']} with a different answer; {speed:.2f} times the speed of float32 here"
    )
    return {
        "precision": options.precision,
        "rows": len(rows),
        "metric": metric,
        "float32": before,
        options.precision: after,
        "points_lost": lost,
        **changes,
        "speed": speed,
    }


def lost_points(before: float, after: float, *, lower: bool) -> float:
    """The loss of a metric in hundredths; negative if it improved.

    Args:
        before, after: the metric's values. If lower is better (in any unit), the loss is relative to
            ``before``.
        lower: whether lower values are better.
    """
    if lower:
        return POINTS * (after - before) / abs(before) if before else POINTS * float(after > 0)
    return POINTS * (before - after)


def differences(
    want: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], places: Mapping[str, str]
) -> dict[str, Any]:
    """The differences between two sets of predictions.

    Args:
        want, actual: name -> [N, ...].
        places: the names of outputs that are positions in texts.
    Returns:
        ``changed_rows``: rows with a different string (a label, an answer); ``changed_places``: rows with a
        different position; ``probabilities``: name of each float output -> the largest and the mean
        difference.
    """
    size = len(next(iter(want.values())))
    other, moved = np.zeros(size, bool), np.zeros(size, bool)
    numbers = {}
    for name, expected in want.items():
        got = actual[name]
        if expected.dtype.kind == "f":
            gap = np.abs(got - expected)
            numbers[name] = {
                "largest": float(gap.max(initial=0)),
                "mean": float(gap.mean()) if gap.size else 0.0,
            }
            if name.split("/")[-1] == "probabilities":  # their label is not among the scored predictions
                other |= got.argmax(-1) != expected.argmax(-1)
        else:
            differs = (got != expected).reshape(size, -1).any(-1)
            (moved if name in places else other)[differs] = True
    return {
        "changed_rows": int(other.sum()),
        "changed_places": int(moved.sum()),
        "differences": numbers,
    }


def _speed(exact: PredictionGraph, graph: PredictionGraph, rows: ValidationRows) -> float:
    """The speed of a graph relative to float32: the median over pairs of calls."""
    examples = rows.examples[:_TIMED_ROWS]
    texts: dict[str, list[str]] = {"text": [example.text for example in examples]}
    if exact.text_inputs.pair:
        texts["text_pair"] = [example.text_pair or "" for example in examples]
    inputs = exact.text_inputs(texts)
    calls = [tf.function(one.__call__, autograph=False) for one in (exact, graph)]
    ratios = []
    for round_ in range(_ROUNDS + 1):
        seconds = []
        for call in calls:
            start = time.perf_counter()
            for tensor in call(inputs).values():
                tensor.numpy()
            seconds.append(time.perf_counter() - start)
        if round_:  # the first round traces the functions
            ratios.append(seconds[0] / seconds[1])
    return float(np.median(ratios))
