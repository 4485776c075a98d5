"""Several labels, or none, for a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

import numpy as np

from tfpipeline.serving.client.predictions.base import (
    ABSTENTION,
    STRINGS,
    Output,
    Prediction,
    abstentions,
    contradiction,
    text_of,
    without_padding,
)


@dataclass(frozen=True)
class MultiLabel(Prediction):
    """Several labels, or none, for a text.

    Attributes:
        labels: those whose score reaches their threshold, by descending score.
        scores: label -> score, 0 to 1, in the model's order.
        thresholds: label -> threshold, in the model's order.
        abstained: whether the answer is too unsure to be given; None if the model was exported without
            ``--abstain``.
    """

    labels: list[str]
    scores: dict[str, float]
    thresholds: dict[str, float]
    abstained: Optional[bool] = None

    output_specs = {  # noqa: RUF012 - a ClassVar of the base class
        "labels": Output(2, STRINGS),
        "classes": Output(2, STRINGS),
        "scores": Output(2, "f"),
        "thresholds": Output(2, "f"),
    }
    optional_specs = ABSTENTION

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[MultiLabel]:
        given = text_of(arrays["labels"])
        scores, thresholds = arrays["scores"].tolist(), arrays["thresholds"].tolist()
        abstained = abstentions(arrays, len(scores))
        predictions = []
        for row, classes in enumerate(text_of(arrays["classes"])):
            names = without_padding(classes)
            by_class = dict(zip(names, scores[row]))
            labels = sorted(
                (label for label in given[row] if label), key=lambda label: -by_class.get(label, 0.0)
            )
            padding = len(classes) - len(names)
            counts = {len(classes), len(set(names)) + padding, len(scores[row]), len(thresholds[row])}
            if len(counts) > 1 or not set(labels) <= set(names):
                raise contradiction(
                    row,
                    f"labels {labels}, classes {names}, {len(scores[row])} scores, {len(thresholds[row])} "
                    f"thresholds",
                )
            predictions.append(cls(labels, by_class, dict(zip(names, thresholds[row])), abstained[row]))
        return predictions
