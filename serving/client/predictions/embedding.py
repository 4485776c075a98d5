"""The vector of a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfpipeline.serving.client.predictions.base import Output, Prediction


@dataclass(frozen=True)
class Embedding(Prediction):
    """The vector of a text.

    Attributes:
        embedding: its numbers; of length 1 unless the model was trained with ``normalize: false``.
    """

    embedding: list[float]

    output_specs = {"embedding": Output(2, "f")}  # noqa: RUF012 - a ClassVar of the base class

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[Embedding]:
        return [cls(row) for row in arrays["embedding"].tolist()]
