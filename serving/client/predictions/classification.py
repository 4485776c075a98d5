"""One class for a text."""

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
class Classification(Prediction):
    """One class for a text.

    Attributes:
        label: the predicted class.
        probability: its probability.
        probabilities: class -> probability, in the model's order.
        abstained: whether the answer is too unsure to be given; None if the model was exported without
            ``--abstain``.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    abstained: Optional[bool] = None

    output_specs = {  # noqa: RUF012 - a ClassVar of the base class
        "label": Output(1, STRINGS),
        "classes": Output(2, STRINGS),
        "probabilities": Output(2, "f"),
    }
    optional_specs = ABSTENTION

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[Classification]:
        classes = text_of(arrays["classes"])
        probabilities = arrays["probabilities"].tolist()
        abstained = abstentions(arrays, len(classes))
        predictions = []
        for row, label in enumerate(text_of(arrays["label"])):
            names = without_padding(classes[row])
            by_class = dict(zip(names, probabilities[row]))
            padding = len(classes[row]) - len(names)
            counts = {len(by_class) + padding, len(classes[row]), len(probabilities[row])}
            if len(counts) > 1 or label not in by_class:
                raise contradiction(
                    row, f"label {label!r}, classes {classes[row]}, {len(probabilities[row])} probabilities"
                )
            predictions.append(cls(label, by_class[label], by_class, abstained[row]))
        return predictions
