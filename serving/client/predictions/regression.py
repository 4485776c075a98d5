"""A number for a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfpipeline.serving.client.predictions.base import Output, Prediction


@dataclass(frozen=True)
class Regression(Prediction):
    """A number for a text.

    Attributes:
        value: in the unit of the training data.
    """

    value: float

    output_specs = {"value": Output(1, "f")}  # noqa: RUF012 - a ClassVar of the base class

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> list[Regression]:
        return [cls(value) for value in arrays["value"].tolist()]
