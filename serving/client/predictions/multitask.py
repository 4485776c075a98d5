"""The answers of several tasks to one text."""

from __future__ import annotations

from dataclasses import dataclass

from tfpipeline.serving.client.predictions.base import Prediction


@dataclass(frozen=True)
class Multitask(Prediction):
    """The answers of several tasks to one text.

    Attributes:
        answers: head name -> its prediction.
    """

    answers: dict[str, Prediction]
