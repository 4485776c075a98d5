"""How similar two texts are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfpipeline.serving.client.predictions.base import Output, Prediction


@dataclass(frozen=True)
class Similarity(Prediction):
    """How similar two texts are.

    Attributes:
        score: the cosine of their vectors, -1 to 1.
    """

    score: float

    output_specs = {"score": Output(1, "f")}  # noqa: RUF012 - a ClassVar of the base class

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[Similarity]:
        return [cls(score) for score in arrays["score"].tolist()]
